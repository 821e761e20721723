"""STEPD: tells when the newest values are larger than all before them, by a test of two means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, WARNING, Bank, WarningDetector, check_at_least, check_positive, state_dtype

STEPD_SERIES = state_dtype(("n", np.int64), ("mean", np.float64), ("squares", np.float64))


class STEPD(WarningDetector, base.DriftAndWarningDetector):
    """Statistical test of equal means of the newest values and of all before them: values that have become larger.

    Parameters
    ----------
    window
        Newest values, at least 2.
    threshold
        Standard errors that their mean may lie above that of all before, positive.
    warning_threshold
        Standard errors at which a warning is given, positive.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    With m and v the mean and the variance of the n values before the newest w, and r the mean of these, an alarm is
    told where r - m > threshold · sqrt(v (1 / w + 1 / n)), and a warning where it exceeds the other threshold so;
    nothing is told before n reaches w, nor while v is 0. An alarm forgets everything. The published test compares
    shares of right answers with a correction for continuity; on values of 0 and 1 this one is the same without that
    correction, but for the variance, which is that of the older values alone. It looks upward only: a loss that falls
    is no reason to worry. O(window) time a value and 48 + 8 · window bytes, 448 by default.

    A missing value (NaN) is counted and otherwise passed over.

    References
    ----------
    Nishida, Yamauchi: "Detecting concept drift using statistical testing", Discovery Science 2007.

    Examples
    --------
    >>> import numpy as np
    >>> detector = STEPD()
    >>> detector.update_many(np.arange(600) % np.repeat([10, 2], [400, 200]) == 0).tolist()
    [428]
    """

    _dtype = STEPD_SERIES

    def __init__(self, window: int = 50, threshold: float = 5.0, warning_threshold: float = 2.0) -> None:
        check_at_least(2, window=window)
        check_positive(threshold=threshold, warning_threshold=warning_threshold)
        self.window = window
        self.threshold = threshold
        self.warning_threshold = warning_threshold
        super().__init__((float(threshold), float(warning_threshold)), window=np.zeros(window))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, step


class STEPDBank(Bank):
    """STEPD on each of ``k`` series at once: ``STEPDBank(k, **parameters)``, with the parameters of `STEPD`."""

    _of = STEPD


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    windows: NDArray[np.float64],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[float, float],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    threshold, warning_threshold = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = step(series[s], windows[s], threshold, warning_threshold, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def step(state: Any, window: NDArray[np.float64], threshold: float, warning_threshold: float, x: float) -> int:
    """Take a value into the record and the window of a `STEPD`; the level that it leads to."""
    size = len(window)
    n = state["n"]
    before = n - size + 1
    if before > 0:
        # The oldest of the newest values joins those before.
        left = window[n % size]
        gap = left - state["mean"]
        state["mean"] += gap / before
        state["squares"] += gap * (left - state["mean"])
    window[n % size] = x
    state["n"] = n + 1
    if before < size or state["squares"] <= 0.0:
        return QUIET
    recent = 0.0
    for value in window:
        recent += value
    variance = state["squares"] / before
    error = np.sqrt(variance * (1.0 / size + 1.0 / before))
    statistic = (recent / size - state["mean"]) / error
    if statistic <= threshold:
        return WARNING if statistic > warning_threshold else QUIET
    state["statistic"] = statistic
    state["limit"] = threshold
    state["n"] = 0
    state["mean"] = state["squares"] = 0.0
    return ALARM
