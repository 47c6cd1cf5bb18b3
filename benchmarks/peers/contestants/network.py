"""fastdnn: `DNN.fit` on a constant full batch (the loop inside), or `DNN.train_step` per call."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

import fastdnn
from benchmarks.peers.contestants import Product, Session, Unsupported, available_cpus
from benchmarks.peers.problem import Array, Problem


def describe(loop_inside: bool) -> dict[str, Any]:
    """Versions; fastdnn may use every processor and takes as many as its cost model says."""
    versions = {
        "fastdnn": fastdnn.__version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
    }
    return {"versions": versions, "threads": available_cpus()}


def open_session(problem: Problem, loop_inside: bool) -> Session:
    case = problem.case
    if not case.training:
        if loop_inside:
            raise Unsupported("`fit` neither predicts nor multiplies")
        if case.product:
            W, b = problem.parameters["W1"], problem.parameters["b1"]
            return Product(lambda: fastdnn.linear_forward(problem.X, W, b)[0])
        return _Forward(problem)
    if loop_inside:
        return _Fit(problem)
    if case.optimizer == "adam":
        raise Unsupported("`train_step` is plain gradient descent")
    return _TrainStep(problem)


class _Forward:
    """One forward pass per call; the base of the two ways of training."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def reset(self) -> None:
        case = self.problem.case
        self.net = fastdnn.DNN(
            case.row.layer_dims,
            hidden_activation=case.row.hidden_activation,
            output_activation=case.row.output_activation,
            dtype=case.dtype,
            seed=0,
        )
        for name, values in self.problem.parameters.items():
            self.net.parameters[name][...] = values

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.net.forward(self.problem.X)

    def outputs(self) -> Array:
        AL: Array = self.net.forward(self.problem.X)
        return AL


class _Fit(_Forward):
    def run(self, steps: int) -> None:
        case = self.problem.case
        self.net.fit(
            self.problem.X,
            self.problem.Y,
            epochs=steps,
            optimizer=case.optimizer,
            learning_rate=case.learning_rate,
            shuffle=False,
            verbose=0,
        )


class _TrainStep(_Forward):
    def run(self, steps: int) -> None:
        X, Y, learning_rate = self.problem.X, self.problem.Y, self.problem.case.learning_rate
        for _ in range(steps):
            self.net.train_step(X, Y, learning_rate=learning_rate)
