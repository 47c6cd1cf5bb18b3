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
def pack_left(target, source, row_stride, k_stride, rows, k_count):
    packing.pack_left(pointer(target, 0), pointer(source, 0), row_stride, k_stride, rows, k_count)


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


def transpose_cases(allocate, dtype):
    """Panels of examples into panels of units, one behind the other."""
    lane = lane_count(dtype)
    target_width, panels = 2 * lane, 2
    for width in widths(dtype):
        for rows in count_edges(dtype) if JIT else (1, lane, 2 * lane + 1):
            whole = -(-rows // lane) * lane
            groups = -(-rows // target_width)
            target_stride = panels * width * target_width
            values = numbered(panels * whole, width, dtype).reshape(panels, whole, width)
            target = allocate(np.full(groups * target_stride, np.nan, dtype))
            for panel in range(panels):
                source = allocate(values[panel])
                transpose_panel(
                    target, target_stride, target_width, source, width, rows, panel * width
                )
            # units x examples, then the address of every unit and example
            units = np.concatenate(list(values), axis=1)[:rows]
            u, e = np.indices(units.shape)
            place = u // target_width * target_stride + e * target_width + u % target_width
            assert_same(target[place], units)


def left_cases(allocate, dtype):
    """W with its rows, and W^T with its columns, side by side for each k."""
    for rows in (1, 2, 6, 14):
        for k_count in (1, 2, 7):
            matrix = numbered(rows, k_count, dtype)
            for row_stride, k_stride in ((k_count, 1), (k_count + 3, 1), (1, rows), (1, rows + 2)):
                target = allocate(empty_panel(rows, k_count, dtype))
                source = allocate(spread(matrix, row_stride, k_stride))
                pack_left(target, source, row_stride, k_stride, rows, k_count)
                assert_same(target, matrix.T.ravel())


CASES = {
    "rows": rows_cases,
    "strided": strided_cases,
    "gather": gather_cases,
    "transpose": transpose_cases,
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
