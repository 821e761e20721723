"""The laws that every source of events obeys, whatever it reads."""

import copy
import functools
import gzip
import importlib
import inspect
import json
import pkgutil

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import zstandard

import streams
from streams.arff import ArffSource
from streams.batch import Batch
from streams.columnar import ColumnarSource
from streams.delimited import DelimitedSource
from streams.extraction.encoders.hashing import HashingEncoder
from streams.extraction.pool import ExtractionPool
from streams.extraction.source import ExtractedSource
from streams.extreme import ExtremeSource
from streams.jsonl import JSONLinesSource
from streams.libsvm import LibsvmSource
from streams.memory import BatchSource
from streams.multiflow import MultiflowSource, MultiflowStream
from streams.numpy_archive import NumpySource
from streams.river_source import RiverSource
from streams.siblurry import ArrangedSource, SiBlurry
from streams.source import Source
from streams.synthetic.source import SyntheticSource
from tests.streams.places import assert_same_batch, drained

N = 30
"""Records that every source here has."""

BAD = (0, 7, 8, 20)
"""Those of them that cannot be read, in the formats that know such records."""


def text_of(head, row, bad, tail=""):
    """A text of ``N`` records between blank lines."""
    rows = [bad if i in BAD else row(i) for i in range(N)]
    return (head + "\n".join(rows[:10]) + "\n\n" + "\n".join(rows[10:]) + tail).encode()


TEXTS = {
    ArffSource: text_of(
        "@relation '-C 2'\n@attribute l {0,1}\n@attribute m {0,1}\n@attribute a numeric\n@attribute b {x,y}\n@data\n",
        lambda i: f"{'01?'[i % 3]},{i % 2},{i}.5,{'xy?'[i % 3]}",
        "0,1,1,z",
    ),
    JSONLinesSource: text_of(
        "", lambda i: json.dumps({"x": {f"f{i // 4}": i, "c": f"c{i // 9}"}, "y": [f"l{i // 5}"], "id": f"e{i}"}), "{"
    ),
    DelimitedSource: text_of("a,b,l,m\n", lambda i: f"{i}.5,{'xy'[i % 2]},{i % 2},{i // 15}", "1,x,0,1,5"),
    LibsvmSource: text_of("", lambda i: f"{i % 4},l{i // 6} {i + 1}:{i}.5 {i % 3}:1", "1 word", "\n"),
    ExtremeSource: text_of(f"{N} 40 9\n", lambda i: f"{i % 4},{4 + i // 6} {i}:{i}.5 {30 + i % 3}:1", "1 40:1"),
}
"""A text for every source of texts."""

OPTIONS = {DelimitedSource: {"labels": "last:2"}}

PACKS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "broken off": lambda text: gzip.compress(text)[:-4],
}


def text_source(folder, cls, pack):
    path = folder / "toy.txt"
    path.write_bytes(PACKS[pack](TEXTS[cls]))
    return lambda: cls(path, on_error="skip", **OPTIONS.get(cls, {}))


def columnar_source(folder, write):
    path = folder / "toy.table"
    numbers = [float("nan") if i in BAD else i / 2 for i in range(N)]
    tags = [[f"l{i // 5}", f"m{i % 3}"] for i in range(N)]
    write(pa.table({"a": numbers, "b": ["xy"[i % 2] for i in range(N)], "tags": tags}), path)
    return lambda: ColumnarSource(path, labels="tags:tags", on_error="skip")


def numpy_source(folder, pack):
    x = np.arange(3.0 * N).reshape(N, 3)
    x[list(BAD), 1] = np.inf
    pack(folder / "toy.npz", x=x, y=np.where(x == 62, np.nan, x > 30), key=np.arange(N))
    return lambda: NumpySource(folder / "toy.npz", on_error="skip")


def batch_source(folder):
    batch = Batch.from_arrays(np.eye(N), np.eye(N)[:, :4], weight=np.arange(1.0, N + 1))
    return lambda: BatchSource(batch, "toy")


def extracted_source(folder, encoder):
    """Events with a text and a feature of their own; a text of bytes that are no UTF-8 cannot be encoded."""
    events = [
        {
            "x": {f"f{i // 9}": i} if i % 3 else {},
            "y": [f"l{i // 5}"],
            "payload": {"base64": "/w=="} if i == 7 else f"a {i}",
        }
        for i in range(N)
    ]
    lines = ["{" if i in BAD and i != 7 else json.dumps(event) for i, event in enumerate(events)]
    path = folder / "toy.jsonl"
    path.write_text("\n".join(lines))

    def opened():
        pool = ExtractionPool(encoder, on_error="skip", batch_size=4)
        return ExtractedSource(JSONLinesSource(path, on_error="skip"), pool, on_error="skip")

    return opened


def lengths(texts):
    """An encoder of dense rows."""
    return np.array([[len(text), len(text.split(" "))] for text in texts])


