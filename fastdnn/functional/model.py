"""The network: L layers forward, the output's error, L layers back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastdnn import checks
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.memory import Array

from .arrays import operand, same_shape
from .elementwise import backward, notebook_error, step
from .layers import (
    Cache,
    back_prop_single_step,
    cached,
    layer_forward,
    linear_activation_backward,
    linear_backward,
)
from .losses import targets

# Outputs whose own loss has the gradient dZ = AL - Y.
_PLAIN_ERROR = ("softmax", "identity")


def _activations(hidden: Any, output: Any, layers: int) -> tuple[str, ...]:
    """One name for each layer."""
    if isinstance(hidden, str) and hidden in ACTIVATIONS and output in ACTIVATIONS:
        return (hidden,) * (layers - 1) + (output,)
    names = checks.hidden_activations(hidden, layers - 1, ACTIVATIONS)
    return (*names, checks.choice("output_activation", output, ACTIVATIONS))


def _layers(parameters: Any) -> int:
    """Number of layers whose parameters a dict holds."""
    if not isinstance(parameters, Mapping):
        kind = type(parameters).__name__
        raise TypeError(f"parameters is a {kind}, expected a dict of W1, b1, ... WL, bL")
    layers = len(parameters) // 2
    for layer in range(1, max(1, layers) + 1):
        for key in (f"W{layer}", f"b{layer}"):
            if key not in parameters:
                held = ", ".join(map(str, parameters)) or "(none)"
                raise ValueError(f"parameters has the keys {held}: {key} is missing")
    return layers


def L_model_forward(
    X: Array,
    parameters: Mapping[str, Array],
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
) -> tuple[Array, list[Cache]]:
    """Prediction of the network: A_0 = X, A_l = g_l(W_l A_{l-1} + b_l).

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    parameters : dict
        W1 (n_1, n_x), b1 (n_1, 1), ..., WL, bL.
    hidden_activation : str or sequence of L - 1 str
    output_activation : str

    Returns
    -------
    AL : ndarray of shape (n_y, m)
    caches : list of L tuples ((A_prev, W, b), Z)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, parameters are missing or do not chain, there is no
        such activation, or not one per hidden layer.

    Examples
    --------
    >>> parameters = {"W1": [[1.0, 1.0]], "b1": [[0.0]]}
    >>> L_model_forward([[1.0], [-1.0]], parameters)[0]
    array([[0.5]])
    """
    names = _activations(hidden_activation, output_activation, _layers(parameters))
    A, called = X, "X"
    caches = []
    for layer, name in enumerate(names, start=1):
        W, b = f"W{layer}", f"b{layer}"
        A, cache = layer_forward(A, parameters[W], parameters[b], name, (called, W, b))
        caches.append(cache)
        called = f"A{layer}"
    return A, caches


def _output_error(AL: Any, Y: Any, cache: Any, activation: str) -> Array:
    """dZ of the last layer for the loss that belongs to its activation."""
    output, Z = operand("AL", AL, 2), operand("Z", cache[1], 2)
    same_shape("AL", output, "Z of the last layer", Z)
    wanted = targets(Y, output)
    if activation == "sigmoid":
        return notebook_error(output, wanted, Z)
    error = step(output, wanted, 1.0)
    return error if activation in _PLAIN_ERROR else backward(activation, error, Z)


def L_model_backward(
    AL: Array,
    Y: Array,
    caches: Sequence[Cache],
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
) -> dict[str, Array]:
    """Gradients of the cost that belongs to the output activation.

    A sigmoid output starts from dAL = -(Y / AL - (1 - Y) / (1 - AL)) exactly as the notebooks
    do; where AL is saturated at 0 or 1 it takes the limit dZ = AL - Y, so that nothing is ever
    inf or NaN. A softmax (cross-entropy) or identity (mse) output has dZ = AL - Y, any other
    dZ = (AL - Y) g'(Z).

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
    Y : ndarray of shape (n_y, m) or (m,)
    caches : list of L tuples ((A_prev, W, b), Z)
        Of `L_model_forward`.
    hidden_activation : str or sequence of L - 1 str
    output_activation : str

    Returns
    -------
    grads : dict
        dA0 ... dA{L-1}, dW1 ... dWL, db1 ... dbL, where dA{l-1} is what layer l passes down.

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, Y does not fit AL, shapes do not chain, there is no
        such activation, or not one per hidden layer.

    Examples
    --------
    >>> parameters = {"W1": [[1.0, 1.0]], "b1": [[0.0]]}
    >>> AL, caches = L_model_forward([[1.0], [-1.0]], parameters)
    >>> L_model_backward(AL, [1], caches)["dW1"]
    array([[-0.5,  0.5]])
    """
    layers = _checked_caches(caches)
    names = _activations(hidden_activation, output_activation, layers)
    dZ = _output_error(AL, Y, caches[-1], names[-1])
    grads: dict[str, Array] = {}
    gradients = linear_backward(dZ, caches[-1][0])
    for layer in range(layers, 0, -1):
        if layer < layers:
            cache, name = caches[layer - 1], names[layer - 1]
            gradients = linear_activation_backward(grads[f"dA{layer}"], cache, name)
        _store(grads, layer, gradients)
    return grads


model_backward = L_model_backward


def L_Layer_Back_Prop(AL: Array, Y: Array, caches: Sequence[Cache]) -> dict[str, Array]:
    """Gradients in the softmax variant of the notebooks: softmax output, leaky hidden layers.

    AL is not needed, since dZ = softmax(Z) - Y; it is there for the notebooks' sake.

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
    Y : ndarray of shape (n_y, m), one-hot, or (m,), class indices
    caches : list of L tuples ((A_prev, W, b), Z)

    Returns
    -------
    grads : dict
        dA0 ... dA{L-1}, dW1 ... dWL, db1 ... dbL.

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, Y does not fit the last layer, or shapes do not
        chain.

    Examples
    --------
    >>> cache = ([[1.0]], [[0.0], [0.0]], [[0.0], [0.0]]), [[0.0], [0.0]]
    >>> L_Layer_Back_Prop([[0.5], [0.5]], [1], [cache])["db1"]
    array([[ 0.5],
           [-0.5]])
    """
    layers = _checked_caches(caches)
    grads: dict[str, Array] = {}
    dA = AL
    for layer in range(layers, 0, -1):
        activation = "softmax" if layer == layers else "relu"
        gradients = back_prop_single_step(dA, Y, caches[layer - 1], activation)
        _store(grads, layer, gradients)
        dA = gradients[0]
    return grads


def _checked_caches(caches: Any) -> int:
    """Number of layers whose caches a list holds."""
    if not isinstance(caches, list | tuple) or not caches:
        raise TypeError("caches is not the list that L_model_forward returns, one entry per layer")
    for i, cache in enumerate(caches):
        cached(f"caches[{i}]", cache, 2)
    return len(caches)


def _store(grads: dict[str, Array], layer: int, gradients: tuple[Array, Array, Array]) -> None:
    """Under the names of the notebooks: dA{l-1} is what layer l passes down."""
    grads[f"dA{layer - 1}"], grads[f"dW{layer}"], grads[f"db{layer}"] = gradients
