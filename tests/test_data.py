"""Data sets from files: arrays, labels and tables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from data_cases import CLASSES, RNG, ROWS, write_hdf5, write_npy, write_npz, write_text

from fastdnn import data
from fastdnn.data import loading, sources
from fastdnn.data.tables import named_or_numbered

pytestmark = pytest.mark.extras

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
    with pytest.raises(ValueError, match=r"a\.hdf5 .* 'train' is <HDF5 group"):
        data.load_dataset(path, features="train", target="train/y")


def test_labels_beside_a_npy_file(tmp_path):
    np.save(tmp_path / "X_train.npy", ROWS)
    with pytest.raises(ValueError, match=r"X_train.npy holds examples only: give"):
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
        ('"a, 1";"b, 2, ""3""";y\n1;-2.5;0\n3;4e-2;1\n5;6;0\n', {}, [0, 1, 0], ("0", "1")),
        ("y,a,b\n0,1,-2.5\n1,3,4e-2\n0,5,6\n", {"target": "y"}, [0, 1, 0], ("0", "1")),
        ("a,y,b\n1,0,-2.5\n3,1,4e-2\n5,0,6\n", {"target": 1}, [0, 1, 0], ("0", "1")),
        ("0,1,-2.5\n1,3,4e-2\n0,5,6\n", {"target": -3}, [0, 1, 0], ("0", "1")),
        ("0,1,target\n1,-2.5,7\n3,4e-2,8\n5,6,7\n", {}, [0, 1, 0], ("7", "8")),
        ("0,1,y\n1,-2.5,p\n3,4e-2,q\n5,6,p\n", {}, [0, 1, 0], ("p", "q")),
        ("y,0,1\np,1,-2.5\nq,3,4e-2\np,5,6\n", {"target": 0}, [0, 1, 0], ("p", "q")),
        ("0,1,y\n1,-2.5,7\n3,4e-2,8\n5,6,7\n", {"target": "y"}, [0, 1, 0], ("7", "8")),
        ("2000,2001,y\n1,-2.5,7\n3,4e-2,8\n5,6,7\n", {}, [0, 1, 0], ("7", "8")),
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
    ("labels", "options", "names"),
    [
        (["01", "02", "01"], {}, ("01", "02")),
        (["007", "7", "7"], {}, ("007", "7")),
        (["10", "1_0", "10"], {}, ("10", "1_0")),
        (["1_0.5", "2.5", "2.5"], {}, ("1_0.5", "2.5")),
        ([str(2**64 + 1), str(2**64 + 2)], {}, (str(2**64 + 1), str(2**64 + 2))),
        ([str(2**63 - 1), "-1", "-1"], {}, ("-1", str(2**63 - 1))),
        (["+1", "-1", "0"], {}, ("-1", "0", "1")),
        (["1.0", "0", "1.0"], {}, ("0", "1")),
        (["1000001.0", "1000002.0"], {"task": "classification"}, ("1000001", "1000002")),
        (["01.5", "0.5", "7"], {}, None),
        (["007", "10", "12"], {"task": "regression"}, None),
    ],
)
def test_labels_of_tables_are_numbers_or_names(tmp_path, labels, options, names):
    path = write_text(tmp_path / "table.csv", "".join(f"0.5,{label}\n" for label in labels))
    got = data.load_dataset(path, **options)
    assert got.class_names == names
    if names is None:
        np.testing.assert_array_equal(got.y, [float(label) for label in labels])


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("0,1,p\n1,2,q\n3,4,p\n", {}),  # its class occurs again
        ("0,1,p\n1,2,q\n3,4,r\n", {}),  # so do no others
        ("0,2,p\n1,2,q\n3,4,q\n", {}),
        ("0,1,p\n1,2,q\n3,4,q\n", {"header": False}),
    ],
)
def test_an_example_that_may_be_a_header(tmp_path, text, options):
    got = data.load_dataset(write_text(tmp_path / "table.csv", text), **options)
    assert got.X.shape == (2, 3)
    assert "p" in got.class_names


