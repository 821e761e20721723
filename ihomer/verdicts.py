"""What every node of a label tree says at a structural test: its halves, and the best ones, judged in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.label_tree import LabelTree
from ihomer.partition import TIE, Similarities, best_sides, weigh_halves


class Verdicts(NamedTuple):
    """An entry a record of the tree.

    ``size`` is the number of labels below a node and ``smaller`` that of its smaller half. ``gain`` and ``bound``
    (see `ihomer.partition.judge`) are those of the node's present halves, NaN for a leaf; ``best_gain`` and
    ``best_bound`` those of the halves that `ihomer.partition.halve` finds, NaN where they do not matter: for a leaf of
    which the size alone decides, and for an inner node where they cannot be ahead by more than ``bound``.
    """

    size: NDArray[np.int64]
    smaller: NDArray[np.int64]
    gain: NDArray[np.float64]
    bound: NDArray[np.float64]
    best_gain: NDArray[np.float64]
    best_bound: NDArray[np.float64]


def verdicts(tree: LabelTree, similarities: Similarities, delta: float, min_size: int, max_size: int) -> Verdicts:
    """Judge all nodes.

    Notes
    -----
    The numbers are those of `ihomer.partition.halve` and `judge` for one node after another, but for rounding. Each
    label's row of similarities is sorted by where the other label stands in the tree, once; what concerns a node is
    then a stretch of it, so that a pair costs time at the nodes that hold both of its labels, and no others.

    Other halves of an inner node are looked for where they may be better by more than ``bound``. The gain of halves
    with ``w`` pairs within is at most the sum of all similarities divided by w, and w is smallest where the halves are
    of one size; so most nodes far from the leaves, whose labels have little in common, need no look.
    """
    placed = np.flatnonzero(tree.leaf >= 0)
    order = placed[np.lexsort((placed, -similarities.support[placed]))]
    return Verdicts(*_weigh(tree.nodes, tree.leaf, order, similarities, delta, min_size, max_size))


@njit(cache=True, nogil=True)
def _stretches(nodes, leaf, order):
    """Nodes that have labels, from the root down, and the stretch of positions that each has: its first position and
    its number of labels. The positions of all labels below a node are next to each other."""
    parent, first, second = nodes["parent"], nodes["first"], nodes["second"]
    n_nodes = parent.shape[0]
    size, begin = np.zeros(n_nodes, np.int64), np.zeros(n_nodes, np.int64)
    for label in order:
        row = np.int64(leaf[label])
        while row >= 0:
            size[row] += 1
            row = parent[row]
    rows, waiting = np.empty(n_nodes, np.int64), np.empty(n_nodes, np.int64)
    n, n_waiting, position = 0, 0, 0
    for i in range(n_nodes):
        if nodes["id"][i] >= 0 and parent[i] < 0:
            waiting[0], n_waiting = i, 1
    while n_waiting > 0:
        n_waiting -= 1
        row = waiting[n_waiting]
        rows[n], begin[row] = row, position
        n += 1
        if first[row] < 0:
            position += size[row]
        else:
            waiting[n_waiting], waiting[n_waiting + 1] = second[row], first[row]
            n_waiting += 2
    return rows[:n], begin, size


@njit(cache=True, nogil=True)
def _by_position(labels, at, similarities):
    """The similarities between labels of the tree, with labels called by position, and in that order in every row."""
    low, high, column, jaccard, support, _ = similarities
    n = labels.shape[0]
    start = np.zeros(n + 1, np.int64)
    for p in range(n):
        start[p + 1] = start[p]
        for cell in range(low[labels[p]], high[labels[p]]):
            if at[column[cell]] >= 0:
                start[p + 1] += 1
    end = start[:-1].copy()
    other, similarity = np.empty(start[n], np.int32), np.empty(start[n], np.float64)
    for p in range(n):
        for cell in range(low[labels[p]], high[labels[p]]):
            q = at[column[cell]]
            if q >= 0:
                other[end[q]], similarity[end[q]] = p, jaccard[cell]
                end[q] += 1
    return Similarities(start[:-1], end, other, similarity, support[labels], np.full(n, -1, np.int64))


@njit(cache=True, nogil=True)
def _weigh(nodes, leaf, order, similarities, delta, min_size, max_size):
    n, n_nodes = order.shape[0], nodes.shape[0]
    rows, begin, size = _stretches(nodes, leaf, order)
    at = np.full(leaf.shape[0], -1, np.int64)
    labels, standing = np.empty(n, np.int64), np.empty(n, np.int64)
    free = begin.copy()
    for i in range(n):
        position = free[leaf[order[i]]]
        free[leaf[order[i]]] += 1
        at[order[i]], labels[position], standing[position] = position, order[i], i
    within = _by_position(labels, at, similarities)
    low, high, other = within.low, within.high, within.column
    side = np.empty(n, np.int8)
    factor = np.sqrt(np.log(1.0 / delta) / 2.0)
    smaller = np.zeros(n_nodes, np.int64)
    gain, bound, best_gain, best_bound = np.full((4, n_nodes), np.nan)
    for row in rows:
        m, start, end = size[row], begin[row], begin[row] + size[row]
        for p in range(start, end):
            while low[p] < high[p] and other[low[p]] < start:
                low[p] += 1
            while low[p] < high[p] and other[high[p] - 1] >= end:
                high[p] -= 1
        if nodes["first"][row] >= 0:
            smaller[row] = min(size[nodes["first"][row]], size[nodes["second"][row]])
            for p in range(start, end):
                side[p] = p >= begin[nodes["second"][row]]
            gain[row], scale, most = weigh_halves(np.arange(start, end), side[start:end], within)
            bound[row] = factor * scale
            if most - gain[row] <= bound[row] - TIE:
                continue
        elif m < 2 * min_size or m > max_size:
            continue
        positions = start + np.argsort(standing[start:end])
        least = max(min_size, m // 4) if m > max_size else min_size
        best = best_sides(positions, within, least)
        best_gain[row], scale, _ = weigh_halves(positions, best, within)
        best_bound[row] = factor * scale
    return size, smaller, gain, bound, best_gain, best_bound
