"""Events as a Parquet, Arrow IPC or Feather file."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streams.batch import NOMINAL, PARTIAL, UNLABELLED, Batch, Rows, Schema
from streams.schema_file import METADATA_KEY, encode_schema
from streams.table_arrays import Fixed, extra_arrays, feature_arrays, payload_type
from streams.table_columns import Column, encode_roles
from streams.writing import EXTRAS, FileWriter

GROUP_CELLS, GROUP_ROWS = 1 << 22, 1 << 16
"""Rows are written together as many as hold so many cells: a row group, or a record batch."""

CELL = pa.struct([("index", pa.int32()), ("value", pa.float32())])
TAGS = pa.list_(pa.string())


class ColumnarWriter(FileWriter):
    """Writes events as a table that carries its schema.

    Parameters
    ----------
    path, schema
        See `FileWriter`. A ``.parquet`` file is Parquet, another one Arrow IPC, which is what Feather is.
    extras
        Which of known labels, key, time, weight and payload some events have; they are added to those of the first
        batch.

    Raises
    ------
    ColumnsGrewError
        After the first batch, the schema has grown or an event has something more than the first ones.
    ValueError
        Two labels are called the same when written as text, or payloads are text and bytes.

    Notes
    -----
    Dense features are a column each, of float32 or of a dictionary of categories. Sparse rows are one column
    ``features``, a list of ``{index, value}``. The labels present are a list of names, null where nothing is known;
    ``known`` lists those of which something is known where that is not all. Reading gives back equal events.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Schema, *, extras: Collection[str] = ()) -> None:
        super().__init__(path, schema)
        self._extras = extras
        self._fixed: Fixed | None = None
        self._waiting: list[Batch] = []
        self._group = min(max(GROUP_CELLS // max(schema.n_features, 1), 1024), GROUP_ROWS)

    def _begin(self, batch: Batch | None) -> Fixed:
        schema = self._schema
        self._labels = [str(name) for name in schema.label_names]
        if len(set(self._labels)) < len(self._labels):
            raise ValueError(f"{self._path.name}: labels must differ when written as text, got {schema.label_names}")
        fixed = Fixed(schema, self._extras, batch, EXTRAS)
        self._payload = pa.string() if batch is None else payload_type(batch)
        types: list[pa.DataType] = [CELL_LIST] if schema.sparse else _feature_types(schema)
        columns = (
            [Column("features", "cells")]
            if schema.sparse
            else [Column(name, "feature") for name in schema.feature_names]
        )
        columns += [Column("labels", "tags"), *fixed.extra_columns]
        types.append(TAGS)
        of_extras = {"known": TAGS, "key": pa.string(), "time": pa.int64(), "weight": pa.float64()}
        types += [of_extras.get(what, self._payload) for what in fixed.extras]
        names = _different([str(column.name) for column in columns])
        metadata = {METADATA_KEY: encode_schema(schema, {"roles": encode_roles(columns)})}
        self._arrow = pa.schema(list(zip(names, types, strict=True)), metadata)
        if self._path.suffix.lower() == ".parquet":
            self._file: Any = pq.ParquetWriter(self._partial, self._arrow)
        else:
            self._file = pa.ipc.new_file(str(self._partial), self._arrow)
        self._files.callback(self._file.close)
        return fixed

    def _append(self, batch: Batch) -> None:
        if self._fixed is None:
            self._fixed = self._begin(batch)
        self._fixed.check(batch, self._path.name)
        self._waiting.append(batch)
        if sum(map(len, self._waiting)) >= self._group:
            self._write_group()

    def _write_group(self) -> None:
        assert self._fixed is not None
        batch = Batch.concat(self._waiting)
        self._waiting = []
        x, extras = batch.x, self._fixed.extras
        try:
            arrays = [_cells(x)] if isinstance(x, Rows) else feature_arrays(batch)
            arrays.append(self._names(batch.y, batch.label_state == UNLABELLED))
            if "known" in extras:
                known = batch.known if batch.known is not None else Rows.empty(len(batch))
                arrays.append(self._names(known, batch.label_state != PARTIAL))
            arrays += extra_arrays(batch, extras, self._payload)
            arrays = [
                array if array.type == field.type else array.cast(field.type)
                for array, field in zip(arrays, self._arrow, strict=True)
            ]
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"{self._path.name}: payloads must all be text or all bytes, got {error}") from None
        self._file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._arrow))

    def _names(self, rows: Rows, nothing: NDArray[np.bool_]) -> pa.Array:
        """The names of labels, a list a row, null where ``nothing``."""
        names = pa.array(self._labels, pa.string()).take(pa.array(rows.indices))
        return pa.ListArray.from_arrays(rows.indptr.astype(np.int32), names, mask=pa.array(nothing))

    def _finish(self) -> None:
        if self._fixed is None:
            self._fixed = self._begin(None)
        if self._waiting:
            self._write_group()
        self._file.close()


CELL_LIST = pa.list_(CELL)


def _feature_types(schema: Schema) -> list[pa.DataType]:
    nominal = pa.dictionary(pa.int32(), pa.string())
    return [nominal if kind == NOMINAL else pa.float32() for kind in schema.kinds]


def _cells(rows: Rows) -> pa.Array:
    """The listed cells of sparse rows; a missing value is null."""
    data = np.ones(len(rows.indices), np.float32) if rows.data is None else rows.data
    missing = np.isnan(data)
    values = pa.array(data, mask=missing if missing.any() else None)
    cells = pa.StructArray.from_arrays([pa.array(rows.indices), values], fields=list(CELL))
    return pa.ListArray.from_arrays(rows.indptr.astype(np.int32), cells)


def _different(names: list[str]) -> list[str]:
    """Names of columns, with marks behind those that came before."""
    found: dict[str, None] = {}
    for name in names:
        while name in found:
            name += "_"
        found[name] = None
    return list(found)
