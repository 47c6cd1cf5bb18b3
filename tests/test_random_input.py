"""Random input: accepted exactly if it is good by the words of the specification."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
import pytest
from input_cases import CALLS_WITH_X, CALLS_WITH_Y, GOOD_X, GOOD_Y, N_X, M, Reached, network
from network_cases import assert_same_bits

pytestmark = pytest.mark.usefixtures("no_compiled_code")


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
    if kind == "classes" and (Y.shape == (m,) or (Y.shape == (1, m) and Y.dtype.kind in "biu")):
        return Y.dtype.kind in "biu" and bool(np.all((values >= 0) & (values < n_y)))
    if Y.shape != (n_y, m) and not (n_y == 1 and Y.shape == (m,)):
        return False
    if kind == "regression":
        return bool(np.all(np.abs(values) <= np.finfo(np.float32).max))
    if kind == "classes" and not np.all(np.abs(values.sum(axis=0) - 1) <= 1e-3):
        return False
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
