"""The label tree after any number of events, and every label's clusters over time, from structural events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.schema import Name

KINDS = ("join", "move", "cool", "split", "merge")
"""What can happen to a tree; see `ihomer.LabelHierarchy`."""

COLD_ID, TOP_ID = -1, -2
"""Ids of the cold bucket, and of the node that stands above it and the root."""


@dataclass(slots=True)
class _Node:
    """A node by id; an inner one has ``children`` and no labels of its own."""

    parent: int
    since: int
    labels: list[Name] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    diameter: float | None = None


class Replay:
    """Applies structural events, as `LabelHierarchy.events` holds them, one after another.

    Labels may be numbers or names. The state after an event with number n is that after n events of the stream, as soon
    as all events with that number have been taken.

    Attributes
    ----------
    leaf_of
        Id of the cluster of every label told so far; -1 is the cold bucket.
    """

    def __init__(self) -> None:
        self.leaf_of: dict[Name, int] = {}
        self._nodes: dict[int, _Node] = {}
        self._root = -1

    def take(self, event: Mapping[str, Any]) -> None:
        """Apply one structural event.

        Raises
        ------
        ValueError
            Its kind is none of those.
        """
        kind, node, labels = event["kind"], event["node"], event["labels"]
        if kind == "join":
            self._join(node, labels, event.get("since", event["event"]))
        elif kind == "move":
            self._leave(labels)
            self._own(node, labels)
        elif kind == "cool":
            self._cool(node, labels)
        elif kind == "split":
            self._split(event)
        elif kind == "merge":
            self._merge(node, labels, event["event"])
        else:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")

    def _own(self, node: int, labels: Iterable[Name]) -> None:
        own = self._nodes[node].labels
        own += labels
        own.sort(key=_place)
        for label in labels:
            self.leaf_of[label] = node

    def _leave(self, labels: Iterable[Name]) -> None:
        for label in labels:
            self._nodes[self.leaf_of[label]].labels.remove(label)

    def _join(self, node: int, labels: Sequence[Name], since: int) -> None:
        if node not in self._nodes:
            self._nodes[node], self._root = _Node(-1, since), node
        self._own(node, labels)

    def _cool(self, node: int, labels: Sequence[Name]) -> None:
        self._leave(labels)
        self.leaf_of.update(dict.fromkeys(labels, COLD_ID))
        if not self._nodes[node].labels:
            self._remove(node)

    def _split(self, event: Mapping[str, Any]) -> None:
        own = self._nodes[event["node"]]
        own.labels, own.children, own.since = [], list(event["children"]), event["event"]
        own.diameter = event.get("d1")
        for child, half in zip(event["children"], event["halves"], strict=True):
            self._nodes[child] = _Node(event["node"], event["event"])
            self._own(child, half)

    def _merge(self, node: int, labels: Sequence[Name], since: int) -> None:
        own = self._nodes[node]
        waiting = own.children
        while waiting:
            waiting = [*waiting[1:], *self._nodes.pop(waiting[0]).children]
        self._nodes[node] = _Node(own.parent, since)
        self._own(node, labels)

    def _remove(self, node: int) -> None:
        """Take out an empty leaf; its sibling takes its parent's place."""
        parent = self._nodes.pop(node).parent
        if parent < 0:
            self._root = -1
            return
        siblings, above = self._nodes[parent].children, self._nodes.pop(parent).parent
        sibling = siblings[0] if siblings[1] == node else siblings[1]
        self._nodes[sibling].parent = above
        if above < 0:
            self._root = sibling
        else:
            children = self._nodes[above].children
            children[children.index(parent)] = sibling

    def tree(self, n_events: int, cold: Iterable[Name] = ()) -> dict[str, Any] | None:
        """The tree as `LabelHierarchy.tree` has it, but that no leaf has a diameter; None where there is no label.

        Parameters
        ----------
        n_events
            Events of the stream so far, from which the age of the nodes follows.
        cold
            Labels in the cold bucket beside those that have been in a cluster.
        """
        top = None if self._root < 0 else self._subtree(self._root, n_events)
        cooled = {label for label, leaf in self.leaf_of.items() if leaf == COLD_ID}
        cold = sorted({label for label in cold if label not in self.leaf_of} | cooled, key=_place)
        if not cold:
            return top
        bucket = _told(COLD_ID, cold, [], None, n_events)
        if top is None:
            return bucket
        return _told(TOP_ID, sorted([*top["labels"], *cold], key=_place), [top, bucket], None, n_events)

    def _subtree(self, node: int, n_events: int) -> dict[str, Any]:
        own = self._nodes[node]
        children = [self._subtree(child, n_events) for child in own.children]
        labels = sorted((label for child in children for label in child["labels"]), key=_place)
        return _told(node, labels or list(own.labels), children, own.diameter, n_events - own.since)


def replay(
    events: Iterable[Mapping[str, Any]], until: int | None = None, births: Mapping[Name, int] | None = None
) -> dict[str, Any] | None:
    """The tree after ``until`` events; see `LabelHierarchy.replay`."""
    replayed, last = Replay(), 0
    for event in events:
        if until is not None and event["event"] > until:
            break
        replayed.take(event)
        last = event["event"]
    n_events = last if until is None else until
    born = [label for label, event in (births or {}).items() if event <= n_events]
    return replayed.tree(n_events, born)


def _told(id: int, labels: list[Name], children: list[Any], diameter: float | None, n_events: int) -> dict[str, Any]:
    return {"id": id, "labels": labels, "children": children, "diameter": diameter, "n_events": n_events}


def _place(label: Name) -> tuple[bool, Name]:
    """Numbers in their order, then names in theirs."""
    return isinstance(label, str), label
