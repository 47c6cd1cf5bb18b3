"""A kernel launched for a team: its address, its arguments, its number of threads."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from kernel_cases import assert_same, each_dtype, each_team, run_all

from fastdnn import dispatch
from fastdnn.kernels import team as teams
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.team import ARRIVALS, RESULT

pytestmark = pytest.mark.kernels


@kernel
def member_adds(member, counters, team, out, amounts):
    """Everyone adds to its own place, and once all have, to that of its neighbour."""
    out[member] += amounts[member]
    teams.atomic_add(counters, ARRIVALS, 1)
    teams.wait_for(counters, ARRIVALS, team)
    out[(member + 1) % team] += 100
    if member == 0:
        counters[RESULT] = 7


def launched(team, dtype):
    out, amounts = np.zeros(team, dtype), np.arange(1, team + 1).astype(dtype)
    counters = run_all(member_adds, team, (out, amounts))
    return out, counters[RESULT]


@each_team
@pytest.mark.needs_jit
@each_dtype
def test_a_launched_kernel_runs_once_for_every_member(dtype, team):
    out, result = launched(team, dtype)
    assert_same(out, (100 + np.arange(1, team + 1)).astype(dtype))
    assert result == 7


@kernel
def exchange_twice(count):
    outside = teams._exchange_threads(count)
    inside = teams._exchange_threads(outside)
    return outside, inside


@pytest.mark.needs_jit
@each_team
def test_a_loop_has_its_own_number_of_threads(team):
    """Whatever the caller's is, which is his again afterwards."""
    before = numba.get_num_threads()
    dispatch.most_members()  # starts the threads, whose layer has the number
    try:
        for outside in (1, before):
            numba.set_num_threads(outside)
            assert exchange_twice(team) == (outside, team)
            assert numba.get_num_threads() == outside
            launched(team, "float64")
            assert numba.get_num_threads() == outside
    finally:
        numba.set_num_threads(before)


@pytest.mark.needs_jit
def test_the_machine_code_of_a_kernel_has_one_address():
    arguments = (np.zeros(1, np.float32), np.zeros(1, np.float32))
    compiled = len(member_adds.overloads)
    addresses = {teams.kernel_address(member_adds, arguments) for _ in range(3)}
    assert len(addresses) == 1 and len(member_adds.overloads) <= compiled + 1
    others = teams.kernel_address(member_adds, (np.zeros(1), np.zeros(1)))
    assert others not in addresses


@kernel
def keeps_all(member, counters, team, flag, count, number, singles, integers, out):
    """Arguments of every kind that kernels take."""
    if flag:
        out[member] = count + number + singles[0] + integers[0]


@each_team
@pytest.mark.needs_jit
def test_arguments_of_any_kind_arrive(team):
    for flag in (True, False):
        out = np.zeros(team)
        singles, integers = np.array([0.5], np.float32), np.array([2**40])
        run_all(keeps_all, team, (flag, 3, 0.25, singles, integers, out))
        assert_same(out, np.full(team, flag * (3 + 0.25 + 0.5 + 2**40)))


@kernel
def returns_a_float(member, counters, team, out):
    return 0.5


@pytest.mark.needs_jit
def test_a_kernel_of_another_kind_is_refused():
    """Its machine code would be called with the wrong convention."""
    with pytest.raises(TypeError, match="returns_a_float returns float64, not None"):
        teams.kernel_address(returns_a_float, (np.zeros(1),))
