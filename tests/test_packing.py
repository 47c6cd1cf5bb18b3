"""Layouts: every packer against the index formula of its panel, and nothing beyond its buffers."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    JIT,
    assert_same,
    assert_survives_guard_pages,
    count_edges,
    each_dtype,
    fenced,
    needs_guard_pages,
)

from fastdnn.kernels import packing
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.microkernels import TILE_ROWS
from fastdnn.kernels.simd import lane_count, pointer

pytestmark = pytest.mark.kernels


@kernel
def pack_rows(panel, source, row_stride, rows, columns, width):
    packing.pack_rows(pointer(panel, 0), pointer(source, 0), row_stride, rows, columns, width)


@kernel
def pack_strided(panel, source, row_stride, column_stride, rows, columns, width):
    packing.pack_strided(
        pointer(panel, 0), pointer(source, 0), row_stride, column_stride, rows, columns, width
    )


@kernel
def pack_gather(panel, source, row_stride, column_stride, order, first, rows, columns, width):
    packing.pack_gather(
        pointer(panel, 0), pointer(source, 0), row_stride, column_stride, order, first,
        rows, columns, width,
    )  # fmt: skip


@kernel
def transpose_panel(target, target_stride, target_width, panel, width, rows, first):
    packing.transpose_panel(
        pointer(target, 0), target_stride, target_width, pointer(panel, 0), width, rows, first
    )


@kernel
def transpose_units(panel, width, units, units_panel, unit_width, rows, first):
    packing.transpose_units(
        pointer(panel, 0), width, pointer(units, first * unit_width), units_panel, unit_width, rows
    )


@kernel
def spread_example(units, units_panel, unit_width, row, source, start, count):
    packing.spread_example(
        pointer(units, row * unit_width), units_panel, unit_width, pointer(source, start), count
    )


@kernel
def pack_left(target, source, row_stride, k_stride, rows, k_count, scratch):
    packing.pack_left(
        pointer(target, 0), pointer(source, 0), row_stride, k_stride, rows, k_count,
        pointer(scratch, 0),
    )  # fmt: skip


def numbered(rows, columns, dtype):
    """A matrix whose elements are all different, and none of them zero."""
    return np.arange(1, rows * columns + 1, dtype=dtype).reshape(rows, columns)


def spread(matrix, row_stride, column_stride):
    """The matrix with these strides; NaN between its elements, and nothing after the last."""
    i, j = np.indices(matrix.shape)
    flat = np.full(i[-1, -1] * row_stride + j[-1, -1] * column_stride + 1, np.nan, matrix.dtype)
    flat[i * row_stride + j * column_stride] = matrix
    return flat


def empty_panel(rows, width, dtype):
    """Where every element must be written."""
    return np.full(rows * width, np.nan, dtype)


def padded(matrix, width):
    """The panel that must come out: zeros in the columns that the matrix does not have."""
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1]))).ravel()


def widths(dtype):
    return lane_count(dtype), 2 * lane_count(dtype)


ROWS = (1, 2, 5)


# --- the cases: also run on guarded buffers -------------------------------------------------------


def rows_cases(allocate, dtype):
    """Contiguous rows, of every length that a panel can hold, with and without a gap."""
    for width in widths(dtype):
        for columns in range(1, width + 1):
            for rows, gap in ((1, 0), (3, 0), (3, 2)):
                matrix = numbered(rows, columns, dtype)
                panel = allocate(empty_panel(rows, width, dtype))
                source = allocate(spread(matrix, columns + gap, 1))
                pack_rows(panel, source, columns + gap, rows, columns, width)
                assert_same(panel, padded(matrix, width))


def strided_cases(allocate, dtype):
    """Any two strides: Fortran order, every other column, gaps both ways."""
    for width in widths(dtype):
        for columns in {1, 2, width - 1, width}:
            for rows in ROWS:
                matrix = numbered(rows, columns, dtype)
                for row_stride, column_stride in ((1, rows), (2 * columns, 2), (3, 3 * rows + 1)):
                    panel = allocate(empty_panel(rows, width, dtype))
                    source = allocate(spread(matrix, row_stride, column_stride))
                    pack_strided(panel, source, row_stride, column_stride, rows, columns, width)
                    assert_same(panel, padded(matrix, width))


def gather_cases(allocate, dtype):
    """Columns in any order, also twice the same one."""
    examples, first = 7, 3
    for width in widths(dtype):
        for columns in {1, 2, width - 1, width}:
            order = np.random.RandomState(columns).randint(0, examples, first + columns)
            for rows in ROWS:
                matrix = numbered(rows, examples, dtype)
                for row_stride, column_stride in ((examples, 1), (1, rows), (2 * examples, 2)):
                    panel = allocate(empty_panel(rows, width, dtype))
                    source = allocate(spread(matrix, row_stride, column_stride))
                    pack_gather(panel, source, row_stride, column_stride, allocate(order), first,
                                rows, columns, width)  # fmt: skip
                    assert_same(panel, padded(matrix[:, order[first:]], width))


def units_places(units, examples, dtype):
    """Where element (unit, example) stands in the panels of units: the groups' distance, places."""
    unit_width = 2 * lane_count(dtype)
    u, e = np.indices((units, examples))
    return (
        examples * unit_width,
        u // unit_width * examples * unit_width + e * unit_width + u % unit_width,
    )


