"""What the tests of whole networks share: all combinations, small problems, the reference's run."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from kernel_cases import assert_close

import fastdnn
from fastdnn import reference
from fastdnn.kernels.activations import ACTIVATIONS

HIDDEN = tuple(name for name, kind in ACTIVATIONS.items() if kind.elementwise)

# mse goes with every output, a cross-entropy with the output it is made for.
OUTPUTS = tuple(
    (output, loss)
    for loss, rule in reference.LOSSES.items()
    for output in ACTIVATIONS
    if loss == "mse" or rule.canonical_output == output
)

OUTPUT_UNITS = (1, 3)


class Combination(NamedTuple):
    """What a network may be made of."""

    hidden: str
    output: str
    loss: str
    n_y: int

    def __str__(self) -> str:
        return f"{self.hidden}-{self.output}-{self.loss}-{self.n_y}"

    @property
    def flat(self) -> bool:
        """Whether the cost is the same everywhere: the softmax of one unit is always 1."""
        return self.output == "softmax" and self.n_y == 1

    def net(self, dtype: str, *, inside: tuple[int, ...] = (5, 4), n_x: int = 3) -> fastdnn.DNN:
        """A network of this kind."""
        return fastdnn.DNN(
            [n_x, *inside, self.n_y],
            hidden_activation=self.hidden,
            output_activation=self.output,
            loss=self.loss,
            dtype=dtype,
        )


COMBINATIONS = tuple(
    Combination(hidden, output, loss, n_y)
    for hidden, (output, loss), n_y in itertools.product(HIDDEN, OUTPUTS, OUTPUT_UNITS)
)


def randomise(net: fastdnn.DNN, seed: int = 0) -> fastdnn.DNN:
    """Draw all parameters anew, the biases too; the same values in either precision."""
    rng = np.random.default_rng(seed)
    for value in net.parameters.values():
        value[...] = (rng.standard_normal(value.shape) * 0.5).astype(np.float32)
    return net


def problem(net: fastdnn.DNN, m: int = 11, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """X and Y that fit the network, exact in float32."""
    rng = np.random.default_rng(seed + 1000)
    n_x, n_y = net.layer_dims[0], net.layer_dims[-1]
    X = rng.standard_normal((n_x, m)).astype(np.float32)
    if net.loss == "mse":
        Y = rng.standard_normal((n_y, m))
    elif net.loss == "binary_crossentropy":
        Y = rng.integers(0, 2, (n_y, m))
    else:
        Y = np.eye(n_y)[rng.integers(0, n_y, m)].T
    return X.astype(net.dtype), Y.astype(np.float32).astype(net.dtype)


def in_float64(net: fastdnn.DNN) -> dict[str, np.ndarray]:
    """A copy of the parameters for the reference."""
    return {name: value.astype(np.float64) for name, value in net.parameters.items()}


def kind_of(net: fastdnn.DNN) -> dict[str, Any]:
    """The arguments by which the reference knows the network."""
    return {
        "hidden_activation": net.hidden_activations,
        "output_activation": net.output_activation,
    }


def reference_gradients(
    net: fastdnn.DNN, X: np.ndarray, Y: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """Cost, and dW1, db1, ... of the reference in float64."""
    cost, grads = reference.cost_and_gradients(
        X.astype(np.float64), Y.astype(np.float64), in_float64(net), **kind_of(net), loss=net.loss
    )
    return cost, {f"d{name}": grads[f"d{name}"] for name in net.parameters}


def batches(m: int, size: int, order: np.ndarray | None) -> Iterator[np.ndarray]:
    """Columns of each batch of an epoch, the smaller last one included."""
    columns = np.arange(m) if order is None else order
    for start in range(0, m, size):
        yield columns[start : start + size]


class ReferenceRun:
    """Training by the reference in float64, from the parameters a network has now.

    ``costs`` has one entry a step; ``history`` one an epoch, as `fastdnn.History.cost` has it.
    """

    def __init__(self, net: fastdnn.DNN, X: np.ndarray, Y: np.ndarray, **settings: Any) -> None:
        self.net, self.settings = net, settings
        self.X, self.Y = X.astype(np.float64), Y.astype(np.float64)
        self.parameters = in_float64(net)
        self.state: dict[str, dict[str, Any]] = {}
        self.costs: list[float] = []
        self.history: list[float] = []

    def step(self, columns: np.ndarray, rate: float) -> float:
        cost, grads = reference.cost_and_gradients(
            self.X[:, columns], self.Y[:, columns], self.parameters, **kind_of(self.net),
            loss=self.net.loss,
        )  # fmt: skip
        self.parameters = reference.optimizer_step(
            self.parameters, grads, self.state, rate, **self.settings
        )
        self.costs.append(cost)
        return cost

    def run(
        self,
        rates: Iterable[float],
        *,
        batch_size: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> ReferenceRun:
        """One epoch for each learning rate; ``rng`` permutes the examples of each."""
        m = self.X.shape[1]
        size = m if batch_size is None else min(batch_size, m)
        for rate in rates:
            order = rng.permutation(m) if rng is not None and size < m else None
            chosen = list(batches(m, size, order))
            total = sum(self.step(columns, rate) * len(columns) for columns in chosen)
            self.history.append(total / m)
        return self

    @property
    def flat(self) -> np.ndarray:
        """All parameters in one vector."""
        return flat(self.parameters)


def flat(parameters: dict[str, np.ndarray]) -> np.ndarray:
    """All parameters in one vector, copied."""
    return np.concatenate([value.ravel() for value in parameters.values()])


def assert_same_bits(x: Any, y: Any) -> None:
    """Arrays, or dicts of arrays, of equal dtype, shape and bits."""
    if isinstance(x, dict):
        assert list(x) == list(y)
        for name in x:
            assert_same_bits(x[name], y[name])
        return
    x, y = np.asarray(x), np.asarray(y)
    assert (x.dtype, x.shape) == (y.dtype, y.shape)
    assert x.tobytes() == y.tobytes(), f"{np.count_nonzero(x != y)} of {x.size} elements differ"


def tanh_network(dtype: str = "float64", **arguments: Any) -> fastdnn.DNN:
    """The network of most tests of training: smooth, so that no rounding is magnified."""
    return randomise(
        fastdnn.DNN([3, 5, 4, 2], hidden_activation="tanh", dtype=dtype, seed=4, **arguments)
    )


def buffer_of(net: fastdnn.DNN) -> np.ndarray:
    """A copy of all parameters in one vector."""
    return flat(net.parameters)


# A trajectory adds up the rounding of its steps, and the square roots of Adam and RMSProp magnify
# that of small gradients: ten steps stay within this many tolerances of one result.
TRAJECTORY_FACTOR = 10.0


def assert_follows(net: fastdnn.DNN, history: fastdnn.History, run: ReferenceRun) -> None:
    """The network is where the reference's run ended, by the same costs."""
    costs = np.array(history.cost).astype(net.dtype)
    assert_close(costs, np.array(run.history), factor=TRAJECTORY_FACTOR)
    assert_close(buffer_of(net), run.flat, factor=TRAJECTORY_FACTOR)


def passing_by() -> tuple[fastdnn.DNN, Any, Any, tuple[Any, Any]]:
    """A bias that goes to 2 while the validation wants 1: b = 2 - 2 * 0.8^t after t epochs of 0.2.

    Its validation cost is lowest after three of them: b = 0.976.
    """
    net = fastdnn.DNN([1, 1], output_activation="identity", dtype="float64", init="small")
    net.parameters["W1"][...] = 0
    return net, [[0.0, 0.0]], [[2.0, 2.0]], ([[0.0]], [[1.0]])


def interrupted_at(line: int, modules: Iterable[ModuleType], run: Callable[[], object]) -> bool:
    """Call ``run`` with Ctrl-C at the ``line``-th line of these modules; False if it ends first."""
    files = {module.__file__ for module in modules}
    before, left = sys.gettrace(), line

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        left -= event == "line"
        if left == 0:
            sys.settrace(before)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


class Failure(Exception):
    """What a callback raises."""


def raise_at(epoch: int, error: BaseException) -> Callable[[fastdnn.History], None]:
    """A callback that raises the error after this epoch."""

    def callback(history: fastdnn.History) -> None:
        if history.epochs == epoch + 1:
            raise error

    return callback
