"""A team of threads inside one parallel region: who does what, and when to wait.

Leaving and re-entering the threading layer costs 3-5 microseconds each time, as much as a small
network's whole step, so a region is entered once for many steps. Inside, work comes in phases, and
a phase in pieces. A member claims its own share of the pieces first and then those that others have
not begun; the next phase begins when all pieces are finished (`claim`, `finish`, `wait`). Nobody
waits for a member that has claimed nothing, because the system runs something else on its core.
So a team needs no barrier, and does its work even where its members run one after another.

A team's kernel has the form ``kernel(member, counters, team, *args)`` and returns nothing; a number
it has to tell goes into ``counters[RESULT]``. Alone it is called as member 0 of 1; `launch` calls
the same machine code from a parallel loop, so that results cannot depend on which of the two ran.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import prange, typeof
from numba.core import cgutils, types

from .jit import parallel_kernel, routine
from .simd import primitive

# Entries of a team's counters, each on a cache line of its own.
ARRIVALS, FINISHED, FAILURES, RESULT = 0, 8, 16, 24

# Behind them a line for each kind of pieces and each member: its ticket, which is the phase in the
# upper half and the number of its pieces that were claimed in the lower one.
KINDS = (
    PACKING_PIECES, LOADING_PIECES, UNIT_PIECES, PANEL_PIECES, TASK_PIECES,
    FIRST_BLOCK_PIECES, OTHER_BLOCK_PIECES,
) = range(7)  # fmt: skip
_LINE = 8
_TICKETS = 32


def new_counters(team: int) -> np.ndarray:
    """Counters for one parallel region of a team of that size."""
    return np.zeros(_TICKETS + len(KINDS) * _LINE * team, np.int64)


_COUNTERS_TYPE = typeof(new_counters(1))

# Place of the phase in a ticket, and the bits below it.
_PHASE_BIT = 32
_TAKEN = (1 << _PHASE_BIT) - 1

# Rounds of a waiting loop before it starts to sleep, which takes 70 us or more: some 200 us where
# this was measured, far above a phase's jitter.
_SPINS = 16384


@primitive(lambda *args: None)
def _call_member(
    typing: Any, address: Any, member: Any, counters: Any, team: Any, args: types.BaseTuple
) -> Any:
    """Call the kernel whose machine code starts at ``address``, for one member.

    Through its address, because the machine code of a kernel that is called by name would be
    generated once more for the parallel loop, and once more for the function around that.
    """
    i64 = types.int64
    kinds = (i64, counters, i64, *(types.unliteral(kind) for kind in args.types))

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        signature_type = context.call_conv.get_function_type(types.none, kinds)
        function = builder.inttoptr(values[0], signature_type.as_pointer())
        rest = [builder.extract_value(values[4], i) for i in range(len(args.types))]
        context.call_conv.call_function(
            builder, function, types.none, kinds, [values[1], values[2], values[3], *rest]
        )
        return context.get_dummy_value()

    return types.void(i64, i64, counters, i64, args), codegen


def _twin_exchange_threads(count: int) -> int:
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    return int(before)


@primitive(_twin_exchange_threads)
def _exchange_threads(typing: Any, count: Any) -> Any:
    """Set the number of threads of the next parallel loop; returns the one before.

    By the names under which the threading layer offers it to compiled code: Numba's own functions
    for it hold addresses of this process, and what calls them cannot be kept on disk.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # C's int, declared as wide as Numba's own calls declare it in the same module.
        i32, i64 = ir.IntType(32), ir.IntType(64)
        module = builder.module
        kind = ir.FunctionType(i64, [])
        get = cgutils.get_or_insert_function(module, kind, "get_num_threads")
        kind = ir.FunctionType(ir.VoidType(), [i64])
        put = cgutils.get_or_insert_function(module, kind, "set_num_threads")
        before = builder.call(get, [])
        builder.call(put, [args[0]])
        return builder.sext(builder.trunc(before, i32), i64)

    return types.int64(types.int64), codegen


@parallel_kernel
def launch(address, counters, team, args):
    """Run ``kernel(member, counters, team, *args)`` for every member of a team, all at once.

    ``address`` is the kernel's, compiled for exactly these types. The caller's own number of
    threads is put back here, because in Python Ctrl-C could come in between.
    """
    before = _exchange_threads(team)
    for member in prange(team):
        _call_member(address, np.int64(member), counters, team, args)
    _exchange_threads(before)


def kernel_address(kernel: Any, args: tuple[Any, ...]) -> int:
    """Where the machine code of a team's kernel starts, compiled if it was not."""
    kinds = (types.int64, _COUNTERS_TYPE, types.int64, *(typeof(value) for value in args))
    compiled = kernel.overloads.get(kinds)
    if compiled is None:
        kernel.compile(kinds)
        compiled = kernel.overloads[kinds]
    if compiled.signature.return_type != types.none:
        raise TypeError(f"{kernel.__name__} returns {compiled.signature.return_type}, not None")
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return int(address)


def _twin_add(counters: Any, index: int, amount: int) -> int:
    counters[index] += amount
    return int(counters[index] - amount)


@primitive(_twin_add)
def atomic_add(typing: Any, counters: types.Array, index: Any, amount: Any) -> Any:
    """Add to ``counters[index]``, seen by all threads in one order; returns the value before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "acq_rel")

    return types.int64(counters, types.int64, types.int64), codegen


@primitive(lambda counters, index: int(counters[index]))
def atomic_load(typing: Any, counters: types.Array, index: Any) -> Any:
    """Read ``counters[index]``; what its writer wrote before is visible after."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(counters, types.int64), codegen


