"""From the caller's arrays to what kernels take: checked, of one dtype, and flat.

A matrix becomes a flat array with an offset and two strides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn import checks, dispatch
from fastdnn.kernels.team import new_counters
from fastdnn.memory import aligned_zeros, elements_at, writable

Array = NDArray[Any]

_FLOAT32, _FLOAT64 = checks.FLOAT_TYPES
_ANY_NDIM = tuple(range(65))

# Working memory that a thread keeps from one call to the next: fresh pages cost time.
KEPT_BYTES = 64 * 1024 * 1024

# Meetings of the team in a single call; and the work that one thread does in the time that a team
# costs in all, 29 microseconds.
CALL_MEETINGS = 6
_ALONE = dispatch.MULTIPLY_ADDS_PER_MICROSECOND * (
    dispatch.REGION_MICROSECONDS + CALL_MEETINGS * dispatch.MEETING_MICROSECONDS
)

_no_counters = new_counters()  # a kernel alone counts nothing


def operand(name: str, value: Any, ndim: int | None = None) -> Array:
    """An array of float32 or float64: `value` itself where it is one, else cast to float64."""
    if type(value) is np.ndarray and (value.dtype is _FLOAT64 or value.dtype is _FLOAT32):
        fits = ndim is None or value.ndim == ndim
        if fits and value.size > 0 and value.flags.aligned:
            return value
    return checks.float_array(name, value, ndim=_ANY_NDIM if ndim is None else ndim)


def common(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in one precision: float64 unless all are float32."""
    first = arrays[0].dtype
    for array in arrays:
        if array.dtype is not first:
            dtype = np.result_type(*arrays)
            return tuple(array.astype(dtype, copy=False) for array in arrays)
    return arrays


def same_shape(name: str, array: Array, like_name: str, like: Array) -> None:
    """Raise unless two arrays have the same shape."""
    if array.shape != like.shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {like.shape}, the shape of {like_name}"
        )


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


class _Kept(threading.local):
    """Working memory of one thread, by dtype."""

    def __init__(self) -> None:
        self.buffers: dict[np.dtype[Any], Array] = {}


_kept = _Kept()


def working_memory(count: int, dtype: np.dtype[Any]) -> Array:
    """``count`` elements, aligned, with any contents; valid until the thread's next call."""
    buffer = _kept.buffers.get(dtype)
    if buffer is None or buffer.size < count:
        buffer = aligned_zeros(count, dtype)
        if buffer.nbytes <= KEPT_BYTES:
            _kept.buffers[dtype] = buffer
    return buffer[:count]


def team_for(multiply_adds: int) -> int:
    """Threads for so much work: `dispatch.best_team`, not asked where its answer is plain."""
    if multiply_adds < _ALONE:
        return 1
    return dispatch.best_team(multiply_adds, meetings=CALL_MEETINGS)


def call(kernel: Callable[..., Any], team: int, *args: Any, key: Any = None) -> None:
    """`dispatch.run_team`, past its preparations where there is no team."""
    if team == 1:
        kernel(0, _no_counters, 1, *args)
    else:
        dispatch.run_team(kernel, team, *args, key=key)
