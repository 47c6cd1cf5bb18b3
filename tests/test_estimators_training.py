"""The estimators train like scikit-learn's perceptrons, and have what those lack."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

from estimator_cases import PROBLEMS, both, one_thread, quiet
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

import fastdnn
from fastdnn import batches, engine, training
from fastdnn.estimators import DNNClassifier, DNNRegressor
from fastdnn.estimators._draws import Shuffle

pytestmark = [quiet, one_thread]


@pytest.fixture(autouse=True)
def one_blas_thread():
    """On a busy machine, threads of small networks only wait for one another."""
    with threadpool_limits(1):
        yield


# --- the numbers of MLPClassifier and MLPRegressor -----------------------------------------------


SETTINGS = [
    {},
    {"activation": "tanh", "hidden_layer_sizes": (8, 5), "alpha": 0.1},
    {"activation": "logistic", "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3},
    {"solver": "sgd", "learning_rate_init": 0.1},
    {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5, "shuffle": False},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "invscaling", "learning_rate_init": 0.5},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "adaptive", "tol": 0.01},
    {"early_stopping": True, "learning_rate_init": 0.01, "batch_size": 45, "alpha": 0.0},
    {"batch_size": 25, "random_state": 3},
]


def pair(problem, settings):
    """Ours and theirs, fitted alike; the last batch of an epoch is as large as the others."""
    X, y = PROBLEMS[problem]
    Ours, Theirs = (
        (DNNRegressor, MLPRegressor) if y.dtype == float else (DNNClassifier, MLPClassifier)
    )
    settings = {"max_iter": 30, "random_state": 0} | settings
    return Ours(**settings).fit(X, y), Theirs(**settings).fit(X, y), X, y


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s)) or "default")
@pytest.mark.parametrize("problem", PROBLEMS)
def test_same_training_as_mlp(problem, settings):
    ours, theirs, X, _ = pair(problem, settings)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    for a, b in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    for method in {"predict", "predict_proba"} & set(dir(ours)):
        np.testing.assert_allclose(getattr(ours, method)(X), getattr(theirs, method)(X), atol=1e-7)
    if ours.early_stopping:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-7)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    attributes = ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_")
    assert [getattr(ours, a) for a in attributes] == [getattr(theirs, a) for a in attributes]


@pytest.mark.parametrize("problem", ["binary", "multiclass", "multilabel", "regression"])
def test_same_loss_as_mlp(problem):
    """Theirs takes the L2 term before each step, ours after the epoch; several outputs: theirs
    reports their mean, ours the sum that is differentiated."""
    ours, theirs, _, _ = pair(problem, {"alpha": 0.0})
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    assert ours.loss_ == pytest.approx(theirs.loss_)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_)
    ours, theirs, _, _ = pair(problem, {"alpha": 1.0})
    np.testing.assert_allclose(ours.loss_curve_[:-1], theirs.loss_curve_[:-1], rtol=0.02)


@pytest.mark.parametrize(
    "settings",
    [{}, {"solver": "sgd", "learning_rate": "adaptive"}, {"solver": "adamw"}, {"alpha": 0.0}],
    ids=lambda s: "-".join(map(str, s.values())) or "default",
)
def test_epochs_are_trained_together_until_a_stop_is_possible(settings, monkeypatch):
    """With the results of a call for each: curves, state of the generator, end of the training."""
    X, y = PROBLEMS["multiclass"]
    steps = engine.Engine.steps
    runs, calls = [], [0, 0]
    for i, pace in enumerate([1, 1000]):

        def spy(self, *args, i=i, **kwargs):
            calls[i] += 1
            return steps(self, *args, **kwargs)

        monkeypatch.setattr(engine.Engine, "steps", spy)
        monkeypatch.setattr(training.Training, "_steps_per_call", lambda self, pace=pace: pace)
        generator = np.random.RandomState(0)
        model = DNNClassifier(
            max_iter=300, tol=5e-4, batch_size=64, random_state=generator, n_iter_no_change=5,
            learning_rate_init=0.02, **settings,
        ).fit(X, y)  # fmt: skip
        attributes = model.n_iter_, model.t_, model.loss_, model.best_loss_, model.loss_curve_
        coefs = [W.tolist() for W in model.coefs_]
        runs.append((*attributes, coefs, generator.random_sample()))
    assert runs[0] == runs[1]
    assert 10 < runs[0][0] < 300  # it ended because it had converged
    together = settings.get("learning_rate") != "adaptive"  # whose rate may change after any epoch
    assert calls[1] < runs[0][0] / 2 if together else calls[1] == runs[0][0]


def test_orders_of_the_estimators_are_not_looked_at(monkeypatch, iris):
    monkeypatch.setattr(batches.Checked, "permutation", None)
    DNNClassifier(max_iter=2, random_state=0).fit(*iris)


def test_orders_drawn_ahead_are_taken_back():
    shuffle = Shuffle(np.random.RandomState(0))
    shuffle.permutation(9)
    state = shuffle.state()
    ahead = [shuffle.permutation(9).tolist() for _ in range(3)]
    shuffle.restore(state)
    assert [shuffle.permutation(9).tolist() for _ in range(3)] == ahead


@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_sample_weight_as_in_mlp(problem):
    X, y = PROBLEMS[problem]
    weights = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    Ours, Theirs = (
        (DNNRegressor, MLPRegressor) if y.dtype == float else (DNNClassifier, MLPClassifier)
    )
    settings = {"max_iter": 30, "random_state": 0, "alpha": 0.1}
    ours = Ours(**settings).fit(X, y, sample_weight=weights)
    try:
        theirs = Theirs(**settings).fit(X, y, sample_weight=weights)
    except TypeError:
        pytest.skip("this scikit-learn has no sample_weight here")
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_accuracy_of_mlp(load):
    X, y = load(return_X_y=True)
    X, X_test, y, y_test = train_test_split(scale(X), y, random_state=0)
    ours = DNNClassifier(random_state=0, max_iter=100).fit(X, y).score(X_test, y_test)
    theirs = MLPClassifier(random_state=0, max_iter=100).fit(X, y).score(X_test, y_test)
    assert ours >= theirs - 2 / np.sqrt(len(y_test)) * np.sqrt(theirs * (1 - theirs))
    assert ours > 0.95


# --- what they lack ------------------------------------------------------------------------------


def test_validation_data(iris):
    X, y = iris
    X, X_val, y, y_val = train_test_split(X, y, random_state=0)
    model = DNNClassifier(max_iter=40, learning_rate_init=0.05, random_state=0)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_ == 40
    assert model.score(X_val, y_val) == max(model.validation_scores_)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ == min(model.loss_curve_)  # the training loss still says when to stop
    best = int(np.argmax(model.validation_scores_))
    proba = model.predict_proba(X_val)
    loss = -np.log(proba[np.arange(len(y_val)), y_val]).mean()
    assert model.validation_loss_curve_[best] == pytest.approx(loss)

    model.set_params(early_stopping=True, n_iter_no_change=3).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.n_iter_ < 40
    assert model.t_ == len(X) * model.n_iter_  # nothing was held out of X
    with pytest.raises(ValueError, match="X_val and y_val go together"):
        model.fit(X, y, X_val=X_val)
    with pytest.raises(ValueError, match="`y` has classes not in"):
        model.fit(X, y, X_val=X_val, y_val=y_val + 5)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_scores_are_those_of_scikit_learn(problem):
    X, y = PROBLEMS[problem]
    weights = np.random.default_rng(0).random(len(y))
    Estimator = DNNRegressor if y.dtype == float else DNNClassifier
    model = Estimator(max_iter=3, random_state=0).fit(X, y)
    score = r2_score if y.dtype == float else accuracy_score
    AL, targets = model.network_.forward(X.T), model._encode(y)
    for w in (None, weights):
        expected = score(y, model.predict(X), sample_weight=w)
        assert model._score(AL, targets, w) == pytest.approx(expected)


def test_score_of_a_constant_target():
    model = DNNRegressor(max_iter=1).fit([[0.0], [1.0]], [1.0, 2.0])
    y = np.array([2.0, 2.0])
    for predicted in ([2.0, 2.0], [2.0, 3.0]):
        AL = np.array([predicted])
        assert model._score(AL, y, None) == r2_score(y, predicted)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 1: 0.5, 2: 1.0}])
def test_class_weight(iris, class_weight):
    X, y = iris[0][:110], iris[1][:110]
    model = DNNClassifier(max_iter=20, random_state=0, class_weight=class_weight).fit(X, y)
    weights = compute_sample_weight(class_weight, y)
    other = DNNClassifier(max_iter=20, random_state=0).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X))
    twice = clone(model).fit(X, y, sample_weight=weights)
    other.fit(X, y, sample_weight=weights**2)
    np.testing.assert_allclose(twice.predict_proba(X), other.predict_proba(X))


def test_class_weight_of_labels():
    X, Y = PROBLEMS["multilabel"]
    tables = [{0: 1.0, 1: 5.0}] * 3
    model = DNNClassifier(max_iter=5, random_state=0, class_weight=tables).fit(X, Y)
    other = DNNClassifier(max_iter=5, random_state=0)
    other.fit(X, Y, sample_weight=compute_sample_weight(tables, Y))
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X))


def test_class_weight_of_partial_fit(iris):
    X, y = iris
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        DNNClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    model = DNNClassifier(class_weight={0: 1.0, 1: 2.0, 2: 3.0}, random_state=0)
    model.partial_fit(X[:60], y[:60], classes=[0, 1, 2])  # only two of the classes are here
    assert model.classes_.tolist() == [0, 1, 2]


def test_partial_fit_of_labels():
    X, Y = PROBLEMS["multilabel"]
    model = DNNClassifier(random_state=0)
    model.partial_fit(X[:50], Y[:50]).partial_fit(X[50:], Y[50:], classes=[0, 1, 2])
    assert model.predict(X).shape == Y.shape
    assert model.n_iter_ == 1
    with pytest.raises(ValueError, match="expected 0 or 1 for 3 labels"):
        model.partial_fit(X, Y[:, :2])
    with pytest.raises(ValueError, match="y has 3 columns"):
        DNNClassifier().partial_fit(X, Y, classes=[0, 1])


def test_dropout(iris):
    X, y = iris
    model = DNNClassifier(max_iter=20, random_state=0, dropout=0.5).fit(X, y)
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    other = clone(model).set_params(random_state=1).fit(X, y)
    assert other.network_.seed != model.network_.seed
    plain = clone(model).set_params(dropout=0.0).fit(X, y)
    assert abs(plain.predict_proba(X) - model.predict_proba(X)).max() > 1e-3


@pytest.mark.parametrize("solver", ["momentum", "nesterov", "rmsprop", "adamw"])
@pytest.mark.parametrize("activation", ["leaky_relu", "softplus", ("tanh", "relu")])
def test_solvers_and_activations_of_fastdnn(iris, solver, activation):
    model = DNNClassifier(
        (12, 8), activation, solver=solver, learning_rate_init=0.02, alpha=1e-3, random_state=0
    )
    assert model.fit(*iris).score(*iris) > 0.95


def test_adamw_decays_without_the_loss(iris):
    """alpha is the decoupled decay itself: W *= 1 - rate alpha, and no term of the loss."""
    X, y = iris
    settings = {"solver": "adamw", "max_iter": 1, "random_state": 0, "learning_rate_init": 0.01}
    plain = DNNClassifier(alpha=0.0, **settings).fit(X, y)
    decayed = DNNClassifier(alpha=0.5, **settings).fit(X, y)
    start = DNNClassifier(alpha=0.0, **settings | {"learning_rate_init": 1e-300}).fit(X, y)
    for a, b, W in zip(plain.coefs_, decayed.coefs_, start.coefs_, strict=True):
        np.testing.assert_allclose(a - b, 0.01 * 0.5 * W, atol=1e-12)
    assert plain.loss_ == decayed.loss_


def test_no_hidden_layer(iris):
    model = DNNClassifier(hidden_layer_sizes=(), learning_rate_init=0.1, random_state=0)
    assert model.fit(*iris).score(*iris) > 0.9
    assert [W.shape for W in model.coefs_] == [(4, 3)]


@both
def test_threads(Estimator, iris, monkeypatch):
    seen = []
    fit = fastdnn.DNN.fit

    def spy(net, *args, n_threads, **kwargs):
        seen.append((net.n_threads, n_threads))
        return fit(net, *args, n_threads=1, **kwargs)

    monkeypatch.setattr(fastdnn.DNN, "fit", spy)
    Estimator(max_iter=1, n_threads=3).fit(*iris)
    Estimator(max_iter=1).fit(*iris)
    assert seen == [(3, 3), (None, None)]
