"""How long compilation takes, as Numba itself reports it."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from numba.core import event

_COMPILE = "numba:compile"  # not sent for a kernel that comes from the cache


class CompileClock(event.Listener):  # type: ignore[misc]
    """Adds up the time spent compiling inside a ``with`` block, by whichever thread.

    Parameters
    ----------
    announce : callable, optional
        Called when the first kernel is about to be compiled; not if all come from the cache.

    Attributes
    ----------
    seconds : float
    """

    def __init__(self, announce: Callable[[], object] | None = None) -> None:
        self.seconds = 0.0
        self._announce = announce
        self._depth = 0  # compiling a kernel compiles the routines that it calls
        self._began = 0.0

    def __enter__(self) -> CompileClock:
        event.register(_COMPILE, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        event.unregister(_COMPILE, self)

    def on_start(self, event: Any) -> None:
        """Numba begins to compile a function."""
        if self._depth == 0:
            if self._announce is not None:
                self._announce()
                self._announce = None
            self._began = time.perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """Numba has compiled it, or failed to."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._began
