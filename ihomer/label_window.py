"""The labels of the last events, and what the nearest of them say about the labels of another event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from ihomer.neighbours import Neighbours
from learners.base import with_room
from streams.batch import COMPLETE

RECORD = np.dtype([("start", np.int64), ("n_present", np.int32), ("n_known", np.int32), ("weight", np.float64)])
"""Labels of an event: ``n_present`` ones that it has from ``start`` on, then the ``n_known`` ones of which it is known
whether it has them; -1 where all are known."""

_FEWEST = 6
"""What grows has at least two to the power of this many places, since single events are delayed whenever it grows."""


class LabelWindow:
    """The labels of the last ``size`` taught events, and the votes of neighbours among them.

    Parameters
    ----------
    size
        Events held, at least 1; while a batch is looked at also its own.

    Attributes
    ----------
    records
        `RECORD` of event number e in place e mod ``len(records)``, which is a power of two.
    labels
        Their labels, those that start at s in the places s, s + 1, ... mod ``len(labels)``, also a power of two.

    Raises
    ------
    ValueError
        ``size`` is below 1.

    Notes
    -----
    The vote of neighbours for a label is

        sum of w exp(a (s - s1)) over those that have it / the same sum over those that know it,

    where s is a neighbour's similarity, s1 that of the nearest one, w its weight, and a the sharpness; 0 where nobody
    knows the label. A label that was born after a neighbour was taught is absent there.

    A vote costs the labels of the neighbours and the cells that are asked for, however many labels there are. State: 24
    bytes an event held and 4 bytes a label that it has or, where it is partly labelled, is known of it.

    References
    ----------
    Dudani, "The distance-weighted k-nearest-neighbor rule", IEEE Transactions on Systems, Man, and Cybernetics 6(4),
    1976: near neighbours have more say. The exponential weights are those of a Gaussian kernel on the unit sphere.
    """

    def __init__(self, size: int = 4000) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.records = np.zeros(1, RECORD)
        self.labels = np.zeros(1, np.int32)
        # Events taught, and where the labels of the next one start.
        self._marks = np.zeros(2, np.int64)
        self._tally = np.zeros((0, 2))

    @property
    def stored(self) -> int:
        """Events taught so far. The next one has this number."""
        return int(self._marks[0])

    @property
    def n_cells(self) -> int:
        """Labels held."""
        return int(self._marks[1]) - self._start(max(0, self.stored - self.size))

    def take(self, events: Events) -> None:
        """Hold the labels of the taught events; those of the last ``size`` events before them can still be read."""
        n_cells = len(events.present) + len(events.known)
        self.arrays(int(np.count_nonzero(events.taught)), n_cells, int(events.born[-1]))
        take_labels(events, self._marks, self.records, self.labels)

    def arrays(self, n_events: int, n_cells: int, n_labels: int) -> tuple[NDArray[Any], ...]:
        """What is held, as kernels take it, with room for more events, which have so many cells, and so many labels."""
        oldest, end = max(0, self.stored - self.size), int(self._marks[1])
        self.labels = _with_room(self.labels, self._start(oldest), end, n_cells)
        self.records = _with_room(self.records, oldest, self.stored, n_events)
        self._tally = with_room(self._tally, n_labels)
        return self._marks, self.records, self.labels, self._tally

    def _start(self, event: int) -> int:
        """Where the labels of an event start; of the next one, where they will."""
        return int(self._marks[1] if event == self.stored else self.records["start"][event % len(self.records)])

    def present(self, event: int) -> NDArray[np.int32]:
        """The labels that an event has which is held."""
        record = self.records[event % len(self.records)]
        start, n = int(record["start"]), int(record["n_present"])
        return self.labels[np.arange(start, start + n) % len(self.labels)]

    def weights(self, events: NDArray[np.int64]) -> NDArray[np.float64]:
        """The weights of events that are held."""
        found: NDArray[np.float64] = self.records["weight"][events % len(self.records)]
        return found

    def vote(self, neighbours: Neighbours, cells: Cells, sharpness: float) -> NDArray[np.float32]:
        """The votes of every event's neighbours, from 0 to 1, a number a cell.

        The events taught by the batch must have been taken in, since they may be neighbours of each other.
        """
        votes = np.zeros(len(cells.label), np.float32)
        self._tally = with_room(self._tally, int(cells.label.max(initial=-1)) + 1)
        count_votes(neighbours, cells, sharpness, self.records, self.labels, self._tally, votes)
        return votes

    def shorten(self, size: int) -> None:
        """Hold only the last ``size`` events from now on, at most as many as before."""
        state = self.get_state()
        kept = state["records"][max(0, len(state["records"]) - size) :]
        first = int(kept["start"][0]) if len(kept) else 0
        kept["start"] -= first
        self.size = size
        self.set_state({**state, "records": kept, "labels": state["labels"][first:]})

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The labels of the events held, the oldest first."""
        held = np.arange(max(0, self.stored - self.size), self.stored)
        records = self.records[held % len(self.records)]
        first = self._start(int(self.stored - len(held)))
        records["start"] -= first
        labels = self.labels[np.arange(first, self._marks[1]) % len(self.labels)]
        return {"records": records, "labels": labels, "stored": np.array([self.stored])}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        records, labels = state["records"], state["labels"]
        self._marks = np.array([state["stored"][0], len(labels)])
        held = np.arange(self.stored - len(records), self.stored)
        self.records = _with_room(np.zeros(1, RECORD), 0, 0, len(records))
        self.records[held % len(self.records)] = records
        self.labels = _with_room(np.zeros(1, np.int32), 0, 0, len(labels))
        self.labels[: len(labels)] = labels
        self._tally = np.zeros((int(labels.max(initial=-1)) + 1, 2))


