"""Layouts: how arrays of the outside world become panels, and panels become each other.

A *panel* holds ``width`` neighbouring columns of a matrix, row after row, so that the micro-kernel
reads it as one unbroken run of vectors. Activations live in panels of examples (units x width);
the gradient of the weights reads the same numbers in panels of units (examples x width).
Columns beyond the last example hold finite numbers that count for nothing: zeros, or in a batch
with fewer examples the last one again (``examples.spread_examples``).
"""

from __future__ import annotations

from .jit import routine
from .linear import K_BLOCK
from .microkernels import tile_height
from .simd import (
    at,
    get,
    in_line,
    lanes,
    load,
    load_up_to,
    out_of_line,
    pointer,
    prefetch,
    put,
    splat,
    store,
    store_up_to,
    transpose_square,
)
from .tables import LAYERS, N_IN, N_OUT, PACKED, PACKED_T, VECTORS, W
from .target import TARGET
from .team import PACKING_PIECES, claim, finish, share, wait


@routine
def pack_rows(panel, source, row_stride, rows, columns, width):
    """A panel from ``rows`` rows of which the first ``columns`` elements are contiguous."""
    out_of_line()
    lane = lanes(panel)
    for i in range(rows):
        row = at(source, i * row_stride)
        for j in range(0, width, lane):
            if j < columns:
                store(at(panel, i * width + j), load_up_to(at(row, j), columns - j))
            else:
                store(at(panel, i * width + j), splat(panel, 0.0))


@routine
def pack_gather(panel, source, row_stride, column_stride, order, first, rows, columns, width):
    """A panel from columns ``order[first], order[first + 1], ...`` of a strided matrix."""
    out_of_line()
    for j in range(columns):
        column = at(source, order[first + j] * column_stride)
        for i in range(rows):
            put(panel, i * width + j, get(column, i * row_stride))
    for j in range(columns, width):
        for i in range(rows):
            put(panel, i * width + j, 0.0)


@routine
def pack_strided(panel, source, row_stride, column_stride, rows, columns, width):
    """A panel from ``columns`` columns of a strided matrix."""
    out_of_line()
    for j in range(width):
        if j < columns:
            column = at(source, j * column_stride)
            for i in range(rows):
                put(panel, i * width + j, get(column, i * row_stride))
        else:
            for i in range(rows):
                put(panel, i * width + j, 0.0)


@routine
def pack_columns(
    panel, source, row_stride, column_stride, ordered, order, first, rows, columns, width
):  # fmt: skip
    """A panel from ``columns`` columns of a matrix, from ``first`` on (in ``order``)."""
    in_line()
    if ordered:
        pack_gather(panel, source, row_stride, column_stride, order, first, rows, columns, width)
    elif column_stride == 1:
        pack_rows(panel, at(source, first), row_stride, rows, columns, width)
    else:
        source = at(source, first * column_stride)
        pack_strided(panel, source, row_stride, column_stride, rows, columns, width)


