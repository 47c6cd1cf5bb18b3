"""Whole arrays at a time: activations, derivatives, cost, output error, update, sums of rows.

These are the kernels behind the single calls of ``fastdnn.functional``; a training step does the
same work tile by tile. Arrays are flat and contiguous, outputs come first, and an output may be an
input. A team shares out pieces of ``PIECE`` elements, whole columns, or whole rows; every sum runs
in an order that depends on shapes only.
"""

from __future__ import annotations

import numpy as np

from . import elementary
from .activations import (
    LEAKY_RELU,
    RELU,
    SIGMOID,
    SOFTPLUS,
    TANH,
    activate1,
    activate_run,
    backward1,
    backward_run,
    leaky_relu1,
    leaky_relu1_backward,
    softmax_backward_columns,
    softmax_columns,
)
from .jit import kernel, routine
from .losses import cost1
from .simd import (
    absolute,
    at,
    fma,
    lanes,
    load,
    load_up_to,
    out_of_line,
    pointer,
    put,
    select,
    smallest_normal,
    splat,
    store_up_to,
    sum_lanes,
)
from .team import RESULT, arrives_last, atomic_add, share

# Elements of a piece of work, and of a run whose sum is added to the total in float64.
PIECE = 1024

# Below, costs are added one by one: NumPy's order, hence the last digit that notebooks print.
ONE_BY_ONE = 8


@routine
def backward_from_z1(code, dA, z, slope):
    """dZ = dA g'(z) from z itself, with any slope for the leaky relu.

    The derivatives that vanish on both sides are written with e = exp(-|z|), which keeps their
    relative precision where a = g(z) has long been rounded to 1.
    """
    if code == LEAKY_RELU:
        return leaky_relu1_backward(dA, z, slope)
    if code == SIGMOID:
        e = elementary.exp(-absolute(z))
        return dA * (e / ((e + 1.0) * (e + 1.0)))
    if code == TANH:
        e = elementary.exp(absolute(z) * -2.0)
        return dA * (e * 4.0 / ((e + 1.0) * (e + 1.0)))
    if code == SOFTPLUS:
        return dA * elementary.sigmoid(z)
    return backward1(code, dA, activate1(code, z))


@routine
def notebook_error1(a, y, s, tiny, rounding):
    """dZ = -(y / a - (1 - y) / (1 - a)) s (1 - s), with s = sigmoid(z).

    Where a is 0 or 1 its limit a - y. The same where a is s up to ``rounding``, since another
    sigmoid's last digit would come out amplified by 1 / (1 - a).
    """
    b = 1.0 - a
    error = a - y
    dA = (1.0 - y) / b - y / a
    dZ = dA * (s * (1.0 - s))
    dZ = select(absolute(a) < tiny, error, dZ)
    dZ = select(absolute(b) < tiny, error, dZ)
    return select(absolute(a - s) <= s * rounding, error, dZ)


