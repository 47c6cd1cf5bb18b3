"""The caller's arrays and numbers, checked; arrays that meet in one dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdnn import checks
from fastdnn.memory import Array

_FLOAT32, _FLOAT64 = checks.FLOAT_TYPES
_ANY_NDIM = tuple(range(65))


def operand(name: str, value: Any, ndim: int | None = None) -> Array:
    """An array of float32 or float64: `value` itself where it is one, else cast to float64."""
    if type(value) is np.ndarray and (value.dtype is _FLOAT64 or value.dtype is _FLOAT32):
        fits = ndim is None or value.ndim == ndim
        if fits and value.size > 0 and value.flags.aligned:
            return value
    return checks.float_array(name, value, ndim=_ANY_NDIM if ndim is None else ndim)


def number(name: str, value: Any) -> float:
    """A finite float; one that is one is not looked at further, for what is called every step."""
    if type(value) is float and math.isfinite(value):
        return value
    return checks.real_number(name, value)


def common(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in one precision: float64 unless all are float32."""
    first = arrays[0].dtype
    for array in arrays:
        if array.dtype is not first:
            dtype = np.result_type(*arrays)
            return tuple(array.astype(dtype, copy=False) for array in arrays)
    return arrays


def same_shape(name: str, array: Array, like_name: str, like: Array) -> None:
    """Raise unless two arrays have the same shape."""
    if array.shape != like.shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {like.shape}, the shape of {like_name}"
        )
