"""Page-Hinkley: adds up how far values lie from their running mean, and tells when the sum has left its extreme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

from drift.base import ALARM, QUIET, Bank, Detector, check_at_least, check_positive, state_dtype

PAGE_HINKLEY_SERIES = state_dtype(
    ("n", np.int64),
    ("mean", np.float64),
    ("rise", np.float64),
    ("rise_lowest", np.float64),
    ("fall", np.float64),
    ("fall_highest", np.float64),
)

_MODES = {"up": (True, False), "down": (False, True), "both": (True, True)}


class PageHinkley(Detector, base.DriftDetector):
    """The Page-Hinkley test for a mean that rises, falls, or both.

    Parameters
    ----------
    min_instances
        Values before a change can be told, at least 0.
    delta
        Change of the mean that is let pass, in the unit of the values, at least 0.
    threshold
        How far the sum may leave its extreme, in the unit of the values, positive.
    alpha
        What is kept of the sum from value to value, in (0, 1]; 1 is the test as published.
    mode
        ``up`` for means that rise, ``down`` for means that fall, or ``both``.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    With m the mean of the values so far, s = alpha · s + (x - m - delta) is added up; s more than ``threshold`` above
    its minimum is a rise. A fall is found in the same way from s = alpha · s + (x - m + delta) and its maximum. An
    alarm forgets everything. O(1) time a value, 72 bytes.

    Alarms come at the same values as from river's PageHinkley. A missing value (NaN) is counted and otherwise passed
    over.

    References
    ----------
    Page: "Continuous inspection schemes", Biometrika 41, 1954; Hinkley: "Inference about the change-point from
    cumulative sum tests", Biometrika 58, 1971; with the fading factor of river.

    Examples
    --------
    >>> import numpy as np
    >>> detector = PageHinkley(threshold=20)
    >>> detector.update_many(np.repeat([0.2, 0.9], 500)).tolist()
    [529]
    """

    _dtype = PAGE_HINKLEY_SERIES

    def __init__(
        self,
        min_instances: int = 30,
        delta: float = 0.005,
        threshold: float = 50.0,
        alpha: float = 1 - 0.0001,
        mode: str = "both",
    ) -> None:
        check_at_least(0, min_instances=min_instances, delta=delta)
        check_positive(threshold=threshold)
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must be in (0, 1], got {alpha}")
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}, got {mode}")
        self.min_instances = min_instances
        self.delta = delta
        self.threshold = threshold
        self.alpha = alpha
        self.mode = mode
        super().__init__((min_instances, float(delta), float(threshold), float(alpha), *_MODES[mode]))

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        return _update, _step


class PageHinkleyBank(Bank):
    """Page-Hinkley on each of ``k`` series: ``PageHinkleyBank(k, **parameters)``, with those of `PageHinkley`."""

    _of = PageHinkley


@njit(cache=True, nogil=True, error_model="numpy")
def _update(
    series: NDArray[Any],
    values: NDArray[np.float64],
    levels: NDArray[np.uint8],
    settings: tuple[int, float, float, float, bool, bool],
) -> None:
    """Feed column s of ``values`` to series s and note the levels."""
    min_instances, delta, threshold, alpha, up, down = settings
    for t in range(values.shape[0]):
        for s in range(values.shape[1]):
            if not np.isnan(values[t, s]):
                levels[t, s] = _step(series[s], min_instances, delta, threshold, alpha, up, down, values[t, s])


@njit(cache=True, nogil=True, error_model="numpy")
def _step(
    state: Any, min_instances: int, delta: float, threshold: float, alpha: float, up: bool, down: bool, x: float
) -> int:
    n = state["n"] + 1
    mean = state["mean"]
    mean += (1.0 / n) * (x - mean)
    gap = x - mean
    rise = alpha * state["rise"] + gap - delta
    fall = alpha * state["fall"] + gap + delta
    rise_lowest, fall_highest = state["rise_lowest"], state["fall_highest"]
    if n == 1 or rise < rise_lowest:
        state["rise_lowest"] = rise_lowest = rise
    if n == 1 or fall > fall_highest:
        state["fall_highest"] = fall_highest = fall
    if n >= min_instances and ((up and rise - rise_lowest > threshold) or (down and fall_highest - fall > threshold)):
        state["statistic"] = rise - rise_lowest if up and rise - rise_lowest > threshold else fall_highest - fall
        state["limit"] = threshold
        state["n"] = 0
        state["mean"] = state["rise"] = state["fall"] = 0.0
        return ALARM
    state["n"] = n
    state["mean"] = mean
    state["rise"] = rise
    state["fall"] = fall
    return QUIET
