"""Compile kernels into the cache, float64 in a process beside this one's float32 (see ``tox.ini``).

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
    if sys.argv[1:2] == ["float64"]:
        compile_for(*sys.argv[1:])
        sys.exit()
    again = [sys.executable, *(["-I"] if sys.flags.isolated else []), sys.argv[0]]
    beside = subprocess.Popen([*again, "float64", *sys.argv[1:]])
    compile_for("float32", *sys.argv[1:])
    sys.exit(abs(beside.wait()))
