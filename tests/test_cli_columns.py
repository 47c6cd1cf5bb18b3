"""Which columns of a table the command's models take: those that they were trained on, by name."""

from __future__ import annotations

import numpy as np
import pytest
from cli_cases import flowers, quickly, write_csv

import fastdnn

pytestmark = [pytest.mark.extras, pytest.mark.usefixtures("one_thread")]


def learning(*argv):
    return (*quickly(*argv), "--test", "0", "--validation", "0", "--learning-rate", "0.05")


@pytest.fixture
def table(run, tmp_path):
    """A model of three features, the label in the last column: the columns, the labels."""
    columns, names = flowers(60)
    write_csv(tmp_path / "flowers.csv", columns, species=names)
    assert run(*learning("flowers.csv")).status == 0
    assert run("predict", "model.npz", "flowers.csv").out.split()[1:] == names
    return columns, names


def without(model, *names):
    """The model as versions before these names saved it."""
    net = fastdnn.DNN.load(model)
    for name in names:
        del net.extra[name]
    net.save(model)


def test_a_model_says_what_its_columns_are_called(run, tmp_path, table):
    extra = fastdnn.DNN.load(tmp_path / "model.npz").extra
    assert extra["feature_names"] == ["weight", "height", "planet"]
    assert (extra["target"], extra["target_name"]) == (None, "species")
    np.savetxt(tmp_path / "none.csv", np.eye(12), delimiter=",")
    run(*learning("none.csv", "--task", "classification"))
    extra = fastdnn.DNN.load(tmp_path / "model.npz").extra
    assert (extra["feature_names"], extra["target_name"]) == ([], None)


def test_columns_are_found_by_name(run, tmp_path, table):
    """In another order, among others, some of which are no numbers."""
    columns, names = table
    mixed = {
        "planet": columns["planet"], "species": names, "id": [f"n{i}" for i in range(60)],
        "height": columns["height"], "weight": columns["weight"],
    }  # fmt: skip
    write_csv(tmp_path / "mixed.csv", mixed)
    assert run("predict", "model.npz", "mixed.csv").out.split() == ["label", *names]
    assert "accuracy 1 " in run("evaluate", "model.npz", "mixed.csv").out
    write_csv(
        tmp_path / "called.csv", {("kind" if k == "species" else k): v for k, v in mixed.items()}
    )
    assert "accuracy 1 " in run("evaluate", "model.npz", "called.csv", "--target", "kind").out
    assert "accuracy 1 " in run("evaluate", "model.npz", "called.csv", "--target", "1").out
    result = run("evaluate", "model.npz", "called.csv")
    assert (result.status, result.out) == (1, "")
    assert "called.csv has no column 'species'; its columns are planet, kind, id" in result.err


def test_a_column_that_is_missing_is_named(run, tmp_path, table):
    columns, names = table
    fewer = {name: columns[name] for name in ("weight", "planet")}
    # As many columns as the network takes, one of which is the label.
    write_csv(tmp_path / "fewer.csv", fewer, species=names)
    write_csv(tmp_path / "other.csv", {"a": names, "b": names, "c": names})
    for command in ("predict", "evaluate"):
        result = run(command, "model.npz", "fewer.csv")
        assert (result.status, result.out) == (1, "")
        assert "fewer.csv has no column 'height'; its columns are weight, planet, sp" in result.err
    assert (
        "no column 'weight'; its columns are a, b" in run("predict", "model.npz", "other.csv").err
    )
    assert "'weight' is to be a feature and the label" in run(
        "evaluate", "model.npz", "flowers.csv", "--target", "weight"
    ).err  # fmt: skip


