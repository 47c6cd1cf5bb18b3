"""Fit time of `DNNClassifier` beside `MLPClassifier`: same data, parameters and seed, in one run.

``python -m benchmarks.bench_estimators`` prints the table. Both are fitted in turn, several times,
and the fastest fit of each counts; fastdnn's kernels are compiled before. As a test it fits a few
epochs and compares accuracies; with ``--benchmark-enable`` it fits in full and demands the ratio.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
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


def compare(name: str, dtype: str, *, repeats: int = 5, max_iter: int = 200) -> Comparison:
    """Fit both in turn on three quarters of a data set, score them on the rest."""
    X, y = DATA[name](return_X_y=True)
    X, X_test, y, y_test = train_test_split(scale(X).astype(dtype), y, random_state=0)
    settings: dict[str, Any] = {"max_iter": max_iter, "random_state": 0}
    models = {"sklearn": MLPClassifier(**settings), "fastdnn": DNNClassifier(**settings)}
    seconds = dict.fromkeys(models, np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        DNNClassifier(max_iter=1).fit(X, y)
        for _ in range(repeats):
            for key, model in models.items():
                time.sleep(PAUSE)
                began = time.perf_counter()
                model.fit(X, y)
                seconds[key] = min(seconds[key], time.perf_counter() - began)
    return Comparison(
        seconds,
        {key: model.score(X_test, y_test) for key, model in models.items()},
        {key: model.n_iter_ for key, model in models.items()},
        len(y_test),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DATA)
def test_fit(name: str, dtype: str, benchmark: Any) -> None:
    timed = benchmark.enabled
    result = benchmark.pedantic(
        compare, (name, dtype), {"repeats": 5 if timed else 1, "max_iter": 200 if timed else 20}
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
