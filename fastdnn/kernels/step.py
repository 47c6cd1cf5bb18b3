"""A whole training step, and many of them, in one compiled call that allocates nothing.

A step has two phases (``examples``, ``weights``), and each phase only independent pieces: panels of
examples, then blocks of weights. Members of the team share out the pieces of a phase and meet
before the next one. Who takes which piece changes no number, and nothing is added up across
members, so the result is bit-identical for any team.

The network is a table of integers, offsets into two flat buffers: ``parameters`` and ``work``. See
``tables``; ``fastdnn.workspace`` lays them out.
"""

from __future__ import annotations

import math

from .examples import backward_layer, first_layer_rows, forward_and_cost, load_panel
from .jit import kernel, stage
from .simd import pointer
from .tables import (
    BLOCK_WORK,
    CHUNKS,
    EXAMPLES,
    FIRST_LAYER,
    FIRST_LAYER_BLOCKS,
    FIRST_STEP,
    GROUP,
    LAYERS,
    N_OUT,
    PACKS,
    PANELS,
    PIECES,
    SCRATCH,
    SCRATCH_SIZE,
    WIDTH,
)
from .team import (
    FAILURES,
    FIRST_BLOCKS,
    OTHER_BLOCKS,
    PANEL_PIECES,
    RESULT,
    UNIT_PIECES,
    atomic_load,
    claim,
    meet,
    offer,
    renew,
    share,
)
from .updates import COEFFICIENTS
from .weights import add_chunk_gradient, pack_weights, update_weights

# Units of the first layer that one member computes together, where its units are shared out: whole
# vectors, so that they can be transposed.
UNITS_TOGETHER = 32


@stage
def _offer_blocks(counters, kind, member, team, blocks, first, end):
    """Offer this member's share of the work in the blocks ``first`` to ``end``."""
    start, total = blocks[first, BLOCK_WORK], blocks[end, BLOCK_WORK] - blocks[first, BLOCK_WORK]
    own = first
    while own < end and _middle(blocks, own, start) * team < 2 * total * member:
        own += 1
    own_end = own
    while own_end < end and _middle(blocks, own_end, start) * team < 2 * total * (member + 1):
        own_end += 1
    offer(counters, kind, member, team, own, own_end)


@stage
def _middle(blocks, i, start):
    """Twice the work from ``start`` to the middle of block i."""
    return blocks[i, BLOCK_WORK] + blocks[i + 1, BLOCK_WORK] - 2 * start


@stage
def _first_layer(
    member, counters, team, meetings, shape, layers, parameters, work, x, y, sample_weights, order,
    start, number,
):  # fmt: skip
    """The first layer for all panels, each member its share of the units; returns the meetings.

    Where the weights of this layer are more than its input: they then stay in the cache of the
    member that updates them.
    """
    meetings, units, panels = meetings, layers[0, N_OUT], shape[PANELS]
    if start >= 0:
        first, end = share(member, team, panels)
        for panel in range(first, end):
            load_panel(work, shape, layers, x, y, sample_weights, order, start, panel)
        meetings += 1
        meet(counters, team, meetings)
    piece = claim(counters, UNIT_PIECES, member, team)
    while piece >= 0:
        row = piece * UNITS_TOGETHER
        end = min(row + UNITS_TOGETHER, units)
        first_layer_rows(work, parameters, shape, layers, row, end, panels, number)
        piece = claim(counters, UNIT_PIECES, member, team)
    meetings += 1
    meet(counters, team, meetings)
    renew(counters, UNIT_PIECES, member, team)
    return meetings


