"""A training step for tests: every buffer fenced, the regions of ``work`` apart.

Everything a step may neither read nor write is NaN: the gaps between regions of ``work``, and the
unused places between parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from kernel_cases import JIT, Allocator, run_all

from fastdnn import optimizers, planning, reference
from fastdnn.kernels import step, tables, updates
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.kernels.losses import LOSSES
from fastdnn.kernels.microkernels import tile_address
from fastdnn.kernels.step import UNITS_TOGETHER
from fastdnn.kernels.team import RESULT, new_counters
from fastdnn.kernels.vectors import lane_count
from fastdnn.layout import ParameterLayout

GAP = 128  # elements between regions of work
MEMBERS = 4  # the largest team in tests

# One table's column or entry for each kind of region that a plan hands out.
LAYER_REGIONS = (tables.UNITS, tables.OUTPUT, tables.ERROR, tables.PACKED, tables.PACKED_T)
SHAPE_REGIONS = (tables.TARGETS, tables.WEIGHTS, tables.SCRATCH, tables.SLABS)


def places_of(plan: planning.Plan) -> list[int]:
    """Where the regions of a plan's ``work`` start: of every member, every chunk and its layers."""
    layers, shape = plan.layers, plan.shape
    places = {int(layers[0, tables.INPUT])}
    places |= {int(row[column]) for row in layers for column in LAYER_REGIONS}
    places |= {int(shape[entry]) for entry in SHAPE_REGIONS}
    own = int(shape[tables.SCRATCH_SIZE])
    places |= {int(shape[tables.SCRATCH]) + member * own for member in range(MEMBERS)}
    for chunk in range(int(shape[tables.CHUNKS])):
        first = int(shape[tables.CHUNK_GRADIENTS] + chunk * shape[tables.CHUNK_SIZE])
        places |= {first + int(place) for place in layers[:, tables.CHUNK_GRADIENT]}
    return sorted(places - {-1})


def spaced_out(plan: planning.Plan) -> list[slice]:
    """Move the regions of a plan's ``work`` apart; returns the gaps between and around them."""
    layers, shape = plan.layers, plan.shape
    old = places_of(plan)
    moved, gaps, end = {-1: -1}, [], 0
    for place, following in zip(old, [*old[1:], plan.work_size], strict=True):
        gaps.append(slice(end, end + GAP))
        moved[place] = end + GAP
        end = moved[place] + following - place
    gaps.append(slice(end, end + GAP))
    plan.work_size = end + GAP
    for row in layers:
        for column in (tables.INPUT, *LAYER_REGIONS):
            row[column] = moved[int(row[column])]
    for entry in SHAPE_REGIONS:
        shape[entry] = moved[int(shape[entry])]
    shape[tables.SCRATCH_SIZE] += GAP
    if shape[tables.CHUNKS]:
        shape[tables.CHUNK_GRADIENTS] = moved[int(shape[tables.CHUNK_GRADIENTS])]
        layers[:, tables.CHUNK_GRADIENT] += GAP * np.arange(len(layers))
        shape[tables.CHUNK_SIZE] += GAP * len(layers)
    return gaps


