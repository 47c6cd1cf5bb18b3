"""The first layer where its input is wide and its units are few: in slabs of input units.

Images of thousands of pixels that feed twenty units: X is far larger than the caches and is all
that counts, and a step reads it for the forward product and again for dW. A slab is the columns of
W that meet some input units, and these units' rows of X. Who has computed a slab's dW, while its
rows of X are in the cache, updates its weights and already multiplies the two for the next step, if
that takes the same examples: X comes from memory once a step.

What the slabs of a step add to Z is kept apart and summed in their order, whoever computed them. X
lies in panels of units only (examples x width), as dW reads it; the forward product transposes a
few units at a time, which costs it a tenth.
"""

from __future__ import annotations

from .activations import SOFTMAX, activate_run
from .dropout import drop_run, mask_key
from .examples import keep_for_weights, spread_examples
from .jit import routine
from .linear import K_BLOCK, PLAIN, multiply_panels
from .microkernels import ADD, SET
from .packing import pack_columns, transpose_units
from .simd import at, lanes, load, out_of_line, pointer, splat, store
from .tables import (
    BLOCK_PANEL,
    BLOCK_PANEL_END,
    CODE,
    EXAMPLES,
    FIRST_LAYER_BLOCKS,
    KEEP,
    LAYERS,
    N_IN,
    N_OUT,
    ONES,
    ORDERED,
    OUTPUT,
    OUTPUT_PANEL,
    PANELS,
    SEED,
    SLAB_SIZE,
    SLABS,
    TILE,
    UNIT_WIDTH,
    UNITS,
    UNITS_PANEL,
    VECTORS,
    WIDTH,
    X_COLUMN,
    X_ROW,
    B,
    W,
)
from .team import FIRST_BLOCK_PIECES, claim, finish, wait


@routine
def _load_slab(work, shape, layers, block, x, order, first, scratch):
    """The rows of X that belong to a slab, for all examples, into the panels of units."""
    out_of_line()
    width, unit_width, n_in = shape[WIDTH], shape[UNIT_WIDTH], layers[0, N_IN]
    lane = lanes(scratch)
    unit = block[BLOCK_PANEL] * unit_width
    units = min(block[BLOCK_PANEL_END] * unit_width, n_in) - unit
    for panel in range(shape[PANELS]):
        if shape[X_ROW] == 1:
            spread_examples(work, shape, layers, x, order, first, panel, unit, units)
            continue
        columns = min(width, shape[EXAMPLES] - panel * width)
        pack_columns(scratch, pointer(x, unit * shape[X_ROW]), shape[X_ROW], shape[X_COLUMN],
                     shape[ORDERED], order, first + panel * width, units, columns,
                     width)  # fmt: skip
        # What is transposed is whole squares: beyond the last unit ones for the biases, then zeros.
        for i in range(units, (units + lane - 1) // lane * lane):
            value = 1.0 if layers[0, ONES] and unit + i == n_in else 0.0
            for j in range(0, width, lane):
                store(at(scratch, i * width + j), splat(scratch, value))
        keep_for_weights(work, shape, layers, 0, scratch, unit, units, panel)


@routine
def multiply_slab(work, parameters, shape, layers, block, slab, scratch):
    """What the input units of slab ``slab`` add to Z of the first layer, for all examples."""
    out_of_line()
    width, unit_width = shape[WIDTH], shape[UNIT_WIDTH]
    n_in, n_out, stride = layers[0, N_IN], layers[0, N_OUT], layers[0, OUTPUT_PANEL]
    # Whole panels of units: as many as stay in the first-level cache, transposed.
    run = max(1, K_BLOCK // unit_width)
    out = pointer(work, shape[SLABS] + slab * shape[SLAB_SIZE])
    for panel in range(shape[PANELS]):
        for q in range(block[BLOCK_PANEL], block[BLOCK_PANEL_END], run):
            unit = q * unit_width
            units = min(min(q + run, block[BLOCK_PANEL_END]) * unit_width, n_in) - unit
            source = pointer(work, layers[0, UNITS] + q * layers[0, UNITS_PANEL]
                             + panel * width * unit_width)  # fmt: skip
            transpose_units(scratch, width, source, layers[0, UNITS_PANEL], unit_width, units)
            left = pointer(parameters, layers[0, W] + unit)
            here = at(out, panel * stride)
            multiply_panels(
                shape[TILE], here, stride, left, n_in, 1, False, scratch, 0, left,
                ADD if q > block[BLOCK_PANEL] else SET, 0, n_out, n_out, units, 1, width,
                shape[VECTORS], PLAIN, 0, here, 0, 0, 0,
            )  # fmt: skip


@routine
def multiply_slabs(
    member, counters, team, goal, phase, shape, layers, blocks, parameters, work, scratch,
    x, order, start,
):  # fmt: skip
    """Every slab's part of Z, with X from ``start`` on, or as loaded before; the new goal."""
    out_of_line()
    count = shape[FIRST_LAYER_BLOCKS]
    slab = claim(counters, FIRST_BLOCK_PIECES, phase, member, team, count)
    while slab >= 0:
        if start >= 0:
            _load_slab(work, shape, layers, blocks[slab], x, order, start, scratch)
        multiply_slab(work, parameters, shape, layers, blocks[slab], slab, scratch)
        finish(counters, team)
        slab = claim(counters, FIRST_BLOCK_PIECES, phase, member, team, count)
    wait(counters, team, goal + count)
    return goal + count


@routine
def activate_slabs(work, parameters, shape, layers, panel, slot, mask_step):
    """A = g(Z) of the first layer for one panel of examples, Z = the sum over all slabs + b."""
    out_of_line()
    width, n_out, code = shape[WIDTH], layers[0, N_OUT], layers[0, CODE]
    stride = layers[0, OUTPUT_PANEL]
    parts = pointer(work, shape[SLABS] + panel * stride)
    A = pointer(work, layers[0, OUTPUT] + slot * stride)
    lane = lanes(A)
    for i in range(n_out):
        bias = splat(A, parameters[layers[0, B] + i])
        for j in range(i * width, (i + 1) * width, lane):
            total = load(at(parts, j))
            for slab in range(1, shape[FIRST_LAYER_BLOCKS]):
                total = total + load(at(parts, slab * shape[SLAB_SIZE] + j))
            store(at(A, j), total + bias)
    if code != SOFTMAX:
        activate_run(code, A, A, n_out * width)
    keep = layers[0, KEEP]
    if keep:
        position = panel * n_out * width
        drop_run(A, n_out * width, position, mask_key(shape[SEED], mask_step, 0), keep)
    if shape[LAYERS] > 1:
        keep_for_weights(work, shape, layers, 1, A, 0, n_out, slot)
