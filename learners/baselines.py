"""What every learner must beat: the previous label set, and the labels that most events have."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import Learner, State, with_room
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction, Rows

LABEL = np.dtype([("present", np.float64), ("partly_known", np.float64)])
"""Weight of the events in which a label was present, and of the partly labelled ones in which it was known."""


class NoChangeClassifier(Learner):
    """Predicts of every label what was last known of it: the label set of the event learned before.

    Notes
    -----
    The first prediction is the empty set. Where labels come late, the previous set is the last one learned. A partly
    labelled event changes what is known of its known labels only. There are no probabilities: a set that is repeated
    with certainty would have an infinite log loss at its first change, and any other number would be another learner's.

    Examples
    --------
    >>> model = NoChangeClassifier()
    >>> model.learn_one({}, {"rain": True, "sun": False})
    >>> model.predict_one({})
    {'rain': True, 'sun': False}
    """

    def __init__(self) -> None:
        super().__init__()
        self._previous = np.zeros(0, np.uint8)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        self._previous = with_room(self._previous, self.schema_.n_labels)
        known = Rows.empty(len(batch)) if batch.known is None else batch.known
        answer = np.zeros((len(batch), self.schema_.n_labels), np.uint8)
        y = batch.y
        _no_change(y.indptr, y.indices, batch.label_state, known.indptr, known.indices, self._previous, learn, answer)
        return Prediction(Rows.from_dense(answer))

    def _get_state(self) -> State:
        return {"previous": with_room(self._previous, self.schema_.n_labels)[: self.schema_.n_labels].copy()}

    def _set_state(self, state: State) -> None:
        self._previous = np.array(state["previous"], np.uint8)


class MajorityClassifier(Learner):
    """Predicts the labels that more than half of the events have had.

    Notes
    -----
    Majority is per label, which is the best constant answer for the Hamming loss. The most frequent label set would be
    the best one for subset accuracy, but counting sets takes memory without bound. The probability of a label is its
    share of the (weighted) events in which it was known, (present + 1/2) / (known + 1), and 0 before its first event.

    Examples
    --------
    >>> model = MajorityClassifier()
    >>> for rain in (True, True, False):
    ...     model.learn_one({}, {"rain": rain})
    >>> model.predict_proba_one({})["rain"][True]
    0.625
    """

    def __init__(self) -> None:
        super().__init__()
        self._labels = np.zeros(0, LABEL)
        self._complete = np.zeros(1)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        self._labels = with_room(self._labels, self.schema_.n_labels)
        known = Rows.empty(len(batch)) if batch.known is None else batch.known
        proba = np.zeros((len(batch), self.schema_.n_labels), np.float32)
        _majority(
            batch.y.indptr,
            batch.y.indices,
            batch.label_state,
            known.indptr,
            known.indices,
            np.ones(len(batch)) if batch.weight is None else batch.weight,
            self._labels,
            self._complete,
            learn,
            proba,
        )
        return Prediction(Rows.from_dense(proba > 0.5), proba)

    def _get_state(self) -> State:
        labels = with_room(self._labels, self.schema_.n_labels)[: self.schema_.n_labels]
        return {"labels": labels.copy(), "complete": self._complete.copy()}

    def _set_state(self, state: State) -> None:
        self._labels = np.array(state["labels"], LABEL)
        self._complete = np.array(state["complete"], np.float64)

    def merge(self, other: Self) -> None:
        """Take in what ``other`` has learned, as if this learner had learned its events too; names are matched.

        Raises
        ------
        ValueError
            ``other`` is of another class.
        """
        if type(other) is not type(self):
            raise ValueError(f"other must be {self!r}, got {other!r}")
        self.schema_.extend(other.schema_)
        self._labels = with_room(self._labels, self.schema_.n_labels)
        theirs = other._get_state()["labels"]
        numbers = [self.schema_.find_label(name) for name in other.schema_.label_names]
        for counted in ("present", "partly_known"):
            self._labels[counted][numbers] += theirs[counted]
        self._complete += other._complete


@njit(cache=True, nogil=True)
def _no_change(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    label_state: NDArray[np.uint8],
    known_indptr: NDArray[np.int64],
    known_indices: NDArray[np.int32],
    previous: NDArray[np.uint8],
    learn: bool,
    answer: NDArray[np.uint8],
) -> None:
    n, n_labels = answer.shape
    for t in range(n):
        for label in range(n_labels):
            answer[t, label] = previous[label]
        if not learn or label_state[t] == UNLABELLED:
            continue
        if label_state[t] == COMPLETE:
            previous[:] = 0
        else:
            for label in known_indices[known_indptr[t] : known_indptr[t + 1]]:
                previous[label] = 0
        for label in indices[indptr[t] : indptr[t + 1]]:
            previous[label] = 1


@njit(cache=True, nogil=True)
def _majority(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    label_state: NDArray[np.uint8],
    known_indptr: NDArray[np.int64],
    known_indices: NDArray[np.int32],
    weight: NDArray[np.float64],
    labels: NDArray[Any],
    complete: NDArray[np.float64],
    learn: bool,
    proba: NDArray[np.float32],
) -> None:
    present, partly_known = labels["present"], labels["partly_known"]
    n, n_labels = proba.shape
    for t in range(n):
        for label in range(n_labels):
            if present[label] > 0:
                proba[t, label] = (present[label] + 0.5) / (complete[0] + partly_known[label] + 1)
        if not learn or label_state[t] == UNLABELLED:
            continue
        if label_state[t] == COMPLETE:
            complete[0] += weight[t]
        else:
            for label in known_indices[known_indptr[t] : known_indptr[t + 1]]:
                partly_known[label] += weight[t]
        for label in indices[indptr[t] : indptr[t + 1]]:
            present[label] += weight[t]