@dataclass(frozen=True)
class Net:
    """A network's architecture."""

    dims: tuple[int, ...]
    hidden: str = "relu"
    output: str = "sigmoid"
    loss: str | None = None

    @property
    def loss_name(self) -> str:
        return self.loss or reference.default_loss(self.output)

    def __str__(self) -> str:
        return "-".join(map(str, self.dims)) + f" {self.hidden} {self.output} {self.loss_name}"

    def examples(self, m: int, dtype: str, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """X (n_x, m) and Y (n_y, m)."""
        stream = np.random.RandomState(seed)
        X, n_y = stream.randn(self.dims[0], m), self.dims[-1]
        if self.loss_name == "categorical_crossentropy":
            Y = np.eye(n_y)[:, stream.randint(0, n_y, m)]
        elif self.loss_name == "binary_crossentropy":
            Y = stream.randint(0, 2, (n_y, m)).astype(float)
        else:
            Y = stream.randn(n_y, m)
        return X.astype(dtype), Y.astype(dtype)


SMALL = Net((5, 4, 3), "tanh", "softmax")
DEEP = Net((70, 40, 30, 10), "relu", "softmax")


class Training:
    """Parameters, state and working memory of one network, for batches of one size."""

    def __init__(
        self,
        net: Net,
        dtype: str,
        batch: int,
        *,
        allocate: Allocator = np.array,
        weighted: bool = False,
        optimizer: str | None = None,
        keep: int = 0,
        clip_norm: float | None = None,
        **hyper: Any,
    ) -> None:
        self.net, self.dtype, self.batch = net, np.dtype(dtype), batch
        self.allocate, self.hyper, self.clip_norm = allocate, hyper, clip_norm
        self.layout = ParameterLayout(net.dims, self.dtype)
        names = [net.hidden] * (len(net.dims) - 2) + [net.output]
        self.plan = planning.plan_step(
            self.layout, tuple(ACTIVATIONS[name].code for name in names), LOSSES[net.loss_name],
            batch, MEMBERS, weighted=weighted,
        )  # fmt: skip
        self.gaps = spaced_out(self.plan)
        self.plan.shape[tables.TILE] = tile_address(self.dtype)
        self.plan.shape[tables.CLIP] = clip_norm is not None
        self.plan.layers[:-1, tables.KEEP] = keep
        self.optimizer_name = optimizer
        self.optimizer = getattr(optimizers, OPTIMIZERS[optimizer])(**hyper) if optimizer else None
        self.plan.shape[tables.OPTIMIZER] = self.optimizer.code if optimizer else updates.GRADIENT
        self.parameters = allocate(np.full(self.layout.size, np.nan, self.dtype))
        initial = reference.initialise_parameters_deep(net.dims, init="xavier", seed=4)
        stream = np.random.RandomState(8)
        for name, view in self.layout.views(self.parameters).items():
            view[...] = initial[name] if name[0] == "W" else 0.3 * stream.randn(*view.shape)
        self.state = allocate(np.full(3 * self.layout.size, np.nan, self.dtype))
        for part in np.split(self.state, 3):
            for view in self.layout.views(part).values():
                view[...] = 0
        self.work = allocate(self.plan.new_work(self.dtype))
        for gap in self.gaps:
            self.work[gap] = np.nan
        self.partial_costs = allocate(np.full(self.plan.panels, np.nan))
        self.block_squares = allocate(np.full(2 * len(self.plan.blocks), np.nan)).reshape(2, -1)
        self.steps_done = 0

    @property
    def views(self) -> dict[str, np.ndarray]:
        """W1, b1, ... as they are now."""
        return self.layout.views(self.parameters)

    def exact(self) -> dict[str, np.ndarray]:
        """A copy of the parameters in float64."""
        return {name: view.astype(np.float64) for name, view in self.views.items()}

    def gradients(self) -> dict[str, np.ndarray]:
        """What a step without an optimizer leaves in the state."""
        return {f"d{name}": view for name, view in self.layout.views(self.state).items()}

    def run(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        starts: tuple[int, ...] = (0,),
        strides: tuple[int, int, int, int] | None = None,
        order: np.ndarray | None = None,
        sample_weights: np.ndarray | None = None,
        learning_rate: float = 0.1,
        team: int | None = None,
        columns: int | None = None,
        measures: bool = False,
    ) -> tuple[int, np.ndarray]:
        """Steps by a team, or by one member; returns how many were done, and their costs.

        ``x`` and ``y`` are matrices, or flat arrays with the strides of x's and y's rows, columns.
        ``columns`` ends the epochs; there are enough for whole batches if it is not given. Where
        this ``measures``, ``squares`` holds the squared weights after each step that ends an epoch.
        """
        shape, dtype, count = self.plan.shape, self.dtype, len(starts)
        if strides is None:
            strides = (x.shape[1], 1, y.shape[1], 1)
        shape[[tables.X_ROW, tables.X_COLUMN, tables.Y_ROW, tables.Y_COLUMN]] = strides
        shape[tables.ORDERED] = order is not None
        shape[tables.MEASURES] = measures
        self.squares = self.allocate(np.full(count if measures else 0, np.nan))
        shape[tables.SEED], shape[tables.FIRST_STEP] = 7, self.steps_done
        coefficients = np.zeros(count * updates.COEFFICIENTS, dtype)
        if self.optimizer is not None:
            table = self.optimizer.coefficients(self.steps_done + 1, count, learning_rate, dtype)
            coefficients = table.ravel()
        costs = self.allocate(np.full(count, np.nan))
        shape[tables.COLUMNS] = columns or self.batch * y.size
        fewer = self.plan.with_fewer(shape, shape[tables.COLUMNS] % self.batch)
        arguments = (
            np.stack([shape, fewer]), self.plan.layers, self.plan.blocks, self.plan.tasks,
            self.allocate(np.zeros(self.plan.counters, np.int64)),
            self.parameters, self.state, self.work, self.partial_costs, self.block_squares,
            self.allocate(x.ravel()), self.allocate(y.ravel()),
            self.allocate(np.zeros(0, dtype) if sample_weights is None else sample_weights),
            self.allocate(np.zeros(0, np.int64) if order is None else order),
            self.allocate(np.array(starts, np.int64)), self.allocate(coefficients),
            float(self.clip_norm or 0.0), costs, self.squares,
        )  # fmt: skip
        with np.errstate(all="ignore"):
            done = launch(team, *arguments)
        self.steps_done += done
        return done, costs.copy()

    def check_untouched(self) -> None:
        """Nothing was written between the regions of work, or between parameters."""
        assert len(self.gaps) > 2
        for gap in self.gaps:
            assert np.isnan(self.work[gap]).all()
        for buffer in (self.parameters, *np.split(self.state, 3)):
            unused = np.ones(buffer.size, bool)
            for view in self.layout.views(unused).values():
                view[...] = False
            assert np.isnan(buffer[unused]).all()


def planned(patch: pytest.MonkeyPatch, overrides: dict[str, Any]) -> None:
    """Plans are made with these thresholds of `planning` from now on."""
    for name, value in overrides.items():
        assert hasattr(planning, name)
        patch.setattr(planning, name, value)


OPTIMIZERS = {
    "sgd": "SGD",
    "momentum": "Momentum",
    "nesterov": "Nesterov",
    "rmsprop": "RMSProp",
    "adam": "Adam",
    "adamw": "AdamW",
}


def launch(team: int | None, *arguments: Any) -> int:
    """Call the kernel alone, or from the parallel loop with exactly ``team`` threads."""
    if team is not None and JIT:
        return int(run_all(step.train_steps, team, arguments)[RESULT])
    counters = new_counters(1)
    step.train_steps(0, counters, 1, *arguments)
    return int(counters[RESULT])


def exact_gradients(
    net: Net, parameters: dict[str, np.ndarray], X: np.ndarray, Y: np.ndarray, **options: Any
) -> tuple[float, dict[str, np.ndarray]]:
    """Cost, dW1, db1, ... of the reference in float64."""
    cost, grads = reference.cost_and_gradients(
        X.astype(np.float64), Y.astype(np.float64), parameters, hidden_activation=net.hidden,
        output_activation=net.output, loss=net.loss_name, **options,
    )  # fmt: skip
    return cost, {name: g for name, g in grads.items() if name[1] in "Wb"}


def flat_layouts(
    X: np.ndarray, Y: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]]:
    """The same matrices in other memory: flat arrays and the four strides."""
    (n_x, m), n_y = X.shape, Y.shape[0]
    yield X.T.ravel(), Y.T.ravel(), (1, n_x, 1, n_y)  # Fortran order: rows are examples
    yield X.ravel(), Y.T.ravel(), (m, 1, 1, n_y)
    wide_x, wide_y = np.full((n_x, 2 * m), np.nan, X.dtype), np.full((n_y, 3 * m), np.nan, Y.dtype)
    wide_x[:, ::2], wide_y[:, ::3] = X, Y
    yield wide_x.ravel()[:-1], wide_y.ravel()[:-2], (2 * m, 2, 3 * m, 3)


