"""Passes over whole arrays, one call each: the kernels of `fastdnn.kernels.arrays`.

Arguments are checked arrays (see `operand`); results are new arrays, rows contiguous.
"""

from __future__ import annotations

import numpy as np

from fastdnn import checks
from fastdnn.calls import call, team_for
from fastdnn.kernels import arrays as kernels
from fastdnn.kernels.activations import ACTIVATIONS, LEAKY_SLOPE
from fastdnn.memory import Array, flat

from .arrays import common

# Time of one element in multiply-adds of a product, for the cost model: it is read and written.
ELEMENT_COST = 8

# Differences of AL from sigmoid(Z), in units of its last place, that are taken for rounding.
ROUNDING = 4


# Elements below which NumPy's two passes cost less than calling a kernel.
FEW_ELEMENTS = 2048

_ROUNDING = {dtype: ROUNDING * float(np.finfo(dtype).eps) for dtype in checks.FLOAT_TYPES}


def _passes(array: Array, cost: int = ELEMENT_COST) -> int:
    """Threads for a pass over an array."""
    return team_for(cost * array.size)


def _columns_first(*arrays: Array) -> bool:
    """Whether all are contiguous as they stand when transposed, and not all as they are."""
    return all(array.flags.f_contiguous for array in arrays) and not all(
        array.flags.c_contiguous for array in arrays
    )


def activate(name: str, Z: Array, slope: float = LEAKY_SLOPE) -> Array:
    """A = g(Z) for checked Z; rows stay rows in memory, columns columns."""
    if name == "softmax":
        return _softmax(Z)
    if _columns_first(Z):
        return _activate_flat(ACTIVATIONS[name].code, Z.T, slope).T
    return _activate_flat(ACTIVATIONS[name].code, Z, slope)


def _activate_flat(code: int, Z: Array, slope: float) -> Array:
    A = np.empty(Z.shape, Z.dtype)
    call(
        kernels.activate, _passes(Z),
        A.reshape(-1), flat(Z), code, slope,
    )  # fmt: skip
    return A


def _softmax(Z: Array) -> Array:
    _has_units("Z", Z)
    A = np.empty(Z.shape, Z.dtype)
    call(
        kernels.softmax, _passes(Z),
        A.reshape(-1), flat(Z), len(Z),
    )  # fmt: skip
    return A


def _has_units(name: str, array: Array) -> None:
    if array.ndim == 0:
        raise ValueError(f"{name} has shape (), expected (n_l, m): softmax is over the units")


def backward(name: str, dA: Array, Z: Array, slope: float = LEAKY_SLOPE) -> Array:
    """dZ = dA g'(Z) for checked arrays of one shape."""
    dA, Z = common(dA, Z)
    if name != "softmax" and _columns_first(dA, Z):
        return backward(name, dA.T, Z.T, slope).T
    dZ = np.empty(Z.shape, Z.dtype)
    target, passed, at = dZ.reshape(-1), flat(dA), flat(Z)
    if name == "softmax":
        _has_units("Z", Z)
        call(
            kernels.softmax_backward, _passes(Z),
            target, passed, at, len(Z),
        )  # fmt: skip
    else:
        call(
            kernels.backward, _passes(Z),
            target, passed, at, ACTIVATIONS[name].code, slope,
        )  # fmt: skip
    return dZ


def notebook_error(AL: Array, Y: Array, Z: Array) -> Array:
    """dZ of a sigmoid output through dAL, and its limit AL - Y where AL is saturated."""
    AL, Y, Z = common(AL, Y, Z)
    dZ = np.empty(AL.shape, AL.dtype)
    call(
        kernels.notebook_error, _passes(AL),
        dZ.reshape(-1), flat(AL), flat(Y), flat(Z), _ROUNDING[AL.dtype],
    )  # fmt: skip
    return dZ


def step(w: Array, g: Array, rate: float) -> Array:
    """w - rate g; with rate 1 the difference of two arrays."""
    w, g = common(w, g)
    if w.size < FEW_ELEMENTS:
        return np.asarray(w - rate * g)
    out = np.empty(w.shape, w.dtype)
    call(
        kernels.step, _passes(w),
        out.reshape(-1), flat(w), flat(g), rate,
    )  # fmt: skip
    return out


def step_in_place(w: Array, g: Array, rate: float) -> None:
    """w -= rate g."""
    if w.size >= FEW_ELEMENTS and w.dtype is g.dtype and w.flags.c_contiguous:
        target = w.reshape(-1)
        call(
            kernels.step, _passes(w),
            target, target, flat(g), rate,
        )  # fmt: skip
    else:
        w[...] = step(w, g, rate)


def row_sums(dZ: Array, scale: float) -> Array:
    """scale * sum of each row, as a column."""
    out = np.empty((len(dZ), 1), dZ.dtype)
    call(
        kernels.row_sums, _passes(dZ),
        out.reshape(-1), flat(dZ), scale,
    )  # fmt: skip
    return out


def summed_cost(AL: Array, Y: Array, loss: int) -> float:
    """Sum of the loss over all outputs and examples, of arrays of one dtype and shape."""
    partial = np.empty(kernels.cost_runs(AL.size))
    call(
        kernels.cost, _passes(AL, 4 * ELEMENT_COST),
        partial, flat(AL), flat(Y), loss,
    )  # fmt: skip
    return float(partial[0])
