"""Results that the notebooks print, from the functions and from their NumPy reference."""

from __future__ import annotations

import re

import numpy as np
import pytest
from reference_cases import drawn

from fastdnn import functional, reference

pytestmark = pytest.mark.extras  # what whoever installs nothing else will do first


@pytest.fixture(
    params=[
        pytest.param(functional, id="functional", marks=[pytest.mark.kernels, pytest.mark.front]),
        pytest.param(reference, id="reference"),
    ]
)
def nb(request):
    """The module whose functions are called."""
    return request.param


def printed(array):
    """What print shows of an array, with single spaces."""
    return re.sub(r"\s*([\[\]])\s*", r"\1", " ".join(str(array).split())).replace("][", "] [")


def named(prefix, *arrays):
    """W1, b1, W2, b2, ... (with a prefix) in this order."""
    names = [f"{prefix}{kind}{i // 2 + 1}" for i, kind in enumerate("Wb" * (len(arrays) // 2))]
    return dict(zip(names, arrays, strict=True))


def test_printed_initialise_parameters(nb):
    parameters = nb.initialise_parameters(3, 2, 1)
    assert printed(parameters["W1"]) == (
        "[[0.01624345 -0.00611756 -0.00528172] [-0.01072969 0.00865408 -0.02301539]]"
    )
    assert printed(parameters["b1"]) == "[[1.74481176] [-0.7612069]]"
    assert printed(parameters["W2"]) == "[[0.00319039 -0.0024937]]"
    assert printed(parameters["b2"]) == "[[1.46210794]]"


def test_printed_initialise_parameters_deep(nb):
    parameters = nb.initialise_parameters_deep([5, 4, 3])
    assert printed(parameters["W1"][0]) == (
        "[1.78862847 0.43650985 0.09649747 -1.8634927 -0.2773882]"
    )
    assert printed(parameters["b1"]) == "[[-1.18504653] [-0.2056499] [1.48614836] [0.23671627]]"
    assert printed(parameters["b2"]) == "[[-0.92379202] [-1.02387576] [1.12397796]]"


def test_printed_linear_forward(nb):
    Z, _ = nb.linear_forward(*drawn(1, (3, 2), (1, 3), (1, 1)))
    assert printed(Z) == "[[3.26295337 -1.23429987]]"


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("sigmoid", "[[0.96890023 0.11013289]]"), ("relu", "[[3.43896131 0.]]")],
)
def test_printed_linear_activation_forward(nb, activation, expected):
    A, _ = nb.linear_activation_forward(*drawn(2, (3, 2), (1, 3), (1, 1)), activation)
    assert printed(A) == expected


def test_printed_model_forward(nb):
    X, *arrays = drawn(1, (4, 2), (3, 4), (3, 1), (1, 3), (1, 1))
    AL, caches = nb.L_model_forward(X, named("", *arrays))
    assert printed(AL) == "[[0.17007265 0.2524272]]"
    assert len(caches) == 2


@pytest.mark.parametrize(
    ("Y", "expected"),
    [([[1, 1, 1]], "0.41493159961539694"), ([[1, 1, 0]], "0.2797765635793422")],
)
def test_printed_cost(nb, Y, expected):
    cost = nb.compute_cost(np.array([[0.8, 0.9, 0.4]]), np.array(Y))
    assert type(cost) is float
    assert repr(cost) == expected


@pytest.mark.kernels
@pytest.mark.front
@pytest.mark.parametrize("m", range(1, 8))
def test_short_costs_agree_to_the_last_digit(m):
    """NumPy adds fewer than eight terms in their order, and the logarithms are all but exact."""
    stream = np.random.RandomState(m)
    agree = 0
    for _ in range(50):
        AL, Y = stream.uniform(0.01, 0.99, (1, m)), stream.randint(0, 2, (1, m))
        agree += functional.compute_cost(AL, Y) == reference.compute_cost(AL, Y)
    assert agree >= 45


def test_printed_linear_backward(nb):
    dZ, *cache = drawn(1, (1, 2), (3, 2), (1, 3), (1, 1))
    dA_prev, dW, db = nb.linear_backward(dZ, tuple(cache))
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
def test_printed_linear_activation_backward(nb, activation, expected):
    dA, A, W, b, Z = drawn(2, (1, 2), (3, 2), (1, 3), (1, 1), (1, 2))
    gradients = nb.linear_activation_backward(dA, ((A, W, b), Z), activation)
    assert tuple(printed(g).replace("-0.]", "0.]") for g in gradients) == expected


def test_printed_model_backward(nb):
    """The notebook's case: this AL is not sigmoid(Z), and not even a probability."""
    shapes = (1, 2), (4, 2), (3, 4), (3, 1), (3, 2), (3, 2), (1, 3), (1, 1), (1, 2)
    AL, A1, W1, b1, Z1, A2, W2, b2, Z2 = drawn(3, *shapes)
    caches = [((A1, W1, b1), Z1), ((A2, W2, b2), Z2)]
    grads = nb.L_model_backward(AL, np.array([[1, 0]]), caches)
    assert list(grads) == ["dA1", "dW2", "db2", "dA0", "dW1", "db1"]
    assert printed(grads["dW1"]) == (
        "[[0.41010002 0.07807203 0.13798444 0.10502167] [0. 0. 0. 0.] "
        "[0.05283652 0.01005865 0.01777766 0.0135308]]"
    )
    assert printed(grads["db1"]) == "[[-0.22007063] [0.] [-0.02835349]]"
    assert printed(grads["dA0"]).replace("-0. ", "0. ") == (
        "[[0. 0.52257901] [0. -0.3269206] [0. -0.32070404] [0. -0.74079187]]"
    )


def test_printed_update_parameters(nb):
    shapes = (3, 4), (3, 1), (1, 3), (1, 1)
    parameters = named("", *drawn(2, *shapes))
    nb.update_parameters(parameters, named("d", *drawn(3, *shapes)), 0.1)
    assert printed(parameters["W1"][0]) == "[-0.59562069 -0.09991781 -2.14584584 1.82662008]"
    assert printed(parameters["b2"]) == "[[-0.84610769]]"


def test_both_spellings(nb):
    assert nb.initialize_parameters is nb.initialise_parameters
    assert nb.initialize_parameters_deep is nb.initialise_parameters_deep
    assert nb.model_backward is nb.L_model_backward


def test_the_global_seed_is_left_alone(nb):
    before = np.random.get_state()[1].copy()
    nb.initialise_parameters(3, 2, 1)
    nb.initialise_parameters_deep([3, 2, 1], init="he")
    np.testing.assert_array_equal(np.random.get_state()[1], before)
