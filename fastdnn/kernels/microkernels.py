"""The micro-kernel: tiles of a matrix product, each with its whole k-loop, as vector IR.

A tile is ``rows`` x ``vectors`` accumulators that stay in registers while k runs::

    acc[i, :] = sum_k  left[i, k] * right[k, :]
    out[i, :] = scale * acc[i, :]  (+ out[i, :]  or  + bias[i], and relu or its derivative)

It is 1, 2 or TILE_VECTORS vectors wide, and has as many rows as the register file allows. With 32
registers the wide tile loads 10 operands for 24 multiply-adds where two vectors and 14 rows would
load 16 for 28: with another thread on the same core, which shares its load units, that is 8 %
faster.

``left`` is read one scalar at a time and broadcast, with a stride for rows and one for k, so one
kernel serves W (k contiguous), W^T (rows contiguous), packed panels and blocked activations.
``right`` is a panel: for each k a run of vectors. Every accumulator is one chain of multiply-adds
in the order of k, so an element's bits do not depend on the tile it falls into.

Written as IR because LLVM then emits exactly this loop (``rows`` broadcasts, ``rows * vectors``
multiply-adds, no spill), which runs at 97-99 % of the processor's multiply-add peak.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import config, types

from .emit import I64, emit_fma, emit_load, emit_prefetch, emit_splat, emit_store
from .jit import routine, standalone
from .simd import Pointer, primitive
from .target import TARGET
from .vectors import lane_count, vector_of

TILE_VECTORS = TARGET.tile_vectors
TILE_WIDTHS = tuple(sorted({1, 2, TILE_VECTORS}))

# Most rows of a tile of 1, of 2, and of TILE_VECTORS vectors.
_ROWS_OF_1, _ROWS_OF_2, TILE_ROWS = (TARGET.tile_rows(vectors) for vectors in (1, 2, TILE_VECTORS))

# What a finished tile does with ``out``, and what ``beside`` is: with a bias, that of each
# row; with the derivative of relu, its values, in rows as far apart as those of ``out``. relu has
# modes because a pass of its own over ``out`` takes as long as a small layer's product.
MODES = SET, ADD, SET_BIAS, SET_BIAS_RELU, SET_RELU_BACKWARD = range(5)

# Length of k from which a tile lasts long enough for its lines of ``out`` to arrive meanwhile.
_FETCH_FROM_K = 64

# Rows whose addresses share one pointer register: its own, plus 1 and 2 row strides.
_ROWS_PER_POINTER = 3


@dataclass
class _Operands:
    """The run-time values of one call, as LLVM values."""

    tiles: ir.Value
    out: ir.Value
    out_stride: ir.Value
    left: ir.Value
    left_tile: ir.Value
    left_row: ir.Value
    left_k: ir.Value
    left_block: ir.Value
    right: ir.Value
    right_k: ir.Value
    k_count: ir.Value
    blocks: ir.Value
    mode: ir.Value
    scale: ir.Value
    beside: ir.Value


class _TileEmitter:
    """Emits the code of one (rows, vectors) variant into the current function."""

    def __init__(
        self, builder: ir.IRBuilder, kind: ir.VectorType, rows: int, vectors: int, call: _Operands
    ) -> None:
        self.builder, self.kind, self.rows, self.vectors, self.call = (
            builder, kind, rows, vectors, call,
        )  # fmt: skip

    def emit(self, leave: ir.Block) -> None:
        """Tile after tile: zeroed accumulators, the loop over k, the store; ends in ``leave``."""
        builder, call = self.builder, self.call
        tile, following = (builder.function.append_basic_block() for _ in range(2))
        rows_of_out = builder.mul(call.out_stride, I64(self.rows))
        like_out = builder.icmp_signed("==", call.mode, I64(SET_RELU_BACKWARD))
        rows_beside = builder.select(like_out, rows_of_out, I64(self.rows))
        entry = builder.block
        builder.branch(tile)

        builder.position_at_end(tile)
        phis = self._phis([call.tiles, call.out, call.left, call.beside], entry)
        remaining, out, left, beside = phis
        self.call = replace(call, out=out, left=left, beside=beside)
        self._fetch_out()
        accumulators = self._loop()
        self._finish(accumulators, following)

        builder.position_at_end(following)
        fewer = builder.sub(remaining, I64(1))
        steps = ((out, rows_of_out), (left, call.left_tile), (beside, rows_beside))
        further = [builder.gep(base, [step]) for base, step in steps]
        builder.cbranch(builder.icmp_signed(">", fewer, I64(0)), tile, leave)
        self._close(phis, [fewer, *further])

    def _fetch_out(self) -> None:
        """Ask for the lines of ``out`` while k runs: large products find them in no near cache."""
        builder, call = self.builder, self.call
        total = builder.mul(call.k_count, call.blocks)
        with builder.if_then(builder.icmp_signed(">=", total, I64(_FETCH_FROM_K))):
            for i in range(self.rows):
                row = builder.gep(call.out, [builder.mul(call.out_stride, I64(i))])
                for v in range(self.vectors):
                    emit_prefetch(builder, builder.gep(row, [I64(v * self.kind.count)]))

    def _loop(self) -> list[ir.Value]:
        builder, call = self.builder, self.call
        function = builder.function
        outer, inner, end, done = (function.append_basic_block() for _ in range(4))
        zero = ir.Constant(self.kind, None)
        two_rows = builder.add(call.left_row, call.left_row)
        three_rows = builder.add(two_rows, call.left_row)
        starts = [call.left]
        for _ in range(_ROWS_PER_POINTER, self.rows, _ROWS_PER_POINTER):
            starts.append(builder.gep(starts[-1], [three_rows]))
        # The row pointers leave the inner loop k_count steps further on.
        jump = builder.sub(call.left_block, builder.mul(call.k_count, call.left_k))
        entry = builder.block
        builder.branch(outer)

        builder.position_at_end(outer)
        seed = [I64(0), call.right, *starts, *[zero] * (self.rows * self.vectors)]
        outer_phis = self._phis(seed, entry)
        builder.branch(inner)

        builder.position_at_end(inner)
        remaining, right, *state = self._phis([call.k_count, *outer_phis[1:]], outer)
        lefts, accumulators = state[: len(starts)], state[len(starts) :]
        updated = self._multiply_add(lefts, right, accumulators, two_rows)
        next_remaining = builder.sub(remaining, I64(1))
        next_right = builder.gep(right, [call.right_k])
        next_lefts = [builder.gep(left, [call.left_k]) for left in lefts]
        builder.cbranch(builder.icmp_signed(">", next_remaining, I64(0)), inner, end)
        self._close([remaining, right, *state], [next_remaining, next_right, *next_lefts, *updated])

        builder.position_at_end(end)
        block = builder.add(outer_phis[0], I64(1))
        jumped = [builder.gep(left, [jump]) for left in next_lefts]
        builder.cbranch(builder.icmp_signed("<", block, call.blocks), outer, done)
        self._close(outer_phis, [block, next_right, *jumped, *updated])
        builder.position_at_end(done)
        return updated

    def _phis(self, values: list[ir.Value], source: ir.Block) -> list[ir.PhiInstr]:
        phis = [self.builder.phi(value.type) for value in values]
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, source)
        return phis

    def _close(self, phis: list[ir.PhiInstr], values: list[ir.Value]) -> None:
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, self.builder.block)

    def _multiply_add(
        self,
        lefts: list[ir.Value],
        right: ir.Value,
        accumulators: list[ir.Value],
        two_rows: ir.Value,
    ) -> list[ir.Value]:
        """One step of k: ``vectors`` loads, then a broadcast and its multiply-adds for each row."""
        builder, lanes = self.builder, self.kind.count
        vectors = [
            emit_load(builder, builder.gep(right, [I64(v * lanes)]), self.kind)
            for v in range(self.vectors)
        ]
        updated = []
        for i in range(self.rows):
            address = lefts[i // _ROWS_PER_POINTER]
            if i % _ROWS_PER_POINTER:
                step = self.call.left_row if i % _ROWS_PER_POINTER == 1 else two_rows
                address = builder.gep(address, [step])
            scalar = emit_splat(builder, builder.load(address), self.kind)
            for v, vector in enumerate(vectors):
                old = accumulators[i * self.vectors + v]
                updated.append(emit_fma(builder, scalar, vector, old))
        return updated

    def _finish(self, accumulators: list[ir.Value], leave: ir.Block) -> None:
        builder, call = self.builder, self.call
        finishes = [builder.function.append_basic_block() for _ in MODES]
        choice = builder.switch(call.mode, finishes[SET])
        for mode, block in zip(MODES, finishes, strict=True):
            if mode != SET:
                choice.add_case(I64(mode), block)
            builder.position_at_end(block)
            scale = emit_splat(builder, call.scale, self.kind)
            for i in range(self.rows):
                row = builder.mul(call.out_stride, I64(i))
                for v in range(self.vectors):
                    place = builder.add(row, I64(v * self.kind.count))
                    value = accumulators[i * self.vectors + v]
                    result = self._result(mode, scale, value, place, i)
                    emit_store(builder, result, builder.gep(call.out, [place]))
            builder.branch(leave)

    def _result(
        self, mode: int, scale: ir.Value, value: ir.Value, place: ir.Value, row: int
    ) -> ir.Value:
        """What becomes of one vector of ``out``, that at ``place``."""
        builder, call = self.builder, self.call
        if mode == ADD:
            before = emit_load(builder, builder.gep(call.out, [place]), self.kind)
            return emit_fma(builder, scale, value, before)
        if mode in (SET_BIAS, SET_BIAS_RELU):
            bias = builder.load(builder.gep(call.beside, [I64(row)]))
            z = emit_fma(builder, scale, value, emit_splat(builder, bias, self.kind))
            return self._where_active(z, z) if mode == SET_BIAS_RELU else z
        product = builder.fmul(scale, value)
        if mode == SET_RELU_BACKWARD:
            active = emit_load(builder, builder.gep(call.beside, [place]), self.kind)
            return self._where_active(active, product)
        return product

    def _where_active(self, unit: ir.Value, value: ir.Value) -> ir.Value:
        """0 where ``unit`` <= 0, ``value`` elsewhere, as in ``activations``: NaN is kept."""
        zero = ir.Constant(self.kind, None)
        inactive = self.builder.fcmp_ordered("<=", unit, zero)
        return self.builder.select(inactive, zero, value)


def _twin_tiles(
    rows: int, vectors: int, tiles: int, out: Pointer, out_stride: int,
    left: Pointer, left_tile: int, left_row: int, left_k: int, left_block: int,
    right: Pointer, right_k: int, k_count: int, blocks: int,
    mode: int, scale: Any, beside: Pointer,
) -> None:  # fmt: skip
    width = vectors * lane_count(out.array.dtype)
    k = np.arange(k_count * blocks)
    columns = (k // k_count) * left_block + (k % k_count) * left_k
    row = np.arange(tiles * rows)[:, None]
    a = left.array[left.offset + row // rows * left_tile + row % rows * left_row + columns]
    b = right.array[right.offset + k[:, None] * right_k + np.arange(width)]
    for i in range(tiles * rows):
        target = Pointer(out.array, out.offset + i * out_stride).window(width)
        result = scale * (a[i] @ b)
        if mode == ADD:
            result += target
        elif mode in (SET_BIAS, SET_BIAS_RELU):
            result += Pointer(beside.array, beside.offset + i).window(1)
        unit = result
        if mode == SET_RELU_BACKWARD:
            unit = Pointer(beside.array, beside.offset + i * out_stride).window(width)
        rectified = mode in (SET_BIAS_RELU, SET_RELU_BACKWARD)
        target[:] = np.where(rectified & (unit <= 0), 0, result)


@primitive(_twin_tiles)
def _tiles(
    typing: Any, rows: Any, vectors: Any, tiles: Any, out: types.CPointer, out_stride: Any,
    left: Any, left_tile: Any, left_row: Any, left_k: Any, left_block: Any,
    right: Any, right_k: Any, k_count: Any, blocks: Any,
    mode: Any, scale: Any, beside: Any,
) -> Any:  # fmt: skip
    """A switch over every (rows, vectors), each with its own loop."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(vector_of(out.dtype))
        call = _Operands(*args[2:])
        leave = builder.function.append_basic_block()
        key = builder.add(builder.mul(args[1], I64(32)), args[0])
        switch = builder.switch(key, leave)
        for vector_count in TILE_WIDTHS:
            for row_count in range(1, TARGET.tile_rows(vector_count) + 1):
                block = builder.function.append_basic_block()
                switch.add_case(I64(vector_count * 32 + row_count), block)
                builder.position_at_end(block)
                _TileEmitter(builder, kind, row_count, vector_count, call).emit(leave)
        builder.position_at_end(leave)
        return context.get_dummy_value()

    return types.void(*_kinds(out.dtype)), codegen


