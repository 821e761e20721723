"""The last rows of a dense stream, kept by column, and the nearest of them to another row."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State
from streams.batch import NOMINAL, Batch, Rows, Schema

COUNT, MEAN, SQUARES = 0, 1, 2
"""Rows of ``moments``: values seen, their mean, their summed squared distance from it (Welford)."""

IGNORED, NUMBER, CATEGORY = 0, 1, 2
"""What a column is to a distance."""

SAME = 1e-13
"""Squared distance at unit length below which rows are the same: float32 cells cannot tell them apart."""


class DenseWindow:
    """The last ``size`` rows that were kept, with missing cells, and the search for the nearest of them.

    Parameters
    ----------
    size
        Rows held at most.
    n_neighbors
        Rows that a search finds, fewer while fewer are held.
    cosine
        Whether distance is that between rows brought to unit length, which is sqrt(2 - 2 cos), and not the plain one.
    standardise
        Whether numeric columns are measured in standard deviations.

    Notes
    -----
    Rows are held as they came and measured on the scale of the moment, that of the values observed up to and including
    the row that is looked up: squared differences are divided by the column's variance. A column that has not varied
    yet counts nothing. Two categories of a nominal column are 0 apart where they are the same and 1 where not.

    A cell that is missing in either row counts as much as two values drawn at random do on average: squared, twice the
    variance of a numeric column and 1 for a nominal one. For the cosine, columns are centred if they are standardised;
    a missing number contributes nothing and every category, a missing one too, is a direction of its own.

    Sums are float64, column by column, so that a difference of distances is never one of rounding to float32. The
    search is exhaustive: one multiplication or two per cell held, a column a vector.
    """

    def __init__(self, size: int, n_neighbors: int, *, cosine: bool, standardise: bool) -> None:
        self.size, self.n_neighbors, self.cosine, self.standardise = size, n_neighbors, cosine, standardise
        self._cells = np.zeros((0, 0), np.float32)
        self._gaps = np.zeros(0, np.int64)
        self._moments = np.zeros((3, 0))
        self._kinds = np.zeros(0, np.uint8)
        self._n_columns = 0
        self._version: tuple[Schema, tuple[int, int]] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_version": None}

    def search(
        self, schema: Schema, batch: Batch, kept: NDArray[np.bool_], stored: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Slots of the nearest rows held and their distances, nearest first, for every row of ``batch``.

        A row that is ``kept`` is then held, before the next one is looked up, in the slot ``stored`` % ``size``, where
        ``stored`` counts the rows kept before it. Of rows at the same distance the older ones come first. Slots are -1
        where fewer rows are held than are sought.
        """
        x = batch.x.to_dense(schema.n_features) if isinstance(batch.x, Rows) else batch.x
        self._make_room(schema, min(self.size, stored + int(np.count_nonzero(kept))), min(self.size, stored))
        slots = np.full((len(x), self.n_neighbors), -1, np.int32)
        distances = np.zeros(slots.shape)
        _search(
            np.ascontiguousarray(x, np.float32),
            kept,
            stored,
            self.size,
            self._kinds[: self._n_columns],
            self._cells,
            self._gaps,
            self._moments,
            self.cosine,
            self.standardise,
            slots,
            distances,
        )
        return slots, distances

    def _make_room(self, schema: Schema, n_rows: int, held: int) -> None:
        """Room for ``n_rows`` rows of the columns of ``schema``; in the ``held`` ones, new columns are missing."""
        columns, rows = self._cells.shape
        if n_rows > rows:
            rows = min(self.size, max(n_rows, 2 * rows))
        if schema.n_features > columns:
            columns = max(schema.n_features, 2 * columns)
        if (columns, rows) != self._cells.shape:
            wider = np.full((columns, rows), np.nan, np.float32)
            wider[: self._cells.shape[0], : self._cells.shape[1]] = self._cells
            moments = np.zeros((3, columns))
            moments[:, : self._moments.shape[1]] = self._moments
            gaps = np.zeros(columns, np.int64)
            gaps[: len(self._gaps)] = self._gaps
            self._cells, self._moments, self._gaps = wider, moments, gaps
        if self._version is None or self._version[0] is not schema or self._version[1] != schema.version:
            self._gaps[self._n_columns : schema.n_features] = held
            self._n_columns = schema.n_features
            kinds = np.array([CATEGORY if kind == NOMINAL else NUMBER for kind in schema.kinds], np.uint8)
            kinds[list(schema.ignored)] = IGNORED
            self._kinds = kinds
            self._version = schema, schema.version

    def rows(self, schema: Schema, stored: int) -> NDArray[np.float32]:
        """The rows held, the oldest first, float32 of shape (n, features of ``schema``) with NaN for missing."""
        self._make_room(schema, 0, min(self.size, stored))
        return np.ascontiguousarray(self._cells[: schema.n_features, in_order(self.size, stored)].T)

    def get_state(self, schema: Schema, stored: int) -> State:
        """Copies of the rows held and of the moments."""
        return {"rows": self.rows(schema, stored), "moments": self._moments[:, : schema.n_features].copy()}

    def set_state(self, schema: Schema, state: State) -> None:
        """Take over what ``get_state`` gave; the rows are those in slots 0, 1, ... then."""
        rows = state["rows"]
        self._make_room(schema, len(rows), len(rows))
        self._cells[: schema.n_features, : len(rows)] = rows.T
        self._gaps[: schema.n_features] = np.isnan(rows).sum(0)
        self._moments[:, : schema.n_features] = state["moments"]


