"""The notebooks' functions and the caller's arrays: layouts, types, caches, updates in place."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES, Draw, leaves, mapped
from kernel_cases import JIT, assert_close, assert_same, each_dtype

from fastdnn import functional as fd
from fastdnn.kernels.activations import ACTIVATIONS

pytestmark = [pytest.mark.kernels, pytest.mark.front]

each_case = pytest.mark.parametrize("name", CASES)


LAYOUTS = {
    "columns": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "part of a wider matrix": lambda a: np.pad(a, 2)[2:-2, 2:-2],
}


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


@pytest.mark.parametrize("layout", LAYOUTS)
@each_case
def test_layouts(name, layout):
    """Any strides give the bits of the contiguous array, and so does read-only memory.

    But for sums of products, which are added up in another order where they lie otherwise.
    """
    case = CASES[name]
    with_products = case.function.startswith(("linear", "L_", "back_prop"))
    for n, m in ((3, 5), (20, 40), (40, 60)) if JIT else ((2, 3),):
        arguments = case.arguments(Draw("float64", 1), n, m)
        laid_out = mapped(arguments, lambda a: read_only_like(LAYOUTS[layout](a)))
        result = case.fast(laid_out)
        for x, r in zip(leaves(result), leaves(case.fast(arguments)), strict=True):
            assert_close(x, r, factor=0.01) if with_products else assert_same(x, r)


def read_only_like(a):
    """The same view, read-only."""
    view = a.view()
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool", "float16", ">f8", ">f4", "list"])
def test_other_types_are_cast_once(kind):
    A, W, b = np.array([[1, 0], [1, 1]]), np.array([[1, 1], [0, 1]]), np.array([[1], [0]])
    given = [a.tolist() if kind == "list" else a.astype(kind) for a in (A, W, b)]
    Z, cache = fd.linear_forward(*given)
    assert Z.dtype == (np.float32 if kind == ">f4" else np.float64)
    assert all(x is y for x, y in zip(cache, given, strict=True))
    np.testing.assert_array_equal(Z, [[3, 2], [1, 1]])
    np.testing.assert_array_equal(fd.tanh(given[0])[0], fd.tanh(A.astype(Z.dtype))[0])


def test_mixed_precision_is_double():
    A, W, b = Draw("float32", 0).linear(3, 4)
    Z, cache = fd.linear_forward(A, W.astype(np.float64), b)
    assert Z.dtype == np.float64
    assert cache[0] is A
    dA = np.ones(Z.shape, np.float32)
    assert {g.dtype.name for g in fd.linear_backward(dA, cache)} == {"float32", "float64"}
    assert fd.relu_backward(dA, Z).dtype == np.float64


def test_caches_hold_the_arrays_that_were_passed():
    draw = Draw("float32", 0)
    A_prev, W, b = draw.linear(3, 4)
    A, ((a, w, bias), Z) = fd.linear_activation_forward(A_prev, W, b, "relu")
    assert a is A_prev and w is W and bias is b
    np.testing.assert_array_equal(np.maximum(Z, 0), A)
    X, parameters = draw.normal(4, 5), draw.parameters(3)
    _, caches = fd.L_model_forward(X, parameters)
    assert caches[0][0][0] is X
    assert all(caches[i][0][1] is parameters[f"W{i + 1}"] for i in range(3))
    for name in ACTIVATIONS:
        assert getattr(fd, name)(X)[1] is X


# --- update in place -------------------------------------------------------------------------


@each_dtype
def test_update_in_place(dtype):
    w, g = Draw(dtype, 0).normal(5, 7), Draw(dtype, 1).normal(5, 7)
    expected = w - np.asarray(0.5, dtype) * g
    for layout in (np.ascontiguousarray, np.asfortranarray, LAYOUTS["strided"]):
        target = layout(w).copy(order="K")
        parameters = {"W1": target}
        assert fd.update_parameters(parameters, {"dW1": g}, 0.5, inplace=True) is parameters
        assert parameters["W1"] is target
        assert_close(target, expected)


def test_update_binds_new_arrays():
    w = np.ones((2, 2))
    parameters = {"W1": w}
    assert fd.update_parameters(parameters, {"dW1": np.ones((2, 2))}, 0.5) is parameters
    assert parameters["W1"] is not w
    np.testing.assert_array_equal(w, 1.0)
    np.testing.assert_array_equal(parameters["W1"], 0.5)


@pytest.mark.parametrize(
    ("w", "message"),
    [(np.ones((2, 2), int), "not an array of float"), (read_only(np.ones((2, 2))), "read-only")],
)
def test_what_cannot_be_overwritten_is_refused_before_anything_is(w, message):
    parameters = {"W1": np.ones((2, 2)), "b1": w}
    grads = {"dW1": np.ones((2, 2)), "db1": np.ones((2, 2))}
    with pytest.raises((TypeError, ValueError), match=message):
        fd.update_parameters(parameters, grads, 0.5, inplace=True)
    np.testing.assert_array_equal(parameters["W1"], 1.0)
