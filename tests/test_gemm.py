"""The product of any two matrices: values, layouts, teams, and every road a plan may choose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_cases import (
    JIT,
    Fenced,
    assert_close,
    assert_same,
    assert_survives_guard_pages,
    each_dtype,
    each_team,
    edges,
    needs_guard_pages,
    relative_error,
)

from fastdnn import products, reference
from fastdnn.calls import call
from fastdnn.kernels import gemm
from fastdnn.kernels import team as teams
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.kernels.microkernels import TILE_ROWS, TILE_VECTORS
from fastdnn.kernels.vectors import lane_count
from fastdnn.memory import matrix
from fastdnn.products import activated_product, plan, product

pytestmark = pytest.mark.kernels

PANELS = 8  # many

LAYOUTS = {
    "rows": lambda a: a,
    "columns": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


def shapes(dtype):
    """(m, k, n) around tiles, vectors, panels, the few-lines threshold, and runs of k."""
    lanes, few = lane_count(dtype), gemm.FEW
    width = gemm.panel_width(dtype)
    if not JIT:
        return [(1, 1, 1), (few + 1, 3, lanes + 1), (TILE_ROWS + 1, lanes + 1, width + 1)]
    m = edges(few, TILE_ROWS)
    n = edges(few, *(vectors * lanes for vectors in range(1, TILE_VECTORS + 2)), 2 * width)
    return [*itertools.product(m, (1, lanes + 1), n), *long_shapes(dtype)]


def long_shapes(dtype):
    """Beyond one run of k, one run of scalar products, one group of panels, many tiles; and beyond
    the columns that are added up together."""
    lanes, width = lane_count(dtype), gemm.panel_width(dtype)
    together = gemm.sum_columns(np.dtype(dtype))
    return [
        (TILE_ROWS + 1, gemm.K_RUN - 1, 40),
        (3, gemm.K_RUN + 1, 40),
        (40, gemm.K_RUN, 5),
        (17, 2 * gemm.K_RUN + 5, 33),
        (5, 4 * gemm.K_RUN + 7, width + 1),
        (2, gemm.DOT_RUN + 9, 3),
        (5, 3, width * PANELS),
        (3, gemm.K_RUN + 1, width * PANELS + 3),
        (TILE_ROWS + 2, lanes, 2 * width * PANELS + lanes),
        (40 * TILE_ROWS, gemm.K_RUN + 1, width + 3),
        (1, 2 * gemm.K_RUN + 3, 2 * together + 1),
        (gemm.FEW, gemm.K_RUN + 6, together),
        (2, 3, together - 1),
    ]


def drawn(m, k, n, dtype, seed=0):
    stream = np.random.RandomState(seed)
    return stream.randn(m, k).astype(dtype), stream.randn(k, n).astype(dtype)


def exact(left, right):
    return left.astype(np.float64) @ right.astype(np.float64)


def forced(monkeypatch, **choices):
    """Plans with some choices made for them; returns the list of the plans that were made.

    Scalar products and sums of rows have no choices, and a right operand without contiguous rows is
    always packed.
    """
    taken = []

    def planned(m, n, k, lines_left, lines_right, rows_right, dtype, alone):
        usual = plan(m, n, k, lines_left, lines_right, rows_right, dtype, alone)
        if usual.dots or usual.sums:
            taken.append(usual)
            return usual
        made = usual._replace(**choices)
        height, depth = min(made.height, m), min(made.depth, k)
        tiles = choices.get("block", usual.block // usual.height)
        width, panels = gemm.panel_width(dtype), -(-n // gemm.panel_width(dtype))
        packs_right = made.packs_right or not rows_right
        held = min(made.held, panels) if packs_right else panels
        slot = -(-depth // lane_count(dtype)) * lane_count(dtype) * width
        taken.append(
            made._replace(
                height=height,
                block=tiles * height,
                packs_right=packs_right,
                held=held,
                depth=depth,
                left_size=m * k if made.packs_left else 0,
                panels_size=(held if packs_right else 1) * slot,
            )
        )
        return taken[-1]

    monkeypatch.setattr(products, "plan", planned)
    return taken


def force_team(monkeypatch, team):
    monkeypatch.setattr(products, "team_for", lambda *args, **kwargs: team)


@each_dtype
def test_agrees_with_numpy(dtype):
    for m, k, n in shapes(dtype):
        left, right = drawn(m, k, n, dtype)
        out = product(left, right)
        assert out.dtype == dtype and out.flags.c_contiguous and out.flags.owndata
        expected = exact(left, right)
        scale = np.linalg.norm(np.abs(left).astype(float) @ np.abs(right)) / k**0.5
        # sums that cancel are as exact as their terms allow
        error = np.linalg.norm(out - expected) / max(np.linalg.norm(expected), 0.1 * scale)
        assert error <= {"float32": 1e-5, "float64": 1e-12}[dtype], (m, k, n)


@each_team
@each_dtype
def test_a_scale_of_any_type(dtype, team, monkeypatch):
    """A team's machine code is found by the dtype alone."""
    force_team(monkeypatch, team)
    left, right = drawn(15, 17, 33, dtype)
    expected = product(left, right, scale=2.0)
    for kind in (int, np.float32, np.float64, np.int64):
        assert_same(product(left, right, scale=kind(2)), expected)


