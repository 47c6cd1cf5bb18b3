"""First values of the parameters.

Numbers come from NumPy's legacy stream, `numpy.random.RandomState(seed)`, in the order W1, b1,
W2, b2, ...: the numbers of the notebooks, which call `numpy.random.seed(seed)` and then `randn`.
The global seed is neither used nor changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .inputs import Array, chosen

# What becomes of the standard normal weights of a layer n_in -> n_out. The variance of a layer's
# output is n_in times that of its weights: "lecun" makes up for that, "he" also for a relu that
# drops one half, and "xavier" compromises between the forward and the backward direction.
INITS: dict[str, Callable[[Array, int, int], Array]] = {
    "normal": lambda W, n_in, n_out: W,
    "small": lambda W, n_in, n_out: W * 0.01,
    "lecun": lambda W, n_in, n_out: W / np.sqrt(n_in),
    "he": lambda W, n_in, n_out: W * np.sqrt(2.0 / n_in),
    "xavier": lambda W, n_in, n_out: W * np.sqrt(2.0 / (n_in + n_out)),
}


def initialise_parameters(n_x: int, n_h: int, n_y: int, *, seed: int = 1) -> dict[str, Array]:
    """Parameters of a network with one hidden layer: weights 0.01 N(0, 1), biases N(0, 1).

    Parameters
    ----------
    n_x, n_h, n_y : int
        Inputs, hidden units, outputs.
    seed : int

    Returns
    -------
    parameters : dict
        W1 (n_h, n_x), b1 (n_h, 1), W2 (n_y, n_h), b2 (n_y, 1).

    Examples
    --------
    >>> initialise_parameters(3, 2, 1)["W2"]
    array([[ 0.00319039, -0.0024937 ]])
    """
    stream = np.random.RandomState(seed)
    return {
        "W1": stream.randn(n_h, n_x) * 0.01,
        "b1": stream.randn(n_h, 1),
        "W2": stream.randn(n_y, n_h) * 0.01,
        "b2": stream.randn(n_y, 1),
    }


def initialise_parameters_deep(
    layer_dims: Sequence[int], *, seed: int = 3, init: str = "normal"
) -> dict[str, Array]:
    """Parameters of a network of any depth.

    Parameters
    ----------
    layer_dims : sequence of int
        n_0 (inputs), n_1, ..., n_L (outputs).
    seed : int
    init : {"normal", "small", "lecun", "he", "xavier"}
        Scale of the normally distributed weights: 1, 0.01, sqrt(1 / n_in), sqrt(2 / n_in),
        sqrt(2 / (n_in + n_out)). Biases are N(0, 1) for "normal"; for the others they are zero
        and nothing is drawn for them.

    Returns
    -------
    parameters : dict
        W1 (n_1, n_0), b1 (n_1, 1), ..., WL, bL.

    Raises
    ------
    ValueError
        If there is no such init.

    Examples
    --------
    >>> initialise_parameters_deep([5, 4, 3])["b2"].ravel()
    array([-0.92379202, -1.02387576,  1.12397796])
    """
    scaled = chosen(INITS, init, "init")
    stream = np.random.RandomState(seed)
    parameters = {}
    for layer in range(1, len(layer_dims)):
        n_in, n_out = layer_dims[layer - 1], layer_dims[layer]
        parameters[f"W{layer}"] = scaled(stream.randn(n_out, n_in), n_in, n_out)
        drawn = init == "normal"
        parameters[f"b{layer}"] = stream.randn(n_out, 1) if drawn else np.zeros((n_out, 1))
    return parameters


initialize_parameters = initialise_parameters
initialize_parameters_deep = initialise_parameters_deep
