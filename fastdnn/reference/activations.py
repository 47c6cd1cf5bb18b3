"""Activations and their derivatives.

Every activation g is a pair of functions and one entry of `ACTIVATIONS`:

* ``g(Z)`` returns ``(A, Z)``, the second being what the backward pass will need;
* ``g_backward(dA, Z)`` returns ``dZ = dA * g'(Z)``.

To add one, write the pair and its entry, and export the pair; the rest reads the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .inputs import Array, as_float


def identity(Z: Array) -> tuple[Array, Array]:
    """No activation, for regression: A = Z.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Examples
    --------
    >>> identity(np.array([[-1.0, 2.0]]))[0]
    array([[-1.,  2.]])
    """
    Z = as_float(Z)
    return Z, Z


def identity_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `identity`: dZ = dA.

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Examples
    --------
    >>> identity_backward(np.array([[5.0]]), np.array([[2.0]]))
    array([[5.]])
    """
    return as_float(dA)


def relu(Z: Array) -> tuple[Array, Array]:
    """Rectified linear unit: A = max(Z, 0).

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Examples
    --------
    >>> relu(np.array([[-1.0, 2.0]]))[0]
    array([[0., 2.]])
    """
    Z = as_float(Z)
    return np.maximum(Z, 0.0), Z


def relu_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `relu`: dZ = dA where Z > 0, and 0 where Z <= 0.

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Examples
    --------
    >>> relu_backward(np.array([[5.0, 5.0, 5.0]]), np.array([[-1.0, 0.0, 2.0]]))
    array([[0., 0., 5.]])
    """
    dA, Z = as_float(dA), as_float(Z)
    return np.where(Z <= 0.0, 0.0, dA)


def leaky_relu(Z: Array, alpha: float = 0.01) -> tuple[Array, Array]:
    """Rectified linear unit that leaks: A = Z where Z >= 0, and alpha Z where Z < 0.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)
    alpha : float
        Slope of the negative side.

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Examples
    --------
    >>> leaky_relu(np.array([[-1.0, 2.0]]))[0]
    array([[-0.01,  2.  ]])
    """
    Z = as_float(Z)
    return np.where(Z < 0.0, alpha * Z, Z), Z


def leaky_relu_backward(dA: Array, Z: Array, alpha: float = 0.01) -> Array:
    """Derivative of `leaky_relu`: dZ = alpha dA where Z < 0, and dA elsewhere (at 0 too).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)
    alpha : float
        Slope of the negative side.

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Examples
    --------
    >>> leaky_relu_backward(np.array([[5.0, 5.0, 5.0]]), np.array([[-1.0, 0.0, 2.0]]))
    array([[0.05, 5.  , 5.  ]])
    """
    dA, Z = as_float(dA), as_float(Z)
    return np.where(Z < 0.0, alpha * dA, dA)


def sigmoid(Z: Array) -> tuple[Array, Array]:
    """Logistic function: A = 1 / (1 + exp(-Z)).

    Where Z < 0 the equal form exp(Z) / (1 + exp(Z)) is used, so exp never sees a positive
    number and cannot overflow.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Examples
    --------
    >>> sigmoid(np.array([[-1e4, 0.0, 1e4]]))[0]
    array([[0. , 0.5, 1. ]])
    """
    Z = as_float(Z)
    E = np.exp(-np.abs(Z))
    return np.where(Z < 0.0, E, 1.0) / (1.0 + E), Z


def sigmoid_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `sigmoid`: dZ = dA A (1 - A).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Examples
    --------
    >>> sigmoid_backward(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    array([[0.25, 0.5 ]])
    """
    A, _ = sigmoid(Z)
    return as_float(dA) * A * (1.0 - A)


def tanh(Z: Array) -> tuple[Array, Array]:
    """Hyperbolic tangent: A = tanh(Z).

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Examples
    --------
    >>> tanh(np.array([[-1e4, 0.0, 1e4]]))[0]
    array([[-1.,  0.,  1.]])
    """
    Z = as_float(Z)
    return np.tanh(Z), Z


def tanh_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `tanh`: dZ = dA (1 - A^2).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Examples
    --------
    >>> tanh_backward(np.array([[5.0]]), np.array([[0.0]]))
    array([[5.]])
    """
    A, _ = tanh(Z)
    return as_float(dA) * (1.0 - A**2)


def softmax(Z: Array) -> tuple[Array, Array]:
    """Probabilities of n_l classes, one example per column: A_i = exp(Z_i) / sum_j exp(Z_j).

    The largest Z of each column is subtracted first. That changes nothing in exact arithmetic,
    and without it, as in circulating copies of the notebooks, exp overflows beyond Z = 709.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Examples
    --------
    >>> softmax(np.array([[1e4, 0.0], [1e4, 0.0]]))[0]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    Z = as_float(Z)
    with np.errstate(over="ignore"):  # -1e308 - 1e308 is -inf, whose exp is 0: as it should be
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
    return E / E.sum(axis=0, keepdims=True), Z


def softmax_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `softmax`, whose outputs all depend on all inputs of their column.

    With the Jacobian dA_j / dZ_i = A_j (delta_ij - A_i): dZ_i = A_i (dA_i - sum_j dA_j A_j).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Examples
    --------
    >>> softmax_backward(np.array([[1.0], [0.0]]), np.array([[0.0], [0.0]]))
    array([[ 0.25],
           [-0.25]])
    """
    dA = as_float(dA)
    A, _ = softmax(Z)
    dZ: Array = A * (dA - np.sum(dA * A, axis=0, keepdims=True))
    return dZ


def softplus(Z: Array) -> tuple[Array, Array]:
    """Smooth relu: A = log(1 + exp(Z)).

    Computed as max(Z, 0) + log(1 + exp(-|Z|)), which is the same and cannot overflow.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Examples
    --------
    >>> softplus(np.array([[-1e4, 0.0, 1e4]]))[0]
    array([[0.00000000e+00, 6.93147181e-01, 1.00000000e+04]])
    """
    Z = as_float(Z)
    return np.maximum(Z, 0.0) + np.log1p(np.exp(-np.abs(Z))), Z


def softplus_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `softplus`: dZ = dA / (1 + exp(-Z)).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Examples
    --------
    >>> softplus_backward(np.array([[5.0]]), np.array([[0.0]]))
    array([[2.5]])
    """
    slope, _ = sigmoid(Z)
    return as_float(dA) * slope


class Activation(NamedTuple):
    """An activation and its derivative."""

    function: Callable[[Array], tuple[Array, Array]]
    backward: Callable[[Array, Array], Array]


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, identity_backward),
    "relu": Activation(relu, relu_backward),
    "leaky_relu": Activation(leaky_relu, leaky_relu_backward),
    "sigmoid": Activation(sigmoid, sigmoid_backward),
    "tanh": Activation(tanh, tanh_backward),
    "softmax": Activation(softmax, softmax_backward),
    "softplus": Activation(softplus, softplus_backward),
}
