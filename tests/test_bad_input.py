"""Bad input: every public call raises an error that names the argument, before compiled code runs.

In this module compiled code is replaced by a function that fails, so what is refused has not been
near a pointer, and nothing here needs a compiler.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from network_cases import assert_same_bits

import fastdnn
from fastdnn import dispatch, engine
from fastdnn.kernels import inference

N_X, M = 4, 6


class Reached(Exception):
    """The arguments were accepted."""


@pytest.fixture(autouse=True)
def no_compiled_code(monkeypatch):
    def run(*args: Any) -> None:
        raise Reached

    def forward_few(layers: Any, parameters: Any, scratch: Any, X: np.ndarray, out: Any) -> bool:
        if np.isfinite(X).all():
            raise Reached
        return False  # it looks while it reads

    monkeypatch.setattr(dispatch, "run_team", run)
    monkeypatch.setattr(inference, "forward_few", forward_few)
    monkeypatch.setattr(engine.Engine, "compile", lambda *args, **options: None)


def network(kind: str = "binary") -> fastdnn.DNN:
    n_y, output, loss = {
        "binary": (1, "sigmoid", None),
        "several": (3, "sigmoid", None),
        "classes": (3, "softmax", None),
        "regression": (2, "identity", None),
    }[kind]
    return fastdnn.DNN([N_X, 5, n_y], output_activation=output, loss=loss, dtype="float32")


GOOD_X = np.random.default_rng(0).standard_normal((N_X, M))
GOOD_Y = {
    "binary": np.array([[0, 1, 1, 0, 1, 0]]),
    "several": np.random.default_rng(1).integers(0, 2, (3, M)),
    "classes": np.array([0, 1, 2, 0, 1, 2]),
    "regression": np.random.default_rng(2).standard_normal((2, M)),
}


def good_Y(net: fastdnn.DNN) -> np.ndarray:
    return next(Y for kind, Y in GOOD_Y.items() if network(kind).config() == net.config())


Call = Callable[[fastdnn.DNN, Any, Any], Any]

# Every call that takes X, and the name under which it knows it; X and Y; Y.
CALLS_WITH_X: dict[str, tuple[Call, str]] = {
    "forward": (lambda net, X, Y: net.forward(X), "X"),
    "predict": (lambda net, X, Y: net.predict(X), "X"),
    "evaluate": (lambda net, X, Y: net.evaluate(X, Y), "X"),
    "gradients": (lambda net, X, Y: net.gradients(X, Y), "X"),
    "train_step": (lambda net, X, Y: net.train_step(X, Y), "X"),
    "fit": (lambda net, X, Y: net.fit(X, Y), "X"),
    "fit batches": (lambda net, X, Y: net.fit(X, Y, batch_size=2), "X"),
    "validation": (
        lambda net, X, Y: net.fit(GOOD_X, good_Y(net), validation_data=(X, Y)),
        "validation_data[0]",
    ),
}
CALLS_WITH_Y: dict[str, tuple[Call, str]] = {
    name: (call, "validation_data[1]" if name == "validation" else "Y")
    for name, (call, _) in CALLS_WITH_X.items()
    if name not in ("forward", "predict")
}

each_call_with_X = pytest.mark.parametrize("call", CALLS_WITH_X)
each_call_with_Y = pytest.mark.parametrize("call", CALLS_WITH_Y)


def refused(
    net: fastdnn.DNN, call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    """The call raises exactly this kind of error, beginning so, and leaves the network alone."""
    before = copy.deepcopy(net.parameters), net.history, net._step
    with pytest.raises(error, match="^" + re.escape(message)) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert_same_bits(net.parameters, before[0])
    assert (net.history, net._step) == before[1:]


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
    "classes in a row": (
        "classes", lambda: GOOD_Y["classes"][None], ValueError,
        f" has shape (1, {M}), expected (3, {M}) or ({M},) class indices",
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


# Arguments of fit beside X and Y: what is bad, error, beginning of the message.
BAD_SETTINGS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epochs": 0}, ValueError, "epochs is 0, expected a whole number >= 1"),
    ({"epochs": -3}, ValueError, "epochs is -3"),
    ({"epochs": 1e5}, TypeError, "epochs is 100000.0, expected a whole number >= 1"),
    ({"epochs": True}, TypeError, "epochs is True"),
    ({"epochs": None}, TypeError, "epochs is None"),
    ({"epochs": "10"}, TypeError, "epochs is '10'"),
    ({"batch_size": 0}, ValueError, "batch_size is 0"),
    ({"batch_size": 2.0}, TypeError, "batch_size is 2.0"),
    ({"batch_size": "all"}, TypeError, "batch_size is 'all'"),
    ({"optimizer": "adm"}, ValueError, "optimizer is 'adm', expected one of sgd, "),
    ({"optimizer": None}, TypeError, "optimizer is None, expected one of sgd, "),
    ({"optimizer": fastdnn.optimizers.Adam}, TypeError, "optimizer is <class"),
    ({"learning_rate": -0.1}, ValueError, "learning_rate is -0.1"),
    ({"learning_rate": math.nan}, ValueError, "learning_rate is nan"),
    ({"learning_rate": math.inf}, ValueError, "learning_rate is inf"),
    ({"learning_rate": "fast"}, TypeError, "learning_rate is 'fast'"),
    ({"learning_rate": [0.1]}, TypeError, "learning_rate is [0.1]"),
    ({"learning_rate": 1j}, TypeError, "learning_rate is 1j"),
    ({"learning_rate": 1e300}, ValueError, "learning_rate 1e+300 does not fit in float32"),
    ({"schedule": "cosin"}, ValueError, "schedule is 'cosin'"),
    ({"schedule": 5}, TypeError, "schedule is 5, expected one of constant, "),
    ({"schedule": lambda epoch: -1}, ValueError, "schedule(0) is -1"),
    ({"schedule": lambda epoch: math.nan}, ValueError, "schedule(0) is nan"),
    ({"schedule": lambda epoch: "half"}, TypeError, "schedule(0) is 'half'"),
    ({"weight_decay": -0.1}, ValueError, "weight_decay is -0.1"),
    ({"weight_decay": math.nan}, ValueError, "weight_decay is nan"),
    ({"weight_decay": "some"}, TypeError, "weight_decay is 'some'"),
    ({"weight_decay": 1e300}, ValueError, "weight_decay 1e+300 does not fit in float32"),
    ({"validation_data": GOOD_X}, TypeError, "validation_data is "),
    ({"validation_data": (GOOD_X,)}, TypeError, "validation_data is "),
    ({"validation_data": (GOOD_X, GOOD_Y["binary"], None)}, TypeError, "validation_data is "),
    ({"validation_data": {"X": GOOD_X, "Y": 1}}, TypeError, "validation_data is "),
    ({"validation_data": "XY"}, TypeError, "validation_data"),
    ({"validation_data": 0.2}, TypeError, "validation_data is 0.2, expected a pair (X, Y)"),
    ({"early_stopping": 3}, ValueError, "early_stopping needs validation_data=(X, Y)"),
    (
        {"early_stopping": 0, "validation_data": (GOOD_X, GOOD_Y["binary"])},
        ValueError,
        "early_stopping is 0",
    ),
    (
        {"early_stopping": 2.5, "validation_data": (GOOD_X, GOOD_Y["binary"])},
        TypeError,
        "early_stopping is 2.5",
    ),
    ({"callbacks": 3}, TypeError, "callbacks is 3"),
    ({"callbacks": print}, TypeError, "callbacks is <built-in function print>"),
    ({"callbacks": [print, 3]}, TypeError, "callbacks[1] is 3"),
    ({"n_threads": 0}, ValueError, "n_threads is 0"),
    ({"n_threads": -1}, ValueError, "n_threads is -1"),
    ({"n_threads": 1.0}, TypeError, "n_threads is 1.0"),
    ({"n_threads": "all"}, TypeError, "n_threads is 'all'"),
]


def identified(settings: Any) -> str | None:
    return (
        ", ".join(f"{k}={str(v)[:12]!r}" for k, v in settings.items())
        if isinstance(settings, dict)
        else None
    )


class TestSettings:
    @pytest.mark.parametrize(("settings", "error", "message"), BAD_SETTINGS, ids=identified)
    def test_of_fit_are_refused(self, settings, error, message):
        net = network()
        settings = {"epochs": 2, **settings}
        with pytest.raises(error, match="^" + re.escape(message)) as caught:
            net.fit(GOOD_X, GOOD_Y["binary"], **settings)
        assert type(caught.value) is error
        assert_same_bits(net.parameters, network().parameters)

    @pytest.mark.parametrize(
        ("rate", "error"),
        [(-1, ValueError), (math.nan, ValueError), ("0.1", TypeError), (None, TypeError)],
    )
    def test_of_train_step_are_refused(self, rate, error):
        net = network()
        refused(
            net,
            lambda: net.train_step(GOOD_X, GOOD_Y["binary"], learning_rate=rate),
            error,
            f"learning_rate is {rate!r}",
        )

    def test_unknown_arguments_are_refused(self):
        with pytest.raises(TypeError, match="learning_rat"):
            network().fit(GOOD_X, GOOD_Y["binary"], learning_rat=1)
        with pytest.raises(TypeError, match="momentum"):
            network().fit(GOOD_X, GOOD_Y["binary"], momentum=0.9)


# --- random input ---------------------------------------------------------------------------------


def strange_values(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of any type, most of them harmless."""
    kinds = [
        "f4",
        "f8",
        "f2",
        ">f4",
        ">f8",
        "i1",
        "i8",
        "u1",
        ">i4",
        "u8",
        "?",
        "c8",
        "O",
        "U3",
        "M8[s]",
    ]
    kind = kinds[rng.integers(len(kinds))] if rng.random() < 0.5 else "f8"
    values = rng.standard_normal(shape) if kind in ("f8", ">f8") else rng.integers(0, 2, shape)
    return np.asarray(values).astype(kind)


