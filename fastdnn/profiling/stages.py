"""The stages of a training step: what each computes in NumPy and in fastdnn, and how much work.

Operations: a product of (n, k) by (k, m) counts 2 n k m, everything else one for each element it
writes (a cost: reads). Bytes: every operand read once and every result written once, the least
that any program must move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdnn import checks, functional, reference
from fastdnn.functional import elementwise
from fastdnn.network import DNN
from fastdnn.products import product

Array = NDArray[Any]
Repeated = Callable[[int], object]  # makes so many calls

# So that what `fit` does once is small beside its steps: some 20 ms on 209 examples of 12288
# features, which it multiplies with one another, for steps of 33 us.
FIT_LONGER = 300


@dataclass(frozen=True)
class Stage:
    """One stage, ready to be timed on either side.

    A turn of fastdnn is ``longer`` than usual where it must hold many calls.
    """

    name: str
    layers: tuple[int, ...]
    shape: str
    flops: int
    bytes: int
    numpy: Repeated
    fastdnn: Repeated
    longer: int = 1


def stages_of(net: DNN, X: ArrayLike, Y: ArrayLike) -> tuple[int, list[Stage]]:
    """The number of examples, and the stages of one step on them."""
    examples = np.ascontiguousarray(checks.columns("X", X, net.layer_dims[0], dtype=net.dtype))
    m = examples.shape[1]
    targets = checks.labels(Y, net.layer_dims[-1], m, net.loss, net.dtype)
    step = _Step(net, examples, np.ascontiguousarray(targets))
    return m, [*step.single(), *step.whole()]


def _repeat(function: Callable[..., object], *args: Any, **options: Any) -> Repeated:
    def run(calls: int) -> None:
        for _ in range(calls):
            function(*args, **options)

    return run


# The halves of linear_backward, whose first layer passes nothing down in a training step.


def weights_backward(dZ: Array, A: Array) -> tuple[Array, Array]:
    """dW = dZ A^T / m and db = sum(dZ) / m, as `functional.linear_backward` computes them."""
    scale = 1.0 / A.shape[1]
    return product(dZ, A.T, scale=scale), elementwise.row_sums(dZ, scale)


def numpy_weights_backward(dZ: Array, A: Array) -> tuple[Array, Array]:
    """dW and db as `reference.linear_backward` computes them."""
    m = A.shape[1]
    return (dZ @ A.T) * (1.0 / m), np.sum(dZ, axis=1, keepdims=True) * (1.0 / m)


def _error_through_activation(output: str, AL: Array, Y: Array, Z: Array) -> Array:
    """dZ = (AL - Y) g'(Z), for the half squared error behind another output than the identity."""
    return elementwise.backward(output, elementwise.step(AL, Y, 1.0), Z)


