"""The last rows of a sparse stream, kept by input, and the nearest of them to another row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State, with_room
from learners.dense_window import between_units, nearest
from learners.inputs import COUNT, MEAN, SQUARES, Inputs
from streams.batch import Batch, Rows, Schema

LIST = np.dtype([("start", np.int64), ("room", np.int64), ("head", np.int64), ("used", np.int64)])
"""The cells of an input, oldest first: a ring of ``room`` places from ``start``, ``used`` from the ``head`` on.

Of an input that many rows have every row held has a cell, in column ``start``; its ``room`` is ``COLUMN``."""

SHORTEST = 4
"""Places of a new list."""

COLUMN = -1

BLOCK = 64
"""Places of a column that are cleared at a time."""


class SparseWindow:
    """The last ``size`` rows that were kept, an absent cell being 0, and the search for the nearest of them.

    Parameters
    ----------
    size
        Rows held at most.
    n_neighbors
        Rows that a search finds, fewer while fewer are held.
    cosine
        Whether rows are brought to unit length, so that their distance is sqrt(2 - 2 cos).
    standardise
        Whether cells are weighted.

    Notes
    -----
    Categories are inputs of their own, see `learners.inputs.Inputs`; a missing cell is an absent one. The weight of a
    cell is log((n + 1) / (m + 1/2)) / r, where m of the n rows so far, the one at hand included, have the input and r
    is the root mean square of its values: what few rows have tells more [1]_. A row is held as it looked when it was
    kept. On text sets that gave no worse answers than weighing all rows anew for every search, at a fraction of the
    cost.

    Every input has a list of its cells, so that a search costs one multiplication for every cell held that shares its
    input with the row looked up, and ``size`` subtractions. A cell whose row is no longer held leaves its list when the
    next row that has the input is kept. An input that one row in eight has gets a column instead, with a cell for every
    row held, absent ones too: adding all of them in order is faster than adding some here and there. (With 68 inputs a
    row, of 1,836, a search took half as long.)

    Cells are float32, sums float64, and terms are added in the order of the row looked up, so that a sum is the same in
    either form; a copy with the same weights is at distance 0.

    References
    ----------
    .. [1] Salton, Buckley, "Term-weighting approaches in automatic text retrieval", Information Processing and
       Management 24(5), 1988: inverse document frequency and normalisation by length.
    """

    def __init__(self, size: int, n_neighbors: int, *, cosine: bool, standardise: bool) -> None:
        self.size, self.n_neighbors, self.cosine, self.standardise = size, n_neighbors, cosine, standardise
        self._inputs = Inputs()
        self._squares = np.zeros(0)
        self._lists = np.zeros(0, LIST)
        self._events, self._values = np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._columns = np.zeros((0, (size // BLOCK + 2) * BLOCK), np.float32)
        self._taken = np.zeros(2, np.int64)

    @property
    def _long(self) -> int:
        """Cells from which on an input has a column."""
        return max(BLOCK, self.size // 8)

    def search(
        self, schema: Schema, batch: Batch, kept: NDArray[np.bool_], stored: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """As `learners.dense_window.DenseWindow.search`."""
        self._inputs.grow(schema)
        x = batch.x if isinstance(batch.x, Rows) else Rows.from_dense(np.nan_to_num(batch.x), values=True)
        cells = self._inputs.encode(replace(batch, x=x)).cells
        assert cells.data is not None
        self._squares = with_room(self._squares, min(self.size, stored + int(np.count_nonzero(kept))))
        self._lists = with_room(self._lists, self._inputs.n)
        slots = np.full((len(batch), self.n_neighbors), -1, np.int32)
        distances = np.zeros(slots.shape)
        done = 0
        while True:
            done = _search(
                cells.indptr,
                cells.indices,
                cells.data,
                kept,
                done,
                stored,
                self.size,
                self._inputs.moments,
                self._squares,
                self._lists,
                self._events,
                self._values,
                self._columns,
                self._taken,
                self._long,
                self.cosine,
                self.standardise,
                slots,
                distances,
            )
            if done == len(batch):
                return slots, distances
            here = stored + int(np.count_nonzero(kept[:done]))
            self._lay(*self._cells(here), int(cells.indptr[done + 1] - cells.indptr[done]))

    def _cells(self, stored: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Input, event and value of every cell held, input by input, the oldest first."""
        lists = self._lists
        used = lists["used"]
        inputs = np.repeat(np.arange(len(lists)), used)
        turn = np.arange(len(inputs)) - np.repeat(np.cumsum(used) - used, used)
        places = lists["start"][inputs] + (lists["head"][inputs] + turn) % lists["room"][inputs]
        events = self._events[places]
        held = events >= stored - self.size
        common, last = np.flatnonzero(lists["room"] == COLUMN), np.arange(max(0, stored - self.size), stored)
        cells = self._columns[np.ix_(lists["start"][common], last % self._columns.shape[1])]
        column, row = np.nonzero(cells)
        inputs = np.concatenate([inputs[held], common[column]])
        by_input = np.argsort(inputs, kind="stable")
        events = np.concatenate([events[held], last[row]])
        values = np.concatenate([self._values[places[held]], cells[column, row]])
        return inputs[by_input], events[by_input], values[by_input]

    def _lay(
        self, inputs: NDArray[np.int64], events: NDArray[np.int64], values: NDArray[np.float32], n_more: int
    ) -> None:
        """Lay lists and columns anew, with room to double, and with room for lists of ``n_more`` further cells."""
        n_cells = np.bincount(inputs, minlength=len(self._lists))
        common = n_cells >= self._long
        n_columns = int(np.count_nonzero(common))
        used = np.where(common, 0, n_cells)
        room = np.where(used > 0, np.maximum(2 * used, SHORTEST), 0)
        start = np.cumsum(room) - room
        n = int(room.sum())
        self._taken[:] = n, n_columns
        self._lists["start"], self._lists["room"], self._lists["head"], self._lists["used"] = start, room, 0, used
        self._lists["start"][common], self._lists["room"][common] = np.arange(n_columns), COLUMN
        listed = ~common[inputs]
        places = np.repeat(start - (np.cumsum(used) - used), used) + np.arange(used.sum())
        n_places = 2 * n + SHORTEST * n_more
        self._events, self._values = np.zeros(n_places, np.int64), np.zeros(n_places, np.float32)
        self._events[places], self._values[places] = events[listed], values[listed]
        width = self._columns.shape[1]
        self._columns = np.zeros((2 * n_columns, width), np.float32)
        self._columns[self._lists["start"][inputs[~listed]], events[~listed] % width] = values[~listed]

    def get_state(self, schema: Schema, stored: int) -> State:
        """Copies of the rows held, the oldest first, and of the moments, in the order of the inputs of ``schema``."""
        order = self._inputs.numbers(schema, schema)
        number = np.zeros(self._inputs.n, np.int32)
        number[order] = np.arange(len(order))
        inputs, events, values = self._cells(stored)
        held = np.arange(max(0, stored - self.size), stored)
        by_row = np.lexsort((number[inputs], events))
        return {
            "indptr": np.searchsorted(events[by_row], np.arange(held[0] if len(held) else 0, stored + 1)),
            "indices": number[inputs[by_row]],
            "values": values[by_row],
            "squares": self._squares[held % self.size],
            "input_moments": self._inputs.moments[:, order],
        }

    def set_state(self, schema: Schema, state: State) -> None:
        """Take over what ``get_state`` gave; the rows are those in slots 0, 1, ... then."""
        self._inputs = Inputs()
        self._inputs.grow(schema)
        self._inputs.moments[:, : self._inputs.n] = state["input_moments"]
        self._squares = np.array(state["squares"], np.float64)
        self._lists = np.zeros(self._inputs.n, LIST)
        indices = state["indices"].astype(np.int64)
        events = np.repeat(np.arange(len(self._squares)), np.diff(state["indptr"]))
        by_input = np.argsort(indices, kind="stable")
        self._lay(indices[by_input], events[by_input], state["values"][by_input], 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    kept: NDArray[np.bool_],
    start: int,
    stored: int,
    size: int,
    moments: NDArray[np.float64],
    squares: NDArray[np.float64],
    lists: NDArray[np.void],
    events: NDArray[np.int64],
    values: NDArray[np.float32],
    columns: NDArray[np.float32],
    taken: NDArray[np.int64],
    long: int,
    cosine: bool,
    standardise: bool,
    slots: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> int:
    """Look up the rows from ``start`` on; return the number of the first one that the lists have no room for."""
    n, longest = len(indptr) - 1, 0
    for t in range(n):
        longest = max(longest, indptr[t + 1] - indptr[t])
    used, weighed = np.zeros(longest, np.int32), np.zeros(longest, np.float32)
    total = np.zeros(min(size, len(squares)))
    for t in range(start):
        stored += kept[t]
    for t in range(start, n):
        row = slice(indptr[t], indptr[t + 1])
        if kept[t] and not _has_room(indices[row], data[row], lists, events, columns, taken, long, stored - size):
            return t
        m = _weigh(indices[row], data[row], moments, standardise, kept[t], used, weighed)
        length = 0.0
        for k in range(m):
            length += np.float64(weighed[k]) * weighed[k]
        oldest = max(0, stored - size)
        held = stored - oldest
        _products(used[:m], weighed[:m], lists, events, values, columns, oldest, total[:held])
        turn = oldest % size
        unbroken = min(held, size - turn)
        _add_lengths(length, squares[turn : turn + unbroken], cosine, total[:unbroken])
        _add_lengths(length, squares[: held - unbroken], cosine, total[unbroken:held])
        nearest(total, held, 0, slots[t], distances[t])
        for k in range(min(held, slots.shape[1])):
            slots[t, k] = (oldest + slots[t, k]) % size
            distances[t, k] = np.sqrt(distances[t, k])
        if kept[t]:
            squares[stored % size] = length
            if stored % BLOCK == 0:
                slot = stored % columns.shape[1]
                columns[: taken[1], slot : slot + BLOCK] = 0
            for k in range(m):
                _append(used[k], weighed[k], stored, lists, events, values, columns, taken, long)
            stored += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh(
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    moments: NDArray[np.float64],
    standardise: bool,
    learn: bool,
    used: NDArray[np.int32],
    weighed: NDArray[np.float32],
) -> int:
    """List inputs of a row and their weighted values; return their number. ``moments`` changes only if ``learn``."""
    n_rows, m = moments[COUNT, 0] + 1, 0
    if learn:
        moments[COUNT, 0], moments[MEAN, 0] = n_rows, 1
    for k in range(len(data)):
        value, i = np.float64(data[k]), indices[k]
        if value == 0 or np.isnan(value):
            continue
        n = moments[COUNT, i] + 1
        gap = value - moments[MEAN, i]
        mean = moments[MEAN, i] + gap / n
        squares = moments[SQUARES, i] + gap * (value - mean)
        if learn:
            moments[COUNT, i], moments[MEAN, i], moments[SQUARES, i] = n, mean, squares
        if standardise:
            value *= np.log((n_rows + 1) / (n + 0.5)) / np.sqrt(mean * mean + squares / n)
        used[m], weighed[m] = i, value
        m += weighed[m] != 0
    return m


@njit(cache=True, nogil=True)
def _products(
    used: NDArray[np.int32],
    weighed: NDArray[np.float32],
    lists: NDArray[np.void],
    events: NDArray[np.int64],
    values: NDArray[np.float32],
    columns: NDArray[np.float32],
    oldest: int,
    total: NDArray[np.float64],
) -> None:
    """Products of a row and the rows held, the events from ``oldest`` on."""
    total[:] = 0
    turn = oldest % columns.shape[1]
    unbroken = min(len(total), columns.shape[1] - turn)
    for k in range(len(used)):
        value, i = np.float64(weighed[k]), used[k]
        start, room = lists["start"][i], lists["room"][i]
        if room == COLUMN:
            _add(value, columns[start, turn : turn + unbroken], total[:unbroken])
            _add(value, columns[start, : len(total) - unbroken], total[unbroken:])
            continue
        first, last = lists["head"][i], lists["head"][i] + lists["used"][i]
        while first < last and events[start + (first if first < room else first - room)] < oldest:
            first += 1
        for place in range(start + first, start + min(last, room)):
            total[events[place] - oldest] += value * values[place]
        for place in range(start + max(0, first - room), start + last - room):
            total[events[place] - oldest] += value * values[place]


@njit(cache=True, nogil=True)
def _add(value: float, column: NDArray[np.float32], total: NDArray[np.float64]) -> None:
    for k in range(len(total)):
        total[k] += value * column[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_lengths(length: float, squares: NDArray[np.float64], cosine: bool, total: NDArray[np.float64]) -> None:
    """Make squared distances of products, with the squared lengths of the rows."""
    if cosine:
        for k in range(len(total)):
            total[k] = between_units(total[k], length, squares[k])
    else:
        for k in range(len(total)):
            total[k] = max(0.0, length + squares[k] - 2 * total[k])


@njit(cache=True, nogil=True)
def _has_room(
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    lists: NDArray[np.void],
    events: NDArray[np.int64],
    columns: NDArray[np.float32],
    taken: NDArray[np.int64],
    long: int,
    oldest: int,
) -> bool:
    """Whether the lists can take the cells of a row, once those of events before ``oldest`` have left them."""
    free, free_columns = int(len(events) - taken[0]), int(len(columns) - taken[1])
    for k in range(len(data)):
        if data[k] == 0 or np.isnan(data[k]):
            continue
        i = indices[k]
        start, room = lists["start"][i], lists["room"][i]
        while lists["used"][i] > 0 and events[start + lists["head"][i]] < oldest:
            lists["head"][i] = (lists["head"][i] + 1) % room
            lists["used"][i] -= 1
        if lists["used"][i] != room:
            continue
        if room < long:
            free -= max(2 * room, SHORTEST)
        else:
            free_columns -= 1
    return free >= 0 and free_columns >= 0


@njit(cache=True, nogil=True)
def _append(
    i: int,
    value: float,
    event: int,
    lists: NDArray[np.void],
    events: NDArray[np.int64],
    values: NDArray[np.float32],
    columns: NDArray[np.float32],
    taken: NDArray[np.int64],
    long: int,
) -> None:
    """Put a cell at the end of the list of input ``i``; a full list moves to twice the room, a long one to a column."""
    start, room, used = lists["start"][i], lists["room"][i], lists["used"][i]
    if used == room and room >= long:
        column = columns[taken[1]]
        for place in range(start, start + room):
            column[events[place] % len(column)] = values[place]
        start, room = taken[1], COLUMN
        lists["start"][i], lists["room"][i], lists["used"][i] = start, room, 0
        taken[1] += 1
    if room == COLUMN:
        columns[start, event % columns.shape[1]] = value
        return
    if used == room:
        to = taken[0]
        for turn in range(used):
            place = start + (lists["head"][i] + turn) % room
            events[to + turn], values[to + turn] = events[place], values[place]
        room = max(2 * room, SHORTEST)
        lists["start"][i], lists["room"][i], lists["head"][i] = to, room, 0
        start = to
        taken[0] += room
    place = start + (lists["head"][i] + used) % room
    events[place], values[place] = event, value
    lists["used"][i] = used + 1
