"""The tables of integers that a compiled step reads: what stands in which column.

A network is a table with ``LAYER_FIELDS`` integers a layer, a step a vector of ``SHAPE_FIELDS``,
its blocks of weights a table of ``BLOCK_FIELDS`` a block, its tasks one of ``TASK_FIELDS`` a task.
Offsets count elements of two flat buffers, ``parameters`` and ``work``. ``fastdnn.planning`` fills
the tables in.
"""

# Columns of the layer table.
(
    N_IN, N_OUT, CODE,
    W, B,  # offsets into the parameters
    INPUT, INPUT_PANEL,  # panels of A_prev in work: offset (-1: none) and distance between panels
    OUTPUT, OUTPUT_PANEL,  # panels of A
    ERROR,  # panels of dZ, as far apart as those of A
    UNITS, UNITS_PANEL,  # panels of units of A_prev (examples x width): offset and distance
    PACKED, PACKED_T,  # packed W and W^T, or -1
    KEEP,  # dropout of A: keep_threshold, or 0
    ONES,  # whether a row of ones follows A_prev's last unit: db is then one more column of dW
    CHUNK_GRADIENT,  # the layer's place in a chunk's gradients
) = range(17)  # fmt: skip
LAYER_FIELDS = 17

# Entries of the shape vector.
(
    LAYERS, EXAMPLES, PANELS, WIDTH, VECTORS, GROUP, UNIT_WIDTH,
    MOST_EXAMPLES,  # of any step with this plan, whose values may stand behind those of this one
    TARGETS,  # panels of Y in work
    WEIGHTS,  # sample weights in work, or -1
    SCRATCH, SCRATCH_SIZE,  # one scratch area a member
    LOSS, OPTIMIZER, STATE_SIZE,
    X_ROW, X_COLUMN, Y_ROW, Y_COLUMN,  # strides of the arrays that hold all examples
    COLUMNS,  # examples in these arrays, the last of which may be too few for a whole batch
    ORDERED,  # whether `order` picks the examples
    PACKS,  # whether any layer's weights are packed
    CLIP,  # whether gradients are clipped: they are then collected in the last part of the state
    MEASURES,  # whether the squares of the weights are added up after an epoch's last step
    SEED, FIRST_STEP,  # of the dropout masks
    TILE,  # address of the micro-kernel
    PIECES,  # of the panels, to share out
    FIRST_LAYER,  # 1 where the first layer is computed for all panels at once, its units shared out
    CHUNKS, CHUNK_GRADIENTS, CHUNK_SIZE,  # chunks with gradients of their own; place, distance
    FIRST_LAYER_BLOCKS,  # blocks of the first layer's weights, which stand first
    SLABS, SLAB_SIZE,  # what these blocks add to Z of the first layer: place, or -1; distance
) = range(35)  # fmt: skip
SHAPE_FIELDS = 35

# Columns of the table of weight blocks: layer, rows, panels of units.
BLOCK_LAYER, BLOCK_ROW, BLOCK_ROW_END, BLOCK_PANEL, BLOCK_PANEL_END = range(5)
BLOCK_FIELDS = 5

# Columns of the table of tasks.
(
    TASK_KIND, TASK_LAYER,
    TASK_ROW, TASK_ROW_END,  # units of the layer's output, or of its input on the way back
    TASK_PANEL, TASK_PANEL_END,  # panels of examples
    TASK_COUNTER,  # where the task is counted when it is finished
    TASK_AFTER, TASK_NEEDED,  # the counter it waits for, or -1, and its value after that stage
) = range(9)  # fmt: skip
TASK_FIELDS = 9

# Kinds of tasks.
FORWARD_TASK, OUTPUT_TASK, BACKWARD_TASK = range(3)
