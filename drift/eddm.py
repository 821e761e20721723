"""EDDM: tells when errors follow each other significantly closer than they once did."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, WARNING, Bank, WarningDetector, check_at_least, state_dtype

EDDM_SERIES = state_dtype(
    ("n", np.int64),
    ("n_errors", np.int64),
    ("last_error", np.int64),
    ("mean", np.float64),
    ("deviations", np.float64),
    ("highest", np.float64),
    ("warned", np.int64),
)


class EDDM(WarningDetector, base.BinaryDriftAndWarningDetector):
    """Early drift detection method: watches the distances between errors, which shows slow changes sooner than a rate.

    Parameters
    ----------
    warm_start
        Values and errors before a change can be told, at least 0.
    alpha
        Share of the largest distance below which a warning is given, in (0, 1).
    beta
        Share below which the alarm is raised, in (0, 1), at most ``alpha``.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    A value of 1 is an error, any other in [0, 1] is none. With p the mean and s the standard deviation of the distances
    between errors since the start, the largest p + 2 s is kept; a later one below ``alpha`` or ``beta`` times it is a
    change. Only errors are tests: a warning stands until one takes it back. An alarm forgets everything. O(1) time a
    value, 80 bytes.

    Alarms come at the same values as from river's EDDM, and so do warnings, but that river's also stands beside an
    alarm. A missing value (NaN) is counted and otherwise passed over: distances do not count it.

    References
    ----------
    Baena-García, del Campo-Ávila, Fidalgo, Bifet, Gavaldà, Morales-Bueno: "Early drift detection method", Fourth
    International Workshop on Knowledge Discovery from Data Streams, 2006, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> detector = EDDM(beta=0.6)
    >>> errors = np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.4], 1000)
    >>> detector.update_many(errors).tolist()
    [1368, 1459]
    """

    _dtype = EDDM_SERIES
    _low, _high = 0.0, 1.0

    def __init__(self, warm_start: int = 30, alpha: float = 0.95, beta: float = 0.9) -> None:
        check_at_least(0, warm_start=warm_start)
        if not 0 < beta <= alpha < 1:
            raise ValueError(f"alpha and beta must be in (0, 1), beta at most alpha, got {alpha} and {beta}")
        self.warm_start = warm_start
        self.alpha = alpha
        self.beta = beta
        super().__init__((warm_start, float(alpha), float(beta)))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class EDDMBank(Bank):
    """EDDM on each of ``k`` series at once: ``EDDMBank(k, **parameters)``, with the parameters of `EDDM`."""

    _of = EDDM


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[int, float, float],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    warm_start, alpha, beta = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(series[s], warm_start, alpha, beta, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def _step(state: Any, warm_start: int, alpha: float, beta: float, x: float) -> int:
    n = state["n"] + 1
    state["n"] = n
    if x != 1.0:
        return WARNING if state["warned"] else QUIET
    distance = n - state["last_error"]
    state["last_error"] = n
    n_errors = state["n_errors"] + 1
    state["n_errors"] = n_errors
    gap = distance - state["mean"]
    mean = state["mean"] + (1.0 / n_errors) * gap
    deviations = state["deviations"] + gap * (distance - mean)
    state["mean"] = mean
    state["deviations"] = deviations
    if n > warm_start:
        spread = math.sqrt(deviations / (n_errors - 1)) if n_errors > 1 else 0.0
        reach = mean + 2.0 * spread
        if reach > state["highest"]:
            state["highest"] = reach
        elif n_errors > warm_start:
            share = reach / state["highest"]
            if share < beta:
                state["statistic"] = share
                state["limit"] = beta
                state["n"] = state["n_errors"] = state["last_error"] = state["warned"] = 0
                state["mean"] = state["deviations"] = state["highest"] = 0.0
                return ALARM
            state["warned"] = 1 if share < alpha else 0
    return WARNING if state["warned"] else QUIET
