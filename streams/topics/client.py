"""What topics need of what carries them: Apache Kafka through one of two libraries, or files of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from streams.topics.address import Address

PATIENCE_S = 15.0
"""How long a cluster may take to answer before that is an error."""

COORDINATOR_S = 60.0
"""How long one that answers may take to coordinate transactions; a new one has to make their log first."""


class KafkaUnavailableError(OSError):
    """A cluster, topic, group or login is not there or lets nobody in."""


class LostPositionError(RuntimeError):
    """Records between where a reader stopped and the beginning of the partition have been deleted."""


class Record(NamedTuple):
    """One message of a partition, where it stands, and where the one behind it will."""

    offset: int
    next: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Consumer(Protocol):
    """Reads partitions of one topic; each is paused from its assignment until ``seek``."""

    def partitions(self) -> list[int]:
        """Numbers of all partitions of the topic."""

    def join(self, assigned: Callable[[list[int]], None], revoked: Callable[[list[int]], None],
             lost: Callable[[list[int]], None]) -> None:  # fmt: skip
        """Become a member of the address's group; what becomes of partitions is told during ``poll``."""

    def assign(self, partitions: list[int]) -> None:
        """Read these partitions, without a group."""

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from here on."""

    def poll(self, timeout: float, most: int) -> Mapping[int, list[Record]]:
        """What has come, waiting so many seconds for the first."""

    def position(self, partition: int) -> int:
        """Offset that is fetched next; it passes over what transactions leave in the log."""

    def pause(self, partition: int) -> None:
        """Fetch nothing of a partition for now."""

    def resume(self, partition: int) -> None:
        """Fetch again."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset that is there, and the one behind the last that can be read."""

    def known_end(self, partition: int) -> int | None:
        """Offset behind the last record as of the last fetch, without asking."""

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell the group where it stands."""

    def close(self) -> None:
        """Leave the group and let go."""


class Producer(Protocol):
    """Writes one topic."""

    def partitions(self) -> int:
        """How many partitions the topic has."""

    def send(self, record: Outgoing) -> None:
        """Hand over a record; a failure comes to light later."""

    def flush(self) -> None:
        """Wait until everything handed over is acknowledged."""

    def begin(self) -> None:
        """Begin a transaction."""

    def commit(self, count: int, metadata: str) -> None:
        """Commit the transaction, and with it how many messages there are by now."""

    def committed(self) -> tuple[int, str]:
        """The last count and metadata that were committed, (0, "") where none were."""

    def close(self) -> None:
        """Let go without waiting for what was not flushed."""


class Outgoing(NamedTuple):
    """A record to be written."""

    value: bytes | None
    partition: int | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int | None = None


def make_consumer(address: Address) -> Consumer:
    """A consumer of the backend that the address names."""
    if address.directory is not None:
        from streams.topics.log import LogConsumer

        return LogConsumer(address)
    if address.get("backend") == "confluent":
        from streams.topics.confluent_client import ConfluentConsumer

        return ConfluentConsumer(address)
    from streams.topics.python_client import PythonConsumer

    return PythonConsumer(address)


def make_producer(address: Address, transactional_id: str | None) -> Producer:
    """A producer of the backend that the address names; with an id it takes over from earlier ones of that id."""
    if address.get("backend") == "confluent":
        from streams.topics.confluent_client import ConfluentProducer

        return ConfluentProducer(address, transactional_id)
    from streams.topics.python_client import PythonProducer

    return PythonProducer(address, transactional_id)
