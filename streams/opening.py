"""Sources and sinks by what a user writes: a path, a known name, a URL, or an object that holds events."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.batch import Batch
from streams.source import Sink, Source
from streams.text_source import OnError, RowKind
from streams.topics.address import is_topic

if TYPE_CHECKING:
    from streams.text import TextReader
    from streams.topics.sink import Role
    from streams.topics.source import TopicPartitions

READERS = {
    ".arff": "arff:ArffSource",
    ".jsonl": "jsonl:JSONLinesSource",
    ".ndjson": "jsonl:JSONLinesSource",
    ".json": "jsonl:JSONLinesSource",
    ".csv": "delimited:DelimitedSource",
    ".tsv": "delimited:DelimitedSource",
    ".tab": "delimited:DelimitedSource",
    ".svm": "libsvm:LibsvmSource",
    ".libsvm": "libsvm:LibsvmSource",
    ".xc": "extreme:ExtremeSource",
    ".xmc": "extreme:ExtremeSource",
    ".parquet": "columnar:ColumnarSource",
    ".arrow": "columnar:ColumnarSource",
    ".feather": "columnar:ColumnarSource",
    ".npz": "numpy_archive:NumpySource",
}
"""The source for the ending of a file."""

BINARY = (".parquet", ".arrow", ".feather", ".npz")
"""Endings of files that are no text, and so cannot be compressed or piped."""

SCHEMES = ("river:", "synthetic:", "siblurry:", "kafka:", "log:")
"""What a URL may begin with."""

SNIFFED = 1 << 20
"""Bytes among which the first line must be to tell the format of a file without an ending."""

_MAGIC = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"PK\x03\x04": ".npz"}
_EXTREME = re.compile(rb"\d+ \d+ \d+")
_LIBSVM = re.compile(rb"(\S+\s+)?\d+:\S+(\s+\d+:\S+)*")
_SCHEME = re.compile(r"([a-z][a-z0-9+]+):(?!\\)")


def open_source(
    spec: Any,
    *,
    labels: str | Sequence[str] | None = None,
    on_error: OnError = "fail",
    payload: str | None = None,
    rows: RowKind | None = None,
    until_end: bool = True,
) -> Source:
    """A stream of events.

    Parameters
    ----------
    spec
        The path of a file: ARFF, JSON Lines, CSV, TSV, LIBSVM and the extreme-classification text format, plain, gzip
        or zstd; Parquet, Arrow IPC, Feather and NumPy archives. ``-`` for text on standard input; a known name
        (`list_datasets`); ``river:module.Class`` for a data set of river; ``synthetic:tree?drift=sudden&seed=1`` for
        a made stream; or an object: a `Source`, a `Batch`, a pandas or polars frame, an Arrow table, or a river data
        set. A file's format is told by its ending, or else by its first characters.
    labels
        Which columns are labels: ``first:6``, ``last:14``, names parted by commas, or a Mulan ``.xml`` file; in tables
        also ``tags:COLUMN``, one column of tags. None: as the data themselves tell, or the schema file beside them. A
        frame needs it, and so does a table that tells nothing.
    on_error
        What an event that cannot be read does: ``fail`` raises `DecodeError`, ``skip`` makes it a dead letter.
    payload
        Field from which features are still to be extracted.
    rows
        ``dense`` or ``sparse``; None: as the data suggest.
    until_end
        Whether a topic ends where it does now, and not never.

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
        return _open_object(spec, labels, payload)
    text = os.fspath(spec)
    if text != "-" and not Path(text).exists():
        if match := _SCHEME.match(text):
            return _open_url(match[0], text, labels, on_error, payload, until_end)
        from streams.registry import is_known, open_known

        if is_known(text):
            return open_known(text, labels=labels, on_error=on_error, payload=payload, rows=rows)
        if not Path(text).suffix and os.sep not in text:
            from streams.registry import find_dataset

            find_dataset(text)
        raise FileNotFoundError(
            f"a source must be a file, a URL or a known data set, found none called {text!r}{_like(Path(text))}"
        )
    if text != "-" and Path(text).is_dir():
        raise IsADirectoryError(f"a source must be a file, got the folder {text!r}")
    return _open_file(spec, labels, on_error, payload, rows)


def _open_file(
    spec: str | os.PathLike[str],
    labels: str | Sequence[str] | None,
    on_error: OnError,
    payload: str | None,
    rows: RowKind | None,
) -> Source:
    from streams.source import DecodeError
    from streams.text import TextReader

    options: dict[str, Any] = {"labels": labels, "on_error": on_error, "payload": payload, "rows": rows}
    ending = _ending(os.fspath(spec))
    if ending not in READERS and os.fspath(spec) != "-":
        with open(spec, "rb") as file:
            head = file.read(max(map(len, _MAGIC)))
        ending = next((found for magic, found in _MAGIC.items() if head.startswith(magic)), ending)
    if ending in BINARY:
        return _reader(ending)(spec, **options)
    reader = TextReader(spec)
    if ending not in READERS:
        first = _first_line(reader)
        found = _sniffed(first)
        if found is None:
            reader.close()
            raise DecodeError(
                reader.name,
                "a text must be ARFF (@relation …) or JSON Lines ({…}), a table parted by commas, tabs or semicolons, "
                f"LIBSVM, or end with one of {', '.join(READERS)}, found {first[:40]!r}",
                line=1,
            )
        ending = found
    return _reader(ending)(reader, **options)


