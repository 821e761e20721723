"""Writing of sparse text, in the two formats that have it."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streams.batch import PARTIAL, UNLABELLED, Batch, Rows, Schema
from streams.schema_file import write_schema_file
from streams.writing import FileWriter

MAX_COLUMNS = 1 << 26
"""More would be a mistake: the names alone of so many take several gigabytes."""

ROWS_AT_ONCE = 4096
"""Rows that are turned into text together."""


class SparseTextWriter(FileWriter):
    """Writes events as ``label,label index:value index:value``, with their schema in a file beside.

    Parameters
    ----------
    path, schema
        See `FileWriter`. The schema may grow until the end.

    Raises
    ------
    ValueError
        An event has what the format cannot hold: a missing value, labels that are not all known, a weight, a time, a
        key or a payload.

    Notes
    -----
    Labels are written as their numbers, features as their column numbers counted from the format's first index, a
    category as its number; zeros are left out, but for one in an event that has neither a label nor another value. A
    value has as few digits as give the same float32 when read.
    """

    BASE: ClassVar[int]
    """Index of the first feature."""

    def __init__(self, path: str | os.PathLike[str], schema: Schema) -> None:
        super().__init__(path, schema)
        self._n_rows = 0
        self._width: int | None = None
        self._lines = self._open_lines()

    def _open_lines(self) -> Any:
        """What lines are to be written to."""
        return self._open_text()

    def _append(self, batch: Batch) -> None:
        for start in range(0, len(batch), ROWS_AT_ONCE):
            part = batch[start : start + ROWS_AT_ONCE]
            self._check(part)
            self._lines.write(_encoded(part, self.BASE))
            self._n_rows += len(part)

    def _finish(self) -> None:
        if self._width is not None and self._width < self._schema.n_features:
            # The first dense rows, and perhaps later ones, lack a column that would be read as 0.
            self._n_rows = 0
            self._refuse(0, f"feature {self._schema.feature_names[self._width]!r}", "have a value", "a missing one")
        self._lines.close()
        write_schema_file(self._path, self._schema, {"base": self.BASE})

    def _check(self, batch: Batch) -> None:
        """Refuse what the format cannot hold."""
        schema, x = self._schema, batch.x
        if isinstance(x, Rows):
            assert x.data is not None
            cells = np.flatnonzero(np.isnan(x.data))[:1]
            missing = [(int(np.searchsorted(x.indptr, cell, "right")) - 1, int(x.indices[cell])) for cell in cells]
        else:
            missing = [(int(row), int(column)) for row, column in np.argwhere(np.isnan(x))[:1]]
            self._width = x.shape[1] if self._width is None else min(self._width, x.shape[1])
        for row, column in missing:
            self._refuse(row, f"feature {schema.feature_names[column]!r}", "have a value", "a missing one")
        for row in np.flatnonzero(batch.label_state == UNLABELLED)[:1].tolist():
            self._refuse(row, "labels", "be known", "none")
        for row in np.flatnonzero(batch.label_state == PARTIAL)[:1].tolist():
            known = Rows.empty(len(batch)) if batch.known is None else batch.known
            unknown = np.setdiff1d(np.arange(schema.n_labels), known.row(row))[:1]
            thing = "".join(f"label {schema.label_names[label]!r}" for label in unknown) or "labels"
            self._refuse(row, thing, "be known", "a partly labelled event")
        if batch.weight is not None:
            for row in np.flatnonzero(batch.weight != 1)[:1].tolist():
                self._refuse(row, "weight", "be 1", repr(float(batch.weight[row])))
        if batch.time is not None and len(batch):
            self._refuse(0, "time", "be None", repr(int(batch.time[0])))
        for what in ("key", "payload"):
            for row, value in enumerate(getattr(batch, what) or ()):
                if value is not None:
                    self._refuse(row, what, "be None", repr(value))

    def _refuse(self, row: int, thing: str, rule: str, found: str) -> None:
        raise ValueError(
            f"{self._path.name}: row {self._n_rows + row}: {thing} must {rule}, for the format holds nothing else, "
            f"got {found}"
        )


def _encoded(batch: Batch, base: int) -> bytes:
    """The lines of a batch."""
    import pyarrow as pa
    import pyarrow.compute as pc

    x = batch.x if isinstance(batch.x, Rows) else Rows.from_dense(batch.x, values=True)
    assert x.data is not None
    kept = x.data != 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[x.indptr].astype(np.int32)
    indices = pc.cast(pa.array(x.indices[kept].astype(np.int64) + base), pa.string())
    cells = pc.binary_join_element_wise(indices, _numerals(x.data[kept]), ":")
    features = pc.binary_join(pa.ListArray.from_arrays(indptr, cells), " ")
    numbers = pc.cast(pa.array(batch.y.indices), pa.string())
    labels = pc.binary_join(pa.ListArray.from_arrays(batch.y.indptr.astype(np.int32), numbers), ",")
    lines = pc.binary_join_element_wise(labels, features, " ")
    nothing = (np.diff(indptr) == 0) & (np.diff(batch.y.indptr) == 0)
    lines = pc.if_else(pa.array(nothing), f" {base}:0", pc.utf8_rtrim(lines, " "))
    return b"".join(line.encode() + b"\n" for line in lines.to_pylist())


def _numerals(values: NDArray[np.float32]) -> Any:
    """The shortest decimal numbers that are read as these values, as an Arrow array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    written = pc.cast(pa.array(values), pa.string())
    # A number so short may lie next to the middle between two float32 values, from where a reader that goes by way of
    # a double can come out on the other side. Nine digits never do.
    other = np.flatnonzero(pc.cast(written, pa.float64()).to_numpy().astype(np.float32) != values)
    if len(other):
        mask = np.zeros(len(values), bool)
        mask[other] = True
        written = pc.replace_with_mask(written, mask, pa.array([f"{value:.9g}" for value in values[other].tolist()]))
    return written
