"""The command: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import fastdnn
from fastdnn import cli, plotting, reference
from fastdnn.cli import inputs, job
from fastdnn.cli.compiling import CompileClock
from fastdnn.cli.recipe import Recipe
from fastdnn.engine import Engine
from fastdnn.kernels import jit
from fastdnn.storage import FileFormatError, load_model

RNG = np.random.default_rng(0)
FLOWERS = ("iris", "lily", "rose")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """One compiled twin is enough here; the other gives the same bits."""
    monkeypatch.setenv("FASTDNN_NUM_THREADS", "1")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command in a folder of its own; gives its status and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run_command(*argv):
        status = cli.main([str(word) for word in argv])
        printed = capsys.readouterr()
        return SimpleNamespace(status=status, out=printed.out, err=printed.err)

    return run_command


def write_csv(path, columns, **labels):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *labels])
        writer.writerows(zip(*columns.values(), *labels.values(), strict=True))


def flowers(m=300):
    """Three classes that two features in very different units tell apart, and a useless one."""
    kind = np.arange(m) % 3
    columns = {
        "weight": 5000 + 100 * kind + RNG.normal(0, 10, m),
        "height": 0.001 * (kind % 2) + RNG.normal(0, 0.0001, m),
        "planet": np.full(m, 3.0),
    }
    return columns, [FLOWERS[k] for k in kind]


def small_npz(path, m=60, layout="rows", **more):
    X = RNG.normal(size=(m, 4))
    y = (X[:, 0] > 0).astype(np.int64)
    np.savez(path, X=X if layout == "rows" else X.T, y=y, **more)
    return X, y


def quickly(*argv):
    return ("train", *argv, "--epochs", "30", "--batch-size", "16", "--layers", "8", "--no-plot")


def accuracy(printed):
    return float(re.search(r"held out: .*accuracy ([0-9.]+)", printed)[1])


# --- train ----------------------------------------------------------------------------------


def test_the_digits_with_the_defaults(run, tmp_path):
    pytest.importorskip("sklearn")
    result = run("train", "digits")
    assert result.status == 0
    assert accuracy(result.out) >= 0.96
    assert re.search(r"held out: cost 0\.\d+", result.out)
    assert re.search(r"compiling took|nothing to compile", result.out)
    assert re.search(r"training took [0-9.]+ s for 50 epochs", result.out)
    assert "saved model.npz" in result.out
    assert "epoch 50/50" in result.err
    net = fastdnn.DNN.load(tmp_path / "model.npz")
    assert net.layer_dims == (64, 128, 64, 10)
    assert net.dtype == np.float32
    if plotting.available():
        assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_of_named_classes_from_training_to_labels(run, tmp_path):
    columns, names = flowers()
    write_csv(tmp_path / "flowers.csv", columns, species=names)
    trained = run(*quickly("flowers.csv"), "--target", "species")
    assert trained.status == 0
    assert accuracy(trained.out) == 1.0

    # A file with some of the classes only, in another order.
    some = [i for i, name in enumerate(names) if name != "iris"][::-1]
    write_csv(
        tmp_path / "some.csv",
        {"weight": columns["weight"][some], "height": columns["height"][some],
         "planet": columns["planet"][some]},
        species=[names[i] for i in some],
    )  # fmt: skip
    assert re.match(
        r"cost .*accuracy 1 .*\(200 examples\)", run("evaluate", "model.npz", "some.csv").out
    )

    write_csv(tmp_path / "new.csv", columns)
    assert run("predict", "model.npz", "new.csv", "--out", "labels.csv").status == 0
    assert (tmp_path / "labels.csv").read_text().split() == ["label", *names]
    # The same file with labels, to standard output.
    assert run("predict", "model.npz", "flowers.csv").out.split() == ["label", *names]


def test_a_regression_is_in_the_units_of_the_data(run, tmp_path):
    x = RNG.normal(size=400)
    price = 250_000 + 40_000 * x
    write_csv(tmp_path / "prices.csv", {"x": x, "noise": RNG.normal(size=400)}, price=price)
    result = run(*quickly("prices.csv"), "--task", "regression")
    assert float(re.search(r"held out: .*r2 ([0-9.]+)", result.out)[1]) > 0.95
    run("predict", "model.npz", "prices.csv", "--out", "out.csv")
    header, *values = (tmp_path / "out.csv").read_text().split()
    assert header == "label"
    assert np.abs(np.array(values, float) - price).mean() < 10_000
    assert "r2 0.9" in run("evaluate", "model.npz", "prices.csv").out


def test_several_outputs(run, tmp_path):
    X = RNG.normal(size=(100, 4))
    np.savez(tmp_path / "a.npz", X=X, y=np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1) * 1.0)
    assert run(*quickly("a.npz")).status == 0
    net = fastdnn.DNN.load(tmp_path / "model.npz")
    assert (net.output_activation, net.layer_dims[-1]) == ("sigmoid", 2)
    lines = run("predict", "model.npz", "a.npz").out.splitlines()
    assert lines[0] == "output 0,output 1"
    assert set(lines[1:]) <= {"0,0", "0,1", "1,0", "1,1"}
    assert len(lines) == 101


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_two_classes_get_one_sigmoid_and_arrays_may_lie_either_way(run, tmp_path, layout):
    small_npz(tmp_path / "a.npz", layout=layout)
    assert run(*quickly("a.npz"), "--dtype", "float32").status == 0
    net = fastdnn.DNN.load(tmp_path / "model.npz")
    assert (net.output_activation, net.layer_dims[-1]) == ("sigmoid", 1)
    assert len(run("predict", "model.npz", "a.npz").out.splitlines()) == 61


def test_the_course_layout_of_pictures(run, tmp_path):
    h5py = pytest.importorskip("h5py")
    for part, m in (("train", 80), ("test", 20)):
        label = np.arange(m) % 2
        pictures = RNG.integers(0, 80, (m, 4, 4, 3)) + 170 * label[:, None, None, None]
        with h5py.File(tmp_path / f"{part}.h5", "w") as file:
            file[f"{part}_set_x"] = pictures.astype(np.uint8)
            file[f"{part}_set_y"] = label
            file["list_classes"] = np.array([b"non-cat", b"cat"])
    trained = run(*quickly("train.h5"), "--test", "0", "--validation", "0", "--epochs", "300")
    assert "80 to train on\n" in trained.out
    net = fastdnn.DNN.load(tmp_path / "model.npz")
    assert net.extra["class_names"] == ["non-cat", "cat"]
    assert net.extra["scale"] is None  # pixels are within 0 ... 1 as they are
    assert "accuracy 1 " in run("evaluate", "model.npz", "test.h5").out
    assert run("predict", "model.npz", "test.h5").out.split()[:3] == ["label", "non-cat", "cat"]


def test_options_reach_the_network_and_the_training(run, tmp_path, monkeypatch):
    small_npz(tmp_path / "a.npz")
    seen = []
    fit = fastdnn.DNN.fit
    monkeypatch.setattr(
        fastdnn.DNN, "fit", lambda net, *a, **kw: (seen.append((net, kw)), fit(net, *a, **kw))[1]
    )
    words = "--layers 5,3 --hidden tanh --output softmax --optimizer momentum --learning-rate 0.01"
    words += " --seed 3 --threads 1 --no-plot --quiet"
    words += " --weight-decay 0.1 --dropout 0.2 --epochs 2 --batch-size 7 --early-stopping 1"
    assert run("train", "a.npz", *words.split()).status == 0
    net, settings = seen[-1]
    assert net.layer_dims == (4, 5, 3, 2)
    assert net.hidden_activations == ("tanh", "tanh")
    assert net.seed == 3
    expected = {
        "epochs": 2, "batch_size": 7, "optimizer": "momentum", "learning_rate": 0.01,
        "weight_decay": 0.1, "dropout": 0.2, "early_stopping": 1, "checkpoint": None,
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected
    assert load_model(tmp_path / "model.npz")[0]["n_threads"] is None


def test_the_same_seed_gives_the_same_model(run, tmp_path):
    small_npz(tmp_path / "a.npz")
    for name in ("1.npz", "2.npz"):
        run(*quickly("a.npz"), "--out", name)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_a_checkpoint_is_gone_on_from(run, tmp_path):
    small_npz(tmp_path / "a.npz")
    words = (*quickly("a.npz"), "--checkpoint", "c.npz", "--early-stopping", "0")
    run(*words)
    whole = (tmp_path / "model.npz").read_bytes()
    assert (tmp_path / "c.npz").exists()
    again = run(*words)
    assert "for 30 epochs" in again.out
    assert "epoch 3/30" not in again.err
    assert (tmp_path / "model.npz").read_bytes() == whole


def test_quiet_is_silent(run, tmp_path):
    small_npz(tmp_path / "a.npz")
    result = run(*quickly("a.npz"), "--quiet", "--layers", "none")
    assert (result.status, result.out, result.err) == (0, "", "")


def test_without_hidden_layers(run, tmp_path):
    small_npz(tmp_path / "a.npz")
    run(*quickly("a.npz"), "--layers", "none")
    assert fastdnn.DNN.load(tmp_path / "model.npz").layer_dims == (4, 1)


# --- endings --------------------------------------------------------------------------------


def test_ctrl_c_saves_the_partly_trained_model(run, tmp_path, monkeypatch):
    small_npz(tmp_path / "a.npz")
    steps, calls = Engine.steps, []

    def interrupted(engine, *args, **kwargs):
        calls.append(engine)
        if calls.count(engine) == 20:  # long after the copy that warms up
            raise KeyboardInterrupt
        return steps(engine, *args, **kwargs)

    monkeypatch.setattr(Engine, "steps", interrupted)
    result = run(*quickly("a.npz"), "--plot" if plotting.available() else "--no-plot")
    assert result.status == 130
    assert re.search(r"interrupted in epoch \d+ of 30; .* in model\.npz\n$", result.err)
    assert fastdnn.DNN.load(tmp_path / "model.npz").layer_dims == (4, 8, 1)
    assert (tmp_path / "model.png").exists() == plotting.available()


def test_ctrl_c_before_the_first_step_saves_nothing(run, tmp_path, monkeypatch):
    small_npz(tmp_path / "a.npz")

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(job.Job, "warm_up", interrupted)
    result = run(*quickly("a.npz"))
    assert (result.status, result.err) == (130, "fastdnn train: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_divergence_leaves_the_old_model(run, tmp_path):
    small_npz(tmp_path / "a.npz")
    (tmp_path / "model.npz").write_text("old")
    words = ("--optimizer", "sgd", "--learning-rate", "1e30", "--hidden", "identity")
    result = run(*quickly("a.npz"), *words)
    assert result.status == 1
    assert re.search(r"^fastdnn train: error: training diverged: .*\n\Z", result.err, re.MULTILINE)
    assert (tmp_path / "model.npz").read_text() == "old"


FAILURES = {
    "no such file": ("train no.csv", "no.csv: no such file"),
    "unknown ending": ("train a.xls", "a.xls ends in '.xls'"),
    "no such column": ("train a.csv --target price", "no column 'price'; its columns are x, y"),
    "one class": ("train one.csv", "one has only the class '1', expected at least two"),
    "too few": ("train a.csv --validation 0.01", "--validation 0.01: test_fraction 0.01 of"),
    "no folder": ("train a.csv --out no/m.npz", "no/m.npz: the folder no does not exist"),
    "not a model": ("predict a.csv a.csv", "a.csv: not a fastdnn file"),
    "no model": ("evaluate no.npz a.csv", "no.npz"),
    "other features": ("predict net.npz wide.csv", "wide.csv has 5 features an example, the model"),
    "other classes": ("evaluate net.npz wide.csv", "X has shape (4, 4), expected (2, m)"),
    "out is a folder": ("predict net.npz a.csv --out .", "is not a regular file"),
}


@pytest.fixture
def files(tmp_path):
    write_csv(tmp_path / "a.csv", {"x": RNG.normal(size=20)}, y=[0, 1] * 10)
    write_csv(tmp_path / "one.csv", {"x": RNG.normal(size=20)}, y=[1] * 20)
    write_csv(tmp_path / "wide.csv", {f"x{i}": [1.0, 2, 3, 4] for i in range(5)})
    (tmp_path / "a.xls").write_text("?")
    fastdnn.DNN([2, 3, 1]).save(tmp_path / "net.npz")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("case", FAILURES)
def test_what_goes_wrong_is_one_line_on_standard_error(run, case):
    words, message = FAILURES[case]
    result = run(*words.split())
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"fastdnn {words.split()[0]}: error: ")
    assert message in result.err
    assert result.err.count("\n") == 1


MISUSES = {
    "nothing": ("", "required: command"),
    "unknown command": ("fly", "invalid choice: 'fly'"),
    "no data": ("train", "required: data"),
    "epochs": ("train a.csv --epochs 0", "epochs is 0, expected a whole number >= 1"),
    "layers": ("train a.csv --layers 4,x", "--layers"),
    "share": ("train a.csv --test 1", "test is 1, expected"),
    "rate": ("train a.csv --learning-rate -1", "learning-rate is -1, expected"),
    "activation": ("train a.csv --hidden softmax", "invalid choice: 'softmax'"),
    "stopping": ("train a.csv --early-stopping 3 --validation 0", "needs --validation above 0"),
    "out is the data": ("train net.npz --out net.npz", "--out net.npz is the file of the data"),
    "out is a picture": ("train a.csv --out a.png", "is not the name of a model file"),
    "identity for classes": ("train a.csv --output identity", "use --task regression"),
    "softmax for numbers": ("train wide.csv --output softmax", "use --task classification"),
    "sigmoid for three": ("train three.csv --output sigmoid", "for two classes, three has 3"),
    "export": ("export net.npz net.pt", "net.pt ends in '.pt', expected .onnx or .npz"),
    "export onto itself": ("export net.npz net.npz", "net.npz is the model itself"),
}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("case", MISUSES)
def test_wrong_usage_is_status_2(run, tmp_path, capsys, case):
    write_csv(tmp_path / "three.csv", {"x": RNG.normal(size=30)}, y=list("abc") * 10)
    write_csv(tmp_path / "wide.csv", {"x": RNG.normal(size=30)}, y=RNG.normal(size=30))
    words, message = MISUSES[case]
    try:
        result = run(*words.split())
    except SystemExit as ended:  # argparse's own
        result = SimpleNamespace(status=ended.code, **capsys.readouterr()._asdict())
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("usage: fastdnn")
    assert message in result.err


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [("sklearn.datasets", "train digits", "sklearn"), ("matplotlib", "train a.csv --plot", "plot"),
     ("h5py", "train a.h5", "data"), ("onnx", "export net.npz a.onnx", "onnx")],
)  # fmt: skip
@pytest.mark.usefixtures("files")
def test_a_missing_extra_is_named_with_its_command(
    run, tmp_path, monkeypatch, module, words, extra
):
    (tmp_path / "a.h5").write_text("?")
    monkeypatch.setitem(sys.modules, module, None)
    result = run(*words.split())
    assert result.status == 1
    assert f"pip install 'fastdnn[{extra}]'" in result.err


def test_without_matplotlib_there_is_a_model_and_no_picture(run, tmp_path, monkeypatch):
    small_npz(tmp_path / "a.npz")
    monkeypatch.setattr(plotting, "available", lambda: False)
    result = run("train", "a.npz", "--epochs", "1")
    assert result.status == 0
    assert "saved model.npz\n" in result.out
    assert not (tmp_path / "model.png").exists()


# --- the recipe -----------------------------------------------------------------------------


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


def test_a_recipe_survives_the_model_file(tmp_path):
    net = fastdnn.DNN([3, 2], output_activation="softmax")
    X = RNG.normal(5, 2, (3, 50))
    recipe = Recipe.fitted(X, "auto", class_names=("a", "b"), target="species")
    net.extra = recipe.to_json()
    net.save(tmp_path / "m.npz")
    there = Recipe.of(fastdnn.DNN.load(tmp_path / "m.npz"), "m.npz")
    assert (there.class_names, there.target, there.limits) == (("a", "b"), "species", recipe.limits)
    np.testing.assert_array_equal(there.apply(X, np.dtype("f8")), recipe.apply(X, np.dtype("f8")))
    scaled = recipe.apply(X, np.dtype("f4"))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("scaling", "low", "scales"),
    [("auto", 0.0, False), ("auto", -2.0, True), ("standard", 0.0, True), ("none", -2.0, False)],
)
def test_auto_scales_what_is_not_small_already(scaling, low, scales):
    X = np.array([[low, 0.5, 1.0]])
    assert (Recipe.fitted(X, scaling, class_names=(), target=None).scaling is not None) == scales


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


def test_a_class_the_model_does_not_know(run, tmp_path):
    columns, names = flowers(60)
    write_csv(tmp_path / "flowers.csv", columns, species=names)
    run(*quickly("flowers.csv"))
    write_csv(tmp_path / "new.csv", columns, species=["weed", *names[1:]])
    result = run("evaluate", "model.npz", "new.csv")
    assert result.status == 1
    assert "new has the class 'weed', the model knows iris, lily, rose" in result.err


def test_a_number_is_the_number_of_a_column(run, tmp_path):
    write_csv(tmp_path / "a.csv", {"kind": [0, 1] * 20, "x": [-1.0, 1.0] * 20})
    assert run(*quickly("a.csv"), "--target", "0").status == 0
    assert "accuracy 1 " in run("evaluate", "model.npz", "a.csv").out
    assert inputs.load_labelled("a.csv", target="-2").class_names == ("0", "1")


# --- info and warmup ------------------------------------------------------------------------


def test_info(run):
    result = run("info")
    facts = dict(line.split("  ", 1) for line in result.out.splitlines())
    assert facts["fastdnn"].strip() == fastdnn.__version__
    assert {"numba", "features", "lanes", "threading layer", "threads", "cache"} <= set(facts)
    assert facts["threads"].strip() == "1 (FASTDNN_NUM_THREADS is 1)"


def test_warmup_says_what_it_did(run):
    result = run("warmup", "--dtype", "float32")
    assert result.status == 0
    assert re.search(r"float32 training: (compiled in [0-9.]+ s|was there)\n", result.out)
    again = run("warmup", "--dtype", "float32")
    for what in ("training", "prediction", "single functions"):
        assert f"float32 {what}: was there" in again.out


@pytest.mark.slow
@pytest.mark.needs_jit
def test_warmup_leaves_no_kernel_out(run, monkeypatch):
    monkeypatch.setenv("FASTDNN_NUM_THREADS", "2")
    assert run("warmup", "--dtype", "float32").status == 0
    needed = [kernel for kernel in jit._cached if not kernel.__module__.endswith("roofline")]
    assert [kernel.__name__ for kernel in needed if not kernel.signatures] == []


def python(*words, **environment):
    return subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "FASTDNN_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_warmup_without_a_cache_is_an_error():
    process = python("-m", "fastdnn", "warmup", FASTDNN_CACHE="0")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: compiled kernels cannot be kept: the cache is off" in err


@pytest.mark.slow
@pytest.mark.needs_jit
def test_what_is_warm_is_not_compiled_again(tmp_path):
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first = python("-m", "fastdnn", "warmup", "--dtype", "float32", **cache)
    out, err = first.communicate(timeout=600)
    assert first.returncode == 0, err
    assert out.count("compiled in") == 3
    small_npz(tmp_path / "a.npz")
    words = (*quickly(str(tmp_path / "a.npz")), "--out", str(tmp_path / "m.npz"))
    second = python("-m", "fastdnn", *words, **cache)
    out, err = second.communicate(timeout=600)
    assert "nothing to compile" in out
    assert "compiling" not in err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_real_ctrl_c(tmp_path):
    small_npz(tmp_path / "a.npz")
    words = ("train", str(tmp_path / "a.npz"), "--epochs", "10000000", "--early-stopping", "0")
    process = python("-m", "fastdnn", *words, "--out", str(tmp_path / "m.npz"))
    for line in process.stdout:
        if "compil" in line:  # the training begins
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert re.search(r"interrupted in epoch \d+ of 10000000; the partly trained model", err)
    assert fastdnn.DNN.load(tmp_path / "m.npz").layer_dims == (4, 128, 64, 1)


def test_a_reader_that_stops_reading_is_no_error(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((100_000, 2)))
    fastdnn.DNN([2, 1]).save(tmp_path / "m.npz")
    words = ("predict", str(tmp_path / "m.npz"), str(tmp_path / "a.npz"))
    with python("-m", "fastdnn", *words) as process:
        process.stdout.close()
        assert process.wait(timeout=120) == 141
        assert process.stderr.read() == ""


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([c, "--help"] for c in
    ("train", "predict", "evaluate", "export", "profile", "info", "warmup"))])  # fmt: skip
def test_help(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    assert "fastdnn" in capsys.readouterr().out


def test_the_clock_counts_nested_compilations_once():
    announced = []
    with CompileClock(lambda: announced.append(1)) as clock:
        for _ in range(2):
            clock.on_start(None)
            clock.on_start(None)
            time.sleep(0.02)
            clock.on_end(None)
            clock.on_end(None)
    assert announced == [1]
    assert 0.04 <= clock.seconds < 0.4
