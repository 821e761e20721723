"""What detectors of change in feature rows share: a reference, a sliding window, checks at fixed rows, state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from river import base

from drift.base import check_at_least
from drift.multiple_tests import adjusted

ROWS = np.dtype(
    [
        ("n_since_start", np.int64),
        ("n_detections", np.int64),
        ("n_missing", np.int64),
        ("drift", np.int64),
        ("statistic", np.float64),
    ]
)
"""Rows since the last start; alarms and missing values so far; what the last row and the last check came to."""


class FeatureDetector(base.Base):
    """A detector that compares the newest rows with the first ones, after every ``clock``-th row once it has both.

    A subclass checks its own parameters and makes the comparison.
    """

    def __init__(self, reference_size: int, window_size: int, clock: int) -> None:
        check_at_least(20, reference_size=reference_size, window_size=window_size)
        check_at_least(1, clock=clock)
        self.reference_size = reference_size
        self.window_size = window_size
        self.clock = clock
        self._arrays: dict[str, NDArray[Any]] = {
            "rows": np.zeros(1, ROWS),
            "reference": np.zeros((reference_size, 0)),
            "window": np.zeros((window_size, 0)),
            "features": np.zeros(0, np.int64),
        }

    @abstractmethod
    def _check(self, reference: NDArray[np.float64], window: NDArray[np.float64]) -> bool:
        """Compare, note the statistic, and tell whether there is a change; the order of rows means nothing."""

    def update(self, x: ArrayLike) -> None:
        """Take in one row of features; NaN is missing."""
        self.update_many(np.asarray(x, np.float64)[None])

    def update_many(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Take in rows in order.

        Parameters
        ----------
        x
            float64 of shape (n, features), NaN for missing. The number of features is settled by the first call.

        Returns
        -------
        NDArray[np.int64]
            Positions of the rows that raised the alarm.

        Raises
        ------
        ValueError
            The shape is another, or a value is infinite; nothing has been taken in.
        """
        x = np.asarray(x, np.float64)
        n_features = self._arrays["window"].shape[1] or (x.shape[1] if x.ndim == 2 else 0)
        if x.ndim != 2 or x.shape[1] != n_features or not n_features:
            raise ValueError(f"x must have shape (n, {n_features or 'features'}), got {x.shape}")
        if np.isinf(x).any():
            row, feature = np.argwhere(np.isinf(x))[0]
            raise ValueError(f"x must be finite or NaN, got {x[row, feature]} in row {row}, feature {feature}")
        if not self._arrays["window"].shape[1]:
            self._arrays["reference"] = np.zeros((self.reference_size, n_features))
            self._arrays["window"] = np.zeros((self.window_size, n_features))
        rows, alarms = self._rows, []
        rows["n_missing"] += np.isnan(x).sum()
        if len(x):
            rows["drift"] = 0
        start = 0
        while start < len(x):
            n = int(rows["n_since_start"])
            # Up to the next check, or to the end of the reference.
            end = start + self.clock - n % self.clock
            if n < self.reference_size:
                end = min(end, start + self.reference_size - n)
            end = min(end, len(x))
            self._take(n, x[start:end])
            rows["n_since_start"] = n = n + end - start
            is_full = n >= self.reference_size + self.window_size
            if is_full and n % self.clock == 0 and self._check(self._arrays["reference"], self._arrays["window"]):
                alarms.append(end - 1)
                rows["n_detections"] += 1
                rows["drift"] = end == len(x)
                rows["n_since_start"] = 0
            start = end
        return np.array(alarms, np.int64)

    def _take(self, n: int, x: NDArray[np.float64]) -> None:
        if n < self.reference_size:
            self._arrays["reference"][n : n + len(x)] = x
            return
        places = (n - self.reference_size + np.arange(len(x))) % self.window_size
        self._arrays["window"][places[-self.window_size :]] = x[-self.window_size :]

    def _decide(self, p_values: NDArray[np.float64], control: str, delta: float) -> bool:
        """Note the smallest p-value after control, and the features that have changed; whether any has."""
        controlled = adjusted(p_values, control)
        self._rows["statistic"] = controlled.min()
        if not (controlled <= delta).any():
            return False
        self._arrays["features"] = np.flatnonzero(controlled <= delta)
        return True

    @property
    def _rows(self) -> Any:
        return self._arrays["rows"][0]

    @property
    def drift_detected(self) -> bool:
        """Whether the last row raised the alarm."""
        return bool(self._rows["drift"])

    @property
    def statistic(self) -> float:
        """What the last check found; 0 before the first."""
        return float(self._rows["statistic"])

    @property
    def n_detections(self) -> int:
        """Alarms so far."""
        return int(self._rows["n_detections"])

    @property
    def n_missing(self) -> int:
        """Missing values so far."""
        return int(self._rows["n_missing"])

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies; ``set_state`` on a detector with the same parameters goes on bit for bit."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a detector with the same parameters gave; ValueError if it cannot be that."""
        if state.keys() != self._arrays.keys():
            raise ValueError(f"state must hold the arrays {sorted(self._arrays)}, got {sorted(state)}")
        for name in ("reference", "window"):
            if len(state[name]) != len(self._arrays[name]):
                raise ValueError(f"{name} must have {len(self._arrays[name])} rows, got {len(state[name])}")
        self._arrays = {name: np.array(state[name]) for name in self._arrays}

    @property
    def nbytes(self) -> int:
        """Bytes held now: 8 a value of reference and window."""
        return sum(array.nbytes for array in self._arrays.values())
