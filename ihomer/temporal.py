"""What the past of the labels themselves says about the next event, whatever its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from ihomer.fetching import fetch
from learners.base import with_room
from streams.batch import COMPLETE

N_FEATURES = 6
"""Logit of the prior; halves of the logits of: the label's own Markov chain, "as before", three moving averages."""

LABEL = np.dtype(
    [
        ("met", np.int64),
        ("known", np.float64),
        ("present", np.float64),
        ("before", np.float64),
        ("chain", np.float64, (2, 2)),
        ("average", np.float64, 3),
    ]
)
"""``met``: complete events until the label was last learned, itself included, plus one; 0: never."""

SHARED = np.dtype(
    [
        ("taught", np.float64),
        ("complete", np.int64),
        ("standing", np.int64),
        ("repeats", np.float64),
        ("comparable", np.float64),
    ]
)
"""``standing``: labels whose last known state is present."""

_AVERAGE = (0.5, 0.8, 0.97)
_CHAIN_DECAY, _PSEUDO = 0.998, 2.0
_REPEAT_DECAY = 0.98

_N_POWERS = 4096


def _powers(base: float) -> NDArray[np.float64]:
    """``base`` to the 0, 1, 2 ..., by the products that the compiler makes of ``**``, so that both give the same."""
    power, n = np.ones(_N_POWERS), np.arange(_N_POWERS)
    while n.any():
        power[n & 1 == 1] *= base
        base, n = base * base, n >> 1
    return power


_POWERS = np.stack([_powers(decay) for decay in (*_AVERAGE, _CHAIN_DECAY)], axis=1)
"""What is left of averages and chain after n events: looking it up takes less time than computing it."""

_LEAST = 0.5 * math.log(0.02 / (1.0 - 0.02))
"""Half of the logit of the least probability that one is taken of."""

_AHEAD = 8
"""Cells after which a label's counts are needed that memory is asked for."""


