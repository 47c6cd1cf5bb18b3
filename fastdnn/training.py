"""Epochs: batches, the learning rate, validation, early stopping, progress and history.

The inner loop is compiled: a call trains as many steps as take about a fifth of a second, so that
Python costs nothing and Ctrl-C, progress and callbacks still get their turn. What was not asked for
is not done: without validation or callbacks, full-batch epochs are not even seen one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .batches import Block, Examples, Shuffler
from .callbacks import Callback, Watcher, epochs_until_due, is_false
from .checkpoints import Checkpoint, Saver
from .compiling import CompileClock
from .engine import Engine
from .history import History
from .kernels.step import OVERFLOWED
from .kernels.updates import SGD
from .optimizers import Constant, LearningRate, Optimizer, OptimizerState
from .optimizers.ahead import STEPS_AHEAD, ScalarsAhead
from .progress import Progress
from .regularisation import PLAIN, Regularisation
from .span import InSpan, in_span
from .validation import Best, Validation

# A compiled call should last about this long; Ctrl-C is served between calls. On a machine that
# others use, too, each end of a call waits for the team's last thread to get a core: half as long
# calls cost twice as much (17 % instead of 10 where a third of the time went to others).
CALL_SECONDS = 0.2

# The epochs of one call have so many examples together, at most: their order takes 8 MiB.
CALL_EXAMPLES = 1 << 20


class DivergenceError(FloatingPointError):
    """The cost, a parameter or an optimizer's state would no longer be a finite number."""


def what_diverged(cost: float) -> str:
    """What was not finite in a step of this cost that was not completed."""
    return "an update overflowed" if cost == OVERFLOWED else f"the cost became {cost}"


def uninterrupted(note: Callable[[], None]) -> None:
    """Take note of something as a whole: Ctrl-C in the middle of it comes when all is noted.

    ``note`` may run twice, and leaves the same when it does.
    """
    try:
        note()
    except KeyboardInterrupt:
        note()
        raise


