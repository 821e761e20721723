"""Which labels are looked at for an event, where there are too many to look at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events, read_targets
from ihomer.label_window import LabelWindow
from ihomer.neighbours import Neighbours
from learners.base import with_room
from streams.batch import COMPLETE

HALF_LIFE = 1000
"""Events after which an occurrence counts half."""

_PERIOD = 64 * HALF_LIFE
"""Events after which counts are divided by 2^64, so that they never grow beyond what floats can hold."""

_DIGIT = 9
"""Bits by which lists are sorted at a time: two digits for up to 262,144 labels."""

_ASKED, _KNOWN, _PRESENT = 1, 2, 4
"""Bits of what is noted about a label that is listed."""


class Shortlist:
    """Lists the labels that an event may have: all of them while they are few, then the likely ones.

    Parameters
    ----------
    limit
        Labels, at least 0: while no more of them are born before an event, it is asked about all.
    n_frequent
        How many of the most frequent labels are on every list, at least 1.
    n_negatives
        Further labels, at least 0, that are learned as absent with every completely labelled event.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    A list has the labels of the event's neighbours, those of the taught event before it, and those that were most
    frequent of late, each only if it was born before the event. About these the event is asked. If it is taught, its
    own labels and, where it is partly labelled, all labels that are known, are listed too, and with completely labelled
    events some labels drawn at random of all that are born: what is learned on likely and present labels alone thinks
    the others likely. The draw is a hash of the number of the event.

    An occurrence counts half after ``HALF_LIFE`` events. As all counts lose the same share, one label alone changes its
    rank with each occurrence, and the most frequent labels are known without a look at the others; of labels with the
    same count the one that had it first ranks higher.

    An event costs its list, O(n log n) for n labels on it, however many labels there are. State: 8 bytes a label and
    the labels of the last event.

    References
    ----------
    Tsoumakas, Katakis, Vlahavas, "Effective and efficient multilabel classification in domains with large number of
    labels", MMD 2008 (HOMER), for the aim: time that does not grow with the number of labels. Mikolov, Sutskever, Chen,
    Corrado, Dean, "Distributed representations of words and phrases and their compositionality", NeurIPS 2013, section
    2.2, for sampled negatives.
    """

    def __init__(self, limit: int = 512, *, n_frequent: int = 10, n_negatives: int = 8) -> None:
        for name, number, least in (
            ("limit", limit, 0),
            ("n_frequent", n_frequent, 1),
            ("n_negatives", n_negatives, 0),
        ):
            if number < least:
                raise ValueError(f"{name} must be at least {least}, got {number}")
        self.limit, self.n_frequent, self.n_negatives = limit, n_frequent, n_negatives
        self._n_labels = 0
        # Events taught, and how many labels the last one had.
        self._marks = np.zeros(2, np.int64)
        self._counts = np.zeros(0)
        self._frequent = np.full(n_frequent, -1, np.int32)
        self._previous = np.zeros(0, np.int32)
        self._notes = np.zeros(0, np.uint8)

    def run(self, events: Events, neighbours: Neighbours, window: LabelWindow) -> Cells:
        """The cells of every event; ``window`` has taken the events in."""
        longest = int(np.diff(events.present_start).max(initial=0))
        arrays = self.arrays(longest, int(events.born[-1]))
        return Cells(*list_cells(events, neighbours.event, window.records, window.labels, arrays))

    def arrays(self, longest: int, n_labels: int) -> tuple[Any, ...]:
        """What is known, with room for so many labels, ``longest`` of them in one event, as the kernel takes it."""
        self._n_labels = max(self._n_labels, n_labels)
        self._counts, self._notes = with_room(self._counts, n_labels), with_room(self._notes, n_labels)
        self._previous = with_room(self._previous, longest)
        return (
            self.limit, self.n_negatives, self._marks, self._previous, self._counts, self._frequent, self._notes,
        )  # fmt: skip

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Counts, the most frequent labels, those of the last event, and how many events were taught."""
        return {
            "counts": self._counts[: self._n_labels].copy(),
            "frequent": self._frequent.copy(),
            "previous": self._previous[: self._marks[1]].copy(),
            "n_taught": self._marks[:1].copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._counts, self._frequent, self._previous = (
            state[name].copy() for name in ("counts", "frequent", "previous")
        )
        self._n_labels = len(self._counts)
        self._marks = np.array([state["n_taught"][0], len(self._previous)])
        self._notes = np.zeros(0, np.uint8)


@njit(cache=True, nogil=True)
def list_cells(
    events: Events,
    neighbours: NDArray[np.int64],
    records: NDArray[np.void],
    window_labels: NDArray[np.int32],
    arrays: tuple[Any, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
    """The fields of `Cells`; ``last`` holds the labels of the event taught last, ``notes`` are 0 before and after."""
    limit, n_negatives, marks, last, counts, frequent, notes = arrays
    n, n_taught, previous = len(events.taught), marks[0], last[: marks[1]]
    room = _room(events, neighbours, records, limit, n_negatives, previous, frequent)
    start = np.zeros(n + 1, np.int64)
    label, target, asked = np.empty(room, np.int32), np.empty(room, np.float32), np.empty(room, np.bool_)
    spare = np.empty(room, np.int32)
    for i in range(n):
        low = used = start[i]
        born, taught, complete = events.born[i], events.taught[i], events.state[i] == COMPLETE
        own = events.present[events.present_start[i] : events.present_start[i + 1]]
        if born <= limit:
            used = low + (events.born[i + 1] if taught else born)
            if taught:
                read_targets(events, i, used - low, target[low:used])
            else:
                target[low:used] = np.nan
            for cell in range(low, used):
                label[cell] = cell - low
                asked[cell] = cell - low < born
        else:
            for event in neighbours[i]:
                if event >= 0:
                    record = event & (len(records) - 1)
                    first = records["start"][record]
                    for place in range(first, first + records["n_present"][record]):
                        other = window_labels[place & (len(window_labels) - 1)]
                        used = _ask(other, born, notes, label, used)
            for other in previous:
                used = _ask(other, born, notes, label, used)
            for other in frequent:
                if other >= 0:
                    used = _ask(other, born, notes, label, used)
            if taught:
                for other in own:
                    used = _note(other, _PRESENT, notes, label, used)
                if complete:
                    for draw in range(n_negatives):
                        used = _note(_draw(n_taught, draw, born), _KNOWN, notes, label, used)
                else:
                    for other in events.known[events.known_start[i] : events.known_start[i + 1]]:
                        if other < events.born[i + 1]:
                            used = _note(other, _KNOWN, notes, label, used)
            _sort(label[low:used], spare)
            for cell in range(low, used):
                note = notes[label[cell]]
                notes[label[cell]] = 0
                asked[cell] = note & _ASKED != 0
                target[cell] = np.nan
                if note & _PRESENT:
                    target[cell] = 1.0
                elif taught and (complete or note & _KNOWN):
                    target[cell] = 0.0
        start[i + 1] = used
        if taught:
            _count(own, n_taught, counts, frequent)
            n_taught += 1
            previous = own
    if n_taught > marks[0]:
        last[: len(previous)] = previous
        marks[0], marks[1] = n_taught, len(previous)
    used = start[n]
    return start, label[:used], target[:used], asked[:used]


@njit(cache=True, nogil=True)
def _room(events, neighbours, records, limit, n_negatives, previous, frequent):
    """At least as many cells as the events have."""
    room, n_previous = 0, len(previous)
    for i in range(len(events.taught)):
        n_own = events.present_start[i + 1] - events.present_start[i]
        if events.born[i] <= limit:
            room += events.born[i + 1]
        else:
            n_known = events.known_start[i + 1] - events.known_start[i]
            room += n_own + n_known + n_previous + len(frequent) + n_negatives
            for event in neighbours[i]:
                room += records["n_present"][event & (len(records) - 1)] if event >= 0 else 0
        if events.taught[i]:
            n_previous = n_own
    return room


@njit(cache=True, nogil=True)
def _ask(other, born, notes, label, used):
    return _note(other, _ASKED, notes, label, used) if other < born else used


@njit(cache=True, nogil=True)
def _note(other, note, notes, label, used):
    """Note something about a label, which is listed if nothing has been noted yet; return how many are listed."""
    # Without a branch, which would be foreseen wrongly every other time.
    label[used] = other
    used += notes[other] == 0
    notes[other] |= note
    return used


@njit(cache=True, nogil=True)
def _sort(label, spare):
    """Sort a list digit by digit, which takes half as long as comparing: there is no branch to foresee wrongly."""
    n, digits, last = len(label), np.empty((1 << _DIGIT) + 1, np.int64), np.int32(0)
    for other in label:
        last = max(last, other)
    shift, mask = 0, (1 << _DIGIT) - 1
    while last >> shift > 0:
        digits[:] = 0
        for other in label:
            digits[((other >> shift) & mask) + 1] += 1
        for digit in range(mask):
            digits[digit + 1] += digits[digit]
        for other in label:
            digit = (other >> shift) & mask
            spare[digits[digit]] = other
            digits[digit] += 1
        label[:] = spare[:n]
        shift += _DIGIT


@njit(cache=True, nogil=True)
def _draw(event, draw, n):
    """A number below ``n``, by the finaliser of MurmurHash3 for 64 bits."""
    mixed = np.uint64(event) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(draw)
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        mixed ^= mixed >> np.uint64(33)
        mixed *= factor
    mixed ^= mixed >> np.uint64(33)
    return np.int64(mixed % np.uint64(n))


@njit(cache=True, nogil=True)
def _count(own, n_taught, counts, frequent):
    """Count the labels of an event and let them rise among the most frequent."""
    if n_taught > 0 and n_taught % _PERIOD == 0:
        counts *= 2.0**-64
    once = 2.0 ** ((n_taught % _PERIOD) / HALF_LIFE)
    for label in own:
        counts[label] += once
        place = 0
        while place < len(frequent) - 1 and frequent[place] >= 0 and frequent[place] != label:
            place += 1
        held = frequent[place]
        if held >= 0 and held != label and counts[held] >= counts[label]:
            continue
        frequent[place] = label
        while place > 0 and counts[frequent[place - 1]] < counts[label]:
            frequent[place - 1], frequent[place] = label, frequent[place - 1]
            place -= 1
