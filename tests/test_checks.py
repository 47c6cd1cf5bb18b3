"""Checks of arrays: what they let through, what they convert, the message they refuse with."""

import itertools
import re
import sys

import numpy as np
import pytest

from fastdnn import checks

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SWAPPED = ">" if sys.byteorder == "little" else "<"
GRID = np.arange(12.0).reshape(3, 4)
BINARY, CATEGORICAL, MSE = "binary_crossentropy", "categorical_crossentropy", "mse"


def refuses(error, message, check, *args, **kwargs):
    with pytest.raises(error, match="^" + re.escape(message)):
        check(*args, **kwargs)


def unaligned(array):
    """A copy that starts one byte off its natural address."""
    raw = np.empty(array.nbytes + 1, np.uint8)
    copy = np.frombuffer(raw.data, array.dtype, array.size, offset=1).reshape(array.shape)
    copy[...] = array
    assert not copy.flags.aligned
    return copy


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


class Subclass(np.ndarray):
    pass


class TestFloatArray:
    @pytest.mark.parametrize("dtype", [F32, F64], ids=str)
    @pytest.mark.parametrize(
        "layout",
        [
            np.ascontiguousarray,
            np.asfortranarray,
            read_only,
            lambda a: a[::-1, ::-1],
            lambda a: np.repeat(a, 2, axis=1)[:, ::2],
            lambda a: np.broadcast_to(a[:1], (5, 4)),
        ],
        ids=["C", "Fortran", "read-only", "negative strides", "strided", "zero strides"],
    )
    def test_fitting_array_is_handed_back_itself(self, layout, dtype):
        array = layout(GRID.astype(dtype))
        assert checks.float_array("X", array) is array
        assert checks.float_array("X", array, dtype=dtype) is array

    @pytest.mark.parametrize(
        ("value", "dtype", "expected"),
        [
            (np.int8([[-1, 2]]), None, F64),
            (np.uint64([[1, 2**63]]), None, F64),
            (np.array([[True, False]]), None, F64),
            (np.float16([[0.5, 2]]), None, F64),
            ([[1, 2], [3, 4]], None, F64),
            (((0.5, True),), None, F64),
            (np.float32([[0.1]]), None, F32),
            (np.float32([[0.1]]), np.float64, F64),
            (np.float64([[0.1]]), "float32", F32),
            (np.int64([[7]]), F32, F32),
            (np.array([[1.5]], SWAPPED + "f4"), None, F32),
            (np.array([[1.5]], SWAPPED + "f8"), None, F64),
            (np.array([[3]], SWAPPED + "i2"), None, F64),
            (np.array([[1.5]], SWAPPED + "f8"), "float32", F32),
            (unaligned(GRID), None, F64),
            (unaligned(GRID.astype(F32)), None, F32),
            (GRID.view(Subclass), None, F64),
        ],
    )
    def test_converts_once_without_touching_the_input(self, value, dtype, expected):
        before = np.array(value, copy=True)
        array = checks.float_array("X", value, dtype=dtype)
        assert type(array) is np.ndarray
        assert array.dtype == expected
        assert array.dtype.isnative
        assert array.flags.aligned
        np.testing.assert_array_equal(array, np.asarray(value).astype(expected))
        np.testing.assert_array_equal(value, before)

    def test_conversion_keeps_fortran_order(self):
        assert checks.float_array("X", np.asfortranarray(GRID), dtype=F32).flags.f_contiguous

    def test_overflow_of_a_cast_becomes_infinity_without_a_warning(self):
        assert np.isinf(checks.float_array("X", [[1e300]], dtype=F32)).all()

    @pytest.mark.parametrize(
        ("value", "what"),
        [
            (np.array([[1j]]), "dtype complex128 (a ndarray)"),
            (np.array([[None]]), "dtype object (a ndarray)"),
            (np.array([["a"]]), "dtype <U1 (a ndarray)"),
            (np.array([[b"a"]]), "dtype |S1 (a ndarray)"),
            (np.array([["2020-01-01"]], "M8[D]"), "dtype datetime64[D] (a ndarray)"),
            (np.array([[1]], "m8[s]"), "dtype timedelta64[s] (a ndarray)"),
            (np.zeros((1, 1), "f4,f4"), "dtype [('f0', '<f4'), ('f1', '<f4')] (a ndarray)"),
            (None, "dtype object (a NoneType)"),
            ("abc", "dtype <U3 (a str)"),
            ({"a": 1}, "dtype object (a dict)"),
            ([[10**30]], "dtype object (a list)"),
        ],
    )
    def test_refuses_what_is_no_real_number(self, value, what):
        message = f"X has {what}, expected real numbers: float32, float64 or integers"
        refuses(TypeError, message, checks.float_array, "X", value)

    @pytest.mark.skipif(np.longdouble(0).itemsize == 8, reason="long double is float64 here")
    def test_refuses_extended_precision(self):
        message = f"X has dtype {np.dtype(np.longdouble)} (a ndarray), expected real numbers"
        refuses(TypeError, message, checks.float_array, "X", np.zeros((2, 2), np.longdouble))

    @pytest.mark.parametrize("mask", [True, False])
    def test_refuses_masked_arrays_even_with_nothing_masked(self, mask):
        message = "X is a masked array, expected a plain one: use X.filled(...)"
        refuses(TypeError, message, checks.float_array, "X", np.ma.array([[1.0]], mask=mask))

    @pytest.mark.parametrize(
        ("value", "ndim", "message"),
        [
            (np.float64(3), 2, "X has shape (), expected a 2-d array"),
            (3, (1, 2), "X has shape (), expected a 1-d or 2-d array"),
            (np.zeros(5), 2, "X has shape (5,), expected a 2-d array; X.reshape(-1, 1) is one col"),
            (np.zeros((2, 3, 4)), 2, "X has shape (2, 3, 4), expected a 2-d array"),
            (np.zeros((2, 3)), 1, "X has shape (2, 3), expected a 1-d array"),
            (np.zeros((3, 0)), 2, "X has shape (3, 0), expected at least one element"),
            (np.zeros((0, 3)), 2, "X has shape (0, 3), expected at least one element"),
            ([[1, 2], [3]], 2, "X does not form an array of numbers: "),
        ],
    )
    def test_refuses_wrong_dimensions(self, value, ndim, message):
        refuses(ValueError, message, checks.float_array, "X", value, ndim=ndim)

    @pytest.mark.parametrize(
        ("ndim", "array"), [(1, np.ones(3)), ((1, 2), np.ones(3)), (3, [[[1]]])]
    )
    def test_other_dimensions_on_request(self, ndim, array):
        assert checks.float_array("X", array, ndim=ndim).ndim == np.ndim(array)


