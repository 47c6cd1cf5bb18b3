"""fit: callbacks, the history, the clock of its calls, and what it prints."""

from __future__ import annotations

import copy
import io
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from kernel_cases import each_dtype
from network_cases import (
    Failure,
    assert_same_bits,
    buffer_of,
    passing_by,
    problem,
    raise_at,
    tanh_network,
)
from numba.core import event

import fastdnn
from fastdnn import History, dispatch, engine, training

pytestmark = pytest.mark.extras  # tqdm


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
        """By a clock on which 30 steps take 0.5 s each, a kernel 20 s, and to load another 1 s."""
        now = 0.0

        def compile_slowly(*args: Any, **options: Any) -> None:
            nonlocal now
            with event.trigger_event("numba:compile"):
                now += 20.0
            now += 1.0

        steps = engine.Engine.steps

        def step_slowly(self, X, Y, starts, *args, **options):
            nonlocal now
            now += 0.5 * len(starts)
            with event.trigger_event("numba:compile"):  # what is compiled at first use counts, too
                now += 3.0 if len(seen) == 0 else 0.0
            seen.append(len(starts))
            return steps(self, X, Y, starts, *args, **options)

        seen: list[int] = []

        monkeypatch.setattr(engine.Engine, "compile", compile_slowly)
        monkeypatch.setattr(engine.Engine, "steps", step_slowly)
        monkeypatch.setattr(training.time, "perf_counter", lambda: now)
        net = tanh_network()
        history = net.fit(*problem(net), epochs=30)
        assert (history.compile_seconds, history.seconds) == (23.0, 39.0)

    @pytest.mark.parametrize("batch_size", [None, 1])
    def test_calls_end_in_time_for_ctrl_c(self, batch_size, monkeypatch):
        durations = self.steps_by_a_clock(monkeypatch, lambda step: 0.02)
        net = tanh_network()
        X, Y = problem(net)
        net.fit(X, Y, epochs=40, batch_size=batch_size)
        assert max(durations) == pytest.approx(0.2, rel=0.11)
        assert sum(durations) == pytest.approx(0.8 * (1 if batch_size is None else X.shape[1]))

    def test_calls_get_shorter_as_soon_as_steps_get_slower(self, monkeypatch):
        """Another process starts: what took 0.1 ms a step takes 10 ms."""
        durations = self.steps_by_a_clock(monkeypatch, lambda step: 1e-4 if step < 4000 else 1e-2)
        net = fastdnn.DNN([1, 1])
        net.fit([[0.0]], [0], epochs=10_000)
        slow = [duration for duration in durations if duration > 0.4]
        assert durations[1] < 0.4
        assert len(slow) <= 2, f"calls of {[round(s, 1) for s in slow]} seconds"

    @pytest.mark.parametrize("batch_size", [None, 2])
    @each_dtype
    def test_results_do_not_depend_on_the_clock(self, batch_size, dtype, monkeypatch):
        results = []
        for seconds in (1e-6, 0.04, 0.1):
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

    def test_programs_without_a_console(self, monkeypatch, capfd):
        monkeypatch.setattr(sys, "stderr", None)
        self.fit(epochs=10, verbose=1)
        lines: list[str] = []
        monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(write=lines.append))
        history = self.fit(epochs=1, verbose=1)
        assert "".join(lines) == f"epoch 1/1  cost {history.cost[-1]:.6g}\n"
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("verbose", [True, 2])
    def test_changes_no_result(self, verbose, capfd):
        assert self.fit(epochs=20, verbose=verbose).cost == self.fit(epochs=20).cost
        assert capfd.readouterr().err


class TestExamplesThatStayPacked:
    """Calls of one training pack the full batch once, unless that would be seen."""

    @pytest.fixture(autouse=True)
    def one_step_a_call(self, monkeypatch):
        monkeypatch.setattr(training, "CALL_SECONDS", 0.0)

    def packed(self, monkeypatch, **options):
        """Which of 4 steps packed their examples, and the parameters afterwards."""
        net, seen = tanh_network(), []
        X, Y = problem(net)
        launch = engine.Engine._launch

        def spy(self, space, team, X, Y, starts, **arrays):
            seen.extend(starts.tolist())
            return launch(self, space, team, X, Y, starts, **arrays)

        with monkeypatch.context() as patch:
            patch.setattr(engine.Engine, "_launch", spy)
            net.fit(X, Y, epochs=4, **options)
        return seen, net.parameters

    def test_in_calls_that_follow_each_other(self, monkeypatch):
        assert self.packed(monkeypatch)[0] == [0, -1, -1, -1]

    def test_not_where_a_callback_may_change_them(self, monkeypatch):
        assert self.packed(monkeypatch, callbacks=[lambda history: True])[0] == [0] * 4

    def test_not_after_somebody_else_used_the_workspace(self, monkeypatch):
        _, expected = self.packed(monkeypatch)
        steps, calls = engine.Engine.steps, []

        def disturbed(self, X, *args, **kwargs):
            calls.append(X)
            if kwargs.get("holder") is not None and len(calls) == 3:
                twin = X.array() + 1
                self.gradients(engine.Matrix.of(twin, twin.dtype), *args[:1])
            return steps(self, X, *args, **kwargs)

        monkeypatch.setattr(engine.Engine, "steps", disturbed)
        seen, found = self.packed(monkeypatch)
        assert seen == [0, -1, 0, 0, -1]  # the third is the other's
        assert_same_bits(found, expected)


def test_a_history_says_in_one_line_what_happened():
    assert repr(History()) == "<History of 0 epochs>"
    assert repr(History([0.5])) == "<History of 1 epoch: cost 0.5 -> 0.5; 0 s>"
    watched = History(
        [0.5, 0.25, 0.125], [0.6, 0.4, 0.45], [0.5, 0.75, 0.75], best_epoch=1, stopped_early=True,
        seconds=1.2345,
    )  # fmt: skip
    assert repr(watched) == (
        "<History of 3 epochs: cost 0.5 -> 0.125; validation cost 0.4 and metric 0.75 in epoch 2; "
        "stopped early; 1.23 s>"
    )
    assert repr(History([0.5], interrupted=True)).endswith("; interrupted; 0 s>")
    overflown = History(
        [0.5, 0.25], [float("inf"), float("inf")], [0.25, 0.75]
    )  # none was the best
    assert "validation cost inf and metric 0.75 in epoch 2;" in repr(overflown)
