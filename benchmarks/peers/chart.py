"""The picture of a run: for each row, every library's time relative to fastdnn's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.peers.problem import Case
from benchmarks.peers.report import PEERS, networks
from benchmarks.peers.results import OURS, library_times

COLOURS = {
    "fastdnn": "#0b6e4f",
    "numpy": "#8d99ae",
    "torch": "#d1495b",
    "jax": "#3366aa",
    "sklearn": "#edae49",
}
MARKERS = {"fastdnn": "D", "numpy": "o", "torch": "s", "jax": "^", "sklearn": "v"}


def draw(results: dict[str, Any], stem: Path) -> list[Path]:
    """Write ``stem.png`` and ``stem.svg``; one panel per dtype, one line per network.

    Where fastdnn was not measured, times are relative to the fastest library. Nothing is written
    if no network was measured.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "peers"  # the same picture is the same file
    from matplotlib import pyplot as plt

    dtypes = [dtype for dtype in ("float32", "float64") if networks(results, dtype)]
    if not dtypes:
        return []
    tallest = max(len(networks(results, dtype)) for dtype in dtypes)
    figure, panels = plt.subplots(
        1,
        len(dtypes),
        squeeze=False,
        sharex=True,
        figsize=(1.5 + 4.2 * len(dtypes), 1.4 + 0.36 * tallest),
        layout="constrained",
    )
    for axes, dtype in zip(panels[0], dtypes, strict=True):
        _panel(axes, networks(results, dtype))
        axes.set_title(dtype)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    figure.savefig(paths[0], dpi=150)
    figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths


def _panel(axes: Any, cases: list[dict[str, Any]]) -> None:
    relative = [_relative(library_times(case)) for case in cases]
    for height, row in enumerate(relative):
        if row:
            axes.plot([min(row.values()), max(row.values())], [height] * 2, color="#dddddd")
    for name, title in {OURS: OURS, **PEERS}.items():
        points = [(row[name], height) for height, row in enumerate(relative) if name in row]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            MARKERS[name],
            color=COLOURS[name],
            label=title,
        )
    axes.axvline(1, color=COLOURS[OURS], linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    measured = any(OURS in library_times(case) for case in cases)
    axes.set_xlabel(f"time of a step / {'fastdnn' if measured else 'the fastest'}'s")
    axes.set_yticks(range(len(cases)), [Case.from_json(case).label for case in cases])
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _relative(seconds: dict[str, float]) -> dict[str, float]:
    unit = seconds.get(OURS) or min(seconds.values(), default=1.0)
    return {name: value / unit for name, value in seconds.items()}
