"""What a worker of label-parallel iHOMER holds: the columns of some labels, in every part that has a column a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Events
from ihomer.experts import write_logits
from ihomer.ridge import RidgeExpert
from ihomer.stack import Evidence, Stack
from learners import threshold as thresholding
from learners.linear import LinearClassifier, learn_labels
from learners.steps import EVENTS, F1, OPTIMIZERS, THRESHOLD, multiply, sigmoid
from streams.batch import PARTIAL, Rows

Arrays = dict[str, NDArray[Any]]
State = Mapping[str, Mapping[str, NDArray[Any]]]
"""The arrays of each part."""


class LogisticRows(NamedTuple):
    """What a logistic expert looks at: the inputs of a chunk on its own scale, each event's step size, and how many
    events it has learned then, that one included. Inputs have numbers below ``n_inputs``."""

    key: int
    start: NDArray[np.int64]
    used: NDArray[np.int32]
    values: NDArray[np.float32]
    rate: NDArray[np.float32]
    counted: NDArray[np.float64]
    n_inputs: int


class Look(NamedTuple):
    """What all workers are told of a chunk: its shared rows, with places below ``n_places``; the keys of the ridge
    experts that look at them; what each logistic expert looks at. Experts with other keys are given up."""

    start: NDArray[np.int64]
    places: NDArray[np.int32]
    values: NDArray[np.float32]
    n_places: int
    ridges: tuple[int, ...]
    logistics: tuple[LogisticRows, ...]


class Share(NamedTuple):
    """What one worker is told of a chunk: labels born that are its own from now on, and events and cells as far as they
    concern its labels, which have the numbers of their columns there."""

    born: NDArray[np.int32]
    events: Events
    cells: Cells


class Heard(NamedTuple):
    """What the experts of a worker say of each of its cells: a row an expert, in the order of the keys."""

    ridges: NDArray[np.float32]
    logistics: NDArray[np.float32]


class Weighing(NamedTuple):
    """What all workers are told for the answers to a chunk: the features in use, and for each event the weights that
    all labels share and the two best ridge scores of all labels."""

    features: NDArray[np.int64]
    weights: NDArray[np.float64]
    rivals: NDArray[np.float64]


class LabelColumns:
    """The columns of some labels: sums of ridge experts, weights of logistic ones, and the labels' own stack.

    What concerns no label, such as the inverse of a ridge, every worker has and computes for itself: it is the same
    everywhere, and sending it would take longer.

    Notes
    -----
    Columns stand in the order of the labels' birth, as they do where all are in one place, so that what comes out does
    not depend on which labels are together. Experts have keys, by which they come and go.
    """

    def __init__(self) -> None:
        self.columns = np.zeros(0, np.int32)
        self._ridges: dict[int, RidgeExpert] = {}
        self._logistics: dict[int, _LogisticColumns] = {}
        self._stack = Stack()
        self._share = Share(self.columns, *_nothing())
        self._heard = Heard(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))

    def look(self, told: Look, share: Share) -> Heard:
        """What the experts say of each cell; then they learn the chunk."""
        self._share = share
        self.columns = np.concatenate([self.columns, share.born])
        self._keep(told.ridges, [rows.key for rows in told.logistics])
        _, events, cells = share
        rows, n = Rows(told.start, told.places, told.values), len(cells.label)
        self._heard = Heard(np.empty((len(told.ridges), n), np.float32), np.empty((len(told.logistics), n), np.float32))
        for place, key in enumerate(told.ridges):
            self._heard.ridges[place] = self._ridges[key].run(rows, told.n_places, events, cells)
        for place, inputs in enumerate(told.logistics):
            self._heard.logistics[place] = self._logistics[inputs.key].run(inputs, len(self.columns), events, cells)
        return self._heard

    def answer(self, told: Weighing, evidence: Evidence) -> NDArray[np.float64]:
        """The probability of each cell of the chunk that was looked at last; then the stack learns it.

        ``evidence`` has what the experts say that are elsewhere.
        """
        _, events, cells = self._share
        ridges, logistics = self._heard
        said = dict(zip(("ridge", "shadow_ridge"), ridges, strict=False))
        said |= zip(("logistic", "shadow_logistic"), logistics, strict=False)
        return self._stack.run_labels(*told, evidence._replace(**said), events, cells)

    def change(self, how: str) -> None:
        """Change the stack: ``loosen``, ``promote_shadow``."""
        getattr(self._stack, how)()

    def _keep(self, ridges: Iterable[int], logistics: Iterable[int]) -> None:
        self._ridges = {key: self._ridges.get(key) or RidgeExpert() for key in ridges}
        self._logistics = {key: self._logistics.get(key) or _LogisticColumns() for key in logistics}

    # State: parts are called "stack", "ridge KEY" and "logistic KEY".

    def shared(self, part: str) -> Arrays:
        """What of a part is the same at every worker; nothing where there is no such part."""
        kind, key = _named(part)
        if kind == "stack":
            return {"columns": self._stack.get_state()["columns"]}
        ridge = self._ridges.get(key) if kind == "ridge" else None
        state = {} if ridge is None else ridge.get_state()
        return {name: array for name, array in state.items() if name != "sums"}

    def own(self, part: str) -> Arrays:
        """What a part holds of each label, along the first axis, in the order of ``columns``."""
        kind, key = _named(part)
        n = len(self.columns)
        if kind == "stack":
            return self._stack.label_state(n)
        if kind == "logistic":
            return self._logistics[key].label_state(n) if key in self._logistics else {}
        if key not in self._ridges:
            return {}
        sums = self._ridges[key].get_state()["sums"]
        return {"sums": np.concatenate([sums, np.zeros((n - len(sums), sums.shape[1]))])}

    def counted(self, key: int) -> NDArray[np.float64]:
        """What the threshold of a logistic expert has counted here."""
        return self._logistics[key].counted if key in self._logistics else np.zeros(2)

    def hold(self, shared: State, columns: NDArray[np.int32], own: State) -> None:
        """Hold these labels and no others; parts that are not named are given up."""
        counted = {key: logistic.counted for key, logistic in self._logistics.items()}
        self.columns, self._ridges, self._logistics = columns, {}, {}
        for part, state in own.items():
            kind, key = _named(part)
            if kind == "stack":
                self._stack.hold_labels({**shared[part], **state})
            elif kind == "ridge":
                self._ridges[key] = RidgeExpert()
                self._ridges[key].set_state({**shared[part], **state})
            else:
                self._logistics[key] = _LogisticColumns()
                self._logistics[key].hold(state, counted.get(key, np.zeros(2)))

    def release(self, columns: NDArray[np.int32]) -> State:
        """Give up these labels, and tell what was held of them."""
        leave = np.searchsorted(self.columns, columns)
        stay = np.delete(np.arange(len(self.columns)), leave)
        own = {part: self.own(part) for part in self._parts()}
        self.hold(self._all_shared(), self.columns[stay], _of(own, stay))
        return _of(own, leave)

    def receive(self, columns: NDArray[np.int32], state: State) -> None:
        """Hold these labels too, of which others have told."""
        every = np.concatenate([self.columns, columns])
        order = np.argsort(every)
        own = {
            part: {name: np.concatenate([array, state[part][name]])[order] for name, array in self.own(part).items()}
            for part in self._parts()
        }
        self.hold(self._all_shared(), every[order], own)

    def _parts(self) -> list[str]:
        return ["stack", *(f"ridge {key}" for key in self._ridges), *(f"logistic {key}" for key in self._logistics)]

    def _all_shared(self) -> State:
        return {part: self.shared(part) for part in self._parts()}


def _named(part: str) -> tuple[str, int]:
    kind, _, key = part.partition(" ")
    return kind, int(key or 0)


def _of(state: State, places: NDArray[np.int64]) -> State:
    return {part: {name: array[places] for name, array in arrays.items()} for part, arrays in state.items()}


class _LogisticColumns(LinearClassifier):
    """The columns of a logistic expert, whose inputs are put on one scale elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self._totals[F1:] = 0.0

    def run(self, rows: LogisticRows, n_labels: int, events: Events, cells: Cells) -> NDArray[np.float32]:
        """The logit of each cell, that of an event taken before it is learned."""
        self._make_room(rows.n_inputs, n_labels)
        proba, logits = np.empty((len(events.state), n_labels), np.float32), np.empty(len(cells.label), np.float32)
        _, start, used, values, rate, counted, _ = rows
        arrays = (*self._tables, self._born, self._totals, self._settings, OPTIMIZERS[self.optimizer])
        _run_columns(start, used, values, rate, counted, events, arrays, proba)
        write_logits(proba, np.arange(n_labels, dtype=np.int32), cells, logits)
        return logits

    @property
    def counted(self) -> NDArray[np.float64]:
        """What the threshold has counted."""
        return self._totals[F1:]

    def label_state(self, n_labels: int) -> Arrays:
        """What is held of so many labels, along the first axis."""
        n_inputs = len(self._tables[0])
        self._make_room(n_inputs, n_labels)
        tables = zip(self._table_names, self._tables, strict=False)
        return {"born": self._born[:n_labels], **{name: table[:, :n_labels].T for name, table in tables}}

    def hold(self, state: Mapping[str, NDArray[Any]], counted: NDArray[np.float64]) -> None:
        """Take over what ``label_state`` gave."""
        n_labels, n_inputs = state[self._table_names[0]].shape
        self._make_room(n_inputs, n_labels)
        self._born[:n_labels] = state["born"]
        for number, name in enumerate(self._table_names):
            self._tables[number][:n_inputs, :n_labels] = state[name].T
        self._totals[F1:] = counted


