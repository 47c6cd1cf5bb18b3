"""Vectors and pointers as values of compiled code: the vocabulary in which kernels are written.

Numba's own vectoriser stops at 256 bits on Intel, has no vector exp, and needs a runtime check
wherever two arrays might overlap. Here a kernel says what it means: it loads a vector of
``lanes`` elements from a pointer, computes with ``+ - * /``, comparisons, ``fma`` and ``select``,
and stores it. Each primitive is an intrinsic that emits LLVM IR, and has a plain-Python twin that
runs in its place under ``NUMBA_DISABLE_JIT=1``, on the same buffers: there a pointer is an
(array, offset) pair, which NumPy checks, and a vector is a small array.

Pointer arithmetic is not checked in compiled code: the caller owns the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import config, types
from numba.extending import intrinsic

from .emit import (
    I32,
    I64,
    call_llvm,
    element_bytes,
    emit_fma,
    emit_load,
    emit_prefetch,
    emit_store,
    lanes_below,
    masked_function,
)
from .jit import routine
from .vectors import VectorType, broadcast, lane_count, vector_of


def primitive(twin: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a typing-and-codegen function; ``twin`` is what it means in plain Python."""

    def decorate(function: Callable[..., Any]) -> Any:
        return twin if config.DISABLE_JIT else intrinsic(function)

    return decorate


@dataclass(frozen=True)
class Pointer:
    """The plain-Python twin of a pointer: a flat array and an offset in elements."""

    array: np.ndarray
    offset: int

    def window(self, count: int) -> np.ndarray:
        """The ``count`` elements that start here; IndexError where they leave the array."""
        if not 0 <= self.offset <= self.array.size - count:
            raise IndexError(f"{count} elements at {self.offset} of {self.array.size}")
        return self.array[self.offset : self.offset + count]


@primitive(lambda: None)
def out_of_line(typing: Any) -> Any:
    """Keep the function this stands in one function, instead of a copy in each of its callers.

    LLVM would inline a large kernel wherever it is called and then spend seconds on each copy.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


@primitive(lambda: None)
def in_line(typing: Any) -> Any:
    """Copy the function this stands in into its callers, where LLVM would rather call it.

    A call passes vectors through memory, and clears the upper halves of the registers.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("alwaysinline")
        return context.get_dummy_value()

    return types.void(), codegen


# --- pointers ------------------------------------------------------------------------------------


@primitive(lambda array, offset: Pointer(array, int(offset)))
def pointer(typing: Any, array: types.Array, offset: types.Integer) -> Any:
    """Pointer to element ``offset`` of a flat contiguous array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return types.CPointer(array.dtype)(array, types.int64), codegen


@primitive(lambda p, count: Pointer(p.array, p.offset + int(count)))
def at(typing: Any, p: types.CPointer, count: types.Integer) -> Any:
    """The pointer ``count`` elements further."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return p(p, types.int64), codegen


@primitive(lambda p: None)
def prefetch(typing: Any, p: types.CPointer) -> Any:
    """Ask for the cache line at ``p``, which may be any address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit_prefetch(builder, args[0])
        return context.get_dummy_value()

    return types.void(p), codegen


@primitive(lambda p: lane_count(p.array.dtype))
def lanes(typing: Any, p: types.CPointer) -> Any:
    """Elements in one vector of the pointer's dtype; a constant of the compiled code."""
    count = vector_of(p.dtype).lanes

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return I64(count)

    return types.int64(p), codegen


@primitive(lambda p: np.finfo(p.array.dtype).tiny)
def smallest_normal(typing: Any, p: types.CPointer) -> Any:
    """The smallest positive normal number of the pointer's dtype."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = float(np.finfo(str(p.dtype)).tiny)
        return ir.Constant(context.get_value_type(p.dtype), value)

    return p.dtype(p), codegen


@primitive(lambda p, i: Pointer(p.array, p.offset + int(i)).window(1)[0])
def get(typing: Any, p: types.CPointer, i: types.Integer) -> Any:
    """The scalar ``i`` elements after ``p``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(args[0], [args[1]]))

    return p.dtype(p, types.int64), codegen


