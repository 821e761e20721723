"""What learners made of trees of classes share: label sets as classes, inputs, and the arrays of all trees."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import Learner, State
from learners.inputs import Inputs, as_schema_says
from learners.one_event import Bundle, Event, OneEvent, is_plain
from learners.trees.label_sets import LabelSets
from learners.trees.pool import CATEGORIES, CATEGORY, KINDS, LEAF, LOGGED, PRESENT, SPLIT, Events, Pool, Settings
from learners.trees.pool_storage import STATE, WINDOW_BYTES, from_state, nothing, to_state, with_inputs, with_records
from learners.trees.posterior import PREDICTIONS
from streams.batch import PARTIAL, Batch, Prediction, Rows

CRITERIA = ("info_gain", "gini")

_REMEMBERED = 4096
"""Ways to tell the labels of an event whose class is kept at hand."""

DEEPEST = 1000
"""Depth of a tree that is not told another one."""


class ClassTrees(Learner, abc.ABC):
    """A learner whose classes are label sets and whose trees are records of one pool.

    A subclass has the parameters that ``_settings_of`` reads, and writes ``_step``, a call of its kernel.
    """

    grace_period: int
    delta: float
    split_criterion: str
    tau: float
    leaf_prediction: str
    nb_threshold: float
    n_splits: int
    binary_split: bool
    merit_preprune: bool
    min_branch_fraction: float
    max_share_to_split: float
    max_depth: int | None
    max_classes: int
    max_bytes: float
    threshold: float | None

    def _check(self) -> None:
        for name, least in (("grace_period", 1), ("n_splits", 1), ("max_classes", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("tau", "nb_threshold", "max_bytes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must be in (0, 1), got {self.delta}")
        if not 0 <= self.min_branch_fraction < 0.5:
            raise ValueError(f"min_branch_fraction must be in [0, 0.5), got {self.min_branch_fraction}")
        if not 0 < self.max_share_to_split <= 1:
            raise ValueError(f"max_share_to_split must be in (0, 1], got {self.max_share_to_split}")
        if self.max_depth is not None and not 0 <= self.max_depth <= DEEPEST:
            raise ValueError(f"max_depth must be in [0, {DEEPEST}] or None, got {self.max_depth}")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be in (0, 1) or None, got {self.threshold}")
        for name, words in (("split_criterion", CRITERIA), ("leaf_prediction", PREDICTIONS)):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}, got {getattr(self, name)!r}")

    def _start(self) -> None:
        self._inputs = Inputs(whole=True)
        self._sets = LabelSets(self.max_classes)
        self._pool = self._new_pool()
        self._laid_out: tuple[int, int] | None = None
        self._was_sparse = False

    def _new_pool(self) -> Pool:
        """A pool of trees without roots."""
        return nothing(1, 0, np.zeros(1, np.uint64))

    # Learning and answering.

    @abc.abstractmethod
    def _step(
        self, events: Events, begin: int, learn: bool, proba: NDArray[np.float64], best: NDArray[np.int64]
    ) -> int:
        """Answer, and learn, the events from ``begin`` on; the number of the first that is short of room."""

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        n = len(batch)
        batch = as_schema_says(batch, self.schema_)
        self._lay_out()
        events = self._events(batch, learn)
        proba, best = np.zeros((n, self.schema_.n_labels)), np.full(n, -1)
        done = 0
        while done < n:
            done = self._step(events, done, learn, proba, best)
            self._read_log()
            if done < n:
                self._pool = with_records(self._pool)
        return self._answers(proba, best)

    def _events(self, batch: Batch, learn: bool) -> Events:
        """A batch as kernels take it."""
        n, schema = len(batch), self.schema_
        encoded = self._inputs.encode(batch)
        assert encoded.cells.data is not None
        known = Rows.empty(n) if batch.known is None else batch.known
        key = self._sets.numbers(batch) if learn else np.full(n, -1)
        return Events(
            encoded.dense,
            encoded.inputs,
            encoded.cells.indptr,
            encoded.cells.indices,
            encoded.cells.data,
            schema.sparse,
            self._whole_of,
            self._columns,
            self._column_of,
            self._order,
            self._inputs.n,
            self._widest,
            key,
            np.ones(n) if batch.weight is None else batch.weight,
            batch.label_state == PARTIAL,
            batch.y.indptr,
            batch.y.indices,
            known.indptr,
            known.indices,
            self._sets.indptr,
            self._sets.labels,
        )

    def _answers(self, proba: NDArray[np.float64], best: NDArray[np.int64]) -> Prediction:
        """The most probable label sets, ``best``, or all labels above the threshold."""
        if self.threshold is not None:
            return Prediction(Rows.from_dense(proba > self.threshold), proba)
        indptr, labels = self._sets.indptr, self._sets.labels
        if len(best) == 1:
            number = int(best[0])
            some = labels[indptr[number] : indptr[number + 1]] if number >= 0 else labels[:0]
            return Prediction(Rows(np.array([0, len(some)], np.int64), some), proba)
        return Prediction(Rows(np.concatenate([[0], indptr]), labels).take(best + 1), proba)

    def _settings_of(self, **more: Any) -> Settings:
        """The parameters as kernels take them, and the sizes of records."""
        values: dict[str, Any] = {
            "grace_period": float(self.grace_period),
            "delta": float(self.delta),
            "tau": float(self.tau),
            "gini": self.split_criterion == "gini",
            "prediction": PREDICTIONS.index(self.leaf_prediction),
            "nb_threshold": float(self.nb_threshold),
            "n_splits": int(self.n_splits),
            "binary_split": bool(self.binary_split),
            "merit_preprune": bool(self.merit_preprune),
            "min_branch_fraction": float(self.min_branch_fraction),
            "max_share": float(self.max_share_to_split),
            "max_depth": DEEPEST if self.max_depth is None else int(self.max_depth),
            "max_features": 0,
            "bootstrap": False,
            "seed": 0,
            "drift_delta": 0.002,
            "window_threshold": 300.0,
            "switch_delta": 0.05,
            "max_bytes": float(self.max_bytes),
            "row_bytes": 8.0 * self._pool.rows.shape[2] * self._inputs.n,
            "window_bytes": WINDOW_BYTES,
        }
        return Settings(**{**values, **more})

    def _settings_now(self) -> Settings:
        """The parameters as the kernels of this learner take them."""
        return self._settings_of()

    def _lay_out(self) -> None:
        """Room for every input of the schema."""
        schema, inputs = self.schema_, self._inputs
        if self._laid_out == schema.version and self._was_sparse == schema.sparse:
            return
        inputs.grow(schema)
        self._pool = with_inputs(self._pool, inputs.n, schema.sparse)
        self._order = inputs.numbers(schema, schema)
        self._whole_of = np.full(inputs.n, -1, np.int32)
        self._column_of = np.full(inputs.n, -1, np.int32)
        self._columns = np.full(schema.n_features, -1, np.int32)
        self._widest, place = 0, 1
        for column in range(schema.n_features):
            if column in schema.ignored:
                continue
            n = len(schema.categories.get(column, ()))
            own = self._order[place : place + 1 + n]
            self._columns[column] = own[0]
            self._column_of[own] = column
            if column in schema.categories:
                self._whole_of[own] = own[0]
                self._widest = max(self._widest, n)
            place += 1 + n
        self._settings = self._settings_now()
        self._laid_out, self._was_sparse = schema.version, schema.sparse

    def draw(self, tree: int = 0) -> str:
        """A tree as text: a line for each branch and leaf, with what an answer of "yes" leads to indented below it, and
        the commonest label set and the weight of every leaf."""
        self._lay_out()
        pool, lines = self._pool, []
        names = dict(zip(self._order.tolist(), self._names(), strict=True))
        labels = self.schema_.label_names
        waiting = [(int(pool.trees[tree]["root"]), "")]
        while waiting:
            node, test = waiting.pop()
            if node < 0:
                continue
            record, at = pool.nodes[node], "  " * int(pool.nodes[node]["depth"]) + test
            if record["kind"] == LEAF:
                best, most, entry = -1, 0.0, int(record["entry"])
                while entry >= 0:
                    key, weight, entry = (pool.entries[entry][name].item() for name in ("key", "weight", "next"))
                    best, most = (key, weight) if weight > most else (best, most)
                held = ", ".join(str(labels[label]) for label in self._sets.members(best))
                lines.append(f"{at}{{{held}}} ({record['total']:g})")
                continue
            name, category = names[int(record["input"])]
            kind, tests = int(record["kind"]), []
            if kind == CATEGORIES:
                asked = str(name)
            elif kind == CATEGORY:
                asked = f"{name} = {names[int(record['threshold'])][1]}"
            elif kind == PRESENT:
                asked = f"{name} is not 0" if category is None else f"{name} = {category}"
            else:
                asked = f"{name} ≤ {record['threshold']:g}"
            lines.append(f"{at}{asked}?")
            child, is_first = int(record["child"]), True
            while child >= 0:
                under = names[int(pool.nodes[child]["category"])][1] if kind == CATEGORIES else ("no", "yes")[is_first]
                tests.append((child, f"{under}: "))
                child, is_first = int(pool.nodes[child]["sibling"]), False
            waiting.extend(reversed(tests))
        return "\n".join(lines)

    def _names(self) -> Iterator[tuple[Any, str | None]]:
        """For every input in the schema's order the name of its column, and of its category if it is one."""
        schema = self.schema_
        yield None, None
        for column, name in enumerate(schema.feature_names):
            if column in schema.ignored:
                continue
            yield name, None
            for category in schema.categories.get(column, ()):
                yield name, category

    def _read_log(self) -> None:
        """Take the lines of the log over into ``events_``."""
        pool = self._pool
        if not pool.totals[LOGGED]:
            return
        names = dict(zip(self._order.tolist(), self._names(), strict=True))
        for event, kind, node, depth, i, weight, tree, test, category in pool.log[: pool.totals[LOGGED]].tolist():
            entry = {"event": event, "kind": KINDS[kind], "node": node, "depth": depth, "weight": weight}
            if len(pool.trees) > 1:
                entry["tree"] = tree
            if kind == SPLIT:
                name, of = names[category if test == CATEGORY else i]
                entry["feature"] = name if of is None or test not in (CATEGORY, PRESENT) else f"{name}={of}"
            self.events_.append(entry)
        pool.totals[LOGGED] = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_laid_out": None}

    def _one_event(self) -> OneEvent | None:
        kernel, schema = self._kernel_of_one(), self.schema_
        if kernel is None or not is_plain(schema) or not schema.n_features:
            return None
        self._lay_out()
        blank = Batch(schema, np.zeros((1, schema.n_features), np.float32), Rows.empty(1), np.zeros(1, np.uint8))
        events = self._events(blank, False)
        parts = Parts(self._pool, self._settings, events, np.zeros((1, schema.n_labels)), np.full(1, -1))
        return ClassEvent(self, kernel, parts)

    def _kernel_of_one(self) -> Any:
        """What answers and learns one event, taking ``(bundle, values, columns, key, weight)``; None: nothing.

        It answers, and if ``key`` is at least 0 learns that class; returns 0, or -1 where it has left all as it was.
        """
        return None

    # State.

    def _get_state(self) -> State:
        self._lay_out()
        return {**to_state(self._pool, self._order), **self._sets.to_state()}

    def _set_state(self, state: State) -> None:
        self._start()
        self._lay_out()
        self._sets.from_state(state)
        self._pool = from_state(self._pool, {name: state[name] for name in STATE})


