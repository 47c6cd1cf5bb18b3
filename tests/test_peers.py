"""The side-by-side benchmark measures what it says, and nothing that fails stays unsaid."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from peer_cases import TINY, finished

from benchmarks.grid import GRID, Row, find_rows
from benchmarks.peers import report, runner
from benchmarks.peers.contestants import CONTESTANTS, find_contestants
from benchmarks.peers.problem import Case, cost_of, make_problem
from benchmarks.peers.results import AGREEMENT, failures, find_disagreeing
from benchmarks.peers.worker import Worker, calibrate, checked_steps
from fastdnn import span, training

QUICK = {"rounds": 2, "seconds": 0.002, "least": 1, "limits": False, "timeout": 60.0}

# A worker that greets, then does as told by the code that replaces BODY for every other request.
SCRIPT = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "hello":
        reply = {"ok": {"versions": {}, "threads": 1}}
    else:
        BODY
    print(json.dumps(reply), flush=True)
"""
DIE = "sys.stderr.write('last words'); sys.stderr.flush(); os._exit(3)"
HANG = "time.sleep(60)"
RAISE = "reply = {'error': 'Traceback: something'}"
WRONG = (
    "reply = {'ok': {'cost': 99.0, 'steps': 1}} if request['do'] == 'open'"
    " else {'ok': {'seconds': 1e-6}}"
)


@dataclass(frozen=True)
class Scripted(runner.Settings):
    """Settings under which some contestants are scripts."""

    bodies: dict[str, str] = field(default_factory=dict)

    def command(self, name: str) -> list[str]:
        if name in self.bodies:
            return script(self.bodies[name])
        return super().command(name)


def script(body: str) -> list[str]:
    return [sys.executable, "-c", SCRIPT.replace("BODY", body)]


def race(bodies: dict[str, str], **changed: Any) -> dict[str, Any]:
    """Two cases with the real NumPy contestant and the scripted ones."""
    settings = Scripted(**{**QUICK, **changed}, bodies=bodies)
    cases = [TINY, Case(GRID[0], "float32", "sgd")]
    return runner.run(cases, ["numpy", *bodies], settings, save=lambda so_far: None)


# --- the grid and the problem ---------------------------------------------------------------------


def test_flops_count_three_products_a_layer_but_no_first_dA() -> None:
    row = Row("two", (5, 3, 2), "sigmoid", batch=7)
    first, second = 2 * 7 * 5 * 3, 2 * 7 * 3 * 2
    assert row.flops == 2 * first + 3 * second
    assert Row("two", (5, 3, 2), "sigmoid", 7, kind="inference").flops == first + second
    assert Row("one", (5, 3), "identity", 7, kind="product").flops == first


def test_flops_are_those_of_the_published_grid() -> None:
    large = find_rows("large")[0]
    assert large.flops / 430e9 == pytest.approx(0.109, rel=0.01)


def test_runs_of_equal_layers_are_folded() -> None:
    assert [row.network for row in find_rows("tiny,deep-narrow")] == ["2-16-1", "64x16-10"]


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"tinny.*tiny, simplechains"):
        find_rows("tiny,tinny")
    with pytest.raises(ValueError, match=r"tensorflow.*fastdnn-fit, .*numpy"):
        find_contestants("numpy,tensorflow")


@pytest.mark.parametrize("output", ["sigmoid", "softmax", "identity"])
def test_every_process_draws_the_same_problem(output: str) -> None:
    case = Case(Row("own", (4, 3, 3), output, batch=5), "float32", "sgd")
    sent = json.loads(json.dumps(case.to_json()))
    one, other = make_problem(case), make_problem(Case.from_json(sent))
    for left, right in ((one.X, other.X), (one.Y, other.Y)):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == np.float32 and left.flags.c_contiguous
    assert one.X.shape == (4, 5) and one.Y.shape == (3, 5)
    assert all((one.parameters[name] == other.parameters[name]).all() for name in one.parameters)


