"""Checkpoints: a training that was stopped, or killed, goes on as if nothing had happened."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network_cases import assert_same_bits

import fastdnn
from fastdnn import Checkpoint, storage

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("one_thread")]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 90))
Y = (X[:1] > X[1:2]).astype(float)
HELD = X[:, :30] + 0.1, Y[:, :30]

SETTINGS: dict[str, dict[str, Any]] = {
    "full batch": {"learning_rate": 0.5},
    "full batch, adam": {"optimizer": "adam"},
    "mini-batches": {"batch_size": 16, "optimizer": "momentum"},
    "nesterov, in order": {"batch_size": 16, "optimizer": "nesterov", "shuffle": False},
    "rmsprop, clipped": {"batch_size": 16, "optimizer": "rmsprop", "clip_norm": 0.1},
    "adam, dropout": {"batch_size": 16, "optimizer": "adam", "dropout": 0.3},
    "adamw, cosine": {"batch_size": 16, "optimizer": "adamw", "schedule": "cosine"},
    "plateau": {"batch_size": 30, "schedule": "reduce_on_plateau", "learning_rate": 3.0},
    "validated": {"batch_size": 16, "optimizer": "adam", "validation_data": HELD},
    "validated plateau": {
        "batch_size": 16, "schedule": "reduce_on_plateau", "validation_data": HELD,
        "learning_rate": 3.0,
    },
    "weighted": {"batch_size": 16, "class_weight": "balanced", "sample_weight": np.arange(90.0)},
}  # fmt: skip


def network(dtype="float32"):
    return fastdnn.DNN([6, 5, 1], hidden_activation="tanh", dtype=dtype, seed=4)


def results(net: fastdnn.DNN) -> dict[str, Any]:
    history = net.history
    assert history is not None
    return {
        **net.parameters,
        "state": net._state.values,
        **{k: v for k, v in vars(history).items() if isinstance(v, list)},
        "best": history.best_epoch if history.best_epoch is not None else -1,
    }


def stopping(after: int) -> Any:
    def stop(history: fastdnn.History) -> None:
        if history.epochs == after:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SETTINGS)
def test_goes_on_to_the_same_bits(name, dtype, tmp_path):
    options = {"epochs": 25, **SETTINGS[name]}
    whole = network(dtype)
    whole.fit(X, Y, **options)
    saved = Checkpoint(tmp_path / "run.npz", every_epochs=3)
    for after in (8, 17):  # what was done after epochs 6 and 15 is lost, and done again
        with pytest.raises(KeyboardInterrupt):
            network(dtype).fit(X, Y, checkpoint=saved, callbacks=[stopping(after)], **options)
    net = network(dtype)
    net.fit(X, Y, checkpoint=saved, **options)
    assert_same_bits(results(net), results(whole))


def test_it_is_the_checkpoint_that_goes_on(tmp_path):
    """The test above would notice: without what the file holds the bits are others."""
    options = {"epochs": 6, "batch_size": 16, "optimizer": "adam", "dropout": 0.2}
    whole = network()
    whole.fit(X, Y, **options)
    path = tmp_path / "run.npz"
    saved = Checkpoint(path, every_epochs=1)
    with pytest.raises(KeyboardInterrupt):
        network().fit(X, Y, checkpoint=saved, callbacks=[stopping(4)], **options)
    header, arrays = storage.load_arrays(path, kind="checkpoint")
    for change in ("state", "parameters"):
        other = {**arrays, change: arrays[change] + np.float32(0.1)}
        storage.save_arrays(path, header, other, kind="checkpoint")
        net = network()
        net.fit(X, Y, checkpoint=path, **options)
        with pytest.raises(AssertionError):
            assert_same_bits(net.parameters, whole.parameters)


def test_early_stopping_goes_on_waiting(tmp_path):
    options = {
        "epochs": 500, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.05,
        "validation_data": (HELD[0], 1 - HELD[1]), "early_stopping": 6,
    }  # fmt: skip
    whole = network()
    epochs = whole.fit(X, Y, **options).epochs
    assert whole.history.stopped_early
    path = tmp_path / "run.npz"
    saved = Checkpoint(path, every_epochs=1)
    with pytest.raises(KeyboardInterrupt):
        network().fit(X, Y, checkpoint=saved, callbacks=[stopping(epochs - 3)], **options)
    for _ in range(2):  # the second time it had stopped already
        net = network()
        assert net.fit(X, Y, checkpoint=path, **options).stopped_early
        assert_same_bits(results(net), results(whole))


def test_a_training_that_stopped_goes_on_where_nothing_stops_it_now(tmp_path):
    """What says when to stop may be another the next time: it is asked again."""
    settings = {"epochs": 12, "batch_size": 16, "learning_rate": 0.05}
    worse = {"validation_data": (HELD[0], 1 - HELD[1])}
    path = tmp_path / "run.npz"
    first = network().fit(X, Y, **settings, **worse, early_stopping=2, checkpoint=path)
    assert first.stopped_early and first.epochs < 8
    again = network().fit(X, Y, **settings, **worse, early_stopping=1, checkpoint=path)
    assert again.stopped_early and again.epochs == first.epochs
    net, whole = network(), network()
    assert not net.fit(X, Y, **settings, **worse, checkpoint=path).stopped_early
    whole.fit(X, Y, **settings, **worse)
    assert_same_bits(results(net), results(whole))

    path.unlink()
    enough = [lambda history: history.epochs < 3]
    for _ in range(2):
        history = network().fit(X, Y, **settings, callbacks=enough, checkpoint=path)
        assert history.stopped_early and history.epochs == 3
    assert network().fit(X, Y, **settings, checkpoint=path).epochs == 12


def test_more_epochs_than_before(tmp_path):
    path, whole = tmp_path / "run.npz", network()
    whole.fit(X, Y, epochs=9, batch_size=16)
    network().fit(X, Y, epochs=4, batch_size=16, checkpoint=str(path))
    net = network()
    assert net.fit(X, Y, epochs=9, batch_size=16, checkpoint=path).epochs == 9
    assert_same_bits(results(net), results(whole))


def test_saves_as_often_as_it_should(tmp_path, monkeypatch):
    saves = []
    save = storage.save_arrays

    def spy(path, header, arrays, *, kind):
        saves.append(len(arrays["cost"]))
        save(path, header, arrays, kind=kind)

    monkeypatch.setattr(storage, "save_arrays", spy)
    for options, expected in [
        ({}, [7]),  # a minute has not passed
        ({"every_epochs": 3}, [3, 6, 7]),
        ({"every_seconds": 0}, [1, 2, 3, 4, 5, 6, 7, 7]),
    ]:
        saves.clear()
        saved = Checkpoint(tmp_path / f"{len(expected)}.npz", **options)
        network().fit(X, Y, epochs=7, batch_size=16, checkpoint=saved)
        assert saves == expected


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 17}, "batch_size"),
        ({"optimizer": "adam"}, "optimizer or its settings"),
        ({"learning_rate": 0.2}, "optimizer or its settings"),
        ({"dropout": 0.1}, "dropout or clip_norm"),
        ({"shuffle": False}, "shuffle"),
        ({"schedule": "cosine"}, "optimizer or its settings"),
        ({"sample_weight": np.arange(90.0)}, "sample_weight or class_weight"),
        ({"class_weight": {1: 2.0}}, "sample_weight or class_weight"),
        ({"validation_data": HELD}, "validation_data"),
        ({"validation_data": HELD, "shuffle": False}, "shuffle, validation_data"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, change, named):
    path = tmp_path / "run.npz"
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "checkpoint": path}
    network().fit(X, Y, **options)
    net = network()
    net.fit(X, Y, epochs=2, optimizer="rmsprop")  # whose state the others have no use for
    before = copy.deepcopy(results(net))
    message = rf"run\.npz.*other arguments of fit \({named}\); remove it"
    with pytest.raises(storage.FileFormatError, match=message):
        net.fit(X, Y, **options | change)
    assert_same_bits(results(net), before)
    with pytest.raises(storage.FileFormatError, match=r"another network .* \(network, X, Y\)"):
        network("float64").fit(X, Y, **options)
    with pytest.raises(storage.FileFormatError, match=r"another network .* \(X, Y\)"):
        network().fit(X[:, 1:], Y[:, 1:], **options)
    path.unlink()
    network().fit(X, Y, **options | change)
    with pytest.raises(storage.FileFormatError, match=message):
        net.fit(X, Y, **options)
    assert_same_bits(results(net), before)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": np.zeros(3, np.float32)}, {"state": np.zeros(3, np.float32)},
        {"cost": np.zeros((2, 2))}, {"cost": None}, {"parameters": None},
        {"step": -1}, {"step": "2"}, {"rng": None}, {"rng": {"bit_generator": "MT19937"}},
        {"best_epoch": "x"}, {"rate": "x"}, {"best_cost": 0.1},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_one_clear_error(tmp_path, change):
    path = tmp_path / "run.npz"
    options: dict[str, Any] = {
        "epochs": 4, "batch_size": 16, "checkpoint": path, "validation_data": HELD,
        "schedule": "reduce_on_plateau",
    }  # fmt: skip
    network().fit(X, Y, **options)
    header, arrays = storage.load_arrays(path, kind="checkpoint")
    for name, value in change.items():
        part = header if name in header else arrays
        part[name] = value
        if part is arrays and value is None:
            del arrays[name]
    if "best_cost" in change:
        del arrays["best"]
    storage.save_arrays(path, header, arrays, kind="checkpoint")
    net = network()
    net.fit(X, Y, epochs=2, optimizer="rmsprop")
    before = copy.deepcopy(results(net))
    with pytest.raises(storage.FileFormatError, match="cannot continue from it"):
        net.fit(X, Y, **options)
    assert_same_bits(results(net), before)


def test_a_checkpoint_with_an_argument_that_fit_does_not_have_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    network().fit(X, Y, epochs=2, checkpoint=path)
    header, arrays = storage.load_arrays(path, kind="checkpoint")
    header["identity"]["precision"] = "high"
    storage.save_arrays(path, header, arrays, kind="checkpoint")
    with pytest.raises(storage.FileFormatError, match=r"other arguments of fit \(precision\)"):
        network().fit(X, Y, epochs=4, checkpoint=path)


def test_a_model_file_is_no_checkpoint(tmp_path):
    network().save(tmp_path / "net.npz")
    with pytest.raises(storage.FileFormatError, match=r"net\.npz"):
        network().fit(X, Y, checkpoint=tmp_path / "net.npz")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(storage.FileFormatError, match="not a fastdnn file"):
        network().fit(X, Y, checkpoint=tmp_path / "text")


KILLED = """
import sys, time
import numpy as np
import fastdnn
from test_checkpoints import HELD, X, Y, network

