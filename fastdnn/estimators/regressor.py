"""`DNNRegressor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import column_or_1d

from fastdnn.scoring import r2_score

from ._base import NetworkEstimator


@dataclass(eq=False, repr=False, kw_only=True)
class DNNRegressor(RegressorMixin, NetworkEstimator):  # type: ignore[misc]
    """A fully connected network that predicts one number, or several at once.

    A faster `sklearn.neural_network.MLPRegressor`. The loss is half the squared error, averaged
    over examples and summed over outputs, and it is the loss that is differentiated (that of
    MLPRegressor reports the mean over outputs and differentiates the sum).

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
    power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, \
    nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, \
    n_iter_no_change, dropout, n_threads, dtype
        As of `DNNClassifier`. Scores are coefficients of determination R2.

    Attributes
    ----------
    network_ : fastdnn.DNN
    coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_loss_curve_, \
    validation_scores_, best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, \
    out_activation_, n_features_in_, feature_names_in_
        As of `DNNClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdnn.estimators import DNNRegressor
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> model = DNNRegressor(activation="tanh", learning_rate_init=0.01, random_state=0)
    >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.95
    True
    """

    _y_numeric: ClassVar[bool] = True

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> DNNRegressor:
        """Go through the rows of X once; n calls with all rows do what n epochs of `fit` do.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As of `fit`; if `early_stopping` is set.
        """
        fitted: DNNRegressor = self._fit(X, y, sample_weight, incremental=True)
        return fitted

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predictions for each row: (m,), or (m, n_outputs) for several outputs.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before a fit.
        TypeError, ValueError
            If X is not finite, is sparse, or has other features than the X that was fitted.
        """
        AL = self._forward(X)
        return AL[0] if self.n_outputs_ == 1 else AL.T

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _targets(
        self, y: NDArray[Any], *, fresh: bool, incremental: bool, classes: ArrayLike | None
    ) -> NDArray[Any]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y if fresh else self._encode(y)

    def _encode(self, y: NDArray[Any]) -> NDArray[Any]:
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if outputs != self.n_outputs_:
            raise ValueError(f"y has {outputs} outputs, expected {self.n_outputs_} as before")
        return y

    def _output(self, targets: NDArray[Any]) -> tuple[int, str]:
        return (1 if targets.ndim == 1 else targets.shape[1]), "identity"

    def _score(
        self, AL: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None
    ) -> float:
        return r2_score(AL, targets.reshape(len(targets), -1).T, weights)
