"""``fastdnn warmup``: compile the kernels before they are needed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdnn import DNN, functional
from fastdnn.compiling import CompileClock
from fastdnn.kernels import jit
from fastdnn.scoring import DEFAULT_LOSS

from . import options as types
from .info import cache_described

EXAMPLES = """\
examples:
  fastdnn warmup                    both precisions
  fastdnn warmup --dtype float32    a single precision

Kernels are kept in the cache, see `fastdnn info`. A container image or a shared installation is
best warmed up once, by whoever may write there. FASTDNN_CACHE=0 turns the cache off.
"""

# Units of every layer and examples: work for one thread, and for several (`fastdnn.dispatch`).
_SIZES = ((4, 8), (256, 2048))


def add(commands: Any) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "warmup",
        help="compile the kernels ahead of their first use",
        description="Compile the kernels now, so that no training waits for it.",
        epilog=EXAMPLES,
        formatter_class=types.formatter,
    )
    parser.add_argument(
        "--dtype",
        choices=types.PRECISIONS,
        action="append",
        help="this precision only (may be given twice)",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Run every kernel once, and say how long it took to compile."""
    if jit.cache_path() is None:
        raise OSError(f"compiled kernels cannot be kept: the cache is {cache_described()}")
    began = time.perf_counter()
    compiled = 0.0
    for dtype in options.dtype or types.PRECISIONS:
        for what, use in USES.items():
            with CompileClock() as clock:
                use(np.dtype(dtype))
            compiled += clock.seconds
            how = f"compiled in {clock.seconds:.1f} s" if clock.seconds else "was there"
            print(f"{dtype} {what}: {how}", flush=True)
    print(f"{time.perf_counter() - began:.1f} s, {compiled:.1f} s of them compiling")
    print(f"cache: {cache_described()}")
    return 0


def _train(dtype: np.dtype[Any]) -> None:
    for units, m in _SIZES:
        DNN([units, units, 1], dtype=dtype).fit(np.zeros((units, m), dtype), np.zeros(m, dtype))


def _predict(dtype: np.dtype[Any]) -> None:
    for units, m in _SIZES:
        net = DNN([units, units, 1], dtype=dtype)
        for examples in (1, m):
            net.forward(np.zeros((units, examples), dtype))


def _call_functions(dtype: np.dtype[Any]) -> None:
    for units, m in _SIZES:
        X = np.zeros((units, m), dtype)
        for output, loss in DEFAULT_LOSS.items():
            drawn = functional.initialise_parameters_deep([units] * 3, init="he")
            parameters = {name: value.astype(dtype) for name, value in drawn.items()}
            AL, caches = functional.L_model_forward(X, parameters, output_activation=output)
            functional.compute_cost(AL, X, loss=loss)
            grads = functional.L_model_backward(AL, X, caches, output_activation=output)
            functional.update_parameters(parameters, grads, 0.1)
        functional.softmax_backward(X, functional.tanh(X)[0])


USES: dict[str, Callable[[np.dtype[Any]], None]] = {
    "training": _train,
    "prediction": _predict,
    "single functions": _call_functions,
}
