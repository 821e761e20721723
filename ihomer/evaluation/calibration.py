"""How far probabilities can be believed, and where each label's threshold should have been: one histogram a label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.evaluation.arguments import DENSE_PROBA, NO_PROBA, Arguments
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction

N_STEPS = 100
"""Steps of probability that cells are counted in; a threshold can stand at the foot of each but the first."""

N_BINS = 20
"""Bins of the calibration curve, of ``N_STEPS / N_BINS`` steps each."""

_BIN = np.dtype([("total", np.float64), ("cells", np.int64, (2, N_STEPS // N_BINS))])
"""The cells of a label in one bin: the sum of their probabilities, and their number by absence, presence and step. Both
side by side, as of many labels each lies in another line of the processor's cache."""

_CELL = np.dtype([("p", np.float64), ("place", np.int64)])
"""Room for the absent cells of one event."""

_FEWEST_LABELS = 16


class Calibration:
    """Cells (events × labels) counted by probability, label and truth.

    Parameters
    ----------
    most_labels
        Labels with a histogram of their own, at least 1: those of the lowest numbers, which is to say, the first ones
        of the schema. All other labels share one, so that what is told of all labels together stays exact.

    Raises
    ------
    ValueError
        ``most_labels`` is out of its range.

    Notes
    -----
    Cells with a known truth in events that come with probabilities are counted. A label without a given probability
    has probability 0; completely labelled events know every label, those that are met only later included. In partly
    labelled events the known cells are counted. The learner's own decisions play no part.

    The calibration curve has 20 bins of equal width; the lower edge of a bin belongs to it, and 1 to the last. Of each
    it tells the number of cells, their mean probability and the share of them in which the label was present. The
    expected calibration error is the mean over cells of how far the latter two lie apart in the cell's bin. It is
    small for rare labels that are always given small probabilities: compare it with the Brier score.

    Thresholds go from 0.01 to 0.99 in steps of 0.01; at threshold t a label is answered where p ≥ t. The best one of a
    label is that of the greatest F1 over the whole stream, the nearest to one half where several are (the lower of two
    that are equally near). It is known only afterwards: what it reached is what a better threshold could have
    *gained*, not what one chosen in time would have.

    An update costs O(probabilities above 0 + true labels) per completely labelled event, and O(known cells) per partly
    labelled one. Memory: 1,776 bytes a label up to ``most_labels``. What is counted does not depend on how the stream
    is cut into batches, bit for bit.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: "On calibration of modern neural networks", ICML 2017 (equations 2 and 3, with
    the probability of presence in place of the confidence, so that the curve spans all of [0, 1]).

    Examples
    --------
    >>> import numpy as np
    >>> from streams.batch import Batch, Prediction, Rows
    >>> truth = Batch.from_arrays(np.zeros((4, 1)), np.array([[0], [1], [1], [0]]))
    >>> calibration = Calibration()
    >>> calibration.update(truth, Prediction(Rows.empty(4), np.array([[0.1], [0.4], [0.4], [0.3]], np.float32)))
    >>> thresholds = calibration.thresholds(n_labels=1)
    >>> float(thresholds["f1_at_half"][0]), float(thresholds["threshold"][0]), float(thresholds["f1_at_threshold"][0])
    (0.0, 0.4, 1.0)
    """

    def __init__(self, most_labels: int = 1000) -> None:
        if most_labels < 1:
            raise ValueError(f"most_labels must be at least 1, got {most_labels}")
        self.most_labels = most_labels
        self._n_events = np.zeros(1, np.int64)
        self._labels = np.zeros((0, N_BINS), _BIN)
        self._low, self._n_partial = np.zeros(0), np.zeros(0, np.int64)
        """Absent labels of completely labelled events with a probability below the first step are the rule. They are
        not counted, their number follows from that of the events; what it takes, by label: the sum of their
        probabilities, and how many of the cells counted were of partly labelled events."""
        self._grow(_FEWEST_LABELS)
        self._event = np.zeros(0, _CELL)

    @property
    def n_complete(self) -> int:
        """Completely labelled events with probabilities."""
        return int(self._n_events[0])

    def update(self, batch: Batch, prediction: Prediction) -> None:
        """Count the cells of the events of ``batch``, both numbering labels alike.

        Raises
        ------
        ValueError
            The numbers of events and answers differ, a part of ``batch`` or ``prediction`` is missing, or a probability
            is not in [0, 1]. Nothing has been counted then.
        """
        events = Arguments.of(batch, prediction)
        events.refuse_wrong_probabilities()
        self.count(events)

    def count(self, events: Arguments) -> None:
        """What ``update`` does, of a batch that has been taken apart and looked at already."""
        kind, dense, _, listed, _ = events.probabilities
        if kind == NO_PROBA:
            return
        numbers = (events.true[1], events.known[1], listed)
        n_labels = max(dense.shape[1], *(1 + int(labels.max(initial=-1)) for labels in numbers))
        n_rows = min(n_labels, self.most_labels + 1)
        if n_rows > len(self._labels):
            self._grow(2 * n_rows)
        if n_labels > len(self._event):
            self._event = np.zeros(2 * n_labels, _CELL)
        _count_batch(
            self._labels, self._low, self._n_partial, self._n_events, self._event, self.most_labels, events.state,
            *events.true, *events.known, *events.probabilities,
        )  # fmt: skip

    def _grow(self, n_rows: int) -> None:
        n_rows = min(max(n_rows, len(self._labels)), self.most_labels + 1)
        self._labels, self._low = _grown(self._labels, n_rows), _grown(self._low, n_rows)
        self._n_partial = _grown(self._n_partial, n_rows)

    def curve(self, n_labels: int) -> dict[str, Any]:
        """The calibration of all ``n_labels`` labels that the schema holds, together: ``n_cells``, ``ece`` (NaN without
        cells) and, an entry a bin that is not empty, ``low``, ``high``, ``n``, ``mean_probability`` and
        ``share_present``."""
        cells, totals = self._tables(n_labels)
        return _curve(cells.sum(0), totals.sum(0))

    def curves(self, n_labels: int, labels: Iterable[int]) -> list[dict[str, Any]]:
        """As `curve`, of each of these label numbers, which must be below ``most_labels``."""
        cells, totals = self._tables(n_labels)
        return [_curve(cells[label], totals[label]) for label in labels]

    def errors(self, n_labels: int) -> NDArray[np.float64]:
        """The calibration error of each label that has a histogram, NaN without cells."""
        cells, totals = self._tables(n_labels)
        gaps = np.abs(totals - _by_bin(cells)[:, 1]).sum(1)[: self.most_labels]
        n = cells.sum((1, 2))[: self.most_labels]
        errors = np.full(len(n), math.nan)
        np.divide(gaps, n, out=errors, where=n > 0)
        return errors

    def thresholds(self, n_labels: int) -> dict[str, NDArray[np.float64]]:
        """An entry a label that has a histogram: ``f1_at_half``, had it been answered from probability 0.5 on;
        ``threshold``, the best one; ``f1_at_threshold``, what it would have reached. The last two are NaN where no
        threshold would have found the label once."""
        f1 = self.by_threshold(n_labels)["f1"]
        steps = np.arange(1, N_STEPS)
        nearest = np.argsort(np.abs(2 * steps - N_STEPS), kind="stable")
        best = nearest[f1[:, nearest].argmax(1)]
        reached = f1[np.arange(len(f1)), best]
        never = reached == 0
        return {
            "f1_at_half": f1[:, N_STEPS // 2 - 1],
            "threshold": np.where(never, math.nan, steps[best] / N_STEPS),
            "f1_at_threshold": np.where(never, math.nan, reached),
        }

    def by_threshold(self, n_labels: int) -> dict[str, NDArray[np.float64]]:
        """``precision``, ``recall`` and ``f1`` (0 for 0/0) of each label that has a histogram, at the thresholds 0.01,
        0.02, …, 0.99: shape (labels, 99)."""
        cells = self._tables(n_labels)[0][: self.most_labels].astype(np.float64)
        alarms, hits = np.moveaxis(cells[:, :, ::-1].cumsum(2)[:, :, -2::-1], 1, 0)
        support = cells[:, 1].sum(1, keepdims=True)
        ratios = {
            "precision": (hits, hits + alarms),
            "recall": (hits, support),
            "f1": (2 * hits, hits + alarms + support),
        }
        return {
            name: np.divide(part, whole, out=np.zeros_like(part), where=np.broadcast_to(whole, part.shape) > 0)
            for name, (part, whole) in ratios.items()
        }

    def _tables(self, n_labels: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Cells by label, truth and step, the absent ones of probability 0 that were never touched included, and sums
        of probability by label and bin. The last of more than ``most_labels`` rows is that of all other labels."""
        least = self._n_rows()
        if n_labels < least:
            raise ValueError(f"n_labels must be at least {least}, for the labels counted, got {n_labels}")
        n_rows = min(n_labels, self.most_labels + 1)
        labels = _grown(self._labels[:n_rows], n_rows)
        cells = np.moveaxis(labels["cells"], 2, 1).reshape(n_rows, 2, N_STEPS)
        totals = np.ascontiguousarray(labels["total"])
        n_events = np.full(n_rows, self._n_events[0])
        n_events[self.most_labels :] *= n_labels - self.most_labels
        cells[:, 0, 0] += n_events - (cells.sum((1, 2)) - _grown(self._n_partial[:n_rows], n_rows))
        totals[:, 0] += _grown(self._low[:n_rows], n_rows)
        return cells, totals

    def _n_rows(self) -> int:
        """One more than the last row with anything in it."""
        filled = (self._low > 0) | self._labels["cells"].any((1, 2, 3))
        return int(np.flatnonzero(filled).max(initial=-1)) + 1

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything counted, as copies; ``set_state`` with the same ``most_labels`` goes on bit for bit."""
        n_rows = self._n_rows()
        by_label = {"labels": self._labels, "low": self._low, "n_partial": self._n_partial}
        return {"n_events": self._n_events.copy(), **{name: array[:n_rows].copy() for name, array in by_label.items()}}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a calibration with the same parameter gave."""
        self._n_events = state["n_events"].copy()
        self._labels, self._low, self._n_partial = state["labels"], state["low"], state["n_partial"]
        self._grow(_FEWEST_LABELS)

    @property
    def nbytes(self) -> int:
        """Bytes held, spare rows included."""
        return sum(array.nbytes for array in (self._n_events, self._labels, self._low, self._n_partial, self._event))


def _grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    """A copy with zeros appended up to ``length``."""
    grown = np.zeros((length, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _by_bin(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cells by truth and bin, from cells by truth and step in the last two dimensions."""
    by_bin: NDArray[np.int64] = cells.reshape(*cells.shape[:-1], N_BINS, N_STEPS // N_BINS).sum(-1)
    return by_bin


def _curve(cells: NDArray[np.int64], totals: NDArray[np.float64]) -> dict[str, Any]:
    """The calibration of cells by truth and step, and of the sums of their probabilities by bin."""
    by_bin = _by_bin(cells)
    n = by_bin.sum(0)
    held = np.flatnonzero(n)
    n, present, total = n[held], by_bin[1, held], totals[held]
    n_cells = int(n.sum())
    return {
        "n_cells": n_cells,
        "ece": float(np.abs(total - present).sum() / n_cells) if n_cells else math.nan,
        "low": (held / N_BINS).tolist(),
        "high": ((held + 1) / N_BINS).tolist(),
        "n": n.tolist(),
        "mean_probability": (total / n).tolist(),
        "share_present": (present / n).tolist(),
    }


@njit(cache=True, nogil=True)
def _count_batch(
    labels: NDArray[Any],
    low: NDArray[np.float64],
    n_partial: NDArray[np.int64],
    n_events: NDArray[np.int64],
    event: NDArray[Any],
    most_labels: int,
    state: NDArray[np.uint8],
    y_indptr: NDArray[np.int64],
    y: NDArray[np.int32],
    known_indptr: NDArray[np.int64],
    known: NDArray[np.int32],
    kind: int,
    dense: NDArray[np.float32],
    listed_indptr: NDArray[np.int64],
    listed: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None:
    """Count the cells of all events; ``event`` is room for the probabilities of one."""
    is_dense = kind == DENSE_PROBA
    for i in range(len(state)):
        if state[i] == UNLABELLED:
            continue
        at, last = (0, dense.shape[1]) if is_dense else (listed_indptr[i], listed_indptr[i + 1])
        row = dense[i] if is_dense else values
        true = y[y_indptr[i] : y_indptr[i + 1]]
        if state[i] == COMPLETE:
            n_events[0] += 1
            absent = event[: last - at]
            absent["p"][:] = row[at:last]
            first = at
            for label in true:
                at = _place(is_dense, listed, at, last, label)
                p = 0.0
                if _is_at(is_dense, listed, at, last, label):
                    p = np.float64(row[at])
                    absent["p"][at - first] = 0.0
                _count(labels, min(label, most_labels), 1, p)
            _count_absent(labels, low, absent, most_labels, is_dense, listed[first:last])
            continue
        t = 0
        for label in known[known_indptr[i] : known_indptr[i + 1]]:
            while t < len(true) and true[t] < label:
                t += 1
            truth = 1 if t < len(true) and true[t] == label else 0
            at = _place(is_dense, listed, at, last, label)
            p = np.float64(row[at]) if _is_at(is_dense, listed, at, last, label) else 0.0
            _count(labels, min(label, most_labels), truth, p)
            n_partial[min(label, most_labels)] += 1


@njit(cache=True, nogil=True)
def _place(is_dense: bool, listed: NDArray[np.int32], at: int, last: int, label: int) -> int:
    """The first place from ``at`` on whose label is not below ``label``."""
    if is_dense:
        return max(at, min(label, last))
    while at < last and listed[at] < label:
        at += 1
    return at


@njit(cache=True, nogil=True)
def _is_at(is_dense: bool, listed: NDArray[np.int32], place: int, last: int, label: int) -> bool:
    """Whether a place that `_place` found is that of the label."""
    return bool(place < last and (is_dense or listed[place] == label))


@njit(cache=True, nogil=True)
def _count_absent(
    labels: NDArray[Any],
    low: NDArray[np.float64],
    absent: NDArray[Any],
    most_labels: int,
    is_dense: bool,
    listed: NDArray[np.int32],
) -> None:
    """Count the cells of the labels that are absent from a completely labelled event."""
    # Two loops without a branch, for the many small probabilities, and one over what they leave: twice as fast with
    # 374 labels as one loop.
    n_found = 0
    for place in range(len(absent)):
        absent["place"][n_found] = place
        n_found += int(absent["p"][place] * N_STEPS >= 1.0)
    for place in range(len(absent)):
        p = absent["p"][place]
        low[min(place if is_dense else int(listed[place]), most_labels)] += p if p * N_STEPS < 1.0 else 0.0
    for k in range(n_found):
        place = absent["place"][k]
        label = place if is_dense else int(listed[place])
        _count(labels, min(label, most_labels), 0, absent["p"][place])


@njit(cache=True, nogil=True)
def _count(labels: NDArray[Any], row: int, truth: int, p: float) -> None:
    """Count one cell of a label."""
    # The product of a float32 and a number of seven bits is exact as a float64: no cell falls on the wrong side.
    step = min(int(p * N_STEPS), N_STEPS - 1)
    in_bin = step // (N_STEPS // N_BINS)
    labels["total"][row, in_bin] += p
    labels["cells"][row, in_bin, truth, step - in_bin * (N_STEPS // N_BINS)] += 1
