"""The ARFF kernel against the plain reader, and its numbers against Python's."""

import io
import random
from decimal import Decimal

import numpy as np
import pytest

from streams import arff_rows
from streams.arff import ArffSource
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Rows
from tests.naive.streams_arff import BadRowError, read_row

ATTRIBUTES = [
    ("number", ()),
    ("category", ("0", "1")),
    ("category", ("1", "0")),
    ("category", ("red", "dark blue", "it's", "a\tb", "?")),
    ("text", ()),
    ("category", ("0", "1")),
    ("category", ("1", "0")),
    ("number", ()),
]
LABELS = [5, 6, 7]
HEADER = r"""@relation rows
@attribute n numeric
@attribute bit {0,1}
@attribute reversed {1,0}
@attribute colour {red, 'dark blue', "it's", 'a\tb', '?'}
@attribute note string
@attribute l1 {0,1}
@attribute l2 {1,0}
@attribute l3 numeric
@data
"""
VALUES = [
    [
        "0",
        "1",
        "-2.5",
        "1e-3",
        "+.5",
        "7.",
        "?",
        "0.1",
        "123456789.123456789",
        "4e38",
        "nan",
        "x",
        "",
        "1 2",
        "1e",
        "3%",
    ],
    ["0", "1", "?", "'1'", "2", "0.0", '"0"'],
    ["0", "1", "?", "'0'"],
    ["red", "dark blue", "'dark blue'", '"it\'s"', r"'it\'s'", r"'a\tb'", "'?'", "?", "green", "'red", "'red'x"],
    ["word", "'two words'", r"'a,b\'c'", "?", "é", "''"],
    ["0", "1", "?"],
    ["0", "1", "?"],
    ["0", "1", "1.0", "?", "0.5"],
]


def open_rows(text, **options):
    return ArffSource(io.BytesIO((HEADER + text).encode()), labels="last:3", name="rows", **options)


def random_row(random, good):
    def value(j):
        return random.choice(VALUES[j][:2] if good and random.random() < 0.7 else VALUES[j])

    if random.random() < 0.5:
        row = random.choice([",", ", ", " ,\t"]).join(value(j) for j in range(8))
    else:
        columns = sorted(random.sample(range(8), random.randrange(9)))
        if random.random() < 0.1:
            random.shuffle(columns)
        row = "{" + random.choice([",", ", "]).join(f"{j} {value(j)}" for j in columns) + "}"
    if random.random() < 0.2:
        row += random.choice([",{2}", ", {0.25}", " % said", "%", ",", ", {0}", " {3}", "}", ",1", "\r"])
    return random.choice(["", "", " "]) + row


@pytest.mark.parametrize("rows", ["dense", "sparse"])
def test_kernel_and_plain_reader_agree_on_random_rows(rows):
    chance = random.Random(5)
    lines = ["0,0,0,red,w,0,0,0"] + [random_row(chance, good=True) for _ in range(3000)]
    lines += ["", "   ", "% a comment", " % another"]
    chance.shuffle(lines)
    source = open_rows("\n".join(lines), rows=rows, on_error="skip")
    batch = source.next_batch(len(lines))
    expected, dead = [], []
    for number, line in enumerate(lines, 11):
        try:
            row = read_row(line, ATTRIBUTES, LABELS, sparse=rows == "sparse")
        except BadRowError:
            dead.append((number, line))
        else:
            expected += [row] if row else []
    assert [(letter.line, letter.raw.decode()) for letter in batch.dead] == [(n, line.rstrip("\r")) for n, line in dead]
    assert len(batch) == len(expected) > 500
    assert len(dead) > 500
    dense = batch.x.to_dense(5) if isinstance(batch.x, Rows) else batch.x
    for i, (features, present, unknown, weight) in enumerate(expected):
        assert np.array_equal(dense[i, [0, 1, 2, 3]], [features[j] for j in range(4)], equal_nan=True)
        assert batch.y.row(i).tolist() == present
        state = COMPLETE if not unknown else UNLABELLED if len(unknown) == 3 else PARTIAL
        assert batch.label_state[i] == state
        if state == PARTIAL:
            assert batch.known.row(i).tolist() == sorted({0, 1, 2} - set(unknown))
        assert (1.0 if batch.weight is None else batch.weight[i]) == weight
    if isinstance(batch.x, Rows):
        assert (batch.x.data != 0).all()
        assert 4 not in batch.x.indices
    else:
        assert np.isnan(dense[:, 4]).all()


