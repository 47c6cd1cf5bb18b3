"""fit: weights of examples, dropout and clipping."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import assert_close, each_dtype
from network_cases import (
    assert_same_bits,
    in_float64,
    kind_of,
    problem,
    randomise,
    tanh_network,
)

import fastdnn
from fastdnn import reference

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = np.array([0, 1, 1, 2, 1, 0, 1])


def classifier(dtype="float64"):
    """A network for three classes, and examples of them."""
    net = randomise(fastdnn.DNN([4, 5, 3], output_activation="softmax", dtype=dtype))
    return net, np.random.RandomState(1).randn(4, CLASSES.size).astype(dtype)


def after_a_step(**weights):
    net, X = classifier()
    net.fit(X, CLASSES, learning_rate=0.5, **weights)
    return net.parameters


# --- weights --------------------------------------------------------------------------------------


@each_dtype
def test_sample_weights_are_factors_in_cost_and_gradients(dtype):
    net, X = classifier(dtype)
    weights = np.array([0.5, 0, 2, 1, 3, 0.25, 1])
    cost, grads = reference.cost_and_gradients(
        X.astype(float), np.eye(3)[:, CLASSES], in_float64(net), **kind_of(net), loss=net.loss,
        sample_weight=weights,
    )  # fmt: skip
    expected = {name: w - 0.5 * grads[f"d{name}"] for name, w in in_float64(net).items()}
    history = net.fit(X, CLASSES, learning_rate=0.5, sample_weight=weights.tolist())
    assert_close(np.array(history.cost).astype(dtype), np.array([cost]))
    for name, value in net.parameters.items():
        assert_close(value, expected[name])


def test_class_weights_are_weights_of_their_examples():
    factors = {0: 2.0, 1: 0.5, 2: 1.0}
    by_class = np.array([factors[label] for label in CLASSES])
    usual = after_a_step(class_weight=factors)
    assert_same_bits(usual, after_a_step(sample_weight=by_class))
    balanced = 7 / (3 * np.bincount(CLASSES)[CLASSES])
    assert_same_bits(after_a_step(class_weight="balanced"), after_a_step(sample_weight=balanced))
    both = after_a_step(class_weight=factors, sample_weight=balanced)
    assert_same_bits(both, after_a_step(sample_weight=by_class * balanced))
    assert (usual["W1"] != both["W1"]).any()


def test_classes_that_are_not_named_weigh_1():
    named = after_a_step(class_weight={0: 1.0, 1: 2.0, 2: 1.0})
    assert_same_bits(after_a_step(class_weight={1: 2.0}), named)
    assert_same_bits(after_a_step(class_weight={}), after_a_step())


def test_class_weights_of_two_classes_in_one_row():
    X = np.random.RandomState(1).randn(4, 5)
    y = np.array([1, 0, 1, 1, 0])
    nets = [randomise(fastdnn.DNN([4, 3, 1], dtype="float64")) for _ in range(2)]
    nets[0].fit(X, y, class_weight={0: 3, 1: 1})
    nets[1].fit(X, y, sample_weight=np.where(y, 1, 3))
    assert_same_bits(nets[0].parameters, nets[1].parameters)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight has shape \(3,\), expected"),
        ({"sample_weight": -np.ones(7)}, ValueError, "sample_weight has negative entries"),
        ({"sample_weight": np.zeros(7)}, ValueError, "sample_weight is 0 for every example"),
        ({"sample_weight": np.full(7, np.nan)}, ValueError, r"sample_weight\[0\] is nan"),
        ({"class_weight": "equal"}, ValueError, "class_weight is 'equal'"),
        ({"class_weight": [1, 2, 3]}, TypeError, "expected 'balanced' or a dict"),
        ({"class_weight": {0: 1, 1: -1, 2: 1}}, ValueError, r"class_weight\[1\] is -1"),
        ({"class_weight": dict.fromkeys(range(4), 1)}, ValueError, "entry for 3, expected classes"),
        ({"class_weight": dict.fromkeys("012", 1)}, ValueError, "entry for '0', expected classes"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, error, message):
    net, X = classifier()
    before = {name: value.copy() for name, value in net.parameters.items()}
    with pytest.raises(error, match=message):
        net.fit(X, CLASSES, **weights)
    assert_same_bits(net.parameters, before)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"class_weight": {0: 1e300, 1: 1, 2: 1}},
            r"class_weight\[0\] 1e\+300 does not fit",
        ),
        (
            {"class_weight": {0: 1, 1: 1e30, 2: 1}, "sample_weight": np.full(7, 1e30)},
            r"^\(sample_weight \* class_weight\)\[1\] is inf, expected finite float32 numbers",
        ),
    ],
)
def test_weights_too_large_for_float32_are_refused(weights, message):
    net, X = classifier("float32")
    with pytest.raises(ValueError, match=message):
        net.fit(X, CLASSES, **weights)


@pytest.mark.parametrize(
    ("output", "n_y"),
    [("sigmoid", 3), ("identity", 1), ("identity", 3), ("tanh", 1)],
)
@pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 2, 2: 1}])
def test_examples_without_a_class_have_no_class_weight(output, n_y, class_weight):
    net = fastdnn.DNN([4, 5, n_y], output_activation=output)
    with pytest.raises(ValueError, match=f"^class_weight needs .* this one is {output} of {n_y}"):
        net.fit(np.ones((4, 7)), np.ones((n_y, 7)), class_weight=class_weight)


# --- dropout and clipping -------------------------------------------------------------------------


def fitted(**options):
    net = tanh_network()
    net.fit(*problem(net), epochs=3, learning_rate=0.5, **options)
    return net.parameters


def test_dropout_of_each_layer():
    assert_same_bits(fitted(dropout=0.3), fitted(dropout=[0.3, 0.3]))
    assert_same_bits(fitted(dropout=0.3), fitted(dropout=np.array(0.3)))
    assert_same_bits(fitted(dropout=0.3), fitted(dropout=np.array([0.3, 0.3])))
    assert_same_bits(fitted(dropout=0), fitted())
    different = fitted(dropout=[0.3, 0])
    for other in (fitted(dropout=0.3), fitted(dropout=[0, 0.3]), fitted()):
        assert (different["W1"] != other["W1"]).any()
    with pytest.raises(ValueError, match=r"dropout has 3 entries, .* each of the 2 hidden"):
        fitted(dropout=(0.1, 0.2, 0.3))


def test_a_clipped_step_is_as_long_as_it_may_be():
    net = tanh_network()
    before = np.concatenate([value.ravel() for value in net.parameters.values()])
    net.fit(*problem(net), learning_rate=0.5, clip_norm=1e-3)
    moved = np.concatenate([value.ravel() for value in net.parameters.values()]) - before
    assert np.linalg.norm(moved) == pytest.approx(0.5e-3, rel=1e-5)
    assert_same_bits(fitted(clip_norm=1e6), fitted())  # shorter than that: as it is


# --- numbers too large to square ------------------------------------------------------------------

STEEP = np.array([[1e8, 2e8]]), np.array([[1e14, 3e14]])  # gradients of 4e22
PRECISIONS = ("float32", "float64")


def test_clipping_gradients_whose_squares_overflow_float32():
    """A norm of infinity would make every step nothing, and no cost would tell."""
    nets = [fastdnn.DNN([1, 1], output_activation="identity", dtype=dtype) for dtype in PRECISIONS]
    for net in nets:
        net.parameters.update(W1=[[0]], b1=[[0]])
        net.fit(*STEEP, epochs=3, learning_rate=0.1, clip_norm=1.0)
        assert net.parameters["W1"].item() == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "factor", "settings"),
    [
        ("float64", 1e75, {"clip_norm": 1.0}),
        ("float32", 1.0, {"optimizer": "adam"}),
        ("float32", 1.0, {"optimizer": "rmsprop"}),
        ("float64", 1e70, {"optimizer": "adam"}),
    ],
)
def test_squares_that_overflow_are_told(dtype, factor, settings):
    net = fastdnn.DNN([1, 1], output_activation="identity", dtype=dtype)
    net.parameters.update(W1=[[0]], b1=[[0]])
    X, Y = STEEP
    with (
        pytest.raises(fastdnn.DivergenceError, match="an update overflowed in epoch 1"),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        net.fit(X * factor, Y * factor, epochs=3, **settings)
    assert np.isfinite(net.parameters["W1"]).all()
