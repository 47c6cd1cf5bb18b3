"""What the tests of compiled kernels share: one tolerance table, one list of edges, fenced buffers.

A case allocates its buffers through the function it is given. ``Fenced`` puts a pattern around a
buffer and tells afterwards whether anything touched it; ``guarded`` ends it at a page that may not
be touched, which kills the process: cases use it in a process of their own (``run_python``).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from fastdnn.kernels.team import kernel_address, launch, new_counters
from fastdnn.kernels.vectors import lane_count

JIT = not numba.config.DISABLE_JIT

DTYPES = ("float32", "float64")

# |x - r| / |r| over a whole array; r is computed in float64.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

# Members of a team must all run at once, so there are no more of them than threads; without the JIT
# there is one.
_THREADS = numba.config.NUMBA_NUM_THREADS
each_team = pytest.mark.parametrize(
    "team",
    [
        1,
        *(
            pytest.param(
                team,
                marks=[
                    pytest.mark.needs_jit,
                    pytest.mark.skipif(team > _THREADS, reason=f"Numba has {_THREADS} threads"),
                ],
            )
            for team in (2, 3, 4)
        ),
    ],
)

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def relative_error(x: np.ndarray, r: np.ndarray, least: float = 0.0) -> float:
    """|x - r| / |r|; inf where x is not finite, so that no comparison can miss a NaN.

    ``least`` stands for a smaller |r|, where that is what other terms left of each other.
    """
    x, r = np.asarray(x, np.float64), np.asarray(r, np.float64)
    assert x.shape == r.shape
    if not np.isfinite(x).all():
        return np.inf
    return float(np.linalg.norm(x - r) / max(np.linalg.norm(r), least, np.finfo(np.float64).tiny))


def assert_close(x: np.ndarray, r: np.ndarray, *, factor: float = 1.0) -> None:
    """x, in its own precision, is the reference r."""
    error, bound = relative_error(x, r), factor * TOLERANCE[np.asarray(x).dtype.name]
    assert error <= bound, f"relative error {error:.3g} > {bound:.3g}"


def assert_same(x: np.ndarray, r: np.ndarray) -> None:
    """Equal values and signs of zero; NaN equals NaN."""
    x, r = np.asarray(x), np.asarray(r)
    assert x.dtype == r.dtype
    np.testing.assert_array_equal(x, r)
    number = ~np.isnan(r)
    np.testing.assert_array_equal(np.signbit(x[number]), np.signbit(r[number]))


def edges(*around: int) -> list[int]:
    """1, 2, and one below, at and above each of the given numbers."""
    return sorted({1, 2} | {n + d for n in around for d in (-1, 0, 1) if n + d > 0})


def count_edges(dtype: str) -> list[int]:
    """Lengths around one vector and two."""
    lanes = lane_count(dtype)
    return edges(lanes, 2 * lanes)


# --- buffers that notice --------------------------------------------------------------------------

FENCE = 128  # elements on either side: more than a row of the widest tile


class Fenced:
    """Buffers inside larger ones that hold NaN: a read beyond an end poisons, a write shows."""

    def __init__(self) -> None:
        self.fences: list[np.ndarray] = []

    def __call__(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values).ravel()
        post = np.nan if values.dtype.kind == "f" else -1
        whole = np.full(values.size + 2 * FENCE, post, values.dtype)
        whole[FENCE : FENCE + values.size] = values
        self.fences += [whole[:FENCE], whole[-FENCE:]]
        return whole[FENCE : FENCE + values.size]

    def check(self) -> None:
        """No fence was written to."""
        assert self.fences
        for fence in self.fences:
            assert np.isnan(fence).all() if fence.dtype.kind == "f" else (fence == -1).all()


@contextmanager
def fenced() -> Iterator[Fenced]:
    """An allocator whose fences are checked at the end."""
    allocate = Fenced()
    yield allocate
    allocate.check()


GUARD_PAGES = sys.platform != "win32"
needs_guard_pages = pytest.mark.skipif(not GUARD_PAGES, reason="needs mprotect")

_PROT_NONE = 0  # mmap does not name it
_guarded_maps: list[mmap.mmap] = []  # never unmapped: arrays point into them


def guarded(values: np.ndarray, *, at_end: bool = True) -> np.ndarray:
    """A copy of ``values`` that ends (or starts) exactly at a page that may not be touched."""
    values = np.asarray(values).ravel()
    page = mmap.PAGESIZE
    inner = -(-max(values.nbytes, 1) // page) * page
    block = mmap.mmap(-1, inner + 2 * page)
    _guarded_maps.append(block)
    first = ctypes.addressof(ctypes.c_char.from_buffer(block))
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for place in (first, first + page + inner):
        if mprotect(place, page, _PROT_NONE) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = page + (inner - values.nbytes if at_end else 0)
    array = np.frombuffer(block, values.dtype, values.size, offset)
    array[:] = values
    return array


def run_all(function: Any, team: int, arguments: tuple[Any, ...]) -> np.ndarray:
    """A kernel launched for all members; returns the counters."""
    counters = new_counters(team)
    launch(kernel_address(function, arguments), counters, team, arguments)
    return counters


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter that finds fastdnn and the test modules."""
    tests = Path(__file__).parent
    paths = [str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=600
    )


def assert_survives_guard_pages(module: str, function: str) -> None:
    """``function(allocate)`` of a test module neither reads nor writes beyond any buffer's ends.

    Counts the allocations, so that a case that allocates nothing does not pass.
    """
    code = (
        f"import {module}\n"
        "from kernel_cases import guarded, _guarded_maps\n"
        f"{module}.{function}(guarded)\n"
        f"{module}.{function}(lambda values: guarded(values, at_end=False))\n"
        "print('buffers', len(_guarded_maps))\n"
    )
    result = run_python(code)
    assert result.returncode == 0, f"exit {result.returncode}: {result.stderr[-2000:]}"
    assert int(result.stdout.split()[-1]) > 1


Allocator = Callable[[np.ndarray], np.ndarray]
