"""A contestant's process: ``python -m benchmarks.peers.worker NAME`` answers requests on a pipe.

One JSON object per line comes in and one goes out.  Between requests the process is blocked reading
its pipe, so it takes nothing from whoever measures.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
import traceback
from typing import Any

from benchmarks.grid import Row
from benchmarks.peers.contestants import (
    CONTESTANTS,
    Contestant,
    Library,
    Session,
    Unsupported,
    available_cpus,
)
from benchmarks.peers.problem import Case, cost_of, make_problem

CLOSE_ENOUGH = 0.8  # of the wanted duration: spares another calibration for the last few percent
GROWTH = 1000  # largest factor of one calibration, for the first single step is a poor estimate


class Worker:
    """Answers the requests of the runner for one contestant; a method is a request."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.library: Library | None = None
        self.session: Session | None = None
        self.steps = 0

    def hello(self) -> dict[str, Any]:
        """Import the library; tell versions and threads."""
        self.library = self.contestant.load()
        return self.library.describe(**self.contestant.options)

    def open(self, case: dict[str, Any], seconds: float, least: int) -> dict[str, Any]:
        """Prepare a case: check its cost, compile, and find how many steps last so long."""
        assert self.library is not None, "hello comes first"
        self.session = None  # the last case's memory goes before the next one's comes
        problem = make_problem(Case.from_json(case))
        self.session = self.library.open_session(problem, **self.contestant.options)
        self.session.reset()
        if problem.case.training:
            self.session.run(checked_steps(problem.case.row))
        cost = cost_of(self.session.outputs(), problem.Y, problem.case.row.output_activation)
        self.steps = calibrate(self.session, seconds, least)
        return {"cost": cost, "steps": self.steps}

    def measure(self) -> dict[str, Any]:
        """Seconds per step of one batch of steps, from the start each time.

        Starting over keeps long runs away from the saturated networks (and subnormal numbers)
        they would end in, at different times for each contestant.
        """
        assert self.session is not None, "open comes first"
        self.session.reset()
        self.session.run(1)  # wakes the threads
        return {"seconds": timed(self.session, self.steps) / self.steps}

    def peaks(self, dtype: str) -> dict[str, float]:
        """Flop/s and bytes/s that this machine can do, on all threads."""
        try:
            from fastdnn.profiling import machine_peaks
        except ImportError as error:
            raise Unsupported(str(error)) from error
        return machine_peaks(dtype, available_cpus(), refresh=True)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request's reply: ``ok``, ``missing``, ``unsupported`` or ``error`` and its value."""
        try:
            return {"ok": getattr(self, request.pop("do"))(**request)}
        except Unsupported as error:
            return {"unsupported": str(error)}
        except ModuleNotFoundError as error:
            if error.name == self.contestant.package.partition(".")[0]:
                return {"missing": error.name}
            return {"error": traceback.format_exc()}
        except Exception:
            return {"error": traceback.format_exc()}


def checked_steps(row: Row) -> int:
    """Steps from the same start after which all contestants have the same cost.

    Where features outnumber examples, fastdnn takes another way from some m / n_1 steps on, in the
    span of the examples. What is timed is longer than that, so what is checked has to be. In the
    other rows, among them those whose steps last longest, few steps are enough.

    Examples
    --------
    >>> checked_steps(Row("wide", (12288, 20, 1), "sigmoid", batch=209))
    20
    >>> checked_steps(Row("large", (1024, 2048, 1000), "softmax", batch=1024))
    5
    """
    n_x, n_1 = row.layer_dims[:2]
    return 10 + row.batch // n_1 if row.batch < n_x else 5


def timed(session: Session, steps: int) -> float:
    """Seconds that this many steps take, the garbage collector kept out."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        session.run(steps)
        return time.perf_counter() - start
    finally:
        gc.enable()


def calibrate(session: Session, seconds: float, least: int) -> int:
    """How many steps, and no fewer than `least`, last about this many seconds.

    Every count is run once before it is timed, for some contestants compile anew for each.
    """
    steps = 1
    while True:
        session.reset()
        session.run(steps)
        elapsed = timed(session, steps)
        if steps >= least and elapsed >= CLOSE_ENOUGH * seconds:
            return steps
        steps = max(least, min(math.ceil(seconds / elapsed * steps), GROWTH * steps))


def main(name: str) -> None:
    """Serve requests until the pipe closes."""
    # Only replies may enter the pipe: what libraries print goes to stderr.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        worker = Worker(CONTESTANTS[name])
        for line in sys.stdin:
            print(json.dumps(worker.answer(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
