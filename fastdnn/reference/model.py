"""The network: L layers forward, the output's error, L layers back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .activations import ACTIVATIONS
from .inputs import Array, as_float, chosen, layer_activations
from .layers import Cache, back_prop_single_step, linear_activation_forward, linear_backward
from .losses import LOSSES, default_loss, notebook_sigmoid_error, output_error


def forward(
    X: Array,
    parameters: Mapping[str, Array],
    activations: Sequence[str],
    dropout_masks: Sequence[Array] | None = None,
) -> tuple[Array, list[Cache]]:
    """All layers forward, the hidden ones thinned out by dropout if there are masks.

    Dropout is a product, A_l = g(Z_l) * mask_l. A mask holds 0 for a unit that is dropped and
    1 / (1 - p) for one that is kept, so that the expected A_l does not depend on the rate p.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    parameters : dict
    activations : sequence of L str
    dropout_masks : sequence of L - 1 ndarrays of shape (n_l, m), optional

    Returns
    -------
    AL : ndarray of shape (n_y, m)
    caches : list of L tuples ((A_prev, W, b), Z)

    Examples
    --------
    >>> parameters = {"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))}
    >>> forward(np.array([[1.0], [2.0]]), parameters, ["identity"])[0]
    array([[3.]])
    """
    A = X
    caches = []
    for layer, activation in enumerate(activations, start=1):
        W, b = parameters[f"W{layer}"], parameters[f"b{layer}"]
        A, cache = linear_activation_forward(A, W, b, activation)
        if dropout_masks is not None and layer < len(activations):
            A = A * dropout_masks[layer - 1]
        caches.append(cache)
    return A, caches


def backward(
    dZ: Array,
    caches: Sequence[Cache],
    activations: Sequence[str],
    dropout_masks: Sequence[Array] | None = None,
) -> dict[str, Array]:
    """All layers back, from the error of the output layer.

    Parameters
    ----------
    dZ : ndarray of shape (n_y, m)
        Derivative of the cost of each example by Z of the last layer.
    caches : sequence of L tuples ((A_prev, W, b), Z)
    activations : sequence of L str
    dropout_masks : sequence of L - 1 ndarrays of shape (n_l, m), optional
        Those of the forward pass.

    Returns
    -------
    grads : dict
        dA0 ... dA{L-1}, dW1 ... dWL, db1 ... dbL, where dA{l-1} is what layer l passes down.

    Examples
    --------
    >>> caches = [((np.array([[1.0, 3.0]]), np.array([[2.0]]), np.array([[0.0]])), None)]
    >>> backward(np.array([[1.0, 1.0]]), caches, ["identity"])["dA0"]
    array([[2., 2.]])
    """
    grads: dict[str, Array] = {}
    for layer in range(len(caches), 0, -1):
        linear_cache, Z = caches[layer - 1]
        if layer < len(caches):
            dA = grads[f"dA{layer}"]
            if dropout_masks is not None:
                dA = dA * dropout_masks[layer - 1]
            dZ = chosen(ACTIVATIONS, activations[layer - 1], "activation").backward(dA, Z)
        dA_prev, dW, db = linear_backward(dZ, linear_cache)
        grads.update({f"dA{layer - 1}": dA_prev, f"dW{layer}": dW, f"db{layer}": db})
    return grads


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
    ValueError
        If there is no such activation, or not one per hidden layer.

    Examples
    --------
    >>> parameters = {"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))}
    >>> L_model_forward(np.array([[1.0], [-1.0]]), parameters)[0]
    array([[0.5]])
    """
    names = layer_activations(hidden_activation, output_activation, len(parameters) // 2)
    return forward(X, parameters, names)


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
    ValueError
        If Y does not fit AL, there is no such activation, or not one per hidden layer.

    Examples
    --------
    >>> parameters = {"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))}
    >>> AL, caches = L_model_forward(np.array([[1.0], [-1.0]]), parameters)
    >>> L_model_backward(AL, np.array([1]), caches)["dW1"]
    array([[-0.5,  0.5]])
    """
    names = layer_activations(hidden_activation, output_activation, len(caches))
    Z = caches[-1][1]
    if output_activation == "sigmoid":
        dZ = notebook_sigmoid_error(AL, Y, Z)
    else:
        dZ = output_error(AL, Y, Z, output_activation, default_loss(output_activation))
    return backward(dZ, caches, names)


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
    ValueError
        If Y does not fit the last layer.

    Examples
    --------
    >>> cache = (np.ones((1, 1)), np.zeros((2, 1)), np.zeros((2, 1))), np.zeros((2, 1))
    >>> L_Layer_Back_Prop(np.full((2, 1), 0.5), np.array([1]), [cache])["db1"]
    array([[ 0.5],
           [-0.5]])
    """
    grads: dict[str, Array] = {}
    dA = AL
    for layer in range(len(caches), 0, -1):
        activation = "softmax" if layer == len(caches) else "relu"
        dA, dW, db = back_prop_single_step(dA, Y, caches[layer - 1], activation)
        grads.update({f"dA{layer - 1}": dA, f"dW{layer}": dW, f"db{layer}": db})
    return grads


def cost_and_gradients(
    X: Array,
    Y: Array,
    parameters: Mapping[str, Array],
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
    loss: str | None = None,
    sample_weight: Array | None = None,
    dropout_masks: Sequence[Array] | None = None,
) -> tuple[float, dict[str, Array]]:
    """Forward and back in one call, for any loss, with sample weights and dropout.

    cost = sum_i w_i cost_i / m, and the gradients are those of this cost. The sum is divided by
    the number of examples, not by the sum of the weights.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    Y : ndarray of shape (n_y, m) or (m,)
    parameters : dict
    hidden_activation : str or sequence of L - 1 str
    output_activation : str
    loss : str, optional
        A name in `LOSSES`; without it the one that belongs to the output activation.
    sample_weight : ndarray of shape (m,), optional
    dropout_masks : sequence of L - 1 ndarrays of shape (n_l, m), optional
        0 for a unit that is dropped, 1 / (1 - p) for one that is kept.

    Returns
    -------
    cost : float
    grads : dict
        As of `L_model_backward`.

    Raises
    ------
    ValueError
        If Y does not fit the output, or a name is unknown.

    Examples
    --------
    >>> parameters = {"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))}
    >>> cost, grads = cost_and_gradients(np.array([[1.0], [-1.0]]), np.array([1]), parameters)
    >>> cost, grads["dW1"]
    (0.6931471805599453, array([[-0.5,  0.5]]))
    """
    loss = loss or default_loss(output_activation)
    names = layer_activations(hidden_activation, output_activation, len(parameters) // 2)
    AL, caches = forward(X, parameters, names, dropout_masks)
    costs = chosen(LOSSES, loss, "loss").function(AL, Y)
    dZ = output_error(AL, Y, caches[-1][1], output_activation, loss)
    if sample_weight is not None:
        weights = as_float(sample_weight).astype(AL.dtype).reshape(AL.shape[1])
        costs, dZ = weights * costs, weights * dZ
    cost = float(np.sum(costs) * (1.0 / AL.shape[1]))
    return cost, backward(dZ, caches, names, dropout_masks)
