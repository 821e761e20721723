"""Models with ``partial_fit``, such as those of scikit-learn and scikit-multiflow, as classifiers of river."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from learners.river_model import RiverClassifier


class _PartialFit:
    """What both kinds of classifier share: dictionaries as rows of an array, and the model itself.

    Parameters
    ----------
    model
        Has ``partial_fit`` and ``predict``, and ``predict_proba`` if it has probabilities; a copy learns.
    classes
        All classes or labels there will be, in order; None: as they come.
    n_features
        Columns of the array, handed to features as they come; None: as many as the first event learned has.
    """

    def __init__(self, model: Any, *, classes: Iterable[Any] | None = None, n_features: int | None = None) -> None:
        for method in ("partial_fit", "predict"):
            if inspect.isclass(model) or not callable(getattr(model, method, None)):
                raise TypeError(f"model must be an object with partial_fit and predict, got {model!r}")
        if n_features is not None and n_features < 1:
            raise ValueError(f"n_features must be at least 1, got {n_features}")
        self.model, self.n_features = model, n_features
        self.classes = None if classes is None else list(classes)
        self._model = copy.deepcopy(model)
        self._columns: dict[Any, int] = {}
        self._width = n_features
        self._names: dict[Any, int] = {name: code for code, name in enumerate(self.classes or ())}
        self._learned = False
        parameters = inspect.signature(model.partial_fit).parameters
        self._takes_classes, self._takes_weight = "classes" in parameters, "sample_weight" in parameters

    @property
    def packages(self) -> tuple[str, ...]:
        """The top-level packages that the model and the models in it are of, for `drift.pickled.to_arrays`."""
        inner = [value for value in vars(self.model).values() if hasattr(value, "partial_fit")]
        return tuple({type(model).__module__.partition(".")[0]: None for model in (self.model, *inner)})

    def _row(self, x: Mapping[Any, Any], grow: bool) -> NDArray[np.float64]:
        """An event as an array of shape (1, d), 0 where it has no such feature."""
        if self._width is None and grow:
            self._width = max(len(x), 1)
        row = np.zeros((1, self._width or 0))
        for name, value in x.items():
            if isinstance(value, str):
                raise TypeError(f"feature {name!r} must be a number, got {value!r}")
            column = self._columns.get(name)
            if column is None and grow and len(self._columns) < row.shape[1]:
                column = self._columns[name] = len(self._columns)
            if column is not None:
                row[0, column] = value
        return row

    def _partial_fit(self, row: NDArray[np.float64], y: NDArray[Any], classes: Any, weight: float) -> None:
        """One event as a batch of one."""
        further: dict[str, Any] = {}
        if self._takes_classes and self.classes is not None:
            further["classes"] = classes
        if self._takes_weight and weight != 1.0:
            further["sample_weight"] = np.array([weight])
        self._model.partial_fit(row, y, **further)
        self._learned = True

    def _code(self, name: Any) -> int:
        """The number of a class or label; one that is new is given the next, where ``classes`` does not name all."""
        if name not in self._names and self.classes is not None:
            raise ValueError(f"classes must name all of the stream, {self.classes}, got {name!r}")
        return self._names.setdefault(name, len(self._names))

    def _proba(self, x: Mapping[Any, Any]) -> Any:
        """What the model says of an event; None before it has learned one."""
        if not hasattr(self._model, "predict_proba"):
            raise NotImplementedError(f"{type(self._model).__name__} has no probabilities")
        return self._model.predict_proba(self._row(x, grow=False)) if self._learned else None


class PartialFitClassifier(_PartialFit, base.Classifier):
    """A model of one class an event.

    The model is told the number of the class: its place in ``classes``, or in the order in which classes came. Column c
    of its ``predict_proba`` is class number c.
    """

    @property
    def _multiclass(self) -> bool:
        return True

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield from ()

    def learn_one(self, x: Mapping[Any, Any], y: Any, w: float = 1.0) -> None:
        """Learn that the event ``x`` is of class ``y``, with a weight."""
        code = self._code(y)
        self._partial_fit(self._row(x, grow=True), np.array([code]), np.arange(len(self._names)), w)

    def predict_one(self, x: Mapping[Any, Any], **kwargs: Any) -> Any:
        """The class that the model predicts; None before it has learned."""
        if not self._learned:
            return None
        code = int(np.ravel(self._model.predict(self._row(x, grow=False)))[0])
        return list(self._names)[code] if 0 <= code < len(self._names) else None

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Class to probability."""
        said = self._proba(x)
        return {} if said is None else dict(zip(self._names, np.ravel(said).tolist(), strict=False))


