"""A training step against the reference: any shape and batch, every optimizer, any memory order."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    TOLERANCE,
    assert_close,
    assert_same,
    each_dtype,
    edges,
    fenced,
    relative_error,
)
from step_cases import DEEP, OPTIMIZERS, SMALL, Net, Training, exact_gradients, flat_layouts

from fastdnn import planning, reference
from fastdnn.kernels import tables
from fastdnn.kernels.linear import K_BLOCK
from fastdnn.kernels.microkernels import TILE_VECTORS, TILE_WIDTHS
from fastdnn.kernels.target import TARGET
from fastdnn.kernels.vectors import lane_count
from fastdnn.kernels.weights import EXAMPLES_TOGETHER

pytestmark = pytest.mark.kernels

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def checked_gradients(net, dtype, batch, allocate, **options):
    """Cost and gradients of one step are the reference's; nothing else was touched."""
    training = Training(net, dtype, batch, allocate=allocate, **options)
    before = training.parameters.copy()
    X, Y = net.examples(batch, dtype)
    done, costs = training.run(X, Y)
    cost, grads = exact_gradients(net, training.exact(), X, Y)
    assert done == 1
    assert_close(np.dtype(dtype).type(costs[0]), cost)
    for name, gradient in training.gradients().items():
        assert_close(gradient, grads[name])
    assert_same(training.parameters, before)
    training.check_untouched()
    return training


# --- gradients of every shape ---------------------------------------------------------------------

LANES = lane_count("float32")
HEIGHTS = sorted({TARGET.tile_rows(vectors) for vectors in TILE_WIDTHS})
SHAPES = [
    Net((1, 1)),
    Net((1, 2, 1), "sigmoid"),
    Net((3, 1, 2), "tanh", "identity"),
    Net((5, 4, 3, 2), "leaky_relu", "softmax"),
    Net((4, 3, 2), "softplus", "tanh"),
    Net((4, 3, 2), "identity", "softplus"),
    Net((4, 3, 2), "tanh", "softmax", "mse"),
    Net((4, 3, 2), "sigmoid", "sigmoid", "mse"),
    # rows around the largest tile of each width, and two of them
    *(Net((n, n + 1, 2), "tanh") for n in edges(*HEIGHTS) if n > 2),
    *(Net((3, 2 * n + 1, 2 * n), "tanh") for n in HEIGHTS),
    # inputs around each vector of a panel of units, and the first of a second panel
    *(
        Net((vectors * LANES + d, 3, 2 * LANES + d), "tanh")
        for vectors in range(1, TILE_VECTORS + 2)
        for d in (-1, 0, 1)
    ),
]
LARGE = [
    Net((K_BLOCK + 1, K_BLOCK - 1, K_BLOCK, 1), "tanh"),
    Net((3 * K_BLOCK, 2, 4 * LANES + 1), "tanh", "softmax"),
    Net((17, 300, 9), "sigmoid", "identity"),
    Net((3, K_BLOCK, K_BLOCK + 1, K_BLOCK, 2), "relu"),  # finished by a tile, or not
]
each_shape = pytest.mark.parametrize("net", SHAPES, ids=str)


@each_dtype
@each_shape
def test_gradients(net, dtype):
    """In panels of every width, the last column of which is not used."""
    for vectors in TILE_WIDTHS:
        with fenced() as allocate:
            batch = vectors * lane_count(dtype) - 1
            training = checked_gradients(net, dtype, batch, allocate)
            assert training.plan.shape[tables.VECTORS] == vectors


@each_dtype
@pytest.mark.parametrize("net", LARGE, ids=str)
def test_gradients_beyond_a_block(net, dtype):
    with fenced() as allocate:
        checked_gradients(net, dtype, 45, allocate)


def batches(dtype):
    """Around the panels of each width: where the width of a panel and their number change."""
    lane = lane_count(dtype)
    return edges(*(vectors * lane for vectors in TILE_WIDTHS), 2 * TILE_VECTORS * lane)


@each_dtype
def test_gradients_of_any_batch(dtype):
    for batch in batches(dtype):
        with fenced() as allocate:
            checked_gradients(SMALL, dtype, batch, allocate)


@each_dtype
@pytest.mark.parametrize("batch", [*edges(EXAMPLES_TOGETHER), 2 * EXAMPLES_TOGETHER + 1, 1000])
def test_gradients_of_many_examples(batch, dtype):
    """The sum over examples is cut into runs, panels and groups of panels."""
    with fenced() as allocate:
        checked_gradients(DEEP, dtype, batch, allocate)


@each_dtype
@pytest.mark.parametrize("n_in", [*edges(4, TILE_VECTORS * LANES), 17 * TILE_VECTORS * LANES])
def test_gradients_of_a_layer_of_one_unit(n_in, dtype):
    """Its input is read as it is; by blocks of units, runs of examples, and chunks of panels."""
    net = Net((2, n_in, 1), "tanh")
    batches = (1, *edges(TILE_VECTORS * lane_count(dtype), EXAMPLES_TOGETHER), 1000)
    for batch in (*batches, 5000) if n_in == 4 else batches:
        with fenced() as allocate:
            training = checked_gradients(net, dtype, batch, allocate)
            assert training.plan.layers[:, tables.UNITS].tolist()[1] == -1


