"""Tables that number texts and indices in the order in which they are first met, for kernels to look up and fill."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FULL = -1
"""Told in place of a number where something new finds no room, and what a free slot holds."""


class TextNumbers:
    """Numbers 0, 1, 2, … of texts.

    Examples
    --------
    >>> numbers = TextNumbers()
    >>> [numbers.add(text) for text in ("red", "blue", "red")]
    [0, 1, 0]
    >>> numbers.listed(1)
    ['blue']
    """

    def __init__(self) -> None:
        self._used = np.zeros(1, np.int64)
        self._ends = np.zeros(32, np.int64)
        self._bytes = np.zeros(512, np.uint8)
        self._slots = np.full(64, FULL, np.int32)

    def __len__(self) -> int:
        return int(self._used[0])

    @property
    def table(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
        """What `number_text` takes; other arrays after `grow`."""
        return self._used, self._slots, self._ends, self._bytes

    def add(self, text: str) -> int:
        """The number of a text; a new one gets the next."""
        raw = np.frombuffer(text.encode(), np.uint8)
        while (number := number_text(raw, 0, len(raw), self.table)) == FULL:
            self.grow()
        return int(number)

    def listed(self, start: int = 0) -> list[str]:
        """Texts of the numbers from ``start`` on."""
        ends = self._ends[start : len(self)].tolist()
        begins = [int(self._ends[start - 1]) if start else 0, *ends]
        return [self._bytes[i:j].tobytes().decode() for i, j in zip(begins, ends, strict=False)]

    def grow(self) -> None:
        """Double the room."""
        self._ends = _doubled(self._ends)
        self._bytes = _doubled(self._bytes)
        self._slots = np.full(2 * len(self._ends), FULL, np.int32)
        _place_texts(self.table)


class IndexNumbers:
    """Numbers 0, 1, 2, … of integers that are not negative.

    Examples
    --------
    >>> numbers = IndexNumbers()
    >>> [numbers.add(index) for index in (7, 1000000, 7)]
    [0, 1, 0]
    >>> numbers.listed()
    [7, 1000000]
    """

    def __init__(self) -> None:
        self._used = np.zeros(1, np.int64)
        self._indices = np.zeros(32, np.int64)
        self._slots = np.full(64, FULL, np.int32)

    def __len__(self) -> int:
        return int(self._used[0])

    @property
    def table(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """What `number_index` takes; other arrays after `grow`."""
        return self._used, self._slots, self._indices

    def add(self, index: int) -> int:
        """The number of an index; a new one gets the next."""
        while (number := number_index(index, self.table)) == FULL:
            self.grow()
        return int(number)

    def listed(self, start: int = 0) -> list[int]:
        """Indices of the numbers from ``start`` on."""
        found: list[int] = self._indices[start : len(self)].tolist()
        return found

    def grow(self) -> None:
        """Double the room."""
        self._indices = _doubled(self._indices)
        self._slots = np.full(2 * len(self._indices), FULL, np.int32)
        _place_indices(self.table)


def _doubled(array: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([array, np.zeros(len(array), array.dtype)])


# Slots are open addresses, a power of two of them and at least twice as many as there can be numbers, so that a free
# one is always found soon. What was numbered last was put in last: taking it out again leaves the slots as they were.


@njit(cache=True, nogil=True)
def number_text(text: Any, start: Any, stop: Any, table: Any) -> Any:
    """The number of ``text[start:stop]``, the next one if it is new, or `FULL` if there is no room for it."""
    used, slots, ends, held = table
    mask = len(slots) - 1
    at = _text_slot(text, start, stop) & mask
    while slots[at] >= 0:
        k = np.int64(slots[at])
        i, j = np.int64(start), ends[k - 1] if k > 0 else np.int64(0)
        if ends[k] - j == stop - start:
            while i < stop and text[i] == held[j]:
                i += 1
                j += 1
            if i == stop:
                return k
        at = (at + 1) & mask
    k = used[0]
    j = ends[k - 1] if k > 0 else np.int64(0)
    if k == len(ends) or j + stop - start > len(held):
        return np.int64(FULL)
    for c in text[start:stop]:
        held[j] = c
        j += 1
    slots[at], ends[k] = k, j
    used[0] = k + 1
    return k


@njit(cache=True, nogil=True)
def forget_texts(n: Any, table: Any) -> None:
    """Take out the texts that were numbered from ``n`` on."""
    used, slots, ends, held = table
    mask = len(slots) - 1
    for k in range(n, used[0]):
        at = _text_slot(held, ends[k - 1] if k > 0 else np.int64(0), ends[k]) & mask
        while slots[at] != k:
            at = (at + 1) & mask
        slots[at] = FULL
    used[0] = n


@njit(cache=True, nogil=True)
def _place_texts(table):
    used, slots, ends, held = table
    mask = len(slots) - 1
    for k in range(used[0]):
        at = _text_slot(held, ends[k - 1] if k > 0 else np.int64(0), ends[k]) & mask
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = k


@njit(cache=True, nogil=True, forceinline=True)
def _text_slot(text, start, stop):
    """FNV-1a, its upper half, which is the better stirred one."""
    value = np.uint64(14695981039346656037)
    for i in range(start, stop):
        value = (value ^ np.uint64(text[i])) * np.uint64(1099511628211)
    return np.int64((value * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32))


@njit(cache=True, nogil=True, forceinline=True)
def number_index(index: Any, table: Any) -> Any:
    """The number of an index, the next one if it is new, or `FULL` if there is no room for it."""
    used, slots, indices = table
    mask = len(slots) - 1
    at = _index_slot(index) & mask
    while slots[at] >= 0:
        if indices[slots[at]] == index:
            return np.int64(slots[at])
        at = (at + 1) & mask
    k = used[0]
    if k == len(indices):
        return np.int64(FULL)
    slots[at], indices[k] = k, index
    used[0] = k + 1
    return k


@njit(cache=True, nogil=True)
def forget_indices(n: Any, table: Any) -> None:
    """Take out the indices that were numbered from ``n`` on."""
    used, slots, indices = table
    mask = len(slots) - 1
    for k in range(n, used[0]):
        at = _index_slot(indices[k]) & mask
        while slots[at] != k:
            at = (at + 1) & mask
        slots[at] = FULL
    used[0] = n


@njit(cache=True, nogil=True)
def _place_indices(table):
    used, slots, indices = table
    mask = len(slots) - 1
    for k in range(used[0]):
        at = _index_slot(indices[k]) & mask
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = k


@njit(cache=True, nogil=True, forceinline=True)
def _index_slot(index):
    return np.int64((np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32))
