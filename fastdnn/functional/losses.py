"""The cost of a prediction, and the targets it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdnn import checks
from fastdnn.kernels.losses import LOSSES

from .arrays import Array, operand
from .elementwise import summed_cost


def targets(Y: Any, AL: Array, name: str = "Y") -> Array:
    """Y in the shape and dtype of the output AL (n_y, m).

    Labels (m,) become a row where there is one output, class indices (m,) one-hot columns where
    there are more. NaN and numbers outside 0 ... 1 pass, as they do in NumPy.
    """
    n_y, m = AL.shape
    if type(Y) is np.ndarray and Y.dtype.kind in "biuf":
        if Y.shape == AL.shape or (n_y == 1 and Y.shape == (m,)):
            return np.asarray(Y.reshape(AL.shape), AL.dtype)
    given = np.asarray(Y) if not isinstance(Y, np.ma.MaskedArray) else Y
    if given.shape == AL.shape or (n_y == 1 and given.shape == (m,)):
        given = operand(name, given)
        return given.reshape(AL.shape).astype(AL.dtype)
    return checks.labels(given, n_y, m, "categorical_crossentropy", AL.dtype, name=name)


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
        If an array does not hold real numbers, Y does not fit AL, or there is no such loss.

    Examples
    --------
    >>> compute_cost(np.array([[0.8, 0.9, 0.4]]), np.array([[1, 1, 1]]))
    0.41493159961539694
    """
    checks.choice("loss", loss, LOSSES)
    output = operand("AL", AL, 2)
    return summed_cost(output, targets(Y, output), LOSSES[loss]) * (1.0 / output.shape[1])
