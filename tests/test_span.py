"""Gradient descent in the span of few examples: the same training, when it is chosen, its ends."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import Any, ClassVar

import numba
import numpy as np
import pytest
from kernel_cases import assert_close, each_dtype
from network_cases import (
    TRAJECTORY_FACTOR,
    ReferenceRun,
    assert_follows,
    assert_same_bits,
    buffer_of,
    flat,
    interrupted_at,
    problem,
    randomise,
)
from thread_cases import Teams

import fastdnn
from fastdnn import DivergenceError, reference, span, training
from fastdnn.callbacks import Watcher
from fastdnn.kernels import tables
from fastdnn.planning import plan_step

pytestmark = pytest.mark.front

# Layers, and examples: one of everything, no hidden layer, odd sizes, panels enough for chunks,
# more weights than chunks take, layers in tasks.
NETWORKS = {
    "least": ((16, 1, 1), 1),
    "no hidden layer": ((120, 3), 7),
    "odd": ((213, 7, 5, 3), 13),
    "chunks": ((2000, 20, 7, 5, 1), 209),
    "wide": ((3000, 250, 5, 1), 90),
    "tasks": ((7000, 600, 400, 3), 150),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def network(name: str, dtype: str = "float64", **options: Any) -> fastdnn.DNN:
    dims, _ = NETWORKS[name]
    options = {"hidden_activation": "tanh", "output_activation": "sigmoid", **options}
    net = randomise(fastdnn.DNN(dims, dtype=dtype, **options))
    for layer, n_in in enumerate(dims[:-1], start=1):
        net.parameters[f"W{layer}"] /= np.sqrt(n_in)
    return net


@pytest.fixture
def spans(monkeypatch):
    """Everything that trained in a span, whatever the number of epochs."""
    made: list[span.InSpan] = []

    class Noted(span.InSpan):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(span, "InSpan", Noted)
    monkeypatch.setattr(span, "LEAST_STEPS", -1000)
    return made


class TestSameTraining:
    @each_dtype
    @each_network
    def test_follows_the_reference(self, name, dtype, spans):
        net = network(name, dtype)
        X, Y = problem(net, NETWORKS[name][1])
        run = ReferenceRun(net, X, Y).run([0.3] * 5)
        assert_follows(net, net.fit(X, Y, epochs=5, learning_rate=0.3), run)
        assert len(spans) == 1

    @each_dtype
    @pytest.mark.parametrize("output", ["softmax", "identity"])
    @pytest.mark.parametrize("hidden", ["relu", "sigmoid", "leaky_relu"])
    def test_any_activations(self, hidden, output, dtype, spans):
        net = network("odd", dtype, hidden_activation=hidden, output_activation=output)
        X, Y = problem(net, 13)
        run = ReferenceRun(net, X, Y).run([0.1] * 6)
        assert_follows(net, net.fit(X, Y, epochs=6, learning_rate=0.1), run)
        assert len(spans) == 1

    @each_network
    def test_either_order_of_memory(self, name, spans):
        net, twin = network(name), network(name)
        X, Y = problem(net, NETWORKS[name][1])
        net.fit(np.ascontiguousarray(X), Y, epochs=4, learning_rate=0.3)
        twin.fit(np.asfortranarray(X), Y, epochs=4, learning_rate=0.3)
        assert_close(buffer_of(twin), buffer_of(net), factor=TRAJECTORY_FACTOR)
        assert len(spans) == 2

    def test_weights_of_examples(self, spans):
        net = network("odd")
        X, Y = problem(net, 13)
        weights = np.arange(13.0) / 6.0
        costs = []
        parameters = {name: value.copy() for name, value in net.parameters.items()}
        for _ in range(5):
            cost, grads = reference.cost_and_gradients(
                X, Y, parameters, hidden_activation="tanh", output_activation="sigmoid",
                loss=net.loss, sample_weight=weights,
            )  # fmt: skip
            costs.append(cost)
            parameters = {n: p - 0.3 * grads[f"d{n}"] for n, p in parameters.items()}
        history = net.fit(X, Y, epochs=5, learning_rate=0.3, sample_weight=weights)
        assert_close(np.array(history.cost), np.array(costs), factor=TRAJECTORY_FACTOR)
        assert_close(buffer_of(net), flat(parameters), factor=TRAJECTORY_FACTOR)
        assert len(spans) == 1

    @each_dtype
    @each_network
    def test_bits_are_those_of_any_team(self, name, dtype, spans, monkeypatch):
        teams = Teams(monkeypatch.setattr)
        results = []
        for n_threads in (1, 2, 3, 4):
            net = network(name, dtype)
            X, Y = problem(net, NETWORKS[name][1])
            history = net.fit(X, Y, epochs=6, learning_rate=0.3, n_threads=n_threads)
            results.append(np.append(buffer_of(net), history.cost))
        for result in results[1:]:
            assert_same_bits(result, results[0])
        assert len(spans) == 4
        assert teams.take() == set(range(2, min(4, numba.config.NUMBA_NUM_THREADS) + 1))

    def test_calls_of_any_length_give_the_same_bits(self, spans, monkeypatch):
        ends = []
        for count in (1, 2, 7, 20):
            monkeypatch.setattr(training.Training, "_steps_per_call", lambda _, count=count: count)
            net = network("odd")
            history = net.fit(*problem(net, 13), epochs=20, learning_rate=0.3)
            ends.append(np.append(buffer_of(net), history.cost))
        for end in ends[1:]:
            assert_same_bits(end, ends[0])
        assert len(spans) == 4

    def test_nothing_keeps_the_examples(self, spans):
        net = network("odd")
        X, Y = problem(net, 13)
        gone = weakref.ref(X)
        gc.disable()
        try:
            net.fit(X, Y, epochs=5, learning_rate=0.3)
            assert len(spans) == 1
            spans.clear()
            del X
            assert gone() is None
        finally:
            gc.enable()

    def test_a_second_fit_goes_on(self, spans):
        net = network("odd")
        X, Y = problem(net, 13)
        run = ReferenceRun(net, X, Y).run([0.3] * 3 + [0.1] * 4)
        costs = net.fit(X, Y, epochs=3, learning_rate=0.3).cost
        costs += net.fit(X, Y, epochs=4, learning_rate=0.1).cost
        assert_close(np.array(costs), np.array(run.history), factor=TRAJECTORY_FACTOR)
        assert_close(buffer_of(net), run.flat, factor=TRAJECTORY_FACTOR)
        assert len(spans) == 2

    def test_plans_of_all_kinds_were_among_them(self, spans):
        kinds = set()
        for name in NETWORKS:
            net = network(name)
            net.fit(*problem(net, NETWORKS[name][1]), epochs=2, learning_rate=0.01)
            (space,) = spans[-1].engine._workspaces.kept.values()
            kinds.add((space.plan.shape[tables.CHUNKS] > 0, len(space.plan.tasks) > 0))
        assert kinds == {(True, False), (False, False), (False, True)}

    def test_never_in_slabs(self, spans):
        """They read their input where the span has put what its gradient takes instead."""
        dims, m = (8192, 2, 300, 300, 1), 1022
        net = fastdnn.DNN(dims, hidden_activation="tanh", dtype="float64", seed=1)
        X, Y = problem(net, m)
        run = ReferenceRun(net, X, Y).run([0.1] * 4)
        assert_follows(net, net.fit(X, Y, epochs=4, learning_rate=0.1), run)
        engine = spans[-1].engine
        planned = plan_step(engine.layout, engine.codes, engine.loss, m, 1)
        assert planned.shape[tables.SLABS] >= 0  # what any other engine would do
        with pytest.raises(ValueError, match="slabs"):
            planned.set_units(planned.new_work(engine.dtype), np.eye(m + 2, m))


class Stop(Watcher):
    """Ends a training after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.seen = epochs, 0

    def may_wait(self) -> float:
        # At first nobody knows the pace: that call is of one epoch.
        return self.epochs - self.seen if self.seen else max(2, self.epochs)

    def __call__(self, history: fastdnn.History) -> bool:
        self.seen = history.epochs
        return self.seen < self.epochs


