"""The memory that the calls of one network work in, kept from one call to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernels import tables
from .kernels.dropout import keep_threshold
from .kernels.microkernels import tile_address
from .plan import Plan

# Workspaces kept for the next call: a training step, and forward passes over two sets of examples.
KEPT = 3


class Purpose(NamedTuple):
    """What a workspace is for."""

    trains: bool  # a step, or else a forward pass alone
    examples: int
    members: int  # of a team
    weighted: bool = False  # whether examples have weights


@dataclass
class Workspace:
    """A plan and the buffers it asks for."""

    plan: Plan
    shapes: NDArray[np.int64]  # the plan's shape vector, and that of a batch with fewer examples
    work: NDArray[Any]
    partial_costs: NDArray[np.float64]
    block_squares: NDArray[np.float64]
    progress: NDArray[np.int64]
    dropout: tuple[float, ...] = ()
    holder: object = None  # whose examples of all columns lie packed in it

    @classmethod
    def of(cls, plan: Plan, dtype: np.dtype[Any]) -> Workspace:
        """New memory for a plan."""
        plan.shape[tables.TILE] = tile_address(dtype)
        return cls(
            plan,
            np.stack([plan.shape] * 2),
            plan.new_work(dtype),
            partial_costs=np.zeros(plan.panels),
            block_squares=np.zeros((2, len(plan.blocks))),
            progress=np.zeros(plan.counters, np.int64),
        )

    def set_dropout(self, rates: tuple[float, ...]) -> None:
        """Write the rates of the hidden layers into the plan, if they are new."""
        if rates != self.dropout:
            keep = self.plan.layers[:, tables.KEEP]
            keep[:] = 0
            keep[: len(rates)] = [keep_threshold(rate) for rate in rates]
            self.dropout = rates


@dataclass
class Workspaces:
    """Those of the last calls.

    Whoever takes one has it alone until it is put back: a signal handler that calls the network
    while its own thread is at work gets another one, and what Ctrl-C leaves half done in one is
    never seen again.
    """

    kept: OrderedDict[Purpose, Workspace] = field(default_factory=OrderedDict)

    def take(self, purpose: Purpose, make: Callable[[Purpose], Workspace]) -> Workspace:
        """The one kept for this purpose, or a new one that ``make`` makes."""
        found = self.kept.pop(purpose, None)
        if found is None:
            while len(self.kept) >= KEPT:  # before there is one more
                self.kept.popitem(last=False)
            found = make(purpose)
        return found

    def put_back(self, purpose: Purpose, space: Workspace) -> None:
        """Keep it for the next call, as the one that was used last."""
        self.kept[purpose] = space
        self.kept.move_to_end(purpose)  # a signal handler may have put one there
