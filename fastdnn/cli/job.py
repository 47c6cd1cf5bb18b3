"""What ``fastdnn train`` does between reading its data and saving its model."""

from __future__ import annotations

import argparse
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn import DNN, DivergenceError
from fastdnn.data import Dataset, loading, train_test_split, whole_blocks

from .inputs import labels_of
from .options import UsageError
from .recipe import Examples, Recipe, n_classes

PATIENCE = 5  # default of --early-stopping
BATCH, FEWEST_STEPS = 128, 10  # of an epoch: fifty steps in all would not learn the iris
SMALLEST_BATCH = 8
WARM_UP_BATCHES = 8

# Of a regression: the sum of the squares of a hundred million labels is finite, and so are the
# last weights in the unit of the labels, if before they are below this.
LARGEST_TARGET, LARGEST_WEIGHT = 1e150, 1000

Pair = tuple[Examples, NDArray[Any]]  # X (n_x, m), y (m,) or (n_y, m)


@dataclass(frozen=True)
class Job:
    """A network, its data, and how to train it.

    A regression is trained on (y - mean) / scale, whatever the unit of y: with the usual learning
    rates a network does not get to a price of 250000 from weights around 1.
    """

    net: DNN
    recipe: Recipe
    target_mean: NDArray[np.float64]  # (n_y, 1)
    target_scale: NDArray[np.float64]
    train: Pair
    validation: Pair | None
    test: Pair | None
    settings: dict[str, Any]  # of DNN.fit

    @classmethod
    def of(cls, options: argparse.Namespace, dataset: Dataset) -> Job:
        """Split and scale a data set, and build the network that suits it."""
        X, y = dataset.X, labels_of(dataset)
        n_y, output = outputs(options.output, dataset.name, y, dataset.class_names)
        if output == "identity":
            _check_quantities(dataset.name, y, np.dtype(options.dtype))
        validation = test = None
        if options.test:
            X, y, test = _hold_out("--test", X, y, options.test, options.seed)
        if options.validation:
            X, y, validation = _hold_out("--validation", X, y, options.validation, options.seed)
        net = DNN(
            (X.shape[0], *options.layers, n_y), hidden_activation=options.hidden,
            output_activation=output, dtype=options.dtype, seed=options.seed,
            n_threads=options.threads,
        )  # fmt: skip
        names, columns = dataset.class_names or (), dataset.feature_names or ()
        recipe = Recipe.fitted(
            X, options.scale, target=options.target, target_name=dataset.target_name,
            class_names=names if len(names) == n_classes(net) else (),
            feature_names=columns if len(set(columns)) == len(columns) else (),
        )  # fmt: skip
        mean, scale = np.zeros((n_y, 1)), np.ones((n_y, 1))
        if output == "identity":
            rows = y.reshape(n_y, -1).astype(np.float64)
            mean, scale = rows.mean(axis=1, keepdims=True), rows.std(axis=1, keepdims=True)
            scale[scale == 0.0] = 1.0
        patience = PATIENCE if options.early_stopping is None else options.early_stopping
        settings = {
            "epochs": options.epochs,
            "batch_size": options.batch_size or _batch_size(X.shape[1]),
            "optimizer": options.optimizer,
            "learning_rate": options.learning_rate,
            "weight_decay": options.weight_decay,
            "dropout": options.dropout,
            "checkpoint": options.checkpoint,
            "early_stopping": patience if patience and validation else None,
        }
        pairs = [
            pair and (recipe.apply(pair[0], net.dtype), pair[1])
            for pair in ((X, y), validation, test)
        ]
        train, validation, test = pairs
        assert train is not None
        if validation:  # it is scored after every epoch
            validation = _read_if_small(validation[0], net.dtype), validation[1]
        return cls(net, recipe, mean, scale, train, validation, test, settings)

    def warm_up(self) -> None:
        """Train a copy on a few batches, so that the kernels are compiled and loaded."""
        X, y = self.train
        m, batch = X.shape[1], self.settings["batch_size"]
        few = min(m, WARM_UP_BATCHES * batch + m % batch)  # the last batch is a smaller one
        validation = self.validation
        if validation and not isinstance(validation[0], np.ndarray):
            validation = _first(few, *validation)
        net = DNN(**self.net.config())
        with suppress(DivergenceError):  # to be reported by the training itself
            self._fit(net, _first(few, X, y), validation, epochs=1, checkpoint=None)

    def fit(self, verbose: int) -> KeyboardInterrupt | DivergenceError | None:
        """Train; returns what ended it early, if anything did.

        However it ended, the network gives y in its own unit then.
        """
        ended: KeyboardInterrupt | DivergenceError | None = None
        try:
            self._fit(self.net, self.train, self.validation, verbose=verbose)
        except (KeyboardInterrupt, DivergenceError) as error:
            ended = error
        last = len(self.net.layer_dims) - 1
        W, b = self.net.parameters[f"W{last}"], self.net.parameters[f"b{last}"]
        W *= self.target_scale
        b[...] = b * self.target_scale + self.target_mean
        return ended

    def _fit(self, net: DNN, train: Pair, validation: Pair | None, **settings: Any) -> None:
        held = validation and (validation[0], self._targets(validation[1]))
        net.fit(
            train[0], self._targets(train[1]), validation_data=held,
            **{**self.settings, **settings},
        )  # fmt: skip

    def _targets(self, y: NDArray[Any]) -> NDArray[Any]:
        if self.net.output_activation != "identity":
            return y
        return (y.reshape(len(self.target_mean), -1) - self.target_mean) / self.target_scale


