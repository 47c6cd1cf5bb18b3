"""A whole training step, and many of them, in one compiled call that allocates nothing.

A step has two phases, and each phase only independent pieces:

1. *Examples.* A panel of examples goes through the whole network and back without meeting another:
   forward with bias and activation, cost and dZ of the output, dZ of every hidden layer.
2. *Weights.* A block of a layer's weights is one product dZ A^T over all examples, then its update.

Members of the team share out panels, meet, share out blocks of weights, and meet. No number is
added up across members, so the result is bit-identical for any team.

The network is a table of integers (``LAYER_FIELDS`` a layer), offsets into two flat buffers:
``parameters`` and ``work``. ``fastdnn.workspace`` lays them out.
"""

from __future__ import annotations

import math

import numpy as np

from .activations import SOFTMAX, softmax_columns
from .dropout import mask_key
from .jit import kernel, routine, stage
from .linear import ACTIVATE, BACKWARD, K_BLOCK, PLAIN, multiply_panels, tile_count, tile_start
from .losses import output_error
from .microkernels import ADD, SET, SET_BIAS, multiply_tile
from .packing import (
    pack_gather,
    pack_left,
    pack_rows,
    pack_strided,
    spread_example,
    transpose_panel,
    transpose_units,
)
from .simd import at, get, lanes, load, out_of_line, pointer, put, splat, sum_lanes
from .team import FAILURES, atomic_add, atomic_load, meet, share
from .updates import COEFFICIENTS, GRADIENT, sum_of_squares, update_run

# Rows of weights up to this length are updated together, after moving their gradients together.
CLOSE_RANKS = 16

# Columns of the layer table.
(
    N_IN, N_OUT, CODE,
    W, B,  # offsets into the parameters
    INPUT, INPUT_PANEL,  # panels of A_prev in work: offset and distance between panels
    OUTPUT, OUTPUT_PANEL,  # panels of A
    ERROR,  # panels of dZ, as far apart as those of A
    UNITS, UNITS_PANEL,  # panels of units of A_prev (examples x width): offset and distance
    PACKED, PACKED_T,  # packed W and W^T, or -1
    KEEP,  # dropout of A: keep_threshold, or 0
    ONES,  # whether a row of ones follows A_prev's last unit: db is then one more column of dW
) = range(16)  # fmt: skip
LAYER_FIELDS = 16

# Entries of the shape vector.
(
    LAYERS, EXAMPLES, PANELS, WIDTH, VECTORS, GROUP, UNIT_WIDTH,
    TARGETS,  # panels of Y in work
    WEIGHTS,  # sample weights in work, or -1
    SCRATCH, SCRATCH_SIZE,  # one scratch area a member
    LOSS, OPTIMIZER, STATE_SIZE,
    X_ROW, X_COLUMN, Y_ROW, Y_COLUMN,  # strides of the arrays that hold all examples
    ORDERED,  # whether `order` picks the examples
    PACKS,  # whether any layer's weights are packed
    CLIP,  # whether gradients are clipped: they are then collected in the last part of the state
    SEED, FIRST_STEP,  # of the dropout masks
) = range(23)  # fmt: skip
SHAPE_FIELDS = 23

# Columns of the table of weight blocks: layer, tiles of rows, panels of units, work before it.
BLOCK_LAYER, BLOCK_TILE, BLOCK_TILE_END, BLOCK_PANEL, BLOCK_PANEL_END, BLOCK_WORK = range(6)
BLOCK_FIELDS = 6


@stage
def _pack_input(work, shape, layers, x, order, first, panel):
    """One panel of X, as a panel of examples and in the panels of units."""
    width = shape[WIDTH]
    rows = layers[0, N_IN]
    columns = min(width, shape[EXAMPLES] - panel * width)
    target = pointer(work, layers[0, INPUT] + panel * layers[0, INPUT_PANEL])
    units = pointer(work, layers[0, UNITS] + panel * width * shape[UNIT_WIDTH])
    start = first + panel * width
    if shape[X_ROW] == 1:
        for j in range(columns):
            example = order[start + j] if shape[ORDERED] else start + j
            source = pointer(x, example * shape[X_COLUMN])
            spread_example(at(units, j * shape[UNIT_WIDTH]), layers[0, UNITS_PANEL],
                           shape[UNIT_WIDTH], source, rows)  # fmt: skip
        transpose_units(target, width, units, layers[0, UNITS_PANEL], shape[UNIT_WIDTH], rows)
        return
    if shape[ORDERED]:
        pack_gather(target, pointer(x, 0), shape[X_ROW], shape[X_COLUMN], order, start,
                    rows, columns, width)  # fmt: skip
    elif shape[X_COLUMN] == 1:
        pack_rows(target, pointer(x, start), shape[X_ROW], rows, columns, width)
    else:
        source = pointer(x, start * shape[X_COLUMN])
        pack_strided(target, source, shape[X_ROW], shape[X_COLUMN], rows, columns, width)
    _keep_for_weights(work, shape, layers, 0, target, panel)


