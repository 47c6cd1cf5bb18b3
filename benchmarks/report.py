"""The README's table from what pytest-benchmark measured.

::

    python -m pytest benchmarks --benchmark-enable --benchmark-only --benchmark-json=bench.json
    python -m benchmarks.report bench.json --readme README.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.idle import busy
from benchmarks.markdown import fastest_bold, number, replace_between, table
from benchmarks.peers.results import geometric_mean
from benchmarks.timing import NUMPY

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
FOLD_ROWS = 30  # a longer table is folded away, its summary stays


@dataclass
class Row:
    """One thing that was timed: seconds of each contestant that did it."""

    table: str
    name: str
    dtype: str
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def speedup(self) -> float | None:
        """NumPy's time over that of fastdnn's fastest way; below 1 where fastdnn loses."""
        ours = [seconds for contestant, seconds in self.seconds.items() if contestant != NUMPY]
        return self.seconds[NUMPY] / min(ours) if ours and NUMPY in self.seconds else None


def read_rows(measured: dict[str, Any]) -> list[Row]:
    """The rows in the order in which they ran; the best round of each contestant counts.

    Benchmarks that note no contestant (see `benchmarks.timing`) are not for these tables.

    Raises
    ------
    ValueError
        If there is nothing for the tables.
    """
    rows: dict[tuple[str, str, str], Row] = {}
    for entry in measured.get("benchmarks", []):
        about = entry["extra_info"]
        if "contestant" not in about:
            continue
        key = about["table"], about["row"], about["dtype"]
        row = rows.setdefault(key, Row(*key))
        row.seconds[about["contestant"]] = entry["stats"]["min"] / about["steps"]
    if not rows:
        raise ValueError("no benchmark was timed: run pytest benchmarks with --benchmark-enable")
    return list(rows.values())


def markdown(measured: dict[str, Any]) -> str:
    """The whole report: what it was measured on, and a table for each kind and dtype."""
    rows = read_rows(measured)
    parts = [_how(measured)]
    for title in dict.fromkeys(row.table for row in rows):
        for dtype in dict.fromkeys(row.dtype for row in rows):
            chosen = [row for row in rows if (row.table, row.dtype) == (title, dtype)]
            if chosen:
                parts += [f"**{title}, {dtype}**, microseconds", _table(chosen), _summary(chosen)]
    return "\n\n".join(parts) + "\n"


def _how(measured: dict[str, Any]) -> str:
    machine = measured["machine_info"]
    cpu = machine.get("cpu", {})
    return (
        f"{cpu.get('brand_raw', machine['machine'])}, {cpu.get('count', '?')} threads, "
        f"{machine['system']}, Python {machine['python_version']}, {measured['datetime'][:10]}; "
        "one process, the best round of each. `python -m benchmarks.peers` has all libraries take "
        f"turns in processes of their own.{busy(machine.get('load'), measured.get('stolen'))}"
    )


def _table(rows: list[Row]) -> str:
    contestants = list(dict.fromkeys(name for row in rows for name in row.seconds))
    header = ["", *contestants, "NumPy / fastdnn"]
    cells = [
        [
            row.name,
            *fastest_bold([row.seconds.get(name) for name in contestants]),
            number(row.speedup, lambda x: f"{x:.2f}"),
        ]
        for row in rows
    ]
    text = table(header, cells, text_columns=1)
    if len(rows) <= FOLD_ROWS:
        return text
    return f"<details><summary>{len(rows)} rows</summary>\n\n{text}\n\n</details>"


def _summary(rows: list[Row]) -> str:
    ratios = {row.name: row.speedup for row in rows if row.speedup is not None}
    if not ratios:
        return "Nothing to compare."
    losing = [name for name, ratio in ratios.items() if ratio < 1]
    return (
        f"Geometric mean {geometric_mean(ratios.values()):.2f}; fastdnn is slower in "
        f"{len(losing)} of {len(ratios)} rows{': ' + ', '.join(losing) if losing else ''}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report and, where asked, put it into the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("json", type=Path, help="what --benchmark-json wrote")
    parser.add_argument("--readme", type=Path, help=f"file to update between {BEGIN} and {END}")
    options = parser.parse_args(arguments)
    try:
        text = markdown(json.loads(options.json.read_text()))
        if options.readme:
            readme = replace_between(options.readme.read_text(), text, BEGIN, END)
            options.readme.write_text(readme)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
