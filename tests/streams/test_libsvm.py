"""LIBSVM text: the kernel against the plain reader and scikit-learn, what a row may look like, and the way back."""

import io
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.datasets import load_svmlight_file

from streams.batch import COMPLETE, NUMERIC, PARTIAL, Batch, Rows, Schema
from streams.libsvm import LibsvmSource, LibsvmWriter
from streams.memory import read_all
from streams.numbering import IndexNumbers, TextNumbers
from streams.source import DecodeError
from streams.wire import EventDecoder
from tests.naive.streams_libsvm import BadRowError, read_row
from tests.streams.places import assert_same_batch, drained, written
from tests.streams.test_arff_rows import random_number
from tests.streams.test_fuzz import check, damaged, damages

LABELS = ["1", "+1", "-1", "0", "3", "7", "07", "12", "z", "+z", "é", "c#", "", "+", "9999999999999999999"]
INDICES = ["0", "1", "2", "3", "5", "007", "30", "31", "32", "123456789012345678", "1234567890123456789", "x", "-1", ""]
VALUES = [
    "1",
    "0",
    "-2.5",
    "1e-3",
    "+.5",
    "7.",
    "0.1",
    "123456789.123456789",
    "4e38",
    "nan",
    "inf",
    "?",
    "",
    "1e",
    "1#",
]


def random_row(chance):
    good = chance.random() < 0.7

    def pick(choices, first):
        return chance.choice(choices[:first] if good or chance.random() < 0.7 else choices)

    labels = ",".join(pick(LABELS, 6) for _ in range(chance.choice([0, 1, 1, 2, 3])))
    cells = [f"{pick(INDICES, 7)}:{pick(VALUES, 8)}" for _ in range(chance.choice([0, 1, 2, 5, 9]))]
    if chance.random() < 0.6:
        cells = list({cell.partition(":")[0]: cell for cell in cells}.values())
    row = chance.choice([" ", "\t", "  "]).join([labels, *cells])
    return row + chance.choice(["", "", "", " # 1:2", " #", "\r", " qid:3", " 1:1:1", ",", " word"])


@pytest.mark.parametrize(("base", "n_features"), [(0, None), (1, None), (0, 31), (1, 31)])
def test_kernel_and_plain_reader_agree_on_random_rows(base, n_features):
    chance = random.Random(5)
    lines = [random_row(chance) for _ in range(3000)] + ["", "  ", "# a comment", " #1"]
    chance.shuffle(lines)
    source = LibsvmSource(
        io.BytesIO("\n".join(lines).encode()), on_error="skip", base=base, n_features=n_features, name="rows"
    )
    batch = drained(source, (1, 7, 500))
    names = [] if n_features is None else [f"x{base + j}" for j in range(n_features)]
    expected, labels, dead = [], [], []
    for number, line in enumerate(lines, 1):
        try:
            row = read_row(line, base=base, n_features=n_features)
        except BadRowError:
            dead.append((number, line))
            continue
        if row is not None:
            expected.append(row)
            labels += [label for label in row[0] if label not in labels]
            names += [f"x{index}" for index, _ in row[1] if f"x{index}" not in names]
    assert [(letter.line, letter.raw.decode()) for letter in batch.dead] == [(n, line.rstrip("\r")) for n, line in dead]
    assert len(batch) == len(expected) > 400
    assert len(dead) > 400
    assert (batch.schema.feature_names, batch.schema.label_names) == (names, labels)
    assert set(batch.schema.kinds) == {NUMERIC}
    assert (batch.label_state == COMPLETE).all()
    assert batch.x.data.all()
    dense = batch.x.to_dense(len(names))
    for i, (present, features) in enumerate(expected):
        assert sorted(labels[j] for j in batch.y.row(i)) == sorted(present)
        wanted = np.zeros(len(names), np.float32)
        for index, value in features:
            wanted[names.index(f"x{index}")] = value
        assert np.array_equal(dense[i], wanted)
        for rows in (batch.x, batch.y):
            assert (np.diff(rows.row(i)) > 0).all()


