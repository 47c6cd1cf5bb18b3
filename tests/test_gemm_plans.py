"""How products are computed: what is packed, what a member does at a time, where results lie."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_cases import assert_close, each_dtype

from fastdnn import products
from fastdnn.kernels import gemm
from fastdnn.kernels.microkernels import TILE_ROWS
from fastdnn.products import activated_product, plan, product

pytestmark = pytest.mark.kernels


def planned(m, n, k=100, dtype="float32", *, lines=True, rows=True, alone=False):
    """The plan for a left operand with rows along k, and a right one with rows or columns."""
    return plan(m, n, k, lines, not rows, rows, np.dtype(dtype), alone)


def test_the_kernel_reads_what_the_plan_writes():
    """The vector that `gemm.multiply` reads ends in the fields of a plan, in their order."""
    places = [getattr(gemm, name.upper()) for name in products.ProductPlan._fields]
    assert places == list(range(gemm.HEIGHT, gemm.OWN_SIZE + 1))


def test_plans_choose_every_road():
    """What the plans of the package's own shapes look like."""
    big = planned(2048, 2048, 2048)
    assert big.packs_left and big.packs_right and not big.dots
    assert not planned(5, 512, 512).packs_right
    assert planned(5, 512, 512, rows=False).packs_right
    assert planned(500, 1, 500, "float64").dots
    assert not planned(500, 1, 500, "float64", lines=False).dots
    assert planned(1, 500, 500, "float64", rows=False).dots
    assert planned(1, 500, 500, "float64").sums and not planned(1, 500, 500, "float64").dots
    assert not planned(gemm.FEW + 1, 500, 500).sums


@each_dtype
def test_both_sides_of_a_plans_thresholds(dtype):
    width, few = gemm.panel_width(np.dtype(dtype)), gemm.FEW
    panels, tiles = products.PACK_LEFT_PANELS, products.PACK_RIGHT_TILES
    k, columns = products.PACK_LEFT_BYTES // np.dtype(dtype).itemsize // 64, 50
    wide = products.PACK_RIGHT_BYTES // np.dtype(dtype).itemsize // columns
    assert not planned(64, (panels - 1) * width, k + 1, dtype).packs_left
    assert planned(64, (panels - 1) * width + 1, k + 1, dtype).packs_left
    assert not planned(64, (panels - 1) * width + 1, k, dtype).packs_left
    assert not planned((tiles - 1) * TILE_ROWS, 50, dtype=dtype).packs_right
    assert planned((tiles - 1) * TILE_ROWS + 1, 50, dtype=dtype).packs_right
    assert not planned(TILE_ROWS + 1, columns, wide, dtype).packs_right
    assert planned(TILE_ROWS + 1, columns, wide + 1, dtype).packs_right
    assert not planned(TILE_ROWS, columns, wide + 1, dtype).packs_right
    panels = products.PACK_COLUMNS_PANELS
    assert not planned(64, (panels - 1) * width, 5, dtype, lines=False).packs_left
    assert planned(64, (panels - 1) * width + 1, 5, dtype, lines=False).packs_left
    assert planned(few, 50, rows=False, dtype=dtype).dots
    assert not planned(few + 1, 50, rows=False, dtype=dtype).dots
    assert planned(50, few, dtype=dtype).dots and not planned(50, few + 1, dtype=dtype).dots


