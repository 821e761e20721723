"""Records of a delimited text, parsed by pyarrow a block at a time and, where that fails, in ever smaller pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from streams.arff_header import not_utf8, shortened
from streams.delimited_records import Records, split_fields
from streams.table_columns import Column, fault_reason

MISSING = ("", "?", "NA", "N/A", "null", "NULL")
"""Fields that mean a missing value."""

TRUE = ("1", "1.0", "true", "True", "TRUE")
FALSE = ("0", "0.0", "false", "False", "FALSE")
"""What a label's or a truth value's field may hold."""


_BLOCK = 1 << 20


class Piece(NamedTuple):
    """Records ``begin`` to ``end`` of a block as a table: the columns by number."""

    begin: int
    end: int
    columns: dict[int, pa.Array]


class DelimitedParser:
    """Turns records into columns of given types.

    Parameters
    ----------
    n_columns
        Fields that a record must have.
    types
        Arrow type of every column that is to be read, by number. None: all of them, as pyarrow finds them to be.
    delimiter
        What parts fields.
    quoted_missing
        Whether a quoted field can mean a missing value too.
    """

    def __init__(
        self, n_columns: int, types: Mapping[int, pa.DataType] | None, delimiter: str, *, quoted_missing: bool
    ) -> None:
        self.n_columns, self.delimiter = n_columns, delimiter
        self.types = dict(types or {})
        self._names = [str(number) for number in range(n_columns)]
        self._convert = pacsv.ConvertOptions(
            column_types={str(number): kind for number, kind in self.types.items()},
            # Without any name here pyarrow reads all columns.
            include_columns=[] if types is None else [str(number) for number in types] or ["0"],
            null_values=list(MISSING),
            true_values=list(TRUE),
            false_values=list(FALSE),
            strings_can_be_null=True,
            quoted_strings_can_be_null=quoted_missing,
        )

    def parse(self, text: NDArray[np.uint8], records: Records) -> tuple[list[Piece], list[int]]:
        """Tables of all records that can be read, in order, and the numbers of those that cannot."""
        pieces: list[Piece] = []
        faults: list[int] = []
        begin = 0
        for end in [*np.flatnonzero(~records.closed).tolist(), len(records)]:
            self._parse(text, records, begin, end, pieces, faults)
            if end < len(records):
                faults.append(end)
            begin = end + 1
        return pieces, faults

    def _parse(
        self, text: NDArray[np.uint8], records: Records, begin: int, end: int, pieces: list[Piece], faults: list[int]
    ) -> None:
        if begin >= end:
            return
        columns = self._columns(text[records.starts[begin] : records.ends[end - 1]], end - begin, records.quoted)
        if columns is not None:
            pieces.append(Piece(begin, end, columns))
        elif end - begin == 1:
            faults.append(begin)
        else:
            middle = (begin + end) // 2
            self._parse(text, records, begin, middle, pieces, faults)
            self._parse(text, records, middle, end, pieces, faults)

    def _columns(
        self, text: NDArray[np.uint8], n: int, quoted: bool, convert: pacsv.ConvertOptions | None = None
    ) -> dict[int, pa.Array] | None:
        """The columns of ``n`` records; None if they cannot be read together."""
        # Blocks in parallel, unless that leaves less than one for each of two cores.
        block = _BLOCK if len(text) >= 2 * _BLOCK else len(text) + 1
        try:
            table = pacsv.read_csv(
                pa.BufferReader(pa.py_buffer(text)),
                read_options=pacsv.ReadOptions(column_names=self._names, block_size=block),
                parse_options=pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=quoted),
                convert_options=convert or self._convert,
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != n:
            return None
        return {int(name): _one_array(column) for name, column in zip(table.column_names, table.columns, strict=True)}

    def explain(self, raw: bytes, closed: bool, columns: list[Column], wrong: int | None) -> str:
        """Why a record cannot be read.

        Parameters
        ----------
        raw
            The record.
        closed
            Whether its quotes are closed.
        columns
            What the columns are.
        wrong
            Number of the column at fault, where that is known.
        """
        try:
            record = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            return not_utf8("a row", raw, error)
        if not closed:
            return f"a quoted field must be closed, found {shortened(record)}"
        fields = split_fields(record, self.delimiter)
        if len(fields) != self.n_columns:
            return f"expected {self.n_columns} values, found {len(fields)}"
        if not self._is_readable(raw, 0, pa.string()):
            return f"a row must be one line of text, found a carriage return in {shortened(record)}"
        if wrong is None:
            wrong = next(number for number, kind in self.types.items() if not self._is_readable(raw, number, kind))
        return fault_reason(columns[wrong], shortened(fields[wrong]))

    def _is_readable(self, raw: bytes, number: int, kind: pa.DataType) -> bool:
        """Whether a field of a record is of a type."""
        names = ("null_values", "true_values", "false_values", "strings_can_be_null", "quoted_strings_can_be_null")
        options = {name: getattr(self._convert, name) for name in names}
        convert = pacsv.ConvertOptions(column_types={str(number): kind}, include_columns=[str(number)], **options)
        return self._columns(np.frombuffer(raw, np.uint8), 1, True, convert) is not None


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
