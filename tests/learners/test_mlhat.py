"""The multi-label Hoeffding adaptive tree against its twin: answers, splits, background trees and switches."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from learners.draws import POISSON, poisson
from learners.trees import splitting
from learners.trees.backgrounds import switch_bound
from learners.trees.mlhat import MLHATClassifier
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Rows, Schema
from tests import contracts
from tests.naive import learners_mlhat as naive

LOOSE = {"grace_period": 20, "delta": 0.4, "window": 20, "background_weight": 10.0, "warning_delta": 0.5}
PAPER = {**LOOSE, "mode": "paper", "delta": 0.9, "n_models": 3, "cardinality_threshold": 30.0}
SETTINGS = {
    "default": {},
    "loose": LOOSE,
    "bagged": {**LOOSE, "naive_bayes": False, "n_models": 2, "decay": 0.9, "n_neighbors": 3},
    "shallow": {**LOOSE, "max_depth": 1, "min_branch_fraction": 0.1, "max_share": 0.8, "threshold": 0.6},
    "paper": {"mode": "paper"},
    "loose paper": PAPER,
    "one model": {**PAPER, "n_models": 1, "entropy_threshold": 3.0, "seed": 7},
}

SLOW = {"grace_period": 32, "delta": 0.3, "background_weight": 10.0, "warning_delta": 0.5, "learning_rate": 0.05}
"""Leaves that cling to what they know, so that a background tree has something to be better at."""

DRIFTS = {
    "default": {**SLOW, "switch_delta": 0.5, "decay": 1.0, "naive_bayes": False},
    "bayes": {**SLOW, "switch_delta": 0.5, "decay": 1.0},
    "paper": {**SLOW, "switch_delta": 0.9, "mode": "paper", "window": 300, "n_models": 2, "cardinality_threshold": 50},
}


def regions(seed, n=600, *, sparse=False):
    """Labels by the signs of the features; where the first is positive they change their meaning at 60 %."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    late, inside = np.arange(n) >= 0.6 * n, x[:, 0] > 0
    second, third = x[:, 1] > 0, inside & ((x[:, 2] > 0) ^ late)
    y = np.stack([inside, second ^ (inside & late), third], 1) ^ (rng.random((n, 3)) < 0.05)
    return Batch.from_arrays(Rows.from_dense(np.maximum(x, 0), values=True) if sparse else x, y)


