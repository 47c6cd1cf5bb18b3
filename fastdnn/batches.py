"""Where the examples of an epoch come from: an array in memory, or blocks read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import checks
from .data import Source, block_ranges, prefetch, whole_blocks
from .data.sources import BLOCK_BYTES
from .engine import Matrix

Given: TypeAlias = Matrix | Source  # checked examples: in memory, or to be read

# Examples in columns are copied once into rows before shuffled mini-batches are gathered from them,
# if the copy is not larger than this: a column's elements lie a whole row apart.
ROW_COPY_BYTES = 48 * 1024 * 1024


@dataclass(frozen=True)
class Block:
    """Examples in memory, and the order in which to take them (None: as they are)."""

    X: Matrix
    Y: Matrix
    weights: NDArray[Any] | None
    order: NDArray[np.int64] | None


class Shuffler:
    """Draws the order of the examples: a class to derive from.

    The orders of several epochs may be drawn before the first of them is trained; should that
    diverge, those that were not needed are taken back.
    """

    def permutation(self, m: int) -> NDArray[np.int64]:
        """The numbers from 0 to m - 1 in a new order: integers of shape (m,)."""
        raise NotImplementedError

    def state(self) -> Any:
        """All that the next draws depend on, for `restore`."""
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Draw next what would have been drawn after that `state`."""
        raise NotImplementedError


class Trusted(Shuffler):
    """Draws of the package itself: to look at them would cost as much as a small epoch's steps."""


class Generated(Trusted):
    """Draws from a `numpy.random.Generator`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def permutation(self, m: int) -> NDArray[np.int64]:
        """The numbers from 0 to m - 1 in a new order."""
        return self._rng.permutation(m)

    def state(self) -> dict[str, Any]:
        """JSON can hold it."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Draw next what would have been drawn after that `state`."""
        self._rng.bit_generator.state = state


class Checked(Shuffler):
    """Draws as somebody's class does; its orders are looked at before compiled code takes them."""

    def __init__(self, shuffler: Shuffler) -> None:
        self._shuffler = shuffler

    def permutation(self, m: int) -> NDArray[np.int64]:
        """The numbers from 0 to m - 1 in a new order."""
        return checks.indices(f"shuffle.permutation({m})", self._shuffler.permutation(m), m)

    def state(self) -> Any:
        """All that the next draws depend on, for `restore`."""
        return self._shuffler.state()

    def restore(self, state: Any) -> None:
        """Draw next what would have been drawn after that `state`."""
        self._shuffler.restore(state)


def drawing_from(
    rng: np.random.Generator, shuffle: bool | Shuffler, *, saved: bool
) -> Shuffler | None:
    """What draws the order of the examples, if anything does.

    Raises
    ------
    TypeError
        If `shuffle` is neither True nor False nor a `Shuffler`, or one that is to be saved.
    """
    if not isinstance(shuffle, Shuffler):
        if not isinstance(shuffle, bool | np.bool_):
            raise TypeError(f"shuffle is {shuffle!r:.60}, expected True, False or a Shuffler")
        return Generated(rng) if shuffle else None
    if saved:
        raise TypeError("checkpoint cannot save the state of shuffle, expected True or False")
    return shuffle if isinstance(shuffle, Trusted) else Checked(shuffle)


class Examples(Protocol):
    """All examples of a training."""

    Y: Matrix
    columns: int
    streamed: bool
    weights: NDArray[Any] | None

    @property
    def X(self) -> Given:
        """Their features."""

    def epoch(self, shuffler: Shuffler | None) -> Iterator[Block]:
        """The blocks of one epoch, shuffled if there is a shuffler."""


