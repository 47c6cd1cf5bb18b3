"""Pictures: what is drawn, where it goes, and what happens without matplotlib."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

import fastdnn
from fastdnn import plotting

pytestmark = pytest.mark.extras

PNG = b"\x89PNG\r\n"

needs_matplotlib = pytest.mark.skipif(not plotting.available(), reason="needs matplotlib")


def history(**changes):
    given = {
        "cost": [0.7, 0.4, 0.2, 0.1],
        "validation_cost": [0.8, 0.5, 0.4, 0.6],
        "best_epoch": 2,
    }
    return fastdnn.History(**given | changes)


def lines(figure):
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


@needs_matplotlib
def test_the_curves_start_at_epoch_one_and_the_best_is_marked():
    drawn = lines(plotting.plot_history(history(), io.BytesIO()))
    assert drawn["training"] == [[1, 0.7], [2, 0.4], [3, 0.2], [4, 0.1]]
    assert drawn["validation"] == [[1, 0.8], [2, 0.5], [3, 0.4], [4, 0.6]]
    assert drawn["best: epoch 3"] == [[3, 0.4]]


@needs_matplotlib
def test_without_validation_there_is_one_curve():
    figure = plotting.plot_history(history(validation_cost=[], best_epoch=None), io.BytesIO())
    assert list(lines(figure)) == ["training"]


@needs_matplotlib
@pytest.mark.parametrize(
    ("costs", "scale"), [([0.7, 0.4], "log"), ([0.7, 0.0], "linear"), ([0.7, -0.1], "linear")]
)
def test_costs_are_drawn_on_a_logarithmic_axis_where_they_have_a_logarithm(costs, scale):
    figure = plotting.plot_history(
        history(cost=costs, validation_cost=[], best_epoch=None), io.BytesIO()
    )
    assert figure.axes[0].get_yscale() == scale


@needs_matplotlib
def test_a_single_epoch_is_visible():
    figure = plotting.plot_history(fastdnn.History(cost=[0.5]), io.BytesIO())
    assert figure.axes[0].lines[0].get_marker() == "o"


@needs_matplotlib
@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", PNG), ("a", PNG), ("a.svg", b"<?xml"), ("a.PNG", PNG), ("a.pdf", b"%PDF")],
)
def test_the_ending_of_the_name_says_the_format(tmp_path, name, start):
    plotting.plot_history(history(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@needs_matplotlib
def test_an_unknown_format_leaves_no_file(tmp_path):
    message = r"a\.xyz ends in '\.xyz', expected one of .*\.pdf, .*\.png, .*\.svg"
    with pytest.raises(ValueError, match=message):
        plotting.plot_history(history(), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


@needs_matplotlib
def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no completed epoch"):
        plotting.plot_history(fastdnn.History())


@needs_matplotlib
def test_without_a_path_the_figure_is_one_of_pyplots(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    figure = history().plot()
    assert pyplot.figure(figure.number) is figure
    pyplot.close(figure)


@needs_matplotlib
def test_a_picture_in_a_file_does_not_import_pyplot(tmp_path):
    script = (
        "import sys, fastdnn\n"
        f"fastdnn.History(cost=[2.0, 1.0]).plot({str(tmp_path / 'a.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / "a.png").exists()


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for path in (None, io.BytesIO()):
        with pytest.raises(ImportError, match=r"pip install 'fastdnn\[plot\]'"):
            plotting.plot_history(history(), path)


@needs_matplotlib
@pytest.mark.parametrize(
    ("costs", "labels"),
    [([2.0, 0.4], {"0.5", "1", "2"}), ([0.07, 0.03], {"0.05"}), ([1.0, 1e-9], {"1", "0.0001"})],
)
def test_costs_can_be_read_off_the_axis(costs, labels):
    figure = plotting.plot_history(fastdnn.History(cost=costs), io.BytesIO())
    low, high = figure.axes[0].get_ylim()
    there = {
        tick.get_text().replace("\N{MINUS SIGN}", "-"): tick.get_position()[1]
        for tick in figure.axes[0].get_yticklabels()
        if low <= tick.get_position()[1] <= high
    }
    assert labels <= set(there)
    assert all(float(text) == pytest.approx(place) for text, place in there.items())
