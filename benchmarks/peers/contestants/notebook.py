"""The NumPy notebook: one step is forward, cost, backward, update, as people first write it."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.contestants import Product, Session, available_cpus
from benchmarks.peers.problem import Array, Problem
from fastdnn import reference


def describe() -> dict[str, Any]:
    """NumPy's version; its BLAS takes every processor unless the environment says otherwise."""
    return {"versions": {"numpy": np.__version__}, "threads": available_cpus()}


def open_session(problem: Problem) -> Session:
    if problem.case.product:
        return Product(lambda: np.dot(problem.parameters["W1"], problem.X))
    return _Notebook(problem)


class _Notebook:
    def __init__(self, problem: Problem) -> None:
        row = problem.case.row
        self.problem = problem
        self.activations = {
            "hidden_activation": row.hidden_activation,
            "output_activation": row.output_activation,
        }
        self.loss = reference.default_loss(row.output_activation)

    def reset(self) -> None:
        self.parameters = {name: each.copy() for name, each in self.problem.parameters.items()}
        self.adam: dict[str, Any] = {}

    def run(self, steps: int) -> None:
        advance = self._train if self.problem.case.training else self.outputs
        for _ in range(steps):
            advance()

    def _train(self) -> None:
        X, Y, case = self.problem.X, self.problem.Y, self.problem.case
        AL, caches = reference.L_model_forward(X, self.parameters, **self.activations)
        reference.compute_cost(AL, Y, loss=self.loss)
        grads = reference.L_model_backward(AL, Y, caches, **self.activations)
        if case.optimizer == "adam":
            self.parameters = reference.optimizer_step(
                self.parameters, grads, self.adam, case.learning_rate, optimizer="adam"
            )
        else:
            reference.update_parameters(self.parameters, grads, case.learning_rate)

    def outputs(self) -> Array:
        AL: Array
        AL, _ = reference.L_model_forward(self.problem.X, self.parameters, **self.activations)
        return AL
