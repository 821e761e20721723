"""A file of lines as a sink."""

import gzip

import pytest
import zstandard

from streams.files import LinesSink
from streams.source import Sink
from streams.text import TextReader


def lines_of(path):
    reader = TextReader(path)
    lines = []
    while (line := reader.take_line()) is not None:
        lines.append(line)
    return lines


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_a_file_cut_back_goes_on_as_if_never_stopped(tmp_path, ending):
    straight, broken = tmp_path / f"straight{ending}", tmp_path / f"broken{ending}"
    sink = LinesSink(straight)
    assert isinstance(sink, Sink)
    sink.write([b"a", b"b"])
    sink.position()
    sink.write([b"c"])
    sink.close()
    sink.close()
    first = LinesSink(broken)
    first.write([b"a", b"b"])
    place = first.position()
    assert lines_of(broken) == [b"a", b"b"]
    assert place == {"length": broken.stat().st_size}
    first.write([b"lost"] * 1000)
    first.resume(place)
    first.write([b"lost too"])
    first.close()
    again = LinesSink(broken)
    again.resume(place)
    again.write([])
    again.write([b"c"])
    again.close()
    assert lines_of(straight) == [b"a", b"b", b"c"]
    assert broken.read_bytes() == straight.read_bytes()


def test_other_tools_read_the_files(tmp_path):
    for name, opened in (("a.gz", gzip.open), ("a.zst", zstandard.open)):
        sink = LinesSink(tmp_path / name)
        sink.write([b"one"])
        sink.position()
        sink.write([b"two"])
        sink.close()
        with opened(tmp_path / name, "rb") as file:
            assert file.read() == b"one\ntwo\n"


def test_a_new_sink_empties_the_file_and_a_resumed_one_does_not(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old\n")
    sink = LinesSink(path)
    assert path.read_bytes() == b"old\n"
    assert sink.position() == {"length": 0}
    sink.close()
    assert path.read_bytes() == b""


def test_standard_output_is_written_and_never_cut(capfdbinary):
    sink = LinesSink("-")
    sink.write([b"{}"])
    assert sink.position() == {}
    sink.resume({})
    sink.close()
    assert capfdbinary.readouterr().out == b"{}\n"


def test_misuse(tmp_path):
    sink = LinesSink(tmp_path / "out")
    with pytest.raises(ValueError, match=r"out: a message must be one line, got b'a\\nb'"):
        sink.write([b"a\nb"])
    with pytest.raises(ValueError, match=r"out: a file to go on with must have 7 bytes, found 0"):
        sink.resume({"length": 7})
    sink.close()
    with pytest.raises(ValueError, match=r"out: a sink must be open to be written, got one that is closed"):
        sink.write([b"x"])
    with pytest.raises(FileNotFoundError, match=r"the folder of a sink must be there, got"):
        LinesSink(tmp_path / "none" / "out")
