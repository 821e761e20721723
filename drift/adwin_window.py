"""The windows of ADWIN: values in buckets that double in size, what goes in and out, and the test of every cut.

Bucket b of row r holds ``2 ** r`` values as their sum, ``rows[r, b, 0]``, and their squared deviations from their mean,
``rows[r, b, 1]``; the last row has the oldest, and within a row the first is the oldest. Free slots are 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

WINDOW = np.dtype(
    [
        ("width", np.int64),
        ("total", np.float64),
        ("deviations", np.float64),
        ("n_rows", np.int64),
        ("n_since_start", np.int64),
        ("n_detections", np.int64),
        ("n_missing", np.int64),
        ("drift", np.int64),
    ]
)
"""A window in short: number, sum and squared deviations from the mean of its values; bucket rows in use; values since
the last start; alarms and missing values since it was made; and one of the following."""

QUIET, ALARM, ALARM_BEFORE_MISSING = 0, 1, 2
"""What the last value did; a missing one after an alarm leaves the restart to the value that comes next."""

_RUN = 64
"""Most values that are put into buckets together."""

_ROWS, _COLUMNS = 512, 8
"""Values are taken in by pieces: a line of cache holds 8 values of a row, and so is read from memory once."""


@njit(cache=True, nogil=True, error_model="numpy")
def feed_windows(
    windows: NDArray[Any],
    n_buckets: NDArray[np.int32],
    buckets: NDArray[np.float64],
    values: NDArray[np.float64],
    alarms: NDArray[np.bool_],
    delta: float,
    clock: int,
    min_window_length: int,
    grace_period: int,
    restart: bool,
) -> None:
    """Feed column s of ``values`` to window s and mark alarms."""
    n, k = values.shape
    scratch = np.empty((buckets.shape[1] * buckets.shape[2] + _RUN, 2))
    for first in range(0, k, _COLUMNS):
        for start in range(0, n, _ROWS):
            piece = slice(start, start + _ROWS)
            for s in range(first, min(first + _COLUMNS, k)):
                _feed(
                    windows[s], n_buckets[s], buckets[s], values[piece, s], alarms[piece, s], scratch,
                    delta, clock, min_window_length, grace_period, restart,
                )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def empty_window(windows: NDArray[Any], n_buckets: NDArray[np.int32], buckets: NDArray[np.float64], place: int) -> None:
    """Forget what a window holds and has counted."""
    window = windows[place]
    window["width"] = window["n_rows"] = window["n_since_start"] = window["drift"] = 0
    window["n_detections"] = window["n_missing"] = 0
    window["total"] = window["deviations"] = 0.0
    n_buckets[place] = 0
    buckets[place] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _feed(
    window: Any,
    counts: NDArray[np.int32],
    rows: NDArray[np.float64],
    values: NDArray[np.float64],
    alarms: NDArray[np.bool_],
    scratch: NDArray[np.float64],
    delta: float,
    clock: int,
    min_window_length: int,
    grace_period: int,
    restart: bool,
) -> None:
    """Feed values to one window, in runs that end at checks and before missing values."""
    full = rows.shape[1] << (len(rows) - 1)
    t = 0
    while t < len(values):
        if np.isnan(values[t]):
            window["n_missing"] += 1
            if window["drift"] == ALARM:
                window["drift"] = ALARM_BEFORE_MISSING
            t += 1
            continue
        if restart and window["drift"] != QUIET:
            rows[: window["n_rows"]] = 0.0
            counts[:] = 0
            window["width"] = window["n_rows"] = window["n_since_start"] = 0
            window["total"] = window["deviations"] = 0.0
        window["drift"] = QUIET
        n_to_check = clock - window["n_since_start"] % clock
        # The table overflows where the window holds ``full`` values: that is done with one value at a time.
        n_at_most = min(n_to_check, _RUN, max(1, full - 1 - window["width"]))
        n = _insert(window, counts, rows, values[t : t + n_at_most], scratch)
        window["n_since_start"] += n
        t += n
        if n == n_to_check and window["width"] > grace_period:
            while _is_cut(window, counts, rows, delta, min_window_length):
                _drop_oldest(window, counts, rows)
                alarms[t - 1] = True
            if alarms[t - 1]:
                window["n_detections"] += 1
                window["drift"] = ALARM


@njit(cache=True, nogil=True, error_model="numpy")
def _insert(
    window: Any,
    counts: NDArray[np.int32],
    rows: NDArray[np.float64],
    values: NDArray[np.float64],
    scratch: NDArray[np.float64],
) -> int:
    """Add a bucket of one value for each of those before the first missing one, and merge where a row has one too many.

    What a row held and what comes to it stand in a line in ``scratch``, from ``begin`` on. Value by value, the two
    oldest would be merged whenever there is one too many; it is the same to merge from the front, pair by pair, as many
    as that would come to, and to hand these to the next row. Slots that fall free become 0.

    Returns the number of values added.
    """
    width, total, deviations = window["width"], window["total"], window["deviations"]
    begin = len(scratch) - _RUN
    n = 0
    while n < len(values) and not np.isnan(values[n]):
        value = values[n]
        if width > 0:
            gap = value - total / width
            deviations += gap * gap * width / (width + 1)
        width += 1
        total += value
        scratch[begin + n, 0] = value
        scratch[begin + n, 1] = 0.0
        n += 1
    window["width"] = width
    window["total"] = total
    window["deviations"] = deviations

    max_buckets = rows.shape[1] - 1
    n_coming, size = n, 1.0
    for row in range(len(rows)):
        count = counts[row]
        n_here = count + n_coming
        n_pairs = (n_here - max_buckets + 1) >> 1
        if n_pairs <= 0 or row + 1 == len(rows):
            for b in range(n_coming):
                rows[row, count + b, 0] = scratch[begin + b, 0]
                rows[row, count + b, 1] = scratch[begin + b, 1]
            counts[row] = n_here
            window["n_rows"] = max(window["n_rows"], row + 1)
            if n_here > max_buckets:
                _drop_oldest(window, counts, rows)
            break
        begin -= count
        for b in range(count):
            scratch[begin + b, 0] = rows[row, b, 0]
            scratch[begin + b, 1] = rows[row, b, 1]
        n_left = n_here - 2 * n_pairs
        for b in range(n_left):
            rows[row, b, 0] = scratch[begin + 2 * n_pairs + b, 0]
            rows[row, b, 1] = scratch[begin + 2 * n_pairs + b, 1]
        for b in range(n_left, count):
            rows[row, b, 0] = rows[row, b, 1] = 0.0
        counts[row] = n_left
        for pair in range(n_pairs):
            older, newer = begin + 2 * pair, begin + 2 * pair + 1
            gap = (scratch[older, 0] - scratch[newer, 0]) / size
            scratch[begin + pair, 1] = scratch[older, 1] + scratch[newer, 1] + gap * gap * size / 2.0
            scratch[begin + pair, 0] = scratch[older, 0] + scratch[newer, 0]
        n_coming = n_pairs
        size *= 2.0
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _is_cut(
    window: Any, counts: NDArray[np.int32], rows: NDArray[np.float64], delta: float, min_window_length: int
) -> bool:
    """Whether some cut between buckets leaves an older and a newer part with means too far apart.

    With D = total_old - n_old · mean and s = min_window_length - 1, the means are D · width / (n_old · n_new) apart,
    and inverse = 1 / (n_old - s) + 1 / (n_new - s) is at least 4 / (width - 2 s). So the square of the bound
    sqrt(inverse · spread) + 2/3 · inverse · log_term is at least inverse · (spread + 16/9 · log_term² / (width - 2 s)),
    and a cut needs

        D² · (n_old - s) · (n_new - s)  >  least · (n_old · n_new)²,   least = (that bracket) · (width - 2 s) / width²,

    which takes no division and settles nearly all cuts. Rounding is allowed for by far more than there can be; what
    passes, and what overflows, is held against the bound itself, which alone decides.
    """
    if window["width"] < 2 * min_window_length:
        return False
    width, total, spare = float(window["width"]), window["total"], float(min_window_length - 1)
    mean = total / width
    log_term = math.log(2.0 * math.log(width) / delta)
    spread = 2.0 * window["deviations"] / width * log_term
    least = (width - 2.0 * spare) * spread + 16.0 / 9.0 * log_term * log_term
    least *= (1.0 - 1e-9) / (width * width)
    rounding, short = 1e-12 * abs(total), spare * (width - spare)
    n_old, total_old, size = 0.0, 0.0, float(1 << (window["n_rows"] - 1))
    for row in range(window["n_rows"] - 1, -1, -1):
        for b in range(counts[row]):
            n_old += size
            total_old += rows[row, b, 0]
            n_new = width - n_old
            apart = abs(total_old - mean * n_old) + rounding
            product = n_old * n_new
            if apart * apart * (product - short) <= least * (product * product) < math.inf:
                continue
            if min(n_old, n_new) < min_window_length:
                continue
            inverse = 1.0 / (n_old - spare) + 1.0 / (n_new - spare)
            gap = abs(total_old / n_old - (total - total_old) / n_new)
            if gap > math.sqrt(inverse * spread) + 2.0 / 3.0 * inverse * log_term:
                return True
        size *= 0.5
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _drop_oldest(window: Any, counts: NDArray[np.int32], rows: NDArray[np.float64]) -> None:
    """Let go of the oldest bucket, which is never the only one."""
    row = window["n_rows"] - 1
    size = 1 << row
    rest = window["width"] - size
    window["width"] = rest
    window["total"] -= rows[row, 0, 0]
    gap = rows[row, 0, 0] / size - window["total"] / rest
    left = window["deviations"] - rows[row, 0, 1] - gap * gap * size * rest / (size + rest)
    window["deviations"] = max(left, 0.0)
    counts[row] -= 1
    for b in range(counts[row]):
        rows[row, b, 0] = rows[row, b + 1, 0]
        rows[row, b, 1] = rows[row, b + 1, 1]
    rows[row, counts[row]] = 0.0
    while counts[window["n_rows"] - 1] == 0:
        window["n_rows"] -= 1
