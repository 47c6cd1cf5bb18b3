"""One layer: Z = W A_prev + b, then A = g(Z); and back again."""

from __future__ import annotations

import numpy as np

from .activations import ACTIVATIONS, leaky_relu_backward, softmax
from .inputs import Array, as_float, chosen, targets

LinearCache = tuple[Array, Array, Array]
Cache = tuple[LinearCache, Array]


def linear_forward(A: Array, W: Array, b: Array) -> tuple[Array, LinearCache]:
    """Linear part of a layer: Z = W A + b.

    Parameters
    ----------
    A : ndarray of shape (n_prev, m)
    W : ndarray of shape (n_l, n_prev)
    b : ndarray of shape (n_l, 1)

    Returns
    -------
    Z : ndarray of shape (n_l, m)
    cache : tuple (A, W, b)

    Examples
    --------
    >>> linear_forward(np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), np.array([[0.5]]))[0]
    array([[11.5]])
    """
    A, W, b = as_float(A), as_float(W), as_float(b)
    return W @ A + b, (A, W, b)


def linear_activation_forward(
    A_prev: Array, W: Array, b: Array, activation: str
) -> tuple[Array, Cache]:
    """A whole layer: A = g(W A_prev + b).

    Parameters
    ----------
    A_prev : ndarray of shape (n_prev, m)
    W : ndarray of shape (n_l, n_prev)
    b : ndarray of shape (n_l, 1)
    activation : str
        A name in `ACTIVATIONS`.

    Returns
    -------
    A : ndarray of shape (n_l, m)
    cache : tuple ((A_prev, W, b), Z)

    Raises
    ------
    ValueError
        If there is no such activation.

    Examples
    --------
    >>> A_prev, W, b = np.array([[1.0], [2.0]]), np.array([[3.0, -4.0]]), np.array([[0.5]])
    >>> linear_activation_forward(A_prev, W, b, "relu")[0]
    array([[0.]])
    """
    Z, linear_cache = linear_forward(A_prev, W, b)
    A, Z = chosen(ACTIVATIONS, activation, "activation").function(Z)
    return A, (linear_cache, Z)


def linear_backward(dZ: Array, cache: LinearCache) -> tuple[Array, Array, Array]:
    """Back through Z = W A_prev + b.

    dA_prev = W^T dZ, dW = dZ A_prev^T / m, db = sum(dZ) / m over the examples. The mean over
    the examples belongs to the parameters only: circulating copies that also divide dA_prev by
    m train every layer but the last m times too slowly. Some return dW, db, dA_prev in that
    order; the order here is the notebooks'.

    Parameters
    ----------
    dZ : ndarray of shape (n_l, m)
    cache : tuple (A_prev, W, b)
        Of `linear_forward`.

    Returns
    -------
    dA_prev : ndarray of shape (n_prev, m)
    dW : ndarray of shape (n_l, n_prev)
    db : ndarray of shape (n_l, 1)

    Examples
    --------
    >>> cache = np.array([[1.0, 3.0]]), np.array([[2.0]]), np.array([[0.0]])
    >>> linear_backward(np.array([[1.0, 1.0]]), cache)
    (array([[2., 2.]]), array([[2.]]), array([[1.]]))
    """
    dZ = as_float(dZ)
    A_prev, W = as_float(cache[0]), as_float(cache[1])
    m = A_prev.shape[1]
    dW = (dZ @ A_prev.T) * (1.0 / m)
    db = np.sum(dZ, axis=1, keepdims=True) * (1.0 / m)
    return W.T @ dZ, dW, db


def linear_activation_backward(
    dA: Array, cache: Cache, activation: str
) -> tuple[Array, Array, Array]:
    """Back through a whole layer: dZ = dA g'(Z), then `linear_backward`.

    Parameters
    ----------
    dA : ndarray of shape (n_l, m)
    cache : tuple ((A_prev, W, b), Z)
        Of `linear_activation_forward`.
    activation : str
        A name in `ACTIVATIONS`.

    Returns
    -------
    dA_prev : ndarray of shape (n_prev, m)
    dW : ndarray of shape (n_l, n_prev)
    db : ndarray of shape (n_l, 1)

    Raises
    ------
    ValueError
        If there is no such activation.

    Examples
    --------
    >>> A_prev, W, b, Z = np.array([[1.0, 3.0]]), np.array([[2.0]]), -4.0, np.array([[-2.0, 2.0]])
    >>> linear_activation_backward(np.array([[1.0, 1.0]]), ((A_prev, W, b), Z), "relu")
    (array([[0., 2.]]), array([[1.5]]), array([[0.5]]))
    """
    linear_cache, Z = cache
    dZ = chosen(ACTIVATIONS, activation, "activation").backward(dA, Z)
    return linear_backward(dZ, linear_cache)


def back_prop_single_step(
    dA: Array, Y: Array, cache: Cache, activation: str
) -> tuple[Array, Array, Array]:
    """Back through a layer, as in the softmax variant of the notebooks.

    "softmax" ignores dA and starts from dZ = softmax(Z) - Y; "relu" is the *leaky* one, slope
    0.01. Every other activation is as in `linear_activation_backward`. Circulating copies take
    the softmax without its max shift, and overflow.

    Parameters
    ----------
    dA : ndarray of shape (n_l, m)
    Y : ndarray of shape (n_y, m), one-hot, or (m,), class indices
        Used by "softmax" only.
    cache : tuple ((A_prev, W, b), Z)
    activation : str

    Returns
    -------
    dA_prev : ndarray of shape (n_prev, m)
    dW : ndarray of shape (n_l, n_prev)
    db : ndarray of shape (n_l, 1)

    Raises
    ------
    ValueError
        If there is no such activation, or Y does not fit softmax(Z).

    Examples
    --------
    >>> A_prev, W, b, Z = np.array([[1.0, 3.0]]), np.array([[2.0]]), -4.0, np.array([[-2.0, 2.0]])
    >>> back_prop_single_step(np.array([[1.0, 1.0]]), None, ((A_prev, W, b), Z), "relu")[0]
    array([[0.02, 2.  ]])
    """
    linear_cache, Z = cache
    if activation == "softmax":
        A, _ = softmax(Z)
        return linear_backward(A - targets(Y, A), linear_cache)
    if activation == "relu":
        return linear_backward(leaky_relu_backward(dA, Z), linear_cache)
    return linear_activation_backward(dA, cache, activation)
