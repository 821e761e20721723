"""Streams whose labels come late, and further uses of clusters on them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.cluster_uses import USES, ClusterUse, _count_blocks, _marginal
from benchmarks.late_labels import NEW, answers, quality, rare_last, withheld
from benchmarks.workloads import read_all
from ihomer import IHOMERClassifier
from streams.batch import Batch, Rows


def of(batch):
    return batch.y.to_dense(batch.schema.n_labels).astype(bool)


def test_half_of_the_labels_are_withheld_and_come_at_a_place_of_their_own():
    first = of(withheld()).argmax(0)
    assert (first > 1_100).sum() >= 22
    assert len(set(first[first > 1_100])) > 15


def test_rare_labels_come_last_and_no_row_is_lost():
    batch = rare_last("yeast")
    y = of(batch)
    counts, first = y.sum(0), y.argmax(0)
    rare = np.argsort(counts, kind="stable")[:7]
    assert first[rare].min() > 0.1 * len(y)
    whole = read_all("yeast")
    for ours, theirs in ((batch.x, whole.x), (y, of(whole))):
        assert np.array_equal(np.sort(ours, axis=0), np.sort(theirs, axis=0))


def test_quality_counts_new_labels_alone():
    truth = np.zeros((400, 3), bool)
    truth[::2, 0] = True
    truth[150::5, 1] = True
    truth[390:, 2] = True
    batch = Batch.from_arrays(np.zeros((400, 1)), truth)
    given = np.zeros((400, 3), bool)
    given[:, 1] = True
    found = quality(batch, [Rows.from_dense(given[:100]), Rows.from_dense(given[100:])])
    new = truth[151 : 151 + NEW, 1]
    assert found["new_f1"] == pytest.approx(2 * new.sum() / (new.sum() + NEW + 9))


def drawn(n=900):
    """Events of two blocks of labels, one of which has a label that comes late."""
    random = np.random.default_rng(3)
    x = random.normal(size=(n, 6)).astype(np.float32)
    y = np.stack([x[:, 0] > 0.2, x[:, 0] > 0.4, x[:, 1] > 0.3, x[:, 1] > 0.6, x[:, 0] > 0.3], axis=1)
    y[: n // 2, 4] = False
    return Batch.from_arrays(x, y)


def test_a_new_label_starts_from_the_mean_of_the_cluster_that_it_came_with():
    batch = drawn()
    plain, use = IHOMERClassifier(), ClusterUse("start")
    born = int(of(batch)[:, 4].argmax())
    until = born // 64 * 64
    for model in (plain, use):
        model.learn_batch(batch[:until])
    cluster = next(cluster for cluster in use._hierarchy.clusters if use._columns.of(use.schema_)[0] in cluster)
    before = use._stack._own[cluster].copy()
    for model in (plain, use):
        model.learn_batch(batch[until : until + 64])
    column = int(use._columns.of(use.schema_)[4])
    moved = use._stack._own[column] - plain._stack._own[column]
    assert np.abs(moved).max() > 0
    after = use._stack._own[cluster]
    assert moved == pytest.approx(after.mean(0), abs=1e-6)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("use", sorted(USES))
def test_random_clusters_stand_in_for_the_right_ones(use):
    batch = drawn()
    found = [answers(model, batch) for model in (IHOMERClassifier(), ClusterUse(use), ClusterUse(use, by_chance=True))]
    for rows in found:
        assert quality(batch, rows)["micro_f1"] > 0.85
    assert any(not np.array_equal(a.indices, b.indices) for a, b in zip(found[0], found[1], strict=True))


def test_blocks_count_and_weigh_sets_as_a_table_of_them_does():
    random = np.random.default_rng(4)
    group, members = np.array([0, 1, 0, 0, -1]), np.full((2, 8), -1)
    members[0, :3], members[1, :1] = (0, 2, 3), (1,)
    counts = np.zeros((2, 256))
    seen = Counter()
    for _ in range(300):
        labels = np.flatnonzero(random.random(5) < 0.4).astype(np.int32)
        _count_blocks(labels, group, members, counts)
        seen[frozenset(labels.tolist()) & {0, 2, 3}] += 1
    logits = np.array([0.7, 0.1, -1.2, -np.inf, 0.4])
    mass = {held: n * np.exp(0.5 * sum(logits[label] for label in held)) for held, n in seen.items()}
    expected = sum(m for held, m in mass.items() if 2 in held), sum(mass.values())
    assert _marginal(2, members[0], counts[0], logits) == pytest.approx(expected)
