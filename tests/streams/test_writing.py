"""Writers: what is written comes back, a file is whole or not there, and what a format cannot hold is refused."""

import io

import numpy as np
import pytest

from streams import open_source, open_writer, write_events
from streams.batch import COMPLETE, UNLABELLED, Batch, Rows, Schema
from streams.jsonl import JSONLinesSource
from streams.memory import BatchSource, read_all
from streams.schema_file import find_schema_file, schema_path, write_schema_file
from streams.source import DecodeError
from streams.whole_file import whole_file
from streams.writing import WRITERS, ColumnsGrewError, EventWriter, writer_ending
from tests.streams.places import assert_same_batch, written
from tests.streams.tables import random_batch

EVERYTHING = ["toy.csv", "toy.tsv.gz", "toy.csv.zst", "toy.parquet", "toy.arrow", "toy.feather", "toy.jsonl"]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("extras", [False, True])
@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_comes_back(tmp_path, name, extras, sparse):
    batch = random_batch(300, sparse=sparse, extras=extras)
    path = tmp_path / name
    told = []
    assert write_events(BatchSource(batch), path, lambda *counts: told.append(counts)) == 300
    assert told == [(300, 0)]
    again = read_all(open_source(path))
    assert_same_batch(again, batch)
    if ".jsonl" not in name and ".gz" not in name:
        assert open_source(path).n_events in (300, None)


@pytest.mark.parametrize("name", ["toy.csv", "toy.parquet", "toy.jsonl", "toy.arrow"])
def test_small_batches_are_one_file(tmp_path, name):
    batch = random_batch(100)
    path = tmp_path / name
    writer = open_writer(path, batch.schema)
    assert isinstance(writer, EventWriter)
    for start in range(0, 100, 7):
        writer.write(batch[start : start + 7])
    assert not path.exists()
    writer.close()
    writer.close()
    writer.discard()
    assert_same_batch(read_all(open_source(path)), batch)
    with pytest.raises(ValueError, match=f"{name}: a writer must be open to be written, got one that is closed"):
        writer.write(batch)


@pytest.mark.parametrize("name", ["toy.csv", "toy.parquet", "toy.jsonl", "toy.arrow"])
def test_a_file_is_whole_or_not_there(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"old")
    writer = open_writer(path, random_batch(3).schema)
    writer.write(random_batch(3))
    writer.discard()
    writer.discard()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    with pytest.raises(FileNotFoundError, match="the folder of a file to write must be there"):
        open_writer(tmp_path / "no" / name, Schema())


class Failing(BatchSource):
    def next_batch(self, max_events=256, timeout=None):
        if self._next:
            raise DecodeError("toy", "bad", offset=10)
        return super().next_batch(10)


