"""The tables of a run as Markdown, and their place in the README."""

from __future__ import annotations

from typing import Any

from benchmarks.idle import busy
from benchmarks.markdown import fastest_bold, number, replace_between, table
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.problem import Case
from benchmarks.peers.results import (
    OURS,
    above_the_peak,
    failures,
    geometric_mean,
    library_times,
    peak,
    ratio,
    share_of_peak,
    speed,
    times,
)

BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"
PEERS = {"numpy": "NumPy notebook", "torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn"}

CaseResult = dict[str, Any]


def markdown(results: dict[str, Any], chart: str | None = None) -> str:
    """The whole report: how it was measured, a table per dtype, every contestant, what is missing.

    Parameters
    ----------
    results : dict
        As the runner returns them.
    chart : str, optional
        Address of the picture.
    """
    parts = [_how(results)]
    if chart:
        parts.append(f"![Time of a step relative to fastdnn's]({chart})")
    for dtype in ("float32", "float64"):
        cases = networks(results, dtype)
        if cases:
            parts += [f"**{dtype}**, microseconds per step", _main_table(cases, results["cases"])]
            parts += _mean_of_ratios(cases, results["cases"])
    products = [case for case in results["cases"] if Case.from_json(case).product]
    if products:
        parts += ["Square products W X, microseconds", _product_table(products, results["cases"])]
    parts.append(_every_contestant(results))
    parts += _not_there(results)
    return "\n\n".join(parts) + "\n"


def networks(results: dict[str, Any], dtype: str) -> list[CaseResult]:
    """The cases of one dtype that are networks, not products alone."""
    cases = [case for case in results["cases"] if case["dtype"] == dtype]
    return [case for case in cases if not Case.from_json(case).product]


def insert(readme: str, block: str) -> str:
    """The README with this block between its markers.

    Raises
    ------
    ValueError
        If the markers are not there, once each and in order.
    """
    return replace_between(readme, block, BEGIN, END)


def _how(results: dict[str, Any]) -> str:
    machine, settings = results["machine"], results["settings"]
    versions: dict[str, str] = {}
    for about in results["contestants"].values():
        versions.update(about.get("versions", {}))
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        f"{machine['cpu']}, {machine['threads']} threads, {machine['system']}, {machine['date']}; "
        f"Python {machine['python']}, {listed}. One process per contestant, measured in turns; "
        f"the best of {settings['rounds']} rounds of {settings['seconds']:g} s counts. "
        f"A library's column has the fastest of its ways (eager or compiled, all threads or one, "
        f"a call per step or the loop inside).{_compiled(results['contestants'])} "
        f"A share is of the highest peak "
        f"in the run{_told_above_the_peak(results['cases'])}. "
        f"{_limits(results['cases'])}"
        f"{busy(machine['load'], machine.get('stolen'))}"
    )


def _compiled(contestants: dict[str, Any]) -> str:
    """What is not compiled although it might be."""
    if not any(
        about["status"] == "ran" and CONTESTANTS[name].options.get("compiled")
        for name, about in contestants.items()
    ):
        return ""
    return " PyTorch's optimizers are not compiled: most steps took longer with compiled ones."


def _told_above_the_peak(cases: list[CaseResult]) -> str:
    above = {_label(case) for case in cases if above_the_peak(case, cases)}
    if not above:
        return ""
    return (
        f" (above 100 in {', '.join(sorted(above))}: fastdnn came to the result with fewer "
        "operations than the products of a step have)"
    )


def _limits(cases: list[CaseResult]) -> str:
    found = []
    for dtype in ("float32", "float64"):
        flops = peak(cases, dtype)
        if flops:
            found.append(f"{flops / 1e9:.0f} GFLOP/s in {dtype}")
    bandwidth = [rate for case in cases for rate in case["peaks"]["bandwidth"]]
    if not found or not bandwidth:
        return "The machine's own limits were not measured."
    return (
        f"The machine's own limits in the same run: fused multiply-adds in registers "
        f"{' and '.join(found)}, memory {max(bandwidth) / 1e9:.0f} GB/s."
    )


RATES = ["GFLOP/s", "% of peak", "best peer / fastdnn"]


def _rates(case: CaseResult, run: list[CaseResult]) -> list[str]:
    """The cells below `RATES`."""
    return [
        number(speed(case), lambda x: f"{float(f'{x / 1e9:.3g}'):,g}"),
        number(share_of_peak(case, run), lambda x: f"{100 * x:.0f}"),
        number(ratio(case), lambda x: f"{x:.2f}"),
    ]


def _peers_in(cases: list[CaseResult]) -> list[str]:
    return [name for name in PEERS if any(name in library_times(case) for case in cases)]


def _main_table(cases: list[CaseResult], run: list[CaseResult]) -> str:
    peers = _peers_in(cases)
    header = ["row", "network", "batch", "`fit`", "per call", *(PEERS[name] for name in peers)]
    header += RATES
    rows = []
    for case in cases:
        label, row = _label(case), case["row"]
        each = times(case)
        shown = [each.get("fastdnn-fit"), each.get("fastdnn-step")]
        shown += [library_times(case).get(name) for name in peers]
        rows.append(
            [
                label,
                _network(case),
                f"{row['batch']:,}",
                *fastest_bold(shown),
                *_rates(case, run),
            ]
        )
    return table(header, rows, text_columns=2)


def _product_table(cases: list[CaseResult], run: list[CaseResult]) -> str:
    peers = _peers_in(cases)
    header = ["product", "dtype", "fastdnn", *(PEERS[name].split()[0] for name in peers)]
    header += RATES
    rows = [
        [
            _label(case),
            case["dtype"],
            *fastest_bold([library_times(case).get(name) for name in (OURS, *peers)]),
            *_rates(case, run),
        ]
        for case in cases
    ]
    return table(header, rows, text_columns=2)


def _mean_of_ratios(cases: list[CaseResult], run: list[CaseResult]) -> list[str]:
    """Of all rows, and without those that say nothing of the speed of the same operations."""
    ratios = {_label(case): value for case in cases if (value := ratio(case)) is not None}
    if not ratios:
        return []
    fewer = [_label(case) for case in cases if above_the_peak(case, run)]
    same = [value for label, value in ratios.items() if label not in fewer]
    without = f" ({geometric_mean(same):.2f} without {', '.join(fewer)})" if fewer and same else ""
    behind = sum(value < 1 for value in ratios.values())
    return [
        f"Geometric mean of best peer / fastdnn: {geometric_mean(ratios.values()):.2f}{without}; "
        f"fastdnn is behind in {behind} of {len(ratios)} rows."
    ]


def _every_contestant(results: dict[str, Any]) -> str:
    names = [name for name, about in results["contestants"].items() if about["status"] == "ran"]
    header = ["row", "dtype", *(CONTESTANTS[name].title for name in names)]
    rows = [
        [_label(case), case["dtype"], *fastest_bold([times(case).get(name) for name in names])]
        for case in results["cases"]
    ]
    every = table(header, rows, text_columns=2)
    return f"<details><summary>Every contestant</summary>\n\n{every}\n\n</details>"


def _not_there(results: dict[str, Any]) -> list[str]:
    """What a reader would miss: who was skipped, and who failed or computed something else."""
    skipped = [a["why"] for a in results["contestants"].values() if a["status"] == "skipped"]
    failed = [text.partition("\n")[0] for text in failures(results)]
    lines = skipped + failed
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _label(case: CaseResult) -> str:
    return Case.from_json(case).label


def _network(case: CaseResult) -> str:
    row = Case.from_json(case).row
    return f"{row.network} {row.output_activation}"
