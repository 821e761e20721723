"""A source replayed into a topic: at a rate, and with labels that come later and elsewhere if so wanted."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import replace

import msgspec
import numpy as np

from ihomer.progress import Progress
from streams.batch import UNLABELLED, Batch, Rows
from streams.memory import read_all
from streams.source import Source
from streams.topics.writer import TopicWriter
from streams.wire import label_names

_BATCH = 256
_SHORTEST_S = 0.02
"""With a rate, events are written in groups that are due within this time."""


def replay(
    source: Source,
    sink: str,
    *,
    rate: float | None = None,
    label_sink: str | None = None,
    label_delay: float = 0.0,
    max_events: int | None = None,
    loop: bool = False,
    progress: Progress,
) -> int:
    """Write the events of a source to a topic; how many there were.

    Parameters
    ----------
    rate
        Events a second, counted from the start, so that a pause is made up for; None: as fast as it goes.
    label_sink
        A topic that labels are written to, each under the id of its event; the events then have none.
    label_delay
        By how many seconds a label's time is later than that of its event. With a rate it is written that much later.
    loop
        Whether to begin again at the end, with new ids.

    Notes
    -----
    Events without an id get ``NAME-0``, ``NAME-1``, …. An event keeps its time where it has one and no rate is given;
    else its time is when it is due, or now.
    """
    if rate is not None and rate <= 0:
        raise ValueError(f"rate must be positive, got {rate:g}")
    if label_delay < 0:
        raise ValueError(f"label_delay must be at least 0, got {label_delay:g}")
    with ExitStack() as closing:
        events = TopicWriter(sink)
        closing.callback(events.close)
        labels = None if label_sink is None else TopicWriter(label_sink)
        if labels is not None:
            closing.callback(labels.close)
        replaying = _Replaying(events, labels, rate, round(1000 * label_delay))
        progress.begin(source.name, max_events or (None if loop else source.n_events))
        try:
            whole = read_all(source) if loop else None
            while max_events is None or replaying.n_written < max_events:
                room = replaying.room if max_events is None else min(replaying.room, max_events - replaying.n_written)
                if whole is None:
                    batch = source.next_batch(room)
                else:
                    start = replaying.n_written % len(whole)
                    batch = whole[start : start + room]
                    batch.key = None
                if batch is None:
                    break
                replaying.write(batch, source.name)
                progress.advance(replaying.n_written, dict)
            replaying.finish()
        finally:
            progress.end()
        return replaying.n_written


class _Replaying:
    def __init__(self, events: TopicWriter, labels: TopicWriter | None, rate: float | None, delay_ms: int) -> None:
        self._events, self._labels, self._rate, self._delay_ms = events, labels, rate, delay_ms
        self._begun = time.time()
        self.n_written = 0
        self._held: deque[tuple[int, str, bytes]] = deque()
        """Labels that are not due: time, key and message."""

    @property
    def room(self) -> int:
        """Events to be written together."""
        return _BATCH if self._rate is None else max(1, min(_BATCH, int(self._rate * _SHORTEST_S)))

    def write(self, batch: Batch, name: str) -> None:
        """Write events, and the labels that are due by then."""
        if not len(batch):
            return
        batch = self._dated(batch, name)
        if self._labels is not None:
            self._hold(batch)
            batch = replace(
                batch, y=Rows.empty(len(batch)), label_state=np.full(len(batch), UNLABELLED, np.uint8), known=None
            )
        self._wait(self._due(self.n_written))
        self._events.write(batch)
        self.n_written += len(batch)
        self._release()
        if self._rate is not None:
            self._events.flush()

    def finish(self) -> None:
        """Write the labels that are left, when they are due, and wait until all is where readers see it."""
        while self._held:
            if self._rate is not None:
                self._wait(self._held[0][0] / 1000)
            self._release()
        for writer in (self._events, self._labels):
            if writer is not None:
                writer.flush()

    def _due(self, number: int) -> float | None:
        return None if self._rate is None else self._begun + number / self._rate

    def _wait(self, until: float | None) -> None:
        while until is not None and time.time() < until:
            self._release()
            time.sleep(min(_SHORTEST_S, max(0.0, until - time.time())))

    def _dated(self, batch: Batch, name: str) -> Batch:
        numbers = range(self.n_written, self.n_written + len(batch))
        given = batch.key or [None] * len(batch)
        keys: list[str | None] = [
            f"{name}-{number}" if key is None else key for key, number in zip(given, numbers, strict=True)
        ]
        times = batch.time
        if times is None or self._rate is not None:
            times = np.array([round(1000 * (self._due(number) or time.time())) for number in numbers], np.int64)
        return replace(batch, key=keys, time=times, dead=[])

    def _hold(self, batch: Batch) -> None:
        assert batch.time is not None
        assert batch.key is not None
        for i, (key, sent) in enumerate(zip(batch.key, batch.time.tolist(), strict=True)):
            labels = label_names(batch, i)
            if labels is not None:
                due = sent + self._delay_ms
                self._held.append((due, str(key), msgspec.json.encode({"id": key, "y": labels, "ts": due})))

    def _release(self) -> None:
        """Write the labels that are due by now, or all of them where there is no rate."""
        now = 1000 * time.time()
        while self._held and self._labels is not None and (self._rate is None or self._held[0][0] <= now):
            due, key, message = self._held.popleft()
            self._labels.append(self._labels.partition_of(key), key, message, due)
        if self._rate is not None and self._labels is not None:
            self._labels.flush()