def slowly(history):
    print(history.epochs, flush=True)
    time.sleep(0.002)

network().fit(
    X, Y, epochs=300, batch_size=16, optimizer="adam", dropout=0.2, schedule="cosine",
    validation_data=HELD, callbacks=[slowly],
    checkpoint=fastdnn.Checkpoint(sys.argv[1], every_epochs=1),
)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_again_and_again(tmp_path):
    """kill -9 at any moment, in the middle of writing too."""
    options = {
        "epochs": 300, "batch_size": 16, "optimizer": "adam", "dropout": 0.2,
        "schedule": "cosine", "validation_data": HELD,
    }  # fmt: skip
    whole = network()
    whole.fit(X, Y, **options)
    path, tests = tmp_path / "run.npz", str(Path(__file__).parent)
    first_epochs = []
    for epochs in (1, 30, 47, 55):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, str(Path(tests).parent)])},
            stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            lines = [process.stdout.readline() for _ in range(epochs)]
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        first_epochs.append(int(lines[0]))
    assert first_epochs[0] == 1
    assert (np.diff(first_epochs) >= [0, 29, 46]).all(), first_epochs
    net = network()
    net.fit(X, Y, checkpoint=path, **options)
    assert_same_bits(results(net), results(whole))
    leftover = {p.name for p in tmp_path.iterdir()} - {"run.npz"}
    assert len(leftover) <= 4  # at most one unfinished file for each kill


