"""Whether the machine was idle: what other processes, and other virtual machines, took of it."""

from __future__ import annotations

import os
from pathlib import Path

# What is told beside the figures: a load average before the start, and a share of processor time.
# One busy foreign process on four processors makes OpenBLAS, whose threads wait for each other, 25
# times slower in the small row and hardly touches JAX.
BUSY_LOAD = 0.5
BUSY_STOLEN = 0.05

_STAT = Path("/proc/stat")


def load() -> float | None:
    """Load average of the last minute; None where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


class Stolen:
    """Clock of the processor time that a hypervisor gave to others although it was asked for."""

    def __init__(self) -> None:
        self._start = _used_and_stolen()

    def share(self) -> float | None:
        """Its share since this was made, of all time that was asked for; None where nobody says."""
        if self._start is None or (end := _used_and_stolen()) is None:
            return None
        used, stolen = (b - a for a, b in zip(self._start, end, strict=True))
        return stolen / (used + stolen) if stolen > 0 else 0.0


def _used_and_stolen() -> tuple[int, int] | None:
    """Since the start of the system, from Linux' counters (``man 5 proc_stat``)."""
    try:
        words = _STAT.read_text().split(maxsplit=9)[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, words)
    return user + nice + system + irq + softirq, stolen


def busy(load: float | None, stolen: float | None) -> str:
    """A warning where others were at work, else nothing.

    >>> busy(2.0, None)
    ' **The machine was not idle: load 2.0 when the run began.**'
    >>> busy(0.1, 0.02)
    ''
    """
    told = []
    if load is not None and load >= BUSY_LOAD:
        told.append(f"load {load:.1f} when the run began")
    if stolen is not None and stolen >= BUSY_STOLEN:
        told.append(f"{stolen:.0%} of the time it asked for went to other virtual machines")
    return f" **The machine was not idle: {', '.join(told)}.**" if told else ""
