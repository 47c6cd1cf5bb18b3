"""What a profile holds, and what follows from the times: rates, and shares of the roofline."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .chart import draw
from .table import as_text


@dataclass(frozen=True)
class Row:
    """One stage and how long it takes.

    Parameters
    ----------
    stage : str
        What is computed, in the names of `fastdnn.functional`.
    layers : tuple of int
        The layers with work of just this shape, timed once for all of them; empty for the
        whole network.
    shape : str
        Rows x inputs x examples of a product, units x examples of an array.
    flops, bytes : int
        Operations, and bytes that must be read and written at least once.
    numpy_seconds, fastdnn_seconds : float
        Of one call, the best of all turns.
    first_call_seconds : float
        What fastdnn's first call took in this process, compiling or reading the cache.
    peak_flops, peak_bandwidth : float
        Of the machine, in the same run.
    """

    stage: str
    layers: tuple[int, ...]
    shape: str
    flops: int
    bytes: int
    numpy_seconds: float
    fastdnn_seconds: float
    first_call_seconds: float
    peak_flops: float
    peak_bandwidth: float

    @property
    def speedup(self) -> float:
        """NumPy's time over fastdnn's: below 1 where fastdnn is slower."""
        return self.numpy_seconds / self.fastdnn_seconds

    @property
    def flops_per_second(self) -> float:
        """Speed of fastdnn in operations."""
        return self.flops / self.fastdnn_seconds

    @property
    def bytes_per_second(self) -> float:
        """Speed of fastdnn in the bytes that must move at least."""
        return self.bytes / self.fastdnn_seconds

    @property
    def intensity(self) -> float:
        """Arithmetic intensity, operations per byte."""
        return self.flops / self.bytes

    @property
    def roofline_seconds(self) -> float:
        """Least time for this work: at the peak or at full bandwidth, whichever is longer."""
        return max(self.flops / self.peak_flops, self.bytes / self.peak_bandwidth)

    @property
    def roofline_share(self) -> float:
        """fastdnn's speed as a fraction of the roofline at this intensity.

        Above 1 where the data come from a cache, for the roofline is that of the memory, and
        where `DNN.fit` gets to the result with fewer operations than a step has.
        """
        return self.roofline_seconds / self.fastdnn_seconds

    def to_dict(self) -> dict[str, Any]:
        """Measured and derived numbers."""
        names = ("flops_per_second", "bytes_per_second", "intensity", "roofline_share", "speedup")
        measured = {
            name: value for name, value in vars(self).items() if not name.startswith("peak")
        }
        return {**measured, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Profile:
    """What `profile` found.

    Parameters
    ----------
    network : str
        Description of the network.
    batch : int
        Examples of a step.
    dtype : str
    n_threads : int
        Most threads that fastdnn used; NumPy's BLAS has its own number.
    processor : str
        As LLVM names it.
    load : float or None
        The machine's load average when it began, where the system tells.
    peaks : dict
        ``flops`` and ``bandwidth`` of the machine, the best of all rounds.
    rows : tuple of Row
        Single stages first, then the whole network forward and the whole step.
    """

    network: str
    batch: int
    dtype: str
    n_threads: int
    processor: str
    load: float | None
    peaks: dict[str, float]
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def losing(self) -> tuple[Row, ...]:
        """Rows in which fastdnn is slower than NumPy."""
        return tuple(row for row in self.rows if row.speedup < 1)

    def table(self) -> str:
        """The profile as text, the rows that fastdnn loses named below it."""
        return as_text(self)

    def to_json(self) -> str:
        """The profile as JSON text; times in seconds, rates per second."""
        values = {**vars(self), "rows": [row.to_dict() for row in self.rows]}
        return json.dumps(values, indent=1)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the bars of NumPy and fastdnn, and the roofline, into a picture file.

        Raises
        ------
        ValueError
            If the name ends in no format of a picture.
        ImportError
            Where matplotlib is not installed, naming the command that installs it.
        """
        draw(self, Path(path))

    __str__ = table
