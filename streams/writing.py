"""Events to a file of any format that can hold them: the protocol of the writers, and the copying of a source."""

from __future__ import annotations

import abc
import importlib
import os
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from streams.batch import Batch, Schema
from streams.memory import BatchSource
from streams.schema_file import write_schema_file
from streams.source import Source
from streams.text import COMPRESSED_ENDINGS
from streams.whole_file import compressor, whole_file
from streams.wire import encode_events

WRITERS = {
    ".jsonl": "writing:JSONLinesWriter",
    ".ndjson": "writing:JSONLinesWriter",
    ".csv": "delimited_writer:DelimitedWriter",
    ".tsv": "delimited_writer:DelimitedWriter",
    ".parquet": "columnar_writer:ColumnarWriter",
    ".arrow": "columnar_writer:ColumnarWriter",
    ".feather": "columnar_writer:ColumnarWriter",
    ".svm": "libsvm:LibsvmWriter",
    ".libsvm": "libsvm:LibsvmWriter",
    ".xc": "extreme:ExtremeWriter",
    ".xmc": "extreme:ExtremeWriter",
    ".npz": "numpy_archive:NumpyWriter",
}
"""The writer for the ending of a file."""

_COMPRESSIBLE = (".jsonl", ".ndjson", ".csv", ".tsv", ".svm", ".libsvm", ".xc", ".xmc")

Progress = Callable[[int, int], None]
"""Told while events are written: how many so far, and how many could not be read."""

COPIED = 1024
"""Events that are copied at a time."""

EXTRAS = ("known", "key", "time", "weight", "payload")
"""What some events have beside features and labels."""


class ColumnsGrewError(ValueError):
    """A batch has columns, or categories, that the head of the file, which is written already, does not have."""


@runtime_checkable
class EventWriter(Protocol):
    """Writes events to a file, which appears whole with ``close`` or not at all."""

    def write(self, batch: Batch) -> None:
        """Append the events of a batch; its dead letters are passed over.

        Raises
        ------
        ValueError
            The format cannot hold an event; nothing is left of the file.
        ColumnsGrewError
            The format needs all columns before the first event, and the batch brings new ones.
        """

    def close(self) -> None:
        """Put the file in its place; may be called twice."""

    def discard(self) -> None:
        """Leave nothing of the file, and one that stood there before as it was; does nothing after ``close``."""


class FileWriter(abc.ABC):
    """What writers share: a temporary file that is renamed at the end.

    Parameters
    ----------
    path
        Where the events go, compressed if a text format's name ends with ``.gz`` or ``.zst``.
    schema
        That of the batches to come. Only some formats let it grow once the first batch is written.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Schema) -> None:
        self._path, self._schema = Path(path), schema
        self._files = ExitStack()
        self._is_open = True
        self._partial = self._files.enter_context(whole_file(self._path))

    @abc.abstractmethod
    def _append(self, batch: Batch) -> None:
        """Write events."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Write what is still to be written and close the temporary file."""

    def write(self, batch: Batch) -> None:
        """Append the events of a batch (see `EventWriter`)."""
        if not self._is_open:
            raise ValueError(f"{self._path.name}: a writer must be open to be written, got one that is closed")
        try:
            self._append(batch)
        except BaseException:
            self.discard()
            raise

    def close(self) -> None:
        """Put the file in its place; may be called twice."""
        if not self._is_open:
            return
        try:
            self._finish()
        except BaseException:
            self.discard()
            raise
        self._is_open = False
        self._files.close()

    def discard(self) -> None:
        """Leave nothing of the file; does nothing after ``close``."""
        if self._is_open:
            self._is_open = False
            error = ValueError("discarded")
            self._files.__exit__(type(error), error, None)

    def _open_text(self) -> Any:
        """The temporary file, compressing as the path says."""
        file = self._files.enter_context(self._partial.open("wb"))
        text = compressor(file, self._path)
        if text is not file:
            self._files.callback(text.close)
        return text


class JSONLinesWriter(FileWriter):
    """Writes events as lines of JSON, with a schema file beside them.

    Parameters
    ----------
    path, schema
        See `FileWriter`. The schema may grow until the end.

    Notes
    -----
    `EventDecoder` tells what a line holds. Names are written as texts. The schema file keeps what lines do not say: the
    order of columns and categories, and labels that no event has.
    """

    def __init__(self, path: str | os.PathLike[str], schema: Schema) -> None:
        super().__init__(path, schema)
        self._text = self._open_text()

    def _append(self, batch: Batch) -> None:
        for message in encode_events(batch):
            self._text.write(message + b"\n")

    def _finish(self) -> None:
        self._text.close()
        write_schema_file(self._path, self._schema)


