"""Events as the parts of the classifier see them: shared rows of inputs, and labels by order of birth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.inputs import COUNT, Encoded, Inputs, transform
from streams.batch import PARTIAL, UNLABELLED, Batch, Rows, Schema


class Events(NamedTuple):
    """The labels of n events. Columns are labels in the order of their birth.

    ``present`` and ``known`` list columns as `Rows` do; ``state`` is `Batch.label_state`, but a partly labelled event
    of which nothing is known is ``UNLABELLED``; ``weight`` float64 (n,); ``born`` int64 (n + 1,): columns below
    ``born[i]`` exist when event ``i`` is answered, and those below ``born[i + 1]`` when it is learned; ``taught`` bool
    (n,): whether the event is learned from.
    """

    present_start: NDArray[np.int64]
    present: NDArray[np.int32]
    state: NDArray[np.uint8]
    known_start: NDArray[np.int64]
    known: NDArray[np.int32]
    weight: NDArray[np.float64]
    born: NDArray[np.int64]
    taught: NDArray[np.bool_]

    @classmethod
    def room(cls, n_labels: int) -> Events:
        """Room for one event of which any of so many labels may be known."""
        start, columns = np.zeros(2, np.int64), np.zeros(n_labels, np.int32)
        state, taught = np.zeros(1, np.uint8), np.zeros(1, np.bool_)
        return cls(start, columns, state, start.copy(), columns.copy(), np.ones(1), np.full(2, n_labels), taught)


class Cells(NamedTuple):
    """Pairs of events and labels that are looked at.

    Event ``i`` has those of ``start[i]:start[i + 1]``, labels ascending. ``start`` int64 (n + 1,); ``label`` int32,
    columns; ``target`` float32: 1 present, 0 absent, NaN where nothing is learned (the label is unknown or the event is
    not taught); ``asked`` bool: the cell is answered. Cells that are not asked are there to be learned only, such as
    those of labels born with the event.
    """

    start: NDArray[np.int64]
    label: NDArray[np.int32]
    target: NDArray[np.float32]
    asked: NDArray[np.bool_]

    @classmethod
    def all(cls, events: Events) -> Cells:
        """Every label that is born, for every event."""
        lengths = np.where(events.taught, events.born[1:], events.born[:-1])
        start = np.concatenate([[0], np.cumsum(lengths)])
        cells = cls(start, *(np.empty(start[-1], kind) for kind in (np.int32, np.float32, np.bool_)))
        _all_cells(events, cells)
        return cells


class Columns:
    """Which label has which column: the first one born has column 0.

    Labels born with the same event stand in the order of their names, so that neither the order in which a schema
    declares its labels nor the cut into batches changes anything.
    """

    def __init__(self) -> None:
        self.labels = np.zeros(0, np.int32)
        self._column_of = np.zeros(0, np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, schema: Schema) -> NDArray[np.int32]:
        """The column of each label of a schema, -1 for one that is not born."""
        if schema.n_labels > len(self._column_of):
            spare = np.full(schema.n_labels - len(self._column_of), -1, np.int32)
            self._column_of = np.concatenate([self._column_of, spare])
        return self._column_of

    def admit(self, batch: Batch, schema: Schema, learn: bool) -> Events:
        """The labels of a batch, which are those of ``schema``; labels that it brings are born if ``learn``."""
        n, column_of = len(batch), self.of(schema)
        born = np.full(n + 1, len(self.labels), np.int64)
        cells = np.flatnonzero(column_of[batch.y.indices] < 0)
        if learn and len(cells):
            labels, first = np.unique(batch.y.indices[cells], return_index=True)
            event = np.searchsorted(batch.y.indptr, cells[first], side="right") - 1
            names = [schema.label_names[label] for label in labels]
            order = sorted(range(len(labels)), key=lambda i: (event[i], type(names[i]).__name__, str(names[i])))
            born += np.searchsorted(np.sort(event), np.arange(n + 1))
            column_of[labels[order]] = np.arange(len(self.labels), len(self.labels) + len(labels))
            self.labels = np.concatenate([self.labels, labels[order].astype(np.int32)])
        present = batch.y.renumbered(column_of)
        state = np.array(batch.label_state, np.uint8)
        known = Rows.empty(n)
        if batch.known is not None:
            state[(state == PARTIAL) & (np.diff(batch.known.indptr) == 0)] = UNLABELLED
            known = batch.known.renumbered(column_of)
        weight = np.ones(n) if batch.weight is None else np.ascontiguousarray(batch.weight, np.float64)
        taught = learn & (state != UNLABELLED)
        return Events(present.indptr, present.indices, state, known.indptr, known.indices, weight, born, taught)

    def get_state(self) -> dict[str, NDArray[Any]]:
        """The labels in order of birth."""
        return {"labels": self.labels.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self.labels = state["labels"].copy()
        self._column_of = np.full(int(self.labels.max(initial=-1)) + 1, -1, np.int32)
        self._column_of[self.labels] = np.arange(len(self.labels))


@njit(cache=True, nogil=True)
def read_targets(events: Events, i: int, n_columns: int, target: NDArray[Any]) -> None:
    """Write 1 (present), 0 (absent) or NaN (unknown) for the first ``n_columns`` labels of event ``i``."""
    partial = events.state[i] == PARTIAL
    target[:n_columns] = np.nan if partial else 0.0
    if partial:
        for cell in range(events.known_start[i], events.known_start[i + 1]):
            if events.known[cell] < n_columns:
                target[events.known[cell]] = 0.0
    for cell in range(events.present_start[i], events.present_start[i + 1]):
        if events.present[cell] < n_columns:
            target[events.present[cell]] = 1.0


@njit(cache=True, nogil=True)
def _all_cells(events, cells):
    target = np.empty(events.born[-1], np.float32)
    for i in range(len(events.state)):
        low, high = cells.start[i], cells.start[i + 1]
        n_labels = high - low
        if events.taught[i]:
            read_targets(events, i, n_labels, target)
        else:
            target[:n_labels] = np.nan
        for label in range(n_labels):
            cells.label[low + label] = label
            cells.target[low + label] = target[label]
            cells.asked[low + label] = label < events.born[i]


class SharedRows:
    """The inputs of every event on a common scale, computed once for all parts.

    Values are those of `learners.inputs.Inputs`, divided, but for the intercept (input 0), by a length: for dense rows
    the root mean square length of the events learned before; for sparse rows that of the inputs of this event which
    have been met before, and at least half of the former. Inputs never met have no say in it, so that an event is
    predicted alike whether their names are known or not.

    The column numbers of the rows, places, are the numbers of `Inputs`, but they survive saving and loading, which
    numbers inputs afresh.
    """

    def __init__(self) -> None:
        self.inputs = Inputs()
        self._length = np.zeros(2)
        self._places = np.zeros(0, np.int64)
        self._shift = 0

    @property
    def n(self) -> int:
        """Places so far; numbers in the rows are below it."""
        return self.inputs.n + self._shift

    def run(self, batch: Batch, schema: Schema, taught: NDArray[np.bool_]) -> Rows:
        """The rows of a batch, whose columns are those of ``schema``; only the ``taught`` events move the scale."""
        self.inputs.grow(schema)
        encoded: Encoded = self.inputs.encode(batch)
        n, d = encoded.dense.shape
        cells = encoded.cells
        assert cells.data is not None
        room = (d + 1) * n + len(cells.indices)
        indices, values = np.empty(room, np.int32), np.empty(room, np.float32)
        indptr = shared_rows(
            encoded.dense, encoded.inputs, cells.indptr, cells.indices, cells.data, encoded.sparse, taught,
            self.arrays(schema), indices, values,
        )  # fmt: skip
        return Rows(indptr, indices[: indptr[-1]], values[: indptr[-1]])

    def arrays(self, schema: Schema) -> tuple[Any, ...]:
        """What is learned, with room for the inputs of a schema, as the kernel takes it."""
        self.inputs.grow(schema)
        return self.inputs.moments, self._length, self._places, self._shift

    def get_state(self, schema: Schema) -> dict[str, NDArray[Any]]:
        """The moments in the order of the schema's inputs, and the places of these."""
        # Categories of an ignored column have numbers, but no input (-1) and so no place that matters.
        order = np.maximum(self.inputs.numbers(schema, schema), 0)
        places = order + self._shift
        held = order < len(self._places)
        places[held] = self._places[order[held]]
        return {
            "moments": self.inputs.moments[:, order],
            "places": places,
            "n_places": np.array([self.n]),
            "length": self._length.copy(),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        """Take over what ``get_state`` gave."""
        self.inputs = Inputs()
        self.inputs.grow(schema)
        moments = state["moments"]
        self.inputs.moments[:, : moments.shape[1]] = moments
        self._places = state["places"].copy()
        self._shift = int(state["n_places"][0]) - len(self._places)
        self._length[:] = state["length"]


@njit(cache=True, nogil=True)
def shared_rows(
    dense: NDArray[np.float32],
    inputs: NDArray[np.int32],
    start: NDArray[np.int64],
    cells: NDArray[np.int32],
    data: NDArray[np.float32],
    sparse: bool,
    taught: NDArray[np.bool_],
    arrays: tuple[Any, ...],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Write the rows of `SharedRows`, and return where each starts."""
    moments, length, places, shift = arrays
    n = dense.shape[0]
    indptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        low = indptr[i]
        row = slice(start[i], start[i + 1])
        m = transform(
            dense[i], inputs, cells[row], data[row], sparse, True, taught[i], moments, indices[low:], values[low:]
        )
        square, known = 0.0, 0.0
        for k in range(low + 1, low + m):
            is_met = moments[COUNT, indices[k]] > (1 if taught[i] else 0)
            if not sparse and not is_met:
                values[k] = 0.0
            own = np.float64(values[k]) * values[k]
            square += own
            if is_met:
                known += own
        scale = length[1] / max(length[0], 1.0)
        if sparse:
            scale = max(known, 0.25 * scale)
        if taught[i]:
            length[0] += 1.0
            length[1] += square
        if scale > 0:
            factor = np.float32(1.0 / np.sqrt(scale))
            for k in range(low + 1, low + m):
                values[k] *= factor
        if len(places):
            # Inputs known when this was loaded have their places; later ones follow the places then in use.
            for k in range(low, low + m):
                at = indices[k]
                indices[k] = places[at] if at < len(places) else at + shift
        indptr[i + 1] = low + m
    return indptr
