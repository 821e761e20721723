"""The label hierarchy: counts, structural tests, invariants."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.hierarchy import LabelHierarchy
from ihomer.partition import Similarities, distances
from ihomer.published_rules import published_halves, unite_small
from streams.batch import Rows
from tests.naive.ihomer_hierarchy import NaiveHierarchy

BLOCKS = ([0, 1, 2, 3], [4, 5, 6, 7])
REWIRED = ([0, 1, 4, 5], [2, 3, 6, 7])


def block_stream(seed, n, blocks=BLOCKS, absent=0.2):
    """Label sets that take each block or not, and each label of a taken block or not."""
    rng = np.random.default_rng(seed)
    events = []
    for _ in range(n):
        taken = [block for block in blocks if rng.random() < 0.5]
        events.append([label for block in taken for label in block if rng.random() > absent])
    return events


def sparse_stream(seed, n, n_labels, cardinality=2.0, drift_at=None):
    """Label sets of skewed labels around a few themes; the labels are renumbered at ``drift_at``."""
    rng = np.random.default_rng(seed)
    theme = rng.integers(0, max(1, n_labels // 4), n_labels)
    weight = 1 / (1 + np.arange(n_labels))
    events = []
    for t in range(n):
        if t == drift_at:
            theme = rng.permutation(theme)
        size = min(rng.poisson(cardinality), n_labels)
        inside = theme == theme[rng.choice(n_labels, p=weight / weight.sum())]
        p = weight * np.where(inside, 8.0, 1.0)
        events.append(sorted(rng.choice(n_labels, size, replace=False, p=p / p.sum()).tolist()))
    return events


def check_partition(hierarchy, born):
    clusters = hierarchy.clusters
    flat = [label for cluster in clusters for label in cluster]
    assert all(clusters)
    assert len(flat) == len(set(flat))
    assert set(flat) == born


def replay(hierarchy_events, births):
    """The leaves (id to labels) that the recorded events lead to; -1 is the cold bucket."""
    leaves = {-1: set()}
    happened = [(event, 0, {"kind": "born", "labels": labels}) for event, labels in births]
    happened += [(e["event"], 1, e) for e in hierarchy_events]
    inside = {}
    for _, _, e in sorted(happened, key=lambda item: item[:2]):
        labels = set(e["labels"])
        if e["kind"] == "born":
            leaves[-1] |= labels
        elif e["kind"] == "join":
            leaves[-1] -= labels
            leaves.setdefault(e["node"], set()).update(labels)
        elif e["kind"] == "move":
            leaves = {node: found - labels for node, found in leaves.items()}
            leaves[e["node"]] |= labels
        elif e["kind"] == "cool":
            leaves[e["node"]] -= labels
            leaves[-1] |= labels
        elif e["kind"] == "split":
            assert leaves.pop(e["node"]) == labels
            inside[e["node"]] = e["children"]
            for child, half in zip(e["children"], e["halves"], strict=True):
                leaves[child] = set(half)
        else:
            for child in [i for i, found in leaves.items() if i != -1 and found <= labels]:
                del leaves[child]
            leaves[e["node"]] = labels
    return sorted(sorted(labels) for labels in leaves.values() if labels)


def pair_and_other_stream(seed, n):
    """Labels 0 and 1 nearly always together beside an independent label 2, then never together."""
    rng = np.random.default_rng(seed)
    first = [[*([0, 1] if rng.random() < 0.6 else []), *([2] if rng.random() < 0.6 else [])] for _ in range(n)]
    return first + [[int(rng.random() < 0.5), *([2] if rng.random() < 0.6 else [])] for _ in range(n)]


@pytest.mark.parametrize("mode", ["default", "paper"])
@pytest.mark.parametrize(
    ("stream", "n_labels", "kinds"),
    [
        (pair_and_other_stream(0, 600), 3, {"default": set(), "paper": {"split", "merge"}}),
        (sparse_stream(1, 1000, 12, 3.0, 500) + block_stream(1, 600, absent=0.1), 12, {"default": {"split", "move"}}),
        (block_stream(1, 600, absent=0.1) + block_stream(2, 900, REWIRED), 8, {"default": {"split", "merge"}}),
        (sparse_stream(2, 1200, 30, 4.0, 500), 30, {"default": {"split"}, "paper": {"split"}}),
    ],
)
def test_it_equals_the_dense_twin(mode, stream, n_labels, kinds):
    settings = {"n_min": 50, "delta": 0.3, "half_life": 200, "support": 4.0, "max_size": 10}
    ours, twin = LabelHierarchy(mode, **settings), NaiveHierarchy(n_labels, mode, **settings)
    for event in stream:
        ours.update(event)
        twin.update(event)
        if ours.n_events % 50 == 0 and mode == "default":
            assert ours.clusters == twin.clusters()
    changes = [e for e in ours.events if e["kind"] in ("split", "merge")]
    assert {e["kind"] for e in ours.events} >= kinds.get(mode, set())
    assert len(changes) == len(twin.splits_and_merges)
    for mine, (kind, event, labels, four) in zip(changes, twin.splits_and_merges, strict=True):
        assert (mine["kind"], mine["event"]) == (kind, event)
        assert (mine["halves"][0] if kind == "split" else mine["labels"]) == labels
        assert [mine[name] for name in ("d0", "d1", "d2", "mean")] == pytest.approx(four, abs=1e-12)
    leaves = [] if twin.root is None else [sorted(leaf.labels) for leaf in twin.root.leaves()]
    assert [labels.tolist() for labels in ours._tree.members().values()] == leaves


def test_the_published_five_label_case():
    """Figure 2 of the paper as distances: one label is peeled off."""
    far = {(0, 1): 0.67, (0, 2): 0.75, (0, 3): 0.25, (0, 4): 0.50, (1, 2): 0.80}
    far |= {(1, 3): 0.67, (1, 4): 0.75, (2, 3): 0.80, (2, 4): 0.80, (3, 4): 0.75}
    rows = [[(b if a == i else a, 1 - d) for (a, b), d in far.items() if i in (a, b)] for i in range(5)]
    start = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    column = np.array([j for row in rows for j, _ in row], np.int32)
    jaccard = np.array([s for row in rows for _, s in row])
    similarities = Similarities(start[:-1], start[1:], column, jaccard, np.full(5, 100.0), np.full(5, -1))
    found = distances(np.arange(5), similarities)
    assert found[:4] == pytest.approx((0.25, 0.80, 0.80, 0.674))
    assert found.pivots == (1, 2)
    left = (found.d1 - found.d0) * abs(found.d1 + found.d0 - 2 * found.mean)
    assert left == pytest.approx(0.1639, abs=1e-4)
    halves = published_halves(np.arange(5), found, 0.1638, 0.2, similarities)
    assert [half.tolist() for half in halves] == [[0, 1, 3, 4], [2]]
    assert published_halves(np.arange(5), found, 0.1640, 0.2, similarities) is None
    assert published_halves(np.arange(5), found, 0.05, 0.01, similarities) is None, "d1 = d2 and no tie-break"


@pytest.mark.parametrize("seed", range(6))
def test_independent_blocks_split_and_a_rewiring_is_followed_within_1600_events(seed):
    """Half-lives of 1,000 events, so that new pairs outweigh the old ones after as many; the rest is evidence."""
    hierarchy = LabelHierarchy()
    hierarchy.update_many(Rows.from_lists(block_stream(seed, 3000)))
    assert hierarchy.clusters == [list(block) for block in BLOCKS]
    before = len(hierarchy.events)
    hierarchy.update_many(Rows.from_lists(block_stream(seed + 50, 1600, REWIRED)))
    assert [child["labels"] for child in hierarchy.tree()["children"]] == [list(block) for block in REWIRED]
    assert "better" in [e.get("reason") for e in hierarchy.events[before:]]
    # Within the new blocks the pairs that were together before are still closer; that fades.
    hierarchy.update_many(Rows.from_lists(block_stream(seed + 70, 2400, REWIRED)))
    assert hierarchy.clusters == [list(block) for block in REWIRED]


@pytest.mark.parametrize("seed", [0, 4])
def test_blocks_that_noise_has_torn_apart_are_mended_by_moves(seed):
    """The first splits are forced, on the evidence of a hundred events with three hundred labels."""
    rng = np.random.default_rng(seed)
    rows = [[*event, *rng.integers(8, 300, 3)] for event in block_stream(seed, 3000)]
    hierarchy = LabelHierarchy()
    hierarchy.update_many(Rows.from_lists(rows))
    found = [[label for label in cluster if label < 8] for cluster in hierarchy.clusters]
    assert sorted(filter(None, found)) == [list(block) for block in BLOCKS]
    assert "move" in {e["kind"] for e in hierarchy.events}


@pytest.mark.parametrize("seed", range(5))
def test_a_stationary_stream_does_not_flicker(seed):
    hierarchy = LabelHierarchy()
    hierarchy.update_many(Rows.from_lists(block_stream(seed, 20_000)))
    assert [e["kind"] for e in hierarchy.events] == ["join", "split"]


def test_structure_that_vanishes_is_given_up():
    hierarchy = LabelHierarchy(half_life=500)
    hierarchy.update_many(Rows.from_lists(block_stream(1, 2000)))
    assert len(hierarchy.clusters) == 2
    rng = np.random.default_rng(5)
    hierarchy.update_many(Rows.from_dense(rng.random((8000, 8)) < 0.02))
    hierarchy.update_many(Rows.from_dense(np.ones((3000, 8))))
    assert hierarchy.clusters == [list(range(8))]
    assert hierarchy.events[-1]["reason"] == "vanished"


@pytest.mark.parametrize("mode", ["default", "paper"])
@given(
    events=st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=60),
    n_min=st.integers(1, 7),
    half_life=st.sampled_from([None, 1.0, 5.0]),
    max_size=st.integers(2, 6),
)
@settings(max_examples=60, deadline=None)
def test_clusters_are_a_partition_after_every_event(mode, events, n_min, half_life, max_size):
    hierarchy = LabelHierarchy(mode, n_min, half_life=half_life, support=2.0, min_size=1, max_size=max_size, tau=0.0)
    births, born = [], set()
    for i, event in enumerate(events):
        hierarchy.update(event)
        if set(event) - born:
            births.append((i + 1, set(event) - born))
        born |= set(event)
        check_partition(hierarchy, born)
        assert json.loads(json.dumps(hierarchy.tree())) == hierarchy.tree()
        if mode == "default" and (i + 1) % n_min == 0:
            assert max(map(len, hierarchy._tree.members().values()), default=0) <= max_size
    if mode == "default":
        assert replay(hierarchy.events, births) == sorted(hierarchy.clusters)
    else:
        leaves = sorted(labels.tolist() for labels in hierarchy._tree.members().values())
        assert replay(hierarchy.events, []) == leaves


@pytest.mark.parametrize("mode", ["default", "paper"])
def test_one_batch_equals_many_and_a_saved_one_goes_on(mode):
    rows = Rows.from_lists(sparse_stream(7, 1200, 25, cardinality=4, drift_at=600))
    whole = LabelHierarchy(mode, 70, half_life=150)
    whole.update_many(rows)
    assert {e["kind"] for e in whole.events} >= {"join", "split"}
    cut = LabelHierarchy(mode, 70, half_life=150)
    at = [0, 1, 2, 69, 71, 500, 777, 1200]
    for start, stop in itertools.pairwise(at):
        cut.update_many(rows[start:stop])
        again = LabelHierarchy(mode, 70, half_life=150)
        again.set_state(cut.get_state())
        assert again.nbytes == cut.nbytes
        cut = again
    expected, found = whole.get_state(), cut.get_state()
    assert expected.keys() == found.keys()
    assert all(expected[name].tobytes() == found[name].tobytes() for name in expected)
    assert whole.tree() == cut.tree()


def test_tiny_label_spaces():
    for mode in ("default", "paper"):
        hierarchy = LabelHierarchy(mode, 10)
        assert (hierarchy.clusters, hierarchy.tree(), hierarchy.to_text()) == ([], None, "")
        hierarchy.update_many(Rows.empty(50))
        assert hierarchy.clusters == []
        for _ in range(50):
            hierarchy.update([0])
        assert hierarchy.clusters == [[0]]
        assert hierarchy.tree()["diameter"] is None
        for _ in range(50):
            hierarchy.update([1])
        assert hierarchy.clusters == [[0, 1]]
        assert hierarchy.tree()["diameter"] == 1.0


@pytest.mark.parametrize("mode", ["default", "paper"])
def test_events_with_one_label_make_no_pairs_and_still_a_partition(mode):
    hierarchy = LabelHierarchy(mode, 50)
    hierarchy.update_many(Rows.from_lists([[i % 13] for i in range(2000)]))
    assert hierarchy.counts.n_pairs == 0
    check_partition(hierarchy, set(range(13)))
    assert hierarchy.tree()["diameter"] == 1.0
    if mode == "default":
        assert max(map(len, hierarchy.clusters)) <= 8
        assert {e.get("reason") for e in hierarchy.events} == {None, "size"}


@pytest.mark.parametrize("mode", ["default", "paper"])
def test_numbers_never_seen_have_no_place(mode):
    hierarchy = LabelHierarchy(mode, 20)
    hierarchy.update_many(Rows.from_lists([[5, 9], [70]] * 100))
    assert sorted(label for cluster in hierarchy.clusters for label in cluster) == [5, 9, 70]
    assert hierarchy.tree()["labels"] == [5, 9, 70]
    assert np.isnan(hierarchy.jaccard(0, 1))
    assert hierarchy.jaccard(5, 9) == 1.0
    assert list(hierarchy.births) == [5, 9, 70]


@pytest.mark.parametrize("mode", ["default", "paper"])
def test_a_stream_without_labels_changes_nothing_but_the_clock(mode):
    silent, spoken = LabelHierarchy(mode, 50), LabelHierarchy(mode, 50)
    silent.update_many(Rows.empty(1234))
    assert (silent.n_events, silent.clusters, silent.tree(), silent.events) == (1234, [], None, [])
    # Where it begins to speak does not matter, but for the numbers of the events and when the tests come.
    silent.update_many(Rows.from_lists([[0, 1], [2, 3]] * 300))
    spoken.update_many(Rows.empty(34))
    spoken.update_many(Rows.from_lists([[0, 1], [2, 3]] * 300))
    assert silent.clusters == spoken.clusters
    assert [e["event"] - 1200 for e in silent.events] == [e["event"] for e in spoken.events]


@pytest.mark.parametrize("mode", ["default", "paper"])
def test_until_test_counts_down_and_nothing_moves_in_between(mode):
    rows = Rows.from_lists(block_stream(4, 700, absent=0.1) + block_stream(5, 700, REWIRED))
    hierarchy = LabelHierarchy(mode, 70, half_life=100)
    n_changes = 0
    for i in range(len(rows)):
        before, told, waiting = hierarchy._tree.leaf.copy(), len(hierarchy.events), hierarchy.until_test
        hierarchy.update_many(rows[i : i + 1])
        assert waiting == 70 - i % 70
        moved = (before >= 0) & (before != hierarchy._tree.leaf[: len(before)])
        assert waiting == 1 or not moved.any()
        assert waiting == 1 or {e["kind"] for e in hierarchy.events[told:]} <= {"join"}
        n_changes += int(moved.any())
    assert n_changes > 1


def test_a_late_label_joins_what_it_goes_with_leaves_when_it_is_gone_and_comes_back():
    hierarchy = LabelHierarchy(half_life=100, n_min=50)
    hierarchy.update_many(Rows.from_lists([[0, 1], [2, 3]] * 300))
    assert hierarchy.clusters == [[0, 1], [2, 3]]
    hierarchy.update_many(Rows.from_lists([[2, 3, 4], [0, 1]]))
    assert hierarchy.clusters == [[0, 1], [2, 3], [4]], "in the cold bucket, which is last"
    assert hierarchy.to_text().splitlines()[-1] == "└── 4 (cold)"
    hierarchy.update_many(Rows.from_lists([[2, 3, 4], [0, 1]] * 50))
    assert hierarchy.clusters == [[0, 1], [2, 3, 4]]
    hierarchy.update_many(Rows.from_lists([[2, 3], [0, 1]] * 500))
    assert hierarchy.clusters == [[0, 1], [2, 3], [4]]
    assert (hierarchy.events[-1]["kind"], hierarchy.events[-1]["labels"]) == ("cool", [4])
    hierarchy.update_many(Rows.from_lists([[2, 3], [0, 1, 4]] * 100))
    assert hierarchy.clusters == [[0, 1, 4], [2, 3]]
    hierarchy.update_many(Rows.from_lists([[0, 1, 4]] * 1000))
    assert hierarchy.clusters == [[0, 1, 4], [2, 3]], "the empty leaf is gone, its labels are in the cold bucket"
    hierarchy.update_many(Rows.empty(3000))
    assert hierarchy.clusters == [[0, 1, 2, 3, 4]]
    assert hierarchy.tree()["id"] == -1


def test_clusters_keep_to_the_largest_size():
    hierarchy = LabelHierarchy(max_size=5)
    hierarchy.update_many(Rows.from_lists(sparse_stream(2, 3000, 60, cardinality=4)))
    sizes = [len(labels) for labels in hierarchy._tree.members().values()]
    assert sum(sizes) > 40
    assert max(sizes) <= 5
    assert min(sizes) >= 1
    assert any(e.get("reason") == "size" for e in hierarchy.events)


def test_tests_become_rarer_with_many_pairs():
    hierarchy = LabelHierarchy(n_min=10)
    hierarchy.update_many(Rows.from_lists([range(100)] * 10))
    assert hierarchy.counts.n_pairs == 4950
    assert hierarchy.until_test == 4950 // 256


def test_a_bounded_table_finds_the_blocks_among_noise_in_a_fraction_of_the_memory():
    rng = np.random.default_rng(8)
    rows = [[*event, *rng.integers(8, 300, 3)] for event in block_stream(8, 3000)]
    free, bounded = LabelHierarchy(), LabelHierarchy(memory_budget=1 << 14)
    for hierarchy in (free, bounded):
        hierarchy.update_many(Rows.from_lists(rows))
        found = [[label for label in cluster if label < 8] for cluster in hierarchy.clusters]
        assert sorted(filter(None, found)) == [list(block) for block in BLOCKS]
    assert bounded.counts.n_evicted > 1000
    assert bounded.nbytes < (1 << 14) + 64 * 300 + 120 * len(bounded._tree.nodes) < free.nbytes / 5
    assert bounded.jaccard(0, 1) == pytest.approx(free.jaccard(0, 1), abs=0.01)


def test_uniting_small_leaves_loses_none():
    assert unite_small([], 3) == []
    assert unite_small([([0, 1, 2], 0, -1)], 2) == [[0, 1, 2]]
    peeled = [([3], 1, 0), ([4], 2, 1), ([0], 3, 2), ([1, 2, 5, 6], 3, 2)]
    assert unite_small(peeled, 1) == [[0], [1, 2, 5, 6], [3], [4]]
    assert unite_small(peeled, 2) == [[0, 1, 2, 3, 4, 5, 6]], "one group of the level exists and takes all"
    assert unite_small([([0], 2, 1), ([1], 2, 1), ([2], 2, 3), ([3, 4, 5], 2, 3)], 2) == [[0, 1], [2, 3, 4, 5]]


def test_names_in_the_tree():
    hierarchy = LabelHierarchy()
    hierarchy.update_many(Rows.from_lists([[0, 1], [2, 3]] * 300))
    tree = hierarchy.tree(["a", "b", "c", "d"])
    assert tree["labels"] == ["a", "b", "c", "d"]
    assert [child["labels"] for child in tree["children"]] == [["a", "b"], ["c", "d"]]
    assert tree["n_events"] == 600 - hierarchy.events[-1]["event"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "ours"}, "mode must be 'default' or 'paper', got 'ours'"),
        ({"n_min": 0}, "n_min must be at least 1, got 0"),
        ({"delta": 0.5}, r"delta must be in \(0, 0.5\), got 0.5"),
        ({"tau": 1.0}, r"tau must be in \[0, 1\), got 1.0"),
        ({"support": 0}, "support must be positive, got 0"),
        ({"min_size": 9}, "min_size must be from 1 to half of max_size = 8, got 9"),
        ({"half_life": 0.5}, "half_life must be None or at least 1 event, got 0.5"),
        ({"frozen_after": -1}, "frozen_after must be None or at least 0, got -1"),
        ({"memory_budget": 100}, "memory_budget must be None or at least 8192 bytes, got 100"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        LabelHierarchy(**settings)


def grouped_sets(seed, n, names):
    """Label sets of which the first half of the labels and the second half keep to themselves."""
    rng = np.random.default_rng(seed)
    half = len(names) // 2
    sets = [rng.choice(half, 3, replace=False) + half * int(rng.integers(2)) for _ in range(n)]
    return Rows.from_lists([sorted(int(names[label]) for label in labels) for labels in sets])


@pytest.mark.parametrize("half_life", [None, 1000.0])
def test_merged_hierarchies_know_all_events_and_cluster_by_them(half_life):
    to = np.random.default_rng(1).permutation(10).astype(np.int32)
    back = np.argsort(to)
    first, second, whole = (LabelHierarchy(half_life=half_life, max_size=10) for _ in range(3))
    earlier, later = grouped_sets(0, 60, range(10)), grouped_sets(1, 400, range(10))
    for hierarchy, rows in (
        (first, earlier),
        (second, later.renumbered(back.astype(np.int32))),
        (whole, earlier),
        (whole, later),
    ):
        hierarchy.update_many(rows)
    first.merge(second, to)
    assert first.n_events == whole.n_events
    for a in range(10):
        for b in range(10):
            assert first.jaccard(a, b) == pytest.approx(whole.jaccard(a, b), rel=1e-9)
    first.update_many(grouped_sets(2, first.until_test, range(10)))
    assert sorted(map(sorted, first.clusters)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_a_merged_hierarchy_has_the_labels_that_are_new_to_it():
    first, second = LabelHierarchy(half_life=None), LabelHierarchy(half_life=None)
    first.update_many(Rows.from_lists([[0, 1]] * 4))
    second.update_many(Rows.from_lists([[0, 1]] * 7 + [[2]]))
    first.merge(second, np.array([1, 3, 4], np.int32))
    assert first.births == {0: 1, 1: 1, 3: 5, 4: 12}
    assert sorted(label for cluster in first.clusters for label in cluster) == [0, 1, 3, 4]
    again = LabelHierarchy(half_life=None)
    again.set_state(first.get_state())
    more = Rows.from_lists([[0, 3], [1, 4]] * 100)
    for hierarchy in (first, again):
        hierarchy.update_many(more)
    assert first.clusters == again.clusters


def test_hierarchies_that_cannot_be_merged():
    none = np.zeros(0, np.int32)
    with pytest.raises(ValueError, match="mode must be 'default' to merge, got 'paper'"):
        LabelHierarchy().merge(LabelHierarchy("paper"), none)
    with pytest.raises(ValueError, match=r"half_life must be 1000\.0 to merge, got None"):
        LabelHierarchy().merge(LabelHierarchy(half_life=None), none)
