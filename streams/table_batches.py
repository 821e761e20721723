"""Columns of a table, as Arrow arrays, turned into batches without a step of Python for a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streams.batch import COMPLETE, NOMINAL, NUMERIC, PARTIAL, UNLABELLED, Batch, Rows, Schema
from streams.table_columns import SEPARATORS, Column
from streams.table_kernels import rows_of_columns, rows_of_ones

_UNKNOWN = 2
"""A label's cell of which nothing is known, beside 0 and 1."""


@dataclass(slots=True)
class _Coded:
    """Names in rows: row ``i`` has ``names[codes[starts[i]:starts[i + 1]]]``; a code of -1 is no name."""

    starts: NDArray[np.int64]
    codes: NDArray[np.int64]
    names: list[Any]
    valid: NDArray[np.bool_] | None
    numbers: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = np.full(len(self.names) + 1, -1)

    def numbered(self, start: int, stop: int, number: Callable[[Any], int]) -> NDArray[np.int64]:
        """What ``number`` calls the names of some rows, asked for each in the order in which they come; else -1."""
        codes = self.codes[self.starts[start] : self.starts[stop]]
        new = codes[(self.numbers[codes] < 0) & (codes >= 0)]
        if len(new):
            different, first = np.unique(new, return_index=True)
            for code in different[np.argsort(first)].tolist():
                self.numbers[code] = number(self.names[code])
        return self.numbers[codes]

    def rows(self, start: int, stop: int, number: Callable[[Any], int], width: Callable[[], int]) -> Rows:
        """The numbers of some rows, sorted and each once."""
        columns = self.numbered(start, stop, number)
        row = np.repeat(np.arange(stop - start), np.diff(self.starts[start : stop + 1]))
        wide = max(width(), 1)
        cells = np.unique((row * wide + columns)[columns >= 0])
        indptr = np.zeros(stop - start + 1, np.int64)
        np.cumsum(np.bincount(cells // wide, minlength=stop - start), out=indptr[1:])
        return Rows(indptr, (cells % wide).astype(np.int32))


class TableDecoder:
    """Turns pieces of a table into events.

    Parameters
    ----------
    columns
        What each column is.
    schema
        Names of features and labels; grows by categories and tags.
    separator
        Regular expression that parts the tags of a cell of text.
    tag_names
        Labels that tags stand for: the number of a label by the tag. None: a tag is the label's name.
    nan_is_missing
        Whether NaN means a missing value, as in pandas, and not a malformed one.
    no_tags_known
        Whether a missing cell of tags means no label, as in text, and not that nothing is known.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        schema: Schema,
        *,
        separator: str = SEPARATORS,
        tag_names: Mapping[Any, int] | None = None,
        nan_is_missing: bool = False,
        no_tags_known: bool = False,
    ) -> None:
        self.columns = list(columns)
        self.schema = schema
        self.separator = separator
        self.tag_names = tag_names
        self.nan_is_missing, self.no_tags_known = nan_is_missing, no_tags_known
        numbered = list(enumerate(columns))
        features = [number for number, column in numbered if column.role == "feature"]
        place = {number: feature for feature, number in enumerate(features)}
        self.numeric = [(number, place[number]) for number in features if columns[number].kind == NUMERIC]
        self._scratch = np.empty(0, np.float32)
        self.place_of_numeric = [feature for _, feature in self.numeric]
        self.nominal = [(number, place[number]) for number in features if columns[number].kind == NOMINAL]
        self.empty = [place[number] for number in features if columns[number].kind not in (NUMERIC, NOMINAL)]
        self.labels = [number for number, column in numbered if column.role == "label"]
        self.single = {column.role: number for number, column in numbered if column.role not in ("feature", "label")}

    def decode(self, arrays: Sequence[Any], n: int) -> DecodedTable:
        """The ``n`` rows of arrays, one a column; those of text and of unused columns are not looked at."""
        return DecodedTable(self, arrays, n)

    def scratch(self, n: int) -> NDArray[np.float32]:
        """Room for the numbers of ``n`` rows, a row a column; the same each time, for new memory costs time."""
        size = len(self.numeric) * n
        if len(self._scratch) < size:
            self._scratch = np.empty(size, np.float32)
        return self._scratch[:size].reshape(len(self.numeric), n)

    def label_id(self, tag: Any) -> int:
        """The label that a tag stands for; a new one joins, unless all were declared."""
        if self.tag_names is not None:
            return self.tag_names.get(tag, -1)
        return -1 if tag == "" or tag is None else self.schema.label_id(tag)


class DecodedTable:
    """A piece of a table, ready to be cut into batches.

    Attributes
    ----------
    faults
        Row and column of what is no value for that column: the first of each row, ascending. Such rows are not to be
        handed out.
    """

    def __init__(self, decoder: TableDecoder, arrays: Sequence[Any], n: int) -> None:
        self._decoder = decoder
        self._n = n
        self._wrong: dict[int, int] = {}
        self._features(arrays)
        self._labels(arrays)
        single = {role: arrays[number] for role, number in decoder.single.items() if arrays[number] is not None}
        self._cells = self._listed_cells(single["cells"]) if "cells" in single else None
        self._tags = self._coded_tags(single["tags"]) if "tags" in single else None
        self._known = self._coded_tags(single["known"]) if "known" in single else None
        self._key = _strings(single["key"]) if "key" in single else None
        self._payload = _texts(single["payload"]) if "payload" in single else None
        self._time = _times(single["time"]) if "time" in single else None
        self._weight = self._weights(single["weight"]) if "weight" in single else None
        self.faults = sorted(self._wrong.items())

    def __len__(self) -> int:
        return self._n

    def _mark(self, rows: NDArray[np.bool_], column: int) -> None:
        for row in np.flatnonzero(rows).tolist():
            self._wrong[row] = min(self._wrong.get(row, column), column)

    # Decoding.

    def _features(self, arrays: Sequence[Any]) -> None:
        decoder = self._decoder
        width = len(decoder.numeric) + len(decoder.nominal) + len(decoder.empty)
        numeric = [arrays[number] for number, _ in decoder.numeric]
        n_missing = sum(array.null_count for array in numeric)
        columns = decoder.scratch(self._n)
        with np.errstate(over="ignore", invalid="ignore"):
            for column, array in zip(columns, numeric, strict=True):
                column[:] = numbers(array)
        x, n_odd = rows_of_columns(columns)
        if len(numeric) < width:
            x, narrow = np.full((self._n, width), np.nan, np.float32), x
            x[:, decoder.place_of_numeric] = narrow
        self._x = x
        self._nominal = {}
        for number, feature in decoder.nominal:
            self._nominal[feature] = _coded(arrays[number], np.arange(self._n + 1))
        if n_odd == n_missing:
            return
        for number, feature in decoder.numeric:
            values, array = x[:, feature], arrays[number]
            if decoder.nan_is_missing:
                self._mark(np.isinf(values), number)
            elif array.null_count < (wrong := ~np.isfinite(values)).sum():
                self._mark(wrong & array.is_valid().to_numpy(zero_copy_only=False), number)

    def _labels(self, arrays: Sequence[Any]) -> None:
        numbers_of_labels = self._decoder.labels
        cells = np.empty((self._n, len(numbers_of_labels)), np.uint8)
        for label, number in enumerate(numbers_of_labels):
            array = arrays[number]
            if pa.types.is_boolean(array.type):
                found = array.cast(pa.uint8())
                cells[:, label] = (found.fill_null(_UNKNOWN) if found.null_count else found).to_numpy()
                continue
            values = numbers(array)
            missing = np.isnan(values)
            self._mark(~(missing | (values == 0) | (values == 1)), number)
            cells[:, label] = np.where(missing, _UNKNOWN, values == 1)
        self._present = rows_of_ones(cells)
        self._state = np.full(self._n, COMPLETE if numbers_of_labels else UNLABELLED, np.uint8)
        self._known_labels = None
        unknown = cells == _UNKNOWN
        if unknown.any():
            self._state[unknown.any(1)] = PARTIAL
            self._state[unknown.all(1)] = UNLABELLED
            self._known_labels = Rows.from_dense(~unknown & (self._state == PARTIAL)[:, np.newaxis])

    def _listed_cells(self, array: pa.Array) -> Rows:
        """Sparse features: ascending columns of the schema with a value each, null for a missing one."""
        number = self._decoder.single["cells"]
        starts = _starts(array)
        pairs = array.flatten()
        index, value = (pairs.field(part) for part in (0, 1))
        columns, values = numbers(index), numbers(value).astype(np.float32)
        row = np.repeat(np.arange(self._n), np.diff(starts))
        wrong = ~((columns >= 0) & (columns < self._decoder.schema.n_features))
        wrong |= ~np.isfinite(values) & value.is_valid().to_numpy(zero_copy_only=False)
        wrong[1:] |= (np.diff(columns) <= 0) & (np.diff(row) == 0)
        self._mark(np.bincount(row[wrong], minlength=self._n) > 0, number)
        return Rows(starts, np.where(wrong, 0, columns).astype(np.int32), values)

    def _coded_tags(self, array: pa.Array) -> _Coded:
        kind = array.type
        if pa.types.is_dictionary(kind):
            array, kind = array.dictionary_decode(), kind.value_type
        if not is_list(kind):
            array = pc.split_pattern_regex(pc.utf8_trim_whitespace(array.cast(pa.string())), self._decoder.separator)
        coded = _coded(array.flatten(), _starts(array))
        if array.null_count and not self._decoder.no_tags_known:
            coded.valid = array.is_valid().to_numpy(zero_copy_only=False)
        return coded

    def _weights(self, array: pa.Array) -> NDArray[np.float64]:
        values = numbers(array.fill_null(1)).astype(np.float64)
        wrong = ~((values > 0) & np.isfinite(values))
        self._mark(wrong, self._decoder.single["weight"])
        return np.where(wrong, 1.0, values)

    # Cutting.

    def batch(self, start: int, stop: int) -> Batch:
        """Some of the rows as events, without source and offsets; the schema grows by the names in them alone."""
        schema = self._decoder.schema
        x: NDArray[np.float32] | Rows = self._x[start:stop]
        for feature, coded in self._nominal.items():
            codes = coded.numbered(start, stop, partial(schema.category_id, feature))
            self._x[start:stop, feature] = np.where(codes < 0, np.nan, codes)
        if self._cells is not None:
            x = self._cells[start:stop]
        elif schema.sparse:
            x = Rows.from_dense(self._x[start:stop], values=True)
        y, state, known = self._label_rows(start, stop)
        time = weight = key = payload = None
        if self._time is not None and self._time[1][start:stop].any():
            time = self._time[0][start:stop]
        if self._weight is not None and (self._weight[start:stop] != 1).any():
            weight = self._weight[start:stop]
        if self._key is not None:
            key = _pieces(self._key, start, stop)
        if self._payload is not None:
            payload = _pieces(self._payload, start, stop)
        return Batch(schema, x, y, state, known, weight, time, key, payload)

    def _label_rows(self, start: int, stop: int) -> tuple[Rows, NDArray[np.uint8], Rows | None]:
        if self._tags is not None:
            return self._tagged_rows(self._tags, start, stop)
        state, known = self._state[start:stop], None
        if self._known_labels is not None and (state == PARTIAL).any():
            known = self._known_labels[start:stop]
        return self._present[start:stop], state, known

    def _tagged_rows(self, tags: _Coded, start: int, stop: int) -> tuple[Rows, NDArray[np.uint8], Rows | None]:
        decoder, known = self._decoder, None
        state = np.full(stop - start, COMPLETE, np.uint8)

        def width() -> int:
            return decoder.schema.n_labels

        y = tags.rows(start, stop, decoder.label_id, width)
        if tags.valid is not None:
            state[~tags.valid[start:stop]] = UNLABELLED
        if self._known is not None:
            partly = self._known.valid[start:stop] if self._known.valid is not None else np.ones(len(state), bool)
            state[partly] = PARTIAL
            known = self._known.rows(start, stop, decoder.label_id, width) if partly.any() else None
        return y, state, known


def numbers(array: pa.Array) -> NDArray[Any]:
    """The values of an array of numbers or truth values, NaN where one is missing.

    Raises
    ------
    ValueError
        It holds something else.
    """
    kind = array.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    if pa.types.is_dictionary(kind):
        return numbers(array.dictionary_decode())
    if pa.types.is_boolean(kind):
        return array.cast(pa.uint8()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return array.cast(pa.float64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    raise ValueError(f"a column of numbers must be of a numeric type, got {kind}")


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of numbers or truth values, so that its columns can be numeric features."""
    if pa.types.is_dictionary(kind):
        return is_number(kind.value_type)
    tests = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    return any(test(kind) for test in tests)


def is_string(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of text, so that its columns can be nominal features."""
    if pa.types.is_dictionary(kind):
        return is_string(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of lists, so that its columns can be tags."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _starts(array: pa.Array) -> NDArray[np.int64]:
    """Where each row of a list array begins in ``array.flatten()``."""
    starts = np.zeros(len(array) + 1, np.int64)
    np.cumsum(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False), out=starts[1:])
    return starts


def _coded(array: pa.Array, starts: NDArray[np.int64]) -> _Coded:
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.fill_null(-1) if array.null_count else array.indices
    return _Coded(starts, codes.to_numpy(zero_copy_only=False).astype(np.int64), array.dictionary.to_pylist(), None)


def _strings(array: pa.Array) -> pa.Array:
    return array if is_string(array.type) else array.cast(pa.string())


def _texts(array: pa.Array) -> pa.Array:
    """Text or bytes as they are."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _pieces(array: pa.Array, start: int, stop: int) -> list[Any] | None:
    values = array.slice(start, stop - start).to_pylist()
    return values if any(value is not None for value in values) else None


def _times(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Milliseconds since 1970, 0 where there are none, and where there are some."""
    if not pa.types.is_integer(array.type):
        array = array.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return array.cast(pa.int64()).fill_null(0).to_numpy(), valid