def _nothing() -> tuple[Events, Cells]:
    events = Events.room(0)
    return events, Cells.all(events)


@njit(cache=True, nogil=True)
def _run_columns(start, used, values, rate, counted, events, arrays, proba):
    """Answer each event in ``proba``; then learn it, if it is taught."""
    weights, squares, duals, born, totals, settings, optimizer = arrays
    n_labels, width = proba.shape[1], len(born)
    margins, p = np.zeros(width), np.zeros(width, np.float32)
    error, live = np.zeros(width, np.float32), np.zeros(width, np.float32)
    threshold = thresholding.current(settings[THRESHOLD], totals[F1:])
    for i in range(len(events.state)):
        row = slice(start[i], start[i + 1])
        m = start[i + 1] - start[i]
        multiply(weights, used[row], values[row], m, margins)
        sigmoid(margins, born, p)
        proba[i] = p[:n_labels]
        if not events.taught[i]:
            continue
        totals[EVENTS] = counted[i]
        present = events.present[events.present_start[i] : events.present_start[i + 1]]
        live[:] = 0
        if events.state[i] == PARTIAL:
            for label in events.known[events.known_start[i] : events.known_start[i + 1]]:
                live[label] = events.weight[i]
        else:
            live[:n_labels] = events.weight[i]
        thresholding.count(p, live, present, n_labels, threshold, totals[F1:])
        learn_labels(
            weights, squares, duals, born, totals, settings, optimizer, used[row], values[row], m, rate[i], present,
            live, p, error,
        )  # fmt: skip
