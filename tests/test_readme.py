"""What the README says of the package is so. Its examples run as doctests.

``python tests/test_readme.py`` writes the table of activations anew.
"""

from __future__ import annotations

import re
import shlex
from importlib import metadata
from pathlib import Path

import pytest

from fastdnn import cli, functional
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.kernels.losses import LOSSES
from fastdnn.optimizers import OPTIMIZERS, SCHEDULES

PATH = Path(__file__).parents[1] / "README.md"
COMMANDS = [module.__name__.rpartition(".")[2] for module in cli.COMMANDS]
MARKERS = ("activations", "peers", "bench")


def readme():
    return PATH.read_text(encoding="utf-8")


def names_of_table(title):
    """The first column of the table whose first column is called so."""
    rows = re.search(rf"^\| {title} \|.*\n\|[-|]+\n((\|.*\n)+)", readme(), re.MULTILINE)[1]
    return re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)


def activations_table():
    rows = [f"| `{name}` | {kind.formula} |" for name, kind in ACTIVATIONS.items()]
    return "\n".join(["| activation | g(z) |", "|---|---|", *rows])


def block(name):
    return re.compile(rf"(<!-- {name}:begin -->\n)(.*?)(\n?<!-- {name}:end -->)", re.DOTALL)


def test_the_table_of_activations_is_that_of_the_kernels():
    assert block("activations").search(readme())[2] == activations_table()


@pytest.mark.parametrize(("title", "table"), [("loss", LOSSES), ("optimizer", OPTIMIZERS)])
def test_tables_list_all_there_are(title, table):
    assert names_of_table(title) == list(table)


def test_the_table_of_extras_lists_all_there_are():
    extras = metadata.metadata("fastdnn").get_all("Provides-Extra")
    assert sorted(names_of_table("extra")) == sorted(extras)


@pytest.mark.parametrize("name", [*functional.__all__, *SCHEDULES, *COMMANDS])
def test_everything_is_mentioned(name):
    assert re.search(rf"`(fastdnn )?{name}\b", readme()) or f"fastdnn {name}" in readme()


@pytest.mark.parametrize("name", MARKERS)
def test_places_of_generated_tables_are_there_once(name):
    text = readme()
    assert text.count(f"<!-- {name}:begin -->") == text.count(f"<!-- {name}:end -->") == 1
    assert block(name).search(text)


def test_commands_are_ones_that_the_parser_takes():
    commands = re.findall(r"^fastdnn (.*)", readme(), re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        cli.parser().parse_args(shlex.split(command))


if __name__ == "__main__":
    text, count = block("activations").subn(rf"\g<1>{activations_table()}\g<3>", readme())
    PATH.write_text(text, encoding="utf-8")
    print(f"{count} table written")
