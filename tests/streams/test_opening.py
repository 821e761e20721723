"""Sources by what a user writes, known data sets, and events that are in memory already."""

import gzip
import hashlib
import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import streams
from streams import datasets, open_sink, open_source, registry
from streams.batch import NOMINAL, PARTIAL, Batch
from streams.memory import BatchSource, read_all, shuffled
from streams.river_source import RiverSource
from streams.source import DecodeError, Sink, Source
from tests.streams.places import assert_same_batch, data_folder, drained, written

ARFF = "@relation 'toy: -C -1'\n@attribute a numeric\n@attribute l {0,1}\n@data\n1,0\n2,1\n"
JSON = '{"x": {"a": 1}, "y": []}\n{"x": {"a": 2}, "y": ["l"]}\n'


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without any data set and without a network."""
    monkeypatch.setattr(registry, "folders", lambda: [tmp_path / "cache"])
    monkeypatch.setattr(registry, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(registry, "DOWNLOADS", (tmp_path / "web").as_uri() + "/")
    return tmp_path


@pytest.mark.parametrize("name", ["a.arff", "a.ARFF", "a.arff.gz", "a.arff.zst", "a.txt", "a", "a.gz"])
def test_arff_by_ending_or_content(tmp_path, name):
    source = open_source(written(tmp_path, name, "% comment\n\n" + ARFF))
    assert isinstance(source, Source)
    assert drained(source).x.tolist() == [[1], [2]]
    assert source.name == "a"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson.gz", "a.jsonl.zst", "a.txt", "a"])
def test_json_lines_by_ending_or_content(tmp_path, name):
    source = open_source(str(written(tmp_path, name, JSON)))
    assert drained(source).x.tolist() == [[1], [2]]


@pytest.mark.parametrize("text", [ARFF, JSON])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input(text, pack):
    program = "from streams import *; s = open_source('-'); b = read_all(s); "
    program += "print(s.name, b.x.tolist(), b.y.indices.tolist())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, input=pack(text.encode()), env=environment, capture_output=True, check=True)
    assert answer.stdout == b"<stdin> [[1.0], [2.0]] [0]\n"


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"a source must be a file, a URL or a known data set, found none called 'no.arff'"
    ):
        open_source("no.arff")
    with pytest.raises(ValueError, match=r"a source's scheme must be one of river:, .*, log:, got 'mqtt:'"):
        open_source("mqtt://host:1883/topic")
    with pytest.raises(ValueError, match=r"a sink must be a path, -, kafka:// or log:DIR, got the scheme 'mqtt:'"):
        open_sink("mqtt://host:1883/topic")
    with pytest.raises(IsADirectoryError, match=r"a source must be a file, got the folder"):
        open_source(tmp_path)
    with pytest.raises(
        DecodeError, match=r"a.txt:1: a text must be ARFF .* or JSON Lines .*, a table .*, found b'hello'"
    ):
        open_source(written(tmp_path, "a.txt", "hello\n"))
    with pytest.raises(TypeError, match=r"a source must be a path, a name, a Source, .* got 3"):
        open_source(3)
    with pytest.raises(registry.UnknownDatasetError, match=r"got 'yeats'; did you mean yeast?"):
        open_source("yeats")
    with pytest.raises(registry.UnknownDatasetError, match=r"got 'qqqqqqq'; known are flags, emotions"):
        open_source("qqqqqqq")


def test_sinks(tmp_path):
    sink = open_sink(tmp_path / "out.jsonl")
    assert isinstance(sink, Sink)
    sink.close()
    assert open_sink("-").name == "<stdout>"


def test_yeast_is_the_same_from_rivers_wheel(nowhere):
    wheel = open_source("yeast")
    file = open_source(data_folder() / "yeast.arff")
    assert wheel._reader.path is None
    assert (wheel.name, wheel.n_events) == (file.name, file.n_events) == ("yeast", 2417)
    while (batch := file.next_batch(100)) is not None:
        assert_same_batch(wheel.next_batch(100), batch)
    assert wheel.next_batch(100) is None
    kept = registry.fetch("yeast")
    assert kept == nowhere / "cache" / "yeast.arff"
    assert_same_batch(drained(open_source("yeast")), drained(open_source(data_folder() / "yeast.arff")))


def test_known_names_open_with_their_labels():
    folder = data_folder()
    source = open_source("electricity")
    assert (source.schema.label_names, source.schema.n_features) == (["class"], 6)
    assert registry.dataset_path("20ng") == folder / "20ng.arff.gz"
    assert registry.dataset_path("no-such-set") is None
    assert open_source("flags").schema.n_labels == 7
    assert open_source("20ng").n_events == 19300


def test_folders_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setenv("IHOMER_DATA", str(tmp_path))
    written(tmp_path, "flags.jsonl", JSON)
    assert registry.folders()[0] == tmp_path
    assert registry.dataset_path("flags") == tmp_path / "flags.jsonl"
    written(tmp_path, "mine.arff.zst", ARFF)
    assert registry.is_known("mine")
    assert len(drained(open_source("mine"))) == 2


def test_download_is_checked_and_kept(nowhere, monkeypatch):
    info = datasets.DatasetInfo(
        "toy", 2, 1, 1, 0.5, "last:1", "", "", "toy.arff", hashlib.sha256(ARFF.encode()).hexdigest()
    )
    monkeypatch.setattr(registry, "DATASETS", (info,))
    with pytest.raises(
        FileNotFoundError,
        match=r"data set 'toy' must be in one of the folders .*cache or at file:.*toy.arff, found neither",
    ):
        open_source("toy")
    (nowhere / "web").mkdir()
    (nowhere / "web" / "toy.arff").write_text(ARFF.replace("2,1", "2,0"))
    with pytest.raises(ValueError, match=r"data set 'toy' from file:.* must have sha256 .*, found "):
        registry.fetch("toy")
    assert not (nowhere / "cache").exists()
    (nowhere / "web" / "toy.arff").write_text(ARFF)
    told = []
    path = registry.fetch("toy", lambda done, total: told.append((done, total)))
    assert told == [(len(ARFF), len(ARFF))]
    assert path.read_text() == ARFF
    (nowhere / "web" / "toy.arff").unlink()
    assert registry.fetch("toy") == path
    assert streams.describe("toy") == {"n_events": 2, "n_features": 1, "n_labels": 1, "cardinality": 0.5, "n_dead": 0}


def test_the_table():
    assert len(datasets.DATASETS) == len({info.name for info in datasets.DATASETS}) == 17
    assert streams.list_datasets()[0] is streams.find_dataset("flags")
    assert all(len(info.sha256) == 64 for info in datasets.DATASETS)


def test_a_batch_as_a_source():
    batch = read_all(open_source(io_arff(300)))
    source = open_source(batch)
    assert isinstance(source, Source)
    assert_same_batch(drained(source, (7, 100)), batch)
    source.resume({"offset": 40})
    place = source.position()
    assert_same_batch(source.next_batch(10), batch[40:50])
    other = BatchSource(batch)
    other.resume(place)
    assert_same_batch(drained(other), batch[40:])
    with pytest.raises(ValueError, match=r"position must lie in the 300 events, got 301"):
        source.resume({"offset": 301})
    with pytest.raises(ValueError, match=r"max_events must be at least 1, got 0"):
        source.next_batch(0)


def io_arff(n):
    from streams.arff import ArffSource

    return ArffSource(io.BytesIO((ARFF + "".join(f"{i},{i % 2}\n" for i in range(n - 2))).encode()), name="toy")


def test_read_all_and_shuffled():
    assert len(read_all(io_arff(3000), max_events=1500)) == 1500
    source = io_arff(3)
    read_all(source)
    empty = read_all(source)
    assert (len(empty), empty.schema.n_labels) == (0, 1)
    batch = read_all(io_arff(100))
    one, two, other = shuffled(batch, 1), shuffled(batch, 1), shuffled(batch, 2)
    assert_same_batch(one, two)
    assert one.offset.tolist() != other.offset.tolist()
    assert sorted(one.offset.tolist()) == list(range(100))
    assert one.x[:, 0].tolist() == batch.x[one.offset, 0].tolist()


def test_a_frame():
    frame = pd.DataFrame({"a": [1.0, np.nan], "c": ["red", None], "t": [True, False], "l": [1, 0], "m": [np.nan, 1]})
    source = open_source(frame, labels="last:2")
    batch = drained(source)
    assert source.schema.feature_names == ["a", "c", "t"]
    assert source.schema.label_names == ["l", "m"]
    assert source.schema.kinds[1] == NOMINAL
    assert np.array_equal(batch.x, np.array([[1, 0, 1], [np.nan, np.nan, 0]], np.float32), equal_nan=True)
    assert [batch.y.row(i).tolist() for i in range(2)] == [[0], [1]]
    assert batch.label_state[0] == PARTIAL
    assert open_source(frame, labels="l,m").schema == source.schema
    for labels, reason in [
        (None, "labels of a frame must be named, got None"),
        ("last:9", "labels must name 1 to 5 columns, got 'last:9'"),
        ("z", "a label must be a column of the frame, got 'z'"),
        ("c", "label 'c' must be 0, 1 or missing, got other values"),
    ]:
        with pytest.raises(ValueError, match=reason):
            open_source(frame, labels=labels)
    with pytest.raises(ValueError, match=r"columns of a frame must differ, got one name twice"):
        open_source(pd.DataFrame([[1, 2]], columns=["a", "a"]), labels="a")


def test_a_river_data_set_is_the_same_as_the_file():
    source = open_source("river:datasets.Yeast")
    assert isinstance(source, Source)
    assert (source.name, source.n_events) == ("yeast", 2417)
    first, second = source.next_batch(300), source.next_batch(20)
    expected = read_all(open_source("yeast"), 320)
    assert source.schema == expected.schema
    assert_same_batch(Batch.concat([first, second]), expected)
    place = source.position()
    third = source.next_batch(10)
    again = open_source("river:datasets.Yeast")
    again.resume(place)
    assert_same_batch(again.next_batch(10), third)


def test_river_targets_of_other_kinds():
    def source(*targets):
        return RiverSource([({"a": 1.0, "c": "red"}, y) for y in targets])

    assert drained(source("p", "q", "p")).y.indices.tolist() == [0, 1, 0]
    assert drained(source(True, False)).y.to_dense(1).tolist() == [[1], [0]]
    assert drained(source({"p", "q"}, set())).y.indptr.tolist() == [0, 2, 2]
    assert drained(source({"p": True, "q": None})).label_state.tolist() == [PARTIAL]
    bad = RiverSource([({"a": 1.0}, True)] * 5 + [({"a": float("inf")}, True)])
    with pytest.raises(DecodeError, match=r"list:5: feature 'a' must be finite.*, got inf; None is missing"):
        bad.next_batch()
    with pytest.raises(
        ValueError, match=r"river:datasets.Nope must name a class such as river:datasets.Yeast, found none"
    ):
        open_source("river:datasets.Nope")
    short = source("p")
    with pytest.raises(ValueError, match=r"position must lie in the 1 events, got 2"):
        short.resume({"offset": 2, "schema": short.schema.to_json()})


def test_the_room_opens_without_its_furniture():
    program = (
        "import sys, streams; print(sorted(m for m in ('numpy', 'numba', 'pandas', 'msgspec') if m in sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=os.getcwd()
    )
    assert answer.stdout == "[]\n"
    assert all(getattr(streams, name) is not None for name in streams.__all__)
    assert dir(streams) == streams.__all__
    with pytest.raises(AttributeError, match=r"module 'streams' has no attribute 'nothing'"):
        streams.nothing  # noqa: B018
