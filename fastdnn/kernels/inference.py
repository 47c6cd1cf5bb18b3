"""The network forward, for as many examples as there are, in a few panels of working memory."""

from __future__ import annotations

import numpy as np
from numba import prange

from .jit import kernel, parallel_kernel, routine, stage
from .packing import pack_rows, pack_strided
from .simd import at, load, out_of_line, pointer, store_first, lanes
from .step import (
    EXAMPLES,
    GROUP,
    INPUT,
    INPUT_PANEL,
    LAYERS,
    N_IN,
    N_OUT,
    OUTPUT,
    OUTPUT_PANEL,
    PACKS,
    PANELS,
    WIDTH,
    X_COLUMN,
    X_ROW,
    forward_layer,
    pack_weights,
)
from .team import meet, share


@routine
def _unpack(out, stride, panel, rows, columns, width):
    """The first ``columns`` columns of a panel, as rows of a matrix."""
    out_of_line()
    lane = lanes(panel)
    for i in range(rows):
        for j in range(0, columns, lane):
            store_first(at(out, i * stride + j), load(at(panel, i * width + j)), columns - j)


@stage
def member_forward(member, counters, team, shape, layers, parameters, work, x, out):
    """What one member does: its share of the panels, ``GROUP`` at a time, in its own slots."""
    if shape[PACKS]:
        for layer in range(shape[LAYERS]):
            pack_weights(work, parameters, layers, layer, member, team)
        meet(counters, team, 1)
    width, group, examples = shape[WIDTH], shape[GROUP], shape[EXAMPLES]
    last = shape[LAYERS] - 1
    n_in, n_out = layers[0, N_IN], layers[last, N_OUT]
    slot = member * group
    first, end = share(member, team, shape[PANELS])
    for panel in range(first, end, group):
        panels = min(group, end - panel)
        for i in range(panels):
            start = (panel + i) * width
            columns = min(width, examples - start)
            target = pointer(work, layers[0, INPUT] + (slot + i) * layers[0, INPUT_PANEL])
            source = pointer(x, start * shape[X_COLUMN])
            if shape[X_COLUMN] == 1:
                pack_rows(target, source, shape[X_ROW], n_in, columns, width)
            else:
                pack_strided(target, source, shape[X_ROW], shape[X_COLUMN], n_in, columns, width)
        for layer in range(shape[LAYERS]):
            forward_layer(work, parameters, shape, layers, layer, slot, panels, 0)
        for i in range(panels):
            start = (panel + i) * width
            A = pointer(work, layers[last, OUTPUT] + (slot + i) * layers[last, OUTPUT_PANEL])
            _unpack(pointer(out, start), examples, A, n_out, min(width, examples - start), width)


@kernel
def forward_serial(counters, team, shape, layers, parameters, work, x, out):
    """out (n_y, m, row-major) = the network's output for x, by the calling thread alone."""
    member_forward(0, counters, team, shape, layers, parameters, work, x, out)


@parallel_kernel
def forward_parallel(counters, team, shape, layers, parameters, work, x, out):
    """The same by a team of threads."""
    for member in prange(team):
        member_forward(np.int64(member), counters, team, shape, layers, parameters, work, x, out)
