"""Extremely randomised trees against their twin, and what a window, weights and unknown labels do to them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from learners.trees.extra_trees import ExtraTreesClassifier
from streams.batch import COMPLETE, PARTIAL, Batch, Rows, Schema
from tests import contracts
from tests.naive import learners_extra_trees as naive

SETTINGS = [
    {"n_trees": 3},
    {"n_trees": 2, "window": 20, "refit": 0.2, "max_features": 2, "seed": 5},
    {"n_trees": 2, "window": 40, "refit": 2.0, "max_features": 50, "min_leaf": 3},
    {"n_trees": 1, "window": 30, "max_depth": 2, "max_features": 3.5},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("states", [(COMPLETE,), contracts.ALL_STATES], ids=["complete", "partly"])
def test_compiled_equals_naive(settings, sparse, states):
    for seed in range(3):
        batch = contracts.stream(seed, n=90, sparse=sparse, states=states, missing=0.25)
        found = ExtraTreesClassifier(**settings).test_then_train(batch).proba
        np.testing.assert_allclose(found, naive.answers(batch, **settings), atol=1e-6)
        assert 0 < found.mean() < 1


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_compiled_equals_naive_with_ties_constants_and_negative_cells(sparse):
    rng = np.random.default_rng(1)
    x = rng.integers(-2, 3, (80, 7)).astype(np.float32)
    x[:, 2], x[:, 3], x[:, 5] = 4, 0, x[:, 0]
    x[::5] = 0
    y = np.stack([x[:, 0] > 0, x[:, 1] == x[:, 4], x[:, 6] < 0], 1)
    batch = Batch.from_arrays(Rows.from_dense(x, values=True) if sparse else x, y)
    for settings in SETTINGS:
        found = ExtraTreesClassifier(**settings).test_then_train(batch).proba
        np.testing.assert_allclose(found, naive.answers(batch, **settings), atol=1e-6)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_saved_at_any_event_it_goes_on(sparse):
    batch = contracts.stream(38, n=60, states=contracts.ALL_STATES, sparse=sparse)

    def make():
        return ExtraTreesClassifier(3, 13, refit=0.7)

    straight = make()
    expected = straight.test_then_train(batch).proba
    for at in (0, 1, 5, 20, 33, 59):
        model, restored = make(), make()
        model.learn_batch(batch[:at])
        restored.set_state(model.get_state())
        for other in (restored, pickle.loads(pickle.dumps(model))):
            assert (other.test_then_train(batch[at:]).proba == expected[at:]).all()
            contracts.assert_same_state(straight, other)


def learned(n=400, **settings):
    """A model of labels that are one input's sign and two inputs' exclusive or."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n + 200, 4)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, (x[:, 1] > 0) ^ (x[:, 2] > 0)], 1)
    model = ExtraTreesClassifier(**settings)
    model.learn_batch(Batch.from_arrays(x[:n], y[:n]))
    return model, Batch.from_arrays(x[n:], y[n:])


def test_trees_learn_what_a_line_cannot():
    model, rest = learned(1500, threshold=0.5)
    right = model.predict_batch(rest).labels.to_dense(2) == rest.y.to_dense(2)
    assert right[:, 0].mean() > 0.93
    assert right[:, 1].mean() > 0.85


def test_an_event_that_is_held_is_answered_by_itself():
    model = ExtraTreesClassifier(1, 50, refit=0.01)
    rng = np.random.default_rng(3)
    batch = Batch.from_arrays(rng.normal(size=(50, 3)), rng.random((50, 4)) < 0.5)
    model.learn_batch(batch)
    assert (model.predict_batch(batch).proba == batch.y.to_dense(4)).all(), "leaves are pure"


def test_the_window_forgets():
    model = ExtraTreesClassifier(3, 30)
    for i in range(90):
        model.learn_one({"a": float(i % 7)}, {"old": i < 20, "new": i % 7 > 3})
    assert model.predict_proba_one({"a": 1.0})["old"][True] == 0
    assert model.predict_one({"a": 6.0})["new"]
    assert model.predict_proba_one({"a": 1.0})["new"][True] == 0


@pytest.mark.parametrize("refit", [0.5, 1.0])
def test_every_tree_is_grown_once_while_the_window_turns_over_as_often_as_asked(refit):
    model = ExtraTreesClassifier(5, 100, refit=refit)
    rng = np.random.default_rng(4)
    model.learn_batch(Batch.from_arrays(rng.normal(size=(100, 2)), rng.random((100, 2)) < 0.5))
    before = model.get_state()["progress"][2]
    model.learn_batch(Batch.from_arrays(rng.normal(size=(500, 2)), rng.random((500, 2)) < 0.5))
    assert model.get_state()["progress"][2] - before == 5 * 5 / refit


