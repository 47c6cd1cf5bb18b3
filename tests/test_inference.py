"""A forward pass of any number of examples, however its weights are read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_cases import assert_close, each_dtype
from network_cases import assert_same_bits, in_float64, kind_of, randomise
from step_cases import planned

import fastdnn
from fastdnn import planning, reference
from fastdnn.kernels import tables
from fastdnn.kernels.linear import K_BLOCK, ROWS_PER_PASS
from fastdnn.kernels.vectors import lane_count
from fastdnn.layout import ParameterLayout

pytestmark = pytest.mark.front

# More units than rows go together, and more inputs than a run of k takes.
DIMS = (K_BLOCK + 5, 2 * ROWS_PER_PASS + 7, ROWS_PER_PASS + 1, 3)
ALWAYS = {"PACK_BYTES": 0, "PACK_EXAMPLES": 0}
NEVER = {"PACK_BYTES": 2**60}


@each_dtype
@pytest.mark.parametrize("m", [1, 2, 3, 17, 64, 300, 1111])
def test_packed_and_unpacked_weights_give_the_same_bits(m, dtype, monkeypatch):
    X = np.random.default_rng(m).standard_normal((DIMS[0], m)).astype(dtype)
    outputs = []
    for thresholds in (ALWAYS, NEVER):
        planned(monkeypatch, thresholds)
        net = randomise(fastdnn.DNN(DIMS, output_activation="softmax", dtype=dtype))
        outputs.append(net.forward(X))
    AL, _ = reference.L_model_forward(X.astype(np.float64), in_float64(net), **kind_of(net))
    assert_close(outputs[0], AL)
    assert_same_bits(outputs[0], outputs[1])


@pytest.mark.parametrize(("thresholds", "packs"), [(ALWAYS, True), (NEVER, False)])
def test_the_thresholds_change_the_plan(thresholds, packs, monkeypatch):
    planned(monkeypatch, thresholds)
    layout = ParameterLayout(DIMS, np.dtype("float32"))
    plan = planning.plan_forward(layout, (1, 1, 5), 300, 1)
    assert plan.shape[tables.PACKS] == packs


@each_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_found_wherever_it_is(bad, dtype):
    n_x = 2 * lane_count(dtype) + 1
    net = fastdnn.DNN([n_x, 3, 1], dtype=dtype)
    for i, example in itertools.product(range(n_x), range(2)):
        X = np.ones((n_x, 2), dtype)
        X[i, example] = bad
        with pytest.raises(ValueError, match=rf"X\[{i}, {example}\] is"):
            net.forward(X)


@each_dtype
@pytest.mark.parametrize("n_threads", [1, 4])
@pytest.mark.parametrize("wanted", [1, 4], ids=["four by four", "one by one"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_found_in_any_panel(
    bad, order, wanted, n_threads, dtype, monkeypatch
):
    """Some rows; the first and last columns, and those around the panels' ends."""
    planned(monkeypatch, {"PANELS_WANTED": wanted})
    n_x, m = 2 * lane_count(dtype) + 1, 20 * lane_count(dtype) + 3
    net = fastdnn.DNN([n_x, 3, 1], dtype=dtype, n_threads=n_threads)
    X = np.ones((n_x, m), dtype, order)
    good = net.forward(X)
    for i, example in itertools.product((0, 1, n_x - 1), (0, 1, *range(15, m, 16), m - 2, m - 1)):
        X[i, example] = bad
        for call in (net.forward, net.predict, lambda X: net.evaluate(X, np.ones(m))):
            with pytest.raises(ValueError, match=rf"X\[{i}, {example}\] is"):
                call(X)
        X[i, example] = 1
    assert_same_bits(net.forward(X), good)  # nothing of what was refused is left
