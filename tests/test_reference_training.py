"""The NumPy reference: gradients against differences, optimizers against steps worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from reference_cases import DTYPES, drawn, small_network

from fastdnn import reference as ref
from fastdnn.reference.inputs import one_hot

# --- gradients against central differences ----------------------------------------------------

GRADIENT_TOLERANCE = 1e-7
LOSSES_OF = {"sigmoid": list(ref.LOSSES), "softmax": list(ref.LOSSES)}
# Cross-entropies need outputs between 0 and 1; every other output has mse only.

COMBINATIONS = [
    (hidden, output, loss, n_y)
    for hidden in ref.ACTIVATIONS
    for output in ref.ACTIVATIONS
    for loss in LOSSES_OF.get(output, ["mse"])
    for n_y in (1, 2, 3)
]


def numerical_gradient(function, array, step=1e-6):
    """Central differences of a function that reads this array, one element after the other."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = function()
        array[index] = value - step
        below = function()
        array[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def relative_error(value, expected):
    return np.linalg.norm(value - expected) / max(np.linalg.norm(expected), 1e-2)


def worst_gradient_error(cost, grads, X, parameters):
    m = X.shape[1]
    errors = [relative_error(grads["dA0"] / m, numerical_gradient(cost, X))]
    for name, w in parameters.items():
        errors.append(relative_error(grads["d" + name], numerical_gradient(cost, w)))
    return max(errors)


@pytest.mark.parametrize(("hidden", "output", "loss", "n_y"), COMBINATIONS)
def test_gradients(hidden, output, loss, n_y):
    X, labels, values, parameters = small_network(n_y)
    if loss == "mse":
        Y = values
    elif output == "sigmoid":
        Y = (values > 0).astype(float)
    else:
        Y = one_hot(labels, n_y)
    options = {"hidden_activation": hidden, "output_activation": output, "loss": loss}
    cost, grads = ref.cost_and_gradients(X, Y, parameters, **options)

    AL, caches = ref.L_model_forward(
        X, parameters, hidden_activation=hidden, output_activation=output
    )
    assert cost == ref.compute_cost(AL, Y, loss=loss)
    if loss == ref.default_loss(output):
        notebook = ref.L_model_backward(
            AL, Y, caches, hidden_activation=hidden, output_activation=output
        )
        assert notebook.keys() == grads.keys()
        for name, gradient in notebook.items():
            assert relative_error(gradient, grads[name]) < 1e-13

    def cost_now():
        return ref.cost_and_gradients(X, Y, parameters, **options)[0]

    assert worst_gradient_error(cost_now, grads, X, parameters) < GRADIENT_TOLERANCE


def test_gradients_with_weights_dropout_decay_and_mixed_layers():
    X, labels, _, parameters = small_network(3)
    stream = np.random.RandomState(5)
    options = {
        "hidden_activation": ["tanh", "softplus"],
        "output_activation": "softmax",
        "sample_weight": stream.uniform(0.0, 3.0, size=6),
        "dropout_masks": [(stream.rand(n, 6) < 0.7) / 0.7 for n in (5, 3)],
    }

    def penalised_cost():
        cost, _ = ref.cost_and_gradients(X, labels, parameters, **options)
        return cost + ref.l2_penalty(parameters, 0.3)

    _, grads = ref.cost_and_gradients(X, labels, parameters, **options)
    for name in ("W1", "W2", "W3"):
        grads["d" + name] = grads["d" + name] + 0.3 * parameters[name]
    assert worst_gradient_error(penalised_cost, grads, X, parameters) < GRADIENT_TOLERANCE


@pytest.mark.parametrize("wrong", ["dW1", "db2", "dA0"])
def test_gradient_check_fails_on_a_wrong_gradient(wrong):
    X, labels, _, parameters = small_network(1)
    _, grads = ref.cost_and_gradients(X, labels, parameters, hidden_activation="tanh")
    grads[wrong] = grads[wrong] * (1 + 1e-5)

    def cost_now():
        return ref.cost_and_gradients(X, labels, parameters, hidden_activation="tanh")[0]

    assert worst_gradient_error(cost_now, grads, X, parameters) > GRADIENT_TOLERANCE


def test_sample_weights_count_examples():
    """An example of weight 2 is an example seen twice; the sum is divided by m all the same."""
    X, labels, _, parameters = small_network(3)
    options = {"output_activation": "softmax"}
    weights = np.array([1, 2, 0, 1, 1, 1])
    cost, grads = ref.cost_and_gradients(X, labels, parameters, sample_weight=weights, **options)
    seen = np.repeat(np.arange(6), weights)
    assert len(seen) == 6
    expected, repeated = ref.cost_and_gradients(X[:, seen], labels[seen], parameters, **options)
    assert cost == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(grads["dW1"], repeated["dW1"], rtol=1e-12, atol=1e-15)


# --- optimizers against steps worked by hand --------------------------------------------------

HAND_STEPS = [
    # From w = 1 along the gradients 2, then 1, with learning rate 0.1.
    ("sgd", {}, 0.8, 0.7),
    # v = 2, then 0.5 * 2 + 1 = 2.
    ("momentum", {"momentum": 0.5}, 0.8, 0.6),
    # g + 0.5 v = 3, then 1 + 0.5 * 2 = 2.
    ("nesterov", {"momentum": 0.5}, 0.7, 0.5),
    # s = 0.75 * 4 = 3, then 0.25 * 3 + 0.75 = 1.5.
    (
        "rmsprop",
        {"decay": 0.25, "epsilon": 1.0},
        1 - 0.2 / (3**0.5 + 1),
        1 - 0.2 / (3**0.5 + 1) - 0.1 / (1.5**0.5 + 1),
    ),
    # m = 1, v = 1: 0.1 / 0.5 * 1 / (1 / 0.5 + 1); then m = 1, v = 1 again, but the corrections
    # are 1 - 0.5^2 = 0.75 and 1 - 0.75^2 = 0.4375.
    (
        "adam",
        {"beta1": 0.5, "beta2": 0.75, "epsilon": 1.0},
        1 - 0.2 / 3,
        1 - 0.2 / 3 - 0.1 / 0.75 / (1 / 0.4375**0.5 + 1),
    ),
    # The same steps, after W was shrunk by 1 - 0.1 * 0.5.
    (
        "adamw",
        {"beta1": 0.5, "beta2": 0.75, "epsilon": 1.0, "weight_decay": 0.5},
        0.95 - 0.2 / 3,
        0.95 * (0.95 - 0.2 / 3) - 0.1 / 0.75 / (1 / 0.4375**0.5 + 1),
    ),
]


@pytest.mark.parametrize(("optimizer", "hyper", "first", "second"), HAND_STEPS)
def test_optimizer_steps(optimizer, hyper, first, second):
    parameters, state = {"W1": np.array([[1.0]])}, {}
    for gradient, expected in ((2.0, first), (1.0, second)):
        grads = {"dW1": np.array([[gradient]])}
        parameters = ref.optimizer_step(parameters, grads, state, 0.1, optimizer=optimizer, **hyper)
        np.testing.assert_allclose(parameters["W1"], [[expected]], rtol=1e-14)


def test_every_optimizer_is_worked_by_hand():
    assert [case[0] for case in HAND_STEPS] == list(ref.OPTIMIZERS)


@pytest.mark.parametrize("optimizer", ref.OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_optimizer_keeps_dtype_and_inputs(optimizer, dtype):
    w, b, dw, db = (a.astype(dtype) for a in drawn(1, (2, 3), (2, 1), (2, 3), (2, 1)))
    parameters, grads = {"W1": w, "b1": b}, {"dW1": dw, "db1": db, "dA0": dw}
    copies = [a.copy() for a in (w, b, dw, db)]
    state = {}
    for _ in range(3):
        moved = ref.optimizer_step(
            parameters, grads, state, np.float64(0.1), optimizer=optimizer, clip_norm=0.5
        )
    assert {name: a.dtype for name, a in moved.items()} == {"W1": dtype, "b1": dtype}
    for array, copy in zip((w, b, dw, db), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("optimizer", ref.OPTIMIZERS)
def test_weight_decay_acts_on_weights_only(optimizer):
    parameters = {"W1": np.array([[2.0]]), "b1": np.array([[2.0]])}
    grads = {"dW1": np.zeros((1, 1)), "db1": np.zeros((1, 1))}
    moved = ref.optimizer_step(parameters, grads, {}, 0.1, optimizer=optimizer, weight_decay=0.5)
    assert moved["W1"] < 2.0
    assert moved["b1"] == 2.0


def test_weight_decay_defaults():
    parameters, grads = {"W1": np.array([[1.0]])}, {"dW1": np.array([[0.0]])}
    assert ref.optimizer_step(parameters, grads, {}, 0.1, optimizer="adam")["W1"] == 1.0
    decayed = ref.optimizer_step(parameters, grads, {}, 0.1, optimizer="adamw")["W1"]
    np.testing.assert_allclose(decayed, [[1.0 - 0.1 * 0.01]], rtol=1e-15)


def test_clipping_scales_all_gradients_together_before_decay():
    parameters = {"W1": np.array([[1.0]]), "b1": np.array([[1.0]])}
    grads = {"dW1": np.array([[30.0]]), "db1": np.array([[40.0]]), "dA0": np.array([[1e9]])}
    moved = ref.optimizer_step(parameters, grads, {}, 1.0, clip_norm=5.0, weight_decay=0.5)
    factor = 5.0 / (50.0 + 1e-6)
    np.testing.assert_allclose(moved["W1"], [[1.0 - 30.0 * factor - 0.5]], rtol=1e-14)
    np.testing.assert_allclose(moved["b1"], [[1.0 - 40.0 * factor]], rtol=1e-14)
    unclipped = ref.clip_by_global_norm(grads, 51.0)
    assert unclipped["dW1"] is grads["dW1"]


@pytest.mark.parametrize("optimizer", ref.OPTIMIZERS)
def test_every_optimizer_learns_exclusive_or(optimizer):
    X, labels = np.array([[0, 0, 1, 1], [0, 1, 0, 1]]), np.array([0, 1, 1, 0])
    options = {"hidden_activation": "tanh", "output_activation": "softmax"}
    parameters = ref.initialise_parameters_deep([2, 8, 2], init="xavier")
    state = {}
    learning_rate = 1.0 if optimizer == "sgd" else 0.05
    for _ in range(300):
        _, grads = ref.cost_and_gradients(X, labels, parameters, **options)
        parameters = ref.optimizer_step(
            parameters, grads, state, learning_rate, optimizer=optimizer
        )
    assert ref.accuracy(X, labels, parameters, **options) == 1.0