def writer_ending(path: str | os.PathLike[str]) -> str:
    """The ending by which the writer for a path is chosen.

    Raises
    ------
    ValueError
        There is none for it.
    """
    name = Path(path).name.lower()
    plain = name
    for ending in COMPRESSED_ENDINGS:
        plain = plain.removesuffix(ending)
    ending = Path(plain).suffix
    if ending not in WRITERS or (plain != name and ending not in _COMPRESSIBLE):
        raise ValueError(
            f"a file to write must end with {', '.join(WRITERS)} (text also with .gz or .zst), got {Path(path).name!r}"
        )
    return ending


def open_writer(path: str | os.PathLike[str], schema: Schema, *, extras: Collection[str] = ()) -> EventWriter:
    """A writer of events to a file, as its ending says.

    Parameters
    ----------
    path
        Ends with one of ``WRITERS``; a text also with ``.gz`` or ``.zst`` behind that.
    schema
        That of the batches to come.
    extras
        Which of ``EXTRAS`` some of the events have. Those that the first batch has need not be named.

    Raises
    ------
    ValueError
        The path has another ending.
    FileNotFoundError
        There is no such folder.
    """
    module, name = WRITERS[writer_ending(path)].split(":")
    make = getattr(importlib.import_module(f"streams.{module}"), name)
    writer: EventWriter = make(path, schema, extras=extras) if "extras" in _parameters(make) else make(path, schema)
    return writer


def _parameters(make: Any) -> Collection[str]:
    import inspect

    return inspect.signature(make).parameters


def write_events(
    source: Source | Batch,
    path: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    max_events: int | None = None,
) -> int:
    """Copy what a source still has to a file and say how many events that were.

    Parameters
    ----------
    source
        Read to the end, and left open. Dead letters are passed over.
    path
        See `open_writer`.
    max_events
        Stop after so many events, those that cannot be read among them.
    progress
        Told now and then how many events have been written and how many dead letters passed over.

    Raises
    ------
    ValueError
        The format cannot hold an event, or needs to know all columns beforehand and the source, which brings new ones
        as it goes, cannot be read twice.

    Notes
    -----
    A format with a head needs all columns before the first event. Where an event brings a new one, the source is read
    to its end, set back, and copied again.
    """
    source = BatchSource(source) if isinstance(source, Batch) else source
    start = source.position()
    extras: set[str] = set()
    n_written = _copy(source, open_writer(path, source.schema), progress, max_events, extras)
    if n_written is None:
        try:
            source.resume(start)
        except ValueError as error:
            raise ValueError(
                f"{Path(path).name}: columns must all be known before the first event of this format, and the source "
                f"brings new ones and cannot be read twice ({error}); JSON Lines can be written from it"
            ) from None
        n_written = _copy(source, open_writer(path, source.schema, extras=extras), progress, max_events, extras)
        if n_written is None:
            raise ValueError(f"{Path(path).name}: a source must bring the same columns when it is read twice")
    return n_written


def _copy(
    source: Source,
    writer: EventWriter,
    progress: Progress | None,
    max_events: int | None,
    extras: set[str],
) -> int | None:
    """Events written, or None if new columns came up; then the source has been read to the end to know them all."""
    n_written = n_dead = 0
    has_grown = False
    try:
        while max_events is None or n_written + n_dead < max_events:
            batch = source.next_batch(COPIED if max_events is None else min(COPIED, max_events - n_written - n_dead))
            if batch is None:
                break
            n_written += len(batch)
            n_dead += len(batch.dead)
            extras.update(extras_of(batch))
            if not has_grown:
                try:
                    writer.write(batch)
                except ColumnsGrewError:
                    has_grown = True
            if progress is not None and not has_grown:
                progress(n_written, n_dead)
        if has_grown:
            writer.discard()
            return None
        writer.close()
    except BaseException:
        writer.discard()
        raise
    return n_written


def extras_of(batch: Batch) -> list[str]:
    """Which of ``EXTRAS`` a batch has."""
    return [what for what in EXTRAS if getattr(batch, what) is not None]
