"""Cardinality drift: watches how many labels events have, by any detector of change in a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from river import base

from drift.adwin import ADWIN
from drift.base import Detector
from drift.label_events import LabelRows, known_rows


class CardinalityDrift(base.Base):
    """Tells when events have come to have more or fewer labels.

    Parameters
    ----------
    detector
        Detector of change in a number, copied afresh; None: `ADWIN` with its defaults.

    Notes
    -----
    The number of labels of every event is a value of the detector, whose cost and guarantees are those of this one. An
    event of which not all labels are known is a missing value.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((600, 4))
    >>> labels[:, 0] = labels[300:, 2] = 1
    >>> CardinalityDrift().update_many(labels).tolist()
    [319]
    """

    def __init__(self, detector: ADWIN | Detector | None = None) -> None:
        self.detector = ADWIN() if detector is None else detector.clone()

    def update(self, labels: Iterable[int] | None) -> None:
        """Take in the numbers of an event's labels; None where not all of them are known."""
        self.detector.update(float("nan") if labels is None else float(len(set(labels))))

    def update_many(self, labels: LabelRows | NDArray[Any], known: ArrayLike | None = None) -> NDArray[np.int64]:
        """Take in events in order, as `PriorShift.update_many` does; positions of those that raised the alarm."""
        indptr, _, taken = known_rows(labels, known)
        return np.asarray(self.detector.update_many(np.where(taken, np.diff(indptr), np.nan)))

    @property
    def drift_detected(self) -> bool:
        """Whether the last event raised the alarm."""
        return self.detector.drift_detected

    @property
    def n_detections(self) -> int:
        """Alarms so far."""
        return self.detector.n_detections

    @property
    def n_missing(self) -> int:
        """Events so far of which not all labels were known."""
        return self.detector.n_missing

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies: the state of the detector."""
        return self.detector.get_state()

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of one with the same detector gave."""
        self.detector.set_state(state)

    @property
    def nbytes(self) -> int:
        """Bytes of the detector's state."""
        return self.detector.nbytes
