"""Heads learned by gradient: they descend the losses that define them, and keep what they say they keep."""

from __future__ import annotations

import numpy as np
import pytest

from learners.heads.cosine import CosineSoftmaxClassifier
from learners.heads.mvp import MVPLightClassifier
from learners.heads.reservoir import draw, keep, uniform
from streams.batch import Batch, Schema
from tests.naive import heads_gradient as naive

SETTINGS = {"rate": 0.02, "steps": 2, "temperature": 0.3, "block": 8}
MVP = {"buffer": 12, "replay": 4, "keys": 3, "seed": 5}


def stream(seed=0, n=90, d=4, *, several=False) -> Batch:
    """Classes around means, some vectors missing or zero; the last class comes half-way."""
    rng = np.random.default_rng(seed)
    k = rng.integers(0, 3, n)
    k[n // 2 :: 5] = 3
    x = rng.normal(size=(4, d))[k] * 2 + rng.normal(size=(n, d))
    x[rng.random(x.shape) < 0.05] = np.nan
    x[5] = 0
    x[6] = np.nan
    y = np.eye(4)[k]
    if several:
        y[rng.random(y.shape) < 0.2] = 1
        y[rng.random(n) < 0.1] = 0
    schema = Schema([f"x{j}" for j in range(d)], [f"y{j}" for j in range(4)])
    return Batch.from_arrays(x.astype(np.float32), y, schema=schema, weight=rng.choice([0.5, 1.0, 3.0], n))


def check(head, twin, batch: Batch) -> None:
    """Every answer is the twin's."""
    found = head.test_then_train(batch)
    x = np.nan_to_num(batch.x.astype(np.float64))
    for i in range(len(batch)):
        expected = np.zeros(4)
        for label, share in twin.predict(x[i]).items():
            expected[label] = share
        np.testing.assert_allclose(found.proba[i], expected, atol=2e-4)
        twin.learn(x[i], batch.y.row(i).tolist(), batch.weight[i])


@pytest.mark.parametrize("several", [False, True])
def test_cosine_softmax_descends_its_loss(several):
    check(CosineSoftmaxClassifier(**SETTINGS), naive.CosineSoftmax(*SETTINGS.values()), stream(1, several=several))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("changed", [{}, {"buffer": 0}, {"replay": 0}, {"keys": 1}])
def test_mvp_light_descends_its_losses(several, changed):
    settings = MVP | changed
    head = MVPLightClassifier(**settings, **SETTINGS)
    twin = naive.MVPLight(*SETTINGS.values(), *settings.values())
    check(head, twin, stream(2, several=several))
    state = head.get_state()
    assert state["taken"][:, 0].tolist() == twin.times
    assert state["reservoir_rows"].tolist() == [list(twin.classes).index(label) for _, label, _ in twin.kept.items]
    if settings["buffer"]:
        np.testing.assert_allclose(state["reservoir"], [x for x, _, _ in twin.kept.items], atol=1e-6)


def test_a_block_of_one_class_teaches_nothing():
    for head in (CosineSoftmaxClassifier(block=4), MVPLightClassifier(block=4)):
        head.learn_batch(Batch.from_arrays(np.random.default_rng(3).normal(size=(11, 3)), np.ones((11, 1))))
        assert head.get_state()["updates"].tolist() == [0]


def test_an_absent_class_is_not_pushed_away():
    rng = np.random.default_rng(4)
    x, k = rng.normal(size=(400, 5)), rng.integers(0, 3, 400)
    k[128:] %= 2
    head = CosineSoftmaxClassifier()
    head.learn_batch(Batch.from_arrays(x[:128], np.eye(3)[k[:128]]))
    before = head.get_state()["weights"]
    head.learn_batch(Batch.from_arrays(x[128:], np.eye(3)[k[128:]]))
    after, row = head.get_state()["weights"], head.get_state()["class_labels"].tolist().index(2)
    assert (after[row] == before[row]).all()
    assert (np.delete(after, row, 0) != np.delete(before, row, 0)).any(axis=(1, 2)).all()


@pytest.mark.parametrize("make", [CosineSoftmaxClassifier, MVPLightClassifier])
def test_classes_are_learned(make):
    rng = np.random.default_rng(6)
    k = rng.integers(0, 6, 2000)
    x = rng.normal(size=(6, 10))[k] + rng.normal(size=(2000, 10))
    head = make()
    # The first event finds no class that could be answered.
    right = head.test_then_train(Batch.from_arrays(x.astype(np.float32), np.eye(6)[k])).labels.indices == k[1:]
    assert right[-500:].mean() > right[:60].mean()
    assert right[-500:].mean() > 0.85


def kept_by(size, labels):
    """Labels in a reservoir to which vectors of these were offered, each vector its own number."""
    n_stored, counts = np.zeros(1, np.int64), np.zeros((max(labels) + 1, 3), np.int64)
    vectors, rows, weight = np.zeros((size, 1), np.float32), np.zeros(size, np.int32), np.zeros(size)
    for number, k in enumerate(labels):
        keep(np.array([number], float), k, 1.0, 7, number, size, n_stored, counts, vectors, rows, weight)
    return rows[: n_stored[0]], vectors[: n_stored[0], 0]


def test_the_reservoir_balances_classes():
    labels = np.random.default_rng(8).choice(4, 5000, p=[0.7, 0.2, 0.09, 0.01]).tolist()
    rows, numbers = kept_by(100, labels)
    assert sorted(np.bincount(rows).tolist()) == [25, 25, 25, 25]
    # Of each class a uniform sample of all its time.
    assert numbers[rows == 0].mean() == pytest.approx(2500, abs=900)


def test_draws_are_uniform_and_depend_on_seed_and_numbers_alone():
    drawn = np.array([uniform(1, number, 2) for number in range(4000)])
    np.testing.assert_allclose(np.histogram(drawn, 10, (0, 1))[0], 400, atol=80)
    assert {draw(1, number, 0, 3) for number in range(50)} == {0, 1, 2}
    assert len({uniform(*place) for place in ((1, 2, 3), (1, 3, 2), (2, 1, 3), (3, 2, 1))}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"buffer": -1}, "buffer must be at least 0, got -1"),
        ({"replay": -1}, "replay must be at least 0, got -1"),
        ({"keys": 0}, "keys must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"rate": 0}, "rate must be above 0 and finite, got 0"),
        ({"temperature": np.inf}, "temperature must be above 0 and finite, got inf"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"block": 1}, "block must be at least 2, got 1"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MVPLightClassifier(**settings)
