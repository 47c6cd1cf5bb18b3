"""Every row of the grid: fastdnn, per call and inside `fit`, beside the NumPy reference.

Untimed, as plain tests, they make a step of a small network on a small batch and check that all
compute the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.grid import GRID
from benchmarks.peers.contestants import CONTESTANTS, Session
from benchmarks.peers.problem import Case, Problem, cost_of, make_problem
from benchmarks.peers.results import find_disagreeing
from benchmarks.peers.worker import checked_steps
from benchmarks.timing import FIT_SECONDS, NUMPY, SECONDS, time_session

DTYPES = ("float32", "float64")
TABLE = "One step of every network of the grid"
TITLES = {
    "numpy": NUMPY,
    "fastdnn-step": "fastdnn, per call",
    "fastdnn-fit": "fastdnn, inside `fit`",
}
# When nothing is timed: examples, more than a vector and not a multiple of one; units of a layer.
SMALL_BATCH, SMALL_LAYER = 40, 300


def _cases() -> list[Any]:
    """Case and contestant, where the contestant has a way to do it."""
    cases = []
    for row in GRID:
        training = row.kind == "train"
        optimizers = ["sgd", "adam"] if row.adam else ["sgd"]
        for optimizer in optimizers if training else ["none"]:
            for dtype in DTYPES:
                case = Case(row, dtype, optimizer)
                names = ["numpy"]
                names += ["fastdnn-step"] if optimizer != "adam" else []
                names += ["fastdnn-fit"] if training else []
                cases += [
                    pytest.param(case, name, id=f"{case.label}-{dtype}-{name}") for name in names
                ]
    return cases


@pytest.mark.parametrize(("case", "contestant"), _cases())
def test_grid(case: Case, contestant: str, benchmark: Any) -> None:
    if benchmark.disabled:
        dims = tuple(min(units, SMALL_LAYER) for units in case.row.layer_dims)
        small = replace(case.row, layer_dims=dims, batch=min(case.row.batch, SMALL_BATCH))
        case = replace(case, row=small)
    problem = make_problem(case)
    session = _session(contestant, problem)
    time_session(
        benchmark, session, seconds=FIT_SECONDS if contestant == "fastdnn-fit" else SECONDS,
        table=TABLE, row=case.label, dtype=case.dtype, contestant=TITLES[contestant],
    )  # fmt: skip
    if benchmark.disabled and contestant != "numpy":
        costs = {
            contestant: _cost(session, problem),
            "numpy": _cost(_session("numpy", problem), problem),
        }
        assert not find_disagreeing(costs, case.dtype, case.optimizer), costs


def _session(contestant: str, problem: Problem) -> Session:
    chosen = CONTESTANTS[contestant]
    return chosen.load().open_session(problem, **chosen.options)


def _cost(session: Session, problem: Problem) -> float:
    session.reset()
    if problem.case.training:
        session.run(checked_steps(problem.case.row))
    return cost_of(session.outputs(), problem.Y, problem.case.row.output_activation)