def row_counts(dtype):
    lane = lane_count(dtype)
    return count_edges(dtype) if JIT else (1, lane, 2 * lane + 1)


def transpose_cases(allocate, dtype):
    """Panels of examples into panels of units and back, two panels one behind the other."""
    lane = lane_count(dtype)
    for width in widths(dtype):
        for rows in row_counts(dtype):
            whole = -(-rows // lane) * lane
            group, place = units_places(whole, 2 * width, dtype)
            matrix = numbered(whole, 2 * width, dtype)
            units = allocate(np.full(-(-rows // (2 * lane)) * group, np.nan, dtype))
            for first in (0, width):
                panel = allocate(matrix[:, first : first + width])
                transpose_panel(units, group, 2 * lane, panel, width, rows, first)
            assert_same(units[place], matrix)
            for first in (0, width):
                panel = allocate(empty_panel(whole, width, dtype))
                transpose_units(panel, width, units, group, 2 * lane, rows, first)
                assert_same(panel, matrix[:, first : first + width].ravel())


def spread_cases(allocate, dtype):
    """Examples with contiguous units, one after the other; other units keep what they hold."""
    examples = 3
    for rows in row_counts(dtype):
        whole = -(-rows // (2 * lane_count(dtype))) * 2 * lane_count(dtype)
        group, place = units_places(whole, examples, dtype)
        matrix = numbered(rows, examples, dtype)
        units = allocate(np.full(whole * examples, -7, dtype))
        source = allocate(matrix.T)
        for e in range(examples):
            spread_example(units, group, 2 * lane_count(dtype), e, source, e * rows, rows)
        expected = np.full((whole, examples), -7, dtype)
        expected[:rows] = matrix
        assert_same(units[place], expected)


def left_cases(allocate, dtype):
    """W with its rows, and W^T with its columns, side by side for each k."""
    lane = lane_count(dtype)
    for rows in {1, 2, TILE_ROWS}:
        for k_count in {1, 2, lane - 1, lane, 2 * lane + 1}:
            matrix = numbered(rows, k_count, dtype)
            for row_stride, k_stride in (
                (k_count, 1), (k_count + 3, 1), (1, rows), (1, rows + 2), (2, 2 * rows)
            ):  # fmt: skip
                target = allocate(empty_panel(rows, k_count, dtype))
                source = allocate(spread(matrix, row_stride, k_stride))
                scratch = allocate(np.full(lane * lane, np.nan, dtype))
                pack_left(target, source, row_stride, k_stride, rows, k_count, scratch)
                assert_same(target, matrix.T.ravel())


CASES = {
    "rows": rows_cases,
    "strided": strided_cases,
    "gather": gather_cases,
    "transpose": transpose_cases,
    "spread": spread_cases,
    "left": left_cases,
}


@each_dtype
@pytest.mark.parametrize("packer", CASES)
def test_panel_holds_the_matrix_and_zeros(packer, dtype):
    with fenced() as allocate:
        CASES[packer](allocate, dtype)


def all_cases(allocate):
    for cases in CASES.values():
        for dtype in ("float32", "float64"):
            cases(allocate, dtype)


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_the_buffers_is_touched():
    assert_survives_guard_pages("test_packing", "all_cases")


@each_dtype
def test_a_column_in_the_wrong_place_would_show(dtype):
    """The cases compare every element: one that is exchanged does not pass."""
    width = lane_count(dtype)
    matrix = numbered(2, width, dtype)
    panel = empty_panel(2, width, dtype)
    pack_rows(panel, spread(matrix[:, ::-1], width, 1), width, 2, width, width)
    with pytest.raises(AssertionError):
        assert_same(panel, padded(matrix, width))


@each_dtype
def test_transposing_leaves_other_examples_alone(dtype):
    """Rows of the panel of units before ``first`` and after the panel keep what they hold."""
    lane = lane_count(dtype)
    target = np.full(3 * lane * 2 * lane, 7, dtype)
    transpose_panel(
        target, target.size, 2 * lane, numbered(lane, lane, dtype).ravel(), lane, lane, lane
    )
    rows = target.reshape(3 * lane, 2 * lane)
    assert (rows[:lane] == 7).all() and (rows[2 * lane :] == 7).all()
    assert (rows[:, lane:] == 7).all()
    assert_same(rows[lane : 2 * lane, :lane], numbered(lane, lane, dtype).T)
