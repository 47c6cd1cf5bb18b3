"""Examples to profile a network on where nobody has any."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn.network import DNN


def random_examples(net: DNN, m: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Standard normal examples X (n_x, m) and targets (n_y, m) that suit the network's loss.

    Parameters
    ----------
    net : DNN
    m : int
    seed : int

    Examples
    --------
    >>> X, Y = random_examples(DNN([3, 1]), 5)
    >>> X.shape, set(Y.flat) <= {0.0, 1.0}
    ((3, 5), True)
    """
    random = np.random.default_rng(seed)
    n_y = net.layer_dims[-1]
    X = random.standard_normal((net.layer_dims[0], m)).astype(net.dtype)
    Y: NDArray[Any] = random.standard_normal((n_y, m))
    if net.loss == "categorical_crossentropy":
        Y = np.eye(n_y)[:, random.integers(n_y, size=m)]
    elif net.loss == "binary_crossentropy":
        Y = np.heaviside(Y, 1.0)
    return X, Y.astype(net.dtype)
