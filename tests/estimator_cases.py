"""What the tests of the estimators share."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", "1.6")

from sklearn.datasets import (
    load_digits,
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.preprocessing import minmax_scale, scale

from fastdnn.estimators import DNNClassifier, DNNRegressor

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
one_thread = pytest.mark.usefixtures("one_thread")

both = pytest.mark.parametrize("Estimator", [DNNClassifier, DNNRegressor])

PROBLEMS = {
    "binary": make_classification(200, 6, random_state=0),
    "multiclass": make_classification(200, 6, n_informative=4, n_classes=3, random_state=0),
    "multilabel": make_multilabel_classification(200, 6, n_classes=3, random_state=0),
    "regression": make_regression(200, 6, noise=1.0, random_state=0),
    "outputs": make_regression(200, 6, n_targets=3, noise=1.0, random_state=0),
}
PROBLEMS = {
    name: (scale(X), scale(y) if y.dtype == float else y) for name, (X, y) in PROBLEMS.items()
}


def first_digits(n_class):
    """200 pictures of the digits below n_class."""
    X, y = load_digits(n_class=n_class, return_X_y=True)
    return minmax_scale(X[:200]), y[:200]


def regression():
    X, y = make_regression(n_samples=200, n_features=10, bias=20.0, noise=100.0, random_state=7)
    return X, scale(y)
