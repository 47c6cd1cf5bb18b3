"""What a model file says beside the network: how numbers become its input, what its outputs mean.

It travels as `DNN.extra`, so that ``predict`` and ``evaluate`` treat a file exactly as ``train``
did. The other way round, a network saved from Python says nothing, and gets numbers as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn import DNN
from fastdnn.storage import FileFormatError

SCALINGS = ("auto", "standard", "none")

# Examples a pass over the data converts at once, so that float64 is never needed for all of them.
_BLOCK_EXAMPLES = 4096


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a file becomes input of a network, and outputs become labels.

    Attributes
    ----------
    class_names : tuple of str
        Empty for a regression, and where classes are known by number only.
    target : str or None
        Where ``train`` found the labels, as given to ``--target``.
    scaling : tuple of two ndarrays of shape (n_x, 1), or None
        Mean and scale: the input is (X - mean) / scale.
    limits : tuple of float, or None
        Smallest and largest number of the training data, before scaling.
    """

    class_names: tuple[str, ...] = ()
    target: str | None = None
    scaling: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    limits: tuple[float, float] | None = None

    @classmethod
    def fitted(
        cls, X: NDArray[Any], scaling: str, *, class_names: tuple[str, ...], target: str | None
    ) -> Recipe:
        """The recipe for training data X (n_x, m).

        ``auto`` standardises the features unless all of them lie within -1 ... 1, as pixels do.
        """
        limits = float(X.min()), float(X.max())
        small = limits[0] >= -1 and limits[1] <= 1
        if scaling == "none" or (scaling == "auto" and small):
            return cls(class_names, target, None, limits)
        mean = X.mean(axis=1, keepdims=True, dtype=np.float64)
        scale = X.std(axis=1, keepdims=True, dtype=np.float64)
        # A feature that never varies differs from its mean by rounding errors at most.
        scale[scale <= 1e-7 * np.abs(mean)] = 1.0
        return cls(class_names, target, (mean, scale), limits)

    def apply(self, X: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The network's input for X (n_x, m): a new array of ``dtype``, an example contiguous."""
        if self.scaling is None:
            return np.asarray(X, dtype)
        mean, scale = self.scaling
        out = np.empty(X.shape[::-1], dtype).T
        for start in range(0, X.shape[1], _BLOCK_EXAMPLES):
            block = slice(start, start + _BLOCK_EXAMPLES)
            out[:, block] = (X[:, block] - mean) / scale
        return out

    def warning(self, X: NDArray[Any]) -> str | None:
        """What to say of data that were scaled otherwise than those of the training, if they were.

        That is: numbers farther away from the training's than those are from each other.
        """
        if self.limits is None:
            return None
        low, high = self.limits
        span = high - low
        found_low, found_high = float(X.min()), float(X.max())
        if low - span <= found_low and found_high <= high + span:
            return None
        return (
            f"the examples range from {found_low:g} to {found_high:g}, those of the training from "
            f"{low:g} to {high:g}: are they scaled alike?"
        )

    def folded_into(self, net: DNN) -> DNN:
        """A network that takes numbers as they stand in a file: W (x - mean) / scale + b."""
        folded = DNN(**net.config())
        for name, value in net.parameters.items():
            folded.parameters[name][...] = value
        if self.scaling is not None:
            mean, scale = self.scaling
            W = net.parameters["W1"] / scale.T
            folded.parameters["W1"][...] = W
            folded.parameters["b1"][...] = net.parameters["b1"] - W @ mean
        return folded

    # --- in the model file ------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """As `DNN.extra` holds it."""
        mean, scale = self.scaling or (None, None)
        return {
            "class_names": list(self.class_names),
            "target": self.target,
            "mean": None if mean is None else mean.ravel().tolist(),
            "scale": None if scale is None else scale.ravel().tolist(),
            "limits": self.limits and list(self.limits),
        }

    @classmethod
    def of(cls, net: DNN, path: str) -> Recipe:
        """The recipe of a network read from ``path``.

        Raises
        ------
        FileFormatError
            If it is not one, or is that of another network.
        """
        extra, n_x = net.extra, net.layer_dims[0]
        names = extra.get("class_names") or []
        target = extra.get("target")
        if not (_all(names, str) and (target is None or isinstance(target, str))):
            raise FileFormatError(path, "its class_names or target are not text")
        if names and len(names) != n_classes(net):
            raise FileFormatError(
                path, f"it names {len(names)} classes, the network has {n_classes(net)}"
            )
        lists = {name: extra.get(name) for name in ("mean", "scale", "limits")}
        lengths = {"mean": n_x, "scale": n_x, "limits": 2}
        for name, values in lists.items():
            if values is not None and not (
                _all(values, int | float)
                and len(values) == lengths[name]
                and all(map(math.isfinite, values))
            ):
                raise FileFormatError(path, f"its {name} is not {lengths[name]} finite numbers")
        mean, scale, limits = lists.values()
        if (mean is None) != (scale is None) or (scale is not None and min(scale) <= 0):
            raise FileFormatError(path, "its mean and scale do not describe a scaling")
        scaling = None
        if mean is not None:
            scaling = np.array(mean, np.float64)[:, None], np.array(scale, np.float64)[:, None]
        return cls(tuple(names), target, scaling, limits and (limits[0], limits[1]))


def n_classes(net: DNN) -> int:
    """Classes that the network tells apart; 0 for a regression or several yes-or-no outputs."""
    n_y = net.layer_dims[-1]
    if net.output_activation == "sigmoid":
        return 2 if n_y == 1 else 0
    return n_y if net.output_activation == "softmax" else 0


def _all(values: Any, kind: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
