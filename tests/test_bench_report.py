"""From pytest-benchmark's JSON to the README's table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import idle, markdown, timing
from benchmarks.report import BEGIN, END, FOLD_ROWS, main, read_rows
from benchmarks.report import markdown as report


def entry(
    row: str, contestant: str, seconds: float, *, steps: int = 1, dtype: str = "float32"
) -> dict[str, Any]:
    about = {"table": "Steps", "row": row, "dtype": dtype, "contestant": contestant}
    return {
        "name": f"test_grid[{row}-{contestant}]",
        "extra_info": {**about, "steps": steps},
        "stats": {"min": seconds * steps, "median": 2 * seconds * steps},
    }


def measured(*entries: dict[str, Any]) -> dict[str, Any]:
    machine = {"machine": "x86_64", "system": "Linux", "python_version": "3.12.1"}
    machine["cpu"] = {"brand_raw": "a processor", "count": 4}
    return {
        "machine_info": machine,
        "datetime": "2030-01-02T03:04:05",
        "benchmarks": list(entries),
    }


TWO_ROWS = (
    entry("tiny", "NumPy", 30e-6, steps=100),
    entry("tiny", "per call", 10e-6, steps=7),
    entry("tiny", "in fit", 3e-6),
    entry("large", "NumPy", 1e-3),
    entry("large", "per call", 2e-3),
)


def test_a_row_has_the_best_round_of_each_contestant_per_step() -> None:
    tiny, large = read_rows(measured(*TWO_ROWS))
    assert tiny.name == "tiny" and tiny.seconds == pytest.approx(
        {"NumPy": 30e-6, "per call": 10e-6, "in fit": 3e-6}
    )
    assert tiny.speedup == pytest.approx(10)  # of fastdnn's fastest way
    assert large.speedup == pytest.approx(0.5)


def test_losing_rows_are_in_the_table_and_named() -> None:
    text = report(measured(*TWO_ROWS))
    assert "a processor, 4 threads, Linux, Python 3.12.1, 2030-01-02" in text
    assert "|  | NumPy | per call | in fit | NumPy / fastdnn |" in text
    assert "| tiny | 30.0 | 10.0 | **3.00** | 10.00 |" in text
    assert "| large | **1,000** | 2,000 | - | 0.50 |" in text
    assert "Geometric mean 2.24; fastdnn is slower in 1 of 2 rows: large." in text


def test_a_busy_machine_is_told() -> None:
    results = measured(*TWO_ROWS)
    assert "not idle" not in report(results)
    results["machine_info"]["load"] = 3.25
    assert "not idle: load 3.2" in report(results)
    results["stolen"] = 0.06
    assert "not idle: load 3.2 when the run began, 6% of the time" in report(results)


def test_stolen_time_is_a_share_of_what_was_asked_for(tmp_path: Path, monkeypatch: Any) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(idle, "_STAT", stat)
    assert idle.Stolen().share() is None  # another system
    stat.write_text("cpu  10 0 5 1000 7 1 2 100 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    clock = idle.Stolen()
    assert clock.share() == 0.0
    stat.write_text("cpu  35 20 15 9000 99 6 7 120 0 0\n")
    assert clock.share() == 20 / (25 + 20 + 10 + 5 + 5 + 20)


def test_each_dtype_has_a_table_and_a_winner_is_told_from_a_loser() -> None:
    both = [
        entry("tiny", name, seconds, dtype=dtype)
        for dtype in ("float32", "float64")
        for name, seconds in (("NumPy", 2e-6), ("fastdnn", 1e-6))
    ]
    text = report(measured(*both))
    assert text.count("**Steps, float32**") == text.count("**Steps, float64**") == 1
    assert text.count("slower in 0 of 1 rows.") == 2


def test_a_long_table_is_folded_and_its_summary_is_not() -> None:
    rows = [
        entry(f"row {i}", name, seconds)
        for i in range(FOLD_ROWS + 1)
        for name, seconds in (("NumPy", 1e-6), ("fastdnn", 2e-6))
    ]
    text = report(measured(*rows))
    assert text.index("<details>") < text.index("| row 30 |") < text.index("</details>")
    assert text.index("</details>") < text.index("slower in 31 of 31 rows: row 0, row 1")
    assert "<details>" not in report(measured(*rows[:-2]))


def test_a_contestant_alone_is_shown_without_a_ratio() -> None:
    text = report(measured(entry("tiny", "NumPy", 1e-6)))
    assert "| tiny | **1.00** | - |" in text and "Nothing to compare." in text


def test_benchmarks_without_contestants_are_left_out() -> None:
    other = {"name": "test_fit", "extra_info": {"ratio": 9.0}, "stats": {"min": 1.0}}
    assert len(read_rows(measured(other, *TWO_ROWS))) == 2
    for nothing in ((), (other,)):
        with pytest.raises(ValueError, match="benchmark-enable"):
            read_rows(measured(*nothing))


def test_the_command_updates_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, readme = tmp_path / "bench.json", tmp_path / "README.md"
    source.write_text(json.dumps(measured(*TWO_ROWS)))
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):  # a second time changes nothing
        assert main([str(source), "--readme", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\na processor") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text and text.count("| tiny |") == 1
    assert "| tiny |" in capsys.readouterr().out


@pytest.mark.parametrize("readme", ["no markers", f"{BEGIN} only", f"{END}{BEGIN}"])
def test_a_readme_without_markers_stops_the_command(readme: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(measured(*TWO_ROWS)))
    (tmp_path / "README.md").write_text(readme)
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "bench.json"), "--readme", str(tmp_path / "README.md")])
    assert stop.value.code == 2
    assert (tmp_path / "README.md").read_text() == readme


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_a_file_that_is_no_benchmark_stops_the_command(text: str | None, tmp_path: Path) -> None:
    source = tmp_path / "bench.json"
    if text is not None:
        source.write_text(text)
    with pytest.raises(SystemExit) as stop:
        main([str(source)])
    assert stop.value.code == 2


def test_the_block_goes_between_its_own_markers() -> None:
    assert (
        markdown.replace_between("<a>1</a><b>2</b>", "3", "<b>", "</b>") == "<a>1</a><b>\n3\n</b>"
    )


# --- what the benchmarks note ---------------------------------------------------------------------


class Stopwatch:
    """Stands for pytest-benchmark's fixture."""

    def __init__(self, *, disabled: bool) -> None:
        self.disabled = disabled
        self.group: str | None = None
        self.extra_info: dict[str, Any] = {}
        self.options: dict[str, Any] = {}

    def pedantic(self, function: Any, args: tuple[Any, ...], **options: Any) -> None:
        options["setup"]()
        function(*args)
        self.options = {"args": args, **options}


