"""When a label moves from the learner that answers for it to its heir: a comparison of their losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.batch import COMPLETE, PARTIAL, Batch

LABEL = np.dtype(
    [
        ("owner", np.int32),
        ("heir", np.int32),
        ("placed", np.bool_),
        ("seen", np.int64),
        ("weight", np.float64),
        ("mean", np.float64),
        ("square", np.float64),
    ]
)
"""Of each label: the numbers of the learner that answers for it and of the one that is to take over (-1: none), whether
the present clusters have it, and by how much the heir's loss has been above the owner's: events compared, their decayed
number, the mean of the differences and their sum of squares about it."""

NOBODY = -1
"""In place of the number of a learner: there is none."""

_SURE = 1e-3
"""Probabilities count as at least this far from 0 and 1, so that no single event decides a hand-over."""


def targets_of(batch: Batch, columns: NDArray[np.int64], n_labels: int) -> NDArray[np.float64]:
    """1 (present), 0 (absent) or NaN (unknown) of these labels, shape (n, labels)."""
    targets = batch.y.to_dense(n_labels)[:, columns].astype(np.float64)
    known = np.repeat(batch.label_state[:, None] == COMPLETE, len(columns), 1)
    if batch.known is not None:
        known |= (batch.label_state[:, None] == PARTIAL) & (batch.known.to_dense(n_labels)[:, columns] > 0)
    targets[~known] = np.nan
    return targets


@njit(cache=True, nogil=True)
def compare(
    labels: NDArray[Any],
    columns: NDArray[np.int64],
    by_owner: NDArray[np.float64],
    by_heir: NDArray[np.float64],
    targets: NDArray[np.float64],
    is_proba: bool,
    min_events: int,
    decay: float,
    log_odds: float,
) -> NDArray[np.int64]:
    """Compare what heirs and owners said, event by event: the event after which each label moves, or -1."""
    n, m = targets.shape
    moved = np.full(m, -1)
    seen, weight, mean, square = labels["seen"], labels["weight"], labels["mean"], labels["square"]
    for j in range(m):
        label = columns[j]
        for i in range(n):
            if np.isnan(targets[i, j]):
                continue
            gap = _loss(by_heir[i, j], targets[i, j], is_proba) - _loss(by_owner[i, j], targets[i, j], is_proba)
            seen[label] += 1
            weight[label] = decay * weight[label] + 1.0
            before = gap - mean[label]
            mean[label] += before / weight[label]
            square[label] = decay * square[label] + before * (gap - mean[label])
            if seen[label] < min_events:
                continue
            variance = square[label] / weight[label]
            if mean[label] <= np.sqrt(2.0 * variance * log_odds / weight[label]):
                moved[j] = i
                break
    return moved


@njit(cache=True, nogil=True)
def _loss(said: float, target: float, is_proba: bool) -> float:
    if not is_proba:
        return abs(said - target)
    right = said if target > 0 else 1.0 - said
    return -math.log(min(max(right, _SURE), 1.0 - _SURE))
