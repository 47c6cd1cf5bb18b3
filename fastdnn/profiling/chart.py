"""A profile as a picture: bars of NumPy and fastdnn per stage, and the roofline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdnn.data.sources import import_extra
from fastdnn.plotting import ACCENT, FASTDNN, save_figure
from fastdnn.plotting import BASELINE as NUMPY

from .table import digits, layer_ranges

if TYPE_CHECKING:
    from .results import Profile, Row

INCH_PER_ROW = 0.42


def draw(profile: Profile, path: Path) -> None:
    """Write the picture; its format follows the name's ending."""
    figures = import_extra("matplotlib.figure", "plot")
    height = 2.2 + INCH_PER_ROW * len(profile.rows)
    figure = figures.Figure(figsize=(13, max(height, 5)), layout="constrained")
    bars, roofline = figure.subplots(1, 2)
    figure.suptitle(
        f"{profile.network.strip('<>')}\nbatch {profile.batch}, {profile.dtype}, "
        f"threads {profile.n_threads}, {profile.processor}"
    )
    draw_bars(bars, profile.rows)
    draw_roofline(roofline, profile)
    save_figure(figure, path)


def draw_bars(axes: Any, rows: tuple[Row, ...]) -> None:
    """Time of each stage, NumPy above fastdnn, with the speed-up beside; red where it is none."""
    places = np.arange(len(rows))
    numpy = [row.numpy_seconds * 1e6 for row in rows]
    fastdnn = [row.fastdnn_seconds * 1e6 for row in rows]
    axes.barh(places - 0.2, numpy, 0.38, color=NUMPY, label="NumPy")
    axes.barh(places + 0.2, fastdnn, 0.38, color=FASTDNN, label="fastdnn")
    for place, row, *both in zip(places, rows, numpy, fastdnn, strict=True):
        axes.annotate(
            f"{digits(row.speedup)}x", (max(both), place), (4, 0),
            textcoords="offset points", va="center", fontsize="small",
            color=ACCENT if row.speedup < 1 else "black",
        )  # fmt: skip
    axes.set_yticks(places, [f"{_label(row)} ({number})" for number, row in enumerate(rows, 1)])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("microseconds")
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)


def draw_roofline(axes: Any, profile: Profile) -> None:
    """Speed over arithmetic intensity, below min(peak, bandwidth * intensity); rows by number."""
    rows = profile.rows
    peak, bandwidth = profile.peaks["flops"], profile.peaks["bandwidth"]
    reach = np.array([row.intensity for row in rows] + [peak / bandwidth])
    intensity = np.geomspace(reach.min() / 2, reach.max() * 4, 200)
    axes.plot(intensity, np.minimum(peak, bandwidth * intensity) / 1e9, color="black")
    for name, colour, filled in (("NumPy", NUMPY, "none"), ("fastdnn", FASTDNN, FASTDNN)):
        seconds = [getattr(row, f"{name.lower()}_seconds") for row in rows]
        speeds = [row.flops / time / 1e9 for row, time in zip(rows, seconds, strict=True)]
        axes.scatter(
            [row.intensity for row in rows], speeds, facecolors=filled, edgecolors=colour,
            label=name,
        )  # fmt: skip
    for place, numbers in _places(rows).items():
        axes.annotate(
            ",".join(map(str, numbers)), place, (6, -3), textcoords="offset points",
            fontsize="small",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("arithmetic intensity, flop/byte")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"measured peak {peak / 1e9:.0f} GFLOP/s, memory {bandwidth / 1e9:.0f} GB/s")
    axes.legend(frameon=False, loc="lower right")


def _places(rows: tuple[Row, ...]) -> dict[tuple[float, float], list[int]]:
    """Where rows stand in the roofline, with the numbers of those too near to be told apart."""
    near: dict[tuple[float, float], tuple[float, float]] = {}
    places: dict[tuple[float, float], list[int]] = {}
    for number, row in enumerate(rows, 1):
        place = row.intensity, row.flops_per_second / 1e9
        rounded = round(8 * math.log10(place[0])), round(8 * math.log10(place[1]))
        places.setdefault(near.setdefault(rounded, place), []).append(number)
    return places


def _label(row: Row) -> str:
    return f"{row.stage}, layer {layer_ranges(row.layers)}" if row.layers else row.stage
