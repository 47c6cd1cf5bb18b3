"""Networks to and from other libraries: ONNX files and PyTorch's state dicts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdnn import checks
from fastdnn.kernels.activations import LEAKY_SLOPE

from .arrayfile import Arrays, Path, atomic_write
from .models import check_parameters


def to_state_dict(config: Mapping[str, Any], parameters: Mapping[str, NDArray[Any]]) -> Arrays:
    """Parameters under the names of a `torch.nn.Sequential` of Linear, activation, Linear, ...

    Layer l becomes ``{2(l-1)}.weight`` of shape (n_l, n_{l-1}) and ``.bias`` of shape (n_l,).

    Parameters
    ----------
    config : dict
    parameters : dict of ndarray

    Returns
    -------
    state_dict : dict of ndarray
        Copies. PyTorch loads
        ``{name: torch.from_numpy(array) for name, array in state_dict.items()}``.

    Raises
    ------
    ValueError
        If the parameters do not fit `config`.

    Examples
    --------
    >>> config = {"layer_dims": [2, 1], "dtype": "float64"}
    >>> list(to_state_dict(config, {"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))}))
    ['0.weight', '0.bias']
    """
    check_parameters(config, parameters)
    state_dict: Arrays = {}
    for index in range(len(parameters) // 2):
        state_dict[f"{2 * index}.weight"] = parameters[f"W{index + 1}"].copy()
        state_dict[f"{2 * index}.bias"] = parameters[f"b{index + 1}"].reshape(-1).copy()
    return state_dict


def from_state_dict(state_dict: Mapping[str, Any], config: Mapping[str, Any]) -> Arrays:
    """Parameters W1, b1, ..., WL, bL from the weights and biases of a chain of Linear modules.

    Modules are taken in the order of their numbers, or, if their names are not all numbers, in
    the order in which they stand. Numbers may be missing (Dropout has no parameters).

    Parameters
    ----------
    state_dict : mapping of str to array
        NumPy arrays or PyTorch tensors on any device.
    config : dict
        With `layer_dims` and `dtype`; the values are cast to `dtype`.

    Returns
    -------
    parameters : dict of ndarray

    Raises
    ------
    ValueError
        If the entries are not pairs of weight and bias, or do not fit `config`.

    Examples
    --------
    >>> state_dict = {"0.weight": np.ones((1, 2)), "0.bias": np.zeros(1)}
    >>> from_state_dict(state_dict, {"layer_dims": [2, 1], "dtype": "float64"})["b1"]
    array([[0.]])
    """
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state_dict))
    wanted = {f"{module}.{part}" for module in modules for part in ("weight", "bias")}
    if set(state_dict) != wanted:
        odd = ", ".join(sorted(set(state_dict) ^ wanted))
        raise ValueError(f"state_dict is not pairs of weight and bias: {odd} lacking or unexpected")
    if all(module.isdecimal() for module in modules):
        modules.sort(key=int)
    parameters: Arrays = {}
    for layer, module in enumerate(modules, start=1):
        weight, bias = (
            _as_array(f"state_dict[{name!r}]", state_dict[name], str(config.get("dtype")))
            for name in (f"{module}.weight", f"{module}.bias")
        )
        parameters[f"W{layer}"], parameters[f"b{layer}"] = weight, bias.reshape(-1, 1)
    check_parameters(config, parameters)
    return parameters


def _as_array(name: str, value: Any, dtype: str) -> NDArray[Any]:
    """A copy of an array or of a tensor, which may require gradients or live on a device."""
    for method in ("detach", "cpu", "numpy"):
        if hasattr(value, method):
            value = getattr(value, method)()
    try:
        return np.array(value, dtype=dtype, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as an array of {dtype}: {error}") from error


# --- ONNX -----------------------------------------------------------------------------------

# Operator set 17 and the file format of its time: onnxruntime 1.12 and later read it.
_ONNX_OPSET = 17
_ONNX_IR_VERSION = 8

_ONNX_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("Identity", {}),
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": LEAKY_SLOPE}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "softplus": ("Softplus", {}),
}


def export_onnx(
    path: Path,
    config: Mapping[str, Any],
    parameters: Mapping[str, NDArray[Any]],
    scaling: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> None:
    """Write a network as an ONNX model: one Gemm and one activation per layer.

    The model takes ``X`` of shape (batch, n_x), examples as rows, and gives ``Y`` of shape
    (batch, n_y), the output of the last activation. It computes in the network's dtype; with a
    scaling it takes float64 and computes (X - mean) / scale in that before.

    Parameters
    ----------
    path : str or PathLike
    config : dict
        With `layer_dims`, `dtype`, `hidden_activation` and `output_activation`.
    parameters : dict of ndarray
    scaling : tuple of two ndarrays of shape (n_x, 1), optional
        Mean and scale of the features.

    Raises
    ------
    ImportError
        If the package onnx is missing.
    ValueError
        If the parameters or the scaling do not fit `config`, or ONNX has no such activation.
    OSError
        If the file cannot be written.
    """
    check_parameters(config, parameters)
    try:
        onnx: Any = importlib.import_module("onnx")
    except ImportError as error:
        raise ImportError("ONNX export needs onnx: pip install 'fastdnn[onnx]'") from error
    dims = checks.layer_dims(config["layer_dims"])
    activations = [
        *checks.hidden_activations(config["hidden_activation"], len(dims) - 2, _ONNX_OPERATORS),
        checks.choice("output_activation", config["output_activation"], _ONNX_OPERATORS),
    ]
    dtype = np.dtype(config["dtype"])
    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    taken, nodes, weights, A = element, [], [], "X"
    if scaling is not None:
        taken, A = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(np.float64)), "A0"
        nodes += _scaling_nodes(onnx, scaling, A, dims[0], element)
    for layer, activation in enumerate(activations, start=1):
        W, b, Z = f"W{layer}", f"b{layer}", f"Z{layer}"
        weights.append(onnx.numpy_helper.from_array(np.ascontiguousarray(parameters[W]), W))
        weights.append(onnx.numpy_helper.from_array(parameters[b].reshape(-1), b))
        nodes.append(onnx.helper.make_node("Gemm", [A, W, b], [Z], transB=1))
        A = "Y" if layer == len(activations) else f"A{layer}"
        nodes += _activation_nodes(onnx, activation, Z, A, dtype)
    graph = onnx.helper.make_graph(
        nodes,
        "fastdnn",
        [onnx.helper.make_tensor_value_info("X", taken, ["batch", dims[0]])],
        [onnx.helper.make_tensor_value_info("Y", element, ["batch", dims[-1]])],
        weights,
    )
    model = onnx.helper.make_model(
        graph,
        producer_name="fastdnn",
        ir_version=_ONNX_IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", _ONNX_OPSET)],
    )
    onnx.checker.check_model(model)
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def _scaling_nodes(
    onnx: Any, scaling: tuple[NDArray[Any], NDArray[Any]], A: str, n_x: int, element: int
) -> list[Any]:
    """Nodes that compute A = (X - mean) / scale in double precision."""
    node, parts = onnx.helper.make_node, dict(zip(("mean", "scale"), scaling, strict=True))
    for name, part in parts.items():
        checks.shape(name, part, (n_x, 1))
    return [
        *(_constant(onnx, name, part.T, np.dtype(np.float64)) for name, part in parts.items()),
        node("Sub", ["X", "mean"], ["X_centred"]),
        node("Div", ["X_centred", "scale"], ["X_scaled"]),
        node("Cast", ["X_scaled"], [A], to=element),
    ]


def _activation_nodes(
    onnx: Any, activation: str, Z: str, A: str, dtype: np.dtype[Any]
) -> list[Any]:
    """Nodes that compute A = g(Z)."""
    node = onnx.helper.make_node
    if dtype == np.float64 and activation == "leaky_relu":
        # The attribute alpha of LeakyRelu is single precision: here max(Z, 0.01 Z) instead.
        return [
            _constant(onnx, f"{Z}_slope", LEAKY_SLOPE, dtype),
            node("Mul", [Z, f"{Z}_slope"], [f"{Z}_scaled"]),
            node("Max", [Z, f"{Z}_scaled"], [A]),
        ]
    if dtype == np.float64 and activation == "softplus":
        # onnxruntime has no Softplus in double precision: max(Z, 0) + log(1 + e^-|Z|).
        return [
            _constant(onnx, f"{Z}_one", 1.0, dtype),
            node("Abs", [Z], [f"{Z}_abs"]),
            node("Neg", [f"{Z}_abs"], [f"{Z}_neg"]),
            node("Exp", [f"{Z}_neg"], [f"{Z}_exp"]),
            node("Add", [f"{Z}_exp", f"{Z}_one"], [f"{Z}_sum"]),
            node("Log", [f"{Z}_sum"], [f"{Z}_log"]),
            node("Relu", [Z], [f"{Z}_relu"]),
            node("Add", [f"{Z}_relu", f"{Z}_log"], [A]),
        ]
    operator, attributes = _ONNX_OPERATORS[activation]
    return [node(operator, [Z], [A], **attributes)]


def _constant(onnx: Any, name: str, value: float | NDArray[Any], dtype: np.dtype[Any]) -> Any:
    tensor = onnx.numpy_helper.from_array(np.asarray(value, dtype), name)
    return onnx.helper.make_node("Constant", [], [name], value=tensor)
