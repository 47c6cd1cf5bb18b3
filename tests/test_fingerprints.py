"""By what a checkpoint knows its training: other examples, the same schedule, another process."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network_cases import assert_same_bits
from test_checkpoints import HELD, X, Y, network, results

import fastdnn
from fastdnn import fingerprints, storage
from fastdnn.data import ArraySource
from fastdnn.engine import Matrix
from fastdnn.fingerprints import checksum
from fastdnn.optimizers import Cosine, Step, WarmUp

pytestmark = [pytest.mark.kernels, pytest.mark.usefixtures("one_thread")]

F32 = np.dtype("float32")


# --- examples -------------------------------------------------------------------------------------


def fit_twice(path: Path, first: dict[str, Any], then: dict[str, Any]) -> fastdnn.History:
    """Some epochs with the one, saved, and some more with the other."""
    usual = {"X": X, "Y": Y, "batch_size": 16, "checkpoint": path}
    network().fit(**usual | {"epochs": 2} | first)
    return network().fit(**usual | {"epochs": 4} | then)


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "X": ({}, {"X": X + 0.5}, "X"),
    "a last example": ({}, {"X": np.hstack([X[:, :-1], X[:, :1]])}, "X"),
    "Y": ({}, {"Y": 1 - Y}, "Y"),
    "a last label": ({}, {"Y": np.hstack([Y[:, :-1], 1 - Y[:, -1:]])}, "Y"),
    "both": ({}, {"X": X[:, ::-1], "Y": Y[:, ::-1]}, "X, Y"),
    "a source": ({}, {"X": ArraySource(X)}, "X"),
    "another source": ({"X": ArraySource(X)}, {"X": ArraySource(X + 1)}, "X"),
    "weights": (
        {"sample_weight": np.ones(90)}, {"sample_weight": np.arange(90.0)},
        "sample_weight or class_weight",
    ),
    "validation examples": (
        {"validation_data": HELD}, {"validation_data": (HELD[0] + 1, HELD[1])}, "validation_data",
    ),
    "validation labels": (
        {"validation_data": HELD}, {"validation_data": (HELD[0], 1 - HELD[1])}, "validation_data",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_examples_are_refused(name, tmp_path):
    first, then, named = OTHERS[name]
    message = rf"run\.npz: .*other arguments of fit \({named}\); remove it"
    with pytest.raises(storage.FileFormatError, match=message):
        fit_twice(tmp_path / "run.npz", first, then)


SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another layout": ({}, {"X": np.asfortranarray(X), "Y": Y[0]}),
    "another precision": ({}, {"X": X.astype(np.float32)}),
    "weights": ({"sample_weight": np.ones(90)}, {"class_weight": {0: 1.0, 1: 1.0}}),
    "a copy of the source": ({"X": ArraySource(X)}, {"X": ArraySource(X.copy(order="F"))}),
    "more patience": (
        {"validation_data": HELD}, {"validation_data": HELD, "early_stopping": 9},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_same_examples_in_another_form_go_on(name, tmp_path):
    assert fit_twice(tmp_path / "run.npz", *SAME[name]).epochs == 4


def test_without_a_checkpoint_nothing_is_summed_up(monkeypatch):
    monkeypatch.setattr(fingerprints, "checksum", None)
    network().fit(X, Y)


class Read(ArraySource):
    """A source that counts the examples read."""

    def __init__(self, X: np.ndarray) -> None:
        super().__init__(X)
        self.ranges: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> np.ndarray:
        self.ranges.append((start, stop))
        return super().read(start, stop)


@pytest.mark.parametrize(
    ("n_x", "m", "examples"), [(3, 10, 10), (3, 1_000, 40), (1000, 50, 4), (1000, 3, 3), (1, 1, 1)]
)
def test_large_sets_of_examples_are_sampled(n_x, m, examples, monkeypatch):
    monkeypatch.setattr(fingerprints, "SAMPLE_BYTES", 40 * 3 * 4)
    values = np.random.default_rng(0).standard_normal((n_x, m)).astype(F32)
    source = Read(values)
    expected = checksum(source, F32)
    read = [i for start, stop in source.ranges for i in range(start, stop)]
    assert len(set(read)) == examples
    assert {0, m - 1} <= set(read)
    for order in "CF":
        assert checksum(Matrix.of(values.copy(order=order), F32), F32) == expected
    for i in set(read):
        other = values.copy()
        other[-1, i] += 1
        assert checksum(Matrix.of(other, F32), F32) != expected


# --- schedules ------------------------------------------------------------------------------------


def falling(epoch: int, base: float = 0.9) -> float:
    return base**epoch


def schedules() -> dict[str, Any]:
    """Made anew in every call, so that functions have other addresses."""

    def rising(epoch):
        return 1.0 + epoch / 8

    class Wave:
        def __call__(self, epoch):
            return 1.0 + epoch % 2

    return {
        "function": falling,
        "closure": rising,
        "lambda": lambda epoch: 1.0,
        "partial": partial(rising),
        "object": Wave(),
        "method": Wave().__call__,
        "within another": WarmUp(epochs=2, then=rising),
        "cosine": "cosine",
        "step": Step(every=2),
    }


@pytest.mark.parametrize("name", schedules())
def test_a_schedule_is_known_again(name, tmp_path):
    first, then = schedules()[name], schedules()[name]
    assert fit_twice(tmp_path / "run.npz", {"schedule": first}, {"schedule": then}).epochs == 4


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("cosine", Cosine()),
        (None, "constant"),
        ("reduce-on-plateau", "reduce_on_plateau"),
        ("warm_up", WarmUp()),
        (WarmUp(then="cosine"), WarmUp(then=Cosine())),
    ],
)
def test_a_name_stands_for_its_schedule(first, then, tmp_path):
    for i, pair in enumerate([(first, then), (then, first)]):
        schedule, again = pair
        path = tmp_path / f"{i}.npz"
        assert fit_twice(path, {"schedule": schedule}, {"schedule": again}).epochs == 4


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("cosine", None),
        ("cosine", Cosine(floor=0.1)),
        (Step(every=2), Step(every=3)),
        (WarmUp(epochs=2, then=falling), WarmUp(epochs=3, then=falling)),
        (falling, schedules()["closure"]),
        (partial(falling, base=0.5), partial(falling, base=0.25)),
    ],
)
def test_another_schedule_is_refused(first, then, tmp_path):
    with pytest.raises(storage.FileFormatError, match=r"\(optimizer or its settings\)"):
        fit_twice(tmp_path / "run.npz", {"schedule": first}, {"schedule": then})


IN_A_PROCESS = """
import sys
import fastdnn
from test_checkpoints import X, Y, network, stopping
from test_fingerprints import falling, schedules

for name in ("function", "lambda", "within another"):
    try:
        network().fit(
            X, Y, epochs=6, batch_size=16, optimizer="adam", schedule=schedules()[name],
            checkpoint=fastdnn.Checkpoint(f"{sys.argv[1]}/{name}.npz", every_epochs=1),
            callbacks=[stopping(int(sys.argv[2]))],
        )
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.slow
def test_another_process_goes_on_with_a_schedule_that_is_a_function(tmp_path):
    tests = Path(__file__).parent
    for after in (2, 4):
        subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, str(tmp_path), str(after)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
            check=True,
        )
    for name in ("function", "lambda", "within another"):
        options = {
            "epochs": 6, "batch_size": 16, "optimizer": "adam", "schedule": schedules()[name],
        }  # fmt: skip
        whole, net = network(), network()
        whole.fit(X, Y, **options)
        first_seen: list[int] = []
        net.fit(
            X, Y, checkpoint=tmp_path / f"{name}.npz",
            callbacks=[lambda history, seen=first_seen: seen.append(history.epochs)], **options,
        )  # fmt: skip
        assert first_seen == [4, 5, 6]  # the epoch that Ctrl-C ended was not saved
        assert_same_bits(results(net), results(whole))
