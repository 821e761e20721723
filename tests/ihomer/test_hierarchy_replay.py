"""The tree told by structural events alone equals the live one, and frozen and shuffled clusters."""

import copy
import json

import numpy as np
import pytest

from ihomer.hierarchy import LabelHierarchy
from ihomer.partition import shuffled
from ihomer.replay import Replay
from streams.batch import Rows
from tests.ihomer.test_hierarchy import REWIRED, block_stream, pair_and_other_stream, sparse_stream


def without_leaf_diameters(node):
    """What events can tell of a tree."""
    if node is None:
        return None
    children = [without_leaf_diameters(child) for child in node["children"]]
    return {**node, "children": children, "diameter": node["diameter"] if children else None}


def turbulent_stream(seed):
    """Labels that come late, drift, vanish and return."""
    parts = [
        Rows.empty(7),
        Rows.from_lists(sparse_stream(seed, 900, 18, 3.0, drift_at=450)),
        Rows.from_lists(block_stream(seed, 300)),
        Rows.from_lists(sparse_stream(seed + 1, 700, 30, 4.0)),
        Rows.empty(400),
        Rows.from_lists([[3], [29, 31]] * 30),
        Rows.from_lists(sparse_stream(seed + 2, 500, 30, 4.0)),
    ]
    return Rows.concat(parts)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["default", "paper"])
def test_a_replayed_tree_is_the_live_one_at_every_step(mode, seed):
    rows = turbulent_stream(seed)
    hierarchy = LabelHierarchy(mode, 40, half_life=60, tau=0.02, delta=0.3)
    steps = np.random.default_rng(seed).integers(1, 30, len(rows))
    live, at = {}, 0
    for step in steps:
        live[at] = copy.deepcopy(hierarchy.tree())
        hierarchy.update_many(rows[at : at + step])
        at = min(at + int(step), len(rows))
        if at == len(rows):
            break
    live[at] = hierarchy.tree()
    told = json.loads(json.dumps(hierarchy.events))
    kinds = {event["kind"] for event in told}
    assert kinds == ({"join", "move", "split", "merge", "cool"} if mode == "default" else {"join", "split"})
    assert len(live) > 150
    for until, tree in live.items():
        found = LabelHierarchy.replay(told, until, hierarchy.births)
        assert found == without_leaf_diameters(tree)


def test_merges_of_the_published_rules_are_replayed():
    hierarchy = LabelHierarchy("paper", 50, delta=0.3)
    for i, labels in enumerate(pair_and_other_stream(0, 600)):
        hierarchy.update(labels)
        if i % 10 == 9:
            assert LabelHierarchy.replay(hierarchy.events, i + 1) == without_leaf_diameters(hierarchy.tree())
    assert "merge" in {event["kind"] for event in hierarchy.events}


def test_without_births_only_labels_that_were_in_no_cluster_are_missing():
    hierarchy = LabelHierarchy()
    hierarchy.update_many(Rows.from_lists([[0, 1], [2, 3]] * 300 + [[7]]))
    assert hierarchy.births == {0: 1, 1: 1, 2: 2, 3: 2, 7: 601}
    assert LabelHierarchy.replay(hierarchy.events, 601)["labels"] == [0, 1, 2, 3]
    assert LabelHierarchy.replay(hierarchy.events, 601, hierarchy.births)["labels"] == [0, 1, 2, 3, 7]
    assert LabelHierarchy.replay(hierarchy.events, 50) is None
    assert LabelHierarchy.replay(hierarchy.events, 1, hierarchy.births)["labels"] == [0, 1]
    assert LabelHierarchy.replay([]) is None


def test_renumbered_labels_and_names_are_replayed_too():
    hierarchy = LabelHierarchy()
    hierarchy.update_many(Rows.from_lists([[0, 1], [2, 3]] * 300))
    other = hierarchy.renumbered(np.array([5, 0, 2, 3], np.int32))
    assert other.births == {5: 1, 0: 1, 2: 2, 3: 2}
    halves = [child["labels"] for child in LabelHierarchy.replay(other.events)["children"]]
    assert halves == [child["labels"] for child in other.tree()["children"]] == [[0, 5], [2, 3]]
    names = ["dog", "cat", "car", "road"]
    events = [
        {**e, "labels": [names[i] for i in e["labels"]]}
        | ({"halves": [[names[i] for i in half] for half in e["halves"]]} if "halves" in e else {})
        for e in hierarchy.events
    ]
    tree = LabelHierarchy.replay(events)
    assert [child["labels"] for child in tree["children"]] == [["cat", "dog"], ["car", "road"]]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of join, move, cool, split, merge, got 'born'"):
        Replay().take({"event": 1, "kind": "born", "node": 0, "labels": []})


@pytest.mark.parametrize("mode", ["default", "paper"])
def test_a_frozen_hierarchy_keeps_its_clusters(mode):
    rows = Rows.from_lists(block_stream(3, 700, absent=0.1) + block_stream(4, 700, REWIRED))
    free, frozen = (LabelHierarchy(mode, 50, half_life=100, frozen_after=n) for n in (None, 620))
    for hierarchy in (free, frozen):
        hierarchy.update_many(rows)
    assert frozen.events == [event for event in free.events if event["event"] <= 620]
    assert mode == "paper" or frozen.clusters != free.clusters
    assert frozen.until_test > 10**9
    assert LabelHierarchy(frozen_after=0).until_test > 10**9
    frozen.update([0, 21])
    assert 21 in frozen.clusters[-1] or mode == "paper"


def test_shuffled_clusters_have_the_same_sizes_and_depend_on_seed_and_change():
    clusters = [[0, 3, 8], [1], [2, 4, 5, 6], [7, 9]]
    found = shuffled(clusters, seed=1, change=5)
    assert [len(cluster) for cluster in found] == [3, 1, 4, 2]
    assert sorted(label for cluster in found for label in cluster) == list(range(10))
    assert all(cluster == sorted(cluster) for cluster in found)
    assert found == shuffled(clusters, seed=1, change=5)
    assert found != shuffled(clusters, seed=1, change=6)
    assert found != shuffled(clusters, seed=2, change=5)
    assert shuffled([], seed=1, change=0) == []
