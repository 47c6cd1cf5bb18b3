"""Examples that stay in their file: the same results as from memory, within little memory."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from cli_cases import quickly
from data_cases import write_hdf5
from kernel_cases import run_python
from network_cases import assert_same_bits

import fastdnn
from fastdnn import batches, data, engine
from fastdnn.cli.recipe import Moments, Recipe
from fastdnn.data import loading, sources

pytestmark = pytest.mark.usefixtures("one_thread")

M, N_X = 300, 5
X = np.random.default_rng(0).normal(3, 2, (N_X, M)).astype(np.float32)
Y = (X[0] > X[1]).astype(np.int64)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks of few examples: 16 in a training, 8 elsewhere, runs of 3 picked from."""
    monkeypatch.setattr(batches, "BLOCK_BYTES", 16 * N_X * 4)
    monkeypatch.setattr(sources, "BLOCK_BYTES", 8 * N_X * 4)
    monkeypatch.setattr(sources, "SELECTION_BYTES", 3 * N_X * 4)


class Counted(data.ArraySource):
    """Notes the longest run that was read."""

    longest = 0

    def read(self, start, stop):
        self.longest = max(self.longest, stop - start)
        return super().read(start, stop)


# --- DNN --------------------------------------------------------------------------------------


def trained(examples, validation=None, **options):
    net = fastdnn.DNN([N_X, 4, 1], seed=1)
    settings = {"epochs": 3, "batch_size": 16, "optimizer": "adam", "shuffle": False} | options
    history = net.fit(examples, Y, validation_data=validation, **settings)
    return net, history


@pytest.mark.usefixtures("small_blocks")
def test_a_source_trains_to_the_bits_of_its_array():
    source = Counted(X)
    net, history = trained(source, (Counted(X[:, :52]), Y[:52]))
    twin, same = trained(X, (X[:, :52], Y[:52]))
    assert_same_bits(net.parameters, twin.parameters)
    assert history.cost == same.cost
    assert history.validation_cost == same.validation_cost
    assert source.longest == 16


@pytest.mark.usefixtures("small_blocks")
def test_a_source_gives_the_outputs_of_its_array():
    net, source = fastdnn.DNN([N_X, 4, 1], seed=1), Counted(X)
    assert_same_bits(net.forward(source), net.forward(X))
    assert_same_bits(net.predict(source), net.predict(X))
    assert net.evaluate(source, Y) == net.evaluate(X, Y)
    assert source.longest == 8


@pytest.mark.usefixtures("small_blocks")
def test_the_same_seed_shuffles_alike():
    source = Counted(X)
    net, history = trained(source, shuffle=True)
    again, same = trained(source, shuffle=True)
    assert_same_bits(net.parameters, again.parameters)
    assert history.cost == same.cost
    assert history.cost != trained(source)[1].cost


