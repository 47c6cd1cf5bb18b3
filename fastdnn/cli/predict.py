"""``fastdnn predict``: the labels that a model gives to the examples of a file."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn.storage import atomic_write

from . import options as types
from .inputs import load_examples
from .recipe import Recipe

EXAMPLES = """\
examples:
  fastdnn predict model.npz new.csv                    prints one label a line
  fastdnn predict model.npz new.csv --out labels.csv
  fastdnn predict cats.npz test_catvnoncat.h5 --out cats.csv

The first line of the output names its columns. Labels that the data file holds are not looked at.
Columns of a table are found by the names that they had for `fastdnn train`, in whatever order.
Where one of the two tables has no names, they are taken as they stand.
"""


def add(commands: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="label the examples of a file",
        description="Label the examples of a file with a model that `fastdnn train` saved.",
        epilog=EXAMPLES,
        formatter_class=types.formatter,
    )
    parser.add_argument("model", help="the model file")
    parser.add_argument("data", help="examples, with or without labels: .csv, .npz, .npy, .h5, ...")
    parser.add_argument(
        "--features", metavar="NAME", help="the array that holds the examples (.npz, HDF5)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a .csv file (default: standard output)"
    )
    types.add_threads_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Read, predict, write."""
    net = types.load_network(options)
    recipe = Recipe.of(net, options.model)
    X = load_examples(options.data, net, recipe, options.features)
    types.warn("predict", recipe.warning(X))
    text = as_csv(net.predict(recipe.apply(X, net.dtype)), recipe)
    if options.out is None:
        sys.stdout.write(text)
    else:
        with atomic_write(options.out) as file:
            file.write(text.encode())
    return 0


def as_csv(predicted: NDArray[Any], recipe: Recipe) -> str:
    """One line an example: the name of its class, or the value of every output."""
    rows = np.atleast_2d(predicted)
    header = ["label"] if len(rows) == 1 else [f"output {i}" for i in range(len(rows))]
    columns: list[Any] = [rows[i] for i in range(len(rows))]
    if recipe.class_names:
        columns = [[recipe.class_names[index] for index in columns[0]]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()
