"""ADWIN: a window over a series that lets go of its older part when the mean has changed; one series or many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from drift.adwin_window import ALARM, QUIET, WINDOW, feed_windows

_N_ROWS = 32
"""Rows of buckets."""


class ADWINBank:
    """ADWIN on each of ``k`` series at once, independently of one another.

    Parameters
    ----------
    k
        Number of series, at least 1.
    delta, clock, max_buckets, min_window_length, grace_period, restart
        As in `ADWIN`, the same for all series.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Takes ``192 + 512 * (max_buckets + 1)`` bytes a series, 3264 by default, however long the series get: a window of
    about ``max_buckets * 2 ** 32`` values loses its oldest ones without an alarm.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.zeros((300, 3))
    >>> values[100:, 1] = 1
    >>> bank = ADWINBank(3)
    >>> bank.update_many(values).tolist()
    [[127, 1]]
    """

    def __init__(
        self,
        k: int,
        delta: float = 0.002,
        *,
        clock: int = 32,
        max_buckets: int = 5,
        min_window_length: int = 5,
        grace_period: int = 10,
        restart: bool = True,
    ) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not 0 < delta < 1:
            raise ValueError(f"delta must be in (0, 1), got {delta}")
        for name, value, least in (
            ("clock", clock, 1),
            ("max_buckets", max_buckets, 1),
            ("min_window_length", min_window_length, 1),
            ("grace_period", grace_period, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.k = k
        self.delta = delta
        self.clock = clock
        self.max_buckets = max_buckets
        self.min_window_length = min_window_length
        self.grace_period = grace_period
        self.restart = restart
        self._windows = np.zeros(k, WINDOW)
        self._n_buckets = np.zeros((k, _N_ROWS), np.int32)
        self._buckets = np.zeros((k, _N_ROWS, max_buckets + 1, 2))

    def update_many(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Take in the rows of ``values`` in order.

        Parameters
        ----------
        values
            float64 of shape (n, k), NaN for missing: that series stands still.

        Returns
        -------
        NDArray[np.int64]
            Shape (alarms, 2): row and series of each alarm, ordered by row, then series.

        Raises
        ------
        ValueError
            The shape is another, or a value is infinite; nothing has been taken in.
        """
        values = np.ascontiguousarray(values, np.float64)
        if values.ndim != 2 or values.shape[1] != self.k:
            raise ValueError(f"values must have shape (n, {self.k}), got {values.shape}")
        if np.isinf(values).any():
            row, series = np.argwhere(np.isinf(values))[0]
            raise ValueError(f"values must be finite or NaN, got {values[row, series]} in row {row}, series {series}")
        return np.column_stack(np.divmod(np.flatnonzero(self._feed(values)), self.k))

    def _feed(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Take in checked values; where they raised alarms."""
        alarms = np.zeros(values.shape, np.bool_)
        feed_windows(
            self._windows, self._n_buckets, self._buckets, values, alarms,
            self.delta, self.clock, self.min_window_length, self.grace_period, self.restart,
        )  # fmt: skip
        return alarms

    @property
    def width(self) -> NDArray[np.int64]:
        """Number of values in each window, shape (k,)."""
        return self._windows["width"].copy()

    @property
    def total(self) -> NDArray[np.float64]:
        """Sum of the values in each window, shape (k,)."""
        return self._windows["total"].copy()

    @property
    def estimation(self) -> NDArray[np.float64]:
        """Mean of each window, shape (k,); 0 where it is empty."""
        return np.asarray(self._windows["total"] / np.maximum(self._windows["width"], 1))

    @property
    def variance(self) -> NDArray[np.float64]:
        """Squared deviations in each window over ``width``, shape (k,); 0 where it is empty."""
        return np.asarray(self._windows["deviations"] / np.maximum(self._windows["width"], 1))

    @property
    def n_detections(self) -> NDArray[np.int64]:
        """Alarms of each series, shape (k,)."""
        return self._windows["n_detections"].copy()

    @property
    def n_missing(self) -> NDArray[np.int64]:
        """Missing values that each series was given, shape (k,)."""
        return self._windows["n_missing"].copy()

    @property
    def drift_detected(self) -> NDArray[np.bool_]:
        """Whether the last row raised an alarm in each series, shape (k,)."""
        return np.asarray(self._windows["drift"] == ALARM)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies; ``set_state`` on a bank with the same parameters goes on bit for bit."""
        return {
            "windows": self._windows.copy(),
            "n_buckets": self._n_buckets.copy(),
            "buckets": self._buckets.copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a bank with the same parameters gave.

        Raises
        ------
        ValueError
            The state is that of another number of series or of buckets.
        """
        if state["buckets"].shape != self._buckets.shape:
            raise ValueError(f"buckets must have shape {self._buckets.shape}, got {state['buckets'].shape}")
        self._windows = state["windows"].copy()
        self._n_buckets = state["n_buckets"].copy()
        self._buckets = state["buckets"].copy()

    @property
    def nbytes(self) -> int:
        """Bytes held; does not change."""
        return self._windows.nbytes + self._n_buckets.nbytes + self._buckets.nbytes


class ADWIN(base.DriftDetector):
    """Adaptive windowing: tells when the mean of a series has changed, and keeps the values since then in short.

    Parameters
    ----------
    delta
        Bound on the probability of a false alarm at a check, in (0, 1).
    clock
        The window is checked at every ``clock``-th value, at least 1.
    max_buckets
        Buckets of each size, at least 1. With more of them the point of change is found more exactly.
    min_window_length
        Neither part of a cut may be shorter, at least 1.
    grace_period
        No check is made unless the window holds more values than this, at least 0.
    restart
        Forget everything when the next value comes after an alarm, as river's ADWIN does. False keeps the part of
        the window after the cut, as the paper has it.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    The window is stored as buckets of 1, 2, 4, … values, each with sum and squared deviations. While some cut between
    buckets leaves parts of n0 and n1 values with means further apart than

        sqrt(2 / m · variance · ln(2 / δ')) + 2 / (3 m) · ln(2 / δ'),   1/m = 1/n0 + 1/n1,   δ' = delta / ln(width),

    the oldest bucket is dropped. As river has it, n0 and n1 count ``min_window_length - 1`` values less in m. O(1) time
    a value, O(max_buckets · log width) a check, and 3264 bytes by default (`ADWINBank`) however long the series gets.

    Alarms come at the same values as from river's ADWIN. Two properties differ: ``variance`` is divided by the width,
    where river tells the sum of squared deviations, and ``n_detections`` counts all alarms, where river's starts again
    with the window.

    A missing value (NaN) is counted and otherwise passed over: it moves neither the window nor the clock, and
    ``drift_detected`` is False after it. `update` puts values by until the next check or until something is asked, so
    that few of its calls reach compiled code.

    References
    ----------
    Bifet, Gavaldà: "Learning from time-changing data with adaptive windowing", SIAM International Conference on Data
    Mining, 2007: the version with an exponential histogram (ADWIN2) and the bound from the normal approximation.

    Examples
    --------
    >>> import numpy as np
    >>> detector = ADWIN()
    >>> detector.update_many(np.repeat([0.2, 0.9], 500)).tolist()
    [543]
    >>> detector.update(0.9)
    >>> detector.drift_detected, round(detector.estimation, 3)
    (False, 0.9)
    """

    def __init__(
        self,
        delta: float = 0.002,
        clock: int = 32,
        max_buckets: int = 5,
        min_window_length: int = 5,
        grace_period: int = 10,
        restart: bool = True,
    ) -> None:
        super().__init__()
        self._bank = ADWINBank(
            1,
            delta,
            clock=clock,
            max_buckets=max_buckets,
            min_window_length=min_window_length,
            grace_period=grace_period,
            restart=restart,
        )
        self.delta = delta
        self.clock = clock
        self.max_buckets = max_buckets
        self.min_window_length = min_window_length
        self.grace_period = grace_period
        self.restart = restart
        self._waiting: list[float] = []
        self._n_to_check = clock

    def update(self, x: float) -> None:
        """Take in one value; NaN is missing. TypeError if it is no number, ValueError if it is infinite."""
        if not math.isfinite(x):
            self._refuse_or_skip(x)
            return
        self._drift_detected = False
        self._waiting.append(x)
        if len(self._waiting) == self._n_to_check:
            self._drift_detected = bool(self._hand_over()[-1, 0])
            self._n_to_check = self.clock

    def update_many(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Take in values in order.

        Parameters
        ----------
        values
            float64 of shape (n,), NaN for missing.

        Returns
        -------
        NDArray[np.int64]
            Positions in ``values`` of those that raised the alarm.

        Raises
        ------
        ValueError
            The shape is another, or a value is infinite; nothing has been taken in.
        """
        values = np.ascontiguousarray(values, np.float64)
        if values.ndim != 1:
            raise ValueError(f"values must have shape (n,), got {values.shape}")
        self._catch_up()
        alarms = self._bank.update_many(values[:, None])[:, 0]
        self._settle()
        return alarms

    def _refuse_or_skip(self, x: float) -> None:
        if math.isinf(x):
            raise ValueError(f"x must be finite or NaN, got {x}")
        self._waiting.append(x)
        self._catch_up()

    def _hand_over(self) -> NDArray[np.bool_]:
        """Give the values that wait to the kernel; the alarms of shape (n, 1)."""
        values, self._waiting = np.array(self._waiting, np.float64), []
        return self._bank._feed(values[:, None])

    def _catch_up(self) -> None:
        """See to it that nothing waits."""
        if self._waiting:
            self._hand_over()
            self._settle()

    def _settle(self) -> None:
        """Note what the kernel left: the alarm, and how many values are left to the next check."""
        window = self._bank._windows[0]
        self._drift_detected = bool(window["drift"] == ALARM)
        n_done = 0 if self.restart and window["drift"] != QUIET else int(window["n_since_start"])
        self._n_to_check = self.clock - n_done % self.clock

    def _window(self, name: str) -> Any:
        self._catch_up()
        return self._bank._windows[name][0]

    @property
    def width(self) -> int:
        """Number of values in the window."""
        return int(self._window("width"))

    @property
    def total(self) -> float:
        """Sum of the values in the window."""
        return float(self._window("total"))

    @property
    def estimation(self) -> float:
        """Mean of the window; 0 while it is empty."""
        return self.total / self.width if self.width else 0.0

    @property
    def variance(self) -> float:
        """Variance of the values in the window, the squared deviations over ``width``; 0 while it is empty."""
        return float(self._window("deviations")) / self.width if self.width else 0.0

    @property
    def n_detections(self) -> int:
        """Alarms so far."""
        return int(self._window("n_detections"))

    @property
    def n_missing(self) -> int:
        """Missing values so far."""
        return int(self._window("n_missing"))

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies; ``set_state`` on a detector with the same parameters goes on bit for bit."""
        self._catch_up()
        return self._bank.get_state()

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a detector with the same parameters gave; ValueError if they differ in
        ``max_buckets``."""
        self._waiting = []
        self._bank.set_state(state)
        self._settle()

    @property
    def nbytes(self) -> int:
        """Bytes held; does not change."""
        return self._bank.nbytes
