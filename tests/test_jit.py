"""The compilation cache never runs stale code, never fails, and never compiles twice.

Each test works on a copy of the package, in processes of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastdnn
from fastdnn.kernels import jit
from fastdnn.kernels.vectors import lane_count

pytestmark = [pytest.mark.kernels, pytest.mark.needs_jit]
slow = pytest.mark.slow  # every test with processes of its own

LANES = lane_count("float32")

# A kernel that reaches through two files of the package, and what the tests edit in them.
PROBE = """
from fastdnn.kernels.activations import LEAKY_RELU, activate_run
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.simd import (load, pointer, sum_lanes)

@kernel
def probe(out, a):
    activate_run(LEAKY_RELU, pointer(out, 0), pointer(a, 0), a.size)
    return 1.0 * sum_lanes(load(pointer(a, 0)))
"""
SLOPE = ("LEAKY_SLOPE = 0.01", "LEAKY_SLOPE = 0.25")
SUM = ("_lane_tree(lambda builder, a, b: builder.fadd(a, b))",
       "_lane_tree(lambda builder, a, b: builder.fsub(a, b))")  # fmt: skip
FACTOR = ("return 1.0 * sum_lanes", "return 3.0 * sum_lanes")

RUN = """
import json, os
import numpy as np
from fastdnn.kernels import jit
from PLACE import probe
BEFORE
a = np.full(LANES, -1.0, np.float32)
out = np.zeros_like(a)
total = probe(out, a)
stats = probe.stats
print(json.dumps(dict(
    total=float(total), slope=float(-out[0]), hits=sum(stats.cache_hits.values()),
    misses=sum(stats.cache_misses.values()), path=jit.cache_path(),
    entries=len(jit.cache_entries()),
)))
"""


class Package:
    """A copy of fastdnn with a kernel of its own, and a cache folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        source = Path(fastdnn.__file__).parent
        shutil.copytree(source, folder / "fastdnn", ignore=shutil.ignore_patterns("__pycache__"))
        self.kernels = folder / "fastdnn" / "kernels"
        self.add_probe("fastdnn.kernels.probe")

    def add_probe(self, module: str) -> None:
        (self.folder / Path(*module.split("."))).with_suffix(".py").write_text(PROBE)
        self.place = module

    def edit(self, old: str, new: str) -> Path:
        """Replace ``old`` in the one file of the copy where it stands."""
        sources = [*self.kernels.glob("*.py"), *self.folder.glob("*.py")]
        found = [path for path in sources if old in path.read_text()]
        assert len(found) == 1, f"{old!r} stands in {found}"
        found[0].write_text(found[0].read_text().replace(old, new))
        return found[0]

    def python(self, code: str, **environment: str) -> str:
        """What ``code`` prints in a new process."""
        variables = {name: v for name, v in os.environ.items() if not name.startswith("FASTDNN_")}
        variables |= {
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(Path(__file__).parent)]),
            "PYTHONDONTWRITEBYTECODE": "1",  # a .pyc looks fresh if the edit came within a second
            "NUMBA_CACHE_DIR": str(self.cache),
            **environment,
        }
        result = subprocess.run(
            [sys.executable, "-c", code], env=variables, capture_output=True, text=True,
            timeout=600, cwd=self.folder,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    def run(self, before: str = "", **environment: str) -> dict:
        """Import the probe, do ``before``, and call it."""
        code = (
            RUN.replace("PLACE", self.place).replace("LANES", str(LANES)).replace("BEFORE", before)
        )
        return json.loads(self.python(code, **environment).splitlines()[-1])

    def files(self) -> dict[str, int]:
        """Files of the cache and when they were written."""
        return {
            str(path): path.stat().st_mtime_ns
            for path in [*self.cache.rglob("*.nb*"), *self.kernels.rglob("*.nb*")]
        }


@pytest.fixture
def package(tmp_path):
    return Package(tmp_path)


def right(result, *, factor=1.0, slope=0.01, total=-LANES):
    """Whether the probe computed what its sources say now."""
    return np.isclose(result["slope"], slope) and result["total"] == factor * total


# --- never twice ----------------------------------------------------------------------------------


@slow
def test_a_second_process_compiles_nothing(package):
    first = package.run()
    assert right(first) and (first["hits"], first["misses"]) == (0, 1)
    files = package.files()
    assert len(files) == 2 and all(str(package.cache) in name for name in files)
    second = package.run()
    assert right(second) and (second["hits"], second["misses"]) == (1, 0)
    assert package.files() == files


@slow
def test_no_kernel_of_a_network_is_compiled_twice(package):
    """Intrinsics in closures would miss the cache in every process, and grow it for ever.

    A network runs two pieces of machine code: a kernel, and the micro-kernel that it calls.
    """
    code = """
import json
import numpy as np
import fastdnn
from fastdnn.kernels import inference, jit, microkernels
net = fastdnn.DNN([3, 4, 1], hidden_activation="leaky_relu", dtype="float32", seed=1)
AL = net.forward(-np.ones((3, 5), np.float32))
stats = [kernel.stats for kernel in (inference.forward_panels, microkernels._compute_tiles)]
hits = [sum(each.cache_hits.values()) for each in stats]
misses = [sum(each.cache_misses.values()) for each in stats]
print(json.dumps([hits, misses, len(jit.cache_entries()), float(AL.sum())]))
"""
    first = json.loads(package.python(code))
    files = package.files()
    assert first[:3] == [[0, 0], [1, 1], 4] and len(files) == 4
    second = json.loads(package.python(code))
    assert second == [[1, 1], [0, 0], *first[2:]]
    assert package.files() == files
    package.edit(*SLOPE)
    edited = json.loads(package.python(code))
    assert edited[:2] == [[0, 0], [1, 1]] and edited[3] != first[3]


@slow
def test_import_compiles_nothing(package):
    code = """
import importlib, pkgutil
from numba.core import event
class Listener(event.Listener):
    compiled = 0
    def on_start(self, event):
        self.compiled += 1
    def on_end(self, event):
        pass
listener = Listener()
event.register("numba:compile", listener)
import fastdnn, fastdnn.kernels
names = [found.name for found in pkgutil.iter_modules(fastdnn.kernels.__path__)]
for name in names:
    importlib.import_module("fastdnn.kernels." + name)
assert len(names) > 10, names
at_import = listener.compiled
import numpy as np
from fastdnn.kernels.probe import probe
probe(np.zeros(16, np.float32), np.zeros(16, np.float32))
print(at_import, listener.compiled)
"""
    at_import, after_a_call = map(int, package.python(code).split())
    assert at_import == 0 < after_a_call


# --- never stale ----------------------------------------------------------------------------------


@slow
@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (SLOPE, {"slope": 0.25}),
        (SUM, {"total": 0.0}),
        (FACTOR, {"factor": 3.0}),
    ],
    ids=["constant of another file", "intrinsic in simd", "constant of its own file"],
)
def test_an_edit_is_never_ignored(edit, expected, package):
    assert right(package.run())
    package.edit(*edit)
    edited = package.run()
    assert right(edited, **expected) and edited["misses"] == 1
    assert not right(edited)
    again = package.run()
    assert right(again, **expected) and again["hits"] == 1


