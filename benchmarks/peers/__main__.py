"""Command line of the side-by-side benchmark.

Examples
--------
::

    python -m benchmarks.peers                                  # the whole grid
    python -m benchmarks.peers --rows tiny,digits --dtype float32 --quick
    python -m benchmarks.peers --layers 300,100,50,3 --batch 333 --output softmax
    python -m benchmarks.peers --interpreter torch=/envs/torch/bin/python --contestants numpy,torch
    python -m benchmarks.peers --from benchmarks/results/peers.json --readme README.md
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.grid import ROWS, Row, find_rows
from benchmarks.peers import report
from benchmarks.peers.contestants import CONTESTANTS, find_contestants
from benchmarks.peers.problem import Case
from benchmarks.peers.results import failures
from benchmarks.peers.runner import Settings, run

QUICK = Settings(rounds=2, seconds=0.02, least=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure (or read) and report; 1 if a contestant failed or disagreed, else 0."""
    parser = _parser()
    options = parser.parse_args(arguments)
    path = options.source or options.out / "peers.json"
    if options.source:
        results = json.loads(path.read_text())
    else:
        try:
            cases = _cases(options)
            names = find_contestants(options.contestants)
            settings = _settings(options)
        except ValueError as error:
            parser.error(str(error))
        path.parent.mkdir(parents=True, exist_ok=True)
        results = run(cases, names, settings, save=lambda so_far: _write(path, so_far))
    chart = _draw(results, path.with_suffix(""))
    path.with_suffix(".md").write_text(report.markdown(results, chart.name if chart else None))
    print(report.markdown(results))
    if options.readme:
        _update_readme(options.readme, results, chart)
    wrong = failures(results)
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="fastdnn beside NumPy, PyTorch, JAX and scikit-learn.",
    )
    add = parser.add_argument
    add("--rows", help=f"rows of the grid: {','.join(row.name for row in ROWS)}")
    add("--layers", help="a network of your own instead, e.g. 300,100,50,3")
    add("--batch", type=int, default=128, help="examples of your network's batch")
    add("--hidden", default="relu", help="hidden activation of your network")
    add("--output", default="softmax", choices=("sigmoid", "softmax", "identity"))
    add("--inference", action="store_true", help="forward passes of your network only")
    add("--dtype", default="both", choices=("float32", "float64", "both"))
    add("--optimizer", default="both", choices=("sgd", "adam", "both"))
    add("--contestants", default=",".join(CONTESTANTS), help="names of contestants or libraries")
    add(
        "--interpreter",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="run a contestant or library under another Python",
    )
    add("--rounds", type=int, help="turns of each contestant (default 7)")
    add("--seconds", type=float, help="duration of a turn (default 0.2)")
    add("--quick", action="store_true", help="two short turns: shows that all works")
    add("--no-limits", action="store_true", help="leave out the machine's own limits")
    add("--out", type=Path, default=Path("benchmarks/results"), help="folder of the results")
    add("--from", dest="source", type=Path, help="report these results instead of measuring")
    add("--readme", type=Path, help=f"file to update between {report.BEGIN} and {report.END}")
    return parser


def _cases(options: argparse.Namespace) -> list[Case]:
    """All combinations asked for, dtype by dtype in the order of the grid."""
    if options.layers:
        rows = [_own_row(options)]
    else:
        rows = find_rows(options.rows) if options.rows else list(ROWS)
    dtypes = ("float32", "float64") if options.dtype == "both" else (options.dtype,)
    cases = [
        Case(row, dtype, optimizer)
        for dtype in dtypes
        for row in rows
        for optimizer in _optimizers(row, options.optimizer)
    ]
    if not cases:
        raise ValueError("nothing to measure: none of these rows is measured with Adam")
    return cases


def _optimizers(row: Row, wanted: str) -> list[str]:
    if row.kind != "train":
        return ["none"] if wanted != "adam" else []
    offered = ["sgd", "adam"] if row.adam else ["sgd"]
    return [each for each in offered if wanted in (each, "both")]


def _own_row(options: argparse.Namespace) -> Row:
    if options.rows:
        raise ValueError("--rows and --layers exclude each other")
    layer_dims = tuple(int(width) for width in options.layers.split(","))
    if len(layer_dims) < 2 or min(layer_dims) < 1 or options.batch < 1:
        raise ValueError("--layers needs two or more positive widths, --batch a positive number")
    return Row(
        name="-".join(map(str, layer_dims)),
        layer_dims=layer_dims,
        output_activation=options.output,
        batch=options.batch,
        hidden_activation=options.hidden,
        adam=True,
        kind="inference" if options.inference else "train",
    )


def _settings(options: argparse.Namespace) -> Settings:
    interpreters = {}
    for pair in options.interpreter:
        name, equals, path = pair.partition("=")
        if not equals:
            raise ValueError(f"--interpreter takes NAME=PATH, not {pair!r}")
        find_contestants(name)
        interpreters[name] = path
    settings = QUICK if options.quick else Settings()
    settings = replace(settings, interpreters=interpreters, limits=not options.no_limits)
    given = {"rounds": options.rounds, "seconds": options.seconds}
    return replace(settings, **{name: x for name, x in given.items() if x is not None})


def _write(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n")


def _draw(results: dict[str, Any], stem: Path) -> Path | None:
    try:
        from benchmarks.peers.chart import draw

        return next(reversed(draw(results, stem)), None)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        print("skipped: chart (matplotlib is not installed)", file=sys.stderr)
        return None


def _update_readme(readme: Path, results: dict[str, Any], chart: Path | None) -> None:
    address = None
    if chart:
        address = Path(os.path.relpath(chart, readme.parent)).as_posix()
    block = report.markdown(results, address)
    readme.write_text(report.insert(readme.read_text(), block))


if __name__ == "__main__":
    sys.exit(main())
