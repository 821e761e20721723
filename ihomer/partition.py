"""Splitting a set of labels in two, and judging a split: by average linkage over sparse Jaccard similarities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.cooccurrence import CooccurrenceStore

TIE = 1e-9
"""Similarities closer than this are equal: sums taken in another order must not decide."""

SWEEPS = 4
"""How often every label may change sides after the first assignment."""


class Similarities(NamedTuple):
    """Jaccard similarities of pairs seen together, as symmetric rows: those of label ``a`` stand at
    ``low[a]:high[a]`` of ``column`` and ``jaccard``; ``support`` is each label's (decayed) number of events.
    ``rank`` is all -1 and belongs to the kernels, which would otherwise need a new array of that length each."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    column: NDArray[np.int32]
    jaccard: NDArray[np.float64]
    support: NDArray[np.float64]
    rank: NDArray[np.int64]

    @classmethod
    def of(cls, store: CooccurrenceStore, least: float = 0.0) -> Similarities:
        """What the store holds now of labels with at least so many events."""
        start, column, jaccard = store.neighbours(least)
        return cls(start[:-1], start[1:], column, jaccard, store.occurrence, np.full(store.n_labels, -1, np.int64))

    def of_label(self, label: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The labels that have been seen with ``label``, and how similar they are."""
        cells = slice(self.low[label], self.high[label])
        return self.column[cells], self.jaccard[cells]


class Distances(NamedTuple):
    """Jaccard distances within a set of labels: smallest, two largest, mean over pairs, and the pair farthest apart."""

    d0: float
    d1: float
    d2: float
    mean: float
    pivots: tuple[int, int]

    def told(self) -> dict[str, float | None]:
        """As it stands in a structural event; NaN has no place in JSON."""
        return {"d0": self.d0, "d1": self.d1, "d2": None if math.isnan(self.d2) else self.d2, "mean": self.mean}


class Halves(NamedTuple):
    """A set of labels in two: ``gain`` is the mean similarity of pairs within the halves minus that of pairs across."""

    labels: NDArray[np.int64]
    side: NDArray[np.int8]
    gain: float
    bound: float

    def half(self, side: int) -> NDArray[np.int64]:
        """The labels of one half, ascending."""
        chosen: NDArray[np.int64] = self.labels[self.side == side]
        return chosen


def distances(labels: NDArray[np.int64], similarities: Similarities) -> Distances | None:
    """Distances within a set of labels (ascending); None for fewer than two.

    A pair never seen together is at distance 1. ``d2`` is NaN where there is one pair only. Among several pairs at the
    largest distance the pivots are the first in order. The cost is the number of pairs seen together, not of all pairs.
    """
    if len(labels) < 2:
        return None
    d0, d1, d2, mean, p, q = _distances(labels, similarities)
    return Distances(d0, d1, d2, mean, (int(p), int(q)))


def halve(labels: NDArray[np.int64], similarities: Similarities, least: int, delta: float) -> Halves:
    """Split at least two labels (ascending) by average linkage.

    The best supported label founds one half and the label least similar to it (the best supported among equals) the
    other; the rest follow in the order of their support, each to the half with the larger mean similarity, the smaller
    half where these are equal; then every label may change sides, ``SWEEPS`` times. If a half ends with fewer than
    ``least`` labels, it gets those of the other half that miss it least.

    The first half is the one with the first label; for ``gain`` and ``bound`` see `judge`.
    """
    order = np.lexsort((labels, -similarities.support[labels]))
    side = best_sides(labels[order], similarities, least)
    sides = np.empty(len(labels), np.int8)
    sides[order] = side
    if sides[0] == 1:
        sides = np.asarray(1 - sides, np.int8)
    return judge(labels, sides, similarities, delta)


def judge(labels: NDArray[np.int64], side: NDArray[np.int8], similarities: Similarities, delta: float) -> Halves:
    """Gain and bound of a given split; both halves must have a label.

    A pair's Jaccard similarity is a mean over the m events that carry either label, and m is at least
    sqrt(n_a n_b); so it is sub-Gaussian with a scale of at most (n_a n_b)^(-1/4) / 2. Scales of dependent quantities
    add at most linearly, so a mean over pairs has at most the mean scale, and a difference of two the sum. That gives
    the bound sqrt(ln(1/delta) / 2) (mean within + mean across) of (n_a n_b)^(-1/4), whatever the dependence between
    pairs: with probability ``delta`` at most the gain is off by more.
    """
    gain, scale, _ = weigh_halves(labels, side, similarities)
    return Halves(labels, side, gain, math.sqrt(math.log(1 / delta) / 2) * scale)


def shuffled(clusters: Sequence[Sequence[int]], seed: int, change: int) -> list[list[int]]:
    """Random clusters of the same sizes over the same labels, to tell what the right ones are worth.

    Parameters
    ----------
    clusters
        Disjoint label lists.
    seed, change
        The draw depends on these two, the labels and the sizes alone. With the number of structural events so far as
        ``change`` the clusters are drawn anew whenever the real ones change.

    Examples
    --------
    >>> shuffled([[0, 1, 2], [3], [4, 5]], seed=1, change=0)
    [[0, 2, 4], [1], [3, 5]]
    """
    labels = np.array([label for cluster in clusters for label in cluster], np.int64)
    drawn = np.random.default_rng([seed, change]).permutation(np.sort(labels))
    ends = np.cumsum([len(cluster) for cluster in clusters])
    return [sorted(drawn[end - len(cluster) : end].tolist()) for cluster, end in zip(clusters, ends, strict=True)]


@njit(cache=True, nogil=True)
def _distances(labels, similarities):
    low, high, column, jaccard, _, rank = similarities
    for i in range(labels.shape[0]):
        rank[labels[i]] = i
    n_seen = 0
    total, smallest_distance = 0.0, 2.0
    first, second = -1.0, -1.0
    p, q = labels[0], labels[1]
    mark = np.full(labels.shape[0], -1, np.int64)
    apart = False
    for i in range(labels.shape[0]):
        a = labels[i]
        for cell in range(low[a], high[a]):
            j = rank[column[cell]]
            if j <= i:
                continue
            mark[j] = i
            distance = 1.0 - jaccard[cell]
            n_seen += 1
            total += jaccard[cell]
            smallest_distance = min(smallest_distance, distance)
            if distance > first:
                first, second = distance, first
            elif distance > second:
                second = distance
            if not apart and distance == first:
                b = labels[j]
                farther = second < first
                if farther or a < p or (a == p and b < q):
                    p, q = a, b
        if not apart:
            # The first pair never seen together; the scan stops at most one past this label's neighbours.
            for j in range(i + 1, labels.shape[0]):
                if mark[j] != i:
                    p, q, apart = a, labels[j], True
                    break
    for i in range(labels.shape[0]):
        rank[labels[i]] = -1
    n_pairs = labels.shape[0] * (labels.shape[0] - 1) // 2
    if n_seen == 0:
        smallest_distance = 1.0
    if n_pairs - n_seen >= 2:
        first, second = 1.0, 1.0
    elif n_pairs - n_seen == 1:
        first, second = 1.0, first
    if n_pairs == 1:
        second = np.nan
    return smallest_distance, first, second, (n_pairs - total) / n_pairs, p, q


@njit(cache=True, nogil=True)
def _join(label, to, similarities, linkage):
    """Tell a label's neighbours that it has joined a half."""
    low, high, column, jaccard, _, rank = similarities
    for cell in range(low[label], high[label]):
        j = rank[column[cell]]
        if j >= 0:
            linkage[to, j] += jaccard[cell]


@njit(cache=True, nogil=True)
def _change(label, own, to, similarities, linkage):
    """Tell a label's neighbours that it has changed sides."""
    low, high, column, jaccard, _, rank = similarities
    for cell in range(low[label], high[label]):
        j = rank[column[cell]]
        if j >= 0:
            linkage[own, j] -= jaccard[cell]
            linkage[to, j] += jaccard[cell]


@njit(cache=True, nogil=True)
def best_sides(labels: NDArray[Any], similarities: Similarities, least: int) -> NDArray[Any]:
    """The side of each label in the best halves (see `halve`); the labels come in the order of their support."""
    rank = similarities.rank
    n = labels.shape[0]
    for i in range(n):
        rank[labels[i]] = i
    side = np.full(n, -1, np.int8)
    linkage = np.zeros((2, n))
    size = np.zeros(2, np.int64)

    _join(labels[0], 0, similarities, linkage)
    other = 1
    for i in range(2, n):
        if linkage[0, i] < linkage[0, other] - TIE:
            other = i
    _join(labels[other], 1, similarities, linkage)
    side[0], side[other] = 0, 1
    size[0], size[1] = 1, 1

    for i in range(1, n):
        if i == other:
            continue
        preference = linkage[1, i] / size[1] - linkage[0, i] / size[0]
        if abs(preference) <= TIE:
            to = 1 if size[1] < size[0] else 0
        else:
            to = 1 if preference > 0 else 0
        side[i] = to
        size[to] += 1
        _join(labels[i], to, similarities, linkage)

    for _ in range(SWEEPS):
        moved = False
        for i in range(n):
            own = side[i]
            if size[own] == 1:
                continue
            to = 1 - own
            if linkage[to, i] / size[to] > linkage[own, i] / (size[own] - 1) + TIE:
                side[i] = to
                size[own] -= 1
                size[to] += 1
                _change(labels[i], own, to, similarities, linkage)
                moved = True
        if not moved:
            break

    for to in range(2):
        own = 1 - to
        while size[to] < least and size[own] > least:
            best, best_loss = -1, np.inf
            for i in range(n):
                if side[i] == own:
                    loss = linkage[own, i] / (size[own] - 1) - linkage[to, i] / size[to]
                    if loss < best_loss - TIE:
                        best, best_loss = i, loss
            side[best] = to
            size[own] -= 1
            size[to] += 1
            _change(labels[best], own, to, similarities, linkage)
    for i in range(n):
        rank[labels[i]] = -1
    return side


@njit(cache=True, nogil=True)
def weigh_halves(labels: NDArray[Any], side: NDArray[Any], similarities: Similarities) -> tuple[float, float, float]:
    """Mean similarity within minus across; the mean scales of both added (see `judge`); and what the former is at most
    for any halves of these labels."""
    low, high, column, jaccard, support, rank = similarities
    n = labels.shape[0]
    size = np.zeros(2, np.int64)
    total, square = np.zeros(2), np.zeros(2)
    for i in range(n):
        rank[labels[i]] = i
        size[side[i]] += 1
        scale = support[labels[i]] ** -0.25
        total[side[i]] += scale
        square[side[i]] += scale * scale
    within, across = 0.0, 0.0
    for i in range(n):
        for cell in range(low[labels[i]], high[labels[i]]):
            j = rank[column[cell]]
            if j > i:
                if side[i] == side[j]:
                    within += jaccard[cell]
                else:
                    across += jaccard[cell]
    for i in range(n):
        rank[labels[i]] = -1
    n_across = size[0] * size[1]
    n_within = n * (n - 1) // 2 - n_across
    fewest_within = (n - 1) * (n - 1) // 4
    scale = total[0] * total[1] / n_across
    most = (within + across) / fewest_within if fewest_within > 0 else 0.0
    if n_within > 0:
        within /= n_within
        scale += (total[0] ** 2 - square[0] + total[1] ** 2 - square[1]) / (2 * n_within)
    return within - across / n_across, scale, most
