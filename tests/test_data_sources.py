"""Examples read in blocks: any run of them, one block ahead, and errors in their place."""

from __future__ import annotations

import re
import threading
import time
import tracemalloc
from contextlib import closing

import numpy as np
import pytest
from data_cases import RNG, ROWS, write_hdf5

import fastdnn
from fastdnn import batches, data, training
from fastdnn.data import sources

pytestmark = pytest.mark.extras

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


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (ROWS[0], ValueError, r"X has shape \(3,\), expected \(n_x, m\)"),
        (np.ma.masked_less(ROWS, 0), TypeError, "X is a masked array, expected a plain one"),
        (ROWS * 1j, TypeError, "X has dtype complex128"),
        (None, TypeError, "X has dtype object"),
    ],
    ids=["1-d", "masked", "complex", "None"],
)
def test_array_sources_refuse_what_is_no_array_of_examples(X, error, message):
    with pytest.raises(error, match=message):
        data.ArraySource(X)


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


def test_hdf5_sources_refuse_what_is_no_array(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = write_hdf5(tmp_path / "a.h5", x=ROWS)
    with h5py.File(path, "a") as file:
        file.create_group("group")
        file["empty"] = h5py.Empty("f8")
        file["broken"] = h5py.SoftLink("/nowhere")
    for key, message in [
        ("group", r"a\.h5: 'group' is <HDF5 group .*, expected an array"),
        ("empty", r"a\.h5: 'empty' is <HDF5 dataset .*, expected an array"),
        ("broken", r"a\.h5: 'broken' is None, expected an array"),
    ]:
        with pytest.raises(ValueError, match=message):
            data.Hdf5Source(path, key)


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


class Giving(Recorder):
    """A source whose blocks are what a function makes of the good ones."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def read(self, start, stop):
        return self.change(super().read(start, stop))


# What a source gives in place of a block of shape (2, 2): error, and how its message goes on.
BAD_BLOCKS = {
    "wider": (lambda block: block[:, [0, 0, 1]], ValueError, "has shape (2, 3), expected (2, 2)"),
    "narrower": (lambda block: block[:, :1], ValueError, "has shape (2, 1), expected (2, 2)"),
    "more rows": (lambda block: block[[0, 0, 1]], ValueError, "has shape (3, 2), expected (2, 2)"),
    "fewer rows": (lambda block: block[:1], ValueError, "has shape (1, 2), expected (2, 2)"),
    "flat": (np.ravel, ValueError, "has shape (4,), expected (2, 2)"),
    "list": (np.ndarray.tolist, TypeError, "is a list, expected an ndarray of shape (2, 2)"),
    "None": (lambda block: None, TypeError, "is a NoneType, expected an ndarray of shape (2, 2)"),
    "complex": (lambda block: block + 1j, TypeError, "has dtype complex128"),
    "objects": (lambda block: block.astype(object), TypeError, "has dtype object"),
    "masked": (np.ma.array, TypeError, "is a masked array, expected a plain one"),
    "pixels": (
        lambda block: block.astype(np.uint8),
        TypeError,
        "has dtype uint8, expected float64 as",
    ),
}
bad_blocks = pytest.mark.parametrize(
    ("change", "error", "message"), BAD_BLOCKS.values(), ids=BAD_BLOCKS
)


@bad_blocks
def test_blocks_that_are_no_examples_are_named(change, error, message):
    blocks = data.prefetch(Giving(change), [(4, 6)])
    with pytest.raises(error, match="^" + re.escape(f"X.read(4, 6) {message}")):
        next(blocks)
    selected = data.SelectedSource(Giving(change), np.array([4, 5]))
    with pytest.raises(error, match="^" + re.escape(f"X.read(4, 6) {message}")):
        selected.read(0, 2)
    assert not reader_threads()


@bad_blocks
@pytest.mark.usefixtures("no_compiled_code")
def test_no_block_that_is_no_examples_comes_to_compiled_code(change, error, message, monkeypatch):
    for module in (batches, sources):
        monkeypatch.setattr(module, "BLOCK_BYTES", 2 * 2 * 4)
    source, net, good, y = Giving(change), fastdnn.DNN([2, 3, 1]), np.ones((2, 8)), [0, 1] * 4
    for call in (
        lambda: net.forward(source),
        lambda: net.evaluate(source, y),
        lambda: net.fit(source, y, batch_size=2, shuffle=False),
    ):
        with pytest.raises(error, match="^" + re.escape(f"X.read(0, 2) {message}")):
            call()
    monkeypatch.setattr(training.Training, "_epochs", lambda self: self.history.cost.append(0.0))
    with pytest.raises(error, match="^" + re.escape(f"X.read(0, 2) {message}")):
        net.fit(good, y, batch_size=2, validation_data=(source, y))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shape": (3,)}, TypeError, ".shape is (3,), expected two numbers (n_x, m)"),
        ({"shape": None}, TypeError, ".shape is None, expected two numbers (n_x, m)"),
        ({"shape": (2, 8.0)}, TypeError, ".shape[1] is 8.0, expected a whole number >= 1"),
        ({"shape": (2, 0)}, ValueError, ".shape[1] is 0, expected a whole number >= 1"),
        ({"dtype": None}, TypeError, ".dtype is None, expected that of real numbers"),
        ({"dtype": np.dtype(complex)}, TypeError, ".dtype is dtype('complex128'), expected"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("no_compiled_code")
def test_sources_that_do_not_say_what_they_hold_are_refused(change, error, message):
    source, net, good, y = Recorder(), fastdnn.DNN([2, 3, 1]), np.ones((2, 8)), [0, 1] * 4
    vars(source).update(change)
    for name, call in [
        ("X", lambda: net.forward(source)),
        ("X", lambda: net.evaluate(source, y)),
        ("X", lambda: net.fit(source, y, batch_size=2)),
        ("validation_data[0]", lambda: net.fit(good, y, validation_data=(source, y))),
        ("X", lambda: data.train_test_split(source, y)),
        ("source", lambda: data.SelectedSource(source, np.array([0, 1]))),
        ("source", lambda: next(data.prefetch(source, [(0, 1)]))),
        ("source", lambda: next(data.whole_blocks(source))),
    ]:
        with pytest.raises(error, match="^" + re.escape(name + message)):
            call()
    assert source.reads == []


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

    def total_of(examples):
        source = data.load_dataset(tmp_path / "X.npy", lazy=True).X
        ranges = data.block_ranges(examples, 128)
        return sum(float(block.sum()) for _, _, block in data.prefetch(source, ranges))

    total_of(128)  # imports what reading needs, which takes more memory than the blocks
    tracemalloc.start()
    total = total_of(4096)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 4096 * 2048
    assert peak < 6 * 128 * 2048 * 4  # six blocks; the whole is 32