@stage
def _examples(
    member, counters, team, shape, layers, parameters, work, partial_costs,
    x, y, sample_weights, order, start, number,
):  # fmt: skip
    """Costs and errors (or gradients, where there are chunks) of the panels this member gets."""
    width, group = shape[WIDTH], shape[GROUP]
    piece = claim(counters, PANEL_PIECES, member, team)
    while piece >= 0:
        first, end = share(piece, shape[PIECES], shape[PANELS])
        for panel in range(first, end, group):
            panels = min(group, end - panel)
            if start >= 0 and shape[FIRST_LAYER] == 0:
                for i in range(panel, panel + panels):
                    load_panel(work, shape, layers, x, y, sample_weights, order, start, i)
            slot = member * group if shape[CHUNKS] else panel
            examples = min(panels * width, shape[EXAMPLES] - panel * width)
            forward_and_cost(work, parameters, shape, layers, partial_costs, panel, slot, panels,
                             number)  # fmt: skip
            for layer in range(shape[LAYERS] - 1, -1, -1):
                if shape[CHUNKS]:
                    add_chunk_gradient(work, shape, layers, layer, piece, slot if layer else panel,
                                       slot, panels, examples, panel > first)  # fmt: skip
                if layer > 0:
                    backward_layer(work, parameters, shape, layers, layer, panel, slot, panels,
                                   number)  # fmt: skip
        piece = claim(counters, PANEL_PIECES, member, team)


@kernel
def train_steps(
    member, counters, team, shape, layers, blocks, parameters, state, work, partial_costs,
    block_squares, x, y, sample_weights, order, starts, coefficients, clip_norm, costs,
):  # fmt: skip
    """What one member of the team does in ``len(starts)`` steps: see the module.

    Step s trains on the examples from ``starts[s]`` on, or on those of the step before where it is
    -1. ``counters[RESULT]`` becomes the number of steps done. It is smaller than asked for where a
    cost is not finite, which leaves the parameters as they were before that step, or where an
    update is not, which leaves the parameters it concerns.
    """
    done = starts.shape[0]
    scratch = pointer(work, shape[SCRATCH] + member * shape[SCRATCH_SIZE])
    unit_pieces = (layers[0, N_OUT] + UNITS_TOGETHER - 1) // UNITS_TOGETHER
    first, end = share(member, team, unit_pieces)
    offer(counters, UNIT_PIECES, member, team, first, end)
    first, end = share(member, team, shape[PIECES])
    offer(counters, PANEL_PIECES, member, team, first, end)
    first_blocks = shape[FIRST_LAYER_BLOCKS]
    _offer_blocks(counters, FIRST_BLOCKS, member, team, blocks, 0, first_blocks)
    _offer_blocks(counters, OTHER_BLOCKS, member, team, blocks, first_blocks, blocks.shape[0] - 1)
    meetings = 1
    meet(counters, team, meetings)
    for step in range(starts.shape[0]):
        number = shape[FIRST_STEP] + step
        if shape[PACKS]:
            for layer in range(shape[LAYERS]):
                pack_weights(work, parameters, shape, layers, layer, member, team, scratch)
            meetings += 1
            meet(counters, team, meetings)
        if shape[FIRST_LAYER]:
            meetings = _first_layer(
                member, counters, team, meetings, shape, layers, parameters, work,
                x, y, sample_weights, order, starts[step], number,
            )  # fmt: skip
        _examples(
            member, counters, team, shape, layers, parameters, work, partial_costs,
            x, y, sample_weights, order, starts[step], number,
        )  # fmt: skip
        meetings += 1
        meet(counters, team, meetings)
        renew(counters, PANEL_PIECES, member, team)
        cost = 0.0
        for i in range(shape[PANELS]):
            cost += partial_costs[i]
        cost /= shape[EXAMPLES]
        if member == 0:
            costs[step] = cost
        if not math.isfinite(cost):
            done = step
            break
        scalars = pointer(coefficients, step * COEFFICIENTS)
        meetings = update_weights(
            member, counters, team, meetings, work, parameters, state, shape, layers, blocks,
            block_squares, scalars, scratch, clip_norm,
        )  # fmt: skip
        if atomic_load(counters, FAILURES) > 0:
            done = step
            break
    if member == 0:
        counters[RESULT] = done
