"""``fastdnn profile``: fastdnn beside NumPy, kernel by kernel."""

from __future__ import annotations

import argparse
from typing import Any

from fastdnn import profiling
from fastdnn.storage import check_writable

from . import options as types

EXAMPLES = """\
examples:
  fastdnn profile                                      784-128-10, batches of 64
  fastdnn profile --layers 64,128,10 --batch 128 --dtype float64
  fastdnn profile model.npz --plot profile.png --json profile.json
"""


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
    profiling.configure(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Check what the whole run would be for nothing with, then profile."""
    for name in ("batch", "repeats", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise types.UsageError(f"--{name} is {value}, expected a whole number >= 1")
    for path in filter(None, (options.json, options.plot)):
        check_writable(path)
    return profiling.main(options)
