"""Activations and their derivatives: ``g(Z)`` gives ``(A, Z)``, ``g_backward(dA, Z)`` gives dZ.

Arrays may have any number of dimensions; softmax works over the first. NaN stays NaN, and no
finite Z overflows or warns.
"""

from __future__ import annotations

from typing import Any

from fastdnn.kernels.activations import LEAKY_SLOPE
from fastdnn.memory import Array

from .arrays import number, operand, same_shape
from .elementwise import activate, backward


def _forward(name: str, Z: Any, slope: float = LEAKY_SLOPE) -> tuple[Array, Any]:
    return activate(name, operand("Z", Z), slope), Z


def _back(name: str, dA: Any, Z: Any, slope: float = LEAKY_SLOPE) -> Array:
    dA, Z = operand("dA", dA), operand("Z", Z)
    same_shape("dA", dA, "Z", Z)
    return backward(name, dA, Z, slope)


def identity(Z: Array) -> tuple[Array, Array]:
    """No activation, for regression: A = Z.

    A is Z itself and no copy where Z is an array of float32 or float64.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If Z does not hold real numbers, or none at all.

    Examples
    --------
    >>> identity([[-1.0, 2.0]])[0]
    array([[-1.,  2.]])
    """
    return operand("Z", Z), Z


def identity_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `identity`: dZ = dA, itself and no copy where it is of float32 or float64.

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or their shapes differ.

    Examples
    --------
    >>> identity_backward([[5.0]], [[2.0]])
    array([[5.]])
    """
    dA, Z = operand("dA", dA), operand("Z", Z)
    same_shape("dA", dA, "Z", Z)
    return dA


def relu(Z: Array) -> tuple[Array, Array]:
    """Rectified linear unit: A = max(Z, 0).

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If Z does not hold real numbers, or none at all.

    Examples
    --------
    >>> relu([[-1.0, 2.0]])[0]
    array([[0., 2.]])
    """
    return _forward("relu", Z)


def relu_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `relu`: dZ = dA where Z > 0, and 0 where Z <= 0.

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or their shapes differ.

    Examples
    --------
    >>> relu_backward([[5.0, 5.0, 5.0]], [[-1.0, 0.0, 2.0]])
    array([[0., 0., 5.]])
    """
    return _back("relu", dA, Z)


def leaky_relu(Z: Array, alpha: float = LEAKY_SLOPE) -> tuple[Array, Array]:
    """Rectified linear unit that leaks: A = Z where Z >= 0, and alpha Z where Z < 0.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)
    alpha : float
        Slope of the negative side.

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If Z does not hold real numbers, or none at all, or alpha is not a finite number.

    Examples
    --------
    >>> leaky_relu([[-1.0, 2.0]])[0]
    array([[-0.01,  2.  ]])
    """
    return _forward("leaky_relu", Z, number("alpha", alpha))


def leaky_relu_backward(dA: Array, Z: Array, alpha: float = LEAKY_SLOPE) -> Array:
    """Derivative of `leaky_relu`: dZ = alpha dA where Z < 0, and dA elsewhere (at 0 too).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)
    alpha : float
        Slope of the negative side.

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, their shapes differ, or alpha is not a finite
        number.

    Examples
    --------
    >>> leaky_relu_backward([[5.0, 5.0, 5.0]], [[-1.0, 0.0, 2.0]])
    array([[0.05, 5.  , 5.  ]])
    """
    return _back("leaky_relu", dA, Z, number("alpha", alpha))


def sigmoid(Z: Array) -> tuple[Array, Array]:
    """Logistic function: A = 1 / (1 + exp(-Z)), within 2 units in the last place.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If Z does not hold real numbers, or none at all.

    Examples
    --------
    >>> sigmoid([[-1e4, 0.0, 1e4]])[0]
    array([[0. , 0.5, 1. ]])
    """
    return _forward("sigmoid", Z)


def sigmoid_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `sigmoid`: dZ = dA A (1 - A).

    Computed as dA e / (1 + e)^2 with e = exp(-|Z|), which keeps its relative precision where A is
    so near 1 that 1 - A has none.

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or their shapes differ.

    Examples
    --------
    >>> sigmoid_backward([[1.0, 2.0]], [[0.0, 0.0]])
    array([[0.25, 0.5 ]])
    """
    return _back("sigmoid", dA, Z)


def tanh(Z: Array) -> tuple[Array, Array]:
    """Hyperbolic tangent: A = tanh(Z), within 2 units in the last place.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If Z does not hold real numbers, or none at all.

    Examples
    --------
    >>> tanh([[-1e4, 0.0, 1e4]])[0]
    array([[-1.,  0.,  1.]])
    """
    return _forward("tanh", Z)


def tanh_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `tanh`: dZ = dA (1 - A^2).

    Computed as 4 dA e / (1 + e)^2 with e = exp(-2 |Z|), for the reason of `sigmoid_backward`.

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or their shapes differ.

    Examples
    --------
    >>> tanh_backward([[5.0]], [[0.0]])
    array([[5.]])
    """
    return _back("tanh", dA, Z)


def softmax(Z: Array) -> tuple[Array, Array]:
    """Probabilities of n_l classes, one example per column: A_i = exp(Z_i) / sum_j exp(Z_j).

    The largest Z of each column is subtracted first; circulating copies of the notebooks without
    this shift overflow beyond Z = 709.

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If Z does not hold real numbers, none at all, or has no dimensions.

    Examples
    --------
    >>> softmax([[1e4, 0.0], [1e4, 0.0]])[0]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return _forward("softmax", Z)


def softmax_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `softmax`, whose outputs all depend on all inputs of their column.

    With the Jacobian dA_j / dZ_i = A_j (delta_ij - A_i): dZ_i = A_i (dA_i - sum_j dA_j A_j).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or their shapes differ.

    Examples
    --------
    >>> softmax_backward([[1.0], [0.0]], [[0.0], [0.0]])
    array([[ 0.25],
           [-0.25]])
    """
    return _back("softmax", dA, Z)


def softplus(Z: Array) -> tuple[Array, Array]:
    """Smooth relu: A = log(1 + exp(Z)), computed as max(Z, 0) + log(1 + exp(-|Z|)).

    Parameters
    ----------
    Z : ndarray of shape (n_l, m)

    Returns
    -------
    A, Z : ndarrays of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If Z does not hold real numbers, or none at all.

    Examples
    --------
    >>> softplus([[-1e4, 0.0, 1e4]])[0]
    array([[0.00000000e+00, 6.93147181e-01, 1.00000000e+04]])
    """
    return _forward("softplus", Z)


def softplus_backward(dA: Array, Z: Array) -> Array:
    """Derivative of `softplus`: dZ = dA / (1 + exp(-Z)).

    Parameters
    ----------
    dA, Z : ndarrays of shape (n_l, m)

    Returns
    -------
    dZ : ndarray of shape (n_l, m)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or their shapes differ.

    Examples
    --------
    >>> softplus_backward([[5.0]], [[0.0]])
    array([[2.5]])
    """
    return _back("softplus", dA, Z)
