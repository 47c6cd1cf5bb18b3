"""Examples and labels from the files a command is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastdnn import DNN
from fastdnn.data import Dataset, load_dataset, load_digits_dataset
from fastdnn.data.loading import TABLES, plain_name
from fastdnn.data.tables import head_of, named_or_numbered, names_columns

from .recipe import Examples, Recipe

DIGITS = "digits"
LAYOUTS: tuple[Literal["auto", "columns"], ...] = ("auto", "columns")


def load_labelled(
    name: str, *, target: str | None = None, features: str | None = None, task: Any = "auto"
) -> Dataset:
    """The data set ``digits``, or the file of that name; of a large one X is left there."""
    if name == DIGITS and not Path(name).exists():
        return load_digits_dataset()
    return load_dataset(name, target=_target(name, target), features=features, task=task)


def load_known(
    name: str, recipe: Recipe, *, target: str | None, features: str | None, task: Any
) -> Dataset:
    """Examples and labels for a network: of a table the columns that it was trained on, by name."""
    table = Columns.of(name, recipe)
    if table is None:
        return load_labelled(name, target=target or recipe.target, features=features, task=task)
    if target is not None:
        label = _target(name, target)
    elif table.features is not None and recipe.target_name is not None:
        label = recipe.target_name
    else:
        label = table.label
    return load_dataset(name, target=label, features=features, columns=table.features, task=task)


def load_examples(name: str, net: DNN, recipe: Recipe, features: str | None) -> Examples:
    """Examples of shape (n_x, m), from a file that may or may not hold labels too.

    Raises
    ------
    ValueError
        If the file cannot be read, or does not hold the n_x features of an example.
    """
    if name == DIGITS and not Path(name).exists():
        return load_digits_dataset().X
    table = Columns.of(name, recipe)
    if table is not None:
        X = table.examples(name, net.layer_dims[0], features)
        check_features(name, X, net)
        return X
    # Nothing says which axis of an array counts the examples, but n_x does.
    problem: Exception | None = None
    for layout in LAYOUTS:
        try:
            X = load_dataset(name, features=features, labelled=False, layout=layout).X
            check_features(name, X, net)
        except ValueError as error:
            problem = problem or error
        else:
            return X
    assert problem is not None
    raise problem


@dataclass(frozen=True)
class Columns:
    """Which columns of a table a network takes.

    Attributes
    ----------
    first : list of str
        Cells of the first line.
    features : tuple of str, or None
        Their names; None for all beside the label, in their order.
    label : str, int or None
        Where the labels stand as `load_dataset` takes it, if there are any.
    """

    first: list[str]
    features: tuple[str, ...] | None
    label: Any

    @classmethod
    def of(cls, name: str, recipe: Recipe) -> Columns | None:
        """What the first line of a file tells, if it is a table."""
        path = Path(name)
        if path.suffix.lower() not in TABLES or not path.is_file():
            return None
        first, _ = head_of(path)
        names = recipe.feature_names
        known = recipe.target_name in first
        return cls(
            first,
            names if names and names_columns(path, names) else None,
            recipe.target_name if known else _target(name, recipe.target),
        )

    def examples(self, name: str, n_x: int, array: str | None) -> Examples:
        """All features, the labels left out: known by their name, or as what is one too many."""
        reading: dict[str, Any] = {"labelled": False}
        count = len(self.first)
        if self.features is not None:
            reading["columns"] = self.features
        elif self.label in self.first or (count == n_x + 1 and not isinstance(self.label, str)):
            reading = {"target": -1 if self.label is None else self.label}
        elif self.first and count != n_x:
            labels = f", and none called {self.label!r}" if isinstance(self.label, str) else ""
            raise ValueError(f"{_other_features(name, count, n_x)}{labels}")
        return load_dataset(name, features=array, **reading).X


def check_features(name: str, X: Examples, net: DNN) -> None:
    """Raise ValueError unless the examples of a file have as many features as the network takes."""
    if X.shape[0] != net.layer_dims[0]:
        raise ValueError(_other_features(name, X.shape[0], net.layer_dims[0]))


def _other_features(name: str, count: int, n_x: int) -> str:
    return f"{name} has {count} features an example, the model takes {n_x}"


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
