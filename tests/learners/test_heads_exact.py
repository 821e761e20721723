"""Closed-form heads: equal to their definitions at every event, in any order, in any cut, and merged from shards."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest

from learners.heads.gaussian import GaussianClassifier
from learners.heads.head import SolvedHead
from learners.heads.ncm import NCMClassifier
from learners.heads.normalising import KINDS, Normaliser
from learners.heads.ranpac import RanPACClassifier
from learners.heads.ridge import BalancedRidgeClassifier, RidgeClassifier
from learners.heads.rls import RLSClassifier
from learners.heads.slda import SLDAClassifier
from learners.heads.statistics import FROZEN_AT, ClassStatistics, features
from streams.batch import COMPLETE, NOMINAL, PARTIAL, UNLABELLED, Batch, Rows, Schema
from tests.naive import heads as naive


def stream(seed=0, n=60, d=5, n_classes=4, *, several=False):
    """Vectors around the means of their classes, some of whose columns are missing; the last class comes half-way."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, d)) * 2
    k = rng.integers(0, n_classes - 1, n)
    k[n // 2 :: 5] = n_classes - 1
    x = (centres[k] + rng.normal(size=(n, d)) + 1).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    y = np.eye(n_classes)[k]
    if several:
        y[rng.random(y.shape) < 0.2] = 1
        y[rng.random(n) < 0.1] = 0
    return Batch.from_arrays(x, y, weight=rng.choice([0.5, 1.0, 3.0], n))


def plain(batch):
    """Vectors, label lists and weights as the naive forms take them."""
    return (
        list(np.nan_to_num(batch.x.astype(np.float64))),
        [batch.y.row(i).tolist() for i in range(len(batch))],
        batch.weight.tolist(),
    )


def assert_equal_at_every_event(head, batch, answer, tolerance=1e-9):
    """Test-then-train equals ``answer(x, y, w, query)`` of the events that teach before each one."""
    x, y, w = plain(batch)
    prediction = head.test_then_train(batch)
    for i in range(len(batch)):
        before = [t for t in range(i) if head.multilabel or y[t]]
        expected = np.zeros(prediction.proba.shape[1])
        if any(y[t] for t in before):
            seen, proba = answer([x[t] for t in before], [y[t] for t in before], [w[t] for t in before], x[i])
            expected[seen] = proba
        np.testing.assert_allclose(prediction.proba[i], expected, atol=tolerance, rtol=0)
        if not head.multilabel:
            assert prediction.labels.row(i).tolist() == ([int(expected.argmax())] if expected.any() else [])
        else:
            assert prediction.labels.row(i).tolist() == np.flatnonzero(prediction.proba[i] > 0.5).tolist()


def named(part) -> str:
    """A head by what it is; a definition has but an address, which differs from run to run."""
    return "definition" if inspect.isfunction(part) else repr(part)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (NCMClassifier("euclidean"), lambda *event: naive.ncm(*event, cosine=False)),
        (NCMClassifier("cosine"), lambda *event: naive.ncm(*event, cosine=True)),
        (GaussianClassifier(), lambda *event: naive.gaussian(*event, prior=1)),
        (GaussianClassifier(prior=0.5), lambda *event: naive.gaussian(*event, prior=0.5)),
        (SLDAClassifier(0.1, refresh=1), lambda *event: naive.slda(*event, shrinkage=0.1, prior=0)),
        (
            SLDAClassifier(prior=0.5, refresh=1),
            lambda *event: naive.slda(*event, shrinkage="scheduled", prior=0.5),
        ),
        (RidgeClassifier(refresh=1), lambda *event: naive.ridge(*event, penalty=0.1, relative=True)),
        (
            RidgeClassifier(2.0, relative=False, refresh=1),
            lambda *event: naive.ridge(*event, penalty=2.0, relative=False),
        ),
        (BalancedRidgeClassifier(refresh=1), lambda *event: naive.balanced_ridge(*event, penalty=0.1)),
    ],
    ids=named,
)
def test_one_class_an_event(head, answer, several):
    assert_equal_at_every_event(head.clone(), stream(1, several=several), answer)


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (GaussianClassifier(multilabel=True), lambda *event: naive.gaussian_labels(*event, prior=1)),
        (
            RidgeClassifier(2.0, relative=False, refresh=1, multilabel=True),
            lambda *event: naive.ridge_labels(*event, penalty=2.0),
        ),
    ],
    ids=named,
)
def test_several_labels_an_event(head, answer):
    assert_equal_at_every_event(head, stream(2, several=True), answer, tolerance=1e-8)


