"""Ridge regression on classes in Gram form: solved when asked, from the statistics that all heads share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from learners.heads.head import SolvedHead, Weights
from learners.heads.statistics import BLOCK, Moments

Floats = NDArray[np.float64]

SURE = 1e-6
"""No residual variance is below this: scores of a perfect fit are not made surer than that."""

LEAST = 1e-10
"""No penalty is below this share of the mean square of a column, so that there always is a solution."""


class RidgeClassifier(SolvedHead):
    """Linear regression on what class an event has, with a penalty on squared weights.

    Parameters
    ----------
    penalty
        On squared weights, above 0 (and taken to be at least 1e-10 of the mean square of a column); the intercept is
        free.
    relative
        True: the penalty counts in units of the mean square of a column about its mean, summed over the events, so
        that it means the same for any scale and any number of events. False: as it is.
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
    With the scatter T of all vectors about their mean m and n_k (mean_k - m) for right-hand sides, weights are
    (T + penalty I)^-1 n_k (mean_k - m), by Cholesky. Without ``multilabel`` T is the scatter within classes plus that
    of their means. Probabilities take residuals for normal with the variance that the fit leaves.

    Without ``multilabel`` an event with several labels is one of each of their classes. With it an event that is
    labelled in part teaches nothing: all labels share one Gram matrix. The order of events leaves no trace beyond
    rounding and `merge` is exact. Time: O(d^2 / 2) to learn an event, O(K d) to answer one, d^3 / 3 + K d^2 to solve.
    Missing values are 0, nominal columns are not looked at. Nothing is forgotten. Bytes: 8 d^2 + 16 K d + up to
    512 d.

    References
    ----------
    .. [1] McDonnell et al., "RanPAC: random projections and pre-trained models for continual learning", NeurIPS 2023,
       arXiv 2307.02251, equation (5), which has no intercept.

    Examples
    --------
    >>> from learners.heads.ridge import RidgeClassifier
    >>> head = RidgeClassifier()
    >>> for size in range(20):
    ...     head.learn_one({"size": float(size)}, {"small": size < 10, "big": size >= 10})
    >>> head.predict_one({"size": 13.0})
    {'small': False, 'big': True}
    """

    def __init__(
        self,
        penalty: float = 0.1,
        *,
        relative: bool = True,
        normalise: str = "none",
        refresh: int = BLOCK,
        multilabel: bool = False,
    ) -> None:
        _check_penalty(penalty)
        super().__init__(normalise, refresh, multilabel=multilabel)
        self.penalty = penalty
        self.relative = relative

    def _solve(self, moments: Moments) -> Weights:
        centred = moments.means - moments.mean
        gram = moments.scatter if self.multilabel else moments.scatter + (centred.T * moments.n) @ centred
        penalty = self.penalty * (_level(gram) if self.relative else 1.0)
        shares = moments.n / moments.total
        return solve_regression(moments, gram / moments.total, penalty / moments.total, shares, self.multilabel)


class BalancedRidgeClassifier(SolvedHead):
    """Ridge regression in which all classes count the same, however many events they have.

    Parameters
    ----------
    penalty
        On squared weights, above 0, in units of the mean square of a column; the intercept is free.
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
    The published form weighs the Gram matrix of each class by one over its count, which takes a matrix a class. Here
    the scatter within a class, divided by its count, is taken to be the pooled covariance of all, as in
    `SLDAClassifier`: one matrix serves, and a class of a few events gets a covariance that a few events could not tell.
    Everything else is as in `RidgeClassifier` without ``multilabel``.

    References
    ----------
    .. [1] Fang et al., "AIR: analytic imbalance rectifier for continual learning", arXiv 2408.10349, equation (9).
    """

    def __init__(self, penalty: float = 0.1, *, normalise: str = "none", refresh: int = BLOCK) -> None:
        _check_penalty(penalty)
        super().__init__(normalise, refresh)
        self.penalty = penalty

    def _solve(self, moments: Moments) -> Weights:
        n_classes = len(moments.n)
        mean = moments.means.mean(axis=0)
        centred = moments.means - mean
        gram = moments.scatter / max(moments.total - n_classes, 1.0) + centred.T @ centred / n_classes
        shares = np.full(n_classes, 1 / n_classes)
        balanced = moments._replace(mean=mean)
        return solve_regression(balanced, gram, self.penalty * _level(gram), shares, False)


def solve_regression(moments: Moments, gram: Floats, penalty: float, shares: Floats, multilabel: bool) -> Weights:
    """Ridge weights as scores.

    ``gram`` is the weighted mean of (x - mean)(x - mean)^T, and a class has ``shares`` of the weight.
    """
    d = len(gram)
    penalised = gram.copy()
    penalty = max(penalty, LEAST * _level(gram)) or 1.0
    penalised[np.diag_indices(d)] += penalty
    targets = (moments.means - moments.mean) * shares[:, None]
    vectors = np.ascontiguousarray(cho_solve(cho_factor(penalised, lower=True), targets.T).T)
    explained = np.einsum("kj,kj->k", vectors, targets) + penalty * np.einsum("kj,kj->k", vectors, vectors)
    residual = np.maximum(shares * (1 - shares) - explained, SURE)
    offsets = shares - vectors @ moments.mean
    if multilabel:
        offsets = offsets - 0.5
    else:
        residual = residual.mean()
    return Weights(moments.labels, vectors / np.atleast_1d(residual)[:, None], offsets / residual)


def _level(gram: Floats) -> float:
    """Mean of the diagonal over the columns that vary."""
    diagonal = np.diagonal(gram)
    return float(diagonal.sum()) / max(1, int(np.count_nonzero(diagonal)))


def _check_penalty(penalty: float) -> None:
    if not 0 < penalty < np.inf:
        raise ValueError(f"penalty must be above 0 and finite, got {penalty}")
