"""What ensembles of trees of classes share: members in one pool, what is drawn for them, what watches them, votes."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.adwin_window import WINDOW, empty_window, feed_windows
from learners.base import State
from learners.draws import named, poissons, scramble
from learners.trees.backgrounds import GRACE_PERIOD, MIN_WINDOW_LENGTH
from learners.trees.candidates import may_learn
from learners.trees.class_trees import ClassTrees
from learners.trees.hoeffding import learn_and_grow
from learners.trees.nodes import inner
from learners.trees.pool import (
    CLOCK,
    LOGGED,
    Events,
    Floats,
    Ints,
    Pool,
    Settings,
    find_leaf,
    free_subtree,
    has_room,
    new_leaf,
)
from learners.trees.pool_storage import nothing
from learners.trees.posterior import class_to_learn, consider
from learners.trees.storage import N_BUCKET_ROWS, N_BUCKETS
from streams.batch import Batch, Rows

MEMBER = np.dtype(
    [
        ("tree", np.int64),
        ("warned", np.int64),
        ("right", np.float64),
        ("seen", np.float64),
        ("n_pending", np.int64),
    ]
)
"""A member: which of its trees answers, whether another one grows in the background, the weight of the events since it
began and of those that it answered right, and how many errors wait to enter its windows."""

WARNED, DRIFTED, REPLACED = range(3)
KINDS = ("warning", "drift", "replacement")
"""What is logged of members."""

HIGHEST_RATE = 100.0
"""Largest mean of the Poisson draws."""

LEAST_VOTE = 0.01
"""Weight of the vote of a member that has never been right."""

_FIRST_NUMBER = 1 << 32
"""Trees are numbered from here where lots are drawn by number, so that none has those of a member."""


class Watch(NamedTuple):
    """The ADWIN windows over the errors of members, and the errors that wait to enter them."""

    windows: NDArray[Any]
    n_buckets: NDArray[np.int32]
    buckets: Floats
    pending: Floats


class Turn(NamedTuple):
    """Where a kernel stands, so that it can go on there: ``at`` is the next unit of work of the event and what those
    before have found out; ``votes`` is what they have said of each class."""

    at: Ints
    votes: Floats


class TreeEnsemble(ClassTrees, abc.ABC):
    """Trees of classes that learn other draws of the events, and vote.

    A subclass has the parameters of `ClassTrees` and those below, and writes ``_kernel``.
    """

    n_models: int
    max_features: int | float | str | None
    lambda_value: float
    seed: int

    _TREES: ClassVar[int] = 1
    """Trees for each member."""
    _WINDOWS: ClassVar[int] = 1
    """ADWIN windows for each member."""

    def _check(self) -> None:
        super()._check()
        if self.n_models < 1:
            raise ValueError(f"n_models must be at least 1, got {self.n_models}")
        if not 0 < self.lambda_value <= HIGHEST_RATE:
            raise ValueError(f"lambda_value must be in (0, {HIGHEST_RATE:g}], got {self.lambda_value}")
        some = self.max_features
        if isinstance(some, str):
            if some not in ("sqrt", "log2"):
                raise ValueError(f"max_features must be 'sqrt', 'log2', a number or None, got {some!r}")
        elif isinstance(some, float):
            if not 0 < some <= 1:
                raise ValueError(f"max_features must be in (0, 1] where it is a share, got {some}")
        elif some is not None and some < 1:
            raise ValueError(f"max_features must be at least 1 where it is a number, got {some}")

    def _start(self) -> None:
        super()._start()
        n, trees, windows = self.n_models, self._TREES, self._WINDOWS
        self._members = np.zeros(n, MEMBER)
        self._members["tree"] = np.arange(n) * trees
        self._watch = Watch(
            np.zeros(n * windows, WINDOW),
            np.zeros((n * windows, N_BUCKET_ROWS), np.int32),
            np.zeros((n * windows, N_BUCKET_ROWS, N_BUCKETS, 2)),
            np.zeros((n, CLOCK)),
        )
        self._taught = np.zeros(1, np.int64)
        self._met = np.zeros(0, np.bool_)
        self._by_lot = np.zeros(0, np.int32)

    def _new_pool(self) -> Pool:
        n = self.n_models * self._TREES
        keys = np.empty(n, np.uint64)
        _draw_keys(int(self.seed), keys)
        return nothing(n, 0, keys)

    def _settings_now(self) -> Settings:
        share = self.max_bytes / (self.n_models * self._TREES)
        return self._settings_of(max_bytes=share, seed=int(self.seed))

    def _lay_out(self) -> None:
        super()._lay_out()
        n, names = self.schema_.n_features, self.schema_.feature_names
        if n > len(self._met):
            self._met = np.concatenate([self._met, np.zeros(n - len(self._met), np.bool_)])
        width = self._n_watched(int((self._columns >= 0).sum()))
        pool = self._pool
        if width > pool.watched.shape[1]:
            watched = np.zeros((len(pool.nodes), width), np.int32)
            watched[:, : pool.watched.shape[1]] = pool.watched
            self._pool = pool = pool._replace(watched=watched)
        if n > len(self._by_lot) and self.max_features is not None:
            # Leaves draw among columns as their names order them, whatever the order in which they are met.
            before, self._by_lot = self._by_lot, np.argsort(named(names), kind="stable").astype(np.int32)
            if len(before):
                place = np.zeros(n, np.int32)
                place[self._by_lot] = np.arange(n, dtype=np.int32)
                pool.watched[:] = place[before][pool.watched]

    def _n_watched(self, n: int) -> int:
        """How many of ``n`` columns a leaf looks at; 0: at all, for good."""
        some = self.max_features
        if some is None:
            return 0
        if isinstance(some, str):
            m = int(math.sqrt(n)) + 1 if some == "sqrt" else int(math.log2(max(n, 1))) + 1
        else:
            m = int(some * n) if isinstance(some, float) else int(some)
        return max(1, min(m, n))

    # Learning and answering.

    @abc.abstractmethod
    def _kernel(
        self,
        settings: Settings,
        events: Events,
        begin: int,
        end: int,
        learn: bool,
        proba: NDArray[np.float64],
        best: NDArray[np.int64],
    ) -> int:
        """Call the compiled loop over the events from ``begin`` to ``end``."""

    def _events(self, batch: Batch, learn: bool) -> Events:
        events = super()._events(batch, learn)
        taught = events.key >= 0
        n = int(taught.sum())
        self._nth = np.cumsum(taught) - 1
        self._draws = np.zeros((self.n_models, n), np.int64)
        if n:
            _draw(int(self.seed), int(self._taught[0]), float(self.lambda_value), self._draws)
        self._turn = Turn(np.zeros(2, np.int64), np.zeros(self._sets.n))
        self._met_at = self._first_met(batch, taught)
        if not len(self._by_lot):
            return events
        place = np.full(len(self._by_lot) + 1, -1, np.int32)
        place[self._by_lot] = np.arange(len(self._by_lot), dtype=np.int32)
        return events._replace(columns=self._columns[self._by_lot], column_of=place[self._column_of])

    def _first_met(self, batch: Batch, taught: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The event with which each column gets its first value from which something is learned: -1 where it had one
        before, the number of events where none comes."""
        n, met_at = len(batch), np.where(self._met, -1, len(batch))
        waiting = np.flatnonzero(~self._met & (self._columns >= 0))
        if not len(waiting) or not taught.any():
            return met_at
        if isinstance(batch.x, Rows):
            x = batch.x
            row = np.repeat(np.arange(n), np.diff(x.indptr))
            some = taught[row] if x.data is None else taught[row] & (x.data != 0) & ~np.isnan(x.data)
            np.minimum.at(met_at, x.indices[some], row[some])
            return met_at
        for column in waiting[waiting < batch.x.shape[1]].tolist():
            some = taught & ~np.isnan(batch.x[:, column])
            if some.any():
                met_at[column] = some.argmax()
        return met_at

    def _step(
        self, events: Events, begin: int, learn: bool, proba: NDArray[np.float64], best: NDArray[np.int64]
    ) -> int:
        # Leaves draw among columns that have had a value by then: which columns a batch declares changes no answer.
        met = self._met_at <= begin
        later = self._met_at[~met]
        end = int(later.min(initial=len(proba)))
        settings = self._settings
        if self._pool.watched.shape[1]:
            settings = settings._replace(max_features=self._n_watched(int((met & (self._columns >= 0)).sum())))
        if not met.all():
            in_order = met[self._by_lot] if len(self._by_lot) else met
            events = events._replace(columns=np.where(in_order, events.columns, -1).astype(np.int32))
        done = self._kernel(settings, events, begin, end, learn, proba, best)
        if learn and done == end:
            self._met |= self._met_at < end
        return done

    def _read_log(self) -> None:
        """Take what members did over into ``events_``; splits are too many to be kept."""
        pool = self._pool
        for line in pool.log[: pool.totals[LOGGED]]:
            if line[1] < 0:
                event, kind, member, weight = int(line[0]), KINDS[-1 - line[1]], int(line[2]), int(line[3])
                self.events_.append({"event": event, "kind": kind, "member": member, "n_seen": weight})
        pool.totals[LOGGED] = 0

    # State.

    def _get_state(self) -> State:
        state = super()._get_state()
        watch = {f"watch_{name}": array.copy() for name, array in self._watch._asdict().items()}
        own = {"members": self._members.copy(), "taught": self._taught.copy(), "met": self._met.copy()}
        return {**state, **watch, **own}

    def _set_state(self, state: State) -> None:
        rest = dict(state)
        watch = {name: rest.pop(f"watch_{name}") for name in Watch._fields}
        members, taught, met = rest.pop("members"), rest.pop("taught"), rest.pop("met")
        super()._set_state(rest)
        self._members[:], self._taught[:], self._met = members, taught, met.copy()
        for name, array in watch.items():
            getattr(self._watch, name)[:] = array


