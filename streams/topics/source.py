"""Topics as sources: partitions that a group shares out, or one stream of all of them in order of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from streams.batch import Batch, DeadLetter, Schema
from streams.source import Changes, DecodeError, Position
from streams.text_source import OnError
from streams.topics.address import Address
from streams.topics.client import (
    PATIENCE_S,
    Consumer,
    KafkaUnavailableError,
    LostPositionError,
    Record,
    make_consumer,
)
from streams.topics.formats import Decoder, make_decoder

_POLLED = 2000
_FULL, _ENOUGH = 8000, 4000
_FULL_BYTES = 1 << 26
"""Records, or bytes, of a partition that wait at most before it is paused, and records below which it goes on."""


class TopicPartitions:
    """A topic whose partitions are this process's as far as its group lets it have them; see `streams.source.Topic`.

    Parameters
    ----------
    address
        Where; a URL or an `Address`. Without a group all partitions are ours.
    on_error
        ``skip``: an event that cannot be read becomes a dead letter; ``fail``: it raises `DecodeError`.
    payload
        Name of a feature to take out of ``x`` as ``Batch.payload``.
    until_end
        Whether a partition ends where it did when it was assigned, and not never.

    Raises
    ------
    KafkaUnavailableError
        No broker answers within 15 s, the topic is not there, or the login is refused.

    Notes
    -----
    One consumer fetches for all partitions. What has come waits in bounded buffers; a partition whose buffer is full is
    paused, so that a slow learner slows the reading and nothing else. A partition begins where its reader says
    (``Source.resume``), or else at ``start``; offsets kept by the broker do not count.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        on_error: OnError = "skip",
        payload: str | None = None,
        until_end: bool = False,
    ) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        self._on_error, self._payload, self._until_end = on_error, payload, until_end
        self._consumer: Consumer = make_consumer(self.address)
        try:
            self._all = self._consumer.partitions()
        except BaseException:
            self._consumer.close()
            raise
        self._sources: dict[int, PartitionSource] = {}
        self._assigned: list[int] = []
        self._lost: list[int] = []
        self._release: Callable[[list[int]], None] = lambda partitions: None
        self._closed = False
        if self.address.group is None:
            self._consumer.assign(self._all)
            self._assigned += self._all
        else:
            self._consumer.join(self._assigned.extend, self._give_up, self._lost.extend)

    @property
    def name(self) -> str:
        """The topic's name."""
        return self.address.topic

    @property
    def partitions(self) -> list[int]:
        """Numbers of all partitions of the topic."""
        return self._all

    def poll(self, timeout: float, release: Callable[[list[int]], None]) -> Changes:
        """Fetch what has come and tell whose partitions changed; see `streams.source.Topic.poll`."""
        self._release = release
        for partition, records in self._consumer.poll(0.0 if self.waiting else timeout, _POLLED).items():
            source = self._sources.get(partition)
            if source is not None:
                source.take_in(records)
        changes = Changes(tuple(self._assigned), tuple(self._lost))
        self._assigned.clear()
        for partition in self._lost:
            self._sources.pop(partition, None)
        self._lost.clear()
        return changes

    @property
    def waiting(self) -> bool:
        """Whether there are records that were fetched and are not done with."""
        return any(source.records for source in self._sources.values())

    @property
    def in_hand(self) -> set[int]:
        """Partitions that are read."""
        return set(self._sources)

    def let_go(self, partition: int) -> None:
        """Read a partition no more."""
        if self._sources.pop(partition, None) is not None:
            self._consumer.pause(partition)

    def _give_up(self, partitions: list[int]) -> None:
        self._release([partition for partition in partitions if partition in self._sources])
        for partition in partitions:
            self._sources.pop(partition, None)
            if partition in self._assigned:
                self._assigned.remove(partition)

    def source(self, partition: int) -> PartitionSource:
        """The events of one of this process's partitions; its ``next_batch`` does not wait."""
        end = self._consumer.bounds(partition)[1] if self._until_end else None
        collector = _Collector(self.address, self._on_error, self._payload)
        made = PartitionSource(self._consumer, self.address, partition, collector, end=end)
        self._sources[partition] = made
        return made

    def commit(self, positions: Mapping[int, Position]) -> None:
        """Tell the group what is done with, for tools that show how far readers lag."""
        offsets = {partition: int(position["offset"]) for partition, position in positions.items()}
        if self.address.group is not None and offsets:
            self._consumer.commit(offsets)

    def lag(self, partition: int) -> int | None:
        """Events that have come and were not read, as far as the last fetch tells."""
        source = self._sources.get(partition)
        return None if source is None else source.lag

    def close(self) -> None:
        """Leave the group; may be called twice."""
        if not self._closed:
            self._closed = True
            self._release = lambda partitions: None
            self._consumer.close()


