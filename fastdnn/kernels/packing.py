"""Layouts: how arrays of the outside world become panels, and panels become each other.

A *panel* holds ``width`` neighbouring columns of a matrix, row after row, so that the micro-kernel
reads it as one unbroken run of vectors. Activations live in panels of examples (units x width);
the gradient of the weights reads the same numbers in panels of units (examples x width).
Columns beyond the last example hold zeros.
"""

from __future__ import annotations

from .jit import routine
from .simd import at, get, lanes, load_up_to, out_of_line, put, splat, store, store_up_to, transpose_square


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
                at(column, (first + e) * target_width), target_width, at(panel, u * width + e), width
            )


@routine
def pack_left(target, source, row_stride, k_stride, rows, k_count):
    """``rows`` x ``k_count`` of a strided matrix, k after k, the rows of a tile side by side."""
    out_of_line()
    for k in range(k_count):
        column = at(source, k * k_stride)
        for i in range(rows):
            put(target, k * rows + i, get(column, i * row_stride))
