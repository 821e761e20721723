"""Which cluster every label was in over the stream: a row a label, coloured by cluster, lines at splits and merges."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ihomer.evaluation.result import Run
from ihomer.replay import COLD_ID, KINDS, Replay
from ihomer.report.svg import SETTINGS, stripped
from streams.schema import Name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 760
"""Of the drawing in CSS pixels."""

MOST_ROWS = 320
"""Of more labels that have been in a cluster, those are drawn that changed it most often."""

MOST_NAMES = 48
"""Rows up to which every row has its name."""

COLOURS = ("#0072b2", "#d55e00", "#00916a", "#aa4499", "#9a7400", "#3d9bd6", "#4a3aa7", "#9c2450")
"""Of clusters, where no style sheet has them."""

COLD = -1
"""In place of a colour: the label is in no cluster."""

_LONGEST, _CHARACTER = 22, 6.2
"""Characters of a name that are shown, and their width."""

_LAYERS = ("cold", "cluster", "split", "merge")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The label of ``row`` was in one cluster from after event ``start`` to event ``stop``; ``colour`` is a number."""

    row: int
    start: int
    stop: int
    colour: int


@dataclass(frozen=True, slots=True)
class Change:
    """A split or a merge: its rows, as first and last of each run of rows that are next to each other."""

    event: int
    kind: str
    runs: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class History:
    """What is drawn: names of the rows, stretches, changes, events; and how many labels there are, and how many of them
    have ever been in a cluster, which the others have no row for."""

    names: list[str]
    stretches: list[Stretch]
    changes: list[Change]
    n_events: int
    n_labels: int
    n_clustered: int

    @property
    def row_height(self) -> float:
        """In CSS pixels."""
        return 14.0 if self.is_named else max(2.0, 14.0 * MOST_NAMES / len(self.names))

    @property
    def is_named(self) -> bool:
        """Whether the rows have room for names."""
        return len(self.names) <= MOST_NAMES


def of_run(run: Run) -> History | None:
    """The history of a run's hierarchy; None where it has none or nothing happened to it."""
    events = [event for event in run.restructures if event.get("kind") in KINDS and "node" in event]
    if run.hierarchy is None or not events:
        return None
    return trace(events, run.hierarchy, max(int(events[-1]["event"]), int(run.counts.get("learned", 0))))


def trace(events: Iterable[Mapping[str, Any]], tree: Mapping[str, Any], n_events: int) -> History:
    """Follow all labels through the structural events.

    Parameters
    ----------
    events
        As `ihomer.LabelHierarchy.events` has them, with labels as they stand in ``tree``.
    tree
        The tree at the end; it gives the order of the rows.
    n_events
        Events of the stream.
    """
    names = {_key(label): str(label) for label in _in_order(tree)}
    place = {label: row for row, label in enumerate(names)}
    replayed, colours = Replay(), _Colours(list(names))
    began: dict[str, tuple[int, int]] = {}
    moves: Counter[str] = Counter()
    stretches: list[tuple[str, int, int, int]] = []
    changes: list[tuple[int, str, list[str]]] = []

    def close(label: str, stop: int) -> None:
        start, colour = began.pop(label, (stop, COLD))
        if start < stop:
            stretches.append((label, start, stop, colour))

    for told in events:
        event = _keyed(told)
        replayed.take(event)
        labels = [label for label in event["labels"] if label in place]
        colours.take(event, replayed.leaf_of)
        for label in labels:
            close(label, event["event"])
            leaf = replayed.leaf_of[label]
            began[label] = event["event"], COLD if leaf == COLD_ID else colours.of[leaf]
            moves[label] += 1
        if event["kind"] in ("split", "merge"):
            changes.append((event["event"], event["kind"], labels))
    for label in list(began):
        close(label, n_events)
    kept = sorted(moves, key=lambda label: (-moves[label], place[label]))[:MOST_ROWS]
    rows = {label: row for row, label in enumerate(sorted(kept, key=place.__getitem__))}
    return History(
        [names[label] for label in rows],
        _joined([Stretch(rows[label], *rest) for label, *rest in stretches if label in rows]),
        [
            Change(event, kind, _runs([rows[label] for label in labels if label in rows]))
            for event, kind, labels in changes
        ],
        n_events,
        len(names),
        len(moves),
    )


def _key(label: Any) -> str:
    """Tells 1 from True and from "1", which names may be."""
    return json.dumps(label)


def _keyed(event: Mapping[str, Any]) -> dict[str, Any]:
    found = {**event, "labels": [_key(label) for label in event["labels"]]}
    if "halves" in event:
        found["halves"] = [[_key(label) for label in half] for half in event["halves"]]
    return found


