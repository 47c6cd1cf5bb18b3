"""Every function of `fastdnn.functional` beside its reference, on a small and a large layer.

The functions and their arguments are those of the tests' table. Untimed, as plain tests, each runs
once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cases import CASES, Draw, fresh  # type: ignore[import-not-found]

from benchmarks.timing import NUMPY, time_session

DTYPES = ("float32", "float64")
SHAPES = ((128, 64), (512, 1024))  # units, examples: in the cache of one core, and of none
UNTIMED = 8  # times smaller, where nothing is timed
TABLE = "One call of every function"
CONTESTANTS = {NUMPY: "reference", "fastdnn": "fast"}


class Calls:
    """A function with its arguments, called again and again: a session of a benchmark."""

    def __init__(self, function: Callable[[Any], Any], arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def reset(self) -> None:
        """Back to the first arguments; within a round update_parameters takes its own results."""
        self.given = fresh(self.arguments)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.function(self.given)

    def outputs(self) -> Any:
        return self.function(self.given)


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", CASES)
def test_kernels(
    name: str, shape: tuple[int, int], dtype: str, contestant: str, benchmark: Any
) -> None:
    case, (units, examples) = CASES[name], shape
    if benchmark.disabled:
        units, examples = units // UNTIMED, examples // UNTIMED
    arguments = case.arguments(Draw(dtype, seed=1), units, examples)
    session = Calls(getattr(case, CONTESTANTS[contestant]), arguments)
    row = f"{name} {units} x {examples}"
    time_session(benchmark, session, table=TABLE, row=row, dtype=dtype, contestant=contestant)
