"""A training step: the same bits for any team, any plan's gradients, nothing beyond its buffers."""

from __future__ import annotations

from itertools import product

import numba
import numpy as np
import pytest
from kernel_cases import (
    DTYPES,
    JIT,
    assert_close,
    assert_same,
    assert_survives_guard_pages,
    each_dtype,
    each_team,
    fenced,
    needs_guard_pages,
)
from step_cases import (
    CUT_NET,
    CUTS,
    DEEP,
    NARROW,
    NO_CHUNKS,
    SHARED,
    SMALL,
    Net,
    Training,
    cut_batches,
    exact_gradients,
    flat_layouts,
    in_chunks,
    planned,
)

from fastdnn import planning
from fastdnn.kernels import tables
from fastdnn.kernels.dropout import keep_threshold
from fastdnn.kernels.microkernels import TILE_VECTORS
from fastdnn.kernels.target import TARGET
from fastdnn.kernels.vectors import lane_count
from fastdnn.layout import ParameterLayout

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


@pytest.mark.needs_jit
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


# Both sides of thresholds that change no bit, as long as the width of panels and the chunks stay.
# There are enough panels for groups of four.
WIDE = {"CHUNKS_OF_PANELS": {}, "PANELS_WANTED": 1}
THRESHOLDS = {
    "packed": {"PACK_BYTES": 0, "PACK_EXAMPLES": 0, "PACK_TRANSPOSED_EXAMPLES": 0},
    "unpacked": {"PACK_BYTES": 2**60},
    "by layers": {"GROUP_BYTES": 0, "TASKS_FROM_UNITS": 0, "TASK_UNITS": (48,)},
    "by layers, packed": {
        "GROUP_BYTES": 0,
        "TASKS_FROM_UNITS": 0,
        "TASK_UNITS": (48,),
        "PACK_BYTES": 0,
    },
    "by layers, two panels": {"GROUP_BYTES": 0, "TASKS_FROM_UNITS": 0, "GROUP_PANELS": 2},
    "one by one": {"GROUP_BYTES": 2**60},
    "large blocks": {"BLOCKS_WANTED": 1},
    "small blocks": {"BLOCKS_WANTED": 10**6, "BLOCK_MULTIPLY_ADDS": 1},
}
IN_CHUNKS = ("packed", "unpacked", "large blocks", "small blocks")
WIDE_NET, WIDE_BATCH = Net((270, 101, 50, 5), "relu", "softmax"), 300


@pytest.mark.needs_jit
@each_dtype
@pytest.mark.parametrize("sides", THRESHOLDS)
def test_both_sides_of_every_threshold_compute_the_same_bits(sides, dtype, monkeypatch):
    planned(monkeypatch, WIDE)
    usual = trained(WIDE_NET, dtype, WIDE_BATCH)
    planned(monkeypatch, THRESHOLDS[sides])
    with fenced() as allocate:
        assert_same_training(trained(WIDE_NET, dtype, WIDE_BATCH, allocate=allocate), usual)
        if numba.config.NUMBA_NUM_THREADS >= 3 and JIT:
            together = trained(WIDE_NET, dtype, WIDE_BATCH, 3, allocate=allocate)
            assert_same_training(together, usual)


@pytest.mark.needs_jit
@each_dtype
@pytest.mark.parametrize("sides", IN_CHUNKS)
def test_both_sides_compute_the_same_bits_in_chunks(sides, dtype, monkeypatch):
    planned(monkeypatch, {**WIDE, **in_chunks({3: 3})})
    usual = trained(WIDE_NET, dtype, WIDE_BATCH)
    planned(monkeypatch, THRESHOLDS[sides])
    with fenced() as allocate:
        together = trained(WIDE_NET, dtype, WIDE_BATCH, allocate=allocate)
        assert_same_training(together, usual)
        assert together[0].plan.shape[tables.CHUNKS] == 3


@each_dtype
def test_the_thresholds_change_the_plan(dtype, monkeypatch):
    """Each override above forces what its name says."""
    planned(monkeypatch, WIDE)
    layout = ParameterLayout(WIDE_NET.dims, np.dtype(dtype))
    plans = {}
    for sides, overrides in THRESHOLDS.items():
        with monkeypatch.context() as patch:
            planned(patch, overrides)
            plans[sides] = planning.plan_step(layout, (1, 1, 5), 1, WIDE_BATCH, 1)
    packs = {sides: plan.layers[:, tables.PACKED] >= 0 for sides, plan in plans.items()}
    transposes = {sides: plan.layers[1:, tables.PACKED_T] >= 0 for sides, plan in plans.items()}
    assert packs["packed"].all() and transposes["packed"].all()
    assert not packs["unpacked"].any() and not transposes["unpacked"].any()
    assert plans["packed"].shape[tables.PACKS] and not plans["unpacked"].shape[tables.PACKS]
    assert plans["one by one"].shape[tables.GROUP] == 1 and not len(plans["one by one"].tasks)
    by_layers, by_two = plans["by layers"], plans["by layers, two panels"]
    assert by_two.shape[tables.GROUP] == 2 < by_layers.shape[tables.GROUP]
    assert by_layers.tasks[:, tables.TASK_ROW].max() == 96 and not packs["by layers"].any()
    assert len(plans["by layers, packed"].tasks)
    assert transposes["by layers, packed"].all() and not packs["by layers, packed"].any()
    assert len(plans["small blocks"].blocks) > 2 * len(plans["large blocks"].blocks)
    for field in (tables.VECTORS, tables.CHUNKS, tables.FIRST_LAYER):
        assert len({int(plan.shape[field]) for plan in plans.values()}) == 1


