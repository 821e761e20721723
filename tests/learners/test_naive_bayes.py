"""Naive Bayes against its twin and river's, and what it promises beyond the laws of all learners."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from river import multioutput, naive_bayes

from learners.naive_bayes import BernoulliNBClassifier, GaussianNBClassifier
from streams.batch import COMPLETE, Batch, Rows, Schema
from streams.opening import open_source
from tests import contracts
from tests.naive import learners_naive_bayes as naive

BOTH = [GaussianNBClassifier, BernoulliNBClassifier]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("settings", [{}, {"density_floor": 1e-3, "alpha": 0.0}], ids=str)
def test_gaussian_equals_twin(settings, sparse):
    batch = contracts.stream(30, states=contracts.ALL_STATES, sparse=sparse, n_labels=9)
    answer = GaussianNBClassifier(**settings).test_then_train(batch)
    np.testing.assert_allclose(answer.proba, naive.gaussian(batch, **settings), rtol=1e-9, atol=1e-12)
    assert (answer.labels.to_dense(9) == (answer.proba > 0.5)).all()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("settings", [{}, {"alpha": 0.0}, {"alpha": 0.1, "true_threshold": 0.5}], ids=str)
def test_bernoulli_equals_twin(settings, sparse):
    batch = contracts.stream(31, states=contracts.ALL_STATES, sparse=sparse, n_labels=9)
    answer = BernoulliNBClassifier(**settings).test_then_train(batch)
    np.testing.assert_allclose(answer.proba, naive.bernoulli(batch, **settings), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_labels", [1, 7, 8])
def test_ties_and_constants_equal_the_twin(n_labels):
    rng = np.random.default_rng(n_labels)
    x = rng.integers(0, 2, (60, 5)).astype(np.float32)
    x[:, 0] = 3.25
    x[:, 1] = np.nan
    batch = Batch.from_arrays(x, rng.random((60, n_labels)) < 0.3)
    for model, twin in ((GaussianNBClassifier(), naive.gaussian), (BernoulliNBClassifier(), naive.bernoulli)):
        np.testing.assert_allclose(model.test_then_train(batch).proba, twin(batch), rtol=1e-9, atol=1e-12)


def against_river(x, y, ours, peer, *, sparse=False):
    """Largest distance between probabilities of ours and of one river classifier a label."""
    x = np.asarray(x, np.float32)
    features = Rows.from_dense(x, values=True) if sparse else x
    schema = Schema([f"x{j}" for j in range(x.shape[1])], [f"y{j}" for j in range(y.shape[1])], sparse=sparse)
    proba = ours.test_then_train(Batch.from_arrays(features, y, schema=schema)).proba
    model, theirs = multioutput.PerOutputClassifier(peer), np.zeros(y.shape)
    for t in range(len(x)):
        event = {f"x{j}": float(v) for j, v in enumerate(x[t]) if not (np.isnan(v) or (sparse and v == 0))}
        for name, p in model.predict_proba_one(event).items():
            theirs[t, schema.find_label(name)] = p.get(True, 0.0)
        model.learn_one(event, {name: bool(y[t, j]) for j, name in enumerate(schema.label_names)})
    assert 0.02 < theirs.mean() < 0.98
    return np.abs(proba - theirs).max()


def events_of(name, n):
    batch = open_source(name).next_batch(n)
    return batch.x, batch.y.to_dense(batch.schema.n_labels).astype(bool)


@pytest.mark.parametrize("name", ["yeast", "emotions"])
def test_gaussian_equals_river_on_real_events(name):
    x, y = events_of(name, 120)
    assert against_river(x, y, GaussianNBClassifier(), naive_bayes.GaussianNB()) < 1e-9


def test_gaussian_equals_river_with_missing_values_and_constants():
    rng = np.random.default_rng(32)
    x = rng.normal(size=(150, 12)) * 10.0 ** rng.integers(-3, 4, 12)
    x[:, 3] = 1.5
    x[:, 4] = rng.integers(0, 2, 150)
    x[rng.random(x.shape) < 0.2] = np.nan
    y = rng.random((150, 10)) < rng.random(10) * 0.5
    assert against_river(x, y, GaussianNBClassifier(), naive_bayes.GaussianNB()) < 1e-9


@pytest.mark.parametrize("sparse", [False, True])
def test_bernoulli_equals_river(sparse):
    rng = np.random.default_rng(33)
    x = np.where(rng.random((150, 40)) < 0.2, rng.random((150, 40)) + 0.01, 0)
    y = rng.random((150, 10)) < rng.random(10) * 0.5
    ours = BernoulliNBClassifier(alpha=0.5)
    assert against_river(x, y, ours, naive_bayes.BernoulliNB(alpha=0.5), sparse=sparse) < 1e-9


def test_bernoulli_equals_river_above_a_threshold():
    x, y = events_of("yeast", 60)
    ours, theirs = BernoulliNBClassifier(true_threshold=0.05), naive_bayes.BernoulliNB(true_threshold=0.05)
    assert against_river(x, y, ours, theirs) < 1e-9


@pytest.mark.parametrize("make", BOTH)
def test_sparse_zeros_are_numbers(make):
    """A sparse row means what the dense row with its zeros means, once every column has been seen."""
    batch = contracts.stream(34, sparse=True, nominal=False)
    schema = Schema(batch.schema.feature_names, batch.schema.label_names)
    dense = Batch(schema, batch.x.to_dense(6), batch.y, batch.label_state, weight=batch.weight)
    mine, theirs = make().test_then_train(batch).proba, make().test_then_train(dense).proba
    np.testing.assert_allclose(mine[30:], theirs[30:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("make", BOTH)
def test_merged_parts_equal_the_whole(make, sparse):
    batch = contracts.stream(35, states=contracts.ALL_STATES, sparse=sparse)
    whole = make()
    whole.learn_batch(batch)
    for cuts in ([35], [0], [70], [1, 2, 50]):
        merged = make()
        for start, stop in itertools.pairwise([0, *cuts, 70]):
            part = make()
            part.learn_batch(batch[start:stop])
            merged.merge(part)
        for name, array in whole.get_state().items():
            if name in make._tables_of:
                np.testing.assert_allclose(merged.get_state()[name], array, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            merged.predict_batch(batch).proba, whole.predict_batch(batch).proba, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("make", BOTH)
def test_merged_by_name(make):
    """Each part has names of its own, in its own order, and learns what the other never heard of."""
    colours = ["red", "blue", "red", "green", "blue", "red"]
    events = [({"a": float(i % 4), "b": float(i * i % 5), "c": colours[i]}, {"p": i % 2 == 0}) for i in range(6)]
    whole, first, second = make(), make(), make()
    for i, (x, y) in enumerate(events):
        part = first
        if i >= 3:
            part, x, y = second, {"c": x["c"], "b": x["b"], "d": 1.0 + i, "a": x["a"]}, {"q": i > 3, **y}
        for model in (whole, part):
            model.learn_one(x, y)
    first.merge(second)
    x = {"a": 1.0, "b": 2.0, "c": "red", "d": 5.0}
    mine, theirs = whole.predict_proba_one(x), first.predict_proba_one(x)
    assert mine.keys() == theirs.keys()
    for label in mine:
        assert mine[label][True] == pytest.approx(theirs[label][True], rel=1e-9)


def test_what_cannot_be_merged():
    model, sparse = GaussianNBClassifier(), GaussianNBClassifier()
    with pytest.raises(ValueError, match=r"other must be GaussianNBClassifier [^B]*, got BernoulliNBClassifier"):
        model.merge(BernoulliNBClassifier())
    with pytest.raises(
        ValueError, match=r"other must be GaussianNBClassifier [^B]*, got GaussianNBClassifier [^B]*alpha=2"
    ):
        model.merge(GaussianNBClassifier(alpha=2.0))
    model.learn_batch(contracts.stream(36))
    sparse.learn_batch(contracts.stream(36, sparse=True))
    with pytest.raises(ValueError, match="other must have dense rows, got sparse ones"):
        model.merge(sparse)


@pytest.mark.parametrize("make", BOTH)
def test_labels_that_turn_up_in_any_number_find_their_past(make):
    """A label's first event finds all the events before it among those in which the label was absent."""
    rng = np.random.default_rng(37)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    first = np.arange(40) // 2
    truth = np.arange(40)[:, None] >= first.max() - np.arange(20)[None, :]
    declared, found = make(), make()
    expected = declared.test_then_train(Batch.from_arrays(x, truth)).proba
    schema = Schema(["x0", "x1", "x2"])
    for t in range(40):
        labels = Rows.from_lists([[schema.label_id(f"y{j}") for j in np.flatnonzero(truth[t])]])
        answer = found.test_then_train(Batch(schema, x[t : t + 1], labels, np.full(1, COMPLETE, np.uint8))).proba[0]
        held = {name: answer[j] for j, name in enumerate(schema.label_names)}
        assert all(held.get(f"y{j}", 0.0) == expected[t, j] for j in range(20))


