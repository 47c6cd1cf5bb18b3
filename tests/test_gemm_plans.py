"""How products are computed: what is packed, and what a member does at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_cases import each_dtype

from fastdnn import products
from fastdnn.kernels import gemm
from fastdnn.kernels.microkernels import TILE_ROWS
from fastdnn.products import plan

pytestmark = pytest.mark.kernels


def planned(m, n, k=100, dtype="float32", *, lines=True, rows=True, alone=False):
    """The plan for a left operand with rows along k, and a right one with rows or columns."""
    return plan(m, n, k, lines, not rows, rows, np.dtype(dtype), alone)


def test_plans_choose_every_road():
    """What the plans of the package's own shapes look like."""
    big = planned(2048, 2048, 2048)
    assert big.packs_left and big.packs_right and not big.dots
    assert not planned(5, 512, 512).packs_right
    assert planned(5, 512, 512, rows=False).packs_right
    assert planned(500, 1, 500, "float64").dots
    assert not planned(500, 1, 500, "float64", lines=False).dots
    assert planned(1, 500, 500, "float64", rows=False).dots
    assert not planned(1, 500, 500, "float64").dots


@each_dtype
def test_both_sides_of_a_plans_thresholds(dtype):
    width, few = gemm.panel_width(np.dtype(dtype)), gemm.FEW
    panels, tiles = products.PACK_LEFT_PANELS, products.PACK_RIGHT_TILES
    k = products.PACK_LEFT_BYTES // np.dtype(dtype).itemsize // 64
    assert not planned(64, (panels - 1) * width, k + 1, dtype).packs_left
    assert planned(64, (panels - 1) * width + 1, k + 1, dtype).packs_left
    assert not planned(64, (panels - 1) * width + 1, k, dtype).packs_left
    assert not planned((tiles - 1) * TILE_ROWS, 50, dtype=dtype).packs_right
    assert planned((tiles - 1) * TILE_ROWS + 1, 50, dtype=dtype).packs_right
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
        assert 1 <= how.block <= tiles and 1 <= how.group <= how.held <= panels
        assert how.depth == k or how.depth % gemm.K_RUN == 0 < how.depth < k
        if how.packs_right and panels > how.held:
            assert how.held % how.group == 0


@each_dtype
def test_a_team_has_more_blocks_than_members(dtype):
    """Small enough to even out members of any speed, large enough to be worth a claim."""
    itemsize, width = np.dtype(dtype).itemsize, gemm.panel_width(np.dtype(dtype))
    for m, n, k in ((512, 512, 512), (2048, 2048, 2048), (6, 100 * width, 300), (4000, 20, 300)):
        how, alone = (planned(m, n, k, dtype, alone=alone) for alone in (False, True))
        tiles, panels = -(-m // how.height), -(-n // width)
        assert -(-tiles // how.block) * -(-panels // how.group) >= min(32, tiles * panels)
        work = how.height * how.block * how.group * width * how.depth * itemsize
        least = how.height * width * how.depth * itemsize * how.group
        assert work <= max(products.MOST_PER_BLOCK, least)
        assert alone.block == tiles
        assert alone.held == (alone.group if alone.packs_right else panels)


@each_dtype
def test_rounds_of_a_team(dtype):
    """More of k where the panels are few; one run of it, and a limit, where they are many."""
    itemsize, width = np.dtype(dtype).itemsize, gemm.panel_width(np.dtype(dtype))
    run_bytes = width * gemm.K_RUN * itemsize
    panels, k = products.ROUND_BYTES // run_bytes // 2, 100 * gemm.K_RUN
    assert planned(500, panels * width, k, dtype).depth == 2 * gemm.K_RUN
    assert planned(500, panels * width + 1, k, dtype).depth == gemm.K_RUN
    assert planned(500, panels * width, gemm.K_RUN - 1, dtype).depth == gemm.K_RUN - 1
    assert planned(500, panels * width, k, dtype, alone=True).depth == gemm.K_RUN
    most = products.MOST_ROUND_BYTES // run_bytes
    assert planned(500, most * width, k, dtype).held == most
    assert planned(500, most * width + 1, k, dtype).held == most
    assert planned(500, 2 * most * width, k, dtype).held == most