def test_columns_of_a_table_by_name(tmp_path):
    path = write_text(tmp_path / "table.csv", "a,id,y,b\n1,x,0,2\n3,z,1,4\n")
    got = data.load_dataset(path, columns=["b", "a"], target="y")
    np.testing.assert_array_equal(got.X, [[2, 4], [1, 3]])
    np.testing.assert_array_equal(got.y, [0, 1])
    assert (got.feature_names, got.target_name) == (("b", "a"), "y")
    got = data.load_dataset(path, columns=("a",), labelled=False)
    np.testing.assert_array_equal(got.X, [[1, 3]])
    assert (got.feature_names, got.target_name) == (("a",), None)
    every = data.load_dataset(write_text(path, "0,1,y\n5,6,p\n7,8,p\n"))
    assert (every.feature_names, every.target_name) == (("0", "1"), "y")
    assert data.load_dataset(write_text(path, "5,6,p\n7,8,p\n")).feature_names is None


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
        ("y,a\n0,1\n1,oops\n", {"target": "y"}, "line 3, 'a' is 'oops', expected a finite number$"),
        ("y,a\nup,1\n", {}, "line 2, 'y' is 'up', .*; if these are the labels, give 'y' as target"),
        ("y,a\nup,1\n", {"labelled": False}, "'y' is 'up', expected a finite number$"),
        (
            "1,2,0\nup,2,0\n",
            {},
            "'column 0' is 'up', .*; if these are the labels, give 0 as target",
        ),
        ("up,2,0\nup,2,0\n", {}, "line 1 mixes .*, or give the column of the labels as target"),
        ("a,b,y\n?,2,0\n", {"target": 2}, "'a' is '\\?', expected a finite number$"),
        ("a,b,y\n ,2,0\n", {}, "'a' is ' ', expected a finite number$"),
        ("a,b,y\n1,2,0\n1,2\n", {}, "line 3 has 2 cells, expected 3"),
        ("a,b,y\n1,2,0,4\n", {}, "line 2 has 4 cells, expected 3"),
        ("a,b,y\n1,2,0\n1,2,\n", {}, "line 3 has no label in column 'y'"),
        ("1,?,0\n1,2,0\n", {}, "line 1 mixes names and numbers; say header=True"),
        ("a,b,y\n1,2,0\n", {"target": "z"}, "has no column 'z'; its columns are a, b, y"),
        ("a,b,y\n1,2,0\n", {"columns": ["b", "c"]}, "has no column 'c'; its columns are a, b, y"),
        ("a,a,y\n1,2,0\n", {"columns": ["a"]}, "has 2 columns 'a'; its columns are a, a, y"),
        ("a,b,y\n1,2,0\n", {"columns": ["y"]}, "column 'y' is to be a feature and the label"),
        ("a,b,y\n1,?,0\n", {"columns": ["y", "b"], "target": "a"}, "line 2, 'b' is '\\?'"),
        ("a,b,y\n1,2,0\n1,inf,1\n", {"columns": ["b"]}, "line 3, 'b' is 'inf'"),
        ("a,b,y\n1,2,0\n", {"columns": []}, "columns is \\[\\], expected names of columns"),
        ("a,b,y\n1,2,0\n", {"columns": "a"}, "columns is 'a', expected names of columns"),
        ("1,2,0\n", {"target": 3}, "has 3 columns, target 3 is not one of them"),
        ("1,2,nan\n1,2,3.5\n", {}, r"y\[0\] is nan"),
        ("1,2,3\n1,2,a\n", {"task": "regression"}, "the labels are strings such as 'a'"),
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


def test_digits():
    pytest.importorskip("sklearn")
    digits = data.load_digits_dataset()
    assert digits.X.shape == (64, 1797)
    assert digits.X.min() == 0
    assert digits.X.max() == 1
    assert digits.class_names == tuple("0123456789")
    assert np.bincount(digits.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_pixels_become_floats_as_in_the_notebooks():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype, order in itertools.product(("float32", "float64"), "CF"):
        got = sources.to_float(np.asarray(pixels, order=order), dtype)
        np.testing.assert_array_equal(got, pixels / np.dtype(dtype).type(255))
        assert got.flags.c_contiguous


# --- columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target", "meant"),
    [
        ("a,b,2020\n1,2,3\n", "2020", "2020"),  # no such index
        ("2019,2020,y\n1,2,3\n", "2020", "2020"),
        ("a,2,1\n1,2,3\n", "1", "1"),  # the last column
        ("a,-1,c\n1,2,3\n", "-1", "-1"),
        ("a,b,c\n1,2,3\n", "1", 1),
        ("a,b,c\n1,2,3\n", "-1", -1),
        ("a,b,c\n1,2,3\n", "c", "c"),
        ("a,b,c\n1,2,3\n", "2020", 2020),  # which is refused
        ("5,3,2,iris\n6,2,1,rose\n", "3", 3),  # an example
        ("1,2,0\n2,1,1\n", "2", 2),
        ("", "2", 2),
    ],
)
def test_a_column_is_known_by_its_name_before_its_number(tmp_path, text, target, meant):
    assert named_or_numbered(write_text(tmp_path / "a.csv", text), target) == meant
