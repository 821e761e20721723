"""What a model sees of a batch: numbered inputs, put on one scale while the stream goes by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import with_room
from streams.batch import NOMINAL, Batch, Rows, Schema

COUNT, MEAN, SQUARES = 0, 1, 2
"""Rows of ``Inputs.moments``: values seen, their mean, their summed squared distance from it (Welford)."""

CLIP = 5.0
"""No input on the common scale is farther from 0 than this."""


class Encoded(NamedTuple):
    """The inputs of n events.

    ``dense`` is float32 (n, k), NaN for missing, and ``inputs`` int32 (k,) has the input number of each of its columns,
    ascending. ``cells`` lists further inputs event by event; a cell of 0 or NaN counts as not listed. ``sparse`` tells
    that they are the cells of sparse rows; else they are the categories that hold.
    """

    dense: NDArray[np.float32]
    inputs: NDArray[np.int32]
    cells: Rows
    sparse: bool


class Inputs:
    """Numbers of the inputs of a model, and the running moments that put them on one scale.

    Input 0 is the intercept. A numeric column is one input; each category of a nominal column is one, which is 1 where
    the column has that category. Ignored columns are none. Numbers are given in the order in which the schema grows and
    never change.

    Parameters
    ----------
    whole
        Give a nominal column as a whole a number too, before those of its categories. No cell has that number.

    Notes
    -----
    The scale is that of the values observed up to and including the event at hand, so an event is seen alike when it is
    predicted and when it is learned, and ``transform`` shows what it will be without remembering it.

    * Dense numeric columns: distance from the mean in standard deviations. A column that has not varied yet is 0.
    * Categories of dense rows: sqrt((1 - p) / p) where p is the category's share of all events, which is what a
      standardised 0/1 column would be at 1; at 0 it stays 0. Categories that almost always hold say almost nothing and
      a column costs one cell, however many categories it has.
    * Cells of sparse rows: divided by the root mean square of that column's non-zero values, so that absent stays 0 and
      0/1 columns stay as they are. Dividing by the root mean square over all events instead (which favours rare
      columns) gave worse probabilities on six of eight text sets.

    Missing values are 0 on that scale and are not counted. Everything is cut off at ±5. Without ``standardise`` inputs
    are the values themselves. Nothing is forgotten: after a shift of a column its moments move as 1/n.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.n = 1
        self._whole = whole
        self.moments = np.zeros((3, 16))
        self._input_of = np.zeros(0, np.int32)
        self._start_of = np.zeros(0, np.int64)
        self._n_columns = 0
        self._segments: dict[int, tuple[int, int, int]] = {}
        self._category_inputs = np.zeros(0, np.int32)
        self._seen: tuple[Schema, tuple[int, int]] | None = None
        self._dense: tuple[NDArray[np.int64], NDArray[np.int64]] = (np.zeros(0, np.int64), np.zeros(0, np.int64))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": None}

    def grow(self, schema: Schema) -> None:
        """Give numbers to the columns and categories that are new in ``schema``."""
        if self._seen is not None and self._seen[0] is schema and self._seen[1] == schema.version:
            return
        new = range(self._n_columns, schema.n_features)
        self._input_of = with_room(self._input_of, schema.n_features, -1)
        self._start_of = with_room(self._start_of, schema.n_features, -1)
        for column in new:
            if column in schema.ignored:
                continue
            if schema.kinds[column] == NOMINAL:
                self._grow_categories(column, len(schema.categories[column]))
            else:
                self._input_of[column] = self._take(1)
        for column, names in schema.categories.items():
            if column not in schema.ignored:
                self._grow_categories(column, len(names))
        for column in schema.ignored:
            self._input_of[column] = self._start_of[column] = -1
        self._n_columns = schema.n_features
        used = self._input_of[: self._n_columns]
        nominal = self._start_of[: self._n_columns] >= 0
        self._dense = np.flatnonzero((used >= 0) & ~nominal), np.flatnonzero(nominal)
        if self.n > self.moments.shape[1]:
            wider = np.zeros((3, max(self.n, 2 * self.moments.shape[1])))
            wider[:, : self.moments.shape[1]] = self.moments
            self.moments = wider
        self._seen = (schema, schema.version)

    def _take(self, n: int) -> int:
        self.n += n
        return self.n - n

    def _grow_categories(self, column: int, n: int) -> None:
        """Number the categories of a column up to ``n``; its segment of ``_category_inputs`` moves when it is full."""
        if self._whole and self._input_of[column] < 0:
            self._input_of[column] = self._take(1)
        start, room, held = self._segments.get(column, (0, 0, 0))
        if n > room:
            moved, start, room = self._category_inputs[start : start + held], len(self._category_inputs), 2 * n
            spare = np.full(room - held, -1, np.int32)
            self._category_inputs = np.concatenate([self._category_inputs, moved, spare])
        if n > held:
            first = self._take(n - held)
            self._category_inputs[start + held : start + n] = np.arange(first, self.n)
        self._segments[column] = (start, room, n)
        self._start_of[column] = start

    def numbers(self, mine: Schema, theirs: Schema) -> NDArray[np.int64]:
        """Input numbers, or -1, of the inputs that a new ``Inputs`` would number 0, 1, ... for ``theirs``.

        ``mine`` is the schema that was given to ``grow`` and knows all features and categories of ``theirs``. With
        ``theirs`` being ``mine`` this is the order in which states are written.
        """
        self.grow(mine)
        numbers = [0]
        for column, name in enumerate(theirs.feature_names):
            own = mine.find_feature(name)
            if column in theirs.ignored:
                continue
            if self._whole or column not in theirs.categories:
                numbers.append(int(self._input_of[own]))
            start = self._start_of[own]
            for category in theirs.categories.get(column, ()):
                code = mine.find_category(own, category)
                numbers.append(-1 if start < 0 else int(self._category_inputs[start + code]))
        return np.array(numbers, np.int64)

    def of_columns(self) -> NDArray[np.int32]:
        """The input of every column, where none is nominal or ignored."""
        return self._input_of[: self._n_columns]

    def encode(self, batch: Batch) -> Encoded:
        """The inputs of a batch whose schema was given to ``grow``."""
        x = batch.x
        if isinstance(x, Rows):
            return Encoded(np.zeros((len(x), 0), np.float32), np.zeros(0, np.int32), self._encode_cells(x), True)
        numeric, nominal = self._dense
        if x.shape[1] < self._n_columns:
            numeric, nominal = numeric[numeric < x.shape[1]], nominal[nominal < x.shape[1]]
        dense = x if len(numeric) == x.shape[1] else x[:, numeric]
        cells = Rows.empty(len(x), values=True)
        if len(nominal):
            codes = x[:, nominal]
            row, place = np.nonzero(~np.isnan(codes))
            indices = self._category_inputs[self._start_of[nominal[place]] + codes[row, place].astype(np.int64)]
            indptr = np.zeros(len(x) + 1, np.int64)
            np.cumsum(np.bincount(row, minlength=len(x)), out=indptr[1:])
            cells = Rows(indptr, indices, np.ones(len(indices), np.float32))
        return Encoded(np.ascontiguousarray(dense, np.float32), self._input_of[numeric], cells, False)

    def _encode_cells(self, x: Rows) -> Rows:
        data = np.ones(len(x.indices), np.float32) if x.data is None else x.data
        inputs = self._input_of[x.indices]
        start = self._start_of[x.indices]
        indicators = np.flatnonzero(start >= 0)
        if len(indicators):
            codes = np.nan_to_num(data[indicators]).astype(np.int64)
            inputs[indicators] = self._category_inputs[start[indicators] + codes]
            data = data.copy()
            data[indicators] = codes > 0
        ignored = np.flatnonzero(inputs < 0)
        if len(ignored):
            data = data.copy()
            inputs[ignored] = data[ignored] = 0
        return Rows(x.indptr, inputs, data)


