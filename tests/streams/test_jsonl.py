"""JSON Lines files and the wire format: what an event may look like, and every complaint about one that does not."""

import base64
import hashlib
import io
import json
import os

import numpy as np
import pytest

from streams.batch import COMPLETE, NOMINAL, NUMERIC, PARTIAL, UNLABELLED, Batch, DeadLetter, Prediction, Rows, Schema
from streams.jsonl import JSONLinesSource
from streams.source import DecodeError, Source
from streams.wire import EventDecoder, encode_dead_letter, encode_events, encode_predictions
from tests.streams.places import assert_same_batch, drained, written


def decoded(*messages, sparse=False, payload=None):
    decoder = EventDecoder(Schema(sparse=sparse), payload=payload)
    for message in messages:
        decoder.decode(message)
    return decoder.take()


def test_an_event_with_everything():
    batch = decoded(
        b'{"id": "e1", "ts": 1700000000000, "x": {"f1": 0.3, "colour": "red", "on": true}, "y": ["a", "c"]}',
        b'{"x": {"f1": null, "colour": "blue", "new": 7}, "y": [], "id": 5, "w": 2.5}',
        b'{"x": {"colour": "red"}, "y": {"a": true, "b": false, "c": null}}',
        b'{"x": {}}',
        b'{"x": {}, "y": {"a": null}}',
        b'{"x": {}, "y": {"a": true, "b": false, "c": true}}',
    )
    nan = np.nan
    expected = [[0.3, 0, 1, nan], [nan, 1, nan, 7], [nan, 0, nan, nan], *[[nan] * 4] * 3]
    assert np.array_equal(batch.x, np.array(expected, np.float32), equal_nan=True)
    assert batch.schema.feature_names == ["f1", "colour", "on", "new"]
    assert batch.schema.kinds == [NUMERIC, NOMINAL, NUMERIC, NUMERIC]
    assert batch.schema.label_names == ["a", "c", "b"]
    assert [batch.y.row(i).tolist() for i in range(6)] == [[0, 1], [], [0], [], [], [0, 1]]
    assert batch.label_state.tolist() == [COMPLETE, COMPLETE, PARTIAL, UNLABELLED, UNLABELLED, PARTIAL]
    assert batch.known.row(2).tolist() == [0, 2]
    assert batch.key == ["e1", "5", None, None, None, None]
    assert batch.time.tolist() == [1700000000000, 0, 0, 0, 0, 0]
    assert batch.weight.tolist() == [1, 2.5, 1, 1, 1, 1]


def test_arrays_and_payloads():
    batch = decoded(b'{"x": [1, null, "red"], "payload": "text"}', b'{"payload": {"base64": "AAE="}}')
    assert batch.schema.feature_names == ["x0", "x1", "x2"]
    assert batch.payload == ["text", b"\x00\x01"]
    assert np.array_equal(batch.x, np.array([[1, np.nan, 0], [np.nan] * 3], np.float32), equal_nan=True)
    taken = decoded(b'{"x": {"words": "some", "n": 1}}', b'{"x": {"n": 2}}', payload="words")
    assert (taken.payload, taken.schema.feature_names) == (["some", None], ["n"])


