"""Vectors and pointers: every primitive against what NumPy computes, compiled or not."""

from __future__ import annotations

import platform
from itertools import product

import numpy as np
import pytest
from kernel_cases import (
    FENCE,
    JIT,
    Fenced,
    assert_same,
    count_edges,
    each_dtype,
    fenced,
    run_python,
)

from fastdnn.kernels import target
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.simd import (
    Pointer,
    absolute,
    at,
    fma,
    get,
    keep_first,
    lanes,
    load,
    load_first,
    load_up_to,
    pointer,
    prefetch,
    put,
    select,
    smallest_normal,
    splat,
    sqrt,
    store,
    store_first,
    store_up_to,
    sum_lanes,
    transpose_square,
)
from fastdnn.kernels.target import TARGET
from fastdnn.kernels.vectors import lane_count

pytestmark = [pytest.mark.kernels, pytest.mark.lanes]

on_x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="names x86 processors"
)


# --- arithmetic -----------------------------------------------------------------------------------


@kernel
def vector_results(out, row, a, b, c, count):
    """Every operation on vectors; operation i fills the row of ``row`` elements i of ``out``."""
    p = pointer(out, 0)
    for j in range(0, count, lanes(p)):
        x, y, z = load(pointer(a, j)), load(pointer(b, j)), load(pointer(c, j))
        zero = splat(p, 0.0)
        q = at(p, j)
        store(q, x + y)
        store(at(q, row), x - y)
        store(at(q, 2 * row), x * y)
        store(at(q, 3 * row), x / y)
        store(at(q, 4 * row), -x)
        store(at(q, 5 * row), x + 0.1)
        store(at(q, 6 * row), 1 - x)
        store(at(q, 7 * row), fma(x, y, z))
        store(at(q, 8 * row), fma(x, 2.0, z))
        store(at(q, 9 * row), sqrt(x))
        store(at(q, 10 * row), absolute(x))
        store(at(q, 11 * row), select(x < y, x, z))
        store(at(q, 12 * row), select(x <= y, x, 0.0))
        store(at(q, 13 * row), select(x > y, 1.0, z))
        store(at(q, 14 * row), select(x >= 0, x, zero))
        store(at(q, 15 * row), select(x == y, splat(p, 1), zero))
        store(at(q, 16 * row), select(x != y, splat(p, 0.1), zero))


VECTOR_OPERATIONS = [
    ("x + y", lambda x, y, z: x + y),
    ("x - y", lambda x, y, z: x - y),
    ("x * y", lambda x, y, z: x * y),
    ("x / y", lambda x, y, z: x / y),
    ("-x", lambda x, y, z: -x),
    ("x + 0.1", lambda x, y, z: x + x.dtype.type(0.1)),
    ("1 - x", lambda x, y, z: 1 - x),
    ("fma(x, y, z)", lambda x, y, z: x * y + z),
    ("fma(x, 2.0, z)", lambda x, y, z: 2 * x + z),
    ("sqrt(x)", lambda x, y, z: np.sqrt(x)),
    ("absolute(x)", lambda x, y, z: np.abs(x)),
    ("select(x < y, x, z)", lambda x, y, z: np.where(x < y, x, z)),
    ("select(x <= y, x, 0.0)", lambda x, y, z: np.where(x <= y, x, 0)),
    ("select(x > y, 1.0, z)", lambda x, y, z: np.where(x > y, 1, z)),
    ("select(x >= 0, x, zero)", lambda x, y, z: np.where(x >= 0, x, 0)),
    ("select(x == y, 1, zero)", lambda x, y, z: np.where(x == y, 1.0, 0)),
    ("select(x != y, 0.1, zero)", lambda x, y, z: np.where(x != y, 0.1, 0)),
]

# Products and sums of these are exact, so that one rounding or two make no difference to fma.
SPECIALS = [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 1024.0, np.inf, -np.inf, np.nan]

_vector_table: dict[str, tuple[np.ndarray, list[np.ndarray]]] = {}


