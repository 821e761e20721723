"""What the first records of a delimited text tell: what parts its fields, their names, and what the columns hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from streams.batch import NOMINAL, NUMERIC, Name
from streams.delimited_parser import FALSE, MISSING, TRUE
from streams.delimited_records import split_fields
from streams.table_columns import Column, Selection, is_category

DELIMITERS = ",\t;"
"""What may part fields, in the order of preference."""

_TAB_ENDINGS = (".tsv", ".tab")

MOSTLY = 0.9
"""This share of the sampled values must be numbers in a column of numbers; the others are malformed."""

_NUMBER = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|inf|infinity)\s*$"
_WHOLE, _ZONED = re.compile(r"\s*[+-]?\d+\s*"), re.compile(r".*\d(Z|[+-]\d\d(:?\d\d)?)\s*")

STRING, BOOLEAN, NUMBER, WEIGHT = pa.string(), pa.bool_(), pa.float32(), pa.float64()
_WORDS = pa.array([*TRUE[2:], *FALSE[2:]])
CATEGORY = pa.dictionary(pa.int32(), pa.string())


def possible_delimiters(ending: str) -> str:
    """What may part the fields of a file with this ending."""
    return "\t" if ending in _TAB_ENDINGS else DELIMITERS


def find_delimiter(samples: Mapping[str, Sequence[str]]) -> str:
    """What parts the fields: what parts most of them in the first records, and the same number in all if there is one.

    ``samples`` has the first records under each delimiter that may be.
    """
    best, most = "", (False, 1)
    for delimiter, records in samples.items():
        counts = [len(split_fields(record, delimiter)) for record in records]
        found = (counts[0] > 1 and min(counts) == max(counts), counts[0])
        if found > most:
            best, most = delimiter, found
    return best or next(iter(samples))


def is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether the first record has names and no values.

    It has if its fields differ, none is missing, and none is a number; or some are, but in a column that goes on with
    numbers alone there is one that is not.
    """
    names = [name.strip() for name in first]
    if len(set(names)) < len(names) or any(name in MISSING for name in names[1:]):
        return False
    numbers = [_is_number(name) for name in names]
    if not any(numbers):
        return True
    for number, is_one in enumerate(numbers):
        column = [row[number] for row in rest if len(row) == len(names)]
        if not is_one and column and all(_is_number(value) for value in column):
            return True
    return False


def _is_number(text: str) -> bool:
    return re.match(_NUMBER, text, re.IGNORECASE) is not None


def column_names(header: Sequence[str] | None, n: int) -> list[Name]:
    """Names of ``n`` columns; those without one are called by their number, ``x0``, ``x1``, and so on.

    Raises
    ------
    ValueError
        Two columns have one name.
    """
    names = [(header[i].strip() if header is not None else "") or f"x{i}" for i in range(n)]
    twice = [name for name in names if names.count(name) > 1] if len(set(names)) < n else []
    if twice:
        raise ValueError(f"columns must differ, found {twice[0]!r} twice")
    return list(names)


def needs_sample(number: int, selection: Selection) -> bool:
    """Whether the first values of a column are needed to tell what it is."""
    if number in (*selection.labels, selection.tags, selection.payload):
        return False
    return selection.declared.get(number) in (None, "numeric", "time")


def decide_columns(
    names: Sequence[Name], selection: Selection, sample: Mapping[int, pa.Array]
) -> tuple[list[Column], dict[int, pa.DataType]]:
    """What every column is, and as what the columns that matter are to be read.

    Parameters
    ----------
    sample
        The first values of every column that `needs_sample` names, as strings, or as numbers or truth values where
        all of them are.
    """
    columns: list[Column] = []
    types: dict[int, pa.DataType] = {}
    for number, name in enumerate(names):
        values = sample[number].drop_null() if number in sample else None
        declared = selection.declared.get(number)
        column, kind = Column(name, "feature"), None
        if number in selection.labels:
            column, kind = Column(name, "label"), BOOLEAN
        elif number == selection.tags:
            column, kind = Column(name, "tags"), STRING
        elif number == selection.payload:
            column, kind = Column(name, "payload"), STRING
        elif declared == "key":
            column, kind = Column(name, "key"), STRING
        elif declared == "time":
            column, kind = Column(name, "time"), _time_type(values)
        elif declared == "weight":
            column, kind = Column(name, "weight"), WEIGHT
        elif declared == "unused":
            column = Column(name, "unused")
        elif declared in ("numeric", None) and (found := _number_type(values, declared is not None)) is not None:
            column, kind = Column(name, "feature", NUMERIC), found
        elif declared == "nominal" or (declared is None and _are_categories(values)):
            column, kind = Column(name, "feature", NOMINAL), CATEGORY
        columns.append(column)
        if kind is not None:
            types[number] = kind
    return columns, types


def known_types(columns: Sequence[Column]) -> dict[int, pa.DataType]:
    """As what columns are to be read that a schema file describes."""
    of_roles = {
        "label": BOOLEAN,
        "key": STRING,
        "payload": STRING,
        "tags": STRING,
        "time": pa.int64(),
        "weight": WEIGHT,
    }
    of_kinds = {NUMERIC: NUMBER, NOMINAL: CATEGORY}
    types = {}
    for number, column in enumerate(columns):
        kind = of_kinds.get(column.kind) if column.role == "feature" else of_roles.get(column.role)
        if kind is not None:
            types[number] = kind
    return types


def _time_type(values: pa.Array) -> pa.DataType:
    """Whole numbers, or timestamps with or without a zone, as the first one is."""
    if not len(values) or not pa.types.is_string(values.type):
        return pa.int64()
    first = values[0].as_py()
    if _WHOLE.fullmatch(first):
        return pa.int64()
    return pa.timestamp("ms", "UTC" if ":" in first and _ZONED.fullmatch(first) else None)


def _number_type(values: pa.Array, declared: bool) -> pa.DataType | None:
    """As what a column of numbers is to be read, numbers or truth values; None if it is none, unless ``declared``."""
    kind = values.type
    if not pa.types.is_string(kind):
        return BOOLEAN if pa.types.is_boolean(kind) else NUMBER
    if not len(values):
        return NUMBER
    enough = MOSTLY * len(values)
    if pc.sum(pc.is_in(values, _WORDS)).as_py() >= enough:
        return BOOLEAN
    if declared or pc.sum(pc.match_substring_regex(values, _NUMBER, ignore_case=True)).as_py() >= enough:
        return NUMBER
    return None


def _are_categories(values: pa.Array) -> bool:
    longest = pc.max(pc.utf8_length(values)).as_py()
    return is_category(len(values), len(values.unique()), longest or 0)
