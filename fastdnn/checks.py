"""Every validation of the package and its message.

A check takes a name and a value, and either hands back what compiled code may use or raises:
``TypeError`` for the wrong kind of thing, ``ValueError`` for the right kind with a wrong value. The
message names the argument, says what it was, and what it should be. Checks are small and compose::

    X = finite("X", float_array("X", X, dtype=np.float32))

Arrays come back aligned, in native byte order, as float32 or float64; whether they must be
contiguous as well is the caller's business. What the caller passed is never written to, and is
handed back itself where nothing had to be converted.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]

FLOAT_TYPES = (np.dtype(np.float32), np.dtype(np.float64))

CHUNK = 1 << 16
"""Elements looked at in one go, so that a check of any array needs a few 100 KiB and no more."""

PROBABILITY_LOSSES = ("binary_crossentropy", "categorical_crossentropy")
"""Losses whose targets are probabilities; those of every other loss may be any real number."""


def float_dtype(name: str, value: object) -> np.dtype[Any]:
    """Precision to compute in: the native float32 or float64 that `value` names.

    >>> float_dtype("dtype", "float32")
    dtype('float32')
    """
    if value is not None:  # which NumPy would take for float64
        try:
            return FLOAT_TYPES[FLOAT_TYPES.index(np.dtype(cast("DTypeLike", value)))]
        except (TypeError, ValueError):
            pass
    raise ValueError(f"{name} is {_short(value)}, expected 'float32' or 'float64'")


def float_array(
    name: str, value: object, *, dtype: object = None, ndim: int | tuple[int, ...] = 2
) -> FloatArray:
    """Non-empty array of real numbers, native and aligned, float32 or float64.

    Parameters
    ----------
    name : str
        What the caller calls the argument.
    value : array_like
        Real numbers. Integers, bools and float16 are cast once.
    dtype : float32 or float64, optional
        Precision to cast to. Without it float32 and float64 keep theirs and the rest becomes
        float64.
    ndim : int or tuple of int
        Accepted numbers of dimensions.

    Returns
    -------
    ndarray
        `value` itself where it already fits: any strides, perhaps read-only.

    Raises
    ------
    TypeError
        `value` is masked, complex, of extended precision, or not made of numbers.
    ValueError
        `value` is ragged, empty, or has another number of dimensions.

    Examples
    --------
    >>> float_array("X", [[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]])
    """
    array = _number_array(name, value)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        hint = f"; {name}.reshape(-1, 1) is one column" if array.ndim == 1 and 2 in allowed else ""
        expected = " or ".join(f"{n}-d" for n in allowed)
        raise ValueError(f"{name} has shape {array.shape}, expected a {expected} array{hint}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one element")
    target = float_dtype("dtype", dtype) if dtype is not None else _own_precision(array)
    if array.dtype != target:
        with np.errstate(over="ignore", invalid="ignore"):  # 1e300 becomes inf: `finite` reports it
            array = array.astype(target)
    return array if array.flags.aligned else array.copy()


def _number_array(name: str, value: object) -> NDArray[Any]:
    """`value` as an array of any real number type of up to 64 bits."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, expected a plain one: use {name}.filled(...)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} does not form an array of numbers: {error}") from None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{name} has dtype {array.dtype} (a {type(value).__name__}), "
            "expected real numbers: float32, float64 or integers"
        )
    return array


def _own_precision(array: NDArray[Any]) -> np.dtype[Any]:
    float32, float64 = FLOAT_TYPES
    return float32 if array.dtype.newbyteorder("=") == float32 else float64


def finite(name: str, array: FloatArray) -> FloatArray:
    """Hand back `array` if it holds neither NaN nor infinity.

    >>> finite("X", np.array([[1.0, np.nan]]))
    Traceback (most recent call last):
    ...
    ValueError: X[0, 1] is nan, expected finite float64 numbers
    """
    if array.size <= CHUNK or not _finite_squares(array):
        index = _first(array, lambda chunk: ~np.isfinite(chunk))
        if index is not None:
            raise ValueError(
                f"{_at(name, index)} is {array[index]}, expected finite {array.dtype} numbers"
            )
    return array


def _finite_squares(array: FloatArray) -> bool:
    """Whether the sum of squares is finite, so that every element is.

    BLAS reads a large array 2 to 4 times faster than `isfinite`, at memory bandwidth on all cores.
    The converse does not hold: the squares of finite numbers may overflow.
    """
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        return False
    flat = array.ravel(order="K")
    with np.errstate(all="ignore"):
        return math.isfinite(np.dot(flat, flat))


