"""What a network says of examples: outputs, labels, scores and gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks
from .architecture import Architecture
from .batches import CheckedSource, Given, outputs
from .data import Source
from .engine import FEW_EXAMPLES, Matrix
from .scoring import cost_and_metric, decide


class Inference(Architecture):
    """A network that is asked, and not changed.

    Arguments and attributes are those of `fastdnn.DNN`.
    """

    def forward(self, X: ArrayLike | Source) -> NDArray[Any]:
        """The network's output for the columns of X.

        Parameters
        ----------
        X : array of shape (n_x, m), or fastdnn.data.Source
            A source is read block by block.

        Returns
        -------
        AL : ndarray of shape (n_y, m)
            A new array of the network's dtype.

        Raises
        ------
        ValueError, TypeError
            If X has another shape, holds anything but real numbers, or one that is not finite.

        Examples
        --------
        >>> import fastdnn
        >>> net = fastdnn.DNN([2, 1])
        >>> net.parameters.update(W1=[[1, -1]], b1=[[0]])
        >>> net.forward([[3, 1], [3, 1]])
        array([[0.5, 0.5]], dtype=float32)
        """
        if (
            type(X) is np.ndarray
            and X.dtype == self.dtype
            and X.ndim == 2
            and X.shape[0] == self.layer_dims[0]
            and 0 < X.shape[1] <= FEW_EXAMPLES
            and X.flags.carray
        ):
            AL = self._engine.forward_few(X)
            if AL is not None:
                return AL
        return self._outputs(self._given(X, finite=False), self.n_threads)

    def predict(self, X: ArrayLike | Source) -> NDArray[Any]:
        """Labels of the columns of X, or the outputs of a regression.

        Parameters
        ----------
        X : array of shape (n_x, m), or fastdnn.data.Source

        Returns
        -------
        labels : ndarray of int64 of shape (m,) or (n_y, m)
            AL > 0.5 for a sigmoid, (m,) if it is the only one; the largest AL's index (m,) for
            softmax. A network with another output returns AL (n_y, m) itself.

        Raises
        ------
        ValueError, TypeError
            As of `forward`.

        Examples
        --------
        >>> import fastdnn
        >>> net = fastdnn.DNN([1, 1])
        >>> net.parameters.update(W1=[[2]], b1=[[-1]])
        >>> net.predict([[0, 0.5, 1]])
        array([0, 0, 1])
        """
        return decide(self.forward(X), self.output_activation)

    def evaluate(self, X: ArrayLike | Source, Y: ArrayLike) -> dict[str, float]:
        """Cost and metric on the columns of X, all of which count alike.

        Parameters
        ----------
        X : array of shape (n_x, m), or fastdnn.data.Source
        Y : array of shape (n_y, m) or (m,)
            As for `fit`.

        Returns
        -------
        scores : dict of str to float
            ``"cost"``, without any penalty on the weights, and ``"accuracy"``: the share of the
            labels that are predicted, of several sigmoids each counted by itself. With the loss
            ``mse`` it is ``"r2"`` instead, averaged over the outputs as by scikit-learn.

        Raises
        ------
        ValueError, TypeError
            For arguments that do not fit, or are not finite.

        Examples
        --------
        >>> import fastdnn
        >>> net = fastdnn.DNN([1, 1])
        >>> net.parameters.update(W1=[[2]], b1=[[-1]])
        >>> net.evaluate([[0, 1, 1]], [0, 1, 0])["accuracy"]
        0.6666666666666666
        """
        examples = self._given(X)
        targets = self._labels(Y, examples.shape[1])
        cost, metric = self._scores(examples, targets, self.n_threads)
        return {"cost": cost, "r2" if self.loss == "mse" else "accuracy": metric}

    def gradients(self, X: ArrayLike, Y: ArrayLike) -> dict[str, NDArray[Any]]:
        """Gradients of the cost over all columns of X at the present parameters.

        Parameters
        ----------
        X : array of shape (n_x, m)
        Y : array of shape (n_y, m) or (m,)
            As for `fit`.

        Returns
        -------
        grads : dict of str to ndarray
            dW1 (n_1, n_x), db1 (n_1, 1), ...: those that `fastdnn.update_parameters` takes. All of
            them are NaN where the cost is not finite.

        Raises
        ------
        ValueError, TypeError
            For arguments that do not fit, or are not finite.

        Examples
        --------
        >>> import fastdnn
        >>> net = fastdnn.DNN([1, 1])
        >>> net.parameters.update(W1=[[0]], b1=[[0]])
        >>> net.gradients([[2, 4]], [1, 1])["dW1"]
        array([[-1.5]], dtype=float32)
        """
        examples = self._examples(X)
        targets = self._targets(Y, examples.columns)
        return self._engine.gradients(examples, targets, n_threads=self.n_threads)[1]

    # --- checked examples -------------------------------------------------------------------

    def _examples(
        self, X: ArrayLike, name: str = "X", threads: int | None = None, *, finite: bool = True
    ) -> Matrix:
        """The examples of an array, looked at for NaN where nobody else does."""
        array = checks.column_array(name, X, self.layer_dims[0], dtype=self.dtype)
        if finite:
            checks.finite(name, array, n_threads=threads or self.n_threads)
        return Matrix.of(array, self.dtype)

    def _given(self, X: ArrayLike | Source, name: str = "X", **options: Any) -> Given:
        """The checked examples of an array or a source."""
        if isinstance(X, np.ndarray) or not isinstance(X, Source):
            return self._examples(X, name, **options)
        return CheckedSource.of(name, X, self.layer_dims[0])

    def _outputs(self, X: Given, n_threads: int | None) -> NDArray[Any]:
        """AL (n_y, m)."""
        return outputs(partial(self._engine.forward, n_threads=n_threads), X, self.dtype)

    def _labels(self, Y: ArrayLike, m: int, name: str = "Y") -> NDArray[Any]:
        """The checked targets (n_y, m) of m examples."""
        return checks.labels(Y, self.layer_dims[-1], m, self.loss, self.dtype, name=name)

    def _targets(self, Y: ArrayLike, m: int) -> Matrix:
        """The same as compiled code takes them."""
        return Matrix.of(self._labels(Y, m), self.dtype)

    def _scores(self, X: Given, Y: NDArray[Any], n_threads: int | None) -> tuple[float, float]:
        """Cost and metric on checked examples and targets."""
        return cost_and_metric(self._outputs(X, n_threads), Y, self.loss)
