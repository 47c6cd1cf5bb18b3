"""Where everything of a network lies: the parameters' buffer, and the plan of a training step.

A plan is a function of shapes alone (layers, batch, dtype), never of the number of threads: how
work is cut decides the order of additions, and results must not depend on the machine's load.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from .kernels import step
from .kernels.microkernels import TILE_ROWS
from .kernels.simd import lane_count

ALIGNMENT = 64  # bytes: a cache line, and the widest vector

# Weights of a layer are packed for every step where a tile's rows would fall into one another's
# cache sets or pages: large matrices, used by enough examples to pay for the copy.
PACK_BYTES = 512 * 1024
PACK_EXAMPLES = 256

# Panels that pass a layer together, so that a tile of weights is fetched once for all of them; one
# at a time where all weights fit into the second-level cache.
GROUP_PANELS = 32
GROUP_BYTES = 1024 * 1024

# From so much work on, a batch of three or four vectors is cut into panels of one instead of two.
NARROW_MULTIPLY_ADDS = 1_000_000

# A block of weights is at most 8 tiles x 16 panels of units (its gradient stays in the second-level
# cache), and smaller until a layer has enough of them to share out evenly.
BLOCK_TILES = (8, 4, 2, 1)
BLOCK_PANELS = (16, 8, 4, 2, 1)
BLOCKS_WANTED = 48
BLOCK_MULTIPLY_ADDS = 100_000


def aligned(count: int, dtype: np.dtype) -> int:
    """``count`` elements, rounded up to whole cache lines."""
    unit = ALIGNMENT // dtype.itemsize
    return -(-count // unit) * unit


def aligned_zeros(count: int, dtype: np.dtype) -> np.ndarray:
    """A flat array of zeros that starts on a cache line."""
    raw = np.zeros(count * dtype.itemsize + ALIGNMENT, np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT
    return raw[offset : offset + count * dtype.itemsize].view(dtype)


@dataclass(frozen=True)
class ParameterLayout:
    """Offsets of W1, b1, W2, b2, ... in the flat buffer of parameters, each on a cache line."""

    layer_dims: tuple[int, ...]
    dtype: np.dtype
    weights: tuple[int, ...] = field(init=False)
    biases: tuple[int, ...] = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        weights, biases, place = [], [], 0
        for n_in, n_out in zip(self.layer_dims, self.layer_dims[1:], strict=False):
            weights.append(place)
            place += aligned(n_in * n_out, self.dtype)
            biases.append(place)
            place += aligned(n_out, self.dtype)
        object.__setattr__(self, "weights", tuple(weights))
        object.__setattr__(self, "biases", tuple(biases))
        object.__setattr__(self, "size", place)

    def views(self, buffer: np.ndarray) -> dict[str, np.ndarray]:
        """W1 (n1, n0), b1 (n1, 1), ... as views into ``buffer``."""
        named = {}
        pairs = zip(self.layer_dims, self.layer_dims[1:], strict=False)
        for layer, (n_in, n_out) in enumerate(pairs):
            w, b = self.weights[layer], self.biases[layer]
            named[f"W{layer + 1}"] = buffer[w : w + n_out * n_in].reshape(n_out, n_in)
            named[f"b{layer + 1}"] = buffer[b : b + n_out].reshape(n_out, 1)
        return named


class _Places:
    """Hands out aligned ranges of a buffer to be."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype, self.size = dtype, 0

    def take(self, count: int) -> int:
        place = self.size
        self.size += aligned(count, self.dtype)
        return place


