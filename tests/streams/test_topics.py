"""Topics in folders: partitions that grow, order by time, positions, and lines that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.batch import Batch, Schema
from streams.files import LinesSink
from streams.opening import open_partition_sink, open_source
from streams.source import DecodeError
from streams.topics.client import LostPositionError
from streams.topics.joining import JoinedSource, Labels
from streams.topics.log import partition_path, partitions_of
from streams.topics.source import KafkaSource, TopicPartitions
from streams.topics.writer import TopicWriter

N = 60


def events(n: int = N) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"id": f"e{i}", "ts": 1000 + i, "x": {"a": round(float(rng.normal()), 3)}, "y": ["l"] * int(i % 3 == 0)}
        for i in range(n)
    ]


def topic(folder: Path, partitions: int = 3, n: int = N) -> Path:
    """A topic whose events are in turn in its partitions, with blank lines between them."""
    made = events(n)
    for partition in range(partitions):
        lines = [json.dumps(event) for event in made[partition::partitions]]
        partition_path(folder, partition).write_text("\n\n".join(lines) + "\n")
    return folder


def keys(source: Any, size: int = 7) -> list[Any]:
    found: list[Any] = []
    while (batch := source.next_batch(size, 0.0)) is not None and (len(batch) or batch.dead):
        found += batch.key or []
    return found


@pytest.mark.parametrize("size", [1, 4, 100])
def test_partitions_are_read_in_order_of_time(tmp_path: Path, size: int) -> None:
    source = open_source(f"log:{topic(tmp_path)}")
    assert keys(source, size) == [event["id"] for event in events()]
    assert source.next_batch(size) is None


def test_goes_on_from_any_position(tmp_path: Path) -> None:
    whole = [event["id"] for event in events(20)]
    source = KafkaSource(f"log:{topic(tmp_path, 3, 20)}", until_end=True)
    for taken in range(21):
        again = KafkaSource(f"log:{tmp_path}", until_end=True)
        again.resume(json.loads(json.dumps(source.position())))
        assert keys(again) == whole[taken:]
        source.next_batch(1)


def test_a_file_is_followed_as_it_grows_and_a_torn_line_waits(tmp_path: Path) -> None:
    path = partition_path(tmp_path, 0)
    first, second, third = (json.dumps(event) + "\n" for event in events(3))
    path.write_text(first)
    source = KafkaSource(f"log:{tmp_path}")
    assert keys(source) == ["e0"]
    with open(path, "a") as file:
        file.write(second + third[:10])
        file.flush()
        assert keys(source) == ["e1"]
        assert keys(source) == []
        file.write(third[10:])
    assert keys(source) == ["e2"]


def test_partitions_one_by_one_with_dead_letters_at_their_bytes(tmp_path: Path) -> None:
    topic(tmp_path, 2)
    with open(partition_path(tmp_path, 1), "a") as file:
        start = file.tell()
        file.write('{broken\n{"id": "last", "ts": 5000, "x": {"a": 1}}\r\n')
    partitions = TopicPartitions(f"log:{tmp_path}", until_end=True)
    sources = {number: partitions.source(number) for number in partitions.poll(0.0, lambda lost: None).assigned}
    found: dict[int, list[Any]] = {0: [], 1: []}
    dead = []
    while not all(source.exhausted for source in sources.values()):
        partitions.poll(0.0, lambda lost: None)
        for number, source in sources.items():
            batch = source.next_batch(7)
            if batch is not None:
                found[number] += batch.key or []
                dead += batch.dead
                assert (batch.partition == number).all()
    assert found[0] == [event["id"] for event in events()[0::2]]
    assert found[1] == [event["id"] for event in events()[1::2]] + ["last"]
    assert [(letter.partition, letter.offset, letter.raw) for letter in dead] == [(1, start, b"{broken")]
    assert partitions.lag(0) == 0


def test_a_malformed_line_fails_where_that_is_wished(tmp_path: Path) -> None:
    partition_path(tmp_path, 0).write_text('{"x": {"a": 1}}\n{"x": 1}\n')
    source = KafkaSource(f"log:{tmp_path}", on_error="fail")
    assert len(source.next_batch(10)) == 1
    with pytest.raises(DecodeError, match="an event must have the fields of the wire format"):
        source.next_batch(10)


def test_a_buffer_that_is_full_holds_the_reader_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streams.topics import source as module

    monkeypatch.setattr(module, "_FULL", 10)
    monkeypatch.setattr(module, "_ENOUGH", 4)
    monkeypatch.setattr(module, "_POLLED", 6)
    partitions = TopicPartitions(f"log:{topic(tmp_path, 1)}", until_end=True)
    partitions.poll(0.0, lambda lost: None)
    source = partitions.source(0)
    source.begin()
    for _ in range(10):
        partitions.poll(0.0, lambda lost: None)
    assert len(source.records) == 12
    found: list[Any] = []
    while (batch := source.next_batch(3)) is not None:
        found += batch.key or []
        partitions.poll(0.0, lambda lost: None)
        assert len(source.records) <= 15
    assert found == [event["id"] for event in events()]


def test_a_writer_keeps_events_of_a_key_together_and_in_order(tmp_path: Path) -> None:
    batch = Batch.from_arrays(np.arange(40, dtype=np.float32)[:, None], np.ones((40, 1)), schema=Schema(["a"], ["l"]))
    batch.key = [f"k{i % 5}" for i in range(40)]
    batch.time = np.arange(40)
    for _ in range(2):
        writer = TopicWriter(f"log:{tmp_path / 'new'}?partitions=3")
        writer.write(batch)
        writer.close()
    assert partitions_of(tmp_path / "new") == [0, 1, 2]
    seen: dict[str, list[float]] = {}
    where: dict[str, set[int]] = {}
    for partition in range(3):
        for line in partition_path(tmp_path / "new", partition).read_text().splitlines():
            event = json.loads(line)
            seen.setdefault(event["id"], []).append(event["x"]["a"])
            where.setdefault(event["id"], set()).add(partition)
    assert all(len(places) == 1 for places in where.values())
    assert seen == {f"k{k}": [float(i) for i in range(k, 40, 5)] * 2 for k in range(5)}


def test_a_sink_appends_after_the_last_whole_line_and_goes_back(tmp_path: Path) -> None:
    path = partition_path(tmp_path, 2)
    path.write_text("one\ntorn")
    sink = open_partition_sink(f"log:{tmp_path}", 2)
    sink.write([b"two"])
    place = sink.position()
    sink.write([b"three"])
    sink.close()
    assert path.read_text() == "one\ntwo\nthree\n"
    again = open_partition_sink(f"log:{tmp_path}", 2)
    again.resume(place)
    again.write([b"other"])
    again.close()
    assert path.read_text() == "one\ntwo\nother\n"


def test_a_plain_file_has_one_beside_it_for_each_partition(tmp_path: Path) -> None:
    sink = open_partition_sink(str(tmp_path / "answers.jsonl.gz"), 3)
    assert isinstance(sink, LinesSink)
    sink.write([b"{}"])
    sink.close()
    assert (tmp_path / "answers-0003.jsonl.gz").exists()


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("log:{}/none", "the folder of a topic must be there"),
        ("log:{}", "a topic must have files partition-0000.jsonl"),
        ("log:{}?format=arrow", "format must be json in a folder, got 'arrow'"),
    ],
)
def test_what_is_no_topic_is_refused(tmp_path: Path, url: str, rule: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=rule):
        KafkaSource(url.format(tmp_path))


def test_a_folder_has_no_group(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="group must be left out"):
        TopicPartitions(f"log:{topic(tmp_path)}?group=g")


def test_only_what_is_called_a_partition_is_one(tmp_path: Path) -> None:
    topic(tmp_path, 2)
    for name in ("partition-0000.bak.jsonl", "partition-1.jsonl", "partition-x.jsonl", "notes.txt"):
        (tmp_path / name).write_text("{}\n")
    assert partitions_of(tmp_path) == [0, 1]
    assert len(keys(KafkaSource(f"log:{tmp_path}"))) == N


@pytest.mark.parametrize("time", [1 << 63, -(1 << 63) - 1, 10**30])
def test_a_time_beyond_64_bits_is_a_dead_letter(tmp_path: Path, time: int) -> None:
    good = '{"id": "good", "x": {"a": 1}}'
    partition_path(tmp_path, 0).write_text(f'{{"ts": {time}, "x": {{"a": 1}}}}\n{good}\n')
    batch = KafkaSource(f"log:{tmp_path}").next_batch(10)
    assert batch is not None
    assert batch.key == ["good"]
    assert [letter.offset for letter in batch.dead] == [0]


def test_a_second_writer_waits_and_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.files.PATIENCE_S", 0.2)
    batch = Batch.from_arrays(np.ones((5, 1), np.float32), schema=Schema(["a"], ["l"]))
    first, second = (TopicWriter(f"log:{tmp_path}?partitions=1") for _ in range(2))
    first.write(batch)
    with pytest.raises(BlockingIOError, match="a file must have one writer at a time"):
        second.write(batch)
    first.close()
    second.write(batch)
    second.close()
    assert len(keys(KafkaSource(f"log:{tmp_path}"))) == 0
    assert len(partition_path(tmp_path, 0).read_text().splitlines()) == 10


def test_a_file_that_was_cut_back_is_waited_for_and_another_one_refused(tmp_path: Path) -> None:
    path = partition_path(topic(tmp_path, 1, 10), 0)
    whole = path.read_bytes()
    source = KafkaSource(f"log:{tmp_path}")
    source.next_batch(6)
    read = source.position()["partitions"][0]["offset"]
    follower = KafkaSource(f"log:{tmp_path}")
    assert len(keys(follower)) == 10
    path.write_bytes(whole[:read])
    assert keys(follower) == []
    path.write_bytes(whole + b'{"id": "new", "x": {"a": 1}}\n')
    assert keys(follower) == ["new"]
    path.write_bytes(b"x" * (len(whole) + 200) + b"\n")
    with pytest.raises(LostPositionError, match="an offset must be where a line begins"):
        keys(follower)


def test_a_position_within_a_line_is_refused(tmp_path: Path) -> None:
    source = KafkaSource(f"log:{topic(tmp_path, 1)}")
    place = source.position()
    place["partitions"][0]["offset"] += 3
    with pytest.raises(LostPositionError, match="an offset must be where a line begins, got 3"):
        source.resume(place)


def test_no_room_for_events_is_refused(tmp_path: Path) -> None:
    partitions = TopicPartitions(f"log:{topic(tmp_path)}")
    for source in (KafkaSource(f"log:{tmp_path}"), partitions.source(0)):
        with pytest.raises(ValueError, match="max_events must be at least 1, got 0"):
            source.next_batch(0)


def handed_on(source: JoinedSource) -> list[tuple[str, str]]:
    """What a joined source hands on until it has nothing for now: whether event or label, and the key."""
    found: list[tuple[str, str]] = []
    while (part := source.next_batch(3, 0.01)) is not None and len(part):
        kind, names = ("label", [one.key for one in part.labels]) if isinstance(part, Labels) else ("event", part.key)
        found += [(kind, name) for name in names]
    return found


@pytest.mark.parametrize(("wait_ms", "same"), [(40, True), (0, False)])
def test_stragglers_take_their_place_where_messages_are_held_back(tmp_path: Path, wait_ms: int, same: bool) -> None:
    rng = np.random.default_rng(6)
    paths = [tmp_path / folder / "partition-0000.jsonl" for folder in ("events", "labels")]
    for path in paths:
        path.parent.mkdir()
        path.touch()

    def joined(**options: Any) -> JoinedSource:
        parts = [KafkaSource(f"log:{path.parent}", **options) for path in paths]
        return JoinedSource(*parts, wait_ms=wait_ms)

    messages = [(kind, 10 * i + int(rng.integers(10)), f"e{i}") for i in range(150) for kind in (0, 1)]
    # Each topic is written in order of time, but one may lag behind the other.
    lags = [rng.integers(0, 40, 150), rng.integers(0, 40, 150)]
    written = sorted(messages, key=lambda message: message[1] + int(lags[message[0]][message[1] // 100]))
    live, found = joined(), []
    for kind, time, key in [*written, (0, 10_000, "last"), (1, 10_000, "last")]:
        with open(paths[kind], "a") as file:
            file.write(json.dumps({"id": key, "ts": time} | ({"y": []} if kind else {"x": {"a": 1}})) + "\n")
        if rng.random() < 0.3:
            found += handed_on(live)
    found += handed_on(live)
    replayed = handed_on(joined(until_end=True))
    assert len(replayed) == 302
    assert sorted(found) == sorted(replayed[: len(found)])
    assert (found == replayed[: len(found)]) == same
    assert len(found) >= 300
