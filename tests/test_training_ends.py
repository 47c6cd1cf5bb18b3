"""fit: who watches it, what it reports, and however it can end."""

from __future__ import annotations

import copy
import io
import itertools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_cases import each_dtype
from network_cases import (
    ReferenceRun,
    assert_follows,
    assert_same_bits,
    buffer_of,
    problem,
    randomise,
    tanh_network,
)

import fastdnn
from fastdnn import DivergenceError, History, dispatch, engine, training
from fastdnn.optimizers import OPTIMIZERS

pytestmark = pytest.mark.kernels

# --- watching a training --------------------------------------------------------------------------


def passing_by() -> tuple[fastdnn.DNN, Any, Any, tuple[Any, Any]]:
    """A bias that goes to 2 while the validation wants 1: b = 2 - 2 * 0.8^t after t epochs of 0.2.

    Its validation cost is lowest after three of them: b = 0.976.
    """
    net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float64", init="small")
    net.parameters["W1"][...] = 0
    return net, [[0.0, 0.0]], [[2.0, 2.0]], ([[0.0]], [[1.0]])


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
        assert twin._state.tobytes() == net._state.tobytes()

    def test_a_cost_that_is_not_finite_is_never_the_best(self):
        net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float32", init="small")
        net.parameters["W1"][...] = 100
        X = [[1.0, 2.0]]
        held_out = (np.array([[3e38]], np.float32), [[0.0]])
        with np.errstate(all="ignore"):
            history = net.fit(X, X, epochs=6, learning_rate=0.1, validation_data=held_out)
        finite = np.isfinite(history.validation_cost)
        assert not finite[0]
        if finite.any():
            assert history.best_epoch == np.argmin(history.validation_cost)
        else:
            assert history.best_epoch is None


class Failure(Exception):
    """What a callback raises."""


def raise_at(epoch: int, error: BaseException) -> Callable[[History], None]:
    def callback(history: History) -> None:
        if history.epochs == epoch + 1:
            raise error

    return callback


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

    def test_a_schedule_that_fails(self):
        net, X, Y, held_out = passing_by()
        with pytest.raises(ValueError, match=r"^schedule\(5\) is nan"):
            net.fit(
                X, Y, epochs=9, learning_rate=0.2, validation_data=held_out,
                schedule=lambda epoch: math.nan if epoch == 5 else 1.0,
            )  # fmt: skip
        assert net.parameters["b1"].item() == pytest.approx(BEST)

    def test_stopped_by_a_callback(self):
        net, X, Y, held_out = passing_by()
        history = net.fit(
            X, Y, epochs=9, learning_rate=0.2, validation_data=held_out,
            callbacks=[lambda history: history.epochs < 5],
        )  # fmt: skip
        assert (history.epochs, history.stopped_early) == (5, True)
        assert net.parameters["b1"].item() == pytest.approx(BEST)