class _Collector:
    """Makes batches of the records of one partition or several."""

    def __init__(self, address: Address, on_error: OnError, payload: str | None) -> None:
        self.schema = Schema(sparse=address.get("rows") == "sparse")
        self._topic, self._on_error = address.topic, on_error
        self._decoder: Decoder = make_decoder(address, self.schema, payload)

    def collect(self, choose: Callable[[], PartitionSource | None], most: int) -> Batch:
        """At most so many events, dead letters among them, each from the partition that is chosen next."""
        offsets: list[int] = []
        partitions: list[int] = []
        dead: list[DeadLetter] = []
        while len(offsets) + len(dead) < most and (part := choose()) is not None:
            record, room = part.records[0], most - len(offsets) - len(dead)
            try:
                n_events = self._read(record, part.skip, room)
            except ValueError as error:
                if self._on_error == "fail":
                    if offsets:
                        break
                    raise DecodeError(part.name, str(error), offset=record.offset) from None
                raw = record.value or b""
                dead.append(DeadLetter(self._topic, record.offset, str(error), raw, partition=part.partition))
                n_events = part.skip
            taken = min(room, n_events - part.skip)
            offsets += [record.offset] * taken
            partitions += [part.partition] * taken
            part.advance(taken, whole=part.skip + taken == n_events)
        batch = self._decoder.take()
        batch.source, batch.dead = self._topic, dead
        batch.offset, batch.partition = np.array(offsets, np.int64), np.array(partitions, np.int32)
        return batch

    def _read(self, record: Record, skip: int, room: int) -> int:
        """How many events a record has; those that there is room for are taken in."""
        if record.value is None:
            if record.key is None:
                raise ValueError("a record without a value must have a key whose events it drops, found none")
            return 0
        return self._decoder.decode(record, skip, room)


