"""Events into a topic: each to the partition of its key, in the format of the address."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from streams.batch import Batch
from streams.files import LinesSink
from streams.topics.address import Address
from streams.topics.client import Outgoing, Producer, make_producer
from streams.topics.formats import make_encoder
from streams.topics.log import partition_path, partitions_of

_DEFAULT_PARTITIONS = 4


class TopicWriter:
    """Appends events to a topic, at least once.

    Parameters
    ----------
    address
        Where to; a URL or an `Address`. A folder that is not there is made with ``partitions`` (default 4) files; a
        topic of Kafka must be there.

    Notes
    -----
    Events of one key go to one partition, so that they keep their order and their labels follow them: that of number
    ``crc32(key) % n``. Events without keys go to the partitions in turn. A record of many events (``format=arrow``)
    takes the turn of its partition's events.
    """

    def __init__(self, address: Address | str) -> None:
        self._address = Address.parse(address) if isinstance(address, str) else address
        self._encode = make_encoder(self._address)
        self._files: list[LinesSink] = []
        self._producer: Producer | None = None
        if self._address.directory is not None:
            self._files = [LinesSink(path, append=True) for path in self._paths(self._address.directory)]
            self.n_partitions = len(self._files)
        else:
            self._producer = make_producer(self._address, None)
            self.n_partitions = self._producer.partitions()
        self._turn = 0

    def _paths(self, directory: Path) -> list[Path]:
        if self._address.get("format") != "json":
            raise ValueError(f"{self._address}: format must be json in a folder, got {self._address.get('format')!r}")
        directory.mkdir(parents=True, exist_ok=True)
        numbers = partitions_of(directory) or list(range(self._address.count("partitions", _DEFAULT_PARTITIONS)))
        paths = [partition_path(directory, number) for number in numbers]
        for path in paths:
            path.touch()
        return paths

    def write(self, batch: Batch) -> None:
        """Append the events of a batch."""
        partitions = self._partitions(batch)
        for partition in np.unique(partitions).tolist():
            rows = np.flatnonzero(partitions == partition)
            part = batch.take(rows)
            self._append(partition, part, self._encode(part))

    def append(self, partition: int, key: str | None, value: bytes | None, time: int | None) -> None:
        """Append one message that is encoded already."""
        if self._producer is None:
            self._files[partition].write([value or b""])
        else:
            encoded = None if key is None else key.encode()
            self._producer.send(Outgoing(value, partition, encoded, (), time))

    def partition_of(self, key: str) -> int:
        """The partition of a key."""
        return zlib.crc32(key.encode()) % self.n_partitions

    def _partitions(self, batch: Batch) -> Any:
        if batch.key is None:
            turns = (self._turn + np.arange(len(batch))) % self.n_partitions
            self._turn += len(batch)
            return turns
        return np.array([self.partition_of(str(key)) for key in batch.key], np.int64)

    def _append(self, partition: int, part: Batch, values: list[bytes]) -> None:
        if self._producer is None:
            self._files[partition].write(values)
            return
        one_each = len(values) == len(part)
        for i, value in enumerate(values):
            key = str(part.key[i]) if one_each and part.key is not None else None
            time = None if part.time is None else int(part.time[i] if one_each else part.time[0])
            self.append(partition, key, value, time)

    def flush(self) -> None:
        """Wait until everything is where readers see it."""
        for file in self._files:
            file.flush()
        if self._producer is not None:
            self._producer.flush()

    def close(self) -> None:
        """Make everything durable and let go."""
        for file in self._files:
            file.close()
        if self._producer is not None:
            self._producer.flush()
            self._producer.close()
