"""A training step: the same bits for any team and any threshold, and nothing beyond its buffers."""

from __future__ import annotations

from itertools import product

import numba
import numpy as np
import pytest
from kernel_cases import (
    DTYPES,
    JIT,
    assert_same,
    assert_survives_guard_pages,
    each_dtype,
    each_team,
    fenced,
    needs_guard_pages,
)
from step_cases import DEEP, SMALL, Net, Training, flat_layouts

from fastdnn import workspace
from fastdnn.kernels import tables
from fastdnn.kernels.dropout import keep_threshold
from fastdnn.kernels.vectors import lane_count

pytestmark = pytest.mark.kernels


# --- teams and thresholds: always the same bits ---------------------------------------------------


def trained(net, dtype, batch, team=None, **options):
    """What two steps leave behind, and their costs."""
    X, Y = net.examples(2 * batch, dtype)
    training = Training(net, dtype, batch, optimizer="adam", **options)
    done, costs = training.run(X, Y, starts=(batch, 0), team=team)
    assert done == 2
    training.check_untouched()
    return training, costs


def assert_same_training(one, other):
    assert_same(one[1], other[1])
    assert_same(one[0].parameters, other[0].parameters)
    assert_same(one[0].state, other[0].state)


OPTIONS = {
    "plain": {},
    "clipped": {"clip_norm": 0.01},
    "dropout": {"keep": keep_threshold(0.3)},
}


@each_dtype
@pytest.mark.parametrize("option", OPTIONS)
@each_team
def test_any_team_computes_the_same_bits(team, option, dtype):
    net, batch = DEEP, 300
    serial = trained(net, dtype, batch, **OPTIONS[option])
    assert len(serial[0].plan.blocks) > 8
    with fenced() as allocate:
        together = trained(net, dtype, batch, team, allocate=allocate, **OPTIONS[option])
        assert_same_training(together, serial)
    other = trained(net, dtype, batch, clip_norm=1e-3)
    assert (other[0].views["W1"] != serial[0].views["W1"]).any()


@pytest.mark.needs_jit
@each_team
def test_a_team_larger_than_the_work(team):
    """Members without a panel or a block still come to every meeting."""
    tiny = Net((2, 1))
    assert_same_training(trained(tiny, "float32", 1, team), trained(tiny, "float32", 1))


THRESHOLDS = {
    "packed": {"PACK_BYTES": 0, "PACK_EXAMPLES": 0},
    "unpacked": {"PACK_BYTES": 2**60},
    "grouped": {"GROUP_BYTES": 0},
    "grouped by two": {"GROUP_BYTES": 0, "GROUP_PANELS": 2},
    "one by one": {"GROUP_BYTES": 2**60},
    "large blocks": {"BLOCKS_WANTED": 1},
    "small blocks": {"BLOCKS_WANTED": 10**6, "BLOCK_MULTIPLY_ADDS": 1},
}


@each_dtype
@pytest.mark.parametrize("sides", THRESHOLDS)
def test_both_sides_of_every_threshold_compute_the_same_bits(sides, dtype, monkeypatch):
    net, batch = Net((270, 35, 40, 5), "relu", "softmax"), 90
    usual = trained(net, dtype, batch)
    for name, value in THRESHOLDS[sides].items():
        assert hasattr(workspace, name)
        monkeypatch.setattr(workspace, name, value)
    with fenced() as allocate:
        assert_same_training(trained(net, dtype, batch, allocate=allocate), usual)
        if numba.config.NUMBA_NUM_THREADS >= 3 and JIT:
            assert_same_training(trained(net, dtype, batch, 3, allocate=allocate), usual)


def test_the_thresholds_change_the_plan(monkeypatch):
    """Each override above forces what its name says."""
    layout = workspace.ParameterLayout((270, 35, 40, 5), np.dtype("float32"))
    plans = {}
    for sides, overrides in THRESHOLDS.items():
        with monkeypatch.context() as patch:
            for name, value in overrides.items():
                patch.setattr(workspace, name, value)
            plans[sides] = workspace.plan_step(layout, (1, 1, 5), 1, 90, 1)
    packs = {sides: plan.layers[:, tables.PACKED] >= 0 for sides, plan in plans.items()}
    assert packs["packed"].all() and not packs["unpacked"].any()
    assert plans["packed"].shape[tables.PACKS] and not plans["unpacked"].shape[tables.PACKS]
    assert plans["one by one"].shape[tables.GROUP] == 1
    assert plans["grouped by two"].shape[tables.GROUP] == 2 < plans["grouped"].shape[tables.GROUP]
    assert len(plans["small blocks"].blocks) > 2 * len(plans["large blocks"].blocks)


# --- guard pages ----------------------------------------------------------------------------------


def guarded_steps(allocate):
    """Examples that end with their memory, in every layout, with every option."""
    lane = lane_count("float32")
    for dtype, batch in product(DTYPES, (1, lane, 2 * lane + 1)):
        X, Y = SMALL.examples(batch, dtype)
        for x, y, strides in [(X, Y, None), *flat_layouts(X, Y)]:
            for order in (None, np.arange(batch)[::-1].copy()):
                training = Training(
                    SMALL, dtype, batch, allocate=allocate, optimizer="adam", weighted=True,
                    clip_norm=1.0, keep=keep_threshold(0.5),
                )  # fmt: skip
                weights = np.ones(batch, dtype)
                done, _ = training.run(
                    x, y, starts=(0, -1), strides=strides, order=order, sample_weights=weights
                )
                assert done == 2


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_any_buffer_is_touched():
    assert_survives_guard_pages("test_step_teams", "guarded_steps")
