"""The parameters of a network by name: what is assigned to them is written into the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks


class Parameters(dict[str, NDArray[Any]]):
    """W1, b1, ..., WL, bL: views into the memory that a network computes with.

    Assigning to a name copies the numbers into its view, so that loops which bind new arrays
    (`fastdnn.update_parameters`) train the network. Names cannot be added or removed. A copy or a
    pickle is a plain dict.

    Raises
    ------
    ValueError
        What is assigned has an unknown name, another shape, or a number that is not finite.
    TypeError
        It does not hold real numbers, or a name is to be removed.

    Examples
    --------
    >>> memory = np.zeros(2)
    >>> parameters = Parameters(W1=memory[:1].reshape(1, 1), b1=memory[1:].reshape(1, 1))
    >>> parameters["W1"] = [[3.0]]
    >>> memory
    array([3., 0.])
    """

    def _fitting(self, name: str, value: Any) -> NDArray[Any]:
        """What is to be written into the view of that name."""
        view = self[checks.choice("the name of a parameter", name, self)]
        array = checks.float_array(name, value, dtype=view.dtype)
        checks.shape(name, array, view.shape)
        return checks.finite(name, array)

    def __setitem__(self, name: str, value: Any) -> None:
        array = self._fitting(name, value)
        self[name][...] = array

    def update(self, *given: Any, **named: Any) -> None:
        """Assign to several names, or to none of them if one does not fit."""
        # Copies, since a view of one parameter may be given for another.
        new = {
            name: np.array(self._fitting(name, value))
            for name, value in dict(*given, **named).items()
        }
        for name, array in new.items():
            self[name][...] = array

    def replace(self, value: Mapping[str, ArrayLike]) -> None:
        """Assign to all of the names at once."""
        names = ", ".join(self)
        if not isinstance(value, Mapping):
            raise TypeError(f"parameters is {value!r:.60}, expected a dict of {names}")
        if set(value) != set(self):
            held = ", ".join(map(str, value)) or "(none)"
            raise ValueError(f"parameters has the keys {held}, expected {names}")
        self.update(value)

    def __ior__(self, other: Any) -> Parameters:  # type: ignore[override,misc]
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> NDArray[Any]:
        """The view of that name, which is there or cannot be."""
        return self[checks.choice("the name of a parameter", name, self)]

    def _refused(self, *given: Any) -> Any:
        """Raise: nothing can be removed."""
        raise TypeError("parameters belong to a network, none of them can be removed")

    __delitem__ = pop = popitem = clear = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
