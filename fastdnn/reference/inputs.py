"""What every function of the reference does with its arguments first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Entry = TypeVar("Entry")


def as_float(values: npt.ArrayLike) -> Array:
    """Float32 and float64 stay what they are; everything else is cast to float64.

    Integers wrap around (``-np.uint8(1)`` is 255) and float16 overflows at 65504: neither is
    fit for computing.

    Examples
    --------
    >>> as_float([[0, 1]]).dtype.name, as_float(np.ones(2, np.float32)).dtype.name
    ('float64', 'float32')
    """
    array = np.asarray(values)
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4
    return np.asarray(array, dtype=np.float32 if single else np.float64)


def one_hot(labels: npt.ArrayLike, n_y: int) -> Array:
    """Class indices (m,) as columns of the identity matrix (n_y, m).

    Raises
    ------
    ValueError
        If the labels are not integers, or not all in 0 ... n_y - 1.

    Examples
    --------
    >>> one_hot([0, 2], 3)
    array([[1., 0.],
           [0., 0.],
           [0., 1.]])
    """
    indices = np.asarray(labels)
    if indices.dtype.kind not in "iu":
        raise ValueError(f"class labels must be integers, not {indices.dtype}")
    if np.any((indices < 0) | (indices >= n_y)):
        raise ValueError(f"class labels must lie in 0 ... {n_y - 1}")
    columns: Array = np.arange(n_y)[:, np.newaxis] == indices
    return columns.astype(np.float64)


def targets(Y: npt.ArrayLike, AL: Array) -> Array:
    """Bring Y into the shape and dtype of the network's output AL (n_y, m).

    Labels (m,) become a row (1, m) when there is one output and one-hot columns when there are
    more; they are never broadcast to (m, m).

    Raises
    ------
    ValueError
        If Y does not fit AL.

    Examples
    --------
    >>> targets([1, 0], np.zeros((1, 2)))
    array([[1., 0.]])
    """
    Y = np.asarray(Y)
    if Y.ndim == 1:
        Y = Y[np.newaxis, :] if AL.shape[0] == 1 else one_hot(Y, AL.shape[0])
    if Y.shape != AL.shape:
        raise ValueError(f"Y has shape {Y.shape}, expected {AL.shape} or ({AL.shape[1]},) labels")
    return Y.astype(AL.dtype)


def chosen(table: Mapping[str, Entry], name: str, kind: str) -> Entry:
    """Look a name up in a registry; `kind` says in the message what it is the name of.

    Raises
    ------
    ValueError
        If the registry has no such name; the message lists those it has.

    Examples
    --------
    >>> chosen({"relu": max}, "relu", "activation")
    <built-in function max>
    """
    if name not in table:
        raise ValueError(f"{kind} is {name!r}, expected one of {', '.join(map(repr, table))}")
    return table[name]


def layer_activations(
    hidden_activation: str | Sequence[str], output_activation: str, n_layers: int
) -> list[str]:
    """One activation name per layer: the hidden ones, then the output's.

    Raises
    ------
    ValueError
        If a sequence of hidden activations does not have n_layers - 1 names.

    Examples
    --------
    >>> layer_activations("relu", "sigmoid", 3)
    ['relu', 'relu', 'sigmoid']
    """
    if isinstance(hidden_activation, str):
        hidden_activation = [hidden_activation] * (n_layers - 1)
    if len(hidden_activation) != n_layers - 1:
        raise ValueError(
            f"hidden_activation names {len(hidden_activation)} layers, "
            f"the network has {n_layers - 1} hidden layers"
        )
    return [*hidden_activation, output_activation]
