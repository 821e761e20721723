"""ARFF files: every known set, the traps in real files, and every complaint about a broken one."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from streams.arff import ArffSource
from streams.batch import COMPLETE, NOMINAL, NUMERIC, PARTIAL, UNLABELLED
from streams.datasets import DATASETS
from streams.registry import describe
from streams.source import DecodeError, Source
from tests.streams.places import assert_same_batch, data_folder, drained, written

HEAD = (
    "@relation 'toy: -C -2'\n@attribute a numeric\n@attribute b {x,y}\n@attribute l {0,1}\n@attribute m {0,1}\n@data\n"
)


def opened(text, **options):
    source = ArffSource(io.BytesIO(text if isinstance(text, bytes) else text.encode()), **{"name": "toy", **options})
    source._reader.name = "toy.arff"
    return source


@pytest.mark.parametrize("info", DATASETS, ids=lambda info: info.name)
def test_known_sets_hold_what_the_table_says(info):
    folder = data_folder()
    path = next(
        folder / f"{info.name}{ending}" for ending in (".arff", ".arff.gz") if (folder / (info.name + ending)).is_file()
    )
    found = describe(path, labels="last:1" if info.name == "electricity" else None)
    assert (found["n_events"], found["n_features"], found["n_labels"]) == (
        info.n_events,
        info.n_features,
        info.n_labels,
    )
    assert round(found["cardinality"], 4) == info.cardinality
    assert found["n_dead"] == 0


def test_medical_believes_the_label_file_and_not_its_header():
    source = ArffSource(data_folder() / "medical.arff")
    assert source.schema.label_names[0] == "Class-0-593_70"
    assert source.schema.feature_names[:3] == ["-", "/", "0"]
    assert set(source.schema.kinds) == {NUMERIC}
    assert source.schema.sparse


def test_slashdot_has_a_comment_behind_its_relation_and_its_labels_first():
    source = ArffSource(data_folder() / "slashdot.arff")
    assert source._header.relation == "Slashdot: -C 22 -split-number 1891"
    assert source.schema.label_names[:2] == ["Entertainment", "Interviews"]


def test_labels_of_yeast_stand_in_the_order_of_the_attributes():
    schema = ArffSource(data_folder() / "yeast.arff").schema
    assert schema.label_names == [f"Class{i}" for i in range(1, 15)]


def test_only_genbase_has_a_row_identifier():
    folder = data_folder()
    marked = {
        path.name: [
            ArffSource(path, labels="last:1").schema.feature_names[j]
            for j in ArffSource(path, labels="last:1").schema.ignored
        ]
        for path in (folder / "genbase.arff.gz", folder / "birds.arff", folder / "flags.arff", folder / "medical.arff")
    }
    assert marked == {"genbase.arff.gz": ["protein"], "birds.arff": [], "flags.arff": [], "medical.arff": []}


@pytest.mark.parametrize(
    ("order", "ignored"),
    [
        (range(150), True),
        (reversed(range(150)), True),
        (range(75), True),
        (range(74), False),
        ([*range(149), 3], False),
        ([i % 70 for i in range(150)], False),
    ],
)
def test_identifier_rule(order, ignored):
    header = "@relation r\n@attribute id {" + ",".join(f"k{i}" for i in range(150)) + "}\n@attribute l {0,1}\n@data\n"
    rows = "".join(f"k{i},{i % 2}\n" for i in order)
    sparse = "".join("{0 " + row.replace(",", ",1 ") + "}\n" for row in rows.splitlines())
    for written_rows in (rows, sparse):
        source = opened(header + written_rows, labels="l")
        assert source.schema.ignored == ({0} if ignored else set())
        assert len(drained(source)) == rows.count("\n")


def test_header_manners():
    text = (
        "\ufeff% first\r\n@RELATION 'it\\'s: -c 1' % said\r\n@Attribute\t'l one' {0,1} %x\r\n"
        '@attribute "q \\"x\\"" REAL\r\n'
        "@attribute d date 'yyyy-MM-dd'\r\n@attribute s String\r\n@attribute c{p, 'q r' ,\"s\"}\r\n\r\n@DATA\r\n"
        "1,2.5,'2001-01-01',x,'q r'\r\n% no row\r\n\r\n0,?,?,?,? % end\r\n0,1,x,y,s"
    )
    source = opened(text)
    batch = drained(source)
    schema = source.schema
    assert schema.label_names == ["l one"]
    assert schema.feature_names == ['q "x"', "d", "s", "c"]
    assert schema.categories == {3: ["p", "q r", "s"]}
    assert schema.ignored == {1, 2}
    assert np.array_equal(
        batch.x, np.array([[2.5, np.nan, np.nan, 1], [np.nan] * 4, [1, np.nan, np.nan, 2]], np.float32), True
    )
    assert batch.y.to_dense(1).ravel().tolist() == [1, 0, 0]
    assert isinstance(source, Source)


def test_labels_that_are_named_win_over_the_header():
    assert opened(HEAD + "1,x,0,1\n").schema.label_names == ["l", "m"]
    assert opened(HEAD + "1,x,0,1\n", labels="last:1").schema.label_names == ["m"]
    assert opened(HEAD + "1,x,0,1\n", labels=["m", "l"]).schema.label_names == ["l", "m"]
    assert opened(HEAD + "1,x,0,1\n", labels="m , l").schema.label_names == ["l", "m"]
    assert opened(HEAD.replace("-C -2", "-C 1").replace("a numeric", "a {0,1}") + "1,x,0,1\n").schema.label_names == [
        "a"
    ]


def test_label_file_beside_the_data(tmp_path):
    path = written(tmp_path, "toy.arff.gz", HEAD + "1,x,0,1\n")
    (tmp_path / "toy.xml").write_text('<labels xmlns="http://x"><label name="m"><label name="l"/></label></labels>')
    (tmp_path / "other.xml").write_text('<labels><label name="m"/></labels>')
    assert ArffSource(path).schema.label_names == ["l", "m"]
    assert ArffSource(path, labels=str(tmp_path / "other.xml")).schema.label_names == ["m"]


def test_sparse_rows_mean_the_first_category_by_leaving_it_out():
    head = "@relation r\n@attribute a {1,0}\n@attribute b {x,y}\n@attribute c {0,1}\n"
    head += "@attribute l {1,0}\n@attribute m {0,1}\n@data\n"
    rows = "{}\n{0 0,1 y,2 1,3 0,4 1}\n{3 ?}\n{0 1,1 x,2 0}\n"
    sparse = opened(head + rows, labels="last:2")
    batch = drained(sparse)
    assert sparse.schema.kinds == [NOMINAL, NOMINAL, NUMERIC]
    assert sparse.schema.categories == {0: ["1", "0"], 1: ["x", "y"]}
    assert batch.x.to_dense(3).tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert [batch.y.row(i).tolist() for i in range(4)] == [[0], [1], [], [0]]
    assert batch.label_state.tolist() == [COMPLETE, COMPLETE, PARTIAL, COMPLETE]
    assert batch.known.row(2).tolist() == [1]
    dense = opened(head + rows, labels="last:2", rows="dense")
    assert dense.schema.kinds == [NUMERIC, NOMINAL, NUMERIC]
    assert drained(dense).x.tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0], [1, 0, 0]]


def test_missing_labels_are_unknown_cells():
    batch = drained(opened(HEAD + "1,x,?,1\n1,x,?,?\n1,x,1,0\n"))
    assert batch.label_state.tolist() == [PARTIAL, UNLABELLED, COMPLETE]
    assert [batch.known.row(i).tolist() for i in range(3)] == [[1], [], []]
    assert [batch.y.row(i).tolist() for i in range(3)] == [[1], [], [0]]


def test_weights_and_payload():
    text = HEAD.replace("@data", "@attribute note string\n@data").replace("-C -2", "-C 0")
    rows = "1,x,0,1,'it\\'s 5% \\\\ fine', {2.5}\n{0 1,4 'naïve'}, {0.1}\n{}\n"
    batch = drained(opened(text + rows, labels="l,m", payload="note"))
    assert batch.weight.tolist() == [2.5, 0.1, 1]
    assert batch.payload == ["it's 5% \\ fine", "naïve", None]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,x,0", "expected 4 values, found 3"),
        ("1,x,0,1,'a,b', 2 % c, d", "expected 4 values, found 6"),
        ("1.2.3,x,0,1", "attribute 'a' must be a finite number or ?, found '1.2.3'"),
        ("NaN,x,0,1", "attribute 'a' must be a finite number or ?, found 'NaN'"),
        ("-inf,x,0,1", "attribute 'a' must be a finite number or ?, found '-inf'"),
        ("1e39,x,0,1", "attribute 'a' must be at most 3.4028235e38 in size, found '1e39'"),
        ("1,z,0,1", "attribute 'b' must be one of '{x, y}', found 'z'"),
        ("1,,0,1", "attribute 'b' must have a value or ?, found none"),
        ("1,'x,0,1", "attribute 'b' must close its quote and then end, found none"),
        ("1,x,2,1", "label 'l' must be one of '{0, 1}', found '2'"),
        ("{0 1,9 1}", "a sparse row must list column numbers below 4 with a value each, found '9 1'"),
        ("{x}", "a sparse row must list column numbers below 4 with a value each, found 'x'"),
        ("{1 x,0 1}", "column numbers of a sparse row must ascend, found 0 after 1"),
        ("{0 1,0 2}", "column numbers of a sparse row must ascend, found 0 after 0"),
        ("{0 1", "a sparse row must end with }, found '{0 1'"),
        ("{0 1} 5", "a sparse row must end with }, found '5'"),
        ("1,x,0,1,{-2}", "an event's weight must be a positive number in braces, found '-2'"),
        ("1,x,0,1,{2} 3", "a row must end here, found '3'"),
        (b"1,x\xff,0,1", "a row must be UTF-8, found byte 0xff at byte 4 of the line"),
    ],
)
def test_a_broken_row_is_told_or_kept(row, reason):
    raw = row if isinstance(row, bytes) else row.encode()
    text = HEAD.encode() + b"1,x,0,1\n\n% between\n" + raw + b"\r\n3,y,1,0\n"
    source = opened(text)
    assert drained_until_error(source) == (1, f"toy.arff:10: {reason}", 1)
    skipping = opened(text, on_error="skip")
    batch = drained(skipping)
    assert batch.x[:, 0].tolist() == [1, 3]
    assert batch.offset.tolist() == [0, 2]
    assert [(d.source, d.offset, d.line, d.reason, d.raw) for d in batch.dead] == [("toy", 1, 10, reason, raw)]


def drained_until_error(source):
    n = 0

    def drain():
        nonlocal n
        while (batch := source.next_batch()) is not None:
            n += len(batch)

    with pytest.raises(DecodeError) as error:
        drain()
    # The position stays in front of the bad row, so that asking again tells it again.
    with pytest.raises(DecodeError):
        source.next_batch()
    return n, str(error.value), error.value.offset


def test_bad_text_in_an_ignored_column_is_malformed():
    text = b"@relation r\n@attribute s string\n@attribute l {0,1}\n@data\n\xc3\xa9,1\n\xc3,1\n"
    assert (
        drained_until_error(opened(text, labels="l"))[1]
        == "toy.arff:6: a row must be UTF-8, found byte 0xc3 at byte 1 of the line"
    )


def test_numeric_labels_hold_0_and_1():
    text = "@relation r\n@attribute a numeric\n@attribute l numeric\n@data\n1,1.0\n1,0\n1,0.5\n"
    assert drained_until_error(opened(text, labels="l"))[:2] == (
        2,
        "toy.arff:7: label 'l' must be 0, 1 or ?, found '0.5'",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ":1: a text must hold at least one line, found an empty file"),
        ("@relation r\n@attribute a numeric\n", ":3: a header must end with @data, found the end of the file"),
        ("@relation r\n@data\n1\n", ":2: a header must declare attributes, found none before @data"),
        (
            "@relation r\n@attribute a numeric\n@attribute a real\n@data\n",
            ":3: attribute names must differ, found 'a' of line 2 again",
        ),
        (
            "@relation r\n@attribute a blob\n",
            ":2: attribute 'a' must be numeric, real, integer, string, date or {…}, found 'blob'",
        ),
        ("@relation r\n@attribute a numeric x\n", ":2: a header line must end here, found 'x'"),
        ("@relation r\n@attribute\n", ":2: an attribute must have a name, found ''"),
        ("@relation r\n@attribute a {x,x}\n", ":2: categories must differ, found 'x' twice"),
        ("@relation r\n@attribute a {x,}\n", ":2: a category must have a name, found none in '{x,}'"),
        ("@relation r\n@attribute a {x,y\n", ":2: categories must be parted by commas and end with }, found ''"),
        ("@relation r\n@attribute 'a numeric\n", ':2: a quote must be closed on its line, found "\'a numeric"'),
        ("hello\n", ":1: a header line must be @relation, @attribute or @data, found 'hello'"),
        (b"@relation \xff\n", ":1: a header line must be UTF-8, found byte 0xff at byte 11 of the line"),
        (HEAD, ":7: @data must be followed by rows, found none"),
        (HEAD.replace("-C -2", "-C 9") + "1,x,0,1\n", ":1: -C must name 1 to 4 labels, found 9"),
        (
            HEAD.replace("-C -2", "-C 2") + "1,x,0,1\n",
            ":3: label 'b' must be declared {0,1} or numeric, found '{x, y}'",
        ),
        (
            HEAD.replace(": -C -2", "") + "1,x,0,1\n",
            ":1: labels must be told by an .xml file of the same name, by -C in the relation's name or by "
            "labels=first:N, last:N or names, found none of them for 'toy'",
        ),
    ],
)
def test_a_broken_header_is_told_at_opening(tmp_path, text, reason):
    path = written(tmp_path, "toy.arff", text)
    with pytest.raises(DecodeError) as error:
        ArffSource(path)
    assert str(error.value) == "toy.arff" + reason


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("first:9", "toy.arff:1: labels must name 1 to 4 attributes, got 'first:9'"),
        ("l,l", "toy.arff:1: labels must be names that differ, got 'l,l'"),
        ("Mm", "toy.arff:1: a label must be an attribute, got 'Mm'; did you mean 'm'?"),
    ],
)
def test_labels_that_are_not_there(tmp_path, labels, reason):
    with pytest.raises(DecodeError) as error:
        ArffSource(written(tmp_path, "toy.arff", HEAD + "1,x,0,1\n"), labels=labels)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("<labels>\n<label name='zz'/></labels>", "toy.xml:2: label 'zz' must be an attribute of toy.arff, found none"),
        ("<labels>\n<label name='l'/>\n<label name='l'/></labels>", "toy.xml:3: labels must differ, found 'l' again"),
        ("<labels><label/></labels>", "toy.xml:1: a label must have a name, found none"),
        ("<labels/>", "toy.xml:1: a label file must list labels, found none"),
        ("<labels>\n<label", "toy.xml:2: a label file must be XML, found unclosed token"),
    ],
)
def test_a_label_file_that_is_wrong(tmp_path, xml, reason):
    path = written(tmp_path, "toy.arff", HEAD + "1,x,0,1\n")
    (tmp_path / "toy.xml").write_text(xml)
    with pytest.raises(DecodeError) as error:
        ArffSource(path)
    assert str(error.value) == reason


def test_options_that_are_wrong():
    with pytest.raises(ValueError, match="on_error must be 'fail' or 'skip', got 'warn'"):
        opened(HEAD, on_error="warn")
    with pytest.raises(ValueError, match="rows must be 'dense', 'sparse' or None, got 'wide'"):
        opened(HEAD, rows="wide")
    with pytest.raises(DecodeError, match="payload 'a' must be a string attribute, found another type"):
        opened(HEAD + "1,x,0,1\n", payload="a")
    with pytest.raises(DecodeError, match="payload 'z' must be a string attribute, found none of that name"):
        opened(HEAD + "1,x,0,1\n", payload="z")
    with pytest.raises(ValueError, match="max_events must be at least 1, got 0"):
        opened(HEAD + "1,x,0,1\n").next_batch(0)


@pytest.mark.parametrize("name", ["toy.arff", "toy.arff.gz", "toy.arff.zst"])
def test_resuming_anywhere_goes_on_as_if_never_stopped(tmp_path, name):
    chance = np.random.default_rng(3)
    rows = [f"{value:.5f},{'xyz'[i % 3]},{i % 2},1" for i, value in enumerate(chance.normal(size=3000))]
    path = written(tmp_path, name, HEAD + "% head\n" + "\n".join(rows))
    whole = drained(ArffSource(path, on_error="skip"))
    assert (len(whole), len(whole.dead)) == (2000, 1000)
    assert_same_batch(whole, drained(ArffSource(path, on_error="skip"), sizes=(1, 7, 500, 64)))
    source = ArffSource(path, on_error="skip")
    places = [(source.position(), 0, 0)]
    events = dead = 0
    while (batch := source.next_batch(int(chance.integers(1, 700)))) is not None:
        events, dead = events + len(batch), dead + len(batch.dead)
        places.append((source.position(), events, dead))
    for position, events, dead in [places[i] for i in chance.permutation(len(places))[:6]]:
        for again in (source, ArffSource(path, on_error="skip")):
            again.resume(position)
            rest = drained(again)
            expected = whole[events:]
            expected.dead = whole.dead[dead:]
            assert_same_batch(expected, rest)


def test_events_are_counted_only_where_that_is_cheap(tmp_path):
    text = HEAD + "1,x,0,1\n\n% no\r\n2,y,0,1\r\n\r\n3,y,0,1"
    assert ArffSource(written(tmp_path, "toy.arff", text)).n_events == 3
    assert ArffSource(written(tmp_path, "toy.arff.gz", text)).n_events is None
    assert ArffSource(tmp_path / "toy.arff.gz", n_events=3).n_events == 3


MEASURE = """
import resource, sys
from streams.arff import ArffSource
def read(path):
    source = ArffSource(path)
    while source.next_batch() is not None:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(read(sys.argv[1]), read(sys.argv[2]))
"""


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_memory_does_not_grow_with_the_file(tmp_path, ending):
    head = (
        "@relation 'r: -C -1'\n"
        + "".join(f"@attribute a{j} numeric\n" for j in range(50))
        + "@attribute l {0,1}\n@data\n"
    )
    block = "".join(",".join(f"{i * j % 97 / 7:.3f}" for j in range(50)) + f",{i % 2}\n" for i in range(2000))
    small = written(tmp_path, "small.arff" + ending, head + block * 6)
    large = written(tmp_path, "large.arff" + ending, head + block * 60)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, small, large], env=environment, capture_output=True, text=True, check=True
    )
    before, after = map(int, answer.stdout.split())
    # Kilobytes; the large file has 33 MB of text.
    assert after - before < 4000
