"""DDM: tells when an error rate has risen significantly above the lowest that it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, WARNING, Bank, WarningDetector, check_at_least, check_positive, state_dtype

DDM_SERIES = state_dtype(("n", np.int64), ("rate", np.float64), ("lowest_rate", np.float64), ("its_spread", np.float64))


class DDM(WarningDetector, base.BinaryDriftAndWarningDetector):
    """Drift detection method: an error rate that leaves its minimum by several standard deviations.

    Parameters
    ----------
    warm_start
        Values before the first minimum is taken, at least 0.
    warning_threshold
        Standard deviations above the minimum at which a warning is given, positive.
    drift_threshold
        Standard deviations at which the alarm is raised, positive.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Values are errors: 1 is an error, 0 a correct answer, and anything between is allowed. With p the mean of the values
    since the start and s = sqrt(p (1 - p) / n), the pair with the smallest p + s is kept; p + s above
    p_min + threshold · s_min is a change. An alarm forgets everything. A rate that
    falls is not a change. O(1) time a value, 56 bytes.

    Alarms and warnings come at the same values as from river's DDM. A missing value (NaN) is counted and otherwise
    passed over.

    References
    ----------
    Gama, Medas, Castillo, Rodrigues: "Learning with drift detection", SBIA 2004, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> detector = DDM()
    >>> errors = np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.4], 1000)
    >>> detector.update_many(errors).tolist()
    [1041]
    """

    _dtype = DDM_SERIES
    _low, _high = 0.0, 1.0

    def __init__(self, warm_start: int = 30, warning_threshold: float = 2.0, drift_threshold: float = 3.0) -> None:
        check_at_least(0, warm_start=warm_start)
        check_positive(warning_threshold=warning_threshold, drift_threshold=drift_threshold)
        self.warm_start = warm_start
        self.warning_threshold = warning_threshold
        self.drift_threshold = drift_threshold
        super().__init__((warm_start, float(warning_threshold), float(drift_threshold)))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class DDMBank(Bank):
    """DDM on each of ``k`` series at once: ``DDMBank(k, **parameters)``, with the parameters of `DDM`."""

    _of = DDM


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[int, float, float],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    warm_start, warning_threshold, drift_threshold = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(series[s], warm_start, warning_threshold, drift_threshold, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def _step(state: Any, warm_start: int, warning_threshold: float, drift_threshold: float, x: float) -> int:
    n = state["n"] + 1
    rate = state["rate"]
    rate += (1.0 / n) * (x - rate)
    state["n"] = n
    state["rate"] = rate
    if n <= warm_start:
        return QUIET
    spread = math.sqrt(rate * (1.0 - rate) / n)
    lowest_rate, its_spread = state["lowest_rate"], state["its_spread"]
    if n == warm_start + 1 or rate + spread <= lowest_rate + its_spread:
        lowest_rate, its_spread = rate, spread
        state["lowest_rate"] = rate
        state["its_spread"] = spread
    if rate + spread > lowest_rate + drift_threshold * its_spread:
        state["statistic"] = rate + spread
        state["limit"] = lowest_rate + drift_threshold * its_spread
        state["n"] = 0
        state["rate"] = 0.0
        return ALARM
    return WARNING if rate + spread > lowest_rate + warning_threshold * its_spread else QUIET
