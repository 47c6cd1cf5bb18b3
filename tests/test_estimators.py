"""The estimators in scikit-learn: its checks, types of data, copies, searches, bad values."""

from __future__ import annotations

import importlib
import itertools
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.6")

import joblib
import sklearn
from estimator_cases import PROBLEMS, both, one_thread, quiet
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

import fastdnn
from fastdnn.estimators import DNNClassifier, DNNRegressor

pytestmark = [quiet, one_thread]


# --- scikit-learn's checks -----------------------------------------------------------------------

MAY_BE_SKIPPED = {
    "check_array_api_input",  # unless SCIPY_ARRAY_API is set
    "check_classifiers_multilabel_output_format_decision_function",  # there is none, as in MLP
    "check_sample_weights_pandas_series",  # these three without pandas
    "check_classifier_data_not_an_array",
    "check_regressor_data_not_an_array",
}
COUNT = {("DNNClassifier", "1.9"): 67, ("DNNRegressor", "1.9"): 60}


def check_names(estimator):
    return {check.func.__name__ for _, check in estimator_checks_generator(estimator, mark=None)}


@pytest.mark.parametrize(
    ("Estimator", "Peer"), [(DNNClassifier, MLPClassifier), (DNNRegressor, MLPRegressor)]
)
def test_check_estimator(Estimator, Peer):
    """All pass, none is expected to fail, and a tag does not make any disappear unseen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(Estimator(), on_skip=None)
        peers = check_names(Peer())
    status = {result["check_name"]: result["status"] for result in results}
    assert {name for name, said in status.items() if said != "passed"} <= MAY_BE_SKIPPED
    assert peers - set(status) <= {"check_sample_weight_equivalence_on_sparse_data"}
    version = ".".join(sklearn.__version__.split(".")[:2])
    assert len(results) == COUNT.get((Estimator.__name__, version), len(results))


def test_tags():
    tags = get_tags(DNNClassifier())
    assert tags.classifier_tags.multi_label and tags.classifier_tags.multi_class
    assert get_tags(DNNRegressor()).target_tags.multi_output
    for Estimator in (DNNClassifier, DNNRegressor):
        tags = get_tags(Estimator())
        assert not tags.input_tags.sparse and not tags.non_deterministic and not tags._skip_test


# --- types of data -------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_go_down_without_a_copy(Estimator, order, monkeypatch, iris):
    X, y = np.array(iris[0], order=order), iris[1]
    seen = []
    fit = fastdnn.DNN.fit

    def spy(net, columns, *args, **kwargs):
        matrix = net._examples(columns)
        seen.append(np.shares_memory(matrix.flat, X))
        return fit(net, columns, *args, **kwargs)

    monkeypatch.setattr(fastdnn.DNN, "fit", spy)
    Estimator(max_iter=2).fit(X, y).partial_fit(X, y)
    assert seen == [True, True]


@both
def test_precision(Estimator, iris):
    X, y = iris
    output = "predict_proba" if Estimator is DNNClassifier else "predict"

    def precision(model, X):
        return getattr(model.fit(X, y), output)(X).dtype.name

    assert precision(Estimator(max_iter=2), X.astype("float32")) == "float32"
    assert precision(Estimator(max_iter=2), X) == "float64"
    assert precision(Estimator(max_iter=2), (10 * X).astype(int)) == "float64"
    assert precision(Estimator(max_iter=2, dtype="float32"), X) == "float32"
    assert precision(Estimator(max_iter=2, dtype="float64"), X.astype("float32")) == "float64"


@both
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(Estimator, library, iris):
    library = pytest.importorskip(library)
    X, y = iris
    names = ["a", "b", "c", "d"]
    frame, series = library.DataFrame(dict(zip(names, X.T, strict=True))), library.Series(y)
    model = Estimator(max_iter=5, random_state=0).fit(frame, series, X_val=frame, y_val=series)
    plain = Estimator(max_iter=5, random_state=0).fit(X, y, X_val=X, y_val=y)
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))
    if hasattr(StandardScaler().fit(frame), "feature_names_in_"):  # polars: since 1.9
        assert model.feature_names_in_.tolist() == names
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(frame[names[::-1]])
    if Estimator is DNNClassifier:
        words = library.Series(np.array(["x", "y", "z"])[y].tolist())
        assert set(model.fit(frame, words).predict(frame)) <= {"x", "y", "z"}


@both
def test_sparse(Estimator, iris):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = iris
    with pytest.raises(TypeError, match=r"[Ss]parse data was passed.*toarray"):
        Estimator().fit(sparse.csr_array(X), y)
    with pytest.raises(TypeError, match="y is sparse"):
        Estimator().fit(X, sparse.csr_array(np.eye(3)[y]))
    with pytest.raises(TypeError, match=r"[Ss]parse data was passed"):
        Estimator(max_iter=1).fit(X, y).predict(sparse.csr_array(X))


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(Estimator, bad, iris):
    X, y = iris[0].copy(), iris[1]
    X[3, 1] = bad
    message = "NaN" if np.isnan(bad) else "infinity"
    with pytest.raises(ValueError, match=f"Input X contains {message}"):
        Estimator().fit(X, y)
    with pytest.raises(ValueError, match=f"Input X contains {message}"):
        Estimator(max_iter=1).fit(*iris).predict(X)
    with pytest.raises(ValueError, match="Input X contains infinity"):
        Estimator(dtype="float32").fit(1e300 * iris[0], y)


def test_one_class():
    X = [[0.0], [1.0], [2.0]]
    model = DNNClassifier(max_iter=3).fit(X, ["a"] * 3)
    assert model.predict(X).tolist() == ["a"] * 3
    assert model.predict_proba(X).tolist() == [[1.0]] * 3


def test_labels_that_cannot_be_learnt():
    X = [[0.0], [1.0], [2.0]]
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        DNNClassifier().fit(X, [0.1, 0.2, 0.7])
    with pytest.raises(ValueError, match="y has 2 columns of classes"):
        DNNClassifier().fit(X, [[0, 1], [1, 2], [2, 0]])


def test_probability_of_zero():
    """predict_log_proba says -inf, and does not warn."""
    model = DNNClassifier((), solver="sgd", max_iter=1).fit([[0.0], [1.0]], [0, 1])
    model.coefs_[0][...] = 1e6
    assert model.predict_log_proba([[1.0]])[0, 0] == -np.inf


# --- at home in scikit-learn ---------------------------------------------------------------------


@both
@pytest.mark.parametrize("carry", [lambda m: pickle.loads(pickle.dumps(m)), "joblib"])
def test_copies_go_on_alike(Estimator, carry, tmp_path, iris):
    X, y = iris
    model = Estimator(
        8, batch_size=32, solver="sgd", learning_rate="adaptive", random_state=0, dropout=0.1
    )
    model.partial_fit(X, y, **({"classes": [0, 1, 2]} if Estimator is DNNClassifier else {}))
    if carry == "joblib":
        joblib.dump(model, tmp_path / "model")
        other = joblib.load(tmp_path / "model", mmap_mode="r")
    else:
        other = carry(model)
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    model.partial_fit(X, y)
    other.partial_fit(X, y)
    for a, b in zip(model.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


@both
def test_clone_and_parameters(Estimator):
    model = Estimator(7, "tanh", alpha=0.5, n_threads=1, dtype="float32", n_iter_no_change=np.inf)
    assert clone(model).get_params() == model.get_params()
    assert "alpha=0.5" in repr(model)
    assert hash(model) == hash(model) and model != clone(model)
    names = set(MLPClassifier().get_params()) - {"max_fun"}
    assert names <= set(model.get_params())
    defaults = {k: v for k, v in MLPClassifier().get_params().items() if k in names}
    assert {k: v for k, v in Estimator().get_params().items() if k in names} == defaults
    with pytest.raises(TypeError):
        Estimator(7, "tanh", "sgd")  # the others are by name only, as in MLPClassifier


@pytest.mark.slow
def test_pipeline_and_grid_search(iris):
    X, y = iris
    pipe = make_pipeline(StandardScaler(), DNNClassifier(max_iter=30, random_state=0))
    assert cross_val_score(pipe, X, y, cv=3).mean() > 0.8
    grid = {"dnnclassifier__learning_rate_init": [1e-5, 0.03], "dnnclassifier__alpha": [1e-4]}
    search = GridSearchCV(pipe, grid, n_jobs=2, cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they do not converge is printed by the workers
        search.fit(X, y)
    assert search.best_params_["dnnclassifier__learning_rate_init"] == 0.03
    assert search.best_score_ > 0.9
    alone = cross_val_score(search.best_estimator_, X, y, cv=3)
    assert search.best_score_ == pytest.approx(alone.mean())


@both
def test_fitted_attributes_are_views(Estimator, iris, tmp_path):
    X, y = iris
    model = Estimator((5, 4), max_iter=2).fit(X, y)
    shapes = [W.shape for W in model.coefs_]
    assert shapes == list(itertools.pairwise([4, 5, 4, model.n_outputs_]))
    assert [b.shape for b in model.intercepts_] == [(shape[1],) for shape in shapes]
    assert all(W.base is not None for W in model.coefs_)
    model.coefs_[-1][...] = 0.0
    model.intercepts_[-1][...] = 0.0
    assert np.ptp(model.network_.forward(X.T)) == 0.0
    for arrays in (model.coefs_, model.intercepts_):  # where it would be lost
        with pytest.raises(TypeError, match="does not support item assignment"):
            arrays[0] = np.ones_like(arrays[0])
    model.network_.save(tmp_path / "model.npz")
    loaded = fastdnn.DNN.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.forward(X.T), model.network_.forward(X.T))


@both
def test_not_fitted(Estimator, iris):
    with pytest.raises(NotFittedError):
        Estimator().predict(iris[0])
    assert not hasattr(Estimator(), "coefs_")


@both
def test_going_on_with_another_network(Estimator, iris):
    X, y = iris
    model = Estimator(5, max_iter=2, warm_start=True).fit(X, y)
    for other in ({"hidden_layer_sizes": 6}, {"activation": "tanh"}, {"dtype": "float32"}):
        changed = clone(model).set_params(warm_start=True).fit(X, y).set_params(**other)
        with pytest.raises(ValueError, match="hidden layers and dtype are now"):
            changed.fit(X, y)
        with pytest.raises(ValueError, match="hidden layers and dtype are now"):
            changed.partial_fit(X, y)
    model.set_params(solver="sgd", early_stopping=True).fit(X, y)  # these may change
    assert len(model.validation_scores_) == 2
    assert len(model.loss_curve_) == 4


def test_regression_cannot_change_its_outputs():
    X, Y = PROBLEMS["outputs"]
    with pytest.raises(ValueError, match="y has 1 outputs, expected 3"):
        DNNRegressor(max_iter=1).fit(X, Y).partial_fit(X, Y[:, 0])


def test_interrupted(iris, monkeypatch):
    """Ctrl-C keeps what is there, says so, and the best weights are in place."""
    X, y = iris
    score = DNNClassifier._score
    calls = itertools.count(1)

    def interrupt(*args):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return score(*args)

    monkeypatch.setattr(DNNClassifier, "_score", interrupt)
    model = DNNClassifier(early_stopping=True, random_state=0)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, y)
    assert len(model.validation_scores_) == 4
    assert model.predict(X).shape == y.shape


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"solver": "lbfgs"}, ValueError, "solver is 'lbfgs', which fastdnn does not have"),
        ({"solver": "adm"}, ValueError, "did you mean 'adam'"),
        ({"activation": "gelu"}, ValueError, "activation is 'gelu', expected one of logistic"),
        ({"activation": ["relu"] * 3}, ValueError, "activation has 3 names, expected 1"),
        ({"hidden_layer_sizes": (5, 0)}, ValueError, r"hidden_layer_sizes\[1\] is 0"),
        ({"hidden_layer_sizes": -1}, ValueError, r"hidden_layer_sizes\[0\] is -1"),
        ({"hidden_layer_sizes": None}, TypeError, "hidden_layer_sizes is None, expected a whole"),
        ({"hidden_layer_sizes": 3.0}, TypeError, "hidden_layer_sizes is 3.0, expected a whole"),
        ({"solver": np.array(["adam", "sgd"])}, TypeError, r"solver is array\("),
        ({"learning_rate": "cosine"}, ValueError, "learning_rate is 'cosine'"),
        ({"learning_rate_init": 0}, ValueError, "learning_rate_init is 0"),
        ({"alpha": -1}, ValueError, "alpha is -1"),
        ({"momentum": 1}, ValueError, "momentum is 1"),
        ({"beta_1": 1.5}, ValueError, "beta_1 is 1.5"),
        ({"max_iter": 0}, ValueError, "max_iter is 0"),
        ({"n_iter_no_change": 2.5}, TypeError, "n_iter_no_change is 2.5"),
        ({"n_iter_no_change": np.ones(2)}, TypeError, r"n_iter_no_change is array\("),
        ({"batch_size": np.array([3, 4])}, TypeError, r"batch_size is array\(\[3, 4\]\), expected"),
        ({"dtype": np.array([3, 4])}, ValueError, r"dtype is array\("),
        ({"validation_fraction": 1}, ValueError, "validation_fraction is 1"),
        (
            {"validation_fraction": 0.0, "early_stopping": True},
            ValueError,
            "validation_fraction is 0.0, expected a finite number > 0 and < 1",
        ),
        ({"batch_size": "all"}, TypeError, "batch_size is 'all'"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0"),
        ({"dtype": "float16"}, ValueError, "dtype is 'float16'"),
        ({"n_threads": 0}, ValueError, "n_threads is 0"),
        ({"tol": "small"}, TypeError, "tol is 'small'"),
    ],
)
@both
def test_bad_parameters(Estimator, setting, error, message, iris):
    with pytest.raises(error, match=message):
        Estimator(**setting).fit(*iris)


@both
def test_a_validation_fraction_that_is_not_used_may_be_0(Estimator, iris):
    Estimator(validation_fraction=0.0, max_iter=1).fit(*iris)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"sample_weight has shape \(3,\), expected \(150,\)"),
        (np.full(150, -1.0), "Negative values in data passed to `sample_weight`"),
        (np.zeros(150), "Sample weights must contain at least one non-zero number"),
        (np.full(150, np.nan), "sample_weight contains NaN"),
        (np.full(150, 1e307), "sample_weight adds up to inf, expected weights with a finite sum"),
    ],
)
@both
def test_bad_weights(Estimator, weights, message, iris):
    with pytest.raises(ValueError, match=message):
        Estimator().fit(*iris, sample_weight=weights)


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        (
            {0: -1, 1: 1, 2: 1},
            ValueError,
            r"class_weight\[0\] is -1, expected a finite number >= 0",
        ),
        ({0: 1, 1: 1, 2: np.nan}, ValueError, r"class_weight\[2\] is nan"),
        ({0: 1, 1: "2", 2: 1}, TypeError, r"class_weight\[1\] is '2'"),
        ({0: 1e307, 1: 1e307, 2: 1}, ValueError, "class_weight adds up to inf"),
        ([{0: 1, 1: -1}] * 3, ValueError, r"class_weight\[0\]\[1\] is -1"),
    ],
)
def test_bad_class_weights(class_weight, error, message, iris):
    X, y = PROBLEMS["multilabel"] if isinstance(class_weight, list) else iris
    with pytest.raises(error, match=message):
        DNNClassifier(class_weight=class_weight).fit(X, y)


def test_nothing_left_to_learn_from(iris):
    X, y = iris
    with pytest.raises(ValueError, match="every training example has weight 0"):
        DNNClassifier(class_weight={0: 0.0, 1: 0.0, 2: 0.0}).fit(X, y)


@both
def test_weights_too_small_for_alpha(Estimator, iris):
    X, y, weights = iris[0].astype(np.float32), iris[1], np.full(150, 1e-50)
    with pytest.raises(ValueError, match=r"1e-50, over which alpha 0\.0001 does not"):
        Estimator().fit(X, y, sample_weight=weights)
    Estimator(alpha=0.0, max_iter=1).fit(X, y, sample_weight=weights)


@both
def test_nothing_left_to_score(Estimator, iris):
    weights = np.zeros(150)
    weights[70] = 1.0  # which stays in training with this seed
    with pytest.raises(ValueError, match="every held-out example has weight 0"):
        Estimator(early_stopping=True, random_state=0).fit(*iris, sample_weight=weights)


def test_large_batch_is_clipped(iris):
    with pytest.warns(UserWarning, match="batch_size 1000 is more than the 150 examples"):
        DNNClassifier(batch_size=1000, max_iter=1).fit(*iris)


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_convergence_warning_points_at_the_caller(iris):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached") as caught:
        DNNRegressor(max_iter=2).fit(*iris)
    assert caught[0].filename == __file__


def test_without_scikit_learn():
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import fastdnn\n"
        "try: import fastdnn.estimators\n"
        "except ImportError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'fastdnn[sklearn]'" in out.stdout


def test_all():
    module = importlib.import_module("fastdnn.estimators")
    assert module.__all__ == ["DNNClassifier", "DNNRegressor"]