def strange_layout(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """The same values otherwise in memory."""
    choice = rng.integers(7)
    if choice == 1:
        return np.asfortranarray(values)
    if choice == 2 and values.ndim:
        return np.repeat(values, 2, axis=-1)[..., ::2]
    if choice == 3 and values.ndim:
        return np.ascontiguousarray(values[::-1])[::-1]
    if choice == 4:
        values = values.copy()
        values.flags.writeable = False
    if choice == 5 and values.dtype.kind not in "OU":
        return np.frombuffer(b"\0" + values.tobytes(), values.dtype, offset=1).reshape(values.shape)
    if choice == 6 and values.shape and values.shape[-1] == 1:
        return np.broadcast_to(values, (*values.shape[:-1], M))
    return values


def strange_array(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Something like an array of this shape; in half of all cases nearly so."""
    sizes = list(shape)
    if rng.random() < 0.3 and sizes:
        axis = rng.integers(len(sizes))
        sizes[axis] = int(rng.choice([0, 1, sizes[axis] - 1, sizes[axis] + 1, 50]))
    if rng.random() < 0.1:
        sizes.insert(rng.integers(len(sizes) + 1), 1)
    if rng.random() < 0.1 and sizes:
        sizes.pop()
    if rng.random() < 0.1:
        sizes.reverse()
    values = strange_values(rng, tuple(sizes))
    if rng.random() < 0.15 and values.size and values.dtype.kind == "f":
        bad = [np.nan, np.inf, -np.inf, 1e300, 2.0, -1.0]
        with np.errstate(over="ignore"):
            values.flat[rng.integers(values.size)] = bad[rng.integers(len(bad))]
    return strange_layout(rng, values)


def is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "biuf"


def fits_X(X: np.ndarray) -> bool:
    """Whether X is good, by the words of the specification."""
    if not is_numeric(X) or X.ndim != 2 or X.shape[0] != N_X or X.shape[1] == 0:
        return False
    return bool(np.all(np.abs(X.astype(np.float64)) <= np.finfo(np.float32).max))


def fits_Y(Y: np.ndarray, kind: str, m: int) -> bool:
    """Whether Y is good for a network of this kind and m examples."""
    n_y = network(kind).layer_dims[-1]
    if not is_numeric(Y):
        return False
    values = Y.astype(np.float64)
    if kind == "classes" and Y.shape == (m,):
        return Y.dtype.kind in "biu" and bool(np.all((values >= 0) & (values < n_y)))
    if Y.shape != (n_y, m) and not (n_y == 1 and Y.shape == (m,)):
        return False
    if kind == "regression":
        return bool(np.all(np.abs(values) <= np.finfo(np.float32).max))
    return bool(np.all((values >= 0) & (values <= 1)))


def cases() -> Iterator[tuple[int, str, str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(2024)
    kinds, calls = list(GOOD_Y), [name for name in CALLS_WITH_X if name != "validation"]
    for number in range(600):
        kind, call = kinds[rng.integers(len(kinds))], calls[rng.integers(len(calls))]
        X, Y = GOOD_X, GOOD_Y[kind]
        if rng.random() < 0.6:
            X = strange_array(rng, X.shape)
        if rng.random() < 0.6:
            shape = (M,) if rng.random() < 0.3 else np.shape(Y)
            Y = strange_array(rng, shape)
        yield number, kind, call, X, Y


class TestRandomInput:
    def test_is_accepted_exactly_if_it_fits(self):
        outcomes = {"accepted": 0, "X": 0, "Y": 0}
        networks = {kind: network(kind) for kind in GOOD_Y}
        for number, kind, call, X, Y in cases():
            about = f"case {number}: {kind} {call} {X.dtype}{X.shape} {Y.dtype}{Y.shape}"
            images = X.tobytes(), Y.tobytes()
            expected = {"X"} if not fits_X(X) else set()
            if call not in ("forward", "predict"):
                m = X.shape[-1] if X.ndim else 0
                if fits_X(X) and not fits_Y(Y, kind, m):
                    expected = {"Y"}
            try:
                CALLS_WITH_X[call][0](networks[kind], X, Y)
            except Reached:
                got = set()
            except (ValueError, TypeError) as error:
                named = re.match(r"([XY])(\[\d+(, \d+)*\])? (is|has|does)\b", str(error))
                got = {named[1] if named else str(error)}
            assert got == expected, about
            assert (X.tobytes(), Y.tobytes()) == images, about
            outcomes[got.pop() if got else "accepted"] += 1
        assert min(outcomes.values()) > 100, outcomes
        for kind, net in networks.items():
            assert_same_bits(net.parameters, network(kind).parameters)

    def test_objects_of_all_kinds(self):
        net = network()
        things = [
            Ellipsis, NotImplemented, print, int, type, memoryview(b"abcd"), bytearray(8), range(4),
            slice(3), frozenset(), Exception("x"), np, np.float64, np.dtype("f4"), lambda: 0,
            iter([1, 2]), {1: 2}.items(), 1 + 2j, 10**400, -(10**400), "", b"", (), {}, [[]],
            [[], []], [None], [[None, 1.0]], [[1.0, "a"]], np.array("a"), np.zeros((), object),
            np.void(b"abc"), np.datetime64("2020"), True, False, -0.0, math.nan,
        ]  # fmt: skip
        for thing in things:
            for call, (function, name) in CALLS_WITH_X.items():
                with pytest.raises((ValueError, TypeError)) as caught:
                    function(net, thing, GOOD_Y["binary"])
                assert str(caught.value).startswith(f"{name} "), (thing, call)
            for call, (function, name) in CALLS_WITH_Y.items():
                with pytest.raises((ValueError, TypeError)) as caught:
                    function(net, GOOD_X, thing)
                assert str(caught.value).startswith(f"{name} "), (thing, call)
