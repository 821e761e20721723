"""Ridge regression of every label on the inputs, by recursive least squares with one inverse for all labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from ihomer.fetching import fetch
from learners.base import with_room
from streams.batch import Rows

WIDEST = 1024
"""Inputs beyond this many share places with others, with signs, by hashing: time and memory grow with the square."""

HELD_BACK = 16
"""Steps of the inverse that are folded into it at once: one pass over it in place of so many."""

LANES = 8
"""Sums over places are kept in so many parts, and arrays are a multiple of it wide, so that room changes no sum."""

_INTERCEPT_VARIANCE = 100.0

_AHEAD, _ASKED = 4, 64
"""Cells after which the sums of a label are needed that memory is asked for, and how many of them: the rest follow."""


class RidgeExpert:
    """Scores that estimate the probability of each label linearly, exactly as a batch ridge with penalty 1 would.

    Notes
    -----
    With P the inverse of I (1 / 100 for the intercept) plus the sum of w x x' over the events learned, and C_l the sum
    of w x over those that have label l, the score is (P x).C_l. A label that is absent costs nothing, one that is born
    late has the score that it would have had if known from the start. Where a label is unknown it counts as present by
    its own score, which leaves its weights P C_l as they are. Nothing is forgotten.

    P moves by -g k k' with k = P x and g = w / (1 + w x.k); ``HELD_BACK`` such steps wait beside it and take part in
    every product. All is float64, since an error of rounding in P is multiplied by C, which grows with the stream.

    An event costs O(D^2 + D m), D being the inputs, at most ``WIDEST`` + 1, and m its cells. State: 8 (D^2 + D L)
    bytes for L labels.

    References
    ----------
    Haykin, *Adaptive Filter Theory*, 4th edition, 2002, chapter 9 (exponentially weighted recursion with factor 1).
    """

    def __init__(self) -> None:
        self._inverse, self._waiting = np.zeros((0, 0)), np.zeros((HELD_BACK, 0))
        self._gains, self._n_waiting = np.zeros(HELD_BACK), np.zeros(1, np.int64)
        self._sums = np.zeros((0, 0))
        self._width = self._n_labels = 0

    def run(self, rows: Rows, n_inputs: int, events: Events, cells: Cells) -> NDArray[np.float32]:
        """The score of each cell, that of an event taken before it is learned."""
        scores = np.empty(len(cells.label), np.float32)
        arrays = self.arrays(n_inputs, int(events.born[-1]))
        assert rows.data is not None
        ridge_scores(arrays, rows.indptr, rows.indices, rows.data, events, cells, scores)
        return scores

    def arrays(self, n_inputs: int, n_labels: int) -> tuple[Any, ...]:
        """What is learned, with room for so many inputs and labels, as the kernel takes it."""
        self._grow(max(min(n_inputs, WIDEST + 1), self._width), n_labels)
        return self._inverse, self._waiting, self._gains, self._n_waiting, self._sums, self._width

    def _grow(self, width: int, n_labels: int) -> None:
        held = len(self._inverse)
        if width > held:
            room = -(-min(max(width, held + held // 2), WIDEST + 1) // LANES) * LANES
            inverse, waiting = np.eye(room), np.zeros((HELD_BACK, room))
            inverse[0, 0] = _INTERCEPT_VARIANCE
            inverse[:held, :held], waiting[:, :held] = self._inverse, self._waiting
            sums = np.zeros((len(self._sums), room))
            sums[:, :held] = self._sums
            self._inverse, self._waiting, self._sums = inverse, waiting, sums
        self._sums = with_room(self._sums, n_labels)
        self._width, self._n_labels = width, max(n_labels, self._n_labels)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The inverse, the steps that wait, and the sums."""
        w, n = self._width, int(self._n_waiting[0])
        return {
            "inverse": self._inverse[:w, :w].copy(),
            "waiting": self._waiting[:n, :w].copy(),
            "gains": self._gains[:n].copy(),
            "sums": self._sums[: self._n_labels, :w].copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self.__init__()  # type: ignore[misc]
        sums, n = state["sums"], len(state["gains"])
        self._grow(len(state["inverse"]), len(sums))
        w = self._width
        self._inverse[:w, :w], self._waiting[:n, :w] = state["inverse"], state["waiting"]
        self._gains[:n], self._n_waiting[0] = state["gains"], n
        self._sums[: len(sums), :w] = sums


@njit(cache=True, nogil=True)
def _hashed(at, value):
    """Place and value of an input."""
    if at <= WIDEST:
        return at, value
    mixed = at * 0x3C6EF373
    mixed ^= mixed >> 15
    return 1 + (mixed >> 1) % WIDEST, -value if mixed & 1 else value


@njit(cache=True, nogil=True)
def _fold(inverse, waiting, gains, width):
    """Take the steps that wait into the inverse."""
    for at in range(width):
        row = inverse[at]
        for step in range(0, HELD_BACK, 4):
            a, b, c, d = waiting[step], waiting[step + 1], waiting[step + 2], waiting[step + 3]
            of_a, of_b = gains[step] * a[at], gains[step + 1] * b[at]
            of_c, of_d = gains[step + 2] * c[at], gains[step + 3] * d[at]
            for other in range(width):
                row[other] -= ((of_a * a[other] + of_b * b[other]) + of_c * c[other]) + of_d * d[other]


@njit(cache=True, nogil=True)
def _score(k, sums):
    """The product of two rows, summed in fixed parts."""
    a = b = c = d = e = f = g = h = 0.0
    for at in range(0, len(k), LANES):
        a += k[at] * sums[at]
        b += k[at + 1] * sums[at + 1]
        c += k[at + 2] * sums[at + 2]
        d += k[at + 3] * sums[at + 3]
        e += k[at + 4] * sums[at + 4]
        f += k[at + 5] * sums[at + 5]
        g += k[at + 6] * sums[at + 6]
        h += k[at + 7] * sums[at + 7]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@njit(cache=True, nogil=True)
def ridge_scores(
    arrays: tuple[Any, ...],
    start: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    events: Events,
    cells: Cells,
    scores: NDArray[np.float32],
) -> None:
    """Write the scores of `RidgeExpert`; rows are those of ``start``, ``indices`` and ``values``."""
    inverse, waiting, gains, n_waiting, sums, width = arrays
    room = inverse.shape[1]
    x, k = np.zeros(room), np.zeros(room)
    place = np.zeros(width, np.int64)
    for i in range(len(events.state)):
        used = 0
        for cell in range(start[i], start[i + 1]):
            at, value = _hashed(np.int64(indices[cell]), np.float64(values[cell]))
            if x[at] == 0:
                place[used] = at
                used += 1
            x[at] += value
            if x[at] == 0:
                # Two that cancel: a trace too small to matter keeps the place listed once.
                x[at] = 1e-20
        k[:] = 0.0
        for j in range(used):
            value, row = x[place[j]], inverse[place[j]]
            for at in range(width):
                k[at] += value * row[at]
        for step in range(n_waiting[0]):
            row, along = waiting[step], 0.0
            for j in range(used):
                along += x[place[j]] * row[place[j]]
            along *= gains[step]
            for at in range(width):
                k[at] -= along * row[at]
        taught, weight = events.taught[i], events.weight[i]
        for cell in range(cells.start[i], cells.start[i + 1]):
            label, y = cells.label[cell], np.float64(cells.target[cell])
            ahead = sums[cells.label[min(cell + _AHEAD, cells.start[i + 1] - 1)]]
            for at in range(0, min(len(ahead), _ASKED), LANES):
                fetch(ahead, at)
            score = _score(k, sums[label])
            scores[cell] = score
            if not taught or y == 0.0:
                continue
            share = weight * (score if np.isnan(y) else y)
            row = sums[label]
            for j in range(used):
                row[place[j]] += share * x[place[j]]
        if taught:
            length = 0.0
            for j in range(used):
                length += x[place[j]] * k[place[j]]
            waiting[n_waiting[0], :] = k
            gains[n_waiting[0]] = weight / (1.0 + weight * max(length, 0.0))
            n_waiting[0] += 1
            if n_waiting[0] == HELD_BACK:
                _fold(inverse, waiting, gains, width)
                n_waiting[0] = 0
        for j in range(used):
            x[place[j]] = 0.0
