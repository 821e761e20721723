"""Values of records that are damaged, or hold what nobody expects: an event or a `ValueError`, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from streams.batch import Batch, Schema
from streams.topics.address import Address
from streams.topics.client import Record
from streams.topics.formats import make_decoder, make_encoder
from streams.topics.joining import JoinedSource
from streams.topics.log import partition_path
from streams.topics.source import KafkaSource

N = 3000
"""Values tried of each kind."""

ODD = [0, -1, 1.5, 10**30, 2**63, -(2**63) - 1, 1e308, "a", "", "\0", "é", True, None, [], {}, [1], [[1]], ["a", "a"]]
ODD += [["a", 1], [10**30], [None], {"a": None}, {"a": True}, {"a": 1}, {"": False}, "NaN"]

SOUND = {"id": "e", "ts": 7, "y": ["l"], "w": 2.0, "payload": "text"}


def arrow(columns: dict[str, pa.Array]) -> bytes:
    table, sink = pa.table(columns), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    value: bytes = sink.getvalue().to_pybytes()
    return value


COLUMNS = [
    pa.array([1, 2]),
    pa.array([1.5, None]),
    pa.array([1e300, float("inf")]),
    pa.array(["a", "b"]),
    pa.array([None, None]),
    pa.array([["a"], ["b"]]),
    pa.array([["a", None], ["b", "b"]]),
    pa.array([[["a"]], [["b"]]]),
    pa.array([[b"a"], [b"\xff"]]),
    pa.array([{"a": 1}, {"a": 2}]),
    pa.array([1, 2], pa.timestamp("us")),
    pa.array([2**64 - 1, 0], pa.uint64()),
    pa.array([2**63 - 1, -(2**63)]),
    pa.array([b"a", b"\xff"]),
    pa.array(["a", "b"]).dictionary_encode(),
    pa.array([True, None]),
    pa.array([1, 2], pa.decimal128(5)),
]


def damaged(value: bytes, rng: np.random.Generator) -> bytes:
    """The value, whole, with some bytes changed, or cut short."""
    if rng.random() < 0.4:
        return value
    changed = bytearray(value)
    for at in rng.integers(len(value), size=rng.integers(4)):
        changed[at] = rng.integers(256)
    return bytes(changed[: rng.integers(len(value))] if rng.random() < 0.2 else changed)


def odd(rng: np.random.Generator, sound: Any) -> Any:
    return ODD[rng.integers(len(ODD))] if rng.random() < 0.2 else sound


def odd_json(rng: np.random.Generator, *fields: str) -> bytes:
    return json.dumps({name: odd(rng, SOUND[name]) for name in fields if rng.random() < 0.7}).encode()


def odd_event(rng: np.random.Generator) -> bytes:
    event = json.loads(odd_json(rng, "id", "ts", "y", "w", "payload"))
    values = [odd(rng, 0.5) for _ in range(3)]
    return json.dumps({**event, "x": values if rng.random() < 0.3 else dict(zip("abc", values, strict=True))}).encode()


def odd_table(rng: np.random.Generator) -> bytes:
    names = [name for name in ("id", "ts", "y", "f", "g") if rng.random() < 0.6] or ["f"]
    return arrow({name: COLUMNS[rng.integers(len(COLUMNS))] for name in names})


def odd_packed(rng: np.random.Generator) -> bytes:
    batch = Batch.from_arrays(rng.normal(size=(1, 2)).astype(np.float32), np.ones((1, 2)))
    value: bytes = make_encoder(Address.parse("kafka://h/t?format=binary"))(batch)[0]
    return value


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ("rows=dense", odd_event),
        ("rows=sparse", odd_event),
        ("format=arrow", odd_table),
        ("format=binary&schema={}", odd_packed),
    ],
)
def test_a_value_is_taken_or_refused_whole(tmp_path: Any, options: str, make: Any) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(Schema(["a", "b"], ["l", "m"]).to_json()))
    address = Address.parse(f"kafka://h/t?{options.format(path)}")
    rng = np.random.default_rng(3)
    schema = Schema(sparse="sparse" in options)
    decoder = make_decoder(address, schema)
    taken = refused = expected = 0
    for offset in range(N):
        record = Record(offset, offset + 1, 5, None, damaged(make(rng), rng), ())
        before = (schema.n_features, schema.n_labels)
        try:
            expected += decoder.decode(record, 0, 100)
            taken += 1
        except ValueError:
            refused += 1
            assert (schema.n_features, schema.n_labels) == before
        if offset % 50 == 49:
            batch = decoder.take()
            assert len(batch) == expected
            expected = 0
            if schema.n_features > 60 and "schema" not in options:
                schema = Schema(sparse=schema.sparse)
                decoder = make_decoder(address, schema)
    assert taken > N / 100
    assert refused > N / 100


def test_labels_are_taken_or_refused(tmp_path: Any) -> None:
    rng = np.random.default_rng(4)
    lines = [damaged(odd_json(rng, "id", "y", "ts"), rng).replace(b"\n", b" ") for _ in range(N)]
    lines += [b'{"id": "e", "y": {}}', b'{"id": "e", "y": {"l": null}}', b'{"id": "e", "y": {"l": null, "m": false}}']
    for folder in ("events", "labels"):
        (tmp_path / folder).mkdir()
    partition_path(tmp_path / "events", 0).touch()
    partition_path(tmp_path / "labels", 0).write_bytes(b"\n".join(lines) + b"\n")
    parts = [KafkaSource(f"log:{tmp_path / folder}", until_end=True) for folder in ("events", "labels")]
    source = JoinedSource(*parts)
    found, dead = [], []
    while (labels := source.next_batch(100)) is not None:
        found += labels.labels
        dead += labels.dead
    assert len(found) + len(dead) == sum(bool(line.strip()) for line in lines)
    assert len(found) > N / 100
    assert [letter.raw for letter in dead[-2:]] == lines[-3:-1]
    assert "y must say of at least one label" in dead[-1].reason
    assert (found[-1].present, len(found[-1].known or [])) == ([], 1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_are_milliseconds(unit: str) -> None:
    schema = Schema()
    decoder = make_decoder(Address.parse("kafka://h/t?format=arrow"), schema)
    times = pa.array([1_700_000_000_123], pa.timestamp("ms")).cast(pa.timestamp(unit), safe=False)
    decoder.decode(Record(0, 1, 5, None, arrow({"f": pa.array([1.0]), "ts": times}), ()), 0, 10)
    time = decoder.take().time
    assert time is not None
    assert time.tolist() == [1_700_000_000_000 if unit == "s" else 1_700_000_000_123]