def test_numbers_round_as_float_then_float32():
    chance = random.Random(7)
    halfway = [(1 + 2.0**-24) * 2.0**k for k in range(-30, 30)] + [2.0**-150, 3 * 2.0**-150, 16777217.0]
    texts = [random_number(chance) for _ in range(3000)]
    texts += [f"{value:.160f}".rstrip("0") + end for value in halfway for end in ("", "1")]
    with np.errstate(over="ignore"):
        wanted = [(text, np.float32(float(text))) for text in texts]
    kept = [(text, value) for text, value in wanted if np.isfinite(value)]
    row = " ".join(f"{j}:{text}" for j, (text, _) in enumerate(kept))
    batch = LibsvmSource(io.BytesIO(row.encode())).next_batch()
    found = batch.x.to_dense(batch.schema.n_features)[0]
    columns = [batch.schema.find_feature(f"x{j}") for j in range(len(kept))]
    assert [(t, v) for (t, v), c in zip(kept, columns, strict=True) if found[c] != v] == []
    dead = LibsvmSource(
        io.BytesIO("\n".join(f"1:{text}" for text, v in wanted if np.isinf(v)).encode()), on_error="skip"
    )
    letters = dead.next_batch(10000).dead
    assert len(letters) == len(wanted) - len(kept) > 20
    assert all("a value must be at most 3.4028235e38 in size" in letter.reason for letter in letters)


@pytest.mark.parametrize("zero_based", [True, False])
def test_scikit_learn_reads_the_same(zero_based):
    chance = np.random.default_rng(3)
    rows = []
    for _ in range(500):
        columns = np.sort(chance.choice(60, chance.integers(0, 12), replace=False)) + (not zero_based)
        labels = ",".join(map(str, chance.choice(9, chance.integers(0, 4), replace=False)))
        cells = " ".join(f"{c}:{v!r}" for c, v in zip(columns, chance.normal(size=len(columns)).tolist(), strict=True))
        rows.append(f"{labels} {cells}" if labels or cells else f"{columns.min(initial=1)}:1")
    text = "\n".join(rows).encode()
    x, y = load_svmlight_file(io.BytesIO(text), n_features=60, multilabel=True, zero_based=zero_based, dtype=np.float32)
    base = int(not zero_based)
    names = [str(j) for j in range(9)]
    batch = drained(LibsvmSource(io.BytesIO(text), labels=names, base=base, n_features=60), (64,))
    assert np.array_equal(batch.x.to_dense(60), x.toarray())
    assert [[float(j) for j in batch.y.row(i)] for i in range(len(batch))] == [sorted(labels) for labels in y]
    grown = drained(LibsvmSource(io.BytesIO(text), labels=names), (64,))
    order = [grown.schema.find_feature(f"x{base + j}") for j in range(60)]
    assert np.array_equal(grown.x.to_dense(grown.schema.n_features)[:, order], x.toarray())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,,b 1:1", "a label must have a text, found none"),
        ("1, 1:1", "a label must have a text, found none"),
        ("a,b,a 1:1", "labels of an event must differ, found 'a' twice"),
        ("1,+1 1:1", "labels of an event must differ, found '1' twice"),
        ("1 2:1 02:3", "indices of a row must differ, found '2' twice"),
        ("1 2:0 2:0 # 1:1 1:1", "indices of a row must differ, found '2' twice"),
        ("qid:3 1:1", "a row must hold labels and features alone, found 'qid:3' of a ranking file"),
        ("1 qid:3 1:1", "a row must hold labels and features alone, found 'qid:3' of a ranking file"),
        ("1 0:1", "a feature must be index:value, its index 1 or more, found '0:1'"),
        ("1 word", "a feature must be index:value, its index 1 or more, found 'word'"),
        ("1 5", "a feature must be index:value, its index 1 or more, found '5'"),
        ("1 :5", "a feature must be index:value, its index 1 or more, found ':5'"),
        ("1 1 :5", "a feature must be index:value, its index 1 or more, found '1'"),
        ("1 1:", "a value must be a finite number, found none"),
        ("1 1:nan", "a value must be a finite number, found 'nan'"),
        ("1 1:-inf", "a value must be a finite number, found '-inf'"),
        ("1 1:1,2:2", "a value must be a finite number, found '1,2:2'"),
        ("1 1:1e39", "a value must be at most 3.4028235e38 in size, found '1e39'"),
        (b"\xc3,1 1:1", "a row must be UTF-8, found byte 0xc3 at byte 1 of the line"),
        (b"1 1:\xff", "a row must be UTF-8, found byte 0xff at byte 5 of the line"),
    ],
)
def test_a_broken_row_is_told_or_kept(tmp_path, row, reason):
    raw = row if isinstance(row, bytes) else row.encode()
    path = written(tmp_path, "toy.svm", b"0 3:1\n\n" + raw + b"\r\n0 4:1\n")
    source = LibsvmSource(path, base=1)
    assert len(source.next_batch()) == 1
    for _ in range(2):
        with pytest.raises(DecodeError) as error:
            source.next_batch()
        assert str(error.value) == f"toy.svm:3: {reason}"
    batch = drained(LibsvmSource(path, base=1, on_error="skip"))
    assert [(d.source, d.offset, d.line, d.reason, d.raw) for d in batch.dead] == [("toy", 1, 3, reason, raw)]
    assert batch.offset.tolist() == [0, 2]
    # A row that cannot be read brings no names.
    assert (batch.schema.feature_names, batch.schema.label_names) == (["x3", "x4"], ["0"])


