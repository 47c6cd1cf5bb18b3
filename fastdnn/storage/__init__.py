"""Models and checkpoints on disk, and their exchange with ONNX and PyTorch."""

from .arrayfile import FileFormatError, atomic_write, check_writable, load_arrays, save_arrays
from .exchange import export_onnx, from_state_dict, to_state_dict
from .models import load_model, save_model

__all__ = [
    "FileFormatError",
    "atomic_write",
    "check_writable",
    "export_onnx",
    "from_state_dict",
    "load_arrays",
    "load_model",
    "save_arrays",
    "save_model",
    "to_state_dict",
]