class TestWhenItIsChosen:
    OPTIONS: ClassVar[dict[str, tuple[bool, dict[str, Any]]]] = {
        "nothing else": (True, {}),
        "all examples at once": (True, {"batch_size": 13}),
        "a watcher": (True, {"callbacks": [Stop(3)]}),
        "verbose": (True, {"verbose": 1}),
        "sample weights": (True, {"sample_weight": np.ones(13)}),
        "batches": (False, {"batch_size": 12}),
        "adam": (False, {"optimizer": "adam"}),
        "momentum": (False, {"optimizer": "momentum"}),
        "weight decay": (False, {"weight_decay": 0.1}),
        "dropout": (False, {"dropout": 0.1}),
        "clipping": (False, {"clip_norm": 1.0}),
        "a callback": (False, {"callbacks": [lambda history: None]}),
        "validation": (False, {"validation_data": (np.zeros((213, 1)), np.zeros((3, 1)))}),
        "a schedule": (False, {"schedule": "cosine"}),
    }

    @pytest.mark.parametrize("what", OPTIONS)
    def test_with_options(self, what, spans):
        chosen, options = self.OPTIONS[what]
        net = network("odd")
        net.fit(*problem(net, 13), epochs=4, learning_rate=0.01, **options)
        assert bool(spans) == chosen

    def test_not_with_a_checkpoint(self, spans, tmp_path):
        net = network("odd")
        net.fit(*problem(net, 13), epochs=4, learning_rate=0.01, checkpoint=tmp_path / "c.npz")
        assert not spans

    @pytest.mark.parametrize(
        ("dims", "m", "epochs", "chosen"),
        [
            ((160, 4, 1), 16, 12, True),
            ((160, 4, 1), 16, 11, False),  # the products before and after would cost more
            ((159, 4, 1), 16, 99, False),
            ((160, 4, 1), 17, 99, False),
            ((160, 5, 1), 16, 99, False),
            ((168, 5, 1), 16, 12, True),
        ],
    )
    def test_with_sizes(self, dims, m, epochs, chosen, monkeypatch):
        made = []

        def note(*given, **options):
            made.append(span.in_span(*given, **options))
            return made[-1]

        monkeypatch.setattr(training, "in_span", note)
        net = fastdnn.DNN(dims)
        net.fit(*problem(net, m), epochs=epochs, learning_rate=0.01)
        assert (made[0] is not None) == chosen

    def test_not_for_a_step_alone(self, spans):
        net = network("odd")
        net.train_step(*problem(net, 13))
        net.fit(*problem(net, 13), epochs=1)
        assert not spans

    @each_dtype
    def test_not_where_examples_multiplied_overflow(self, dtype, spans):
        net, twin = network("odd", dtype), network("odd", dtype)
        X, Y = problem(net, 13)
        X *= np.sqrt(np.finfo(dtype).max) / 8
        for each in (net, twin):
            each.parameters["W1"][...] *= 1e-30
        history = net.fit(X, Y, epochs=4, learning_rate=1e-30)
        twin.fit(X, Y, epochs=4, learning_rate=1e-30, callbacks=[lambda history: None])
        assert not spans
        assert np.isfinite(history.cost).all()
        assert_same_bits(buffer_of(net), buffer_of(twin))


