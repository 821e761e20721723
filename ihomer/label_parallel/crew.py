"""Which worker has which label, and what is said to them: the coordinator's side of label-parallel iHOMER."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.events import Cells, Columns, Events
from ihomer.experts import ABSENT
from ihomer.label_parallel.columns import Arrays, Heard, Look, Share, Weighing
from ihomer.label_parallel.workers import Traffic, WorkerLostError, Workers
from ihomer.stack import Evidence
from learners.base import with_room

STACK = "stack"
"""Name of the part of the workers' state that is theirs of the stack."""

_THEIRS = ("ridge", "logistic", "shadow_ridge", "shadow_logistic")
"""What of the evidence the workers have themselves."""

_SLACK = 1.05
"""How much more than its share of the work a worker may have before whole clusters leave it."""

Told = Callable[[int], tuple[Arrays, Arrays]]
"""Gives what of a part is the same everywhere, and what is held of each of so many labels, in the order of birth."""


class LabelCrew:
    """Workers that have the columns of all labels between them.

    Parameters
    ----------
    start
        Begins the workers; called when there is something to do for the first time.
    n_workers
        How many there are.
    columns
        Of the classifier; looked at, not changed.

    Notes
    -----
    A label belongs to the worker that has the fewest when it is born. `arrange` brings the labels of a cluster
    together, as far as the work stays even. Which worker has a label changes no number.
    """

    def __init__(self, start: Callable[[], Workers], n_workers: int, columns: Columns) -> None:
        self.n_workers = n_workers
        self.columns = columns
        self._start = start
        self._workers: Workers | None = None
        self._owner, self._place = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._load = np.zeros(0)
        self._n_held = np.zeros(n_workers, np.int64)
        self._n_columns = 0
        self._untold: dict[str, Told] = {}
        self._lost: WorkerLostError | None = None
        self._n_keys = 0
        self._order = np.zeros(0, np.int64)
        self._ends = np.zeros(n_workers + 1, np.int64)

    @property
    def traffic(self) -> Traffic:
        """What went to and fro so far."""
        return Traffic() if self._workers is None else self._workers.traffic

    @property
    def owner(self) -> NDArray[np.int32]:
        """The worker of each label, in the order of birth."""
        return self._owner[: self._n_columns].copy()

    def key(self) -> int:
        """A number for an expert that nothing else has had."""
        self._n_keys += 1
        return self._n_keys

    def look(self, told: Look, events: Events, cells: Cells) -> Heard:
        """What the experts of all workers say of each cell; then they learn the chunk."""
        self._tell(int(events.born[0]))
        heard = self._ask("look", (told,), [(share,) for share in self._shares(events, cells)])
        ridges, logistics = (np.empty((len(part), len(cells.label)), np.float32) for part in heard[0])
        for worker, (of_ridges, of_logistics) in enumerate(heard):
            here = self._cells_of(worker)
            ridges[:, here], logistics[:, here] = of_ridges, of_logistics
        return Heard(ridges, logistics)

    def answer(self, told: Weighing, evidence: Evidence) -> NDArray[np.float64]:
        """The probability of each cell of the chunk that was looked at last; then it is learned."""
        kept = evidence._replace(**dict.fromkeys(_THEIRS, ABSENT))
        each = []
        for worker in range(self.n_workers):
            here = self._cells_of(worker)
            each.append((Evidence(*(part[here] if len(part) else part for part in kept)),))
        proba = np.empty(len(self._order))
        for worker, answers in enumerate(self._ask("answer", (told,), each)):
            proba[self._cells_of(worker)] = answers
        return proba

    def change(self, how: str) -> None:
        """Change the stack of every worker, see there."""
        self._tell(self._n_columns)
        self._ask("change", (how,), [()] * self.n_workers)

    def arrange(self, clusters: Sequence[Sequence[int]]) -> int:
        """Bring the labels of clusters together, as far as the work stays even; return how many labels have moved."""
        self._tell(self._n_columns)
        load = 1.0 + self._load[: self._n_columns]
        owner = arranged(clusters, load, self._owner[: self._n_columns], self.n_workers)
        self._load *= 0.5
        moved = np.flatnonzero(owner != self._owner[: self._n_columns]).astype(np.int32)
        if len(moved):
            self._move(moved, owner)
        return len(moved)

    def _move(self, moved: NDArray[np.int32], owner: NDArray[np.int32]) -> None:
        was = self._owner[moved]
        leaving = [moved[was == worker] for worker in range(self.n_workers)]
        released = self._ask("release", (), [(columns,) for columns in leaving])
        every = np.concatenate(leaving)
        whole = {
            part: {name: np.concatenate([state[part][name] for state in released]) for name in arrays}
            for part, arrays in released[0].items()
        }
        coming = [np.flatnonzero(owner[every] == worker) for worker in range(self.n_workers)]
        each = [
            (every[at], {part: {name: a[at] for name, a in arrays.items()} for part, arrays in whole.items()})
            for at in coming
        ]
        self._ask("receive", (), each)
        self._own(owner)

    def _own(self, owner: NDArray[np.int32]) -> None:
        """Note the owner of every label."""
        self._n_columns = len(owner)
        self._owner, self._place, self._load = (
            with_room(array, len(owner)) for array in (self._owner, self._place, self._load)
        )
        self._owner[: len(owner)] = owner
        self._n_held = np.bincount(owner, minlength=self.n_workers)
        for worker in range(self.n_workers):
            self._place[np.flatnonzero(owner == worker)] = np.arange(self._n_held[worker])

    def _admit(self, n_columns: int) -> list[NDArray[np.int32]]:
        """Give labels that are born to workers; the new ones of each."""
        born = np.arange(self._n_columns, n_columns, dtype=np.int32)
        self._owner, self._place, self._load = (
            with_room(array, n_columns) for array in (self._owner, self._place, self._load)
        )
        for column in born:
            worker = int(np.argmin(self._n_held))
            self._owner[column], self._place[column] = worker, self._n_held[worker]
            self._n_held[worker] += 1
        self._n_columns = max(self._n_columns, n_columns)
        return [born[self._owner[born] == worker] for worker in range(self.n_workers)]

    def _shares(self, events: Events, cells: Cells) -> list[Share]:
        """What each worker is told of a chunk."""
        held = self._n_held.copy()
        born = self._admit(int(events.born[-1]))
        self._order, self._ends, starts = self._dealt(cells.start, cells.label)
        np.add.at(self._load, cells.label, 1.0)
        present, known = (
            self._rows(*rows) for rows in ((events.present_start, events.present), (events.known_start, events.known))
        )
        shares = []
        for worker in range(self.n_workers):
            here = self._cells_of(worker)
            label = self._place[cells.label[here]]
            mine = Cells(starts[worker], label, cells.target[here], cells.asked[here])
            n_born = held[worker] + np.searchsorted(born[worker], events.born)
            told = Events(
                *present[worker], events.state, *known[worker], events.weight, n_born, events.taught
            )  # fmt: skip
            shares.append(Share(born[worker], told, mine))
        return shares

    def _rows(
        self, start: NDArray[np.int64], column: NDArray[np.int32]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int32]]]:
        """Rows of columns as each worker numbers them."""
        order, ends, starts = self._dealt(start, column)
        return [
            (starts[worker], self._place[column[order[ends[worker] : ends[worker + 1]]]])
            for worker in range(self.n_workers)
        ]

    def _dealt(self, start: NDArray[np.int64], column: NDArray[np.int32]) -> tuple[NDArray[np.int64], ...]:
        order, ends = np.empty(len(column), np.int64), np.zeros(self.n_workers + 1, np.int64)
        starts = np.zeros((self.n_workers, len(start)), np.int64)
        _deal(start, column, self._owner, order, ends, starts)
        return order, ends, starts

    def _cells_of(self, worker: int) -> NDArray[np.int64]:
        return self._order[self._ends[worker] : self._ends[worker + 1]]

    # State.

    def give(self, part: str, told: Told) -> None:
        """Let the workers hold a part anew, when next they are asked something; the other parts too must be given."""
        self._untold[part] = told

    def shared(self, part: str) -> Arrays:
        """What of a part is the same at every worker; empty where there is no such part."""
        if part in self._untold:
            return self._untold[part](len(self.columns))[0]
        return {} if self._workers is None else self._ask("shared", (part,), [()] * self.n_workers)[0]

    def own(self, part: str) -> Arrays:
        """What is held of each label, in the order of birth; empty where there is no such part."""
        if part in self._untold:
            return self._untold[part](len(self.columns))[1]
        if self._workers is None:
            return {}
        states = self._ask("own", (part,), [()] * self.n_workers)
        owner, whole = self.owner, {}
        for name, first in states[0].items():
            whole[name] = np.empty((self._n_columns, *first.shape[1:]), first.dtype)
            for worker, state in enumerate(states):
                whole[name][owner == worker] = state[name]
        return whole

    def counted(self, key: int) -> NDArray[np.float64]:
        """What the threshold of a logistic expert has counted at all workers."""
        if self._workers is None:
            return np.zeros(2)
        found: NDArray[np.float64] = sum(self._ask("counted", (key,), [()] * self.n_workers))
        return found

    def recover(self) -> None:
        """Where a worker was lost, let others begin, which hold nothing, when next there is something to do."""
        if self._lost is not None:
            self._workers = self._lost = None
            self._untold = {}
            self._own(np.zeros(0, np.int32))

    def _tell(self, n_columns: int) -> None:
        """Let the workers begin, and hold what was given."""
        if self._workers is None:
            self._workers = self._start()
        if not self._untold:
            return
        parts = {part: told(n_columns) for part, told in self._untold.items()}
        self._own(np.arange(n_columns, dtype=np.int32) % self.n_workers)
        owner, each = self.owner, []
        for worker in range(self.n_workers):
            columns = np.flatnonzero(owner == worker).astype(np.int32)
            own = {part: {name: array[columns] for name, array in state[1].items()} for part, state in parts.items()}
            each.append((columns, own))
        self._ask("hold", ({part: state[0] for part, state in parts.items()},), each)
        self._untold = {}

    def _ask(self, what: str, told: Sequence[Any], each: Sequence[Sequence[Any]]) -> list[Any]:
        assert self._workers is not None
        if self._lost is not None:
            raise self._lost
        try:
            return self._workers.ask(what, told, each)
        except WorkerLostError as error:
            self._lost = error
            raise

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()


