"""Label-parallel iHOMER: clusters of labels at several workers, what concerns all labels with the coordinator."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.classifier import CHUNK, IHOMERClassifier
from ihomer.events import Cells, Columns, Events
from ihomer.experts import ABSENT, Experts, Said
from ihomer.label_parallel.columns import Arrays, LogisticRows, Look, Weighing
from ihomer.label_parallel.crew import STACK, LabelCrew
from ihomer.label_parallel.ray_actors import RayWorkers
from ihomer.label_parallel.workers import InlineWorkers, ProcessWorkers, Traffic, Workers
from ihomer.ridge import RidgeExpert
from ihomer.stack import OF_LABELS, Evidence, Stack
from learners.base import State
from learners.inputs import transform
from learners.linear import LinearClassifier
from learners.one_event import OneEvent
from learners.steps import EVENTS, F1, OPTIMIZERS, next_rate
from streams.batch import Batch, Name, Rows
from streams.extraction.ray_connection import load_ray

BACKENDS = ("processes", "ray", "inline")
"""Where workers may be."""

ARRANGED_EVERY = 64 * CHUNK
"""Events learned after which labels move between workers, so that clusters are together and the work is even."""


class LabelParallelIHOMER(IHOMERClassifier):
    """An `ihomer.classifier.IHOMERClassifier` whose label columns are with workers, and whose answers are the same.

    Parameters
    ----------
    prototype
        The classifier that this one is to equal: its parameters are taken, its state is not. None: one with default
        parameters.
    workers
        How many there are, at least 1.
    backend
        Where they are: ``"processes"`` of this machine, actors of ``"ray"``, or ``"inline"``, in this process, one
        after the other.
    address
        Of a Ray cluster; ``"auto"``: one that this machine belongs to, or else one that is begun here.

    Attributes
    ----------
    traffic_ : ihomer.label_parallel.workers.Traffic
        Calls, bytes and seconds between coordinator and workers so far.

    Raises
    ------
    ValueError
        A parameter is outside its range, or the prototype is one of paper mode, whose clusters have learners of their
        own.
    TypeError
        The prototype is something else.
    ImportError
        Ray is to be used and is not installed.
    ihomer.label_parallel.workers.WorkerLostError
        While it learns or answers: a worker died. What it held is lost, and this learner answers nothing more until
        ``set_state`` gives it a state, the last checkpoint's for example.

    Notes
    -----
    Answers, events and state are those of the single process, bit for bit, and ``get_state`` of either is taken by
    ``set_state`` of the other.

    Workers have, for their labels, the sums of the ridge, the weights of the logistic expert and what is special to a
    label in the stack: nearly all of the memory, and the work that grows with inputs times labels. The coordinator has
    what looks at all labels of an event at once: neighbours and votes, the labels' past, the weights that all labels
    share, label sets, the decision, the hierarchy. For every ``CHUNK`` events, counted as the classifier counts them,
    there are two exchanges. In the first one the workers are told inputs and labels, look, learn, and say what they
    saw; in the second one they are told the shared weights that belong to each event and what the coordinator saw,
    answer, and learn. The shared weights do not depend on those of single labels, so two exchanges are enough.

    The labels of a cluster are with one worker as far as the work stays even; after every ``ARRANGED_EVERY`` events
    labels move.

    With a ``memory_budget`` all workers' state is fetched whenever bytes are counted, every 1,024 events.

    Examples
    --------
    >>> from ihomer.label_parallel.classifier import LabelParallelIHOMER
    >>> model = LabelParallelIHOMER(workers=2, backend="inline")
    >>> for i in range(200):
    ...     model.learn_one({"heat": i % 10}, {"ice": i % 10 < 3, "snow": i % 10 < 3, "sun": i % 10 > 6})
    >>> model.predict_one({"heat": 1})
    {'ice': True, 'snow': True, 'sun': False}
    """

    def __init__(
        self,
        prototype: IHOMERClassifier | None = None,
        workers: int = 2,
        *,
        backend: str = "processes",
        address: str = "auto",
    ) -> None:
        if prototype is not None and not isinstance(prototype, IHOMERClassifier):
            raise TypeError(f"prototype must be an IHOMERClassifier, got {type(prototype).__name__}")
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        if prototype is not None and prototype.mode == "paper":
            raise ValueError("prototype must be of mode 'default', got 'paper'")
        known = inspect.signature(IHOMERClassifier).parameters
        super().__init__(**({} if prototype is None else {name: getattr(prototype, name) for name in known}))
        self.prototype, self.workers, self.backend, self.address = prototype, workers, backend, address
        begin = partial(_begin, backend, workers, address)
        if backend == "ray":
            load_ray()
        self._crew = LabelCrew(begin, workers, self._columns)
        self._experts = _FarExperts(self._experts, self._crew)
        self._stack = _FarStack(self.temporal, self._crew)
        weakref.finalize(self, self._crew.close)

    def __getstate__(self) -> dict[str, Any]:
        parameters = {name: getattr(self, name) for name in ("prototype", "workers", "backend", "address")}
        return {"parameters": parameters, "state": self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["parameters"])  # type: ignore[misc]
        self.set_state(state["state"])

    @property
    def traffic_(self) -> Traffic:
        """What went to and fro between coordinator and workers so far."""
        return self._crew.traffic

    @property
    def owners_(self) -> dict[Name, int]:
        """The worker that has each label."""
        return dict(zip(self._names(), self._crew.owner.tolist(), strict=False))

    def close(self) -> None:
        """End the workers; what was learned goes with them. This happens by itself when the learner is given up."""
        self._crew.close()

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """As of every learner. Where a worker was lost, others take the place of all."""
        self._crew.recover()
        super().set_state(state)

    def _one_event(self) -> OneEvent | None:
        return None

    def _restructure(self, sets: Rows) -> None:
        super()._restructure(sets)
        if len(sets) and self._n_taught % ARRANGED_EVERY == 0:
            self._crew.arrange(self._hierarchy.clusters)


def _begin(backend: str, n_workers: int, address: str) -> Workers:
    """Begin workers."""
    if backend == "inline":
        return InlineWorkers(n_workers)
    if backend == "processes":
        return ProcessWorkers(n_workers)
    return RayWorkers(n_workers, address)


class _FarExperts(Experts):
    """Experts whose label columns are with a crew; takes the place of others that have not learned yet."""

    ridge: _FarRidge
    shadow_ridge: _FarRidge
    logistic: _FarLogistic
    shadow_logistic: _FarLogistic

    def __init__(self, experts: Experts, crew: LabelCrew) -> None:
        self._crew = crew
        trees = experts.trees
        super().__init__(experts.names, experts.local, experts.labels.size, experts.limit, trees.seed)

    def _fresh(self) -> tuple[_FarRidge, _FarLogistic]:
        return _FarRidge(self._crew), _FarLogistic(self._crew)

    def _ask(self, rows: Rows, batch: Batch, columns: Columns, events: Events, cells: Cells) -> Said:
        ridges, logistics = [self.ridge], [self.logistic] if self.has_logistic else []
        if self.has_shadow:
            ridges.append(self.shadow_ridge)
            logistics += [self.shadow_logistic] if self.has_logistic else []
        assert rows.data is not None
        looks = tuple(logistic.rows(batch, events.taught) for logistic in logistics)
        keys = tuple(ridge.look(int(events.born[-1])) for ridge in ridges)
        told = Look(rows.indptr, rows.indices, rows.data, self.rows.n, keys, looks)
        heard = self._crew.look(told, events, cells)
        ridge, shadow_ridge = _two(heard.ridges)
        logistic, shadow_logistic = _two(heard.logistics)
        return Said(ridge, logistic, shadow_ridge, shadow_logistic)


def _two(said: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What an expert and its shadow say, as far as they are there."""
    first, second, *_ = (*said, ABSENT, ABSENT)
    return first, second


