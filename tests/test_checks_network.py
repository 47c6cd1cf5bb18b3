"""Checks of what has to fit a network: layers, activations, parameters and targets."""

import itertools

import numpy as np
import pytest
from check_cases import F32, F64, SWAPPED, refuses

from fastdnn import checks

NAMES = ("identity", "relu", "sigmoid")
BINARY, CATEGORICAL, MSE = "binary_crossentropy", "categorical_crossentropy", "mse"


class TestLayers:
    @pytest.mark.parametrize("value", [[5, 4, 1], (5, 4, 1), np.array([5, 4, 1]), iter([5, 4, 1])])
    def test_layer_dims(self, value):
        dims = checks.layer_dims(value)
        assert dims == (5, 4, 1)
        assert all(type(n) is int for n in dims)

    @pytest.mark.parametrize(
        ("value", "error", "message"),
        [
            ([], ValueError, "layer_dims is [], expected at least two sizes (n_x, ..., n_y)"),
            ([5], ValueError, "layer_dims is [5], expected at least two sizes"),
            ([5, 0, 1], ValueError, "layer_dims[1] is 0, expected a whole number >= 1"),
            ([5, -2, 1], ValueError, "layer_dims[1] is -2, expected a whole number >= 1"),
            ([5, 4.0, 1], TypeError, "layer_dims[1] is 4.0, expected a whole number >= 1"),
            ([5, True, 1], TypeError, "layer_dims[1] is True, expected a whole number >= 1"),
            ([5, [4], 1], TypeError, "layer_dims[1] is [4], expected a whole number >= 1"),
            ("54", TypeError, "layer_dims[0] is '5', expected a whole number >= 1"),
            (7, TypeError, "layer_dims is 7, expected layer sizes (n_x, ..., n_y)"),
            (np.array(7), TypeError, "layer_dims is array(7), expected layer sizes"),
            (None, TypeError, "layer_dims is None, expected layer sizes"),
        ],
    )
    def test_layer_dims_refuses(self, value, error, message):
        refuses(error, message, checks.layer_dims, value)

    @pytest.mark.parametrize(
        ("value", "n_hidden", "expected"),
        [
            ("relu", 0, ()),
            ("relu", 2, ("relu", "relu")),
            (["relu", "sigmoid"], 2, ("relu", "sigmoid")),
            ((), 0, ()),
        ],
    )
    def test_hidden_activations(self, value, n_hidden, expected):
        assert checks.hidden_activations(value, n_hidden, NAMES) == expected

    @pytest.mark.parametrize(
        ("value", "error", "message"),
        [
            ("reul", ValueError, "hidden_activation is 'reul', expected one of"),
            (["relu"], ValueError, "hidden_activation has 1 names, expected 2 (or one for all)"),
            (["relu", "tan"], ValueError, "hidden_activation[1] is 'tan', expected one of"),
            (["relu", 3], TypeError, "hidden_activation[1] is 3, expected one of"),
            (
                None,
                TypeError,
                "hidden_activation is None, expected a name or one name per hidden la",
            ),
        ],
    )
    def test_hidden_activations_refuses(self, value, error, message):
        refuses(error, message, checks.hidden_activations, value, 2, NAMES)


def test_a_message_stays_short_however_long_the_value():
    with pytest.raises(ValueError, match="expected at least two sizes") as caught:
        checks.layer_dims(["x" * 1000])
    assert len(str(caught.value)) < 200


