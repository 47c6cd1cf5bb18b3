"""What happened in a training, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(repr=False)
class History:
    """What happened, one entry an epoch.

    Attributes
    ----------
    cost : list of float
        Training cost: of a full batch before its update, or the mean over the epoch's batches. It
        is the loss alone: examples are weighted, but the L2 term of weight decay is not in it.
    penalty : list of float
        That term, weight_decay / 2 * sum(W^2), after the epoch; empty without weight decay, and
        for ``adamw``, where it is no part of the cost.
    validation_cost, validation_metric : list of float
        Empty without validation data. All examples count alike. The metric is accuracy, or for
        ``mse`` the R2 score, averaged over the outputs.
    learning_rate : list of float
    best_epoch : int or None
        Epoch (from 0) whose parameters had the lowest validation cost; they are in place.
    stopped_early, interrupted : bool
    seconds, compile_seconds : float
        Time of the training, and how much of it went into compiling kernels; those that come from
        the cache are not compiled.

    Examples
    --------
    >>> History(cost=[0.7, 0.4, 0.3], seconds=0.25)
    <History of 3 epochs: cost 0.7 -> 0.3; 0.25 s>
    """

    cost: list[float] = field(default_factory=list)
    validation_cost: list[float] = field(default_factory=list)
    validation_metric: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False
    interrupted: bool = False
    seconds: float = 0.0
    compile_seconds: float = 0.0
    penalty: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Epochs completed."""
        return len(self.cost)

    def __repr__(self) -> str:
        if not self.cost:
            return "<History of 0 epochs>"
        parts = [f"cost {self.cost[0]:.4g} -> {self.cost[-1]:.4g}"]
        if self.validation_cost:
            at = len(self.validation_cost) - 1 if self.best_epoch is None else self.best_epoch
            parts.append(
                f"validation cost {self.validation_cost[at]:.4g} and metric "
                f"{self.validation_metric[at]:.4g} in epoch {at + 1}"
            )
        ended = {"stopped early": self.stopped_early, "interrupted": self.interrupted}
        parts += [*(text for text, so in ended.items() if so), f"{self.seconds:.3g} s"]
        plural = "" if len(self.cost) == 1 else "s"
        return f"<History of {len(self.cost)} epoch{plural}: {'; '.join(parts)}>"

    def plot(self, path: str | None = None) -> Any:
        """Draw the cost curve; see `fastdnn.plotting.plot_history`."""
        from .plotting import plot_history

        return plot_history(self, path)
