"""The nearest of the last events: by their inputs, or by the scores that their labels had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells
from learners.sparse_window import SparseWindow
from streams.batch import Batch, Rows, Schema

CHUNK = 64
"""Events that are looked up by one matrix product."""

SCALE = 4080
"""Rows at unit length are held as whole multiples of 1 / SCALE. Rounding adds less than sqrt(1024) / 2 to a length, so
that products are at most 4096^2 = 2^24, as far as float32 counts."""

WIDEST_INPUTS, WIDEST_SCORES = 1024, 128
"""Inputs, or labels, beyond so many share columns with others, with signs, by hashing. `SCALE` allows 1,024."""

_LARGEST = 4096 * 4096
"""What no product is beyond."""

_BLOCK, _SPARE = 8, 8
"""Products in a row of which the largest is looked at first, and how many more of these than neighbours may be looked
into: to find them out exactly would take longer."""

_PLACES = 0xFFFFFFFF
"""Places are below this. They are counted down from it, so that of equal products that of the older row is larger."""


class Neighbours(NamedTuple):
    """The nearest events of n events, the nearest first and of equally near ones the older first.

    ``event`` int64 (n, k): numbers of taught events, counted from 0 over the whole stream; -1 where fewer are held.
    ``similarity`` float32 (n, k): their cosines; 0 there.
    """

    event: NDArray[np.int64]
    similarity: NDArray[np.float32]

    @classmethod
    def none(cls, n: int, k: int) -> Neighbours:
        """No neighbours at all."""
        return cls(np.full((n, k), -1), np.zeros((n, k), np.float32))


class NearestRows:
    """The last ``size`` taught rows, and the ``k`` of them that are nearest to another row by the cosine.

    Parameters
    ----------
    size
        Rows among which the nearest are sought, at least 1.
    k
        Neighbours to find, at least 1.
    widest
        Columns at most, from 1 to 1,024. Those of higher numbers are added to others, with a sign, by hashing [1]_.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    A row is brought to unit length and rounded to whole multiples of 1 / ``SCALE``. Products of two such rows, and all
    sums of some of their terms, are whole numbers that float32 can hold (Cauchy and Schwarz: they are at most the
    product of the lengths), so matrix products are exact in any order of summation. This is why the search can use the
    fastest product there is, and still gives the same answers to the bit however events are cut into batches. The
    rounding moves a cosine by about 1e-4. A row of zeros has the cosine 0 with every row.

    An event costs ``size`` times the columns multiplications, in one product a chunk, and a pass over ``size`` numbers.
    State: 4 bytes for every column of every row held.

    References
    ----------
    .. [1] Weinberger, Dasgupta, Langford, Smola, Attenberg, "Feature hashing for large scale multitask learning", ICML
       2009, equation 1: signed hashing keeps inner products right on average.

    Examples
    --------
    >>> import numpy as np
    >>> from ihomer.neighbours import NearestRows
    >>> from streams.batch import Rows
    >>> rows = Rows.from_dense(np.array([[1.0, 0], [0, 1], [1, 1], [0, 2]]), values=True)
    >>> found = NearestRows(size=3, k=2).run(rows, 2, np.ones(4, bool))
    >>> found.event.tolist()
    [[-1, -1], [0, -1], [0, 1], [1, 2]]
    """

    def __init__(self, size: int = 4000, k: int = 30, *, widest: int = WIDEST_INPUTS) -> None:
        for name, number in (("size", size), ("k", k)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if not 1 <= widest <= WIDEST_INPUTS:
            raise ValueError(f"widest must be from 1 to {WIDEST_INPUTS}, got {widest}")
        self.size, self.k, self.widest = size, k, widest
        self._stored = np.zeros(1, np.int64)
        self._held = np.zeros((0, 0), np.float32)
        self._width = 0

    @property
    def stored(self) -> int:
        """Rows taught so far."""
        return int(self._stored[0])

    def run(self, rows: Rows, n_columns: int, taught: NDArray[np.bool_]) -> Neighbours:
        """Neighbours of every row among the taught rows before it; column numbers are below ``n_columns``.

        Columns with a number below 0 do not count. Values are finite.
        """
        self._width = max(self._width, min(n_columns, self.widest))
        event, similarity = found = Neighbours.none(len(rows), self.k)
        for low in range(0, len(rows), CHUNK):
            part = slice(low, low + CHUNK)
            self._look_up(rows[part] if len(rows) > CHUNK else rows, taught[part], event[part], similarity[part])
        return found

    def _look_up(
        self, rows: Rows, taught: NDArray[np.bool_], event: NDArray[np.int64], similarity: NDArray[np.float32]
    ) -> None:
        # Rows of the chunk itself stand in the window ahead; each event looks only at those before it.
        before = self.stored
        self._stored += np.count_nonzero(taught)
        self._make_room(self.stored)
        units = np.zeros((len(rows), self._width), np.float32)
        _take_units(rows.indptr, rows.indices, rows.data, taught, before, self.size, self.widest, units, self._held)
        held = self._held[: min(self.stored, self.size + CHUNK), : self._width]
        _select(units @ held.T, taught, before, self.size, event, similarity)

    def arrays(self, n_columns: int) -> tuple[Any, ...]:
        """What is held, with room for a row more, as `look_up` takes it."""
        self._width = max(self._width, min(n_columns, self.widest))
        self._make_room(self.stored + 1)
        return self._held, self._stored, self._width, self.size, self.widest

    def _make_room(self, stored: int) -> None:
        rows, columns = self._held.shape
        needed = min(stored, self.size + CHUNK)
        if needed <= rows and self._width <= columns:
            return
        if needed > rows:
            rows = min(max(needed, 2 * rows, CHUNK), self.size + CHUNK)
        if self._width > columns:
            columns = min(max(self._width, 2 * columns), self.widest)
        wider = np.zeros((rows, columns), np.float32)
        wider[: self._held.shape[0], : self._held.shape[1]] = self._held
        self._held = wider

    def forget(self) -> None:
        """Take the rows held for zero from now on, so that they are as unlike any other as can be."""
        self._held[:] = 0

    def shorten(self, size: int) -> None:
        """Hold only the last ``size`` rows from now on, at most as many as before."""
        state = self.get_state()
        self.size = size
        self.set_state({**state, "rows": state["rows"][-size:]})

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The rows held, the oldest first, and how many rows have been taught."""
        last = np.arange(max(0, self.stored - self.size), self.stored) % (self.size + CHUNK)
        return {"rows": self._held[last, : self._width], "stored": np.array([self.stored])}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        rows = state["rows"]
        self._stored, self._width = state["stored"].copy(), rows.shape[1]
        self._held = np.zeros((0, 0), np.float32)
        self._make_room(self.stored)
        self._held[np.arange(self.stored - len(rows), self.stored) % (self.size + CHUNK)] = rows


