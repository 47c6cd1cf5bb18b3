"""The command: how it ends, what it refuses, ``info``, ``warmup``, and processes of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from cli_cases import quickly, small_npz, write_csv

import fastdnn
from fastdnn import cli, dispatch, plotting
from fastdnn.cli import job
from fastdnn.engine import Engine
from fastdnn.kernels import jit
from fastdnn.storage import arrayfile

pytestmark = [pytest.mark.extras, pytest.mark.usefixtures("one_thread")]

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
    assert re.search(r"interrupted in epoch \d+ of 60; .* in model\.npz\n$", result.err)
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
    assert "; model.npz is not written. Try a smaller --learning-rate.\n" in result.err
    assert (tmp_path / "model.npz").read_text() == "old"


@pytest.mark.parametrize("validated", [True, False])
def test_a_later_divergence_saves_the_best_epoch(run, tmp_path, rng, validated):
    X = rng.normal(size=(200, 3))
    np.savez(tmp_path / "a.npz", X=X, y=X @ [1.0, 2.0, 3.0] + 5.0)
    words = "train a.npz --layers none --optimizer sgd --learning-rate 9 --batch-size 200 "
    words += "--no-plot --early-stopping 0" if validated else "--no-plot --validation 0"
    diverged = run(*words.split(), "--quiet")
    assert (diverged.status, diverged.out) == (1, "")
    assert re.search(r"diverged: the cost became inf in epoch [1-4]\d of 50, ", diverged.err)
    assert "kept" not in diverged.err
    if not validated:  # nothing says which epoch was better than the last one
        assert "; model.npz is not written. " in diverged.err
        assert not (tmp_path / "model.npz").exists()
        return
    assert "; the model of epoch 1, the best one, is in model.npz. " in diverged.err
    assert run(*words.split(), "--epochs", "1", "--out", "1.npz").status == 0
    assert (tmp_path / "model.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()


FAILURES = {
    "no such file": ("train no.csv", "no.csv: no such file"),
    "unknown ending": ("train a.xls", "a.xls ends in '.xls'"),
    "no such column": ("train a.csv --target price", "no column 'price'; its columns are x, y"),
    "a folder": ("train .", "error: . is a folder, expected a file\n"),
    "a folder of examples": ("predict net.npz .", "error: . is a folder, expected a file\n"),
    "classes of one": ("train single.csv", "--test 0.2: no class has two examples to divide\n"),
    "short labels": ("train short.npz", "do not agree about the number of examples\n"),
    "one class": ("train one.csv", "one has only the class '1', expected at least two"),
    "too few": (
        "train a.csv --validation 0.01",
        "error: --validation 0.01 of 16 examples is 0, expected",
    ),
    "no folder": ("train a.csv --out no/m.npz", "no/m.npz: the folder"),
    "no folder of checkpoints": ("train a.csv --checkpoint no/c.npz", "no/c.npz: the folder"),
    "no folder of pictures": ("profile --plot no/a.png", "no/a.png: the folder"),
    "not a model": ("predict a.csv a.csv", "a.csv: not a fastdnn file"),
    "no model": ("evaluate no.npz a.csv", "no.npz"),
    "other features": ("predict net.npz wide.csv", "wide.csv has 5 features an example, the model"),
    "other features, labelled": ("evaluate net.npz wide.csv", "wide.csv has 4 features an example"),
    "other features than were scaled": ("evaluate scaled.npz wide.csv", "the model takes 2\n"),
    "large features": (
        "train large.csv --target x",
        "feature 0 cannot be standardised, its squares",
    ),
    "large features, not scaled": (
        "train large.csv --target x --scale none",
        "e+200, too large for a network of float32",
    ),
    "large labels": ("train large.csv", "the labels of large reach 2e+200, a network of float32"),
    "out is a folder": ("predict net.npz a.csv --out .", "is not a regular file"),
}


@pytest.fixture
def files(tmp_path, rng):
    write_csv(tmp_path / "a.csv", {"x": rng.normal(size=20)}, y=[0, 1] * 10)
    write_csv(tmp_path / "one.csv", {"x": rng.normal(size=20)}, y=[1] * 20)
    write_csv(tmp_path / "wide.csv", {f"x{i}": [1.0, 2, 3, 4] for i in range(5)})
    write_csv(tmp_path / "large.csv", {"x": rng.normal(size=20)}, y=np.linspace(0.0, 2e200, 20))
    write_csv(tmp_path / "single.csv", {"x": rng.normal(size=20)}, y=list("abcdefghijklmnopqrst"))
    np.savez(tmp_path / "short.npz", X=np.zeros((9, 2)), y=np.zeros(4))
    (tmp_path / "a.xls").write_text("?")
    net = fastdnn.DNN([2, 3, 1])
    net.save(tmp_path / "net.npz")
    net.extra = {"mean": [3.0, 4.0], "scale": [1.0, 2.0]}
    net.save(tmp_path / "scaled.npz")


def test_a_folder_that_cannot_be_written_is_found_before_the_training(run, tmp_path, monkeypatch):
    small_npz(tmp_path / "a.npz")

    def denied(name, mode):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(arrayfile, "open", denied, raising=False)
    result = run("train", "a.npz", "--out", "m.npz")
    assert (result.status, result.out) == (1, "")
    assert result.err == "fastdnn train: error: m.npz cannot be written: Permission denied\n"


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
    "seed": ("train a.csv --seed 4294967296", "expected a whole number below 2**32"),
    "layers": ("train a.csv --layers 4,x", "argument --layers: 'x' is not a number"),
    "batch": ("profile --batch-size 0", "batch-size is 0, expected a whole number >= 1"),
    "repeats": ("profile --repeats 1.5", "repeats is 1.5, expected a whole number >= 1"),
    "threads": ("profile --threads many", "argument --threads: 'many' is not a number"),
    "hidden": ("profile --hidden softmax", "invalid choice: 'softmax'"),
    "one layer": ("profile --layer-dims 784", "layer-dims is [784], expected at least two sizes"),
    "layer dims": ("profile --layer-dims 784,many", "--layer-dims: 'many' is not a number"),
    "no layer dims": ("profile --layer-dims ,", "--layer-dims: '' is not a number"),
    "no outputs": ("profile --layer-dims 2,0", "layer-dims[1] is 0, expected a whole number"),
    "model and network": ("profile net.npz --dtype float32", "net.npz already says its layers"),
    "share": ("train a.csv --test 1", "test is 1, expected"),
    "rate": ("train a.csv --learning-rate -1", "learning-rate is -1, expected"),
    "activation": ("train a.csv --hidden softmax", "invalid choice: 'softmax'"),
    "stopping": ("train a.csv --early-stopping 3 --validation 0", "needs --validation above 0"),
    "out is the data": ("train net.npz --out net.npz", "--out net.npz is the file of the data"),
    "out is the checkpoint": (
        "train a.csv --out m --checkpoint ./m",
        "--checkpoint m is a file that --out m writes",
    ),
    "the picture is the checkpoint": (
        "train a.csv --out m.npz --checkpoint m.png",
        "--checkpoint m.png is a file that --out m.npz writes",
    ),
    "out is a picture": ("train a.csv --out a.png", "is not the name of a model file"),
    "identity for classes": ("train a.csv --output identity", "use --task regression"),
    "softmax for numbers": ("train wide.csv --output softmax", "use --task classification"),
    "sigmoid for three": ("train three.csv --output sigmoid", "for two classes, three has 3"),
    "export": ("export net.npz net.pt", "net.pt ends in '.pt', expected .onnx or .npz"),
    "export onto itself": ("export net.npz net.npz", "net.npz is the model itself"),
}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("case", MISUSES)
def test_wrong_usage_is_status_2(run, tmp_path, capsys, case, rng):
    write_csv(tmp_path / "three.csv", {"x": rng.normal(size=30)}, y=list("abc") * 10)
    write_csv(tmp_path / "wide.csv", {"x": rng.normal(size=30)}, y=rng.normal(size=30))
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
     ("matplotlib", "profile --plot a.png", "plot"),
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


def test_a_picture_of_unknown_kind_is_refused_before_anything_is_measured(run):
    pytest.importorskip("matplotlib")
    result = run("profile", "--plot", "a.xyz")
    assert (result.status, result.out) == (2, "")
    assert "error: --plot a.xyz ends in '.xyz', expected one of" in result.err


def test_without_matplotlib_there_is_a_model_and_no_picture(run, tmp_path, monkeypatch):
    small_npz(tmp_path / "a.npz")
    monkeypatch.setattr(plotting, "available", lambda: False)
    result = run("train", "a.npz", "--epochs", "1")
    assert result.status == 0
    assert "saved model.npz\n" in result.out
    assert not (tmp_path / "model.png").exists()


# --- info and warmup ------------------------------------------------------------------------


def test_info(run):
    result = run("info")
    facts = dict(line.split("  ", 1) for line in result.out.splitlines())
    assert facts["fastdnn"].strip() == fastdnn.__version__
    assert {"numba", "features", "lanes", "threading layer", "threads", "cache"} <= set(facts)
    assert facts["threads"].strip() == "1 (FASTDNN_NUM_THREADS is 1)"


def test_a_cache_that_another_process_clears(run, tmp_path, monkeypatch):
    (tmp_path / "there.nbi").write_bytes(bytes(2_000_000))
    entries = [tmp_path / "there.nbi", tmp_path / "gone.nbc"]
    monkeypatch.setattr(jit, "cache_path", lambda: str(tmp_path))
    monkeypatch.setattr(jit, "cache_entries", lambda: entries)
    assert "(2 files, 2.0 MB)" in run("info").out


def test_warmup_says_what_it_did(run):
    result = run("warmup", "--dtype", "float32")
    assert result.status == 0
    assert re.search(r"float32 training: (compiled in [0-9.]+ s|was there)\n", result.out)
    again = run("warmup", "--dtype", "float32")
    for what in ("training", "prediction", "single functions"):
        assert f"float32 {what}: was there" in again.out


@pytest.mark.slow
@pytest.mark.needs_jit
def test_warmup_leaves_no_kernel_out(run):
    with dispatch.threads_at_most(2):
        assert run("warmup", "--dtype", "float32").status == 0
    ours = [kernel for kernel in jit._cached if kernel.__module__.startswith("fastdnn.")]
    needed = [kernel for kernel in ours if not kernel.__module__.endswith("roofline")]
    assert len(needed) > 10
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
    files = sorted((tmp_path / "cache").rglob("*"))
    small_npz(tmp_path / "a.npz")
    words = (*quickly(str(tmp_path / "a.npz")), "--out", str(tmp_path / "m.npz"))
    second = python("-m", "fastdnn", *words, **cache)
    out, err = second.communicate(timeout=600)
    assert "nothing to compile" in out
    assert "compiling" not in err
    assert sorted((tmp_path / "cache").rglob("*")) == files


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_real_ctrl_c(tmp_path):
    small_npz(tmp_path / "a.npz")
    words = ("train", str(tmp_path / "a.npz"), "--epochs", "10000000", "--early-stopping", "0")
    with python("-m", "fastdnn", *words, "--out", str(tmp_path / "m.npz")) as process:
        try:
            for line in process.stdout:
                if "compil" in line:  # the training begins
                    break
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
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


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fastdnn {fastdnn.__version__}\n"


@pytest.mark.parametrize("command", ["", *(module.__name__ for module in cli.COMMANDS)])
def test_help_has_examples(command, capsys):
    name = command.rpartition(".")[2]
    with pytest.raises(SystemExit) as ended:
        cli.main([*name.split(), "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  fastdnn {name}".rstrip() in capsys.readouterr().out