class TestFloatDtype:
    @pytest.mark.parametrize("value", ["float32", "f4", np.float32, F32, "single"])
    def test_float32(self, value):
        assert checks.float_dtype("dtype", value) is F32

    @pytest.mark.parametrize("value", ["float64", "f8", np.float64, F64, float, "double"])
    def test_float64(self, value):
        assert checks.float_dtype("dtype", value) is F64

    @pytest.mark.parametrize(
        "value",
        [None, "float16", "float33", int, "", SWAPPED + "f4", 32, [1], "bfloat16", object()],
    )
    def test_refuses_the_rest(self, value):
        with pytest.raises(ValueError, match=r"^dtype is .*, expected 'float32' or 'float64'$"):
            checks.float_dtype("dtype", value)


class TestFinite:
    @pytest.mark.parametrize(
        "array",
        [
            GRID,
            np.asfortranarray(GRID),
            GRID[::-1, ::2],
            read_only(GRID),
            np.full((3, 4), 3e38, F32),
            np.full((3, 4), -1.7e308),
            np.full((70_000, 2), 1e308)[:, ::2],
            np.zeros((2, checks.CHUNK)),
            np.full((2, 2), 5e-324),
            np.zeros((0, 3)),
        ],
        ids=[
            "C",
            "F",
            "strided",
            "read-only",
            "f32 sum",
            "f64 sum",
            "chunks",
            "large",
            "denormal",
            "empty",
        ],
    )
    def test_finite_arrays_pass_also_where_their_sum_overflows(self, array):
        assert checks.finite("X", array) is array

    @pytest.mark.parametrize("dtype", [F32, F64], ids=str)
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("index", [(0, 0), (1, 2), (2, 3)])
    @pytest.mark.parametrize("order", "CF")
    def test_names_the_bad_element(self, order, index, bad, dtype):
        array = np.ones((3, 4), dtype, order)
        array[index] = bad
        message = f"X[{index[0]}, {index[1]}] is {bad}, expected finite {dtype} numbers"
        refuses(ValueError, message, checks.finite, "X", array)

    @pytest.mark.parametrize("layout", [lambda a: a, np.asfortranarray, lambda a: a[::-1][::-1]])
    def test_the_first_in_reading_order_whatever_the_layout(self, layout):
        array = np.zeros((3, 4))
        array[2, 0] = array[1, 3] = array[0, 2] = np.nan
        refuses(ValueError, "X[0, 2] is nan", checks.finite, "X", layout(array))

    def test_cancelling_infinities_are_seen(self):
        refuses(ValueError, "dZ[0] is inf", checks.finite, "dZ", np.array([np.inf, -np.inf]))

    @pytest.mark.parametrize("position", [checks.CHUNK - 1, checks.CHUNK, 2 * checks.CHUNK])
    @pytest.mark.parametrize("step", [1, 2, -1])
    def test_index_beyond_the_first_chunk(self, position, step):
        array = np.zeros(6 * checks.CHUNK)[::step]
        array[position] = np.inf
        refuses(ValueError, f"X[{position}] is inf", checks.finite, "X", array)

    def test_takes_little_memory_beside_the_array(self):
        import tracemalloc

        array = np.full((4, 1_000_000), 1e200)  # the squares overflow: both passes run
        tracemalloc.start()
        checks.finite("X", array[:, ::2])
        checks.finite("X", array)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 * checks.CHUNK