class _Colours:
    """A colour for every cluster: the larger half keeps that of the whole, and so does what is merged again; the other
    gets one that no cluster beside it has, as far as there are enough."""

    def __init__(self, order: Sequence[str]) -> None:
        self.of: dict[int, int] = {}
        self._order = order
        self._place = {label: row for row, label in enumerate(order)}

    def take(self, event: Mapping[str, Any], leaf_of: Mapping[Name, int]) -> None:
        if event["kind"] == "split":
            halves = sorted(zip(event["children"], event["halves"], strict=True), key=lambda half: -len(half[1]))
            self.of[halves[0][0]] = self.of[event["node"]]
            self.of[halves[1][0]] = self._free(halves[1][0], halves[1][1], leaf_of)
        elif event["kind"] == "join" and event["node"] not in self.of:
            self.of[event["node"]] = 0

    def _free(self, leaf: int, labels: Sequence[str], leaf_of: Mapping[Name, int]) -> int:
        rows = [leaf_of.get(label, COLD_ID) for label in self._order]
        beside: Counter[int | None] = Counter()
        for label in labels:
            for step in (-1, 1):
                row = self._place.get(label, -1)
                while 0 <= row < len(rows) and rows[row] in (leaf, COLD_ID):
                    row += step
                if 0 <= row < len(rows):
                    beside[self.of.get(rows[row])] += 1
        used = Counter(self.of.get(other) for other in set(rows))
        return min(range(len(COLOURS)), key=lambda colour: (beside[colour], used[colour], colour))


def _in_order(node: Mapping[str, Any]) -> list[Any]:
    """Labels of a tree as its leaves come, from top to bottom."""
    found, waiting = [], [node]
    while waiting:
        node = waiting.pop()
        waiting.extend(reversed(node["children"]))
        if not node["children"]:
            found.extend(node["labels"])
    return found


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """By row and time; what continues in the same colour is one stretch."""
    found: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda stretch: (stretch.row, stretch.start)):
        last = found[-1] if found else None
        if last and (last.row, last.stop, last.colour) == (stretch.row, stretch.start, stretch.colour):
            found[-1] = Stretch(last.row, last.start, stretch.stop, last.colour)
        else:
            found.append(stretch)
    return found


def _runs(rows: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for row in sorted(rows):
        if runs and row == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], row)
        else:
            runs.append((row, row))
    return runs


def figure(found: History) -> Figure:
    """The history as a matplotlib figure, to be saved in any format.

    Examples
    --------
    >>> events = [{"event": 100, "kind": "join", "node": 0, "labels": ["cat", "car"]}]
    >>> tree = {"id": 0, "labels": ["cat", "car"], "children": []}
    >>> drawn = figure(trace(events, tree, 500))
    >>> drawn.savefig("history.svg")  # doctest: +SKIP
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in found.names]
    left = 12 + _CHARACTER * max(map(len, names), default=0) if found.is_named else 12
    inside, height = found.row_height * len(names), found.row_height * len(names) + 34
    drawn = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    FigureCanvasSVG(drawn)
    axes = drawn.add_axes((left / WIDTH, 26 / height, 1 - (left + 24) / WIDTH, inside / height))
    axes.set_frame_on(False)
    axes.set_xlim(0, found.n_events)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_yticks(range(len(names)) if found.is_named else [], names if found.is_named else [])
    axes.tick_params(length=0, labelsize=11)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    for colour in range(COLD, len(COLOURS)):
        own = [stretch for stretch in found.stretches if stretch.colour == colour]
        if own:
            x = [place for stretch in own for place in (stretch.start, stretch.stop, math.nan)]
            y = [place for stretch in own for place in (stretch.row, stretch.row, math.nan)]
            axes.plot(
                x, y, color="0.75" if colour == COLD else COLOURS[colour], solid_capstyle="butt",
                linewidth=found.row_height * (0.2 if colour == COLD else 0.8),
                gid="cold" if colour == COLD else f"cluster s{colour}",
            )  # fmt: skip
    for kind in ("split", "merge"):
        lines = [(change.event, *run) for change in found.changes if change.kind == kind for run in change.runs]
        if lines:
            x = [place for event, _, _ in lines for place in (event, event, math.nan)]
            y = [place for _, top, bottom in lines for place in (top - 0.5, bottom + 0.5, math.nan)]
            axes.plot(x, y, color="0.1", linewidth=1, dashes=() if kind == "split" else (3, 2), gid=kind)
    return drawn


def drawing(found: History) -> Markup:
    """The history as SVG for the page."""
    from matplotlib import rc_context

    with rc_context({**SETTINGS, "path.simplify": False}):
        drawn = figure(found)
        file = io.StringIO()
        drawn.savefig(file, format="svg")
    count = Counter(change.kind for change in found.changes)
    said = f"Clusters of {len(found.names)} labels over {found.n_events:,} events"
    said = f"{said}: {count['split']} splits, {count['merge']} merges."
    return stripped(file.getvalue(), (WIDTH, drawn.get_figheight() * 72), said, _LAYERS)
