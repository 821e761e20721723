"""What detectors of change in labels share: events of label numbers, checks at fixed events, state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from river import base

EVENTS = np.dtype(
    [
        ("n_since_start", np.int64),
        ("n_detections", np.int64),
        ("n_missing", np.int64),
        ("drift", np.int64),
        ("statistic", np.float64),
    ]
)
"""Events since the last start; alarms and events without full labels; whether the last event raised the alarm; the
statistic of the last check."""

LARGEST_NUMBER = 2**31 - 1
"""Two label numbers make one of 64 bits."""


class LabelRows(Protocol):
    """Label sets in compressed sparse rows, as the batches of this house and the matrices of SciPy have them."""

    @property
    def indptr(self) -> NDArray[Any]:
        """Where each event's labels begin in ``indices``, and where the last one's end."""

    @property
    def indices(self) -> NDArray[Any]:
        """Numbers of the labels present, rising within an event."""


class LabelDetector(base.Base):
    """A detector of change in label sets, which looks at them after every ``clock``-th event.

    A subclass keeps its state in ``_arrays``, takes in events that lie between two checks, and makes the check.
    """

    def __init__(self, clock: int) -> None:
        self.clock = clock
        self._arrays: dict[str, NDArray[Any]] = {"events": np.zeros(1, EVENTS)}

    @abstractmethod
    def _take(self, indptr: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
        """Take in events; none of them but the last is one to check at."""

    @abstractmethod
    def _check(self) -> bool:
        """Compare, note the statistic, and tell whether there is a change."""

    @abstractmethod
    def _restart(self) -> None:
        """Forget the events."""

    def update(self, labels: Iterable[int] | None) -> None:
        """Take in the numbers of an event's labels; None where not all of them are known."""
        numbers = np.array(sorted(set(labels or ())), np.int64)
        _check_numbers(np.array([0, len(numbers)]), numbers)
        self._feed(np.array([0, len(numbers)]), numbers, np.array([labels is not None]))

    def update_many(self, labels: LabelRows | NDArray[Any], known: ArrayLike | None = None) -> NDArray[np.int64]:
        """Take in events in order.

        Parameters
        ----------
        labels
            Compressed sparse rows, or an array of shape (n, labels) that is not 0 where a label is present.
        known
            Shape (n,): whether all labels of the event are known; others are counted and otherwise passed over. None:
            all are.

        Returns
        -------
        NDArray[np.int64]
            Positions of the events that raised the alarm.

        Raises
        ------
        ValueError
            The rows are no such rows, or ``known`` has another shape; nothing has been taken in.
        """
        return self._feed(*known_rows(labels, known))

    def _feed(
        self, indptr: NDArray[np.int64], indices: NDArray[np.int64], known: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        events, alarms = self._events, []
        if len(known):
            events["drift"] = 0
        positions = np.flatnonzero(known)
        if len(positions) < len(known):
            lengths = np.diff(indptr)
            indices = indices[np.repeat(known, lengths)]
            indptr = np.concatenate([[0], np.cumsum(lengths[known])])
            events["n_missing"] += len(known) - len(positions)
        start = 0
        while start < len(positions):
            end = min(len(positions), start + self.clock - int(events["n_since_start"]) % self.clock)
            self._take(indptr[start : end + 1] - indptr[start], indices[indptr[start] : indptr[end]])
            events["n_since_start"] += end - start
            if events["n_since_start"] % self.clock == 0 and self._check():
                alarms.append(positions[end - 1])
                events["n_detections"] += 1
                events["drift"] = positions[end - 1] == len(known) - 1
                events["n_since_start"] = 0
                self._restart()
            start = end
        return np.array(alarms, np.int64)

    @property
    def _events(self) -> Any:
        return self._arrays["events"][0]

    @property
    def drift_detected(self) -> bool:
        """Whether the last event raised the alarm."""
        return bool(self._events["drift"])

    @property
    def statistic(self) -> float:
        """What the last check found; 0 before the first."""
        return float(self._events["statistic"])

    @property
    def n_detections(self) -> int:
        """Alarms so far."""
        return int(self._events["n_detections"])

    @property
    def n_missing(self) -> int:
        """Events passed over so far, since not all their labels were known."""
        return int(self._events["n_missing"])

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies; ``set_state`` on a detector with the same parameters goes on bit for bit."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a detector with the same parameters gave; ValueError if it is none."""
        if state.keys() != self._arrays.keys():
            raise ValueError(f"state must hold the arrays {sorted(self._arrays)}, got {sorted(state)}")
        self._arrays = {name: np.array(state[name]) for name in self._arrays}

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum(array.nbytes for array in self._arrays.values())


def known_rows(
    labels: LabelRows | NDArray[Any], known: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """``indptr``, ``indices`` and ``known`` as `LabelDetector.update_many` allows them; ValueError if it does not."""
    if isinstance(labels, np.ndarray):
        if labels.ndim != 2:
            raise ValueError(f"labels must have shape (n, labels), got {labels.shape}")
        rows, indices = np.nonzero(labels)
        indptr = np.searchsorted(rows, np.arange(len(labels) + 1))
    else:
        indptr, indices = np.asarray(labels.indptr, np.int64), np.asarray(labels.indices, np.int64)
        _check_numbers(indptr, indices)
    n = len(indptr) - 1
    taken = np.ones(n, np.bool_) if known is None else np.asarray(known, np.bool_)
    if taken.shape != (n,):
        raise ValueError(f"known must have shape ({n},), got {taken.shape}")
    return indptr, indices, taken


def _check_numbers(indptr: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
    begins = np.zeros(len(indices) + 1, np.bool_)
    begins[indptr] = True
    if not (begins[1:-1] | (np.diff(indices) > 0)).all():
        raise ValueError("the label numbers of an event must rise, got others")
    if len(indices) and not 0 <= indices.min() <= indices.max() <= LARGEST_NUMBER:
        raise ValueError(f"label numbers must be in [0, {LARGEST_NUMBER}], got {indices.min()} to {indices.max()}")
