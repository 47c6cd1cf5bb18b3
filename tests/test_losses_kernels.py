"""Cost and output error of one panel, against the reference in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_cases import (
    assert_close,
    assert_same,
    assert_survives_guard_pages,
    each_dtype,
    edges,
    fenced,
    needs_guard_pages,
    relative_error,
)

from fastdnn import reference
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.losses import LOSSES, output_error
from fastdnn.kernels.microkernels import TILE_VECTORS, TILE_WIDTHS
from fastdnn.kernels.simd import pointer
from fastdnn.kernels.vectors import lane_count

pytestmark = [pytest.mark.kernels, pytest.mark.lanes]

# Every pair that a network may have: the canonical ones, and mse with any activation.
PAIRS = [
    ("binary_crossentropy", "sigmoid"),
    ("categorical_crossentropy", "softmax"),
    *(("mse", name) for name in ACTIVATIONS),
]
each_pair = pytest.mark.parametrize(("loss", "activation"), PAIRS, ids=lambda name: name)


@kernel
def panel_error(loss, code, dZ, A, Y, weights, weighted, units, width, examples):
    return output_error(
        loss, code, pointer(dZ, 0), pointer(A, 0), pointer(Y, 0), pointer(weights, 0), weighted,
        units, width, examples,
    )  # fmt: skip


class Panel:
    """Outputs and targets of one panel; its columns from ``examples`` on hold NaN."""

    def __init__(self, dtype, loss, activation, units, width, examples, *, weighted=False):
        self.loss, self.activation, self.weighted = loss, activation, weighted
        self.shape = units, width, examples
        stream = np.random.RandomState(units * 100 + examples)
        Z = stream.uniform(-1.5, 1.5, (units, examples))  # further out A keeps fewer digits of Z
        A = reference.ACTIVATIONS[activation].function(Z)[0]
        Y = stream.uniform(size=A.shape) if loss != "mse" else stream.randn(*A.shape)
        if loss == "categorical_crossentropy":
            Y /= Y.sum(axis=0)
        weights = stream.uniform(0.5, 2, examples)
        self.A, self.Y, self.weights = (
            self._padded(np.atleast_2d(values).astype(dtype)) for values in (A, Y, weights)
        )

        factors = weights.astype(dtype).astype(np.float64) if weighted else 1.0
        A, Y = (values[:, :examples].astype(np.float64) for values in (self.A, self.Y))
        rule = reference.LOSSES[loss]
        self.cost = float(np.sum(rule.function(A, Y) * factors))
        dZ = reference.output_error(A, Y, Z, activation, loss)
        self.dZ = np.pad(dZ * factors, ((0, 0), (0, width - examples)))

    def _padded(self, values):
        padded = np.full((len(values), self.shape[1]), np.nan, values.dtype)
        padded[:, : values.shape[1]] = values
        return padded

    def run(self, allocate=np.array):
        units, width, examples = self.shape
        dZ = allocate(np.full(units * width, np.nan, self.A.dtype))
        with np.errstate(all="ignore"):
            cost = panel_error(
                LOSSES[self.loss], ACTIVATIONS[self.activation].code, dZ,
                allocate(self.A.ravel()), allocate(self.Y.ravel()), allocate(self.weights.ravel()),
                self.weighted, units, width, examples,
            )  # fmt: skip
        return cost, dZ.reshape(units, width)

    def check(self, allocate=np.array):
        cost, dZ = self.run(allocate)
        assert_close(self.A.dtype.type(cost), self.cost)
        assert_close(dZ, self.dZ)
        assert_same(dZ[:, self.shape[2] :], np.zeros_like(dZ[:, self.shape[2] :]))


@each_dtype
@each_pair
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_cost_and_error(weighted, loss, activation, dtype):
    """Any number of units, panels of every width, all or some of the columns used."""
    lane = lane_count(dtype)
    with fenced() as allocate:
        for units in (1, 3):
            for width in (vectors * lane for vectors in TILE_WIDTHS):
                for examples in {n for n in edges(lane, 2 * lane, width) if n <= width}:
                    if units > 1 or activation != "softmax":
                        Panel(
                            dtype, loss, activation, units, width, examples, weighted=weighted
                        ).check(allocate)


@each_dtype
@each_pair
def test_columns_beyond_the_batch_add_nothing(loss, activation, dtype):
    """A last panel that is all padding (or lies behind the batch): no cost, no error, no NaN."""
    lane = lane_count(dtype)
    width = TILE_VECTORS * lane
    panel = Panel(dtype, loss, activation, 2, width, 1)
    for examples in (0, -lane, -1):
        panel.shape = 2, width, examples
        panel.A[:], panel.Y[:] = np.nan, np.nan
        cost, dZ = panel.run()
        assert cost == 0
        assert_same(dZ, np.zeros_like(dZ))


@each_dtype
def test_labels_cost_the_same_bits_as_probabilities(dtype):
    """A vector whose targets are all 0 or 1 takes one logarithm; one that is not takes both."""
    lane = lane_count(dtype)
    panel = Panel(dtype, "binary_crossentropy", "sigmoid", 3, lane, lane - 1)
    panel.Y, panel.A[:, -1] = np.round(panel.Y), 0.25
    used = np.s_[:, : lane - 1]
    expected = reference.LOSSES["binary_crossentropy"].function(
        panel.A[used].astype(np.float64), panel.Y[used].astype(np.float64)
    )
    costs = []
    for beyond in (1.0, 0.5):
        panel.Y[:, -1] = beyond
        costs.append(panel.run()[0])
    assert_same(*map(np.float64, costs))
    assert_close(np.dtype(dtype).type(costs[0]), float(np.sum(expected)))


@each_dtype
def test_no_loss_passes_for_another(dtype):
    """What distinguishes the losses is far larger than the tolerance."""
    lane = lane_count(dtype)
    for loss, activation in PAIRS[:2]:
        panel = Panel(dtype, loss, activation, 3, lane, lane)
        for other in set(LOSSES) - {loss}:
            panel.loss = other
            assert relative_error(panel.run()[0], panel.cost) > 1e-2
    panel = Panel(dtype, "mse", "tanh", 3, lane, lane)
    panel.activation = "identity"
    assert relative_error(panel.run()[1], panel.dZ) > 1e-2


@each_dtype
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_one_wrong_target_would_show(weighted, dtype):
    lane = lane_count(dtype)
    panel = Panel(dtype, "binary_crossentropy", "sigmoid", 3, 2 * lane, 2 * lane, weighted=weighted)
    panel.check()
    furthest = np.argmax(np.abs(panel.A[1] - 0.5))  # where the target matters most to the cost
    panel.Y[1, furthest] += 0.1
    cost, dZ = panel.run()
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(dZ, panel.dZ)
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(np.dtype(dtype).type(cost), panel.cost)


@each_dtype
@pytest.mark.parametrize(
    ("loss", "AL", "Y", "logs"),
    [
        ("binary_crossentropy", [0.0, 1.0], [0.0, 1.0], 0),
        ("binary_crossentropy", [0.0, 1.0], [1.0, 0.0], 2),
        ("binary_crossentropy", ["subnormal", "subnormal"], [1.0, 1.0], 2),
        ("categorical_crossentropy", [0.0, 1.0], [0.0, 1.0], 0),
        ("categorical_crossentropy", [0.0, 1.0], [1.0, 0.0], 1),
    ],
)
def test_saturated_outputs_cost_a_finite_amount(loss, AL, Y, logs, dtype):
    """0 log 0 = 0, and a confident wrong prediction costs -log(smallest normal number)."""
    lane = lane_count(dtype)
    panel = Panel(dtype, loss, dict(PAIRS)[loss], 2, lane, 1)
    AL = [np.finfo(dtype).tiny / 4 if value == "subnormal" else value for value in AL]
    panel.A[:, 0], panel.Y[:, 0] = AL, Y
    cost, dZ = panel.run()
    expected = -logs * math.log(np.finfo(dtype).tiny)
    assert math.isclose(cost, expected, rel_tol=2 * np.finfo(dtype).eps)
    assert_same(dZ[:, 0], np.array(AL, dtype) - np.array(Y, dtype))


@each_dtype
@each_pair
def test_nan_shows_in_the_cost(loss, activation, dtype):
    lane = lane_count(dtype)
    panel = Panel(dtype, loss, activation, 3, 2 * lane, lane + 1)
    panel.A[1, lane] = np.nan
    assert math.isnan(panel.run()[0])


def test_the_table_is_the_references():
    assert set(LOSSES) == set(reference.LOSSES)
    assert sorted(LOSSES.values()) == list(range(len(LOSSES)))
    assert {pair for pair in PAIRS if pair[0] != "mse"} == {
        (name, rule.canonical_output) for name, rule in reference.LOSSES.items() if name != "mse"
    }


def all_cases(allocate):
    for dtype in ("float32", "float64"):
        lane = lane_count(dtype)
        widest = TILE_VECTORS * lane
        for loss, activation in PAIRS:
            for width, examples in ((lane, lane), (widest, widest), (widest, 1)):
                for weighted in (False, True):
                    Panel(dtype, loss, activation, 2, width, examples, weighted=weighted).check(
                        allocate
                    )


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_the_panel_is_touched():
    assert_survives_guard_pages("test_losses_kernels", "all_cases")
