"""The matrix product of `fastdnn.kernels.gemm` for arrays of any layout."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .calls import call, team_for, working_memory
from .kernels import gemm
from .kernels.microkernels import TILE_ROWS, tile_address
from .memory import Array, aligned, aligned_empty, flat, matrix

# Tiles of the left operand are packed where so many panels read them, and all of them together are
# larger than this (matrices of 1024 x 1024 are 2-6 % faster as they lie, of 1536 x 1536 packed);
PACK_LEFT_PANELS = 4
PACK_LEFT_BYTES = 8 * 1024 * 1024
# tiles of W^T, which has every k on another line, where so many read them (512 x 512 by 1024: 1.03
# times as fast in float32, 1.3 times in float64);
PACK_COLUMNS_PANELS = 16
# a panel of the right one where so many tiles read it, or two of an operand that leaves the
# second-level cache: its rows are then read from end to end. Columns are always brought into rows.
PACK_RIGHT_TILES = 8
PACK_RIGHT_BYTES = 256 * 1024

# Rows of the left operand that are multiplied together: a run of k of them stays in the
# second-level cache, with its own rows of the result, while panel after panel passes.
BLOCK_BYTES = 96 * 1024

# So much of the right operand is packed in a round, at most. Where one block has all rows, a panel
# is read once, and what does not fit in one round is packed in smaller ones, which are still in
# the third-level cache then (20 x 209 by 209 x 12288 in float64: 1.2 times as fast), or in a near
# one of a member alone.
ROUND_BYTES = 16 * 1024 * 1024
SHARED_BYTES = 4 * 1024 * 1024
NEAR_BYTES = 128 * 1024

# A team's round takes more than one run of k where that is less work than this, because all wait
# for the last member when it ends.
ROUND_MULTIPLY_ADDS = 1 << 28

# But it takes fewer runs rather than pieces of fewer rows than a block has, where the right operand
# is more than this and leaves the second-level caches: every piece of rows reads all of it (20 x
# 12288 by 12288 x 209: 1.3-1.5 times as fast). With a smaller one only the waits would count.
STREAMED_BYTES = 2 * 1024 * 1024
STREAMED_RUNS = 2

# The members of a team claim pieces: so many of a product, if that makes them no smaller than
# LEAST_PER_PIECE and no larger than MOST_PER_PIECE multiply-adds, times the bytes of a number: the
# first is worth a claim, and for half of the second, 5 microseconds, all wait for the last.
PIECES = 64
LEAST_PER_PIECE, MOST_PER_PIECE = 1 << 19, 1 << 22

# Results from so many bytes on start on a cache line. As NumPy gives it out large memory starts 16
# bytes behind one, and every row of a tile is then parts of two lines: 1-4 % slower from 512 x 512
# on. Below, the microsecond that it takes would be more.
ALIGNED_BYTES = 256 * 1024

# A product alone is so much faster than a training step's average multiply-add, times the bytes of
# a number: 3 times in float32, 1.5 times in float64.
PACE = 12


class ProductPlan(NamedTuple):
    """How a product is computed. No choice changes a bit of the result, but for `dots`.

    The fields are entries of the vector that `gemm.multiply` reads, from ``gemm.HEIGHT`` on.
    """

    height: int  # rows of a tile
    packs_left: bool
    packs_right: bool
    dots: bool  # as scalar products of lines,
    sums: bool  # as sums of rows
    block: int  # rows that a member claims,
    group: int  # and panels
    held: int  # panels in a round,
    depth: int  # and its length of k
    left_size: int  # elements of the packed left operand,
    panels_size: int  # of the packed panels,
    own_size: int  # and of each member's own buffer


# Without tiles nothing is packed, and there are no pieces to claim.
_NO_TILES = ProductPlan(1, False, False, False, False, 1, 1, 1, 1, 0, 0, 0)


@lru_cache(maxsize=1024)
def plan(
    m: int, n: int, k: int, lines_left: bool, lines_right: bool, rows_right: bool,
    dtype: np.dtype, alone: bool,
) -> ProductPlan:  # fmt: skip
    """Plan (m x k) @ (k x n); `lines`: contiguous along k, `rows`: contiguous along n.

    A member `alone` has nobody to share with or to wait for.
    """
    if (n <= gemm.FEW and lines_left) or (m <= gemm.FEW and lines_right):
        return _NO_TILES._replace(dots=True)
    if m <= gemm.FEW and rows_right:
        own_size = aligned(m * gemm.sum_columns(dtype), dtype)
        return _NO_TILES._replace(sums=True, own_size=own_size)
    width, itemsize = gemm.panel_width(dtype), dtype.itemsize
    tiles, panels = -(-m // TILE_ROWS), -(-n // width)
    height = -(-m // tiles)
    packs_left = panels >= PACK_LEFT_PANELS and m * k * itemsize > PACK_LEFT_BYTES
    packs_left |= panels >= PACK_COLUMNS_PANELS and not lines_left
    least_tiles = PACK_RIGHT_TILES if n * k * itemsize <= PACK_RIGHT_BYTES else 2
    packs_right = not rows_right or tiles >= least_tiles
    block = max(1, min(tiles, BLOCK_BYTES // (height * min(k, gemm.K_RUN) * itemsize)))
    one_block, runs, group = block == tiles, 1, panels
    if not alone:
        work = min(max(m * n * k * itemsize // PIECES, LEAST_PER_PIECE), MOST_PER_PIECE)
        most = ROUND_BYTES // (panels * width * gemm.K_RUN * itemsize)
        runs = max(1, min(-(-ROUND_MULTIPLY_ADDS // (m * n * gemm.K_RUN)), most))
        if n * k * itemsize > STREAMED_BYTES:
            most = work // (block * height * width * gemm.K_RUN * itemsize)
            runs = min(runs, max(STREAMED_RUNS, most))
    depth = min(k, runs * gemm.K_RUN)
    if not alone:
        rows = work // (depth * width * itemsize)  # times panels
        block = max(1, min(block, rows // height))
        group = max(1, min(panels, rows // (block * height)))
    panel_size = aligned(depth, dtype) * width
    held = panels
    if packs_right:
        round_bytes = ROUND_BYTES
        if one_block and (alone or panels * panel_size * itemsize > ROUND_BYTES):
            round_bytes = NEAR_BYTES if alone else SHARED_BYTES
        held = min(panels, max(1, round_bytes // (panel_size * itemsize)))
        group = min(group, held)
        held -= held % group if held < panels else 0
    return ProductPlan(
        height, packs_left, packs_right, False, False, block * height, group, held, depth,
        aligned(m * k, dtype) if packs_left else 0, (held if packs_right else 1) * panel_size,
        gemm.own_size(dtype),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _table(how: ProductPlan, *shape_and_strides: int) -> NDArray[np.int64]:
    """The vector that `gemm.multiply` reads: one argument of a call instead of nineteen.

    After a large product a call finds little of the interpreter in the caches, and each counts.
    """
    return np.array([*shape_and_strides, *how], np.int64)


def product(
    left: Array,
    right: Array,
    *,
    scale: float = 1.0,
    bias: Array | None = None,
    n_threads: int | None = None,
) -> Array:
    """scale * left @ right (+ bias in every column), in the dtype all of them have.

    Parameters
    ----------
    left : ndarray of shape (m, k)
    right : ndarray of shape (k, n)
    scale : float
    bias : ndarray of shape (m, 1), optional
    n_threads : int, optional
        At most; by default all there are.

    Returns
    -------
    out : ndarray of shape (m, n)

    Examples
    --------
    >>> product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    out = _result(left, right)
    _multiply(out, out, left, right, scale, bias, gemm.NO_ACTIVATION, n_threads)
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
    Z, A = _result(left, right), _result(left, right)
    _multiply(Z, A, left, right, 1.0, bias, code)
    return Z, A


