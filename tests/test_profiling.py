"""The profiler: its kernels, its counts of work, what it reports. No test here looks at a clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_cases import assert_close, assert_same, count_edges, each_dtype, fenced

import fastdnn
import fastdnn.functional
import fastdnn.reference
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.worker import Worker
from fastdnn import cli, dispatch, profiling
from fastdnn.kernels import roofline
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.kernels.team import new_counters
from fastdnn.profiling import Profile, Row, machine, measure, random_examples, stages

# --- the kernels of the roofline ------------------------------------------------------------------


@pytest.mark.kernels
@pytest.mark.front
@each_dtype
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_chains_do_the_multiply_adds_that_are_counted(dtype: str, rounds: int) -> None:
    size = roofline.block_size(dtype)
    start = np.linspace(0, 2, 3 * size).astype(dtype)
    expected = start.copy()
    for _ in range(rounds):
        expected = expected * expected.dtype.type(roofline.FACTOR) + roofline.ADDEND
    with fenced() as allocate:
        alone, together = allocate(start), allocate(start)
        roofline.multiply_adds(0, new_counters(1), 1, alone, size, rounds)
        for member in range(3):
            roofline.multiply_adds(member, new_counters(1), 3, together, size, rounds)
    assert_close(alone[:size], expected[:size])
    assert_same(alone[size:], start[size:])
    assert_close(together, expected)
    assert_same(together[:size], alone[:size])


@pytest.mark.kernels
@pytest.mark.front
@each_dtype
def test_triad_writes_every_element_and_no_other(dtype: str) -> None:
    random = np.random.default_rng(0)
    for count in count_edges(dtype):
        b, c = (random.standard_normal(count).astype(dtype) for _ in range(2))
        scale = b.dtype.type(0.75)
        for team in (1, 2, 5):
            with fenced() as allocate:
                a, left, right = allocate(np.zeros(count, dtype)), allocate(b), allocate(c)
                for member in range(team):
                    roofline.triad(member, new_counters(1), team, a, left, right, scale)
            assert_close(a, b + 0.75 * c)
            alone = np.zeros(count, dtype)
            roofline.triad(0, new_counters(1), 1, alone, b, c, scale)
            assert_same(a, alone)


# --- the machine's limits -------------------------------------------------------------------------


@pytest.fixture
def quick_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks from some microseconds: positive, not to be believed."""
    monkeypatch.setattr(machine, "TRIAD_BYTES", 4096)
    monkeypatch.setattr(machine, "RUN_SECONDS", 5e-5)
    monkeypatch.setattr(machine, "_peaks", {})


@pytest.mark.kernels
@pytest.mark.front
@pytest.mark.usefixtures("quick_machine")
@each_dtype
def test_machine_peaks_are_rates(dtype: str) -> None:
    for n_threads in (1, None):
        peaks = profiling.machine_peaks(dtype, n_threads)
        assert set(peaks) == {"flops", "bandwidth"}
        assert all(isinstance(rate, float) and 0 < rate < np.inf for rate in peaks.values())


@pytest.mark.usefixtures("quick_machine")
def test_machine_peaks_are_measured_once_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, int]] = []

    def flops(dtype: np.dtype[Any], team: int) -> float:
        measured.append((dtype.name, team))
        return float(len(measured))

    monkeypatch.setattr(machine, "_flops", flops)
    monkeypatch.setattr(machine, "_bandwidth", lambda dtype, team: 1.0)
    assert profiling.machine_peaks("float32", 1)["flops"] == 1.0
    profiling.machine_peaks("float32", 1)["flops"] = 7.0  # a copy: the cache stays as it is
    assert profiling.machine_peaks(np.float32, 1)["flops"] == 1.0
    assert profiling.machine_peaks("float64", 1)["flops"] == 2.0
    assert profiling.machine_peaks("float32", 1, refresh=True)["flops"] == 3.0
    assert profiling.machine_peaks("float32", 1)["flops"] == 3.0
    assert measured == [("float32", 1), ("float64", 1), ("float32", 1)]
    with pytest.raises(ValueError, match="dtype"):
        profiling.machine_peaks("int8")


