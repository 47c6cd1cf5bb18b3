"""Threads and Ctrl-C: the same bits from any team, and never a process that dies or hangs.

Threading layers start once in a process, and what is tested may kill or hang it: a scenario is a
function of this module that runs in a process of its own, with four threads on any machine.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest
from kernel_cases import DTYPES
from network_cases import assert_same_bits
from thread_cases import (
    FOUR_THREADS,
    HANG_SECONDS,
    LAYERS,
    SHAPES,
    Teams,
    in_processes,
    make,
    run_scenario,
    trained,
)

import fastdnn
from fastdnn import dispatch

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


# --- the same bits --------------------------------------------------------------------------------


def all_teams(dtype: str) -> None:
    teams = Teams()
    for dims, m in SHAPES:
        expected = trained(1, dims, m, dtype)
        assert not teams.take(), "one thread means the serial twin"
        assert trained(1, dims, m, dtype, seed=1) != expected
        for n_threads in (2, 3, 4):
            assert trained(n_threads, dims, m, dtype) == expected, (dims, n_threads)
            assert teams.take() == {n_threads}


@pytest.mark.slow
@pytest.mark.needs_jit
@in_processes
@each_dtype
@pytest.mark.parametrize("layer", LAYERS)
def test_bits_do_not_depend_on_the_team(layer, dtype):
    run_scenario(all_teams, dtype, NUMBA_THREADING_LAYER=layer)


@pytest.mark.kernels
@pytest.mark.needs_jit
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_bits_of_a_team_in_this_process(monkeypatch):
    teams = Teams(monkeypatch.setattr)
    assert trained(2) == trained(1)
    assert teams.take() == {2}


@pytest.mark.parametrize("order", [1, -1])
def test_members_may_run_one_after_the_other(order, monkeypatch):
    """As where a layer has fewer threads than a team has members."""
    teams = []

    def launch(kernel, counters, team, args):
        teams.append(team)
        for member in range(team)[::order]:
            kernel(member, counters, team, *args)

    small = (5, 4, 3), 9
    expected = trained(1, *small)
    Teams(monkeypatch.setattr)
    monkeypatch.setattr(dispatch, "most_members", lambda: 3)
    monkeypatch.setattr(dispatch, "_address", lambda kernel, *_: kernel)
    monkeypatch.setattr(dispatch, "launch", launch)
    monkeypatch.setattr(numba.core.config, "NUMBA_NUM_THREADS", 3)
    assert trained(3, *small) == expected
    assert set(teams) == {3}


def print_digest() -> None:
    teams = Teams()
    print(json.dumps([sorted(teams.take()), trained(None), sorted(teams.take())]))


@pytest.mark.slow
@pytest.mark.needs_jit
@in_processes
@pytest.mark.parametrize(
    ("environment", "sizes"),
    [
        ({"NUMBA_NUM_THREADS": "1"}, []),
        ({"NUMBA_NUM_THREADS": "2"}, [2]),
        ({"NUMBA_NUM_THREADS": "7"}, [7]),
        ({"FASTDNN_NUM_THREADS": "3"}, [3]),
        ({"FASTDNN_NUM_THREADS": "1"}, []),
        ({"FASTDNN_NUM_THREADS": "99"}, [4]),
        ({"FASTDNN_NUM_THREADS": "0"}, [4]),
        ({"FASTDNN_NUM_THREADS": "many"}, [4]),
        ({"OMP_NUM_THREADS": "1"}, [4]),
        ({"OMP_MAX_ACTIVE_LEVELS": "0"}, None),
        ({"OMP_THREAD_LIMIT": "2"}, [2]),
        ({"OMP_THREAD_LIMIT": "1"}, []),
        ({"OMP_THREAD_LIMIT": " 2 "}, [2]),
        ({"OMP_THREAD_LIMIT": "100"}, [4]),
        ({"OMP_DYNAMIC": "true"}, [4]),
        ({"NUMBA_THREADING_LAYER": "workqueue"}, [4]),
        ({"NUMBA_THREADING_LAYER": "tbb"}, [4] if "tbb" in LAYERS else []),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_environment_decides_the_team_and_never_the_bits(environment, sizes):
    if any(name.startswith("OMP") for name in environment):
        if "omp" not in LAYERS:
            pytest.skip("needs OpenMP")
        environment = {"NUMBA_THREADING_LAYER": "omp", **environment}
    start, digest, got = json.loads(run_scenario(print_digest, **environment))
    assert start == []
    assert digest == trained(1)
    assert sizes is None or got == sizes


class TestTeamSize:
    @pytest.fixture(autouse=True)
    def four_threads(self, monkeypatch):
        monkeypatch.setattr(numba.core.config, "NUMBA_NUM_THREADS", 4)
        monkeypatch.delenv("FASTDNN_NUM_THREADS", raising=False)
        monkeypatch.setattr(dispatch, "_default_threads", 0)

    def test_small_work_is_left_to_one_thread_and_large_work_to_all(self):
        assert dispatch.best_team(100.0) == 1
        assert dispatch.best_team(1e10) == 4
        sizes = [dispatch.best_team(10.0**power) for power in range(3, 11)]
        assert sizes == sorted(sizes)

    def test_many_repeats_share_the_cost_of_a_region(self):
        work = dispatch.MULTIPLY_ADDS_PER_MICROSECOND * (2 * dispatch.WAIT_MICROSECONDS + 5)
        assert dispatch.best_team(work, repeats=10**6) > dispatch.best_team(work, repeats=1) == 1

    def test_limits(self, monkeypatch):
        assert dispatch.best_team(1e10, limit=2) == 2
        assert dispatch.best_team(1e10, limit=99) == 4
        with dispatch.threads_at_most(3):
            assert dispatch.best_team(1e10) == 3
            assert dispatch.best_team(1e10, limit=4) == 4
        assert dispatch.best_team(1e10) == 4

    def test_limit_in_any_environment(self, monkeypatch):
        for value, limit in (("2", 2), ("99", 4), ("", 4), (" ", 4), (" 2", 2)):
            monkeypatch.setenv("FASTDNN_NUM_THREADS", value)
            monkeypatch.setattr(dispatch, "_default_threads", 0)
            assert dispatch.default_threads() == limit
            monkeypatch.setenv("FASTDNN_NUM_THREADS", "1")  # it was asked
            assert dispatch.default_threads() == limit

    @pytest.mark.parametrize("value", ["four", "0", "-1", "2.0"])
    def test_what_is_no_number_of_threads_is_warned_of_once(self, value, monkeypatch):
        monkeypatch.setenv("FASTDNN_NUM_THREADS", value)
        message = f"^FASTDNN_NUM_THREADS is '{value}', expected a whole number >= 1: all 4 threads"
        with pytest.warns(RuntimeWarning, match=message):
            assert dispatch.default_threads() == 4
        assert dispatch.default_threads() == 4  # a warning would be an error

    def test_layer_is_asked_until_a_team_is_safe_and_not_again(self, monkeypatch):
        monkeypatch.setattr(dispatch, "_most_members", 0)
        monkeypatch.setattr(dispatch, "_team_limit", lambda: 3)
        for safe, most in ((False, 1), (True, 3), (False, 3)):
            monkeypatch.setattr(dispatch, "teams_are_safe", lambda safe=safe: safe)
            assert dispatch.most_members() == most


@pytest.mark.parametrize("place", ["_address", "launch"])
def test_ctrl_c_around_a_call_leaves_no_lock_behind(place, monkeypatch):
    """It may come between any two steps of Python; who held the lock then would keep it."""

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(dispatch, "most_members", lambda: 2)
    monkeypatch.setattr(dispatch, "_address", lambda *args: 0)
    monkeypatch.setattr(dispatch, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        dispatch.run_team(None, 2)
    assert not dispatch._inside.locked()


def thread_counts() -> None:
    teams = Teams()
    net, X, Y = make(*SHAPES[1])
    numba.set_num_threads(3)

    def check(size: int) -> None:
        assert teams.take() == {size}
        assert numba.get_num_threads() == 3

    for limit, size in ((None, 4), (2, 2)):
        net.n_threads = limit
        for call in (net.fit, net.evaluate, net.gradients, net.train_step):
            call(X, Y)
            check(size)
        net.forward(X)
        check(size)
        net.fit(X, Y, n_threads=3)
        check(3)
    net.parameters["W1"][...] = 3e38
    for call in (net.fit, net.train_step):
        try:
            call(1e3 * np.abs(X), Y)
        except fastdnn.DivergenceError:
            check(2)
        else:
            raise AssertionError("it should diverge")


@pytest.mark.slow
@pytest.mark.needs_jit
@in_processes
@pytest.mark.parametrize("layer", LAYERS)
def test_thread_count_of_other_numba_code_is_restored(layer):
    run_scenario(thread_counts, NUMBA_THREADING_LAYER=layer)


class TestSpinning:
    """GNU OpenMP reads its settings when it is loaded; ours are gone from sight after that."""

    @pytest.fixture(autouse=True)
    def nothing_started(self, monkeypatch):
        """As before the first team; ``self.seen`` is what a layer that is loaded finds set."""
        for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
            monkeypatch.delenv(name, raising=False)
        self.seen = []
        monkeypatch.setattr(dispatch.parallel, "_is_initialized", False)
        monkeypatch.setattr(
            dispatch.parallel, "_launch_threads",
            lambda: self.seen.append(os.environ.get("GOMP_SPINCOUNT")),
        )  # fmt: skip

    def test_is_short_and_the_environment_as_before(self, monkeypatch):
        dispatch._launch_threads()
        assert self.seen == [dispatch.SPIN_ROUNDS]
        assert "GOMP_SPINCOUNT" not in os.environ
        monkeypatch.setattr(dispatch.parallel, "_is_initialized", True)
        dispatch._launch_threads()
        assert self.seen[1:] == [None], "too late to say anything"

    def test_is_as_the_user_says(self, monkeypatch):
        monkeypatch.setenv("GOMP_SPINCOUNT", "77")
        dispatch._launch_threads()
        assert self.seen == [os.environ["GOMP_SPINCOUNT"]] == ["77"]
        monkeypatch.delenv("GOMP_SPINCOUNT")
        monkeypatch.setenv("OMP_WAIT_POLICY", "active")
        dispatch._launch_threads()
        assert self.seen[1:] == [None]
        assert "GOMP_SPINCOUNT" not in os.environ

    def test_of_a_layer_that_is_not_installed(self, monkeypatch):
        def missing():
            raise ValueError("No threading layer could be loaded.")

        monkeypatch.setattr(dispatch.parallel, "_launch_threads", missing)
        with pytest.raises(ValueError, match="layer"):
            dispatch._launch_threads()
        assert "GOMP_SPINCOUNT" not in os.environ
        assert not dispatch.teams_are_safe()

    def test_of_another_python_thread_that_was_faster(self, monkeypatch):
        monkeypatch.setattr(
            dispatch.parallel, "_launch_threads", lambda: os.environ.pop("GOMP_SPINCOUNT")
        )
        dispatch._launch_threads()
        assert "GOMP_SPINCOUNT" not in os.environ


def print_spin_count() -> None:
    dispatch.threading_layer()
    print(numba.threading_layer(), os.environ.get("GOMP_SPINCOUNT"))


@pytest.mark.slow
@pytest.mark.needs_jit
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("environment", [{}, {"GOMP_SPINCOUNT": "77"}], ids=str)
def test_started_threads_leave_the_environment_as_it_was(environment, layer):
    printed = run_scenario(print_spin_count, NUMBA_THREADING_LAYER=layer, **environment)
    assert printed.split() == [layer, environment.get("GOMP_SPINCOUNT", "None")]


def limit_of_one_call() -> None:
    teams = Teams()
    net, X, Y = make(*SHAPES[1])
    net.fit(X, Y, epochs=2, n_threads=2, validation_data=(X, Y))
    assert teams.take() == {2}


@pytest.mark.slow
@pytest.mark.needs_jit
@in_processes
def test_limit_of_fit_holds_for_its_validation():
    run_scenario(limit_of_one_call)


# --- Python threads -------------------------------------------------------------------------------


def four_python_threads() -> None:
    teams = Teams()
    expected = [trained(1, seed=seed) for seed in range(4)]
    assert len(set(expected)) == 4
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda seed: trained(4, seed=seed), range(4))) == expected
    assert set(teams.sizes) == {4}
    assert teams.most_inside == 1, "two threads entered the threading layer"
    assert not dispatch._inside.locked()
    assert numba.threading_layer() == os.environ["NUMBA_THREADING_LAYER"]


def one_network_for_four_python_threads() -> None:
    Teams()
    net, X, _ = make(*SHAPES[1])
    inputs = [X * (1 + i) for i in range(4)]
    expected = [net.forward(X) for X in inputs]
    barrier = threading.Barrier(4)

    def ask(i: int) -> None:
        barrier.wait()
        for _ in range(300):
            assert_same_bits(net.forward(inputs[i]), expected[i])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))


@pytest.mark.slow
@pytest.mark.needs_jit
@in_processes
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scenario", [four_python_threads, one_network_for_four_python_threads])
def test_python_threads(scenario, layer):
    run_scenario(scenario, NUMBA_THREADING_LAYER=layer)


# --- Ctrl-C ---------------------------------------------------------------------------------------


def interrupted(kind: str, n_threads: int) -> None:
    """Train for hours, until the test presses Ctrl-C; then see what is left."""
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    teams = Teams()
    settings: dict[str, Any] = {"learning_rate": 1e-3, "n_threads": n_threads}
    if kind == "batches":
        settings |= {"batch_size": 70, "optimizer": "adam"}
    net, X, Y = make(*SHAPES[1])
    if kind == "validation":
        settings["validation_data"] = (X[:, :50], Y[:, :50])
    warm_up = make(*SHAPES[1])[0]
    net.n_threads = warm_up.n_threads = n_threads
    warm_up.fit(X, Y, epochs=2, **settings)
    assert bool(teams.take()) == (n_threads > 1)
    before = numba.get_num_threads()
    print("ready", flush=True)
    try:
        net.fit(X, Y, epochs=10**9, **settings)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    history = net.history
    assert history.interrupted
    assert history.epochs > 0
    assert all(np.isfinite(value).all() for value in net.parameters.values())
    assert bool(teams.take()) == (n_threads > 1)
    assert numba.get_num_threads() == before
    assert not dispatch._inside.locked()
    if kind == "full":
        twin, X, Y = make(*SHAPES[1])
        twin.fit(X, Y, epochs=history.epochs, **{**settings, "n_threads": 1})
        assert_same_bits(net.parameters, twin.parameters)
    elif kind == "validation":
        best = min(history.validation_cost)
        assert net.evaluate(*settings["validation_data"])["cost"] == best
        assert history.validation_cost[history.best_epoch] == best
    net.fit(X, Y, epochs=2, **settings)
    assert bool(teams.take()) == (n_threads > 1)
    print("done", flush=True)


@pytest.mark.slow
@pytest.mark.needs_jit
@needs_signals
@in_processes
@pytest.mark.parametrize(
    ("layer", "n_threads"), [(LAYERS[0], 1)] + [(layer, 2) for layer in LAYERS]
)
@pytest.mark.parametrize("kind", ["full", "batches", "validation"])
def test_ctrl_c(kind, layer, n_threads):
    code = f"import test_threads; test_threads.interrupted({kind!r}, {n_threads})"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={
            **os.environ, **FOUR_THREADS, "NUMBA_THREADING_LAYER": layer,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        line += process.stdout.readline()
        rest = process.stdout.read()
    assert line.split() == ["ready", "interrupted"], rest[-3000:]
    assert (process.returncode, rest) == (0, "done\n"), rest[-3000:]