def _with_room(ring: NDArray[Any], first: int, end: int, n_more: int) -> NDArray[Any]:
    """``ring``, of which the places of ``first`` to ``end`` are in use, with room for more; a power of two long."""
    if end - first + n_more <= len(ring):
        return ring
    wider = np.zeros(1 << max(_FEWEST, (end - first + n_more - 1).bit_length()), ring.dtype)
    used = np.arange(first, end)
    wider[used % len(wider)] = ring[used % len(ring)]
    return wider


@njit(cache=True, nogil=True)
def has_room(
    marks: NDArray[np.int64], records: NDArray[np.void], labels: NDArray[np.int32], size: int, n_cells: int
) -> bool:
    """Whether there is room for one event more, of so many cells, beside the last ``size``."""
    stored, end = marks[0], marks[1]
    oldest = max(0, stored - size)
    first = records["start"][oldest & (len(records) - 1)] if oldest < stored else end
    return bool(stored - oldest < len(records) and end - first + n_cells <= len(labels))


@njit(cache=True, nogil=True)
def take_labels(events: Events, marks: NDArray[np.int64], records: NDArray[np.void], labels: NDArray[np.int32]) -> None:
    """Hold the labels of the taught events, for which there is room."""
    stored, end = marks[0], marks[1]
    for i in range(len(events.taught)):
        if not events.taught[i]:
            continue
        record = stored & (len(records) - 1)
        n_present = events.present_start[i + 1] - events.present_start[i]
        records["start"][record], records["weight"][record] = end, events.weight[i]
        records["n_present"][record], records["n_known"][record] = n_present, -1
        for cell in range(events.present_start[i], events.present_start[i + 1]):
            labels[end & (len(labels) - 1)] = events.present[cell]
            end += 1
        if events.state[i] != COMPLETE:
            known = end
            for cell in range(events.known_start[i], events.known_start[i + 1]):
                # Of a label that is yet to be born nothing is known, whether or not its column can be told already.
                if events.known[cell] < events.born[i + 1]:
                    labels[end & (len(labels) - 1)] = events.known[cell]
                    end += 1
            records["n_known"][record] = end - known
        stored += 1
    marks[0], marks[1] = stored, end


@njit(cache=True, nogil=True)
def count_votes(
    neighbours: Neighbours,
    cells: Cells,
    sharpness: float,
    records: NDArray[np.void],
    labels: NDArray[np.int32],
    tally: NDArray[np.float64],
    votes: NDArray[np.float32],
) -> None:
    """Write the votes, which are 0 before; ``tally`` is 0 before and after."""
    in_records, in_labels = len(records) - 1, len(labels) - 1
    event, similarity = neighbours.event, neighbours.similarity
    for i in range(event.shape[0]):
        complete, n = 0.0, 0
        while n < event.shape[1] and event[i, n] >= 0:
            record = event[i, n] & in_records
            apart = np.float64(similarity[i, n]) - similarity[i, 0]
            vote = records["weight"][record] * np.exp(sharpness * apart)
            start, n_present = records["start"][record], records["n_present"][record]
            for place in range(start, start + n_present):
                tally[labels[place & in_labels], 0] += vote
            n_known = records["n_known"][record]
            if n_known < 0:
                complete += vote
            for place in range(start + n_present, start + n_present + n_known):
                tally[labels[place & in_labels], 1] += vote
            n += 1
        for cell in range(cells.start[i], cells.start[i + 1]):
            label = cells.label[cell]
            known = complete + tally[label, 1]
            if known > 0:
                votes[cell] = tally[label, 0] / known
        for k in range(n):
            record = event[i, k] & in_records
            start = records["start"][record]
            stop = start + records["n_present"][record] + max(0, records["n_known"][record])
            for place in range(start, stop):
                tally[labels[place & in_labels]] = 0.0
