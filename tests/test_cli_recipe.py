"""The command's models and what they know of the data: ``predict``, ``evaluate``, ``export``."""

from __future__ import annotations

import numpy as np
import pytest
from cli_cases import flowers, quickly, small_npz, write_csv

import fastdnn
from fastdnn import reference
from fastdnn.cli import inputs
from fastdnn.cli.recipe import Recipe
from fastdnn.storage import FileFormatError

pytestmark = [pytest.mark.extras, pytest.mark.usefixtures("one_thread")]


def scaled_net(tmp_path, run):
    columns, names = flowers()
    write_csv(tmp_path / "flowers.csv", columns, species=names)
    run(*quickly("flowers.csv"))
    X = np.array(list(columns.values()))
    net = fastdnn.DNN.load(tmp_path / "model.npz")
    return net, X, net.forward(Recipe.of(net, "model.npz").apply(X, net.dtype))


def test_an_exported_network_takes_numbers_as_they_stand_in_the_file(run, tmp_path):
    net, X, AL = scaled_net(tmp_path, run)
    assert run("export", "model.npz", "state.npz").out == "saved state.npz\n"
    with np.load(tmp_path / "state.npz") as state:
        weights = {name: state[name] for name in state.files}
    assert list(weights) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    parameters = {
        f"{kind}{l + 1}": weights[f"{2 * l}.{name}"].reshape(net.parameters[f"{kind}{l + 1}"].shape)
        for l in range(2) for kind, name in (("W", "weight"), ("b", "bias"))
    }  # fmt: skip
    there, _ = reference.L_model_forward(X, parameters, output_activation="softmax")
    # float32 weights of features near 5000 that differ by 100
    np.testing.assert_allclose(there, AL, atol=2e-3)


def test_an_exported_onnx_model_too(run, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    _, X, AL = scaled_net(tmp_path, run)
    assert run("export", "model.npz", "a.onnx").status == 0
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (there,) = session.run(None, {"X": X.T.astype(np.float32)})
    np.testing.assert_allclose(there.T, AL, atol=2e-3)


def test_numbers_of_another_scale_are_pointed_out(run, tmp_path):
    X, _ = small_npz(tmp_path / "a.npz")
    run(*quickly("a.npz"), "--test", "0")
    np.savez(tmp_path / "b.npz", X=255 * X, y=np.arange(60) % 2)
    for words in ("predict model.npz b.npz", "evaluate model.npz b.npz"):
        assert "warning: the examples range from" in run(*words.split()).err
    assert run("predict", "model.npz", "a.npz").err == ""


@pytest.fixture
def timestamps(tmp_path, run, rng):
    """Features far from 0 beside their spread: X, and what a model makes of them."""
    X = np.array([1.7e9 + rng.uniform(-100, 100, 400), np.full(400, 2.0**60)])
    write_csv(tmp_path / "times.csv", {"t": X[0], "id": X[1]}, late=(X[0] > 1.7e9).astype(int))
    run(*quickly("times.csv"))
    net = fastdnn.DNN.load(tmp_path / "model.npz")
    AL = net.forward(Recipe.of(net, "model.npz").apply(X, net.dtype))
    assert np.mean((AL[0] > 0.5) == (X[0] > 1.7e9)) > 0.95
    return X, AL


@pytest.mark.parametrize("wrap", [np.asarray, fastdnn.data.ArraySource])
def test_the_limits_of_examples_are_compared_with_those_of_the_training(wrap):
    recipe = Recipe(limits=(0.0, 1.0))
    assert recipe.warning(wrap(np.array([[-1.0, 0.5], [2.0, 0.0]]))) is None
    for far in (-1.5, 2.5):
        said = recipe.warning(wrap(np.array([[0.0, 0.5], [far, 1.0]])))
        assert (
            f"range from {min(far, 0):g} to {max(far, 1):g}, those of the training from 0" in said
        )
    assert Recipe().warning(wrap(np.array([[1e9]]))) is None


def test_an_exported_onnx_model_tells_timestamps_apart(run, timestamps):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    X, AL = timestamps
    printed = run("export", "model.npz", "a.onnx").out
    assert "saved a.onnx\n" in printed and "it takes float64 and scales by itself" in printed
    session = onnxruntime.InferenceSession("a.onnx", providers=["CPUExecutionProvider"])
    (there,) = session.run(None, {"X": np.ascontiguousarray(X.T)})
    np.testing.assert_allclose(there.T, AL, atol=1e-5)


def test_an_exported_state_dict_says_how_to_scale_timestamps(run, timestamps):
    X, AL = timestamps
    printed = run("export", "model.npz", "state.npz").out
    assert "saved state.npz\n" in printed and "its network takes (x - mean) / scale" in printed
    with np.load("state.npz") as state:
        parameters = {
            f"{kind}{l + 1}": state[f"{2 * l}.{name}"].reshape(-1, units)
            for l, units in enumerate((2, 8))
            for kind, name, units in (("W", "weight", units), ("b", "bias", 1))
        }
        scaled = (X - state["mean"][:, None]) / state["scale"][:, None]
    there, _ = reference.L_model_forward(scaled, parameters)
    np.testing.assert_allclose(there, AL, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "mean", "scale", "expected"),
    [
        ("f4", 800.0, 1.0, True), ("f4", -900.0, 1.0, False), ("f4", 9e22, 1.1e20, False),
        ("f4", 0.0, 1e-20, False), ("f8", 1e11, 1.0, True), ("f8", 1e12, 1.0, False),
        ("f8", 0.0, 1e-20, True),
    ],
)  # fmt: skip
def test_a_scaling_is_folded_where_rounding_is_harmless(dtype, mean, scale, expected):
    recipe = Recipe(scaling=(np.array([[0.0], [mean]]), np.array([[1.0], [scale]])))
    assert recipe.may_be_folded(np.dtype(dtype)) == expected
    assert Recipe().may_be_folded(np.dtype(dtype))