@each_dtype
def test_a_wrong_answer_is_noticed(dtype):
    left, right = drawn(3, 40, 5, dtype)
    left[1, 7] *= 1.01
    out = product(left, right)
    left[1, 7] /= 1.01
    assert relative_error(out, exact(left, right)) > 1e-5


@pytest.mark.slow
@pytest.mark.needs_jit
@each_dtype
def test_long_sums_keep_their_precision(dtype):
    """Rounding errors grow with the run of k and the number of runs, not with k = 1e5."""
    stream = np.random.RandomState(0)
    for m, n in ((1, 1), (6, 7), (20, 40)):
        left = stream.uniform(0, 1, (m, 100_000)).astype(dtype)
        right = stream.uniform(0, 1, (100_000, n)).astype(dtype)
        assert_close(product(left, right), exact(left, right))


@pytest.mark.parametrize("right_layout", LAYOUTS)
@pytest.mark.parametrize("left_layout", LAYOUTS)
def test_layouts(left_layout, right_layout):
    """Any strides, without a copy where NumPy needs none."""
    for m, k, n in ((2, 3, 3), (15, 17, 40), (40, 5, 3), (3, 20, 50)) if JIT else ((5, 3, 9),):
        left, right = drawn(m, k, n, "float64")
        left, right = LAYOUTS[left_layout](left), LAYOUTS[right_layout](right)
        kept = left.copy(), right.copy()
        assert_close(product(left, right), left @ right)
        np.testing.assert_array_equal(left, kept[0])
        np.testing.assert_array_equal(right, kept[1])


def test_matrix_is_the_same_memory():
    for layout in LAYOUTS.values():
        array = layout(np.arange(35.0).reshape(5, 7))
        for view in (array, array[1:4, 2:], array[:, ::-2]):
            flat, start, row, column = matrix(view)
            assert flat.flags.c_contiguous and flat.flags.writeable
            assert np.shares_memory(flat, array)
            for (i, j), x in np.ndenumerate(view):
                assert flat[start + i * row + j * column] == x


def test_unaligned_strides_are_copied():
    record = np.zeros((3, 4), [("tag", "i4"), ("value", "f8")])
    view = record["value"]
    view[...] = np.arange(12.0).reshape(3, 4)
    flat, start, row, column = matrix(view)
    assert [flat[start + row + 2 * column], flat[start + 2 * row]] == [6.0, 8.0]


@pytest.mark.needs_jit
@each_dtype
@pytest.mark.parametrize("packs_left", [False, True])
@pytest.mark.parametrize("packs_right", [False, True])
def test_every_road_gives_the_same_bits(packs_left, packs_right, dtype, monkeypatch):
    """Packing and the height of tiles change where numbers are read, not what is computed."""
    width, few = gemm.panel_width(dtype), gemm.FEW
    cases = [
        (15, 17, 33),
        (40, 5, width + 6),
        (30, gemm.K_RUN + 3, 65),
        (few + 2, 4 * gemm.K_RUN + 1, 2 * width),
        (TILE_ROWS + 1, 9, width * (PANELS + 1) + 1),
    ]
    for (m, k, n), left_layout, right_layout in itertools.product(
        cases, ("rows", "columns", "strided"), ("rows", "columns", "strided")
    ):
        left, right = drawn(m, k, n, dtype)
        expected = product(left, right)
        given = LAYOUTS[left_layout](left), LAYOUTS[right_layout](right)
        for height in {1, TILE_ROWS - 1, TILE_ROWS}:
            with monkeypatch.context() as patch:
                taken = forced(patch, packs_left=packs_left, packs_right=packs_right, height=height)
                assert_same(product(*given), expected)
            (road,) = taken
            assert (road.height, road.packs_left) == (height, packs_left)
            assert road.packs_right == (packs_right or right_layout != "rows")


