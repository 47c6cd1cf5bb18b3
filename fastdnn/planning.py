"""The plan of a training step or a forward pass: what is cut how, and where it lies in memory.

How work is cut is a function of shapes alone (layers, batch, dtype), never of the number of
threads: it decides the order of additions, and results must not depend on the machine's load. Where
things lie depends on the members of a team, too, each of which has memory of its own.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from .kernels import tables
from .kernels.microkernels import TILE_ROWS, TILE_VECTORS, TILE_WIDTHS
from .kernels.step import UNITS_TOGETHER
from .kernels.target import TARGET
from .kernels.vectors import lane_count
from .kernels.weights import ONE_UNIT_ROWS
from .layout import ParameterLayout
from .memory import aligned
from .plan import Places, Plan

# Weights of a layer are packed for every step where a tile's rows would fall into one another's
# cache sets or pages: large matrices, used by enough examples to pay for the copy. W^T, which has
# every element of a row on another page, pays sooner than W.
PACK_BYTES = 512 * 1024
PACK_EXAMPLES = 512
PACK_TRANSPOSED_EXAMPLES = 256

# Panels that pass a layer together, so that weights are fetched once for all of them: a KiB of each
# row. One at a time where the weights are no more than GROUP_BYTES.
GROUP_PANELS = 1024 // TARGET.panel_bytes
GROUP_BYTES = 1024 * 1024

# In a forward pass alone it is not one but so many, because they are also packed together; no more,
# as rows of a large X are on pages of their own (4 % slower with 16 than with 4 of 64 bytes).
FORWARD_PANELS = 4

# Where weights take more than GROUP_BYTES, and the largest layer has TASKS_FROM_UNITS units or more
# to share out, layers are computed in tasks of so many units for a group of panels, or of fewer
# until a layer has TASKS_WANTED of them to share out evenly: whole vectors and whole tiles.
TASK_UNITS = (96, 48)
TASKS_WANTED = 24
TASKS_FROM_UNITS = 192

# Gradients are added up by chunks of panels while these are in the cache, where weights are few and
# panels many: the values of so many panels would leave the cache before the second phase. Those of
# few panels would have to move to the caches of other members, and the gradients of weights up to
# 80 KiB are less to move: 1.07-1.3 times as fast on four threads up to 75 KB, 0.9-1.0 from 130 KB
# on (alone 0.9-1.0). From so many panels on, so many chunks for weights of so many bytes at most;
# panels of 64 bytes have a quarter of the examples for the same gradients (with the rules of wider
# ones: 0.7-0.9 of the speed at 16 to 64 panels, 0.8-0.9 at 64 to 256 with 400 KB).
CHUNKS_OF_PANELS = (
    {64: (16, 512 * 1024), 16: (8, 512 * 1024), 4: (4, 80 * 1024)}
    if TARGET.panel_bytes == 256
    else {256: (16, 512 * 1024), 64: (16, 256 * 1024), 4: (4, 80 * 1024)}
)

# Less work than this is never worth a team. If its panels are a group they pass a layer together,
# because calls are most of what they cost: 2-16-1 with 32 examples 1.1 (float32) to 1.5 times as
# fast. More panels are faster one by one or in chunks, 1.1 times from 25 on.
SHARED_MULTIPLY_ADDS = 60_000

# The first layer's units are shared out where its weights are so large, and more than its input.
FIRST_LAYER_BYTES = 64 * 1024

# The first layer is computed in slabs of its input where this is far larger than the second-level
# cache, which a slab fills, and so wide that what slabs add to Z is little beside their rows of X.
SLAB_INPUT_BYTES = 4 * 1024 * 1024
SLAB_BYTES = TARGET.second_level_bytes
SLAB_UNITS_PER_OUTPUT = 8
SLABS_WANTED = 32

# From so much work on, panels of examples are narrow enough for a team of this size to share them.
NARROW_MULTIPLY_ADDS = 1_000_000
PANELS_WANTED = 4

# A block of weights is at most MOST_TILES high, and BLOCK_SIZE tiles x panels of units large: its
# gradient stays in the second-level cache, and so do its rows of the errors of a run of examples.
# It is smaller until a layer has enough of them to share out evenly. Of two that are as large the
# one with more rows is faster: its panels are fetched for more tiles (9 % of the time of dW between
# 16 x 4 and 64 x 2 with 64-byte vectors). With 32-byte ones 32 x 8 is up to 1.7 times as fast as
# 64 x 2.
MOST_TILES = TARGET.second_level_bytes // (16 * 1024)
BLOCK_SIZE = TARGET.second_level_bytes // (32 * TARGET.panel_bytes)
BLOCK_TILES = (64, 32, 16, 8, 4, 2, 1)
BLOCK_PANELS = (8, 4, 2, 1)
BLOCKS_WANTED = 48
BLOCK_MULTIPLY_ADDS = 100_000


class _Cut(NamedTuple):
    """How a step is cut."""

    multiply_adds: int
    vectors: int  # of a panel of examples
    panels: int
    group: int  # panels that pass a layer together
    chunks: int  # of panels, with gradients of their own; 0 for none
    shares_units: bool  # of the first layer, instead of the examples
    by_layers: bool  # in tasks
    slab: int  # panels of units in a slab of the first layer; 0 for none


def _cut(dims: tuple[int, ...], size: int, examples: int, dtype: np.dtype, slabs: bool) -> _Cut:
    """How a step of these layers, with ``size`` parameters, is cut; in ``slabs`` if that pays."""
    lanes = lane_count(dtype)
    pairs = itertools.pairwise(dims)
    macs = examples * sum(n_in * n_out * (3 if i else 2) for i, (n_in, n_out) in enumerate(pairs))
    shares_units = _shares_units(dims, examples, dtype)
    vectors = _panel_vectors(examples, lanes, macs, 2 if shares_units else PANELS_WANTED)
    panels, weight_bytes = -(-examples // (vectors * lanes)), size * dtype.itemsize
    # A first layer whose units are shared out needs all panels at once, chunks only their own.
    alone = macs < SHARED_MULTIPLY_ADDS and panels <= GROUP_PANELS
    chunks = 0 if shares_units or alone else _chunks(panels, weight_bytes)
    by_layers = not chunks and _takes_tasks(dims[int(shares_units) :], dtype)
    slab = 0
    if slabs and not (chunks or by_layers or shares_units):
        slab = _slab_panels(dims, examples, TILE_VECTORS * lanes, dtype)
    if chunks:
        group = _chunk_group(dims, vectors * lanes, dtype)
    elif by_layers:
        group = min(GROUP_PANELS, panels)
    elif alone:
        group = panels
    else:
        group = _group(panels, weight_bytes, 1)
    return _Cut(macs, vectors, panels, group, chunks, shares_units, by_layers, slab)


def plan_step(
    layout: ParameterLayout,
    codes: tuple[int, ...],
    loss: int,
    examples: int,
    members: int,
    *,
    weighted: bool = False,
    slabs: bool = True,
) -> Plan:
    """Plan a training step over ``examples`` examples, with scratch space for ``members``.

    Without ``slabs`` the first layer's Z always comes from its input, see `Plan.set_units`.
    """
    dtype = layout.dtype
    lanes = lane_count(dtype)
    dims = layout.layer_dims
    pairs = list(itertools.pairwise(dims))
    cut = _cut(dims, layout.size, examples, dtype, slabs)
    panels, chunks, slab = cut.panels, cut.chunks, cut.slab
    width, unit_width = cut.vectors * lanes, TILE_VECTORS * lanes
    places = Places(dtype)

    shape = np.zeros(tables.SHAPE_FIELDS, np.int64)
    layers = np.zeros((len(pairs), tables.LAYER_FIELDS), np.int64)
    # Panels of hidden layers: all of them, or a group for each member.
    slots = members * cut.group if chunks else panels
    largest = slots * _padded(max(dims[1:]), lanes) * width
    errors = [places.take(largest) for _ in range(2 if chunks else 0)]
    value_panel = _padded(dims[0], lanes) * width
    values, held = -1 if slab else places.take(panels * value_panel), panels
    for i, (n_in, n_out) in enumerate(pairs):
        row = layers[i]
        row[tables.N_IN], row[tables.N_OUT], row[tables.CODE] = n_in, n_out, codes[i]
        row[tables.W], row[tables.B] = layout.weights[i], layout.biases[i]
        row[tables.INPUT], row[tables.INPUT_PANEL] = values, value_panel
        row[tables.UNITS_PANEL] = held * width * unit_width
        units_size = -(-n_in // unit_width) * row[tables.UNITS_PANEL]
        # dW of a layer of one unit does not need them.
        row[tables.UNITS] = -1 if i and n_out == 1 else places.take(int(units_size))
        # One distance for all layers whose errors share memory.
        value_panel, held = _padded(max(dims[1:]) if chunks else n_out, lanes) * width, slots
        values = places.take(slots * value_panel)
        row[tables.OUTPUT], row[tables.OUTPUT_PANEL] = values, value_panel
        row[tables.ERROR] = errors[i % 2] if chunks else places.take(slots * value_panel)
        size, in_slabs = n_in * n_out, slab and i == 0
        # The few rows of a task stay in the cache as they are.
        packs = not cut.by_layers and not in_slabs and _packs(size, examples, PACK_EXAMPLES, dtype)
        transposes = i > 0 and _packs(size, examples, PACK_TRANSPOSED_EXAMPLES, dtype)
        row[tables.PACKED] = places.take(size) if packs else -1
        row[tables.PACKED_T] = places.take(size) if transposes else -1
        row[tables.ONES] = n_in % lanes != 0

    blocks, block_size = _weight_blocks(pairs, examples, unit_width, cut.shares_units, slab)
    shape[tables.FIRST_LAYER_BLOCKS] = first = (blocks[:, tables.BLOCK_LAYER] == 0).sum()
    shape[tables.SLABS] = -1
    if slab:
        shape[tables.SLAB_SIZE] = panels * layers[0, tables.OUTPUT_PANEL]
        shape[tables.SLABS] = places.take(int(first * shape[tables.SLAB_SIZE]))
        block_size = max(block_size, _padded(slab * unit_width, lanes) * width)
    shape[tables.LAYERS], shape[tables.PANELS] = len(pairs), panels
    shape[tables.EXAMPLES] = shape[tables.MOST_EXAMPLES] = shape[tables.COLUMNS] = examples
    shape[tables.WIDTH], shape[tables.VECTORS] = width, cut.vectors
    shape[tables.UNIT_WIDTH] = unit_width
    shape[tables.GROUP], shape[tables.CHUNKS] = cut.group, chunks
    shape[tables.PIECES] = chunks or -(-panels // cut.group)
    shape[tables.FIRST_LAYER] = cut.shares_units
    if chunks:
        shape[tables.CHUNK_SIZE] = _place_chunk_gradients(layers, unit_width, dtype)
        shape[tables.CHUNK_GRADIENTS] = places.take(chunks * int(shape[tables.CHUNK_SIZE]))
    shape[tables.TARGETS] = places.take(panels * dims[-1] * width)
    shape[tables.WEIGHTS] = places.take(panels * width) if weighted else -1
    shape[tables.SCRATCH_SIZE] = aligned(max(block_size, lanes * lanes), dtype)
    shape[tables.SCRATCH] = places.take(int(shape[tables.SCRATCH_SIZE]) * members)
    shape[tables.LOSS], shape[tables.STATE_SIZE] = loss, layout.size
    shape[tables.PACKS] = bool((layers[:, [tables.PACKED, tables.PACKED_T]] >= 0).any())
    tasks = _NO_TASKS
    if cut.by_layers:
        tasks = _tasks(dims, panels, cut.group, int(cut.shares_units))
    return Plan(shape, layers, blocks, tasks, places.size, cut.multiply_adds)


def plan_forward(
    layout: ParameterLayout, codes: tuple[int, ...], examples: int, members: int
) -> Plan:
    """Plan a forward pass; its working memory grows with the members, not with the examples."""
    dtype = layout.dtype
    lanes = lane_count(dtype)
    dims = layout.layer_dims
    pairs = list(itertools.pairwise(dims))
    macs = examples * sum(n_in * n_out for n_in, n_out in pairs)
    vectors = _panel_vectors(examples, lanes, macs, PANELS_WANTED)
    width = vectors * lanes
    panels = -(-examples // width)
    group = _group(panels, layout.size * dtype.itemsize, FORWARD_PANELS)
    places = Places(dtype)
    shape = np.zeros(tables.SHAPE_FIELDS, np.int64)
    layers = np.full((len(pairs), tables.LAYER_FIELDS), -1, np.int64)
    value_panel = _padded(dims[0], lanes) * width
    values = places.take(members * group * value_panel)
    for i, (n_in, n_out) in enumerate(pairs):
        row = layers[i]
        row[tables.N_IN], row[tables.N_OUT], row[tables.CODE] = n_in, n_out, codes[i]
        row[tables.W], row[tables.B] = layout.weights[i], layout.biases[i]
        row[tables.INPUT], row[tables.INPUT_PANEL] = values, value_panel
        value_panel = _padded(n_out, lanes) * width
        values = places.take(members * group * value_panel)
        row[tables.OUTPUT], row[tables.OUTPUT_PANEL] = values, value_panel
        row[tables.KEEP] = row[tables.ONES] = 0
        if _packs(n_in * n_out, examples, PACK_EXAMPLES, dtype):
            row[tables.PACKED] = places.take(n_in * n_out)
    shape[tables.LAYERS], shape[tables.PANELS] = len(pairs), panels
    shape[tables.EXAMPLES] = examples
    shape[tables.WIDTH], shape[tables.VECTORS], shape[tables.GROUP] = width, vectors, group
    shape[tables.PIECES] = -(-panels // group)
    shape[tables.PACKS] = bool((layers[:, tables.PACKED] >= 0).any())
    shape[tables.SCRATCH_SIZE] = aligned(lanes * lanes, dtype)
    shape[tables.SCRATCH] = places.take(int(shape[tables.SCRATCH_SIZE]) * members)
    no_blocks = np.zeros((1, tables.BLOCK_FIELDS), np.int64)
    return Plan(shape, layers, no_blocks, _NO_TASKS, places.size, macs)


def _group(panels: int, weight_bytes: int, few: int) -> int:
    """Panels that pass a layer together, not so many that a team has too few: see GROUP_PANELS.

    Where the weights stay in the cache no more than a ``few``.
    """
    most = few if weight_bytes <= GROUP_BYTES else GROUP_PANELS
    return max(1, min(most, panels // PANELS_WANTED))


_NO_TASKS = np.zeros((0, tables.TASK_FIELDS), np.int64)


def _takes_tasks(dims: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether layers of these widths, from the first one's input on, are computed in tasks."""
    sizes = [(n_in * n_out, n_out) for n_in, n_out in itertools.pairwise(dims)]
    if sum(size for size, _ in sizes) * dtype.itemsize <= GROUP_BYTES:
        return False
    _, units = max(sizes)
    return units >= TASKS_FROM_UNITS


