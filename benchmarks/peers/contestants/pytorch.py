"""PyTorch on the CPU: eager or `torch.compile`, on its default threads or on one.

What is compiled is the cost, and with it its gradients; the optimizer's step is eager either way.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.contestants import Product, Session
from benchmarks.peers.problem import Array, Problem

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softmax": lambda: nn.Softmax(dim=1),
}


def describe(compiled: bool, threads: int | None) -> dict[str, Any]:
    """Versions and threads; sets the threads, for it is the first thing a worker calls."""
    if threads is not None:
        torch.set_num_threads(threads)
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    return {"versions": versions, "threads": torch.get_num_threads()}


def open_session(problem: Problem, compiled: bool, threads: int | None) -> Session:
    # Each case compiles the same functions anew; without a reset the compiler would give up
    # on them after eight and go on in eager mode.
    torch.compiler.reset()
    if problem.case.product:
        W, X = torch.from_numpy(problem.parameters["W1"]), torch.from_numpy(problem.X)
        multiply = torch.compile(torch.mm) if compiled else torch.mm
        return Product(lambda: multiply(W, X))
    return _Training(problem, compiled) if problem.case.training else _Forward(problem, compiled)


class _Forward:
    """A forward pass under `inference_mode`, and what training shares with it."""

    def __init__(self, problem: Problem, compiled: bool) -> None:
        row = problem.case.row
        self.parameters = problem.parameters
        self.x = torch.from_numpy(np.ascontiguousarray(problem.X.T))
        self.model = nn.Sequential()
        for layer, (n_in, n_out) in enumerate(pairwise(row.layer_dims), start=1):
            if layer > 1:
                self.model.append(ACTIVATIONS[row.hidden_activation]())
            self.model.append(nn.Linear(n_in, n_out, dtype=self.x.dtype))
        self.activation = ACTIVATIONS[row.output_activation]()
        self.answer: Callable[..., torch.Tensor] = self._answer
        if compiled:
            self.answer = torch.compile(self._answer)

    def reset(self) -> None:
        linear = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for number, layer in enumerate(linear, start=1):
                layer.weight.copy_(torch.from_numpy(self.parameters[f"W{number}"]))
                layer.bias.copy_(torch.from_numpy(self.parameters[f"b{number}"][:, 0]))

    def _answer(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.activation(self.model(x))
        return output

    def run(self, steps: int) -> None:
        with torch.inference_mode():
            for _ in range(steps):
                self.answer(self.x)

    def outputs(self) -> Array:
        with torch.no_grad():
            AL: Array = self._answer(self.x).T.numpy()
        return AL


class _Training(_Forward):
    def __init__(self, problem: Problem, compiled: bool) -> None:
        super().__init__(problem, compiled)
        self.case = problem.case
        Y = problem.Y
        if self.case.row.output_activation == "softmax":
            self.target = torch.from_numpy(Y.argmax(axis=0))
        else:
            self.target = torch.from_numpy(np.ascontiguousarray(Y.T))
        self.loss = torch.compile(self._loss) if compiled else self._loss

    def reset(self) -> None:
        super().reset()
        parameters, rate = self.model.parameters(), self.case.learning_rate
        # The fastest of {default, foreach, for-loop, fused} on the CPU in torch 2.13: the plain
        # loop for SGD (by 1 to 5 %), fused for Adam (by 30 % in the small rows). Compiled, beside
        # a compiled cost, the step made SGD 6 to 10 % slower, and Adam 1 to 20 % (2-16-2: -4 %).
        self.optimizer: torch.optim.Optimizer
        if self.case.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=rate, eps=1e-8, fused=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=rate, foreach=False)

    def _loss(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits, n_y = self.model(x), self.case.row.layer_dims[-1]
        if self.case.row.output_activation == "softmax":
            return nn.functional.cross_entropy(logits, target)
        if self.case.row.output_activation == "sigmoid":
            mean = nn.functional.binary_cross_entropy_with_logits(logits, target)
            return mean if n_y == 1 else mean * n_y
        return nn.functional.mse_loss(logits, target) * (n_y / 2)

    def run(self, steps: int) -> None:
        optimizer, loss, x, target = self.optimizer, self.loss, self.x, self.target
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss(x, target).backward()
            optimizer.step()
