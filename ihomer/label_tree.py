"""A binary tree whose leaves own labels: its nodes as records, and what can be done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
"""One node a record, an unused one has the id -1; links are record numbers and -1 is no link.

``diameter`` and ``bound`` are those of the split; ``since`` is how many events there had been when the node became what
it is.
"""

COLD, UNBORN = -1, -2
"""In place of a leaf: the label is in the cold bucket, or has not been met."""


class LabelTree:
    """Nodes, and which leaf every label belongs to. Methods speak of nodes by record number (``row``).

    Attributes
    ----------
    nodes
        Records of `NODE`, with unused ones among them.
    leaf
        int32, for each label the record number of its leaf, ``COLD`` or ``UNBORN``.
    next_id
        Id of the next node; ids are never used again.
    """

    def __init__(self) -> None:
        self.nodes = np.zeros(0, NODE)
        self.leaf = np.zeros(0, np.int32)
        self.next_id = 0

    def grow(self, n_labels: int) -> None:
        """Know labels numbered below ``n_labels``."""
        if n_labels > len(self.leaf):
            spare = np.full(n_labels - len(self.leaf), UNBORN, np.int32)
            self.leaf = np.concatenate([self.leaf, spare])

    @property
    def inner(self) -> NDArray[np.int64]:
        """All nodes that have children."""
        return np.flatnonzero((self.nodes["id"] >= 0) & (self.nodes["first"] >= 0))

    @property
    def root(self) -> int:
        """The node without a parent; -1 where there is no node."""
        found = np.flatnonzero((self.nodes["id"] >= 0) & (self.nodes["parent"] < 0))
        return int(found[0]) if len(found) else -1

    @property
    def leaves(self) -> list[int]:
        """All leaves in depth-first order, first child first."""
        root = self.root
        return [] if root < 0 else [row for row in self.subtree(root) if self.nodes["first"][row] < 0]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of labels that each record owns itself, as a leaf."""
        return np.bincount(self.leaf[self.leaf >= 0], minlength=len(self.nodes))

    def labels_of(self, row: int) -> NDArray[np.int64]:
        """Labels of one leaf, ascending."""
        return np.flatnonzero(self.leaf == row)

    def members(self) -> dict[int, NDArray[np.int64]]:
        """Labels of each leaf, ascending, in the order of `leaves`."""
        placed = np.flatnonzero(self.leaf >= 0)
        order = placed[np.argsort(self.leaf[placed], kind="stable")]
        end = np.cumsum(self.sizes)
        return {row: order[end[row - 1] if row else 0 : end[row]] for row in self.leaves}

    def below(self, row: int, members: Mapping[int, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Labels of all leaves below a node, ascending."""
        return np.sort(np.concatenate([members[leaf] for leaf in self.subtree(row) if leaf in members]))

    def subtree(self, row: int) -> list[int]:
        """The node and everything below it, depth first, first child first."""
        first, second = self.nodes["first"], self.nodes["second"]
        found, waiting = [], [row]
        while waiting:
            found.append(waiting.pop())
            if first[found[-1]] >= 0:
                waiting += [int(second[found[-1]]), int(first[found[-1]])]
        return found

    def ancestors(self, row: int) -> list[int]:
        """The nodes above, from the parent up."""
        found = []
        while (row := int(self.nodes["parent"][row])) >= 0:
            found.append(row)
        return found

    def new_node(self, parent: int, since: int) -> int:
        """A new leaf without labels, in an unused record."""
        unused = np.flatnonzero(self.nodes["id"] < 0)
        if len(unused):
            row = int(unused[0])
        else:
            row = len(self.nodes)
            spare = np.zeros(max(8, row), NODE)
            spare["id"] = -1
            self.nodes = np.concatenate([self.nodes, spare])
        self.nodes[row] = (self.next_id, parent, -1, -1, since, np.nan, np.nan)
        self.next_id += 1
        return row

    def divide(
        self, leaf: int, halves: Sequence[NDArray[np.int64]], since: int, diameter: float, bound: float
    ) -> list[int]:
        """Give a leaf two children with these labels, which are all that it has."""
        children = [self.new_node(leaf, since) for _ in halves]
        for child, labels in zip(children, halves, strict=True):
            self.leaf[labels] = child
        record = self.nodes[leaf]
        record["first"], record["second"] = children
        record["diameter"], record["bound"], record["since"] = diameter, bound, since
        return children

    def told(self, children: Sequence[int], halves: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
        """Ids and labels of the children, as they stand in a structural event."""
        return {"children": self.nodes["id"][children].tolist(), "halves": [half.tolist() for half in halves]}

    def collapse(self, row: int, since: int) -> None:
        """Make a node a leaf with all labels below it."""
        below = [node for node in self.subtree(row) if node != row]
        self.leaf[np.isin(self.leaf, below)] = row
        self.nodes["id"][below] = -1
        record = self.nodes[row]
        record["first"], record["second"], record["since"] = -1, -1, since

    def remove(self, leaf: int) -> None:
        """Take out an empty leaf; its sibling takes its parent's place."""
        parent = int(self.nodes["parent"][leaf])
        self.nodes["id"][leaf] = -1
        if parent < 0:
            return
        first, second = int(self.nodes["first"][parent]), int(self.nodes["second"][parent])
        sibling, grandparent = (second if first == leaf else first), int(self.nodes["parent"][parent])
        self.nodes["parent"][sibling] = grandparent
        self.nodes["id"][parent] = -1
        if grandparent >= 0:
            side = "first" if self.nodes["first"][grandparent] == parent else "second"
            self.nodes[side][grandparent] = sibling

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything, as copies."""
        return {"nodes": self.nodes.copy(), "leaf": self.leaf.copy(), "next_id": np.array([self.next_id])}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""
        self.nodes, self.leaf = state["nodes"].copy(), state["leaf"].copy()
        self.next_id = int(state["next_id"][0])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.nodes.nbytes + self.leaf.nbytes