def _tasks(dims: tuple[int, ...], panels: int, group: int, first_layer: int) -> np.ndarray:
    """The tasks from layer ``first_layer`` on, chain after chain: see ``kernels.tasks``."""
    depth = len(dims) - 1
    stages = [(tables.FORWARD_TASK, layer, dims[layer + 1]) for layer in range(first_layer, depth)]
    stages.append((tables.OUTPUT_TASK, depth - 1, dims[-1]))
    stages += [(tables.BACKWARD_TASK, layer, dims[layer]) for layer in range(depth - 1, 0, -1)]
    starts = range(0, panels, group)
    tasks: list[tuple[int, ...]] = []
    counter = -1
    for panel in starts:
        needed, after = 0, -1
        for kind, layer, units in stages:
            together = units
            if kind != tables.OUTPUT_TASK:
                enough = (s for s in TASK_UNITS if -(-units // s) * len(starts) >= TASKS_WANTED)
                together = next(enough, TASK_UNITS[-1])
            rows, counter = range(0, units, together), counter + 1
            for row in rows:
                row_end, panel_end = min(row + together, units), min(panel + group, panels)
                task = (kind, layer, row, row_end, panel, panel_end, counter, after, needed)
                tasks.append(task)
            needed, after = len(rows), counter
    return np.array(tasks, np.int64)


def _chunks(panels: int, weight_bytes: int) -> int:
    """Chunks of panels with gradients of their own, 0 for none."""
    rules = (rule for least, rule in CHUNKS_OF_PANELS.items() if panels >= least)
    count, most_bytes = next(rules, (0, 0))
    return count if weight_bytes <= most_bytes else 0


def _chunk_group(dims: tuple[int, ...], width: int, dtype: np.dtype) -> int:
    """Panels whose values, twice (as dW reads them, too), take no more than GROUP_BYTES."""
    panel_bytes = 2 * sum(dims[1:]) * width * dtype.itemsize
    return max(1, min(GROUP_PANELS, GROUP_BYTES // panel_bytes))


def _place_chunk_gradients(layers: np.ndarray, unit_width: int, dtype: np.dtype) -> int:
    """Write each layer's place in a chunk's gradients; returns the size of these."""
    places = Places(dtype)
    for row in layers:
        units = -(-int(row[tables.N_IN]) // unit_width)
        row[tables.CHUNK_GRADIENT] = places.take(int(row[tables.N_OUT]) * (units * unit_width + 1))
    return places.size


def _slab_panels(dims: tuple[int, ...], examples: int, unit_width: int, dtype: np.dtype) -> int:
    """Panels of units in a slab of the first layer, 0 where it is not computed in slabs."""
    column = examples * dtype.itemsize
    if dims[0] * column < SLAB_INPUT_BYTES:
        return 0
    units = min(dims[0] // SLABS_WANTED, SLAB_BYTES // column)
    return units // unit_width if units >= SLAB_UNITS_PER_OUTPUT * dims[1] else 0


def _shares_units(dims: tuple[int, ...], examples: int, dtype: np.dtype) -> bool:
    """Whether the units of the first layer are shared out instead of the examples.

    Large weights of many examples are not: 784-512-10 with 300 is 1.05 times as fast by examples,
    others up to 1.1 times. From ``PACK_EXAMPLES`` on they could not be, for a share of the units
    need not start a tile of the packed W.
    """
    if len(dims) < 3 or dims[0] * dims[1] * dtype.itemsize < FIRST_LAYER_BYTES:
        return False
    return dims[1] >= examples and not _packs(
        dims[0] * dims[1], examples, PACK_TRANSPOSED_EXAMPLES, dtype
    )


def _panel_vectors(examples: int, lanes: int, multiply_adds: int, wanted: int) -> int:
    """Vectors in a panel of examples: no wider than needed, and enough panels to share out."""
    fitting = [vectors for vectors in TILE_WIDTHS if vectors * lanes >= examples]
    widest = fitting[0] if fitting else TILE_VECTORS
    if multiply_adds < NARROW_MULTIPLY_ADDS or examples <= 2 * lanes:
        return widest
    shared = [v for v in TILE_WIDTHS if -(-examples // (v * lanes)) >= wanted]
    return min(widest, shared[-1] if shared else 1)


def _packs(size: int, examples: int, enough: int, dtype: np.dtype) -> bool:
    """Whether weights are packed for the step, where so many examples are enough."""
    return size * dtype.itemsize >= PACK_BYTES and examples >= enough


def _padded(rows: int, lanes: int) -> int:
    """Rows of a panel: transposing reads whole squares of lanes x lanes, and dW some together."""
    together = max(lanes, ONE_UNIT_ROWS)
    return -(-rows // together) * together


# Rows and panels of a block, the largest first.
_BLOCKS = sorted(
    (
        (tiles * TILE_ROWS, q)
        for tiles in BLOCK_TILES
        for q in BLOCK_PANELS
        if tiles <= MOST_TILES and tiles * q <= BLOCK_SIZE
    ),
    key=lambda size: (size[0] * size[1], size[0]),
    reverse=True,
)


def _weight_blocks(
    pairs: list[tuple[int, int]], examples: int, unit_width: int, shares_units: bool, slab: int
) -> tuple[np.ndarray, int]:
    """The table of weight blocks, and the elements of the largest one."""
    blocks: list[tuple[int, ...]] = []
    largest = 0
    for layer, (n_in, n_out) in enumerate(pairs):
        panels = -(-n_in // unit_width)
        wanted = min(BLOCKS_WANTED, n_in * n_out * examples // BLOCK_MULTIPLY_ADDS)
        sizes = _BLOCKS
        if shares_units and layer == 0:  # its units are updated by whom they are computed
            sizes = [(UNITS_TOGETHER, q) for q in BLOCK_PANELS]
        elif slab and layer == 0:
            sizes = [(n_out, slab)]
        rows, q = next(
            (s for s in sizes if -(-n_out // s[0]) * -(-panels // s[1]) >= wanted), sizes[-1]
        )
        largest = max(largest, min(rows, n_out) * (q * unit_width + 1))  # weights and biases
        # Row after row, as the first layer's units are shared out.
        for row, panel in itertools.product(range(0, n_out, rows), range(0, panels, q)):
            row_end, panel_end = min(row + rows, n_out), min(panel + q, panels)
            blocks.append((layer, row, row_end, panel, panel_end))
    return np.array(blocks, np.int64), largest
