"""Cosine heads learned by gradient: vectors wait in a block, and when it is full the weights take a few steps."""

from __future__ import annotations

import abc

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State, with_room
from learners.heads.head import VectorLearner, dot
from learners.heads.normalising import to_unit_length
from learners.heads.statistics import FILL, ROWS, TAUGHT, find_row
from streams.batch import Batch

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]
Integers = NDArray[np.int64]

BLOCK = 64
"""Vectors of a block, the size of a batch in all published runs."""

VALUE, FIRST, SECOND = range(3)
"""Places in what is learned by `adam`: the value, and the running means of its gradient and of its square."""

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class BlockHead(VectorLearner, abc.ABC):
    """A classifier by the cosines of a vector to one vector a class, which take steps when a block is full.

    A subclass writes `_walk_block`, which answers events, enters them in the block and steps.

    Parameters
    ----------
    rate
        Of Adam, above 0.
    steps
        Gradient steps a block, at least 1.
    temperature
        Cosines are divided by it, above 0.
    block
        Vectors of a block, at least 2.
    normalise
        What is done to a vector first, as in `Normaliser`.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    An event with several labels is one vector of each of their classes, which are entered in the order of birth. The
    block is part of the state, and it is full when ``block`` vectors were entered since the last steps, however batches
    were cut.
    """

    def __init__(self, rate: float, steps: int, temperature: float, block: int, normalise: str) -> None:
        for name, value in (("rate", rate), ("temperature", temperature)):
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if block < 2:
            raise ValueError(f"block must be at least 2, got {block}")
        super().__init__(normalise)
        self.rate = rate
        self.steps = steps
        self.temperature = temperature
        self.block = block

    def _start(self) -> None:
        """Begin anew."""
        self._counters = np.zeros(3, np.int64)
        self._row_of = np.zeros(0, np.int32)
        self._labels = np.zeros(0, np.int32)
        self._weights = np.zeros((0, 3, 0))
        self._lengths = np.zeros(0)
        self._updates = np.zeros(0, np.int64)
        self._block = np.zeros((self.block, 0))
        self._block_rows = np.zeros(self.block, np.int32)
        self._block_weight = np.zeros(self.block)

    @abc.abstractmethod
    def _walk_block(
        self, x: Floats, weight: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels
    ) -> None:
        """As `_walk`, for vectors of length one and the weight of each, where there is room for all classes."""

    def _make_rows(self, rows: int) -> None:
        """Room for so many classes."""
        self._labels = with_room(self._labels, rows, -1)
        self._weights, self._lengths = with_room(self._weights, rows), with_room(self._lengths, rows)
        self._updates = with_room(self._updates, rows)

    def _grow(self, width: int, n_labels: int) -> None:
        self._row_of = with_room(self._row_of, n_labels, -1)
        more = width - self._block.shape[1]
        if more > 0:
            self._weights = np.pad(self._weights, ((0, 0), (0, 0), (0, more)))
            self._block = np.pad(self._block, ((0, 0), (0, more)))

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        to_unit_length(x)
        if learn:
            new = np.unique(batch.y.indices)
            self._make_rows(int(self._counters[ROWS]) + int(np.count_nonzero(self._row_of[new] < 0)))
        weight = np.ones(len(batch)) if batch.weight is None else batch.weight
        self._walk_block(x, weight, batch, learn, answer, proba, chosen)

    def _get_state(self) -> State:
        self._make_room()
        rows, fill = int(self._counters[ROWS]), int(self._counters[FILL])
        return {
            "counters": self._counters.copy(),
            "class_labels": self._labels[:rows].copy(),
            "weights": self._weights[:rows].copy(),
            "lengths": self._lengths[:rows].copy(),
            "updates": self._updates[:rows].copy(),
            "block": self._block[:fill].copy(),
            "block_rows": self._block_rows[:fill].copy(),
            "block_weight": self._block_weight[:fill].copy(),
            **self._normaliser.get_state(),
        }

    def _set_state(self, state: State) -> None:
        rows, fill = len(state["class_labels"]), len(state["block"])
        shape = (rows, 3, self.schema_.n_features)
        if state["weights"].shape != shape:
            raise ValueError(f"state 'weights' must have shape {shape}, got {state['weights'].shape}")
        if fill >= self.block:
            raise ValueError(f"state 'block' must have fewer than {self.block} rows, got {fill}")
        self._start()
        self._normaliser.set_state(state)
        self._make_room()
        self._counters = state["counters"].copy()
        self._labels, self._lengths = state["class_labels"].copy(), state["lengths"].copy()
        self._updates = state["updates"].copy()
        self._weights = np.array(state["weights"], np.float64, order="C")
        self._block[:fill], self._block_rows[:fill] = state["block"], state["block_rows"]
        self._block_weight[:fill] = state["block_weight"]
        self._row_of[self._labels] = np.arange(rows)


