"""Examples and labels from the files a command is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn import DNN
from fastdnn.data import Dataset, load_dataset, load_digits_dataset
from fastdnn.data.loading import TABLES, plain_name
from fastdnn.data.tables import named_or_numbered

from .recipe import Examples, Recipe

DIGITS = "digits"


def load_labelled(
    name: str, *, target: str | None = None, features: str | None = None, task: Any = "auto"
) -> Dataset:
    """The data set ``digits``, or the file of that name; of a large one X is left there."""
    if name == DIGITS and not Path(name).exists():
        return load_digits_dataset()
    return load_dataset(name, target=_target(name, target), features=features, task=task)


def load_examples(name: str, net: DNN, recipe: Recipe, features: str | None) -> Examples:
    """Examples of shape (n_x, m), from a file that may or may not hold labels too.

    Raises
    ------
    ValueError
        If the file cannot be read either way, or does not hold n_x features an example.
    """
    if name == DIGITS and not Path(name).exists():
        return load_digits_dataset().X
    n_x = net.layer_dims[0]
    # Without labels nothing says which axis counts the examples, but n_x does.
    readings: list[dict[str, Any]] = [{"labelled": False}]
    if Path(name).suffix.lower() in TABLES:
        readings.append({"target": _target(name, recipe.target)})
    else:
        readings.append({"labelled": False, "layout": "columns"})
    problem: Exception | None = None
    for reading in readings:
        try:
            X = load_dataset(name, features=features, **reading).X
        except ValueError as error:
            problem = problem or error
            continue
        if X.shape[0] == n_x:
            return X
        problem = problem or _other_features(name, X, net)
    assert problem is not None
    raise problem


def check_features(name: str, X: Examples, net: DNN) -> None:
    """Raise ValueError unless the examples of a file have as many features as the network takes."""
    if X.shape[0] != net.layer_dims[0]:
        raise _other_features(name, X, net)


def _other_features(name: str, X: Examples, net: DNN) -> ValueError:
    return ValueError(
        f"{name} has {X.shape[0]} features an example, the model takes {net.layer_dims[0]}"
    )


def targets_of(dataset: Dataset, net: DNN, recipe: Recipe) -> NDArray[Any]:
    """The labels of a data set as the network takes them: its own numbers of classes, or numbers.

    Raises
    ------
    ValueError
        For a class that the network was not trained on.
    """
    y = labels_of(dataset)
    if y.ndim == 2:
        return y
    if recipe.class_names:
        return _named_classes(dataset.name, y, dataset.class_names or (), recipe.class_names)
    if net.loss == "categorical_crossentropy":
        return _numbered_classes(dataset.name, y, net.layer_dims[-1])
    return y


def _named_classes(
    name: str, y: NDArray[Any], present: tuple[str, ...], known: tuple[str, ...]
) -> NDArray[Any]:
    """Classes y of a file, which numbers those that happen to be in it, as a model numbers them."""
    numbers = np.zeros(len(present), np.int64)
    for i in np.unique(y).tolist():
        found = _known(present[i], known)
        if found is None:
            raise ValueError(
                f"{name} has the class {present[i]!r}, the model knows {', '.join(known)}"
            )
        numbers[i] = found
    return numbers.take(y)


def _numbered_classes(name: str, y: NDArray[Any], count: int) -> NDArray[Any]:
    """Numbers y as the classes that they count."""
    strange = y[~np.isin(y, np.arange(count))]
    if strange.size:
        raise ValueError(f"{name} has the class {strange[0]:g}, the model knows 0 to {count - 1}")
    return y.astype(np.int64)


def _known(name: str, known: tuple[str, ...]) -> int | None:
    """Where a class stands among those of a model: as it is written, else as a number is."""
    if name in known:
        return known.index(name)
    same = [i for i, other in enumerate(known) if plain_name(other) == plain_name(name)]
    return same[0] if len(same) == 1 else None


def labels_of(dataset: Dataset) -> NDArray[Any]:
    """The labels, which a file read with labels has."""
    assert dataset.y is not None
    return dataset.y


def _target(name: str, target: str | None) -> Any:
    """A target as `load_dataset` takes it: a name, a column's number, or a file of labels."""
    if target is None:
        return None
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in TABLES and path.exists():
        return named_or_numbered(path, target)
    return Path(target) if suffix == ".npy" else target