class _FarRidge(RidgeExpert):
    """A ridge expert that is with a crew."""

    def __init__(self, crew: LabelCrew) -> None:
        super().__init__()
        self._crew, self.key = crew, crew.key()

    @property
    def _part(self) -> str:
        return f"ridge {self.key}"

    def look(self, n_labels: int) -> int:
        """Take notice that so many labels are looked at; the key."""
        self._n_labels = max(self._n_labels, n_labels)
        return self.key

    def get_state(self) -> Arrays:
        """As of any ridge."""
        shared = self._crew.shared(self._part)
        if not shared:
            return super().get_state()
        return {**shared, "sums": self._crew.own(self._part)["sums"][: self._n_labels]}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """As of any ridge."""
        held = {name: array.copy() for name, array in state.items()}
        sums = held.pop("sums")
        self.key, self._n_labels = self._crew.key(), len(sums)
        self._crew.give(self._part, lambda n: (held, {"sums": _first(sums, n)}))


class _FarLogistic(LinearClassifier):
    """A logistic expert whose weights are with a crew; inputs are put on one scale here."""

    def __init__(self, crew: LabelCrew) -> None:
        super().__init__()
        self._crew, self.key = crew, crew.key()

    @property
    def _part(self) -> str:
        return f"logistic {self.key}"

    def rows(self, batch: Batch, taught: NDArray[np.bool_]) -> LogisticRows:
        """What workers look at."""
        batch = self._admit(batch, grow=bool(taught.any()))
        self._inputs.grow(self.schema_)
        encoded = self._inputs.encode(batch)
        cells, n = encoded.cells, len(batch)
        assert cells.data is not None
        room = n * (1 + encoded.dense.shape[1]) + len(cells.indices)
        used, values = np.empty(room, np.int32), np.empty(room, np.float32)
        start, rate, counted = np.zeros(n + 1, np.int64), np.zeros(n, np.float32), np.zeros(n)
        _scale(
            encoded.dense, encoded.inputs, cells.indptr, cells.indices, cells.data, encoded.sparse, taught,
            (self._inputs.moments, self._totals, self._settings, OPTIMIZERS[self.optimizer], self.standardise),
            start, used, values, rate, counted,
        )  # fmt: skip
        end = start[-1]
        return LogisticRows(self.key, start, used[:end], values[:end], rate, counted, self._inputs.n)

    def _get_state(self) -> State:
        own, schema = self._crew.own(self._part), self.schema_
        if not own:
            return super()._get_state()
        order = self._inputs.numbers(schema, schema)
        labels, totals = self._crew.columns.labels[: len(own["born"])], self._totals.copy()
        totals[F1:] += self._crew.counted(self.key)
        met = np.flatnonzero(labels < schema.n_labels)
        born = np.zeros(schema.n_labels, np.float32)
        born[labels[met]] = own["born"][met]
        state: State = {"moments": self._inputs.moments[:, order], "born": born, "totals": totals}
        for name in self._table_names:
            table = np.zeros((max(self._inputs.n, own[name].shape[1]), schema.n_labels), np.float32)
            table[: own[name].shape[1], labels[met]] = own[name][met].T
            state[name] = table[order]
        return state

    def _set_state(self, state: State) -> None:
        super()._set_state(state)
        self._tables = [np.zeros((0, 0), np.float32) for _ in self._tables]
        self._born = np.zeros(0, np.float32)
        held = {name: state[name].copy() for name in ("born", *self._table_names)}
        self.key = self._crew.key()
        self._crew.give(self._part, lambda n: ({}, self._of_labels(held, n)))

    def _of_labels(self, held: Arrays, n: int) -> Arrays:
        """What is held, by label in the order of birth; labels that the expert has not met yet have zeros."""
        labels = self._crew.columns.labels[:n]
        met = np.flatnonzero(labels < len(held["born"]))
        own = {}
        for name, array in held.items():
            by_label = array.T
            own[name] = np.zeros((n, *by_label.shape[1:]), np.float32)
            own[name][met] = by_label[labels[met]]
        return own