@pytest.mark.usefixtures("quick_machine")
def test_the_benchmark_beside_other_libraries_gets_fresh_peaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = iter([1.0, 2.0])
    monkeypatch.setattr(machine, "_flops", lambda dtype, team: next(rates))
    monkeypatch.setattr(machine, "_bandwidth", lambda dtype, team: 3.0)
    worker = Worker(CONTESTANTS["fastdnn-fit"])
    for rate in (1.0, 2.0):
        reply = worker.answer({"do": "peaks", "dtype": "float32"})
        assert reply == {"ok": {"flops": rate, "bandwidth": 3.0}}


# --- the counts of work ---------------------------------------------------------------------------


def small_network(**options: Any) -> fastdnn.DNN:
    return fastdnn.DNN([5, 4, 4, 4, 3], output_activation="softmax", **options)


def test_work_of_the_stages_is_counted_by_hand() -> None:
    net = small_network(dtype="float64")
    m, size = 7, 8
    count, found = stages.stages_of(net, *random_examples(net, m))
    assert count == m
    work = {(stage.name, stage.layers): (stage.flops, stage.bytes // size) for stage in found}
    weights = 5 * 4 + 4 * 4 + 4 * 4 + 3 * 4
    biases = 4 + 4 + 4 + 3
    products = 2 * weights * m
    forward_traffic = 5 * m + weights + biases + 3 * m
    step_traffic = forward_traffic + weights + biases
    assert work == {
        ("linear_forward", (1,)): (2 * 4 * 5 * m, 5 * m + 20 + 4 + 4 * m),
        ("relu", (1,)): (4 * m, 2 * 4 * m),
        ("linear_forward", (2, 3)): (2 * 4 * 4 * m, 4 * m + 16 + 4 + 4 * m),
        ("relu", (2, 3)): (4 * m, 2 * 4 * m),
        ("linear_forward", (4,)): (2 * 3 * 4 * m, 4 * m + 12 + 3 + 3 * m),
        ("softmax", (4,)): (3 * m, 2 * 3 * m),
        ("compute_cost", (4,)): (3 * m, 2 * 3 * m),
        ("output error", (4,)): (3 * m, 3 * 3 * m),
        ("dW + db", (4,)): (2 * 3 * 4 * m, 3 * m + 4 * m + 12 + 3),
        ("dA", (4,)): (2 * 3 * 4 * m, 3 * m + 4 * m + 12),
        ("relu_backward", (2, 3)): (4 * m, 3 * 4 * m),
        ("dW + db", (2, 3)): (2 * 4 * 4 * m, 4 * m + 4 * m + 16 + 4),
        ("dA", (2, 3)): (2 * 4 * 4 * m, 4 * m + 4 * m + 16),
        ("relu_backward", (1,)): (4 * m, 3 * 4 * m),
        ("dW + db", (1,)): (2 * 4 * 5 * m, 4 * m + 5 * m + 20 + 4),
        ("update_parameters", ()): (weights + biases, 3 * (weights + biases)),
        ("forward", ()): (products, forward_traffic),
        ("train_step", ()): (3 * products - 2 * 4 * 5 * m, step_traffic),
        ("step in fit", ()): (3 * products - 2 * 4 * 5 * m, step_traffic),
    }


@pytest.mark.parametrize("output", list(ACTIVATIONS))
def test_every_activation_and_loss_has_stages_that_run(output: str) -> None:
    hidden = [name for name, kind in ACTIVATIONS.items() if kind.elementwise]
    net = fastdnn.DNN(
        [3, *[4] * len(hidden), 2], hidden_activation=hidden, output_activation=output
    )
    _, found = stages.stages_of(net, *random_examples(net, 6))
    names = {stage.name for stage in found}
    assert {name for name in (*hidden, output) if name != "identity"} <= names
    assert "identity" not in names and "identity_backward" not in names
    for stage in found:
        stage.numpy(2)
        stage.fastdnn(2)
        assert stage.flops > 0 and stage.bytes > 0


@each_dtype
def test_the_halves_of_the_backward_pass_are_its_halves(dtype: str) -> None:
    random = np.random.default_rng(0)
    dZ, A, W = (random.standard_normal(shape).astype(dtype) for shape in ((3, 8), (5, 8), (3, 5)))
    for compute, package in (
        (stages.weights_backward, fastdnn.functional),
        (stages.numpy_weights_backward, fastdnn.reference),
    ):
        dA, dW, db = package.linear_backward(dZ, (A, W, np.zeros((3, 1), dtype)))
        for half, whole in zip(compute(dZ, A), (dW, db), strict=True):
            assert_same(half, whole)
        assert_close(W.T @ dZ, dA)


def test_data_that_do_not_fit_are_refused() -> None:
    net = small_network()
    X, Y = random_examples(net, 4)
    with pytest.raises(ValueError, match="X"):
        profiling.profile(net, X[:3], Y)
    with pytest.raises(ValueError, match="Y"):
        profiling.profile(net, X, Y[:2])
    with pytest.raises(ValueError, match="X"):
        profiling.profile(net, np.full_like(X, np.nan), Y)
    with pytest.raises(ValueError, match="repeats"):
        profiling.profile(net, X, Y, repeats=0)


# --- the measurement ------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, quick_machine: None) -> None:
    monkeypatch.setattr(measure, "TURN_SECONDS", 2e-5)
    monkeypatch.setattr(measure, "PAUSE", 0.0)


@pytest.mark.usefixtures("quick")
def test_a_profile_has_every_stage_and_leaves_the_network_alone() -> None:
    net = small_network(seed=3)
    X, Y = random_examples(net, 9)
    history = net.fit(X, Y, optimizer="momentum", learning_rate=0.1)
    before = {name: value.copy() for name, value in net.parameters.items()}
    found = profiling.profile(net, X, Y, repeats=2, n_threads=1)
    for name, value in before.items():
        assert_same(net.parameters[name], value)
    assert net.history is history
    assert (found.batch, found.dtype, found.n_threads) == (9, "float32", 1)
    assert len(found.rows) == 19
    for row in found.rows:
        assert 0 < row.numpy_seconds < np.inf and 0 < row.fastdnn_seconds < np.inf
        assert row.first_call_seconds > 0 and row.speedup > 0
        assert row.peak_flops == found.peaks["flops"] > 0
        assert row.peak_bandwidth == found.peaks["bandwidth"] > 0


@pytest.mark.parametrize("longer", [1, stages.FIT_LONGER])
def test_a_turn_is_as_long_as_its_stage_needs(monkeypatch: pytest.MonkeyPatch, longer: int) -> None:
    """By a clock of ours: 2 ms once, as `fit` needs before its steps, and 0.01 ms a call."""
    monkeypatch.setattr(measure, "_timed", lambda run, calls: 2e-3 + 1e-5 * calls)
    turns = measure._Turns(lambda calls: None, longer)
    assert 2e-3 + 1e-5 * turns.calls >= longer * measure.TURN_SECONDS
    assert turns.calls == 1 or turns.best < 1.02e-5


@pytest.mark.usefixtures("quick")
def test_the_thread_limit_of_the_process_is_put_back() -> None:
    net = fastdnn.DNN([2, 1])
    with dispatch.threads_at_most(2):
        found = profiling.profile(net, *random_examples(net, 3), repeats=1, n_threads=1)
        assert (found.n_threads, dispatch.default_threads()) == (1, 2)
    with dispatch.threads_at_most(1):
        assert profiling.profile(net, *random_examples(net, 3), repeats=1).n_threads == 1


# --- the report -----------------------------------------------------------------------------------


def made_profile() -> Profile:
    """A profile with known times: the second row loses."""

    def row(stage: str, layers: tuple[int, ...], numpy: float, fastdnn: float) -> Row:
        return Row(stage, layers, "8 x 8", 2_000_000, 1_000_000, numpy, fastdnn, 0.5, 1e11, 1e10)

    rows = (
        row("linear_forward", (1,), 4e-4, 2e-4),
        row("linear_backward", (2, 3, 5), 1e-4, 2e-4),
        row("train_step", (), 9e-4, 4e-5),
    )
    return Profile("<DNN>", 8, "float32", 4, "cpu", 0.2, {"flops": 1e11, "bandwidth": 1e10}, rows)


def test_rates_follow_from_the_times() -> None:
    row = made_profile().rows[0]
    assert row.speedup == pytest.approx(2)
    assert row.flops_per_second == pytest.approx(1e10)
    assert row.bytes_per_second == pytest.approx(5e9)
    assert row.intensity == pytest.approx(2)
    # 2 flop/byte at 1e10 byte/s is 2e10 flop/s at most, below the peak of 1e11
    assert row.roofline_seconds == pytest.approx(1e-4)
    assert row.roofline_share == pytest.approx(0.5)


def test_the_table_names_the_losing_rows() -> None:
    found = made_profile()
    text = found.table()
    assert [row.stage for row in found.losing] == ["linear_backward"]
    assert "Slower than NumPy: linear_backward of layer 2-3,5." in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["linear_backward"].endswith("slower")
    assert lines["linear_forward"].split()[1:] == [
        *("1", "8", "x", "8"), "400", "200", "2.00", "10.0", "5.00", "2.00", "50",
    ]  # fmt: skip
    assert not lines["train_step"].endswith("slower") and " all " in lines["train_step"]
    assert "peak 100 GFLOP/s, memory 10 GB/s" in text and "1.50 s" in text
    assert str(found) == text


def test_a_profile_that_loses_nothing_says_so() -> None:
    found = made_profile()
    won = Profile(**{**vars(found), "rows": found.rows[::2]})
    assert "Slower than NumPy: nothing." in won.table()


def test_a_busy_machine_is_told() -> None:
    values = vars(made_profile())
    assert "not idle" not in Profile(**values).table()
    assert "not idle" not in Profile(**{**values, "load": None}).table()
    assert "not idle: load average 3.5" in Profile(**{**values, "load": 3.5}).table()


def test_json_has_what_was_measured_and_what_follows() -> None:
    found = made_profile()
    values = json.loads(found.to_json())
    assert values["peaks"] == found.peaks and values["batch"] == 8
    assert [row["stage"] for row in values["rows"]] == [row.stage for row in found.rows]
    first = values["rows"][0]
    assert first["numpy_seconds"] == 4e-4 and first["fastdnn_seconds"] == 2e-4
    assert first["first_call_seconds"] == 0.5
    assert first["speedup"] == pytest.approx(2) and first["roofline_share"] == pytest.approx(0.5)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made_profile().plot(tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")
    made_profile().plot(str(tmp_path / "profile.svg"))
    assert "<svg" in (tmp_path / "profile.svg").read_text()


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"fastdnn\[plot\]"):
        made_profile().plot(tmp_path / "profile.png")


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    files = ["--json", str(tmp_path / "p.json"), "--plot", str(tmp_path / "p.png")]
    network = ["--layer-dims", "3,4,2", "--hidden", "tanh", "--output", "sigmoid"]
    options = ["--batch-size", "5", "--repeats", "1", "--threads", "1", "--dtype", "float64"]
    assert cli.main(["profile", *network, *options, *files]) == 0
    text = capsys.readouterr().out
    assert "3 -> 4 tanh -> 2 sigmoid" in text and "batch 5, float64" in text
    assert json.loads((tmp_path / "p.json").read_text())["n_threads"] == 1
    assert (tmp_path / "p.png").stat().st_size > 0


@pytest.mark.usefixtures("quick")
def test_the_command_profiles_a_saved_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.npz"
    fastdnn.DNN([3, 2], output_activation="identity", dtype="float64").save(path)
    assert cli.main(["profile", str(path), "--batch-size", "4", "--repeats", "1"]) == 0
    assert "3 -> 2 identity; mse, float64" in capsys.readouterr().out