class TestCallbacksAndHistory:
    @pytest.mark.parametrize("batch_size", [None, 4])
    def test_callbacks_see_every_epoch_in_order(self, batch_size):
        net = tanh_network()
        X, Y = problem(net)
        seen: list[tuple[str, int]] = []
        histories = []

        def first(history):
            seen.append(("first", history.epochs))
            histories.append(history)

        def second(history):
            seen.append(("second", history.epochs))
            return 0  # only False stops

        history = net.fit(X, Y, epochs=3, batch_size=batch_size, callbacks=(first, second))
        assert seen == [(name, epoch) for epoch in (1, 2, 3) for name in ("first", "second")]
        assert all(each is history for each in histories)
        assert net.history is history

    def test_callbacks_change_nothing(self):
        net, twin = tanh_network(), tanh_network()
        X, Y = problem(net)
        net.fit(X, Y, epochs=5, callbacks=[lambda history: True])
        twin.fit(X, Y, epochs=5)
        assert_same_bits(net.parameters, twin.parameters)

    @pytest.mark.parametrize("batch_size", [None, 4])
    def test_history_is_plain_lists_of_one_fit(self, batch_size):
        net = tanh_network("float32")
        X, Y = problem(net)
        first = net.fit(X, Y, epochs=4, batch_size=batch_size)
        kept = copy.deepcopy(first)
        history = net.fit(X, Y, epochs=3, batch_size=batch_size, learning_rate=0.25)
        assert first == kept
        assert history is not first
        assert (history.epochs, len(history.cost)) == (3, 3)
        assert history.learning_rate == [0.25] * 3
        for numbers in (history.cost, history.learning_rate):
            assert type(numbers) is list
            assert all(type(number) is float for number in numbers)
        assert (history.stopped_early, history.interrupted, history.best_epoch) == (
            False, False, None,
        )  # fmt: skip
        assert 0 <= history.compile_seconds <= history.seconds

    @pytest.mark.needs_jit
    def test_many_epochs_of_a_small_network_are_few_compiled_calls(self, monkeypatch):
        calls = []
        run = dispatch.run_team
        monkeypatch.setattr(dispatch, "run_team", lambda *args: calls.append(1) or run(*args))
        net = fastdnn.DNN([2, 3, 1])
        history = net.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=100_000, learning_rate=1e-3)
        assert history.epochs == len(history.learning_rate) == 100_000
        assert 1 < len(calls) < 1000
        assert history.cost[-1] < history.cost[0]

    def steps_by_a_clock(self, monkeypatch, seconds: Callable[[int], float]) -> list[float]:
        """The duration of every compiled call, by a clock on which step s takes ``seconds(s)``."""
        now, taken = 0.0, 0
        durations: list[float] = []
        steps = engine.Engine.steps

        def timed(self, X, Y, starts, *args, **options):
            nonlocal now, taken
            durations.append(sum(seconds(taken + i) for i in range(len(starts))))
            now, taken = now + durations[-1], taken + len(starts)
            return steps(self, X, Y, starts, *args, **options)

        monkeypatch.setattr(engine.Engine, "steps", timed)
        monkeypatch.setattr(training.time, "perf_counter", lambda: now)
        return durations

    def test_seconds_of_compiling_are_told_apart(self, monkeypatch):
        """By a clock on which compiling takes 20 s and each of 30 steps 0.5 s."""
        now = 0.0

        def compile_slowly(*args: Any, **options: Any) -> None:
            nonlocal now
            now += 20.0

        steps = engine.Engine.steps

        def step_slowly(self, X, Y, starts, *args, **options):
            nonlocal now
            now += 0.5 * len(starts)
            return steps(self, X, Y, starts, *args, **options)

        monkeypatch.setattr(engine.Engine, "compile", compile_slowly)
        monkeypatch.setattr(engine.Engine, "steps", step_slowly)
        monkeypatch.setattr(training.time, "perf_counter", lambda: now)
        net = tanh_network()
        history = net.fit(*problem(net), epochs=30)
        assert (history.compile_seconds, history.seconds) == (20.0, 35.0)

    @pytest.mark.parametrize("batch_size", [None, 1])
    def test_calls_end_in_time_for_ctrl_c(self, batch_size, monkeypatch):
        durations = self.steps_by_a_clock(monkeypatch, lambda step: 0.01)
        net = tanh_network()
        X, Y = problem(net)
        net.fit(X, Y, epochs=40, batch_size=batch_size)
        assert max(durations) == pytest.approx(0.1, rel=0.11)
        assert sum(durations) == pytest.approx(0.4 * (1 if batch_size is None else X.shape[1]))

    def test_calls_get_shorter_as_soon_as_steps_get_slower(self, monkeypatch):
        """Another process starts: what took 0.1 ms a step takes 10 ms."""
        durations = self.steps_by_a_clock(monkeypatch, lambda step: 1e-4 if step < 2000 else 1e-2)
        net = fastdnn.DNN([1, 1])
        net.fit([[0.0]], [0], epochs=5000)
        slow = [duration for duration in durations if duration > 0.2]
        assert durations[1] < 0.2
        assert len(slow) <= 2, f"calls of {[round(s, 1) for s in slow]} seconds"

    @pytest.mark.parametrize("batch_size", [None, 2])
    @each_dtype
    def test_results_do_not_depend_on_the_clock(self, batch_size, dtype, monkeypatch):
        results = []
        for seconds in (1e-6, 0.02, 0.05):
            with monkeypatch.context() as patch:
                durations = self.steps_by_a_clock(patch, lambda step, s=seconds: s)
                net = tanh_network(dtype)
                X, Y = problem(net, 60)
                history = net.fit(X, Y, epochs=10, batch_size=batch_size, learning_rate=0.02)
            results.append((len(durations), history.cost, buffer_of(net)))
        assert len({calls for calls, _, _ in results}) == 3
        for _, cost, parameters in results:
            assert cost == results[0][1]
            assert_same_bits(parameters, results[0][2])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestVerbose:
    def fit(self, **arguments: Any) -> History:
        net, X, Y, _ = passing_by()
        return net.fit(X, Y, learning_rate=0.1, **arguments)

    def test_silent_by_default(self, capfd):
        self.fit(epochs=100)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(("epochs", "lines"), [(1, 1), (3, 3), (10, 10), (100, 10), (1007, 10)])
    def test_a_line_for_each_tenth_where_there_is_no_terminal(self, epochs, lines, capfd):
        history = self.fit(epochs=epochs, verbose=1, callbacks=[lambda history: None])
        out, err = capfd.readouterr()
        assert out == ""
        printed = err.splitlines()
        assert len(printed) == lines
        assert printed[-1] == f"epoch {epochs}/{epochs}  cost {history.cost[-1]:.6g}"
        shown = [int(line.split("/")[0].split()[1]) for line in printed]
        assert shown == sorted(set(shown))

    def test_unwatched_epochs_still_report_the_last(self, capfd):
        history = self.fit(epochs=100, verbose=1)
        printed = capfd.readouterr().err.splitlines()
        assert 1 <= len(printed) <= 10
        assert printed[-1] == f"epoch 100/100  cost {history.cost[-1]:.6g}"

    def test_validation_and_an_early_end_are_shown(self, capfd):
        _, _, _, held_out = passing_by()
        history = self.fit(epochs=100, verbose=1, validation_data=held_out, early_stopping=2)
        assert history.stopped_early
        last = capfd.readouterr().err.splitlines()[-1]
        assert last == (
            f"epoch {history.epochs}/100  cost {history.cost[-1]:.6g}  "
            f"validation {history.validation_cost[-1]:.6g}  "
            f"metric {history.validation_metric[-1]:.4f}"
        )

    def test_one_line_in_a_terminal(self, monkeypatch):
        pytest.importorskip("tqdm")
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        history = self.fit(epochs=50, verbose=1, callbacks=[lambda history: None])
        text = terminal.getvalue()
        assert text.count("\n") == 1
        last = text.rstrip("\n").split("\r")[-1]
        assert "50/50" in last
        assert f"cost {history.cost[-1]:.6g}" in last

    def test_terminal_line_is_finished_when_training_fails(self, monkeypatch):
        pytest.importorskip("tqdm")
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(Failure):
            self.fit(epochs=50, verbose=1, callbacks=[raise_at(20, Failure())])
        assert terminal.getvalue().endswith("\n")

    def test_a_terminal_without_tqdm_gets_lines(self, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setitem(sys.modules, "tqdm", None)
        self.fit(epochs=10, verbose=1, callbacks=[lambda history: None])
        assert len(terminal.getvalue().splitlines()) == 10

    @pytest.mark.parametrize("verbose", [True, 2])
    def test_changes_no_result(self, verbose, capfd):
        assert self.fit(epochs=20, verbose=verbose).cost == self.fit(epochs=20).cost
        assert capfd.readouterr().err


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
        assert message.startswith("training diverged: the cost became inf in epoch 0, step 1, ")
        assert "at learning_rate 0.5;" in message
        assert_same_bits(buffer_of(net), before)
        assert net.history.epochs == 0

    def test_cost_that_is_not_a_number(self):
        net = fastdnn.DNN([1, 2, 1])  # two units at infinity, and their difference
        net.parameters["W1"][...] = 3e38
        net.parameters["W2"][...] = [[1.0, -1.0]]
        before = buffer_of(net)
        message = self.diverge(net, [[100.0]], [1], epochs=5, learning_rate=0.25)
        assert message.startswith("training diverged: the cost became nan in epoch 0, step 1, ")
        assert "at learning_rate 0.25;" in message
        assert_same_bits(buffer_of(net), before)

    def test_update_that_overflows(self):
        net = regression()
        message = self.diverge(net, [[4.0]], [[4.0]], epochs=5, learning_rate=1e38)
        assert message.startswith("training diverged: an update overflowed in epoch 0, step 1, ")
        assert "at learning_rate 1e+38;" in message

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_decay_that_overflows(self, name):
        net = regression(slope=100.0)
        rate, decay = (1e37, 1.0) if name == "adamw" else (0.5, 1e38)
        message = self.diverge(
            net, [[0.0]], [[0.0]], optimizer=name, learning_rate=rate, weight_decay=decay
        )
        assert message.startswith("training diverged: an update overflowed in epoch 0, step 1, ")
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
        assert f"epoch {len(costs)}, step {len(costs) + 1}, at learning_rate 5;" in message
        error = net.parameters["b1"].item() - 2.0
        assert error == pytest.approx(-2.0 * (-4.0) ** len(costs))
        with np.errstate(over="ignore"):
            assert np.isinf(np.float32(0.5) * np.float32(error) * np.float32(error))
        assert not net.history.stopped_early

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
        assert f"epoch {steps // 3}, step {steps + 1}, at learning_rate 5;" in message
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
            with pytest.raises(DivergenceError, match=r"cost inf at learning_rate 0\.5"):
                net.train_step([[1e30]], [[0.0]], learning_rate=0.5)
            assert_same_bits(buffer_of(net), before)
            with pytest.raises(DivergenceError, match=r"at learning_rate 1e\+38"):
                net.train_step([[4.0]], [[8.0]], learning_rate=1e38)
        assert np.isfinite(buffer_of(net)).all()
