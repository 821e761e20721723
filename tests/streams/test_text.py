"""Text in blocks: compression by magic bytes, damage, positions, pipes."""

import gzip
import io
import os
import threading

import pytest
import zstandard

from streams.arff import ArffSource
from streams.source import DecodeError
from streams.text import BLOCK, MAX_LINE, TextReader, stem
from tests.streams.places import drained, written

HEAD = b"@relation 'toy: -C -1'\n@attribute a numeric\n@attribute l {0,1}\n@data\n"
ROWS = b"".join(b"%d.%04d,%d\n" % (i % 7, i * 7919 % 10000, i % 2) for i in range(100000))


def all_lines(reader):
    lines = []
    while (line := reader.take_line()) is not None:
        lines.append(line)
    return lines


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_compression_is_told_by_the_bytes_and_not_the_name(tmp_path, pack):
    path = tmp_path / "toy.txt"
    path.write_bytes(pack(b"\xef\xbb\xbfone\r\n\ntwo\nthree"))
    reader = TextReader(path)
    assert reader.offset == 3
    assert all_lines(reader) == [b"one", b"", b"two", b"three"]
    assert (reader.offset, reader.line) == (18, 5)
    reader.seek(9, 3)
    assert (reader.take_line(), reader.offset, reader.line) == (b"two", 13, 4)
    with pytest.raises(ValueError, match=r"toy.txt: position must lie in the text, got 99"):
        reader.seek(99, 1)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_members_and_frames_follow_each_other(pack):
    raw = pack(b"a\nb") + pack(b"") + pack(b"c\n" + ROWS)
    assert all_lines(TextReader(io.BytesIO(raw), "toy"))[:3] == [b"a", b"bc", ROWS.split(b"\n")[0]]
    assert all_lines(TextReader(io.BytesIO(gzip.compress(b"a") + bytes(600000)), "toy")) == [b"a"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_truncated_files_give_what_they_hold_and_say_where_they_break(tmp_path, pack):
    whole = pack(HEAD + ROWS)
    path = tmp_path / "toy.arff.gz"
    path.write_bytes(whole[: len(whole) // 2])
    kind = "gzip data must end with a checksum" if pack is gzip.compress else "zstd data must end with a whole frame"
    source = ArffSource(path)
    n = 0
    while (batch := _next_or_error(source)) is not None and not isinstance(batch, DecodeError):
        n += len(batch)
    assert 1000 < n < 99000
    assert str(batch) == f"toy.arff.gz:{n + 5}: {kind}, found the end of a truncated file"
    batch = drained(ArffSource(path, on_error="skip"))
    assert len(batch) == n
    (letter,) = batch.dead
    assert (letter.offset, letter.line) == (n, n + 5)
    assert ROWS.split(b"\n")[n].startswith(letter.raw)


def _next_or_error(source):
    try:
        return source.next_batch()
    except DecodeError as error:
        return error


def test_damaged_files_say_so():
    raw = bytearray(gzip.compress(HEAD + ROWS))
    raw[-8] ^= 1
    with pytest.raises(
        DecodeError,
        match=r"toy:[0-9]+: gzip data must be intact, found Error -3 while decompressing data: incorrect data check",
    ):
        all_lines(TextReader(io.BytesIO(raw), "toy"))
    with pytest.raises(DecodeError, match=r"toy:1: zstd data must be intact, found"):
        all_lines(TextReader(io.BytesIO(b"\x28\xb5\x2f\xfd" + b"\xff" * 100), "toy"))


def test_nothing_at_all():
    for raw in (b"", gzip.compress(b""), b"\xef\xbb\xbf"):
        with pytest.raises(DecodeError, match=r"toy:1: a text must hold at least one line, found an empty file"):
            TextReader(io.BytesIO(raw), "toy")


def test_long_lines_fit_and_endless_ones_do_not():
    line = b"x" * (9 * BLOCK)
    assert all_lines(TextReader(io.BytesIO(b"a\n" + line + b"\nb"), "toy")) == [b"a", line, b"b"]
    with pytest.raises(DecodeError, match=f"toy:1: a line must have at most {MAX_LINE} bytes, found more"):
        TextReader(_Endless(), "toy").take_line()


class _Endless(io.RawIOBase):
    def read(self, size=-1):
        return b"x" * size


def test_a_pipe_hands_over_what_has_come_and_cannot_go_back():
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source_end:
        os.write(write, HEAD + b"1,0\n2,1\n3,")
        source = ArffSource(source_end, name="pipe")
        assert len(source.next_batch()) == 2
        assert len(source.next_batch(timeout=0.01)) == 0
        place = source.position()
        later = threading.Timer(0.05, lambda: (os.write(write, b"1\n"), os.close(write)))
        later.start()
        assert source.next_batch().x.tolist() == [[3]]
        assert source.next_batch() is None
        later.join()
        with pytest.raises(ValueError, match=r"a pipe cannot go back from byte"):
            source.resume(place)


def test_reading_a_pipe_again_skips_to_the_position(tmp_path):
    path = written(tmp_path, "toy.arff", HEAD + ROWS[:599].rsplit(b"\n", 1)[0])
    source = ArffSource(path)
    source.next_batch(10)
    place = source.position()
    read, write = os.pipe()
    os.write(write, path.read_bytes())
    os.close(write)
    with os.fdopen(read, "rb") as source_end:
        again = ArffSource(source_end)
        again.resume(place)
        assert drained(again).x.tolist() == drained(source).x.tolist()


def test_stem():
    assert [stem(name) for name in ("a/b.arff.gz", "b.jsonl", "b", ".hidden", "b.c.zst")] == [
        "b",
        "b",
        "b",
        ".hidden",
        "b",
    ]
