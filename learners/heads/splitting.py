"""Sub-prototypes: several centroids a class, by online k-means that begins with one and splits the largest."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State, with_room

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]

EVERY = 15
"""A class has at most one centroid for so many events."""

_USED, _FROZEN = range(2)
"""Places in the counters: centroids in use, and those that there were when they were last frozen."""


class Centroids:
    """A few centroids for each class, which keep no event.

    Parameters
    ----------
    n_most
        Centroids of one class at most, at least 1.

    Notes
    -----
    A vector moves the nearest centroid of its class, which is a running mean. Beside it runs the mean of its
    deviations, each with the sign that brings it to the side of that mean: half the way between the two halves of what
    belongs to the centroid. When a class has `EVERY` events for each of its centroids and fewer than ``n_most``, the
    one that counts most is split: one goes half the way to one side and one to the other, and each gets half of the
    count. So no centroid is ever a single event's vector but for the first of its class, as every mean is.

    The order of events matters. Single precision: with K classes of n centroids, 12 K n d bytes for them, their halves
    and the centroids as they were frozen. O(n d) a vector.

    References
    ----------
    .. [1] Hou, Zhang, Wang, Zhou, "Subclass-balancing contrastive learning for long-tailed recognition", ICCV 2023,
       section 3.2, clusters each class anew every few epochs; splitting is our way to do so online.
    """

    def __init__(self, n_most: int) -> None:
        self.n_most = n_most
        self.counters = np.zeros(2, np.int64)
        self.first = np.zeros(0, np.int64)
        self.following = np.zeros(0, np.int64)
        self.owner = np.zeros(0, np.int64)
        self.count = np.zeros(0)
        self.vectors = np.zeros((0, 0), np.float32)
        self.halves = np.zeros((0, 0), np.float32)
        self.frozen_count = np.zeros(0)
        self.frozen_vectors = np.zeros((0, 0), np.float32)
        self.touched = np.zeros(0, np.bool_)

    def grow(self, width: int) -> None:
        """Room for vectors of ``width`` columns, of which earlier ones had zeros."""
        more = width - self.vectors.shape[1]
        if more > 0:
            for name in ("vectors", "halves", "frozen_vectors"):
                setattr(self, name, np.pad(getattr(self, name), ((0, 0), (0, more))))

    def learn(self, x: Floats, rows: Integers, weight: Floats) -> None:
        """Learn the vectors ``x`` of the classes that have these rows, with their weights."""
        # The first vector of a class may be heavy enough to split it at once.
        self.make_room(2 * len(x), int(rows.max(initial=-1)) + 1)
        _learn(
            x.astype(np.float32), rows, weight, self.n_most, self.counters, self.first, self.following, self.owner,
            self.count, self.vectors, self.halves, self.touched,
        )  # fmt: skip

    def make_room(self, n: int, n_classes: int) -> None:
        """Room for what so many vectors may add, of classes in so many rows."""
        n += int(self.counters[_USED])
        self.first = with_room(self.first, n_classes, -1)
        self.following = with_room(self.following, n, -1)
        for name in ("owner", "count", "vectors", "halves", "frozen_count", "frozen_vectors", "touched"):
            setattr(self, name, with_room(getattr(self, name), n))

    def freeze(self) -> None:
        """Keep the centroids as they are now beside those that go on."""
        moved = np.flatnonzero(self.touched)
        self.frozen_count[moved], self.frozen_vectors[moved] = self.count[moved], self.vectors[moved]
        self.counters[_FROZEN] = self.counters[_USED]
        self.touched[:] = False

    def present(self) -> tuple[Integers, Floats, Floats32]:
        """Row of the class, weight and vector of every centroid as it is now; views."""
        used = int(self.counters[_USED])
        return self.owner[:used], self.count[:used], self.vectors[:used]

    def frozen(self) -> tuple[Integers, Floats, Floats32]:
        """Row of the class, weight and vector of every centroid as it was frozen; views."""
        used = int(self.counters[_FROZEN])
        return self.owner[:used], self.frozen_count[:used], self.frozen_vectors[:used]

    def get_state(self) -> State:
        """Copies of everything learned."""
        used, frozen = int(self.counters[_USED]), int(self.counters[_FROZEN])
        return {
            "centroid_rows": self.owner[:used].copy(),
            "centroid_counts": self.count[:used].copy(),
            "centroids": self.vectors[:used].copy(),
            "centroid_halves": self.halves[:used].copy(),
            "frozen_centroid_counts": self.frozen_count[:frozen].copy(),
            "frozen_centroids": self.frozen_vectors[:frozen].copy(),
        }

    def set_state(self, state: State) -> None:
        """Take over what `get_state` gave; further entries are passed over."""
        self.__init__(self.n_most)  # type: ignore[misc]
        rows = state["centroid_rows"]
        used, frozen = len(rows), len(state["frozen_centroids"])
        self.grow(state["centroids"].shape[1])
        self.make_room(used, int(rows.max(initial=-1)) + 1)
        self.counters[:] = used, frozen
        self.owner[:used], self.count[:used] = rows, state["centroid_counts"]
        self.vectors[:used], self.halves[:used] = state["centroids"], state["centroid_halves"]
        self.frozen_count[:frozen] = state["frozen_centroid_counts"]
        self.frozen_vectors[:frozen] = state["frozen_centroids"]
        # The first centroid of a class stands behind its later ones, as the kernel puts them.
        for place in range(used):
            self.following[place] = self.first[rows[place]]
            self.first[rows[place]] = place
        self.touched[:used] = True


@njit(cache=True, nogil=True)
def _learn(
    x: Floats32,
    rows: Integers,
    weight: Floats,
    n_most: int,
    counters: Integers,
    first: Integers,
    following: Integers,
    owner: Integers,
    count: Floats,
    vectors: Floats32,
    halves: Floats32,
    touched: NDArray[np.bool_],
) -> None:
    for i in range(len(x)):
        learn_vector(
            x[i], rows[i], weight[i], n_most, counters, first, following, owner, count, vectors, halves, touched
        )


@njit(cache=True, nogil=True)
def learn_vector(
    x: Floats32,
    row: int,
    w: float,
    n_most: int,
    counters: Integers,
    first: Integers,
    following: Integers,
    owner: Integers,
    count: Floats,
    vectors: Floats32,
    halves: Floats32,
    touched: NDArray[np.bool_],
) -> None:
    """One vector of weight ``w`` of the class in a row."""
    nearest, least, total, n = -1, np.inf, w, 0
    place = first[row]
    while place >= 0:
        gap = squared_distance(x, vectors[place])
        if nearest < 0 or gap <= least:
            nearest, least = place, gap
        total += count[place]
        n += 1
        place = following[place]
    if nearest < 0:
        nearest, n = add_centroid(row, counters, first, following, owner), 1
    move(x, w, nearest, count, vectors, halves)
    touched[nearest] = True
    if n < n_most and total >= EVERY * n:
        largest = place = first[row]
        while place >= 0:
            if count[place] >= count[largest]:
                largest = place
            place = following[place]
        new = add_centroid(row, counters, first, following, owner)
        count[largest] /= 2
        count[new] = count[largest]
        for j in range(len(x)):
            half = halves[largest, j]
            vectors[new, j] = vectors[largest, j] - half
            vectors[largest, j] += half
            halves[largest, j] = 0
        touched[largest] = touched[new] = True


@njit(cache=True, nogil=True)
def add_centroid(row: int, counters: Integers, first: Integers, following: Integers, owner: Integers) -> int:
    """One more centroid, still of zeros, for the class of ``row``; its place."""
    new = counters[_USED]
    owner[new], following[new], first[row] = row, first[row], new
    counters[_USED] += 1
    return int(new)


@njit(cache=True, nogil=True)
def move(x: Floats32, w: float, place: int, count: Floats, vectors: Floats32, halves: Floats32) -> None:
    """Move a centroid and its half deviation by a vector of weight ``w``."""
    side = np.float32(0)
    for j in range(len(x)):
        side += halves[place, j] * (x[j] - vectors[place, j])
    sign = np.float32(1 if side >= 0 else -1)
    count[place] += w
    rate = np.float32(w / count[place])
    for j in range(len(x)):
        gap = x[j] - vectors[place, j]
        halves[place, j] += rate * (sign * gap - halves[place, j])
        vectors[place, j] += rate * gap
    if count[place] == w:
        halves[place] = 0


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def single_dot(a: Floats32, b: Floats32) -> float:
    """Inner product in single precision; its order of summation is the same for every pair of one length."""
    total = np.float32(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return float(total)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def squared_distance(a: Floats32, b: Floats32) -> float:
    """Squared distance; its order of summation is the same for every pair of one length."""
    total = np.float32(0)
    for j in range(len(a)):
        total += (a[j] - b[j]) ** 2
    return float(total)
