"""From outputs to labels, cost and metric: what evaluation and validation report."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The loss whose gradient with this output is AL - Y; mse for every other output.
DEFAULT_LOSS = {"sigmoid": "binary_crossentropy", "softmax": "categorical_crossentropy"}

_OUTPUT_OF = {loss: output for output, loss in DEFAULT_LOSS.items()}


def check_pair(output_activation: str, loss: str) -> None:
    """Cross-entropies need probabilities: raise unless the output makes them."""
    needed = _OUTPUT_OF.get(loss)
    if needed is not None and output_activation != needed:
        raise ValueError(
            f"loss {loss!r} needs output_activation={needed!r}, not {output_activation!r}; "
            "use loss='mse' with it"
        )


def decide(AL: NDArray[Any], output_activation: str) -> NDArray[Any]:
    """Labels of outputs AL (n_y, m): the larger class, or AL itself for regression."""
    if output_activation == "softmax":
        return AL.argmax(axis=0)
    if output_activation == "sigmoid":
        labels = (AL > 0.5).astype(np.int64)
        return labels[0] if AL.shape[0] == 1 else labels
    return AL


def cost_of(AL: NDArray[Any], Y: NDArray[Any], loss: str) -> float:
    """Mean cost over examples; logarithms end at the smallest normal number of the dtype."""
    if loss == "mse":
        difference = AL.astype(np.float64) - Y
        return float(0.5 * np.vdot(difference, difference) / Y.shape[1])
    tiny = np.finfo(AL.dtype).tiny
    total = np.sum(Y * np.log(np.maximum(AL, tiny)), dtype=np.float64)
    if loss == "binary_crossentropy":
        total += np.sum((1 - Y) * np.log(np.maximum(1 - AL, tiny)), dtype=np.float64)
    return float(-total / Y.shape[1])


def cost_and_metric(AL: NDArray[Any], Y: NDArray[Any], loss: str) -> tuple[float, float]:
    """Cost, and the accuracy of a classifier or the R2 score of a regression."""
    cost = cost_of(AL, Y, loss)
    if loss == "categorical_crossentropy":
        return cost, float(np.mean(AL.argmax(axis=0) == Y.argmax(axis=0)))
    if loss == "binary_crossentropy":
        return cost, float(np.mean((AL > 0.5) == (Y > 0.5)))
    spread = float(np.sum((Y - Y.mean(axis=1, keepdims=True)) ** 2, dtype=np.float64))
    residual = 2 * cost * Y.shape[1]
    if spread == 0.0:
        return cost, 1.0 if residual == 0.0 else 0.0
    return cost, 1.0 - residual / spread
