"""fit: how many steps a compiled call holds depends on the clock, and changes nothing."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from network_cases import assert_same_bits, problem, tanh_network
from numba import types

import fastdnn
from fastdnn import checkpoints, dispatch, engine, training, workspaces
from fastdnn.callbacks import Watcher
from fastdnn.kernels import step, updates
from fastdnn.optimizers import OPTIMIZERS
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
    [
        {},
        {"optimizer": "adam", "dropout": 0.3},
        {"sample_weight": True, "clip_norm": 0.1, "weight_decay": 0.1},
    ],
)
def test_epochs_in_one_call_are_those_of_many_calls(pace, m, shuffle, options):
    if "sample_weight" in options:
        options = options | {"sample_weight": np.arange(1.0, m + 1)}
    runs = []
    for steps in (ONE, SOME, ALL):
        pace(steps)
        net = trained(m, shuffle=shuffle, **options)
        history = net.history
        curves = history.cost, history.penalty, history.learning_rate
        runs.append((net.parameters, *curves, net._rng.random()))
    for run in runs[1:]:
        assert_same_bits(run[0], runs[0][0])
        assert run[1:] == runs[0][1:]
    assert len(runs[0][1]) == len(runs[0][3]) == 9


def test_calls_hold_whole_epochs(pace, calls):
    pace(SOME)  # two epochs of three steps
    trained()
    assert calls == [6, 6, 6, 6, 3]


def test_calls_hold_so_many_examples(pace, calls, monkeypatch):
    monkeypatch.setattr(training, "CALL_EXAMPLES", 5 * M - 1)
    pace(ALL)
    trained()
    assert calls == [12, 12, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"callbacks": [lambda history: None]},
        {"validation_data": "the same"},
        {"schedule": lambda epoch: 0.5},
        {"checkpoint": "every epoch"},
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


class Patient(Watcher):
    """Waits for so many epochs, and notes what it finds; may end the training."""

    def __init__(self, epochs: float, *, last: int = 1000) -> None:
        self.epochs, self.last = epochs, last
        self.seen: list[int] = []

    def may_wait(self) -> float:
        return self.epochs

    def __call__(self, history: fastdnn.History) -> bool:
        self.seen.append(history.epochs)
        return history.epochs < self.last


@pytest.mark.parametrize("batch_size", [BATCH, M])
def test_as_many_epochs_are_a_call_as_the_watchers_can_wait(pace, batch_size):
    pace(ALL)
    plain, watcher, other = trained(batch_size=batch_size), Patient(4), Patient(float("inf"))
    net = trained(batch_size=batch_size, callbacks=[watcher, other])
    assert watcher.seen == other.seen == [4, 8, 9]
    assert_same_bits(net.parameters, plain.parameters)
    assert net.history.cost == plain.history.cost
    watcher = Patient(4)
    trained(batch_size=batch_size, callbacks=[watcher, lambda history: None])
    assert watcher.seen == [*range(1, 10)]


def test_a_watcher_ends_the_training(pace):
    pace(ALL)
    watcher = Patient(4, last=5)
    net = trained(callbacks=[watcher])
    assert watcher.seen == [4, 8]
    assert net.history.epochs == 8
    assert net.history.stopped_early


@pytest.mark.parametrize("batch_size", [2, 6])
def test_a_watcher_is_told_of_the_epochs_before_a_divergence(pace, batch_size):
    pace(ALL)
    net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float32", init="small")
    watcher = Patient(1000)
    with pytest.raises(DivergenceError), np.errstate(all="ignore"):
        net.fit([[0.0] * 6], [[2.0] * 6], epochs=500, batch_size=batch_size, learning_rate=5.0,
                callbacks=[watcher])  # fmt: skip
    assert watcher.seen == [net.history.epochs]
    assert 8 < net.history.epochs < 100


def test_a_watcher_is_told_of_the_epochs_before_an_interrupt(pace, monkeypatch):
    """Ctrl-C comes when a call is over, and its steps are done."""
    pace(ALL)
    steps = engine.Engine.steps

    def interrupted(self, *args, **kwargs):
        steps(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.Engine, "steps", interrupted)
    watcher = Patient(6)
    with pytest.raises(KeyboardInterrupt):
        trained(callbacks=[watcher], weight_decay=0.1)
    assert watcher.seen == [6]


# --- the penalty ---------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [M, M + 1])
@pytest.mark.parametrize("batch_size", [BATCH, M + 1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_penalty_is_that_of_the_weights_after_the_epoch(pace, optimizer, m, batch_size):
    net = tanh_network()
    X, Y = problem(net, m)
    terms = []

    def note(history):
        weights = [W for name, W in net.parameters.items() if name[0] == "W"]
        terms.append(0.5 * 0.3 * sum(float(np.sum(np.square(W))) for W in weights))

    options = {"epochs": 9, "batch_size": batch_size, "weight_decay": 0.3, "optimizer": optimizer,
               "learning_rate": 0.05, "clip_norm": 1.0}  # fmt: skip
    history = net.fit(X, Y, callbacks=[note], **options)
    if optimizer == "adamw":  # whose decay is no part of the cost
        assert history.penalty == []
        return
    assert history.penalty == pytest.approx(terms, rel=1e-6)
    assert len({*terms}) == 9
    for steps in (ONE, SOME, ALL):
        pace(steps)
        again = tanh_network().fit(X, Y, **options)
        assert again.penalty == history.penalty


def test_no_penalty_without_weight_decay():
    assert trained().history.penalty == []


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


@pytest.mark.needs_jit
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_step_is_compiled_for_arrays_that_may_be_written(n_threads):
    """Else it would be compiled twice: `compile` cannot foresee which arrays are read-only."""
    trained(n_threads=n_threads, dropout=0.1)
    for kinds in step.train_steps.overloads:
        assert all(kind.mutable for kind in kinds if isinstance(kind, types.Array)), kinds


def test_a_workspace_without_the_examples_is_not_trained_on():
    """Steps that keep the examples of the step before need them to be there."""
    net = tanh_network()
    X, Y = (engine.Matrix.of(array, net.dtype) for array in problem(net, M))
    zeros = np.zeros((2, updates.COEFFICIENTS), net.dtype)
    before = net._engine.buffer.copy()
    with pytest.raises(RuntimeError, match="does not hold the examples"):
        net._engine.steps(X, Y, np.full(2, -1), zeros, updates.SGD, zeros[0], M, holder=object())
    assert_same_bits(net._engine.buffer, before)


@pytest.mark.parametrize("options", [{}, {"batch_size": BATCH}])
def test_a_training_is_compiled_for_its_longest_call(options, monkeypatch):
    """A team that is worth it for many steps only is compiled before the clock starts, too."""
    repeats, best_team = [], dispatch.best_team

    def spy(work, **kind):
        repeats.append(kind.get("repeats", 1))
        return best_team(work, **kind)

    monkeypatch.setattr(dispatch, "best_team", spy)
    net = tanh_network()
    net.fit(*problem(net, M), epochs=50, **options)
    assert len(repeats) > 1 and repeats[0] >= max(repeats[1:]) > 1


@pytest.mark.parametrize("weighted", [False, True])
def test_a_training_has_one_workspace(weighted):
    """That it is compiled for is that it trains in."""
    net = tanh_network()
    X, Y = problem(net, M)
    net.fit(X, Y, epochs=2, sample_weight=np.ones(M) if weighted else None)
    assert len(net._engine._workspaces.kept) == 1


def test_what_ctrl_c_leaves_half_done_in_a_workspace_is_not_used_again(monkeypatch):
    """After the rates of the dropout were deleted it must not leave trainings without any."""

    def interrupted(rate):
        raise KeyboardInterrupt

    costs = []
    for disturbed in (False, True):
        net = tanh_network()
        X, Y = problem(net, M)
        net.fit(X, Y, epochs=2, dropout=0.5)
        if disturbed:
            with monkeypatch.context() as patch:
                patch.setattr(workspaces, "keep_threshold", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    net.fit(X, Y, dropout=0.25)
        costs.append(net.fit(X, Y, epochs=2, dropout=0.5).cost)
    assert costs[0] == costs[1]


def test_a_call_inside_of_a_call_works_in_other_memory(monkeypatch):
    """A signal handler that predicts or trains while its own thread is in such a call."""
    net = tanh_network()
    X, Y = problem(net, M)
    expected, twin = net.forward(X), np.asfortranarray(X[:, ::-1])
    run_team, inner = dispatch.run_team, []

    def interrupted(*args, **kind):
        monkeypatch.setattr(dispatch, "run_team", run_team)
        inner.append(net.forward(twin))
        inner.append(net.train_step(X, Y, learning_rate=0.0))
        return run_team(*args, **kind)

    for _ in range(2):  # also where memory is kept from the call before
        monkeypatch.setattr(dispatch, "run_team", interrupted)
        assert_same_bits(net.forward(X), expected)
        assert_same_bits(inner[-2], expected[:, ::-1])
        monkeypatch.setattr(dispatch, "run_team", interrupted)
        assert net.train_step(X, Y, learning_rate=0.0) == inner[-1]
        assert len(net._engine._workspaces.kept) <= 3


def test_a_team_is_no_larger_than_its_workspace(monkeypatch):
    """Another Python thread may change the default while a call asks for it."""
    most, teams = iter((1, 4, 4, 4)), []
    monkeypatch.setattr(dispatch, "default_threads", lambda: next(most))
    monkeypatch.setattr(dispatch, "best_team", lambda *_, limit, **__: dispatch.threads(limit))
    monkeypatch.setattr(dispatch, "run_team", lambda kernel, team, *_: teams.append(team) or 0)
    tanh_network()._engine.compile(M)
    assert teams == [1]
