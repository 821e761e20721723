"""An online tree over labels whose leaves partition them by how often they occur together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.cooccurrence import CooccurrenceStore, count_pairs
from ihomer.label_tree import COLD, UNBORN, LabelTree
from ihomer.moves import moves
from ihomer.partition import Similarities, distances, halve
from ihomer.published_rules import published_tests, unite_small
from ihomer.replay import COLD_ID, TOP_ID, replay
from ihomer.verdicts import Verdicts, verdicts
from streams.batch import Rows
from streams.schema import Name

META = np.dtype([("next_test", np.int64), ("least", np.int64)])

_NEVER = 1 << 62
"""Number of the next test where none will come."""

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
        Default mode: how much more similar labels must be within than across before a split pays, and how much more
        similar a label must be to those of another leaf before it moves. Paper mode: the bound below which ties between
        the largest distances are broken.
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
    frozen_after
        Events after which no structural test is made any more, or None. What is then a cluster stays one; in default
        mode labels that come later stay in the cold bucket. For experiments.

    Attributes
    ----------
    events
        What happened, in order, as JSON objects: ``event`` (how many events had been taken in), ``kind``, ``node`` (its
        id, -1 for the cold bucket), ``labels``, and by kind

        * ``join``: labels entered the leaf ``node``, from the cold bucket or newly born (paper mode);
        * ``move``: labels came to the leaf ``node`` from other leaves, none of which is empty then;
        * ``cool``: labels left the leaf ``node`` for the cold bucket; a leaf that is empty then is gone;
        * ``split``: ``children`` (ids) took over ``halves`` (label lists) of ``node``;
        * ``merge``: ``node`` became a leaf and has all labels below it again.

        Splits and merges carry the evidence: the distances ``d0``, ``d1``, ``d2``, ``mean`` among the labels,
        ``bound``, and in default mode ``gain`` and ``reason`` (``evidence``, ``size``, ``vanished``, or ``better`` with
        the ``best_gain``).
        A join that founds a tree in paper mode has ``since``, the events before its first label's. From these the tree
        at any event follows: `replay`.

    Notes
    -----
    *Default mode.* Counts live in one decaying store, so that a new node starts with valid distances and the tree
    follows drift. A label is born into the cold bucket and joins the leaf with the largest mean similarity once it has
    support; it moves when another leaf's is larger by more than ``tau``, which mends what early splits, forced by size
    on little evidence, have torn apart. With ``gain`` the mean Jaccard similarity of pairs within two sets minus that
    of pairs across, and ``bound`` from `ihomer.partition.judge`, which knows how few events rare labels rest on: a leaf
    splits along its best halves when ``gain - bound > tau``; siblings merge when ``gain < tau`` (the structure
    vanished), or when the best halves of their union beat the present ones by more than the larger bound (it is another
    one now; the union splits again at the next test). So a split is undone only if its evidence was off by more than
    its bound or the stream has changed, which keeps the tree still.

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
        frozen_after: int | None = None,
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
        if frozen_after is not None and frozen_after < 0:
            raise ValueError(f"frozen_after must be None or at least 0, got {frozen_after}")
        self.mode, self.n_min, self.delta, self.tau, self.half_life = mode, n_min, delta, tau, half_life
        self.support, self.min_size, self.max_size = support, min_size, max_size
        self.memory_budget, self.frozen_after = memory_budget, frozen_after
        self._paper = mode == "paper"
        self.counts = CooccurrenceStore(half_life=None if self._paper else half_life, memory_budget=memory_budget)
        self._tree = LabelTree()
        self._born = np.zeros(0, np.int64)
        self._sizes = np.zeros(0, np.int64)
        self._meta = np.zeros(1, META)
        self._plan(n_min)
        self.events: list[dict[str, Any]] = []

    # What it takes in.

    def update(self, labels: Iterable[int]) -> None:
        """Take in the label set of one event."""
        self.update_many(Rows.from_lists([labels]))

    def update_many(self, rows: Rows) -> None:
        """Take in one label set an event, in order."""
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + self.until_test)
            part = rows[start:stop]
            self._bear(part)
            self.counts.update_many(part, self._tree.leaf if self._paper else None)
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
        if n_labels > len(self._born):
            self._born = np.concatenate([self._born, np.full(n_labels - len(self._born), -1)])
            self._tree.grow(n_labels)
            self.counts.grow(n_labels)
        cells = np.flatnonzero(self._born[rows.indices] < 0)
        if not len(cells):
            return
        labels, first = np.unique(rows.indices[cells], return_index=True)
        self._born[labels] = self.n_events + np.searchsorted(rows.indptr, cells[first], side="right")
        if not self._paper:
            self._tree.leaf[labels] = COLD
            return
        for label in labels[np.argsort(first)].tolist():
            founded = {}
            if self._tree.root < 0:
                founded = {"since": int(self._born[label]) - 1}
                self._tree.new_node(-1, **founded)
            sizes = self._tree.sizes
            node = max(self._tree.leaves, key=lambda leaf: int(sizes[leaf]))
            self._tree.leaf[label] = node
            self._note("join", node, [label], event=int(self._born[label]), **founded)

    def merge(self, other: LabelHierarchy, to: NDArray[np.int32]) -> None:
        """Take in what another hierarchy has counted, as if its events had come after those of this one; its label
        ``a`` is ``to[a]`` here.

        Notes
        -----
        Counts are then those of all events, as `CooccurrenceStore.merge` says. The tree is this one's: labels that are
        new to it come to the cold bucket, and a structural test on the merged counts follows at once. How a tree came
        about depends on when events were looked at, so that it need not be the one that a single pass would have left.

        Raises
        ------
        ValueError
            The two decay differently, or one follows the published rules, whose leaves begin to count when they are
            made.
        """
        for hierarchy in (self, other):
            if hierarchy._paper:
                raise ValueError(f"mode must be 'default' to merge, got {hierarchy.mode!r}")
        n_before = self.n_events
        self.counts.merge(other.counts, to)
        numbers = to[: len(other._born)]
        n_labels = int(numbers.max(initial=-1)) + 1
        if n_labels > len(self._born):
            self._born = np.concatenate([self._born, np.full(n_labels - len(self._born), -1)])
            self._tree.grow(n_labels)
            self.counts.grow(n_labels)
        new = (other._born >= 0) & (self._born[numbers] < 0)
        self._born[numbers[new]] = n_before + other._born[new]
        self._tree.leaf[numbers[new]] = COLD
        if self.frozen_after is None or self.n_events <= self.frozen_after:
            self._test()

    # What it tells.

    @property
    def n_events(self) -> int:
        """Events taken in."""
        return self.counts.events

    @property
    def until_test(self) -> int:
        """Events until the next structural test, at least 1; it is made after the last of them. Until then no label
        changes its cluster, and those that are born go to the cold bucket (paper mode: to the largest leaf)."""
        return int(self._meta["next_test"][0]) - self.n_events

    @property
    def table(self) -> NDArray[np.int64]:
        """The table of label pairs: another array whenever it was rebuilt."""
        table: NDArray[np.int64] = self.counts.arrays()[0]
        return table

    def arrays(self) -> tuple[Any, ...]:
        """What the next event is counted in by `count_labels`, in default mode."""
        return self._meta, self.counts.arrays(), np.zeros(len(self._born), np.int32)

    @property
    def clusters(self) -> list[list[int]]:
        """Label numbers of every cluster: disjoint, none empty, every label seen so far in one. The cold bucket is last
        where it is not empty."""
        members = self._tree.members()
        if self._paper:
            parent = self._tree.nodes["parent"]
            depth = {leaf: len(self._tree.ancestors(leaf)) for leaf in members}
            leaves = [(labels.tolist(), depth[leaf], int(parent[leaf])) for leaf, labels in members.items()]
            return unite_small(leaves, int(self._meta["least"][0]))
        cold = self.cold
        return [labels.tolist() for labels in members.values()] + ([cold] if cold else [])

    @property
    def cold(self) -> list[int]:
        """Label numbers in the cold bucket: those that are in no cluster, for want of support."""
        labels: list[int] = self._tree.labels_of(COLD).tolist()
        return labels

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
        members, similarities = self._tree.members(), Similarities.of(self.counts)

        def named(labels: Iterable[int]) -> list[Any]:
            return [int(label) if names is None else names[label] for label in labels]

        def node(row: int) -> dict[str, Any]:
            record = self._tree.nodes[row]
            since = self.n_events - int(record["since"])
            if record["first"] < 0:
                found = distances(members[row][similarities.support[members[row]] > 0], similarities)
                labels, children = named(members[row]), []
                diameter = None if found is None else round(found.d1, 12)
            else:
                labels = named(self._tree.below(row, members))
                children = [node(int(record[child])) for child in ("first", "second")]
                diameter = round(float(record["diameter"]), 12)
            return {
                "id": int(record["id"]), "labels": labels, "children": children,
                "diameter": diameter, "n_events": since,
            }  # fmt: skip

        top = node(self._tree.root) if members else None
        cold = self._tree.labels_of(COLD)
        if not len(cold):
            return top
        bucket = {"id": COLD_ID, "labels": named(cold), "children": [], "diameter": None, "n_events": self.n_events}
        if top is None:
            return bucket
        born = named(np.flatnonzero(self._born >= 0))
        return {"id": TOP_ID, "labels": born, "children": [top, bucket], "diameter": None, "n_events": self.n_events}

    @staticmethod
    def replay(
        events: Iterable[Mapping[str, Any]], until: int | None = None, births: Mapping[Name, int] | None = None
    ) -> dict[str, Any] | None:
        """The tree at an earlier event, from the structural events alone.

        Parameters
        ----------
        events
            As in ``events``, in order; labels are numbers or names. Those after ``until`` do not matter.
        until
            Events taken in by then; None: up to the last structural event.
        births
            As in `births`. Without them the cold bucket lacks the labels that have never been in a cluster; nothing
            else depends on them.

        Returns
        -------
        dict or None
            What `tree` told after ``until`` events, with one gap: the diameter of a leaf is that of the moment, which
            the counts know and the events do not, so that here it is None. The labels are in ascending order, which for
            names is the alphabet.

        Examples
        --------
        >>> hierarchy = LabelHierarchy()
        >>> hierarchy.update_many(Rows.from_lists([[0, 1], [2, 3]] * 300))
        >>> [(e["event"], e["kind"]) for e in hierarchy.events]
        [(100, 'join'), (100, 'split')]
        >>> LabelHierarchy.replay(hierarchy.events, until=99, births=hierarchy.births)["labels"]
        [0, 1, 2, 3]
        >>> [child["labels"] for child in LabelHierarchy.replay(hierarchy.events)["children"]]
        [[0, 1], [2, 3]]
        """
        return replay(events, until, births)

    def named_events(self, names: Sequence[Name], start: int = 0) -> list[dict[str, Any]]:
        """``events`` from number ``start`` on, with names in place of label numbers."""

        def named(labels: Iterable[int]) -> list[Name]:
            return [names[label] for label in labels]

        return [
            {**event, "labels": named(event["labels"])}
            | ({"halves": [named(half) for half in event["halves"]]} if "halves" in event else {})
            for event in self.events[start:]
        ]

    @property
    def births(self) -> dict[int, int]:
        """For every label seen, the number of the event with which it came, the first event being 1."""
        return {int(label): int(self._born[label]) for label in np.flatnonzero(self._born >= 0)}

    def to_text(self, names: Sequence[Any] | None = None) -> str:
        """The tree drawn in text, a leaf a line; empty before the first label."""
        top = self.tree(names)
        return "" if top is None else "\n".join(_drawn(top, "", ""))

    def renumbered(self, to: NDArray[np.int32]) -> LabelHierarchy:
        """A copy in which label ``a`` is called ``to[a]``; ``to`` names every label seen, each differently."""
        other = LabelHierarchy(
            self.mode, self.n_min, delta=self.delta, tau=self.tau, half_life=self.half_life, support=self.support,
            min_size=self.min_size, max_size=self.max_size, memory_budget=self.memory_budget,
            frozen_after=self.frozen_after,
        )  # fmt: skip
        other.set_state(self.get_state())
        held = to[: len(self._born)]
        n_labels = int(held.max(initial=-1)) + 1
        other._tree.leaf, other._born = np.full(n_labels, UNBORN, np.int32), np.full(n_labels, -1)
        other._tree.leaf[held], other._born[held] = self._tree.leaf, self._born
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
            **{f"tree_{name}": array for name, array in self._tree.get_state().items()},
            **{f"counts_{name}": array for name, array in self.counts.get_state().items()},
            "born": self._born.copy(),
            "sizes": self._sizes.copy(),
            "hierarchy": self._meta.copy(),
            "happened": np.frombuffer(json.dumps(self.events).encode(), np.uint8),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` of a hierarchy with the same parameters gave."""
        self._born, self._sizes = state["born"].copy(), state["sizes"].copy()
        self._meta[:] = state["hierarchy"]
        self.events = json.loads(state["happened"].tobytes())
        for part, prefix in ((self._tree, "tree_"), (self.counts, "counts_")):
            part.set_state({name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)})

    @property
    def nbytes(self) -> int:
        """Bytes held, the list of structural events excepted."""
        own = self._born.nbytes + self._sizes.nbytes + self._meta.nbytes
        return own + self._tree.nbytes + self.counts.nbytes

    # Structural tests.

    def _plan(self, wait: int) -> None:
        """Let the next test be in so many events."""
        at = self.n_events + wait
        self._meta["next_test"] = _NEVER if self.frozen_after is not None and at > self.frozen_after else at

    def _test(self) -> None:
        self._plan(self.n_min if self._paper else max(self.n_min, self.counts.n_pairs // PAIRS_PER_EVENT))
        if self._paper:
            self._meta["least"] = int(np.argmax(self._sizes))
            for kind, row, labels, more in published_tests(self._tree, self.counts, self.delta, self.tau):
                self._note(kind, row, labels, **more)
            return
        # A label with less is in the cold bucket, or will be in a moment; with many labels most pairs have such a one.
        similarities = Similarities.of(self.counts, self.support / 4)
        self._cool(similarities)
        self._warm(similarities)
        for leaf, labels in moves(self._tree, similarities, self.tau, self.min_size):
            self._tree.leaf[labels] = leaf
            self._note("move", leaf, labels)
        found = verdicts(self._tree, similarities, self.delta, self.min_size, self.max_size)
        fresh = self._merge(found, similarities)
        self._split(found, similarities, fresh)

    def _cool(self, similarities: Similarities) -> None:
        """Labels that have become too rare go back to the cold bucket."""
        weak = np.flatnonzero((self._tree.leaf >= 0) & (similarities.support < self.support / 4))
        for leaf in np.unique(self._tree.leaf[weak]).tolist():
            labels = weak[self._tree.leaf[weak] == leaf]
            self._tree.leaf[labels] = COLD
            self._note("cool", leaf, labels)
            if not (self._tree.leaf == leaf).any():
                self._tree.remove(leaf)

    def _warm(self, similarities: Similarities) -> None:
        """Labels that have gained support leave the cold bucket, the strongest first."""
        strong = np.flatnonzero((self._tree.leaf == COLD) & (similarities.support >= self.support))
        if not len(strong):
            return
        if self._tree.root < 0:
            self._tree.new_node(-1, self.n_events)
        leaf, leaves, sizes = self._tree.leaf, np.array(self._tree.leaves), self._tree.sizes
        joined: dict[int, list[int]] = {}
        for label in strong[np.lexsort((strong, -similarities.support[strong]))]:
            others, jaccard = similarities.of_label(int(label))
            homes = leaf[others]
            placed = homes >= 0
            linkage = np.bincount(homes[placed], jaccard[placed], minlength=len(sizes))
            mean = np.round(linkage[leaves] / np.maximum(sizes[leaves], 1), 9)
            node = int(leaves[np.lexsort((leaves, sizes[leaves], -mean))[0]])
            leaf[label] = node
            sizes[node] += 1
            joined.setdefault(node, []).append(int(label))
        for node, labels in joined.items():
            self._note("join", node, sorted(labels))

    def _merge(self, found: Verdicts, similarities: Similarities) -> set[int]:
        """Undo splits that no longer hold, the deepest first; the leaves that this makes."""
        inner = self._tree.inner
        small = found.smaller[inner] < self.min_size
        vanished = (found.size[inner] <= self.max_size) & (found.gain[inner] < self.tau)
        ahead = found.best_gain[inner] - found.gain[inner]
        better = ahead > np.maximum(found.best_bound[inner], found.bound[inner])
        reasons = {
            int(inner[i]): "size" if small[i] else "vanished" if vanished[i] else "better"
            for i in np.flatnonzero(small | vanished | better)
        }
        fresh: set[int] = set()
        blocked: set[int] = set()
        above = {row: self._tree.ancestors(row) for row in reasons}
        for row in sorted(reasons, key=lambda row: (-len(above[row]), int(self._tree.nodes["id"][row]))):
            if row in blocked:
                continue
            self._tree.collapse(row, self.n_events)
            fresh.add(row)
            blocked.update(above[row])
            labels = self._tree.labels_of(row)
            evidence = self._evidence(labels, similarities, float(found.gain[row]), float(found.bound[row]))
            if reasons[row] == "better":
                evidence["best_gain"] = float(found.best_gain[row])
            self._note("merge", row, labels, **evidence, reason=reasons[row])
        return fresh

    def _split(self, found: Verdicts, similarities: Similarities, fresh: set[int]) -> None:
        """Split leaves that hold two kinds of labels, and those that are too large until none is."""
        large = self._tree.sizes > self.max_size
        # The verdict of a fresh leaf is that of the node before; its evidence is looked at in the next test.
        clear = found.best_gain - found.best_bound > self.tau
        clear[list(fresh)] = False
        clear &= self._tree.nodes["first"] < 0
        if not (large | clear).any():
            return
        waiting = [(leaf, self._tree.labels_of(leaf)) for leaf in self._tree.leaves if large[leaf] or clear[leaf]]
        while waiting:
            leaf, labels = waiting.pop(0)
            forced = len(labels) > self.max_size
            best = halve(labels, similarities, self._least(len(labels)), self.delta)
            halves = [best.half(0), best.half(1)]
            evidence = self._evidence(labels, similarities, best.gain, best.bound)
            children = self._tree.divide(leaf, halves, self.n_events, evidence["d1"], best.bound)
            told = self._tree.told(children, halves)
            self._note("split", leaf, labels, **told, **evidence, reason="size" if forced else "evidence")
            waiting += [
                (child, half) for child, half in zip(children, halves, strict=True) if len(half) > self.max_size
            ]

    def _least(self, size: int) -> int:
        """How many labels each half of a split must have: a forced one is kept balanced, so that depth stays low."""
        return max(self.min_size, size // 4) if size > self.max_size else self.min_size

    # What it writes down.

    def _evidence(
        self, labels: NDArray[np.int64], similarities: Similarities, gain: float, bound: float
    ) -> dict[str, Any]:
        found = distances(labels, similarities)
        assert found is not None, "what is split or merged has two labels"
        return {**found.told(), "gain": gain, "bound": bound}

    def _note(self, kind: str, row: int, labels: Iterable[int], *, event: int | None = None, **more: Any) -> None:
        told = {key: round(value, 12) if isinstance(value, float) else value for key, value in more.items()}
        numbers = [int(label) for label in labels]
        when = self.n_events if event is None else event
        node = int(self._tree.nodes["id"][row])
        self.events.append({"event": when, "kind": kind, "node": node, "labels": numbers, **told})


@njit(cache=True, nogil=True)
def count_labels(arrays: tuple[Any, ...], start: NDArray[np.int64], labels: NDArray[np.int32]) -> bool:
    """Count the labels of a single event, all of them met before; False, and nothing is done, where a test is due after
    it or the table of pairs is full."""
    meta, counts, group = arrays
    if counts[3]["events"][0] + 1 == meta["next_test"][0]:
        return False
    return count_pairs(counts, group, start, labels, 0, False) > 0


def _drawn(node: Mapping[str, Any], head: str, rest: str) -> list[str]:
    labels, size = ", ".join(map(str, node["labels"])), len(node["labels"])
    diameter = node["diameter"]
    if node["id"] == COLD_ID:
        return [f"{head}{labels} (cold)"]
    if not node["children"]:
        return [f"{head}{labels}" + ("" if diameter is None else f" (diameter {diameter:.2f})")]
    lines = [f"{head}{size} labels" + ("" if diameter is None else f", diameter {diameter:.2f}")]
    for child in node["children"][:-1]:
        lines += _drawn(child, f"{rest}├── ", f"{rest}│   ")
    return lines + _drawn(node["children"][-1], f"{rest}└── ", f"{rest}    ")
