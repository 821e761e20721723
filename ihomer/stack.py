"""One probability per label out of what all experts say: logistic stacking with shared and per-label weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from learners.base import with_room

FEATURES = (
    "one", "prior", "ridge", "logistic", "knn", "score knn", "margin", "ridge x prior", "knn x prior", "chain",
    "as before", "average .5", "average .8", "average .97", "local", "shadow ridge", "shadow logistic", "trees",
)  # fmt: skip
"""What the stack sees of an event and a label, in order."""

K = len(FEATURES)

START = np.array([-0.4, 0.25, 0.5, 0.25, 0.35, 0.4, 0.3, 0.0, 0.0, 0.1, 0.1, 0.05, 0.1, 0.2, 0.0, 0.0, 0.0, 0.35])
"""Shared weights before the first event."""

_TEMPORAL = range(9, 14)
_RIDGE, _LOGISTIC, _SHADOW_RIDGE, _SHADOW_LOGISTIC = 2, 3, 15, 16

_VARIANCE = 0.09
_KEPT = 0.999
_SHARPNESS = 0.003
"""Least curvature p(1 - p) that an event counts with, so that certain events still pin weights down."""

_STEP = 0.5
_EAGER, _EVERY = 400, 4
"""The shared weights are solved for after each of the first 400 events learned, and after every fourth from then on."""

_LOOSE, _LOOSER, _SUPPORT = 0.01, 0.06, 100


class Evidence(NamedTuple):
    """What the experts say about each cell, float32; an array of length 0 stands for an expert that there is not.

    ``past`` (cells, 6) from `ihomer.temporal.LabelPast`, which must be there; ``ridge`` scores; ``logistic`` and
    ``local`` logits; ``knn`` and ``score_knn`` shares of votes in [0, 1]; ``shadow_ridge`` and ``shadow_logistic`` as
    ``ridge`` and ``logistic``, of experts that started afresh after an alarm; ``trees`` the mean share in leaves.
    """

    past: NDArray[np.float32]
    ridge: NDArray[np.float32]
    logistic: NDArray[np.float32]
    knn: NDArray[np.float32]
    score_knn: NDArray[np.float32]
    local: NDArray[np.float32]
    shadow_ridge: NDArray[np.float32]
    shadow_logistic: NDArray[np.float32]
    trees: NDArray[np.float32]

    def columns(self, temporal: bool) -> NDArray[np.int64]:
        """The features that can be told from what is there, as numbers in `FEATURES`."""
        ridge, logistic, knn, score_knn, local, shadow_ridge, shadow_logistic, trees = (
            len(part) > 0 for part in self[1:]
        )
        there = [
            True, True, ridge, logistic, knn, score_knn, ridge, ridge, knn, *5 * [temporal],
            local, shadow_ridge, shadow_logistic, trees,
        ]  # fmt: skip
        return np.flatnonzero(there)


class Stack:
    """Combines what experts say; what holds for all labels is learned from all, what is special to one from it.

    Parameters
    ----------
    temporal
        Whether the features of the labels' own past take part. They mislead where labels come late. It may be changed
        later on.

    Notes
    -----
    Features of (event, label), with s the ridge score, T the logit of the prior, c = T / 4 + .5, and
    K = logit(v) / 2 of a share of votes v clipped to [.02, .98]: one; T; R = clip(4 s, -2, 6); logit / 2 of the
    logistic expert, clipped to +-4; K; K of the score neighbours; 2 clip(s - s', +-1.5), s' being the best other score
    among the labels asked for; R c; K c; the five temporal ones of `LabelPast`; the local learner's logit / 2; R and
    logit / 2 of the shadow experts; K of the trees. Those of experts that are not there cost nothing.

    With z the features, logit p = (w + d_label).z. Shared w: Newton steps with a slowly forgetting curvature,
    A <- .999 A + .001 I / .09 + sum h z z', w += A^-1 sum (y - p_w) z, each component at most 0.5 a step, p_w being the
    answer of w alone. After 400 events the step is made for four events at once, which costs no accuracy that could be
    measured. Per label d: recursive, P z / (1 + h z.P z) times (y - p), h = max(p (1 - p), .003); the prior variance of
    d is .01 at birth and gains .06 over the label's first hundred positives, so that frequent labels may differ from
    the rest and rare ones follow it. The weight of an event multiplies h and y - p.

    Cells whose target is unknown, and labels born with the event, teach nothing; cells that are not asked teach as
    others do. Columns of experts that appear start at `START`, with the prior variance.

    A cell costs O(K^2), an event O(K^2), and O(K^3) every fourth time. State: 4 (K^2 + K) bytes a label, K <= 18 being
    the features used: 840 bytes for the 14 of a classifier without local learner and shadows.
    """

    def __init__(self, temporal: bool = True) -> None:
        self.temporal = temporal
        self._columns = np.zeros(0, np.int64)
        self._shared, self._gradient = np.zeros(0), np.zeros(0)
        self._curvature: NDArray[np.float64] = np.zeros((0, 0))
        self._own, self._covariance = np.zeros((0, 0), np.float32), np.zeros((0, 0, 0), np.float32)
        self._positives = np.zeros(0, np.int64)
        self._taught = np.zeros(1, np.int64)
        self._n_labels = 0

    def run(self, evidence: Evidence, events: Events, cells: Cells) -> NDArray[np.float64]:
        """The probability of each cell, that of an event taken before it is learned.

        Parameters
        ----------
        evidence
            What the experts say of these cells.
        events, cells
            The labels, and where to look at them.
        """
        proba = np.empty(len(cells.label))
        if len(proba):
            stack(self.arrays(evidence, int(events.born[-1])), evidence, events, cells, proba)
        return proba

    def arrays(self, evidence: Evidence, n_labels: int) -> tuple[NDArray[Any], ...]:
        """What is learned, as the kernel takes it: for what there is of the evidence, with room for so many labels."""
        self._see_to(evidence.columns(self.temporal))
        self._grow(n_labels)
        return (
            self._columns, self._shared, self._gradient, self._curvature, self._own, self._covariance,
            self._positives, self._taught,
        )  # fmt: skip

    def contributions(self, evidence: Evidence, cells: Cells) -> NDArray[np.float64]:
        """What each feature adds to the logit of each cell: (w + d_label) z, a column each of `FEATURES`."""
        z = np.zeros((len(cells.label), K), np.float32)
        every = np.arange(K)
        for low, high in zip(cells.start[:-1], cells.start[1:], strict=True):
            _see(evidence, cells, low, high, every, np.zeros(K, np.float32), z[low:high])
        held = np.where(cells.label < self._n_labels, cells.label, -1)
        own = np.concatenate([self._own[: self._n_labels], np.zeros((1, len(self._columns)), np.float32)])
        weights = np.zeros(z.shape)
        weights[:, self._columns] = self._shared + own[held]
        return weights * z

    def loosen(self) -> None:
        """Make all weights ready to change after an alarm, and start those of a shadow anew at 0.

        The weights stay, but for those of the shadow's; what the past says about how sure they are is forgotten.
        """
        shadow = np.isin(self._columns, (_SHADOW_RIDGE, _SHADOW_LOGISTIC))
        self._shared[shadow] = 0.0
        self._own[:, shadow] = 0.0
        self._gradient[:] = 0.0
        self._curvature[:] = np.eye(len(self._columns)) / _VARIANCE
        variance = _LOOSE + _LOOSER / _SUPPORT * self._positives
        self._covariance[:] = variance.astype(np.float32)[:, None, None] * np.eye(len(self._columns), dtype=np.float32)

    def promote_shadow(self) -> None:
        """Take notice that the shadow experts have become the main ones, and shadows, if any, start anew.

        What was believed through a shadow is from now on believed through the main expert, which it has replaced: the
        main weight becomes the sum of both, the shadow's 0.
        """
        k = len(self._columns)
        move, fresh = np.eye(k), np.zeros(k)
        for main, shadow in ((_RIDGE, _SHADOW_RIDGE), (_LOGISTIC, _SHADOW_LOGISTIC)):
            if main in self._columns and shadow in self._columns:
                to, of = np.searchsorted(self._columns, (main, shadow))
                move[to, of], move[of, of], fresh[of] = 1.0, 0.0, 1.0
        self._shared, self._gradient = move @ self._shared, np.zeros(k)
        # The kernel keeps the lower triangle alone.
        curvature = np.tril(self._curvature) + np.tril(self._curvature, -1).T
        sure = move @ np.linalg.inv(curvature) @ move.T + _VARIANCE * np.diag(fresh)
        self._curvature = np.asarray(np.linalg.inv(sure), np.float64)
        self._own = (self._own @ move.T).astype(np.float32)
        self._covariance = (move @ self._covariance @ move.T + _LOOSE * np.diag(fresh)).astype(np.float32)

    @property
    def weights(self) -> dict[str, float]:
        """The shared weight of each feature in use."""
        return {FEATURES[column]: float(weight) for column, weight in zip(self._columns, self._shared, strict=True)}

    def _see_to(self, columns: NDArray[np.int64]) -> None:
        """Go over to other features; those that stay keep what was learned."""
        if np.array_equal(columns, self._columns):
            return
        stay = np.isin(columns, self._columns)
        held, to = np.searchsorted(self._columns, columns[stay]), np.flatnonzero(stay)
        k, n = len(columns), len(self._positives)
        shared, gradient, curvature = START[columns], np.zeros(k), np.diag(np.full(k, 1 / _VARIANCE))
        own = np.zeros((n, k), np.float32)
        variance = (_LOOSE + _LOOSER / _SUPPORT * self._positives).astype(np.float32)
        covariance = variance[:, None, None] * np.eye(k, dtype=np.float32)
        shared[to], gradient[to] = self._shared[held], self._gradient[held]
        curvature[np.ix_(to, to)] = self._curvature[np.ix_(held, held)]
        own[:, to] = self._own[:, held]
        covariance[:, to[:, None], to] = self._covariance[:, held[:, None], held]
        self._columns, self._shared, self._gradient = columns, shared, gradient
        self._curvature = curvature
        self._own, self._covariance = own, covariance

    def _grow(self, n_labels: int) -> None:
        held = len(self._positives)
        self._positives = with_room(self._positives, n_labels)
        self._own, self._covariance = with_room(self._own, n_labels), with_room(self._covariance, n_labels)
        self._covariance[held:] = _LOOSE * np.eye(len(self._columns))
        self._n_labels = n_labels

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Weights and curvatures."""
        return {
            "columns": self._columns.copy(),
            "shared": self._shared.copy(),
            "gradient": self._gradient.copy(),
            "curvature": self._curvature.copy(),
            "taught": self._taught.copy(),
            "own": self._own[: self._n_labels].copy(),
            "covariance": self._covariance[: self._n_labels].copy(),
            "positives": self._positives[: self._n_labels].copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._columns, self._shared = state["columns"].copy(), state["shared"].copy()
        self._gradient, self._curvature = state["gradient"].copy(), state["curvature"].copy()
        self._taught, self._positives = state["taught"].copy(), state["positives"].copy()
        self._own, self._covariance = state["own"].copy(), state["covariance"].copy()
        self._n_labels = len(self._positives)


@njit(cache=True, nogil=True)
def _clip(value, low, high):
    return min(max(value, low), high)


@njit(cache=True, nogil=True)
def _sigmoid(logit):
    return 1.0 / (1.0 + np.exp(-_clip(logit, -30.0, 30.0)))


@njit(cache=True, nogil=True)
def _half_logit(p):
    p = _clip(np.float64(p), 0.02, 0.98)
    return 0.5 * np.log(p / (1.0 - p))


@njit(cache=True, nogil=True)
def _see(evidence, cells, low, high, columns, every, z):
    """Write the features ``columns`` of the cells from ``low`` to ``high``; ``every`` has room for all of a cell."""
    past, ridge, knn = evidence.past, evidence.ridge, evidence.knn
    best, second = -np.inf, -np.inf
    if len(ridge):
        for cell in range(low, high):
            score = ridge[cell]
            if not cells.asked[cell]:
                continue
            if score > best:
                best, second = score, best
            elif score > second:
                second = score
    every[0] = 1.0
    for cell in range(low, high):
        prior = np.float64(past[cell, 0])
        common = prior / 4.0 + 0.5
        every[1] = prior
        if len(ridge):
            score = np.float64(ridge[cell])
            rival = second if cells.asked[cell] and score == best else best
            every[2] = _clip(4.0 * score, -2.0, 6.0)
            every[6] = 2.0 * _clip(score - rival, -1.5, 1.5)
            every[7] = every[2] * common
        if len(evidence.logistic):
            every[3] = _clip(evidence.logistic[cell], -8.0, 8.0) / 2.0
        if len(knn):
            every[4] = _half_logit(knn[cell])
            every[8] = every[4] * common
        if len(evidence.score_knn):
            every[5] = _half_logit(evidence.score_knn[cell])
        for j in range(5):
            every[9 + j] = past[cell, 1 + j]
        if len(evidence.local):
            every[14] = _clip(evidence.local[cell], -8.0, 8.0) / 2.0
        if len(evidence.shadow_ridge):
            every[15] = _clip(4.0 * evidence.shadow_ridge[cell], -2.0, 6.0)
        if len(evidence.shadow_logistic):
            every[16] = _clip(evidence.shadow_logistic[cell], -8.0, 8.0) / 2.0
        if len(evidence.trees):
            every[17] = _half_logit(evidence.trees[cell])
        for j in range(len(columns)):
            z[cell - low, j] = every[columns[j]]


@njit(cache=True, nogil=True)
def _solve(matrix, vector, lower):
    """Solve a positive definite system by Cholesky's method; ``vector`` becomes the solution, ``lower`` is scratch."""
    n = len(vector)
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = np.sqrt(total) if i == j else total / lower[j, j]
    for i in range(n):
        for k in range(i):
            vector[i] -= lower[i, k] * vector[k]
        vector[i] /= lower[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= lower[k, i] * vector[k]
        vector[i] /= lower[i, i]


@njit(cache=True, nogil=True)
def _learn_own(own, covariance, z, sharp, error, spread):
    """One recursive step for the weights of a label."""
    k = len(z)
    spread[:] = 0.0
    for j in range(k):
        row, value = covariance[j], z[j]
        for c in range(k):
            spread[c] += value * row[c]
    variance = np.float32(0.0)
    for j in range(k):
        variance += spread[j] * z[j]
    total = np.float32(1.0) + sharp * max(variance, np.float32(0.0))
    rate, shrink = error / total, sharp / total
    for j in range(k):
        own[j] += rate * spread[j]
        row, value = covariance[j], shrink * spread[j]
        for c in range(k):
            row[c] -= value * spread[c]


@njit(cache=True, nogil=True)
def stack(
    arrays: tuple[NDArray[Any], ...], evidence: Evidence, events: Events, cells: Cells, proba: NDArray[np.float64]
) -> None:
    """Write the probabilities of `Stack`."""
    columns, shared, gradient, curvature, own, covariance, positives, taught = arrays
    k = len(columns)
    widest = 0
    for i in range(len(events.state)):
        widest = max(widest, cells.start[i + 1] - cells.start[i])
    z, every = np.zeros((widest, k), np.float32), np.zeros(K, np.float32)
    of_shared = np.zeros(widest)
    lower, spread = np.zeros((k, k)), np.zeros(k, np.float32)
    for i in range(len(events.state)):
        low, high = cells.start[i], cells.start[i + 1]
        _see(evidence, cells, low, high, columns, every, z)
        for cell in range(low, high):
            row, mine = z[cell - low], own[cells.label[cell]]
            common, special = 0.0, 0.0
            for j in range(k):
                common += shared[j] * row[j]
                special += mine[j] * row[j]
            of_shared[cell - low] = _sigmoid(common)
            proba[cell] = _sigmoid(common + special)
        if not events.taught[i] or high == low or events.born[i] == 0:
            continue

        weight = events.weight[i]
        for j in range(k):
            for c in range(j + 1):
                curvature[j, c] *= _KEPT
            curvature[j, j] += (1.0 - _KEPT) / _VARIANCE
        for cell in range(low, high):
            label, y = cells.label[cell], np.float64(cells.target[cell])
            if np.isnan(y) or label >= events.born[i]:
                continue
            row, p = z[cell - low], of_shared[cell - low]
            sharp, error = weight * max(p * (1.0 - p), _SHARPNESS), weight * (y - p)
            for j in range(k):
                scaled = sharp * row[j]
                gradient[j] += error * row[j]
                for c in range(j + 1):
                    curvature[j, c] += scaled * row[c]
            if y > 0 and positives[label] < _SUPPORT:
                positives[label] += 1
                for j in range(k):
                    covariance[label, j, j] += np.float32(_LOOSER / _SUPPORT)
            p = proba[cell]
            sharp, error = weight * max(p * (1.0 - p), _SHARPNESS), weight * (y - p)
            _learn_own(own[label], covariance[label], row, np.float32(sharp), np.float32(error), spread)
        taught[0] += 1
        if taught[0] <= _EAGER or taught[0] % _EVERY == 0:
            _solve(curvature, gradient, lower)
            for j in range(k):
                shared[j] += _clip(gradient[j], -_STEP, _STEP)
                gradient[j] = 0.0


@njit(cache=True, nogil=True)
def log_losses(proba: NDArray[np.float64], events: Events, cells: Cells) -> NDArray[np.float64]:
    """Log loss of each event, as a share of the largest there is: the mean over its asked cells of -log p of what was
    true, p being at least 1e-6, divided by log 1e6."""
    losses = np.zeros(len(events.taught))
    for i in range(len(losses)):
        n = 0
        for cell in range(cells.start[i], cells.start[i + 1]):
            if cells.asked[cell] and not np.isnan(cells.target[cell]):
                p = proba[cell] if cells.target[cell] > 0 else 1.0 - proba[cell]
                losses[i] -= np.log(max(p, 1e-6))
                n += 1
        losses[i] /= max(n, 1) * np.log(1e6)
    return losses
