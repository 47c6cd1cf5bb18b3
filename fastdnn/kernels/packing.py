"""Layouts: how arrays of the outside world become panels, and panels become each other.

A *panel* holds ``width`` neighbouring columns of a matrix, row after row, so that the micro-kernel
reads it as one unbroken run of vectors. Activations live in panels of examples (units x width);
the gradient of the weights reads the same numbers in panels of units (examples x width).
Columns beyond the last example hold zeros.
"""

from __future__ import annotations

from .jit import routine
from .simd import (
    at,
    get,
    lanes,
    load,
    load_up_to,
    out_of_line,
    put,
    splat,
    store,
    store_first,
    store_up_to,
    transpose_square,
)


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
def transpose_panel(target, target_stride, target_width, panel, width, rows, first):
    """One panel of examples into the panels of units, squares of lanes x lanes at a time.

    Unit u of example e goes to panel ``u // target_width`` of ``target`` (``target_stride`` apart),
    row ``first + e``. ``panel`` has its rows padded to a multiple of the lanes.
    """
    out_of_line()
    lane = lanes(panel)
    for u in range(0, rows, lane):
        column = at(target, (u // target_width) * target_stride + u % target_width)
        for e in range(0, width, lane):
            transpose_square(
                at(column, (first + e) * target_width),
                target_width,
                at(panel, u * width + e),
                width,
            )


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

    Examples beyond the last one are whatever stood in ``units``: zeros.
    """
    out_of_line()
    lane = lanes(panel)
    for u in range(0, rows, lane):
        column = at(units, (u // unit_width) * units_panel + u % unit_width)
        for e in range(0, width, lane):
            transpose_square(
                at(panel, u * width + e), width, at(column, e * unit_width), unit_width
            )


@routine
def pack_left(target, source, row_stride, k_stride, rows, k_count, scratch):
    """``rows`` x ``k_count`` of a strided matrix, k after k, the rows of a tile side by side.

    ``scratch`` holds lanes x lanes elements.
    """
    out_of_line()
    lane = lanes(target)
    if row_stride == 1:
        for j in range(k_count):
            for i in range(0, rows, lane):
                values = load_up_to(at(source, j * k_stride + i), rows - i)
                store_up_to(at(target, j * rows + i), values, rows - i)
        return
    k = 0
    if k_stride == 1 and rows <= lane:
        while k + lane <= k_count:
            for i in range(rows):
                store(at(scratch, i * lane), load(at(source, i * row_stride + k)))
            transpose_square(scratch, lane, scratch, lane)
            for j in range(lane):
                store_first(at(target, (k + j) * rows), load(at(scratch, j * lane)), rows)
            k += lane
    while k < k_count:
        for i in range(rows):
            put(target, k * rows + i, get(source, i * row_stride + k * k_stride))
        k += 1
