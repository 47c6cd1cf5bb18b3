"""Serial or parallel, and on how many threads: decided here and nowhere else.

A kernel gives the same bits alone and in a team, so any doubt ends in no team: one thread runs it
where a team would be slower (small work), would kill the process (a child forked after Numba's
threads were started: GNU OpenMP), or would abort it (a second Python thread entering the workqueue
layer). A layer need not run all members of a team at once, see `kernels.team`.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
from numba.core import config
from numba.np.ufunc import parallel
from numpy import ndarray

from .kernels.team import RESULT, kernel_address, launch, new_counters

# Fixed costs measured on four cores of a server: entering a parallel region of the OpenMP layer,
# and one wait of the members for one another inside. A region costs 5 microseconds in a loop of
# nothing else, but (measured with two threads) 15 after 50 and 35 after 200 microseconds of Python,
# when the threads have fallen asleep. A multiply-add takes some 25 ps (float32) to 50 ps with the
# work around it, on one core.
REGION_MICROSECONDS = 20.0
WAIT_MICROSECONDS = 1.5
MULTIPLY_ADDS_PER_MICROSECOND = 20_000.0

_inside = threading.Lock()
_forked = False
_most_members = 0  # of a team, once the threads run; until then unknown
_default_threads = 0  # until the environment was asked


def _after_fork() -> None:
    """In a forked child: the parent's threads are gone, and its lock may be held by one of them."""
    global _forked, _inside, _most_members
    _forked = bool(parallel._is_initialized)
    _inside = threading.Lock()
    _most_members = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def default_threads() -> int:
    """Threads a call may use: ``FASTDNN_NUM_THREADS``, or all that Numba has.

    The first call warns of a variable that is no number of threads, and uses all.
    Asked once, as OpenMP and Numba do with theirs: it would cost a call 1 microsecond, and 17 to 56
    after a large product, when nothing of the interpreter is in the caches.
    """
    global _default_threads
    if not _default_threads:
        wanted = os.environ.get("FASTDNN_NUM_THREADS", "").strip()
        most = int(config.NUMBA_NUM_THREADS)
        given = wanted.isdecimal() and int(wanted) > 0
        _default_threads = min(int(wanted), most) if given else most
        if wanted and not given:
            warnings.warn(
                f"FASTDNN_NUM_THREADS is {wanted!r}, expected a whole number >= 1: all {most} "
                "threads are used",
                RuntimeWarning,
                stacklevel=2,
            )
    return _default_threads


@contextmanager
def threads_at_most(n_threads: int) -> Iterator[None]:
    """Another default for the calls of this process, as for those that take no ``n_threads``."""
    global _default_threads
    before, _default_threads = _default_threads, n_threads
    try:
        yield
    finally:
        _default_threads = before


def threads(n_threads: int | None) -> int:
    """The limit a call was given, or the default."""
    return default_threads() if n_threads is None else min(n_threads, int(config.NUMBA_NUM_THREADS))


def best_team(
    multiply_adds: float, *, repeats: int = 1, waits: int = 2, limit: int | None = None
) -> int:
    """All threads there may be (``limit``) for ``repeats`` pieces of work, or one if it is faster.

    One piece is ``multiply_adds``, in which members wait for one another ``waits`` times; a region
    is entered once for all.
    There is nothing between: GNU OpenMP ends and starts threads where one region's team is not as
    large as the last one's, which takes ten times as long as entering it.
    """
    team = threads(limit)
    alone = multiply_adds / MULTIPLY_ADDS_PER_MICROSECOND
    together = alone / team + waits * WAIT_MICROSECONDS + REGION_MICROSECONDS / repeats
    return team if together < alone else 1


# Rounds that a thread of GNU OpenMP spins for, some 20 microseconds, before it sleeps. Its default,
# 3 milliseconds, keeps the cores from whoever has work for them, our own late members among them:
# with two other busy processes on four cores a single step took 8 ms instead of 0.25 ms.
SPIN_ROUNDS = "2000"


def _launch_threads() -> None:
    """Start Numba's threads. GNU OpenMP reads its settings when it is loaded, which this does."""
    if parallel._is_initialized or {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        parallel._launch_threads()
        return
    os.environ["GOMP_SPINCOUNT"] = SPIN_ROUNDS
    try:
        parallel._launch_threads()
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)  # another Python thread may have been here as well


def teams_are_safe() -> bool:
    """Whether a parallel kernel may run in this process, here and now."""
    if _forked or config.DISABLE_JIT:
        return False
    try:
        _launch_threads()
    except ValueError:  # the layer that was asked for is not installed
        return False
    return True


def _team_limit() -> int:
    """OpenMP's own limit on the size of a team, where one is set."""
    limit = os.environ.get("OMP_THREAD_LIMIT", "").strip()
    return int(limit) if limit.isdecimal() and int(limit) > 0 else config.NUMBA_NUM_THREADS


def most_members() -> int:
    """Members that a team may have in this process, here and now; 1 where no team is safe.

    OpenMP reads its settings when it is loaded, so they are looked up once. A call finds little of
    the interpreter in the caches after a large product: three variables of the environment and
    Numba's own question for its threads cost it 30 microseconds.
    """
    global _most_members
    if _most_members:
        return _most_members
    if not teams_are_safe():
        return 1
    _most_members = _team_limit()
    return _most_members


def run_team(kernel: Any, team: int, *args: Any, key: Any = None) -> int:
    """Call ``kernel(member, counters, team, *args)`` for a team of that size, or for one member.

    The arrays among ``args`` are contiguous and writable. A ``key`` stands for the types of all of
    them, which are looked at otherwise. Returns what the kernel left in ``counters[RESULT]``, else
    0. The thread count of other Numba code is as before.
    """
    if team > 1:
        team = min(team, most_members())
    counters = new_counters(team)
    if team > 1 and not _inside.locked():
        # No trying to acquire it: Ctrl-C may come between that and a `try`, never within a `with`.
        # Whoever is outrun since the look at it waits for one call.
        with _inside:
            launch(_address(kernel, args, key), counters, team, args)
    else:
        kernel(0, counters, 1, *args)
    return int(counters[RESULT])


_addresses: dict[tuple[Any, ...], int] = {}


def _address(kernel: Any, args: tuple[Any, ...], key: Any) -> int:
    """The kernel's machine code for these arguments, remembered by their types or their key."""
    if key is None:
        key = tuple([value.dtype if isinstance(value, ndarray) else type(value) for value in args])
    found = _addresses.get((kernel, key))
    if found is None:
        found = _addresses[kernel, key] = kernel_address(kernel, args)
    return found


def threading_layer() -> str:
    """Name of the threading layer in use, started if it was not: for ``fastdnn info``."""
    if _forked:
        return "none (forked after threads were started)"
    _launch_threads()
    return str(numba.threading_layer())