class _Step:
    """A training step taken apart: its arrays, as the reference computes them."""

    def __init__(self, net: DNN, X: Array, Y: Array) -> None:
        self.net, self.X, self.Y = net, X, Y
        self.m = X.shape[1]
        self.parameters = {name: value.copy() for name, value in net.parameters.items()}
        self.names = (*net.hidden_activations, net.output_activation)
        self.activations: dict[str, Any] = {
            "hidden_activation": net.hidden_activations,
            "output_activation": net.output_activation,
        }
        self.AL, self.caches = reference.L_model_forward(X, self.parameters, **self.activations)
        _, self.grads = reference.cost_and_gradients(
            X, Y, self.parameters, loss=net.loss, **self.activations
        )

    # --- single stages ----------------------------------------------------------------------

    def single(self) -> Iterator[Stage]:
        """Layer by layer forward, the cost, layer by layer back, and the update."""
        groups = self._groups()
        for layers in groups:
            yield self._linear_forward(layers)
            if self._name(layers) != "identity":
                yield self._activation(layers)
        yield self._cost()
        yield self._output_error()
        for layers in reversed(groups):
            hidden = tuple(layer for layer in layers if layer < len(self.names))
            if hidden and self._name(hidden) != "identity":
                yield self._activation_backward(hidden)
            yield self._weights_backward(layers)
            above_first = tuple(layer for layer in layers if layer > 1)
            if above_first:
                yield self._data_backward(above_first)
        yield self._update()

    def _groups(self) -> list[tuple[int, ...]]:
        """Layers with the same shape and activation together, in order of the first."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for layer, name in enumerate(self.names, start=1):
            groups.setdefault((*self.parameters[f"W{layer}"].shape, name), []).append(layer)
        return [tuple(layers) for layers in groups.values()]

    def _name(self, layers: tuple[int, ...]) -> str:
        """The activation that these layers have in common."""
        return self.names[layers[0] - 1]

    def _stage(
        self, name: str, layers: tuple[int, ...], shape: tuple[int, ...], flops: int, moved: int,
        numpy: Repeated, fastdnn: Repeated,
    ) -> Stage:  # fmt: skip
        text, size = " x ".join(map(str, shape)), self.net.dtype.itemsize
        return Stage(name, layers, text, flops, moved * size, numpy, fastdnn)

    def _both(self, function: str, *args: Any, **options: Any) -> tuple[Repeated, Repeated]:
        """The functions of one name in both packages, on the same arguments."""
        slow, fast = getattr(reference, function), getattr(functional, function)
        return _repeat(slow, *args, **options), _repeat(fast, *args, **options)

    def _linear_forward(self, layers: tuple[int, ...]) -> Stage:
        (A, W, b), Z = self.caches[layers[0] - 1]
        return self._stage(
            "linear_forward", layers, (*W.shape, self.m), 2 * W.size * self.m,
            A.size + W.size + b.size + Z.size, *self._both("linear_forward", A, W, b),
        )  # fmt: skip

    def _activation(self, layers: tuple[int, ...]) -> Stage:
        Z = self.caches[layers[0] - 1][1]
        name = self._name(layers)
        return self._stage(name, layers, Z.shape, Z.size, 2 * Z.size, *self._both(name, Z))

    def _cost(self) -> Stage:
        AL, Y = self.AL, self.Y
        return self._stage(
            "compute_cost", (len(self.names),), AL.shape, AL.size, 2 * AL.size,
            *self._both("compute_cost", AL, Y, loss=self.net.loss),
        )  # fmt: skip

    def _output_error(self) -> Stage:
        AL, Y, Z = self.AL, self.Y, self.caches[-1][1]
        output, loss = self.net.output_activation, self.net.loss
        plain = reference.LOSSES[loss].canonical_output == output
        return self._stage(
            "output error", (len(self.names),), AL.shape, AL.size, (3 if plain else 4) * AL.size,
            _repeat(reference.output_error, AL, Y, Z, output, loss),
            _repeat(elementwise.step, AL, Y, 1.0)
            if plain
            else _repeat(_error_through_activation, output, AL, Y, Z),
        )  # fmt: skip

    def _activation_backward(self, layers: tuple[int, ...]) -> Stage:
        name = f"{self._name(layers)}_backward"
        Z = self.caches[layers[0] - 1][1]
        dA = self.grads[f"dA{layers[0]}"]
        return self._stage(name, layers, Z.shape, Z.size, 3 * Z.size, *self._both(name, dA, Z))

    def _weights_backward(self, layers: tuple[int, ...]) -> Stage:
        (A, W, b), dZ = self.caches[layers[0] - 1]  # Z in place of dZ: the same work
        return self._stage(
            "dW + db", layers, (*W.shape, self.m), 2 * W.size * self.m,
            dZ.size + A.size + W.size + b.size,
            _repeat(numpy_weights_backward, dZ, A), _repeat(weights_backward, dZ, A),
        )  # fmt: skip

    def _data_backward(self, layers: tuple[int, ...]) -> Stage:
        (A, W, _), dZ = self.caches[layers[0] - 1]
        return self._stage(
            "dA", layers, (*W.shape, self.m), 2 * W.size * self.m, dZ.size + A.size + W.size,
            _repeat(np.matmul, W.T, dZ), _repeat(product, W.T, dZ),
        )  # fmt: skip

    def _update(self) -> Stage:
        count = sum(value.size for value in self.parameters.values())
        return self._stage(
            "update_parameters", (), (count,), count, 3 * count,
            *self._both("update_parameters", dict(self.parameters), self.grads, 0.0),
        )  # fmt: skip

    # --- the whole network ------------------------------------------------------------------

    def whole(self) -> Iterator[Stage]:
        """Forward, a step per call, and a step where `fit` loops over them in compiled code."""
        net = self._twin()
        size = self.net.dtype.itemsize
        weights = sum(value.size for value in self.parameters.values())
        forward = [2 * W.size * self.m for (_, W, _), _ in self.caches]
        step = 3 * sum(forward) - forward[0]
        data = self.X.size + self.Y.size
        dims = "-".join(map(str, net.layer_dims))
        shape = f"{dims} x {self.m}" if len(net.layer_dims) <= 5 else f"{len(forward)} layers"
        yield Stage(
            "forward", (), shape, sum(forward), size * (data + weights),
            _repeat(reference.L_model_forward, self.X, self.parameters, **self.activations),
            _repeat(net.forward, self.X),
        )  # fmt: skip
        yield Stage(
            "train_step", (), shape, step, size * (data + 2 * weights),
            _repeat(self._numpy_step),
            _repeat(net.train_step, self.X, self.Y, learning_rate=0.0),
        )  # fmt: skip
        yield Stage(
            "step in fit", (), shape, step, size * (data + 2 * weights),
            _repeat(self._numpy_step),
            lambda calls: net.fit(self.X, self.Y, epochs=calls, learning_rate=0.0),
            longer=FIT_LONGER,
        )  # fmt: skip

    def _numpy_step(self) -> None:
        _, grads = reference.cost_and_gradients(
            self.X, self.Y, self.parameters, loss=self.net.loss, **self.activations
        )
        reference.update_parameters(dict(self.parameters), grads, 0.0)

    def _twin(self) -> DNN:
        """A network of its own for the timing, so that the user's keeps its state."""
        net = DNN(**self.net.config())
        for name, value in self.parameters.items():
            net.parameters[name][...] = value
        return net
