"""The table of tasks of large layers: complete, in an order without deadlock, on whole tiles."""

from collections import Counter

import numpy as np
import pytest
from kernel_cases import each_dtype

from fastdnn import planning
from fastdnn.kernels import tables
from fastdnn.kernels.microkernels import TILE_ROWS, TILE_VECTORS, tile_height
from fastdnn.kernels.tables import BACKWARD_TASK, FORWARD_TASK, OUTPUT_TASK
from fastdnn.kernels.vectors import lane_count
from fastdnn.layout import ParameterLayout

pytestmark = pytest.mark.kernels

NETS = {
    "wide": ((300, 700, 500, 10), 700),
    "few examples": ((64, 900, 900, 3), 20),
    "no hidden layer": ((3000, 200), 100),
    "shared units": ((1000, 900, 800, 1), 64),
}


def plan(dims, examples, dtype):
    layout = ParameterLayout(dims, np.dtype(dtype))
    codes = (1,) * (len(dims) - 2) + (5,)
    return planning.plan_step(layout, codes, 1, examples, 2)


@pytest.fixture(params=NETS)
def case(request):
    return NETS[request.param]


@each_dtype
def test_every_unit_of_every_panel_once(case, dtype):
    dims, examples = case
    planned = plan(dims, examples, dtype)
    depth, first = len(dims) - 1, int(planned.shape[tables.FIRST_LAYER])
    seen = Counter()
    for task in planned.tasks.tolist():
        kind, layer, row, row_end, panel, panel_end = task[:6]
        for p in range(panel, panel_end):
            seen.update((kind, layer, unit, p) for unit in range(row, row_end))
    panels = range(planned.panels)
    expected = [
        (kind, layer, unit, p)
        for kind, layers, side in (
            (FORWARD_TASK, range(first, depth), 1),
            (OUTPUT_TASK, [depth - 1], 1),
            (BACKWARD_TASK, range(1, depth), 0),
        )
        for layer in layers
        for unit in range(dims[layer + side])
        for p in panels
    ]
    assert seen == Counter(expected)


@each_dtype
def test_a_task_comes_behind_all_it_waits_for(case, dtype):
    """And what it waits for is all of the stage before, for the same panels."""
    planned = plan(*case, dtype)
    counted, finished = Counter(), {}
    for task in planned.tasks.tolist():
        after, needed = task[tables.TASK_AFTER], task[tables.TASK_NEEDED]
        panels = task[tables.TASK_PANEL], task[tables.TASK_PANEL_END]
        if after >= 0:
            assert counted[after] == needed > 0
            assert finished[after] == panels
        counted[task[tables.TASK_COUNTER]] += 1
        finished[task[tables.TASK_COUNTER]] = panels
    assert planned.counters == len(counted) > 0


@each_dtype
def test_chains_are_as_long_as_one_another(case, dtype):
    """One for each group of panels; claims count on it."""
    planned = plan(*case, dtype)
    chains = planned.tasks.reshape(planned.shape[tables.PIECES], -1, tables.TASK_FIELDS)
    for chain in chains:
        assert len(np.unique(chain[:, tables.TASK_PANEL])) == 1
        assert (chain[:, tables.TASK_KIND : tables.TASK_PANEL] == chains[0, :, :4]).all()


@each_dtype
def test_tasks_start_whole_tiles_and_vectors(case, dtype):
    """Packed weights lie tile after tile, and units are transposed by vectors."""
    planned = plan(*case, dtype)
    for task in planned.tasks.tolist():
        row, layer = task[tables.TASK_ROW], planned.layers[task[tables.TASK_LAYER]]
        assert row % lane_count(dtype) == 0
        assert layer[tables.PACKED] < 0
        if layer[tables.PACKED_T] >= 0 and task[tables.TASK_KIND] == BACKWARD_TASK:
            assert planned.shape[tables.VECTORS] == TILE_VECTORS
            assert row % tile_height(int(layer[tables.N_IN]), TILE_VECTORS) == 0


def test_sizes_of_tasks_are_whole_tiles():
    for units in range(max(planning.TASK_UNITS), 5000):
        assert tile_height(units, TILE_VECTORS) == TILE_ROWS
    assert all(size % TILE_ROWS == 0 for size in planning.TASK_UNITS)


@each_dtype
def test_small_layers_have_no_tasks(dtype):
    assert len(plan((64, 128, 10), 128, dtype).tasks) == 0
    assert plan((64, 128, 10), 128, dtype).counters == 0


@each_dtype
def test_few_units_have_no_tasks(dtype):
    """However many inputs they have: panels of examples are more pieces."""
    assert len(plan((12288, 20, 7, 5, 1), 209, dtype).tasks) == 0
    assert len(plan((12288, 192, 7), 300, dtype).tasks) > 0
