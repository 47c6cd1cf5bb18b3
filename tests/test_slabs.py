"""The first layer in slabs of its input: however it is reached, the numbers of the usual way."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import assert_close, assert_same, each_dtype, each_team, fenced
from step_cases import Net, Training, exact_gradients, flat_layouts, planned

from fastdnn import planning
from fastdnn.kernels import tables
from fastdnn.kernels.dropout import keep_threshold
from fastdnn.layout import ParameterLayout

pytestmark = pytest.mark.kernels

# Inputs that fill their last vector, and that leave room for the ones of the biases; no hidden
# layer; more units than a tile has rows.
NETS = {
    "whole": Net((192, 5, 3), "tanh", "softmax"),
    "ones": Net((149, 5, 3), "relu", "softmax"),
    "one layer": Net((149, 1), "relu", "sigmoid"),
    "softmax alone": Net((150, 4), "relu", "softmax"),
    "tall": Net((200, 37, 2), "relu", "sigmoid"),
}
OPTIONS = {
    "plain": {},
    "clipped": {"clip_norm": 0.01},
    "dropout": {"keep": keep_threshold(0.3)},
}
BATCH = 61


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    """Slabs of one panel of units, whatever the network."""
    planned(
        monkeypatch,
        {
            "CHUNKS_OF_PANELS": {},
            "FIRST_LAYER_BYTES": 2**60,
            "SLAB_INPUT_BYTES": 0,
            "SLAB_UNITS_PER_OUTPUT": 0,
            "SLABS_WANTED": 2,
        },
    )


def training(net, dtype, **options):
    made = Training(net, dtype, BATCH, **options)
    assert made.plan.shape[tables.SLABS] >= 0
    assert made.plan.shape[tables.FIRST_LAYER_BLOCKS] > 1
    assert made.plan.layers[0, tables.INPUT] == -1
    return made


@each_dtype
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("ordered", [False, True], ids=["in order", "shuffled"])
def test_gradients_from_every_layout(name, ordered, dtype):
    net = NETS[name]
    X, Y = net.examples(BATCH, dtype)
    order = np.random.RandomState(3).permutation(BATCH) if ordered else None
    for x, y, strides in [(X, Y, None), *flat_layouts(X, Y)]:
        with fenced() as allocate:
            one = training(net, dtype, allocate=allocate)
            done, costs = one.run(x, y, strides=strides, order=order)
            assert done == 1
            one.check_untouched()
            cost, expected = exact_gradients(net, one.exact(), X, Y)
            assert_close(costs.astype(dtype), np.array([cost]))
            for parameter, gradient in one.gradients().items():
                assert_close(gradient, expected[parameter])


@each_dtype
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", NETS)
def test_steps_over_the_same_examples_are_steps_that_load_them_again(name, option, dtype):
    """The slabs of the next step are multiplied ahead only if it takes the same examples."""
    net = NETS[name]
    X, Y = net.examples(2 * BATCH, dtype)
    runs = []
    for starts in [(0, 0, BATCH, BATCH, 0), (0, -1, BATCH, -1, 0)]:
        one = training(net, dtype, optimizer="momentum", **OPTIONS[option])
        done, costs = one.run(X, Y, starts=starts)
        assert done == 5
        one.check_untouched()
        runs.append((costs, one.parameters, one.state))
    for ahead, again in zip(*runs, strict=True):
        assert_same(ahead, again)


@each_dtype
def test_a_call_goes_on_with_the_examples_of_the_last_one(dtype):
    net = NETS["ones"]
    X, Y = net.examples(BATCH, dtype)
    at_once, in_turn = (training(net, dtype, optimizer="sgd") for _ in range(2))
    at_once.run(X, Y, starts=(0, -1, -1))
    in_turn.run(X, Y, starts=(0,))
    in_turn.run(np.full_like(X, np.nan), Y, starts=(-1, -1))
    assert_same(in_turn.parameters, at_once.parameters)


@each_dtype
@pytest.mark.parametrize("name", NETS)
def test_the_usual_way_computes_the_same_numbers(name, dtype, monkeypatch):
    net = NETS[name]
    X, Y = net.examples(BATCH, dtype)
    slabs = training(net, dtype, optimizer="sgd", keep=keep_threshold(0.3))
    slabs.run(X, Y, starts=(0, -1))
    planned(monkeypatch, {"SLAB_INPUT_BYTES": 2**60})
    usual = Training(net, dtype, BATCH, optimizer="sgd", keep=keep_threshold(0.3))
    usual.run(X, Y, starts=(0, -1))
    assert usual.plan.shape[tables.SLABS] == -1
    for name, view in slabs.views.items():
        assert_close(view, usual.views[name].astype(np.float64))


@pytest.mark.needs_jit
@each_team
@each_dtype
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["ones", "one layer"])
def test_any_team_computes_the_same_bits(name, option, dtype, team):
    net = NETS[name]
    X, Y = net.examples(2 * BATCH, dtype)
    runs = []
    for members in (None, team):
        with fenced() as allocate:
            one = training(net, dtype, optimizer="adam", allocate=allocate, **OPTIONS[option])
            _, costs = one.run(X, Y, starts=(0, -1, -1, BATCH), team=members)
            runs.append((costs, one.parameters.copy(), one.state.copy()))
    for alone, together in zip(*runs, strict=True):
        assert_same(together, alone)


@each_dtype
def test_a_training_that_diverges_ends_as_one_that_loads_again(dtype):
    net = Net((150, 3, 1), "relu", "identity")
    X, Y = net.examples(BATCH, dtype)
    runs = []
    for starts in [(0, 0, 0), (0, -1, -1)]:
        one = training(net, dtype, optimizer="sgd")
        done, costs = one.run(X, Y, starts=starts, learning_rate=float(np.finfo(dtype).max))
        assert done == 1 and np.isfinite(costs[0])
        assert all(np.isfinite(view).all() for view in one.views.values())
        runs.append(one.parameters)
    assert_same(*runs)


class TestThePlan:
    @pytest.fixture(autouse=True)
    def usual_thresholds(self, small_slabs, monkeypatch):
        monkeypatch.undo()

    def slabs(self, dims, examples, dtype):
        layout = ParameterLayout(dims, np.dtype(dtype))
        plan = planning.plan_step(layout, (1,) * (len(dims) - 2) + (3,), 0, examples, 4)
        if plan.shape[tables.SLABS] < 0:
            return 0
        blocks = plan.blocks[: plan.shape[tables.FIRST_LAYER_BLOCKS]]
        starts, ends = blocks[:, tables.BLOCK_PANEL], blocks[:, tables.BLOCK_PANEL_END]
        assert starts.tolist() == [0, *ends[:-1].tolist()]
        assert ends[-1] == -(-dims[0] // plan.shape[tables.UNIT_WIDTH])
        assert (blocks[:, tables.BLOCK_ROW_END] == dims[1]).all()
        return len(blocks)

    @each_dtype
    def test_wide_pictures_and_few_units_take_slabs(self, dtype):
        assert self.slabs((12288, 20, 7, 5, 1), 209, dtype) >= 32

    @each_dtype
    @pytest.mark.parametrize(
        ("dims", "examples"),
        [
            ((12288, 20, 7, 5, 1), 32),  # X is small
            ((12288, 200, 1), 209),  # the partial sums would be large
            ((784, 20, 10), 5000),  # few weights: chunks
            ((4000, 20, 1), 100_000),  # no slab stays in the cache
        ],
    )
    def test_others_do_not(self, dims, examples, dtype):
        assert self.slabs(dims, examples, dtype) == 0
