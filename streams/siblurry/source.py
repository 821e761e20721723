"""Events in the order of a scenario, as a source from which nothing else of the scenario can be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import Batch, Schema
from streams.siblurry.arrangement import Arrangement
from streams.siblurry.labelled import LabelledEvents
from streams.siblurry.scenario import SiBlurry
from streams.source import Position


class ArrangedSource:
    """Labelled events in the order of a scenario.

    Parameters
    ----------
    events
        Not changed.
    scenario
        Which event comes when.

    Attributes
    ----------
    arrangement
        The order and its sessions, for who scores; classes are columns of ``events``.
    label_order
        Column in ``events`` of each label, in the order in which labels first come, with those that never do last.
    births
        The place of the event with which each label comes, ascending, in the same order.

    Notes
    -----
    The schema names only the labels that came up to the end of the batch handed out last, in the order in which they
    came; events carry neither session nor the place where they stood before. Batches are copies, made when they are
    handed out: beside the events themselves this takes 8 bytes an event.
    """

    def __init__(self, events: LabelledEvents, scenario: SiBlurry) -> None:
        self._events, self._scenario = events, scenario
        classes = events.classes(events.batch)
        self.arrangement: Arrangement = scenario.order(classes)
        full, rows = events.batch.schema, events.batch.y.take(self.arrangement.indices)
        came, first = np.unique(rows.indices, return_index=True)
        by_time = np.argsort(first, kind="stable")
        self.label_order: NDArray[np.int64] = np.concatenate(
            [came[by_time], np.setdiff1d(np.arange(full.n_labels), came)]
        ).astype(np.int64)
        self._number = np.empty(full.n_labels, np.int32)
        self._number[self.label_order] = np.arange(full.n_labels)
        self.births: NDArray[np.int64] = np.searchsorted(rows.indptr, first[by_time], side="right") - 1
        self._schema = Schema.from_json({**full.to_json(), "labels": []})
        self._next = 0

    @property
    def name(self) -> str:
        """That of the data, and the seed."""
        return f"{self._events.name}-siblurry-{self._scenario.seed}"

    @property
    def scenario(self) -> SiBlurry:
        """Which event comes when."""
        return self._scenario

    @property
    def path(self) -> Path | None:
        """The file that the events came from, if any."""
        return self._events.path

    @property
    def schema(self) -> Schema:
        """Features, and the labels that came so far."""
        return self._schema

    @property
    def n_events(self) -> int:
        """How many events there will be."""
        return len(self.arrangement)

    def labels_by(self, place: int) -> int:
        """How many labels have come with the events before ``place``."""
        return int(np.searchsorted(self.births, place, side="left"))

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events``, or None at the end."""
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        start, stop = self._next, min(self._next + max_events, self.n_events)
        if start == stop:
            return None
        batch = self.renumbered(self._events.batch.take(self.arrangement.indices[start:stop]))
        batch.offset = np.arange(start, stop)
        self._go_to(stop)
        return batch

    def renumbered(self, batch: Batch) -> Batch:
        """Events of the data, training or test, under the numbers that labels have here."""
        known = None if batch.known is None else batch.known.renumbered(self._number)
        payload = batch.payload and [content_of(value) for value in batch.payload]
        return Batch(
            self._schema,
            batch.x,
            batch.y.renumbered(self._number),
            batch.label_state,
            known,
            batch.weight,
            batch.time,
            batch.key,
            payload,
            source=self.name,
        )

    def position(self) -> Position:
        """How many events have been handed out."""
        return {"offset": self._next}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken, in a source of the same events and scenario."""
        offset = int(position["offset"])
        if not 0 <= offset <= self.n_events:
            raise ValueError(f"position must lie in the {self.n_events} events, got {offset}")
        self._go_to(offset)

    def _go_to(self, place: int) -> None:
        self._next = place
        names = self._events.batch.schema.label_names
        for column in self.label_order[self._schema.n_labels : self.labels_by(place)]:
            self._schema.label_id(names[column])

    def close(self) -> None:
        """Nothing to let go of."""


def content_of(value: Any) -> Any:
    """A payload itself: of a file's path, its bytes."""
    return value.read_bytes() if isinstance(value, Path) else value
