"""Sources and sinks by what a user writes: a path, a known name, a URL, or an object that holds events."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.batch import Batch
from streams.source import Sink, Source
from streams.text_source import OnError, RowKind

if TYPE_CHECKING:
    from streams.text import TextReader

SCHEMES = ("river:",)
"""What a URL may begin with."""

SNIFFED = 1 << 20
"""Bytes among which the first line must be to tell the format of a file without an ending."""

_SCHEME = re.compile(r"([a-z][a-z0-9+]+):(?!\\)")


def open_source(
    spec: Any,
    *,
    labels: str | Sequence[str] | None = None,
    on_error: OnError = "fail",
    payload: str | None = None,
    rows: RowKind | None = None,
) -> Source:
    """A stream of events.

    Parameters
    ----------
    spec
        The path of an ARFF or JSON Lines file, plain, gzip or zstd; ``-`` for standard input; a known name
        (`list_datasets`); ``river:module.Class`` for a data set of river; or an object: a `Source`, a `Batch`, a pandas
        frame, or a river data set. A file's format is told by its ending, or else by its first characters.
    labels
        Which columns are labels: ``first:6``, ``last:14``, names parted by commas, or a Mulan ``.xml`` file. None: as
        the data themselves tell. A frame needs it.
    on_error
        What an event that cannot be read does: ``fail`` raises `DecodeError`, ``skip`` makes it a dead letter.
    payload
        Field from which features are still to be extracted.
    rows
        ``dense`` or ``sparse``; None: as the data suggest.

    Raises
    ------
    DecodeError
        The file is empty, damaged, of no known format, or its labels are not to be found.
    FileNotFoundError
        There is no such file and no known data set of this name.
    ValueError
        Another scheme than the known ones.

    Examples
    --------
    >>> source = open_source("yeast")
    >>> source.schema
    Schema(103 features, 14 labels, dense)
    """
    if isinstance(spec, Batch):
        from streams.memory import BatchSource

        return BatchSource(spec)
    if not isinstance(spec, (str, os.PathLike)):
        return _open_object(spec, labels)
    text = os.fspath(spec)
    if text != "-" and not Path(text).exists():
        if match := _SCHEME.match(text):
            return _open_url(match[0], text, labels)
        from streams.registry import is_known, open_known

        if is_known(text):
            return open_known(text, labels=labels, on_error=on_error, payload=payload, rows=rows)
        if not Path(text).suffix and os.sep not in text:
            from streams.registry import find_dataset

            find_dataset(text)
        raise FileNotFoundError(f"a source must be a file, a URL or a known data set, found none called {text!r}")
    if text != "-" and Path(text).is_dir():
        raise IsADirectoryError(f"a source must be a file, got the folder {text!r}")
    return _open_text(spec, labels, on_error, payload, rows)


def _open_text(
    spec: str | os.PathLike[str],
    labels: str | Sequence[str] | None,
    on_error: OnError,
    payload: str | None,
    rows: RowKind | None,
) -> Source:
    from streams.arff import ArffSource
    from streams.jsonl import JSONLinesSource
    from streams.source import DecodeError
    from streams.text import COMPRESSED_ENDINGS, TextReader

    reader = TextReader(spec)
    name = reader.name.lower()
    for ending in COMPRESSED_ENDINGS:
        name = name.removesuffix(ending)
    kind = {".arff": "arff", ".jsonl": "json", ".json": "json", ".ndjson": "json"}.get(Path(name).suffix)
    if kind is None:
        first = _first_line(reader)
        kind = "arff" if first.startswith(b"@") else "json" if first.startswith(b"{") else None
    if kind is None:
        reader.close()
        raise DecodeError(
            reader.name, f"a text must be ARFF (@relation …) or JSON Lines ({{…}}), found {first[:40]!r}", line=1
        )
    if kind == "arff":
        return ArffSource(reader, labels=labels, on_error=on_error, payload=payload, rows=rows)
    return JSONLinesSource(reader, labels=labels, on_error=on_error, payload=payload, rows=rows)


def _first_line(reader: TextReader) -> bytes:
    """The first line that is neither blank nor a comment, left in the buffer to be read."""
    at = reader.start
    while reader.stop - reader.start < SNIFFED:
        stop = reader.whole_lines
        if at < stop:
            end = reader.find_line_end(stop, at)
            line = reader.buffer[at:end].tobytes().strip()
            if line and not line.startswith(b"%"):
                return line
            at = end
            continue
        before = reader.start
        if not reader.fill() and not (reader.ended and at < reader.stop):
            break
        at += reader.start - before
    return b""


def _open_url(scheme: str, text: str, labels: str | Sequence[str] | None) -> Source:
    if scheme != "river:":
        raise ValueError(f"a source's scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    from streams.river_source import RiverSource, river_dataset

    return RiverSource(river_dataset(text.removeprefix(scheme)), labels=labels)


def _open_object(value: Any, labels: str | Sequence[str] | None) -> Source:
    if isinstance(value, Source):
        return value
    module = type(value).__module__.partition(".")[0]
    if module == "pandas":
        from streams.frames import frame_batch
        from streams.memory import BatchSource

        return BatchSource(frame_batch(value, labels), "frame")
    if hasattr(value, "__iter__") and (module == "river" or hasattr(value, "n_outputs")):
        from streams.river_source import RiverSource

        return RiverSource(value, labels=labels)
    raise TypeError(
        f"a source must be a path, a name, a Source, a Batch, a pandas frame or a river data set, got {value!r}"
    )


def open_sink(spec: str | os.PathLike[str]) -> Sink:
    """A place for messages: a path (compressed if it ends with ``.gz`` or ``.zst``) or ``-`` for standard output."""
    from streams.files import LinesSink

    text = os.fspath(spec)
    if match := _SCHEME.match(text):
        raise ValueError(f"a sink must be a path or -, got the scheme {match[0]!r}")
    return LinesSink(text)