@pytest.mark.parametrize("forgetting", [1.0, 0.97, 0.5])
def test_recursive_least_squares_is_ridge_at_every_event(forgetting):
    batch = stream(3, n=150)
    x, y, w = plain(batch)
    head = RLSClassifier(3.0, forgetting=forgetting, intercept=False)
    seen = naive.classes(y)
    for i in range(len(batch)):
        head.learn_batch(batch[i : i + 1])
        rows = naive.classes(y[: i + 1])
        targets = [[float(k in labels) for k in rows] for labels in y[: i + 1]]
        expected = naive.recursive(x[: i + 1], targets, w[: i + 1], penalty=3.0, forgetting=forgetting)
        state = head.get_state()
        assert state["class_labels"].tolist() == seen[: len(rows)]
        np.testing.assert_allclose(state["weights"], expected, atol=1e-8, rtol=0)


def test_forgetting_stays_bounded_where_nothing_points_to_any_longer():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3_000, 3)).astype(np.float32)
    x[50:, 2] = 0
    x[:, 1] = x[:, 0]
    head = RLSClassifier(forgetting=0.9)
    head.learn_batch(Batch.from_arrays(x, np.eye(2)[(x[:, 0] > 0).astype(int)]))
    state = head.get_state()
    assert np.isfinite(state["weights"]).all()
    assert 1 <= state["inverse"].max() < 1e3


def test_a_label_of_which_nothing_is_known_is_left_as_it_was():
    x = np.random.default_rng(5).normal(size=(40, 3)).astype(np.float32)
    y = (x[:, :2] > 0).astype(float)
    head = RLSClassifier(multilabel=True)
    head.learn_batch(Batch.from_arrays(x, y))
    before = head.get_state()["weights"]
    partly = Batch.from_arrays(x[:1], np.array([[1 - y[0, 0], np.nan]]))
    head.learn_batch(partly)
    after = head.get_state()["weights"]
    row = head.get_state()["class_labels"].tolist().index(1)
    assert np.array_equal(before[row], after[row])
    assert not np.array_equal(before[1 - row], after[1 - row])


def test_events_known_in_part_teach_a_shared_gram_matrix_nothing():
    for make in (GaussianClassifier, RidgeClassifier):
        head = make(multilabel=True)
        head.learn_batch(Batch.from_arrays(np.eye(3, dtype=np.float32), np.eye(2)[[0, 1, 1]]))
        before = head.get_state()
        head.learn_batch(Batch.from_arrays(np.ones((1, 3), np.float32), np.array([[1, np.nan]])))
        after = head.get_state()
        assert all(before[name].tobytes() == after[name].tobytes() for name in before)


# After ten thousand events.


def many(seed=6, n=10_000, d=20, n_classes=10):
    rng = np.random.default_rng(seed)
    k = rng.choice(n_classes, n, p=np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum())
    x = (rng.normal(size=(n_classes, d))[k] + rng.normal(size=(n, d)) @ rng.normal(size=(d, d))).astype(np.float32)
    return x, k


def learned(head, x, k, *, cuts=()):
    batch = Batch.from_arrays(x, np.eye(10)[k])
    for a, b in itertools.pairwise([0, *cuts, len(x)]):
        head.learn_batch(batch[a:b])
    return head


def by_label(weights):
    order = np.argsort(weights.labels)
    return weights.vectors[order], weights.offsets[order]


def test_after_ten_thousand_events_in_any_order_and_cut_a_head_is_its_batch_solution():
    x, k = many()
    wide, targets, ones = x.astype(np.float64), np.eye(10)[k], np.ones(len(x))
    means = np.array([wide[k == c].mean(axis=0) for c in range(10)])
    gaps = wide - means[k]
    covariance = gaps.T @ gaps / (len(x) - 10)
    covariance = 0.9 * covariance + 0.1 * np.trace(covariance) / 20 * np.eye(20)
    lda = np.linalg.solve(covariance, (means - wide.mean(axis=0)).T).T
    without = np.linalg.solve(wide.T @ wide + 5 * np.eye(20), wide.T @ targets).T
    free, _, _ = naive.regression(wide[::10], targets[::10], ones[::10], 5.0)
    orders = [np.arange(len(x)), np.random.default_rng(7).permutation(len(x)), np.argsort(k, kind="stable")]
    for order, cuts in zip(orders, [(), (1, 2, 77, 5_000), range(64, 10_000, 64)], strict=True):
        slda = learned(SLDAClassifier(0.1), x[order], k[order], cuts=cuts)
        np.testing.assert_allclose(by_label(slda.weights())[0], lda, atol=1e-8, rtol=0)
        state = learned(RLSClassifier(5.0, intercept=False), x[order], k[order], cuts=cuts).get_state()
        np.testing.assert_allclose(state["weights"][np.argsort(state["class_labels"])], without, atol=1e-8, rtol=0)
        tenth = np.isin(order, np.arange(0, len(x), 10))
        gram = learned(RidgeClassifier(5.0, relative=False), x[order][tenth], k[order][tenth], cuts=(3, 500))
        residual = _residual(gram, wide[::10], targets[::10], free)
        np.testing.assert_allclose(by_label(gram.weights())[0] * residual, free, atol=1e-8, rtol=0)


