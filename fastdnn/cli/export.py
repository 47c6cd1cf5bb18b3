"""``fastdnn export``: a model for other libraries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from fastdnn import DNN, storage

from . import options as types
from .recipe import Recipe

EXAMPLES = """\
examples:
  fastdnn export model.npz model.onnx
  fastdnn export model.npz state.npz

ONNX takes and gives examples as rows. The state dict goes into a torch.nn.Sequential of Linear,
activation, Linear, ...:
  state = {name: torch.from_numpy(array) for name, array in numpy.load("state.npz").items()}
  model.load_state_dict(state)

Both take features as they stand in the data file: the scaling is folded into the first layer.
Timestamps and other features far from 0, beside their spread, would lose their differences there.
Then the ONNX model takes float64 and scales by itself, and the state dict is that of a network
which takes (x - mean) / scale, with the arrays mean and scale. The command says so.
"""

UNFOLDED = {
    ".onnx": "it takes float64 and scales by itself",
    ".npz": "its network takes (x - mean) / scale, computed in float64 from arrays of the file",
}


def add(commands: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write a model for ONNX or PyTorch",
        description="Write a model as ONNX (.onnx) or as a PyTorch state dict (.npz).",
        epilog=EXAMPLES,
        formatter_class=types.formatter,
    )
    parser.add_argument("model", help="the model file")
    parser.add_argument("out", type=Path, help="a file that ends in .onnx or .npz")
    return parser


def run(options: argparse.Namespace) -> int:
    """Read, fold unless that would lose what features differ in, write."""
    out: Path = options.out
    if out.suffix not in (".onnx", ".npz"):
        raise types.UsageError(f"{out} ends in {out.suffix!r}, expected .onnx or .npz")
    if out.exists() and out.samefile(options.model):
        raise types.UsageError(f"{out} is the model itself")
    loaded = DNN.load(options.model)
    recipe = Recipe.of(loaded, options.model)
    folds = recipe.may_be_folded(loaded.dtype)
    net, scaling = (recipe.folded_into(loaded), None) if folds else (loaded, recipe.scaling)
    if out.suffix == ".onnx":
        storage.export_onnx(out, net.config(), net.parameters, scaling)
    else:
        state: Any = storage.to_state_dict(net.config(), net.parameters)
        if scaling is not None:
            state["mean"], state["scale"] = (part.ravel() for part in scaling)
        with storage.atomic_write(out) as file:
            np.savez(file, **state)
    print(f"saved {out}")
    if scaling is not None:
        print(f"the first layer would lose digits by the scaling: {UNFOLDED[out.suffix]}")
    return 0
