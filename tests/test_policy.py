"""Rules of the house that a reader relies on; who may import whom stands in pyproject.toml."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import fastdnn
from fastdnn.kernels import jit

PACKAGE = Path(fastdnn.__file__).parent
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
KERNELS = [name for name in FILES if name.startswith("kernels/")]

TESTS = {f"tests/{path.name}": path for path in sorted(Path(__file__).parent.glob("*.py"))}

# Of `kernels.jit`: what it exports is these and what looks after the cache.
DECORATORS = {name for name in jit.__all__ if "cache" not in name}

LONGEST_FILE = 450  # lines: one idea, and it fits in a head


def tree(name):
    return ast.parse(FILES[name].read_text(), name)


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
            "nogil", "fastmath", "error_model", "boundscheck", "parallel", "nopython", "_nrt",
            "no_cfunc_wrapper", "no_cpython_wrapper", "inline",
        ):  # fmt: skip
            found.add(node.arg)
        # Other functions have a cache, too, and are handed one; Numba's flag is True or False.
        if isinstance(node, ast.keyword) and node.arg == "cache":
            found |= {"cache"} if isinstance(getattr(node.value, "value", None), bool) else set()
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
    return [
        node
        for node in ast.walk(source)
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id in DECORATORS for d in node.decorator_list)
    ]


# --- the rules ------------------------------------------------------------------------------------


def test_the_rules_have_something_to_hold_for():
    assert {"kernel", "parallel_kernel", "routine", "standalone"} == DECORATORS
    assert len(FILES) > 40 and len(KERNELS) > 10
    assert sum(len(compiled_functions(tree(name))) for name in KERNELS) > 50


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


def tracked():
    """All files of the repository."""
    root = Path(__file__).parents[1]
    if shutil.which("git") is None:
        pytest.skip("needs git")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("this is no checkout")
    paths = [root / os.fsdecode(name) for name in listed.stdout.split(b"\0")]
    return [path for path in paths if path.is_file()]


def traces(contents):
    """Paths of whoever wrote it, and words of a work in progress; none in what is no text."""
    if b"\0" in contents:
        return []
    return re.findall(rb"/(?:work|root|tmp|home)\b|\b(?:TODO|FIXME|XXX)\b", contents)


def test_no_file_names_a_machine():
    files = [path for path in tracked() if path != Path(__file__)]  # which spells them
    assert len(files) > len(FILES) + len(TESTS)
    found = {str(path): traces(path.read_bytes()) for path in files}
    assert not {path: words for path, words in found.items() if words}


# --- each rule can be broken ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "import numba\n@numba.njit\ndef f(): ...",
        "from numba import njit",
        "import numba\nf = numba.jit(nopython=True)(f)",
        "f = compile(f, fastmath=True)",
        "f = compile(f, parallel=True)",
        "f = compile(f, cache=True)",
        "f = compile(f, inline='always')",
        "f = compile(f, _nrt=False)",
        "f = compile(f, no_cfunc_wrapper=True)",
        "f = compile(f, no_cpython_wrapper=True)",
        "import numba as nb\n@nb.vectorize\ndef f(x): ...",
    ],
)
def test_a_flag_is_found(source):
    assert flags(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "from .kernels import jit\njit.clear_cache()",
        "@functools.cache\ndef f(): ...",
        "linear_backward(dZ, cache=cache)",
        "linear_backward(dZ, cache=layer.cache)",
    ],
)
def test_what_only_looks_like_a_flag_is_none(source):
    assert not flags(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    ["a @ b", "a @= b", "np.dot(a, b)", "a.dot(b)", "np.linalg.norm(a)", "np.matmul(a, b)"],
)
def test_a_matrix_product_is_found(source):
    assert matrix_products(ast.parse(source))


@pytest.mark.parametrize("text", [b"at /root/v", b"cd /tmp/x", b"'/home/me'", b"/work", b"# TODO"])
def test_a_trace_is_found(text):
    assert traces(text)


def test_words_that_only_look_like_a_trace_are_none():
    assert not traces(b"homework, rooted, framework/homes and TODOs of a/tmpfile")
