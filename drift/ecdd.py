"""ECDD: an exponentially weighted error rate that leaves the mean rate by more than chance would have it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, WARNING, Bank, WarningDetector, check_at_least, check_probability, state_dtype

ECDD_SERIES = state_dtype(("n", np.int64), ("rate", np.float64), ("weighted", np.float64), ("fading", np.float64))

_LIMITS = {
    100: (2.76, -6.23, 18.12, -312.45, 1002.18),
    400: (3.97, -6.56, 48.73, -330.13, 848.18),
}
"""Control limits as polynomials of the error rate p, in 1, p, p³, p⁵ and p⁷: table 1 of the paper."""


class ECDD(WarningDetector, base.BinaryDriftAndWarningDetector):
    """EWMA for concept drift detection: a control chart of an error rate with a chosen number of false alarms.

    Parameters
    ----------
    average_run_length
        Values from false alarm to false alarm that are aimed at, 100 or 400.
    lambda_val
        Weight of the newest value in the chart, in (0, 1). The limits were fitted for 0.2.
    warm_start
        Values before a change can be told, at least 0.
    warning_share
        Share of the control limit at which a warning is given, in (0, 1).

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Values are errors: 1 is an error, 0 a correct answer, and anything between is allowed. With p the mean of the values
    since the start and z = (1 - λ) z + λ x, a change is z above p + L(p) · s, where

        s² = p (1 - p) · λ / (2 - λ) · (1 - (1 - λ)^(2 n)).

    A rate that falls is not a change. An alarm forgets everything. O(1) time a value, 56 bytes.

    The limits are those of the paper, and good for error rates below one half: on stationary rates from 0.05 to 0.4
    false alarms come every 290 to 420 values where 400 are aimed at, and every 40 to 100 where 100 are. The paper's
    third row, for 1,000 values, is not offered, since with it they come every 70 to 600, most of them sooner than with
    the second.

    A missing value (NaN) is counted and otherwise passed over.

    References
    ----------
    Ross, Adams, Tasoulis, Hand: "Exponentially weighted moving average charts for detecting concept drift", Pattern
    Recognition Letters 33(2), 2012, section 4 and table 1.

    Examples
    --------
    >>> import numpy as np
    >>> detector = ECDD()
    >>> errors = np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.4], 1000)
    >>> detector.update_many(errors).tolist()
    [675, 1007, 1323, 1902]
    """

    _dtype = ECDD_SERIES
    _low, _high = 0.0, 1.0

    def __init__(
        self,
        average_run_length: int = 400,
        lambda_val: float = 0.2,
        warm_start: int = 30,
        warning_share: float = 0.5,
    ) -> None:
        if average_run_length not in _LIMITS:
            raise ValueError(f"average_run_length must be one of {sorted(_LIMITS)}, got {average_run_length}")
        check_probability(lambda_val=lambda_val, warning_share=warning_share)
        check_at_least(0, warm_start=warm_start)
        self.average_run_length = average_run_length
        self.lambda_val = lambda_val
        self.warm_start = warm_start
        self.warning_share = warning_share
        super().__init__(
            (float(lambda_val), warm_start, float(warning_share), *_LIMITS[average_run_length]),
        )

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class ECDDBank(Bank):
    """ECDD on each of ``k`` series at once: ``ECDDBank(k, **parameters)``, with the parameters of `ECDD`."""

    _of = ECDD


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[float, int, float, float, float, float, float, float],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    weight, warm_start, warning_share, c0, c1, c3, c5, c7 = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(
                    series[s], weight, warm_start, warning_share, c0, c1, c3, c5, c7, values[t, s]
                )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _step(
    state: Any, weight: float, warm_start: int, warning_share: float,
    c0: float, c1: float, c3: float, c5: float, c7: float, x: float,
) -> int:  # fmt: skip
    n = state["n"] + 1
    rate = state["rate"]
    rate += (x - rate) / n
    kept = 1.0 - weight
    weighted = kept * state["weighted"] + weight * x
    fading = kept * kept * (state["fading"] if n > 1 else 1.0)
    state["n"] = n
    state["rate"] = rate
    state["weighted"] = weighted
    state["fading"] = fading
    if n <= warm_start or weighted <= rate:
        return QUIET
    square = rate * rate
    limit = c0 + rate * (c1 + square * (c3 + square * (c5 + square * c7)))
    reach = limit * math.sqrt(rate * (1.0 - rate) * weight / (2.0 - weight) * (1.0 - fading))
    if weighted > rate + reach:
        state["statistic"] = weighted
        state["limit"] = rate + reach
        state["n"] = 0
        state["rate"] = state["weighted"] = 0.0
        return ALARM
    return WARNING if weighted > rate + warning_share * reach else QUIET
