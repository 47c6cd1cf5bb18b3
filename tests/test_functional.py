"""The notebooks' functions: the reference over the table, bad input, the range, teams."""

from __future__ import annotations

import copy
import math
from functools import partial

import numpy as np
import pytest
from cases import CASES, Draw, edge_shapes, fresh, in_double, leaves
from kernel_cases import (
    DTYPES,
    JIT,
    TOLERANCE,
    Fenced,
    assert_close,
    assert_same,
    assert_survives_guard_pages,
    each_dtype,
    each_team,
    needs_guard_pages,
    relative_error,
)

from fastdnn import calls, products, reference
from fastdnn import functional as fd
from fastdnn.functional import elementwise
from fastdnn.kernels.activations import ACTIVATIONS

pytestmark = [pytest.mark.kernels, pytest.mark.front]

each_case = pytest.mark.parametrize("name", CASES)


def patch_calls(monkeypatch, name, value):
    """Replace what both modules that call kernels have imported."""
    for module in (elementwise, products):
        monkeypatch.setattr(module, name, value)


# --- the reference, over the whole table -----------------------------------------------------


@pytest.mark.lanes
@each_dtype
@each_case
def test_agrees_with_the_reference(name, dtype):
    """Values within the tolerance, dtypes kept, inputs as they were, on every edge shape."""
    case = CASES[name]
    for seed, (n, m) in enumerate(edge_shapes(dtype)):
        arguments = case.arguments(Draw(dtype, seed), n, m)
        expected = case.reference(in_double(arguments))
        before = copy.deepcopy(arguments)
        result = case.fast(fresh(arguments))
        assert type(result) is type(expected)
        # The biases' gradients are sums of errors, which may leave little of each other.
        least = 0.01 * np.sqrt(sum(np.sum(np.square(r, dtype=float)) for r in leaves(expected)))
        for x, r in zip(leaves(result), leaves(expected), strict=True):
            assert x.shape == r.shape
            if isinstance(result, float) or r.dtype.kind == "i":
                assert x.dtype == r.dtype
            else:
                assert x.dtype == dtype
            # n = 300 inputs are summed in float32, and a derivative in the tail is small
            assert relative_error(x, r, least) <= TOLERANCE[dtype], (n, m)
        for x, r in zip(leaves(arguments), leaves(before), strict=True):
            np.testing.assert_array_equal(x, r)


def test_every_tolerance_can_fail():
    for dtype in DTYPES:
        Z = Draw(dtype, 0).normal(5, 7)
        A, _ = fd.sigmoid(Z)
        wrong = (A * (1 + 3 * TOLERANCE[dtype])).astype(dtype)
        expected = reference.sigmoid(Z.astype(np.float64))[0]
        assert_close(A, expected)
        with pytest.raises(AssertionError, match="relative error"):
            assert_close(wrong, expected)


def test_the_same_names_and_arguments_as_the_reference():
    import inspect

    for name in fd.__all__:
        fast = inspect.signature(getattr(fd, name)).parameters.values()
        plain = inspect.signature(getattr(reference, name)).parameters.values()
        describe = [[(p.name, p.kind, p.default) for p in params] for params in (fast, plain)]
        assert describe[0] == describe[1], name


# --- bad input -------------------------------------------------------------------------------


def ones(*shape):
    return np.ones(shape)


class Unusable:
    """Neither a number nor an array."""


