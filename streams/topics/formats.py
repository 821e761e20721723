"""What the value of a record holds: an event as JSON or packed numbers, or many events as an Arrow table."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from streams.batch import COMPLETE, NUMERIC, UNLABELLED, Batch, Rows, Schema
from streams.topics.address import Address
from streams.topics.client import Record
from streams.wire import EventDecoder

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"iHE1"
"""What a packed event begins with."""

_HEAD = struct.Struct("<4sqh")
_NO_TIME = -(1 << 63)


class Decoder(Protocol):
    """Records in, a `Batch` out."""

    def decode(self, record: Record, skip: int, most: int) -> int:
        """Take in up to ``most`` events of a record, without its first ``skip``; how many it has in all.

        Raises
        ------
        ValueError
            It is malformed. Nothing of it is taken in, and the schema is as it was.
        """

    def take(self) -> Batch:
        """The events taken in since the last time, without source and offsets."""


def make_decoder(address: Address, schema: Schema, payload: str | None = None) -> Decoder:
    """The decoder of the format that an address names; ``schema`` grows by what events bring.

    Raises
    ------
    ValueError
        The format is binary and no schema file is named.
    """
    name = address.get("format")
    if name == "json":
        return _JsonDecoder(schema, payload)
    if name == "arrow":
        return ArrowDecoder(schema)
    declared = schema_of(address)
    schema.extend(declared)
    return PackedDecoder(schema, declared)


def make_encoder(address: Address) -> Callable[[Batch], list[bytes]]:
    """What turns the events of a batch into values of the format that an address names."""
    name = address.get("format")
    if name == "json":
        from streams.wire import encode_events

        return encode_events
    if name == "arrow":
        return lambda batch: [encode_arrow(batch)]
    return encode_packed


def schema_of(address: Address) -> Schema:
    """The names behind packed events, from the file that an address names."""
    path = address.options.get("schema")
    if path is None:
        raise ValueError(f"{address}: format=binary must come with schema=FILE, the names behind the numbers, got none")
    return Schema.from_json(json.loads(Path(path).read_text(encoding="utf-8")))


class _JsonDecoder:
    def __init__(self, schema: Schema, payload: str | None) -> None:
        self._decoder = EventDecoder(schema, payload=payload)

    def decode(self, record: Record, skip: int, most: int) -> int:
        assert record.value is not None
        self._decoder.decode(record.value, _text(record.key), record.timestamp)
        return 1

    def take(self) -> Batch:
        return self._decoder.take()


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode("utf-8", "replace")


class PackedDecoder:
    """Events as packed numbers, for who cares for every byte.

    A value is, little-endian: the magic ``iHE1``; time in ms (int64, the least there is: that of the record); how many
    labels are present (int16, -1: not known); their numbers (uint16 each); every feature as float32, NaN for missing.
    Numbers are those of the schema that both sides were given; a nominal feature holds the number of its category.

    Parameters
    ----------
    schema
        Of the batches.
    declared
        What the numbers mean.
    """

    def __init__(self, schema: Schema, declared: Schema) -> None:
        self._schema, self._declared = schema, declared
        self._width = 4 * declared.n_features
        self._clear()

    def _clear(self) -> None:
        self._x: list[bytes] = []
        self._present: list[list[int]] = []
        self._states: list[int] = []
        self._keys: list[str | None] = []
        self._times: list[int] = []

    def decode(self, record: Record, skip: int, most: int) -> int:
        """Take in the event of a record."""
        value = record.value
        assert value is not None
        if len(value) < _HEAD.size:
            raise ValueError(f"a packed event must have at least {_HEAD.size} bytes, found {len(value)}")
        magic, time, n_labels = _HEAD.unpack_from(value)
        if magic != MAGIC:
            raise ValueError(f"a packed event must begin with {MAGIC!r}, found {magic!r}")
        if n_labels < -1:
            raise ValueError(f"the number of labels must be at least -1, found {n_labels}")
        start = _HEAD.size + 2 * max(n_labels, 0)
        if len(value) != start + self._width:
            raise ValueError(
                f"a packed event of {self._declared.n_features} features and {max(n_labels, 0)} labels must have "
                f"{start + self._width} bytes, found {len(value)}"
            )
        labels = np.frombuffer(value, "<u2", max(n_labels, 0), _HEAD.size).tolist()
        if labels and max(labels) >= self._declared.n_labels:
            raise ValueError(f"a label must be below {self._declared.n_labels}, found {max(labels)}")
        if len(set(labels)) < len(labels):
            raise ValueError(f"labels of an event must differ, found {labels}")
        if np.isinf(np.frombuffer(value, "<f4", offset=start)).any():
            raise ValueError("features must be finite, or NaN for missing, found infinity")
        self._x.append(value[start:])
        self._present.append(sorted(labels))
        self._states.append(UNLABELLED if n_labels < 0 else COMPLETE)
        self._keys.append(_text(record.key))
        self._times.append((record.timestamp or 0) if time == _NO_TIME else time)
        return 1

    def take(self) -> Batch:
        """The events taken in since the last time."""
        x = np.frombuffer(b"".join(self._x), "<f4").reshape(len(self._x), -1 if self._x else self._declared.n_features)
        batch = Batch(
            self._schema,
            x.astype(np.float32),
            Rows.from_lists(self._present),
            np.array(self._states, np.uint8),
            time=np.array(self._times, np.int64),
            key=self._keys if any(key is not None for key in self._keys) else None,
        )
        self._clear()
        return batch


def encode_packed(batch: Batch) -> list[bytes]:
    """Every event of a dense batch as `PackedDecoder` reads it.

    Raises
    ------
    ValueError
        Rows are sparse or labels partly known, for which the format has no place.
    """
    if isinstance(batch.x, Rows):
        raise ValueError("a packed event must have dense features, got sparse rows")
    if batch.known is not None:
        raise ValueError("labels of a packed event must be known all or not at all, got some that are known in part")
    x = np.ascontiguousarray(batch.x, "<f4")
    values = []
    for i in range(len(batch)):
        labels = batch.y.row(i).astype("<u2")
        known = batch.label_state[i] != UNLABELLED
        time = _NO_TIME if batch.time is None else int(batch.time[i])
        values.append(_HEAD.pack(MAGIC, time, len(labels) if known else -1) + labels.tobytes() + x[i].tobytes())
    return values


class ArrowDecoder:
    """Many events a record, as an Arrow table in the streaming format.

    Columns are features (numbers), and among them, where there are such: ``id`` (text), ``ts`` (ms since 1970),
    and ``y``, a list of the names of the labels present, null where they are not known.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._parts: list[Batch] = []
        self._last: tuple[Record, Batch] | None = None

    def decode(self, record: Record, skip: int, most: int) -> int:
        """Take in events of a record."""
        if self._last is None or self._last[0] is not record:
            self._last = (record, _from_arrow(record, self._schema))
        whole = self._last[1]
        self._parts.append(whole[skip : skip + most])
        return len(whole)

    def take(self) -> Batch:
        """The events taken in since the last time."""
        parts, self._parts = self._parts, []
        if not parts:
            width = self._schema.n_features
            return Batch.from_arrays(np.zeros((0, width), np.float32), schema=self._schema)
        return Batch.concat(parts) if len(parts) > 1 else parts[0]


