"""Which columns of a table are what: features, labels, tags, keys, times, weights, payload."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from streams.batch import NOMINAL, NUMERIC, UNDECIDED, Name, Schema
from streams.schema import ABSENT

Role = Literal["feature", "cells", "label", "tags", "known", "key", "time", "weight", "payload", "unused"]
"""What a column holds: a feature, the listed cells of a sparse row, a label, the labels present, those known, …"""

Declared = Literal["numeric", "nominal", "text", "key", "time", "weight", "unused"]
"""What a caller may say that a column is."""

DECLARED = ("numeric", "nominal", "text", "key", "time", "weight", "unused")

SAMPLED = 1000
"""Rows at the beginning of a table from which the kinds of its columns are told."""

MAX_CATEGORIES, MAX_CATEGORY_LENGTH = 100, 64
"""More different values or longer ones in the sample make a column of strings text."""

FEW_CATEGORIES = 10
"""So few different values are categories even where hardly any comes twice."""

SEPARATORS = r"[\s,;|]+"
"""What parts the tags of a cell, unless the caller names a separator."""

_COUNTED = re.compile(r"(first|last):(\d+)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name
        As the table has it.
    role
        What it holds.
    kind
        Of a feature: ``NUMERIC``, ``NOMINAL``, or ``UNDECIDED`` for text, which is loaded as missing and ignored.
    """

    name: Name
    role: Role
    kind: int = UNDECIDED


@dataclass(frozen=True, slots=True)
class Selection:
    """What a caller says of the columns, settled against their names.

    Parameters
    ----------
    labels
        Numbers of the 0/1 columns that are labels.
    tags
        Number of the column whose cells list the labels present, or -1.
    separator
        Regular expression between two tags of a cell.
    payload
        Number of the column from which features are still to be extracted, or -1.
    declared
        What other columns are said to be, by number.
    """

    labels: tuple[int, ...]
    tags: int
    separator: str
    payload: int
    declared: Mapping[int, Declared]


def select_columns(
    names: Sequence[Name],
    *,
    labels: str | Sequence[Name] | None,
    payload: Name | None = None,
    columns: Mapping[Any, Declared] | None = None,
    what: str = "table",
    numbered: bool = False,
) -> Selection:
    """Settle what a caller says of columns.

    Parameters
    ----------
    names
        The columns, in order.
    labels
        ``first:6``, ``last:14``, names parted by commas, a sequence of names, a Mulan ``.xml`` file, or
        ``tags:COLUMN`` or ``tags:COLUMN:SEPARATOR`` for one column of tags. Empty or ``none``: there are no labels.
    payload
        Name of a column of text.
    columns
        What columns are, by name: one of ``DECLARED``.
    what
        What to call the table in messages.
    numbered
        Whether a column may be called by its number from 0, because it has no name of its own.

    Raises
    ------
    ValueError
        Labels are not named, a name is no column, or one column is to be two things.
    """
    finder = _Finder(names, what, numbered)
    chosen, tags, separator = _labels(finder, labels)
    taken = dict.fromkeys(chosen, "label")
    if tags >= 0:
        taken[tags] = "tags"
    payload_column = -1
    if payload is not None:
        payload_column = finder.find(payload, "a payload")
        _take(names, taken, payload_column, "payload")
    declared: dict[int, Declared] = {}
    for name, kind in (columns or {}).items():
        if kind not in DECLARED:
            raise ValueError(f"column {name!r} must be declared one of {', '.join(DECLARED)}, got {kind!r}")
        number = finder.find(name, "a declared column")
        if number != payload_column or kind != "text":
            _take(names, taken, number, kind)
        declared[number] = kind
    for role in ("key", "time", "weight"):
        same = [names[number] for number, kind in declared.items() if kind == role]
        if len(same) > 1:
            raise ValueError(f"one column may be the {role}, got {same!r}")
    return Selection(tuple(chosen), tags, separator, payload_column, declared)


def _take(names: Sequence[Name], taken: dict[int, str], number: int, role: str) -> None:
    if taken.setdefault(number, role) != role:
        raise ValueError(f"column {names[number]!r} must be one thing, got {taken[number]} and {role}")


