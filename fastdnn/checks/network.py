"""What has to fit a network: layers, activations, parameters, and the targets of its loss."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from numbers import Integral
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .arrays import (
    CHUNK,
    FloatArray,
    finite,
    first_bad,
    float_array,
    float_dtype,
    number_array,
    shape,
)
from .settings import choice, real_number, whole_number
from .wording import element, listed, short

PROBABILITY_LOSSES = ("binary_crossentropy", "categorical_crossentropy")
"""Losses whose targets are probabilities; those of every other loss may be any real number."""

SUM_TOLERANCE = 1e-3
"""How far the probabilities of an example may be from 1 together: the rounding of float16."""


def layer_dims(value: object, *, name: str = "layer_dims") -> tuple[int, ...]:
    """Sizes of the layers n_x, ..., n_y: at least two whole numbers, all positive.

    >>> layer_dims([64, 128, 10])
    (64, 128, 10)
    """
    entries = _entries(name, value, "layer sizes (n_x, ..., n_y)")
    if len(entries) < 2:
        raise ValueError(f"{name} is {short(value)}, expected at least two sizes (n_x, ..., n_y)")
    return tuple(whole_number(element(name, (i,)), entry) for i, entry in enumerate(entries))


def hidden_sizes(name: str, value: object) -> tuple[int, ...]:
    """Units of each hidden layer, of which there may be none; one number for a single one.

    >>> hidden_sizes("hidden_layer_sizes", 100)
    (100,)
    """
    expected = "a whole number of units, or one for each hidden layer"
    entries = (value,) if isinstance(value, Integral) else _entries(name, value, expected)
    return tuple(whole_number(element(name, (i,)), entry) for i, entry in enumerate(entries))


def hidden_activations(
    value: object, n_hidden: int, allowed: Collection[str], *, name: str = "hidden_activation"
) -> tuple[str, ...]:
    """One activation for each of n_hidden layers, from one name for all or a name for each."""
    if isinstance(value, str):
        return (choice(name, value, allowed),) * n_hidden
    entries = _entries(name, value, "a name or one name per hidden layer")
    if len(entries) != n_hidden:
        raise ValueError(f"{name} has {len(entries)} names, expected {n_hidden} (or one for all)")
    return tuple(choice(element(name, (i,)), entry, allowed) for i, entry in enumerate(entries))


def parameters(value: object, *, dtype: object = None, name: str = "parameters") -> dict[str, Any]:
    """Parameters of a network, checked: W1 (n1, n0), b1 (n1, 1), ... WL, bL of one precision.

    Parameters
    ----------
    value : mapping of str to array_like
        Left as it is; the result is a new dict, in the order of the layers.
    dtype : float32 or float64, optional
        Precision to cast all of them to. Without it they must agree.

    Raises
    ------
    TypeError
        `value` is no mapping, an entry does not hold real numbers, or precisions differ.
    ValueError
        Keys are missing or unknown, shapes do not chain, or a number is not finite.
    """
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name} is a {type(value).__name__}, expected a dict of W1, b1, ... WL, bL"
        )
    layers = range(1, max(1, (len(value) + 1) // 2) + 1)
    keys = [f"{kind}{layer}" for layer in layers for kind in "Wb"]
    if set(value) != set(keys):
        raise ValueError(
            f"{name} has the keys {listed(value) or '(none)'}, expected {listed(keys)}"
        )
    checked: dict[str, FloatArray] = {}
    n_prev: int | str = "n0"
    for layer in layers:
        W = float_array(f"W{layer}", value[f"W{layer}"], dtype=dtype)
        b = float_array(f"b{layer}", value[f"b{layer}"], dtype=dtype, ndim=(1, 2))
        shape(f"W{layer}", W, (f"n{layer}", n_prev))
        n_prev = W.shape[0]
        shape(f"b{layer}", b, (n_prev, 1))
        checked |= {f"W{layer}": W, f"b{layer}": b}
    for key, array in checked.items():
        if array.dtype != checked["W1"].dtype:
            raise TypeError(
                f"{key} has dtype {array.dtype} and W1 {checked['W1'].dtype}, "
                f"expected one precision: use {key}.astype({checked['W1'].dtype.name!r})"
            )
        finite(key, array)
    return checked


def labels(
    value: object, n_y: int, m: int, loss: str, dtype: object, *, name: str = "Y"
) -> FloatArray:
    """Targets of m examples for n_y outputs, as an array of shape (n_y, m).

    Parameters
    ----------
    value : array_like
        Targets of shape (n_y, m); of shape (m,) for one output; or, for the categorical
        cross-entropy, integer class indices of shape (m,) or, where there are several outputs,
        (1, m), which become one-hot columns.
    n_y, m : int
        Outputs of the network and examples in X. Nothing is ever broadcast to them.
    loss : str
        Name of the loss. Cross-entropies take targets between 0 and 1 (soft ones included), those
        of the categorical one sum to 1 for each example, up to the rounding of float16: only then
        is AL - Y its gradient. Other losses take any finite number.
    dtype : float32 or float64
        Precision of the result.

    Raises
    ------
    TypeError
        The targets are not real numbers, or class indices are not integers.
    ValueError
        The shape does not fit, a target is not finite, or out of range for the loss, or those of
        an example do not sum to 1.

    Examples
    --------
    >>> labels([2, 0], 3, 2, "categorical_crossentropy", "float32")
    array([[0., 1.],
           [0., 0.],
           [1., 0.]], dtype=float32)
    """
    given = number_array(name, value)
    categorical = loss == "categorical_crossentropy"
    if categorical and n_y > 1 and given.shape == (1, m) and given.dtype.kind != "f":
        given = given[0]  # as the notebooks have their labels
    short_form = "labels" if n_y == 1 else "class indices" if categorical else ""
    if given.shape != (n_y, m) and not (short_form and given.shape == (m,)):
        expected = f"({n_y}, {m})" + (f" or ({m},) {short_form}" if short_form else "")
        hint = f"; examples are columns, use {name}.T" if given.shape == (m, n_y) else ""
        raise ValueError(f"{name} has shape {given.shape}, expected {expected}{hint}")
    if categorical and given.ndim == 1 and (n_y > 1 or given.dtype.kind != "f"):
        return _one_hot(name, given, n_y, dtype)
    array = float_array(name, given, dtype=dtype, ndim=(1, 2))
    if loss not in PROBABILITY_LOSSES:
        return finite(name, array).reshape(n_y, m)
    if not (categorical and _one_of_each(array)):
        index = first_bad(array, lambda chunk: ~((chunk >= 0) & (chunk <= 1)))  # NaN is neither
        if index is not None:
            place, expected = element(name, index), f"targets between 0 and 1 for {loss}"
            raise ValueError(f"{place} is {array[index]}, expected {expected}")
        if categorical:
            _distributions(name, array.reshape(n_y, m))
    return array.reshape(n_y, m)


def _one_of_each(array: FloatArray) -> bool:
    """Whether columns sum to exactly 1, for sure: few microseconds, as small steps are checked too.

    Where no number is negative, none is larger than the sum then.
    """
    if array.ndim != 2 or array.size > CHUNK or np.count_nonzero(array < 0):
        return False
    ones = int(np.count_nonzero(np.add.reduce(array, axis=0) == 1))
    return ones == int(array.shape[1])


def _distributions(name: str, targets: FloatArray) -> None:
    """Raise at the first column that does not sum to 1."""
    sums = np.add.reduce(targets, axis=0)
    index = first_bad(sums, lambda chunk: np.abs(chunk - 1) > SUM_TOLERANCE)
    if index is not None:
        raise ValueError(
            f"{name}[:, {index[0]}] sums to {sums[index]:g}, expected 1 for a softmax: with "
            'several classes at once, use output_activation="sigmoid"'
        )


def probabilities(name: str, outputs: FloatArray, loss: str) -> None:
    """Raise where an output is a number outside 0 ... 1, as one before its sigmoid is.

    >>> probabilities("AL", np.array([[0.5, 1.5]]), "binary_crossentropy")
    Traceback (most recent call last):
    ...
    ValueError: AL[0, 1] is 1.5, expected probabilities from 0 to 1 for binary_crossentropy
    """
    index = first_bad(outputs, lambda chunk: (chunk < 0) | (chunk > 1))  # NaN is neither
    if index is not None:
        raise ValueError(
            f"{element(name, index)} is {outputs[index]}, expected probabilities from 0 to 1 for "
            f"{loss}"
        )


def class_weight(
    value: object, present: Collection[int], n_classes: int, dtype: np.dtype[Any]
) -> list[float] | None:
    """Factors of the classes that are present, as numbers of `dtype`; None for balanced ones.

    Parameters
    ----------
    value : "balanced" or mapping of int to float
        Factors of some of the classes, which are numbered from 0 to n_classes - 1; that of the
        others is 1.
    """
    if isinstance(value, str):
        choice("class_weight", value, ("balanced",))
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"class_weight is {short(value)}, expected 'balanced' or a dict of factors")
    for label, factor in value.items():
        if label not in range(n_classes):
            raise ValueError(
                f"class_weight has an entry for {short(label)}, expected classes from 0 to "
                f"{n_classes - 1}"
            )
        name = f"class_weight[{label}]"
        if real_number(name, factor, at_least=0) > float(np.finfo(dtype).max):
            raise ValueError(f"{name} {factor} does not fit in {dtype}")
    return [float(value.get(label, 1.0)) for label in present]


def _one_hot(name: str, classes: NDArray[Any], n_y: int, dtype: object) -> FloatArray:
    if classes.dtype.kind == "f":
        raise TypeError(
            f"{name} has dtype {classes.dtype}, expected integer class indices: "
            f"use {name}.astype(int)"
        )
    index = first_bad(classes, lambda chunk: (chunk < 0) | (chunk >= n_y))
    if index is not None:
        raise ValueError(
            f"{element(name, index)} is {classes[index]}, expected a class from 0 to {n_y - 1}"
        )
    one_hot = np.zeros((n_y, classes.size), float_dtype("dtype", dtype))
    one_hot[classes.astype(np.intp), np.arange(classes.size)] = 1
    return one_hot


def _entries(name: str, value: object, expected: str) -> tuple[object, ...]:
    try:
        return tuple(cast("Iterable[object]", value))
    except TypeError:
        raise TypeError(f"{name} is {short(value)}, expected {expected}") from None
