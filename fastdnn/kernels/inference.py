"""The network forward, for as many examples as there are, in a few panels of working memory.

One or two examples are too few to fill a panel: their layers are inner products of the rows of W,
which run as fast as W can be read.
"""

from __future__ import annotations

from . import elementary
from .activations import SOFTMAX, activate_run
from .arrays import all_finite
from .examples import forward_rows, softmax_panels
from .jit import kernel, routine
from .packing import pack_panels, pack_weights
from .simd import (
    at,
    fma,
    get,
    lanes,
    load,
    load_up_to,
    out_of_line,
    pointer,
    put,
    splat,
    store_first,
    sum_lanes,
)
from .tables import (
    CODE,
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
    PIECES,
    SCRATCH,
    SCRATCH_SIZE,
    WIDTH,
    X_COLUMN,
    X_ROW,
    B,
    W,
)
from .team import PANEL_PIECES, RESULT, atomic_add, claim


@routine
def _unpack(out, stride, panel, rows, columns, width):
    """The first ``columns`` columns of a panel, as rows of a matrix."""
    out_of_line()
    lane = lanes(panel)
    for i in range(rows):
        for j in range(0, columns, lane):
            store_first(at(out, i * stride + j), load(at(panel, i * width + j)), columns - j)


@routine
def _finite_panels(work, shape, layers, slot, panels):
    """Whether the first layer's input has neither a NaN nor an infinity."""
    out_of_line()
    for i in range(panels):
        A = pointer(work, layers[0, INPUT] + (slot + i) * layers[0, INPUT_PANEL])
        if not all_finite(A, layers[0, N_IN] * shape[WIDTH]):
            return False
    return True


@kernel
def forward_panels(member, counters, team, shape, layers, parameters, work, x, out):
    """out (n_y, m, row-major) = the network's output for x: this member's share of the panels.

    It takes them ``GROUP`` at a time through slots of its own. counters[RESULT] = members that met
    a NaN or an infinity in x, with ``out`` undefined: to look before would be to read x twice.
    """
    scratch = pointer(work, shape[SCRATCH] + member * shape[SCRATCH_SIZE])
    if shape[PACKS]:
        pack_weights(member, counters, team, 0, 1, work, parameters, shape, layers, scratch)
    width, group, examples = shape[WIDTH], shape[GROUP], shape[EXAMPLES]
    last = shape[LAYERS] - 1
    n_in, n_out = layers[0, N_IN], layers[last, N_OUT]
    slot = member * group
    piece = claim(counters, PANEL_PIECES, 2, member, team, shape[PIECES])
    while piece >= 0:
        panel = piece * group
        panels = min(group, shape[PANELS] - panel)
        # All panels of the group at once: rows of a large X lie on different pages of memory.
        pack_panels(
            pointer(work, layers[0, INPUT] + slot * layers[0, INPUT_PANEL]),
            layers[0, INPUT_PANEL], width,
            pointer(x, panel * width * shape[X_COLUMN]), shape[X_COLUMN], shape[X_ROW],
            panels, examples - panel * width, n_in, scratch,
        )  # fmt: skip
        if not _finite_panels(work, shape, layers, slot, panels):
            atomic_add(counters, RESULT, 1)
            break
        for layer in range(shape[LAYERS]):
            forward_rows(work, parameters, shape, layers, layer, 0, layers[layer, N_OUT],
                         slot, slot, panels, 0, 0)  # fmt: skip
        softmax_panels(work, shape, layers, last, slot, panels)
        for i in range(panels):
            start = (panel + i) * width
            A = pointer(work, layers[last, OUTPUT] + (slot + i) * layers[last, OUTPUT_PANEL])
            _unpack(pointer(out, start), examples, A, n_out, min(width, examples - start), width)
        piece = claim(counters, PANEL_PIECES, 2, member, team, shape[PIECES])


# Rows of W whose inner products are taken together: enough chains of multiply-adds to keep the
# processor busy while one of them waits.
_ROWS_TOGETHER = 8


@routine
def _inner_products(out, W, x, b, rows, count):
    """out[i] = W[i, :] x + b[i]; beyond the last row, the last one again."""
    out_of_line()
    lane = lanes(W)
    for i in range(0, rows, _ROWS_TOGETHER):
        end = rows - 1
        r0, r1 = at(W, i * count), at(W, min(i + 1, end) * count)
        r2, r3 = at(W, min(i + 2, end) * count), at(W, min(i + 3, end) * count)
        r4, r5 = at(W, min(i + 4, end) * count), at(W, min(i + 5, end) * count)
        r6, r7 = at(W, min(i + 6, end) * count), at(W, min(i + 7, end) * count)
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = splat(W, 0.0)
        for k in range(0, count, lane):
            left = count - k
            v = load_up_to(at(x, k), left)
            s0 = fma(load_up_to(at(r0, k), left), v, s0)
            s1 = fma(load_up_to(at(r1, k), left), v, s1)
            s2 = fma(load_up_to(at(r2, k), left), v, s2)
            s3 = fma(load_up_to(at(r3, k), left), v, s3)
            s4 = fma(load_up_to(at(r4, k), left), v, s4)
            s5 = fma(load_up_to(at(r5, k), left), v, s5)
            s6 = fma(load_up_to(at(r6, k), left), v, s6)
            s7 = fma(load_up_to(at(r7, k), left), v, s7)
        sums = (sum_lanes(s0), sum_lanes(s1), sum_lanes(s2), sum_lanes(s3),
                sum_lanes(s4), sum_lanes(s5), sum_lanes(s6), sum_lanes(s7))  # fmt: skip
        for j in range(min(_ROWS_TOGETHER, rows - i)):
            put(out, i + j, sums[j] + get(b, i + j))


@routine
def _softmax_of_one(A, units):
    """Softmax of one example, its units side by side."""
    out_of_line()
    top = get(A, 0)
    for i in range(1, units):
        z = get(A, i)
        top = z if z > top else top
    total = 0.0
    for i in range(units):
        e = elementary.exp(get(A, i) - top)
        put(A, i, e)
        total += e
    for i in range(units):
        put(A, i, get(A, i) / total)


@kernel
def forward_few(layers, parameters, scratch, x, out):
    """The output (n_y, m) for m examples (n_x, m), one after the other.

    ``scratch`` holds two vectors of the widest layer. Returns False, with ``out`` undefined, if x
    has an entry that is not finite.
    """
    half = scratch.shape[0] // 2
    depth = layers.shape[0]
    for example in range(x.shape[1]):
        source = pointer(x[:, 0], 0)  # contiguous if it is the only one
        if x.shape[1] > 1:
            source = pointer(scratch, 0)
            for i in range(x.shape[0]):
                scratch[i] = x[i, example]
        if not all_finite(source, x.shape[0]):
            return False
        place = 0
        for layer in range(depth):
            n_in, n_out, code = layers[layer, N_IN], layers[layer, N_OUT], layers[layer, CODE]
            target = pointer(scratch, half - place)
            _inner_products(target, pointer(parameters, layers[layer, W]), source,
                            pointer(parameters, layers[layer, B]), n_out, n_in)  # fmt: skip
            if code == SOFTMAX:
                _softmax_of_one(target, n_out)
            else:
                activate_run(code, target, target, n_out)
            source, place = target, half - place
        for i in range(out.shape[0]):
            out[i, example] = scratch[place + i]
    return True
