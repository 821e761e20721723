"""Labels that belong with those of another leaf by now, and where they go."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.label_tree import LabelTree
from ihomer.partition import TIE, Similarities


def moves(
    tree: LabelTree, similarities: Similarities, tau: float, min_size: int
) -> list[tuple[int, NDArray[np.int64]]]:
    """Leaves that gain labels, and these, ascending.

    Labels are asked in the order of their support, each knowing where those before it have gone. One moves to the leaf
    with whose labels it has the largest mean similarity (the older leaf among equals) if that is larger than its mean
    similarity with the others of its own by more than ``tau``, and if its own keeps ``min_size`` labels.
    """
    placed = np.flatnonzero(tree.leaf >= 0)
    order = placed[np.lexsort((placed, -similarities.support[placed]))]
    to = _moves(tree.leaf.copy(), tree.nodes["id"], tree.sizes, order, similarities, tau, min_size)
    labels = np.flatnonzero(to >= 0)
    return [(int(leaf), labels[to[labels] == leaf]) for leaf in np.unique(to[labels])]


@njit(cache=True, nogil=True)
def _moves(leaf, id, size, order, similarities, tau, min_size):
    """For each label where it goes, -1 where it stays."""
    low, high, column, jaccard, _, _ = similarities
    linkage = np.zeros(size.shape[0])
    to = np.full(leaf.shape[0], -1, np.int64)
    for label in order:
        own = leaf[label]
        if size[own] <= min_size:
            continue
        for cell in range(low[label], high[label]):
            home = leaf[column[cell]]
            if home >= 0:
                linkage[home] += jaccard[cell]
        best, best_mean = -1, linkage[own] / max(size[own] - 1, 1) + tau
        for cell in range(low[label], high[label]):
            home = leaf[column[cell]]
            if home >= 0 and home != own and linkage[home] > 0.0:
                ahead = linkage[home] / size[home] - best_mean
                if ahead > TIE or (best >= 0 and ahead > -TIE and id[home] < id[best]):
                    best, best_mean = home, linkage[home] / size[home]
        for cell in range(low[label], high[label]):
            home = leaf[column[cell]]
            if home >= 0:
                linkage[home] = 0.0
        if best >= 0:
            leaf[label], to[label] = best, best
            size[own] -= 1
            size[best] += 1
    return to
