"""CSV and TSV files as a source of events."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from streams.batch import Batch, DeadLetter, Name, Rows, Schema
from streams.delimited_header import (
    STRING,
    column_names,
    decide_columns,
    find_delimiter,
    is_header,
    known_types,
    needs_sample,
    possible_delimiters,
)
from streams.delimited_parser import DelimitedParser
from streams.delimited_records import Records, find_records, split_fields
from streams.schema_file import SchemaFile, find_schema_file
from streams.source import DecodeError, Position
from streams.table_batches import DecodedTable, TableDecoder, is_number
from streams.table_columns import SAMPLED, Declared, decode_roles, make_schema, select_columns
from streams.text import COMPRESSED_ENDINGS, TextReader
from streams.text_source import OnError, RowKind, TextSource

PARSED = 1 << 22
"""Bytes that are parsed together; fewer make pyarrow's work for each column count for more."""

_SAMPLED_BYTES = 1 << 20
_SAMPLED_RECORDS = 20


class DelimitedSource(TextSource):
    """Events of a CSV or TSV file: plain, gzip or zstd, a path or ``-`` for standard input.

    Parameters
    ----------
    source
        A path, ``-``, an open binary stream, or a `TextReader`.
    labels
        Which columns are labels of 0 and 1 (or true and false; empty: unknown): ``first:6``, ``last:14``, names parted
        by commas, a sequence of names, or a Mulan ``.xml`` file. Or one column of tags, ``tags:COLUMN`` or
        ``tags:COLUMN:SEPARATOR``, each tag a label that joins when it is met; by default blanks, commas, semicolons
        and pipes part them. Empty or ``none``: there are none. None: as the schema file beside the file says.
    on_error
        ``fail``: a record that cannot be read raises `DecodeError`, after the events before it were handed out.
        ``skip``: it becomes a dead letter.
    payload
        Name of a column of text to hand out as ``Batch.payload``.
    rows
        ``dense`` or ``sparse``; None: as the schema file says, else dense.
    name
        What to call the source; by default the file's name without its endings.
    n_events
        How many events there will be, where the caller knows; counted on request in a plain file.
    columns
        What columns are, by name: ``numeric``, ``nominal``, ``text`` (ignored), ``key``, ``time`` (milliseconds since
        1970 or timestamps), ``weight`` or ``unused``. Others are told by the first records.
    delimiter
        What parts fields. None: a tab in a ``.tsv`` file, else the one of comma, tab and semicolon that parts most.
    header
        Whether the first record has the names. None: it has if it looks so. Columns without a name are called ``x0``,
        ``x1``, … and may be named by number, from 0.
    tag_names
        Names of the labels whose numbers, from 0, are the tags.

    Raises
    ------
    DecodeError
        The file is empty or damaged, or no schema file says what is a label and the caller does not either.
    ValueError
        A column that is named is not there, or is to be two things.

    Notes
    -----
    A field in quotes may hold delimiters, line ends, and quotes written twice; a quote elsewhere than at a field's
    beginning is a character. Lines of blanks are passed over. An empty field, ``?``, ``NA``, ``N/A``, ``null`` and
    ``NULL`` are missing, of tags an empty set. A number becomes the float32 next to
    it, which must be finite: a literal NaN or infinity makes the record malformed, as do a word in a column of numbers
    and too few or too many fields.

    What a column holds is told by the first 1,000 records (as far as they stand in the first MiB; of a pipe by the
    first one): numbers, if nine in ten values are; truth values; else categories, if it has at most 10 different
    values, or at most 100 of which the average one comes twice, none of them longer than 64 characters. Any other
    column is text: a feature that is ignored and missing in every row, unless it is the payload. A column of nothing
    but missing values is numeric. A category or a tag gets its number when it is first met.

    A schema file (`streams.schema_file`) beside the file, which a writer leaves there, tells all of this; it is not
    looked at where ``labels`` or ``columns`` are given.

    Blocks of 4 MiB are parsed together by pyarrow; a block with a fault is halved until the record is found, which
    takes about two readings of the block for one fault. Memory depends on the block and the longest record, not on the
    file. Where the text is compressed, ``resume`` reads it again up to the position.

    Examples
    --------
    >>> import io
    >>> source = DelimitedSource(io.BytesIO(b"size,colour,ripe,sweet\\n1.5,red,1,0\\n,green,0,\\n"), labels="last:2")
    >>> batch = source.next_batch()
    >>> batch.x.tolist(), batch.label_state.tolist(), source.schema.categories
    ([[1.5, 0.0], [nan, 1.0]], [2, 1], {1: ['red', 'green']})
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO | TextReader,
        *,
        labels: str | Sequence[Name] | None = None,
        on_error: OnError = "fail",
        payload: str | None = None,
        rows: RowKind | None = None,
        name: str | None = None,
        n_events: int | None = None,
        columns: Mapping[Any, Declared] | None = None,
        delimiter: str | None = None,
        header: bool | None = None,
        tag_names: Sequence[Name] | None = None,
    ) -> None:
        super().__init__(source, on_error=on_error, rows=rows, name=name, n_events=n_events)
        try:
            if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n ' or not delimiter.isascii()):
                raise ValueError(
                    f"delimiter must be one ASCII character other than a quote or blank, got {delimiter!r}"
                )
            described = None
            if labels is None and columns is None:
                described = find_schema_file(self._reader.path)
                if described is None:
                    raise DecodeError(
                        self._reader.name,
                        "labels of a table must be told by a schema file beside it or by labels=first:N, last:N, "
                        "names, tags:COLUMN or none, found neither",
                        line=1,
                    )
            elif labels is None:
                labels = ()
            samples = {
                each: self._first_lines(each) for each in delimiter or possible_delimiters(_ending(self._reader.name))
            }
            self._delimiter = find_delimiter(samples)
            lines = samples[self._delimiter]
            has_header = header
            first = split_fields(lines[0], self._delimiter)
            if has_header is None:
                rest = [split_fields(line, self._delimiter) for line in lines[1:]]
                has_header = described is not None or is_header(first, rest)
            if has_header:
                self._pass_over_first()
            self._data_offset = self._reader.offset
            if described is not None:
                self._describe(described, [name.strip() for name in first])
            else:
                try:
                    names = column_names(first if has_header else None, len(first))
                except ValueError as error:
                    raise DecodeError(self._reader.name, str(error), line=1) from None
                self._look(names, labels, payload, columns, tag_names, numbered=not has_header)
        except BaseException:
            self.close()
            raise
        self._drop()

    # Opening.

    def _first_lines(self, delimiter: str) -> list[str]:
        """The first records as text, left in the buffer to be read; of a pipe one."""
        records = self._sample(delimiter=delimiter, most=_SAMPLED_RECORDS)
        if not len(records):
            raise self._reader.failure or DecodeError(
                self._reader.name, "a file must hold at least one record, found blank lines", line=self._reader.line
            )
        text = self._reader.buffer
        return [
            text[begin:end].tobytes().decode(errors="replace").rstrip("\r\n")
            for begin, end in zip(records.starts.tolist(), records.ends.tolist(), strict=True)
        ]

    def _sample(self, *, delimiter: str, most: int) -> Records:
        """The next records, at most ``most`` and one of a pipe, without taking them."""
        reader = self._reader
        if reader.is_live:
            most = 1
        while True:
            full = reader.stop - reader.start >= _SAMPLED_BYTES
            records = find_records(
                reader.buffer, reader.start, reader.stop, ended=reader.ended, delimiter=delimiter, most=most
            )
            if len(records) >= most or (full and len(records)) or not (reader.fill() or self._just_ended(records)):
                return records

    def _just_ended(self, records: Records) -> bool:
        """Whether the end of the text has been seen since, so that what is left is a record."""
        return self._reader.ended and records.stop < self._reader.stop

    def _pass_over_first(self) -> None:
        records = self._sample(delimiter=self._delimiter, most=1)
        self._reader.advance(int(records.ends[0]) - self._reader.start, int(records.lines[0, 1]))

    def _describe(self, described: SchemaFile, names: Sequence[Name]) -> None:
        """Columns as the schema file has them."""
        self._schema = described.schema
        try:
            self._columns = decode_roles(described.columns["roles"], self._schema, names)
        except (LookupError, TypeError, ValueError) as error:
            raise DecodeError(
                self._reader.name,
                f"a table must have the columns that {described.path.name} tells, found: {error}",
                line=1,
            ) from None
        if self._wanted_rows is not None:
            self._schema.sparse = self._wanted_rows == "sparse"
        self._parser = DelimitedParser(len(names), known_types(self._columns), self._delimiter, quoted_missing=False)
        tag_names = {str(label): number for number, label in enumerate(self._schema.label_names)}
        self._decoder = TableDecoder(self._columns, self._schema, tag_names=tag_names, no_tags_known=True)

    def _look(
        self,
        names: list[Name],
        labels: str | Sequence[Name] | None,
        payload: str | None,
        columns: Mapping[Any, Declared] | None,
        tag_names: Sequence[Name] | None,
        *,
        numbered: bool,
    ) -> None:
        """Columns as the caller and the first records have them."""
        selection = select_columns(names, labels=labels, payload=payload, columns=columns, numbered=numbered)
        if tag_names is not None and selection.tags < 0:
            raise ValueError(f"tag_names must come with labels='tags:COLUMN', got labels={labels!r}")
        sample = self._first_values(len(names), [n for n in range(len(names)) if needs_sample(n, selection)])
        self._columns, types = decide_columns(names, selection, sample)
        self._schema = make_schema(self._columns, sparse=self._wanted_rows == "sparse")
        numbers = None
        if tag_names is not None:
            for label in tag_names:
                self._schema.label_id(label)
            numbers = {str(number): number for number in range(len(tag_names))}
        self._parser = DelimitedParser(len(names), types, self._delimiter, quoted_missing=True)
        self._decoder = TableDecoder(
            self._columns, self._schema, separator=selection.separator, tag_names=numbers, no_tags_known=True
        )

    def _first_values(self, n_columns: int, wanted: list[int]) -> dict[int, pa.Array]:
        """The first values of some columns: numbers where all are, else strings."""
        records = self._sample(delimiter=self._delimiter, most=SAMPLED)
        text = self._reader.buffer
        # Most tables are of numbers alone and without a fault, which this finds out at little cost.
        pieces, _ = DelimitedParser(n_columns, None, self._delimiter, quoted_missing=True).parse(text, records)
        found = pieces[0].columns if len(pieces) == 1 and pieces[0].end == len(records) else {}
        sample = {number: found[number] for number in wanted if number in found and is_number(found[number].type)}
        types = {number: STRING for number in wanted if number not in sample}
        pieces, _ = DelimitedParser(n_columns, types, self._delimiter, quoted_missing=True).parse(text, records)
        empty = pa.array([], STRING)
        return sample | {
            number: pa.concat_arrays([empty, *(piece.columns[number] for piece in pieces)]) for number in types
        }

    # Reading.

    def _drop(self) -> None:
        """Forget the records that were parsed ahead."""
        self._records: Records | None = None
        self._pieces: list[tuple[int, int, DecodedTable]] = []
        self._reasons: dict[int, int | None] = {}
        self._next = 0

    def _readable(self) -> bool:
        if self._records is not None:
            return True
        reader = self._reader
        while reader.stop - reader.start < PARSED and reader.fill(0):
            pass
        records = find_records(reader.buffer, reader.start, reader.stop, ended=reader.ended, delimiter=self._delimiter)
        if records.stop == reader.start:
            return False
        self._records, self._next, self._line = records, 0, reader.line
        pieces, faults = self._parser.parse(reader.buffer, records)
        self._reasons = dict.fromkeys(faults)
        self._pieces = []
        for begin, end, arrays in pieces:
            table = self._decoder.decode([arrays.get(number) for number in range(len(self._columns))], end - begin)
            self._pieces.append((begin, end, table))
            self._reasons.update((begin + row, column) for row, column in table.faults)
        self._stops = sorted(self._reasons)
        return True

    def _read(self, wanted: int) -> tuple[Batch, str | None]:
        records, begin = self._records, self._next
        if records is None or wanted == 0 or begin == len(records):
            if records is not None and begin == len(records):
                self._pass_over(begin)
            return self._empty(), None
        if begin in self._reasons:
            self._advance(int(records.starts[begin]), int(records.lines[begin, 0]))
            return self._empty(), self._reason(records, begin)
        while self._pieces[0][1] <= begin:
            self._pieces.pop(0)
        first, end, table = self._pieces[0]
        while self._stops and self._stops[0] < begin:
            self._stops.pop(0)
        end = min(end, begin + wanted, self._stops[0] if self._stops else end)
        batch = table.batch(begin - first, end - first)
        batch.source = self._name
        batch.offset = np.arange(self._record, self._record + len(batch), dtype=np.int64)
        self._pass_over(end)
        return batch, None

    def _empty(self) -> Batch:
        x = Rows.empty(0, values=True) if self._schema.sparse else np.zeros((0, self._schema.n_features), np.float32)
        return Batch(self._schema, x, Rows.empty(0), np.zeros(0, np.uint8), source=self._name)

    def _reason(self, records: Records, number: int) -> str:
        raw = self._reader.buffer[records.starts[number] : records.ends[number]].tobytes()
        return self._parser.explain(raw, bool(records.closed[number]), self._columns, self._reasons[number])

    def _skipped(self, reason: str) -> DeadLetter:
        records, number = self._records, self._next
        assert records is not None
        raw = self._reader.buffer[records.starts[number] : records.ends[number]].tobytes()
        letter = DeadLetter(self._name, self._record, reason, raw.rstrip(b"\r\n"), self._reader.line)
        self._pass_over(number + 1)
        self._record += 1
        return letter

    def _pass_over(self, number: int) -> None:
        """Take the records before this one from the buffer; with the last of them the block ends."""
        records = self._records
        assert records is not None
        self._next = number
        if number < len(records):
            self._advance(int(records.ends[number - 1]), int(records.lines[number - 1, 1]))
        else:
            self._advance(records.stop, records.n_lines)
            self._drop()

    def _advance(self, place: int, n_lines: int) -> None:
        """Take what stands before ``place``, which is ``n_lines`` lines into the block."""
        reader = self._reader
        reader.advance(place - reader.start, self._line + n_lines - reader.line)

    def position(self) -> Position:
        """Where the next event begins, and the schema so far."""
        return {**super().position(), "schema": self._schema.to_json()}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken in the same text."""
        super().resume(position)
        self._drop()
        self._schema.extend(Schema.from_json(position["schema"]))

    def _count(self) -> int | None:
        path = self._reader.path
        if path is None or self._reader.compression:
            return None
        reader, count = TextReader(path), 0
        reader.seek(self._data_offset, 1)
        while True:
            while reader.stop - reader.start < PARSED and reader.fill():
                pass
            records = find_records(
                reader.buffer, reader.start, reader.stop, ended=reader.ended, delimiter=self._delimiter
            )
            count += len(records)
            reader.advance(records.stop - reader.start, 0)
            if reader.failure is not None or (reader.ended and reader.start == reader.stop):
                reader.close()
                return count


def _ending(name: str) -> str:
    name = name.lower()
    for ending in COMPRESSED_ENDINGS:
        name = name.removesuffix(ending)
    return Path(name).suffix
