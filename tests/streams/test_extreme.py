"""The text format of extreme classification: header, rows that are too few or too many, and the way back."""

import gzip
import io
import os

import numpy as np
import pytest
from hypothesis import given, settings

from streams.batch import Batch, Rows, Schema
from streams.extreme import ExtremeSource, ExtremeWriter
from streams.memory import read_all
from streams.opening import open_source
from streams.source import DecodeError
from streams.writing import write_events
from tests.naive.streams_libsvm import BadRowError, read_row
from tests.streams.places import assert_same_batch, data_folder, drained, written
from tests.streams.test_fuzz import check, damaged, damages

TEXT = b"4 6 5\n4,0 0:0.5 5:1e3\n 2:1 1:-.25\n\n3\n1,2 0:0\n"


def opened(text, **options):
    return ExtremeSource(io.BytesIO(text), name="toy", **options)


def test_a_file_as_the_repository_has_them():
    source = opened(TEXT)
    assert source.n_events == 4
    assert source.schema.feature_names == ["x0", "x1", "x2", "x3", "x4", "x5"]
    assert source.schema.label_names == ["0", "1", "2", "3", "4"]
    batch = source.next_batch()
    assert source.next_batch() is None
    assert batch.x.to_dense(6).tolist() == [[0.5, 0, 0, 0, 0, 1000], [0, -0.25, 1, 0, 0, 0], [0] * 6, [0] * 6]
    assert [batch.y.row(i).tolist() for i in range(4)] == [[0, 4], [], [3], [1, 2]]
    assert opened(TEXT, rows="dense").next_batch().x[0].tolist() == [0.5, 0, 0, 0, 0, 1000]
    assert opened(b"\xef\xbb\xbf0 3 2\r\n\r\n").next_batch() is None


def test_kernel_and_plain_reader_agree_on_random_rows():
    chance = np.random.default_rng(5)
    words = ["0", "1", "01", "4", "5", "+2", "-1", "a", "", "99999999999999999999"]
    indices, values = ["0", "1", "5", "6", "007", "x", ""], ["1", "-.5", "0", "x", "1e39"]
    lines, expected, dead = [], [], []
    while len(lines) < 2000:
        labels = ",".join(chance.choice(words[: chance.choice([4, 10])], chance.integers(0, 4)))
        cells = [
            f"{chance.choice(indices[: chance.choice([3, 7])])}:{chance.choice(values[: chance.choice([3, 5])])}"
            for _ in range(chance.integers(0, 4))
        ]
        line = " ".join([labels, *cells])
        if not line.strip():
            continue
        lines.append(line)
        try:
            expected.append(read_row(line, base=0, n_features=6, n_labels=5))
        except BadRowError:
            dead.append(len(lines) - 1)
    batch = drained(opened(f"{len(lines)} 6 5\n{chr(10).join(lines)}".encode(), on_error="skip"), (3, 100))
    assert [letter.offset for letter in batch.dead] == dead
    assert len(batch) == len(expected) > 400
    assert len(dead) > 500
    x = batch.x.to_dense(6)
    for i, (labels, features) in enumerate(expected):
        assert batch.y.row(i).tolist() == sorted(map(int, labels))
        wanted = np.zeros(6)
        for index, value in features:
            wanted[index] = value
        assert np.array_equal(x[i], wanted)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", ":1: a text must hold at least one line, found an empty file"),
        (b"\n1 2 3\n", ":1: the first line must be n_rows n_features n_labels, found ''"),
        (b"4 6\n", ":1: the first line must be n_rows n_features n_labels, found '4 6'"),
        (b"4 6 -1\n", ":1: the first line must be n_rows n_features n_labels, found '4 6 -1'"),
        (b"4,0 0:1 2:1\n", ":1: the first line must be n_rows n_features n_labels, found '4,0 0:1 2:1'"),
        (
            b"4 67108864 1\n",
            ":1: features and labels must be fewer than 67108864, found '4 67108864 1'",
        ),
    ],
)
def test_a_broken_header_is_told_at_opening(tmp_path, text, reason):
    with pytest.raises(DecodeError) as error:
        ExtremeSource(written(tmp_path, "toy.xc", text))
    assert str(error.value) == "toy.xc" + reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("5 0:1", "a label must be a number below 5, found '5'"),
        ("a 0:1", "a label must be a number below 5, found 'a'"),
        ("1,,2 0:1", "a label must be a number below 5, found none"),
        ("-1,2 0:1", "a label must be a number below 5, found '-1'"),
        ("1,01 0:1", "labels of an event must differ, found '1' twice"),
        ("1 6:1", "a feature must be index:value, its index 0 to 5, found '6:1'"),
        ("1 2:1 2:1", "indices of a row must differ, found '2' twice"),
    ],
)
def test_a_broken_row_is_told_or_kept(row, reason):
    text = f"2 6 5\n{row}\n0 1:1\n".encode()
    with pytest.raises(DecodeError, match=r"^<stream>:2: ") as error:
        opened(text).next_batch()
    assert error.value.reason == reason
    batch = opened(text, on_error="skip").next_batch()
    assert [(d.offset, d.line, d.reason, d.raw) for d in batch.dead] == [(0, 2, reason, row.encode())]
    assert batch.offset.tolist() == [1]


