"""Rules of the house that a reader relies on, read off the syntax trees of the package."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import fastdnn

PACKAGE = Path(fastdnn.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
KERNELS = [name for name in FILES if name.startswith("kernels/")]
REFERENCE = [name for name in FILES if name.startswith("reference/")]

TESTS = {f"tests/{path.name}": path for path in sorted(Path(__file__).parent.glob("*.py"))}

LONGEST_FILE = 450  # lines: one idea, and it fits in a head


def tree(name):
    return ast.parse(FILES[name].read_text(), name)


def imports(source, name="fastdnn/module.py"):
    """Absolute names of all modules that a file imports, wherever in it the import stands."""
    found = set()
    package = ["fastdnn", *Path(name).parts[:-1]]
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.add(module)
            if module == "fastdnn" or not node.module:  # from . import x: x may be a module
                found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def top(module):
    return module.split(".")[0]


def flags(source):
    """Numba's decorators and flags that are spelled in a file."""
    found = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in ("njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil"):
                found.add(name)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
            found |= {a.name for a in node.names} & {"njit", "jit", "vectorize", "cfunc"}
        if isinstance(node, ast.keyword) and node.arg in (
            "nogil", "fastmath", "error_model", "boundscheck", "parallel", "nopython",
        ):  # fmt: skip
            found.add(node.arg)
    return found - {"jit"} if not _uses_numba_jit(source) else found


def _uses_numba_jit(source):
    """Whether a ``jit`` of this file is Numba's, not the module ``kernels.jit``."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "jit"
        and isinstance(node.value, ast.Name)
        and node.value.id in ("numba", "nb")
        for node in ast.walk(source)
    )


def matrix_products(source):
    """Products that would need SciPy inside compiled code."""
    found = set()
    for node in ast.walk(source):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            found.add("@")
        if isinstance(node, ast.Attribute) and node.attr in (
            "dot", "vdot", "inner", "matmul", "einsum", "tensordot", "linalg",
        ):  # fmt: skip
            found.add(node.attr)
    return found


def compiled_functions(source):
    """Functions under one of the decorators of ``kernels.jit``."""
    decorators = {"routine", "stage", "kernel", "parallel_kernel"}
    return [
        node
        for node in ast.walk(source)
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id in decorators for d in node.decorator_list)
    ]


# --- the rules ------------------------------------------------------------------------------------


def test_the_rules_have_something_to_hold_for():
    assert len(FILES) > 40 and len(KERNELS) > 10 and len(REFERENCE) > 5
    assert sum(len(compiled_functions(tree(name))) for name in KERNELS) > 50


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_import_nothing_above_them(name):
    allowed = {"numpy", "numba", "llvmlite", *sys.stdlib_module_names}
    for module in imports(tree(name), name):
        assert top(module) in allowed or module.startswith("fastdnn.kernels"), module


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_imports_numpy_only(name):
    allowed = {"numpy", *sys.stdlib_module_names}
    for module in imports(tree(name), name):
        assert top(module) in allowed or module.startswith("fastdnn.reference"), module


@pytest.mark.parametrize(
    "name", [n for n in FILES if not n.startswith(("reference/", "profiling/"))]
)
def test_nothing_computes_with_the_reference(name):
    assert not [m for m in imports(tree(name), name) if m.startswith("fastdnn.reference")]


@pytest.mark.parametrize("name", [name for name in FILES if name != "kernels/jit.py"])
def test_only_jit_spells_numbas_flags(name):
    assert not flags(tree(name))


@pytest.mark.parametrize("name", KERNELS)
def test_no_matrix_product_in_compiled_code(name):
    """Numba hands them to SciPy's BLAS, which is not a dependency."""
    for function in compiled_functions(tree(name)):
        assert not matrix_products(function), function.name


# Once for each command, on one layer's weights; and what a kernel is without the JIT.
MATRIX_PRODUCTS = {"cli/recipe.py": {"@"}, "kernels/microkernels.py": {"@"}}


@pytest.mark.parametrize(
    "name", [n for n in FILES if not n.startswith(("reference/", "profiling/"))]
)
def test_no_product_wakes_threads_of_blas(name):
    """They would keep spinning for some milliseconds on the cores that a team wants next.

    Neither before a training nor in it: it counted non-finite inputs by a dot product once.
    """
    assert matrix_products(tree(name)) == MATRIX_PRODUCTS.get(name, set())


@pytest.mark.parametrize("name", KERNELS)
def test_compiled_code_raises_nothing_and_allocates_nothing(name):
    allocating = {"zeros", "empty", "ones", "full", "array", "copy", "zeros_like", "empty_like"}
    for function in compiled_functions(tree(name)):
        for node in ast.walk(function):
            assert not isinstance(node, ast.Raise | ast.Assert | ast.Try | ast.Dict), function.name
            if isinstance(node, ast.Attribute):
                assert node.attr not in allocating, f"{function.name}: {node.attr}"


@pytest.mark.parametrize("name", [*FILES, *TESTS])
def test_a_file_fits_in_a_head(name):
    lines = (FILES | TESTS)[name].read_text().count("\n")
    assert lines <= LONGEST_FILE, f"{lines} lines"


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_a_machine(name):
    """Neither a path of whoever wrote it nor a work in progress."""
    found = re.search(r"/work\b|/root\b|/home/|\bTODO\b|\bFIXME\b|\bXXX\b", FILES[name].read_text())
    assert found is None, found


# --- each rule can be broken ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name", "found"),
    [
        ("from ..planning import plan_step", "kernels/step.py", "fastdnn.planning"),
        ("from .. import engine", "kernels/step.py", "fastdnn.engine"),
        ("from . import simd", "kernels/step.py", "fastdnn.kernels.simd"),
        ("from .simd import at", "kernels/step.py", "fastdnn.kernels.simd"),
        ("def f():\n    import fastdnn.engine as e", "kernels/a.py", "fastdnn.engine"),
        ("from fastdnn import reference", "network.py", "fastdnn.reference"),
        ("from .reference import relu", "network.py", "fastdnn.reference"),
        ("from ...reference import relu", "cli/deep/job.py", "fastdnn.reference"),
        ("import scipy.linalg", "kernels/step.py", "scipy.linalg"),
    ],
)
def test_an_import_is_found(source, name, found):
    assert found in imports(ast.parse(source), name)


@pytest.mark.parametrize(
    "source",
    [
        "import numba\n@numba.njit\ndef f(): ...",
        "from numba import njit",
        "import numba\nf = numba.jit(nopython=True)(f)",
        "f = compile(f, fastmath=True)",
        "f = compile(f, parallel=True)",
        "import numba as nb\n@nb.vectorize\ndef f(x): ...",
    ],
)
def test_a_flag_is_found(source):
    assert flags(ast.parse(source))


def test_the_module_jit_is_not_a_flag():
    assert not flags(ast.parse("from .kernels import jit\njit.clear_cache()"))


@pytest.mark.parametrize(
    "source",
    ["a @ b", "a @= b", "np.dot(a, b)", "a.dot(b)", "np.linalg.norm(a)", "np.matmul(a, b)"],
)
def test_a_matrix_product_is_found(source):
    assert matrix_products(ast.parse(source))