def _residual(head, x, targets, vectors):
    """Mean squared residual of a regression with free intercepts, by which scores are divided."""
    centred, shares = x - x.mean(axis=0), targets.mean(axis=0)
    return np.mean((targets - shares - centred @ vectors.T) ** 2)


MERGED = [
    NCMClassifier(),
    NCMClassifier("euclidean", normalise="layer"),
    GaussianClassifier(),
    GaussianClassifier(multilabel=True),
    SLDAClassifier(),
    RidgeClassifier(),
    RidgeClassifier(normalise="l2", multilabel=True),
    BalancedRidgeClassifier(),
    RanPACClassifier(40),
]


@pytest.mark.parametrize("head", MERGED, ids=repr)
def test_merged_shards_equal_the_whole(head):
    batch, query = stream(8, n=300), stream(9, n=20)
    whole = head.clone()
    whole.learn_batch(batch)
    merged, empty = merge_shards(head, batch)
    for other in (merged, empty):
        theirs = other.predict_batch(query).proba
        columns = [other.schema_.find_label(name) for name in batch.schema.label_names]
        reference = whole
        if isinstance(head, SolvedHead):
            reference = head.clone()
            reference.merge(whole)
        np.testing.assert_allclose(theirs[:, columns], reference.predict_batch(query).proba, atol=1e-8, rtol=0)


@pytest.mark.parametrize("head", [RLSClassifier(), RLSClassifier(0.1, intercept=False, multilabel=True)], ids=repr)
def test_merged_shards_of_recursive_least_squares_have_the_weights_of_the_whole(head):
    batch = stream(8, n=300)
    whole = head.clone()
    whole.learn_batch(batch)
    expected = whole.get_state()
    order = np.argsort(expected["class_labels"])
    for other in merge_shards(head, batch):
        state = other.get_state()
        find = other.schema_.find_label
        rows = [state["class_labels"].tolist().index(find(name)) for name in batch.schema.label_names]
        columns = np.array([other.schema_.find_feature(name) for name in batch.schema.feature_names])
        if head.intercept:
            columns = np.concatenate([[0], columns + 1])
        np.testing.assert_allclose(
            state["weights"][np.ix_(rows, columns)], expected["weights"][order], atol=1e-9, rtol=0
        )
        other.learn_batch(batch)
        twice = whole.clone()
        twice.learn_batch(batch)
        twice.learn_batch(batch)
        answers = other.predict_batch(batch).labels.to_dense(4)[:, [find(name) for name in batch.schema.label_names]]
        assert np.array_equal(answers, twice.predict_batch(batch).labels.to_dense(4))


def merge_shards(head, batch):
    """Two heads that hold three shards whose features and labels come in other orders, the last without two labels."""
    shards = [head.clone() for _ in range(3)]
    names = [["x0", "x1", "x2", "x3", "x4"], ["x4", "x2", "x0", "x1", "x3"], ["x1", "x0", "x2", "x3", "x4"]]
    labels = [["y3", "y0", "y2", "y1"], ["y0", "y1", "y2", "y3"], ["y1", "y2"]]
    for s, shard in enumerate(shards):
        here = np.flatnonzero((np.arange(300) % 3 == s) & ((s < 2) | ~batch.y.to_dense(4)[:, [0, 3]].any(1)))
        left = np.setdiff1d(np.flatnonzero(np.arange(300) % 3 == s), here)
        shard.learn_batch(batch.take(here).aligned(Schema(names[s], labels[s])))
        shards[0].learn_batch(batch.take(left))
    merged = shards[0]
    merged.merge(shards[1])
    merged.merge(shards[2])
    merged.merge(head.clone())
    empty = head.clone()
    empty.merge(merged)
    return merged, empty


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(ValueError, match="other must be SLDAClassifier"):
        SLDAClassifier().merge(SLDAClassifier(0.1))
    with pytest.raises(ValueError, match="normalise must be one of none, l2, layer to merge, got 'batch'"):
        NCMClassifier(normalise="batch").merge(NCMClassifier(normalise="batch"))
    with pytest.raises(ValueError, match=r"forgetting must be 1 to merge, got 0\.9"):
        RLSClassifier(forgetting=0.9).merge(RLSClassifier(forgetting=0.9))


