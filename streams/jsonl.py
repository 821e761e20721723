"""JSON Lines files as a source of events: one message of the wire format a line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from streams.batch import Batch, Schema
from streams.schema_file import find_schema_file
from streams.source import DecodeError, Position
from streams.text import BLOCK, TextReader
from streams.text_source import OnError, RowKind, TextSource
from streams.wire import EventDecoder, prefers_sparse

DECIDING_EVENTS = 64
"""Events from which dense or sparse rows are decided."""


class JSONLinesSource(TextSource):
    """Events of a JSON Lines file: plain, gzip or zstd, a path or ``-`` for standard input.

    Parameters
    ----------
    source
        A path, ``-``, an open binary stream, or a `TextReader`.
    labels
        Names of labels to declare beforehand, parted by commas or a sequence; others still join as events bring them.
        None: those of the schema file beside the file, whose features and categories then keep their order too.
    on_error
        ``fail``: a line that cannot be read raises `DecodeError`, after the events before it were handed out.
        ``skip``: it becomes a dead letter.
    payload
        Name of a feature to take out of ``x`` as ``Batch.payload``; None: the events' own ``payload`` field.
    rows
        ``dense`` or ``sparse``. None: decided by the first 64 lines of a file, sparse if the average event names fewer
        than half of all features that they name; a pipe, whose next line may be hours away, is dense.
    name
        What to call the source; by default the file's name without its endings.
    n_events
        How many events there will be, where the caller knows; counted on request in a plain file.

    Notes
    -----
    `EventDecoder` tells what a line may hold. Blank lines are passed over. The position carries the schema, so that
    columns have the same numbers after ``resume`` in another process.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO | TextReader,
        *,
        labels: str | Sequence[str] | None = None,
        on_error: OnError = "fail",
        payload: str | None = None,
        rows: RowKind | None = None,
        name: str | None = None,
        n_events: int | None = None,
    ) -> None:
        names = [part.strip() for part in labels.split(",")] if isinstance(labels, str) else list(labels or ())
        if any(part.startswith(("first:", "last:")) or part.endswith(".xml") for part in names):
            raise ValueError(f"labels of JSON Lines must be names, got {labels!r}")
        super().__init__(source, on_error=on_error, rows=rows, name=name, n_events=n_events)
        try:
            found = find_schema_file(self._reader.path) if labels is None else None
            self._schema = Schema(labels=names) if found is None else found.schema
            if rows is not None:
                self._schema.sparse = rows == "sparse"
            elif found is None:
                self._schema.sparse = prefers_sparse(self._first_lines())
        except BaseException:
            self.close()
            raise
        self._decoder = EventDecoder(self._schema, payload=payload)

    def position(self) -> Position:
        """Where the next event begins, and the schema so far."""
        return {**super().position(), "schema": self._schema.to_json()}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken in the same text."""
        super().resume(position)
        self._schema.extend(Schema.from_json(position["schema"]))

    def _first_lines(self) -> list[bytes]:
        """The first lines, left in the buffer to be read."""
        reader = self._reader
        lines: list[bytes] = []
        at = reader.start
        while len(lines) < (1 if reader.is_live else DECIDING_EVENTS):
            stop = reader.whole_lines
            if at == stop:
                before = reader.start
                if not (reader.fill() or (reader.ended and at < reader.stop)):
                    break
                at += reader.start - before
                continue
            end = reader.find_line_end(stop, at)
            line = reader.buffer[at:end].tobytes()
            if line.strip():
                lines.append(line)
            at = end
        if not lines:
            raise reader.failure or DecodeError(
                reader.name, "a file must hold at least one event, found blank lines", line=reader.line
            )
        return lines

    def _read(self, wanted: int) -> tuple[Batch, str | None]:
        reader, decoder = self._reader, self._decoder
        wrong = None
        stop = reader.whole_lines
        while len(decoder) < wanted and reader.start < stop:
            end = reader.find_line_end(stop)
            line = reader.buffer[reader.start : end].tobytes()
            if line.strip():
                try:
                    decoder.decode(line)
                except ValueError as error:
                    wrong = str(error)
                    break
            reader.advance(end - reader.start, 1)
        batch = decoder.take()
        batch.source = self._name
        batch.offset = np.arange(self._record, self._record + len(batch), dtype=np.int64)
        return batch, wrong

    def _count(self) -> int | None:
        reader = self._reader
        if reader.path is None or reader.compression:
            return None
        count, last = 0, b"\n"
        with open(reader.path, "rb") as file:
            while block := file.read(BLOCK):
                text = np.frombuffer(last + block, np.uint8)
                count += int(((text[:-1] == ord("\n")) & (text[1:] != ord("\n"))).sum())
                last = block[-1:]
        return count