@njit(cache=True, nogil=True)
def _draw_keys(seed: int, keys: NDArray[np.uint64]) -> None:
    """What the lots of each tree are drawn from."""
    key = scramble(np.uint64(seed))
    for tree in range(len(keys)):
        keys[tree] = scramble(key + np.uint64(_FIRST_NUMBER + tree))


@njit(cache=True, nogil=True)
def _draw(seed: int, first: int, rate: float, counts: NDArray[np.int64]) -> None:
    """How often each member learns the events from ``first`` on."""
    for member in range(len(counts)):
        poissons(seed, member, first, rate, counts[member])


@inner
def has_leaf(pool: Pool, tree: int, settings: Settings, events: Events, x: Floats, weight: float) -> tuple[int, bool]:
    """The leaf of a tree that answers an event, or -1 where it has none, and whether there is room to learn the event
    with this weight; 0 is not to learn it."""
    root = pool.trees[tree]["root"]
    if root < 0:
        if weight == 0.0:
            return -1, True
        if not has_room(pool, 2, 1, 1, 0, 1):
            return -1, False
        root = pool.trees[tree]["root"] = new_leaf(pool, tree, 0)
    leaf = find_leaf(pool, root, x)
    # Beside what the tree itself may log: a warning and a drift.
    return int(leaf), weight == 0.0 or may_learn(pool, leaf, settings, events, weight, 2)


