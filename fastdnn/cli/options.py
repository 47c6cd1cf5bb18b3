"""Types of command-line values, and the options that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from fastdnn import DNN, checks
from fastdnn.kernels.activations import ACTIVATIONS

# As a shell reports it: 128 + the number of the signal.
INTERRUPTED = 130

HIDDEN_ACTIVATIONS = tuple(name for name, kind in ACTIVATIONS.items() if kind.elementwise)
PRECISIONS = tuple(dtype.name for dtype in checks.FLOAT_TYPES)

formatter = partial(argparse.RawDescriptionHelpFormatter, max_help_position=32)


class UsageError(Exception):
    """The options do not go together."""


def checked(check: Callable[[Any], Any], read: Callable[[str], Any] = str) -> Callable[[str], Any]:
    """A type for argparse: ``read`` the text, then one of `fastdnn.checks`, with its message."""

    def convert(text: str) -> Any:
        try:
            return check(read(text))
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def whole(name: str, *, at_least: int = 1) -> Callable[[str], Any]:
    """A whole number."""
    return checked(partial(checks.whole_number, name, at_least=at_least), _number)


def number(name: str, **bounds: float) -> Callable[[str], Any]:
    """A number within bounds, as `fastdnn.checks.real_number` takes them."""
    return checked(partial(checks.real_number, name, **bounds), _number)


def seed(text: str) -> int:
    """A seed, as `fastdnn.checks.seed` takes it."""
    number: int = checked(checks.seed, _number)(text)
    return number


def layers(text: str) -> tuple[int, ...]:
    """Units of the hidden layers, as in ``128,64``; ``none`` for a network without any."""
    sizes: tuple[int, ...] = () if text == "none" else _hidden_sizes(text)
    return sizes


def _numbers(text: str) -> list[int | float]:
    return [_number(part) for part in text.split(",")]


def _number(text: str) -> int | float:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    raise ValueError(f"{text!r} is not a number")


_hidden_sizes = checked(partial(checks.hidden_sizes, "layers"), _numbers)

layer_dims = checked(partial(checks.layer_dims, name="layer-dims"), _numbers)
"""Sizes of all layers from the features to the outputs, as in ``784,128,10``."""


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Where examples and labels stand in a file."""
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="the labels: a column's name, else its number (0 the first, -1 the last), an array's "
        "name, or a .npy file (default: the last column, or what the arrays are usually called)",
    )
    parser.add_argument(
        "--features", metavar="NAME", help="the array that holds the examples (.npz, HDF5)"
    )


def add_threads_option(parser: argparse._ActionsContainer) -> None:
    """``--threads``."""
    parser.add_argument(
        "--threads",
        type=whole("threads"),
        metavar="N",
        help="use at most N threads (default: FASTDNN_NUM_THREADS, or all)",
    )


def described(scores: Mapping[str, float]) -> str:
    """What `DNN.evaluate` found, as one line of text."""
    return "  ".join(f"{name} {value:.4g}" for name, value in scores.items())


def load_network(options: argparse.Namespace) -> DNN:
    """The network of ``options.model``, to run on ``options.threads``."""
    net = DNN.load(options.model)
    net.n_threads = options.threads
    return net


def warn(command: str, text: str | None) -> None:
    """Say something on standard error, if there is anything to say."""
    if text is not None:
        print(f"fastdnn {command}: warning: {text}", file=sys.stderr)
