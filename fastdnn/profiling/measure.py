"""NumPy and fastdnn take turns at every stage of a training step; the best turn of each counts."""

from __future__ import annotations

import gc
import math
import os
import time

from numpy.typing import ArrayLike

from fastdnn import checks, dispatch
from fastdnn.kernels.target import TARGET
from fastdnn.network import DNN

from .machine import machine_peaks
from .results import Profile, Row
from .stages import Repeated, Stage, stages_of

TURN_SECONDS = 0.001  # of one stage in a turn, at least: thousands of ticks of the clock
PAUSE = 0.05  # seconds; idle threads of OpenMP and BLAS pools spin for some milliseconds
GROWTH = 100  # of the number of calls at most, for the first estimate is poor


def profile(
    net: DNN, X: ArrayLike, Y: ArrayLike, *, repeats: int = 7, n_threads: int | None = None
) -> Profile:
    """Time every kernel of a training step and the whole step, NumPy beside fastdnn.

    In training, fastdnn runs a whole step (or thousands) as one compiled call in which bias,
    activation, cost and update happen inside the products, so a stage of it has no time of its
    own. The rows of single stages measure the stand-alone functions of `fastdnn.functional` on
    the arrays of this very step, as a notebook calls them, checks and new result arrays
    included; the rows of the whole network measure `DNN`. The stages therefore add up to more
    than the step. NumPy's column is `fastdnn.reference` throughout, with NumPy's own number of
    threads. The network is not changed.

    NumPy and fastdnn take turns (all stages of the one, then all of the other), and the machine's
    peak and bandwidth are measured between, so that a clock that drifts hits all alike.

    Parameters
    ----------
    net : DNN
    X : array of shape (n_x, m)
    Y : array of shape (n_y, m) or (m,)
        One step's examples and targets.
    repeats : int
        Turns of each side; the best one counts.
    n_threads : int, optional
        Most threads that fastdnn uses; by default ``FASTDNN_NUM_THREADS`` or all.

    Returns
    -------
    Profile
        ``print`` shows the table; ``rows``, ``to_json()`` and ``plot(path)`` have the rest.

    Raises
    ------
    ValueError, TypeError
        For X and Y that do not fit the network.

    Examples
    --------
    >>> import fastdnn, numpy as np
    >>> net = fastdnn.DNN([784, 128, 10], output_activation="softmax")
    >>> print(profile(net, np.ones((784, 64)), np.zeros(64, int)))  # doctest: +SKIP
    """
    repeats = checks.whole_number("repeats", repeats)
    limit = dispatch.threads(checks.n_threads(n_threads))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with dispatch.threads_at_most(limit):
        batch, stages = stages_of(net, X, Y)
        turns = [(_Turns(stage.numpy), _Turns(stage.fastdnn, stage.longer)) for stage in stages]
        peaks = {"flops": 0.0, "bandwidth": 0.0}
        for _ in range(repeats):
            for side in zip(*turns, strict=True):
                time.sleep(PAUSE)
                for turn in side:
                    turn.take()
            measured = machine_peaks(net.dtype, limit, refresh=True)
            peaks = {name: max(best, measured[name]) for name, best in peaks.items()}
    rows = [_row(stage, *pair, peaks) for stage, pair in zip(stages, turns, strict=True)]
    return Profile(repr(net), batch, net.dtype.name, limit, TARGET.name, load, peaks, tuple(rows))


def _row(stage: Stage, numpy: _Turns, fastdnn: _Turns, peaks: dict[str, float]) -> Row:
    return Row(
        stage.name, stage.layers, stage.shape, stage.flops, stage.bytes,
        numpy.best, fastdnn.best, fastdnn.first, peaks["flops"], peaks["bandwidth"],
    )  # fmt: skip


class _Turns:
    """The times of one contestant at one stage."""

    def __init__(self, run: Repeated, longer: int = 1) -> None:
        wanted = longer * TURN_SECONDS
        self.run = run
        self.calls = 1
        self.first = _timed(run, 1)
        while (seconds := _timed(run, self.calls)) < wanted:
            self.calls *= min(GROWTH, math.ceil(wanted / max(seconds, 1e-9)) + 1)
        self.best = seconds / self.calls

    def take(self) -> None:
        """One more turn."""
        self.best = min(self.best, _timed(self.run, self.calls) / self.calls)


def _timed(run: Repeated, calls: int) -> float:
    """Seconds that so many calls take, the garbage collector kept out."""
    collected = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        run(calls)
        return time.perf_counter() - start
    finally:
        if collected:
            gc.enable()
