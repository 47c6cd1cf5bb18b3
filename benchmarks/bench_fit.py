"""`DNN.fit` with none of its options beside one compiled call of the same steps: what Python costs.

``python -m benchmarks.bench_fit`` prints the table: both in turn, from the same parameters, until
the median of the quotients of neighbours is known to `ERROR`, or for `LONGEST` where the machine's
speed changes too much for that; and the share of its time that each is outside of compiled calls,
which is the same on any machine. As a test it compares the parameters; with
``--benchmark-enable`` it demands that fit takes at most `ALLOWED` longer.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock

import numpy as np
import pytest

import fastdnn
from fastdnn.engine import Matrix
from fastdnn.optimizers import resolve

ALLOWED = 0.02
# A fit lasts between one and two of these seconds. Where the speed of the machine changes by 15 %
# from one fit to the next, however long they are, many short ones tell more than few long ones;
# what fit does once, such as checking its input, is a larger share of them than of a user's fit.
SECONDS = 0.4
ERROR = 0.005
LONGEST = 150.0  # seconds of one case
LEAST_ROUNDS = 15
RATE = 1e-6


@dataclass(frozen=True)
class Case:
    """A network and how it is trained: ``batch`` None takes all examples at once."""

    layer_dims: tuple[int, ...]
    m: int
    batch: int | None
    optimizer: str = "sgd"
    dtype: str = "float32"

    def __str__(self) -> str:
        dims = "-".join(map(str, self.layer_dims))
        return f"{dims}, m {self.m}, batch {self.batch or 'all'}, {self.optimizer}, {self.dtype}"


CASES = [
    Case((2, 16, 1), 400, None, dtype="float64"),
    # With plain descent fit has a shorter way than this loop.
    Case((12288, 20, 7, 5, 1), 209, None, "momentum"),
    Case((64, 128, 64, 1), 1500, None, "adam"),
    Case((784, 128, 1), 3_200, 64),
    Case((784, 128, 1), 3_200, 64, "adam"),
    Case((64, 128, 1), 3_200, 128, "adam"),
]


class Contest:
    """The same steps by ``fit`` and by one call of the engine."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(0)
        n_x, m = case.layer_dims[0], case.m
        # Examples lie one after the other, as they are read from files.
        self.X = rng.standard_normal((m, n_x)).astype(case.dtype).T
        self.Y = (self.X[:1] > 0).astype(case.dtype)
        self.case = case
        self.net = fastdnn.DNN(case.layer_dims, dtype=case.dtype)
        self.start = self.net._engine.buffer.copy()
        self.optimizer = resolve(case.optimizer, RATE, None, None)
        self.examples, self.targets = (Matrix.of(a, self.net.dtype) for a in (self.X, self.Y))

    def reset(self) -> None:
        """Back to the first parameters, first random order, and an optimizer that saw nothing."""
        self.net._engine.buffer[:] = self.start
        self.net._state.forget()
        self.net._rng = np.random.default_rng(0)

    def fit(self, epochs: int) -> None:
        """As a user trains."""
        self.net.fit(
            self.X, self.Y, epochs=epochs, batch_size=self.case.batch,
            optimizer=self.case.optimizer, learning_rate=RATE,
        )  # fmt: skip

    def bare(self, epochs: int) -> None:
        """The orders of all epochs are drawn, then all steps are one compiled call."""
        engine, m, order = self.net._engine, self.case.m, None
        if self.case.batch is None:
            starts = np.full(epochs, -1)  # the examples of the step before
            starts[0] = 0
        else:
            starts = np.arange(0, m * epochs, self.case.batch)
            order = np.concatenate([self.net._rng.permutation(m) for _ in range(epochs)])
        steps = len(starts)
        coefficients = self.optimizer.coefficients(1, steps, RATE, self.net.dtype)
        done, _ = engine.steps(
            self.examples, self.targets, starts, coefficients, self.optimizer.code,
            engine.new_state(self.optimizer.n_states), self.case.batch or m, order=order,
        )  # fmt: skip
        assert done == steps

    def timed(self, run: Callable[[int], None], epochs: int) -> float:
        """Seconds, from the first parameters."""
        self.reset()
        began = time.perf_counter()
        run(epochs)
        return time.perf_counter() - began

    def outside(self, run: Callable[[int], None], epochs: int) -> float:
        """The share of the time of ``run`` that is not in calls of the engine's steps."""
        inside = 0.0
        engine = self.net._engine
        steps = engine.steps

        def timed_steps(*args: Any, **options: Any) -> Any:
            nonlocal inside
            began = time.perf_counter()
            done = steps(*args, **options)
            inside += time.perf_counter() - began
            return done

        with mock.patch.object(engine, "steps", timed_steps):
            whole = self.timed(run, epochs)
        return 1.0 - inside / whole


@dataclass(frozen=True)
class Excess:
    """How much longer fit takes than the bare loop, as a share of it."""

    share: float
    error: float  # the standard error of that median
    seconds: float  # of the fastest fit
    rounds: int
    outside: float  # of compiled calls: the median share of fit's own time
    bare_outside: float


def standard_error(quotients: list[float]) -> float:
    """Of the median.

    From the median deviation, which a disturbed round does not move: 1.4826 of it are a standard
    deviation of normal numbers, and their median varies by 1.2533 of that over sqrt(rounds).
    """
    median = statistics.median(quotients)
    deviation = statistics.median(abs(quotient - median) for quotient in quotients)
    return 1.2533 * 1.4826 * deviation / math.sqrt(len(quotients))


def excess(case: Case) -> Excess:
    """Measure both in turn."""
    contest = Contest(case)
    contest.timed(contest.fit, 2)
    epochs = 2
    while contest.timed(contest.bare, epochs) < SECONDS:
        epochs *= 2
    quotients: list[float] = []
    fastest, began = math.inf, time.perf_counter()
    while len(quotients) < LEAST_ROUNDS or (
        standard_error(quotients) > ERROR and time.perf_counter() - began < LONGEST
    ):
        sides = (contest.fit, contest.bare)
        taken = {
            run.__name__: contest.timed(run, epochs)
            for run in (sides if len(quotients) % 2 else reversed(sides))
        }
        quotients.append(taken["fit"] / taken["bare"])
        fastest = min(fastest, taken["fit"])
    fit_outside, bare_outside = (
        statistics.median(contest.outside(run, epochs) for _ in range(LEAST_ROUNDS))
        for run in (contest.fit, contest.bare)
    )
    return Excess(
        statistics.median(quotients) - 1.0, standard_error(quotients), fastest, len(quotients),
        fit_outside, bare_outside,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fit_is_the_bare_loop(case: Case, benchmark: Any) -> None:
    if not benchmark.enabled:
        contest = Contest(case)
        benchmark.pedantic(contest.timed, (contest.bare, 2))
        there = contest.net._engine.buffer.copy()
        contest.timed(contest.fit, 2)
        np.testing.assert_array_equal(contest.net._engine.buffer, there)
        assert not np.array_equal(there, contest.start)
        return
    found = benchmark.pedantic(excess, (case,))
    benchmark.extra_info.update(asdict(found))
    assert found.share <= ALLOWED


def main() -> None:
    """Print one row a case."""
    print(f"{'':58} seconds rounds   fit takes more   outside of calls: fit, bare")
    for case in CASES:
        found = excess(case)
        percent = f"{100 * found.share:+.1f} +- {100 * found.error:.1f} %"
        print(
            f"{case!s:58} {found.seconds:7.3f} {found.rounds:6} {percent:>16}"
            f"   {100 * found.outside:17.1f} %, {100 * found.bare_outside:.1f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
