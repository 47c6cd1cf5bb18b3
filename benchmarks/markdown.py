"""Markdown tables of times, and their place between two markers of a README."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks.peers.results import microseconds

NOTHING = "-"


def replace_between(text: str, block: str, begin: str, end: str) -> str:
    r"""The text with this block between its markers.

    Raises
    ------
    ValueError
        If the markers are not there, once each and in order.

    Examples
    --------
    >>> replace_between("a <begin>old<end> b", "new", "<begin>", "<end>")
    'a <begin>\nnew\n<end> b'
    """
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end) or begin in after or end in after:
        raise ValueError(f"the README must have {begin} and {end}, once each and in this order")
    return f"{before}{begin}\n{block.strip()}\n{end}{after}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> str:
    """A table whose first columns are text and whose others are numbers.

    Examples
    --------
    >>> print(table(["row", "us"], [["tiny", "4"]], text_columns=1))
    | row | us |
    | --- | --: |
    | tiny | 4 |
    """
    rule = ["---"] * text_columns + ["--:"] * (len(header) - text_columns)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def number(value: float | None, form: Callable[[float], str]) -> str:
    """A number in its form, or a dash where there is none."""
    return NOTHING if value is None else form(value)


def fastest_bold(seconds: Sequence[float | None]) -> list[str]:
    """Times in microseconds, the shortest in bold.

    Examples
    --------
    >>> fastest_bold([2e-6, None, 1e-6])
    ['2.00', '-', '**1.00**']
    """
    fastest = min((value for value in seconds if value), default=None)
    shown = [number(value, microseconds) for value in seconds]
    return [
        f"**{text}**" if fastest is not None and value == fastest else text
        for value, text in zip(seconds, shown, strict=True)
    ]
