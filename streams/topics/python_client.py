"""The client protocol over kafka-python, the default backend."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    FencedInstanceIdError,
    InvalidProducerEpochError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    ProducerFencedError,
    RetriableError,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.structs import OffsetAndMetadata

from streams.source import TakenOverError
from streams.topics.address import Address
from streams.topics.client import COORDINATOR_S, PATIENCE_S, KafkaUnavailableError, LostPositionError, Outgoing, Record

_PATIENCE_MS = int(1000 * PATIENCE_S)
_TRANSACTION_MS = 60_000
_LARGEST = 1 << 24
"""Bytes of the largest record that is fetched or sent; the topic's own limit is mostly lower."""


def _settings(address: Address) -> dict[str, Any]:
    if "sasl_plain_password" in address.security:
        # They write down all that is sent, passwords too.
        for name in ("kafka.net.connection", "kafka.protocol.parser"):
            logging.getLogger(name).setLevel(logging.INFO)
    return {
        "bootstrap_servers": list(address.servers),
        "client_id": address.options.get("client", "ihomer"),
        "bootstrap_timeout_ms": _PATIENCE_MS,
        "reconnect_backoff_max_ms": 5000,
        "kafka_client": _make_client,
        **address.security,
    }


def _make_client(**settings: Any) -> KafkaNetClient:
    net = NetworkSelector(**settings)
    return KafkaNetClient(net, _Connections(net, **settings), **settings)


class _Connections(KafkaConnectionManager):  # type: ignore[misc]
    """Connections that say why a cluster lets nobody in, at once where trying again cannot help."""

    _failure: Exception | None = None

    async def _build_transport(self, *arguments: Any, **settings: Any) -> Any:
        transport = await super()._build_transport(*arguments, **settings)
        receive = transport._sock_recv

        def receive_all() -> tuple[bytes, Exception | None]:
            # kafka-python 3.0 forgets what came before the end of a connection: what a broker says when it refuses one.
            data, error = receive()
            return (data, None) if data else (data, error)

        transport._sock_recv = receive_all
        return transport

    def get_connection(self, node_id: Any, *arguments: Any, **settings: Any) -> Any:
        if self._failure is not None and _is_final(self._failure) and not self.cluster.brokers():
            raise self._failure
        connection = super().get_connection(node_id, *arguments, **settings)
        connection.init_future.add_errback(self._note)
        return connection

    def _note(self, failure: Exception) -> None:
        self._failure = failure

    def bootstrap(self, timeout_ms: float | None = None, refresh: bool = True) -> None:
        try:
            super().bootstrap(timeout_ms, refresh)
        except Exception as error:
            # Whoever asked for a client has got none that could be closed.
            self.close()
            self._net.close()
            why = self._failure or error
            raise (why if isinstance(why, KafkaError) else KafkaConnectionError(why)) from error


def _is_final(failure: Exception) -> bool:
    """Whether a login was refused, a certificate not trusted or a setting wrong, rather than a broker away."""
    if any(isinstance(one, ssl.SSLError) for one in (failure, failure.__context__, *failure.args)):
        return True
    return isinstance(failure, FileNotFoundError) or not isinstance(failure, (RetriableError, OSError))


@contextmanager
def _told(address: Address, what: str) -> Iterator[None]:
    """Errors of the client as ours, with the address and without settings."""
    try:
        yield
    except OffsetOutOfRangeError as error:
        raise LostPositionError(
            f"{address}: records after a position must still be there to go on from it, got {error}"
        ) from None
    except FencedInstanceIdError as error:
        raise TakenOverError(
            f"{address}: instance {address.options['instance']!r} of group {address.group!r} must be this process's, "
            "another one has it"
        ) from error
    except KafkaError as error:
        raise KafkaUnavailableError(f"{address}: {what} must work, got {error}") from error


