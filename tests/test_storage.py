"""Arrays and models on disk: they come back as they were, and a file is whole or not there."""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
from storage_cases import CONFIG, assert_same, make_parameters

from fastdnn import storage
from fastdnn.storage import FileFormatError, arrayfile

# --- arrays there and back ------------------------------------------------------------------

ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "single": np.float32([[0.1]]),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20, dtype=np.int16)[::-3],
    "big_endian": np.array([1.5, -2.5], dtype=">f8"),
    "scalar": np.array(7, dtype=np.uint8),
    "empty": np.zeros((0, 5), dtype=np.float32),
    "flags": np.array([True, False]),
    "half": np.float16([0.5]),
    "special": np.array([np.nan, np.inf, -0.0, 5e-324]),
    "large": np.arange(3 * 2**17, dtype=np.float64),  # more than one read
    "state.W1-m": np.uint64([2**64 - 1]),
}


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_arrays_and_header_come_back_as_they_were(tmp_path, kind):
    header = {
        "epoch": 3,
        "costs": [0.5, 0.25],
        "name": "Müller",
        "best": None,
        "nested": {"a": [1]},
    }
    path = tmp_path / "file.npz"
    storage.save_arrays(path, header, ARRAYS, kind=kind)
    got_header, got = storage.load_arrays(path, kind=kind)
    assert got_header == header
    assert_same(got, ARRAYS)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in got.values())


def test_numpy_opens_the_file(tmp_path):
    storage.save_arrays(tmp_path / "a.npz", {}, {"W1": np.eye(2)}, kind="model")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["W1"], np.eye(2))
        assert json.loads(file["__header__"].tobytes())["format"] == "fastdnn"