def as_schema_says(batch: Batch, schema: Schema) -> Batch:
    """The batch with sparse rows if ``schema``, whose columns it has, is sparse, and dense ones if it is not."""
    x = batch.x
    if schema.sparse and not isinstance(x, Rows):
        x = Rows.from_dense(np.nan_to_num(x), values=True)
    elif not schema.sparse and isinstance(x, Rows):
        dense = np.full((len(x), schema.n_features), np.nan, np.float32)
        dense[np.repeat(np.arange(len(x)), np.diff(x.indptr)), x.indices] = 1 if x.data is None else x.data
        x = dense
    else:
        return batch
    return Batch(batch.schema, x, batch.y, batch.label_state, batch.known, batch.weight)


@njit(cache=True, nogil=True, error_model="numpy")
def transform(
    dense: NDArray[np.float32],
    inputs: NDArray[np.int32],
    indices: NDArray[np.int32],
    data: NDArray[np.float32],
    sparse: bool,
    standardise: bool,
    learn: bool,
    moments: NDArray[np.float64],
    used: NDArray[np.int32],
    values: NDArray[np.float32],
) -> int:
    """List the inputs of one event that are not 0, intercept first, in ``used`` and ``values``; return their number.

    ``dense`` and ``data`` are the event's rows of `Encoded`. ``moments`` changes only if ``learn``. ``used`` and
    ``values`` have room for 1 + len(dense) + len(data).
    """
    used[0], values[0], m = 0, 1, 1
    n_events = moments[COUNT, 0] + 1
    if learn:
        moments[COUNT, 0], moments[MEAN, 0] = n_events, 1

    z = values[1 : 1 + len(dense)]
    if not standardise:
        z[:] = dense
    else:
        start = 0
        while start < len(dense):
            stop = start + 1
            while stop < len(dense) and inputs[stop] == inputs[stop - 1] + 1:
                stop += 1
            own = moments[:, inputs[start] : inputs[start] + stop - start]
            _standardise(dense[start:stop], learn, own[COUNT], own[MEAN], own[SQUARES], z[start:stop])
            start = stop
    for k in range(len(dense)):
        if z[k] != 0 and not np.isnan(z[k]):
            used[m], values[m] = inputs[k], z[k]
            m += 1

    for k in range(len(data)):
        value = np.float64(data[k])
        if value == 0 or np.isnan(value):
            continue
        i = indices[k]
        if standardise:
            n = moments[COUNT, i] + 1
            gap = value - moments[MEAN, i]
            mean = moments[MEAN, i] + gap / n
            squares = moments[SQUARES, i] + gap * (value - mean)
            if learn:
                moments[COUNT, i], moments[MEAN, i], moments[SQUARES, i] = n, mean, squares
            if sparse:
                value /= np.sqrt(mean * mean + squares / n)
            else:
                value = np.sqrt((n_events - n) / n)
            value = min(max(value, -CLIP), CLIP)
        if value != 0:
            used[m], values[m] = i, value
            m += 1
    return m


@njit(cache=True, nogil=True, error_model="numpy")
def _standardise(
    x: NDArray[np.float32],
    learn: bool,
    count: NDArray[np.float64],
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
    z: NDArray[np.float32],
) -> None:
    """Welford's step for every column that has a value, kept if ``learn``, and the values on the new scale.

    Without branches, so that it is compiled to vector instructions: what a missing value brings about is computed and
    then not taken.
    """
    for k in range(len(x)):
        value = np.float64(x[k])
        n = count[k] + 1
        gap = value - mean[k]
        centre = mean[k] + gap / n
        total = squares[k] + gap * (value - centre)
        keep = learn and not np.isnan(value)
        count[k] = n if keep else count[k]
        mean[k] = centre if keep else mean[k]
        squares[k] = total if keep else squares[k]
        scaled = min(max((value - centre) * np.sqrt(n / total), -CLIP), CLIP)
        z[k] = scaled if total > 0 else 0.0
