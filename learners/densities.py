"""The kernels of naive Bayes: products of probabilities and densities, for the labels side by side."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners import threshold as thresholding
from streams.batch import PARTIAL, UNLABELLED

Floats = NDArray[np.float64]

COUNT, MEAN, SQUARES, HITS = 0, 1, 2, 1
"""Tables: the weight of the values seen; their mean and summed squared distance from it, or of it what was true."""

HIGHEST = 1e60
"""No density is taken to be higher. Numbers of float32 do not reach it."""

LEAST = 1e-300
"""Keeps a division by a count of 0 from giving NaN; what is divided is 0 there."""

LOG2E, HALF_TAU = 1 / math.log(2), 1 / math.tau
LN2, LN2_HIGH = math.log(2), 0.693147180369123816490
LN2_LOW = 1.90821492927058770002e-10
"""ln 2 in two parts, the first so short that its product with an exponent is exact."""

TO_INTEGER = 1.5 * 2.0**52
"""Added to a number, leaves it rounded to an integer in the last bits."""

ONE, FRACTION = 1023 << 52, (1 << 52) - 1
"""The bits of 1.0, and those of a float64 that hold its fraction."""


@njit(cache=True, nogil=True, error_model="numpy")
def run(
    dense: NDArray[np.float32],
    inputs: NDArray[np.int32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    sparse: bool,
    y_indptr: NDArray[np.int64],
    y_indices: NDArray[np.int32],
    label_state: NDArray[np.uint8],
    known_indptr: NDArray[np.int64],
    known_indices: NDArray[np.int32],
    event_weight: Floats,
    columns: NDArray[np.int32],
    whole_of: NDArray[np.int32],
    sizes: NDArray[np.int64],
    tables: Floats,
    totals: Floats,
    settings: Floats,
    gaussian: bool,
    learn: bool,
    proba: Floats,
    thresholds: Floats,
) -> None:
    """Answer each event in ``proba`` and ``thresholds``; then, if ``learn``, learn it before the next.

    ``tables`` has shape (tables, inputs, lanes): a lane for every label absent, then one for every label present.
    ``columns`` are the input numbers of the columns in their order; ``sizes`` has at that of a nominal one how many of
    its categories were seen, at others -1; ``whole_of`` has at the numbers of categories that of their column.
    """
    n, n_labels = proba.shape
    n_lanes = tables.shape[2]
    width = n_lanes // 2
    value = np.zeros(tables.shape[1])
    category = np.zeros(tables.shape[1], np.int32)
    inverse = np.zeros(n_lanes)
    product = np.zeros(n_lanes)
    exponent = np.zeros(n_lanes, np.int64)
    p = np.zeros(width)
    absent = np.zeros(width)
    for t in range(n):
        present = y_indices[y_indptr[t] : y_indptr[t + 1]]
        known = known_indices[known_indptr[t] : known_indptr[t + 1]]
        partial = label_state[t] == PARTIAL
        learns = learn and label_state[t] != UNLABELLED and (len(known) > 0 or not partial)
        cells = slice(indptr[t], indptr[t + 1])
        _unpack(dense[t], inputs, indices[cells], data[cells], sparse, whole_of, value, category)
        _multiply(columns, sizes, value, category, sparse, gaussian, tables, settings, inverse, product, exponent)
        _posterior(tables[COUNT, 0], product, exponent, p)
        thresholds[t] = thresholding.current(settings[0], totals)
        for label in range(n_labels):
            proba[t, label] = p[label]
        if not learns:
            continue

        weight = event_weight[t]
        if partial:
            absent[:] = 0
            for label in known:
                absent[label] = weight
        else:
            absent[:] = weight
        thresholding.count(p, absent, present, n_labels, thresholds[t], totals)
        for label in present:
            absent[label] = 0
        _count(tables[COUNT, 0], absent, present, weight)
        for k in range(dense.shape[1]):
            if not np.isnan(dense[t, k]):
                _learn_number(np.float64(dense[t, k]), tables, inputs[k], absent, present, weight, gaussian, settings)
        for k in range(indptr[t], indptr[t + 1]):
            if data[k] == 0 or np.isnan(data[k]):
                continue
            row = indices[k]
            if whole_of[row] >= 0:
                sizes[whole_of[row]] += not _seen(tables[COUNT, row])
                _count(tables[COUNT, row], absent, present, weight)
                _count(tables[COUNT, whole_of[row]], absent, present, weight)
            else:
                _learn_number(np.float64(data[k]), tables, row, absent, present, weight, gaussian, settings)


@njit(cache=True, nogil=True)
def _unpack(
    dense: NDArray[np.float32],
    inputs: NDArray[np.int32],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    sparse: bool,
    whole_of: NDArray[np.int32],
    value: Floats,
    category: NDArray[np.int32],
) -> None:
    """The cells of an event by column: its number, NaN for missing, or the input of its category, -1 if not listed."""
    value[:] = 0.0 if sparse else np.nan
    category[:] = -1
    for k in range(len(dense)):
        value[inputs[k]] = dense[k]
    for k in range(len(data)):
        if data[k] == 0 or np.isnan(data[k]):
            continue
        row = indices[k]
        if whole_of[row] >= 0:
            category[whole_of[row]] = row
        else:
            value[row] = data[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(
    columns: NDArray[np.int32],
    sizes: NDArray[np.int64],
    value: Floats,
    category: NDArray[np.int32],
    sparse: bool,
    gaussian: bool,
    tables: Floats,
    settings: Floats,
    inverse: Floats,
    product: Floats,
    exponent: NDArray[np.int64],
) -> None:
    """The probability of an event's features in every lane, as ``product`` times 2 to the ``exponent``.

    Four factors at most come between two turns of ``_normalise``: the lowest is 1e-30, the highest 1e60.
    """
    floor, alpha, true_threshold = settings[1], settings[2], settings[3]
    count = tables[COUNT]
    product[:] = 1.0
    exponent[:] = 0
    for lane in range(len(inverse)):
        inverse[lane] = 1 / max(count[0, lane], LEAST)
    factors = 0
    for row in columns:
        total = count[0] if sparse else count[row]
        if sizes[row] >= 0:
            listed, size = category[row], sizes[row] + sparse
            if listed >= 0 and _seen(count[listed]):
                _share(count[listed], total, False, alpha, size, floor, product)
            elif listed < 0 and sparse:
                _share(count[row], total, True, alpha, size, floor, product)
        elif np.isnan(value[row]):
            continue
        elif gaussian and sparse:
            mean, squares = tables[MEAN, row], tables[SQUARES, row]
            if _seen(count[row]):
                _density_among_zeros(value[row], total, inverse, count[row], mean, squares, floor, product)
        elif gaussian:
            _density(value[row], total, tables[MEAN, row], tables[SQUARES, row], floor, product)
        elif _seen(count[row]):
            _share(tables[HITS, row], total, not value[row] > true_threshold, alpha, 2.0, floor, product)
        factors += 1
        if factors % 4 == 0:
            _normalise(product, exponent)
    _normalise(product, exponent)


@njit(cache=True, nogil=True)
def _seen(count: Floats) -> bool:
    """Whether any lane has a count; mostly the first one has."""
    lane = 0
    while lane < len(count) and count[lane] == 0:
        lane += 1
    return lane < len(count)


@njit(cache=True, nogil=True, error_model="numpy")
def _share(part: Floats, total: Floats, rest: bool, alpha: float, size: float, floor: float, product: Floats) -> None:
    """Multiply with the smoothed share of a part of the total, or of the rest; one of ``size`` where all is 0."""
    for lane in range(len(product)):
        counted = max(total[lane] - part[lane], 0.0) if rest else part[lane]
        of = total[lane] + alpha * size
        product[lane] *= floor + ((counted + alpha) / of if of > 0 else 1 / size)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _density(x: float, count: Floats, mean: Floats, squares: Floats, floor: float, product: Floats) -> None:
    """Multiply with the normal density of x among the values seen.

    The flag lets a product and a sum become one instruction, which takes a third off the time.
    """
    for lane in range(len(product)):
        gap = x - mean[lane]
        precision = count[lane] / squares[lane]
        density = min(_exp(max(-0.5 * gap * gap * precision, -700.0)) * np.sqrt(precision * HALF_TAU), HIGHEST)
        product[lane] *= floor + (density if squares[lane] > 0 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _density_among_zeros(
    x: float,
    total: Floats,
    inverse: Floats,
    count: Floats,
    mean: Floats,
    squares: Floats,
    floor: float,
    product: Floats,
) -> None:
    """The same where the values seen are those that are not 0, and all others of ``total``, 1 / ``inverse``, are 0."""
    for lane in range(len(product)):
        share = count[lane] * inverse[lane]
        spread = squares[lane] + mean[lane] * mean[lane] * count[lane] * max(1.0 - share, 0.0)
        gap = x - mean[lane] * share
        precision = total[lane] / spread
        density = min(_exp(max(-0.5 * gap * gap * precision, -700.0)) * np.sqrt(precision * HALF_TAU), HIGHEST)
        product[lane] *= floor + (density if spread > 0 else 0.0)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _exp(x: float) -> float:
    """e to the x for x in [-700, 700], relative error below 1e-14.

    x is k ln 2 + r with r at most 0.35, e^r a Taylor polynomial and 2^k made of its bits. Unlike the library's exp,
    a loop over it is compiled to vector instructions.
    """
    shifted = x * LOG2E + TO_INTEGER
    k = shifted - TO_INTEGER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    e = 1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * (1 / 39916800 + r * (1 / 479001600))))
    e = 1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * e)))
    e = 1.0 + r * (1.0 + r * (1 / 2 + r * (1 / 6 + r * e)))
    power = (np.float64(shifted).view(np.int64) << 52) + ONE
    return e * np.int64(power).view(np.float64)


@njit(cache=True, nogil=True)
def _normalise(product: Floats, exponent: NDArray[np.int64]) -> None:
    """Move the powers of two of the product, which is above 0, to the exponent: [1, 2) is left."""
    for lane in range(len(product)):
        bits = np.float64(product[lane]).view(np.int64)
        exponent[lane] += (bits >> 52) - 1023
        product[lane] = np.int64((bits & FRACTION) | ONE).view(np.float64)


@njit(cache=True, nogil=True, error_model="numpy")
def _posterior(weight: Floats, product: Floats, exponent: NDArray[np.int64], p: Floats) -> None:
    """Probability that a label is present, 0 for one that never was and 1 for one that always was."""
    width = len(p)
    for label in range(width):
        absent, present = weight[label], weight[width + label]
        if absent > 0 and present > 0:
            odds = np.log(present * product[width + label] / (absent * product[label]))
            odds += (exponent[width + label] - exponent[label]) * LN2
            p[label] = 1 / (1 + np.exp(-odds))
        else:
            p[label] = 1.0 if present > 0 else 0.0


@njit(cache=True, nogil=True)
def _count(count: Floats, absent: Floats, present: NDArray[np.int32], weight: float) -> None:
    width = len(absent)
    for label in range(width):
        count[label] += absent[label]
    for label in present:
        count[width + label] += weight


@njit(cache=True, nogil=True, error_model="numpy")
def _learn_number(
    x: float,
    tables: Floats,
    row: int,
    absent: Floats,
    present: NDArray[np.int32],
    weight: float,
    gaussian: bool,
    settings: Floats,
) -> None:
    """Take a value in: West's step for every label known to be absent, then for those present; or count it."""
    width = len(absent)
    if not gaussian:
        _count(tables[COUNT, row], absent, present, weight)
        if x > settings[3]:
            _count(tables[HITS, row], absent, present, weight)
        return
    count, mean, squares = tables[COUNT, row], tables[MEAN, row], tables[SQUARES, row]
    for label in range(width):
        w = absent[label]
        total = count[label] + w
        gap = x - mean[label]
        centre = mean[label] + w / max(total, LEAST) * gap
        count[label], mean[label] = total, centre
        squares[label] += w * gap * (x - centre)
    for label in present:
        lane = width + label
        count[lane] += weight
        gap = x - mean[lane]
        mean[lane] += weight / count[lane] * gap
        squares[lane] += weight * gap * (x - mean[lane])


def merge_moments(tables: Floats, addend: Floats) -> None:
    """Add the counts, means and squares of other events to ``tables`` (Chan, Golub and LeVeque)."""
    count, mean, squares = tables
    their_count, their_mean, their_squares = addend
    total = count + their_count
    share = their_count / np.maximum(total, LEAST)
    gap = their_mean - mean
    squares += their_squares + gap * gap * count * share
    mean += gap * share
    count[:] = total