def _first(
    array: NDArray[Any], is_bad: Callable[[NDArray[Any]], NDArray[np.bool_]]
) -> tuple[int, ...] | None:
    """Index of the first bad element in reading order, whatever the strides, or None."""
    if array.size <= CHUNK and not np.count_nonzero(is_bad(array)):
        return None  # 3 microseconds instead of the loop's 10: small steps are checked as well
    start = 0
    for chunk in np.nditer(
        array, ["external_loop", "buffered", "zerosize_ok"], order="C", buffersize=CHUNK
    ):
        bad = is_bad(cast("NDArray[Any]", chunk))
        if bad.any():
            position = np.unravel_index(start + int(bad.argmax()), array.shape)
            return tuple(int(i) for i in position)
        start += bad.size
    return None


def shape(name: str, array: NDArray[Any], expected: tuple[int | str, ...]) -> None:
    """Raise unless the shape is the expected one, in which a letter stands for any size.

    >>> shape("X", np.zeros((5, 3)), (4, "m"))
    Traceback (most recent call last):
    ...
    ValueError: X has shape (5, 3), expected (4, m)
    """
    if not _fits(array.shape, expected):
        hint = f"; {name}.T has that shape" if _fits(array.shape[::-1], expected) else ""
        raise ValueError(f"{name} has shape {array.shape}, expected {_written(expected)}{hint}")


def _fits(got: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    if len(got) != len(expected):
        return False
    for have, want in zip(got, expected, strict=True):
        if have != want and not isinstance(want, str):
            return False
    return True


def columns(name: str, value: object, n: int | None = None, *, dtype: object = None) -> FloatArray:
    """Examples as columns: finite numbers of shape (n, m), m >= 1; any n where it is None."""
    array = float_array(name, value, dtype=dtype)
    if n is not None:
        shape(name, array, (n, "m"))
    return finite(name, array)


def labels(
    value: object, n_y: int, m: int, loss: str, dtype: object, *, name: str = "Y"
) -> FloatArray:
    """Targets of m examples for n_y outputs, as an array of shape (n_y, m).

    Parameters
    ----------
    value : array_like
        Targets of shape (n_y, m); of shape (m,) for one output; or, for the categorical
        cross-entropy, integer class indices of shape (m,), which become one-hot columns.
    n_y, m : int
        Outputs of the network and examples in X. Nothing is ever broadcast to them.
    loss : str
        Name of the loss. Cross-entropies take targets between 0 and 1 (soft ones included),
        other losses any finite number.
    dtype : float32 or float64
        Precision of the result.

    Raises
    ------
    TypeError
        The targets are not real numbers, or class indices are not integers.
    ValueError
        The shape does not fit, a target is not finite, or out of range for the loss.

    Examples
    --------
    >>> labels([2, 0], 3, 2, "categorical_crossentropy", "float32")
    array([[0., 1.],
           [0., 0.],
           [1., 0.]], dtype=float32)
    """
    given = _number_array(name, value)
    categorical = loss == "categorical_crossentropy"
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
    index = _first(array, lambda chunk: ~((chunk >= 0) & (chunk <= 1)))  # NaN is neither
    if index is not None:
        raise ValueError(
            f"{_at(name, index)} is {array[index]}, expected targets between 0 and 1 for {loss}"
        )
    return array.reshape(n_y, m)


def _one_hot(name: str, classes: NDArray[Any], n_y: int, dtype: object) -> FloatArray:
    if classes.dtype.kind == "f":
        raise TypeError(
            f"{name} has dtype {classes.dtype}, expected integer class indices: "
            f"use {name}.astype(int)"
        )
    index = _first(classes, lambda chunk: (chunk < 0) | (chunk >= n_y))
    if index is not None:
        raise ValueError(
            f"{_at(name, index)} is {classes[index]}, expected a class from 0 to {n_y - 1}"
        )
    one_hot = np.zeros((n_y, classes.size), float_dtype("dtype", dtype))
    one_hot[classes.astype(np.intp), np.arange(classes.size)] = 1
    return one_hot


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
            f"{name} has the keys {_listed(value) or '(none)'}, expected {_listed(keys)}"
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


def choice(name: str, value: object, allowed: Collection[str]) -> str:
    """One of the allowed names: an activation, a loss, an initialisation, an optimizer.

    >>> choice("loss", "mes", ["binary_crossentropy", "mse"])
    Traceback (most recent call last):
    ...
    ValueError: loss is 'mes', expected one of binary_crossentropy, mse; did you mean 'mse'?
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is {_short(value)}, expected one of {_listed(allowed)}")
    if value not in allowed:
        close = difflib.get_close_matches(value.lower(), allowed, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name} is {_short(value)}, expected one of {_listed(allowed)}{hint}")
    return value


def hidden_activations(
    value: object, n_hidden: int, allowed: Collection[str], *, name: str = "hidden_activation"
) -> tuple[str, ...]:
    """One activation for each of n_hidden layers, from one name for all or a name for each."""
    if isinstance(value, str):
        return (choice(name, value, allowed),) * n_hidden
    entries = _entries(name, value, "a name or one name per hidden layer")
    if len(entries) != n_hidden:
        raise ValueError(f"{name} has {len(entries)} names, expected {n_hidden} (or one for all)")
    return tuple(choice(_at(name, (i,)), entry, allowed) for i, entry in enumerate(entries))


def layer_dims(value: object, *, name: str = "layer_dims") -> tuple[int, ...]:
    """Sizes of the layers n_x, ..., n_y: at least two whole numbers, all positive.

    >>> layer_dims([64, 128, 10])
    (64, 128, 10)
    """
    entries = _entries(name, value, "layer sizes (n_x, ..., n_y)")
    if len(entries) < 2:
        raise ValueError(f"{name} is {_short(value)}, expected at least two sizes (n_x, ..., n_y)")
    return tuple(whole_number(_at(name, (i,)), entry) for i, entry in enumerate(entries))


def whole_number(name: str, value: object, *, at_least: int = 1) -> int:
    """Integer no smaller than `at_least`; neither a bool nor a float that happens to be whole."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {_short(value)}, expected a whole number >= {at_least}")
    number = operator.index(value)
    if number < at_least:
        raise ValueError(f"{name} is {number}, expected a whole number >= {at_least}")
    return number


