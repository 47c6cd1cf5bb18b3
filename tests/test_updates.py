"""The optimizers' arithmetic: every formula against the reference, on runs of any length."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    JIT,
    assert_close,
    assert_same,
    assert_survives_guard_pages,
    count_edges,
    each_dtype,
    fenced,
    needs_guard_pages,
    relative_error,
)

from fastdnn import optimizers, reference
from fastdnn.kernels import updates
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.simd import lane_count, pointer

pytestmark = pytest.mark.kernels

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
def update_run(code, decay, w, g, scale, first, second, coefficients):
    return updates.update_run(
        code, decay, pointer(w, 0), pointer(g, 0), scale, pointer(first, 0), pointer(second, 0),
        w.size, pointer(coefficients, 0),
    )  # fmt: skip


@kernel
def sum_of_squares(g):
    return updates.sum_of_squares(pointer(g, 0), g.size)


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
def test_an_update_that_overflows_is_reported(dtype):
    largest = np.finfo(dtype).max
    w = np.full(3, largest, dtype)
    row = optimizers.SGD().coefficients(1, 1, 1.0, dtype)[0]
    unused = np.zeros(3, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = update_run(updates.SGD, True, w, -w, 1.0, unused, unused, row)
    assert not finite
    assert_same(w, np.full(3, largest, dtype))


# --- the norm that clipping needs -----------------------------------------------------------------


@each_dtype
def test_sum_of_squares(dtype):
    for count in [*count_edges(dtype), 1_000, 100_000 if JIT else 2_000]:
        with fenced() as allocate:
            g = drawn(count, dtype, seed=count)
            total = sum_of_squares(allocate(g))
            assert_close(np.dtype(dtype).type(total), np.sum(g.astype(np.float64) ** 2))
    assert relative_error(np.float64(sum_of_squares(g[:-1])), total) > 0


# --- the codes, and guard pages -------------------------------------------------------------------


def test_the_codes_are_the_optimizers():
    assert set(OPTIMIZERS) == set(reference.OPTIMIZERS)
    codes = [entry.code for entry in OPTIMIZERS.values()]
    assert sorted([updates.GRADIENT, *codes]) == list(range(len(codes) + 1))
    assert all(entry.name == name for name, entry in OPTIMIZERS.items())


def all_cases(allocate):
    for dtype in ("float32", "float64"):
        length_cases(allocate, dtype)
        for count in count_edges(dtype):
            sum_of_squares(allocate(drawn(count, dtype)))


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_the_run_is_touched():
    assert_survives_guard_pages("test_updates", "all_cases")
