"""Sharing out work, counting together, and waiting: one member and many."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from kernel_cases import each_team, run_all, run_python
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
    counters = new_counters(1)
    assert count_up(counters, 3, 5) == (0, 5)
    assert count_up(counters, 3, -2) == (5, 3)
    assert counters[3] == 3 and np.count_nonzero(counters) == 1


def test_counters_have_a_cache_line_each():
    places = [teams.ARRIVALS, teams.FAILURES, teams.RESULT]
    counters = new_counters(1)
    assert min(np.diff(sorted(places))) * counters.itemsize >= 64
    assert counters.dtype == np.int64 and max(places) < counters.size


@parallel_kernel
def count_together(counters, team, rounds):
    for _member in prange(team):
        for _ in range(rounds):
            teams.atomic_add(counters, ARRIVALS, 1)


@pytest.mark.needs_jit
def test_no_addition_is_lost_between_threads():
    counters = new_counters(4)
    count_together(counters, 4, 100_000)
    assert counters[ARRIVALS] == 400_000


@kernel
def come_and_look(member, counters, team, written, seen):
    """Everyone writes a number; who comes last reads them all."""
    written[member] = member + 1
    if teams.arrives_last(counters, team):
        for i in range(team):
            seen[0] += written[i]


@each_team
@pytest.mark.needs_jit
def test_who_arrives_last_sees_what_all_have_written(team):
    for _ in range(2000):
        written, seen = np.zeros(team, np.int64), np.zeros(1, np.int64)
        run_all(come_and_look, team, (written, seen))
        assert seen[0] == team * (team + 1) // 2


def test_who_arrives_last_comes_after_all_others():
    counters = new_counters(3)
    seen = np.zeros(1, np.int64)
    for member, total in ((1, 0), (0, 0), (2, 6)):
        come_and_look(member, counters, 3, np.arange(1, 4), seen)
        assert seen[0] == total


# --- pieces of work -------------------------------------------------------------------------------


@kernel
def claim(counters, kind, phase, member, team, count):
    return teams.claim(counters, kind, phase, member, team, count)


@kernel
def claim_link(counters, kind, phase, member, team, chains, length):
    return teams.claim_link(counters, kind, phase, member, team, chains, length)


@kernel
def finish(counters, team):
    teams.finish(counters, team)


@kernel
def overtaken(counters, team, goal):
    return teams.overtaken(counters, team, goal)


@kernel
def exchange(counters, index, expected, new):
    return teams.compare_exchange(counters, index, expected, new)


def tickets():
    """Counters for more members than there are threads."""
    return np.zeros(4096, np.int64)


def claimed(counters, kind, phase, member, team, count):
    """All pieces that a member gets while no other one asks for any."""
    pieces = list(iter(lambda: claim(counters, kind, phase, member, team, count), -1))
    assert claim(counters, kind, phase, member, team, count) == -1  # and it stays at that
    return pieces


def test_an_exchange_needs_what_is_expected():
    counters = tickets()
    counters[3] = 7
    assert exchange(counters, 3, 6, 9) == 7 and counters[3] == 7
    assert exchange(counters, 3, 7, 2**40) == 7 and counters[3] == 2**40
    assert np.count_nonzero(counters) == 1


@pytest.mark.parametrize("kind", teams.KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 9])
@pytest.mark.parametrize("team", [1, 2, 3, 7])
def test_own_pieces_come_before_those_of_the_next_members(team, count, kind):
    for member in range(team):
        counters = tickets()
        owners = [(member + i) % team for i in range(team)]
        expected = [piece for owner in owners for piece in range(*share(owner, team, count))]
        for phase in (1, 2, 9, 2**20):
            assert claimed(counters, kind, phase, member, team, count) == expected
            assert all(claim(counters, kind, phase, m, team, count) == -1 for m in range(team))


@pytest.mark.parametrize("team", [1, 2, 3, 7])
def test_no_piece_goes_to_two_members(team):
    """Whatever the order in which they ask, phase after phase."""
    stream = np.random.RandomState(team)
    for count in (0, 1, team, 5 * team + 1):
        counters = tickets()
        for phase in (1, 2, 8):
            pieces, idle = [], set()
            while len(idle) < team:
                member = int(stream.randint(team))
                piece = claim(counters, teams.PANEL_PIECES, phase, member, team, count)
                if piece < 0:
                    idle.add(member)
                else:
                    pieces.append(piece)
            assert sorted(pieces) == list(range(count))


@pytest.mark.parametrize("team", [2, 3, 7])
def test_who_comes_late_finds_nothing_left(team):
    """Of a phase that the others did alone, or while they are in a later one."""
    count = 3 * team
    for begun in (0, 1, count):
        counters = tickets()
        others = claimed(counters, teams.PANEL_PIECES, 4, 1, team, count)
        assert sorted(others) == list(range(count))
        later = [claim(counters, teams.PANEL_PIECES, 5, 1, team, count) for _ in range(begun)]
        for phase in (1, 3, 4):
            assert claim(counters, teams.PANEL_PIECES, phase, 0, team, count) == -1
        rest = claimed(counters, teams.PANEL_PIECES, 5, 0, team, count)
        assert sorted(later + rest) == list(range(count))


@pytest.mark.parametrize("chains", [1, 2, 3, 7])
@pytest.mark.parametrize("team", [1, 3])
def test_links_are_claimed_in_the_order_of_their_chain(team, chains):
    """Whole chains belong to a member, which begins with its own; others take what is left."""
    length, counters = 4, tickets()
    members = np.random.RandomState(3).randint(0, team, 3 * chains * length)
    for phase in (1, 2, 5):
        claimed = []
        for member in members.tolist():
            piece = claim_link(counters, teams.TASK_PIECES, phase, member, team, chains, length)
            first, end = share(member, team, chains)
            own = set(range(first * length, end * length)) - set(claimed)
            assert piece in own if own else piece not in claimed or piece == -1
            claimed += [piece] if piece >= 0 else []
        assert sorted(claimed) == list(range(chains * length))
        for chain in range(chains):
            links = [piece for piece in claimed if piece // length == chain]
            assert links == sorted(links)
        assert claim_link(counters, teams.TASK_PIECES, phase - 1, 0, team, chains, length) == -1


def test_kinds_of_pieces_are_apart():
    """Each member of a team of any size has a line for each kind, behind the other counters.

    Numba's number of threads may grow until they run.
    """
    team = 4 * numba.config.NUMBA_NUM_THREADS
    counters, count = new_counters(team), 20 * team
    others = [ARRIVALS, teams.FINISHED, teams.FAILURES, RESULT]
    counters[others] = -5
    for i in range(2):
        for kind, member in itertools.product(teams.KINDS, range(team)):
            own, _ = share(member, team, count)
            assert claim(counters, kind, 1, member, team, count) == own + i
    lines = np.flatnonzero(counters)
    assert len(lines) == len(others) + len(teams.KINDS) * team
    assert np.diff(lines).min() * counters.itemsize >= 64
    assert (counters[others] == -5).all()


def test_pieces_that_are_finished_are_counted():
    counters = tickets()
    for done in range(5):
        assert overtaken(counters, 3, done) and not overtaken(counters, 3, done + 1)
        finish(counters, 3)
    assert counters[teams.FINISHED] == 5
    finish(counters, 1)  # nobody waits for a member that is alone, and nobody overtakes it
    assert counters[teams.FINISHED] == 5 and not overtaken(counters, 1, 5)


@kernel
def take_all(member, counters, team, count, rounds, late, done, taken_over, values, seen):
    """Every round, each piece adds 1 to its number; then all members read all numbers.

    Member ``late`` dawdles. Counts how often each piece was done, and how often not by its owner.
    """
    first, end = teams.share(member, team, count)
    goal = 0
    for i in range(rounds):
        piece = teams.claim(counters, teams.PANEL_PIECES, 2 * i + 1, member, team, count)
        while piece >= 0:
            teams.atomic_add(done, piece, 1)
            values[piece] = i + 1
            if piece < first or piece >= end:
                teams.atomic_add(taken_over, 0, 1)
            if member == late:
                for _ in range(1000):
                    teams.relax()
            teams.finish(counters, team)
            piece = teams.claim(counters, teams.PANEL_PIECES, 2 * i + 1, member, team, count)
        goal += count
        teams.wait(counters, team, goal)
        least, most = values[0], values[0]
        for j in range(count):
            least, most = min(least, values[j]), max(most, values[j])
        # Nobody writes on before all others have read, but for those that came too late to.
        if not teams.overtaken(counters, team, goal + team):
            seen[member, 0] = min(seen[member, 0], least - i)
            seen[member, 1] = max(seen[member, 1], most - i)
        piece = teams.claim(counters, teams.UNIT_PIECES, 2 * i + 2, member, team, team)
        while piece >= 0:
            teams.finish(counters, team)
            piece = teams.claim(counters, teams.UNIT_PIECES, 2 * i + 2, member, team, team)
        goal += team
        teams.wait(counters, team, goal)


@each_team
@pytest.mark.needs_jit
@pytest.mark.parametrize("late", [0, 1, -1], ids=["first late", "second late", "none late"])
def test_a_team_does_every_piece_once_a_phase(late, team):
    """What is written for pieces is there for all who wait, and the pieces of the late one, too."""
    for count, rounds in ((1, 200), (team, 200), (500, 50)):
        done, taken_over = np.zeros(count, np.int64), np.zeros(1, np.int64)
        values, seen = np.zeros(count, np.int64), np.ones((team, 2), np.int64)
        counters = run_all(take_all, team, (count, rounds, late, done, taken_over, values, seen))
        np.testing.assert_array_equal(done, np.full(count, rounds))
        np.testing.assert_array_equal(values, np.full(count, rounds))
        np.testing.assert_array_equal(seen, np.ones((team, 2)))
        assert counters[teams.FINISHED] == (0 if team == 1 else rounds * (count + team))
    if 0 <= late < team:
        assert (taken_over[0] > 0) == (team > 1)  # of 500 pieces with one slow member


def worked(team, rounds):
    """How often each of the pieces was done, one a member."""
    done, taken_over = np.zeros(team, np.int64), np.zeros(1, np.int64)
    values, seen = np.zeros(team, np.int64), np.ones((team, 2), np.int64)
    run_all(take_all, team, (team, rounds, -1, done, taken_over, values, seen))
    return done


@pytest.mark.slow
@pytest.mark.needs_jit
def test_more_members_than_cores_come_to_an_end():
    """A member that waits gives its core to the one it waits for."""
    code = "from test_team import worked\nprint(*worked(16, 300))\n"
    result = run_python(code, NUMBA_NUM_THREADS="16")
    assert result.stdout.split() == ["300"] * 16, result.stderr
