"""Tells when answers have become worse, measured by what the labels' rates of late would have made of the event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.base import Detector
from drift.stepd import STEPD
from ihomer.detectors import LOSS, AnyDetector, evidence, fresh, of_losses
from ihomer.events import Cells, Events

OWN, RELATIVE = 0, 1
"""Rows of what `answer_losses` writes."""

_LEAST = 1e-6
"""Probabilities of what was true count as at least this large."""

_RISEN, _NEVER = 2.0, 1e9
"""Standard errors by which the last losses must lie above those before where an alarm is to count; and of an alarm that
is never raised."""


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
    so fewer events tell a change. Where half of the labels of yeast change places, the mean of a - b over the next 50
    events rises by 2.9 to 6.2 standard errors, five orders at random, that of a by 2.1 to 4.8.

    Where one label set follows another rates do well all of a sudden, a - b rises, and nothing is amiss. An alarm
    therefore counts only if a itself has risen, by 2 standard errors of the last 50 against all before, a test as of
    `drift.STEPD`. One that does not count changes nothing but the detector, which has begun anew.
    """

    def __init__(self, detector: str | AnyDetector | None) -> None:
        self.detector = None if detector is None else fresh(detector, LOSS)
        self._counts_right = self.detector is not None and of_losses(self.detector, np.zeros(1))[0] > 0
        self._own = _own_losses()

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
        answer_losses(proba, past, events, cells, losses)
        return self._update_many(self.detector, losses[:, events.taught])

    def _update_many(self, detector: AnyDetector, losses: NDArray[np.float64]) -> list[int]:
        alarms, told = [], 0
        for place in detector.update_many(of_losses(detector, losses[RELATIVE])).tolist():
            self._own.update_many(losses[OWN, told : place + 1])
            told = place + 1
            if self._own.warning_detected:
                alarms.append(place)
                self._own = _own_losses()
        self._own.update_many(losses[OWN, told:])
        return alarms

    def update(self, own: float, relative: float) -> bool:
        """Take in what `answer_losses` gave for a single event; whether there is an alarm that counts."""
        detector = self.detector
        if detector is None:
            return False
        if not isinstance(detector, Detector):
            return len(self._update_many(detector, np.array([[own], [relative]]))) > 0
        detector.update(1.0 - relative if self._counts_right else relative)
        self._own.update(own)
        if not (detector.drift_detected and self._own.warning_detected):
            return False
        self._own = _own_losses()
        return True

    @property
    def warns(self) -> bool:
        """Whether the detector warned at the last event."""
        return bool(getattr(self.detector, "warning_detected", False))

    @property
    def evidence(self) -> dict[str, float]:
        """What the detector raised its last alarm for."""
        return {} if self.detector is None else evidence(self.detector)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The states of the detector and of the test of losses themselves."""
        watching = {} if self.detector is None else {"detector": self.detector, "own": self._own}
        return {f"{part}/{name}": array for part, of in watching.items() for name, array in of.get_state().items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        if self.detector is not None:
            for part, of in (("detector/", self.detector), ("own/", self._own)):
                of.set_state({name.removeprefix(part): state[name] for name in state if name.startswith(part)})


def _own_losses() -> STEPD:
    """What tells whether losses have risen: by its warnings."""
    return STEPD(threshold=_NEVER, warning_threshold=_RISEN)


@njit(cache=True, nogil=True)
def answer_losses(
    proba: NDArray[np.float64],
    past: NDArray[np.float32],
    events: Events,
    cells: Cells,
    losses: NDArray[np.float64],
) -> None:
    """Write the log loss of each answer as a share of the largest there is, and what a detector is told of it, see
    `LossWatch`; an event without cells is answered as well as it can be."""
    most = np.log(1.0 / _LEAST)
    for i in range(losses.shape[1]):
        n, ours, theirs = 0, 0.0, 0.0
        for cell in range(cells.start[i], cells.start[i + 1]):
            if cells.asked[cell] and not np.isnan(cells.target[cell]):
                twice = 2.0 * past[cell, 5]
                p, against = (proba[cell], -twice) if cells.target[cell] > 0 else (1.0 - proba[cell], twice)
                ours -= np.log(max(p, _LEAST))
                # The rate is 1 / (1 + exp(against)).
                theirs += np.log(1.0 + np.exp(against))
                n += 1
        losses[OWN, i] = ours / (max(n, 1) * most)
        losses[RELATIVE, i] = 0.5 + 0.5 * (ours - theirs) / (max(n, 1) * most)
