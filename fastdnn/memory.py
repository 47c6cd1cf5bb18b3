"""Memory as compiled code takes it: flat arrays, aligned, writable, or aliases of such.

Numba compiles a kernel once more for each layout and for read-only arrays. Kernels therefore see
one kind of array, flat and writable; they write to outputs only, so that a read-only input may be
aliased.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def aligned(count: int, dtype: np.dtype[Any]) -> int:
    """``count`` elements, rounded up to whole cache lines."""
    unit = ALIGNMENT // dtype.itemsize
    return -(-count // unit) * unit


def aligned_zeros(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A flat array of zeros that starts on a cache line."""
    raw = np.zeros(count * dtype.itemsize + ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + count * dtype.itemsize].view(dtype)


class _Memory:
    """Elements from an address on, as one flat writable array; keeps their owner alive."""

    def __init__(self, owner: NDArray[Any], address: int, count: int) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "typestr": owner.dtype.str,
            "shape": (count,),
            "data": (address, False),
        }


def elements_at(owner: NDArray[Any], address: int, count: int) -> NDArray[Any]:
    """The ``count`` elements from ``address`` on, which belong to ``owner``."""
    return np.asarray(_Memory(owner, address, count))


def writable(flat: NDArray[Any]) -> NDArray[Any]:
    """A flat contiguous array, or its alias if it is read-only."""
    if flat.flags.writeable:
        return flat
    return elements_at(flat, flat.__array_interface__["data"][0], flat.size)


def flattened(array: NDArray[Any]) -> NDArray[Any] | None:
    """All elements in the order of memory, without a copy; None where there are gaps."""
    if array.flags.c_contiguous:
        return writable(array.reshape(-1))
    if array.flags.f_contiguous:
        return writable(array.T.reshape(-1))
    return None
