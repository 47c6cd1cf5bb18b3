"""LLVM IR for operations on vectors, as the bodies of primitives emit it."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from .target import TARGET

I32, I64 = ir.IntType(32), ir.IntType(64)


def intrinsic_suffix(llvm_type: ir.Type) -> str:
    """LLVM's mangling of a float or vector-of-float type: 'f32', 'v8f64'."""
    if isinstance(llvm_type, ir.VectorType):
        return f"v{llvm_type.count}{intrinsic_suffix(llvm_type.element)}"
    return "f32" if isinstance(llvm_type, ir.FloatType) else "f64"


def call_llvm(builder: ir.IRBuilder, name: str, *args: ir.Value) -> ir.Value:
    """Call the LLVM intrinsic ``name`` that takes and returns the type of its arguments."""
    kind = args[0].type
    signature = ir.FunctionType(kind, [kind] * len(args))
    full_name = f"llvm.{name}.{intrinsic_suffix(kind)}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, full_name), args)


def emit_fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c: one rounding where the processor can, two where it would need a library call."""
    if TARGET.fused_multiply_add:
        return call_llvm(builder, "fma", a, b, c)
    return builder.fadd(builder.fmul(a, b), c)


def emit_splat(builder: ir.IRBuilder, scalar: ir.Value, kind: ir.VectorType) -> ir.Value:
    """The vector whose lanes all hold ``scalar``."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    lanes = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, lanes)


def emit_load(builder: ir.IRBuilder, pointer: ir.Value, kind: ir.VectorType) -> ir.Value:
    """An unaligned vector load."""
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = element_bytes(kind)
    return value


def emit_prefetch(builder: ir.IRBuilder, pointer: ir.Value) -> None:
    """Ask for the cache line at ``pointer``; any address will do."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    builder.call(function, [address, I32(0), I32(3), I32(1)])  # read, into all levels, data


def emit_store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    """An unaligned vector store."""
    store = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    store.align = element_bytes(value.type)


def element_bytes(kind: ir.VectorType) -> int:
    """Size and alignment of an element."""
    return 4 if isinstance(kind.element, ir.FloatType) else 8


def lanes_below(builder: ir.IRBuilder, count: ir.Value, lanes: int) -> ir.Value:
    """Mask of the lanes whose index is below ``count``."""
    indices = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", indices, emit_splat(builder, count, indices.type))


def masked_function(builder: ir.IRBuilder, name: str, kind: ir.VectorType) -> ir.Function:
    """Declaration of llvm.masked.load or llvm.masked.store for ``kind``."""
    mask = ir.VectorType(ir.IntType(1), kind.count)
    pointer_type = kind.as_pointer()
    if name == "load":
        signature = ir.FunctionType(kind, [pointer_type, I32, mask, kind])
    else:
        signature = ir.FunctionType(ir.VoidType(), [kind, pointer_type, I32, mask])
    full_name = f"llvm.masked.{name}.{intrinsic_suffix(kind)}.p0"
    return cgutils.get_or_insert_function(builder.module, signature, full_name)
