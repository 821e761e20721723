"""A learner with the methods and the shapes of scikit-learn and scikit-multiflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.base import Learner
from learners.frames import records
from streams.batch import COMPLETE, NUMERIC, Batch, Prediction, Rows, Schema

_OWN = ("learner", "classes", "multilabel")


class ArrayLearner:
    """Any learner, for code that calls ``partial_fit`` and ``predict`` with arrays.

    Parameters
    ----------
    learner
        The prototype: a fresh copy with its parameters learns, and nothing that it has learned is taken along.
    classes
        The classes there are, or the names of the labels if ``multilabel``, in the order of the columns of
        ``predict_proba``; None: those of the first ``partial_fit`` that names them, or else all that come.
    multilabel
        Whether ``y`` is a matrix of 0 and 1; None: as the first one shows.

    Attributes
    ----------
    learner_
        The copy that learns; ``learner_.get_state()`` is what it knows.
    classes_
        Shape (n_classes,): classes, or names of labels, in the order of the columns of ``predict_proba``. Where none
        were named, ``fit`` sorts them and ``partial_fit`` keeps the order in which they came.
    n_features_in_
        Columns of ``X``.

    Raises
    ------
    TypeError
        ``learner`` is not a `Learner`.

    Notes
    -----
    ``X`` is an array or list of lists of shape (n, d), with NaN for missing; a sparse matrix of SciPy, where absent is
    0; or a frame of pandas or polars, whose text columns are nominal features. ``y`` is (n,), one class an event, or
    (n, L), one column of 0 and 1 a label, where NaN in a matrix of floats is unknown. Numbers are single precision.

    With one class an event, a class is a label of which each event has one. The class that is answered is the most
    probable, and its probability that of its label divided by the sum over all classes; all are equally likely where
    that sum is 0. Without probabilities it is the first label predicted, or else the first class. Cutting ``X`` and
    ``y`` into other calls of ``partial_fit`` changes nothing.

    Before anything was learned there is an answer only where ``classes`` is given here. An event of weight 0 is passed
    over. In scikit-learn it can be the last step of a pipeline, be cloned, searched over and cross-validated; it does
    not pass all of ``check_estimator``, which asks for more refusals of wrong input, and in its own words.

    Examples
    --------
    >>> from learners.linear import LinearClassifier
    >>> X = np.arange(100.0)[:, None]
    >>> model = ArrayLearner(LinearClassifier()).fit(X, np.where(X[:, 0] > 50, "big", "small"))
    >>> model.predict(np.array([[90.0], [10.0]])).tolist()
    ['big', 'small']
    >>> model.classes_.tolist(), model.predict_proba(X[:5]).shape
    (['big', 'small'], (5, 2))
    """

    def __init__(
        self, learner: Learner, *, classes: Sequence[Any] | NDArray[Any] | None = None, multilabel: bool | None = None
    ) -> None:
        if not isinstance(learner, Learner):
            raise TypeError(f"learner must be a multi-label learner, got {learner!r}")
        self.learner, self.classes, self.multilabel = learner, classes, multilabel

    # Learning.

    def fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> ArrayLearner:
        """Forget everything, then learn as ``partial_fit`` does."""
        self.reset()
        y = y if hasattr(y, "shape") else np.asarray(y)
        if classes is None and self.classes is None and len(y.shape) == 1:
            return self._learn(X, y, np.unique(np.asarray(y)), sample_weight, closed=False)
        return self.partial_fit(X, y, classes, sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> ArrayLearner:
        """Learn a row after the other.

        Parameters
        ----------
        X, y
            Shapes (n, d), and (n,) or (n, L).
        classes
            All classes there will be, in this call or the first; passed over with several labels an event.
        sample_weight
            Shape (n,), not negative; None: all 1.

        Raises
        ------
        ValueError
            A shape is another than before, or a class is none of those named.
        """
        return self._learn(X, y, classes, sample_weight, closed=classes is not None)

    def reset(self) -> ArrayLearner:
        """Forget everything but the parameters."""
        for name in ("learner_", "classes_", "n_features_in_", "_schema", "_multilabel", "_closed"):
            self.__dict__.pop(name, None)
        return self

    def _learn(self, X: Any, y: Any, classes: Any, sample_weight: Any, *, closed: bool) -> ArrayLearner:
        y = y if hasattr(y, "shape") else np.asarray(y)
        matrix = len(y.shape) == 2
        if len(y.shape) not in (1, 2) or (self.multilabel is not None and self.multilabel != matrix):
            wanted = {None: "(n,) or (n, L)", True: "(n, L)", False: "(n,)"}[self.multilabel]
            raise ValueError(f"y must have shape {wanted}, got {y.shape}")
        fresh = not hasattr(self, "learner_")
        if fresh:
            self._begin(X, matrix, getattr(y, "columns", range(y.shape[1])) if matrix else ())
        try:
            self.learner_.learn_batch(self._labelled(X, y, classes, sample_weight, matrix=matrix, closed=closed))
        except (TypeError, ValueError):
            if fresh:
                self.reset()
            raise
        return self

    def _labelled(self, X: Any, y: Any, classes: Any, sample_weight: Any, *, matrix: bool, closed: bool) -> Batch:
        """Events with labels and weights, under the schema of the first."""
        if matrix != self._multilabel:
            wanted = f"(n, {self._schema.n_labels})" if self._multilabel else "(n,)"
            raise ValueError(f"y must have shape {wanted}, got {y.shape}")
        if classes is not None and not matrix:
            for name in _plain(classes):
                self._schema.label_id(name)
            self._closed |= closed
        batch = self._events(X, grow=True)
        if len(y) != len(batch):
            raise ValueError(f"y must have {len(batch)} rows, as X has, got {len(y)}")
        batch.y, batch.label_state, batch.known = self._of_labels(y) if matrix else self._of_classes(y)
        self.classes_ = _array(self._schema.label_names)
        if sample_weight is not None:
            weight = np.asarray(sample_weight, np.float64)
            if weight.shape != (len(batch),):
                raise ValueError(f"sample_weight must have shape ({len(batch)},), got {weight.shape}")
            rows = np.flatnonzero(weight)
            batch = replace(batch.take(rows), weight=weight[rows])
        return batch

    def _begin(self, X: Any, multilabel: bool, labels: Any) -> None:
        """Start afresh with what the first call shows."""
        if self.classes is not None:
            labels = self.classes
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        if len(X.shape) != 2:
            raise ValueError(f"X must have shape (n, d), got {X.shape}")
        self.learner_ = self.learner.clone()
        self.n_features_in_ = int(X.shape[1])
        names = list(X.columns) if hasattr(X, "columns") else list(range(X.shape[1]))
        self._schema = Schema(names, _plain(labels), sparse=hasattr(X, "tocsr"))
        self._multilabel, self._closed = multilabel, self.classes is not None
        self.classes_ = _array(self._schema.label_names)

    def _of_classes(self, y: Any) -> tuple[Rows, NDArray[np.uint8], None]:
        """Labels of events of one class each."""
        import pandas as pd

        schema = self._schema
        place, found = pd.factorize(np.asarray(y, None if hasattr(y, "dtype") else object), use_na_sentinel=False)
        names = _plain(found)
        if self._closed:
            strange = next((name for name in names if schema.find_label(name) < 0), None)
            if strange is not None:
                raise ValueError(f"y must hold classes of {schema.label_names}, got {strange!r}")
        columns = np.array([schema.label_id(name) for name in names], np.int32)
        state = np.full(len(place), COMPLETE, np.uint8)
        return Rows(np.arange(len(place) + 1), columns[place]), state, None

    def _of_labels(self, y: Any) -> tuple[Rows, NDArray[np.uint8], Rows | None]:
        """Labels of events of several each."""
        cells = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(y)
        if cells.dtype.kind == "O":
            cells = cells.astype(np.float64)
        if cells.shape[1] != self._schema.n_labels:
            raise ValueError(f"y must have shape (n, {self._schema.n_labels}), got {cells.shape}")
        if not (np.isin(cells, (0, 1)) | (cells != cells)).all():
            raise ValueError(f"y must be 0, 1 or NaN, got {np.unique(cells).tolist()}")
        batch = Batch.from_arrays(np.zeros((len(cells), 0)), cells, schema=self._schema)
        return batch.y, batch.label_state, batch.known

    def _events(self, X: Any, *, grow: bool) -> Batch:
        """The rows of ``X`` without labels, under the schema of the first."""
        schema = self._schema
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        if len(X.shape) != 2 or X.shape[1] != schema.n_features:
            raise ValueError(f"X must have shape (n, {schema.n_features}), got {X.shape}")
        if hasattr(X, "tocsr") != schema.sparse:
            raise ValueError(f"X must be {'sparse' if schema.sparse else 'dense'}, as the first was")
        if schema.sparse:
            cells = X.tocsr(copy=True)
            cells.sum_duplicates()
            return self._numeric(Batch.from_arrays(Rows(cells.indptr, cells.indices, cells.data), schema=schema))
        if hasattr(X, "columns"):
            names = list(X.columns)
            if isinstance(schema.feature_names[0] if names else 0, str) and names != schema.feature_names:
                raise ValueError(f"X must have the columns {schema.feature_names}, got {names}")
            if not all(getattr(dtype, "kind", "O") in "biuf" for dtype in X.dtypes):
                return Batch.from_dicts(records(X), schema=schema, grow=grow)
            X = X.to_numpy(np.float64, na_value=np.nan)
        if X.dtype.kind not in "biuf":
            named = [dict(zip(schema.feature_names, x.values(), strict=True)) for x in records(X)]
            return Batch.from_dicts(named, schema=schema, grow=grow)
        with np.errstate(over="ignore"):
            return self._numeric(Batch.from_arrays(X, schema=schema))

    def _numeric(self, batch: Batch) -> Batch:
        for column in range(batch.schema.n_features):
            batch.schema.decide(column, NUMERIC)
        return batch

    # Answers.

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each event, shape (n,), or 0 and 1 for each label, shape (n, L)."""
        answer = self._answer(X)
        labels = answer.labels.to_dense(len(self.classes_))
        if self._multilabel:
            return labels.astype(np.int64)
        if not len(self.classes_):
            raise ValueError("a class must be known before predict, got none")
        scores = labels if answer.proba is None else self._proba(answer)
        return np.asarray(self.classes_[scores.argmax(1)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class, shape (n, n_classes), rows summing to 1; or of each label, shape (n, L).

        Raises
        ------
        NotImplementedError
            The learner has none.
        """
        answer = self._answer(X)
        if answer.proba is None:
            raise NotImplementedError(f"{type(self.learner).__name__} has no probabilities")
        proba = self._proba(answer)
        if self._multilabel or not len(self.classes_):
            return proba
        total = proba.sum(1, keepdims=True)
        return np.where(total > 0, proba / np.where(total > 0, total, 1), 1 / len(self.classes_))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the events, by weight, whose class, or whole set of labels, is predicted."""
        predicted, truth = self.predict(X), np.asarray(y)
        if predicted.shape != truth.shape:
            raise ValueError(f"y must have shape {predicted.shape}, got {truth.shape}")
        right = predicted == truth
        return float(np.average(right.all(1) if self._multilabel else right, weights=sample_weight))

    def _answer(self, X: Any) -> Prediction:
        if not hasattr(self, "learner_"):
            if self.classes is None:
                raise ValueError("fit or partial_fit must come before an answer where classes is None")
            fresh = ArrayLearner(self.learner, classes=self.classes, multilabel=self.multilabel)
            fresh._begin(X, bool(self.multilabel), ())
            self.classes_, self._multilabel = fresh.classes_, fresh._multilabel
            return fresh.learner_.predict_batch(fresh._events(X, grow=True))
        return self.learner_.predict_batch(self._events(X, grow=False))

    def _proba(self, answer: Prediction) -> NDArray[np.float64]:
        """Probabilities of the labels, with a column for each class."""
        n, proba = len(self.classes_), answer.proba
        assert proba is not None
        dense = proba.to_dense(n) if isinstance(proba, Rows) else proba
        columns = np.zeros((len(answer), n))
        columns[:, : dense.shape[1]] = dense
        return columns

    # Parameters.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; if ``deep``, those of the learner too, as ``learner__name``."""
        own = {name: getattr(self, name) for name in _OWN}
        inner = self.learner._get_params() if deep else {}
        return {**own, **{f"learner__{name}": value for name, value in inner.items()}}

    def set_params(self, **params: Any) -> ArrayLearner:
        """Set parameters under the names of ``get_params``; they hold from the next ``fit`` or ``reset`` on.

        Raises
        ------
        ValueError
            There is no such parameter.
        """
        known = self.get_params()
        strange = next((name for name in params if name not in known), None)
        if strange is not None:
            raise ValueError(f"a parameter must be one of {sorted(known)}, got {strange!r}")
        for name in _OWN:
            if name in params:
                setattr(self, name, params[name])
        inner = {name.removeprefix("learner__"): value for name, value in params.items() if name not in _OWN}
        if inner:
            self.learner = self.learner.clone(inner)
        return self

    def __repr__(self) -> str:
        return f"ArrayLearner({self.learner!r})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "learner_")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn, which alone calls this, wants to know."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        several = self.multilabel is not False
        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True, multi_output=several, single_output=self.multilabel is not True),
            classifier_tags=ClassifierTags(multi_label=several),
            input_tags=InputTags(sparse=True, allow_nan=True, categorical=True, string=True),
        )


def _plain(names: Any) -> list[Any]:
    """Names as objects of Python."""
    return [name.item() if isinstance(name, np.generic) else name for name in names]


def _array(names: list[Any]) -> NDArray[Any]:
    """Names of one kind as an array of that kind, others as objects."""
    same = len({type(name) for name in names}) <= 1
    return np.array(names) if same else np.array(names, object)
