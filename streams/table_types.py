"""What the columns of an Arrow table are, by their types and first values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streams.batch import NOMINAL, NUMERIC
from streams.table_batches import is_list, is_number, is_string
from streams.table_columns import Column, Role, Selection, is_category


def arrow_columns(schema: pa.Schema, selection: Selection, sample: Sequence[Any]) -> list[Column]:
    """What every column is.

    Parameters
    ----------
    sample
        The first values of the columns of strings; None where there are none, and for other columns.

    Raises
    ------
    ValueError
        A column is of a type that cannot be what the caller says it is.
    """
    return [
        _column(number, field, selection, values)
        for number, (field, values) in enumerate(zip(schema, sample, strict=True))
    ]


def _column(number: int, field: pa.Field, selection: Selection, values: Any) -> Column:
    name, kind = field.name, field.type
    declared = selection.declared.get(number)
    if number in selection.labels:
        return _checked(Column(name, "label"), kind, is_number(kind), "truth values, 0 and 1")
    if number == selection.tags:
        good = is_string(kind) or (
            is_list(kind) and (is_string(kind.value_type) or pa.types.is_integer(kind.value_type))
        )
        return _checked(Column(name, "tags"), kind, good, "text, or lists of texts or whole numbers")
    if number == selection.payload:
        good = is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        return _checked(Column(name, "payload"), kind, good, "text or bytes")
    if declared == "key":
        good = is_string(kind) or pa.types.is_integer(kind)
        return _checked(Column(name, "key"), kind, good, "text or whole numbers")
    if declared == "time":
        good = pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind)
        return _checked(Column(name, "time"), kind, good, "whole numbers, dates or timestamps")
    if declared == "weight":
        return _checked(Column(name, "weight"), kind, is_number(kind), "numbers")
    if declared == "unused":
        return Column(name, "unused")
    if declared == "numeric" or (declared is None and is_number(kind)):
        return _checked(Column(name, "feature", NUMERIC), kind, is_number(kind), "numbers")
    if declared == "nominal" or (declared is None and _is_nominal(kind, values)):
        return _checked(Column(name, "feature", NOMINAL), kind, is_string(kind), "text")
    return Column(name, "feature")


def _checked(column: Column, kind: pa.DataType, good: bool, rule: str) -> Column:
    if not good:
        words: dict[Role, str] = {"feature": "numeric feature" if column.kind == NUMERIC else "nominal feature"}
        raise ValueError(
            f"{words.get(column.role, column.role)} {column.name!r} must be a column of {rule}, got {kind}"
        )
    return column


def _is_nominal(kind: pa.DataType, values: Any) -> bool:
    if not is_string(kind):
        return False
    if pa.types.is_dictionary(kind) or values is None:
        return True
    found = values.drop_null()
    return is_category(len(found), len(found.unique()), pc.max(pc.utf8_length(found)).as_py() or 0)


def known_categories(columns: Sequence[Column], sample: Sequence[Any]) -> dict[int, list[str]]:
    """Categories of the nominal columns that declare them, as dictionaries do, in their order."""
    return {
        number: values.dictionary.to_pylist()
        for number, (column, values) in enumerate(zip(columns, sample, strict=True))
        if column.kind == NOMINAL and values is not None and pa.types.is_dictionary(values.type)
    }
