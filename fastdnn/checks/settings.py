"""Settings that are one name, one number or one path."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Collection
from pathlib import Path

from .wording import listed, short


def choice(name: str, value: object, allowed: Collection[str]) -> str:
    """One of the allowed names: an activation, a loss, an initialisation, an optimizer.

    >>> choice("loss", "mes", ["binary_crossentropy", "mse"])
    Traceback (most recent call last):
    ...
    ValueError: loss is 'mes', expected one of binary_crossentropy, mse; did you mean 'mse'?
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is {short(value)}, expected one of {listed(allowed)}")
    if value not in allowed:
        close = difflib.get_close_matches(value.lower(), allowed, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name} is {short(value)}, expected one of {listed(allowed)}{hint}")
    return value


def whole_number(name: str, value: object, *, at_least: int = 1) -> int:
    """Integer no smaller than `at_least`; neither a bool nor a float that happens to be whole."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {short(value)}, expected a whole number >= {at_least}")
    number = operator.index(value)
    if number < at_least:
        raise ValueError(f"{name} is {number}, expected a whole number >= {at_least}")
    return number


def n_threads(value: object, *, name: str = "n_threads") -> int | None:
    """Positive number of threads, or None for the default."""
    return None if value is None else whole_number(name, value)


def seed(value: object, *, name: str = "seed") -> int:
    """Seed that NumPy's legacy stream takes: 0 to 2**32 - 1."""
    number = whole_number(name, value, at_least=0)
    if number >= 2**32:
        raise ValueError(f"{name} is {number}, expected a whole number below 2**32")
    return number


def real_number(
    name: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Finite Python float within the given bounds.

    >>> real_number("weight_decay", -1, at_least=0)
    Traceback (most recent call last):
    ...
    ValueError: weight_decay is -1, expected a finite number >= 0
    """
    simple = type(value) is float and at_least is not None and above is below is None
    if simple and at_least <= value < math.inf:  # type: ignore[operator]
        return value  # type: ignore[return-value]  # the learning rate of every step: no words needed
    bounds = [
        (sign, holds, bound)
        for sign, holds, bound in (
            (">=", operator.ge, at_least),
            (">", operator.gt, above),
            ("<", operator.lt, below),
        )
        if bound is not None
    ]
    limits = " and ".join(f"{sign} {bound}" for sign, _, bound in bounds)
    expected = f"{name} is {short(value)}, expected a finite number {limits}".rstrip()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(expected)
    try:
        number = float(value)
    except OverflowError:  # an int beyond the largest float
        number = math.inf
    if not math.isfinite(number) or not all(holds(number, bound) for _, holds, bound in bounds):
        raise ValueError(expected)
    return number


def learning_rate(value: object, *, name: str = "learning_rate") -> float:
    """Finite and not negative; 0 is allowed and leaves the parameters where they are."""
    return real_number(name, value, at_least=0)


def probability(name: str, value: object) -> float:
    """At least 0 and below 1: a share that is dropped, decays or is held out, never all of it."""
    return real_number(name, value, at_least=0, below=1)


def path(name: str, value: object) -> Path:
    """Where a file is, or is to be: any str or PathLike."""
    try:
        return Path(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} is {short(value)}, expected the path of a file") from None
