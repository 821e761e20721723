"""How labels go together: a distribution over the label sets seen so far, tilted by the event at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Events
from learners.base import with_room
from streams.batch import COMPLETE

N_SETS = 500
"""Label sets kept; a new one takes the place of the rarest."""

LONGEST = 32
"""Label sets with more labels are never kept."""

N_PASSED = 8
"""Most probable sets told of each event."""

TILTS = np.array([0.35, 0.5, 0.7, 1.0])
"""How strongly the labels' evidence may tilt the frequencies of sets; their mixture is learned."""

N_MODELS = len(TILTS) + 1

SET = np.dtype([("key", np.int64), ("count", np.float64), ("size", np.int64), ("members", np.int32, LONGEST)])

_POSSIBLE = 0.01
_MEMORY = 0.99
_NOVELTY_RATE = 0.005


class Likely(NamedTuple):
    """Label sets that are likely for each of n events.

    ``mass`` float64 (n, 8), probabilities, 0 for an unused place; ``size`` int64 (n, 8); ``members`` int32 (n, 8, 32).
    What is missing to 1 belongs to independent labels.
    """

    mass: NDArray[np.float64]
    size: NDArray[np.int64]
    members: NDArray[np.int32]

    @classmethod
    def none(cls, n: int) -> Likely:
        """No set at all: labels are independent."""
        return cls(
            np.zeros((n, N_PASSED)), np.zeros((n, N_PASSED), np.int64), np.zeros((n, N_PASSED, LONGEST), np.int32)
        )


