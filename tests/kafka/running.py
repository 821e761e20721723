"""What the tests on a real broker share: topics with events, the real command, and what a run leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ihomer.checkpoint import CheckpointStore
from streams.topics.address import Address
from streams.topics.client import Outgoing, Record, make_consumer, make_producer


def create_topic(bootstrap: str, name: str, partitions: int = 1, **settings: str) -> None:
    """Make a topic and wait until clients see it."""
    from kafka.admin import KafkaAdminClient, NewTopic

    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        configs = {key.replace("_", "."): value for key, value in settings.items()}
        admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    finally:
        admin.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        consumer = make_consumer(Address.parse(f"kafka://{bootstrap}/{name}"))
        try:
            if len(consumer.partitions()) == partitions:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            consumer.close()
    raise TimeoutError(f"topic {name} did not appear")


def made_events(n: int, seed: int = 1, features: int = 8, labels: int = 5) -> list[dict[str, Any]]:
    """Events as JSON objects, a millisecond apart."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)).round(3)
    y = x @ rng.normal(size=(features, labels)) + rng.normal(size=(n, labels)) > 2
    return [
        {
            "id": f"e{i}",
            "ts": 1_700_000_000_000 + i,
            "x": {f"f{j}": value for j, value in enumerate(row)},
            "y": [f"l{j}" for j in np.flatnonzero(present)],
        }
        for i, (row, present) in enumerate(zip(x.tolist(), y, strict=True))
    ]


def fill(url: str, messages: list[Outgoing]) -> None:
    """Write records to a topic."""
    producer = make_producer(Address.parse(f"{url}?backend=confluent"), None)
    for message in messages:
        producer.send(message)
    producer.flush()
    producer.close()


def spread(events: list[dict[str, Any]], partitions: int) -> list[Outgoing]:
    """Events in turn over the partitions."""
    return [
        Outgoing(json.dumps(event).encode(), i % partitions, event["id"].encode(), (), event["ts"])
        for i, event in enumerate(events)
    ]


def read_all(url: str, backend: str = "confluent") -> dict[int, list[Record]]:
    """Every committed record of a topic by partition."""
    consumer = make_consumer(Address.parse(f"{url}?backend={backend}"))
    try:
        partitions = consumer.partitions()
        consumer.assign(partitions)
        found: dict[int, list[Record]] = {partition: [] for partition in partitions}
        ends = {}
        for partition in partitions:
            first, ends[partition] = consumer.bounds(partition)
            consumer.seek(partition, first)
        deadline = time.monotonic() + 60
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for partition, records in consumer.poll(0.2, 2000).items():
                found[partition] += records
            assert time.monotonic() < deadline, "the end of the topic was not reached"
        return found
    finally:
        consumer.close()


def answers(url: str) -> dict[int, list[bytes]]:
    """Every committed prediction by partition, unpacked."""
    found = {}
    for partition, records in read_all(url).items():
        found[partition] = [
            json.dumps(answer, sort_keys=True).encode()
            for record in records
            for answer in _unpacked(json.loads(record.value or b""))
        ]
    return found


def _unpacked(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def command(source: str, folder: Path, *more: str, learner: str = "linear") -> list[str]:
    """The real ``ihomer run`` that goes on from its checkpoints."""
    return [
        *(sys.executable, "-m", "ihomer", "run", "--source", source, "--learner", learner, "--quiet", "--json"),
        *("--checkpoint", str(folder), "--resume", "--checkpoint-every", "500", *more),
    ]


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command, its output in a file."""
    with open(log, "ab") as file:
        return subprocess.Popen(words, stdout=file, stderr=file)


def read_counts(folder: Path) -> int:
    """Events in the latest checkpoints of all partitions."""
    total = 0
    for store in sorted(folder.glob("partition-*")):
        names = [path.stem for path in store.glob("checkpoint-*.ckpt")]
        if names:
            total += int(max(names).rpartition("-")[2])
    return total


def wait_for(condition: Callable[[], bool], seconds: float, what: str, check: Callable[[], None] | None = None) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if check is not None:
            check()
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


def left_behind(folder: Path) -> dict[str, Any]:
    """State of every partition's learners and metrics, and its counts, to the bit, times excluded."""
    found = {}
    for store in sorted(folder.glob("partition-*")):
        latest = CheckpointStore(store).latest()
        assert latest is not None
        _, manifest, arrays = latest
        logs = {name: json.loads(array.tobytes()) for name, array in arrays.items() if _is_log(name)}
        for log in logs.values():
            del log["wall_s"], log["cpu_s"]
        states = {name: array.tobytes() for name, array in arrays.items() if not _is_log(name)}
        found[store.name] = {"counts": manifest["counts"], "logs": logs, "states": states}
    return found


def _is_log(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/log")
