"""What a plan is: the tables that a compiled step or forward pass reads, and its working memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .kernels import tables
from .memory import aligned, aligned_zeros


class Places:
    """Hands out aligned ranges of a buffer to be."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype, self.size = dtype, 0

    def take(self, count: int) -> int:
        """The place of ``count`` elements."""
        place = self.size
        self.size += aligned(count, self.dtype)
        return place


@dataclass
class Plan:
    """The tables a compiled step reads, and the sizes of the buffers it works in."""

    shape: np.ndarray
    layers: np.ndarray
    blocks: np.ndarray
    tasks: np.ndarray
    work_size: int
    multiply_adds: int  # of one step

    @property
    def panels(self) -> int:
        """Panels of examples."""
        return int(self.shape[tables.PANELS])

    def with_fewer(self, shape: np.ndarray, examples: int) -> np.ndarray:
        """``shape`` for a step that has fewer examples, in the same places."""
        shape = shape.copy()
        panels = -(-examples // int(shape[tables.WIDTH]))
        shape[tables.EXAMPLES], shape[tables.PANELS] = examples, panels
        if shape[tables.CHUNKS]:
            shape[tables.CHUNKS] = shape[tables.PIECES] = min(int(shape[tables.CHUNKS]), panels)
        elif not len(self.tasks):  # tasks without examples are passed over
            shape[tables.PIECES] = -(-panels // int(shape[tables.GROUP]))
        return shape

    @property
    def counters(self) -> int:
        """Counters of finished tasks."""
        return int(self.tasks[:, tables.TASK_COUNTER].max(initial=-1)) + 1

    def new_work(self, dtype: np.dtype) -> np.ndarray:
        """The buffer to work in: zeros, and the ones that turn the biases into a column of W.

        Where a layer's inputs do not fill their last vector, the unit after the last one is 1 for
        every example, in the panels of examples and in the panels of units.
        """
        work = aligned_zeros(self.work_size, dtype)
        width, unit_width = int(self.shape[tables.WIDTH]), int(self.shape[tables.UNIT_WIDTH])
        for row in self.layers[self.layers[:, tables.ONES] == 1].tolist():
            n_in, panel_size = row[tables.N_IN], row[tables.INPUT_PANEL]
            panels = row[tables.UNITS_PANEL] // (width * unit_width)
            if row[tables.INPUT] >= 0:
                values = work[row[tables.INPUT] : row[tables.INPUT] + panels * panel_size]
                values.reshape(panels, -1, width)[:, n_in] = 1
            if row[tables.UNITS] >= 0:
                first = row[tables.UNITS] + n_in // unit_width * row[tables.UNITS_PANEL]
                units = work[first : first + row[tables.UNITS_PANEL]]
                units.reshape(-1, unit_width)[:, n_in % unit_width] = 1
        return work

    def set_units(self, work: np.ndarray, units: np.ndarray) -> None:
        """Put other ``units`` (n_in, m) than the input where dW of the first layer reads it.

        Not for slabs, which compute Z from there as well.
        """
        if self.shape[tables.SLABS] >= 0:
            raise ValueError("a first layer in slabs reads its input in the panels of units")
        row, unit_width = self.layers[0], int(self.shape[tables.UNIT_WIDTH])
        n_in, m = units.shape
        for i, first in enumerate(range(0, n_in, unit_width)):
            place = row[tables.UNITS] + i * row[tables.UNITS_PANEL]
            panel = work[place : place + row[tables.UNITS_PANEL]].reshape(-1, unit_width)
            some = units[first : first + unit_width]
            panel[:m, : len(some)] = some.T  # a row of ones may follow
