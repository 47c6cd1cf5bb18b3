"""The product of two matrices as their owner laid them out: any strides, any size.

``out = scale * left @ right (+ bias of each row)``, then, where asked for, ``values = g(out)``.

The columns of ``right`` are cut into panels, the rows of ``left`` into tiles. A product is made in
rounds, each some panels and one or more runs of k: a team packs the panels, waits until they are
complete, and multiplies. Both is done in pieces that members claim (see `team`), because cores
differ in speed from one millisecond to the next: with equal shares all waited for the slowest, and
the others' threads fell asleep. A block of rows times a group of panels is one such piece. A panel
stays in the first-level cache while tile after tile of these rows, which the second-level cache
holds, passes over it. Every element is the same chain of multiply-adds, cut every
``K_RUN``, whoever computes it and whether operands are packed or read in place: results are
bit-identical for any team.

A product with very few rows or columns would leave most of a tile unused. It is computed as
scalar products instead, vectors running along k; or, where the right operand has contiguous rows,
as sums of these.
"""

from __future__ import annotations

import numpy as np

from .activations import activate1
from .jit import kernel, routine
from .linear import K_BLOCK
from .microkernels import (
    ADD,
    SET,
    SET_BIAS,
    TILE_ROWS,
    TILE_VECTORS,
    multiply_tiles,
    tile_vectors,
)
from .packing import pack_left, pack_panels
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
    store,
    store_up_to,
    sum_lanes,
)
from .team import PACKING_PIECES, PANEL_PIECES, UNIT_PIECES, claim, finish, share, wait
from .vectors import lane_count

# k runs in blocks of K_RUN, for which a panel stays in the first-level cache while tile after tile
# of the left operand passes over it.
K_RUN = K_BLOCK

# Pieces in which a team packs the left operand, and rows of one of the right operand.
LEFT_PIECES = 64
ROWS_PER_PIECE = 32

# Rows or columns up to which a product is computed as scalar products.
FEW = 4

# Vectors of a row that are added up together: those of four rows, and the sums, stay in the
# first-level cache.
SUM_VECTORS = 64

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
def finish_tile(out, values, stride, tile, tile_stride, rows, columns, adds, scale, code):
    """Bring a tile home: out = tile, or scale * tile + out; values = g(out) where ``code`` >= 0."""
    out_of_line()
    lane = lanes(out)
    for i in range(rows):
        for j in range(0, columns, lane):
            left = columns - j
            place = at(out, i * stride + j)
            z = load_up_to(at(tile, i * tile_stride + j), left)
            if adds:
                z = fma(z, splat(out, scale), load_up_to(place, left))
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


@routine
def _pack_panels(
    member, counters, team, phase, packed, right, right_k, right_column, panels, columns, depth,
    slot, square,
):  # fmt: skip
    """Pack ``panels`` panels of ``right``, in pieces; returns how many.

    Rows that are contiguous are read from end to end, others panel by panel.
    """
    width = TILE_VECTORS * lanes(packed)
    together, rows = (panels, ROWS_PER_PIECE) if right_column == 1 else (1, depth)
    runs = (depth + rows - 1) // rows
    count = (panels + together - 1) // together * runs
    piece = _next(counters, PANEL_PIECES, phase, member, team, count, -1)
    while piece >= 0:
        panel, k = piece // runs * together, piece % runs * rows
        j = panel * width
        pack_panels(
            at(packed, panel * slot + k * width), slot, width,
            at(right, j * right_column + k * right_k), right_column, right_k,
            together, columns - j, min(rows, depth - k), square,
        )  # fmt: skip
        finish(counters, team)
        piece = _next(counters, PANEL_PIECES, phase, member, team, count, piece)
    return count


@routine
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


