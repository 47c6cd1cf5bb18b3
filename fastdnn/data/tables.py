"""Text tables (CSV) of numbers with one column of labels."""

from __future__ import annotations

import csv
import itertools
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

DELIMITERS = ",;\t"
_QUOTED = re.compile('"[^"]*"')
_DIGITS = re.compile("[+-]?[0-9]+")
_INTEGER = re.compile("[+-]?(0|[1-9][0-9]*)")


@dataclass(frozen=True, eq=False)
class Table:
    """What a text file holds.

    Attributes
    ----------
    X : ndarray of shape (m, n)
        float64, finite.
    labels : ndarray of shape (m,) or None
        Cells of the label column: int64, float64, or str, the first that fits all of them.
    feature_names, target_name : tuple of str and str, or None
        What the first line calls the columns, if it does.
    """

    X: NDArray[np.float64]
    labels: NDArray[Any] | None
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None


def read_table(
    path: Path,
    *,
    target: str | int | None,
    labelled: bool,
    header: bool | None,
    columns: Sequence[str] | None = None,
) -> Table:
    """Read a delimited text file; commas, semicolons and tabs are told apart by the first line.

    Parameters
    ----------
    path : Path
    target : str or int, optional
        Name or index of the label column; by default the last one.
    labelled : bool
        If False there is no label column.
    header : bool, optional
        Whether the first line names the columns. None finds out: it does if no cell beside the
        label is a number. If all are, it does if its label is no number and those below are, or
        if the names are 0, 1, 2, ... and its label is the only one of its kind where others repeat.
    columns : sequence of str, optional
        Names of the features, which the first line then holds; by default all beside the label.

    Raises
    ------
    ValueError
        Naming the line and the column of the first cell that is not a finite number.
    """
    with _reading(path) as reader:
        return _parse(path, reader, target, labelled, header, columns)


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """A reader of the rows, and an error that names the file where they are none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first_line = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=_QUOTED.sub("", first_line).count)
            yield csv.reader(file, delimiter=delimiter)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    except csv.Error as error:
        raise ValueError(f"{path} is not a table: {error}") from error


def named_or_numbered(path: Path, target: str) -> str | int:
    """A column as `read_table` takes it, from text that may be its name or its index.

    Digits are a name where the first line has it and names the columns. It does not if it holds
    numbers only, beside the column of that index: `_is_header` tells.

    Raises
    ------
    ValueError
        If the file is no text, or no table.
    """
    if not target.removeprefix("-").isdecimal():
        return target
    index = int(target)
    first, second = head_of(path)
    if target not in first:
        return index
    if not -len(first) <= index < len(first):
        return target
    try:
        named = _is_header(path, first, second, index % len(first))
    except ValueError:  # names among numbers: no example, at least
        named = True
    return target if named else index


def head_of(path: Path) -> tuple[list[str], list[str]]:
    """Cells of the first two rows of a table that are not blank; none where there is no such row.

    Raises
    ------
    ValueError
        If the file is no text, or no table.
    """
    with _reading(path) as reader:
        head = [[cell.strip() for cell in row] for _, row in itertools.islice(_rows(reader), 2)]
    return head[0] if head else [], head[1] if len(head) > 1 else []


def names_columns(path: Path, known: Sequence[str]) -> bool:
    """Whether the first line of a table names its columns, of which ``known`` are to be read.

    It does if it holds all of these, or one that is no number, or no number at all.

    Raises
    ------
    ValueError
        If nothing tells: numbers are known in another order than the line has them. Or if the file
        is no text, or no table.
    """
    first, _ = head_of(path)
    found = [cell for cell in first if cell in known]
    if not all(map(is_number, known)):
        named = [cell for cell in found if not is_number(cell)]
        return bool(named) or not any(map(is_number, first))
    if found == list(known):
        return True
    if sorted(found) == sorted(known):
        raise ValueError(
            f"{path}: line 1 is an example, or names the columns in another order than "
            f"{', '.join(known)}: numbers do not tell which"
        )
    return not any(map(is_number, first))


def _parse(
    path: Path,
    reader: Any,
    target: str | int | None,
    labelled: bool,
    header: bool | None,
    columns: Sequence[str] | None,
) -> Table:
    rows = _rows(reader)
    head = list(itertools.islice(rows, 2))
    if not head:
        raise ValueError(f"{path} is empty")
    first = [cell.strip() for cell in head[0][1]]
    column = _target_column(path, first, target) if labelled else None
    if len(first) == (column is not None):
        raise ValueError(f"{path} has one column, expected features and a label")
    picked = None if columns is None else _picked(path, first, columns, column)
    defaulted = labelled and target is None
    guessed = header is None and columns is None
    if guessed:
        # A target given by name can only have come from a header.
        second = head[1][1] if len(head) > 1 else []
        hint = ", or give the column of the labels as target" if defaulted else ""
        header = isinstance(target, str) or _is_header(path, first, second, column, hint)
    if header or picked is not None:
        targets: Sequence[Any] = first if defaulted else ()
        body = itertools.chain(head[1:], rows)
        table = _read_rows(path, body, first, column, picked, targets=targets)
        return _named(table, first, column, columns)
    names, targets = [f"column {i}" for i in range(len(first))], range(len(first))
    body = itertools.chain(head, rows)
    table = _read_rows(path, body, names, column, targets=targets if defaulted else ())
    if guessed and table.labels is not None and _is_numbered(first, column, table.labels.tolist()):
        return _named(Table(table.X[1:], table.labels[1:]), first, column)
    return table


def _named(
    table: Table, first: list[str], column: int | None, columns: Sequence[str] | None = None
) -> Table:
    """A table with the names of its first line."""
    if columns is None:
        columns = [name for i, name in enumerate(first) if i != column]
    return Table(table.X, table.labels, tuple(columns), None if column is None else first[column])


def _read_rows(
    path: Path,
    rows: Iterable[tuple[int, list[str]]],
    names: list[str],
    column: int | None,
    picked: list[int] | None = None,
    *,
    targets: Sequence[Any] = (),
) -> Table:
    """Numbers and labels of the rows below the header, of columns ``picked`` if not of all.

    ``targets`` are what would make the label of each column, where nobody has said which it is.
    """
    values, labels, lines = array("d"), [], array("q")
    kept = [i for i in range(len(names)) if i != column] if picked is None else picked
    features = [names[i] for i in kept]
    hints = [targets[i] for i in kept] if targets else []
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{path}: line {line} has {len(row)} cells, expected {len(names)}")
        cells = row if picked is None else [row[i] for i in picked]
        if column is not None:
            # Out of the row, which takes less time than to copy the others of a wide one.
            labels.append((row.pop(column) if picked is None else row[column]).strip())
        try:
            values.frombytes(np.array(cells, dtype=np.float64).tobytes())
        except ValueError:
            _refuse_row(path, line, cells, features, hints)
        lines.append(line)
    if not lines:
        raise ValueError(f"{path} has no rows below its header")
    X = np.frombuffer(values, dtype=np.float64).reshape(len(lines), -1)
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        index = int(bad.argmax())
        _refuse_row(path, lines[index], list(map(str, X[index])), features)
    if column is None:
        return Table(X, None)
    for line, label in zip(lines, labels, strict=True):
        if not label:
            raise ValueError(f"{path}: line {line} has no label in column {names[column]!r}")
    return Table(X, typed(labels))


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank."""
    for row in reader:
        if len(row) > 1 or (row and row[0].strip()):
            yield reader.line_num, row


