"""What scikit-learn's own tests of its perceptrons ask, asked of ours.

For every test in ``sklearn/neural_network/tests/test_mlp.py`` (1.9) there is one of the same name
here or in ``test_estimators_mlp_ends.py``, or a reason in `DOES_NOT_APPLY`;
`test_none_is_forgotten` compares the lists. Where theirs
set attributes that are ours to keep (``coefs_`` before a fit, ``_optimizer``), we reach the same
state through the public ones. Where theirs use lbfgs for the sake of a good fit, ours use adam:

* ``test_lbfgs_classification`` and ``test_lbfgs_regression``: their scores are asked of adam.
* ``test_multilabel_classification``, ``test_multioutput_regression``, ``test_warm_start``,
  ``test_predict_proba_multilabel``, ``test_mlp_warm_start_no_convergence``: adam for lbfgs.
* ``test_partial_fit_errors``: lbfgs is an error everywhere, not a missing ``partial_fit``.
* ``test_learning_rate_warmstart``: with ``invscaling`` a second fit goes on with the lower rate
  from its first epoch on; theirs runs its first epoch at the initial rate.
* ``test_mlp_diverging_loss``: no error with early stopping, as theirs, but a warning, and no NaN
  among the scores: training ends before a parameter is not finite.
"""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

import sklearn
from estimator_cases import both, first_digits, one_thread, quiet, regression
from sklearn.datasets import load_digits, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from fastdnn.estimators import DNNClassifier, DNNRegressor

DOES_NOT_APPLY = {
    "test_gradient": "central differences of every activation and loss are in the tests of DNN",
    "test_lbfgs_classification_maxfun": "no lbfgs, hence no max_fun",
    "test_lbfgs_regression_maxfun": "no lbfgs, hence no max_fun",
    "test_sparse_matrices": "sparse X is an error (test_estimators.py)",
    "test_mlp_vs_poisson_glm_equivalent": "no Poisson loss",
}

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")

pytestmark = [quiet, one_thread]


def named_tests(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if getattr(node, "name", "").startswith("test_")}


@pytest.mark.skipif(sklearn.__version__[:4] != "1.9.", reason="the list is that of 1.9")
def test_none_is_forgotten():
    source = Path(sklearn.__file__).parent / "neural_network/tests/test_mlp.py"
    if not source.exists():
        pytest.skip("scikit-learn is installed without its tests")
    theirs = named_tests(source)
    ours = set().union(*map(named_tests, Path(__file__).parent.glob("test_estimators_mlp*.py")))
    assert theirs - set(DOES_NOT_APPLY) == ours - {"test_none_is_forgotten"}
    assert set(DOES_NOT_APPLY) <= theirs


# --- what is learnt ------------------------------------------------------------------------------


