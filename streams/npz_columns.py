"""What arrays say of some consecutive events: features and labels, dense or in compressed rows, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Rows

Faults = dict[int, str]
"""What is wrong with the rows that are malformed, by their place among the rows asked for."""


class Features(Protocol):
    """Features of events."""

    shape: tuple[int, int]

    def part(self, start: int, stop: int, names: Sequence[Any], faults: Faults) -> NDArray[np.float32] | Rows:
        """Those of the events from ``start`` to ``stop``; adds the malformed ones to ``faults``."""

    def raw(self, row: int) -> bytes:
        """The bytes of an event's values, as they are held."""


class Labels(Protocol):
    """Labels of events."""

    shape: tuple[int, int]

    def part(
        self, start: int, stop: int, names: Sequence[Any], faults: Faults
    ) -> tuple[Rows, NDArray[np.uint8], Rows | None]:
        """Those of the events from ``start`` to ``stop`` that are present, the state of each event's, and the known
        cells of partly labelled ones; adds the malformed ones to ``faults``."""


class Matrix:
    """Features in one array of numbers: its first dimension counts the events, all others are laid side by side."""

    def __init__(self, x: NDArray[Any]) -> None:
        self._x = x
        self.shape = len(x), int(np.prod(x.shape[1:], dtype=np.int64))

    def part(self, start: int, stop: int, names: Sequence[Any], faults: Faults) -> NDArray[np.float32]:
        """See `Features`; NaN is a missing value."""
        held = self._x[start:stop].reshape(-1, self.shape[1]) if self.shape[1] else self._x[start:stop]
        values = _as_float32(held).reshape(stop - start, self.shape[1])
        for row in np.flatnonzero(np.isinf(values).any(1)).tolist():
            column = int(np.isinf(values[row]).argmax())
            faults.setdefault(row, _not_finite(names[column], held[row, column]))
        return values

    def raw(self, row: int) -> bytes:
        """See `Features`."""
        return bytes(self._x[row].tobytes())


class Compressed:
    """Features, or labels, in compressed rows (CSR)."""

    def __init__(self, indptr: NDArray[Any], indices: NDArray[Any], data: NDArray[Any] | None, n_columns: int) -> None:
        self._indptr, self._indices, self._data = indptr, indices, data
        self.shape = len(indptr) - 1, n_columns

    def part(self, start: int, stop: int, names: Sequence[Any], faults: Faults) -> Rows:
        """See `Features`; columns may come in any order, each once, and a value of 0 is the same as none."""
        indptr = self._indptr[start : stop + 1].astype(np.int64)
        low, high = int(indptr[0]), int(indptr[-1])
        columns = self._indices[low:high].astype(np.int64)
        held = np.ones(high - low, np.float32) if self._data is None else self._data[low:high]
        values = _as_float32(held)
        row = np.repeat(np.arange(stop - start), np.diff(indptr))
        for cell in np.flatnonzero((columns < 0) | (columns >= self.shape[1])).tolist():
            faults.setdefault(
                int(row[cell]), f"column numbers must be from 0 to {self.shape[1] - 1}, found {columns[cell]}"
            )
        for cell in np.flatnonzero(np.isinf(values)).tolist():
            if int(row[cell]) not in faults:
                faults[int(row[cell])] = _not_finite(names[columns[cell]], held[cell])
        if ((columns[1:] <= columns[:-1]) & (row[1:] == row[:-1])).any():
            order = np.lexsort((columns, row))
            columns, values = columns[order], values[order]
            for cell in np.flatnonzero((columns[1:] == columns[:-1]) & (row[1:] == row[:-1])).tolist():
                faults.setdefault(int(row[cell]), f"column numbers of a row must differ, found {columns[cell]} twice")
        kept = values != 0
        indptr = np.zeros(stop - start + 1, np.int64)
        np.cumsum(np.bincount(row[kept], minlength=stop - start), out=indptr[1:])
        return Rows(indptr, columns[kept].astype(np.int32), values[kept])

    def raw(self, row: int) -> bytes:
        """See `Features`."""
        low, high = self._indptr[row : row + 2].tolist()
        return b"" if self._data is None else bytes(self._data[low:high].tobytes())