def test_unknown_cells_do_not_count():
    model = ExtraTreesClassifier(1, min_leaf=4)
    for p, q in ((True, None), (None, True), (False, True), (True, None)):
        model.learn_one({"a": 0.0}, {"p": p, "q": q})
    proba = model.predict_proba_one({"a": 0.0})
    assert proba["p"][True] == pytest.approx(2 / 3)
    assert proba["q"][True] == 1.0


def test_a_leaf_that_knows_nothing_of_a_label_answers_as_often_as_all_have_it():
    known = Rows.from_lists([[0], [0], [0, 1], [0, 1], [0, 1], [0, 1]])
    present = Rows.from_lists([[], [], [0], [0, 1], [0], [0]])
    x = np.array([[0], [0], [5], [5], [5], [5]], np.float32)
    schema = Schema(["a"], ["p", "q"])
    model = ExtraTreesClassifier(1, refit=0.01)
    model.learn_batch(Batch(schema, x, present, np.full(6, PARTIAL, np.uint8), known))
    proba = model.predict_proba_one({"a": 0.0})
    assert proba["p"][True] == 0
    assert proba["q"][True] == 0.25


def test_a_heavy_event_counts_as_much_as_its_weight_says():
    model = ExtraTreesClassifier(1)
    model.learn_one({"a": 0.0}, {"p": True}, w=3.0)
    model.learn_one({"a": 0.0}, {"p": False})
    assert model.predict_proba_one({"a": 0.0})["p"][True] == 0.75


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_ignored_columns_change_nothing(sparse):
    batch = contracts.stream(37, sparse=sparse, nominal=False)
    schema = Schema(["row", *batch.schema.feature_names], batch.schema.label_names, sparse=sparse)
    schema.make_nominal(0, [str(i) for i in range(len(batch))])
    schema.ignored.add(0)
    dense = batch.x.to_dense(6) if sparse else batch.x
    x = np.column_stack([np.arange(len(batch)), dense]).astype(np.float32)
    features = Rows.from_dense(x, values=True) if sparse else x
    wider = Batch(schema, features, batch.y, batch.label_state, weight=batch.weight)
    narrow, wide, restored = (ExtraTreesClassifier(3) for _ in range(3))
    assert (narrow.test_then_train(batch).proba == wide.test_then_train(wider).proba).all()
    restored.set_state(wide.get_state())
    assert (restored.predict_batch(wider).proba == narrow.predict_batch(batch).proba).all()


def test_rows_turn_sparse_with_the_schema():
    x = np.eye(8, dtype=np.float32)[np.arange(24) % 8]
    y = (np.arange(24) % 8 < 3)[:, None]
    model = ExtraTreesClassifier(2, 12)
    model.learn_batch(Batch.from_arrays(x[:14], y[:14]))
    rows = Batch.from_arrays(Rows.from_dense(x, values=True), y)
    model.learn_batch(rows[14:])
    assert model.schema_.sparse
    assert len(model.get_state()["indptr"]) == 13
    restored = ExtraTreesClassifier(2, 12)
    restored.set_state(model.get_state())
    assert (restored.predict_batch(rows).proba == model.predict_batch(rows).proba).all()
    assert (model.predict_batch(rows).proba == y).mean() > 0.8


def test_the_seed_decides_and_columns_have_no_scale():
    batch = contracts.stream(36, nominal=False)
    scaled = Batch(batch.schema, batch.x * np.float32(8) ** np.arange(6), batch.y, batch.label_state)
    plain = Batch(batch.schema, batch.x, batch.y, batch.label_state)
    one, other, again = (
        ExtraTreesClassifier(3, seed=seed).test_then_train(each).proba
        for seed, each in ((1, plain), (2, plain), (1, scaled))
    )
    assert (one == again).all()
    assert (one != other).any()


def test_memory_stays_bounded():
    rng = np.random.default_rng(39)
    model, sizes = ExtraTreesClassifier(5, 50), []
    for _ in range(6):
        model.learn_batch(Batch.from_arrays(rng.normal(size=(40, 20)), rng.random((40, 5)) < 0.5))
        sizes.append(model.nbytes)
    assert sizes[-1] < 1.1 * sizes[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_trees": 0}, "n_trees must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"min_leaf": 0}, "min_leaf must be at least 1, got 0"),
        ({"max_depth": 0}, "max_depth must be at least 1 or None, got 0"),
        ({"refit": 0.0}, r"refit must be in \(0, 20\], the number of trees, got 0.0"),
        ({"n_trees": 3, "refit": 4.0}, r"refit must be in \(0, 3\], the number of trees, got 4.0"),
        ({"max_features": "log2"}, "max_features must be 'sqrt' or a positive number, got 'log2'"),
        ({"max_features": 0}, "max_features must be 'sqrt' or a positive number, got 0"),
        ({"threshold": 1.0}, r"threshold must be in \(0, 1\), got 1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExtraTreesClassifier(**settings)