def test_rows_that_the_header_does_not_count():
    text = b"2 3 5\n4,0 0:0.5\n 2:1\n\n# said\n1 2:1\n\n2 2:2"
    reason = "the first line tells 2 rows, found another"
    source = opened(text)
    assert len(source.next_batch()) == 2
    for _ in range(2):
        with pytest.raises(DecodeError, match=f"<stream>:6: {reason}"):
            source.next_batch()
    batch = drained(opened(text, on_error="skip"))
    assert len(batch) == 2
    assert [(d.offset, d.line, d.reason, d.raw) for d in batch.dead] == [
        (2, 6, reason, b"1 2:1"),
        (3, 8, reason, b"2 2:2"),
    ]


def test_rows_that_are_missing_are_told_once_at_the_end():
    text = b"5 3 5\n4,0 0:0.5\n 2:1\n"
    reason = "the first line tells 5 rows, found 2"
    source = opened(text)
    assert len(source.next_batch()) == 2
    with pytest.raises(DecodeError, match=f"<stream>:4: {reason}") as error:
        source.next_batch()
    assert (error.value.offset, error.value.line) == (2, 4)
    source = opened(text, on_error="skip")
    batch = drained(source)
    assert [(d.offset, d.line, d.reason, d.raw) for d in batch.dead] == [(2, 4, reason, b"")]
    assert source.next_batch() is None
    again = opened(text, on_error="skip")
    again.resume(source.position())
    assert again.next_batch() is None


@pytest.mark.parametrize("name", ["toy.xc", "toy.xc.gz", "toy.xc.zst"])
def test_resuming_anywhere_goes_on_as_if_never_stopped(tmp_path, name):
    chance = np.random.default_rng(1)
    rows = [f"{i % 5},{i % 7} {i % 6}:{chance.normal():.4f}" for i in range(900)]
    path = written(tmp_path, name, "1000 6 7\n" + "\n".join(rows))
    whole = drained(ExtremeSource(path, on_error="skip"))
    assert len(whole.dead) == sum(i % 5 == i % 7 for i in range(900)) + 1
    assert_same_batch(whole, drained(ExtremeSource(path, on_error="skip"), (1, 7, 500, 64)))
    source = ExtremeSource(path, on_error="skip")
    places, events, dead = [(source.position(), 0, 0)], 0, 0
    while (batch := source.next_batch(int(chance.integers(1, 200)))) is not None:
        events, dead = events + len(batch), dead + len(batch.dead)
        places.append((source.position(), events, dead))
    for position, events, dead in places:
        again = ExtremeSource(path, on_error="skip")
        again.resume(position)
        expected = whole[events:]
        expected.dead = whole.dead[dead:]
        assert_same_batch(expected, drained(again))


