"""The command ``fastdnn``: one module per subcommand, each with `add` and `run`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import fastdnn

from . import evaluate, export, info, predict, profile, train, warmup
from .options import INTERRUPTED, UsageError, formatter

COMMANDS = (train, predict, evaluate, export, profile, info, warmup)

WRONG_USAGE = 2  # argparse's own
BROKEN_PIPE = 141  # 128 + the number of the signal, as a shell reports it

EXAMPLES = """\
examples:
  fastdnn train digits                               the handwritten digits of scikit-learn
  fastdnn train iris.csv --target species            the label is the column 'species'
  fastdnn train train_catvnoncat.h5 --layers 20,7,5  the cats of the course
  fastdnn predict model.npz new.csv --out labels.csv
  fastdnn evaluate model.npz test.csv
  fastdnn profile                                    every kernel beside NumPy
  fastdnn warmup                                     compile now rather than at first use

exit status: 0 done, 1 it went wrong, 2 wrong usage, 130 interrupted (Ctrl-C)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        By default those of the process.

    Raises
    ------
    SystemExit
        For wrong usage (status 2), ``--help`` and ``--version``.
    """
    options = parser().parse_args(argv)
    command = f"fastdnn {options.command}"
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except UsageError as error:
        options.parser.print_usage(sys.stderr)
        print(f"{command}: error: {error}", file=sys.stderr)
        return WRONG_USAGE
    except (OSError, ValueError, ArithmeticError, ImportError, MemoryError) as error:
        print(f"{command}: error: {_in_one_line(error)}", file=sys.stderr)
        return 1


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog="fastdnn",
        description="Train and use fully connected neural networks.",
        epilog=EXAMPLES,
        formatter_class=formatter,
    )
    top.add_argument("--version", action="version", version=f"fastdnn {fastdnn.__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    for module in COMMANDS:
        added = module.add(commands)
        added.set_defaults(run=module.run, parser=added)
    return top
