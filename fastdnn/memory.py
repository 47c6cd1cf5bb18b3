"""Memory as compiled code takes it: flat arrays, aligned, writable, or aliases of such.

Numba compiles a kernel once more for each layout and for read-only arrays. Kernels therefore see
one kind of array, flat and writable; they write to outputs only, so that a read-only input may be
aliased.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def aligned(count: int, dtype: np.dtype[Any]) -> int:
    """``count`` elements, rounded up to whole cache lines."""
    unit = ALIGNMENT // dtype.itemsize
    return -(-count // unit) * unit


def _from_a_line_on(raw: NDArray[np.uint8], count: int, dtype: np.dtype[Any]) -> Array:
    """``count`` elements of ``raw``, which has ALIGNMENT bytes more than these, from a line on."""
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + count * dtype.itemsize].view(dtype)


def aligned_zeros(count: int, dtype: np.dtype[Any]) -> Array:
    """A flat array of zeros that starts on a cache line."""
    return _from_a_line_on(np.zeros(count * dtype.itemsize + ALIGNMENT, np.uint8), count, dtype)


def aligned_empty(count: int, dtype: np.dtype[Any]) -> Array:
    """A flat array that starts on a cache line, with any contents."""
    return _from_a_line_on(np.empty(count * dtype.itemsize + ALIGNMENT, np.uint8), count, dtype)


class _Memory:
    """Elements from an address on, as one flat writable array; keeps their owner alive."""

    def __init__(self, owner: Array, address: int, count: int) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "typestr": owner.dtype.str,
            "shape": (count,),
            "data": (address, False),
        }


def elements_at(owner: Array, address: int, count: int) -> Array:
    """The ``count`` elements from ``address`` on, which belong to ``owner``."""
    return np.asarray(_Memory(owner, address, count))


def writable(flat: Array) -> Array:
    """A flat contiguous array, or its alias if it is read-only."""
    if flat.flags.writeable:
        return flat
    return elements_at(flat, flat.__array_interface__["data"][0], flat.size)


def flat(array: Array) -> Array:
    """Contiguous, flat and writable: a view in the order of rows, or a copy."""
    return writable(array.reshape(-1)) if array.flags.c_contiguous else array.ravel()


def matrix(array: Array) -> tuple[Array, int, int, int]:
    """A matrix of any strides without a copy: flat memory, offset, and the strides in elements."""
    rows, columns = array.shape
    flags = array.flags
    if flags.writeable:
        if flags.c_contiguous:
            return array.reshape(-1), 0, columns, 1
        if flags.f_contiguous:
            return array.T.reshape(-1), 0, 1, rows
    itemsize = array.itemsize
    row, column = (stride // itemsize for stride in array.strides)
    if row * itemsize != array.strides[0] or column * itemsize != array.strides[1]:
        return matrix(array.copy())
    reach = (rows - 1) * row, (columns - 1) * column
    before = -min(reach[0], 0) - min(reach[1], 0)
    address = array.__array_interface__["data"][0] - before * itemsize
    count = 1 + abs(reach[0]) + abs(reach[1])
    return elements_at(array, address, count), before, row, column


def flattened(array: Array) -> Array | None:
    """All elements in the order of memory, without a copy; None where there are gaps."""
    if array.flags.c_contiguous:
        return writable(array.reshape(-1))
    if array.flags.f_contiguous:
        return writable(array.T.reshape(-1))
    return None
