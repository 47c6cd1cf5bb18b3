"""Fit time of `DNNClassifier` beside `MLPClassifier`: same data, parameters and seed, in one run.

``python -m benchmarks.bench_estimators`` prints the table. Both are fitted in turn, several times,
each in a process of its own, where the other's threads take no core from it; the fastest fit of
each counts; fastdnn's kernels are compiled before. As a test it fits a few epochs and compares
accuracies; with ``--benchmark-enable`` it fits in full and demands the ratio.
"""

from __future__ import annotations

import functools
import multiprocessing
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import scale

from benchmarks.timing import PAUSE
from fastdnn.estimators import DNNClassifier

DATA: dict[str, Callable[..., Any]] = {"digits": load_digits, "breast_cancer": load_breast_cancer}
DTYPES = ("float64", "float32")

MODELS = {"sklearn": MLPClassifier, "fastdnn": DNNClassifier}

WANTED_RATIO = 5.0


@dataclass(frozen=True)
class Comparison:
    """Seconds of the fastest fit, accuracy on held-out examples, and epochs, of both."""

    seconds: dict[str, float]
    accuracy: dict[str, float]
    epochs: dict[str, int]
    held_out: int

    @property
    def ratio(self) -> float:
        """How many times longer scikit-learn takes."""
        return self.seconds["sklearn"] / self.seconds["fastdnn"]

    @property
    def noise(self) -> float:
        """Two standard errors of an accuracy measured on so many examples."""
        p = self.accuracy["sklearn"]
        return 2.0 * float(np.sqrt(p * (1.0 - p) / self.held_out)) + 1.0 / self.held_out


@functools.cache
def split(name: str, dtype: str) -> Any:
    """Three quarters to train on, and the rest: X, X_test, y, y_test."""
    X, y = DATA[name](return_X_y=True)
    return train_test_split(scale(X).astype(dtype), y, random_state=0)


def fit(library: str, name: str, dtype: str, max_iter: int) -> tuple[float, float, int]:
    """Seconds of one fit, accuracy on held-out examples, and epochs."""
    X, X_test, y, y_test = split(name, dtype)
    model = MODELS[library](max_iter=max_iter, random_state=0)
    time.sleep(PAUSE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        began = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - began
    return seconds, model.score(X_test, y_test), model.n_iter_


def compare(name: str, dtype: str, *, repeats: int = 11, max_iter: int = 200) -> Comparison:
    """Fit both in turn on three quarters of a data set, score them on the rest."""
    fits: dict[str, list[tuple[float, float, int]]] = {library: [] for library in MODELS}
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        processes = {
            library: stack.enter_context(ProcessPoolExecutor(1, spawn)) for library in MODELS
        }
        for library, process in processes.items():
            process.submit(fit, library, name, dtype, 1).result()  # compiles, starts threads
        for _ in range(repeats):
            for library, process in processes.items():
                fits[library].append(process.submit(fit, library, name, dtype, max_iter).result())
    return Comparison(
        {library: min(seconds for seconds, _, _ in of_one) for library, of_one in fits.items()},
        {library: of_one[-1][1] for library, of_one in fits.items()},
        {library: of_one[-1][2] for library, of_one in fits.items()},
        len(split(name, dtype)[3]),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DATA)
def test_fit(name: str, dtype: str, benchmark: Any) -> None:
    timed = benchmark.enabled
    result = benchmark.pedantic(
        compare, (name, dtype), {} if timed else {"repeats": 1, "max_iter": 20}
    )
    benchmark.extra_info.update(ratio=result.ratio, **result.accuracy)
    assert abs(result.accuracy["fastdnn"] - result.accuracy["sklearn"]) <= result.noise
    assert not timed or result.ratio >= WANTED_RATIO


def main() -> None:
    """Print one row for each data set and precision."""
    print("data           dtype     sklearn s  fastdnn s   ratio   accuracy           epochs")
    for name in DATA:
        for dtype in DTYPES:
            result = compare(name, dtype)
            sklearn, fastdnn = (
                (result.seconds[key], result.accuracy[key], result.epochs[key])
                for key in ("sklearn", "fastdnn")
            )
            print(
                f"{name:14} {dtype:9} {sklearn[0]:9.3f} {fastdnn[0]:10.3f} {result.ratio:7.1f}   "
                f"{sklearn[1]:.4f} / {fastdnn[1]:.4f}   {sklearn[2]} / {fastdnn[2]}"
            )


if __name__ == "__main__":
    main()
