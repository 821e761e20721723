"""What every learner is: a river estimator and an array learner over one state."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from learners.frames import like, records
from learners.one_event import OneEvent
from streams.batch import NOMINAL, UNDECIDED, Batch, Prediction, Rows, Schema

State = dict[str, NDArray[Any]]
"""All that a learner has learned, as arrays."""


class LabelSet(dict[Any, bool]):
    """Label to True or False; a label that the learner does not hold reads False."""

    def __missing__(self, label: Any) -> bool:
        return False


class Learner(base.MultiLabelClassifier, abc.ABC):
    """A multi-label classifier that learns from one event or from many at a time.

    A subclass writes ``_run``, ``_get_state`` and ``_set_state`` over batches whose columns are those of
    ``self.schema_``; everything else is here. Cutting a stream into other batches changes no answer, a label is born
    (takes part in answers) with the first event in which it is known to be present, and an event without known labels
    teaches nothing.

    Attributes
    ----------
    schema_
        Names behind the learner's columns; grows.
    events_
        What happened to the learner's structure, in order: JSON objects with at least ``event`` (how many events had
        been learned) and ``kind``.
    """

    def __init__(self) -> None:
        self.schema_ = Schema()
        self.events_: list[dict[str, Any]] = []
        self._source: tuple[Schema, tuple[int, int]] | None = None
        self._one: OneEvent | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None, "_one": None}

    # What a subclass writes.

    @abc.abstractmethod
    def _run(self, batch: Batch, learn: bool) -> Prediction:
        """Answer each event with what is known by then and, if ``learn``, learn it before the next."""

    @abc.abstractmethod
    def _get_state(self) -> State:
        """Copies of the arrays that hold everything learned, names excepted."""

    @abc.abstractmethod
    def _set_state(self, state: State) -> None:
        """Take over what ``_get_state`` gave."""

    def _one_event(self) -> OneEvent | None:
        """What answers and learns single events faster than ``_run`` does and to the same end; None: nothing.

        Called after a ``_run`` or ``_set_state``; what it gives is used until the next one, or until ``schema_`` grows.
        """
        return None

    # The array face.

    def predict_batch(self, batch: Batch) -> Prediction:
        """Answer every event of ``batch`` with what is known now; changes nothing.

        Labels are columns of ``schema_``, which are those of ``batch.schema`` where that was learned from before.
        """
        return self._through(self._admit(batch, grow=False), False)

    def learn_batch(self, batch: Batch) -> None:
        """Learn the events of ``batch`` in order."""
        self._through(self._admit(batch), True)

    def test_then_train(self, batch: Batch) -> Prediction:
        """Answer each event of ``batch``, then learn it, before the next one is looked at."""
        return self._through(self._admit(batch), True)

    def _through(self, batch: Batch, learn: bool) -> Prediction:
        self._one = None
        return self._run(batch, learn)

    def _single(self) -> OneEvent | None:
        """What answers and learns single events as the learner is now, if anything does."""
        one, schema = self._one, self.schema_
        if one is None or one.schema is not schema or one.version != schema.version:
            one = self._one = self._one_event()
        return one

    def _admit(self, batch: Batch, *, grow: bool = True) -> Batch:
        """``batch`` with the columns of ``schema_``, which grows where it must, if it may."""
        theirs = batch.schema
        if theirs is self.schema_:
            return batch
        source = (theirs, theirs.version)
        if self._source is not None and self._source[0] is theirs and self._source[1] == source[1]:
            return batch
        if grow and _agree(self.schema_, theirs):
            self.schema_.extend(theirs)
            self._source = source
            return batch
        if not grow and self.holds(theirs):
            return batch
        return batch.aligned(self.schema_, grow=grow)

    def holds(self, schema: Schema) -> bool:
        """Whether ``schema_`` has all columns of another one, under the same numbers."""
        return _agree(self.schema_, schema) and _within(schema, self.schema_)

    # State.

    def get_state(self) -> State:
        """Everything learned, as arrays: copies, keyed by name. ``set_state`` on a learner with the same parameters
        goes on bit for bit."""
        return {"schema": self.schema_.to_array(), "events": _to_array(self.events_), **self._get_state()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a learner with the same parameters gave.

        Raises
        ------
        ValueError
            An array is missing, or one is there that this learner does not know.
        """
        keys = self.get_state().keys()
        if state.keys() != keys:
            raise ValueError(f"state must hold the arrays {sorted(keys)}, got {sorted(state)}")
        rest = dict(state)
        self.schema_ = Schema.from_array(rest.pop("schema"))
        self.events_ = _from_array(rest.pop("events"))
        self._source = self._one = None
        self._set_state(rest)

    @property
    def nbytes(self) -> int:
        """Bytes of everything learned."""
        return sum(array.nbytes for array in self.get_state().values())

    # The river face.

    def learn_one(self, x: Mapping[Any, Any], y: Mapping[Any, bool | None], w: float = 1.0) -> None:
        """Learn one event: feature to value, label to True, False or None (unknown), and its weight.

        An empty ``y`` teaches nothing, as a label left out is unknown.
        """
        schema = self.schema_
        if not schema.sparse and schema.n_features > 2 * max(len(x), _FEW):
            schema.sparse, self._one = True, None
        one = self._single()
        if one is not None and one.learn(x, y, w):
            return
        weight = None if w == 1.0 else np.array([w], np.float64)
        told = None if y == {} else y
        self._through(Batch.from_dicts([x], [told], schema=schema, weight=weight), True)

    def predict_one(self, x: Mapping[Any, Any], **kwargs: Any) -> LabelSet:
        """Predicted labels of one event; a label that the learner does not hold reads False."""
        names = self.schema_.label_names
        if not names:
            return LabelSet()
        one = self._single()
        chosen = None if one is None else one.answer(x)
        if chosen is None:
            labels = self._through(Batch.from_dicts([x], schema=self.schema_, grow=False), False).labels
            chosen = labels.indices.tolist()
        answer = LabelSet(dict.fromkeys(names, False))
        for label in chosen:
            answer[names[label]] = True
        return answer

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, dict[bool, float]]:
        """``{label: {False: q, True: p}}`` for every label that the learner holds."""
        row = self.proba_row(x)
        return {name: {False: 1.0 - p, True: p} for name, p in zip(self.schema_.label_names, row, strict=True)}

    def proba_row(self, x: Mapping[Any, Any]) -> list[float]:
        """The probabilities of one event's labels, in the order of ``schema_.label_names``."""
        one = self._single()
        if one is not None and one.answer(x) is not None:
            return one.proba
        proba = self._through(Batch.from_dicts([x], schema=self.schema_, grow=False), False).proba
        if proba is None:
            raise NotImplementedError(f"{type(self).__name__} has no probabilities")
        dense = proba.to_dense(self.schema_.n_labels) if isinstance(proba, Rows) else proba
        return dense[0].tolist()  # type: ignore[no-any-return]

    def learn_many(self, X: Any, y: Any, w: NDArray[Any] | None = None) -> None:
        """Learn a row after the other.

        Parameters
        ----------
        X, y
            Frames of pandas or polars, or arrays of shapes (n, d) and (n, L), whose columns are named 0 to d - 1 and 0
            to L - 1. NaN or None in ``X`` is missing and in ``y`` unknown.
        w
            Shape (n,), positive; None: all 1.

        Raises
        ------
        TypeError, ValueError
            They are of another kind or shape.
        """
        self._through(Batch.from_dicts(records(X), records(y), schema=self.schema_, weight=w), True)

    def predict_many(self, X: Any) -> Any:
        """Predicted labels: a row of truth values for each of ``X``, of its kind and with its index, and a column for
        each label of ``schema_``."""
        labels = self._through(Batch.from_dicts(records(X), schema=self.schema_, grow=False), False).labels
        return like(X, labels.to_dense(self.schema_.n_labels).astype(bool), self.schema_.label_names)

    def predict_proba_many(self, X: Any) -> Any:
        """Probability that each label is present: as from ``predict_many``, with numbers."""
        proba = self._through(Batch.from_dicts(records(X), schema=self.schema_, grow=False), False).proba
        if proba is None:
            raise NotImplementedError(f"{type(self).__name__} has no probabilities")
        dense = proba.to_dense(self.schema_.n_labels) if isinstance(proba, Rows) else proba
        return like(X, dense, self.schema_.label_names)


