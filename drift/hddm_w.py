"""HDDM_W: compares weighted means before and after a cut point, by McDiarmid's bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, WARNING, Bank, WarningDetector, check_probability, state_dtype

HDDM_W_SERIES = state_dtype(
    ("n", np.int64),
    *(
        (f"{part}{field}", kind)
        for part in ("", "rise_old_", "rise_new_", "fall_old_", "fall_new_")
        for field, kind in (("mean", np.float64), ("squares", np.float64))
    ),
    ("rise_new_n", np.int64),
    ("fall_new_n", np.int64),
    ("rise_cut", np.float64),
    ("fall_cut", np.float64),
)
"""Each part has its weighted mean and the sum of its squared weights."""


class HDDM_W(WarningDetector, base.BinaryDriftAndWarningDetector):  # noqa: N801
    """Drift detection by McDiarmid's bound on exponentially weighted averages: good for gradual changes.

    Parameters
    ----------
    drift_confidence
        Bound on the probability of a false alarm at a value, in (0, 1).
    warning_confidence
        The same for a warning, in (0, 1), at least ``drift_confidence``.
    lambda_val
        Weight of the newest value in a mean, in (0, 1].
    two_sided_test
        Whether a mean that falls is a change too.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Values lie in [0, 1]; of an error rate 1 is an error. Where the weighted mean plus its bound is lowest, the series
    is cut; the mean up to there and the mean since then differ significantly when they are further apart than

        sqrt((w1 + w2) · ln(1 / confidence) / 2)

    with w1 and w2 the sums of their squared weights. An alarm forgets everything. O(1) time a value, 144 bytes.

    Alarms come at the same values as from river's HDDMW, and so do warnings, but that river's may stand beside an
    alarm in a two-sided test. A missing value (NaN) is counted and otherwise passed over.

    References
    ----------
    Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz, Caballero-Mota: "Online and non-parametric
    drift detection methods based on Hoeffding's bounds", IEEE Transactions on Knowledge and Data Engineering 27(3),
    2015: the W-test, corollary 4 and algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> detector = HDDM_W()
    >>> errors = np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.4], 1000)
    >>> detector.update_many(errors).tolist()
    [1017, 1839]
    """

    _dtype = HDDM_W_SERIES
    _low, _high = 0.0, 1.0

    def __init__(
        self,
        drift_confidence: float = 0.001,
        warning_confidence: float = 0.005,
        lambda_val: float = 0.05,
        two_sided_test: bool = False,
    ) -> None:
        check_probability(drift_confidence=drift_confidence, warning_confidence=warning_confidence)
        if warning_confidence < drift_confidence:
            raise ValueError(
                f"warning_confidence must be at least drift_confidence, {drift_confidence}, got {warning_confidence}"
            )
        if not 0 < lambda_val <= 1:
            raise ValueError(f"lambda_val must be in (0, 1], got {lambda_val}")
        self.drift_confidence = drift_confidence
        self.warning_confidence = warning_confidence
        self.lambda_val = lambda_val
        self.two_sided_test = two_sided_test
        logarithms = (1 / drift_confidence, 1 / warning_confidence)
        super().__init__((*map(math.log, logarithms), float(lambda_val), bool(two_sided_test)))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class HDDM_WBank(Bank):  # noqa: N801
    """HDDM_W on each of ``k`` series at once: ``HDDM_WBank(k, **parameters)``, with the parameters of `HDDM_W`."""

    _of = HDDM_W


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[float, float, float, bool],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    log_drift, log_warning, weight, two_sided = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(series[s], log_drift, log_warning, weight, two_sided, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def _step(state: Any, log_drift: float, log_warning: float, weight: float, two_sided: bool, x: float) -> int:
    n = state["n"] + 1
    kept = 1.0 - weight
    weight_squared, kept_squared = weight * weight, kept**2
    mean = x if n == 1 else weight * x + kept * state["mean"]
    squares = weight_squared + kept_squared * (1.0 if n == 1 else state["squares"])
    state["n"] = n
    state["mean"] = mean
    state["squares"] = squares
    bound = math.sqrt(squares * log_drift / 2)
    level = QUIET
    if n == 1 or mean + bound < state["rise_cut"]:
        state["rise_cut"] = mean + bound
        state["rise_old_mean"] = mean
        state["rise_old_squares"] = squares
        state["rise_new_n"] = 0
    else:
        first = state["rise_new_n"] == 0
        new_mean = x if first else weight * x + kept * state["rise_new_mean"]
        new_squares = weight_squared + kept_squared * (1.0 if first else state["rise_new_squares"])
        state["rise_new_n"] += 1
        state["rise_new_mean"] = new_mean
        state["rise_new_squares"] = new_squares
        half = state["rise_old_squares"] + new_squares
        rise = new_mean - state["rise_old_mean"]
        if rise > math.sqrt(half * log_drift / 2):
            level = ALARM
            state["statistic"] = rise
            state["limit"] = math.sqrt(half * log_drift / 2)
        elif rise > math.sqrt(half * log_warning / 2):
            level = WARNING
    if two_sided and (n == 1 or mean - bound > state["fall_cut"]):
        state["fall_cut"] = mean - bound
        state["fall_old_mean"] = mean
        state["fall_old_squares"] = squares
        state["fall_new_n"] = 0
    elif two_sided:
        first = state["fall_new_n"] == 0
        new_mean = x if first else weight * x + kept * state["fall_new_mean"]
        new_squares = weight_squared + kept_squared * (1.0 if first else state["fall_new_squares"])
        state["fall_new_n"] += 1
        state["fall_new_mean"] = new_mean
        state["fall_new_squares"] = new_squares
        half = new_squares + state["fall_old_squares"]
        fall = state["fall_old_mean"] - new_mean
        if fall > math.sqrt(half * log_drift / 2):
            level = ALARM
            state["statistic"] = fall
            state["limit"] = math.sqrt(half * log_drift / 2)
        elif level != ALARM and fall > math.sqrt(half * log_warning / 2):
            level = WARNING
    if level == ALARM:
        state["n"] = 0
    return level
