"""Streams with the methods of scikit-multiflow as sources and the other way; test_skmultiflow.py has the real ones."""

from __future__ import annotations

import abc
import copy
import importlib
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from learners.linear import LinearClassifier
from streams.batch import PARTIAL, Batch, Rows, Schema
from streams.jsonl import JSONLinesSource
from streams.memory import BatchSource, read_all
from streams.multiflow import CHUNK, from_skmultiflow_stream, to_skmultiflow_stream
from streams.source import DecodeError, Source
from tests.streams.places import assert_same_batch, drained

N = 700


class Stream:
    """As those of scikit-multiflow; what it draws depends on how much is asked for, as with some of them."""

    name = "Toy"

    def __init__(self, n_targets=1, n=N, categories=()):
        self.n_targets, self.n, self.cat_features_idx = n_targets, n, list(categories)
        self.feature_names = ["size", "colour"]
        self.target_values = [0, 1, 2] if n_targets == 1 else [[0, 1]] * n_targets
        self.restart()

    def restart(self):
        self.given, self.random = 0, np.random.default_rng(3)

    def n_remaining_samples(self):
        return self.n - self.given

    def has_more_samples(self):
        return self.given < self.n

    def next_sample(self, batch_size=1):
        self.given += batch_size
        x = self.random.normal(size=(batch_size, 2))
        x[:, 1] = self.random.integers(3, 7, batch_size)
        x[self.random.random(batch_size) < 0.1, 0] = np.nan
        y = self.random.integers(0, 3 if self.n_targets == 1 else 2, (batch_size, self.n_targets))
        return x, (y[:, 0] if self.n_targets == 1 else y).astype(float)


class Endless(Stream):
    """One of classes alone."""

    n_remaining_samples = staticmethod(lambda: -1)
    has_more_samples = staticmethod(lambda: True)


KINDS = {
    "classes": lambda: Stream(),
    "labels": lambda: Stream(3),
    "categories": lambda: Stream(categories=[1]),
    "one": lambda: Stream(n=1),
    "nothing": lambda: Stream(n=0),
}


@pytest.fixture(params=KINDS)
def make(request):
    return KINDS[request.param]


def test_every_event_of_the_stream_comes_once(make):
    source, stream = from_skmultiflow_stream(make()), make()
    assert isinstance(source, Source)
    assert (source.name, source.n_events) == ("Toy", stream.n)
    batch = drained(source, (97,))
    left, chunks = stream.n, []
    while left:
        chunks.append(stream.next_sample(min(left, CHUNK)))
        left -= len(chunks[-1][0])
    assert len(batch) == stream.n
    assert source.next_batch() is None
    if not chunks:
        return
    x, y = (np.concatenate(part) for part in zip(*chunks, strict=True))
    assert np.array_equal(batch.x[:, 0], x[:, 0].astype(np.float32), equal_nan=True)
    schema = batch.schema
    assert schema.feature_names == ["size", "colour"]
    if stream.cat_features_idx:
        assert [float(schema.categories[1][int(code)]) for code in batch.x[:, 1]] == x[:, 1].tolist()
    else:
        assert not schema.categories
    if y.ndim == 1:
        assert schema.label_names == [0, 1, 2]
        assert batch.y.indices.tolist() == y.tolist()
    else:
        assert schema.label_names == ["y0", "y1", "y2"]
        assert np.array_equal(batch.y.to_dense(3), y)


def test_cutting_changes_nothing(make):
    whole = drained(from_skmultiflow_stream(make()), (10 * N,))
    for sizes in ((1,), (3, 1, 300), (CHUNK,)):
        assert_same_batch(whole, drained(from_skmultiflow_stream(make()), sizes))


@pytest.mark.parametrize("offset", [0, 1, 255, 256, 257, 512, N])
def test_it_goes_on_from_a_position(offset):
    make = KINDS["categories"]
    whole = read_all(from_skmultiflow_stream(make()))
    source = from_skmultiflow_stream(make())
    while source.position()["offset"] < offset:
        source.next_batch(offset - source.position()["offset"])
    position = source.position()
    assert json.loads(json.dumps(position)) == position
    source.next_batch(5)
    for other in (source, from_skmultiflow_stream(make())):
        other.resume(position)
        rest = read_all(other)
        assert rest.schema.to_json() == whole.schema.to_json()
        assert_same_batch(rest, whole[offset:]) if offset < N else len(rest) == 0


