"""Calls of one kernel from Python, where a microsecond counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from . import dispatch
from .kernels.team import new_counters
from .memory import Array, aligned_zeros

# Working memory that a thread keeps from one call to the next: fresh pages cost time.
KEPT_BYTES = 64 * 1024 * 1024

# How often the members of a team are taken to wait for one another in a single call, which is more
# than in a small one; and the work that one thread does in the time that a team costs in all, 29
# microseconds.
CALL_WAITS = 6
_ALONE = dispatch.MULTIPLY_ADDS_PER_MICROSECOND * (
    dispatch.REGION_MICROSECONDS + CALL_WAITS * dispatch.WAIT_MICROSECONDS
)

_no_counters = new_counters(1)  # a kernel alone counts nothing


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


def team_for(multiply_adds: int, limit: int | None = None) -> int:
    """Threads for so much work: `dispatch.best_team`, not asked where its answer is plain."""
    if multiply_adds < _ALONE:
        return 1
    return dispatch.best_team(multiply_adds, waits=CALL_WAITS, limit=limit)


def call(kernel: Callable[..., Any], team: int, *args: Any, key: Any = None) -> None:
    """`dispatch.run_team`, past its preparations where there is no team."""
    if team == 1:
        kernel(0, _no_counters, 1, *args)
    else:
        dispatch.run_team(kernel, team, *args, key=key)