class LabelPast:
    """Per label and event: how often it occurs, what it does after itself, and how it has been lately.

    Notes
    -----
    prior = (n + 0.3) / (t + 1.3) of t events with the label known; Markov chain: share of presence after the label's
    last known state, counts decayed by 0.998 a visit, two pseudo-events at the prior; "as before": r times the last
    state plus (1 - r) times the prior, r a moving rate (0.98) of label sets equal to the one before; moving averages
    with factors 0.5, 0.8, 0.97. Logits are taken of probabilities between 0.02 and 0.98, the prior's and the
    chain's of what they are.

    These say much where a stream is grouped in time, and labels come at once.

    A label that a complete event does not list was absent there, and one that a partly labelled event does not list was
    unknown. What a label missed is caught up in closed form when it is listed again: after g absences in state "absent"
    its count of staying is c d^g + (1 - d^g) / (1 - d), that of leaving c d^g with d = 0.998, and an average with
    factor a is a^g times what it was. An event costs time proportional to its cells. State: 88 bytes a label.

    Examples
    --------
    >>> import numpy as np
    >>> from ihomer.events import Cells, Columns
    >>> from streams.batch import Batch
    >>> batch = Batch.from_arrays(np.zeros((300, 1)), np.repeat([[1, 0], [0, 1], [1, 0]], 100, axis=0))
    >>> events = Columns().admit(batch, batch.schema, learn=True)
    >>> features = LabelPast().run(events, Cells.all(events))
    >>> features[-2:].astype(float).round(1).tolist()  # in the last event: the first label, then the second
    [[0.7, 2.3, 1.9, 1.9, 1.9, 1.5], [-0.7, -2.1, -1.9, -1.9, -1.9, -1.5]]
    """

    def __init__(self) -> None:
        self._labels = np.zeros(0, LABEL)
        self._shared = np.zeros(1, SHARED)
        self._n_labels = 0

    def run(self, events: Events, cells: Cells) -> NDArray[np.float32]:
        """Features of shape (cells, 6), those of an event taken before it is learned."""
        features = np.empty((len(cells.label), N_FEATURES), np.float32)
        past_features(self.arrays(int(events.born[-1])), events, cells, features)
        return features

    def arrays(self, n_labels: int) -> tuple[NDArray[Any], ...]:
        """The counts, with room for so many labels, as the kernel takes them."""
        self._n_labels, self._labels = n_labels, with_room(self._labels, n_labels)
        return self._labels, self._shared

    def forget(self) -> None:
        """Count anew from now on how often each label occurs; what it does after itself, and has done lately, stays."""
        labels, shared = self._labels, self._shared
        # Events since a label was last met count as soon as it is met again, and must not.
        labels["known"] = np.where(labels["met"] > 0, labels["met"] - shared["complete"] - 1.0, 0.0)
        labels["present"] = 0.0
        shared["taught"] = 0.0

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The counts."""
        return {"labels": self._labels[: self._n_labels].copy(), "shared": self._shared.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._labels, self._shared = state["labels"].copy(), state["shared"].copy()
        self._n_labels = len(self._labels)


@njit(cache=True, nogil=True)
def _half_logit(p):
    # Most are rare labels' and at the bound.
    if p <= 0.02:
        return _LEAST
    p = min(p, 0.98)
    return 0.5 * np.log(p / (1.0 - p))


@njit(cache=True, nogil=True)
def _left(which, n):
    """What is left after ``n`` events of an average, or of the chain, which is number 3."""
    if n < _N_POWERS:
        return _POWERS[n, which]
    return (_AVERAGE[which] if which < 3 else _CHAIN_DECAY) ** n


@njit(cache=True, nogil=True)
def _pass_absent(chain, average, row, gap):
    """Let ``gap`` events pass over a label that was in state ``row`` and has been absent since."""
    if row == 1:
        chain[1, 0] = chain[1, 0] * _CHAIN_DECAY + 1.0
        chain[1, 1] *= _CHAIN_DECAY
    stays = gap - row
    if stays > 0:
        kept = _left(3, stays)
        chain[0, 0] = chain[0, 0] * kept + (1.0 - kept) / (1.0 - _CHAIN_DECAY)
        chain[0, 1] *= kept
    for j in range(3):
        average[j] *= _left(j, gap)


@njit(cache=True, nogil=True)
def past_features(
    arrays: tuple[NDArray[Any], ...], events: Events, cells: Cells, features: NDArray[np.float32]
) -> None:
    """Write the features of `LabelPast`."""
    labels, shared = arrays
    shared_taught, shared_complete, shared_standing = shared["taught"], shared["complete"], shared["standing"]
    shared_repeats, shared_comparable = shared["repeats"], shared["comparable"]
    met, all_known, all_present, all_before = labels["met"], labels["known"], labels["present"], labels["before"]
    all_chains, all_averages = labels["chain"], labels["average"]
    chain, average = np.empty((2, 2)), np.empty(3)
    for i in range(len(events.state)):
        complete = shared_complete[0]
        rate = shared_repeats[0] / max(shared_comparable[0], 1.0)
        standing, returned = shared_standing[0], 0
        for cell in range(cells.start[i], cells.start[i + 1]):
            label, y = cells.label[cell], cells.target[cell]
            fetch(labels, cells.label[min(cell + _AHEAD, cells.start[i + 1] - 1)])
            # Before it is met a label counts as known and absent, but that is no run of absences for chain or averages.
            gap = complete + 1 - met[label] if met[label] else 0
            known, before = all_known[label] + gap if met[label] else shared_taught[0], all_before[label]
            row = 1 if before > 0 else 0
            # A copy, since an event that teaches nothing must leave no trace.
            for j in range(2):
                chain[j, 0], chain[j, 1] = all_chains[label, j, 0], all_chains[label, j, 1]
            for j in range(3):
                average[j] = all_averages[label, j]
            if gap > 0:
                _pass_absent(chain, average, row, gap)
                before, row = 0.0, 0

            prior = (all_present[label] + 0.3) / (known + 1.3)
            present = (chain[row, 1] + _PSEUDO * prior) / (chain[row, 0] + chain[row, 1] + _PSEUDO)
            out = features[cell]
            out[0] = np.log(prior / (1.0 - prior))
            out[1] = 0.5 * np.log(present / (1.0 - present))
            out[2] = _half_logit(rate * before + (1.0 - rate) * prior)
            for j in range(3):
                out[3 + j] = _half_logit(average[j])

            if not events.taught[i]:
                continue
            met[label] = complete + (2 if events.state[i] == COMPLETE else 1)
            if not np.isnan(y):
                known += 1.0
                column = 1 if y > 0 else 0
                returned += row & column
                standing += column - row
                chain[row, 0] *= _CHAIN_DECAY
                chain[row, 1] *= _CHAIN_DECAY
                chain[row, column] += 1.0
                all_present[label] += column
                before = np.float64(column)
                for j in range(3):
                    average[j] += (1.0 - _AVERAGE[j]) * (before - average[j])
            all_known[label], all_before[label] = known, before
            for j in range(2):
                all_chains[label, j, 0], all_chains[label, j, 1] = chain[j, 0], chain[j, 1]
            for j in range(3):
                all_averages[label, j] = average[j]
        if events.taught[i]:
            if events.state[i] == COMPLETE:
                n_present = events.present_start[i + 1] - events.present_start[i]
                same = n_present == shared_standing[0] and n_present == returned
                shared_repeats[0] = _REPEAT_DECAY * shared_repeats[0] + (1.0 if same else 0.0)
                shared_comparable[0] = _REPEAT_DECAY * shared_comparable[0] + 1.0
                shared_complete[0] += 1
                standing = n_present
            shared_standing[0] = standing
            shared_taught[0] += 1.0