def test_it_begins_at_the_beginning():
    stream = Stream()
    stream.next_sample(40)
    assert_same_batch(read_all(from_skmultiflow_stream(stream)), read_all(from_skmultiflow_stream(Stream())))


def test_a_stream_without_end():
    source = from_skmultiflow_stream(Endless(), name="endless")
    assert (source.name, source.n_events) == ("endless", None)
    assert len(source.next_batch(1000)) == 1000


class Rest:
    """No more than next_sample."""

    def __init__(self, x, y):
        self.x, self.y = np.array(x, float), np.array(y)

    def next_sample(self, batch_size=1):
        return self.x[:batch_size], self.y[:batch_size]


def test_names_of_which_the_stream_says_nothing():
    batch = from_skmultiflow_stream(Rest([[1, 2]] * 3, [["a"], ["b"], ["a"]])).next_batch(3)
    assert batch.schema.feature_names == ["x0", "x1"]
    assert batch.schema.label_names == ["a", "b"]
    assert batch.y.indices.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1], [2]], [0.25, 1], r"^Rest:0: a target must be a class, got the number 0\.25$"),
        ([[1], [np.inf]], [0, 1], "^Rest:0: x must be finite or NaN, got infinity in row 1$"),
        ([[1], [2]], [[0, 1], [2, 0]], r"^Rest:0: targets must be 0 or 1 where there are several, got \[0, 1, 2\]$"),
    ],
)
def test_what_is_no_event_is_refused(x, y, message):
    with pytest.raises(DecodeError, match=message):
        from_skmultiflow_stream(Rest(x, y)).next_batch(2)


def test_what_is_no_stream_is_refused():
    with pytest.raises(TypeError, match="stream must have next_sample, got 3"):
        from_skmultiflow_stream(3)
    source = from_skmultiflow_stream(Rest([[1]] * 9, [0] * 9))
    with pytest.raises(ValueError, match="max_events must be at least 1, got 0"):
        source.next_batch(0)
    source.next_batch(4)
    with pytest.raises(ValueError, match="stream must have restart to go from event 4 to 2"):
        source.resume({"offset": 2, "schema": source.schema.to_json()})
    short = from_skmultiflow_stream(Stream(n=5))
    with pytest.raises(ValueError, match="position must lie in the 5 events, got 6"):
        short.resume({"offset": 6, "schema": short.schema.to_json()})


# The other way.


def batch(n=600, several=True, sparse=False):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    x[x < -1] = 0 if sparse else np.nan
    y = rng.random((n, 4)) < 0.4 if several else np.eye(4, dtype=bool)[rng.integers(0, 4, n)]
    schema = Schema(["a", "b", "c"], ["p", "q", "r", "s"], sparse=sparse)
    if not sparse:
        schema.make_nominal(1, ["red", "green"])
        x[:, 1] = rng.integers(0, 2, n)
    features = Rows.from_dense(x, values=True) if sparse else x
    return Batch(schema, features, Rows.from_dense(y), np.full(n, 2, np.uint8)), x, y


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_stream_gives_the_events_of_the_source(several, sparse):
    events, x, y = batch(several=several, sparse=sparse)
    before = copy.deepcopy(events)
    stream = to_skmultiflow_stream(BatchSource(events, "toy"), multilabel=several)
    for _ in range(2):
        assert stream.n_remaining_samples() == 600
        parts = []
        for size in (1, 5, 300, 294):
            assert stream.has_more_samples()
            parts.append(stream.next_sample(size))
            assert stream.last_sample() is not None
            assert stream.last_sample()[0] is parts[-1][0]
        assert not stream.has_more_samples()
        assert len(stream.next_sample()[0]) == stream.n_remaining_samples() == 0
        assert np.array_equal(np.concatenate([part[0] for part in parts]), x, equal_nan=True)
        assert np.array_equal(np.concatenate([part[1] for part in parts]), y if several else y.argmax(1))
        stream.restart()
    assert_same_batch(before, events)


