"""Pictures: the cost curve of a training, and what all pictures of the package share.

Takes plain data. matplotlib is imported when a picture is drawn, and a picture that goes into a
file never touches pyplot, so it needs no display and leaves no open figure behind.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Protocol

FASTDNN, BASELINE, ACCENT, MUTED = "#0b6e4f", "#8d99ae", "#d1495b", "#dddddd"

DOTS_PER_INCH = 150

MISSING = "matplotlib is missing: pip install 'fastdnn[plot]'"

# A range of costs larger than this has powers of ten enough to be read by.
LABELLED_POWERS = 1e4


class Curves(Protocol):
    """What `plot_history` reads of a `fastdnn.History`."""

    @property
    def cost(self) -> Sequence[float]: ...  # noqa: D102

    @property
    def validation_cost(self) -> Sequence[float]: ...  # noqa: D102

    @property
    def best_epoch(self) -> int | None: ...  # noqa: D102


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(
    columns: int = 1, *, size: tuple[float, float] = (6.4, 4.0), screen: bool = False
) -> tuple[Any, list[Any]]:
    """A figure with ``columns`` axes side by side, in the style of the package.

    Parameters
    ----------
    columns : int
    size : tuple of float
        Inches of one of the axes.
    screen : bool
        Make it one of pyplot's, for a window or a notebook.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : list of matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    module = "matplotlib.pyplot" if screen else "matplotlib.figure"
    try:
        matplotlib: Any = importlib.import_module(module)
    except ImportError as error:
        raise ImportError(MISSING) from error
    make = matplotlib.figure if screen else matplotlib.Figure
    figure = make(figsize=(size[0] * columns, size[1]), layout="constrained")
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color=MUTED, linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def picture_format(path: str | os.PathLike[str]) -> str:
    """The format that the ending of a picture's name says: ahead of what is long to draw.

    Raises
    ------
    ValueError
        If matplotlib cannot write it.
    ImportError
        If matplotlib is missing.
    """
    try:
        backends: Any = importlib.import_module("matplotlib.backend_bases")
    except ImportError as error:
        raise ImportError(MISSING) from error
    suffix = Path(path).suffix
    known = backends.FigureCanvasBase.get_supported_filetypes()
    name = suffix[1:].lower() or "png"
    if name not in known:
        endings = ", ".join(f".{ending}" for ending in sorted(known))
        raise ValueError(f"{os.fspath(path)} ends in {suffix!r}, expected one of {endings}")
    return name


def save_figure(figure: Any, path: str | os.PathLike[str] | IO[bytes]) -> None:
    """Write a figure: to a file in the format its ending names, or to an open file as PNG.

    The picture is drawn before the file is opened, so an error leaves no broken file.

    Raises
    ------
    ValueError
        If the name ends in no format of a picture.
    """
    drawn = BytesIO()
    if isinstance(path, str | os.PathLike):
        target = Path(path)
        figure.savefig(drawn, dpi=DOTS_PER_INCH, format=picture_format(target))
        target.write_bytes(drawn.getvalue())
    else:
        figure.savefig(drawn, dpi=DOTS_PER_INCH, format="png")
        path.write(drawn.getvalue())


def plot_history(history: Curves, path: str | os.PathLike[str] | IO[bytes] | None = None) -> Any:
    """Draw the cost of every epoch, on the validation data too, and mark the best epoch.

    The axis of costs is logarithmic where all of them are positive.

    Parameters
    ----------
    history : History
    path : str, PathLike, or binary file, optional
        Where to write the picture. Without it the figure is one of pyplot's, so that
        ``plt.show()`` or a notebook shows it.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If no epoch was completed, or the name of the file ends in no format of a picture.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> import io, fastdnn
    >>> history = fastdnn.History(cost=[0.7, 0.4, 0.3])
    >>> plot_history(history, io.BytesIO()).axes[0].get_xlabel()
    'epoch'
    """
    if not history.cost:
        raise ValueError("history has no completed epoch, nothing can be drawn")
    figure, (axes,) = new_figure(screen=path is None)
    # A single point makes no line.
    marker = "o" if len(history.cost) == 1 else None
    axes.plot(_epochs(history.cost), history.cost, color=FASTDNN, marker=marker, label="training")
    validation, best = history.validation_cost, history.best_epoch
    if validation:
        axes.plot(_epochs(validation), validation, color=ACCENT, marker=marker, label="validation")
    if validation and best is not None:
        axes.axvline(best + 1, color=BASELINE, linestyle="--", linewidth=0.9)
        axes.plot(best + 1, validation[best], "o", color=ACCENT, label=f"best: epoch {best + 1}")
    if min((*history.cost, *validation)) > 0:
        _logarithmic(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cost")
    axes.legend(frameon=False)
    if path is not None:
        save_figure(figure, path)
    return figure


def _logarithmic(axes: Any) -> None:
    """A logarithmic axis of costs with numbers to read them by, also within one power of ten."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticker: Any = importlib.import_module("matplotlib.ticker")
    digits = (1.0,) if high > LABELLED_POWERS * low else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=digits))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _epochs(values: Sequence[float]) -> range:
    return range(1, len(values) + 1)
