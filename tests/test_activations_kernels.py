"""Activations and their derivatives on runs of elements, against the reference in float64."""

from __future__ import annotations

import inspect

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

from fastdnn import reference
from fastdnn.kernels import activations
from fastdnn.kernels.activations import ACTIVATIONS, LEAKY_SLOPE
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.simd import pointer
from fastdnn.kernels.vectors import lane_count

pytestmark = [pytest.mark.kernels, pytest.mark.lanes]

INF, NAN = np.inf, np.nan

ELEMENTWISE = [name for name, entry in ACTIVATIONS.items() if entry.elementwise]
each_activation = pytest.mark.parametrize("name", ELEMENTWISE)


@kernel
def activate_run(code, A, Z):
    activations.activate_run(code, pointer(A, 0), pointer(Z, 0), Z.size)


@kernel
def backward_run(code, dZ, dA, A, scale):
    activations.backward_run(code, pointer(dZ, 0), pointer(dA, 0), pointer(A, 0), scale, A.size)


@kernel
def softmax_columns(A, Z, units, stride, count):
    activations.softmax_columns(pointer(A, 0), pointer(Z, 0), units, stride, count)


@kernel
def softmax_backward_columns(dZ, dA, A, units, stride, count):
    activations.softmax_backward_columns(
        pointer(dZ, 0), pointer(dA, 0), pointer(A, 0), units, stride, count
    )


def activated(name, Z):
    A = np.full_like(Z, 99)
    activate_run(ACTIVATIONS[name].code, A, Z)
    return A


def drawn(count, dtype, seed=0):
    """Standard normal numbers, one of them zero."""
    values = 2 * np.random.RandomState(seed).randn(count)
    values[count // 2] = 0
    return values.astype(dtype)


def exact(function, *arrays):
    """The reference on the same numbers, in float64."""
    return function(*(array.astype(np.float64) for array in arrays))


# --- values and derivatives -----------------------------------------------------------------------


@each_dtype
@each_activation
def test_values(name, dtype):
    Z = drawn(1000, dtype)
    assert_close(activated(name, Z), exact(reference.ACTIVATIONS[name].function, Z)[0])


@each_dtype
@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_values_where_they_are_small(name, dtype):
    Z = np.linspace(-14, -8, 200, dtype=dtype)
    assert_close(activated(name, Z), exact(reference.ACTIVATIONS[name].function, Z)[0])


@each_dtype
@each_activation
def test_derivatives(name, dtype):
    Z, dA = drawn(1000, dtype), drawn(1000, dtype, seed=1)
    dZ = np.full_like(Z, 99)
    backward_run(ACTIVATIONS[name].code, dZ, dA, activated(name, Z), 1.0)
    assert_close(dZ, exact(reference.ACTIVATIONS[name].backward, dA, Z))


@each_dtype
@each_activation
def test_derivatives_of_values_that_dropout_scaled(name, dtype):
    """With inverted dropout a layer keeps A / (1 - p); the derivative takes it back."""
    Z, dA = drawn(1000, dtype), drawn(1000, dtype, seed=1)
    dZ = np.full_like(Z, 99)
    backward_run(
        ACTIVATIONS[name].code, dZ, dA, activated(name, Z) / np.dtype(dtype).type(0.8), 0.8
    )
    assert_close(dZ, exact(reference.ACTIVATIONS[name].backward, dA, Z))


@each_dtype
@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_derivatives_where_they_are_small(name, dtype):
    """A unit far on the negative side has a small derivative, not one without digits."""
    Z = np.linspace(-14, -8, 200, dtype=dtype)
    dZ = np.zeros_like(Z)
    backward_run(ACTIVATIONS[name].code, dZ, np.ones_like(Z), activated(name, Z), 1.0)
    assert_close(dZ, exact(reference.ACTIVATIONS[name].backward, np.ones_like(Z), Z))


@each_dtype
def test_no_activation_passes_for_another(dtype):
    """Every pair, forward and back, is further apart than the tolerance by orders."""
    Z, dA = drawn(1000, dtype), drawn(1000, dtype, seed=1)
    for name in ELEMENTWISE:
        A, dZ = activated(name, Z), np.zeros_like(Z)
        backward_run(ACTIVATIONS[name].code, dZ, dA, A, 1.0)
        for other in set(ELEMENTWISE) - {name}:
            rule = reference.ACTIVATIONS[other]
            assert relative_error(A, exact(rule.function, Z)[0]) > 1e-3
            assert relative_error(dZ, exact(rule.backward, dA, Z)) > 1e-3


SPECIAL_VALUES = {
    "identity": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "relu": [(0.0, 0.0), (-0.0, 0.0), (INF, INF), (-INF, 0.0), (-1e-30, 0.0)],
    "leaky_relu": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "sigmoid": [(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e30, 1.0), (-1e30, 0.0)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e30, 1.0)],
    "softplus": [(INF, INF), (-INF, 0.0), (-1e30, 0.0), (2.0**99, 2.0**99)],
}


