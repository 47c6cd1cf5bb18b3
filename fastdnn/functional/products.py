"""The matrix product of `fastdnn.kernels.gemm` for arrays of any layout."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastdnn.kernels import gemm
from fastdnn.kernels.microkernels import TILE_ROWS, tile_address
from fastdnn.memory import aligned

from .arrays import Array, call, flat, matrix, team_for, working_memory

# Tiles of the left operand are packed where so many panels read them, and all of them together are
# so large that they leave the second-level cache;
PACK_LEFT_PANELS = 4
PACK_LEFT_BYTES = 4 * 1024 * 1024
# a panel of the right one where so many tiles read it; columns are always brought into rows.
PACK_RIGHT_TILES = 8

# A product alone is so much faster than a training step's average multiply-add, times the bytes of
# a number: 3 times in float32, 1.5 times in float64.
PACE = 12


class Plan(NamedTuple):
    """How a product is computed. No choice changes a bit of the result, but for `dots`."""

    height: int  # rows of a tile
    packs_left: bool
    packs_right: bool
    dots: bool  # as scalar products of lines
    left_size: int  # elements of the packed left operand
    panels_size: int  # and of each member's own buffers: packed panels of the right one,
    own_size: int  # a tile


@lru_cache(maxsize=1024)
def plan(
    m: int, n: int, k: int, lines_left: bool, lines_right: bool, rows_right: bool, dtype: np.dtype
) -> Plan:
    """Plan (m x k) @ (k x n); `lines`: contiguous along k, `rows`: contiguous along n."""
    if (n <= gemm.FEW and lines_left) or (m <= gemm.FEW and lines_right):
        return Plan(1, False, False, True, 0, 0, 0)
    tiles = -(-m // TILE_ROWS)
    panels = -(-n // gemm.panel_width(dtype))
    packs_left = panels >= PACK_LEFT_PANELS and m * k * dtype.itemsize >= PACK_LEFT_BYTES
    packs_right = not rows_right or tiles >= PACK_RIGHT_TILES
    left_size = aligned(m * k, dtype) if packs_left else 0
    sizes = gemm.own_sizes(panels, k, packs_right, dtype)
    return Plan(-(-m // tiles), packs_left, packs_right, False, left_size, *sizes)


def product(left: Array, right: Array, *, scale: float = 1.0, bias: Array | None = None) -> Array:
    """scale * left @ right (+ bias in every column), in the dtype all of them have.

    Parameters
    ----------
    left : ndarray of shape (m, k)
    right : ndarray of shape (k, n)
    scale : float
    bias : ndarray of shape (m, 1), optional

    Returns
    -------
    out : ndarray of shape (m, n)

    Examples
    --------
    >>> product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    out = np.empty((left.shape[0], right.shape[1]), left.dtype)
    _multiply(out, out, left, right, scale, bias, gemm.NO_ACTIVATION)
    return out


def activated_product(left: Array, right: Array, bias: Array, code: int) -> tuple[Array, Array]:
    """Z = left @ right + bias and A = g(Z), in one pass; `code` is an element-wise activation's.

    Examples
    --------
    >>> W, b = np.array([[1.0], [-1.0]]), np.zeros((2, 1))
    >>> activated_product(W, np.array([[3.0]]), b, 1)[1]
    array([[3.],
           [0.]])
    """
    Z = np.empty((left.shape[0], right.shape[1]), left.dtype)
    A = np.empty_like(Z)
    _multiply(Z, A, left, right, 1.0, bias, code)
    return Z, A


def _multiply(
    out: Array,
    values: Array,
    left: Array,
    right: Array,
    scale: float,
    bias: Array | None,
    code: int,
) -> None:
    (m, k), n, dtype = left.shape, right.shape[1], left.dtype
    if n <= gemm.FEW < m and bias is None and k > 1 and left.strides[0] == left.itemsize:
        # Few columns, and W^T as left operand: its lines run across k. Row by row of the result's
        # transpose they are read in the order of memory.
        transposed = np.empty((n, m), dtype)
        _multiply(transposed, transposed, right.T, left.T, scale, None, gemm.NO_ACTIVATION)
        out[...] = transposed.T
        return
    a, a_start, a_row, a_k = matrix(left)
    b, b_start, b_k, b_column = matrix(right)
    lines_left, lines_right = a_k == 1 or k == 1, b_k == 1 or k == 1
    how = plan(m, n, k, lines_left, lines_right, b_column == 1 or n == 1, dtype)
    if how.dots and not lines_left:
        a, a_start, a_row, a_k = np.ascontiguousarray(left).reshape(-1), 0, k, 1
    if how.dots and not lines_right:
        b, b_start, b_k, b_column = np.ascontiguousarray(right.T).reshape(-1), 0, 1, k
    team = team_for(m * n * k * dtype.itemsize // PACE)
    target = out.reshape(-1)
    activated = target if values is out else values.reshape(-1)
    call(
        gemm.multiply, team,
        tile_address(dtype), target, activated, a, b, target if bias is None else flat(bias),
        working_memory(how.left_size + team * (how.panels_size + how.own_size), dtype),
        float(scale), code, bias is not None,
        m, n, k, a_start, a_row, a_k, b_start, b_k, b_column, *how, key=dtype,
    )  # fmt: skip
