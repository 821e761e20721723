"""A source whose features are extracted: the same events by any number of workers, and its positions. The laws of all
sources, which it is held to as well, are in test_sources.py."""

import json
import time

import numpy as np
import pytest

from streams.batch import UNLABELLED, Batch, Rows, Schema
from streams.extraction.encoders.hashing import HashingEncoder
from streams.extraction.pool import ExtractionPool
from streams.extraction.source import ExtractedSource
from streams.jsonl import JSONLinesSource
from streams.memory import BatchSource
from streams.source import DecodeError
from streams.topics.joining import Labels
from tests.streams.extraction import toys
from tests.streams.places import assert_same_batch, drained


def written(tmp_path, events):
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(event if isinstance(event, str) else json.dumps(event) for event in events))
    return path


def source_of(path, pool, on_error="skip"):
    return ExtractedSource(JSONLinesSource(path, on_error=on_error), pool, on_error=on_error)


def texts(payloads):
    """Length and first character of a text."""
    return np.array([[len(text), ord(text[0])] for text in payloads])


def events(n):
    """Some have features, some no payload, some a payload that cannot be encoded; some are broken."""
    for i in range(n):
        event = {"id": f"e{i}", "y": [f"l{i % 7}"] if i % 3 else None, "payload": "" if i % 41 == 5 else f"text {i}"}
        if i % 17 == 3:
            del event["payload"]
        if i > n // 2 or "payload" not in event:
            event["x"] = {"f": i, "colour": "rg"[i % 2]}
        yield "{broken" if i % 29 == 11 else {name: value for name, value in event.items() if value is not None}


@pytest.mark.parametrize("encoder", [texts, HashingEncoder(64, idf=True)], ids=["dense", "sparse"])
def test_events_are_the_same_by_any_number_of_workers(tmp_path, encoder):
    path = written(tmp_path, events(700))
    found = []
    for workers, sizes in ((0, (256,)), (1, (256,)), (2, (1, 100, 7))):
        with ExtractionPool(encoder, workers, batch_size=8) as pool:
            found.append(drained(source_of(path, pool), sizes))
    assert len(found[0]) + len(found[0].dead) == 700
    for other in found[1:]:
        assert_same_batch(found[0], other)


def test_columns_of_the_encoder_come_with_the_events_own(tmp_path):
    path = written(
        tmp_path,
        [
            {"payload": "abc", "y": ["a"]},
            {"x": {"f": 2.0}, "y": ["b"]},
            {"payload": "b", "x": {"f": 3.0, "colour": "red"}, "y": []},
        ],
    )
    with ExtractionPool(texts) as pool:
        batch = drained(source_of(path, pool))
        assert batch.schema.feature_names == ["e0", "e1", "f", "colour"]
        assert batch.schema.label_names == ["a", "b"]
        nan = np.nan
        expected = [[3, 97, nan, nan], [nan, nan, 2, nan], [1, 98, 3, 0]]
        assert np.array_equal(batch.x, np.float32(expected), equal_nan=True)
        assert batch.payload is None
        assert batch.key is None
    with ExtractionPool(toys.Sparse()) as pool:
        sparse = BatchSource(Batch.from_arrays(np.float32([[0, np.nan], [5, 6]]), np.eye(2)), "toy")
        sparse._batch.payload = [1, 2]
        batch = drained(ExtractedSource(sparse, pool))
        assert batch.schema.feature_names == ["x0", "x1", "e0", "e1", "e2", "e3"]
        assert isinstance(batch.x, Rows)
        assert batch.x.to_dense(6).tolist() == [[0, 0, 1, 0, 1, 0], [5, 6, 0, 0, 2, 0]]