def _picked(path: Path, first: list[str], columns: Sequence[str], target: int | None) -> list[int]:
    """Where the first line has the features of these names."""
    if isinstance(columns, str) or not columns:
        raise ValueError(f"{path}: columns is {columns!r}, expected names of columns")
    for name in columns:
        if first.count(name) != 1:
            many = f"{first.count(name)} columns" if name in first else "no column"
            raise ValueError(f"{path} has {many} {name!r}; its columns are {', '.join(first)}")
        if first.index(name) == target:
            raise ValueError(f"{path}: column {name!r} is to be a feature and the label")
    return [first.index(name) for name in columns]


def _target_column(path: Path, first: list[str], target: str | int | None) -> int:
    if target is None:
        return len(first) - 1
    if isinstance(target, str):
        if target not in first:
            raise ValueError(f"{path} has no column {target!r}; its columns are {', '.join(first)}")
        return first.index(target)
    if not -len(first) <= target < len(first):
        raise ValueError(f"{path} has {len(first)} columns, target {target} is not one of them")
    return target % len(first)


def _is_header(
    path: Path, first: list[str], second: list[str], column: int | None, hint: str = ""
) -> bool:
    """Whether the first row names the columns rather than holding the first example."""
    numeric = [is_number(cell) for i, cell in enumerate(first) if i != column]
    if not any(numeric):
        return True
    if not all(numeric):
        raise ValueError(
            f"{path}: line 1 mixes names and numbers; say header=True if it names the columns, "
            f"or mend the cell that is not a number{hint}"
        )
    # Columns named by numbers: only the label column can tell, if its cells are numbers.
    return (
        column is not None
        and len(second) == len(first)
        and not is_number(first[column])
        and is_number(second[column])
    )


def _is_numbered(first: list[str], column: int | None, labels: list[Any]) -> bool:
    """Whether the first row holds the names that pandas gives: 0, 1, 2, ... beside the label's.

    That may be an example, too. Its class would be one that no other example has.
    """
    features = [cell for i, cell in enumerate(first) if i != column]
    name, *others = labels
    return (
        features == [str(i) for i in range(len(features))]
        and not is_number(name)
        and name not in others
        and len(set(others)) < len(others)
    )


def is_number(cell: str) -> bool:
    """Whether Python reads the text as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refuse_row(
    path: Path, line: int, row: list[str], features: list[str], hints: Sequence[Any] = ()
) -> NoReturn:
    """Raise for the first cell, of the features of a row, that is not a finite number."""
    index, cell = next(
        (i, cell)
        for i, cell in enumerate(row)
        if not (is_number(cell) and math.isfinite(float(cell)))
    )
    problem = f"{path}: line {line}, {features[index]!r} is {cell!r}, expected a finite number"
    if hints and cell.strip() and not is_number(cell):
        problem += f"; if these are the labels, give {hints[index]!r} as target"
    raise ValueError(problem)


def typed(labels: list[str]) -> NDArray[Any]:
    """Labels as integers if all of them are, else as floats, else as they are.

    Names stay as written, though Python reads numbers: 007, 1_0, and what is too long for int64.
    """
    strings = np.array(labels)
    if all(map(_INTEGER.fullmatch, labels)):
        with suppress(OverflowError):
            return strings.astype(np.int64)
    elif not (all(map(_DIGITS.fullmatch, labels)) or any("_" in label for label in labels)):
        with suppress(ValueError):
            return strings.astype(np.float64)
    return strings
