"""First phase of a training step: a panel of examples through the whole network and back.

Forward with bias and activation, cost and dZ of the output, dZ of every hidden layer: no panel
needs another one. ``panel`` counts panels of examples; a hidden layer's values stand in ``slot``,
which is the same number, or one of a member's own few where gradients are added up panel by panel.
"""

from __future__ import annotations

from .activations import SOFTMAX, softmax_columns
from .dropout import mask_key
from .jit import routine
from .linear import ACTIVATE, BACKWARD, PLAIN, multiply_panels
from .losses import output_error
from .microkernels import SET, SET_BIAS
from .packing import (
    pack_columns,
    spread_example,
    transpose_panel,
    transpose_units,
)
from .simd import at, in_line, out_of_line, pointer, put
from .tables import (
    CODE,
    ERROR,
    EXAMPLES,
    INPUT,
    INPUT_PANEL,
    KEEP,
    LAYERS,
    LOSS,
    MOST_EXAMPLES,
    N_IN,
    N_OUT,
    ORDERED,
    OUTPUT,
    OUTPUT_PANEL,
    PACKED,
    PACKED_T,
    SEED,
    SLABS,
    TARGETS,
    TILE,
    UNIT_WIDTH,
    UNITS,
    UNITS_PANEL,
    VECTORS,
    WEIGHTS,
    WIDTH,
    X_COLUMN,
    X_ROW,
    Y_COLUMN,
    Y_ROW,
    B,
    W,
)


@routine
def load_panel(work, shape, layers, x, y, sample_weights, order, first, panel):
    """One panel of X, Y and the sample weights, from the batch that starts at ``first``.

    Where the first layer is computed in slabs, these load X.
    """
    out_of_line()
    if shape[SLABS] < 0:
        _load_input(work, shape, layers, x, order, first, panel)
    _load_targets(work, shape, layers, y, sample_weights, order, first, panel)


@routine
def _load_input(work, shape, layers, x, order, first, panel):
    """One panel of X, as a panel of examples and in the panels of units."""
    in_line()
    width = shape[WIDTH]
    rows = layers[0, N_IN]
    columns = min(width, shape[EXAMPLES] - panel * width)
    target = pointer(work, layers[0, INPUT] + panel * layers[0, INPUT_PANEL])
    units = pointer(work, layers[0, UNITS] + panel * width * shape[UNIT_WIDTH])
    if shape[X_ROW] == 1:
        spread_examples(work, shape, layers, x, order, first, panel, 0, rows)
        transpose_units(target, width, units, layers[0, UNITS_PANEL], shape[UNIT_WIDTH], rows)
        return
    pack_columns(target, pointer(x, 0), shape[X_ROW], shape[X_COLUMN], shape[ORDERED], order,
                 first + panel * width, rows, columns, width)  # fmt: skip
    keep_for_weights(work, shape, layers, 0, target, 0, rows, panel)


@routine
def spread_examples(work, shape, layers, x, order, first, panel, unit, units):
    """Units of one panel of X whose examples are contiguous, into the panels of units.

    ``units`` of them from ``unit`` on, which starts a panel of units. In the places of examples
    that only other steps have the last one is repeated: old values might overflow by now.
    """
    width, unit_width = shape[WIDTH], shape[UNIT_WIDTH]
    start, last = first + panel * width, first + shape[EXAMPLES] - 1
    place = unit // unit_width * layers[0, UNITS_PANEL] + panel * width * unit_width
    target = pointer(work, layers[0, UNITS] + place)
    for j in range(min(width, shape[MOST_EXAMPLES] - panel * width)):
        column = min(start + j, last)
        example = order[column] if shape[ORDERED] else column
        spread_example(at(target, j * unit_width), layers[0, UNITS_PANEL], unit_width,
                       pointer(x, example * shape[X_COLUMN] + unit), units)  # fmt: skip


@routine
def _load_targets(work, shape, layers, y, sample_weights, order, first, panel):
    """One panel of Y, and of the weights of its examples."""
    in_line()
    width = shape[WIDTH]
    rows = layers[shape[LAYERS] - 1, N_OUT]
    columns = min(width, shape[EXAMPLES] - panel * width)
    target = pointer(work, shape[TARGETS] + panel * rows * width)
    start = first + panel * width
    pack_columns(target, pointer(y, 0), shape[Y_ROW], shape[Y_COLUMN], shape[ORDERED], order,
                 start, rows, columns, width)  # fmt: skip
    if shape[WEIGHTS] >= 0:
        target = pointer(work, shape[WEIGHTS] + panel * width)
        for j in range(columns):
            example = order[start + j] if shape[ORDERED] else start + j
            put(target, j, sample_weights[example])


@routine
def keep_for_weights(work, shape, layers, layer, values, unit, units, slot):
    """Transpose units of one panel of a layer's input into the panels of units that dW reads.

    ``values`` holds ``units`` rows from ``unit`` on, which starts a vector. Nothing where dW does
    not read them.
    """
    if layers[layer, UNITS] < 0:
        return
    width, unit_width = shape[WIDTH], shape[UNIT_WIDTH]
    target = pointer(work, layers[layer, UNITS])
    transpose_panel(target, layers[layer, UNITS_PANEL], unit_width, values, width, unit, units,
                    slot * width)  # fmt: skip