def test_sparse_rows_list_what_is_not_0():
    batch = decoded(
        b'{"x": {"b": 2, "a": 0, "c": "red"}}', b'{"x": {"a": 1, "b": null, "c": "blue"}}', b'{"x": {}}', sparse=True
    )
    assert batch.schema.feature_names == ["b", "a", "c"]
    assert batch.schema.categories == {2: ["", "red", "blue"]}
    assert np.array_equal(
        batch.x.to_dense(3), np.array([[2, 0, 1], [np.nan, 1, 2], [0, 0, 0]], np.float32), equal_nan=True
    )
    assert batch.x.indptr.tolist() == [0, 2, 5, 5]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "an event must be a JSON object, found: Input data was truncated"),
        (b'{"x": {"a": 1}', "an event must be a JSON object, found: Input data was truncated"),
        (b'{"x": {"a": NaN}}', "an event must be a JSON object, found: JSON is malformed: invalid character (byte 12)"),
        (b'{"x": {"a": 1e999}}', "an event must have the fields of the wire format, found: Number out of range - at"),
        (b'{"x": {"a": "\xff"}}', "an event must be UTF-8, found byte 0xff at byte 14"),
        (b"[1]", "an event must have the fields of the wire format, found: Expected `object`, got `array`"),
        (
            b'{"x": {"a": [1]}}',
            "an event must have the fields of the wire format, found: Expected `bool | float | str | null`",
        ),
        (
            b'{"x": {"a": 1}, "ts": "now"}',
            "an event must have the fields of the wire format, found: Expected `int | null`, got `str`",
        ),
        (b'{"x": {"a": 1}, "labels": []}', "found: Object contains unknown field `labels`"),
        (b'{"y": ["a"]}', "an event must have x or a payload, found neither"),
        (b'{"x": {"a": 1e39}}', "feature 'a' must be at most 3.4028235e38 in size, found 1e+39"),
        (b'{"x": {"n": "red"}}', "feature 'n' must be a number as before, found 'red'"),
        (b'{"x": {"c": 1}}', "feature 'c' must be a string as before, found 1"),
        (b'{"x": {"a": 1, "a": 2}}', "names must differ, found 'a' twice"),
        (b'{"x": {"a": 1}, "x": {"a": 1}}', "names must differ, found 'x' twice"),
        (b'{"x": {"a": 1}, "y": ["l", "l"]}', "labels of an event must differ, found ['l', 'l']"),
        (b'{"x": {"a": 1}, "w": 0}', "w must be positive, found 0"),
        (b'{"payload": {"base64": "?"}}', "payload.base64 must be base64, found other characters or padding"),
    ],
)
def test_a_broken_event_is_told_or_kept(tmp_path, message, reason):
    decoder = EventDecoder(Schema())
    decoder.decode(b'{"x": {"n": 1, "c": "red"}, "y": ["l"]}')
    before = decoder.schema.to_json()
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is what the next line looks at)
        decoder.decode(message)
    assert reason in str(error.value)
    assert decoder.schema.to_json() == before
    assert len(decoder) == 1
    if not message:
        return
    good = b'{"x": {"n": 1, "c": "red"}, "y": ["l"]}\n'
    path = written(tmp_path, "toy.jsonl", good + b"\n" + message + b"\r\n" + good)
    source = JSONLinesSource(path)
    assert len(source.next_batch()) == 1
    with pytest.raises(DecodeError) as error:
        source.next_batch()
    assert str(error.value).startswith("toy.jsonl:3: ")
    assert reason in str(error.value)
    batch = drained(JSONLinesSource(path, on_error="skip"))
    assert batch.offset.tolist() == [0, 2]
    assert [(d.source, d.offset, d.line, d.raw) for d in batch.dead] == [("toy", 1, 3, message)]


def test_a_payload_of_another_type_is_malformed():
    with pytest.raises(ValueError, match=r"payload 'words' must be a string, found 1.0"):
        decoded(b'{"x": {"words": 1}}', payload="words")


def test_dense_or_sparse_is_decided_once_whatever_the_batches():
    full = b'{"x": {"a": 1, "b": 2}}\n'
    few = b"".join(b'{"x": {"f%d": 1}}\n' % i for i in range(100))
    assert not JSONLinesSource(io.BytesIO(full * 3)).schema.sparse
    assert not JSONLinesSource(io.BytesIO(b'{"x": [1, 0]}\n' + few)).schema.sparse
    assert JSONLinesSource(io.BytesIO(few + full)).schema.sparse
    assert not JSONLinesSource(io.BytesIO(full * 64 + few)).schema.sparse
    assert not JSONLinesSource(io.BytesIO(few), rows="dense").schema.sparse
    assert JSONLinesSource(io.BytesIO(full), rows="sparse").schema.sparse
    assert isinstance(JSONLinesSource(io.BytesIO(full)), Source)
    one, many = (drained(JSONLinesSource(io.BytesIO(few + full)), sizes) for sizes in ((1,), (64, 3)))
    assert_same_batch(one, many)


