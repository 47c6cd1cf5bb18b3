"""Optimizers: hyper-parameters, and the scalars of every step.

No parameter is touched here. An optimizer is a frozen dataclass that turns its hyper-parameters
into a small table, one row per step, which the compiled update reads. Its columns and the codes of
the optimizers are the constants of `fastdnn.kernels.updates`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastdnn import checks
from fastdnn.kernels import updates

from .schedules import ScheduleLike, resolve_schedule


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Hyper-parameters shared by every optimizer; use one of its subclasses.

    Parameters
    ----------
    learning_rate : float >= 0, optional
        None stands for `default_learning_rate` of the class.
    weight_decay : float >= 0
        L2: adds weight_decay W to the gradient of the weights W, never of the biases b; but see
        `AdamW`.
    schedule : str or callable, optional
        A name of `SCHEDULES`, a schedule object, or any ``epoch -> multiplier``.

    Raises
    ------
    TypeError, ValueError
        For a hyper-parameter that is no number, or out of range.
    """

    learning_rate: float | None = None
    weight_decay: float = 0.0
    schedule: ScheduleLike = None

    name: ClassVar[str]
    code: ClassVar[int]
    n_states: ClassVar[int]
    default_learning_rate: ClassVar[float]
    corrects_bias: ClassVar[bool] = False  # of its moments, by the number of the step

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            checks.learning_rate(self.learning_rate)
        checks.real_number("weight_decay", self.weight_decay, at_least=0)
        resolve_schedule(self.schedule)

    @property
    def base_learning_rate(self) -> float:
        """The learning rate before the schedule: the one given, or the default of the class."""
        return self.default_learning_rate if self.learning_rate is None else self.learning_rate

    @property
    def l2(self) -> float:
        """Factor of sum(W^2) / 2 in what is minimised: the weight decay, where it is that."""
        return self.weight_decay

    def coefficients(
        self, first_step: int, n_steps: int, learning_rates: ArrayLike, dtype: DTypeLike
    ) -> NDArray[Any]:
        """Scalars of the steps t = first_step ... first_step + n_steps - 1, for the kernels.

        Computed in float64 and rounded once to `dtype`, so that 1 - beta is exact to `dtype`.

        Parameters
        ----------
        first_step : int
            The number t of the first step; the very first step of a training is 1.
        n_steps : int
        learning_rates : float or array_like of shape (n_steps,)
            Learning rate of each step, the schedule's multiplier included.
        dtype : dtype
            float32 or float64, the type of the parameters.

        Returns
        -------
        table : ndarray of shape (n_steps, 8)
            Read-only, and all rows the same memory, where they are alike. The columns:

            ====================  =========================================================
            `STEP_SIZE`           lr; Adam and AdamW: lr / (1 - beta1^t)
            `WEIGHT_DECAY`        L2 factor, dW += c W; AdamW: lr wd, for W *= 1 - c
            `FIRST_DECAY`         momentum, RMSProp's decay, or beta1
            `SECOND_DECAY`        beta2
            `FIRST_SHARE`         1 - `FIRST_DECAY`
            `SECOND_SHARE`        1 - `SECOND_DECAY`
            `DENOMINATOR_SCALE`   c in the denominator c sqrt(v) + eps: Adam and AdamW
                                  1 / sqrt(1 - beta2^t), others 1
            `EPSILON`             eps
            ====================  =========================================================

        Raises
        ------
        ValueError
            If a learning rate is negative or not finite, or a scalar does not fit `dtype`.

        Examples
        --------
        >>> SGD(weight_decay=0.5).coefficients(1, 1, 0.25, "float64")
        array([[0.25, 0.5 , 0.  , 0.  , 1.  , 1.  , 1.  , 0.  ]])
        """
        first_step = checks.whole_number("first_step", first_step)
        n_steps = checks.whole_number("n_steps", n_steps)
        rates = np.asarray(learning_rates, dtype=np.float64)
        if rates.shape not in ((), (n_steps,)):
            raise ValueError(f"learning_rates has shape {rates.shape}, expected () or ({n_steps},)")
        good = np.isfinite(rates) & (rates >= 0)
        if not good.all():
            bad = rates[~good].item(0)
            raise ValueError(f"learning_rates holds {bad}, expected finite numbers >= 0")
        # One row for all steps where they are alike: to write each would take 50 ns, 3 % of a small
        # network's step.
        rows = n_steps if rates.shape or self.corrects_bias else min(1, n_steps)
        table = np.zeros((rows, updates.COEFFICIENTS))
        table[:, updates.STEP_SIZE] = rates
        table[:, updates.WEIGHT_DECAY] = self.weight_decay
        table[:, updates.DENOMINATOR_SCALE] = 1.0
        self._fill(table, np.arange(first_step, first_step + rows, dtype=np.float64))
        table[:, updates.FIRST_SHARE] = 1.0 - table[:, updates.FIRST_DECAY]
        table[:, updates.SECOND_SHARE] = 1.0 - table[:, updates.SECOND_DECAY]
        rounded = self._rounded(table, checks.float_dtype("dtype", dtype))
        return rounded if rows == n_steps else np.broadcast_to(rounded, (n_steps, rounded.shape[1]))

    def _fill(self, table: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        """Write the columns in which this optimizer differs from plain gradient descent."""

    def _rounded(self, table: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore", under="ignore"):
            rounded = table.astype(dtype)
        # An overflow makes every parameter infinite; an epsilon of zero makes 0 / 0 of a unit
        # that never fires. Both would surface far from their cause.
        for column, what in (
            (updates.STEP_SIZE, "learning_rate"),
            (updates.WEIGHT_DECAY, "weight_decay"),
        ):
            if not np.isfinite(rounded[:, column]).all():
                raise ValueError(f"{what} {table[:, column].max():g} does not fit in {dtype}")
        if ((rounded[:, updates.EPSILON] == 0) & (table[:, updates.EPSILON] > 0)).any():
            raise ValueError(f"epsilon {table[0, updates.EPSILON]:g} is zero in {dtype}")
        return rounded


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Gradient descent: w -= lr g.

    Parameters
    ----------
    learning_rate, weight_decay, schedule
        As of `Optimizer`; the learning rate is 0.01 if it is not given.

    Examples
    --------
    >>> SGD(learning_rate=0.1).base_learning_rate
    0.1
    """

    name = "sgd"
    code = updates.SGD
    n_states = 0
    default_learning_rate = 0.01


@dataclass(frozen=True, kw_only=True)
class Momentum(Optimizer):
    """Heavy-ball momentum: v = mu v + g; w -= lr v.

    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods",
    USSR Comp. Math. and Math. Phys. 4(5), 1964.

    Parameters
    ----------
    learning_rate, weight_decay, schedule
        As of `Optimizer`; the learning rate is 0.01 if it is not given.
    momentum : float in [0, 1)
        mu.

    Examples
    --------
    >>> Momentum(momentum=0.5).n_states
    1
    """

    momentum: float = 0.9

    name = "momentum"
    code = updates.MOMENTUM
    n_states = 1
    default_learning_rate = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.probability("momentum", self.momentum)

    def _fill(self, table: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        table[:, updates.FIRST_DECAY] = self.momentum


@dataclass(frozen=True, kw_only=True)
class Nesterov(Momentum):
    """Nesterov momentum: v = mu v + g; w -= lr (g + mu v).

    Y. Nesterov, "A method of solving a convex programming problem with convergence rate
    O(1/k^2)", Soviet Math. Doklady 27, 1983; in the form of I. Sutskever et al., "On the
    importance of initialization and momentum in deep learning", ICML 2013.

    Parameters
    ----------
    learning_rate, weight_decay, schedule
        As of `Optimizer`; the learning rate is 0.01 if it is not given.
    momentum : float in [0, 1)
        mu.

    Examples
    --------
    >>> Nesterov().momentum
    0.9
    """

    name = "nesterov"
    code = updates.NESTEROV


@dataclass(frozen=True, kw_only=True)
class RMSProp(Optimizer):
    """RMSProp: s = a s + (1 - a) g^2; w -= lr g / (sqrt(s) + eps).

    T. Tieleman and G. Hinton, "Lecture 6.5 - rmsprop", Neural Networks for Machine Learning,
    Coursera, 2012.

    Parameters
    ----------
    learning_rate, weight_decay, schedule
        As of `Optimizer`; the learning rate is 0.001 if it is not given.
    decay : float in [0, 1)
        a.
    epsilon : float > 0
        eps.

    Examples
    --------
    >>> RMSProp(decay=0.9).decay
    0.9
    """

    decay: float = 0.99
    epsilon: float = 1e-8

    name = "rmsprop"
    code = updates.RMSPROP
    n_states = 1
    default_learning_rate = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.probability("decay", self.decay)
        checks.real_number("epsilon", self.epsilon, above=0)

    def _fill(self, table: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        table[:, updates.FIRST_DECAY] = self.decay
        table[:, updates.EPSILON] = self.epsilon


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam: m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr m' / (sqrt(v') + eps).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) correct the bias of the start. Weight decay is
    L2: added to the gradient. D. P. Kingma and J. Ba, "Adam: a method for stochastic
    optimization", ICLR 2015.

    Parameters
    ----------
    learning_rate, weight_decay, schedule
        As of `Optimizer`; the learning rate is 0.001 if it is not given.
    beta1, beta2 : float in [0, 1)
        b1, b2.
    epsilon : float > 0
        eps.

    Examples
    --------
    >>> step = Adam().coefficients(1, 1, 0.001, "float64")[0]
    >>> round(float(step[updates.STEP_SIZE]), 12)  # 0.001 / (1 - 0.9)
    0.01
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    name = "adam"
    code = updates.ADAM
    n_states = 2
    corrects_bias = True
    default_learning_rate = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.probability("beta1", self.beta1)
        checks.probability("beta2", self.beta2)
        checks.real_number("epsilon", self.epsilon, above=0)

    def _fill(self, table: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        table[:, updates.FIRST_DECAY] = self.beta1
        table[:, updates.SECOND_DECAY] = self.beta2
        table[:, updates.STEP_SIZE] /= _one_minus_power(self.beta1, t)
        table[:, updates.DENOMINATOR_SCALE] = 1.0 / np.sqrt(_one_minus_power(self.beta2, t))
        table[:, updates.EPSILON] = self.epsilon


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: W *= 1 - lr wd, then Adam's step.

    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Parameters
    ----------
    learning_rate : float >= 0, optional
        0.001 if it is not given.
    weight_decay : float >= 0
        wd, which is no part of the cost.
    schedule : str or callable, optional
    beta1, beta2, epsilon
        As of `Adam`.

    Examples
    --------
    >>> AdamW().weight_decay
    0.01
    """

    weight_decay: float = 0.01

    name = "adamw"
    code = updates.ADAMW

    @property
    def l2(self) -> float:
        """None: the weights decay apart from the cost."""
        return 0.0

    def _fill(self, table: NDArray[np.float64], t: NDArray[np.float64]) -> None:
        table[:, updates.WEIGHT_DECAY] *= table[:, updates.STEP_SIZE]
        super()._fill(table, t)


def _one_minus_power(beta: float, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - beta^t without cancellation where beta^t is near 1."""
    with np.errstate(divide="ignore"):  # beta = 0: log is -inf, the result 1
        power: NDArray[np.float64] = -np.expm1(t * np.log1p(beta - 1.0))
    return power


OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.name: cls for cls in (SGD, Momentum, Nesterov, RMSProp, Adam, AdamW)
}


def resolve(
    optimizer: str | Optimizer,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    schedule: ScheduleLike = None,
) -> Optimizer:
    """The optimizer meant by a name or an object, with the learning rate filled in.

    Parameters
    ----------
    optimizer : str or Optimizer
        A name of `OPTIMIZERS` or an object carrying its hyper-parameters.
    learning_rate, weight_decay : float, optional
    schedule : str or callable, optional
        None leaves what the object carries, or the default of its class. A value is an error
        where the object carries another one that is not the default of its class.

    Raises
    ------
    ValueError
        For an unknown name, or a learning rate, weight decay or schedule given twice.
    TypeError
        If `optimizer` is neither a name nor an optimizer.

    Examples
    --------
    >>> resolve("momentum", 0.1)
    Momentum(learning_rate=0.1, weight_decay=0.0, schedule=None, momentum=0.9)
    """
    if isinstance(optimizer, str):
        chosen = OPTIMIZERS[checks.choice("optimizer", optimizer, OPTIMIZERS)]()
    elif isinstance(optimizer, Optimizer):
        chosen = optimizer
    else:
        raise TypeError(
            f"optimizer is {optimizer!r}, expected one of {', '.join(OPTIMIZERS)} "
            "or an object such as Adam(beta1=0.9)"
        )
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "schedule": schedule}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, value in changes.items():
        own, default = getattr(chosen, name), getattr(type(chosen), name)
        if own not in (default, value):
            raise ValueError(
                f"{name} is given twice: {own!r} by {type(chosen).__name__} and {value!r} "
                f"by the call; give one"
            )
    changes.setdefault("learning_rate", chosen.base_learning_rate)
    return replace(chosen, **changes)
