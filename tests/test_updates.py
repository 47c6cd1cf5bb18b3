"""The optimizers' arithmetic: every formula against the reference, on rows of any length."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from kernel_cases import (
    JIT,
    assert_close,
    assert_same,
    assert_survives_guard_pages,
    count_edges,
    each_dtype,
    edges,
    fenced,
    needs_guard_pages,
    relative_error,
)

from fastdnn import optimizers, reference
from fastdnn.kernels import updates
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.simd import pointer
from fastdnn.kernels.vectors import lane_count

pytestmark = [pytest.mark.kernels, pytest.mark.lanes]

OPTIMIZERS = {
    "sgd": optimizers.SGD,
    "momentum": optimizers.Momentum,
    "nesterov": optimizers.Nesterov,
    "rmsprop": optimizers.RMSProp,
    "adam": optimizers.Adam,
    "adamw": optimizers.AdamW,
}
each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)

NO_COEFFICIENTS = np.zeros(updates.COEFFICIENTS)


@kernel
def update_rows(
    code, decay, w, stride, g, g_stride, scale, first, second, rows, count, coefficients
):
    return updates.update_rows(
        code, decay, pointer(w, 0), stride, pointer(g, 0), g_stride, scale,
        pointer(first, 0), pointer(second, 0), rows, count, pointer(coefficients, 0),
    )  # fmt: skip


def update_run(code, decay, w, g, scale, first, second, coefficients):
    """One row."""
    return update_rows(
        code, decay, w, w.size, g, g.size, scale, first, second, 1, w.size, coefficients
    )


@kernel
def squares_of_rows(g, stride, rows, count):
    return updates.sum_of_squares(pointer(g, 0), stride, rows, count)


def sum_of_squares(g):
    """One row."""
    return squares_of_rows(g, g.size, 1, g.size)


def drawn(count, dtype, seed=0):
    return np.random.RandomState(seed).randn(count).astype(dtype)


class Problem:
    """A run of parameters with their optimizer's state, and the reference in float64 beside it."""

    def __init__(self, name, dtype, count, *, weight=True, allocate=np.array, **hyper):
        self.name, self.weight = name, weight
        self.optimizer = OPTIMIZERS[name](learning_rate=0.05, **hyper)
        self.hyper = hyper
        self.w = allocate(drawn(count, dtype))
        self.first, self.second = allocate(np.zeros(count, dtype)), allocate(np.zeros(count, dtype))
        self.allocate = allocate
        self.key = "W1" if weight else "b1"
        self.parameters, self.state = {self.key: self.w.astype(np.float64)}, {}

    def step(self, t, *, scale=1.0):
        """One step of both; returns what the kernel returned."""
        dtype = self.w.dtype
        g = drawn(self.w.size, dtype, seed=t)
        row = self.optimizer.coefficients(t, 1, 0.05, dtype)[0]
        finite = update_run(
            self.optimizer.code, self.weight, self.w, self.allocate(g), scale, self.first,
            self.second, self.allocate(row),
        )  # fmt: skip
        self.parameters = reference.optimizer_step(
            self.parameters, {"d" + self.key: scale * g.astype(np.float64)}, self.state, 0.05,
            optimizer=self.name, **self.hyper,
        )  # fmt: skip
        return finite

    def check(self):
        assert_close(self.w, self.parameters[self.key])


@each_dtype
@each_optimizer
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("weight", [True, False], ids=["weights", "biases"])
def test_formula(weight, weight_decay, name, dtype):
    """Ten steps, so that state and bias corrections matter; gradients scaled as by clipping."""
    problem = Problem(name, dtype, 100, weight=weight, weight_decay=weight_decay)
    for t in range(1, 11):
        assert problem.step(t, scale=1.0 if t < 5 else 0.3)
        problem.check()


