"""Members of an ensemble: learners over some of the features and labels, what each is told, and how they are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from learners import packing
from learners.base import Learner
from streams.batch import NOMINAL, NUMERIC, UNLABELLED, Batch, Rows, Schema


class Member:
    """A learner, its number, and the columns of the common schema that it has.

    The columns of its own schema stand in the order of the common one.
    """

    def __init__(self, learner: Learner, number: int) -> None:
        self.learner, self.number = learner, number
        self._features = self._labels = np.zeros(0, np.int32)
        self._feature_places = self._label_places = np.zeros(0, np.int32)

    @property
    def labels(self) -> NDArray[np.int32]:
        """Columns of its labels in the common schema, ascending."""
        return self._labels

    def grow(
        self, schema: Schema, features: NDArray[np.bool_], labels: NDArray[np.bool_], changed: Iterable[int]
    ) -> None:
        """Take notice of a common schema that has grown.

        Parameters
        ----------
        schema
            The common schema.
        features, labels
            Which of its columns are the member's; those that were before stay so.
        changed
            Features that are new, or of which more is known than before.
        """
        mine = self.learner.schema_
        mine.sparse = schema.sparse
        for column in changed:
            if not features[column]:
                continue
            own = mine.feature_id(schema.feature_names[column])
            if schema.kinds[column] == NOMINAL:
                mine.make_nominal(own, schema.categories[column])
            elif schema.kinds[column] == NUMERIC:
                mine.decide(own, NUMERIC)
            if column in schema.ignored:
                mine.ignored.add(own)
        self._features = np.flatnonzero(features).astype(np.int32)
        self._labels = np.flatnonzero(labels).astype(np.int32)
        for column in self._labels[mine.n_labels :].tolist():
            mine.label_id(schema.label_names[column])
        self._feature_places, self._label_places = _places(features), _places(labels)

    def run(self, batch: Batch, counts: NDArray[np.int64] | None, unit: float, learn: bool) -> NDArray[np.float32]:
        """The probabilities that the learner gives its labels, shape (n, labels), or 0 and 1 where it has none; then it
        learns each event as many times as ``counts`` says, in weights of ``unit`` (None: once), if ``learn``."""
        said = self._told(batch, counts if learn else None, unit)
        answer = self.learner.test_then_train(said) if learn else self.learner.predict_batch(said)
        proba = answer.labels if answer.proba is None else answer.proba
        return proba.to_dense(len(self._labels)) if isinstance(proba, Rows) else np.asarray(proba, np.float32)

    def _told(self, batch: Batch, counts: NDArray[np.int64] | None, unit: float) -> Batch:
        """The events as the learner sees them; those with a count of 0 without their labels."""
        x, y, known, state, weight = batch.x, batch.y, batch.known, batch.label_state, batch.weight
        if len(self._features) < len(self._feature_places):
            if isinstance(x, Rows):
                x = _picked(x, self._feature_places)
            else:
                x = np.ascontiguousarray(x[:, self._features[self._features < x.shape[1]]])
        drawn = None if counts is None or counts.all() else counts > 0
        if drawn is not None or len(self._labels) < len(self._label_places):
            y = _picked(y, self._label_places, drawn)
            known = None if known is None else _picked(known, self._label_places, drawn)
        if drawn is not None:
            state = np.where(drawn, state, UNLABELLED).astype(np.uint8)
        if counts is not None:
            weight = np.maximum(counts, 1) * unit * (1.0 if weight is None else weight)
        return replace(
            batch, schema=self.learner.schema_, x=x, y=y, known=known, label_state=state, weight=weight, dead=[]
        )


def _places(held: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The place of each column among those held, or -1."""
    return np.where(held, np.cumsum(held) - 1, -1).astype(np.int32)


def _picked(rows: Rows, places: NDArray[np.int32], among: NDArray[np.bool_] | None = None) -> Rows:
    """The cells of columns that have a place, renumbered, in the rows that are ``among`` those asked for."""
    column = places[rows.indices]
    row = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    kept = column >= 0 if among is None else (column >= 0) & among[row]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=len(rows)))])
    return Rows(indptr, column[kept], None if rows.data is None else rows.data[kept])


def pack(members: Sequence[Member | None]) -> NDArray[np.uint8]:
    """Members and all that they have learned as bytes. None stays None."""
    heads = [None if member is None else {"number": member.number} for member in members]
    return packing.pack(heads, [None if member is None else member.learner for member in members])


def unpack(packed: NDArray[np.uint8], fresh: Callable[[int], Learner]) -> list[Member | None]:
    """The members that ``pack`` wrote, their learners put into those that ``fresh`` makes for their numbers; their
    columns are still to be told by ``grow``."""
    members: list[Member | None] = []
    for head, state in packing.unpack(packed):
        if head is None:
            members.append(None)
            continue
        learner = fresh(head["number"])
        learner.set_state(state)
        members.append(Member(learner, head["number"]))
    return members
