"""The split of a data set: every class in proportion, decided by the seed."""

from __future__ import annotations

import numpy as np
import pytest
from data_cases import CLASSES, ROWS

from fastdnn import data


@pytest.mark.parametrize("counts", [[50, 50], [7, 100, 13], [2, 2, 2], [1, 30, 9], [333]])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("form", ["labels", "row", "one-hot", "strings", "floats"])
def test_every_class_is_split_in_proportion(counts, fraction, form):
    y = np.repeat(np.arange(len(counts)), counts)
    m = y.size
    X = np.vstack([np.arange(m), y]).astype(np.float32)
    labels = {
        "labels": y,
        "row": y[None],
        "one-hot": np.eye(len(counts))[:, y],
        "strings": y.astype(str),
        "floats": y.astype(float),
    }[form]
    if not 0 < round(m * fraction) < m:
        pytest.skip("nothing to hold out")
    X_train, X_test, y_train, y_test = data.train_test_split(X, labels, fraction, seed=3)
    assert X_train.shape[1] + X_test.shape[1] == m
    np.testing.assert_array_equal(np.sort(np.hstack([X_train, X_test])[0]), np.arange(m))
    np.testing.assert_array_equal(labels[..., X_test[0].astype(int)], y_test)
    np.testing.assert_array_equal(labels[..., X_train[0].astype(int)], y_train)
    held_out = np.bincount(X_test[1].astype(int), minlength=len(counts))
    assert (np.abs(held_out - np.multiply(counts, fraction)) <= 1).all()
    assert (held_out < counts).all(), "every class is left in the training part"
    assert X_train.dtype == np.float32
    assert X_train.T.flags.c_contiguous


def test_the_number_held_out_is_the_one_asked_for():
    y = np.repeat(np.arange(10), 1797 // 10 + 1)[:1797]
    parts = data.train_test_split(y[None].astype(float), y, 0.2, seed=0)
    assert parts[1].shape == (1, round(1797 * 0.2))
    assert len(parts[3]) == round(1797 * 0.2)


@pytest.mark.parametrize(
    ("counts", "fraction", "held_out"),
    [
        ([2] * 50, 0.6, [1] * 50),  # 60 are asked for: one of each is left
        ([3] * 40, 0.7, [2] * 40),
        ([10] * 10, 0.95, [9] * 10),
        ([2] * 50 + [100], 0.6, [1] * 50 + [70]),  # what the small ones cannot give
        ([2] * 50 + [100, 50], 0.6, [1] * 50 + [67, 33]),  # in proportion
        ([1] * 20 + [40, 60], 0.25, [0] * 20 + [12, 18]),
        ([1, 3, 6], 0.8, [0, 2, 5]),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_class_keeps_one_and_the_others_make_up_for_it(counts, fraction, held_out, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    _, _, train, test = data.train_test_split(y[None] * 1.0, y, fraction, seed)
    assert np.bincount(test, minlength=len(counts)).tolist() == held_out
    assert np.bincount(train).min() > 0
    assert test.size == min(round(y.size * fraction), y.size - len(counts))


def test_as_many_are_held_out_as_asked_for_and_possible(rng):
    for _ in range(200):
        counts = rng.integers(1, 12, rng.integers(1, 9))
        y, fraction = np.repeat(np.arange(counts.size), counts), rng.uniform(0.05, 0.95)
        wanted = min(round(y.size * fraction), y.size - counts.size)
        if wanted and round(y.size * fraction) < y.size:
            test = data.train_test_split(y[None] * 1.0, y, fraction)[3]
            assert test.size == wanted
            assert (np.bincount(test, minlength=counts.size) < counts).all()


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**32, ValueError), (1.0, TypeError), (None, TypeError)]
)
def test_a_seed_that_is_none_is_refused(seed, error):
    with pytest.raises(error, match=f"^seed is {seed}, expected a whole number"):
        data.train_test_split(np.ones((1, 4)), [0, 1, 0, 1], 0.5, seed)


def test_the_seed_decides_the_split():
    y = np.arange(100) % 4
    splits = [data.train_test_split(y[None] * 1.0, y, 0.25, seed)[3] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(splits[0], splits[1])
    assert (splits[0] != splits[2]).any()
    assert (np.diff(splits[0]) < 0).any(), "the parts are in random order"


def test_quantities_are_split_without_classes():
    y = np.linspace(0, 1, 50)
    X_train, X_test, y_train, y_test = data.train_test_split(y[None], y, 0.3, 0, stratify=False)
    np.testing.assert_array_equal(X_test[0], y_test)
    np.testing.assert_array_equal(np.sort(np.concatenate([y_train, y_test])), y)
    assert X_train.shape == (1, 35)


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        (ROWS, CLASSES, {}, ValueError, r"X has shape \(7, 3\) and y \(7,\), expected \(n_x, m\)"),
        (ROWS[0], CLASSES, {}, ValueError, r"X has shape \(3,\)"),
        (ROWS.T.tolist(), CLASSES, {}, TypeError, r"X is \[\[.* expected an ndarray .* Source"),
        (ROWS.T, CLASSES, {"test_fraction": 0.0}, ValueError, "test_fraction is 0.0"),
        (ROWS.T, CLASSES, {"test_fraction": 1}, ValueError, "test_fraction is 1"),
        (
            ROWS.T,
            CLASSES,
            {"test_fraction": 0.01},
            ValueError,
            "of 7 examples is 0, expected 1 to 6",
        ),
        (ROWS.T, CLASSES + 0.5, {}, ValueError, "y holds quantities, not classes; use stratify="),
        (ROWS.T, np.ones((2, 7)), {}, ValueError, r"y of shape \(2, 7\) is not one-hot"),
        (ROWS.T, np.arange(7), {}, ValueError, "no class has two examples"),
    ],
)
def test_splits_that_cannot_be_made(X, y, options, error, message):
    with pytest.raises(error, match=message):
        data.train_test_split(X, y, **options)
