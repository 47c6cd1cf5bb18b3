"""The product of two matrices as their owner laid them out: any strides, any size.

``out = scale * left @ right (+ bias of each row)``, then, where asked for, ``values = g(out)``.

The columns of ``right`` are cut into panels, the rows of ``left`` into tiles. A member of the team
takes a share of the tiles, panel after panel, and nobody else writes to them; k runs in blocks of
``K_RUN``. Every element is thus the same chain of multiply-adds whoever computes it and whether
operands are packed or read in place: results are bit-identical for any team.

A product with very few rows or columns would leave most of a tile unused. It is computed as
scalar products instead, vectors running along k.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .activations import activate1
from .jit import kernel, parallel_kernel, routine, stage
from .microkernels import ADD, SET, SET_BIAS, TILE_ROWS, multiply_tile
from .packing import pack_lines
from .simd import (
    at,
    fma,
    get,
    lane_count,
    lanes,
    load,
    load_up_to,
    out_of_line,
    pointer,
    put,
    splat,
    store_up_to,
    sum_lanes,
)
from .team import meet, share

# k runs in blocks of K_RUN, and unfinished tiles stay in the second-level cache for up to K_SPAN:
# fetching and storing them in ``out``, whose rows are far apart, costs 10 % where it is done for
# every run.
K_RUN = 384
K_SPAN = 4 * K_RUN

# Panels of the right operand, and bytes of packed tiles of the left operand, that meet while they
# are in the second-level cache (with 64-byte vectors 384 + 768 KiB; half of that with 32).
GROUP_PANELS = 8
GROUP_BYTES = 768 * 1024

# Rows or columns up to which a product is computed as scalar products.
FEW = 4

# Scalar products are summed in float64 from one run of k to the next.
DOT_RUN = 4096

# No activation: ``values`` is not written.
NO_ACTIVATION = -1


def panel_width(dtype: np.dtype) -> int:
    """Columns of a panel: two vectors."""
    return 2 * lane_count(dtype)


def packed_rows(dtype: np.dtype) -> int:
    """Rows of a packed tile: those of the micro-kernel, rounded up to whole vectors."""
    lane = lane_count(dtype)
    return -(-TILE_ROWS // lane) * lane


def group_tiles(dtype: np.dtype) -> int:
    """Tiles of the left operand in a group."""
    return GROUP_BYTES // (packed_rows(dtype) * K_RUN * dtype.itemsize)


def packed_left_size(tiles: int, k_count: int, dtype: np.dtype) -> int:
    """Elements of the packed left operand."""
    return tiles * packed_rows(dtype) * _whole_vectors(k_count, dtype)


def own_sizes(
    panels: int, k_count: int, packs_right: bool, dtype: np.dtype
) -> tuple[int, int, int]:
    """Elements of a member's own buffers: packed panels, unfinished tiles, one square."""
    lane, width = lane_count(dtype), panel_width(dtype)
    group = min(panels, GROUP_PANELS)
    packed = (group if packs_right else 1) * width * min(K_SPAN, _whole_vectors(k_count, dtype))
    unfinished = TILE_ROWS * width
    if k_count > K_RUN:
        unfinished *= group * group_tiles(dtype)
    return packed, unfinished, lane * lane


