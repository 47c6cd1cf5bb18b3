"""Files that are not to be trusted: hostile, truncated or damaged, each one clear error."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from storage_cases import assert_same, make_parameters

from fastdnn import storage
from fastdnn.storage import FileFormatError, arrayfile


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
