"""Text in blocks: a plain, gzip or zstd file or standard input, in bounded memory, at a known offset and line."""

from __future__ import annotations

import abc
import io
import os
import select
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from streams.source import DecodeError

BLOCK = 1 << 18
"""Bytes asked for at a time; the buffer holds a few blocks, or the longest line."""

MAX_LINE = 1 << 26
"""A longer line is an error: without a bound, a file without line ends would be read into memory whole."""

GZIP_MAGIC, ZSTD_MAGIC, BYTE_ORDER_MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"

COMPRESSED_ENDINGS = (".gz", ".zst")


class TextReader:
    """The bytes of a text, block by block.

    Compression is told by the first bytes, not by the file's name. A byte order mark at the beginning is passed over.

    Parameters
    ----------
    source
        A path, ``-`` for standard input, or an open binary stream.
    name
        What to call it in errors; the file's name by default.

    Attributes
    ----------
    buffer
        uint8; what has been read and not yet taken is ``buffer[start:stop]``. Replaced when it has to grow.
    offset
        Where ``buffer[start]`` stands in the text, in bytes after decompression.
    line
        Line of ``buffer[start]``, from 1.

    Raises
    ------
    DecodeError
        The text is empty.

    Notes
    -----
    ``seek`` costs nothing in a plain file. Compressed text is read again from its beginning up to the offset, and a
    pipe can only be read forward.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> None:
        self._bytes: io.BufferedIOBase | io.RawIOBase | BinaryIO
        if isinstance(source, (str, os.PathLike)):
            self.path = None if os.fspath(source) == "-" else Path(source)
            name = name or ("<stdin>" if self.path is None else None)
            self._bytes = sys.stdin.buffer if self.path is None else open(self.path, "rb", buffering=0)  # noqa: SIM115
        else:
            self.path, self._bytes = None, source
        self.name = name or ("<stream>" if self.path is None else self.path.name)
        self._memory = bytearray(4 * BLOCK)
        self.buffer: NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8)
        self._begin()
        if self.start == self.stop and not self.fill() and self.failure is None:
            raise DecodeError(self.name, "a text must hold at least one line, found an empty file", line=1)

    def _begin(self) -> None:
        self.start = self.stop = 0
        self.offset, self.line = 0, 1
        self.ended = False
        self.failure: DecodeError | None = None
        head = b""
        while len(head) < len(ZSTD_MAGIC) and (block := _read(self._bytes, BLOCK)):
            head += block
        raw = _Raw(self._bytes, head)
        self._decoder: _Decoder = raw
        self.compression: str | None = None
        if head.startswith(GZIP_MAGIC):
            self._decoder, self.compression = _Gzip(raw), "gzip"
        elif head.startswith(ZSTD_MAGIC):
            self._decoder, self.compression = _Zstd(raw), "zstd"
        while self.stop < len(BYTE_ORDER_MARK) and self.fill():
            pass
        if self._memory.startswith(BYTE_ORDER_MARK, 0, self.stop):
            self.advance(len(BYTE_ORDER_MARK), 0)

    def fill(self, timeout: float | None = None) -> bool:
        """Read a block behind ``stop``; False at the end, at damage (``failure``) or after ``timeout`` seconds."""
        if self.ended or self.failure is not None or not self.ready(timeout):
            return False
        if self.start > 0 and len(self._memory) - self.stop < BLOCK:
            kept = self.stop - self.start
            self._memory[:kept] = self._memory[self.start : self.stop]
            self.start, self.stop = 0, kept
        if len(self._memory) - self.stop < BLOCK:
            if self.stop > MAX_LINE:
                self._fail(f"a line must have at most {MAX_LINE} bytes, found more")
                return False
            self._memory = self._memory + bytearray(len(self._memory))
            self.buffer = np.frombuffer(self._memory, np.uint8)
        try:
            n_bytes = self._decoder.read_into(memoryview(self._memory)[self.stop : self.stop + BLOCK])
        except _DamageError as damage:
            self._fail(str(damage))
            return False
        self.stop += n_bytes
        self.ended = n_bytes == 0
        return n_bytes > 0

    def _fail(self, reason: str) -> None:
        line = self.line + self._memory.count(b"\n", self.start, self.stop)
        self.failure = DecodeError(self.name, reason, line=line)

    def ready(self, timeout: float | None = 0) -> bool:
        """Whether ``fill`` would not have to wait longer than ``timeout`` seconds (None: for ever) for a pipe."""
        if timeout is None or self.path is not None:
            return True
        try:
            return bool(select.select([self._bytes.fileno()], [], [], timeout)[0])
        except (OSError, ValueError):
            return True

    @property
    def is_live(self) -> bool:
        """Whether the text comes from a pipe or a terminal, so that its next line may be long in coming."""
        return not self._bytes.seekable()

    @property
    def whole_lines(self) -> int:
        """End of the last whole line in the buffer; at the end of the text a line needs no line end."""
        return self.stop if self.ended else max(self._memory.rfind(b"\n", self.start, self.stop) + 1, self.start)

    def find_line_end(self, stop: int, begin: int | None = None) -> int:
        """Where the line after the one at ``begin`` (by default ``start``) begins in the buffer, at most ``stop``."""
        return self._memory.find(b"\n", self.start if begin is None else begin, stop) + 1 or stop

    def advance(self, n_bytes: int, n_lines: int) -> None:
        """Pass over what has been taken from the buffer."""
        self.start += n_bytes
        self.offset += n_bytes
        self.line += n_lines

    def take_line(self) -> bytes | None:
        """The next line without its end, or None at the end of the text.

        Raises
        ------
        DecodeError
            The text is damaged here.
        """
        searched = self.start
        while (at := self._memory.find(b"\n", searched, self.stop)) < 0:
            waiting = self.stop - self.start
            if not self.fill():
                if self.failure is not None:
                    raise self.failure
                at = self.stop
                break
            searched = self.start + waiting
        if at == self.stop and self.start == self.stop:
            return None
        line = bytes(self._memory[self.start : at])
        self.advance(min(at + 1, self.stop) - self.start, 1)
        return line.removesuffix(b"\r")

    def seek(self, offset: int, line: int) -> None:
        """Go to where ``offset`` and ``line`` were taken.

        Raises
        ------
        ValueError
            The place lies behind the end of the text, or before what is left of a pipe.
        """
        if self.path is not None and self.compression is None:
            if offset > self.path.stat().st_size:
                raise ValueError(f"{self.name}: position must lie in the text, got {offset}")
            self._bytes.seek(offset)
            self._decoder = _Raw(self._bytes)
            self.start = self.stop = 0
            self.ended, self.failure = False, None
        else:
            if offset < self.offset:
                if not self._bytes.seekable():
                    raise ValueError(f"{self.name}: a pipe cannot go back from byte {self.offset} to {offset}")
                self._bytes.seek(0)
                self._begin()
            while self.offset + self.stop - self.start < offset:
                self.advance(self.stop - self.start, 0)
                if not self.fill():
                    raise self.failure or ValueError(f"{self.name}: position must lie in the text, got {offset}")
            self.advance(offset - self.offset, 0)
        self.offset, self.line = offset, line

    def close(self) -> None:
        """Close the file; standard input and streams that were handed over stay open."""
        if self.path is not None:
            self._bytes.close()


def stem(path: str | os.PathLike[str]) -> str:
    """A file's name without its endings for format and compression.

    Examples
    --------
    >>> stem("data/tmc2007-500.arff.gz")
    'tmc2007-500'
    """
    name = Path(path).name
    for ending in COMPRESSED_ENDINGS:
        name = name.removesuffix(ending)
    return name.rsplit(".", 1)[0] if "." in name[1:] else name


class _DamageError(Exception):
    """Compressed bytes are not what they should be."""


class _Decoder(abc.ABC):
    @abc.abstractmethod
    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes of text; none at its end."""

    def read_into(self, room: memoryview) -> int:
        """Put up to as many bytes of text as there is room for into it and say how many; 0 at the end."""
        block = self.read(len(room))
        room[: len(block)] = block
        return len(block)