def n_threads(value: object, *, name: str = "n_threads") -> int | None:
    """Positive number of threads, or None for the default."""
    return None if value is None else whole_number(name, value)


def seed(value: object, *, name: str = "seed") -> int | None:
    """Seed that NumPy's legacy stream takes, 0 to 2**32 - 1, or None for a fresh one."""
    if value is None:
        return None
    number = whole_number(name, value, at_least=0)
    if number >= 2**32:
        raise ValueError(f"{name} is {number}, expected a whole number below 2**32")
    return number


def real_number(
    name: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """Finite Python float within the given bounds.

    >>> real_number("weight_decay", -1, at_least=0)
    Traceback (most recent call last):
    ...
    ValueError: weight_decay is -1, expected a finite number >= 0
    """
    simple = type(value) is float and at_least is not None and above is below is None
    if simple and at_least <= value < math.inf:  # type: ignore[operator]
        return value  # type: ignore[return-value]  # the learning rate of every step: no words needed
    bounds = [
        (sign, holds, bound)
        for sign, holds, bound in (
            (">=", operator.ge, at_least),
            (">", operator.gt, above),
            ("<", operator.lt, below),
        )
        if bound is not None
    ]
    limits = " and ".join(f"{sign} {bound}" for sign, _, bound in bounds)
    expected = f"{name} is {_short(value)}, expected a finite number {limits}".rstrip()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(expected)
    try:
        number = float(value)
    except OverflowError:  # an int beyond the largest float
        number = math.inf
    if not math.isfinite(number) or not all(holds(number, bound) for _, holds, bound in bounds):
        raise ValueError(expected)
    return number


def learning_rate(value: object, *, name: str = "learning_rate") -> float:
    """Finite and not negative; 0 is allowed and leaves the parameters where they are."""
    return real_number(name, value, at_least=0)


def probability(name: str, value: object) -> float:
    """At least 0 and below 1: a share that is dropped, decays or is held out, never all of it."""
    return real_number(name, value, at_least=0, below=1)


def _entries(name: str, value: object, expected: str) -> tuple[object, ...]:
    try:
        return tuple(cast("Iterable[object]", value))
    except TypeError:
        raise TypeError(f"{name} is {_short(value)}, expected {expected}") from None


def _at(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]"


def _written(expected: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, expected))}{',' if len(expected) == 1 else ''})"


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))


def _short(value: object) -> str:
    return reprlib.repr(value)
