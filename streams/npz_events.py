"""Which arrays of an archive are features, labels and the rest, and the events that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import COMPLETE, NUMERIC, PARTIAL, UNLABELLED, Batch, Rows, Schema
from streams.npz_arrays import NpzArrays
from streams.npz_columns import Classes, Compressed, Faults, Features, LabelMatrix, LabelRows, Labels, Matrix
from streams.source import DecodeError
from streams.text_source import RowKind

_KINDS = {
    "numbers": "buif",
    "integers": "ui",
    "strings": "US",
    "texts or integers": "Uui",
    "strings or numbers": "USbuif",
    "times": "uiM",
    "truth values": "b",
}
"""What an array may hold, and what `numpy.dtype.kind` calls that."""


class NpzEvents:
    """The events that the arrays of an archive make; `NumpySource` tells how.

    Attributes
    ----------
    schema
        Names of the columns.
    n_events
        How many there are.
    """

    def __init__(
        self,
        arrays: NpzArrays,
        *,
        part: str | None,
        labels: Sequence[str] | None,
        rows: RowKind | None,
        payload: str | None,
    ) -> None:
        self._arrays = arrays
        self._x_name, self._ending = self._find(part)
        told = self._told_schema()
        if told is not None and labels is not None:
            raise ValueError(f"labels must be None, for the archive holds a schema, got {labels!r}")
        feature_names = told.feature_names if told else self._strings("feature_names")
        self._x = self._open_features(feature_names)
        self.n_events, n_features = self._x.shape
        label_names = told.label_names if told else labels or self._strings("label_names") or self._strings("classes")
        self._y, label_names = self._open_labels(label_names)
        feature_names = feature_names or [f"x{column}" for column in range(n_features)]
        self.schema = told or self._make_schema(feature_names, label_names)
        if rows is not None:
            self.schema.sparse = rows == "sparse"
        self._state = self._column("label_state", "integers")
        self._known = self._compressed("known", len(label_names)) if self._state is not None else None
        if self._known is not None and self._known.shape[0] != self.n_events:
            raise self._wrong(f"known labels must be there for {self.n_events} events, found {self._known.shape[0]}")
        self._weight, self._time = self._column("weight", "numbers"), self._column("time", "times")
        if payload is not None and payload + self._ending not in arrays:
            raise self._wrong(f"payload {payload!r} must be an array of strings, found none of that name")
        payload = payload or "payload"
        self._key = self._column("key", "texts or integers"), self._column("key_missing", "truth values")
        self._payload = self._column(payload, "strings"), self._column(f"{payload}_missing", "truth values")

    def raw(self, row: int) -> bytes:
        """The bytes of an event's features, as its array holds them."""
        return self._x.raw(row)

    def part(self, start: int, stop: int) -> tuple[Batch, Faults]:
        """The events from ``start`` to ``stop``, and what is wrong with the malformed ones among them."""
        schema, n = self.schema, stop - start
        faults: Faults = {}
        x = self._x.part(start, stop, schema.feature_names, faults)
        self._check_categories(x, faults)
        y, state, known = Rows.empty(n), np.full(n, UNLABELLED, np.uint8), None
        if self._y is not None:
            y, state, known = self._y.part(start, stop, schema.label_names, faults)
        if self._state is not None:
            state, known = self._told_state(start, stop, y, faults)
        weight = time = None
        if self._weight is not None:
            weight = self._weight[start:stop].astype(np.float64)
            for row in np.flatnonzero(~(np.isfinite(weight) & (weight > 0))).tolist():
                faults.setdefault(row, f"weight must be positive and finite, found {weight[row]}")
                weight[row] = 1
        if self._time is not None:
            time = self._time[start:stop]
            for row in np.flatnonzero(np.isnat(time)).tolist() if time.dtype.kind == "M" else ():
                faults.setdefault(row, "time must be known, found NaT")
            time = time.astype("M8[ms]").astype(np.int64) if time.dtype.kind == "M" else time.astype(np.int64)
        if schema.sparse and not isinstance(x, Rows):
            x = Rows.from_dense(x, values=True)
        elif not schema.sparse and isinstance(x, Rows):
            x = Rows(x.indptr, np.clip(x.indices, 0, max(schema.n_features - 1, 0)), x.data).to_dense(schema.n_features)
        key, payload = (_texts(*columns, slice(start, stop)) for columns in (self._key, self._payload))
        return Batch(schema, x, y, state, known, weight, time, key, payload), faults

    def _told_state(self, start: int, stop: int, y: Rows, faults: Faults) -> tuple[NDArray[np.uint8], Rows | None]:
        """State of every event's labels and the known cells, as the archive has them."""
        assert self._state is not None
        held = self._state[start:stop]
        for row in np.flatnonzero((held < UNLABELLED) | (held > COMPLETE)).tolist():
            faults.setdefault(row, f"label_state must be 0, 1 or 2, found {held[row]}")
        state = held.astype(np.uint8)
        for row in np.flatnonzero((state == UNLABELLED) & (np.diff(y.indptr) > 0)).tolist():
            faults.setdefault(row, "labels that are present must be known, found one that is not")
        partly = np.flatnonzero(state == PARTIAL)
        if not len(partly):
            return state, None
        listed = Rows.empty(len(state))
        if self._known is not None:
            listed = self._known.part(start, stop, self.schema.label_names, faults)
        for row in partly.tolist():
            if not np.isin(y.row(row), listed.row(row)).all():
                faults.setdefault(row, "labels that are present must be known, found one that is not")
        lengths = np.where(state == PARTIAL, np.diff(listed.indptr), 0)
        chosen = listed.take(partly)
        return state, Rows(np.concatenate([[0], np.cumsum(lengths)]), chosen.indices)

    def _check_categories(self, x: NDArray[np.float32] | Rows, faults: Faults) -> None:
        schema = self.schema
        for column, names in schema.categories.items():
            if isinstance(x, Rows):
                assert x.data is not None
                cells = np.flatnonzero(x.indices == column)
                values, rows = x.data[cells], np.searchsorted(x.indptr, cells, "right") - 1
            else:
                values, rows = x[:, column], np.arange(len(x))
            wrong = ~np.isnan(values) & ((values < 0) | (values >= len(names)) | (values != np.floor(values)))
            for place in np.flatnonzero(wrong).tolist():
                name = schema.feature_names[column]
                rule = f"be the number of a category, from 0 to {len(names) - 1}"
                faults.setdefault(int(rows[place]), f"feature {name!r} must {rule}, found {values[place]}")

    # Opening.

    def _wrong(self, reason: str) -> DecodeError:
        return DecodeError(self._arrays.path.name, reason)

    def _find(self, part: str | None) -> tuple[str, str]:
        """What the features are called, and the ending of all arrays' names."""
        held = self._arrays
        endings = ["", "_train"] if part is None else [f"_{part}"]
        for ending in endings:
            for x in ("x", "X"):
                if f"{x}{ending}" in held or f"{x}{ending}_indptr" in held:
                    return f"{x}{ending}", ending
        if part is None and "format" in held and "shape" in held:
            return "", ""
        wanted = " or ".join(f"x{ending}" for ending in endings)
        raise self._wrong(f"an archive must hold an array {wanted}, found {', '.join(held.names) or 'none'}")

    def _told_schema(self) -> Schema | None:
        if "schema" not in self._arrays:
            return None
        try:
            return Schema.from_array(self._array("schema", "integers", 1).astype(np.uint8))
        except (ValueError, TypeError, LookupError) as error:
            raise self._wrong(f"the schema must be one that a writer left, found: {error}") from None

    def _make_schema(self, features: Sequence[Any], labels: Sequence[Any]) -> Schema:
        try:
            schema = Schema(features, labels, sparse=isinstance(self._x, Compressed))
        except ValueError as error:
            raise self._wrong(str(error)) from None
        for column in range(schema.n_features):
            schema.decide(column, NUMERIC)
        return schema

    def _array(self, name: str, what: str, n_dimensions: int | None = None, length: int | None = None) -> NDArray[Any]:
        if name not in self._arrays:
            raise self._wrong(f"array {name!r} must be there, found {', '.join(self._arrays.names)}")
        array = self._arrays[name]
        right = array.dtype.kind in _KINDS[what] and array.ndim > 0 and n_dimensions in (None, array.ndim)
        if not right or length not in (None, len(array)):
            shape = "" if n_dimensions is None else f" in {n_dimensions} dimension{'s' * (n_dimensions > 1)}"
            many = "" if length is None else f", {length} of them"
            raise self._wrong(
                f"array {name!r} must hold {what}{shape}{many}, found {array.dtype} of shape {array.shape}"
            )
        return array

    def _column(self, name: str, what: str) -> NDArray[Any] | None:
        """An array with one value an event, or None where there is none of that name."""
        name += self._ending
        return self._array(name, what, 1, self.n_events) if name in self._arrays else None

    def _strings(self, name: str) -> list[str] | None:
        if name not in self._arrays:
            return None
        return [str(value) for value in self._as_text(self._array(name, "strings", 1)).tolist()]

    def _compressed(self, name: str, n_columns: int | None) -> Compressed | None:
        """Compressed rows whose parts' names begin with ``name``, which may be empty."""
        parts = [f"{name}{self._ending}_{part}" if name else part for part in ("indptr", "indices", "data", "shape")]
        indptr_name, indices_name, data_name, shape_name = parts
        if indptr_name not in self._arrays:
            return None
        indptr = self._array(indptr_name, "integers", 1).astype(np.int64)
        indices = self._array(indices_name, "integers", 1)
        data = self._array(data_name, "numbers", 1, len(indices)) if data_name in self._arrays else None
        if len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
            raise self._wrong(f"array {indptr_name!r} must ascend from 0 to the {len(indices)} indices, found {indptr}")
        if n_columns is None and shape_name in self._arrays:
            n_columns = int(self._array(shape_name, "integers", 1, 2)[1])
        if n_columns is None:
            n_columns = int(indices.max(initial=-1)) + 1
        return Compressed(indptr, indices, data, n_columns)

    def _open_features(self, names: Sequence[Any] | None) -> Features:
        held = self._arrays
        if self._x_name in held:
            x = Matrix(self._array(self._x_name, "numbers"))
            self._check_names("features", names, x.shape[1])
            return x
        if not self._x_name and held["format"].item() not in (b"csr", "csr"):
            raise self._wrong(f"a matrix of scipy must be in CSR format, found {held['format'].item()!r}")
        found = self._compressed(self._x_name[:1], None if names is None else len(names))
        assert found is not None
        return found

    def _open_labels(self, names: Sequence[Any] | None) -> tuple[Labels | None, list[Any]]:
        held = self._arrays
        rows = self._compressed("y", None if names is None else len(names)) if self._x_name else None
        labels: Labels | None = None
        if rows is not None:
            labels = LabelRows(rows)
        for name in (f"y{self._ending}", f"Y{self._ending}") if self._x_name else ():
            if rows is not None or name not in held:
                continue
            y = self._array(name, "strings or numbers", None, self.n_events)
            if y.ndim == 1 and y.dtype.kind != "b":
                classes = Classes(self._as_text(y), names)
                return classes, classes.names
            if y.ndim > 2 or y.dtype.kind in "US":
                raise self._wrong(f"array {name!r} must be classes or a matrix, found {y.dtype} of shape {y.shape}")
            labels = LabelMatrix(y.reshape(len(y), -1) if y.ndim == 1 else y)
            break
        if labels is None:
            return None, list(names or ())
        if labels.shape[0] != self.n_events:
            raise self._wrong(f"labels must be there for each of the {self.n_events} events, found {labels.shape[0]}")
        self._check_names("labels", names, labels.shape[1])
        return labels, [f"y{label}" for label in range(labels.shape[1])] if names is None else list(names)

    def _as_text(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bytes decoded; all else as it is."""
        try:
            return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        except UnicodeDecodeError as error:
            raise self._wrong(f"names must be UTF-8, found {error.object[:40]!r}") from None

    def _check_names(self, what: str, names: Sequence[Any] | None, n: int) -> None:
        if names is not None and len(names) != n:
            raise self._wrong(f"names of {what} must be {n}, one for each, found {len(names)}")


def _texts(values: NDArray[Any] | None, missing: NDArray[Any] | None, rows: slice) -> list[Any] | None:
    """Texts (or bytes, as they are held) of some events, None for those that have none."""
    if values is None:
        return None
    texts: list[Any] = values[rows].tolist()
    if values.dtype.kind in "ui":
        texts = [str(value) for value in texts]
    if missing is not None:
        for row in np.flatnonzero(missing[rows]).tolist():
            texts[row] = None
    return texts
