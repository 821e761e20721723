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
"""The cells of an input, oldest first: a ring of ``room`` places from ``start``, ``used`` from the ``head`` on."""

SHORTEST = 4
"""Places of a new list."""


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
    input with the row looked up, and ``size`` subtractions. A cell whose row is no longer held
    leaves its list when the next row that has the input is kept. Cells are float32, sums float64; a copy with
    the same weights is at distance 0.

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
        self._taken = np.zeros(1, np.int64)

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
                self._taken,
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
        """Input, event and value of every cell held, list by list."""
        lists = self._lists
        used = lists["used"]
        inputs = np.repeat(np.arange(len(lists)), used)
        turn = np.arange(len(inputs)) - np.repeat(np.cumsum(used) - used, used)
        places = lists["start"][inputs] + (lists["head"][inputs] + turn) % lists["room"][inputs]
        events = self._events[places]
        held = events >= stored - self.size
        return inputs[held], events[held], self._values[places[held]]

    def _lay(
        self, inputs: NDArray[np.int64], events: NDArray[np.int64], values: NDArray[np.float32], n_more: int
    ) -> None:
        """Lay the lists anew, each with room to double, and with room for lists of ``n_more`` further cells."""
        used = np.bincount(inputs, minlength=len(self._lists))
        room = np.where(used > 0, np.maximum(2 * used, SHORTEST), 0)
        start = np.cumsum(room) - room
        self._lists["start"], self._lists["room"], self._lists["head"], self._lists["used"] = start, room, 0, used
        self._taken[0] = room.sum()
        places = np.repeat(start - (np.cumsum(used) - used), used) + np.arange(len(inputs))
        n = 2 * int(self._taken[0]) + SHORTEST * n_more
        self._events, self._values = np.zeros(n, np.int64), np.zeros(n, np.float32)
        self._events[places], self._values[places] = events, values

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
    taken: NDArray[np.int64],
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
        if kept[t] and not _has_room(indices[row], data[row], lists, events, taken, stored - size):
            return t
        m = _weigh(indices[row], data[row], moments, standardise, kept[t], used, weighed)
        length = 0.0
        for k in range(m):
            length += np.float64(weighed[k]) * weighed[k]
        oldest = max(0, stored - size)
        held = stored - oldest
        _distances(used[:m], weighed[:m], length, lists, events, values, squares, oldest, size, cosine, total[:held])
        nearest(total, held, 0, slots[t], distances[t])
        for k in range(min(held, slots.shape[1])):
            slots[t, k] = (oldest + slots[t, k]) % size
            distances[t, k] = np.sqrt(distances[t, k])
        if kept[t]:
            squares[stored % size] = length
            for k in range(m):
                _append(used[k], weighed[k], stored, lists, events, values, taken)
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
        m += 1
    return m


@njit(cache=True, nogil=True)
def _distances(
    used: NDArray[np.int32],
    weighed: NDArray[np.float32],
    length: float,
    lists: NDArray[np.void],
    events: NDArray[np.int64],
    values: NDArray[np.float32],
    squares: NDArray[np.float64],
    oldest: int,
    size: int,
    cosine: bool,
    total: NDArray[np.float64],
) -> None:
    """Squared distances of a row of squared ``length`` from the rows held, the events from ``oldest`` on."""
    total[:] = 0
    for k in range(len(used)):
        value, i = np.float64(weighed[k]), used[k]
        start, room = lists["start"][i], lists["room"][i]
        first, last = lists["head"][i], lists["head"][i] + lists["used"][i]
        for place in range(start + first, start + min(last, room)):
            if events[place] >= oldest:
                total[events[place] - oldest] += value * values[place]
        for place in range(start, start + last - room):
            if events[place] >= oldest:
                total[events[place] - oldest] += value * values[place]
    for age in range(len(total)):
        square = squares[(oldest + age) % size]
        if cosine:
            total[age] = between_units(total[age], length, square)
        else:
            total[age] = max(0.0, length + square - 2 * total[age])


@njit(cache=True, nogil=True)
def _has_room(
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    lists: NDArray[np.void],
    events: NDArray[np.int64],
    taken: NDArray[np.int64],
    oldest: int,
) -> bool:
    """Whether the lists can take the cells of a row, once those of events before ``oldest`` have left them."""
    free = int(len(events) - taken[0])
    for k in range(len(data)):
        if data[k] == 0 or np.isnan(data[k]):
            continue
        i = indices[k]
        start, room = lists["start"][i], lists["room"][i]
        while lists["used"][i] > 0 and events[start + lists["head"][i]] < oldest:
            lists["head"][i] = (lists["head"][i] + 1) % room
            lists["used"][i] -= 1
        if lists["used"][i] == room:
            free -= max(2 * room, SHORTEST)
    return free >= 0


@njit(cache=True, nogil=True)
def _append(
    i: int,
    value: float,
    event: int,
    lists: NDArray[np.void],
    events: NDArray[np.int64],
    values: NDArray[np.float32],
    taken: NDArray[np.int64],
) -> None:
    """Put a cell at the end of the list of input ``i``, which moves where it is full, to twice the room."""
    start, room, used = lists["start"][i], lists["room"][i], lists["used"][i]
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
