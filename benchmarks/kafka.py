"""A pipeline on a real broker beside a bare loop of the same client, and how long an event takes to be answered."""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.broker import Cluster, missing
from benchmarks.frame import Cell, Clock, Contestant, PeerMissingError, Quality, Setting
from benchmarks.targets import Ratio
from ihomer.config import resolve
from ihomer.plans import RunPlan
from ihomer.progress import Metrics, NoProgress
from ihomer.topic_runs import run_topic
from streams.batch import Batch, Schema
from streams.topics.address import Address
from streams.topics.client import Outgoing, make_consumer, make_producer
from streams.topics.formats import make_decoder, make_encoder

PARTITIONS = 4
FEATURES, LABELS = 50, 14
EVENTS = {"json": 60_000, "arrow": 200_000}
_PER_RECORD = 64
"""Events of a record with many of them."""


def cells() -> list[Cell]:
    """Throughput by backend and format, and latency by rate."""
    made = [
        Cell(
            "kafka",
            f"{form}_{backend}_v1",
            partial(_build_throughput, form, backend),
            targets=[Ratio("ihomer run", "bare loop", at_least)],
            repeats=3,
            quick=backend == "kafka-python",
        )
        for form, at_least in (("json", 0.8), ("arrow", 0.5))
        for backend in ("kafka-python", "confluent")
    ]
    made += [
        Cell(
            "kafka-latency",
            f"{rate}_v1",
            partial(_build_latency, rate),
            unit="s",
            metrics=("p50_s", "p95_s", "p99_s", "share_answered"),
            repeats=1,
        )
        for rate in (1_000, 10_000)
    ]
    return made


@cache
def _cluster() -> Cluster:
    why = missing()
    if why is not None:
        raise PeerMissingError(f"Apache Kafka cannot be started: {why}")
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="ihomer-kafka-")))
    cluster.start()
    atexit.register(cluster.stop)
    return cluster


def _new_topic() -> str:
    name = f"b-{uuid.uuid4().hex[:10]}"
    _cluster().create_topic(name, PARTITIONS)
    time.sleep(0.5)
    return f"kafka://{_cluster().bootstrap}/{name}"


@cache
def _filled(form: str, n_events: int) -> str:
    """A topic of events whose labels follow their features."""
    url = f"{_new_topic()}?format={form}"
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(FEATURES, LABELS))
    schema = Schema([f"f{j}" for j in range(FEATURES)], [f"l{j}" for j in range(LABELS)])
    producer = make_producer(Address.parse(f"{url}&backend=confluent"), None)
    encode = make_encoder(Address.parse(url))
    size = _PER_RECORD if form == "arrow" else 512
    for number, start in enumerate(range(0, n_events, size)):
        x = rng.normal(size=(min(size, n_events - start), FEATURES)).astype(np.float32)
        batch = Batch.from_arrays(x, x @ weights + rng.normal(size=(len(x), LABELS)) > 8, schema=schema)
        batch.time = 1_700_000_000_000 + start + np.arange(len(x))
        batch.key = [f"e{start + i}" for i in range(len(x))]
        for i, value in enumerate(encode(batch)):
            producer.send(Outgoing(value, (number if form == "arrow" else i) % PARTITIONS))
    producer.flush()
    producer.close()
    return url