class TestLabels:
    @pytest.mark.parametrize(
        ("value", "n_y", "loss", "expected"),
        [
            ([[0, 1, 1]], 1, BINARY, [[0, 1, 1]]),
            ([0, 1, 1], 1, BINARY, [[0, 1, 1]]),
            ([False, True, True], 1, BINARY, [[0, 1, 1]]),
            ([0.25, 0.5, 1], 1, BINARY, [[0.25, 0.5, 1]]),
            (np.array([9, 0, 9, 1, 9, 1])[1::2], 1, BINARY, [[0, 1, 1]]),
            ([[0, 1, 1], [1, 1, 0]], 2, BINARY, [[0, 1, 1], [1, 1, 0]]),
            ([-3.5, 0, 1e6], 1, MSE, [[-3.5, 0, 1e6]]),
            ([[-3, 0, 1], [4, 5, 6]], 2, MSE, [[-3, 0, 1], [4, 5, 6]]),
            ([0, 2, 1], 3, CATEGORICAL, np.eye(3)[:, [0, 2, 1]]),
            (np.uint8([0, 2, 1]), 300, CATEGORICAL, np.eye(300)[:, [0, 2, 1]]),
            (np.array([0, 2, 1], SWAPPED + "i8"), 3, CATEGORICAL, np.eye(3)[:, [0, 2, 1]]),
            (np.array([2, 1, 0])[::-1], 3, CATEGORICAL, np.eye(3)),
            ([True, False, True], 2, CATEGORICAL, [[0, 1, 0], [1, 0, 1]]),
            ([0, 0, 0], 1, CATEGORICAL, [[1, 1, 1]]),
            ([1.0, 1.0, 1.0], 1, CATEGORICAL, [[1, 1, 1]]),
            ([[0.5, 0, 1], [0.5, 1, 0]], 2, CATEGORICAL, [[0.5, 0, 1], [0.5, 1, 0]]),
        ],
    )
    @pytest.mark.parametrize("dtype", [F32, F64], ids=str)
    def test_every_form_becomes_columns(self, value, n_y, loss, expected, dtype):
        before = np.array(value)
        Y = checks.labels(value, n_y, 3, loss, dtype)
        assert Y.dtype == dtype
        np.testing.assert_array_equal(Y, np.asarray(expected, dtype))
        np.testing.assert_array_equal(value, before)

    @pytest.mark.parametrize("m", [3, 20_000], ids=["few", "many"])
    @pytest.mark.parametrize(
        ("column", "message"),
        [
            ([0.5, 0.5, 0.01], r"^Y\[:, 1\] sums to 1.01, expected 1 for a softmax"),
            ([0.0, 0.0, 0.0], r"^Y\[:, 1\] sums to 0, expected 1"),
            ([1.5, -0.5, 0.0], r"^Y\[0, 1\] is 1.5, expected targets between 0 and 1"),
            ([0.7, np.nan, 0.3], r"^Y\[1, 1\] is nan, expected targets between 0 and 1"),
        ],
        ids=["above", "nothing", "negative", "nan"],
    )
    def test_columns_that_are_no_distribution(self, column, message, m):
        """The gradient AL - Y would not be that of the cost."""
        Y = np.eye(3)[:, np.arange(m) % 3]
        assert checks.labels(Y, 3, m, CATEGORICAL, F64).shape == (3, m)
        Y[:, 1] = column
        with pytest.raises(ValueError, match=message):
            checks.labels(Y, 3, m, CATEGORICAL, F64)

    @pytest.mark.parametrize("m", [3, 2_000], ids=["few", "many"])
    def test_distributions_in_float16(self, m):
        Y = np.random.default_rng(0).dirichlet(np.ones(10), m).T.astype(np.float16)
        assert np.any(np.add.reduce(Y.astype(F32)) != 1)
        assert checks.labels(Y, 10, m, CATEGORICAL, F32).dtype == F32

    def test_class_indices_may_be_a_row(self):
        """As the notebooks keep their labels."""
        row = np.array([[2, 0, 1]])
        expected = checks.labels(row[0], 3, 3, CATEGORICAL, F32)
        np.testing.assert_array_equal(checks.labels(row, 3, 3, CATEGORICAL, F32), expected)

    def test_fitting_targets_are_not_copied(self):
        Y = np.zeros((1, 3), F32)
        assert np.shares_memory(checks.labels(Y, 1, 3, BINARY, F32), Y)
        assert np.shares_memory(checks.labels(Y[0], 1, 3, BINARY, F32), Y)

    @pytest.mark.parametrize(
        ("got", "n_y", "loss", "message"),
        [
            ((208,), 1, BINARY, "Y has shape (208,), expected (1, 209) or (209,) labels"),
            (
                (209, 1),
                1,
                BINARY,
                "Y has shape (209, 1), expected (1, 209) or (209,) labels; "
                "examples are columns, use Y.T",
            ),
            ((209, 209), 1, BINARY, "Y has shape (209, 209), expected (1, 209) or (209,) labels"),
            ((), 1, BINARY, "Y has shape (), expected (1, 209) or (209,) labels"),
            ((0,), 1, BINARY, "Y has shape (0,), expected (1, 209) or (209,) labels"),
            ((2, 209), 10, CATEGORICAL, "Y has shape (2, 209), expected (10, 209) or (209,) class"),
            ((1, 209), 10, BINARY, "Y has shape (1, 209), expected (10, 209)"),
            ((208,), 10, CATEGORICAL, "Y has shape (208,), expected (10, 209) or (209,) class ind"),
            ((209, 10), 10, CATEGORICAL, "Y has shape (209, 10), expected (10, 209) or (209,) cl"),
            ((209,), 10, BINARY, "Y has shape (209,), expected (10, 209)"),
            ((209,), 2, MSE, "Y has shape (209,), expected (2, 209)"),
            ((1, 1, 209), 1, MSE, "Y has shape (1, 1, 209), expected (1, 209) or (209,) labels"),
        ],
    )
    def test_refuses_other_shapes(self, got, n_y, loss, message):
        refuses(ValueError, message, checks.labels, np.zeros(got, int), n_y, 209, loss, F64)

    @pytest.mark.parametrize(
        ("value", "n_y", "loss", "error", "message"),
        [
            ([0, 1, 10], 10, CATEGORICAL, ValueError, "Y[2] is 10, expected a class from 0 to 9"),
            (
                [0, -1, 1],
                3,
                CATEGORICAL,
                ValueError,
                "Y[1] is -1, expected a class from 0 to 2",
            ),
            (
                [0, 1, 1],
                1,
                CATEGORICAL,
                ValueError,
                "Y[1] is 1, expected a class from 0 to 0",
            ),
            (
                np.uint64([0, 1, 2**64 - 1]),
                3,
                CATEGORICAL,
                ValueError,
                "Y[2] is 18446744073709551615, expected a class from 0 to 2",
            ),
            (
                [0.0, 1.0, 2.0],
                3,
                CATEGORICAL,
                TypeError,
                "Y has dtype float64, expected integer class indices: use Y.astype(int)",
            ),
            (
                [-1, 1, 1],
                1,
                BINARY,
                ValueError,
                "Y[0] is -1.0, expected targets between 0 and 1 for binary_crossentropy",
            ),
            (
                [[0, 1, 2]],
                1,
                BINARY,
                ValueError,
                "Y[0, 2] is 2.0, expected targets between 0 and 1",
            ),
            (
                [[0, 1.5, 0], [1, 0, 1]],
                2,
                CATEGORICAL,
                ValueError,
                "Y[0, 1] is 1.5, expected targets between 0 and 1 for categorical_crossentropy",
            ),
            (
                [0, np.nan, 1],
                1,
                BINARY,
                ValueError,
                "Y[1] is nan, expected targets between 0 and 1",
            ),
            ([0, np.nan, 1], 1, MSE, ValueError, "Y[1] is nan, expected finite float64 numbers"),
            (
                [[0, 1, np.inf]],
                1,
                MSE,
                ValueError,
                "Y[0, 2] is inf, expected finite float64 numbers",
            ),
            (["a", "b", "c"], 3, CATEGORICAL, TypeError, "Y has dtype <U1 (a list), expected real"),
            (np.ma.array([0, 1, 1]), 1, BINARY, TypeError, "Y is a masked array"),
            ([[0], [1, 2], []], 1, BINARY, ValueError, "Y does not form an array of numbers: "),
        ],
    )
    def test_refuses_other_targets(self, value, n_y, loss, error, message):
        refuses(error, message, checks.labels, value, n_y, 3, loss, F64)

    def test_calls_the_argument_by_its_name(self):
        message = "Yv has shape (2,), expected (1, 3) or (3,) labels"
        refuses(ValueError, message, checks.labels, [0, 1], 1, 3, BINARY, F64, name="Yv")


