"""The cost of a prediction, and the targets it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdnn import checks
from fastdnn.kernels.losses import LOSSES
from fastdnn.memory import Array

from .arrays import operand
from .elementwise import summed_cost


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return tuple(np.shape(value))
    except ValueError:  # ragged, which `checks` has a message for
        return None


def targets(Y: Any, AL: Array, name: str = "Y") -> Array:
    """Y in the shape and dtype of the output AL (n_y, m).

    Labels (m,) become a row where there is one output, class indices (m,) one-hot columns where
    there are more. NaN and targets outside 0 ... 1 pass, as they do in NumPy.
    """
    n_y, m = AL.shape
    shape = _shape(Y)
    if shape != AL.shape and not (n_y == 1 and shape == (m,)):
        return checks.labels(Y, n_y, m, "categorical_crossentropy", AL.dtype, name=name)
    if not (type(Y) is np.ndarray and Y.dtype.kind in "biu"):  # which need no second check
        Y = operand(name, Y)
    return np.asarray(Y.reshape(AL.shape), AL.dtype)


def compute_cost(AL: Array, Y: Array, *, loss: str = "binary_crossentropy") -> float:
    """Cost of a prediction: the loss of the examples, averaged.

    Binary: -(1/m) sum(Y log AL + (1 - Y) log(1 - AL)); categorical: -(1/m) sum(Y log AL);
    mse: 1/(2m) sum((AL - Y)^2). Here 0 log 0 = 0, and a confident wrong prediction costs
    -log(smallest normal number of the dtype), finite. *All* terms are divided by m; in some
    circulating copies of the notebooks only the first is, or m is not defined.

    Parameters
    ----------
    AL : ndarray of shape (n_y, m)
    Y : ndarray of shape (n_y, m) or (m,)
        Labels, one-hot columns, or class indices where n_y > 1.
    loss : {"binary_crossentropy", "categorical_crossentropy", "mse"}

    Returns
    -------
    cost : float

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, Y does not fit AL, a cross-entropy is given numbers
        that are no probabilities (NaN passes, and so is the cost), or there is no such loss.

    Examples
    --------
    >>> compute_cost(np.array([[0.8, 0.9, 0.4]]), np.array([[1, 1, 1]]))
    0.41493159961539694
    """
    checks.choice("loss", loss, LOSSES)
    output = operand("AL", AL, 2)
    if loss in checks.PROBABILITY_LOSSES:
        checks.probabilities("AL", output, loss)
    total = summed_cost(output, targets(Y, output), LOSSES[loss])
    return total * (1.0 / int(output.shape[1]))
