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

# The largest float32, shrunk so much, has a square of which thousands add up to a float32.
SHRINK = 2.0**-70


@routine
def update_rows(
    code, decay, w, stride, g, g_stride, scale, first, second, rows, count, coefficients
):
    """One optimizer step of ``rows`` rows of ``count`` parameters with gradients ``scale * g``.

    Rows of the parameters ``w`` and of the optimizer's state, ``first`` and ``second`` (momentum or
    first moment; second moment), are ``stride`` apart, those of ``g`` ``g_stride``. Only optimizers
    that have a state touch it. Returns whether every new parameter is finite; one that would not be
    keeps its value.
    """
    out_of_line()
    lane = lanes(w)
    whole = count // lane * lane
    excess = splat(w, 0.0)
    for row in range(rows):
        p, q = at(w, row * stride), at(g, row * g_stride)
        m, v = at(first, row * stride), at(second, row * stride)
        for i in range(0, whole, lane):
            excess = excess + _update_vector(
                code, decay, at(p, i), at(q, i), scale, at(m, i), at(v, i), lane, coefficients
            )
        if whole < count:
            excess = excess + _update_vector(
                code, decay, at(p, whole), at(q, whole), scale, at(m, whole), at(v, whole),
                count - whole, coefficients,
            )  # fmt: skip
    return sum_lanes(excess) == 0


@routine
def _update_vector(code, decay, w, g, scale, first, second, left, coefficients):
    """The first ``left`` parameters at ``w``; returns 0, or NaN where a new one is not finite."""
    gradient = load_up_to(g, left) * scale
    if code == GRADIENT:
        store_up_to(first, gradient, left)
        return splat(w, 0.0)
    old = load_up_to(w, left)
    weight = old
    if decay and code == ADAMW:
        weight = weight * (1 - get(coefficients, WEIGHT_DECAY))
    elif decay:
        gradient = fma(weight, get(coefficients, WEIGHT_DECAY), gradient)
    direction = _direction(code, gradient, first, second, left, coefficients)
    updated = fma(direction, -get(coefficients, STEP_SIZE), weight)
    difference = updated - updated
    store_up_to(w, select(difference == 0, updated, old), left)
    return difference


@routine
def _direction(code, gradient, first, second, left, coefficients):
    """What the step size multiplies; updates the optimizer's state.

    It is NaN where the mean of squares is infinite, which would hold its parameter for ever.
    """
    if code == SGD:
        return gradient
    decay = get(coefficients, FIRST_DECAY)
    state = load_up_to(first, left)
    if code in (MOMENTUM, NESTEROV):
        state = fma(state, decay, gradient)
        store_up_to(first, state, left)
        return state if code == MOMENTUM else fma(state, decay, gradient)
    share = get(coefficients, FIRST_SHARE)
    epsilon = get(coefficients, EPSILON)
    if code == RMSPROP:
        state = fma(state, decay, gradient * gradient * share)
        store_up_to(first, state, left)
        return gradient / (sqrt(state) + epsilon) + (state - state)
    state = fma(state, decay, gradient * share)
    store_up_to(first, state, left)
    square = load_up_to(second, left)
    square = fma(square, get(coefficients, SECOND_DECAY),
                 gradient * gradient * get(coefficients, SECOND_SHARE))  # fmt: skip
    store_up_to(second, square, left)
    direction = state / fma(sqrt(square), get(coefficients, DENOMINATOR_SCALE), epsilon)
    return direction + (square - square)


@routine
def sum_of_squares(g, stride, rows, count):
    """Sum of the squares of ``rows`` rows of ``count`` gradients, ``stride`` apart.

    It is a float64, and finite for all gradients in float32, also where a square is no float32.
    """
    total = _sum_of_squares(g, stride, rows, count, 1.0)
    if total == np.inf:
        total = _sum_of_squares(g, stride, rows, count, SHRINK) / (SHRINK * SHRINK)
    return total


@routine
def _sum_of_squares(g, stride, rows, count, scale):
    """The same of ``scale * g``."""
    out_of_line()
    lane = lanes(g)
    total = 0.0
    for row in range(rows):
        part = splat(g, 0.0)
        for i in range(0, count, lane):
            gradient = load_up_to(at(g, row * stride + i), count - i) * scale
            part = fma(gradient, gradient, part)
            if (i // lane) % 16 == 15:  # short chains keep float32's rounding small
                total += np.float64(sum_lanes(part))
                part = splat(g, 0.0)
        total += np.float64(sum_lanes(part))
    return total
