"""Examples read in blocks by classes that anybody may write: what they say, and what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import is_real, number_array, shape
from .settings import whole_number
from .wording import short


def source(name: str, value: Any, n_x: int | None = None) -> None:
    """Raise unless a source has examples, at least one of at least one feature, of real numbers.

    Parameters
    ----------
    name : str
        What the caller calls the argument.
    value : Source
        Of which nothing is read.
    n_x : int, optional
        How many features there have to be.
    """
    if not isinstance(value.shape, tuple) or len(value.shape) != 2:
        raise TypeError(f"{name}.shape is {short(value.shape)}, expected two numbers (n_x, m)")
    for i, size in enumerate(value.shape):
        whole_number(f"{name}.shape[{i}]", size)
    if n_x not in (None, value.shape[0]):
        raise ValueError(f"{name} is a source of shape {value.shape}, expected ({n_x}, m)")
    if not isinstance(value.dtype, np.dtype) or not is_real(value.dtype):
        raise TypeError(
            f"{name}.dtype is {short(value.dtype)}, expected that of real numbers, as "
            "np.dtype('float32')"
        )


def block(
    name: str, value: object, expected: tuple[int, int], stored: np.dtype[Any]
) -> NDArray[Any]:
    """What a source gave as a block of examples: an array of real numbers of the expected shape.

    Its precision is its own, but pixels come only from a source of pixels: others are not scaled.

    >>> block("X.read(0, 2)", np.ones((2, 3)), (2, 4), np.dtype("float64"))
    Traceback (most recent call last):
    ...
    ValueError: X.read(0, 2) has shape (2, 3), expected (2, 4)
    """
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name} is a {type(value).__name__}, expected an ndarray of shape {expected}"
        )
    array = number_array(name, value)
    shape(name, array, expected)
    if (array.dtype == np.uint8) != (stored == np.uint8):
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected {stored} as the source says: uint8 stands "
            "for pixels"
        )
    return array
