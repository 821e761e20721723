"""How labels go together: a distribution over the label sets seen so far, tilted by the event at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from learners.base import with_room
from streams.batch import COMPLETE

N_SETS = 500
"""Label sets kept; a new one takes the place of the rarest."""

LONGEST = 32
"""Label sets with more labels are never kept."""

N_PASSED = 8
"""Most probable sets told of each event."""

TILTS = np.array([0.35, 0.5, 0.7, 1.0])
"""How strongly the labels' evidence may tilt the frequencies of sets; their mixture is learned. See ``_tilt``."""

N_MODELS = len(TILTS) + 1

SET = np.dtype(
    [
        ("key", np.int64),
        ("count", np.float64),
        ("size", np.int32),
        ("filed", np.int32),
        ("next", np.int32),
        ("members", np.int32, LONGEST),
    ]
)
"""``filed``: the list that the set is in, 0 for the empty set, else one more than a label; ``next``: the set that
follows in that list, -1 at its end."""

SHARED = np.dtype(
    [
        ("sets", np.int64),
        ("turn", np.int64),
        ("learned", np.float64),
        ("novelty", np.float64),
        ("mixture", np.float64, N_MODELS),
    ]
)
"""``turn``: the set from which the next one to be replaced is looked for."""

_POSSIBLE = 0.01
_SURE = 1e-6
_MEMORY = 0.99
_NOVELTY, _NOVELTY_RATE = 0.5, 0.005