@stage
def _pack_targets(work, shape, layers, y, sample_weights, order, first, panel):
    """One panel of Y, and of the weights of its examples."""
    width = shape[WIDTH]
    rows = layers[shape[LAYERS] - 1, N_OUT]
    columns = min(width, shape[EXAMPLES] - panel * width)
    target = pointer(work, shape[TARGETS] + panel * rows * width)
    start = first + panel * width
    if shape[ORDERED]:
        pack_gather(target, pointer(y, 0), shape[Y_ROW], shape[Y_COLUMN], order, start,
                    rows, columns, width)  # fmt: skip
    else:
        source = pointer(y, start * shape[Y_COLUMN])
        pack_strided(target, source, shape[Y_ROW], shape[Y_COLUMN], rows, columns, width)
    if shape[WEIGHTS] >= 0:
        target = pointer(work, shape[WEIGHTS] + panel * width)
        for j in range(columns):
            example = order[start + j] if shape[ORDERED] else start + j
            put(target, j, sample_weights[example])


@stage
def _keep_for_weights(work, shape, layers, layer, panel_pointer, panel):
    """Transpose a panel of a layer's input into the panels of units that dW reads."""
    target = pointer(work, layers[layer, UNITS])
    width = shape[WIDTH]
    transpose_panel(target, layers[layer, UNITS_PANEL], shape[UNIT_WIDTH], panel_pointer, width,
                    layers[layer, N_IN], panel * width)  # fmt: skip


@stage
def forward_layer(work, parameters, shape, layers, layer, panel, panels, key):
    """A = g(W A_prev + b), with dropout by ``key``, for ``panels`` panels from ``panel`` on."""
    width = shape[WIDTH]
    n_in, n_out, code = layers[layer, N_IN], layers[layer, N_OUT], layers[layer, CODE]
    stride = layers[layer, OUTPUT_PANEL]
    out = pointer(work, layers[layer, OUTPUT] + panel * stride)
    right = pointer(work, layers[layer, INPUT] + panel * layers[layer, INPUT_PANEL])
    packed = layers[layer, PACKED] >= 0
    left = pointer(work, layers[layer, PACKED]) if packed else pointer(parameters, layers[layer, W])
    bias = pointer(parameters, layers[layer, B])
    multiply_panels(
        out, stride, left, n_in, 1, packed, right, layers[layer, INPUT_PANEL], bias, SET_BIAS,
        n_out, n_in, panels, width, shape[VECTORS],
        PLAIN if code == SOFTMAX else ACTIVATE, code, out, key, layers[layer, KEEP], panel,
    )  # fmt: skip
    if code == SOFTMAX:
        for i in range(panels):
            A = at(out, i * stride)
            softmax_columns(A, A, n_out, width, width)


@stage
def _backward_layer(work, parameters, shape, layers, layer, panel, panels, key):
    """dZ_prev = (W^T dZ) g'(Z_prev) for ``panels`` panels from ``panel`` on."""
    n_in, n_out = layers[layer, N_IN], layers[layer, N_OUT]
    stride, previous = layers[layer, OUTPUT_PANEL], layers[layer - 1, OUTPUT_PANEL]
    error = pointer(work, layers[layer, ERROR] + panel * stride)
    out = pointer(work, layers[layer - 1, ERROR] + panel * previous)
    values = pointer(work, layers[layer - 1, OUTPUT] + panel * previous)
    packed = layers[layer, PACKED_T] >= 0
    left = (
        pointer(work, layers[layer, PACKED_T]) if packed else pointer(parameters, layers[layer, W])
    )
    multiply_panels(
        out, previous, left, 1, n_in, packed, error, stride, left, SET,
        n_in, n_out, panels, shape[WIDTH], shape[VECTORS],
        BACKWARD, layers[layer - 1, CODE], values, key, layers[layer - 1, KEEP], panel,
    )  # fmt: skip


