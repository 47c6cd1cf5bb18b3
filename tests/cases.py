"""One table of the public functions: the reference, the fast one, and arguments for both.

The tests compare the two over the edge shapes; benchmarks time them. Arguments are drawn in
float64 and rounded to the dtype; the reference computes with what was rounded, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from kernel_cases import JIT
from numpy.typing import NDArray

from fastdnn import functional, reference
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.kernels.gemm import FEW
from fastdnn.kernels.losses import LOSSES
from fastdnn.kernels.microkernels import TILE_ROWS, TILE_VECTORS
from fastdnn.kernels.vectors import lane_count

Array = NDArray[Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A function, and its arguments for n units (of n_prev below) and m examples."""

    name: str
    function: str
    arguments: Callable[[Draw, int, int], Arguments]

    def fast(self, arguments: Arguments) -> Any:
        return getattr(functional, self.function)(*arguments[0], **arguments[1])

    def reference(self, arguments: Arguments) -> Any:
        return getattr(reference, self.function)(*arguments[0], **arguments[1])


class Draw:
    """Arrays of one dtype from a seeded stream."""

    def __init__(self, dtype: str, seed: int) -> None:
        self.dtype, self.stream = dtype, np.random.RandomState(seed)

    def normal(self, *shape: int) -> Array:
        return self.stream.randn(*shape).astype(self.dtype)

    def positive(self, *shape: int) -> Array:
        return self.stream.uniform(0.1, 0.9, shape).astype(self.dtype)

    def labels(self, n: int, m: int) -> Array:
        """One-hot columns, or a row of 0 and 1."""
        if n == 1:
            return self.stream.randint(0, 2, (1, m)).astype(self.dtype)
        return np.eye(n, dtype=self.dtype)[:, self.stream.randint(0, n, m)]

    def linear(self, n: int, m: int) -> tuple[Array, Array, Array]:
        """A_prev, W, b of a layer with a few more inputs than units."""
        n_prev = n + 3
        return self.normal(n_prev, m), self.normal(n, n_prev) / n_prev**0.5, self.normal(n, 1)

    def parameters(self, n: int) -> dict[str, Array]:
        """Three layers: n + 1 -> n + 2 -> 3 -> n."""
        dims = (n + 1, n + 2, 3, n)
        parameters = {}
        for layer in (1, 2, 3):
            n_in, n_out = dims[layer - 1 : layer + 1]
            parameters[f"W{layer}"] = self.normal(n_out, n_in) / np.sqrt(n_in, dtype=self.dtype)
            parameters[f"b{layer}"] = self.normal(n_out, 1)
        return parameters

    def network(self, n: int, m: int, hidden: str, output: str) -> tuple[Array, Array, list[Any]]:
        """AL, Y and the caches of a forward pass.

        No output is close to 0 or 1, where dAL has as few digits as 1 - AL.
        """
        parameters = self.parameters(n)
        for name in ("W3", "b3"):
            parameters[name] = parameters[name] * np.dtype(self.dtype).type(0.3)
        AL, caches = reference.L_model_forward(
            self.normal(n + 1, m), parameters, hidden_activation=hidden,
            output_activation=output,
        )  # fmt: skip
        return AL, self.labels(n, m), caches


def _activations() -> Iterator[Case]:
    for name in ACTIVATIONS:
        yield Case(name, name, lambda d, n, m: ((3 * d.normal(n, m),), {}))
        yield Case(
            f"{name}_backward", f"{name}_backward",
            # further out the reference's own 1 - A^2 has fewer than 12 digits
            lambda d, n, m: ((d.normal(n, m), d.normal(n, m)), {}),
        )  # fmt: skip
    yield Case("leaky_relu-slope", "leaky_relu", lambda d, n, m: ((d.normal(n, m), 0.3), {}))
    yield Case(
        "leaky_relu_backward-slope", "leaky_relu_backward",
        lambda d, n, m: ((d.normal(n, m), d.normal(n, m), 0.3), {}),
    )  # fmt: skip


def _layers() -> Iterator[Case]:
    yield Case("linear_forward", "linear_forward", lambda d, n, m: (d.linear(n, m), {}))
    yield Case(
        "linear_backward", "linear_backward",
        lambda d, n, m: ((d.normal(n, m), d.linear(n, m)), {}),
    )  # fmt: skip
    for name in ACTIVATIONS:
        yield Case(
            f"linear_activation_forward-{name}", "linear_activation_forward",
            lambda d, n, m, name=name: ((*d.linear(n, m), name), {}),
        )  # fmt: skip
        yield Case(
            f"linear_activation_backward-{name}", "linear_activation_backward",
            lambda d, n, m, name=name: (
                (d.normal(n, m), (d.linear(n, m), d.normal(n, m)), name), {},
            ),
        )  # fmt: skip
    for name in ("softmax", "relu", "sigmoid"):
        yield Case(
            f"back_prop_single_step-{name}", "back_prop_single_step",
            lambda d, n, m, name=name: (
                (d.normal(n, m), d.labels(n, m), (d.linear(n, m), d.normal(n, m)), name), {},
            ),
        )  # fmt: skip