# Statistics, freezing, normalisers.


@pytest.mark.parametrize("kind", ["spherical", "diagonal", "full"])
def test_statistics_are_those_of_the_definition(kind):
    batch = stream(10, n=200, several=True)
    x, y, w = plain(batch)
    taught = [i for i in range(len(x)) if y[i]]
    seen, n, means, scatter = naive.moments([x[i] for i in taught], [y[i] for i in taught], [w[i] for i in taught])
    statistics = ClassStatistics(kind)
    statistics.grow(5, 4)
    statistics.learn(features(batch, batch.schema), batch)
    present = statistics.present()
    assert present.labels.tolist() == seen
    np.testing.assert_allclose(present.n, n)
    np.testing.assert_allclose(present.means, means)
    expected = {"full": scatter, "diagonal": np.diag(scatter), "spherical": [np.trace(scatter)]}[kind]
    np.testing.assert_allclose(present.scatter, expected, rtol=1e-12)
    np.testing.assert_allclose(present.mean, n @ means / n.sum())


@pytest.mark.parametrize("refresh", [1, 5, 64, 100])
def test_moments_are_frozen_at_births_and_when_enough_was_learned(refresh):
    batch = stream(11, n=300)
    labels = [batch.y.row(i)[0] for i in range(len(batch))]
    births = {labels.index(k) + 1 for k in set(labels)}
    statistics = ClassStatistics(refresh=refresh)
    statistics.grow(5, 4)
    times = []
    for i in range(len(batch)):
        statistics.learn(features(batch[i : i + 1], batch.schema), batch[i : i + 1])
        if statistics.counters[FROZEN_AT] == i + 1:
            times.append(i + 1)
            for mine, theirs in zip(statistics.frozen(), statistics.present(), strict=True):
                assert np.array_equal(mine, theirs)
    assert times == naive.frozen_at(300, births, refresh)


