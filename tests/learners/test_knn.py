"""Nearest neighbours against their twin and against river's, and what they promise beyond the laws of all learners."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import river.datasets
from river.neighbors import KNNClassifier as RiverKNN
from river.neighbors import LazySearch

from learners.knn import KNNClassifier
from learners.sparse_window import COLUMN, SparseWindow
from streams.batch import COMPLETE, PARTIAL, Batch, Rows, Schema
from tests import contracts
from tests.naive import learners_knn as naive

SETTINGS = [
    {},
    {"window": 25, "n_neighbors": 4},
    {"window": 25, "n_neighbors": 4, "standardise": False},
    {"metric": "cosine", "window": 30},
    {"metric": "cosine", "window": 30, "standardise": False},
    {"metric": "euclidean", "window": 30, "n_neighbors": 5},
    {"metric": "euclidean", "window": 30, "weights": "uniform", "standardise": False},
    {"mode": "powerset", "window": 40, "n_neighbors": 7},
    {"mode": "powerset", "weights": "uniform", "standardise": False},
]


def assert_equals_twin(batch, **settings):
    expected, sets = naive.answers(batch, **settings)
    answer = KNNClassifier(**settings).test_then_train(batch)
    np.testing.assert_allclose(answer.proba, expected, rtol=1e-4, atol=1e-6)
    predicted = answer.labels.to_dense(batch.schema.n_labels) > 0
    if settings.get("mode") == "powerset":
        assert [set(np.flatnonzero(row)) for row in predicted] == sets
    else:
        clear = np.abs(expected - 0.3) > 1e-4
        assert (predicted == (expected > 0.3))[clear].all()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("sparse", [False, True])
def test_kernels_equal_twin(settings, sparse):
    for states in ((COMPLETE,), contracts.ALL_STATES, (PARTIAL,)):
        assert_equals_twin(contracts.stream(30, n=90, states=states, sparse=sparse), **settings)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_kernels_equal_twin_on_ties_constants_and_nothing(settings):
    rng = np.random.default_rng(31)
    x = rng.integers(0, 3, (60, 3)).astype(np.float32)
    y = rng.random((60, 4)) < 0.4
    x[rng.random(x.shape) < 0.2] = np.nan
    constant = np.column_stack([x, np.full(60, 7), np.full(60, np.nan)]).astype(np.float32)
    assert_equals_twin(Batch.from_arrays(constant, y), **settings)
    assert_equals_twin(Batch.from_arrays(np.zeros((20, 2)), y[:20]), **settings)
    assert_equals_twin(Batch.from_arrays(np.zeros((20, 0)), y[:20]), **settings)
    assert_equals_twin(Batch.from_arrays(x, np.ones((60, 1))), **settings)
    assert_equals_twin(Batch.from_arrays(Rows.empty(20, values=True), y[:20]), **settings)
    settings = {**settings, "standardise": False}  # weights that move break ties in the last digit
    assert_equals_twin(Batch.from_arrays(Rows.from_dense(np.nan_to_num(x) > 0, values=True), y), **settings)


def test_sparse_lists_turn_over():
    """Many windows, rare inputs and a lot of common ones, so that lists wrap, move and are laid anew."""
    rng = np.random.default_rng(32)
    x = (rng.random((300, 40)) < rng.random(40) ** 4) * rng.normal(size=(300, 40))
    y = rng.random((300, 3)) < 0.4
    batch = Batch.from_arrays(Rows.from_dense(x, values=True), y)
    assert_equals_twin(batch, window=17, n_neighbors=5)
    model = KNNClassifier(5, 17)
    sizes = []
    for i in range(300):
        model.learn_batch(batch[i : i + 1])
        sizes.append(len(model._sparse._events))
    assert max(sizes[150:]) <= 8 * 17 * np.diff(batch.x.indptr).mean() + 100


def test_common_inputs_have_columns_while_they_are_common():
    """Other inputs are common in each third of the stream; lists become columns and columns lists."""
    rng = np.random.default_rng(41)
    share = np.full((3, 30), 0.05)
    for third in range(3):
        share[third, 5 * third : 5 * third + 7] = 0.7
    x = np.where(rng.random((420, 30)) < share[np.arange(420) // 140], rng.normal(size=(420, 30)), 0)
    batch = Batch.from_arrays(Rows.from_dense(x, values=True), rng.random((420, 3)) < 0.4)
    assert_equals_twin(batch, window=130, n_neighbors=5)
    whole, model = KNNClassifier(5, 130), KNNClassifier(5, 130)
    expected, common = whole.test_then_train(batch).proba, set()
    for low, high in itertools.pairwise([0, 1, 100, 101, 200, 290, 291, 350, 419, 420]):
        assert (model.test_then_train(batch[low:high]).proba == expected[low:high]).all()
        common |= set(np.flatnonzero(model._sparse._lists["room"] == COLUMN).tolist())
        again = KNNClassifier(5, 130)
        again.set_state(model.get_state())
        assert (again.test_then_train(batch[high:]).proba == expected[high:]).all()
    contracts.assert_same_state(whole, model)
    still = set(np.flatnonzero(model._sparse._lists["room"] == COLUMN).tolist())
    assert still
    assert common - still


def stream_of_numbers(seed, n, d):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    return x, x[:, 0] + 0.7 * rng.normal(size=n) > 0.2


def small_numbers(seed, n, d):
    x, y = stream_of_numbers(seed, n, d)
    return np.round(x), y


def phishing():
    pairs = list(river.datasets.Phishing())
    return np.array([list(x.values()) for x, _ in pairs], np.float32), np.array([y for _, y in pairs])


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize(
    ("x", "y"),
    [stream_of_numbers(33, 700, 12), small_numbers(34, 500, 6), phishing()],
    ids=["random", "tied", "phishing"],
)
def test_answers_are_those_of_river(weights, x, y):
    """Bit for bit, ties by age too.

    Excepted are events of which the window has a copy that river, whatever the weights, lets answer alone: here the
    other copies answer too, and with uniform weights all neighbours.
    """
    n, window, k = len(x), 150, 7
    theirs = RiverKNN(k, LazySearch(window), weighted=weights == "distance")
    expected = []
    for features, present in zip(x.tolist(), y.tolist(), strict=True):
        event = dict(enumerate(features))
        expected.append(theirs.predict_proba_one(event).get(True, 0.0))
        theirs.learn_one(event, present)
    ours = KNNClassifier(k, window, metric="euclidean", weights=weights, standardise=False, threshold=0.5)
    answer = ours.test_then_train(Batch.from_arrays(x, y[:, None]))
    n_copies = np.array([(x[max(0, i - window) : i] == x[i]).all(1).sum() for i in range(n)])
    comparable = n_copies <= (1 if weights == "distance" else 0)
    expected = np.array(expected)
    assert comparable.mean() > 0.25
    assert (answer.proba[:, 0] == expected.astype(np.float32))[comparable].all()
    assert ((answer.labels.to_dense(1)[:, 0] > 0) == (expected > 0.5))[comparable].all()


def test_fewer_events_than_neighbours():
    model = KNNClassifier(50, 3, weights="uniform", threshold=0.5)
    for value, present in ((0.0, True), (1.0, True), (2.0, False)):
        model.learn_one({"a": value}, {"p": present})
    assert model.predict_proba_one({"a": 0.0})["p"][True] == pytest.approx(2 / 3)
    model.learn_one({"a": 3.0}, {"p": False})
    assert model.predict_proba_one({"a": 0.0})["p"][True] == pytest.approx(1 / 3)


def test_the_window_forgets():
    model = KNNClassifier(1, 10)
    model.learn_one({"a": 0.0}, {"old": True})
    for i in range(9):
        model.learn_one({"a": 5.0 + i}, {"old": False})
    assert model.predict_one({"a": 0.0})["old"]
    model.learn_one({"a": 20.0}, {"old": False})
    assert not model.predict_one({"a": 0.0})["old"]


def test_unknown_cells_do_not_vote():
    model = KNNClassifier(3, weights="uniform", threshold=0.5)
    model.learn_one({"a": 0.0}, {"p": True, "q": None})
    model.learn_one({"a": 0.1}, {"p": None, "q": True})
    model.learn_one({"a": 0.2}, {"p": False, "q": True})
    proba = model.predict_proba_one({"a": 0.0})
    assert (proba["p"][True], proba["q"][True]) == (0.5, 1.0)


def test_a_heavy_event_has_as_many_votes_as_its_weight_says():
    model = KNNClassifier(3, weights="uniform")
    model.learn_one({"a": 0.0}, {"p": True}, w=3.0)
    model.learn_one({"a": 0.1}, {"p": False})
    assert model.predict_proba_one({"a": 1.0})["p"][True] == 0.75


def test_copies_answer_alone_where_distance_counts():
    near, all_of_them = KNNClassifier(3), KNNClassifier(3, weights="uniform")
    for model in (near, all_of_them):
        for value, present in ((1.0, True), (1.1, False), (0.9, False)):
            model.learn_one({"a": value}, {"p": present})
    assert near.predict_proba_one({"a": 1.0})["p"][True] == 1.0
    assert all_of_them.predict_proba_one({"a": 1.0})["p"][True] == pytest.approx(1 / 3)


def test_powerset_answers_with_a_set_that_was_there():
    rng = np.random.default_rng(35)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    y = rng.random((80, 6)) < 0.5
    answer = KNNClassifier(mode="powerset").test_then_train(Batch.from_arrays(x, y)).labels.to_dense(6)
    for i in range(1, 80):
        assert (y[:i] == answer[i]).all(1).any()


def test_scale_does_not_matter_where_columns_are_standardised():
    batch = contracts.stream(36, nominal=False)
    scaled = Batch(batch.schema, batch.x * np.float32(8) ** np.arange(6), batch.y, batch.label_state)
    plain = Batch(batch.schema, batch.x, batch.y, batch.label_state)
    for metric in ("euclidean", "cosine"):
        a, b = (KNNClassifier(metric=metric).test_then_train(each).proba for each in (plain, scaled))
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_rows_turn_sparse_with_the_schema():
    """Dense rows that were held are looked at as if they had come sparse."""
    x = np.eye(8, dtype=np.float32)[np.arange(24) % 8]
    y = (np.arange(24) % 8 < 3)[:, None]
    dense, sparse = KNNClassifier(3, 10), KNNClassifier(3, 10)
    dense.learn_batch(Batch.from_arrays(x[:14], y[:14]))
    rows = Batch.from_arrays(Rows.from_dense(x, values=True), y)
    sparse.learn_batch(rows[:14])
    later = rows[14:]
    for model in (dense, sparse):
        model.learn_batch(later)
    assert dense.schema_.sparse
    assert (dense.predict_batch(rows).proba == sparse.predict_batch(rows).proba).all()
    assert dense.get_state()["rows"].shape == (0, 8)
    restored = KNNClassifier(3, 10)
    restored.set_state(dense.get_state())
    assert (restored.predict_batch(rows).proba == dense.predict_batch(rows).proba).all()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_ignored_columns_change_nothing(sparse, metric):
    batch = contracts.stream(37, sparse=sparse, nominal=False)
    schema = Schema(["row", *batch.schema.feature_names], batch.schema.label_names, sparse=sparse)
    schema.make_nominal(0, [str(i) for i in range(len(batch))])
    schema.ignored.add(0)
    dense = batch.x.to_dense(6) if sparse else batch.x
    x = np.column_stack([np.arange(len(batch)), dense]).astype(np.float32)
    wider = Batch(
        schema, Rows.from_dense(x, values=True) if sparse else x, batch.y, batch.label_state, weight=batch.weight
    )
    narrow, wide, restored = (KNNClassifier(metric=metric) for _ in range(3))
    assert (narrow.test_then_train(batch).proba == wide.test_then_train(wider).proba).all()
    restored.set_state(wide.get_state())
    assert (restored.predict_batch(wider).proba == narrow.predict_batch(batch).proba).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_saved_at_any_event_it_goes_on(sparse):
    batch = contracts.stream(38, n=60, states=contracts.ALL_STATES, sparse=sparse)
    straight = KNNClassifier(4, 13)
    expected = straight.test_then_train(batch).proba
    for at in (0, 1, 5, 20, 33, 59):
        model, restored = KNNClassifier(4, 13), KNNClassifier(4, 13)
        model.learn_batch(batch[:at])
        restored.set_state(model.get_state())
        for other in (restored, pickle.loads(pickle.dumps(model))):
            assert (other.test_then_train(batch[at:]).proba == expected[at:]).all()
            contracts.assert_same_state(straight, other)


def test_memory_stays_bounded():
    rng = np.random.default_rng(39)
    model, sizes = KNNClassifier(window=50), []
    for _ in range(6):
        model.learn_batch(Batch.from_arrays(rng.normal(size=(40, 20)), rng.random((40, 5)) < 0.5))
        sizes.append(model.nbytes)
    assert sizes[1] == sizes[-1]
    assert sizes[-1] < 50 * (4 * 20 + 5 + 9) + 3_000


def test_features_and_labels_may_grow():
    model = KNNClassifier(5, 20)
    rng = np.random.default_rng(40)
    for i in range(60):
        width = 1 + i // 6
        x = {f"x{j}": float(value) for j, value in enumerate(rng.normal(size=width))}
        model.learn_one(x, {f"y{i // 10}": bool(i % 2), "y0": x["x0"] > 0})
        proba = model.predict_proba_one({"x0": 2.0, f"x{width}": 1.0})
        assert all(0 <= p[True] <= 1 for p in proba.values())
    assert model.get_state()["rows"].shape == (20, 10)
    assert model.get_state()["codes"].shape == (20, 6)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_row_of_zeros_is_near_to_its_like_alone(sparse):
    x = np.array([[0, 0, 0], [1, 1, 0], [0, 0, 5]], np.float32)
    model = KNNClassifier(1, metric="cosine", standardise=False)
    model.learn_batch(Batch.from_arrays(Rows.from_dense(x, values=True) if sparse else x, np.eye(3)))
    assert [model.predict_one({"x0": a, "x1": 0.0, "x2": b})["y0"] for a, b in ((0.0, 0.0), (1.0, 9.0))] == [
        True,
        False,
    ]
    assert model.predict_one({"x0": 1.0, "x1": 0.0, "x2": 0.1})["y1"]


def test_windows_are_searched_on_their_own():
    window = SparseWindow(3, 2, cosine=False, standardise=False)
    batch = Batch.from_arrays(Rows.from_dense(np.array([[3.0, 0], [0, 4], [3, 1], [0, 0]]), values=True))
    slots, distances = window.search(batch.schema, batch, np.ones(4, bool), 0)
    assert slots.tolist() == [[-1, -1], [0, -1], [0, 1], [0, 2]]
    np.testing.assert_allclose(distances[1:, 0], [5, 1, 3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_neighbors": 0}, "n_neighbors must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"mode": "chain"}, "mode must be one of labels, powerset, got 'chain'"),
        ({"metric": "manhattan"}, "metric must be one of euclidean, cosine or None, got 'manhattan'"),
        ({"weights": "rank"}, "weights must be one of uniform, distance, got 'rank'"),
        ({"threshold": 1.0}, r"threshold must be in \(0, 1\), got 1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        KNNClassifier(**settings)
