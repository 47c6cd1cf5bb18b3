"""What scikit-learn's own tests of its perceptrons ask, asked of ours.

For every test in ``sklearn/neural_network/tests/test_mlp.py`` (1.9) there is one of the same name
here, or a reason in `DOES_NOT_APPLY`; `test_none_is_forgotten` compares the two lists. Where theirs
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

import joblib
import sklearn
from sklearn.datasets import (
    load_digits,
    load_iris,
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import minmax_scale, scale

from fastdnn.estimators import DNNClassifier, DNNRegressor

DOES_NOT_APPLY = {
    "test_gradient": "central differences of every activation and loss are in the tests of DNN",
    "test_lbfgs_classification_maxfun": "no lbfgs, hence no max_fun",
    "test_lbfgs_regression_maxfun": "no lbfgs, hence no max_fun",
    "test_sparse_matrices": "sparse X is an error (test_estimators.py)",
    "test_mlp_vs_poisson_glm_equivalent": "no Poisson loss",
}

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

both = pytest.mark.parametrize("Estimator", [DNNClassifier, DNNRegressor])


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("FASTDNN_NUM_THREADS", "1")


def digits(n_class):
    X, y = load_digits(n_class=n_class, return_X_y=True)
    return minmax_scale(X[:200]), y[:200]


def regression():
    X, y = make_regression(n_samples=200, n_features=10, bias=20.0, noise=100.0, random_state=7)
    return X, scale(y)


@pytest.mark.skipif(sklearn.__version__[:4] != "1.9.", reason="the list is that of 1.9")
def test_none_is_forgotten():
    source = Path(sklearn.__file__).parent / "neural_network/tests/test_mlp.py"
    if not source.exists():
        pytest.skip("scikit-learn is installed without its tests")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    theirs = {node.name for node in tree.body if getattr(node, "name", "").startswith("test_")}
    ours = {name for name in globals() if name.startswith("test_")} - {"test_none_is_forgotten"}
    assert theirs - set(DOES_NOT_APPLY) == ours
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
    X, y = digits(n_class)
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
    X, y = digits(2)
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
    X, y = digits(2)
    model = DNNClassifier(5, "logistic", random_state=1).fit(X[:50], y[:50])
    proba = _same_probabilities(model, X[:50], 2)
    assert roc_auc_score(y[:50], proba[:, 1]) == 1.0


def test_predict_proba_multiclass():
    X, y = digits(3)
    proba = _same_probabilities(DNNClassifier(5, random_state=0).fit(X[:10], y[:10]), X[:10], 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)


def test_predict_proba_multilabel():
    X, Y = make_multilabel_classification(n_samples=50, random_state=0)
    model = DNNClassifier(30, learning_rate_init=0.02, max_iter=500, random_state=0).fit(X, Y)
    proba = _same_probabilities(model, X, Y.shape[1])
    np.testing.assert_array_equal(proba > 0.5, Y)
    assert np.abs(proba.sum(axis=1) - 1).max() > 1e-5  # labels are not exclusive: no softmax


# --- when it stops -------------------------------------------------------------------------------

TWO_POINTS = ([[3, 2], [1, 6]], [1, 0])


def test_tolerance():
    model = DNNClassifier(tol=0.5, max_iter=3000, solver="sgd").fit(*TWO_POINTS)
    assert model.n_iter_ < model.max_iter


def test_n_iter_no_change():
    X, y = digits(2)
    for patience in (2, 5, 10, 50, 100):
        model = DNNClassifier(
            solver="sgd", tol=0.01, max_iter=3000, n_iter_no_change=patience, random_state=0
        ).fit(X[:100], y[:100])
        assert model.n_iter_ < 3000
        losses = np.array(model.loss_curve_)
        best = np.minimum.accumulate(np.concatenate([[np.inf], losses[:-1]]))
        stalled = losses > best - 0.01
        assert stalled[-patience - 1 :].all()
        assert not stalled[-patience - 2]


def test_n_iter_no_change_inf():
    X, y = digits(2)
    model = DNNClassifier(solver="sgd", tol=1e9, max_iter=500, n_iter_no_change=np.inf)
    assert model.fit(X[:100], y[:100]).n_iter_ == 500


def test_verbose_sgd(capsys):
    model = DNNClassifier(2, solver="sgd", max_iter=2, verbose=10)
    model.fit(*TWO_POINTS).partial_fit(*TWO_POINTS)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:12] for line in lines] == ["Iteration 1,", "Iteration 2,", "Iteration 1,"]
    model.set_params(verbose=False).fit(*TWO_POINTS)
    assert capsys.readouterr().out == ""


@both
def test_early_stopping(Estimator):
    X, y = digits(2)
    model = Estimator(tol=0.2, max_iter=3000, solver="sgd", early_stopping=True, random_state=0)
    model.fit(X[:100], y[:100])
    assert model.n_iter_ < model.max_iter
    assert model.best_loss_ is None
    scores = model.validation_scores_
    assert isinstance(scores, list)
    assert len(scores) == len(model.validation_loss_curve_) == model.n_iter_
    assert max(scores) == model.best_validation_score_
    assert max(scores[-2:]) < model.best_validation_score_ + 0.2

    model.set_params(early_stopping=False).fit(X[:100], y[:100])
    assert model.validation_scores_ is model.best_validation_score_ is None
    assert model.best_loss_ == min(model.loss_curve_)


def test_adaptive_learning_rate(capsys):
    model = DNNClassifier(
        tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive", verbose=True
    ).fit(*TWO_POINTS)
    assert model.n_iter_ < model.max_iter
    rates = np.unique(model.network_.history.learning_rate)[::-1]
    np.testing.assert_allclose(rates, 1e-3 / 5.0 ** np.arange(len(rates)))
    assert rates[-1] < 1e-6
    assert "Setting learning rate to 0.000200" in capsys.readouterr().out


def test_early_stopping_stratified():
    X, y = [[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"least populated class.* in y ha.* only 1 member"):
        DNNClassifier(early_stopping=True).fit(X, y)


def test_mlp_early_stopping_string_labels():
    X, y = make_classification(
        n_samples=200, n_features=10, n_classes=3, n_informative=5, random_state=42
    )
    y = np.array(["a", "b", "c"], dtype=object)[y]
    model = DNNClassifier(early_stopping=True, max_iter=50, random_state=42).fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_
    assert np.isfinite(model.validation_scores_).all()
    assert set(model.predict(X)) <= {"a", "b", "c"}


def test_minimum_input_sample_size():
    X, y = make_regression(n_samples=2, n_features=5, random_state=0)
    with pytest.raises(ValueError, match="The validation set is too small"):
        DNNRegressor(early_stopping=True, random_state=0).fit(X, y)


def test_nonfinite_params():
    rng = np.random.RandomState(0)
    X = np.finfo(np.float64).max * rng.uniform(size=(10, 2))
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        DNNRegressor().fit(X, rng.standard_normal(10))


def test_mlp_diverging_loss():
    model = DNNRegressor(
        activation="identity", solver="sgd", learning_rate_init=1.0, max_iter=20,
        early_stopping=True, random_state=0,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.fit(*load_iris(return_X_y=True))
    assert not np.isnan(model.validation_scores_).any()
    assert all(np.isfinite(W).all() for W in model.coefs_)


def test_mlp_sample_weight_with_early_stopping():
    X, y = make_regression(n_samples=100, n_features=2, n_informative=2, random_state=42)
    model = DNNRegressor(
        10, early_stopping=True, tol=1e-2, learning_rate_init=0.01, batch_size=10, random_state=42
    )
    plain = model.fit(X, y).predict(X)
    np.testing.assert_allclose(model.fit(X, y, sample_weight=np.ones(100)).predict(X), plain)


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_class", [2, 3])
def test_partial_fit_classification(n_class):
    """Also with mini-batches, which theirs shuffles the same way in every call."""
    X, y = digits(n_class)
    for batch_size in (200, 32):
        model = DNNClassifier(
            solver="sgd", max_iter=100, random_state=1, tol=0, alpha=1e-5, learning_rate_init=0.2,
            batch_size=batch_size,
        ).fit(X, y)  # fmt: skip
        parts = DNNClassifier(**model.get_params())
        for _ in range(model.n_iter_):
            parts.partial_fit(X, y, classes=np.unique(y))
        for a, b in zip(model.coefs_, parts.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(parts.loss_curve_, model.loss_curve_, rtol=1e-12)
        assert model.score(X, y) > 0.95


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_partial_fit_regression(momentum):
    X, y = regression()
    model = DNNRegressor(
        solver="sgd", max_iter=100, random_state=1, learning_rate_init=0.01, batch_size=len(X),
        momentum=momentum,
    ).fit(X, y)  # fmt: skip
    parts = DNNRegressor(**model.get_params())
    for _ in range(100):
        parts.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict(X), parts.predict(X))
    assert model.score(X, y) > 0.65


def test_partial_fit_unseen_classes():
    model = DNNClassifier(random_state=0)
    model.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    model.partial_fit([[4]], ["d"])
    assert model.score([[1], [2], [3], [4]], ["a", "b", "c", "d"]) > 0


def test_partial_fit_classes_error():
    model = DNNClassifier(solver="sgd").partial_fit([[3, 2]], [0], classes=[0, 1])
    with pytest.raises(ValueError, match="classes is"):
        model.partial_fit([[3, 2]], [0], classes=[1, 2])


def test_partial_fit_errors():
    X, y = TWO_POINTS
    with pytest.raises(ValueError, match="`y` has classes not in"):
        DNNClassifier(solver="sgd").partial_fit(X, y, classes=[2])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        DNNClassifier(solver="sgd").partial_fit(X, y)
    with pytest.raises(ValueError, match="solver is 'lbfgs'"):
        DNNClassifier(solver="lbfgs").partial_fit(X, y, classes=[0, 1])


@both
def test_mlp_partial_fit_after_fit(Estimator):
    X, y = load_iris(return_X_y=True)
    model = Estimator(early_stopping=True, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X, y)


def test_mlp_loading_from_joblib_partial_fit(tmp_path):
    model = DNNRegressor(42, random_state=42, learning_rate_init=0.01).fit([[2]], [4])
    joblib.dump(model, tmp_path / "model.pkl")
    loaded = joblib.load(tmp_path / "model.pkl")
    for _ in range(200):
        loaded.partial_fit([[2]], [1])
    np.testing.assert_allclose(loaded.predict([[2]]), [1], rtol=1e-4)


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling"])
def test_learning_rate_warmstart(learning_rate):
    X, y = [[3, 2], [1, 6], [5, 6], [-2, -4]], [1, 1, 1, 0]
    model = DNNClassifier(
        4, solver="sgd", learning_rate=learning_rate, max_iter=1, power_t=0.25, warm_start=True
    )
    rates = [model.fit(X, y).network_.history.learning_rate[0] for _ in range(3)]
    seen = np.array([0, 4, 8])
    expected = 1e-3 / (seen + 1) ** 0.25 if learning_rate == "invscaling" else [1e-3] * 3
    np.testing.assert_allclose(rates, expected)


def test_warm_start():
    X, y = load_iris(return_X_y=True)
    model = DNNClassifier(2, warm_start=True, random_state=42, tol=1e-2).fit(X, y)
    model.fit(X, y).fit(X, np.repeat([0, 1, 2], [40, 40, 70]))
    for other in ([0, 1], [0, 1, 3], [0, 1, 2, 3]):
        y_other = np.resize(other, len(y))
        with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same"):
            model.fit(X, y_other)


@both
def test_warm_start_full_iteration(Estimator):
    model = Estimator(2, solver="sgd", warm_start=True, max_iter=3)
    for _ in range(2):
        model.fit(*load_iris(return_X_y=True))
        assert model.n_iter_ == 3
    assert len(model.loss_curve_) == 6
    assert model.t_ == 6 * 150


@both
def test_mlp_warm_start_with_early_stopping(Estimator):
    X, y = load_iris(return_X_y=True)
    model = Estimator(max_iter=10, random_state=0, warm_start=True, early_stopping=True).fit(X, y)
    first, best = len(model.validation_scores_), model.best_validation_score_
    model.set_params(max_iter=20).fit(X, y)
    assert len(model.validation_scores_) > first
    assert model.best_validation_score_ >= best


@both
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_mlp_warm_start_no_convergence(Estimator, solver):
    X, y = load_iris(return_X_y=True)
    model = Estimator(solver=solver, warm_start=True, n_iter_no_change=np.inf, random_state=0)
    for max_iter in (10, 20):
        model.set_params(max_iter=max_iter)
        with pytest.warns(ConvergenceWarning, match=rf"Maximum iterations \({max_iter}\) reached"):
            model.fit(X, y)
        assert model.n_iter_ == max_iter


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
