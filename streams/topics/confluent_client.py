"""The client protocol over confluent-kafka, which is several times faster and a compiled library."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.source import TakenOverError
from streams.topics.address import Address
from streams.topics.client import COORDINATOR_S, PATIENCE_S, KafkaUnavailableError, LostPositionError, Outgoing, Record

_logger = logging.getLogger("ihomer.kafka")

_SECURITY = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "sasl_kerberos_service_name": "sasl.kerberos.service.name",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
}
_AWAY = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT)
_FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)
_REFUSED = (KafkaError._AUTHENTICATION, KafkaError._SSL)
_FIRST_TRY_S = 1.0


def _settings(address: Address, note: Callable[[KafkaError], object] = lambda error: None) -> dict[str, Any]:
    security = {_SECURITY[name]: value for name, value in address.security.items() if name in _SECURITY}
    if address.security.get("ssl_check_hostname") is False:
        security["ssl.endpoint.identification.algorithm"] = "none"
    return {
        "bootstrap.servers": ",".join(address.servers),
        "client.id": address.options.get("client", "ihomer"),
        "logger": _logger,
        "error_cb": note,
        "reconnect.backoff.max.ms": 5000,
        **security,
    }


def _fail(address: Address, what: str, error: KafkaException) -> NoReturn:
    raise KafkaUnavailableError(f"{address}: {what} must work, got {error.args[0].str()}") from error


def _made(address: Address, make: Callable[[dict[str, Any]], Any], settings: dict[str, Any]) -> Any:
    try:
        return make(settings)
    except KafkaException as error:
        _fail(address, "settings", error)


def _partitions(address: Address, client: Any, noted: Iterable[KafkaError]) -> list[int]:
    """Numbers of the partitions of a topic; ``noted`` is what the client is told of its connections meanwhile."""
    deadline, patience = time.monotonic() + PATIENCE_S, _FIRST_TRY_S
    while True:
        try:
            topics = client.list_topics(timeout=patience).topics
            break
        except KafkaException as error:
            client.poll(0)
            why = [one for one in noted if one.code() != KafkaError._ALL_BROKERS_DOWN]
            patience = min(2 * patience, deadline - time.monotonic())
            if patience <= 0 or any(one.code() in _REFUSED for one in why):
                _fail(address, "connecting", KafkaException(why[-1]) if why else error)
    topic = topics.get(address.topic)
    if topic is None or topic.error is not None or not topic.partitions:
        others = ", ".join(sorted(topics)[:20]) or "no topics at all"
        raise KafkaUnavailableError(f"{address}: topic must exist, found {others}")
    return sorted(topic.partitions)


class ConfluentConsumer:
    """See `streams.topics.client.Consumer`."""

    def __init__(self, address: Address) -> None:
        self._address, self._topic = address, address.topic
        self._ends: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._noted: deque[KafkaError] = deque(maxlen=8)
        settings = _settings(address, self._noted.append) | {
            "group.id": address.group or "ihomer",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "isolation.level": address.get("isolation"),
            "fetch.wait.max.ms": 100,
            # The position behind what transactions leave in the log is told by this alone.
            "enable.partition.eof": True,
        }
        if address.group is not None:
            session = address.count("session_timeout_ms", 45_000)
            settings |= {
                "session.timeout.ms": session,
                "heartbeat.interval.ms": max(1, min(3000, session // 3)),
                "max.poll.interval.ms": max(session, address.count("max_poll_interval_ms", 300_000)),
                "partition.assignment.strategy": "cooperative-sticky",
            }
            if "instance" in address.options:
                settings["group.instance.id"] = address.options["instance"]
        self._consumer = _made(address, Consumer, settings)

    def _of(self, partition: int, offset: int | None = None) -> TopicPartition:
        if offset is None:
            return TopicPartition(self._topic, partition)
        return TopicPartition(self._topic, partition, offset)

    def partitions(self) -> list[int]:
        """Numbers of all partitions of the topic."""
        return _partitions(self._address, self._consumer, self._noted)

    def join(
        self,
        assigned: Callable[[list[int]], None],
        revoked: Callable[[list[int]], None],
        lost: Callable[[list[int]], None],
    ) -> None:
        """Become a member of the address's group; what becomes of partitions is told during ``poll``."""

        def ours(places: list[TopicPartition]) -> list[int]:
            # An instance that read another topic before is given that one's partitions first.
            return sorted(place.partition for place in places if place.topic == self._topic)

        def on_assign(consumer: Consumer, places: list[TopicPartition]) -> None:
            consumer.incremental_assign([TopicPartition(place.topic, place.partition, 0) for place in places])
            consumer.pause(places)
            assigned(ours(places))

        def on_revoke(consumer: Consumer, places: list[TopicPartition]) -> None:
            revoked(ours(places))
            consumer.incremental_unassign(places)

        def on_lost(consumer: Consumer, places: list[TopicPartition]) -> None:
            lost(ours(places))
            consumer.incremental_unassign(places)

        self._consumer.subscribe([self._topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    def assign(self, partitions: list[int]) -> None:
        """Read these partitions, without a group."""
        places = [self._of(partition, 0) for partition in partitions]
        self._consumer.assign(places)
        self._consumer.pause(places)

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from here on."""
        place = self._of(partition, offset)
        self._positions[partition] = offset
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._consumer.seek(place)
                break
            except KafkaException as error:
                # A partition that was only just assigned is not ready yet.
                if error.args[0].code() != KafkaError._STATE or time.monotonic() > deadline:
                    _fail(self._address, "going to an offset", error)
                time.sleep(0.01)
        self._consumer.resume([place])

    def poll(self, timeout: float, most: int) -> Mapping[int, list[Record]]:
        """What has come, waiting so many seconds for the first."""
        found: dict[int, list[Record]] = {}
        # It would wait for so many, and not for the first.
        messages: list[Any] = self._consumer.consume(1, timeout)
        if messages:
            messages += self._consumer.consume(most - 1, 0)
        for message in messages:
            partition, error = message.partition(), message.error()
            if error is not None:
                self._take_error(partition, message.offset(), error)
                continue
            offset = message.offset()
            record = Record(
                offset, offset + 1, message.timestamp()[1], message.key(), message.value(), message.headers() or ()
            )
            found.setdefault(partition, []).append(record)
            self._positions[partition] = offset + 1
        return found

    def _take_error(self, partition: int, offset: int | None, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            if offset is not None:
                self._positions[partition] = max(offset, self._positions.get(partition, 0))
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise LostPositionError(
                f"{self._address}: records after a position must still be there to go on from it, got {error.str()}"
            )
        elif error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID) and "instance" in self._address.options:
            raise TakenOverError(
                f"{self._address}: instance {self._address.options['instance']!r} of group {self._address.group!r} "
                f"must be this process's, another one has it ({error.str()})"
            )
        elif not error.retriable() and error.code() not in _AWAY:
            raise KafkaUnavailableError(f"{self._address}: fetching must work, got {error.str()}")

    def position(self, partition: int) -> int:
        """Offset that is fetched next."""
        return self._positions.get(partition, 0)

    def pause(self, partition: int) -> None:
        """Fetch nothing of a partition for now."""
        self._consumer.pause([self._of(partition)])

    def resume(self, partition: int) -> None:
        """Fetch again."""
        self._consumer.resume([self._of(partition)])

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset that is there, and the one behind the last that can be read."""
        try:
            first, end = self._consumer.get_watermark_offsets(self._of(partition), timeout=PATIENCE_S)
        except KafkaException as error:
            _fail(self._address, "asking for offsets", error)
        return int(first), int(end)

    def known_end(self, partition: int) -> int | None:
        """Offset behind the last record as of the last fetch, without asking."""
        try:
            _, end = self._consumer.get_watermark_offsets(self._of(partition), cached=True)
        except KafkaException:
            return None
        return None if end == OFFSET_INVALID else int(end)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell the group where it stands."""
        self._consumer.commit(offsets=[self._of(*place) for place in offsets.items()], asynchronous=True)

    def close(self) -> None:
        """Leave the group and let go."""
        self._consumer.close()


class ConfluentProducer:
    """See `streams.topics.client.Producer`."""

    def __init__(self, address: Address, transactional_id: str | None) -> None:
        self._address, self._id = address, transactional_id
        self._noted: deque[KafkaError] = deque(maxlen=8)
        settings = _settings(address, self._noted.append) | {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.max.bytes": 1 << 24,
        }
        if transactional_id is not None:
            settings |= {"transactional.id": transactional_id, "transaction.timeout.ms": 60_000}
        self._failed: list[KafkaError] = []
        self._producer = _made(address, Producer, settings)
        self.partitions()
        if transactional_id is not None:
            self._do("connecting", self._producer.init_transactions, COORDINATOR_S)

    def _do(self, what: str, act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except KafkaException as error:
            if error.args[0].code() in _FENCED:
                raise TakenOverError(
                    f"{self._address}: transactional id {self._id!r} must be this process's, another one has it"
                ) from error
            _fail(self._address, what, error)

    def partitions(self) -> int:
        """How many partitions the topic has."""
        return len(_partitions(self._address, self._producer, self._noted))

    def send(self, record: Outgoing) -> None:
        """Hand over a record; a failure comes to light later."""
        place: dict[str, Any] = {} if record.partition is None else {"partition": record.partition}
        if record.timestamp is not None:
            place["timestamp"] = record.timestamp
        while True:
            try:
                self._producer.produce(
                    self._address.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=self._note,
                    **place,
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _note(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed.append(error)

    def flush(self) -> None:
        """Wait until everything handed over is acknowledged."""
        try:
            left = self._producer.flush(PATIENCE_S)
        except SystemError as error:  # so does a producer that has been fenced
            raise KafkaUnavailableError(f"{self._address}: writing must work, got a producer that failed") from error
        failed, self._failed = self._failed, []
        if failed:
            _fail(self._address, "writing", KafkaException(failed[0]))
        if left:
            raise KafkaUnavailableError(f"{self._address}: writing must end within {PATIENCE_S:.0f} s, {left} are left")

    def begin(self) -> None:
        """Begin a transaction."""
        self._do("a transaction", self._producer.begin_transaction)

    def commit(self, count: int, metadata: str) -> None:
        """Commit the transaction, and with it how many messages there are by now."""
        self.flush()
        place = TopicPartition(self._address.topic, 0, count, metadata)
        counter = Consumer(_settings(self._address) | {"group.id": self._group})
        try:
            group = counter.consumer_group_metadata()
            self._do("a transaction", self._producer.send_offsets_to_transaction, [place], group, PATIENCE_S)
            self._do("a transaction", self._producer.commit_transaction, PATIENCE_S)
        finally:
            counter.close()

    def committed(self) -> tuple[int, str]:
        """The last count and metadata that were committed, (0, "") where none were."""
        counter = Consumer(_settings(self._address) | {"group.id": self._group})
        try:
            place = TopicPartition(self._address.topic, 0)
            found = self._do("asking for what was committed", counter.committed, [place], PATIENCE_S)[0]
        finally:
            counter.close()
        return (0, "") if found.offset < 0 else (int(found.offset), str(found.metadata or ""))

    @property
    def _group(self) -> str:
        """The group under which counts are kept; it has no members."""
        return f"ihomer.{self._id}"

    def close(self) -> None:
        """Let go without waiting for what was not flushed."""
        self._producer.purge()
        self._producer.poll(0)