def _from_arrow(record: Record, schema: Schema) -> Batch:
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(record.value) as reader:
            table = reader.read_all()
        # Offsets and lengths that point beyond the value would be followed.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"a value must be a whole Arrow stream, found: {error}") from None
    names = [name for name in table.column_names if name not in ("id", "ts", "y")]
    if len(set(table.column_names)) < table.num_columns:
        raise ValueError(f"columns must differ, found {table.column_names}")
    for name in names:
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise ValueError(f"feature {name!r} must be numbers, found {kind}")
    n = len(table)
    values = np.empty((n, len(names)), np.float32)
    for place, name in enumerate(names):
        column = table[name]
        values[:, place] = (column if pa.types.is_float32(column.type) else column.cast(pa.float32())).to_numpy()
    if np.isinf(values).any():
        name = names[int(np.isinf(values).any(0).argmax())]
        raise ValueError(f"feature {name!r} must be finite, found infinity")
    labels = _values_of(table, "y", pa.list_(pa.string()))
    for i, present in enumerate(labels):
        if present is not None and (None in present or len(set(present)) < len(present)):
            raise ValueError(f"y must be lists of names that differ, found {present!r} in row {i}")
    times, ids = _values_of(table, "ts", pa.int64()), _values_of(table, "id", pa.string())
    # Nothing can fail any more, so the schema may grow.
    columns = [schema.feature_id(name) for name in names]
    for column in columns:
        schema.decide(column, NUMERIC)
    x = np.full((n, schema.n_features), np.nan, np.float32)
    x[:, columns] = values
    key = _text(record.key)
    return Batch(
        schema,
        x,
        Rows.from_lists([[schema.label_id(name) for name in present or ()] for present in labels]),
        np.array([UNLABELLED if present is None else COMPLETE for present in labels], np.uint8),
        time=np.array([(record.timestamp or 0) if time is None else time for time in times], np.int64),
        key=[key if name is None else name for name in ids],
    )


def _values_of(table: pa.Table, name: str, kind: pa.DataType) -> list[Any]:
    """A column's values as they come out of this type; None where there is no such column."""
    import pyarrow as pa

    if name not in table.column_names:
        return [None] * len(table)
    column = table[name]
    try:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms"), safe=False)
        values: list[Any] = column.cast(kind).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{name} must be {kind}, found {table.schema.field(name).type}: {error}") from None
    return values


def encode_arrow(batch: Batch) -> bytes:
    """The events of a dense batch as one value that `ArrowDecoder` reads.

    Raises
    ------
    ValueError
        Rows are sparse, a feature is nominal, or labels are partly known.
    """
    import pyarrow as pa

    if isinstance(batch.x, Rows) or batch.schema.categories or batch.known is not None:
        raise ValueError("events of an Arrow value must have dense numbers and labels known all or not at all")
    schema = batch.schema
    columns: dict[str, pa.Array] = {
        str(name): pa.array(batch.x[:, j]) for j, name in enumerate(schema.feature_names[: batch.x.shape[1]])
    }
    names = [str(name) for name in schema.label_names]
    present = [
        None if batch.label_state[i] == UNLABELLED else [names[label] for label in batch.y.row(i).tolist()]
        for i in range(len(batch))
    ]
    columns["y"] = pa.array(present, pa.list_(pa.string()))
    if batch.time is not None:
        columns["ts"] = pa.array(batch.time)
    if batch.key is not None:
        columns["id"] = pa.array(batch.key, pa.string())
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    value: bytes = sink.getvalue().to_pybytes()
    return value
