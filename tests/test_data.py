"""Data sets from files, examples read in blocks, and the split of a data set."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import tracemalloc
from contextlib import closing

import numpy as np
import pytest

from fastdnn import data
from fastdnn.data import loading, sources

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((7, 3))  # 7 examples of 3 features
CLASSES = np.array([0, 2, 1, 1, 0, 2, 2])


def write_hdf5(path, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def write_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def write_npy(path, X, y, labels="y.npy"):
    np.save(path / "X.npy", X)
    np.save(path / labels, y)
    return path / "X.npy"


def write_text(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# --- arrays in files ------------------------------------------------------------------------

FORMATS = {
    "npz": lambda folder, X, y: write_npz(folder / "a.npz", X=X, y=y),
    "npy": write_npy,
    "h5": lambda folder, X, y: write_hdf5(folder / "a.h5", X=X, y=y),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("X", "y", "expected_y"),
    [
        (ROWS, CLASSES, CLASSES),
        (ROWS.T, CLASSES, CLASSES),
        (ROWS, CLASSES[:, None], CLASSES),
        (ROWS.T, CLASSES[None], CLASSES),
        (ROWS, CLASSES[None].astype(np.uint8), CLASSES),
        (ROWS, np.eye(3)[CLASSES], np.eye(3)[CLASSES].T),
        (ROWS.T, np.eye(3)[CLASSES].T, np.eye(3)[CLASSES].T),
    ],
    ids=["rows", "columns", "column y", "row y", "rows, row y", "one-hot", "one-hot columns"],
)
def test_examples_become_columns_however_they_are_stored(tmp_path, form, X, y, expected_y):
    got = data.load_dataset(FORMATS[form](tmp_path, X, y))
    np.testing.assert_array_equal(got.X, ROWS.T)
    np.testing.assert_array_equal(got.y, expected_y)
    assert got.X.dtype == np.float64
    assert got.class_names == (("0", "1", "2") if expected_y.ndim == 1 else None)


@pytest.mark.parametrize("form", FORMATS)
def test_layout_decides_where_the_shapes_do_not(tmp_path, form):
    square = RNG.standard_normal((4, 4))
    path = FORMATS[form](tmp_path, square, np.array([0, 1, 1, 0]))
    np.testing.assert_array_equal(data.load_dataset(path).X, square.T)
    np.testing.assert_array_equal(data.load_dataset(path, layout="rows").X, square.T)
    np.testing.assert_array_equal(data.load_dataset(path, layout="columns").X, square)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lazy", [False, True])
def test_images_are_flattened_and_scaled(tmp_path, form, lazy):
    if form == "npz" and lazy:
        pytest.skip("an archive is read whole")
    images = RNG.integers(0, 256, (5, 4, 3, 2), dtype=np.uint8)
    got = data.load_dataset(FORMATS[form](tmp_path, images, np.array([0, 1, 0, 1, 1])), lazy=lazy)
    expected = (images.reshape(5, -1).T / np.float32(255)).astype(np.float32)
    assert got.X.shape == (24, 5)
    if lazy:
        assert isinstance(got.X, data.Source)
        assert got.X.dtype == np.uint8
        ((start, stop, block),) = data.prefetch(got.X, [(0, 5)])
        assert (start, stop) == (0, 5)
        np.testing.assert_array_equal(block, expected.T)
    else:
        np.testing.assert_array_equal(got.X, expected)
        assert got.X.dtype == np.float32
        assert got.X.T.flags.c_contiguous


def test_the_cat_pictures_of_the_course(tmp_path):
    images = RNG.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    y = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0])
    path = write_hdf5(
        tmp_path / "train_catvnoncat.h5",
        train_set_x=images,
        train_set_y=y,
        list_classes=np.array([b"non-cat", b"cat"]),
    )
    got = data.load_dataset(path, dtype="float64")
    # As the notebook writes it.
    np.testing.assert_array_equal(got.X, images.reshape(images.shape[0], -1).T / 255.0)
    np.testing.assert_array_equal(got.y, y)
    assert got.class_names == ("non-cat", "cat")
    assert repr(got) == "Dataset('train_catvnoncat': X (12288, 9) float64, 2 classes)"
    assert data.load_dataset(path).X.dtype == np.float32


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("X", "Y"), {}),
        (("x", "y"), {}),
        (("data", "target"), {}),
        (("x_train", "y_train"), {}),
        (("test_set_x", "test_set_y"), {}),
        (("A", "B"), {"features": "A", "target": "B"}),
        (("X", "age"), {"target": "age"}),
        (("pixels", "y"), {"features": "pixels"}),
    ],
)
@pytest.mark.parametrize("form", ["npz", "h5"])
def test_names_of_the_arrays(tmp_path, form, names, options):
    write = {"npz": write_npz, "h5": write_hdf5}[form]
    more = {"other": np.zeros(3), names[0]: ROWS, names[1]: CLASSES}
    got = data.load_dataset(write(tmp_path / f"a.{form}", **more), **options)
    np.testing.assert_array_equal(got.X, ROWS.T)
    np.testing.assert_array_equal(got.y, CLASSES)


def test_datasets_in_groups_of_an_hdf5_file(tmp_path):
    path = write_hdf5(tmp_path / "a.hdf5", **{"train/x": ROWS, "train/y": CLASSES})
    got = data.load_dataset(path, features="train/x", target="train/y")
    np.testing.assert_array_equal(got.X, ROWS.T)
    with pytest.raises(ValueError, match="has no dataset 'train', it has train"):
        data.load_dataset(path, features="train", target="train/y")


def test_labels_beside_a_npy_file(tmp_path):
    np.save(tmp_path / "X_train.npy", ROWS)
    with pytest.raises(ValueError, match=r"X_train.npy holds examples only; say target="):
        data.load_dataset(tmp_path / "X_train.npy")
    np.save(tmp_path / "Y_train.npy", CLASSES)
    np.testing.assert_array_equal(data.load_dataset(tmp_path / "X_train.npy").y, CLASSES)
    np.save(tmp_path / "labels.npy", CLASSES[::-1])
    got = data.load_dataset(tmp_path / "X_train.npy", target=tmp_path / "labels.npy")
    np.testing.assert_array_equal(got.y, CLASSES[::-1])
    with pytest.raises(FileNotFoundError):
        data.load_dataset(tmp_path / "X_train.npy", target=tmp_path / "missing.npy")


@pytest.mark.parametrize("form", FORMATS)
def test_examples_without_labels(tmp_path, form):
    path = FORMATS[form](tmp_path, ROWS, CLASSES)
    got = data.load_dataset(path, labelled=False)
    np.testing.assert_array_equal(got.X, ROWS.T)
    assert got.y is None
    assert repr(got).endswith("X (3, 7) float64, no labels)")
    np.testing.assert_array_equal(data.load_dataset(path, labelled=False, layout="columns").X, ROWS)


@pytest.mark.parametrize("form", ["npy", "h5"])
def test_large_files_are_left_where_they_are(tmp_path, monkeypatch, form):
    path = FORMATS[form](tmp_path, ROWS.T, CLASSES)
    assert isinstance(data.load_dataset(path).X, np.ndarray)
    monkeypatch.setattr(loading, "LAZY_BYTES", ROWS.size * 4)
    got = data.load_dataset(path)
    assert isinstance(got.X, data.Source)
    assert repr(got) == f"Dataset({path.stem!r}: X (3, 7) read in blocks, 3 classes)"
    np.testing.assert_array_equal(got.X.read(2, 5), ROWS[2:5])
    assert isinstance(data.load_dataset(path, lazy=False).X, np.ndarray)


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        ("float32", None, "float32"),
        (">f4", None, "float32"),
        ("float64", None, "float64"),
        ("float16", None, "float64"),
        ("int64", None, "float64"),
        ("uint8", None, "float32"),
        ("bool", None, "float64"),
        ("float64", "float32", "float32"),
        ("uint8", np.float64, "float64"),
    ],
)
def test_precision_of_the_examples(tmp_path, stored, asked, expected):
    X = np.array([[0, 1], [1, 0], [1, 1]]).astype(stored)
    got = data.load_dataset(write_npz(tmp_path / "a.npz", X=X, y=[0, 1, 1]), dtype=asked)
    assert got.X.dtype == expected
    scale = 255 if stored == "uint8" else 1
    np.testing.assert_array_equal(got.X, (X.T / np.dtype(expected).type(scale)).astype(expected))


# --- labels ---------------------------------------------------------------------------------

MANY = np.arange(40)


@pytest.mark.parametrize(
    ("y", "task", "expected", "names"),
    [
        ([3, 5, 3], "auto", [0, 1, 0], ("3", "5")),
        ([-1, 1, 1], "auto", [0, 1, 1], ("-1", "1")),
        ([3, 5, 3], "regression", [3.0, 5.0, 3.0], None),
        ([0.0, 1.0, 0.0], "auto", [0, 1, 0], ("0", "1")),
        ([0.0, 2.0, 0.5], "auto", [0.0, 2.0, 0.5], None),
        ([1.0, 2.0, 2.5], "classification", [0, 1, 2], ("1", "2", "2.5")),
        ([True, False, True], "auto", [1, 0, 1], ("False", "True")),
        (["b", "ä", "b"], "auto", [0, 1, 0], ("b", "ä")),
        ([b"b", b"a", b"b"], "auto", [1, 0, 1], ("a", "b")),
        (MANY, "auto", MANY.astype(float), None),
        (MANY, "classification", MANY, tuple(map(str, MANY))),
        (MANY // 2, "auto", MANY // 2, tuple(map(str, range(20)))),
    ],
)
def test_labels_are_classes_or_quantities(tmp_path, y, task, expected, names):
    path = write_npz(tmp_path / "a.npz", X=np.ones((len(y), 2)), y=y)
    got = data.load_dataset(path, task=task)
    np.testing.assert_array_equal(got.y, expected)
    assert got.y.dtype == (np.float64 if names is None else np.int64)
    assert got.class_names == names
    assert repr(got).endswith("float64)" if names is None else f"{len(names)} classes)")


def test_strings_as_hdf5_keeps_them(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X"] = ROWS[:3]
        file.create_dataset("y", data=["dog", "cät", "dog"], dtype=h5py.string_dtype())
    got = data.load_dataset(tmp_path / "a.h5")
    assert got.class_names == ("cät", "dog")
    np.testing.assert_array_equal(got.y, [1, 0, 1])


# --- tables ---------------------------------------------------------------------------------

NUMBERS = [[1.0, -2.5], [3.0, 0.04], [5.0, 6.0]]


@pytest.mark.parametrize(
    ("text", "options", "y", "names"),
    [
        ("1,-2.5,0\n3,4e-2,1\n5,6,0\n", {}, [0, 1, 0], ("0", "1")),
        ("a,b,label\n1,-2.5,0\n3,4e-2,1\n5,6,0\n", {}, [0, 1, 0], ("0", "1")),
        ("1,-2.5,cat\n3,4e-2,dog\n5,6,cat", {}, [0, 1, 0], ("cat", "dog")),
        ("a;b;label\n1;-2.5;x\n3;4e-2;y\n5;6;x\n", {}, [0, 1, 0], ("x", "y")),
        ("a\tb\ty\n1\t-2.5\t0\n3\t4e-2\t1\n5\t6\t0\n", {}, [0, 1, 0], ("0", "1")),
        ("\ufeffa,b,y\r\n 1, -2.5, 0\r\n\r\n3,4e-2 ,1\r\n5,6,0\r\n\n", {}, [0, 1, 0], ("0", "1")),
        ('"a","b","y"\n"1",-2.5,"u,v"\n3,4e-2,w\n5,6,w\n', {}, [0, 1, 1], ("u,v", "w")),
        ("y,a,b\n0,1,-2.5\n1,3,4e-2\n0,5,6\n", {"target": "y"}, [0, 1, 0], ("0", "1")),
        ("a,y,b\n1,0,-2.5\n3,1,4e-2\n5,0,6\n", {"target": 1}, [0, 1, 0], ("0", "1")),
        ("0,1,-2.5\n1,3,4e-2\n0,5,6\n", {"target": -3}, [0, 1, 0], ("0", "1")),
        ("0,1,target\n1,-2.5,7\n3,4e-2,8\n5,6,7\n", {}, [0, 1, 0], ("7", "8")),
        ("0,1,y\n1,-2.5,7\n3,4e-2,8\n5,6,7\n", {"target": "y"}, [0, 1, 0], ("7", "8")),
        ("2000,2001,y\n1,-2.5,p\n3,4e-2,q\n5,6,p\n", {"header": True}, [0, 1, 0], ("p", "q")),
        ("1,-2.5,0.5\n3,4e-2,1.5\n5,6,2\n", {}, [0.5, 1.5, 2.0], None),
        ("1,-2.5,3\n3,4e-2,4\n5,6,3\n", {"task": "regression"}, [3.0, 4.0, 3.0], None),
        ("a,b\n1,-2.5\n3,4e-2\n5,6\n", {"labelled": False}, None, None),
        ("1,-2.5\n3,4e-2\n5,6\n", {"labelled": False}, None, None),
    ],
)
def test_tables(tmp_path, text, options, y, names):
    got = data.load_dataset(write_text(tmp_path / "table.csv", text), **options)
    np.testing.assert_array_equal(got.X, np.transpose(NUMBERS))
    if y is None:
        assert got.y is None
    else:
        np.testing.assert_array_equal(got.y, y)
    assert got.class_names == names
    assert got.name == "table"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("\n \n", {}, "is empty"),
        ("a,b,y\n", {}, "has no rows below its header"),
        ("1\n2\n", {}, "has one column, expected features and a label"),
        ("a,b,y\n1,2,0\n1,x,0\n", {}, "line 3, 'b' is 'x', expected a finite number"),
        ("a,b,y\n\n1,2,0\n\n1,,0\n", {}, "line 5, 'b' is '', expected a finite number"),
        ("a,b,y\n1,2,0\n\n1,nan,0\n", {}, "line 4, 'b' is 'nan', expected a finite number"),
        ("a,b,y\n1,2,0\n-inf,1,0\n", {}, "line 3, 'a' is '-inf'"),
        ("1,2,0\n1,oops,0\n", {}, "line 2, 'column 1' is 'oops'"),
        ("y,a\n0,1\n1,oops\n", {"target": "y"}, "line 3, 'a' is 'oops'"),
        ("a,b,y\n1,2,0\n1,2\n", {}, "line 3 has 2 cells, expected 3"),
        ("a,b,y\n1,2,0,4\n", {}, "line 2 has 4 cells, expected 3"),
        ("a,b,y\n1,2,0\n1,2,\n", {}, "line 3 has no label in column 'y'"),
        ("1,?,0\n1,2,0\n", {}, "line 1 mixes names and numbers; say header=True"),
        ("a,b,y\n1,2,0\n", {"target": "z"}, "has no column 'z'; its columns are a, b, y"),
        ("1,2,0\n", {"target": 3}, "has 3 columns, target 3 is not one of them"),
        ("1,2,nan\n1,2,3.5\n", {}, r"y\[0\] is nan"),
        ("1,2,a\n1,2,b\n", {"task": "regression"}, "the labels are strings such as 'a'"),
        ("1,2,0\n", {"lazy": True}, "lazy=True needs a .npy or HDF5 file"),
        ('1,2,"' + "x" * 200_000 + '"\n', {}, "is not a table: field larger"),
    ],
)
def test_bad_tables_are_refused_with_the_place(tmp_path, text, options, message):
    path = write_text(tmp_path / "table.csv", text)
    with pytest.raises(ValueError, match=message) as caught:
        data.load_dataset(path, **options)
    assert str(path) in str(caught.value)


def test_text_of_another_encoding(tmp_path):
    (tmp_path / "a.csv").write_bytes("1,2,ä\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a.csv is not UTF-8 text"):
        data.load_dataset(tmp_path / "a.csv")


# --- bad files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"a": ROWS}, {}, "it holds a; expected arrays 'X' and 'y'"),
        ({"X": ROWS}, {}, "it holds X; expected arrays 'X' and 'y'"),
        ({"X": ROWS, "y": CLASSES}, {"target": "z"}, "expected arrays 'X' and 'z'"),
        (
            {"X": ROWS, "y": CLASSES[:5]},
            {},
            r"shape \(7, 3\) and the labels \(5,\), .* disagree|not",
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


def test_digits():
    pytest.importorskip("sklearn")
    digits = data.load_digits_dataset()
    assert digits.X.shape == (64, 1797)
    assert digits.X.min() == 0
    assert digits.X.max() == 1
    assert digits.class_names == tuple("0123456789")
    assert np.bincount(digits.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


# --- sources and reading ahead --------------------------------------------------------------

STORED = RNG.integers(0, 256, (20, 3, 2), dtype=np.uint8)


def make_source(kind, folder):
    """The same examples, 20 of 6 features, in one of the kinds of source."""
    flat = STORED.reshape(20, 6)
    if kind == "rows":
        return data.ArraySource(flat.T)
    if kind == "columns":
        return data.ArraySource(np.ascontiguousarray(flat.T))
    if kind == "memmap":
        np.save(folder / "rows.npy", flat)
        return data.ArraySource(np.load(folder / "rows.npy", mmap_mode="r").T)
    if kind == "hdf5 rows":
        return data.Hdf5Source(write_hdf5(folder / "a.h5", x=STORED), "x")
    return data.Hdf5Source(write_hdf5(folder / "a.h5", x=flat.T), "x", layout="columns")


SOURCES = ["rows", "columns", "memmap", "hdf5 rows", "hdf5 columns"]


@pytest.mark.parametrize("kind", SOURCES)
def test_sources_read_any_run_of_examples(tmp_path, kind):
    source = make_source(kind, tmp_path)
    assert isinstance(source, data.Source)
    assert source.shape == (6, 20)
    assert source.dtype == np.uint8
    assert "shape=(6, 20), dtype=uint8" in repr(source)
    for start, stop in [(0, 20), (0, 1), (19, 20), (3, 11), (4, 4)]:
        got = source.read(start, stop)
        np.testing.assert_array_equal(got, STORED.reshape(20, 6)[start:stop])
        assert got.shape == (stop - start, 6)
        assert got.dtype == np.uint8
    for start, stop in [(-1, 2), (0, 21), (5, 4)]:
        with pytest.raises(ValueError, match=f"examples {start} to {stop} .* within 0 to 20"):
            source.read(start, stop)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_come_in_the_order_asked_for(tmp_path, kind, dtype):
    source = make_source(kind, tmp_path)
    ranges = data.block_ranges(20, 6)[::-1]
    blocks = list(data.prefetch(source, ranges, dtype=dtype))
    assert [(start, stop) for start, stop, _ in blocks] == ranges
    for start, stop, block in blocks:
        expected = STORED.reshape(20, 6)[start:stop] / np.dtype(dtype).type(255)
        np.testing.assert_array_equal(block, expected)
        assert block.dtype == dtype
        assert block.flags.c_contiguous
        assert block.flags.writeable


def test_an_ndarray_is_no_source():
    assert not isinstance(ROWS, data.Source)
    with pytest.raises(ValueError, match=r"X has shape \(3,\), expected \(n_x, m\)"):
        data.ArraySource(ROWS[0])


@pytest.mark.parametrize(
    ("m", "size", "expected"),
    [(5, 2, [(0, 2), (2, 4), (4, 5)]), (4, 2, [(0, 2), (2, 4)]), (1, 9, [(0, 1)]), (0, 3, [])],
)
def test_block_ranges(m, size, expected):
    assert data.block_ranges(m, size) == expected


def test_block_ranges_need_a_size():
    with pytest.raises(ValueError, match="block_size is 0"):
        data.block_ranges(5, 0)


def test_hdf5_sources_refuse_what_they_cannot_read(tmp_path):
    path = write_hdf5(
        tmp_path / "a.h5", images=STORED, flat=np.zeros(3), text=np.array([[b"x"]]), x=ROWS
    )
    for key, options, message in [
        ("nothing", {}, "has no dataset 'nothing', it has flat, images, text, x"),
        ("flat", {}, r"'flat' has shape \(3,\)"),
        ("images", {"layout": "columns"}, r"shape \(20, 3, 2\), expected examples as columns"),
        ("text", {}, "dtype .S1"),
        ("x", {"layout": "auto"}, "layout is 'auto'"),
    ]:
        with pytest.raises(ValueError, match=message):
            data.Hdf5Source(path, key, **options)
    with pytest.raises(FileNotFoundError, match=r"b.h5: no such file"):
        data.Hdf5Source(tmp_path / "b.h5", "x")
    source = data.Hdf5Source(path, "x")
    write_hdf5(path, x=ROWS[:2])
    with pytest.raises(ValueError, match="'x' has changed since it was opened"):
        source.read(0, 1)


class Recorder:
    """A source that says when it is read and can fail or wait."""

    shape = (2, 8)
    dtype = np.dtype(np.float64)

    def __init__(self, fail_at=None, values=None):
        self.fail_at, self.values, self.reads = fail_at, values, []
        self.done = [threading.Event() for _ in range(8)]

    def read(self, start, stop):
        self.reads.append(start)
        self.done[start].set()
        if start == self.fail_at:
            raise RuntimeError("the disk is gone")
        return np.full((stop - start, 2), float(start) if self.values is None else self.values)


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastdnn-read")]


ONE_BY_ONE = data.block_ranges(8, 1)


def test_exactly_one_block_is_read_ahead():
    source = Recorder()
    with closing(data.prefetch(source, ONE_BY_ONE)) as blocks:
        assert source.reads == []
        for start, _stop, block in blocks:
            assert block[0, 0] == start
            if start + 1 < 8:
                assert source.done[start + 1].wait(10), "the next block is read meanwhile"
            time.sleep(0.005)
            assert len(source.reads) == min(start + 2, 8)
    assert not reader_threads()


@pytest.mark.parametrize("fail_at", [0, 1, 5, 7])
def test_errors_of_the_reader_reach_the_consumer_in_place(fail_at):
    source = Recorder(fail_at)
    seen = []

    def consume():
        seen.extend(start for start, _, _ in data.prefetch(source, ONE_BY_ONE))

    with pytest.raises(RuntimeError, match="the disk is gone"):
        consume()
    assert len(source.reads) <= fail_at + 2
    assert not reader_threads()


def test_values_that_are_not_finite_are_named():
    with pytest.raises(ValueError, match=r"X\[:, 0:1\]\[0, 0\] is nan"):
        list(data.prefetch(Recorder(values=np.nan), ONE_BY_ONE))
    with pytest.raises(ValueError, match=r"X\[:, 0:1\]\[0, 0\] is inf"):
        list(data.prefetch(Recorder(values=1e300), ONE_BY_ONE, dtype="float32"))


def test_leaving_early_ends_the_thread():
    source = Recorder()
    with closing(data.prefetch(source, ONE_BY_ONE)) as blocks:
        next(blocks)
    assert not reader_threads()
    assert len(source.reads) <= 2

    def interrupted():
        with closing(data.prefetch(source, ONE_BY_ONE)) as blocks:
            for _ in blocks:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not reader_threads()


def test_nothing_to_read():
    assert list(data.prefetch(Recorder(), [])) == []


def test_large_files_are_read_with_little_memory(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", mode="w+", dtype=np.uint8, shape=(4096, 2048))
    X[:] = 255
    X.flush()
    del X
    np.save(tmp_path / "y.npy", np.zeros(4096, dtype=np.int64))
    tracemalloc.start()
    source = data.load_dataset(tmp_path / "X.npy", lazy=True).X
    total = sum(
        float(block.sum()) for _, _, block in data.prefetch(source, data.block_ranges(4096, 128))
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 4096 * 2048
    assert peak < 6 * 128 * 2048 * 4  # six blocks; the whole is 32


# --- splitting ------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[50, 50], [7, 100, 13], [2, 2, 2], [1, 30, 9], [333]])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("form", ["labels", "row", "one-hot", "strings", "floats"])
def test_every_class_is_split_in_proportion(counts, fraction, form):
    y = np.repeat(np.arange(len(counts)), counts)
    m = y.size
    X = np.vstack([np.arange(m), y]).astype(np.float32)
    labels = {
        "labels": y,
        "row": y[None],
        "one-hot": np.eye(len(counts))[:, y],
        "strings": y.astype(str),
        "floats": y.astype(float),
    }[form]
    if not 0 < round(m * fraction) < m:
        pytest.skip("nothing to hold out")
    X_train, X_test, y_train, y_test = data.train_test_split(X, labels, fraction, seed=3)
    assert X_train.shape[1] + X_test.shape[1] == m
    np.testing.assert_array_equal(np.sort(np.hstack([X_train, X_test])[0]), np.arange(m))
    np.testing.assert_array_equal(labels[..., X_test[0].astype(int)], y_test)
    np.testing.assert_array_equal(labels[..., X_train[0].astype(int)], y_train)
    held_out = np.bincount(X_test[1].astype(int), minlength=len(counts))
    assert (np.abs(held_out - np.multiply(counts, fraction)) <= 1).all()
    assert (held_out < counts).all(), "every class is left in the training part"
    assert X_train.dtype == np.float32
    assert X_train.T.flags.c_contiguous


def test_the_number_held_out_is_the_one_asked_for():
    y = np.repeat(np.arange(10), 1797 // 10 + 1)[:1797]
    parts = data.train_test_split(y[None].astype(float), y, 0.2, seed=0)
    assert parts[1].shape == (1, round(1797 * 0.2))
    assert len(parts[3]) == round(1797 * 0.2)


def test_the_seed_decides_the_split():
    y = np.arange(100) % 4
    splits = [data.train_test_split(y[None] * 1.0, y, 0.25, seed)[3] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(splits[0], splits[1])
    assert (splits[0] != splits[2]).any()
    assert (np.diff(splits[0]) < 0).any(), "the parts are in random order"


def test_quantities_are_split_without_classes():
    y = np.linspace(0, 1, 50)
    X_train, X_test, y_train, y_test = data.train_test_split(y[None], y, 0.3, 0, stratify=False)
    np.testing.assert_array_equal(X_test[0], y_test)
    np.testing.assert_array_equal(np.sort(np.concatenate([y_train, y_test])), y)
    assert X_train.shape == (1, 35)


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        (ROWS, CLASSES, {}, ValueError, r"X has shape \(7, 3\) and y \(7,\), expected \(n_x, m\)"),
        (ROWS[0], CLASSES, {}, ValueError, r"X has shape \(3,\)"),
        (
            data.ArraySource(ROWS.T),
            CLASSES,
            {},
            TypeError,
            "X is a ArraySource|X is an ArraySource",
        ),
        (ROWS.T, CLASSES, {"test_fraction": 0.0}, ValueError, "test_fraction is 0.0"),
        (ROWS.T, CLASSES, {"test_fraction": 1}, ValueError, "test_fraction is 1"),
        (
            ROWS.T,
            CLASSES,
            {"test_fraction": 0.01},
            ValueError,
            "of 7 examples is 0, expected 1 to 6",
        ),
        (ROWS.T, CLASSES + 0.5, {}, ValueError, "y holds quantities, not classes; use stratify="),
        (ROWS.T, np.ones((2, 7)), {}, ValueError, r"y of shape \(2, 7\) is not one-hot"),
        (ROWS.T, np.arange(7), {}, ValueError, "no class has two examples"),
    ],
)
def test_splits_that_cannot_be_made(X, y, options, error, message):
    with pytest.raises(error, match=message):
        data.train_test_split(X, y, **options)


def test_pixels_become_floats_as_in_the_notebooks():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype, order in itertools.product(("float32", "float64"), "CF"):
        got = sources.to_float(np.asarray(pixels, order=order), dtype)
        np.testing.assert_array_equal(got, pixels / np.dtype(dtype).type(255))
        assert got.flags.c_contiguous
