"""``import fastdnn``: quick, quiet, and possible wherever Python is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import run_python
from network_cases import ReferenceRun

import fastdnn

pytestmark = pytest.mark.extras

PACKAGE = Path(fastdnn.__file__).parent

# Everything beyond NumPy and Numba is an optional extra, imported where it is used.
OPTIONAL = ("sklearn", "matplotlib", "scipy", "h5py", "tqdm", "torch", "jax", "onnx", "pandas")

# Large parts of the standard library that a quick import leaves alone.
SLOW_MODULES = (
    "asyncio",
    "http",
    "unittest",
    "xml",
    "sqlite3",
    "tkinter",
    "concurrent.futures.process",
)


def report(code: str, **environment: str) -> Any:
    """What ``code`` printed as JSON in a fresh interpreter that turns warnings into errors."""
    result = run_python(f"import warnings; warnings.simplefilter('error')\n{code}", **environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """Modules after importing NumPy and Numba, and those that fastdnn brings on top."""
    return report(
        "import json, sys, numpy, numba\n"
        "before = set(sys.modules)\n"
        "import fastdnn\n"
        "print(json.dumps({'before': sorted(before), 'new': sorted(set(sys.modules) - before)}))"
    )


class TestModules:
    @pytest.mark.parametrize("name", OPTIONAL)
    def test_no_optional_package_is_imported(self, name, imported):
        assert "numba" in imported["before"]  # which looks at SciPy where there is one
        assert "fastdnn.network" in imported["new"]
        assert not [module for module in imported["new"] if module.split(".")[0] == name]

    def test_nothing_but_fastdnn_numba_and_the_standard_library_comes_on_top(self, imported):
        owners = {module.split(".")[0] for module in imported["new"]}
        assert "fastdnn" in owners
        known = {"fastdnn", "numba", "llvmlite", "numpy"} | set(sys.stdlib_module_names)
        assert not owners - known

    def test_little_of_numba_and_of_the_standard_library_comes_on_top(self, imported):
        others = [module for module in imported["new"] if module.split(".")[0] != "fastdnn"]
        assert not [
            m for m in others for slow in SLOW_MODULES if m == slow or m.startswith(slow + ".")
        ]
        assert len(others) < 60, others

    def test_rooms_that_need_extras_wait_until_they_are_used(self, imported):
        assert not set(imported["new"]) & {"fastdnn.estimators", "fastdnn.plotting", "fastdnn.cli"}


class TestModulesAtFirstUse:
    def test_they_are_attributes_that_the_import_leaves_out(self):
        got = report(
            "import json, sys, fastdnn\n"
            "late = {'estimators', 'profiling', 'reference'}\n"
            "there = [name for name in late if f'fastdnn.{name}' in sys.modules]\n"
            "listed = late <= set(dir(fastdnn))\n"
            "used = fastdnn.reference.sigmoid(0.0)[0], fastdnn.profiling.Profile.__name__\n"
            "print(json.dumps([there, listed, float(used[0]), used[1]]))"
        )
        assert got == [[], True, 0.5, "Profile"]

    def test_a_name_that_is_none(self):
        with pytest.raises(AttributeError, match="module 'fastdnn' has no attribute 'referense'"):
            _ = fastdnn.referense

    def test_without_scikit_learn_the_rest_is_found_and_described(self):
        got = report(
            "import json, pydoc, sys\n"
            "sys.modules['sklearn'] = sys.modules['sklearn.utils.validation'] = None\n"
            "import fastdnn\n"
            "described = 'L-layer network' in pydoc.render_doc(fastdnn)\n"
            "try:\n    fastdnn.estimators\n"
            "except AttributeError as error:\n    said = str(error)\n"
            "print(json.dumps([described, said]))"
        )
        assert got[0] and "pip install 'fastdnn[sklearn]'" in got[1]


# Counts compilations from before the import on; a function of its own proves that it counts.
COUNT_COMPILATIONS = """
import json
from numba import njit
from numba.core import event
from numba.np.ufunc import parallel
compiled = []

class Recorder(event.Listener):
    def on_start(self, event): compiled.append(str(event.data['dispatcher']))
    def on_end(self, event): pass

event.register('numba:compile', Recorder())
import fastdnn
during_import, started = len(compiled), parallel._is_initialized
dispatchers = [
    value
    for name, module in list(__import__('sys').modules.items()) if name.startswith('fastdnn')
    for value in vars(module).values() if hasattr(value, 'py_func')
]
signatures = sum(len(dispatcher.signatures) for dispatcher in dispatchers)

@njit
def control(x):
    return x + 1

