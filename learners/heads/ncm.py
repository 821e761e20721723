"""The nearest class mean, by distance or by angle."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.heads.head import StatisticsHead, dot, to_shares
from learners.heads.normalising import to_unit_length
from learners.heads.statistics import ROWS, TAUGHT, ClassStatistics, find_row, learn_vector
from streams.batch import Batch

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

METRICS = ("euclidean", "cosine")


class NCMClassifier(StatisticsHead):
    """An event belongs to the class whose mean is nearest.

    Parameters
    ----------
    metric
        ``"cosine"``: vectors are brought to length one before they are averaged, and the means again when they are
        compared; ``"euclidean"``: neither.
    normalise
        What is done to a vector first, as in `Normaliser`.

    Raises
    ------
    ValueError
        A parameter is none of these.

    Notes
    -----
    Every answer is that of all events before it. Probabilities are those of normal distributions around the means
    (around the means of length one, in cosine form) which have the pooled within-class variance, one number, in every
    direction; until a class has varied it is 1. Where columns go together they are too sure, as those of naive Bayes.

    An event with several labels is one of each of their classes. The order of events leaves no trace beyond rounding
    and `merge` is exact. O(d) to learn an event, O(K d) to answer one; 8 bytes per class and column. Missing values
    are 0, nominal columns are not looked at. Nothing is forgotten.

    References
    ----------
    .. [1] Zhou et al., "Revisiting class-incremental learning with pre-trained models", IJCV 2024, arXiv 2303.07338:
       SimpleCIL, which is the cosine form.

    Examples
    --------
    >>> from learners.heads.ncm import NCMClassifier
    >>> head = NCMClassifier()
    >>> head.learn_one({"a": 1.0, "b": 0.1}, {"left": True})
    >>> head.learn_one({"a": 0.1, "b": 1.0}, {"right": True})
    >>> head.predict_one({"a": 0.2, "b": 3.0})
    {'left': False, 'right': True}
    """

    def __init__(self, metric: str = "cosine", *, normalise: str = "none") -> None:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
        super().__init__(ClassStatistics("spherical", refresh=0), normalise)
        self.metric = metric

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        cosine = self.metric == "cosine"
        if cosine:
            to_unit_length(x)
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
            cosine,
            learn,
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
    cosine: bool,
    learn: bool,
    counters: NDArray[np.int64],
    row_of: Labels,
    labels: Labels,
    n: Floats,
    means: Floats,
    scatter: Floats,
    proba: Floats,
    chosen: Labels,
) -> None:
    squares, scores, none = np.zeros(len(labels)), np.zeros(len(labels)), np.zeros((0, 0))
    for k in range(counters[ROWS]):
        squares[k] = dot(means[k], means[k])
    for i in range(len(x)):
        rows = counters[ROWS]
        free = n[:rows].sum() - rows
        precision = x.shape[1] * free / scatter[0] if free > 0 and scatter[0] > 0 else 1.0
        for k in range(rows):
            product = dot(x[i], means[k])
            if cosine:
                scores[k] = precision * (product / np.sqrt(squares[k]) if squares[k] > 0 else 0.0)
            else:
                scores[k] = precision * (product - squares[k] / 2)
        chosen[i] = to_shares(scores, labels[:rows], proba[i])
        if learn:
            for cell in range(indptr[i], indptr[i + 1]):
                k = find_row(indices[cell], row_of, labels, counters)
                counters[TAUGHT] += 1
                learn_vector(x[i], k, weight[i], 0, n, means, scatter, none, counters)
                squares[k] = dot(means[k], means[k])
