"""What the tests of the command share: small files to train on."""

from __future__ import annotations

import csv

import numpy as np

FLOWERS = ("iris", "lily", "rose")


def write_csv(path, columns, **labels):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *labels])
        writer.writerows(zip(*columns.values(), *labels.values(), strict=True))


def flowers(m=300):
    """Three classes that two features in very different units tell apart, and a useless one."""
    rng = np.random.default_rng(0)
    kind = np.arange(m) % 3
    columns = {
        "weight": 5000 + 100 * kind + rng.normal(0, 10, m),
        "height": 0.001 * (kind % 2) + rng.normal(0, 0.0001, m),
        "planet": np.full(m, 3.0),
    }
    return columns, [FLOWERS[k] for k in kind]


def small_npz(path, m=60, layout="rows", **more):
    X = np.random.default_rng(0).normal(size=(m, 4))
    y = (X[:, 0] > 0).astype(np.int64)
    np.savez(path, X=X if layout == "rows" else X.T, y=y, **more)
    return X, y


def quickly(*argv):
    return ("train", *argv, "--epochs", "60", "--batch-size", "16", "--layers", "8", "--no-plot")
