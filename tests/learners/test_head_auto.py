"""The default head against its definition, and what it promises beside."""

from __future__ import annotations

import numpy as np
import pytest

from learners.heads.auto import AutoHead
from learners.heads.lifting import Lift
from learners.heads.slda import SLDAClassifier
from learners.heads.splitting import Centroids
from streams.batch import Batch, Schema
from tests.naive import heads_auto as naive


def vectors(n: int, k: int = 5, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes of unlike size, each of two clouds."""
    rng = np.random.default_rng(seed)
    y = np.minimum(rng.geometric(0.4, n) - 1, k - 1)
    centres = np.random.default_rng(5).normal(size=(k, 2, d)) * 2
    x = centres[y, rng.integers(2, size=n)] + rng.normal(size=(n, d))
    return x.astype(np.float32), y


def batch_of(x: np.ndarray, y: np.ndarray, k: int = 5) -> Batch:
    return Batch.from_arrays(x, np.eye(k)[y], schema=Schema([f"x{j}" for j in range(x.shape[1])], range(k)))


def proba_of(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize("most", [0, 3])
@pytest.mark.parametrize("objective", ["plain", "balanced"])
@pytest.mark.parametrize("n", [1, 2, 7, 33, 64, 150])
def test_agrees_with_its_definition(most: int, objective: str, n: int) -> None:
    x, y = vectors(n)
    x = np.abs(x) if n == 33 else x
    head = AutoHead(objective, sub_prototypes=most, n_features=7, refresh=1, seed=3)
    head.learn_batch(batch_of(x, y))
    query, _ = vectors(20, seed=9)
    found = head.predict_batch(batch_of(query, np.zeros(20, int)))
    classes = list(dict.fromkeys(y.tolist()))
    draws = Lift(7, 3)
    draws.grow(head.schema_.feature_names)
    opening = max(size for size in (1, 2, 4, 8, 16, 32, 64) if size <= n)
    lift = naive.Lift(x[:opening].astype(float), draws._directions, draws._phases)
    z, lifted = [lift(row) for row in x.astype(float)], [lift(row) for row in query.astype(float)]
    expected = proba_of(naive.scores(z, y.tolist(), lifted, most, objective == "plain"))
    # Sub-prototypes are held in single precision.
    np.testing.assert_allclose(np.asarray(found.proba)[:, classes], expected, rtol=1e-3, atol=1e-4)
    assert (np.diff(found.labels.indptr) == 1).all()


def test_without_lift_vectors_are_taken_as_they_are() -> None:
    x, y = vectors(80)
    head = AutoHead(n_features=0, sub_prototypes=0, refresh=1)
    head.learn_batch(batch_of(x, y))
    query, _ = vectors(20, seed=9)
    found = np.asarray(head.predict_batch(batch_of(query, np.zeros(20, int))).proba)
    expected = proba_of(naive.scores(list(x.astype(float)), y.tolist(), list(query.astype(float)), 0, True))
    np.testing.assert_allclose(found[:, list(dict.fromkeys(y.tolist()))], expected, rtol=1e-6, atol=1e-9)


def test_a_lift_stands_in_for_a_gaussian_kernel() -> None:
    x = np.random.default_rng(0).normal(size=(40, 5))
    lift = Lift(20_000, 1)
    lift.grow(list("abcde"))
    lift.fit(x)
    waves = lift.apply(x)[:, :20_000]
    np.testing.assert_allclose(waves.var(axis=0).sum(), 1, atol=0.05)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    median = np.median(np.sqrt(squares[np.triu_indices(40, 1)]))
    kernel = np.exp(-squares / (8 * median**2))
    np.testing.assert_allclose(waves @ waves.T, kernel / (1 - kernel.mean()), atol=0.2)


@pytest.mark.parametrize("weighted", [False, True])
def test_centroids_agree_with_their_definition(weighted: bool) -> None:
    x, rows = vectors(300, d=4)
    weight = np.random.default_rng(2).choice([0.5, 1.0, 3.0], 300) if weighted else np.ones(300)
    found, expected = Centroids(4), [naive.Centroids(4) for _ in range(5)]
    found.grow(4)
    for cut in (slice(0, 1), slice(1, 90), slice(90, 300)):
        found.learn(x[cut].astype(float), rows[cut].astype(np.int64), weight[cut])
    for row, vector, w in zip(rows, x.astype(float), weight, strict=True):
        expected[row].learn(vector, w)
    owners, counts, centroids = found.present()
    for k in range(5):
        held = sorted((count, *vector) for vector, _, count in expected[k].held)
        mine = sorted(
            (count, *vector) for count, vector in zip(counts[owners == k], centroids[owners == k], strict=True)
        )
        np.testing.assert_allclose(mine, held, rtol=1e-3, atol=1e-4)
        assert len(mine) <= 4


def test_two_clouds_are_split() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)) * 0.3
    x[:, 0] += np.where(rng.random(400) < 0.5, 4.0, -4.0)
    centroids = Centroids(2)
    centroids.grow(3)
    centroids.learn(x, np.zeros(400, np.int64), np.ones(400))
    _, counts, found = centroids.present()
    np.testing.assert_allclose(sorted(found[:, 0]), [-4, 4], atol=0.5)
    assert counts.sum() == 400


def test_several_clouds_a_class_are_told_apart_better() -> None:
    x, y = vectors(3000, seed=3)
    train, test = batch_of(x[:2000], y[:2000]), batch_of(x[2000:], y[2000:])
    right = {}
    for name, head in (
        ("auto", AutoHead(n_features=0)),
        ("lifted", AutoHead(n_features=100)),
        ("one mean", AutoHead(n_features=0, sub_prototypes=0)),
        ("slda", SLDAClassifier()),
    ):
        head.learn_batch(train)
        right[name] = float((head.predict_batch(test).labels.indices == y[2000:]).mean())
    assert min(right["auto"], right["lifted"]) > max(right["one mean"], right["slda"])


def test_frequent_classes_count_more_for_plain_accuracy() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(1000) < 0.1).astype(int)
    batch = batch_of((y[:, None] + rng.normal(size=(1000, 4))).astype(np.float32), y, 2)
    rare = {}
    for objective in ("plain", "balanced"):
        head = AutoHead(objective, n_features=10)
        head.learn_batch(batch)
        rare[objective] = int((head.predict_batch(batch).labels.indices == 1).sum())
    assert rare["plain"] < rare["balanced"]


def test_opening_events_are_let_go() -> None:
    x, y = vectors(70)
    head = AutoHead(n_features=5)
    head.learn_batch(batch_of(x[:63], y[:63]))
    assert head.get_state()["opening"].shape == (63, 6)
    head.learn_batch(batch_of(x[63:], y[63:]))
    assert head.get_state()["opening"].shape == (0, 6)
    assert head.get_state()["opening_labels"].shape == head.get_state()["opening_weight"].shape == (0,)


def test_the_scale_of_features_makes_no_difference() -> None:
    x, y = vectors(300)
    answers = []
    for scale in (1.0, 1024.0):
        head = AutoHead(n_features=20)
        head.learn_batch(batch_of(x * scale, y))
        answers.append(np.asarray(head.predict_batch(batch_of(x * scale, y)).proba))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)


def test_the_order_of_events_leaves_no_trace_without_lift_and_sub_prototypes() -> None:
    x, y = vectors(400)
    order = np.random.default_rng(1).permutation(400)
    query = batch_of(*vectors(50, seed=7))
    answers = []
    for xs, ys in ((x, y), (x[order], y[order])):
        head = AutoHead(n_features=0, sub_prototypes=0, refresh=1)
        head.learn_batch(batch_of(xs, ys))
        answers.append(np.asarray(head.predict_batch(query).proba))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-8)


def test_shards_merge_without_lift_and_sub_prototypes_and_are_refused_with_them() -> None:
    x, y = vectors(300)

    def make() -> AutoHead:
        return AutoHead(n_features=0, sub_prototypes=0, refresh=1)

    whole, first, second = make(), make(), make()
    whole.learn_batch(batch_of(x, y))
    first.learn_batch(batch_of(x[:100], y[:100]))
    second.learn_batch(batch_of(x[100:], y[100:]))
    first.merge(second)
    query = batch_of(*vectors(50, seed=7))
    np.testing.assert_allclose(
        np.asarray(first.predict_batch(query).proba), np.asarray(whole.predict_batch(query).proba), atol=1e-8
    )
    with pytest.raises(ValueError, match="n_features and sub_prototypes must be 0 to merge, got 600 and 20"):
        AutoHead().merge(AutoHead())


def test_a_first_vector_that_splits_its_class_at_once_has_room() -> None:
    centroids = Centroids(2)
    centroids.grow(3)
    centroids.learn(np.eye(3), np.arange(3), np.full(3, 20.0))
    rows, counts, _ = centroids.present()
    assert rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert counts.sum() == pytest.approx(60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "best"}, "objective must be one of plain, balanced, got 'best'"),
        ({"n_features": -1}, "n_features must be at least 0, got -1"),
        ({"sub_prototypes": -1}, "sub_prototypes must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"refresh": 0}, "refresh must be at least 1, got 0"),
    ],
)
def test_refuses_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoHead(**settings)
