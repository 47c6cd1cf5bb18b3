"""A profile as text for a terminal."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .results import Profile, Row

HEADER = (
    "stage", "layer", "shape", "NumPy us", "fastdnn us", "speed-up", "GFLOP/s", "GB/s",
    "flop/byte", "% roofline",
)  # fmt: skip
TEXT_COLUMNS = 3
NOTE_WIDTH = 100
BUSY = 1.0  # load average: one process beside this one


def as_text(profile: Profile) -> str:
    """The table with what it was measured on above, and how to read it below."""
    peaks = profile.peaks
    head = (
        f"{profile.network}\n"
        f"batch {profile.batch}, {profile.dtype}, threads {profile.n_threads}, "
        f"{profile.processor}: peak {peaks['flops'] / 1e9:.0f} GFLOP/s, "
        f"memory {peaks['bandwidth'] / 1e9:.0f} GB/s (measured)"
    )
    return "\n".join([head, "", *_lines(profile), "", *_notes(profile)])


def layer_ranges(layers: tuple[int, ...]) -> str:
    """Numbers of layers, runs folded.

    Examples
    --------
    >>> layer_ranges((1,)), layer_ranges((2, 3, 4, 6)), layer_ranges(())
    ('1', '2-4,6', 'all')
    """
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs) or "all"


def digits(value: float) -> str:
    """Three significant digits without an exponent.

    Examples
    --------
    >>> digits(0.01234), digits(3.14159), digits(1234567.0), digits(0.0)
    ('0.0123', '3.14', '1,230,000', '0')
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(rounded)))}f}"


def _lines(profile: Profile) -> list[str]:
    cells = [HEADER, *map(_cells, profile.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for number, row in enumerate(cells):
        texts = [
            cell.ljust(width) if column < TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        slower = number and profile.rows[number - 1].speedup < 1
        lines.append("  ".join(texts) + ("  slower" if slower else ""))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.stage,
        layer_ranges(row.layers),
        row.shape,
        digits(row.numpy_seconds * 1e6),
        digits(row.fastdnn_seconds * 1e6),
        digits(row.speedup),
        digits(row.flops_per_second / 1e9),
        digits(row.bytes_per_second / 1e9),
        digits(row.intensity),
        f"{100 * row.roofline_share:.0f}",
    )


def _notes(profile: Profile) -> list[str]:
    losing = "; ".join(
        f"{row.stage} of layer {layer_ranges(row.layers)}" if row.layers else row.stage
        for row in profile.losing
    )
    first = sum(row.first_call_seconds for row in profile.rows)
    notes = [
        f"Slower than NumPy: {losing or 'nothing'}.",
        "Stages are stand-alone calls of fastdnn.functional on the same arrays. In train_step and "
        "fit they are fused into one compiled call, so they add up to more than the step. Layers "
        "of one shape are timed once.",
        "Rates and % roofline are fastdnn's; above 100 % where data stay in a cache instead of "
        "memory, and in fit where it trains few examples of many features in their span: its steps "
        "have fewer operations than those that are counted.",
        f"First calls, which compile or read the cache of compiled kernels, took {first:.2f} s "
        "and are not in the times.",
    ]
    if profile.load is not None and profile.load > BUSY:
        notes.append(
            f"The machine was not idle: load average {profile.load:.1f} at the start. Threads that "
            "wait for each other suffer most, so the times of both sides may be far too long."
        )
    return [line for note in notes for line in textwrap.wrap(note, NOTE_WIDTH)]