@each_dtype
@each_activation
def test_special_values(name, dtype):
    Z, expected = np.array([*SPECIAL_VALUES[name], (NAN, NAN)], dtype).T.copy()
    with np.errstate(all="ignore"):
        assert_same(activated(name, Z), expected)


@each_dtype
@each_activation
def test_nan_stays_nan_in_the_derivative(name, dtype):
    dA, A = np.array([NAN, 1.0, NAN], dtype), np.array([0.5, NAN, NAN], dtype)
    dZ = np.zeros_like(A)
    with np.errstate(all="ignore"):
        backward_run(ACTIVATIONS[name].code, dZ, dA, A, 1.0)
    assert np.isnan(dZ[0])
    # a derivative that is constant where a > 0 does not look at the value of a
    assert np.isnan(dZ[1]) or name in ("identity", "relu", "leaky_relu")


@each_dtype
def test_derivatives_at_zero(dtype):
    """relu: 0, leaky relu: 1, at +0 and -0."""
    A, dA = np.array([0.0, -0.0], dtype), np.array([5.0, 5.0], dtype)
    for name, expected in (("relu", 0.0), ("leaky_relu", 5.0)):
        dZ = np.ones_like(A)
        backward_run(ACTIVATIONS[name].code, dZ, dA, A, 1.0)
        assert_same(dZ, np.full(2, expected, dtype))


# --- lengths, and buffers that are the same -------------------------------------------------------


def run_cases(allocate, dtype, names=ELEMENTWISE):
    """Every length around a vector, into another buffer and in place."""
    for name in names:
        code = ACTIVATIONS[name].code
        for count in count_edges(dtype):
            Z, dA = drawn(count, dtype), drawn(count, dtype, seed=1)
            A, dZ = np.empty_like(Z), np.empty_like(Z)
            activate_run(code, A, Z)
            backward_run(code, dZ, dA, A, 1.0)
            out, source = allocate(np.zeros_like(Z)), allocate(Z)
            activate_run(code, out, source)
            assert_same(out, A)
            assert_same(source, Z)
            activate_run(code, source, source)
            assert_same(source, A)
            back, errors = allocate(np.zeros_like(Z)), allocate(dA)
            backward_run(code, back, errors, out, 1.0)
            assert_same(back, dZ)
            assert_same(errors, dA)
            backward_run(code, errors, errors, out, 1.0)
            assert_same(errors, dZ)
            assert_same(out, A)


@each_dtype
@each_activation
def test_any_length_and_in_place(name, dtype):
    with fenced() as allocate:
        run_cases(allocate, dtype, [name])


@each_dtype
@each_activation
def test_a_value_does_not_depend_on_its_place(name, dtype):
    """Whole vectors and the masked one at the end compute the same bits."""
    Z = drawn(2 * lane_count(dtype) + 1, dtype)
    if JIT:
        assert_same(activated(name, Z[:-1])[-3:], activated(name, Z[-4:-1])[-3:])
    assert_close(activated(name, Z[1:]), activated(name, Z)[1:])


# --- softmax --------------------------------------------------------------------------------------


