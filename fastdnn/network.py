"""`DNN`: a network, and its training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from numpy.typing import ArrayLike, NDArray

from . import checks, dispatch
from .batches import Examples, Given, Shuffler, all_examples, drawing_from
from .callbacks import Callback, check_callbacks
from .checkpoints import Checkpoint
from .data import Source
from .engine import CLIPPING_STATES
from .fingerprints import fingerprint
from .history import History
from .inference import Inference
from .optimizers import LearningRate, Optimizer, resolve
from .regularisation import Regularisation
from .scoring import example_weights
from .training import DivergenceError, Training, what_diverged
from .validation import Validation, check_validation


class DNN(Inference):
    """A fully connected network: linear, activation, linear, activation, ...

    Parameters
    ----------
    layer_dims : sequence of int
        ``[n_x, n_1, ..., n_y]``: features, units of each hidden layer, outputs.
    hidden_activation : str or sequence of str
        One name for all hidden layers, or one for each.
    output_activation : str
        ``"sigmoid"``, ``"softmax"``, ``"identity"``, or any other activation.
    loss : str, optional
        Follows the output activation: ``binary_crossentropy`` for sigmoid,
        ``categorical_crossentropy`` for softmax, ``mse`` for the others. ``mse`` goes with all.
    init : str
        ``"he"``, ``"xavier"``, ``"lecun"`` (scaled normal weights, zero biases), ``"small"``
        (0.01 times normal), or ``"normal"`` (unscaled, as in the first notebook).
    dtype : {"float32", "float64"}
        Of parameters and of all computation.
    seed : int
        Of the initial parameters and of the shuffling. Same seed, same bits, on any number of
        threads.
    n_threads : int, optional
        At most so many threads; by default ``FASTDNN_NUM_THREADS`` or all.

    Attributes
    ----------
    parameters : dict of str to ndarray
        ``W1 (n_1, n_x)``, ``b1 (n_1, 1)``, ...: views into the one buffer that the network
        computes with. What is assigned, as in ``net.parameters["W1"] = W``, is written there; a
        name, shape or number that does not fit is an error.
    history : History or None
        Of the last ``fit``.
    extra : dict
        Anything JSON can hold, saved and loaded with the network: names of the classes, say.

    Raises
    ------
    TypeError, ValueError
        For an argument of another kind or with a wrong value, and for a loss that does not go with
        the output, naming what was given and what was expected.

    Examples
    --------
    >>> import fastdnn
    >>> net = fastdnn.DNN([2, 3, 1], seed=0)
    >>> net.parameters["W1"].shape
    (3, 2)
    """

    def fit(
        self,
        X: ArrayLike | Source,
        Y: ArrayLike,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        optimizer: str | Optimizer = "sgd",
        learning_rate: float | None = None,
        schedule: Any = None,
        weight_decay: float | None = None,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: str | dict[int, float] | None = None,
        shuffle: bool | Shuffler = True,
        validation_data: tuple[ArrayLike | Source, ArrayLike] | None = None,
        early_stopping: int | None = None,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        callbacks: Sequence[Callback] = (),
        verbose: int = 0,
        n_threads: int | None = None,
    ) -> History:
        """Train on the columns of X.

        Parameters
        ----------
        X : array of shape (n_x, m), or fastdnn.data.Source
            Examples are columns. A source is read block by block, one ahead, and may be larger
            than memory; its examples are shuffled within blocks, and the blocks among themselves.
        Y : array of shape (n_y, m) or (m,)
            Targets; ``(m,)`` where n_y is 1, or class indices for softmax. Its columns sum to 1.
        epochs : int
        batch_size : int, optional
            Examples of a step; all of them by default.
        optimizer : str or Optimizer
            ``sgd``, ``momentum``, ``nesterov``, ``rmsprop``, ``adam``, ``adamw``, or an object of
            `fastdnn.optimizers`. Training again with the same one goes on with its state.
        learning_rate : float, optional
            Default of the optimizer if not given.
        schedule : str or callable, optional
            Multiplies the learning rate: a name or object of `fastdnn.optimizers`, or any
            ``epoch -> multiplier``.
        weight_decay : float, optional
            L2 on the weights, never on the biases.
        dropout : float or sequence of float
            Probability to drop a unit of a hidden layer, or one for each; kept units are scaled by
            1 / (1 - p). The masks are a function of seed, step and position.
        clip_norm : float, optional
            Scale the gradients of a step down to this Euclidean norm, taken over all of them.
        sample_weight : array of shape (m,), optional
            Non-negative factor of each example in cost and gradients, which stay divided by m.
        class_weight : "balanced" or dict, optional
            Factor for each class of labels, 1 for those that a dict does not name; balanced is
            m / (classes * examples of the class). For a softmax output, or a single sigmoid.
        shuffle : bool
            A new order of the examples every epoch (mini-batches only). The estimators pass a
            `fastdnn.batches.Shuffler`, which draws as scikit-learn does.
        validation_data : tuple (X, Y), optional
            X may be a source. Scored after every epoch; the parameters with the lowest cost on
            it are in place afterwards, however the training ended. That cost is not weighted:
            sample_weight and class_weight concern the examples of X only.
        early_stopping : int, optional
            Stop after so many epochs without a lower validation cost.
        checkpoint : path or Checkpoint, optional
            Save everything there every minute and at the end, whole or not at all. A training
            that finds the file goes on from it, to the same bits as if it had never stopped. The
            file of another network, of other examples (a sample of them is compared) or of other
            arguments is refused; a schedule that is a function is known by its name.
        callbacks : sequence of callables
            Called with the history after every epoch; False stops the training. A
            `fastdnn.callbacks.Watcher` says how many epochs it can wait, which costs less.
        verbose : int
            0 is silent. Any other number shows the cost on standard error: on one line that is
            kept up to date, in a terminal and where tqdm is installed; else by some ten lines.
        n_threads : int, optional
            At most so many threads in this call.

        Returns
        -------
        history : History

        Raises
        ------
        DivergenceError
            When the cost or an update is not finite; the last finite parameters stay in place.
        ValueError, TypeError
            For arguments that do not fit, naming the argument and what was expected.

        Examples
        --------
        >>> import numpy as np, fastdnn
        >>> X = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
        >>> net = fastdnn.DNN([2, 8, 1], hidden_activation="tanh", seed=1)
        >>> history = net.fit(X, [0, 1, 1, 0], epochs=2000, learning_rate=0.5)
        >>> net.predict(X).tolist()
        [0, 1, 1, 0]
        """
        epochs = checks.whole_number("epochs", epochs)
        chosen = resolve(optimizer, learning_rate, weight_decay, schedule)
        hidden = len(self.hidden_activations)
        regularisation = Regularisation.of(dropout, clip_norm, hidden=hidden, seed=self.seed)
        threads = dispatch.threads(self._threads(n_threads))
        examples, size = self._all_examples(X, Y, batch_size, sample_weight, class_weight, threads)
        check_validation(validation_data, early_stopping)
        held_out = self._held_out(validation_data, threads)
        watchers = check_callbacks(callbacks)
        saving = Checkpoint.of(
            checkpoint,
            lambda: fingerprint(
                self.config(), examples, held_out, batch_size=size, optimizer=chosen,
                regularisation=regularisation, shuffle=bool(shuffle),
            ),
        )  # fmt: skip
        shuffler = drawing_from(self._rng, shuffle, saved=saving is not None)
        chosen.coefficients(1, 1, chosen.base_learning_rate, self.dtype)  # does the rate fit?
        n_states = CLIPPING_STATES if clip_norm is not None else chosen.n_states
        training = Training(
            engine=self._engine,
            examples=examples,
            optimizer=chosen,
            rate=LearningRate(chosen.base_learning_rate, chosen.schedule, epochs),
            state=self._state.serving(chosen, self._engine.new_state(n_states)),
            epochs=epochs,
            batch_size=size,
            shuffler=shuffler,
            regularisation=regularisation,
            n_threads=threads,
            validation=held_out
            and Validation(partial(self._scores, *held_out, threads), early_stopping),
            checkpoint=saving,
            callbacks=watchers,
            verbose=verbose,
        )
        training.restore()
        # Nothing above changed the network: a refused call leaves it as it was.
        self._state, self.history = training.state, training.history
        return training.run()

    def _all_examples(
        self,
        X: ArrayLike | Source,
        Y: ArrayLike,
        batch_size: int | None,
        sample_weight: ArrayLike | None,
        class_weight: str | dict[int, float] | None,
        n_threads: int | None,
    ) -> tuple[Examples, int]:
        """The checked examples, and the number of them in a step."""
        given = self._given(X, threads=n_threads)
        targets = self._targets(Y, given.shape[1])
        weights = example_weights(
            sample_weight, class_weight, targets.array(), self.dtype, self.output_activation
        )
        return all_examples(given, targets, weights, batch_size, self.dtype)

    def _threads(self, n_threads: int | None) -> int | None:
        given = checks.n_threads(n_threads)
        return self.n_threads if given is None else given

    def _held_out(
        self, data: tuple[ArrayLike | Source, ArrayLike] | None, n_threads: int | None
    ) -> tuple[Given, NDArray[Any]] | None:
        """The checked examples and targets to validate with, if there are any."""
        if data is None:
            return None
        X = self._given(data[0], "validation_data[0]", threads=n_threads)
        return X, self._labels(data[1], X.shape[1], "validation_data[1]")

    def train_step(self, X: ArrayLike, Y: ArrayLike, *, learning_rate: float = 0.01) -> float:
        """One step of gradient descent on all columns of X.

        Parameters
        ----------
        X : array of shape (n_x, m)
        Y : array of shape (n_y, m) or (m,)
            As for `fit`.
        learning_rate : float >= 0

        Returns
        -------
        cost : float
            Before the step.

        Raises
        ------
        DivergenceError
            When the cost or the update is not finite; the parameters stay finite.
        ValueError, TypeError
            For arguments that do not fit, or are not finite.

        Examples
        --------
        >>> import fastdnn
        >>> net = fastdnn.DNN([1, 1])
        >>> net.parameters.update(W1=[[0]], b1=[[0]])
        >>> round(net.train_step([[-1, 1]], [0, 1], learning_rate=0.5), 3)
        0.693
        >>> net.parameters["W1"]
        array([[0.25]], dtype=float32)
        """
        examples = self._examples(X)
        targets = self._targets(Y, examples.columns)
        rate = checks.learning_rate(learning_rate)
        done, cost = self._engine.descend(examples, targets, rate, n_threads=self.n_threads)
        if not done:
            raise DivergenceError(
                f"train_step diverged: {what_diverged(cost)} at learning_rate {rate:g}; "
                "the last finite parameters are kept"
            )
        return cost
