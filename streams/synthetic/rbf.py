"""Concepts that are mixtures of normal distributions."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.rows import Rows
from streams.synthetic.labels import LABELS
from streams.synthetic.numbers import Draws, derived, derived_key, normal_quantile, uniform
from streams.synthetic.schedule import Stages
from streams.synthetic.tree import taken_parts

Floats = NDArray[np.float64]

CENTROID = 1
"""Which of an event's random numbers chooses its centroid."""


class RBFConcepts:
    """Centroids with labels, around which events lie: random radial basis functions.

    Parameters
    ----------
    shares
        How often each label is present, whatever the concept.
    features
        How many features.
    sparse
        Probability that a cell is absent: each centroid has a vocabulary of ``(1 - sparse) * features`` columns, at
        least one, and its events have exactly those. 0: rows are dense.
    centroids
        How many there are.
    noise
        Probability that a label does not heed the centroid.
    n_concepts, moving
        How many concepts; whether centroids keep their labels and vocabularies from one to the next.
    seed
        Sets the concepts.

    Notes
    -----
    The generator RandomRBF of [1]_ for many labels. An event comes from a centroid, whose probability is drawn between
    1 and 3 parts; it lies around it with a standard deviation between 0.05 and 0.15 in every feature. Both are the same
    in all concepts. Where the centroids lie, uniform in the unit cube, is a matter of the concept, so ``p(x)`` changes
    as well. Each label takes centroids in an order of its own until they have its share, the last one in part. That
    part, called r, or 1, or 0, makes ``P(y_j | centroid) = noise * share_j + (1 - noise) * r``, and ``P(y_j)`` is
    ``share_j`` exactly, in every concept and between any two.

    Where concepts turn into one another, centroids wander on straight lines.

    References
    ----------
    .. [1] Bifet, Holmes, Pfahringer, Kirkby, Gavaldà, "New ensemble methods for evolving data streams", KDD 2009.
    """

    def __init__(
        self,
        shares: Floats,
        *,
        features: int,
        sparse: float,
        centroids: int,
        noise: float,
        n_concepts: int,
        moving: bool,
        seed: int,
    ) -> None:
        draws = Draws(derived_key(seed))
        chance = 1 + 2 * draws.uniform(centroids)
        chance /= chance.sum()
        self._ends = np.cumsum(chance)
        self._spread = 0.05 + 0.1 * draws.uniform(centroids)
        self._features, self._sparse, self._numbers = features, bool(sparse), LABELS + 2 * len(shares)
        n_columns = max(1, round((1 - sparse) * features))
        self._columns = np.zeros((n_concepts, centroids, n_columns), np.int32)
        self._centre = np.zeros((n_concepts, centroids, n_columns))
        self._proba = np.zeros((n_concepts, centroids, len(shares)))
        for number in range(n_concepts):
            draws = Draws(derived_key(seed, number))
            self._centre[number] = draws.uniform(centroids * n_columns).reshape(centroids, n_columns)
            if moving and number:
                self._columns[number], self._proba[number] = self._columns[0], self._proba[0]
                continue
            self._columns[number] = np.arange(n_columns)
            if sparse:
                self._columns[number] = [np.sort(draws.order(features)[:n_columns]) for _ in range(centroids)]
            taken = np.array([taken_parts(chance, share, draws.order(centroids)) for share in shares]).T
            self._proba[number] = noise * shares + (1 - noise) * taken

    def draw(self, first: int, stages: Stages, key: np.uint64) -> tuple[NDArray[np.float32] | Rows, Floats]:
        """Features of the events from ``first`` on, and the probability of each label given the event's centroid."""
        n, n_columns = len(stages.share), self._centre.shape[2]
        indices, data = np.empty((n, n_columns), np.int32), np.empty((n, n_columns), np.float32)
        proba = np.empty((n, self._proba.shape[2]))
        tables = self._ends, self._spread, self._columns, self._centre, self._proba
        _draw(first, key, *stages[:3], self._numbers, *tables, indices, data, proba)
        if not self._sparse:
            return data, proba
        return Rows(np.arange(n + 1) * n_columns, indices.ravel(), data.ravel()), proba


@njit(cache=True, nogil=True)
def _draw(
    first, key, concept, towards, share, numbers, ends, spread, columns, centre, centroid_proba, indices, data, proba
):
    for i in range(len(share)):
        event_key = derived(key, first + i)
        # The last end may be a little below 1.
        k = min(np.searchsorted(ends, uniform(event_key, CENTROID), side="right"), len(ends) - 1)
        here, there = centre[concept[i], k], centre[towards[i], k]
        for c in range(centre.shape[2]):
            middle = (1 - share[i]) * here[c] + share[i] * there[c]
            data[i, c] = middle + spread[k] * normal_quantile(uniform(event_key, numbers + c))
        indices[i] = columns[concept[i], k]
        proba[i] = centroid_proba[concept[i], k]