def test_categories_of_dense_rows_keep_their_meaning_among_sparse_ones(tmp_path):
    colours = ["red", None, "", "green", "red", None]
    path = written(tmp_path, [{"payload": "a", "x": {} if c is None else {"colour": c}} for c in colours])
    with ExtractionPool(HashingEncoder(8)) as pool:
        batch = drained(source_of(path, pool), (2,))
    column = batch.schema.find_feature("colour")
    codes = batch.x.to_dense(batch.schema.n_features)[:, column].astype(int)
    assert [batch.schema.categories[column][code] for code in codes] == [c or "" for c in colours]


def test_what_cannot_be_encoded_is_a_dead_letter_at_its_place(tmp_path):
    path = written(tmp_path, [{"payload": "a"}, "{", {"payload": ""}, {"payload": "b"}])
    with ExtractionPool(texts) as pool:
        batch = drained(source_of(path, pool))
        assert batch.offset.tolist() == [0, 3]
        assert [(letter.offset, letter.raw) for letter in batch.dead] == [(1, b"{"), (2, b"")]
        assert batch.dead[1].reason == "IndexError: string index out of range"
        assert (batch.label_state == UNLABELLED).all()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("broken", [{"payload": ""}, "{"], ids=["payload", "line"])
def test_failing_comes_behind_the_events_before(tmp_path, broken, workers):
    path = written(tmp_path, [*({"payload": f"a{i}"} for i in range(7)), broken, {"payload": "b"}])
    with ExtractionPool(texts, workers, batch_size=2) as pool:
        source = source_of(path, pool, "fail")
        n = 0
        while n < 7:
            n += len(source.next_batch(3))
        place = source.position()
        with pytest.raises(DecodeError) as caught:
            source.next_batch(3)
        assert (n, caught.value.offset) == (7, 7)
        again = source_of(path, pool, "fail")
        again.resume(json.loads(json.dumps(place)))
        with pytest.raises(DecodeError) as caught_again:
            again.next_batch(3)
        assert str(caught_again.value) == str(caught.value)


def test_events_must_have_payloads(tmp_path):
    with ExtractionPool(texts) as pool:
        source = source_of(written(tmp_path, [{"x": {"a": 1}}]), pool)
        with pytest.raises(
            ValueError, match=r"^events: events must have a payload to extract features from, found none;"
        ):
            source.next_batch()
        source = source_of(written(tmp_path, [{"x": {"e0": 1}, "payload": "a"}]), pool)
        with pytest.raises(
            ValueError, match=r"^events: features of events must not be called e0, as the encoder's are$"
        ):
            source.next_batch()


def test_a_position_is_of_one_encoder(tmp_path):
    path = written(tmp_path, [{"payload": "a"}])
    with ExtractionPool(HashingEncoder(8)) as pool, ExtractionPool(HashingEncoder(9)) as other:
        position = source_of(path, pool).position()
        with pytest.raises(
            ValueError, match=r"^encoder must be that of the position, hashing-1:dim=8,.*, got hashing-1:dim=9"
        ):
            source_of(path, other).resume(position)
        with pytest.raises(ValueError, match=r"^encoder must be that of the position, none, got hashing-1:dim=8"):
            source_of(path, pool).resume(JSONLinesSource(path).position())


class Watched(JSONLinesSource):
    """Notes how many events were asked for each time."""

    asked = ()

    def next_batch(self, max_events=256, timeout=None):
        self.asked = (*self.asked, max_events)
        return super().next_batch(max_events, timeout)


def test_batches_read_ahead_have_the_sizes_that_will_be_asked_for(tmp_path):
    path = written(tmp_path, [{"payload": f"a{i}"} for i in range(40)])

    def room(n_read):
        return min(8, 20 - n_read % 20)

    with ExtractionPool(texts, 1) as pool:
        inner = Watched(path)
        source = ExtractedSource(inner, pool)
        source.room = room
        n, sizes = 0, []
        while (batch := source.next_batch(room(n))) is not None:
            n += len(batch)
            sizes.append(len(batch))
            assert "skip" not in source.position()["extraction"]
        assert sizes == [8, 8, 4, 8, 8, 4]
        assert list(inner.asked[:6]) == sizes


