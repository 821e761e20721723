"""Scores of the end of a stream, from a learner's last restructuring on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.checkpoint import below
from ihomer.evaluation.arguments import Arguments
from ihomer.evaluation.metrics import MultiLabelMetrics
from learners.base import Learner

STRUCTURAL = ("split", "merge")
"""Kinds of events that change which labels belong together; a tree's splits name a feature and no labels."""


class Suffix:
    """Scores of the events after the last restructuring and a warm-up, as iHOMER's published figures have them.

    Those figures decode to fractions of so many events. What comes before the last restructuring is not scored, so they
    compare with nothing that was scored on the whole stream. A stream without any restructuring is scored from the
    warm-up on.

    Parameters
    ----------
    learner
        Whose restructurings count. It must have learned the events up to those that are counted here.
    warm_up
        Events after a restructuring that are left out.
    least
        A restructuring counts once so many events have come after it.

    Attributes
    ----------
    start
        Events that are left out, of all that can be scored.
    metrics
        Scores of those after them.
    """

    def __init__(self, learner: Learner, warm_up: int = 50, least: int = 100) -> None:
        self.learner, self.warm_up, self.least = learner, warm_up, least
        self._scored = {0: MultiLabelMetrics(window=1)}

    @property
    def start(self) -> int:
        """Events that are left out, of all that can be scored."""
        return next(iter(self._scored)) + self.warm_up

    @property
    def metrics(self) -> MultiLabelMetrics:
        """Scores of the events after those."""
        return next(iter(self._scored.values()))

    def count(self, events: Arguments, places: NDArray[np.int64]) -> None:
        """Count those of some events that come late enough; ``places`` are their numbers, ascending, from 1 on."""
        newest = next(reversed(self._scored))
        for told in reversed(self.learner.events_):
            if told["event"] <= newest:
                break
            if told["kind"] in STRUCTURAL and "labels" in told:
                self._scored[told["event"]] = MultiLabelMetrics(window=1)
        self._scored = dict(sorted(self._scored.items()))
        for change, metrics in self._scored.items():
            first = int(np.searchsorted(places, change + self.warm_up, side="right"))
            if first < events.n:
                metrics.count(events[first : events.n])
        counts = [change for change in self._scored if len(places) and change + self.least <= places[-1]]
        for former in counts[:-1]:
            del self._scored[former]

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything counted."""
        state = {"changes": np.array(list(self._scored))}
        for change, metrics in self._scored.items():
            state |= {f"{change}/{name}": array for name, array in metrics.get_state().items()}
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self._scored = {change: MultiLabelMetrics(window=1) for change in state["changes"].tolist()}
        for change, metrics in self._scored.items():
            metrics.set_state(below(str(change), state))
