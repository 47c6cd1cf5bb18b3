"""Progress of a training, for a person at a terminal or for a log file."""

from __future__ import annotations

import sys
from typing import Any

from .history import History


class Progress:
    """One updating line in a terminal, one line for each tenth of the work elsewhere.

    Programs without a console have no ``sys.stderr``, where it is silent, or write there to an
    object of their own.
    """

    def __init__(self, epochs: int, history: History) -> None:
        self.epochs, self.history = epochs, history
        self.bar: Any = None
        self.shown = 0
        isatty = getattr(sys.stderr, "isatty", None)
        if isatty is not None and isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(total=epochs, unit="epoch", leave=True)

    def update(self) -> None:
        """Show the history as it is now."""
        history = self.history
        done, total = history.epochs, self.epochs
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
            self.bar.set_postfix_str(self._figures(), refresh=False)
        elif done * 10 // total > self.shown or history.stopped_early:
            self.shown = done * 10 // total
            if sys.stderr is not None:
                flush = hasattr(sys.stderr, "flush")
                print(f"epoch {done}/{total}  {self._figures()}", file=sys.stderr, flush=flush)

    def _figures(self) -> str:
        history = self.history
        text = f"cost {history.cost[-1]:.6g}"
        if history.validation_cost:
            text += f"  validation {history.validation_cost[-1]:.6g}"
            text += f"  metric {history.validation_metric[-1]:.4f}"
        return text

    def close(self) -> None:
        """Leave the terminal in order."""
        if self.bar is not None:
            self.bar.close()
