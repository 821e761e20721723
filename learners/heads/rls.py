"""Ridge regression by recursive least squares: every answer is that of all events before it."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from learners.base import State, with_room
from learners.heads.head import Head, dot, to_odds, to_shares
from learners.heads.statistics import ROWS, find_row
from streams.batch import COMPLETE, PARTIAL, Batch, Rows

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

PENDING = 32
"""Downdates of the inverse that wait until they are applied in one BLAS call."""

RETURN = 4
"""With forgetting, the penalty is renewed after this many times 1 / (1 - forgetting) events."""

NEVER = 2**62
"""Events that no stream has."""

_FILL, _TAUGHT, _RENEWED = 1, 2, 3
"""Places in the counters, behind the rows in use: downdates that wait, events learned, and those at the renewal."""

_SCALE, _WEIGHT = range(2)
"""Places in the sums: what the inverse is to be multiplied with, and the weight of all events."""


class RLSClassifier(Head):
    """Linear regression on what class an event has, with a penalty on squared weights, solved anew with every event.

    Parameters
    ----------
    penalty
        On squared weights (gamma), above 0. The first column is a constant of one if ``intercept``, and its weight is
        penalised like all.
    forgetting
        An event counts this much less with every event after it, in (0, 1].
    intercept
        Whether scores have a constant.
    normalise
        What is done to a vector first, as in `Normaliser`.
    multilabel
        Answer a set of labels: those whose regression is above one half.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    With P the inverse of the penalised Gram matrix, v = P x and r = forgetting / weight + x v: W += v (y - W x) / r
    and P = (P - v v^T / r) / forgetting. The vectors v wait, 32 of them, before P is changed by all of them in one
    call of BLAS; until then they are taken off every product with P. Algebra is the same, memory is written
    one thirty-second as often, and P stays symmetric to the last bit. Without forgetting the answers are those of
    `RidgeClassifier` with ``relative=False`` but for the intercept; with it, of ridge regression with fading weights.
    The penalty would fade too, and P grow without bound in directions that no event points into any longer. So it is
    brought back to what it was, in O(d^3 + K d^2), after every 4 / (1 - forgetting) events, in which it fades to a
    fiftieth, and when columns are added.

    The target of an event is 1 for the labels that it carries and 0 for others. With ``multilabel`` a label of which
    nothing is known is taken to be what is answered; without it an event that carries no known label teaches nothing.
    Probabilities take residuals for normal, with the variance that they had so far when events were new.

    O(d^2 + K d) to learn an event, O(K d) to answer one. Missing values are 0, nominal columns are not looked at.
    Bytes: 8 d^2 + 8 K d + up to 256 d. `merge` is exact without forgetting, but for what
    probabilities know of residuals, which are those that each had on its own; with forgetting it is refused.

    References
    ----------
    .. [1] Zhuang et al., "GACL: exemplar-free generalized analytic continual learning", NeurIPS 2024, arXiv
       2403.15706, theorem 3.1; its start of P is the inverse of the one printed in the algorithm.

    Examples
    --------
    >>> from learners.heads.rls import RLSClassifier
    >>> head = RLSClassifier()
    >>> for size in range(20):
    ...     head.learn_one({"size": float(size)}, {"small": size < 10, "big": size >= 10})
    >>> head.predict_one({"size": 13.0})
    {'small': False, 'big': True}
    """

    def __init__(
        self,
        penalty: float = 1.0,
        *,
        forgetting: float = 1.0,
        intercept: bool = True,
        normalise: str = "none",
        multilabel: bool = False,
    ) -> None:
        if not 0 < penalty < np.inf:
            raise ValueError(f"penalty must be above 0 and finite, got {penalty}")
        if not 0 < forgetting <= 1:
            raise ValueError(f"forgetting must be in (0, 1], got {forgetting}")
        super().__init__(normalise)
        self.penalty = penalty
        self.forgetting = forgetting
        self.intercept = intercept
        self.multilabel = multilabel
        self._start()

    def _start(self) -> None:
        self._counters = np.zeros(4, np.int64)
        self._sums = np.array([1.0, 0.0])
        self._labels = np.zeros(0, np.int32)
        self._row_of = np.zeros(0, np.int32)
        self._inverse = np.zeros((0, 0))
        self._pending = np.zeros((PENDING, 0))
        self._weights = np.zeros((0, 0))
        self._residuals = np.zeros(0)

    def _grow(self, width: int, n_labels: int) -> None:
        self._row_of = with_room(self._row_of, n_labels, -1)
        more = width + self.intercept - len(self._inverse)
        if more <= 0:
            return
        self._renew()
        new = np.arange(len(self._inverse), len(self._inverse) + more)
        self._inverse = np.pad(self._inverse, (0, more))
        self._inverse[new, new] = 1 / (self.penalty * self._sums[_SCALE])
        self._pending = np.pad(self._pending, ((0, 0), (0, more)))
        self._weights = np.pad(self._weights, ((0, 0), (0, more)))

    def _taught(self, batch: Batch) -> NDArray[np.bool_]:
        taught = super()._taught(batch)
        if self.multilabel and batch.known is not None:
            taught = taught | ((batch.label_state == PARTIAL) & (np.diff(batch.known.indptr) > 0))
        return taught

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        new = np.unique(batch.y.indices)
        rows = int(self._counters[ROWS]) + int(np.count_nonzero(self._row_of[new] < 0))
        self._labels = with_room(self._labels, rows, -1)
        self._weights, self._residuals = with_room(self._weights, rows), with_room(self._residuals, rows)
        known = Rows.empty(len(batch)) if batch.known is None else batch.known
        taught = self._taught(batch) if learn else np.zeros(len(batch), np.bool_)
        if self.intercept:
            x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
        start = 0
        while start < len(batch):
            start = _walk(
                start,
                x,
                np.ones(len(batch)) if batch.weight is None else batch.weight,
                batch.y.indptr,
                batch.y.indices,
                batch.label_state,
                known.indptr,
                known.indices,
                taught,
                answer,
                self.multilabel,
                self.forgetting,
                self._period,
                self._counters,
                self._sums,
                self._row_of,
                self._labels,
                self._inverse,
                self._pending,
                self._weights,
                self._residuals,
                proba,
                chosen,
            )
            if self._counters[_FILL] == PENDING:
                self._apply()
            if self._counters[_TAUGHT] == self._counters[_RENEWED] + self._period:
                self._renew()

    @property
    def _period(self) -> int:
        """Events between renewals of the penalty."""
        return math.ceil(RETURN / (1 - self.forgetting)) if self.forgetting < 1 else NEVER

    def _renew(self) -> None:
        """Bring the penalty back to what it was before events were forgotten; what W answers to stays."""
        since = self._counters[_TAUGHT] - self._counters[_RENEWED]
        self._counters[_RENEWED] = self._counters[_TAUGHT]
        lost = self.penalty * (1 - self.forgetting**since)
        if lost > 0:
            self._apply()
            gram, rows = invert(self._inverse), int(self._counters[ROWS])
            targets = self._weights[:rows] @ gram
            gram[np.diag_indices(len(gram))] += lost
            self._inverse = invert(gram)
            self._weights[:rows] = targets @ self._inverse

    def _apply(self) -> None:
        """Apply the downdates that wait."""
        scale, waiting = self._sums[_SCALE], self._pending[: self._counters[_FILL]]
        if waiting.size:
            dsyrk(-scale, waiting.T, beta=scale, c=self._inverse.T, overwrite_c=1)
            _mirror(self._inverse)
        self._sums[_SCALE] = 1.0
        self._counters[_FILL] = 0

    def _get_state(self) -> State:
        self._make_room()
        rows = int(self._counters[ROWS])
        return {
            "counters": self._counters.copy(),
            "sums": self._sums.copy(),
            "class_labels": self._labels[:rows].copy(),
            "inverse": self._inverse.copy(),
            "pending": self._pending[: self._counters[_FILL]].copy(),
            "weights": self._weights[:rows].copy(),
            "residuals": self._residuals[:rows].copy(),
            **self._normaliser.get_state(),
        }

    def _set_state(self, state: State) -> None:
        size = self.schema_.n_features + self.intercept
        if state["inverse"].shape != (size, size):
            raise ValueError(f"state 'inverse' must have shape {(size, size)}, got {state['inverse'].shape}")
        self._start()
        self._normaliser.set_state(state)
        self._make_room()
        self._counters, self._sums = state["counters"].copy(), state["sums"].copy()
        self._labels, self._residuals = state["class_labels"].copy(), state["residuals"].copy()
        self._inverse = np.array(state["inverse"], np.float64, order="C")
        self._weights = np.array(state["weights"], np.float64, order="C")
        self._pending[: len(state["pending"])] = state["pending"]
        self._row_of[self._labels] = np.arange(len(self._labels))

    def _merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        if self.forgetting < 1:
            raise ValueError(f"forgetting must be 1 to merge, got {self.forgetting}")
        self._apply()
        other._apply()
        if self.intercept:
            columns = np.concatenate([[0], columns + 1])
        theirs = int(other._counters[ROWS])
        rows = int(self._counters[ROWS]) + theirs
        self._labels = with_room(self._labels, rows, -1)
        self._weights, self._residuals = with_room(self._weights, rows), with_room(self._residuals, rows)
        here = np.array(
            [find_row(labels[k], self._row_of, self._labels, self._counters) for k in other._labels[:theirs]]
        )
        rows = int(self._counters[ROWS])
        gram, addend = invert(self._inverse), invert(other._inverse)
        targets = self._weights[:rows] @ gram
        if theirs:
            targets[np.ix_(here, columns)] += other._weights[:theirs] @ addend
            self._residuals[here] += other._residuals[:theirs]
        gram[np.ix_(columns, columns)] += addend - self.penalty * np.eye(len(addend))
        self._inverse = invert(gram)
        self._weights[:rows] = targets @ self._inverse
        self._sums[_WEIGHT] += other._sums[_WEIGHT]
        self._counters[_TAUGHT] += other._counters[_TAUGHT]
        self._counters[_RENEWED] = self._counters[_TAUGHT]


def invert(matrix: Floats) -> Floats:
    """The inverse of a symmetric positive definite matrix, symmetric to the last bit."""
    inverse = np.ascontiguousarray(cho_solve(cho_factor(matrix, lower=True), np.eye(len(matrix))))
    _mirror(inverse)
    return inverse


@njit(cache=True, nogil=True)
def _walk(
    start: int,
    x: Floats,
    weight: Floats,
    indptr: NDArray[np.int64],
    indices: Labels,
    label_state: NDArray[np.uint8],
    known_indptr: NDArray[np.int64],
    known: Labels,
    taught: NDArray[np.bool_],
    answer: bool,
    multilabel: bool,
    forgetting: float,
    period: int,
    counters: NDArray[np.int64],
    sums: Floats,
    row_of: Labels,
    labels: Labels,
    inverse: Floats,
    pending: Floats,
    weights: Floats,
    residuals: Floats,
    proba: Floats,
    chosen: Labels,
) -> int:
    """Go through events until enough downdates wait or a period is over; the number of the next event."""
    scores, errors, odds = np.zeros(len(labels)), np.zeros(len(labels)), np.zeros(len(labels))
    v = np.zeros(x.shape[1])
    for i in range(start, len(x)):
        rows = counters[ROWS]
        for k in range(rows):
            scores[k] = dot(weights[k], x[i])
        if answer and multilabel:
            for k in range(rows):
                odds[k] = (scores[k] - 0.5) * (sums[_WEIGHT] + 1) / (residuals[k] + 0.25)
            to_odds(odds[:rows], labels[:rows], proba[i])
        elif answer:
            left = 0.25
            for k in range(rows):
                left += residuals[k] / rows
            for k in range(rows):
                odds[k] = scores[k] * (sums[_WEIGHT] + 1) / left
            chosen[i] = to_shares(odds[:rows], labels[:rows], proba[i])
        if not taught[i]:
            continue

        complete = not multilabel or label_state[i] == COMPLETE
        for k in range(rows):
            errors[k] = -scores[k] if complete else 0.0
        if not complete:
            for cell in range(known_indptr[i], known_indptr[i + 1]):
                k = row_of[known[cell]]
                if k >= 0:
                    errors[k] = -scores[k]
        for cell in range(indptr[i], indptr[i + 1]):
            k = find_row(indices[cell], row_of, labels, counters)
            errors[k] = 1 - scores[k] if k < rows else 1.0
        rows = counters[ROWS]

        _multiply(inverse, x[i], pending[: counters[_FILL]], sums[_SCALE], v)
        spread = forgetting / weight[i] + dot(x[i], v)
        for k in range(rows):
            residuals[k] += weight[i] * errors[k] * errors[k]
            if errors[k] != 0:
                _add(v, errors[k] / spread, weights[k])
        factor, row = 1 / np.sqrt(sums[_SCALE] * spread), pending[counters[_FILL]]
        for j in range(len(v)):
            row[j] = v[j] * factor
        counters[_FILL] += 1
        counters[_TAUGHT] += 1
        sums[_WEIGHT] += weight[i]
        if forgetting < 1:
            sums[_WEIGHT] *= forgetting
            sums[_SCALE] /= forgetting
            for k in range(rows):
                residuals[k] *= forgetting
        if counters[_FILL] == PENDING or counters[_TAUGHT] == counters[_RENEWED] + period:
            return i + 1
    return len(x)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _multiply(inverse: Floats, x: Floats, pending: Floats, scale: float, v: Floats) -> None:
    """``v = scale (inverse - pending.T @ pending) @ x``."""
    for j in range(len(x)):
        total = 0.0
        for k in range(len(x)):
            total += inverse[j, k] * x[k]
        v[j] = total
    for p in range(len(pending)):
        total = 0.0
        for k in range(len(x)):
            total += pending[p, k] * x[k]
        for k in range(len(x)):
            v[k] -= total * pending[p, k]
    for j in range(len(x)):
        v[j] *= scale


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add(v: Floats, factor: float, to: Floats) -> None:
    for j in range(len(v)):
        to[j] += factor * v[j]


@njit(cache=True, nogil=True)
def _mirror(matrix: Floats) -> None:
    """Copy the lower triangle to the upper one, in blocks that stay in cache."""
    size, side = len(matrix), 32
    for top in range(0, size, side):
        for left in range(0, top + 1, side):
            for i in range(top, min(top + side, size)):
                for j in range(left, min(left + side, i)):
                    matrix[j, i] = matrix[i, j]
