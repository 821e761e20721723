"""ARFF files, dense and sparse, as a source of events."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from streams import arff_rows as kernel
from streams.arff_header import (
    TEXT,
    find_labels,
    not_utf8,
    read_header,
    shortened,
)
from streams.arff_layout import Layout
from streams.arff_rows import MAX_ROWS, RowReader
from streams.batch import Batch, Rows
from streams.source import DecodeError
from streams.text import BLOCK, TextReader
from streams.text_source import OnError, RowKind, TextSource

IDENTIFIER_CATEGORIES, IDENTIFIER_RECORDS, IDENTIFIER_BYTES = 100, 1000, 1 << 24
"""A nominal feature of fewer categories is never taken for a row identifier; how far ahead to look for one."""

_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")


class ArffSource(TextSource):
    """Events of an ARFF file: plain, gzip or zstd, a path or ``-`` for standard input.

    Parameters
    ----------
    source
        A path, ``-``, an open binary stream, or a `TextReader`.
    labels
        Which attributes are labels: ``first:6``, ``last:14``, names parted by commas (or a sequence of names), or the
        path of a Mulan ``.xml`` file. None: the ``.xml`` beside the file, else ``-C n`` in the relation's name. Labels
        are numbered in the order of the attributes.
    on_error
        ``fail``: a row that cannot be read raises `DecodeError`, after the events before it were handed out.
        ``skip``: it becomes a dead letter.
    payload
        Name of a string attribute to hand out as ``Batch.payload``.
    rows
        ``dense`` or ``sparse``; None: as the first row is written.
    name
        What to call the source; by default the file's name without its endings.
    n_events
        How many events there will be, where the caller knows; counted on request in a plain file.

    Raises
    ------
    DecodeError
        The file is empty or damaged, its header is wrong, or its labels are not to be found.

    Notes
    -----
    A nominal attribute declared ``{0,1}`` is a numeric feature with these values, any other one a nominal feature
    whose values are the places of its categories in the declaration. A sparse row means 0 by leaving a numeric
    attribute out, and the first declared category by leaving a nominal one out; in sparse rows an attribute declared
    ``{1,0}`` is therefore nominal, its category ``1`` being number 0. String and date attributes are ignored columns
    that are missing in every row.

    A nominal feature of at least 100 declared categories is a row identifier, loaded but marked in ``schema.ignored``,
    if no value comes twice among its first records: as many as it has categories, at most 1,000, of which the file must
    have at least half. Of a true feature with c equally likely categories, n records look like that with a probability
    of about exp(-n²/2c): less than one in 100,000 where the rule can apply and c is at most 1,000, but no longer
    small where a feature has many thousands of categories and hardly any record shares one.

    ``?`` is a missing value, and in a label an unknown cell. A number may have any length and becomes
    ``float32(float(text))``; NaN and infinity, in letters or by size, make the row malformed. ``%`` begins a comment at
    the beginning of a line, and behind a blank, comma, brace or quote.

    Memory depends on the longest row and the batch, not on the file. Where the text is compressed, ``resume`` reads it
    again up to the position.
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
        super().__init__(source, on_error=on_error, rows=rows, name=name, n_events=n_events)
        try:
            self._header = read_header(self._reader)
            chosen = find_labels(self._header, labels, self._reader.path)
            self._data_offset = self._reader.offset
            written = self._first_row()
            self._layout = Layout(
                self._header.attributes,
                chosen,
                sparse=written == b"{" if rows is None else rows == "sparse",
                payload=self._payload_column(payload),
            )
            self._schema = self._layout.schema
            self._rows = RowReader(self._layout)
            self._mark_identifiers()
        except BaseException:
            self._reader.close()
            raise

    def _count(self) -> int | None:
        reader = self._reader
        return None if reader.path is None or reader.compression else _count_records(reader.path, self._data_offset)

    # Opening.

    def _first_row(self) -> bytes:
        """The byte that the first row begins with; passes over what stands before it."""
        reader = self._reader
        while True:
            stop = reader.whole_lines
            while reader.start < stop:
                end = reader.find_line_end(stop)
                line = reader.buffer[reader.start : end].tobytes()
                text = line.strip()
                if text and not text.startswith(b"%"):
                    return text[:1]
                reader.advance(len(line), 1)
            if reader.fill():
                continue
            if reader.failure is not None:
                raise reader.failure
            if reader.start == reader.stop:
                raise DecodeError(reader.name, "@data must be followed by rows, found none", line=reader.line)

    def _payload_column(self, payload: str | None) -> int:
        if payload is None:
            return -1
        column = self._header.find(payload)
        if column < 0 or self._header.attributes[column].kind != TEXT:
            found = "none of that name" if column < 0 else "another type"
            raise DecodeError(
                self._reader.name, f"payload {payload!r} must be a string attribute, found {found}", line=1
            )
        return column

    def _mark_identifiers(self) -> None:
        """Mark nominal features that number the rows as ignored (see the class's notes)."""
        schema, reader = self._schema, self._reader
        wanted = {
            feature: min(len(names), IDENTIFIER_RECORDS)
            for feature, names in schema.categories.items()
            if len(names) >= IDENTIFIER_CATEGORIES
        }
        if not wanted:
            return
        begin = reader.start
        codes: dict[int, list[NDArray[np.float32]]] = {feature: [] for feature in wanted}
        seen = 0
        # Nothing is taken from the reader, so that what is looked at here is still there to be read.
        while seen < max(wanted.values()):
            stop = reader.whole_lines
            if begin == stop:
                before = reader.start
                if stop - before > IDENTIFIER_BYTES or not (reader.fill() or (reader.ended and begin < reader.stop)):
                    break
                begin += reader.start - before
                continue
            part = self._rows.read(reader.buffer, begin, stop, MAX_ROWS)
            begin = self._rows.position
            if self._rows.status != kernel.DONE:
                begin = reader.find_line_end(stop, begin)
            seen += len(part)
            for feature, found in codes.items():
                x = part.x
                found.append(_column_of(x, feature) if isinstance(x, Rows) else x[:, feature].copy())
        for feature, found in codes.items():
            values = np.concatenate([*found, np.zeros(0, np.float32)])[: wanted[feature]]
            values = values[~np.isnan(values)]
            if 2 * len(values) >= wanted[feature] and len(np.unique(values)) == len(values):
                schema.ignored.add(feature)

    # Reading.

    def _read(self, wanted: int) -> tuple[Batch, str | None]:
        reader, rows = self._reader, self._rows
        stop = reader.whole_lines
        part = rows.read(reader.buffer, reader.start, stop, wanted)
        part.source = self._name
        part.offset = np.arange(self._record, self._record + len(part), dtype=np.int64)
        wrong = None if rows.status == kernel.DONE else self._wrong(stop)
        reader.advance(rows.position - reader.start, rows.n_lines)
        return part, wrong

    def _wrong(self, stop: int) -> str:
        """What is wrong with the row that the kernel stopped at."""
        reader, rows = self._reader, self._rows
        raw = reader.buffer[rows.position : reader.find_line_end(stop, rows.position)].tobytes()
        try:
            row = raw.decode().strip()
        except UnicodeDecodeError as error:
            return not_utf8("a row", raw, error)
        token = reader.buffer[rows.token : rows.token_end].tobytes().decode()
        n_columns, status = len(self._header.attributes), rows.status
        if status == kernel.COUNT:
            return f"expected {n_columns} values, found {_count_values(row)}"
        if status == kernel.INDEX:
            return (
                f"a sparse row must list column numbers below {n_columns} with a value each, found {shortened(token)}"
            )
        if status == kernel.ORDER:
            return f"column numbers of a sparse row must ascend, found {token} after {rows.column}"
        if status == kernel.BRACE:
            closed = "a sparse row must end with }" if row.startswith("{") else "a row must end here"
            return f"{closed}, found {shortened(token or row[-20:])}"
        if status == kernel.WEIGHT:
            return f"an event's weight must be a positive number in braces, found {shortened(token)}"
        attribute = self._header.attributes[rows.column]
        thing = f"{'label' if self._layout.columns['label'][rows.column] >= 0 else 'attribute'} {attribute.name!r}"
        rule = {
            kernel.BROKEN: "must be a finite number or ?",
            kernel.HUGE: "must be at most 3.4028235e38 in size",
            kernel.UNKNOWN: f"must be one of {shortened('{' + ', '.join(attribute.categories) + '}')}",
            kernel.EMPTY: "must have a value or ?",
            kernel.QUOTE: "must close its quote and then end",
            kernel.LABEL: "must be 0, 1 or ?",
        }[status]
        return f"{thing} {rule}, found {shortened(token) if token else 'none'}"


def _column_of(x: Rows, feature: int) -> NDArray[np.float32]:
    """One column of sparse rows, float32 (n,)."""
    column = np.zeros(len(x), np.float32)
    cells = np.flatnonzero(x.indices == feature)
    if x.data is not None:
        column[np.searchsorted(x.indptr, cells, "right") - 1] = x.data[cells]
    return column


def _count_values(row: str) -> int:
    """Values in a dense row, for a message."""
    bare = re.split(r"(?:^|[\s,])%", _QUOTED.sub("q", row))[0]
    return len(re.sub(r",\s*\{[^}]*\}?\s*$", "", bare).split(","))


def _count_records(path: Path, offset: int) -> int:
    """Lines behind ``offset`` that are neither empty nor comments."""
    count, before = 0, b"\n"
    with open(path, "rb") as file:
        file.seek(offset)
        while block := file.read(BLOCK):
            text = np.frombuffer(before + block, np.uint8)
            first = text[1:][text[:-1] == ord("\n")]
            count += len(first) - int(np.isin(first, np.frombuffer(b"\r\n%", np.uint8)).sum())
            before = block[-1:]
    return count