@each_dtype
def test_sums_of_rows_have_the_bits_of_tiles(dtype):
    """Whose right operand lies in memory so that its rows cannot be added up."""
    width, together = gemm.panel_width(dtype), gemm.sum_columns(np.dtype(dtype))
    lengths = (1, 4, 7, 2 * gemm.K_RUN + 7) if JIT else (3,)
    columns = (gemm.FEW + 1, 2 * width, together + 5) if JIT else (gemm.FEW + 1,)
    for m, k, n in itertools.product(range(1, gemm.FEW + 1), lengths, columns):
        left, right = drawn(m, k, n, dtype)
        bias = np.linspace(-1, 1, m, dtype=dtype).reshape(m, 1)
        results = [
            activated_product(left, LAYOUTS[layout](right), bias, ACTIVATIONS["tanh"].code)
            for layout in ("rows", "strided")
        ]
        for ours, theirs in zip(*results, strict=True):
            assert_same(ours, theirs)
        ours, theirs = (
            product(left, LAYOUTS[layout](right), scale=1 / 3) for layout in ("rows", "strided")
        )
        assert_same(ours, theirs)


def test_another_order_of_the_sum_gives_other_bits():
    """The numbers of these tests would show a chain of multiply-adds that is cut elsewhere."""
    for dtype in ("float32", "float64"):
        left, right = drawn(15, 17, 33, dtype)
        assert (product(left, right) != product(left[:, ::-1], right[::-1])).any()


def team_cases(dtype):
    """Shares that end within a panel, within a group of panels, and members without any."""
    width = gemm.panel_width(dtype)
    cases = [(1, 1, 1), (15, 17, 33), (40, 5, 3), (2, 100, 50)]
    if not JIT:
        return cases[:2]
    return [
        *cases,
        (100, gemm.K_RUN + 3, 100),
        (2 * TILE_ROWS + 1, 20, width * (PANELS + 1) + 5),
        (TILE_ROWS, gemm.K_RUN + 1, 3 * width),
        (3, gemm.K_RUN + 6, 2 * gemm.sum_columns(np.dtype(dtype)) + 5),
    ]


# Rounds of a panel and of a run of k; pieces of two panels and two tiles; of all tiles.
ROUNDS = (
    {"held": 1, "group": 1, "depth": gemm.K_RUN},
    {"held": 2, "group": 2, "depth": gemm.K_RUN, "block": 2},
    {"block": 1000},
)


@each_team
@each_dtype
def test_any_team_gives_the_same_bits(team, dtype, monkeypatch):
    for m, k, n in team_cases(dtype):
        left, right = drawn(m, k, n, dtype)
        expected = product(left, right)
        for packs_left, packs_right in itertools.product((False, True), repeat=2):
            for rounds in ({}, *ROUNDS):
                with monkeypatch.context() as patch:
                    forced(patch, packs_left=packs_left, packs_right=packs_right, **rounds)
                    force_team(patch, team)
                    assert_same(product(left, right), expected)


class OneByOne:
    """Stands in for `call`: the members one after the other, each with buffers of its own.

    Each finds the pieces of all others claimed, and waits for nobody. What it packs is handed on,
    and all members run again once that is complete: then what each wrote must be all of ``out``,
    every element once, and nothing in ``work`` but what all share and its own part.
    """

    def __init__(self, team, taken):
        self.team, self.taken = team, taken

    def __call__(self, kernel, team, address, how, out, values, work, *operands, key):
        assert team == self.team
        road = self.taken[-1]
        shared = np.full(road.left_size + road.panels_size, np.nan, out.dtype)
        for _ in range(2):
            written = np.zeros(out.size, int)
            for member in range(team):
                self.run(kernel, member, road, shared, written, address, how, out, values,
                         work.size, *operands)  # fmt: skip
        assert (written == 1).all()

    def run(
        self, kernel, member, road, shared, written, address, how, out, values, work_size,
        *operands,
    ):  # fmt: skip
        target, activated = np.full_like(out, np.nan), np.full_like(values, np.nan)
        work = np.full(work_size, np.nan, out.dtype)
        work[: shared.size] = shared
        counters = np.zeros(teams._TICKETS + 8 * teams._LINE * self.team, np.int64)
        counters[teams._TICKETS :: teams._LINE] = 1 << 60  # a phase far ahead
        for kind in range(8):
            counters[teams._TICKETS + (kind * self.team + member) * teams._LINE] = 0
        counters[teams.FINISHED] = 1 << 60
        with np.errstate(all="ignore"):  # of operands that are not complete yet
            kernel(member, counters, self.team, address, how, target, activated, work, *operands)
        own = slice(
            shared.size + member * road.own_size, shared.size + (member + 1) * road.own_size
        )
        shared[:] = work[: shared.size]
        work[: shared.size] = work[own] = np.nan
        assert np.isnan(work).all()
        part = ~np.isnan(target)
        np.testing.assert_array_equal(np.isnan(activated), ~part)
        out[part], values[part] = target[part], activated[part]
        written += part


