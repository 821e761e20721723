"""A file of lines as a sink: JSON Lines or any other text, plain, gzip or zstd, or standard output."""

from __future__ import annotations

import gzip
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from streams.source import Position

PATIENCE_S = 15.0
"""How long a file's other writer may take to let go of it."""

_BLOCK = 1 << 16
_LOOK_S = 0.05


class LinesSink:
    """Messages as lines of a file.

    Parameters
    ----------
    target
        A path, compressed if it ends with ``.gz`` or ``.zst``, or ``-`` for standard output. A file that is there
        already is emptied at the first write, unless ``resume`` comes before it.
    append
        Whether to write behind what a plain file has already, up to its last whole line.

    Notes
    -----
    ``position`` ends the gzip member or zstd frame, makes it durable and returns the file's length, so that a file cut
    there is whole: standard tools read several members or frames as one text. ``resume`` cuts the file to that length.
    What was printed on standard output stays printed; its position is empty.

    A file has one writer at a time. Another one, which has been replaced and does not know yet, is waited for; after
    15 s what first touches the file raises `BlockingIOError`.
    """

    def __init__(self, target: str | os.PathLike[str], *, append: bool = False) -> None:
        self._append = append
        self._path = None if os.fspath(target) == "-" else Path(target)
        self._name = "<stdout>" if self._path is None else self._path.name
        self._file: BinaryIO | None = None
        self._member: Any = None
        self._closed = False
        if self._path is not None and not self._path.parent.is_dir():
            raise FileNotFoundError(f"{self._path}: the folder of a sink must be there, got {self._path.parent}")

    @property
    def name(self) -> str:
        """What to call the sink in errors."""
        return self._name

    def write(self, messages: Sequence[bytes]) -> None:
        """Append messages, each as a line.

        Raises
        ------
        ValueError
            A message holds a line end.
        """
        if self._closed:
            raise ValueError(f"{self._name}: a sink must be open to be written, got one that is closed")
        for message in messages:
            if b"\n" in message:
                raise ValueError(f"{self._name}: a message must be one line, got {message[:60]!r}")
        if not messages:
            return
        text = b"\n".join(messages) + b"\n"
        if self._path is None:
            sys.stdout.buffer.write(text)
            sys.stdout.buffer.flush()
            return
        if self._member is None:
            self._member = self._new_member(self._opened())
        self._member.write(text)

    def flush(self) -> None:
        """Let readers of a plain file see what was written; a compressed one gets its bytes when it is due."""
        if self._member is not None and self._member is self._file:
            self._file.flush()

    def position(self) -> Position:
        """Make everything written so far durable and say how long the file is."""
        if self._path is None:
            return {}
        file = self._opened()
        self._end_member()
        file.flush()
        os.fsync(file.fileno())
        return {"length": file.seek(0, io.SEEK_END)}

    def resume(self, position: Position) -> None:
        """Cut the file back to where ``position`` was taken.

        Raises
        ------
        ValueError
            The file is shorter than that, so it is not the one that the position belongs to.
        """
        if self._path is None:
            return
        length = int(position["length"])
        self._end_member()
        if self._file is None:
            found = self._path.stat().st_size if self._path.is_file() else 0
            if found < length:
                raise ValueError(f"{self._path}: a file to go on with must have {length} bytes, found {found}")
            self._file = _open_alone(self._path)
        self._file.truncate(length)

    def close(self) -> None:
        """Make everything durable and close the file; may be called twice."""
        if not self._closed and self._path is not None:
            self.position()
            self._opened().close()
        self._closed = True

    def _opened(self) -> BinaryIO:
        if self._file is None:
            assert self._path is not None
            self._file = _open_alone(self._path)
            if self._path.is_file():
                self._file.truncate(whole_length(self._path) if self._append else 0)
        return self._file

    def _new_member(self, file: BinaryIO) -> Any:
        assert self._path is not None
        if self._path.suffix == ".gz":
            # No time and no name in the header: the same messages are the same bytes.
            return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
        if self._path.suffix == ".zst":
            import zstandard

            return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
        return file

    def _end_member(self) -> None:
        if self._member is not None and self._member is not self._file:
            self._member.close()
        self._member = None


def _open_alone(path: Path) -> BinaryIO:
    """A file to append to, which no other sink writes as long as it is open here."""
    file = open(path, "a+b" if path.is_file() or not path.exists() else "wb")  # noqa: SIM115
    if sys.platform != "win32" and path.is_file():
        import fcntl

        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.close()
                    raise BlockingIOError(f"{path}: a file must have one writer at a time, found another") from None
                time.sleep(_LOOK_S)
    return file


def whole_length(path: Path) -> int:
    """Bytes of a file up to the end of its last whole line."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        at = size
        while at > 0:
            start = max(0, at - _BLOCK)
            file.seek(start)
            found = file.read(at - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            at = start
    return 0