@stage
def _examples_phase(work, parameters, shape, layers, partial_costs, panel, panels, step):
    """Forward, cost, and the errors of all layers, for a group of panels."""
    depth = shape[LAYERS]
    width = shape[WIDTH]
    for layer in range(depth):
        key = mask_key(shape[SEED], step, layer)
        forward_layer(work, parameters, shape, layers, layer, panel, panels, key)
        if layer + 1 < depth:
            stride = layers[layer, OUTPUT_PANEL]
            for i in range(panel, panel + panels):
                A = pointer(work, layers[layer, OUTPUT] + i * stride)
                _keep_for_weights(work, shape, layers, layer + 1, A, i)
    last = depth - 1
    n_out = layers[last, N_OUT]
    stride = layers[last, OUTPUT_PANEL]
    weighted = shape[WEIGHTS] >= 0
    for i in range(panel, panel + panels):
        partial_costs[i] = output_error(
            shape[LOSS], layers[last, CODE],
            pointer(work, layers[last, ERROR] + i * stride),
            pointer(work, layers[last, OUTPUT] + i * stride),
            pointer(work, shape[TARGETS] + i * n_out * width),
            pointer(work, max(shape[WEIGHTS], 0) + i * width), weighted,
            n_out, width, shape[EXAMPLES] - i * width,
        )  # fmt: skip
    for layer in range(depth - 1, 0, -1):
        key = mask_key(shape[SEED], step, layer - 1)
        _backward_layer(work, parameters, shape, layers, layer, panel, panels, key)


