"""The table of label pairs: exact, decaying, bounded."""

import numpy as np
import pytest

from ihomer.cooccurrence import CooccurrenceStore
from ihomer.partition import Similarities, distances
from streams.batch import Rows
from tests.naive.ihomer_hierarchy import DenseCounts
from tests.naive.ihomer_hierarchy import distances as naive_distances


def random_sets(seed, n, n_labels, p):
    return np.random.default_rng(seed).random((n, n_labels)) < p


def test_jaccard_is_that_of_the_batch_on_every_prefix():
    dense = random_sets(0, 300, 40, 0.08)
    dense[:, 39] = False
    store = CooccurrenceStore()
    for n in (0, 1, 2, 17, 100, 300):
        store.update_many(Rows.from_dense(dense[store.events : n]))
        seen = dense[:n].astype(np.int64)
        joint = seen.T @ seen
        for a in range(39):
            for b in range(39):
                either = joint[a, a] + joint[b, b] - joint[a, b]
                assert store.joint(a, b) == joint[a, b]
                assert store.jaccard(a, b) == (joint[a, b] / either if either else pytest.approx(np.nan, nan_ok=True))
    assert np.isnan(store.jaccard(39, 39))
    assert store.n_pairs == np.count_nonzero(np.triu(joint, 1))


@pytest.mark.parametrize("half_life", [None, 3.0, 40.0])
def test_it_equals_dense_counters(half_life):
    dense = random_sets(1, 700, 12, 0.3)
    store, twin = CooccurrenceStore(half_life=half_life), DenseCounts(12, half_life)
    for row in dense:
        twin.add(np.flatnonzero(row))
    store.update_many(Rows.from_dense(dense))
    # The store's latest event has already aged by one.
    counts = twin.cells * twin.decay
    assert [[store.joint(a, b) for b in range(12)] for a in range(12)] == pytest.approx(counts, rel=1e-9)
    similarities = Similarities.of(store)
    for labels in (range(12), range(3), [2, 5], [4]):
        found = distances(np.array(labels), similarities)
        expected = naive_distances(list(labels), twin.jaccard)
        if expected is None:
            assert found is None
            continue
        ends = (*expected[:2], np.nan if expected[2] is None else expected[2], expected[3])
        assert found[:4] == pytest.approx(ends, abs=1e-12, nan_ok=True)
    assert (similarities.rank == -1).all()


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_distances_with_pairs_never_seen(p):
    for seed in range(8):
        dense = random_sets(seed, 30, 9, p)
        dense[0] = True
        dense[0, 7:] = False
        store, twin = CooccurrenceStore(), DenseCounts(9)
        store.update_many(Rows.from_dense(dense[seed % 2 :]))
        store.grow(9)
        for row in dense[seed % 2 :]:
            twin.add(np.flatnonzero(row))
        found = distances(np.arange(9), Similarities.of(store))
        expected = naive_distances(list(range(9)), twin.jaccard)
        assert found[:4] == pytest.approx(expected[:4], abs=1e-12)
        assert found.pivots == expected[4]


def test_neighbours_of_well_supported_labels_alone():
    store = CooccurrenceStore(half_life=30.0)
    store.update_many(Rows.from_dense(random_sets(4, 200, 20, 0.15) & (np.arange(20) % 3 > 0)))
    least = float(np.median(store.occurrence))
    start, column, jaccard = store.neighbours(least)
    found = {(a, b): jaccard[i] for a in range(20) for i in range(start[a], start[a + 1]) for b in [int(column[i])]}
    strong = np.flatnonzero(store.occurrence >= least).tolist()
    expected = {(a, b): store.jaccard(a, b) for a in strong for b in strong if a != b and store.joint(a, b) > 0}
    assert 0 < len(strong) < 14
    assert found == pytest.approx(expected)


def test_only_pairs_of_a_group_are_counted_and_counts_are_forgotten():
    store = CooccurrenceStore()
    store.update_many(Rows.from_lists([[0, 1, 2, 3]]), np.array([0, 0, 1, 1], np.int32))
    assert [store.joint(0, 1), store.joint(2, 3), store.joint(1, 2)] == [1, 1, 0]
    store.forget(np.array([0, 1]))
    assert [store.joint(0, 1), store.joint(2, 3), store.joint(0, 0)] == [0, 1, 0]
    assert store.n_pairs == 1