class PartitionSource:
    """The events of one partition, as far as they have been fetched; see `streams.source.Source`.

    Positions are an offset and, of a record with many events, how many of them are done with.
    """

    def __init__(
        self, consumer: Consumer, address: Address, partition: int, collector: _Collector, *, end: int | None = None
    ) -> None:
        self.partition = partition
        self.records: deque[Record] = deque()
        """Records that were fetched and are not done with."""
        self.skip = 0
        """Events of the first of them that are done with."""
        self.newest = 0
        """The greatest time of a record that was fetched."""
        self._consumer, self._address, self._collector = consumer, address, collector
        self._n_bytes = 0
        self._next = -1
        self._end = end
        self._seen_end = 0
        self._paused = False

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._address.topic

    @property
    def name(self) -> str:
        """Topic and partition."""
        return f"{self.topic}/{self.partition}"

    @property
    def schema(self) -> Schema:
        """Names of the columns."""
        return self._collector.schema

    @property
    def n_events(self) -> int | None:
        """Not known."""
        return None

    @property
    def lag(self) -> int | None:
        """Offsets between the next event and the end as of the last fetch."""
        end = self._consumer.known_end(self.partition)
        return None if end is None or self._next < 0 else max(0, end - self._next)

    @property
    def exhausted(self) -> bool:
        """Whether everything up to the end that was set has been read."""
        return self._end is not None and self._has_read_to(self._end)

    @property
    def at_known_end(self) -> bool:
        """Whether everything has been read that the broker has told of."""
        return self._has_read_to(max(self._seen_end, self._consumer.known_end(self.partition) or 0))

    def _has_read_to(self, end: int) -> bool:
        return not self.records and self._consumer.position(self.partition) >= end

    def take_in(self, records: list[Record]) -> None:
        """Keep records that were fetched until they are read."""
        if self._end is not None:
            records = [record for record in records if record.offset < self._end]
        self.records.extend(records)
        self.newest = max(self.newest, *(record.timestamp or 0 for record in records), 0)
        self._n_bytes += sum(len(record.value or b"") for record in records)
        if not self._paused and (len(self.records) >= _FULL or self._n_bytes >= _FULL_BYTES):
            self._consumer.pause(self.partition)
            self._paused = True

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events that have been fetched, at most ``max_events`` of them; None at the end that was set.

        Raises
        ------
        ValueError
            ``max_events`` is below 1.
        """
        _check_room(max_events)
        self.begin()
        return None if self.exhausted else self.collect(lambda head: True, max_events)

    def first(self) -> PartitionSource | None:
        """This one where it has a record."""
        return self if self.records else None

    def head(self) -> Record | None:
        """The next record, or None where none has been fetched."""
        return self.records[0] if self.records else None

    def collect(self, wanted: Callable[[Record], bool], most: int) -> Batch:
        """At most so many events, up to the first record that is not wanted."""
        return self._collector.collect(lambda: self if self.records and wanted(self.records[0]) else None, most)

    def advance(self, n_events: int, whole: bool) -> None:
        """So many more events of the first record are done with, and so is it if ``whole``."""
        self.skip += n_events
        if not whole:
            return
        record = self.records.popleft()
        self._n_bytes -= len(record.value or b"")
        self._next, self.skip = record.next, 0
        if self._paused and len(self.records) < _ENOUGH and self._n_bytes < _FULL_BYTES // 2:
            self._consumer.resume(self.partition)
            self._paused = False

    def begin(self) -> None:
        """Go to the start, unless a position has been set."""
        if self._next < 0:
            first, end = self._consumer.bounds(self.partition)
            self._seek(first if self._address.get("start") == "earliest" else end, end)

    def _seek(self, offset: int, end: int) -> None:
        self.records.clear()
        self._next, self.skip, self._seen_end = offset, 0, end
        self._n_bytes, self._paused = 0, False
        self._consumer.seek(self.partition, offset)

    def position(self) -> Position:
        """Where the next event will be read."""
        self.begin()
        place = {"topic": self._address.topic, "partition": self.partition, "offset": self._next}
        return {**place, "skip": self.skip} if self.skip else place

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken.

        Raises
        ------
        LostPositionError
            The records there have been deleted, or the topic is another one that is shorter.
        """
        offset = int(position["offset"])
        first, end = self._consumer.bounds(self.partition)
        if not first <= offset <= end:
            raise LostPositionError(
                f"{self._address}: offset to go on from must be in {first} … {end} of partition {self.partition}, "
                f"got {offset}"
            )
        self._seek(offset, end)
        self.skip = int(position.get("skip", 0))

    def close(self) -> None:
        """Keep nothing; the consumer is the topic's."""
        self.records.clear()