def test_declared_columns_bound_what_a_row_may_name():
    source = LibsvmSource(io.BytesIO(b"1 1:1 3:1\n1 4:1\n1 0:1\n"), n_features=3, on_error="skip")
    batch = source.next_batch()
    assert batch.schema.feature_names == ["x1", "x2", "x3"]
    assert [letter.reason for letter in batch.dead] == [
        "a feature must be index:value, its index 1 to 3, found '4:1'",
        "a feature must be index:value, its index 1 to 3, found '0:1'",
    ]
    assert LibsvmSource(io.BytesIO(b"1 0:1\n"), n_features=2, base=0).next_batch().schema.feature_names == ["x0", "x1"]
    dense = LibsvmSource(io.BytesIO(b"1 1:1 3:2\n\n 2:5"), n_features=3, rows="dense").next_batch()
    assert dense.x.tolist() == [[1, 0, 2], [0, 5, 0]]


def test_labels_are_texts_and_minus_one_alone_is_none():
    batch = LibsvmSource(io.BytesIO(b"-1 1:1\n+1 1:1\n1\n-1,2 1:1\n 1:1\n-2 1:1\n"), labels="late").next_batch()
    assert batch.schema.label_names == ["late", "1", "-1", "2", "-2"]
    assert [batch.y.row(i).tolist() for i in range(6)] == [[], [1], [1], [2, 3], [], [4]]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_compression_line_ends_and_byte_order_mark(tmp_path, ending, line_end):
    text = "\ufeff" + line_end.join(["a,b 1:1 2:2", "", "# said", "\t3:1 ", "b 2:-1"])
    path = written(tmp_path, "toy.svm" + ending, text)
    source = LibsvmSource(path)
    assert (source.name, source.path) == ("toy", path)
    assert source.n_events == (None if ending else 3)
    batch = drained(source)
    assert batch.x.to_dense(3).tolist() == [[1, 2, 0], [0, 0, 1], [0, -1, 0]]
    assert [batch.y.row(i).tolist() for i in range(3)] == [[0, 1], [], [1]]


