"""A whole training step, and many of them, in one compiled call that allocates nothing.

A step has two main phases (``examples``, ``weights``), and each phase only independent pieces:
panels of examples, then blocks of weights. Before them, where it pays, weights are packed, X is
loaded and the first layer is computed, each a phase of its own. Members of the team share out the
pieces of a phase, and the next one begins when all are finished. Who takes which piece changes no
number, and nothing is added up across members, so the result is bit-identical for any team.

The network is a table of integers, offsets into two flat buffers: ``parameters`` and ``work``. See
``tables``; ``fastdnn.planning`` lays them out.
"""

from __future__ import annotations

import math

from .examples import backward_units, costs_and_errors, forward_units, load_panel
from .jit import kernel, routine
from .packing import pack_weights
from .simd import in_line, out_of_line, pointer
from .slabs import activate_slabs, multiply_slabs
from .tables import (
    CHUNKS,
    COLUMNS,
    EXAMPLES,
    FIRST_LAYER,
    FIRST_STEP,
    GROUP,
    LAYERS,
    MEASURES,
    N_IN,
    N_OUT,
    PACKS,
    PANELS,
    PIECES,
    SCRATCH,
    SCRATCH_SIZE,
    SLABS,
    WIDTH,
)
from .tasks import run_tasks
from .team import (
    FAILURES,
    LOADING_PIECES,
    PANEL_PIECES,
    RESULT,
    UNIT_PIECES,
    claim,
    finish,
    overtaken,
    share,
    wait,
)
from .updates import COEFFICIENTS
from .weights import add_chunk_gradient, sum_squares, update_weights

# Units of the first layer that one member computes together, where its units are shared out: whole
# vectors, so that they can be transposed.
UNITS_TOGETHER = 32


# Stands for the cost of a step whose update is not finite. No loss is negative.
OVERFLOWED = -math.inf

# Phases of a step, in their order; with clipping the update takes two. A step has _PHASES numbers.
_PACK, _LOAD, _FIRST, _EXAMPLES, _UPDATE = range(1, 6)
_PHASES = 8


@routine
def _load(
    member, counters, team, goal, phase, shape, layers, work, x, y, sample_weights, order, start
):  # fmt: skip
    """All panels of X and Y, before any is used; returns the new goal."""
    out_of_line()
    panels = shape[PANELS]
    panel = claim(counters, LOADING_PIECES, phase, member, team, panels)
    while panel >= 0:
        load_panel(work, shape, layers, x, y, sample_weights, order, start, panel)
        finish(counters, team)
        panel = claim(counters, LOADING_PIECES, phase, member, team, panels)
    wait(counters, team, goal + panels)
    return goal + panels


@routine
def _first_layer(
    member, counters, team, goal, phase, shape, layers, parameters, work, mask_step
):  # fmt: skip
    """The first layer for all panels, each member its share of the units; returns the new goal.

    Where the weights of this layer are more than its input: they then stay in the cache of the
    member that updates them.
    """
    out_of_line()
    units, panels = layers[0, N_OUT], shape[PANELS]
    count = (units + UNITS_TOGETHER - 1) // UNITS_TOGETHER
    piece = claim(counters, UNIT_PIECES, phase, member, team, count)
    while piece >= 0:
        row = piece * UNITS_TOGETHER
        end = min(row + UNITS_TOGETHER, units)
        forward_units(work, parameters, shape, layers, 0, row, end, 0, 0, panels, mask_step, 0)
        finish(counters, team)
        piece = claim(counters, UNIT_PIECES, phase, member, team, count)
    wait(counters, team, goal + count)
    return goal + count


@routine
def _examples(
    member, counters, team, goal, phase, shape, layers, parameters, work, partial_costs,
    x, y, sample_weights, order, start, mask_step,
):  # fmt: skip
    """Costs and errors (or gradients, where there are chunks) of all panels; the new goal.

    Panels are loaded here where ``start`` is not -1.
    """
    in_line()
    width, group, pieces = shape[WIDTH], shape[GROUP], shape[PIECES]
    piece = claim(counters, PANEL_PIECES, phase, member, team, pieces)
    while piece >= 0:
        first, end = share(piece, pieces, shape[PANELS])
        for panel in range(first, end, group):
            panels = min(group, end - panel)
            if start >= 0:
                for i in range(panel, panel + panels):
                    load_panel(work, shape, layers, x, y, sample_weights, order, start, i)
            slot = member * group if shape[CHUNKS] else panel
            examples = min(panels * width, shape[EXAMPLES] - panel * width)
            for layer in range(shape[FIRST_LAYER], shape[LAYERS]):
                if layer == 0 and shape[SLABS] >= 0:
                    for i in range(panels):
                        activate_slabs(work, parameters, shape, layers, panel + i, slot + i,
                                       mask_step)  # fmt: skip
                    continue
                forward_units(work, parameters, shape, layers, layer, 0, layers[layer, N_OUT],
                              slot if layer else panel, slot, panels, mask_step, panel)  # fmt: skip
            costs_and_errors(work, shape, layers, partial_costs, panel, slot, panels)
            for layer in range(shape[LAYERS] - 1, -1, -1):
                if shape[CHUNKS]:
                    add_chunk_gradient(work, shape, layers, layer, piece, slot if layer else panel,
                                       slot, panels, examples, panel > first)  # fmt: skip
                if layer > 0:
                    backward_units(work, parameters, shape, layers, layer, 0, layers[layer, N_IN],
                                   panel, slot, panels, mask_step)  # fmt: skip
        finish(counters, team)
        piece = claim(counters, PANEL_PIECES, phase, member, team, pieces)
    wait(counters, team, goal + pieces)
    return goal + pieces