@routine
def transpose_panel(target, target_stride, target_width, panel, width, unit, units, first):
    """Rows of one panel of examples into the panels of units, squares of lanes x lanes at a time.

    Unit u of example e goes to panel ``u // target_width`` of ``target`` (``target_stride`` apart),
    row ``first + e``. ``panel`` holds ``units`` rows from ``unit`` on, a multiple of the lanes;
    they are padded to a multiple of the lanes.
    """
    out_of_line()
    lane = lanes(panel)
    column, place = at(target, unit // target_width * target_stride), unit % target_width
    for u in range(0, units, lane):
        if place == target_width:
            column, place = at(column, target_stride), 0
        for e in range(0, width, lane):
            transpose_square(
                at(column, (first + e) * target_width + place),
                target_width,
                at(panel, u * width + e),
                width,
            )
        place += lane


@routine
def spread_example(units, units_panel, unit_width, source, count):
    """One example with contiguous units into its row of the panels of units."""
    out_of_line()
    lane = lanes(units)
    for u in range(0, count, lane):
        place = (u // unit_width) * units_panel + u % unit_width
        values = load_up_to(at(source, u), count - u)
        store_up_to(at(units, place), values, count - u)


@routine
def transpose_units(panel, width, units, units_panel, unit_width, rows):
    """One panel of examples out of the panels of units: the way back of `transpose_panel`.

    Columns beyond the last example are whatever stood in ``units``.
    """
    out_of_line()
    lane = lanes(panel)
    for u in range(0, rows, lane):
        column = at(units, (u // unit_width) * units_panel + u % unit_width)
        for e in range(0, width, lane):
            transpose_square(
                at(panel, u * width + e), width, at(column, e * unit_width), unit_width
            )


# --- operands of a product of any two matrices ----------------------------------------------------

# Rows that are asked for in advance, where only short parts of them are read: the processor does
# not see where those go on (784 features of 65536 examples are packed 1.4 times as fast).
_ROWS_AHEAD = 8
_SHORT_PART = 1024

# Vectors in a cache line of 64 bytes.
_LINE_VECTORS = max(1, 64 // TARGET.vector_bytes)


@routine
def _transpose_block(to, width, source, stride, present, k_count, square):
    """One block of lines that are contiguous along k, by squares of lanes x lanes."""
    lane = lanes(to)
    for j in range(0, width, lane):
        for k in range(0, k_count, lane):
            corner, corner_stride = at(source, j * stride + k), stride
            if present - j < lane or k_count - k < lane:
                for i in range(lane):
                    v = splat(to, 0.0)
                    if i < present - j:
                        v = load_up_to(at(corner, i * stride), k_count - k)
                    store(at(square, i * lane), v)
                corner, corner_stride = square, lane
            transpose_square(at(to, k * width + j), width, corner, corner_stride)


@routine
def _copy_row(to, distance, width, row, count, columns):
    """One k of all panels, where neighbouring columns are neighbours in memory.

    `pack_rows` would do for one panel, and is faster there: this loop makes mini-batches of 784
    features take 1.1 to 1.3 times as long.
    """
    lane = lanes(to)
    for i in range(count):
        left = columns - i * width
        for j in range(0, width, lane):
            v = splat(to, 0.0)
            if j < left:
                v = load_up_to(at(row, i * width + j), left - j)
            store(at(to, i * distance + j), v)


@routine
def pack_panels(
    panels, distance, width, source, column_stride, k_stride, count, columns, k_count, square
):  # fmt: skip
    """``count`` panels, ``distance`` apart, from a matrix of any strides.

    ``panels[i * distance + k * width + j] = source[column * column_stride + k * k_stride]`` where
    ``column = i * width + j`` is one of the ``columns``, else 0. A panel has room for its k rounded
    up to whole vectors; ``square`` is room for lanes x lanes.
    """
    out_of_line()
    if column_stride == 1:
        read = min(count * width, columns)
        for k in range(k_count):
            row = at(source, k * k_stride)
            if read <= _SHORT_PART:
                for j in range(0, read, _LINE_VECTORS * lanes(panels)):
                    prefetch(at(row, _ROWS_AHEAD * k_stride + j))
            _copy_row(at(panels, k * width), distance, width, row, count, columns)
        return
    for i in range(count):
        to, first = at(panels, i * distance), at(source, i * width * column_stride)
        present = columns - i * width
        if k_stride == 1:
            _transpose_block(to, width, first, column_stride, present, k_count, square)
        else:
            pack_strided(to, first, k_stride, column_stride, k_count, present, width)


# --- a packed left operand ------------------------------------------------------------------------
#
# For each run of k, tile after tile: its rows side by side, k after k, without a gap. The tile that
# starts at ``row`` in the run from ``k`` on stands at ``k * rows + row * length of the run``.


@routine
def _pack_lines_along_k(target, source, row_stride, rows, k_count, square):
    """One tile from rows that run along k, by squares of lanes x lanes."""
    out_of_line()
    lane = lanes(target)
    for i in range(rows, lane):
        store(at(square, i * lane), splat(target, 0.0))
    for k in range(0, k_count, lane):
        for i in range(rows):
            store(at(square, i * lane), load_up_to(at(source, i * row_stride + k), k_count - k))
        transpose_square(square, lane, square, lane)
        for j in range(min(lane, k_count - k)):
            ahead = (k_count - k - j) * rows  # whole vectors, as in `_pack_lines_across_k`
            values = load(at(square, j * lane))
            store_up_to(at(target, (k + j) * rows), values, lane if ahead >= lane else rows)
        for i in range(rows, lane):
            store(at(square, i * lane), splat(target, 0.0))


@routine
def _pack_lines_across_k(target, source, k_stride, height, rows, k_count):
    """Neighbouring tiles from rows that lie side by side for each k: line after line of memory.

    Whole vectors, though tiles may be narrower: the next k overwrite what is too much, up to the
    end of the tile. Storing a part of a vector is slow on some processors (AVX2 of Zen: a step of
    1024-2048-2048-1000 spends 3.5 % of its time here, or 1.2 % by this way).
    """
    out_of_line()
    lane = lanes(target)
    for k in range(k_count):
        line = at(source, k * k_stride)
        for i in range(0, rows, height):
            high = min(height, rows - i)
            tile = at(target, i * k_count + k * high)
            for j in range(0, high, lane):
                values = load_up_to(at(line, i + j), rows - i - j)
                ahead = (k_count - k) * high - j
                store_up_to(at(tile, j), values, lane if ahead >= lane else high - j)


@routine
def _pack_elements(target, source, row_stride, k_stride, rows, k_count):
    """One tile of a matrix with any strides."""
    out_of_line()
    for k in range(k_count):
        for i in range(rows):
            put(target, k * rows + i, get(source, i * row_stride + k * k_stride))


# Tiles that are packed together from rows that lie side by side.
_TILES_TOGETHER = 16


@routine
def pack_left(packed, part, parts, left, left_row, left_k, rows, k_count, k_block, height, square):
    """Pack one of ``parts`` parts of ``left`` (rows x k_count, any strides) in tiles of ``height``.

    ``square`` is room for lanes x lanes elements.
    """
    step = height * (_TILES_TOGETHER if left_row == 1 else 1)
    pieces = (rows + step - 1) // step
    first, end = share(part, parts, (k_count + k_block - 1) // k_block * pieces)
    for piece in range(first, end):
        i, k = piece % pieces * step, piece // pieces * k_block
        high, run = min(step, rows - i), min(k_block, k_count - k)
        target, source = at(packed, k * rows + i * run), at(left, i * left_row + k * left_k)
        if left_row == 1:
            _pack_lines_across_k(target, source, left_k, height, high, run)
        elif left_k == 1 and high <= lanes(packed):
            _pack_lines_along_k(target, source, left_row, high, run, square)
        else:
            _pack_elements(target, source, left_row, left_k, high, run)


# Parts in which a team packs a matrix of weights.
_PACKING_PARTS = 8


@routine
def pack_weights(member, counters, team, goal, phase, work, parameters, shape, layers, scratch):
    """W and W^T of the layers that have room for it, in the order in which products read them.

    Returns the pieces that are finished afterwards.
    """
    out_of_line()
    count = shape[LAYERS] * 2 * _PACKING_PARTS
    piece = claim(counters, PACKING_PIECES, phase, member, team, count)
    while piece >= 0:
        layer, transposed = piece // (2 * _PACKING_PARTS), piece // _PACKING_PARTS % 2
        n_in, n_out = layers[layer, N_IN], layers[layer, N_OUT]
        target = layers[layer, PACKED_T] if transposed else layers[layer, PACKED]
        if target >= 0:
            rows, k_count = (n_in, n_out) if transposed else (n_out, n_in)
            row_stride, k_stride = (1, n_in) if transposed else (n_in, 1)
            pack_left(
                pointer(work, target), piece % _PACKING_PARTS, _PACKING_PARTS,
                pointer(parameters, layers[layer, W]), row_stride, k_stride, rows, k_count,
                K_BLOCK, tile_height(rows, shape[VECTORS]), scratch,
            )  # fmt: skip
        finish(counters, team)
        piece = claim(counters, PACKING_PIECES, phase, member, team, count)
    wait(counters, team, goal + count)
    return goal + count
