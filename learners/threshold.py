"""Where a label is predicted: above a fixed probability, or above half of the F1 that was reached so far."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

HITS, CLAIMS = 0, 1
"""Places in what ``count`` writes: the labels predicted rightly, and the labels predicted plus those present. F1 is
twice the one divided by the other."""

START = (1.0, 2.0)
"""Hits and claims before the first event: F1 1, threshold one half."""


def fixed(threshold: float | str) -> float:
    """The setting as kernels take it: -1 for ``"f1"``.

    Raises
    ------
    ValueError
        It is neither ``"f1"`` nor in (0, 1).
    """
    if threshold == "f1":
        return -1.0
    if isinstance(threshold, str) or not 0 < threshold < 1:
        raise ValueError(f"threshold must be in (0, 1) or 'f1', got {threshold!r}")
    return float(threshold)


@njit(cache=True, nogil=True)
def current(fixed: float, totals: NDArray[np.float64]) -> float:
    """The threshold of the next event."""
    return fixed if fixed > 0 else totals[HITS] / totals[CLAIMS]


@njit(cache=True, nogil=True)
def count(
    p: NDArray[Any],
    live: NDArray[Any],
    present: NDArray[np.int32],
    n_labels: int,
    threshold: float,
    totals: NDArray[np.float64],
) -> None:
    """Count hits and claims of an event in its known cells, those where ``live`` is above 0."""
    claims = len(present)
    for label in range(n_labels):
        if live[label] > 0 and p[label] > threshold:
            claims += 1
    hits = 0
    for label in present:
        if p[label] > threshold:
            hits += 1
    totals[HITS] += hits
    totals[CLAIMS] += claims