@inner
def vote(pool: Pool, leaf: int, posterior: Floats, weight: float, votes: Floats) -> None:
    """Add what a leaf says of its classes."""
    entry = pool.nodes[leaf]["entry"]
    while entry >= 0:
        key = pool.entries[entry]["key"]
        votes[key] += weight * posterior[key]
        entry = pool.entries[entry]["next"]


@inner
def settle(events: Events, votes: Floats, proba: Floats) -> int:
    """Write the probability of every label; the class with most votes, the first of equals, or -1."""
    total, most, best = 0.0, 0.0, -1
    for key in range(len(votes)):
        total += votes[key]
        if votes[key] > most:
            most, best = votes[key], key
    if best >= 0:
        for key in range(len(votes)):
            if votes[key] > 0.0:
                for k in range(events.indptr_of_sets[key], events.indptr_of_sets[key + 1]):
                    label = events.labels[k]
                    # What adds up to 1 may be above it by rounding.
                    proba[label] = min(proba[label] + votes[key] / total, 1.0)
    return best


@inner
def answer_and_learn(
    pool: Pool,
    tree: int,
    leaf: int,
    settings: Settings,
    events: Events,
    t: int,
    x: Floats,
    weight: float,
    share: float,
    posterior: Floats,
    votes: Floats,
) -> bool:
    """Let a tree vote with this share by its leaf (-1: none), then learn event ``t`` with this weight, if it is not 0.

    Returns whether it was wrong.
    """
    answer, majority, bayes = -1, -1, -1
    if leaf >= 0:
        answer, majority, bayes = consider(pool, leaf, settings, events, t, x, weight > 0.0, posterior)
        if share > 0.0:
            vote(pool, leaf, posterior, share, votes)
    if answer < 0:
        wrong = True
    elif events.partial[t]:
        wrong = answer != class_to_learn(pool, leaf, events, t, posterior)
    else:
        wrong = answer != events.key[t]
    if weight > 0.0:
        pool.trees[tree]["n_learned"] += 1
        learn_and_grow(
            pool, pool.trees[tree]["root"], leaf, settings, events, t, x, weight, majority, bayes, posterior
        )  # fmt: skip
    return wrong


@inner
def rises(watch: Watch, w: int, errors: Floats, delta: float) -> bool:
    """Give as many errors to a window as bring it to look; whether it lets go of its older part, and errors rose."""
    window, last = watch.windows[w], len(errors) - 1
    total = window["total"]
    for k in range(last):
        total += errors[k]
    before = total / (window["width"] + last)
    alarms = np.zeros((len(errors), 1), np.bool_)
    feed_windows(
        watch.windows[w : w + 1], watch.n_buckets[w : w + 1], watch.buckets[w : w + 1],
        errors.reshape((len(errors), 1)), alarms, delta, CLOCK, MIN_WINDOW_LENGTH, GRACE_PERIOD, False,
    )  # fmt: skip
    return bool(alarms[last, 0]) and window["total"] / window["width"] > before


@inner
def empty(watch: Watch, w: int) -> None:
    """Forget what a window holds."""
    empty_window(watch.windows, watch.n_buckets, watch.buckets, w)


@inner
def fell(pool: Pool, tree: int) -> None:
    """Delete a tree; its place takes another one, whose lots go on where those of this one ended."""
    root = pool.trees[tree]["root"]
    if root >= 0:
        free_subtree(pool, root)
        pool.trees[tree]["root"] = -1


@inner
def note_member(pool: Pool, kind: int, event: int, member: int, n_seen: float) -> None:
    """Log what has happened to a member; such lines have negative kinds."""
    line = pool.log[pool.totals[LOGGED]]
    line[0], line[1], line[2], line[3] = event, -1 - kind, member, int(n_seen)
    pool.totals[LOGGED] += 1