@dataclass
class Training:
    """One call of ``fit``: what it was given, and the state of its loop."""

    engine: Engine
    examples: Examples
    optimizer: Optimizer
    rate: LearningRate
    state: OptimizerState
    epochs: int
    batch_size: int
    shuffler: Shuffler | None  # None keeps the order
    regularisation: Regularisation = PLAIN
    n_threads: int | None = None
    validation: Validation | None = None
    checkpoint: Checkpoint | None = None
    callbacks: Sequence[Callback] = ()
    verbose: int = 0
    history: History = field(default_factory=History)
    best: Best | None = None
    _saver: Saver | None = None
    _holder: object = field(default_factory=object)
    _seconds_per_step: float = 0.0
    _span: InSpan | None = None

    def __post_init__(self) -> None:
        # Those of earlier calls, which the optimizer's state goes on counting.
        self._steps_before = self.state.step
        self._scalars = ScalarsAhead(self.optimizer, self.engine.dtype)

    def run(self) -> History:
        """Train; the parameters are those of the last completed step, or the best ones."""
        started = time.perf_counter()
        saver, progress = self._saver, None
        with CompileClock() as compiling:
            try:
                self._prepare()
                if self.history.stopped_early:  # but others may be asked now, or more patient
                    self.history.stopped_early = False
                    self._ask_whether_to_stop()
                progress = Progress(self.epochs, self.history) if self.verbose else None
                while self.history.epochs < self.epochs and not self.history.stopped_early:
                    self._epochs()
                    self._after_epoch()
                    if saver is not None and saver.due(self.history.epochs):
                        saver.save(self)
                    if progress is not None:
                        progress.update()
                if saver is not None:
                    saver.save(self)
            except (KeyboardInterrupt, DivergenceError) as end:
                self.history.interrupted = isinstance(end, KeyboardInterrupt)
                for callback in self.callbacks:
                    if isinstance(callback, Watcher):  # it may not have seen the last epochs
                        callback(self.history)
                raise
            finally:
                if self.best is not None:
                    self.best.restore()
                self.history.seconds = time.perf_counter() - started
                self.history.compile_seconds = compiling.seconds
                if progress is not None:
                    progress.close()
        return self.history

    def restore(self) -> None:
        """Go on from the checkpoint's file, if there is one; nothing has changed if it raises."""
        if self.validation is not None:
            self.best = Best(self.engine)
        if self.checkpoint is not None:
            self._saver = Saver(self.checkpoint)
            self._saver.restore(self)

    def _prepare(self) -> None:
        """Compile, and look whether the steps are those of a smaller network."""
        self._span = self._in_span()
        if self._span is None:
            self.engine.compile(
                self.batch_size,
                weighted=self.examples.weights is not None,
                steps=self._epochs_alone() * self._steps_an_epoch,  # or fewer in a call
                n_threads=self.n_threads,
            )

    def _in_span(self) -> InSpan | None:
        """What trains in the span of the examples, where that is the same and faster.

        Callbacks other than watchers may change the parameters, and a training that resumes from a
        checkpoint would start from others, by their rounding.
        """
        moved_by_gradients = (
            self.optimizer.code == SGD
            and not self.optimizer.l2
            and not self.regularisation.dropout
            and self.regularisation.clip_norm is None
            and self.checkpoint is None
            and all(isinstance(callback, Watcher) for callback in self.callbacks)
        )
        if not (moved_by_gradients and self._whole) or self._epochs_alone() == 1:
            return None
        (block,) = self.examples.epoch(None)
        return in_span(
            self.engine, block.X, block.Y, self.epochs,
            weights=block.weights, n_threads=self.n_threads,
        )  # fmt: skip

    @property
    def _steps_an_epoch(self) -> int:
        """Steps of an epoch, the last one of which may have fewer examples."""
        return len(self._starts(self.examples.columns))

    def _starts(self, m: int) -> NDArray[np.int64]:
        """Where the batches of ``m`` examples start."""
        return np.arange(0, m, self.batch_size, dtype=np.int64)

    def _sizes(self, m: int) -> NDArray[np.int64]:
        """How many examples the batches of ``m`` examples have."""
        return np.minimum(self.batch_size, m - self._starts(m))

    def _after_epoch(self) -> None:
        """Validation, and whether to stop."""
        if self.best is not None:
            self._validate(self.best)
        self._ask_whether_to_stop()

    def _ask_whether_to_stop(self) -> None:
        """Early stopping, and each of the callbacks."""
        history = self.history
        patience = self.validation.patience if self.validation is not None else None
        if patience is not None:
            waited = history.epochs - 1 - (history.best_epoch or 0)
            history.stopped_early = waited >= patience
        for callback in self.callbacks:
            if is_false(callback(history)):
                history.stopped_early = True

    def _epochs_alone(self) -> int:
        """Epochs, at least one, before anybody looks at them or changes the learning rate."""
        if self.validation is not None or not isinstance(self.rate.schedule, Constant):
            return 1
        left = self.epochs - self.history.epochs
        return max(1, int(min(left, epochs_until_due(self.callbacks))))

    @property
    def _whole(self) -> bool:
        """Whether a step takes all examples, so that an epoch is a step."""
        return self.batch_size >= self.examples.columns and not self.examples.streamed

    def _epochs(self) -> None:
        """One epoch; or, where nobody looks at every single one, as many as fit into one call."""
        epoch = self.history.epochs
        rate = self.rate.at(epoch)
        count = self._epochs_alone()
        if self._whole:
            starts = np.full(min(count, self._steps_per_call()), -1, np.int64)
            starts[0] = 0
            (block,) = self.examples.epoch(None)
            self._steps(block, starts, rate, an_epoch=1)
        elif count > 1 and (together := min(count, self._epochs_per_call())) > 1:
            self._several_epochs(together, rate)
        else:
            blocks = self.examples.epoch(self.shuffler)
            totals, squares = zip(*(self._batches(block, rate) for block in blocks), strict=True)
            cost = sum(totals) / self.examples.columns
            uninterrupted(lambda: self._note_epochs(epoch, [cost], np.array(squares[-1:]), rate))
        if self.validation is None:
            self.rate.observe(self.history.cost[-1])

    def _epochs_per_call(self) -> int:
        """Epochs of mini-batches that fit into one call, where they can be in one.

        Nothing but the order of their examples differs between them. A checkpoint may be due after
        any of them.
        """
        if self.examples.streamed or self.checkpoint is not None:
            return 1
        together = CALL_EXAMPLES // self.examples.columns
        return min(self._steps_per_call() // self._steps_an_epoch, together)

    def _several_epochs(self, count: int, rate: float) -> None:
        """Epochs of mini-batches in one call, each in an order of its own if they are shuffled."""
        m, shuffler = self.examples.columns, self.shuffler
        first = self.history.epochs
        before = shuffler.state() if shuffler is not None else None
        blocks = [block for _ in range(count) for block in self.examples.epoch(shuffler)]
        orders = [block.order for block in blocks if block.order is not None]
        block = replace(blocks[0], order=np.concatenate(orders) if orders else None)
        starts = np.tile(self._starts(m), count)
        if orders:
            starts += np.repeat(np.arange(0, count * m, m), self._steps_an_epoch)
        try:
            self._steps(block, starts, rate, an_epoch=self._steps_an_epoch)
        except DivergenceError:
            # How many orders were drawn ahead depends on the clock; what is drawn next must not.
            if shuffler is not None:
                shuffler.restore(before)
                for _ in range(self.history.epochs - first + 1):
                    shuffler.permutation(m)
            raise

    def _batches(self, block: Block, rate: float) -> tuple[float, float]:
        """All mini-batches of a block: sum of the costs of its examples, and squared weights."""
        m = block.X.columns
        starts, sizes = self._starts(m), self._sizes(m)
        total = 0.0
        first = 0
        while first < len(starts):
            some = slice(first, first + self._steps_per_call())
            costs, squares = self._steps(block, starts[some], rate)
            costs *= sizes[some]
            # One by one: how many steps a call holds depends on the clock, a cost must not.
            for cost in costs.tolist():
                total += cost
            first += len(costs)
        return total, float(squares[-1])

    def _steps_per_call(self) -> int:
        """Steps that take about CALL_SECONDS at the pace so far."""
        if self._seconds_per_step == 0.0:
            return 1
        return max(1, min(STEPS_AHEAD, int(CALL_SECONDS / self._seconds_per_step)))

    def _steps(
        self,
        block: Block,
        starts: NDArray[np.int64],
        rate: float,
        *,
        an_epoch: int | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compiled steps at one learning rate: costs, and squared weights; raises if they diverge.

        Every ``an_epoch`` steps are an epoch, if that is given; else the caller knows. The weights
        are squared only at the end of an epoch, and only where they are penalised.
        """
        count, state = len(starts), self.state
        step, epoch = state.step, self.history.epochs
        left = (self.epochs - epoch) * self._steps_an_epoch
        coefficients = self._scalars.next(count, after=step, rate=rate, left=left)
        costs, squares = np.full((2, count), np.nan)

        def note(done: int) -> int:
            if self._span is not None and not self._span.write():
                costs[0], done = OVERFLOWED, 0
            state.step = step + done
            if an_epoch is not None:
                self._note_whole_epochs(epoch, done, costs, squares, rate, an_epoch)
            return done

        began = time.perf_counter()
        try:
            if self._span is not None:
                done = self._span.steps(coefficients, costs)
            else:
                done, _ = self.engine.steps(
                    block.X, block.Y, starts, coefficients, self.optimizer.code, state.values,
                    self.batch_size, order=block.order, weights=block.weights,
                    regularisation=self.regularisation, first_step=step,
                    n_threads=self.n_threads, costs=costs,
                    squares=squares if self.optimizer.l2 else None,
                    holder=self._holder if self._whole and not self.callbacks else None,
                )  # fmt: skip
            # The pace of this very call: steps that got slower must shorten the next call at once.
            self._seconds_per_step = (time.perf_counter() - began) / count
            done = note(done)
        except KeyboardInterrupt:  # it comes when the call is over: its steps are done
            note(int(np.isfinite(costs).sum()))
            if OVERFLOWED in costs:
                self.state.forget()
            raise
        if done < count:
            self.state.forget()  # it may hold what diverged
            raise DivergenceError(self._divergence(rate, costs[done]))
        return costs, squares

    def _note_whole_epochs(
        self,
        first: int,
        done: int,
        costs: NDArray[np.float64],
        squares: NDArray[np.float64],
        rate: float,
        an_epoch: int,
    ) -> None:
        """Epochs from the ``first`` on: every ``an_epoch`` of the steps that are done."""
        whole = done // an_epoch * an_epoch
        costs = costs[:whole].reshape(-1, an_epoch)
        if an_epoch > 1:
            # One by one, as `_batches` adds them up.
            m = self.examples.columns
            costs = np.add.accumulate(costs * self._sizes(m), axis=1) / m
        squares = squares[:whole].reshape(-1, an_epoch)
        self._note_epochs(first, costs[:, -1].tolist(), squares[:, -1], rate)

    def _note_epochs(
        self, first: int, costs: list[float], squares: NDArray[np.float64], rate: float
    ) -> None:
        """Epochs from the ``first`` on are done, each with its cost and its squared weights."""
        self.history.cost[first:] = costs
        self.history.learning_rate[first:] = [rate] * len(costs)
        if self.optimizer.l2:
            self.history.penalty[first:] = (0.5 * self.optimizer.l2 * squares).tolist()

    def _divergence(self, rate: float, cost: float) -> str:
        epoch, step = self.history.epochs + 1, self.state.step - self._steps_before + 1
        if np.isfinite(self.engine.buffer).all():
            kept = "the last finite parameters are kept"
            advice = "Try a smaller learning rate, or scale the inputs."
        else:  # no step makes them so
            kept = "the parameters were not finite before"
            advice = "Assign finite ones."
        return (
            f"training diverged: {what_diverged(cost)} in epoch {epoch} of {self.epochs}, "
            f"step {step} of this fit, at learning_rate {rate:g}; {kept}. {advice}"
        )

    def _validate(self, best: Best) -> None:
        assert self.validation is not None
        history, epoch = self.history, self.history.epochs - 1
        cost, metric = self.validation.score()

        def note() -> None:
            history.validation_cost[epoch:] = [cost]
            history.validation_metric[epoch:] = [metric]
            if cost < best.cost:
                history.best_epoch = epoch
                best.keep(cost, self.engine.buffer)

        uninterrupted(note)
        self.rate.observe(cost)
