"""What the machine can do at most: multiply-adds that never leave the registers, and a triad.

A roofline needs two numbers. The peak comes from chains of multiply-adds on register operands, so
many side by side that every unit is busy while each chain waits for its last result. The bandwidth
comes from a = b + s c over arrays larger than the caches (McCalpin's STREAM triad).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from .emit import I64, emit_fma, emit_load, emit_splat, emit_store
from .jit import kernel
from .simd import Pointer, fma, lanes, load_up_to, pointer, primitive, splat, store_up_to
from .target import TARGET
from .team import share
from .vectors import lane_count, vector_of

# Independent chains: latency (4 cycles) times units (2, or 4 in some aarch64 cores) is the least;
# the two operands and, without a fused instruction, a product must find registers beside them.
CHAINS = 24 if TARGET.vector_registers == 32 else 12

# x -> FACTOR x + ADDEND stays near 1 for ever: nothing overflows or becomes subnormal.
FACTOR, ADDEND = 0.5, 0.5


def block_size(dtype: Any) -> int:
    """Elements that one member's chains start from and end in."""
    return CHAINS * lane_count(dtype)


def _twin_chains(values: Pointer, rounds: int) -> None:
    block = values.window(block_size(values.array.dtype))
    for _ in range(rounds):
        block[:] = block * block.dtype.type(FACTOR) + block.dtype.type(ADDEND)


@primitive(_twin_chains)
def multiply_add_chains(typing: Any, values: types.CPointer, rounds: types.Integer) -> Any:
    """``rounds`` (>= 1) multiply-adds on each of CHAINS vectors that start at ``values``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(vector_of(values.dtype))
        places = [builder.gep(args[0], [I64(i * kind.count)]) for i in range(CHAINS)]
        starts = [emit_load(builder, place, kind) for place in places]
        factor, addend = (
            emit_splat(builder, ir.Constant(kind.element, x), kind) for x in (FACTOR, ADDEND)
        )
        entry = builder.block
        loop, done = (builder.function.append_basic_block() for _ in range(2))
        builder.branch(loop)

        builder.position_at_end(loop)
        count, *chains = (builder.phi(start.type) for start in (I64(0), *starts))
        following = [builder.add(count, I64(1))]
        following += [emit_fma(builder, chain, factor, addend) for chain in chains]
        builder.cbranch(builder.icmp_signed("<", following[0], args[1]), loop, done)
        for phi, start, value in zip((count, *chains), (I64(0), *starts), following, strict=True):
            phi.add_incoming(start, entry)
            phi.add_incoming(value, loop)

        builder.position_at_end(done)
        for place, value in zip(places, following[1:], strict=True):
            emit_store(builder, value, place)
        return context.get_dummy_value()

    return types.void(values, types.int64), codegen


@kernel
def multiply_adds(member, counters, team, values, block, rounds):
    """``rounds`` multiply-adds on every element of this member's ``block`` of ``values``."""
    multiply_add_chains(pointer(values, member * block), rounds)


@kernel
def triad(member, counters, team, a, b, c, scale):
    """a = b + scale * c, this member's share of it, a vector at a time."""
    lane = lanes(pointer(a, 0))
    factor = splat(pointer(a, 0), scale)
    first, end = share(member, team, (a.size + lane - 1) // lane)
    for i in range(first * lane, end * lane, lane):
        left = a.size - i
        total = fma(load_up_to(pointer(c, i), left), factor, load_up_to(pointer(b, i), left))
        store_up_to(pointer(a, i), total, left)