class Parts(NamedTuple):
    """What single events are answered by and learned in; ``proba`` and ``best`` as in ``ClassTrees._step``."""

    pool: Pool
    settings: Settings
    events: Events
    proba: NDArray[np.float64]
    best: NDArray[np.int64]


@njit(cache=True)
def _bundle(parts):
    return Bundle(parts)


class ClassEvent(OneEvent):
    """Answers and learns single events whose class is a label set that is held already; refuses all others."""

    def __init__(self, learner: ClassTrees, kernel: Any, parts: Parts) -> None:
        super().__init__(learner.schema_, kernel, _bundle(parts), Event.of(learner.schema_))
        self._learner, self._parts = learner, parts
        self._sets = learner._sets
        self._keys: dict[tuple[Any, ...], int] = {}
        self._told: tuple[Any, ...] = ()

    @property
    def proba(self) -> list[float]:
        """The probability of each label in the last event answered."""
        found: list[float] = self._parts.proba[0].tolist()
        return found

    def answer(self, x: Mapping[Any, Any]) -> list[int] | None:
        """The columns of the labels predicted, or None where the event is refused."""
        given = self._read(x)
        if given is None or self._kernel(self._bundle, *given, -1, 1.0) < 0:
            return None
        threshold = self._learner.threshold
        if threshold is not None:
            return [label for label, p in enumerate(self.proba) if p > threshold]
        return self._sets.members(int(self._parts.best[0]))

    def learn(self, x: Mapping[Any, Any], y: Mapping[Any, Any], weight: float) -> bool:
        """Learn an event; False where it is refused."""
        given = self._read(x)
        if given is None or not (isinstance(weight, (int, float)) and 0 < weight < np.inf):
            return False
        key = self._key(y)
        if key < 0 or self._kernel(self._bundle, *given, key, float(weight)) < 0:
            return False
        if self._parts.pool.totals[LOGGED]:
            self._learner._read_log()
        return True

    def _key(self, y: Mapping[Any, Any]) -> int:
        """The class of an event that tells of every label, or -1 where that is not held."""
        names = tuple(y)
        if names != self._told:
            self._told, self._keys = names, {}
        told = tuple(y.values())
        key = self._keys.get(told, -1)
        if key < 0 and None not in told and len(names) == self.schema.n_labels:
            labels = [self.schema.find_label(name) for name, value in y.items() if value]
            if min(map(self.schema.find_label, names), default=-1) >= 0:
                key = self._sets.find(sorted(labels))
            if key >= 0 and len(self._keys) < _REMEMBERED:
                self._keys[told] = key
        return key