class InMemory:
    """Arrays that are there as a whole: one block an epoch, shuffled through indices."""

    streamed = False

    def __init__(self, X: Matrix, Y: Matrix, weights: NDArray[Any] | None) -> None:
        self.X, self.Y, self.weights = X, Y, weights
        self.columns = X.columns
        self._gathered = X

    def epoch(self, shuffler: Shuffler | None) -> Iterator[Block]:
        """One block; see the class."""
        if shuffler is None:
            yield Block(self.X, self.Y, self.weights, None)
        else:
            order = shuffler.permutation(self.columns)
            yield Block(self._rows(), self.Y, self.weights, order)

    def _rows(self) -> Matrix:
        """X with contiguous examples, where that is worth a copy."""
        X = self._gathered
        if X.column_stride == 1 and X.rows > 1 and X.flat.nbytes <= ROW_COPY_BYTES:
            array = X.flat.reshape(X.rows, X.columns)
            self._gathered = Matrix.of(np.asfortranarray(array), X.flat.dtype)
        return self._gathered


class Streamed:
    """A source larger than memory: blocks in random order, and examples shuffled within a block."""

    streamed = True

    def __init__(
        self, X: Source, Y: Matrix, weights: NDArray[Any] | None, batch_size: int, dtype: Any
    ) -> None:
        self.X, self.Y, self.weights, self.dtype = X, Y, weights, dtype
        n_x, self.columns = X.shape
        examples = max(1, BLOCK_BYTES // (n_x * np.dtype(dtype).itemsize))
        # Whole batches, so that only an epoch's last block holds a smaller one.
        self.block = max(1, examples // batch_size) * batch_size

    def epoch(self, shuffler: Shuffler | None) -> Iterator[Block]:
        """Blocks of the source, the next one being read while one is used."""
        ranges = block_ranges(self.columns, self.block)
        if shuffler is not None:
            ranges = [ranges[i] for i in shuffler.permutation(len(ranges))]
        targets = self.Y.array()
        with closing(prefetch(self.X, ranges, dtype=self.dtype)) as blocks:
            for start, stop, rows in blocks:
                X = Matrix.of(rows.T, self.dtype)
                Y = Matrix.of(np.ascontiguousarray(targets[:, start:stop]), self.dtype)
                weights = None if self.weights is None else self.weights[start:stop].copy()
                order = None if shuffler is None else shuffler.permutation(stop - start)
                yield Block(X, Y, weights, order)


@dataclass(frozen=True)
class CheckedSource:
    """A source as it was when it was checked: blocks have to be those of this shape ever after."""

    source: Source
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, name: str, source: Source, n_x: int) -> CheckedSource:
        """A source of examples of ``n_x`` features."""
        checks.source(name, source, n_x)
        return cls(source, source.shape, source.dtype)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Examples start ... stop - 1, of shape (stop - start, n_x)."""
        return self.source.read(start, stop)


def outputs(forward: Callable[[Matrix], NDArray[Any] | None], X: Given, dtype: Any) -> NDArray[Any]:
    """What ``forward`` gives for examples (n_y, m), a source's block by block.

    It gives nothing for examples that are not finite: an error says where. (If they are when that
    is looked up, somebody else has written to them.)
    """
    if isinstance(X, Matrix):
        while (AL := forward(X)) is None:
            checks.finite("X", X.array())
        return AL
    blocks = (Matrix.of(rows.T, dtype) for rows in whole_blocks(X, dtype=dtype))
    return np.concatenate([outputs(forward, block, dtype) for block in blocks], axis=1)


def all_examples(
    X: Given, Y: Matrix, weights: NDArray[Any] | None, batch_size: int | None, dtype: Any
) -> tuple[Examples, int]:
    """The examples of a training, and the number of them in a step.

    Raises
    ------
    ValueError, TypeError
        If the batch size is no positive whole number, or missing where X is read in blocks.
    """
    size = X.shape[1]
    if batch_size is not None:
        size = min(size, checks.whole_number("batch_size", batch_size))
    if isinstance(X, Matrix):
        return InMemory(X, Y, weights), size
    if batch_size is None:
        raise ValueError("batch_size is needed where X is a source read in blocks")
    return Streamed(X, Y, weights, size, dtype), size
