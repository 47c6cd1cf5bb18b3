"""Training loops of the notebooks, and what a trained network is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .initialisation import initialise_parameters_deep
from .inputs import Array, as_float, targets
from .losses import compute_cost, default_loss
from .model import L_model_backward, L_model_forward


def update_parameters(
    parameters: dict[str, Array],
    grads: Mapping[str, Array],
    learning_rate: float,
    *,
    inplace: bool = False,
) -> dict[str, Array]:
    """One step of gradient descent: W = W - lr dW, b = b - lr db.

    Parameters
    ----------
    parameters : dict
        W1, b1, ..., WL, bL. As in the notebooks, new arrays are bound into this very dict.
    grads : dict
        dW1, db1, ..., dWL, dbL; other entries are not used.
    learning_rate : float
    inplace : bool
        Overwrite the arrays themselves.

    Returns
    -------
    parameters : dict
        The one that was passed.

    Examples
    --------
    >>> parameters = {"W1": np.array([[1.0]]), "b1": np.array([[2.0]])}
    >>> update_parameters(parameters, {"dW1": np.array([[1.0]]), "db1": np.array([[5.0]])}, 0.1)
    {'W1': array([[0.9]]), 'b1': array([[1.5]])}
    """
    for name, w in parameters.items():
        step = float(learning_rate) * as_float(grads["d" + name])
        if inplace:
            w -= step
        else:
            parameters[name] = as_float(w) - step
    return parameters


def L_layer_model(
    X: Array,
    Y: Array,
    layers_dims: Sequence[int],
    learning_rate: float = 0.0075,
    num_iterations: int = 3000,
    print_cost: bool = False,
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
    seed: int = 1,
    init: str = "lecun",
) -> tuple[dict[str, Array], list[float]]:
    """Train a network by full-batch gradient descent, as the follow-up notebook does.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    Y : ndarray of shape (n_y, m) or (m,)
    layers_dims : sequence of int
        n_x, n_1, ..., n_y.
    learning_rate : float
    num_iterations : int
    print_cost : bool
        Print the cost every 100 iterations.
    hidden_activation : str or sequence of L - 1 str
    output_activation : str
        The loss is the one that belongs to it.
    seed, init
        Of `initialise_parameters_deep`; the notebook's are 1 and "lecun".

    Returns
    -------
    parameters : dict
        In the dtype of X.
    costs : list of float
        Cost before iteration 0, 100, 200, ...

    Raises
    ------
    ValueError
        If Y does not fit the network, or a name is unknown.

    Examples
    --------
    >>> X, Y = np.array([[-1.0, 1.0]]), np.array([[0, 1]])
    >>> parameters, costs = L_layer_model(X, Y, [1, 1], 0.1, 101, print_cost=True)
    Cost after iteration 0: 0.179852
    Cost after iteration 100: 0.068525
    """
    X = as_float(X)
    loss = default_loss(output_activation)
    parameters = initialise_parameters_deep(layers_dims, seed=seed, init=init)
    parameters = {name: w.astype(X.dtype) for name, w in parameters.items()}
    costs = []
    for i in range(num_iterations):
        AL, caches = L_model_forward(
            X,
            parameters,
            hidden_activation=hidden_activation,
            output_activation=output_activation,
        )
        cost = compute_cost(AL, Y, loss=loss)
        grads = L_model_backward(
            AL,
            Y,
            caches,
            hidden_activation=hidden_activation,
            output_activation=output_activation,
        )
        parameters = update_parameters(parameters, grads, learning_rate)
        if i % 100 == 0:
            costs.append(cost)
            if print_cost:
                print(f"Cost after iteration {i}: {cost:f}")
    return parameters, costs


def two_layer_model(
    X: Array,
    Y: Array,
    layers_dims: Sequence[int],
    learning_rate: float = 0.0075,
    num_iterations: int = 3000,
    print_cost: bool = False,
    *,
    hidden_activation: str = "relu",
    output_activation: str = "sigmoid",
    seed: int = 1,
    init: str = "small",
) -> tuple[dict[str, Array], list[float]]:
    """Train a network with one hidden layer, as the follow-up notebook does.

    `L_layer_model` for three layers_dims (n_x, n_h, n_y), from weights 0.01 N(0, 1) and biases
    that are zero.

    Parameters
    ----------
    X, Y, layers_dims, learning_rate, num_iterations, print_cost, ...
        As of `L_layer_model`.

    Returns
    -------
    parameters : dict
        W1, b1, W2, b2.
    costs : list of float
        Cost before iteration 0, 100, 200, ...

    Raises
    ------
    ValueError
        If layers_dims is not three numbers, Y does not fit, or a name is unknown.

    Examples
    --------
    >>> X, Y = np.array([[-1.0, 1.0]]), np.array([[0, 1]])
    >>> parameters, costs = two_layer_model(X, Y, (1, 3, 1), num_iterations=1)
    >>> round(costs[0], 6)
    0.693174
    """
    if len(layers_dims) != 3:
        raise ValueError(f"layers_dims must be (n_x, n_h, n_y), not {tuple(layers_dims)}")
    return L_layer_model(
        X,
        Y,
        layers_dims,
        learning_rate,
        num_iterations,
        print_cost,
        hidden_activation=hidden_activation,
        output_activation=output_activation,
        seed=seed,
        init=init,
    )


def predict(
    X: Array,
    parameters: Mapping[str, Array],
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
) -> Array:
    """Labels of the examples: AL > 0.5 of a sigmoid, the largest of a softmax.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    parameters : dict
    hidden_activation : str or sequence of L - 1 str
    output_activation : str
        With "sigmoid" and "softmax" labels are returned; any other predicts AL itself.

    Returns
    -------
    labels : ndarray of int64 of shape (1, m), or (n_y, m) of n_y sigmoids; or AL of shape (n_y, m)

    Raises
    ------
    ValueError
        If there is no such activation, or not one per hidden layer.

    Examples
    --------
    >>> parameters = {"W1": np.array([[2.0]]), "b1": np.array([[-1.0]])}
    >>> predict(np.array([[0.0, 0.5, 1.0]]), parameters)
    array([[0, 0, 1]])
    """
    AL, _ = L_model_forward(
        X, parameters, hidden_activation=hidden_activation, output_activation=output_activation
    )
    return _labels(AL, output_activation) if output_activation in ("sigmoid", "softmax") else AL


def _labels(AL: Array, output_activation: str) -> Array:
    """Labels of outputs AL, or of targets of their shape."""
    if output_activation == "sigmoid":
        return (AL > 0.5).astype(np.int64)
    labels: Array = np.argmax(AL, axis=0, keepdims=True)
    return labels


def accuracy(
    X: Array,
    y: npt.ArrayLike,
    parameters: Mapping[str, Array],
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
) -> float:
    """Share of the labels that are predicted: one of each example, or n_y of n_y sigmoids.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    y : ndarray of shape (1, m) or (m,), labels, or (n_y, m), one-hot or those of n_y sigmoids
    parameters : dict
    hidden_activation : str or sequence of L - 1 str
    output_activation : {"sigmoid", "softmax"}

    Returns
    -------
    accuracy : float
        In 0 ... 1.

    Raises
    ------
    ValueError
        If y does not fit X, or the output is not one of classes.

    Examples
    --------
    >>> parameters = {"W1": np.array([[2.0]]), "b1": np.array([[-1.0]])}
    >>> accuracy(np.array([[0.0, 0.5, 1.0, 2.0]]), [0, 1, 1, 1], parameters)
    0.75
    """
    if output_activation not in ("sigmoid", "softmax"):
        raise ValueError(f"accuracy needs a sigmoid or softmax output, not {output_activation}")
    AL, _ = L_model_forward(
        X, parameters, hidden_activation=hidden_activation, output_activation=output_activation
    )
    labels = np.asarray(y)
    if output_activation == "softmax" and labels.shape == (1, AL.shape[1]):
        labels = labels[0]
    right = _labels(AL, output_activation) == _labels(targets(labels, AL), output_activation)
    return float(np.mean(right))
