"""FHDDM: tells when a rate over a sliding window has fallen below its highest, by Hoeffding's bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, Bank, Detector, check_at_least, check_probability, state_dtype

FHDDM_SERIES = state_dtype(
    ("n", np.int64),
    ("total", np.float64),
    ("highest", np.float64),
    ("short_total", np.float64),
    ("short_highest", np.float64),
)


class FHDDM(Detector, base.BinaryDriftDetector):
    """Fast Hoeffding drift detection: a sliding window of correct answers, few false alarms.

    Parameters
    ----------
    sliding_window_size
        Values in the window, at least 1.
    confidence_level
        Bound on the probability that the window's mean lies so far below that of its source, in (0, 1).
    short_window_size
        Values in a second window, which finds sudden changes sooner, at least 1 and at most ``sliding_window_size``;
        None for no such window (FHDDM), else this is the stacking version (FHDDMS).

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Values lie in [0, 1], and **1 is a correct answer**, as the paper has it; one that rises is no change. The mean of
    the newest n values is compared with the highest such mean since the start: a fall of more than
    sqrt(ln(1 / confidence_level) / (2 n)) is a change. An alarm forgets everything. O(1) time a value and
    64 + 8 · sliding_window_size bytes, 864 by default.

    Alarms come at the same values as from river's FHDDM. With a short window and values between 0 and 1, sums can
    differ from river's in their last bits. A missing value (NaN) is counted and otherwise passed over.

    References
    ----------
    Pesaranghader, Viktor: "Fast Hoeffding drift detection method for evolving data streams", ECML PKDD 2016, section 4;
    Pesaranghader, Viktor, Paquet: "Reservoir of diverse adaptive learners and stacking fast Hoeffding drift detection
    methods for evolving data streams", Machine Learning 107, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> detector = FHDDM()
    >>> detector.update_many(np.arange(600) % np.repeat([10, 2], [400, 200]) != 0).tolist()
    [466]
    """

    _dtype = FHDDM_SERIES
    _low, _high = 0.0, 1.0

    def __init__(
        self,
        sliding_window_size: int = 100,
        confidence_level: float = 0.000001,
        short_window_size: int | None = None,
    ) -> None:
        check_at_least(1, sliding_window_size=sliding_window_size)
        check_probability(confidence_level=confidence_level)
        if short_window_size is not None and not 1 <= short_window_size <= sliding_window_size:
            raise ValueError(
                f"short_window_size must be in [1, {sliding_window_size}], the sliding_window_size, or None, "
                f"got {short_window_size}"
            )
        self.sliding_window_size = sliding_window_size
        self.confidence_level = confidence_level
        self.short_window_size = short_window_size
        short = short_window_size or 0
        logarithm = math.log(1 / confidence_level)
        bounds = (math.sqrt(logarithm / (2 * size)) if size else 0.0 for size in (sliding_window_size, short))
        super().__init__((short, *bounds), window=np.zeros(sliding_window_size))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class FHDDMBank(Bank):
    """FHDDM on each of ``k`` series at once: ``FHDDMBank(k, **parameters)``, with the parameters of `FHDDM`."""

    _of = FHDDM


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    windows: NDArray[np.float64],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[int, float, float],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    short, bound, short_bound = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(series[s], windows[s], short, bound, short_bound, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def _step(state: Any, window: NDArray[np.float64], short: int, bound: float, short_bound: float, x: float) -> int:
    size = len(window)
    n = state["n"]
    if short > 0:
        state["short_total"] += x
        if n >= short:
            state["short_total"] -= window[(n - short) % size]
    window[n % size] = x
    total = state["total"] + x
    n += 1
    state["n"] = n
    level = QUIET
    if n >= size:
        mean = total / size
        if mean > state["highest"]:
            state["highest"] = mean
        elif state["highest"] - mean > bound:
            level = ALARM
            state["statistic"] = state["highest"] - mean
            state["limit"] = bound
        if short > 0:
            mean = state["short_total"] / short
            if mean > state["short_highest"]:
                state["short_highest"] = mean
            elif state["short_highest"] - mean > short_bound:
                level = ALARM
                state["statistic"] = state["short_highest"] - mean
                state["limit"] = short_bound
        total -= window[n % size]
    state["total"] = total
    if level == ALARM:
        state["n"] = 0
        state["total"] = state["highest"] = state["short_total"] = state["short_highest"] = 0.0
    return level
