"""CSV and TSV files: what columns are, what a record may look like, and every complaint about one that does not."""

import csv
import gzip
import io
import json
import os
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import delimited_records, open_source
from streams.batch import COMPLETE, NOMINAL, NUMERIC, PARTIAL, UNDECIDED, UNLABELLED
from streams.delimited import DelimitedSource
from streams.delimited_records import find_records, split_fields
from streams.source import DecodeError, Source
from tests.naive.streams_delimited import records as naive_records
from tests.streams.places import assert_same_batch, data_folder, drained, written
from tests.streams.test_fuzz import CASES, check, damaged, damages

nan = np.nan
TOY = "size,colour,ripe,sweet\n1.5,red,1,0\n?,green,0,\n-2e3,red,,NA\n"


def read(text, labels="last:2", sizes=(256,), **options):
    raw = text if isinstance(text, bytes) else text.encode()
    return drained(DelimitedSource(io.BytesIO(raw), labels=labels, **options), sizes)


def same(x, expected):
    return np.array_equal(x, np.array(expected, np.float32), equal_nan=True)


def test_features_and_labels():
    source = DelimitedSource(io.BytesIO(TOY.encode()), labels="last:2", name="toy")
    assert isinstance(source, Source)
    batch = drained(source)
    schema = source.schema
    assert (schema.feature_names, schema.label_names) == (["size", "colour"], ["ripe", "sweet"])
    assert (schema.kinds, schema.categories) == ([NUMERIC, NOMINAL], {1: ["red", "green"]})
    assert same(batch.x, [[1.5, 0], [nan, 1], [-2000, 0]])
    assert batch.y.to_dense(2).tolist() == [[1, 0], [0, 0], [0, 0]]
    assert batch.label_state.tolist() == [COMPLETE, PARTIAL, UNLABELLED]
    assert [batch.known.row(i).tolist() for i in range(3)] == [[], [0], []]
    assert (batch.source, batch.offset.tolist(), source.name, source.n_events) == ("toy", [0, 1, 2], "toy", None)
    for labels in ("ripe,sweet", ["sweet", "ripe"], "ripe, sweet"):
        assert_same_batch(read(TOY, labels, name="toy"), batch)
    for nothing in ((), "", "none"):
        assert read(TOY, nothing).label_state.tolist() == [UNLABELLED] * 3
    assert read(TOY, rows="sparse").x.to_dense(2).tolist()[0] == [1.5, 1]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff", "\n \n"])
def test_delimiters_line_ends_and_marks_are_told_apart(delimiter, end, begin):
    text = begin + TOY.replace(",", delimiter).replace("\n", end + end).rstrip()
    assert_same_batch(read(text), read(TOY))


def test_the_ending_tells_the_delimiter(tmp_path):
    path = written(tmp_path, "toy.tsv", "a;b,c\tl\n1\t0\n")
    assert DelimitedSource(path, labels="l").schema.feature_names == ["a;b,c"]
    assert DelimitedSource(path, labels=(), delimiter=";").schema.feature_names == ["a", "b,c\tl"]
    for bad in ("", ",,", '"', " ", "é", "\n"):
        with pytest.raises(ValueError, match="delimiter must be one ASCII character other than a quote or blank"):
            DelimitedSource(path, labels="l", delimiter=bad)


def test_quotes_hold_everything():
    text = 'id,text,l\n1,"a, ""b""\r\n\nc",1\n2,d"e",0\n"3","""",1\n'
    batch = read(text, "l", payload="text", columns={"id": "key"})
    assert batch.payload == ['a, "b"\r\n\nc', 'd"e"', '"']
    assert batch.key == ["1", "2", "3"]
    assert batch.x.shape == (3, 0)


def test_lines_are_counted_over_quoted_line_ends():
    text = 'a,t,l\n1,"x\n\ny",1\n\n2,z,0\noops,w,1\n'
    source = DelimitedSource(
        io.BytesIO(text.encode()), labels="l", payload="t", columns={"a": "numeric"}, name="toy", on_error="skip"
    )
    assert source.next_batch(1).payload == ["x\n\ny"]
    assert source.position()["line"] == 5
    batch = source.next_batch()
    assert batch.payload == ["z"]
    (letter,) = batch.dead
    assert (letter.offset, letter.line, letter.raw) == (2, 7, b"oops,w,1")


