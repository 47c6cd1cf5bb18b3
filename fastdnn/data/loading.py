"""Data sets from files: arrays, tables, HDF5, and the digits that scikit-learn ships."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastdnn import checks

from .sources import (
    ArraySource,
    Hdf5Source,
    Layout,
    Source,
    import_extra,
    natural_dtype,
    open_hdf5,
    stored_array,
    to_float,
)
from .tables import is_number, read_table, typed

Task: TypeAlias = Literal["auto", "classification", "regression"]

LAZY_BYTES = 256 * 2**20
"""Size in float32 from which examples stay in their file: smaller ones are read once, which is
faster than reading them anew every epoch."""

KEY_PAIRS = (
    ("X", "y"),
    ("X", "Y"),
    ("x", "y"),
    ("X_train", "y_train"),
    ("x_train", "y_train"),
    ("data", "target"),
    ("images", "labels"),
    ("train_set_x", "train_set_y"),
    ("test_set_x", "test_set_y"),
)
"""Names under which examples and labels are looked for, in this order."""

TABLES = (".csv", ".tsv", ".txt")
"""Endings of the names of tables."""

CLASS_NAME_KEYS = ("list_classes", "class_names", "target_names")

# Integers are classes unless they take more values than this and fewer than ten examples share
# one on average, as amounts and years do.
MAX_RARE_CLASSES = 20
EXAMPLES_PER_CLASS = 10


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and their labels.

    Attributes
    ----------
    X : ndarray of shape (n_x, m), or Source
        Examples are columns. A `Source` is read block by block.
    y : ndarray of shape (m,) or (n_y, m), or None
        Integers are classes 0 ... K - 1, floats are quantities; None if there are no labels.
    class_names : tuple of str, or None
        Name of each class.
    name : str
    feature_names, target_name : tuple of str and str, or None
        Names of the columns, of a table that begins with them.
    """

    X: NDArray[Any] | Source
    y: NDArray[Any] | None
    class_names: tuple[str, ...] | None
    name: str
    feature_names: tuple[str, ...] | None = None
    target_name: str | None = None

    def __repr__(self) -> str:
        n_x, m = self.X.shape
        kind = "read in blocks" if isinstance(self.X, Source) else str(self.X.dtype)
        if self.y is None:
            labels = "no labels"
        elif self.class_names is not None:
            labels = f"{len(self.class_names)} classes"
        else:
            labels = f"y {self.y.shape} {self.y.dtype}"
        return f"Dataset({self.name!r}: X ({n_x}, {m}) {kind}, {labels})"