@standalone
def _compute_tiles(
    rows, vectors, tiles, out, out_stride, left, left_tile, left_row, left_k, left_block,
    right, right_k, k_count, blocks, mode, scale, beside,
):  # fmt: skip
    _tiles(
        rows, vectors, tiles, out, out_stride, left, left_tile, left_row, left_k, left_block,
        right, right_k, k_count, blocks, mode, scale, beside,
    )  # fmt: skip


def _kinds(dtype: types.Type) -> tuple[types.Type, ...]:
    """Types of the arguments of a tile of float32 or float64."""
    i64, pointer = types.int64, types.CPointer(dtype)
    return (
        i64, i64, i64, pointer, i64, pointer, i64, i64, i64, i64, pointer, i64, i64, i64, i64,
        dtype, pointer,
    )  # fmt: skip


def tile_address(dtype: Any) -> int:
    """Where the machine code of `multiply_tiles` starts; compiled, or read from disk, if needed."""
    return 0 if config.DISABLE_JIT else _compiled_tile(np.dtype(dtype).itemsize)


@functools.cache  # LLVM's lock, which asking again would take, may be held for ever after a fork
def _compiled_tile(itemsize: int) -> int:
    kinds = _kinds(types.float32 if itemsize == 4 else types.float64)
    if kinds not in _compute_tiles.overloads:
        _compute_tiles.compile(kinds)
    compiled = _compute_tiles.overloads[kinds]
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