def test_what_is_missing_and_what_is_text():
    words = ["", "?", "NA", "N/A", "null", "NULL"]
    text = "a,c,l\n" + "".join(f"{word},{word},1\n" for word in words) + "1,x,0\n"
    batch = read(text, "l")
    assert same(batch.x, [[nan, nan]] * 6 + [[1, 0]])
    assert batch.schema.categories == {1: ["x"]}


def test_headers_are_recognised():
    assert read("1,2,0\n3,4,1\n", "x2").schema.feature_names == ["x0", "x1"]
    assert read("a,b,l\n3,4,1\n", "l").schema.feature_names == ["a", "b"]
    assert read("a,1,l\n3,4,1\n", "l").schema.feature_names == ["a", "1"]
    assert read("a,1,0\nb,4,1\n", "2").schema.feature_names == ["x0", "x1"]
    assert read("a,1,2\n3,4,1\n", ["0"], header=False, on_error="skip").schema.feature_names == ["x1", "x2"]
    assert read("1,2,3\n4,5,1\n", header=True, labels="3").schema.feature_names == ["1", "2"]
    assert read(",b,l\n3,4,1\n", "l").schema.feature_names == ["x0", "b"]
    with pytest.raises(DecodeError, match="<stream>:1: columns must differ, found 'a' twice"):
        read("a,a,l\n1,2,1\n", header=True)
    assert read(" a , b ,é ü\n1,2,1\n", "é ü").schema.feature_names == ["a", "b"]


def test_kinds_are_told_by_the_first_records_or_declared():
    chance = np.random.default_rng(1)
    rows = [
        f"{i},{['red', 'blue'][i % 2]},{i % 7} words of {i},{'true' if i % 3 else 'False'},,{chance.integers(3)},0\n"
        for i in range(300)
    ]
    text = "n,colour,text,flag,none,code,l\n" + "".join(rows)
    schema = read(text, "l").schema
    assert schema.kinds == [NUMERIC, NOMINAL, UNDECIDED, NUMERIC, NUMERIC, NUMERIC]
    assert schema.ignored == {2}
    batch = read(text, "l")
    assert np.isnan(batch.x[:, [2, 4]]).all()
    assert batch.x[:6, 3].tolist() == [0, 1, 1, 0, 1, 1]
    declared = read(text, "l", columns={"n": "nominal", "text": "nominal", "code": "text", "flag": "unused"})
    assert declared.schema.kinds == [NOMINAL, NOMINAL, NOMINAL, NUMERIC, UNDECIDED]
    assert len(declared.schema.categories[2]) == 300
    for columns, reason in [
        ({"tex": "text"}, r"a declared column must be a column of the table, got 'tex'; did you mean 'text'\?"),
        ({"n": "word"}, "column 'n' must be declared one of numeric, nominal, .*, got 'word'"),
        ({"l": "key"}, "column 'l' must be one thing, got label and key"),
        ({"n": "key", "code": "key"}, r"one column may be the key, got \['n', 'code'\]"),
    ]:
        with pytest.raises(ValueError, match=reason):
            read(text, "l", columns=columns)


def test_keys_times_and_weights():
    text = "id,t,w,a,l\nx1,1700000000000,2.5,1,0\n,,,2,1\n"
    columns = {"id": "key", "t": "time", "w": "weight"}
    batch = read(text, "l", columns=columns)
    assert (batch.key, batch.time.tolist(), batch.weight.tolist()) == (["x1", None], [1700000000000, 0], [2.5, 1])
    stamped = read(text.replace("1700000000000", "2023-11-14T22:13:20Z"), "l", columns=columns)
    assert stamped.time.tolist() == [1700000000000, 0]
    with pytest.raises(DecodeError, match=r":2: weight 'w' must be a positive number, found '-1'"):
        read(text.replace("2.5", "-1"), "l", columns=columns)
    with pytest.raises(DecodeError, match=r":3: time 't' must be a whole number of milliseconds or a timestamp, found"):
        read("t,a,l\n5,1,0\nsoon,1,1\n", "l", columns={"t": "time"}, name="toy")


