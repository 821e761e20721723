"""A reservoir of vectors in which classes have about as many, however often each of them comes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State, with_room

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Labels = NDArray[np.int32]
Integers = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)

_KEEP, _PLACE, REPLAY = range(3)
"""Numbers of the draws of a vector: whether it is kept, and in whose place; from ``REPLAY`` on they are free."""

SEEN, STORED, FULL = range(3)
"""Columns of what is counted of a class: its vectors so far, those in the reservoir, and whether it ever had most."""


class Reservoir:
    """Vectors of an open set of classes, of each of which a uniform sample is kept, the largest giving way.

    Parameters
    ----------
    size
        Vectors at most, at least 0.

    Notes
    -----
    Everything is kept while there is room. Then a vector of a class that has never had most takes the place of a random
    one of the class that has most; of a class that has, it takes the place of a random one of its own, with the
    probability that its class has of being kept.

    Draws are hashes of the seed, the number of the vector and the number of the draw: none depends on how many were
    made before it. Single precision: 4 d + 12 bytes a vector, which grow to ``size``, and 24 a class. O(d + K + size) a
    vector.

    References
    ----------
    .. [1] Chrysakis, Moens, "Online continual learning from imbalanced data", ICML 2020, algorithm 1.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"buffer must be at least 0, got {size}")
        self.size = size
        self.n_stored = np.zeros(1, np.int64)
        self.counts = np.zeros((0, 3), np.int64)
        self.vectors = np.zeros((0, 0), np.float32)
        self.rows = np.zeros(0, np.int32)
        self.weight = np.zeros(0)

    def grow(self, width: int) -> None:
        """Room for vectors of ``width`` columns, of which earlier ones had zeros."""
        more = width - self.vectors.shape[1]
        if more > 0:
            self.vectors = np.pad(self.vectors, ((0, 0), (0, more)))

    def make_room(self, n: int, n_classes: int) -> None:
        """Room for ``n`` vectors more, as far as they are kept, of classes in so many rows."""
        n = min(self.size, int(self.n_stored[0]) + n)
        self.counts = with_room(self.counts, n_classes)
        for name in ("vectors", "rows", "weight"):
            setattr(self, name, with_room(getattr(self, name), n)[: self.size])

    def get_state(self, n_classes: int) -> State:
        """Copies of everything kept."""
        n = int(self.n_stored[0])
        return {
            "reservoir": self.vectors[:n].copy(),
            "reservoir_rows": self.rows[:n].copy(),
            "reservoir_weight": self.weight[:n].copy(),
            "reservoir_counts": self.counts[:n_classes].copy(),
        }

    def set_state(self, state: State) -> None:
        """Take over what `get_state` gave; further entries are passed over.

        Raises
        ------
        ValueError
            There are more vectors than there may be.
        """
        n = len(state["reservoir"])
        if n > self.size:
            raise ValueError(f"state 'reservoir' must have at most {self.size} rows, got {n}")
        self.n_stored = np.array([n], np.int64)
        self.counts = state["reservoir_counts"].copy()
        self.vectors = np.array(state["reservoir"], np.float32, order="C")
        self.rows, self.weight = state["reservoir_rows"].copy(), state["reservoir_weight"].copy()


@njit(cache=True, nogil=True)
def keep(
    x: Floats,
    k: int,
    w: float,
    seed: int,
    number: int,
    size: int,
    n_stored: Integers,
    counts: Integers,
    vectors: Floats32,
    rows: Labels,
    weight: Floats,
) -> None:
    """Offer a vector of the class in row ``k``, vector ``number`` of the stream, to a reservoir of ``size``."""
    if size == 0:
        return
    counts[k, SEEN] += 1
    if n_stored[0] < size:
        place = n_stored[0]
        n_stored[0] += 1
    else:
        largest = counts[:, STORED].max()
        for other in range(len(counts)):
            if counts[other, STORED] == largest:
                counts[other, FULL] = 1
        giving = k
        if not counts[k, FULL]:
            giving = int(np.argmax(counts[:, STORED]))
        elif uniform(seed, number, _KEEP) * counts[k, SEEN] >= counts[k, STORED]:
            return
        left = draw(seed, number, _PLACE, counts[giving, STORED])
        place = -1
        while left >= 0:
            place += 1
            if rows[place] == giving:
                left -= 1
        counts[giving, STORED] -= 1
    counts[k, STORED] += 1
    rows[place], weight[place] = k, w
    for j in range(len(x)):
        vectors[place, j] = x[j]


@njit(cache=True, nogil=True)
def draw(seed: int, number: int, which: int, n: int) -> int:
    """One of 0 .. n - 1: draw ``which`` of vector ``number``."""
    return int(uniform(seed, number, which) * n)


@njit(cache=True, nogil=True)
def uniform(seed: int, number: int, which: int) -> float:
    """A number in [0, 1): draw ``which`` of vector ``number``, by three rounds of SplitMix64."""
    mixed = _mix(_mix(_mix(np.uint64(seed)) ^ np.uint64(number)) ^ np.uint64(which))
    return float(mixed >> _SHIFTS[3]) * 2.0**-53


@njit(cache=True, nogil=True)
def _mix(bits):
    bits = bits + _GOLDEN
    bits = (bits ^ (bits >> _SHIFTS[0])) * _FACTORS[0]
    bits = (bits ^ (bits >> _SHIFTS[1])) * _FACTORS[1]
    return bits ^ (bits >> _SHIFTS[2])
