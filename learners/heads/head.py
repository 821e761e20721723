"""What heads share: vectors in, one class an event (or a set of labels) out, over one state of class statistics."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import Learner, State
from learners.heads.normalising import STATELESS, Normaliser
from learners.heads.statistics import FROZEN_AT, ClassStatistics, Moments, features
from streams.batch import COMPLETE, Batch, Prediction, Rows

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]


EQUAL = 1e-5
"""Shares that differ by less than this part are equal to `choose`."""


class Weights(NamedTuple):
    """Linear scores: ``x @ vectors[k] + offsets[k]`` is the score of class ``labels[k]``.

    A score is a log-probability but for a term that all classes share, or, for several labels an event, log-odds.
    """

    labels: NDArray[np.int32]
    vectors: Floats
    offsets: Floats


class VectorLearner(Learner, abc.ABC):
    """A classifier of vectors that answers one class an event, or a set of labels if ``multilabel``."""

    multilabel = False

    def __init__(self, normalise: str) -> None:
        super().__init__()
        self.normalise = normalise
        self._normaliser = Normaliser(normalise)

    # What a subclass writes, beside its state.

    @abc.abstractmethod
    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        """Answer, if ``answer``, and learn, if ``learn``, the vectors ``x`` of a batch, event by event.

        ``proba`` and ``chosen`` are filled with 0 and -1; ``x`` may be changed.
        """

    @abc.abstractmethod
    def _grow(self, width: int, n_labels: int) -> None:
        """Make room for vectors of ``width`` columns, of which earlier ones had zeros, and for labels."""

    def _taught(self, batch: Batch) -> NDArray[np.bool_]:
        """The events that are learned."""
        return batch.label_state == COMPLETE if self.multilabel else np.diff(batch.y.indptr) > 0

    # What is the same for all.

    def learn_batch(self, batch: Batch) -> None:
        """Learn the events of ``batch`` in order; nothing is answered, so that nothing need be solved."""
        self._go(self._admit(batch), learn=True, answer=False)

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        return self._go(batch, learn, answer=True)

    def _go(self, batch: Batch, learn: bool, answer: bool) -> Prediction:
        self._make_room()
        x = self._normaliser.apply(features(batch, self.schema_), self._taught(batch), learn)
        proba = np.zeros((len(batch) if answer else 0, self.schema_.n_labels))
        chosen = np.full(len(batch), -1, np.int32)
        self._walk(x, batch, learn, answer, proba, chosen)
        if self.multilabel:
            return Prediction(Rows.from_dense(proba > 0.5), proba)
        answered = chosen >= 0
        return Prediction(Rows(np.concatenate([[0], np.cumsum(answered)]), chosen[answered]), proba)

    def _make_room(self) -> None:
        self._normaliser.grow(self.schema_.n_features)
        self._grow(self.schema_.n_features, self.schema_.n_labels)


class Head(VectorLearner):
    """A classifier of vectors that takes in what another one has learned."""

    @abc.abstractmethod
    def _merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        """Take in another head, whose columns and labels have these numbers here."""

    def merge(self, other: Self) -> None:
        """Take in what ``other`` has learned, as if this head had learned its events too; names are matched.

        Raises
        ------
        ValueError
            ``other`` is of another class or has other parameters, or what both hold cannot be merged.
        """
        if type(other) is not type(self) or other._get_params() != self._get_params():
            raise ValueError(f"other must be {self!r}, got {other!r}")
        if self.normalise not in STATELESS:
            raise ValueError(f"normalise must be one of {', '.join(STATELESS)} to merge, got {self.normalise!r}")
        theirs = other.schema_
        self.schema_.extend(theirs)
        self._make_room()
        other._make_room()
        columns = np.array([self.schema_.find_feature(name) for name in theirs.feature_names], np.int64)
        labels = np.array([self.schema_.find_label(name) for name in theirs.label_names], np.int64)
        self._merge(other, columns, labels)


class StatisticsHead(Head):
    """A head whose state is `ClassStatistics`."""

    def __init__(self, statistics: ClassStatistics, normalise: str) -> None:
        super().__init__(normalise)
        self._statistics = statistics

    def _grow(self, width: int, n_labels: int) -> None:
        self._statistics.grow(width, n_labels)

    def _get_state(self) -> State:
        self._make_room()
        return {**self._statistics.get_state(), **self._normaliser.get_state()}

    def _set_state(self, state: State) -> None:
        self._normaliser.set_state(state)
        self._statistics.set_state(state)

    def _merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self._statistics.merge(other._statistics, columns, labels)


class SolvedHead(StatisticsHead):
    """A head whose scores are linear, with weights solved from the moments as they were frozen.

    Notes
    -----
    Weights are solved when an answer is asked for, from moments that are frozen at event indices which depend on
    nothing but the events (`ClassStatistics`): with every birth of a class, as soon as an eighth more was learned,
    and at the latest after ``refresh`` vectors. Learning without asking solves nothing. With ``refresh=1`` every
    answer is that of all that was learned before it.
    """

    def __init__(self, normalise: str, refresh: int, *, scatter: str = "full", multilabel: bool = False) -> None:
        if refresh < 1:
            raise ValueError(f"refresh must be at least 1, got {refresh}")
        super().__init__(ClassStatistics(scatter, refresh=refresh, multilabel=multilabel), normalise)
        self.multilabel = multilabel
        self.refresh = refresh
        self._solved: tuple[tuple[int, int], Weights] | None = None

    @abc.abstractmethod
    def _solve(self, moments: Moments) -> Weights:
        """The weights that these moments of at least one class give."""

    def weights(self) -> Weights:
        """The weights solved from everything learned so far; changes nothing."""
        self._make_room()
        return self._solve(self._statistics.present())

    def _frozen_weights(self) -> Weights:
        key = int(self._statistics.counters[FROZEN_AT]), self._statistics.width
        if self._solved is None or self._solved[0] != key:
            moments = self._statistics.frozen()
            empty = Weights(moments.labels, moments.means, moments.n)
            self._solved = key, self._solve(moments) if len(moments.labels) else empty
        return self._solved[1]

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        start = 0
        while start < len(x):
            weights = self._frozen_weights() if answer else None
            stop = self._statistics.learn(x, batch, start, pause=answer) if learn else len(x)
            if weights is not None:
                self._answer(x[start:stop], weights, proba[start:stop], chosen[start:stop])
            start = stop

    def _answer(self, x: Floats, weights: Weights, proba: Floats, chosen: Labels) -> None:
        answer_linear(x, *weights, self.multilabel, proba, chosen)

    def _set_state(self, state: State) -> None:
        super()._set_state(state)
        self._solved = None

    def _merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        super()._merge(other, columns, labels)
        self._solved = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_solved": None}


@njit(cache=True, nogil=True)
def answer_linear(
    x: Floats,
    labels: NDArray[np.int32],
    vectors: Floats,
    offsets: Floats,
    multilabel: bool,
    proba: Floats,
    chosen: NDArray[np.int32],
) -> None:
    """Answer every vector by linear scores, each by itself, so that its neighbours in the batch leave no trace."""
    scores = np.empty(len(labels))
    for i in range(len(x)):
        for k in range(len(labels)):
            scores[k] = offsets[k] + dot(x[i], vectors[k])
        if multilabel:
            to_odds(scores, labels, proba[i])
        else:
            chosen[i] = to_shares(scores, labels, proba[i])


@njit(cache=True, nogil=True)
def to_shares(scores: Floats, labels: NDArray[np.int32], proba: Floats) -> int:
    """Softmax of the scores of the classes ``labels`` into ``proba``; the label of the best, or -1 if there is none.

    Among equals the class that was born first is answered.
    """
    if len(labels) == 0:
        return -1
    best = 0
    for k in range(1, len(labels)):
        if scores[k] > scores[best]:
            best = k
    total = 0.0
    for k in range(len(labels)):
        share = np.exp(scores[k] - scores[best])
        proba[labels[k]] = share
        total += share
    for k in range(len(labels)):
        proba[labels[k]] /= total
    return int(labels[best])


@njit(cache=True, nogil=True)
def choose(proba: Floats, labels: NDArray[np.int32], chosen: NDArray[np.int32]) -> None:
    """The label of the largest share of every event, where classes that only rounding tells apart count as equal.

    Classes that always come together would else be told apart by the order in which features happen to be summed. Among
    equals the class that was born first is answered.
    """
    for i in range(len(proba) if len(labels) else 0):
        largest = 0.0
        for k in range(len(labels)):
            largest = max(largest, proba[i, labels[k]])
        for k in range(len(labels)):
            if proba[i, labels[k]] >= largest * (1 - EQUAL):
                chosen[i] = labels[k]
                break


@njit(cache=True, nogil=True)
def to_odds(scores: Floats, labels: NDArray[np.int32], proba: Floats) -> None:
    """The logistic function of the scores of ``labels`` into ``proba``."""
    for k in range(len(labels)):
        proba[labels[k]] = 1 / (1 + np.exp(-scores[k]))


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def dot(a: Floats, b: Floats) -> float:
    """Inner product; its order of summation is the same for every pair of one length."""
    total = 0.0
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def distance(a: Floats, b: Floats, precision: Floats) -> float:
    """Squared distance in which column j counts ``precision[j]`` times."""
    total = 0.0
    for j in range(len(a)):
        total += (a[j] - b[j]) ** 2 * precision[j]
    return total
