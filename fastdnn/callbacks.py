"""Who is called while a training runs, and how soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .history import History

Callback = Callable[[History], object]


class Watcher:
    """A callback that need not be called as soon as an epoch is over: a class to derive from.

    Epochs that nobody waits for are trained in one compiled call. It only looks: what it changed in
    the parameters might not last.
    """

    def may_wait(self) -> float:
        """How many epochs may be over when it is called next: 1 or more."""
        raise NotImplementedError

    def __call__(self, history: History) -> object:
        """Take note of the epochs since the last call, if any; False ends the training.

        It is called once more where the training ends by Ctrl-C, or diverges.
        """
        raise NotImplementedError


def check_callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    """The callbacks, each of which can be called."""
    if not isinstance(callbacks, tuple | list):
        raise TypeError(f"callbacks is {callbacks!r:.60}, expected a list of callables")
    for i, callback in enumerate(callbacks):
        if not callable(callback):
            raise TypeError(f"callbacks[{i}] is {callback!r:.60}, expected a callable")
    return tuple(callbacks)


def epochs_until_due(callbacks: Sequence[Callback]) -> float:
    """How many epochs may be over before one of the callbacks has to be called."""
    waits = [c.may_wait() if isinstance(c, Watcher) else 1 for c in callbacks]
    return min(waits, default=float("inf"))


def is_false(said: object) -> bool:
    """Whether a callback said False, or NumPy's, which a comparison of arrays gives; not None."""
    return isinstance(said, bool | np.bool_) and not said
