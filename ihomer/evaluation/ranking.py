"""Ranking metrics: how true the k most probable labels of an event are, and how rare the labels found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.evaluation.arguments import DENSE_PROBA, NO_PROBA, Arguments
from ihomer.evaluation.scopes import Scopes, add, next_row
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction

_A, _B = 0.55, 1.5
"""The constants of the propensity model for data sets that have none of their own."""

_COUNTS = np.dtype([("n_complete", np.int64), ("n_ranked", np.int64), ("n_without_label", np.int64)])

_LABEL = np.dtype([("n", np.int64), ("rarity", np.float64)])
"""Completely labelled events in which a label was present, and (n + B)^-A."""

_RANKED = 0
"""Column of the sums that counts the events ranked; behind it come ``_WIDTH`` columns for each k."""

_WIDTH = 6
_PRECISION, _NDCG, _PSP, _PSDCG, _BEST_PSP, _BEST_PSDCG = range(_WIDTH)

_NAMES = ("precision", "ndcg", "psp", "psndcg")

_FEWEST_LABELS = 16


class RankingMetrics:
    """Precision, nDCG and their propensity-scored forms among the k most probable labels of each event.

    Parameters
    ----------
    ks
        The numbers of places looked at, ascending, each at least 1.
    window
        Number of scored events in the sliding window, at least 1.
    fading
        In [0.01, 1]. An event scored k events ago weighs ``fading ** k`` in the faded metrics.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    The labels of an event are ranked by probability, the lower label number first where it is equal; a label of
    probability 0, listed or not, holds no place. With y_r = 1 where the label at rank r is true, and N_l the completely
    labelled events scored *before* this one in which label l was present, of N in all:

    * ``precision_at_k``: mean over events of the sum of y_r for r up to k, divided by k, however many labels there are.
    * ``ndcg_at_k``: mean over events of the sum of y_r / log2(r + 1) up to k, divided by the most that the event's
      number of true labels allows.
    * ``psp_at_k``: sum over events of the sum of y_r / p_r up to k, divided by the greatest sum that any ranking would
      have reached; p_l = 1 / (1 + C (N_l + B)^-A), where C = (ln N - 1)(B + 1)^A, A = 0.55, B = 1.5. Until the third
      event ln N - 1 is negative, and C is 0: all labels weigh alike.
    * ``psndcg_at_k``: as ``psp_at_k``, with y_r / (p_r log2(r + 1)).

    Propensities come from the past alone, so nothing of the event or of what follows it is known to its own score. The
    published form takes them from a training set and fixes them; here a label gets less rare as it is met.

    Only completely labelled events that come with probabilities are ranked. Those without a true label have no ranking
    to be judged by: they are left out of every mean and counted in `n_without_label`. The window holds scored events,
    ranked or not. Where no event of a scope was ranked the dictionary is empty.

    An update costs O(labels with a probability + k · (true labels + new places)) per event, without a sort. Memory: 16
    bytes a label, and ``48 · len(ks) + 8`` bytes an event of the window. The metrics do not depend on how the stream
    is cut into batches, bit for bit.

    References
    ----------
    Jain, Prabhu, Varma: "Extreme multi-label loss functions for recommendation, tagging, ranking & other missing label
    applications", KDD 2016 (propensities: equation 3 and section 5).
    Bhatia, Dahiya, Jain, Kar, Mittal, Prabhu, Varma: "The extreme classification repository: multi-label datasets and
    code", 2016 (the metrics, and their normalisation by the best that can be reached).

    Examples
    --------
    >>> import numpy as np
    >>> from streams.batch import Batch, Prediction, Rows
    >>> truth = Batch.from_arrays(np.zeros((2, 1)), np.array([[1, 0, 1], [0, 1, 0]]))
    >>> proba = np.array([[0.9, 0.5, 0.1], [0.8, 0.3, 0.2]], np.float32)
    >>> metrics = RankingMetrics(ks=(1, 2))
    >>> metrics.update(truth, Prediction(Rows.empty(2), proba))
    >>> scores = metrics.cumulative()
    >>> scores["precision_at_1"], scores["precision_at_2"], round(scores["ndcg_at_2"], 3)
    (0.5, 0.5, 0.622)
    """

    def __init__(self, ks: Sequence[int] = (1, 3, 5), *, window: int = 1000, fading: float = 0.999) -> None:
        if not ks or ks[0] < 1 or any(a >= b for a, b in itertools.pairwise(ks)):
            raise ValueError(f"ks must be ascending numbers of at least 1, got {tuple(ks)}")
        self.ks = tuple(ks)
        self._names = [f"{name}_at_{k}" for name in _NAMES for k in self.ks]
        self._scopes = Scopes(1 + _WIDTH * len(self.ks), window, fading)
        self._counts = np.zeros(1, _COUNTS)
        self._labels = _grown(np.zeros(0, _LABEL), _FEWEST_LABELS)
        self._places = np.array(self.ks, np.int64)
        most = self.ks[-1]
        self._discounts = np.array([1.0 / math.log2(rank + 2.0) for rank in range(most)])
        self._ranking, self._best = (np.zeros(most, [("label", np.int64), ("value", np.float64)]) for _ in range(2))

    @property
    def n_ranked(self) -> int:
        """Events that the metrics are taken over."""
        return int(self._counts["n_ranked"][0])

    @property
    def n_without_label(self) -> int:
        """Completely labelled events with probabilities and no true label, which are left out."""
        return int(self._counts["n_without_label"][0])

    def update(self, batch: Batch, prediction: Prediction) -> None:
        """Score the answers to the events of ``batch``, both numbering labels alike.

        Raises
        ------
        ValueError
            The numbers of events and answers differ, a part of ``batch`` or ``prediction`` is missing, or a probability
            is not in [0, 1]. Nothing has been scored then.
        """
        events = Arguments.of(batch, prediction)
        events.refuse_wrong_probabilities()
        self.count(events)

    def count(self, events: Arguments) -> None:
        """What ``update`` does, of a batch that has been taken apart and looked at already."""
        scopes, most = self._scopes, int(events.true[1].max(initial=-1))
        if most >= len(self._labels):
            self._labels = _grown(self._labels, 2 * (most + 1))
        done = 0
        while done < events.n:
            done = _rank_batch(
                scopes.tally, scopes.sums, scopes.log, scopes.window, scopes.fading, self._counts, self._labels,
                self._places, self._discounts, self._ranking, self._best, done, events.state, *events.true,
                *events.probabilities,
            )  # fmt: skip
            scopes.make_room()

    def cumulative(self, n_labels: int = 0) -> dict[str, float]:
        """Metrics since the first event. How many labels the schema holds makes no difference, here as below."""
        return self._scores(self._scopes.sums[0])

    def faded(self, n_labels: int = 0) -> dict[str, float]:
        """Metrics in which an event k events ago weighs ``fading ** k``."""
        return self._scores(self._scopes.sums[1])

    def windowed(self, n_labels: int = 0) -> dict[str, float]:
        """Metrics over the last ``window`` scored events."""
        return self._scores(self._scopes.window_sums())

    def _scores(self, sums: NDArray[np.float64]) -> dict[str, float]:
        if sums[_RANKED] <= 0:
            return {}
        return dict(zip(self._names, _ratios(sums, len(self.ks)).tolist(), strict=True))

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything counted, as copies; ``set_state`` on metrics with the same parameters goes on bit for bit."""
        length = int(np.flatnonzero(self._labels["n"]).max(initial=-1)) + 1
        return {**self._scopes.get_state(), "counts": self._counts.copy(), "labels": self._labels[:length].copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of metrics with the same parameters gave."""
        self._scopes.set_state(state)
        self._counts = state["counts"].copy()
        self._labels = _grown(state["labels"], _FEWEST_LABELS)

    @property
    def nbytes(self) -> int:
        """Bytes held, spare rows included."""
        return self._scopes.nbytes + self._counts.nbytes + self._labels.nbytes


def _grown(labels: NDArray[Any], length: int) -> NDArray[Any]:
    """A copy with labels appended that have never been met."""
    grown = np.zeros(max(length, len(labels)), _LABEL)
    grown["rarity"] = _B**-_A
    grown[: len(labels)] = labels
    return grown


@njit(cache=True, nogil=True)
def _ratios(sums: NDArray[np.float64], n_ks: int) -> NDArray[np.float64]:
    """The metrics of a scope with at least one event, one metric after the other, each for every k."""
    found = np.zeros(4 * n_ks)
    for j in range(n_ks):
        worth = sums[_RANKED + 1 + j * _WIDTH : _RANKED + 1 + (j + 1) * _WIDTH]
        found[j] = worth[_PRECISION] / sums[_RANKED]
        found[n_ks + j] = worth[_NDCG] / sums[_RANKED]
        found[2 * n_ks + j] = worth[_PSP] / worth[_BEST_PSP]
        found[3 * n_ks + j] = worth[_PSDCG] / worth[_BEST_PSDCG]
    return found


@njit(cache=True, nogil=True)
def _rank_batch(
    tally: NDArray[Any],
    sums: NDArray[np.float64],
    log: NDArray[np.float64],
    window: int,
    fading: float,
    counts: NDArray[Any],
    labels: NDArray[Any],
    places: NDArray[np.int64],
    discounts: NDArray[np.float64],
    ranking: NDArray[Any],
    best: NDArray[Any],
    start: int,
    state: NDArray[np.uint8],
    y_indptr: NDArray[np.int64],
    y: NDArray[np.int32],
    kind: int,
    dense: NDArray[np.float32],
    listed_indptr: NDArray[np.int64],
    listed: NDArray[np.int32],
    values: NDArray[np.float32],
) -> int:
    """Score the events from ``start`` on; the number of events, or of the first one that there is no room for."""
    for i in range(start, len(state)):
        if state[i] == UNLABELLED:
            continue
        row = next_row(tally, log, window)
        if row < 0:
            return i
        log[row] = 0.0
        if state[i] == COMPLETE:
            true = y[y_indptr[i] : y_indptr[i + 1]]
            if kind != NO_PROBA:
                if kind == DENSE_PROBA:
                    n_places = _rank_dense(ranking, dense[i])
                else:
                    first, last = listed_indptr[i], listed_indptr[i + 1]
                    n_places = _rank_listed(ranking, listed[first:last], values[first:last])
                if len(true) > 0:
                    counts["n_ranked"][0] += 1
                    log[row, _RANKED] = 1.0
                    _judge(
                        log[row, _RANKED + 1 :], true, ranking, n_places, best, places, discounts, labels,
                        counts["n_complete"][0],
                    )  # fmt: skip
                else:
                    counts["n_without_label"][0] += 1
            for label in true:
                labels["n"][label] += 1
                labels["rarity"][label] = (labels["n"][label] + _B) ** -_A
            counts["n_complete"][0] += 1
        add(tally, sums, log, fading, row)
    return len(state)


@njit(cache=True, nogil=True)
def _place(ranking: NDArray[Any], n_places: int, label: int, value: float) -> int:
    """Put a label among the best by value, behind those of the same value; how many there are then."""
    if n_places < len(ranking):
        n_places += 1
    elif value <= ranking["value"][n_places - 1]:
        return n_places
    r = n_places - 1
    while r > 0 and ranking["value"][r - 1] < value:
        ranking["value"][r] = ranking["value"][r - 1]
        ranking["label"][r] = ranking["label"][r - 1]
        r -= 1
    ranking["value"][r] = value
    ranking["label"][r] = label
    return n_places


@njit(cache=True, nogil=True)
def _rank_dense(ranking: NDArray[Any], row: NDArray[np.float32]) -> int:
    """The most probable labels of a row of all; how many places are held."""
    n_places, least = 0, np.float32(0.0)
    for label in range(len(row)):
        p = row[label]
        if p > least:
            n_places = _place(ranking, n_places, label, p)
            if n_places == len(ranking):
                least = np.float32(ranking["value"][n_places - 1])
    return n_places


@njit(cache=True, nogil=True)
def _rank_listed(ranking: NDArray[Any], labels: NDArray[np.int32], row: NDArray[np.float32]) -> int:
    """As `_rank_dense`, of listed labels."""
    n_places = 0
    for c in range(len(labels)):
        p = row[c]
        if p > 0.0:
            n_places = _place(ranking, n_places, labels[c], p)
    return n_places


@njit(cache=True, nogil=True)
def _judge(
    worth: NDArray[np.float64],
    true: NDArray[np.int32],
    ranking: NDArray[Any],
    n_places: int,
    best: NDArray[Any],
    places: NDArray[np.int64],
    discounts: NDArray[np.float64],
    labels: NDArray[Any],
    n_complete: int,
) -> None:
    """What a ranking is worth at each number of places, beside the best one of the true labels."""
    c = (math.log(n_complete) - 1.0) * (_B + 1.0) ** _A if n_complete > 2 else 0.0
    n_best = 0
    for label in true:
        n_best = _place(best, n_best, label, 1.0 + c * labels["rarity"][label])
    hits, dcg, ideal, psp, best_psp, psdcg, best_psdcg = 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    r = 0
    for j in range(len(places)):
        while r < places[j]:
            if r < n_places and _holds(true, ranking["label"][r]):
                weight = 1.0 + c * labels["rarity"][ranking["label"][r]]
                hits += 1
                dcg += discounts[r]
                psp += weight
                psdcg += weight * discounts[r]
            if r < n_best:
                ideal += discounts[r]
                best_psp += best["value"][r]
                best_psdcg += best["value"][r] * discounts[r]
            r += 1
        at = j * _WIDTH
        worth[at + _PRECISION] = hits / places[j]
        worth[at + _NDCG] = dcg / ideal
        worth[at + _PSP] = psp
        worth[at + _BEST_PSP] = best_psp
        worth[at + _PSDCG] = psdcg
        worth[at + _BEST_PSDCG] = best_psdcg


@njit(cache=True, nogil=True)
def _holds(labels: NDArray[np.int32], label: int) -> bool:
    """Whether ascending label numbers hold one."""
    low, high = 0, len(labels)
    while low < high:
        middle = (low + high) // 2
        if labels[middle] < label:
            low = middle + 1
        else:
            high = middle
    return low < len(labels) and labels[low] == label
