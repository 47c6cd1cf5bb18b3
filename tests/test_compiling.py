"""How long compilation takes, as Numba's events tell."""

from __future__ import annotations

from numba.core import event

from fastdnn import compiling
from fastdnn.compiling import CompileClock


def test_nested_compilations_count_once_and_those_outside_do_not(monkeypatch):
    now, announced = 0.0, []
    monkeypatch.setattr(compiling.time, "perf_counter", lambda: now)

    def compile_nested() -> None:
        nonlocal now
        with event.trigger_event("numba:compile"):
            now += 1.0
            with event.trigger_event("numba:compile"):
                now += 2.0
            now += 4.0

    compile_nested()
    with CompileClock(lambda: announced.append(now)) as clock:
        now += 100.0
        compile_nested()
        now += 100.0
        compile_nested()
    compile_nested()
    assert clock.seconds == 14.0
    assert announced == [107.0]
