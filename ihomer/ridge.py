"""Ridge regression of every label on the inputs, by recursive least squares with one inverse for all labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Events, read_targets
from streams.batch import UNLABELLED, Rows

WIDEST = 1024
"""Inputs beyond this many share places with others, with signs, by hashing: time and memory grow with the square."""

_INTERCEPT_VARIANCE = 100.0


class RidgeExpert:
    """Scores that estimate the probability of each label linearly, exactly as a batch ridge with penalty 1 would.

    Notes
    -----
    With k = P x and g = w / (1 + w x.k): W += g k (y - s), P -= g k k', from P = I (100 for the intercept) and W = 0.
    A column of zeros that sees only zeros stays as it is, so a label that is born late has the weights that it would
    have had if known from the start. Where a label is unknown its column is left alone although P moves on; that is
    not quite the ridge solution of its known events. Nothing is forgotten.

    An event costs O(D^2 + D L), D being the inputs, at most ``WIDEST`` + 1. State: 4 (D^2 + D L) bytes; float32 halves
    the traffic, which is what the time goes into.

    References
    ----------
    Haykin, *Adaptive Filter Theory*, 4th edition, 2002, chapter 9 (exponentially weighted recursion with factor 1).
    """

    def __init__(self) -> None:
        self._inverse = np.zeros((0, 0), np.float32)
        self._weights = np.zeros((0, 0), np.float32)
        self._width = self._n_labels = 0

    def run(self, rows: Rows, n_inputs: int, events: Events, learn: bool) -> NDArray[np.float32]:
        """Scores of shape (n, labels), each taken before its event is learned (if ``learn``)."""
        width, n_labels = min(n_inputs, WIDEST + 1), int(events.born[-1])
        self._grow(width, n_labels)
        self._width, self._n_labels = max(width, self._width), n_labels
        scores = np.zeros((len(rows), n_labels), np.float32)
        _ridge(self._inverse, self._weights, width, rows.indptr, rows.indices, rows.data, events, learn, scores)
        return scores

    def _grow(self, width: int, n_labels: int) -> None:
        held, columns = self._weights.shape
        if width > held:
            room = min(max(width, 2 * held), WIDEST + 1)
            inverse = np.eye(room, dtype=np.float32)
            inverse[0, 0] = _INTERCEPT_VARIANCE
            inverse[:held, :held] = self._inverse
            self._inverse = inverse
            self._weights = np.concatenate([self._weights, np.zeros((room - held, columns), np.float32)])
        if n_labels > columns:
            # Rows are kept a multiple of eight wide, so that each starts on a register's border.
            room = -(-max(n_labels, columns + columns // 2) // 8) * 8
            wider = np.zeros((len(self._weights), room), np.float32)
            wider[:, :columns] = self._weights
            self._weights = wider

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The inverse and the weights."""
        inverse = self._inverse[: self._width, : self._width].copy()
        return {"inverse": inverse, "weights": self._weights[: self._width, : self._n_labels].copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._inverse, self._weights = state["inverse"].copy(), state["weights"].copy()
        self._width, self._n_labels = self._weights.shape


@njit(cache=True, nogil=True)
def _ridge(inverse, weights, width, start, indices, values, events, learn, scores):
    n_labels = scores.shape[1]
    x = np.zeros(width, np.float32)
    k = np.zeros(width, np.float32)
    error = np.zeros(n_labels, np.float32)
    target = np.zeros(n_labels, np.float32)
    place = np.zeros(width, np.int64)
    for i in range(scores.shape[0]):
        used = 0
        for cell in range(start[i], start[i + 1]):
            at, value = np.int64(indices[cell]), values[cell]
            if at > WIDEST:
                mixed = at * 0x3C6EF373
                mixed ^= mixed >> 15
                if mixed & 1:
                    value = -value
                at = 1 + (mixed >> 1) % WIDEST
            if x[at] == 0:
                place[used] = at
                used += 1
            x[at] += value
            if x[at] == 0:
                # Two that cancel: a trace too small to matter keeps the place listed once.
                x[at] = np.float32(1e-20)
        score = scores[i]
        for j in range(used):
            value, row = x[place[j]], weights[place[j]]
            for label in range(n_labels):
                score[label] += value * row[label]
        if learn and events.state[i] != UNLABELLED:
            k[:] = 0.0
            for j in range(used):
                value, row = x[place[j]], inverse[place[j]]
                for column in range(width):
                    k[column] += value * row[column]
            length = np.float32(0.0)
            for j in range(used):
                length += x[place[j]] * k[place[j]]
            weight = np.float32(events.weight[i])
            gain = weight / (np.float32(1.0) + weight * max(length, np.float32(0.0)))
            read_targets(events, i, n_labels, target)
            for label in range(n_labels):
                error[label] = np.float32(0.0) if np.isnan(target[label]) else target[label] - score[label]
            for column in range(width):
                step = gain * k[column]
                if step == 0:
                    continue
                row = weights[column]
                for label in range(n_labels):
                    row[label] += step * error[label]
                row = inverse[column]
                for other in range(width):
                    row[other] -= step * k[other]
        for j in range(used):
            x[place[j]] = 0.0
        # What is not born yet has no score.
        score[events.born[i] :] = 0.0
