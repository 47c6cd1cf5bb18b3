"""Held-out examples: how a network is scored on them, and the best parameters so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checks
from .engine import Engine


@dataclass
class Validation:
    """Held-out examples, and how to score the network on them."""

    score: Callable[[], tuple[float, float]]  # cost, metric
    patience: int | None = None


def check_validation(data: object, patience: int | None) -> None:
    """Whether ``validation_data`` is a pair, and ``early_stopping`` has it and is a number."""
    if data is None:
        if patience is not None:
            raise ValueError("early_stopping needs validation_data=(X, Y)")
        return
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"validation_data is {data!r:.60}, expected a pair (X, Y)")
    if patience is not None:
        checks.whole_number("early_stopping", patience)


class Best:
    """The parameters with the lowest validation cost so far."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cost = math.inf
        self.buffer = np.empty_like(engine.buffer)

    @property
    def kept(self) -> bool:
        """Whether there are any."""
        return self.cost < math.inf

    def keep(self, cost: float, parameters: NDArray[Any]) -> None:
        """Keep ``parameters``, whose validation cost is ``cost``."""
        self.buffer[:] = parameters
        self.cost = cost

    def restore(self) -> None:
        """Put the best parameters back in place."""
        if self.kept:
            self.engine.buffer[:] = self.buffer
