"""A small forest of extremely randomised trees over the last events, one tree after the other grown anew."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.base import Learner, State
from learners.draws import named, scramble
from learners.trees.growing import (
    CATEGORY,
    NODE,
    NUMBER,
    Forest,
    Growth,
    Table,
    ask,
    grow,
    read_targets,
)
from streams.batch import COMPLETE, NOMINAL, PARTIAL, Batch, Prediction, Rows, Schema

SQUARE_ROOT = "sqrt"

_DEEPEST = 2**31 - 1

_NO_DENSE, _NO_ROWS = np.zeros((0, 0), np.float32), Rows.empty(0, values=True)


class ExtraTreesClassifier(Learner):
    """Averages trees with random splits over a window of events, each tree telling all labels.

    Parameters
    ----------
    n_trees
        Trees that are averaged, at least 1.
    window
        Labelled events that are held, at least 1: a new one takes the place of the oldest.
    refit
        In (0, ``n_trees``]. The share of the events held after which every tree has been grown anew: with 1 a tree is
        never older than one turn of the window. One half costs twice as much.
    max_features
        Columns that compete for a split: a positive number, rounded up, or ``"sqrt"``, the square root of the number
        of columns.
    min_leaf
        Events that each side of a split has at least.
    max_depth
        Splits from the root to a leaf at most. None: unbounded.
    threshold
        In (0, 1). A label is answered whose probability is above it.
    seed
        Of the random numbers, of which each depends on the seed, on how many trees were grown before, and on its place
        in the tree. Columns take their turns by their names, so that their order changes nothing.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    A tree is grown over all events held. At every node ``max_features`` columns are drawn, and for each of them one
    split: a threshold between the smallest and the largest value of the node's events, uniformly [1]_; or, in a nominal
    column, the category of one of these events against all others. That split is taken which leaves least variance,
    summed over labels [2]_ and weighed by the events' weights. A node whose events have the same labels is a leaf. It
    answers with the share of its events that have a label, of those that know it; where none does, with the share in
    the whole window.

    Dense rows: columns are drawn without repeats, and others are drawn in place of those in which the node's events do
    not vary, up to four times ``max_features``. A missing number takes a side drawn for the split; a missing category
    differs from every category. Sparse rows: an absent cell is 0; a column is drawn by way of a random cell of a random
    event, so that what many of the node's events have is drawn often, and what none has never.

    The ``refit`` * n / ``n_trees`` events, n being those held, between one tree and the next are counted in labelled
    events alone, so that the cut into batches changes nothing and the cost is spread evenly; at first, after every
    event. The new tree takes the place of the oldest. In an unknown cell the label counts with the mean of the node
    where a split is judged.

    Growing a tree over n events of d cells takes about n log n sqrt(d) steps for dense rows, n log n d for sparse ones;
    an answer, one way from root to leaf a tree. Memory: the window, and for each tree and event held up to 52 bytes of
    nodes and 8 bytes for every present label.

    References
    ----------
    .. [1] Geurts, Ernst, Wehenkel, "Extremely randomized trees", Machine Learning 63(1), 2006, table 1.
    .. [2] Blockeel, De Raedt, Ramon, "Top-down induction of clustering trees", ICML 1998: variance over all outputs.

    Examples
    --------
    >>> from learners.trees.extra_trees import ExtraTreesClassifier
    >>> model = ExtraTreesClassifier(5)
    >>> for i in range(200):
    ...     a, b = i % 2, i // 2 % 2
    ...     model.learn_one({"a": float(a), "b": float(b)}, {"one": a != b, "both": a + b == 2})
    >>> model.predict_one({"a": 1.0, "b": 0.0})
    {'one': True, 'both': False}
    """

    def __init__(
        self,
        n_trees: int = 20,
        window: int = 2000,
        *,
        refit: float = 1.0,
        max_features: str | float = SQUARE_ROOT,
        min_leaf: int = 1,
        max_depth: int | None = None,
        threshold: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, number in (("n_trees", n_trees), ("window", window), ("min_leaf", min_leaf)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if max_depth is not None and max_depth < 1:
            raise ValueError(f"max_depth must be at least 1 or None, got {max_depth}")
        if not 0 < refit <= n_trees:
            raise ValueError(f"refit must be in (0, {n_trees}], the number of trees, got {refit}")
        if max_features != SQUARE_ROOT and (isinstance(max_features, str) or not 0 < max_features < math.inf):
            raise ValueError(f"max_features must be {SQUARE_ROOT!r} or a positive number, got {max_features!r}")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be in (0, 1), got {threshold}")
        self.n_trees, self.window, self.refit, self.max_features = n_trees, window, refit, max_features
        self.min_leaf, self.max_depth = min_leaf, max_depth
        self.threshold, self.seed = threshold, seed
        self._held: Batch | None = None
        self._waiting: list[Batch] = []
        self._taught, self._due, self._grown = 0, 1, 0
        self._keys = np.zeros(0, np.uint64)
        self._sizes = np.zeros((n_trees, 2), np.int64)
        self._forest = Forest(
            np.zeros((n_trees, 0), NODE), np.zeros((n_trees, 0), np.int32), np.zeros((n_trees, 0), np.float32), 0
        )

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        x = _features(batch.x, self.schema_)
        table = _table(x)
        kept = _taught(batch) if learn else np.zeros(0, np.int64)
        n, n_columns = len(batch), self.schema_.n_features
        proba = np.zeros((n, self.schema_.n_labels), np.float32)
        begin = first = 0
        while begin < n:
            last = first + self._due - self._taught
            end = int(kept[last - 1]) + 1 if last <= len(kept) else n
            ask(self._forest, table, begin, end, n_columns, proba)
            events = kept[first:last]
            if len(events):
                self._keep(batch, x, events)
            begin, first = end, last
        return Prediction(Rows.from_dense(proba > self.threshold), proba)

    def _keep(self, batch: Batch, x: NDArray[np.float32] | Rows, events: NDArray[np.int64]) -> None:
        """Hold some events; grow a tree if one is due by then."""
        own = Batch(self.schema_, x, batch.y, batch.label_state, batch.known, batch.weight).take(events)
        self._waiting.append(replace(own, x=self._ordered(own.x)))
        self._taught += len(events)
        if self._taught == self._due:
            self._grow()
            share = self.refit * min(self._taught, self.window) / self.n_trees
            self._due += max(1, math.ceil(share))

    def _gather(self) -> Batch:
        """All events held, as one batch with the columns of the schema."""
        schema = self.schema_
        parts = [_nothing(schema) if self._held is None else self._held, *self._waiting]
        if schema.sparse:
            parts = [
                part if part.is_sparse else replace(part, x=self._ordered(_features(part.x, schema))) for part in parts
            ]
        else:
            parts = [replace(part, x=_features(part.x, schema)) for part in parts]
        self._held, self._waiting = Batch.concat(parts)[-self.window :], []
        return self._held

    def _ordered(self, x: NDArray[np.float32] | Rows) -> NDArray[np.float32] | Rows:
        """Rows with their cells, if they are sparse, in the order of the columns' keys."""
        if not isinstance(x, Rows):
            return x
        self._find_keys()
        assert x.data is not None
        row = np.repeat(np.arange(len(x)), np.diff(x.indptr))
        order = np.lexsort((self._keys[x.indices], row))
        return Rows(x.indptr, x.indices[order], x.data[order])

    def _find_keys(self) -> None:
        """A number for each column that depends on its name alone, so that the order of the columns changes nothing."""
        new = self.schema_.feature_names[len(self._keys) :]
        if new:
            self._keys = np.concatenate([self._keys, named(new)])

    def _grow(self) -> None:
        """Grow a tree over the events held, in place of the oldest one if there are as many as there may be."""
        held, n_labels = self._gather(), self.schema_.n_labels
        kinds = np.array([CATEGORY if kind == NOMINAL else NUMBER for kind in self.schema_.kinds], np.uint8)
        self._find_keys()
        pool = np.argsort(self._keys, kind="stable").astype(np.int32)
        if self.schema_.ignored:
            pool = pool[~np.isin(pool, list(self.schema_.ignored))]
        known = Rows.empty(len(held)) if held.known is None else held.known
        weight = np.ones(len(held)) if held.weight is None else held.weight
        base = np.zeros(n_labels)
        targets = read_targets(
            held.y.indptr, held.y.indices, held.label_state == PARTIAL, known.indptr, known.indices, weight, n_labels,
            base,
        )  # fmt: skip
        wanted = math.sqrt(len(pool)) if isinstance(self.max_features, str) else self.max_features
        key = np.uint64(scramble(np.uint64(scramble(np.uint64(self.seed % 2**64))) + np.uint64(self._grown)))
        growth = Growth(max(1, min(math.ceil(wanted), len(pool))), self.min_leaf, self.max_depth or _DEEPEST, key)
        self._make_room(2 * len(held), len(targets.label))
        tree = self._grown % self.n_trees
        nodes, labels, values = self._forest.nodes[tree], self._forest.labels[tree], self._forest.values[tree]
        nodes[:] = np.zeros((), NODE)
        table = _table(held.x if isinstance(held.x, Rows) else held.x.T)
        self._sizes[tree] = grow(table, targets, kinds, pool, base, growth, nodes, labels, values)
        self._grown += 1
        self._forest = self._forest._replace(n=min(self._grown, self.n_trees))

    def _make_room(self, n_nodes: int, n_answers: int) -> None:
        """Room for so many nodes and answers in each tree."""
        nodes, labels, values, n = self._forest
        self._forest = Forest(_wide(nodes, n_nodes), _wide(labels, n_answers), _wide(values, n_answers), n)

    # State.

    def _get_state(self) -> State:
        held = self._gather()
        rows = held.x if isinstance(held.x, Rows) else _NO_ROWS
        known = Rows.empty(len(held)) if held.known is None else held.known
        forest = self._forest
        assert rows.data is not None
        return {
            "rows": np.zeros((0, self.schema_.n_features), np.float32) if isinstance(held.x, Rows) else held.x.copy(),
            "indptr": rows.indptr.copy(),
            "indices": rows.indices.copy(),
            "values": rows.data.copy(),
            "label_indptr": held.y.indptr.copy(),
            "label_indices": held.y.indices.copy(),
            "label_state": held.label_state.copy(),
            "known_indptr": known.indptr.copy(),
            "known_indices": known.indices.copy(),
            "weights": np.ones(len(held)) if held.weight is None else held.weight.copy(),
            "progress": np.array([self._taught, self._due, self._grown]),
            "sizes": self._sizes[: forest.n].copy(),
            "nodes": _joined(forest.nodes, self._sizes[: forest.n, 0]),
            "leaf_labels": _joined(forest.labels, self._sizes[: forest.n, 1]),
            "leaf_values": _joined(forest.values, self._sizes[: forest.n, 1]),
        }

    def _set_state(self, state: State) -> None:
        dense, rows = state["rows"], Rows(state["indptr"], state["indices"], state["values"])
        self._held = Batch(
            self.schema_, rows if self.schema_.sparse else np.array(dense, np.float32),
            Rows(state["label_indptr"], state["label_indices"]), np.array(state["label_state"], np.uint8),
            Rows(state["known_indptr"], state["known_indices"]), np.array(state["weights"], np.float64),
        )  # fmt: skip
        self._waiting, self._keys = [], np.zeros(0, np.uint64)
        self._taught, self._due, self._grown = state["progress"].tolist()
        sizes = state["sizes"]
        self._sizes = np.zeros((self.n_trees, 2), np.int64)
        self._sizes[: len(sizes)] = sizes
        self._make_room(*self._sizes.max(0).tolist())
        _part(state["nodes"], sizes[:, 0], self._forest.nodes)
        _part(state["leaf_labels"], sizes[:, 1], self._forest.labels)
        _part(state["leaf_values"], sizes[:, 1], self._forest.values)
        self._forest = self._forest._replace(n=len(sizes))


