"""Classifier chains against their twin, and what they promise beyond the laws of all learners."""

from __future__ import annotations

import numpy as np
import pytest

from learners.chain import ClassifierChain
from learners.linear import LinearClassifier
from streams.batch import COMPLETE, Batch, Rows, Schema
from tests import contracts
from tests.naive import learners_chain as naive

SETTINGS = [
    {},
    {"feed": "probabilities", "l1": 0.01, "l2": 0.05, "threshold": "f1"},
    {"order": "random", "n_chains": 3, "optimizer": "ftrl", "l1": 0.05, "l2": 0.5, "seed": 4},
    {"order": "random", "n_chains": 2, "optimizer": "sgd", "learning_rate": 0.3, "link_rate": 0.5},
    {"order": "random", "feed": "probabilities", "standardise": False, "threshold": 0.3},
]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_kernel_equals_twin(settings, sparse):
    batch = contracts.stream(40, states=contracts.ALL_STATES, sparse=sparse, n_labels=9)
    each, thresholds = naive.answers(batch, **settings)
    model = ClassifierChain(**settings)
    answer = model.test_then_train(batch)
    expected = each.mean(1)
    if model.feed == "labels":
        assert (np.abs(each - thresholds[:, None, None]) > 1e-5).all(), "rounding alone decides what a label is told"
    np.testing.assert_allclose(answer.proba, expected, rtol=2e-3, atol=1e-6)
    certain = np.abs(expected - thresholds[:, None]) > 1e-3
    predicted = answer.labels.to_dense(9) > 0
    assert (predicted == (expected > thresholds[:, None]))[certain].all()
    assert certain.mean() > 0.9


@pytest.mark.parametrize(
    "settings",
    [{}, {"optimizer": "ftrl", "l1": 0.01}, {"optimizer": "sgd", "l2": 0.1, "threshold": "f1", "standardise": False}],
    ids=str,
)
@pytest.mark.parametrize("sparse", [False, True])
def test_without_links_a_chain_is_the_linear_classifier(settings, sparse):
    batch = contracts.stream(41, states=contracts.ALL_STATES, sparse=sparse, n_labels=11)
    expected = LinearClassifier(**settings).test_then_train(batch)
    for chain in (
        ClassifierChain(link_rate=0.0, **settings),
        ClassifierChain("random", link_rate=0.0, feed="probabilities", **settings),
    ):
        answer = chain.test_then_train(batch)
        assert (answer.proba == expected.proba).all()
        assert (answer.labels.indices == expected.labels.indices).all()


def test_a_chain_of_one_label_is_the_linear_classifier():
    batch = contracts.stream(42, n_labels=1, n=200)
    assert (ClassifierChain().test_then_train(batch).proba == LinearClassifier().test_then_train(batch).proba).all()


def copies(n=600, n_labels=4):
    """Labels that are all the same, and told by the features half of the time."""
    rng = np.random.default_rng(43)
    truth = np.repeat(rng.random((n, 1)) < 0.5, n_labels, axis=1)
    return Batch.from_arrays(truth[:, :1] + rng.normal(size=(n, 3)) * [1, 5, 5], truth)


@pytest.mark.parametrize("settings", [{}, {"order": "random", "n_chains": 3}], ids=str)
def test_labels_that_belong_together_are_predicted_together(settings):
    batch = copies()
    n_sets = {}
    for name, model in (("linear", LinearClassifier()), ("chain", ClassifierChain(**settings))):
        predicted = model.test_then_train(batch).labels.to_dense(4)[300:]
        n_sets[name] = np.mean(predicted.min(1) == predicted.max(1))
    assert n_sets["chain"] > 0.95
    assert n_sets["chain"] >= n_sets["linear"]


def test_a_label_is_told_to_those_behind_it_alone():
    state = {}
    for order in ("fixed", "random"):
        model = ClassifierChain(order, seed=2)
        model.learn_batch(contracts.stream(44, n=200, n_labels=6))
        state[order] = model.get_state()
    birth = state["fixed"]["birth"]
    before = birth[:, None] < birth[None, :]
    assert ((state["fixed"]["weights_between"][:, 0] != 0) == before).all()
    place = np.random.default_rng([2, 0]).random(6)[birth - 1]
    between = state["random"]["weights_between"][:, 0]
    assert ((between != 0) == (place[:, None] < place[None, :])).all()
    assert not (place[:, None] < place[None, :])[before].all()


