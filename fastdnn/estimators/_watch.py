"""What happens after the epochs of a fit: curves, stopping rule, learning rate, best weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastdnn.callbacks import Watcher
from fastdnn.history import History

# The adaptive learning rate is divided by 5 each time the training stalls, until it is this small.
ADAPTIVE_DIVISOR = 5.0
SMALLEST_RATE = 1e-6


@dataclass
class Rate:
    """Multiplier of `learning_rate_init` in every epoch of one fit.

    Parameters
    ----------
    initial : float
        `learning_rate_init`.
    power_t : float
        The multiplier falls as (t + 1)^-power_t with t the examples seen so far; 0 keeps it.
    adaptive : bool
        Whether `reduce` may divide the rate.
    factor : float
        What earlier divisions have left.
    seen, examples : int
        Examples seen before the fit, and in each of its epochs.
    """

    initial: float
    power_t: float
    adaptive: bool
    factor: float
    seen: int
    examples: int

    def __call__(self, epoch: int) -> float:
        """Multiplier of an epoch; epochs count from 0."""
        seen = self.seen + epoch * self.examples
        return self.factor / float((seen + 1.0) ** self.power_t)

    @property
    def constant(self) -> bool:
        """Whether the multiplier is 1 in all epochs."""
        return self.power_t == 0.0 and not self.adaptive and self.factor == 1.0

    def reduce(self) -> bool:
        """Divide the rate; False where it is not adaptive, or small enough already."""
        if not self.adaptive or self.initial * self.factor <= SMALLEST_RATE:
            return False
        self.factor /= ADAPTIVE_DIVISOR
        return True


@dataclass
class Validation:
    """Held-out examples: ``score()`` gives the loss and the score of the network on them."""

    score: Callable[[], tuple[float, float]]
    decides: bool  # whether the score, and not the training loss, says when to stop


class Watch(Watcher):
    """Callback of one fit: keeps the estimator's fitted attributes up to date, and stops it.

    An epoch that does not improve by ``tol`` counts as stalled; more than ``n_iter_no_change`` of
    them in a row end the training. The loss includes the L2 term, taken after the epoch.
    """

    def __init__(self, estimator: Any, rate: Rate, validation: Validation | None) -> None:
        self.estimator, self.rate, self.validation = estimator, rate, validation
        self.converged = False
        self._seen = 0
        self._parameters = estimator.network_.parameters
        # The parameters that a warm start begins with are the best so far.
        self._best = {k: v.copy() for k, v in self._parameters.items()} if validation else {}

    def may_wait(self) -> float:
        """Until a stop is possible; held-out examples are scored after every epoch."""
        if self.validation is not None:
            return 1
        fitted = self.estimator
        return float(fitted.n_iter_no_change + 1 - fitted._no_improvement_count)

    def __call__(self, history: History) -> bool:
        """Take note of the epochs since the last call; False ends the training."""
        losses = history.cost[self._seen :]
        if history.penalty:
            terms = history.penalty[self._seen :]
            losses = [loss + term for loss, term in zip(losses, terms, strict=True)]
        goes_on = True
        for loss in losses:
            self._seen += 1
            goes_on = self._epoch(loss)
        return goes_on

    def _epoch(self, loss: float) -> bool:
        """Take note of an epoch; False ends the training."""
        fitted = self.estimator
        fitted.n_iter_ += 1
        fitted.t_ += self.rate.examples
        fitted.loss_ = loss
        fitted.loss_curve_.append(loss)
        self._say(f"Iteration {fitted.n_iter_}, loss = {loss:.8f}")
        stalled = self._validate() if self.validation is not None else False
        if fitted.best_loss_ is not None:
            stalled = loss > fitted.best_loss_ - fitted.tol
            fitted.best_loss_ = min(loss, fitted.best_loss_)
        fitted._no_improvement_count = fitted._no_improvement_count + 1 if stalled else 0
        return fitted._no_improvement_count <= fitted.n_iter_no_change or self._goes_on()

    def _validate(self) -> bool:
        """Score the held-out examples, keep the best parameters; True for no improvement."""
        assert self.validation is not None
        fitted = self.estimator
        loss, score = self.validation.score()
        fitted.validation_loss_curve_.append(loss)
        fitted.validation_scores_.append(score)
        self._say(f"Validation score: {score:f}")
        stalled = score < fitted.best_validation_score_ + fitted.tol
        if score > fitted.best_validation_score_:
            fitted.best_validation_score_ = score
            for name, best in self._best.items():
                best[...] = self._parameters[name]
        return bool(stalled)

    def _goes_on(self) -> bool:
        """Whether a lower learning rate gives a stalled training another chance."""
        fitted = self.estimator
        what = "Training loss" if fitted.best_loss_ is not None else "Validation score"
        message = (
            f"{what} did not improve more than tol={fitted.tol:f} for "
            f"{fitted.n_iter_no_change} consecutive epochs."
        )
        if self.rate.reduce():
            fitted._no_improvement_count = 0
            rate = self.rate.initial * self.rate.factor
            self._say(f"{message} Setting learning rate to {rate:f}")
            return True
        self._say(f"{message} Stopping.")
        self.converged = True
        return False

    def restore_best(self) -> None:
        """Put the parameters of the best validation score in place, if there was validation."""
        for name, best in self._best.items():
            self._parameters[name][...] = best

    def _say(self, message: str) -> None:
        if self.estimator.verbose:
            print(message)