@dataclass
class Plan:
    """The tables a compiled step reads, and the sizes of the buffers it works in."""

    shape: np.ndarray
    layers: np.ndarray
    blocks: np.ndarray
    work_size: int
    multiply_adds: int  # of one step

    @property
    def panels(self) -> int:
        """Panels of examples."""
        return int(self.shape[step.PANELS])

    def new_work(self, dtype: np.dtype) -> np.ndarray:
        """The buffer to work in: zeros, and the ones that turn the biases into a column of W.

        Where a layer's inputs do not fill their last vector, the unit after the last one is 1 for
        every example, in the panels of examples and in the panels of units.
        """
        work = aligned_zeros(self.work_size, dtype)
        width, unit_width = int(self.shape[step.WIDTH]), int(self.shape[step.UNIT_WIDTH])
        for row in self.layers[self.layers[:, step.ONES] == 1].tolist():
            n_in, panel_size = row[step.N_IN], row[step.INPUT_PANEL]
            values = work[row[step.INPUT] : row[step.INPUT] + self.panels * panel_size]
            values.reshape(self.panels, -1, width)[:, n_in] = 1
            first = row[step.UNITS] + n_in // unit_width * row[step.UNITS_PANEL]
            units = work[first : first + row[step.UNITS_PANEL]]
            units.reshape(-1, unit_width)[:, n_in % unit_width] = 1
        return work