def _result(left: Array, right: Array) -> Array:
    """Room for left @ right."""
    (m, _), (_, n), dtype = left.shape, right.shape, left.dtype
    if m * n * dtype.itemsize < ALIGNED_BYTES:
        return np.empty((m, n), dtype)
    return aligned_empty(m * n, dtype).reshape(m, n)


def _multiply(
    out: Array,
    values: Array,
    left: Array,
    right: Array,
    scale: float,
    bias: Array | None,
    code: int,
    n_threads: int | None = None,
) -> None:
    (m, k), n, dtype = left.shape, right.shape[1], left.dtype
    if n <= gemm.FEW < m and bias is None and k > 1 and left.strides[0] == left.itemsize:
        # Few columns, and W^T as left operand: its lines run across k. Row by row of the result's
        # transpose they are read in the order of memory.
        transposed = np.empty((n, m), dtype)
        _multiply(
            transposed, transposed, right.T, left.T, scale, None, gemm.NO_ACTIVATION, n_threads
        )
        out[...] = transposed.T
        return
    a, a_start, a_row, a_k = matrix(left)
    b, b_start, b_k, b_column = matrix(right)
    lines_left, lines_right = a_k == 1 or k == 1, b_k == 1 or k == 1
    team = team_for(m * n * k * dtype.itemsize // PACE, n_threads)
    how = plan(
        m, n, k, lines_left, lines_right, b_column == 1 or n == 1, dtype, team == 1
    )  # fmt: skip
    if how.dots and not lines_left:
        a, a_start, a_row, a_k = np.ascontiguousarray(left).reshape(-1), 0, k, 1
    if how.dots and not lines_right:
        b, b_start, b_k, b_column = np.ascontiguousarray(right.T).reshape(-1), 0, 1, k
    target = out.reshape(-1)
    activated = target if values is out else values.reshape(-1)
    call(
        gemm.multiply, team,
        tile_address(dtype), _table(how, m, n, k, a_row, a_k, b_k, b_column),
        target, activated,
        working_memory(how.left_size + how.panels_size + team * how.own_size, dtype),
        a, a_start, b, b_start, target if bias is None else flat(bias), bias is not None,
        float(scale), code, key=dtype,
    )  # fmt: skip
