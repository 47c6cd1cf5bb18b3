"""What is solved: a network with fixed parameters on fixed data, the same for every contestant."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.grid import Row

Array = npt.NDArray[Any]

SEED = 1
# So large that a few steps show in the cost of every row, so small that they do not end training,
# after which the cost is mostly rounding.
LEARNING_RATES = {"sgd": 0.01, "adam": 0.0001, "none": 0.0}


@dataclass(frozen=True)
class Case:
    """One row of the grid in one dtype with one optimizer (``"none"`` for inference)."""

    row: Row
    dtype: str
    optimizer: str

    @property
    def label(self) -> str:
        """Name of the row, with the optimizer where it is not plain gradient descent."""
        return f"{self.row.name}, Adam" if self.optimizer == "adam" else self.row.name

    @property
    def learning_rate(self) -> float:
        return LEARNING_RATES[self.optimizer]

    @property
    def training(self) -> bool:
        return self.row.kind == "train"

    @property
    def product(self) -> bool:
        """Whether no more than W1 X is asked for."""
        return self.row.kind == "product"

    def to_json(self) -> dict[str, Any]:
        """The case as plain values, for a pipe or a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Case:
        """The inverse of `to_json`."""
        row = Row(**{**fields["row"], "layer_dims": tuple(fields["row"]["layer_dims"])})
        return cls(row, fields["dtype"], fields["optimizer"])


@dataclass(frozen=True)
class Problem:
    """A case with its numbers; examples are columns, as in fastdnn.

    Parameters
    ----------
    parameters : dict
        ``W1 (n_1, n_0)``, ``b1 (n_1, 1)``, ...: He initialisation and zeros.
    X : ndarray of shape (n_0, m)
        Standard normal.
    Y : ndarray of shape (n_L, m)
        One-hot classes (softmax), zeros and ones (sigmoid) or normal targets (identity).
    """

    case: Case
    parameters: dict[str, Array]
    X: Array
    Y: Array


def make_problem(case: Case) -> Problem:
    """Draw the numbers of a case from its own stream; every process draws the same ones."""
    row, random = case.row, np.random.default_rng(SEED)
    parameters: dict[str, Array] = {}
    for layer, (n_in, n_out) in enumerate(pairwise(row.layer_dims), start=1):
        weights = random.standard_normal((n_out, n_in)) * np.sqrt(2 / n_in)
        parameters[f"W{layer}"] = weights.astype(case.dtype)
        parameters[f"b{layer}"] = np.zeros((n_out, 1), case.dtype)
    n_y, m = row.layer_dims[-1], row.batch
    Y: Array
    if row.output_activation == "softmax":
        Y = np.eye(n_y)[:, random.integers(n_y, size=m)]
    elif row.output_activation == "sigmoid":
        Y = random.integers(2, size=(n_y, m))
    else:
        Y = random.standard_normal((n_y, m))
    X = random.standard_normal((row.layer_dims[0], m))
    return Problem(case, parameters, X.astype(case.dtype), np.ascontiguousarray(Y, case.dtype))


def cost_of(AL: Array, Y: Array, output_activation: str) -> float:
    """The mean cost over the examples, computed in float64 alike for every contestant.

    Binary or categorical cross-entropy for sigmoid and softmax, half the mean squared error
    for identity; a probability of 0 counts as the smallest normal number.

    Examples
    --------
    >>> round(cost_of(np.array([[0.8, 0.9, 0.4]]), np.array([[1, 1, 1]]), "sigmoid"), 6)
    0.414932
    """
    AL, Y = np.asarray(AL, np.float64), np.asarray(Y, np.float64)
    m = Y.shape[1]
    if output_activation == "identity":
        return float(np.sum((AL - Y) ** 2) / (2 * m))
    tiny = np.finfo(np.float64).tiny
    total = np.sum(Y * np.log(np.maximum(AL, tiny)))
    if output_activation == "sigmoid":
        total += np.sum((1 - Y) * np.log(np.maximum(1 - AL, tiny)))
    return float(-total / m)
