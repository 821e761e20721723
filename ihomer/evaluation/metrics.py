"""Multi-label metrics over a whole stream, its last events and with fading memory, in one pass over each batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.evaluation import counting
from ihomer.evaluation.arguments import Arguments, wrong_probability
from ihomer.evaluation.scopes import check_scopes
from streams.batch import Batch, Prediction

_FEWEST_LABELS, _FEWEST_EVENTS, _FEWEST_CELLS = 16, 256, 1024
"""Rows that the growing arrays begin with."""


class MultiLabelMetrics:
    """Scores of predicted label sets against true ones, for label sets that may grow at any event.

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
    Three scopes share one pass: `cumulative` (since the start), `windowed` (the last ``window`` scored events) and
    `faded`. Events without known labels are not scored. Each scope gives a dictionary of

    * ``subset_accuracy``, ``example_precision``, ``example_recall``, ``example_f1``, ``example_jaccard``: means over
      the completely labelled events. A ratio with an empty denominator is 0; the four with the suffix ``_empty1`` take
      1 where truth and prediction are both empty.
    * ``micro_precision``, ``micro_recall``, ``micro_f1``: from the pooled counts of all known cells, 0 for 0/0.
    * ``macro_precision``, ``macro_recall``, ``macro_f1``: means over all labels, 0 for 0/0, so that a label neither
      seen nor predicted counts 0; ``macro_f1_seen`` is the mean over labels that were present at least once in the
      scope.
    * ``hamming_loss``: share of wrong cells among the known ones. A complete event knows all ``n_labels`` cells,
      including those of labels met only later.
    * ``log_loss``, ``brier``: means over the known cells of events that came with probabilities; absent where there
      were none. Log loss is ``-ln(max(q, 1e-7))``, with q the probability given to the truth; Brier is
      ``(1 - q)²``. A label without a given probability has probability 0, and costs nothing while it is absent.

    A mean over nothing is NaN: no complete event, no known cell, no label. Sample weights play no part.

    An update costs O(true + predicted labels) per event, plus O(probabilities given); nothing depends on the number of
    labels otherwise, save that the faded counts of all labels are rescaled once in ``346 / -ln(fading)`` events; what
    is then below ``1e-200`` of an event's weight is dropped. Reading costs O(labels), and for the window O(its events
    and their labels) more, as it is counted afresh: its sums collect no rounding errors. Memory: 48 bytes a label, and
    32 bytes an event and 4 bytes a true or predicted label for two windows' worth of events.

    The metrics do not depend on how the stream is cut into batches, bit for bit.

    References
    ----------
    Gama, Sebastião, Rodrigues: "On evaluating stream learning algorithms", Machine Learning 90, 2013 (prequential
    evaluation over sliding windows and with fading factors).

    Examples
    --------
    >>> import numpy as np
    >>> from streams.batch import Batch, Prediction, Rows
    >>> truth = Batch.from_arrays(np.zeros((2, 1)), np.array([[1, 1, 0], [0, 0, 1]]))
    >>> metrics = MultiLabelMetrics(window=1)
    >>> metrics.update(truth, Prediction(Rows.from_lists([[0, 1], [1, 2]])))
    >>> scores = metrics.cumulative(n_labels=3)
    >>> scores["subset_accuracy"], round(scores["micro_f1"], 3), metrics.windowed(3)["example_jaccard"]
    (0.5, 0.857, 0.5)
    """

    def __init__(self, window: int = 1000, fading: float = 0.999) -> None:
        check_scopes(window, fading)
        self.window = window
        self.fading = float(fading)
        self._scalars = np.zeros(1, counting.SCALARS)
        self._scalars["scale"] = 1.0
        self._sums = np.zeros((2, counting.N_SUMS))
        self._outcomes = np.zeros((_FEWEST_LABELS, 2, 3))
        self._log = np.zeros(_FEWEST_EVENTS, counting.EVENT)
        self._cells = np.zeros(_FEWEST_CELLS, np.int32)

    @property
    def n_scored(self) -> int:
        """Events scored so far."""
        return int(self._scalars["n_scored"][0])

    def update(self, batch: Batch, prediction: Prediction) -> None:
        """Score the answers to the events of ``batch``, both numbering labels alike.

        Raises
        ------
        ValueError
            The numbers of events and answers differ; a part of ``batch`` or ``prediction`` is missing; or a probability
            is not in [0, 1], and the events before that one have been scored.
        """
        self.count(Arguments.of(batch, prediction))

    def count(self, events: Arguments) -> None:
        """What ``update`` does, of a batch that has been taken apart already."""
        done = 0
        while True:
            done = counting.count_batch(
                self._scalars, self._sums, self._outcomes, self._log, self._cells, self.fading, done, events.state,
                *events.true, *events.known, *events.predicted, *events.probabilities,
            )  # fmt: skip
            if done == events.n:
                return
            if done < 0:
                raise wrong_probability(-1 - done)
            self._make_room(_row(events.true, done), _row(events.predicted, done))

    def add(self, other: MultiLabelMetrics, numbers: NDArray[np.int32]) -> None:
        """Take in what ``other`` has counted since its first event, its label j being ``numbers[j]`` here.

        For partitions of a stream: which events were last over all of them is not defined, so that the window and the
        faded metrics stay as they are.
        """
        n_labels = other._n_labels()
        theirs = numbers[:n_labels]
        self._outcomes = _grown(self._outcomes, 1 + int(theirs.max(initial=-1)))
        self._outcomes[theirs, 0] += other._outcomes[:n_labels, 0]
        self._sums[0] += other._sums[0]
        self._scalars["n_scored"] += other._scalars["n_scored"]

    def cumulative(self, n_labels: int) -> dict[str, float]:
        """Metrics since the first event, over the ``n_labels`` labels that the schema holds."""
        self._check(n_labels)
        return _scores(self._sums[0], _columns(self._outcomes[:, 0], n_labels))

    def faded(self, n_labels: int) -> dict[str, float]:
        """Metrics in which an event k events ago weighs ``fading ** k``."""
        self._check(n_labels)
        return _scores(self._sums[1], _columns(self._outcomes[:, 1], n_labels))

    def windowed(self, n_labels: int) -> dict[str, float]:
        """Metrics over the last ``window`` scored events."""
        self._check(n_labels)
        log, cells = self._last()
        sums, outcomes = np.zeros((1, counting.N_SUMS)), np.zeros((n_labels, 1, 3))
        counting.count_again(log, cells, sums, outcomes)
        return _scores(sums[0], _columns(outcomes[:, 0], n_labels))

    def per_label(self, n_labels: int) -> dict[str, NDArray[Any]]:
        """Since the first event, an entry a label: ``support``, ``predicted`` and ``true_positives`` (int64), and
        ``precision``, ``recall`` and ``f1``, 0 for 0/0."""
        self._check(n_labels)
        outcomes = _columns(self._outcomes[:, 0], n_labels)
        missed, alarms, hits = outcomes.astype(np.int64)
        precision, recall, f1 = counting.ratios(outcomes)
        return {
            "support": hits + missed,
            "predicted": hits + alarms,
            "true_positives": hits,
            "precision": precision,
            "recall": recall,
            "f1": f1,
        }

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything counted, as copies; ``set_state`` on metrics with the same parameters goes on bit for bit."""
        log, cells = self._last()
        scalars = self._scalars.copy()
        scalars["n_log"], scalars["n_cells"] = len(log), len(cells)
        return {
            "scalars": scalars,
            "sums": self._sums.copy(),
            "outcomes": self._outcomes[: self._n_labels()].copy(),
            "log": log.copy(),
            "cells": cells.copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of metrics with the same parameters gave."""
        self._scalars = state["scalars"].copy()
        self._sums = state["sums"].copy()
        self._outcomes = _grown(state["outcomes"], _FEWEST_LABELS)
        self._log = _grown(state["log"], _FEWEST_EVENTS)
        self._cells = _grown(state["cells"], _FEWEST_CELLS)

    @property
    def nbytes(self) -> int:
        """Bytes held, spare rows included."""
        arrays = (self._scalars, self._sums, self._outcomes, self._log, self._cells)
        return sum(array.nbytes for array in arrays)

    def _check(self, n_labels: int) -> None:
        least = self._n_labels()
        if n_labels < least:
            raise ValueError(f"n_labels must be at least {least}, for the labels present or predicted, got {n_labels}")

    def _n_labels(self) -> int:
        """One more than the last label that was ever present or predicted."""
        return int(np.flatnonzero(self._outcomes[:, 0].any(1)).max(initial=-1)) + 1

    def _last(self) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Events in the window and their cells, as views."""
        n_log, n_cells = int(self._scalars["n_log"][0]), int(self._scalars["n_cells"][0])
        log = self._log[max(0, n_log - self.window) : n_log]
        length = int((log["n_true"] + log["n_predicted"] - log["n_hits"]).sum())
        return log, self._cells[n_cells - length : n_cells]

    def _make_room(self, true: NDArray[np.int32], predicted: NDArray[np.int32]) -> None:
        """Let go of events that have left the window, and grow whatever could not take the next one."""
        log, cells = self._last()
        self._log, self._cells = _moved(self._log, log, 1), _moved(self._cells, cells, len(true) + len(predicted))
        self._scalars["n_log"], self._scalars["n_cells"] = len(log), len(cells)
        n_labels = 1 + max(true.max(initial=-1), predicted.max(initial=-1))
        if n_labels > len(self._outcomes):
            self._outcomes = _grown(self._outcomes, 2 * int(n_labels))


def _row(rows: tuple[Any, ...], i: int) -> NDArray[np.int32]:
    """The label numbers of event ``i``."""
    indptr, indices = rows
    labels: NDArray[np.int32] = indices[indptr[i] : indptr[i + 1]]
    return labels


def _grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    """A copy with zeros appended up to ``length``."""
    grown = np.zeros((max(length, len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _moved(array: NDArray[Any], kept: NDArray[Any], n_more: int) -> NDArray[Any]:
    """``array`` with ``kept`` at its start and room for ``n_more``; in twice the memory that is kept, unless a third of
    what there is becomes free."""
    if len(array) >= len(kept) + max(len(kept) // 2, n_more):
        array[: len(kept)] = kept
        return array
    return _grown(kept, 2 * (len(kept) + n_more))


def _columns(outcomes: NDArray[np.float64], n_labels: int) -> NDArray[np.float64]:
    """Misses, false alarms and hits of exactly ``n_labels`` labels, shape (3, n_labels).

    The length never depends on spare rows, since numpy's order of summation does depend on it.
    """
    columns = np.zeros((3, n_labels))
    columns[:, : len(outcomes)] = outcomes[:n_labels].T
    return columns


def _mean(total: float, weight: float) -> float:
    """``total / weight``, NaN where there was nothing to take the mean of."""
    return float(total / weight) if weight > 0 else math.nan


def _scores(sums: NDArray[np.float64], outcomes: NDArray[np.float64]) -> dict[str, float]:
    """The metrics of one scope; every one is a ratio, so that the scale of the sums does not matter."""
    n, n_labels = sums[counting.N_COMPLETE], outcomes.shape[1]
    pooled = outcomes.sum(1, keepdims=True)
    (precision, recall, f1), micro = counting.ratios(outcomes), counting.ratios(pooled)[:, 0]
    seen = outcomes[0] + outcomes[2] > 0
    example = {
        "example_f1": _mean(sums[counting.F1], n),
        "example_precision": _mean(sums[counting.PRECISION], n),
        "example_recall": _mean(sums[counting.RECALL], n),
        "example_jaccard": _mean(sums[counting.JACCARD], n),
    }
    both_empty = _mean(sums[counting.BOTH_EMPTY], n)
    scores = {
        "subset_accuracy": _mean(sums[counting.EXACT], n),
        "hamming_loss": _mean(pooled[0, 0] + pooled[1, 0], n * n_labels + sums[counting.N_PARTIAL_CELLS]),
        "micro_f1": float(micro[2]),
        "micro_precision": float(micro[0]),
        "micro_recall": float(micro[1]),
        "macro_f1": _mean(f1.sum(), n_labels),
        "macro_precision": _mean(precision.sum(), n_labels),
        "macro_recall": _mean(recall.sum(), n_labels),
        "macro_f1_seen": _mean(f1[seen].sum(), seen.sum()),
        **example,
        **{f"{name}_empty1": score + both_empty for name, score in example.items()},
    }
    n_cells = sums[counting.N_COMPLETE_PROBA] * n_labels + sums[counting.N_PARTIAL_PROBA_CELLS]
    if n_cells > 0:
        scores |= {"log_loss": _mean(sums[counting.LOG_LOSS], n_cells), "brier": _mean(sums[counting.BRIER], n_cells)}
    return scores
