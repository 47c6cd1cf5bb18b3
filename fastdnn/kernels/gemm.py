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

from .activations import activate1, activate_run
from .jit import kernel, parallel_kernel, routine, stage
from .linear import tile_start
from .microkernels import ADD, SET, SET_BIAS, TILE_ROWS, multiply_tile
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
    store,
    store_up_to,
    sum_lanes,
    transpose_square,
)
from .team import meet, share

# Length of a run of k. Longer than that of a training step: ``out`` is a matrix with distant rows,
# and is fetched once more for each run.
K_RUN = 384

# Panels of the right operand that a member packs before it passes over them, and tiles of the left
# operand it passes over while they stay in the second-level cache: 576 and 768 KiB with vectors
# of 64 bytes, half of that with 32.
GROUP_PANELS = 12
GROUP_TILES = 32

# Rows or columns up to which a product is computed as scalar products.
FEW = 4

# Scalar products are summed in float64 from one run of k to the next.
DOT_RUN = 4096

# No activation: ``values`` is not written.
NO_ACTIVATION = -1


def panel_width(dtype):
    """Columns of a panel: two vectors."""
    return 2 * lane_count(dtype)


def packed_rows(dtype):
    """Rows of a packed tile: those of the micro-kernel, rounded up to whole vectors."""
    lane = lane_count(dtype)
    return -(-TILE_ROWS // lane) * lane


def packed_left_size(tiles, k_count, dtype):
    """Elements of the packed left operand."""
    lane = lane_count(dtype)
    return tiles * packed_rows(dtype) * -(-k_count // lane) * lane


def member_size(panels, k_count, dtype):
    """Elements of one member's own buffer: packed panels, an unfinished tile, a square."""
    lane, width = lane_count(dtype), panel_width(dtype)
    run = min(K_RUN, -(-k_count // lane) * lane)
    return min(panels, GROUP_PANELS) * run * width + TILE_ROWS * width + lane * lane


# --- packing -------------------------------------------------------------------------------------


@routine
def pack_lines(target, width, source, stride, k_stride, present, k_count, square):
    """target[k, j] = source[j * stride + k * k_stride] for j < width; zero from ``present`` on.

    Lines are rows of the left operand or columns of the right one. ``target`` has its k rounded up
    to whole vectors; ``square`` is room for lanes x lanes.
    """
    out_of_line()
    lane = lanes(target)
    if stride == 1:
        for k in range(k_count):
            row = at(source, k * k_stride)
            for j in range(0, width, lane):
                v = splat(target, 0.0)
                if j < present:
                    v = load_up_to(at(row, j), present - j)
                store(at(target, k * width + j), v)
        return
    if k_stride != 1:
        for j in range(width):
            for k in range(k_count):
                x = get(source, j * stride + k * k_stride) if j < present else 0.0
                put(target, k * width + j, x)
        return
    for j in range(0, width, lane):
        for k in range(0, k_count, lane):
            corner, corner_stride = at(source, j * stride + k), stride
            if present - j < lane or k_count - k < lane:
                for i in range(lane):
                    v = splat(target, 0.0)
                    if i < present - j:
                        v = load_up_to(at(corner, i * stride), k_count - k)
                    store(at(square, i * lane), v)
                corner, corner_stride = square, lane
            transpose_square(at(target, k * width + j), width, corner, corner_stride)


@routine
def copy_block(target, target_stride, source, source_stride, rows, columns):
    """The first ``columns`` elements of some rows."""
    out_of_line()
    lane = lanes(target)
    for i in range(rows):
        for j in range(0, columns, lane):
            v = load_up_to(at(source, i * source_stride + j), columns - j)
            store_up_to(at(target, i * target_stride + j), v, columns - j)


@routine
def activate_block(code, A, Z, stride, rows, columns):
    """A = g(Z) on a block of two row-major matrices."""
    out_of_line()
    lane = lanes(A)
    for i in range(rows):
        for j in range(0, columns, lane):
            place = i * stride + j
            z = load_up_to(at(Z, place), columns - j)
            store_up_to(at(A, place), activate1(code, z), columns - j)


# --- products of tiles ---------------------------------------------------------------------------


@stage
def _pack_left_share(member, team, packed, left, left_row, left_k, m, k_count, tiles, rows, square):
    """This member's tiles of the left operand: for each block of k, tile after tile."""
    lane = lanes(packed)
    blocks = (k_count + K_RUN - 1) // K_RUN
    first, end = share(member, team, blocks * tiles)
    for item in range(first, end):
        tile, k = item % tiles, item // tiles * K_RUN
        run = min(K_RUN, k_count - k)
        padded = (run + lane - 1) // lane * lane
        i = tile_start(tile, tiles, m)
        pack_lines(
            at(packed, (k * tiles + tile * padded) * rows), rows,
            at(left, i * left_row + k * left_k), left_row, left_k, m - i, run, square,
        )  # fmt: skip


@stage
def _tile_products(
    member, team, out, values, left, left_row, left_k, packed, packs_left, rows,
    right, right_k, right_column, packs_right, bias, first_mode, scale, code,
    m, n, k_count, tiles, panels, buffer, edge, square,
):  # fmt: skip
    """This member's share of the tiles of ``out``."""
    lane = lanes(out)
    width = 2 * lane
    first, end = share(member, team, panels * tiles)
    for group in range(first // tiles, (end + tiles - 1) // tiles, GROUP_PANELS):
        group_end = min(group + GROUP_PANELS, (end + tiles - 1) // tiles)
        for k in range(0, k_count, K_RUN):
            run = min(K_RUN, k_count - k)
            padded = (run + lane - 1) // lane * lane
            mode = ADD if k > 0 else first_mode
            for panel in range(group, group_end):
                j = panel * width
                if packs_right or j + width > n:
                    pack_lines(
                        at(buffer, (panel - group if packs_right else 0) * padded * width), width,
                        at(right, j * right_column + k * right_k), right_column, right_k,
                        n - j, run, square,
                    )  # fmt: skip
            for block in range(0, tiles, GROUP_TILES):
                for panel in range(group, group_end):
                    j = panel * width
                    columns = min(width, n - j)
                    vectors = 1 if columns <= lane else 2
                    panel_start, panel_k = at(right, j + k * right_k), right_k
                    if packs_right or columns < width:
                        panel_start, panel_k = (
                            at(buffer, (panel - group if packs_right else 0) * padded * width),
                            width,
                        )
                    begin = max(block, first - panel * tiles)
                    stop = min(min(block + GROUP_TILES, tiles), end - panel * tiles)
                    for tile in range(begin, stop):
                        i = tile_start(tile, tiles, m)
                        height = tile_start(tile + 1, tiles, m) - i
                        tile_start_, row_stride, k_stride = (
                            at(left, i * left_row + k * left_k),
                            left_row,
                            left_k,
                        )
                        if packs_left:
                            tile_start_, row_stride, k_stride = (
                                at(packed, (k * tiles + tile * padded) * rows),
                                1,
                                rows,
                            )
                        place = at(out, i * n + j)
                        target, target_stride = place, n
                        if columns < vectors * lane:
                            target, target_stride = edge, width
                            if mode == ADD:
                                copy_block(edge, width, place, n, height, columns)
                        multiply_tile(
                            height, vectors, target, target_stride,
                            tile_start_, row_stride, k_stride, 0,
                            panel_start, panel_k, run, 1, mode, scale, at(bias, i),
                        )  # fmt: skip
                        if columns < vectors * lane:
                            copy_block(place, n, edge, width, height, columns)
                        if code >= 0 and k + run == k_count:
                            activate_block(code, at(values, i * n + j), place, n, height, columns)


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
    if code >= 0 and tall:
        activate_run(code, at(values, first * n), at(out, first * n), (end - first) * n)
    elif code >= 0:
        activate_block(code, at(values, first), at(out, first), n, m, end - first)


# --- entry kernels -------------------------------------------------------------------------------


@stage
def member_product(
    member, counters, team, out, values, left, right, bias, work, scale, code, has_bias,
    m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
    tiles, packs_left, packs_right, dots, left_size, own_size,
):  # fmt: skip
    """What one member of the team does: see the module."""
    a = pointer(left, left_start)
    b = pointer(right, right_start)
    mode = SET_BIAS if has_bias else SET
    if dots:
        _dot_products(member, team, pointer(out, 0), pointer(values, 0), a, left_row,
                      b, right_column, pointer(bias, 0), mode, scale, code, m, n, k_count)  # fmt: skip
    else:
        c = pointer(out, 0)
        lane = lanes(c)
        panels = (n + 2 * lane - 1) // (2 * lane)
        rows = (TILE_ROWS + lane - 1) // lane * lane
        own = left_size + (member + 1) * own_size
        square = pointer(work, own - lane * lane)
        edge = pointer(work, own - lane * lane - TILE_ROWS * 2 * lane)
        packed = pointer(work, 0)
        if packs_left:
            _pack_left_share(
                member, team, packed, a, left_row, left_k, m, k_count, tiles, rows, square
            )
            meet(counters, team, 1)
        _tile_products(
            member, team, c, pointer(values, 0), a, left_row, left_k, packed, packs_left, rows,
            b, right_k, right_column, packs_right, pointer(bias, 0), mode, scale, code,
            m, n, k_count, tiles, panels, pointer(work, own - own_size), edge, square,
        )  # fmt: skip


@kernel
def product_serial(
    counters, team, out, values, left, right, bias, work, scale, code, has_bias,
    m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
    tiles, packs_left, packs_right, dots, left_size, own_size,
):  # fmt: skip
    """out (m x n) = scale * left @ right (+ bias), values = g(out), by the calling thread alone."""
    member_product(
        0, counters, team, out, values, left, right, bias, work, scale, code, has_bias,
        m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
        tiles, packs_left, packs_right, dots, left_size, own_size,
    )  # fmt: skip


@parallel_kernel
def product_parallel(
    counters, team, out, values, left, right, bias, work, scale, code, has_bias,
    m, n, k_count, left_start, left_row, left_k, right_start, right_k, right_column,
    tiles, packs_left, packs_right, dots, left_size, own_size,
):  # fmt: skip
    """The same by a team of threads, all of which must run at the same time."""
    for member in prange(team):
        member_product(
            np.int64(member), counters, team, out, values, left, right, bias, work, scale, code,
            has_bias, m, n, k_count, left_start, left_row, left_k, right_start, right_k,
            right_column, tiles, packs_left, packs_right, dots, left_size, own_size,
        )  # fmt: skip