def load_dataset(
    path: str | os.PathLike[str],
    *,
    target: str | int | os.PathLike[str] | None = None,
    features: str | None = None,
    columns: Sequence[str] | None = None,
    labelled: bool = True,
    layout: Literal["auto"] | Layout = "auto",
    task: Task = "auto",
    header: bool | None = None,
    lazy: bool | None = None,
    dtype: object = None,
) -> Dataset:
    """Read a data set; the ending of the name says how.

    ============================  ==================================================================
    ``.npy``                      examples; the labels are in the file `target`, by default the one
                                  beside it whose name has y or Y in place of the X
    ``.npz``                      two arrays, named as in `KEY_PAIRS` or by `features` and `target`
    ``.csv``, ``.tsv``, ``.txt``  numbers; the label is the last column or the one called `target`
    ``.h5``, ``.hdf5``            two datasets, named like arrays of an ``.npz``; among them the cat
                                  pictures of the course, ``train_set_x (m, 64, 64, 3)``
    ============================  ==================================================================

    Pictures are flattened, in C order; pixels of uint8 are divided by 255.

    Parameters
    ----------
    path : str or PathLike
    target, features : str, optional
        Where labels and examples stand, see above. Only the arrays of ``.npz`` and HDF5 have
        names that `features` can give.
    columns : sequence of str, optional
        Features of a table, by the names in its first line and in this order. By default all
        columns beside the label.
    labelled : bool
        If False no labels are looked for, and a table consists of features alone.
    layout : {"auto", "rows", "columns"}
        Which axis of an array counts the examples: the first or the last. "auto" takes the one
        that is as long as the labels; the longer one if both are; the first if there are none.
        The examples of a table are its rows.
    task : {"auto", "classification", "regression"}
        What the labels mean. By default strings, bools, 0.0 and 1.0, and integers (unless
        nearly all of them differ) are classes, and other numbers are quantities. In a table 007
        and 1_0 are strings.
    header : bool, optional
        Whether a table begins with the names of its columns. None finds out: names are no
        numbers, or 0, 1, 2, ... beside a label that occurs once where others repeat.
    lazy : bool, optional
        Whether X is left in its file (``.npy`` and HDF5). None does so from `LAZY_BYTES` on.
    dtype : float32 or float64, optional
        Of X. None keeps the precision of floats, gives pixels float32, and the rest float64.

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    ValueError
        If the file is not what its name says, or holds no such arrays, or a number that is not
        finite; the message names the file and the place. Or for an option that files of its
        kind do not have.
    ImportError
        If h5py is needed and missing.
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    """
    path = Path(path)
    checks.choice("layout", layout, ("auto", "rows", "columns"))
    checks.choice("task", task, ("auto", "classification", "regression"))
    suffix = path.suffix.lower()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a file")
    if suffix not in (*TABLES, *_ARRAYS):
        known = ", ".join((*_ARRAYS, *TABLES))
        raise ValueError(f"{path} ends in {suffix!r}, expected one of {known}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    _check_options(path, suffix, features=features, columns=columns, layout=layout, header=header)
    names = feature_names = target_name = None
    if suffix in TABLES:
        if isinstance(target, os.PathLike):
            raise TypeError(f"target is {target!r}, expected the name of a column")
        table = read_table(path, target=target, labelled=labelled, header=header, columns=columns)
        source: Source = ArraySource(table.X.T)
        y, feature_names, target_name = table.labels, table.feature_names, table.target_name
    else:
        source, y, names = _ARRAYS[suffix](path, features, target, labelled, layout)
    if y is not None:
        y, names = _labels(path, y, task, names)
    X = _examples(path, suffix, source, lazy, dtype)
    return Dataset(X, y, names, path.stem, feature_names, target_name)


def load_digits_dataset() -> Dataset:
    """The 1797 handwritten digits of 8 x 8 pixels that scikit-learn ships, scaled to 0 ... 1.

    Returns
    -------
    dataset : Dataset
        X of shape (64, 1797) and float64, y with the classes 0 ... 9.

    Raises
    ------
    ImportError
        If scikit-learn is missing.

    Examples
    --------
    >>> load_digits_dataset()
    Dataset('digits': X (64, 1797) float64, 10 classes)
    """
    digits = import_extra("sklearn.datasets", "sklearn").load_digits()
    X = digits.data.T / 16.0  # pixels count 0 ... 16
    names = tuple(str(name) for name in digits.target_names)
    return Dataset(X, digits.target.astype(np.int64), names, "digits")


def _check_options(
    path: Path, suffix: str, *, features: Any, columns: Any, layout: str, header: bool | None
) -> None:
    """Raise ValueError for an option that would go unnoticed in a file of that ending."""
    problem = None
    if features is not None and suffix in (*TABLES, ".npy"):
        problem = f"features={features!r} names an array of a .npz or HDF5 file"
    elif layout != "auto" and suffix in TABLES:
        problem = f"layout={layout!r} is about an array"
    elif header is not None and suffix not in TABLES:
        problem = f"header={header!r} is about a table ({', '.join(TABLES)})"
    elif columns is not None and (suffix not in TABLES or header is False):
        problem = f"columns={columns!r:.60} are names in the first line of a table"
    if problem is not None:
        raise ValueError(f"{problem}, expected none for {path}")


# --- examples -------------------------------------------------------------------------------


def _examples(
    path: Path, suffix: str, source: Source, lazy: bool | None, dtype: object
) -> NDArray[Any] | Source:
    """`source` itself, or all it holds as floats of shape (n_x, m)."""
    n_x, m = source.shape
    if not n_x or not m:
        raise ValueError(f"{path} has examples of shape {source.shape}, expected some")
    in_memory = suffix in (*TABLES, ".npz")
    if lazy and in_memory:
        raise ValueError(f"lazy=True needs a .npy or HDF5 file, {path} can only be read whole")
    if lazy is None:
        lazy = not in_memory and n_x * m * np.dtype(np.float32).itemsize >= LAZY_BYTES
    if lazy:
        return source
    X = to_float(source.read(0, m), natural_dtype(source.dtype) if dtype is None else dtype).T
    checks.finite(f"{path}: X", X)
    return X


def _array_source(path: Path, X: NDArray[Any], layout: Layout) -> ArraySource:
    if not checks.is_real(X.dtype):
        raise ValueError(f"{path}: the examples have dtype {X.dtype}, expected numbers")
    if layout == "columns":
        return ArraySource(X)
    return ArraySource(X.reshape(len(X), int(np.prod(X.shape[1:], dtype=np.int64))).T)


def _orient(
    path: Path, shape: tuple[int, ...], y: NDArray[Any] | None, layout: str
) -> tuple[Layout, NDArray[Any] | None]:
    """Which axis of the examples counts them, and the labels as (m,) or (n_y, m)."""
    if len(shape) < 2:
        raise ValueError(f"{path}: the examples have shape {shape}, expected (m, ...) or (n_x, m)")
    if y is None:
        return ("columns" if layout == "columns" else "rows"), None
    if y.ndim == 2 and 1 in y.shape:
        y = y.reshape(-1)
    if y.ndim not in (1, 2):
        raise ValueError(f"{path}: the labels have shape {y.shape}, expected (m,) or (n_y, m)")
    rows_fit = layout != "columns" and shape[0] == len(y)
    columns_fit = layout != "rows" and len(shape) == 2 and shape[1] == y.shape[-1]
    if rows_fit and not (columns_fit and shape[1] > shape[0]):
        return "rows", y.T
    if columns_fit:
        return "columns", y
    raise ValueError(
        f"{path}: the examples have shape {shape} and the labels {y.shape}, "
        "which do not agree about the number of examples"
        + ("" if layout == "auto" else f" (layout={layout!r})")
    )


# --- files of arrays ------------------------------------------------------------------------


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what NumPy raises for a bad file into an error that names it."""
    try:
        yield
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _load_npy(
    path: Path, features: str | None, target: Any, labelled: bool, layout: str
) -> tuple[Source, NDArray[Any] | None, None]:
    y: NDArray[Any] | None = None
    if labelled:
        beside = Path(target) if target is not None else _labels_beside(path)
        with _readable(beside):
            y = np.load(beside, allow_pickle=False)
    with _readable(path):
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    found, y = _orient(path, X.shape, y, layout)
    return _array_source(path, X, found), y, None


def _labels_beside(path: Path) -> Path:
    """``y_train.npy`` for ``X_train.npy``."""
    before, x, after = path.name.rpartition("X")
    candidates = [path.with_name(before + y + after) for y in "yY"] if x else []
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise ValueError(f"{path} holds examples only: give the .npy file of the labels as target")


def _load_npz(
    path: Path, features: str | None, target: Any, labelled: bool, layout: str
) -> tuple[Source, NDArray[Any] | None, tuple[str, ...] | None]:
    with _readable(path), path.open("rb") as raw:
        file = np.load(raw, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it is one array, not an archive of arrays")
        x_key, y_key = _keys(file, features, target, labelled)
        X, y = stored_array(file, x_key), None if y_key is None else stored_array(file, y_key)
        names = _class_names(file)
    found, y = _orient(path, X.shape, y, layout)
    return _array_source(path, X, found), y, names


def _load_hdf5(
    path: Path, features: str | None, target: Any, labelled: bool, layout: str
) -> tuple[Source, NDArray[Any] | None, tuple[str, ...] | None]:
    with open_hdf5(path) as file, _readable(path):
        x_key, y_key = _keys(file, features, target, labelled)
        y = None if y_key is None else np.asarray(stored_array(file, y_key)[()])
        shape, names = stored_array(file, x_key).shape, _class_names(file)
    found, y = _orient(path, shape, y, layout)
    return Hdf5Source(path, x_key, layout=found), y, names


_ARRAYS = {".npy": _load_npy, ".npz": _load_npz, ".h5": _load_hdf5, ".hdf5": _load_hdf5}


def _keys(file: Any, features: str | None, target: Any, labelled: bool) -> tuple[str, str | None]:
    """Names of the examples and of the labels in a file of named arrays."""
    for x_key, y_key in KEY_PAIRS:
        x, y = features or x_key, target or y_key
        if x in file and (not labelled or y in file):
            return x, (y if labelled else None)
    wanted = f"{features or 'X'!r}" + (f" and {target or 'y'!r}" if labelled else "")
    raise ValueError(f"it holds {', '.join(file) or 'nothing'}; expected arrays {wanted}")


def _class_names(file: Any) -> tuple[str, ...] | None:
    for key in CLASS_NAME_KEYS:
        if key in file:
            names = _decoded(key, np.asarray(stored_array(file, key)[()]))
            return tuple(str(name) for name in names.reshape(-1))
    return None


def _decoded(what: str, values: NDArray[Any]) -> NDArray[Any]:
    """Strings stored as bytes, which HDF5 may keep as objects, as str."""
    if values.dtype.kind == "O":
        if not all(isinstance(value, bytes) for value in values.flat):
            raise ValueError(f"{what}: {values.flat[0]!r} found, expected numbers or strings")
        values = values.astype(np.bytes_)
    try:
        return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: not UTF-8 text: {error}") from error


# --- labels ---------------------------------------------------------------------------------


def _labels(
    path: Path, y: NDArray[Any], task: Task, names: tuple[str, ...] | None
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels as class indices with their names, or as quantities without names."""
    y = _decoded(f"{path}: the labels", y)
    if task == "regression" and y.dtype.kind == "U":
        y = _numbers(path, y)
    if y.dtype.kind not in "biufU":
        raise ValueError(f"{path}: the labels have dtype {y.dtype}, expected numbers or strings")
    if y.dtype.kind == "f":
        checks.finite(f"{path}: y", y)
    if y.ndim == 2:
        return checks.float_array("y", y), names
    if task == "regression" or (task == "auto" and not _look_like_classes(y)):
        return y.astype(np.float64), None
    values, indices = np.unique(y, return_inverse=True)
    if names is None:
        return indices.astype(np.int64), tuple(_written(value) for value in values)
    if y.dtype.kind != "U" and values[0] >= 0 and values[-1] < len(names):
        return y.astype(np.int64), names
    raise ValueError(
        f"{path}: labels from {values[0]} to {values[-1]}, expected 0 to {len(names) - 1}: "
        f"it names {len(names)} classes"
    )


def _numbers(path: Path, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Quantities that look like names, as 007 does."""
    for label in labels.flat:
        if not is_number(label):
            raise ValueError(
                f"{path}: the labels are strings such as {str(label)!r}, expected numbers"
            )
    return labels.astype(np.float64)


def _look_like_classes(y: NDArray[Any]) -> bool:
    if y.dtype.kind in "bU":
        return True
    if y.dtype.kind == "f":
        return bool(np.isin(y, (0.0, 1.0)).all())
    n_values = np.unique(y).size
    return n_values <= MAX_RARE_CLASSES or n_values * EXAMPLES_PER_CLASS <= y.size


def plain_name(name: str) -> str:
    """What a class is called where all labels are numbers.

    >>> plain_name("1.0"), plain_name("+1"), plain_name("007"), plain_name("a")
    ('1', '1', '007', 'a')
    """
    return _written(typed([name])[0])


def _written(value: Any) -> str:
    return str(value).removesuffix(".0") if isinstance(value, np.floating) else str(value)
