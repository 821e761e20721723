"""What has to see rows in their order, and so is done where they come together: document frequencies of a stream."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.extraction.encoding import Encoder, Features
from streams.rows import Rows


class InOrder(Protocol):
    """What an encoder's ``in_order()`` gives: a step that is done on all rows in their order, and its state."""

    def __call__(self, rows: Features) -> Features:
        """Other rows in place of these, which are those behind the ones of the call before."""

    def to_json(self) -> Any:
        """What it has seen so far, as a JSON object."""

    def from_json(self, state: Any) -> None:
        """Take over what ``to_json`` gave."""


def in_order(encoder: Encoder) -> Callable[[Features], Features]:
    """What is to be done with the rows of an encoder in their order, afresh; nothing, for most."""
    make = getattr(encoder, "in_order", None)
    step = None if make is None else make()
    return _as_they_are if step is None else step  # type: ignore[no-any-return]


def _as_they_are(rows: Features) -> Features:
    return rows


class StreamingIDF:
    """Weighs the words of a text by how few of the texts so far had them, itself among those.

    Parameters
    ----------
    n_features
        Columns that there are.

    Notes
    -----
    The weight of column j in the n-th text is ``log((1 + n) / (1 + n_j)) + 1``, ``n_j`` being those of the texts
    so far, this one among them, that have j; then rows get unit length. A row depends on the texts before it alone, so
    that a stream may be cut anywhere.
    """

    def __init__(self, n_features: int) -> None:
        self._n = 0
        self._n_with = np.zeros(n_features, np.int64)

    def __call__(self, rows: Features) -> Features:
        """The rows weighed, in order."""
        assert isinstance(rows, Rows), "hashed texts are sparse"
        assert rows.data is not None, "and they have values"
        weighed = np.empty(len(rows.data), np.float32)
        _weigh(rows.indptr, rows.indices, rows.data, self._n, self._n_with, weighed)
        self._n += len(rows)
        return Rows(rows.indptr, rows.indices, weighed)

    def to_json(self) -> Any:
        """Texts so far, and how many of them had each column."""
        packed = zlib.compress(self._n_with.astype("<i8").tobytes(), 1)
        return {"n": self._n, "n_with": base64.b64encode(packed).decode()}

    def from_json(self, state: Any) -> None:
        """Take over what ``to_json`` gave."""
        self._n = int(state["n"])
        self._n_with = np.frombuffer(zlib.decompress(base64.b64decode(state["n_with"])), "<i8").astype(np.int64)


@njit(cache=True, nogil=True)
def _weigh(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    n: int,
    n_with: NDArray[np.int64],
    weighed: NDArray[np.float32],
) -> None:
    """Write the rows weighed; ``n`` texts came before them."""
    for i in range(len(indptr) - 1):
        n += 1
        squares = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            column = indices[k]
            n_with[column] += 1
            value = data[k] * (np.log((1 + n) / (1 + n_with[column])) + 1)
            squares += value * value
            weighed[k] = value
        length = np.sqrt(squares) if squares > 0.0 else 1.0
        for k in range(indptr[i], indptr[i + 1]):
            weighed[k] /= length
