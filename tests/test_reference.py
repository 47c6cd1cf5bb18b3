"""The NumPy reference: stability, labels, names, initial values, and the notebooks' training."""

from __future__ import annotations

import numpy as np
import pytest
from reference_cases import DTYPES, drawn, small_network

from fastdnn import reference as ref
from fastdnn.reference.inputs import one_hot, targets

# --- stability --------------------------------------------------------------------------------


def hard_values(dtype):
    limits = np.finfo(dtype)
    sizes = [0.0, limits.smallest_subnormal, limits.tiny, 1.0, 30.0, 89.0, 710.0, 1e4, limits.max]
    return np.array([sign * size for size in sizes for sign in (1, -1)], dtype=dtype)


@pytest.mark.parametrize("name", ref.ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_of_any_finite_value(name, dtype):
    """Finite and silent; every pair of hard values meets in one column of softmax."""
    activation = ref.ACTIVATIONS[name]
    values = hard_values(dtype)
    Z = np.stack([a.ravel() for a in np.meshgrid(values, values)])
    original = Z.copy()
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        A, cached = activation.function(Z)
        dZ = activation.backward(np.ones_like(Z), Z)
    np.testing.assert_array_equal(Z, original)
    np.testing.assert_array_equal(cached, Z)
    assert A.dtype == dZ.dtype == dtype
    assert np.isfinite(A).all()
    assert np.isfinite(dZ).all()
    if name in ("sigmoid", "softmax"):
        assert A.min() == 0.0
        assert A.max() == 1.0
    if name == "softmax":
        np.testing.assert_allclose(A.sum(axis=0), 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", ref.ACTIVATIONS)
def test_nan_stays_nan(name):
    Z = np.array([[np.nan, 1.0]])
    A, _ = ref.ACTIVATIONS[name].function(Z)
    np.testing.assert_array_equal(np.isnan(A), [[True, False]])


@pytest.mark.parametrize("loss", ref.LOSSES)
def test_nan_makes_the_cost_nan(loss):
    assert np.isnan(ref.compute_cost(np.array([[np.nan, 0.5]]), np.array([[0.0, 1.0]]), loss=loss))


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_at_zero(dtype):
    Z, dA = np.zeros((1, 2), dtype), np.full((1, 2), 3, dtype)
    slopes = {name: entry.backward(dA, Z)[0, 0] / 3 for name, entry in ref.ACTIVATIONS.items()}
    expected = {"identity": 1, "relu": 0, "leaky_relu": 1, "sigmoid": 0.25, "tanh": 1}
    assert slopes == {**expected, "softmax": 0, "softplus": 0.5}


def test_leaky_slope_can_be_chosen():
    Z = np.array([[-2.0, 0.0, 2.0]])
    np.testing.assert_array_equal(ref.leaky_relu(Z, 0.25)[0], [[-0.5, 0.0, 2.0]])
    np.testing.assert_array_equal(ref.leaky_relu_backward(Z, Z, alpha=0.5), [[-1.0, 0.0, 2.0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cost_of_exact_zeros_and_ones(dtype):
    worst = -np.log(np.finfo(dtype).tiny)
    AL = np.array([[0, 1, 0, 1]], dtype=dtype)
    Y = np.array([[0, 1, 1, 0]])
    costs = ref.binary_crossentropy(AL, Y)
    np.testing.assert_array_equal(costs, [0, 0, worst, worst])
    assert costs.dtype == dtype
    assert ref.compute_cost(AL[:, :2], Y[:, :2]) == 0.0
    both = np.concatenate([AL, 1 - AL])
    costs = ref.categorical_crossentropy(both, np.array([1, 0, 0, 1]))
    np.testing.assert_array_equal(costs, [0, 0, worst, worst])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [30.0, 89.0, 103.0, 709.0, 744.0, 1e4])
@pytest.mark.parametrize(
    ("output", "n_y"), [("sigmoid", 1), ("sigmoid", 3), ("softmax", 3), ("identity", 2)]
)
def test_saturated_outputs(dtype, size, output, n_y):
    """|Z| far beyond where exp overflows, and AL exactly 0, subnormal, or 1."""
    labels = np.array([0, n_y - 1, 0, n_y - 1])
    Y = one_hot(labels, n_y) if n_y > 1 else np.array([[0.0, 1.0, 1.0, 0.0]])
    signs = [1, 1, -1, -1]
    W = np.linspace(-1.0, 1.0, n_y).reshape(n_y, 1) if n_y > 1 else np.ones((1, 1))
    parameters = {"W1": W.astype(dtype), "b1": np.zeros((n_y, 1), dtype)}
    X = (np.array([signs]) * size).astype(dtype)
    loss = ref.default_loss(output)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        AL, caches = ref.L_model_forward(X, parameters, output_activation=output)
        cost = ref.compute_cost(AL, Y, loss=loss)
        grads = ref.L_model_backward(AL, Y, caches, output_activation=output)
        fused = ref.cost_and_gradients(X, Y, parameters, output_activation=output)
    assert np.isfinite(cost)
    assert cost == fused[0]
    for name, gradient in grads.items():
        assert np.isfinite(gradient).all()
        assert gradient.dtype == dtype
        np.testing.assert_allclose(
            gradient, fused[1][name], rtol=1e-5, atol=np.finfo(dtype).eps * size
        )


def test_saturation_takes_the_limit_and_nothing_else_does():
    Z = np.array([[0.0, 0.0, 0.0, 0.0]])
    AL = np.array([[0.0, 1.0, 5e-324, 0.2]])
    cache = ((np.ones((1, 4)), np.ones((1, 1)), np.zeros((1, 1))), Z)
    grads = ref.L_model_backward(AL, np.ones((1, 4)), [cache])
    np.testing.assert_allclose(grads["dA0"], [[-1.0, 0.0, -1.0, -0.25 / 0.2]], rtol=1e-15)


# --- labels and names -------------------------------------------------------------------------


def test_labels_are_never_broadcast():
    AL = np.array([[0.2, 0.7, 0.6]])
    labels = np.array([0, 1, 1])
    assert ref.compute_cost(AL, labels) == ref.compute_cost(AL, labels[np.newaxis])
    assert targets(labels, AL).shape == (1, 3)
    for Y in (labels[:, np.newaxis], labels[:2], np.ones((1, 1)), np.float64(1.0)):
        with pytest.raises(ValueError, match="expected"):
            ref.compute_cost(AL, Y)


def test_class_indices_are_one_hot_columns():
    AL, _ = ref.softmax(drawn(1, (3, 4))[0])
    labels = np.array([2, 0, 1, 2], dtype=np.uint8)
    expected = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]])
    for loss in ref.LOSSES:
        assert ref.compute_cost(AL, labels, loss=loss) == ref.compute_cost(AL, expected, loss=loss)
    for wrong in ([0, 1, 2, 3], [0, 1, 2, -1], [0.0, 1.0, 2.0, 0.0]):
        with pytest.raises(ValueError, match="labels"):
            ref.compute_cost(AL, np.array(wrong))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_, np.float16, np.dtype(">f8")])
