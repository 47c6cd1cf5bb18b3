"""`DNNClassifier`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from fastdnn import checks
from fastdnn.scoring import decide

from ._base import NetworkEstimator


@dataclass(eq=False, repr=False, kw_only=True)
class DNNClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]
    """A fully connected network that classifies: two classes, several, or several labels at once.

    A faster `sklearn.neural_network.MLPClassifier`, with parameters of the same names and
    meanings: the same ``random_state`` gives the same initial weights, validation split and order
    of examples, hence the same training up to rounding. Where examples differ in weight, so do the
    steps of mini-batches: see `fit`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    activation : str or sequence of str
        Of the hidden layers: ``"identity"``, ``"logistic"`` (or ``"sigmoid"``), ``"tanh"``,
        ``"relu"``, ``"leaky_relu"``, ``"softplus"``; one name for all of them or one for each.
    solver : str
        ``"sgd"`` (with `momentum` and `nesterovs_momentum`), ``"adam"``, ``"momentum"``,
        ``"nesterov"``, ``"rmsprop"`` or ``"adamw"``. There is no ``"lbfgs"``.
    alpha : float
        L2 regularization as in scikit-learn: alpha / (2 n) ||W||^2 is added to the loss of a batch
        of n examples (n: also times the mean weight of the training examples, see `fit`), hence
        alpha W / n to its gradient. It is handed to the optimizer as
        ``weight_decay = alpha / batch_size`` (divided by that mean), also for an epoch's last
        smaller batch. With ``"adamw"`` it is the decoupled weight decay itself.
    batch_size : int or "auto"
        ``"auto"`` is ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"}
        For the solvers ``"sgd"``, ``"momentum"`` and ``"nesterov"``. ``"invscaling"`` divides it
        by (t + 1)^power_t in the epoch after t examples; ``"adaptive"`` divides it by 5 whenever
        the training would stop, until it is 1e-6.
    learning_rate_init : float
    power_t : float
    max_iter : int
        Epochs at most; a `ConvergenceWarning` says when they were not enough.
    shuffle : bool
        A new order of the examples every epoch.
    random_state : int, RandomState or None
        Of initial weights, validation split and order of examples.
    tol : float
        Training stops when the loss (with `early_stopping`: the validation score) has not
        improved by `tol` for more than `n_iter_no_change` epochs.
    verbose : bool
        Print the loss of every epoch.
    warm_start : bool
        Whether `fit` goes on from the weights, curves and optimizer state of the last one.
    momentum, nesterovs_momentum
        Of ``"sgd"``; the momentum also of ``"momentum"`` and ``"nesterov"``.
    early_stopping : bool
        Hold out `validation_fraction` of the examples (or use the ``X_val`` of `fit`), stop when
        the score on them no longer improves, and keep the weights with the best score.
    validation_fraction : float
    beta_1, beta_2, epsilon : float
        Of ``"adam"`` and ``"adamw"``; epsilon also of ``"rmsprop"``.
    n_iter_no_change : int or inf
    dropout : float
        Share of the units of each hidden layer that a training step leaves out.
    n_threads : int, optional
        At most so many threads; by default ``FASTDNN_NUM_THREADS`` or all.
    dtype : {"auto", "float32", "float64"}
        Of the network and all computation; ``"auto"`` is that of X, float64 unless it is float32.
    class_weight : dict, "balanced" or None
        Weight of each class, multiplied into `sample_weight`; for several labels a list of dicts.

    Attributes
    ----------
    network_ : fastdnn.DNN
        The trained network: ``network_.save(path)``.
    classes_ : ndarray of shape (n_classes,)
    coefs_, intercepts_ : tuple of ndarray
        Weights (n_in, n_out) and biases (n_out,) of each layer: views into the network's, so
        that ``coefs_[0][...] = W`` sets them.
    loss_, best_loss_, loss_curve_ : float, float or None, list of float
        Training loss: the last, the lowest (None with `early_stopping`), and of every epoch.
    validation_loss_curve_, validation_scores_, best_validation_score_
        Loss and accuracy after every epoch on held-out examples, and the best; None without any.
    n_iter_, t_ : int
        Epochs of the last fit; examples seen in all of them.
    n_layers_, n_outputs_, out_activation_ : int, int, str
    n_features_in_, feature_names_in_ : int, ndarray

    Examples
    --------
    >>> from fastdnn.estimators import DNNClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DNNClassifier(solver="sgd", learning_rate_init=0.1, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    class_weight: Any = None

    _y_numeric: ClassVar[bool] = False

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> DNNClassifier:
        """Go through the rows of X once; n calls with all rows do what n epochs of `fit` do.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array of shape (n_classes,), optional
            All classes there will be; the first call needs it, unless y is a 0/1 indicator of
            labels.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As of `fit`; if `early_stopping` or ``class_weight="balanced"`` is set, or `classes` is
            missing in the first call, or another one later.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight {self.class_weight!r} is not supported for partial_fit, which "
                "sees a part of the examples: give a dict of class to weight"
            )
        fitted: DNNClassifier = self._fit(X, y, sample_weight, incremental=True, classes=classes)
        return fitted

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class of each row (m,), or the 0/1 indicator of its labels.

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
        codes = decide(self._forward(X), self.network_.output_activation)
        if self._multilabel:
            return codes.T
        codes = np.minimum(codes, len(self.classes_) - 1)  # there may be one class only
        labels: NDArray[Any] = self.classes_[codes]
        return labels

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probability of each class or label for each row, (m, n_classes).

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As of `predict`.
        """
        AL = self._forward(X)
        if self._multilabel or self.n_outputs_ > 1:
            return AL.T
        if len(self.classes_) == 1:
            return np.ones_like(AL.T)
        return np.column_stack([1 - AL[0], AL[0]])

    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Logarithm of `predict_proba`: -inf for a probability of zero.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As of `predict`.
        """
        with np.errstate(divide="ignore"):
            logarithms: NDArray[Any] = np.log(self.predict_proba(X))
        return logarithms

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    # --- labels -----------------------------------------------------------------------------

    def _targets(
        self, y: NDArray[Any], *, fresh: bool, incremental: bool, classes: ArrayLike | None
    ) -> NDArray[Any]:
        if fresh:
            self._learn_classes(y, incremental, classes)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                f"classes is {classes!r}, but was {self.classes_!r} on the last call of partial_fit"
            )
        elif not (incremental or self._multilabel or np.array_equal(np.unique(y), self.classes_)):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {np.unique(y)}"
            )
        return self._encode(y)

    def _learn_classes(self, y: NDArray[Any], incremental: bool, classes: ArrayLike | None) -> None:
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError(
                f"y has {y.shape[1]} columns of classes, expected one, or a 0/1 indicator of "
                "labels: sklearn.multioutput.MultiOutputClassifier fits one network per column"
            )
        self._multilabel = kind == "multilabel-indicator"
        if self._multilabel:
            labels = np.arange(y.shape[1])
            if classes is not None and len(unique_labels(classes)) != len(labels):
                raise ValueError(f"classes is {classes!r}, but y has {len(labels)} columns")
            self.classes_ = labels
        elif not incremental:
            self.classes_ = unique_labels(y)
        elif classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        else:
            self.classes_ = unique_labels(classes)

    def _encode(self, y: NDArray[Any]) -> NDArray[Any]:
        """Indices (m,) into `classes_`, or the indicator (m, n_labels)."""
        if self._multilabel:
            if y.shape[1:] != self.classes_.shape or not np.isin(y, (0, 1)).all():
                raise ValueError(
                    f"y has shape {y.shape}, expected 0 or 1 for {len(self.classes_)} labels"
                )
            return y
        y = column_or_1d(y, warn=True)
        places = np.searchsorted(self.classes_, y)
        codes = np.minimum(places, len(self.classes_) - 1)
        if not np.array_equal(self.classes_[codes], y):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {np.unique(y)}."
            )
        return codes

    def _output(self, targets: NDArray[Any]) -> tuple[int, str]:
        count = len(self.classes_)
        if self._multilabel:
            return count, "sigmoid"
        return (count, "softmax") if count > 2 else (1, "sigmoid")

    def _class_weights(self, targets: NDArray[Any]) -> NDArray[Any] | None:
        if self.class_weight is None:
            return None
        _check_class_weight(self.class_weight)
        if self._multilabel:
            weights: NDArray[Any] = compute_sample_weight(self.class_weight, targets)
            return weights
        y = self.classes_[targets]
        table = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        factors: NDArray[Any] = np.asarray(table)[targets]
        return factors

    def _score(
        self, AL: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None
    ) -> float:
        right = decide(AL, self.network_.output_activation) == targets.T
        return float(np.average(right.all(axis=0) if right.ndim == 2 else right, weights=weights))


def _check_class_weight(given: Any, name: str = "class_weight") -> None:
    """Raise unless every factor is a finite number >= 0; scikit-learn looks at all the rest."""
    if isinstance(given, Mapping):
        for label, factor in given.items():
            checks.real_number(f"{name}[{label!r}]", factor, at_least=0)
    elif isinstance(given, list | tuple):
        for i, factors in enumerate(given):
            _check_class_weight(factors, f"{name}[{i}]")
