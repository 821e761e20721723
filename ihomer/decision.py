"""Which labels to answer: the set with the largest expected utility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from ihomer.joint import N_PASSED, Likely
from learners.base import with_room
from streams.batch import Rows

OBJECTIVES = {
    "balanced": (1.0, 1.0, 1.0, 6.0, 1.0),
    "f1": (0.0, 1.0, 1.0, 0.0, 1.0),
    "subset": (1.0, 0.05, 0.05, 0.2, 0.05),
    "hamming": (0.0, 0.0, 0.0, 1.0, 0.0),
}
"""Weights of subset accuracy, micro-F1, macro-F1, Hamming loss (as a gain) and example-F1."""

N_THRESHOLDS = 19
THRESHOLDS = np.arange(1, N_THRESHOLDS + 1) / 20.0

LABEL = np.dtype(
    [
        ("present", np.float64),
        ("answered", np.float64),
        ("best", np.float64),
        ("right", np.float32, N_THRESHOLDS),
        ("positive", np.float32, N_THRESHOLDS),
    ]
)

SHARED = np.dtype(
    [
        ("learned", np.float64),
        ("present", np.float64),
        ("answered", np.float64),
        ("right", np.float64, N_THRESHOLDS),
        ("positive", np.float64, N_THRESHOLDS),
    ]
)

MOST = 62
"""Labels considered for an event at most: sets of them are bits of one 64-bit number."""

_CANDIDATE = 0.03
_PSEUDO = 8.0

_PATIENCE = 3
"""Sizes in a row worse than the best one, after which larger answers are not looked at. Looking on would have changed
3 answers of 42,798, over seven data sets and three objectives."""

_N_NODES = 16
_RULES = np.zeros((2, _N_NODES + 1, _N_NODES))
"""Points and weights with which k values of a polynomial give its integral from 0 to 1, in row k."""

for _k in range(1, _N_NODES + 1):
    _points, _weights = np.polynomial.legendre.leggauss(_k)
    _RULES[:, _k, :_k] = (_points + 1.0) / 2.0, _weights / 2.0


class Decision:
    """Answers each event with the label set B that maximises an expected sum of metrics.

    Parameters
    ----------
    objective
        Weights of subset accuracy, micro-F1, macro-F1, Hamming loss and example-F1.

    Notes
    -----
    The utility of B is the sum over its labels of w_mi (2 p - F) / D + w_ma (2 p - F_l) / (L D_l) + w_H (2 p - 1) / L,
    plus w_ex E[F1(B, Y)] + w_sub P(Y = B). The first three are what a label adds to a running F: with D (D_l) answers
    and true labels an event so far, a label pays where 2 p exceeds the F that can be reached. That F is the best one of
    19 fixed thresholds on the same probabilities, not the one reached so far, which would chase itself; a label's own
    gets 8 pseudo-counts at the common one. The last two use the joint: an answer of n labels has an expected example-F1
    of the sum over its labels of sum over c of P(l in Y, |Y| = c) 2 / (n + c), so that the best set of each size is the
    n labels that pay most. The likely sets and {p > .5} compete with these. At most 62 labels with p > .03 take part.

    A likely set of c labels pays each of them its mass times 2 / (n + c). With independent labels the sum is

        2 p_l integral from 0 to 1 of t^n product over j != l of (1 - p_j + p_j t) dt,

    since t^(n + c - 1) integrates to 1 / (n + c). As many nodes of Gauss and Legendre as there are candidates make that
    exact; there are at most 16, with which the expected F1 is off by less than 10^-7 for 30 candidates and, at the
    worst, when 62 labels are all but certain, by .001. Sizes are tried in rising order, until all likely sets have had
    their turn and three in a row are worse than the best.

    Cells with a target teach, so that partly labelled events count with the labels that are known. An event costs
    O(cells + candidates times sizes), however many labels there are. State: 176 bytes a label.

    References
    ----------
    Busa-Fekete, Szörényi, Dembczyński, Hüllermeier, *Online F-measure optimization*, NeurIPS 2015. Dembczyński,
    Waegeman, Cheng, Hüllermeier, *An exact algorithm for F-measure maximization*, NeurIPS 2011.

    Examples
    --------
    >>> from ihomer.events import Cells, Columns
    >>> from streams.batch import Batch
    >>> batch = Batch.from_arrays(np.zeros((2, 1)), [[1, 1, 1], [1, 0, 0]])
    >>> events = Columns().admit(batch, batch.schema, learn=True)
    >>> proba = np.array([0, 0, 0, 0.9, 0.6, 0.1])
    >>> Decision(OBJECTIVES["hamming"]).run(proba, Likely.none(2), events, Cells.all(events)).row(1).tolist()
    [0, 1]
    """

    def __init__(self, objective: tuple[float, float, float, float, float]) -> None:
        self._objective = np.array(objective)
        self._labels = np.zeros(0, LABEL)
        self._n_labels = 0
        self._shared = np.zeros(1, SHARED)
        # Working room, -1 for every label between events.
        self._place = np.zeros(0, np.int64)

    def run(self, proba: NDArray[Any], likely: Likely, events: Events, cells: Cells) -> Rows:
        """The answers, as columns, each given before its event is learned.

        Parameters
        ----------
        proba
            Of each cell, its marginal probability, float64 or float32; of cells not asked it is not looked at.
        likely
            From `ihomer.joint.LabelSetJoint`.
        """
        room = int(np.minimum(np.diff(cells.start), MOST).sum())
        start, chosen = np.zeros(len(cells.start), np.int64), np.zeros(room, np.int32)
        decide(self.arrays(int(events.born[-1])), proba, *likely, events, cells, start, chosen)
        return Rows(start, chosen[: start[-1]])

    def arrays(self, n_labels: int) -> tuple[NDArray[Any], ...]:
        """What is learned, with room for so many labels, as the kernel takes it."""
        n_labels = self._n_labels = max(self._n_labels, n_labels)
        self._labels = with_room(self._labels, n_labels)
        self._place = with_room(self._place, n_labels, -1)
        return self._objective, self._labels, self._shared, self._place

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The counts behind F and D."""
        return {"labels": self._labels[: self._n_labels].copy(), "shared": self._shared.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._labels, self._shared = state["labels"].copy(), state["shared"].copy()
        self._n_labels = len(self._labels)


@njit(cache=True, nogil=True)
def _candidates(proba, cells, i, candidate):
    """List the cells asked with p > .03, in order, the most probable ``MOST`` of them; return their number."""
    n, least = 0, -1
    for cell in range(cells.start[i], cells.start[i + 1]):
        if not cells.asked[cell] or proba[cell] <= _CANDIDATE:
            continue
        if n < MOST:
            candidate[n] = cell
            n += 1
            continue
        if least < 0:
            least = 0
            for j in range(1, n):
                if proba[candidate[j]] < proba[candidate[least]]:
                    least = j
        if proba[cell] > proba[candidate[least]]:
            for j in range(least, n - 1):
                candidate[j] = candidate[j + 1]
            candidate[n - 1] = cell
            least = -1
    return n


@njit(cache=True, nogil=True)
def _masks(mass, size, members, place, masks):
    """Write the likely sets as bits of candidates, -1 where one is not made of these; return what mass is left."""
    rest = 1.0
    for s in range(N_PASSED):
        masks[s] = -1
        if mass[s] <= 0.0:
            continue
        rest -= mass[s]
        mask = np.int64(0)
        for k in range(size[s]):
            j = place[members[s, k]]
            if j < 0:
                mask = np.int64(-1)
                break
            mask |= np.int64(1) << j
        masks[s] = mask
    return max(rest, 0.0)


@njit(cache=True, nogil=True)
def _prepare(p, rest, ratio, product):
    """Write, for each node t, the product of all 1 - p + p t, and each label's 2 p over its own factor."""
    n_nodes = product.shape[0]
    for k in range(n_nodes):
        together = rest * _RULES[1, n_nodes, k]
        for j in range(p.shape[0]):
            factor = 1.0 - p[j] + p[j] * _RULES[0, n_nodes, k]
            together *= factor
            ratio[k, j] = 2.0 * p[j] / factor
        product[k] = together


@njit(cache=True, nogil=True)
def _pay(n, gain, weight, ratio, product, mass, size, members, place, pay):
    """Write what each candidate adds to an answer of ``n`` labels; ``product`` goes on to the next ``n``."""
    n_candidates, n_nodes = gain.shape[0], product.shape[0]
    for j in range(n_candidates):
        pay[j] = 0.0
    for k in range(n_nodes):
        for j in range(n_candidates):
            pay[j] += product[k] * ratio[k, j]
        product[k] *= _RULES[0, n_nodes, k]
    for s in range(N_PASSED):
        if size[s] == 0:
            continue
        share = 2.0 * mass[s] / (n + size[s])
        for k in range(size[s]):
            j = place[members[s, k]]
            if j >= 0:
                pay[j] += share
    for j in range(n_candidates):
        pay[j] = gain[j] + weight * pay[j]


@njit(cache=True, nogil=True)
def _sort(order, pay):
    """Bring ``order`` into falling order of pay; it is nearly there already."""
    for j in range(1, pay.shape[0]):
        moved = order[j]
        place = j
        while place > 0 and pay[order[place - 1]] < pay[moved]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = moved


@njit(cache=True, nogil=True)
def _value(mask, pay, odds, base, weight, masks, mass):
    """Expected utility of the candidates whose bits are set, given what each pays at that size."""
    value, alone = 0.0, base
    for j in range(pay.shape[0]):
        if (mask >> j) & 1:
            value += pay[j]
            alone *= odds[j]
    for s in range(N_PASSED):
        if masks[s] == mask:
            alone += mass[s]
    return value + weight * alone


@njit(cache=True, nogil=True)
def _count(mask):
    n = 0
    while mask > 0:
        mask &= mask - 1
        n += 1
    return n


@njit(cache=True, nogil=True)
def decide(
    arrays: tuple[NDArray[Any], ...],
    proba: NDArray[Any],
    mass: NDArray[np.float64],
    size: NDArray[np.int64],
    members: NDArray[np.int32],
    events: Events,
    cells: Cells,
    start: NDArray[np.int64],
    chosen: NDArray[np.int32],
) -> None:
    """Write the answers of `Decision`."""
    objective, labels, shared, place = arrays
    present, answered, best_of = labels["present"], labels["answered"], labels["best"]
    all_learned, all_present, all_answered = shared["learned"], shared["present"], shared["answered"]
    candidate, order = np.empty(MOST, np.int64), np.empty(MOST, np.int64)
    room = np.empty((4, MOST))
    ratio, products = np.empty((_N_NODES, MOST)), np.empty(_N_NODES)
    masks, sizes = np.zeros(N_PASSED + 1, np.int64), np.zeros(N_PASSED + 1, np.int64)
    for i in range(len(events.state)):
        n_labels = events.born[i]
        n_candidates = _candidates(proba, cells, i, candidate)
        p, gain = room[0, :n_candidates], room[1, :n_candidates]
        odds, pay = room[2, :n_candidates], room[3, :n_candidates]
        t = all_learned[0]
        density = (all_present[0] + all_answered[0] + 1.0) / (t + 1.0)
        common = _best_of_all(shared)
        base, half = 1.0, np.int64(0)
        for j in range(n_candidates):
            label = cells.label[candidate[j]]
            place[label], order[j] = j, j
            q = p[j] = min(np.float64(proba[candidate[j]]), 1.0 - 1e-9)
            odds[j] = q / (1.0 - q)
            base *= 1.0 - q
            own = (present[label] + answered[label] + 1.0) / (t + 1.0)
            gain[j] = objective[1] * (2.0 * q - common) / density
            gain[j] += objective[2] * (2.0 * q - best_of[label]) / (n_labels * own)
            gain[j] += objective[3] * (2.0 * q - 1.0) / n_labels
            if q > 0.5:
                half |= np.int64(1) << j
        rest = _masks(mass[i], size[i], members[i], place, masks)
        base *= rest
        masks[N_PASSED] = half
        largest = 0
        for s in range(N_PASSED + 1):
            sizes[s] = _count(masks[s]) if masks[s] >= 0 else -1
            largest = max(largest, sizes[s])

        product = products[: min(n_candidates, _N_NODES)]
        _prepare(p, rest, ratio, product)
        best, best_value, highest, falls = np.int64(0), -np.inf, -np.inf, 0
        for n in range(n_candidates + 1):
            _pay(n, gain, objective[4], ratio, product, mass[i], size[i], members[i], place, pay)
            _sort(order, pay)
            mask, together = np.int64(0), 0.0
            for j in range(n):
                mask |= np.int64(1) << order[j]
                together += pay[order[j]]
            value = _value(mask, pay, odds, base, objective[0], masks, mass[i])
            if value > best_value:
                best, best_value = mask, value
            for s in range(N_PASSED + 1):
                if sizes[s] == n:
                    value = _value(masks[s], pay, odds, base, objective[0], masks, mass[i])
                    if value > best_value:
                        best, best_value = masks[s], value
            falls = 0 if together > highest else falls + 1
            highest = max(highest, together)
            if n >= largest and falls >= _PATIENCE:
                break

        end = start[i]
        for j in range(n_candidates):
            label = cells.label[candidate[j]]
            place[label] = -1
            if (best >> j) & 1:
                chosen[end] = label
                end += 1
        start[i + 1] = end
        if events.taught[i]:
            _learn(labels, shared, proba, cells, i, chosen[start[i] : end], common)


@njit(cache=True, nogil=True)
def learn_answer(
    arrays: tuple[NDArray[Any], ...], proba: NDArray[Any], cells: Cells, chosen: NDArray[np.int32]
) -> None:
    """Learn a single event whose answer is known."""
    _, labels, shared, _ = arrays
    _learn(labels, shared, proba, cells, 0, chosen, _best_of_all(shared))


@njit(cache=True, nogil=True)
def _best_of_all(shared):
    """The best F that a fixed threshold has had on all labels."""
    present, right, positive = shared["present"][0], shared["right"][0], shared["positive"][0]
    best = 0.0
    for k in range(N_THRESHOLDS):
        if present > 0:
            best = max(best, 2.0 * right[k] / (positive[k] + present))
    return best


@njit(cache=True, nogil=True)
def _learn(labels, shared, proba, cells, i, chosen, common):
    """Count the answers and true labels of an event, and what the fixed thresholds would have made of it."""
    shared["learned"][0] += 1.0
    present, answered, best_of = labels["present"], labels["answered"], labels["best"]
    label_right, label_positive = labels["right"], labels["positive"]
    all_present, all_answered = shared["present"], shared["answered"]
    right, positive = shared["right"][0], shared["positive"][0]
    at = 0
    for cell in range(cells.start[i], cells.start[i + 1]):
        label, y = cells.label[cell], np.float64(cells.target[cell])
        is_answer = at < chosen.shape[0] and chosen[at] == label
        at += is_answer
        if np.isnan(y):
            continue
        q = proba[cell] if cells.asked[cell] else 0.0
        if not is_answer and y == 0.0 and q < THRESHOLDS[0]:
            continue
        if is_answer:
            answered[label] += 1.0
            all_answered[0] += 1.0
        present[label] += y
        all_present[0] += y
        best_f = 0.0
        for k in range(N_THRESHOLDS):
            if q >= THRESHOLDS[k]:
                positive[k] += 1.0
                right[k] += y
                label_positive[label, k] += np.float32(1.0)
                label_right[label, k] += np.float32(y)
            above = 2.0 * label_right[label, k] + _PSEUDO * common
            best_f = max(best_f, above / (label_positive[label, k] + present[label] + _PSEUDO))
        best_of[label] = best_f


def objective_of(optimise: str | Sequence[float]) -> tuple[float, float, float, float, float]:
    """The weights that a text of `OBJECTIVES` stands for, or those given.

    Raises
    ------
    ValueError
        There is no such text, there are not five weights, one is below 0, or all are 0.
    """
    if isinstance(optimise, str):
        if optimise not in OBJECTIVES:
            raise ValueError(f"optimise must be one of {', '.join(OBJECTIVES)}, or five weights, got {optimise!r}")
        return OBJECTIVES[optimise]
    weights = tuple(map(float, optimise))
    if len(weights) != 5 or min(weights) < 0 or not 0 < sum(weights) < np.inf:
        raise ValueError(f"optimise must have five weights of at least 0, not all 0, got {optimise!r}")
    return weights
