"""What all benchmarks share: the tests' table of cases, and a note of how busy the machine was.

Nothing is timed that is not tested, so the modules of the tests can be imported here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.idle import Stolen, load

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

LOAD, STOLEN = load(), Stolen()  # before the first benchmark


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    machine_info["load"] = LOAD


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    output_json["stolen"] = STOLEN.share()
