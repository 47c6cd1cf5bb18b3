"""What the tests of files share: a small network."""

from __future__ import annotations

import itertools

import numpy as np

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
