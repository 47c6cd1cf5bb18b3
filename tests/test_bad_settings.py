"""Bad settings of fit and train_step: an error that names the argument before anything runs."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from input_cases import GOOD_X, GOOD_Y, M, Reached, network, refused
from network_cases import assert_same_bits

import fastdnn
from fastdnn.batches import Shuffler
from fastdnn.data import ArraySource

pytestmark = pytest.mark.usefixtures("no_compiled_code")

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
    (
        {"dropout": None},
        TypeError,
        "dropout is None, expected one number or a list of one for each",
    ),
    ({"dropout": {0: 0.5}}, TypeError, "dropout is {0: 0.5}, expected one number or a list"),
    ({"dropout": "half"}, TypeError, "dropout is 'half', expected one number or a list"),
    ({"dropout": True}, TypeError, "dropout is True, expected a finite number"),
    ({"dropout": np.array(1.0)}, ValueError, "dropout is 1.0, expected a finite number"),
    ({"dropout": np.zeros((1, 1))}, TypeError, "dropout is [0.0], expected a finite number"),
    ({"shuffle": "no"}, TypeError, "shuffle is 'no', expected True, False or a Shuffler"),
    ({"shuffle": 1}, TypeError, "shuffle is 1, expected True, False or a Shuffler"),
    ({"shuffle": None}, TypeError, "shuffle is None, expected True, False or a Shuffler"),
    ({"shuffle": Shuffler(), "checkpoint": "run.npz"}, TypeError, "checkpoint cannot save the "),
    ({"checkpoint": 3}, TypeError, "checkpoint is 3, expected the path of a file"),
    ({"checkpoint": b"run.npz"}, TypeError, "checkpoint is b'run.npz', expected the path"),
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


class Drawing(Shuffler):
    """Draws the given order of so many examples, of others a good one."""

    def __init__(self, order: Any, m: int = M) -> None:
        self.order, self.m = order, m

    def permutation(self, m: int) -> Any:
        return self.order if m == self.m else np.arange(m)

    def state(self) -> None:
        return None


# Not the numbers from 0 to M - 1: error, and how the message goes on.
BAD_ORDERS: dict[str, tuple[Any, type[Exception], str]] = {
    "short": (np.arange(M - 1), ValueError, f" has shape ({M - 1},), expected ({M},)"),
    "row": (np.arange(M)[None], ValueError, f" has shape (1, {M}), expected ({M},)"),
    "too large": (np.arange(M) + 1, ValueError, f"[{M - 1}] is {M}, expected an index from 0 to"),
    "negative": (np.arange(M) - 1, ValueError, "[0] is -1, expected an index from 0 to"),
    "enormous": (np.full(M, 2**63, np.uint64), ValueError, "[0] is 9223372036854775808, expected"),
    "floats": (np.arange(M) * 1.0, TypeError, " has dtype float64, expected integers"),
    "bools": (np.ones(M, bool), TypeError, " has dtype bool, expected integers"),
    "None": (None, TypeError, " has dtype object (a NoneType)"),
}


class TestShuffle:
    @pytest.mark.parametrize("X", [GOOD_X, ArraySource(GOOD_X)], ids=["array", "source"])
    @pytest.mark.parametrize("bad", BAD_ORDERS)
    def test_orders_that_are_none_are_refused(self, bad, X):
        order, error, message = BAD_ORDERS[bad]
        with pytest.raises(error, match="^" + re.escape(f"shuffle.permutation({M}){message}")):
            network().fit(X, GOOD_Y["binary"], batch_size=2, shuffle=Drawing(order))

    def test_the_order_of_the_blocks_as_well(self):
        with pytest.raises(ValueError, match=r"^shuffle\.permutation\(1\)\[0\] is 1, expected"):
            network().fit(
                ArraySource(GOOD_X), GOOD_Y["binary"], batch_size=2, shuffle=Drawing([1], 1)
            )

    @pytest.mark.parametrize(
        "order", [np.arange(M, dtype=np.int32)[::-1], np.zeros(M, np.uint64), list(range(M))]
    )
    def test_any_indices_will_do(self, order):
        with pytest.raises(Reached):
            network().fit(GOOD_X, GOOD_Y["binary"], batch_size=2, shuffle=Drawing(order))
