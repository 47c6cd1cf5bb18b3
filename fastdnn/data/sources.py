"""Examples that need not fit in memory: where blocks of them are read from, and reading ahead."""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastdnn import checks

Path: TypeAlias = "str | os.PathLike[str]"
Layout: TypeAlias = Literal["rows", "columns"]

PIXEL_MAX = 255
"""Arrays of uint8 are images: their values become 0 ... 1."""

SELECTION_BYTES = 4 * 2**20
"""Read at once where examples are picked out of a file."""

BLOCK_BYTES = 16 * 2**20
"""Size of a block read from a file, as floats; two are in memory at a time."""


@runtime_checkable
class Source(Protocol):
    """Examples that are read block by block.

    Attributes
    ----------
    shape : tuple of int
        (n_x, m), as of an array whose examples are columns.
    dtype : dtype
        As stored; uint8 stands for pixels (see `to_float`).
    """

    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Examples start ... stop - 1 as an array of shape (stop - start, n_x), as stored."""


class ArraySource:
    """Examples of an array, which may be a `numpy.memmap` larger than memory.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
        Kept, not copied.

    Examples
    --------
    >>> ArraySource(np.arange(6).reshape(2, 3)).read(1, 3)
    array([[1, 4],
           [2, 5]])
    """

    def __init__(self, X: NDArray[Any]) -> None:
        self._X = checks.number_array("X", X)
        checks.shape("X", self._X, ("n_x", "m"))

    def __repr__(self) -> str:
        return f"ArraySource(shape={self.shape}, dtype={self.dtype})"

    @property
    def shape(self) -> tuple[int, int]:
        """(n_x, m)."""
        n_x, m = self._X.shape
        return n_x, m

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return self._X.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Examples start ... stop - 1, of shape (stop - start, n_x); a view of X."""
        _check_range(start, stop, self.shape[1])
        return self._X[:, start:stop].T


