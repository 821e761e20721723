"""Events and their labels from two topics, in one order that a replay repeats."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streams.batch import COMPLETE, PARTIAL, Batch, DeadLetter, Schema
from streams.source import Changes, DecodeError, Position
from streams.text_source import OnError
from streams.topics.client import PATIENCE_S, Record
from streams.topics.source import KafkaSource, PartitionSource, TopicPartitions
from streams.wire import Milliseconds

Part = PartitionSource | KafkaSource

_TURN_S = 0.01
"""How long one topic is waited for before the other is looked at."""


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    id: str | int | None = None
    y: list[str | int] | dict[str, bool | None] | None = None
    ts: Milliseconds | None = None


_decode = msgspec.json.Decoder(_Message, strict=True).decode


@dataclass(frozen=True, slots=True)
class Label:
    """What became known of the event of a key: labels present, of those known if not all; None: forget the event."""

    key: str
    time: int
    present: list[int] | None
    known: list[int] | None = None

    @property
    def state(self) -> int:
        """How much is known."""
        return COMPLETE if self.known is None else PARTIAL


@dataclass(slots=True)
class Labels:
    """Messages of the label topic, in order."""

    labels: list[Label] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)


class JoinedSource:
    """Events as batches and labels as `Labels`, merged by time; see `streams.source.Source`.

    Parameters
    ----------
    events, labels
        The same partition of two topics, or all partitions of each. A message of ``labels`` is ``{"id": "e1", "y":
        [...]}`` as of the wire format, its ``id`` that of the event, else the record's key.
    on_error
        What a message of ``labels`` does that cannot be read.
    wait_ms
        How much later than a message the newest one must be before it is handed on, where the other topic has been
        read to its end and so may still bring an earlier one.

    Notes
    -----
    Messages come by (time of the record, events before labels), as far as both topics have a next one, or one has been
    read to its end as the broker last told it. Topics that are there give the same order each time. While both grow, a
    message that is written with a time that has passed comes when it comes, unless ``wait_ms`` holds back what it
    belongs before. By default nothing is held back: predictions do not wait for labels that nobody has sent.
    """

    def __init__(self, events: Part, labels: Part, *, on_error: OnError = "skip", wait_ms: int = 0) -> None:
        self._events, self._labels, self._on_error, self._wait_ms = events, labels, on_error, wait_ms

    @property
    def name(self) -> str:
        """That of the events."""
        return self._events.name

    @property
    def schema(self) -> Schema:
        """Names of the columns; labels that are late belong to it, too."""
        return self._events.schema

    @property
    def n_events(self) -> int | None:
        """Not known."""
        return None

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Any:
        """Events, or labels, that come next; None when both topics are read to the ends that were set."""
        for part in (self._events, self._labels):
            part.begin()
        if self._events.exhausted and self._labels.exhausted:
            return None
        found = self._next(max_events)
        if found is None and timeout != 0:
            for part in (self._events, self._labels):
                if isinstance(part, KafkaSource) and not part.exhausted:
                    part.fetch((PATIENCE_S if timeout is None else timeout) / 2)
            found = self._next(max_events)
        return self._events.collect(lambda head: False, 1) if found is None else found

    def _next(self, most: int) -> Batch | Labels | None:
        event, last = self._events.head(), self._settled(self._labels)
        if event is not None and _time(event) <= last:
            return self._events.collect(lambda record: _time(record) <= last, most)
        label, before = self._labels.head(), self._settled(self._events)
        return self._read_labels(before, most) if label is not None and _time(label) < before else None

    def _settled(self, part: Part) -> float:
        """The time before which nothing will come any more of one of the two."""
        head = part.head()
        if head is not None:
            return _time(head)
        if part.exhausted:
            return math.inf
        if not part.at_known_end:
            return -math.inf
        return max(self._events.newest, self._labels.newest) - self._wait_ms if self._wait_ms else math.inf

    def _read_labels(self, before: float, most: int) -> Labels:
        found = Labels()
        while len(found) + len(found.dead) < most:
            part = self._labels.first()
            if part is None or _time(part.records[0]) >= before:
                break
            record = part.records[0]
            try:
                found.labels.append(_label(record, self.schema))
            except ValueError as error:
                if self._on_error == "fail":
                    if found.labels:
                        break
                    raise DecodeError(part.name, str(error), offset=record.offset) from None
                raw = record.value or b""
                found.dead.append(DeadLetter(part.topic, record.offset, str(error), raw, partition=part.partition))
            part.advance(0, whole=True)
        return found

    def position(self) -> Position:
        """Where the next event and the next label will be read."""
        return {**self._events.position(), "labels": self._labels.position()}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken."""
        self._events.resume(position)
        self._labels.resume(position["labels"])

    def close(self) -> None:
        """Let go of both."""
        self._events.close()
        self._labels.close()


