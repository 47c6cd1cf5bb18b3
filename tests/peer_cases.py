"""What the tests of the side-by-side benchmark share: its smallest case, and results of a run."""

from __future__ import annotations

from typing import Any

from benchmarks.grid import GRID
from benchmarks.peers.problem import Case

TINY = Case(GRID[0], "float64", "sgd")


def finished(ours: float, peer: float = 2e-6) -> dict[str, Any]:
    """Results of a run in which fastdnn took `ours` and JAX `peer` seconds."""

    def entry(seconds: float) -> dict[str, Any]:
        return {"status": "ran", "disagrees": False, "cost": 1.0, "samples": [seconds, 9.0]}

    ran = {"status": "ran", "versions": {"numpy": "2"}, "threads": 4}
    case = {
        **TINY.to_json(),
        "flops": TINY.row.flops,
        "peaks": {"flops": [1e10, 2e10], "bandwidth": [1e10]},
        "entries": {
            "fastdnn-fit": entry(ours),
            "fastdnn-step": entry(3 * ours),
            "jax-jit": entry(2 * peer),
            "jax-scan": entry(peer),
        },
    }
    machine: dict[str, Any] = {
        "cpu": "a processor",
        "threads": 4,
        "system": "Linux",
        "python": "3",
        "date": "now",
    }
    machine["load"] = 0.1
    return {
        "machine": machine,
        "settings": {"rounds": 2, "seconds": 0.1},
        "contestants": dict.fromkeys(case["entries"], ran),
        "cases": [case],
    }
