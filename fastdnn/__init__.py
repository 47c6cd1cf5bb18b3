"""fastdnn: the L-layer network people first write in NumPy, at the speed of the machine.

The notebooks' functions (`fastdnn.functional`) are here under their own names, and `DNN` trains
whole networks. `fastdnn.estimators` speaks scikit-learn, `fastdnn.profiling` compares with NumPy,
`fastdnn.reference` is all of the mathematics in plain NumPy.
"""

from . import functional, kernels
from .checkpoints import Checkpoint
from .functional import *  # noqa: F403
from .history import History
from .kernels.jit import clear_cache
from .network import DNN
from .training import DivergenceError

__version__ = "0.1.0"

__all__ = [
    "DNN",
    "Checkpoint",
    "DivergenceError",
    "History",
    "clear_cache",
    "functional",
    "kernels",
    *functional.__all__,
]