@primitive(lambda address, *args: _twin_tiles(*args))
def multiply_tiles(
    typing: Any, address: Any, rows: Any, vectors: Any, tiles: Any,
    out: types.CPointer, out_stride: Any,
    left: Any, left_tile: Any, left_row: Any, left_k: Any, left_block: Any,
    right: Any, right_k: Any, k_count: Any, blocks: Any,
    mode: Any, scale: Any, beside: Any,
) -> Any:  # fmt: skip
    """``tiles`` tiles of a product, one below the other: see the module. All counts are >= 1.

    A tile's rows of ``left`` start ``left_tile`` after those of the one before.

    k runs over ``blocks`` blocks of ``k_count``: block j of ``left`` starts at ``j * left_block``,
    ``right`` runs on without a gap. ``address`` is `tile_address` of the dtype.
    """
    kinds = _kinds(out.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function_type = context.call_conv.get_function_type(types.none, kinds)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        context.call_conv.call_function(builder, function, types.none, kinds, args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, *kinds), codegen


@routine
def tile_height(rows, vectors):
    """Rows of a tile where ``rows`` are cut into the fewest tiles, as equal as can be."""
    most = TILE_ROWS
    if vectors == 1:
        most = _ROWS_OF_1
    elif vectors == 2:
        most = _ROWS_OF_2
    if rows <= most:
        return rows  # without the divisions, which a small network's step would feel
    tiles = (rows + most - 1) // most
    return (rows + tiles - 1) // tiles


@routine
def tile_vectors(vectors):
    """Width of the narrowest tile that holds so many vectors."""
    return vectors if vectors <= 2 else TILE_VECTORS
