"""One probability per label out of what all experts say: logistic stacking with shared and per-label weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from ihomer.fetching import fetch
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

OF_LABELS = ("own", "covariance", "positives")
"""Arrays of the state that have a record a label."""

_LOOSE, _LOOSER, _SUPPORT = 0.01, 0.06, 100

_LANES = 8
"""Rows are a multiple of this wide, since compilers do badly with a rest. What is not used of them stays 0."""

_LEAST = 0.5 * math.log(0.02 / (1.0 - 0.02))
"""Half of the logit of the least share of votes that one is taken of."""

_AHEAD = 2
"""Cells after which a label's numbers are needed that memory is asked for."""


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


class Room(NamedTuple):
    """Working room for an event: the features ``z`` of its cells and their ``logits`` by the shared weights, which are
    wanted from its answer until it is learned, and scratch."""

    z: NDArray[np.float32]
    every: NDArray[np.float32]
    logits: NDArray[np.float64]
    sharps: NDArray[np.float64]
    errors: NDArray[np.float64]
    lower: NDArray[np.float64]
    spread: NDArray[np.float32]


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

    A cell costs O(K^2), an event O(K^2), and O(K^3) every fourth time. State: 4 (K + 1) W bytes a label in memory, K <=
    18 being the features used and W the next multiple of 8: 960 bytes for the 14 of a classifier without local learner
    and shadows.
    """

    def __init__(self, temporal: bool = True) -> None:
        self.temporal = temporal
        self._columns = np.zeros(0, np.int64)
        self._shared, self._gradient = np.zeros(0), np.zeros(0)
        self._curvature: NDArray[np.float64] = np.zeros((0, 0))
        # Rows are as wide as `_width` says.
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

    def run_shared(self, evidence: Evidence, events: Events, cells: Cells) -> tuple[NDArray[np.float64], ...]:
        """Learn what all labels share alone; give `run_labels` the weights, (n, k), with which each event is answered,
        and its two best ridge scores, (n, 2)."""
        n = len(events.state)
        columns, shared, gradient, curvature, *_, taught = self.arrays(evidence, 0)
        weights, rivals = np.empty((n, len(columns))), np.empty((n, 2))
        learned = shared, gradient, curvature, taught
        stack_shared(columns, _width(len(columns)), learned, evidence, events, cells, weights, rivals)
        return weights, rivals

    def run_labels(
        self,
        columns: NDArray[np.int64],
        weights: NDArray[np.float64],
        rivals: NDArray[np.float64],
        evidence: Evidence,
        events: Events,
        cells: Cells,
    ) -> NDArray[np.float64]:
        """As `run`, for the cells of some labels, with the features in use and what `run_shared` gave for all cells;
        what all labels share is not learned."""
        proba = np.empty(len(cells.label))
        self._see_to(columns)
        self._grow(int(events.born[-1]))
        learned = self._own, self._covariance, self._positives
        stack_labels(columns, learned, weights, rivals, evidence, events, cells, proba)
        return proba

    def contributions(self, evidence: Evidence, cells: Cells) -> NDArray[np.float64]:
        """What each feature adds to the logit of each cell: (w + d_label) z, a column each of `FEATURES`."""
        z = np.zeros((len(cells.label), K), np.float32)
        every = np.arange(K)
        for low, high in zip(cells.start[:-1], cells.start[1:], strict=True):
            best, second = _two_best(evidence.ridge, cells, low, high)
            _see(evidence, cells, low, high, best, second, every, np.zeros(K, np.float32), z[low:high])
        held = np.where(cells.label < self._n_labels, cells.label, -1)
        k = len(self._columns)
        own = np.concatenate([self._own[: self._n_labels, :k], np.zeros((1, k), np.float32)])
        weights = np.zeros(z.shape)
        weights[:, self._columns] = self._shared + own[held]
        return weights * z

    def loosen(self) -> None:
        """Make all weights ready to change after an alarm, and start those of a shadow anew at 0.

        The weights stay, but for those of the shadow's; what the past says about how sure they are is forgotten.
        """
        shadow = np.isin(self._columns, (_SHADOW_RIDGE, _SHADOW_LOGISTIC))
        self._shared[shadow] = 0.0
        self._own[:, np.flatnonzero(shadow)] = 0.0
        self._gradient[:] = 0.0
        self._curvature[:] = np.eye(len(self._columns)) / _VARIANCE
        self._covariance = self._prior(self._positives)

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
        self._own[:, :k] = self._own[:, :k] @ move.T
        self._covariance[:, :, :k] = move @ self._covariance[:, :, :k] @ move.T + _LOOSE * np.diag(fresh)

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
        shared[to], gradient[to] = self._shared[held], self._gradient[held]
        curvature[np.ix_(to, to)] = self._curvature[np.ix_(held, held)]
        self._columns, self._shared, self._gradient = columns, shared, gradient
        self._curvature = curvature
        own, covariance = np.zeros((n, _width(k)), np.float32), self._prior(self._positives)
        own[:, to] = self._own[:, held]
        covariance[:, to[:, None], to] = self._covariance[:, held[:, None], held]
        self._own, self._covariance = own, covariance

    def _prior(self, positives: NDArray[np.int64]) -> NDArray[np.float32]:
        """Covariances of labels of which nothing is known but how often they have been present."""
        k = len(self._columns)
        variance = (_LOOSE + _LOOSER / _SUPPORT * positives).astype(np.float32)
        return variance[:, None, None] * np.eye(k, _width(k), dtype=np.float32)

    def _grow(self, n_labels: int) -> None:
        held = len(self._positives)
        self._positives = with_room(self._positives, n_labels)
        self._own, self._covariance = with_room(self._own, n_labels), with_room(self._covariance, n_labels)
        self._covariance[held:] = self._prior(self._positives[held:])
        self._n_labels = n_labels

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Weights and curvatures."""
        k = len(self._columns)
        return {
            "columns": self._columns.copy(),
            "shared": self._shared.copy(),
            "gradient": self._gradient.copy(),
            "curvature": self._curvature.copy(),
            "taught": self._taught.copy(),
            "own": self._own[: self._n_labels, :k].copy(),
            "covariance": self._covariance[: self._n_labels, :, :k].copy(),
            "positives": self._positives[: self._n_labels].copy(),
        }

    def label_state(self, n_labels: int) -> dict[str, NDArray[Any]]:
        """What is special to each of so many labels."""
        self._grow(n_labels)
        return {name: array for name, array in self.get_state().items() if name in OF_LABELS}

    def hold_labels(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over the features in use, ``columns``, and what ``label_state`` gave; what labels share stays."""
        self._see_to(state["columns"])
        self.set_state({**self.get_state(), **state})

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._columns, self._shared = state["columns"].copy(), state["shared"].copy()
        self._gradient, self._curvature = state["gradient"].copy(), state["curvature"].copy()
        self._taught, self._positives = state["taught"].copy(), state["positives"].copy()
        n = self._n_labels = len(self._positives)
        k = len(self._columns)
        self._own, self._covariance = np.zeros((n, _width(k)), np.float32), np.zeros((n, k, _width(k)), np.float32)
        self._own[:, :k], self._covariance[:, :, :k] = state["own"], state["covariance"]


def _width(k: int) -> int:
    """How wide the rows of ``k`` features are."""
    return -(-k // _LANES) * _LANES


@njit(cache=True, nogil=True)
def _clip(value, low, high):
    return min(max(value, low), high)


@njit(cache=True, nogil=True)
def _sigmoid(logit):
    return 1.0 / (1.0 + np.exp(-_clip(logit, -30.0, 30.0)))


@njit(cache=True, nogil=True)
def _half_logit(p):
    # Most are of labels that no neighbour has.
    if p <= 0.02:
        return _LEAST
    p = min(np.float64(p), 0.98)
    return 0.5 * np.log(p / (1.0 - p))


@njit(cache=True, nogil=True)
def _two_best(ridge, cells, low, high):
    """The two best ridge scores among the cells that are asked, -infinity where there are none."""
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
    return best, second


# Inlined, as other steps of an event are below: every array that is passed on is counted, which takes 12 ns.
@njit(cache=True, nogil=True, inline="always")
def _see(evidence, cells, low, high, best, second, columns, every, z):
    """Write the features ``columns`` of the cells from ``low`` to ``high``, whose two best ridge scores are known;
    ``every`` has room for all of a cell."""
    past, ridge, knn = evidence.past, evidence.ridge, evidence.knn
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
def _learn_shared(curvature, gradient, z, sharp, error):
    """Add what cells say to curvature and gradient, four at a time: those that teach nothing have sharpness and error
    0, and so have some after the last one."""
    k = len(gradient)
    for cell in range(0, len(sharp), 4):
        a, b, c, d = z[cell], z[cell + 1], z[cell + 2], z[cell + 3]
        of_a, of_b, of_c, of_d = error[cell], error[cell + 1], error[cell + 2], error[cell + 3]
        for j in range(k):
            gradient[j] = (((gradient[j] + of_a * a[j]) + of_b * b[j]) + of_c * c[j]) + of_d * d[j]
        of_a, of_b, of_c, of_d = sharp[cell], sharp[cell + 1], sharp[cell + 2], sharp[cell + 3]
        for j in range(k):
            row = curvature[j]
            in_a, in_b, in_c, in_d = of_a * a[j], of_b * b[j], of_c * c[j], of_d * d[j]
            for at in range(j + 1):
                row[at] = (((row[at] + in_a * a[at]) + in_b * b[at]) + in_c * c[at]) + in_d * d[at]


@njit(cache=True, nogil=True)
def _learn_own(own, covariance, z, sharp, error, spread):
    """One recursive step for the weights of a label."""
    k, width = len(covariance), len(spread)
    for at in range(width):
        spread[at] = 0.0
    whole = k - k % 4
    for j in range(0, whole, 4):
        a, b, c, d = covariance[j], covariance[j + 1], covariance[j + 2], covariance[j + 3]
        of_a, of_b, of_c, of_d = z[j], z[j + 1], z[j + 2], z[j + 3]
        for at in range(width):
            spread[at] = (((spread[at] + of_a * a[at]) + of_b * b[at]) + of_c * c[at]) + of_d * d[at]
    for j in range(whole, k):
        row, value = covariance[j], z[j]
        for at in range(width):
            spread[at] += value * row[at]
    variance = np.float32(0.0)
    for j in range(k):
        variance += spread[j] * z[j]
    total = np.float32(1.0) + sharp * max(variance, np.float32(0.0))
    rate, shrink = error / total, sharp / total
    for j in range(k):
        own[j] += rate * spread[j]
        row, value = covariance[j], shrink * spread[j]
        for at in range(width):
            row[at] -= value * spread[at]


@njit(cache=True, nogil=True)
def _answer_shared(shared, z, common):
    """Write the logit of each cell by the shared weights."""
    for cell in range(len(common)):
        total = 0.0
        for j in range(len(shared)):
            total += shared[j] * z[cell, j]
        common[cell] = total


@njit(cache=True, nogil=True, inline="always")
def _answer_labels(own, k, z, common, cells, low, proba):
    """Write the probability of each cell."""
    high, label = low + len(common), cells.label
    for cell in range(low, high):
        mine, special = own[label[cell]], 0.0
        fetch(own, label[min(cell + 2 * _AHEAD, high - 1)])
        for j in range(k):
            special += mine[j] * z[cell - low, j]
        proba[cell] = _sigmoid(common[cell - low] + special)


@njit(cache=True, nogil=True)
def _learn_event(learned, events, cells, i, z, common, room):
    """Take an event into the shared weights; ``room`` is scratch."""
    shared, gradient, curvature, taught = learned
    sharps, errors, lower = room
    k, low, weight, born = len(shared), cells.start[i], events.weight[i], events.born[i]
    label, target = cells.label, cells.target
    for j in range(k):
        for c in range(j + 1):
            curvature[j, c] *= _KEPT
        curvature[j, j] += (1.0 - _KEPT) / _VARIANCE
    n = -(-len(common) // 4) * 4
    sharps[:n] = 0.0
    errors[:n] = 0.0
    for cell in range(len(common)):
        y = np.float64(target[low + cell])
        if not np.isnan(y) and label[low + cell] < born:
            p = _sigmoid(common[cell])
            sharps[cell], errors[cell] = weight * max(p * (1.0 - p), _SHARPNESS), weight * (y - p)
    _learn_shared(curvature, gradient, z, sharps[:n], errors[:n])
    taught[0] += 1
    if taught[0] <= _EAGER or taught[0] % _EVERY == 0:
        _solve(curvature, gradient, lower)
        for j in range(k):
            shared[j] += _clip(gradient[j], -_STEP, _STEP)
            gradient[j] = 0.0


@njit(cache=True, nogil=True, inline="always")
def _learn_labels(learned, k, events, cells, i, z, proba, spread):
    """Take an event into the weights of each of its labels."""
    own, covariance, positives = learned
    low, high, weight, born = cells.start[i], cells.start[i + 1], events.weight[i], events.born[i]
    labels, target = cells.label, cells.target
    for cell in range(low, high):
        label, y, p = labels[cell], np.float64(target[cell]), proba[cell]
        ahead = covariance[labels[min(cell + _AHEAD, high - 1)]]
        for j in range(k):
            fetch(ahead, j)
        if np.isnan(y) or label >= born:
            continue
        if y > 0 and positives[label] < _SUPPORT:
            positives[label] += 1
            for j in range(k):
                covariance[label, j, j] += np.float32(_LOOSER / _SUPPORT)
        sharp, error = weight * max(p * (1.0 - p), _SHARPNESS), weight * (y - p)
        _learn_own(own[label], covariance[label], z[cell - low], np.float32(sharp), np.float32(error), spread)


@njit(cache=True, nogil=True)
def _most_cells(cells):
    """How many cells the longest event has."""
    most = 1
    for i in range(len(cells.start) - 1):
        most = max(most, cells.start[i + 1] - cells.start[i])
    return most


@njit(cache=True, nogil=True)
def room_for(n_cells: int, width: int, k: int) -> Room:
    """Room for events of so many cells, of which ``k`` features are used, in rows of so many."""
    # Three more, since cells are learned four at a time.
    most = n_cells + 3
    return Room(
        np.zeros((most, width), np.float32), np.zeros(K, np.float32), np.zeros(most), np.zeros(most), np.zeros(most),
        np.zeros((k, k)), np.zeros(width, np.float32),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def stack(
    arrays: tuple[NDArray[Any], ...], evidence: Evidence, events: Events, cells: Cells, proba: NDArray[np.float64]
) -> None:
    """Write the probabilities of `Stack`."""
    room = room_for(_most_cells(cells), arrays[4].shape[1], len(arrays[0]))
    for i in range(len(events.state)):
        answer_event(arrays, evidence, cells, i, room, proba)
        if events.taught[i]:
            learn_event(arrays, events, cells, i, room, proba)


@njit(cache=True, nogil=True, inline="always")
def answer_event(
    arrays: tuple[NDArray[Any], ...],
    evidence: Evidence,
    cells: Cells,
    i: int,
    room: Room,
    proba: NDArray[np.float64],
) -> None:
    """Write the probabilities of an event, and in ``room`` what `learn_event` needs of it."""
    columns, shared, _, _, own, _, _, _ = arrays
    low, high = cells.start[i], cells.start[i + 1]
    common = room.logits[: high - low]
    best, second = _two_best(evidence.ridge, cells, low, high)
    _see(evidence, cells, low, high, best, second, columns, room.every, room.z)
    _answer_shared(shared, room.z, common)
    _answer_labels(own, len(columns), room.z, common, cells, low, proba)


@njit(cache=True, nogil=True, inline="always")
def learn_event(
    arrays: tuple[NDArray[Any], ...], events: Events, cells: Cells, i: int, room: Room, proba: NDArray[np.float64]
) -> None:
    """Learn the event that was answered last."""
    columns, shared, gradient, curvature, own, covariance, positives, taught = arrays
    n = cells.start[i + 1] - cells.start[i]
    if n > 0 and events.born[i] > 0:
        scratch = room.sharps, room.errors, room.lower
        _learn_labels((own, covariance, positives), len(columns), events, cells, i, room.z, proba, room.spread)
        _learn_event((shared, gradient, curvature, taught), events, cells, i, room.z, room.logits[:n], scratch)


@njit(cache=True, nogil=True)
def stack_shared(
    columns: NDArray[np.int64],
    width: int,
    learned: tuple[NDArray[Any], ...],
    evidence: Evidence,
    events: Events,
    cells: Cells,
    weights: NDArray[np.float64],
    rivals: NDArray[np.float64],
) -> None:
    """Learn the shared weights of `Stack` alone, on which those of single labels have no influence, and write what
    `stack_labels` needs of all labels."""
    k, most = len(columns), _most_cells(cells) + 3
    z, every, logits = np.zeros((most, width), np.float32), np.zeros(K, np.float32), np.zeros(most)
    room = np.zeros(most), np.zeros(most), np.zeros((k, k))
    for i in range(len(events.state)):
        low, high = cells.start[i], cells.start[i + 1]
        weights[i] = learned[0]
        best, second = _two_best(evidence.ridge, cells, low, high)
        rivals[i, 0], rivals[i, 1] = best, second
        if events.taught[i] and high > low and events.born[i] > 0:
            common = logits[: high - low]
            _see(evidence, cells, low, high, best, second, columns, every, z)
            _answer_shared(learned[0], z, common)
            _learn_event(learned, events, cells, i, z, common, room)


@njit(cache=True, nogil=True)
def stack_labels(
    columns: NDArray[np.int64],
    learned: tuple[NDArray[Any], ...],
    weights: NDArray[np.float64],
    rivals: NDArray[np.float64],
    evidence: Evidence,
    events: Events,
    cells: Cells,
    proba: NDArray[np.float64],
) -> None:
    """Write the probabilities of `Stack` for the cells of some labels, and learn what is special to these."""
    k, width, most = len(columns), learned[0].shape[1], _most_cells(cells)
    z, every, logits = np.zeros((most, width), np.float32), np.zeros(K, np.float32), np.zeros(most)
    spread = np.zeros(width, np.float32)
    for i in range(len(events.state)):
        low, high = cells.start[i], cells.start[i + 1]
        common = logits[: high - low]
        _see(evidence, cells, low, high, rivals[i, 0], rivals[i, 1], columns, every, z)
        _answer_shared(weights[i], z, common)
        _answer_labels(learned[0], k, z, common, cells, low, proba)
        if events.taught[i]:
            _learn_labels(learned, k, events, cells, i, z, proba, spread)