def test_other_dtypes_are_cast_to_float64(dtype):
    Z = np.array([[0, 1]], dtype=dtype)
    for activation in ref.ACTIVATIONS.values():
        A, _ = activation.function(Z)
        assert A.dtype == np.float64
        np.testing.assert_array_equal(A, activation.function(Z.astype(float))[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_precision_is_kept_end_to_end(dtype):
    X = drawn(1, (2, 5))[0].astype(dtype)
    parameters, _ = ref.L_layer_model(X, [0, 1, 0, 1, 1], [2, 3, 1], np.float64(0.1), 2)
    assert {a.dtype for a in parameters.values()} == {np.dtype(dtype)}


def test_unknown_names():
    X, parameters = np.ones((2, 1)), ref.initialise_parameters(2, 2, 1)
    with pytest.raises(ValueError, match="activation is 'rely', expected one of 'identity'"):
        ref.L_model_forward(X, parameters, hidden_activation="rely")
    with pytest.raises(ValueError, match="loss is 'l1'"):
        ref.compute_cost(np.ones((1, 1)), np.ones((1, 1)), loss="l1")
    with pytest.raises(ValueError, match="init is 'zeros'"):
        ref.initialise_parameters_deep([2, 1], init="zeros")
    with pytest.raises(ValueError, match="optimizer is 'lbfgs'"):
        ref.optimizer_step({}, {}, {}, 0.1, optimizer="lbfgs")
    with pytest.raises(ValueError, match="names 2 layers, the network has 1"):
        ref.L_model_forward(X, parameters, hidden_activation=["relu", "tanh"])


# --- initial values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "scale_1", "scale_2"),
    [
        ("small", 0.01, 0.01),
        ("lecun", 1 / np.sqrt(8), 1 / np.sqrt(3)),
        ("he", np.sqrt(2 / 8), np.sqrt(2 / 3)),
        ("xavier", np.sqrt(2 / 11), np.sqrt(2 / 4)),
    ],
)
def test_scaled_inits_draw_weights_only(init, scale_1, scale_2):
    parameters = ref.initialise_parameters_deep([8, 3, 1], seed=7, init=init)
    W1, W2 = drawn(7, (3, 8), (1, 3))
    np.testing.assert_allclose(parameters["W1"], W1 * scale_1, rtol=1e-15)
    np.testing.assert_allclose(parameters["W2"], W2 * scale_2, rtol=1e-15)
    assert not parameters["b1"].any()
    assert parameters["b1"].shape == (3, 1)
    assert parameters["b2"].shape == (1, 1)


# --- the softmax variant ----------------------------------------------------------------------


def test_softmax_variant_of_the_notebooks():
    X, labels, _, parameters = small_network(3)
    options = {"hidden_activation": "leaky_relu", "output_activation": "softmax"}
    AL, caches = ref.L_model_forward(X, parameters, **options)
    grads = ref.L_Layer_Back_Prop(AL, labels, caches)
    expected = ref.L_model_backward(AL, labels, caches, **options)
    assert grads.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_array_equal(grads[name], gradient)


def test_single_step_of_the_softmax_variant():
    dA, A, W, b, Z = drawn(4, (3, 2), (4, 2), (3, 4), (3, 1), (3, 2))
    cache = ((A, W, b), Z)
    probabilities = np.exp(Z) / np.sum(np.exp(Z), axis=0)
    for ignored in (dA, None):
        dA_prev, dW, db = ref.back_prop_single_step(ignored, np.array([2, 0]), cache, "softmax")
        dZ = probabilities - [[0, 1], [0, 0], [1, 0]]
        np.testing.assert_allclose(dA_prev, W.T @ dZ, rtol=1e-13)
        np.testing.assert_allclose(dW, dZ @ A.T / 2, rtol=1e-13)
        np.testing.assert_allclose(db, dZ.mean(axis=1, keepdims=True), rtol=1e-13)
    leaky = np.where(Z < 0, 0.01, 1.0) * dA
    step = ref.back_prop_single_step(dA, None, cache, "relu")
    np.testing.assert_allclose(step[0], W.T @ leaky, rtol=1e-13)
    step = ref.back_prop_single_step(dA, None, cache, "tanh")
    np.testing.assert_array_equal(step[1], ref.linear_activation_backward(dA, cache, "tanh")[1])


# --- updates and training ---------------------------------------------------------------------


def test_update_binds_new_arrays_or_overwrites():
    W, dW = np.array([[1.0]]), {"dW1": np.array([[1.0]])}
    parameters = {"W1": W}
    assert ref.update_parameters(parameters, dW, 0.5) is parameters
    assert parameters["W1"] == 0.5
    assert W == 1.0
    parameters = {"W1": W}
    assert ref.update_parameters(parameters, dW, 0.5, inplace=True)["W1"] is W
    assert W == 0.5


def notebook_training(X, Y, weights, learning_rate, n):
    """The follow-up notebook's loop for three layers, spelled out."""
    W1, W2, W3 = weights
    b1, b2, b3 = (np.zeros((W.shape[0], 1)) for W in weights)
    m = X.shape[1]
    costs = []
    for _ in range(n):
        Z1 = np.dot(W1, X) + b1
        A1 = np.maximum(0, Z1)
        Z2 = np.dot(W2, A1) + b2
        A2 = np.maximum(0, Z2)
        AL = 1 / (1 + np.exp(-(np.dot(W3, A2) + b3)))
        costs.append(-(1.0 / m) * np.sum(Y * np.log(AL) + (1 - Y) * np.log(1 - AL)))
        dZ3 = -(Y / AL - (1 - Y) / (1 - AL)) * AL * (1 - AL)
        dZ2 = np.dot(W3.T, dZ3) * (Z2 > 0)
        dZ1 = np.dot(W2.T, dZ2) * (Z1 > 0)
        W3 = W3 - learning_rate * np.dot(dZ3, A2.T) / m
        W2 = W2 - learning_rate * np.dot(dZ2, A1.T) / m
        W1 = W1 - learning_rate * np.dot(dZ1, X.T) / m
        b3 = b3 - learning_rate * dZ3.mean(axis=1, keepdims=True)
        b2 = b2 - learning_rate * dZ2.mean(axis=1, keepdims=True)
        b1 = b1 - learning_rate * dZ1.mean(axis=1, keepdims=True)
    return [W1, b1, W2, b2, W3, b3], costs


def test_deep_model_is_the_notebook(capsys):
    X = drawn(21, (6, 40))[0]
    Y = (X[:1] * X[1:2] > 0).astype(float)
    W1, W2, W3 = drawn(1, (5, 6), (4, 5), (1, 4))
    weights = W1 / np.sqrt(6), W2 / np.sqrt(5), W3 / np.sqrt(4)
    expected, expected_costs = notebook_training(X, Y, weights, 0.1, 201)
    parameters, costs = ref.L_layer_model(X, Y, [6, 5, 4, 1], 0.1, 201, True)
    for array, name in zip(expected, ["W1", "b1", "W2", "b2", "W3", "b3"], strict=True):
        np.testing.assert_allclose(parameters[name], array, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(costs, expected_costs[::100], rtol=1e-12)
    assert all(type(cost) is float for cost in costs)
    assert costs[2] < costs[1] < costs[0]
    assert capsys.readouterr().out.splitlines() == [
        f"Cost after iteration {i}: {cost:f}" for i, cost in zip((0, 100, 200), costs, strict=True)
    ]


def test_two_layer_model_starts_from_small_weights(capsys):
    X, Y = drawn(3, (4, 10))[0], np.array([0, 1] * 5)
    parameters, costs = ref.two_layer_model(X, Y, (4, 3, 1), num_iterations=0)
    W1, W2 = drawn(1, (3, 4), (1, 3))
    np.testing.assert_array_equal(parameters["W1"], W1 * 0.01)
    np.testing.assert_array_equal(parameters["W2"], W2 * 0.01)
    assert not parameters["b1"].any()
    assert costs == []
    ref.two_layer_model(X, Y, (4, 3, 1), num_iterations=1)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="layers_dims"):
        ref.two_layer_model(X, Y, (4, 3, 2, 1))


def test_predict_and_accuracy():
    X = np.array([[-2.0, -1.0, 0.0, 3.0]])
    one = {"W1": np.array([[1.0]]), "b1": np.array([[0.0]])}
    labels = ref.predict(X, one)
    np.testing.assert_array_equal(labels, [[0, 0, 0, 1]])
    assert labels.dtype == np.int64
    for y in ([0, 1, 0, 1], [[0, 1, 0, 1]], np.array([0.0, 1.0, 0.0, 1.0])):
        assert ref.accuracy(X, y, one) == 0.75
    three = {"W1": np.array([[1.0], [0.0], [-1.0]]), "b1": np.array([[0.0], [0.5], [0.0]])}
    np.testing.assert_array_equal(
        ref.predict(X, three, output_activation="softmax"), [[2, 2, 1, 0]]
    )
    assert ref.accuracy(X, one_hot([2, 2, 1, 1], 3), three, output_activation="softmax") == 0.75
    np.testing.assert_array_equal(ref.predict(X, one, output_activation="identity"), X)
    several = ref.predict(X, three, output_activation="sigmoid")
    np.testing.assert_array_equal(several, [[0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 0, 0]])
    assert ref.accuracy(X, several, three) == 1.0
    assert ref.accuracy(X, 1 - several, three) == 0.0
    assert ref.accuracy(X, [[2, 2, 1, 1]], three, output_activation="softmax") == 0.75
    with pytest.raises(ValueError, match=r"\(1, 3\), expected \(1, 4\)"):
        ref.accuracy(X, [0, 1, 0], one)
    with pytest.raises(ValueError, match="accuracy needs"):
        ref.accuracy(X, X, one, output_activation="identity")
