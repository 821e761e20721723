"""CUSUM: adds up standardised values, above and below, and tells when either sum has become too large."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, Bank, Detector, check_at_least, check_positive, state_dtype

CUSUM_SERIES = state_dtype(
    ("n", np.int64),
    ("mean", np.float64),
    ("deviations", np.float64),
    ("rise", np.float64),
    ("fall", np.float64),
)

_MODES = {"up": (True, False), "down": (False, True), "both": (True, True)}


class CUSUM(Detector, base.DriftDetector):
    """The cumulative sum chart of a mean, which learns mean and spread from the first values.

    Parameters
    ----------
    warm_start
        Values from which mean and standard deviation are taken, at least 2. While they are all the same, more are
        taken.
    slack
        Half the shift that is to be found soonest, in standard deviations, at least 0.
    threshold
        Height of a sum that raises the alarm, in standard deviations, positive.
    mode
        ``up`` for means that rise, ``down`` for means that fall, or ``both``.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    With z = (x - mean) / deviation, rise = max(0, rise + z - slack) and fall = max(0, fall - z - slack). An alarm
    forgets everything, mean and deviation included. O(1) time a value, 64 bytes.

    For normal values of known mean and deviation a single sum raises a false alarm every
    (exp(b) - b - 1) / (2 slack²) values with b = 2 slack (threshold + 1.166), by Siegmund's approximation: some 140,000
    by default. That mean and deviation are estimates makes false alarms more frequent: those from 200 values err by
    0.07 deviations.

    A missing value (NaN) is counted and otherwise passed over.

    References
    ----------
    Page: "Continuous inspection schemes", Biometrika 41, 1954, section 3; Siegmund: "Sequential analysis", Springer
    1985, equation 2.57.

    Examples
    --------
    >>> import numpy as np
    >>> detector = CUSUM()
    >>> detector.update_many(np.arange(600) % 2 + np.repeat([0, 1], 300)).tolist()
    [307]
    """

    _dtype = CUSUM_SERIES

    def __init__(self, warm_start: int = 200, slack: float = 0.5, threshold: float = 10.0, mode: str = "both") -> None:
        check_at_least(2, warm_start=warm_start)
        check_at_least(0, slack=slack)
        check_positive(threshold=threshold)
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}, got {mode}")
        self.warm_start = warm_start
        self.slack = slack
        self.threshold = threshold
        self.mode = mode
        super().__init__((warm_start, float(slack), float(threshold), *_MODES[mode]))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class CUSUMBank(Bank):
    """CUSUM on each of ``k`` series at once: ``CUSUMBank(k, **parameters)``, with the parameters of `CUSUM`."""

    _of = CUSUM


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[int, float, float, bool, bool],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    warm_start, slack, threshold, up, down = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(series[s], warm_start, slack, threshold, up, down, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def _step(state: Any, warm_start: int, slack: float, threshold: float, up: bool, down: bool, x: float) -> int:
    n = state["n"]
    mean, deviations = state["mean"], state["deviations"]
    if n < warm_start or deviations <= 0.0:
        n += 1
        gap = x - mean
        mean += gap / n
        state["n"] = n
        state["mean"] = mean
        state["deviations"] = deviations + gap * (x - mean)
        return QUIET
    z = (x - mean) / math.sqrt(deviations / (n - 1))
    rise = state["rise"] + z - slack
    fall = state["fall"] - z - slack
    if (up and rise > threshold) or (down and fall > threshold):
        state["statistic"] = rise if up and rise > threshold else fall
        state["limit"] = threshold
        state["n"] = 0
        state["mean"] = state["deviations"] = state["rise"] = state["fall"] = 0.0
        return ALARM
    state["rise"] = rise if rise > 0.0 else 0.0
    state["fall"] = fall if fall > 0.0 else 0.0
    return QUIET
