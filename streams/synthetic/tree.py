"""Concepts that are random decision trees."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.rows import Rows
from streams.synthetic.features import Features
from streams.synthetic.numbers import Draws, derived_key
from streams.synthetic.schedule import Stages

Floats = NDArray[np.float64]


class TreeConcepts:
    """Random decision trees: one a concept, with a probability for every label in every leaf.

    Parameters
    ----------
    shares
        How often each label is present, whatever the concept.
    features, nominal, categories, sparse
        As in `Features`; numbers are uniform.
    depth
        Splits from the root to every leaf.
    noise
        Probability that a label does not heed the features.
    n_concepts, moving
        How many concepts; whether they are one tree with its borders moved, or each another tree.
    seed
        Sets the concepts.

    Notes
    -----
    The generator of [1]_ for many labels. A split is of a feature drawn uniformly: of a number, at a value in the
    middle half of what the node still has; of a nominal feature, one category from the others. All values are uniform
    and independent, so that the probability of every leaf is known. Each label takes neighbouring leaves, from one
    drawn uniformly on, until they have its share, the last one in part. That part, called r, or 1, or 0, makes
    ``P(y_j | x) = noise * share_j + (1 - noise) * r``, and ``P(y_j)`` is ``share_j`` exactly. Leaves of a label are
    neighbours so that splits near the root tell of it; in [1]_ each leaf's class is drawn by itself.

    Where concepts turn into one another, each feature has a shift, which grows from one concept to the next by 1/4 to
    1/2 up or down: the tree sees ``x + shift`` modulo 1. Borders wander through the values, and probabilities of leaves
    stay. Nominal features and absent cells are not shifted. ``p(x)`` is the same in all concepts. Of very sparse rows a
    split parts off few, so that features say little; `RBFConcepts` suit those better.

    References
    ----------
    .. [1] Domingos, Hulten, "Mining high-speed data streams", KDD 2000, section 4.1.
    """

    def __init__(
        self,
        shares: Floats,
        *,
        features: int,
        nominal: int,
        categories: int,
        sparse: float,
        depth: int,
        noise: float,
        n_concepts: int,
        moving: bool,
        seed: int,
    ) -> None:
        self._features = Features(features, nominal, categories, sparse, normal=False, labels=len(shares))
        self._n_numeric, self._sparse = features - nominal, sparse
        n_splits, n_trees = 2**depth - 1, 1 if moving else n_concepts
        self._split_feature = np.zeros((n_trees, n_splits), np.int32)
        self._split_at = np.zeros((n_trees, n_splits))
        self._proba = np.zeros((n_trees, n_splits + 1, len(shares)))
        self._shift = np.zeros((n_concepts, features))
        for number in range(n_trees):
            draws = Draws(derived_key(seed, number))
            leaves = self._grow(number, draws, categories)
            firsts = (draws.uniform(len(shares)) * len(leaves)).astype(np.int64)
            orders = (firsts[:, None] + np.arange(len(leaves))) % len(leaves)
            taken = np.array([taken_parts(leaves, *how) for how in zip(shares, orders, strict=True)]).T
            self._proba[number] = noise * shares + (1 - noise) * taken
        for number in range(1, n_concepts if moving else 1):
            draws = Draws(derived_key(seed, number))
            steps = (0.25 + 0.25 * draws.uniform(features)) * np.where(draws.uniform(features) < 0.5, -1, 1)
            self._shift[number] = self._shift[number - 1] + steps
        self._shift[:, self._n_numeric :] = 0

    def _grow(self, tree: int, draws: Draws, categories: int) -> Floats:
        """Draw the splits of a tree; gives the probabilities of its leaves."""
        n_splits, n_features = self._split_feature.shape[1], self._shift.shape[1]
        chance = np.ones(2 * n_splits + 1)
        # What is left of the features that were split above a node: a range and the probability of an absent cell
        # in it, or categories.
        ranges: list[dict[int, tuple[float, float, float]]] = [{}] * len(chance)
        held: list[dict[int, list[int]]] = [{}] * len(chance)
        every = list(range(categories))
        for node in range(n_splits):
            below, above = 2 * node + 1, 2 * node + 2
            while True:
                feature = int(draws.uniform(1)[0] * n_features)
                if feature < self._n_numeric or len(held[node].get(feature, every)) > 1:
                    break
            at = draws.uniform(1)[0]
            ranges[below], ranges[above] = dict(ranges[node]), dict(ranges[node])
            held[below], held[above] = dict(held[node]), dict(held[node])
            if feature < self._n_numeric:
                low, high, absent = ranges[node].get(feature, (0.0, 1.0, self._sparse))
                at = low + (0.25 + 0.5 * at) * (high - low)
                ranges[below][feature], ranges[above][feature] = (low, at, absent), (at, high, 0.0)
                present = 1 - self._sparse
                part = (absent + present * (at - low)) / (absent + present * (high - low))
            else:
                names = held[node].get(feature, every)
                at = names[int(at * len(names))]
                held[below][feature], held[above][feature] = [at], [name for name in names if name != at]
                part = 1 / len(names)
            self._split_feature[tree, node], self._split_at[tree, node] = feature, at
            chance[below], chance[above] = chance[node] * part, chance[node] * (1 - part)
        return chance[n_splits:]

    def draw(self, first: int, stages: Stages, key: np.uint64) -> tuple[NDArray[np.float32] | Rows, Floats]:
        """Features of the events from ``first`` on, and the probability of each label given them."""
        n = len(stages.share)
        x = self._features.draw(first, n, key)
        proba = np.empty((n, self._proba.shape[2]))
        tables = self._split_feature, self._split_at, self._proba, self._shift
        if isinstance(x, Rows):
            assert x.data is not None
            _proba_sparse(*stages[:3], *tables, x.indptr, x.indices, x.data, proba)
        else:
            _proba_dense(*stages[:3], *tables, self._n_numeric, x, proba)
        return x, proba


def taken_parts(cells: Floats, share: float, order: NDArray[np.int64]) -> Floats:
    """Which part of each cell a label takes that goes through them in this order until it has ``share``."""
    parts = np.zeros(len(cells))
    ends = np.cumsum(cells[order])
    parts[order] = np.clip((share - (ends - cells[order])) / cells[order], 0, 1)
    return parts


@njit(cache=True, nogil=True)
def _proba_dense(concept, towards, share, split_feature, split_at, leaf_proba, shift, n_numeric, x, proba):
    for i in range(len(share)):
        _fill_leaf(
            concept[i], towards[i], share[i], split_feature, split_at, leaf_proba, shift, n_numeric, x[i], proba[i]
        )


@njit(cache=True, nogil=True)
def _proba_sparse(concept, towards, share, split_feature, split_at, leaf_proba, shift, indptr, indices, data, proba):
    n_features = shift.shape[1]
    row = np.zeros(n_features, np.float32)
    for i in range(len(share)):
        for cell in range(indptr[i], indptr[i + 1]):
            row[indices[cell]] = data[cell]
        _fill_leaf(
            concept[i], towards[i], share[i], split_feature, split_at, leaf_proba, shift, n_features, row, proba[i]
        )
        for cell in range(indptr[i], indptr[i + 1]):
            row[indices[cell]] = 0


@njit(cache=True, nogil=True)
def _fill_leaf(concept, towards, share, split_feature, split_at, leaf_proba, shift, n_numeric, row, proba):
    """Walk down from the root; the children of node k are 2 k + 1, to which small values go, and 2 k + 2."""
    n_trees, n_splits = split_feature.shape
    tree = concept if n_trees > 1 else 0
    node = 0
    while node < n_splits:
        feature = split_feature[tree, node]
        value = np.float64(row[feature])
        if feature >= n_numeric:
            small = value == split_at[tree, node]
        else:
            if value != 0:
                value += (1 - share) * shift[concept, feature] + share * shift[towards, feature]
                value -= math.floor(value)
            small = value <= split_at[tree, node]
        node = 2 * node + (1 if small else 2)
    proba[:] = leaf_proba[tree, node - n_splits]
