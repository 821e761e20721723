"""How often labels occur, alone and together: a sparse, decaying, bounded table of counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.batch import Rows

META = np.dtype(
    [
        ("events", np.int64),
        ("scale", np.float64),
        ("n_pairs", np.int64),
        ("n_evicted", np.int64),
        ("n_refused", np.int64),
        ("largest_evicted", np.float64),
    ]
)

_EMPTY = -1
_SMALLEST_TABLE = 256
_SLOT_BYTES = 16
_LOAD = 0.7
"""Share of the table's slots in use beyond which it grows or pairs are evicted; longer probes cost more than room."""

_RESCALE = 2.0**40
"""Counts are stored times ``scale``, which grows instead of their shrinking; beyond this all are divided by it."""

_FORGOTTEN = 1e-3
"""A decayed joint count below this is dropped when the table is rebuilt: ten half-lives after a single event."""


class CooccurrenceStore:
    """Occurrence counts of labels and joint counts of the label pairs that have been seen together.

    Parameters
    ----------
    half_life
        Events after which a past event counts half; None: all events count 1 for ever and counts are exact integers.
    memory_budget
        Bytes for the table of pairs, at least 8,192; None: it grows as it must. When a bounded table is full, the
        least similar pairs leave until half of the room is free. A pair that comes back starts from zero, so its joint
        count, the numerator of its Jaccard similarity, is too small by what it had, each time that it left.
        ``largest_evicted`` bounds that, and ``n_evicted`` counts how often a pair left. Counts of labels stay exact.

    Notes
    -----
    An event with label set Y costs O(|Y|^2); labels that are absent cost nothing. Memory is 16 bytes a slot and 8 a
    label, between 1.4 and 2.9 slots a pair. Pairs of an event that alone overflows a bounded table are refused and
    counted in ``n_refused``.

    Examples
    --------
    >>> store = CooccurrenceStore()
    >>> store.update_many(Rows.from_lists([[0, 1], [0, 1, 2], [2]]))
    >>> store.jaccard(0, 1), store.jaccard(1, 2)
    (1.0, 0.3333333333333333)
    """

    def __init__(self, *, half_life: float | None = None, memory_budget: int | None = None) -> None:
        if half_life is not None and not half_life >= 1:
            raise ValueError(f"half_life must be None or at least 1 event, got {half_life}")
        if memory_budget is not None and memory_budget < 2 * _SMALLEST_TABLE * _SLOT_BYTES:
            raise ValueError(f"memory_budget must be None or at least 8192 bytes, got {memory_budget}")
        self.half_life, self.memory_budget = half_life, memory_budget
        self._growth = 1.0 if half_life is None else 2.0 ** (1.0 / half_life)
        self._most_slots = 1 << 40 if memory_budget is None else 1 << (memory_budget // _SLOT_BYTES).bit_length() - 1
        self._meta = np.zeros(1, META)
        self._meta["scale"] = 1.0
        self._occurrence = np.zeros(0)
        self._keys = np.full(_SMALLEST_TABLE, _EMPTY, np.int64)
        self._joint = np.zeros(_SMALLEST_TABLE)

    @property
    def n_labels(self) -> int:
        """One more than the largest label number seen."""
        return len(self._occurrence)

    @property
    def events(self) -> int:
        """Events taken in."""
        return int(self._meta["events"][0])

    @property
    def n_pairs(self) -> int:
        """Pairs in the table."""
        return int(self._meta["n_pairs"][0])

    @property
    def n_evicted(self) -> int:
        """Pairs that had to leave a full table."""
        return int(self._meta["n_evicted"][0])

    @property
    def n_refused(self) -> int:
        """Joint occurrences that were not counted because a single event overflowed the table."""
        return int(self._meta["n_refused"][0])

    @property
    def largest_evicted(self) -> float:
        """Largest joint count that a pair had when it was evicted."""
        return float(self._meta["largest_evicted"][0])

    @property
    def occurrence(self) -> NDArray[np.float64]:
        """Decayed number of events of each label, shape (n_labels,)."""
        return self._occurrence / float(self._meta["scale"][0])

    def joint(self, a: int, b: int) -> float:
        """Decayed number of events that carry both labels."""
        if a == b:
            return float(self.occurrence[a]) if 0 <= a < self.n_labels else 0.0
        slot = _slot(self._keys, min(a, b), max(a, b))
        return float(self._joint[slot] / self._meta["scale"][0]) if self._keys[slot] != _EMPTY else 0.0

    def jaccard(self, a: int, b: int) -> float:
        """Share of the events with either label that carry both; NaN where neither has ever been seen."""
        joint = self.joint(a, b)
        either = self.joint(a, a) + self.joint(b, b) - joint
        return joint / either if either > 0 else float("nan")

    def grow(self, n_labels: int) -> None:
        """Make room for labels numbered below ``n_labels``."""
        if n_labels > len(self._occurrence):
            self._occurrence = np.concatenate([self._occurrence, np.zeros(n_labels - len(self._occurrence))])

    def update_many(self, rows: Rows, group: NDArray[np.int32] | None = None) -> None:
        """Count the label sets of ``rows``, one an event.

        Parameters
        ----------
        rows
            Label numbers of each event.
        group
            Shape (n_labels,): only pairs of labels with the same group are counted. None: all are.
        """
        self.grow(int(rows.indices.max(initial=-1)) + 1)
        if group is None:
            group = np.zeros(self.n_labels, np.int32)
        start, made_room = 0, False
        while True:
            start = count_pairs(self.arrays(), group, rows.indptr, rows.indices, start, made_room)
            if start == len(rows):
                return
            made_room = self._make_room(len(rows.row(start)))

    def arrays(self) -> tuple[Any, ...]:
        """What is counted, as the kernel takes it."""
        return self._keys, self._joint, self._occurrence, self._meta, self._growth

    def forget(self, labels: NDArray[np.int64]) -> None:
        """Set all counts that concern any of these labels to zero."""
        gone = np.zeros(self.n_labels, np.bool_)
        gone[labels] = True
        self._occurrence[labels] = 0.0
        kept = self._keys != _EMPTY
        kept[kept] = ~(gone[self._keys[kept] >> 32] | gone[self._keys[kept] & 0xFFFFFFFF])
        self._rebuild(self._keys[kept], self._joint[kept], len(self._keys))

    def renumber(self, to: NDArray[np.int32]) -> None:
        """Call label ``a`` ``to[a]`` from now on; the numbers differ from each other."""
        occurrence = np.zeros(int(to.max(initial=-1)) + 1)
        occurrence[to] = self._occurrence
        used = self._keys != _EMPTY
        a, b = (to[part].astype(np.int64) for part in (self._keys[used] >> 32, self._keys[used] & 0xFFFFFFFF))
        self._occurrence = occurrence
        self._rebuild((np.minimum(a, b) << 32) | np.maximum(a, b), self._joint[used], len(self._keys))

    def merge(self, other: Self, to: NDArray[np.int32]) -> None:
        """Count the events of ``other`` too, as if they had come after those here; its label ``a`` is ``to[a]``.

        Notes
        -----
        Without decay counts are whole numbers, and those of two halves of the events, in whatever order, are exactly
        those of all. With decay they are, but for rounding, where the events of ``other`` did come after those here:
        those here age by as many events. In a bounded table the joint count of a pair may be too small by what it had
        when it left, there or here.

        Raises
        ------
        ValueError
            The two decay differently.
        """
        if other.half_life != self.half_life:
            raise ValueError(f"half_life must be {self.half_life} to merge, got {other.half_life}")
        to = to[: other.n_labels]
        self.grow(int(to.max(initial=-1)) + 1)
        age = self._growth ** -float(other.events) / self._meta["scale"][0]
        self._occurrence *= age
        self._occurrence[to] += other.occurrence
        mine, theirs = self._keys != _EMPTY, other._keys != _EMPTY
        a, b = (to[part].astype(np.int64) for part in (other._keys[theirs] >> 32, other._keys[theirs] & 0xFFFFFFFF))
        pairs = np.concatenate([self._keys[mine], (np.minimum(a, b) << 32) | np.maximum(a, b)])
        counts = np.concatenate([self._joint[mine] * age, other._joint[theirs] / other._meta["scale"][0]])
        keys, place = np.unique(pairs, return_inverse=True)
        joint = np.asarray(np.bincount(place, counts, minlength=len(keys)), np.float64)
        self._meta["scale"] = 1.0
        for counted in ("events", "n_evicted", "n_refused"):
            self._meta[counted] += other._meta[counted]
        self._meta["largest_evicted"] = max(self.largest_evicted, other.largest_evicted)
        self._hold(keys, joint, len(keys))

    def neighbours(self, least: float = 0.0) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """All pairs seen together of labels with at least ``least`` (decayed) events, as rows: label ``a``'s are
        ``column[start[a]:start[a + 1]]``, with their Jaccard similarities. Their order within a row is that of the
        table."""
        start, column, jaccard = _neighbours(self._keys, self._joint, self._occurrence, self.occurrence >= least)
        return start, column, jaccard

    def _make_room(self, size: int) -> bool:
        """Let the table hold one more event of ``size`` labels; True where that may fail."""
        needed = self.n_pairs + size * (size - 1) // 2
        used = self._keys != _EMPTY
        keys, joint = self._keys[used], self._joint[used]
        if self.half_life is not None:
            alive = joint >= _FORGOTTEN * self._meta["scale"][0]
            keys, joint = keys[alive], joint[alive]
            needed -= int(np.count_nonzero(~alive))
        self._hold(keys, joint, needed)
        return bool(self.n_pairs + size * (size - 1) // 2 > _LOAD * len(self._keys))

    def _hold(self, keys: NDArray[np.int64], joint: NDArray[np.float64], needed: int) -> None:
        """Let the table be these pairs, with room for ``needed`` as far as that goes; else the least similar leave."""
        slots = len(self._keys)
        while needed > _LOAD * slots / 2 and 2 * slots <= self._most_slots:
            slots *= 2
        if needed > _LOAD * slots:
            keep = int(_LOAD * slots / 2)
            either = self._occurrence[keys >> 32] + self._occurrence[keys & 0xFFFFFFFF] - joint
            order = np.argsort(-joint / either, kind="stable")
            evicted, order = joint[order[keep:]], np.sort(order[:keep])
            keys, joint = keys[order], joint[order]
            self._meta["n_evicted"] += len(evicted)
            largest = evicted.max(initial=0.0) / self._meta["scale"][0]
            self._meta["largest_evicted"] = max(self.largest_evicted, largest)
        self._rebuild(keys, joint, slots)

    def _rebuild(self, keys: NDArray[np.int64], joint: NDArray[np.float64], slots: int) -> None:
        self._keys, self._joint = np.full(slots, _EMPTY, np.int64), np.zeros(slots)
        _fill(self._keys, self._joint, keys, joint)
        self._meta["n_pairs"] = len(keys)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything counted, as copies."""
        return {
            "meta": self._meta.copy(),
            "occurrence": self._occurrence.copy(),
            "keys": self._keys.copy(),
            "joint": self._joint.copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._meta[:] = state["meta"]
        self._occurrence, self._keys, self._joint = (state[name].copy() for name in ("occurrence", "keys", "joint"))

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(array.nbytes for array in (self._meta, self._occurrence, self._keys, self._joint))


@njit(cache=True, nogil=True)
def _slot(keys, a, b):
    """Where the pair a < b stands, or the empty slot where it would."""
    mask = keys.shape[0] - 1
    # Labels stay below 2^31 and both factors below 2^30, so the sum fits into 63 bits and nothing overflows.
    mixed = a * 0x3C6EF373 + b * 0x1B873593
    mixed ^= mixed >> 31
    mixed ^= mixed >> 13
    slot = mixed & mask
    key = (a << 32) | b
    while keys[slot] != key and keys[slot] != _EMPTY:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _fill(keys, joint, old_keys, old_joint):
    """Put pairs into an empty table."""
    for i in range(old_keys.shape[0]):
        slot = _slot(keys, old_keys[i] >> 32, old_keys[i] & 0xFFFFFFFF)
        keys[slot] = old_keys[i]
        joint[slot] = old_joint[i]


@njit(cache=True, nogil=True)
def count_pairs(
    arrays: tuple[Any, ...],
    group: NDArray[np.int32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    start: int,
    may_refuse: bool,
) -> int:
    """Count events from ``start`` on; the first one for which the table has no room, or their number."""
    keys, joint, occurrence, meta, growth = arrays
    n_pairs = meta["n_pairs"][0]
    scale = meta["scale"][0]
    room = int(_LOAD * keys.shape[0])
    n = indptr.shape[0] - 1
    i = start
    while i < n:
        low, high = indptr[i], indptr[i + 1]
        size = high - low
        if n_pairs + size * (size - 1) // 2 > room and not (may_refuse and i == start):
            break
        for first in range(low, high):
            a = np.int64(indices[first])
            occurrence[a] += scale
            for second in range(first + 1, high):
                b = np.int64(indices[second])
                if group[a] != group[b]:
                    continue
                slot = _slot(keys, a, b)
                if keys[slot] == _EMPTY:
                    if n_pairs >= room:
                        meta["n_refused"][0] += 1
                        continue
                    keys[slot] = (a << 32) | b
                    n_pairs += 1
                joint[slot] += scale
        scale *= growth
        if scale > _RESCALE:
            for label in range(occurrence.shape[0]):
                occurrence[label] /= scale
            for slot in range(joint.shape[0]):
                joint[slot] /= scale
            scale = 1.0
        i += 1
    meta["events"][0] += i - start
    meta["n_pairs"][0] = n_pairs
    meta["scale"][0] = scale
    return i


@njit(cache=True, nogil=True)
def _neighbours(keys, joint, occurrence, asked):
    """Symmetric rows of the pairs of the labels ``asked``, and their Jaccard similarities."""
    n_labels = occurrence.shape[0]
    start = np.zeros(n_labels + 1, np.int64)
    for slot in range(keys.shape[0]):
        if keys[slot] != _EMPTY:
            a, b = keys[slot] >> 32, keys[slot] & 0xFFFFFFFF
            if asked[a] and asked[b]:
                start[a + 1] += 1
                start[b + 1] += 1
    for label in range(n_labels):
        start[label + 1] += start[label]
    column = np.empty(start[n_labels], np.int32)
    similarity = np.empty(start[n_labels], np.float64)
    place = start[:-1].copy()
    for slot in range(keys.shape[0]):
        if keys[slot] == _EMPTY:
            continue
        a, b = keys[slot] >> 32, keys[slot] & 0xFFFFFFFF
        if asked[a] and asked[b]:
            jaccard = joint[slot] / (occurrence[a] + occurrence[b] - joint[slot])
            column[place[a]], similarity[place[a]] = b, jaccard
            column[place[b]], similarity[place[b]] = a, jaccard
            place[a] += 1
            place[b] += 1
    return start, column, similarity