def _within_patience(act: Callable[..., object], *arguments: Any) -> None:
    """Do what would wait for ever when the coordinator that was asked dies, and give it up after a while."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            act(*arguments)
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if not outcome:
        raise KafkaTimeoutError(f"no answer within {PATIENCE_S:.0f} s")
    if outcome[0] is not None:
        raise outcome[0]


class PythonConsumer:
    """See `streams.topics.client.Consumer`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        settings = _settings(address)
        if address.group is not None:
            session = address.count("session_timeout_ms", 45_000)
            settings |= {
                "group_id": address.group,
                "group_instance_id": address.options.get("instance"),
                "session_timeout_ms": session,
                "heartbeat_interval_ms": max(1, min(3000, session // 3)),
                "max_poll_interval_ms": address.count("max_poll_interval_ms", 300_000),
                "partition_assignment_strategy": (CooperativeStickyAssignor,),
            }
        with _told(address, "connecting"):
            self._consumer = KafkaConsumer(
                **settings,
                enable_auto_commit=False,
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                isolation_level=address.get("isolation"),
                max_partition_fetch_bytes=_LARGEST,
                fetch_max_wait_ms=100,
            )
        self._topic = address.topic

    def _of(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def partitions(self) -> list[int]:
        """Numbers of all partitions of the topic."""
        with _told(self._address, "asking for the topic"):
            found = self._consumer.partitions_for_topic(self._topic)
            if found:
                return sorted(found)
            others = sorted(self._consumer.topics())
        raise KafkaUnavailableError(
            f"{self._address}: topic must exist, found {', '.join(others[:20]) or 'no topics at all'}"
        )

    def join(
        self,
        assigned: Callable[[list[int]], None],
        revoked: Callable[[list[int]], None],
        lost: Callable[[list[int]], None],
    ) -> None:
        """Become a member of the address's group; what becomes of partitions is told during ``poll``."""

        def on_assigned(partitions: list[int]) -> None:
            for partition in partitions:
                self._hold(partition)
            assigned(partitions)

        self._consumer.subscribe([self._topic], listener=_Listener(on_assigned, revoked, lost))

    def assign(self, partitions: list[int]) -> None:
        """Read these partitions, without a group."""
        self._consumer.assign([self._of(partition) for partition in partitions])
        for partition in partitions:
            self._hold(partition)

    def _hold(self, partition: int) -> None:
        # A position, so that none is looked for, at which nothing is fetched.
        self._consumer.seek(self._of(partition), 0)
        self._consumer.pause(self._of(partition))

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from here on."""
        self._consumer.seek(self._of(partition), offset)
        self._consumer.resume(self._of(partition))

    def poll(self, timeout: float, most: int) -> Mapping[int, list[Record]]:
        """What has come, waiting so many seconds for the first."""
        # Records of a partition that was paused wait aside, and kafka-python 3.0 looks for them only where it holds no
        # others; those that it has handed out to the last one it goes on to hold.
        fetcher = self._consumer._fetcher
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None
        # One that has begun to join anew since the topic's partitions came to be known forgets to end that where a poll
        # ends before: it would send no heartbeat any more, be given up, and never know.
        coordinator = self._consumer._coordinator
        if coordinator.rejoining:
            coordinator.request_rejoin()
        try:
            with _told(self._address, "fetching"):
                found = self._consumer.poll(timeout_ms=int(1000 * timeout), max_records=most)
                self._check_membership()
        except KafkaUnavailableError as error:
            if isinstance(error.__cause__, RetriableError):
                return {}
            raise
        return {
            place.partition: [
                Record(record.offset, record.offset + 1, record.timestamp, record.key, record.value, record.headers)
                for record in records
            ]
            for place, records in found.items()
        }

    def _check_membership(self) -> None:
        # A member whose instance another one has got is told nothing by kafka-python 3.0, which ends its heartbeat.
        if "instance" not in self._address.options:
            return
        coordinator = self._consumer._coordinator
        with coordinator._lock:
            if coordinator.stable() and not coordinator.rejoining and not coordinator._heartbeat_enabled:
                raise FencedInstanceIdError

    def position(self, partition: int) -> int:
        """Offset that is fetched next."""
        return int(self._consumer.position(self._of(partition)))

    def pause(self, partition: int) -> None:
        """Fetch nothing of a partition for now."""
        self._consumer.pause(self._of(partition))

    def resume(self, partition: int) -> None:
        """Fetch again."""
        self._consumer.resume(self._of(partition))

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset that is there, and the one behind the last that can be read."""
        place = self._of(partition)
        with _told(self._address, "asking for offsets"):
            first = self._consumer.beginning_offsets([place])[place]
            end = self._consumer.end_offsets([place])[place]
        return int(first), int(end)

    def known_end(self, partition: int) -> int | None:
        """Offset behind the last record as of the last fetch, without asking."""
        end = self._consumer.highwater(self._of(partition))
        return None if end is None else int(end)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell the group where it stands; a group that is being shared out anew is told next time."""
        found = {self._of(partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
        with _told(self._address, "telling the group"):
            self._consumer.commit_async(found)

    def close(self) -> None:
        """Leave the group and let go."""
        self._consumer.close(autocommit=False, timeout_ms=5000)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(
        self,
        assigned: Callable[[list[int]], None],
        revoked: Callable[[list[int]], None],
        lost: Callable[[list[int]], None],
    ) -> None:
        self._assigned, self._revoked, self._lost = assigned, revoked, lost

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._assigned(sorted(place.partition for place in assigned))

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._revoked(sorted(place.partition for place in revoked))

    def on_partitions_lost(self, lost: Any) -> None:
        self._lost(sorted(place.partition for place in lost))


class PythonProducer:
    """See `streams.topics.client.Producer`."""

    def __init__(self, address: Address, transactional_id: str | None) -> None:
        self._address, self._id = address, transactional_id
        settings = _settings(address) | {
            "acks": "all",
            "allow_auto_create_topics": False,
            "max_request_size": _LARGEST,
            "max_block_ms": _PATIENCE_MS,
            "linger_ms": 5,
            # The broker is still ending a transaction when the next one begins, and asks for another try.
            "retry_backoff_ms": 10,
            "compression_type": "lz4",
        }
        if transactional_id is not None:
            settings |= {"transactional_id": transactional_id, "transaction_timeout_ms": _TRANSACTION_MS}
        self._sent: list[Any] = []
        with self._told("connecting"):
            self._producer = KafkaProducer(**settings)
            if transactional_id is not None:
                self._take_id()

    def _take_id(self) -> None:
        deadline = time.monotonic() + COORDINATOR_S
        while True:
            try:
                # Once more means to wait on.
                self._producer.init_transactions()
                return
            except KafkaTimeoutError:
                if time.monotonic() > deadline:
                    raise

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            with _told(self._address, what):
                yield
        except KafkaUnavailableError as error:
            if isinstance(error.__cause__, (ProducerFencedError, InvalidProducerEpochError)):
                raise TakenOverError(
                    f"{self._address}: transactional id {self._id!r} must be this process's, another one has it"
                ) from error
            raise

    def partitions(self) -> int:
        """How many partitions the topic has."""
        # The producer would have the broker make the topic.
        consumer = PythonConsumer(self._address.alone())
        try:
            return len(consumer.partitions())
        finally:
            consumer.close()

    def send(self, record: Outgoing) -> None:
        """Hand over a record; a failure comes to light later."""
        with self._told("writing"):
            self._sent.append(
                self._producer.send(
                    self._address.topic,
                    record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                )
            )

    def flush(self) -> None:
        """Wait until everything handed over is acknowledged."""
        with self._told("writing"):
            self._producer.flush(PATIENCE_S)
            for sent in self._sent:
                if sent.failed():
                    raise sent.exception
                if not sent.succeeded():
                    raise KafkaUnavailableError(f"{self._address}: writing must end within {PATIENCE_S:.0f} s")
        self._sent.clear()

    def begin(self) -> None:
        """Begin a transaction."""
        with self._told("a transaction"):
            self._producer.begin_transaction()

    def commit(self, count: int, metadata: str) -> None:
        """Commit the transaction, and with it how many messages there are by now."""
        self.flush()
        with self._told("a transaction"):
            offsets = {TopicPartition(self._address.topic, 0): OffsetAndMetadata(count, metadata, -1)}
            _within_patience(self._producer.send_offsets_to_transaction, offsets, self._group)
            _within_patience(self._producer.commit_transaction)

    def committed(self) -> tuple[int, str]:
        """The last count and metadata that were committed, (0, "") where none were."""
        with self._told("asking for what was committed"):
            consumer = KafkaConsumer(**_settings(self._address), group_id=self._group, enable_auto_commit=False)
            try:
                place = TopicPartition(self._address.topic, 0)
                found = consumer.committed(place, metadata=True, timeout_ms=_PATIENCE_MS)
            finally:
                consumer.close(autocommit=False, timeout_ms=5000)
        return (0, "") if found is None else (int(found.offset), str(found.metadata))

    @property
    def _group(self) -> str:
        """The group under which counts are kept; it has no members."""
        return f"ihomer.{self._id}"

    def close(self) -> None:
        """Let go without waiting for what was not flushed."""
        try:
            self._producer.close(timeout=0)
        except KafkaError:
            # It refuses to while records wait, which its thread gives up here.
            self._producer._sender.force_close()
            with suppress(KafkaError):
                self._producer.close(timeout=1)