def test_tags_become_labels_as_they_are_met():
    text = 'n,tags\n1,red big\n2,\n3,"big; new|red"\n4,"  red,, red "\n'
    batch = read(text, "tags:tags")
    assert batch.schema.label_names == ["red", "big", "new"]
    assert [batch.y.row(i).tolist() for i in range(4)] == [[0, 1], [], [0, 1, 2], [0]]
    assert batch.label_state.tolist() == [COMPLETE] * 4
    slashed = read("n,a:b\n1,x y/z\n2,z\n", "tags:a:b:/")
    assert slashed.schema.label_names == ["x y", "z"]
    assert read("n,a:b\n1,x y\n2,z\n", "tags:a:b").schema.label_names == ["x", "y", "z"]
    assert read("n,t\n1,x:y\n", "tags:t::").schema.label_names == ["x", "y"]
    numbered = read("5\t2,0\n6\t\n", "tags:1", tag_names=["joy", "fear", "awe"])
    assert numbered.schema.label_names == ["joy", "fear", "awe"]
    assert [numbered.y.row(i).tolist() for i in range(2)] == [[0, 2], []]
    with pytest.raises(ValueError, match=r"a column of tags must be a column of the table, got 'tag'; did you mean"):
        read(text, "tags:tag")
    with pytest.raises(ValueError, match="tag_names must come with labels='tags:COLUMN', got labels='n'"):
        read(text, "n", tag_names=["a"])


def test_tags_met_later_join_later():
    text = "n,tags\n" + "".join(f"{i},t{i // 10}\n" for i in range(100))
    source = DelimitedSource(io.BytesIO(text.encode()), labels="tags:tags")
    assert source.schema.n_labels == 0
    source.next_batch(15)
    assert source.schema.label_names == ["t0", "t1"]


GOOD = "a,c,l,m\n" + "1,red,0,1\n" * 30


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("1,red,0", "expected 4 values, found 3"),
        ("1,red,0,1,", "expected 4 values, found 5"),
        ("nan,red,0,1", "feature 'a' must be a finite number of at most 3.4028235e38 in size or missing, found 'nan'"),
        ("-Infinity,red,0,1", "feature 'a' must be a finite number .*, found '-Infinity'"),
        ("1e39,red,0,1", "feature 'a' must be a finite number .*, found '1e39'"),
        ("1.5.2,red,0,1", "feature 'a' must be a finite number .*, found '1.5.2'"),
        ("1,red,2,1", "label 'l' must be 0, 1 or missing, found '2'"),
        ("1,red,0,yes", "label 'm' must be 0, 1 or missing, found 'yes'"),
        ('1,"red,0,1', "a quoted field must be closed, found"),
        (b"1,r\xffd,0,1", "a row must be UTF-8, found byte 0xff at byte 4 of the line"),
        ("1,re\rd,0,1", "a row must be one line of text, found a carriage return"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_broken_record_is_told_or_kept(tmp_path, record, reason, end):
    record = record if isinstance(record, bytes) else record.encode()
    raw = (GOOD.encode() + b"\n" + record + b"\n2,blue,1,0\n").replace(b"\n", end)
    path = written(tmp_path, "toy.csv", raw)
    source = DelimitedSource(path, labels="last:2")
    assert len(source.next_batch()) == 30
    with pytest.raises(DecodeError, match=f"toy.csv:33: {reason}"):
        source.next_batch()
    source = DelimitedSource(path, labels="last:2", on_error="skip")
    assert source.n_events == 32
    batch = drained(source, (7,))
    assert batch.offset.tolist() == [*range(30), 31]
    assert [(d.source, d.offset, d.line, d.raw) for d in batch.dead] == [("toy", 30, 33, record)]
    assert batch.x[-1].tolist() == [2, 1]


def test_a_quote_that_is_never_closed_takes_one_line_with_it(monkeypatch):
    text = 'a,t,l\n1,"x\n2,y,0\n3,"z",1\n4,w,0\n'
    assert [letter.line for letter in read(text, "l", on_error="skip").dead] == []
    broken = text.replace('"z"', "z")
    batch = read(broken, "l", on_error="skip", payload="t")
    assert batch.payload == ["y", "z", "w"]
    assert [(letter.line, letter.raw) for letter in batch.dead] == [(2, b'1,"x')]
    monkeypatch.setattr(delimited_records, "MAX_QUOTED", 64)
    long = "a,t,l\n" + '1,"x\n' + "2,y,0\n" * 50 + '3,"v\nv",1\n'
    batch = read(long, "l", on_error="skip", payload="t")
    assert (len(batch), [letter.line for letter in batch.dead]) == (51, [2])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([b",", b'"', b"\n", b"\r\n", b"a", b" ", b'""', b',"', b'",']), max_size=40),
    st.booleans(),
    st.sampled_from([4, 1000]),
)
def test_records_are_those_of_the_definition(parts, ended, limit):
    raw = b"".join(parts)
    text = np.frombuffer(b"##" + raw + b"##", np.uint8)
    before = delimited_records.MAX_QUOTED
    delimited_records.MAX_QUOTED = limit
    try:
        found = find_records(text, 2, 2 + len(raw), ended=ended, delimiter=",")
    finally:
        delimited_records.MAX_QUOTED = before
    expected, stop = naive_records(raw, ended=ended, delimiter=b",", limit=limit)
    got = list(zip((found.starts - 2).tolist(), (found.ends - 2).tolist(), found.closed.tolist(), strict=True))
    assert (got, found.stop - 2) == (expected, stop)
    lines = [[raw[:begin].count(b"\n"), raw[:end].count(b"\n")] for begin, end, _ in expected]
    assert found.lines.tolist() == lines