def test_same_content_gives_the_same_bytes(tmp_path):
    for name in "ab":
        storage.save_arrays(tmp_path / name, {"x": 1}, ARRAYS, kind="model")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("header", "arrays", "error", "message"),
    [
        ({"x": math.nan}, {}, ValueError, "header cannot be written as JSON"),
        ({"x": np.float32(1)}, {}, TypeError, "header cannot be written as JSON.*float32"),
        ({}, {"a": np.array([None])}, TypeError, "array a has dtype object"),
        ({}, {"a": np.array(["x"])}, TypeError, "array a has dtype <U1"),
        ({}, {"a": np.array([1j])}, TypeError, "array a has dtype complex128"),
        ({}, {"a/b": np.eye(1)}, ValueError, "array name is 'a/b', expected letters"),
        ({}, {"__header__": np.eye(1)}, ValueError, "array name is '__header__'"),
        ({}, {"": np.eye(1)}, ValueError, "array name is ''"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    tmp_path, header, arrays, error, message
):
    with pytest.raises(error, match=message):
        storage.save_arrays(tmp_path / "a", header, arrays, kind="model")
    assert not os.listdir(tmp_path)


def test_a_header_too_large_to_be_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(arrayfile, "MAX_HEADER_BYTES", 1000)
    with pytest.raises(ValueError, match=r"header takes \d+ bytes, expected at most 1000"):
        storage.save_arrays(tmp_path / "a", {"x": "y" * 1000}, {}, kind="model")
    assert not os.listdir(tmp_path)


# --- atomic writing -------------------------------------------------------------------------


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupted():
        with storage.atomic_write(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_while_moving_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        storage.save_arrays(path, {}, {}, kind="model")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_the_data_is_on_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    with storage.atomic_write(tmp_path / "a") as file:
        file.write(b"new")
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_kill_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    storage.save_arrays(path, {"epoch": 1}, {"W1": np.eye(2)}, kind="checkpoint")
    code = (
        "import os, signal, sys; from fastdnn.storage import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert storage.load_arrays(path, kind="checkpoint")[0] == {"epoch": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_permissions_and_links_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with storage.atomic_write(tmp_path / "new"):
        pass
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    with storage.atomic_write(tmp_path / "link") as file:
        file.write(b"through")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "plain").read_bytes() == b"through"
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("missing/a.npz", FileNotFoundError, "missing/a.npz: the folder .* does not exist"),
        (".", OSError, "is not a regular file"),
        ("/dev/null", OSError, "is not a regular file"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths")
def test_paths_that_cannot_be_written(tmp_path, monkeypatch, path, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        storage.save_arrays(path, {}, {}, kind="model")
    assert not os.listdir(tmp_path)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


# --- models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_models_come_back_as_they_were(tmp_path, dtype):
    config = CONFIG | {"dtype": dtype, "layer_dims": [5, 1, 7, 2]}
    parameters = make_parameters(config)
    storage.save_model(tmp_path / "m", config, parameters, {"class_names": ["cat", "dog"]})
    got_config, got, extra = storage.load_model(tmp_path / "m")
    assert got_config == config
    assert extra == {"class_names": ["cat", "dog"]}
    assert_same(got, parameters)


@pytest.mark.parametrize(
    ("value", "error"),
    [(np.float32(1), TypeError), ({"b": {1}}, TypeError), ([math.nan], ValueError)],
)
def test_an_extra_that_json_cannot_say_is_named(tmp_path, value, error):
    extra = {"good": [1], "a": value}
    with pytest.raises(error, match=r"extra\['a'\] is .*, which cannot be written as JSON: "):
        storage.save_model(tmp_path / "m", CONFIG, make_parameters(CONFIG), extra)
    assert not os.listdir(tmp_path)


def changed(name=None, array=None, **config):
    """A config and parameters, one of which does not fit."""
    parameters = make_parameters()
    if array is None:
        parameters.pop(name, None)
    else:
        parameters[name] = array
    return CONFIG | config, parameters


UNFIT = {
    "missing": (changed("b2"), "b2"),
    "additional": (changed("W3", np.eye(2)), "W3"),
    "shape of W": (changed("W2", np.ones((2, 4))), r"W2 has shape \(2, 4\)"),
    "shape of b": (changed("b1", np.ones((1, 3))), r"b1 has shape \(1, 3\)"),
    "dims": (changed(layer_dims=[4, 5, 2]), r"W1 has shape \(3, 4\), expected \(5, 4\)"),
    "number of layers": (changed(layer_dims=[4, 3, 2, 1]), "has 2 layers, expected 3"),
    "one size": (changed(layer_dims=[4]), "layer_dims is"),
    "no size": (changed(layer_dims=[4, 0, 2]), r"layer_dims\[1\] is 0"),
    "size of a layer": (changed(layer_dims=[4, 3.0, 2]), r"layer_dims\[1\] is 3.0"),
    "no dims": (changed(layer_dims=None), "layer_dims is None"),
    "dtype": (changed(dtype="float32"), "W1 has dtype float64, expected float32"),
    "no dtype": (changed(dtype=None), "dtype is None"),
    "code as dtype": (changed(dtype="O"), "dtype is 'O'"),
    "not finite": (changed("W2", np.full((2, 3), np.nan)), r"W2\[0, 0\] is nan"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_parameters_that_do_not_fit_are_neither_written_nor_read(tmp_path, case):
    (config, parameters), message = UNFIT[case]
    with pytest.raises((ValueError, TypeError), match=message):
        storage.save_model(tmp_path / "m", config, parameters)
    assert not os.listdir(tmp_path)
    header = {"config": config, "extra": {}}
    storage.save_arrays(tmp_path / "m", header, parameters, kind="model")
    with pytest.raises(FileFormatError, match=message):
        storage.load_model(tmp_path / "m")


def test_a_model_needs_its_sections_and_is_no_checkpoint(tmp_path):
    storage.save_arrays(tmp_path / "m", {"config": []}, {}, kind="model")
    with pytest.raises(FileFormatError, match="lacks the sections 'config' and 'extra'"):
        storage.load_model(tmp_path / "m")
    storage.save_arrays(tmp_path / "m", {}, {}, kind="checkpoint")
    with pytest.raises(FileFormatError, match="is a 'checkpoint' file, expected a 'model' file"):
        storage.load_model(tmp_path / "m")