class LabelSetJoint:
    """Mixture of tilted label-set frequencies and of independent labels.

    Notes
    -----
    P_b(B) is proportional to n_B exp(b sum over l in B of (logit p_l - logit prior_l)) over the sets seen, n_B being
    how often; b takes the values of ``TILTS``. Each of these keeps a share for sets never seen, a moving rate (.995) of
    how often one comes, which it gives to independent labels; one more model is independent labels alone. The mixture's
    weights follow the likelihoods of the true sets (decay .99). Sets are stored with their rarest label first, and not
    looked at where that label has p < .01.

    Only events whose labels are all known teach. An event costs O(sets looked at). State: 152 bytes a set.
    """

    def __init__(self) -> None:
        self._sets = np.zeros(N_SETS, SET)
        self._meta = np.zeros(3 + N_MODELS)
        self._meta[1] = 0.5
        self._support = np.zeros(0)
        self._n_labels = 0

    @property
    def novelty(self) -> float:
        """Rate at which label sets come that are not among those kept."""
        return float(self._meta[1])

    def run(self, proba: NDArray[np.float64], past: NDArray[np.float32], events: Events, learn: bool) -> Likely:
        """The likely sets of each event, before it is learned (if ``learn``).

        Parameters
        ----------
        proba
            Marginal probabilities, shape (n, labels).
        past
            From `ihomer.temporal.LabelPast`; its first feature is the logit of the prior.
        events
            The labels.
        """
        n, n_labels = proba.shape
        self._support, self._n_labels = with_room(self._support, n_labels), n_labels
        likely = Likely.none(n)
        _joint(self._sets, self._meta, self._support, proba, past, events, learn, *likely)
        return likely

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Sets, mixture and label counts."""
        support = self._support[: self._n_labels].copy()
        return {"sets": self._sets.copy(), "mixture": self._meta.copy(), "support": support}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._sets, self._meta, self._support = (state[name].copy() for name in ("sets", "mixture", "support"))
        self._n_labels = len(self._support)


@njit(cache=True, nogil=True)
def _log_odds(p):
    p = min(max(p, 1e-6), 1.0 - 1e-6)
    return np.log(p / (1.0 - p))


@njit(cache=True, nogil=True)
def _key(labels):
    """A number for a label set (ascending), hardly ever the same for two; 2^31 bounds keep products in 63 bits."""
    mixed = np.int64(labels.shape[0] + 1)
    low = np.int64(7)
    for label in labels:
        mixed = ((mixed ^ (label + 1)) * 0x3C6EF373 + 12345) & 0x7FFFFFFF
        low = ((low + label) * 0x1B873593 + (mixed >> 7)) & 0x7FFFFFFF
    return (mixed << 31) | low


@njit(cache=True, nogil=True)
def _same(members, labels):
    """Whether both list the same labels, in whatever order."""
    for label in labels:
        found = False
        for j in range(labels.shape[0]):
            if members[j] == label:
                found = True
                break
        if not found:
            return False
    return True


@njit(cache=True, nogil=True)
def _joint(sets, meta, support, proba, past, events, learn, mass, size, members):
    n = proba.shape[0]
    key, count, length, member = sets["key"], sets["count"], sets["size"], sets["members"]
    n_sets = int(meta[0])
    n_tilts = TILTS.shape[0]
    models = meta[3:]
    evidence = np.zeros(proba.shape[1])
    looked = np.zeros(N_SETS, np.int64)
    score = np.zeros(N_SETS)
    total = np.zeros(N_SETS)
    part = np.zeros((N_SETS, n_tilts))
    for i in range(n):
        novelty = meta[1]
        p = proba[i]
        for label in range(events.born[i]):
            evidence[label] = _log_odds(p[label]) - past[i, label, 0]
        m = 0
        for s in range(n_sets):
            if length[s] > 0 and p[member[s, 0]] < _POSSIBLE:
                continue
            shift = 0.0
            for j in range(length[s]):
                shift += evidence[member[s, j]]
            looked[m], score[m] = s, shift
            m += 1
        top, share = models[0], 0.0
        for b in range(N_MODELS):
            top = max(top, models[b])
        for b in range(N_MODELS):
            share += np.exp(models[b] - top)
        for j in range(m):
            total[j] = 0.0
        for b in range(n_tilts):
            highest, norm = -np.inf, 0.0
            for j in range(m):
                highest = max(highest, TILTS[b] * score[j])
            for j in range(m):
                part[j, b] = count[looked[j]] * np.exp(TILTS[b] * score[j] - highest)
                norm += part[j, b]
            model = np.exp(models[b] - top) / share
            for j in range(m):
                part[j, b] /= norm
                total[j] += (1.0 - novelty) * model * part[j, b]
        for place in range(min(N_PASSED, m)):
            best = 0
            for j in range(1, m):
                if total[j] > total[best]:
                    best = j
            if total[best] <= 0.0:
                break
            s = looked[best]
            mass[i, place], size[i, place] = total[best], length[s]
            for j in range(length[s]):
                members[i, place, j] = member[s, j]
            total[best] = -1.0

        if not learn or events.state[i] != COMPLETE:
            continue
        labels = events.present[events.present_start[i] : events.present_start[i + 1]]
        code, at = _key(labels), -1
        for s in range(n_sets):
            if key[s] == code and length[s] == labels.shape[0] and _same(member[s], labels):
                at = s
                break
        alone = 0.0
        for label in range(events.born[i]):
            alone += np.log(max(1.0 - p[label], 1e-6))
        for label in labels:
            if label < events.born[i]:
                alone += _log_odds(p[label])
        alone = np.exp(max(alone, -600.0))
        place = -1
        for j in range(m):
            if looked[j] == at:
                place = j
        for b in range(N_MODELS):
            if b < n_tilts:
                likelihood = novelty * alone
                if place >= 0:
                    likelihood += (1.0 - novelty) * part[place, b]
            else:
                likelihood = alone
            models[b] = _MEMORY * models[b] + np.log(max(likelihood, 1e-9))
        rate = max(_NOVELTY_RATE, 1.0 / (meta[2] + 2.0))
        meta[2] += 1.0
        meta[1] += rate * ((1.0 if at < 0 else 0.0) - novelty)
        for label in labels:
            support[label] += events.weight[i]
        if at < 0 and labels.shape[0] <= LONGEST:
            if n_sets < N_SETS:
                at = n_sets
                n_sets += 1
            else:
                at = 0
                for s in range(1, n_sets):
                    if count[s] < count[at]:
                        at = s
            key[at], length[at], count[at] = code, labels.shape[0], 0.0
            for j in range(labels.shape[0]):
                place = j
                while place > 0 and support[member[at, place - 1]] > support[labels[j]]:
                    member[at, place] = member[at, place - 1]
                    place -= 1
                member[at, place] = labels[j]
        if at >= 0:
            count[at] += events.weight[i]
    meta[0] = n_sets