class _Finder:
    """Finds columns by what a caller calls them."""

    def __init__(self, names: Sequence[Name], what: str, numbered: bool) -> None:
        self.names, self.what, self.numbered = list(names), what, numbered

    def find(self, name: Any, role: str) -> int:
        if name in self.names:
            return self.names.index(name)
        if self.numbered and str(name).isdigit() and int(name) < len(self.names):
            return int(name)
        close = get_close_matches(str(name), list(map(str, self.names)), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{role} must be a column of the {self.what}, got {name!r}{hint}")


def _labels(finder: _Finder, labels: str | Sequence[Name] | None) -> tuple[list[int], int, str]:
    n = len(finder.names)
    if labels is None:
        raise ValueError(
            f"labels of a {finder.what} must be named, got None; first:6, last:14, names, tags:COLUMN or none name them"
        )
    if isinstance(labels, str):
        if labels.strip() == "none" and "none" not in finder.names:
            return [], -1, SEPARATORS
        if counted := _COUNTED.fullmatch(labels.strip()):
            count = int(counted[2])
            if not 1 <= count <= n:
                raise ValueError(f"labels must name 1 to {n} columns, got {labels!r}")
            return list(range(count) if counted[1] == "first" else range(n - count, n)), -1, SEPARATORS
        if labels.startswith("tags:"):
            return [], *_tags(finder, labels.removeprefix("tags:"))
        if labels.lower().endswith(".xml"):
            from streams.arff_header import read_label_file

            labels = [name for name, _ in read_label_file(Path(labels))]
        else:
            labels = [name.strip() for name in labels.split(",") if name.strip()]
    return sorted({finder.find(name, "a label") for name in labels}), -1, SEPARATORS


def _tags(finder: _Finder, text: str) -> tuple[int, str]:
    """The column of tags and what parts them; the column's name may hold a colon itself."""
    column, colon, separator = text.rpartition(":")
    if not colon or text in finder.names:
        return finder.find(text, "a column of tags"), SEPARATORS
    if not separator:
        # Two colons at the end: the colon itself is the separator.
        column, separator = column.removesuffix(":"), ":"
    blanks = r"\s+" if separator.isspace() else r"\s*" + re.escape(separator) + r"\s*"
    return finder.find(column, "a column of tags"), blanks


def is_category(n_values: int, n_different: int, longest: int) -> bool:
    """Whether a sample of strings looks like categories, and not like text or identifiers.

    Parameters
    ----------
    n_values, n_different
        Values in the sample, missing ones left out, and how many of them differ.
    longest
        Length of the longest one.
    """
    if longest > MAX_CATEGORY_LENGTH or n_different > MAX_CATEGORIES:
        return False
    return n_different <= FEW_CATEGORIES or 2 * n_different <= n_values


def make_schema(
    columns: Sequence[Column], *, sparse: bool, categories: Mapping[int, Iterable[str]] | None = None
) -> Schema:
    """The schema of a table: features and labels in the order of its columns.

    ``categories`` has those that are known beforehand, by the number of the column.
    """
    schema = Schema(
        (column.name for column in columns if column.role == "feature"),
        (column.name for column in columns if column.role == "label"),
        sparse=sparse,
    )
    for number, column in enumerate(columns):
        if column.role == "feature":
            feature = schema.find_feature(column.name)
            if column.kind == NOMINAL:
                schema.make_nominal(feature, (categories or {}).get(number, [ABSENT] if sparse else []))
            elif column.kind == NUMERIC:
                schema.decide(feature, NUMERIC)
            else:
                schema.ignored.add(feature)
    return schema


def fault_reason(column: Column, found: str) -> str:
    """What is wrong with a value of a column, as it was found."""
    rules = {
        "feature": "must be a finite number of at most 3.4028235e38 in size or missing",
        "cells": "must list ascending columns of the schema with a finite number each",
        "label": "must be 0, 1 or missing",
        "time": "must be a whole number of milliseconds or a timestamp",
        "weight": "must be a positive number",
    }
    if column.role not in rules:
        return f"{column.role} {column.name!r} must be text, found {found}"
    return f"{column.role} {column.name!r} {rules[column.role]}, found {found}"


def encode_roles(columns: Sequence[Column]) -> list[list[Any]]:
    """The roles of columns as JSON: each with the number of columns in a row that have it."""
    return [[role, len(list(run))] for role, run in itertools.groupby(column.role for column in columns)]


def decode_roles(roles: Any, schema: Schema, names: Sequence[Name]) -> list[Column]:
    """The columns that ``encode_roles`` wrote down, features and labels as the schema written beside it has them.

    ``names`` are those of the columns in the file.

    Raises
    ------
    ValueError
        There are more or fewer features or labels than the schema has.
    """
    columns: list[Column] = []
    features, labels = iter(range(schema.n_features)), iter(range(schema.n_labels))
    count = sum(count for _, count in roles)
    if count != len(names):
        raise ValueError(f"expected {count} columns, found {len(names)}")
    for role, count in roles:
        for _ in range(count):
            if role == "feature" and (feature := next(features, None)) is not None:
                columns.append(Column(schema.feature_names[feature], "feature", schema.kinds[feature]))
            elif role == "label" and (label := next(labels, None)) is not None:
                columns.append(Column(schema.label_names[label], "label"))
            elif role in ("cells", "tags", "known", "key", "time", "weight", "payload", "unused"):
                columns.append(Column(names[len(columns)], role))
            else:
                raise ValueError(f"columns must be those of the schema, found one too many or unknown: {role!r}")
    found = {column.role for column in columns}
    if ("feature" in found or "cells" not in found) and next(features, None) is not None:
        raise ValueError(f"columns must hold all {schema.n_features} features of the schema, found fewer")
    if ("label" in found or "tags" not in found) and next(labels, None) is not None:
        raise ValueError(f"columns must hold all {schema.n_labels} labels of the schema, found fewer")
    return columns
