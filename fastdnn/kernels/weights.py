"""Second phase of a training step: the gradient of the weights, and their update.

A block of a layer's weights is one product dZ A^T over all examples. Where there are few weights
and many examples (``CHUNKS``), each chunk of examples has instead added up the gradient of all
weights while its values were in the cache, and a block is the sum of the chunks.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import routine
from .microkernels import ADD, SET, multiply_tiles, tile_height, tile_vectors
from .simd import (
    at,
    fma,
    get,
    in_line,
    lanes,
    load,
    load_up_to,
    out_of_line,
    pointer,
    put,
    splat,
    store_up_to,
    sum_lanes,
)
from .slabs import multiply_slab
from .tables import (
    BLOCK_LAYER,
    BLOCK_PANEL,
    BLOCK_PANEL_END,
    BLOCK_ROW,
    BLOCK_ROW_END,
    CHUNK_GRADIENT,
    CHUNK_GRADIENTS,
    CHUNK_SIZE,
    CHUNKS,
    CLIP,
    ERROR,
    EXAMPLES,
    FIRST_LAYER_BLOCKS,
    INPUT,
    INPUT_PANEL,
    N_IN,
    N_OUT,
    ONES,
    OPTIMIZER,
    OUTPUT_PANEL,
    PANELS,
    STATE_SIZE,
    TILE,
    UNIT_WIDTH,
    UNITS,
    UNITS_PANEL,
    WIDTH,
    B,
    W,
)
from .team import (
    FAILURES,
    FIRST_BLOCK_PIECES,
    OTHER_BLOCK_PIECES,
    claim,
    finish,
    wait,
)
from .updates import GRADIENT, sum_of_squares, update_rows

# Examples whose products are added up in registers, and errors in the dtype: a run of k.
EXAMPLES_TOGETHER = 128

# Rows of its input that dW of a layer of one unit takes together; they are padded to that.
ONE_UNIT_ROWS = 4

# Rows of weights up to this length are updated together, after moving their gradients together.
CLOSE_RANKS = 16


@routine
def _bias_gradient(out, error, error_panel, rows, panels, width, scale, adds):
    """out[i] = scale * sum over ``panels`` panels of dZ[i] (+ out[i]); runs add up in float64."""
    out_of_line()
    lane = lanes(out)
    run = max(1, EXAMPLES_TOGETHER // width)
    for i in range(rows):
        total = 0.0
        for first in range(0, panels, run):
            part = splat(out, 0.0)
            for panel in range(first, min(first + run, panels)):
                row = at(error, panel * error_panel + i * width)
                for j in range(0, width, lane):
                    part = part + load(at(row, j))
            total += np.float64(sum_lanes(part))
        put(out, i, total * scale + (get(out, i) if adds else 0.0))


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


@routine
def _one_unit_products(
    work, shape, layers, layer, column, column_end, input_slot, slot, examples, target, adds
):  # fmt: skip
    """dW of a layer of one unit, as `_panel_products`: products of dZ with rows of its input.

    That need not be transposed for it, which would take as long (2-16-1 with 32 examples: 1.07
    times as fast in float64).
    """
    out_of_line()
    width, scale = shape[WIDTH], 1.0 / shape[EXAMPLES]
    value_panel, error_panel = layers[layer, INPUT_PANEL], layers[layer, OUTPUT_PANEL]
    values = pointer(work, layers[layer, INPUT] + input_slot * value_panel)
    error = pointer(work, layers[layer, ERROR] + slot * error_panel)
    lane = lanes(error)
    run = max(1, EXAMPLES_TOGETHER // width)
    panels = (examples + width - 1) // width
    for i in range(column, column_end, ONE_UNIT_ROWS):
        out = at(target, i - column)
        for first in range(0, panels, run):
            a, b, c, d = splat(out, 0.0), splat(out, 0.0), splat(out, 0.0), splat(out, 0.0)
            for panel in range(first, min(first + run, panels)):
                dZ = at(error, panel * error_panel)
                row = at(values, panel * value_panel + i * width)
                # See `_panel_products` for the examples beyond the last one.
                for j in range(0, min(width, examples - panel * width), lane):
                    left = examples - panel * width - j
                    x = load(at(dZ, j))
                    a = fma(load_up_to(at(row, j), left), x, a)
                    b = fma(load_up_to(at(row, width + j), left), x, b)
                    c = fma(load_up_to(at(row, 2 * width + j), left), x, c)
                    d = fma(load_up_to(at(row, 3 * width + j), left), x, d)
            more = adds or first > 0
            put(out, 0, scale * sum_lanes(a) + (get(out, 0) if more else 0.0))
            put(out, 1, scale * sum_lanes(b) + (get(out, 1) if more else 0.0))
            put(out, 2, scale * sum_lanes(c) + (get(out, 2) if more else 0.0))
            put(out, 3, scale * sum_lanes(d) + (get(out, 3) if more else 0.0))


@routine
def _panel_products(
    work, shape, layers, layer, row, row_end, first, end, input_slot, slot, examples, target,
    stride, adds,
):  # fmt: skip
    """dW of some weights over ``examples`` examples, into (or added to) ``target``.

    Rows ``row`` to ``row_end``, panels of units ``first`` to ``end``. The layer's input stands in
    panels of examples from ``input_slot`` on, its dZ from ``slot`` on. Rows of ``target`` are
    ``stride`` apart.
    """
    out_of_line()
    width, unit_width = shape[WIDTH], shape[UNIT_WIDTH]
    if layers[layer, UNITS] < 0:
        column_end = min(end * unit_width, layers[layer, N_IN] + layers[layer, ONES])
        _one_unit_products(work, shape, layers, layer, first * unit_width, column_end, input_slot,
                           slot, examples, target, adds)  # fmt: skip
        return
    scale = 1.0 / shape[EXAMPLES]
    error_panel = layers[layer, OUTPUT_PANEL]
    error = pointer(work, layers[layer, ERROR])
    lane = lanes(error)
    columns = layers[layer, N_IN] + layers[layer, ONES]
    run = max(1, EXAMPLES_TOGETHER // width)
    # Whole panels in runs, then the examples of a last one that is not full: the columns beyond
    # them have dZ = 0, but 0 times an overflow that no example has would be NaN.
    full, rest = examples // width, examples % width
    whole_runs = (full + run - 1) // run
    for part in range(whole_runs + (rest > 0)):
        panel = min(part * run, full)
        blocks = min(run, full - panel) if part < whole_runs else 1
        k_count = width if part < whole_runs else rest
        mode = ADD if part > 0 or adds else SET
        for q in range(first, end):
            vectors = tile_vectors(min(unit_width, columns - q * unit_width + lane - 1) // lane)
            right = pointer(work, layers[layer, UNITS] + q * layers[layer, UNITS_PANEL]
                            + (input_slot + panel) * width * unit_width)  # fmt: skip
            height = tile_height(row_end - row, vectors)
            i, whole = row, (row_end - row) // height
            while i < row_end:  # whole tiles, then the rows that are left
                high = min(height, row_end - i)
                tiles = whole if high == height else 1
                left = at(error, (slot + panel) * error_panel + i * width)
                out = at(target, (i - row) * stride + (q - first) * unit_width)
                multiply_tiles(
                    shape[TILE], high, vectors, tiles, out, stride,
                    left, high * width, width, 1, error_panel, right, unit_width, k_count, blocks,
                    mode, scale, out,
                )  # fmt: skip
                i += tiles * high


@routine
def add_chunk_gradient(work, shape, layers, layer, chunk, input_slot, slot, panels, examples, adds):
    """A layer's gradient over the examples in ``panels`` panels, into (added to) the chunk's."""
    out_of_line()
    unit_width = shape[UNIT_WIDTH]
    n_out = layers[layer, N_OUT]
    units = (layers[layer, N_IN] + unit_width - 1) // unit_width
    target = pointer(work, shape[CHUNK_GRADIENTS] + chunk * shape[CHUNK_SIZE]
                     + layers[layer, CHUNK_GRADIENT])  # fmt: skip
    _panel_products(
        work, shape, layers, layer, 0, n_out, 0, units, input_slot, slot, examples,
        target, units * unit_width, adds,
    )  # fmt: skip
    if layers[layer, ONES] == 0:
        error = pointer(work, layers[layer, ERROR] + slot * layers[layer, OUTPUT_PANEL])
        _bias_gradient(at(target, n_out * units * unit_width), error, layers[layer, OUTPUT_PANEL],
                       n_out, panels, shape[WIDTH], 1.0 / shape[EXAMPLES], adds)  # fmt: skip


@routine
def _sum_chunks(target, target_stride, source, stride, rows, columns, chunks, chunk_size):
    """target = sum over the chunks, in their order, of ``rows`` rows of ``columns`` elements."""
    out_of_line()
    lane = lanes(target)
    for i in range(rows):
        for j in range(0, columns, lane):
            left = columns - j
            place = at(source, i * stride + j)
            total = load_up_to(place, left)
            for chunk in range(1, chunks):
                total = total + load_up_to(at(place, chunk * chunk_size), left)
            store_up_to(at(target, i * target_stride + j), total, left)


@routine
def _block_gradient(work, shape, layers, block, scratch):
    """dW of one block of weights over all examples into ``scratch``, db of its rows behind it.

    Rows are whole panels of units apart. Biases go with the block that holds the column of ones,
    or with the first of their rows.
    """
    in_line()
    layer = block[BLOCK_LAYER]
    n_in, n_out = layers[layer, N_IN], layers[layer, N_OUT]
    unit_width, width = shape[UNIT_WIDTH], shape[WIDTH]
    row, row_end = block[BLOCK_ROW], block[BLOCK_ROW_END]
    first, end = block[BLOCK_PANEL], block[BLOCK_PANEL_END]
    ones = layers[layer, ONES]
    stride = (end - first) * unit_width
    biases = at(scratch, (row_end - row) * stride)
    if shape[CHUNKS]:
        units = (n_in + unit_width - 1) // unit_width
        gradients = pointer(work, shape[CHUNK_GRADIENTS] + layers[layer, CHUNK_GRADIENT])
        columns = min(end * unit_width, n_in + ones) - first * unit_width
        _sum_chunks(scratch, stride, at(gradients, row * units * unit_width + first * unit_width),
                    units * unit_width, row_end - row, columns,
                    shape[CHUNKS], shape[CHUNK_SIZE])  # fmt: skip
        if ones == 0 and first == 0:
            _sum_chunks(biases, 0, at(gradients, n_out * units * unit_width + row), 0,
                        1, row_end - row, shape[CHUNKS], shape[CHUNK_SIZE])  # fmt: skip
    else:
        _panel_products(
            work, shape, layers, layer, row, row_end, first, end, 0, 0, shape[EXAMPLES],
            scratch, stride, False,
        )  # fmt: skip
        if ones == 0 and first == 0:
            error = pointer(work, layers[layer, ERROR] + row * width)
            _bias_gradient(biases, error, layers[layer, OUTPUT_PANEL], row_end - row,
                           shape[PANELS], width, 1.0 / shape[EXAMPLES], False)  # fmt: skip
    if ones and end * unit_width > n_in:
        _gather_column(biases, at(scratch, n_in - first * unit_width), stride, row_end - row)


@routine
def _weights_block(
    work, parameters, state, shape, layers, block, coefficients, scratch, collected, factor,
    measures,
):  # fmt: skip
    """Gradient of one block of weights (and biases) over all examples, then its update.

    With clipping a first pass computes and stores the gradient behind the optimizer's state, and a
    second one, ``collected``, applies it scaled by ``factor``. Returns (all updated parameters are
    finite, sum of squares of a stored gradient or, if it ``measures``, of the updated weights).
    """
    in_line()
    layer = block[BLOCK_LAYER]
    n_in = layers[layer, N_IN]
    unit_width, size = shape[UNIT_WIDTH], shape[STATE_SIZE]
    row, rows = block[BLOCK_ROW], block[BLOCK_ROW_END] - block[BLOCK_ROW]
    column, column_end = block[BLOCK_PANEL] * unit_width, block[BLOCK_PANEL_END] * unit_width
    columns, stride = min(column_end, n_in) - column, column_end - column
    ones = layers[layer, ONES] != 0
    with_biases = column_end > n_in if ones else column == 0
    stores = shape[CLIP] != 0 and not collected
    code = GRADIENT if stores else shape[OPTIMIZER]
    first = 2 * size if stores else 0
    place, biases = layers[layer, W] + row * n_in + column, layers[layer, B] + row
    gradient, bias_gradient = scratch, at(scratch, rows * stride)
    if not collected:
        _block_gradient(work, shape, layers, block, scratch)
    else:
        gradient, stride = pointer(state, 2 * size + place), n_in
        bias_gradient = pointer(state, 2 * size + biases)
    # Short rows that are all of a row of weights follow one another: one long row instead.
    if columns == n_in and columns <= CLOSE_RANKS and not collected:
        _close_ranks(scratch, stride, rows, columns)
        stride = columns
    count, length = (1, rows * n_in) if columns == n_in and stride == n_in else (rows, columns)
    squares = 0.0
    if stores:
        squares = sum_of_squares(gradient, stride, count, length)
    finite = update_rows(
        code, True, pointer(parameters, place), n_in, gradient, stride, factor,
        pointer(state, first + place), pointer(state, size + place), count, length, coefficients,
    )  # fmt: skip
    if measures and not stores:
        squares = sum_of_squares(pointer(parameters, place), n_in, count, length)
    if with_biases:
        if stores:
            squares += sum_of_squares(bias_gradient, rows, 1, rows)
        finite &= update_rows(
            code, False, pointer(parameters, biases), rows, bias_gradient, rows, factor,
            pointer(state, first + biases), pointer(state, size + biases), 1, rows, coefficients,
        )  # fmt: skip
    return finite, squares


@routine
def _claim_block(counters, phase, member, team, first_blocks, count):
    """The next block of weights for this member, or -1: the first layer's before the others.

    They are shared out apart, so that the first layer's stay with whom computes its units.
    """
    block = claim(counters, FIRST_BLOCK_PIECES, phase, member, team, first_blocks)
    if block < 0:
        block = claim(counters, OTHER_BLOCK_PIECES, phase, member, team, count - first_blocks)
        block = block + first_blocks if block >= 0 else -1
    return block


@routine
def sum_squares(block_squares, row):
    """What all blocks have left in a row, in their order: the same bits whoever adds it up."""
    total = 0.0
    for i in range(block_squares.shape[1]):
        total += block_squares[row, i]
    return total


@routine
def update_weights(
    member, counters, team, goal, phase, work, parameters, state, shape, layers, blocks,
    block_squares, coefficients, scratch, clip_norm, mark, multiplies, measures,
):  # fmt: skip
    """Gradients and updates of the blocks this member gets, in phase ``phase`` (and the next one).

    Where it ``multiplies``, each slab of the first layer's new weights with its rows of X as well.
    Returns the pieces that are finished afterwards. Where a parameter would not be finite, this
    step's ``mark`` is left in ``counters[FAILURES]``. ``block_squares[0]`` serves the clipping;
    ``block_squares[1]`` are the squares of each block's new weights, where that is asked for.
    """
    in_line()
    factor, count, first_blocks = 1.0, blocks.shape[0], shape[FIRST_LAYER_BLOCKS]
    for passing in range(2 if shape[CLIP] else 1):
        collected = passing == 1
        if collected:
            # PyTorch's clip_grad_norm_: the 1e-6 keeps a zero gradient from dividing by zero.
            squared_norm = sum_squares(block_squares, 0)
            factor = min(1.0, clip_norm / (math.sqrt(squared_norm) + 1e-6))
            if not math.isfinite(squared_norm):  # the factor would be 0 and the step lost
                counters[FAILURES] = mark
        i = _claim_block(counters, phase + passing, member, team, first_blocks, count)
        while i >= 0:
            finite, squares = _weights_block(
                work, parameters, state, shape, layers, blocks[i], coefficients, scratch,
                collected, factor, measures,
            )  # fmt: skip
            # The second pass updates with clipping, else the only one.
            updates = collected == (shape[CLIP] != 0)
            block_squares[1 if updates else 0, i] = squares
            if not finite:
                counters[FAILURES] = mark
            if multiplies and i < first_blocks and updates:
                multiply_slab(work, parameters, shape, layers, blocks[i], i, scratch)
            finish(counters, team)
            i = _claim_block(counters, phase + passing, member, team, first_blocks, count)
        goal += count
        wait(counters, team, goal)
    return goal
