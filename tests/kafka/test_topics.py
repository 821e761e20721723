"""Sources and sinks on a real broker: what comes in, where it stands, and what cannot be read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.batch import COMPLETE, UNLABELLED, Batch, Schema
from streams.source import DecodeError, TakenOverError
from streams.topics.address import Address
from streams.topics.client import KafkaUnavailableError, LostPositionError, Outgoing
from streams.topics.formats import encode_arrow, encode_packed
from streams.topics.sink import KafkaSink
from streams.topics.source import KafkaSource, TopicPartitions
from streams.topics.writer import TopicWriter
from tests.kafka.running import fill, made_events, read_all, spread

BACKENDS = ("kafka-python", "confluent")
NAMES = [f"f{j}" for j in range(6)]
LABELS = ["sun", "rain", "schnee ❄"]


def batch_of(n: int, seed: int = 2) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    batch = Batch.from_arrays(x, rng.random((n, len(LABELS))) < 0.4, schema=Schema(NAMES, LABELS))
    batch.time = 1_700_000_000_000 + np.arange(n)
    batch.key = [f"k{i}" for i in range(n)]
    return batch


def drained(source: Any, size: int = 50) -> Batch:
    batches, dead = [], []
    while (batch := source.next_batch(size, 5.0)) is not None:
        dead += batch.dead
        if len(batch):
            batches.append(batch)
    whole = Batch.concat(batches)
    whole.dead = dead
    return whole


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["json", "binary", "arrow"])
def test_events_come_back_as_they_went(new_topic: Callable[..., str], tmp_path: Path, form: str, backend: str) -> None:
    schema_file = tmp_path / "schema.json"
    sent = batch_of(120)
    sent.label_state[7] = UNLABELLED
    sent.y = sent.y.from_lists([[] if i == 7 else sent.y.row(i).tolist() for i in range(120)])
    sent.x[3, 2] = np.nan
    schema = Schema(NAMES, LABELS)
    for column in range(len(NAMES)):
        schema.decide(column, 1)
    schema_file.write_text(json.dumps(schema.to_json()))
    url = f"{new_topic(3)}?format={form}&backend={backend}&schema={schema_file}"
    writer = TopicWriter(url)
    writer.write(sent)
    writer.close()
    source = KafkaSource(url, until_end=True)
    got = drained(source, 17)
    source.close()
    assert not got.dead
    order = np.argsort([int(str(key)[1:]) for key in got.key or []])
    got = got.take(order)
    assert got.key == sent.key
    assert got.time is not None
    np.testing.assert_array_equal(got.time, sent.time)
    columns = [got.schema.feature_names.index(name) for name in NAMES]
    np.testing.assert_array_equal(np.asarray(got.x)[:, columns], sent.x)
    np.testing.assert_array_equal(got.label_state, sent.label_state)
    names = [[str(got.schema.label_names[label]) for label in got.y.row(i)] for i in range(120)]
    assert [sorted(some) for some in names] == [sorted(LABELS[label] for label in sent.y.row(i)) for i in range(120)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_goes_on_at_its_position_within_a_record(new_topic: Callable[..., str], backend: str) -> None:
    url, sent = new_topic(1), batch_of(64)
    fill(url, [Outgoing(encode_arrow(sent[i : i + 16]), 0) for i in range(0, 64, 16)])
    address = f"{url}?format=arrow&backend={backend}"
    first = KafkaSource(address, until_end=True)
    head = first.next_batch(21, 5.0)
    assert head is not None
    position = json.loads(json.dumps(first.position()))
    first.close()
    second = KafkaSource(address, until_end=True)
    second.schema.extend(head.schema)
    second.resume(position)
    rest = drained(second)
    second.close()
    assert [*(head.key or []), *(rest.key or [])] == sent.key


def test_partitions_are_merged_by_time(new_topic: Callable[..., str]) -> None:
    url, events = new_topic(3), made_events(300)
    shuffled = np.random.default_rng(0).permutation(3)
    fill(url, [Outgoing(m.value, int(shuffled[m.partition]), m.key, (), m.timestamp) for m in spread(events, 3)])
    for size in (1, 40):
        source = KafkaSource(url, until_end=True)
        got = drained(source, size)
        source.close()
        assert got.key == [event["id"] for event in events]


MALFORMED: dict[str, bytes | None] = {
    "broken JSON": b'{"id": "a", "x": {"f0": 1.0',
    "wrong types": b'{"x": "no mapping", "y": ["l0"]}',
    "missing fields": b'{"id": "a"}',
    "NaN": b'{"x": {"f0": NaN}, "y": ["l0"]}',
    "too large a number": b'{"x": {"f0": 1e999}, "y": ["l0"]}',
    "10 MB": b'{"x": {"f0": "' + b"x" * 10_000_000 + b'}, "y": []}',
    "unknown label type": b'{"x": {"f0": 1.0}, "y": [{"a": 1}]}',
    "null value": None,
    "wrong magic bytes": b"iHE9" + bytes(40),
    "truncated Arrow": encode_arrow(batch_of(8))[:-100],
    "invalid UTF-8": b'{"x": {"f0": 1.0}, "y": ["\xff\xfe"]}',
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_malformed_events_are_kept_and_the_others_learned(new_topic: Callable[..., str], backend: str) -> None:
    url = new_topic(2, max_message_bytes="20000000")
    events = made_events(1000)
    messages, bad, rng = [], [], np.random.default_rng(4)
    for i, message in enumerate(spread(events, 2)):
        messages.append(message)
        if i % 90 == 10:
            reason, value = list(MALFORMED.items())[i // 90 % len(MALFORMED)]
            bad.append((reason, value))
            messages.append(Outgoing(value, int(rng.integers(2)), None, (), message.timestamp))
    assert len(bad) >= len(MALFORMED)
    fill(url, messages)
    topic = TopicPartitions(f"{url}?backend={backend}", until_end=True)
    sources = {partition: topic.source(partition) for partition in topic.poll(5.0, lambda partitions: None).assigned}
    assert sorted(sources) == [0, 1]
    batches, dead = [], []
    while not all(source.exhausted for source in sources.values()):
        topic.poll(1.0, lambda partitions: None)
        for source in sources.values():
            batch = source.next_batch(37)
            if batch is not None:
                batches.append(batch)
                dead += batch.dead
    topic.close()
    assert sum(map(len, batches)) == 1000
    assert sorted(letter.raw for letter in dead) == sorted(value or b"" for _, value in bad)
    places = {(letter.partition, letter.offset) for letter in dead}
    good = {(int(p), int(o)) for b in batches for p, o in zip(b.partition, b.offset, strict=True)}
    assert len(places) == len(dead)
    assert not places & good


@pytest.mark.parametrize(
    ("form", "value", "rule"),
    [
        ("binary", b"iHE", "must have at least 14 bytes"),
        ("binary", b"iHE9" + bytes(40), "must begin with b'iHE1', found b'iHE9'"),
        ("binary", encode_packed(batch_of(1))[0][:-1], "bytes, found"),
        ("arrow", encode_arrow(batch_of(8))[:-100], "must be a whole Arrow stream"),
        ("arrow", b"no table", "must be a whole Arrow stream"),
    ],
)
def test_a_value_that_breaks_its_format_says_how(
    new_topic: Callable[..., str], tmp_path: Path, form: str, value: bytes, rule: str
) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(Schema(NAMES, LABELS).to_json()))
    url = new_topic(1)
    fill(url, [Outgoing(value, 0)])
    source = KafkaSource(f"{url}?format={form}&schema={tmp_path / 'schema.json'}", on_error="fail", until_end=True)
    with pytest.raises(DecodeError, match=rule):
        drained(source)
    source.close()


def test_a_tombstone_is_no_event(new_topic: Callable[..., str]) -> None:
    url, events = new_topic(1), spread(made_events(3), 1)
    fill(url, [events[0], Outgoing(None, 0, b"e0"), events[1], Outgoing(None, 0), events[2]])
    source = KafkaSource(url, until_end=True)
    got = drained(source)
    source.close()
    assert got.key == ["e0", "e1", "e2"]
    assert [letter.reason for letter in got.dead] == [
        "a record without a value must have a key whose events it drops, found none"
    ]
    assert (got.label_state == COMPLETE).all()


# Sinks.


def values(url: str) -> list[bytes]:
    return [record.value or b"" for records in read_all(url).values() for record in records]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sink_that_dies_leaves_nothing_and_its_heir_repeats_nothing(
    new_topic: Callable[..., str], backend: str
) -> None:
    url = new_topic(1)
    messages = [b'{"n": %d}' % i for i in range(10)]
    first = KafkaSink(f"{url}?backend={backend}", partition=0, transactional_id="heir")
    start = first.position()
    first.write(messages[:4])
    checkpoint = first.position()
    first.write(messages[4:6])
    first.flush()
    first.write(messages[6:8])
    second = KafkaSink(f"{url}?backend={backend}", partition=0, transactional_id="heir")
    second.resume(checkpoint)
    second.write(messages[4:7])
    second.flush()
    with pytest.raises((TakenOverError, ValueError)):
        first.flush()
    second.write(messages[7:])
    assert second.position() == {"count": 10}
    assert start == {"count": 0}
    assert values(url) == messages
    first.close()
    second.close()


def test_a_guard_stops_a_sink_that_was_replaced(new_topic: Callable[..., str]) -> None:
    url = new_topic(1)

    def replaced() -> None:
        raise TakenOverError("somebody else has it")

    first = KafkaSink(url, partition=0, transactional_id="guarded", guard=replaced)
    first.write([b"1"])
    KafkaSink(url, partition=0, transactional_id="guarded").close()
    with pytest.raises(TakenOverError):
        first.flush()
    first.close()
    assert values(url) == []


def test_many_messages_in_one_record(new_topic: Callable[..., str]) -> None:
    url = new_topic(1)
    sink = KafkaSink(f"{url}?pack=4", partition=0, role="packed")
    sink.write([b'{"n": %d}' % i for i in range(10)])
    sink.position()
    sink.close()
    found = [json.loads(value) for value in values(url)]
    assert [len(pack) for pack in found] == [4, 4, 2]
    assert [one["n"] for pack in found for one in pack] == list(range(10))


def test_dead_letters_keep_their_bytes_and_say_why_in_headers(new_topic: Callable[..., str]) -> None:
    from streams.batch import DeadLetter
    from streams.wire import encode_dead_letter

    url = new_topic(1)
    sink = KafkaSink(url, partition=0, role="dead-letters")
    sink.write([encode_dead_letter(DeadLetter("events", 7, "broken ❄", b"\xff{", partition=3))])
    sink.position()
    sink.close()
    record = read_all(url)[0][0]
    assert record.value == b"\xff{"
    headers = {name: value.decode() for name, value in record.headers}
    assert headers["reason"] == "broken ❄"
    assert (headers["source"], headers["partition"], headers["offset"]) == ("events", "3", "7")


# What is wrong is said soon.


def test_no_broker_is_an_error_within_seconds() -> None:
    def connect(backend: str) -> None:
        with pytest.raises(KafkaUnavailableError, match=r"kafka://127\.0\.0\.1:9/events: connecting"):
            KafkaSource(f"kafka://127.0.0.1:9/events?backend={backend}")

    begun = time.monotonic()
    with ThreadPoolExecutor(len(BACKENDS)) as pool:
        list(pool.map(connect, BACKENDS))
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_topic_that_is_not_there_is_named(bootstrap: str, backend: str) -> None:
    with pytest.raises(KafkaUnavailableError, match=r"topic must exist, found"):
        KafkaSource(f"kafka://{bootstrap}/not-there?backend={backend}")
    with pytest.raises(KafkaUnavailableError, match=r"topic must exist"):
        KafkaSink(f"kafka://{bootstrap}/not-there-either?backend={backend}")


def test_a_position_that_was_deleted_is_an_error(new_topic: Callable[..., str]) -> None:
    from kafka import TopicPartition
    from kafka.admin import KafkaAdminClient

    url = new_topic(1)
    fill(url, spread(made_events(20), 1))
    address = Address.parse(url)
    admin = KafkaAdminClient(bootstrap_servers=list(address.servers))
    admin.delete_records({TopicPartition(address.topic, 0): 10})
    admin.close()
    source = KafkaSource(url, until_end=True)
    with pytest.raises(LostPositionError, match=r"must be in 10 … 20 of partition 0, got 5"):
        source.resume({"partitions": [{"topic": address.topic, "partition": 0, "offset": 5}]})
    source.close()


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("kafka://localhost:9092", "must be written as kafka://host:port/topic"),
        ("kafka://user:secret@localhost:9092/events", "credentials must stand in IHOMER_KAFKA_SASL_PLAIN_USERNAME"),
        ("kafka://localhost/events?format=xml", "format of a topic must be one of json, binary, arrow, got 'xml'"),
        ("kafka://localhost/events?grup=g", "an option of a topic must be one of .*, got 'grup'"),
        ("kafka://localhost/events?pack=0", "pack of a topic must be a whole number of at least 1, got '0'"),
        ("log:", "must be written as log:DIR"),
    ],
)
def test_a_wrong_address_is_refused(url: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as refused:
        Address.parse(url)
    assert "secret" not in str(refused.value)


def test_secrets_come_from_the_environment_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_KAFKA_SASL_PLAIN_PASSWORD", "secret")
    address = Address.parse("kafka://localhost:9092/events")
    assert address.security == {"sasl_plain_password": "secret"}
    assert "secret" not in repr(address) + str(address)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, "IHOMER_KAFKA_SECURITY_PROTOCOL must be one of PLAINTEXT, SSL, .*, got 'TLS'"),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "IHOMER_KAFKA_SASL_MECHANISM must be set for SASL_SSL, found nothing"),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_PLAIN_USERNAME": "me"},
            "IHOMER_KAFKA_SASL_PLAIN_PASSWORD must be set for SASL_SSL",
        ),
        ({"SSL_CAFILE": "/not/there.pem"}, "IHOMER_KAFKA_SSL_CAFILE must be a file, got '/not/there.pem'"),
    ],
)
def test_security_settings_that_cannot_work_are_named(settings: dict[str, str], rule: str) -> None:
    environment = {f"IHOMER_KAFKA_{name}": value for name, value in settings.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=rule):
        Address.parse("kafka://localhost:9092/events", environment)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reader_that_is_slow_is_waited_for_and_gets_all(
    new_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    from streams.topics import source as module

    monkeypatch.setattr(module, "_FULL", 400)
    monkeypatch.setattr(module, "_ENOUGH", 200)
    url, events = new_topic(4), made_events(8000)
    fill(url, spread(events, 4))
    topic = TopicPartitions(f"{url}?backend={backend}", until_end=True)
    sources: dict[int, Any] = {}
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while not sources or not all(source.exhausted for source in sources.values()):
        for partition in topic.poll(0.5, lambda partitions: None).assigned:
            sources[partition] = topic.source(partition)
        assert all(len(source.records) < 400 + 2000 for source in sources.values())
        for source in sources.values():
            batch = source.next_batch(50)
            found += [] if batch is None else batch.key or []
        assert time.monotonic() < deadline, "records stopped coming"
    topic.close()
    assert sorted(found) == sorted(event["id"] for event in events)
