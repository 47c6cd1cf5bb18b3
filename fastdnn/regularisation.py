"""What a step adds to plain gradients: dropout and clipping."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import checks


@dataclass(frozen=True)
class Regularisation:
    """What a step adds to plain gradients; the default adds nothing and costs nothing.

    Attributes
    ----------
    dropout : tuple of float
        Probability to drop a unit, for each hidden layer; empty for none.
    seed : int
        Of the dropout masks, which also depend on the number of the step.
    clip_norm : float or None
        Largest Euclidean norm of all gradients together.
    """

    dropout: tuple[float, ...] = ()
    seed: int = 0
    clip_norm: float | None = None

    @classmethod
    def of(
        cls, dropout: float | Sequence[float], clip_norm: float | None, *, hidden: int, seed: int
    ) -> Regularisation:
        """The arguments of ``fit``, checked, for a network with so many hidden layers.

        Raises
        ------
        TypeError, ValueError
            If `dropout` is neither a probability nor a list of one for each hidden layer, or
            `clip_norm` is no positive number.
        """
        rates = _rates(dropout, hidden)
        if clip_norm is not None:
            clip_norm = checks.real_number("clip_norm", clip_norm, above=0)
        return cls(tuple(rates) if any(rates) else (), seed, clip_norm)


def _rates(dropout: object, hidden: int) -> list[float]:
    """The probability of each hidden layer."""
    given = dropout.tolist() if isinstance(dropout, np.ndarray) else dropout
    if isinstance(given, numbers.Real):
        return [checks.probability("dropout", given)] * hidden
    if not isinstance(given, list | tuple):
        raise TypeError(
            f"dropout is {dropout!r:.60}, expected one number or a list of one for each of the "
            f"{hidden} hidden layers"
        )
    if len(given) != hidden:
        raise ValueError(
            f"dropout has {len(given)} entries, expected one number or one for each of the "
            f"{hidden} hidden layers"
        )
    return [checks.probability("dropout", rate) for rate in given]


PLAIN = Regularisation()