@routine
def _bias_gradient(out, error, error_panel, rows, panels, width, scale):
    """out[i] = scale * sum over all examples of dZ[i]; runs of panels add up in float64."""
    out_of_line()
    lane = lanes(out)
    run = max(1, K_BLOCK // width)
    for i in range(rows):
        total = 0.0
        for first in range(0, panels, run):
            part = splat(out, 0.0)
            for panel in range(first, min(first + run, panels)):
                row = at(error, panel * error_panel + i * width)
                for j in range(0, width, lane):
                    part = part + load(at(row, j))
            total += np.float64(sum_lanes(part))
        put(out, i, total * scale)


@routine
def _gather_column(out, scratch, stride, rows):
    """The biases' gradients, which stand in the first column after the weights'."""
    out_of_line()
    for i in range(rows):
        put(out, i, get(scratch, i * stride))


@routine
def _close_ranks(scratch, stride, rows, columns):
    """Move rows of ``columns`` elements, ``stride`` apart, up against one another."""
    out_of_line()
    for i in range(1, rows):
        for j in range(columns):
            put(scratch, i * columns + j, get(scratch, i * stride + j))


@stage
def _block_gradient(work, shape, layers, block, scratch):
    """dW of one block of weights over all examples, into ``scratch``.

    Rows of the block are whole panels of units apart.
    """
    layer = block[BLOCK_LAYER]
    n_in, n_out = layers[layer, N_IN], layers[layer, N_OUT]
    width, unit_width = shape[WIDTH], shape[UNIT_WIDTH]
    scale = 1.0 / shape[EXAMPLES]
    tiles = tile_count(n_out)
    row = tile_start(block[BLOCK_TILE], tiles, n_out)
    first = block[BLOCK_PANEL]
    stride = (block[BLOCK_PANEL_END] - first) * unit_width
    error_panel = layers[layer, OUTPUT_PANEL]
    error = pointer(work, layers[layer, ERROR])
    lane = lanes(error)
    columns = n_in + layers[layer, ONES]
    run = max(1, K_BLOCK // width)
    # Whole panels in runs, then the examples of a last one that is not full: the columns beyond
    # them have dZ = 0, but 0 times an overflow that no example has would be NaN.
    full, rest = shape[EXAMPLES] // width, shape[EXAMPLES] % width
    whole_runs = (full + run - 1) // run
    for part in range(whole_runs + (rest > 0)):
        panel = min(part * run, full)
        blocks = min(run, full - panel) if part < whole_runs else 1
        examples = width if part < whole_runs else rest
        mode = SET if part == 0 else ADD
        for q in range(first, block[BLOCK_PANEL_END]):
            vectors = min(unit_width, columns - q * unit_width + lane - 1) // lane
            right = pointer(work, layers[layer, UNITS] + q * layers[layer, UNITS_PANEL]
                            + panel * width * unit_width)  # fmt: skip
            for tile in range(block[BLOCK_TILE], block[BLOCK_TILE_END]):
                i = tile_start(tile, tiles, n_out)
                height = tile_start(tile + 1, tiles, n_out) - i
                target = at(scratch, (i - row) * stride + (q - first) * unit_width)
                multiply_tile(
                    height, vectors, target, stride,
                    at(error, panel * error_panel + i * width), width, 1, error_panel,
                    right, unit_width, examples, blocks, mode, scale, target,
                )  # fmt: skip


@stage
def _weights_block(
    work, parameters, state, shape, layers, block, coefficients, scratch, collected, factor
):  # fmt: skip
    """Gradient of one block of weights (and biases) over all examples, then its update.

    With clipping a first pass computes and stores the gradient behind the optimizer's state, and a
    second one, ``collected``, applies it scaled by ``factor``. Returns (all updated parameters are
    finite, sum of squares of a stored gradient).
    """
    layer = block[BLOCK_LAYER]
    n_in, n_out = layers[layer, N_IN], layers[layer, N_OUT]
    tiles = tile_count(n_out)
    row = tile_start(block[BLOCK_TILE], tiles, n_out)
    rows = tile_start(block[BLOCK_TILE_END], tiles, n_out) - row
    column = block[BLOCK_PANEL] * shape[UNIT_WIDTH]
    columns = min(block[BLOCK_PANEL_END] * shape[UNIT_WIDTH], n_in) - column
    stride = (block[BLOCK_PANEL_END] - block[BLOCK_PANEL]) * shape[UNIT_WIDTH]
    size = shape[STATE_SIZE]
    stores = shape[CLIP] != 0 and not collected
    code = GRADIENT if stores else shape[OPTIMIZER]
    first = 2 * size if stores else 0
    if not collected:
        _block_gradient(work, shape, layers, block, scratch)
    finite, squares = True, 0.0
    biases = layers[layer, B] + row
    # The biases go with the block that holds the column of ones, or with the first of their rows.
    ones = layers[layer, ONES] != 0
    with_biases = column + columns == n_in if ones else column == 0
    bias_scratch = at(scratch, rows * stride)
    if with_biases and not collected:
        if ones:
            _gather_column(bias_scratch, at(scratch, columns), stride, rows)
        else:
            width = shape[WIDTH]
            error = pointer(work, layers[layer, ERROR] + row * width)
            _bias_gradient(bias_scratch, error, layers[layer, OUTPUT_PANEL], rows, shape[PANELS],
                           width, 1.0 / shape[EXAMPLES])  # fmt: skip
    # Whole rows of weights are one run of memory: one update instead of one for each row.
    if columns == n_in and columns <= CLOSE_RANKS and not collected:
        _close_ranks(scratch, stride, rows, columns)
        stride = columns
    runs, length = (1, rows * columns) if columns == n_in and stride == columns else (rows, columns)
    for i in range(runs):
        place = layers[layer, W] + (row + i) * n_in + column
        gradient = pointer(state, 2 * size + place) if collected else at(scratch, i * stride)
        if stores:
            squares += sum_of_squares(gradient, length)
        finite &= update_run(code, True, pointer(parameters, place), gradient, factor,
                             pointer(state, first + place), pointer(state, size + place),
                             length, coefficients)  # fmt: skip
    if with_biases:
        gradient = pointer(state, 2 * size + biases) if collected else bias_scratch
        if stores:
            squares += sum_of_squares(gradient, rows)
        finite &= update_run(code, False, pointer(parameters, biases), gradient, factor,
                             pointer(state, first + biases), pointer(state, size + biases),
                             rows, coefficients)  # fmt: skip
    return finite, squares


@stage
def _weights_phase(
    counters, team, meetings, work, parameters, state, shape, layers, blocks, first, end,
    block_squares, coefficients, scratch, clip_norm,
):  # fmt: skip
    """Gradients and updates of this member's blocks; returns the meetings so far."""
    factor = 1.0
    for passing in range(2 if shape[CLIP] else 1):
        collected = passing == 1
        if collected:
            total = 0.0
            for i in range(blocks.shape[0] - 1):
                total += block_squares[i]
            # PyTorch's clip_grad_norm_: the 1e-6 keeps a zero gradient from dividing by zero.
            factor = min(1.0, clip_norm / (math.sqrt(total) + 1e-6))
        for i in range(first, end):
            finite, squares = _weights_block(
                work, parameters, state, shape, layers, blocks[i], coefficients, scratch,
                collected, factor,
            )  # fmt: skip
            if not collected:
                block_squares[i] = squares
            if not finite:
                atomic_add(counters, FAILURES, 1)
        meetings += 1
        meet(counters, team, meetings)
    return meetings


@stage
def pack_weights(work, parameters, layers, layer, member, team, scratch):
    """This member's tiles of W and W^T, in the order in which ``multiply_panels`` reads them."""
    n_in, n_out = layers[layer, N_IN], layers[layer, N_OUT]
    source = pointer(parameters, layers[layer, W])
    for transposed in range(2):
        target = layers[layer, PACKED_T] if transposed else layers[layer, PACKED]
        if target < 0:
            continue
        rows, k_count = (n_in, n_out) if transposed else (n_out, n_in)
        row_stride, k_stride = (1, n_in) if transposed else (n_in, 1)
        tiles = tile_count(rows)
        first, end = share(member, team, tiles)
        for k in range(0, k_count, K_BLOCK):
            run = min(K_BLOCK, k_count - k)
            for tile in range(first, end):
                i = tile_start(tile, tiles, rows)
                height = tile_start(tile + 1, tiles, rows) - i
                pack_left(pointer(work, target + k * rows + i * run),
                          at(source, i * row_stride + k * k_stride), row_stride, k_stride,
                          height, run, scratch)  # fmt: skip


@stage
def _member_blocks(blocks, member, team):
    """This member's range of weight blocks: an equal share of the work, not of the number."""
    count = blocks.shape[0] - 1
    total = blocks[count, BLOCK_WORK]
    first = 0
    while first < count and blocks[first, BLOCK_WORK] * team < total * member:
        first += 1
    end = first
    while end < count and blocks[end, BLOCK_WORK] * team < total * (member + 1):
        end += 1
    return first, end


@kernel
def train_steps(
    member, counters, team, shape, layers, blocks, parameters, state, work, partial_costs,
    block_squares, x, y, sample_weights, order, starts, coefficients, clip_norm, costs,
):  # fmt: skip
    """What one member of the team does in ``len(starts)`` steps: see the module.

    Step s trains on the examples from ``starts[s]`` on, or on those of the step before where it is
    -1. Returns the number of steps done. It is smaller than asked for where a cost is not finite,
    which leaves the parameters as they were before that step, or where an update is not, which
    leaves the parameters it concerns.
    """
    meetings = 0
    scratch = pointer(work, shape[SCRATCH] + member * shape[SCRATCH_SIZE])
    panel_first, panel_end = share(member, team, shape[PANELS])
    block_first, block_end = _member_blocks(blocks, member, team)
    for step in range(starts.shape[0]):
        if shape[PACKS]:
            for layer in range(shape[LAYERS]):
                pack_weights(work, parameters, layers, layer, member, team, scratch)
            meetings += 1
            meet(counters, team, meetings)
        for panel in range(panel_first, panel_end, shape[GROUP]):
            panels = min(shape[GROUP], panel_end - panel)
            if starts[step] >= 0:
                for i in range(panel, panel + panels):
                    _pack_input(work, shape, layers, x, order, starts[step], i)
                    _pack_targets(work, shape, layers, y, sample_weights, order, starts[step], i)
            _examples_phase(work, parameters, shape, layers, partial_costs, panel, panels,
                            shape[FIRST_STEP] + step)  # fmt: skip
        meetings += 1
        meet(counters, team, meetings)
        cost = 0.0
        for i in range(shape[PANELS]):
            cost += partial_costs[i]
        cost /= shape[EXAMPLES]
        if member == 0:
            costs[step] = cost
        if not math.isfinite(cost):
            return step
        scalars = pointer(coefficients, step * COEFFICIENTS)
        meetings = _weights_phase(
            counters, team, meetings, work, parameters, state, shape, layers, blocks,
            block_first, block_end, block_squares, scalars, scratch, clip_norm,
        )  # fmt: skip
        if atomic_load(counters, FAILURES) > 0:
            return step
    return starts.shape[0]
