"""Forked children train, to the same bits, and neither die nor hang.

A scenario is a function of this module that runs in a process of its own, as in `test_threads`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable

import pytest
from thread_cases import (
    HANG_SECONDS,
    LAYERS,
    SHAPES,
    Teams,
    in_processes,
    make,
    run_scenario,
    trained,
)

from fastdnn import dispatch

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(work: Callable[[], None]) -> None:
    """Do ``work`` in a forked child, which must end well and in time."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(HANG_SECONDS // 2)  # kills it, wherever it hangs
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def fork_after_parallel() -> None:
    teams, expected = Teams(), trained(1)
    assert trained(2) == expected
    assert teams.take()

    def child() -> None:
        assert trained(2) == expected
        assert not teams.take(), "a team in a forked child"
        assert dispatch.threading_layer().startswith("none")
        in_child(grandchild)

    def grandchild() -> None:
        assert trained(2) == expected
        assert not teams.take()

    for _ in range(2):
        in_child(child)
        assert trained(2) == expected
        assert teams.take(), "the parent lost its threads"


def fork_before_parallel() -> None:
    teams, expected = Teams(), trained(1)

    def child() -> None:
        assert trained(2) == expected
        assert teams.take(), "nothing forbids a team here"

    in_child(child)
    child()


def fork_while_a_thread_is_inside() -> None:
    teams, expected = Teams(), trained(1)
    net, X, Y = make(*SHAPES[1])
    outputs = net.forward(X).shape
    stop = threading.Event()
    other = threading.Thread(
        target=net.fit, args=(X, Y),
        kwargs={"epochs": 10**9, "callbacks": [lambda history: not stop.is_set()]},
    )  # fmt: skip
    other.start()
    while not (teams.inside and dispatch._inside.locked()):
        time.sleep(0.001)

    def child() -> None:
        assert trained(2) == expected
        assert not dispatch._inside.locked(), "a lock nobody will release"

    def child_with_the_network_in_training() -> None:
        assert net.forward(X).shape == outputs  # whichever step it was forked in
        net.fit(X, Y, epochs=2)

    try:
        for work in (child, child, child_with_the_network_in_training):
            in_child(work)
    finally:
        stop.set()
        other.join()


def work_of_pool(n_threads: int) -> tuple[int, str]:
    return os.getpid(), trained(n_threads)


def pool_of_forks() -> None:
    teams, expected = Teams(), trained(1)
    assert trained(2) == expected
    assert teams.take()
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        results = pool.map(work_of_pool, [2, 3, 1, 2], chunksize=1)
    assert {digest for _, digest in results} == {expected}
    assert os.getpid() not in {pid for pid, _ in results}
    process = context.Process(target=trained, args=(2,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert trained(2) == expected


@pytest.mark.slow
@pytest.mark.needs_jit
@needs_fork
@in_processes
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "scenario",
    [
        fork_after_parallel,
        fork_before_parallel,
        fork_while_a_thread_is_inside,
        pool_of_forks,
    ],
)
def test_forked_children_train(scenario, layer):
    run_scenario(scenario, NUMBA_THREADING_LAYER=layer)
