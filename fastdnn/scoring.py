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


def cost_of(AL: NDArray[Any], Y: NDArray[Any], loss: str) -> float:
    """Mean cost over examples; logarithms end at the smallest normal number of the dtype."""
    if loss == "mse":
        difference = AL.astype(np.float64) - Y
        # Without BLAS, whose threads would go on spinning beside ours.
        return 0.5 * float(np.sum(np.square(difference))) / float(Y.shape[1])
    tiny = np.finfo(AL.dtype).tiny
    total = np.sum(Y * np.log(np.maximum(AL, tiny)), dtype=np.float64)
    if loss == "binary_crossentropy":
        total += np.sum((1 - Y) * np.log(np.maximum(1 - AL, tiny)), dtype=np.float64)
    return float(-total / Y.shape[1])


def cost_and_metric(AL: NDArray[Any], Y: NDArray[Any], loss: str) -> tuple[float, float]:
    """Cost, and the accuracy of a classifier or the `r2_score` of a regression."""
    cost = cost_of(AL, Y, loss)
    if loss == "categorical_crossentropy":
        return cost, float(np.mean(AL.argmax(axis=0) == Y.argmax(axis=0)))
    if loss == "binary_crossentropy":
        return cost, float(np.mean((AL > 0.5) == (Y > 0.5)))
    return cost, r2_score(AL, Y)


def r2_score(AL: NDArray[Any], Y: NDArray[Any], weights: NDArray[Any] | None = None) -> float:
    """1 - sum w (y - a)^2 / sum w (y - mean y)^2, averaged over outputs, as scikit-learn does.

    An output whose targets are all the same counts 1 where AL gives them exactly, else 0.
    """
    exact = Y.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        centred = exact - np.average(exact, axis=1, weights=weights)[:, None]
        spread = np.average(np.square(centred), axis=1, weights=weights)
        residual = np.average(np.square(exact - AL), axis=1, weights=weights)
        unexplained = np.where(residual == 0.0, 0.0, 1.0)
        np.divide(residual, spread, out=unexplained, where=spread != 0.0)
    return float(np.mean(1.0 - unexplained))


def example_weights(
    sample_weight: ArrayLike | None,
    class_weight: str | Mapping[int, float] | None,
    Y: NDArray[Any],
    dtype: np.dtype[Any],
    output_activation: str,
) -> NDArray[Any] | None:
    """The factor of each example (m,), or None if every factor is 1.

    Raises
    ------
    ValueError, TypeError
        If a weight is negative or not finite, all are 0, a class is unknown, or an example has no
        class.
    """
    m = Y.shape[1]
    weights: NDArray[Any] | None = None
    if sample_weight is not None:
        weights = checks.float_array("sample_weight", sample_weight, dtype=dtype, ndim=1)
        checks.shape("sample_weight", weights, (m,))
        checks.finite("sample_weight", weights)
        if (weights < 0).any():
            raise ValueError("sample_weight has negative entries, expected numbers >= 0")
        if not weights.any():
            raise ValueError("sample_weight is 0 for every example, expected some above 0")
        weights = np.array(weights, dtype)
    if class_weight is not None:
        factors = _class_factors(class_weight, Y, dtype, output_activation)
        if weights is None:
            return factors
        with np.errstate(over="ignore"):
            weights *= factors
        checks.finite("(sample_weight * class_weight)", weights)
    return weights


def _class_factors(
    class_weight: str | Mapping[int, float],
    Y: NDArray[Any],
    dtype: np.dtype[Any],
    output_activation: str,
) -> NDArray[Any]:
    """The factor of each example by its class, which is what `decide` should find."""
    if output_activation == "softmax":
        classes, count = Y.argmax(axis=0), len(Y)
    elif output_activation == "sigmoid" and len(Y) == 1:
        classes, count = (Y[0] > 0.5).astype(np.int64), 2
    else:
        raise ValueError(
            "class_weight needs examples of one class each, expected a softmax output or a single "
            f"sigmoid; this one is {output_activation} of {len(Y)}: use sample_weight"
        )
    present, index = np.unique(classes, return_inverse=True)
    factors = checks.class_weight(class_weight, present.tolist(), count, dtype)
    if factors is None:
        factors = (classes.size / (len(present) * np.bincount(index))).tolist()
    return np.array(factors, dtype)[index]
