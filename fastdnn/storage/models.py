"""A network on disk: the arguments that build it, and its parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fastdnn import checks

from .arrayfile import Arrays, FileFormatError, Path, load_arrays, save_arrays


def save_model(
    path: Path,
    config: Mapping[str, Any],
    parameters: Mapping[str, NDArray[Any]],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a network: the arguments that build it, and its parameters W1, b1, ..., WL, bL.

    Parameters
    ----------
    path : str or PathLike
    config : dict
        JSON-able, with at least `layer_dims` and `dtype`.
    parameters : dict of ndarray
        ``W{l}`` of shape (n_l, n_{l-1}) and ``b{l}`` of shape (n_l, 1).
    extra : dict, optional
        Anything else to keep, as JSON: class names, the history.

    Raises
    ------
    ValueError, TypeError
        If the parameters do not fit `config`, so that the file could not be read again, or JSON
        cannot say what `extra` holds.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "model.npz")
    >>> config = {"layer_dims": [2, 1], "dtype": "float64"}
    >>> save_model(path, config, {"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))})
    >>> load_model(path)[1]["W1"]
    array([[1., 1.]])
    """
    check_parameters(config, parameters)
    extra = dict(extra or {})
    _check_extra(extra)
    header = {"config": dict(config), "extra": extra}
    save_arrays(path, header, parameters, kind="model")


def _check_extra(extra: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError, naming the entry, for what JSON cannot say."""
    for name, value in extra.items():
        try:
            json.dumps({name: value}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"extra[{name!r}] is {value!r:.60}, which cannot be written as JSON: {error}"
            ) from error


def load_model(path: Path) -> tuple[dict[str, Any], Arrays, dict[str, Any]]:
    """Read a network written by `save_model`.

    Returns
    -------
    config : dict
    parameters : dict of ndarray
        Of the shapes of ``config["layer_dims"]`` and of ``config["dtype"]``; all finite.
    extra : dict

    Raises
    ------
    FileFormatError
        If the file is anything but such a network.
    FileNotFoundError, OSError
        If there is no file, or it cannot be opened.
    """
    header, parameters = load_arrays(path, kind="model")
    config, extra = header.get("config"), header.get("extra")
    if not isinstance(config, dict) or not isinstance(extra, dict):
        raise FileFormatError(path, "its header lacks the sections 'config' and 'extra'")
    try:
        check_parameters(config, parameters)
    except (TypeError, ValueError) as error:
        raise FileFormatError(path, str(error)) from error
    return config, parameters, extra


def check_parameters(config: Mapping[str, Any], parameters: Mapping[str, NDArray[Any]]) -> None:
    """Raise unless `parameters` are the finite W1, b1, ..., WL, bL that `config` describes.

    Raises
    ------
    TypeError, ValueError
        Naming the entry, what it is, and what it should be.
    """
    dims = checks.layer_dims(config.get("layer_dims"))
    dtype = checks.float_dtype("dtype", config.get("dtype"))
    checked = checks.parameters(parameters)
    if len(checked) != 2 * (len(dims) - 1):
        raise ValueError(
            f"parameters has {len(checked) // 2} layers, expected {len(dims) - 1}: layer_dims is "
            f"{list(dims)}"
        )
    for name, array in checked.items():
        layer = int(name[1:])
        checks.shape(name, array, (dims[layer], dims[layer - 1] if name[0] == "W" else 1))
        if array.dtype != dtype:
            raise ValueError(f"{name} has dtype {array.dtype}, expected {dtype}")