@each_dtype
@pytest.mark.parametrize("alone", [False, True])
def test_a_plans_sizes_fit_together(alone, dtype):
    """Memory for what is packed, no more tiles than their rows need, nothing of size zero."""
    width, few = gemm.panel_width(np.dtype(dtype)), gemm.FEW
    lengths = (few + 1, 50, gemm.K_RUN, 1000, 5000)
    for m, n, k in itertools.product(lengths, lengths, (1, 100, gemm.K_RUN + 1, 3000, 10**6)):
        how = planned(m, n, k, dtype, alone=alone)
        tiles, panels = -(-m // how.height), -(-n // width)
        assert tiles == -(-m // TILE_ROWS) and how.height <= TILE_ROWS
        assert how.left_size >= m * k if how.packs_left else how.left_size == 0
        assert how.panels_size >= (how.held if how.packs_right else 1) * width * how.depth
        assert how.own_size >= how.height * width
        assert 0 < how.block <= tiles * how.height and how.block % how.height == 0
        assert 1 <= how.group <= how.held <= panels
        assert how.depth == k or how.depth % gemm.K_RUN == 0 < how.depth < k
        if how.packs_right and panels > how.held:
            assert how.held % how.group == 0


@each_dtype
def test_a_team_has_more_pieces_than_members(dtype):
    """Small enough to even out members of any speed, large enough to be worth a claim."""
    itemsize, width = np.dtype(dtype).itemsize, gemm.panel_width(np.dtype(dtype))
    for m, n, k in ((512, 512, 512), (2048, 2048, 2048), (6, 100 * width, 300), (4000, 20, 300)):
        how, alone = (planned(m, n, k, dtype, alone=alone) for alone in (False, True))
        tiles, panels = -(-m // how.height), -(-n // width)
        enough = m * n * k * itemsize // products.LEAST_PER_PIECE
        assert -(-m // how.block) * -(-panels // how.group) >= min(32, tiles * panels, enough)
        work = how.block * how.group * width * how.depth * itemsize
        assert work <= max(products.MOST_PER_PIECE, how.height * width * how.depth * itemsize)
        assert alone.group == alone.held and alone.block >= how.block


@each_dtype
@pytest.mark.parametrize("alone", [False, True])
def test_a_block_of_rows_fits_the_cache(alone, dtype):
    for m, k in itertools.product((6, 96, 100, 5000), (10, gemm.K_RUN, 5000)):
        how = planned(m, 1000, k, dtype, alone=alone)
        run = min(k, gemm.K_RUN) * np.dtype(dtype).itemsize
        assert how.block == how.height or how.block * run <= products.BLOCK_BYTES


@each_dtype
def test_rounds(dtype):
    """More of k for a team with little to do; no more memory than there is a limit for."""
    itemsize, width = np.dtype(dtype).itemsize, gemm.panel_width(np.dtype(dtype))
    run_bytes, k = width * gemm.K_RUN * itemsize, 1000 * gemm.K_RUN
    rows = products.ROUND_MULTIPLY_ADDS // (8 * width * gemm.K_RUN)
    assert planned(rows, 8 * width, k, dtype).depth == gemm.K_RUN
    assert planned(rows - 1, 8 * width, k, dtype).depth == 2 * gemm.K_RUN
    assert planned(50, 8 * width, gemm.K_RUN - 1, dtype).depth == gemm.K_RUN - 1
    assert planned(rows - 1, 8 * width, k, dtype, alone=True).depth == gemm.K_RUN
    most = products.ROUND_BYTES // run_bytes
    assert planned(gemm.FEW + 1, 32 * width, k, dtype).depth == most // 32 * gemm.K_RUN
    for panels in (most - 1, most, most + 1, 2 * most):
        how = planned(500, panels * width, k, dtype)
        assert how.held == (panels if panels <= most else most // how.group * how.group)
        assert planned(500, panels * width, k, dtype, alone=True).held == min(panels, most)
        near = planned(10, panels * width, k, dtype, alone=True)
        assert near.held == min(panels, products.NEAR_BYTES // run_bytes)


@each_dtype
def test_a_large_right_operand_is_read_by_whole_blocks(dtype):
    """Rather fewer k in a round than fewer rows in a piece, each of which would read all of it."""
    itemsize, width = np.dtype(dtype).itemsize, gemm.panel_width(np.dtype(dtype))
    m, n = 20, 4 * width
    k = products.STREAMED_BYTES // (n * itemsize)
    near, far = planned(m, n, k, dtype), planned(m, n, k + 1, dtype)
    assert near.depth == k and near.block < m
    assert far.block == m and products.STREAMED_RUNS * gemm.K_RUN <= far.depth < k
    assert planned(m, n, 10 * k, dtype).depth > far.depth  # the longest with whole blocks
    assert planned(m, n, 10 * k, dtype).block == m
    wide = planned(500, n, 10 * k, dtype)
    assert wide.block == planned(500, n, 10 * k, dtype, alone=True).block


@each_dtype
@pytest.mark.parametrize(("m", "most"), [(20, products.SHARED_BYTES), (500, products.ROUND_BYTES)])
def test_rounds_of_one_block_stay_in_the_cache(m, most, dtype):
    """Where more than one is needed, and no other block reads the panels again."""
    itemsize, width, k = np.dtype(dtype).itemsize, gemm.panel_width(np.dtype(dtype)), 192
    panel_bytes = width * k * itemsize
    panels = products.ROUND_BYTES // panel_bytes
    assert planned(m, panels * width, k, dtype, rows=False).held == panels
    held = planned(m, panels * width + 1, k, dtype, rows=False).held
    assert 0.9 * most < held * panel_bytes <= most


@pytest.mark.needs_jit
@each_dtype
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_large_results_start_on_a_cache_line(more, dtype):
    rows = 128
    n = products.ALIGNED_BYTES // np.dtype(dtype).itemsize // rows + more
    stream = np.random.RandomState(0)
    left, right = stream.randn(rows, 2).astype(dtype), stream.randn(2, n).astype(dtype)
    exact = left.astype(np.float64) @ right
    for out in (
        product(left, right),
        *activated_product(left, right, np.zeros((rows, 1), dtype), 0),
    ):
        assert_close(out, exact)
        assert out.flags.c_contiguous and out.flags.writeable and out.shape == (rows, n)
        assert out.flags.owndata == (more < 0)
        assert more < 0 or out.ctypes.data % 64 == 0
