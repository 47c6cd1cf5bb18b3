"""Initial parameters, drawn exactly as the notebooks draw them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checks

# Weights drawn from the standard normal are brought to scale by dividing or multiplying in the
# notebooks' own form, so that every bit agrees. n_in, n_out are the layer's inputs and outputs.
_SCALED: dict[str, Callable[[NDArray[Any], int, int], NDArray[Any]]] = {
    "normal": lambda W, n_in, n_out: W,
    "he": lambda W, n_in, n_out: W * np.sqrt(2 / n_in),
    "xavier": lambda W, n_in, n_out: W * np.sqrt(2 / (n_in + n_out)),
    "lecun": lambda W, n_in, n_out: W / np.sqrt(n_in),
    "small": lambda W, n_in, n_out: W * 0.01,
}
INITS = tuple(_SCALED)


def initialise(layer_dims: Sequence[int], init: str, seed: int) -> dict[str, NDArray[Any]]:
    """W1, b1, ... in float64 from ``RandomState(seed)``.

    ``normal`` draws the biases too (W1, b1, W2, ...); the other modes leave them zero.
    """
    scaled = _SCALED[checks.choice("init", init, INITS)]
    stream = np.random.RandomState(checks.seed(seed))
    parameters = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(layer_dims), start=1):
        parameters[f"W{layer}"] = scaled(stream.randn(n_out, n_in), n_in, n_out)
        drawn = init == "normal"
        parameters[f"b{layer}"] = stream.randn(n_out, 1) if drawn else np.zeros((n_out, 1))
    return parameters
