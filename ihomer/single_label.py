"""A multi-label learner at work where every event has exactly one class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from learners.base import Learner
from learners.frames import like, records


class SingleLabel(base.MiniBatchClassifier):
    """A river classifier that gives each class a label of a multi-label learner.

    Parameters
    ----------
    model
        The learner. To learn class c is to learn that label c is present and that those of all classes met so far are
        absent.

    Raises
    ------
    TypeError
        ``model`` is not a `learners.base.Learner`.

    Notes
    -----
    The probability of a class is that of its label divided by the sum over all classes; all are equally likely where
    that sum is 0. Without probabilities in ``model`` the class is the first predicted label, or None.

    Examples
    --------
    >>> from ihomer import LinearClassifier, SingleLabel
    >>> model = SingleLabel(LinearClassifier())
    >>> for size in range(100):
    ...     model.learn_one({"size": size}, "big" if size > 50 else "small")
    >>> model.predict_one({"size": 90})
    'big'
    """

    def __init__(self, model: Learner) -> None:
        if not isinstance(model, Learner):
            raise TypeError(f"model must be a multi-label learner, got {model!r}")
        self.model = model

    @property
    def _multiclass(self) -> bool:
        return True

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        from learners.linear import LinearClassifier

        yield {"model": LinearClassifier()}

    def learn_one(self, x: Mapping[Any, Any], y: Any, w: float = 1.0) -> None:
        """Learn that the event ``x`` is of class ``y``, with a weight."""
        label = y.item() if isinstance(y, np.generic) else y
        told = dict.fromkeys(self.model.schema_.label_names, False)
        told[label] = True
        self.model.learn_one(x, told, w=w)

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Class to probability, for the classes met so far; they sum to 1."""
        present = {label: p[True] for label, p in self.model.predict_proba_one(x).items()}
        total = sum(present.values())
        return {label: p / total if total > 0 else 1 / len(present) for label, p in present.items()}

    def predict_one(self, x: Mapping[Any, Any], **kwargs: Any) -> Any:
        """The most probable class, or None where there is none."""
        try:
            row = self.model.proba_row(x)
        except NotImplementedError:
            return next((label for label, is_present in self.model.predict_one(x).items() if is_present), None)
        return self.model.schema_.label_names[row.index(max(row))] if row else None

    def learn_many(self, X: Any, y: Iterable[Any], w: NDArray[Any] | None = None) -> None:
        """Learn a row after the other: a frame of pandas or polars or an array, the class of each row, and weights."""
        rows = records(X)
        weights = [1.0] * len(rows) if w is None else w
        for x, label, weight in zip(rows, y, weights, strict=True):
            self.learn_one(x, label, weight)

    def predict_proba_many(self, X: Any) -> Any:
        """Probabilities: a row for each of ``X``, of its kind and with its index, and a column for each class."""
        names = self.model.schema_.label_names
        present = np.asarray(self.model.predict_proba_many(X), np.float64)
        if not names:
            return like(X, present, names)
        # Added up from the left, as for one event.
        total = present.cumsum(1)[:, -1:]
        proba = np.full(present.shape, 1 / len(names))
        np.divide(present, total, out=proba, where=total > 0)
        return like(X, proba, names)

    def predict_many(self, X: Any) -> Any:
        """The most probable class of each row, or None where there is none: a series with the index of ``X``, or an
        array where that is one."""
        names = np.array(self.model.schema_.label_names, object)
        classes = np.full((len(X), 1), None, object)
        if len(names):
            try:
                scores, is_answered = np.asarray(self.model.predict_proba_many(X)), np.ones(len(X), bool)
            except NotImplementedError:
                scores = np.asarray(self.model.predict_many(X))
                is_answered = np.asarray(scores.any(axis=1))
            classes[is_answered, 0] = names[scores.argmax(axis=1)[is_answered]]
        answers = like(X, classes, ["class"])
        return answers[:, 0] if isinstance(answers, np.ndarray) else answers["class"]
