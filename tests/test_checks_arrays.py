"""Checks of arrays: what they let through, what they convert, the message they refuse with."""

import re

import numpy as np
import pytest
from check_cases import F32, F64, SWAPPED, refuses

from fastdnn import checks

GRID = np.arange(12.0).reshape(3, 4)


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


def test_checks_need_numpy_alone():
    """Pandas frames and the like arrive through `__array__`; nothing is imported for them."""

    class Frame:
        def __array__(self, dtype=None, copy=None):
            return np.array([[1, 2]], dtype)

    np.testing.assert_array_equal(checks.columns("X", Frame()), [[1.0, 2.0]])
