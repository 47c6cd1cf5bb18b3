"""One layer: Z = W A_prev + b, then A = g(Z); and back again."""

from __future__ import annotations

from typing import Any

from fastdnn import checks
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.memory import Array
from fastdnn.products import activated_product, product

from .arrays import common, operand, same_shape
from .elementwise import activate, backward, row_sums, step
from .losses import targets

LinearCache = tuple[Array, Array, Array]
Cache = tuple[LinearCache, Array]

Names = tuple[str, str, str]  # what the caller calls A_prev, W and b


def _linear_operands(A: Any, W: Any, b: Any, names: Names) -> tuple[Array, ...]:
    """A, W and b checked against each other, in one precision."""
    a, w, bias = operand(names[0], A, 2), operand(names[1], W, 2), operand(names[2], b, 2)
    if w.shape[1] != a.shape[0]:
        raise ValueError(
            f"{names[1]} has shape {w.shape} and {names[0]} {a.shape}, expected (n_l, n_prev) and "
            "(n_prev, m): examples are columns"
        )
    if bias.shape != (w.shape[0], 1):
        checks.shape(names[2], bias, (w.shape[0], 1))
    return common(a, w, bias)


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

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or shapes do not chain.

    Examples
    --------
    >>> linear_forward([[1.0], [2.0]], [[3.0, 4.0]], [[0.5]])[0]
    array([[11.5]])
    """
    a, w, bias = _linear_operands(A, W, b, ("A", "W", "b"))
    return product(w, a, bias=bias), (A, W, b)


def linear_activation_forward(
    A_prev: Array, W: Array, b: Array, activation: str
) -> tuple[Array, Cache]:
    """A whole layer, A = g(W A_prev + b), in one pass over its output.

    Parameters
    ----------
    A_prev : ndarray of shape (n_prev, m)
    W : ndarray of shape (n_l, n_prev)
    b : ndarray of shape (n_l, 1)
    activation : str
        ``identity``, ``relu``, ``leaky_relu``, ``sigmoid``, ``tanh``, ``softmax``, ``softplus``.

    Returns
    -------
    A : ndarray of shape (n_l, m)
    cache : tuple ((A_prev, W, b), Z)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, shapes do not chain, or there is no such
        activation.

    Examples
    --------
    >>> A_prev, W, b = [[1.0], [2.0]], [[3.0, -4.0]], [[0.5]]
    >>> linear_activation_forward(A_prev, W, b, "relu")[0]
    array([[0.]])
    """
    checks.choice("activation", activation, ACTIVATIONS)
    return layer_forward(A_prev, W, b, activation, ("A_prev", "W", "b"))


def layer_forward(A_prev: Any, W: Any, b: Any, name: str, names: Names) -> tuple[Array, Cache]:
    """`linear_activation_forward` of the activation ``name``."""
    a, w, bias = _linear_operands(A_prev, W, b, names)
    if name == "identity":
        Z = A = product(w, a, bias=bias)
    elif ACTIVATIONS[name].elementwise:
        Z, A = activated_product(w, a, bias, ACTIVATIONS[name].code)
    else:
        Z = product(w, a, bias=bias)
        A = activate(name, Z)
    return A, ((A_prev, W, b), Z)


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

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, or shapes do not chain.

    Examples
    --------
    >>> cache = [[1.0, 3.0]], [[2.0]], [[0.0]]
    >>> linear_backward([[1.0, 1.0]], cache)
    (array([[2., 2.]]), array([[2.]]), array([[1.]]))
    """
    a, w = cached("cache", cache, 3)[:2]
    error = operand("dZ", dZ, 2)
    A_prev, W = operand("A_prev", a, 2), operand("W", w, 2)
    n_l, m = error.shape
    if W.shape[0] != n_l or A_prev.shape != (W.shape[1], m):
        raise ValueError(
            f"dZ has shape {error.shape}, W {W.shape} and A_prev {A_prev.shape}, expected "
            "dZ (n_l, m), W (n_l, n_prev) and A_prev (n_prev, m)"
        )
    scale = 1.0 / m
    dW = product(*common(error, A_prev.T), scale=scale)
    db = row_sums(error, scale)
    W, error = common(W, error)
    return product(W.T, error), dW, db


def cached(name: str, value: Any, length: int) -> tuple[Any, ...]:
    """A cache as the forward functions make it."""
    if not isinstance(value, tuple | list) or len(value) != length:
        made = "(A_prev, W, b)" if length == 3 else "((A_prev, W, b), Z)"
        raise TypeError(f"{name} is a {type(value).__name__}, expected the tuple {made}")
    return tuple(value)


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

    Returns
    -------
    dA_prev : ndarray of shape (n_prev, m)
    dW : ndarray of shape (n_l, n_prev)
    db : ndarray of shape (n_l, 1)

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, shapes do not chain, or there is no such
        activation.

    Examples
    --------
    >>> A_prev, W, b, Z = [[1.0, 3.0]], [[2.0]], -4.0, [[-2.0, 2.0]]
    >>> linear_activation_backward([[1.0, 1.0]], ((A_prev, W, b), Z), "relu")
    (array([[0., 2.]]), array([[1.5]]), array([[0.5]]))
    """
    checks.choice("activation", activation, ACTIVATIONS)
    linear_cache, z = cached("cache", cache, 2)
    passed, Z = operand("dA", dA, 2), operand("Z", z, 2)
    same_shape("dA", passed, "Z", Z)
    dZ = passed if activation == "identity" else backward(activation, passed, Z)
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
    TypeError, ValueError
        If an array does not hold real numbers, shapes do not chain, Y does not fit softmax(Z), or
        there is no such activation.

    Examples
    --------
    >>> A_prev, W, b, Z = [[1.0, 3.0]], [[2.0]], -4.0, [[-2.0, 2.0]]
    >>> back_prop_single_step([[1.0, 1.0]], None, ((A_prev, W, b), Z), "relu")[0]
    array([[0.02, 2.  ]])
    """
    if activation == "softmax":
        linear_cache, z = cached("cache", cache, 2)
        A = activate("softmax", operand("Z", z, 2))
        return linear_backward(step(A, targets(Y, A), 1.0), linear_cache)
    return linear_activation_backward(
        dA, cache, "leaky_relu" if activation == "relu" else activation
    )