class NearestEvents:
    """The last ``size`` taught events, and the ``k`` of them whose inputs are nearest to those of another event.

    Parameters
    ----------
    size
        Events among which the nearest are sought, at least 1.
    k
        Neighbours to find, at least 1.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Dense rows are compared as `ihomer.events.SharedRows` gives them, by `NearestRows`; a missing value lies at the
    mean. Sparse rows are compared by `learners.sparse_window.SparseWindow`, where an input counts the more the fewer
    rows have it; see there for costs. When a stream turns from dense to sparse rows are measured on another scale, and
    the rows held are given up: neighbours are sought among those taught since.
    """

    def __init__(self, size: int = 4000, k: int = 30) -> None:
        self.size, self.k = size, k
        self._dense, self._sparse = self._windows()
        self._is_sparse = False
        # Events taught, and the first of those held, once rows are sparse; before, the dense window counts them.
        self._stored = self._first = 0

    def _windows(self) -> tuple[NearestRows, SparseWindow]:
        """One of them is in use: the dense one until the schema turns sparse."""
        return NearestRows(self.size, self.k), SparseWindow(self.size, self.k, cosine=True, standardise=True)

    def run(self, batch: Batch, schema: Schema, rows: Rows, n_places: int, taught: NDArray[np.bool_]) -> Neighbours:
        """Neighbours of every event among the taught ones before it.

        ``batch`` has the columns of ``schema``; ``rows`` and ``n_places`` are what `SharedRows` makes of it.
        """
        self._turn_sparse(schema)
        if not self._is_sparse:
            # Place 0 is the intercept.
            return self._dense.run(Rows(rows.indptr, rows.indices - 1, rows.data), n_places - 1, taught)
        stored, self._stored = self._stored - self._first, self._stored + int(np.count_nonzero(taught))
        slots, distances = self._sparse.search(schema, batch, taught, stored)
        before = stored + np.cumsum(taught) - taught
        oldest = np.maximum(before - self.size, 0)[:, None]
        event = self._first + oldest + (slots - oldest) % self.size
        similarity = 1 - distances * distances / 2
        return Neighbours(np.where(slots < 0, -1, event), np.where(slots < 0, 0, similarity).astype(np.float32))

    def arrays(self, n_places: int) -> tuple[Any, ...]:
        """The dense rows held, with room for one more, as `look_up` takes them."""
        return self._dense.arrays(n_places - 1)

    def _turn_sparse(self, schema: Schema) -> None:
        if schema.sparse and not self._is_sparse:
            self._stored = self._first = self._dense.stored
            self._dense, self._is_sparse = self._windows()[0], True

    def shorten(self, size: int, schema: Schema) -> None:
        """Hold only the last ``size`` rows from now on, at most as many as before."""
        state = self.get_state(schema)
        indptr = state["indptr"][-size - 1 :]
        cells = slice(int(indptr[0]), None)
        self.size = size
        self.set_state(
            {
                **state,
                "rows": state["rows"][-size:],
                "indptr": indptr - indptr[0],
                "indices": state["indices"][cells],
                "values": state["values"][cells],
                "squares": state["squares"][-size:],
            },
            schema,
        )

    def get_state(self, schema: Schema) -> dict[str, NDArray[Any]]:
        """The rows held, the oldest first, and what sparse ones are weighed by, in the order of the schema's inputs."""
        self._turn_sparse(schema)
        return {
            "rows": self._dense.get_state()["rows"],
            "stored": np.array([self._stored if self._is_sparse else self._dense.stored]),
            **self._sparse.get_state(schema, self._stored - self._first if self._is_sparse else 0),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        """Take over what ``get_state`` gave."""
        self._dense, self._sparse = self._windows()
        self._is_sparse, self._stored = schema.sparse, int(state["stored"][0])
        # The sparse window counts the rows that it is given from 0 on.
        self._first = self._stored - len(state["squares"])
        if not self._is_sparse:
            self._dense.set_state(state)
        self._sparse.set_state(schema, dict(state))


def score_rows(cells: Cells, scores: NDArray[np.float32]) -> Rows:
    """A score for every cell as rows for `NearestRows`, a column a label.

    Cells that are not asked count nothing: that they are listed tells what an event's labels are.
    """
    return Rows(cells.start, cells.label, np.where(cells.asked, scores, np.float32(0)))


# Inlined, since every array that is passed on is counted, which takes 12 ns.
@njit(cache=True, nogil=True, inline="always")
def has_room_for_one(arrays: tuple[Any, ...]) -> bool:
    """Whether there is room for one row more."""
    held, stored, _, size, _ = arrays
    return bool(min(stored[0] + 1, size + CHUNK) <= len(held))


@njit(cache=True, nogil=True, inline="always")
def look_up(
    arrays: tuple[Any, ...],
    start: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    taught: NDArray[np.bool_],
    is_known: bool,
    neighbours: Neighbours,
) -> None:
    """Write the neighbours of a single event, unless they are known, and keep its row if it is taught."""
    held, stored, width, size, widest = arrays
    event, similarity = neighbours
    before = stored[0]
    units = np.zeros((1, width), np.float32)
    _take_units(start, indices, values, taught, before, size, widest, units, held)
    if not is_known:
        event[:], similarity[:] = -1, 0.0
        products = np.empty((1, min(before, size + CHUNK)), np.float32)
        _multiply(units[0], held, products[0])
        _select(products, taught, before, size, event, similarity)
    stored[0] += taught[0]


# All sums of some of the terms are whole numbers that float32 can hold, so any order gives the same.
@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc", "contract"})
def _multiply(unit, held, products):
    row = 0
    # Four rows at a time, so that a sum need not wait for the last.
    while row + 4 <= len(products):
        a = b = c = d = np.float32(0.0)
        for column in range(len(unit)):
            value = unit[column]
            a += value * held[row, column]
            b += value * held[row + 1, column]
            c += value * held[row + 2, column]
            d += value * held[row + 3, column]
        products[row], products[row + 1], products[row + 2], products[row + 3] = a, b, c, d
        row += 4
    while row < len(products):
        total = np.float32(0.0)
        for column in range(len(unit)):
            total += unit[column] * held[row, column]
        products[row] = total
        row += 1


@njit(cache=True, nogil=True)
def _take_units(start, indices, values, taught, stored, size, widest, units, held):
    """Write rows at the length ``SCALE``, in whole numbers; the taught ones also among those held."""
    for i in range(units.shape[0]):
        row = units[i]
        for cell in range(start[i], start[i + 1]):
            place, value = np.int64(indices[cell]), values[cell]
            if place >= widest:
                mixed = place * 0x3C6EF373
                mixed ^= mixed >> 15
                if mixed & 1:
                    value = -value
                place = (mixed >> 1) % widest
            if place >= 0:
                row[place] += value
        square = 0.0
        for column in range(len(row)):
            square += np.float64(row[column]) * row[column]
        factor = SCALE / np.sqrt(square) if square > 0 else 0.0
        for column in range(len(row)):
            row[column] = np.rint(row[column] * factor)
        if taught[i]:
            held[stored % (size + CHUNK), : len(row)] = row
            stored += 1


@njit(cache=True, nogil=True)
def _select(products, taught, stored, size, event, similarity):
    """Find the largest of every event's products with the last ``size`` rows that were taught before it."""
    room, k = size + CHUNK, event.shape[1]
    tops = np.empty(size // _BLOCK + 2, np.int32)
    # One more than there are products, since what is not kept is written, too.
    found = np.empty(products.shape[1] + 1, np.int64)
    for i in range(len(taught)):
        oldest = max(0, stored - size)
        slot = oldest % room
        held = stored - oldest
        unbroken = min(held, room - slot)
        older, newer = products[i, slot : slot + unbroken], products[i, : held - unbroken]
        n_older = _find_tops(older, tops)
        n_tops = n_older + _find_tops(newer, tops[n_older:])
        least = _bound(tops[:n_tops], k)
        n = _gather(older, 0, tops, least, found, 0)
        n = _gather(newer, unbroken, tops[n_older:], least, found, n)
        n = _sort(found[:n], k)
        for j in range(n):
            event[i, j] = oldest + (_PLACES - (found[j] & _PLACES))
            similarity[i, j] = (found[j] >> 32) / np.float64(SCALE * SCALE)
        stored += taught[i]


# No product is NaN and 0 may have either sign, so a maximum may be taken in any order.
@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _find_tops(products, tops):
    """The largest product of every block; return the number of blocks."""
    whole = len(products) // _BLOCK
    for block in range(whole):
        top = products[block * _BLOCK]
        for j in range(1, _BLOCK):
            top = max(top, products[block * _BLOCK + j])
        tops[block] = np.int32(top)
    if whole * _BLOCK == len(products):
        return whole
    top = products[whole * _BLOCK]
    for product in products[whole * _BLOCK :]:
        top = max(top, product)
    tops[whole] = np.int32(top)
    return whole + 1


@njit(cache=True, nogil=True)
def _bound(tops, k):
    """A number that the tops of at least ``k`` blocks reach, and few more; one that all do where there are fewer."""
    low, high = -_LARGEST, _LARGEST + 1
    if len(tops) < k:
        return low
    while high - low > 1:
        middle = (low + high) >> 1
        n = 0
        for top in tops:
            n += top >= middle
        if n < k:
            high = middle
            continue
        low = middle
        if n <= k + _SPARE:
            break
    return low


@njit(cache=True, nogil=True)
def _gather(products, first, tops, least, found, n):
    """Add products of ``least`` or more to the ``n`` found, each as one number with its place; return their number."""
    for low in range(0, len(products), _BLOCK):
        if tops[low // _BLOCK] < least:
            continue
        for j in range(low, min(low + _BLOCK, len(products))):
            product = np.int64(products[j])
            # Without a branch, which would be foreseen wrongly every other time.
            found[n] = product << 32 | (_PLACES - (first + j))
            n += product >= least
    return n


@njit(cache=True, nogil=True)
def _sort(found, k):
    """Bring the ``k`` largest numbers, falling, to the front; return how many there are."""
    n = 0
    for at in range(len(found)):
        one = found[at]
        if n == k and one < found[k - 1]:
            continue
        place = min(n, k - 1)
        n = min(n + 1, k)
        while place > 0 and found[place - 1] < one:
            found[place] = found[place - 1]
            place -= 1
        found[place] = one
    return n