def test_a_training_that_has_ended_is_not_trained_again(tmp_path):
    path, options = tmp_path / "run.npz", {"epochs": 5, "batch_size": 16, "optimizer": "adam"}
    whole = network()
    whole.fit(X, Y, checkpoint=path, **options)
    net, trained = network(), []
    net.fit(X, Y, checkpoint=path, callbacks=[trained.append], **options)
    assert trained == []
    assert_same_bits(results(net), results(whole))


@pytest.mark.parametrize(
    "damage",
    [
        lambda header, arrays: header.pop("step"),
        lambda header, arrays: arrays.pop("state"),
        lambda header, arrays: arrays.update(parameters=arrays["parameters"].astype("f8")),
    ],
    ids=["no step", "no state", "other dtype"],
)
def test_a_checkpoint_that_lacks_something_is_refused(tmp_path, damage):
    path = tmp_path / "run.npz"
    network().fit(X, Y, epochs=4, checkpoint=path)
    header, arrays = (dict(part) for part in storage.load_arrays(path, kind="checkpoint"))
    damage(header, arrays)
    storage.save_arrays(path, header, arrays, kind="checkpoint")
    with pytest.raises(storage.FileFormatError, match="cannot continue from it"):
        network().fit(X, Y, epochs=4, checkpoint=path)
