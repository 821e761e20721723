"""Metrics of streams in which every event has exactly one class: accuracy, and kappas against chance and habit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.evaluation.arguments import DENSE_PROBA, NO_PROBA, Arguments
from ihomer.evaluation.scopes import Scopes, add, faded, next_row
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction

_PAST = np.dtype([("open", np.bool_), ("last", np.int64), ("majority", np.int64)])
"""Whether every event so far had one class; the class of the last event and the most frequent one, -1 for none."""

_WIDTH, _REMEMBERED = 4, 2
_EVENT, _RIGHT, _REPEATED, _FREQUENT, _CLASS, _ANSWER = range(_WIDTH + _REMEMBERED)
"""What the log keeps of an event: 1; whether it was answered rightly, had the class of the event before, and the class
most frequent before; and, not summed, its class and the answer, -1 for none."""

_FEWEST_CLASSES = 16


class SingleLabelMetrics:
    """Accuracy, Cohen's kappa, kappa-temporal and kappa-M, where every scored event has exactly one class.

    Parameters
    ----------
    window
        Number of scored events in the sliding window, at least 1.
    fading
        In [0.01, 1]. An event scored k events ago weighs ``fading ** k`` in the faded metrics.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    A stream whose schema holds several labels has one class an event if exactly one label is present in each. In a
    stream whose schema holds *one* label the classes are its absence and its presence. Which of both it is, is asked
    when the metrics are read. With the first scored event that is partly labelled, or has another number of labels,
    there are no such metrics of the stream any more and every dictionary is empty, as it is before the first event.
    Events without known labels are not scored.

    Of several labels the answer is the predicted one if it is one alone, else the most probable one (the lower label
    number where it is equal), else, where no probability is above 0, none, which is always wrong. Of one label the
    answer is whether it was predicted. With p the share of right answers,

    * ``accuracy``: p.
    * ``kappa``: (p - q) / (1 - q), with q = sum over classes of their share of the events times their share of the
      answers.
    * ``kappa_temporal``: the same, with q the share of events whose class was that of the event before, which is what
      the no-change classifier answers.
    * ``kappa_m``: the same, with q the share of events whose class had been the most frequent one of all events before
      (the lower label number, or absence, where it is equal), which is what the majority classifier answers.

    The first event has neither a class before it nor a most frequent one: both are wrong there. ``kappa`` is 0 where
    q = 1, as then all events and answers are of one class; the others are NaN where q = 1. The window and the faded
    metrics count right answers of the three within them, but what was most frequent is always since the start.

    An update costs O(1) per event, plus O(probabilities given) where the predicted set is not one label. Memory: 64
    bytes a class, and 96 bytes an event of the window. The metrics do not depend on how the stream is cut into
    batches, bit for bit.

    References
    ----------
    Cohen: "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20(1), 1960.
    Bifet, de Francisci Morales, Read, Holmes, Pfahringer: "Efficient online evaluation of big data stream classifiers",
    KDD 2015 (kappa-M).
    Žliobaitė, Bifet, Read, Pfahringer, Holmes: "Evaluation methods and decision theory for classification of streaming
    data with temporal dependence", Machine Learning 98, 2015 (kappa-temporal, there "kappa-per").

    Examples
    --------
    >>> import numpy as np
    >>> from streams.batch import Batch, Prediction, Rows
    >>> truth = Batch.from_arrays(np.zeros((4, 1)), np.array([[1, 0], [1, 0], [0, 1], [0, 1]]))
    >>> metrics = SingleLabelMetrics()
    >>> metrics.update(truth, Prediction(Rows.from_lists([[0], [0], [0], [1]])))
    >>> metrics.cumulative(n_labels=2)
    {'accuracy': 0.75, 'kappa': 0.5, 'kappa_temporal': 0.5, 'kappa_m': 0.6666666666666666}
    """

    def __init__(self, window: int = 1000, fading: float = 0.999) -> None:
        self._which = _Reading(window, fading)
        self._whether = _Reading(window, fading)

    def update(self, batch: Batch, prediction: Prediction) -> None:
        """Score the answers to the events of ``batch``, both numbering labels alike.

        Raises
        ------
        ValueError
            The numbers of events and answers differ, a part of ``batch`` or ``prediction`` is missing, or a probability
            is not in [0, 1]. Nothing has been scored then.
        """
        events = Arguments.of(batch, prediction)
        events.refuse_wrong_probabilities()
        self.count(events)

    def count(self, events: Arguments) -> None:
        """What ``update`` does, of a batch that has been taken apart and looked at already."""
        self._which.count(events, binary=False)
        self._whether.count(events, binary=True)

    def cumulative(self, n_labels: int) -> dict[str, float]:
        """Metrics since the first event, for a schema that holds ``n_labels`` labels."""
        return self._read(n_labels).scores(0, max(2, n_labels))

    def faded(self, n_labels: int) -> dict[str, float]:
        """Metrics in which an event k events ago weighs ``fading ** k``."""
        return self._read(n_labels).scores(1, max(2, n_labels))

    def windowed(self, n_labels: int) -> dict[str, float]:
        """Metrics over the last ``window`` scored events."""
        return self._read(n_labels).windowed(max(2, n_labels))

    def _read(self, n_labels: int) -> _Reading:
        return self._whether if n_labels == 1 else self._which

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything counted, as copies; ``set_state`` on metrics with the same parameters goes on bit for bit."""
        parts = {"which": self._which.get_state(), "whether": self._whether.get_state()}
        return {f"{part}.{name}": array for part, state in parts.items() for name, array in state.items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of metrics with the same parameters gave."""
        for part, reading in (("which", self._which), ("whether", self._whether)):
            start = f"{part}."
            reading.set_state({name[len(start) :]: a for name, a in state.items() if name.startswith(start)})

    @property
    def nbytes(self) -> int:
        """Bytes held, spare rows included."""
        return self._which.nbytes + self._whether.nbytes


class _Reading:
    """One way to see a class in each event: which label is present or, of one label, whether it is."""

    def __init__(self, window: int, fading: float) -> None:
        self._scopes = Scopes(_WIDTH, window, fading, remembered=_REMEMBERED)
        self._past = np.array([(True, -1, -1)], _PAST)
        self._classes = np.zeros((_FEWEST_CLASSES, 2, 2))
        """By class and scope (all, faded): events and answers of the class."""

    def count(self, events: Arguments, *, binary: bool) -> None:
        if not self._past["open"][0]:
            return
        scopes, done = self._scopes, 0
        while True:
            done = _count_batch(
                scopes.tally, scopes.sums, scopes.log, scopes.window, scopes.fading, self._past, self._classes, binary,
                done, events.state, *events.true, *events.predicted, *events.probabilities,
            )  # fmt: skip
            if done == events.n:
                return
            scopes.make_room()
            _, dense, _, listed, _ = events.probabilities
            numbers = (events.true[1], events.predicted[1], listed)
            n_classes = max(dense.shape[1], *(1 + int(labels.max(initial=-1)) for labels in numbers))
            if n_classes > len(self._classes):
                self._classes = _grown(self._classes, 2 * n_classes)

    def scores(self, scope: int, n_classes: int) -> dict[str, float]:
        if not self._holds(n_classes):
            return {}
        return _scores(self._scopes.sums[scope], self._classes[:n_classes, scope])

    def windowed(self, n_classes: int) -> dict[str, float]:
        if not self._holds(n_classes):
            return {}
        log = self._scopes.last()
        found = [log[:, column].astype(np.int64) for column in (_CLASS, _ANSWER)]
        classes = np.stack([np.bincount(of[of >= 0], minlength=n_classes) for of in found], 1)
        return _scores(self._scopes.window_sums(), classes.astype(np.float64))

    def _holds(self, n_classes: int) -> bool:
        """Whether there is anything to tell."""
        if not self._past["open"][0] or not self._scopes.tally["n"][0]:
            return False
        least = self._n_classes()
        if n_classes < least:
            raise ValueError(f"n_labels must be at least {least}, for the classes met or answered, got {n_classes}")
        return True

    def _n_classes(self) -> int:
        """One more than the last class that was ever met or answered."""
        return int(np.flatnonzero(self._classes[:, 0].any(1)).max(initial=-1)) + 1

    def get_state(self) -> dict[str, NDArray[Any]]:
        classes = self._classes[: self._n_classes()].copy()
        return {**self._scopes.get_state(), "past": self._past.copy(), "classes": classes}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._scopes.set_state(state)
        self._past = state["past"].copy()
        self._classes = _grown(state["classes"], _FEWEST_CLASSES)

    @property
    def nbytes(self) -> int:
        return self._scopes.nbytes + self._past.nbytes + self._classes.nbytes


def _grown(classes: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    grown = np.zeros((max(length, len(classes)), *classes.shape[1:]))
    grown[: len(classes)] = classes
    return grown


def _scores(sums: NDArray[np.float64], classes: NDArray[np.float64]) -> dict[str, float]:
    """The metrics of a scope, of its sums and the events and answers of each class."""
    n = sums[_EVENT]
    right = float(sums[_RIGHT] / n)
    # Summed exactly, since numpy's order of summation depends on how many classes there are.
    by_chance = math.fsum((classes[:, 0] / n) * (classes[:, 1] / n))
    return {
        "accuracy": right,
        "kappa": _above(right, by_chance) if by_chance < 1 else 0.0,
        "kappa_temporal": _above(right, float(sums[_REPEATED] / n)),
        "kappa_m": _above(right, float(sums[_FREQUENT] / n)),
    }


def _above(right: float, reference: float) -> float:
    """What share of a reference's wrong answers are right here; NaN where it is never wrong."""
    return (right - reference) / (1 - reference) if reference < 1 else math.nan


@njit(cache=True, nogil=True)
def _count_batch(
    tally: NDArray[Any],
    sums: NDArray[np.float64],
    log: NDArray[np.float64],
    window: int,
    fading: float,
    past: NDArray[Any],
    classes: NDArray[np.float64],
    binary: bool,
    start: int,
    state: NDArray[np.uint8],
    y_indptr: NDArray[np.int64],
    y: NDArray[np.int32],
    z_indptr: NDArray[np.int64],
    z: NDArray[np.int32],
    kind: int,
    dense: NDArray[np.float32],
    listed_indptr: NDArray[np.int64],
    listed: NDArray[np.int32],
    values: NDArray[np.float32],
) -> int:
    """Score the events from ``start`` on; the number of events, or of the first one that there is no room for. An event
    of another kind closes the past."""
    n = len(state)
    for i in range(start, n):
        if state[i] == UNLABELLED:
            continue
        a, b = y_indptr[i], z_indptr[i]
        n_true, n_predicted = y_indptr[i + 1] - a, z_indptr[i + 1] - b
        fits = n_true == 1 or (binary and n_true == 0)
        if state[i] != COMPLETE or not fits or (binary and n_true == 1 and y[a] != 0):
            past["open"][0] = False
            return n
        row = next_row(tally, log, window)
        if row < 0:
            return i
        if binary:
            true = int(n_true)
            answer = 1 if n_predicted > 0 and z[b] == 0 else 0
        else:
            true = int(y[a])
            answer = int(z[b]) if n_predicted == 1 else -1
            if n_predicted != 1 and kind != NO_PROBA:
                is_dense = kind == DENSE_PROBA
                first, last = (0, dense.shape[1]) if is_dense else (listed_indptr[i], listed_indptr[i + 1])
                answer = _most_probable(is_dense, first, last, dense[i] if is_dense else values, listed)
        if max(true, answer) >= len(classes):
            return i
        log[row, _EVENT] = 1.0
        log[row, _RIGHT] = true == answer
        log[row, _REPEATED] = true == past["last"][0]
        log[row, _FREQUENT] = true == past["majority"][0]
        log[row, _CLASS] = true
        log[row, _ANSWER] = answer
        for scope in range(2):
            weight = 1.0 if scope == 0 else tally["scale"][0]
            classes[true, scope, 0] += weight
            if answer >= 0:
                classes[answer, scope, 1] += weight
        if add(tally, sums, log, fading, row):
            for c in range(len(classes)):
                for j in range(2):
                    classes[c, 1, j] = faded(classes[c, 1, j])
        past["last"][0] = true
        most, majority = -1.0, past["majority"][0]
        if majority >= 0:
            most = classes[majority, 0, 0]
        if classes[true, 0, 0] > most or (classes[true, 0, 0] == most and true < majority):
            past["majority"][0] = true
    return n


@njit(cache=True, nogil=True)
def _most_probable(is_dense: bool, first: int, last: int, row: NDArray[np.float32], listed: NDArray[np.int32]) -> int:
    """The first label of the greatest probability above 0, or -1 for none."""
    answer, most = -1, np.float32(0.0)
    for c in range(first, last):
        p = row[c]
        if p > most:
            most = p
            answer = c if is_dense else listed[c]
    return answer
