"""Compile kernels into the cache, each precision in a process of its own (see ``tox.ini``).

    python tests/warm_up.py                all of `fastdnn warmup`
    python tests/warm_up.py training       a part of it

It imports none of the tests' modules, so that ``python -I`` can run it.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from fastdnn.cli.warmup import USES


def compile_for(dtype: str, *uses: str) -> None:
    for use in uses or USES:
        USES[use](np.dtype(dtype))


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in ("float32", "float64"):
        compile_for(*sys.argv[1:])
        sys.exit()
    again = [sys.executable, *(["-I"] if sys.flags.isolated else []), *sys.argv[:1]]
    processes = [subprocess.Popen([*again, d, *sys.argv[1:]]) for d in ("float32", "float64")]
    sys.exit(max(abs(process.wait()) for process in processes))