def test_a_full_table_lets_the_least_similar_pairs_go_and_says_how_wrong_it_is():
    store, exact = CooccurrenceStore(memory_budget=16 * 1024), CooccurrenceStore()
    rng = np.random.default_rng(2)
    noise = [rng.choice(np.arange(10, 200), 8, replace=False) for _ in range(400)]
    rows = Rows.from_lists([[0, 1, *labels, *([2, 3] if i < 5 else [])] for i, labels in enumerate(noise)])
    store.update_many(rows)
    exact.update_many(rows)
    assert store.nbytes <= 16 * 1024 + 8 * 200 + 100
    assert store.n_evicted > 1000
    assert store.n_refused == 0
    assert store.joint(0, 1) == exact.joint(0, 1) == 400
    assert store.joint(2, 3) == exact.joint(2, 3) == 5, "a rare pair stays too where its labels are always together"
    assert store.occurrence.tolist() == exact.occurrence.tolist()
    gaps = [exact.joint(a, b) - store.joint(a, b) for a in range(200) for b in range(a)]
    assert min(gaps) >= 0
    assert store.largest_evicted < 100
    # What a pair lost in one eviction is bounded; it may be evicted more than once.
    assert max(gaps) <= store.largest_evicted * np.ceil(store.n_evicted / (0.35 * 1024))


def test_an_event_larger_than_the_table_is_counted_as_far_as_there_is_room():
    store = CooccurrenceStore(memory_budget=8192)
    store.update_many(Rows.from_lists([range(100), [0, 1]]))
    assert store.n_pairs <= 0.7 * 512
    assert store.n_refused >= 4950 - 0.7 * 512 - 1
    assert store.occurrence[99] == 1
    assert store.joint(0, 1) >= 1


def test_decayed_pairs_leave_when_room_is_needed():
    store = CooccurrenceStore(half_life=2.0)
    for start in range(0, 6000, 20):
        store.update_many(Rows.from_lists([range(start, start + 20)]))
    assert len(store._keys) <= 16384
    assert store.n_evicted == 0


def test_large_scales_are_divided_out():
    store = CooccurrenceStore(half_life=1.0)
    store.update_many(Rows.from_lists([[0, 1]] * 100 + [[0]]))
    assert store.jaccard(0, 1) == pytest.approx(0.5)
    assert store.occurrence == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("half_life", [None, 40.0])
@pytest.mark.parametrize("cut", [0, 1, 250, 299, 300])
def test_merged_halves_are_the_whole(half_life, cut):
    dense = random_sets(2, 300, 40, 0.08)
    whole, first, second = (CooccurrenceStore(half_life=half_life) for _ in range(3))
    whole.update_many(Rows.from_dense(dense))
    first.update_many(Rows.from_dense(dense[:cut]))
    to = np.random.default_rng(0).permutation(40).astype(np.int32)
    second.update_many(Rows.from_dense(dense[cut:, to]))
    first.merge(second, to)
    assert (first.events, first.n_pairs) == (whole.events, whole.n_pairs)
    mine, expected = (np.array([[s.joint(a, b) for b in range(40)] for a in range(40)]) for s in (first, whole))
    np.testing.assert_allclose(mine, expected, rtol=0 if half_life is None else 1e-9)


def test_a_merged_table_keeps_to_its_room():
    dense = random_sets(3, 400, 120, 0.3)
    first, second = (CooccurrenceStore(memory_budget=32_768) for _ in range(2))
    first.update_many(Rows.from_dense(dense[:200, :40]))
    second.update_many(Rows.from_dense(dense[200:, 40:80]))
    before = first.n_pairs + second.n_pairs
    first.merge(second, np.arange(40, 80, dtype=np.int32))
    assert first.nbytes < 40_000
    assert first.n_pairs + first.n_evicted == before
    assert first.occurrence.tolist() == [*dense[:200, :40].sum(0), *dense[200:, 40:80].sum(0)]
    first.update_many(Rows.from_dense(dense))


def test_stores_that_decay_differently_are_not_merged():
    with pytest.raises(ValueError, match=r"half_life must be None to merge, got 40\.0"):
        CooccurrenceStore().merge(CooccurrenceStore(half_life=40.0), np.zeros(0, np.int32))
