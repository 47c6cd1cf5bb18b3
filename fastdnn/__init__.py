"""fastdnn: the L-layer network people first write in NumPy, at the speed of the machine.

The notebooks' functions (`fastdnn.functional`) are here under their own names, and `DNN` trains
whole networks. `fastdnn.estimators` speaks scikit-learn, `fastdnn.profiling` compares with NumPy,
`fastdnn.reference` is all of the mathematics in plain NumPy. These three are imported at first use.
"""

from importlib import import_module
from types import ModuleType

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

_AT_FIRST_USE = ("estimators", "profiling", "reference")


def __getattr__(name: str) -> ModuleType:
    """A module that `import fastdnn` leaves out."""
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_module(f"{__name__}.{name}")
    except ImportError as error:  # `help` and `hasattr` go on where an extra is missing
        raise AttributeError(str(error)) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *_AT_FIRST_USE})