def test_fit():
    """One step of gradient descent with alpha = 0.1, worked out by hand."""
    model = DNNClassifier(
        hidden_layer_sizes=2, activation="logistic", solver="sgd", momentum=0.0, alpha=0.1,
        learning_rate_init=1e-300, random_state=1,
    )  # fmt: skip
    X = np.array([[0.6, 0.8, 0.7]])
    model.partial_fit(X, [0], classes=[0, 1])  # makes the network, moves nothing
    model.coefs_[0][...] = [[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]]
    model.coefs_[1][...] = [[0.1], [0.2]]
    model.intercepts_[0][...] = 0.1
    model.intercepts_[1][...] = 1.0
    model.set_params(learning_rate_init=0.1).partial_fit(X, [0])

    h = 1 / (1 + np.exp(-np.array([0.75, 0.3])))  # sigmoid(X W1 + b1)
    p = 1 / (1 + np.exp(-(0.1 * h[0] + 0.2 * h[1] + 1.0)))
    dZ1 = p * np.array([0.1, 0.2]) * h * (1 - h)
    W1 = np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]])
    W2 = np.array([0.1, 0.2])
    np.testing.assert_allclose(model.coefs_[0], W1 - 0.1 * (np.outer(X, dZ1) + 0.1 * W1))
    np.testing.assert_allclose(model.coefs_[1][:, 0], W2 - 0.1 * (p * h + 0.1 * W2))
    np.testing.assert_allclose(model.intercepts_[0], 0.1 - 0.1 * dZ1)
    np.testing.assert_allclose(model.intercepts_[1], 1.0 - 0.1 * p)
    assert model.predict_proba(X)[0, 1] == pytest.approx(0.739, abs=5e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_class", [2, 3])
def test_lbfgs_classification(n_class, activation):
    X, y = first_digits(n_class)
    model = DNNClassifier(50, activation, learning_rate_init=0.01, max_iter=150, random_state=1)
    predicted = model.fit(X[:150], y[:150]).predict(X[150:])
    assert model.score(X[:150], y[:150]) > 0.95
    assert predicted.shape == (len(X) - 150,)
    assert predicted.dtype.kind == y.dtype.kind


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lbfgs_regression(activation):
    X, y = regression()
    model = DNNRegressor(50, activation, learning_rate_init=0.03, max_iter=600, random_state=1)
    score = model.set_params(tol=0.0, alpha=0.0).fit(X, y).score(X, y)
    assert score > (0.80 if activation == "identity" else 0.98)


def test_alpha():
    X, y = first_digits(2)
    sums = [
        [np.abs(W).sum() for W in DNNClassifier(10, alpha=alpha, random_state=1).fit(X, y).coefs_]
        for alpha in (0.0, 1.0, 10.0)
    ]
    assert (np.diff(sums, axis=0) < 0).all()


def test_multilabel_classification():
    X, Y = make_multilabel_classification(n_samples=50, random_state=0)
    settings = {
        "hidden_layer_sizes": 50, "activation": "logistic", "alpha": 1e-5, "random_state": 0,
        "max_iter": 150,
    }  # fmt: skip
    assert DNNClassifier(learning_rate_init=0.05, **settings).fit(X, Y).score(X, Y) > 0.97
    model = DNNClassifier(solver="sgd", learning_rate_init=0.2, **settings)
    for _ in range(100):
        model.partial_fit(X, Y, classes=[0, 1, 2, 3, 4])
    assert model.score(X, Y) > 0.9
    # the held-out examples are not stratified: labels have no single class
    predicted = DNNClassifier(early_stopping=True, random_state=0).fit(X, Y).predict(X)
    assert predicted.shape == Y.shape


def test_multioutput_regression():
    X, Y = make_regression(n_samples=200, n_targets=5, random_state=11)
    model = DNNRegressor(50, learning_rate_init=0.05, max_iter=200, random_state=1)
    assert model.fit(X, Y).score(X, Y) > 0.9
    assert model.predict(X).shape == Y.shape


def test_shuffle():
    X, y = make_regression(n_samples=50, n_features=5, random_state=0)

    def weights(shuffle):
        model = DNNRegressor(1, max_iter=1, batch_size=1, random_state=0, shuffle=shuffle)
        return model.fit(X, y).coefs_[0]

    for shuffle in (True, False):
        np.testing.assert_array_equal(weights(shuffle), weights(shuffle))
    assert not np.array_equal(weights(True), weights(False))


def _same_probabilities(model, X, columns):
    proba, log_proba = model.predict_proba(X), model.predict_log_proba(X)
    assert proba.shape == (len(X), columns)
    np.testing.assert_allclose(log_proba, np.log(proba))
    return proba


def test_predict_proba_binary():
    X, y = first_digits(2)
    model = DNNClassifier(5, "logistic", random_state=1).fit(X[:50], y[:50])
    proba = _same_probabilities(model, X[:50], 2)
    assert roc_auc_score(y[:50], proba[:, 1]) == 1.0


def test_predict_proba_multiclass():
    X, y = first_digits(3)
    proba = _same_probabilities(DNNClassifier(5, random_state=0).fit(X[:10], y[:10]), X[:10], 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)


def test_predict_proba_multilabel():
    X, Y = make_multilabel_classification(n_samples=50, random_state=0)
    model = DNNClassifier(30, learning_rate_init=0.02, max_iter=500, random_state=0).fit(X, Y)
    proba = _same_probabilities(model, X, Y.shape[1])
    np.testing.assert_array_equal(proba > 0.5, Y)
    assert np.abs(proba.sum(axis=1) - 1).max() > 1e-5  # labels are not exclusive: no softmax


# --- types ---------------------------------------------------------------------------------------

SMALL = {"alpha": 1e-5, "hidden_layer_sizes": (5, 3), "random_state": 1}


def test_mlp_classifier_dtypes_casting():
    X, y = load_digits(n_class=2, return_X_y=True)
    model = DNNClassifier(max_iter=100, tol=1e-1, **SMALL)
    double = model.fit(X[:300], y[:300]).predict_proba(X[300:])
    X = X.astype(np.float32)
    single = model.fit(X[:300], y[:300]).predict_proba(X[300:])
    np.testing.assert_allclose(single, double, rtol=1e-2)
    np.testing.assert_array_equal(single > 0.5, double > 0.5)


def test_mlp_regressor_dtypes_casting():
    X, y = load_digits(n_class=2, return_X_y=True)
    model = DNNRegressor(max_iter=150, tol=1e-3, **SMALL)
    double = model.fit(X[:300], y[:300]).predict(X[300:])
    X = X.astype(np.float32)
    np.testing.assert_allclose(model.fit(X[:300], y[:300]).predict(X[300:]), double, rtol=5e-4)


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mlp_param_dtypes(Estimator, dtype):
    X, y = load_digits(n_class=2, return_X_y=True)
    X = X.astype(dtype)
    model = Estimator(max_iter=50, tol=1e-1, **SMALL).fit(X[:300], y[:300])
    assert {array.dtype.name for array in (*model.coefs_, *model.intercepts_)} == {dtype}
    if Estimator is DNNRegressor:
        assert model.predict(X[300:]).dtype == dtype


@both
def test_preserve_feature_names(Estimator):
    """Theirs has one class only, and so has ours."""
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.RandomState(0).randn(10, 2), columns=["a", "b"])
    model = Estimator(early_stopping=True, validation_fraction=0.2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, pd.Series(np.full(10, 1)))
    assert model.feature_names_in_.tolist() == ["a", "b"]
    assert model.predict(X).shape == (10,)
