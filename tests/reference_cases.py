"""What the tests of the NumPy reference share."""

from __future__ import annotations

import numpy as np

from fastdnn import reference as ref

DTYPES = [np.float32, np.float64]


def drawn(seed, *shapes):
    """Standard normal arrays as the notebooks draw them: seed(s), then randn in this order."""
    stream = np.random.RandomState(seed)
    return [stream.randn(*shape) for shape in shapes]


def small_network(n_y, dims=(4, 5, 3), m=6):
    """X, class labels, real targets and parameters of a network with n_y outputs."""
    X, values = drawn(11, (dims[0], m), (n_y, m))
    labels = np.random.RandomState(12).randint(n_y, size=m)
    # Halved, because log(1 - AL) of an AL near 1 has too few digits left for differences.
    parameters = ref.initialise_parameters_deep([*dims, n_y], seed=13)
    return X, labels, values, {name: 0.5 * w for name, w in parameters.items()}
