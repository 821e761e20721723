"""Batches turned into the columns of a table, as Arrow arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from streams.batch import NOMINAL, NUMERIC, Batch, Rows, Schema
from streams.table_columns import Column, Role
from streams.writing import ColumnsGrewError, extras_of

NAMES: dict[str, str] = {"known": "known", "key": "id", "time": "ts", "weight": "w", "payload": "payload"}
"""What the columns are called that hold something beside features and labels; as in JSON Lines."""

_ROLES: dict[str, Role] = {"known": "known", "key": "key", "time": "time", "weight": "weight", "payload": "payload"}


class Fixed:
    """The columns of a file whose head is written.

    Parameters
    ----------
    schema
        That of the batches.
    extras
        What some events have beside features and labels.
    first
        The first batch, whose extras join.
    order
        The extras that the format has, in their order.
    """

    def __init__(self, schema: Schema, extras: Collection[str], first: Batch | None, order: Sequence[str]) -> None:
        found = {*extras, *(extras_of(first) if first is not None else ())}
        self._schema, self._version, self._text = schema, schema.version, schema.to_json()
        self._order = order
        self.extras = [what for what in order if what in found]

    @property
    def extra_columns(self) -> list[Column]:
        """The columns of the extras."""
        return [Column(NAMES[what], _ROLES[what]) for what in self.extras]

    def check(self, batch: Batch, name: str) -> None:
        """Refuse a batch that needs more columns; ``name`` is what to call the file."""
        if batch.schema is not self._schema or batch.schema.version != self._version:
            if batch.schema.to_json() != self._text:
                raise ColumnsGrewError(f"{name}: columns must all be known before the first event, got new ones")
            self._schema, self._version = batch.schema, batch.schema.version
        more = [what for what in extras_of(batch) if what in self._order and what not in self.extras]
        if more:
            raise ColumnsGrewError(f"{name}: what events have must be known before the first one, got a {more[0]}")


def feature_arrays(batch: Batch) -> list[Any]:
    """A column for every feature: float32, or a dictionary of the categories; null where a value is missing."""
    schema, x = batch.schema, batch.x
    dense = x.to_dense(schema.n_features) if isinstance(x, Rows) else x
    arrays: list[Any] = []
    for feature, kind in enumerate(schema.kinds):
        if feature >= dense.shape[1] or kind not in (NUMERIC, NOMINAL):
            arrays.append(pa.nulls(len(batch), pa.string() if kind == NOMINAL else pa.float32()))
            continue
        values = np.ascontiguousarray(dense[:, feature])
        missing = np.isnan(values)
        if kind == NUMERIC:
            arrays.append(pa.array(values, mask=missing if missing.any() else None))
        else:
            codes = np.where(missing, 0, values).astype(np.int32)
            names = pa.array(schema.categories[feature], pa.string())
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(codes, mask=missing), names))
    return arrays


def extra_arrays(batch: Batch, extras: Sequence[str], payload: pa.DataType | None = None) -> list[Any]:
    """A column for each of the extras but ``known``, null where an event has none.

    ``payload`` is the type of that column; None: as its values are.
    """
    arrays: list[Any] = []
    for what in extras:
        values = getattr(batch, what)
        if what == "known":
            continue
        if what in ("key", "payload"):
            kind = pa.string() if what == "key" else payload or payload_type(batch)
            arrays.append(pa.nulls(len(batch), kind) if values is None else pa.array(values, kind))
        else:
            kind = pa.int64() if what == "time" else pa.float64()
            arrays.append(pa.nulls(len(batch), kind) if values is None else pa.array(values, kind))
    return arrays


def payload_type(batch: Batch) -> pa.DataType:
    """Text, unless the payload of a batch has bytes."""
    return pa.binary() if any(isinstance(value, bytes) for value in batch.payload or ()) else pa.string()
