"""The command ``train``, and what the others make of its models."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cli_cases import flowers, quickly, small_npz, write_csv

import fastdnn
from fastdnn import plotting
from fastdnn.storage import load_model

pytestmark = [pytest.mark.extras, pytest.mark.usefixtures("one_thread")]


def accuracy(printed):
    return float(re.search(r"held out: .*accuracy ([0-9.]+)", printed)[1])


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


def test_a_regression_is_in_the_units_of_the_data(run, tmp_path, rng):
    x = rng.normal(size=400)
    price = 250_000 + 40_000 * x
    write_csv(tmp_path / "prices.csv", {"x": x, "noise": rng.normal(size=400)}, price=price)
    result = run(*quickly("prices.csv"), "--task", "regression")
    assert float(re.search(r"held out: .*r2 ([0-9.]+)", result.out)[1]) > 0.9
    # The costs are in the unit of the prices only where that is said.
    assert "epochs are of labels standardised: (y - mean) / deviation\n" in result.out
    assert all(float(cost) < 10 for cost in re.findall(r"^epoch .* cost (\S+)", result.err, re.M))
    ends = re.findall(r"^(.+): cost (\S+)  r2 \S+  (.*)$", result.out, re.MULTILINE)
    assert [(what, unit) for what, _, unit in ends] == [
        ("training", "(of labels in their own unit)"), ("held out", "(of labels in their own unit)")
    ]  # fmt: skip
    assert all(float(cost) > 1000 for _, cost, _ in ends)
    run("predict", "model.npz", "prices.csv", "--out", "out.csv")
    header, *values = (tmp_path / "out.csv").read_text().split()
    assert header == "label"
    assert np.abs(np.array(values, float) - price).mean() < 10_000
    assert "r2 0.9" in run("evaluate", "model.npz", "prices.csv").out


def test_several_outputs(run, tmp_path, rng):
    X = rng.normal(size=(100, 4))
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


def test_the_course_layout_of_pictures(run, tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    for part, m in (("train", 80), ("test", 20)):
        label = np.arange(m) % 2
        pictures = rng.integers(0, 80, (m, 4, 4, 3)) + 170 * label[:, None, None, None]
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
    assert "for 60 epochs" in again.out
    assert "epoch 6/60" not in again.err
    assert (tmp_path / "model.npz").read_bytes() == whole


def test_a_training_that_stops_early_says_so(run, tmp_path):
    X, y = small_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", X=X, y=np.random.default_rng(1).permutation(y))
    result = run(*quickly("a.npz"), "--early-stopping", "2", "--learning-rate", "0.05")
    done, best = re.search(
        r"for (\d+) of 60 epochs, stopped early: the best is epoch (\d+)", result.out
    ).groups()
    assert int(done) == int(best) + 2
    assert "standardised" not in result.out and "unit" not in result.out
    whole = run(*quickly("a.npz"), "--early-stopping", "0")
    assert re.search(r"for 60 epochs(, compiling .*)?\n", whole.out)


def test_quiet_is_silent(run, tmp_path):
    small_npz(tmp_path / "a.npz")
    result = run(*quickly("a.npz"), "--quiet", "--layers", "none")
    assert (result.status, result.out, result.err) == (0, "", "")


def test_without_hidden_layers(run, tmp_path):
    small_npz(tmp_path / "a.npz")
    run(*quickly("a.npz"), "--layers", "none")
    assert fastdnn.DNN.load(tmp_path / "model.npz").layer_dims == (4, 1)


def test_few_examples_get_small_batches(run, tmp_path, iris):
    """50 steps in all, as with batches of 128, would label less than half of them."""
    columns = {f"x{i}": iris[0][:, i] for i in range(4)}
    write_csv(tmp_path / "iris.csv", columns, species=iris[1])
    result = run("train", "iris.csv", "--target", "species", "--layers", "16", "--no-plot")
    assert accuracy(result.out) > 0.85


def test_the_target_may_be_a_column_whose_name_is_a_number(run, tmp_path, rng):
    x = rng.normal(size=(2, 60))
    write_csv(tmp_path / "a.csv", {"2019": x[0], "b": x[1]}, **{"2020": (x[0] > 0) * 1})
    assert run(*quickly("a.csv"), "--target", "2020").status == 0
    assert run("predict", "model.npz", "a.csv").status == 0
    assert run("evaluate", "model.npz", "a.csv").status == 0
    refused = run(*quickly("a.csv"), "--features", "x")
    assert refused.status == 1
    assert "error: features='x' names an array of a .npz or HDF5 file, expected" in refused.err
