"""Gradient descent on few examples with many features, in the span of the examples.

Where every step takes all examples, W1 moves by multiples of them and nothing else: after any
number of steps it is W + A X^T with some A (n_1, m), and what it makes of the examples is
W X + A K, with their products K = X^T X (m, m). A itself moves by -learning_rate dZ1 / m. So the
steps can be those of a network with m inputs instead of n_x, which never reads X, and W1 is put
together when somebody looks at it. It is the same gradient descent, rounded in other places.

That linear parameters stay in the span of the data, and that computing there is the cheap way where
features are many, is old: Kimeldorf and Wahba, J. Math. Anal. Appl. 33, 1971; Hastie and
Tibshirani, Biostatistics 5, 2004.

The steps are those of an ordinary `Engine`. Its first layer has the inputs [K; W X] and the weights
[A, I], and its gradient is a product with [I; 0] in place of the inputs: [dZ1 / m, 0], which moves
A and leaves I as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Engine, Matrix
from .kernels import updates
from .products import product

# From so many times more features than inputs of the smaller network on. With fewer the gain is
# small, and more of it would be lost to the products before and after.
FEATURES_PER_INPUT = 8

# From so many steps on, beyond the m / n_1 that K costs twice over: W X, W1, and packing.
LEAST_STEPS = 8


class InSpan:
    """The steps of a network on all columns of X, from its present parameters; see the module."""

    def __init__(
        self,
        network: Engine,
        X: Matrix,
        Y: Matrix,
        inputs: NDArray[Any],
        *,
        weights: NDArray[Any] | None,
        n_threads: int | None,
    ) -> None:
        self._network, self._X, self._start = network, X.array(), network.views()["W1"].copy()
        m, n_1, dtype = X.columns, len(self._start), network.dtype
        dims = (m + n_1, *network.layout.layer_dims[1:])
        self.engine = Engine(dims, network.codes, network.loss, dtype, slabs=False)
        ours, theirs = self.engine.views(), network.views()
        self._A = ours["W1"][:, :m]
        ours["W1"][:, m:] = np.eye(n_1)
        self._shared = [(ours[name], theirs[name]) for name in theirs if name != "W1"]
        for mine, given in self._shared:
            mine[...] = given
        self._no_state = self.engine.new_state(0)
        # The holder is not this object, which would then live, with X, until garbage is collected.
        self._given: dict[str, Any] = {
            "weights": weights, "n_threads": n_threads, "holder": object(),
        }  # fmt: skip
        self._inputs, self._Y = Matrix.of(inputs, dtype), Y
        self.engine.hold(self._inputs, Y, np.eye(m + n_1, m, dtype=dtype), **self._given)

    def steps(self, coefficients: NDArray[Any], costs: NDArray[np.float64]) -> int:
        """As `Engine.steps`, once for each of the ``costs``; `write` shows what came of them."""
        starts = np.full(len(costs), -1, np.int64)
        done, _ = self.engine.steps(
            self._inputs, self._Y, starts, coefficients, updates.SGD, self._no_state,
            self._Y.columns, costs=costs, **self._given,
        )  # fmt: skip
        return done

    def write(self) -> bool:
        """The network's parameters after the steps so far; where W1 is not finite all stay."""
        A, X, n_threads = self._A, self._X, self._given["n_threads"]
        if X.flags.c_contiguous:  # its rows are read as they lie
            change = product(X, A.T, n_threads=n_threads).T
        else:
            change = product(A, X.T, n_threads=n_threads)
        with np.errstate(over="ignore", invalid="ignore"):
            W1 = self._start + change
        if not np.isfinite(W1).all():
            return False
        self._network.views()["W1"][...] = W1
        for mine, given in self._shared:
            given[...] = mine
        return True


def in_span(
    network: Engine,
    X: Matrix,
    Y: Matrix,
    steps: int,
    *,
    weights: NDArray[Any] | None = None,
    n_threads: int | None = None,
) -> InSpan | None:
    """What trains so many steps in the span of X, if it is faster there and all is finite."""
    n_x, n_1 = network.layout.layer_dims[:2]
    m = X.columns
    if FEATURES_PER_INPUT * (m + n_1) > n_x or (steps - LEAST_STEPS) * n_1 < m:
        return None
    examples, inputs = X.array(), np.empty((m + n_1, m), network.dtype)
    inputs[:m] = product(examples.T, examples, n_threads=n_threads)
    inputs[m:] = product(network.views()["W1"], examples, n_threads=n_threads)
    if not np.isfinite(inputs).all():
        return None
    return InSpan(network, X, Y, inputs, weights=weights, n_threads=n_threads)
