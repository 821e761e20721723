"""Readers fed with damaged files: what is not an event is a dead letter, and nothing else happens."""

import gzip
import io

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.arff import ArffSource
from streams.jsonl import JSONLinesSource
from streams.source import DecodeError

CASES = 400
"""Damaged files for each of the four tests."""

DENSE = b"""@relation 'toy: -C -2'
@attribute a numeric
@attribute 'b c' {x,'y z',"it's"}
@attribute s string
@attribute l {0,1}
@attribute m {0,1}
@data
1,x,'w',0,1
-2.5e3,'y z',?,1,? % said
?,"it's",w,0,0,{2}
.5,x,\xc3\xa9,1,1
""".replace(b"\\xc3\\xa9", "é".encode())
SPARSE = DENSE.split(b"@data")[0] + b"@data\n{}\n{0 1,1 'y z',4 1}\n{2 w,3 1}, {2}\n{0 -1e-3, 1 ?}\n% end\n"
EVENTS = b"""{"id": "e1", "ts": 17, "x": {"f1": 0.3, "c": "red"}, "y": ["a", "c"]}
{"x": [1, null, 2.5e3], "y": {"a": true, "b": null}, "w": 2}
{"x": {"f1": 1}, "payload": {"base64": "AAE="}}
{"payload": "text \\u00e9", "y": []}
"""

pieces = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(
        [b",", b"'", b'"', b"\\", b"%", b"{", b"}", b"?", b"\n", b"\r\n", b"nan", b"1e999", b"\xff", b"\x00", b" "]
    ),
    st.sampled_from(
        [b"@data\n", b"@attribute a {0}\n", b"-C 3", b"0 1,", b'"x": ', b"[" * 2000, b"null", b":", b"\xef\xbb\xbf"]
    ),
)
damages = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 6), pieces, st.sampled_from(["insert", "replace", "cut", "double"])),
    min_size=1,
    max_size=4,
)


def damaged(text, damage):
    for place, length, piece, how in damage:
        at = int(place * len(text))
        if how == "cut":
            text = text[:at] + text[at + 10 * length :]
        elif how == "double":
            text = text[:at] + text[max(at - 30, 0) : at] + text[at:]
        else:
            text = text[:at] + piece + text[at + (length if how == "replace" else 0) :]
    return text


def check(make, text, sizes):
    """Either an error at opening, or every record is an event or a dead letter, whatever the batches."""
    counts = []
    for size in sizes:
        try:
            source = make(io.BytesIO(text), on_error="skip")
        except DecodeError:
            counts.append(None)
            continue
        events, offsets = 0, []
        while (batch := source.next_batch(size)) is not None:
            assert len(batch) + len(batch.dead) <= size
            events += len(batch)
            offsets += batch.offset.tolist() + [letter.offset for letter in batch.dead]
        assert sorted(offsets) == list(range(len(offsets)))
        assert source.position()["record"] == len(offsets)
        counts.append((events, len(offsets)))
    assert len(set(counts)) == 1
    try:
        strict = make(io.BytesIO(text))
        n = 0
        while (batch := strict.next_batch(3)) is not None:
            assert not batch.dead
            n += len(batch)
        assert counts[0] == (n, n)
    except DecodeError:
        assert counts[0] is None or counts[0][0] < counts[0][1]


@settings(max_examples=CASES, deadline=None, derandomize=True)
@given(damages, st.sampled_from([DENSE, SPARSE]))
def test_damaged_arff(damage, text):
    check(ArffSource, damaged(text, damage), (1, 100))


@settings(max_examples=CASES, deadline=None, derandomize=True)
@given(damages, st.sampled_from([DENSE, SPARSE]))
def test_damaged_arff_rows(damage, text):
    header, rows = text.split(b"@data\n")
    check(ArffSource, header + b"@data\n" + damaged(rows, damage), (1, 100))


@settings(max_examples=CASES, deadline=None, derandomize=True)
@given(damages)
def test_damaged_json_lines(damage):
    check(JSONLinesSource, damaged(EVENTS, damage), (1, 100))


@settings(max_examples=CASES, deadline=None, derandomize=True)
@given(damages, st.sampled_from([gzip.compress, zstandard.compress]), st.sampled_from([ArffSource, JSONLinesSource]))
def test_damaged_compression(damage, pack, make):
    text = pack(DENSE if make is ArffSource else EVENTS)
    check(make, damaged(text, damage), (1, 100))