def _whole_vectors(count: int, dtype: np.dtype) -> int:
    lane = lane_count(dtype)
    return -(-count // lane) * lane


@routine
def finish_tile(out, values, stride, tile, tile_stride, rows, columns, adds, code):
    """Bring a finished tile home: out = tile (+ out), and values = g(out) where ``code`` >= 0."""
    out_of_line()
    lane = lanes(out)
    for i in range(rows):
        for j in range(0, columns, lane):
            left = columns - j
            place = at(out, i * stride + j)
            z = load_up_to(at(tile, i * tile_stride + j), left)
            if adds:
                z = z + load_up_to(place, left)
            store_up_to(place, z, left)
            if code >= 0:
                store_up_to(at(values, i * stride + j), activate1(code, z), left)


# --- products of tiles ---------------------------------------------------------------------------


@stage
def _pack_left_share(
    member, team, packed, left, left_row, left_k, m, k_count, tiles, height, rows, square
):  # fmt: skip
    """This member's tiles of the left operand: for each run of k, tile after tile."""
    lane = lanes(packed)
    first, end = share(member, team, (k_count + K_RUN - 1) // K_RUN * tiles)
    while first < end:
        tile, k = first % tiles, first // tiles * K_RUN
        count = min(tiles - tile, end - first)
        run = min(K_RUN, k_count - k)
        slot = (run + lane - 1) // lane * lane * rows
        i = tile * height
        pack_lines(
            at(packed, k * tiles * rows + tile * slot), slot, rows,
            at(left, i * left_row + k * left_k), left_row, left_k,
            count, height, m - i, run, square,
        )  # fmt: skip
        first += count


@stage
def _pack_right_group(
    packed, right, right_k, right_column, packs_right, n, group, group_end, k_first, k_end, square
):
    """Panels of the right operand: for each run of k, panel after panel.

    Where the right operand is read in place only the last panel is packed, if it is not full.
    """
    lane = lanes(packed)
    width = 2 * lane
    first = group if packs_right else group_end - 1
    if packs_right or group_end * width > n:
        j, count = first * width, group_end - first
        for k in range(k_first, k_end, K_RUN):
            run = min(K_RUN, k_end - k)
            slot = (run + lane - 1) // lane * lane * width
            pack_lines(
                at(packed, (k - k_first) * count * width), slot, width,
                at(right, j * right_column + k * right_k), right_column, right_k,
                count, width, n - j, run, square,
            )  # fmt: skip


@stage
def _tile_products(
    member, team, out, values, left, left_row, left_k, packed_left, packs_left, rows,
    right, right_k, right_column, packed_right, packs_right, bias, first_mode, scale, code,
    m, n, k_count, tiles, height, panels, block_tiles, unfinished, square,
):  # fmt: skip
    """This member's share of ``out``, a group of panels and a block of tiles at a time."""
    lane = lanes(out)
    width = 2 * lane
    first, end = share(member, team, panels * tiles)
    last_panel = (end + tiles - 1) // tiles
    for group in range(first // tiles, last_panel, GROUP_PANELS):
        group_end = min(group + GROUP_PANELS, last_panel)
        count = group_end - group if packs_right else 1
        for k_first in range(0, k_count, K_SPAN):
            k_end = min(k_first + K_SPAN, k_count)
            _pack_right_group(packed_right, right, right_k, right_column, packs_right, n,
                              group, group_end, k_first, k_end, square)  # fmt: skip
            for block in range(0, tiles, block_tiles):
                for k in range(k_first, k_end, K_RUN):
                    run = min(K_RUN, k_end - k)
                    padded = (run + lane - 1) // lane * lane
                    mode = ADD if k > k_first else (SET if k > 0 else first_mode)
                    for panel in range(group, group_end):
                        j = panel * width
                        columns = min(width, n - j)
                        vectors = 1 if columns <= lane else 2
                        b, b_k = at(right, j + k * right_k), right_k
                        if packs_right or columns < width:
                            slot = (k - k_first) * count + (
                                panel - group if packs_right else 0
                            ) * padded
                            b, b_k = at(packed_right, slot * width), width
                        begin = max(block, first - panel * tiles)
                        stop = min(min(block + block_tiles, tiles), end - panel * tiles)
                        for tile in range(begin, stop):
                            i = tile * height
                            high = min(height, m - i)
                            a, a_row, a_k = at(left, i * left_row + k * left_k), left_row, left_k
                            if packs_left:
                                place = (k * tiles + tile * padded) * rows
                                a, a_row, a_k = at(packed_left, place), 1, rows
                            home = at(out, i * n + j)
                            direct = k_count <= K_RUN and columns == vectors * lane
                            target, target_stride = home, n
                            if not direct:
                                slot = (
                                    (panel - group) * block_tiles + tile - block
                                    if k_count > K_RUN
                                    else 0
                                )
                                target, target_stride = (
                                    at(unfinished, slot * TILE_ROWS * width),
                                    width,
                                )
                            multiply_tile(
                                high, vectors, target, target_stride, a, a_row, a_k, 0,
                                b, b_k, run, 1, mode, scale, at(bias, i),
                            )  # fmt: skip
                            activates = code >= 0 and k_end == k_count
                            if k + run == k_end and (activates or not direct):
                                finish_tile(
                                    home, at(values, i * n + j), n, target, target_stride,
                                    high, columns, k_first > 0, code if activates else -1,
                                )  # fmt: skip


# --- scalar products -----------------------------------------------------------------------------


@routine
def dot_lines(out, out_stride, lines, line_stride, count, line, k_count, scale):
    """out[i] = scale * (line i . line) for ``count`` <= 4 lines, all contiguous along k.

    Four lines are always computed, the last one again where there are fewer: an element's bits do
    not depend on its neighbours.
    """
    out_of_line()
    lane = lanes(out)
    p0 = lines
    p1 = at(lines, min(1, count - 1) * line_stride)
    p2 = at(lines, min(2, count - 1) * line_stride)
    p3 = at(lines, min(3, count - 1) * line_stride)
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    for start in range(0, k_count, DOT_RUN):
        end = min(start + DOT_RUN, k_count)
        zero = splat(out, 0.0)
        a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
        k = start
        while k + 2 * lane <= end:
            v = load(at(line, k))
            w = load(at(line, k + lane))
            a0 = fma(load(at(p0, k)), v, a0)
            a1 = fma(load(at(p1, k)), v, a1)
            a2 = fma(load(at(p2, k)), v, a2)
            a3 = fma(load(at(p3, k)), v, a3)
            b0 = fma(load(at(p0, k + lane)), w, b0)
            b1 = fma(load(at(p1, k + lane)), w, b1)
            b2 = fma(load(at(p2, k + lane)), w, b2)
            b3 = fma(load(at(p3, k + lane)), w, b3)
            k += 2 * lane
        while k < end:
            left = end - k
            v = load_up_to(at(line, k), left)
            a0 = fma(load_up_to(at(p0, k), left), v, a0)
            a1 = fma(load_up_to(at(p1, k), left), v, a1)
            a2 = fma(load_up_to(at(p2, k), left), v, a2)
            a3 = fma(load_up_to(at(p3, k), left), v, a3)
            k += lane
        t0 += np.float64(sum_lanes(a0 + b0))
        t1 += np.float64(sum_lanes(a1 + b1))
        t2 += np.float64(sum_lanes(a2 + b2))
        t3 += np.float64(sum_lanes(a3 + b3))
    put(out, 0, t0 * scale)
    put(out, min(1, count - 1) * out_stride, t1 * scale)
    put(out, min(2, count - 1) * out_stride, t2 * scale)
    put(out, min(3, count - 1) * out_stride, t3 * scale)


@stage
def _dot_products(
    member, team, out, values, left, left_row, right, right_column, bias, first_mode, scale, code,
    m, n, k_count,
):  # fmt: skip
    """This member's share of a product with few rows or few columns; all lines run along k."""
    tall = n <= FEW
    lines, line_stride, count = (left, left_row, m) if tall else (right, right_column, n)
    few, few_stride, few_count = (right, right_column, n) if tall else (left, left_row, m)
    line_out, few_out = (n, 1) if tall else (1, n)
    first, end = share(member, team, (count + 3) // 4)
    first, end = 4 * first, min(4 * end, count)
    for i in range(first, end, 4):
        for j in range(few_count):
            dot_lines(
                at(out, i * line_out + j * few_out), line_out, at(lines, i * line_stride),
                line_stride, min(4, end - i), at(few, j * few_stride), k_count, scale,
            )  # fmt: skip
    if first_mode == SET_BIAS:
        for i in range(first, end):
            for j in range(few_count):
                place = i * line_out + j * few_out
                put(out, place, get(out, place) + get(bias, i if tall else j))
    if code >= 0 and end > first:
        place = first * line_out
        rows, columns = (1, (end - first) * n) if tall else (m, end - first)
        p = at(out, place)
        finish_tile(p, at(values, place), n, p, n, rows, columns, False, code)


# --- entry kernels -------------------------------------------------------------------------------


@stage
def member_product(
    member, counters, team, out, values, left, right, bias, work, scale, code, has_bias,
    m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
    tiles, packs_left, packs_right, dots, left_size, panels_size, unfinished_size, own_size,
):  # fmt: skip
    """What one member of the team does: see the module."""
    a, b, c = pointer(left, left_start), pointer(right, right_start), pointer(out, 0)
    mode = SET_BIAS if has_bias else SET
    if dots:
        _dot_products(
            member, team, c, pointer(values, 0), a, left_row, b, right_column, pointer(bias, 0),
            mode, scale, code, m, n, k_count,
        )  # fmt: skip
    else:
        lane = lanes(c)
        rows = (TILE_ROWS + lane - 1) // lane * lane
        height, panels = (m + tiles - 1) // tiles, (n + 2 * lane - 1) // (2 * lane)
        block_tiles = GROUP_BYTES // (rows * K_RUN * out.itemsize)
        own = left_size + member * own_size
        square = pointer(work, own + panels_size + unfinished_size)
        packed = pointer(work, 0)
        if packs_left:
            _pack_left_share(
                member, team, packed, a, left_row, left_k, m, k_count, tiles, height, rows, square
            )
            meet(counters, team, 1)
        _tile_products(
            member, team, c, pointer(values, 0), a, left_row, left_k, packed, packs_left, rows,
            b, right_k, right_column, pointer(work, own), packs_right, pointer(bias, 0), mode,
            scale, code, m, n, k_count, tiles, height, panels, block_tiles,
            pointer(work, own + panels_size), square,
        )  # fmt: skip


@kernel
def product_serial(
    counters, team, out, values, left, right, bias, work, scale, code, has_bias,
    m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
    tiles, packs_left, packs_right, dots, left_size, panels_size, unfinished_size, own_size,
):  # fmt: skip
    """out (m x n) = scale * left @ right (+ bias), values = g(out), by the calling thread alone."""
    member_product(
        0, counters, team, out, values, left, right, bias, work, scale, code, has_bias,
        m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
        tiles, packs_left, packs_right, dots, left_size, panels_size, unfinished_size, own_size,
    )  # fmt: skip


@parallel_kernel
def product_parallel(
    counters, team, out, values, left, right, bias, work, scale, code, has_bias,
    m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
    tiles, packs_left, packs_right, dots, left_size, panels_size, unfinished_size, own_size,
):  # fmt: skip
    """The same by a team of threads, all of which must run at the same time."""
    for member in prange(team):
        member_product(
            np.int64(member), counters, team, out, values, left, right, bias, work, scale, code,
            has_bias, m, n, k_count, left_start, left_row, left_k, right_start, right_k,
            right_column, tiles, packs_left, packs_right, dots, left_size, panels_size,
            unfinished_size, own_size,
        )  # fmt: skip
