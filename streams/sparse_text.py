"""What the two formats of sparse text, LIBSVM's and that of extreme classification, share in reading."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import BinaryIO

import numpy as np

from streams import sparse_rows as kernel
from streams.arff_header import not_utf8, shortened
from streams.batch import COMPLETE, NUMERIC, Batch, Schema
from streams.source import Position
from streams.sparse_rows import SparseRowReader
from streams.text import TextReader
from streams.text_source import OnError, RowKind, TextSource

_BLANKS, _COMMENT, _PLUS = re.compile(r"[ \t\r]+"), re.compile(r"(?<=[ \t\r])#.*"), re.compile(r"^\+(?=[0-9])")


class SparseTextSource(TextSource):
    """Events whose lines are ``label,label index:value index:value``; a subclass settles what they are called."""

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryIO | TextReader,
        *,
        on_error: OnError,
        payload: str | None,
        rows: RowKind | None,
        name: str | None,
        n_events: int | None,
    ) -> None:
        if payload is not None:
            raise ValueError(f"payload must be None, for sparse text holds numbers alone, got {payload!r}")
        super().__init__(source, on_error=on_error, rows=rows, name=name, n_events=n_events)

    def _settle(self, schema: Schema, base: int, *, features_grow: bool = False, labels_grow: bool = False) -> None:
        """Read indices from ``base`` on and numbers of labels as those of ``schema``, or let it grow by what is met."""
        self._schema, self._base = schema, base
        self._features_grow, self._labels_grow = features_grow, labels_grow
        self._rows = SparseRowReader(
            base, None if features_grow else schema.n_features, None if labels_grow else schema.n_labels
        )
        self._number()

    def _number(self) -> None:
        """Tell the kernel which features and labels have numbers already."""
        if self._features_grow:
            for feature in self._schema.feature_names[len(self._rows.features) :]:
                self._rows.features.add(int(str(feature).removeprefix("x")))
        if self._labels_grow:
            for label in self._schema.label_names[len(self._rows.labels) :]:
                self._rows.labels.add(str(label))

    def position(self) -> Position:
        """Where the next event begins, and the schema so far where it grows."""
        grows = self._features_grow or self._labels_grow
        return {**super().position(), **({"schema": self._schema.to_json()} if grows else {})}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken in the same text."""
        super().resume(position)
        if "schema" in position:
            self._schema.extend(Schema.from_json(position["schema"]))
            self._number()

    def _read(self, wanted: int) -> tuple[Batch, str | None]:
        reader, rows, schema = self._reader, self._rows, self._schema
        stop = reader.whole_lines
        x, y = rows.read(reader.buffer, reader.start, stop, wanted)
        if self._features_grow and len(rows.features) > schema.n_features:
            for index in rows.features.listed(schema.n_features):
                schema.kinds[schema.feature_id(f"x{index}")] = NUMERIC
        if self._labels_grow and len(rows.labels) > schema.n_labels:
            for label in rows.labels.listed(schema.n_labels):
                schema.label_id(label)
        batch = Batch(
            schema,
            x if schema.sparse else x.to_dense(schema.n_features),
            y,
            np.full(len(x), COMPLETE, np.uint8),
            source=self._name,
            offset=np.arange(self._record, self._record + len(x), dtype=np.int64),
        )
        wrong = None if rows.status == kernel.DONE else self._wrong(stop)
        reader.advance(rows.position - reader.start, rows.n_lines)
        return batch, wrong

    def _wrong(self, stop: int) -> str:
        """What is wrong with the row that the kernel stopped at."""
        reader, rows = self._reader, self._rows
        raw = reader.buffer[rows.position : reader.find_line_end(stop, rows.position)].tobytes()
        try:
            words = _BLANKS.split(_COMMENT.sub("", raw.decode().strip()))
        except UnicodeDecodeError as error:
            return not_utf8("a row", raw, error)
        token = reader.buffer[rows.token : rows.token_end].tobytes().decode()
        found = shortened(token) if token else "none"
        if rows.status == kernel.LABEL:
            rule = "have a text" if self._labels_grow else f"be a number below {self._schema.n_labels}"
            return f"a label must {rule}, found {found}"
        if rows.status == kernel.REPEATED_LABEL:
            names = [_PLUS.sub("", label) for label in words[0].split(",")]
            repeated = _first_repeated(names if self._labels_grow else [str(int(name)) for name in names])
            return f"labels of an event must differ, found {shortened(repeated)} twice"
        if rows.status == kernel.REPEATED_INDEX:
            repeated = _first_repeated([str(int(word.partition(":")[0])) for word in words if ":" in word])
            return f"indices of a row must differ, found {shortened(repeated)} twice"
        if rows.status == kernel.INDEX:
            if token.startswith("qid:"):
                return f"a row must hold labels and features alone, found {found} of a ranking file"
            last = "" if self._features_grow else f" to {self._base + self._schema.n_features - 1}"
            return f"a feature must be index:value, its index {self._base}{last or ' or more'}, found {found}"
        rule = "be a finite number" if rows.status == kernel.BROKEN else "be at most 3.4028235e38 in size"
        return f"a value must {rule}, found {found}"


def _first_repeated(words: list[str]) -> str:
    return next(word for word, count in Counter(words).items() if count > 1)
