"""Products over panels of examples: a layer forward, and its error passed back.

Both are ``left @ right`` where ``left`` is W or W^T and ``right`` holds panels of examples, with
what follows the product done on each tile while it is in the first-level cache.
"""

from __future__ import annotations

from .activations import activate_run, backward_run
from .dropout import drop_run
from .jit import routine
from .microkernels import ADD, TILE_ROWS, multiply_tile
from .simd import at, out_of_line

# What to do with a finished tile.
PLAIN, ACTIVATE, BACKWARD = range(3)

# Length of a run of k: a tile of the left operand (TILE_ROWS x K_BLOCK) and one panel of the right
# (K_BLOCK x width) share the first-level cache, and rounding errors grow with K_BLOCK + k / K_BLOCK
# instead of with k.
K_BLOCK = 256


@routine
def tile_count(rows):
    """Tiles of at most TILE_ROWS rows, as equal as can be."""
    return (rows + TILE_ROWS - 1) // TILE_ROWS


@routine
def tile_start(tile, tiles, rows):
    """First row of a tile; ``tile_start(tiles, ...)`` is ``rows``."""
    return tile * rows // tiles


@routine
def multiply_panels(
    out, out_panel, left, left_row, left_k, packed, right, right_panel, bias, first_mode,
    rows, k_count, panels, width, vectors, epilogue, code, values, key, keep, first_panel,
):  # fmt: skip
    """out = left @ right (+ bias) for ``panels`` panels; then the epilogue, tile by tile.

    ACTIVATE applies activation ``code`` to out; BACKWARD multiplies out with the derivative at
    ``values``, which is laid out as out is. With a ``keep`` threshold both also drop units by the
    mask of ``key``, in which out starts at panel ``first_panel``. ``left`` is (rows x k_count) with
    strides, or packed: for each block of k, tile after tile.
    """
    out_of_line()
    tiles = tile_count(rows)
    for k in range(0, k_count, K_BLOCK):
        k_run = min(K_BLOCK, k_count - k)
        last = k + k_run == k_count
        mode = ADD if k > 0 else first_mode
        for tile in range(tiles):
            i = tile_start(tile, tiles, rows)
            height = tile_start(tile + 1, tiles, rows) - i
            if packed:
                left_tile, row_stride, k_stride = at(left, k * rows + i * k_run), 1, height
            else:
                left_tile, row_stride, k_stride = (
                    at(left, i * left_row + k * left_k),
                    left_row,
                    left_k,
                )
            for panel in range(panels):
                place = panel * out_panel + i * width
                multiply_tile(
                    height, vectors, at(out, place), width, left_tile, row_stride, k_stride, 0,
                    at(right, panel * right_panel + k * width), width, k_run, 1,
                    mode, 1.0, at(bias, i),
                )  # fmt: skip
                if last and epilogue != PLAIN:
                    run = at(out, place)
                    position = ((first_panel + panel) * rows + i) * width
                    if epilogue == ACTIVATE:
                        activate_run(code, run, run, height * width)
                    if keep:
                        drop_run(run, height * width, position, key, keep)
                    if epilogue == BACKWARD:
                        scale = keep / 4294967296.0 if keep else 1.0
                        backward_run(code, run, run, at(values, place), scale, height * width)
