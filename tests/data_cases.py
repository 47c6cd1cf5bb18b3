"""What the tests of data sets share: a few examples, and files of them."""

from __future__ import annotations

import numpy as np
import pytest

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
