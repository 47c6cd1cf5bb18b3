"""fit: how many steps a compiled call holds depends on the clock, and changes nothing."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from network_cases import assert_same_bits, problem, tanh_network

import fastdnn
from fastdnn import checkpoints, engine, training
from fastdnn.training import DivergenceError

M, BATCH = 12, 4
ONE, SOME, ALL = 1, 7, 1000  # steps in a call


@pytest.fixture
def calls(monkeypatch):
    """Steps of each compiled call so far."""
    seen: list[int] = []
    steps = engine.Engine.steps

    def spy(self, X, Y, starts, *args, **kwargs):
        seen.append(len(starts))
        return steps(self, X, Y, starts, *args, **kwargs)

    monkeypatch.setattr(engine.Engine, "steps", spy)
    return seen


@pytest.fixture
def pace(monkeypatch):
    """Set how many steps a call should take."""

    def set_pace(steps: int) -> None:
        monkeypatch.setattr(training.Training, "_steps_per_call", lambda self: steps)

    return set_pace


def trained(m: int = M, **options: Any) -> fastdnn.DNN:
    net = tanh_network()
    X, Y = problem(net, m)
    net.fit(X, Y, **{"epochs": 9, "batch_size": BATCH, "learning_rate": 0.1} | options)
    return net


@pytest.mark.parametrize("m", [M, M + 1])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adam", "dropout": 0.3}, {"sample_weight": True, "clip_norm": 0.1}],
)
def test_epochs_in_one_call_are_those_of_many_calls(pace, m, shuffle, options):
    if "sample_weight" in options:
        options = options | {"sample_weight": np.arange(1.0, m + 1)}
    runs = []
    for steps in (ONE, SOME, ALL):
        pace(steps)
        net = trained(m, shuffle=shuffle, **options)
        history = net.history
        runs.append((net.parameters, history.cost, history.learning_rate, net._rng.random()))
    for run in runs[1:]:
        assert_same_bits(run[0], runs[0][0])
        assert run[1:] == runs[0][1:]
    assert len(runs[0][1]) == len(runs[0][2]) == 9


def test_calls_hold_whole_epochs(pace, calls):
    pace(SOME)  # two epochs of three steps
    trained()
    assert calls == [6, 6, 6, 6, 3]


def test_calls_hold_so_many_examples(pace, calls, monkeypatch):
    monkeypatch.setattr(training, "CALL_EXAMPLES", 5 * M - 1)
    pace(ALL)
    trained()
    assert calls == [12, 12, 3]


class Order(fastdnn.batches.Shuffler):
    def permutation(self, m):
        return np.arange(m)


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": [lambda history: None]},
        {"validation_data": "the same"},
        {"schedule": lambda epoch: 0.5},
        {"checkpoint": "every epoch"},
        {"shuffle": Order()},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_epoch_that_somebody_looks_at_is_a_call(pace, calls, tmp_path, options):
    pace(ALL)
    if "validation_data" in options:
        options = {"validation_data": problem(tanh_network(), M)}
    if "checkpoint" in options:
        options = {"checkpoint": checkpoints.Checkpoint(tmp_path / "c.npz", every_epochs=1)}
    trained(**options)
    assert calls == [3] * 9


@pytest.mark.needs_jit
def test_memory_does_not_grow_with_the_pace():
    """Many steps in a call have many scalars of the optimizer."""
    net = fastdnn.DNN([2, 3, 1], dtype="float64")
    X, Y = problem(net, 4)
    net.fit(X, Y, optimizer="adam", epochs=2)
    tracemalloc.start()
    try:
        net.fit(X, Y, optimizer="adam", epochs=400_000, learning_rate=1e-6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20  # of which 400,000 costs take 13


@pytest.mark.parametrize("shuffle", [True, False])
def test_divergence_within_a_call_of_several_epochs(pace, shuffle):
    """As if nothing had been drawn or trained ahead."""
    runs = []
    for steps in (ONE, SOME, ALL):
        pace(steps)
        net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float32", init="small")
        net.parameters["W1"][...] = 0
        with pytest.raises(DivergenceError) as caught, np.errstate(all="ignore"):
            net.fit([[0.0] * 6], [[2.0] * 6], epochs=500, batch_size=2, learning_rate=5.0,
                    shuffle=shuffle)  # fmt: skip
        assert 8 < net.history.epochs < 14
        runs.append((str(caught.value), net.history.cost, net.history.learning_rate,
                     net.parameters["b1"].item(), net._rng.random()))  # fmt: skip
    assert runs[0] == runs[1] == runs[2]
