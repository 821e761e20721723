"""LIBSVM files, of one or many labels, as a source of events and as a place to write them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO, Literal

import numpy as np

from streams.batch import NUMERIC, Schema
from streams.schema_file import find_schema_file
from streams.sparse_rows import count_rows
from streams.sparse_text import SparseTextSource
from streams.sparse_writer import MAX_COLUMNS, SparseTextWriter
from streams.text import BLOCK, TextReader
from streams.text_source import OnError, RowKind


class LibsvmSource(SparseTextSource):
    """Events of a LIBSVM file, ``label,label index:value index:value``: plain, gzip or zstd, a path or ``-``.

    Parameters
    ----------
    source
        A path, ``-`` for standard input, an open binary stream, or a `TextReader`.
    labels
        Names of labels to declare beforehand, parted by commas or a sequence; others still join as rows bring them.
    on_error
        ``fail``: a row that cannot be read raises `DecodeError`, after the events before it were handed out.
        ``skip``: it becomes a dead letter.
    payload
        Must be None: the format has none.
    rows
        ``dense`` (absent is 0) or ``sparse``; None: sparse, or as a schema file says. Dense rows need the number of
        features to be known.
    name
        What to call the source; by default the file's name without its endings.
    n_events
        How many events there will be, where the caller knows; counted on request in a plain file.
    base
        Index of the first feature: 0 or 1. ``auto``: as a schema file says; else 1 where ``n_features`` is given;
        else it makes no difference, for every index from 0 on is a name.
    n_features
        How many features there are: ``x1, x2, …`` or, from base 0, ``x0, x1, …``; a higher index is malformed. None:
        as a schema file says, else features join as rows bring them, called ``x`` and their index as the file counts.

    Raises
    ------
    DecodeError
        The file is empty or damaged, or its schema file cannot be read.
    ValueError
        An option is wrong, or says what the schema file says already.

    Notes
    -----
    Labels are texts without blank, comma or colon, in any order, each once; an event's list of them may be empty, its
    line then beginning with a feature. ``-1`` alone is the negative class of files with two classes: no label is
    present. A plus sign before a digit counts for nothing, so ``+1`` is the label ``1``. Features come in any order,
    each once; a value of 0 is the same as none. ``#`` begins a comment at the beginning of a word. Blank lines are
    passed over. ``qid:`` of ranking files, a value of NaN or infinity, or of a size that float32 does not have: each
    makes the row malformed. A number may have any length and becomes ``float32(float(text))``.

    If a file that `LibsvmWriter` left beside it tells the schema, labels in the text are numbers of its labels.
    Otherwise the position carries the schema, so that columns have the same numbers after ``resume`` in another
    process.

    Memory depends on the longest row and the batch, not on the file. Where the text is compressed, ``resume`` reads it
    again up to the position.

    Examples
    --------
    >>> import io
    >>> batch = LibsvmSource(io.BytesIO(b"3,7 1:0.5 4:2\\n 1:1\\n")).next_batch()
    >>> batch.schema.feature_names, batch.schema.label_names
    (['x1', 'x4'], ['3', '7'])
    >>> batch.x.to_dense(2).tolist(), batch.y.to_dense(2).tolist()
    ([[0.5, 2.0], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO | TextReader,
        *,
        labels: str | Sequence[str] | None = None,
        on_error: OnError = "fail",
        payload: str | None = None,
        rows: RowKind | None = None,
        name: str | None = None,
        n_events: int | None = None,
        base: Literal["auto", 0, 1] = "auto",
        n_features: int | None = None,
    ) -> None:
        if base not in ("auto", 0, 1):
            raise ValueError(f"base must be 0, 1 or 'auto', got {base!r}")
        if n_features is not None and not 1 <= n_features < MAX_COLUMNS:
            raise ValueError(f"n_features must be from 1 to {MAX_COLUMNS - 1}, got {n_features}")
        names = [part.strip() for part in labels.split(",")] if isinstance(labels, str) else list(labels or ())
        if any(part.startswith(("first:", "last:")) or part.endswith(".xml") for part in names):
            raise ValueError(f"labels of LIBSVM text must be names, got {labels!r}")
        super().__init__(source, on_error=on_error, payload=payload, rows=rows, name=name, n_events=n_events)
        try:
            found = find_schema_file(self._reader.path)
            if found is not None:
                for what, given in (("labels", labels), ("n_features", n_features)):
                    if given is not None:
                        raise ValueError(f"{what} must be None, for {found.path.name} tells them, got {given!r}")
                found.schema.sparse = found.schema.sparse if rows is None else rows == "sparse"
                self._settle(found.schema, int(found.columns.get("base", 1)) if base == "auto" else base)
                return
            if rows == "dense" and n_features is None:
                raise ValueError(
                    "rows can be 'dense' where n_features or a schema file tells their length, got neither"
                )
            first = base if base != "auto" else 0 if n_features is None else 1
            features = [f"x{first + j}" for j in range(n_features or 0)]
            schema = Schema(features, names, sparse=rows != "dense")
            for column in range(schema.n_features):
                schema.decide(column, NUMERIC)
            self._settle(schema, first, features_grow=n_features is None, labels_grow=True)
        except BaseException:
            self.close()
            raise

    def _count(self) -> int | None:
        reader = self._reader
        if reader.path is None or reader.compression:
            return None
        count, at_line_start = 0, True
        with open(reader.path, "rb") as file:
            while block := file.read(BLOCK):
                found, at_line_start = count_rows(np.frombuffer(block, np.uint8), at_line_start)
                count += int(found)
        return count


class LibsvmWriter(SparseTextWriter):
    """Writes events as a LIBSVM file, indices counted from 1 (see `SparseTextWriter`)."""

    BASE = 1

    def _finish(self) -> None:
        if not self._n_rows:
            # An empty file would look like one that was never written.
            self._lines.write(b"\n")
        super()._finish()
