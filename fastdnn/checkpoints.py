"""Checkpoints: all that a training needs to go on bit for bit after the process was killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, storage

if TYPE_CHECKING:
    from .training import Training


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often to save a training.

    Parameters
    ----------
    path : str or PathLike
        A training that finds the file goes on from it.
    every_epochs : int, optional
        Save after so many epochs.
    every_seconds : float
        Save when so much time has passed since the last save, at the end of an epoch.

    Examples
    --------
    >>> Checkpoint("run.npz", every_epochs=10).every_epochs
    10
    """

    path: Path
    every_epochs: int | None = None
    every_seconds: float = 60.0
    identity: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", checks.path("path", self.path))
        if self.every_epochs is not None:
            checks.whole_number("every_epochs", self.every_epochs)
        checks.real_number("every_seconds", self.every_seconds, at_least=0)

    @classmethod
    def of(
        cls,
        given: str | os.PathLike[str] | Checkpoint | None,
        identity: Callable[[], dict[str, Any]],
    ) -> Checkpoint | None:
        """What ``fit`` was given, if anything, and the training it belongs to, then asked for."""
        if given is None:
            return None
        if not isinstance(given, Checkpoint):
            given = cls(checks.path("checkpoint", given))
        return replace(given, identity=identity())


class Saver:
    """Saves one training as its checkpoint says, and brings it back."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.last_epoch, self.last_time = 0, time.monotonic()

    def due(self, epoch: int) -> bool:
        """Whether it is time to save."""
        every = self.checkpoint.every_epochs
        if every is not None and epoch - self.last_epoch >= every:
            return True
        return time.monotonic() - self.last_time >= self.checkpoint.every_seconds

    def save(self, training: Training) -> None:
        """Write everything that the rest of the training depends on."""
        history, shuffler = training.history, training.shuffler
        header = {
            "identity": self.checkpoint.identity,
            "step": training.state.step,
            "rate": training.rate.state(),
            "rng": None if shuffler is None else shuffler.state(),
            "best_epoch": history.best_epoch,
            "best_cost": training.best.cost if training.best and training.best.kept else None,
            "stopped_early": history.stopped_early,
        }
        arrays = {
            "parameters": training.engine.buffer,
            "state": training.state.values,
            **{name: np.array(getattr(history, name)) for name in _CURVES},
        }
        if training.best is not None and training.best.kept:
            arrays["best"] = training.best.buffer
        storage.save_arrays(self.checkpoint.path, header, arrays, kind="checkpoint")
        self.last_epoch, self.last_time = history.epochs, time.monotonic()

    def restore(self, training: Training) -> bool:
        """Continue from the file if it exists; raises if it belongs to another training."""
        path = self.checkpoint.path
        try:
            header, arrays = storage.load_arrays(path, kind="checkpoint")
        except FileNotFoundError:
            return False
        try:
            there, here = dict(header["identity"]), self.checkpoint.identity
            other = [name for name in {**here, **there} if here.get(name) != there.get(name)]
            if other:
                raise ValueError(
                    "it belongs to another network or other arguments of fit "
                    f"({', '.join(other)}); remove it, or choose another path"
                )
            self._apply(training, header, arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise storage.FileFormatError(path, f"cannot continue from it: {error}") from error
        self.last_epoch = training.history.epochs
        return True

    def _apply(self, training: Training, header: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Take the file over; raises before anything of the network has changed."""
        state, best, history = training.state, training.best, training.history
        targets = {"parameters": training.engine.buffer, "state": state.values}
        if best is not None and header["best_cost"] is not None:
            targets["best"] = best.buffer
            checks.real_number("best_cost", header["best_cost"])
        for name, target in targets.items():
            if arrays[name].shape != target.shape or arrays[name].dtype != target.dtype:
                raise ValueError(f"{name} has shape {arrays[name].shape}, expected {target.shape}")
        epochs = arrays["cost"].size
        for name in _CURVES:
            if arrays[name].ndim != 1 or arrays[name].size > epochs:
                raise ValueError(f"{name} has shape {arrays[name].shape}, expected ({epochs},)")
        step = checks.whole_number("step", header["step"], at_least=0)
        best_epoch = header["best_epoch"]
        if best_epoch is not None:
            checks.whole_number("best_epoch", best_epoch, at_least=0)
        stopped_early = bool(header["stopped_early"])
        training.rate.restore(header["rate"])
        if training.shuffler is not None:
            training.shuffler.restore(header["rng"])
        for name, target in targets.items():
            target[:] = arrays[name]
        if best is not None and "best" in targets:
            best.keep(header["best_cost"], arrays["best"])
        for name in _CURVES:
            getattr(history, name)[:] = arrays[name].tolist()
        state.step, history.best_epoch, history.stopped_early = step, best_epoch, stopped_early


_CURVES = ("cost", "penalty", "validation_cost", "validation_metric", "learning_rate")