def with_room(array: NDArray[Any], n: int, fill: int = 0) -> NDArray[Any]:
    """``array`` with at least ``n`` records along its first axis, the new ones ``fill``; doubled where it must grow."""
    if n <= len(array):
        return array
    longer = np.full((max(n, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    longer[: len(array)] = array
    return longer


def _to_array(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), np.uint8)


def _from_array(value: NDArray[np.uint8]) -> Any:
    return json.loads(value.tobytes())


_FEW = 16
"""Dictionaries of fewer features never turn a schema sparse."""


def _within(theirs: Schema, mine: Schema) -> bool:
    """Whether ``mine``, which agrees with ``theirs``, knows all its names."""
    if theirs.n_features > mine.n_features or theirs.n_labels > mine.n_labels or not theirs.ignored <= mine.ignored:
        return False
    return all(len(names) <= len(mine.categories.get(column, ())) for column, names in theirs.categories.items())


def _agree(mine: Schema, theirs: Schema) -> bool:
    """Whether each schema gives the numbers that both know the same meaning."""
    f, n = min(mine.n_features, theirs.n_features), min(mine.n_labels, theirs.n_labels)
    if mine.feature_names[:f] != theirs.feature_names[:f] or mine.label_names[:n] != theirs.label_names[:n]:
        return False
    kinds = zip(mine.kinds[:f], theirs.kinds[:f], strict=True)
    if any(a != b and (UNDECIDED not in (a, b) or a == NOMINAL) for a, b in kinds):
        return False
    return all(
        names[: len(theirs.categories.get(column, ()))] == theirs.categories.get(column, [])[: len(names)]
        for column, names in mine.categories.items()
    )
