"""Cells and their clock: what is measured, and how contestants take turns.

A cell first builds its workload and its contestants, then warms every contestant (compiled code, caches), and only then
starts the clock. Contestants take turns within one process, A B C A B C …, so that a machine that slows down slows all
of them. Only what an attempt does inside ``with clock:`` counts.

The figure of an attempt is a *cost*, lower being better: seconds per event, seconds, bytes, or events. Kept are all
costs, the best, the median and the worst. The *spread* of a contestant is worst / best - 1.

Beside its cost an attempt reports its quality (F1, say), since a fast wrong contestant is easy. Every metric that the
cell names must be there after every attempt and equal from repeat to repeat; one that has vanished fails the cell.

A contestant that has used up ``limit_s`` seconds in a cell is stopped, and recorded as stopped at that event. A peer
that cannot be installed, and data that cannot be had, are recorded as not available, with the reason; a contestant that
raises, as failed.
"""

from __future__ import annotations

import gc
import math
import statistics
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.targets import Target

LIMIT_S = 300.0
"""Seconds after which a contestant is stopped."""

REPEATS, QUICK_REPEATS = 5, 3

Quality = Mapping[str, float]


class StoppedError(Exception):
    """The contestant's time is up."""


class PeerMissingError(Exception):
    """A peer cannot be had here; the message is the reason."""


class Clock:
    """Times one attempt.

    Parameters
    ----------
    seconds_left
        When so much time has passed since the clock was made, `count` raises `StoppedError`.

    Attributes
    ----------
    events
        Events counted so far.
    seconds
        Time spent inside ``with clock:``.
    """

    def __init__(self, seconds_left: float = LIMIT_S) -> None:
        self._end = perf_counter() + seconds_left
        self._start = math.nan
        self._cost: float | None = None
        self.events = 0
        self.seconds = 0.0

    def __enter__(self) -> Clock:
        self._start = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += perf_counter() - self._start

    def count(self, events: int) -> None:
        """Say that so many more events are done; called at least every second or so."""
        self.events += events
        if perf_counter() > self._end:
            raise StoppedError

    def report(self, cost: float, events: int = 0) -> None:
        """State a cost that was measured elsewhere, by a process of its own, say."""
        self._cost, self.events = cost, events or self.events

    @property
    def seconds_left(self) -> float:
        """Time until the contestant is stopped."""
        return self._end - perf_counter()

    @property
    def cost(self) -> float:
        """What was reported, else seconds per event counted."""
        if self._cost is not None:
            return self._cost
        if not self.events:
            raise ValueError("an attempt must count its events or report a cost, got neither")
        return self.seconds / self.events


@dataclass(frozen=True)
class Contestant:
    """One side of a cell.

    Parameters
    ----------
    name
        As tables show it.
    attempt
        Does the work once, from a fresh start, timed by the clock that it is given, and returns the quality reached.
    warm
        Done once before any clock starts.
    note
        What a reader must know to judge the figure: how many events, which options.
    """

    name: str
    attempt: Callable[[Clock], Quality]
    warm: Callable[[], object] | None = None
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """What a cell is told when it is built.

    Parameters
    ----------
    quick
        Whether a beginning of the workload will do.
    folder
        Empty, for files of the cell; gone afterwards.
    """

    quick: bool
    folder: Path


@dataclass(frozen=True)
class Cell:
    """A workload and its contestants.

    Parameters
    ----------
    group
        Table in which the cell appears.
    workload
        Name with a version: changed data or changed work is a new name.
    build
        Makes the workload and returns the contestants. A quick workload is a beginning of the full one.
    unit
        ``events/s`` (the cost is seconds per event), ``s``, ``bytes`` or ``events``.
    targets
        What the cell is meant to show.
    metrics
        Names of the metrics that every attempt must return.
    agreement
        Contestants must agree on every metric that they share to within this much, relative where above 1; None where
        they need not.
    repeats
        Attempts each; None: `REPEATS`, or `QUICK_REPEATS` in a quick run.
    quick
        Whether the cell is part of a quick run.
    """

    group: str
    workload: str
    build: Callable[[Setting], Sequence[Contestant]]
    unit: str = "events/s"
    targets: Sequence[Target] = ()
    metrics: Sequence[str] = ()
    agreement: float | None = None
    repeats: int | None = None
    quick: bool = True

    @property
    def name(self) -> str:
        """What the cell is called in files and on the command line."""
        return f"{self.group}/{self.workload}"