def test_text_that_breaks_off_is_told_once(tmp_path):
    path = tmp_path / "toy.xc.gz"
    path.write_bytes(gzip.compress(b"9 6 5\n" + b"1 2:0.5\n" * 8 + b"3 4:5")[:-9])
    source = ExtremeSource(path, on_error="skip")
    batch = drained(source)
    assert ["gzip data must end with a checksum" in letter.reason for letter in batch.dead] == [True]
    again = ExtremeSource(path, on_error="skip")
    again.resume(source.position())
    assert again.next_batch() is None


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("sparse", [True, False])
def test_what_was_written_is_read_back(tmp_path, ending, sparse):
    schema = Schema(["n", "a colour"], ["a b", "c,d", "e:f"], sparse=sparse)
    schema.decide(0, 1)
    schema.make_nominal(1, ["", "red", "blue"])
    chance = np.random.default_rng(2)
    x = np.stack([chance.normal(size=100) * (chance.random(100) < 0.5), chance.integers(0, 3, 100)], 1)
    y = chance.random((100, 3)) < 0.2
    x[3], y[3] = 0, False
    batch = Batch.from_arrays(Rows.from_dense(x, values=True) if sparse else x, y, schema=schema)
    batch.source = "toy"
    path = tmp_path / ("toy.xc" + ending)
    writer = ExtremeWriter(path, schema)
    for start in range(0, 100, 30):
        writer.write(batch[start : start + 30])
    assert not path.exists()
    writer.close()
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, "toy.xc.schema.json"])
    source = ExtremeSource(path)
    assert source.n_events == 100
    assert_same_batch(batch, drained(source, (7, 30)))
    if not ending:
        assert path.read_bytes().splitlines()[0] == b"100 2 3"


@pytest.mark.parametrize("name", ["flags", "yeast", "slashdot"])
def test_real_sets_are_read_back(tmp_path, name):
    batch = read_all(open_source(data_folder() / f"{name}.arff"))
    write_events(batch, tmp_path / f"{name}.xc")
    assert_same_batch(batch, drained(open_source(tmp_path / f"{name}.xc")))


def test_no_events_at_all(tmp_path):
    writer = ExtremeWriter(tmp_path / "toy.xc", Schema(["a"], ["l"]))
    writer.close()
    assert (tmp_path / "toy.xc").read_bytes() == b"0 1 1\n"
    assert ExtremeSource(tmp_path / "toy.xc").next_batch() is None


def test_what_cannot_be_held_is_refused_and_nothing_is_left(tmp_path):
    batch = Batch.from_arrays(np.array([[1, 2], [3, np.nan]]), np.eye(2))
    writer = ExtremeWriter(tmp_path / "toy.xc", batch.schema)
    writer.write(batch[:1])
    with pytest.raises(
        ValueError,
        match=r"^toy.xc: row 1: feature 'x1' must have a value, for the format holds nothing else, got a missing one$",
    ):
        writer.write(batch[1:])
    assert os.listdir(tmp_path) == []


def test_a_schema_file_of_other_columns(tmp_path):
    writer = ExtremeWriter(tmp_path / "toy.xc", Schema(["a"], ["l"]))
    writer.close()
    path = written(tmp_path, "toy.xc", "1 2 1\n0 1:1\n")
    with pytest.raises(DecodeError) as error:
        ExtremeSource(path)
    assert str(error.value) == (
        "toy.xc:1: toy.xc.schema.json must tell 2 features and 1 labels, found Schema(1 features, 1 labels, dense)"
    )


def test_options_that_are_wrong():
    for options, reason in [
        ({"labels": "a,b"}, "labels must be None, for the text's first line tells them, got 'a,b'"),
        ({"n_events": 4}, "n_events must be None, for the text's first line tells them, got 4"),
        ({"payload": "text"}, "payload must be None, for sparse text holds numbers alone, got 'text'"),
        ({"rows": "wide"}, "rows must be 'dense', 'sparse' or None, got 'wide'"),
    ]:
        with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is what the next line looks at)
            opened(TEXT, **options)
        assert str(error.value) == reason


@settings(max_examples=300, deadline=None, derandomize=True)
@given(damages)
def test_damaged_text(damage):
    header, rows = TEXT.split(b"\n", 1)
    check(ExtremeSource, header + b"\n" + damaged(rows, damage), (1, 100))
