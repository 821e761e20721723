"""What alarms are worth where the drifts are known: delay, missed drifts, false alarms, and one number over all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class DetectionScore:
    """What came of a detector on one stream or several; two of them add up to that of both streams.

    Parameters
    ----------
    n_events
        Length of the stream.
    n_drifts
        Drifts in it.
    delays
        Of each detected drift in order: events from its first one to the alarm, both counted, so at least 1.
    n_false_alarms
        Alarms that no drift accounts for.
    n_repeats
        Further alarms for a drift that had one, neither detections nor false.

    Notes
    -----
    A figure that cannot be told is NaN: a delay where nothing was detected, a share of no drifts. Without a false
    alarm the mean time between two is infinite.

    References
    ----------
    Bifet: "Classifier concept drift detection and the illusion of progress", ICAISC 2017, section 3, for MTFA, MTD, MDR
    and MTR.
    """

    n_events: int = 0
    n_drifts: int = 0
    delays: tuple[int, ...] = ()
    n_false_alarms: int = 0
    n_repeats: int = 0

    def __add__(self, other: DetectionScore) -> DetectionScore:
        return DetectionScore(
            self.n_events + other.n_events,
            self.n_drifts + other.n_drifts,
            self.delays + other.delays,
            self.n_false_alarms + other.n_false_alarms,
            self.n_repeats + other.n_repeats,
        )

    @property
    def n_detected(self) -> int:
        """Drifts with an alarm."""
        return len(self.delays)

    @property
    def n_missed(self) -> int:
        """Drifts without an alarm."""
        return self.n_drifts - len(self.delays)

    @property
    def missed_rate(self) -> float:
        """Share of drifts without an alarm (MDR)."""
        return self.n_missed / self.n_drifts if self.n_drifts else math.nan

    @property
    def mean_delay(self) -> float:
        """Mean time to detection (MTD), in events, of the detected drifts."""
        return float(np.mean(self.delays)) if self.delays else math.nan

    @property
    def median_delay(self) -> float:
        """Median delay, in events, of the detected drifts."""
        return float(np.median(self.delays)) if self.delays else math.nan

    @property
    def false_alarms_per_10_000(self) -> float:
        """False alarms per 10,000 events of the stream."""
        return 10_000 * self.n_false_alarms / self.n_events if self.n_events else math.nan

    @property
    def mean_time_between_false_alarms(self) -> float:
        """Events of the stream for each false alarm (MTFA)."""
        if not self.n_events:
            return math.nan
        return self.n_events / self.n_false_alarms if self.n_false_alarms else math.inf

    @property
    def mean_time_ratio(self) -> float:
        """MTR = MTFA / MTD · (1 - MDR), higher being better: 0 where all drifts were missed."""
        if not self.n_drifts:
            return math.nan
        if not self.delays:
            return 0.0
        return self.mean_time_between_false_alarms / self.mean_delay * (1 - self.missed_rate)


def score_alarms(
    alarms: Iterable[int],
    drifts: Iterable[int],
    n_events: int,
    *,
    widths: ArrayLike = 1,
    acceptance: int | None = None,
    settling: int = 0,
) -> DetectionScore:
    """Hold the alarms of a detector against the drifts of the stream.

    Parameters
    ----------
    alarms
        Numbers of the events that raised an alarm, from 0 on, in any order, each once.
    drifts
        Numbers of the first events of drifts, rising.
    n_events
        Length of the stream; all numbers are below it.
    widths
        Events from the first of a drift to its last, both counted, at least 1; one for all drifts or one each.
    acceptance
        Events after the end of a drift in which its first alarm is accepted, at least 0; None: all up to the next.
    settling
        Events after the end of a drift in which further alarms count as repeats, at least 0: a learner that adapts
        changes its loss once more.

    Raises
    ------
    ValueError
        An argument is none of these.

    Notes
    -----
    An alarm concerns the drift that began last, at the event of the alarm or before; before the first drift it is
    false. The first that concerns a drift detects it, if it comes in time. Further ones are repeats while the drift
    lasts and settles, and are false from then on. So is everything that comes too late.

    Examples
    --------
    >>> score = score_alarms([120, 480, 530, 900], [450], 1000, widths=50)
    >>> score.delays, score.n_false_alarms, score.n_missed
    ((31,), 3, 0)
    >>> round(score.mean_time_ratio, 2)
    10.75
    """
    if n_events < 0:
        raise ValueError(f"n_events must be at least 0, got {n_events}")
    begins = _numbers("drifts", drifts, n_events)
    if (np.diff(begins) <= 0).any():
        raise ValueError(f"drifts must rise, got {begins.tolist()}")
    places = np.sort(_numbers("alarms", alarms, n_events))
    if (np.diff(places) == 0).any():
        raise ValueError(f"alarms must differ from each other, got {places[:-1][np.diff(places) == 0][0]} twice")
    lengths = np.asarray(widths)
    if lengths.ndim and lengths.shape != begins.shape:
        raise ValueError(f"widths must be one, or one for each of the {len(begins)} drifts, got {lengths.shape}")
    if (lengths < 1).any():
        raise ValueError(f"widths must be at least 1, got {lengths.min()}")
    for name, value in (("acceptance", acceptance), ("settling", settling)):
        if value is not None and value < 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    ends = begins + lengths
    concerns = np.searchsorted(begins, places, side="right") - 1
    delays, n_false, n_repeats, detected = [], 0, 0, set()
    for place, drift in zip(places.tolist(), concerns.tolist(), strict=True):
        if drift >= 0 and drift not in detected and (acceptance is None or place < ends[drift] + acceptance):
            detected.add(drift)
            delays.append(place + 1 - int(begins[drift]))
        elif drift in detected and place < ends[drift] + settling:
            n_repeats += 1
        else:
            n_false += 1
    return DetectionScore(n_events, len(begins), tuple(delays), n_false, n_repeats)


def _numbers(name: str, given: Iterable[int], n_events: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    numbers = np.fromiter(given, np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < n_events:
        raise ValueError(f"{name} must be in [0, {n_events}), got {numbers.min()} to {numbers.max()}")
    return numbers