@each_dtype
def test_what_is_read_again_stays_in_the_caches(dtype):
    """A panel's run of k in the first level, a block's gradient and errors in half the second."""
    size = np.dtype(dtype).itemsize
    assert K_BLOCK * TARGET.panel_bytes <= 32 * 1024
    for rows, panels in planning._BLOCKS:
        assert rows * panels * TARGET.panel_bytes <= TARGET.second_level_bytes // 2
        assert rows * EXAMPLES_TOGETHER * size <= TARGET.second_level_bytes // 2


@each_dtype
def test_one_wrong_example_would_show(dtype):
    """The tolerance tells a batch from the same batch without its last example."""
    training = Training(SMALL, dtype, 40)
    X, Y = SMALL.examples(40, dtype)
    _, costs = training.run(X, Y)
    wrong = Y.copy()
    wrong[:, -1] = np.roll(wrong[:, -1], 1)
    cost, grads = exact_gradients(SMALL, training.exact(), X, wrong)
    assert relative_error(costs[0], cost) > 100 * TOLERANCE[dtype]
    for name, gradient in training.gradients().items():
        assert relative_error(gradient, grads[name]) > 100 * TOLERANCE[dtype]


# --- steps of the optimizers ----------------------------------------------------------------------


@each_dtype
@each_optimizer
def test_ten_steps_follow_the_reference(name, dtype):
    """Costs and parameters of every step, in one call of seven steps and one of three."""
    hyper = {} if name == "sgd" else {"weight_decay": 0.01}
    rate = 0.01 if name in ("rmsprop", "adam", "adamw") else 0.1
    batch, count = 6, 10
    X, Y = SMALL.examples(batch * count, dtype)
    with fenced() as allocate:
        training = Training(SMALL, dtype, batch, allocate=allocate, optimizer=name, **hyper)
        parameters, state, expected = training.exact(), {}, []
        for i in range(count):
            part = slice(i * batch, (i + 1) * batch)
            cost, grads = exact_gradients(SMALL, parameters, X[:, part], Y[:, part])
            expected.append(cost)
            parameters = reference.optimizer_step(
                parameters, grads, state, rate, optimizer=name, **hyper
            )
        starts = tuple(range(0, batch * count, batch))
        first = training.run(X, Y, starts=starts[:7], learning_rate=rate)
        second = training.run(X, Y, starts=starts[7:], learning_rate=rate)
        assert (first[0], second[0]) == (7, 3)
        assert_close(np.concatenate([first[1], second[1]]).astype(dtype), np.array(expected))
        for key, view in training.views.items():
            assert_close(view, parameters[key], factor=4)
        training.check_untouched()


@each_dtype
def test_a_step_that_is_left_out_would_show(dtype):
    X, Y = SMALL.examples(6, dtype)
    ten, nine = (Training(SMALL, dtype, 6, optimizer="adam") for _ in range(2))
    ten.run(X, Y, starts=(0,) * 10, learning_rate=0.01)
    nine.run(X, Y, starts=(0,) * 9, learning_rate=0.01)
    for key, view in ten.views.items():
        assert relative_error(nine.views[key], view) > 100 * TOLERANCE[dtype]


@each_dtype
def test_minus_one_repeats_the_examples(dtype):
    X, Y = SMALL.examples(20, dtype)
    packed_again, kept = (Training(SMALL, dtype, 8, optimizer="sgd") for _ in range(2))
    _, expected = packed_again.run(X, Y, starts=(5, 5, 5))
    _, costs = kept.run(X, Y, starts=(5, -1, -1))
    assert_same(costs, expected)
    assert_same(kept.parameters, packed_again.parameters)
    assert np.unique(costs).size == 3


# --- where the examples come from -----------------------------------------------------------------


@each_dtype
def test_strides_of_the_examples(dtype):
    lane = lane_count(dtype)
    batch = 2 * lane + 1
    X, Y = SMALL.examples(2 * batch + 3, dtype)
    expected = Training(SMALL, dtype, batch)
    _, costs = expected.run(X, Y, starts=(3,))
    for x, y, strides in flat_layouts(X, Y):
        with fenced() as allocate:
            training = Training(SMALL, dtype, batch, allocate=allocate)
            _, strided = training.run(x, y, starts=(3,), strides=strides)
            assert_same(strided, costs)
            assert_same(training.state, expected.state)


@each_dtype
def test_order_picks_the_examples(dtype):
    """Steps over an order are steps over the reordered matrices, whatever their strides."""
    m, batch = 25, lane_count(dtype) + 3
    X, Y = SMALL.examples(m, dtype)
    order = np.random.RandomState(3).randint(0, m, 2 * batch)
    expected = Training(SMALL, dtype, batch, optimizer="sgd")
    _, costs = expected.run(
        np.ascontiguousarray(X[:, order]), np.ascontiguousarray(Y[:, order]), starts=(batch, 0)
    )
    for x, y, strides in [(X, Y, None), *flat_layouts(X, Y)]:
        with fenced() as allocate:
            training = Training(SMALL, dtype, batch, allocate=allocate, optimizer="sgd")
            _, ordered = training.run(x, y, starts=(batch, 0), strides=strides, order=order)
            assert_same(ordered, costs)
            assert_same(training.parameters, expected.parameters)
    _, others = Training(SMALL, dtype, batch).run(X, Y)
    assert (others != costs[1]).all()
