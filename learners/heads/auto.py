"""The default head: cosines of whitened class means, cold classes drawn to their like, and several means a class."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from learners.base import State, with_room
from learners.heads.head import SolvedHead, Weights, dot, to_shares
from learners.heads.slda import shrunk_covariance
from learners.heads.statistics import BLOCK, FROZEN_AT, FROZEN_ROWS, ROWS, Moments
from streams.batch import Batch

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

WARM = 5.0
"""A class of so many events counts half in the centre."""

COLD, DRAWN, SHARP = 20.0, 0.3, 16.0
"""A class of no events is drawn to its like by ``DRAWN``, one of ``COLD`` events by half as much; likeness counts by
exp(``SHARP`` times the cosine)."""

EVENTS_EACH, TRUSTED = 15, 10.0
"""Events of a class for each of its sub-prototypes, and of a sub-prototype that half trusts its own direction."""

PRIOR = 0.25
"""Weight of how often a class occurs, for plain accuracy."""

OBJECTIVES = ("plain", "balanced")


class AutoHead(SolvedHead):
    """One setting for frozen features of any kind and any order of classes.

    Parameters
    ----------
    objective
        What is answered for: ``"plain"`` accuracy, or ``"balanced"``, the mean over classes.
    sub_prototypes
        Means a class at most beside its own; 0: none.
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
    With the pooled covariance A, shrunk by the schedule of `SLDAClassifier`, and the centre c of the class means in
    which a class of n events weighs n / (n + 5), a class has the direction w = A^-1 (mean - c) over its length in the
    metric of A: the score is a cosine between whitened vectors, so that a class far from the centre has no advantage.
    A class of few events is drawn to classes that it resembles, by 0.3 * 20 / (20 + n) [1]_. A sub-prototype is the
    mean of those events of its class that are nearest to it (by distance^2 * (events + 1), so that none starves); there
    is one for every 15 events. It has a direction of its own, mixed with that of its class for want of events, and
    the best one adds to the score of the class. For plain accuracy a quarter of log(n K / N) is added for
    classes that are more frequent than the mean, in units of the scores' spread.

    A sub-prototype begins as the vector of one event, and is that vector until another one joins it; nothing else of
    single events is kept. Without sub-prototypes the order of events leaves no trace beyond rounding, and `merge` is
    exact.

    Time: O(d^2 / 2 + s d) to learn an event, O(K s d) to answer one, d^3 / 3 + K s d^2 to solve, s being the means a
    class. Missing values are 0, nominal columns are not looked at. Nothing is forgotten. Bytes: 8 d^2 + 16 K d (1 + s).

    References
    ----------
    .. [1] Wang et al., "Few-shot class-incremental learning via training-free prototype calibration", NeurIPS 2023,
       equations (4) to (6), where the weight does not fade.

    Examples
    --------
    >>> from learners.heads.auto import AutoHead
    >>> head = AutoHead()
    >>> for size in range(20):
    ...     head.learn_one({"size": float(size), "one": 1.0}, {"small": size < 10, "big": size >= 10})
    >>> head.predict_one({"size": 13.0, "one": 1.0})
    {'small': False, 'big': True}
    """

    def __init__(
        self,
        objective: str = "plain",
        *,
        sub_prototypes: int = 20,
        normalise: str = "none",
        refresh: int = BLOCK,
    ) -> None:
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        if sub_prototypes < 0:
            raise ValueError(f"sub_prototypes must be at least 0, got {sub_prototypes}")
        super().__init__(normalise, refresh)
        self.objective, self.sub_prototypes = objective, sub_prototypes
        self._subs = _SubPrototypes.none(sub_prototypes)
        self._frozen_subs = self._subs
        self._solved_subs: tuple[tuple[int, int], Weights, _Directions] | None = None

    def _grow(self, width: int, n_labels: int) -> None:
        super()._grow(width, n_labels)
        self._subs, self._frozen_subs = self._subs.grown(0, width), self._frozen_subs.grown(0, width)

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        statistics, start = self._statistics, 0
        while start < len(x):
            before, stop = int(statistics.counters[FROZEN_AT]), len(x)
            solved = self._solve_frozen() if answer else None
            if learn:
                stop = statistics.learn(x, batch, start, pause=True)
            if solved is not None:
                _answer(x[start:stop], *solved[0], *solved[1], proba[start:stop], chosen[start:stop])
            if learn and self.sub_prototypes:
                self._subs = self._subs.grown(len(statistics.n), statistics.width)
                bounds = batch.y.indptr[start : stop + 1]
                _learn_subs(x[start:stop], bounds, batch.y.indices, statistics.row_of, *self._subs)
                if int(statistics.counters[FROZEN_AT]) != before:
                    self._frozen_subs = self._subs.copy(int(statistics.counters[FROZEN_ROWS]))
            start = stop

    def _solve_frozen(self) -> tuple[Weights, _Directions]:
        key = int(self._statistics.counters[FROZEN_AT]), self._statistics.width
        if self._solved_subs is None or self._solved_subs[0] != key:
            moments = self._statistics.frozen()
            if len(moments.labels):
                solved = self._solve_with(moments, self._frozen_subs)
            else:
                solved = Weights(moments.labels, moments.means, moments.n), _Directions.none(moments.means)
            self._solved_subs = (key, *solved)
        return self._solved_subs[1:]

    def _solve(self, moments: Moments) -> Weights:
        return self._solve_with(moments, self._subs)[0]

    def _solve_with(self, moments: Moments, subs: _SubPrototypes) -> tuple[Weights, _Directions]:
        n, means = moments.n, moments.means
        warmth = n / (n + WARM)
        centre = warmth @ means / warmth.sum()
        metric = shrunk_covariance(moments, "scheduled")
        factor = cho_factor(metric, lower=True)
        directions = _calibrated(_unit(_solved(factor, means - centre), metric), means - centre, n, metric)
        spread = _spread(moments, directions, centre)
        found = _Directions.none(means)
        if self.sub_prototypes:
            rows = len(n)
            own = _unit(_solved(factor, (subs.means[:rows] - centre).reshape(-1, means.shape[1])), metric)
            trust = (subs.counts[:rows] / (subs.counts[:rows] + TRUSTED))[:, :, None]
            mixed = trust * own.reshape(subs.means[:rows].shape) + (1 - trust) * directions[:, None, :]
            mixed = _unit(mixed.reshape(-1, means.shape[1]), metric).reshape(mixed.shape)
            spread *= 2
            found = _Directions(mixed / spread, -(mixed @ centre) / spread, subs.born[:rows])
        offsets = -(directions @ centre) / spread
        if self.objective == "plain":
            offsets += PRIOR * np.log(np.maximum(n * len(n) / moments.total, 1.0))
        return Weights(moments.labels, directions / spread, offsets), found

    def _get_state(self) -> State:
        rows = int(self._statistics.counters[ROWS])
        state = super()._get_state()
        for name, subs in (("subs", self._subs.copy(rows)), ("frozen_subs", self._frozen_subs)):
            state |= {f"{name}_{part}": array.copy() for part, array in subs._asdict().items()}
        return state

    def _set_state(self, state: State) -> None:
        super()._set_state(state)
        self._subs = _SubPrototypes(*(state[f"subs_{part}"].copy() for part in _SubPrototypes._fields))
        self._frozen_subs = _SubPrototypes(*(state[f"frozen_subs_{part}"].copy() for part in _SubPrototypes._fields))
        self._solved_subs = None

    def _merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        if self.sub_prototypes:
            raise ValueError(f"sub_prototypes must be 0 to merge, got {self.sub_prototypes}")
        super()._merge(other, columns, labels)
        self._solved_subs = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_solved_subs": None}


class _SubPrototypes(NamedTuple):
    """Of every class, by its row in the statistics: means (K, s, d), their events (K, s), and how many there are."""

    means: Floats
    counts: Floats
    born: NDArray[np.int64]

    @classmethod
    def none(cls, most: int) -> Self:
        return cls(np.zeros((0, most, 0)), np.zeros((0, most)), np.zeros(0, np.int64))

    def grown(self, rows: int, width: int) -> _SubPrototypes:
        """Room for so many classes, and vectors of so many columns, of which earlier ones had zeros."""
        means = self.means
        if width > means.shape[2]:
            means = np.pad(means, ((0, 0), (0, 0), (0, width - means.shape[2])))
        return _SubPrototypes(with_room(means, rows), with_room(self.counts, rows), with_room(self.born, rows))

    def copy(self, rows: int) -> _SubPrototypes:
        """Those of the first so many classes, as copies."""
        held = self.grown(rows, 0)
        return _SubPrototypes(held.means[:rows].copy(), held.counts[:rows].copy(), held.born[:rows].copy())


class _Directions(NamedTuple):
    """Linear scores of sub-prototypes: vectors (K, s, d), offsets (K, s), and how many each class has."""

    vectors: Floats
    offsets: Floats
    born: NDArray[np.int64]

    @classmethod
    def none(cls, means: Floats) -> Self:
        k, d = means.shape
        return cls(np.zeros((k, 0, d)), np.zeros((k, 0)), np.zeros(k, np.int64))


def _solved(factor: tuple[Floats, bool], rows: Floats) -> Floats:
    """A^-1 of every row."""
    return np.ascontiguousarray(cho_solve(factor, rows.T).T)


def _unit(rows: Floats, metric: Floats) -> Floats:
    """Every row over its length in a metric; a row of no length as it is."""
    lengths = np.sqrt(np.maximum(np.einsum("kj,kj->k", rows @ metric, rows), 0))
    return rows / np.where(lengths > 0, lengths, 1)[:, None]


def _calibrated(own: Floats, centred: Floats, n: Floats, metric: Floats) -> Floats:
    """Directions of cold classes drawn to those of the classes that they resemble."""
    if len(n) == 1:
        return own
    lengths = np.sqrt(np.maximum(np.einsum("kj,kj->k", own, centred) ** 2, 0))
    # Inner products of one's direction with the other's whitened deviation, over that one's length.
    cosines = (own @ centred.T) / np.where(lengths > 0, lengths, 1)
    weights = n * np.exp(SHARP * (cosines - 1))
    np.fill_diagonal(weights, 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    drawn = (DRAWN * COLD / (COLD + n))[:, None]
    return _unit((1 - drawn) * own + drawn * (weights @ own), metric)


def _spread(moments: Moments, directions: Floats, centre: Floats) -> float:
    """Root mean square, over all events learned and all classes, of how far a score is from the mean score."""
    apart = directions - directions.mean(axis=0)
    gaps = (moments.means - centre) @ apart.T
    within = np.einsum("kj,kj->", apart @ moments.scatter, apart)
    squares = (within + moments.n @ (gaps**2).sum(axis=1)) / (moments.total * len(directions))
    return float(np.sqrt(squares)) if squares > 0 else 1.0


@njit(cache=True, nogil=True)
def _learn_subs(
    x: Floats,
    bounds: NDArray[np.int64],
    indices: Labels,
    row_of: Labels,
    means: Floats,
    counts: Floats,
    born: NDArray[np.int64],
) -> None:
    """Let every event join, or begin, a sub-prototype of each of its classes."""
    for i in range(len(x)):
        for cell in range(bounds[i], bounds[i + 1]):
            k = row_of[indices[cell]]
            events = counts[k, : born[k]].sum()
            if born[k] < counts.shape[1] and events >= EVENTS_EACH * born[k]:
                chosen = born[k]
                born[k] += 1
            else:
                chosen, least = 0, np.inf
                for s in range(born[k]):
                    far = _squared_distance(x[i], means[k, s]) * (counts[k, s] + 1)
                    if far < least:
                        chosen, least = s, far
            counts[k, chosen] += 1
            share = 1.0 / counts[k, chosen]
            for j in range(x.shape[1]):
                means[k, chosen, j] += (x[i, j] - means[k, chosen, j]) * share


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _squared_distance(a: Floats, b: Floats) -> float:
    total = 0.0
    for j in range(len(a)):
        total += (a[j] - b[j]) ** 2
    return total


@njit(cache=True, nogil=True)
def _answer(
    x: Floats,
    labels: Labels,
    vectors: Floats,
    offsets: Floats,
    sub_vectors: Floats,
    sub_offsets: Floats,
    born: NDArray[np.int64],
    proba: Floats,
    chosen: Labels,
) -> None:
    """Answer every vector by its classes' scores, each with the best of its sub-prototypes added."""
    scores = np.empty(len(labels))
    for i in range(len(x)):
        for k in range(len(labels)):
            scores[k] = offsets[k] + dot(x[i], vectors[k])
            best = -np.inf
            for s in range(born[k]):
                best = max(best, sub_offsets[k, s] + dot(x[i], sub_vectors[k, s]))
            if born[k]:
                scores[k] += best
        chosen[i] = to_shares(scores, labels, proba[i])