control(1)
print(json.dumps({
    'during import': during_import, 'threads started': started, 'dispatchers': len(dispatchers),
    'signatures': signatures, 'control': len(compiled),
}))
"""


class TestNothingHappens:
    @pytest.mark.needs_jit
    def test_nothing_is_compiled_and_no_thread_is_started(self):
        got = report(COUNT_COMPILATIONS)
        assert got["control"] == 1
        assert got["dispatchers"] > 20
        assert (got["during import"], got["signatures"], got["threads started"]) == (0, 0, False)

    def test_the_state_of_numpy_and_numba_is_left_alone(self):
        got = report(
            "import json, numpy, numba\n"
            "state = lambda: (str(numpy.geterr()), numba.get_num_threads(),\n"
            "    str(numpy.random.get_state()), numba.config.NUMBA_NUM_THREADS,\n"
            "    numba.config.THREADING_LAYER, numba.config.CACHE_DIR, len(warnings.filters))\n"
            "before = state()\n"
            "import fastdnn\n"
            "print(json.dumps(before == state()))"
        )
        assert got is True

    def test_nothing_is_written(self, tmp_path):
        report("import fastdnn; print('{}')", NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not written

    def test_every_public_name_is_there(self):
        assert fastdnn.__all__
        for name in fastdnn.__all__:
            assert getattr(fastdnn, name) is not None
        assert fastdnn.__version__.count(".") == 2


# --- places where nothing can be kept -------------------------------------------------------------

TRAIN = """
import json, fastdnn
from fastdnn.kernels import jit
net = fastdnn.DNN([2, 3, 1], seed=1)
history = net.fit([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0]], [0, 1, 1], epochs=3)
print(json.dumps({
    'cost': history.cost, 'seconds': history.seconds, 'compile': history.compile_seconds,
    'path': jit.cache_path(), 'from': fastdnn.__file__,
}))
"""


def expected_costs() -> list[float]:
    """The costs of that training, by the reference."""
    net = fastdnn.DNN([2, 3, 1], seed=1)
    run = ReferenceRun(net, np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0]]), np.array([[0, 1, 1]]))
    return run.run([0.01] * 3).history


# A file where a folder would have to be: nothing can be made below it, by root neither.
BLOCKED = "blocked"


@pytest.fixture
def read_only_install(tmp_path: Path) -> Path:
    """A copy of the package beside which no file can be written."""
    kernels = tmp_path / "site" / "fastdnn" / "kernels"
    shutil.copytree(PACKAGE, kernels.parent, ignore=shutil.ignore_patterns("__pycache__"))
    (kernels / "__pycache__").write_text("in the way")
    (tmp_path / BLOCKED).write_text("in the way")
    return tmp_path


def homeless(folder: Path) -> dict[str, str]:
    """The environment of a process whose home, temporary and cache folders do not exist."""
    nowhere = str(folder / BLOCKED / "home")
    return {
        "HOME": nowhere, "USERPROFILE": nowhere, "LOCALAPPDATA": nowhere, "XDG_CACHE_HOME": nowhere,
        "IPYTHONDIR": nowhere, "NUMBA_CACHE_DIR": "", "FASTDNN_CACHE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(Path(__file__).parent)]),
    }  # fmt: skip


def in_copy(folder: Path, code: str, **environment: str) -> Any:
    """Run ``code`` with the copied package."""
    return report(
        f"import sys; sys.path.insert(0, {str(folder / 'site')!r})\n{code}",
        **{**homeless(folder), **environment},
    )


class TestNowhereToWrite:
    def test_import_of_a_read_only_install_without_a_home(self, read_only_install):
        got = in_copy(
            read_only_install,
            "import json, fastdnn\nfrom fastdnn.kernels import jit\n"
            "print(json.dumps([fastdnn.__file__, jit.cache_path(), jit.clear_cache()]))",
        )
        assert Path(got[0]).is_relative_to(read_only_install)
        assert got[1:] == [None, 0]

    def test_a_cache_folder_that_cannot_be_made(self, read_only_install):
        got = in_copy(
            read_only_install,
            "import json, fastdnn\nfrom fastdnn.kernels import jit\n"
            "print(json.dumps(jit.cache_path()))",
            NUMBA_CACHE_DIR=str(read_only_install / BLOCKED / "cache"),
        )
        assert got is None

    @pytest.mark.slow
    @pytest.mark.needs_jit
    def test_training_compiles_in_memory_and_says_how_long(self, read_only_install):
        before = sorted(read_only_install.rglob("*"))
        # what the optimiser does makes no difference here
        got = in_copy(read_only_install, TRAIN, NUMBA_OPT="0")
        assert Path(got["from"]).is_relative_to(read_only_install)
        assert got["path"] is None
        assert sorted(read_only_install.rglob("*")) == before
        assert 0 < got["compile"] < got["seconds"]
        assert got["cost"] == pytest.approx(expected_costs(), rel=1e-5)

    def test_training_without_the_jit(self, read_only_install):
        got = in_copy(read_only_install, TRAIN, NUMBA_DISABLE_JIT="1")
        assert got["cost"] == pytest.approx(expected_costs(), rel=1e-5)
