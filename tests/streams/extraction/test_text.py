"""Texts: how they are cleaned, hashed and weighed."""

import random

import numpy as np
import pytest

from streams.extraction.encoders.cleaning import clean, text_of
from streams.extraction.encoders.hashing import HashingEncoder
from streams.extraction.pool import ExtractionPool
from streams.extraction.weighing import StreamingIDF
from streams.rows import Rows
from tests.naive.extraction import hashed, weighed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("  A\tB\n\nc ", "a b c"),
        ("<p>Fish &amp; chips</p><br/>x", "fish & chips x"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<!-- no -->yes", "yes"),
        ("Go to https://a.org/b?c=d, www.e.org", "go to http http"),
        ("@Ann and ann@mail.org, hi @bob!", "@ and ann@mail.org, hi @!"),
        ("ﬁne Straße １２", "fine strasse 12"),
        ("\u00a0x\u2003y", "x y"),
        ("&lt;b&gt;", "<b>"),
        ("😀 Wow", "😀 wow"),
    ],
)
def test_cleaning(text, expected):
    assert clean(text) == expected


def test_a_payload_is_a_text_or_its_bytes():
    assert text_of("é") == text_of("é".encode()) == text_of(bytearray("é".encode()))
    with pytest.raises(UnicodeDecodeError):
        text_of(b"\xff")
    with pytest.raises(TypeError, match=r"^a payload must be a text, got int$"):
        text_of(3)


def texts(n, seed):
    rng = random.Random(seed)
    words = ["so", "it", "goes", "don't", "x1", "!", "…", "a b", "über", "", "😀"]
    return [" ".join(rng.choices(words, k=rng.randrange(12))) for _ in range(n)]


@pytest.mark.parametrize("settings", [{}, {"words": 1}, {"words": 3, "characters": 4}, {"norm": False}])
def test_hashing_equals_naive(settings):
    many = texts(60, 1)
    rows = HashingEncoder(97, clean=False, **settings)(many)
    for number, text in enumerate(many):
        expected = hashed(text, 97, **settings) if text.strip() else {}
        low, high = rows.indptr[number : number + 2]
        assert rows.indices[low:high].tolist() == sorted(expected)
        assert rows.data[low:high] == pytest.approx([expected[column] for column in sorted(expected)], rel=1e-5)


def test_hashing_looks_at_a_text_alone_and_cleans_it():
    many = texts(40, 2)
    encoder = HashingEncoder(64)
    whole, alone = encoder(many), Rows.concat([encoder([text]) for text in many])
    for one, other in zip(
        (whole.indptr, whole.indices, whole.data), (alone.indptr, alone.indices, alone.data), strict=True
    ):
        assert np.array_equal(one, other)
    assert encoder(["A  <i>b</i>"]).data.tolist() == encoder([b"a b"]).data.tolist()
    assert len(encoder([""])) == len(encoder([" "])) == 1
    assert len(encoder([])) == 0


def test_a_hash_is_the_same_for_ever():
    assert HashingEncoder(4096, words=1)(["streams and labels"]).indices.tolist() == [529, 2810, 2925]


def test_weighing_equals_naive_however_the_stream_is_cut():
    many = texts(50, 3)
    encoder = HashingEncoder(53, words=1, norm=False, clean=False)
    expected = weighed([hashed(text, 53, words=1, norm=False) if text.strip() else {} for text in many if text.strip()])
    many = [text for text in many if text.strip()]
    rows = encoder(many)
    for sizes in ((50,), (1,), (3, 7)):
        step, parts, at, turn = StreamingIDF(53), [], 0, 0
        while at < len(many):
            n = sizes[turn % len(sizes)]
            parts.append(step(rows[at : at + n]))
            # What is kept is all that is needed.
            again = StreamingIDF(53)
            again.from_json(step.to_json())
            step, at, turn = again, at + n, turn + 1
        found = Rows.concat(parts)
        assert found.data is not None
        for number, cells in enumerate(expected):
            low, high = found.indptr[number : number + 2]
            told = dict(zip(found.indices[low:high].tolist(), found.data[low:high].tolist(), strict=True))
            assert told == pytest.approx(cells, rel=1e-5)


def test_weighing_leaves_its_input_as_it_was_and_empty_texts_empty():
    rows = HashingEncoder(53)(["a b", "", "a"])
    before = rows.data.copy()
    found = StreamingIDF(53)(rows)
    assert np.array_equal(rows.data, before)
    assert np.diff(found.indptr).tolist() == [3, 0, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_words_are_weighed_in_order_in_every_map_afresh(workers):
    many = texts(100, 4)
    encoder = HashingEncoder(53, idf=True)
    plain = StreamingIDF(53)(encoder(many)).to_dense(53)
    with ExtractionPool(encoder, workers, batch_size=8) as pool:
        for _ in range(2):
            assert np.array_equal(np.array(list(pool.map(many))), plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "^dim must be at least 1, got 0$"),
        ({"words": 0}, "^words must be at least 1, got 0$"),
        ({"characters": -1}, "^characters must be at least 0, got -1$"),
        ({"characters": 2}, "^characters must be 0 or at least 3, got 2$"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        HashingEncoder(**settings)


def test_every_setting_is_in_the_fingerprint():
    changed = {"dim": 9, "words": 1, "characters": 3, "idf": True, "norm": False, "clean": False}
    told = {HashingEncoder(**{name: value}).fingerprint for name, value in changed.items()}
    assert len(told | {HashingEncoder().fingerprint}) == len(changed) + 1
