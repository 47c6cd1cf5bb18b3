"""Optimizers: how a parameter w moves along its gradient g.

Every optimizer is one function ``rule(w, g, state, learning_rate, ...)`` that returns the new w,
and one entry of `OPTIMIZERS`. `state` is a dict, empty before the first step, in which the rule
keeps what it has to remember about this parameter. The formulas are PyTorch's.
`optimizer_step` applies a rule to all parameters of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .inputs import Array, chosen

State = dict[str, Any]


def sgd(w: Array, g: Array, state: State, learning_rate: float) -> Array:
    """Gradient descent: w - lr g.

    Examples
    --------
    >>> sgd(np.array([1.0]), np.array([2.0]), {}, 0.1)
    array([0.8])
    """
    moved: Array = w - learning_rate * g
    return moved


def momentum(
    w: Array, g: Array, state: State, learning_rate: float, *, momentum: float = 0.9
) -> Array:
    """Gradient descent with a heavy ball: v = mu v + g; w - lr v.

    Polyak (1964), Some methods of speeding up the convergence of iteration methods.

    Examples
    --------
    >>> state = {}
    >>> momentum(np.array([1.0]), np.array([2.0]), state, 0.1), state["v"]
    (array([0.8]), array([2.]))
    """
    v = state["v"] = momentum * state.get("v", 0.0) + g
    moved: Array = w - learning_rate * v
    return moved


def nesterov(
    w: Array, g: Array, state: State, learning_rate: float, *, momentum: float = 0.9
) -> Array:
    """Momentum that looks ahead: v = mu v + g; w - lr (g + mu v), with the new v.

    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning.

    Examples
    --------
    >>> nesterov(np.array([1.0]), np.array([2.0]), {}, 0.1)
    array([0.62])
    """
    v = state["v"] = momentum * state.get("v", 0.0) + g
    moved: Array = w - learning_rate * (g + momentum * v)
    return moved


def rmsprop(
    w: Array,
    g: Array,
    state: State,
    learning_rate: float,
    *,
    decay: float = 0.99,
    epsilon: float = 1e-8,
) -> Array:
    """Steps in units of the recent gradients: s = a s + (1 - a) g^2; w - lr g / (sqrt(s) + eps).

    Tieleman and Hinton (2012), Lecture 6.5 of Neural Networks for Machine Learning.

    Examples
    --------
    >>> rmsprop(np.array([1.0]), np.array([2.0]), {}, 0.01)
    array([0.9])
    """
    s = state["s"] = decay * state.get("s", 0.0) + (1.0 - decay) * g**2
    moved: Array = w - learning_rate * g / (np.sqrt(s) + epsilon)
    return moved


def adam(
    w: Array,
    g: Array,
    state: State,
    learning_rate: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Array:
    """Momentum in units of the recent gradients, both corrected for their start at zero.

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    w - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps) in step t = 1, 2, ...

    Kingma and Ba (2015), Adam: a method for stochastic optimization.

    Examples
    --------
    >>> adam(np.array([1.0]), np.array([2.0]), {}, 0.1)
    array([0.9])
    """
    t = state["t"] = state.get("t", 0) + 1
    m = state["m"] = beta1 * state.get("m", 0.0) + (1.0 - beta1) * g
    v = state["v"] = beta2 * state.get("v", 0.0) + (1.0 - beta2) * g**2
    step = learning_rate / (1.0 - beta1**t)
    moved: Array = w - step * m / (np.sqrt(v) / (1.0 - beta2**t) ** 0.5 + epsilon)
    return moved


def adamw(
    w: Array,
    g: Array,
    state: State,
    learning_rate: float,
    *,
    weight_decay: float = 0.01,
    **moments: float,
) -> Array:
    """Adam with decoupled weight decay: w = (1 - lr wd) w, then `adam`.

    Loshchilov and Hutter (2019), Decoupled weight decay regularization.

    Examples
    --------
    >>> adamw(np.array([1.0]), np.array([2.0]), {}, 0.1)
    array([0.899])
    """
    return adam((1.0 - learning_rate * weight_decay) * w, g, state, learning_rate, **moments)


OPTIMIZERS: dict[str, Callable[..., Array]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}


def clip_by_global_norm(grads: Mapping[str, Array], clip_norm: float) -> dict[str, Array]:
    """Scale all dW and db by one factor, so that their joint norm is at most clip_norm.

    The factor is min(1, clip_norm / (norm + 1e-6)); the 1e-6 is PyTorch's guard against a norm
    of zero.

    Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks.

    Parameters
    ----------
    grads : dict
        Entries other than dW and db (the dA) are left out.
    clip_norm : float

    Returns
    -------
    clipped : dict
        dW1, db1, ..., new arrays only where clipping changes them.

    Examples
    --------
    >>> clipped = clip_by_global_norm({"dW1": np.array([[3.0]]), "db1": np.array([[4.0]])}, 1.0)
    >>> clipped["dW1"].round(6), clipped["db1"].round(6)
    (array([[0.6]]), array([[0.8]]))
    """
    gradients = {name: g for name, g in grads.items() if name.startswith(("dW", "db"))}
    squares = [np.sum(np.square(g, dtype=np.float64)) for g in gradients.values()]
    norm = float(np.sqrt(np.sum(squares)))
    factor = clip_norm / (norm + 1e-6)
    return {name: factor * g if factor < 1.0 else g for name, g in gradients.items()}


def l2_penalty(parameters: Mapping[str, Array], weight_decay: float) -> float:
    """The term of the cost whose gradient weight decay adds: wd / 2 sum(W^2), without biases.

    Examples
    --------
    >>> l2_penalty({"W1": np.array([[3.0]]), "b1": np.array([[4.0]])}, 0.5)
    2.25
    """
    weights = [w for name, w in parameters.items() if name.startswith("W")]
    return 0.5 * weight_decay * float(sum(np.sum(w**2) for w in weights))


def optimizer_step(
    parameters: Mapping[str, Array],
    grads: Mapping[str, Array],
    state: dict[str, State],
    learning_rate: float,
    *,
    optimizer: str = "sgd",
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    **hyper: float,
) -> dict[str, Array]:
    """One step of an optimizer for all parameters of a network.

    In this order: clip the gradients by their joint norm; add wd W to dW (L2 weight decay, for
    adamw the decoupled one instead; never for biases); move.

    Parameters
    ----------
    parameters : dict
    grads : dict
    state : dict
        Empty before the first step; the caller keeps it from step to step.
    learning_rate : float
    optimizer : str
        A name in `OPTIMIZERS`.
    weight_decay : float, optional
        0 by default, and 0.01 for adamw.
    clip_norm : float, optional
        No clipping by default.
    **hyper : float
        Those of the optimizer: momentum, decay, beta1, beta2, epsilon.

    Returns
    -------
    parameters : dict
        A new one; the arrays of the old one are not changed.

    Raises
    ------
    ValueError
        If there is no such optimizer.

    Examples
    --------
    >>> parameters, grads = {"W1": np.array([[1.0]])}, {"dW1": np.array([[2.0]])}
    >>> optimizer_step(parameters, grads, {}, 0.1, weight_decay=1.0)
    {'W1': array([[0.7]])}
    """
    rule = chosen(OPTIMIZERS, optimizer, "optimizer")
    learning_rate = float(learning_rate)  # a NumPy scalar would turn float32 into float64
    decoupled = optimizer == "adamw"
    if weight_decay is None:
        weight_decay = 0.01 if decoupled else 0.0
    if clip_norm is not None:
        grads = clip_by_global_norm(grads, clip_norm)
    moved = {}
    for name, w in parameters.items():
        g, memory = grads["d" + name], state.setdefault(name, {})
        decay = weight_decay if name.startswith("W") else 0.0
        if decoupled:
            moved[name] = rule(w, g, memory, learning_rate, weight_decay=decay, **hyper)
        else:
            moved[name] = rule(w, g + decay * w, memory, learning_rate, **hyper)
    return moved
