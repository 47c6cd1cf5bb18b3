"""The contestants: how each library is asked to solve a problem.

A module here is imported only in its own worker process, under an interpreter that has the library
and perhaps little else, so the modules of the peers use nothing but NumPy beside their library.
Each offers ``describe(**options)`` (versions and threads) and ``open_session(problem, **options)``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from benchmarks.peers.problem import Array, Problem


class Unsupported(Exception):
    """The contestant has no such thing: said in the results, not counted as a failure."""


class Session(Protocol):
    """A network under training (or answering, in an inference row) by one contestant."""

    def reset(self) -> None:
        """Take parameters and optimizer back to where every contestant starts."""

    def run(self, steps: int) -> None:
        """Make this many steps (or forward passes) and return when they are done."""

    def outputs(self) -> Array:
        """Outputs AL of shape (n_y, m) for the problem's X with the present parameters."""


@dataclass
class Product:
    """The session of a product row, whatever the library: nothing but one call."""

    multiply: Callable[[], Any]  # W X, done when it returns

    def reset(self) -> None:
        """Nothing is changed by a product."""

    def run(self, steps: int) -> None:
        """Multiply so many times."""
        for _ in range(steps):
            self.multiply()

    def outputs(self) -> Array:
        """W X as an array."""
        return np.asarray(self.multiply())


class Library(Protocol):
    """What a module of this package offers."""

    def describe(self, **options: Any) -> dict[str, Any]:
        """Versions and the number of threads: ``{"versions": {...}, "threads": 4}``."""

    def open_session(self, problem: Problem, **options: Any) -> Session:
        """A session ready to run; raises `Unsupported` where the library has no way to."""


@dataclass(frozen=True)
class Contestant:
    """One way of one library.

    Parameters
    ----------
    library : str
        What ``--contestants`` and ``--interpreter`` accept beside the contestant's own name.
    package : str
        The import that must succeed, else the contestant is skipped as not installed.
    module : str
        Name of the module of this package.
    title : str
        What tables call it.
    options : dict
        Keyword arguments of the module's functions.
    """

    library: str
    package: str
    module: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Library:
        """Import the library and the module that drives it."""
        importlib.import_module(self.package)
        return cast(Library, importlib.import_module(f"{__name__}.{self.module}"))


def _torch(title: str, **options: Any) -> Contestant:
    return Contestant("torch", "torch", "pytorch", title, options)


CONTESTANTS: dict[str, Contestant] = {
    "fastdnn-fit": Contestant(
        "fastdnn", "fastdnn", "network", "fastdnn `fit`", {"loop_inside": True}
    ),
    "fastdnn-step": Contestant(
        "fastdnn", "fastdnn", "network", "fastdnn per call", {"loop_inside": False}
    ),
    "numpy": Contestant("numpy", "fastdnn.reference", "notebook", "NumPy notebook"),
    "torch-eager": _torch("PyTorch eager", compiled=False, threads=None),
    "torch-eager-1": _torch("PyTorch eager, 1 thread", compiled=False, threads=1),
    "torch-compile": _torch("PyTorch compile", compiled=True, threads=None),
    "torch-compile-1": _torch("PyTorch compile, 1 thread", compiled=True, threads=1),
    "jax-jit": Contestant("jax", "jax", "xla", "JAX jit", {"loop_inside": False}),
    "jax-scan": Contestant("jax", "jax", "xla", "JAX scan", {"loop_inside": True}),
    "sklearn": Contestant("sklearn", "sklearn", "scikit", "scikit-learn"),
}


def find_contestants(names: str) -> list[str]:
    """Contestants by comma-separated names, of one contestant or of a whole library.

    Raises
    ------
    ValueError
        If a name is neither; the message lists the contestants.

    Examples
    --------
    >>> find_contestants("numpy,jax")
    ['numpy', 'jax-jit', 'jax-scan']
    """
    wanted = {name.strip() for name in names.split(",")}
    unknown = wanted - set(CONTESTANTS) - {each.library for each in CONTESTANTS.values()}
    if unknown:
        raise ValueError(
            f"no such contestant: {', '.join(sorted(unknown))}; there are {', '.join(CONTESTANTS)}"
        )
    return [name for name, each in CONTESTANTS.items() if wanted & {name, each.library}]


def available_cpus() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
