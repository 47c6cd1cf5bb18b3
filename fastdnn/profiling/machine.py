"""The limits of this machine, measured: multiply-adds a second, bytes a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdnn import checks, dispatch
from fastdnn.kernels import roofline

TRIAD_BYTES = 128 * 2**20  # of each of three arrays, which together exceed most last-level caches
RUN_SECONDS = 0.005  # of one run: a thousand times a parallel region's cost
RUNS = 5

_peaks: dict[tuple[str, int], dict[str, float]] = {}


def machine_peaks(
    dtype: Any, n_threads: int | None = None, *, refresh: bool = False
) -> dict[str, float]:
    """Most that this machine can do: flop/s in registers, bytes/s from memory.

    The peak counts two operations for each fused multiply-add of chains that stay in registers.
    The bandwidth is that of a = b + s c over 3 arrays of 128 MiB, as the STREAM benchmark counts
    it: 3 numbers moved for each element (McCalpin, 1995). Both are the best of some runs.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    n_threads : int, optional
        At most so many threads; by default ``FASTDNN_NUM_THREADS`` or all.
    refresh : bool
        Measure again. Otherwise the last measurement in this process is returned, if there is one.

    Returns
    -------
    dict
        ``flops`` in operations per second, ``bandwidth`` in bytes per second.

    Examples
    --------
    >>> sorted(machine_peaks("float32"))  # doctest: +SKIP
    ['bandwidth', 'flops']
    """
    kind = checks.float_dtype("dtype", dtype)
    team = dispatch.threads(checks.n_threads(n_threads))
    key = kind.name, team
    if refresh or key not in _peaks:
        _peaks[key] = {"flops": _flops(kind, team), "bandwidth": _bandwidth(kind, team)}
    return dict(_peaks[key])


def _flops(dtype: np.dtype[Any], team: int) -> float:
    size = roofline.block_size(dtype)
    values = np.ones(team * size, dtype)

    def best(members: int, rounds: int) -> float:
        return _best_seconds(
            lambda: dispatch.run_team(roofline.multiply_adds, members, values, size, rounds)
        )

    rounds = 1
    while best(1, rounds) < RUN_SECONDS:  # one thread: a team that waits for a core lasts long too
        rounds *= 2
    return 2.0 * rounds * values.size / best(team, rounds)


def _bandwidth(dtype: np.dtype[Any], team: int) -> float:
    # Filled, because a page nobody has written to is the one page of zeros, in the nearest cache.
    a, b, c = (np.full(TRIAD_BYTES // dtype.itemsize, 0.5, dtype) for _ in range(3))

    seconds = _best_seconds(
        lambda: dispatch.run_team(roofline.triad, team, a, b, c, dtype.type(0.5))
    )
    return 3.0 * a.nbytes / seconds


def _best_seconds(function: Callable[[], object]) -> float:
    """Shortest of some runs, after one that may compile; noise only ever adds."""
    function()
    samples = []
    for _ in range(RUNS):
        start = time.perf_counter()
        function()
        samples.append(time.perf_counter() - start)
    return min(samples)
