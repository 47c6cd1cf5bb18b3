"""Layouts: every packer against the index formula of its panel, and nothing beyond its buffers."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    JIT,
    Fenced,
    assert_same,
    assert_survives_guard_pages,
    each_dtype,
    edges,
    fenced,
    needs_guard_pages,
)

from fastdnn.kernels import packing
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.microkernels import TILE_VECTORS, TILE_WIDTHS
from fastdnn.kernels.simd import pointer
from fastdnn.kernels.target import TARGET
from fastdnn.kernels.vectors import lane_count

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
def transpose_panel(target, target_stride, target_width, panel, width, unit, units, first):
    packing.transpose_panel(
        pointer(target, 0), target_stride, target_width, pointer(panel, unit * width), width,
        unit, units, first,
    )  # fmt: skip


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
def pack_left(packed, member, team, left, left_row, left_k, rows, k_count, k_block, height, square):
    packing.pack_left(
        pointer(packed, 0), member, team, pointer(left, 0), left_row, left_k, rows, k_count,
        k_block, height, pointer(square, 0),
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
    """Columns of the panels that a tile of any width reads."""
    return [vectors * lane_count(dtype) for vectors in TILE_WIDTHS]


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
    unit_width = TILE_VECTORS * lane_count(dtype)
    u, e = np.indices((units, examples))
    return (
        examples * unit_width,
        u // unit_width * examples * unit_width + e * unit_width + u % unit_width,
    )


def row_counts(dtype):
    """Units around each vector of a panel of units, and around the first of a second one."""
    lane = lane_count(dtype)
    if not JIT:
        return 1, lane, TILE_VECTORS * lane + 1
    return edges(*(vectors * lane for vectors in range(1, TILE_VECTORS + 2)))


def transpose_cases(allocate, dtype):
    """Panels of examples into panels of units and back, two panels one behind the other."""
    lane = lane_count(dtype)
    unit_width = TILE_VECTORS * lane
    for width in widths(dtype):
        for rows in row_counts(dtype):
            whole = -(-rows // lane) * lane
            group, place = units_places(whole, 2 * width, dtype)
            matrix = numbered(whole, 2 * width, dtype)
            units = allocate(np.full(-(-rows // unit_width) * group, np.nan, dtype))
            # all units at once, or those up to a vector's end before the others
            part = whole // 2 // lane * lane
            for first in (0, width):
                panel = allocate(matrix[:, first : first + width])
                for unit, end in ((0, rows),) if first else ((part, rows), (0, part)):
                    transpose_panel(units, group, unit_width, panel, width, unit, end - unit, first)
            assert_same(units[place], matrix)
            for first in (0, width):
                panel = allocate(empty_panel(whole, width, dtype))
                transpose_units(panel, width, units, group, unit_width, rows, first)
                assert_same(panel, matrix[:, first : first + width].ravel())


def spread_cases(allocate, dtype):
    """Examples with contiguous units, one after the other; other units keep what they hold."""
    examples, unit_width = 3, TILE_VECTORS * lane_count(dtype)
    for rows in row_counts(dtype):
        whole = -(-rows // unit_width) * unit_width
        group, place = units_places(whole, examples, dtype)
        matrix = numbered(rows, examples, dtype)
        units = allocate(np.full(whole * examples, -7, dtype))
        source = allocate(matrix.T)
        for e in range(examples):
            spread_example(units, group, unit_width, e, source, e * rows, rows)
        expected = np.full((whole, examples), -7, dtype)
        expected[:rows] = matrix
        assert_same(units[place], expected)


def tiles_of(matrix, height, k_block):
    """The packed left operand: for each run of k, tile after tile, its columns one by one."""
    (rows, k_count), tiles = matrix.shape, []
    for k in range(0, k_count, k_block):
        for i in range(0, rows, height):
            tiles.append(matrix[i : i + height, k : k + k_block].T.ravel())
    return np.concatenate(tiles)


def left_shapes(dtype):
    """(rows, height, k_count, k_block): tiles that fit a vector and that do not, and what is left.

    Runs of k shorter and longer than a vector, the last one whole or not.
    """
    lane = lane_count(dtype)
    most = TARGET.tile_rows(1)
    heights = sorted({1, 2, lane - 1, lane, lane + 1, *map(TARGET.tile_rows, TILE_WIDTHS)})
    heights = [height for height in heights if 1 <= height <= most]
    if not JIT:
        heights = [2, most]
    for height in heights:
        for rows in sorted({1, height, height + 1, 2 * height, 3 * height - 1}):
            h = min(height, rows)
            yield rows, h, 1, lane
            yield rows, h, lane - 1, 1
            yield rows, h, 2 * lane + 1, 2 * lane
            yield rows, h, 3 * lane, lane
            yield rows, h, 5, 2
    # tiles that are packed together, and more of them
    together = packing._TILES_TOGETHER
    for height in (1, 3):
        for rows in (together * height, together * height + 1, (2 * together + 1) * height + 1):
            yield rows, height, lane + 1, lane


def left_cases(allocate, dtype, teams=(1,)):
    """W with its rows, W^T with its columns, and any strides; each member its share, once."""
    lane = lane_count(dtype)
    for rows, height, k_count, k_block in left_shapes(dtype):
        matrix = numbered(rows, k_count, dtype)
        for row_stride, k_stride in (
            (k_count, 1), (k_count + 3, 1), (1, rows), (1, rows + 2), (2, 2 * rows + 1), (1, 1)
        ):  # fmt: skip
            if row_stride == k_stride == 1 and min(rows, k_count) > 1:
                continue  # the same stride both ways is a matrix with one row or column
            source = allocate(spread(matrix, row_stride, k_stride))
            square = allocate(np.full(lane * lane, np.nan, dtype))
            for team in teams:
                packed, written = np.zeros(matrix.size, dtype), np.zeros(matrix.size, int)
                for member in range(team):
                    target = allocate(empty_panel(rows, k_count, dtype))
                    pack_left(target, member, team, source, row_stride, k_stride, rows, k_count,
                              k_block, height, square)  # fmt: skip
                    own = ~np.isnan(target)
                    packed[own] = target[own]
                    written += own
                assert (written == 1).all()
                assert_same(packed, tiles_of(matrix, height, k_block))


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


@each_dtype
def test_members_pack_the_left_operand_together(dtype):
    """Also more of them than there are tiles; none writes what another one writes."""
    with fenced() as allocate:
        left_cases(allocate, dtype, teams=(2, 3, 7) if JIT else (3,))


@each_dtype
def test_members_pack_equal_shares(dtype):
    """Pieces are tiles of one run of k: here six of two tiles' heights, two for each member."""
    height, k_block = 2, lane_count(dtype)
    matrix = numbered(2 * height, 3 * k_block, dtype)
    expected = tiles_of(matrix, height, k_block).reshape(6, -1)
    for member in range(3):
        target = empty_panel(*matrix.shape, dtype)
        pack_left(target, member, 3, matrix.ravel(), 3 * k_block, 1, *matrix.shape, k_block, height,
                  np.zeros(lane_count(dtype) ** 2, dtype))  # fmt: skip
        pieces = target.reshape(6, -1)
        assert_same(pieces[2 * member : 2 * member + 2], expected[2 * member : 2 * member + 2])
        assert np.isnan(np.delete(pieces, [2 * member, 2 * member + 1], axis=0)).all()


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
def test_transposing_leaves_other_examples_and_units_alone(dtype):
    """What stands before and behind the rows and the units concerned keeps what it holds."""
    lane = lane_count(dtype)
    unit_width = 3 * lane
    for unit in (0, lane, 2 * lane):
        target = np.full(3 * lane * unit_width, 7, dtype)
        panel = np.full((3 * lane, lane), np.nan, dtype)
        panel[unit : unit + lane] = numbered(lane, lane, dtype)
        transpose_panel(target, target.size, unit_width, panel.ravel(), lane, unit, lane, lane)
        expected = np.full((3 * lane, unit_width), 7, dtype)
        expected[lane : 2 * lane, unit : unit + lane] = numbered(lane, lane, dtype).T
        assert_same(target.reshape(expected.shape), expected)