class Hdf5Source:
    """Examples of one dataset of an HDF5 file.

    The file is opened for every block, which costs less than a millisecond and leaves nothing
    open between blocks, after a fork, or in a pickle.

    Parameters
    ----------
    path : str or PathLike
    key : str
        Name of the dataset: of shape (m, ...), flattened example by example, or (n_x, m).
    layout : {"rows", "columns"}
        Whether the first axis counts the examples, or the last.

    Raises
    ------
    ImportError
        If h5py is missing.
    ValueError
        If the file is not HDF5, or has no such dataset of numbers.
    FileNotFoundError
        If there is no such file.
    """

    def __init__(self, path: Path, key: str, *, layout: Layout = "rows") -> None:
        self.path = os.path.abspath(path)
        self.key = key
        self.layout = checks.choice("layout", layout, ("rows", "columns"))
        with open_hdf5(self.path) as file:
            dataset = _hdf5_dataset(file, self.key)
            self._stored = (dataset.shape, dataset.dtype)
        shape, dtype = self._stored
        if len(shape) < 2 or (self.layout == "columns" and len(shape) > 2):
            raise ValueError(f"{self._what} has shape {shape}, expected examples as {layout}")
        if not checks.is_real(dtype):
            raise ValueError(f"{self._what} has dtype {dtype}, expected numbers")

    def __repr__(self) -> str:
        return f"Hdf5Source({self.path!r}, {self.key!r}, shape={self.shape}, dtype={self.dtype})"

    @property
    def _what(self) -> str:
        return f"{self.path}: dataset {self.key!r}"

    @property
    def shape(self) -> tuple[int, int]:
        """(n_x, m)."""
        first, *rest = self._stored[0]
        n = int(np.prod(rest, dtype=np.int64))
        return (n, first) if self.layout == "rows" else (first, n)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        dtype: np.dtype[Any] = self._stored[1]
        return dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Examples start ... stop - 1, of shape (stop - start, n_x), read from the file now."""
        n_x, m = self.shape
        _check_range(start, stop, m)
        with open_hdf5(self.path) as file:
            dataset = _hdf5_dataset(file, self.key)
            if (dataset.shape, dataset.dtype) != self._stored:
                raise ValueError(f"{self._what} has changed since it was opened")
            block: NDArray[Any]
            block = dataset[start:stop] if self.layout == "rows" else dataset[:, start:stop].T
        return block.reshape(stop - start, n_x)


class SelectedSource:
    """Some of the examples of another source, in the order in which they stand there.

    Parameters
    ----------
    source : Source
    indices : array of int of shape (m,)
        Which examples; sorted here.

    Examples
    --------
    >>> SelectedSource(ArraySource(np.arange(6).reshape(1, 6)), np.array([4, 1, 5])).read(0, 2)
    array([[1],
           [4]])
    """

    def __init__(self, source: Source, indices: NDArray[np.integer[Any]]) -> None:
        checks.source("source", source)
        self._source, self._indices = source, np.sort(indices)
        if isinstance(source, SelectedSource):
            self._source, self._indices = source._source, source._indices[self._indices]

    def __repr__(self) -> str:
        return f"SelectedSource({self._source!r}, {len(self._indices)} examples)"

    @property
    def shape(self) -> tuple[int, int]:
        """(n_x, m)."""
        return self._source.shape[0], len(self._indices)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return self._source.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Examples start ... stop - 1 of those selected, of shape (stop - start, n_x)."""
        n_x, m = self.shape
        _check_range(start, stop, m)
        wanted = self._indices[start:stop]
        out = np.empty((len(wanted), n_x), self.dtype)
        at_once = max(1, SELECTION_BYTES // (n_x * self.dtype.itemsize))
        done = 0
        while done < len(wanted):  # a run of the file, of which those wanted are kept
            first = wanted[done]
            until = int(np.searchsorted(wanted, first + at_once))
            run = _block(self._source, int(first), int(wanted[until - 1]) + 1)
            out[done:until] = run[wanted[done:until] - first]
            done = until
        return out


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file open for reading; h5py is imported here and not before."""
    h5py = import_extra("h5py", "data")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(path)}: no such file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        with open(path, "rb") as raw:
            is_pointer = raw.read(64).startswith(b"version https://git-lfs")
        hint = "; it is a Git LFS pointer, run `git lfs pull`" if is_pointer else ""
        raise ValueError(f"{os.fspath(path)} is not a readable HDF5 file{hint}: {error}") from error
    with file:
        yield file


def stored_array(file: Any, key: str) -> Any:
    """An array of an archive, or a dataset of an HDF5 file, where groups have names, too."""
    found = file.get(key)
    if getattr(found, "shape", None) is None:
        raise ValueError(f"{key!r} is {found!r:.80}, expected an array")
    return found


def _hdf5_dataset(file: Any, key: str) -> Any:
    """A dataset of an open HDF5 file, which the errors name."""
    if key not in file:
        raise ValueError(
            f"{file.filename} has no dataset {key!r}, it has {', '.join(file) or 'nothing'}"
        )
    try:
        return stored_array(file, key)
    except ValueError as error:
        raise ValueError(f"{file.filename}: {error}") from None


def import_extra(module: str, extra: str) -> Any:
    """An optional dependency, or an ImportError that names the command which installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(f"{name} is missing: pip install 'fastdnn[{extra}]'") from error


def _block(source: Source, start: int, stop: int) -> NDArray[Any]:
    """Examples start ... stop - 1 of a source, which may be anybody's class."""
    given = source.read(start, stop)
    shape = stop - start, source.shape[0]
    return checks.block(f"X.read({start}, {stop})", given, shape, source.dtype)


def _check_range(start: int, stop: int, m: int) -> None:
    if not 0 <= start <= stop <= m:
        raise ValueError(f"examples {start} to {stop} asked for, expected a range within 0 to {m}")


# --- blocks ---------------------------------------------------------------------------------


def to_float(block: NDArray[Any], dtype: object) -> NDArray[Any]:
    """A new array of a floating type; the pixels of uint8 images are divided by 255.

    Parameters
    ----------
    block : ndarray
    dtype : float32 or float64

    Examples
    --------
    >>> to_float(np.array([[0, 255]], dtype=np.uint8), "float32")
    array([[0., 1.]], dtype=float32)
    """
    target = checks.float_dtype("dtype", dtype)
    if block.dtype == np.uint8:
        pixels: NDArray[Any] = np.divide(block, PIXEL_MAX, dtype=target, order="C")
        return pixels
    with np.errstate(over="ignore"):  # 1e300 becomes inf in float32: checks.finite reports it
        return np.array(block, dtype=target, order="C")


def natural_dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The floating type that holds what is stored: float32 for pixels, its own for float32."""
    small = stored == np.uint8 or stored.newbyteorder("=") == np.float32
    return np.dtype(np.float32 if small else np.float64)


def block_ranges(m: int, block_size: int) -> list[tuple[int, int]]:
    """Cut examples 0 ... m - 1 into runs (start, stop) of `block_size`, the last one shorter.

    >>> block_ranges(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    block_size = checks.whole_number("block_size", block_size)
    return [(start, min(start + block_size, m)) for start in range(0, m, block_size)]


def whole_blocks(
    source: Source, *, dtype: object = np.float32
) -> Generator[NDArray[Any], None, None]:
    """All examples of a source in their order, in blocks of rows as `prefetch` yields them."""
    checks.source("source", source)
    n_x, m = source.shape
    size = max(1, BLOCK_BYTES // (n_x * checks.float_dtype("dtype", dtype).itemsize))
    with closing(prefetch(source, block_ranges(m, size), dtype=dtype)) as blocks:
        for _, _, block in blocks:
            yield block


def prefetch(
    source: Source, ranges: Iterable[tuple[int, int]], *, dtype: object = np.float32
) -> Generator[tuple[int, int, NDArray[Any]], None, None]:
    """Blocks of examples in the order asked for, the next one read while one is in use.

    A thread reads, converts (`to_float`) and checks one block ahead. It ends with the iteration;
    wrap the call in `contextlib.closing` where an exception may leave the loop early.

    Parameters
    ----------
    source : Source
    ranges : iterable of (start, stop)
    dtype : float32 or float64

    Yields
    ------
    start, stop : int
    block : ndarray of shape (stop - start, n_x)
        C-contiguous and of `dtype`; the consumer's own.

    Raises
    ------
    ValueError, TypeError
        If a block is not finite, has another shape, or is no array of real numbers. This and any
        error of reading is raised where the block would have been yielded.

    Examples
    --------
    >>> source = ArraySource(np.array([[1, 2, 3]]))
    >>> [block.sum() for start, stop, block in prefetch(source, [(0, 2), (2, 3)])]
    [np.float32(3.0), np.float32(3.0)]
    """
    checks.source("source", source)

    def load(start: int, stop: int) -> tuple[int, int, NDArray[Any]]:
        block = to_float(_block(source, start, stop), dtype)
        checks.finite(f"X[:, {start}:{stop}]", block.T)
        return start, stop, block

    reader = ThreadPoolExecutor(1, thread_name_prefix="fastdnn-read")
    ahead: Future[tuple[int, int, NDArray[Any]]] | None = None
    try:
        for start, stop in ranges:
            current, ahead = ahead, reader.submit(load, start, stop)
            if current is not None:
                yield current.result()
        if ahead is not None:
            yield ahead.result()
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