@pytest.mark.parametrize("scaling", ["auto", "none"])
@pytest.mark.parametrize("wrap", [np.asarray, fastdnn.data.ArraySource])
def test_numbers_that_overflow_are_refused_with_the_feature(scaling, wrap):
    X = np.linspace(0.0, 5.0, 12).reshape(3, 4)
    recipe = Recipe.fitted(X, scaling, class_names=(), target=None)

    def applied(X):
        return recipe.apply(X, np.dtype("f4")).read(0, 4)  # of an array it does not come to this

    X[1, 2] = 1e200
    with pytest.raises(ValueError, match=r"feature 1 of an example is 1e\+200, too large for"):
        applied(wrap(X))
    assert recipe.apply(X, np.dtype("f8"))[1, 2] > 1e199
    with pytest.raises(ValueError, match=r"feature 1 cannot be standardised.* from 0 to 1e\+200"):
        Recipe.fitted(wrap(X), "standard", class_names=(), target=None)


def test_a_recipe_survives_the_model_file(tmp_path, rng):
    net = fastdnn.DNN([3, 2], output_activation="softmax")
    X = rng.normal(5, 2, (3, 50))
    recipe = Recipe.fitted(
        X, "auto", class_names=("a", "b"), target="species", feature_names=("x", "y", "z"),
        target_name="kind",
    )  # fmt: skip
    net.extra = recipe.to_json()
    net.save(tmp_path / "m.npz")
    there = Recipe.of(fastdnn.DNN.load(tmp_path / "m.npz"), "m.npz")
    assert (there.class_names, there.target, there.limits) == (("a", "b"), "species", recipe.limits)
    assert (there.feature_names, there.target_name) == (("x", "y", "z"), "kind")
    np.testing.assert_array_equal(there.apply(X, np.dtype("f8")), recipe.apply(X, np.dtype("f8")))
    scaled = recipe.apply(X, np.dtype("f4"))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "low", "scales"),
    [
        ("auto", 0.0, False), ("auto", -1.0, False), ("auto", -1.01, True),
        ("standard", 0.0, True), ("none", -2.0, False),
    ],
)  # fmt: skip
def test_auto_scales_what_is_not_small_already(scaling, low, scales):
    X = np.array([[low, 0.5, 1.0]])
    assert (Recipe.fitted(X, scaling, class_names=(), target=None).scaling is not None) == scales


@pytest.mark.parametrize("value", [0.0, 0.1, -1.7e9, 123456789012345678.0, 1e30])
def test_a_constant_feature_is_small_however_large_it_is(value):
    X = np.full((1, 397), value)
    scaled = Recipe.fitted(X, "standard", class_names=(), target=None).apply(X, np.dtype("f4"))
    assert np.abs(scaled).max() < 0.01


GOOD = {"class_names": ["a", "b"], "mean": [0.0], "scale": [1.0], "limits": [0, 1], "target": "y"}


