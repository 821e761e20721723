"""Events as a CSV or TSV file."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from streams.batch import PARTIAL, UNLABELLED, Batch, Rows, Schema
from streams.schema_file import write_schema_file
from streams.table_arrays import Fixed, extra_arrays, feature_arrays
from streams.table_columns import Column, encode_roles
from streams.writing import FileWriter, writer_ending

_EXTRAS = ("key", "time", "weight", "payload")


class DelimitedWriter(FileWriter):
    """Writes events as a table with a head: a column for every feature, one of 0 and 1 for every label.

    Parameters
    ----------
    path, schema
        See `FileWriter`. A ``.tsv`` file is parted by tabs, others by commas.
    extras
        Which of key, time, weight and payload some events have; they are added to those of the first batch.

    Raises
    ------
    ColumnsGrewError
        After the first batch, the schema has grown or an event has something more than the first ones.
    ValueError
        A payload is bytes.

    Notes
    -----
    A missing value and a label of which nothing is known are empty fields. Text stands in quotes, so that a category
    ``NA`` does not look missing. Sparse rows are written out, zeros too; the schema file beside the file keeps that
    they were sparse, as well as the kinds of the columns. Reading gives back equal events, but for one: a partly
    labelled event of which every label is known comes back as wholly labelled.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Schema, *, extras: Collection[str] = ()) -> None:
        super().__init__(path, schema)
        self._delimiter = "\t" if writer_ending(path) == ".tsv" else ","
        self._extras = set(extras) & set(_EXTRAS)
        self._fixed: Fixed | None = None
        self._text = self._open_text()

    def _begin(self, batch: Batch | None) -> Fixed:
        schema = self._schema
        fixed = Fixed(schema, self._extras, batch, _EXTRAS)
        columns = [
            *(Column(name, "feature") for name in schema.feature_names),
            *(Column(name, "label") for name in schema.label_names),
            *fixed.extra_columns,
        ]
        if len(columns) < 2:
            # A missing value would be an empty line, which readers pass over.
            columns.append(Column("", "unused"))
        self._columns = columns
        names = ('"' + str(column.name).replace('"', '""') + '"' for column in columns)
        self._text.write(self._delimiter.join(names).encode() + b"\n")
        self._options = pacsv.WriteOptions(include_header=False, delimiter=self._delimiter, quoting_style="needed")
        return fixed

    def _append(self, batch: Batch) -> None:
        if self._fixed is None:
            self._fixed = self._begin(batch)
        self._fixed.check(batch, self._path.name)
        arrays = [*feature_arrays(batch), *_label_arrays(batch), *extra_arrays(batch, self._fixed.extras)]
        arrays = [array.cast(pa.string()) if pa.types.is_dictionary(array.type) else array for array in arrays]
        if any(pa.types.is_binary(array.type) for array in arrays):
            raise ValueError(f"{self._path.name}: a payload must be text to be written to this format, got bytes")
        if len(arrays) < len(self._columns):
            arrays.append(pa.nulls(len(batch)))
        table = pa.Table.from_arrays(arrays, [str(number) for number in range(len(arrays))])
        text = pa.BufferOutputStream()
        pacsv.write_csv(table, text, self._options)
        self._text.write(text.getvalue())

    def _finish(self) -> None:
        if self._fixed is None:
            self._fixed = self._begin(None)
        self._text.close()
        write_schema_file(self._path, self._schema, {"roles": encode_roles(self._columns)})


def _label_arrays(batch: Batch) -> list[Any]:
    """A column of 0, 1 and null for every label."""
    n_labels = batch.schema.n_labels
    present = batch.y.to_dense(n_labels).astype(np.uint8)
    unknown = np.zeros(present.shape, bool)
    unknown[batch.label_state == UNLABELLED] = True
    partly = batch.label_state == PARTIAL
    if partly.any():
        known = batch.known if batch.known is not None else Rows.empty(len(batch))
        unknown[partly] = known.to_dense(n_labels)[partly] == 0
    return [pa.array(present[:, label], mask=unknown[:, label]) for label in range(n_labels)]
