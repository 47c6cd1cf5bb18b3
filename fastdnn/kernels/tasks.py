"""Costs and errors of large layers: in tasks, each some units of one layer for some panels.

Where the weights of a layer are many, the panels of a batch are too few and too much work to share
out as a whole: members differ in speed, and all would wait for the last. A task waits only for
those that computed its input, the tasks of the layer before for the same panels, which stand before
it in the chain of these panels. A member claims the tasks of its own chains in their order, while
their panels are in its cache, and then those of others.
"""

from __future__ import annotations

from .examples import backward_units, costs_and_errors, forward_units
from .jit import routine
from .simd import out_of_line
from .tables import (
    BACKWARD_TASK,
    FORWARD_TASK,
    PANELS,
    PIECES,
    TASK_AFTER,
    TASK_COUNTER,
    TASK_KIND,
    TASK_LAYER,
    TASK_NEEDED,
    TASK_PANEL,
    TASK_PANEL_END,
    TASK_ROW,
    TASK_ROW_END,
)
from .team import TASK_PIECES, atomic_add, claim_link, finish, wait, wait_for


@routine
def run_tasks(
    member, counters, team, goal, phase, shape, layers, tasks, progress, parameters, work,
    partial_costs, mask_step, step,
):  # fmt: skip
    """All tasks of step ``step`` of this call, shared out; returns the new goal.

    ``progress`` counts finished tasks since the call began; ``mask_step`` is the step for dropout.
    """
    out_of_line()
    count, chains = tasks.shape[0], shape[PIECES]
    i = claim_link(counters, TASK_PIECES, phase, member, team, chains, count // chains)
    while i >= 0:
        task = tasks[i]
        if task[TASK_AFTER] >= 0:
            wait_for(progress, task[TASK_AFTER], (step + 1) * task[TASK_NEEDED])
        kind, layer, panel = task[TASK_KIND], task[TASK_LAYER], task[TASK_PANEL]
        # A step with fewer examples has nothing to do in its last chains.
        panels = min(task[TASK_PANEL_END], shape[PANELS]) - panel
        row, row_end = task[TASK_ROW], task[TASK_ROW_END]
        if panels <= 0:
            pass
        elif kind == FORWARD_TASK:
            forward_units(work, parameters, shape, layers, layer, row, row_end, panel, panel,
                          panels, mask_step, panel)  # fmt: skip
        elif kind == BACKWARD_TASK:
            backward_units(work, parameters, shape, layers, layer, row, row_end, panel, panel,
                           panels, mask_step)  # fmt: skip
        else:
            costs_and_errors(work, shape, layers, partial_costs, panel, panel, panels)
        atomic_add(progress, task[TASK_COUNTER], 1)
        finish(counters, team)
        i = claim_link(counters, TASK_PIECES, phase, member, team, chains, count // chains)
    wait(counters, team, goal + count)
    return goal + count