@dataclass
class Side:
    """A contestant and what is known of it so far."""

    contestant: Contestant
    metrics: Sequence[str]
    limit_s: float
    status: str = "ok"
    reason: str = ""
    costs: list[float] = field(default_factory=list)
    events: int = 0
    quality: dict[str, float] = field(default_factory=dict)
    used_s: float = 0.0

    def warm(self) -> None:
        """Compile and fill caches; a failure here is the contestant's."""
        if self.contestant.warm is not None:
            self._guarded(self.contestant.warm)
            if self.status == "stopped":
                self.reason = "stopped while warming"

    def attempt(self) -> None:
        """One timed attempt, unless an earlier one ended it."""
        if self.status == "ok" and self.used_s < self.limit_s:
            gc.collect()
            self._guarded(self._attempt)

    def _attempt(self) -> None:
        clock, began = Clock(self.limit_s - self.used_s), perf_counter()
        try:
            quality = dict(self.contestant.attempt(clock))
        except StoppedError:
            if not self.costs:
                self.status, self.events = "stopped", clock.events
                self.reason = f"stopped at event {clock.events} after {self.limit_s:g} s"
            return
        finally:
            self.used_s += perf_counter() - began
        for metric in self.metrics:
            if not math.isfinite(quality.get(metric, math.nan)):
                raise ValueError(f"every attempt must report {metric}, got {quality}")
        for metric, before in self.quality.items():
            if quality.get(metric) != before:
                raise ValueError(f"{metric} must not differ between repeats, got {before}, then {quality.get(metric)}")
        self.costs.append(clock.cost)
        self.events, self.quality = clock.events, quality

    def _guarded(self, step: Callable[[], object]) -> None:
        try:
            step()
        except StoppedError:
            self.status = "stopped"
        except PeerMissingError as missing:
            self.status, self.reason = "missing", f"peer not available: {missing}"
        except Exception as error:
            self.status, self.reason = "failed", _reason(error)

    def record(self) -> dict[str, Any]:
        """What the result file holds of the contestant."""
        record: dict[str, Any] = {"name": self.contestant.name, "status": self.status}
        if self.reason:
            record["reason"] = self.reason
        if self.contestant.note:
            record["note"] = self.contestant.note
        record["events"] = self.events
        if self.status == "ok":
            best, worst = min(self.costs), max(self.costs)
            record.update(best=best, median=statistics.median(self.costs), worst=worst, spread=worst / best - 1)
            record.update(costs=self.costs, quality=self.quality)
        return record


def _reason(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"


def measure(
    cell: Cell,
    *,
    quick: bool = False,
    limit_s: float = LIMIT_S,
    advance: Callable[[str, int, int], None] = lambda name, repeat, repeats: None,
) -> dict[str, Any]:
    """Measure a cell.

    Parameters
    ----------
    cell
        What to measure.
    quick
        Fewer repeats, and a smaller workload where the cell has one.
    limit_s
        Seconds that each contestant has for all its attempts.
    advance
        Told who is about to run, for which of its attempts (0: to get warm), and of how many.

    Returns
    -------
    dict
        The cell as the result file holds it: plain JSON values.
    """
    record: dict[str, Any] = {"cell": cell.name, "group": cell.group, "workload": cell.workload, "unit": cell.unit}
    sides: list[Side] = []
    failures = []
    repeats = cell.repeats or (QUICK_REPEATS if quick else REPEATS)
    with tempfile.TemporaryDirectory(prefix="ihomer-benchmark-") as folder:
        try:
            contestants = cell.build(Setting(quick, Path(folder)))
        except FileNotFoundError as missing:
            record["absent"] = f"data not available: {missing}"
        except Exception as error:
            record["absent"] = f"building failed: {_reason(error)}"
            failures.append(record["absent"])
        else:
            sides = [Side(contestant, cell.metrics, limit_s) for contestant in contestants]
        for side in sides:
            advance(side.contestant.name, 0, repeats)
            side.warm()
        for repeat in range(1, repeats + 1):
            for side in sides:
                advance(side.contestant.name, repeat, repeats)
                side.attempt()
    record["contestants"] = [side.record() for side in sides]
    failures += [f"{side.contestant.name}: {side.reason}" for side in sides if side.status == "failed"]
    record["failures"] = failures
    if cell.agreement is not None:
        record["agreement"] = {"tolerance": cell.agreement, **_agreement(record, cell.agreement)}
    done = {side["name"]: side for side in record["contestants"]}
    record["targets"] = [target.judge(done) for target in cell.targets]
    return record


def _agreement(record: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Largest difference between contestants in any metric that they share; too large a one is a failure."""
    ok = [side for side in record["contestants"] if side["status"] == "ok"]
    largest, compared = 0.0, set()
    for i, one in enumerate(ok):
        for other in ok[i + 1 :]:
            for metric in sorted(one["quality"].keys() & other["quality"].keys()):
                a, b = one["quality"][metric], other["quality"][metric]
                gap = abs(a - b) / max(1.0, abs(a), abs(b))
                compared.add(metric)
                if not gap <= tolerance:
                    found = f"{a!r} ({one['name']}), {b!r} ({other['name']})"
                    record["failures"].append(f"{metric} must agree to within {tolerance:g}, got {found}")
                largest = max(largest, gap)
    return {"metrics": sorted(compared), "largest_difference": largest}