@routine
def _block(
    micro_kernel, out, values, left, left_row, left_k, packed_left, packs_left,
    right, right_k, packed_right, packed_from, bias, first_mode, scale, code,
    m, n, height, first_row, end_row, first_panel, end_panel, k_start, k_end, k_count, slot,
    own_tile,
):  # fmt: skip
    """Some rows of the left operand times some panels of the right one, for k in one round."""
    lane = lanes(out)
    width = TILE_VECTORS * lane
    for k in range(k_start, k_end, K_RUN):
        run = min(K_RUN, k_end - k)
        activates = k + run == k_count and code >= 0
        for panel in range(first_panel, end_panel):
            j = panel * width
            b, b_k = at(right, j + k * right_k), right_k
            if panel >= packed_from:
                place = (panel - packed_from) * slot + (k - k_start) * width
                b, b_k = at(packed_right, place), width
            columns = min(width, n - j)
            vectors = tile_vectors((columns + lane - 1) // lane)
            direct = columns == vectors * lane
            i = first_row
            while i < end_row:  # whole tiles, then the rows that are left
                high = min(height, end_row - i)
                tiles = (end_row - i) // high if direct else 1
                a, a_tile, a_row, a_k = (
                    at(left, i * left_row + k * left_k), high * left_row, left_row, left_k,
                )  # fmt: skip
                if packs_left:
                    a, a_tile, a_row, a_k = at(packed_left, k * m + i * run), high * run, 1, high
                home = at(out, i * n + j)
                target, target_stride, factor = home, n, scale
                mode = ADD if k > 0 else first_mode
                if not direct:
                    target, target_stride = own_tile, width
                    if k > 0:  # what is added comes home by one operation, as from a whole tile
                        mode, factor = SET, 1.0
                multiply_tiles(
                    micro_kernel, high, vectors, tiles, target, target_stride,
                    a, a_tile, a_row, a_k, 0, b, b_k, run, 1, mode, factor, at(bias, i),
                )  # fmt: skip
                if activates or not direct:
                    finish_tile(
                        home, at(values, i * n + j), n, target, target_stride, tiles * high,
                        columns, k > 0 and not direct, scale, code if activates else NO_ACTIVATION,
                    )  # fmt: skip
                i += tiles * high


@routine
def _tile_products(
    member, counters, team, micro_kernel, out, values, left, left_row, left_k, packed_left,
    packs_left, right, right_k, right_column, packed_right, packs_right, bias, first_mode, scale,
    code, m, n, k_count, height, block, group, held, depth, own_tile,
):  # fmt: skip
    """``out`` in rounds of ``held`` panels and ``depth`` of k: pack, then multiply, in pieces."""
    lane = lanes(out)
    width = TILE_VECTORS * lane
    panels, blocks = (n + width - 1) // width, (m + block - 1) // block
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
                    end - start, n - j, k_end - k, slot, own_tile,
                )  # fmt: skip
            if packs_left and phase == 1:
                goal += _pack_left(
                    member, counters, team, packed_left, left, left_row, left_k, m, k_count, height,
                    own_tile,
                )  # fmt: skip
            wait(counters, team, goal)
            count = blocks * groups
            piece = _next(counters, UNIT_PIECES, phase, member, team, count, -1)
            while piece >= 0:
                row, panel = piece // groups * block, first + piece % groups * group
                _block(
                    micro_kernel, out, values, left, left_row, left_k, packed_left, packs_left,
                    right, right_k, packed_right, start, bias, first_mode, scale, code,
                    m, n, height, row, min(row + block, m), panel, min(panel + group, end),
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


@routine
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
        finish_tile(p, at(values, place), n, p, n, rows, columns, False, scale, code)


# --- sums of rows ---------------------------------------------------------------------------------


def sum_columns(dtype: np.dtype) -> int:
    """Columns that are added up together."""
    return SUM_VECTORS * lane_count(dtype)


@routine
def _add_rows(sums, stride, rows, left, left_row, left_k, right, right_k, columns, k_count):
    """sums[i, j] = sum over k of left[i, k] * right[k, j], in the order of k; four k at a time."""
    out_of_line()
    lane = lanes(sums)
    for j in range(0, rows * stride, lane):
        store(at(sums, j), splat(sums, 0.0))
    four = k_count // 4 * 4
    for k in range(0, four, 4):
        p = at(right, k * right_k)
        q, r, s = at(p, right_k), at(p, 2 * right_k), at(p, 3 * right_k)
        for i in range(rows):
            factors, to = at(left, i * left_row + k * left_k), at(sums, i * stride)
            a, b = splat(sums, get(factors, 0)), splat(sums, get(factors, left_k))
            c, d = splat(sums, get(factors, 2 * left_k)), splat(sums, get(factors, 3 * left_k))
            for j in range(0, columns, lane):
                rest = columns - j
                v = fma(load_up_to(at(p, j), rest), a, load(at(to, j)))
                v = fma(load_up_to(at(q, j), rest), b, v)
                v = fma(load_up_to(at(r, j), rest), c, v)
                store(at(to, j), fma(load_up_to(at(s, j), rest), d, v))
    for k in range(four, k_count):
        for i in range(rows):
            a, to = splat(sums, get(left, i * left_row + k * left_k)), at(sums, i * stride)
            for j in range(0, columns, lane):
                x = load_up_to(at(right, k * right_k + j), columns - j)
                store(at(to, j), fma(x, a, load(at(to, j))))


@routine
def _sums_of_rows(
    member, team, out, values, left, left_row, left_k, right, right_k, bias, first_mode, scale,
    code, m, n, k_count, sums,
):  # fmt: skip
    """This member's share of a product with few rows; as tiles compute it, so with their bits."""
    lane = lanes(out)
    together = SUM_VECTORS * lane
    first, end = share(member, team, (n + together - 1) // together)
    for start in range(first * together, min(end * together, n), together):
        columns = min(together, n - start)
        for k in range(0, k_count, K_RUN):
            _add_rows(sums, together, m, at(left, k * left_k), left_row, left_k,
                      at(right, k * right_k + start), right_k, columns,
                      min(K_RUN, k_count - k))  # fmt: skip
            for i in range(m):
                for j in range(0, columns, lane):
                    place, rest = at(out, i * n + start + j), columns - j
                    total, factor = load(at(sums, i * together + j)), splat(out, scale)
                    if k > 0:
                        total = fma(total, factor, load_up_to(place, rest))
                    elif first_mode == SET_BIAS:
                        total = fma(total, factor, splat(out, get(bias, i)))
                    else:
                        total = total * factor
                    store_up_to(place, total, rest)
        if code >= 0:
            p = at(out, start)
            finish_tile(p, at(values, start), n, p, n, m, columns, False, scale, code)


# --- the whole product ---------------------------------------------------------------------------


# Entries of the vector that says what is multiplied, and how.
(
    M, N, K, LEFT_ROW, LEFT_K, RIGHT_K, RIGHT_COLUMN,
    HEIGHT, PACKS_LEFT, PACKS_RIGHT, DOTS, SUMS, BLOCK, GROUP, HELD, DEPTH,
    LEFT_SIZE, PANELS_SIZE, OWN_SIZE,
) = range(19)  # fmt: skip


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
        return
    own = how[LEFT_SIZE] + how[PANELS_SIZE] + member * how[OWN_SIZE]
    if how[SUMS]:
        _sums_of_rows(
            member, team, c, pointer(values, 0), a, how[LEFT_ROW], how[LEFT_K], b, how[RIGHT_K],
            pointer(bias, 0), mode, scale, code, how[M], how[N], how[K], pointer(work, own),
        )  # fmt: skip
    else:
        _tile_products(
            member, counters, team, micro_kernel, c, pointer(values, 0), a, how[LEFT_ROW],
            how[LEFT_K], pointer(work, 0), how[PACKS_LEFT], b, how[RIGHT_K], how[RIGHT_COLUMN],
            pointer(work, how[LEFT_SIZE]), how[PACKS_RIGHT], pointer(bias, 0), mode, scale, code,
            how[M], how[N], how[K], how[HEIGHT], how[BLOCK], how[GROUP], how[HELD], how[DEPTH],
            pointer(work, own),
        )  # fmt: skip
