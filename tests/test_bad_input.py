"""Bad input: every public call raises an error that names the argument, before compiled code runs.

Compiled code is replaced by a function that fails, here and in the tests of bad settings and of
random input, so what is refused has not been near a pointer, and nothing here needs a compiler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from input_cases import (
    CALLS_WITH_X,
    CALLS_WITH_Y,
    GOOD_X,
    GOOD_Y,
    N_X,
    M,
    Reached,
    network,
    refused,
)

pytestmark = pytest.mark.usefixtures("no_compiled_code")

each_call_with_X = pytest.mark.parametrize("call", CALLS_WITH_X)
each_call_with_Y = pytest.mark.parametrize("call", CALLS_WITH_Y)


def few_examples(value: float) -> np.ndarray:
    X = np.ones((N_X, 2), np.float32)
    X[3, 1] = value
    return X


def changed(value: float, at: tuple[int, ...] = (2, 3)) -> np.ndarray:
    X = GOOD_X.copy()
    X[at] = value
    return X


def recursive() -> list[Any]:
    nested: list[Any] = []
    nested.append(nested)
    return nested


def structured() -> np.ndarray:
    return np.zeros((N_X, M), [("a", "f4"), ("b", "i4")])


# What is no X: maker, error, how the message goes on after the name.
BAD_X: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "None": (lambda: None, TypeError, " has dtype object (a NoneType), expected real numbers"),
    "object": (object, TypeError, " has dtype object"),
    "string": (lambda: "data.csv", TypeError, " has dtype <U8 (a str), expected real numbers"),
    "bytes": (lambda: b"1234", TypeError, " has dtype |S4 (a bytes), expected real numbers"),
    "dict": (lambda: {"X": 1}, TypeError, " has dtype object (a dict)"),
    "set": (lambda: {1.0, 2.0}, TypeError, " has dtype object (a set)"),
    "generator": (lambda: (row for row in GOOD_X), TypeError, " has dtype object (a generator)"),
    "strings": (lambda: GOOD_X.astype(str), TypeError, " has dtype <U32"),
    "complex": (lambda: GOOD_X * 1j, TypeError, " has dtype complex128"),
    "datetime": (lambda: np.zeros((N_X, M), "M8[s]"), TypeError, " has dtype datetime64[s]"),
    "timedelta": (lambda: np.zeros((N_X, M), "m8[s]"), TypeError, " has dtype timedelta64[s]"),
    "structured": (structured, TypeError, " has dtype [("),
    "objects": (lambda: GOOD_X.astype(object), TypeError, " has dtype object (a ndarray)"),
    "decimals": (lambda: [[Decimal(1)] * M] * N_X, TypeError, " has dtype object (a list)"),
    "huge integers": (lambda: [[10**400] * M] * N_X, TypeError, " has dtype object (a list)"),
    "masked": (lambda: np.ma.array(GOOD_X), TypeError, " is a masked array, expected a plain one"),
    "ragged": (lambda: [[1, 2], [3]], ValueError, " does not form an array of numbers"),
    "recursive": (recursive, ValueError, " does not form an array of numbers"),
    "number": (lambda: 3.0, ValueError, " has shape (), expected a 2-d array"),
    "0-d": (lambda: np.array(3.0), ValueError, " has shape (), expected a 2-d array"),
    "1-d": (lambda: GOOD_X[:, 0], ValueError, f" has shape ({N_X},), expected a 2-d array; "),
    "3-d": (lambda: GOOD_X[None], ValueError, f" has shape (1, {N_X}, {M}), expected a 2-d array"),
    "no examples": (lambda: GOOD_X[:, :0], ValueError, f" has shape ({N_X}, 0), expected at least"),
    "no features": (lambda: GOOD_X[:0], ValueError, f" has shape (0, {M}), expected at least"),
    "empty list": (list, ValueError, " has shape (0,), expected a 2-d array"),
    "one row less": (lambda: GOOD_X[1:], ValueError, f" has shape ({N_X - 1}, {M}), expected"),
    "one row more": (lambda: np.ones((N_X + 1, M)), ValueError, f" has shape ({N_X + 1}, {M})"),
    "rows of examples": (
        lambda: GOOD_X.T, ValueError, f" has shape ({M}, {N_X}), expected ({N_X}, m); ",
    ),
    "nan": (lambda: changed(math.nan), ValueError, "[2, 3] is nan, expected finite"),
    "inf": (lambda: changed(math.inf, (0, 0)), ValueError, "[0, 0] is inf, expected finite"),
    "-inf": (lambda: changed(-math.inf, (3, 5)), ValueError, "[3, 5] is -inf, expected finite"),
    "too large": (lambda: changed(1e300), ValueError, "[2, 3] is inf, expected finite float32"),
    "nan in few examples": (lambda: few_examples(math.nan), ValueError, "[3, 1] is nan"),
    "inf in few examples": (lambda: few_examples(-math.inf), ValueError, "[3, 1] is -inf"),
    "nan in fortran order": (
        lambda: np.asfortranarray(changed(math.nan)), ValueError, "[2, 3] is nan",
    ),
    "nan in float16": (lambda: changed(math.nan).astype("f2"), ValueError, "[2, 3] is nan"),
    "nan byte-swapped": (lambda: changed(math.nan).astype(">f8"), ValueError, "[2, 3] is nan"),
    "nan backwards": (
        lambda: np.ascontiguousarray(changed(math.nan)[::-1, ::-1])[::-1, ::-1],
        ValueError,
        "[2, 3] is nan",
    ),
}  # fmt: skip
if np.dtype(np.longdouble).itemsize > 8:
    BAD_X["long double"] = (lambda: GOOD_X.astype(np.longdouble), TypeError, " has dtype float128")


class TestX:
    @each_call_with_X
    @pytest.mark.parametrize("bad", BAD_X)
    def test_is_refused(self, bad, call):
        make, error, message = BAD_X[bad]
        function, name = CALLS_WITH_X[call]
        net = network()
        refused(net, lambda: function(net, make(), GOOD_Y["binary"]), error, name + message)

    @each_call_with_X
    @pytest.mark.parametrize("kind", GOOD_Y)
    def test_what_is_good_is_not_refused(self, kind, call):
        function, _ = CALLS_WITH_X[call]
        with pytest.raises(Reached):
            function(network(kind), GOOD_X, GOOD_Y[kind])

    def test_the_hints_name_what_to_do(self):
        with pytest.raises(ValueError, match=r"X\.T has that shape"):
            network().forward(GOOD_X.T)
        with pytest.raises(ValueError, match=r"X\.reshape\(-1, 1\) is one column"):
            network().forward(GOOD_X[:, 0])
        with pytest.raises(TypeError, match=r"use X\.filled"):
            network().forward(np.ma.array(GOOD_X))


def target(kind: str, value: float, at: tuple[int, ...]) -> np.ndarray:
    Y = GOOD_Y[kind].astype(np.float64)
    Y[at] = value
    return Y


# Kind of network, maker, error, how the message goes on after the name.
BAD_Y: dict[str, tuple[str, Callable[[], Any], type[Exception], str]] = {
    "None": ("binary", lambda: None, TypeError, " has dtype object (a NoneType)"),
    "strings": ("binary", lambda: ["a"] * M, TypeError, " has dtype <U1 (a list)"),
    "complex": ("binary", lambda: GOOD_Y["binary"] * 1j, TypeError, " has dtype complex128"),
    "objects": ("binary", lambda: GOOD_Y["binary"].astype(object), TypeError, " has dtype object"),
    "masked": ("binary", lambda: np.ma.array(GOOD_Y["binary"]), TypeError, " is a masked array"),
    "ragged": ("binary", lambda: [[1], [1, 0]], ValueError, " does not form an array of numbers"),
    "number": ("binary", lambda: 1, ValueError, f" has shape (), expected (1, {M}) or"),
    "empty": ("binary", list, ValueError, f" has shape (0,), expected (1, {M}) or ({M},) lab"),
    "one example less": (
        "binary", lambda: GOOD_Y["binary"][:, 1:], ValueError,
        f" has shape (1, {M - 1}), expected (1, {M}) or ({M},) labels",
    ),
    "one label less": (
        "binary", lambda: GOOD_Y["binary"][0, 1:], ValueError,
        f" has shape ({M - 1},), expected (1, {M}) or ({M},) labels",
    ),
    "one label for all": ("binary", lambda: [[1]], ValueError, " has shape (1, 1), expected"),
    "a column": (
        "binary", lambda: GOOD_Y["binary"].T, ValueError,
        f" has shape ({M}, 1), expected (1, {M}) or ({M},) labels; examples are columns",
    ),
    "every pair": ("binary", lambda: np.ones((M, M)), ValueError, f" has shape ({M}, {M}), exp"),
    "3-d": ("binary", lambda: GOOD_Y["binary"][None], ValueError, f" has shape (1, 1, {M}), "),
    "one output too many": ("binary", lambda: np.ones((2, M)), ValueError, f" has shape (2, {M})"),
    "nan": ("binary", lambda: target("binary", math.nan, (0, 4)), ValueError, "[0, 4] is nan"),
    "2": ("binary", lambda: target("binary", 2, (0, 1)), ValueError, "[0, 1] is 2.0"),
    "-1": ("binary", lambda: [1, -1] * 3, ValueError, "[1] is -1.0, expected targets between 0"),
    "labels of several outputs": (
        "several", lambda: [0, 1] * 3, ValueError, f" has shape ({M},), expected (3, {M})",
    ),
    "one row of several outputs": (
        "several", lambda: np.ones((1, M)), ValueError, f" has shape (1, {M}), expected (3, {M})",
    ),
    "transposed outputs": (
        "several", lambda: GOOD_Y["several"].T, ValueError,
        f" has shape ({M}, 3), expected (3, {M}); examples are columns, use",
    ),
    "inf for several": (
        "several", lambda: target("several", math.inf, (1, 2)), ValueError, "[1, 2] is inf",
    ),
    "class too large": ("classes", lambda: [0, 1, 2, 3, 0, 0], ValueError, "[3] is 3, expected"),
    "negative class": ("classes", lambda: [0, -1, 2, 0, 0, 0], ValueError, "[1] is -1, expected"),
    "enormous class": (
        "classes", lambda: np.array([2**63, 0, 0, 0, 0, 0], np.uint64), ValueError,
        "[0] is 9223372036854775808, expected a class from 0 to 2",
    ),
    "floating classes": (
        "classes", lambda: GOOD_Y["classes"] * 1.0, TypeError,
        " has dtype float64, expected integer class indices",
    ),
    "floating classes in a row": (
        "classes", lambda: GOOD_Y["classes"][None] * 1.0, ValueError,
        f" has shape (1, {M}), expected (3, {M}) or ({M},) class indices",
    ),
    "classes together": (
        "classes", lambda: np.ones((3, M)), ValueError, "[:, 0] sums to 3, expected 1 for a softma",
    ),
    "no class": (
        "classes", lambda: np.eye(3)[:, GOOD_Y["classes"]] * (np.arange(M) != 4), ValueError,
        "[:, 4] sums to 0, expected 1 for a softmax",
    ),
    "transposed one-hot": (
        "classes", lambda: np.eye(3)[GOOD_Y["classes"]], ValueError,
        f" has shape ({M}, 3), expected (3, {M}) or ({M},) class indices; examples are columns",
    ),
    "one-hot with a 2": (
        "classes", lambda: 2 * np.eye(3)[GOOD_Y["classes"]].T, ValueError, "[0, 0] is 2.0",
    ),
    "regression of one row": (
        "regression", lambda: np.ones(M), ValueError, f" has shape ({M},), expected (2, {M})",
    ),
    "regression with nan": (
        "regression", lambda: target("regression", math.nan, (1, 0)), ValueError, "[1, 0] is nan",
    ),
    "regression beyond float32": (
        "regression", lambda: target("regression", 1e39, (1, 5)), ValueError, "[1, 5] is inf",
    ),
}  # fmt: skip


class TestY:
    @each_call_with_Y
    @pytest.mark.parametrize("bad", BAD_Y)
    def test_is_refused(self, bad, call):
        kind, make, error, message = BAD_Y[bad]
        function, name = CALLS_WITH_Y[call]
        net = network(kind)
        refused(net, lambda: function(net, GOOD_X, make()), error, name + message)
