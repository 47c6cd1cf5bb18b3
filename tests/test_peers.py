"""The side-by-side benchmark: it measures what it says, and nothing that fails stays unsaid."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.grid import GRID, Row, find_rows
from benchmarks.peers import report, runner
from benchmarks.peers.__main__ import main
from benchmarks.peers.contestants import CONTESTANTS, find_contestants
from benchmarks.peers.problem import Case, cost_of, make_problem
from benchmarks.peers.results import (
    AGREEMENT,
    failures,
    find_disagreeing,
    microseconds,
    ratio,
    share_of_peak,
)
from benchmarks.peers.worker import Worker, calibrate

TINY = Case(GRID[0], "float64", "sgd")
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


class Sleeper:
    """A session whose steps last two milliseconds."""

    def reset(self) -> None: ...

    def run(self, steps: int) -> None:
        time.sleep(0.002 * steps)

    def outputs(self) -> np.ndarray:
        return np.zeros((1, 1))


def test_calibration_finds_the_duration_and_keeps_the_least_count() -> None:
    assert 3 <= calibrate(Sleeper(), seconds=0.02, least=1) <= 11
    assert calibrate(Sleeper(), seconds=0.002, least=6) == 6


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
def test_five_steps_show_in_the_cost(case: Case) -> None:
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


# --- results and report ---------------------------------------------------------------------------


def finished(ours: float, peer: float = 2e-6) -> dict[str, Any]:
    """Results of a run in which fastdnn took `ours` and JAX `peer` seconds."""

    def entry(seconds: float) -> dict[str, Any]:
        return {"status": "ran", "disagrees": False, "cost": 1.0, "samples": [seconds, 9.0]}

    ran = {"status": "ran", "versions": {"numpy": "2"}, "threads": 4}
    case = {
        **TINY.to_json(),
        "flops": TINY.row.flops,
        "peaks": {"flops": [1e10, 2e10], "bandwidth": [1e10]},
        "entries": {
            "fastdnn-fit": entry(ours),
            "fastdnn-step": entry(3 * ours),
            "jax-jit": entry(2 * peer),
            "jax-scan": entry(peer),
        },
    }
    machine: dict[str, Any] = {
        "cpu": "a processor",
        "threads": 4,
        "system": "Linux",
        "python": "3",
        "date": "now",
    }
    machine["load"] = 0.1
    return {
        "machine": machine,
        "settings": {"rounds": 2, "seconds": 0.1},
        "contestants": dict.fromkeys(case["entries"], ran),
        "cases": [case],
    }


def test_the_best_way_of_each_library_counts() -> None:
    case = finished(ours=1e-6)["cases"][0]
    assert ratio(case) == pytest.approx(2.0)


def test_a_share_of_the_peak_is_of_the_best_one_of_the_run() -> None:
    case = finished(ours=1e-6)["cases"][0]
    other = {**case, "peaks": {"flops": [3e12], "bandwidth": []}}
    double = {**other, "dtype": "another"}
    case["peaks"]["flops"] = [2e12, 1e12]
    share = TINY.row.flops / 1e-6 / 3e12
    assert share_of_peak(case, [case, other]) == pytest.approx(share)
    assert share_of_peak(case, [case, double]) == pytest.approx(1.5 * share)
    case["peaks"]["flops"] = []  # not measured
    assert share_of_peak(case, [case]) is None


def test_a_share_above_the_peak_is_explained() -> None:
    results = finished(ours=1e-6)
    case = results["cases"][0]
    case["entries"]["fastdnn-fit"]["samples"] = [1e-6, 1e-6]
    for share, told in ((0.5, False), (2.0, True)):
        case["peaks"]["flops"] = [TINY.row.flops / 1e-6 / share] * 2
        assert ("above 100 in tiny:" in report.markdown(results)) == told


def test_a_losing_row_is_in_the_table() -> None:
    text = report.markdown(finished(ours=4e-6))
    cells = "| 4.00 | 12.0 | **2.00** |"
    assert cells in text and "| 0.50 |" in text and "behind in 1 of 1 rows" in text


def test_limits_are_told_measured_or_not() -> None:
    results = finished(ours=1e-6)
    assert "20 GFLOP/s in float64, memory 10 GB/s" in report.markdown(results)
    results["cases"][0]["peaks"] = {"flops": [], "bandwidth": [], "why": "no"}
    text = report.markdown(results)
    assert "limits were not measured" in text and "| - | 2.00 |" in text


def test_a_busy_machine_is_told() -> None:
    results = finished(ours=1e-6)
    assert "not idle" not in report.markdown(results)
    results["machine"]["load"] = 2.0
    assert "not idle: load 2.0" in report.markdown(results)
    results["machine"] |= {"load": 0.1, "stolen": 0.3}
    assert "not idle: 30% of the time" in report.markdown(results)


def test_numbers_keep_three_digits() -> None:
    assert [microseconds(x * 1e-6) for x in (0.04567, 9.996, 123.4, 56_789)] == [
        "0.0457",
        "10.0",
        "123",
        "56,800",
    ]


@pytest.mark.parametrize("text", ["nothing", f"{report.BEGIN} only", f"{report.END}{report.BEGIN}"])
def test_a_readme_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="peers:begin"):
        report.insert(text, "block")


# --- the command ----------------------------------------------------------------------------------


def test_the_command_measures_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--contestants", "numpy", "--quick", "--seconds", "0.002", "--no-limits"]
    own = ["--layers", "3,4,2", "--batch", "6", "--output", "softmax", "--dtype", "float32"]
    assert main([*options, *own, "--out", str(tmp_path)]) == 0
    assert "3-4-2, Adam" in capsys.readouterr().out
    results = json.loads((tmp_path / "peers.json").read_text())
    assert [case["optimizer"] for case in results["cases"]] == ["sgd", "adam"]
    assert all(len(case["entries"]["numpy"]["samples"]) == 2 for case in results["cases"])
    assert results["contestants"]["numpy"]["versions"]["numpy"] == np.__version__
    assert results["machine"]["threads"] >= 1

    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    source = str(tmp_path / "peers.json")
    for _ in range(2):  # a second time changes nothing
        assert main(["--from", source, "--readme", str(readme), "--out", str(tmp_path)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "old" not in text and text.count("**float32**") == 1


def test_the_chart_is_drawn_and_the_readme_shows_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "results").mkdir()
    source = tmp_path / "results" / "peers.json"
    source.write_text(json.dumps(finished(ours=1e-6)))
    readme = tmp_path / "README.md"
    readme.write_text(report.BEGIN + report.END)
    assert main(["--from", str(source), "--readme", str(readme)]) == 0
    assert "(results/peers.svg)" in readme.read_text()
    assert source.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    drawn = source.with_suffix(".svg").read_text()
    assert main(["--from", str(source)]) == 0
    assert source.with_suffix(".svg").read_text() == drawn


def test_products_have_a_table_of_their_own(tmp_path: Path) -> None:
    """They are no networks: neither in the mean of the ratios nor in the picture."""
    words = ["--rows", "product-512", "--quick", "--dtype", "float64", "--out", str(tmp_path)]
    assert main([*words, "--contestants", "fastdnn,numpy"]) == 0
    (case,) = json.loads((tmp_path / "peers.json").read_text())["cases"]
    ran = {name: entry["status"] for name, entry in case["entries"].items()}
    assert ran == {"fastdnn-fit": "unsupported", "fastdnn-step": "ran", "numpy": "ran"}
    text = (tmp_path / "peers.md").read_text()
    assert "| product-512 | float64 |" in text and "Geometric mean" not in text
    assert not (tmp_path / "peers.svg").exists()


def test_the_command_fails_when_a_contestant_does(tmp_path: Path) -> None:
    source = tmp_path / "peers.json"
    results = finished(ours=1e-6)
    results["cases"][0]["entries"]["jax-jit"]["disagrees"] = True
    source.write_text(json.dumps(results))
    assert main(["--from", str(source)]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rows", "huge"],
        ["--rows", "tiny", "--layers", "2,1"],
        ["--layers", "2"],
        ["--layers", "2,0"],
        ["--contestants", "theano"],
        ["--interpreter", "torch"],
        ["--rows", "tiny", "--optimizer", "adam"],
    ],
)
def test_bad_arguments_stop_before_measuring(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert not list(tmp_path.iterdir())