def lines(n, seed=1):
    chance = np.random.default_rng(seed)
    out = []
    for i in range(n):
        x = {f"f{j}": round(float(chance.normal()), 3) for j in chance.choice(6 + i // 20, 3, replace=False)}
        x["colour"] = ["red", "blue", f"c{i}"][i % 3]
        y = [None, [f"l{i // 40}"], {"l0": True, "l1": None}, []][i % 4]
        out.append(json.dumps({"x": x, "id": f"e{i}", "ts": i, **({} if y is None else {"y": y})}))
        if i % 17 == 0:
            out.append("oops")
    return out


@pytest.mark.parametrize("name", ["toy.jsonl", "toy.jsonl.gz", "toy.jsonl.zst"])
def test_resuming_anywhere_goes_on_as_if_never_stopped(tmp_path, name):
    path = written(tmp_path, name, "\ufeff" + "\r\n".join(lines(400)))
    whole = drained(JSONLinesSource(path, on_error="skip"))
    assert (len(whole), len(whole.dead)) == (400, 24)
    assert_same_batch(whole, drained(JSONLinesSource(path, on_error="skip"), sizes=(1, 7, 50)))
    chance = np.random.default_rng(5)
    for stop in chance.integers(1, 420, size=5):
        source = JSONLinesSource(path, on_error="skip")
        first = source.next_batch(int(stop))
        position = json.loads(json.dumps(source.position()))
        again = JSONLinesSource(path, on_error="skip")
        again.resume(position)
        expected = whole[len(first) :]
        expected.dead = whole.dead[len(first.dead) :]
        assert_same_batch(expected, drained(again))


def test_labels_may_be_declared():
    event = b'{"x": {"a": 1}, "y": ["c"]}'
    assert drained(JSONLinesSource(io.BytesIO(event), labels="b, c")).schema.label_names == ["b", "c"]
    with pytest.raises(ValueError, match=r"labels of JSON Lines must be names, got 'last:2'"):
        JSONLinesSource(io.BytesIO(event), labels="last:2")


def test_empty_files_and_counts(tmp_path):
    with pytest.raises(DecodeError, match=r"toy.jsonl:1: a text must hold at least one line, found an empty file"):
        JSONLinesSource(written(tmp_path, "toy.jsonl", ""))
    with pytest.raises(DecodeError, match=r"toy.jsonl:1: a file must hold at least one event, found blank lines"):
        JSONLinesSource(written(tmp_path, "toy.jsonl", "\n\n"))
    assert JSONLinesSource(written(tmp_path, "toy.jsonl", '{"x":{}}\n\n{"x":{}}')).n_events == 2


@pytest.mark.parametrize("sparse", [False, True])
def test_events_come_back_from_their_messages(sparse):
    source = JSONLinesSource(
        io.BytesIO("\n".join(lines(200)).encode()), on_error="skip", rows="sparse" if sparse else "dense"
    )
    batch = drained(source)
    again = drained(
        JSONLinesSource(
            io.BytesIO(b"\n".join(encode_events(batch))), rows="sparse" if sparse else "dense", name=batch.source
        )
    )
    assert encode_events(again) == encode_events(batch)
    assert np.array_equal(again.label_state, batch.label_state)
    assert again.key == batch.key


def test_what_sparse_rows_leave_out_is_said_where_it_is_no_0():
    schema = Schema(["a", "c"], ["l"], sparse=True)
    schema.make_nominal(1, ["red", "blue"])
    x = Rows(np.array([0, 1, 2]), np.array([0, 1]), np.array([0.1, 1]))
    batch = Batch(schema, x, Rows.from_lists([[0], []]), np.array([COMPLETE, COMPLETE], np.uint8))
    assert encode_events(batch) == [b'{"x":{"c":"red","a":0.1},"y":["l"]}', b'{"x":{"c":"blue"},"y":[]}']


def test_predictions_as_messages():
    batch = decoded(b'{"x": {"a": 1}, "id": "e1", "ts": 7}', b'{"x": {"a": 1}}')
    batch.source, batch.offset = "toy", np.array([3, 9])
    labels, schema = Rows.from_lists([[0, 1], []]), Schema(labels=["p", "q"])
    dense = Prediction(labels, np.array([[0.9, 0.75], [0.1, 0]], np.float32))
    assert encode_predictions(batch, dense, schema, "m") == [
        b'{"id":"e1","ts":7,"labels":["p","q"],"proba":{"p":0.9,"q":0.75},"model":"m","source":"toy/0/3"}',
        b'{"ts":0,"labels":[],"proba":{"p":0.1,"q":0.0},"model":"m","source":"toy/0/9"}',
    ]
    sparse = Prediction(labels, Rows(np.array([0, 1, 1]), np.array([1]), np.array([0.75])))
    assert [json.loads(m)["proba"] for m in encode_predictions(batch, sparse, schema, "m")] == [{"q": 0.75}, {}]
    assert all("proba" not in json.loads(m) for m in encode_predictions(batch, dense, schema, "m", proba=False))


def test_dead_letters_as_messages():
    assert json.loads(encode_dead_letter(DeadLetter("toy", 4, "bad", b"\xff", 5))) == {
        "source": "toy", "partition": 0, "offset": 4, "line": 5, "reason": "bad", "raw": "/w==",
    }  # fmt: skip
    long = json.loads(encode_dead_letter(DeadLetter("toy", 4, "bad", b"x" * 70000)))
    assert base64.b64decode(long["raw"]) == b"x" * 65536
    assert long["length"] == 70000
    assert long["sha256"] == hashlib.sha256(b"x" * 70000).hexdigest()


def test_the_first_event_of_a_pipe_is_not_kept_waiting_for_others() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb", buffering=0) as other_end:
        other_end.write(b'{"x": {"a": 1}, "y": ["l"]}\n')
        source = JSONLinesSource(pipe)
        batch = source.next_batch(256, 0.1)
        assert batch is not None
        assert len(batch) == 1
        later = source.next_batch(256, 0.1)
        assert later is not None
        assert len(later) == 0
        source.close()