def _wide(rows: NDArray[Any], n: int) -> NDArray[Any]:
    """``rows`` with at least ``n`` columns; doubled where they must grow."""
    if n <= rows.shape[1]:
        return rows
    wider = np.zeros((len(rows), max(n, 2 * rows.shape[1])), rows.dtype)
    wider[:, : rows.shape[1]] = rows
    return wider


def _joined(rows: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """The beginnings of the first rows, of these lengths, one behind the other."""
    return np.concatenate([rows[:0].ravel(), *(row[:n] for row, n in zip(rows, lengths, strict=False))])


def _part(joined: NDArray[Any], lengths: NDArray[np.int64], rows: NDArray[Any]) -> None:
    """Undo `_joined`."""
    for row, part, n in zip(rows, np.split(joined, np.cumsum(lengths)), lengths, strict=False):
        row[:n] = part


def _features(x: NDArray[np.float32] | Rows, schema: Schema) -> NDArray[np.float32] | Rows:
    """Rows as trees see them: dense with a cell for every column of the schema, or sparse without cells that are 0, not
    known or ignored."""
    if not schema.sparse:
        if isinstance(x, Rows):
            return x.to_dense(schema.n_features)
        if x.shape[1] == schema.n_features:
            return x
        wide = np.full((len(x), schema.n_features), np.nan, np.float32)
        wide[:, : x.shape[1]] = x
        return wide
    if not isinstance(x, Rows):
        x = Rows.from_dense(np.nan_to_num(x), values=True)
    data = np.ones(len(x.indices), np.float32) if x.data is None else x.data
    listed = (data != 0) & ~np.isnan(data)
    if schema.ignored:
        listed &= ~np.isin(x.indices, list(schema.ignored))
    if listed.all():
        return Rows(x.indptr, x.indices, data)
    indptr = np.concatenate([[0], np.cumsum(listed)])[x.indptr]
    return Rows(indptr, x.indices[listed], data[listed])


def _table(x: NDArray[np.float32] | Rows) -> Table:
    dense, rows = (_NO_DENSE, x) if isinstance(x, Rows) else (np.ascontiguousarray(x, np.float32), _NO_ROWS)
    assert rows.data is not None
    return Table(dense, rows.indptr, rows.indices, rows.data, isinstance(x, Rows))


def _taught(batch: Batch) -> NDArray[np.int64]:
    """The events of which a label is known."""
    is_taught = batch.label_state == COMPLETE
    if batch.known is not None:
        is_taught |= (batch.label_state == PARTIAL) & (np.diff(batch.known.indptr) > 0)
    return np.flatnonzero(is_taught)


def _nothing(schema: Schema) -> Batch:
    x = Rows.empty(0, values=True) if schema.sparse else np.zeros((0, schema.n_features), np.float32)
    return Batch(schema, x, Rows.empty(0), np.zeros(0, np.uint8))
