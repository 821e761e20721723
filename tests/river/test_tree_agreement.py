"""Hoeffding trees grow as river's do: the same splits at the same thresholds, and the same predictions."""

from __future__ import annotations

import numpy as np
import pytest
from river import tree

from ihomer import SingleLabel
from learners.trees.adaptive import HoeffdingAdaptiveTreeClassifier
from learners.trees.hoeffding import HoeffdingTreeClassifier
from learners.trees.pool import CATEGORIES, CATEGORY, LEAF

CATEGORY_NAMES = "abcde"


def events(kind, *, n=2500, seed=1, n_classes=2, missing=0.0, drift=False):
    """Events with six numbers, three nominal columns or both, and their class; at half-time classes may move on."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    codes = rng.integers(0, [2, 3, 5], (n, 3))
    weights, effects = rng.normal(size=(n_classes, 6)), [rng.normal(size=(n_classes, k)) for k in (2, 3, 5)]
    score = 0.3 * rng.gumbel(size=(n, n_classes))
    if kind != "nominal":
        score += x @ weights.T + (x[:, [0]] * x[:, [1]] > 0) * weights[:, 0]
    if kind != "numeric":
        score += 2 * sum(effects[j][:, codes[:, j]].T for j in range(3))
    classes = score.argmax(1)
    if drift:
        classes[n // 2 :] = (classes[n // 2 :] + 1) % n_classes
    # Numbered as they come: of equally probable classes river answers the least, and we the one met first.
    _, first = np.unique(classes, return_index=True)
    classes = np.argsort(np.argsort(first))[classes]
    for row, code, y in zip(x.tolist(), codes.tolist(), classes.tolist(), strict=True):
        event = {}
        if kind != "nominal":
            event |= {f"x{j}": value for j, value in enumerate(row)}
        if kind != "numeric":
            event |= {f"c{j}": CATEGORY_NAMES[k] for j, k in enumerate(code)}
        yield {name: value for name, value in event.items() if not rng.random() < missing}, y


def theirs(node):
    """Feature, what is asked, and children, from the top down; leaves are None."""
    if not hasattr(node, "children"):
        return None
    if type(node).__name__.endswith(("MultiwayBranch", "MultiwayBranchClass")):
        return node.feature, None, {node._r_mapping[i]: theirs(child) for i, child in enumerate(node.children)}
    asked = node.threshold if hasattr(node, "threshold") else node.value
    return node.feature, asked, dict(zip(("yes", "no"), map(theirs, node.children), strict=True))


def ours(model):
    """The same of one of our trees."""
    pool, names = model._pool, dict(zip(model._order.tolist(), model._names(), strict=True))

    def below(node):
        record = pool.nodes[node]
        if record["kind"] == LEAF:
            return None
        children, child = [], record["child"]
        while child >= 0:
            children.append(child)
            child = pool.nodes[child]["sibling"]
        feature = names[record["input"]][0]
        if record["kind"] == CATEGORIES:
            return feature, None, {names[pool.nodes[c]["category"]][1]: below(c) for c in children}
        asked = names[int(record["threshold"])][1] if record["kind"] == CATEGORY else float(record["threshold"])
        return feature, asked, dict(zip(("yes", "no"), map(below, children), strict=True))

    return below(pool.trees[0]["root"])


def assert_same_tree(mine, other):
    assert (mine is None) == (other is None)
    if mine is None:
        return
    assert mine[0] == other[0]
    assert mine[1] == (pytest.approx(other[1], rel=1e-9, abs=1e-12) if isinstance(other[1], float) else other[1])
    assert mine[2].keys() == other[2].keys()
    for side, child in mine[2].items():
        assert_same_tree(child, other[2][side])


def agreement(model, reference, stream):
    """Share of equal predictions, and both accuracies."""
    wrapped, equal, right, reference_right, n = SingleLabel(model), 0, 0, 0, 0
    for x, y in stream:
        mine, other = wrapped.predict_one(x), reference.predict_one(x)
        wrapped.learn_one(x, y)
        reference.learn_one(x, y)
        equal, right, reference_right, n = (
            equal + (mine == other),
            right + (mine == y),
            reference_right + (other == y),
            n + 1,
        )
    return equal / n, right / n, reference_right / n


QUICK = {"grace_period": 100, "delta": 0.05}


@pytest.mark.parametrize("kind", ["numeric", "nominal", "mixed"])
@pytest.mark.parametrize("settings", [{"n_classes": 2}, {"n_classes": 4}, {"n_classes": 3, "missing": 0.1}], ids=str)
def test_hoeffding_trees_are_the_same(kind, settings):
    model, reference = HoeffdingTreeClassifier(**QUICK), tree.HoeffdingTreeClassifier(**QUICK)
    equal, _, _ = agreement(model, reference, events(kind, **settings))
    assert equal >= 0.999
    assert_same_tree(ours(model), theirs(reference._root))
    assert model.events_


@pytest.mark.parametrize(
    "settings",
    [
        {"leaf_prediction": "mc"},
        {"leaf_prediction": "nb", "nb_threshold": 50},
        {"split_criterion": "gini"},
        {"binary_split": True},
        {"max_depth": 2},
        {"merit_preprune": False, "tau": 0.2},
        {"min_branch_fraction": 0.2, "max_share_to_split": 0.8},
    ],
    ids=str,
)
def test_every_parameter_means_what_it_means_in_river(settings):
    model = HoeffdingTreeClassifier(**QUICK, **settings)
    reference = tree.HoeffdingTreeClassifier(**QUICK, **settings)
    equal, _, _ = agreement(model, reference, events("mixed", n=2000, seed=2))
    assert equal >= 0.999
    if "binary_split" not in settings:  # of two categories river takes whichever stands first in a set
        assert_same_tree(ours(model), theirs(reference._root))


def test_weights_count_as_in_river():
    model, reference = HoeffdingTreeClassifier(**QUICK), tree.HoeffdingTreeClassifier(**QUICK)
    wrapped, rng = SingleLabel(model), np.random.default_rng(5)
    for x, y in events("numeric", n=2000):
        weight = float(rng.choice([0.5, 1.0, 3.0]))
        wrapped.learn_one(x, y, weight)
        reference.learn_one(x, y, w=weight)
    assert_same_tree(ours(model), theirs(reference._root))
    for x, _ in events("numeric", n=200, seed=6):
        assert wrapped.predict_proba_one(x) == pytest.approx(reference.predict_proba_one(x), abs=1e-9)


@pytest.mark.parametrize("kind", ["numeric", "nominal", "mixed"])
def test_adaptive_trees_are_the_same_without_drift(kind):
    settings = {**QUICK, "bootstrap_sampling": False}
    model = HoeffdingAdaptiveTreeClassifier(**settings)
    reference = tree.HoeffdingAdaptiveTreeClassifier(**settings, seed=1)
    equal, _, _ = agreement(model, reference, events(kind))
    assert equal >= 0.999
    assert_same_tree(ours(model), theirs(reference._root))
    assert {event["kind"] for event in model.events_} == {"split"}


@pytest.mark.parametrize("bootstrap", [False, True])
def test_adaptive_trees_recover_from_drift_as_river_does(bootstrap):
    """There the trees differ, as the class says: an alternate tree has to be better before it takes over."""
    settings = {**QUICK, "bootstrap_sampling": bootstrap, "seed": 1}
    shares = []
    for seed in (1, 2):
        model = HoeffdingAdaptiveTreeClassifier(**settings)
        reference = tree.HoeffdingAdaptiveTreeClassifier(**settings)
        shares.append(agreement(model, reference, events("numeric", n=4000, seed=seed, drift=True))[1:])
        assert any(event["kind"] == "switch" for event in model.events_)
    mine, other = np.mean(shares, axis=0)
    assert mine > other - 0.005


def test_a_class_without_weight_is_no_candidate():
    """river gives a class of weight 0 the likelihood 1, more than any density below 1 gives the others."""
    model, reference = HoeffdingTreeClassifier(), tree.HoeffdingTreeClassifier()
    wrapped = SingleLabel(model)
    for i in range(50):
        for learner in (wrapped, reference):
            learner.learn_one({"x": 100.0 * (i % 7)}, "seen")
    reference._root.stats["ghost"] = 0.0
    reference._root._nb_correct_weight = model._pool.nodes["bayes_right"][0] = 100.0
    assert reference.predict_one({"x": 300.0}) == "ghost"
    assert wrapped.predict_one({"x": 300.0}) == "seen"
