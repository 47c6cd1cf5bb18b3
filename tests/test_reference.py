"""The NumPy reference: printed results of the notebooks, gradients, optimizers, stability."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastdnn import reference as ref
from fastdnn.reference.inputs import one_hot, targets

DTYPES = [np.float32, np.float64]


def drawn(seed, *shapes):
    """Standard normal arrays as the notebooks draw them: seed(s), then randn in this order."""
    stream = np.random.RandomState(seed)
    return [stream.randn(*shape) for shape in shapes]


def printed(array):
    """What print shows of an array, with single spaces."""
    return re.sub(r"\s*([\[\]])\s*", r"\1", " ".join(str(array).split())).replace("][", "] [")


def named(prefix, *arrays):
    """W1, b1, W2, b2, ... (with a prefix) in this order."""
    names = [f"{prefix}{kind}{i // 2 + 1}" for i, kind in enumerate("Wb" * (len(arrays) // 2))]
    return dict(zip(names, arrays, strict=True))


# --- printed results of the notebooks, to every digit ----------------------------------------


def test_printed_initialise_parameters():
    parameters = ref.initialise_parameters(3, 2, 1)
    assert printed(parameters["W1"]) == (
        "[[0.01624345 -0.00611756 -0.00528172] [-0.01072969 0.00865408 -0.02301539]]"
    )
    assert printed(parameters["b1"]) == "[[1.74481176] [-0.7612069]]"
    assert printed(parameters["W2"]) == "[[0.00319039 -0.0024937]]"
    assert printed(parameters["b2"]) == "[[1.46210794]]"


def test_printed_initialise_parameters_deep():
    parameters = ref.initialise_parameters_deep([5, 4, 3])
    assert printed(parameters["W1"][0]) == (
        "[1.78862847 0.43650985 0.09649747 -1.8634927 -0.2773882]"
    )
    assert printed(parameters["b1"]) == "[[-1.18504653] [-0.2056499] [1.48614836] [0.23671627]]"
    assert printed(parameters["b2"]) == "[[-0.92379202] [-1.02387576] [1.12397796]]"


def test_printed_linear_forward():
    Z, _ = ref.linear_forward(*drawn(1, (3, 2), (1, 3), (1, 1)))
    assert printed(Z) == "[[3.26295337 -1.23429987]]"


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("sigmoid", "[[0.96890023 0.11013289]]"), ("relu", "[[3.43896131 0.]]")],
)
def test_printed_linear_activation_forward(activation, expected):
    A, _ = ref.linear_activation_forward(*drawn(2, (3, 2), (1, 3), (1, 1)), activation)
    assert printed(A) == expected


def test_printed_model_forward():
    X, *arrays = drawn(1, (4, 2), (3, 4), (3, 1), (1, 3), (1, 1))
    AL, caches = ref.L_model_forward(X, named("", *arrays))
    assert printed(AL) == "[[0.17007265 0.2524272]]"
    assert len(caches) == 2


def test_printed_cost():
    cost = ref.compute_cost(np.array([[0.8, 0.9, 0.4]]), np.array([[1, 1, 1]]))
    assert type(cost) is float
    assert repr(cost) == "0.41493159961539694"


def test_printed_linear_backward():
    dZ, *cache = drawn(1, (1, 2), (3, 2), (1, 3), (1, 1))
    dA_prev, dW, db = ref.linear_backward(dZ, tuple(cache))
    assert printed(dA_prev) == (
        "[[0.51822968 -0.19517421] [-0.40506361 0.15255393] [2.37496825 -0.89445391]]"
    )
    assert printed(dW) == "[[-0.10076895 1.40685096 1.64992505]]"
    assert printed(db) == "[[0.50629448]]"


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (
            "sigmoid",
            (
                "[[0.11017994 0.01105339] [0.09466817 0.00949723] [-0.05743092 -0.00576154]]",
                "[[0.10266786 0.09778551 -0.01968084]]",
                "[[-0.05729622]]",
            ),
        ),
        (
            "relu",
            (
                "[[0.44090989 0.] [0.37883606 0.] [-0.2298228 0.]]",
                "[[0.44513824 0.37371418 -0.10478989]]",
                "[[-0.20837892]]",
            ),
        ),
    ],
)
def test_printed_linear_activation_backward(activation, expected):
    dA, A, W, b, Z = drawn(2, (1, 2), (3, 2), (1, 3), (1, 1), (1, 2))
    gradients = ref.linear_activation_backward(dA, ((A, W, b), Z), activation)
    assert tuple(printed(g).replace("-0.]", "0.]") for g in gradients) == expected


def test_printed_model_backward():
    """The notebook's case: this AL is not sigmoid(Z), and not even a probability."""
    shapes = (1, 2), (4, 2), (3, 4), (3, 1), (3, 2), (3, 2), (1, 3), (1, 1), (1, 2)
    AL, A1, W1, b1, Z1, A2, W2, b2, Z2 = drawn(3, *shapes)
    caches = [((A1, W1, b1), Z1), ((A2, W2, b2), Z2)]
    grads = ref.L_model_backward(AL, np.array([[1, 0]]), caches)
    assert list(grads) == ["dA1", "dW2", "db2", "dA0", "dW1", "db1"]
    assert printed(grads["dW1"]) == (
        "[[0.41010002 0.07807203 0.13798444 0.10502167] [0. 0. 0. 0.] "
        "[0.05283652 0.01005865 0.01777766 0.0135308]]"
    )
    assert printed(grads["db1"]) == "[[-0.22007063] [0.] [-0.02835349]]"
    assert printed(grads["dA0"]).replace("-0. ", "0. ") == (
        "[[0. 0.52257901] [0. -0.3269206] [0. -0.32070404] [0. -0.74079187]]"
    )


def test_printed_update_parameters():
    shapes = (3, 4), (3, 1), (1, 3), (1, 1)
    parameters = named("", *drawn(2, *shapes))
    ref.update_parameters(parameters, named("d", *drawn(3, *shapes)), 0.1)
    assert printed(parameters["W1"][0]) == "[-0.59562069 -0.09991781 -2.14584584 1.82662008]"
    assert printed(parameters["b2"]) == "[[-0.84610769]]"


# --- initial values ---------------------------------------------------------------------------


def test_both_spellings():
    assert ref.initialize_parameters is ref.initialise_parameters
    assert ref.initialize_parameters_deep is ref.initialise_parameters_deep


def test_initialising_leaves_the_global_seed_alone():
    before = np.random.get_state()[1].copy()
    ref.initialise_parameters(3, 2, 1)
    ref.initialise_parameters_deep([3, 2, 1], init="he")
    np.testing.assert_array_equal(np.random.get_state()[1], before)


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


def small_network(n_y, dims=(4, 5, 3), m=6):
    X, values = drawn(11, (dims[0], m), (n_y, m))
    labels = np.random.RandomState(12).randint(n_y, size=m)
    # Halved, because log(1 - AL) of an AL near 1 has too few digits left for differences.
    parameters = ref.initialise_parameters_deep([*dims, n_y], seed=13)
    return X, labels, values, {name: 0.5 * w for name, w in parameters.items()}


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
    with pytest.raises(ValueError, match="3 labels, X 4 examples"):
        ref.accuracy(X, [0, 1, 0], one)
    with pytest.raises(ValueError, match="accuracy needs"):
        ref.accuracy(X, X, one, output_activation="identity")