class TestShape:
    @pytest.mark.parametrize("expected", [(5, 3), ("n", 3), (5, "m"), ("n", "m")])
    def test_accepts(self, expected):
        checks.shape("X", np.zeros((5, 3)), expected)

    @pytest.mark.parametrize(
        ("got", "expected", "message"),
        [
            ((5, 3), (4, "m"), "X has shape (5, 3), expected (4, m)"),
            ((5, 3), (3, "m"), "X has shape (5, 3), expected (3, m); X.T has that shape"),
            ((5,), (5, 1), "X has shape (5,), expected (5, 1)"),
            ((5, 1), (5,), "X has shape (5, 1), expected (5,)"),
            ((4,), (5,), "X has shape (4,), expected (5,)"),
        ],
    )
    def test_refuses(self, got, expected, message):
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            checks.shape("X", np.zeros(got), expected)


class TestColumns:
    def test_is_all_array_checks_in_one(self):
        X = checks.columns("X", [[1, 2], [3, 4]], 2, dtype="float32")
        assert X.dtype == F32
        assert checks.columns("X", X) is X

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (np.zeros((5, 4)), "X has shape (5, 4), expected (4, m); X.T has that shape"),
            (np.zeros((5, 3)), "X has shape (5, 3), expected (4, m)"),
            (np.zeros((4, 0)), "X has shape (4, 0), expected at least one element"),
            (np.full((4, 2), np.nan), "X[0, 0] is nan"),
            (np.full((5, 3), np.nan), "X has shape (5, 3), expected (4, m)"),
        ],
    )
    def test_refuses(self, value, message):
        refuses(ValueError, message, checks.columns, "X", value, 4)

    def test_number_too_large_for_the_precision(self):
        message = "X[0, 1] is inf, expected finite float32 numbers"
        refuses(ValueError, message, checks.columns, "X", [[0, 1e39]], dtype="float32")


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
            ([1.0, 1.0, 0.5], 1, CATEGORICAL, [[1, 1, 0.5]]),
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
            ((1, 209), 10, CATEGORICAL, "Y has shape (1, 209), expected (10, 209) or (209,) class"),
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


def test_checks_need_numpy_alone():
    """Pandas frames and the like arrive through `__array__`; nothing is imported for them."""

    class Frame:
        def __array__(self, dtype=None, copy=None):
            return np.array([[1, 2]], dtype)

    np.testing.assert_array_equal(checks.columns("X", Frame()), [[1.0, 2.0]])