# --- operands of a product of any two matrices ---------------------------------------------------


@kernel
def pack_panels(
    panels, distance, width, source, column_stride, k_stride, count, columns, k_count, square
):
    packing.pack_panels(
        pointer(panels, 0), distance, width, pointer(source, 0), column_stride, k_stride, count,
        columns, k_count, pointer(square, 0),
    )  # fmt: skip


@each_dtype
@pytest.mark.parametrize("road", ["neighbours", "along k", "strided"])
def test_pack_panels(road, dtype):
    """Every element where the formula says, zeros beyond the last column, nothing else touched."""
    lanes = lane_count(dtype)
    width = TILE_VECTORS * lanes
    for columns, k_count in (
        (1, 1), (width + 3, lanes + 1), (2 * width, 2 * lanes), (width - 1, lanes - 1),
        (50 * width + 1, 3),  # more than is asked for in advance
    ):  # fmt: skip
        count = -(-columns // width)
        strides = {
            "neighbours": (1, columns + 1),
            "along k": (k_count + 2, 1),
            "strided": (k_count * 2 + 1, 2),
        }
        column_stride, k_stride = strides[road]
        fences = Fenced()
        extent = (columns - 1) * column_stride + (k_count - 1) * k_stride + 1
        source = fences(np.arange(1, extent + 1).astype(dtype))
        distance = -(-k_count // lanes) * lanes * width
        panels = fences(np.full(count * distance, -1, dtype))
        square = fences(np.empty(lanes * lanes, dtype))
        pack_panels(
            panels, distance, width, source, column_stride, k_stride, count, columns, k_count,
            square,
        )  # fmt: skip
        packed = panels.reshape(count, -1, width)[:, :k_count]
        i, k, j = np.indices(packed.shape)
        column = i * width + j
        place = np.minimum(column, columns - 1) * column_stride + k * k_stride
        np.testing.assert_array_equal(packed, np.where(column < columns, source[place], 0))
        fences.check()
