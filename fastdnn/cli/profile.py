"""``fastdnn profile``: fastdnn beside NumPy, kernel by kernel."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastdnn import DNN, profiling
from fastdnn.data.sources import import_extra
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.plotting import picture_format
from fastdnn.storage import atomic_write, check_writable

from . import options as types

EXAMPLES = """\
examples:
  fastdnn profile                                      784-128-10, batches of 64
  fastdnn profile --layer-dims 64,128,10 --batch-size 128 --dtype float64
  fastdnn profile model.npz --plot profile.png --json profile.json
"""

# Of a new network; the rest is as `DNN` has it.
DEFAULT_DIMS, DEFAULT_OUTPUT, DEFAULT_BATCH = (784, 128, 10), "softmax", 64


def add(commands: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "profile",
        help="time every kernel beside NumPy, and against what the machine can do",
        description="Time every kernel of a training step and the whole step beside the same "
        "mathematics in NumPy, and relate both to the roofline of this machine.",
        epilog=EXAMPLES,
        formatter_class=types.formatter,
    )
    parser.add_argument("model", nargs="?", help="the model file (default: a new network)")
    _add_network_options(parser)
    parser.add_argument(
        "--batch-size",
        type=types.whole("batch-size"),
        default=DEFAULT_BATCH,
        metavar="N",
        help="examples of a step (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats",
        type=types.whole("repeats"),
        default=7,
        metavar="N",
        help="turns of each side, of which the best counts (default: %(default)s)",
    )
    types.add_threads_option(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw bars and the roofline (.png, .svg, .pdf)"
    )
    return parser


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    """What a new network is; without defaults, for a model says all of this itself."""
    group = parser.add_argument_group("new network")
    group.add_argument(
        "--layer-dims",
        type=types.layer_dims,
        metavar="N,N,...",
        help="features, units of the hidden layers, and outputs "
        f"(default: {','.join(map(str, DEFAULT_DIMS))})",
    )
    group.add_argument(
        "--hidden",
        choices=types.HIDDEN_ACTIVATIONS,
        help="activation of the hidden layers (default: relu)",
    )
    group.add_argument(
        "--output",
        choices=ACTIVATIONS,
        help=f"activation of the outputs (default: {DEFAULT_OUTPUT})",
    )
    group.add_argument("--dtype", choices=types.PRECISIONS, help="precision (default: float32)")


def run(options: argparse.Namespace) -> int:
    """Check what the whole run would be for nothing with, then profile, print and write."""
    net = _network(options)
    for path in filter(None, (options.json, options.plot)):
        check_writable(path)
    if options.plot:
        import_extra("matplotlib", "plot")
        try:
            picture_format(options.plot)
        except ValueError as error:
            raise types.UsageError(f"--plot {error}") from error
    X, Y = profiling.random_examples(net, options.batch_size)
    found = profiling.profile(net, X, Y, repeats=options.repeats, n_threads=options.threads)
    print(found)
    if options.json:
        with atomic_write(options.json) as file:
            file.write(f"{found.to_json()}\n".encode())
    if options.plot:
        found.plot(options.plot)
    return 0


def _network(options: argparse.Namespace) -> DNN:
    described = {
        "layer_dims": options.layer_dims,
        "hidden_activation": options.hidden,
        "output_activation": options.output,
        "dtype": options.dtype,
    }
    given = {name: value for name, value in described.items() if value is not None}
    if options.model is None:
        new: dict[str, Any] = {"layer_dims": DEFAULT_DIMS, "output_activation": DEFAULT_OUTPUT}
        return DNN(**new | given)
    if given:
        raise types.UsageError(
            f"{options.model} already says its layers, activations and precision: "
            "leave out --layer-dims, --hidden, --output and --dtype"
        )
    return types.load_network(options)
