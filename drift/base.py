"""What detectors of change in one number share: a value at a time, arrays, banks of series, state, and checks.

A detector is a dtype for what it knows of a series, a class with its parameters, and two compiled functions: the
*step*, which takes one value into one series and tells the level it leads to, and the *kernel*, which runs the step
over rows of values. The same step serves a single detector, a bank, and values that come one at a time: those are fed
to the step uncompiled, over a dictionary in place of the record, because calling compiled code costs more than most
steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from river import base

QUIET, WARNING, ALARM = 0, 1, 2
"""What a value led to."""

LARGEST = float(np.finfo(np.float64).max)
"""Bounds of values where a method sets none: infinite ones are refused."""

_SHARED = [
    ("last", np.int64),
    ("n_detections", np.int64),
    ("n_missing", np.int64),
    ("statistic", np.float64),
    ("limit", np.float64),
]


def state_dtype(*fields: tuple[str, DTypeLike]) -> np.dtype[Any]:
    """Dtype of one series: the fields of its detector, the level that the last value led to, two counts, and what the
    step notes at an alarm: the statistic and the limit that it went beyond.

    All zeros must mean a series that has not begun.
    """
    return np.dtype([*fields, *_SHARED])


def check_probability(**probabilities: float) -> None:
    """Refuse a parameter that is not in (0, 1)."""
    for name, value in probabilities.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be in (0, 1), got {value}")


def check_at_least(least: float, **values: float) -> None:
    """Refuse a parameter that is less, infinite or NaN."""
    for name, value in values.items():
        if not least <= value < math.inf:
            raise ValueError(f"{name} must be at least {least:g} and finite, got {value}")


def check_positive(**values: float) -> None:
    """Refuse a parameter that is not above 0, or infinite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")