def many_rows(n, seed=1):
    """Rows that bring ever new names, and some that cannot be read."""
    chance = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        columns = np.unique(chance.integers(0, 20 + 3 * i, 8))
        chance.shuffle(columns)
        labels = ",".join(f"l{j}" for j in np.unique(chance.integers(0, 3 + i // 2, 3)))
        cells = " ".join(f"{c}:{chance.normal():.4f}" for c in columns)
        rows.append(f"{labels} {cells} {columns[0]}:0" if i % 13 == 5 else f"{labels} {cells}")
    return "\n".join(rows)


@pytest.mark.parametrize("name", ["toy.svm", "toy.svm.gz", "toy.svm.zst"])
def test_resuming_anywhere_goes_on_as_if_never_stopped(tmp_path, name):
    path = written(tmp_path, name, many_rows(1300))
    whole = drained(LibsvmSource(path, on_error="skip"), (2000,))
    assert (len(whole), len(whole.dead)) == (1200, 100)
    assert whole.schema.n_features > 1000
    assert_same_batch(whole, drained(LibsvmSource(path, on_error="skip"), (1, 7, 200, 64)))
    chance = np.random.default_rng(3)
    source = LibsvmSource(path, on_error="skip")
    places = [(source.position(), 0, 0)]
    events = dead = 0
    while (batch := source.next_batch(int(chance.integers(1, 300)))) is not None:
        events, dead = events + len(batch), dead + len(batch.dead)
        places.append((source.position(), events, dead))
    for position, events, dead in [places[i] for i in chance.permutation(len(places))[:6]]:
        for again in (source, LibsvmSource(path, on_error="skip")):
            again.resume(position)
            expected = whole[events:]
            expected.dead = whole.dead[dead:]
            assert_same_batch(expected, drained(again))


def test_numbers_are_kept_while_tables_grow():
    texts, indices = TextNumbers(), IndexNumbers()
    names = [f"label {j % 3000}é" * (1 + j % 3) for j in range(6000)]
    different = list(dict.fromkeys(names))
    assert [texts.add(name) for name in names] == [different.index(name) for name in names]
    assert (texts.listed(2990), len(texts)) == (different[2990:], len(different))
    keys = [j * 7919 % 5000 * 10**14 for j in range(10000)]
    assert [indices.add(key) for key in keys] == [j % 5000 for j in range(10000)]
    assert (indices.listed(4998), len(indices)) == (keys[4998:5000], 5000)
    assert texts.add("") == texts.add("")


def test_options_that_are_wrong(tmp_path):
    def opened(**options):
        return LibsvmSource(io.BytesIO(b"1 1:1\n"), **options)

    for options, reason in [
        ({"payload": "text"}, "payload must be None, for sparse text holds numbers alone, got 'text'"),
        ({"base": 2}, "base must be 0, 1 or 'auto', got 2"),
        ({"n_features": 0}, "n_features must be from 1 to 67108863, got 0"),
        ({"labels": "first:6"}, "labels of LIBSVM text must be names, got 'first:6'"),
        ({"labels": ["a", "a"]}, "label names must differ, got 'a' twice"),
        (
            {"rows": "dense"},
            "rows can be 'dense' where n_features or a schema file tells their length, got neither",
        ),
        ({"rows": "wide"}, "rows must be 'dense', 'sparse' or None, got 'wide'"),
        ({"on_error": "warn"}, "on_error must be 'fail' or 'skip', got 'warn'"),
    ]:
        with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is what the next line looks at)
            opened(**options)
        assert str(error.value) == reason
    path = tmp_path / "toy.svm"
    writer = LibsvmWriter(path, Schema(["a"], ["l"]))
    writer.close()
    for options, reason in [
        ({"labels": "a"}, "labels must be None, for toy.svm.schema.json tells them, got 'a'"),
        ({"n_features": 3}, "n_features must be None, for toy.svm.schema.json tells them, got 3"),
    ]:
        with pytest.raises(ValueError) as error:  # noqa: PT011
            LibsvmSource(path, **options)
        assert str(error.value) == reason
    assert LibsvmSource(path).n_events == len(read_all(LibsvmSource(path))) == 0


def events(sparse):
    """Every kind of feature and name that the format can carry."""
    schema = Schema(["n", "colour, or not", 3, "never"], ["a b", "c,d", "e:f", "#", ""], sparse=sparse)
    schema.decide(0, NUMERIC)
    schema.make_nominal(1, ["", "red", "blue"])
    chance = np.random.default_rng(2)
    x = np.zeros((300, 4), np.float32)
    x[:, 0] = chance.normal(size=300) * 10.0 ** chance.integers(-40, 38, 300)
    x[:, 1] = chance.integers(0, 3, 300)
    x[chance.random(300) < 0.5, 2] = 3.4028235e38
    y = chance.random((300, 5)) < 0.2
    x[7], y[7] = 0, False
    batch = Batch.from_arrays(Rows.from_dense(x, values=True) if sparse else x, y, schema=schema)
    batch.source = "toy"
    return batch


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_what_was_written_is_read_back(tmp_path, sparse, ending):
    batch = events(sparse)
    path = tmp_path / ("toy.svm" + ending)
    writer = LibsvmWriter(path, batch.schema)
    for start in range(0, 300, 70):
        writer.write(batch[start : start + 70])
    assert not path.exists()
    writer.close()
    writer.close()
    assert sorted(os.listdir(tmp_path)) == sorted(["toy.svm" + ending, "toy.svm.schema.json"])
    source = LibsvmSource(path)
    assert_same_batch(batch, drained(source, (11, 64)))
    other = drained(LibsvmSource(path, rows="dense" if sparse else "sparse"))
    x, y = (b.x if isinstance(b.x, np.ndarray) else b.x.to_dense(4) for b in (batch, other))
    assert np.array_equal(x, y)
    with pytest.raises(ValueError, match=r"toy.svm.*: a writer must be open to be written, got one that is closed"):
        writer.write(batch)


def test_values_have_few_digits(tmp_path):
    path = tmp_path / "toy.svm"
    writer = LibsvmWriter(path, Schema(["a", "b"], ["l"], sparse=True))
    writer.write(Batch.from_arrays(np.array([[0.1, 5], [0, 0], [-1e-30, 0]]), np.array([[1], [0], [0]])))
    writer.close()
    assert path.read_text() == "0 1:0.1 2:5\n 1:0\n 1:-1e-30\n"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            '{"x": {"n": null}, "y": []}',
            "feature 'n' must have a value, for the format holds nothing else, got a missing one",
        ),
        ('{"x": {"n": 1}}', "labels must be known, for the format holds nothing else, got none"),
        (
            '{"x": {"n": 1}, "y": {"l": true, "m": null}}',
            "label 'm' must be known, for the format holds nothing else, got a partly labelled event",
        ),
        ('{"x": {"n": 1}, "y": [], "w": 2}', "weight must be 1, for the format holds nothing else, got 2.0"),
        ('{"x": {"n": 1}, "y": [], "ts": 5}', "time must be None, for the format holds nothing else, got 5"),
        ('{"x": {"n": 1}, "y": [], "id": "e"}', "key must be None, for the format holds nothing else, got 'e'"),
        (
            '{"x": {"n": 1}, "y": [], "payload": "t"}',
            "payload must be None, for the format holds nothing else, got 't'",
        ),
    ],
)
@pytest.mark.parametrize("sparse", [True, False])
def test_what_cannot_be_held_is_refused_and_nothing_is_left(tmp_path, message, reason, sparse):
    schema = Schema(["n"], ["l", "m"], sparse=sparse)
    decoder = EventDecoder(schema)
    decoder.decode(b'{"x": {"n": 1}, "y": ["l"]}')
    good = decoder.take()
    decoder.decode(message.encode())
    bad = decoder.take()
    path = tmp_path / "toy.svm"
    path.write_text("before")
    writer = LibsvmWriter(path, schema)
    writer.write(good)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is what the next line looks at)
        writer.write(bad)
    assert str(error.value) == f"toy.svm: row 1: {reason}"
    assert os.listdir(tmp_path) == ["toy.svm"]
    assert path.read_text() == "before"