class LabelMatrix:
    """Labels in one array of 0, 1 and NaN, which is an unknown cell."""

    def __init__(self, y: NDArray[Any]) -> None:
        self._y = y
        self.shape = y.shape[0], y.shape[1]

    def part(
        self, start: int, stop: int, names: Sequence[Any], faults: Faults
    ) -> tuple[Rows, NDArray[np.uint8], Rows | None]:
        """See `Labels`."""
        y = self._y[start:stop].astype(np.float64)
        unknown = np.isnan(y)
        wrong = ~unknown & (y != 0) & (y != 1)
        for row in np.flatnonzero(wrong.any(1)).tolist():
            label = int(wrong[row].argmax())
            faults.setdefault(row, f"label {names[label]!r} must be 0, 1 or NaN, found {self._y[start + row, label]}")
        state = np.full(stop - start, COMPLETE, np.uint8)
        state[unknown.any(1)] = PARTIAL
        state[unknown.all(1) & (self.shape[1] > 0)] = UNLABELLED
        partly = state == PARTIAL
        known = Rows.from_dense(~unknown & partly[:, np.newaxis]) if partly.any() else None
        return Rows.from_dense(y == 1), state, known


class LabelRows:
    """Labels in compressed rows; all of an event's are known."""

    def __init__(self, rows: Compressed) -> None:
        self._rows = rows
        self.shape = rows.shape

    def part(
        self, start: int, stop: int, names: Sequence[Any], faults: Faults
    ) -> tuple[Rows, NDArray[np.uint8], Rows | None]:
        """See `Labels`."""
        y = self._rows.part(start, stop, names, faults)
        assert y.data is not None
        row = np.repeat(np.arange(len(y)), np.diff(y.indptr))
        for cell in np.flatnonzero(y.data != 1).tolist():
            if int(row[cell]) not in faults:
                faults[int(row[cell])] = f"label {names[y.indices[cell]]!r} must be 0 or 1, found {y.data[cell]}"
        return Rows(y.indptr, y.indices), np.full(len(y), COMPLETE, np.uint8), None


class Classes:
    """One label an event: integers or strings, NaN where none is known.

    Parameters
    ----------
    y
        Shape (n,).
    names
        Names of the labels, of which an integer is the number. None: the values themselves, ascending, are the labels.
    """

    def __init__(self, y: NDArray[Any], names: Sequence[Any] | None) -> None:
        self._y = y
        if names is None:
            self._values = np.unique(y)
            if y.dtype.kind == "f":
                self._values = self._values[self._values == np.floor(self._values)]
            self._numbers = np.arange(len(self._values))
            self.names = [str(value) if y.dtype.kind == "U" else str(int(value)) for value in self._values]
        else:
            self.names = list(names)
            known = np.array(self.names) if y.dtype.kind == "U" else np.arange(len(names))
            self._numbers = np.argsort(known, kind="stable")
            self._values = known[self._numbers]
        self.shape = len(y), len(self.names)

    def part(
        self, start: int, stop: int, names: Sequence[Any], faults: Faults
    ) -> tuple[Rows, NDArray[np.uint8], Rows | None]:
        """See `Labels`."""
        y = self._y[start:stop]
        unknown = np.isnan(y) if y.dtype.kind == "f" else np.zeros(len(y), bool)
        at = np.minimum(np.searchsorted(self._values, y), max(len(self._values) - 1, 0))
        right = (self._values[at] == y) if len(self._values) else np.zeros(len(y), bool)
        for row in np.flatnonzero(~right & ~unknown).tolist():
            rule = "be one of the labels" if y.dtype.kind == "U" else f"be an integer, from 0 to {self.shape[1] - 1}"
            faults.setdefault(row, f"a class must {rule}, found {y[row].item()!r}")
        indptr = np.concatenate([[0], np.cumsum(right)])
        state = np.where(unknown, UNLABELLED, COMPLETE).astype(np.uint8)
        return Rows(indptr, self._numbers[at[right]].astype(np.int32)), state, None


def _as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """A copy; too large values become infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def _not_finite(name: Any, value: Any) -> str:
    return f"feature {name!r} must be finite as a float32, or NaN, found {value}"
