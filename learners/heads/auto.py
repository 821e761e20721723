"""The head to take when nothing is known: whitened cosine to calibrated prototypes and to sub-prototypes of a lift."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from learners.base import State
from learners.heads.head import Head, choose, dot, to_shares
from learners.heads.lifting import Lift
from learners.heads.slda import shrunk_covariance
from learners.heads.splitting import Centroids, single_dot
from learners.heads.statistics import FROZEN_AT, ClassStatistics, Moments
from learners.heads.teen import calibrate, unit
from streams.batch import COMPLETE, Batch, Rows

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Labels = NDArray[np.int32]

OBJECTIVES = ("plain", "balanced")

OPENING = 64
"""Events that set the scales of the lift; they are held until there are so many."""

REFRESH = 256

CENTRE = 5.0
"""Events after which a class counts half of what it can in the common centre."""

STRENGTH, FADE = 0.3, 20.0
"""Of the calibration, as in `TEENClassifier`."""

TRUST = 10.0
"""Events after which a sub-prototype is half its own and half the prototype of its class."""

FREQUENCY = 0.4
"""How much the regression that knows frequencies counts beside similarity, for plain accuracy."""

SURENESS = 1.5
"""Factor of scores of unit spread before they become probabilities."""


class Similarity(NamedTuple):
    """Scores ``z @ vectors[k] + offsets[k]`` of class ``labels[k]``, plus the largest of ``z @ sub_vectors[i]`` over
    the sub-prototypes with ``owners[i] == k``, where z is a lifted vector less ``centre``."""

    centre: Floats
    labels: Labels
    vectors: Floats
    offsets: Floats
    owners: NDArray[np.int64]
    sub_vectors: Floats32


class AutoHead(Head):
    """A head of few settings for frozen features of any kind and number, and classes that may come at any time.

    Parameters
    ----------
    objective
        ``"plain"``: as many events right as possible, where frequent classes count more; ``"balanced"``: the mean
        accuracy of the classes. On a skewed stream the two are at odds.
    n_features
        Random features that stand beside the given ones, as in `Lift`; 0: no lift, at a fraction of time and memory.
    sub_prototypes
        Sub-prototypes of a class at most, as in `Centroids`; 0: none.
    seed
        Of the random features, at least 0.
    normalise
        What is done to a vector first, as in `Normaliser`.
    refresh
        Answers lag at most this many vectors behind, as in `SolvedHead`; at least 1.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    A vector is lifted (`Lift`), and its class teaches `ClassStatistics` and `Centroids`. From the pooled covariance A
    within classes, shrunk by the schedule of `SLDAClassifier`, and the common centre c = sum r_k m_k / sum r_k of
    the class means m_k of counts n_k, r_k = n_k / (n_k + 5), answers are solved in the whitened space, that is with
    y(v) = L^-1 (v - c), A = L L^T:

    1. prototypes p_k are the directions of y(m_k), calibrated as by `TEENClassifier`;
    2. sub-prototypes are directions, too: of b u + (1 - b) p_k, with u the direction of y of a centroid of
       count n, and b = n / (n + 10);
    3. similarity is y . p_k plus the largest y . u of the class, over the spread of these scores;
    4. for plain accuracy .4 times the score of a ridge regression is added, over its spread. In it a class weighs
       max(1, n_k K / n): a class may have few events because it is rare or because it has hardly begun, but one that
       has many is frequent.

    The spread is the root mean square of scores about their mean over the classes, in closed form for normal classes:
    the head asks for no answers to its own events, which on a stream in sessions are those of few classes.
    Probabilities are the softmax of 1.5 times the score, which is in no way fitted.

    The first 64 events are held until they set the scales of the lift, and then let go; with fewer, scales are those
    of the first 1, 2, 4, ... No event is kept after that. Without lift none is held.

    An event with several labels is one of each of their classes. Without lift and sub-prototypes the order of events
    leaves no trace beyond rounding, and `merge` is exact; otherwise it is refused. Missing values are 0, nominal
    columns are not looked at. Nothing is forgotten. With D = d + ``n_features`` and P sub-prototypes in all:
    O(D^2 / 2 + D ``sub_prototypes``) to learn a vector, O((K + P) D) to answer one, D^3 / 3 + 2 (K + P) D^2 to solve.
    Bytes: 8 D^2 + 16 K D + 12 P D, and up to 8 ``refresh`` D.

    Examples
    --------
    >>> from learners.heads.auto import AutoHead
    >>> head = AutoHead()
    >>> for size in range(20):
    ...     head.learn_one({"size": float(size)}, {"small": size < 10, "big": size >= 10})
    >>> head.predict_one({"size": 13.0})
    {'small': False, 'big': True}
    """

    def __init__(
        self,
        objective: str = "plain",
        *,
        n_features: int = 600,
        sub_prototypes: int = 20,
        seed: int = 0,
        normalise: str = "none",
        refresh: int = REFRESH,
    ) -> None:
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        for name, value in (("n_features", n_features), ("sub_prototypes", sub_prototypes), ("seed", seed)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if refresh < 1:
            raise ValueError(f"refresh must be at least 1, got {refresh}")
        super().__init__(normalise)
        self.objective = objective
        self.n_features = n_features
        self.sub_prototypes = sub_prototypes
        self.seed = seed
        self.refresh = refresh
        self._lift = Lift(n_features, seed)
        self._opening = np.zeros((0, 0))
        self._opening_labels = Rows.empty(0)
        self._opening_weight = np.zeros(0)
        self._forget()

    def _forget(self) -> None:
        """Begin anew, but for the scales of the lift and the vectors that are held."""
        self._statistics = ClassStatistics("full", refresh=self.refresh)
        self._centroids = Centroids(self.sub_prototypes)
        self._solved: tuple[tuple[int, int], Similarity] | None = None

    def _grow(self, width: int, n_labels: int) -> None:
        self._lift.grow(self.schema_.feature_names)
        self._statistics.grow(self.n_features + width, n_labels)
        self._centroids.grow(self.n_features + width)
        if width > self._opening.shape[1]:
            self._opening = np.pad(self._opening, ((0, 0), (0, width - self._opening.shape[1])))

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        start = 0
        while start < len(x):
            # While the scales may change with any event, events go one by one.
            ahead = len(x) if self._is_settled or not learn else start + 1
            lifted = self._lift.apply(x[start:ahead]) if self.n_features else x
            while start < ahead:
                part = lifted[start - ahead :]
                similarity = self._frozen() if answer else None
                stop = self._learn(part, batch[start:ahead]) + start if learn else ahead
                if similarity is not None:
                    centred = part[: stop - start] - similarity.centre
                    _answer(centred, *similarity[1:], proba[start:stop])
                    choose(proba[start:stop], similarity.labels, chosen[start:stop])
                if learn and not self._is_settled:
                    self._hold(x[start], batch[start:ahead])
                start = stop

    @property
    def _is_settled(self) -> bool:
        """Whether the scales of the lift are settled."""
        return not self.n_features or self._lift.n_fitted >= OPENING

    def _learn(self, lifted: Floats, batch: Batch) -> int:
        """Learn until the moments are frozen; how many events were learned."""
        statistics = self._statistics
        before = int(statistics.counters[FROZEN_AT])
        stop = statistics.learn(lifted, batch, pause=True)
        if self.sub_prototypes:
            lengths = np.diff(batch.y.indptr[: stop + 1])
            rows = statistics.row_of[batch.y.indices[: batch.y.indptr[stop]]].astype(np.int64)
            weight = np.ones(stop) if batch.weight is None else batch.weight[:stop]
            self._centroids.learn(np.repeat(lifted[:stop], lengths, axis=0), rows, np.repeat(weight, lengths))
        if statistics.counters[FROZEN_AT] != before:
            self._centroids.freeze()
        return stop

    def _hold(self, x: Floats, event: Batch) -> None:
        """Hold an event for the scales of the lift, and set them when there are twice as many as the last time."""
        if not len(event.y.indices):
            return
        before = len(self._opening)
        self._opening = np.concatenate([self._opening, x[None]])
        self._opening_labels = Rows.concat([self._opening_labels, event.y])
        weight = np.ones(1) if event.weight is None else event.weight
        self._opening_weight = np.concatenate([self._opening_weight, weight])
        n = before + 1
        if n.bit_length() == before.bit_length():
            return
        self._lift.fit(self._opening)
        state = np.full(n, COMPLETE, np.uint8)
        held = Batch(
            self.schema_, np.zeros((n, 0), np.float32), self._opening_labels, state, weight=self._opening_weight
        )
        self._forget()
        self._make_room()
        lifted, start = self._lift.apply(self._opening), 0
        while start < n:
            start += self._learn(lifted[start:], held[start:])
        if n >= OPENING:
            self._opening, self._opening_labels = self._opening[:0], Rows.empty(0)
            self._opening_weight = self._opening_weight[:0]

    def _frozen(self) -> Similarity:
        key = int(self._statistics.counters[FROZEN_AT]), self._statistics.width
        if self._solved is None or self._solved[0] != key:
            self._solved = key, solve(self._statistics.frozen(), *self._centroids.frozen(), self.objective == "plain")
        return self._solved[1]

    def _get_state(self) -> State:
        self._make_room()
        return {
            "lift": self._lift.scales.copy(),
            "opening": self._opening.copy(),
            "opening_bounds": self._opening_labels.indptr.copy(),
            "opening_labels": self._opening_labels.indices.copy(),
            "opening_weight": self._opening_weight.copy(),
            **self._statistics.get_state(),
            **self._centroids.get_state(),
            **self._normaliser.get_state(),
        }

    def _set_state(self, state: State) -> None:
        self._normaliser.set_state(state)
        self._statistics.set_state(state)
        self._centroids.set_state(state)
        self._lift = Lift(self.n_features, self.seed)
        self._lift.scales[:] = state["lift"]
        self._opening = np.array(state["opening"], np.float64)
        self._opening_labels = Rows(np.array(state["opening_bounds"]), np.array(state["opening_labels"]))
        self._opening_weight = np.array(state["opening_weight"], np.float64)
        self._solved = None

    def _merge(self, other: Self, columns: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        if self.n_features or self.sub_prototypes:
            found = f"{self.n_features} and {self.sub_prototypes}"
            raise ValueError(f"n_features and sub_prototypes must be 0 to merge, got {found}")
        self._statistics.merge(other._statistics, columns, labels)
        self._solved = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_solved": None}


def solve(moments: Moments, owners: NDArray[np.int64], counts: Floats, centroids: Floats32, plain: bool) -> Similarity:
    """What the moments and centroids of the same classes, in the same order, give.

    Parameters
    ----------
    owners, counts, centroids
        The class, weight and vector of each centroid.
    plain
        Whether frequencies count.
    """
    n, means, d = moments.n, moments.means, moments.means.shape[1]
    if not len(n):
        return Similarity(np.zeros(d), moments.labels, means, n, owners, centroids)
    reliance = n / (n + CENTRE)
    centre = reliance @ means / reliance.sum()
    lower = cholesky(shrunk_covariance(moments, "scheduled"), lower=True, check_finite=False)
    whitened = _whiten(lower, means - centre)
    prototypes = calibrate(unit(whitened), n, STRENGTH, FADE)
    trust = (counts / (counts + TRUST))[:, None]
    sub_prototypes = unit(trust * unit(_whiten(lower, centroids - centre)) + (1 - trust) * prototypes[owners])

    shares = n / moments.total
    # The largest similarity to a sub-prototype has about the spread of that to the prototype.
    terms = 2 if len(owners) else 1
    scale = SURENESS / (terms * _spread(prototypes, np.zeros(len(n)), whitened, shares))
    vectors, offsets = prototypes * scale, np.zeros(len(n))
    if plain:
        regression, constants = upward_ridge(whitened, shares)
        weight = FREQUENCY * SURENESS / _spread(regression, constants, whitened, shares)
        vectors, offsets = vectors + regression * weight, constants * weight
    both = np.concatenate([vectors, sub_prototypes * scale])
    raised = np.ascontiguousarray(solve_triangular(lower, both.T, trans="T", lower=True, check_finite=False).T)
    return Similarity(
        centre, moments.labels, raised[: len(n)], offsets, owners.copy(), raised[len(n) :].astype(np.float32)
    )


def upward_ridge(whitened: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Vectors and constants of a ridge regression in which a class weighs as its share, but no less than a mean one.

    The classes have covariance I around ``whitened``, of which the identity takes the place of the penalty; by the
    Woodbury identity only a system of K equations is solved.
    """
    weight = np.maximum(1.0, shares * len(shares))
    weight /= weight.sum()
    centre = weight @ whitened
    between = whitened - centre
    system = np.eye(len(weight)) + weight[:, None] * (between @ between.T)
    vectors = np.linalg.solve(system, np.diag(weight)).T @ between
    return vectors, weight - vectors @ centre