def softmax_cases(allocate, dtype):
    """Examples around a vector, units from 1, rows with and without a gap; in place, too."""
    for count in count_edges(dtype):
        for units, gap in ((1, 0), (2, 3), (5, 0)):
            stride = count + gap
            rows = np.full((units, stride), NAN, dtype)
            rows[:, :count] = drawn(units * count, dtype, seed=units).reshape(units, count)
            flat = rows.ravel()[: rows.size - gap]
            Z, A = allocate(flat), allocate(flat)
            softmax_columns(A, Z, units, stride, count)
            values = check_columns(A, units, stride, count)
            probabilities, _ = exact(reference.softmax, rows[:, :count])
            assert_close(values, probabilities)
            softmax_columns(Z, Z, units, stride, count)
            assert_same(Z, A)

            errors = np.where(np.isnan(rows), rows, drawn(rows.size, dtype, 9).reshape(rows.shape))
            dA = allocate(errors.ravel()[: rows.size - gap])
            dZ = allocate(np.full_like(flat, NAN))
            softmax_backward_columns(dZ, dA, A, units, stride, count)
            expected = exact(reference.softmax_backward, errors[:, :count], rows[:, :count])
            if units == 1:  # a constant: nothing but rounding may be left
                limit = 4 * np.finfo(dtype).eps * np.abs(errors[:, :count]).max()
                assert np.abs(check_columns(dZ, units, stride, count)).max() <= limit
            else:
                assert_close(check_columns(dZ, units, stride, count), expected)
            softmax_backward_columns(dA, dA, A, units, stride, count)
            assert_same(dA, dZ)


def check_columns(flat, units, stride, count):
    """The columns of a row-major matrix; checks that what lies between its rows is still NaN."""
    rows = np.full(units * stride, NAN, flat.dtype)
    rows[: flat.size] = flat
    rows = rows.reshape(units, stride)
    assert np.isnan(rows[:, count:]).all()
    return rows[:, :count]


@each_dtype
def test_softmax_of_any_shape_and_in_place(dtype):
    with fenced() as allocate:
        softmax_cases(allocate, dtype)


def softmax(Z):
    A = np.full(Z.size, 99, Z.dtype)
    with np.errstate(all="ignore"):
        softmax_columns(A, Z.ravel(), *Z.shape[:1], Z.shape[1], Z.shape[1])
    return A.reshape(Z.shape)


@each_dtype
def test_softmax_does_not_overflow(dtype):
    largest = np.finfo(dtype).max
    Z = np.array([[1e4, -1e4, largest, 0], [1e4, 1e4, -largest, 0]], dtype)
    assert_same(softmax(Z), np.array([[0.5, 0, 1, 0.5], [0.5, 1, 0, 0.5]], dtype))


@each_dtype
def test_softmax_sums_to_one(dtype):
    A = softmax(drawn(50 * 40, dtype).reshape(50, 40))
    assert (A > 0).all()
    np.testing.assert_allclose(A.sum(axis=0, dtype=np.float64), 1, rtol=16 * np.finfo(dtype).eps)


@each_dtype
@pytest.mark.parametrize("row", range(3))
def test_softmax_keeps_nan_in_its_own_example(row, dtype):
    Z = drawn(3 * 4, dtype).reshape(3, 4)
    clean = softmax(Z)
    Z[row, 1] = NAN
    A = softmax(Z)
    assert np.isnan(A[:, 1]).all()
    assert_same(A[:, [0, 2, 3]], clean[:, [0, 2, 3]])


# --- the table, and guard pages -------------------------------------------------------------------


def test_the_table_is_the_references():
    assert set(ACTIVATIONS) == set(reference.ACTIVATIONS)
    codes = [entry.code for entry in ACTIVATIONS.values()]
    assert sorted(codes) == list(range(len(codes)))
    assert [name for name, entry in ACTIVATIONS.items() if not entry.elementwise] == ["softmax"]
    slope = inspect.signature(reference.leaky_relu).parameters["alpha"].default
    assert slope == LEAKY_SLOPE


def all_cases(allocate):
    for dtype in ("float32", "float64"):
        run_cases(allocate, dtype)
        softmax_cases(allocate, dtype)


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_the_buffers_is_touched():
    assert_survives_guard_pages("test_activations_kernels", "all_cases")