@slow
def test_an_edit_outside_the_package_is_never_ignored(package):
    """`kernel` also decorates functions of tests and of others: their own file counts, too."""
    (package.kernels / "probe.py").unlink()
    package.add_probe("outside")
    assert right(package.run())
    package.edit(*FACTOR)
    assert right(package.run(), factor=3.0)


@slow
def test_an_edit_is_never_ignored_although_the_disk_was_full(package):
    """The new index was written, the new machine code was not: the old one must not pass for it."""
    pytest.importorskip("resource")
    assert right(package.run())
    size = min(Path(name).stat().st_size for name in package.files() if name.endswith("nbc"))
    index = max(Path(name).stat().st_size for name in package.files() if name.endswith("nbi"))
    assert index < size // 2
    package.edit(*SLOPE)
    limit = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2}))"
    )
    assert right(package.run(limit), slope=0.25)
    assert right(package.run(), slope=0.25)


@slow
def test_a_kernel_that_moved_leaves_nothing_behind(package):
    """Numba names files by the line of a function: what an edit above it outdates would stay."""
    assert package.run()["entries"] == 2
    before = set(package.files())
    package.edit("@kernel\ndef probe", "\n@kernel\ndef probe")
    moved = package.run()
    assert right(moved) and (moved["misses"], moved["entries"]) == (1, 2)
    assert len(package.files()) == 2 and not before & set(package.files())


def test_two_kernels_of_one_name_leave_each_other_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(jit.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jit, "CACHE_ENABLED", True)
    monkeypatch.setattr(jit, "_cached", [])
    first = jit.kernel(lambda x: x + 1.0)
    second = jit.kernel(lambda x: x + 2.0)
    assert (first(1.0), second(1.0)) == (2.0, 3.0)
    assert (first(1), second(1)) == (2.0, 3.0)  # another overload: an index that is not new
    kept = jit.cache_entries()
    assert len(kept) == 6 and len({path.name.split(".py")[0] for path in kept}) == 2
    old = next(path for path in kept if path.suffix == ".nbi")
    line = re.search(r"-\d+\.", old.name)[0]
    for name in (old.name, old.stem + ".1.nbc"):
        (old.parent / name.replace(line, "-99999.")).write_bytes(b"of an older source")
    (old.parent / "other.function-1.py3.nbi").write_text("")
    assert len(jit.cache_entries()) == 8
    third = jit.kernel(lambda x: x + 3.0)
    assert third(1.0) == 4.0
    assert set(kept) < set(jit.cache_entries()) and len(jit.cache_entries()) == 8
    for kernel, expected in ((first, 2.0), (second, 3.0), (third, 4.0)):
        again = jit.kernel(kernel.py_func)
        assert again(1.0) == expected and again.stats.cache_hits
    assert jit.clear_cache() == 8
    assert [path.name for path in tmp_path.rglob("*.nb*")] == ["other.function-1.py3.nbi"]


