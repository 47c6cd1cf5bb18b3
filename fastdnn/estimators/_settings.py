"""The parameters of the estimators, and what they mean to fastdnn."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from fastdnn import checks
from fastdnn.kernels import updates
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.optimizers import OPTIMIZERS, Adam, Optimizer

from ._watch import Rate

# Names of scikit-learn for what fastdnn calls otherwise.
LOGISTIC = {"logistic": "sigmoid"}
HIDDEN_ACTIVATIONS = (*LOGISTIC, *(name for name, kind in ACTIVATIONS.items() if kind.elementwise))

LEARNING_RATES = ("constant", "invscaling", "adaptive")
SCHEDULED_SOLVERS = ("sgd", "momentum", "nesterov")

LARGEST_AUTO_BATCH = 200

RANGES: dict[str, dict[str, float]] = {
    "alpha": {"at_least": 0},
    "learning_rate_init": {"above": 0},
    "power_t": {"at_least": 0},
    "tol": {"at_least": 0},
    "momentum": {"at_least": 0, "below": 1},
    "validation_fraction": {"at_least": 0, "below": 1},
    "beta_1": {"at_least": 0, "below": 1},
    "beta_2": {"at_least": 0, "below": 1},
    "epsilon": {"above": 0},
    "dropout": {"at_least": 0, "below": 1},
}


@dataclass(frozen=True, kw_only=True)
class AdamEpsilonHat(Adam):
    """Adam as scikit-learn writes it: epsilon joins sqrt(v) before the bias correction does.

    The variant at the end of section 2 of Adam's paper, there with epsilon-hat.
    """

    def _fill(self, table: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        super()._fill(table, t)
        table[:, updates.EPSILON] *= table[:, updates.DENOMINATOR_SCALE]


@dataclass(eq=False, repr=False)
class Settings(BaseEstimator):  # type: ignore[misc]
    """Parameters of `DNNClassifier` and `DNNRegressor`; the former documents them."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str | Sequence[str] = "relu"
    _: KW_ONLY
    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool | int = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    dropout: float = 0.0
    n_threads: int | None = None
    dtype: str = "auto"

    def _check_settings(self) -> None:
        if _is(self.solver, "lbfgs"):
            raise ValueError(
                "solver is 'lbfgs', which fastdnn does not have: its solvers are stochastic, "
                f"one of {', '.join(OPTIMIZERS)}"
            )
        checks.choice("solver", self.solver, OPTIMIZERS)
        checks.choice("learning_rate", self.learning_rate, LEARNING_RATES)
        for name, bounds in RANGES.items():
            checks.real_number(name, getattr(self, name), **bounds)
        checks.whole_number("max_iter", self.max_iter)
        patience: object = self.n_iter_no_change
        if not (isinstance(patience, numbers.Real) and patience == np.inf):
            checks.whole_number("n_iter_no_change", patience)
        if not _is(self.batch_size, "auto"):
            checks.whole_number("batch_size", self.batch_size)
        if not _is(self.dtype, "auto"):
            checks.float_dtype("dtype", self.dtype)

    def _hidden(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Sizes and activations of the hidden layers."""
        widths = checks.hidden_sizes("hidden_layer_sizes", self.hidden_layer_sizes)
        names = checks.hidden_activations(
            self.activation, len(widths), HIDDEN_ACTIVATIONS, name="activation"
        )
        return widths, tuple(LOGISTIC.get(name, name) for name in names)

    def _batch_size(self, m: int) -> int:
        if self.batch_size == "auto":
            return min(LARGEST_AUTO_BATCH, m)
        wanted = int(self.batch_size)
        if wanted > m:
            warnings.warn(
                f"batch_size {wanted} is more than the {m} examples and is clipped to them",
                stacklevel=5,
            )
        return min(wanted, m)

    def _rate(self, examples: int) -> Rate:
        scheduled = self.solver in SCHEDULED_SOLVERS
        return Rate(
            initial=float(self.learning_rate_init),
            power_t=self.power_t if scheduled and self.learning_rate == "invscaling" else 0.0,
            adaptive=scheduled and self.learning_rate == "adaptive",
            factor=self._rate_factor,
            seen=self.t_,
            examples=examples,
        )

    def _optimizer(self, weight_decay: float) -> Optimizer:
        """The solver by its name here: 'sgd' comes with momentum, as in scikit-learn."""
        name = self.solver
        if name == "sgd" and self.momentum > 0:
            name = "nesterov" if self.nesterovs_momentum else "momentum"
        settings: dict[str, Any] = {
            "learning_rate": float(self.learning_rate_init),
            "weight_decay": weight_decay,
        }
        if name in ("momentum", "nesterov"):
            settings["momentum"] = self.momentum
        elif name != "sgd":
            settings["epsilon"] = self.epsilon
        if name in ("adam", "adamw"):
            settings |= {"beta1": self.beta_1, "beta2": self.beta_2}
        kind = AdamEpsilonHat if name == "adam" else OPTIMIZERS[name]
        return kind(**settings)


def _is(value: object, word: str) -> bool:
    """Whether a setting is this word; an array, which compares element by element, is not."""
    return isinstance(value, str) and value == word