class Series:
    """State of ``k`` series in flat arrays, and the kernel that feeds them."""

    def __init__(self, k: int, detector: Detector) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self._of = type(detector)
        self._settings = detector._settings
        self.k = k
        self.arrays: dict[str, NDArray[Any]] = {
            "series": np.zeros(k, detector._dtype),
            **{name: np.repeat(first[None], k, axis=0) for name, first in detector._tables.items()},
        }

    @property
    def records(self) -> NDArray[Any]:
        """One record for each series."""
        return self.arrays["series"]

    def feed(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Take in rows of shape (n, k); the levels they led to, shape (n, k). Nothing is taken in if one is refused."""
        low, high = self._of._low, self._of._high
        refused = (values < low) | (values > high)
        if refused.any():
            row, column = np.argwhere(refused)[0]
            place = f"row {row}, series {column}"
            raise ValueError(f"values must be {_allowed(self._of)}, got {values[row, column]} in {place}")
        levels = np.zeros(values.shape, np.uint8)
        if len(values):
            self._of._kernels()[0](*self.arrays.values(), values, levels, self._settings)
            self.records["n_missing"] += np.isnan(values).sum(axis=0)
            self.records["n_detections"] += (levels == ALARM).sum(axis=0)
            self.records["last"] = levels[-1]
        return levels

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays."""
        return {name: array.copy() for name, array in self.arrays.items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Copy in what `get_state` gave."""
        if state.keys() != self.arrays.keys():
            raise ValueError(f"state must hold the arrays {sorted(self.arrays)}, got {sorted(state)}")
        for name, array in self.arrays.items():
            given = state[name]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise ValueError(
                    f"{name} must have shape {array.shape} and dtype {array.dtype}, got {given.shape}, {given.dtype}"
                )
        self.arrays = {name: np.array(state[name]) for name in self.arrays}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays; does not change."""
        return sum(array.nbytes for array in self.arrays.values())


class Detector(base.Base):
    """A detector of change in one series of numbers.

    A subclass checks its parameters, keeps them under their names, and calls this constructor.

    Parameters
    ----------
    settings
        What its step is given of the parameters, in the order that the kernel unpacks.
    tables
        Arrays that one series begins with, beside its record.
    """

    _dtype: ClassVar[np.dtype[Any]]
    _low: ClassVar[float] = -LARGEST
    _high: ClassVar[float] = LARGEST

    def __init__(self, settings: tuple[Any, ...], **tables: NDArray[Any]) -> None:
        super().__init__()
        self._settings = settings
        self._tables = tables
        self._series = Series(1, self)
        self._level = QUIET
        self._live: partial[int] | None = None

    @staticmethod
    def _kernels() -> tuple[Callable[..., Any], Callable[..., int] | None]:
        """Kernel and step; no step where it is too long to be run uncompiled."""
        raise NotImplementedError

    def update(self, x: float) -> None:
        """Take in one value; NaN is missing.

        Raises
        ------
        TypeError
            ``x`` is no number.
        ValueError
            ``x`` is outside the range that the detector allows.
        """
        if not self._low <= x <= self._high:
            self._refuse_or_skip(x)
            return
        live = self._live or self._come_alive()
        self._level = level = live(x)
        if level == ALARM:
            live.args[0]["n_detections"] += 1

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
            The shape is another, or a value is outside the range that the detector allows; nothing has been taken in.
        """
        values = np.ascontiguousarray(values, np.float64)
        if values.ndim != 1:
            raise ValueError(f"values must have shape (n,), got {values.shape}")
        levels = self._rest().feed(values[:, None])[:, 0]
        if len(levels):
            self._level = int(levels[-1])
        return np.flatnonzero(levels == ALARM)

    def _refuse_or_skip(self, x: float) -> None:
        if not math.isnan(x):
            raise ValueError(f"x must be {_allowed(type(self))}, got {x}")
        self._level = QUIET
        self._rest().records["n_missing"] += 1

    def _come_alive(self) -> partial[int]:
        """What takes in single values: the step over Python's own numbers and lists, or else the kernel."""
        kernel, step = self._kernels()
        arrays = self._series.arrays
        if step is None:
            live = partial(_feed_one, arrays["series"][0], kernel, tuple(arrays.values()), self._settings)
        else:
            record, *tables = arrays.values()
            state = dict(zip(self._dtype.names or (), record[0].item(), strict=True))
            step = getattr(step, "py_func", step)
            live = partial(step, state, *(table[0].tolist() for table in tables), *self._settings)
        self._live = live
        return live

    def _rest(self) -> Series:
        """The series with all that is known in its arrays."""
        live, self._live = self._live, None
        if live is not None and live.func is not _feed_one:
            record, *tables = self._series.arrays.values()
            record[0] = tuple(live.args[0].values())
            for table, row in zip(tables, live.args[1:], strict=False):
                table[0] = row
        self._series.records["last"] = self._level
        return self._series

    def __getstate__(self) -> dict[str, Any]:
        self._rest()
        return self.__dict__.copy()

    @property
    def drift_detected(self) -> bool:
        """Whether the last value raised the alarm."""
        return self._level == ALARM

    @property
    def n_detections(self) -> int:
        """Alarms so far."""
        return int(self._rest().records["n_detections"][0])

    @property
    def n_missing(self) -> int:
        """Missing values so far."""
        return int(self._rest().records["n_missing"][0])

    @property
    def evidence(self) -> tuple[float, float] | None:
        """The statistic of the last alarm and the limit that it went beyond; None before the first."""
        record = self._rest().records[0]
        return (float(record["statistic"]), float(record["limit"])) if record["n_detections"] else None

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies; ``set_state`` on a detector with the same parameters goes on bit for bit."""
        return self._rest().get_state()

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a detector with the same parameters gave; ValueError if shapes differ."""
        self._live = None
        self._series.set_state(state)
        self._level = int(self._series.records["last"][0])

    @property
    def nbytes(self) -> int:
        """Bytes of the state; does not change."""
        return self._series.nbytes


class WarningDetector(Detector):
    """A detector that also tells when the alarm is near."""

    @property
    def warning_detected(self) -> bool:
        """Whether the last value led to a warning; never together with an alarm."""
        return self._level == WARNING


class Bank:
    """A detector on each of ``k`` series at once, independently of one another.

    Parameters
    ----------
    k
        Number of series, at least 1.
    parameters
        Those of the detector, the same for all series.

    Raises
    ------
    ValueError
        A parameter is out of its range.

    Notes
    -----
    Takes ``k`` times the bytes of a single detector, however long the series get.
    """

    _of: ClassVar[type[Detector]]

    def __init__(self, k: int, *parameters: Any, **named: Any) -> None:
        self._series = Series(k, self._of(*parameters, **named))
        self.k = k

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
            The shape is another, or a value is outside the range that the detector allows; nothing has been taken in.
        """
        values = np.ascontiguousarray(values, np.float64)
        if values.ndim != 2 or values.shape[1] != self.k:
            raise ValueError(f"values must have shape (n, {self.k}), got {values.shape}")
        return np.argwhere(self._series.feed(values) == ALARM)

    @property
    def drift_detected(self) -> NDArray[np.bool_]:
        """Whether the last row raised an alarm in each series, shape (k,)."""
        return np.asarray(self._series.records["last"] == ALARM)

    @property
    def warning_detected(self) -> NDArray[np.bool_]:
        """Whether the last row led to a warning in each series, shape (k,); never where the detector has none."""
        return np.asarray(self._series.records["last"] == WARNING)

    @property
    def n_detections(self) -> NDArray[np.int64]:
        """Alarms of each series, shape (k,)."""
        return self._series.records["n_detections"].copy()

    @property
    def n_missing(self) -> NDArray[np.int64]:
        """Missing values that each series was given, shape (k,)."""
        return self._series.records["n_missing"].copy()

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies; ``set_state`` on a bank with the same parameters goes on bit for bit."""
        return self._series.get_state()

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a bank with the same parameters gave; ValueError if shapes differ."""
        self._series.set_state(state)

    @property
    def nbytes(self) -> int:
        """Bytes held; does not change."""
        return self._series.nbytes


def _allowed(of: type[Detector]) -> str:
    if of._high == LARGEST:
        return "finite or NaN"
    return f"in [{of._low:g}, {of._high:g}] or NaN"


def _feed_one(
    record: Any, kernel: Callable[..., Any], arrays: tuple[Any, ...], settings: tuple[Any, ...], x: float
) -> int:
    """One value through the kernel; ``record`` is where `Detector.update` counts alarms."""
    levels = np.zeros((1, 1), np.uint8)
    kernel(*arrays, np.full((1, 1), x, np.float64), levels, settings)
    return int(levels[0, 0])