def plan_step(
    layout: ParameterLayout,
    codes: tuple[int, ...],
    loss: int,
    examples: int,
    members: int,
    *,
    weighted: bool = False,
) -> Plan:
    """Plan a training step over ``examples`` examples, with scratch space for ``members``."""
    dtype = layout.dtype
    lanes = lane_count(dtype)
    dims = layout.layer_dims
    pairs = list(itertools.pairwise(dims))
    macs = examples * sum(n_in * n_out * (3 if i else 2) for i, (n_in, n_out) in enumerate(pairs))
    # Narrow panels where wide ones would be half empty, or too few to share out.
    few = 2 * lanes < examples <= 4 * lanes and macs >= NARROW_MULTIPLY_ADDS
    vectors = 1 if examples <= lanes or few else 2
    width, unit_width = vectors * lanes, 2 * lanes
    panels = -(-examples // width)
    places = _Places(dtype)

    shape = np.zeros(step.SHAPE_FIELDS, np.int64)
    layers = np.zeros((len(pairs), step.LAYER_FIELDS), np.int64)
    value_panel = _padded(dims[0], lanes) * width
    values = places.take(panels * value_panel)
    for i, (n_in, n_out) in enumerate(pairs):
        row = layers[i]
        row[step.N_IN], row[step.N_OUT], row[step.CODE] = n_in, n_out, codes[i]
        row[step.W], row[step.B] = layout.weights[i], layout.biases[i]
        row[step.INPUT], row[step.INPUT_PANEL] = values, value_panel
        row[step.UNITS_PANEL] = panels * width * unit_width
        row[step.UNITS] = places.take(-(-n_in // unit_width) * row[step.UNITS_PANEL])
        value_panel = _padded(n_out, lanes) * width
        values = places.take(panels * value_panel)
        row[step.OUTPUT], row[step.OUTPUT_PANEL] = values, value_panel
        row[step.ERROR] = places.take(panels * value_panel)
        packs = _packs(n_in, n_out, examples, dtype)
        row[step.PACKED] = places.take(n_in * n_out) if packs else -1
        row[step.PACKED_T] = places.take(n_in * n_out) if packs and i else -1
        row[step.ONES] = n_in % lanes != 0

    blocks, block_size = _weight_blocks(pairs, examples, unit_width)
    weight_bytes = layout.size * dtype.itemsize
    shape[step.LAYERS], shape[step.EXAMPLES], shape[step.PANELS] = len(pairs), examples, panels
    shape[step.WIDTH], shape[step.VECTORS], shape[step.UNIT_WIDTH] = width, vectors, unit_width
    shape[step.GROUP] = GROUP_PANELS if weight_bytes > GROUP_BYTES else 1
    shape[step.TARGETS] = places.take(panels * dims[-1] * width)
    shape[step.WEIGHTS] = places.take(panels * width) if weighted else -1
    shape[step.SCRATCH_SIZE] = aligned(max(block_size, lanes * lanes), dtype)
    shape[step.SCRATCH] = places.take(int(shape[step.SCRATCH_SIZE]) * members)
    shape[step.LOSS], shape[step.STATE_SIZE] = loss, layout.size
    shape[step.PACKS] = bool((layers[:, step.PACKED] >= 0).any())
    return Plan(shape, layers, blocks, places.size, macs)


def plan_forward(
    layout: ParameterLayout, codes: tuple[int, ...], examples: int, members: int
) -> Plan:
    """Plan a forward pass; its working memory grows with the members, not with the examples."""
    dtype = layout.dtype
    lanes = lane_count(dtype)
    dims = layout.layer_dims
    pairs = list(itertools.pairwise(dims))
    vectors = 1 if examples <= lanes else 2
    width = vectors * lanes
    panels = -(-examples // width)
    group = min(GROUP_PANELS if layout.size * dtype.itemsize > GROUP_BYTES else 4, panels)
    places = _Places(dtype)
    shape = np.zeros(step.SHAPE_FIELDS, np.int64)
    layers = np.full((len(pairs), step.LAYER_FIELDS), -1, np.int64)
    value_panel = _padded(dims[0], lanes) * width
    values = places.take(members * group * value_panel)
    for i, (n_in, n_out) in enumerate(pairs):
        row = layers[i]
        row[step.N_IN], row[step.N_OUT], row[step.CODE] = n_in, n_out, codes[i]
        row[step.W], row[step.B] = layout.weights[i], layout.biases[i]
        row[step.INPUT], row[step.INPUT_PANEL] = values, value_panel
        value_panel = _padded(n_out, lanes) * width
        values = places.take(members * group * value_panel)
        row[step.OUTPUT], row[step.OUTPUT_PANEL] = values, value_panel
        row[step.KEEP] = row[step.ONES] = 0
        if _packs(n_in, n_out, examples, dtype):
            row[step.PACKED] = places.take(n_in * n_out)
    shape[step.LAYERS], shape[step.EXAMPLES], shape[step.PANELS] = len(pairs), examples, panels
    shape[step.WIDTH], shape[step.VECTORS], shape[step.GROUP] = width, vectors, group
    shape[step.PACKS] = bool((layers[:, step.PACKED] >= 0).any())
    shape[step.SCRATCH_SIZE] = aligned(lanes * lanes, dtype)
    shape[step.SCRATCH] = places.take(int(shape[step.SCRATCH_SIZE]) * members)
    macs = examples * sum(n_in * n_out for n_in, n_out in pairs)
    return Plan(shape, layers, np.zeros((1, step.BLOCK_FIELDS), np.int64), places.size, macs)


def _packs(n_in: int, n_out: int, examples: int, dtype: np.dtype) -> bool:
    """Whether a layer's weights are packed for the step."""
    return n_in * n_out * dtype.itemsize >= PACK_BYTES and examples >= PACK_EXAMPLES


def _padded(rows: int, lanes: int) -> int:
    """Rows of a panel: transposing reads whole squares of lanes x lanes."""
    return -(-rows // lanes) * lanes


def _weight_blocks(
    pairs: list[tuple[int, int]], examples: int, unit_width: int
) -> tuple[np.ndarray, int]:
    """The table of weight blocks with the work before each, and the largest block's elements."""
    rows: list[tuple[int, ...]] = []
    largest, work = 0, 0
    for layer, (n_in, n_out) in enumerate(pairs):
        tiles, panels = -(-n_out // TILE_ROWS), -(-n_in // unit_width)
        wanted = min(BLOCKS_WANTED, n_in * n_out * examples // BLOCK_MULTIPLY_ADDS)
        sizes = [(t, q) for t in BLOCK_TILES for q in BLOCK_PANELS]
        t, q = next(
            (s for s in sizes if -(-tiles // s[0]) * -(-panels // s[1]) >= wanted), sizes[-1]
        )
        largest = max(largest, t * TILE_ROWS * (q * unit_width + 1))  # weights and biases
        for panel in range(0, panels, q):
            for tile in range(0, tiles, t):
                tile_end, panel_end = min(tile + t, tiles), min(panel + q, panels)
                rows.append((layer, tile, tile_end, panel, panel_end, work))
                height = tile_end * n_out // tiles - tile * n_out // tiles
                work += height * (panel_end - panel)
    rows.append((0, 0, 0, 0, 0, work))
    return np.array(rows, np.int64), largest