def _ending(path: str) -> str:
    """The ending that tells a file's format, in small letters."""
    from streams.text import COMPRESSED_ENDINGS

    name = Path(path).name.lower()
    for ending in COMPRESSED_ENDINGS:
        name = name.removesuffix(ending)
    return Path(name).suffix


def _reader(ending: str) -> Callable[..., Source]:
    module, name = READERS[ending].split(":")
    found: Callable[..., Source] = getattr(importlib.import_module(f"streams.{module}"), name)
    return found


def _sniffed(first: bytes) -> str | None:
    """The ending that a text of no known ending would have, by its first line."""
    if first.startswith(b"@"):
        return ".arff"
    if first.startswith(b"{"):
        return ".jsonl"
    if _EXTREME.fullmatch(first):
        return ".xc"
    if _LIBSVM.fullmatch(first):
        return ".svm"
    return ".csv" if any(delimiter in first for delimiter in b",\t;") else None


def _like(path: Path) -> str:
    """A hint at a file beside that is called nearly so."""
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, names, 1)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else ""


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


def _open_url(
    scheme: str,
    text: str,
    labels: str | Sequence[str] | None,
    on_error: OnError,
    payload: str | None,
    until_end: bool,
) -> Source:
    if scheme not in SCHEMES:
        raise ValueError(f"a source's scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    if is_topic(text):
        from streams.topics.source import KafkaSource

        return KafkaSource(text, on_error=on_error, payload=payload, until_end=until_end)
    if scheme == "siblurry:":
        from streams.siblurry import open_siblurry

        return open_siblurry(text, labels=labels, payload=payload)
    if scheme == "synthetic:":
        from streams.synthetic import open_synthetic

        return open_synthetic(text)
    from streams.river_source import RiverSource, river_dataset

    return RiverSource(river_dataset(text.removeprefix(scheme)), labels=labels)


def _open_object(value: Any, labels: str | Sequence[str] | None, payload: str | None) -> Source:
    if isinstance(value, Source):
        return value
    module = type(value).__module__.partition(".")[0]
    if module in ("pandas", "polars", "pyarrow"):
        from streams.frames import frame_batch
        from streams.memory import BatchSource

        return BatchSource(frame_batch(value, labels, payload=payload), "frame")
    if hasattr(value, "__iter__") and (module == "river" or hasattr(value, "n_outputs")):
        from streams.river_source import RiverSource

        return RiverSource(value, labels=labels)
    raise TypeError(f"a source must be a path, a name, a Source, a Batch, a frame or a river data set, got {value!r}")


def open_topic(
    spec: str, *, on_error: OnError = "skip", payload: str | None = None, until_end: bool = False, shared: bool = True
) -> TopicPartitions:
    """The partitions of a topic, ``kafka://host:port/topic?group=g`` or ``log:DIR``; all of them if not ``shared``."""
    from streams.topics.address import Address
    from streams.topics.source import TopicPartitions

    address = Address.parse(spec) if shared else Address.parse(spec).alone()
    return TopicPartitions(address, on_error=on_error, payload=payload, until_end=until_end)


def open_sink(spec: str | os.PathLike[str], *, role: Role = "messages") -> Sink:
    """A place for messages: a path (compressed if it ends with ``.gz`` or ``.zst``), ``-`` for standard output, or a
    topic, ``kafka://host:port/topic`` or ``log:DIR``."""
    return open_partition_sink(os.fspath(spec), None, role=role)


def open_partition_sink(
    spec: str, partition: int | None, *, source: Source | None = None, group: str | None = None, role: Role = "messages"
) -> Sink:
    """The sink of one partition of a source that is read by partitions; None: of all of it.

    Parameters
    ----------
    spec
        As of `open_sink`. Each partition has a file of its own, ``predictions-0003.jsonl`` for ``predictions.jsonl``,
        or writes to the partition of that number, as far as a topic has so many.
    source
        Whose position goes with what is written.
    group
        What tells two readers of the same source apart.
    role
        What the messages are; see `KafkaSink`.
    """
    from streams.files import LinesSink
    from streams.topics.address import Address

    if not is_topic(spec):
        if match := _SCHEME.match(spec):
            raise ValueError(f"a sink must be a path, -, kafka:// or log:DIR, got the scheme {match[0]!r}")
        return LinesSink(spec if partition is None or spec == "-" else _of_partition(Path(spec), partition))
    address = Address.parse(spec)
    if address.directory is not None:
        from streams.topics.log import partition_path

        address.directory.mkdir(parents=True, exist_ok=True)
        return LinesSink(partition_path(address.directory, partition or 0), append=True)
    from streams.topics.sink import KafkaSink

    reader = f"{group or 'ihomer'}.{source.name if source else 'run'}".replace("/", ".")
    identity = address.options.get("transactional_id", f"{reader}.{address.topic}")
    whole = identity if partition is None else f"{identity}.{partition}"
    return KafkaSink(address, source=source, partition=partition, transactional_id=whole, role=role)


def _of_partition(path: Path, partition: int) -> Path:
    stem, dot, endings = path.name.partition(".")
    return path.with_name(f"{stem}-{partition:04d}{dot}{endings}")