def test_cost_of_certainly_wrong_is_finite() -> None:
    assert np.isfinite(cost_of(np.array([[0.0], [1.0]]), np.array([[1], [0]]), "softmax"))
    assert cost_of(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]), "identity") == 1.25


# --- the worker -----------------------------------------------------------------------------------


@dataclass
class Clock:
    """A session whose steps last two milliseconds, after 10 for the call: by its own clock."""

    now: float = 0.0

    def reset(self) -> None: ...

    def run(self, steps: int) -> None:
        self.now += 0.01 + 0.002 * steps

    def outputs(self) -> np.ndarray:
        return np.zeros((1, 1))


@pytest.mark.parametrize(
    ("seconds", "least", "expected"),
    [(0.002, 1, 1), (0.002, 6, 6), (0.03, 1, 9), (0.2, 1, 78), (100.0, 1, 49_752)],
)
def test_calibration_finds_the_duration_and_keeps_the_least_count(
    seconds: float, least: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    assert calibrate(clock, seconds, least) == expected


def test_a_missing_library_is_told_from_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    worker = Worker(CONTESTANTS["jax-jit"])
    assert worker.answer({"do": "hello"}) == {"missing": "jax"}
    broken = Worker(CONTESTANTS["numpy"])
    monkeypatch.setattr(type(broken.contestant), "load", lambda self: 1 / 0)
    assert "ZeroDivisionError" in broken.answer({"do": "hello"})["error"]


def test_what_a_library_prints_does_not_enter_the_pipe() -> None:
    code = (
        "from benchmarks.peers import worker\n"
        "worker.Worker.hello = lambda self: print('noise') or {'versions': {}}\n"
        "worker.main('numpy')"
    )
    process = runner.Process([sys.executable, "-c", code], timeout=60)
    assert process.ask("hello") == {"ok": {"versions": {}}}
    process.stop()


def test_a_worker_that_raises_sends_its_traceback_and_serves_on() -> None:
    process = runner.Process(runner.Settings().command("numpy"), timeout=60)
    nonsense = Case(
        Row("own", (2, 2, 1), "sigmoid", 4, hidden_activation="sinus"), "float64", "sgd"
    )
    assert process.ask("hello")["ok"]["threads"] >= 1
    reply = process.ask("open", case=nonsense.to_json(), seconds=0.001, least=1)
    assert "Traceback" in reply["error"] and "sinus" in reply["error"]
    assert "ok" in process.ask("open", case=TINY.to_json(), seconds=0.001, least=1)
    assert process.ask("measure")["ok"]["seconds"] > 0
    process.stop()


# --- the runner -----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [DIE, "os._exit(3)"])
def test_a_worker_that_dies_is_reported(body: str) -> None:
    process = runner.Process(script(body), timeout=60)
    assert "ok" in process.ask("hello")
    error = process.ask("open")["error"]
    assert "exit code 3" in error and not process.alive
    assert body != DIE or "last words" in error


def test_a_worker_that_never_reads_its_pipe_is_reported() -> None:
    process = runner.Process([sys.executable, "-c", "raise SystemExit(5)"], timeout=60)
    assert "exit code 5" in process.ask("hello", padding="x" * 1_000_000)["error"]


def test_a_worker_that_hangs_is_ended() -> None:
    process = runner.Process(script(HANG), timeout=0.3)
    error = process.ask("open")["error"]
    assert "no answer to 'open' in 0.3 s" in error and not process.alive


def test_an_interpreter_that_is_not_there_is_reported() -> None:
    assert "cannot run" in runner.Process(["/no/such/python"], timeout=1).ask("hello")["error"]


@pytest.mark.parametrize(("body", "said"), [(DIE, "last words"), (RAISE, "something")])
def test_the_others_go_on_when_one_fails(body: str, said: str) -> None:
    results = race({"sklearn": body})
    for case in results["cases"]:  # it failed in the second case too: it was started anew
        assert len(case["entries"]["numpy"]["samples"]) == 2
        assert said in case["entries"]["sklearn"]["why"]
    wrong = failures(results)
    assert len(wrong) == 2 and all(text.startswith("sklearn: failed in tiny") for text in wrong)
    assert "- sklearn: failed in tiny, float32, sgd" in report.markdown(results)


def test_another_cost_is_loud_and_not_a_time() -> None:
    results = race({"torch-eager": WRONG})
    assert all("DISAGREES" in text for text in failures(results)) and len(failures(results)) == 2
    text = report.markdown(results)
    assert "torch-eager: DISAGREES in tiny, float64, sgd: cost 99.0" in text
    assert "| PyTorch |" not in text


def test_a_skipped_contestant_is_named() -> None:
    introduction = runner._introduction("torch-eager", {"missing": "torch"})
    assert introduction["why"] == "skipped: torch-eager (not installed)"
    results = {**finished(ours=1e-6), "contestants": {"torch-eager": introduction}}
    assert "- skipped: torch-eager (not installed)" in report.markdown(results)


# --- the check of the cost ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agreement_allows_rounding_only(dtype: str) -> None:
    rounding = {"float32": 1e-4, "float64": 1e-7}[dtype]
    costs = {"a": 1.0, "b": 1.0, "c": 1.0 + rounding}
    assert find_disagreeing(costs, dtype, "sgd") == []
    assert find_disagreeing({**costs, "d": 1.0 + 100 * rounding}, dtype, "sgd") == ["d"]
    assert find_disagreeing({**costs, "d": float("nan")}, dtype, "sgd") == ["d"]
    assert find_disagreeing({"a": float("inf")}, dtype, "sgd") == ["a"]


SMALL_CASES = [
    Case(row, "float32", optimizer)
    for row in GRID
    for optimizer in (("sgd", "adam") if row.adam else ("sgd",))
    if row.flops < 3e8 and row.kind == "train"
]


@pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.label)
def test_the_checked_steps_show_in_the_cost(case: Case) -> None:
    """Else a contestant that trains wrongly would pass the check of its cost."""
    worker = Worker(CONTESTANTS["numpy"])
    worker.hello()
    problem = make_problem(case)
    opened = worker.open(case.to_json(), seconds=0.0, least=1)
    session = worker.session
    assert session is not None
    session.reset()
    before = cost_of(session.outputs(), problem.Y, case.row.output_activation)
    assert before - opened["cost"] > 10 * AGREEMENT * before


