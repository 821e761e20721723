"""Counting true, predicted and shared labels of each event of a batch: the kernels below the metrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.evaluation.arguments import DENSE_PROBA, NO_PROBA
from ihomer.evaluation.scopes import RESCALE, faded
from streams.batch import COMPLETE, UNLABELLED

SCALARS = np.dtype([("n_scored", np.int64), ("n_log", np.int64), ("n_cells", np.int64), ("scale", np.float64)])
"""Events scored, entries in the log of events and in the log of cells, and the weight of the next event in the faded
sums."""

EVENT = np.dtype(
    [
        ("n_true", np.int32),
        ("n_predicted", np.int32),
        ("n_hits", np.int32),
        ("n_known", np.int32),
        ("log_loss", np.float64),
        ("brier", np.float64),
    ]
)
"""What the sliding window remembers of an event: sizes of the true set, the predicted one and both; number of known
cells, -1 for all; the losses summed over its cells, NaN without probabilities."""

N_SUMS = 12
(
    N_COMPLETE,
    N_PARTIAL_CELLS,
    EXACT,
    PRECISION,
    RECALL,
    F1,
    JACCARD,
    BOTH_EMPTY,
    N_COMPLETE_PROBA,
    N_PARTIAL_PROBA_CELLS,
    LOG_LOSS,
    BRIER,
) = range(N_SUMS)
"""Columns of the sums over events."""

TRUE, PREDICTED = 1, 2
"""Bits of a cell in the log; the label stands above them. Their sum less one is the column of the outcome counts:
missed, false alarm, hit."""

PROBABILITY_FLOOR = 1e-7
"""The least probability of the truth that log loss reckons with."""

_PRODUCT_FLOOR = 1e-290
"""Probabilities are multiplied until they fall below this, then the logarithm is taken; one more factor of at least
``PROBABILITY_FLOOR`` stays a normal float64."""


@njit(cache=True, nogil=True)
def count_batch(
    scalars: NDArray[Any],
    sums: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    log: NDArray[Any],
    cells: NDArray[np.int32],
    fading: float,
    start: int,
    state: NDArray[np.uint8],
    y_indptr: NDArray[np.int64],
    y: NDArray[np.int32],
    known_indptr: NDArray[np.int64],
    known: NDArray[np.int32],
    z_indptr: NDArray[np.int64],
    z: NDArray[np.int32],
    kind: int,
    dense: NDArray[np.float32],
    listed_indptr: NDArray[np.int64],
    listed: NDArray[np.int32],
    values: NDArray[np.float32],
) -> int:
    """Score the events from ``start`` on; the number of events, or of the first one that there is no room for, or
    ``-1 - i`` where event ``i`` has a probability outside [0, 1]."""
    n = len(state)
    scale, n_log, n_cells = scalars["scale"][0], scalars["n_log"][0], scalars["n_cells"][0]
    i = start
    while i < n:
        if state[i] == UNLABELLED:
            i += 1
            continue
        a, a_end, b, b_end = y_indptr[i], y_indptr[i + 1], z_indptr[i], z_indptr[i + 1]
        n_true, n_predicted, n_hits, n_known = 0, 0, 0, -1
        k, k_end = 0, 0
        if state[i] != COMPLETE:
            k, k_end = known_indptr[i], known_indptr[i + 1]
            n_known = k_end - k
        if n_log == len(log) or n_cells + a_end - a + b_end - b > len(cells):
            break
        if (a < a_end and y[a_end - 1] >= len(outcomes)) or (b < b_end and z[b_end - 1] >= len(outcomes)):
            break

        log_loss, brier = np.nan, np.nan
        if kind != NO_PROBA:
            first, last = (0, dense.shape[1]) if kind == DENSE_PROBA else (listed_indptr[i], listed_indptr[i + 1])
            row = dense[i] if kind == DENSE_PROBA else values
            log_loss, brier = _losses(
                kind == DENSE_PROBA, first, last, row, listed, y[a:a_end], n_known, known[k:k_end]
            )
            if np.isnan(log_loss):
                i = -1 - i
                break

        while a < a_end or b < b_end:
            bits = 0
            label = y[a] if a < a_end and (b == b_end or y[a] <= z[b]) else z[b]
            if a < a_end and y[a] == label:
                bits |= TRUE
                a += 1
            if b < b_end and z[b] == label:
                bits |= PREDICTED
                b += 1
            if n_known >= 0:
                while k < k_end and known[k] < label:
                    k += 1
                if k == k_end or known[k] != label:
                    continue
            outcomes[label, 0, bits - 1] += 1.0
            outcomes[label, 1, bits - 1] += scale
            n_true += bits & TRUE
            n_predicted += bits >> 1
            n_hits += bits == TRUE | PREDICTED
            cells[n_cells] = label << 2 | bits
            n_cells += 1
        event = (n_true, n_predicted, n_hits, n_known, log_loss, brier)
        _tally(sums[0], 1.0, event)
        _tally(sums[1], scale, event)
        log["n_true"][n_log] = n_true
        log["n_predicted"][n_log] = n_predicted
        log["n_hits"][n_log] = n_hits
        log["n_known"][n_log] = n_known
        log["log_loss"][n_log] = log_loss
        log["brier"][n_log] = brier
        n_log += 1
        scalars["n_scored"][0] += 1
        scale /= fading
        if scale * RESCALE > 1.0:
            scale *= RESCALE
            for j in range(N_SUMS):
                sums[1, j] = faded(sums[1, j])
            for label in range(len(outcomes)):
                for j in range(3):
                    outcomes[label, 1, j] = faded(outcomes[label, 1, j])
        i += 1
    scalars["scale"][0], scalars["n_log"][0], scalars["n_cells"][0] = scale, n_log, n_cells
    return i


@njit(cache=True, nogil=True)
def _losses(
    is_dense: bool,
    first: int,
    last: int,
    row: NDArray[np.float32],
    listed: NDArray[np.int32],
    true: NDArray[np.int32],
    n_known: int,
    known: NDArray[np.int32],
) -> tuple[float, float]:
    """Log loss and Brier score summed over the known cells of an event; NaN if a probability is not in [0, 1]."""
    log_loss, brier, product = 0.0, 0.0, 1.0
    t, k = 0, 0
    for c in range(first, last):
        label = c if is_dense else listed[c]
        p = np.float64(row[c])
        if not 0.0 <= p <= 1.0:
            return np.nan, np.nan
        while t < len(true) and true[t] < label:
            t += 1
            brier += 1.0
            log_loss -= math.log(PROBABILITY_FLOOR)
        if n_known >= 0:
            while k < len(known) and known[k] < label:
                k += 1
            if k == len(known) or known[k] != label:
                continue
        truth, other = 1.0 - p, p
        if t < len(true) and true[t] == label:
            t += 1
            truth, other = p, 1.0 - p
        brier += other * other
        product *= max(truth, PROBABILITY_FLOOR)
        if product < _PRODUCT_FLOOR:
            log_loss -= math.log(product)
            product = 1.0
    n_unlisted = len(true) - t
    return log_loss - math.log(product) - n_unlisted * math.log(PROBABILITY_FLOOR), brier + n_unlisted


@njit(cache=True, nogil=True)
def _tally(sums: NDArray[np.float64], weight: float, event: tuple[int, int, int, int, float, float]) -> None:
    """Add an event to the sums of one scope."""
    n_true, n_predicted, n_hits, n_known, log_loss, brier = event
    if not np.isnan(log_loss):
        sums[LOG_LOSS] += weight * log_loss
        sums[BRIER] += weight * brier
        if n_known < 0:
            sums[N_COMPLETE_PROBA] += weight
        else:
            sums[N_PARTIAL_PROBA_CELLS] += weight * n_known
    if n_known >= 0:
        sums[N_PARTIAL_CELLS] += weight * n_known
        return
    sums[N_COMPLETE] += weight
    if n_true == n_hits and n_predicted == n_hits:
        sums[EXACT] += weight
    if n_hits > 0:
        sums[PRECISION] += weight * (n_hits / n_predicted)
        sums[RECALL] += weight * (n_hits / n_true)
        sums[F1] += weight * (2 * n_hits / (n_true + n_predicted))
        sums[JACCARD] += weight * (n_hits / (n_true + n_predicted - n_hits))
    elif n_true + n_predicted == 0:
        sums[BOTH_EMPTY] += weight


@njit(cache=True, nogil=True)
def count_again(
    log: NDArray[Any], cells: NDArray[np.int32], sums: NDArray[np.float64], outcomes: NDArray[np.float64]
) -> None:
    """Count the events of a log again, unweighted, into sums of shape (1, N_SUMS) and outcomes (n_labels, 1, 3)."""
    for i in range(len(log)):
        event = (
            log["n_true"][i], log["n_predicted"][i], log["n_hits"][i],
            log["n_known"][i], log["log_loss"][i], log["brier"][i],
        )  # fmt: skip
        _tally(sums[0], 1.0, event)
    for cell in cells:
        outcomes[cell >> 2, 0, (cell & 3) - 1] += 1.0


@njit(cache=True, nogil=True)
def ratios(outcomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Precision, recall and F1, 0 for 0/0, of shape (3, k), from misses, false alarms and hits of shape (3, k)."""
    found = np.zeros(outcomes.shape)
    for label in range(outcomes.shape[1]):
        missed, alarms, hits = outcomes[0, label], outcomes[1, label], outcomes[2, label]
        if hits > 0:
            found[0, label] = hits / (hits + alarms)
            found[1, label] = hits / (hits + missed)
            found[2, label] = 2 * hits / (2 * hits + missed + alarms)
    return found
