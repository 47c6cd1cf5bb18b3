"""What the tests of input to a network share: good input, and every call that takes some."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
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


def replace_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code becomes a function that fails; forward passes look for NaN while they read."""

    def run(kernel: Any, team: int, *args: Any, key: Any = None) -> int:
        if kernel is inference.forward_panels and not np.isfinite(args[-2]).all():
            return 1
        raise Reached

    def forward_few(layers: Any, parameters: Any, scratch: Any, X: np.ndarray, out: Any) -> bool:
        if np.isfinite(X).all():
            raise Reached
        return False

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


def refused(
    net: fastdnn.DNN, call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    """The call raises exactly this kind of error, beginning so, and leaves the network alone."""
    before = copy.deepcopy(net.parameters), net.history, net._state.step
    with pytest.raises(error, match="^" + re.escape(message)) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert_same_bits(net.parameters, before[0])
    assert (net.history, net._state.step) == before[1:]