@pytest.mark.parametrize("name", ["toy.csv", "toy.parquet", "toy.jsonl"])
def test_a_source_that_fails_leaves_nothing(tmp_path, name):
    with pytest.raises(DecodeError, match="toy:10: bad"):
        write_events(Failing(random_batch(30)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


GROWING = (
    b'{"x": {"a": 1}, "y": ["p"]}\n{"x": {"a": 2, "c": "red"}, "y": ["q", "p"]}\n'
    b'{"x": {"c": "blue"}, "id": "k", "w": 2}\n'
    b'{"x": {"a": 3}, "y": {"p": true, "q": null}}\n'
)


@pytest.mark.parametrize("name", ["toy.csv", "toy.parquet", "toy.arrow", "toy.jsonl"])
def test_columns_that_come_later_are_known_at_the_second_reading(tmp_path, name, monkeypatch):
    monkeypatch.setattr("streams.writing.COPIED", 1)
    path = written(tmp_path, "from.jsonl", GROWING)
    whole = read_all(open_source(path))
    assert write_events(open_source(path), tmp_path / name) == 4
    again = read_all(open_source(tmp_path / name))
    again.source = whole.source
    assert_same_batch(again, whole)
    assert write_events(open_source(path), tmp_path / ("less_" + name), max_events=2) == 2
    assert open_source(tmp_path / ("less_" + name)).schema.n_labels == 2


class Pipe(io.BytesIO):
    def seekable(self):
        return False


def test_a_pipe_with_new_columns_is_refused_by_formats_with_a_head(tmp_path, monkeypatch):
    monkeypatch.setattr("streams.writing.COPIED", 1)
    with pytest.raises(ValueError, match=r"toy.csv: columns must all be known before the first event of this format"):
        write_events(JSONLinesSource(Pipe(GROWING)), tmp_path / "toy.csv")
    assert list(tmp_path.iterdir()) == []
    assert write_events(JSONLinesSource(Pipe(GROWING)), tmp_path / "toy.jsonl") == 4


def test_what_a_head_does_not_have_is_refused(tmp_path):
    batch = random_batch(5, extras=False, partial=False)
    for name in ("toy.csv", "toy.parquet"):
        writer = open_writer(tmp_path / name, batch.schema)
        writer.write(batch)
        with pytest.raises(
            ColumnsGrewError, match=f"{name}: what events have must be known before the first one, got a"
        ):
            writer.write(random_batch(5))
        other = random_batch(5, extras=False, partial=False)
        other.schema.label_id("new")
        writer = open_writer(tmp_path / name, batch.schema)
        writer.write(batch)
        with pytest.raises(
            ColumnsGrewError, match=f"{name}: columns must all be known before the first event, got new"
        ):
            writer.write(other)


def one_event(payload, label="l"):
    schema = Schema([], [label])
    state = np.array([COMPLETE], np.uint8)
    return Batch(schema, np.zeros((1, 0), np.float32), Rows.from_lists([[0]]), state, payload=[payload])


def test_payloads_of_bytes(tmp_path):
    batch = one_event(b"\x00\xff")
    write_events(batch, tmp_path / "toy.parquet")
    assert read_all(open_source(tmp_path / "toy.parquet")).payload == [b"\x00\xff"]
    with pytest.raises(ValueError, match=r"toy.csv: a payload must be text to be written to this format, got bytes"):
        write_events(batch, tmp_path / "toy.csv")
    writer = open_writer(tmp_path / "mixed.parquet", batch.schema)
    writer.write(one_event("text"))
    writer.write(batch)
    with pytest.raises(ValueError, match=r"mixed.parquet: payloads must all be text or all bytes, got"):
        writer.close()
    assert not (tmp_path / "mixed.parquet").exists()


def test_names_of_labels_must_differ_as_text(tmp_path):
    schema = Schema(["a"], [1, "1"])
    batch = Batch(schema, np.zeros((1, 1), np.float32), Rows.empty(1), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match=r"toy.parquet: labels must differ when written as text, got \[1, '1'\]"):
        write_events(batch, tmp_path / "toy.parquet")


@pytest.mark.parametrize("name", ["toy.csv", "toy.parquet", "toy.arrow"])
def test_names_that_are_alike_and_rows_that_are_empty(tmp_path, name):
    schema = Schema(["labels", 1, "1", "features", "id"], ["labels", 2])
    batch = Batch(
        schema,
        np.full((2, 5), np.nan, np.float32),
        Rows.from_lists([[0], []]),
        np.array([COMPLETE, UNLABELLED], np.uint8),
    )
    batch.source = "toy"
    write_events(batch, tmp_path / name)
    assert_same_batch(read_all(open_source(tmp_path / name)), batch)
    single = Batch(
        Schema(["a"]), np.full((2, 1), np.nan, np.float32), Rows.empty(2), np.zeros(2, np.uint8), source="toy"
    )
    write_events(single, tmp_path / name)
    assert_same_batch(read_all(open_source(tmp_path / name)), single)
    write_events(single[:0], tmp_path / name)
    empty = read_all(open_source(tmp_path / name))
    assert (len(empty), empty.schema) == (0, single.schema)


def test_endings():
    assert [writer_ending(name) for name in ("a/b.CSV.gz", "b.svm", "b.npz")] == [".csv", ".svm", ".npz"]
    for name in ("toy", "toy.txt", "toy.parquet.gz", "toy.arff"):
        with pytest.raises(ValueError, match=rf"a file to write must end with {', '.join(WRITERS)} .*, got '{name}'"):
            writer_ending(name)


def test_schema_files(tmp_path):
    schema = random_batch(1, sparse=True).schema
    path = tmp_path / "toy.csv.gz"
    assert find_schema_file(path) is None
    assert find_schema_file(None) is None
    assert write_schema_file(path, schema, {"base": 1}) == schema_path(path) == tmp_path / "toy.csv.schema.json"
    found = find_schema_file(tmp_path / "toy.csv")
    assert (found.schema, found.columns, found.path) == (schema, {"base": 1}, schema_path(path))
    for text in ("{", "[]", '{"format": "ihomer-schema", "version": 2}', '{"format": "x", "version": 1}', "{}"):
        schema_path(path).write_text(text)
        with pytest.raises(DecodeError, match=r"toy.csv.schema.json:1: a schema must be one that a writer left, found"):
            find_schema_file(path)


def test_a_table_and_its_schema_file_must_agree(tmp_path):
    batch = random_batch(5)
    path = tmp_path / "toy.csv"
    write_events(batch, path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(
        DecodeError,
        match=r"toy.csv:1: a table must have the columns that toy.csv.schema.json tells, found: expected 11",
    ):
        open_source(path)
    assert open_source(path, labels="b").schema.feature_names == ["a"]
    write_schema_file(path, batch.schema)
    with pytest.raises(
        DecodeError, match=r"toy.csv:1: a table must have the columns that toy.csv.schema.json tells, found: 'roles'"
    ):
        open_source(path)
    write_schema_file(path, batch.schema, {"roles": [["feature", 1], ["label", 1]]})
    with pytest.raises(DecodeError, match=r"columns must hold all 4 features of the schema, found fewer"):
        open_source(path)


def test_a_temporary_file_goes_when_its_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a") as partial:
        partial.write_text(str(1 // 0))
    assert list(tmp_path.iterdir()) == []
