"""Products over panels of examples: a layer forward, and its error passed back.

Both are ``left @ right`` where ``left`` is W or W^T and ``right`` holds panels of examples, with
what follows the product done on each tile while it is in the first-level cache, or by the tile.
"""

from __future__ import annotations

from .activations import RELU, activate_run, backward_run
from .dropout import drop_run
from .jit import routine
from .microkernels import ADD, SET_BIAS_RELU, SET_RELU_BACKWARD, multiply_tiles, tile_height
from .simd import at, in_line, out_of_line
from .target import TARGET

# What to do with a finished tile.
PLAIN, ACTIVATE, BACKWARD = range(3)

# Length of a run of k: a panel of the right operand, K_BLOCK rows of the widest tile, takes 32 KiB
# with 64-byte vectors, 16 with 32-byte ones, and stays in the first-level cache while tile after
# tile of the left one passes by. Narrow tiles are sooner done, and each comes with its own lines of
# ``out``: 256 instead of 128 makes them 1.13 (float32) to 1.25 times as fast. Rounding errors grow
# with K_BLOCK + k / K_BLOCK instead of with k.
K_BLOCK = min(256, 32 * 1024 // TARGET.panel_bytes)

# Rows of the left operand, as they lie, that go through all of k before the next ones: each may be
# on a page of memory of its own, of which the processor remembers some dozens.
ROWS_PER_PASS = 96


@routine
def multiply_panels(
    tile, out, out_panel, left, left_row, left_k, packed, right, right_panel, bias, first_mode,
    row, row_end, rows, k_count, panels, width, vectors,
    epilogue, code, values, key, keep, first_panel,
):  # fmt: skip
    """Rows ``row`` to ``row_end`` of out = left @ right (+ bias) for ``panels`` panels.

    ACTIVATE applies activation ``code`` to out; BACKWARD multiplies out with the derivative at
    ``values``, which is laid out as out is. With a ``keep`` threshold both also drop units by the
    mask of ``key``, in which out starts at panel ``first_panel``. ``left`` is (rows x k_count) with
    strides, or packed (see ``packing``); then ``row`` starts a tile of all rows. ``tile`` is the
    micro-kernel's address.
    """
    out_of_line()
    beside, beside_row, beside_panel = bias, 1, 0
    # Over longer k the product is not finished by one tile.
    if code == RELU and keep == 0 and k_count <= K_BLOCK:
        if epilogue == ACTIVATE:
            first_mode = SET_BIAS_RELU
        elif epilogue == BACKWARD:
            first_mode = SET_RELU_BACKWARD
            beside, beside_row, beside_panel = values, width, out_panel
        epilogue = PLAIN
    height = tile_height(rows if packed else row_end - row, vectors)
    together = row_end - row
    if together > ROWS_PER_PASS and not packed:
        together = ROWS_PER_PASS // height * height
    for first in range(row, row_end, together):
        end = min(first + together, row_end)
        size, whole = (end - first) * width, (end - first) // height
        for k in range(0, k_count, K_BLOCK):
            k_run = min(K_BLOCK, k_count - k)
            last = k + k_run == k_count
            mode = ADD if k > 0 else first_mode
            for panel in range(panels):
                source = at(right, panel * right_panel + k * width)
                i = first
                while i < end:  # whole tiles, then the rows that are left
                    high = min(height, end - i)
                    tiles = whole if high == height else 1
                    corner, next_tile, row_stride, k_stride = (
                        i * left_row + k * left_k, high * left_row, left_row, left_k,
                    )  # fmt: skip
                    if packed:
                        corner, next_tile, row_stride, k_stride = (
                            k * rows + i * k_run, high * k_run, 1, high,
                        )  # fmt: skip
                    multiply_tiles(
                        tile, high, vectors, tiles, at(out, panel * out_panel + i * width), width,
                        at(left, corner), next_tile, row_stride, k_stride, 0,
                        source, width, k_run, 1,
                        mode, 1.0, at(beside, panel * beside_panel + i * beside_row),
                    )  # fmt: skip
                    i += tiles * high
                if last and epilogue != PLAIN:
                    place = panel * out_panel + first * width
                    position = ((first_panel + panel) * rows + first) * width
                    _finish_run(at(out, place), size, epilogue, code, at(values, place),
                                key, keep, position)  # fmt: skip


@routine
def _finish_run(run, size, epilogue, code, values, key, keep, position):
    """What follows the product, for a finished tile that starts at ``position`` of the mask."""
    in_line()
    if epilogue == ACTIVATE:
        activate_run(code, run, run, size)
    if keep:
        drop_run(run, size, position, key, keep)
    if epilogue == BACKWARD:
        scale = keep / 4294967296.0 if keep else 1.0
        backward_run(code, run, run, values, scale, size)
