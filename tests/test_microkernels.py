"""The micro-kernel: every tile shape, every way to walk its operands, every way to finish."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from kernel_cases import (
    JIT,
    Fenced,
    assert_close,
    assert_same,
    assert_survives_guard_pages,
    each_dtype,
    edges,
    fenced,
    needs_guard_pages,
    run_python,
)

from fastdnn.kernels import microkernels
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.microkernels import (
    ADD,
    MODES,
    SET,
    SET_BIAS,
    SET_BIAS_RELU,
    SET_RELU_BACKWARD,
    TILE_ROWS,
    TILE_VECTORS,
    TILE_WIDTHS,
    multiply_tiles,
    tile_address,
)
from fastdnn.kernels.simd import pointer
from fastdnn.kernels.target import TARGET
from fastdnn.kernels.vectors import lane_count

pytestmark = [pytest.mark.kernels, pytest.mark.lanes]

each_mode = pytest.mark.parametrize(
    "mode", MODES, ids=["set", "add", "bias", "bias-relu", "relu-backward"]
)


@kernel
def tile(
    address, rows, vectors, tiles, out, out_stride, left, left_tile, left_row, left_k, left_block,
    right, right_k, k_count, blocks, mode, scale, beside,
):  # fmt: skip
    multiply_tiles(
        address, rows, vectors, tiles, pointer(out, 0), out_stride,
        pointer(left, 0), left_tile, left_row, left_k, left_block,
        pointer(right, 0), right_k, k_count, blocks, mode, scale, pointer(beside, 0),
    )  # fmt: skip


class Tile:
    """One call: its operands laid out with the given gaps, and what must come out."""

    def __init__(
        self, dtype, rows, vectors, k_count, blocks=1, *, out_gap=0, right_gap=0, k_first=True,
        left_gap=0, block_gap=0, mode=SET, scale=1.0, draw=None, tiles=1,
    ):  # fmt: skip
        self.shape = rows, vectors, tiles, k_count, blocks
        self.mode, self.scale = mode, scale
        width, depth = vectors * lane_count(dtype), k_count * blocks
        draw = draw or np.random.RandomState(rows * 1000 + depth).randn
        all_rows = tiles * rows
        left, right = draw(all_rows, depth).astype(dtype), draw(depth, width).astype(dtype)
        before, bias = draw(all_rows, width).astype(dtype), draw(all_rows).astype(dtype)
        values = draw(all_rows, width).astype(dtype)
        self.out_stride, self.right_k = width + out_gap, width + right_gap
        if k_first:  # W: k contiguous
            self.left_k, self.left_row = 1, k_count + left_gap
            self.left_block = rows * self.left_row + block_gap
        else:  # W^T, packed tiles
            self.left_k, self.left_row = rows + left_gap, 1
            self.left_block = k_count * self.left_k + block_gap
        self.left_tile = blocks * self.left_block  # tile after tile
        self.left = self._spread(left, self._left_place)
        self.right = self._spread(right, lambda k, j: k * self.right_k + j)
        self.out = self._spread(before, lambda i, j: i * self.out_stride + j)
        self.beside = bias
        if mode == SET_RELU_BACKWARD:
            self.beside = self._spread(values, lambda i, j: i * self.out_stride + j)
        exact = scale * (left.astype(np.float64) @ right.astype(np.float64))
        self.expected = {
            SET: exact,
            ADD: before + exact,
            SET_BIAS: bias[:, None] + exact,
            SET_BIAS_RELU: np.maximum(0, bias[:, None] + exact),
            SET_RELU_BACKWARD: np.where(values > 0, exact, 0),
        }[mode]

    def _left_place(self, i, k):
        rows, _, _, k_count, _ = self.shape
        row = i // rows * self.left_tile + i % rows * self.left_row
        return row + k // k_count * self.left_block + k % k_count * self.left_k

    @staticmethod
    def _spread(matrix, place):
        """The matrix at its addresses; NaN between them, and nothing after the last."""
        places = place(*np.indices(matrix.shape))
        flat = np.full(places.max() + 1, np.nan, matrix.dtype)
        flat[places] = matrix
        return flat

    def run(self, allocate):
        """The tile that was computed; checks that nothing between its rows was written."""
        rows, vectors, tiles, k_count, blocks = self.shape
        out = allocate(self.out)
        tile(
            tile_address(out.dtype), rows, vectors, tiles, out, self.out_stride,
            allocate(self.left), self.left_tile, self.left_row, self.left_k, self.left_block,
            allocate(self.right), self.right_k, k_count, blocks,
            self.mode, out.dtype.type(self.scale), allocate(self.beside),
        )  # fmt: skip
        width = self.expected.shape[1]
        places = np.arange(tiles * rows)[:, None] * self.out_stride + np.arange(width)
        between = np.ones(out.size, bool)
        between[places] = False
        assert np.isnan(out[between]).all()
        return out[places]


def integers(*shape):
    """Numbers whose sums of products are exact in any order."""
    return np.random.RandomState(5).randint(-8, 9, shape)


# The largest tile of each width.
LARGEST = [(TARGET.tile_rows(vectors), vectors) for vectors in TILE_WIDTHS]
each_width = pytest.mark.parametrize(
    ("rows", "vectors"), LARGEST, ids=[f"{rows}x{vectors}" for rows, vectors in LARGEST]
)


def tile_shapes():
    """Every (rows, vectors) where that is quick, the edges where it is plain Python."""
    return [
        (rows, vectors)
        for most, vectors in LARGEST
        for rows in (range(1, most + 1) if JIT else (1, 2, most))
    ]


@each_dtype
@pytest.mark.parametrize("k_first", [True, False], ids=["k-contiguous", "rows-contiguous"])
@each_mode
def test_every_tile_shape(dtype, mode, k_first):
    for rows, vectors in tile_shapes():
        for k_count in edges(3):
            case = Tile(dtype, rows, vectors, k_count, mode=mode, k_first=k_first, draw=integers)
            with fenced() as allocate:
                assert_same(case.run(allocate), case.expected.astype(dtype))


@each_dtype
@each_width
@each_mode
def test_gaps_between_rows_and_blocks(dtype, mode, rows, vectors):
    """Strides larger than what they step over: neither read into nor written to."""
    gaps = [{}, {"out_gap": 3}, {"right_gap": 5}, {"left_gap": 2}, {"block_gap": 7}]
    gaps.append({name: 1 for gap in gaps for name in gap})
    for gap, blocks, k_first in product(gaps, (1, 2, 5), (True, False)):
        case = Tile(dtype, rows, vectors, 4, blocks, mode=mode, k_first=k_first,
                    draw=integers, **gap)  # fmt: skip
        with fenced() as allocate:
            assert_same(case.run(allocate), case.expected.astype(dtype))


@each_dtype
@each_width
@each_mode
@pytest.mark.parametrize("tiles", [2, 3, 7])
def test_tiles_below_one_another(dtype, mode, rows, vectors, tiles):
    """Wherever each finds its rows of ``left``, of ``out``, and of what the mode needs beside."""
    for k_first, out_gap, blocks in product((True, False), (0, 3), (1, 2)):
        case = Tile(dtype, rows, vectors, 5, blocks, tiles=tiles, mode=mode, k_first=k_first,
                    out_gap=out_gap, draw=integers)  # fmt: skip
        with fenced() as allocate:
            assert_same(case.run(allocate), case.expected.astype(dtype))


@each_dtype
@each_width
@each_mode
def test_lengths_around_those_that_fetch_out_early(dtype, mode, rows, vectors):
    """The lines of ``out`` are asked for before a long loop over k, in all blocks together."""
    for k_count in edges(microkernels._FETCH_FROM_K):
        for blocks in (1, 3):
            case = Tile(dtype, rows, vectors, k_count, blocks, mode=mode, out_gap=9, draw=integers)
            with fenced() as allocate:
                assert_same(case.run(allocate), case.expected.astype(dtype))


@each_dtype
@each_width
@each_mode
@pytest.mark.parametrize("scale", [1.0, -0.1, 0.0])
def test_scale_applies_to_the_product_only(dtype, mode, scale, rows, vectors):
    case = Tile(dtype, rows, vectors, 9, mode=mode, scale=scale)
    assert_close(case.run(Fenced()), case.expected)


@each_dtype
@each_width
@pytest.mark.parametrize("k_count", [256, 1000])
def test_rounding_over_long_sums(dtype, k_count, rows, vectors):
    case = Tile(dtype, rows, vectors, k_count)
    assert_close(case.run(Fenced()), case.expected)


@each_dtype
@each_width
def test_the_tolerance_sees_one_product_missing(dtype, rows, vectors):
    case = Tile(dtype, rows, vectors, 256)
    assert_close(case.run(Fenced()), case.expected)
    case.left[0] = 0.0
    computed = case.run(Fenced())
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(computed, case.expected)


def by_tiles(left, right, height, vectors, blocks=1):
    """left @ right by tiles of one shape, the last ones lower; k in ``blocks`` blocks."""
    (m, k), n = left.shape, right.shape[1]
    out = np.full(m * n, np.nan, left.dtype)
    left, right, width = left.ravel(), right.ravel(), vectors * lane_count(left.dtype)
    one = left.dtype.type(1)
    for i, j in product(range(0, m, height), range(0, n, width)):
        tile(
            tile_address(left.dtype), min(height, m - i), vectors, 1, out[i * n + j :], n,
            left[i * k :], 0, k, 1, k // blocks, right[j:], n, k // blocks, blocks, SET, one, out,
        )  # fmt: skip
    return out.reshape(m, n)


@each_dtype
@pytest.mark.needs_jit
def test_bits_do_not_depend_on_the_tile(dtype):
    """An element is one chain of multiply-adds: the same in a tile of any shape and any blocks."""
    stream, depth = np.random.RandomState(3), 24
    left = stream.randn(2 * max(LARGEST)[0] + 1, depth).astype(dtype)
    right = stream.randn(depth, TILE_VECTORS * lane_count(dtype)).astype(dtype)
    expected = by_tiles(left, right, 1, 1)
    assert_close(expected, left.astype(np.float64) @ right.astype(np.float64))
    for rows, vectors in tile_shapes():
        assert_same(by_tiles(left, right, rows, vectors), expected)
    for rows, vectors in LARGEST:
        for blocks in (2, 3, 8):
            assert_same(by_tiles(left, right, rows, vectors, blocks), expected)
    # Another chain has other bits: these numbers would show it.
    assert (by_tiles(left[:, ::-1], right[::-1], TILE_ROWS, TILE_VECTORS) != expected).any()


@each_dtype
@each_width
@each_mode
def test_nan_and_infinity_pass_through(dtype, mode, rows, vectors):
    case = Tile(dtype, rows, vectors, 3, mode=mode)
    case.left = abs(case.left)  # relu passes infinity, and passes back where it was active
    case.beside = abs(case.beside)
    case.right[0] = np.nan
    case.right[case.right_k + 1] = np.inf
    with np.errstate(invalid="ignore"):
        out = case.run(Fenced())
    assert np.isnan(out[:, 0]).all() and np.isinf(out[:, 1]).all()
    assert np.isfinite(out[:, 2:]).all()


@each_dtype
@each_width
def test_the_derivative_of_relu_at_nan_is_one(dtype, rows, vectors):
    """As `activations.relu1_backward` has it, so that NaN is not lost on the way back."""
    case = Tile(dtype, rows, vectors, 3, mode=SET_RELU_BACKWARD, draw=integers)
    case.beside[:] = np.nan
    product = Tile(dtype, rows, vectors, 3, mode=SET, draw=integers)
    assert_same(case.run(Fenced()), product.run(Fenced()))


# --- shapes and addresses -------------------------------------------------------------------------


@kernel
def height_of(rows, vectors):
    return microkernels.tile_height(rows, vectors)


@kernel
def width_of(vectors):
    return microkernels.tile_vectors(vectors)


@pytest.mark.parametrize("vectors", TILE_WIDTHS)
def test_rows_are_cut_into_the_fewest_equal_tiles(vectors):
    """As many tiles as the highest ones would be, and no lower height would do."""
    most = TARGET.tile_rows(vectors)
    for rows in range(1, most**2 + 2):
        height, tiles = height_of(rows, vectors), -(-rows // most)
        assert 1 <= height <= most
        assert -(-rows // height) == tiles
        assert height == 1 or -(-rows // (height - 1)) > tiles


def test_a_tile_is_the_narrowest_that_holds_the_vectors():
    assert tuple(sorted({1, 2, TILE_VECTORS})) == TILE_WIDTHS
    assert TARGET.tile_rows(TILE_VECTORS) == TILE_ROWS
    for vectors in range(1, TILE_VECTORS + 1):
        assert width_of(vectors) == min(w for w in TILE_WIDTHS if w >= vectors)


@pytest.mark.needs_jit
def test_each_dtype_has_one_tile_in_memory():
    single, double = tile_address("float32"), tile_address(np.dtype("float64"))
    assert single != double and 0 not in (single, double)
    assert tile_address(np.float32) == single and tile_address(np.float64) == double
    assert len(microkernels._compute_tiles.overloads) == 2


@pytest.mark.skipif(JIT, reason="compiled code has addresses")
def test_plain_python_has_no_address():
    assert tile_address("float32") == tile_address("float64") == 0


# --- guard pages ----------------------------------------------------------------------------------


def all_shapes(allocate):
    """Every tile shape, in every mode, with both ways to walk ``left``."""
    for dtype, (rows, vectors) in product(("float32", "float64"), tile_shapes()):
        for mode, k_first, blocks in product(MODES, (True, False), (1, 3)):
            case = Tile(dtype, rows, vectors, 3, blocks, mode=mode, k_first=k_first, draw=integers)
            assert_same(case.run(allocate), case.expected.astype(dtype))
    for (rows, vectors), mode in product(LARGEST, MODES):
        long = Tile("float32", rows, vectors, microkernels._FETCH_FROM_K, mode=mode, draw=integers)
        assert_same(long.run(allocate), long.expected.astype("float32"))


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_the_operands_is_touched():
    assert_survives_guard_pages("test_microkernels", "all_shapes")


@needs_guard_pages
@pytest.mark.needs_jit
@pytest.mark.parametrize("at_end", [True, False])
def test_a_guard_page_catches_one_element_too_many(at_end):
    """The crash that the guard-page tests rely on: k_count one larger than the operands are."""
    code = (
        "from functools import partial\n"
        "from test_microkernels import Tile\n"
        "from kernel_cases import guarded\n"
        "case = Tile('float32', 2, 1, 3)\n"
        f"case.shape = (2, 1, 1, {4 if at_end else 3}, 1)\n"
        f"case.left_k = {1 if at_end else -1}\n"
        "print('ready', flush=True)\n"
        f"case.run(partial(guarded, at_end={at_end}))\n"
        "print('survived')\n"
    )
    result = run_python(code)
    assert result.stdout.split() == ["ready"]
    assert result.returncode < 0, result.stderr  # killed by a signal