@routine
def forward_rows(
    work, parameters, shape, layers, layer, row, row_end, source, target, panels, key, first_panel
):  # fmt: skip
    """Rows ``row`` to ``row_end`` of A = g(W A_prev + b), with dropout by ``key``.

    From ``panels`` panels of the input at ``source`` to those of the output at ``target``; the
    first of them is panel ``first_panel`` of the batch.
    """
    in_line()
    n_in, n_out, code = layers[layer, N_IN], layers[layer, N_OUT], layers[layer, CODE]
    stride = layers[layer, OUTPUT_PANEL]
    out = pointer(work, layers[layer, OUTPUT] + target * stride)
    right = pointer(work, layers[layer, INPUT] + source * layers[layer, INPUT_PANEL])
    packed = layers[layer, PACKED] >= 0
    left = pointer(work, layers[layer, PACKED]) if packed else pointer(parameters, layers[layer, W])
    multiply_panels(
        shape[TILE], out, stride, left, n_in, 1, packed, right, layers[layer, INPUT_PANEL],
        pointer(parameters, layers[layer, B]), SET_BIAS,
        row, row_end, n_out, n_in, panels, shape[WIDTH], shape[VECTORS],
        PLAIN if code == SOFTMAX else ACTIVATE, code, out, key, layers[layer, KEEP], first_panel,
    )  # fmt: skip


@routine
def softmax_panels(work, shape, layers, layer, target, panels):
    """The output of a layer with softmax, whose units depend on one another; else nothing."""
    width, n_out = shape[WIDTH], layers[layer, N_OUT]
    if layers[layer, CODE] == SOFTMAX:
        for i in range(target, target + panels):
            A = pointer(work, layers[layer, OUTPUT] + i * layers[layer, OUTPUT_PANEL])
            softmax_columns(A, A, n_out, width, width)


@routine
def forward_units(
    work, parameters, shape, layers, layer, row, row_end, source, slot, panels, mask_step, panel
):  # fmt: skip
    """Some units of a layer for ``panels`` panels from ``panel`` on, also in the panels of units.

    Their input stands from panel ``source`` on, they themselves from ``slot`` on.
    """
    out_of_line()
    key = mask_key(shape[SEED], mask_step, layer)
    forward_rows(work, parameters, shape, layers, layer, row, row_end, source, slot, panels, key,
                 panel)  # fmt: skip
    if layer + 1 < shape[LAYERS]:
        place = layers[layer, OUTPUT] + row * shape[WIDTH]
        for i in range(slot, slot + panels):
            values = pointer(work, place + i * layers[layer, OUTPUT_PANEL])
            keep_for_weights(work, shape, layers, layer + 1, values, row, row_end - row, i)


@routine
def backward_units(
    work, parameters, shape, layers, layer, row, row_end, panel, slot, panels, mask_step
):  # fmt: skip
    """dZ_prev = (W^T dZ) g'(Z_prev) of some units for ``panels`` panels from ``panel`` on."""
    out_of_line()
    key = mask_key(shape[SEED], mask_step, layer - 1)
    n_in, n_out = layers[layer, N_IN], layers[layer, N_OUT]
    stride, previous = layers[layer, OUTPUT_PANEL], layers[layer - 1, OUTPUT_PANEL]
    error = pointer(work, layers[layer, ERROR] + slot * stride)
    out = pointer(work, layers[layer - 1, ERROR] + slot * previous)
    values = pointer(work, layers[layer - 1, OUTPUT] + slot * previous)
    packed = layers[layer, PACKED_T] >= 0
    left = (
        pointer(work, layers[layer, PACKED_T]) if packed else pointer(parameters, layers[layer, W])
    )
    multiply_panels(
        shape[TILE], out, previous, left, 1, n_in, packed, error, stride,
        left, SET, row, row_end, n_in, n_out, panels, shape[WIDTH], shape[VECTORS],
        BACKWARD, layers[layer - 1, CODE], values, key, layers[layer - 1, KEEP], panel,
    )  # fmt: skip


@routine
def costs_and_errors(work, shape, layers, partial_costs, panel, slot, panels):
    """Cost and dZ of the output, for ``panels`` panels from ``panel`` on."""
    out_of_line()
    last, width = shape[LAYERS] - 1, shape[WIDTH]
    n_out, stride = layers[last, N_OUT], layers[last, OUTPUT_PANEL]
    softmax_panels(work, shape, layers, last, slot, panels)
    weighted = shape[WEIGHTS] >= 0
    for i in range(panels):
        partial_costs[panel + i] = output_error(
            shape[LOSS], layers[last, CODE],
            pointer(work, layers[last, ERROR] + (slot + i) * stride),
            pointer(work, layers[last, OUTPUT] + (slot + i) * stride),
            pointer(work, shape[TARGETS] + (panel + i) * n_out * width),
            pointer(work, max(shape[WEIGHTS], 0) + (panel + i) * width), weighted,
            n_out, width, shape[EXAMPLES] - (panel + i) * width,
        )  # fmt: skip
