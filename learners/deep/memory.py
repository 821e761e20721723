"""Events that are kept to be repeated: a uniform sample of the stream, or one in which classes have about as many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.base import State, with_room
from learners.deep.payloads import pack, unpack
from learners.heads.reservoir import draw, uniform

_KEEP, _PLACE = range(2)
"""Numbers of the draws of an event: whether it is kept, and in whose place."""

SEEN, STORED, FULL = range(3)
"""Columns of what is counted of a class: its events so far, those kept, and whether it ever had most."""


@dataclass
class Entry:
    """An event under one of its labels: its payload, the row of its class, and its weight."""

    payload: Any
    row: int
    weight: float
    query: NDArray[np.float32] | None = field(default=None, compare=False)
    """What the transformer makes of the payload, once it has been asked; it is no part of a state."""


def pack_entries(name: str, entries: Sequence[Entry]) -> State:
    """Entries as arrays of a state."""
    return {
        **pack(name, [entry.payload for entry in entries]),
        f"{name}_rows": np.array([entry.row for entry in entries], np.int32),
        f"{name}_weight": np.array([entry.weight for entry in entries], np.float64),
    }


def unpack_entries(name: str, state: State) -> list[Entry]:
    """What `pack_entries` packed."""
    rows, weight = state[f"{name}_rows"].tolist(), state[f"{name}_weight"].tolist()
    return [Entry(*entry) for entry in zip(unpack(name, state), rows, weight, strict=True)]


class Memory:
    """Entries of an open set of classes.

    Parameters
    ----------
    size
        Entries at most, at least 0.
    balanced
        Whether classes are to have about as many: an entry of a class that has never had most takes the place of a
        random one of the class that has most; of a class that has, it takes the place of a random one of its own, with
        the probability that its class has of being kept. Otherwise every entry is kept with the same probability.
    seed
        Of the draws, which are hashes of it and of the entry's number.

    References
    ----------
    .. [1] Vitter, "Random sampling with a reservoir", ACM Trans. Math. Softw. 11 (1985), algorithm R.
    .. [2] Chrysakis, Moens, "Online continual learning from imbalanced data", ICML 2020, algorithm 1.
    """

    def __init__(self, size: int, *, balanced: bool, seed: int) -> None:
        if size < 0:
            raise ValueError(f"memory must be at least 0, got {size}")
        self.size, self.balanced, self.seed = size, balanced, seed
        self.entries: list[Entry] = []
        self.counts = np.zeros((0, 3), np.int64)

    def offer(self, entry: Entry, number: int) -> None:
        """Keep entry ``number`` of the stream, from 0, or do not."""
        if self.size == 0:
            return
        self.counts = with_room(self.counts, entry.row + 1)
        self.counts[entry.row, SEEN] += 1
        place = len(self.entries)
        if place < self.size:
            self.entries.append(entry)
        else:
            place = self._place_of_own(entry, number) if self.balanced else draw(self.seed, number, _PLACE, number + 1)
            if place >= self.size:
                return
            self.counts[self.entries[place].row, STORED] -= 1
            self.entries[place] = entry
        self.counts[entry.row, STORED] += 1

    def _place_of_own(self, entry: Entry, number: int) -> int:
        """Whose place an entry takes where classes are balanced; ``size``: nobody's."""
        stored = self.counts[:, STORED]
        self.counts[stored == stored.max(), FULL] = 1
        giving = entry.row
        if not self.counts[entry.row, FULL]:
            giving = int(stored.argmax())
        elif uniform(self.seed, number, _KEEP) * self.counts[entry.row, SEEN] >= stored[entry.row]:
            return self.size
        mine = [place for place, held in enumerate(self.entries) if held.row == giving]
        return mine[draw(self.seed, number, _PLACE, len(mine))]

    def drawn(self, n: int, turn: int) -> list[Entry]:
        """``n`` different entries, or all where there are fewer; which, depends on the turn."""
        n = min(n, len(self.entries))
        random = np.random.default_rng([self.seed, turn])
        return [self.entries[place] for place in random.choice(len(self.entries), n, replace=False)] if n else []

    def get_state(self, n_classes: int) -> State:
        """Everything kept."""
        self.counts = with_room(self.counts, n_classes)
        return {**pack_entries("memory", self.entries), "memory_counts": self.counts[:n_classes].copy()}

    def set_state(self, state: State) -> None:
        """Take over what `get_state` gave; further arrays are passed over.

        Raises
        ------
        ValueError
            There are more entries than there may be.
        """
        entries = unpack_entries("memory", state)
        if len(entries) > self.size:
            raise ValueError(f"state 'memory_rows' must have at most {self.size} rows, got {len(entries)}")
        self.entries, self.counts = entries, state["memory_counts"].copy()
