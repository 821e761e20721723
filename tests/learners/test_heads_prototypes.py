"""Sub-prototypes and Loki against their definitions, and what they promise beside."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from ihomer.cooccurrence import CooccurrenceStore
from ihomer.specs import build
from learners.heads.loki import LokiClassifier
from learners.heads.ncm import NCMClassifier
from learners.heads.slda import SLDAClassifier
from learners.heads.subprototypes import SubPrototypeClassifier
from streams.batch import Batch, Schema
from tests import contracts
from tests.naive import heads_prototypes as naive

NAMES = ["y0", "y1", "y2", "y3"]
FAMILIES = {"y0": {"y1": 0.5, "left": 0.4}, "y1": {"left": 0.4}, "y2": {"y3": 0.5}, "y3": {"y0": 2.0}}


def stream(seed=0, n=120, d=5, *, several=False) -> Batch:
    """Classes of two clouds each, with missing values; the last comes half-way."""
    rng = np.random.default_rng(seed)
    k = rng.integers(0, 3, n)
    k[n // 2 :: 5] = 3
    x = rng.normal(size=(4, 2, d))[k, rng.integers(2, size=n)] * 2 + rng.normal(size=(n, d))
    x[rng.random(x.shape) < 0.05] = np.nan
    x[5] = np.nan
    y = np.eye(4)[k]
    if several:
        y[rng.random(y.shape) < 0.2] = 1
        y[rng.random(n) < 0.1] = 0
    schema = Schema([f"x{j}" for j in range(d)], NAMES)
    return Batch.from_arrays(x.astype(np.float32), y, schema=schema, weight=rng.choice([0.5, 1.0, 3.0], n))


def plain(batch: Batch) -> tuple[list, list, list]:
    """Vectors, label lists and weights as the naive forms take them."""
    x = np.nan_to_num(batch.x.astype(np.float64))
    return list(x), [batch.y.row(i).tolist() for i in range(len(batch))], batch.weight.tolist()


def batch_of(x: np.ndarray, k: np.ndarray, n_classes: int) -> Batch:
    schema = Schema([f"x{j}" for j in range(x.shape[1])], [f"y{j}" for j in range(n_classes)])
    return Batch.from_arrays(x.astype(np.float32), np.eye(n_classes)[k], schema=schema)


def same(one, a, other, b) -> None:
    contracts.assert_same_answers(one, a, other, b)
    assert a.labels.indices.tolist() == b.labels.indices.tolist()


# Sub-prototypes.


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("most", [1, 3, 20])
def test_sub_prototypes_agree_with_their_definition_at_every_event(most, several):
    batch = stream(1, several=several)
    x, y, w = plain(batch)
    found = SubPrototypeClassifier(most).test_then_train(batch)
    for i in range(len(batch)):
        seen, expected = naive.heads.classes(y[:i]), np.zeros(4)
        if seen:
            seen, expected[seen] = naive.sub_prototypes(x[:i], y[:i], w[:i], x[i], most=most)
        # Centroids are held in single precision.
        np.testing.assert_allclose(found.proba[i], expected, atol=1e-4)
        assert found.labels.row(i).tolist() == ([max(seen, key=lambda k: found.proba[i, k])] if seen else [])


def test_equal_and_empty_vectors_agree_with_the_definition():
    x = np.ones((60, 3))
    x[::7] = 0
    k = np.arange(60) % 2
    found = SubPrototypeClassifier(4).test_then_train(batch_of(x, k, 2))
    for i in range(1, 60):
        seen, expected = naive.sub_prototypes(list(x[:i]), [[c] for c in k[:i]], [1.0] * i, x[i], most=4)
        np.testing.assert_allclose(found.proba[i, seen], expected, atol=1e-5)


def test_one_sub_prototype_is_the_class_mean_by_angle():
    train, query = stream(2), stream(3)
    one, mean = SubPrototypeClassifier(1), NCMClassifier()
    one.learn_batch(train)
    mean.learn_batch(train)
    assert one.predict_batch(query).labels.indices.tolist() == mean.predict_batch(query).labels.indices.tolist()


def test_clouds_on_two_sides_are_told_apart():
    rng = np.random.default_rng(4)
    k = rng.integers(0, 3, 900)
    directions = np.array([[[4, 0, 0], [-4, 0, 0]], [[0, 4, 0], [0, -4, 0]], [[0, 0, 4], [0, 0, -4]]])
    x = directions[k, rng.integers(2, size=900)] + rng.normal(size=(900, 3))
    right = {}
    for head in (SubPrototypeClassifier(), NCMClassifier()):
        head.learn_batch(batch_of(x[:600], k[:600], 3))
        answers = head.predict_batch(batch_of(x[600:], k[600:], 3))
        right[type(head)] = (answers.labels.indices == k[600:]).mean()
    assert right[SubPrototypeClassifier] > 0.9
    assert right[NCMClassifier] < 0.7


def test_a_class_has_no_more_sub_prototypes_than_asked_for():
    x = np.random.default_rng(5).normal(size=(1000, 4))
    head = SubPrototypeClassifier(3)
    for start in (0, 500):
        head.learn_batch(batch_of(x[start : start + 500], np.arange(500) % 2, 2))
        assert head.get_state()["centroids"].shape == (6, 4)


def test_heavy_first_events_split_their_class_at_once():
    x = np.random.default_rng(6).normal(size=(40, 3)).astype(np.float32)
    batch = Batch.from_arrays(x, np.eye(40), weight=np.full(40, 100.0))
    head = SubPrototypeClassifier(2)
    head.learn_batch(batch)
    assert len(head.get_state()["centroids"]) == 80
    assert head.predict_batch(batch).labels.indices.tolist() == list(range(40))


def test_refuses_no_sub_prototypes():
    with pytest.raises(ValueError, match="n_prototypes must be at least 1, got 0"):
        SubPrototypeClassifier(0)
    with pytest.raises(ValueError, match=r"normalise must be one of none, .*, got 'all'"):
        SubPrototypeClassifier(normalise="all")


# Loki.


def distance_of(metric: dict, farthest: float):
    """The distance that a mapping stands for."""

    def distance(a, b):
        return 0.0 if a == b else metric.get(a, {}).get(b, metric.get(b, {}).get(a, farthest))

    return distance


def along_a_line(names):
    """The matrix of distances of labels that stand where their last figure says."""
    places = np.array([int(str(name)[-1]) for name in names])
    return abs(places[:, None] - places)


def assert_loki(head, batch, answer) -> None:
    """Test-then-train equals ``answer(x, y, w, query)``, in label names, at every event."""
    x, y, w = plain(batch)
    found = head.test_then_train(batch)
    names = head.schema_.label_names
    for i in range(len(batch)):
        taught = [t for t in range(i) if y[t]]
        if not taught:
            assert not found.proba[i].any()
            assert not len(found.labels.row(i))
            continue
        labels = [[NAMES[label] for label in y[t]] for t in taught]
        order, gains = answer([x[t] for t in taught], labels, [w[t] for t in taught], x[i])
        expected = dict(zip(order, gains, strict=True))
        np.testing.assert_allclose(found.proba[i], [expected.get(name, 0.0) for name in names], atol=1e-8)
        (chosen,) = found.labels.row(i).tolist()
        assert expected[names[chosen]] == pytest.approx(max(gains), abs=1e-12)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_loki_agrees_with_its_definition_at_every_event(temperature, several):
    batch = stream(7, several=several)

    def answer(*event, distance, candidates=(), largest):
        return naive.loki(
            *event, candidates=list(candidates), distance=distance, largest=largest, temperature=temperature
        )

    def along(*event):
        seen = naive.heads.classes(event[1])
        places = [NAMES.index(name) for name in seen]
        largest = max(places) - min(places) or 1
        return answer(*event, distance=lambda a, b: NAMES.index(a) - NAMES.index(b), largest=largest)

    settings = {"shrinkage": 0.1, "refresh": 1}
    assert_loki(
        LokiClassifier(FAMILIES, temperature, **settings),
        batch,
        lambda *event: answer(*event, distance=distance_of(FAMILIES, 2.0), candidates=[*NAMES, "left"], largest=2.0),
    )
    assert_loki(LokiClassifier(along_a_line, temperature, **settings), batch, along)
    assert_loki(
        LokiClassifier(None, temperature, **settings),
        batch,
        lambda *event: answer(*event, distance=naive.jaccard(*event[1:3]), largest=1.0),
    )


ZERO_ONE = {a: {b: 3.0 * (a != b) for b in NAMES} for a in NAMES}


@pytest.mark.parametrize("metric", [None, ZERO_ONE, lambda names: 1 - np.eye(len(names))], ids=["none", "map", "call"])
@pytest.mark.parametrize("settings", [{}, {"shrinkage": 0.2, "prior": 1.0, "normalise": "layer", "refresh": 7}])
def test_where_all_labels_are_equally_far_loki_is_its_base(metric, settings):
    batch = stream(8, n=300)
    loki, base = LokiClassifier(metric, **settings), SLDAClassifier(**settings)
    same(loki, loki.test_then_train(batch), base, base.test_then_train(batch))
    warm = LokiClassifier(metric, 5.0, **settings)
    warm.learn_batch(batch)
    assert warm.predict_batch(batch).labels.indices.tolist() == base.predict_batch(batch).labels.indices.tolist()


def test_a_coarse_metric_lowers_the_mean_squared_distance():
    rng = np.random.default_rng(9)
    names = [f"y{j}" for j in range(6)]
    k = rng.integers(0, 6, 4000)
    x = rng.normal(size=(6, 8))[k] * 0.6 + rng.normal(size=(4000, 8))
    group = np.array([0, 0, 0, 0, 1, 2])
    distances = np.where(group[:, None] == group, 0.2, 1.0) * (1 - np.eye(6))
    metric = {a: dict(zip(names, map(float, row), strict=True)) for a, row in zip(names, distances, strict=True)}
    cost, right = [], []
    for head in (SLDAClassifier(), LokiClassifier(metric)):
        head.learn_batch(batch_of(x[:2000], k[:2000], 6))
        answers = head.predict_batch(batch_of(x[2000:], k[2000:], 6)).labels.indices
        cost.append((distances[answers, k[2000:]] ** 2).mean())
        right.append((answers == k[2000:]).mean())
    assert cost[1] < 0.97 * cost[0]
    assert right[1] < right[0]


def test_a_label_that_never_came_is_answered_where_it_is_in_the_middle():
    x = np.array([[-1.0], [-0.9], [-1.1], [1.0], [0.9], [1.1]])
    head = LokiClassifier({"middle": {"y0": 1.0, "y1": 1.0}, "y0": {"y1": 2.0}}, 4.0)
    head.learn_batch(batch_of(x, np.array([0, 0, 0, 1, 1, 1]), 2))
    assert {name for name, held in head.predict_one({"x0": 0.0}).items() if held} == {"middle"}
    assert {name for name, held in head.predict_one({"x0": 9.0}).items() if held} == {"y1"}


def test_a_label_that_the_metric_leaves_out_is_as_far_as_can_be():
    batch = stream(10)
    head = LokiClassifier({"y0": {"y1": 1.0}, "y1": {"far": 2.0}}, refresh=1)
    base = SLDAClassifier(refresh=1)
    found, shares = head.test_then_train(batch), base.test_then_train(batch)
    columns = [head.schema_.find_label(name) for name in ("y2", "y3")]
    np.testing.assert_array_equal(found.proba[:, columns], shares.proba[:, 2:])
    assert (found.proba[10:, head.schema_.find_label("y0")] > shares.proba[10:, 0]).any()


def test_the_learned_metric_is_that_of_the_label_hierarchy():
    batch = stream(11, several=True)
    batch.weight[:] = 1
    store = CooccurrenceStore()
    store.update_many(batch.y)

    def metric(names):
        labels = [NAMES.index(name) for name in names]
        return [[float(a != b) * (1 - store.jaccard(a, b)) for b in labels] for a in labels]

    learned, given = LokiClassifier(temperature=5.0), LokiClassifier(metric, 5.0)
    learned.learn_batch(batch)
    given.learn_batch(batch)
    mine, theirs = learned.predict_batch(batch), given.predict_batch(batch)
    assert mine.labels.indices.tolist() == theirs.labels.indices.tolist()
    farthest = np.max(metric(NAMES))
    np.testing.assert_allclose(1 - mine.proba, (1 - theirs.proba) * farthest**2, atol=1e-12)


def test_labels_that_come_together_stand_in_for_each_other():
    rng = np.random.default_rng(12)
    k = rng.integers(0, 3, 600)
    y = np.eye(3)[k]
    y[k == 0, 1] = rng.random((k == 0).sum()) < 0.9
    x = (np.eye(3)[k] + 0.7 * rng.normal(size=(600, 3))).astype(np.float32)
    batch = Batch.from_arrays(x, y)
    loki, base = LokiClassifier(), SLDAClassifier()
    loki.learn_batch(batch)
    base.learn_batch(batch)
    answered = [np.bincount(head.predict_batch(batch).labels.indices, minlength=3) for head in (loki, base)]
    assert answered[0][2] < answered[1][2]


def test_shards_merge_with_the_pairs_of_their_labels():
    batch = stream(13, n=200, several=True)
    whole, first, second = (LokiClassifier(refresh=1) for _ in range(3))
    whole.learn_batch(batch)
    first.learn_batch(batch[:60])
    second.learn_batch(batch.take(np.arange(60, 200)[::-1]))
    first.merge(second)
    query = stream(14)
    np.testing.assert_allclose(first.predict_batch(query).proba, whole.predict_batch(query).proba, atol=1e-9)
    pairs = [
        {
            tuple(sorted(state["class_labels"][pair])): joint
            for pair, joint in zip(state["pairs"], state["joint"], strict=True)
        }
        for state in (first.get_state(), whole.get_state())
    ]
    assert pairs[0] == pytest.approx(pairs[1])


@pytest.mark.parametrize(
    "metric", [{"y0": {"y1": 0.3, "y2": 1.0}, "y3": {"y4": 0.5}}, along_a_line], ids=["map", "call"]
)
@pytest.mark.parametrize(
    "law",
    [
        contracts.one_batch_equals_many,
        contracts.test_then_train_is_predict_then_learn,
        contracts.predicting_changes_nothing,
        contracts.a_saved_learner_goes_on,
        contracts.a_clone_is_fresh,
        contracts.the_state_is_all_there_is,
        contracts.twice_is_the_same_bytes,
        contracts.unlabelled_events_teach_nothing,
    ],
    ids=lambda law: law.__name__,
)
def test_a_metric_that_is_given_breaks_no_law(law, metric):
    law(lambda: LokiClassifier(metric, 2.0, refresh=5))


def test_parameters_can_be_written_copied_and_pickled():
    head = build("loki:metric={'a': {'b': 0.5}, 'c': {'b': 1.0}},temperature=2")
    assert head.metric == {"a": {"b": 0.5}, "c": {"b": 1.0}}
    assert head.schema_.label_names == ["a", "b", "c"]
    for other in (head.clone(), pickle.loads(pickle.dumps(head))):
        assert repr(other) == repr(head)
        contracts.assert_same_state(head, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, r"temperature must be above 0 and finite, got 0\.0"),
        ({"metric": "tree"}, "metric must be a mapping of mappings, a callable or None, got 'tree'"),
        ({"metric": {"a": {"b": -1.0}}}, "metric must be finite and at least 0, got"),
        ({"metric": {"a": {"b": float("nan")}}}, "metric must be finite and at least 0, got"),
        ({"metric": {"a": {"a": 1.0, "b": 2.0}}}, "metric must be 0 between a label and itself, got"),
        ({"metric": {"a": {"b": 1.0}, "b": {"a": 2.0}}}, "metric must be the same in both orders, got"),
        ({"metric": {"a": {"b": 0.0}}}, "metric must part some labels, got 0 for all"),
        ({"shrinkage": 2.0}, r"shrinkage must be in \[1e-8, 1\] or 'scheduled', got 2\.0"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        LokiClassifier(**settings)


def test_refuses_a_matrix_of_other_labels():
    head = LokiClassifier(lambda names: np.zeros((9, 9)))
    head.learn_batch(stream(15))
    with pytest.raises(ValueError, match=r"metric must give distances of shape \(4, 4\), got \(9, 9\)"):
        head.predict_batch(stream(15))
