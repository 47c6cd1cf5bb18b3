"""By what a checkpoint knows its training: everything that decides the bits still to come."""

from __future__ import annotations

import re
import zlib
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batches import Examples, Given
from .data import prefetch
from .engine import Matrix
from .optimizers import Optimizer, resolve_schedule
from .regularisation import Regularisation

# Examples that stand for all: some runs of neighbours, so many bytes of them together. To sum them
# up takes a millisecond, to read them from a file 5, from a compressed one 90.
RUNS = 4
SAMPLE_BYTES = 2**20


def fingerprint(
    network: dict[str, Any],
    examples: Examples,
    held_out: tuple[Given, NDArray[Any]] | None,
    *,
    batch_size: int,
    optimizer: Optimizer,
    regularisation: Regularisation,
    shuffle: bool,
) -> dict[str, Any]:
    """What has to be the same where a training goes on, by the names of the arguments of ``fit``.

    JSON holds it. The number of epochs is not in it, nor is what says when to stop: those may be
    others the next time.

    Parameters
    ----------
    network : dict
        Of `DNN.config`.
    examples : Examples
        Those to train on.
    held_out : tuple (X, Y), optional
        Those to validate with.
    batch_size, optimizer, regularisation, shuffle
        Of the training.
    """
    dtype = examples.Y.flat.dtype
    weights = examples.weights
    validation = held_out and [
        checksum(held_out[0], dtype),
        checksum(Matrix.of(held_out[1], dtype), dtype),
    ]
    return {
        "network": {**network, "n_threads": None},  # which changes no bit
        "X": [*examples.X.shape, examples.streamed, checksum(examples.X, dtype)],
        "Y": checksum(examples.Y, dtype),
        "sample_weight or class_weight": None
        if weights is None
        else checksum(Matrix.of(weights[None], dtype), dtype),
        "batch_size": batch_size,
        "optimizer or its settings": described(optimizer),
        "dropout or clip_norm": repr(regularisation),
        "shuffle": shuffle,
        "validation_data": validation,
    }


def checksum(X: Given, dtype: np.dtype[Any]) -> int:
    """CRC-32 of some of the examples, evenly spaced; of all, where they are few.

    It is the same however they lie in memory, and for a source of the same examples.
    """
    n_x, m = X.shape
    length = max(1, SAMPLE_BYTES // (RUNS * n_x * dtype.itemsize))
    starts = np.linspace(0, max(0, m - length), RUNS, dtype=np.int64)
    ranges = [(start, min(start + length, m)) for start in np.unique(starts).tolist()]
    value = 0
    if isinstance(X, Matrix):
        rows = X.array().T
        for start, stop in ranges:
            value = zlib.crc32(np.ascontiguousarray(rows[start:stop]).data, value)
    else:
        with closing(prefetch(X, ranges, dtype=dtype)) as blocks:
            for _, _, block in blocks:
                value = zlib.crc32(block.data, value)
    return value


def described(optimizer: Optimizer) -> str:
    """Its settings in words that are the same in every process.

    A schedule is that which its name stands for. Functions are known by their names: what Python
    writes of them has an address as well.
    """
    words = repr(replace(optimizer, schedule=resolve_schedule(optimizer.schedule)))
    return re.sub(r" at 0x[0-9a-fA-F]+", "", words)