@routine
def _beyond(shape, start):
    """Examples of a whole batch beyond the end of its epoch; negative where more are to come."""
    return start % shape[COLUMNS] + shape[EXAMPLES] - shape[COLUMNS] if start >= 0 else 0


@routine
def _add_squares(counters, team, goal, block_squares, squares, step):
    """squares[step] = sum of the squares of all weights, which the blocks have left."""
    out_of_line()
    total = sum_squares(block_squares, 1)
    # Whoever finishes the first piece of the next step has been here before.
    if not overtaken(counters, team, goal + 1):
        squares[step] = total


@kernel
def train_steps(
    member, counters, team, shapes, layers, blocks, tasks, progress, parameters, state, work,
    partial_costs, block_squares, x, y, sample_weights, order, starts, coefficients, clip_norm,
    costs, squares,
):  # fmt: skip
    """What one member of the team does in ``len(starts)`` steps: see the module.

    Step s trains on the examples from ``starts[s]`` on, or on those of the step before where it is
    -1, by the scalars in row s of ``coefficients``, or in its only one. ``shapes[0]`` describes the
    steps of a whole batch, ``shapes[1]`` the last one of an epoch where there are fewer examples
    left. ``counters[RESULT]`` becomes the number of steps done. It is smaller than asked for where
    a cost is not finite, which leaves the parameters as they were before that step, or where an
    update is not, which leaves the parameters it concerns; that step's cost is then OVERFLOWED.
    Where the shape asks for it, ``squares[s]`` becomes the sum of the squares of all weights after
    a step that is the last one of an epoch.
    """
    done, goal, multiplied = starts.shape[0], 0, False
    alike = coefficients.shape[0] == COEFFICIENTS
    whole = shapes[0]
    scratch = pointer(work, whole[SCRATCH] + member * whole[SCRATCH_SIZE])
    for step in range(starts.shape[0]):
        phase, start, mask_step = step * _PHASES, starts[step], whole[FIRST_STEP] + step
        beyond = _beyond(whole, start)
        shape = shapes[1] if beyond > 0 else whole
        measures = shape[MEASURES] != 0 and beyond >= 0
        if shape[PACKS]:
            goal = pack_weights(member, counters, team, goal, phase + _PACK, work, parameters,
                                shape, layers, scratch)  # fmt: skip
        by_layers = tasks.shape[0] > 0
        if start >= 0 and (by_layers or shape[FIRST_LAYER]):
            goal = _load(member, counters, team, goal, phase + _LOAD, shape, layers, work,
                         x, y, sample_weights, order, start)  # fmt: skip
            start = -1
        if shape[SLABS] >= 0 and not multiplied:
            goal = multiply_slabs(member, counters, team, goal, phase + _FIRST, shape, layers,
                                  blocks, parameters, work, scratch, x, order, start)  # fmt: skip
        if shape[FIRST_LAYER]:
            goal = _first_layer(member, counters, team, goal, phase + _FIRST, shape, layers,
                                parameters, work, mask_step)  # fmt: skip
        if by_layers:
            goal = run_tasks(
                member, counters, team, goal, phase + _EXAMPLES, shape, layers, tasks, progress,
                parameters, work, partial_costs, mask_step, step,
            )  # fmt: skip
        else:
            goal = _examples(
                member, counters, team, goal, phase + _EXAMPLES, shape, layers, parameters, work,
                partial_costs, x, y, sample_weights, order, start, mask_step,
            )  # fmt: skip
        cost = 0.0
        for i in range(shape[PANELS]):
            cost += partial_costs[i]
        cost /= shape[EXAMPLES]
        # To a member that comes when the update is over, later costs may already stand there.
        if not overtaken(counters, team, goal + blocks.shape[0]):
            costs[step] = cost
            if not math.isfinite(cost):
                done = step
                break
        multiplied = shape[SLABS] >= 0 and step + 1 < starts.shape[0] and starts[step + 1] < 0
        goal = update_weights(
            member, counters, team, goal, phase + _UPDATE, work, parameters, state, shape, layers,
            blocks, block_squares, pointer(coefficients, 0 if alike else step * COEFFICIENTS),
            scratch, clip_norm, step + 1, multiplied, measures,
        )  # fmt: skip
        if counters[FAILURES] == step + 1:
            costs[step] = OVERFLOWED
            done = step
            break
        if measures:
            _add_squares(counters, team, goal, block_squares, squares, step)
    counters[RESULT] = done
