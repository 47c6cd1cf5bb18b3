"""The optimizers' arithmetic on runs of parameters.

Formulas are those of the papers as PyTorch spells them: ``fastdnn.optimizers`` names them, and
computes for each step the eight scalars a kernel reads (``coefficients``), among them Adam's bias
corrections. ``decay`` is false for biases, which are never decayed.
"""

from __future__ import annotations

import numpy as np

from .jit import routine
from .simd import (
    at,
    fma,
    get,
    lanes,
    load_up_to,
    out_of_line,
    select,
    splat,
    sqrt,
    store_up_to,
    sum_lanes,
)

# Optimizer codes; GRADIENT keeps the gradient instead of applying it.
GRADIENT, SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM, ADAMW = range(7)

# Columns of a step's coefficients.
(
    STEP_SIZE,  # learning rate; Adam: learning rate / (1 - beta1^t)
    WEIGHT_DECAY,  # L2 factor added to the gradient; AdamW: learning rate * weight decay
    FIRST_DECAY,  # momentum, beta1, or RMSProp's decay
    SECOND_DECAY,  # beta2
    FIRST_SHARE,  # 1 - FIRST_DECAY
    SECOND_SHARE,  # 1 - SECOND_DECAY
    DENOMINATOR_SCALE,  # 1 / sqrt(1 - beta2^t)
    EPSILON,
) = range(8)
COEFFICIENTS = 8


@routine
def update_run(code, decay, w, g, scale, first, second, count, coefficients):
    """One optimizer step of ``count`` consecutive parameters ``w`` with gradients ``scale * g``.

    ``first`` and ``second`` are the optimizer's state (momentum or first moment; second moment),
    touched only by the optimizers that have it. Returns whether every new parameter is finite; one
    that would not be keeps its value.
    """
    out_of_line()
    lane = lanes(w)
    step = get(coefficients, STEP_SIZE)
    shrink = get(coefficients, WEIGHT_DECAY)
    if not decay:
        shrink = shrink - shrink
    excess = splat(w, 0.0)
    for i in range(0, count, lane):
        left = count - i
        gradient = load_up_to(at(g, i), left) * scale
        if code == GRADIENT:
            store_up_to(at(first, i), gradient, left)
            continue
        old = load_up_to(at(w, i), left)
        weight = old
        if code == ADAMW:
            weight = weight * (1 - shrink)
        else:
            gradient = fma(weight, shrink, gradient)
        direction = _direction(code, gradient, first, second, i, left, coefficients)
        updated = fma(direction, -step, weight)
        difference = updated - updated  # 0, or NaN where it is not finite
        excess = excess + difference
        store_up_to(at(w, i), select(difference == 0, updated, old), left)
    return sum_lanes(excess) == 0


@routine
def _direction(code, gradient, first, second, i, left, coefficients):
    """What the step size multiplies; updates the optimizer's state."""
    if code == SGD:
        return gradient
    decay = get(coefficients, FIRST_DECAY)
    state = load_up_to(at(first, i), left)
    if code in (MOMENTUM, NESTEROV):
        state = fma(state, decay, gradient)
        store_up_to(at(first, i), state, left)
        return state if code == MOMENTUM else fma(state, decay, gradient)
    share = get(coefficients, FIRST_SHARE)
    epsilon = get(coefficients, EPSILON)
    if code == RMSPROP:
        state = fma(state, decay, gradient * gradient * share)
        store_up_to(at(first, i), state, left)
        return gradient / (sqrt(state) + epsilon)
    state = fma(state, decay, gradient * share)
    store_up_to(at(first, i), state, left)
    square = load_up_to(at(second, i), left)
    square = fma(square, get(coefficients, SECOND_DECAY),
                 gradient * gradient * get(coefficients, SECOND_SHARE))  # fmt: skip
    store_up_to(at(second, i), square, left)
    return state / fma(sqrt(square), get(coefficients, DENOMINATOR_SCALE), epsilon)


@routine
def sum_of_squares(g, count):
    """Sum of the squares of a run of gradients, in float64."""
    out_of_line()
    lane = lanes(g)
    total = 0.0
    part = splat(g, 0.0)
    for i in range(0, count, lane):
        gradient = load_up_to(at(g, i), count - i)
        part = fma(gradient, gradient, part)
        if (i // lane) % 16 == 15:  # short chains keep float32's rounding small
            total += np.float64(sum_lanes(part))
            part = splat(g, 0.0)
    return total + np.float64(sum_lanes(part))