def test_a_label_that_is_born_changes_no_other_answer():
    """It may stand before labels that are there, and is told to them from its next event on."""
    batch = contracts.stream(45, n=60, n_labels=5)
    more = np.column_stack([batch.y.to_dense(5), np.zeros(60)])
    more[59, 5] = 1
    schema = Schema(batch.schema.feature_names, [*batch.schema.label_names, "late"])
    schema.make_nominal(5, batch.schema.categories[5])
    wider = Batch(schema, batch.x, Rows.from_dense(more), batch.label_state)
    narrow = Batch(batch.schema, batch.x, batch.y, batch.label_state)
    for seed in range(4):
        few, many = (ClassifierChain("random", 3, feed="probabilities", seed=seed) for _ in range(2))
        mine, theirs = few.test_then_train(narrow).proba, many.test_then_train(wider).proba
        assert (mine == theirs[:, :5]).all()
        state, other = few.get_state(), many.get_state()
        assert (state["weights"] == other["weights"][:, :, :5]).all()
        assert (state["weights_between"] == other["weights_between"][:5, :, :5]).all()


def test_the_seed_makes_the_orders():
    batch = contracts.stream(46, n=150)
    same, also, other = (ClassifierChain("random", 2, seed=seed).test_then_train(batch).proba for seed in (1, 1, 2))
    assert (same == also).all()
    assert (same != other).any()


def test_an_ensemble_averages_chains_that_differ():
    batch = contracts.stream(47, n=150)
    model = ClassifierChain("random", 4)
    model.learn_batch(batch)
    between = model.get_state()["weights_between"]
    patterns = {(between[:, chain] != 0).tobytes() for chain in range(4)}
    assert len(patterns) > 1


def test_what_is_unknown_is_guessed():
    """Where a label is unknown, those behind it learn from what the chain itself says of it."""
    batch = copies(n=400, n_labels=2)
    x = np.full((200, 3), np.nan, np.float32)
    known = Rows.from_lists([[1]] * 200)
    partly = Batch(batch.schema, x, Rows.from_lists([[1]] * 200), np.ones(200, np.uint8), known)
    model = ClassifierChain(feed="probabilities")
    model.learn_batch(batch)
    before = model.get_state()
    model.learn_batch(partly)
    after = model.get_state()
    assert after["weights_between"][0, 0, 1] != before["weights_between"][0, 0, 1]
    assert (after["weights"][:, 0, 0] == before["weights"][:, 0, 0]).all()


def test_a_state_of_another_shape_is_refused():
    model = ClassifierChain()
    model.learn_one({"a": 1.0}, {"p": True})
    state = model.get_state()
    state["weights"] = np.zeros((2, 2, 1), np.float32)
    with pytest.raises(ValueError, match=r"state 'weights' must have shape \(2, 1, 1\), got \(2, 2, 1\)"):
        model.set_state(state)


def test_labels_found_one_by_one_equal_declared_ones_at_any_number():
    rng = np.random.default_rng(48)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    truth = (rng.random((60, 20)) < 0.2) & (np.arange(60)[:, None] >= 2 * np.arange(20)[::-1][None, :])
    declared, found = (ClassifierChain("random", 2) for _ in range(2))
    expected = declared.test_then_train(Batch.from_arrays(x, truth)).proba
    schema = Schema([f"x{j}" for j in range(4)])
    for t in range(60):
        labels = Rows.from_lists([[schema.label_id(f"y{j}") for j in np.flatnonzero(truth[t])]])
        answer = found.test_then_train(Batch(schema, x[t : t + 1], labels, np.full(1, COMPLETE, np.uint8))).proba[0]
        held = {name: answer[j] for j, name in enumerate(schema.label_names)}
        assert all(held.get(f"y{j}", 0.0) == expected[t, j] for j in range(20))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "sorted"}, "order must be one of fixed, random, got 'sorted'"),
        ({"n_chains": 0}, "n_chains must be at least 1, got 0"),
        ({"n_chains": 3}, "n_chains must be 1 where the order is fixed, got 3"),
        ({"feed": "truth"}, "feed must be one of labels, probabilities, got 'truth'"),
        ({"link_rate": -1.0}, "link_rate must be at least 0 and finite, got -1.0"),
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adagrad, ftrl, got 'adam'"),
        ({"threshold": 1.0}, r"threshold must be in \(0, 1\) or 'f1', got 1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ClassifierChain(**settings)