def network(*sizes, dtype=F64):
    pairs = list(itertools.pairwise(sizes))
    W = {f"W{i}": np.ones((n, n_prev), dtype) for i, (n_prev, n) in enumerate(pairs, 1)}
    return W | {f"b{i}": np.zeros((n, 1), dtype) for i, (_, n) in enumerate(pairs, 1)}


class TestParameters:
    @pytest.mark.parametrize("sizes", [(3, 1), (4, 3, 2), (2,) * 13])
    def test_come_back_in_the_order_of_the_layers(self, sizes):
        given = network(*sizes)
        checked = checks.parameters(given)
        assert list(checked) == [f"{k}{i}" for i in range(1, len(sizes)) for k in "Wb"]
        assert all(checked[key] is given[key] for key in given)
        assert checked is not given

    def test_cast_on_request(self):
        assert {a.dtype for a in checks.parameters(network(3, 2, 1), dtype=F32).values()} == {F32}

    def test_lists_will_do(self):
        assert checks.parameters({"W1": [[1, 2]], "b1": [[0]]})["W1"].shape == (1, 2)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"W2": np.ones((2, 5))}, ValueError, "W2 has shape (2, 5), expected (n2, 3)"),
            (
                {"W2": np.ones((3, 2))},
                ValueError,
                "W2 has shape (3, 2), expected (n2, 3); W2.T has",
            ),
            ({"b1": np.ones(3)}, ValueError, "b1 has shape (3,), expected (3, 1)"),
            ({"b1": np.ones((1, 3))}, ValueError, "b1 has shape (1, 3), expected (3, 1); b1.T has"),
            ({"W1": np.ones(3)}, ValueError, "W1 has shape (3,), expected a 2-d array"),
            (
                {"W1": np.ones((0, 3))},
                ValueError,
                "W1 has shape (0, 3), expected at least one elem",
            ),
            (
                {"W2": np.full((2, 3), np.nan)},
                ValueError,
                "W2[0, 0] is nan, expected finite float64",
            ),
            ({"b2": "x"}, TypeError, "b2 has dtype <U1 (a str), expected real numbers"),
            (
                {"b2": np.ones((2, 1), F32)},
                TypeError,
                "b2 has dtype float32 and W1 float64, expected one precision: "
                "use b2.astype('float64')",
            ),
        ],
    )
    def test_refuses(self, change, error, message):
        refuses(error, message, checks.parameters, network(4, 3, 2) | change)

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            ("", "W1, b1"),
            ("W1", "W1, b1"),
            ("W1, b1, W2", "W1, b1, W2, b2"),
            ("W1, b1, W3, b3", "W1, b1, W2, b2"),
            ("W1, b1, c2, d2", "W1, b1, W2, b2"),
            ("w1, b1", "W1, b1"),
        ],
    )
    def test_refuses_other_keys(self, keys, expected):
        given = dict.fromkeys(filter(None, keys.split(", ")), np.ones((1, 1)))
        message = f"parameters has the keys {keys or '(none)'}, expected {expected}"
        refuses(ValueError, message, checks.parameters, given)

    @pytest.mark.parametrize("value", [None, [np.ones((2, 2))], "W1"])
    def test_refuses_what_is_no_mapping(self, value):
        message = f"parameters is a {type(value).__name__}, expected a dict of W1, b1, ... WL, bL"
        refuses(TypeError, message, checks.parameters, value)

    def test_refuses_keys_that_are_no_strings(self):
        message = "parameters has the keys 1, 2, expected W1, b1"
        refuses(ValueError, message, checks.parameters, {1: 0, 2: 0})
