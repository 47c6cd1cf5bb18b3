"""The one place that spells a Numba flag, and the policy of the compilation cache.

Four decorators, by what a function is for:

``routine``
    a formula or a loop that other kernels call; becomes a part of them (``linking``).
``standalone``
    a routine that is compiled once, cached on disk, and called through its address.
``kernel``
    what Python calls, or one member of a team does; releases the GIL; cached on disk.
``parallel_kernel``
    a kernel with a ``prange`` loop (``team.launch``); cached on disk.

No fast-math flag is set anywhere. The hot loops already say which operations fuse and in which
order sums run (``kernels.simd``), so the flags would only let LLVM change bits where it likes, and
``nnan`` would delete the checks that keep NaN visible. ``error_model="numpy"`` drops the branch on
a zero divisor, which otherwise prevents vectorisation.

Kernels allocate nothing, so they are compiled without Numba's memory management (``_nrt``): each
array handed from one routine to the next would otherwise be counted up and down again by atomic
instructions, which took half of a small network's step.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import config, types
from numba.core.caching import FunctionCache, IndexDataCacheFile

from .linking import RoutineCompiler

__all__ = [
    "cache_entries",
    "cache_path",
    "clear_cache",
    "kernel",
    "parallel_kernel",
    "routine",
    "standalone",
]

_FLAGS = {"nogil": True, "error_model": "numpy", "_nrt": False}

CACHE_ENABLED = os.environ.get("FASTDNN_CACHE", "1") != "0" and not config.DISABLE_JIT


def _source_digest() -> str:
    """Digest of every file of this package, so that an edit in one outdates all of them.

    Numba stamps a cached function with the one file it stands in; machine code that inlined
    ``simd.py`` would survive an edit there (numba#1833).
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _KernelCache(FunctionCache):
    """Numba's function cache with a stamp over all kernels, and deaf to a broken disk."""

    _digest: str | None = None

    def __init__(self, py_func: Callable[..., Any]) -> None:
        super().__init__(py_func)
        if _KernelCache._digest is None:
            _KernelCache._digest = _source_digest()
        # A kernel that stands elsewhere (a test's, a user's) is also as old as its own file.
        own = self._cache_file._source_stamp
        self._cache_file._source_stamp = (_KernelCache._digest, own)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # Whatever a damaged file raises on the way, pickle's exceptions are of any kind.
        with contextlib.suppress(Exception):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):
            own = self._impl.filename_base
            if not self._fresh_index(own):
                # Numba writes the index before the code it names: if the second write failed, the
                # old code of that name would pass for the new.
                for path, name in _files(Path(self._cache_path), own):
                    if name == own:
                        path.unlink(missing_ok=True)
                    elif not self._fresh_index(name):
                        # An edit moved the kernel to another line; nothing would ever overwrite it.
                        with contextlib.suppress(OSError):
                            path.unlink()
            super().save_overload(sig, data)

    def _fresh_index(self, name: str) -> bool:
        """Whether there is an index of that name, undamaged and not out of date."""
        with contextlib.suppress(Exception):
            stamp = self._cache_file._source_stamp
            return bool(IndexDataCacheFile(self._cache_path, name, stamp)._load_index())
        return False


def _files(folder: Path, name: str) -> list[tuple[Path, str]]:
    """Files of a kernel and their names up to the suffix, machine code before indices.

    ``name`` is Numba's ``module.function-line.python``; other lines are of older sources, or of
    functions that are defined twice.
    """
    function, _, line = name.rpartition("-")
    other = rf"{re.escape(function)}-\d+{re.escape(line[line.find('.') :])}"
    pattern = re.compile(rf"({re.escape(name)}|{other})(\.\d+\.nbc|\.nbi)")
    found = [(path, pattern.fullmatch(path.name)) for path in folder.glob(f"{function}-*.nb[ci]")]
    files = [(path, match[1]) for path, match in found if match]
    return sorted(files, key=lambda file: file[0].suffix)


_cached: list[Any] = []


def _with_cache(dispatcher: Any) -> Any:
    if CACHE_ENABLED:
        # RuntimeError: "no locator available" (read-only install and no home directory).
        with contextlib.suppress(RuntimeError, OSError):
            dispatcher._cache = _KernelCache(dispatcher.py_func)
            _cached.append(dispatcher)
    return dispatcher


def _silent(function: Callable[..., Any]) -> Callable[..., Any]:
    """As plain Python: without NumPy's warnings, which compiled code does not give either."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return call


def routine(function: Callable[..., Any]) -> Any:
    """Compile ``function`` for callers in compiled code; LLVM inlines the small ones.

    Once for each type of argument, not for each constant that stands in a call. Python can call it,
    too, and has a version of its own then: what compiled callers link has no entry for Python.
    """
    dispatcher = numba.njit(no_cfunc_wrapper=True, **_FLAGS)(function)
    if config.DISABLE_JIT:
        return dispatcher

    @functools.cache
    def linked() -> Any:
        flags = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, **_FLAGS}
        return numba.njit(pipeline_class=RoutineCompiler, **flags)(function)

    def get_call_template(args: Any, kws: Any) -> Any:
        plain = {name: types.unliteral(value) for name, value in kws.items()}
        return linked().get_call_template([types.unliteral(value) for value in args], plain)

    dispatcher.get_call_template = get_call_template
    dispatcher.get_overload = lambda signature: linked().get_overload(signature)
    return dispatcher


def standalone(function: Callable[..., Any]) -> Any:
    """Compile ``function`` for callers that know its address (``Dispatcher.compile`` first).

    The machine code of a large routine would else be generated again in each of the kernels.
    """
    if config.DISABLE_JIT:
        return function
    flags = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, **_FLAGS}
    return _with_cache(numba.njit(**flags)(function))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function``, lazily for each dtype, cached on disk."""
    if config.DISABLE_JIT:
        return _silent(function)
    return _with_cache(numba.njit(**_FLAGS)(function))


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function``, which has ``prange`` loops, as a parallel kernel, cached on disk."""
    if config.DISABLE_JIT:
        return _silent(function)
    return _with_cache(numba.njit(parallel=True, **_FLAGS)(function))


def cache_path() -> str | None:
    """Folder of the compiled kernels, or None where nothing is cached."""
    return _cached[0]._cache.cache_path if _cached else None


def cache_entries() -> list[Path]:
    """Files that cached kernels occupy on disk, outdated ones included."""
    folder = cache_path()
    if folder is None:
        return []
    names = {dispatcher._cache._impl.filename_base for dispatcher in _cached}
    return sorted({path for name in names for path, _ in _files(Path(folder), name)})


def clear_cache() -> int:
    """Delete the compiled kernels from disk; returns how many files were removed."""
    entries = cache_entries()
    for path in entries:
        path.unlink(missing_ok=True)
    return len(entries)