# --- every way to cut the work: the reference's gradients -----------------------------------------


def gradients_of(dtype, batch, allocate=np.array, team=None, **options):
    """Cost and gradients of one step, and the plan."""
    weights = None
    if options.get("weighted"):
        weights = np.random.RandomState(3).uniform(0.5, 2, batch).astype(dtype)
    training = Training(CUT_NET, dtype, batch, allocate=allocate, **options)
    X, Y = CUT_NET.examples(batch, dtype)
    done, costs = training.run(X, Y, sample_weights=weights, team=team)
    assert done == 1
    training.check_untouched()
    cost, expected = exact_gradients(CUT_NET, training.exact(), X, Y, sample_weight=weights)
    return training, costs, cost, expected


@each_dtype
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("cut", CUTS)
def test_gradients_of_every_cut(cut, weighted, dtype, monkeypatch):
    planned(monkeypatch, CUTS[cut])
    for batch in cut_batches(dtype):
        with fenced() as allocate:
            training, costs, cost, expected = gradients_of(
                dtype, batch, allocate, weighted=weighted
            )
            assert_close(costs.astype(dtype), np.array([cost]))
            for name, gradient in training.gradients().items():
                assert_close(gradient, expected[name])


@each_dtype
def test_the_cuts_change_the_plan(dtype, monkeypatch):
    shapes = {}
    for cut, overrides in CUTS.items():
        with monkeypatch.context() as patch:
            planned(patch, overrides)
            batch = cut_batches(dtype)[-1]
            shapes[cut] = Training(CUT_NET, dtype, batch).plan.shape
    chunks = {cut: int(shape[tables.CHUNKS]) for cut, shape in shapes.items()}
    assert {cut for cut, count in chunks.items() if count} == {c for c in CUTS if "chunk" in c}
    assert (chunks["two chunks"], chunks["a chunk a panel"], chunks["a chunk"]) == (2, 3, 1)
    assert shapes["chunks one by one"][tables.GROUP] == 1 < shapes["two chunks"][tables.GROUP]
    assert {cut for cut, shape in shapes.items() if shape[tables.FIRST_LAYER]} == {
        cut for cut in CUTS if "shared" in cut
    }
    assert {cut for cut, shape in shapes.items() if shape[tables.SLABS] >= 0} == {"slabs"}
    assert shapes["narrow"][tables.VECTORS] == 1 < shapes["wide"][tables.VECTORS]
    assert shapes["narrow and shared units"][tables.PANELS] > 1


@pytest.mark.needs_jit
@each_team
@each_dtype
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("cut", CUTS)
def test_any_team_computes_the_same_bits_of_every_cut(cut, option, dtype, team, monkeypatch):
    planned(monkeypatch, CUTS[cut])
    batch = cut_batches(dtype)[-1]
    serial = trained(CUT_NET, dtype, batch, **OPTIONS[option])
    with fenced() as allocate:
        together = trained(CUT_NET, dtype, batch, team, allocate=allocate, **OPTIONS[option])
        assert_same_training(together, serial)


@each_dtype
@pytest.mark.parametrize("option", ["plain", "dropout"])
def test_shared_units_compute_the_same_bits(option, dtype, monkeypatch):
    """Who computes a unit changes nothing, and the blocks only the sum that clipping needs."""
    planned(monkeypatch, {**NO_CHUNKS, "NARROW_MULTIPLY_ADDS": 0, "PANELS_WANTED": 2})
    batch = cut_batches(dtype)[-1]
    usual = trained(CUT_NET, dtype, batch, **OPTIONS[option])
    planned(monkeypatch, SHARED)
    shared = trained(CUT_NET, dtype, batch, **OPTIONS[option])
    assert not usual[0].plan.shape[tables.FIRST_LAYER] and shared[0].plan.shape[tables.FIRST_LAYER]
    assert_same_training(shared, usual)


