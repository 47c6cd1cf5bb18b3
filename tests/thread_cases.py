"""What the tests of threads and forks share: trainings on teams, and processes to run them in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numba
import numpy as np
import pytest
from kernel_cases import DTYPES, run_python
from network_cases import problem, randomise

import fastdnn
from fastdnn import dispatch

in_processes = pytest.mark.usefixtures("warm_cache")

HANG_SECONDS = 100  # after which a scenario counts as hung; each takes a few
MODULES = {"omp": "numba.np.ufunc.omppool", "workqueue": "numba.np.ufunc.workqueue"}
LAYERS = [layer for layer, module in MODULES.items() if find_spec(module)]
with suppress(ImportError):  # Numba has this one everywhere, its library is seldom installed
    import numba.np.ufunc.tbbpool

    LAYERS.append("tbb")
FOUR_THREADS = {"NUMBA_NUM_THREADS": "4", "FASTDNN_NUM_THREADS": ""}

# Layers and examples: fewer panels than threads; many; weights packed, and passed in groups.
SHAPES = (((3, 4, 1), 5), ((20, 16, 3), 300), ((600, 500, 10), 300))


class Teams:
    """Makes every call take all threads it may, and notes the team of each parallel kernel."""

    def __init__(self, put: Callable[[Any, str, Any], None] = setattr) -> None:
        self.sizes: list[int] = []
        self.inside = self.most_inside = 0
        put(dispatch, "best_team", lambda *work, limit=None, **kind: dispatch.threads(limit))
        launch = dispatch.launch

        def noting(address: int, counters: Any, team: int, args: Any) -> Any:
            before = numba.get_num_threads()
            self.sizes.append(team)
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            try:
                return launch(address, counters, team, args)
            finally:
                self.inside -= 1
                assert numba.get_num_threads() == before

        put(dispatch, "launch", noting)

    def take(self) -> set[int]:
        """The sizes since the last time."""
        sizes, self.sizes = set(self.sizes), []
        return sizes


def make(dims: tuple[int, ...], m: int, dtype: str = "float32", seed: int = 0) -> tuple[Any, ...]:
    output = "sigmoid" if dims[-1] == 1 else "softmax"
    net = fastdnn.DNN(dims, output_activation=output, dtype=dtype, seed=seed)
    randomise(net, seed)
    net.parameters["W1"][...] /= np.sqrt(dims[0])
    return net, *problem(net, m, seed)


def trained(
    n_threads: int | None, dims: tuple[int, ...] = SHAPES[1][0], m: int = SHAPES[1][1],
    dtype: str = "float32", seed: int = 0,
) -> str:  # fmt: skip
    """Digest of everything a training and its network compute on so many threads."""
    net, X, Y = make(dims, m, dtype, seed)
    net.n_threads = n_threads
    costs = net.fit(X, Y, epochs=3, learning_rate=0.1).cost
    costs += net.fit(X, Y, epochs=2, batch_size=max(1, m // 4), optimizer="adam").cost
    costs += [net.train_step(X, Y), net.evaluate(X, Y)["cost"]]
    assert np.isfinite(costs).all()
    digest = hashlib.sha256(np.array(costs).tobytes())
    for array in (*net.parameters.values(), *net.gradients(X, Y).values(), net.forward(X)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def run_scenario(scenario: Callable[..., None], *args: Any, **environment: str) -> str:
    """Run a function of a test module in a fresh process; returns what it printed."""
    module = scenario.__module__
    code = (
        f"import faulthandler, {module}\n"
        "faulthandler.enable()\n"
        f"faulthandler.dump_traceback_later({HANG_SECONDS}, exit=True)\n"
        f"{module}.{scenario.__name__}(*{args!r})\n"
        "print('done')"
    )
    result = run_python(code, **{**FOUR_THREADS, **environment})
    assert result.returncode == 0, f"exit {result.returncode}: {result.stderr[-3000:]}"
    *printed, last = result.stdout.splitlines()
    assert last == "done"
    return "\n".join(printed)


def compile_everything() -> None:
    """Call every kernel that a scenario calls, serial and parallel."""
    Teams()
    for dtype in DTYPES:
        for n_threads in (1, 2):
            trained(n_threads, *SHAPES[0], dtype)
