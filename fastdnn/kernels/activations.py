"""Every activation: its formula on one vector (``relu1``), and the loops that apply it to arrays.

To add one, write its two formulas here, give them a code in ``ACTIVATIONS`` and a branch in
``activate1`` and ``backward1``; write its plain-NumPy twin in ``fastdnn.reference``, its two public
functions in ``fastdnn.functional``, and its operator in ``fastdnn.storage.exchange``. Tests, which
find what is missing, the documentation's table, ``DNN``, the estimators and the command read the
table.

A derivative is written from the activation's value a = g(z), so that training keeps one array a
layer; every activation here is one-to-one where its derivative varies, so a says all.
NaN stays NaN everywhere: comparisons are written so that NaN falls through to the value itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import elementary
from .jit import routine
from .simd import (
    absolute,
    at,
    fma,
    in_line,
    lanes,
    load_up_to,
    out_of_line,
    select,
    splat,
    store_up_to,
)

IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH, SOFTMAX, SOFTPLUS = range(7)

LEAKY_SLOPE = 0.01


@dataclass(frozen=True)
class Activation:
    """What the layers above the kernels need to know of an activation."""

    code: int
    formula: str
    elementwise: bool = True


ACTIVATIONS = {
    "identity": Activation(IDENTITY, "z"),
    "relu": Activation(RELU, "max(0, z)"),
    "leaky_relu": Activation(LEAKY_RELU, "z, or 0.01 z where z < 0"),
    "sigmoid": Activation(SIGMOID, "1 / (1 + exp(-z))"),
    "tanh": Activation(TANH, "tanh(z)"),
    "softmax": Activation(SOFTMAX, "exp(z) / sum(exp(z)) over the units", elementwise=False),
    "softplus": Activation(SOFTPLUS, "log(1 + exp(z))"),
}


# --- the formulas --------------------------------------------------------------------------------


@routine
def relu1(z):
    """max(0, z)."""
    return select(z <= 0, 0.0, z)


@routine
def relu1_backward(dA, a):
    """dA where the unit is active; 0 at z = 0, the subgradient the notebooks take."""
    return select(a <= 0, 0.0, dA)


@routine
def leaky_relu1(z, slope):
    """z, or slope z where z < 0."""
    return select(z < 0, z * slope, z)


@routine
def leaky_relu1_backward(dA, z, slope):
    """slope dA where z < 0, dA elsewhere, also at 0; with a positive slope a does for z."""
    return select(z < 0, dA * slope, dA)


@routine
def sigmoid1_backward(dA, a):
    """dA a (1 - a)."""
    return dA * (a * (1.0 - a))


@routine
def tanh1_backward(dA, a):
    """dA (1 - a^2), as a product that keeps its precision where a is near 1."""
    return dA * ((1.0 - a) * (1.0 + a))


@routine
def softplus1(z):
    """log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|))."""
    return select(z <= 0, 0.0, z) + elementary.log1p(elementary.exp(-absolute(z)))


@routine
def softplus1_backward(dA, a):
    """dA sigmoid(z), where sigmoid(z) = 1 - exp(-a)."""
    return dA * -elementary.expm1(-a)


@routine
def activate1(code, z):
    """The element-wise activation ``code`` of one vector or scalar."""
    in_line()
    if code == RELU:
        return relu1(z)
    if code == LEAKY_RELU:
        return leaky_relu1(z, LEAKY_SLOPE)
    if code == SIGMOID:
        return elementary.sigmoid(z)
    if code == TANH:
        return elementary.tanh(z)
    if code == SOFTPLUS:
        return softplus1(z)
    return z


@routine
def backward1(code, dA, a):
    """dZ = dA g'(z) of the element-wise activation ``code``, with a = g(z)."""
    if code == RELU:
        return relu1_backward(dA, a)
    if code == LEAKY_RELU:
        return leaky_relu1_backward(dA, a, LEAKY_SLOPE)
    if code == SIGMOID:
        return sigmoid1_backward(dA, a)
    if code == TANH:
        return tanh1_backward(dA, a)
    if code == SOFTPLUS:
        return softplus1_backward(dA, a)
    return dA


# --- runs of elements ----------------------------------------------------------------------------
#
# relu has loops of its own: choosing a formula for each vector takes ten times as long as relu.


@routine
def activate_run(code, A, Z, count):
    """A = g(Z) over ``count`` consecutive elements; A may be Z."""
    out_of_line()
    width = lanes(A)
    if code == RELU:
        for i in range(0, count, width):
            store_up_to(at(A, i), relu1(load_up_to(at(Z, i), count - i)), count - i)
        return
    for i in range(0, count, width):
        z = load_up_to(at(Z, i), count - i)
        store_up_to(at(A, i), activate1(code, z), count - i)


@routine
def backward_run(code, dZ, dA, A, scale, count):
    """dZ = dA g'(Z) over ``count`` consecutive elements, with g(Z) = scale A; dZ may be dA."""
    out_of_line()
    width = lanes(A)
    if code == RELU:  # whose slope is the same at A and at scale A
        for i in range(0, count, width):
            d, a = load_up_to(at(dA, i), count - i), load_up_to(at(A, i), count - i)
            store_up_to(at(dZ, i), relu1_backward(d, a), count - i)
        return
    for i in range(0, count, width):
        d = load_up_to(at(dA, i), count - i)
        a = load_up_to(at(A, i), count - i) * scale
        store_up_to(at(dZ, i), backward1(code, d, a), count - i)


# --- softmax: over the units of one example, so down the rows of a column of vectors --------------


@routine
def softmax_columns(A, Z, units, stride, count):
    """Softmax of ``count`` examples (columns) over ``units`` rows ``stride`` apart; A may be Z.

    The largest z of an example is subtracted first, so that nothing overflows.
    """
    out_of_line()
    width = lanes(A)
    for j in range(0, count, width):
        left = count - j
        top = load_up_to(at(Z, j), left)
        for i in range(1, units):
            z = load_up_to(at(Z, i * stride + j), left)
            top = select(z > top, z, top)
        total = splat(A, 0.0)
        for i in range(units):
            e = elementary.exp(load_up_to(at(Z, i * stride + j), left) - top)
            total = total + e
            store_up_to(at(A, i * stride + j), e, left)
        scale = 1.0 / total
        for i in range(units):
            p = at(A, i * stride + j)
            store_up_to(p, load_up_to(p, left) * scale, left)


@routine
def softmax_backward_columns(dZ, dA, A, units, stride, count):
    """dZ = A (dA - sum(dA A)) of each example: the Jacobian-vector product; dZ may be dA."""
    out_of_line()
    width = lanes(A)
    for j in range(0, count, width):
        left = count - j
        inner = splat(A, 0.0)
        for i in range(units):
            d = load_up_to(at(dA, i * stride + j), left)
            inner = fma(d, load_up_to(at(A, i * stride + j), left), inner)
        for i in range(units):
            d = load_up_to(at(dA, i * stride + j), left)
            a = load_up_to(at(A, i * stride + j), left)
            store_up_to(at(dZ, i * stride + j), a * (d - inner), left)