@pytest.mark.parametrize(
    "bad",
    [
        {"class_names": ["a"]}, {"class_names": "ab"}, {"class_names": [1, 2]}, {"target": 3},
        {"mean": [0.0, 1.0]}, {"mean": ["0"]}, {"mean": None}, {"scale": None}, {"scale": [0.0]},
        {"scale": [-1]}, {"limits": [0]}, {"limits": {"low": 0}}, {"scale": [float("inf")]},
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_the_network_is_refused(bad):
    net = fastdnn.DNN([1, 1])
    net.extra = dict(GOOD)
    assert Recipe.of(net, "m.npz").class_names == ("a", "b")
    net.extra = GOOD | bad
    with pytest.raises(FileFormatError, match=r"m\.npz: "):
        Recipe.of(net, "m.npz")


def test_a_model_from_python_takes_numbers_as_they_are(run, tmp_path):
    X, y = small_npz(tmp_path / "a.npz")
    net = fastdnn.DNN([4, 3], output_activation="softmax")
    net.save(tmp_path / "m.npz")
    expected = net.evaluate(X.T, y)
    assert f"accuracy {expected['accuracy']:.4g} " in run("evaluate", "m.npz", "a.npz").out
    labels = run("predict", "m.npz", "a.npz").out.split()[1:]
    assert [int(label) for label in labels] == net.predict(X.T).tolist()


@pytest.mark.parametrize(
    ("output", "loss"),
    [("identity", None), ("softplus", None), ("relu", None), ("leaky_relu", None), ("tanh", None),
     ("sigmoid", "mse")],
)  # fmt: skip
def test_labels_of_a_squared_error_are_quantities_whatever_the_output(
    run, tmp_path, rng, output, loss
):
    X, y = rng.normal(size=(50, 4)), rng.integers(-20, 20, 50)
    np.savez(tmp_path / "a.npz", X=X, y=y)
    net = fastdnn.DNN([4, 1], output_activation=output, loss=loss)
    net.save(tmp_path / "m.npz")
    expected = net.evaluate(X.T, y)
    printed = f"cost {expected['cost']:.4g}  r2 {expected['r2']:.4g}  (50 examples)\n"
    assert run("evaluate", "m.npz", "a.npz").out == printed


def test_a_file_that_names_its_classes_numbers_them_too(run, tmp_path):
    X, y = small_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "named.npz", X=X, y=1 + y, class_names=np.array(["a", "b", "c"]))
    net = fastdnn.DNN([4, 3], output_activation="softmax")
    net.save(tmp_path / "m.npz")
    expected = net.evaluate(X.T, 1 + y)
    assert f"cost {expected['cost']:.4g} " in run("evaluate", "m.npz", "named.npz").out


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["rose", "lily", "iris"], "the labels are strings such as 'rose', expected numbers"),
        ([1, 2, 3], "a has the class 3, the model knows 0 to 2"),
        ([-1, 0, 1], "a has the class -1, the model knows 0 to 2"),
        ([0.5, 1.5, 1.0], "a has the class 0.5, the model knows 0 to 2"),
    ],
)
def test_classes_that_a_model_without_names_cannot_know(run, tmp_path, labels, message):
    write_csv(tmp_path / "a.csv", {"x": np.linspace(-1.0, 1.0, 60)}, kind=labels * 20)
    fastdnn.DNN([1, 3], output_activation="softmax").save(tmp_path / "m.npz")
    result = run("evaluate", "m.npz", "a.csv")
    assert (result.status, result.out) == (1, "")
    assert message in result.err


def test_a_class_the_model_does_not_know(run, tmp_path):
    columns, names = flowers(60)
    write_csv(tmp_path / "flowers.csv", columns, species=names)
    run(*quickly("flowers.csv"))
    write_csv(tmp_path / "new.csv", columns, species=["weed", *names[1:]])
    result = run("evaluate", "model.npz", "new.csv")
    assert result.status == 1
    assert "new has the class 'weed', the model knows iris, lily, rose" in result.err


def test_a_class_that_is_another_only_as_a_number(run, tmp_path):
    write_csv(tmp_path / "a.csv", {"x": [-1.0, 1.0] * 20}, kind=["007", "A"] * 20)
    run(*quickly("a.csv"))
    write_csv(tmp_path / "b.csv", {"x": [-1.0]}, kind=["7"])
    assert (
        "b has the class '7', the model knows 007, A" in run("evaluate", "model.npz", "b.csv").err
    )


@pytest.mark.parametrize(
    ("trained", "other"),
    [
        (["01", "02", "A1"], {"01": 0, "02": 1}),
        (["007", "7", "A"], {"7": 1}),
        (["1.0", "2.0", "A"], {"1.0": 0, "2.0": 1}),
        (["1", "2", "3"], {"1.0": 0, "3.0": 2}),
        (["1", "10", "1_0"], {"10": 1, "1_0": 2}),
    ],
)
def test_labels_match_those_of_another_file_as_they_are_written(run, tmp_path, trained, other):
    x = np.linspace(-1.0, 1.0, 3)
    write_csv(tmp_path / "a.csv", {"x": [*x] * 20}, kind=trained * 20)
    run(*quickly("a.csv"), "--learning-rate", "0.05")
    assert run("predict", "model.npz", "a.csv").out.split()[1:] == trained * 20
    write_csv(tmp_path / "b.csv", {"x": x[[*other.values()]]}, kind=other)
    assert "accuracy 1 " in run("evaluate", "model.npz", "b.csv").out


def test_a_number_is_the_number_of_a_column(run, tmp_path):
    write_csv(tmp_path / "a.csv", {"kind": [0, 1] * 20, "x": [-1.0, 1.0] * 20})
    assert run(*quickly("a.csv"), "--target", "0").status == 0
    assert "accuracy 1 " in run("evaluate", "model.npz", "a.csv").out
    assert inputs.load_labelled("a.csv", target="-2").class_names == ("0", "1")
