"""Ragged rows of column numbers, with or without values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Ragged rows of column numbers, with or without values (compressed sparse rows).

    Parameters
    ----------
    indptr
        int64 of shape (n + 1,): row ``i`` is ``indices[indptr[i]:indptr[i + 1]]``. The first entry is 0.
    indices
        int32 column numbers, ascending and without repeats within a row.
    data
        float32 values of the same length, or None where being listed is all there is to say (label sets).
    """

    __slots__ = ("data", "indices", "indptr")

    def __init__(
        self, indptr: NDArray[np.int64], indices: NDArray[np.int32], data: NDArray[np.float32] | None = None
    ) -> None:
        self.indptr = np.ascontiguousarray(indptr, np.int64)
        self.indices = np.ascontiguousarray(indices, np.int32)
        self.data = None if data is None else np.ascontiguousarray(data, np.float32)
        if self.indptr.ndim != 1 or len(self.indptr) == 0 or self.indptr[0] != 0:
            raise ValueError(f"indptr must be one-dimensional and start with 0, got {self.indptr!r}")
        if self.indptr[-1] != len(self.indices):
            raise ValueError(f"indices must have length {self.indptr[-1]}, got {len(self.indices)}")
        if self.data is not None and len(self.data) != len(self.indices):
            raise ValueError(f"data must have length {len(self.indices)}, got {len(self.data)}")

    @classmethod
    def _trusted(
        cls, indptr: NDArray[np.int64], indices: NDArray[np.int32], data: NDArray[np.float32] | None = None
    ) -> Rows:
        """Rows of arrays that are known to be right; single events spend much of their time on checks."""
        rows = object.__new__(cls)
        rows.indptr, rows.indices, rows.data = indptr, indices, data
        return rows

    @classmethod
    def empty(cls, n: int, *, values: bool = False) -> Rows:
        """``n`` rows with nothing in them; of those with values if ``values``."""
        data = np.zeros(0, np.float32) if values else None
        return cls._trusted(np.zeros(n + 1, np.int64), np.zeros(0, np.int32), data)

    @classmethod
    def from_lists(cls, lists: Iterable[Iterable[int]]) -> Rows:
        """Rows of the column numbers given, sorted and freed of repeats."""
        rows = [sorted(set(row)) for row in lists]
        if len(rows) == 1:
            return cls._trusted(np.array([0, len(rows[0])], np.int64), np.array(rows[0], np.int32))
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=indptr[1:])
        return cls(indptr, np.array([column for row in rows for column in row], np.int32))

    @classmethod
    def from_dense(cls, dense: NDArray[Any], *, values: bool = False) -> Rows:
        """The non-zero cells of a matrix of shape (n, d); their values too if ``values``."""
        dense = np.asarray(dense)
        if len(dense) == 1:
            column = dense[0].nonzero()[0]
            data = dense[0, column].astype(np.float32) if values else None
            return cls._trusted(np.array([0, len(column)], np.int64), column.astype(np.int32), data)
        n, width = dense.shape
        listed = dense != 0
        flat = np.flatnonzero(listed)
        indptr = np.zeros(n + 1, np.int64)
        np.cumsum(np.count_nonzero(listed, axis=1), out=indptr[1:])
        column = flat - np.repeat(np.arange(n) * width, np.diff(indptr))
        data = dense.ravel()[flat].astype(np.float32) if values else None
        return cls(indptr, column.astype(np.int32), data)

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, one below the other."""
        starts = np.cumsum([0, *(len(part.indices) for part in parts)])
        indptr = np.concatenate([[0], *(part.indptr[1:] + start for part, start in zip(parts, starts, strict=False))])
        indices = np.concatenate([part.indices for part in parts]) if parts else np.zeros(0, np.int32)
        data = [part.data for part in parts if part.data is not None]
        if data and len(data) != len(parts):
            raise ValueError("data must be there in all parts or in none, got a mixture")
        return cls(indptr, indices, np.concatenate(data) if data else None)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, rows: slice) -> Rows:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"step must be 1, got {step}; use take for other selections")
        stop = max(start, stop)
        low, high = self.indptr[start], self.indptr[stop]
        data = None if self.data is None else self.data[low:high]
        return Rows._trusted(self.indptr[start : stop + 1] - low, self.indices[low:high], data)

    def row(self, i: int) -> NDArray[np.int32]:
        """Column numbers of row ``i``."""
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """The rows of these numbers, in this order."""
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        cells = np.repeat(self.indptr[:-1][rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Rows(indptr, self.indices[cells], None if self.data is None else self.data[cells])

    def to_dense(self, n_columns: int) -> NDArray[np.float32]:
        """float32 of shape (n, n_columns), 0 where nothing is listed, 1 where no value is."""
        dense = np.zeros((len(self), n_columns), np.float32)
        dense[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = (
            1 if self.data is None else self.data
        )
        return dense

    def renumbered(self, to: NDArray[np.int32]) -> Rows:
        """The same cells with column ``j`` called ``to[j]``; a negative number drops the column."""
        row = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        column = to[self.indices]
        keep = np.flatnonzero(column >= 0)
        order = keep[np.lexsort((column[keep], row[keep]))]
        indptr = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.bincount(row[order], minlength=len(self)), out=indptr[1:])
        return Rows(indptr, column[order], None if self.data is None else self.data[order])

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays."""
        return self.indptr.nbytes + self.indices.nbytes + (0 if self.data is None else self.data.nbytes)