def test_fields_are_those_of_the_csv_module():
    for record in ('a,"b ""c"", d",', "", '"a"b,c"d', '"",""', 'x,"\n",y'):
        (expected,) = csv.reader(io.StringIO(record, newline="")) if record else ([""],)
        assert split_fields(record, ",") == expected


def rows(n, seed=1):
    chance = np.random.default_rng(seed)
    out = ["number,colour,text,l,m"]
    for i in range(n):
        colour = ["red", "blue", f"c{i // 40}", ""][i % 4]
        text = f'"{"long " * int(chance.integers(20))}""{i}""\r\nend"'
        out.append(f"{chance.normal():.4f},{colour},{text},{chance.integers(2)},{['0', '1', ''][chance.integers(3)]}")
        if i % 17 == 0:
            out.append(["oops", "x,red,t,0,1", "", "1,red,t,3,1", "nan,red,t,1,1"][i % 5])
    return out


OPTIONS = {"on_error": "skip", "payload": "text", "labels": "last:2", "columns": {"colour": "nominal"}}


@pytest.mark.parametrize("name", ["toy.csv", "toy.csv.gz", "toy.csv.zst"])
def test_resuming_anywhere_goes_on_as_if_never_stopped(tmp_path, name, monkeypatch):
    monkeypatch.setattr("streams.delimited.PARSED", 5000)
    path = written(tmp_path, name, "\ufeff" + "\r\n".join(rows(400)))
    whole = drained(DelimitedSource(path, **OPTIONS))
    assert (len(whole), len(whole.dead)) == (400, 19)
    assert_same_batch(whole, drained(DelimitedSource(path, **OPTIONS), sizes=(1, 7, 50)))
    monkeypatch.setattr("streams.delimited.PARSED", 1 << 22)
    assert_same_batch(whole, drained(DelimitedSource(path, **OPTIONS)))
    chance = np.random.default_rng(5)
    for stop in chance.integers(1, 418, size=5):
        source = DelimitedSource(path, **OPTIONS)
        first = source.next_batch(int(stop))
        position = json.loads(json.dumps(source.position()))
        again = DelimitedSource(path, **OPTIONS)
        again.resume(position)
        expected = whole[len(first) :]
        expected.dead = whole.dead[len(first.dead) :]
        assert_same_batch(expected, drained(again))