class Session:
    """Counts the steps since the last start."""

    steps = 0

    def reset(self) -> None:
        self.steps = 0

    def run(self, steps: int) -> None:
        self.steps += steps

    def outputs(self) -> Any:
        raise AssertionError("nobody asks")


NOTES = {"table": "Steps", "row": "tiny", "dtype": "float32", "contestant": "NumPy"}


def test_a_disabled_benchmark_makes_one_step_after_a_first_one() -> None:
    watch, session = Stopwatch(disabled=True), Session()
    timing.time_session(watch, session, **NOTES)
    assert session.steps == 2
    assert watch.group == "tiny, float32" and watch.extra_info == {**NOTES, "steps": 1}


@pytest.mark.parametrize(
    ("options", "steps"), [({}, 10), ({"seconds": timing.FIT_SECONDS}, 200)], ids=["usual", "fit"]
)
def test_an_enabled_benchmark_notes_the_steps_of_a_round(
    options: dict[str, float], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which each takes a millisecond."""
    monkeypatch.setattr(timing, "calibrate", lambda session, seconds, least: round(1e3 * seconds))
    monkeypatch.setattr(timing, "PAUSE", 0.0)
    watch, session = Stopwatch(disabled=False), Session()
    timing.time_session(watch, session, **NOTES, **options)
    assert session.steps == 1 + steps and watch.extra_info["steps"] == steps
    assert watch.options["args"] == (steps,) and watch.options["rounds"] == timing.ROUNDS