def test_what_the_stream_says_of_itself():
    stream = to_skmultiflow_stream(BatchSource(batch()[0], "toy"))
    assert (stream.n_features, stream.n_cat_features, stream.n_num_features) == (3, 1, 2)
    assert (stream.feature_names, stream.cat_features_idx) == (["a", "b", "c"], [1])
    assert (stream.n_targets, stream.n_classes) == (4, 2)
    assert (stream.target_names, stream.target_values) == (["p", "q", "r", "s"], [[0, 1]] * 4)
    assert stream.get_data_info() == "toy - 4 target(s), 2 classes, 3 features"
    one = to_skmultiflow_stream(BatchSource(batch(several=False)[0], "toy"), multilabel=False)
    assert (one.n_targets, one.n_classes, one.target_names) == (1, 4, ["class"])
    assert (one.target_values, one.classes) == ([0, 1, 2, 3], ["p", "q", "r", "s"])
    assert one.get_info() == "MultiflowStream(source='toy', multilabel=False)"


def test_there_and_back_are_the_same_events():
    events, x, y = batch()
    back = read_all(from_skmultiflow_stream(to_skmultiflow_stream(BatchSource(events, "toy"))))
    assert back.schema.feature_names == ["a", "b", "c"]
    assert back.schema.label_names == ["p", "q", "r", "s"]
    assert np.array_equal(back.x[:, [0, 2]], x[:, [0, 2]], equal_nan=True)
    assert np.array_equal(back.y.to_dense(4), y)
    model = LinearClassifier()
    model.learn_batch(back)
    assert model.schema_.label_names == ["p", "q", "r", "s"]


def test_events_that_do_not_fit_are_refused(tmp_path):
    events, _, y = batch()
    events.label_state[7] = PARTIAL
    with pytest.raises(ValueError, match="events must be completely labelled, got one that is not at 7"):
        to_skmultiflow_stream(BatchSource(events))
    wrong = int((y.sum(1) != 1).argmax())
    with pytest.raises(ValueError, match=f"an event must have one label, got {int(y[wrong].sum())} at {wrong}"):
        to_skmultiflow_stream(BatchSource(batch()[0]), multilabel=False)
    path = tmp_path / "late.jsonl"
    lines = [{"x": {"a": i}, "y": ["p"]} for i in range(CHUNK)] + [{"x": {"a": 1, "b": 2}, "y": ["p"]}]
    path.write_text("\n".join(map(json.dumps, lines)))
    stream = to_skmultiflow_stream(JSONLinesSource(path))
    stream.next_sample(CHUNK)
    with pytest.raises(ValueError, match=f"source must keep its 1 features and 1 labels, got 2 and 1 at event {CHUNK}"):
        stream.next_sample()


def test_it_passes_for_one_of_theirs_where_they_are_there(monkeypatch):
    Theirs = abc.ABCMeta("Theirs", (), {})
    module = types.ModuleType("skmultiflow.data.base_stream")
    module.Stream = Theirs
    source = BatchSource(batch()[0])
    assert not isinstance(to_skmultiflow_stream(source), Theirs)
    monkeypatch.setitem(sys.modules, "skmultiflow.data.base_stream", module)
    assert isinstance(to_skmultiflow_stream(source), Theirs)


# The page.


def code_blocks(text):
    """The blocks of Python, and for each the line on which it begins."""
    blocks, inside, start = [], None, 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if inside is not None:
                blocks.append((start, "\n".join(inside)))
            inside, start = ([], number + 1) if inside is None and line == "```python" else (None, 0)
        elif inside is not None:
            inside.append(line)
    return blocks


PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"


def test_the_examples_of_the_page_run(monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    blocks = code_blocks(PAGE.read_text())
    assert len(blocks) > 3
    names = {}
    for line, block in blocks:
        exec(compile("\n" * (line - 1) + block, str(PAGE), "exec"), names)


def test_the_names_on_the_page_exist():
    """In the second column: those of the front door alone, others with their module."""
    found = 0
    for row in PAGE.read_text().splitlines():
        if not row.startswith("| `"):
            continue
        for name in re.findall(r"`([\w.]+)", row.split("|")[2]):
            found += 1
            module, _, last = name.rpartition(".")
            assert hasattr(importlib.import_module(module or "ihomer"), last), name
    assert found > 40
