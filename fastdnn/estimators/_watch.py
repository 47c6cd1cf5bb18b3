"""What happens after every epoch of a fit: curves, stopping rule, learning rate, best weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn.network import DNN
from fastdnn.training import History

# The adaptive learning rate is divided by 5 each time the training stalls, until it is this small.
ADAPTIVE_DIVISOR = 5.0
SMALLEST_RATE = 1e-6


@dataclass
class Rate:
    """Multiplier of `learning_rate_init` in every epoch.

    Parameters
    ----------
    power_t : float
        The multiplier falls as (t + 1)^-power_t, t the examples seen before the epoch; 0 keeps it.
    adaptive : bool
        Whether `reduce` divides the rate, or the training has to stop.
    initial : float
        `learning_rate_init`.
    factor : float
        What is left of it after the divisions so far.
    seen, examples : int
        Examples seen before the fit, and in each of its epochs.
    """

    power_t: float
    adaptive: bool
    initial: float
    factor: float
    seen: int
    examples: int

    def __call__(self, epoch: int) -> float:
        """Multiplier of an epoch; epochs count from 0."""
        seen = self.seen + epoch * self.examples
        return self.factor * (seen + 1.0) ** -self.power_t

    def reduce(self) -> bool:
        """Divide the rate, or say no where it is constant or small enough already."""
        if not self.adaptive or self.initial * self.factor <= SMALLEST_RATE:
            return False
        self.factor /= ADAPTIVE_DIVISOR
        return True


@dataclass
class Validation:
    """Held-out examples: ``score()`` gives the present network's loss and score on them."""

    score: Callable[[], tuple[float, float]]
    stops: bool  # whether the score, and not the training loss, decides when to stop


class Watch:
    """Callback of one fit of ``estimator``; keeps its fitted attributes up to date.

    An epoch without an improvement by ``tol`` is counted; more than ``n_iter_no_change`` in a row
    end the training. The L2 term of the loss is that of the weights after the epoch.
    """

    def __init__(
        self, estimator: Any, rate: Rate, l2: float, validation: Validation | None
    ) -> None:
        self.estimator = estimator
        self.rate = rate
        self.validation = validation
        self.converged = False
        net: DNN = estimator.network_
        self._parameters = net.parameters
        weights = [value for name, value in net.parameters.items() if name[0] == "W"]
        self._weights: list[NDArray[Any]] = [W.reshape(-1) for W in weights] if l2 else []
        self._l2 = l2
        # What a warm start brings along is the best so far.
        self._best = self._copy() if validation else {}

    def __call__(self, history: History) -> bool:
        """Take note of an epoch; False ends the training."""
        fitted = self.estimator
        loss = history.cost[-1]
        if self._weights:
            loss += 0.5 * self._l2 * float(sum(np.dot(w, w) for w in self._weights))
        fitted.n_iter_ += 1
        fitted.t_ += self.rate.examples
        fitted.loss_ = loss
        fitted.loss_curve_.append(loss)
        if fitted.verbose:
            print(f"Iteration {fitted.n_iter_}, loss = {loss:.8f}")
        stalled = loss > fitted.best_loss - fitted.tol
        fitted.best_loss = min(loss, fitted.best_loss)
        return not stalled
