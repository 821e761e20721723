"""Tells when answers have become worse, measured by what the labels' rates of late would have made of the event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift import stepd
from drift.base import WARNING, Detector
from ihomer.detectors import LOSS, AnyDetector, evidence, fresh, of_losses
from ihomer.events import Cells, Events

_LEAST = 1e-6
"""Probabilities of what was true count as at least this large."""

_LAST, _RISEN = 50, 2.0
"""Losses whose mean must lie so many standard errors above that of all before where an alarm is to count."""


class LossWatch:
    """Watches the answers of an `ihomer.classifier.IHOMERClassifier`.

    Parameters
    ----------
    detector
        A detector of change in a number, its name or one to start from; None: nothing is watched.

    Notes
    -----
    The log loss a of an answer is the mean over the cells asked, p of what was true being at least 1e-6; b is that of
    the labels' moving average (.97), as `ihomer.temporal.LabelPast` has it, in place of the answer. The detector is
    told (1 + (a - b) / log 1e6) / 2, which lies between 0 and 1: what makes an event hard for both does not count, and
    so fewer events tell a change.

    Where one label set follows another rates do well all of a sudden, a - b rises, and nothing is amiss. An alarm
    therefore counts only if a itself has risen, by 2 standard errors of the last 50 against all before, a test as of
    `drift.STEPD`. One that does not count changes nothing but the detector, which has begun anew.
    """

    def __init__(self, detector: str | AnyDetector | None) -> None:
        self.detector = None if detector is None else fresh(detector, LOSS)
        self._counts_right = self.detector is not None and of_losses(self.detector, np.zeros(1))[0] > 0
        self._own, self._last = np.zeros(1, stepd.STEPD_SERIES), np.zeros(_LAST)

    def run(self, proba: NDArray[np.float64], past: NDArray[np.float32], events: Events, cells: Cells) -> list[int]:
        """The places, among the events taught, of those at which there was an alarm that counts.

        Parameters
        ----------
        proba
            What was answered, a number a cell.
        past
            What `LabelPast` said of each cell, (cells, 6).
        """
        if self.detector is None:
            return []
        losses = np.empty((2, len(events.taught)))
        answer_losses(self.arrays(), proba, past, events, cells, losses)
        relative, risen = losses[:, events.taught]
        alarms = self.detector.update_many(of_losses(self.detector, relative))
        counted: list[int] = alarms[risen[alarms] > 0].tolist()
        return counted

    def update(self, relative: float, risen: float) -> bool:
        """Take in what `answer_losses` gave for a single event; whether there is an alarm that counts."""
        detector = self.detector
        if detector is None:
            return False
        if isinstance(detector, Detector):
            detector.update(1.0 - relative if self._counts_right else relative)
            is_alarm = detector.drift_detected
        else:
            is_alarm = len(detector.update_many(of_losses(detector, np.array([relative])))) > 0
        return is_alarm and risen > 0

    def begin_anew(self) -> None:
        """Forget how large losses were, once an alarm has led to what it calls for."""
        self._own[:], self._last[:] = np.zeros(1, stepd.STEPD_SERIES), 0.0

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What is known of losses themselves, as the kernel takes it."""
        return self._own, self._last

    @property
    def warns(self) -> bool:
        """Whether the detector warned at the last event."""
        return bool(getattr(self.detector, "warning_detected", False))

    @property
    def evidence(self) -> dict[str, float]:
        """What the detector raised its last alarm for."""
        return {} if self.detector is None else evidence(self.detector)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The detector's state, and what is known of losses themselves."""
        if self.detector is None:
            return {}
        told = {f"detector/{name}": array for name, array in self.detector.get_state().items()}
        return {"own": self._own.copy(), "last": self._last.copy(), **told}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        if self.detector is not None:
            self._own, self._last = state["own"].copy(), state["last"].copy()
            told = {name.removeprefix("detector/"): array for name, array in state.items() if "/" in name}
            self.detector.set_state(told)


@njit(cache=True, nogil=True)
def answer_losses(
    own: tuple[NDArray[Any], ...],
    proba: NDArray[np.float64],
    past: NDArray[np.float32],
    events: Events,
    cells: Cells,
    losses: NDArray[np.float64],
) -> None:
    """Write, for each event taught, what a detector is told of its answer, see `LossWatch`, and 1 where losses
    themselves have risen by then, else 0; an event without cells is answered as well as it can be."""
    series, last = own
    most = np.log(1.0 / _LEAST)
    for i in range(losses.shape[1]):
        if not events.taught[i]:
            continue
        n, ours, theirs = 0, 0.0, 0.0
        for cell in range(cells.start[i], cells.start[i + 1]):
            if cells.asked[cell] and not np.isnan(cells.target[cell]):
                twice = 2.0 * past[cell, 5]
                p, against = (proba[cell], -twice) if cells.target[cell] > 0 else (1.0 - proba[cell], twice)
                ours -= np.log(max(p, _LEAST))
                # The rate is 1 / (1 + exp(against)).
                theirs += np.log(1.0 + np.exp(against))
                n += 1
        losses[0, i] = 0.5 + 0.5 * (ours - theirs) / (max(n, 1) * most)
        losses[1, i] = stepd.step(series[0], last, np.inf, _RISEN, ours / max(n, 1)) == WARNING