def test_a_label_that_is_a_number_is_no_feature(run, tmp_path, rng):
    """A model without names of features knows that of the target."""
    X = rng.normal(size=(40, 4))
    columns = {f"x{i}": X[:, i] for i in range(4)}
    write_csv(tmp_path / "num.csv", columns, species=(X[:, 0] > 0).astype(int))
    run(*quickly("num.csv", "--target", "species"))
    del columns["x1"]
    write_csv(tmp_path / "fewer.csv", columns, species=(X[:, 0] > 0).astype(int))
    assert "no column 'x1'" in run("predict", "model.npz", "fewer.csv").err
    without("model.npz", "feature_names", "target_name")
    result = run("predict", "model.npz", "fewer.csv")
    assert (result.status, result.out) == (1, "")
    assert "fewer.csv has 3 features an example, the model takes 4\n" in result.err
    assert len(run("predict", "model.npz", "num.csv").out.split()) == 41


def test_the_cell_that_is_no_number_is_named(run, tmp_path, table):
    columns, names = table
    columns["height"] = columns["height"].tolist()
    columns["height"][3] = ""
    write_csv(tmp_path / "gap.csv", columns, species=names)
    message = "gap.csv: line 5, 'height' is '', expected a finite number\n"
    assert message in run("predict", "model.npz", "gap.csv").err
    without("model.npz", "feature_names")
    assert message in run("predict", "model.npz", "gap.csv").err
    without("model.npz", "target_name")
    assert message in run("predict", "model.npz", "gap.csv").err


def test_tables_without_a_header_are_read_by_position(run, tmp_path, table):
    columns, names = table
    rows = list(zip(*columns.values(), names, strict=True))
    for width, name in ((3, "new.csv"), (4, "known.csv")):
        lines = [",".join(map(str, row[:width])) for row in rows]
        (tmp_path / name).write_text("\n".join(lines))
        assert run("predict", "model.npz", name).out.split() == ["label", *names]
    assert "accuracy 1 " in run("evaluate", "model.npz", "known.csv").out
    (tmp_path / "wide.csv").write_text("1,2,3,4,5\n")
    assert "wide.csv has 5 features an example, the" in run("predict", "model.npz", "wide.csv").err
    (tmp_path / "bad.csv").write_text("1,2,3,rose\nx,2,3,rose\n")
    message = "line 2, 'column 0' is 'x', expected a finite number"
    assert f"{message}\n" in run("predict", "model.npz", "bad.csv").err  # which has no --target
    assert f"{message}; if these are the labels, give 0 as target\n" in run("train", "bad.csv").err
    run(*quickly("flowers.csv", "--target", "species"))
    message = "known.csv has 4 features an example, the model takes 3, and none called 'species'\n"
    assert message in run("predict", "model.npz", "known.csv").err
    (tmp_path / "empty.csv").write_text("\n")
    assert "empty.csv is empty\n" in run("predict", "model.npz", "empty.csv").err


def test_names_that_are_numbers(run, tmp_path, rng):
    X = rng.normal(size=(40, 3))
    labels = [str(int(up)) for up in X[:, 0] > 0]  # names would make line 1 an example
    years = {str(2020 + i): X[:, i] for i in range(3)}
    write_csv(tmp_path / "years.csv", years, trend=labels)
    run(*learning("years.csv"))
    write_csv(tmp_path / "new.csv", years)
    assert run("predict", "model.npz", "new.csv").out.split() == ["label", *labels]
    np.savetxt(tmp_path / "bare.csv", X, delimiter=",")
    assert run("predict", "model.npz", "bare.csv").out.split() == ["label", *labels]
    write_csv(tmp_path / "turned.csv", {name: years[name] for name in reversed(years)})
    result = run("predict", "model.npz", "turned.csv")
    assert (result.status, result.out) == (1, "")
    assert "turned.csv: line 1 is an example, or names the columns in another order" in result.err


def test_names_that_occur_twice_tell_nothing(run, tmp_path, rng):
    X = rng.normal(size=(40, 2))
    rows = [f"{a},{b},{int(a > 0)}" for a, b in X]
    (tmp_path / "twice.csv").write_text("\n".join(["x,x,y", *rows]))
    assert run(*quickly("twice.csv")).status == 0
    extra = fastdnn.DNN.load(tmp_path / "model.npz").extra
    assert (extra["feature_names"], extra["target_name"]) == ([], "y")
    assert len(run("predict", "model.npz", "twice.csv").out.split()) == 41
