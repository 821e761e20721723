"""The adaptive random forest against its twin, and what it promises beyond the laws of all learners."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.classes import radial
from learners import AdaptiveRandomForestClassifier, HoeffdingTreeClassifier
from learners.draws import named, poissons
from streams.batch import COMPLETE, Batch, Rows, Schema
from tests.contracts import assert_same_state, run, stream
from tests.naive.learners_forest import Forest, poisson

TREE = {"grace_period": 20, "delta": 0.2}


def complete(schema, x, y, weight=None):
    """Events with all labels known."""
    return Batch(schema, x, y, np.full(len(x), COMPLETE, np.uint8), weight=weight)


def drifting(n=600, seed=0, nominal=True):
    """Events of one class whose meaning is turned round in the middle, one of the columns a category."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    truth = (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] > 0.3)
    truth[n // 2 :] = 3 - truth[n // 2 :]
    schema = Schema(["a", "b", "c", "d"], ["p", "q", "r", "s"])
    if nominal:
        schema.make_nominal(3, ["red", "green"])
        x[:, 3] = rng.integers(0, 2, n)
    x[rng.random(x.shape) < 0.05] = np.nan
    return complete(schema, x, Rows(np.arange(n + 1), truth.astype(np.int32)))


def accuracy(answers, batch):
    found = answers.labels
    one = np.diff(found.indptr) == 1
    right = found.take(np.flatnonzero(one)).indices == batch.y.indices[one]
    return right.sum() / len(batch)


@pytest.mark.parametrize(
    ("settings", "weighted"),
    [({"warning_delta": 0.3, "drift_delta": 0.1}, True), ({"warning_delta": None, "drift_delta": 0.2}, False)],
    ids=["background", "no-background"],
)
@pytest.mark.parametrize("events", ["classes", "labels"])
def test_it_equals_its_twin(settings, weighted, events):
    batch = drifting() if events == "classes" else stream(3, 300, missing=0.1)
    model = AdaptiveRandomForestClassifier(
        3, None, seed=5, disable_weighted_vote=not weighted, **settings, **TREE
    )  # fmt: skip
    twin = Forest(3, 5, settings["warning_delta"], settings["drift_delta"], weighted, **TREE)
    answers = run(model, batch, cuts=(1, 100, 257))
    assert np.allclose(answers.proba, twin.run(batch), rtol=0, atol=1e-12)
    assert model.events_ == twin.events
    if events == "classes":
        kinds = {event["kind"] for event in twin.events}
        assert kinds == ({"warning", "replacement"} if settings["warning_delta"] else {"drift"})


def test_draws_are_those_of_the_distribution():
    counts = np.zeros(500, np.int64)
    poissons(7, 2, 100, 6.0, counts)
    assert counts.tolist() == [poisson(7, 2, 100 + event, 6.0) for event in range(500)]
    assert abs(counts.mean() - 6.0) < 0.4


@pytest.mark.parametrize(
    ("max_features", "m"),
    [("sqrt", 4), ("log2", 4), (0.5, 5), (3, 3), (50, 10), (0.01, 1), (None, 0)],
)
def test_a_leaf_looks_at_so_many_columns(max_features, m):
    model = AdaptiveRandomForestClassifier(2, max_features)
    model.learn_batch(Batch.from_arrays(np.zeros((1, 10)), np.ones((1, 1), bool)))
    watched = model.get_state()["watched"]
    if not m:
        assert watched.size == 0
        return
    assert watched.shape[1] == m
    for row in watched:
        assert len(set(row.tolist())) == m
        assert (np.diff(row) > 0).all()


def test_every_column_is_drawn_as_often():
    counts = np.zeros(6)
    event = Batch.from_arrays(np.zeros((1, 6)), np.ones((1, 1), bool))
    for seed in range(60):
        model = AdaptiveRandomForestClassifier(10, 2, seed=seed)
        model.learn_batch(event)
        counts += np.bincount(model.get_state()["watched"].ravel(), minlength=6)
    expected = counts.sum() / 6
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_a_leaf_heeds_the_columns_that_it_looks_at_and_no_others():
    batch = drifting(120)
    model = AdaptiveRandomForestClassifier(1, 2, grace_period=10_000, warning_delta=None, drift_delta=None, seed=5)
    model.learn_batch(batch[:1])
    watched = np.argsort(named(batch.schema.feature_names))[model.get_state()["watched"][0]]
    alone = np.full_like(batch.x, np.nan)
    alone[:, watched] = batch.x[:, watched]
    tree = HoeffdingTreeClassifier(10_000)
    weights = np.array([poisson(5, 0, t, 6.0) for t in range(len(batch))], float)
    assert weights[0] > 0
    taught = np.flatnonzero(weights)
    tree.learn_batch(complete(batch.schema, alone, batch.y, np.maximum(weights, 1.0)).take(taught))
    model.learn_batch(batch[1:])
    masked = complete(batch.schema, alone, batch.y)
    assert np.allclose(model.predict_batch(batch).proba, tree.predict_batch(masked).proba, rtol=0, atol=1e-12)


def test_trees_are_replaced_where_the_stream_drifts():
    batch = drifting(4000, nominal=False)
    model = AdaptiveRandomForestClassifier(5, seed=1)
    still = AdaptiveRandomForestClassifier(5, seed=1, warning_delta=None, drift_delta=None)
    after = slice(2500, 4000)
    found, without = run(model, batch), run(still, batch)
    assert accuracy(found[after], batch[after]) > accuracy(without[after], batch[after]) + 0.1
    replaced = [event for event in model.events_ if event["kind"] == "replacement"]
    assert replaced
    assert all(2000 < event["event"] < 2700 for event in replaced)
    assert still.events_ == []


def test_many_trees_are_better_than_one_and_seeds_differ():
    events = radial(5, 20, 3000)
    whole = Batch.from_arrays(events.x, Rows(np.arange(3001), events.y.astype(np.int32)))
    scores = {
        (n, seed): accuracy(run(AdaptiveRandomForestClassifier(n, seed=seed), whole), whole)
        for n, seed in ((1, 1), (8, 1), (8, 2))
    }
    assert scores[8, 1] > scores[1, 1] + 0.05
    assert 0 < abs(scores[8, 1] - scores[8, 2]) < 0.03


def test_columns_count_from_the_event_that_brings_them():
    """What a header declares, and what the rest of a batch brings, changes no draw."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 8)).astype(np.float32)
    x[:100, 4:] = np.nan
    x[:3, 2] = np.nan
    truth = Rows.from_lists([[int(row[0] > 0)] for row in x])
    names = [f"x{j}" for j in range(8)]
    declared, found = (AdaptiveRandomForestClassifier(4, seed=3, grace_period=20, delta=0.2) for _ in range(2))
    labels = ["no", "yes"]
    expected = run(declared, complete(Schema(names, labels), x, truth), cuts=(60,))
    narrow = complete(Schema(names[:4], labels), x[:100, :4], truth[:100])
    wide = complete(Schema(names, labels), x[100:], truth[100:])
    answers = np.concatenate([found.test_then_train(narrow).proba, found.test_then_train(wide).proba])
    assert answers.tobytes() == expected.proba.tobytes()
    assert_same_state(declared, found)


def test_the_order_of_columns_changes_nothing():
    batch = drifting(300, nominal=False)
    names = batch.schema.feature_names
    order = [2, 0, 3, 1]
    other = complete(Schema([names[j] for j in order], ["p", "q", "r", "s"]), batch.x[:, order], batch.y)
    models = [AdaptiveRandomForestClassifier(3, seed=2, **TREE) for _ in range(2)]
    one, two = (run(model, each).proba for model, each in zip(models, (batch, other), strict=True))
    assert np.allclose(one, two, rtol=0, atol=1e-9)


def test_a_bound_on_memory_is_kept():
    events = radial(5, 20, 3000)
    whole = Batch.from_arrays(events.x, Rows(np.arange(3001), events.y.astype(np.int32)))
    model = AdaptiveRandomForestClassifier(3, max_bytes=60_000, seed=1)
    score = accuracy(run(model, whole), whole)
    state = model.get_state()
    assert sum(state[name].nbytes for name in ("nodes", "entries", "rows", "watched")) <= 60_000
    free = AdaptiveRandomForestClassifier(3, seed=1)
    assert accuracy(run(free, whole), whole) > score > 0.3
    assert free.nbytes > model.nbytes


def test_nothing_learned_is_no_answer():
    model = AdaptiveRandomForestClassifier()
    answer = model.predict_batch(Batch.from_arrays(np.zeros((2, 3)), np.zeros((2, 2), bool)))
    assert not len(answer.labels.indices)
    assert not answer.proba.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_models": 0}, "n_models must be at least 1, got 0"),
        ({"max_features": "all"}, "max_features must be 'sqrt', 'log2', a number or None, got 'all'"),
        ({"max_features": 1.5}, r"max_features must be in \(0, 1\] where it is a share, got 1.5"),
        ({"max_features": 0}, "max_features must be at least 1 where it is a number, got 0"),
        ({"lambda_value": 0.0}, r"lambda_value must be in \(0, 100\], got 0.0"),
        ({"drift_delta": 1.0}, r"drift_delta must be in \(0, 1\) or None, got 1.0"),
        ({"warning_delta": 0.0}, r"warning_delta must be in \(0, 1\) or None, got 0.0"),
        ({"grace_period": 0}, "grace_period must be at least 1, got 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveRandomForestClassifier(**settings)
