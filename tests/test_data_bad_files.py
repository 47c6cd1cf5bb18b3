"""Files that are no data set: refused with the file and the place."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from data_cases import CLASSES, ROWS, write_hdf5, write_npy, write_npz, write_text

from fastdnn import data

pytestmark = pytest.mark.extras


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"a": ROWS}, {}, "it holds a; expected arrays 'X' and 'y'"),
        ({"X": ROWS}, {}, "it holds X; expected arrays 'X' and 'y'"),
        ({"X": ROWS, "y": CLASSES}, {"target": "z"}, "expected arrays 'X' and 'z'"),
        (
            {"X": ROWS, "y": CLASSES[:5]},
            {},
            r"shape \(7, 3\) and the labels \(5,\), which do not agree",
        ),
        ({"X": ROWS, "y": CLASSES}, {"layout": "columns"}, r"layout='columns'"),
        ({"X": ROWS[0], "y": CLASSES}, {}, r"the examples have shape \(3,\)"),
        ({"X": ROWS, "y": np.zeros((7, 2, 2))}, {}, r"the labels have shape \(7, 2, 2\)"),
        ({"X": ROWS, "y": np.float64(1)}, {}, r"the labels have shape \(\)"),
        ({"X": np.where(ROWS[2, 1] == ROWS, np.nan, ROWS), "y": CLASSES}, {}, r"X\[1, 2\] is nan"),
        ({"X": ROWS + 1e300, "y": CLASSES}, {"dtype": "float32"}, r"X\[0, 0\] is inf"),
        ({"X": ROWS, "y": np.where(CLASSES, np.inf, 0)}, {}, r"y\[1\] is inf"),
        ({"X": ROWS.astype(complex), "y": CLASSES}, {}, "dtype complex128, expected numbers"),
        ({"X": ROWS.astype(str), "y": CLASSES}, {}, "expected numbers"),
        ({"X": ROWS, "y": CLASSES.astype(complex)}, {}, "labels have dtype complex128"),
        ({"X": ROWS[:0], "y": CLASSES[:0]}, {}, r"examples of shape \(3, 0\)"),
        ({"X": ROWS[:, :0], "y": CLASSES}, {}, r"examples of shape \(0, 7\)"),
        (
            {"X": ROWS, "y": CLASSES, "class_names": ["a", "b"]},
            {},
            "labels from 0 to 2, expected 0",
        ),
        ({"X": ROWS, "y": CLASSES}, {"layout": "row"}, "layout is 'row'"),
        ({"X": ROWS, "y": CLASSES}, {"task": "cluster"}, "task is 'cluster'"),
        ({"X": ROWS, "y": CLASSES}, {"dtype": "float16"}, "dtype is 'float16'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, options, message):
    path = write_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.load_dataset(path, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.csv", {"features": "x"}, "features='x' names an array of a .npz or HDF5 file"),
        ("a.txt", {"features": "x"}, "features='x' names an array"),
        ("X.npy", {"features": "X"}, "features='X' names an array"),
        ("a.csv", {"layout": "rows"}, "layout='rows' is about an array"),
        ("a.tsv", {"layout": "columns"}, "layout='columns' is about an array"),
        ("X.npy", {"header": True}, "header=True is about a table"),
        ("a.npz", {"header": False}, "header=False is about a table"),
        ("X.npy", {"columns": ["x"]}, r"columns=\['x'\] are names in the first line of a table"),
        ("a.csv", {"columns": ["x"], "header": False}, r"columns=\['x'\] are names"),
    ],
)
def test_an_option_that_would_go_unnoticed_is_refused(tmp_path, name, options, message):
    if name.endswith("y"):
        write_npy(tmp_path, X=ROWS, y=CLASSES)
        path = tmp_path / name
    elif name.endswith("z"):
        path = write_npz(tmp_path / name, X=ROWS, y=CLASSES)
    else:
        path = write_text(tmp_path / name, "x,y\n1,0\n2,1\n".replace(",", "\t"))
    assert data.load_dataset(path).X.shape[1]
    with pytest.raises(ValueError, match=rf"^{message}.*, expected none for .*{name}$"):
        data.load_dataset(path, **options)


@pytest.mark.parametrize("name", ["X", "y", "class_names"])
@pytest.mark.parametrize("kind", ["a group", "empty", "a broken link", "a ragged array"])
def test_what_hdf5_may_have_in_the_place_of_an_array(tmp_path, name, kind):
    h5py = pytest.importorskip("h5py")
    path = write_hdf5(tmp_path / "a.h5", **{"X": ROWS, "y": CLASSES, name: ROWS})
    with h5py.File(path, "a") as file:
        del file[name]
        if kind == "a group":
            file.create_group(name)
        elif kind == "empty":
            file[name] = h5py.Empty("f8")
        elif kind == "a broken link":
            file[name] = h5py.SoftLink("/nowhere")
        else:
            file.create_dataset(name, (7,), h5py.vlen_dtype("i4"))
    with pytest.raises(ValueError, match=rf"a\.h5.*({name}|labels|examples).*, expected "):
        data.load_dataset(path)


@pytest.mark.parametrize(
    ("name", "what"), [("y", "the labels: not"), ("class_names", "class_names: not")]
)
def test_strings_of_another_encoding(tmp_path, name, what):
    strings = np.array([b"\xff\xfe", b"a", b"b", b"c", b"a", b"b", b"c"])
    path = write_npz(tmp_path / "a.npz", **{"X": ROWS, "y": CLASSES, name: strings})
    with pytest.raises(ValueError, match=rf"a\.npz.*{what} UTF-8 text"):
        data.load_dataset(path)


def test_an_hdf5_file_may_name_no_classes(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = write_hdf5(tmp_path / "a.h5", X=ROWS, y=CLASSES)
    with h5py.File(path, "a") as file:
        file.create_dataset("class_names", (0,), h5py.string_dtype())
    with pytest.raises(ValueError, match="it names 0 classes"):
        data.load_dataset(path)


class Exploit:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize("name", ["a.npz", "X.npy", "a.h5", "a.csv"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04.", b"\x93NUMPY\x01\x00\x10\x00{"])
def test_files_that_are_not_what_their_name_says(tmp_path, name, content):
    pytest.importorskip("h5py")
    (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "y.npy", CLASSES)
    with pytest.raises(ValueError, match=name):
        data.load_dataset(tmp_path / name)


def test_pickles_are_not_run(tmp_path):
    objects = np.array([Exploit()] * 7, dtype=object)
    for path in (
        write_npz(tmp_path / "a.npz", X=ROWS, y=objects),
        write_npy(tmp_path, ROWS, objects),
        write_npy(tmp_path, objects, CLASSES),
    ):
        with pytest.raises(ValueError, match=r"cannot be read: .*allow_pickle|Python objects"):
            data.load_dataset(path)


def test_an_npz_that_is_one_array(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a.npz cannot be read: it is one array"):
        data.load_dataset(tmp_path / "a.npz")


def test_missing_and_unknown_files(tmp_path):
    for name in ("a.npz", "X.npy", "a.h5", "a.csv"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
            data.load_dataset(tmp_path / name)
    with pytest.raises(ValueError, match=r"a.pkl ends in '.pkl', expected one of .npy, .npz"):
        data.load_dataset(tmp_path / "a.pkl")
    with pytest.raises(TypeError, match="expected the name of a column"):
        data.load_dataset(write_text(tmp_path / "a.csv", "1,2\n"), target=tmp_path)


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    pytest.importorskip("h5py")
    path = write_text(
        tmp_path / "a.h5", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    with pytest.raises(ValueError, match=r"Git LFS pointer, run `git lfs pull`"):
        data.load_dataset(path)


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("h5py", lambda: data.load_dataset("a.h5"), "data"),
        ("sklearn.datasets", data.load_digits_dataset, "sklearn"),
    ],
)
def test_missing_extras_say_what_to_install(tmp_path, monkeypatch, module, call, extra):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'fastdnn\[{extra}\]'"):
        call()