def vector_table(dtype):
    """What the kernel computed for all pairs of special values, and the operands; once a dtype."""
    if dtype not in _vector_table:
        triples = np.array([(x, y, z) for x, y in product(SPECIALS, SPECIALS) for z in (-0.0, 7)])
        count = -(-len(triples) // 16) * 16
        operands = np.ones((3, count), dtype)
        operands[:, : len(triples)] = triples.T
        out = np.full((len(VECTOR_OPERATIONS), count), 99, dtype)
        with np.errstate(all="ignore"):
            vector_results(out.ravel(), count, *operands, count)
        _vector_table[dtype] = out, list(operands)
    return _vector_table[dtype]


@each_dtype
@pytest.mark.parametrize(
    "row", range(len(VECTOR_OPERATIONS)), ids=lambda i: VECTOR_OPERATIONS[i][0]
)
def test_operation_on_vectors(dtype, row):
    out, operands = vector_table(dtype)
    with np.errstate(all="ignore"):
        expected = VECTOR_OPERATIONS[row][1](*operands)
    assert_same(out[row], expected.astype(dtype))


@each_dtype
def test_the_operations_differ_from_each_other(dtype):
    """No formula of the table would pass for another: each test can fail."""
    out, _ = vector_table(dtype)
    for i, row in enumerate(out):
        for other in out[:i]:
            assert not np.array_equal(row, other, equal_nan=True)


@kernel
def scalar_results(out, a, b, c):
    """Operations that scalars share with vectors, and what a pointer says of its dtype."""
    p = pointer(out, 0)
    x, y, z = get(pointer(a, 0), 0), get(pointer(b, 0), 0), get(pointer(c, 0), 0)
    put(p, 0, fma(x, y, z))
    put(p, 1, fma(x, 2.0, 1))
    put(p, 2, select(x < y, x, z))
    put(p, 3, select(x < y, 0.1, z))
    put(p, 4, sqrt(x))
    put(p, 5, absolute(z))
    put(p, 6, smallest_normal(p))
    put(p, 7, 3)
    put(p, 8, lanes(p))
    put(p, 9, get(at(pointer(a, 2), -1), 0))


@each_dtype
def test_operation_on_scalars(dtype):
    x, y, z = np.array([2.0, 3.0, -4.0], dtype)
    out = np.zeros(10, dtype)
    scalar_results(out, np.array([x, 5, 6]), np.array([y]), np.array([z]))
    assert_same(
        out,
        np.array(
            [2, 5, 2, 0.1, np.sqrt(x), 4, np.finfo(dtype).tiny, 3, lane_count(dtype), 5], dtype
        ),
    )


@each_dtype
def test_fma_rounds_once_where_the_processor_can(dtype):
    """(1 + e) (1 - e) - 1 is -e^2 rounded once, and 0 where the product is rounded first."""
    count, e = lane_count(dtype), np.finfo(dtype).eps
    out = np.ones((len(VECTOR_OPERATIONS), count), dtype)
    a, b, c = (np.full(count, value, dtype) for value in (1 + e, 1 - e, -1))
    vector_results(out.ravel(), count, a, b, c, count)
    expected = -(e**2) if TARGET.fused_multiply_add and JIT else 0
    assert_same(out[7], np.full(count, expected, dtype))


# --- loads, stores and their edges ----------------------------------------------------------------


@kernel
def move(out, source, start, count, how):
    """Copies from ``source[start:]`` to the beginning of ``out``."""
    p, q = pointer(out, 0), pointer(source, start)
    if how == 0:
        store(p, load(q))
    elif how == 1:
        store(p, load_first(q, count))
    elif how == 2:
        store_first(p, load(q), count)
    elif how == 3:
        store(p, keep_first(load(q), count))
    elif how == 4:
        store(p, load_up_to(q, count))
    elif how == 5:
        store_up_to(p, load(q), count)
    else:
        for i in range(0, count, lanes(p)):
            store_up_to(at(p, i), load_up_to(at(q, i), count - i), count - i)


def numbers(count, dtype):
    return np.random.RandomState(count).randn(count).astype(dtype)


@each_dtype
@pytest.mark.parametrize("start", [0, 1, 3])
def test_whole_vectors_need_no_alignment(dtype, start):
    count = lane_count(dtype)
    source = numbers(count + start, dtype)
    with fenced() as allocate:
        out = allocate(np.zeros(count, dtype))
        move(out, allocate(source), start, count, 0)
        assert_same(out, source[start:])


@kernel
def ask_for(source, start):
    prefetch(pointer(source, start))


@each_dtype
@pytest.mark.parametrize("start", [0, 3, -1, 2**40, -(2**40)])
def test_any_address_may_be_asked_for(dtype, start):
    """Nothing is read from there, nor changed."""
    with fenced() as allocate:
        source = allocate(numbers(4, dtype))
        ask_for(source, start)
        assert_same(source, numbers(4, dtype))


@each_dtype
@pytest.mark.parametrize("how", [1, 4], ids=["load_first", "load_up_to"])
def test_a_partial_load_reads_nothing_beyond(how, dtype):
    for count in range(lane_count(dtype) + 1):
        with fenced() as allocate:
            source = numbers(max(count, 1), dtype)
            out = allocate(np.full(lane_count(dtype), 9, dtype))
            move(out, allocate(source), 0, count, how)  # a NaN of the fence would show
            assert_same(out[:count], source[:count])
            assert_same(out[count:], np.zeros(out.size - count, dtype))


@each_dtype
@pytest.mark.parametrize("how", [2, 5], ids=["store_first", "store_up_to"])
def test_a_partial_store_writes_nothing_beyond(how, dtype):
    source = numbers(lane_count(dtype), dtype)
    for count in range(lane_count(dtype) + 1):
        with fenced() as allocate:
            out = allocate(np.full(count, 9, dtype))
            move(out, source, 0, count, how)
            assert_same(out, source[:count])


@each_dtype
def test_keep_first_zeroes_the_other_lanes(dtype):
    lane = lane_count(dtype)
    source = numbers(lane, dtype)
    source[-1] = np.nan
    for count in range(-3, lane + 3):
        out = np.full(lane, 9, dtype)
        move(out, source, 0, count, 3)
        assert_same(out, np.where(np.arange(lane) < count, source, 0).astype(dtype))


@each_dtype
def test_up_to_covers_any_length(dtype):
    for count in count_edges(dtype):
        with fenced() as allocate:
            source = numbers(count, dtype)
            out = allocate(np.zeros(count, dtype))
            move(out, allocate(source), 0, count, 6)
            assert_same(out, source)


@each_dtype
def test_a_plain_python_pointer_knows_its_bounds(dtype):
    """NUMBA_DISABLE_JIT=1 finds what compiled code cannot check."""
    array = numbers(5, dtype)
    assert_same(Pointer(array, 2).window(3), array[2:])
    for offset, count in ((3, 3), (-1, 2), (6, 0)):
        with pytest.raises(IndexError, match=f"{count} elements at {offset} of 5"):
            Pointer(array, offset).window(count)


def test_a_fence_notices_one_element():
    """What every test of bounds relies on."""
    for place in (FENCE - 1, FENCE + 3):
        allocate = Fenced()
        whole = allocate(np.zeros(3, np.float32)).base
        allocate.check()
        whole[place] = 1
        with pytest.raises(AssertionError):
            allocate.check()


# --- across lanes ---------------------------------------------------------------------------------


@kernel
def lane_sums(out, source):
    p = pointer(source, 0)
    for i in range(out.size):
        put(pointer(out, 0), i, sum_lanes(load(at(p, i * lanes(p)))))


def halves_first(v):
    while v.size > 1:
        v = v[: v.size // 2] + v[v.size // 2 :]
    return v[0]


@each_dtype
def test_sum_of_lanes_has_one_order(dtype):
    vectors = numbers(200 * lane_count(dtype), dtype).reshape(200, -1)
    out = np.zeros(200, dtype)
    lane_sums(out, vectors.ravel())
    assert_same(out, np.array([halves_first(v) for v in vectors]))
    in_turn = [np.add.accumulate(v)[-1] for v in vectors]
    assert lane_count(dtype) == 2 or (out != in_turn).any()  # the order shows in these numbers


@kernel
def transposed(target, target_stride, source, source_stride):
    transpose_square(pointer(target, 0), target_stride, pointer(source, 0), source_stride)


@each_dtype
@pytest.mark.parametrize("gap", [0, 3])
def test_transpose_square(dtype, gap):
    lane = lane_count(dtype)
    stride = lane + gap
    source = numbers(lane * stride, dtype)
    with fenced() as allocate:
        # the last rows end with the square, not with their stride
        target = allocate(np.full(lane * stride - gap, 9, dtype))
        transposed(target, stride, allocate(source[: source.size - gap]), stride)
        expected = np.full((lane, stride), 9, dtype)
        expected[:, :lane] = source.reshape(lane, stride)[:, :lane].T
        assert_same(target, expected.ravel()[: target.size])


@each_dtype
def test_transpose_square_in_place(dtype):
    lane = lane_count(dtype)
    square = numbers(lane * lane, dtype)
    expected = square.reshape(lane, lane).T.ravel().copy()
    transposed(square, lane, square, lane)
    assert_same(square, expected)


# --- the processor --------------------------------------------------------------------------------


def test_lanes_fill_a_vector():
    assert lane_count("float32") * 4 == lane_count("float64") * 8 == TARGET.vector_bytes
    assert lane_count(np.float64) in (2, 4, 8)


# Fields of a Target: name, bytes of a vector, vector registers, fused multiply-add.
PROCESSORS = [
    TARGET,
    target.Target("32 registers", 64, 32, True),
    target.Target("16 registers", 32, 16, True),
]


@pytest.mark.parametrize("processor", PROCESSORS, ids=["here", "32 registers", "16 registers"])
def test_the_largest_tiles_fill_the_registers(processor):
    """Accumulators, the vectors of the right operand, and two broadcasts; no row more would fit."""
    for vectors in (1, 2, processor.tile_vectors):
        rows = processor.tile_rows(vectors)
        needed = rows * vectors + vectors + 2
        assert 1 <= rows <= 14 and needed <= processor.vector_registers
        assert rows == 14 or needed + vectors > processor.vector_registers


@pytest.mark.parametrize("processor", PROCESSORS, ids=["here", "32 registers", "16 registers"])
def test_the_widest_tile_loads_least(processor):
    """Loads for each multiply-add, of vectors and broadcasts: why a tile is that wide."""

    def loads(vectors):
        rows = processor.tile_rows(vectors)
        return (rows + vectors) / (rows * vectors)

    widths = (1, 2, 4)  # powers of two: the widths of panels divide one another
    assert min(widths, key=loads) == processor.tile_vectors


@on_x86
@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [
        ("nehalem", "+sse4.2", (16, 16, False)),
        ("sandybridge", "+avx", (16, 16, False)),
        ("haswell", "+avx2,+fma", (32, 16, True)),
        ("skylake-avx512", "+avx512f,+avx512vl,+avx512dq,+avx512bw", (64, 32, True)),
    ],
)
def test_probe_of_known_processors(name, features, expected):
    found = target._probe(name, features)
    assert (found.vector_bytes, found.vector_registers, found.fused_multiply_add) == expected
    assert found.name == name
    assert found.tile_vectors == (4 if found.vector_registers == 32 else 2)


@on_x86
def test_numbas_overrides_choose_the_target():
    code = "from fastdnn.kernels.target import TARGET; print(TARGET.vector_bytes)"
    for name, features, vector_bytes in (("haswell", "+avx2,+fma", 32), ("nehalem", "+sse4.2", 16)):
        result = run_python(code, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
        assert result.stdout.split() == [str(vector_bytes)], result.stderr