def test_weights_are_those_of_the_frozen_moments():
    batch = stream(12, n=100)
    head = SLDAClassifier()
    head.learn_batch(batch)
    lag = 100 - int(head.get_state()["counters"][FROZEN_AT])
    other = SLDAClassifier(refresh=1)
    other.learn_batch(batch[: 100 - lag])
    assert lag > 0
    np.testing.assert_allclose(head.predict_batch(batch).proba, other.predict_batch(batch).proba, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_normalisers_are_those_of_the_definition(kind):
    rng = np.random.default_rng(13)
    x = rng.normal(size=(700, 3)) * [1, 5, 0.1] + [0, 3, 1]
    x[5] = 0
    taught = rng.random(700) < 0.95
    expected = naive.normalised(kind, x, taught)
    normaliser = Normaliser(kind)
    normaliser.grow(3)
    for a, b in itertools.pairwise([0, 1, 100, 699]):
        np.testing.assert_allclose(normaliser.apply(x[a:b].copy(), taught[a:b], True), expected[a:b], atol=1e-10)
    np.testing.assert_allclose(normaliser.apply(x[699:].copy(), taught[699:], False), expected[699:], atol=1e-10)
    restored = Normaliser(kind)
    restored.set_state(normaliser.get_state())
    assert np.array_equal(restored.apply(x.copy(), taught, True), normaliser.apply(x.copy(), taught, True))


def test_features_are_numbers_and_missing_ones_zero():
    schema = Schema(["a", "b", "c", "d"])
    schema.make_nominal(1, ["red"])
    schema.ignored.add(2)
    batch = Batch(schema, np.array([[1, 0, 5]], np.float32), Rows.empty(1), np.zeros(1, np.uint8))
    assert schema.kinds[1] == NOMINAL
    assert features(batch, schema).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    sparse = Rows(np.array([0, 1]), np.array([3]), np.array([np.nan], np.float32))
    assert features(Batch(schema, sparse, batch.y, batch.label_state), schema).tolist() == [[0.0] * 4]


def test_a_column_that_never_varied_makes_no_difference():
    batch = stream(14)
    wide = Batch.from_arrays(np.column_stack([batch.x, np.zeros((60, 3), np.float32)]), batch.y.to_dense(4))
    narrow = Batch.from_arrays(batch.x, batch.y.to_dense(4))
    for head in (SLDAClassifier(), RidgeClassifier(), BalancedRidgeClassifier(), GaussianClassifier()):
        answers = [head.clone().test_then_train(rows).proba for rows in (narrow, wide)]
        np.testing.assert_allclose(*answers, atol=1e-9)


def test_projections_belong_to_names():
    batch = stream(15)
    order = np.array([3, 1, 4, 0, 2])
    names = [batch.schema.feature_names[j] for j in order]
    moved = Batch.from_arrays(
        batch.x[:, order], batch.y.to_dense(4), schema=Schema(names, batch.schema.label_names), weight=batch.weight
    )
    answers = [RanPACClassifier(50, seed=3).test_then_train(rows).proba for rows in (batch, moved)]
    np.testing.assert_allclose(*answers, atol=1e-8)
    other = RanPACClassifier(50, seed=4).test_then_train(batch).proba
    assert np.abs(other - answers[0]).max() > 1e-3


def test_projections_are_cut_at_zero_before_the_ridge():
    batch = stream(16)
    head = RanPACClassifier(30, refresh=1)
    lifted = np.maximum(0, features(batch, batch.schema) @ head_projections(head, batch).T)
    x, y, w = list(lifted), [batch.y.row(i).tolist() for i in range(60)], batch.weight.tolist()
    answers = head.test_then_train(batch).proba
    for i in (1, 17, 59):
        seen, proba = naive.ridge(x[:i], y[:i], w[:i], x[i], penalty=0.1, relative=True)
        np.testing.assert_allclose(answers[i][seen], proba, atol=1e-8)


def head_projections(head, batch):
    """The projections that a head uses for the features of a batch."""
    other = head.clone()
    other.learn_batch(batch)
    return other._projections


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NCMClassifier("angle"), "metric must be one of euclidean, cosine, got 'angle'"),
        (lambda: NCMClassifier(normalise="l1"), "normalise must be one of none, l2, layer, quadratic, batch, got 'l1'"),
        (lambda: GaussianClassifier(prior=-1), "prior must be at least 0 and finite, got -1"),
        (lambda: SLDAClassifier(0), "shrinkage must be in"),
        (lambda: SLDAClassifier("oas"), "shrinkage must be in"),
        (lambda: SLDAClassifier(prior=float("inf")), "prior must be at least 0 and finite, got inf"),
        (lambda: SLDAClassifier(refresh=0), "refresh must be at least 1, got 0"),
        (lambda: RidgeClassifier(0), "penalty must be above 0 and finite, got 0"),
        (lambda: BalancedRidgeClassifier(-1), "penalty must be above 0 and finite, got -1"),
        (lambda: RLSClassifier(0), "penalty must be above 0 and finite, got 0"),
        (lambda: RLSClassifier(forgetting=0), "forgetting must be in"),
        (lambda: RanPACClassifier(0), "n_projections must be at least 1, got 0"),
        (lambda: RanPACClassifier(seed=-1), "seed must be at least 0, got -1"),
        (lambda: ClassStatistics("tied"), "scatter must be one of spherical, diagonal, full, got 'tied'"),
        (lambda: ClassStatistics(refresh=-1), "refresh must be at least 0, got -1"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_state_of_another_shape_is_refused():
    batch = stream(17)
    for head, name in ((SLDAClassifier(), "scatter"), (RLSClassifier(), "inverse")):
        head.learn_batch(batch)
        state = head.get_state()
        with pytest.raises(ValueError, match=f"state '{name}' must have shape"):
            head.set_state({**state, name: np.zeros((2, 2))})


def test_unlabelled_events_are_answered():
    batch = stream(18)
    states = np.full(60, UNLABELLED, np.uint8)
    states[:30] = COMPLETE
    y = batch.y.to_dense(4) * (states == COMPLETE)[:, None]
    half = Batch(batch.schema, batch.x, Rows.from_dense(y), states, None, batch.weight)
    for head in (NCMClassifier(), SLDAClassifier(), RLSClassifier()):
        prediction = head.test_then_train(half)
        assert np.diff(prediction.labels.indptr)[1:].tolist() == [1] * 59
        np.testing.assert_allclose(prediction.proba[1:].sum(axis=1), 1)
    assert PARTIAL not in states