def test_a_dense_feature_that_comes_late_was_missing_before(tmp_path):
    schema = Schema(["n"], ["l"])
    writer = LibsvmWriter(tmp_path / "toy.svm", schema)
    writer.write(Batch.from_arrays(np.ones((2, 1)), np.ones((2, 1)), schema=schema))
    schema.feature_id("late")
    writer.write(Batch.from_arrays(np.ones((2, 2)), np.ones((2, 1)), schema=schema))
    with pytest.raises(ValueError, match=r"toy.svm: row 0: feature 'late' must have a value, .* got a missing one"):
        writer.close()
    assert os.listdir(tmp_path) == []


def test_a_sparse_feature_that_comes_late_was_0_before(tmp_path):
    events = LibsvmSource(io.BytesIO(b"1 1:1\n2 3:1 2:5\n"))
    writer = LibsvmWriter(tmp_path / "toy.svm", events.schema)
    while (batch := events.next_batch(1)) is not None:
        writer.write(batch)
    writer.close()
    assert (tmp_path / "toy.svm").read_text() == "0 1:1\n1 2:1 3:5\n"
    assert LibsvmSource(tmp_path / "toy.svm").next_batch().schema == events.schema


def test_partial_events_of_all_labels_are_refused_too(tmp_path):
    batch = Batch.from_arrays(np.ones((1, 1)), np.ones((1, 1)))
    batch.label_state[:] = PARTIAL
    writer = LibsvmWriter(tmp_path / "toy.svm", batch.schema)
    batch.known = batch.y
    with pytest.raises(ValueError, match=r"row 0: labels must be known, .* got a partly labelled event"):
        writer.write(batch)


TEXT = b"1,2 0:1 3:2.5\n# said\n-1 2:0 1:-1e3\n\n 4:1\n+a 10:.5 # end\n3\n"


@settings(max_examples=400, deadline=None, derandomize=True)
@given(damages)
def test_damaged_text(damage):
    check(LibsvmSource, damaged(TEXT, damage), (1, 100))
    check(lambda text, **options: LibsvmSource(text, n_features=9, **options), damaged(TEXT, damage), (1, 100))
