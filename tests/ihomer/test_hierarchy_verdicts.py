"""All nodes of a tree judged in one pass: as by judging and halving one after another."""

import numpy as np
import pytest

from ihomer.cooccurrence import CooccurrenceStore
from ihomer.label_tree import COLD, UNBORN, LabelTree
from ihomer.partition import Similarities, halve, judge
from ihomer.verdicts import verdicts
from streams.batch import Rows


def random_tree(rng, n_labels, cold=0.2):
    """A tree over some of the labels, with unused records among its nodes."""
    tree = LabelTree()
    tree.grow(n_labels)
    tree.leaf[:] = np.where(rng.random(n_labels) < cold, COLD, UNBORN)
    placed = np.flatnonzero(tree.leaf == UNBORN)
    if not len(placed):
        return tree
    tree.leaf[placed[: len(placed) // 8]] = UNBORN
    placed = placed[len(placed) // 8 :]
    tree.leaf[placed] = tree.new_node(-1, 0)
    for _ in range(int(rng.integers(0, 8))):
        leaf = int(rng.choice(tree.leaves))
        labels = rng.permutation(tree.labels_of(leaf))
        if len(labels) > 1:
            cut = int(rng.integers(1, len(labels)))
            tree.divide(leaf, [np.sort(labels[:cut]), np.sort(labels[cut:])], 0, 1.0, 0.1)
    if len(tree.inner) > 2:
        tree.collapse(int(tree.inner[-1]), 0)
    return tree


def one_by_one(tree, similarities, min_size, max_size):
    """Size, smaller half, gain, bound, best gain and best bound of every record, from the functions for one node."""
    members = tree.members()
    found = np.full((6, len(tree.nodes)), np.nan)
    found[:2] = 0
    for row in tree.subtree(tree.root) if tree.root >= 0 else []:
        labels = tree.below(row, members)
        found[0, row] = len(labels)
        children = [int(tree.nodes[child][row]) for child in ("first", "second")]
        if children[0] >= 0:
            first = tree.below(children[0], members)
            now = judge(labels, (~np.isin(labels, first)).astype(np.int8), similarities, 0.1)
            found[1:4, row] = min(len(first), len(labels) - len(first)), now.gain, now.bound
        elif not 2 * min_size <= len(labels) <= max_size:
            continue
        least = max(min_size, len(labels) // 4) if len(labels) > max_size else min_size
        best = halve(labels, similarities, least, 0.1)
        found[4:, row] = best.gain, best.bound
    return found


@pytest.mark.parametrize("seed", range(20))
def test_one_pass_equals_one_node_after_another(seed):
    rng = np.random.default_rng(seed)
    n_labels, min_size = int(rng.integers(1, 40)), int(rng.integers(1, 3))
    store = CooccurrenceStore(half_life=None if seed % 2 else 50.0)
    store.update_many(Rows.from_dense(rng.random((120, n_labels)) < rng.choice([0.03, 0.2, 0.6])))
    store.grow(n_labels)
    # Equal supports must be told apart as one by one; a label in the tree has been seen.
    store._occurrence[store._occurrence == 0] = 1.0
    tree = random_tree(rng, n_labels)
    similarities = Similarities.of(store)
    found = verdicts(tree, similarities, 0.1, min_size, 6)
    expected = one_by_one(tree, similarities, min_size, 6)
    for mine, twin in zip(found[:4], expected[:4], strict=True):
        assert mine == pytest.approx(twin, abs=1e-12, nan_ok=True)
    left_out = np.isnan(found.best_gain) & ~np.isnan(expected[4])
    for mine, twin in zip(found[4:], expected[4:], strict=True):
        assert mine[~left_out] == pytest.approx(twin[~left_out], abs=1e-12, nan_ok=True)
    assert (tree.nodes["first"][left_out] >= 0).all()
    assert (expected[4] - expected[2] <= np.maximum(expected[3], expected[5]))[left_out].all()
    assert (similarities.rank == -1).all()


def test_no_tree_and_an_empty_one():
    store = CooccurrenceStore()
    tree = LabelTree()
    assert len(verdicts(tree, Similarities.of(store), 0.1, 2, 8).size) == 0
    tree.new_node(-1, 0)
    assert verdicts(tree, Similarities.of(store), 0.1, 2, 8).size.tolist() == [0] * 8
