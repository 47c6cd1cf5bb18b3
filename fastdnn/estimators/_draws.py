"""Random draws in the order of scikit-learn's perceptrons, so that one seed means one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn.batches import Trusted


def draw_parameters(
    parameters: Mapping[str, NDArray[Any]],
    activations: Sequence[str],
    random_state: np.random.RandomState,
) -> None:
    """Fill W1, b1, ... from U(-r, r) with r = sqrt(6 / (n_in + n_out)), sigmoid: sqrt(2 / ...).

    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010. `activations` are those of the hidden layers; the output layer is
    drawn like the first of them.
    """
    for layer in range(1, len(parameters) // 2 + 1):
        W, b = parameters[f"W{layer}"], parameters[f"b{layer}"]
        n_out, n_in = W.shape
        name = activations[min(layer, len(activations)) - 1] if activations else "identity"
        bound = np.sqrt((2.0 if name == "sigmoid" else 6.0) / (n_in + n_out))
        W[...] = random_state.uniform(-bound, bound, (n_in, n_out)).T
        b[:, 0] = random_state.uniform(-bound, bound, n_out)


class Shuffle(Trusted):
    """The order of the examples in every epoch: each is a shuffle of the one before."""

    def __init__(self, random_state: np.random.RandomState) -> None:
        self.random_state = random_state
        self.order: NDArray[np.int64] = np.zeros(0, np.int64)

    def permutation(self, m: int) -> NDArray[np.int64]:
        """The next order of m examples."""
        indices = np.arange(m, dtype=np.int64)
        self.random_state.shuffle(indices)
        self.order = self.order[indices] if len(self.order) == m else indices
        return self.order

    def state(self) -> tuple[Any, NDArray[np.int64]]:
        """State of the generator, and the last order."""
        return self.random_state.get_state(), self.order

    def restore(self, state: tuple[Any, NDArray[np.int64]]) -> None:
        """Draw next what would have been drawn after that `state`."""
        generator, self.order = state
        self.random_state.set_state(generator)
