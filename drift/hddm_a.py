"""HDDM_A: compares the mean of all values with the mean of a beginning of them, by Hoeffding's bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, WARNING, Bank, WarningDetector, check_probability, state_dtype

HDDM_A_SERIES = state_dtype(
    ("n", np.int64),
    ("mean", np.float64),
    ("low_n", np.int64),
    ("low_mean", np.float64),
    ("high_n", np.int64),
    ("high_mean", np.float64),
)


class HDDM_A(WarningDetector, base.BinaryDriftAndWarningDetector):  # noqa: N801
    """Drift detection by Hoeffding's bound on averages: good for sudden changes, with a bound on false alarms.

    Parameters
    ----------
    drift_confidence
        Bound on the probability of a false alarm at a value, in (0, 1).
    warning_confidence
        The same for a warning, in (0, 1), at least ``drift_confidence``.
    two_sided_test
        Whether a mean that falls is a change too.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Values lie in [0, 1]; of an error rate 1 is an error. Kept is the beginning of the series whose mean plus bound is
    lowest (and the one whose mean less bound is highest). With n values in all, m of them in the beginning, the means
    differ significantly from

        sqrt((n - m) / (2 m n) · ln(2 / confidence))

    on. An alarm forgets everything. O(1) time a value, 72 bytes.

    Alarms come at the same values as from river's HDDMA, and so do warnings, but that river's may stand beside an
    alarm in a two-sided test. A missing value (NaN) is counted and otherwise passed over.

    References
    ----------
    Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz, Caballero-Mota: "Online and non-parametric
    drift detection methods based on Hoeffding's bounds", IEEE Transactions on Knowledge and Data Engineering 27(3),
    2015: the A-test, corollary 2 and algorithm 1. The bound has ln(2 / confidence), as in MOA and river, where the
    corollary has ln(1 / confidence).

    Examples
    --------
    >>> import numpy as np
    >>> detector = HDDM_A()
    >>> errors = np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.4], 1000)
    >>> detector.update_many(errors).tolist()
    [1017]
    """

    _dtype = HDDM_A_SERIES
    _low, _high = 0.0, 1.0

    def __init__(
        self, drift_confidence: float = 0.001, warning_confidence: float = 0.005, two_sided_test: bool = False
    ) -> None:
        check_probability(drift_confidence=drift_confidence, warning_confidence=warning_confidence)
        if warning_confidence < drift_confidence:
            raise ValueError(
                f"warning_confidence must be at least drift_confidence, {drift_confidence}, got {warning_confidence}"
            )
        self.drift_confidence = drift_confidence
        self.warning_confidence = warning_confidence
        self.two_sided_test = two_sided_test
        logarithms = (1 / drift_confidence, 2 / drift_confidence, 2 / warning_confidence)
        super().__init__((*map(math.log, logarithms), bool(two_sided_test)))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class HDDM_ABank(Bank):  # noqa: N801
    """HDDM_A on each of ``k`` series at once: ``HDDM_ABank(k, **parameters)``, with the parameters of `HDDM_A`."""

    _of = HDDM_A


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[float, float, float, bool],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    log_cut, log_drift, log_warning, two_sided = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(series[s], log_cut, log_drift, log_warning, two_sided, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def _step(state: Any, log_cut: float, log_drift: float, log_warning: float, two_sided: bool, x: float) -> int:
    n = state["n"] + 1
    mean = state["mean"]
    mean += (1.0 / n) * (x - mean)
    state["n"] = n
    state["mean"] = mean
    bound = math.sqrt(1.0 / (2 * n) * log_cut)
    low_n, high_n = state["low_n"], state["high_n"]
    if n == 1 or state["low_mean"] + math.sqrt(1.0 / (2 * low_n) * log_cut) >= mean + bound:
        state["low_n"] = low_n = n
        state["low_mean"] = mean
    if n == 1 or state["high_mean"] - math.sqrt(1.0 / (2 * high_n) * log_cut) <= mean - bound:
        state["high_n"] = high_n = n
        state["high_mean"] = mean
    level = QUIET
    if low_n != n:
        half = (n - low_n) / low_n * (1.0 / n) / 2
        rise = mean - state["low_mean"]
        if rise >= math.sqrt(half * log_drift):
            level = ALARM
            state["statistic"] = rise
            state["limit"] = math.sqrt(half * log_drift)
        elif rise >= math.sqrt(half * log_warning):
            level = WARNING
    if two_sided and high_n != n and level != ALARM:
        half = (n - high_n) / high_n * (1.0 / n) / 2
        fall = state["high_mean"] - mean
        if fall >= math.sqrt(half * log_drift):
            level = ALARM
            state["statistic"] = fall
            state["limit"] = math.sqrt(half * log_drift)
        elif fall >= math.sqrt(half * log_warning):
            level = WARNING
    if level == ALARM:
        state["n"] = 0
        state["mean"] = 0.0
    return level