def random_number(chance):
    digits = "".join(chance.choice("0123456789") for _ in range(chance.choice([1, 3, 7, 12, 17, 18, 19, 25, 40])))
    point = chance.randrange(len(digits) + 1)
    text = digits[:point] + chance.choice([".", ""]) + digits[point:]
    if chance.random() < 0.4:
        text += (
            f"{chance.choice('eE')}{chance.choice(['', '-', '+'])}{chance.choice([0, 1, 5, 22, 30, 38, 45, 60, 320])}"
        )
    return chance.choice(["", "-", "+"]) + text


def test_numbers_round_as_float_then_float32():
    chance = random.Random(7)
    texts = [random_number(chance) for _ in range(20000)]
    halfway = [(1 + 2.0**-24) * 2.0**k for k in range(-30, 30)] + [2.0**-150, 3 * 2.0**-150, 16777217.0]
    texts += [f"{value:.60f}" for value in halfway] + [f"{value:.60f}1" for value in halfway]
    texts += [repr(float(np.nextafter(value, side))) for value in halfway for side in (0, np.inf)]
    texts += [f"{value:.40e}" for value in halfway] + [
        "0" * 400 + ".5",
        "." + "0" * 400 + "5e400",
        "1e-400",
        "-0",
        "0e999",
    ]
    with np.errstate(over="ignore"):
        wanted = [np.float32(float(text)) for text in texts]
    kept = [(text, value) for text, value in zip(texts, wanted, strict=True) if np.isfinite(value)]
    rows = "".join(f"{text},0,0,red,w,0,0,0\n" for text, _ in kept)
    batch = open_rows(rows).next_batch(len(kept))
    found = batch.x[:, 0]
    assert len(found) == len(kept) > 10000
    wrong = [(text, value, f) for (text, value), f in zip(kept, found, strict=True) if f != value]
    assert wrong == []
    too_large = [text for text, value in zip(texts, wanted, strict=True) if not np.isfinite(value)]
    dead = open_rows("".join(f"{text},0,0,red,w,0,0,0\n" for text in too_large), on_error="skip").next_batch(len(kept))
    assert len(dead.dead) == len(too_large) > 100
    assert all("must be at most 3.4028235e38 in size" in letter.reason for letter in dead.dead)


def test_halfway_numbers_are_settled_by_python():
    layout = open_rows("0,0,0,red,w,0,0,0\n")._layout
    reader = arff_rows.RowReader(layout)
    row = b"1.000000059604644775390625,0,0,red,w,0,0,0,{0.3333333333333333333}\n"
    batch = reader.read(np.frombuffer(bytearray(row), np.uint8), 0, len(row), 10)
    assert int(reader._report["odd"][0]) == 2
    assert batch.x[0, 0] == np.float32(float("1.000000059604644775390625"))
    assert batch.weight.tolist() == [float("0.3333333333333333333")]


def test_the_middle_between_0_and_the_smallest_number_moves_no_other_cell():
    middle, above = (f"{Decimal(value):f}" for value in (2.0**-150, float(np.nextafter(2.0**-150, 1))))
    batch = open_rows(f"{{0 {middle}, 3 'dark blue', 7 1}}\n{{0 {above}, 1 1}}\n", rows="sparse").next_batch()
    assert batch.x.to_dense(5).tolist() == [[0, 0, 0, 1, 0], [2.0**-149, 1, 0, 0, 0]]


def test_no_rows_and_blank_rows_read_as_nothing():
    reader = arff_rows.RowReader(open_rows("0,0,0,red,w,0,0,0\n")._layout)
    for text in (b"\n", b" \n\n%\n", b"%"):
        batch = reader.read(np.frombuffer(bytearray(text), np.uint8), 0, len(text), 10)
        assert (len(batch), reader.status, reader.position) == (0, arff_rows.DONE, len(text))
        assert reader.n_lines == max(text.count(b"\n"), 1)


def test_input_bytes_stay_as_they_were():
    text = bytearray(rb"1,0,0,'a\tb','x\'y',0,0,0" + b"\n")
    before = bytes(text)
    reader = arff_rows.RowReader(open_rows("0,0,0,red,w,0,0,0\n", payload="note")._layout)
    batch = reader.read(np.frombuffer(text, np.uint8), 0, len(text), 10)
    assert bytes(text) == before
    assert batch.payload == ["x'y"]
    assert batch.x[0, 3] == 3
