"""What follows from the samples of a run: best times, ratios, shares of the peak, agreement.

The functions take one case of the results as the runner writes them to JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median_low
from typing import Any

from benchmarks.peers.contestants import CONTESTANTS

OURS = "fastdnn"
# Relative difference of the cost after the checked steps, in which any training that is not the
# others' shows as 1e-2 or more. Rounding of float32 grows in the steps; and where Adam's epsilon
# stands differs between libraries, which matters in either dtype.
AGREEMENT = 1e-3
AGREEMENT_FLOAT64 = 1e-6


def best_time(entry: dict[str, Any]) -> float:
    """Seconds per step in the best round: noise only ever adds."""
    return float(min(entry["samples"]))


def find_disagreeing(costs: dict[str, float], dtype: str, optimizer: str) -> list[str]:
    """Contestants whose cost is not that of the middle one, or not a number.

    Examples
    --------
    >>> find_disagreeing({"a": 0.5, "b": 0.5, "c": 0.6}, "float64", "sgd")
    ['c']
    """
    finite = [cost for cost in costs.values() if math.isfinite(cost)]
    if not finite:
        return list(costs)
    middle = median_low(finite)
    strict = dtype == "float64" and optimizer != "adam"
    tolerance = (AGREEMENT_FLOAT64 if strict else AGREEMENT) * abs(middle)
    return [name for name, cost in costs.items() if not abs(cost - middle) <= tolerance]


def times(case: dict[str, Any]) -> dict[str, float]:
    """Best time of each contestant that ran this case and agreed with the others."""
    return {
        name: best_time(entry)
        for name, entry in case["entries"].items()
        if entry["status"] == "ran" and not entry["disagrees"]
    }


def library_times(case: dict[str, Any]) -> dict[str, float]:
    """Best time of each library, whichever of its ways it was."""
    best: dict[str, float] = {}
    for name, seconds in times(case).items():
        library = CONTESTANTS[name].library
        best[library] = min(seconds, best.get(library, math.inf))
    return best


def ratio(case: dict[str, Any]) -> float | None:
    """The best peer's time over fastdnn's: above 1 where fastdnn is ahead."""
    best = library_times(case)
    ours = best.pop(OURS, None)
    return min(best.values()) / ours if ours and best else None


def speed(case: dict[str, Any]) -> float | None:
    """Flop/s of fastdnn."""
    ours = library_times(case).get(OURS)
    return case["flops"] / ours if ours else None


def peak(cases: Iterable[dict[str, Any]], dtype: str) -> float | None:
    """Flop/s of the machine in this dtype: the most that was measured in turns with the cases."""
    found = [rate for case in cases if case["dtype"] == dtype for rate in case["peaks"]["flops"]]
    return max(found, default=None)


def share_of_peak(case: dict[str, Any], run: Iterable[dict[str, Any]]) -> float | None:
    """Speed of fastdnn as a fraction of what the machine can do: the best of each in a run.

    Not round by round: where others use the machine, too, a limit measured in a worse moment than
    the case would make more of it than there is.
    """
    ours, limit = speed(case), peak(run, case["dtype"])
    return ours / limit if ours and limit else None


def above_the_peak(case: dict[str, Any], run: Iterable[dict[str, Any]]) -> bool:
    """Whether fastdnn came to the result with fewer operations than the products of a step have."""
    return (share_of_peak(case, run) or 0.0) > 1.0


def geometric_mean(values: Iterable[float]) -> float:
    """The mean that suits ratios.

    Examples
    --------
    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    logarithms = [math.log(value) for value in values]
    return math.exp(math.fsum(logarithms) / len(logarithms))


def failures(results: dict[str, Any]) -> list[str]:
    """Everything that went wrong in a run, one line each with the traceback below it."""
    found = [
        f"{name}: failed to start\n{about['why']}"
        for name, about in results["contestants"].items()
        if about["status"] == "error"
    ]
    for case in results["cases"]:
        where = f"{case['row']['name']}, {case['dtype']}, {case['optimizer']}"
        for name, entry in case["entries"].items():
            if entry["status"] == "error":
                found.append(f"{name}: failed in {where}\n{entry['why']}")
            elif entry["status"] == "ran" and entry["disagrees"]:
                found.append(f"{name}: DISAGREES in {where}: cost {entry['cost']!r}")
    return found


def microseconds(seconds: float) -> str:
    """Microseconds to three digits, thousands apart.

    Examples
    --------
    >>> microseconds(0.8132e-6), microseconds(4e-6), microseconds(0.1350812)
    ('0.813', '4.00', '135,000')
    """
    value = float(f"{seconds * 1e6:.3g}")
    decimals = 2 - math.floor(math.log10(value))
    return f"{value:,.{max(decimals, 0)}f}"
