"""Streaming linear discriminant analysis: one covariance for all classes, shrunk by a rule."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from learners.heads.head import SolvedHead, Weights
from learners.heads.statistics import BLOCK, Moments


class SLDAClassifier(SolvedHead):
    """Classes are normal distributions with one covariance; the class of an event is the most likely one.

    Parameters
    ----------
    shrinkage
        Share of a multiple of the identity in the covariance, in [1e-8, 1]; or ``"scheduled"``: min(1, 2 sqrt(d_eff /
        n)), with the effective dimension d_eff = tr(C)^2 / ||C||^2 of the covariance C, which falls as evidence
        comes in.
    prior
        How much the frequency of a class counts, at least 0: this times the logarithm of its share is added to its
        score. 0 answers for balanced accuracy, 1 as frequencies say, for plain accuracy.
    normalise
        What is done to a vector first, as in `Normaliser`.
    refresh
        The weights lag at most this many vectors behind, as in `SolvedHead`; at least 1.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    C is the within-class scatter over n - K, A = (1 - shrinkage) C + shrinkage tr(C) / d I, and a class has the score
    w (x - m) - w (mean - m) / 2 with w = A^-1 (mean - m), m being the mean of all; solved by Cholesky. The published
    method adds 1e-4 I and gives the first vector of a class to the scatter as a whole; both are left out. While
    there is no scatter A is the identity. d counts the columns that have varied within a class.

    An event with several labels is one of each of their classes. The order of events leaves no trace beyond rounding
    and `merge` is exact. Time: O(d^2 / 2) to learn an event, O(K d) to answer one, d^3 / 3 + K d^2 to solve. Missing
    values are 0, nominal columns are not looked at. Nothing is forgotten. Bytes: 8 d^2 + 16 K d + up to 512 d.

    References
    ----------
    .. [1] Hayes, Kanan, "Lifelong machine learning with deep streaming linear discriminant analysis", CVPR workshops
       2020, section 3.

    Examples
    --------
    >>> from learners.heads.slda import SLDAClassifier
    >>> head = SLDAClassifier()
    >>> for size in range(20):
    ...     head.learn_one({"size": float(size)}, {"small": size < 10, "big": size >= 10})
    >>> head.predict_one({"size": 13.0})
    {'small': False, 'big': True}
    """

    def __init__(
        self,
        shrinkage: float | str = "scheduled",
        *,
        prior: float = 0.0,
        normalise: str = "none",
        refresh: int = BLOCK,
    ) -> None:
        if shrinkage != "scheduled" and not (isinstance(shrinkage, int | float) and 1e-8 <= shrinkage <= 1):
            raise ValueError(f"shrinkage must be in [1e-8, 1] or 'scheduled', got {shrinkage!r}")
        if not 0 <= prior < np.inf:
            raise ValueError(f"prior must be at least 0 and finite, got {prior}")
        super().__init__(normalise, refresh)
        self.shrinkage = shrinkage
        self.prior = prior

    def _solve(self, moments: Moments) -> Weights:
        centred = moments.means - moments.mean
        covariance = shrunk_covariance(moments, self.shrinkage)
        vectors = np.ascontiguousarray(cho_solve(cho_factor(covariance, lower=True), centred.T).T)
        offsets = -np.einsum("kj,kj->k", vectors, centred / 2 + moments.mean)
        return Weights(moments.labels, vectors, offsets + self.prior * np.log(moments.n / moments.total))


def shrunk_covariance(moments: Moments, shrinkage: float | str) -> np.ndarray:
    """The pooled covariance of the classes, shrunk towards a multiple of the identity; the identity without scatter."""
    d, trace = len(moments.scatter), moments.trace
    if trace <= 0:
        return np.eye(d)
    covariance = moments.scatter / max(moments.total - len(moments.n), 1.0)
    if not isinstance(shrinkage, str):
        share = shrinkage
    else:
        effective = trace**2 / np.einsum("ij,ij->", moments.scatter, moments.scatter)
        share = min(1.0, 2 * np.sqrt(effective / moments.total))
    level = float(np.trace(covariance)) / moments.n_active
    covariance *= 1 - share
    covariance[np.diag_indices(d)] += share * level
    return covariance
