"""scikit-learn: `partial_fit` of its multi-layer perceptrons, one call being one step.

The batch is the whole data, momentum and weight decay are off and nothing is shuffled, so a call
does the mathematics of the others, and the work scikit-learn does around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.peers.contestants import Session, Unsupported, available_cpus
from benchmarks.peers.problem import Array, Problem

ACTIVATIONS = {"identity": "identity", "relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}


def describe() -> dict[str, Any]:
    versions = {"sklearn": sklearn.__version__, "numpy": np.__version__}
    return {"versions": versions, "threads": available_cpus()}


def open_session(problem: Problem) -> Session:
    row = problem.case.row
    if problem.case.product:
        raise Unsupported("scikit-learn multiplies with NumPy")
    if row.hidden_activation not in ACTIVATIONS:
        raise Unsupported(f"MLPClassifier has no {row.hidden_activation}")
    if row.output_activation == "softmax" and row.layer_dims[-1] == 2:
        raise Unsupported("MLPClassifier makes one sigmoid of two classes")
    return _Perceptron(problem)


class _Perceptron:
    def __init__(self, problem: Problem) -> None:
        case, Y = problem.case, problem.Y
        self.case, self.parameters = case, problem.parameters
        self.x = np.ascontiguousarray(problem.X.T)
        self.classes: dict[str, Array] = {}
        if case.row.output_activation == "identity":
            kind, self.y = MLPRegressor, Y.T
        elif case.row.output_activation == "softmax":
            kind, self.y = MLPClassifier, Y.argmax(axis=0)
            self.classes["classes"] = np.arange(len(Y))
        else:
            kind, self.y = MLPClassifier, Y.T.astype(int)
            self.classes["classes"] = np.arange(max(2, len(Y)))
        if self.y.shape[1:] == (1,):
            self.y = self.y[:, 0]
        self.y = np.ascontiguousarray(self.y)
        self.model = kind(
            hidden_layer_sizes=case.row.layer_dims[1:-1],
            activation=ACTIVATIONS[case.row.hidden_activation],
            solver="adam" if case.optimizer == "adam" else "sgd",
            learning_rate_init=case.learning_rate or 0.01,
            batch_size=case.row.batch,
            alpha=0.0,
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
            random_state=0,
        )
        # The weights exist only after a first call; every reset sets them.
        self.model.partial_fit(self.x, self.y, **self.classes)
        self.answer = self.model.predict if kind is MLPRegressor else self.model.predict_proba

    def reset(self) -> None:
        for layer in range(len(self.model.coefs_)):
            self.model.coefs_[layer][...] = self.parameters[f"W{layer + 1}"].T
            self.model.intercepts_[layer][...] = self.parameters[f"b{layer + 1}"][:, 0]
        # The estimator makes a new optimizer, with zero moments, where it has none.
        self.model.__dict__.pop("_optimizer", None)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self.case.training:
                self.model.partial_fit(self.x, self.y)
            else:
                self.answer(self.x)

    def outputs(self) -> Array:
        answers: Array = self.answer(self.x)
        if self.case.row.output_activation == "sigmoid" and self.case.row.layer_dims[-1] == 1:
            return answers[:, 1:].T
        return answers.reshape(len(self.x), -1).T