# --- never fails ----------------------------------------------------------------------------------


@slow
def test_the_cache_can_be_turned_off(package):
    for _ in range(2):
        result = package.run(FASTDNN_CACHE="0")
        assert right(result) and result["path"] is None and result["hits"] == 0
    assert package.files() == {}


@slow
def test_nowhere_to_write_costs_only_the_compilation(package):
    """A read-only installation, no home, and a cache folder that cannot be made."""
    in_the_way = package.folder / "file"
    in_the_way.write_text("")
    (package.kernels / "__pycache__").write_text("")
    nowhere = str(in_the_way / "below")
    result = package.run(
        NUMBA_CACHE_DIR=nowhere, HOME=nowhere, XDG_CACHE_HOME=nowhere, LOCALAPPDATA=nowhere
    )
    assert right(result) and result["path"] is None and result["entries"] == 0


@slow
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_read_only_cache_is_read(package):
    assert right(package.run())
    folders = [package.cache, *(path for path in package.cache.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert right(package.run())
        package.edit(*SLOPE)
        assert right(package.run(), slope=0.25)
    finally:
        for folder in folders:
            folder.chmod(0o700)


@slow
def test_a_full_disk_costs_only_the_compilation(package):
    pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    result = package.run(limit)
    assert right(result) and result["misses"] == 1
    assert not [name for name in package.files() if name.endswith(("nbi", "nbc"))]
    assert right(package.run()) and package.run()["hits"] == 1


CORRUPTIONS = {
    "empty": "b''",
    "half": "good[: len(good) // 2]",
    "zeros": "bytes(len(good))",
    "text": "b'garbage in the cache'",
    "another pickle": "pickle.dumps(None)",
    "several pickles": "pickle.dumps('0') + pickle.dumps(7) + pickle.dumps(1)",
    "of a module that is gone": "b'cmodule_that_is_gone\\nname\\n.'",
}

RUN_CORRUPTED = """
import json, pickle
import numpy as np
from pathlib import Path
from fastdnn.kernels.jit import kernel
from fastdnn.kernels.probe import probe
def fresh():  # as in a new process, which has yet to look into the cache
    dispatcher = kernel(probe.py_func)
    out = np.zeros(LANES, np.float32)
    try:
        total = dispatcher(out, out - 1)
    except Exception as error:
        return repr(error)
    if (total, out[0]) != (-LANES, np.float32(-0.01)):
        return "a wrong result"
    return "loaded" if dispatcher.stats.cache_hits else "compiled"
first = [fresh(), fresh()]
[path] = Path(CACHE).rglob("*.SUFFIX")
good = path.read_bytes()
outcomes = {}
for name, contents in CORRUPTIONS.items():
    path.write_bytes(eval(contents))
    outcomes[name] = [fresh(), fresh()]
    path.write_bytes(good)
print(json.dumps([first, outcomes]))
"""


@slow
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_corrupted_file_costs_one_compilation(suffix, package):
    """It is neither believed nor left as it is."""
    code = RUN_CORRUPTED.replace("SUFFIX", suffix).replace("LANES", str(LANES))
    code = f"CACHE, CORRUPTIONS = {str(package.cache)!r}, {CORRUPTIONS}\n{code}"
    first, outcomes = json.loads(package.python(code).splitlines()[-1])
    assert first == ["compiled", "loaded"]
    assert outcomes == {name: ["compiled", "loaded"] for name in CORRUPTIONS}


@slow
def test_clear_cache_removes_what_is_its_own(package):
    assert package.run()["entries"] == 2
    [folder] = {Path(name).parent for name in package.files()}
    (folder / "other.function-1.py3.nbi").write_text("")
    code = (
        "from fastdnn.kernels import jit, probe\n"
        "before = len(jit.cache_entries())\n"
        "print(before, jit.clear_cache(), len(jit.cache_entries()), jit.clear_cache())"
    )
    assert package.python(code).split() == ["2", "2", "0", "0"]
    assert [Path(name).name for name in package.files()] == ["other.function-1.py3.nbi"]


# --- what the decorators promise ------------------------------------------------------------------


@jit.kernel
def reciprocal(x):
    return 1.0 / x


@jit.kernel
def is_nan(x):
    return x != x


@jit.kernel
def sum_in_turn(x):
    total = x[0] - x[0]
    for i in range(x.size):
        total += x[i]
    return total


def test_no_flag_changes_what_a_formula_means():
    """A zero divisor gives inf, NaN is seen, and a sum is added up in its own order."""
    assert reciprocal(0.0) == np.inf and np.isnan(reciprocal(np.nan))
    assert is_nan(np.nan) and not is_nan(np.inf)
    x = np.random.RandomState(0).randn(1001).astype(np.float32)
    assert sum_in_turn(x) == np.add.accumulate(x)[-1]
    assert sum_in_turn(x) != np.float32(np.sum(x.astype(np.float64)))  # rounding shows an order


def test_kernels_release_the_gil():
    for kernel in (reciprocal, is_nan):
        assert kernel.targetoptions["nogil"]