def test_what_is_checked_takes_the_way_of_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the span of the examples, where there are fewer of them than features."""
    taken: list[tuple[int, bool]] = []

    def noted(network: Any, X: Any, Y: Any, steps: int, **options: Any) -> Any:
        made = span.in_span(network, X, Y, steps, **options)
        taken.append((steps, made is not None))
        return made

    monkeypatch.setattr(training, "in_span", noted)
    cat = find_rows("cat")[0]
    worker = Worker(CONTESTANTS["fastdnn-fit"])
    worker.hello()
    worker.open(Case(cat, "float32", "sgd").to_json(), seconds=0.0, least=1)
    assert taken == [(checked_steps(cat), True)]


@pytest.mark.parametrize(
    ("output", "n_y"),
    [("sigmoid", 1), ("sigmoid", 3), ("softmax", 3), ("identity", 1), ("identity", 3)],
)
def test_scikit_learn_answers_whatever_the_output(output: str, n_y: int) -> None:
    pytest.importorskip("sklearn")
    case = Case(Row("own", (3, 2, n_y), output, batch=6, kind="inference"), "float64", "none")
    costs = {}
    for name in ("numpy", "sklearn"):
        worker = Worker(CONTESTANTS[name])
        worker.hello()
        costs[name] = worker.open(case.to_json(), seconds=0.0, least=1)["cost"]
    assert find_disagreeing(costs, case.dtype, case.optimizer) == []
