"""Routines become a part of their kernels: each is compiled once, and none is machine code."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core import event
from numba.core.codegen import JITCodeLibrary

from fastdnn.kernels import jit

pytestmark = [pytest.mark.kernels, pytest.mark.needs_jit]


@pytest.fixture
def plus():
    @jit.routine
    def plus(x, n):
        return x + n

    return plus


@pytest.fixture
def calls_plus(plus, monkeypatch):
    """A kernel that comes from no cache: from there its routines would not be compiled at all."""
    monkeypatch.setattr(jit, "CACHE_ENABLED", False)

    @jit.routine
    def twice(x, n):
        return plus(x, n) + plus(x, n)

    @jit.kernel
    def calls_plus(x):
        return twice(x, 1) + twice(x, 2) + plus(x, n=3)

    return calls_plus


class Compiled(event.Listener):
    """Names of the functions that Numba compiles, in the order in which it finishes them."""

    def __init__(self):
        self.names = []

    def on_start(self, event):
        pass

    def on_end(self, event):
        self.names.append(event.data["dispatcher"].py_func.__name__)


def test_a_routine_is_compiled_for_types_not_for_constants(calls_plus):
    compiled = Compiled()
    with event.install_listener("numba:compile", compiled):
        assert calls_plus(1.0) == 14.0
    assert compiled.names == ["plus", "twice", "calls_plus"]


def test_only_a_kernel_becomes_machine_code(calls_plus, monkeypatch):
    """Numba would generate that of each routine for itself and again in each of its callers."""
    finalize, generated = JITCodeLibrary._finalize_specific, []

    def count(library):
        finalize(library)
        generated.append(library.name.rpartition(".")[2])

    monkeypatch.setattr(JITCodeLibrary, "_finalize_specific", count)
    assert calls_plus(1.0) == 14.0
    assert {"calls_plus"} <= set(generated) <= {"calls_plus", "nrt"}  # Numba's own, at first use


def test_python_calls_a_routine_that_a_kernel_has_linked(plus, calls_plus):
    """It would find the linked one, which has no entry for Python and returns nothing."""
    assert calls_plus(1.0) == 14.0
    assert plus(1.0, 2) == 3.0


def test_constants_of_other_types_are_routines_of_their_own(plus, calls_plus):
    assert [calls_plus(x) for x in (1.0, 1, np.float32(1.0))] == [14.0, 14, 14.0]
    assert isinstance(calls_plus(1), int) and isinstance(plus(1, 2), int)
