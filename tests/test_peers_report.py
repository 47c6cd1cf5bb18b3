"""What the side-by-side benchmark makes of its samples: ratios, tables, the README, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from peer_cases import TINY, finished

from benchmarks.peers import report
from benchmarks.peers.__main__ import main
from benchmarks.peers.results import microseconds, ratio, share_of_peak

# --- results and report ---------------------------------------------------------------------------


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


def test_the_mean_is_told_with_and_without_rows_above_the_peak() -> None:
    results = finished(ours=1e-6, peer=1e-4)
    results["cases"][0]["peaks"]["flops"] = [TINY.row.flops / 1e-6 / 2] * 2
    assert "fastdnn: 100.00; " in report.markdown(results)  # there is no other row
    slower = finished(ours=4e-6, peer=4e-6)["cases"][0]
    slower["row"] = {**slower["row"], "name": "other"}
    results["cases"].append({**slower, "peaks": results["cases"][0]["peaks"]})
    assert "fastdnn: 10.00 (1.00 without tiny); fastdnn is behind in" in report.markdown(results)


def test_what_is_not_compiled_is_told() -> None:
    results = finished(ours=1e-6)
    assert "are not compiled" not in report.markdown(results)
    results["contestants"]["torch-compile"] = {"status": "ran", "versions": {}, "threads": 4}
    assert "PyTorch's optimizers are not compiled" in report.markdown(results)


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
