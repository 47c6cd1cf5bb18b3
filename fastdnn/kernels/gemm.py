"""The product of two matrices as their owner laid them out: any strides, any size.

``out = scale * left @ right (+ bias of each row)``, then, where asked for, ``values = g(out)``.

The columns of ``right`` are cut into panels, the rows of ``left`` into tiles. A product is made in
rounds, each some panels and one or more runs of k: a team packs the panels, waits until they are
complete, and multiplies. Both is done in pieces that members claim (see `team`), because cores
differ in speed from one millisecond to the next: with equal shares all waited for the slowest, and
the others' threads fell asleep. A block of tiles times a group of panels is one such piece. The
group stays in the second-level cache while tile after tile of the left operand, which the
first-level cache holds, passes over it. Every element is the same chain of multiply-adds, cut every
``K_RUN``, whoever computes it and whether operands are packed or read in place: results are
bit-identical for any team.

A product with very few rows or columns would leave most of a tile unused. It is computed as
scalar products instead, vectors running along k.
"""

from __future__ import annotations

import numpy as np

from .activations import activate1
from .jit import kernel, routine, stage
from .microkernels import (
    ADD,
    SET,
    SET_BIAS,
    TILE_ROWS,
    TILE_VECTORS,
    multiply_tiles,
    tile_vectors,
)
from .packing import pack_left, pack_lines
from .simd import (
    at,
    fma,
    get,
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
from .team import PACKING_PIECES, PANEL_PIECES, UNIT_PIECES, claim, finish, share, wait
from .vectors import lane_count

# k runs in blocks of K_RUN: a tile of the left operand takes 6 KiB of the first-level cache, a
# group of panels half a MiB of the second-level one (with 64-byte vectors).
K_RUN = 256
GROUP_PANELS = 8

# Pieces in which a team packs the left operand.
LEFT_PIECES = 64

# Rows or columns up to which a product is computed as scalar products.
FEW = 4

# Scalar products are summed in float64 from one run of k to the next.
DOT_RUN = 4096

# No activation: ``values`` is not written.
NO_ACTIVATION = -1


def panel_width(dtype: np.dtype) -> int:
    """Columns of a panel: those of the widest tile."""
    return TILE_VECTORS * lane_count(dtype)


def own_size(dtype: np.dtype) -> int:
    """Elements of a member's own buffer: a tile or a square."""
    return max(TILE_ROWS * panel_width(dtype), lane_count(dtype) ** 2)


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


@routine
def _next(counters, kind, phase, member, team, count, piece):
    """The piece after ``piece`` for a member alone, any that is left for one of a team; or -1.

    A member alone writes to no counters: those that it is given serve calls of all Python threads.
    """
    if team > 1:
        return claim(counters, kind, phase, member, team, count)
    return piece + 1 if piece + 1 < count else -1


@stage
def _pack_panels(
    member, counters, team, phase, packed, right, right_k, right_column, panels, group, columns,
    depth, slot, square,
):  # fmt: skip
    """Pack ``panels`` panels of ``right``, in pieces of a group and a run of k; returns how many.

    The groups are shared out as those of the blocks are: most members pack what they read next.
    """
    width = TILE_VECTORS * lanes(packed)
    runs = (depth + K_RUN - 1) // K_RUN
    count = (panels + group - 1) // group * runs
    piece = _next(counters, PANEL_PIECES, phase, member, team, count, -1)
    while piece >= 0:
        panel, k = piece // runs * group, piece % runs * K_RUN
        j = panel * width
        pack_lines(
            at(packed, panel * slot + k * width), slot, width,
            at(right, j * right_column + k * right_k), right_column, right_k,
            min(group, panels - panel), width, columns - j, min(K_RUN, depth - k), square,
        )  # fmt: skip
        finish(counters, team)
        piece = _next(counters, PANEL_PIECES, phase, member, team, count, piece)
    return count


@stage
def _pack_left(
    member, counters, team, packed, left, left_row, left_k, rows, k_count, height, square
):
    """Pack the left operand, in pieces; returns how many."""
    piece = _next(counters, PACKING_PIECES, 1, member, team, LEFT_PIECES, -1)
    while piece >= 0:
        pack_left(
            packed, piece, LEFT_PIECES, left, left_row, left_k, rows, k_count, K_RUN, height, square
        )
        finish(counters, team)
        piece = _next(counters, PACKING_PIECES, 1, member, team, LEFT_PIECES, piece)
    return LEFT_PIECES


@stage
def _block(
    micro_kernel, out, values, left, left_row, left_k, packed_left, packs_left,
    right, right_k, packed_right, packed_from, bias, first_mode, scale, code,
    m, n, height, first_tile, end_tile, first_panel, end_panel, k_start, k_end, k_count, slot,
    own_tile,
):  # fmt: skip
    """Some tiles of the left operand times some panels of the right one, for k in one round."""
    lane = lanes(out)
    width = TILE_VECTORS * lane
    for k in range(k_start, k_end, K_RUN):
        run = min(K_RUN, k_end - k)
        for tile in range(first_tile, end_tile):
            i = tile * height
            high = min(height, m - i)
            a, a_row, a_k = at(left, i * left_row + k * left_k), left_row, left_k
            if packs_left:
                a, a_row, a_k = at(packed_left, k * m + i * run), 1, high
            for panel in range(first_panel, end_panel):
                j = panel * width
                b, b_k = at(right, j + k * right_k), right_k
                if panel >= packed_from:
                    place = (panel - packed_from) * slot + (k - k_start) * width
                    b, b_k = at(packed_right, place), width
                columns = min(width, n - j)
                vectors = tile_vectors((columns + lane - 1) // lane)
                home = at(out, i * n + j)
                target, target_stride = home, n
                mode = ADD if k > 0 else first_mode
                direct = columns == vectors * lane
                if not direct:
                    target, target_stride = own_tile, width
                    mode = SET if k > 0 else first_mode
                multiply_tiles(
                    micro_kernel, high, vectors, 1, target, target_stride, a, 0, a_row, a_k, 0,
                    b, b_k, run, 1, mode, scale, at(bias, i),
                )  # fmt: skip
                activates = k + run == k_count and code >= 0
                if activates or not direct:
                    finish_tile(
                        home, at(values, i * n + j), n, target, target_stride, high, columns,
                        k > 0 and not direct, code if activates else NO_ACTIVATION,
                    )  # fmt: skip


@stage
def _tile_products(
    member, counters, team, micro_kernel, out, values, left, left_row, left_k, packed_left,
    packs_left, right, right_k, right_column, packed_right, packs_right, bias, first_mode, scale,
    code, m, n, k_count, height, block, group, held, depth, own_tile,
):  # fmt: skip
    """``out`` in rounds of ``held`` panels and ``depth`` of k: pack, then multiply, in pieces."""
    lane = lanes(out)
    width = TILE_VECTORS * lane
    tiles, panels = (m + height - 1) // height, (n + width - 1) // width
    blocks = (tiles + block - 1) // block
    # Read in place, only the last panel is packed, if it is not full.
    packed_from = 0 if packs_right else n // width
    phase, goal = 0, 0
    for first in range(0, panels, held):
        end = min(first + held, panels)
        groups = (end - first + group - 1) // group
        for k in range(0, k_count, depth):
            k_end = min(k + depth, k_count)
            slot = (k_end - k + lane - 1) // lane * lane * width
            phase += 1
            start = max(first, packed_from)
            packs = start < end
            if packs:
                j = start * width
                goal += _pack_panels(
                    member, counters, team, phase, packed_right,
                    at(right, j * right_column + k * right_k), right_k, right_column,
                    end - start, group, n - j, k_end - k, slot, own_tile,
                )  # fmt: skip
            if packs_left and phase == 1:
                goal += _pack_left(
                    member, counters, team, packed_left, left, left_row, left_k, m, k_count, height,
                    own_tile,
                )  # fmt: skip
            wait(counters, team, goal)
            count = groups * blocks
            piece = _next(counters, UNIT_PIECES, phase, member, team, count, -1)
            while piece >= 0:
                panel, tile = first + piece // blocks * group, piece % blocks * block
                _block(
                    micro_kernel, out, values, left, left_row, left_k, packed_left, packs_left,
                    right, right_k, packed_right, start, bias, first_mode, scale, code,
                    m, n, height, tile, min(tile + block, tiles), panel, min(panel + group, end),
                    k, k_end, k_count, slot, own_tile,
                )  # fmt: skip
                finish(counters, team)
                piece = _next(counters, UNIT_PIECES, phase, member, team, count, piece)
            goal += count
            if end < panels or k_end < k_count:  # before the next round packs, or adds to ``out``
                wait(counters, team, goal)


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


# --- the whole product ---------------------------------------------------------------------------


# Entries of the vector that says what is multiplied, and how.
(
    M, N, K, LEFT_ROW, LEFT_K, RIGHT_K, RIGHT_COLUMN,
    HEIGHT, PACKS_LEFT, PACKS_RIGHT, DOTS, BLOCK, GROUP, HELD, DEPTH,
    LEFT_SIZE, PANELS_SIZE, OWN_SIZE,
) = range(18)  # fmt: skip


@kernel
def multiply(
    member, counters, team, micro_kernel, how, out, values, work, left, left_start, right,
    right_start, bias, has_bias, scale, code,
):  # fmt: skip
    """One member's part of out (m x n) = scale * left @ right (+ bias), and of values = g(out)."""
    a, b, c = pointer(left, left_start), pointer(right, right_start), pointer(out, 0)
    mode = SET_BIAS if has_bias else SET
    if how[DOTS]:
        _dot_products(
            member, team, c, pointer(values, 0), a, how[LEFT_ROW], b, how[RIGHT_COLUMN],
            pointer(bias, 0), mode, scale, code, how[M], how[N], how[K],
        )  # fmt: skip
    else:
        own = how[LEFT_SIZE] + how[PANELS_SIZE] + member * how[OWN_SIZE]
        _tile_products(
            member, counters, team, micro_kernel, c, pointer(values, 0), a, how[LEFT_ROW],
            how[LEFT_K], pointer(work, 0), how[PACKS_LEFT], b, how[RIGHT_K], how[RIGHT_COLUMN],
            pointer(work, how[LEFT_SIZE]), how[PACKS_RIGHT], pointer(bias, 0), mode, scale, code,
            how[M], how[N], how[K], how[HEIGHT], how[BLOCK], how[GROUP], how[HELD], how[DEPTH],
            pointer(work, own),
        )  # fmt: skip