def _model() -> Iterator[Case]:
    for loss in LOSSES:
        yield Case(
            f"compute_cost-{loss}", "compute_cost",
            lambda d, n, m, loss=loss: ((d.positive(n, m), d.labels(n, m)), {"loss": loss}),
        )  # fmt: skip
    for hidden, output in (
        ("relu", "sigmoid"), ("tanh", "softmax"), ("leaky_relu", "identity"), ("softplus", "tanh"),
    ):  # fmt: skip
        names = {"hidden_activation": hidden, "output_activation": output}
        yield Case(
            f"L_model_forward-{hidden}-{output}", "L_model_forward",
            lambda d, n, m, names=names: ((d.normal(n + 1, m), d.parameters(n)), names),
        )  # fmt: skip
        yield Case(
            f"L_model_backward-{hidden}-{output}", "L_model_backward",
            lambda d, n, m, names=names: (d.network(n, m, *names.values()), names),
        )  # fmt: skip
    yield Case(
        "L_model_backward-not-sigmoid", "L_model_backward",
        lambda d, n, m: (_foreign_output(d, n, m), {}),
    )  # fmt: skip
    yield Case(
        "L_Layer_Back_Prop", "L_Layer_Back_Prop",
        lambda d, n, m: (d.network(n, m, "leaky_relu", "softmax"), {}),
    )  # fmt: skip
    yield Case(
        "update_parameters", "update_parameters",
        lambda d, n, m: (
            ({"W1": d.normal(n, m), "b1": d.normal(n, 1)},
             {"dW1": d.normal(n, m), "db1": d.normal(n, 1)}, 0.3), {},
        ),
    )  # fmt: skip
    for output in ("sigmoid", "softmax"):
        names = {"hidden_activation": "tanh", "output_activation": output}
        yield Case(
            f"predict-{output}", "predict",
            lambda d, n, m, names=names: ((d.normal(n + 1, m), d.parameters(n)), names),
        )  # fmt: skip


def _foreign_output(d: Draw, n: int, m: int) -> tuple[Array, Array, list[Any]]:
    """An AL that is not sigmoid(Z), and larger than Y: no sum of errors cancels."""
    _, _, caches = d.network(n, m, "relu", "sigmoid")
    AL = d.positive(n, m)
    return AL, AL * d.positive(n, m), caches


CASES = {case.name: case for case in (*_activations(), *_layers(), *_model())}


def edge_shapes(dtype: str) -> list[tuple[int, int]]:
    """(units, examples): one below, at and above every tile, vector and panel; skinny ones."""
    lanes = lane_count(dtype)
    if not JIT:
        return [(1, 1), (2, 3), (TILE_ROWS + 1, 2 * lanes + 1)]
    return [
        (1, 1), (1, 2), (2, 1), (3, 5),
        *((TILE_ROWS + i, TILE_VECTORS * lanes + i) for i in (-1, 0, 1)),
        *((FEW + i, lanes + i) for i in (-1, 0, 1)), (2 * TILE_ROWS + 1, 2 * lanes + 1),
        (1, 4 * lanes + 3), (4 * TILE_ROWS + 1, 2), (1, 2050), (130, 1), (7, 1025), (300, 33),
    ]  # fmt: skip


def mapped(value: Any, change: Callable[[Array], Any]) -> Any:
    """The same nested tuples, lists and dicts, with every array changed."""
    if isinstance(value, np.ndarray):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(entry, change) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(mapped(entry, change) for entry in value)
    return value


def fresh(arguments: Arguments) -> Arguments:
    """The same arrays in containers of their own: update_parameters binds results into its dict."""
    return mapped(arguments, lambda a: a)


def leaves(value: Any) -> list[Array]:
    """All arrays and numbers in nested results, in order."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key])]
    if isinstance(value, tuple | list):
        return [leaf for entry in value for leaf in leaves(entry)]
    return [np.asarray(value)]


def in_double(arguments: Arguments) -> Arguments:
    """The same numbers in float64; integers, which are labels, stay."""
    return mapped(arguments, lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a.copy())
