"""fastdnn beside NumPy, kernel by kernel, and how far both are from what the machine can do.

`profile` times every stage of a training step and the whole step; `machine_peaks` measures the
roofline; `configure` and `main` are the command ``fastdnn profile``.
"""

from .command import configure, main
from .machine import machine_peaks
from .measure import profile
from .results import Profile, Row

__all__ = ["Profile", "Row", "configure", "machine_peaks", "main", "profile"]
