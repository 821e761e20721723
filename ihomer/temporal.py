"""What the past of the labels themselves says about the next event, whatever its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Events, read_targets
from learners.base import with_room
from streams.batch import COMPLETE, UNLABELLED

N_FEATURES = 6
"""Logit of the prior; halves of the logits of: the label's own Markov chain, "as before", three moving averages."""

LABEL = np.dtype(
    [
        ("present", np.float64),
        ("unknown", np.float64),
        ("before", np.float64),
        ("chain", np.float64, (2, 2)),
        ("average", np.float64, 3),
    ]
)

_AVERAGE = (0.5, 0.8, 0.97)
_CHAIN_DECAY, _PSEUDO = 0.998, 2.0
_REPEAT_DECAY = 0.98


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
    """

    def __init__(self) -> None:
        self._labels = np.zeros(0, LABEL)
        self._shared = np.zeros(3)
        self._n_labels = 0

    def run(self, events: Events, learn: bool) -> NDArray[np.float32]:
        """Features of shape (n, labels, 6), each taken before its event is learned (if ``learn``)."""
        n_labels = self._n_labels = int(events.born[-1])
        self._labels = with_room(self._labels, n_labels)
        features = np.zeros((len(events.state), n_labels, N_FEATURES), np.float32)
        _past(self._labels, self._shared, events, learn, features)
        return features

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The counts."""
        return {"labels": self._labels[: self._n_labels].copy(), "shared": self._shared.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._labels, self._shared = state["labels"].copy(), state["shared"].copy()
        self._n_labels = len(self._labels)


@njit(cache=True, nogil=True)
def _logit(p):
    p = min(max(p, 0.02), 0.98)
    return np.log(p / (1.0 - p))


@njit(cache=True, nogil=True)
def _past(labels, shared, events, learn, features):
    present, unknown, before = labels["present"], labels["unknown"], labels["before"]
    chain, average = labels["chain"], labels["average"]
    target = np.zeros(features.shape[1])
    for i in range(features.shape[0]):
        t, repeats, comparable = shared[0], shared[1], shared[2]
        rate = repeats / comparable if comparable > 0 else 0.0
        for label in range(events.born[i]):
            prior = (present[label] + 0.3) / (t - unknown[label] + 1.3)
            logit = np.log(prior / (1.0 - prior))
            last = before[label]
            row = 1 if last > 0 else 0
            stays = (chain[label, row, 1] + _PSEUDO * prior) / (chain[label, row, 0] + chain[label, row, 1] + _PSEUDO)
            out = features[i, label]
            out[0] = logit
            out[1] = 0.5 * np.log(stays / (1.0 - stays))
            out[2] = 0.5 * _logit(rate * last + (1.0 - rate) * prior)
            for j in range(3):
                out[3 + j] = 0.5 * _logit(average[label, j])
        if not learn or events.state[i] == UNLABELLED:
            continue
        n_labels = events.born[i + 1]
        read_targets(events, i, n_labels, target)
        same = True
        for label in range(n_labels):
            y = target[label]
            if np.isnan(y):
                unknown[label] += 1.0
                continue
            same &= y == before[label]
            row = 1 if before[label] > 0 else 0
            column = 1 if y > 0 else 0
            chain[label, row, 0] *= _CHAIN_DECAY
            chain[label, row, 1] *= _CHAIN_DECAY
            chain[label, row, column] += 1.0
            present[label] += y
            before[label] = y
            for j in range(3):
                average[label, j] += (1.0 - _AVERAGE[j]) * (y - average[label, j])
        if events.state[i] == COMPLETE:
            shared[1] = _REPEAT_DECAY * repeats + (1.0 if same else 0.0)
            shared[2] = _REPEAT_DECAY * comparable + 1.0
        shared[0] = t + 1.0