def arranged(
    clusters: Sequence[Sequence[int]], load: NDArray[np.float64], owner: NDArray[np.int32], n_workers: int
) -> NDArray[np.int32]:
    """New owners of labels: a cluster's go where most of its work is already, unless that worker has its share.

    Clusters are seen to in falling order of their work; a label that is in no cluster is one of its own.
    """
    whole = [np.array(sorted(cluster), np.int64) for cluster in clusters if len(cluster)]
    alone = np.setdiff1d(np.arange(len(load)), np.concatenate([*whole, np.zeros(0, np.int64)]))
    whole += [np.array([label]) for label in alone]
    work = np.array([load[cluster].sum() for cluster in whole])
    share = _SLACK * load.sum() / n_workers
    new, taken = owner.copy(), np.zeros(n_workers)
    for number in np.argsort(-work, kind="stable"):
        cluster = whole[number]
        here = np.bincount(owner[cluster], load[cluster], minlength=n_workers)
        worker = int(np.argmax(here))
        if taken[worker] + work[number] > share:
            worker = int(np.argmin(taken))
        new[cluster] = worker
        taken[worker] += work[number]
    return new


@njit(cache=True, nogil=True)
def _deal(start, column, owner, order, ends, starts):
    """Write in ``order`` the places of each worker's columns, those of worker ``w`` from ``ends[w]`` to
    ``ends[w + 1]``, and where its part of each row starts."""
    n_workers, n = starts.shape[0], starts.shape[1] - 1
    for place in range(len(column)):
        ends[owner[column[place]] + 1] += 1
    for worker in range(n_workers):
        ends[worker + 1] += ends[worker]
    at = ends[:-1].copy()
    for i in range(n):
        for place in range(start[i], start[i + 1]):
            worker = owner[column[place]]
            order[at[worker]] = place
            at[worker] += 1
        for worker in range(n_workers):
            starts[worker, i + 1] = at[worker] - ends[worker]
