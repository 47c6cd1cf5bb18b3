"""How the pytest benchmarks time one contestant, and what they note for the report."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.peers.contestants import Session
from benchmarks.peers.worker import calibrate

ROUNDS = 7
SECONDS = 0.01  # of a round, at least one step
# Of a round inside `fit`, as in `benchmarks.peers`: else what it does once would count, and it
# would not even begin with what pays over many steps.
FIT_SECONDS = 0.2
PAUSE = 0.05  # seconds; the threads of the contestant before spin for some milliseconds

NUMPY = "NumPy"


def time_session(
    benchmark: Any,
    session: Session,
    *,
    table: str,
    row: str,
    dtype: str,
    contestant: str,
    seconds: float = SECONDS,
) -> None:
    """Time a session from its start in some rounds; the report divides by the steps of a round.

    Where benchmarks are disabled a single step runs, untimed.
    """
    steps = 1 if benchmark.disabled else calibrate(session, seconds, least=1)
    note(benchmark, table=table, row=row, dtype=dtype, contestant=contestant, steps=steps)

    def start_over() -> None:
        session.reset()
        session.run(1)

    if not benchmark.disabled:
        time.sleep(PAUSE)
    benchmark.pedantic(session.run, args=(steps,), setup=start_over, rounds=ROUNDS)


def note(
    benchmark: Any, *, table: str, row: str, dtype: str, contestant: str, steps: int = 1
) -> None:
    """Write into the JSON what the report needs to know of a measurement."""
    benchmark.group = f"{row}, {dtype}"
    benchmark.extra_info.update(
        table=table, row=row, dtype=dtype, contestant=contestant, steps=steps
    )