def test_reading_ahead_tells_nothing_before_its_time(tmp_path):
    path = written(tmp_path, [{"payload": "a", "y": [f"l{i}"]} for i in range(30)])
    with ExtractionPool(texts, 1) as pool:
        source = source_of(path, pool)
        for i in range(1, 31):
            assert len(source.next_batch(1)) == 1
            assert source.schema.n_labels == i
            assert source.position()["record"] == i
            assert source.position()["extraction"]["n"] == i


def test_batches_to_come_are_encoded_while_one_is_learned(tmp_path):
    batch = Batch.from_arrays(np.zeros((800, 0), np.float32), np.eye(800)[:, :2])
    batch.payload = list(range(800))
    with ExtractionPool(toys.slow_numbers, 1) as pool:
        source = ExtractedSource(BatchSource(batch), pool)
        source.next_batch(100)
        begun, waited = time.perf_counter(), 0.0
        for _ in range(7):
            time.sleep(0.3)  # learning; 100 payloads take 0.2 s
            before = time.perf_counter()
            assert len(source.next_batch(100)) == 100
            waited += time.perf_counter() - before
        assert waited < 0.3 * (time.perf_counter() - begun)


def test_events_that_come_one_by_one_are_encoded_together_once_workers_are_busy():
    class Live:
        """An event every 8 ms, from the first time that one is asked for."""

        name, n_events, schema = "live", None, Schema()
        begun, given = None, 0

        def position(self):
            return {"given": self.given}

        def next_batch(self, max_events=256, timeout=None):
            now = time.monotonic()
            self.begun = self.begun or now
            n = min(max_events, int((now - self.begun) / 0.008) - self.given)
            batch = Batch.from_dicts([{}] * n, schema=self.schema)
            batch.payload = list(range(self.given, self.given + n))
            self.given += n
            if not n and timeout:
                time.sleep(0.001)
            return batch

    with ExtractionPool(toys.leisurely_numbers, 1) as pool:
        pool.wait(pool.submit([1]))
        live = Live()
        source = ExtractedSource(live, pool)
        n, waited = 0, []
        while n < 300:
            batch = source.next_batch(256, 0.0)  # as a run over partitions asks, in turn
            if len(batch):
                assert batch.x[:, 0].tolist() == list(range(n, n + len(batch)))
                waited.append(time.monotonic() - live.begun - 0.008 * n)
                n += len(batch)
        assert pool.metrics()["block_size"] >= 2
        # No more than a few blocks of 20 ms stand in line; of blocks of one there would be fifty.
        assert np.median(waited[-10:]) < 0.5


def test_a_source_that_waits_gives_an_empty_batch(tmp_path):
    batch = Batch.from_arrays(np.zeros((100, 0), np.float32), np.eye(100)[:, :2])
    batch.payload = list(range(100))
    with ExtractionPool(toys.slow_numbers, 1, batch_size=100) as pool:
        source = ExtractedSource(BatchSource(batch), pool)
        assert not source.at_work
        assert len(source.next_batch(100, 0.0)) == 0
        assert source.at_work
        while not len(found := source.next_batch(100, 0.05)):
            pass
        assert np.array_equal(found.x, toys.numbers(range(100)))


def test_labels_from_a_topic_of_their_own_keep_their_place():
    class Mixed:
        name, n_events, schema = "mixed", None, Schema()

        def __init__(self):
            one = Batch.from_dicts([{}], schema=self.schema)
            one.payload = ["abc"]
            self.items = [one, Labels(one, []), one]

        def position(self):
            return {"left": len(self.items)}

        def next_batch(self, max_events=256, timeout=None):
            return self.items.pop(0) if self.items else None

    with ExtractionPool(texts, 1) as pool:
        source = ExtractedSource(Mixed(), pool)
        kinds = []
        while (batch := source.next_batch(4)) is not None:
            kinds.append(type(batch))
        assert kinds == [Batch, Labels, Batch]
        assert source.n_records == 2
