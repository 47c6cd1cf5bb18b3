"""fastdnn beside NumPy, kernel by kernel, and how far both are from what the machine can do.

`profile` times every stage of a training step and the whole step, on `random_examples` if need be;
`machine_peaks` measures the roofline.
"""

from .examples import random_examples
from .machine import machine_peaks
from .measure import profile
from .results import Profile, Row

__all__ = ["Profile", "Row", "machine_peaks", "profile", "random_examples"]
