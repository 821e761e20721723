"""The default head against its definition, and what it promises beside."""

from __future__ import annotations

import numpy as np
import pytest

from learners.heads.auto import AutoHead
from learners.heads.slda import SLDAClassifier
from streams.batch import Batch, Schema
from tests.naive import heads_auto as naive


def vectors(n: int, k: int = 5, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes of unlike size, each of two clouds."""
    rng = np.random.default_rng(seed)
    y = np.minimum(rng.geometric(0.4, n) - 1, k - 1)
    centres = rng.normal(size=(k, 2, d)) * 2
    x = centres[y, rng.integers(2, size=n)] + rng.normal(size=(n, d))
    return x.astype(np.float32), y


def batch_of(x: np.ndarray, y: np.ndarray, k: int = 5) -> Batch:
    return Batch.from_arrays(x, np.eye(k)[y], schema=Schema([f"x{j}" for j in range(x.shape[1])], range(k)))


def proba_of(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize("most", [0, 3])
@pytest.mark.parametrize("objective", ["plain", "balanced"])
@pytest.mark.parametrize("n", [1, 2, 7, 150])
def test_agrees_with_its_definition(most: int, objective: str, n: int) -> None:
    x, y = vectors(n)
    head = AutoHead(objective, sub_prototypes=most, refresh=1)
    head.learn_batch(batch_of(x, y))
    query, _ = vectors(20, seed=9)
    found = head.predict_batch(batch_of(query, np.zeros(20, int)))
    classes = list(dict.fromkeys(y.tolist()))
    expected = proba_of(naive.scores(x.astype(float), y, query.astype(float), most, objective == "plain"))
    np.testing.assert_allclose(np.asarray(found.proba)[:, classes], expected, rtol=1e-6, atol=1e-9)
    assert (np.diff(found.labels.indptr) == 1).all()


def test_several_clouds_a_class_are_told_apart_better() -> None:
    x, y = vectors(3000, seed=3)
    train, test = batch_of(x[:2000], y[:2000]), batch_of(x[2000:], y[2000:])
    right = {}
    for name, head in (("auto", AutoHead()), ("one mean", AutoHead(sub_prototypes=0)), ("slda", SLDAClassifier())):
        head.learn_batch(train)
        right[name] = float((head.predict_batch(test).labels.indices == y[2000:]).mean())
    assert right["auto"] > right["one mean"]
    assert right["auto"] > right["slda"]


def test_the_order_of_events_leaves_no_trace_without_sub_prototypes() -> None:
    x, y = vectors(400)
    order = np.random.default_rng(1).permutation(400)
    query = batch_of(*vectors(50, seed=7))
    answers = []
    for xs, ys in ((x, y), (x[order], y[order])):
        head = AutoHead(sub_prototypes=0, refresh=1)
        head.learn_batch(batch_of(xs, ys))
        answers.append(np.asarray(head.predict_batch(query).proba))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-8)


def test_shards_merge_without_sub_prototypes_and_are_refused_with_them() -> None:
    x, y = vectors(300)
    whole = AutoHead(sub_prototypes=0, refresh=1)
    whole.learn_batch(batch_of(x, y))
    first, second = AutoHead(sub_prototypes=0, refresh=1), AutoHead(sub_prototypes=0, refresh=1)
    first.learn_batch(batch_of(x[:100], y[:100]))
    second.learn_batch(batch_of(x[100:], y[100:]))
    first.merge(second)
    query = batch_of(*vectors(50, seed=7))
    np.testing.assert_allclose(
        np.asarray(first.predict_batch(query).proba), np.asarray(whole.predict_batch(query).proba), atol=1e-8
    )
    with pytest.raises(ValueError, match="sub_prototypes must be 0 to merge, got 20"):
        AutoHead().merge(AutoHead())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "best"}, "objective must be one of plain, balanced, got 'best'"),
        ({"sub_prototypes": -1}, "sub_prototypes must be at least 0, got -1"),
        ({"refresh": 0}, "refresh must be at least 1, got 0"),
    ],
)
def test_refuses_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoHead(**settings)
