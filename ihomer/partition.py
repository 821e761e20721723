"""Splitting a set of labels in two, and judging a split: by average linkage over sparse Jaccard similarities."""

from __future__ import annotations

import math
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
    """Jaccard similarities of all pairs seen together, as symmetric rows: those of label ``a`` stand at
    ``start[a]:start[a + 1]`` of ``column`` and ``jaccard``; ``support`` is each label's (decayed) number of events.
    ``rank`` is all -1 and belongs to the kernels, which would otherwise need a new array of that length each."""

    start: NDArray[np.int64]
    column: NDArray[np.int32]
    jaccard: NDArray[np.float64]
    support: NDArray[np.float64]
    rank: NDArray[np.int64]

    @classmethod
    def of(cls, store: CooccurrenceStore) -> Similarities:
        """What the store holds now."""
        return cls(*store.neighbours(), store.occurrence, np.full(store.n_labels, -1, np.int64))


class Distances(NamedTuple):
    """Jaccard distances within a set of labels: smallest, two largest, mean over pairs, and the pair farthest apart."""

    d0: float
    d1: float
    d2: float
    mean: float
    pivots: tuple[int, int]


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


def hoeffding(delta: float, n: float) -> float:
    """How far the mean of n values in [0, 1] may be above its expectation with probability ``delta``."""
    return math.sqrt(math.log(1 / delta) / (2 * n))


def _rows(similarities: Similarities) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    return similarities.start, similarities.column, similarities.jaccard, similarities.rank


def distances(labels: NDArray[np.int64], similarities: Similarities) -> Distances | None:
    """Distances within a set of labels (ascending); None for fewer than two.

    A pair never seen together is at distance 1. ``d2`` is NaN where there is one pair only. Among several pairs at the
    largest distance the pivots are the first in order. The cost is the number of pairs seen together, not of all pairs.
    """
    if len(labels) < 2:
        return None
    d0, d1, d2, mean, p, q = _distances(labels, *_rows(similarities))
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
    side = _halve(labels[order], *_rows(similarities), least)
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
    gain, scale = _judge(labels, side, *_rows(similarities), similarities.support)
    return Halves(labels, side, gain, math.sqrt(math.log(1 / delta) / 2) * scale)


def published_halves(
    labels: NDArray[np.int64], found: Distances, epsilon: float, tau: float, similarities: Similarities
) -> tuple[list[int], list[int]] | None:
    """The published split of a leaf, or None where its rule says no.

    It splits if d1 - d2 > epsilon or tau > epsilon, and (d1 - d0) |d1 + d0 - 2 mean| > epsilon. The pivots found the
    halves and every other label joins the nearer one, the second where both are equally near.

    Parameters
    ----------
    labels
        All labels of the leaf, ascending, the never seen ones too.
    found
        Distances among its labels that have been seen.
    epsilon, tau
        Hoeffding's bound for the leaf's events, and the bound below which ties are broken.
    similarities
        What the store holds.
    """
    clear = found.d1 - found.d2 > epsilon or tau > epsilon
    if not clear or (found.d1 - found.d0) * abs(found.d1 + found.d0 - 2 * found.mean) <= epsilon:
        return None
    to_first, to_second = (np.zeros(len(similarities.support)) for _ in range(2))
    for pivot, to in zip(found.pivots, (to_first, to_second), strict=True):
        cells = slice(similarities.start[pivot], similarities.start[pivot + 1])
        to[similarities.column[cells]] = similarities.jaccard[cells]
    to_first[found.pivots[0]] = to_second[found.pivots[1]] = 2.0
    nearer_first = to_first[labels] > to_second[labels]
    return labels[nearer_first].tolist(), labels[~nearer_first].tolist()


def unite_small(leaves: list[tuple[list[int], int, int]], least: int) -> list[list[int]]:
    """The published second stage: leaves of the tree with fewer than ``least`` labels join others.

    Parameters
    ----------
    leaves
        Labels, depth and parent's number of each leaf.
    least
        Labels that a cluster should have.

    Notes
    -----
    At most ten rounds. In each, from the deepest level up, a small leaf joins a leaf of the same parent, a small one
    first; else the group united earlier whose level is nearest; from the sixth round on the cluster, of whatever kind,
    whose level is nearest. Unlike the published code this starts from all leaves, so that none gets lost.
    """
    groups = [(sorted(labels), depth, parent, False) for labels, depth, parent in leaves]
    for attempt in range(10):
        small = sorted((g for g in groups if len(g[0]) < least), key=lambda g: -g[1])
        if not small:
            break
        for group in small:
            if group not in groups:
                continue
            others = [other for other in groups if other is not group]
            siblings = [other for other in others if other[2] == group[2] and not other[3] and not group[3]]
            siblings.sort(key=lambda other: len(other[0]) >= least)
            near = sorted((o for o in others if o[3] or attempt >= 5), key=lambda o: abs(o[1] - group[1]))
            if siblings or near:
                partner = (siblings or near)[0]
                groups.remove(group)
                groups.remove(partner)
                groups.append((sorted(group[0] + partner[0]), min(group[1], partner[1]), -1, True))
    return sorted(labels for labels, _, _, _ in groups)


@njit(cache=True, nogil=True)
def _distances(labels, start, column, jaccard, rank):
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
        for cell in range(start[a], start[a + 1]):
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
def _move(label, to, rank, start, column, jaccard, linkage, sign):
    """Tell a label's neighbours that it has joined (or left) a half."""
    for cell in range(start[label], start[label + 1]):
        j = rank[column[cell]]
        if j >= 0:
            linkage[to, j] += sign * jaccard[cell]


@njit(cache=True, nogil=True)
def _halve(labels, start, column, jaccard, rank, least):
    n = labels.shape[0]
    for i in range(n):
        rank[labels[i]] = i
    side = np.full(n, -1, np.int8)
    linkage = np.zeros((2, n))
    size = np.zeros(2, np.int64)

    _move(labels[0], 0, rank, start, column, jaccard, linkage, 1.0)
    other = 1
    for i in range(2, n):
        if linkage[0, i] < linkage[0, other] - TIE:
            other = i
    _move(labels[other], 1, rank, start, column, jaccard, linkage, 1.0)
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
        _move(labels[i], to, rank, start, column, jaccard, linkage, 1.0)

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
                _move(labels[i], own, rank, start, column, jaccard, linkage, -1.0)
                _move(labels[i], to, rank, start, column, jaccard, linkage, 1.0)
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
            _move(labels[best], own, rank, start, column, jaccard, linkage, -1.0)
            _move(labels[best], to, rank, start, column, jaccard, linkage, 1.0)
    for i in range(n):
        rank[labels[i]] = -1
    return side


@njit(cache=True, nogil=True)
def _judge(labels, side, start, column, jaccard, rank, support):
    """Mean similarity within minus across, and the mean scales of both added."""
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
        for cell in range(start[labels[i]], start[labels[i] + 1]):
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
    scale = total[0] * total[1] / n_across
    if n_within > 0:
        within /= n_within
        scale += (total[0] ** 2 - square[0] + total[1] ** 2 - square[1]) / (2 * n_within)
    return within - across / n_across, scale
