"""An online tree over labels whose leaves partition them by how often they occur together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.cooccurrence import CooccurrenceStore
from ihomer.partition import Distances, Similarities, distances, halve, hoeffding, judge, published_halves, unite_small
from streams.batch import Rows

NODE = np.dtype(
    [
        ("id", np.int64),
        ("parent", np.int64),
        ("first", np.int64),
        ("second", np.int64),
        ("since", np.int64),
        ("diameter", np.float64),
        ("bound", np.float64),
    ]
)
"""One node a record; links are record numbers and -1 is no link; ``diameter`` and ``bound`` are those of its split."""

META = np.dtype([("next_test", np.int64), ("next_id", np.int64), ("least", np.int64)])

_COLD, _UNBORN = -1, -2

PAIRS_PER_EVENT = 256
"""A test reads the whole table of pairs, so it waits for at least one event per this many pairs."""


class LabelHierarchy:
    """Clusters labels by Jaccard dissimilarity while they stream by: leaves split and merge as evidence comes.

    Parameters
    ----------
    mode
        ``"default"`` or ``"paper"``; see Notes.
    n_min
        Events between two structural tests. With more than ``256 n_min`` pairs in the table the tests become rarer, one
        every ``pairs / 256`` events, so that their cost per event stays bounded (not in paper mode).
    delta
        Probability with which one test may be wrong about one node, in (0, 0.5).
    tau
        Default mode: how much more similar labels must be within than across before a split pays. Paper mode: the
        bound below which ties between the largest distances are broken.
    half_life
        Events after which an event counts half; None: all count the same for ever. Paper mode knows no decay.
    support
        Decayed events that a label needs to leave the cold bucket; below a quarter of it, it goes back.
    min_size, max_size
        Labels a cluster may have. A larger one is split along its best halves without waiting for evidence; a smaller
        one merges with its sibling. The cold bucket is exempt, and so is paper mode, whose smallest size is the
        commonest number of labels an event has.
    memory_budget
        Bytes for the table of label pairs, at least 8,192, or None; what happens when it is full is said at
        `CooccurrenceStore`.

    Attributes
    ----------
    events
        What happened, in order, as JSON objects: ``event`` (how many events had been taken in), ``kind``, ``node`` (its
        id, -1 for the cold bucket), ``labels``, and by kind

        * ``join``: labels entered the leaf ``node``, from the cold bucket or newly born (paper mode);
        * ``cool``: labels left the leaf ``node`` for the cold bucket; a leaf that is empty then is gone;
        * ``split``: ``children`` (ids) took over ``halves`` (label lists) of ``node``;
        * ``merge``: ``node`` became a leaf and has all labels below it again.

        Splits and merges carry the evidence: the distances ``d0``, ``d1``, ``d2``, ``mean`` among the labels,
        ``bound``, and in default mode ``gain`` and ``reason`` (``evidence``, ``size``, ``vanished`` or ``better``).
        From these and from the births the tree at any event can be replayed.

    Notes
    -----
    *Default mode.* Counts live in one decaying store, so that a new node starts with valid distances and the tree
    follows drift. A label is born into the cold bucket and joins the leaf with the largest mean similarity once it has
    support. With ``gain`` the mean Jaccard similarity of pairs within two sets minus that of pairs across, and
    ``bound`` from `ihomer.partition.judge`, which knows how few events rare labels rest on: a leaf splits along
    its best halves when ``gain - bound > tau``; siblings merge when ``gain < tau`` (the structure vanished), or when
    the best halves of their union beat the present ones by more than the larger bound (it is another one now; the
    union splits again at the next test). So a split is undone only if its evidence was off by more than its bound or
    the stream has changed, which keeps the tree still.

    *Paper mode.* The rules published with iHOMER (after ODAC), with the repairs that they need to work at all: the
    distance is 1 - Jaccard, its mean is over pairs, never seen labels are neither pivots nor counted, singletons are
    not tested for merging, and no leaf is lost when small ones are united. Each leaf starts from zero counts. A label
    that comes late joins the largest leaf.

    An event with label set Y costs O(|Y|^2), a test time proportional to the pairs seen together times the depth. The
    cut of a stream into batches does not matter.

    References
    ----------
    Neves, Lourenço, Cano, Marreiros, *Online hierarchical partitioning of the output space in extreme multi-label data
    streams*, ECAI 2025. Rodrigues, Gama, Pedroso, *Hierarchical clustering of time-series data streams*, IEEE TKDE
    20(5), 2008.

    Examples
    --------
    >>> hierarchy = LabelHierarchy()
    >>> for _ in range(300):
    ...     hierarchy.update([0, 1])
    ...     hierarchy.update([2, 3])
    >>> hierarchy.clusters
    [[0, 1], [2, 3]]
    >>> print(hierarchy.to_text(["cat", "tiger", "car", "road"]))
    4 labels, diameter 1.00
    ├── cat, tiger (diameter 0.00)
    └── car, road (diameter 0.00)
    """

    def __init__(
        self,
        mode: str = "default",
        n_min: int = 100,
        *,
        delta: float = 0.05,
        tau: float = 0.05,
        half_life: float | None = 1000.0,
        support: float = 5.0,
        min_size: int = 2,
        max_size: int = 8,
        memory_budget: int | None = None,
    ) -> None:
        if mode not in ("default", "paper"):
            raise ValueError(f"mode must be 'default' or 'paper', got {mode!r}")
        if n_min < 1:
            raise ValueError(f"n_min must be at least 1, got {n_min}")
        if not 0 < delta < 0.5:
            raise ValueError(f"delta must be in (0, 0.5), got {delta}")
        if not 0 <= tau < 1:
            raise ValueError(f"tau must be in [0, 1), got {tau}")
        if not support > 0:
            raise ValueError(f"support must be positive, got {support}")
        if not 1 <= min_size <= max_size // 2:
            raise ValueError(f"min_size must be from 1 to half of max_size = {max_size}, got {min_size}")
        self.mode, self.n_min, self.delta, self.tau, self.half_life = mode, n_min, delta, tau, half_life
        self.support, self.min_size, self.max_size, self.memory_budget = support, min_size, max_size, memory_budget
        self._paper = mode == "paper"
        self.counts = CooccurrenceStore(half_life=None if self._paper else half_life, memory_budget=memory_budget)
        self._nodes = np.zeros(0, NODE)
        self._leaf = np.zeros(0, np.int32)
        self._sizes = np.zeros(0, np.int64)
        self._meta = np.zeros(1, META)
        self._meta["next_test"] = n_min
        self.events: list[dict[str, Any]] = []

    # What it takes in.

    def update(self, labels: Iterable[int]) -> None:
        """Take in the label set of one event."""
        self.update_many(Rows.from_lists([labels]))

    def update_many(self, rows: Rows) -> None:
        """Take in one label set an event, in order."""
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + int(self._meta["next_test"][0]) - self.n_events)
            part = rows[start:stop]
            self._bear(part)
            self.counts.update_many(part, self._leaf if self._paper else None)
            if self._paper:
                sizes = np.diff(part.indptr)
                grown = np.bincount(sizes, minlength=len(self._sizes))
                grown[: len(self._sizes)] += self._sizes
                self._sizes = grown
            if self.n_events == self._meta["next_test"][0]:
                self._test()
            start = stop

    def _bear(self, rows: Rows) -> None:
        """Give labels met for the first time a place."""
        n_labels = int(rows.indices.max(initial=-1)) + 1
        if n_labels > len(self._leaf):
            self._leaf = np.concatenate([self._leaf, np.full(n_labels - len(self._leaf), _UNBORN, np.int32)])
            self.counts.grow(n_labels)
        cells = np.flatnonzero(self._leaf[rows.indices] == _UNBORN)
        if not len(cells):
            return
        if not self._paper:
            self._leaf[rows.indices[cells]] = _COLD
            return
        row = np.searchsorted(rows.indptr, cells, side="right")
        _, first = np.unique(rows.indices[cells], return_index=True)
        for cell in np.sort(first):
            label = int(rows.indices[cells[cell]])
            if not len(self._nodes):
                self._new_node(-1)
            leaves = self._leaves()
            sizes = np.bincount(self._leaf[self._leaf >= 0], minlength=len(self._nodes))
            node = max(leaves, key=lambda leaf: int(sizes[leaf]))
            self._leaf[label] = node
            self._note("join", node, [label], event=self.n_events + int(row[cell]))

    # What it tells.

    @property
    def n_events(self) -> int:
        """Events taken in."""
        return self.counts.events

    @property
    def clusters(self) -> list[list[int]]:
        """Label numbers of every cluster: disjoint, none empty, every label seen so far in one. The cold bucket is last
        where it is not empty."""
        members = self._members()
        if self._paper:
            depth = {leaf: self._depth(leaf) for leaf in members}
            leaves = [(members[leaf].tolist(), depth[leaf], int(self._nodes["parent"][leaf])) for leaf in members]
            return unite_small(leaves, int(self._meta["least"][0]))
        cold = np.flatnonzero(self._leaf == _COLD).tolist()
        return [labels.tolist() for labels in members.values()] + ([cold] if cold else [])

    def jaccard(self, a: int, b: int) -> float:
        """Share of the (decayed) events with either label that carry both; NaN where neither has been seen. In paper
        mode, of the events since the labels' leaf began."""
        return self.counts.jaccard(a, b)

    def tree(self, names: Sequence[Any] | None = None) -> dict[str, Any] | None:
        """The tree as JSON objects, or None before the first label.

        Each node has ``id``, ``labels`` (all below it; numbers, or ``names``), ``children`` (empty for a leaf),
        ``diameter`` (largest Jaccard distance among its labels: that at its split, for a leaf that of now; None for one
        label) and ``n_events`` (since it became what it is). The cold bucket, where it is not empty, is a leaf with the
        id -1, beside the root under a node with the id -2.
        """
        members, similarities = self._members(), Similarities.of(self.counts)

        def named(labels: Iterable[int]) -> list[Any]:
            return [int(label) if names is None else names[label] for label in labels]

        def node(row: int) -> dict[str, Any]:
            record = self._nodes[row]
            since = self.n_events - int(record["since"])
            if record["first"] < 0:
                found = distances(members[row][similarities.support[members[row]] > 0], similarities)
                labels, children = named(members[row]), []
                diameter = None if found is None else round(found.d1, 12)
            else:
                labels, children = named(self._below(row, members)), [node(record["first"]), node(record["second"])]
                diameter = float(record["diameter"])
            return {
                "id": int(record["id"]), "labels": labels, "children": children,
                "diameter": diameter, "n_events": since,
            }  # fmt: skip

        top = node(self._root()) if members else None
        cold = np.flatnonzero(self._leaf == _COLD)
        if not len(cold):
            return top
        bucket = {"id": -1, "labels": named(cold), "children": [], "diameter": None, "n_events": self.n_events}
        if top is None:
            return bucket
        born = named(np.flatnonzero(self._leaf != _UNBORN))
        return {"id": -2, "labels": born, "children": [top, bucket], "diameter": None, "n_events": self.n_events}

    def to_text(self, names: Sequence[Any] | None = None) -> str:
        """The tree drawn in text, a leaf a line; empty before the first label."""
        top = self.tree(names)
        return "" if top is None else "\n".join(_drawn(top, "", ""))

    def renumbered(self, to: NDArray[np.int32]) -> LabelHierarchy:
        """A copy in which label ``a`` is called ``to[a]``; ``to`` names every label seen, each differently."""
        other = LabelHierarchy(
            self.mode, self.n_min, delta=self.delta, tau=self.tau, half_life=self.half_life, support=self.support,
            min_size=self.min_size, max_size=self.max_size, memory_budget=self.memory_budget,
        )  # fmt: skip
        other.set_state(self.get_state())
        held = to[: len(self._leaf)]
        other._leaf = np.full(int(held.max(initial=-1)) + 1, _UNBORN, np.int32)
        other._leaf[held] = self._leaf
        other.counts.renumber(held)
        for event in other.events:
            event["labels"] = sorted(int(to[label]) for label in event["labels"])
            if "halves" in event:
                event["halves"] = [sorted(int(to[label]) for label in half) for half in event["halves"]]
        return other

    # State.

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything learned, as copies."""
        return {
            "nodes": self._nodes.copy(),
            "leaf": self._leaf.copy(),
            "sizes": self._sizes.copy(),
            "hierarchy": self._meta.copy(),
            "happened": np.frombuffer(json.dumps(self.events).encode(), np.uint8),
            **{f"counts_{name}": array for name, array in self.counts.get_state().items()},
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a hierarchy with the same parameters gave."""
        self._nodes, self._leaf, self._sizes = (state[name].copy() for name in ("nodes", "leaf", "sizes"))
        self._meta[:] = state["hierarchy"]
        self.events = json.loads(state["happened"].tobytes())
        start = "counts_"
        self.counts.set_state({n[len(start) :]: array for n, array in state.items() if n.startswith(start)})

    @property
    def nbytes(self) -> int:
        """Bytes held, the list of structural events excepted."""
        return sum(a.nbytes for a in (self._nodes, self._leaf, self._sizes, self._meta)) + self.counts.nbytes

    # Structural tests.

    def _test(self) -> None:
        wait = self.n_min if self._paper else max(self.n_min, self.counts.n_pairs // PAIRS_PER_EVENT)
        self._meta["next_test"] += wait
        if self._paper:
            self._published_tests()
            return
        similarities = Similarities.of(self.counts)
        self._cool(similarities)
        self._warm(similarities)
        fresh = self._merge(similarities)
        self._split(similarities, fresh)

    def _cool(self, similarities: Similarities) -> None:
        """Labels that have become too rare go back to the cold bucket."""
        weak = np.flatnonzero((self._leaf >= 0) & (similarities.support < self.support / 4))
        for leaf in np.unique(self._leaf[weak]):
            labels = weak[self._leaf[weak] == leaf]
            self._leaf[labels] = _COLD
            self._note("cool", leaf, labels)
            if not (self._leaf == leaf).any():
                self._remove(int(leaf))

    def _warm(self, similarities: Similarities) -> None:
        """Labels that have gained support leave the cold bucket, the strongest first."""
        strong = np.flatnonzero((self._leaf == _COLD) & (similarities.support >= self.support))
        joined: dict[int, list[int]] = {}
        if not len(strong):
            return
        if not self._members():
            self._new_node(-1)
        leaves = np.array(self._leaves())
        sizes = np.bincount(self._leaf[self._leaf >= 0], minlength=len(self._nodes))
        for label in strong[np.lexsort((strong, -similarities.support[strong]))]:
            cells = slice(similarities.start[label], similarities.start[label + 1])
            homes = self._leaf[similarities.column[cells]]
            placed = homes >= 0
            linkage = np.bincount(homes[placed], similarities.jaccard[cells][placed], minlength=len(self._nodes))
            mean = np.round(linkage[leaves] / np.maximum(sizes[leaves], 1), 9)
            node = int(leaves[np.lexsort((leaves, sizes[leaves], -mean))[0]])
            self._leaf[label] = node
            sizes[node] += 1
            joined.setdefault(node, []).append(int(label))
        for node, labels in joined.items():
            self._note("join", node, sorted(labels))

    def _merge(self, similarities: Similarities) -> set[int]:
        """Undo splits that no longer hold, the deepest first; the leaves that this makes."""
        fresh: set[int] = set()
        blocked: set[int] = set()
        inner = [row for row in self._rows() if self._nodes["first"][row] >= 0]
        members = self._members()
        for row in sorted(inner, key=lambda row: (-self._depth(row), int(self._nodes["id"][row]))):
            if row in blocked:
                continue
            halves = [self._below(int(self._nodes[child][row]), members) for child in ("first", "second")]
            labels = np.concatenate(halves)
            order = np.argsort(labels)
            labels, side = labels[order], (order >= len(halves[0])).astype(np.int8)
            now = judge(labels, side, similarities, self.delta)
            reason = ""
            if min(map(len, halves)) < self.min_size:
                reason = "size"
            elif len(labels) <= self.max_size and now.gain < self.tau:
                reason = "vanished"
            else:
                best = halve(labels, similarities, self._least(len(labels)), self.delta)
                if best.gain - now.gain > max(best.bound, now.bound):
                    reason = "better"
            if reason:
                self._collapse(row)
                members = self._members()
                fresh.add(row)
                blocked.update(self._ancestors(row))
                evidence = self._evidence(labels, similarities)
                self._note("merge", row, labels, **evidence, gain=now.gain, bound=now.bound, reason=reason)
        return fresh

    def _split(self, similarities: Similarities, fresh: set[int]) -> None:
        """Split leaves that hold two kinds of labels, and those that are too large until none is."""
        members = self._members()
        waiting = [leaf for leaf in self._leaves() if leaf not in fresh or len(members[leaf]) > self.max_size]
        while waiting:
            leaf = waiting.pop(0)
            labels = np.flatnonzero(self._leaf == leaf)
            forced = len(labels) > self.max_size
            if len(labels) < 2 * self.min_size:
                continue
            best = halve(labels, similarities, self._least(len(labels)), self.delta)
            if not forced and best.gain - best.bound <= self.tau:
                continue
            evidence = self._evidence(labels, similarities)
            children = self._divide(leaf, [best.half(0), best.half(1)], evidence["d1"], best.bound)
            reason = "size" if forced else "evidence"
            self._note_split(leaf, children, **evidence, gain=best.gain, bound=best.bound, reason=reason)
            waiting += [child for child in children if np.count_nonzero(self._leaf == child) > self.max_size]

    def _least(self, size: int) -> int:
        """How many labels each half of a split must have: a forced one is kept balanced, so that depth stays low."""
        return max(self.min_size, size // 4) if size > self.max_size else self.min_size

    def _published_tests(self) -> None:
        self._meta["least"] = int(np.argmax(self._sizes))
        similarities = Similarities.of(self.counts)
        members = self._members()
        detached: set[int] = set()
        for leaf, labels in members.items():
            seen = labels[similarities.support[labels] > 0]
            found = distances(seen, similarities)
            n = self.n_events - int(self._nodes["since"][leaf])
            if leaf in detached or found is None or n == 0:
                continue
            epsilon = hoeffding(self.delta, n)
            parent = int(self._nodes["parent"][leaf])
            if parent >= 0:
                wider = found.d1 - self._nodes["diameter"][parent]
                if wider > max(self._nodes["bound"][parent], epsilon):
                    detached.update(self._subtree(parent))
                    self._collapse(parent)
                    united = np.flatnonzero(self._leaf == parent)
                    self.counts.forget(united)
                    self._note("merge", parent, united, **_told(found), bound=epsilon)
                    continue
            if len(seen) < 3:
                continue
            halves = published_halves(labels, found, epsilon, self.tau, similarities)
            if halves is not None:
                children = self._divide(leaf, [np.array(half) for half in halves], found.d1, epsilon)
                self.counts.forget(labels)
                self._note_split(leaf, children, **_told(found), bound=epsilon)

    def _evidence(self, labels: NDArray[np.int64], similarities: Similarities) -> dict[str, Any]:
        found = distances(labels, similarities)
        return {} if found is None else _told(found)

    # The tree.

    def _rows(self) -> list[int]:
        return np.flatnonzero(self._nodes["id"] >= 0).tolist()

    def _root(self) -> int:
        return int(np.flatnonzero((self._nodes["id"] >= 0) & (self._nodes["parent"] < 0))[0])

    def _leaves(self) -> list[int]:
        """Record numbers of the leaves, in depth-first order, first child first."""
        if not self._rows():
            return []
        found, waiting = [], [self._root()]
        while waiting:
            row = waiting.pop()
            if self._nodes["first"][row] < 0:
                found.append(row)
            else:
                waiting += [int(self._nodes["second"][row]), int(self._nodes["first"][row])]
        return found

    def _members(self) -> dict[int, NDArray[np.int64]]:
        """Labels of each leaf, ascending, in the order of `_leaves`."""
        order = np.argsort(self._leaf, kind="stable")
        leaf = self._leaf[order]
        return {row: order[slice(*np.searchsorted(leaf, [row, row + 1]))] for row in self._leaves()}

    def _below(self, row: int, members: Mapping[int, NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.sort(np.concatenate([members[leaf] for leaf in self._subtree(row) if leaf in members]))

    def _subtree(self, row: int) -> list[int]:
        """The node and everything below it."""
        found, waiting = [], [row]
        while waiting:
            found.append(waiting.pop())
            if self._nodes["first"][found[-1]] >= 0:
                waiting += [int(self._nodes[child][found[-1]]) for child in ("second", "first")]
        return found

    def _ancestors(self, row: int) -> list[int]:
        found = []
        while (row := int(self._nodes["parent"][row])) >= 0:
            found.append(row)
        return found

    def _depth(self, row: int) -> int:
        return len(self._ancestors(row))

    def _new_node(self, parent: int) -> int:
        """A new leaf, in a free record."""
        free = np.flatnonzero(self._nodes["id"] < 0)
        if len(free):
            row = int(free[0])
        else:
            row = len(self._nodes)
            spare = np.zeros(max(8, row), NODE)
            spare["id"] = -1
            self._nodes = np.concatenate([self._nodes, spare])
        self._nodes[row] = (self._meta["next_id"][0], parent, -1, -1, self.n_events, np.nan, np.nan)
        self._meta["next_id"] += 1
        return row

    def _divide(self, leaf: int, halves: list[NDArray[np.int64]], diameter: float, bound: float) -> list[int]:
        children = [self._new_node(leaf) for _ in halves]
        for child, labels in zip(children, halves, strict=True):
            self._leaf[labels] = child
        record = self._nodes[leaf]
        record["first"], record["second"] = children
        record["diameter"], record["bound"], record["since"] = diameter, bound, self.n_events
        return children

    def _collapse(self, row: int) -> None:
        """Make a node a leaf with all labels below it."""
        below = [node for node in self._subtree(row) if node != row]
        self._leaf[np.isin(self._leaf, below)] = row
        self._nodes["id"][below] = -1
        record = self._nodes[row]
        record["first"], record["second"], record["since"] = -1, -1, self.n_events

    def _remove(self, leaf: int) -> None:
        """Take out an empty leaf; its sibling takes its parent's place."""
        parent = int(self._nodes["parent"][leaf])
        self._nodes["id"][leaf] = -1
        if parent < 0:
            return
        first, second = int(self._nodes["first"][parent]), int(self._nodes["second"][parent])
        sibling, grandparent = (second if first == leaf else first), int(self._nodes["parent"][parent])
        self._nodes["parent"][sibling] = grandparent
        self._nodes["id"][parent] = -1
        if grandparent >= 0:
            side = "first" if self._nodes["first"][grandparent] == parent else "second"
            self._nodes[side][grandparent] = sibling

    def _note(self, kind: str, row: int, labels: Iterable[int], *, event: int | None = None, **more: Any) -> None:
        told = {key: round(value, 12) if isinstance(value, float) else value for key, value in more.items()}
        numbers = [int(label) for label in labels]
        when = self.n_events if event is None else event
        node = int(self._nodes["id"][row])
        self.events.append({"event": when, "kind": kind, "node": node, "labels": numbers, **told})

    def _note_split(self, row: int, children: list[int], **more: Any) -> None:
        halves = [np.flatnonzero(self._leaf == child).tolist() for child in children]
        ids = [int(self._nodes["id"][child]) for child in children]
        self._note("split", row, sorted(halves[0] + halves[1]), children=ids, halves=halves, **more)


def _told(found: Distances) -> dict[str, Any]:
    """Distances as they stand in an event; NaN has no place in JSON."""
    values = {"d0": found.d0, "d1": found.d1, "d2": found.d2, "mean": found.mean}
    return {name: None if value != value else value for name, value in values.items()}


def _drawn(node: Mapping[str, Any], head: str, rest: str) -> list[str]:
    labels, size = ", ".join(map(str, node["labels"])), len(node["labels"])
    diameter = node["diameter"]
    if node["id"] == -1:
        return [f"{head}{labels} (cold)"]
    if not node["children"]:
        return [f"{head}{labels}" + ("" if diameter is None else f" (diameter {diameter:.2f})")]
    lines = [f"{head}{size} labels" + ("" if diameter is None else f", diameter {diameter:.2f}")]
    for child in node["children"][:-1]:
        lines += _drawn(child, f"{rest}├── ", f"{rest}│   ")
    return lines + _drawn(node["children"][-1], f"{rest}└── ", f"{rest}    ")
