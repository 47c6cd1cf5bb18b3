"""From outputs to labels, cost and metric: what evaluation and validation report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks

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
        labels: NDArray[Any] = AL.argmax(axis=0)
        return labels
    if output_activation == "sigmoid":
        labels = (AL > 0.5).astype(np.int64)
        return labels[0] if AL.shape[0] == 1 else labels
    return AL


def _sum_of_squares(values: NDArray[Any]) -> float:
    """Without BLAS, whose threads would go on spinning beside ours."""
    return float(np.sum(np.square(values)))


def cost_of(AL: NDArray[Any], Y: NDArray[Any], loss: str) -> float:
    """Mean cost over examples; logarithms end at the smallest normal number of the dtype."""
    if loss == "mse":
        difference = AL.astype(np.float64) - Y
        return 0.5 * _sum_of_squares(difference) / float(Y.shape[1])
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
    centred = Y.astype(np.float64) - Y.mean(axis=1, keepdims=True, dtype=np.float64)
    with np.errstate(over="ignore"):
        spread = _sum_of_squares(centred)
    residual = 2 * cost * Y.shape[1]
    if spread == 0.0:
        return cost, 1.0 if residual == 0.0 else 0.0
    return cost, 1.0 - residual / spread


def example_weights(
    sample_weight: ArrayLike | None,
    class_weight: str | Mapping[int, float] | None,
    Y: NDArray[Any],
    dtype: np.dtype[Any],
) -> NDArray[Any] | None:
    """The factor of each example (m,), or None if every factor is 1.

    Raises
    ------
    ValueError, TypeError
        If a weight is negative or not finite, or a class is missing or unknown.
    """
    m = Y.shape[1]
    weights: NDArray[Any] | None = None
    if sample_weight is not None:
        weights = checks.float_array("sample_weight", sample_weight, dtype=dtype, ndim=1)
        checks.shape("sample_weight", weights, (m,))
        checks.finite("sample_weight", weights)
        if (weights < 0).any():
            raise ValueError("sample_weight has negative entries, expected numbers >= 0")
        weights = np.array(weights, dtype)
    if class_weight is not None:
        factors = _class_factors(class_weight, Y).astype(dtype)
        weights = factors if weights is None else weights * factors
    return weights


def _class_factors(class_weight: str | Mapping[int, float], Y: NDArray[Any]) -> NDArray[np.float64]:
    """The factor of each example by its class."""
    classes = Y.argmax(axis=0) if Y.shape[0] > 1 else (Y[0] > 0.5).astype(np.int64)
    present, index = np.unique(classes, return_inverse=True)
    if isinstance(class_weight, str):
        checks.choice("class_weight", class_weight, ("balanced",))
        counts = np.bincount(index)
        shares: NDArray[np.float64] = classes.size / (len(present) * counts)
        return shares[index]
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight is {class_weight!r:.60}, expected 'balanced' or a dict of factors"
        )
    missing = [int(label) for label in present if label not in class_weight]
    if missing:
        raise ValueError(f"class_weight has no entry for class {missing[0]}")
    factors = [
        checks.real_number(f"class_weight[{label}]", class_weight[label], at_least=0)
        for label in present.tolist()
    ]
    return np.array(factors)[index]
