"""``fastdnn info``: versions, processor, threads and cache, for the curious and for bug reports."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import llvmlite.binding as llvm
from numba.core import config

import fastdnn
from fastdnn import dispatch
from fastdnn.kernels import jit
from fastdnn.kernels.target import TARGET
from fastdnn.kernels.vectors import lane_count

from . import options as types

EXAMPLES = """\
examples:
  fastdnn info
  FASTDNN_NUM_THREADS=2 fastdnn info              what a setting comes to
  NUMBA_CPU_NAME=haswell fastdnn info             what is compiled for another processor
"""

EXTRAS = {
    "scikit-learn": "sklearn",
    "h5py": "data",
    "matplotlib": "plot",
    "tqdm": "cli",
    "onnx": "onnx",
}

# Of the hundred features of a processor, those that matter to matrix products.
_TELLING = ("sse4", "avx", "fma", "amx", "neon", "sve", "fullfp16")


def add(commands: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "info",
        help="print versions, processor features, threads and the place of the cache",
        description="Print versions, processor features, threads, and the place and size of the "
        "cache of compiled kernels.",
        epilog=EXAMPLES,
        formatter_class=types.formatter,
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Print all facts."""
    facts = [*_versions(), *_processor(), *_threads(), ("cache", cache_described())]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:{width}}  {value}")
    return 0


def _versions() -> Iterator[tuple[str, str]]:
    yield "fastdnn", fastdnn.__version__
    yield "Python", f"{platform.python_version()}, {platform.platform()}"
    for name in ("numpy", "numba", "llvmlite"):
        yield name, metadata.version(name)
    for name, extra in EXTRAS.items():
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, f"missing: pip install 'fastdnn[{extra}]'"


def _processor() -> Iterator[tuple[str, str]]:
    given = config.CPU_FEATURES
    listed = llvm.get_host_cpu_features().flatten() if given is None else given
    features = [name[1:] for name in listed.split(",") if name.startswith("+")]
    yield "processor", TARGET.name
    yield "features", " ".join(n for n in features if n.startswith(_TELLING)) or "(none of note)"
    yield "lanes", f"{lane_count('float32')} x float32, {lane_count('float64')} x float64"
    fused = "" if TARGET.fused_multiply_add else "no "
    yield "registers", f"{TARGET.vector_registers} vectors, {fused}fused multiply-add"
    if config.DISABLE_JIT:
        yield "compilation", "off (NUMBA_DISABLE_JIT): kernels run as plain Python"


def _threads() -> Iterator[tuple[str, str]]:
    try:
        yield "threading layer", dispatch.threading_layer()
    except ValueError as error:  # none of them can be loaded
        yield "threading layer", f"none: {error}"
    wanted = os.environ.get("FASTDNN_NUM_THREADS")
    said = "not set" if wanted is None else f"is {wanted}"
    yield "threads", f"{dispatch.default_threads()} (FASTDNN_NUM_THREADS {said})"


def cache_described() -> str:
    """Place and size of the compiled kernels on disk."""
    folder = jit.cache_path()
    if folder is None:
        return "off" if not jit.CACHE_ENABLED else "none: no place for it can be written"
    entries = jit.cache_entries()
    size = 0
    for path in entries:
        with contextlib.suppress(FileNotFoundError):  # another process has replaced or cleared it
            size += path.stat().st_size
    return f"{folder} ({len(entries)} files, {size / 1e6:.1f} MB)"
