"""Arrays of real numbers: precision, dimensions, shape, no NaN or infinity; and of indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdnn import dispatch
from fastdnn.kernels.arrays import count_not_finite
from fastdnn.memory import flattened

from .wording import element, shape_text, short

FloatArray: TypeAlias = NDArray[np.floating[Any]]

FLOAT_TYPES = (np.dtype(np.float32), np.dtype(np.float64))

# Time to read an element in multiply-adds of a product, for the cost model.
ELEMENT_COST = 4

CHUNK = 1 << 16
"""Elements looked at in one go, so that a check of any array needs a few 100 KiB and no more."""


def float_dtype(name: str, value: object) -> np.dtype[Any]:
    """Precision to compute in: the native float32 or float64 that `value` names.

    >>> float_dtype("dtype", "float32")
    dtype('float32')
    """
    if value is not None:  # which NumPy would take for float64
        try:
            return FLOAT_TYPES[FLOAT_TYPES.index(np.dtype(cast("DTypeLike", value)))]
        except (TypeError, ValueError):
            pass
    raise ValueError(f"{name} is {short(value)}, expected 'float32' or 'float64'")


def float_array(
    name: str, value: object, *, dtype: object = None, ndim: int | tuple[int, ...] = 2
) -> FloatArray:
    """Non-empty array of real numbers, native and aligned, float32 or float64.

    Parameters
    ----------
    name : str
        What the caller calls the argument.
    value : array_like
        Real numbers. Integers, bools and float16 are cast once.
    dtype : float32 or float64, optional
        Precision to cast to. Without it float32 and float64 keep theirs and the rest becomes
        float64.
    ndim : int or tuple of int
        Accepted numbers of dimensions.

    Returns
    -------
    ndarray
        `value` itself where it already fits: any strides, perhaps read-only.

    Raises
    ------
    TypeError
        `value` is masked, complex, of extended precision, or not made of numbers.
    ValueError
        `value` is ragged, empty, or has another number of dimensions.

    Examples
    --------
    >>> float_array("X", [[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]])
    """
    array = number_array(name, value)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        hint = f"; {name}.reshape(-1, 1) is one column" if array.ndim == 1 and 2 in allowed else ""
        expected = " or ".join(f"{n}-d" for n in allowed)
        raise ValueError(f"{name} has shape {array.shape}, expected a {expected} array{hint}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one element")
    target = float_dtype("dtype", dtype) if dtype is not None else _own_precision(array)
    if array.dtype != target:
        with np.errstate(over="ignore", invalid="ignore"):  # 1e300 becomes inf: `finite` reports it
            array = array.astype(target)
    return array if array.flags.aligned else array.copy()


def number_array(name: str, value: object) -> NDArray[Any]:
    """`value` as an array of any real number type of up to 64 bits."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, expected a plain one: use {name}.filled(...)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} does not form an array of numbers: {error}") from None
    if not is_real(array.dtype):
        raise TypeError(
            f"{name} has dtype {array.dtype} (a {type(value).__name__}), "
            "expected real numbers: float32, float64 or integers"
        )
    return array


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether it is any real number type of up to 64 bits."""
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def _own_precision(array: NDArray[Any]) -> np.dtype[Any]:
    float32, float64 = FLOAT_TYPES
    return float32 if array.dtype.newbyteorder("=") == float32 else float64


def finite(name: str, array: FloatArray, *, n_threads: int | None = None) -> FloatArray:
    """Hand back `array` if it holds neither NaN nor infinity; large ones by `n_threads` at most.

    >>> finite("X", np.array([[1.0, np.nan]]))
    Traceback (most recent call last):
    ...
    ValueError: X[0, 1] is nan, expected finite float64 numbers
    """
    if array.size <= CHUNK or not _all_finite(array, n_threads):
        index = first_bad(array, lambda chunk: ~np.isfinite(chunk))
        if index is not None:
            raise ValueError(
                f"{element(name, index)} is {array[index]}, expected finite {array.dtype} numbers"
            )
    return array


def _all_finite(array: FloatArray, n_threads: int | None) -> bool:
    """Whether every element of a large array is finite; False also where memory has gaps.

    By all threads at memory bandwidth. BLAS, in a dot product with itself, would be as fast, but
    OpenBLAS's threads then keep spinning for some milliseconds on the cores that we want next.
    """
    flat = flattened(array)
    if flat is None:
        return False
    team = dispatch.best_team(ELEMENT_COST * array.size, waits=1, limit=n_threads)
    return dispatch.run_team(count_not_finite, team, flat) == 0


def first_bad(
    array: NDArray[Any], is_bad: Callable[[NDArray[Any]], NDArray[np.bool_]]
) -> tuple[int, ...] | None:
    """Index of the first bad element in reading order, whatever the strides, or None."""
    if array.size <= CHUNK and not np.count_nonzero(is_bad(array)):
        return None  # 3 microseconds instead of the loop's 10: small steps are checked as well
    start = 0
    for chunk in np.nditer(
        array, ["external_loop", "buffered", "zerosize_ok"], order="C", buffersize=CHUNK
    ):
        bad = is_bad(cast("NDArray[Any]", chunk))
        if bad.any():
            position = np.unravel_index(start + int(bad.argmax()), array.shape)
            return tuple(int(i) for i in position)
        start += bad.size
    return None


def shape(name: str, array: NDArray[Any], expected: tuple[int | str, ...]) -> None:
    """Raise unless the shape is the expected one, in which a letter stands for any size.

    >>> shape("X", np.zeros((5, 3)), (4, "m"))
    Traceback (most recent call last):
    ...
    ValueError: X has shape (5, 3), expected (4, m)
    """
    if not _fits(array.shape, expected):
        hint = f"; {name}.T has that shape" if _fits(array.shape[::-1], expected) else ""
        raise ValueError(f"{name} has shape {array.shape}, expected {shape_text(expected)}{hint}")


def _fits(got: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    if len(got) != len(expected):
        return False
    for have, want in zip(got, expected, strict=True):
        if have != want and not isinstance(want, str):
            return False
    return True


def columns(
    name: str,
    value: object,
    n: int | None = None,
    *,
    dtype: object = None,
    n_threads: int | None = None,
) -> FloatArray:
    """Examples as columns: finite numbers of shape (n, m), m >= 1; any n where it is None."""
    return finite(name, column_array(name, value, n, dtype=dtype), n_threads=n_threads)


def column_array(
    name: str, value: object, n: int | None = None, *, dtype: object = None
) -> FloatArray:
    """Examples as `columns`, but any numbers: whoever reads them looks for NaN and infinity."""
    array = float_array(name, value, dtype=dtype)
    if n is not None:
        shape(name, array, (n, "m"))
    return array


def indices(name: str, value: object, m: int) -> NDArray[np.int64]:
    """m indices of m examples, in any order, as an array of their own that nobody else writes to.

    >>> indices("order", [2, 0, 3], 3)
    Traceback (most recent call last):
    ...
    ValueError: order[2] is 3, expected an index from 0 to 2
    """
    array = number_array(name, value)
    shape(name, array, (m,))
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}, expected integers")
    index = first_bad(array, lambda chunk: (chunk < 0) | (chunk >= m))
    if index is not None:
        raise ValueError(
            f"{element(name, index)} is {array[index]}, expected an index from 0 to {m - 1}"
        )
    return np.array(array, np.int64)
