"""Files of models and checkpoints: faithful, atomic, and safe to read whatever they hold."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import pickle
import signal
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastdnn import reference, storage
from fastdnn.storage import FileFormatError, arrayfile

CONFIG = {
    "layer_dims": [4, 3, 2],
    "hidden_activation": "relu",
    "output_activation": "softmax",
    "dtype": "float64",
}


def make_parameters(config=CONFIG, seed=0):
    rng = np.random.default_rng(seed)
    dims, dtype = config["layer_dims"], config["dtype"]
    parameters = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(dims), start=1):
        parameters[f"W{layer}"] = rng.standard_normal((n_out, n_in)).astype(dtype)
        parameters[f"b{layer}"] = rng.standard_normal((n_out, 1)).astype(dtype)
    return parameters


def assert_same(got, expected):
    assert list(got) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype.newbyteorder("=")
        assert got[name].shape == array.shape


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


# --- reading what is not to be trusted ------------------------------------------------------


def npy_bytes(array, **header):
    """An .npy member, whose header may lie."""
    file = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(array) | header
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue() + array.tobytes()


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def header_of(document):
    return "__header__.npy", npy_bytes(np.frombuffer(json.dumps(document).encode(), np.uint8))


def document(**changes):
    entry = {"dtype": "<f8", "shape": [2, 2]}
    good = {"format": "fastdnn", "version": 1, "kind": "model", "arrays": {"W1": entry}}
    return good | {"header": {}} | changes


W1 = ("W1.npy", npy_bytes(np.eye(2)))


class Exploit:
    """An object whose unpickling would be seen."""

    ran = False

    def __reduce__(self):
        return (setattr, (Exploit, "ran", True))


def pickled_member():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([Exploit()], dtype=object), allow_pickle=True)
    return file.getvalue()


def compressed(path):
    write_members(path, [header_of(document()), W1], zipfile.ZIP_DEFLATED)


def duplicated(path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_members(path, [header_of(document()), W1, W1])


def encrypted(path):
    write_members(path, [header_of(document()), W1])
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        data[at + 8] |= 1
        at = data.find(b"PK\x01\x02", at + 1)
    path.write_bytes(data)


def overlapping(path):
    """Two directory entries for the bytes of one member."""
    entry = {"dtype": "<f8", "shape": [100, 100]}
    listed = document(arrays={"W1": entry, "W2": entry})
    write_members(path, [header_of(listed), ("W1.npy", npy_bytes(np.zeros((100, 100))))])
    data = path.read_bytes()
    directory, end = data.rfind(b"PK\x01\x02"), data.find(b"PK\x05\x06")
    second = data[directory:end].replace(b"W1", b"W2")
    tail = bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 3, 3)
    tail[12:16] = struct.pack("<L", struct.unpack("<L", tail[12:16])[0] + len(second))
    path.write_bytes(data[:end] + second + tail)


def deep(path):
    write_members(path, [("__header__.npy", npy_bytes(np.frombuffer(b"[" * 10**6, np.uint8)))])


HOSTILE = {
    "empty file": (lambda path: path.write_bytes(b""), "not a fastdnn file"),
    "text": (lambda path: path.write_text("hello"), "not a fastdnn file"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Exploit())), "not a fastdnn file"),
    "npy": (lambda path: path.write_bytes(W1[1]), "not a fastdnn file"),
    "foreign npz": (lambda path: write_members(path, [W1]), "has no fastdnn header"),
    "compressed": (compressed, "is compressed"),
    "encrypted": (encrypted, "encrypted"),
    "overlapping": (overlapping, "claim more bytes than the file has"),
    "header nested too deep": (deep, "damaged: RecursionError"),
    "duplicate member": (duplicated, "two members have the same name"),
}

MEMBERS = {
    "header is no text": ([("__header__.npy", npy_bytes(np.eye(2))), W1], "header is not text"),
    "header is no npy": ([("__header__.npy", b"{}"), W1], "damaged: ValueError"),
    "header is no JSON": ([("__header__.npy", npy_bytes(np.uint8([1, 2]))), W1], "damaged: JSON"),
    "header is a list": ([header_of([1]), W1], "does not say format"),
    "header has NaN": ([header_of(document(header={"x": math.nan})), W1], "NaN is not JSON"),
    "other format": ([header_of(document(format="torch")), W1], "does not say format 'fastdnn'"),
    "newer version": ([header_of(document(version=2)), W1], "format version 2, .* upgrade fastdnn"),
    "other kind": (
        [header_of(document(kind="checkpoint")), W1],
        "is a 'checkpoint' file, expected",
    ),
    "no sections": ([header_of(document(arrays=[])), W1], "lacks the sections"),
    "unlisted member": ([header_of(document(arrays={})), W1], "not those its header lists: W1.npy"),
    "missing member": ([header_of(document())], "not those its header lists: W1.npy"),
    "path as a member": ([header_of(document()), W1, ("../evil.npy", b"")], "evil.npy"),
    "other shape": (
        [header_of(document()), ("W1.npy", npy_bytes(np.eye(3)))],
        r"array W1 is .*\[3, 3\].*, its header says .*\[2, 2\]",
    ),
    "other dtype": (
        [header_of(document()), ("W1.npy", npy_bytes(np.eye(2, dtype=np.float32)))],
        "array W1 is .*<f4",
    ),
    "nonsense entry": ([header_of(document(arrays={"W1": 3})), W1], "its header says 3"),
    "shape beyond the data": (
        [header_of(document()), ("W1.npy", npy_bytes(np.eye(2), shape=(2**31, 2**31)))],
        "declares shape",
    ),
    "shape that overflows": (
        [header_of(document()), ("W1.npy", npy_bytes(np.eye(2), shape=(2**62, 2**62)))],
        "declares shape",
    ),
    "negative shape": (
        [header_of(document()), ("W1.npy", npy_bytes(np.eye(2), shape=(-2, -2)))],
        "declares shape",
    ),
    "Fortran order": (
        [header_of(document()), ("W1.npy", npy_bytes(np.eye(2), fortran_order=True))],
        "declares shape",
    ),
    "strings": ([header_of(document()), ("W1.npy", npy_bytes(np.array(["ab"])))], "dtype <U2"),
    "objects": ([header_of(document()), ("W1.npy", pickled_member())], "dtype object"),
    "header of code": (
        [header_of(document()), ("W1.npy", W1[1].replace(b"'<f8'", b"exit "))],
        "damaged",
    ),
    "newer npy": (
        [header_of(document()), ("W1.npy", b"\x93NUMPY\x09\x00")],
        r"npy version \(9, 0\)",
    ),
}


@pytest.mark.parametrize("case", [*HOSTILE, *MEMBERS])
def test_hostile_files_are_one_clear_error(tmp_path, case):
    path = tmp_path / "hostile.npz"
    if case in HOSTILE:
        make, message = HOSTILE[case]
        make(path)
    else:
        members, message = MEMBERS[case]
        write_members(path, members)
    with pytest.raises(FileFormatError, match=message) as caught:
        storage.load_arrays(path, kind="model")
    assert str(path) in str(caught.value)
    assert not Exploit.ran


def test_the_pickle_would_have_run():
    pickle.loads(pickle.dumps(Exploit()))
    assert Exploit.ran
    Exploit.ran = False


def test_a_good_file_made_the_same_way_is_read(tmp_path):
    write_members(tmp_path / "good.npz", [header_of(document()), W1])
    assert_same(storage.load_arrays(tmp_path / "good.npz", kind="model")[1], {"W1": np.eye(2)})


def test_a_header_too_large_is_refused(tmp_path, monkeypatch):
    write_members(tmp_path / "a.npz", [header_of(document()), W1])
    monkeypatch.setattr(arrayfile, "MAX_HEADER_BYTES", 10)
    with pytest.raises(FileFormatError, match="header is larger than 10 bytes"):
        storage.load_arrays(tmp_path / "a.npz", kind="model")


def test_reading_takes_the_memory_of_the_arrays_and_no_more(tmp_path):
    path = tmp_path / "a.npz"
    array = np.zeros(2**20)
    storage.save_arrays(path, {}, {"a": array}, kind="model")
    tracemalloc.start()
    storage.load_arrays(path, kind="model")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes + 4 * 2**20


def small_model(path):
    config = {"layer_dims": [1, 1], "dtype": "float32"}
    storage.save_model(path, config, make_parameters(config), {"note": "x"})
    return storage.load_model(path)


def test_every_truncation_is_a_clear_error(tmp_path):
    path = tmp_path / "a.npz"
    small_model(path)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError):
            storage.load_model(path)


@pytest.mark.filterwarnings("ignore")
def test_every_damaged_byte_is_a_clear_error_or_harmless(tmp_path):
    path = tmp_path / "a.npz"
    config, parameters, extra = small_model(path)
    data = path.read_bytes()
    refused = 0
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            got = storage.load_model(path)
        except FileFormatError:
            refused += 1
            continue
        assert got[0] == config
        assert got[2] == extra
        assert_same(got[1], parameters)
    assert refused > len(data) // 2


def test_files_that_are_not_there_stay_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.load_model(tmp_path / "missing.npz")
    with pytest.raises(OSError, match=str(tmp_path)):
        storage.load_model(tmp_path)


def test_file_format_error_survives_pickling():
    error = pickle.loads(pickle.dumps(FileFormatError("a.npz", "is damaged")))
    assert str(error) == "a.npz: is damaged"
    assert isinstance(error, ValueError)


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


# --- PyTorch --------------------------------------------------------------------------------


def test_state_dict_there_and_back():
    parameters = make_parameters()
    state_dict = storage.to_state_dict(CONFIG, parameters)
    assert list(state_dict) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert state_dict["2.bias"].shape == (2,)
    assert not any(np.shares_memory(a, b) for a in state_dict.values() for b in parameters.values())
    assert_same(storage.from_state_dict(state_dict, CONFIG), parameters)


@pytest.mark.parametrize(
    "names",
    [
        ("0", "3"),  # a Dropout between
        ("layers.0", "layers.2"),
        ("hidden", "out"),
        ("9", "10"),  # numbers, not letters: 10 is after 9
        ("10", "9"),
    ],
)
def test_state_dict_modules_are_found_whatever_their_names(names):
    parameters = make_parameters()
    entries = []
    for layer, name in enumerate(names, start=1):
        entries.append((f"{name}.weight", parameters[f"W{layer}"]))
        entries.append((f"{name}.bias", parameters[f"b{layer}"].reshape(-1)))
    if names == ("10", "9"):
        with pytest.raises(ValueError, match="shape"):
            storage.from_state_dict(dict(entries), CONFIG)
    else:
        assert_same(storage.from_state_dict(dict(entries), CONFIG), parameters)


def test_state_dict_values_are_cast_to_the_dtype_and_copied():
    class Tensor:
        """As much of a tensor as is needed: on a device, and with a gradient."""

        def __init__(self, values, ready=0):
            self.values, self.ready = values, ready

        def detach(self):
            return Tensor(self.values, self.ready + 1)

        def cpu(self):
            return Tensor(self.values, self.ready + 1)

        def numpy(self):
            assert self.ready == 2
            return self.values

    parameters = make_parameters(CONFIG | {"dtype": "float32"})
    state_dict = storage.to_state_dict(CONFIG | {"dtype": "float32"}, parameters)
    tensors = {name: Tensor(array) for name, array in state_dict.items()}
    got = storage.from_state_dict(tensors, CONFIG)
    assert_same(got, {name: array.astype(np.float64) for name, array in parameters.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2.bias": None}, "not pairs of weight and bias: 2.bias"),
        ({"1.running_mean": np.ones(3)}, "1.running_mean"),
        ({"4.weight": np.ones((1, 2)), "4.bias": np.ones(1)}, "has 3 layers, expected 2"),
        ({"0.weight": np.ones((4, 3))}, "shape"),
        ({"0.weight": np.full((3, 4), np.inf)}, r"W1\[0, 0\] is inf"),
        ({"0.weight": np.array([["x"]])}, r"state_dict\['0.weight'\] cannot be read"),
    ],
)
def test_state_dicts_that_do_not_fit(change, message):
    state_dict = storage.to_state_dict(CONFIG, make_parameters()) | change
    state_dict = {name: value for name, value in state_dict.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        storage.from_state_dict(state_dict, CONFIG)


def test_pytorch_computes_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    parameters = make_parameters()
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2), torch.nn.Softmax(dim=1)
    ).double()
    state_dict = storage.to_state_dict(CONFIG, parameters)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state_dict.items()})
    X = np.random.default_rng(1).standard_normal((4, 9))
    expected, _ = reference.L_model_forward(X, parameters, output_activation="softmax")
    np.testing.assert_allclose(
        model(torch.from_numpy(X.T)).detach().numpy().T, expected, rtol=1e-12
    )
    assert_same(storage.from_state_dict(model.state_dict(), CONFIG), parameters)
    assert_same(storage.from_state_dict(dict(model.named_parameters()), CONFIG), parameters)


# --- ONNX -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("hidden", "output"),
    [
        ("relu", "sigmoid"),
        ("leaky_relu", "softmax"),
        ("tanh", "identity"),
        ("softplus", "sigmoid"),
        ("identity", "tanh"),
        (["sigmoid", "leaky_relu"], "softplus"),
        (["softmax", "relu"], "leaky_relu"),
    ],
)
def test_onnx_runtime_computes_the_same(tmp_path, dtype, hidden, output):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    config = {
        "layer_dims": [6, 5, 4, 3],
        "hidden_activation": hidden,
        "output_activation": output,
        "dtype": dtype,
    }
    parameters = make_parameters(config)
    storage.export_onnx(tmp_path / "m.onnx", config, parameters)
    session = runtime.InferenceSession(
        (tmp_path / "m.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    X = (3 * np.random.default_rng(1).standard_normal((6, 17))).astype(dtype)
    (got,) = session.run(["Y"], {"X": np.ascontiguousarray(X.T)})
    A, names = X.astype(np.float64), [hidden] * 2 if isinstance(hidden, str) else hidden
    for layer, name in enumerate([*names, output], start=1):
        Z = parameters[f"W{layer}"] @ A + parameters[f"b{layer}"]
        A = getattr(reference, name)(Z)[0]
    assert got.dtype == dtype
    assert got.shape == (17, 3)
    error = np.linalg.norm(got.T - A) / np.linalg.norm(A)
    assert error < (1e-5 if dtype == "float32" else 1e-12)


def test_onnx_of_one_layer_takes_batches_of_any_size(tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    config = {
        "layer_dims": [2, 1],
        "hidden_activation": "relu",
        "output_activation": "identity",
        "dtype": "float32",
    }
    parameters = {"W1": np.float32([[1, 2]]), "b1": np.float32([[3]])}
    storage.export_onnx(tmp_path / "m.onnx", config, parameters)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for m in (1, 5):
        (got,) = session.run(None, {"X": np.ones((m, 2), dtype=np.float32)})
        np.testing.assert_array_equal(got, np.full((m, 1), 6, dtype=np.float32))
    assert session.get_inputs()[0].shape == ["batch", 2]


def test_onnx_refuses_what_it_cannot_say(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="output_activation is 'swish', expected one of identity"):
        storage.export_onnx(
            tmp_path / "m.onnx", CONFIG | {"output_activation": "swish"}, make_parameters()
        )
    with pytest.raises(ValueError, match="W1 has dtype"):
        storage.export_onnx(tmp_path / "m.onnx", CONFIG | {"dtype": "float32"}, make_parameters())
    assert not os.listdir(tmp_path)


def test_without_onnx_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastdnn\[onnx\]'"):
        storage.export_onnx(tmp_path / "m.onnx", CONFIG, make_parameters())