@each_dtype
@pytest.mark.parametrize("option", OPTIONS)
def test_chunks_compute_the_same_numbers(option, dtype, monkeypatch):
    """Also with dropout: a mask belongs to a panel, wherever its values stand."""
    planned(monkeypatch, {**NARROW, **NO_CHUNKS})
    batch = cut_batches(dtype)[-1]
    X, Y = CUT_NET.examples(batch, dtype)
    usual = Training(CUT_NET, dtype, batch, optimizer="sgd", **OPTIONS[option])
    _, expected = usual.run(X, Y, starts=(0, 0))
    planned(monkeypatch, in_chunks({2: 2}))
    chunked = Training(CUT_NET, dtype, batch, optimizer="sgd", **OPTIONS[option])
    _, costs = chunked.run(X, Y, starts=(0, 0))
    assert chunked.plan.shape[tables.CHUNKS] == 2 and not usual.plan.shape[tables.CHUNKS]
    assert_close(costs.astype(dtype), expected)
    for name, view in chunked.views.items():
        assert_close(view, usual.views[name].astype(np.float64))


@each_dtype
def test_what_is_added_up_in_chunks(dtype, monkeypatch):
    """Few weights and many panels, or fewer of both; more panels where they are narrow."""
    planned(monkeypatch, {"NARROW_MULTIPLY_ADDS": 2**60})  # panels are as wide as they can be

    def chunks(n_x, panels):
        layout = ParameterLayout((n_x, 64), np.dtype(dtype))
        examples = panels * TILE_VECTORS * lane_count(dtype)
        return int(planning.plan_step(layout, (0,), 0, examples, 1).shape[tables.CHUNKS])

    few, some, many = (kib * 1024 // 64 // np.dtype(dtype).itemsize for kib in (80, 256, 512))
    if TARGET.panel_bytes == 256:
        assert [chunks(few - 1, panels) for panels in (3, 4, 15, 16, 63, 64)] == [0, 4, 4, 8, 8, 16]
        assert [chunks(few, panels) for panels in (15, 16, 64)] == [0, 8, 16]  # with the biases
        assert [chunks(many - 1, panels) for panels in (15, 16, 64)] == [0, 8, 16]
        assert [chunks(many, panels) for panels in (15, 16, 64)] == [0, 0, 0]
    else:
        assert [chunks(few - 1, panels) for panels in (3, 4, 63, 64, 256)] == [0, 4, 4, 16, 16]
        assert [chunks(few, panels) for panels in (63, 64, 256)] == [0, 16, 16]  # with the biases
        assert [chunks(some - 1, panels) for panels in (63, 64, 255)] == [0, 16, 16]
        assert [chunks(some, panels) for panels in (63, 64, 255, 256)] == [0, 0, 0, 16]
        assert [chunks(many - 1, panels) for panels in (64, 255, 256)] == [0, 0, 16]
        assert [chunks(many, panels) for panels in (64, 255, 256)] == [0, 0, 0]


@each_dtype
@pytest.mark.parametrize("dims", [(64, 128, 10), (128, 128, 10), (64, 100, 10)])
def test_a_first_layer_shared_out_is_not_in_chunks(dims, dtype):
    """Each would go with these few weights and panels, but not both: their slots differ."""
    net = Net(dims, "relu", "softmax")
    X, Y = net.examples(120, dtype)
    training = Training(net, dtype, 120)
    training.run(X, Y)
    shape = training.plan.shape
    assert not (shape[tables.FIRST_LAYER] and shape[tables.CHUNKS])
    _, expected = exact_gradients(net, training.exact(), X, Y)
    for name, gradient in training.gradients().items():
        assert_close(gradient, expected[name])


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
    for overrides in CUTS.values():
        with pytest.MonkeyPatch.context() as patch:
            planned(patch, overrides)
            trained(CUT_NET, "float32", 5 * lane + 2, allocate=allocate, clip_norm=1.0)


@needs_guard_pages
@pytest.mark.needs_jit
def test_nothing_beyond_any_buffer_is_touched():
    assert_survives_guard_pages("test_step_teams", "guarded_steps")


@each_dtype
def test_little_work_passes_together(dtype):
    """Up to a group of panels, and less than a team would be worth: no chunks, one piece."""
    lanes = lane_count(np.dtype(dtype))
    panel = TILE_VECTORS * lanes
    for dims, panels, together in [
        ((2, 16, 1), planning.GROUP_PANELS, True),
        ((2, 16, 1), planning.GROUP_PANELS + 1, False),
        ((200, 100, 1), planning.GROUP_PANELS, False),
    ]:
        layout = ParameterLayout(dims, np.dtype(dtype))
        shape = planning.plan_step(layout, (1, 3), 0, panels * panel, 4).shape
        assert shape[tables.PANELS] == panels
        whole = shape[tables.GROUP] == panels and shape[tables.PIECES] == 1
        assert (whole and not shape[tables.CHUNKS]) == together