def outputs(
    wanted: str | None, name: str, y: NDArray[Any], class_names: tuple[str, ...] | None
) -> tuple[int, str]:
    """Number and activation of the outputs that suit labels y.

    Classes (m,) get a sigmoid if there are two, else a softmax; numbers (m,) or (n_y, m) get
    identities; 0 and 1 in several rows get a softmax if each column has a single 1, else sigmoids.

    Raises
    ------
    ValueError
        If there is nothing to tell apart.
    UsageError
        If the labels do not go with the activation ``wanted``.
    """
    if y.ndim == 1 and class_names is not None:
        if np.unique(y).size < 2:
            raise ValueError(
                f"{name} has only the class {class_names[int(y[0])]!r}, expected at least two"
            )
        count = len(class_names)
        output = wanted or ("sigmoid" if count == 2 else "softmax")
        if output == "identity":
            raise UsageError("--output identity is for a regression: use --task regression")
        if output == "sigmoid" and count > 2:
            raise UsageError(f"--output sigmoid is for two classes, {name} has {count}")
        return (1 if output == "sigmoid" else count), output
    if y.ndim == 1:
        if wanted not in (None, "identity"):
            raise UsageError(
                f"--output {wanted} is for classes, the labels of {name} are quantities: "
                "use --task classification if they are not"
            )
        return 1, "identity"
    found = "identity"
    if np.isin(y, (0, 1)).all():
        found = "softmax" if (y.sum(axis=0) == 1).all() else "sigmoid"
    return len(y), wanted or found


def _check_quantities(name: str, y: NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Raise ValueError for labels that a network of that type could not give."""
    largest = float(np.abs(y).max())
    limit = min(LARGEST_TARGET, float(np.finfo(dtype).max) / LARGEST_WEIGHT)
    if largest > limit:
        raise ValueError(
            f"the labels of {name} reach {largest:g}, a network of {dtype} takes them up to "
            f"{limit:.0e}"
        )


def _batch_size(examples: int) -> int:
    return min(BATCH, max(SMALLEST_BATCH, examples // FEWEST_STEPS))


def _read_if_small(X: Examples, dtype: np.dtype[Any]) -> Examples:
    if isinstance(X, np.ndarray) or math.prod(X.shape) * dtype.itemsize >= loading.LAZY_BYTES:
        return X
    return np.concatenate([rows.T for rows in whole_blocks(X, dtype=dtype)], axis=1)


def _first(count: int, X: Examples, y: NDArray[Any]) -> Pair:
    """The first examples, of a source read into memory."""
    m = min(count, X.shape[1])
    return (X[:, :m] if isinstance(X, np.ndarray) else X.read(0, m).T), y[..., :m]


def _hold_out(
    option: str, X: Examples, y: NDArray[Any], share: float, seed: int
) -> tuple[Examples, NDArray[Any], Pair]:
    """X and y without a share of the examples, and that share; of each class alike."""
    stratify = y.ndim == 1 and y.dtype.kind == "i"
    m = X.shape[1]
    if not 0 < round(m * share) < m:
        raise ValueError(
            f"{option} {share:g} of {m} examples is {round(m * share)}, expected 1 to {m - 1}"
        )
    try:
        X, X_held, y, y_held = train_test_split(X, y, share, seed, stratify=stratify)
    except ValueError as error:
        # What follows is an argument of the function, which the command has not.
        raise ValueError(f"{option} {share:g}: {str(error).partition(';')[0]}") from error
    return X, y, (X_held, y_held)