class PartialFitMultiLabel(_PartialFit, base.MultiLabelClassifier):
    """A model of several labels an event.

    The model is told a matrix of 0 and 1 with a column for each of ``classes``, which must be given. Its
    ``predict_proba`` is a matrix of the same shape, or, as in scikit-learn, a list with an array of shape (n, 2) for
    each label; of another shape, it is not used. An event of which not all labels met are known is not learned.
    """

    def __init__(self, model: Any, *, classes: Iterable[Any] | None = None, n_features: int | None = None) -> None:
        super().__init__(model, classes=classes, n_features=n_features)
        if not self.classes:
            raise ValueError("classes must name the labels of a model of several, got none")
        self._met: set[Any] = set()
        # What classes mean here differs: scikit-learn wants those of each column, scikit-multiflow those of all.
        listed = self.packages[0] == "sklearn"
        self._cells: Any = [np.array([0, 1])] * len(self.classes) if listed else np.array([0, 1])

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield from ()

    def learn_one(self, x: Mapping[Any, Any], y: Mapping[Any, bool], w: float = 1.0) -> None:
        """Learn the labels of the event ``x``, with a weight."""
        self._met.update(y)
        present = [self._code(name) for name, there in y.items() if there]
        if len(y) < len(self._met):
            return
        cells = np.zeros((1, len(self._names)), np.int64)
        cells[0, present] = 1
        self._partial_fit(self._row(x, grow=True), cells, self._cells, w)

    def predict_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, bool]:
        """Label to whether the model predicts it; none before it has learned."""
        if not self._learned:
            return {}
        cells = np.ravel(self._model.predict(self._row(x, grow=False))) > 0.5
        return dict(zip(self._names, cells.tolist(), strict=True))

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, dict[bool, float]]:
        """``{label: {False: q, True: p}}``."""
        said = self._proba(x)
        if said is None:
            return {}
        columns = [np.ravel(column)[-1] for column in said] if isinstance(said, list) else np.ravel(said)
        if len(columns) != len(self._names):
            raise NotImplementedError(f"{type(self._model).__name__} has no probability of each label")
        return {name: {False: 1.0 - p, True: p} for name, p in zip(self._names, map(float, columns), strict=True)}


def from_partial_fit(
    model: Any, *, classes: Iterable[Any] | None = None, multilabel: bool = False, n_features: int | None = None
) -> RiverClassifier:
    """A model of scikit-learn, scikit-multiflow or any other with ``partial_fit`` as a learner of the engine.

    Parameters
    ----------
    model
        Has ``partial_fit(X, y)``, with or without ``classes`` and ``sample_weight``, and ``predict``, and
        ``predict_proba`` if it has probabilities. A copy learns. It may have learned before from as many features and
        from the same numbers of classes.
    classes
        The classes, or the labels if ``multilabel``, in order. None: as they come; a model that must be told all at
        its first event, as most of scikit-learn must, then refuses that.
    multilabel
        Whether an event has several labels. ``y`` is then (n, L) instead of (n,).
    n_features
        Columns of ``X``. They are handed to features in the order in which these come, and what comes when all have
        been is left out. None: as many as the first event learned has.

    Raises
    ------
    TypeError, ValueError
        ``model`` has no such methods; ``classes`` is missing.

    Notes
    -----
    The model is told one event at a time, as a batch of one, after it has answered it: cutting the stream into other
    batches changes nothing, and where a model's own ``partial_fit`` of many rows differs from as many of one (an
    ensemble that trains a member a batch, say), that of one is what counts. It costs a call into the model an event.

    A class is told as its place in ``classes``, 0 to k - 1. Where an event lacks a feature, the cell is 0; text is
    refused. A pipeline of river can stand in front, which turns it into numbers or scales them: that is
    `PartialFitClassifier` or `PartialFitMultiLabel`, as its last step, within `from_river`. Weights are passed on where
    ``partial_fit`` takes ``sample_weight``.

    The state is a pickle, as in `RiverClassifier`, and holds the version of the model's package beside river's: another
    minor version is refused.

    Examples
    --------
    >>> class Nearest:
    ...     def __init__(self):
    ...         self.means = {}
    ...     def partial_fit(self, X, y):
    ...         self.means[int(y[0])] = X[0]
    ...     def predict(self, X):
    ...         return np.array([min(self.means, key=lambda c: np.abs(self.means[c] - x).sum()) for x in X])
    >>> model = from_partial_fit(Nearest())
    >>> for size in range(100):
    ...     model.learn_one({"size": size}, {"big": size > 50, "small": size <= 50})
    >>> model.predict_one({"size": 90})
    {'big': True, 'small': False}
    """
    kind = PartialFitMultiLabel if multilabel else PartialFitClassifier
    return RiverClassifier(kind(model, classes=classes, n_features=n_features))