class Stopwatch(NoProgress):
    """Time from the first events done to the last, so that connecting does not count."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None
        self.last = (0.0, 0)

    def advance(self, n_events: int, metrics: Metrics) -> None:
        """Note how far the run is."""
        if n_events:
            self.last = (time.perf_counter(), n_events)
            self.first = self.first or self.last

    def report(self, clock: Clock) -> None:
        """Seconds an event."""
        assert self.first is not None
        n_events = self.last[1] - self.first[1]
        clock.report((self.last[0] - self.first[0]) / n_events, n_events)


def _build_throughput(form: str, backend: str, setting: Setting) -> Sequence[Contestant]:
    url = _filled(form, EVENTS[form] // (4 if setting.quick else 1))
    source = f"{url}&backend={backend}"

    def run(clock: Clock) -> Quality:
        sink = f"{_new_topic()}?backend={backend}"
        with tempfile.TemporaryDirectory(dir=setting.folder) as state:
            flags = {"source": source, "learner": "linear", "predictions": sink, "checkpoint": state, "until_end": True}
            watch = Stopwatch()
            result = run_topic(resolve(RunPlan, flags), watch)
        watch.report(clock)
        return {"micro_f1": result.runs[0].metrics["micro_f1"]}

    def bare(clock: Clock) -> Quality:
        _bare_loop(source, f"{_new_topic()}?backend={backend}", clock)
        return {}

    return [
        Contestant("ihomer run", run, lambda: run(Clock()), "linear, baselines, metrics, checkpoints, exactly once"),
        Contestant("bare loop", bare, lambda: bare(Clock()), "consume, decode, produce the same bytes back"),
    ]


def _bare_loop(source: str, sink: str, clock: Clock) -> None:
    address = Address.parse(source)
    consumer, producer = make_consumer(address), make_producer(Address.parse(sink), None)
    decoder = make_decoder(address, Schema())
    partitions = consumer.partitions()
    consumer.assign(partitions)
    ends = {}
    for partition in partitions:
        first, ends[partition] = consumer.bounds(partition)
        consumer.seek(partition, first)
    watch, n_events = Stopwatch(), 0
    most = 2000 if address.get("format") == "json" else 2000 // _PER_RECORD
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        for partition, records in consumer.poll(0.5, most).items():
            for record in records:
                n_events += decoder.decode(record, 0, 1 << 30)
                producer.send(Outgoing(record.value, partition))
            decoder.take()
        watch.advance(n_events, dict)
    producer.flush()
    watch.advance(n_events, dict)
    consumer.close()
    producer.close()
    watch.report(clock)


def _build_latency(rate: int, setting: Setting) -> Sequence[Contestant]:
    _cluster()
    return [
        Contestant(
            f"ihomer run, {backend}",
            partial(_latency, rate, backend, 5 if setting.quick else 20, setting.folder),
            note="from an event's due time to its answer's being readable as committed; p50 is the figure shown",
        )
        for backend in ("kafka-python", "confluent")
    ]


def _latency(rate: int, backend: str, seconds: int, folder: Path, clock: Clock) -> Quality:
    events, sink = _new_topic(), _new_topic()
    n_events = rate * seconds
    ihomer = [sys.executable, "-m", "ihomer"]
    source, answers_to = f"{events}?backend={backend}", f"{sink}?backend={backend}"
    outputs = ["--sink", answers_to, "--checkpoint", str(folder / uuid.uuid4().hex)]
    running = subprocess.Popen(
        [*ihomer, "run", "--source", source, "--learner", "linear", "--quiet", *outputs],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    answers = KafkaAnswers(sink)

    def written(n: int) -> list[float]:
        """Seconds that the answers to ``n`` events took which are written at this rate."""
        made = f"synthetic:rbf?events={n}&features={FEATURES}&labels={LABELS}"
        pace = ["--rate", str(rate), "--quiet", "--sink", f"{events}?backend=confluent"]
        writing = subprocess.Popen([*ihomer, "produce", "--source", made, *pace])
        waits: list[float] = []
        try:
            deadline = time.monotonic() + n / rate + 60
            while len(waits) < n and time.monotonic() < deadline:
                waits += answers.waits()
        finally:
            writing.terminate()
            writing.wait()
        return waits

    try:
        written(rate)  # until the pipeline has started, and its loops are there
        waits = written(n_events)
    finally:
        answers.close()
        running.terminate()
        running.wait()
    p50, p95, p99 = np.percentile(waits, [50, 95, 99]).tolist()
    clock.report(p50, len(waits))
    return {"p50_s": p50, "p95_s": p95, "p99_s": p99, "share_answered": len(waits) / n_events}


class KafkaAnswers:
    """Reads committed answers and says how long each took."""

    def __init__(self, url: str) -> None:
        self._consumer = make_consumer(Address.parse(f"{url}?backend=confluent"))
        partitions = self._consumer.partitions()
        self._consumer.assign(partitions)
        for partition in partitions:
            self._consumer.seek(partition, 0)

    def waits(self) -> list[float]:
        """Seconds between the time of an event and now, for every answer that has come."""
        import msgspec

        found = []
        for records in self._consumer.poll(0.05, 2000).values():
            now = time.time()
            for record in records:
                value = msgspec.json.decode(record.value or b"[]")
                found += [now - one["ts"] / 1000 for one in (value if isinstance(value, list) else [value])]
        return found

    def close(self) -> None:
        """Let go."""
        self._consumer.close()
