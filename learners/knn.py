"""The k nearest neighbours among the last events, which vote for each label or for whole label sets."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import Learner, State
from learners.dense_window import DenseWindow, in_order
from learners.sparse_window import SparseWindow
from streams.batch import COMPLETE, PARTIAL, Batch, Prediction, Rows

METRICS = ("euclidean", "cosine")
MODES = ("labels", "powerset")
WEIGHTS = ("uniform", "distance")

UNKNOWN, ABSENT, PRESENT = 0, 2, 3
"""What an event held says about a label: bit 1 tells that it is known, bit 0 that it is present."""


class KNNClassifier(Learner):
    """Asks the nearest of the last events which labels they had.

    Parameters
    ----------
    n_neighbors
        Events that are asked, at least 1; all of them while fewer are held.
    window
        Labelled events that are held, at least 1: a new one takes the place of the oldest.
    mode
        ``"labels"``: every label is decided by itself, present where its probability is above ``threshold``.
        ``"powerset"``: the answer is the label set with most votes.
    metric
        ``"euclidean"`` or ``"cosine"``, the distance between rows brought to unit length, sqrt(2 - 2 cos). None: the
        first one for dense rows and the second one for sparse ones.
    weights
        What the vote of a neighbour is multiplied by: ``"distance"``, 1 / distance, and where a neighbour is at
        distance 0 all others have none; or ``"uniform"``, 1.
    standardise
        Put columns on one scale: see `learners.dense_window.DenseWindow` and `learners.sparse_window.SparseWindow`.
        False: take values as they are.
    threshold
        In (0, 1). Votes are shared by many neighbours who have a label and many who do not, and F1 is best well below
        one half.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    The probability of a label is its share of the votes of those neighbours that know it, in either mode; 0 where none
    does. Of events at the same distance the older ones are nearer. Events without known labels are not held. The weight
    of an event multiplies its vote.

    A label set is voted for by every neighbour that has it and, where neighbours are partly labelled, by those that do
    not contradict it. Sets of completely labelled neighbours stand for election, others only if there are none of
    those. Of sets with equal votes that of the nearest neighbour is chosen.

    Search is exhaustive and exact. Time: for dense rows, one multiplication per column and event held; for sparse rows,
    one per cell held in a column that the row has, too. Memory: 4 bytes per dense cell held or 12 per sparse one, in
    lists with at most four times the room, and one byte per label and event held. Two classifiers cannot be merged,
    since their events have no common order.

    References
    ----------
    .. [1] Cover, Hart, "Nearest neighbor pattern classification", IEEE Transactions on Information Theory 13(1), 1967.
    .. [2] Spyromitros, Tsoumakas, Vlahavas, "An empirical study of lazy multilabel classification algorithms", SETN
       2008: BRkNN, which is mode ``"labels"``, and label powerset over neighbours.

    Examples
    --------
    >>> from learners.knn import KNNClassifier
    >>> model = KNNClassifier(3)
    >>> for i in range(100):
    ...     model.learn_one({"size": float(i)}, {"big": i > 50, "small": i <= 50})
    >>> model.predict_one({"size": 90.2})
    {'big': True, 'small': False}
    """

    def __init__(
        self,
        n_neighbors: int = 10,
        window: int = 1000,
        *,
        mode: str = "labels",
        metric: str | None = None,
        weights: str = "distance",
        standardise: bool = True,
        threshold: float = 0.3,
    ) -> None:
        super().__init__()
        for name, number in (("n_neighbors", n_neighbors), ("window", window)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if metric is not None and metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)} or None, got {metric!r}")
        if weights not in WEIGHTS:
            raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be in (0, 1), got {threshold}")
        self.n_neighbors = n_neighbors
        self.window = window
        self.mode = mode
        self.metric = metric
        self.weights = weights
        self.standardise = standardise
        self.threshold = threshold
        self._dense, self._sparse = self._windows()
        self._is_sparse = False
        self._stored = 0
        self._codes = np.zeros((0, 0), np.uint8)
        self._complete = np.zeros(0, np.uint8)
        self._weights = np.zeros(0)

    def _windows(self) -> tuple[DenseWindow, SparseWindow]:
        """One of them is in use: the dense one until the schema turns sparse."""
        n = min(self.n_neighbors, self.window)
        return (
            DenseWindow(self.window, n, cosine=self.metric == "cosine", standardise=self.standardise),
            SparseWindow(self.window, n, cosine=self.metric != "euclidean", standardise=self.standardise),
        )

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        n, n_labels = len(batch), self.schema_.n_labels
        known = Rows.empty(n) if batch.known is None else batch.known
        knows = (batch.label_state == COMPLETE) | ((batch.label_state == PARTIAL) & (np.diff(known.indptr) > 0))
        kept = knows if learn else np.zeros(n, np.bool_)
        self._turn_sparse()
        self._make_room(min(self.window, self._stored + int(np.count_nonzero(kept))), n_labels)
        window = self._sparse if self._is_sparse else self._dense
        slots, distances = window.search(self.schema_, batch, kept, self._stored)
        proba, answer = np.zeros((n, n_labels), np.float32), np.zeros((n, n_labels), np.bool_)
        _vote(
            slots,
            distances,
            kept,
            self._stored,
            self.window,
            batch.y.indptr,
            batch.y.indices,
            batch.label_state,
            known.indptr,
            known.indices,
            np.ones(n) if batch.weight is None else batch.weight,
            self._codes,
            self._complete,
            self._weights,
            self.weights == "distance",
            self.mode == "powerset",
            proba,
            answer,
        )
        self._stored += int(np.count_nonzero(kept))
        return Prediction(Rows.from_dense(answer if self.mode == "powerset" else proba > self.threshold), proba)

    def _make_room(self, n_rows: int, n_labels: int) -> None:
        rows, labels = self._codes.shape
        if n_rows > rows:
            rows = min(self.window, max(n_rows, 2 * rows))
        if n_labels > labels:
            labels = max(n_labels, 2 * labels)
        if (rows, labels) == self._codes.shape:
            return
        complete, weights = np.zeros(rows, np.uint8), np.zeros(rows)
        complete[: len(self._complete)], weights[: len(self._weights)] = self._complete, self._weights
        codes = np.empty((rows, labels), np.uint8)
        codes[:] = np.where(complete, ABSENT, UNKNOWN)[:, None]
        codes[: self._codes.shape[0], : self._codes.shape[1]] = self._codes
        self._codes, self._complete, self._weights = codes, complete, weights

    def _turn_sparse(self) -> None:
        """Hold the rows as sparse ones from now on, once the schema says that rows are sparse."""
        if self.schema_.sparse and not self._is_sparse:
            rows = self._dense.rows(self.schema_, self._stored)
            n = len(rows)
            batch = Batch(self.schema_, rows, Rows.empty(n), np.zeros(n, np.uint8))
            self._sparse.search(self.schema_, batch, np.ones(n, np.bool_), self._stored - n)
            self._dense, self._is_sparse = self._windows()[0], True

    # State.

    def _get_state(self) -> State:
        self._turn_sparse()
        stored, slots = self._stored, in_order(self.window, self._stored)
        self._make_room(0, self.schema_.n_labels)
        return {
            "codes": self._codes[slots, : self.schema_.n_labels],
            "complete": self._complete[slots],
            "weights": self._weights[slots],
            **self._dense.get_state(self.schema_, 0 if self._is_sparse else stored),
            **self._sparse.get_state(self.schema_, stored if self._is_sparse else 0),
        }

    def _set_state(self, state: State) -> None:
        self._dense, self._sparse = self._windows()
        self._dense.set_state(self.schema_, state)
        self._sparse.set_state(self.schema_, state)
        self._is_sparse = self.schema_.sparse
        self._stored = len(state["weights"])
        self._codes = np.array(state["codes"], np.uint8)
        self._complete = np.array(state["complete"], np.uint8)
        self._weights = np.array(state["weights"], np.float64)


@njit(cache=True, nogil=True, error_model="numpy")
def _vote(
    slots: NDArray[np.int32],
    distances: NDArray[np.float64],
    kept: NDArray[np.bool_],
    stored: int,
    size: int,
    y_indptr: NDArray[np.int64],
    y_indices: NDArray[np.int32],
    label_state: NDArray[np.uint8],
    known_indptr: NDArray[np.int64],
    known_indices: NDArray[np.int32],
    event_weight: NDArray[np.float64],
    codes: NDArray[np.uint8],
    complete: NDArray[np.uint8],
    weights: NDArray[np.float64],
    by_distance: bool,
    powerset: bool,
    proba: NDArray[np.float32],
    answer: NDArray[np.bool_],
) -> None:
    """Answer each event in ``proba`` and, for label sets, in ``answer``; then hold its labels if it is ``kept``."""
    n, n_labels = proba.shape
    share = np.zeros(slots.shape[1])
    present, known = np.zeros(n_labels), np.zeros(n_labels)
    for t in range(n):
        m = 0
        while m < len(share) and slots[t, m] >= 0:
            share[m] = weights[slots[t, m]]
            if by_distance and distances[t, 0] > 0:
                share[m] /= distances[t, m]
            elif by_distance and distances[t, m] > 0:
                break
            m += 1
        asked = slots[t, :m]
        _count(asked, share, codes, complete, present, known)
        for label in range(n_labels):
            proba[t, label] = present[label] / known[label] if known[label] > 0 else 0.0
        if powerset:
            chosen = _elect(asked, share, codes[:, :n_labels], complete)
            for label in range(n_labels):
                answer[t, label] = chosen >= 0 and codes[chosen, label] == PRESENT
        if kept[t]:
            slot = stored % size
            stored += 1
            weights[slot] = event_weight[t]
            complete[slot] = label_state[t] == COMPLETE
            codes[slot] = ABSENT if complete[slot] else UNKNOWN
            for label in known_indices[known_indptr[t] : known_indptr[t + 1]]:
                codes[slot, label] = ABSENT
            for label in y_indices[y_indptr[t] : y_indptr[t + 1]]:
                codes[slot, label] = PRESENT


@njit(cache=True, nogil=True)
def _count(
    asked: NDArray[np.int32],
    share: NDArray[np.float64],
    codes: NDArray[np.uint8],
    complete: NDArray[np.uint8],
    present: NDArray[np.float64],
    known: NDArray[np.float64],
) -> None:
    """Votes for every label, and votes of those that know it."""
    present[:] = 0
    known[:] = 0
    everything, partly = 0.0, False
    for k in range(len(asked)):
        code, vote = codes[asked[k]], share[k]
        for label in range(len(present)):
            present[label] += vote * (code[label] & 1)
        everything += vote
        partly = partly or complete[asked[k]] == 0
    if not partly:
        known[:] = everything
        return
    for k in range(len(asked)):
        code, vote = codes[asked[k]], share[k]
        for label in range(len(known)):
            known[label] += vote * (code[label] >> 1)


@njit(cache=True, nogil=True)
def _elect(
    asked: NDArray[np.int32], share: NDArray[np.float64], codes: NDArray[np.uint8], complete: NDArray[np.uint8]
) -> int:
    """The slot with the label set that has most votes, -1 if nobody is asked."""
    any_complete = False
    for slot in asked:
        any_complete = any_complete or complete[slot] == 1
    chosen, most = -1, 0.0
    for slot in asked:
        if any_complete and complete[slot] == 0:
            continue
        votes = 0.0
        for k in range(len(asked)):
            if _agree(codes[slot], codes[asked[k]]):
                votes += share[k]
        if votes > most:
            chosen, most = slot, votes
    return chosen


@njit(cache=True, nogil=True)
def _agree(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two events say the same of every label that both know."""
    for label in range(len(one)):
        if one[label] != other[label] and one[label] != UNKNOWN and other[label] != UNKNOWN:
            return False
    return True