@njit(cache=True, nogil=True)
def rows_of_event(
    x: Floats, present: Labels, row_of: Labels, labels: Labels, counters: Integers, weights: Floats, lengths: Floats
) -> Labels:
    """Rows of the labels ``present``, ascending; a class that is born starts with the vector ``x``."""
    rows = np.empty(len(present), np.int32)
    for cell in range(len(present)):
        born = row_of[present[cell]] < 0
        k = find_row(present[cell], row_of, labels, counters)
        if born:
            weights[k, VALUE] = x
            lengths[k] = length_of(x)
        rows[cell] = k
    return np.sort(rows)


@njit(cache=True, nogil=True)
def enter(
    x: Floats, k: int, weight: float, counters: Integers, block: Floats, block_rows: Labels, block_weight: Floats
) -> bool:
    """Enter a vector of the class in row ``k``; whether the block is full then."""
    fill = counters[FILL]
    block[fill], block_rows[fill], block_weight[fill] = x, k, weight
    counters[FILL] += 1
    counters[TAUGHT] += 1
    return bool(counters[FILL] == len(block))


@njit(cache=True, nogil=True)
def classes_of(rows: Labels, n: int) -> tuple[Integers, Integers]:
    """The rows that occur among ``rows`` of ``n``, ascending, and the place of each of ``rows`` among these."""
    place = np.full(n, -1, np.int64)
    for i in range(len(rows)):
        place[rows[i]] = 0
    occurring = np.flatnonzero(place == 0)
    place[occurring] = np.arange(len(occurring))
    return occurring, place[rows]


@njit(cache=True, nogil=True)
def cosines(x: Floats, rows: Integers, vectors: Floats, lengths: Floats) -> Floats:
    """Cosines of vectors ``x`` (n, d) of length one and the values of the given rows, (rows, n)."""
    found = np.empty((len(rows), len(x)))
    for place in range(len(rows)):
        k = rows[place]
        for i in range(len(x)):
            found[place, i] = dot(x[i], vectors[k, VALUE]) / lengths[k]
    return found


@njit(cache=True, nogil=True)
def softmax_errors(scores: Floats, places: Integers) -> Floats:
    """Softmax of ``scores`` (K, n) over the classes, less 1 at the place of each vector's own; in place."""
    for i in range(scores.shape[1]):
        largest = scores[:, i].max()
        total = 0.0
        for place in range(len(scores)):
            scores[place, i] = np.exp(scores[place, i] - largest)
            total += scores[place, i]
        for place in range(len(scores)):
            scores[place, i] /= total
        scores[places[i], i] -= 1
    return scores


@njit(cache=True, nogil=True)
def tangents(x: Floats, factors: Floats, cosine: Floats, vector: Floats, length: float, total: Floats) -> None:
    """``sum_i factors[i] (x[i] - cosine[i] u)`` into ``total``, where u is the direction of ``vector``."""
    along = 0.0
    total[:] = 0
    for i in range(len(x)):
        along += factors[i] * cosine[i]
        add(factors[i], x[i], total)
    add(-along / length, vector, total)


@njit(cache=True, nogil=True)
def descend(
    x: Floats,
    factors: Floats,
    cosine: Floats,
    rows: Integers,
    rate: float,
    vectors: Floats,
    lengths: Floats,
    updates: Integers,
) -> None:
    """One step of every row, where ``factors`` (rows, n) are the derivatives of the loss by the ``cosine``."""
    gradient = np.empty(x.shape[1])
    for place in range(len(rows)):
        k = rows[place]
        tangents(x, factors[place], cosine[place], vectors[k, VALUE], lengths[k], gradient)
        for j in range(len(gradient)):
            gradient[j] /= lengths[k]
        updates[k] += 1
        adam(gradient, updates[k], rate, vectors[k])
        lengths[k] = length_of(vectors[k, VALUE])


@njit(cache=True, nogil=True)
def adam(gradient: Floats, update: int, rate: float, learned: Floats) -> None:
    """Step number ``update``, from 1, of ``learned`` (3, d): algorithm 1 of Kingma and Ba."""
    first, second = 1 - _BETA_1**update, 1 - _BETA_2**update
    for j in range(len(gradient)):
        learned[FIRST, j] += (1 - _BETA_1) * (gradient[j] - learned[FIRST, j])
        learned[SECOND, j] += (1 - _BETA_2) * (gradient[j] * gradient[j] - learned[SECOND, j])
        learned[VALUE, j] -= rate * (learned[FIRST, j] / first) / (np.sqrt(learned[SECOND, j] / second) + _EPSILON)


@njit(cache=True, nogil=True)
def length_of(vector: Floats) -> float:
    """Its length, or 1 where it is all zeros, so that its direction is zeros too."""
    square = dot(vector, vector)
    return float(np.sqrt(square)) if square > 0 else 1.0


@njit(cache=True, nogil=True, fastmath={"contract"})
def add(factor: float, vector: Floats, total: Floats) -> None:
    """``total += factor * vector``."""
    for j in range(len(vector)):
        total[j] += factor * vector[j]
