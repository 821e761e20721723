"""A lift of vectors by random Fourier features, on scales that the first events set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.heads.head import dot
from learners.heads.ranpac import draw_column
from streams.batch import Name

Floats = NDArray[np.float64]

BREADTH = 2.0
"""Breadth of the Gaussian kernel, in median distances: at a median distance it is exp(-1/8)."""

_DISTANCE, _SPREAD, _ROOT, _FITTED = range(4)
"""Places in the scales: the median distance, the deviation of the random features, whether roots are taken, and how
many vectors have set these."""

_TILE = 16
"""Random directions that are multiplied with all vectors of a batch while they are in the cache."""


class Lift:
    """Takes x to [f(x), x], where inner products of f stand in for a Gaussian kernel.

    Parameters
    ----------
    n_features
        How many random features M there are; 0: none.
    seed
        Of the random features.

    Notes
    -----
    f_j(x) = sqrt(2 / M) cos(r_j x + u_j) / s with r_j ~ N(0, I / (2 q)^2), u_j uniform on the circle, q the median
    distance between the vectors that `fit` is given, and s^2 one less the mean of the kernel over their pairs, which is
    the variance that all f_j have together. x is divided by q / sqrt(2), so that its variance is about one, too.

    Where no value that `fit` is given is negative, roots are taken first (signed ones, should a negative value
    follow): what counts or measures amounts has fewer far outliers then.

    The entries of r_j that belong to a feature are drawn from the seed and the feature's name. 32 bytes of state, and
    8 M d for the r_j, which are no part of it. O(M d) a vector.

    References
    ----------
    .. [1] Rahimi, Recht, "Random features for large-scale kernel machines", NeurIPS 2007, section 3.
    """

    def __init__(self, n_features: int, seed: int) -> None:
        self.n_features = n_features
        self.seed = seed
        self.scales = np.array([1.0, 1.0, 0.0, 0.0])
        self._directions = np.zeros((n_features, 0))
        self._phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, n_features)

    @property
    def n_fitted(self) -> int:
        """How many vectors have set the scales."""
        return int(self.scales[_FITTED])

    def grow(self, names: Sequence[Name]) -> None:
        """Make room for the features of these names, of which earlier ones are known."""
        new = names[self._directions.shape[1] :]
        if new:
            columns = np.array([draw_column(self.seed, name, self.n_features) for name in new])
            self._directions = np.concatenate([self._directions, columns.T], axis=1)

    def fit(self, x: Floats) -> None:
        """Set the scales by the rows of ``x``, of which there is at least one."""
        rooted = bool((x >= 0).all())
        if rooted:
            x = np.sqrt(x)
        above = np.triu_indices(len(x), 1)
        squares = np.array([((x - row) ** 2).sum(axis=1) for row in x])
        distance = float(np.median(np.sqrt(squares[above]))) if len(x) > 1 else 0.0
        if distance <= 0:
            distance = 1.0
        kernel = np.exp(-squares / (2 * (BREADTH * distance) ** 2))
        self.scales[:] = distance, np.sqrt(1 - kernel.mean()) or 1.0, rooted, len(x)

    def apply(self, x: Floats) -> Floats:
        """The lifted vectors, (n, M + d)."""
        if self.scales[_ROOT]:
            x = np.sign(x) * np.sqrt(np.abs(x))
        lifted = np.empty((len(x), self.n_features + x.shape[1]))
        lifted[:, self.n_features :] = x * (np.sqrt(2.0) / self.scales[_DISTANCE])
        if self.n_features:
            height = np.sqrt(2 / self.n_features) / self.scales[_SPREAD]
            _turn(x, self._directions, self._phases, 1 / (BREADTH * self.scales[_DISTANCE]), height, lifted)
        return lifted


@njit(cache=True, nogil=True)
def _turn(x: Floats, directions: Floats, phases: Floats, frequency: float, height: float, lifted: Floats) -> None:
    for start in range(0, len(directions), _TILE):
        for i in range(len(x)):
            for m in range(start, min(start + _TILE, len(directions))):
                lifted[i, m] = height * np.cos(frequency * dot(x[i], directions[m]) + phases[m])
