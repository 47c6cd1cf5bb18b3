"""Fixtures that several files of tests share."""

from __future__ import annotations

import signal
import types

import numpy as np
import pytest
from input_cases import replace_compiled_code
from kernel_cases import run_python
from thread_cases import FOUR_THREADS

from fastdnn import cli, dispatch
from fastdnn.kernels.jit import CACHE_ENABLED

# A shell that starts the tests in the background has them ignore Ctrl-C, which all processes that
# they start would inherit: none of them could be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread(monkeypatch):
    """Nothing here is about threads, and one gives the same bits as several."""
    monkeypatch.setenv("FASTDNN_NUM_THREADS", "1")  # for child processes
    with dispatch.threads_at_most(1):
        yield


@pytest.fixture
def rng():
    """Random numbers that do not depend on which tests ran before."""
    return np.random.default_rng(0)


@pytest.fixture
def no_compiled_code(monkeypatch):
    """Arguments that are accepted raise `input_cases.Reached`."""
    replace_compiled_code(monkeypatch)


@pytest.fixture(scope="session")
def warm_cache():
    """All kernels are compiled by one process, without a limit of time, before others need them."""
    if not CACHE_ENABLED:
        pytest.skip("each process would compile everything")
    result = run_python("import thread_cases; thread_cases.compile_everything()", **FOUR_THREADS)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command in a folder of its own; gives its status and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run_command(*argv):
        status = cli.main([str(word) for word in argv])
        printed = capsys.readouterr()
        return types.SimpleNamespace(status=status, out=printed.out, err=printed.err)

    return run_command


@pytest.fixture(scope="session")
def iris():
    """scikit-learn's flowers, standardised."""
    datasets = pytest.importorskip("sklearn.datasets")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    X, y = datasets.load_iris(return_X_y=True)
    return preprocessing.scale(X), y
