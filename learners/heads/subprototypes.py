"""The nearest sub-prototype by angle: several centroids a class, for classes that are not one cloud."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State, with_room
from learners.heads.auto import TRUST
from learners.heads.head import VectorLearner, to_shares
from learners.heads.normalising import to_unit_length
from learners.heads.splitting import Centroids, learn_vector, single_dot
from learners.heads.statistics import ROWS, find_row
from learners.heads.teen import SHARPNESS
from streams.batch import Batch

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]
Labels = NDArray[np.int32]


class SubPrototypeClassifier(VectorLearner):
    """An event belongs to the class of the sub-prototype that it is nearest to by angle.

    Parameters
    ----------
    n_prototypes
        Sub-prototypes of a class at most, at least 1; with 1 this is the cosine form of `NCMClassifier`.
    normalise
        What is done to a vector first, as in `Normaliser`.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Vectors are brought to length one and teach the `Centroids` of their class, which begin with one and split where
    most events are. A centroid s of count n gives the sub-prototype b s + (1 - b) m with b = n / (n + 10) and m the
    mean of the class, which is that of its centroids: one of few events leans on its class. The score of a class is the
    largest cosine to any of its sub-prototypes, and probabilities are the softmax of 16 times the scores.

    Every answer is that of all events before it. An event with several labels is one of each of their classes. The
    order of events matters, so that there is no ``merge``. Missing values are 0, nominal columns are not looked at.
    Nothing is forgotten and no event is kept. Single precision: O(n_prototypes d) to learn an event, O(P d) to
    answer one with P sub-prototypes in all; 12 P d + 41 P bytes in memory, with as much again to grow, and
    8 P d + 16 P saved.

    References
    ----------
    .. [1] Hou, Zhang, Wang, Zhou, "Subclass-balancing contrastive learning for long-tailed recognition", ICCV 2023,
       section 3.2, for balanced clusters within a class; splitting them online is our way, as in `Centroids`.

    Examples
    --------
    >>> from learners.heads.subprototypes import SubPrototypeClassifier
    >>> head = SubPrototypeClassifier()
    >>> for _ in range(20):
    ...     head.learn_one({"a": 1.0, "b": 0.1}, {"axis": True})
    ...     head.learn_one({"a": -1.0, "b": 0.1}, {"axis": True})
    ...     head.learn_one({"a": 0.5, "b": 1.0}, {"rest": True})
    >>> head.predict_one({"a": -2.0, "b": 0.3})
    {'axis': True, 'rest': False}
    """

    def __init__(self, n_prototypes: int = 20, *, normalise: str = "none") -> None:
        if n_prototypes < 1:
            raise ValueError(f"n_prototypes must be at least 1, got {n_prototypes}")
        super().__init__(normalise)
        self.n_prototypes = n_prototypes
        self._forget()

    def _forget(self) -> None:
        self._centroids = Centroids(self.n_prototypes)
        self._n_rows = np.zeros(ROWS + 1, np.int64)
        self._row_of = np.zeros(0, np.int32)
        self._labels = np.zeros(0, np.int32)
        self._stale = np.zeros(0, np.bool_)
        self._lengths = np.zeros(0)

    def _grow(self, width: int, n_labels: int) -> None:
        self._centroids.grow(width)
        self._row_of = with_room(self._row_of, n_labels, -1)

    def _make_rows(self, n_vectors: int, n_classes: int) -> None:
        """Room for what so many vectors of so many new classes may add."""
        rows = int(self._n_rows[ROWS]) + n_classes
        self._labels = with_room(self._labels, rows, -1)
        self._stale = with_room(self._stale, rows, 1)
        # The first vector of a class may be heavy enough to split it at once.
        most = rows * self.n_prototypes - len(self._centroids.present()[0])
        self._centroids.make_room(min(n_vectors + n_classes, most), rows)
        self._lengths = with_room(self._lengths, len(self._centroids.count))

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        to_unit_length(x)
        if learn:
            labels = np.unique(batch.y.indices)
            self._make_rows(len(batch.y.indices), int(np.count_nonzero(self._row_of[labels] < 0)))
        held = self._centroids
        _walk(
            x.astype(np.float32), np.ones(len(batch)) if batch.weight is None else batch.weight, batch.y.indptr,
            batch.y.indices, learn, answer, self.n_prototypes, self._n_rows, self._row_of, self._labels, held.counters,
            held.first, held.following, held.owner, held.count, held.vectors, held.halves, held.touched, self._stale,
            self._lengths, proba, chosen,
        )  # fmt: skip

    def _get_state(self) -> State:
        self._make_room()
        labels = self._labels[: self._n_rows[ROWS]].copy()
        return {"class_labels": labels, **self._centroids.get_state(), **self._normaliser.get_state()}

    def _set_state(self, state: State) -> None:
        self._forget()
        self._normaliser.set_state(state)
        self._centroids.set_state(state)
        labels = state["class_labels"]
        self._row_of = with_room(self._row_of, int(labels.max(initial=-1)) + 1, -1)
        self._make_rows(0, len(labels))
        self._n_rows[ROWS] = len(labels)
        self._labels[: len(labels)] = labels
        self._row_of[labels] = np.arange(len(labels))


@njit(cache=True, nogil=True)
def _walk(
    x: Floats32,
    weight: Floats,
    indptr: Integers,
    indices: Labels,
    learn: bool,
    answer: bool,
    n_most: int,
    n_rows: Integers,
    row_of: Labels,
    labels: Labels,
    counters: Integers,
    first: Integers,
    following: Integers,
    owner: Integers,
    count: Floats,
    vectors: Floats32,
    halves: Floats32,
    touched: NDArray[np.bool_],
    stale: NDArray[np.bool_],
    lengths: Floats,
    proba: Floats,
    chosen: Labels,
) -> None:
    scores, products, mean = np.zeros(len(labels)), np.zeros(len(count)), np.zeros(x.shape[1])
    for i in range(len(x)):
        if answer:
            rows = n_rows[ROWS]
            for k in range(rows):
                if stale[k]:
                    measure(first[k], following, count, vectors, mean, lengths)
                    stale[k] = False
                scores[k] = SHARPNESS * similarity(x[i], first[k], following, count, vectors, lengths, products)
            chosen[i] = to_shares(scores, labels[:rows], proba[i])
        if learn:
            for cell in range(indptr[i], indptr[i + 1]):
                k = find_row(indices[cell], row_of, labels, n_rows)
                learn_vector(
                    x[i], k, weight[i], n_most, counters, first, following, owner, count, vectors, halves, touched
                )
                stale[k] = True


@njit(cache=True, nogil=True)
def measure(head: int, following: Integers, count: Floats, vectors: Floats32, mean: Floats, lengths: Floats) -> None:
    """Lengths of the sub-prototypes of the class whose first place is ``head``; ``mean`` is overwritten."""
    total = 0.0
    mean[:] = 0
    place = head
    while place >= 0:
        total += count[place]
        for j in range(len(mean)):
            mean[j] += count[place] * vectors[place, j]
        place = following[place]
    place = head
    while place >= 0:
        trust = count[place] / (count[place] + TRUST)
        square = 0.0
        for j in range(len(mean)):
            square += (trust * vectors[place, j] + (1 - trust) * mean[j] / total) ** 2
        lengths[place] = np.sqrt(square)
        place = following[place]


@njit(cache=True, nogil=True)
def similarity(
    x: Floats32,
    head: int,
    following: Integers,
    count: Floats,
    vectors: Floats32,
    lengths: Floats,
    products: Floats,
) -> float:
    """Largest cosine of ``x``, of length one, to a sub-prototype of a class; ``products`` is overwritten.

    The product with the mean of the class is the mean of those with its centroids, so that the mean is not kept.
    """
    total, product = 0.0, 0.0
    place = head
    while place >= 0:
        products[place] = single_dot(x, vectors[place])
        total += count[place]
        product += count[place] * products[place]
        place = following[place]
    product /= total
    best = -np.inf
    place = head
    while place >= 0:
        trust = count[place] / (count[place] + TRUST)
        cosine = 0.0
        if lengths[place] > 0:
            cosine = (trust * products[place] + (1 - trust) * product) / lengths[place]
        best = max(best, cosine)
        place = following[place]
    return float(best)
