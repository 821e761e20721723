"""The structural tests published with iHOMER, and its second stage that unites small leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.cooccurrence import CooccurrenceStore
from ihomer.label_tree import LabelTree
from ihomer.partition import Distances, Similarities, distances


def published_tests(
    tree: LabelTree, counts: CooccurrenceStore, delta: float, tau: float
) -> Iterator[tuple[str, int, NDArray[np.int64], dict[str, Any]]]:
    """Test every leaf, depth first: merge its parent if it is wider than that was, else split it if the rule says so.

    Leaves that this makes wait for the next round. What is merged or split starts from zero counts.

    Yields
    ------
    tuple
        ``merge`` or ``split``, the node's record number, all labels below it, and the evidence; after each change.
    """
    similarities = Similarities.of(counts)
    detached: set[int] = set()
    for leaf, labels in tree.members().items():
        seen = labels[similarities.support[labels] > 0]
        found = distances(seen, similarities)
        n = counts.events - int(tree.nodes["since"][leaf])
        if leaf in detached or found is None or n == 0:
            continue
        epsilon = hoeffding(delta, n)
        parent = int(tree.nodes["parent"][leaf])
        if parent >= 0 and found.d1 - tree.nodes["diameter"][parent] > max(tree.nodes["bound"][parent], epsilon):
            detached.update(tree.subtree(parent))
            tree.collapse(parent, counts.events)
            united = tree.labels_of(parent)
            counts.forget(united)
            yield "merge", parent, united, {**found.told(), "bound": epsilon}
        elif len(seen) >= 3 and (halves := published_halves(labels, found, epsilon, tau, similarities)) is not None:
            children = tree.divide(leaf, halves, counts.events, found.d1, epsilon)
            counts.forget(labels)
            yield "split", leaf, labels, {**tree.told(children, halves), **found.told(), "bound": epsilon}


def hoeffding(delta: float, n: float) -> float:
    """How far the mean of n values in [0, 1] may be above its expectation with probability ``delta``."""
    return math.sqrt(math.log(1 / delta) / (2 * n))


def published_halves(
    labels: NDArray[np.int64], found: Distances, epsilon: float, tau: float, similarities: Similarities
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
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
        others, jaccard = similarities.of_label(pivot)
        to[others] = jaccard
    to_first[found.pivots[0]] = to_second[found.pivots[1]] = 2.0
    nearer_first = to_first[labels] > to_second[labels]
    return labels[nearer_first], labels[~nearer_first]


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
