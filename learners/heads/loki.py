"""Loki: the answer is the label that is nearest to the truth on average, by a distance between labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from learners.base import State, with_room
from learners.heads.head import Weights, dot, to_shares
from learners.heads.slda import SLDAClassifier
from learners.heads.statistics import BLOCK, ROWS
from streams.batch import Batch, Name

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Labels = NDArray[np.int32]

Metric = Mapping[Name, Mapping[Name, float]] | Callable[[Sequence[Name]], ArrayLike]
"""Distances between labels: by label and label, or what gives the square matrix of them for labels."""


class Closeness(NamedTuple):
    """What stands between the ``candidates``, which are label numbers, those of the classes first.

    Places ``left[e]`` and ``right[e]`` of two of them have the closeness ``value[e]``: 1 less the squared distance over
    the largest one. Each pair is there once, and none that is as far apart as can be.
    """

    candidates: Labels
    left: Integers
    right: Integers
    value: Floats


class LokiClassifier(SLDAClassifier):
    """Streaming LDA that answers for the least expected squared distance between labels, of classes seen or not.

    Parameters
    ----------
    metric
        Distances between labels, which are finite and at least 0. A mapping gives them by label and label,
        ``{"cat": {"lion": 0.2, "car": 1.0}, ...}``, each pair in one order or in both; a pair that it leaves out is as
        far apart as the farthest that it holds, and all labels that it names may be answered, seen or not. A callable
        is given the labels of all classes whenever weights are solved, and returns the square matrix of their
        distances. None: one less the Jaccard similarity of the events of two labels, learned so far.
    temperature
        Divides the log-probabilities of the classes, above 0: above 1 the answer hedges more.
    shrinkage, prior
        Of the probabilities, as in `SLDAClassifier`.
    normalise
        What is done to a vector first, as in `Normaliser`.
    refresh
        Probabilities, and what a callable gave, lag at most this many vectors behind, as in `SolvedHead`; at least 1.

    Raises
    ------
    ValueError
        A parameter is outside its range, or the metric is none: not symmetric, not 0 between a label and itself, or 0
        everywhere.

    Notes
    -----
    The answer is argmin_v sum_k p_k d(v, k)^2 over the candidates v: the classes, and what a mapping names. The p_k are
    those of streaming LDA, which knows that columns go together and so is less sure than the nearest mean. In place of
    probabilities stands 1 - sum_k p_k d(v, k)^2 / D^2, with D the largest distance: it is largest for the answer, does
    not sum to 1, and is p_v where all distances are equal. Then, and so without a metric while no two labels came
    together, everything is as `SLDAClassifier` has it, but for the temperature. Among equals its answer is taken, else
    the first.

    An event with several labels is one of each of their classes, and one label is answered. Jaccard similarities are
    those of all events before the one at hand, over known present labels. A callable must be picklable for the learner
    to be, and is no part of its state. Otherwise the order of events leaves no trace beyond rounding, and `merge` is
    exact. Missing values are 0, nominal columns are not looked at. Nothing is forgotten.

    Beside `SLDAClassifier`, with E pairs of labels that are nearer than the farthest (of K classes that came together,
    if the metric is learned): O(E) to answer an event; to learn one with L labels O(L^2) searches among the pairs of a
    label; 24 E bytes in memory, 16 E saved if learned. A metric of M labels takes some times 8 M^2 bytes to be read.

    References
    ----------
    .. [1] Roberts et al., "Geometry-aware adaptation for pretrained models", NeurIPS 2023, arXiv 2307.12226. Its
       base is any classifier; the learned metric is ours.

    Examples
    --------
    >>> from learners.heads.loki import LokiClassifier
    >>> head = LokiClassifier({"cat": {"cats": 0.5}, "lion": {"cats": 0.5}, "car": {"cats": 2.0}}, refresh=1)
    >>> for size, name in ((1.0, "cat"), (1.2, "cat"), (3.0, "lion"), (3.2, "lion"), (9.0, "car"), (9.1, "car")):
    ...     head.learn_one({"size": size}, {name: True})
    >>> [[label for label, held in head.predict_one({"size": size}).items() if held] for size in (1.0, 2.1, 9.0)]
    [['cat'], ['cats'], ['car']]
    """

    def __init__(
        self,
        metric: Metric | None = None,
        temperature: float = 1.0,
        *,
        shrinkage: float | str = "scheduled",
        prior: float = 0.0,
        normalise: str = "none",
        refresh: int = BLOCK,
    ) -> None:
        if not 0 < temperature < np.inf:
            raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
        super().__init__(shrinkage, prior=prior, normalise=normalise, refresh=refresh)
        self.metric = metric
        self.temperature = temperature
        self._companions = Companions()
        self._named: list[Name] = []
        self._pairs = _NO_PAIRS
        self._compiled: tuple[Weights, Closeness] | None = None
        if isinstance(metric, Mapping):
            self._named = list(dict.fromkeys(name for one, row in metric.items() for name in (one, *row)))
            self._pairs = _pairs_of(_matrix_of(metric, self._named))
            for name in self._named:
                self.schema_.label_id(name)
        elif metric is not None and not callable(metric):
            raise ValueError(f"metric must be a mapping of mappings, a callable or None, got {metric!r}")

    def _closeness(self, weights: Weights) -> Closeness:
        """What the metric that was given says for the classes that have these weights."""
        if self._compiled is None or self._compiled[0] is not weights:
            candidates, pairs = weights.labels, self._pairs
            if callable(self.metric):
                names = [self.schema_.label_names[label] for label in weights.labels]
                pairs = _pairs_of(self.metric(names), len(names))
            elif self._named:
                labels = np.array([self.schema_.find_label(name) for name in self._named], np.int32)
                candidates = np.concatenate([weights.labels, labels[~np.isin(labels, weights.labels)]])
                order = np.argsort(candidates)
                at = order[np.searchsorted(candidates, labels, sorter=order)]
                pairs = at[pairs[0]], at[pairs[1]], pairs[2]
            self._compiled = weights, Closeness(candidates, *pairs)
        return self._compiled[1]

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        if self.metric is not None:
            super()._walk(x, batch, learn, answer, proba, chosen)
            return
        statistics, companions = self._statistics, self._companions
        weight = np.ones(len(batch)) if batch.weight is None else batch.weight
        start, weights = 0, Weights(np.zeros(0, np.int32), np.zeros((0, x.shape[1])), np.zeros(0))
        while start < len(x):
            if answer:
                weights = self._frozen_weights()
            stop = statistics.learn(x, batch, start, pause=answer) if learn else len(x)
            if learn:
                lengths = np.diff(batch.y.indptr[start : stop + 1])
                companions.make_room(len(statistics.labels), int((lengths * (lengths - 1)).sum()) // 2)
            _walk_sets(
                x, start, stop, weight, batch.y.indptr, batch.y.indices, learn, answer, weights.labels, weights.vectors,
                weights.offsets, self.temperature, statistics.row_of, companions.n_pairs, companions.occurrence,
                companions.first, companions.following, companions.rows, companions.joint, proba, chosen,
            )  # fmt: skip
            start = stop

    def _answer(self, x: Floats, weights: Weights, proba: Floats, chosen: Labels) -> None:
        near = self._closeness(weights)
        _answer(
            x, weights.labels, weights.vectors, weights.offsets, self.temperature, near.candidates, near.left,
            near.right, near.value, proba, chosen,
        )  # fmt: skip

    def _get_state(self) -> State:
        return {**super()._get_state(), **self._companions.get_state(int(self._statistics.counters[ROWS]))}

    def _set_state(self, state: State) -> None:
        super()._set_state(state)
        self._companions.set_state(state)
        self._compiled = None

    def _merge(self, other: Self, columns: Integers, labels: Integers) -> None:
        super()._merge(other, columns, labels)
        theirs = other._statistics
        rows = self._statistics.row_of[labels[theirs.labels[: theirs.counters[ROWS]]]].astype(np.int64)
        self._companions.make_room(len(self._statistics.labels), 0)
        self._companions.merge(other._companions, rows)
        self._compiled = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compiled": None}


class Companions:
    """How often classes, which are numbered, came, and how often two came together; only such pairs take room."""

    def __init__(self) -> None:
        self.n_pairs = np.zeros(1, np.int64)
        self.occurrence = np.zeros(0)
        self.first = np.zeros(0, np.int64)
        self.following = np.zeros(0, np.int64)
        self.rows = np.zeros((0, 2), np.int32)
        self.joint = np.zeros(0)

    def make_room(self, n_classes: int, n_pairs: int) -> None:
        """Room for so many classes, and so many more pairs, none of which can be there twice."""
        self.occurrence = with_room(self.occurrence, n_classes)
        self.first = with_room(self.first, n_classes, -1)
        n = min(int(self.n_pairs[0]) + n_pairs, len(self.first) * (len(self.first) - 1) // 2)
        self.following = with_room(self.following, n, -1)
        self.rows, self.joint = with_room(self.rows, n), with_room(self.joint, n)

    def merge(self, other: Self, rows: Integers) -> None:
        """Take in the counts of ``other``, whose classes have these numbers here."""
        n = int(other.n_pairs[0])
        self.make_room(0, n)
        self.occurrence[rows] += other.occurrence[: len(rows)]
        self._add_pairs(rows[other.rows[:n]], other.joint[:n])

    def get_state(self, n_classes: int) -> State:
        """Copies of everything learned."""
        n = int(self.n_pairs[0])
        occurrence = with_room(self.occurrence, n_classes)[:n_classes]
        return {"occurrence": occurrence.copy(), "pairs": self.rows[:n].copy(), "joint": self.joint[:n].copy()}

    def set_state(self, state: State) -> None:
        """Take over what `get_state` gave; further entries are passed over."""
        self.__init__()  # type: ignore[misc]
        n, k = len(state["pairs"]), len(state["occurrence"])
        self.make_room(k, n)
        self.occurrence[:k] = state["occurrence"]
        self._add_pairs(state["pairs"].astype(np.int64), state["joint"])

    def _add_pairs(self, pairs: Integers, joint: Floats) -> None:
        _add_pairs(pairs, joint, self.n_pairs, self.first, self.following, self.rows, self.joint)


_NO_PAIRS = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)


def _matrix_of(metric: Mapping[Name, Mapping[Name, float]], names: Sequence[Name]) -> Floats:
    """The distances of a mapping as a matrix, those that it leaves out as the largest of it."""
    place = {name: number for number, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)))
    given = np.eye(len(names), dtype=bool)
    for one, row in metric.items():
        for other, distance in row.items():
            matrix[place[one], place[other]] = distance
            given[place[one], place[other]] = True
    matrix = np.where(given, matrix, matrix.T)
    matrix[~(given | given.T)] = matrix.max(initial=0.0)
    return matrix


def _pairs_of(matrix: ArrayLike, n: int | None = None) -> tuple[Integers, Integers, Floats]:
    """The places of the pairs that are nearer than the farthest, and their closeness.

    Raises
    ------
    ValueError
        The matrix is not that of a distance between ``n`` labels.
    """
    distances = np.asarray(matrix, np.float64)
    shape = (len(distances) if n is None else n,) * 2
    if distances.shape != shape:
        raise ValueError(f"metric must give distances of shape {shape}, got {distances.shape}")
    if not (np.isfinite(distances) & (distances >= 0)).all():
        raise ValueError(f"metric must be finite and at least 0, got {distances.tolist()}")
    if distances.diagonal().any():
        raise ValueError(f"metric must be 0 between a label and itself, got {distances.diagonal().tolist()}")
    if (distances != distances.T).any():
        raise ValueError(f"metric must be the same in both orders, got {distances.tolist()}")
    largest = distances.max(initial=0.0)
    if largest == 0 and (n is None or n > 1):
        raise ValueError("metric must part some labels, got 0 for all")
    value = 1 - (distances / (largest or 1.0)) ** 2
    left, right = np.nonzero(np.triu(value > 0, 1))
    return left, right, value[left, right]


@njit(cache=True, nogil=True)
def _answer(
    x: Floats,
    labels: Labels,
    vectors: Floats,
    offsets: Floats,
    temperature: float,
    candidates: Labels,
    left: Integers,
    right: Integers,
    value: Floats,
    proba: Floats,
    chosen: Labels,
) -> None:
    shares, gain = np.zeros(len(candidates)), np.zeros(len(candidates))
    for i in range(len(x)):
        best = to_classes(x[i], labels, vectors, offsets, temperature, shares, gain, proba[i])
        if best < 0:
            continue
        for e in range(len(value)):
            gain[left[e]] += value[e] * shares[right[e]]
            gain[right[e]] += value[e] * shares[left[e]]
        chosen[i] = choose(gain, candidates, best, proba[i])


@njit(cache=True, nogil=True)
def _walk_sets(
    x: Floats,
    start: int,
    stop: int,
    weight: Floats,
    indptr: Integers,
    indices: Labels,
    learn: bool,
    answer: bool,
    labels: Labels,
    vectors: Floats,
    offsets: Floats,
    temperature: float,
    row_of: Labels,
    n_pairs: Integers,
    occurrence: Floats,
    first: Integers,
    following: Integers,
    rows: Labels,
    joint: Floats,
    proba: Floats,
    chosen: Labels,
) -> None:
    """Answer and learn events from ``start`` to ``stop`` by the Jaccard similarities before each."""
    shares, gain = np.zeros(len(labels)), np.zeros(len(labels))
    value, stale = np.zeros(len(joint)), True
    for i in range(start, stop):
        if answer:
            if stale:
                for e in range(n_pairs[0]):
                    value[e] = closeness(joint[e], occurrence[rows[e, 0]], occurrence[rows[e, 1]])
                stale = False
            best = to_classes(x[i], labels, vectors, offsets, temperature, shares, gain, proba[i])
            if best >= 0:
                for e in range(n_pairs[0]):
                    a, b = rows[e, 0], rows[e, 1]
                    gain[a] += value[e] * shares[b]
                    gain[b] += value[e] * shares[a]
                chosen[i] = choose(gain, labels, best, proba[i])
        if learn:
            for cell in range(indptr[i], indptr[i + 1]):
                a, stale = row_of[indices[cell]], True
                occurrence[a] += weight[i]
                for earlier in range(indptr[i], cell):
                    add_pair(row_of[indices[earlier]], a, weight[i], n_pairs, first, following, rows, joint)


@njit(cache=True, nogil=True)
def to_classes(
    x: Floats,
    labels: Labels,
    vectors: Floats,
    offsets: Floats,
    temperature: float,
    shares: Floats,
    gain: Floats,
    proba: Floats,
) -> int:
    """Probabilities of the classes, in all three of the last; the place of the best, or -1 if there is none."""
    scores = gain[: len(labels)]
    for k in range(len(labels)):
        scores[k] = (offsets[k] + dot(x, vectors[k])) / temperature
    label, best = to_shares(scores, labels, proba), -1
    gain[:] = 0
    for k in range(len(labels)):
        if labels[k] == label:
            best = k
        shares[k] = gain[k] = proba[labels[k]]
    return best


@njit(cache=True, nogil=True)
def choose(gain: Floats, candidates: Labels, best: int, proba: Floats) -> int:
    """The candidate of the largest gain, among equals the one in place ``best``, else the first; gains to ``proba``."""
    for v in range(len(gain)):
        if gain[v] > gain[best]:
            best = v
    for v in range(len(gain)):
        proba[candidates[v]] = min(gain[v], 1.0)
    return int(candidates[best])


@njit(cache=True, nogil=True)
def closeness(joint: float, one: float, other: float) -> float:
    """One less the squared Jaccard distance of labels that came so often, together and each."""
    apart = max(0.0, 1 - joint / (one + other - joint))
    return 1 - apart * apart


@njit(cache=True, nogil=True)
def add_pair(
    a: int,
    b: int,
    weight: float,
    n_pairs: Integers,
    first: Integers,
    following: Integers,
    rows: Labels,
    joint: Floats,
) -> None:
    """Count that the classes of these rows came together."""
    low, high = min(a, b), max(a, b)
    e = first[low]
    while e >= 0 and rows[e, 1] != high:
        e = following[e]
    if e < 0:
        e = n_pairs[0]
        n_pairs[0] += 1
        rows[e, 0], rows[e, 1] = low, high
        following[e], first[low] = first[low], e
    joint[e] += weight


@njit(cache=True, nogil=True)
def _add_pairs(
    pairs: Integers,
    counts: Floats,
    n_pairs: Integers,
    first: Integers,
    following: Integers,
    rows: Labels,
    joint: Floats,
) -> None:
    for e in range(len(pairs)):
        add_pair(pairs[e, 0], pairs[e, 1], counts[e], n_pairs, first, following, rows, joint)
