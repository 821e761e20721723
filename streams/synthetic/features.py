"""Feature values of synthetic events that do not hang on their labels: dense or sparse, uniform or normal."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.rows import Rows
from streams.synthetic.labels import LABELS
from streams.synthetic.numbers import derived, normal_quantile, uniform


class Features:
    """Independent features, all of one distribution.

    Parameters
    ----------
    features, nominal
        How many there are, and how many of them, the last ones, are nominal.
    categories
        How many categories a nominal feature has, each as likely.
    sparse
        Probability that a cell is absent; 0: rows are dense.
    normal
        Whether present numbers are standard normal, else uniform in (0, 1).
    labels
        How many labels the events have; their random numbers come first.
    """

    def __init__(
        self, features: int, nominal: int, categories: int, sparse: float, *, normal: bool, labels: int
    ) -> None:
        self.n, self.sparse = features, sparse
        self._n_numeric, self._categories = features - nominal, categories
        self._normal = normal
        self._numbers = LABELS + 2 * labels

    def draw(self, first: int, n: int, key: np.uint64) -> NDArray[np.float32] | Rows:
        """The features of ``n`` events from number ``first`` on."""
        if not self.sparse:
            x = np.empty((n, self.n), np.float32)
            _draw_dense(first, key, self._numbers, self._n_numeric, self._categories, self._normal, x)
            return x
        indptr = np.zeros(n + 1, np.int64)
        nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
        # Events cost nothing to draw again: first to count the cells, then to fill as many.
        _draw_sparse(first, key, self._numbers, self.n, self.sparse, self._normal, indptr, *nothing, False)
        cells = np.zeros(indptr[-1], np.int32), np.zeros(indptr[-1], np.float32)
        _draw_sparse(first, key, self._numbers, self.n, self.sparse, self._normal, indptr, *cells, True)
        return Rows(indptr, *cells)


@njit(cache=True, nogil=True)
def _draw_dense(first, key, numbers, n_numeric, categories, normal, x):
    n, n_features = x.shape
    for i in range(n):
        event_key = derived(key, first + i)
        for f in range(n_features):
            value = uniform(event_key, numbers + f)
            if f >= n_numeric:
                value = math.floor(value * categories)
            elif normal:
                value = normal_quantile(value)
            x[i, f] = value


@njit(cache=True, nogil=True)
def _draw_sparse(first, key, numbers, n_features, sparse, normal, indptr, indices, data, fill):
    """Cells with the number of absent ones between two drawn at once, as the geometric distribution has it."""
    scale = 1.0 / math.log(sparse)
    for i in range(len(indptr) - 1):
        event_key = derived(key, first + i)
        at, column, step = indptr[i], -1, 0
        while True:
            gap = math.floor(math.log(uniform(event_key, numbers + n_features + step)) * scale)
            if gap >= n_features - column - 1:
                break
            column += 1 + int(gap)
            step += 1
            if fill:
                value = uniform(event_key, numbers + column)
                indices[at] = column
                data[at] = normal_quantile(value) if normal else value
            at += 1
        indptr[i + 1] = at
