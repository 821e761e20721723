"""The text format of the extreme classification repository, as a source of events and as a place to write them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any, BinaryIO

from streams.arff_header import shortened
from streams.batch import NUMERIC, Batch, Schema
from streams.schema_file import find_schema_file
from streams.source import DecodeError
from streams.sparse_text import SparseTextSource
from streams.sparse_writer import MAX_COLUMNS, SparseTextWriter
from streams.text import TextReader
from streams.text_source import OnError, RowKind


class ExtremeSource(SparseTextSource):
    """Events of an extreme classification file: plain, gzip or zstd, a path or ``-`` for standard input.

    Its first line is ``n_rows n_features n_labels``, and every other one ``label,label index:value index:value``,
    labels and features being numbers from 0 on.

    Parameters
    ----------
    source
        A path, ``-`` for standard input, an open binary stream, or a `TextReader`.
    labels, payload, n_events
        Must be None: the header tells labels and events, and the format has no payload.
    on_error
        ``fail``: a row that cannot be read raises `DecodeError`, after the events before it were handed out.
        ``skip``: it becomes a dead letter.
    rows
        ``dense`` (absent is 0) or ``sparse``; None: sparse, or as a schema file says.
    name
        What to call the source; by default the file's name without its endings.

    Raises
    ------
    DecodeError
        The file is empty or damaged, its header is wrong, or it has other columns than its schema file.
    ValueError
        An option is wrong.

    Notes
    -----
    Rows are read as `LibsvmSource` reads them. Features are called ``x0, x1, …`` and labels ``0, 1, …``, unless a file
    that `ExtremeWriter` left beside the text tells their names. A row behind those that the header counts is
    malformed; if rows are missing at the end, that is told as an event that cannot be read.

    Examples
    --------
    >>> import io
    >>> source = ExtremeSource(io.BytesIO(b"2 3 5\\n4,0 0:0.5\\n 2:1\\n"))
    >>> source.n_events, source.schema
    (2, Schema(3 features, 5 labels, sparse))
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
        for what, given in (("labels", labels), ("n_events", n_events)):
            if given is not None:
                raise ValueError(f"{what} must be None, for the text's first line tells them, got {given!r}")
        super().__init__(source, on_error=on_error, payload=payload, rows=rows, name=name, n_events=None)
        try:
            self._n_rows, n_features, n_labels = self._read_header()
            found = find_schema_file(self._reader.path)
            if found is None:
                schema = Schema((f"x{j}" for j in range(n_features)), map(str, range(n_labels)), sparse=rows != "dense")
                for column in range(n_features):
                    schema.decide(column, NUMERIC)
            else:
                schema = found.schema
                if (n_features, n_labels) != (schema.n_features, schema.n_labels):
                    raise DecodeError(
                        self._reader.name,
                        f"{found.path.name} must tell {n_features} features and {n_labels} labels, found {schema}",
                        line=1,
                    )
                schema.sparse = schema.sparse if rows is None else rows == "sparse"
            self._settle(schema, 0)
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> tuple[int, int, int]:
        reader = self._reader
        line = (reader.take_line() or b"").decode(errors="replace")
        words = line.split()
        if len(words) != 3 or not all(word.isascii() and word.isdigit() for word in words):
            raise DecodeError(
                reader.name, f"the first line must be n_rows n_features n_labels, found {shortened(line)}", line=1
            )
        n_rows, n_features, n_labels = map(int, words)
        if max(n_features, n_labels) >= MAX_COLUMNS:
            raise DecodeError(
                reader.name, f"features and labels must be fewer than {MAX_COLUMNS}, found {shortened(line)}", line=1
            )
        return n_rows, n_features, n_labels

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events`` with the dead letters between them, or None at the end."""
        batch = super().next_batch(max_events, timeout)
        if batch is not None or self._record >= self._n_rows or self._broken_off:
            return batch
        found = f"the first line tells {self._n_rows} rows, found {self._record}"
        letter = self._broken(DecodeError(self._reader.name, found, line=self._reader.line))
        batch = self._read(0)[0]
        batch.dead = [letter]
        return batch

    def _read(self, wanted: int) -> tuple[Batch, str | None]:
        left = max(self._n_rows - self._record, 0)
        if left > 0 or wanted == 0:
            return super()._read(min(wanted, left))
        reader = self._reader
        stop, wrong = reader.whole_lines, None
        while reader.start < stop and wrong is None:
            end = reader.find_line_end(stop)
            line = reader.buffer[reader.start : end].tobytes().strip()
            if line and not line.startswith(b"#"):
                wrong = f"the first line tells {self._n_rows} rows, found another"
            else:
                reader.advance(end - reader.start, 1)
        return super()._read(0)[0], wrong

    def _count(self) -> int | None:
        return self._n_rows


class ExtremeWriter(SparseTextWriter):
    """Writes events as an extreme classification file, indices counted from 0 (see `SparseTextWriter`).

    Notes
    -----
    The first line tells how many rows there are, so the rows are kept in a file without a name, in the same folder,
    until ``close`` copies them behind it.
    """

    BASE = 0

    def _open_lines(self) -> Any:
        return self._files.enter_context(tempfile.TemporaryFile(dir=self._path.parent))

    def _finish(self) -> None:
        rows, self._lines = self._lines, self._open_text()
        header = f"{self._n_rows} {self._schema.n_features} {self._schema.n_labels}\n"
        self._lines.write(header.encode())
        rows.seek(0)
        shutil.copyfileobj(rows, self._lines)
        super()._finish()
