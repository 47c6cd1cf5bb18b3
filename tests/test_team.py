"""Sharing out work, counting together, and meeting: one member and many."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from kernel_cases import assert_same, each_dtype, each_team, run_python
from numba import prange

from fastdnn.kernels import team as teams
from fastdnn.kernels.jit import kernel, parallel_kernel
from fastdnn.kernels.team import ARRIVALS, RESULT, new_counters

pytestmark = pytest.mark.kernels


# --- shares ---------------------------------------------------------------------------------------


@kernel
def share(member, team, count):
    return teams.share(member, team, count)


@pytest.mark.parametrize("team", [1, 2, 3, 4, 7, 64])
def test_shares_are_contiguous_complete_and_fair(team):
    for count in (0, 1, 2, 3, 5, 16, 63, 64, 65, 1000):
        ranges = [share(member, team, count) for member in range(team)]
        assert ranges[0][0] == 0 and ranges[-1][1] == count
        assert all(end == start for (_, end), (start, _) in itertools.pairwise(ranges))
        sizes = {end - start for start, end in ranges}
        assert min(sizes) >= 0 and max(sizes) - min(sizes) <= 1


# --- counters -------------------------------------------------------------------------------------


@kernel
def count_up(counters, index, amount):
    before = teams.atomic_add(counters, index, amount)
    return before, teams.atomic_load(counters, index)


def test_atomic_add_returns_what_was_there_before():
    counters = new_counters()
    assert count_up(counters, 3, 5) == (0, 5)
    assert count_up(counters, 3, -2) == (5, 3)
    assert counters[3] == 3 and np.count_nonzero(counters) == 1


def test_counters_have_a_cache_line_each():
    places = [teams.ARRIVALS, teams.FAILURES, teams.RESULT]
    assert min(np.diff(sorted(places))) * new_counters().itemsize >= 64
    assert new_counters().dtype == np.int64 and max(places) < new_counters().size


@parallel_kernel
def count_together(counters, team, rounds):
    for _member in prange(team):
        for _ in range(rounds):
            teams.atomic_add(counters, ARRIVALS, 1)


@pytest.mark.needs_jit
def test_no_addition_is_lost_between_threads():
    counters = new_counters()
    count_together(counters, 4, 100_000)
    assert counters[ARRIVALS] == 400_000


# --- meetings -------------------------------------------------------------------------------------


@parallel_kernel
def relay(counters, team, meetings, written, seen):
    """Everyone writes the number of the round, meets, and reads what all the others wrote."""
    for member in prange(team):
        me = np.int64(member)
        for i in range(meetings):
            written[me * 8] = i + 1
            teams.meet(counters, team, 2 * i + 1)
            least = written[0]
            for other in range(team):
                least = min(least, written[other * 8])
            seen[me, i] = least
            teams.meet(counters, team, 2 * i + 2)  # nobody writes on before all have read


def met(team, meetings):
    """What the members saw: the round's number, if nobody left a meeting too early."""
    counters = new_counters()
    written, seen = np.zeros(8 * team, np.int64), np.full((team, meetings), -1)
    before = numba.get_num_threads()
    numba.set_num_threads(min(team, numba.config.NUMBA_NUM_THREADS))
    try:
        relay(counters, team, meetings, written, seen)
    finally:
        numba.set_num_threads(before)
    return counters, seen


@each_team
def test_nobody_leaves_before_all_have_come(team):
    meetings = 2_000
    counters, seen = met(team, meetings)
    np.testing.assert_array_equal(seen, np.tile(np.arange(1, meetings + 1), (team, 1)))
    assert counters[ARRIVALS] == (0 if team == 1 else 2 * meetings * team)


@parallel_kernel
def relay_without_meeting(counters, team, meetings, written, seen):
    for member in prange(team):
        me = np.int64(member)
        for i in range(meetings):
            written[me * 8] = i + 1
            teams.atomic_add(counters, ARRIVALS, 1)
            least = written[0]
            for other in range(team):
                least = min(least, written[other * 8])
            seen[me, i] = least


@pytest.mark.needs_jit
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba has 1 thread here")
def test_without_a_meeting_the_relay_would_break():
    """The relay can fail: members that do not wait see numbers of other rounds."""
    meetings = 100_000
    expected = np.arange(1, meetings + 1)
    for _ in range(20):
        written, seen = np.zeros(16, np.int64), np.full((2, meetings), -1)
        relay_without_meeting(new_counters(), 2, meetings, written, seen)
        if (seen != expected).any():
            return
    pytest.fail("members in step by chance, twenty times over")


# --- a kernel launched for a team -----------------------------------------------------------------


@kernel
def member_adds(member, counters, team, out, amounts):
    """Everyone adds to its own place, and once all have, to that of its neighbour."""
    out[member] += amounts[member]
    teams.meet(counters, team, 1)
    out[(member + 1) % team] += 100
    if member == 0:
        counters[RESULT] = 7


def launched(team, dtype):
    out, amounts = np.zeros(team, dtype), np.arange(1, team + 1).astype(dtype)
    arguments, counters = (out, amounts), new_counters()
    before = numba.get_num_threads()
    numba.set_num_threads(team)
    try:
        address = teams.kernel_address(member_adds, arguments)
        teams.launch(address, counters, team, arguments)
    finally:
        numba.set_num_threads(before)
    return out, counters[RESULT]


@each_team
@pytest.mark.needs_jit
@each_dtype
def test_a_launched_kernel_runs_once_for_every_member(dtype, team):
    out, result = launched(team, dtype)
    assert_same(out, (100 + np.arange(1, team + 1)).astype(dtype))
    assert result == 7


@pytest.mark.needs_jit
def test_the_machine_code_of_a_kernel_has_one_address():
    arguments = (np.zeros(1, np.float32), np.zeros(1, np.float32))
    compiled = len(member_adds.overloads)
    addresses = {teams.kernel_address(member_adds, arguments) for _ in range(3)}
    assert len(addresses) == 1 and len(member_adds.overloads) <= compiled + 1
    others = teams.kernel_address(member_adds, (np.zeros(1), np.zeros(1)))
    assert others not in addresses


@kernel
def returns_a_float(member, counters, team, out):
    return 0.5


@pytest.mark.needs_jit
def test_a_kernel_of_another_kind_is_refused():
    """Its machine code would be called with the wrong convention."""
    with pytest.raises(TypeError, match="returns_a_float returns float64, not None"):
        teams.kernel_address(returns_a_float, (np.zeros(1),))


@pytest.mark.slow
@pytest.mark.needs_jit
def test_more_members_than_cores_still_meet():
    """A member that waits gives its core to the one it waits for."""
    code = (
        "import numpy as np\n"
        "from test_team import met\n"
        "counters, seen = met(16, 300)\n"
        "assert (seen == np.arange(1, 301)).all(), seen\n"
        "print('met', counters[0])\n"
    )
    result = run_python(code, NUMBA_NUM_THREADS="16")
    assert result.stdout.split() == ["met", str(2 * 300 * 16)], result.stderr