class Likely(NamedTuple):
    """Label sets that are likely for each of n events.

    ``mass`` float64 (n, 8), probabilities in falling order, 0 for an unused place; ``size`` int64 (n, 8); ``members``
    int32 (n, 8, 32). What is missing to 1 belongs to independent labels.
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
    weights follow the likelihoods of the true sets (decay .99).

    A label that is not asked about has p = 0, and so has every set that holds it. Each set is filed under its rarest
    label, and an event looks only at the sets filed under labels with p of at least .01, and at the empty set. The
    rarest label is settled when a set is first kept, and anew whenever it comes again; in between, counts may move past
    each other, which costs time and no more.

    Where ``N_SETS`` are kept, a new set takes the place of the rarest; of equally rare ones, as nearly all are where
    sets hardly ever repeat, the one next in turn goes, so that the others stay for a while.

    Only events whose labels are all known teach. An event costs O(labels asked about + members of the sets looked at),
    and a set that is new once ``N_SETS`` are kept a look at the count of each. State: 156 bytes a set, 12 a label.

    Examples
    --------
    >>> import numpy as np
    >>> from ihomer.events import Cells, Columns
    >>> from streams.batch import Batch
    >>> batch = Batch.from_arrays(np.zeros((200, 1)), np.tile([[1, 1, 0], [0, 0, 1]], (100, 1)))
    >>> events = Columns().admit(batch, batch.schema, learn=True)
    >>> cells = Cells.all(events)
    >>> half = np.full(len(cells.label), 0.5)
    >>> likely = LabelSetJoint().run(half, np.zeros(len(half), np.float32), events, cells)
    >>> likely.mass[-1, :2].round(1).tolist(), likely.size[-1, :2].tolist()
    ([0.5, 0.5], [2, 1])
    """

    def __init__(self) -> None:
        self._sets = np.zeros(N_SETS, SET)
        self._shared = np.zeros(1, SHARED)
        self._shared["novelty"] = _NOVELTY
        self._first = np.full(1, -1, np.int32)
        self._support = np.zeros(0)
        self._n_labels = 0
        # Working room, -infinity for every label between events.
        self._evidence = np.zeros(0)

    @property
    def novelty(self) -> float:
        """Rate at which label sets come that are not among those kept."""
        return float(self._shared["novelty"][0])

    def run(self, proba: NDArray[Any], prior_logit: NDArray[np.float32], events: Events, cells: Cells) -> Likely:
        """The likely sets of each event, before it is learned.

        Parameters
        ----------
        proba
            Of each cell, its marginal probability, float64 or float32; of cells not asked it is not looked at.
        prior_logit
            Of each cell, the logit of the label's prior: the first feature of `ihomer.temporal.LabelPast`.
        """
        likely = Likely.none(len(events.state))
        likely_sets(self.arrays(int(events.born[-1])), proba, prior_logit, events, cells, *likely)
        return likely

    def arrays(self, n_labels: int) -> tuple[NDArray[Any], ...]:
        """What is learned, with room for so many labels, as the kernel takes it."""
        n_labels = self._n_labels = max(self._n_labels, n_labels)
        self._support = with_room(self._support, n_labels)
        self._first = with_room(self._first, n_labels + 1, -1)
        if n_labels > len(self._evidence):
            self._evidence = np.full(len(self._support), -np.inf)
        return self._sets, self._shared, self._first, self._support, self._evidence

    def forget(self, share: float) -> None:
        """Give up a ``share``, from 0 to 1, of what was learned: how often sets came, the mixture, the novelty."""
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1, got {share}")
        kept = 1.0 - share
        self._sets["count"] *= kept
        self._support *= kept
        self._shared["mixture"] *= kept
        self._shared["learned"] *= kept
        self._shared["novelty"] = kept * self._shared["novelty"] + share * _NOVELTY

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Sets, their lists, mixture and label counts."""
        return {
            "sets": self._sets[: self._shared["sets"][0]].copy(),
            "shared": self._shared.copy(),
            "first": self._first[: self._n_labels + 1].copy(),
            "support": self._support[: self._n_labels].copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._sets[: len(state["sets"])] = state["sets"]
        self._shared, self._first, self._support = (state[name].copy() for name in ("shared", "first", "support"))
        self._n_labels = len(self._support)


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
def _find(sets, first, labels, code):
    """The row of a label set, or -1: it is filed under one of its labels."""
    n = labels.shape[0]
    for j in range(max(n, 1)):
        row = first[labels[j] + 1 if n else 0]
        while row >= 0:
            if sets["key"][row] == code and sets["size"][row] == n:
                same = True
                for k in range(n):
                    same &= sets["members"][row, k] == labels[k]
                if same:
                    return row
            row = sets["next"][row]
    return -1


@njit(cache=True, nogil=True)
def _unfile(sets, first, row):
    """Take a set out of its list."""
    filed, follower = sets["filed"], sets["next"]
    before, at = -1, first[filed[row]]
    while at != row:
        before, at = at, follower[at]
    if before < 0:
        first[filed[row]] = follower[row]
    else:
        follower[before] = follower[row]


@njit(cache=True, nogil=True)
def _file(sets, first, row, place):
    """Put a set at the head of the list ``place``."""
    sets["filed"][row], sets["next"][row] = place, first[place]
    first[place] = row


@njit(cache=True, nogil=True)
def _rarest(labels, support):
    """The list for a label set: that of its rarest label."""
    if labels.shape[0] == 0:
        return 0
    rarest = labels[0]
    for label in labels:
        if support[label] < support[rarest]:
            rarest = label
    return rarest + 1


@njit(cache=True, nogil=True)
def _keep(sets, shared, first, support, labels, code, at, weight):
    """Count a label set, whose row is ``at`` or -1."""
    count, n_sets = sets["count"], shared["sets"]
    place = _rarest(labels, support)
    if at < 0:
        if n_sets[0] < N_SETS:
            at = n_sets[0]
            n_sets[0] += 1
        else:
            at = shared["turn"][0]
            for k in range(1, N_SETS):
                row = (shared["turn"][0] + k) % N_SETS
                if count[row] < count[at]:
                    at = row
            shared["turn"][0] = (at + 1) % N_SETS
            _unfile(sets, first, at)
        sets["key"][at], sets["size"][at], count[at] = code, labels.shape[0], 0.0
        for j in range(LONGEST):
            sets["members"][at, j] = labels[j] if j < labels.shape[0] else 0
        _file(sets, first, at, place)
    elif sets["filed"][at] != place:
        _unfile(sets, first, at)
        _file(sets, first, at, place)
    count[at] += weight


@njit(cache=True, nogil=True)
def _look(sets, first, evidence, row, looked, score, m):
    """Note the possible ones among the sets of the list that starts with ``row``; return how many are noted."""
    count, size, follower, members = sets["count"], sets["size"], sets["next"], sets["members"]
    while row >= 0:
        shift = 0.0
        for j in range(size[row]):
            shift += evidence[members[row, j]]
        if shift > -np.inf and count[row] > 0:
            looked[m], score[m] = row, shift
            m += 1
        row = follower[row]
    return m


@njit(cache=True, nogil=True)
def _tilt(n_seen, score, part):
    """Write ``n_seen`` exp(b score) for the four tilts b, which are 7, 10, 14 and 20 times .05."""
    once = np.exp(0.05 * score)
    twice = once * once
    five = twice * twice * once
    seven, ten = five * twice, five * five
    part[0], part[1], part[2], part[3] = n_seen * seven, n_seen * ten, n_seen * (seven * seven), n_seen * (ten * ten)


@njit(cache=True, nogil=True)
def likely_sets(
    arrays: tuple[NDArray[Any], ...],
    proba: NDArray[Any],
    prior_logit: NDArray[np.float32],
    events: Events,
    cells: Cells,
    mass: NDArray[np.float64],
    size: NDArray[np.int64],
    members: NDArray[np.int32],
) -> None:
    """Write the fields of `Likely`, 0 before."""
    sets, shared, first, support, evidence = arrays
    mixture, novelties, learned = shared["mixture"][0], shared["novelty"], shared["learned"]
    looked, score = np.empty(N_SETS, np.int64), np.empty(N_SETS)
    part, norm, share = np.empty((N_SETS, 4)), np.zeros(4), np.zeros(4)
    best, most = np.zeros(N_PASSED, np.int64), np.zeros(N_PASSED)
    for i in range(len(events.state)):
        low, high = cells.start[i], cells.start[i + 1]
        novelty = novelties[0]
        # Logarithm of the probability that all labels are absent, as that of a product that is kept from vanishing.
        alone, absent = 0.0, 1.0
        for cell in range(low, high):
            if cells.asked[cell]:
                p = min(max(np.float64(proba[cell]), _SURE), 1.0 - _SURE)
                evidence[cells.label[cell]] = np.log(p / (1.0 - p)) - prior_logit[cell]
                absent *= 1.0 - p
                if absent < 1e-200:
                    alone += np.log(absent)
                    absent = 1.0
        alone += np.log(absent)

        m = _look(sets, first, evidence, first[0], looked, score, 0)
        for cell in range(low, high):
            if cells.asked[cell] and proba[cell] >= _POSSIBLE:
                m = _look(sets, first, evidence, first[cells.label[cell] + 1], looked, score, m)
        for cell in range(low, high):
            evidence[cells.label[cell]] = -np.inf

        highest = -np.inf
        for j in range(m):
            highest = max(highest, score[j])
        norm[:] = 0.0
        for j in range(m):
            _tilt(sets["count"][looked[j]], score[j] - highest, part[j])
            for b in range(4):
                norm[b] += part[j, b]
        top, total = np.max(mixture), 0.0
        for b in range(N_MODELS):
            total += np.exp(mixture[b] - top)
        for b in range(4):
            share[b] = (1.0 - novelty) * np.exp(mixture[b] - top) / (total * norm[b]) if m else 0.0
        n_best = 0
        for j in range(m):
            own = part[j, 0] * share[0] + part[j, 1] * share[1] + part[j, 2] * share[2] + part[j, 3] * share[3]
            if n_best < N_PASSED:
                n_best += 1
            elif own <= most[N_PASSED - 1]:
                continue
            place = n_best - 1
            while place > 0 and most[place - 1] < own:
                most[place], best[place] = most[place - 1], best[place - 1]
                place -= 1
            most[place], best[place] = own, looked[j]
        for place in range(n_best):
            row = best[place]
            if most[place] > 0.0:
                mass[i, place], size[i, place] = most[place], sets["size"][row]
                members[i, place, : sets["size"][row]] = sets["members"][row, : sets["size"][row]]

        if not events.taught[i] or events.state[i] != COMPLETE:
            continue
        labels = events.present[events.present_start[i] : events.present_start[i + 1]]
        for cell in range(low, high):
            # A label born with the event had no say in it; one that was overlooked was thought impossible.
            if cells.target[cell] > 0 and cells.label[cell] < events.born[i]:
                p = np.float64(proba[cell]) if cells.asked[cell] else 0.0
                p = min(max(p, _SURE), 1.0 - _SURE)
                alone += np.log(p / (1.0 - p))
        alone = np.exp(max(alone, -600.0))
        code = _key(labels)
        at = _find(sets, first, labels, code)
        place = -1
        for j in range(m):
            if looked[j] == at:
                place = j
        for b in range(N_MODELS):
            likelihood = alone
            if b < 4:
                likelihood *= novelty
                if place >= 0:
                    likelihood += (1.0 - novelty) * (part[place, b] / norm[b])
            mixture[b] = _MEMORY * mixture[b] + np.log(max(likelihood, 1e-9))
        rate = max(_NOVELTY_RATE, 1.0 / (learned[0] + 2.0))
        learned[0] += 1.0
        novelties[0] += rate * ((1.0 if at < 0 else 0.0) - novelty)
        for label in labels:
            support[label] += events.weight[i]
        if labels.shape[0] <= LONGEST:
            _keep(sets, shared, first, support, labels, code, at, events.weight[i])
