"""What scikit-learn's own tests of its perceptrons ask about when a training stops and goes on."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

import joblib
from estimator_cases import both, first_digits, one_thread, quiet, regression
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

from fastdnn.estimators import DNNClassifier, DNNRegressor

pytestmark = [quiet, one_thread]


# --- when it stops -------------------------------------------------------------------------------

TWO_POINTS = ([[3, 2], [1, 6]], [1, 0])


def test_tolerance():
    model = DNNClassifier(tol=0.5, max_iter=3000, solver="sgd").fit(*TWO_POINTS)
    assert model.n_iter_ < model.max_iter


def test_n_iter_no_change():
    X, y = first_digits(2)
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
    X, y = first_digits(2)
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
    X, y = first_digits(2)
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
    X, y = first_digits(n_class)
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