# --- every way to cut the work --------------------------------------------------------------------

# Panels of one vector, as many as there can be: thresholds that need many panels are within reach.
APART: dict[str, Any] = {"SHARED_MULTIPLY_ADDS": 0}  # however little work
NARROW: dict[str, Any] = {**APART, "NARROW_MULTIPLY_ADDS": 0, "PANELS_WANTED": 10**6}
NO_CHUNKS: dict[str, Any] = {**APART, "CHUNKS_OF_PANELS": {}}


def in_chunks(counts: dict[int, int]) -> dict[str, Any]:
    """From so many panels on so many chunks, however large the weights are."""
    return {**APART, "CHUNKS_OF_PANELS": {least: (n, 2**60) for least, n in counts.items()}}


SHARED: dict[str, Any] = {"FIRST_LAYER_BYTES": 0}
CUTS: dict[str, dict[str, Any]] = {
    "wide": {**NO_CHUNKS, "NARROW_MULTIPLY_ADDS": 2**60},
    "narrow": {**NO_CHUNKS, **NARROW},
    "two wanted": {**NO_CHUNKS, **NARROW, "PANELS_WANTED": 2},
    "two chunks": {**NARROW, **in_chunks({2: 2})},
    "a chunk a panel": {**NARROW, **in_chunks({3: 3, 2: 2})},
    "a chunk": {**NARROW, **in_chunks({1: 1})},
    "chunks one by one": {**NARROW, **in_chunks({2: 2}), "GROUP_PANELS": 1},
    "wide chunks": {**in_chunks({2: 2, 1: 1}), "NARROW_MULTIPLY_ADDS": 2**60},
    "together": {**NARROW, **in_chunks({1: 1}), "SHARED_MULTIPLY_ADDS": 2**60},
    "shared units": {**NO_CHUNKS, **SHARED, "NARROW_MULTIPLY_ADDS": 2**60},
    "by layers": {**NO_CHUNKS, "GROUP_BYTES": 0, "TASKS_FROM_UNITS": 0, "TASK_UNITS": (48,)},
    "by layers and shared units": {
        **NO_CHUNKS,
        **SHARED,
        "NARROW_MULTIPLY_ADDS": 2**60,
        "GROUP_BYTES": 0,
        "TASKS_FROM_UNITS": 0,
        "TASK_UNITS": (48,),
    },
    "slabs": {
        **NO_CHUNKS,
        "SLAB_INPUT_BYTES": 0,
        "SLAB_UNITS_PER_OUTPUT": 0,
        "SLABS_WANTED": 1,
    },
    "narrow and shared units": {**NO_CHUNKS, **SHARED, "NARROW_MULTIPLY_ADDS": 0},
}
# More units than examples, so that they may be shared out; a last piece of units that is not whole,
# inputs with and without room for a one behind them, and examples that leave a last panel half full
CUT_NET = Net((2 * UNITS_TOGETHER, 3 * UNITS_TOGETHER + 5, 16, 3), "tanh", "softmax")


def cut_batches(dtype: str) -> list[int]:
    """Sizes of batches that leave a last panel full, half full or nearly empty."""
    lane = lane_count(dtype)
    return [n for n in (2 * lane + 1, 3 * lane, 5 * lane + 2) if n <= CUT_NET.dims[1]]
