"""Ridge regression on random features: a fixed random projection, cut at zero."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State
from learners.heads.head import dot
from learners.heads.ridge import RidgeClassifier
from streams.batch import Batch, Name

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

REFRESH = 256

_TILE = 16
"""Projections that are multiplied with all events of a batch while they are in the cache."""


class RanPACClassifier(RidgeClassifier):
    """Ridge regression on max(0, R x) for a fixed matrix R of independent standard normal numbers.

    Parameters
    ----------
    n_projections
        Rows of R, at least 1.
    penalty
        On squared weights, above 0, in units of the mean square of a projection; the intercept is free.
    seed
        Of R, at least 0.
    normalise
        What is done to a vector first, as in `Normaliser`.
    refresh
        The weights lag at most this many vectors behind, as in `SolvedHead`; at least 1.
    multilabel
        Answer a set of labels: those whose regression is above one half.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    The column of R that belongs to a feature is drawn from the seed and the feature's name, so that neither the order
    of features nor the event that first has one makes a difference. The paper takes 10,000 projections and chooses the
    penalty on a part of the first task; here it is a share of what it is added to. Everything else is as in
    `RidgeClassifier`, with M = ``n_projections`` in place of d, M d more operations an event, and 8 M d bytes for R,
    which is no part of the state.

    References
    ----------
    .. [1] McDonnell et al., "RanPAC: random projections and pre-trained models for continual learning", NeurIPS 2023,
       arXiv 2307.02251, section 3.2.
    """

    def __init__(
        self,
        n_projections: int = 2_000,
        penalty: float = 0.1,
        *,
        seed: int = 0,
        normalise: str = "none",
        refresh: int = REFRESH,
        multilabel: bool = False,
    ) -> None:
        if n_projections < 1:
            raise ValueError(f"n_projections must be at least 1, got {n_projections}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        super().__init__(penalty, normalise=normalise, refresh=refresh, multilabel=multilabel)
        self.n_projections = n_projections
        self.seed = seed
        self._projections = np.zeros((n_projections, 0))

    def _grow(self, width: int, n_labels: int) -> None:
        super()._grow(self.n_projections, n_labels)
        new = self.schema_.feature_names[self._projections.shape[1] : width]
        if new:
            more = [draw_column(self.seed, name, self.n_projections) for name in new]
            self._projections = np.concatenate([self._projections, np.array(more).T], axis=1)

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        lifted = np.empty((len(x), self.n_projections))
        _project(x, self._projections, lifted)
        super()._walk(lifted, batch, learn, answer, proba, chosen)

    def _merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        super()._merge(other, np.arange(self.n_projections), labels)

    def _set_state(self, state: State) -> None:
        self._projections = np.zeros((self.n_projections, 0))
        super()._set_state(state)


def draw_column(seed: int, name: Name, n: int) -> Floats:
    """Independent standard normal numbers that belong to a feature."""
    digest = blake2b(json.dumps(name).encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "little")]).normal(size=n)


@njit(cache=True, nogil=True)
def _project(x: Floats, projections: Floats, lifted: Floats) -> None:
    for start in range(0, len(projections), _TILE):
        for i in range(len(x)):
            for m in range(start, min(start + _TILE, len(projections))):
                lifted[i, m] = max(0.0, dot(x[i], projections[m]))