@each_dtype
@pytest.mark.parametrize("team", [1, 2, 3, 5])
def test_members_write_what_is_theirs(team, dtype, monkeypatch):
    """Every element of the result by one member, every member in its own part of ``work``."""
    force_team(monkeypatch, team)
    for m, k, n in team_cases(dtype):
        left, right = drawn(m, k, n, dtype)
        left = LAYOUTS["columns"](left)
        bias = np.linspace(-1, 1, m, dtype=dtype).reshape(m, 1)
        for packs_left, packs_right in itertools.product((False, True), repeat=2):
            with monkeypatch.context() as patch:
                taken = forced(patch, packs_left=packs_left, packs_right=packs_right)
                patch.setattr(products, "call", OneByOne(team, taken))
                Z, A = activated_product(left, right, bias, ACTIVATIONS["leaky_relu"].code)
                assert len(taken) == 1
                assert_close(Z, exact(left, right) + bias)
                assert_close(A, reference.leaky_relu(Z.astype(np.float64))[0])


@each_dtype
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if ACTIVATIONS[name].elementwise])
def test_bias_scale_and_activation(name, dtype):
    """In one pass, on tiles inside, at the edge, beyond one run of k, and as scalar products."""
    width = gemm.panel_width(dtype)
    cases = (
        (15, 3, 2 * width), (15, 3, width + 3), (9, gemm.K_RUN + 2, 20),
        (9, 2 * gemm.K_RUN + 2, width), (5, gemm.K_RUN, width - 1),
    )  # fmt: skip
    for m, k, n in (*cases, (20, 7, 1), (20, 7, 3), (1, 7, 20)) if JIT else ((3, 2, 5), (5, 3, 2)):
        left, right = drawn(m, k, n, dtype, seed=1)
        left /= np.sqrt(k, dtype=dtype)
        bias = np.linspace(-1, 1, m, dtype=dtype).reshape(m, 1)
        for right_layout in ("rows", "columns"):
            given = LAYOUTS[right_layout](right)
            Z, A = activated_product(left, given, bias, ACTIVATIONS[name].code)
            expected = exact(left, right) + bias
            assert_close(Z, expected)
            assert_close(A, reference.ACTIVATIONS[name].function(expected)[0])
            assert_same(product(left, given, bias=bias), Z)
            assert_close(product(left, given, scale=0.25), 0.25 * exact(left, right))


# --- buffers ---------------------------------------------------------------------------------


class Surrounded:
    """Stands in for `call`: all arrays are between fences, or pages that may not be touched."""

    def __init__(self, allocate):
        self.allocate = allocate

    def __call__(self, kernel, team, address, how, out, values, *args, key):
        given = [self.allocate(a) if isinstance(a, np.ndarray) else a for a in args]
        target = self.allocate(out)
        activated = target if values is out else self.allocate(values)
        call(kernel, team, address, self.allocate(how), target, activated, *given, key=key)
        out[...], values[...] = target, activated


def surrounded_products(allocate, dtype, team=1):
    """Products of all roads between whatever ``allocate`` puts around the buffers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "call", Surrounded(allocate))
        force_team(patch, team)
        width = gemm.panel_width(dtype)
        cases = [
            (1, 1, 1), (5, 5, 7), (15, 33, 33), (20, 9, 2), (3, 9, 20), (6, 400, width + 6),
            (TILE_ROWS + 1, 7, width), (5, 3, width * (PANELS + 1) - 1),
            (3, 6, gemm.sum_columns(np.dtype(dtype)) + 3),
        ]  # fmt: skip
        for (m, k, n), packs_left, packs_right in itertools.product(
            cases if JIT else cases[:2], (False, True), (False, True)
        ):
            forced(patch, packs_left=packs_left, packs_right=packs_right)
            left, right = drawn(m, k, n, dtype)
            bias = np.ones((m, 1), dtype)
            for left_layout, right_layout in itertools.product(("rows", "columns"), repeat=2):
                given = LAYOUTS[left_layout](left), LAYOUTS[right_layout](right)
                Z, A = activated_product(*given, bias, ACTIVATIONS["relu"].code)
                assert_close(Z, exact(left, right) + 1)
                assert_same(A, np.maximum(Z, 0))
                assert_close(product(*given), exact(left, right))


@each_team
@each_dtype
def test_nothing_beyond_the_buffers_is_touched(dtype, team):
    fences = Fenced()
    surrounded_products(fences, dtype, team)
    fences.check()


def between_pages(allocate):
    surrounded_products(allocate, "float32")


@pytest.mark.needs_jit
@needs_guard_pages
def test_reads_stay_inside_the_buffers():
    assert_survives_guard_pages("test_gemm", "between_pages")
