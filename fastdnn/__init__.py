"""fastdnn: the L-layer network people first write in NumPy, at the speed of the machine."""

from .checkpoints import Checkpoint
from .network import DNN
from .training import DivergenceError, History

__version__ = "0.1.0"

__all__ = ["DNN", "Checkpoint", "DivergenceError", "History"]