# What no function may take: (function, arguments, what the message must say).
BAD = {
    "object array": (fd.relu, (np.array([[Unusable()]]),), "Z has dtype object"),
    "text": (fd.relu, ("abc",), "Z has dtype"),
    "complex": (fd.tanh, (ones(2, 2) * 1j,), "Z has dtype complex128"),
    "masked": (fd.sigmoid, (np.ma.array([1.0], mask=[True]),), "Z is a masked array"),
    "ragged": (fd.sigmoid, ([[1.0], [1.0, 2.0]],), "Z does not form an array"),
    "empty": (fd.relu, (ones(3, 0),), r"Z has shape \(3, 0\)"),
    "softmax of a number": (fd.softmax, (1.0,), r"Z has shape \(\)"),
    "different shapes": (fd.relu_backward, (ones(2, 3), ones(3, 2)), r"dA has shape \(2, 3\)"),
    "broadcast": (fd.tanh_backward, (ones(1, 3), ones(3, 3)), r"expected \(3, 3\)"),
    "1-d": (fd.linear_forward, (ones(3), ones(2, 3), ones(2, 1)), "A has shape"),
    "inner": (fd.linear_forward, (ones(4, 5), ones(2, 3), ones(2, 1)), r"\(2, 3\) and A \(4, 5\)"),
    "bias row": (fd.linear_forward, (ones(3, 5), ones(2, 3), ones(1, 2)), r"b has shape \(1, 2\)"),
    "bias": (fd.linear_forward, (ones(3, 5), ones(2, 3), ones(2)), "b has shape"),
    "no examples": (fd.linear_forward, (ones(3, 0), ones(2, 3), ones(2, 1)), "A has shape"),
    "activation": (
        fd.linear_activation_forward, (ones(3, 5), ones(2, 3), ones(2, 1), "rleu"), "mean 'relu'",
    ),
    "activation back": (
        fd.linear_activation_backward,
        (ones(2, 5), ((ones(3, 5), ones(2, 3), None), ones(2, 5)), "sin"), "activation is 'sin'",
    ),
    "dZ": (fd.linear_backward, (ones(2, 4), (ones(3, 5), ones(2, 3), None)), r"dZ has shape"),
    "cache": (fd.linear_backward, (ones(2, 4), ones(3, 5)), "cache is a ndarray"),
    "cache of a layer": (
        fd.linear_activation_backward, (ones(2, 5), (ones(3, 5),), "relu"), "cache is a tuple",
    ),
    "AL and Y": (fd.compute_cost, (ones(1, 3), ones(3, 1)), r"Y has shape \(3, 1\)"),
    "never (m, m)": (fd.compute_cost, (ones(2, 3), ones(3)), "Y has dtype float64"),
    "class": (fd.compute_cost, (ones(2, 3), np.array([0, 1, 2])), r"Y\[2\] is 2"),
    "Z for AL": (fd.compute_cost, (3 * ones(1, 2), ones(1, 2)), r"AL\[0, 0\] is 3.0, expected pro"),
    "loss": (lambda: fd.compute_cost(ones(1, 1), ones(1, 1), loss="mes"), (), "mean 'mse'"),
    "no parameters": (fd.L_model_forward, (ones(2, 2), {}), "W1 is missing"),
    "a layer missing": (
        fd.L_model_forward, (ones(2, 2), {"W1": ones(1, 2), "b2": ones(1, 1)}), "b1 is missing",
    ),
    "not a dict": (fd.L_model_forward, (ones(2, 2), [1]), "parameters is a list"),
    "layers": (
        fd.L_model_forward,
        (ones(2, 2), {"W1": ones(3, 2), "b1": ones(3, 1), "W2": ones(1, 4), "b2": ones(1, 1)}),
        r"W2 has shape \(1, 4\) and A1 \(3, 2\)",
    ),
    "features": (
        fd.L_model_forward, (ones(3, 2), {"W1": ones(1, 2), "b1": ones(1, 1)}),
        r"W1 has shape \(1, 2\) and X \(3, 2\)",
    ),
    "X": (fd.L_model_forward, (ones(3), {"W1": ones(1, 3), "b1": ones(1, 1)}), "X has shape"),
    "A_prev": (
        fd.linear_activation_forward, (ones(4, 5), ones(2, 3), ones(2, 1), "relu"),
        r"and A_prev \(4, 5\)",
    ),
    "caches": (fd.L_model_backward, (ones(1, 2), ones(1, 2), []), "caches is not the list"),
    "caches of softmax": (fd.L_Layer_Back_Prop, (None, ones(1, 2), None), "caches is not"),
    "no cache": (fd.L_model_backward, (ones(1, 2), ones(1, 2), [None]), r"caches\[0\] is a None"),
    "no cache of softmax": (
        fd.L_Layer_Back_Prop, (None, ones(1, 2), [((1, 2, 3), 4), 5]), r"caches\[1\] is a int",
    ),
    "AL of other examples": (
        fd.L_model_backward,
        (ones(1, 2), ones(1, 2), [((ones(1, 3), ones(1, 1), None), ones(1, 3))]), "AL has shape",
    ),
    "gradient missing": (fd.update_parameters, ({"W1": ones(2, 2)}, {}, 0.1), "no dW1"),
    "gradient": (
        fd.update_parameters, ({"W1": ones(2, 2)}, {"dW1": ones(2, 3)}, 0.1), "dW1 has shape",
    ),
    "rate of text": (fd.update_parameters, ({}, {}, "0.1"), "learning_rate is '0.1'"),
    "no rate": (fd.update_parameters, ({}, {}, None), "learning_rate is None"),
    "rate": (fd.update_parameters, ({}, {}, np.nan), "learning_rate is nan, expected a finite"),
    "slope": (fd.leaky_relu, (ones(2, 2), None), "alpha is None, expected a finite number"),
    "slope back": (fd.leaky_relu_backward, (ones(2, 2), ones(2, 2), np.inf), "alpha is inf"),
    "sizes": (fd.initialise_parameters, (0, 2, 1), "n_x is 0"),
    "seed": (partial(fd.initialise_parameters, seed=2**32), (3, 2, 1), "seed is 4294967296"),
    "seed of many": (
        partial(fd.initialise_parameters_deep, seed=-1), ([3, 1],), "seed is -1, expected a whole",
    ),
    "dims": (fd.initialise_parameters_deep, ([3],), "at least two sizes"),
    "accuracy": (
        fd.accuracy, (ones(1, 3), [1, 0], {"W1": ones(1, 1), "b1": ones(1, 1)}), "y has shape",
    ),
    "training on NaN": (fd.L_layer_model, (ones(2, 2) * np.nan, [1, 0], [2, 1]), r"X\[0, 0\]"),
    "training sizes": (fd.L_layer_model, (ones(3, 2), [1, 0], [2, 1]), r"expected \(2, m\)"),
    "two layers": (fd.two_layer_model, (ones(2, 2), [1, 0], [2, 1]), "three sizes"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named(what):
    function, arguments, message = BAD[what]
    with pytest.raises((TypeError, ValueError), match=message):
        function(*arguments)


@pytest.mark.usefixtures("no_compiled_code")  # of a network
@pytest.mark.parametrize("what", BAD)
def test_bad_input_never_reaches_a_kernel(what, monkeypatch):
    def kernel(*args, **key):
        if what not in ("layers", "accuracy"):  # whose first layers are in order
            raise AssertionError("compiled code was called")
        return calls.call(*args, **key)

    patch_calls(monkeypatch, "call", kernel)
    function, arguments, _ = BAD[what]
    with pytest.raises((TypeError, ValueError)):
        function(*arguments)


# --- the ends of the range -------------------------------------------------------------------

EXTREMES = [-1e4, -800.0, -100.0, -40.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 40.0, 100.0, 800.0, 1e4]


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_finite_z_overflows(name, dtype):
    """Every element on its own, so that large neighbours hide nothing."""
    Z = np.array([EXTREMES], dtype)
    A, _ = getattr(fd, name)(Z)
    dZ = getattr(fd, f"{name}_backward")(np.ones_like(Z), Z)
    expected, _ = getattr(reference, name)(Z.astype(np.float64))
    assert np.isfinite(A).all() and np.isfinite(dZ).all()
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(A, expected, rtol=4 * np.finfo(dtype).eps, atol=tiny)


@each_dtype
def test_derivatives_keep_their_precision_in_the_tails(dtype):
    """sigmoid' and tanh' at |z| = 15: exp(-|z|) and 4 exp(-2|z|), though A rounds to 1."""
    Z = np.array([[-15.0, 15.0]], dtype)
    one, rtol = np.ones_like(Z), 8 * float(np.finfo(dtype).eps)
    s = math.exp(-15) / (1 + math.exp(-15)) ** 2
    np.testing.assert_allclose(fd.sigmoid_backward(one, Z), [[s, s]], rtol=rtol)
    t = 4 * math.exp(-30) / (1 + math.exp(-30)) ** 2
    np.testing.assert_allclose(fd.tanh_backward(one, Z), [[t, t]], rtol=4 * rtol)


@each_dtype
def test_saturated_outputs(dtype):
    """AL exactly 0 and 1: the cost is finite, and the error takes its limit AL - Y."""
    AL, Y = np.array([[0, 0, 1, 1]], dtype), np.array([[0, 1, 0, 1]])
    worst = -math.log(np.finfo(dtype).tiny)
    assert fd.compute_cost(AL, Y) == pytest.approx(2 * worst / 4, rel=1e-6)
    assert fd.compute_cost(AL[:, [0, 3]], Y[:, [0, 3]]) == 0.0
    Z = np.array([[-1e4, -1e4, 1e4, 1e4]], dtype)
    one = np.ones((1, 1), dtype)
    grads = fd.L_model_backward(AL, Y, [((np.ones((1, 4), dtype), one, one), Z)])
    np.testing.assert_array_equal(grads["dA0"], [[0, -1, 1, 0]])
    probabilities = np.array([[0, 1], [1, 0]], dtype)
    cost = fd.compute_cost(probabilities, [0, 0], loss="categorical_crossentropy")
    assert cost == pytest.approx(worst / 2, rel=1e-6)


@each_dtype
def test_error_of_an_output_that_another_library_computed(dtype):
    """Its sigmoid may differ in the last digit, which 1 / (1 - AL) would amplify."""
    Z = np.linspace(-30, 30, 61, dtype=dtype).reshape(1, -1)
    AL = reference.sigmoid(Z)[0]
    Y = (Z < 0).astype(dtype)
    W = np.ones((1, 1), dtype)
    grads = fd.L_model_backward(AL, Y, [((np.ones_like(Z), W, W), Z)])
    np.testing.assert_allclose(grads["dA0"], AL - Y, rtol=4 * np.finfo(dtype).eps)


@each_dtype
@each_case
def test_nan_survives(name, dtype):
    """A NaN in any input shows in some output, without a warning or an exception."""
    case = CASES[name]
    if case.function == "predict":
        pytest.skip("labels are integers")
    if not JIT:
        pytest.skip("NumPy warns where compiled code does not")
    plain = case.arguments(Draw(dtype, 0), 3, 5)
    for target in range(len(leaves(plain))):
        arguments = copy.deepcopy(plain)
        leaf = [a for a in leaves(arguments) if a.dtype.kind == "f" and a.ndim]
        if target >= len(leaf):
            break
        leaf[target].flat[0] = np.nan
        with np.errstate(all="ignore"):
            expected = any(np.isnan(x).any() for x in leaves(case.reference(fresh(arguments))))
        shown = any(np.isnan(x).any() for x in leaves(case.fast(arguments)))
        assert shown == expected, f"NaN in array {target}"


# --- teams and buffers -----------------------------------------------------------------------


# So many elements that no function leaves its arithmetic to NumPy.
LARGE = (33, elementwise.FEW_ELEMENTS // 33 + 1)


def force(monkeypatch, team):
    patch_calls(monkeypatch, "team_for", lambda *args, **kwargs: team)


@each_team
@each_case
def test_any_team_gives_the_same_bits(name, team, monkeypatch):
    case = CASES[name]
    for n, m in ((2, 3), (15, 33), (40, 4100)) if JIT else ((2, 3),):
        arguments = case.arguments(Draw("float32", 2), n, m)
        expected = case.fast(fresh(arguments))
        with monkeypatch.context() as patch:
            force(patch, team)
            result = case.fast(fresh(arguments))
        for x, r in zip(leaves(result), leaves(expected), strict=True):
            assert_same(x, r)


class Surrounded:
    """Stands in for `calls.call`: kernels work on copies between fences or pages."""

    def __init__(self, allocate):
        self.allocate, self.calls = allocate, 0

    def __call__(self, kernel, team, *args, key=None):
        self.calls += 1
        copies = {}  # one for each place in memory: an output may be an input
        given = [self.copied(a, copies) if isinstance(a, np.ndarray) else a for a in args]
        calls.call(kernel, team, *given, key=key)
        for a, copied in zip(args, given, strict=True):
            if isinstance(a, np.ndarray):
                a[...] = copied

    def copied(self, a, copies):
        place = a.__array_interface__["data"][0], a.size
        if place not in copies:
            copies[place] = self.allocate(a)
        return copies[place]


@each_team
@each_dtype
@each_case
def test_nothing_beyond_the_buffers_is_touched(name, dtype, team, monkeypatch):
    case, fences = CASES[name], Fenced()
    surrounded = Surrounded(fences)
    force(monkeypatch, team)
    shapes = (1, 1), (3, 5), (4, 8), (13, 31), (14, 32), (15, 33), LARGE
    for n, m in shapes if JIT else ((2, 3),):
        arguments = case.arguments(Draw(dtype, 3), n, m)
        expected = case.fast(fresh(arguments))
        with monkeypatch.context() as patch:
            patch_calls(patch, "call", surrounded)
            result = case.fast(fresh(arguments))
        for x, r in zip(leaves(result), leaves(expected), strict=True):
            assert_same(x, r)
    if surrounded.calls:
        fences.check()
    else:  # NumPy does it
        assert case.name.startswith("identity" if JIT else ("identity", "update"))


def every_case_surrounded(allocate):
    """All cases on a few shapes, with the pages around every buffer out of bounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch_calls(patch, "call", Surrounded(allocate))
        for case in CASES.values():
            for n, m in ((1, 1), (3, 5), (15, 33), LARGE):
                case.fast(case.arguments(Draw("float32", 0), n, m))


@pytest.mark.needs_jit
@needs_guard_pages
def test_reads_stay_inside_the_buffers():
    assert_survives_guard_pages("test_functional", "every_case_surrounded")
