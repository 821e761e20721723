"""What sources of text share: batches from blocks of lines, dead letters, positions."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import BinaryIO, Literal

from streams.batch import Batch, DeadLetter, Schema
from streams.source import DecodeError, Position
from streams.text import TextReader, stem

OnError = Literal["fail", "skip"]
RowKind = Literal["dense", "sparse"]


class TextSource(abc.ABC):
    """A source whose events are lines of a text; a subclass reads the lines.

    A line that cannot be read raises `DecodeError` after the events before it were handed out (``on_error="fail"``),
    or becomes a dead letter (``"skip"``). Of compressed text that breaks off, the last piece of a line is treated
    the same way.
    """

    _schema: Schema

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO | TextReader,
        *,
        on_error: OnError,
        rows: RowKind | None,
        name: str | None,
        n_events: int | None,
    ) -> None:
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error must be 'fail' or 'skip', got {on_error!r}")
        if rows not in (None, "dense", "sparse"):
            raise ValueError(f"rows must be 'dense', 'sparse' or None, got {rows!r}")
        self._reader = source if isinstance(source, TextReader) else TextReader(source)
        self._name = name or stem(self._reader.name)
        self._on_error = on_error
        self._wanted_rows = rows
        self._n_events = n_events
        self._record = 0
        self._broken_off = False

    @abc.abstractmethod
    def _read(self, wanted: int) -> tuple[Batch, str | None]:
        """Take whole lines of the buffer, at most ``wanted`` events; stop at a line that is wrong and say why."""

    def _readable(self) -> bool:
        """Whether the buffer holds something whole for ``_read`` to take; more is read until it does."""
        return self._reader.whole_lines > self._reader.start

    @abc.abstractmethod
    def _count(self) -> int | None:
        """Events in the file, where they can be counted without decoding them."""

    @property
    def name(self) -> str:
        """What to call the source in results."""
        return self._name

    @property
    def path(self) -> Path | None:
        """The file that is read, or None for standard input and open streams."""
        return self._reader.path

    @property
    def schema(self) -> Schema:
        """Names of the columns."""
        return self._schema

    @property
    def n_events(self) -> int | None:
        """Events in the file, broken ones too: as told at opening, or counted in a plain file, else None."""
        if self._n_events is None:
            self._n_events = self._count()
        return self._n_events

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events`` with the dead letters between them, or None at the end.

        From a file a batch is full unless it is the last one; from a pipe it is what has come.
        """
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        reader = self._reader
        parts: list[Batch] = []
        dead: list[DeadLetter] = []
        wanted = max_events
        while wanted > 0:
            if not self._readable():
                if (parts or dead) and not reader.ready():
                    break
                if reader.fill(timeout) or (reader.ended and reader.start < reader.stop):
                    continue
                if reader.failure is not None and not self._broken_off and not parts:
                    dead.append(self._broken(reader.failure))
                elif (reader.ended or self._broken_off) and not parts and not dead:
                    return None
                break
            part, wrong = self._read(wanted)
            wanted -= len(part)
            self._record += len(part)
            if len(part):
                parts.append(part)
            if wrong is None:
                continue
            if self._on_error == "fail":
                if parts:
                    break
                raise DecodeError(reader.name, wrong, offset=self._record, line=reader.line)
            dead.append(self._skipped(wrong))
            wanted -= 1
        batch = Batch.concat(parts) if len(parts) > 1 else parts[0] if parts else self._read(0)[0]
        batch.dead = dead
        return batch

    def position(self) -> Position:
        """Where the next event begins: byte of the text after decompression, line, and record number.

        ``broken_off`` stands in it once it was told that the text breaks off there, so that it is told once.
        """
        place = {"offset": self._reader.offset, "line": self._reader.line, "record": self._record}
        return {**place, "broken_off": True} if self._broken_off else place

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken in the same text."""
        self._reader.seek(int(position["offset"]), int(position["line"]))
        self._record = int(position["record"])
        self._broken_off = bool(position.get("broken_off", False))

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._reader.close()

    def _skipped(self, reason: str) -> DeadLetter:
        """Pass over the next line."""
        reader = self._reader
        end = reader.find_line_end(reader.whole_lines)
        raw = reader.buffer[reader.start : end].tobytes()
        letter = DeadLetter(self._name, self._record, reason, raw.rstrip(b"\r\n"), reader.line)
        reader.advance(len(raw), 1)
        self._record += 1
        return letter

    def _broken(self, failure: DecodeError) -> DeadLetter:
        """What is left of a text that breaks off; nothing can be read behind it."""
        reader = self._reader
        if self._on_error == "fail":
            raise DecodeError(reader.name, failure.reason, offset=self._record, line=failure.line)
        raw = reader.buffer[reader.start : reader.stop].tobytes()
        letter = DeadLetter(self._name, self._record, failure.reason, raw, failure.line)
        reader.advance(len(raw), 0)
        self._record += 1
        self._broken_off = True
        return letter