def _first(array: NDArray[Any], n: int) -> NDArray[Any]:
    """The first ``n`` records, zeros where there are not as many."""
    return np.concatenate([array[:n], np.zeros((max(0, n - len(array)), *array.shape[1:]), array.dtype)])


class _FarStack(Stack):
    """A stack of which a crew has what is special to labels."""

    def __init__(self, temporal: bool, crew: LabelCrew) -> None:
        super().__init__(temporal)
        self._crew, self._n_seen = crew, 0

    def run(self, evidence: Evidence, events: Events, cells: Cells) -> NDArray[np.float64]:
        """As of any stack."""
        if not len(cells.label):
            return np.empty(0)
        weights, rivals = self.run_shared(evidence, events, cells)
        self._n_seen = int(events.born[-1])
        return self._crew.answer(Weighing(self._columns, weights, rivals), evidence)

    def contributions(self, evidence: Evidence, cells: Cells) -> NDArray[np.float64]:
        """As of any stack."""
        here = Stack(self.temporal)
        here.set_state(self.get_state())
        return here.contributions(evidence, cells)

    def loosen(self) -> None:
        """As of any stack."""
        super().loosen()
        self._crew.change("loosen")

    def promote_shadow(self) -> None:
        """As of any stack."""
        super().promote_shadow()
        self._crew.change("promote_shadow")

    def get_state(self) -> Arrays:
        """As of any stack."""
        own = {name: array[: self._n_seen] for name, array in self._crew.own(STACK).items()}
        return {**super().get_state(), **own}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """As of any stack."""
        self._n_seen = len(state["positives"])
        whole = {name: array.copy() for name, array in state.items()}
        super().set_state({**state, **{name: state[name][:0] for name in OF_LABELS}})
        self._crew.give(STACK, lambda n: ({"columns": whole["columns"]}, _label_state(whole, n)))


def _label_state(state: Arrays, n: int) -> Arrays:
    """What is special to each of ``n`` labels, of which the state may have fewer."""
    here = Stack()
    here.set_state(state)
    return here.label_state(n)


@njit(cache=True, nogil=True)
def _scale(dense, inputs, start, indices, data, sparse, taught, arrays, row_start, used, values, rate, counted):
    """Write the inputs of each event as a linear model sees it, its step size, and the events learned with it."""
    moments, totals, settings, optimizer, standardise = arrays
    for i in range(len(taught)):
        low, cells = row_start[i], slice(start[i], start[i + 1])
        m = transform(
            dense[i], inputs, indices[cells], data[cells], sparse, standardise, taught[i], moments, used[low:],
            values[low:],
        )  # fmt: skip
        if taught[i]:
            rate[i] = next_rate(values[low : low + m], m, optimizer, settings, totals)
            counted[i] = totals[EVENTS]
        row_start[i + 1] = low + m
