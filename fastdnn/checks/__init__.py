"""Every validation of the package and its message.

A check takes a name and a value, and either hands back what compiled code may use or raises:
``TypeError`` for the wrong kind of thing, ``ValueError`` for the right kind with a wrong value. The
message names the argument, says what it was, and what it should be. Checks are small and compose::

    X = finite("X", float_array("X", X, dtype=np.float32))

Arrays come back aligned, in native byte order, as float32 or float64; whether they must be
contiguous as well is the caller's business. What the caller passed is never written to, and is
handed back itself where nothing had to be converted.
"""

from .arrays import (
    CHUNK,
    FLOAT_TYPES,
    column_array,
    columns,
    finite,
    float_array,
    float_dtype,
    indices,
    is_real,
    number_array,
    shape,
)
from .network import (
    PROBABILITY_LOSSES,
    class_weight,
    hidden_activations,
    hidden_sizes,
    labels,
    layer_dims,
    parameters,
    probabilities,
)
from .settings import (
    choice,
    learning_rate,
    n_threads,
    path,
    probability,
    real_number,
    seed,
    whole_number,
)
from .sources import block, source

__all__ = [
    "CHUNK",
    "FLOAT_TYPES",
    "PROBABILITY_LOSSES",
    "block",
    "choice",
    "class_weight",
    "column_array",
    "columns",
    "finite",
    "float_array",
    "float_dtype",
    "hidden_activations",
    "hidden_sizes",
    "indices",
    "is_real",
    "labels",
    "layer_dims",
    "learning_rate",
    "n_threads",
    "number_array",
    "parameters",
    "path",
    "probabilities",
    "probability",
    "real_number",
    "seed",
    "shape",
    "source",
    "whole_number",
]
