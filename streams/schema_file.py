"""The schema of a file that cannot hold one itself, as a small JSON file beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from streams.schema import Schema
from streams.source import DecodeError
from streams.text import COMPRESSED_ENDINGS
from streams.whole_file import write_whole

FORMAT, VERSION = "ihomer-schema", 1

METADATA_KEY = b"ihomer"
"""Under this name stands the schema in the metadata of a file that has any."""


class SchemaFile(NamedTuple):
    """What a schema file says: the schema, what its writer noted of the file's columns, and where it lies."""

    schema: Schema
    columns: dict[str, Any]
    path: Path


def schema_path(path: str | os.PathLike[str]) -> Path:
    """Where the schema of a file lies: its name without the ending of a compression, and ``.schema.json``.

    Examples
    --------
    >>> schema_path("data/yeast.csv.gz").as_posix()
    'data/yeast.csv.schema.json'
    """
    place = Path(path)
    name = place.name
    for ending in COMPRESSED_ENDINGS:
        name = name.removesuffix(ending)
    return place.with_name(name + ".schema.json")


def encode_schema(schema: Schema, columns: Mapping[str, Any] | None = None) -> bytes:
    """A schema and notes on a file's columns as JSON, for a schema file or the metadata of a file that has any."""
    value = {"format": FORMAT, "version": VERSION, **schema.to_json()}
    if columns is not None:
        value["columns"] = dict(columns)
    return json.dumps(value, ensure_ascii=False).encode()


def decode_schema(raw: bytes, name: str) -> tuple[Schema, dict[str, Any]]:
    """What ``encode_schema`` wrote down.

    Raises
    ------
    DecodeError
        It is something else, or of a later version; ``name`` is what to call the place where it stood.
    """
    try:
        value = json.loads(raw)
        found = f"{value['format']} {value['version']}"
        if found != f"{FORMAT} {VERSION}":
            raise ValueError(f"format and version must be {FORMAT} {VERSION}, found {found}")
        return Schema.from_json(value), dict(value.get("columns", {}))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DecodeError(name, f"a schema must be one that a writer left, found: {error}", line=1) from None


def write_schema_file(path: str | os.PathLike[str], schema: Schema, columns: Mapping[str, Any] | None = None) -> Path:
    """Write the schema of the events in the file ``path`` beside it, whole or not at all; says where.

    Parameters
    ----------
    path
        The file with the events, which need not be there yet.
    schema
        Its features and labels.
    columns
        What the reader has to know of the file's columns, as JSON: whatever the format's writer and reader agree on.
    """
    target = schema_path(path)
    write_whole(target, encode_schema(schema, columns) + b"\n")
    return target


def find_schema_file(path: str | os.PathLike[str] | None) -> SchemaFile | None:
    """What the schema file beside ``path`` says, or None where there is none (or no path: standard input).

    Raises
    ------
    DecodeError
        There is one and it cannot be read, or is of a later version.
    """
    if path is None:
        return None
    place = schema_path(path)
    if not place.is_file():
        return None
    return SchemaFile(*decode_schema(place.read_bytes(), place.name), place)
