"""Where the parameters of a network lie: one after another in a flat buffer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .memory import aligned


@dataclass(frozen=True)
class ParameterLayout:
    """Offsets of W1, b1, W2, b2, ... in the flat buffer of parameters, each on a cache line."""

    layer_dims: tuple[int, ...]
    dtype: np.dtype
    weights: tuple[int, ...] = field(init=False)
    biases: tuple[int, ...] = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        weights, biases, place = [], [], 0
        for n_in, n_out in zip(self.layer_dims, self.layer_dims[1:], strict=False):
            weights.append(place)
            place += aligned(n_in * n_out, self.dtype)
            biases.append(place)
            place += aligned(n_out, self.dtype)
        object.__setattr__(self, "weights", tuple(weights))
        object.__setattr__(self, "biases", tuple(biases))
        object.__setattr__(self, "size", place)

    def views(self, buffer: np.ndarray) -> dict[str, np.ndarray]:
        """W1 (n1, n0), b1 (n1, 1), ... as views into ``buffer``."""
        named = {}
        pairs = zip(self.layer_dims, self.layer_dims[1:], strict=False)
        for layer, (n_in, n_out) in enumerate(pairs):
            w, b = self.weights[layer], self.biases[layer]
            named[f"W{layer + 1}"] = buffer[w : w + n_out * n_in].reshape(n_out, n_in)
            named[f"b{layer + 1}"] = buffer[b : b + n_out].reshape(n_out, 1)
        return named
