"""What a network is and remembers, and how it is described, saved and copied.

What it says of examples is in `fastdnn.inference`, its training in `fastdnn.network`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from . import checks, storage
from .engine import Engine
from .history import History
from .initialisation import initialise
from .kernels.activations import ACTIVATIONS
from .kernels.losses import LOSSES
from .optimizers import OptimizerState
from .parameters import Parameters
from .scoring import DEFAULT_LOSS, check_pair

# More weights than any memory holds: an error instead of NumPy's, which does not name the argument.
MOST_PARAMETERS = 2**44

Kind = TypeVar("Kind", bound="Architecture")


class Architecture:
    """The layers of a network, its parameters in one flat buffer, and the state of its training.

    Arguments and attributes are those of `fastdnn.DNN`.
    """

    def __init__(
        self,
        layer_dims: Sequence[int],
        *,
        hidden_activation: str | Sequence[str] = "relu",
        output_activation: str = "sigmoid",
        loss: str | None = None,
        init: str = "he",
        dtype: Any = "float32",
        seed: int = 0,
        n_threads: int | None = None,
    ) -> None:
        self.layer_dims = checks.layer_dims(layer_dims)
        count = sum(n_in * n_out for n_in, n_out in pairwise(self.layer_dims))
        if count > MOST_PARAMETERS:
            raise ValueError(f"layer_dims {self.layer_dims} ask for {count:,} weights")
        elementwise = [name for name, kind in ACTIVATIONS.items() if kind.elementwise]
        hidden = len(self.layer_dims) - 2
        self.hidden_activations = checks.hidden_activations(hidden_activation, hidden, elementwise)
        self.output_activation = checks.choice("output_activation", output_activation, ACTIVATIONS)
        self.loss = (
            DEFAULT_LOSS.get(output_activation, "mse")
            if loss is None
            else checks.choice("loss", loss, LOSSES)
        )
        check_pair(self.output_activation, self.loss)
        self.dtype = checks.float_dtype("dtype", dtype)
        self.init, self.n_threads = init, checks.n_threads(n_threads)
        self.seed = checks.seed(seed)
        names = (*self.hidden_activations, self.output_activation)
        codes = tuple(ACTIVATIONS[name].code for name in names)
        self._engine = Engine(self.layer_dims, codes, LOSSES[self.loss], self.dtype)
        self._parameters = Parameters(self._engine.views())
        for name, value in initialise(self.layer_dims, init, self.seed).items():
            self._parameters[name][...] = value
        self._rng = np.random.default_rng(self.seed)
        self._state = OptimizerState(self._engine.new_state(0))
        self.history: History | None = None
        self.extra: dict[str, Any] = {}

    @property
    def parameters(self) -> Parameters:
        """W1 (n_1, n_x), b1 (n_1, 1), ...: views into the network; see `fastdnn.DNN`."""
        return self._parameters

    @parameters.setter
    def parameters(self, value: Mapping[str, ArrayLike]) -> None:
        self._parameters.replace(value)

    # --- description ------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON can hold them: ``DNN(**net.config())``."""
        return {
            "layer_dims": list(self.layer_dims),
            "hidden_activation": list(self.hidden_activations),
            "output_activation": self.output_activation,
            "loss": self.loss,
            "init": self.init,
            "dtype": self.dtype.name,
            "seed": self.seed,
            "n_threads": self.n_threads,
        }

    def __repr__(self) -> str:
        chain = str(self.layer_dims[0])
        names = (*self.hidden_activations, self.output_activation)
        for units, name in zip(self.layer_dims[1:], names, strict=True):
            chain += f" -> {units} {name}"
        count = sum(value.size for value in self.parameters.values())
        return f"<DNN {chain}; {self.loss}, {self.dtype.name}, {count:,} parameters>"

    # --- files and copies -------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file (.npz with a JSON header), whole or not at all.

        Parameters
        ----------
        path : str or PathLike
            Architecture, parameters and `extra` go there, the state of the optimizer does not.

        Raises
        ------
        TypeError, ValueError
            If `path` is none, a parameter is not finite, or `extra` is nothing that JSON holds.
        OSError
            If the file cannot be written.
        """
        storage.save_model(checks.path("path", path), self.config(), self.parameters, self.extra)

    @classmethod
    def load(cls: type[Kind], path: str | os.PathLike[str]) -> Kind:
        """Read a network that `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str or PathLike

        Returns
        -------
        net : DNN

        Raises
        ------
        fastdnn.storage.FileFormatError
            If the file is truncated, foreign, or does not describe a network.
        FileNotFoundError, OSError
            If there is no file, or it cannot be opened.
        """
        path = checks.path("path", path)
        config, parameters, extra = storage.load_model(path)
        try:
            net = cls(**config)
        except (TypeError, ValueError) as error:
            raise storage.FileFormatError(path, str(error)) from error
        net.parameters = parameters
        net.extra = extra
        return net

    def __copy__(self: Kind) -> Kind:
        """A network of its own, as by `copy.deepcopy`: what is trained is not shared."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle and copy carry architecture, parameters and optimizer state, not workspaces."""
        return {
            "config": self.config(),
            "buffer": self._engine.buffer.copy(),
            "state": self._state.copy(),
            "rng": self._rng,
            "history": self.history,
            "extra": self.extra,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["config"])  # type: ignore[misc]
        self._engine.buffer[:] = state["buffer"]
        self._state = state["state"].copy()  # aligned again
        self._rng, self.history, self.extra = state["rng"], state["history"], state["extra"]
