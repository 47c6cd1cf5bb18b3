"""JAX on the CPU: one jitted step per call, or the loop inside `lax.scan`; buffers are donated."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.contestants import Product, Session, Unsupported, available_cpus
from benchmarks.peers.problem import Array, Case, Problem

jax.config.update("jax_enable_x64", True)  # float64 is refused without it; float32 stays float32

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "identity": lambda z: z,
    "relu": jax.nn.relu,
    "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=0.01),
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "softmax": partial(jax.nn.softmax, axis=1),
}
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Layers = list[tuple[jax.Array, jax.Array]]


def describe(loop_inside: bool) -> dict[str, Any]:
    versions = {"jax": jax.__version__, "numpy": np.__version__}
    return {"versions": versions, "threads": available_cpus()}


def open_session(problem: Problem, loop_inside: bool) -> Session:
    if not problem.case.training:
        if loop_inside:
            raise Unsupported("a loop over the same forward pass would be hoisted away")
        if problem.case.product:
            W, X = jnp.asarray(problem.parameters["W1"]), jnp.asarray(problem.X)
            multiply = jax.jit(jnp.matmul)
            return Product(lambda: jax.block_until_ready(multiply(W, X)))
        return _Forward(problem)
    return _Scan(problem) if loop_inside else _Jit(problem)


def _logits(case: Case, layers: Layers, x: jax.Array) -> jax.Array:
    """Rows are examples and W is (n_in, n_out), the layout JAX's own examples use."""
    for W, b in layers[:-1]:
        x = ACTIVATIONS[case.row.hidden_activation](x @ W + b)
    W, b = layers[-1]
    return x @ W + b


def _cost(case: Case, layers: Layers, x: jax.Array, y: jax.Array) -> jax.Array:
    z = _logits(case, layers, x)
    if case.row.output_activation == "softmax":
        each = -y * jax.nn.log_softmax(z)
    elif case.row.output_activation == "sigmoid":
        each = jax.nn.softplus(z) - y * z
    else:
        each = (z - y) ** 2 / 2
    return jnp.sum(each) / x.shape[0]


def _step(case: Case, state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
    """One step; the state is the layers and, for Adam, both moments and the step's number."""
    layers, moments = state
    cost, grads = jax.value_and_grad(partial(_cost, case))(layers, x, y)
    tree, rate = jax.tree.map, case.learning_rate
    if case.optimizer == "sgd":
        return (tree(lambda w, g: w - rate * g, layers, grads), moments), cost
    first, second, t = moments
    t = t + 1
    first = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, grads)
    second = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)
    size, root = rate / (1 - BETA1**t), 1 / jnp.sqrt(1 - BETA2**t)
    layers = tree(
        lambda w, m, v: w - size * m / (jnp.sqrt(v) * root + EPSILON), layers, first, second
    )
    return (layers, (first, second, t)), cost


class _Forward:
    def __init__(self, problem: Problem) -> None:
        self.case, self.parameters = problem.case, problem.parameters
        self.x = jnp.asarray(np.ascontiguousarray(problem.X.T))
        self.y = jnp.asarray(np.ascontiguousarray(problem.Y.T))
        self.answer = jax.jit(self._answer)

    def _answer(self, layers: Layers, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.case.row.output_activation](_logits(self.case, layers, x))

    def reset(self) -> None:
        layers: Layers = []
        for number in range(1, len(self.parameters) // 2 + 1):
            # A copy each, for donated buffers are written over.
            W = np.ascontiguousarray(self.parameters[f"W{number}"].T)
            b = self.parameters[f"b{number}"][:, 0]
            layers.append((jnp.array(W, copy=True), jnp.array(b, copy=True)))
        moments = None
        if self.case.optimizer == "adam":
            zeros = partial(jax.tree.map, jnp.zeros_like)
            moments = (zeros(layers), zeros(layers), jnp.zeros((), self.case.dtype))
        self.state = jax.block_until_ready((layers, moments))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(self.answer(self.state[0], self.x))

    def outputs(self) -> Array:
        return np.asarray(self.answer(self.state[0], self.x)).T


class _Jit(_Forward):
    """One compiled step per call; the calls are asynchronous, the last is waited for."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.step = jax.jit(partial(_step, self.case), donate_argnums=0)

    def run(self, steps: int) -> None:
        state, cost = self.state, None
        for _ in range(steps):
            state, cost = self.step(state, self.x, self.y)
        self.state = jax.block_until_ready((state, cost))[0]


class _Scan(_Forward):
    """The steps inside one compiled call, which is compiled once for each number of steps."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.loop = jax.jit(self._loop, static_argnums=3, donate_argnums=0)

    def _loop(self, state: Any, x: jax.Array, y: jax.Array, steps: int) -> Any:
        def body(state: Any, _: None) -> tuple[Any, jax.Array]:
            return _step(self.case, state, x, y)

        return jax.lax.scan(body, state, None, length=steps)

    def run(self, steps: int) -> None:
        self.state, _ = jax.block_until_ready(self.loop(self.state, self.x, self.y, steps))
