"""``fastdnn train``: from a file, or the digits, to a model, its accuracy and its cost curve."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastdnn import DivergenceError, History, plotting
from fastdnn.compiling import CompileClock
from fastdnn.data.sources import import_extra
from fastdnn.kernels import jit
from fastdnn.optimizers import OPTIMIZERS
from fastdnn.storage import atomic_write, check_writable

from . import options as types
from .inputs import load_labelled
from .job import BATCH, FEWEST_STEPS, PATIENCE, Job
from .options import INTERRUPTED
from .recipe import SCALINGS

PICTURE = ".png"

EXAMPLES = """\
examples:
  fastdnn train digits
  fastdnn train digits --layers 256 --optimizer momentum --learning-rate 0.05 --epochs 100
  fastdnn train iris.csv --target species --epochs 200 --out iris.npz
  fastdnn train mnist.csv --target 0                       the label is the first column
  fastdnn train train_catvnoncat.h5 --layers 20,7,5 --test 0 --epochs 200
  fastdnn train prices.csv --target price --task regression

Features are standardised unless all numbers lie within -1 ... 1; pixels of uint8 are divided by
255. The model file remembers this and the names of features and classes, for predict and evaluate.
Large .npy and HDF5 files are read block by block, and need not fit into memory.
"""


def add(commands: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a network and save it",
        description="Train a network on a data set, and save it with its cost curve.",
        epilog=EXAMPLES,
        formatter_class=types.formatter,
    )
    parser.add_argument(
        "data",
        help="'digits', or a file of examples and labels: .npy, .npz, .h5, .hdf5, .csv, .tsv, .txt",
    )
    types.add_data_options(parser)
    parser.add_argument(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="what the labels mean (default: found out)",
    )
    parser.add_argument(
        "--scale", choices=SCALINGS, default="auto", help="of the features (default: %(default)s)"
    )
    _add_network_options(parser)
    _add_training_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("model.npz"),
        metavar="FILE",
        help="where the model goes (default: %(default)s)",
    )
    parser.add_argument(
        "--plot",
        action=argparse.BooleanOptionalAction,
        help="write the cost curve beside the model, as .png (default: if matplotlib is there)",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    return parser


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--layers",
        type=types.layers,
        default=(128, 64),
        metavar="N,N,...",
        help="units of the hidden layers, or 'none' (default: 128,64)",
    )
    group.add_argument(
        "--hidden",
        choices=types.HIDDEN_ACTIVATIONS,
        default="relu",
        help="activation of the hidden layers (default: %(default)s)",
    )
    group.add_argument(
        "--output",
        choices=("sigmoid", "softmax", "identity"),
        help="activation of the outputs (default: sigmoid for 2 classes, softmax for more, "
        "identity for a regression)",
    )
    group.add_argument(
        "--dtype",
        choices=types.PRECISIONS,
        default="float32",
        help="precision (default: %(default)s)",
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument(
        "--optimizer", choices=OPTIMIZERS, default="adam", help="(default: %(default)s)"
    )
    group.add_argument(
        "--learning-rate",
        type=types.number("learning-rate", above=0),
        metavar="X",
        help="(default: the optimizer's own)",
    )
    group.add_argument(
        "--weight-decay",
        type=types.number("weight-decay", at_least=0),
        metavar="X",
        help="L2 on the weights (default: none; adamw 0.01)",
    )
    group.add_argument(
        "--dropout",
        type=types.number("dropout", at_least=0, below=1),
        default=0.0,
        metavar="P",
        help="probability to drop a hidden unit (default: none)",
    )
    group.add_argument(
        "--epochs",
        type=types.whole("epochs"),
        default=50,
        metavar="N",
        help="at most so many (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=types.whole("batch-size"),
        metavar="N",
        help=f"examples of a step (default: {BATCH}, and {FEWEST_STEPS} steps an epoch where that "
        "is more)",
    )
    group.add_argument(
        "--test",
        type=types.number("test", at_least=0, below=1),
        default=0.2,
        metavar="SHARE",
        help="share of the examples held out for the final accuracy (default: %(default)s)",
    )
    group.add_argument(
        "--validation",
        type=types.number("validation", at_least=0, below=1),
        default=0.1,
        metavar="SHARE",
        help="share of the others that chooses the best epoch (default: %(default)s)",
    )
    group.add_argument(
        "--early-stopping",
        type=types.whole("early-stopping", at_least=0),
        metavar="N",
        help=f"stop after N epochs without a lower validation cost, 0: never (default: {PATIENCE})",
    )
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="save the training there every minute, and go on from it where it exists",
    )
    group.add_argument(
        "--seed",
        type=types.seed,
        default=0,
        metavar="N",
        help="of the split, the first parameters and the order (default: %(default)s)",
    )
    types.add_threads_option(group)


def run(options: argparse.Namespace) -> int:
    """Train, print, save."""
    draws = _check_places(options)
    say: Callable[..., object] = _silent if options.quiet else partial(print, flush=True)
    dataset = load_labelled(
        options.data, target=options.target, features=options.features, task=options.task
    )
    job = Job.of(options, dataset)
    parts = {"to train on": job.train, "to validate": job.validation, "held out": job.test}
    say(", ".join(f"{pair[0].shape[1]} {what}" for what, pair in parts.items() if pair))
    say(job.net)
    with CompileClock(None if options.quiet else partial(_announce, options.dtype)) as clock:
        job.warm_up()
    say(f"compiling took {clock.seconds:.1f} s" if clock.seconds else "nothing to compile")
    standardised = job.net.output_activation == "identity"
    if standardised:
        say("the costs of the epochs are of labels standardised: (y - mean) / deviation")
    ended = job.fit(verbose=0 if options.quiet else 1)
    history = job.net.history
    assert history is not None
    if isinstance(ended, DivergenceError) and history.best_epoch is None:
        raise DivergenceError(_diverged(ended, f"{options.out} is not written"))
    say(_took(history, options.epochs))
    saved = _save(job, options.out, draws=draws)  # before anything that takes long in a large file
    say(f"saved {' and '.join(saved)}")
    for what, pair in {"training": job.train, "held out": job.test}.items():
        if pair:
            unit = "  (of labels in their own unit)" if standardised else ""
            say(f"{what}: {types.described(job.net.evaluate(*pair))}{unit}")
    if ended is None:
        return 0
    if isinstance(ended, DivergenceError):
        best = history.best_epoch
        assert best is not None
        raise DivergenceError(
            _diverged(ended, f"the model of epoch {best + 1}, the best one, is in {options.out}")
        )
    print(
        f"fastdnn train: interrupted in epoch {history.epochs + 1} of {options.epochs}; "
        f"the partly trained model is in {options.out}",
        file=sys.stderr,
    )
    return INTERRUPTED


def _took(history: History, epochs: int) -> str:
    """The time of the training, and how many epochs it had if not all that it might have had."""
    # What the warm-up on few examples did not need is compiled within the training.
    late = history.compile_seconds
    done = f"{history.epochs} of {epochs}" if history.epochs < epochs else str(history.epochs)
    text = f"training took {history.seconds - late:.2f} s for {done} epochs"
    if history.stopped_early and history.best_epoch is not None:
        text += f", stopped early: the best is epoch {history.best_epoch + 1}"
    return f"{text}, compiling {late:.1f} s more" if late else text


def _diverged(error: DivergenceError, left: str) -> str:
    """What diverged and what is left of it: a file or none, where `DNN.fit` leaves a network."""
    return f"{str(error).partition(';')[0]}; {left}. Try a smaller --learning-rate."


def _silent(text: object) -> None:
    pass


def _announce(dtype: str) -> None:
    folder = jit.cache_path()
    kept = "the cache is off, so every run will" if folder is None else "this happens once"
    print(f"compiling the {dtype} kernels ({kept}) ...", file=sys.stderr, flush=True)


def _check_places(options: argparse.Namespace) -> bool:
    """Find out before the training what would fail after it; returns whether to draw."""
    out: Path = options.out
    if out.suffix == PICTURE or out.is_dir():
        raise types.UsageError(f"--out {out} is not the name of a model file, such as model.npz")
    source = Path(options.data)
    if source.exists() and out.exists() and out.samefile(source):
        raise types.UsageError(f"--out {out} is the file of the data")
    if options.checkpoint:
        for path in (out, out.with_suffix(PICTURE)):
            if os.path.realpath(path) == os.path.realpath(options.checkpoint):
                raise types.UsageError(f"--checkpoint {path} is a file that --out {out} writes")
    if options.early_stopping and not options.validation:
        raise types.UsageError("--early-stopping needs --validation above 0")
    for path in filter(None, (out, options.checkpoint)):
        check_writable(path)
    if options.plot:
        import_extra("matplotlib", "plot")
    return plotting.available() if options.plot is None else bool(options.plot)


def _save(job: Job, out: Path, *, draws: bool) -> list[str]:
    """Write the model and the picture; returns the names of the files."""
    job.net.extra = job.recipe.to_json()
    threads, job.net.n_threads = job.net.n_threads, None  # of this machine, not of the model
    job.net.save(out)
    job.net.n_threads = threads
    history = job.net.history
    if not draws or history is None or not history.cost:
        return [str(out)]
    picture = out.with_suffix(PICTURE)
    with atomic_write(picture) as file:
        plotting.plot_history(history, file)
    return [str(out), str(picture)]
