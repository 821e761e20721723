"""One probability per label out of what all experts say: logistic stacking with shared and per-label weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Events, read_targets
from learners.base import with_room
from streams.batch import UNLABELLED

FEATURES = (
    "one", "prior", "ridge", "local", "margin", "ridge x prior", "chain", "as before", "average .5", "average .8",
    "average .97",
)  # fmt: skip
"""What the stack sees of an event and a label, in order."""

K = len(FEATURES)

START = np.array([-0.4, 0.3, 0.8, 0.4, 0.3, 0.0, 0.1, 0.1, 0.05, 0.1, 0.2])
"""Shared weights before the first event."""

TEMPORAL = slice(6, K)

_VARIANCE = 0.09
_KEPT = 0.999
_SHARPNESS = 0.003
"""Least curvature p(1 - p) that an event counts with, so that certain events still pin weights down."""

_STEP = 0.5
_LOOSE, _LOOSER = 0.01, 0.03


class Stack:
    """Combines expert scores; what holds for all labels is learned from all, what is special to one from it.

    Parameters
    ----------
    temporal
        Whether the features of the labels' own past take part.

    Notes
    -----
    With z the features of (event, label), logit p = (w + d_label).z. Shared w: Newton steps with a slowly forgetting
    curvature, A <- .999 A + .001 I / .09 + sum h z z', w += A^-1 sum (y - p_w) z, each component at most 0.5 a step,
    p_w being the answer of w alone. Per label d: recursive, P z / (1 + h z.P z) times (y - p), h = p (1 - p); the prior
    variance of d is .01 at birth and gains .03 over the label's first hundred positives, so that frequent labels may
    differ from the rest and rare ones follow it.

    An event costs O(L K^2), K = 11. State: 1.1 kB a label.
    """

    def __init__(self, temporal: bool = True) -> None:
        self.temporal = temporal
        self._shared = START.copy()
        self._curvature = np.eye(K) / _VARIANCE
        self._own = np.zeros((0, K))
        self._covariance = np.zeros((0, K, K))
        self._positives = np.zeros(0)
        self._n_labels = 0
        if not temporal:
            self._shared[TEMPORAL] = 0.0

    def run(
        self,
        past: NDArray[np.float32],
        ridge: NDArray[np.float32],
        local: NDArray[np.float32],
        events: Events,
        learn: bool,
    ) -> NDArray[np.float64]:
        """Probabilities of shape (n, labels), each taken before its event is learned (if ``learn``).

        Parameters
        ----------
        past
            From `ihomer.temporal.LabelPast`.
        ridge
            Scores from `ihomer.ridge.RidgeExpert`.
        local
            Logits of the local learner's probabilities.
        events
            The labels.
        """
        held, n_labels = self._n_labels, int(events.born[-1])
        self._own, self._positives = with_room(self._own, n_labels), with_room(self._positives, n_labels)
        self._covariance = with_room(self._covariance, n_labels)
        self._covariance[held:n_labels] = _LOOSE * np.eye(K)
        self._n_labels = n_labels
        proba = np.zeros((len(events.state), n_labels))
        _stack(
            self._shared, self._curvature, self._own, self._covariance, self._positives,
            past, ridge, local, self.temporal, events, learn, proba,
        )  # fmt: skip
        return proba

    @property
    def weights(self) -> dict[str, float]:
        """The shared weight of each feature."""
        return dict(zip(FEATURES, self._shared.tolist(), strict=True))

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Weights and curvatures."""
        return {
            "shared": self._shared.copy(),
            "curvature": self._curvature.copy(),
            "own": self._own[: self._n_labels].copy(),
            "covariance": self._covariance[: self._n_labels].copy(),
            "positives": self._positives[: self._n_labels].copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._shared, self._curvature = state["shared"].copy(), state["curvature"].copy()
        self._own, self._covariance = state["own"].copy(), state["covariance"].copy()
        self._positives = state["positives"].copy()
        self._n_labels = len(self._positives)


@njit(cache=True, nogil=True)
def _clip(value, low, high):
    return min(max(value, low), high)


@njit(cache=True, nogil=True)
def _sigmoid(logit):
    return 1.0 / (1.0 + np.exp(-_clip(logit, -30.0, 30.0)))


@njit(cache=True, nogil=True)
def _see(past, ridge, local, temporal, n_labels, z):
    """Write the features of the first ``n_labels`` labels of an event."""
    best, second = -np.inf, -np.inf
    for label in range(n_labels):
        score = ridge[label]
        if score > best:
            best, second = score, best
        elif score > second:
            second = score
    for label in range(n_labels):
        out, prior = z[label], np.float64(past[label, 0])
        score = np.float64(ridge[label])
        rival = second if score == best else best
        common = prior / 4.0 + 0.5
        out[0] = 1.0
        out[1] = prior
        out[2] = _clip(4.0 * score, -2.0, 6.0)
        out[3] = _clip(local[label], -8.0, 8.0) / 2.0
        out[4] = 2.0 * _clip(score - rival, -1.5, 1.5)
        out[5] = out[2] * common
        for j in range(5):
            out[6 + j] = past[label, 1 + j] if temporal else 0.0


@njit(cache=True, nogil=True)
def _solve(matrix, vector):
    """Solve a positive definite system by Cholesky's method; ``vector`` becomes the solution."""
    lower = np.zeros((K, K))
    for i in range(K):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = np.sqrt(total) if i == j else total / lower[j, j]
    for i in range(K):
        for k in range(i):
            vector[i] -= lower[i, k] * vector[k]
        vector[i] /= lower[i, i]
    for i in range(K - 1, -1, -1):
        for k in range(i + 1, K):
            vector[i] -= lower[k, i] * vector[k]
        vector[i] /= lower[i, i]


@njit(cache=True, nogil=True)
def _stack(shared, curvature, own, covariance, positives, past, ridge, local, temporal, events, learn, proba):
    n, n_columns = proba.shape
    z = np.zeros((n_columns, K))
    of_shared = np.zeros(n_columns)
    target = np.zeros(n_columns)
    step, spread = np.zeros(K), np.zeros(K)
    for i in range(n):
        n_labels = events.born[i]
        _see(past[i], ridge[i], local[i], temporal, n_labels, z)
        for label in range(n_labels):
            common, special = 0.0, 0.0
            for j in range(K):
                common += shared[j] * z[label, j]
                special += own[label, j] * z[label, j]
            of_shared[label] = _sigmoid(common)
            proba[i, label] = _sigmoid(common + special)
        if not learn or events.state[i] == UNLABELLED or n_labels == 0:
            continue
        weight = events.weight[i]
        read_targets(events, i, n_labels, target)
        for j in range(K):
            step[j] = 0.0
            for k in range(j + 1):
                curvature[j, k] *= _KEPT
            curvature[j, j] += (1.0 - _KEPT) / _VARIANCE
        for label in range(n_labels):
            y = target[label]
            if np.isnan(y):
                continue
            p = of_shared[label]
            sharp = weight * max(p * (1.0 - p), _SHARPNESS)
            for j in range(K):
                scaled = sharp * z[label, j]
                step[j] += weight * (y - p) * z[label, j]
                for k in range(j + 1):
                    curvature[j, k] += scaled * z[label, k]

            if y > 0 and positives[label] < 100:
                positives[label] += 1.0
                for j in range(K):
                    covariance[label, j, j] += _LOOSER / 100.0
            p = proba[i, label]
            sharp = weight * max(p * (1.0 - p), _SHARPNESS)
            total = 1.0
            for j in range(K):
                spread[j] = 0.0
                for k in range(K):
                    spread[j] += covariance[label, j, k] * z[label, k]
                total += sharp * spread[j] * z[label, j]
            for j in range(K):
                own[label, j] += weight * (y - p) / total * spread[j]
                for k in range(K):
                    covariance[label, j, k] -= sharp / total * spread[j] * spread[k]
        _solve(curvature, step)
        for j in range(K):
            if temporal or j < 6:
                shared[j] += _clip(step[j], -_STEP, _STEP)
