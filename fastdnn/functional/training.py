"""First parameters, the update, the notebooks' training calls, and what a network is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastdnn import checks
from fastdnn.callbacks import Watcher
from fastdnn.history import History
from fastdnn.initialisation import initialise
from fastdnn.memory import Array
from fastdnn.network import DNN
from fastdnn.scoring import DEFAULT_LOSS, decide

from .arrays import number, operand, same_shape
from .elementwise import step, step_in_place
from .model import L_model_forward

# Iterations from one recorded cost to the next.
COST_EVERY = 100


def initialise_parameters(n_x: int, n_h: int, n_y: int, *, seed: int = 1) -> dict[str, Array]:
    """Parameters of a network with one hidden layer: weights 0.01 N(0, 1), biases N(0, 1).

    Drawn from NumPy's legacy stream ``RandomState(seed)`` in the order W1, b1, W2, b2; the global
    seed is left alone.

    Parameters
    ----------
    n_x, n_h, n_y : int
        Inputs, hidden units, outputs.
    seed : int
        Below 2**32.

    Returns
    -------
    parameters : dict
        W1 (n_h, n_x), b1 (n_h, 1), W2 (n_y, n_h), b2 (n_y, 1).

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive whole number, or the seed none from 0 to 2**32 - 1.

    Examples
    --------
    >>> initialise_parameters(3, 2, 1)["W2"]
    array([[ 0.00319039, -0.0024937 ]])
    """
    sizes = [checks.whole_number(*pair) for pair in (("n_x", n_x), ("n_h", n_h), ("n_y", n_y))]
    parameters = initialise(sizes, "normal", seed)
    return {name: value * 0.01 if name[0] == "W" else value for name, value in parameters.items()}


def initialise_parameters_deep(
    layer_dims: Sequence[int], *, seed: int = 3, init: str = "normal"
) -> dict[str, Array]:
    """Parameters of a network of any depth.

    Drawn from NumPy's legacy stream ``RandomState(seed)`` in the order W1, b1, W2, b2, ...; the
    global seed is left alone.

    Parameters
    ----------
    layer_dims : sequence of int
        n_0 (inputs), n_1, ..., n_L (outputs).
    seed : int
        Below 2**32.
    init : {"normal", "small", "lecun", "he", "xavier"}
        Scale of the normally distributed weights: 1, 0.01, sqrt(1 / n_in), sqrt(2 / n_in),
        sqrt(2 / (n_in + n_out)). Biases are N(0, 1) for "normal"; for the others they are zero
        and nothing is drawn for them.

    Returns
    -------
    parameters : dict
        W1 (n_1, n_0), b1 (n_1, 1), ..., WL, bL.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive whole number, there are fewer than two, the seed is none from
        0 to 2**32 - 1, or there is no such init.

    Examples
    --------
    >>> initialise_parameters_deep([5, 4, 3])["b2"].ravel()
    array([-0.92379202, -1.02387576,  1.12397796])
    """
    return initialise(checks.layer_dims(layer_dims), init, seed)


initialize_parameters = initialise_parameters
initialize_parameters_deep = initialise_parameters_deep


def update_parameters(
    parameters: MutableMapping[str, Array],
    grads: Mapping[str, Array],
    learning_rate: float,
    *,
    inplace: bool = False,
) -> MutableMapping[str, Array]:
    """One step of gradient descent: W = W - lr dW, b = b - lr db.

    Parameters
    ----------
    parameters : dict
        W1, b1, ..., WL, bL. As in the notebooks, new arrays are bound into this very dict; those
        of a `DNN` are written into it, all or none.
    grads : dict
        dW1, db1, ..., dWL, dbL; other entries are not used.
    learning_rate : float
    inplace : bool
        Overwrite the arrays themselves.

    Returns
    -------
    parameters : dict
        The one that was passed.

    Raises
    ------
    TypeError, ValueError
        If an array does not hold real numbers, a gradient is missing or has another shape than its
        parameter, the learning rate is not a finite number, an array to overwrite is read-only or
        not of floats, or the new parameters of a `DNN` are not finite.

    Examples
    --------
    >>> parameters = {"W1": np.array([[1.0]]), "b1": np.array([[2.0]])}
    >>> update_parameters(parameters, {"dW1": np.array([[1.0]]), "db1": np.array([[5.0]])}, 0.1)
    {'W1': array([[0.9]]), 'b1': array([[1.5]])}
    """
    rate = number("learning_rate", learning_rate)
    checked = [_pair(name, w, grads, inplace) for name, w in parameters.items()]
    if inplace:
        for _, w, g in checked:
            step_in_place(w, g, rate)
    else:
        parameters.update({name: step(w, g, rate) for name, w, g in checked})
    return parameters


def _pair(
    name: str, value: Any, grads: Mapping[str, Any], inplace: bool
) -> tuple[str, Array, Array]:
    """A parameter and its gradient, fit for the update."""
    if f"d{name}" not in grads:
        raise ValueError(f"grads has no d{name}, expected a gradient for every parameter")
    w, g = operand(name, value), operand(f"d{name}", grads[f"d{name}"])
    same_shape(f"d{name}", g, name, w)
    if inplace and w is not value:
        raise TypeError(
            f"{name} is not an array of float32 or float64: inplace cannot overwrite it"
        )
    if inplace and not w.flags.writeable:
        raise ValueError(f"{name} is read-only: inplace cannot overwrite it")
    return name, w, g


def L_layer_model(
    X: Array,
    Y: Array,
    layers_dims: Sequence[int],
    learning_rate: float = 0.0075,
    num_iterations: int = 3000,
    print_cost: bool = False,
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
    seed: int = 1,
    init: str = "lecun",
) -> tuple[dict[str, Array], list[float]]:
    """Train a network by full-batch gradient descent, as the follow-up notebook does.

    The loop is compiled; `fastdnn.DNN` has more options.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    Y : ndarray of shape (n_y, m) or (m,)
    layers_dims : sequence of int
        n_x, n_1, ..., n_y.
    learning_rate : float
    num_iterations : int
    print_cost : bool
        Print the cost every 100 iterations.
    hidden_activation : str or sequence of L - 1 str
    output_activation : str
        The loss is the one that belongs to it.
    seed, init
        Of `initialise_parameters_deep`; the notebook's are 1 and "lecun".

    Returns
    -------
    parameters : dict
        In the dtype of X.
    costs : list of float
        Cost before iteration 0, 100, 200, ...

    Raises
    ------
    TypeError, ValueError
        If X or Y hold anything but finite real numbers, Y does not fit the network, or a name is
        unknown.
    fastdnn.DivergenceError
        If the cost or an update is not finite.

    Examples
    --------
    >>> X, Y = np.array([[-1.0, 1.0]]), np.array([[0, 1]])
    >>> parameters, costs = L_layer_model(X, Y, [1, 1], 0.1, 101, print_cost=True)
    Cost after iteration 0: 0.179852
    Cost after iteration 100: 0.068525
    """
    dims = checks.layer_dims(layers_dims, name="layers_dims")
    examples = operand("X", X, 2)
    checks.shape("X", examples, (dims[0], "m"))
    iterations = checks.whole_number("num_iterations", num_iterations, at_least=0)
    net = DNN(
        dims, hidden_activation=hidden_activation, output_activation=output_activation,
        init=init, dtype=examples.dtype, seed=seed,
    )  # fmt: skip
    costs: list[float] = []
    if iterations > 0:
        history = net.fit(
            examples, Y, epochs=iterations, learning_rate=learning_rate,
            callbacks=[CostLines()] if print_cost else [],
        )  # fmt: skip
        costs = history.cost[::COST_EVERY]
    return {name: value.copy() for name, value in net.parameters.items()}, costs


class CostLines(Watcher):
    """Prints the cost of every hundredth iteration, as the notebooks do."""

    def __init__(self) -> None:
        self._next = 0

    def may_wait(self) -> float:
        """As long as a compiled call takes: lines appear some five times a second."""
        return math.inf

    def __call__(self, history: History) -> None:
        """Print what is not printed yet."""
        for iteration in range(self._next, history.epochs, COST_EVERY):
            print(f"Cost after iteration {iteration}: {history.cost[iteration]:f}")
            self._next = iteration + COST_EVERY


def two_layer_model(
    X: Array,
    Y: Array,
    layers_dims: Sequence[int],
    learning_rate: float = 0.0075,
    num_iterations: int = 3000,
    print_cost: bool = False,
    *,
    hidden_activation: str = "relu",
    output_activation: str = "sigmoid",
    seed: int = 1,
    init: str = "small",
) -> tuple[dict[str, Array], list[float]]:
    """Train a network with one hidden layer, as the follow-up notebook does.

    `L_layer_model` for three layers_dims (n_x, n_h, n_y), from weights 0.01 N(0, 1) and biases
    that are zero.

    Parameters
    ----------
    X, Y, layers_dims, learning_rate, num_iterations, print_cost, ...
        As of `L_layer_model`.

    Returns
    -------
    parameters : dict
        W1, b1, W2, b2.
    costs : list of float
        Cost before iteration 0, 100, 200, ...

    Raises
    ------
    TypeError, ValueError
        As of `L_layer_model`, and if layers_dims is not three numbers.
    fastdnn.DivergenceError
        If the cost or an update is not finite.

    Examples
    --------
    >>> X, Y = np.array([[-1.0, 1.0]]), np.array([[0, 1]])
    >>> parameters, costs = two_layer_model(X, Y, (1, 3, 1), num_iterations=1)
    >>> round(costs[0], 6)
    0.693174
    """
    dims = checks.layer_dims(layers_dims, name="layers_dims")
    if len(dims) != 3:
        raise ValueError(f"layers_dims is {dims}, expected three sizes (n_x, n_h, n_y)")
    return L_layer_model(
        X, Y, dims, learning_rate, num_iterations, print_cost,
        hidden_activation=hidden_activation, output_activation=output_activation,
        seed=seed, init=init,
    )  # fmt: skip


def predict(
    X: Array,
    parameters: Mapping[str, Array],
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
) -> Array:
    """Labels of the examples: AL > 0.5 of a sigmoid, the largest of a softmax.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    parameters : dict
    hidden_activation : str or sequence of L - 1 str
    output_activation : str
        With "sigmoid" and "softmax" labels are returned; any other predicts AL itself.

    Returns
    -------
    labels : ndarray of int64 of shape (1, m), or (n_y, m) of n_y sigmoids; or AL of shape (n_y, m)

    Raises
    ------
    TypeError, ValueError
        As of `L_model_forward`.

    Examples
    --------
    >>> parameters = {"W1": np.array([[2.0]]), "b1": np.array([[-1.0]])}
    >>> predict(np.array([[0.0, 0.5, 1.0]]), parameters)
    array([[0, 0, 1]])
    """
    AL, _ = L_model_forward(
        X, parameters, hidden_activation=hidden_activation, output_activation=output_activation
    )
    if output_activation not in DEFAULT_LOSS:
        return AL
    labels: Array = np.atleast_2d(decide(AL, output_activation)).astype(np.int64, copy=False)
    return labels


def accuracy(
    X: Array,
    y: npt.ArrayLike,
    parameters: Mapping[str, Array],
    *,
    hidden_activation: str | Sequence[str] = "relu",
    output_activation: str = "sigmoid",
) -> float:
    """Share of the labels that are predicted: one of each example, or n_y of n_y sigmoids.

    Parameters
    ----------
    X : ndarray of shape (n_x, m)
    y : ndarray of shape (1, m) or (m,), labels, or (n_y, m), one-hot or those of n_y sigmoids
        0 and 1 for a sigmoid, class indices for a softmax.
    parameters : dict
    hidden_activation : str or sequence of L - 1 str
    output_activation : {"sigmoid", "softmax"}

    Returns
    -------
    accuracy : float
        In 0 ... 1.

    Raises
    ------
    TypeError, ValueError
        As of `L_model_forward`; if y does not fit X and the network, is masked or not numbers, a
        label is not within 0 ... 1 or no such class, or the output is not one of classes.

    Examples
    --------
    >>> parameters = {"W1": np.array([[2.0]]), "b1": np.array([[-1.0]])}
    >>> accuracy(np.array([[0.0, 0.5, 1.0, 2.0]]), [0, 1, 1, 1], parameters)
    0.75
    """
    loss = DEFAULT_LOSS[checks.choice("output_activation", output_activation, DEFAULT_LOSS)]
    AL, _ = L_model_forward(
        X, parameters, hidden_activation=hidden_activation, output_activation=output_activation
    )
    n_y, m = AL.shape
    labels = checks.labels(y, n_y, m, loss, AL.dtype, name="y")
    right = decide(AL, output_activation) == decide(labels, output_activation)
    return float(np.mean(right))
