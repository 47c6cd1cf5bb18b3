"""fit: steps and epochs as the reference takes them, and however a training can end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_cases import TOLERANCE, assert_close, each_dtype, relative_error
from network_cases import (
    TRAJECTORY_FACTOR,
    ReferenceRun,
    assert_follows,
    assert_same_bits,
    buffer_of,
    problem,
    randomise,
    tanh_network,
)

import fastdnn
from fastdnn import engine, optimizers
from fastdnn.optimizers import OPTIMIZERS

pytestmark = [pytest.mark.kernels, pytest.mark.front]

STEPS = 10

# Name, learning rate, hyper-parameters.
SETTINGS = (
    ("sgd", 0.1, {}),
    ("sgd", 0.1, {"weight_decay": 0.3}),
    ("momentum", 0.05, {}),
    ("momentum", 0.05, {"momentum": 0.5, "weight_decay": 0.3}),
    ("nesterov", 0.05, {}),
    ("nesterov", 0.05, {"momentum": 0.7, "weight_decay": 0.3}),
    ("rmsprop", 0.01, {}),
    ("rmsprop", 0.01, {"decay": 0.8, "epsilon": 0.01, "weight_decay": 0.3}),
    ("adam", 0.01, {}),
    ("adam", 0.01, {"beta1": 0.8, "beta2": 0.9, "epsilon": 0.01, "weight_decay": 0.3}),
    ("adamw", 0.01, {}),
    ("adamw", 0.01, {"beta1": 0.8, "weight_decay": 0.3}),
)

each_setting = pytest.mark.parametrize(
    ("name", "rate", "hyper"), SETTINGS, ids=[f"{name}-{len(hyper)}" for name, _, hyper in SETTINGS]
)


# Computed once by the reference in float64: neither side may drift, not even both together.
PINNED = {
    "sgd": (
        0.704592945086774,
        0.699794186128736,
        0.69565399334302,
        0.691969762857046,
        0.68861195674107,
        0.68549492782219,
        0.682559493379699,
        0.679762661989535,
        0.677071629964329,
        0.674460293832497,
    ),
    "adam": (
        0.704592945086774,
        0.960136758763283,
        0.653182874310216,
        0.668914275055262,
        0.67468332969052,
        0.6069095512415,
        0.541307615347754,
        0.512615228196985,
        0.469917000085172,
        0.4396014595636,
    ),
}


class TestTrajectory:
    @each_dtype
    @each_setting
    def test_ten_steps(self, name, rate, hyper, dtype):
        net = tanh_network(dtype)
        X, Y = problem(net)
        run = ReferenceRun(net, X, Y, optimizer=name, **hyper).run([rate] * STEPS)
        start = buffer_of(net)
        history = net.fit(
            X, Y, epochs=STEPS, optimizer=OPTIMIZERS[name](learning_rate=rate, **hyper)
        )
        assert len(history.cost) == STEPS
        assert_follows(net, history, run)
        assert relative_error(start, run.flat) > 0.05, "hardly moved"

    @each_dtype
    @each_setting
    def test_ten_mini_batches(self, name, rate, hyper, dtype):
        net = tanh_network(dtype)
        X, Y = problem(net, 14)
        run = ReferenceRun(net, X, Y, optimizer=name, **hyper)
        run.run([rate] * 5, batch_size=9, rng=np.random.default_rng(net.seed))
        assert len(run.costs) == STEPS
        history = net.fit(
            X, Y, epochs=5, batch_size=9, optimizer=OPTIMIZERS[name](learning_rate=rate, **hyper)
        )
        assert_follows(net, history, run)

    def test_every_optimizer_is_tried(self):
        assert {name for name, _, _ in SETTINGS} == set(OPTIMIZERS)

    @each_dtype
    @pytest.mark.parametrize(
        ("name", "hyper", "other"),
        [
            ("sgd", {"weight_decay": 0.3}, {"weight_decay": 0.301}),
            ("momentum", {"momentum": 0.9}, {"momentum": 0.9005}),
            ("nesterov", {"momentum": 0.9}, {"momentum": 0.9005}),
            ("rmsprop", {"decay": 0.99}, {"decay": 0.991}),
            ("adam", {"beta1": 0.9}, {"beta1": 0.901}),
            ("adam", {"beta2": 0.999}, {"beta2": 0.998}),
            ("adam", {"epsilon": 1e-3}, {"epsilon": 1.1e-3}),
            ("adamw", {"weight_decay": 0.01}, {"weight_decay": 0.011}),
        ],
    )
    def test_tolerance_notices_other_settings(self, name, hyper, other, dtype):
        net = tanh_network(dtype)
        X, Y = problem(net)
        right = ReferenceRun(net, X, Y, optimizer=name, **hyper).run([0.02] * STEPS)
        wrong = ReferenceRun(net, X, Y, optimizer=name, **other).run([0.02] * STEPS)
        net.fit(X, Y, epochs=STEPS, optimizer=OPTIMIZERS[name](learning_rate=0.02, **hyper))
        bound = TRAJECTORY_FACTOR * TOLERANCE[dtype]
        assert relative_error(buffer_of(net), right.flat) <= bound
        assert relative_error(buffer_of(net), wrong.flat) > bound

    @each_dtype
    @pytest.mark.parametrize("name", PINNED)
    def test_pinned(self, name, dtype):
        net = fastdnn.DNN([2, 3, 1], hidden_activation="tanh", seed=1, init="xavier", dtype=dtype)
        X = [[0.0, 0.0, 1.0, 1.0, 0.5], [0.0, 1.0, 0.0, 1.0, 0.25]]
        history = net.fit(X, [0, 1, 1, 0, 1], epochs=STEPS, optimizer=name, learning_rate=0.5)
        assert history.cost == pytest.approx(PINNED[name], rel=10 * TOLERANCE[dtype])

    def test_decay_spares_the_biases(self):
        net = tanh_network()
        X, Y = problem(net)
        grads, before = net.gradients(X, Y), {k: v.copy() for k, v in net.parameters.items()}
        net.fit(X, Y, learning_rate=0.5, weight_decay=0.25)
        for name, value in net.parameters.items():
            decay = 0.25 if name[0] == "W" else 0.0
            expected = before[name] - 0.5 * (grads[f"d{name}"] + decay * before[name])
            assert_close(value, expected)

    @each_dtype
    def test_full_batch_epoch_is_a_train_step(self, dtype):
        net, twin = tanh_network(dtype), tanh_network(dtype)
        X, Y = problem(net)
        costs = [twin.train_step(X, Y, learning_rate=0.2) for _ in range(3)]
        assert net.fit(X, Y, epochs=3, learning_rate=0.2).cost == costs
        assert_same_bits(net.parameters, twin.parameters)


class TestOptimizerState:
    @each_dtype
    @pytest.mark.parametrize("name", OPTIMIZERS)
    @pytest.mark.parametrize("batch_size", [None, 4])
    def test_is_kept_from_fit_to_fit(self, name, batch_size, dtype):
        net, twin = tanh_network(dtype), tanh_network(dtype)
        X, Y = problem(net)
        settings = {"optimizer": name, "learning_rate": 0.02, "batch_size": batch_size}
        twice = net.fit(X, Y, epochs=2, **settings).cost
        net.predict(X)
        net.gradients(X, Y)
        twice += net.fit(X, Y, epochs=3, **settings).cost
        assert twin.fit(X, Y, epochs=5, **settings).cost == twice
        assert_same_bits(net.parameters, twin.parameters)

    @pytest.mark.parametrize("name", ["momentum", "nesterov", "rmsprop", "adam", "adamw"])
    def test_matters_and_is_forgotten_with_another_optimizer(self, name):
        kept, fresh = tanh_network(), tanh_network()
        X, Y = problem(kept)
        for net in (kept, fresh):
            net.fit(X, Y, epochs=3, optimizer=name, learning_rate=0.01)
        fresh.fit(X, Y, optimizer="sgd", learning_rate=0.0)
        assert_same_bits(fresh.parameters, kept.parameters)
        run = ReferenceRun(fresh, X, Y, optimizer=name).run([0.01])
        for net in (kept, fresh):
            net.fit(X, Y, optimizer=name, learning_rate=0.01)
        assert_close(buffer_of(fresh), run.flat)
        assert relative_error(buffer_of(kept), run.flat) > 1e-6

    @pytest.mark.parametrize(
        "bad",
        [
            {"learning_rate": -1.0},
            {"n_threads": 0},
            {"early_stopping": 3},
            {"validation_data": "none"},
            {"callbacks": 3},
            {"learning_rate": 1e300},
        ],
        ids=str,
    )
    def test_survives_a_refused_call(self, bad):
        net, twin = tanh_network("float32"), tanh_network("float32")
        X, Y = problem(net)
        for each in (net, twin):
            each.fit(X, Y, epochs=3, optimizer="momentum")
        with pytest.raises((ValueError, TypeError)):
            net.fit(X, Y, **{"optimizer": "sgd", **bad})
        for each in (net, twin):
            each.fit(X, Y, epochs=3, optimizer="momentum")
        assert_same_bits(net.parameters, twin.parameters)


class TestMiniBatches:
    @each_dtype
    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize(("m", "size"), [(7, 1), (23, 5), (40, 16), (40, 20), (70, 33), (9, 8)])
    def test_follow_the_reference_over_the_same_permutations(self, m, size, shuffle, dtype):
        net = tanh_network(dtype)
        X, Y = problem(net, m)
        run = ReferenceRun(net, X, Y, optimizer="momentum")
        rng = np.random.default_rng(net.seed) if shuffle else None
        run.run([0.02] * 3, batch_size=size, rng=rng)
        history = net.fit(
            X, Y, epochs=3, batch_size=size, optimizer="momentum", learning_rate=0.02,
            shuffle=shuffle,
        )  # fmt: skip
        assert_follows(net, history, run)

    @pytest.mark.parametrize("wrong", ["other permutation", "no last batch", "mean of means"])
    def test_tolerance_notices(self, wrong):
        net = tanh_network("float32")
        X, Y = problem(net, 23)
        run = ReferenceRun(net, X, Y)
        if wrong == "no last batch":
            run.X, run.Y = run.X[:, :20], run.Y[:, :20]
        rng = np.random.default_rng(5) if wrong == "other permutation" else None
        run.run([0.1] * 2, batch_size=5, rng=rng)
        if wrong == "mean of means":
            run.history = [float(np.mean(run.costs[i : i + 5])) for i in (0, 5)]
        history = net.fit(X, Y, epochs=2, batch_size=5, learning_rate=0.1, shuffle=False)
        with pytest.raises(AssertionError, match="relative error"):
            assert_follows(net, history, run)

    @pytest.mark.parametrize("size", [11, 12, 10**9])
    def test_a_batch_of_everything_is_the_full_batch(self, size):
        net, twin = tanh_network(), tanh_network()
        X, Y = problem(net)
        assert net.fit(X, Y, epochs=3, batch_size=size).cost == twin.fit(X, Y, epochs=3).cost
        assert_same_bits(net.parameters, twin.parameters)

    def test_every_epoch_takes_every_example_once_in_a_new_order(self, monkeypatch):
        seen: list[np.ndarray] = []
        steps = engine.Engine.steps

        def watched(self, X, Y, starts, coefficients, code, state, examples, **options):
            order = options["order"]
            # In a call of several epochs their orders follow one another, 23 numbers each.
            seen.extend(order[s : min(s + examples, s - s % 23 + 23)].copy() for s in starts)
            return steps(self, X, Y, starts, coefficients, code, state, examples, **options)

        monkeypatch.setattr(engine.Engine, "steps", watched)
        net = tanh_network()
        X, Y = problem(net, 23)
        net.fit(X, Y, epochs=4, batch_size=5)
        assert [len(batch) for batch in seen] == [5, 5, 5, 5, 3] * 4
        epochs = [tuple(np.concatenate(seen[i : i + 5])) for i in range(0, 20, 5)]
        assert all(sorted(order) == list(range(23)) for order in epochs)
        assert len({*epochs, tuple(range(23))}) == 5

    def test_same_seed_same_bits_other_seed_other_order(self):
        results = []
        for seed in (4, 4, 5):
            net = randomise(fastdnn.DNN([3, 5, 2], seed=seed))
            X, Y = problem(net, 23)
            net.fit(X, Y, epochs=2, batch_size=5)
            results.append(buffer_of(net))
        assert_same_bits(results[0], results[1])
        assert not np.array_equal(results[0], results[2])


class TestSchedules:
    @pytest.mark.parametrize(
        ("schedule", "multipliers"),
        [
            (None, [1, 1, 1, 1, 1, 1]),
            (lambda epoch: 1 / (1 + epoch), [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6]),
            (optimizers.Step(every=2, factor=0.5), [1, 1, 0.5, 0.5, 0.25, 0.25]),
            (optimizers.WarmUp(epochs=3), [0.25, 0.5, 0.75, 1, 1, 1]),
            ("exponential", [0.95**epoch for epoch in range(6)]),
            ("cosine", [0.5 + 0.5 * math.cos(math.pi * epoch / 6) for epoch in range(6)]),
        ],
    )
    @pytest.mark.parametrize("batch_size", [None, 4])
    @pytest.mark.parametrize("by_object", [False, True])
    def test_set_the_rate_of_every_epoch(self, schedule, multipliers, batch_size, by_object):
        net = tanh_network()
        X, Y = problem(net)
        rates = [0.2 * multiplier for multiplier in multipliers]
        rng = np.random.default_rng(net.seed)
        run = ReferenceRun(net, X, Y).run(rates, batch_size=batch_size, rng=rng)
        if by_object:
            chosen = optimizers.SGD(learning_rate=0.2, schedule=schedule)
            history = net.fit(X, Y, epochs=6, batch_size=batch_size, optimizer=chosen)
        else:
            history = net.fit(
                X, Y, epochs=6, batch_size=batch_size, learning_rate=0.2, schedule=schedule
            )
        assert history.learning_rate == pytest.approx(rates, rel=1e-14)
        assert_follows(net, history, run)

    @pytest.mark.parametrize("validated", [False, True])
    def test_plateau_watches_the_validation_cost_if_there_is_one(self, validated):
        net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float64", init="small")
        X, Y = [[0.0, 0.0]], [[2.0, 2.0]]
        held_out = ([[0.0]], [[0.5]])  # passed by after few epochs, while the training goes on
        plan = optimizers.ReduceOnPlateau(factor=0.5, patience=0)
        history = net.fit(
            X, Y, epochs=8, learning_rate=0.1, schedule=plan,
            validation_data=held_out if validated else None,
        )  # fmt: skip
        watched = history.validation_cost if validated else history.cost
        rate, best, expected = 0.1, math.inf, []
        for cost in watched:
            expected.append(rate)
            best, rate = (cost, rate) if cost < best else (best, rate / 2)
        assert history.learning_rate == pytest.approx(expected)
        assert (min(expected) < 0.1) == validated
