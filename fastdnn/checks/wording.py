"""How messages write values, names, shapes and elements."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable


def short(value: object) -> str:
    """The value as Python writes it, cut where it is long."""
    return reprlib.repr(value)


def listed(names: Iterable[object]) -> str:
    """Names with commas between them: ``W1, b1``."""
    return ", ".join(map(str, names))


def element(name: str, index: tuple[int, ...]) -> str:
    """An element of an array: ``X[0, 1]``."""
    return f"{name}[{', '.join(map(str, index))}]"


def shape_text(expected: tuple[int | str, ...]) -> str:
    """A shape in which letters stand for any size: ``(4, m)``."""
    return f"({', '.join(map(str, expected))}{',' if len(expected) == 1 else ''})"
