"""Naive Bayes of normal distributions whose variances are those of all classes together."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.heads.head import StatisticsHead, distance, to_odds, to_shares
from learners.heads.statistics import ROWS, TAUGHT, ClassStatistics, find_row, learn_vector, move_mean
from streams.batch import COMPLETE, Batch

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

FLOOR = 1e-9
"""No variance is below this share of the largest one."""


class GaussianClassifier(StatisticsHead):
    """Columns are independent and normal given the class, and a column has one variance for all classes.

    Parameters
    ----------
    prior
        How much the frequency of a class counts, at least 0: this times the logarithm of its share (the log-odds of
        its share, with several labels an event) is added to its score. 0 answers for balanced accuracy.
    normalise
        What is done to a vector first, as in `Normaliser`.
    multilabel
        Answer a set of labels: each has a mean of the events that carry it and one of those that do not, and a
        variance a column about these two.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Every answer is that of all events before it. Variances are divided by their degrees of freedom (by the weight of
    all events, with several labels an event) and are not below 1e-9 of the largest one; a column that has not varied
    plays no part. With ``multilabel`` an event that is labelled in part teaches nothing, and a label that every event
    has carried has the log-odds of its share, one event being added on both sides, and nothing else to go by.
    Without it an event with several labels is one of each of their classes.

    The order of events leaves no trace beyond rounding and `merge` is exact. O(d) to learn an event, O(K d) to answer
    one; 8 bytes per class and column. Missing values are 0, nominal columns are not looked at; for categories, missing
    values that are left out, and a variance of each class, see `GaussianNBClassifier`. Nothing is forgotten.

    References
    ----------
    .. [1] Zheng et al., "Revisiting discriminative vs. generative classifiers: theory and implications", ICML 2023,
       arXiv 2302.02334, section 3, for one class an event.

    Examples
    --------
    >>> from learners.heads.gaussian import GaussianClassifier
    >>> head = GaussianClassifier()
    >>> for size in range(20):
    ...     head.learn_one({"size": float(size)}, {"small": size < 10, "big": size >= 10})
    >>> round(head.predict_proba_one({"size": 10.0})["big"][True], 3)
    0.633
    """

    def __init__(self, *, prior: float = 1.0, normalise: str = "none", multilabel: bool = False) -> None:
        if not 0 <= prior < np.inf:
            raise ValueError(f"prior must be at least 0 and finite, got {prior}")
        super().__init__(ClassStatistics("diagonal", refresh=0, multilabel=multilabel), normalise)
        self.prior = prior
        self.multilabel = multilabel

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        statistics = self._statistics
        if not answer:
            statistics.learn(x, batch)
            return
        if learn:
            statistics.make_room(batch)
        _walk(
            x,
            np.ones(len(batch)) if batch.weight is None else batch.weight,
            batch.y.indptr,
            batch.y.indices,
            batch.label_state,
            self.multilabel,
            learn,
            self.prior,
            statistics.counters,
            statistics.row_of,
            statistics.labels,
            statistics.n,
            statistics.means,
            statistics.scatter,
            proba,
            chosen,
        )


@njit(cache=True, nogil=True)
def _walk(
    x: Floats,
    weight: Floats,
    indptr: NDArray[np.int64],
    indices: Labels,
    label_state: NDArray[np.uint8],
    multilabel: bool,
    learn: bool,
    prior: float,
    counters: NDArray[np.int64],
    row_of: Labels,
    labels: Labels,
    n: Floats,
    means: Floats,
    scatter: Floats,
    proba: Floats,
    chosen: Labels,
) -> None:
    scores, precision, none = np.zeros(len(labels)), np.zeros(x.shape[1]), np.zeros((0, 0))
    for i in range(len(x)):
        rows = counters[ROWS]
        floor = FLOOR * scatter.max() if len(scatter) else 0.0
        if multilabel:
            for k in range(1, rows):
                scores[k] = _odds(x[i], n[0], means[0], n[k], means[k], scatter, floor, prior)
            to_odds(scores[1:rows], labels[1:rows], proba[i])
        else:
            total = n[:rows].sum()
            for j in range(len(precision)):
                precision[j] = max(total - rows, 1.0) / max(scatter[j], floor) if scatter[j] > 0 else 0.0
            for k in range(rows):
                scores[k] = prior * np.log(n[k] / total) - distance(x[i], means[k], precision) / 2
            chosen[i] = to_shares(scores, labels[:rows], proba[i])
        if not learn or (multilabel and label_state[i] != COMPLETE):
            continue
        if multilabel:
            counters[TAUGHT] += 1
            learn_vector(x[i], 0, weight[i], 1, n, means, scatter, none, counters)
        for cell in range(indptr[i], indptr[i + 1]):
            k = find_row(indices[cell], row_of, labels, counters)
            if multilabel:
                move_mean(x[i], k, weight[i], n, means)
            else:
                counters[TAUGHT] += 1
                learn_vector(x[i], k, weight[i], 1, n, means, scatter, none, counters)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _odds(
    x: Floats, total: float, mean: Floats, n: float, present: Floats, scatter: Floats, floor: float, prior: float
) -> float:
    """Log-odds of a label whose ``n`` of ``total`` events have the mean ``present``."""
    others = total - n
    odds = float(prior * np.log((n + 1) / (max(others, 0.0) + 1)))
    if others <= 0:
        return odds
    share = n / others
    for j in range(len(x)):
        gap = (present[j] - mean[j]) * (1 + share)
        squares = max(scatter[j] - n * (others / total) * gap * gap, floor)
        if squares > 0:
            odds += gap * (x[j] - present[j] + gap / 2) * total / squares
    return odds
