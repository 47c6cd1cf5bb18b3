"""exp, log, log1p, sigmoid and tanh on vectors and scalars, float32 and float64.

Numba's ``math.exp`` is a call into libm for every element, some 15 times slower than these.
Methods: argument reduction x = n ln2 + r with the round-to-nearest "magic number" (adding
1.5 * 2^23 leaves n in the low bits), ln2 in two parts (Cody & Waite, *Software Manual for the
Elementary Functions*, 1980), Taylor polynomials on |r| <= ln2 / 2, and quotients corrected by their
residual. Errors over the whole range are below 1.1 ulp for exp, sigmoid and tanh, and 2 ulp for the
logarithms. NaN stays NaN; exp overflows to inf and underflows through the subnormals to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from .emit import call_llvm, emit_fma
from .simd import primitive


@dataclass(frozen=True)
class _Format:
    """What the algorithms need to know of a floating-point format."""

    mantissa_bits: int
    exponent_bias: int
    ln2_high: float  # few enough bits that n * ln2_high is exact
    ln2_low: float
    exp_min: float  # below: exp is 0
    exp_max: float  # above: exp is inf
    tanh_max: float  # above: tanh is 1
    exp_terms: int  # Taylor terms of exp(r), |r| <= ln2 / 2, to below the format's precision
    log_terms: int  # terms of atanh(s) / s, |s| <= 3 - 2 sqrt(2)
    log1p_terms: int  # the same for |s| <= 1/3


_FORMATS = {
    ir.FloatType: _Format(23, 127, 0.693359375, -2.12194440054690582e-4,
                          -104.0, 89.0, 9.5, 8, 6, 8),
    ir.DoubleType: _Format(52, 1023, 6.93147180369123816490e-01, 1.90821492927058770002e-10,
                           -746.0, 710.0, 20.0, 14, 11, 17),
}  # fmt: skip


class _Real:
    """A float scalar or vector of the function being emitted, with Python's operators."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    @property
    def element(self) -> ir.Type:
        kind = self.value.type
        return kind.element if isinstance(kind, ir.VectorType) else kind

    @property
    def format(self) -> _Format:
        return _FORMATS[type(self.element)]

    def _constant(self, number: float | int, kind: ir.Type) -> ir.Constant:
        if isinstance(kind, ir.VectorType):
            return ir.Constant(kind, [number] * kind.count)
        return ir.Constant(kind, number)

    def of(self, other: _Real | float) -> ir.Value:
        """The LLVM value of an operand; a Python number becomes a constant of this type."""
        if isinstance(other, _Real):
            return other.value
        if isinstance(self.element, ir.FloatType):
            other = float(np.float32(other))
        return self._constant(other, self.value.type)

    def make(self, value: ir.Value) -> _Real:
        return _Real(self.builder, value)

    def __add__(self, other: _Real | float) -> _Real:
        return self.make(self.builder.fadd(self.value, self.of(other)))

    def __sub__(self, other: _Real | float) -> _Real:
        return self.make(self.builder.fsub(self.value, self.of(other)))

    def __mul__(self, other: _Real | float) -> _Real:
        return self.make(self.builder.fmul(self.value, self.of(other)))

    def __truediv__(self, other: _Real | float) -> _Real:
        return self.make(self.builder.fdiv(self.value, self.of(other)))

    def __neg__(self) -> _Real:
        return self.make(self.builder.fneg(self.value))

    def fma(self, factor: _Real | float, addend: _Real | float) -> _Real:
        """self * factor + addend."""
        return self.make(emit_fma(self.builder, self.value, self.of(factor), self.of(addend)))

    def where(self, relation: str, bound: float, then: _Real | float) -> _Real:
        """``then`` where ``self <relation> bound`` holds, self elsewhere; NaN is kept."""
        mask = self.builder.fcmp_ordered(relation, self.value, self.of(bound))
        return self.make(self.builder.select(mask, self.of(then), self.value))

    def choose(self, relation: str, bound: float, yes: _Real | float, no: _Real) -> _Real:
        """``yes`` where ``self <relation> bound`` holds, ``no`` elsewhere."""
        mask = self.builder.fcmp_ordered(relation, self.value, self.of(bound))
        return self.make(self.builder.select(mask, self.of(yes), no.value))

    def absolute(self) -> _Real:
        return self.make(call_llvm(self.builder, "fabs", self.value))

    def with_sign_of(self, other: _Real) -> _Real:
        return self.make(call_llvm(self.builder, "copysign", self.value, other.value))

    @property
    def integer_type(self) -> ir.Type:
        integer = ir.IntType(32 if isinstance(self.element, ir.FloatType) else 64)
        kind = self.value.type
        return ir.VectorType(integer, kind.count) if isinstance(kind, ir.VectorType) else integer

    def bits(self) -> ir.Value:
        return self.builder.bitcast(self.value, self.integer_type)

    def integer(self, number: int) -> ir.Constant:
        return self._constant(number, self.integer_type)

    def power_of_two(self, exponent: ir.Value) -> _Real:
        """2^exponent for an integer exponent of the normal range."""
        biased = self.builder.add(exponent, self.integer(self.format.exponent_bias))
        shifted = self.builder.shl(biased, self.integer(self.format.mantissa_bits))
        return self.make(self.builder.bitcast(shifted, self.value.type))


