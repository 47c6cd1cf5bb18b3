"""The notebooks' training calls, and what they ask a trained network."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from cases import Draw
from kernel_cases import TOLERANCE, assert_same, each_dtype, relative_error

from fastdnn import DNN, DivergenceError, initialize_parameters_deep, reference
from fastdnn import functional as fd

pytestmark = [pytest.mark.kernels, pytest.mark.front]


def spiral(dtype="float64"):
    """Two interleaved classes in the plane."""
    stream = np.random.RandomState(0)
    X = stream.randn(2, 40).astype(dtype)
    return X, (X[0] * X[1] > 0).astype(int)


@each_dtype
@pytest.mark.parametrize(
    ("hidden", "output", "n_y"),
    [("relu", "sigmoid", 1), ("tanh", "softmax", 3), (["tanh", "relu"], "identity", 2)],
)
def test_training_follows_the_reference(hidden, output, n_y, dtype):
    X, y = spiral(dtype)
    dims = [2, 5, n_y] if isinstance(hidden, str) else [2, 5, 4, n_y]
    Y = np.eye(n_y)[:, y] if n_y > 1 else y
    options = {"hidden_activation": hidden, "output_activation": output}
    fast, costs = fd.L_layer_model(X, Y, dims, 0.05, 201, **options)
    double = X.astype(np.float64)
    slow, expected = reference.L_layer_model(double, Y, dims, 0.05, 201, **options)
    assert len(costs) == 3
    assert list(fast) == list(slow)
    assert relative_error(np.array(costs), np.array(expected)) <= TOLERANCE[dtype]
    for name, w in fast.items():
        assert w.dtype == dtype
        assert relative_error(w, slow[name]) <= 10 * TOLERANCE[dtype]


def test_training_prints_the_cost(capsys):
    X, y = spiral()
    printing, costs = fd.two_layer_model(X, y, (2, 4, 1), 0.1, 250, True)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Cost after iteration {100 * i}: {cost:f}" for i, cost in enumerate(costs)]
    silent, same = fd.two_layer_model(X, y, (2, 4, 1), 0.1, 250)
    assert capsys.readouterr().out == ""
    assert costs == same
    for name, w in printing.items():
        assert_same(w, silent[name])


def test_training_no_iterations():
    X, y = spiral()
    parameters, costs = fd.L_layer_model(X, y, [2, 3, 1], num_iterations=0)
    assert costs == []
    expected = fd.initialise_parameters_deep([2, 3, 1], seed=1, init="lecun")
    for name, w in parameters.items():
        np.testing.assert_array_equal(w, expected[name])


def test_training_that_diverges_says_so():
    X, y = spiral()
    with pytest.raises(DivergenceError, match="learning_rate"):
        fd.L_layer_model(1e200 * X, y * 1e200, [2, 3, 1], 1e200, 50, output_activation="identity")


def test_predict_and_accuracy():
    X, y = spiral()
    parameters, _ = fd.L_layer_model(X, y, [2, 20, 1], 0.5, 100, seed=3, init="he")
    labels = fd.predict(X, parameters)
    assert labels.shape == (1, 40) and labels.dtype == np.int64
    assert fd.accuracy(X, y, parameters) == np.mean(labels[0] == y) >= 0.95
    for same in (y.reshape(1, -1), y.astype(bool), y.astype(float), y.tolist()):
        assert fd.accuracy(X, same, parameters) == fd.accuracy(X, y, parameters)
    several = {"W1": np.eye(3), "b1": np.zeros((3, 1))}
    scores = np.array([[3.0, 0, 0], [0, 2, 0], [1, 0, 9]])
    options = {"output_activation": "softmax"}
    np.testing.assert_array_equal(fd.predict(scores, several, **options), [[0, 1, 2]])
    for y in (np.eye(3), [0, 1, 2], [[0, 1, 2]]):
        assert fd.accuracy(scores, y, several, **options) == 1.0
    raw = fd.predict(scores, several, output_activation="identity")
    np.testing.assert_array_equal(raw, scores)


@pytest.mark.parametrize(("output", "n_y"), [("sigmoid", 1), ("sigmoid", 3), ("softmax", 3)])
def test_predict_and_accuracy_are_those_of_a_network(output, n_y):
    net = DNN([2, 5, n_y], output_activation=output, dtype="float64")
    X, Y = Draw("float64", 0).normal(2, 30), Draw("float64", 1).labels(n_y, 30)
    options = {"output_activation": output}
    labels = fd.predict(X, net.parameters, **options)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, np.atleast_2d(net.predict(X)))
    assert fd.accuracy(X, Y, net.parameters, **options) == net.evaluate(X, Y)["accuracy"]


@pytest.mark.parametrize(
    ("n_y", "output", "y", "message"),
    [
        (1, "sigmoid", ["a", "b", "a"], "y has dtype <U1"),
        (1, "sigmoid", [-1, 1, 1], r"y\[0\] is -1.0, expected targets between 0 and 1"),
        (1, "sigmoid", [1, 2, 1], r"y\[1\] is 2.0"),
        (1, "sigmoid", [0, np.nan, 1], r"y\[1\] is nan"),
        (1, "sigmoid", np.ma.array([0, 1, 1], mask=[True, False, False]), "y is a masked array"),
        (3, "sigmoid", [0, 1, 2], r"y has shape \(3,\), expected \(3, 3\)"),
        (3, "softmax", [1, 2, 3], r"y\[2\] is 3, expected a class from 0 to 2"),
        (3, "softmax", np.ones((4, 3)), r"y has shape \(4, 3\), expected \(3, 3\)"),
        (3, "softmax", [0.0, 1.0, 2.0], "y has dtype float64, expected integer class indices"),
    ],
)
def test_labels_that_no_prediction_can_match_are_refused(n_y, output, y, message):
    parameters = {"W1": np.ones((n_y, 2)), "b1": np.ones((n_y, 1))}
    with pytest.raises((TypeError, ValueError), match=message):
        fd.accuracy(np.ones((2, 3)), y, parameters, output_activation=output)


@pytest.mark.parametrize(
    ("init", "scale"), [("lecun", lambda n: n**-0.5), ("small", lambda n: 0.01)]
)
def test_the_parameters_of_the_online_course(init, scale):
    """Those its own functions draw, from the calls that the README gives."""
    dims, rng = (12, 7, 5, 1), np.random.RandomState(1)
    parameters = initialize_parameters_deep(dims, seed=1, init=init)
    for layer, (before, units) in enumerate(pairwise(dims), start=1):
        expected = rng.randn(units, before) * scale(before)
        np.testing.assert_allclose(parameters[f"W{layer}"], expected, rtol=1e-15)
        np.testing.assert_array_equal(parameters[f"b{layer}"], np.zeros((units, 1)))