@each_dtype
@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("momentum", {"momentum": 0.5}),
        ("nesterov", {"momentum": 0.5}),
        ("rmsprop", {"decay": 0.5, "epsilon": 0.1}),
        ("adam", {"beta1": 0.5, "beta2": 0.7, "epsilon": 0.1}),
        ("adamw", {"beta1": 0.5, "beta2": 0.7, "epsilon": 0.1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_hyperparameter_enters(name, hyper, dtype):
    problem = Problem(name, dtype, 50, **hyper)
    for t in range(1, 6):
        problem.step(t)
    problem.check()
    for left_out in hyper:
        default = Problem(name, dtype, 50, **{k: v for k, v in hyper.items() if k != left_out})
        for t in range(1, 6):
            default.step(t)
        assert relative_error(default.w, problem.parameters["W1"]) > 1e-3


@each_dtype
def test_no_optimizer_passes_for_another(dtype):
    results = {}
    for name in OPTIMIZERS:
        problem = Problem(name, dtype, 50, weight_decay=0.1)
        for t in range(1, 4):
            problem.step(t)
        results[name] = problem
    for name, problem in results.items():
        for other in set(OPTIMIZERS) - {name}:
            assert relative_error(problem.w, results[other].parameters["W1"]) > 1e-4


@each_dtype
@each_optimizer
def test_biases_do_not_decay(name, dtype):
    with_decay, without = (
        Problem(name, dtype, 20, weight=False, weight_decay=rate) for rate in (0.1, 0.0)
    )
    for t in (1, 2, 3):
        with_decay.step(t)
        without.step(t)
    assert_same(with_decay.w, without.w)


@each_dtype
def test_gradient_is_kept_and_nothing_else_touched(dtype):
    with fenced() as allocate:
        for count in count_edges(dtype):
            w, g = allocate(drawn(count, dtype)), allocate(drawn(count, dtype, seed=1))
            first, second = (allocate(np.full(count, 7, dtype)) for _ in range(2))
            assert update_run(
                updates.GRADIENT, True, w, g, 1.0, first, second, NO_COEFFICIENTS.astype(dtype)
            )
            assert_same(first, drawn(count, dtype, seed=1))
            assert_same(w, drawn(count, dtype))
            assert_same(second, np.full(count, 7, dtype))


@each_dtype
@each_optimizer
def test_state_that_an_optimizer_does_not_have_is_not_touched(name, dtype):
    problem = Problem(name, dtype, 20)
    problem.first[:], problem.second[:] = 0.5, 0.25
    problem.step(1)
    states = OPTIMIZERS[name].n_states
    assert (problem.first != 0.5).any() == (states >= 1)
    assert (problem.second != 0.25).any() == (states >= 2)


def length_cases(allocate, dtype):
    """Every length around a vector: the same bits as in a longer run."""
    for name in OPTIMIZERS:
        longest = max(count_edges(dtype))
        whole = Problem(name, dtype, longest)
        gradients = {t: drawn(longest, dtype, seed=t) for t in (1, 2)}
        for t in (1, 2):
            whole.step(t)
        for count in count_edges(dtype):
            part = Problem(name, dtype, count, allocate=allocate)
            part.w[:] = drawn(longest, dtype)[:count]
            for t in (1, 2):
                row = part.optimizer.coefficients(t, 1, 0.05, dtype)[0]
                update_run(
                    part.optimizer.code, True, part.w, allocate(gradients[t][:count]), 1.0,
                    part.first, part.second, allocate(row),
                )  # fmt: skip
            assert_same(part.w, whole.w[:count])
            assert_same(part.first, whole.first[:count])
            assert_same(part.second, whole.second[:count])


@each_dtype
def test_any_length(dtype):
    with fenced() as allocate:
        length_cases(allocate, dtype)


def spread(matrix, stride):
    """The rows of a matrix ``stride`` apart; NaN between them, and nothing after the last."""
    rows, count = matrix.shape
    flat = np.full((rows - 1) * stride + count, np.nan, matrix.dtype)
    flat[places(matrix.shape, stride)] = matrix
    return flat


def places(shape, stride):
    return np.arange(shape[0])[:, None] * stride + np.arange(shape[1])


def row_shapes(dtype):
    """(rows, count, stride of parameters and state, stride of gradients)."""
    for count in count_edges(dtype) if JIT else (1, lane_count(dtype) + 1):
        for rows, gap, g_gap in ((1, 0, 0), (2, 0, 3), (3, 5, 0), (4, 1, 9)):
            yield rows, count, count + gap, count + g_gap


def rows_cases(allocate, dtype):
    """Rows with gaps between them: each as if it were alone, and the gaps neither read nor written.

    Both strides may be larger than the rows, and differ; what an optimizer has no use for is kept.
    """
    codes = {updates.GRADIENT: 1} | {entry.code: entry.n_states for entry in OPTIMIZERS.values()}
    optimizer_of = {entry.code: entry for entry in OPTIMIZERS.values()}
    for (code, states), (rows, count, stride, g_stride) in product(
        codes.items(), row_shapes(dtype)
    ):
        row = NO_COEFFICIENTS.astype(dtype)
        if code in optimizer_of:
            optimizer = optimizer_of[code](learning_rate=0.05, weight_decay=0.1)
            row = optimizer.coefficients(3, 1, 0.05, dtype)[0]
        w, g, first, second = (
            drawn(rows * count, dtype, seed).reshape(rows, count) for seed in range(4)
        )
        second = np.abs(second)
        first = np.abs(first) if code == updates.RMSPROP else first
        given = [allocate(spread(matrix, stride)) for matrix in (w, first, second)]
        gradients = allocate(spread(g, g_stride))
        assert update_rows(
            code, True, given[0], stride, gradients, g_stride, 0.5, *given[1:], rows, count,
            allocate(row),
        )  # fmt: skip
        alone = [matrix.copy() for matrix in (w, first, second)]
        for i in range(rows):
            update_run(code, True, alone[0][i], g[i], 0.5, alone[1][i], alone[2][i], row)
        for flat, matrix in zip(given, alone, strict=True):
            assert_same(flat, spread(matrix, stride))
        assert_same(gradients, spread(g, g_stride))
        kept = [np.array_equal(*pair) for pair in zip(alone, (w, first, second), strict=True)]
        assert kept == [code == updates.GRADIENT, states < 1, states < 2]


@each_dtype
def test_rows_with_gaps_between_them(dtype):
    with fenced() as allocate:
        rows_cases(allocate, dtype)


@each_dtype
@each_optimizer
def test_rows_of_a_matrix_follow_the_reference(name, dtype):
    """Part of a matrix, updated with gradients that lie closer together."""
    rows, count, stride, t = 5, lane_count(dtype) + 3, 2 * lane_count(dtype) + 7, 4
    w, g = (drawn(rows * count, dtype, seed).reshape(rows, count) for seed in (0, 1))
    parameters, state = {"W1": w.astype(np.float64)}, {}
    flat = spread(w, stride)
    first, second = (spread(np.zeros_like(w), stride) for _ in range(2))
    optimizer = OPTIMIZERS[name](learning_rate=0.05, weight_decay=0.1)
    for step in range(1, t + 1):
        row = optimizer.coefficients(step, 1, 0.05, dtype)[0]
        assert update_rows(
            optimizer.code, True, flat, stride, g.ravel(), count, 1.0, first, second, rows, count,
            row,
        )  # fmt: skip
        parameters = reference.optimizer_step(
            parameters, {"dW1": g.astype(np.float64)}, state, 0.05, optimizer=name,
            weight_decay=0.1,
        )  # fmt: skip
    assert_close(flat[places(w.shape, stride)], parameters["W1"])


# --- parameters stay finite -----------------------------------------------------------------------


@each_dtype
@each_optimizer
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("last", [False, True], ids=["whole vector", "rest"])
def test_a_parameter_that_would_not_be_finite_keeps_its_value(last, bad, name, dtype):
    count = lane_count(dtype) + 1
    place = count - 1 if last else 0
    w, g = drawn(count, dtype), drawn(count, dtype, seed=1)
    g[place] = bad
    row = OPTIMIZERS[name](learning_rate=0.1).coefficients(1, 1, 0.1, dtype)[0]
    updated, first, second = w.copy(), np.zeros_like(w), np.zeros_like(w)
    with np.errstate(all="ignore"):
        finite = update_run(OPTIMIZERS[name].code, True, updated, g, 1.0, first, second, row)
    others = np.arange(count) != place
    assert not finite
    assert updated[place] == w[place]
    assert (updated[others] != w[others]).all() and np.isfinite(updated).all()


@each_dtype
@each_optimizer
def test_one_bad_row_is_reported_whichever_it_is(name, dtype):
    """Rows before and after it are updated."""
    rows, count = 3, lane_count(dtype) + 1
    w, g = (drawn(rows * count, dtype, seed).reshape(rows, count) for seed in (0, 1))
    row = OPTIMIZERS[name](learning_rate=0.1).coefficients(1, 1, 0.1, dtype)[0]
    for place in np.ndindex(rows, count):
        bad, updated = g.copy(), w.copy()
        bad[place] = np.inf
        state = np.zeros((2, w.size), dtype)
        with np.errstate(all="ignore"):
            finite = update_rows(
                OPTIMIZERS[name].code, True, updated.ravel(), count, bad.ravel(), count, 1.0,
                *state, rows, count, row,
            )  # fmt: skip
        assert not finite
        np.testing.assert_array_equal(updated == w, np.isinf(bad))


@each_dtype
def test_an_update_that_overflows_is_reported(dtype):
    largest = np.finfo(dtype).max
    w = np.full(3, largest, dtype)
    row = optimizers.SGD().coefficients(1, 1, 1.0, dtype)[0]
    unused = np.zeros(3, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = update_run(updates.SGD, True, w, -w, 1.0, unused, unused, row)
    assert not finite
    assert_same(w, np.full(3, largest, dtype))


@each_dtype
@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw"])
def test_a_mean_of_squares_that_overflows_is_reported(name, dtype):
    """The parameter would stay what it is for ever, and no cost would tell."""
    w = drawn(lane_count(dtype) + 1, dtype)
    g = np.zeros_like(w)
    g[-1] = 2 * np.sqrt(np.finfo(dtype).max)
    row = OPTIMIZERS[name](learning_rate=0.1, epsilon=1.0).coefficients(1, 1, 0.1, dtype)[0]
    updated, first, second = w.copy(), np.zeros_like(w), np.zeros_like(w)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = update_run(OPTIMIZERS[name].code, True, updated, g, 1.0, first, second, row)
    assert not finite
    assert updated[-1] == w[-1] and np.isfinite(updated).all()


# --- the norm that clipping needs -----------------------------------------------------------------


@each_dtype
def test_sum_of_squares(dtype):
    chain = 16 * lane_count(dtype)  # after so many numbers a sum goes on in float64
    for count in [*count_edges(dtype), *edges(chain, 2 * chain), 100_000 if JIT else 2_000]:
        with fenced() as allocate:
            g = drawn(count, dtype, seed=count)
            total = sum_of_squares(allocate(g))
            assert_close(np.dtype(dtype).type(total), np.sum(g.astype(np.float64) ** 2))
    assert relative_error(np.float64(sum_of_squares(g[:-1])), total) > 0


@pytest.mark.parametrize("largest", [1e20, float(np.finfo(np.float32).max)])
def test_squares_beyond_float32_are_added_up(largest):
    """As the reference does, which squares in float64."""
    g = drawn(100 * lane_count("float32") + 3, "float32")
    g *= np.float32(largest) / np.abs(g).max()
    with np.errstate(over="ignore"):
        share = sum_of_squares(g) / np.sum(g.astype(np.float64) ** 2)
        assert_close(np.float32(share), np.float64(1))
        assert sum_of_squares(np.full(40, 1e200)) == np.inf


def squares_cases(allocate, dtype):
    """Rows with gaps: the sum of what each row has alone."""
    for rows, count, stride, _ in row_shapes(dtype):
        g = drawn(rows * count, dtype, seed=count).reshape(rows, count)
        total = squares_of_rows(allocate(spread(g, stride)), stride, rows, count)
        assert total == sum(sum_of_squares(row) for row in g)
        assert_close(np.dtype(dtype).type(total), np.sum(g.astype(np.float64) ** 2))


@each_dtype
def test_sum_of_squares_of_rows(dtype):
    with fenced() as allocate:
        squares_cases(allocate, dtype)


# --- the codes, and guard pages -------------------------------------------------------------------


def test_the_codes_are_the_optimizers():
    assert set(OPTIMIZERS) == set(reference.OPTIMIZERS)
    codes = [entry.code for entry in OPTIMIZERS.values()]
    assert sorted([updates.GRADIENT, *codes]) == list(range(len(codes) + 1))
    assert all(entry.name == name for name, entry in OPTIMIZERS.items())


def all_cases(allocate):
    for dtype in ("float32", "float64"):
        length_cases(allocate, dtype)
        rows_cases(allocate, dtype)
        squares_cases(allocate, dtype)


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_the_rows_is_touched():
    assert_survives_guard_pages("test_updates", "all_cases")
