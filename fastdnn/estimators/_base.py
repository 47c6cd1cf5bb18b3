"""What classifier and regressor share: validation, and the fit around `DNN.fit`."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from fastdnn import checks
from fastdnn.network import DNN
from fastdnn.scoring import cost_of
from fastdnn.training import DivergenceError

from ._draws import Shuffle, draw_parameters
from ._settings import Settings
from ._watch import Validation, Watch


class NetworkEstimator(Settings):
    """A fully connected network as a scikit-learn estimator; see `DNNClassifier`."""

    _y_numeric: ClassVar[bool]

    network_: DNN
    loss_curve_: list[float]
    best_loss_: float | None
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None

    # --- what the two kinds of estimator add ------------------------------------------------

    def _targets(
        self, y: NDArray[Any], *, fresh: bool, incremental: bool, classes: ArrayLike | None
    ) -> NDArray[Any]:
        """Targets of examples y as rows, (m,) or (m, n_outputs); learns the classes if fresh."""
        raise NotImplementedError

    def _encode(self, y: NDArray[Any]) -> NDArray[Any]:
        """Targets of examples y, for the classes or outputs that are known."""
        raise NotImplementedError

    def _output(self, targets: NDArray[Any]) -> tuple[int, str]:
        """Number of outputs, and their activation."""
        raise NotImplementedError

    def _class_weights(self, targets: NDArray[Any]) -> NDArray[Any] | None:
        """Weights (m,) that the classes give the examples."""
        return None

    def _score(
        self, AL: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None
    ) -> float:
        """What `score` would say of the outputs AL (n_outputs, m)."""
        raise NotImplementedError

    # --- fitting ----------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Any:
        """Train on the rows of X.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            Class labels or a 0/1 indicator of labels; numbers for the regressor.
        sample_weight : array of shape (n_samples,), optional
            An example of weight 2 counts like two; in the score of the share held out as well,
            but not in `validation_loss_curve_`, which takes all examples alike. Weights are
            divided by their mean over the training examples; scikit-learn divides the sum over a
            batch by the weights of that batch instead, so that an example counts more there the
            lighter the others of its batch are. A batch of all examples makes no difference.
        X_val, y_val : arrays like X and y, optional
            Scored after every epoch, with `validation_loss_curve_` and `validation_scores_` as
            the result; the weights with the best score are in place afterwards. With
            `early_stopping` they take the place of the share of X held out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter is none of the values that the class names; X, y or a weight is not
            finite, is sparse or empty, or they differ in length; classes or outputs are
            not those of the fit that is gone on with; or the training diverges.
        """
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together, expected both or neither")
        return self._fit(X, y, sample_weight, X_val, y_val)

    def _fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        *,
        incremental: bool = False,
        classes: ArrayLike | None = None,
    ) -> Any:
        self._check_settings()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        fresh = not (self.__sklearn_is_fitted__() and (incremental or self.warm_start))
        X, y = self._validated(X, y, fresh)
        targets = self._targets(y, fresh=fresh, incremental=incremental, classes=classes)
        given = self._given_weights(sample_weight, len(X))
        weights = _product(given, self._class_weights(targets))
        if weights is not None:
            _summable("the product of sample_weight and class_weight", weights)
        if fresh or not incremental:
            self._random_state = check_random_state(self.random_state)
            self._shuffle = Shuffle(self._random_state)
        if fresh:
            self._build(X, targets)
        else:
            self._check_network()
        self._start(fresh, incremental, self.early_stopping or X_val is not None)
        validation = None
        if X_val is not None:
            X_held, y_held = self._validated(X_val, y_val, False)
            validation = self._validation(X_held, self._encode(y_held), None)
        elif self.early_stopping:
            train, held = self._split(targets)
            held_weights = None if given is None else given[held]
            if held_weights is not None and not held_weights.any():
                raise ValueError("every held-out example has weight 0, expected a positive weight")
            validation = self._validation(X[held], targets[held], held_weights)
            X, targets = X[train], targets[train]
            weights = None if weights is None else weights[train]
        self._train(X, targets, weights, validation, incremental)
        return self

    def _train(
        self,
        X: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        validation: Validation | None,
        incremental: bool,
    ) -> None:
        """One call of `DNN.fit`, watched."""
        batch_size = self._batch_size(len(X))
        l2 = self.alpha / batch_size
        if weights is not None:
            mean = float(weights.mean())
            if mean == 0.0:
                raise ValueError("every training example has weight 0, expected a positive weight")
            weights, l2 = weights / mean, l2 / mean
            if l2 > float(np.finfo(self.network_.dtype).max):
                raise ValueError(
                    f"the weights of the training examples have a mean of {mean:g}, over which "
                    f"alpha {self.alpha:g} does not fit in {self.network_.dtype}"
                )
        decoupled = self.solver == "adamw"
        rate = self._rate(len(X))
        watch = Watch(self, rate, validation)
        net = self.network_
        try:
            net.fit(
                X.T,
                targets.T,
                epochs=1 if incremental else self.max_iter,
                batch_size=batch_size,
                optimizer=self._optimizer(self.alpha if decoupled else l2),
                schedule=None if rate.constant else rate,
                shuffle=self.shuffle and self._shuffle,
                callbacks=[watch],
                n_threads=self.n_threads,
                sample_weight=weights,
                dropout=self.dropout,
            )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        except DivergenceError as error:
            if not self.validation_scores_:
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain "
                    f"large values and need to be preprocessed. ({error})"
                ) from error
            warnings.warn(
                f"{error} The weights with the best validation score are in place.",
                ConvergenceWarning,
                stacklevel=4,
            )
        else:
            if not incremental and not watch.converged:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and "
                    "the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        finally:
            self._rate_factor = rate.factor
            watch.restore_best()

    # --- the pieces of a fit ----------------------------------------------------------------

    def _validated(self, X: Any, y: Any, fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        if hasattr(y, "toarray"):
            raise TypeError("y is sparse, expected a dense array: use y.toarray()")
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are found and reported
            checked: tuple[NDArray[Any], NDArray[Any]] = validate_data(
                self,
                X,
                y,
                reset=fresh,
                dtype=self._dtypes(fresh),
                multi_output=True,
                y_numeric=self._y_numeric,
            )
        return checked

    def _dtypes(self, fresh: bool) -> Any:
        """What X is cast to: the network's precision, or its own before there is a network."""
        if not fresh:
            return self.network_.dtype
        return (np.float64, np.float32) if self.dtype == "auto" else np.dtype(self.dtype)

    def _given_weights(self, sample_weight: ArrayLike | None, m: int) -> NDArray[Any] | None:
        if sample_weight is None:
            return None
        weights: NDArray[Any] = check_array(
            sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
        )
        checks.shape("sample_weight", weights, (m,))
        if weights.min() < 0:
            raise ValueError("Negative values in data passed to `sample_weight`")
        if not weights.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return _summable("sample_weight", weights)

    def _build(self, X: NDArray[Any], targets: NDArray[Any]) -> None:
        """A new network, with parameters drawn as `MLPClassifier` draws them."""
        sizes, activations = self._hidden()
        self.n_outputs_, output = self._output(targets)
        # Drawn only where it matters, so that the draws are otherwise those of MLPClassifier.
        dropout_seed = self._random_state.randint(2**31 - 1) if self.dropout else 0
        net = DNN(
            [X.shape[1], *sizes, self.n_outputs_],
            hidden_activation=activations,
            output_activation=output,
            dtype=X.dtype,
            seed=dropout_seed,
            n_threads=self.n_threads,
        )
        draw_parameters(net.parameters, activations, self._random_state)
        self.network_ = net
        self.n_layers_ = len(net.layer_dims)
        self.out_activation_ = "logistic" if output == "sigmoid" else output

    def _check_network(self) -> None:
        """Raise where a network is to be trained on that the parameters no longer describe."""
        net = self.network_
        dtype = net.dtype if self.dtype == "auto" else np.dtype(self.dtype)
        wanted = (*self._hidden(), dtype.name)
        there = (net.layer_dims[1:-1], net.hidden_activations, net.dtype.name)
        if wanted != there:
            raise ValueError(
                f"hidden layers and dtype are now {wanted}, but the network to go on with has "
                f"{there}: use fit with warm_start=False"
            )

    def _split(self, targets: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Training and held-out rows, split as `MLPClassifier` splits them."""
        share = checks.real_number(
            "validation_fraction", self.validation_fraction, above=0, below=1
        )
        binary = self.network_.loss == "binary_crossentropy" and targets.ndim == 1
        train, held = train_test_split(
            np.arange(len(targets)),
            test_size=share,
            random_state=self._random_state,
            stratify=targets if binary else None,
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return train, held

    def _validation(
        self, X: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None
    ) -> Validation:
        net = self.network_
        Y = checks.labels(targets.T, self.n_outputs_, len(X), net.loss, net.dtype, name="y_val")

        def score() -> tuple[float, float]:
            AL = net.forward(X.T)
            with np.errstate(over="ignore", invalid="ignore"):
                return cost_of(AL, Y, net.loss), self._score(AL, targets, weights)

        return Validation(score, decides=self.early_stopping)

    def _start(self, fresh: bool, incremental: bool, validated: bool) -> None:
        """Fitted attributes before the first epoch; a warm start adds to its curves."""
        self.n_iter_ = 0
        if fresh:
            self.t_ = 0
            self.loss_curve_ = []
        if fresh or not incremental:
            self._no_improvement_count = 0
            self._rate_factor = 1.0
        if fresh or self.early_stopping == (self.best_loss_ is not None):
            self.best_loss_ = None if self.early_stopping else np.inf
        if not validated:
            self.validation_loss_curve_ = self.validation_scores_ = None
            self.best_validation_score_ = None
        elif fresh or self.validation_scores_ is None:
            self.validation_loss_curve_, self.validation_scores_ = [], []
            self.best_validation_score_ = -np.inf

    # --- inference --------------------------------------------------------------------------

    def _forward(self, X: ArrayLike) -> NDArray[Any]:
        """Outputs AL (n_outputs, m) for the rows of X."""
        check_is_fitted(self)
        with np.errstate(over="ignore", invalid="ignore"):
            rows = validate_data(self, X, reset=False, dtype=self.network_.dtype)
        return self.network_.forward(rows.T)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    # Tuples, for an array put into a list that nobody keeps would be lost without a word.

    @property
    def coefs_(self) -> tuple[NDArray[Any], ...]:
        """Weights of each layer, (n_in, n_out): views into the network's."""
        layers = range(1, len(self.network_.layer_dims))
        return tuple(self.network_.parameters[f"W{layer}"].T for layer in layers)

    @property
    def intercepts_(self) -> tuple[NDArray[Any], ...]:
        """Biases of each layer, (n_out,): views into the network's."""
        layers = range(1, len(self.network_.layer_dims))
        return tuple(self.network_.parameters[f"b{layer}"][:, 0] for layer in layers)


def _product(a: NDArray[Any] | None, b: NDArray[Any] | None) -> NDArray[Any] | None:
    """Elementwise product, where None stands for ones."""
    if a is None or b is None:
        return b if a is None else a
    with np.errstate(over="ignore"):  # `_summable` reports it
        product: NDArray[Any] = a * b
    return product


def _summable(name: str, weights: NDArray[Any]) -> NDArray[Any]:
    """Hand back weights whose mean can be taken."""
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not np.isfinite(total):
        raise ValueError(f"{name} adds up to {total}, expected weights with a finite sum")
    return weights