class _Raw(_Decoder):
    def __init__(self, source: Any, head: bytes = b"") -> None:
        self._source, self._head = source, head

    def read_into(self, room: memoryview) -> int:
        # A file without a buffer of its own can do without the copy that others need.
        if self._head or not isinstance(self._source, io.FileIO):
            return super().read_into(room)
        return self._source.readinto(room) or 0

    def read(self, size: int) -> bytes:
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return _read(self._source, size)


def _read(source: Any, size: int) -> bytes:
    """What is there, at most ``size`` bytes; waits only where nothing is."""
    block: bytes | None = source.read1(size) if hasattr(source, "read1") else source.read(size)
    return block or b""


class _Gzip(_Decoder):
    """Members of a gzip file, one after the other."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        self._member: Any = zlib.decompressobj(31)
        self._rest = b""

    def read(self, size: int) -> bytes:
        while True:
            if not self._rest:
                self._rest = self._raw.read(BLOCK)
                if not self._rest:
                    if self._member is None:
                        return b""
                    raise _DamageError("gzip data must end with a checksum, found the end of a truncated file")
            if self._member is None:
                # Zeros behind a member are padding, as tapes and block devices leave it.
                self._rest = self._rest.lstrip(b"\0")
                if not self._rest:
                    continue
                self._member = zlib.decompressobj(31)
            try:
                text: bytes = self._member.decompress(self._rest, size)
            except zlib.error as error:
                raise _DamageError(f"gzip data must be intact, found {error}") from None
            self._rest = self._member.unconsumed_tail
            if self._member.eof:
                self._rest, self._member = self._member.unused_data, None
            if text:
                return text


class _Zstd(_Decoder):
    """Frames of a zstd file, one after the other."""

    # The decoder gives all that its input holds at once, so its input is kept small to bound memory.
    STEP = 1 << 12

    def __init__(self, raw: _Raw) -> None:
        import zstandard

        self._raw, self._error = raw, zstandard.ZstdError
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = self._new_frame()
        self._rest = b""
        self._text = b""

    def read(self, size: int) -> bytes:
        while not self._text:
            if not self._rest:
                self._rest = self._raw.read(self.STEP)
                if not self._rest:
                    if self._frame is None:
                        return b""
                    raise _DamageError("zstd data must end with a whole frame, found the end of a truncated file")
            if self._frame is None:
                self._frame = self._new_frame()
            step, self._rest = self._rest[: self.STEP], self._rest[self.STEP :]
            try:
                self._text = self._frame.decompress(step)
            except self._error as error:
                raise _DamageError(f"zstd data must be intact, found {error}") from None
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data + self._rest, None
        text, self._text = self._text[:size], self._text[size:]
        return text
