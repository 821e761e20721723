"""A drift detector of river behind the interface of the room's own."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from drift.pickled import ARRAYS, from_arrays, to_arrays, trusting_pickle


class RiverDetector(base.Base):
    """Any drift detector of river, on one series of numbers.

    Parameters
    ----------
    detector
        A `river.base.DriftDetector` or `river.base.BinaryDriftDetector`, of which a copy takes the values; None: it
        comes with the state.
    text
        The specification it was made of, if it was.

    Raises
    ------
    TypeError
        ``detector`` is no detector of drift.

    Notes
    -----
    Values come one at a time, at the speed of river. NaN is missing and passed over. A detector of binary data is told
    whether a value is more than 1/2.

    The state is a pickle, which is taken over only where it is trusted, and not between versions of river that may
    differ; see `drift.pickled`.

    Examples
    --------
    >>> import numpy as np
    >>> from river.drift import PageHinkley
    >>> detector = RiverDetector(PageHinkley(threshold=5))
    >>> detector.update_many(np.repeat([0.1, 0.9], 100)).tolist()
    [106]
    """

    def __init__(self, detector: Any, *, text: str | None = None) -> None:
        if detector is not None and not isinstance(detector, (base.DriftDetector, base.BinaryDriftDetector)):
            raise TypeError(f"detector must be a drift detector of river, got {type(detector).__name__}")
        self.detector, self.text = detector, text
        self._detector: Any = copy.deepcopy(detector)
        self._binary = isinstance(detector, base.BinaryDriftDetector)
        self._alarm = False
        self._counts = np.zeros(2, np.int64)

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        from river.drift import ADWIN

        yield {"detector": ADWIN()}

    def update(self, x: float) -> None:
        """Take in one value; NaN is missing.

        Raises
        ------
        ValueError
            ``x`` is infinite.
        """
        if math.isinf(x):
            raise ValueError(f"x must be finite or NaN, got {x}")
        if math.isnan(x):
            self._alarm = False
            self._counts[1] += 1
            return
        self._detector.update(x > 0.5 if self._binary else float(x))
        self._alarm = bool(self._detector.drift_detected)
        self._counts[0] += self._alarm

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
        if np.isinf(values).any():
            raise ValueError(f"values must be finite or NaN, got infinity at {int(np.isinf(values).argmax())}")
        alarms = []
        for place, value in enumerate(values.tolist()):
            self.update(value)
            if self._alarm:
                alarms.append(place)
        return np.array(alarms, np.int64)

    @property
    def drift_detected(self) -> bool:
        """Whether the last value raised the alarm."""
        return self._alarm

    @property
    def warning_detected(self) -> bool:
        """Whether the last value led to a warning; never where the detector has none."""
        return bool(getattr(self._detector, "warning_detected", False))

    @property
    def estimation(self) -> float | None:
        """The mean that the detector holds, of one that has such."""
        estimation = getattr(self._detector, "estimation", None)
        return None if estimation is None else float(estimation)

    @property
    def n_detections(self) -> int:
        """Alarms so far."""
        return int(self._counts[0])

    @property
    def n_missing(self) -> int:
        """Missing values so far."""
        return int(self._counts[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the state."""
        return sum(array.nbytes for array in self.get_state().values())

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as arrays: pickle bytes, the version of river, the last alarm and the counts."""
        counts = {"counts": self._counts.copy(), "alarm": np.array(self._alarm)}
        return {**to_arrays((self.detector, self._detector)), **counts}

    def set_state(self, state: Mapping[str, NDArray[Any]], *, trust_pickle: bool = False) -> None:
        """Take over what ``get_state`` gave.

        Raises
        ------
        UntrustedPickleError
            Neither ``trust_pickle`` nor `trusting_pickle` say that it may be read.
        ValueError
            The arrays are others, or another version of river wrote them.
        """
        names = {*ARRAYS, "counts", "alarm"}
        if state.keys() != names:
            raise ValueError(f"state must hold the arrays {sorted(names)}, got {sorted(state)}")
        with trusting_pickle(trust_pickle):
            parameters, self._detector = from_arrays(state)
        self.detector = parameters if self.detector is None else self.detector
        self._binary = isinstance(self._detector, base.BinaryDriftDetector)
        self._counts, self._alarm = np.array(state["counts"], np.int64), bool(state["alarm"])
