"""Sums of what each scored event was worth: since the start, over the last events, and with fading memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

TALLY = np.dtype([("n", np.int64), ("place", np.int64), ("scale", np.float64)])
"""Events added, row of the log where the next one goes, and the weight of the next event in the faded sums."""

_LEAST_FADING = 0.01

RESCALE = 2.0**-500
"""Faded sums are multiplied by this power of two, which rounds nothing, before the weight of an event overflows."""

_FADED_OUT = 1e-200
"""A faded sum below this after rescaling is set to 0, long before it would lose digits as a subnormal number."""

_FEWEST_EVENTS = 64
"""Rows that the log begins with."""


def check_scopes(window: int, fading: float) -> None:
    """Refuse a window or a fading factor that no metric can have."""
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    if not _LEAST_FADING <= fading <= 1:
        raise ValueError(f"fading must be in [{_LEAST_FADING}, 1], got {fading}")


class Scopes:
    """Sums of ``width`` numbers an event in the three scopes of a metric.

    Parameters
    ----------
    width
        Numbers an event that are summed.
    window
        Number of events in the sliding window, at least 1.
    fading
        In [0.01, 1]. An event added k events ago weighs ``fading ** k`` in the faded sums.
    remembered
        Numbers an event that stand behind those in the log of the window and are not summed.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    A kernel asks `next_row` for a row of the log, writes to it what the event is worth, and calls `add`. The faded sums
    have a scale of their own, which no ratio of them depends on. The window is summed afresh when it is read, so that
    it collects no rounding errors.

    Memory: 8 bytes a number and event of the window.
    """

    def __init__(self, width: int, window: int, fading: float, *, remembered: int = 0) -> None:
        check_scopes(window, fading)
        self.window = window
        self.fading = float(fading)
        self.tally = np.zeros(1, TALLY)
        self.tally["scale"] = 1.0
        self.sums = np.zeros((2, width))
        self.log = np.zeros((min(window, _FEWEST_EVENTS), width + remembered))

    def make_room(self) -> None:
        """Double the log where it is full and does not hold a window yet."""
        if len(self.log) < self.window and int(self.tally["place"][0]) == len(self.log):
            self._lengthen(self.log, 2 * len(self.log))

    def _lengthen(self, log: NDArray[np.float64], length: int) -> None:
        self.log = np.zeros((min(self.window, max(length, len(log))), log.shape[1]))
        self.log[: len(log)] = log

    def last(self) -> NDArray[np.float64]:
        """The numbers of the events in the window, the oldest first."""
        return np.concatenate(self._parts())

    def window_sums(self) -> NDArray[np.float64]:
        """Sums over the events in the window."""
        sums = np.zeros(self.sums.shape[1])
        for part in self._parts():
            _add_up(sums, part)
        return sums

    def _parts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The older and the newer rows of the window."""
        n, place = int(self.tally["n"][0]), int(self.tally["place"][0])
        oldest = place % self.window if n >= self.window else 0
        return self.log[oldest : min(n, self.window)], self.log[:oldest]

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything added, as copies."""
        log, tally = self.last(), self.tally.copy()
        tally["place"] = len(log)
        return {"tally": tally, "sums": self.sums.copy(), "log": log}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of scopes with the same parameters gave."""
        self.tally, self.sums = state["tally"].copy(), state["sums"].copy()
        self._lengthen(state["log"], _FEWEST_EVENTS)

    @property
    def nbytes(self) -> int:
        """Bytes held, spare rows included."""
        return self.tally.nbytes + self.sums.nbytes + self.log.nbytes


@njit(cache=True, nogil=True)
def next_row(tally: NDArray[Any], log: NDArray[np.float64], window: int) -> int:
    """The row of the log that the next event is to be written to, or -1 where the log must grow first."""
    place = tally["place"][0]
    if place < len(log):
        return int(place)
    return 0 if len(log) == window else -1


@njit(cache=True, nogil=True)
def add(tally: NDArray[Any], sums: NDArray[np.float64], log: NDArray[np.float64], fading: float, row: int) -> bool:
    """Add the event in a row of the log; whether the faded sums were rescaled by ``RESCALE``, to save the scale."""
    scale = tally["scale"][0]
    for j in range(sums.shape[1]):
        value = log[row, j]
        sums[0, j] += value
        sums[1, j] += scale * value
    tally["n"][0] += 1
    tally["place"][0] = row + 1
    scale /= fading
    rescaled = bool(scale * RESCALE > 1.0)
    if rescaled:
        scale *= RESCALE
        for j in range(sums.shape[1]):
            sums[1, j] = faded(sums[1, j])
    tally["scale"][0] = scale
    return rescaled


@njit(cache=True, nogil=True)
def _add_up(sums: NDArray[np.float64], log: NDArray[np.float64]) -> None:
    for row in range(len(log)):
        for j in range(len(sums)):
            sums[j] += log[row, j]


@njit(cache=True, nogil=True)
def faded(total: float) -> float:
    """A faded sum after rescaling, 0 where hardly anything is left of it."""
    total *= RESCALE
    return total if total >= _FADED_OUT else 0.0