@pytest.mark.usefixtures("small_blocks")
def test_blocks_and_their_examples_are_shuffled(monkeypatch):
    numbers = {value: example for example, value in enumerate(X[0].tolist())}
    taken = []
    steps = engine.Engine.steps

    def watched(self, block, Y, starts, coefficients, code, state, size, **options):
        values = block.array()[0][options["order"]].tolist()
        taken.extend(numbers[value] for start in starts for value in values[start : start + size])
        return steps(self, block, Y, starts, coefficients, code, state, size, **options)

    monkeypatch.setattr(engine.Engine, "steps", watched)
    trained(data.ArraySource(X), shuffle=True, batch_size=8)
    epochs = np.reshape(taken, (3, M))
    for epoch in epochs:
        assert sorted(epoch) == [*range(M)]
        blocks = epoch // 16
        starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        assert len(starts) == -(-M // 16)  # each as a whole
        assert (np.diff(blocks[starts]) < 0).any()
        assert (np.diff(epoch)[np.diff(blocks) == 0] < 0).any()
    assert (epochs[0] != epochs[1]).any()


def test_a_source_of_other_features_is_refused():
    net, source = fastdnn.DNN([N_X + 1, 1]), data.ArraySource(X)
    for call in (
        lambda: net.fit(source, Y, batch_size=8),
        lambda: net.predict(source),
        lambda: net.evaluate(source, Y),
    ):
        with pytest.raises(ValueError, match=r"X is a source of shape \(5, 300\), expected \(6, m"):
            call()
    with pytest.raises(ValueError, match=r"validation_data\[0\] is a source of shape"):
        net.fit(np.ones((6, 3)), [0, 1, 0], validation_data=(source, Y))
    with pytest.raises(ValueError, match="batch_size is needed where X is a source"):
        fastdnn.DNN([N_X, 1]).fit(source, Y)


class Shrinking(data.ArraySource):
    """Loses its last feature after some blocks."""

    blocks = 0

    @property
    def shape(self):
        return N_X - (self.blocks > 30), M

    def read(self, start, stop):
        self.blocks += 1
        return super().read(start, stop)[:, : self.shape[0]]


@pytest.mark.usefixtures("small_blocks")
def test_a_source_that_changes_on_the_way_is_refused():
    message = r"^X\.read\(.*\) has shape \(\d+, 4\), expected \(\d+, 5\)"
    with pytest.raises(ValueError, match=message):
        trained(Shrinking(X))
    with pytest.raises(ValueError, match=message):
        trained(X, (Shrinking(X), Y))


@pytest.mark.usefixtures("small_blocks")
def test_a_stopped_training_from_a_source_goes_on_to_the_same_bits(tmp_path):
    whole, history = trained(data.ArraySource(X), shuffle=True, epochs=4)
    path = tmp_path / "run.npz"

    def stop(history):
        if history.epochs == 2:
            raise KeyboardInterrupt

    saved = fastdnn.Checkpoint(path, every_epochs=1)
    with pytest.raises(KeyboardInterrupt):
        trained(data.ArraySource(X), shuffle=True, epochs=4, checkpoint=saved, callbacks=[stop])
    net, there = trained(data.ArraySource(X), shuffle=True, epochs=4, checkpoint=saved)
    assert_same_bits(net.parameters, whole.parameters)
    assert there.cost == history.cost


# --- some of the examples -----------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
def test_selected_examples(rng):
    indices = rng.permutation(M)[:120]
    source = data.SelectedSource(Counted(X), indices)
    rows = X.T[np.sort(indices)]
    assert source.shape == (N_X, 120)
    for start, stop in [(0, 120), (0, 1), (119, 120), (30, 77), (5, 5)]:
        np.testing.assert_array_equal(source.read(start, stop), rows[start:stop])
    assert source._source.longest == 3
    twice = data.SelectedSource(source, np.array([7, 3, 100]))
    np.testing.assert_array_equal(twice.read(0, 3), rows[[3, 7, 100]])
    with pytest.raises(ValueError, match="examples 0 to 121 asked for"):
        source.read(0, 121)
    assert "120 examples" in repr(source)


def test_a_source_is_split_like_its_array():
    numbers = np.arange(float(M))[None]
    parts = data.train_test_split(data.ArraySource(numbers), Y, 0.3, seed=2)
    arrays = data.train_test_split(numbers, Y, 0.3, seed=2)
    for i in (0, 1):
        there = parts[i].read(0, parts[i].shape[1])[:, 0]
        np.testing.assert_array_equal(there, np.sort(arrays[i][0]))
        np.testing.assert_array_equal(Y[there.astype(int)], parts[i + 2])


# --- the command --------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
def test_moments():
    wide = np.vstack([1e8 + X[:1].astype(float), X])
    found = Moments.of(wide)
    np.testing.assert_allclose(found.mean, wide.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(found.squares / found.count, wide.var(axis=1), rtol=1e-7)
    assert (found.count, found.low, found.high) == (M, wide.min(), wide.max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scaling", ["standard", "none"])
@pytest.mark.parametrize("stored", ["uint8", "float32", "float64", "int16"])
def test_a_recipe_gives_a_source_and_an_array_the_same_numbers(stored, scaling, dtype):
    kept = np.abs(20 * X).astype(stored)
    source = data.ArraySource(kept)
    array = data.to_float(kept.T, data.natural_dtype(source.dtype)).T
    recipe = Recipe.fitted(source, scaling, class_names=(), target=None)
    there = recipe.apply(source, np.dtype(dtype))
    assert there.shape == source.shape
    assert_same_bits(there.read(10, 40).T, recipe.apply(array, np.dtype(dtype))[:, 10:40])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("file", ["a.h5", "X.npy"])
def test_the_command_streams_large_files(run, tmp_path, monkeypatch, file):
    if file == "a.h5":
        write_hdf5(tmp_path / file, X=X.T, y=Y)
    else:
        np.save(tmp_path / "X.npy", X.T)
        np.save(tmp_path / "y.npy", Y)
    words = (*quickly(file), "--epochs", "60")
    seen = []
    fit = fastdnn.DNN.fit

    def spy(net, examples, *args, **options):
        seen.append((isinstance(examples, data.Source), options["validation_data"][0]))
        return fit(net, examples, *args, **options)

    monkeypatch.setattr(fastdnn.DNN, "fit", spy)
    kept = run(*words, "--out", "kept.npz")
    monkeypatch.setattr(loading, "LAZY_BYTES", 28 * N_X * 4)
    streamed = run(*words)
    assert [source for source, _ in seen] == [False, False, False, True]
    assert isinstance(seen[-1][1], np.ndarray)  # 24 examples: small enough to be kept
    figures = [re.search(r"held out: .*accuracy ([0-9.]+)", r.out)[1] for r in (kept, streamed)]
    assert min(map(float, figures)) > 0.9, figures
    assert "216 to train on, 24 to validate, 60 held out" in streamed.out

    for words in ("evaluate model.npz {}", "predict model.npz {}"):
        lazily = run(*words.format(file).split())
        with monkeypatch.context() as patch:
            patch.setattr(loading, "LAZY_BYTES", 2**30)
            assert run(*words.format(file).split()).out == lazily.out
        assert lazily.status == 0
    monkeypatch.setattr(loading, "LAZY_BYTES", 0)
    assert run("train", file, "--layers", "4", "--epochs", "1", "--no-plot").status == 0
    assert isinstance(seen[-1][1], data.Source)


LIMITED = """
import re, resource, sys
import h5py, numpy as np
import fastdnn
from fastdnn import cli, data

M, N_X, GB = 1_048_576, 768, 2**30  # 3 GB of float32; what is not written takes no disk
with h5py.File("big.h5", "w") as file:
    X = file.create_dataset("X", (M, N_X), "f4", chunks=(1024, N_X), fillvalue=0.5)
    for start in range(0, M, M // 8):
        X[start : start + 1024] = np.random.default_rng(start).standard_normal((1024, N_X))
    file["y"] = np.arange(M) % 2

source = data.Hdf5Source("big.h5", "X")
y = np.arange(M) % 2
few = source.read(0, 600).T
fastdnn.DNN([N_X, 16, 1]).fit(few, y[:600], batch_size=256, validation_data=(few, y[:600]))
size = int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + GB, size + GB))
try:
    source.read(0, M)
except MemoryError:
    print("the limit holds")
net = fastdnn.DNN([N_X, 16, 1])
print("epochs", net.fit(source, y, batch_size=256).epochs)
words = "train big.h5 --layers 16 --epochs 1 --batch-size 256 --no-plot --test 0.05"
print("status", cli.main(words.split()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space, and /proc")
def test_3_gb_of_hdf5_train_within_1_gb(warm_cache, tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    result = run_python(LIMITED)
    assert result.returncode == 0, result.stderr[-3000:]
    for line in ("the limit holds", "epochs 1", "status 0"):
        assert line in result.stdout