@routine
def _pieces(member, team, count):
    """This member's range of ``count`` elements, in whole pieces."""
    first, end = share(member, team, (count + PIECE - 1) // PIECE)
    return first * PIECE, min(end * PIECE, count)


@routine
def all_finite(x, count):
    """Whether ``count`` elements hold neither a NaN nor an infinity."""
    out_of_line()
    excess = splat(x, 0.0)
    for i in range(0, count, lanes(x)):
        v = load_up_to(at(x, i), count - i)
        excess = excess + (v - v)  # 0, or NaN
    return sum_lanes(excess) == 0


@kernel
def count_not_finite(member, counters, team, x):
    """counters[RESULT] = members that met a NaN or an infinity in their share of x."""
    first, end = _pieces(member, team, x.size)
    if not all_finite(pointer(x, first), end - first):
        atomic_add(counters, RESULT, 1)


# --- activations and their derivatives -----------------------------------------------------------


@kernel
def activate(member, counters, team, A, Z, code, slope):
    """A = g(Z) element by element; ``slope`` is the leaky relu's, which is any number here."""
    p, q, lane = pointer(A, 0), pointer(Z, 0), lanes(pointer(A, 0))
    first, end = _pieces(member, team, A.size)
    if code != LEAKY_RELU:
        activate_run(code, at(p, first), at(q, first), end - first)
        return
    for i in range(first, end, lane):
        store_up_to(at(p, i), leaky_relu1(load_up_to(at(q, i), end - i), slope), end - i)


@kernel
def backward(member, counters, team, dZ, dA, Z, code, slope):
    """dZ = dA g'(Z) element by element."""
    p, q, r, lane = pointer(dZ, 0), pointer(dA, 0), pointer(Z, 0), lanes(pointer(dZ, 0))
    first, end = _pieces(member, team, dZ.size)
    if code == RELU:  # z <= 0 where a <= 0
        backward_run(code, at(p, first), at(q, first), at(r, first), 1.0, end - first)
        return
    for i in range(first, end, lane):
        d, z = load_up_to(at(q, i), end - i), load_up_to(at(r, i), end - i)
        store_up_to(at(p, i), backward_from_z1(code, d, z, slope), end - i)


@routine
def _columns(member, team, lane, columns):
    """This member's range of columns, in whole vectors."""
    first, end = share(member, team, (columns + lane - 1) // lane)
    return first * lane, min(end * lane, columns)


@kernel
def softmax(member, counters, team, A, Z, units):
    """A = softmax(Z) over the rows of a (units x m) array."""
    columns = A.size // units
    first, end = _columns(member, team, lanes(pointer(A, 0)), columns)
    softmax_columns(pointer(A, first), pointer(Z, first), units, columns, end - first)


@kernel
def softmax_backward(member, counters, team, dZ, dA, Z, units):
    """dZ = A (dA - sum(dA A)) with A = softmax(Z); dZ is neither dA nor Z."""
    columns = dZ.size // units
    first, end = _columns(member, team, lanes(pointer(dZ, 0)), columns)
    A, count = pointer(dZ, first), end - first
    softmax_columns(A, pointer(Z, first), units, columns, count)
    softmax_backward_columns(A, pointer(dA, first), A, units, columns, count)


# --- cost and error of the output ----------------------------------------------------------------


@routine
def _cost_run(loss, AL, Y, count):
    """Summed cost of consecutive outputs; the zeros beyond the last one cost nothing."""
    out_of_line()
    lane, tiny = lanes(AL), smallest_normal(AL)
    total = splat(AL, 0.0)
    for i in range(0, count, lane):
        a, y = load_up_to(at(AL, i), count - i), load_up_to(at(Y, i), count - i)
        total = total + cost1(loss, a, y, tiny)
    return np.float64(sum_lanes(total))


@kernel
def cost(member, counters, team, partial, AL, Y, loss):
    """partial[0] = summed cost of all outputs, through a partial sum for each run."""
    run = 1 if AL.size < ONE_BY_ONE else PIECE
    first, end = share(member, team, partial.size)
    for i in range(first, end):
        start = i * run
        partial[i] = _cost_run(
            loss, pointer(AL, start), pointer(Y, start), min(run, AL.size - start)
        )
    if arrives_last(counters, team):
        total = 0.0
        for i in range(partial.size):
            total += partial[i]
        partial[0] = total


def cost_runs(count: int) -> int:
    """Partial sums of the cost of ``count`` outputs."""
    return count if count < ONE_BY_ONE else -(-count // PIECE)


@kernel
def notebook_error(member, counters, team, dZ, AL, Y, Z, rounding):
    """dZ of a sigmoid output through dAL, as the notebooks compute it: see ``notebook_error1``."""
    p, q, r, s = pointer(dZ, 0), pointer(AL, 0), pointer(Y, 0), pointer(Z, 0)
    lane, tiny = lanes(p), smallest_normal(p)
    first, end = _pieces(member, team, dZ.size)
    for i in range(first, end, lane):
        left = end - i
        a, y = load_up_to(at(q, i), left), load_up_to(at(r, i), left)
        sigmoid = elementary.sigmoid(load_up_to(at(s, i), left))
        store_up_to(at(p, i), notebook_error1(a, y, sigmoid, tiny, rounding), left)


# --- update and sums -----------------------------------------------------------------------------


@kernel
def step(member, counters, team, out, w, g, rate):
    """out = w - rate g; out may be w."""
    p, q, r, lane = pointer(out, 0), pointer(w, 0), pointer(g, 0), lanes(pointer(out, 0))
    first, end = _pieces(member, team, out.size)
    for i in range(first, end, lane):
        v = fma(load_up_to(at(r, i), end - i), -rate, load_up_to(at(q, i), end - i))
        store_up_to(at(p, i), v, end - i)


@routine
def _sum_run(p, count):
    """Sum of consecutive elements, four vectors at a time."""
    out_of_line()
    lane = lanes(p)
    zero = splat(p, 0.0)
    a, b, c, d = zero, zero, zero, zero
    i = 0
    while i + 4 * lane <= count:
        a = a + load(at(p, i))
        b = b + load(at(p, i + lane))
        c = c + load(at(p, i + 2 * lane))
        d = d + load(at(p, i + 3 * lane))
        i += 4 * lane
    while i < count:
        a = a + load_up_to(at(p, i), count - i)
        i += lane
    return np.float64(sum_lanes((a + b) + (c + d)))


@kernel
def row_sums(member, counters, team, out, dZ, scale):
    """out[i] = scale * sum of row i of dZ, added up in float64."""
    rows = out.size
    columns = dZ.size // rows
    first, end = share(member, team, rows)
    for i in range(first, end):
        total = 0.0
        for j in range(0, columns, PIECE):
            total += _sum_run(pointer(dZ, i * columns + j), min(PIECE, columns - j))
        put(pointer(out, 0), i, total * scale)