def _spread(vectors: Floats, constants: Floats, whitened: Floats, shares: Floats) -> float:
    """Root mean square of linear scores about their mean over the classes, of normal classes with covariance I."""
    vectors, constants = vectors - vectors.mean(axis=0), constants - constants.mean()
    scores = whitened @ vectors.T + constants
    square = np.einsum("kj,kj->", vectors, vectors) + shares @ np.einsum("jk,jk->j", scores, scores)
    return float(np.sqrt(square / len(vectors))) or 1.0


def _whiten(lower: Floats, vectors: Floats) -> Floats:
    whitened: Floats = np.ascontiguousarray(solve_triangular(lower, vectors.T, lower=True, check_finite=False).T)
    return whitened


_TILE = 16
"""Sub-prototypes that are compared with all events of a batch while they are in the cache."""


@njit(cache=True, nogil=True)
def _answer(
    z: Floats,
    labels: Labels,
    vectors: Floats,
    offsets: Floats,
    owners: NDArray[np.int64],
    sub_vectors: Floats32,
    proba: Floats,
) -> None:
    best = np.full((len(z), len(labels)), np.float32(-np.inf if len(owners) else 0))
    single = z.astype(np.float32)
    for start in range(0, len(owners), _TILE):
        for i in range(len(z)):
            for place in range(start, min(start + _TILE, len(owners))):
                k = owners[place]
                best[i, k] = max(best[i, k], np.float32(single_dot(single[i], sub_vectors[place])))
    scores = np.empty(len(labels))
    for i in range(len(z)):
        for k in range(len(labels)):
            scores[k] = offsets[k] + dot(z[i], vectors[k]) + best[i, k]
        to_shares(scores, labels, proba[i])
