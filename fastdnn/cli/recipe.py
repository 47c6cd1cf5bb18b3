"""What a model file says beside the network: how numbers become its input, what its outputs mean.

It travels as `DNN.extra`, so that ``predict`` and ``evaluate`` treat a file exactly as ``train``
did. The other way round, a network saved from Python says nothing, and gets numbers as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastdnn import DNN
from fastdnn.data import ArraySource, Source, natural_dtype, to_float, whole_blocks
from fastdnn.storage import FileFormatError

SCALINGS = ("auto", "standard", "none")

# Numbers that are scaled at once: float64 is never needed for all, and they stay in the cache.
_BLOCK_NUMBERS = 2**15

# Of a feature in the unit of its spread, where its scaling is folded into the first layer: no
# prediction turns on that. A float32 has more where the mean is 839 times the spread.
_FOLDED_ROUNDING = 1e-4

Examples: TypeAlias = "NDArray[Any] | Source"
Scaling: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"


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
    feature_names : tuple of str
        Columns of the training data in the order of the input. Empty where they had no names, or
        two the same.
    target_name : str or None
        What the column of the labels was called there.
    """

    class_names: tuple[str, ...] = ()
    target: str | None = None
    scaling: Scaling | None = None
    limits: tuple[float, float] | None = None
    feature_names: tuple[str, ...] = ()
    target_name: str | None = None

    @classmethod
    def fitted(cls, X: Examples, scaling: str, **named: Any) -> Recipe:
        """The recipe for training data X (n_x, m), with the attributes ``named``.

        ``auto`` standardises the features unless all of them lie within -1 ... 1, as pixels do.

        Raises
        ------
        ValueError
            If a feature is too large to be standardised.
        """
        found = Moments.of(X)
        limits = found.low, found.high
        small = limits[0] >= -1 and limits[1] <= 1
        if scaling == "none" or (scaling == "auto" and small):
            return cls(scaling=None, limits=limits, **named)
        overflown = ~np.isfinite(found.squares)
        if overflown.any():
            raise ValueError(
                f"feature {overflown.argmax()} cannot be standardised, its squares overflow: the "
                f"examples range from {limits[0]:g} to {limits[1]:g}, expected at most 1e150"
            )
        mean, scale = found.mean[:, None], np.sqrt(found.squares / found.count)[:, None]
        # A feature that never varies differs from its mean by rounding errors at most, which are
        # large numbers where it is one.
        constant = scale <= 1e-7 * np.abs(mean)
        scale[constant] = np.maximum(1.0, 1e-12 * np.abs(mean[constant]))
        return cls(scaling=(mean, scale), limits=limits, **named)

    def apply(self, X: Examples, dtype: np.dtype[Any]) -> Examples:
        """The network's input for X (n_x, m): of ``dtype``, an example contiguous.

        Of an array a new one; of a source a source, whose blocks are scaled as they are read.

        Raises
        ------
        ValueError
            If a feature overflows ``dtype``.
        """
        if not isinstance(X, np.ndarray):
            return ScaledSource(X, self.scaling, dtype)
        if self.scaling is None:
            with _overflow_named(X.T, None, dtype):
                return np.asarray(X, dtype)
        return _scaled(X.T, self.scaling, dtype).T

    def warning(self, X: Examples) -> str | None:
        """What to say of data that were scaled otherwise than those of the training, if they were.

        That is: numbers farther away from the training's than those are from each other.
        """
        if self.limits is None:
            return None
        low, high = self.limits
        span = high - low
        found_low, found_high = _limits(X)
        if low - span <= found_low and found_high <= high + span:
            return None
        return (
            f"the examples range from {found_low:g} to {found_high:g}, those of the training from "
            f"{low:g} to {high:g}: are they scaled alike?"
        )

    def may_be_folded(self, dtype: np.dtype[Any]) -> bool:
        """Whether a first layer of ``dtype`` that scales gives what this scaling does."""
        if self.scaling is None:
            return True
        mean, scale = self.scaling
        info = np.finfo(dtype)
        within = math.sqrt(info.tiny) < scale.min() and scale.max() < math.sqrt(info.max)
        return within and bool((info.eps * np.abs(mean) <= _FOLDED_ROUNDING * scale).all())

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
            "feature_names": list(self.feature_names),
            "target_name": self.target_name,
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
        names, columns = extra.get("class_names") or [], extra.get("feature_names") or []
        targets = {name: extra.get(name) for name in ("target", "target_name")}
        texts = all(text is None or isinstance(text, str) for text in targets.values())
        if not (_all(names, str) and _all(columns, str) and texts):
            raise FileFormatError(
                path, "its class_names, feature_names, target or target_name are not text"
            )
        if names and len(names) != n_classes(net):
            raise FileFormatError(
                path, f"it names {len(names)} classes, the network has {n_classes(net)}"
            )
        if columns and not len(set(columns)) == len(columns) == n_x:
            raise FileFormatError(
                path, f"its {len(columns)} feature_names are not {n_x} different ones"
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
        return cls(
            class_names=tuple(names), scaling=scaling, limits=limits and (limits[0], limits[1]),
            feature_names=tuple(columns), **targets,
        )  # fmt: skip


@dataclass
class Moments:
    """What one pass over examples finds: limits, and of each feature the mean and the squares.

    Blocks are merged as by T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979, so that nothing cancels.
    """

    count: int
    low: float
    high: float
    mean: NDArray[np.float64]  # (n_x,)
    squares: NDArray[np.float64]  # (n_x,): sum over examples of (x - mean)^2

    @classmethod
    def of(cls, X: Examples) -> Moments:
        """Those of examples X (n_x, m)."""
        source = ArraySource(X) if isinstance(X, np.ndarray) else X
        found = cls(0, math.inf, -math.inf, *np.zeros((2, source.shape[0])))
        for rows in whole_blocks(source, dtype=np.float64):
            found.add(rows)
        return found

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take more examples into account; squares that overflow are no longer finite."""
        self.low, self.high = min(self.low, float(rows.min())), max(self.high, float(rows.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = rows.mean(axis=0)
            rows -= mean
            share = len(rows) / (self.count + len(rows))
            away = mean - self.mean
            self.squares += np.square(rows, out=rows).sum(axis=0) + away**2 * (share * self.count)
            self.mean += away * share
        self.count += len(rows)


def _limits(X: Examples) -> tuple[float, float]:
    """Smallest and largest number of examples X (n_x, m)."""
    blocks = [X] if isinstance(X, np.ndarray) else whole_blocks(X, dtype=np.float64)
    limits = [(float(block.min()), float(block.max())) for block in blocks]
    return min(low for low, _ in limits), max(high for _, high in limits)


class ScaledSource:
    """A source as the network takes it.

    Parameters
    ----------
    source : Source
    scaling : tuple of two ndarrays of shape (n_x, 1), or None
    dtype : dtype
        Of the network.
    """

    def __init__(self, source: Source, scaling: Scaling | None, dtype: np.dtype[Any]) -> None:
        self._source, self._scaling, self._dtype = source, scaling, dtype

    @property
    def shape(self) -> tuple[int, int]:
        """(n_x, m)."""
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the network."""
        return self._dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Examples start ... stop - 1, of shape (stop - start, n_x)."""
        rows = to_float(self._source.read(start, stop), natural_dtype(self._source.dtype))
        if self._scaling is None:
            with _overflow_named(rows, None, self._dtype):
                return rows.astype(self._dtype, copy=False)
        return _scaled(rows, self._scaling, self._dtype)


def _scaled(rows: NDArray[Any], scaling: Scaling, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Examples (m, n_x) as the network takes them, computed in float64."""
    mean, scale = scaling
    out = np.empty(rows.shape, dtype)
    step = max(1, _BLOCK_NUMBERS // rows.shape[1])
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        with _overflow_named(rows[block], scaling, dtype):
            out[block] = (rows[block] - mean.T) / scale.T
    return out


@contextmanager
def _overflow_named(
    rows: NDArray[Any], scaling: Scaling | None, dtype: np.dtype[Any]
) -> Iterator[None]:
    """Turn an overflow in scaling examples (m, n_x) into an error that names the feature."""
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError as error:
        mean, scale = scaling or (np.zeros((1, 1)), np.ones((1, 1)))
        with np.errstate(over="ignore"):
            away = np.abs((rows - mean.T) / scale.T)
        example, feature = np.unravel_index(away.argmax(), away.shape)
        raise ValueError(
            f"feature {feature} of an example is {rows[example, feature]:g}, too large for a "
            f"network of {dtype}"
        ) from error


def n_classes(net: DNN) -> int:
    """Classes that the network tells apart; 0 for a regression or several yes-or-no outputs."""
    n_y = net.layer_dims[-1]
    if net.output_activation == "sigmoid":
        return 2 if n_y == 1 else 0
    return n_y if net.output_activation == "softmax" else 0


def _all(values: Any, kind: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
