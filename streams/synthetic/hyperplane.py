"""Concepts that are half-spaces, one a label."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.rows import Rows
from streams.synthetic.features import Features
from streams.synthetic.numbers import Draws, derived_key, normal_quantile
from streams.synthetic.schedule import Stages

Floats = NDArray[np.float64]


class HyperplaneConcepts:
    """Hyperplanes: a label is present on one side of its own.

    Parameters
    ----------
    shares
        How often each label is present, whatever the concept.
    features, sparse
        As in `Features`; numbers are standard normal.
    noise
        Probability that a label does not heed the features.
    n_concepts
        How many concepts.
    seed
        Sets the concepts.

    Notes
    -----
    The rotating hyperplane of [1]_, one a label, in normal instead of uniform features: a weighted sum of them, divided
    by the length of the weights, is standard normal, and the limit above which a label lies follows from its share in
    closed form. Weights are standard normal. The length is that of the weights of the features present; an event with
    none has ``P(y_j | x) = share_j``, any other ``noise * share_j``, and ``1 - noise`` more above the limit. So
    ``P(y_j)`` is ``share_j`` exactly, in every concept and between any two, and ``p(x)`` is the same in all.

    Where concepts turn into one another, weights go straight from the one to the other.

    References
    ----------
    .. [1] Hulten, Spencer, Domingos, "Mining time-changing data streams", KDD 2001, section 4.1.
    """

    def __init__(
        self, shares: Floats, *, features: int, sparse: float, noise: float, n_concepts: int, seed: int
    ) -> None:
        self._features = Features(features, 0, 1, sparse, normal=True, labels=len(shares))
        self._shares, self._noise = shares, noise
        self._limits = np.array([normal_quantile(1 - share) for share in shares])
        keys = [derived_key(seed, number) for number in range(n_concepts)]
        weights = np.array([Draws(key).normal(features * len(shares)) for key in keys])
        self._weights = weights.reshape(n_concepts, features, len(shares))
        # Of all weights; a dense event between no two concepts needs no others.
        self._squares = (self._weights**2).sum(axis=1)

    def draw(self, first: int, stages: Stages, key: np.uint64) -> tuple[NDArray[np.float32] | Rows, Floats]:
        """Features of the events from ``first`` on, and the probability of each label given them."""
        n = len(stages.share)
        x = self._features.draw(first, n, key)
        if isinstance(x, Rows):
            assert x.data is not None
            indptr, indices, data = x.indptr, x.indices, x.data
        else:
            width = x.shape[1]
            indptr, indices, data = np.arange(n + 1) * width, np.arange(width, dtype=np.int32), x.ravel()
        proba = np.empty((n, len(self._shares)))
        tables = self._weights, self._squares, self._limits, self._shares, self._noise
        _proba(*stages[:3], *tables, isinstance(x, Rows), indptr, indices, data, proba)
        return x, proba


@njit(cache=True, nogil=True)
def _proba(concept, towards, share, weights, squares, limits, shares, noise, sparse, indptr, indices, data, proba):
    n_labels = len(limits)
    score, square = np.zeros(n_labels), np.zeros(n_labels)
    for i in range(len(share)):
        values = data[indptr[i] : indptr[i + 1]]
        columns = indices[indptr[i] : indptr[i + 1]] if sparse else indices
        here, there = weights[concept[i]], weights[towards[i]]
        score[:] = 0
        if sparse or share[i] > 0:
            square[:] = 0
            for c in range(len(values)):
                for j in range(n_labels):
                    weight = (1 - share[i]) * here[columns[c], j] + share[i] * there[columns[c], j]
                    score[j] += weight * values[c]
                    square[j] += weight * weight
        else:
            square[:] = squares[concept[i]]
            for c in range(len(values)):
                for j in range(n_labels):
                    score[j] += here[c, j] * values[c]
        for j in range(n_labels):
            taken = shares[j] if square[j] == 0 else 1.0 if score[j] > limits[j] * math.sqrt(square[j]) else 0.0
            proba[i, j] = noise * shares[j] + (1 - noise) * taken
