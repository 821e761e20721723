"""Parquet and Arrow files as a source of events."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset

from streams.arff_header import shortened
from streams.batch import Batch, DeadLetter, Name, Rows, Schema
from streams.schema_file import METADATA_KEY, decode_schema
from streams.source import DecodeError, Position
from streams.table_batches import DecodedTable, TableDecoder, is_string
from streams.table_columns import SAMPLED, Declared, decode_roles, fault_reason, make_schema, select_columns
from streams.table_types import arrow_columns, known_categories
from streams.text import stem
from streams.text_source import OnError, RowKind

CELLS_AT_ONCE, MOST_ROWS = 1 << 20, 1 << 16
"""Rows are decoded as many at a time as hold so many cells."""

WHOLE_GROUP = 1 << 25
"""A Parquet row group of at most so many bytes is read whole, which takes a fifth less time."""

PARQUET_MAGIC, ARROW_MAGIC = b"PAR1", b"ARROW1"


class ColumnarSource:
    """Events of a Parquet, Arrow IPC or Feather file, a row each.

    Parameters
    ----------
    source
        A path. Parquet and Arrow are told by the first bytes.
    labels
        Which columns are labels, of truth values or of 0 and 1 (null: unknown): ``first:6``, ``last:14``, names parted
        by commas, or a sequence of names. Or one column of tags, ``tags:COLUMN``: lists of texts or whole numbers, or
        text that blanks, commas, semicolons or pipes part (``tags:COLUMN:SEPARATOR`` for another one); a null is an
        event of which no label is known. Empty or ``none``: there are none. None: as the file's metadata say.
    on_error
        ``fail``: a row with a value that cannot be raises `DecodeError`, after the events before it were handed out.
        ``skip``: it becomes a dead letter, with the row as JSON.
    payload
        Name of a column of text or bytes to hand out as ``Batch.payload``.
    rows
        ``dense`` or ``sparse``; None: as the file's metadata say, else dense.
    name
        What to call the source; by default the file's name without its endings.
    n_events
        Not needed, as the file tells it.
    columns
        What columns are, by name: ``numeric``, ``nominal``, ``text`` (ignored), ``key``, ``time`` (milliseconds since
        1970 or timestamps), ``weight`` or ``unused``. Others are told by their types.

    Raises
    ------
    DecodeError
        The file is damaged or of another format, or neither its metadata nor the caller say what is a label.
    ValueError
        A column that is named is not there, or is to be two things, or is of a type that cannot be what it is to be.

    Notes
    -----
    Numbers and truth values are numeric features; a null is a missing value, and NaN and infinity make the row
    malformed. Dictionaries of strings are nominal features, and so are strings that look like categories in the first
    1,000 rows (as `DelimitedSource` has it); other strings and other types are ignored features, missing in every row.

    A file of `ColumnarWriter` says in its metadata what its columns are, and may list the cells of sparse rows in one
    column. That is not looked at where ``labels`` or ``columns`` are given.

    Rows are decoded about a million cells at a time, of one row group or record batch, whatever the length of the
    file. ``resume`` passes over whole row groups and reads up to the row in one.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        labels: str | Sequence[Name] | None = None,
        on_error: OnError = "fail",
        payload: str | None = None,
        rows: RowKind | None = None,
        name: str | None = None,
        n_events: int | None = None,
        columns: Mapping[Any, Declared] | None = None,
    ) -> None:
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error must be 'fail' or 'skip', got {on_error!r}")
        if rows not in (None, "dense", "sparse"):
            raise ValueError(f"rows must be 'dense', 'sparse' or None, got {rows!r}")
        self._path = Path(source)
        self._name = name or stem(self._path)
        self._on_error, self._wanted_rows = on_error, rows
        self._file = _open(self._path)
        try:
            self._settle(labels, payload, columns)
        except BaseException as error:
            self.close()
            if isinstance(error, (pa.ArrowException, OSError)):
                raise DecodeError(self._path.name, f"a file must be intact, found {error}") from None
            raise
        self._go_to(0)

    @property
    def name(self) -> str:
        """What to call the source in results."""
        return self._name

    @property
    def path(self) -> Path:
        """The file that is read."""
        return self._path

    @property
    def schema(self) -> Schema:
        """Names of the columns; grows by categories and tags."""
        return self._schema

    @property
    def n_events(self) -> int:
        """Rows in the file, broken ones too."""
        return self._file.n_rows

    # Opening.

    def _settle(
        self, labels: str | Sequence[Name] | None, payload: str | None, columns: Mapping[Any, Declared] | None
    ) -> None:
        schema = self._file.schema
        names = schema.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DecodeError(self._path.name, f"columns must differ, found {twice!r} twice")
        written = (schema.metadata or {}).get(METADATA_KEY)
        if labels is None and columns is None and written is not None:
            self._schema, notes = decode_schema(written, self._path.name)
            try:
                self._columns = decode_roles(notes["roles"], self._schema, names)
            except (LookupError, TypeError, ValueError) as error:
                reason = f"a table must have the columns that its metadata tell, found: {error}"
                raise DecodeError(self._path.name, reason) from None
            tag_names = {str(label): number for number, label in enumerate(self._schema.label_names)}
            self._decoder = TableDecoder(self._columns, self._schema, tag_names=tag_names)
        else:
            if labels is None and columns is None:
                raise DecodeError(
                    self._path.name,
                    "labels of a table must be told by its metadata or by labels=first:N, last:N, names, "
                    "tags:COLUMN or none, found neither",
                )
            selection = select_columns(names, labels=labels or (), payload=payload, columns=columns)
            arrays = self._first_strings(schema)
            self._columns = arrow_columns(schema, selection, arrays)
            sparse = self._wanted_rows == "sparse"
            categories = known_categories(self._columns, arrays)
            self._schema = make_schema(self._columns, sparse=sparse, categories=categories)
            self._decoder = TableDecoder(self._columns, self._schema, separator=selection.separator)
        if self._wanted_rows is not None and "cells" not in self._decoder.single:
            self._schema.sparse = self._wanted_rows == "sparse"
        needed = {n for n, c in enumerate(self._columns) if c.role != "unused" and (c.role != "feature" or c.kind)}
        self._needed = [names[number] for number in sorted(needed)]

    def _first_strings(self, schema: pa.Schema) -> list[Any]:
        """The first values of the columns of strings, None for other columns: their types tell all."""
        names = [field.name for field in schema if is_string(field.type)]
        sample = next(self._file.batches(0, names, SAMPLED), None) if names else None
        if sample is None:
            return [None] * len(schema)
        found = dict(zip(sample.schema.names, sample.columns, strict=True))
        return [found.get(name) for name in schema.names]

    def _batches(self, row: int, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        most = min(max(CELLS_AT_ONCE // max(len(names), 1), 256), MOST_ROWS)
        return self._file.batches(row, names, most)

    # Reading.

    def _go_to(self, row: int) -> None:
        self._row = row
        self._pieces = self._batches(row, self._needed)
        self._piece: pa.RecordBatch | None = None
        self._table: DecodedTable | None = None
        self._next = 0
        self._ended = False
        self._failure: str | None = None

    def _load(self) -> bool:
        """Whether there are rows left that can be had; decodes the next ones where there are none waiting."""
        while self._table is None or self._next == len(self._table):
            self._piece = next(self._pieces, None)
            if self._piece is None:
                return False
            arrays = dict(zip(self._piece.schema.names, self._piece.columns, strict=True))
            columns = [arrays.get(name) for name in self._file.schema.names]
            self._table, self._next = self._decoder.decode(columns, self._piece.num_rows), 0
            self._faults = self._table.faults
        return True

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events`` with the dead letters between them, or None at the end."""
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        parts: list[Batch] = []
        dead: list[DeadLetter] = []
        wanted = max_events
        while wanted > 0 and not self._ended:
            try:
                if self._failure is None and not self._load():
                    break
            except (pa.ArrowException, OSError) as error:
                self._failure = f"a file must be intact, found {error}"
            if self._failure is not None:
                reason, raw = self._failure, b""
                self._ended = self._on_error == "skip"
            else:
                part = self._take(wanted)
                if part is not None:
                    parts.append(part)
                    wanted -= len(part)
                    continue
                reason, raw = self._reason()
            if self._on_error == "fail":
                if parts:
                    break
                raise DecodeError(self._path.name, reason, offset=self._row)
            dead.append(DeadLetter(self._name, self._row, reason, raw))
            self._next += 1
            self._row += 1
            wanted -= 1
        if not parts and not dead:
            return None
        batch = Batch.concat(parts) if len(parts) > 1 else parts[0] if parts else self._empty()
        batch.dead = dead
        return batch

    def _take(self, wanted: int) -> Batch | None:
        """Events up to the next malformed row; None if that is the next."""
        assert self._table is not None
        begin = self._next
        while self._faults and self._faults[0][0] < begin:
            self._faults = self._faults[1:]
        end = min(len(self._table), begin + wanted, self._faults[0][0] if self._faults else begin + wanted)
        if end == begin:
            return None
        batch = self._table.batch(begin, end)
        batch.source = self._name
        batch.offset = np.arange(self._row, self._row + len(batch), dtype=np.int64)
        self._next = end
        self._row += len(batch)
        return batch

    def _reason(self) -> tuple[str, bytes]:
        """What is wrong with the next row, and the row as JSON."""
        assert self._piece is not None
        row = self._piece.slice(self._next, 1).to_pylist()[0]
        number = self._faults[0][1]
        found = row[self._file.schema.names[number]]
        column = self._columns[number]
        text = "other cells" if column.role == "cells" else shortened(found) if isinstance(found, str) else repr(found)
        return fault_reason(column, text), json.dumps(row, ensure_ascii=False, default=str).encode()

    def _empty(self) -> Batch:
        x = Rows.empty(0, values=True) if self._schema.sparse else np.zeros((0, self._schema.n_features), np.float32)
        return Batch(self._schema, x, Rows.empty(0), np.zeros(0, np.uint8), source=self._name)

    def position(self) -> Position:
        """The number of the next row, and the schema so far."""
        return {"offset": self._row, "schema": self._schema.to_json()}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken in the same file."""
        offset = int(position["offset"])
        if not 0 <= offset <= self.n_events:
            raise ValueError(f"{self._path.name}: position must lie in the {self.n_events} rows, got {offset}")
        self._go_to(offset)
        self._schema.extend(Schema.from_json(position["schema"]))

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


class _File(Protocol):
    """A file that gives record batches from any row on."""

    schema: pa.Schema
    n_rows: int

    def batches(self, row: int, names: Sequence[str], most: int) -> Iterator[pa.RecordBatch]:
        """What follows from ``row`` on, the columns of these names, at most ``most`` rows at a time."""

    def close(self) -> None:
        """Close the file; may be called twice."""


def _open(path: Path) -> _File:
    with open(path, "rb") as file:
        magic = file.read(len(ARROW_MAGIC))
    try:
        if magic.startswith(PARQUET_MAGIC):
            return _Parquet(path)
        if magic.startswith(ARROW_MAGIC):
            return _Arrow(path)
    except (pa.ArrowException, OSError) as error:
        raise DecodeError(path.name, f"a file must be intact, found {error}") from None
    raise DecodeError(path.name, f"a file must be Parquet or Arrow IPC, found {magic!r} at its beginning")


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self.schema = self._file.schema_arrow
        self.n_rows = self._file.metadata.num_rows

    def batches(self, row: int, names: Sequence[str], most: int) -> Iterator[pa.RecordBatch]:
        metadata = self._file.metadata
        columns = None if len(names) == len(self.schema.names) else list(names)
        for group in range(metadata.num_row_groups):
            n_rows = metadata.row_group(group).num_rows
            if row >= n_rows:
                row -= n_rows
                continue
            # Group by group, so that damage in one of them does not cost the rows of another.
            if metadata.row_group(group).total_byte_size <= WHOLE_GROUP:
                pieces = iter(self._file.read_row_group(group, columns=columns).to_batches(max_chunksize=most))
            else:
                pieces = self._file.iter_batches(most, row_groups=[group], columns=columns)
            for batch in pieces:
                if row < batch.num_rows:
                    yield batch.slice(row)
                row = max(row - batch.num_rows, 0)

    def close(self) -> None:
        self._file.close()


class _Arrow:
    def __init__(self, path: Path) -> None:
        self._map = pa.memory_map(str(path))
        self._file = pa.ipc.open_file(self._map)
        self.schema = self._file.schema
        # The file's index does not tell the rows; this reads no more than the head of each batch.
        self.n_rows = dataset(str(path), format="ipc").count_rows()

    def batches(self, row: int, names: Sequence[str], most: int) -> Iterator[pa.RecordBatch]:
        for i in range(self._file.num_record_batches):
            batch = self._file.get_batch(i)
            if row < batch.num_rows:
                batch = batch.slice(row)
                if len(names) < len(self.schema.names):
                    batch = batch.select(list(names))
                for begin in range(0, batch.num_rows, most):
                    yield batch.slice(begin, most)
                row = 0
            else:
                row -= batch.num_rows

    def close(self) -> None:
        self._map.close()
