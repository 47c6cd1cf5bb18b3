"""Holding examples out for a test."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdnn import checks

from .sources import SelectedSource, Source

Examples: TypeAlias = "NDArray[Any] | Source"


def train_test_split(
    X: Examples,
    y: ArrayLike,
    test_fraction: float = 0.2,
    seed: int = 0,
    *,
    stratify: bool = True,
) -> tuple[Examples, Examples, NDArray[Any], NDArray[Any]]:
    """Split examples at random, each class in the same proportion.

    Parameters
    ----------
    X : ndarray of shape (n_x, m), or Source
    y : array_like of shape (m,) or (n_y, m)
    test_fraction : float
        Between 0 and 1, both excluded; round(m * test_fraction) examples are held out. Fewer are
        if `stratify` asks for more than leave one of every class.
    seed : int
        Below 2**32. The same seed gives the same split.
    stratify : bool
        Hold out the same share of every class, up to one example, and leave one of each. Of a
        single example that is none; what small classes cannot give, the others do, in proportion.
        Needs class labels: integers, or one-hot columns.

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        Copies, in random order; those of X keep each example contiguous in memory. Of a source
        the parts of X are sources, in the order of the file.

    Raises
    ------
    TypeError
        If X is neither, or the seed no whole number.
    ValueError
        If the shapes disagree, a part would be empty, y does not hold classes to stratify, or the
        seed is out of range.

    Examples
    --------
    >>> X, y = np.arange(10.0).reshape(1, 10), np.array([0, 1] * 5)
    >>> train_test_split(X, y, 0.4)[3].sum()
    np.int64(2)
    """
    if not isinstance(X, np.ndarray | Source):
        raise TypeError(f"X is {X!r:.60}, expected an ndarray of shape (n_x, m) or a Source")
    if not isinstance(X, np.ndarray):
        checks.source("X", X)
    y = np.asarray(y)
    if len(X.shape) != 2 or y.ndim not in (1, 2) or y.shape[-1] != X.shape[1]:
        raise ValueError(
            f"X has shape {X.shape} and y {y.shape}, expected (n_x, m) and (m,) or (n_y, m)"
        )
    m = X.shape[1]
    fraction = checks.real_number("test_fraction", test_fraction, above=0, below=1)
    n_test = round(m * fraction)
    if not 0 < n_test < m:
        raise ValueError(
            f"test_fraction {fraction} of {m} examples is {n_test}, expected 1 to {m - 1}"
        )
    rng = np.random.default_rng(checks.seed(seed))
    order = rng.permutation(m)
    test = _stratified(_classes(y)[order], n_test) if stratify else np.arange(m) < n_test
    train_indices, test_indices = order[~test], order[test]
    if not isinstance(X, np.ndarray):
        train_indices.sort()
        test_indices.sort()
        return (
            SelectedSource(X, train_indices),
            SelectedSource(X, test_indices),
            y[..., train_indices],
            y[..., test_indices],
        )
    return (
        X.T[train_indices].T,
        X.T[test_indices].T,
        y[..., train_indices],
        y[..., test_indices],
    )


def _classes(y: NDArray[Any]) -> NDArray[Any]:
    """Class of each example, from labels (m,), (1, m), or one-hot columns (n_y, m)."""
    if y.ndim == 2 and len(y) > 1:
        if not (np.isin(y, (0, 1)).all() and (y.sum(axis=0) == 1).all()):
            raise ValueError(f"y of shape {y.shape} is not one-hot; use stratify=False")
        classes: NDArray[Any] = y.argmax(axis=0)
        return classes
    y = y.reshape(-1)
    if y.dtype.kind == "f" and not (y == np.floor(y)).all():
        raise ValueError("y holds quantities, not classes; use stratify=False")
    return np.unique(y, return_inverse=True)[1]


def _stratified(classes: NDArray[Any], n_test: int) -> NDArray[np.bool_]:
    """Mask of n_test examples with each class in proportion (largest remainders first).

    Of every class one is left, so that there may be fewer.
    """
    counts = np.bincount(classes)
    spare = np.maximum(counts - 1, 0)
    n_test = min(n_test, int(spare.sum()))
    if n_test == 0:
        raise ValueError("no class has two examples to divide; use stratify=False")
    shares = _shares(counts, spare, n_test)
    quotas = np.floor(shares).astype(np.int64)
    by_remainder = np.argsort(quotas - shares, kind="stable")
    able = by_remainder[quotas[by_remainder] < spare[by_remainder]]
    quotas[able[: n_test - quotas.sum()]] += 1
    test = np.zeros(classes.size, dtype=bool)
    for label, quota in enumerate(quotas):
        test[np.flatnonzero(classes == label)[:quota]] = True
    return test


def _shares(counts: NDArray[Any], spare: NDArray[Any], n_test: int) -> NDArray[Any]:
    """How many of each class make n_test: in proportion, but none above what it can spare."""
    full = spare == 0
    while True:
        left = n_test - spare[full].sum()
        shares = np.where(full, spare, counts * (left / max(1, counts[~full].sum())))
        over = shares > spare
        if not over.any():
            return shares
        full |= over
