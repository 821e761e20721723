"""Which labels to answer: the set with the largest expected utility."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Events, read_targets
from ihomer.joint import N_PASSED, Likely
from learners.base import with_room
from streams.batch import UNLABELLED, Rows

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

_MOST = 62
"""Labels considered for an event at most: sets of them are bits of one 64-bit number."""

_CANDIDATE = 0.03
_PSEUDO = 8.0
_FLIPS = 3


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
    gets 8 pseudo-counts at the common one. The last two use the joint: for each size n the expected example-F1 is a
    sum over labels of sum over c of P(l in Y, |Y| = c) 2 / (n + c), so that the best set of each size is found exactly;
    the likely sets and {p > .5} compete with these, and single flips improve the best. At most 62 labels with p > .03
    take part.

    State: 176 bytes a label.

    References
    ----------
    Busa-Fekete, Szörényi, Dembczyński, Hüllermeier, *Online F-measure optimization*, NeurIPS 2015. Dembczyński,
    Waegeman, Cheng, Hüllermeier, *An exact algorithm for F-measure maximization*, NeurIPS 2011.
    """

    def __init__(self, objective: tuple[float, float, float, float, float]) -> None:
        self._objective = np.array(objective)
        self._labels = np.zeros(0, LABEL)
        self._n_labels = 0
        self._shared = np.zeros(3)
        self._right = np.zeros(N_THRESHOLDS)
        self._positive = np.zeros(N_THRESHOLDS)

    def run(self, proba: NDArray[np.float64], likely: Likely, events: Events, learn: bool) -> Rows:
        """The answers, as columns, each given before its event is learned (if ``learn``).

        Parameters
        ----------
        proba
            Marginal probabilities, shape (n, labels).
        likely
            From `ihomer.joint.LabelSetJoint`.
        events
            The labels.
        """
        n, n_labels = proba.shape
        self._labels, self._n_labels = with_room(self._labels, n_labels), n_labels
        start, chosen = np.zeros(n + 1, np.int64), np.zeros(n * min(n_labels, _MOST), np.int32)
        _decide(
            self._objective, self._labels, self._shared, self._right, self._positive,
            proba, *likely, events, learn, start, chosen,
        )  # fmt: skip
        return Rows(start, chosen[: start[-1]])

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The counts behind F and D."""
        return {
            "labels": self._labels[: self._n_labels].copy(),
            "shared": self._shared.copy(),
            "right": self._right.copy(),
            "positive": self._positive.copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._labels, self._shared = state["labels"].copy(), state["shared"].copy()
        self._right, self._positive = state["right"].copy(), state["positive"].copy()
        self._n_labels = len(self._labels)


@njit(cache=True, nogil=True)
def _candidates(p, chosen):
    """List the labels with p > .03, ascending, the most probable ``_MOST`` of them; return their number."""
    n = 0
    for label in range(p.shape[0]):
        if p[label] > _CANDIDATE:
            if n < _MOST:
                chosen[n] = label
                n += 1
                continue
            least = 0
            for j in range(1, n):
                if p[chosen[j]] < p[chosen[least]]:
                    least = j
            if p[label] > p[chosen[least]]:
                for j in range(least, n - 1):
                    chosen[j] = chosen[j + 1]
                chosen[n - 1] = label
    return n


@njit(cache=True, nogil=True)
def _add_independent(p, rest, with_size):
    """Add ``rest`` times P(l in Y, |Y| = c) of independent labels to ``with_size[l, c]``."""
    n = p.shape[0]
    of_size = np.zeros(n + 1)
    of_size[0] = 1.0
    for j in range(n):
        for c in range(j + 1, 0, -1):
            of_size[c] = of_size[c] * (1.0 - p[j]) + of_size[c - 1] * p[j]
        of_size[0] *= 1.0 - p[j]
    others = np.zeros(n + 1)
    for j in range(n):
        # Take label j out again, from the end at which that divides by the larger of p and 1 - p.
        q = p[j]
        if q < 0.5:
            others[0] = of_size[0] / (1.0 - q)
            for c in range(1, n):
                others[c] = (of_size[c] - q * others[c - 1]) / (1.0 - q)
        else:
            others[n - 1] = of_size[n] / q
            for c in range(n - 1, 0, -1):
                others[c - 1] = (of_size[c] - (1.0 - q) * others[c]) / q
        for c in range(1, n + 1):
            with_size[j, c] += rest * q * others[c - 1]


@njit(cache=True, nogil=True)
def _value(mask, n_candidates, gain, worth, objective, base, odds, rest, masks, mass):
    """Expected utility of the candidates whose bits are set."""
    n = 0
    for j in range(n_candidates):
        n += (mask >> j) & 1
    value, alone = 0.0, base
    for j in range(n_candidates):
        if (mask >> j) & 1:
            value += gain[j] + objective[4] * worth[j, n]
            alone *= odds[j]
    subset = rest * alone
    for s in range(masks.shape[0]):
        if masks[s] == mask:
            subset += mass[s]
    return value + objective[0] * subset


@njit(cache=True, nogil=True)
def _decide(
    objective, labels, shared, right, positive, proba, mass, size, members, events, learn, start, chosen
):  # fmt: skip
    n, n_columns = proba.shape
    present, answered, best_of = labels["present"], labels["answered"], labels["best"]
    label_right, label_positive = labels["right"], labels["positive"]
    candidate = np.zeros(_MOST, np.int64)
    bit = np.full(n_columns, -1, np.int64)
    target = np.zeros(n_columns)
    masks = np.zeros(N_PASSED, np.int64)
    longest = members.shape[2]
    for i in range(n):
        n_labels = events.born[i]
        n_candidates = _candidates(proba[i, :n_labels], candidate)
        p = np.zeros(n_candidates)
        gain = np.zeros(n_candidates)
        odds = np.zeros(n_candidates)
        t = shared[0]
        density = (shared[1] + shared[2] + 1.0) / (t + 1.0)
        common = 0.0
        for k in range(N_THRESHOLDS):
            if shared[1] > 0:
                common = max(common, 2.0 * right[k] / (positive[k] + shared[1]))
        base = 1.0
        for j in range(n_candidates):
            label = candidate[j]
            bit[label] = j
            p[j] = min(proba[i, label], 1.0 - 1e-9)
            odds[j] = p[j] / (1.0 - p[j])
            base *= 1.0 - p[j]
            own = (present[label] + answered[label] + 1.0) / (t + 1.0)
            gain[j] = objective[1] * (2.0 * p[j] - common) / density
            gain[j] += objective[2] * (2.0 * p[j] - best_of[label]) / (n_labels * own)
            gain[j] += objective[3] * (2.0 * p[j] - 1.0) / n_labels

        with_size = np.zeros((n_candidates, max(n_candidates, longest) + 1))
        rest = 1.0
        for s in range(N_PASSED):
            masks[s] = -1
            if mass[i, s] == 0.0:
                continue
            rest -= mass[i, s]
            masks[s] = 0
            for k in range(size[i, s]):
                j = bit[members[i, s, k]]
                if j >= 0:
                    with_size[j, size[i, s]] += mass[i, s]
                    if masks[s] >= 0:
                        masks[s] |= np.int64(1) << j
                else:
                    masks[s] = -1
        rest = max(rest, 0.0)
        if n_candidates > 0:
            _add_independent(p, rest, with_size)
        worth = np.zeros((n_candidates, n_candidates + 1))
        for j in range(n_candidates):
            for c in range(1, with_size.shape[1]):
                share = 2.0 * with_size[j, c]
                if share > 0.0:
                    for m in range(1, n_candidates + 1):
                        worth[j, m] += share / (m + c)

        best = np.int64(0)
        for j in range(n_candidates):
            if p[j] > 0.5:
                best |= np.int64(1) << j
        best_value = _value(best, n_candidates, gain, worth, objective, base, odds, rest, masks, mass[i])
        for m in range(n_candidates + 1):
            mask = np.int64(0)
            for _ in range(m):
                pick, most = -1, -np.inf
                for j in range(n_candidates):
                    if not (mask >> j) & 1:
                        worthy = gain[j] + objective[4] * worth[j, m]
                        if worthy > most:
                            pick, most = j, worthy
                mask |= np.int64(1) << pick
            value = _value(mask, n_candidates, gain, worth, objective, base, odds, rest, masks, mass[i])
            if value > best_value:
                best, best_value = mask, value
        for s in range(N_PASSED):
            if masks[s] >= 0:
                value = _value(masks[s], n_candidates, gain, worth, objective, base, odds, rest, masks, mass[i])
                if value > best_value:
                    best, best_value = masks[s], value
        for _ in range(_FLIPS):
            flip = best
            for j in range(n_candidates):
                mask = best ^ (np.int64(1) << j)
                value = _value(mask, n_candidates, gain, worth, objective, base, odds, rest, masks, mass[i])
                if value > best_value:
                    flip, best_value = mask, value
            if flip == best:
                break
            best = flip

        end = start[i]
        for j in range(n_candidates):
            bit[candidate[j]] = -1
            if (best >> j) & 1:
                chosen[end] = candidate[j]
                end += 1
        start[i + 1] = end

        if not learn or events.state[i] == UNLABELLED:
            continue
        shared[0] += 1.0
        read_targets(events, i, events.born[i + 1], target)
        at = start[i]
        for label in range(events.born[i + 1]):
            while at < end and chosen[at] < label:
                at += 1
            is_answer = at < end and chosen[at] == label
            y = target[label]
            if np.isnan(y):
                continue
            q = proba[i, label] if label < n_labels else 0.0
            if not is_answer and y == 0.0 and q < THRESHOLDS[0]:
                continue
            if is_answer:
                answered[label] += 1.0
                shared[2] += 1.0
            present[label] += y
            shared[1] += y
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
