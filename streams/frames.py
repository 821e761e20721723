"""pandas and polars frames as a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from streams.batch import Batch, Name
from streams.table_batches import TableDecoder, is_number
from streams.table_columns import SAMPLED, Declared, fault_reason, make_schema, select_columns
from streams.table_types import arrow_columns, known_categories


def frame_batch(
    frame: Any,
    labels: str | Sequence[Name] | None,
    *,
    payload: Name | None = None,
    columns: Mapping[Any, Declared] | None = None,
) -> Batch:
    """The rows of a frame as events.

    Parameters
    ----------
    frame
        A pandas or polars frame, or an Arrow table. Numbers and truth values become numeric features; categories, and
        strings that look like categories, nominal ones; other columns are ignored. NaN, None and null are missing.
    labels
        The columns that are labels, of 0 and 1 or truth values (missing: unknown): ``first:6``, ``last:14``, names
        parted by commas, or a sequence of names; or ``tags:COLUMN`` for one column of tags or lists of tags.
    payload, columns
        As `ColumnarSource` has them.

    Raises
    ------
    ValueError
        There are no labels, or one is no column or holds something else, or a number is infinite.

    Examples
    --------
    >>> import pandas as pd
    >>> batch = frame_batch(pd.DataFrame({"size": [1.5, None], "ripe": [True, False]}), "ripe")
    >>> batch.x.tolist(), batch.y.row(0).tolist()
    ([[1.5], [nan]], [0])
    """
    names = list(frame.columns) if not isinstance(frame, pa.Table) else frame.column_names
    if len(set(names)) < len(names):
        raise ValueError("columns of a frame must differ, got one name twice")
    selection = select_columns(names, labels=labels, payload=payload, columns=columns, what="frame")
    arrays = _arrays(frame, names)
    fields = pa.schema([pa.field(str(name), array.type) for name, array in zip(names, arrays, strict=True)])
    sample = [array.slice(0, SAMPLED) for array in arrays]
    for number in selection.labels:
        if not is_number(arrays[number].type):
            raise ValueError(f"label {names[number]!r} must be 0, 1 or missing, got other values")
    found = arrow_columns(fields, selection, sample)
    found = [type(column)(name, column.role, column.kind) for name, column in zip(names, found, strict=True)]
    schema = make_schema(found, sparse=False, categories=known_categories(found, sample))
    decoder = TableDecoder(found, schema, separator=selection.separator, nan_is_missing=True)
    table = decoder.decode(arrays, len(frame))
    if table.faults:
        row, number = table.faults[0]
        value = arrays[number][row].as_py()
        raise ValueError(f"{fault_reason(found[number], repr(value))} in row {row}")
    return table.batch(0, len(table))


def _arrays(frame: Any, names: Sequence[Any]) -> list[pa.Array]:
    """The columns as Arrow arrays."""
    if isinstance(frame, pa.Table) or hasattr(frame, "to_arrow"):
        table = frame if isinstance(frame, pa.Table) else frame.to_arrow()
        return [column.combine_chunks() for column in table.columns]
    arrays = []
    for number, name in enumerate(names):
        try:
            array = pa.array(frame.iloc[:, number], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"column {name!r} of a frame must hold values of one type, got {error}") from None
        arrays.append(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)
    return arrays
