"""What an optimizer remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastdnn.memory import aligned_zeros

from .algorithms import Optimizer


@dataclass
class OptimizerState:
    """What an optimizer remembers from step to step, and from one ``fit`` to the next.

    Attributes
    ----------
    values : ndarray
        ``n_states`` numbers for each parameter, which the compiled update reads and writes.
    step : int
        Number of steps it has seen.
    optimizer : Optimizer or None
        Whose memory it is.
    """

    values: NDArray[Any]
    step: int = 0
    optimizer: Optimizer | None = None

    def serving(self, optimizer: Optimizer, zeros: NDArray[Any]) -> OptimizerState:
        """This memory in ``zeros`` if the optimizer is of the last one's kind, else a new one."""
        if type(self.optimizer) is not type(optimizer):
            return OptimizerState(zeros, 0, optimizer)
        known = min(self.values.size, zeros.size)
        zeros[:known] = self.values[:known]
        return OptimizerState(zeros, self.step, optimizer)

    def forget(self) -> None:
        """Have the next training start anew."""
        self.optimizer = None

    def copy(self) -> OptimizerState:
        """One that shares no memory with this one, and is aligned where a pickle is not."""
        values = aligned_zeros(self.values.size, self.values.dtype)
        values[:] = self.values
        return OptimizerState(values, self.step, self.optimizer)