def tied(seed, n=60):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, 4)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, x[:, 1] > 1, (x[:, 0] > 0) & (x[:, 1] < 1)], 1)
    y[n // 2 :, 0] ^= True
    return x, y


def assert_equals_twin(batch, **settings):
    """Equal answers and equal histories; returns the history and the twin."""
    expected, twin = naive.answers(batch, **settings)
    model = MLHATClassifier(**settings)
    answer = model.test_then_train(batch)
    np.testing.assert_allclose(answer.proba, expected, rtol=1e-5, atol=1e-6)
    threshold = twin.settings.threshold
    clear = np.abs(expected - threshold) > 1e-5
    predicted = answer.labels.to_dense(batch.schema.n_labels) > 0
    assert (predicted == (expected > threshold))[clear].all()
    events = [{name: value for name, value in event.items() if name != "node"} for event in model.events_]
    assert events == twin.log
    return Counter(event["kind"] for event in events), twin


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("sparse", [False, True])
def test_kernels_equal_twin(settings, sparse):
    kinds = Counter()
    for states in ((COMPLETE,), contracts.ALL_STATES, (PARTIAL,)):
        kinds += assert_equals_twin(contracts.stream(39, n=130, states=states, sparse=sparse), **settings)[0]
    assert bool(kinds["split"]) == ("grace_period" in settings)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_kernels_equal_twin_on_ties_constants_and_nothing(settings):
    x, y = tied(31)
    n_split = assert_equals_twin(Batch.from_arrays(x, y), **settings)[0]["split"]
    n_split += assert_equals_twin(Batch.from_arrays(Rows.from_dense(x, values=True), y), **settings)[0]["split"]
    assert bool(n_split) == ("grace_period" in settings)
    x[np.random.default_rng(31).random(x.shape) < 0.2] = np.nan
    constant = np.column_stack([x, np.full(60, 7), np.full(60, np.nan)]).astype(np.float32)
    assert_equals_twin(Batch.from_arrays(constant, y), **settings)
    assert_equals_twin(Batch.from_arrays(np.zeros((40, 2)), y[:40]), **settings)
    assert_equals_twin(Batch.from_arrays(np.zeros((40, 0)), y[:40]), **settings)
    assert_equals_twin(Batch.from_arrays(Rows.empty(40, values=True), y[:40]), **settings)
    assert_equals_twin(Batch.from_arrays(x, np.ones((60, 1))), **settings)
    assert_equals_twin(Batch.from_arrays(x[:0], y[:0]), **settings)
    every_cell = Rows(np.arange(0, 241, 4), np.tile(np.arange(4, dtype=np.int32), 60), x.ravel())
    assert_equals_twin(Batch.from_arrays(every_cell, y), **settings)


@pytest.mark.parametrize(
    ("name", "sparse", "seed", "expected"),
    [
        ("default", False, 1, {"split", "background", "switch", "drop"}),
        ("default", True, 5, {"split", "background", "switch", "drop"}),
        ("bayes", False, 1, {"split", "background", "switch"}),
        ("bayes", True, 5, {"split", "background", "switch"}),
        ("paper", False, 0, {"split", "background", "switch", "drop"}),
        ("paper", False, 7, {"split", "background", "drop"}),
        ("paper", True, 5, {"split", "background", "switch", "drop"}),
    ],
)
def test_trees_that_adapt_equal_the_twin(name, sparse, seed, expected):
    kinds, twin = assert_equals_twin(regions(seed, sparse=sparse), **DRIFTS[name])
    assert kinds.keys() == expected
    assert all(gap > bound for gap, bound in twin.switches)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("mode", ["default", "paper"])
@pytest.mark.parametrize(
    ("case", "n_labels"), [("one", 1), ("two", 2), ("nobody", 3), ("never", 3), ("everyone", 2), ("none", 0)]
)
def test_few_labels(case, n_labels, mode, sparse):
    """One label, two, events that are all without, a label that is never seen, one set alone, no label."""
    x, y = tied(32, 120)
    y = y[:, :n_labels].copy()
    if case in ("nobody", "everyone"):
        y[:] = case == "everyone"
    elif case == "never":
        y[:, 1] = False
    settings = PAPER if mode == "paper" else LOOSE
    batch = Batch.from_arrays(Rows.from_dense(x, values=True) if sparse else x, y)
    kinds, _ = assert_equals_twin(batch, **settings)
    assert bool(kinds["split"]) == (case in ("one", "two", "never"))
    model = MLHATClassifier(**settings)
    model.learn_batch(batch)
    proba = model.predict_batch(batch).proba
    assert (proba[:, ~y.any(0)] == 0).all()
    if case == "everyone":
        assert (proba > 0.9).all()


def test_ignored_columns_change_nothing():
    for sparse in (False, True):
        batch = contracts.stream(37, n=150, sparse=sparse, nominal=False)
        schema = Schema(["row", *batch.schema.feature_names], batch.schema.label_names, sparse=sparse)
        schema.make_nominal(0, [str(i) for i in range(len(batch))])
        schema.ignored.add(0)
        x = np.column_stack([np.arange(len(batch)), batch.x.to_dense(6) if sparse else batch.x]).astype(np.float32)
        x = Rows.from_dense(x, values=True) if sparse else x
        wider = Batch(schema, x, batch.y, batch.label_state, weight=batch.weight)
        narrow, wide = MLHATClassifier(**LOOSE), MLHATClassifier(**LOOSE)
        assert (narrow.test_then_train(batch).proba == wide.test_then_train(wider).proba).all()
        assert narrow.events_ == wide.events_ != []


# The numbers of the papers.


def brute_force_entropy(y, normalise):
    """Of the labels of ``y``, bool (n, L), and of having none of them, those that some event has."""
    columns = np.column_stack([~y.any(1), y])
    p = columns.mean(0)[columns.any(0)]
    both = np.stack([p, 1 - p])
    bits = -(both * np.log2(both, where=both > 0, out=np.zeros(both.shape))).sum(0)
    return (bits.mean() if normalise else bits.sum() * (len(p) > 1)) if len(p) else 0.0


@pytest.mark.parametrize("normalise", [False, True])
def test_entropy_and_merit_equal_brute_force(normalise):
    rng = np.random.default_rng(40)
    for n_labels in (1, 2, 5):
        for _ in range(40):
            y = rng.random((30, n_labels)) < rng.random(n_labels) ** 2
            side = rng.random(30) < rng.random()
            columns = np.column_stack([np.ones(30), ~y.any(1), y])
            columns = columns[:, columns.any(0)]
            before, left = columns.sum(0), columns[side].sum(0)
            found = splitting.entropy(before[1:], 30.0, normalise)
            assert found == pytest.approx(brute_force_entropy(y, normalise), abs=1e-12)
            found = splitting.merit(before, left.copy(), 0.0, normalise, np.zeros(len(left)))
            if side.all() or not side.any():
                assert found == -math.inf
                continue
            parts = [(y[part], part.mean()) for part in (side, ~side)]
            if normalise:  # the mean is over the labels of the leaf on either side
                n_before, expected = columns.shape[1] - 1, brute_force_entropy(y, True)
                for part, share in parts:
                    n_part = np.column_stack([~part.any(1), part]).any(0).sum()
                    expected -= share * brute_force_entropy(part, True) * n_part / n_before
            else:
                expected = brute_force_entropy(y, False)
                expected -= sum(share * brute_force_entropy(part, False) for part, share in parts)
            assert found == pytest.approx(expected, abs=1e-12)


def test_a_split_needs_enough_on_either_side():
    before, left = np.array([100.0, 60, 40]), np.array([10.0, 6, 4])
    assert splitting.merit(before, left.copy(), 0.1, False, np.zeros(3)) == -math.inf
    assert splitting.merit(before, left.copy(), 0.09, False, np.zeros(3)) == pytest.approx(0)


def test_bounds_are_those_of_the_papers():
    assert splitting.hoeffding_bound(3.0, naive.DELTA, 200.0) == pytest.approx(0.593, abs=5e-4)
    assert splitting.hoeffding_bound(3.0, naive.DELTA, 5000.0) == pytest.approx(0.119, abs=5e-4)
    rng = np.random.default_rng(41)
    for loss, weight, other, delta in rng.random((20, 4)):
        found = switch_bound(loss, 300 * weight, 300 * other, delta)
        assert found == pytest.approx(naive.switch_bound(loss, 300 * weight, 300 * other, delta))


def answers_to_itself(n, copies):
    """A label of every fifth event that is its feature, sparse, in some copies."""
    x = (np.arange(n) % 5 == 4).astype(np.float32)
    return Batch.from_arrays(Rows.from_dense(np.column_stack([x] * copies), values=True), x[:, None] > 0)


@pytest.mark.parametrize("delta", [1e-7, 1e-3, 0.3])
@pytest.mark.parametrize("mode", ["default", "paper"])
def test_a_leaf_is_split_when_the_merit_beats_the_bound(mode, delta):
    """The merit is all of the entropy here, that of the label and that of its absence."""
    n, present, first = 0, 0, None
    for t in range(200):
        weight = max(1, naive.poisson(3, t + 1, 0)) if mode == "paper" else 1
        n += weight
        present += weight * (t % 5 == 4)
        p = present / n
        bits = -p * math.log2(p) - (1 - p) * math.log2(1 - p) if present else 0.0
        gap = 2 * bits if mode == "paper" else bits
        if first is None and gap > math.sqrt(math.log(1 / delta) / (2 * n)):
            first = t + 1
    model = MLHATClassifier(1, delta, mode=mode, seed=3, tau=0.0)
    model.learn_batch(answers_to_itself(200, 1))
    assert [event["event"] for event in model.events_] == [first]
    twice = MLHATClassifier(1, delta, mode=mode, seed=3, tau=0.0)
    twice.learn_batch(answers_to_itself(200, 2))
    assert twice.events_ == []


def test_a_tie_is_broken_when_the_bound_is_small():
    model = MLHATClassifier(1, 0.3, tau=0.1)
    model.learn_batch(answers_to_itself(100, 2))
    n = math.floor(math.log(1 / 0.3) / (2 * 0.1**2)) + 1
    assert [(event["event"], event["feature"]) for event in model.events_] == [(n, "x0")]


def test_poisson_weights():
    drawn = [poisson(seed, event, draw) for seed in (0, 1) for event in range(400) for draw in range(5)]
    assert drawn == [naive.poisson(s, event, draw) for s in (0, 1) for event in range(400) for draw in range(5)]
    assert np.mean(drawn) == pytest.approx(1, abs=0.05)
    assert np.var(drawn) == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(POISSON, np.cumsum([math.exp(-1) / math.factorial(k) for k in range(8)]), rtol=1e-14)


# What a tree promises beyond the laws of all learners.


def test_unlabelled_events_are_answered_alone():
    batch = contracts.stream(42, n=120, states=(COMPLETE, UNLABELLED))
    labelled = np.flatnonzero(batch.label_state == COMPLETE)
    one, other = MLHATClassifier(**PAPER), MLHATClassifier(**PAPER)
    answers = one.test_then_train(batch).proba
    assert (answers[labelled] == other.test_then_train(batch.take(labelled)).proba).all()
    assert one.events_ == other.events_ != []


def test_no_leaf_is_deeper_than_allowed():
    deepest = []
    for max_depth in (0, 1, 3):
        model = MLHATClassifier(**{**LOOSE, "max_depth": max_depth, "tau": 0.9})
        model.learn_batch(regions(43))
        deepest.append(model.get_state()["nodes"]["depth"].max())
    assert deepest == [0, 1, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "fast"}, "mode must be one of default, paper, got 'fast'"),
        ({"grace_period": 0}, "grace_period must be at least 1, got 0"),
        ({"max_depth": -1}, "max_depth must be at least 0, got -1"),
        ({"max_depth": 101}, "max_depth must be at most 100, got 101"),
        ({"n_neighbors": 0}, "n_neighbors must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"n_models": 0}, "n_models must be at least 1, got 0"),
        ({"learning_rate": 0.0}, r"learning_rate must be above 0 and finite, got 0.0"),
        ({"learning_rate": float("inf")}, r"learning_rate must be above 0 and finite, got inf"),
        ({"delta": 1.0}, r"delta must be in \(0, 1\), got 1.0"),
        ({"threshold": 0.0}, r"threshold must be in \(0, 1\), got 0.0"),
        ({"drift_delta": 0.0}, r"drift_delta must be in \(0, 1\), got 0.0"),
        ({"warning_delta": 1.5}, r"warning_delta must be in \(0, 1\), got 1.5"),
        ({"switch_delta": 1.0}, r"switch_delta must be in \(0, 1\), got 1.0"),
        ({"tau": -0.1}, "tau must be at least 0, got -0.1"),
        ({"cardinality_threshold": float("nan")}, "cardinality_threshold must be at least 0, got nan"),
        ({"entropy_threshold": -1.0}, "entropy_threshold must be at least 0, got -1.0"),
        ({"background_weight": -1.0}, "background_weight must be at least 0, got -1.0"),
        ({"max_bytes": -1}, "max_bytes must be at least 0, got -1"),
        ({"decay": 0.0}, r"decay must be in \(0, 1\], got 0.0"),
        ({"min_branch_fraction": 0.5}, r"min_branch_fraction must be in \[0, 0.5\), got 0.5"),
        ({"max_share": 0.0}, r"max_share must be in \(0, 1\], got 0.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MLHATClassifier(**settings)