class Pairs:
    """What river calls a data set.

    Targets are lists: how much a mapping tells of the labels depends on how many are known by then, and a source that
    goes back has not forgotten any.
    """

    n_samples = N

    def __iter__(self):
        for i in range(N):
            yield {f"f{i // 4}": i, "c": f"c{i // 9}"}, [f"l{i // 5}", "m"]


CASES = {
    **{cls: {pack: functools.partial(text_source, cls=cls, pack=pack) for pack in PACKS} for cls in TEXTS},
    ColumnarSource: {
        "parquet": functools.partial(
            columnar_source, write=functools.partial(pa.parquet.write_table, row_group_size=8)
        ),
        "arrow": functools.partial(
            columnar_source, write=functools.partial(pa.feather.write_feather, compression="uncompressed", chunksize=8)
        ),
    },
    NumpySource: {
        "stored": functools.partial(numpy_source, pack=np.savez),
        "compressed": functools.partial(numpy_source, pack=np.savez_compressed),
    },
    BatchSource: {"": batch_source},
    ExtractedSource: {
        "dense": functools.partial(extracted_source, encoder=lengths),
        "sparse": functools.partial(extracted_source, encoder=HashingEncoder(64, idf=True)),
    },
    MultiflowSource: {"": lambda folder: lambda: MultiflowSource(MultiflowStream(batch_source(folder)()))},
    RiverSource: {"": lambda folder: lambda: RiverSource(Pairs())},
    ArrangedSource: {"": lambda folder: lambda: SiBlurry(sessions=3).stream((np.eye(N, 5), np.arange(N) % 4))},
    SyntheticSource: {"": lambda folder: lambda: SyntheticSource(events=N, sparse=0.3)},
}
"""For every source, ways to make one: functions of a folder that return what opens it, anew each time."""


def discovered():
    """Every public class of the room that is a source, but for those of topics: their offsets are the broker's, and
    their positions leave names of columns to the checkpoint; test_topics.py holds them. What trains encoders has none
    and imports PyTorch."""
    found = set()
    for module in pkgutil.walk_packages(streams.__path__, "streams."):
        if module.name.startswith(("streams.topics", "streams.extraction.training.")):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            is_source = inspect.isclass(value) and hasattr(value, "next_batch") and hasattr(value, "resume")
            if is_source and not (name.startswith("_") or inspect.isabstract(value) or value is Source):
                found.add(value)
    return found


def test_every_source_is_held_to_the_laws():
    assert discovered() == set(CASES)


@pytest.fixture(
    params=[
        pytest.param(prepare, id=f"{cls.__name__}-{way}" if way else cls.__name__)
        for cls, ways in CASES.items()
        for way, prepare in ways.items()
    ]
)
def make(request, tmp_path):
    """Opens a source; every time the same records."""
    return request.param(tmp_path)


def test_a_source_has_what_the_protocol_asks_for(make):
    source = make()
    assert isinstance(source, Source)
    assert isinstance(source.name, str)
    assert source.n_events in (None, N)
    batch = source.next_batch(5)
    assert batch.schema is source.schema
    assert batch.source == source.name


def test_offsets_count_records_and_batches_are_no_larger_than_asked_for(make):
    source, offsets = make(), []
    while (batch := source.next_batch(4)) is not None:
        assert len(batch) + len(batch.dead) <= 4
        assert (np.diff(batch.offset) > 0).all()
        assert all(letter.source == source.name and letter.reason for letter in batch.dead)
        offsets += batch.offset.tolist() + [letter.offset for letter in batch.dead]
    # Text that breaks off ends with a record that is none.
    assert sorted(offsets) in (list(range(N)), list(range(N + 1)))
    for _ in range(2):
        assert source.next_batch(4) is None


def test_one_batch_equals_many(make):
    whole = drained(make(), (10 * N,))
    for sizes in ((1,), (3, 1, 11)):
        assert_same_batch(whole, drained(make(), sizes))


def test_going_on_from_any_position_equals_never_having_stopped(make):
    whole = drained(make(), (10 * N,))
    source, batches = make(), []
    positions = [source.position()]
    while (batch := source.next_batch(1)) is not None:
        batches.append(batch)
        positions.append(source.position())
    for taken, position in enumerate(positions):
        told = json.loads(json.dumps(position))
        assert told == position
        for again in (make(), source):
            again.resume(told)
            rest = drained(again, (7,))
            assert rest.schema == whole.schema
            assert_same_batch(whole, Batch.concat([*batches[:taken], rest]))


def test_reading_on_leaves_batches_as_they_were(make):
    source = make()
    batch = source.next_batch(6)
    before = copy.deepcopy(batch)
    drained(source, (2,))
    before.schema = batch.schema
    assert_same_batch(before, batch)


def test_a_source_may_be_closed_twice_and_early(make):
    source = make()
    source.next_batch(3)
    source.close()
    source.close()
    make().close()


@pytest.mark.parametrize("max_events", [0, -1])
def test_a_batch_of_no_events_cannot_be_asked_for(make, max_events):
    with pytest.raises(ValueError, match=f"^max_events must be at least 1, got {max_events}$"):
        make().next_batch(max_events)
