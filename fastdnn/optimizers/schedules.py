"""Learning-rate schedules, and their run along one training.

A schedule is a callable ``epoch -> multiplier``: the learning rate of an epoch is
``learning_rate * schedule(epoch)``. Epochs count from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from fastdnn import checks

Schedule: TypeAlias = Callable[[int], float]
"""Multiplier of the learning rate of an epoch."""

ScheduleLike: TypeAlias = "str | Schedule | None"


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The same learning rate throughout: multiplier 1."""

    def __call__(self, epoch: int) -> float:
        """Multiplier of an epoch."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """Multiply by `factor` every `every` epochs: factor^floor(epoch / every).

    Examples
    --------
    >>> [Step(every=2, factor=0.5)(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        checks.whole_number("every", self.every)
        checks.real_number("factor", self.factor, at_least=0)

    def __call__(self, epoch: int) -> float:
        """Multiplier of an epoch."""
        return self.factor ** (epoch // self.every)


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """Multiply by `factor` every epoch: factor^epoch.

    Examples
    --------
    >>> [Exponential(factor=0.5)(epoch) for epoch in range(3)]
    [1.0, 0.5, 0.25]
    """

    factor: float = 0.95

    def __post_init__(self) -> None:
        checks.real_number("factor", self.factor, at_least=0)

    def __call__(self, epoch: int) -> float:
        """Multiplier of an epoch."""
        return self.factor**epoch


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from 1 down to `floor`: floor + (1 - floor)(1 + cos(pi e / epochs)) / 2.

    `epochs` is the length of the descent, after which `floor` holds; None stands for the
    length of the training. I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent
    with warm restarts", ICLR 2017 (without the restarts).

    Examples
    --------
    >>> [round(Cosine(epochs=4)(epoch), 3) for epoch in (0, 2, 4)]
    [1.0, 0.5, 0.0]
    """

    epochs: int | None = None
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs is not None:
            checks.whole_number("epochs", self.epochs)
        checks.probability("floor", self.floor)

    def __call__(self, epoch: int) -> float:
        """Multiplier of an epoch."""
        if self.epochs is None:
            raise ValueError("Cosine.epochs is None, expected the number of epochs of the descent")
        progress = min(epoch / self.epochs, 1.0)
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """Rise linearly over the first `epochs` epochs, then follow the schedule `then`.

    The multiplier is (epoch + 1) / (epochs + 1) while epoch < epochs, then(epoch - epochs)
    afterwards. P. Goyal et al., "Accurate, large minibatch SGD", arXiv:1706.02677, 2017.

    Examples
    --------
    >>> [WarmUp(epochs=3)(epoch) for epoch in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    epochs: int = 5
    then: ScheduleLike = "constant"

    def __post_init__(self) -> None:
        checks.whole_number("epochs", self.epochs)
        if isinstance(resolve_schedule(self.then), ReduceOnPlateau):
            raise ValueError("then is ReduceOnPlateau, expected a schedule of the epoch alone")

    def __call__(self, epoch: int) -> float:
        """Multiplier of an epoch."""
        if epoch < self.epochs:
            return (epoch + 1) / (self.epochs + 1)
        return resolve_schedule(self.then)(epoch - self.epochs)


@dataclass(frozen=True, kw_only=True)
class ReduceOnPlateau:
    """Multiply by `factor` when the cost has not improved for more than `patience` epochs.

    An epoch improves if cost < best - tolerance * |best|, which a cost that is not finite never
    does. The multiplier never falls below `floor`. It depends on the costs, so it is run by
    `LearningRate`, which is told of them.

    Examples
    --------
    >>> rate = LearningRate(1.0, ReduceOnPlateau(factor=0.5, patience=0), epochs=9)
    >>> rate.observe(0.3)  # the first cost is the best so far
    >>> rate.observe(0.4)
    >>> rate.at(2)
    0.5
    """

    factor: float = 0.1
    patience: int = 10
    tolerance: float = 1e-4
    floor: float = 0.0

    def __post_init__(self) -> None:
        checks.probability("factor", self.factor)
        checks.whole_number("patience", self.patience, at_least=0)
        checks.real_number("tolerance", self.tolerance, at_least=0)
        checks.probability("floor", self.floor)

    def __call__(self, epoch: int) -> float:
        """Always 1: the costs decide, and `LearningRate` keeps the factor that they led to."""
        return 1.0


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "warm_up": WarmUp,
    "reduce_on_plateau": ReduceOnPlateau,
}


def resolve_schedule(schedule: ScheduleLike, epochs: int | None = None) -> Schedule:
    """The schedule meant by a name, an object, a callable, or None (constant).

    Parameters
    ----------
    schedule : str or callable, optional
        A name of `SCHEDULES` (hyphens may stand for underscores) or ``epoch -> multiplier``.
    epochs : int, optional
        Length of the training, for schedules that end with it and do not say when.

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        If `schedule` is neither a name nor callable.

    Examples
    --------
    >>> resolve_schedule("cosine", epochs=20)
    Cosine(epochs=20, floor=0.0)
    """
    if schedule is None:
        return Constant()
    if isinstance(schedule, str):
        name = checks.choice("schedule", schedule.replace("-", "_"), SCHEDULES)
        schedule = SCHEDULES[name]()
    if isinstance(schedule, type) or not callable(schedule):
        raise TypeError(
            f"schedule is {schedule!r}, expected one of {', '.join(SCHEDULES)} "
            "or a callable epoch -> multiplier"
        )
    if isinstance(schedule, Cosine) and schedule.epochs is None:
        return replace(schedule, epochs=epochs)
    if isinstance(schedule, WarmUp):
        left = None if epochs is None else max(1, epochs - schedule.epochs)
        return replace(schedule, then=resolve_schedule(schedule.then, left))
    return schedule


class LearningRate:
    """The learning rate of every epoch of one training: the run of a schedule.

    Parameters
    ----------
    base : float
        Learning rate that the schedule multiplies.
    schedule : str or callable, optional
    epochs : int
        Length of the training.

    Examples
    --------
    >>> rate = LearningRate(0.1, lambda epoch: 0.5**epoch, epochs=3)
    >>> [rate.at(epoch) for epoch in range(3)]
    [0.1, 0.05, 0.025]
    """

    def __init__(self, base: float, schedule: ScheduleLike, epochs: int) -> None:
        self.base = checks.learning_rate(base)
        self.schedule = resolve_schedule(schedule, epochs)
        self._factor = 1.0
        self._best: float | None = None
        self._waited = 0

    def at(self, epoch: int) -> float:
        """Learning rate of an epoch; epochs count from 0.

        Raises
        ------
        TypeError, ValueError
            If the schedule returned something other than a finite number >= 0, or raised
            OverflowError, as powers of floats do.
        """
        name = f"schedule({epoch})"
        try:
            given = self.schedule(epoch)
        except OverflowError as error:
            raise ValueError(
                f"{name} is too large for a float, expected a finite number >= 0"
            ) from error
        return self.base * self._factor * checks.real_number(name, given, at_least=0)

    def observe(self, cost: float) -> None:
        """Tell the schedule the monitored cost of the epoch that just ended."""
        plan = self.schedule
        if not isinstance(plan, ReduceOnPlateau):
            return
        best = math.inf if self._best is None else self._best - plan.tolerance * abs(self._best)
        # No cost would be below an infinite best one, minus its tolerance: that is NaN.
        if math.isfinite(cost) and cost < best:
            self._best, self._waited = float(cost), 0
            return
        self._waited += 1
        if self._waited > plan.patience:
            self._factor, self._waited = max(self._factor * plan.factor, plan.floor), 0

    def state(self) -> dict[str, float | int | None]:
        """What `observe` has learnt so far, for a checkpoint; JSON-able."""
        return {"factor": self._factor, "best": self._best, "waited": self._waited}

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Go on from a `state`.

        Raises
        ------
        ValueError, TypeError
            If `state` is not what `state()` returns.
        """
        if set(state) != {"factor", "best", "waited"}:
            raise ValueError(f"state has keys {sorted(state)}, expected best, factor, waited")
        best = state["best"]
        self._factor = checks.real_number("factor", state["factor"], at_least=0)
        self._best = None if best is None else checks.real_number("best", best)
        self._waited = checks.whole_number("waited", state["waited"], at_least=0)
