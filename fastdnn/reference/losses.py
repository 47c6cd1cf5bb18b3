"""Losses, their gradients, and the error of the output layer they lead to.

Every loss is a pair of functions and one entry of `LOSSES`:

* ``loss(AL, Y)`` returns the cost of each example, shape (m,);
* ``loss_backward(AL, Y)`` returns ``dAL``, its derivative by the network's output.

The cost of a network is the sum over the examples divided by m. The gradients of single
examples (dAL, dZ) carry no 1/m; it enters in dW and db, see `linear_backward`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .activations import ACTIVATIONS, sigmoid_backward
from .inputs import Array, as_float, chosen, targets


def safe_log(A: Array) -> Array:
    """Logarithm of a probability, finite at 0: log(max(A, tiny)).

    tiny is the smallest normal number of the dtype, so the worst prediction costs 708.4 in
    float64 and 87.3 in float32. Finite also means that 0 log 0 = 0, as entropy wants it.

    Examples
    --------
    >>> safe_log(np.array([0.0, 1.0]))
    array([-708.39641853,    0.        ])
    """
    A = np.maximum(A, np.finfo(A.dtype).tiny)
    return np.log(A)


def is_zero(A: Array) -> Array:
    """True where A is 0, or so near that its reciprocal overflows.

    Examples
    --------
    >>> is_zero(np.array([0.0, 1e-310, 1e-300]))
    array([ True,  True, False])
    """
    zero: Array = np.abs(A) < np.finfo(A.dtype).tiny
    return zero


def safe_divide(A: Array, B: Array) -> Array:
    """A / B, with the smallest normal number in place of a B that is zero.

    Examples
    --------
    >>> safe_divide(np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    array([0. , 0.5])
    """
    return A / np.where(is_zero(B), np.finfo(B.dtype).tiny, B)


def binary_crossentropy(AL: Array, Y: Array) -> Array:
    """Cross-entropy of independent yes / no outputs: -sum_k (Y log AL + (1 - Y) log(1 - AL)).

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
        Probabilities.
    Y : ndarray of shape (n_y, m) or (m,)

    Returns
    -------
    costs : ndarray of shape (m,)

    Examples
    --------
    >>> binary_crossentropy(np.array([[0.5, 1.0]]), np.array([[1, 1]]))
    array([0.69314718, 0.        ])
    """
    AL = as_float(AL)
    Y = targets(Y, AL)
    costs: Array = np.sum(-(Y * safe_log(AL) + (1.0 - Y) * safe_log(1.0 - AL)), axis=0)
    return costs


def binary_crossentropy_backward(AL: Array, Y: Array) -> Array:
    """Derivative of `binary_crossentropy`: dAL = -(Y / AL - (1 - Y) / (1 - AL)).

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
    Y : ndarray of shape (n_y, m) or (m,)

    Returns
    -------
    dAL : ndarray of shape (n_y, m)

    Examples
    --------
    >>> binary_crossentropy_backward(np.array([[0.5, 0.5]]), np.array([[1, 0]]))
    array([[-2.,  2.]])
    """
    AL = as_float(AL)
    Y = targets(Y, AL)
    return -(safe_divide(Y, AL) - safe_divide(1.0 - Y, 1.0 - AL))


def categorical_crossentropy(AL: Array, Y: Array) -> Array:
    """Cross-entropy of one choice among n_y classes: -sum_k Y log AL.

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
        Probabilities; each column sums to 1.
    Y : ndarray of shape (n_y, m), one-hot, or (m,), class indices

    Returns
    -------
    costs : ndarray of shape (m,)

    Examples
    --------
    >>> categorical_crossentropy(np.array([[0.5, 1.0], [0.5, 0.0]]), np.array([1, 0]))
    array([0.69314718, 0.        ])
    """
    AL = as_float(AL)
    costs: Array = np.sum(-targets(Y, AL) * safe_log(AL), axis=0)
    return costs


def categorical_crossentropy_backward(AL: Array, Y: Array) -> Array:
    """Derivative of `categorical_crossentropy`: dAL = -Y / AL.

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
    Y : ndarray of shape (n_y, m), one-hot, or (m,), class indices

    Returns
    -------
    dAL : ndarray of shape (n_y, m)

    Examples
    --------
    >>> categorical_crossentropy_backward(np.array([[0.5], [0.5]]), np.array([1]))
    array([[-0.],
           [-2.]])
    """
    AL = as_float(AL)
    return -safe_divide(targets(Y, AL), AL)


def mse(AL: Array, Y: Array) -> Array:
    """Half the squared error, summed over outputs: 1/2 sum_k (AL - Y)^2.

    Parameters
    ----------
    AL, Y : ndarrays of shape (n_y, m)

    Returns
    -------
    costs : ndarray of shape (m,)

    Examples
    --------
    >>> mse(np.array([[1.0, 5.0]]), np.array([[1.0, 3.0]]))
    array([0., 2.])
    """
    AL = as_float(AL)
    costs: Array = np.sum(0.5 * (AL - targets(Y, AL)) ** 2, axis=0)
    return costs


def mse_backward(AL: Array, Y: Array) -> Array:
    """Derivative of `mse`: dAL = AL - Y.

    Parameters
    ----------
    AL, Y : ndarrays of shape (n_y, m)

    Returns
    -------
    dAL : ndarray of shape (n_y, m)

    Examples
    --------
    >>> mse_backward(np.array([[1.0, 5.0]]), np.array([[1.0, 3.0]]))
    array([[0., 2.]])
    """
    AL = as_float(AL)
    return AL - targets(Y, AL)


class Loss(NamedTuple):
    """A loss, its derivative, and the output activation with which dZ is simply AL - Y."""

    function: Callable[[Array, Array], Array]
    backward: Callable[[Array, Array], Array]
    canonical_output: str


LOSSES: dict[str, Loss] = {
    "binary_crossentropy": Loss(binary_crossentropy, binary_crossentropy_backward, "sigmoid"),
    "categorical_crossentropy": Loss(
        categorical_crossentropy, categorical_crossentropy_backward, "softmax"
    ),
    "mse": Loss(mse, mse_backward, "identity"),
}


def default_loss(output_activation: str) -> str:
    """The loss that belongs to an output activation; mse where none is tailored to it.

    Examples
    --------
    >>> default_loss("sigmoid"), default_loss("softmax"), default_loss("relu")
    ('binary_crossentropy', 'categorical_crossentropy', 'mse')
    """
    for name, loss in LOSSES.items():
        if loss.canonical_output == output_activation:
            return name
    return "mse"


def compute_cost(AL: Array, Y: Array, *, loss: str = "binary_crossentropy") -> float:
    """Cost of a prediction: the loss of the examples, averaged.

    Binary: -(1/m) sum(Y log AL + (1 - Y) log(1 - AL)); categorical: -(1/m) sum(Y log AL);
    mse: 1/(2m) sum((AL - Y)^2). Here 0 log 0 = 0, and a confident wrong prediction costs
    -log(smallest normal number of the dtype), finite. *All* terms are divided by m; in some
    circulating copies of the notebooks only the first is.

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
    Y : ndarray of shape (n_y, m) or (m,)
    loss : {"binary_crossentropy", "categorical_crossentropy", "mse"}

    Returns
    -------
    cost : float

    Raises
    ------
    ValueError
        If Y does not fit AL, or there is no such loss.

    Examples
    --------
    >>> compute_cost(np.array([[0.8, 0.9, 0.4]]), np.array([[1, 1, 1]]))
    0.41493159961539694
    """
    AL = as_float(AL)
    costs = chosen(LOSSES, loss, "loss").function(AL, Y)
    return float(np.sum(costs) * (1.0 / AL.shape[1]))


def output_error(AL: Array, Y: Array, Z: Array, output_activation: str, loss: str) -> Array:
    """Derivative dZ of the cost of each example by the output layer's Z.

    For a loss and its canonical output (sigmoid, softmax, identity) everything cancels and
    dZ = AL - Y; otherwise dZ = dAL g'(Z). The cancellation supposes that AL = g(Z) and, for
    softmax, that each column of Y sums to 1.

    Parameters
    ----------
    AL, Z : ndarrays of shape (n_y, m)
    Y : ndarray of shape (n_y, m) or (m,)
    output_activation, loss : str

    Returns
    -------
    dZ : ndarray of shape (n_y, m)

    Examples
    --------
    >>> output_error(np.array([[0.5]]), np.array([1]), np.array([[0.0]]), "sigmoid", "mse")
    array([[-0.125]])
    """
    rule = chosen(LOSSES, loss, "loss")
    if rule.canonical_output == output_activation:
        AL = as_float(AL)
        return AL - targets(Y, AL)
    activation = chosen(ACTIVATIONS, output_activation, "activation")
    return activation.backward(rule.backward(AL, Y), Z)


def notebook_sigmoid_error(AL: Array, Y: Array, Z: Array) -> Array:
    """Output error as the notebooks compute it: through dAL, then sigmoid'(Z).

    For AL = sigmoid(Z) this is AL - Y. It differs for an AL that is not sigmoid(Z), and gives
    then the notebooks' numbers. Where AL is saturated at 0 or 1 dAL does not exist, and the
    limit AL - Y is taken.

    Parameters
    ----------
    AL, Z : ndarrays of shape (n_y, m)
    Y : ndarray of shape (n_y, m) or (m,)

    Returns
    -------
    dZ : ndarray of shape (n_y, m)

    Examples
    --------
    >>> notebook_sigmoid_error(np.array([[0.5, 0.0]]), np.array([1, 1]), np.array([[0.0, -1e4]]))
    array([[-0.5, -1. ]])
    """
    AL = as_float(AL)
    Y = targets(Y, AL)
    dZ = sigmoid_backward(binary_crossentropy_backward(AL, Y), Z)
    return np.where(is_zero(AL) | is_zero(1.0 - AL), AL - Y, dZ)
