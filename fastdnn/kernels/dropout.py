"""Dropout by a counter-based generator: the mask is a function of where a unit stands.

A unit of an example in a step is dropped or kept by a hash of (seed, step, layer, position), so the
mask costs no memory, is the same for any number of threads, and is computed again on the way back.
The hash is two rounds of a 32-bit mixing function with low bias (multiply and xor-shift, constants
found by C. Wellons' search, "Prospecting for hash functions", 2018), keyed in each round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from .emit import I32, emit_splat
from .jit import routine
from .simd import Pointer, at, lanes, load, out_of_line, primitive, store
from .vectors import lane_count, vector_of

_FIRST, _SECOND, _GOLDEN = 0x7FEB352D, 0x846CA68B, 0x9E3779B9
_MASK = 0xFFFFFFFF


@routine
def mix32(x):
    """The mixing function on 32 bits held in a wider integer (or an array of them)."""
    x = x ^ (x >> 16)
    x = (x * _FIRST) & _MASK
    x = x ^ (x >> 15)
    x = (x * _SECOND) & _MASK
    return x ^ (x >> 16)


@routine
def mask_key(seed, step, layer):
    """Key of one layer's mask in one step."""
    key = mix32(seed & _MASK)
    key = mix32(((key ^ (step & _MASK)) + _GOLDEN) & _MASK)
    return mix32(((key ^ layer) + _GOLDEN) & _MASK)


def keep_threshold(rate: float) -> int:
    """Hashes below it keep their unit: (1 - rate) * 2^32; 0 stands for no dropout at all."""
    return 0 if rate == 0.0 else min(max(1, round((1.0 - rate) * 2.0**32)), _MASK)


def _twin_factors(p: Pointer, counter: int, key: int, threshold: int) -> np.ndarray:
    count = lane_count(p.array.dtype)
    position = (np.arange(count, dtype=np.uint64) + np.uint64(counter)) & np.uint64(_MASK)
    hashed = mix32(mix32(position ^ np.uint64(key)) ^ np.uint64(key))
    scale = p.array.dtype.type(2.0**32 / threshold)
    return np.where(hashed < threshold, scale, p.array.dtype.type(0))


@primitive(_twin_factors)
def keep_factors(typing: Any, p: types.CPointer, counter: Any, key: Any, threshold: Any) -> Any:
    """A vector of 1 / (1 - rate) for kept and 0 for dropped units, from position ``counter`` on."""
    vector = vector_of(p.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integers = ir.VectorType(I32, vector.lanes)

        def spread(value: ir.Value) -> ir.Value:
            return emit_splat(builder, builder.trunc(value, I32), integers)

        def constant(value: int) -> ir.Constant:
            return ir.Constant(integers, [value] * vector.lanes)

        def mix(x: ir.Value) -> ir.Value:
            x = builder.xor(x, builder.lshr(x, constant(16)))
            x = builder.mul(x, constant(_FIRST))
            x = builder.xor(x, builder.lshr(x, constant(15)))
            x = builder.mul(x, constant(_SECOND))
            return builder.xor(x, builder.lshr(x, constant(16)))

        index = ir.Constant(integers, list(range(vector.lanes)))
        keys = spread(args[2])
        hashed = mix(builder.xor(builder.add(index, spread(args[1])), keys))
        hashed = mix(builder.xor(hashed, keys))
        kept = builder.icmp_unsigned("<", hashed, spread(args[3]))
        kind = context.get_value_type(vector)
        element = context.get_value_type(p.dtype)
        whole = ir.Constant(element, 2.0**32)
        scale = builder.fdiv(whole, builder.uitofp(args[3], element))
        return builder.select(kept, emit_splat(builder, scale, kind), ir.Constant(kind, None))

    return vector(p, types.int64, types.int64, types.int64), codegen


@routine
def drop_run(values, count, counter, key, threshold):
    """Multiply a run of whole vectors, which stands at ``counter``, with its mask."""
    out_of_line()
    for i in range(0, count, lanes(values)):
        factors = keep_factors(values, counter + i, key, threshold)
        store(at(values, i), load(at(values, i)) * factors)