class JoinedTopic:
    """A topic of events and one of labels, partition by partition; see `streams.source.Topic`.

    Parameters
    ----------
    events
        Says whose partitions are whose.
    labels
        Has as many partitions, and labels in that of their event. It is read without a group.

    on_error, wait_ms
        As of `JoinedSource`.

    Raises
    ------
    ValueError
        The numbers of partitions differ.
    """

    def __init__(
        self, events: TopicPartitions, labels: TopicPartitions, *, on_error: OnError = "skip", wait_ms: int = 0
    ) -> None:
        if len(events.partitions) != len(labels.partitions):
            raise ValueError(
                f"{labels.name}: a topic of labels must have as many partitions as that of events, "
                f"{len(events.partitions)}, got {len(labels.partitions)}"
            )
        self._events, self._labels, self._on_error, self._wait_ms = events, labels, on_error, wait_ms

    @property
    def name(self) -> str:
        """That of the events."""
        return self._events.name

    @property
    def partitions(self) -> list[int]:
        """Those of the events."""
        return self._events.partitions

    def poll(self, timeout: float, release: Callable[[list[int]], None]) -> Changes:
        """Fetch what has come of both; see `streams.source.Topic.poll`."""
        until = time.monotonic() + timeout
        while True:
            # The labels later than the events, so that one which was there before them is seen; both in short turns, so
            # that neither has to wait long for the other.
            changes = self._events.poll(min(_TURN_S, timeout), release)
            self._labels.poll(min(_TURN_S, timeout), lambda partitions: None)
            told = changes.assigned or changes.lost
            if told or self._events.waiting or self._labels.waiting or time.monotonic() >= until:
                break
        for partition in self._labels.in_hand - self._events.in_hand - set(changes.assigned):
            self._labels.let_go(partition)
        return changes

    def source(self, partition: int) -> JoinedSource:
        """The events and labels of a partition."""
        events, labels = self._events.source(partition), self._labels.source(partition)
        return JoinedSource(events, labels, on_error=self._on_error, wait_ms=self._wait_ms)

    def commit(self, positions: Mapping[int, Position]) -> None:
        """Tell the group of the events."""
        self._events.commit(positions)

    def lag(self, partition: int) -> int | None:
        """Events that have come and were not read."""
        return self._events.lag(partition)

    def close(self) -> None:
        """Leave; may be called twice."""
        self._events.close()
        self._labels.close()


def _time(record: Record) -> int:
    return record.timestamp or 0


def _label(record: Record, schema: Schema) -> Label:
    """What a message says; the schema grows only if all of it is right."""
    key = None if record.key is None else record.key.decode("utf-8", "replace")
    if record.value is None:
        if key is None:
            raise ValueError("a record without a value must have a key whose event it drops, found none")
        return Label(key, _time(record), None)
    try:
        message = _decode(record.value)
    except UnicodeDecodeError:
        raise ValueError("a label must be UTF-8, found other bytes") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f'a label must be {{"id": …, "y": …}}, found: {error}') from None
    name = key if message.id is None else str(message.id)
    if name is None:
        raise ValueError("a label must have the id of its event, or a record's key, found neither")
    y = message.y
    if y is None:
        raise ValueError("a label must have y, found none")
    time = _time(record) if message.ts is None else message.ts
    if isinstance(y, Mapping):
        if all(value is None for value in y.values()):
            raise ValueError(f"y must say of at least one label whether it is present, found {y!r}")
        ids = {schema.label_id(label): value for label, value in y.items()}
        present = [label for label, value in ids.items() if value]
        return Label(name, time, present, [label for label, value in ids.items() if value is not None])
    if len(set(y)) < len(y):
        raise ValueError(f"labels of an event must differ, found {y!r}")
    return Label(name, time, _ids(y, schema))


def _ids(names: Sequence[str | int], schema: Schema) -> list[int]:
    return [schema.label_id(name) for name in names]
