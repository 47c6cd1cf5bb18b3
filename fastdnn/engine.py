"""The compiled passes of one network over arrays that are already checked.

An `Engine` owns the flat buffer of parameters and the buffers its kernels work in. It knows shapes,
strides and threads; it knows nothing of epochs, labels or error messages.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from . import dispatch
from .kernels import inference, step, tables, updates
from .layout import ParameterLayout
from .memory import aligned, aligned_zeros, flattened, writable
from .planning import plan_forward, plan_step
from .regularisation import PLAIN, Regularisation
from .workspaces import Purpose, Workspace, Workspaces

# Parts of the optimizer's state where gradients are clipped: two moments, and the gradients.
CLIPPING_STATES = 3

# Up to so many examples the network is read once for each of them: less work than a panel.
FEW_EXAMPLES = 2

_NO_COLUMNS: NDArray[np.int64] = np.zeros(0, np.int64)
_NO_SUMS = np.zeros(0)
_FIRST_EXAMPLE: NDArray[np.int64] = np.zeros(1, np.int64)


@dataclass(frozen=True)
class Matrix:
    """A matrix of which every column is an example, as compiled code takes it."""

    flat: NDArray[Any]
    rows: int
    columns: int
    row_stride: int
    column_stride: int

    @classmethod
    def of(cls, array: NDArray[Any], dtype: np.dtype[Any]) -> Matrix:
        """A view of ``array`` where it is contiguous either way and of ``dtype``, else a copy."""
        rows, columns = array.shape
        if array.dtype != dtype or not array.flags.aligned:
            array = np.array(array, dtype, order="A")
        if (flat := flattened(array)) is None:
            array = np.ascontiguousarray(array)
            flat = array.reshape(-1)
        strides = (columns, 1) if array.flags.c_contiguous else (1, rows)
        return cls(flat, rows, columns, *strides)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.rows, self.columns

    def array(self) -> NDArray[Any]:
        """The matrix as a NumPy array, without a copy."""
        if self.column_stride == 1:
            return self.flat.reshape(self.rows, self.columns)
        return self.flat.reshape(self.columns, self.rows).T


_engines: WeakSet[Engine] = WeakSet()


def _after_fork() -> None:
    """In a forked child: a lock may be held by a thread that the child does not have."""
    for engine in _engines:
        engine._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Engine:
    """Parameters of a network, and its compiled training and inference.

    Parameters
    ----------
    layer_dims : tuple of int
        n_x, the widths of the hidden layers, n_y.
    codes : tuple of int
        Code of each layer's activation.
    loss : int
        Code of the loss.
    dtype : numpy.dtype
        float32 or float64.
    slabs : bool
        Whether the first layer may be computed in slabs of its input; not for who will `hold`
        other units for its gradient.
    """

    def __init__(
        self,
        layer_dims: tuple[int, ...],
        codes: tuple[int, ...],
        loss: int,
        dtype: np.dtype[Any],
        *,
        slabs: bool = True,
    ) -> None:
        self.codes, self.loss, self.dtype, self._slabs = codes, loss, dtype, slabs
        self.layout = ParameterLayout(layer_dims, dtype)
        self.buffer = aligned_zeros(self.layout.size, dtype)
        self._no_weights = np.zeros(0, dtype)
        self._few_layers = plan_forward(self.layout, codes, 1, 1).layers
        self._few_scratch = 2 * aligned(max(layer_dims), dtype)
        self._workspaces = Workspaces()
        # One Python thread at a time; a signal handler comes in while its own thread is inside.
        self._lock = threading.RLock()
        _engines.add(self)

    def views(self, buffer: NDArray[Any] | None = None) -> dict[str, NDArray[Any]]:
        """W1, b1, ... as views into the parameters, or into a buffer laid out like them."""
        return self.layout.views(self.buffer if buffer is None else buffer)

    def new_state(self, n_states: int) -> NDArray[Any]:
        """Zeroed state of an optimizer with ``n_states`` numbers for each parameter.

        Clipping needs ``CLIPPING_STATES``: it collects the gradients behind two states.
        """
        return aligned_zeros(max(1, n_states * self.layout.size), self.dtype)

    def compile(
        self, examples: int, *, weighted: bool = False, steps: int = 1, n_threads: int | None = None
    ) -> None:
        """Have the kernel ready that trains ``steps`` steps of ``examples`` examples in a call.

        It takes up to twenty seconds the very first time, then the time to read it from the disk.
        """
        nothing = np.zeros(0, self.dtype)
        empty = Matrix(nothing, 0, 0, 0, 0)
        with self._lock:
            purpose = Purpose(True, examples, dispatch.threads(n_threads), weighted)
            space = self._workspaces.take(purpose, self._new_workspace)
            team = dispatch.best_team(
                space.plan.multiply_adds, repeats=steps, limit=purpose.members
            )
            self._launch(
                space, team, empty, empty, _NO_COLUMNS, coefficients=nothing, state=nothing,
                costs=_NO_SUMS,
            )  # fmt: skip
            self._workspaces.put_back(purpose, space)

    def _new_workspace(self, purpose: Purpose) -> Workspace:
        """Memory for one call."""
        examples, members = purpose.examples, purpose.members
        if purpose.trains:
            plan = plan_step(
                self.layout, self.codes, self.loss, examples, members,
                weighted=purpose.weighted, slabs=self._slabs,
            )  # fmt: skip
        else:
            plan = plan_forward(self.layout, self.codes, examples, members)
        return Workspace.of(plan, self.dtype)

    def steps(
        self,
        X: Matrix,
        Y: Matrix,
        starts: NDArray[np.int64],
        coefficients: NDArray[Any],
        optimizer: int,
        state: NDArray[Any],
        examples: int,
        *,
        order: NDArray[np.int64] | None = None,
        weights: NDArray[Any] | None = None,
        regularisation: Regularisation = PLAIN,
        first_step: int = 0,
        n_threads: int | None = None,
        costs: NDArray[np.float64] | None = None,
        squares: NDArray[np.float64] | None = None,
        holder: object = None,
    ) -> tuple[int, NDArray[np.float64]]:
        """Train ``len(starts)`` steps of ``examples`` examples each in one compiled call.

        Step s takes the columns from ``starts[s]`` on, through ``order`` where it is given (then
        ``starts`` count on from one epoch's order to the next); -1 keeps the examples of the step
        before. The last step before the end of X takes what is left. ``weights`` holds a factor for
        each column of X; ``first_step`` numbers the steps for the dropout masks. Returns the number
        of steps completed and the cost of each; fewer than asked for means the training diverged.
        The costs go into ``costs`` if that is given, where they are even if an interrupt comes
        before they could be returned; the sums of all squared weights after the steps that end an
        epoch go into ``squares``. A ``holder`` takes all columns of the same X and Y in each of its
        calls: from the second on they need not be packed, unless somebody else has used the
        workspace since.
        """
        with self._lock:
            # Asked once: another Python thread may change the default at any time.
            limit = dispatch.threads(n_threads)
            purpose = Purpose(True, examples, limit, weights is not None)
            space = self._workspaces.take(purpose, self._new_workspace)
            shape = space.shapes[0]
            shape[tables.OPTIMIZER], shape[tables.COLUMNS] = optimizer, X.columns
            shape[tables.X_ROW], shape[tables.X_COLUMN] = X.row_stride, X.column_stride
            shape[tables.Y_ROW], shape[tables.Y_COLUMN] = Y.row_stride, Y.column_stride
            shape[tables.ORDERED] = order is not None
            shape[tables.CLIP] = regularisation.clip_norm is not None
            shape[tables.MEASURES] = squares is not None
            shape[tables.SEED], shape[tables.FIRST_STEP] = regularisation.seed, first_step
            rest = X.columns % examples
            if rest:
                space.shapes[1] = space.plan.with_fewer(shape, rest)
            space.set_dropout(regularisation.dropout)
            costs = np.zeros(len(starts)) if costs is None else costs
            if holder is not None and space.holder is holder:
                starts = np.full_like(starts, -1)
            elif len(starts) and starts[0] < 0:
                raise RuntimeError("the workspace does not hold the examples any more")
            space.holder = None  # until the call has packed them
            team = dispatch.best_team(space.plan.multiply_adds, repeats=len(starts), limit=limit)
            done = self._launch(
                space, team, X, Y, starts, coefficients=coefficients, state=state, costs=costs,
                order=order, weights=weights, clip_norm=regularisation.clip_norm, squares=squares,
            )  # fmt: skip
            space.holder = holder
            self._workspaces.put_back(purpose, space)
        return done, costs

    def hold(
        self,
        X: Matrix,
        Y: Matrix,
        units: NDArray[Any],
        *,
        holder: object,
        weights: NDArray[Any] | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Pack X and Y for a ``holder``, whose gradients are those of other inputs ``units``.

        In its `steps` the first layer computes Z from X, and dW1 = dZ units^T / m.
        """
        with self._lock:
            purpose = Purpose(True, X.columns, dispatch.threads(n_threads), weights is not None)
            self._measure(X, Y, weights=weights, n_threads=purpose.members, holder=holder)
            space = self._workspaces.take(purpose, self._new_workspace)
            space.plan.set_units(space.work, units)
            self._workspaces.put_back(purpose, space)

    def descend(
        self, X: Matrix, Y: Matrix, rate: float, *, n_threads: int | None = None
    ) -> tuple[bool, float]:
        """One step of gradient descent on all columns of X: whether all stayed finite; the cost."""
        coefficients = np.zeros(updates.COEFFICIENTS, self.dtype)
        coefficients[updates.STEP_SIZE] = rate
        done, costs = self.steps(
            X, Y, _FIRST_EXAMPLE, coefficients, updates.SGD, coefficients, X.columns,
            n_threads=n_threads,
        )  # fmt: skip
        return done == 1, float(costs[0])

    def _launch(
        self,
        space: Workspace,
        team: int,
        X: Matrix,
        Y: Matrix,
        starts: NDArray[np.int64],
        *,
        coefficients: NDArray[Any],
        state: NDArray[Any],
        costs: NDArray[np.float64],
        order: NDArray[np.int64] | None = None,
        weights: NDArray[Any] | None = None,
        clip_norm: float | None = None,
        squares: NDArray[np.float64] | None = None,
    ) -> int:
        """Call the step kernel; returns the number of steps completed."""
        # Rows that are all one and the same in memory are handed over as one.
        rows = coefficients if coefficients.strides[0] else coefficients[:1]
        space.progress[:] = 0
        done = dispatch.run_team(
            step.train_steps, team,
            space.shapes, space.plan.layers, space.plan.blocks, space.plan.tasks,
            space.progress, self.buffer, state, space.work,
            space.partial_costs, space.block_squares, X.flat, Y.flat,
            self._no_weights if weights is None else weights,
            _NO_COLUMNS if order is None else order, starts,
            writable(rows.reshape(-1)),
            0.0 if clip_norm is None else clip_norm, costs,
            _NO_SUMS if squares is None else squares,
        )  # fmt: skip
        return int(done)

    def gradients(
        self, X: Matrix, Y: Matrix, *, n_threads: int | None = None
    ) -> tuple[float, dict[str, NDArray[Any]]]:
        """Cost over all columns of X, and dW1, db1, ... at the present parameters."""
        cost, gradient = self._measure(X, Y, n_threads=n_threads)
        return cost, {f"d{name}": view for name, view in self.views(gradient).items()}

    def _measure(
        self,
        X: Matrix,
        Y: Matrix,
        *,
        weights: NDArray[Any] | None = None,
        n_threads: int | None = None,
        holder: object = None,
    ) -> tuple[float, NDArray[Any]]:
        """Cost and gradient of one step of all columns, which moves nothing."""
        gradient = self.new_state(1)
        zeros = np.zeros(updates.COEFFICIENTS, self.dtype)
        done, costs = self.steps(
            X, Y, _FIRST_EXAMPLE, zeros, updates.GRADIENT, gradient, X.columns, weights=weights,
            n_threads=n_threads, holder=holder,
        )  # fmt: skip
        if not done:  # the step stops at a cost that is not finite, before any gradient
            gradient[:] = np.nan
        return float(costs[0]), gradient

    def forward_few(self, X: NDArray[Any]) -> NDArray[Any] | None:
        """AL for a handful of examples (a C-contiguous array of the network's dtype).

        None if X is not finite: the kernel looks while it reads, others have to say where.
        """
        out = np.empty((self.layout.layer_dims[-1], X.shape[1]), self.dtype)
        scratch = np.empty(self._few_scratch, self.dtype)
        if inference.forward_few(self._few_layers, self.buffer, scratch, X, out):
            return out
        return None

    def forward(self, X: Matrix, *, n_threads: int | None = None) -> NDArray[Any] | None:
        """AL (n_y, m) for the columns of X; None if X is not finite, as for `forward_few`.

        One column gives the same bits however it lies in memory.
        """
        if X.columns <= FEW_EXAMPLES:
            return self.forward_few(np.array(X.array(), order="C"))
        with self._lock:
            limit = dispatch.threads(n_threads)
            purpose = Purpose(False, X.columns, limit)
            space = self._workspaces.take(purpose, self._new_workspace)
            shape = space.shapes[0]
            shape[tables.X_ROW], shape[tables.X_COLUMN] = X.row_stride, X.column_stride
            out = np.empty((self.layout.layer_dims[-1], X.columns), self.dtype)
            team = dispatch.best_team(space.plan.multiply_adds, waits=1, limit=limit)
            not_finite = dispatch.run_team(
                inference.forward_panels, team,
                shape, space.plan.layers, self.buffer, space.work, X.flat, out.reshape(-1),
            )  # fmt: skip
            self._workspaces.put_back(purpose, space)
        return None if not_finite else out
