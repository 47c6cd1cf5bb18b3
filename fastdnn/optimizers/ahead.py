"""The scalars of an optimizer's next steps, computed for many of them at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .algorithms import Optimizer

# Scalars are computed for so many calls at once, which costs little more than for one, and for at
# most so many steps: 8 MiB of float64, some 30 while they are computed.
CALLS_AHEAD = 16
STEPS_AHEAD = 1 << 17


class ScalarsAhead:
    """Hands out `Optimizer.coefficients` call by call."""

    def __init__(self, optimizer: Optimizer, dtype: np.dtype[Any]) -> None:
        self._optimizer, self._dtype = optimizer, dtype
        self._rows: NDArray[Any] = np.zeros((0, 0), dtype)
        self._after = 0
        self._rate = math.nan

    def next(self, count: int, *, after: int, rate: float, left: int) -> NDArray[Any]:
        """Those of the ``count`` steps after so many, of a training with ``left`` steps to go.

        From the second call at the same learning rate on they are computed ahead.
        """
        first = after - self._after
        if rate != self._rate or first + count > len(self._rows):
            ahead = count
            if rate == self._rate:
                ahead *= min(CALLS_AHEAD, STEPS_AHEAD // count)
                ahead = max(count, min(ahead, left))
            self._rows = self._optimizer.coefficients(after + 1, ahead, rate, self._dtype)
            self._after, self._rate, first = after, rate, 0
        return self._rows[first : first + count]