HEAD = b"n,colour,text,t,l,m\n"
ROWS = b'1.5,red,"a ""b""\r\nc",17,0,1\n\n?,,d,,1,\r\n-2e3,"b,l",e,5,true,0\n.5,red,\xc3\xa9,1,1,1'
DECLARED = {"n": "numeric", "colour": "nominal", "t": "time"}


@settings(max_examples=CASES, deadline=None, derandomize=True)
@given(damages, st.sampled_from([bytes, gzip.compress]), st.sampled_from(["last:2", "tags:text"]))
def test_damaged_rows(damage, pack, labels):
    options = {"labels": labels, "columns": DECLARED, "header": True, "delimiter": ","}
    check(partial(DelimitedSource, **options), pack(HEAD + damaged(ROWS, damage)), (1, 2, 100))


@settings(max_examples=CASES // 4, deadline=None, derandomize=True)
@given(damages)
def test_damaged_compression(damage):
    raw = damaged(gzip.compress(HEAD + ROWS), damage)
    check(partial(DelimitedSource, labels="first:1", header=True, delimiter=","), raw, (1, 100))


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(DecodeError, match=r"toy.csv:1: a text must hold at least one line, found an empty file"):
        DelimitedSource(written(tmp_path, "toy.csv", ""), labels="l")
    with pytest.raises(DecodeError, match=r"toy.csv:1: a file must hold at least one record, found blank lines"):
        DelimitedSource(written(tmp_path, "toy.csv", "\n\n"), labels="l")
    path = written(tmp_path, "toy.csv", TOY)
    with pytest.raises(
        DecodeError, match=r"toy.csv:1: labels of a table must be told by a schema file beside it or by"
    ):
        DelimitedSource(path)
    with pytest.raises(ValueError, match=r"a label must be a column of the table, got 'sweat'; did you mean 'sweet'\?"):
        DelimitedSource(path, labels="sweat")
    with pytest.raises(ValueError, match=r"a payload must be a column of the table, got 'siz'; did you mean 'size'\?"):
        DelimitedSource(path, labels="sweet", payload="siz")
    with pytest.raises(ValueError, match=r"labels must name 1 to 4 columns, got 'last:9'"):
        DelimitedSource(path, labels="last:9")
    for option, value in (("on_error", "warn"), ("rows", "few")):
        with pytest.raises(ValueError, match=option):
            DelimitedSource(path, labels="sweet", **{option: value})
    assert DelimitedSource(written(tmp_path, "toy.csv", "a,l\n"), labels="l").next_batch() is None


def test_events_are_counted_without_decoding(tmp_path):
    path = written(tmp_path, "toy.csv", "\r\n".join(rows(300)))
    source = DelimitedSource(path, **OPTIONS)
    assert source.n_events == 314
    assert drained(source).offset[-1] < 314
    assert DelimitedSource(written(tmp_path, "toy.csv.gz", TOY), labels="sweet").n_events is None


def test_a_pipe_hands_over_what_has_come():
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb", buffering=0) as other_end:
        other_end.write(b"a,l\n1,0\n2,")
        source = DelimitedSource(pipe, labels="l")
        assert source.next_batch(256, 0.1).x.tolist() == [[1]]
        assert len(source.next_batch(256, 0.1)) == 0
        other_end.write(b"1\n")
        assert source.next_batch(256, 1).x.tolist() == [[2]]
        source.close()


def test_real_tables():
    folder = data_folder()
    source = open_source("stackexchange-robotics")
    batch = drained(source)
    assert (len(batch), source.schema.n_labels, len(batch.dead)) == (2771, 231, 0)
    assert round(batch.y.indptr[-1] / len(batch), 4) == 2.3529
    assert (batch.key[0], batch.payload[0][:12]) == ("1", "<p>Imagine p")
    assert source.schema.feature_names == ["title"]
    source = open_source("goemotions-dev")
    batch = drained(source)
    names = (folder / "goemotions-labels.txt").read_text().split()
    assert (len(batch), source.schema.label_names) == (5426, names)
    assert round(batch.y.indptr[-1] / len(batch), 4) == 1.1758