class KafkaSource:
    """All partitions of a topic as one stream, in order of time; see `streams.source.Source`.

    Parameters
    ----------
    address
        Where; a URL or an `Address`. All partitions are read, whatever the group.
    on_error, payload, until_end
        As of `TopicPartitions`.

    Notes
    -----
    Events come by (time of the record, partition, offset), as far as every partition has a next one or has been read to
    its end as the broker last told it. So a topic that is there gives the same order each time. A partition that is
    behind the others in time, because its writer was late, is taken in when it comes: later than in a replay.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        on_error: OnError = "skip",
        payload: str | None = None,
        until_end: bool = False,
    ) -> None:
        self._address = (Address.parse(address) if isinstance(address, str) else address).alone()
        self._consumer = make_consumer(self._address)
        self._collector = _Collector(self._address, on_error, payload)
        self._closed = False
        try:
            partitions = self._consumer.partitions()
            self._consumer.assign(partitions)
            ends = [self._consumer.bounds(partition)[1] if until_end else None for partition in partitions]
        except BaseException:
            self.close()
            raise
        self._parts = {
            partition: PartitionSource(self._consumer, self._address, partition, self._collector, end=end)
            for partition, end in zip(partitions, ends, strict=True)
        }

    @property
    def name(self) -> str:
        """The topic's name."""
        return self._address.topic

    @property
    def schema(self) -> Schema:
        """Names of the columns."""
        return self._collector.schema

    @property
    def n_events(self) -> int | None:
        """Not known."""
        return None

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events in order of time, waiting up to ``timeout`` seconds for some; None at the end.

        Raises
        ------
        ValueError
            ``max_events`` is below 1.
        """
        _check_room(max_events)
        self.begin()
        if self.exhausted:
            return None
        self.fetch(0.0)
        batch = self.collect(lambda head: True, max_events)
        if not len(batch) and not batch.dead and timeout != 0:
            self.fetch(PATIENCE_S if timeout is None else timeout)
            batch = self.collect(lambda head: True, max_events)
        return batch

    def begin(self) -> None:
        """Go to the start of every partition, unless a position has been set."""
        for part in self._parts.values():
            part.begin()

    @property
    def exhausted(self) -> bool:
        """Whether everything up to the end that was set has been read."""
        return all(part.exhausted for part in self._parts.values())

    @property
    def at_known_end(self) -> bool:
        """Whether everything has been read that the broker has told of."""
        return all(part.at_known_end for part in self._parts.values())

    @property
    def newest(self) -> int:
        """The greatest time of a record that was fetched."""
        return max(part.newest for part in self._parts.values())

    def fetch(self, timeout: float) -> None:
        """Take in what has come, waiting so many seconds for the first."""
        for partition, records in self._consumer.poll(timeout, _POLLED).items():
            self._parts[partition].take_in(records)

    def first(self) -> PartitionSource | None:
        """The partition whose next event comes next, or None where that cannot be told yet."""
        found: PartitionSource | None = None
        for part in self._parts.values():
            if part.records:
                if found is None or (part.records[0].timestamp or 0) < (found.records[0].timestamp or 0):
                    found = part
            elif not part.exhausted and not part.at_known_end:
                return None
        return found

    def head(self) -> Record | None:
        """The next record, or None where it cannot be told yet or there is none."""
        part = self.first()
        return None if part is None else part.records[0]

    def collect(self, wanted: Callable[[Record], bool], most: int) -> Batch:
        """At most so many events, up to the first record that is not wanted."""

        def choose() -> PartitionSource | None:
            part = self.first()
            return part if part is not None and wanted(part.records[0]) else None

        return self._collector.collect(choose, most)

    def position(self) -> Position:
        """Where the next event of every partition will be read."""
        return {"topic": self.name, "partitions": [part.position() for part in self._parts.values()]}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken."""
        for one in position["partitions"]:
            part = self._parts.get(int(one["partition"]))
            if part is None:
                raise KafkaUnavailableError(f"{self._address}: partition {one['partition']} must exist, found none")
            part.resume(one)

    def close(self) -> None:
        """Let go; may be called twice."""
        if not self._closed:
            self._closed = True
            self._consumer.close()


def _check_room(max_events: int) -> None:
    if max_events < 1:
        raise ValueError(f"max_events must be at least 1, got {max_events}")