@primitive(lambda p, i, x: Pointer(p.array, p.offset + int(i)).window(1).__setitem__(0, x))
def put(typing: Any, p: types.CPointer, i: types.Integer, x: types.Number) -> Any:
    """Store the scalar ``x``, converted to the pointer's dtype, ``i`` elements after ``p``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(p, types.int64, p.dtype), codegen


# --- whole and partial vectors -------------------------------------------------------------------


@primitive(lambda p: p.window(lane_count(p.array.dtype)).copy())
def load(typing: Any, p: types.CPointer) -> Any:
    """The vector that starts at ``p``; no alignment is needed."""
    vector = vector_of(p.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_load(builder, args[0], context.get_value_type(vector))

    return vector(p), codegen


@primitive(lambda p, v: p.window(lane_count(p.array.dtype)).__setitem__(slice(None), v))
def store(typing: Any, p: types.CPointer, v: VectorType) -> Any:
    """Store a vector at ``p``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit_store(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(p, v), codegen


def _twin_load_first(p: Pointer, count: int) -> np.ndarray:
    vector = np.zeros(lane_count(p.array.dtype), p.array.dtype)
    count = min(count, vector.size)
    vector[:count] = p.window(count)
    return vector


def _twin_store_first(p: Pointer, v: np.ndarray, count: int) -> None:
    count = min(count, v.size)
    p.window(count)[:] = v[:count]


@primitive(_twin_load_first)
def load_first(typing: Any, p: types.CPointer, count: types.Integer) -> Any:
    """The first ``count`` elements at ``p``, zero in the other lanes; reads nothing beyond."""
    vector = vector_of(p.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(vector)
        mask = lanes_below(builder, args[1], vector.lanes)
        function = masked_function(builder, "load", kind)
        address = builder.bitcast(args[0], kind.as_pointer())
        align = I32(element_bytes(kind))
        return builder.call(function, [address, align, mask, ir.Constant(kind, None)])

    return vector(p, types.int64), codegen


@primitive(_twin_store_first)
def store_first(typing: Any, p: types.CPointer, v: VectorType, count: types.Integer) -> Any:
    """Store the first ``count`` lanes at ``p``; writes nothing beyond."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[1].type
        mask = lanes_below(builder, args[2], v.lanes)
        function = masked_function(builder, "store", kind)
        address = builder.bitcast(args[0], kind.as_pointer())
        builder.call(function, [args[1], address, I32(element_bytes(kind)), mask])
        return context.get_dummy_value()

    return types.void(p, v, types.int64), codegen


@primitive(lambda v, count: np.where(np.arange(v.size) < count, v, v.dtype.type(0)))
def keep_first(typing: Any, v: VectorType, count: types.Integer) -> Any:
    """The vector with every lane from ``count`` on set to zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        mask = lanes_below(builder, args[1], v.lanes)
        return builder.select(mask, args[0], ir.Constant(args[0].type, None))

    return v(v, types.int64), codegen


@routine
def load_up_to(p, count):
    """A whole vector where ``count`` allows one, else its first ``count`` lanes and zeros."""
    if count >= lanes(p):
        return load(p)
    return load_first(p, count)


@routine
def store_up_to(p, v, count):
    """Store the whole vector where ``count`` allows it, else its first ``count`` lanes."""
    if count >= lanes(p):
        store(p, v)
    else:
        store_first(p, v, count)


# --- arithmetic ----------------------------------------------------------------------------------


def _twin_fma(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


def _common(*kinds: types.Type) -> types.Type | None:
    """The vector type among operands, or their one scalar float type; None if they don't fit."""
    vectors = [kind for kind in kinds if isinstance(kind, VectorType)]
    if vectors:
        return vectors[0]
    floats = [kind for kind in kinds if isinstance(kind, types.Float)]
    return floats[0] if floats else None


def _convert(context: Any, builder: Any, value: Any, source: Any, target: Any) -> Any:
    if isinstance(target, VectorType):
        return broadcast(context, builder, value, source, target)
    return context.cast(builder, value, source, target)


@primitive(_twin_fma)
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c with one rounding (two on processors without the instruction)."""
    kind = _common(a, b, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [
            _convert(context, builder, value, source, kind)
            for value, source in zip(args, (a, b, c), strict=True)
        ]
        return emit_fma(builder, *values)

    return (kind(a, b, c), codegen) if kind is not None else None


def _twin_select(mask: Any, a: Any, b: Any) -> Any:
    like = a if isinstance(a, np.ndarray | np.generic) else b
    return np.where(mask, a, b).astype(np.asarray(like).dtype)


@primitive(_twin_select)
def select(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """a where the mask holds, b elsewhere: a choice without a branch."""
    kind = _common(a, b)
    if isinstance(mask, VectorType) and not isinstance(kind, VectorType):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        chosen = _convert(context, builder, args[1], a, kind)
        other = _convert(context, builder, args[2], b, kind)
        return builder.select(args[0], chosen, other)

    return (kind(mask, a, b), codegen) if kind is not None else None


@primitive(lambda p, x: np.full(lane_count(p.array.dtype), x, p.array.dtype))
def splat(typing: Any, p: types.CPointer, x: types.Number) -> Any:
    """The vector of the pointer's dtype whose lanes all hold the scalar ``x``."""
    vector = vector_of(p.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return broadcast(context, builder, args[1], signature.args[1], vector)

    return vector(p, x), codegen


def _one_operand(twin: Callable[..., Any], name: str) -> Any:
    """A primitive for an LLVM intrinsic of one float or vector operand."""

    def typed(typing: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return call_llvm(builder, name, args[0])

        return x(x), codegen

    return primitive(twin)(typed)


sqrt = _one_operand(np.sqrt, "sqrt")
absolute = _one_operand(np.abs, "fabs")


def _lane_tree(combine: Callable[..., Any]) -> Callable[..., Any]:
    """Codegen that combines all lanes pairwise, halves first: a fixed order on every machine."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        undefined = ir.Constant(value.type, ir.Undefined)
        width = value.type.count
        while width > 1:
            width //= 2
            order = [(i + width) if i < width else i for i in range(value.type.count)]
            indices = ir.Constant(ir.VectorType(I32, value.type.count), order)
            value = combine(builder, value, builder.shuffle_vector(value, undefined, indices))
        return builder.extract_element(value, I32(0))

    return codegen


def _twin_sum_lanes(v: np.ndarray) -> Any:
    while v.size > 1:
        v = v[: v.size // 2] + v[v.size // 2 :]
    return v[0]


@primitive(_twin_sum_lanes)
def sum_lanes(typing: Any, v: VectorType) -> Any:
    """Sum of the lanes, halves first."""
    return v.dtype(v), _lane_tree(lambda builder, a, b: builder.fadd(a, b))


def _twin_transpose(
    target: Pointer, target_stride: int, source: Pointer, source_stride: int
) -> None:
    count = lane_count(source.array.dtype)
    rows = [Pointer(source.array, source.offset + i * source_stride).window(count).copy()
            for i in range(count)]  # fmt: skip
    for j in range(count):
        row = Pointer(target.array, target.offset + j * target_stride).window(count)
        row[:] = [values[j] for values in rows]


@primitive(_twin_transpose)
def transpose_square(
    typing: Any, target: Any, target_stride: Any, source: Any, source_stride: Any
) -> Any:
    """Transpose a lanes x lanes square held in registers: log2(lanes) rounds of two-way shuffles.

    Row i of the source starts at ``source + i * source_stride``, of the target likewise.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(vector_of(source.dtype))
        count = kind.count
        rows = [
            emit_load(builder, builder.gep(args[2], [builder.mul(args[3], I64(i))]), kind)
            for i in range(count)
        ]
        distance = 1
        while distance < count:
            low = [j if not j & distance else count + j - distance for j in range(count)]
            high = [j + distance if not j & distance else count + j for j in range(count)]
            orders = [ir.Constant(ir.VectorType(I32, count), order) for order in (low, high)]
            for i in (i for i in range(count) if not i & distance):
                a, b = rows[i], rows[i + distance]
                rows[i], rows[i + distance] = (builder.shuffle_vector(a, b, o) for o in orders)
            distance *= 2
        for i, row in enumerate(rows):
            emit_store(builder, row, builder.gep(args[0], [builder.mul(args[1], I64(i))]))
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), codegen
