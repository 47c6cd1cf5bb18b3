"""``fastdnn evaluate``: how well a model does on a labelled file."""

from __future__ import annotations

import argparse
from typing import Any

from . import options as types
from .inputs import check_features, load_known, targets_of
from .recipe import Recipe

EXAMPLES = """\
examples:
  fastdnn evaluate model.npz test.csv
  fastdnn evaluate cats.npz test_catvnoncat.h5

Columns of a table are found by the names that they had for `fastdnn train`, as by `predict`.
A model saved from Python has no names of classes. Labels are numbers for it: quantities, or classes
counted from 0.
"""


def add(commands: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="print the cost and accuracy of a model on a labelled file",
        description="Print the cost of a model on a labelled file, and its accuracy (classes) or "
        "its R2 score (a regression).",
        epilog=EXAMPLES,
        formatter_class=types.formatter,
    )
    parser.add_argument("model", help="the model file")
    parser.add_argument("data", help="'digits', or a file of examples and labels")
    types.add_data_options(parser)
    types.add_threads_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Read, evaluate, print."""
    net = types.load_network(options)
    recipe = Recipe.of(net, options.model)
    task = "classification" if recipe.class_names else "regression"  # which reads numbers
    dataset = load_known(
        options.data, recipe, target=options.target, features=options.features, task=task
    )
    X = dataset.X
    check_features(options.data, X, net)
    y = targets_of(dataset, net, recipe)
    types.warn("evaluate", recipe.warning(X))
    scores = net.evaluate(recipe.apply(X, net.dtype), y)
    print(f"{types.described(scores)}  ({X.shape[1]} examples)")
    return 0
