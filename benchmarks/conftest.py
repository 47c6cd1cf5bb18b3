"""What all benchmarks share: the tests' table of cases, and a note of how busy the machine was.

Nothing is timed that is not tested, so the modules of the tests can be imported here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # before the first benchmark


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    machine_info["load"] = LOAD