@pytest.mark.parametrize("make", BOTH)
def test_a_heavy_event_is_as_many_events(make):
    batch = contracts.stream(38)
    times = np.random.default_rng(38).integers(1, 4, len(batch))
    heavy, many = make(), make()
    heavy.learn_batch(Batch(batch.schema, batch.x, batch.y, batch.label_state, weight=times.astype(float)))
    many.learn_batch(
        Batch(batch.schema, batch.x, batch.y, batch.label_state).take(np.repeat(np.arange(len(batch)), times))
    )
    mine, theirs = heavy.predict_batch(batch).proba, many.predict_batch(batch).proba
    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_extreme_numbers_do_no_harm():
    x = np.array([[1e38, 1e-38], [-1e38, 2e-38], [1e38, 1e-38], [3e38, 0.0], [0.0, 1.0]])
    y = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
    model = GaussianNBClassifier()
    proba = model.test_then_train(Batch.from_arrays(np.tile(x, (10, 1)), np.tile(y, (10, 1)))).proba
    assert np.isfinite(proba).all()


def test_ignored_columns_change_nothing():
    batch = contracts.stream(39)
    schema = Schema(["row", *batch.schema.feature_names], batch.schema.label_names)
    schema.make_nominal(0, [str(i) for i in range(len(batch))])
    schema.make_nominal(6, batch.schema.categories[5])
    schema.ignored.add(0)
    x = np.column_stack([np.arange(len(batch)), batch.x]).astype(np.float32)
    wider = Batch(schema, x, batch.y, batch.label_state, weight=batch.weight)
    for make in BOTH:
        narrow, wide, restored = make(), make(), make()
        assert (narrow.test_then_train(batch).proba == wide.test_then_train(wider).proba).all()
        restored.set_state(wide.get_state())
        assert (restored.predict_batch(wider).proba == narrow.predict_batch(batch).proba).all()


def test_a_state_of_another_shape_is_refused():
    model = GaussianNBClassifier()
    model.learn_one({"a": 1.0}, {"p": True})
    state = model.get_state()
    state["mean"] = np.zeros((5, 2, 1))
    with pytest.raises(ValueError, match=r"state 'mean' must have shape \(2, 2, 2\), got \(5, 2, 1\)"):
        model.set_state(state)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (GaussianNBClassifier, {"density_floor": 0.0}, r"density_floor must be in \[1e-30, 1\], got 0.0"),
        (GaussianNBClassifier, {"alpha": -1.0}, "alpha must be at least 0 and finite, got -1.0"),
        (GaussianNBClassifier, {"threshold": 0.0}, r"threshold must be in \(0, 1\) or 'f1', got 0.0"),
        (BernoulliNBClassifier, {"alpha": float("inf")}, "alpha must be at least 0 and finite, got inf"),
        (BernoulliNBClassifier, {"true_threshold": -0.5}, "true_threshold must be at least 0 and finite, got -0.5"),
        (BernoulliNBClassifier, {"threshold": "best"}, r"threshold must be in \(0, 1\) or 'f1', got 'best'"),
    ],
)
def test_bad_settings_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)
