"""Label clusters over the stream: what is traced, and what is drawn of it."""

import re

import numpy as np
import pytest

from ihomer.evaluation.result import Result, Run
from ihomer.hierarchy import LabelHierarchy
from ihomer.replay import COLD_ID, Replay
from ihomer.report.history import COLD, COLOURS, MOST_NAMES, MOST_ROWS, drawing, figure, of_run, trace
from ihomer.report.page import page
from streams.batch import Rows
from tests.ihomer.test_hierarchy import REWIRED, block_stream, sparse_stream


def told(rows, names=None, **settings):
    """Structural events and the tree at the end, with names."""
    hierarchy = LabelHierarchy(**settings)
    hierarchy.update_many(rows)
    names = names or [f"label {i}" for i in range(hierarchy.counts.n_labels)]
    return hierarchy.named_events(names), hierarchy.tree(names), names


def rewired():
    return Rows.from_lists(block_stream(1, 1500) + block_stream(2, 2500, REWIRED))


def run_of(rows, **settings):
    events, tree, _ = told(rows, **settings)
    return Run(
        {"name": "toy"}, {"name": "ihomer"}, {"micro_f1": 0.5},
        counts={"learned": len(rows)}, restructures=events, hierarchy=tree,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (rewired(), {}),
        (Rows.from_lists(sparse_stream(3, 1500, 40, 3.0, 700)), {"half_life": 100.0}),
        (Rows.from_lists(sparse_stream(4, 900, 30, 3.0)), {"mode": "paper", "delta": 0.3}),
    ],
)
def test_stretches_are_the_clusters_at_every_moment(rows, settings):
    events, tree, _ = told(rows, **settings)
    found = trace(events, tree, len(rows))
    assert found.n_events == len(rows)
    replayed = Replay()
    for i, event in enumerate(events):
        replayed.take(event)
        if i + 1 < len(events) and events[i + 1]["event"] == event["event"]:
            continue
        moment = event["event"] + 0.5
        if moment > len(rows):
            break
        colour = {found.names[s.row]: s.colour for s in found.stretches if s.start < moment < s.stop}
        assert set(colour) == set(replayed.leaf_of)
        assert {label for label, leaf in replayed.leaf_of.items() if leaf == COLD_ID} == {
            label for label, number in colour.items() if number == COLD
        }
        clusters = {}
        for label, leaf in replayed.leaf_of.items():
            clusters.setdefault(leaf, set()).add(colour[label])
        assert all(len(colours) == 1 for colours in clusters.values())
    ends = {}
    for stretch in found.stretches:
        assert stretch.start < stretch.stop
        assert stretch.start >= ends.get(stretch.row, 0)
        ends[stretch.row] = stretch.stop
    assert set(ends.values()) == {len(rows)}


def test_clusters_side_by_side_have_different_colours():
    events, tree, names = told(rewired())
    found = trace(events, tree, 4000)
    assert sorted(found.names) == names
    assert found.names == [label for leaf in leaves(tree) for label in leaf]
    last = {stretch.row: stretch.colour for stretch in found.stretches}
    for (first, second), changes in zip(
        zip(found.names, found.names[1:], strict=False), np.diff([last[row] for row in range(8)]) != 0, strict=True
    ):
        together = any({first, second} <= set(leaf) for leaf in leaves(tree))
        assert changes != together
    assert {change.kind for change in found.changes} == {"split", "merge"}
    whole = next(change for change in found.changes if change.kind == "merge" and len(change.runs) == 1)
    assert whole.runs == [(0, 7)]


def leaves(node):
    return [leaf for child in node["children"] for leaf in leaves(child)] if node["children"] else [node["labels"]]


def test_many_labels_lose_their_names_and_then_the_stillest_rows():
    rows = Rows.from_lists([[i % 400, (i + 1) % 400] for i in range(8000)])
    events, tree, _ = told(rows, support=1.0, half_life=None)
    found = trace(events, tree, len(rows))
    assert (found.n_labels, len(found.names)) == (400, MOST_ROWS)
    assert found.n_clustered >= MOST_ROWS > MOST_NAMES
    assert not found.is_named
    drawn = drawing(found)
    assert not re.search(r">label \d", drawn)
    assert len(drawn) < 60_000
    few = trace(*told(rewired())[:2], 4000)
    assert few.is_named
    assert len(re.findall(r">label \d<", drawing(few))) == 8


def test_labels_that_were_never_in_a_cluster_have_no_row():
    events, tree, _ = told(Rows.from_lists([[0, 1], [2, 3]] * 300 + [[4]]))
    found = trace(events, tree, 601)
    assert (len(found.names), found.n_clustered, found.n_labels) == (4, 4, 5)


def test_the_drawing_is_lines_with_classes_and_says_what_it_shows():
    found = trace(*told(rewired())[:2], 4000)
    drawn = drawing(found)
    assert "style" not in drawn
    kinds = set(re.findall(r'<path class="(\w+)', drawn))
    assert kinds == {"cluster", "split", "merge"}
    counts = [sum(change.kind == kind for change in found.changes) for kind in ("split", "merge")]
    assert f"Clusters of 8 labels over 4,000 events: {counts[0]} splits, {counts[1]} merges." in drawn
    saved = figure(found)
    assert {line.get_color() for line in saved.axes[0].lines} <= {*COLOURS, "0.1"}


def test_names_of_unlike_types_and_with_mathematics_stay_apart():
    names = [1, True, "1", "a$b$ <c>"]
    events, tree, _ = told(Rows.from_lists([[0, 1], [2, 3]] * 300), names)
    found = trace(events, tree, 600)
    assert found.names == ["1", "True", "1", "a$b$ <c>"]
    assert "a$b$ &lt;c&gt;" in drawing(found)


def test_the_page_shows_the_clusters_over_the_stream():
    html = page(Result([run_of(rewired())]))
    assert "Label clusters of ihomer over the stream" in html
    assert 'class="scroll history" style="--row:14px"' in html
    run = run_of(rewired())
    run.restructures = [{"event": 5, "kind": "split"}, {"event": 7, "kind": "drift", "node": 1}]
    assert of_run(run) is None
    assert "Label clusters of" not in page(Result([run]))
    assert of_run(Run({"name": "toy"}, {"name": "linear"}, {})) is None
