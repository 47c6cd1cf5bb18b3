"""Cost and its gradient in one pass over the output layer, examples in lanes.

dZ is not divided by the number of examples (dW is, as in the notebooks). For sigmoid with binary
cross-entropy and softmax with categorical cross-entropy it is AL - Y, the limit that stays finite
where AL is 0 or 1 (of a softmax, given that every column of Y sums to 1); for the mean squared
error it goes through the activation's derivative.
"""

from __future__ import annotations

import numpy as np

from .activations import SOFTMAX, backward1, softmax_backward_columns
from .elementary import log
from .jit import routine
from .simd import (
    absolute,
    at,
    keep_first,
    lanes,
    load,
    out_of_line,
    select,
    smallest_normal,
    splat,
    store,
    sum_lanes,
)

BINARY_CROSSENTROPY, CATEGORICAL_CROSSENTROPY, MSE = range(3)

LOSSES = {
    "binary_crossentropy": BINARY_CROSSENTROPY,
    "categorical_crossentropy": CATEGORICAL_CROSSENTROPY,
    "mse": MSE,
}


@routine
def _floored_log(x, tiny):
    return log(select(x < tiny, tiny, x))


@routine
def cost1(loss, a, y, tiny):
    """Cost of one vector of outputs ``a`` with targets ``y``; 0 log 0 = 0.

    The logarithms end at ``tiny``, the smallest normal number: a confident wrong prediction costs
    87.3 (float32) or 708.4 (float64), not infinity.
    """
    if loss == BINARY_CROSSENTROPY:
        if sum_lanes(absolute(y * (1.0 - y))) == 0:  # labels 0 and 1 leave one of the two, exactly
            return -_floored_log(select(y == 1.0, a, 1.0 - a), tiny)
        return -(y * _floored_log(a, tiny) + (1.0 - y) * _floored_log(1.0 - a, tiny))
    if loss == CATEGORICAL_CROSSENTROPY:
        return -(y * _floored_log(a, tiny))
    return 0.5 * (a - y) * (a - y)


@routine
def output_error(loss, code, dZ, A, Y, weights, weighted, units, width, examples):
    """Writes dZ of one panel (units x width) and returns its summed cost as float64.

    Only the first ``examples`` columns count: dZ of the others is 0, so that they add nothing to
    any gradient. ``weights`` holds a factor for each column where ``weighted``.
    """
    out_of_line()
    lane = lanes(A)
    tiny = smallest_normal(A)
    total = 0.0
    for j in range(0, width, lane):
        left = examples - j
        cost = splat(A, 0.0)
        for i in range(units):
            a = load(at(A, i * width + j))
            y = load(at(Y, i * width + j))
            cost = cost + cost1(loss, a, y, tiny)
            d = a - y
            if loss == MSE and code != SOFTMAX:
                d = backward1(code, d, a)
            if weighted:
                d = d * load(at(weights, j))
            store(at(dZ, i * width + j), keep_first(d, left))
        if weighted:
            cost = cost * load(at(weights, j))
        total += np.float64(sum_lanes(keep_first(cost, left)))
    if loss == MSE and code == SOFTMAX:
        softmax_backward_columns(dZ, dZ, A, units, width, min(width, examples))
    return total
