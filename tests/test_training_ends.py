"""fit: validation, and however a training can end."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from kernel_cases import each_dtype
from network_cases import (
    Failure,
    ReferenceRun,
    assert_follows,
    assert_same_bits,
    buffer_of,
    interrupted_at,
    passing_by,
    problem,
    raise_at,
    randomise,
    tanh_network,
)

import fastdnn
from fastdnn import DivergenceError, engine, training, validation
from fastdnn.optimizers import OPTIMIZERS

pytestmark = [pytest.mark.kernels, pytest.mark.front]

# The bias after three epochs of `passing_by`, where its validation cost is lowest.
BEST = 2 - 2 * 0.8**3


class TestValidation:
    def test_best_parameters_are_in_place_afterwards(self):
        net, X, Y, held_out = passing_by()
        seen = []

        def watch(history):
            seen.append(net.parameters["b1"].item())

        history = net.fit(
            X, Y, epochs=8, learning_rate=0.2, validation_data=held_out, callbacks=[watch]
        )
        biases = [2 - 2 * 0.8**t for t in range(1, 9)]
        assert seen == pytest.approx(biases)
        assert history.cost == pytest.approx([0.5 * (b - 2) ** 2 for b in [0, *biases[:-1]]])
        assert history.validation_cost == pytest.approx([0.5 * (b - 1) ** 2 for b in biases])
        assert history.best_epoch == int(np.argmin(history.validation_cost)) == 2
        assert net.parameters["b1"].item() == seen[2]
        assert net.evaluate(*held_out)["cost"] == history.validation_cost[2]
        assert not history.stopped_early

    def test_without_validation_the_last_stay(self):
        net, X, Y, _ = passing_by()
        history = net.fit(X, Y, epochs=8, learning_rate=0.2)
        assert net.parameters["b1"].item() == pytest.approx(2 - 2 * 0.8**8)
        assert (history.best_epoch, history.validation_cost, history.validation_metric) == (
            None, [], [],
        )  # fmt: skip

    @pytest.mark.parametrize("patience", [1, 2, 4])
    def test_early_stopping_waits_so_many_epochs(self, patience):
        net, X, Y, held_out = passing_by()
        history = net.fit(
            X, Y, epochs=50, learning_rate=0.2, validation_data=held_out, early_stopping=patience
        )
        assert history.stopped_early
        assert (history.best_epoch, history.epochs) == (2, 3 + patience)
        assert net.parameters["b1"].item() == pytest.approx(BEST)

    def test_early_stopping_lets_a_falling_cost_fall(self):
        net, X, Y, _ = passing_by()
        history = net.fit(
            X, Y, epochs=20, learning_rate=0.2, validation_data=(X, Y), early_stopping=1
        )
        assert (history.epochs, history.best_epoch, history.stopped_early) == (20, 19, False)

    def test_early_stopping_works_again_in_the_next_fit(self):
        net, X, Y, held_out = passing_by()
        settings = {"learning_rate": 0.2, "validation_data": held_out, "early_stopping": 2}
        net.fit(X, Y, epochs=50, **settings)
        history = net.fit(X, Y, epochs=50, **settings)
        assert (history.best_epoch, history.epochs) == (0, 3)

    @pytest.mark.parametrize("loss", ["binary_crossentropy", "categorical_crossentropy", "mse"])
    @each_dtype
    def test_scores_are_those_of_evaluate(self, loss, dtype):
        output = {"binary": "sigmoid", "catego": "softmax"}.get(loss[:6], "identity")
        net = randomise(fastdnn.DNN([3, 4, 2], output_activation=output, dtype=dtype))
        (X, Y), (Xv, Yv) = problem(net), problem(net, 9, seed=1)
        seen = []
        history = net.fit(
            X, Y, epochs=3, batch_size=4, validation_data=[Xv, Yv],
            callbacks=[lambda _: seen.append(list(net.evaluate(Xv, Yv).values()))],
        )  # fmt: skip
        scores = list(zip(history.validation_cost, history.validation_metric, strict=True))
        assert scores == [tuple(score) for score in seen]
        assert all(type(number) is float for number in itertools.chain(*scores))

    def test_validation_changes_nothing_but_the_end(self):
        net, twin = tanh_network(), tanh_network()
        X, Y = problem(net)
        plain = net.fit(X, Y, epochs=4, batch_size=4, optimizer="adam")
        watched = twin.fit(X, Y, epochs=4, batch_size=4, optimizer="adam", validation_data=(X, Y))
        assert watched.cost == plain.cost
        assert twin._state.values.tobytes() == net._state.values.tobytes()

    @pytest.mark.parametrize(("x", "infinite", "best"), [(8e36, 1, 5), (3e38, 6, None)])
    def test_a_cost_that_is_not_finite_is_never_the_best(self, x, infinite, best):
        """A slope that falls from 100 towards 1, on an example that it takes beyond float32."""
        net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float32", init="small")
        net.parameters["W1"][...] = 100
        X, held_out = [[1.0, 2.0]], (np.array([[x]], np.float32), [[0.0]])
        with np.errstate(all="ignore"):
            history = net.fit(X, X, epochs=6, learning_rate=0.2, validation_data=held_out)
        np.testing.assert_array_equal(np.isinf(history.validation_cost), np.arange(6) < infinite)
        assert history.best_epoch == best


ERRORS = {"exception": Failure("no"), "Ctrl-C": KeyboardInterrupt(), "exit": SystemExit(2)}


class TestHoweverItEnds:
    @pytest.mark.parametrize("how", ERRORS)
    @pytest.mark.parametrize("batch_size", [None, 1])
    def test_best_weights_are_restored(self, how, batch_size):
        net, X, Y, held_out = passing_by()
        rate = 0.2 if batch_size is None else 1 - math.sqrt(0.8)  # two steps an epoch
        error = ERRORS[how]
        with pytest.raises(type(error)) as caught:
            net.fit(
                X, Y, epochs=9, batch_size=batch_size, learning_rate=rate,
                validation_data=held_out, callbacks=[raise_at(5, error)],
            )  # fmt: skip
        assert caught.value is error
        assert net.parameters["b1"].item() == pytest.approx(BEST)
        assert net.history.best_epoch == 2
        assert net.history.epochs == len(net.history.validation_cost) == 6
        assert net.history.interrupted == (how == "Ctrl-C")
        assert net.history.seconds > 0

    @pytest.mark.parametrize("how", ERRORS)
    def test_without_validation_the_last_completed_step_stays(self, how):
        net, twin = tanh_network(), tanh_network()
        X, Y = problem(net)
        error = ERRORS[how]
        with pytest.raises(type(error)):
            net.fit(X, Y, epochs=9, batch_size=4, optimizer="adam", callbacks=[raise_at(3, error)])
        twin.fit(X, Y, epochs=4, batch_size=4, optimizer="adam")
        assert_same_bits(net.parameters, twin.parameters)
        for each in (net, twin):  # and goes on as if nothing had happened
            each.fit(X, Y, epochs=2, batch_size=4, optimizer="adam")
        assert_same_bits(net.parameters, twin.parameters)

    def test_divergence_restores_the_best_too(self):
        net, X, Y, held_out = passing_by()
        with pytest.raises(DivergenceError), np.errstate(all="ignore"):
            net.fit(
                X, Y, epochs=9, learning_rate=0.2, validation_data=held_out,
                schedule=lambda epoch: 1e300 if epoch >= 5 else 1.0,
            )  # fmt: skip
        assert net.parameters["b1"].item() == pytest.approx(BEST)
        assert net.history.best_epoch == 2

    def test_parameters_that_were_not_finite_are_told(self):
        net, X, Y, _ = passing_by()
        net.parameters["b1"][...] = math.nan
        with pytest.raises(DivergenceError, match=r"were not finite before\. Assign finite ones"):
            net.fit(X, Y, epochs=9)

    def test_a_schedule_that_fails(self):
        net, X, Y, held_out = passing_by()
        with pytest.raises(ValueError, match=r"^schedule\(5\) is nan"):
            net.fit(
                X, Y, epochs=9, learning_rate=0.2, validation_data=held_out,
                schedule=lambda epoch: math.nan if epoch == 5 else 1.0,
            )  # fmt: skip
        assert net.parameters["b1"].item() == pytest.approx(BEST)

    @pytest.mark.parametrize("kind", [bool, np.bool_])
    def test_stopped_by_a_callback(self, kind):
        net, X, Y, held_out = passing_by()
        history = net.fit(
            X, Y, epochs=9, learning_rate=0.2, validation_data=held_out,
            callbacks=[lambda history: kind(history.epochs < 5)],
        )  # fmt: skip
        assert (history.epochs, history.stopped_early) == (5, True)
        assert net.parameters["b1"].item() == pytest.approx(BEST)

    @pytest.mark.parametrize("said", [None, 0, True, np.True_])
    def test_nothing_else_that_a_callback_says_stops(self, said):
        net, X, Y, _ = passing_by()
        history = net.fit(X, Y, epochs=9, learning_rate=0.2, callbacks=[lambda history: said])
        assert (history.epochs, history.stopped_early) == (9, False)


# --- divergence -----------------------------------------------------------------------------------


def regression(dtype: str = "float32", slope: float = 0.0) -> fastdnn.DNN:
    net = fastdnn.DNN([1, 1], output_activation="identity", dtype=dtype, init="small")
    net.parameters["W1"][...] = slope
    return net


class TestDivergence:
    def diverge(self, net: fastdnn.DNN, X: Any, Y: Any, **arguments: Any) -> str:
        with pytest.raises(DivergenceError) as caught, np.errstate(all="ignore"):
            net.fit(X, Y, **arguments)
        assert isinstance(caught.value, FloatingPointError)
        assert np.isfinite(buffer_of(net)).all()
        assert np.isfinite(net.history.cost).all()
        return str(caught.value)

    def test_infinite_cost(self):
        net = regression(slope=1.0)
        before = buffer_of(net)
        message = self.diverge(net, [[1e30, 1e30]], [[0.0, 0.0]], epochs=5, learning_rate=0.5)
        assert message.startswith(
            "training diverged: the cost became inf in epoch 1 of 5, step 1 of this fit, "
        )
        assert "at learning_rate 0.5;" in message
        assert_same_bits(buffer_of(net), before)
        assert net.history.epochs == 0

    def test_cost_that_is_not_a_number(self):
        net = fastdnn.DNN([1, 2, 1])  # two units at infinity, and their difference
        net.parameters["W1"][...] = 3e38
        net.parameters["W2"][...] = [[1.0, -1.0]]
        before = buffer_of(net)
        message = self.diverge(net, [[100.0]], [1], epochs=5, learning_rate=0.25)
        assert message.startswith(
            "training diverged: the cost became nan in epoch 1 of 5, step 1 of this fit, "
        )
        assert "at learning_rate 0.25;" in message
        assert_same_bits(buffer_of(net), before)

    def test_update_that_overflows(self):
        net = regression()
        message = self.diverge(net, [[4.0]], [[4.0]], epochs=5, learning_rate=1e38)
        assert message.startswith(
            "training diverged: an update overflowed in epoch 1 of 5, step 1 of this fit, "
        )
        assert "at learning_rate 1e+38;" in message

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_decay_that_overflows(self, name):
        net = regression(slope=100.0)
        rate, decay = (1e37, 1.0) if name == "adamw" else (0.5, 1e38)
        message = self.diverge(
            net, [[0.0]], [[0.0]], optimizer=name, learning_rate=rate, weight_decay=decay
        )
        assert message.startswith(
            "training diverged: an update overflowed in epoch 1 of 1, step 1 "
        )
        assert net.parameters["W1"].item() == 100.0

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_state_of_what_diverged_is_forgotten(self, name):
        net = tanh_network("float32", output_activation="identity")
        X, Y = problem(net)
        self.diverge(net, X, Y, epochs=50, optimizer=name, learning_rate=1e37)
        randomise(net)
        run = ReferenceRun(net, X, Y, optimizer=name).run([0.01] * 3)
        assert_follows(net, net.fit(X, Y, epochs=3, optimizer=name, learning_rate=0.01), run)

    # b <- b - 5 (b - 2): the error grows fourfold a step, the cost sixteenfold, until it overflows.
    def test_names_the_step_at_which_the_cost_overflows(self):
        net = regression("float32")
        message = self.diverge(net, [[0.0]], [[2.0]], epochs=500, learning_rate=5.0)
        costs = net.history.cost
        assert costs[:4] == [2.0, 32.0, 512.0, 8192.0]
        assert 25 < len(costs) < 40
        step = len(costs) + 1
        assert f"in epoch {step} of 500, step {step} of this fit, at learning_rate 5;" in message
        error = net.parameters["b1"].item() - 2.0
        assert error == pytest.approx(-2.0 * (-4.0) ** len(costs))
        with np.errstate(over="ignore"):
            assert np.isinf(np.float32(0.5) * np.float32(error) * np.float32(error))
        assert not net.history.stopped_early

    def test_counts_the_steps_of_this_fit(self):
        net = regression("float32")
        net.fit([[0.0] * 6], [[2.0] * 6], epochs=4, batch_size=3, learning_rate=0.0)
        randomise(net)
        message = self.diverge(net, [[4.0]], [[4.0]], epochs=5, learning_rate=1e38)
        assert "in epoch 1 of 5, step 1 of this fit, " in message

    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize("callbacks", [(), (lambda history: None,)])
    def test_names_the_epoch_and_step_of_a_mini_batch(self, shuffle, callbacks):
        net = regression("float32")
        message = self.diverge(
            net, [[0.0] * 7], [[2.0] * 7], epochs=500, batch_size=3, learning_rate=5.0,
            shuffle=shuffle, callbacks=callbacks,
        )  # fmt: skip
        steps = round(math.log(abs(net.parameters["b1"].item() - 2.0) / 2.0, 4))
        assert 25 < steps < 40
        where = f"in epoch {steps // 3 + 1} of 500, step {steps + 1} of this fit"
        assert f"{where}, at learning_rate 5;" in message
        means = [(3 * 2 + 3 * 32 + 512) / 7 * 4096.0**epoch for epoch in range(steps // 3)]
        assert net.history.cost == pytest.approx(means, rel=1e-6)

    @pytest.mark.parametrize("callbacks", [(), (lambda history: None,)])
    def test_history_has_one_entry_of_each_kind_for_each_completed_epoch(self, callbacks):
        net = regression("float32")
        self.diverge(net, [[0.0]], [[2.0]], epochs=500, learning_rate=5.0, callbacks=callbacks)
        assert net.history.learning_rate == [5.0] * net.history.epochs

    def test_names_the_rate_of_the_schedule(self):
        net = regression("float32")
        message = self.diverge(
            net, [[0.0]], [[2.0]], epochs=500, learning_rate=10.0, schedule=lambda epoch: 0.5
        )
        assert "at learning_rate 5;" in message

    def test_training_can_go_on_with_a_smaller_rate(self):
        net = regression("float32")
        self.diverge(net, [[0.0]], [[2.0]], epochs=500, optimizer="momentum", learning_rate=5.0)
        net.parameters["b1"][...] = 0
        history = net.fit([[0.0]], [[2.0]], epochs=50, optimizer="momentum", learning_rate=0.1)
        assert history.cost[-1] < 0.1 * history.cost[0]

    def test_train_step(self):
        net = regression(slope=1.0)
        before = buffer_of(net)
        with np.errstate(all="ignore"):
            with pytest.raises(DivergenceError, match=r"the cost became inf at learning_rate 0\.5"):
                net.train_step([[1e30]], [[0.0]], learning_rate=0.5)
            assert_same_bits(buffer_of(net), before)
            with pytest.raises(
                DivergenceError, match=r"an update overflowed at learning_rate 1e\+38"
            ):
                net.train_step([[4.0]], [[8.0]], learning_rate=1e38)
        assert np.isfinite(buffer_of(net)).all()


class TestCtrlC:
    """It can come at any line of `fit`'s own loop: what is told is what was done."""

    def test_in_a_call_in_which_an_update_overflows(self, monkeypatch):
        """That step is not done, and what momentum holds of it is not for the next training."""
        net, launch = regression("float32"), engine.Engine._launch

        def interrupted(*args, **arrays):
            launch(*args, **arrays)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(engine.Engine, "_launch", interrupted)
            patch.setattr(engine.Engine, "compile", lambda *args, **options: None)
            with pytest.raises(KeyboardInterrupt):
                net.fit([[4.0]], [[8.0]], epochs=3, optimizer="momentum", learning_rate=1e38)
        assert (net.history.epochs, net._state.step) == (0, 0)
        net.parameters["W1"][...] = net.parameters["b1"][...] = 0
        history = net.fit([[1.0]], [[2.0]], epochs=50, optimizer="momentum", learning_rate=0.1)
        assert history.cost[-1] < 0.1 * history.cost[0]

    RATE = 0.01  # b = 2 - 2 * 0.99^t after t steps

    def interrupt(self, line: int, **settings: Any) -> fastdnn.DNN | None:
        """A network whose training was interrupted at its ``line``-th line; None if it ended."""
        net, X, Y, _ = passing_by()

        def run():
            net.fit(X, Y, epochs=200, learning_rate=self.RATE, **settings)

        return net if interrupted_at(line, [training, validation], run) else None

    @pytest.mark.needs_jit  # or coverage.py would lose its place
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"weight_decay": 0.1},
            {"batch_size": 1},
            {"batch_size": 1, "callbacks": [lambda history: None]},
            {"validation_data": ([[0.0]], [[1.0]])},
        ],
        ids=["full", "penalty", "batches", "epochs", "validation"],
    )
    def test_at_any_line(self, settings, monkeypatch):
        monkeypatch.setattr(training, "CALL_SECONDS", 1e-4)
        interrupted = 0
        for line in range(1, 500):
            net = self.interrupt(line, **settings)
            if net is None:
                break
            history = net.history
            if history is None:  # it had not begun
                continue
            interrupted += history.interrupted
            assert len(history.learning_rate) == history.epochs
            assert len(history.penalty) == ("weight_decay" in settings) * history.epochs
            if history.validation_cost:
                best = min(history.validation_cost)
                assert net.evaluate(*settings["validation_data"])["cost"] == best
                assert history.validation_cost[history.best_epoch] == best
            else:
                left = 1 - net.parameters["b1"].item() / 2
                steps = round(math.log(left) / math.log(1 - self.RATE))
                if "batch_size" in settings:  # and the epoch's cost may not be summed up yet
                    steps -= 2 * history.epochs
                    assert steps in (0, 1, 2)
                else:
                    assert history.epochs == steps
        assert interrupted > 100