def _sleep_symbol() -> str | None:
    """Name under which compiled code reaches the system's shortest sleep, if it has one."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.Sleep  # type: ignore[attr-defined]
    else:
        function = getattr(ctypes.CDLL(None), "usleep", None)
    if function is None:
        return None
    llvm.add_symbol("fastdnn_sleep", ctypes.cast(function, ctypes.c_void_p).value)
    return "fastdnn_sleep"


_SLEEP = _sleep_symbol()

# Argument of the sleep: microseconds, or milliseconds on Windows, where 0 only yields.
_NAP = 0 if sys.platform == "win32" else 20


@primitive(lambda: None)
def give_way(typing: Any) -> Any:
    """Leave this core idle for a moment, so that it takes over a member that waits for a core.

    Yielding would not do: a core that runs a yielding thread is busy, and takes over nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _SLEEP is not None:
            i32 = ir.IntType(32)
            kind = ir.FunctionType(i32, [i32])
            function = cgutils.get_or_insert_function(builder.module, kind, _SLEEP)
            builder.call(function, [i32(_NAP)])
        return context.get_dummy_value()

    return types.void(), codegen


@primitive(lambda: None)
def relax(typing: Any) -> Any:
    """Tell the processor that this is a spinning loop."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        triple = llvm.get_default_triple()
        if triple.startswith(("x86_64", "i386", "i686")):
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        elif triple.startswith(("aarch64", "arm64")):  # its yield does nothing on most cores
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.asm(kind, "isb sy", "~{memory}", [], True)
        return context.get_dummy_value()

    return types.void(), codegen


def _twin_exchange(counters: Any, index: int, expected: int, new: int) -> int:
    seen = int(counters[index])
    if seen == expected:
        counters[index] = new
    return seen


@primitive(_twin_exchange)
def compare_exchange(
    typing: Any, counters: types.Array, index: Any, expected: Any, new: Any
) -> Any:
    """Write ``new`` to ``counters[index]`` if it is as expected; returns what was there."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.gep(data, [args[1]])
        pair = builder.cmpxchg(place, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(pair, 0)

    i64 = types.int64
    return i64(counters, i64, i64, i64), codegen


@routine
def wait_for(counters, index, goal):
    """Spin, then sleep, until ``counters[index]`` has reached ``goal``."""
    spins = 0
    while atomic_load(counters, index) < goal:
        spins += 1
        if spins < _SPINS:
            relax()
        else:
            give_way()


@routine
def share(member, team, count):
    """This member's contiguous range of ``count`` equal pieces of work."""
    return member * count // team, (member + 1) * count // team


@routine
def arrives_last(counters, team):
    """Whether all others of the team have come here before: what they wrote is visible then.

    Once in a region.
    """
    return team == 1 or atomic_add(counters, ARRIVALS, 1) == team - 1


# --- pieces of work -------------------------------------------------------------------------------


@routine
def _take(counters, line, phase, count):
    """The next of ``count`` pieces behind one ticket, from 0, or -1 if none is left."""
    ticket = atomic_load(counters, line)
    while ticket >> _PHASE_BIT <= phase:
        taken = ticket & _TAKEN if ticket >> _PHASE_BIT == phase else 0
        if taken >= count:
            break
        seen = compare_exchange(counters, line, ticket, (phase << _PHASE_BIT) + taken + 1)
        if seen == ticket:
            return taken
        ticket = seen
    return -1


@routine
def claim_link(counters, kind, phase, member, team, chains, length):
    """A piece of one of ``chains`` chains, its own first, or -1 if none is left.

    Each has ``length`` pieces, chain after chain, and a piece may wait for earlier ones of its
    chain. Chains are shared out as pieces are in `claim`, and those of a member claimed in their
    order: whatever a piece waits for, somebody is at work on.
    """
    for i in range(team):
        owner = (member + i) % team
        first, end = share(owner, team, chains)
        line = _TICKETS + (kind * team + owner) * _LINE
        taken = _take(counters, line, phase, (end - first) * length)
        if taken >= 0:
            return first * length + taken
    return -1


@routine
def claim(counters, kind, phase, member, team, count):
    """One of the ``count`` pieces of a kind for this member, its own first, or -1 if none is left.

    Phases are numbered from 1 and grow; a member that comes late to one finds nothing left.
    """
    if team == 1:  # a small network's step would feel the atomic operations
        ticket = counters[_TICKETS + kind * _LINE]
        taken = ticket & _TAKEN if ticket >> _PHASE_BIT == phase else 0
        counters[_TICKETS + kind * _LINE] = (phase << _PHASE_BIT) + taken + 1
        return taken if taken < count else -1
    return claim_link(counters, kind, phase, member, team, count, 1)


@routine
def finish(counters, team):
    """A claimed piece is done: what was written for it is visible to all who `wait`."""
    if team > 1:
        atomic_add(counters, FINISHED, 1)


@routine
def wait(counters, team, goal):
    """Wait until ``goal`` pieces are finished since the region was entered."""
    if team > 1:
        wait_for(counters, FINISHED, goal)


@routine
def overtaken(counters, team, goal):
    """Whether so many pieces are finished already, so that this member's phase is long over.

    If not, what this member has read before was not yet overwritten. A plain load would not say
    so: reads before it may be done after it.
    """
    return team > 1 and atomic_add(counters, FINISHED, 0) >= goal