class TestHowItEnds:
    def test_a_cost_that_is_not_finite(self, spans):
        net = network("odd", output_activation="identity", hidden_activation="relu")
        X, Y = problem(net, 13)
        with pytest.raises(DivergenceError, match="cost became inf"), np.errstate(all="ignore"):
            net.fit(X, Y, epochs=4000, learning_rate=1e4)
        assert np.isfinite(buffer_of(net)).all()
        assert np.isfinite(net.history.cost).all()
        assert len(spans) == 1

    def test_weights_that_alone_would_overflow(self, spans):
        """Z is -inf and the cost 0, which is right; what W1 would be is in no step's numbers."""
        net = network("no hidden layer", "float32")
        before = buffer_of(net)
        X, Y = np.full((120, 7), 8.0, np.float32), np.zeros((3, 7), np.float32)
        with pytest.raises(DivergenceError, match="an update overflowed in epoch 1 of "):
            net.fit(X, Y, epochs=30, learning_rate=3e38)
        assert_same_bits(buffer_of(net), before)
        assert net.history.cost == []
        assert len(spans) == 1

    def test_ctrl_c_at_any_line(self, spans, monkeypatch):
        """The parameters are those after the epochs that are told."""
        monkeypatch.setattr(training, "CALL_SECONDS", 1e-4)
        X, Y = problem(network("odd"), 13)
        interrupted, done = 0, set()
        for line in range(1, 1000):
            net = network("odd")
            run = partial(net.fit, X, Y, epochs=60, learning_rate=0.3)
            if not interrupted_at(line, [training, span], run):
                break
            if net.history is None or not net.history.epochs:
                assert_same_bits(buffer_of(net), buffer_of(network("odd")))
                continue
            interrupted += net.history.interrupted
            done.add(net.history.epochs)
            twin = network("odd")
            epochs = net.history.epochs
            history = twin.fit(X, Y, epochs=60, learning_rate=0.3, callbacks=[Stop(epochs)])
            assert history.cost == net.history.cost
            assert_same_bits(buffer_of(net), buffer_of(twin))
        assert interrupted > 50
        assert len(done) > 1
