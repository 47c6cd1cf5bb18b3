"""The type of a machine vector in compiled code, and what Python's operators mean on it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, models, register_model, type_callable

from .emit import emit_splat
from .target import TARGET


def lane_count(dtype: Any) -> int:
    """Elements of ``dtype`` in one vector of this processor."""
    return TARGET.vector_bytes // np.dtype(dtype).itemsize


class VectorType(types.Type):
    """Numba type of one machine vector; a comparison gives the vector of booleans."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"vector({dtype}, {lanes})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: VectorType) -> None:
        element = ir.IntType(1)
        if numba_type.dtype is not types.boolean:
            element = manager.lookup(numba_type.dtype).get_value_type()
        super().__init__(manager, numba_type, ir.VectorType(element, numba_type.lanes))


def vector_of(dtype: types.Type) -> VectorType:
    """The vector type of this processor for ``dtype``."""
    return VectorType(dtype, TARGET.vector_bytes * 8 // dtype.bitwidth)


def broadcast(context: Any, builder: Any, value: Any, source: Any, target: VectorType) -> Any:
    """``value`` as a vector of ``target``: a scalar is converted and copied into every lane."""
    if isinstance(source, VectorType):
        return value
    scalar = context.cast(builder, value, source, target.dtype)
    return emit_splat(builder, scalar, context.get_value_type(target))


def _is_operand(value: Any) -> bool:
    return isinstance(value, VectorType | types.Number)


def _register_operator(symbol: Any, emit: Callable[..., Any], *, compares: bool = False) -> None:
    """Give a Python operator its meaning on vectors, alone or with a scalar on either side."""

    @type_callable(symbol)
    def type_vector_operator(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            if not (_is_operand(a) and _is_operand(b)):
                return None
            vector = a if isinstance(a, VectorType) else b
            if not isinstance(vector, VectorType):
                return None
            return VectorType(types.boolean, vector.lanes) if compares else vector

        return typer

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left, right = signature.args
        vector = left if isinstance(left, VectorType) else right
        a = broadcast(context, builder, args[0], left, vector)
        b = broadcast(context, builder, args[1], right, vector)
        return emit(builder, a, b)

    for pair in (
        (VectorType, VectorType),
        (VectorType, types.Number),
        (types.Number, VectorType),
    ):
        lower_builtin(symbol, *pair)(lower)


def _comparison(symbol: str) -> Callable[..., Any]:
    ordered = "fcmp_unordered" if symbol == "!=" else "fcmp_ordered"
    return lambda builder, a, b: getattr(builder, ordered)(symbol, a, b)


_register_operator(operator.add, lambda builder, a, b: builder.fadd(a, b))
_register_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_register_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_register_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
_register_operator(operator.lt, _comparison("<"), compares=True)
_register_operator(operator.le, _comparison("<="), compares=True)
_register_operator(operator.gt, _comparison(">"), compares=True)
_register_operator(operator.ge, _comparison(">="), compares=True)
_register_operator(operator.eq, _comparison("=="), compares=True)
_register_operator(operator.ne, _comparison("!="), compares=True)


@type_callable(operator.neg)
def _type_negate(context: Any) -> Any:
    return lambda a: a if isinstance(a, VectorType) else None


@lower_builtin(operator.neg, VectorType)
def _lower_negate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fneg(args[0])