def _two_sum(a: _Real, b: _Real | float) -> tuple[_Real, _Real]:
    """a + b as a rounded sum and its exact error (Knuth, TAOCP vol. 2, 4.2.2)."""
    b = a.make(a.of(b))
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def _polynomial(x: _Real, coefficients: list[float]) -> _Real:
    """Horner's scheme; coefficients from the constant term upwards."""
    result = x.make(x.of(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        result = result.fma(x, coefficient)
    return result


def _reduced_exp(x: _Real) -> tuple[ir.Value, _Real, _Real]:
    """n (integer), and exp(r) - 1 = high + low where x = n ln2 + r; x already clamped."""
    f = x.format
    magic = 1.5 * 2.0**f.mantissa_bits
    shifted = x.fma(1 / math.log(2), magic)
    n = shifted - magic
    r = n.fma(-f.ln2_low, n.fma(-f.ln2_high, x))
    integer = x.builder.sub(shifted.bits(), x.make(x.of(magic)).bits())
    taylor = _polynomial(r, [1 / math.factorial(k) for k in range(2, f.exp_terms)])
    square_part = r * r * taylor
    high = r + square_part
    return integer, high, square_part - (high - r)


def _scaled(n: ir.Value, *parts: _Real) -> list[_Real]:
    """parts * 2^n in two factors, so that subnormal and infinite results round once."""
    like = parts[0]
    half = like.builder.ashr(n, like.integer(1))
    first, second = like.power_of_two(half), like.power_of_two(like.builder.sub(n, half))
    return [part * first * second for part in parts]


def _quotient(high: _Real, low: _Real, below: _Real, below_low: _Real) -> _Real:
    """(high + low) / (below + below_low): a quotient corrected once by its residual."""
    inverse = below.make(below.of(1.0)) / below
    quotient = high * inverse
    residual = (-quotient).fma(below, high) + (low - quotient * below_low)
    return residual.fma(inverse, quotient)


def _exp(x: _Real) -> _Real:
    f = x.format
    clamped = x.where("<", f.exp_min, f.exp_min).where(">", f.exp_max, f.exp_max)
    n, high, low = _reduced_exp(clamped)
    return _scaled(n, (high + 1.0) + low)[0]


def _sigmoid(x: _Real) -> _Real:
    """e^-|x| / (1 + e^-|x|) on the negative side, 1 / (1 + e^-|x|) on the other."""
    f = x.format
    negative = -(x.absolute().where(">", -f.exp_min, -f.exp_min))
    n, high, low = _reduced_exp(negative)
    one_plus = high + 1.0
    low = (high - (one_plus - 1.0)) + low
    e_high, e_low = _scaled(n, one_plus, low)
    below = e_high + 1.0
    below_low = (e_high - (below - 1.0)) + e_low
    zero = x.make(x.of(0.0))
    top = x.choose(">=", 0.0, 1.0, e_high)
    top_low = x.choose(">=", 0.0, zero, e_low)
    return _quotient(top, top_low, below, below_low)


def _tanh(x: _Real) -> _Real:
    """E / (E + 2) with E = exp(2 |x|) - 1, and the sign of x."""
    f = x.format
    clamped = x.absolute().where(">", f.tanh_max, f.tanh_max)
    n, high, low = _reduced_exp(clamped + clamped)
    power = x.power_of_two(n)
    e_high, e_low = _two_sum(power - 1.0, power * high)
    e_low = power.fma(low, e_low)
    below, below_low = _two_sum(e_high, 2.0)
    return _quotient(e_high, e_low, below, below_low + e_low).with_sign_of(x)


def _expm1(x: _Real) -> _Real:
    """exp(x) - 1 for x <= 0."""
    n, high, low = _reduced_exp(x.where("<", -40.0, -40.0))  # there it is -1
    power = x.power_of_two(n)
    e_high, e_low = _two_sum(power - 1.0, power * high)
    return e_high + power.fma(low, e_low)


def _atanh_series(s: _Real, terms: int) -> _Real:
    """2 atanh(s) = log((1 + s) / (1 - s)) by its power series."""
    square = s * s
    series = _polynomial(square, [2 / (2 * k + 1) for k in range(1, terms)])
    return (s * square).fma(series, s + s)


def _log(x: _Real) -> _Real:
    """log of a positive normal number: x = 2^e m with m in [sqrt(1/2), sqrt(2)).

    s = (m - 1) / (m + 1) is kept with its rounding error, and so is the sum of the large terms:
    what is printed of a cost agrees with a libm's to the last digit.
    """
    f, builder = x.format, x.builder
    root = x.make(x.of(math.sqrt(0.5))).bits()
    # Integer arithmetic on the bits: e is how many octaves x lies above sqrt(1/2).
    exponent = builder.ashr(builder.sub(x.bits(), root), x.integer(f.mantissa_bits))
    mantissa = builder.sub(x.bits(), builder.shl(exponent, x.integer(f.mantissa_bits)))
    m = x.make(builder.bitcast(mantissa, x.value.type))
    e = x.make(builder.sitofp(exponent, x.value.type))
    above, (below, below_low) = m - 1.0, _two_sum(m, 1.0)
    inverse = below.make(below.of(1.0)) / below
    s = above * inverse
    s_low = ((-s).fma(below, above) - s * below_low) * inverse
    square = s * s
    tail = s * square * _polynomial(square, [2 / (2 * k + 1) for k in range(1, f.log_terms)])
    high, low = _two_sum(e * f.ln2_high, s + s)
    result = high + (low + (e.fma(f.ln2_low, s_low + s_low) + tail))
    finite = builder.fcmp_ordered("<", x.value, x.of(math.inf))  # neither inf nor NaN
    return x.make(builder.select(finite, result.value, x.value))


def _log1p(x: _Real) -> _Real:
    """log(1 + x) for 0 <= x <= 1."""
    return _atanh_series(x / (x + 2.0), x.format.log1p_terms)


def _twin_sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(np.asarray(x).dtype)


def _function(emit: Callable[[_Real], _Real], twin: Callable[..., Any]) -> Any:
    """A primitive x -> emit(x) for float scalars and vectors."""

    def typed(typing: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit(_Real(builder, args[0])).value

        return x(x), codegen

    typed.__doc__ = emit.__doc__
    return primitive(twin)(typed)


def _silent(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function that overflows and underflows without a warning, as compiled code does."""

    def call(x: Any) -> Any:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return function(x)

    return call


exp = _function(_exp, _silent(np.exp))
expm1 = _function(_expm1, np.expm1)
log = _function(_log, np.log)
log1p = _function(_log1p, np.log1p)
sigmoid = _function(_sigmoid, _silent(_twin_sigmoid))
tanh = _function(_tanh, np.tanh)