def in_order(size: int, stored: int) -> NDArray[np.int64]:
    """The slots in use, that of the oldest row first."""
    return np.arange(max(0, stored - size), stored) % size


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    x: NDArray[np.float32],
    kept: NDArray[np.bool_],
    stored: int,
    size: int,
    kinds: NDArray[np.uint8],
    cells: NDArray[np.float32],
    gaps: NDArray[np.int64],
    moments: NDArray[np.float64],
    cosine: bool,
    standardise: bool,
    slots: NDArray[np.int32],
    distances: NDArray[np.float64],
) -> None:
    row = np.full(len(kinds), np.nan)
    centre, scale, cost = np.zeros(len(kinds)), np.zeros(len(kinds)), np.zeros(len(kinds))
    width = cells.shape[1]
    total, dot = np.zeros(width), np.zeros(width)
    for t in range(len(x)):
        for column in range(min(len(kinds), x.shape[1])):
            row[column] = x[t, column] if kinds[column] != IGNORED else np.nan
        _measures(row, kinds, moments, standardise, kept[t], centre, scale, cost)
        held = min(stored, size)
        total[:held] = 0
        if cosine:
            dot[:held] = 0
            _cosine(row, kinds, cells, centre, scale, cost, dot[:held], total[:held])
        else:
            _euclidean(row, kinds, cells, gaps, scale, cost, total[:held])
        nearest(total, held, stored % size if stored > size else 0, slots[t], distances[t])
        for k in range(slots.shape[1]):
            distances[t, k] = np.sqrt(distances[t, k])
        if kept[t]:
            _keep(row, stored % size, stored >= size, cells, gaps)
            stored += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _measures(
    row: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    moments: NDArray[np.float64],
    standardise: bool,
    learn: bool,
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    cost: NDArray[np.float64],
) -> None:
    """For every column what is subtracted, what a squared difference is multiplied by, and what a missing cell costs.

    A nominal column costs nothing before the first event with a value in it was learned, since no row held can differ
    from another there. ``moments`` changes only if ``learn``.
    """
    for column in range(len(kinds)):
        n, mean, squares = moments[COUNT, column], moments[MEAN, column], moments[SQUARES, column]
        value = row[column]
        if kinds[column] != NUMBER:
            centre[column], scale[column] = 0.0, 1.0
            cost[column] = 1.0 if n > 0 else 0.0
            if learn and not np.isnan(value):
                moments[COUNT, column] = n + 1
            continue
        if not np.isnan(value):
            n += 1
            gap = value - mean
            mean += gap / n
            squares += gap * (value - mean)
            if learn:
                moments[COUNT, column], moments[MEAN, column], moments[SQUARES, column] = n, mean, squares
        centre[column], scale[column] = 0.0, 1.0
        cost[column] = 2 * squares / n if n > 0 else 0.0
        if standardise:
            centre[column] = mean
            scale[column] = n / squares if squares > 0 else 0.0
            cost[column] = 2.0 if squares > 0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _euclidean(
    row: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    cells: NDArray[np.float32],
    gaps: NDArray[np.int64],
    scale: NDArray[np.float64],
    cost: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Squared distances of ``row`` from the rows held; numeric columns without gaps come first, four a turn."""
    plain = np.zeros(4, np.int64)
    n_plain = 0
    for column in range(len(kinds)):
        if kinds[column] != NUMBER or gaps[column] > 0 or np.isnan(row[column]):
            continue
        plain[n_plain] = column
        n_plain += 1
        if n_plain == 4:
            n_plain = 0
            i, j, k, m = plain[0], plain[1], plain[2], plain[3]
            p, q, r, s = scale[i], scale[j], scale[k], scale[m]
            w, x, y, z = row[i], row[j], row[k], row[m]
            left, second, third, right = cells[i], cells[j], cells[k], cells[m]
            for slot in range(len(total)):
                a, b = w - left[slot], x - second[slot]
                c, d = y - third[slot], z - right[slot]
                total[slot] = (((total[slot] + p * (a * a)) + q * (b * b)) + r * (c * c)) + s * (d * d)
    for column in plain[:n_plain]:
        _add_column(row[column], cells[column], scale[column], cost[column], False, total)
    for column in range(len(kinds)):
        if kinds[column] == CATEGORY or (kinds[column] == NUMBER and (gaps[column] > 0 or np.isnan(row[column]))):
            _add_column(row[column], cells[column], scale[column], cost[column], kinds[column] == CATEGORY, total)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_column(
    value: float, column: NDArray[np.float32], scale: float, cost: float, category: bool, total: NDArray[np.float64]
) -> None:
    """Add what one column contributes to the squared distances."""
    if np.isnan(value):
        for slot in range(len(total)):
            total[slot] += cost
    elif category:
        for slot in range(len(total)):
            total[slot] += 0.0 if column[slot] == value else cost
    else:
        for slot in range(len(total)):
            gap = value - column[slot]
            total[slot] += cost if np.isnan(gap) else scale * (gap * gap)


@njit(cache=True, nogil=True, error_model="numpy")
def _cosine(
    row: NDArray[np.float64],
    kinds: NDArray[np.uint8],
    cells: NDArray[np.float32],
    centre: NDArray[np.float64],
    scale: NDArray[np.float64],
    cost: NDArray[np.float64],
    dot: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Squared distances, at unit length, of ``row`` from the rows held."""
    length = 0.0
    for column in range(len(kinds)):
        value, held = row[column] - centre[column], cells[column]
        if kinds[column] == CATEGORY:
            length += cost[column]
            for slot in range(len(total)):
                dot[slot] += cost[column] if held[slot] == value else 0.0
                total[slot] += cost[column]
        elif kinds[column] == NUMBER:
            value = 0.0 if np.isnan(value) else value
            length += scale[column] * (value * value)
            for slot in range(len(total)):
                other = held[slot] - centre[column]
                other = 0.0 if np.isnan(other) else other
                dot[slot] += scale[column] * (value * other)
                total[slot] += scale[column] * (other * other)
    for slot in range(len(total)):
        total[slot] = between_units(dot[slot], length, total[slot])


@njit(cache=True, nogil=True, error_model="numpy")
def between_units(dot: float, one: float, other: float) -> float:
    """Squared distance at unit length of rows with this product and these squared lengths.

    A row of zeros is at right angles to all but its like. Left where it is, at distance 1, it would be nearer to most
    rows of text than any text is.
    """
    if one > 0 and other > 0:
        apart = 2 - 2 * dot / np.sqrt(one * other)
        return apart if apart > SAME else 0.0
    return 2.0 if one > 0 or other > 0 else 0.0


@njit(cache=True, nogil=True)
def nearest(
    squared: NDArray[np.float64], held: int, oldest: int, slots: NDArray[np.int32], distances: NDArray[np.float64]
) -> None:
    """The slots of the smallest of ``squared[:held]``, ascending; of equal ones that of the older row first."""
    n, worst = 0, np.inf
    for age in range(held):
        slot = oldest + age
        if slot >= held:
            slot -= held
        found = squared[slot]
        if n == len(slots) and not found < worst:
            continue
        place = min(n, len(slots) - 1)
        n = min(n + 1, len(slots))
        while place > 0 and distances[place - 1] > found:
            distances[place], slots[place] = distances[place - 1], slots[place - 1]
            place -= 1
        distances[place], slots[place] = found, slot
        worst = distances[n - 1]


@njit(cache=True, nogil=True)
def _keep(row: NDArray[np.float64], slot: int, full: bool, cells: NDArray[np.float32], gaps: NDArray[np.int64]) -> None:
    """Put ``row`` in a slot, and count the missing cells of every column anew."""
    for column in range(len(row)):
        if full and np.isnan(cells[column, slot]):
            gaps[column] -= 1
        if np.isnan(row[column]):
            gaps[column] += 1
        cells[column, slot] = row[column]
