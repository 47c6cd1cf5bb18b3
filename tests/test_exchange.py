"""Networks handed to PyTorch and to ONNX, and taken back."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from storage_cases import CONFIG, assert_same, make_parameters

from fastdnn import reference, storage
from fastdnn.kernels.activations import ACTIVATIONS
from fastdnn.storage import exchange

pytestmark = pytest.mark.extras

# --- PyTorch --------------------------------------------------------------------------------


def test_state_dict_there_and_back():
    parameters = make_parameters()
    state_dict = storage.to_state_dict(CONFIG, parameters)
    assert list(state_dict) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert state_dict["2.bias"].shape == (2,)
    assert not any(np.shares_memory(a, b) for a in state_dict.values() for b in parameters.values())
    assert_same(storage.from_state_dict(state_dict, CONFIG), parameters)


@pytest.mark.parametrize(
    "names",
    [
        ("0", "3"),  # a Dropout between
        ("layers.0", "layers.2"),
        ("hidden", "out"),
        ("9", "10"),  # numbers, not letters: 10 is after 9
        ("10", "9"),
    ],
)
def test_state_dict_modules_are_found_whatever_their_names(names):
    parameters = make_parameters()
    entries = []
    for layer, name in enumerate(names, start=1):
        entries.append((f"{name}.weight", parameters[f"W{layer}"]))
        entries.append((f"{name}.bias", parameters[f"b{layer}"].reshape(-1)))
    if names == ("10", "9"):
        with pytest.raises(ValueError, match="shape"):
            storage.from_state_dict(dict(entries), CONFIG)
    else:
        assert_same(storage.from_state_dict(dict(entries), CONFIG), parameters)


def test_state_dict_values_are_cast_to_the_dtype_and_copied():
    class Tensor:
        """As much of a tensor as is needed: on a device, and with a gradient."""

        def __init__(self, values, ready=0):
            self.values, self.ready = values, ready

        def detach(self):
            return Tensor(self.values, self.ready + 1)

        def cpu(self):
            return Tensor(self.values, self.ready + 1)

        def numpy(self):
            assert self.ready == 2
            return self.values

    parameters = make_parameters(CONFIG | {"dtype": "float32"})
    state_dict = storage.to_state_dict(CONFIG | {"dtype": "float32"}, parameters)
    tensors = {name: Tensor(array) for name, array in state_dict.items()}
    got = storage.from_state_dict(tensors, CONFIG)
    assert_same(got, {name: array.astype(np.float64) for name, array in parameters.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"2.bias": None}, "not pairs of weight and bias: 2.bias"),
        ({"1.running_mean": np.ones(3)}, "1.running_mean"),
        ({"4.weight": np.ones((1, 2)), "4.bias": np.ones(1)}, "has 3 layers, expected 2"),
        ({"0.weight": np.ones((4, 3))}, "shape"),
        ({"0.weight": np.full((3, 4), np.inf)}, r"W1\[0, 0\] is inf"),
        ({"0.weight": np.array([["x"]])}, r"state_dict\['0.weight'\] cannot be read"),
    ],
)
def test_state_dicts_that_do_not_fit(change, message):
    state_dict = storage.to_state_dict(CONFIG, make_parameters()) | change
    state_dict = {name: value for name, value in state_dict.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        storage.from_state_dict(state_dict, CONFIG)


def test_pytorch_computes_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    parameters = make_parameters()
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2), torch.nn.Softmax(dim=1)
    ).double()
    state_dict = storage.to_state_dict(CONFIG, parameters)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state_dict.items()})
    X = np.random.default_rng(1).standard_normal((4, 9))
    expected, _ = reference.L_model_forward(X, parameters, output_activation="softmax")
    np.testing.assert_allclose(
        model(torch.from_numpy(X.T)).detach().numpy().T, expected, rtol=1e-12
    )
    assert_same(storage.from_state_dict(model.state_dict(), CONFIG), parameters)
    assert_same(storage.from_state_dict(dict(model.named_parameters()), CONFIG), parameters)


# --- ONNX -----------------------------------------------------------------------------------


def test_every_activation_has_an_operator():
    assert set(exchange._ONNX_OPERATORS) == set(ACTIVATIONS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("hidden", "output"),
    [
        ("relu", "sigmoid"),
        ("leaky_relu", "softmax"),
        ("tanh", "identity"),
        ("softplus", "sigmoid"),
        ("identity", "tanh"),
        (["sigmoid", "leaky_relu"], "softplus"),
        (["softmax", "relu"], "leaky_relu"),
    ],
)
def test_onnx_runtime_computes_the_same(tmp_path, dtype, hidden, output):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    config = {
        "layer_dims": [6, 5, 4, 3],
        "hidden_activation": hidden,
        "output_activation": output,
        "dtype": dtype,
    }
    parameters = make_parameters(config)
    storage.export_onnx(tmp_path / "m.onnx", config, parameters)
    session = runtime.InferenceSession(
        (tmp_path / "m.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    X = (3 * np.random.default_rng(1).standard_normal((6, 17))).astype(dtype)
    (got,) = session.run(["Y"], {"X": np.ascontiguousarray(X.T)})
    A, names = X.astype(np.float64), [hidden] * 2 if isinstance(hidden, str) else hidden
    for layer, name in enumerate([*names, output], start=1):
        Z = parameters[f"W{layer}"] @ A + parameters[f"b{layer}"]
        A = getattr(reference, name)(Z)[0]
    assert got.dtype == dtype
    assert got.shape == (17, 3)
    error = np.linalg.norm(got.T - A) / np.linalg.norm(A)
    assert error < (1e-5 if dtype == "float32" else 1e-12)


def test_onnx_of_one_layer_takes_batches_of_any_size(tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    config = {
        "layer_dims": [2, 1],
        "hidden_activation": "relu",
        "output_activation": "identity",
        "dtype": "float32",
    }
    parameters = {"W1": np.float32([[1, 2]]), "b1": np.float32([[3]])}
    storage.export_onnx(tmp_path / "m.onnx", config, parameters)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for m in (1, 5):
        (got,) = session.run(None, {"X": np.ones((m, 2), dtype=np.float32)})
        np.testing.assert_array_equal(got, np.full((m, 1), 6, dtype=np.float32))
    assert session.get_inputs()[0].shape == ["batch", 2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx_may_scale_its_input_in_double_precision(tmp_path, dtype):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    config = CONFIG | {"dtype": dtype}
    parameters = make_parameters(config)
    scaled = np.random.default_rng(1).integers(-3, 4, (config["layer_dims"][0], 9)) / 2
    mean = np.linspace(0.0, 2.0**40, len(scaled))[:, None]
    scale = np.exp2(np.arange(len(scaled)))[:, None]
    storage.export_onnx(tmp_path / "plain.onnx", config, parameters)
    storage.export_onnx(tmp_path / "scaling.onnx", config, parameters, (mean, scale))
    (expected,), (got,) = (
        runtime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"]).run(
            None, {"X": np.ascontiguousarray(X.T)}
        )
        for name, X in [
            ("plain.onnx", scaled.astype(dtype)),
            ("scaling.onnx", mean + scale * scaled),
        ]
    )
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="scale has shape"):
        storage.export_onnx(tmp_path / "m.onnx", config, parameters, (mean, scale[:2]))


def test_onnx_refuses_what_it_cannot_say(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="output_activation is 'swish', expected one of identity"):
        storage.export_onnx(
            tmp_path / "m.onnx", CONFIG | {"output_activation": "swish"}, make_parameters()
        )
    with pytest.raises(ValueError, match="W1 has dtype"):
        storage.export_onnx(tmp_path / "m.onnx", CONFIG | {"dtype": "float32"}, make_parameters())
    assert not os.listdir(tmp_path)


def test_without_onnx_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastdnn\[onnx\]'"):
        storage.export_onnx(tmp_path / "m.onnx", CONFIG, make_parameters())
