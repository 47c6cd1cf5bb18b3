"""The command ``fastdnn profile``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.network import DNN
from fastdnn.storage import atomic_write

from .measure import profile

DEFAULT_LAYERS, DEFAULT_BATCH = "784,128,10", 64


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of ``fastdnn profile``."""
    names = list(ACTIVATIONS)
    add = parser.add_argument
    add("model", nargs="?", type=Path, help="network to profile, saved by train or DNN.save")
    add("--layers", metavar="N,N,...", help=f"a new network instead (default {DEFAULT_LAYERS})")
    add("--hidden", choices=names, metavar="NAME", help="its hidden activation (default relu)")
    add("--output", choices=names, metavar="NAME", help="its output activation (default softmax)")
    add("--dtype", choices=("float32", "float64"), help="its precision (default float32)")
    add("--batch", type=int, default=DEFAULT_BATCH, help="examples of a step (default %(default)s)")
    add("--repeats", type=int, default=7, help="turns of each side (default %(default)s)")
    add("--threads", type=int, help="at most so many threads (default all)")
    add("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    add("--plot", type=Path, metavar="FILE", help="draw bars and the roofline (.png, .svg, .pdf)")


def main(args: argparse.Namespace) -> int:
    """Profile what the arguments describe, print the table, write what was asked for.

    Raises
    ------
    ValueError
        For arguments that do not fit each other, or a file that is not a model.
    """
    net = _network(args)
    X, Y = random_examples(net, args.batch)
    found = profile(net, X, Y, repeats=args.repeats, n_threads=args.threads)
    print(found)
    if args.json:
        with atomic_write(args.json) as file:
            file.write(f"{found.to_json()}\n".encode())
    if args.plot:
        found.plot(args.plot)
    return 0


def _network(args: argparse.Namespace) -> DNN:
    described = {
        "hidden_activation": args.hidden,
        "output_activation": args.output,
        "dtype": args.dtype,
    }
    given = {name: value for name, value in described.items() if value is not None}
    if args.model is not None:
        if args.layers is not None or given:
            raise ValueError(
                f"{args.model} already says its layers, activations and precision: "
                "leave out --layers, --hidden, --output and --dtype"
            )
        return DNN.load(args.model)
    layers = DEFAULT_LAYERS if args.layers is None else args.layers
    try:
        layer_dims = [int(width) for width in layers.split(",")]
    except ValueError:
        raise ValueError(f"--layers is {layers!r}, expected numbers as in 784,128,10") from None
    return DNN(layer_dims, **{"output_activation": "softmax", **given})


def random_examples(net: DNN, m: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Standard normal examples X (n_x, m) and targets (n_y, m) that suit the network's loss."""
    random = np.random.default_rng(seed)
    n_y = net.layer_dims[-1]
    X = random.standard_normal((net.layer_dims[0], m)).astype(net.dtype)
    Y: NDArray[Any] = random.standard_normal((n_y, m))
    if net.loss == "categorical_crossentropy":
        Y = np.eye(n_y)[:, random.integers(n_y, size=m)]
    elif net.loss == "binary_crossentropy":
        Y = np.heaviside(Y, 1.0)
    return X, Y.astype(net.dtype)
