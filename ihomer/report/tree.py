"""Where the nodes of a label hierarchy go when it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

ROW, STEP, MARGIN = 24, 56, 12
"""Height of a leaf's row, width of a level, and the edge around the drawing, in CSS pixels."""

MOST_ROWS = 40
"""A tree with more leaves is drawn with its smallest branches folded."""

_LINE = 64
_CHARACTER = 8.2
"""Longest text beside a leaf in characters, and the width to keep free for one of them."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as drawn: ``text`` stands beside it unless its children are drawn, ``title`` shows on pointing at it."""

    x: float
    y: float
    text: str
    title: str
    folded: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A laid-out tree: its nodes, the ends of the lines between them (``x, y`` above, ``x, y`` below), its size in CSS
    pixels, how many clusters it has and how many rows stand for them."""

    nodes: list[Node]
    edges: list[tuple[float, float, float, float]]
    width: int
    height: int
    n_clusters: int
    n_rows: int


def clusters(root: Mapping[str, Any]) -> list[list[str]]:
    """Names of the labels of each leaf, from top to bottom."""
    found = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node["children"]:
            waiting.extend(reversed(node["children"]))
        else:
            found.append([str(label) for label in node["labels"]])
    return found


def layout(root: Mapping[str, Any]) -> Drawing:
    """Place the nodes of a tree: depth to the right, leaves one below the other, parents midway between children."""
    unfolded = _unfolded(root)
    nodes: list[Node] = []
    edges: list[tuple[float, float, float, float]] = []
    n_rows = 0

    def place(node: Mapping[str, Any], depth: int) -> float:
        """Lay out all below a node, then itself; gives its height."""
        nonlocal n_rows
        x = float(MARGIN + depth * STEP)
        if id(node) in unfolded:
            heights = [place(child, depth + 1) for child in node["children"]]
            y = (heights[0] + heights[-1]) / 2
            edges.extend((x, y, x + STEP, height) for height in heights)
            text = ""
        else:
            y = MARGIN + (n_rows + 0.5) * ROW
            n_rows += 1
            text = _text(node)
        nodes.append(Node(x, y, text, _title(node), bool(text and node["children"])))
        return y

    place(root, 0)
    width = max(node.x + 14 + _columns(node.text) * _CHARACTER for node in nodes) + MARGIN
    return Drawing(nodes, edges, int(width), 2 * MARGIN + n_rows * ROW, len(clusters(root)), n_rows)


def _unfolded(root: Mapping[str, Any]) -> set[int]:
    """Identities of the nodes whose children are drawn: the largest first, as long as there are rows."""
    unfolded: set[int] = set()
    waiting = [root]
    rows = 1
    while True:
        inner = [node for node in waiting if node["children"]]
        if not inner:
            return unfolded
        largest = max(inner, key=lambda node: len(node["labels"]))
        rows += len(largest["children"]) - 1
        if rows > MOST_ROWS:
            return unfolded
        unfolded.add(id(largest))
        waiting.remove(largest)
        waiting.extend(largest["children"])


def _text(node: Mapping[str, Any]) -> str:
    names = _few([str(label) for label in node["labels"]])
    if not node["children"]:
        return names
    return f"{len(clusters(node))} clusters, {len(node['labels'])} labels: {names}"


def _columns(text: str) -> int:
    """Width of a text in Latin letters; the wide ones of East Asian scripts count twice."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _few(names: Sequence[str]) -> str:
    """As many names as fit beside a leaf, and how many more there are."""
    shown = 1
    while shown < len(names) and _columns(", ".join(names[: shown + 1])) <= _LINE:
        shown += 1
    text = ", ".join(names[:shown])
    if len(text) > _LINE:
        text = f"{text[: _LINE - 1]}…"
    return text if shown >= len(names) else f"{text} + {len(names) - shown} more"


def _title(node: Mapping[str, Any]) -> str:
    count = len(node["labels"])
    parts = [f"node {node['id']}", f"{count} label{'' if count == 1 else 's'}"]
    if node.get("diameter") is not None:
        parts.append(f"diameter {node['diameter']:.3f}")
    if node.get("n_events") is not None:
        parts.append(f"{node['n_events']:,} events")
    return ", ".join(parts)
