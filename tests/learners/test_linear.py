"""The linear classifier against its twin, and what it promises beyond the laws of all learners."""

from __future__ import annotations

import numpy as np
import pytest

from learners.linear import LinearClassifier
from learners.steps import sigmoid
from streams.batch import COMPLETE, Batch, Rows, Schema
from tests import contracts
from tests.naive import learners_linear as naive

SETTINGS = [
    {},
    {"l1": 0.01, "l2": 0.05, "threshold": "f1"},
    {"optimizer": "ftrl"},
    {"optimizer": "ftrl", "l1": 0.05, "l2": 0.5},
    {"optimizer": "sgd", "learning_rate": 0.3},
    {"optimizer": "sgd", "l1": 0.01, "l2": 0.1, "standardise": False, "threshold": 0.3},
]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_kernel_equals_twin(settings, sparse):
    batch = contracts.stream(20, states=contracts.ALL_STATES, sparse=sparse, n_labels=9)
    expected, thresholds = naive.answers(batch, **settings)
    answer = LinearClassifier(**settings).test_then_train(batch)
    np.testing.assert_allclose(answer.proba, expected, rtol=2e-3, atol=1e-6)
    certain = np.abs(expected - thresholds[:, None]) > 1e-3
    predicted = answer.labels.to_dense(9) > 0
    assert (predicted == (expected > thresholds[:, None]))[certain].all()
    assert certain.mean() > 0.9


def test_sigmoid_is_accurate_and_monotone():
    margins = np.concatenate([np.linspace(-60, 60, 3001), [-np.inf, np.inf, 0.0, -0.0, 1e-30]])
    p = np.zeros(len(margins), np.float32)
    sigmoid(margins, np.ones(len(margins), np.float32), p)
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-np.clip(margins, -40, 40)))
    np.testing.assert_allclose(p, exact, rtol=1e-6)
    assert (np.diff(p[:3001]) >= 0).all()
    sigmoid(margins, np.zeros(len(margins), np.float32), p)
    assert not p.any()


def test_l1_leaves_few_weights():
    batch = contracts.stream(21, n=300, nominal=False)
    for optimizer, l1 in (("adagrad", 0.5), ("ftrl", 50.0), ("sgd", 0.5)):
        full, sparse = LinearClassifier(optimizer), LinearClassifier(optimizer, l1=l1)
        for model in (full, sparse):
            model.learn_batch(batch)
        n_full, n_sparse = (np.count_nonzero(m.get_state()["weights"][1:]) for m in (full, sparse))
        assert n_sparse < n_full / 2
        assert np.count_nonzero(sparse.get_state()["weights"][0]) == 5


def test_l2_makes_weights_small():
    batch = contracts.stream(22, n=300, nominal=False)
    for optimizer, l2 in (("adagrad", 1.0), ("ftrl", 100.0), ("sgd", 1.0)):
        full, small = LinearClassifier(optimizer), LinearClassifier(optimizer, l2=l2)
        for model in (full, small):
            model.learn_batch(batch)
        length_full, length_small = (np.linalg.norm(m.get_state()["weights"][1:]) for m in (full, small))
        assert length_small < length_full / 2


def test_a_late_label_starts_from_its_rarity():
    truth = np.zeros((51, 1))
    truth[50] = 1
    model = LinearClassifier(learning_rate=1e-9)
    model.learn_batch(Batch.from_arrays(np.zeros((51, 2)), truth))
    p = model.predict_proba_one({"x0": 0.0, "x1": 0.0})["y0"][True]
    assert p == pytest.approx(0.5 / 51, rel=1e-4)


def test_unknown_cells_are_left_alone():
    batch = contracts.stream(23)
    model = LinearClassifier(l2=0.1)
    model.learn_batch(batch)
    before = model.get_state()["weights"]
    known = Rows.from_lists([[1, 3]] * len(batch))
    present = Rows.from_dense(batch.y.to_dense(5) * np.array([0, 1, 0, 1, 0]))
    model.learn_batch(Batch(batch.schema, batch.x, present, np.ones(len(batch), np.uint8), known))
    after = model.get_state()["weights"]
    assert (after[:, [0, 2, 4]] == before[:, [0, 2, 4]]).all()
    assert (after[:, [1, 3]] != before[:, [1, 3]]).any(0).all()


def test_f1_threshold_pays_where_labels_are_rare():
    rng = np.random.default_rng(24)
    x = rng.normal(size=(3000, 8)).astype(np.float32)
    truth = x @ rng.normal(size=(8, 10)) + rng.logistic(size=(3000, 10)) * 2 > 6

    def micro_f1(threshold):
        predicted = LinearClassifier(threshold=threshold).test_then_train(Batch.from_arrays(x, truth)).labels
        predicted = predicted.to_dense(10) > 0
        return 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())

    assert micro_f1("f1") > micro_f1(0.5) + 0.03


def test_steps_do_not_depend_on_the_number_of_inputs():
    """Columns given twice leave every probability where it was, but for the intercept's share of the length."""
    batch = contracts.stream(25, n=200, nominal=False)
    twice = Batch(
        Schema([f"x{j}" for j in range(12)], batch.schema.label_names), np.tile(batch.x, 2), batch.y, batch.label_state
    )
    once = Batch(batch.schema, batch.x, batch.y, batch.label_state)
    a = LinearClassifier("sgd").test_then_train(once).proba
    b = LinearClassifier("sgd").test_then_train(twice).proba
    assert np.abs(a - b).mean() < 0.04


def test_labels_move_between_learners():
    batch = contracts.stream(26)
    old, new = LinearClassifier(), LinearClassifier()
    old.learn_batch(batch)
    new.learn_batch(Batch(batch.schema, batch.x, Rows.empty(len(batch)), batch.label_state))
    names = ["y3", "y1"]
    new.set_labels(names, old.get_labels(names))
    mine, theirs = old.predict_batch(batch).proba, new.predict_batch(batch).proba
    assert (mine[:, [1, 3]] == theirs[:, [1, 3]]).all()
    assert not theirs[:, [0, 2, 4]].any()
    stranger = LinearClassifier()
    stranger.learn_one({"x9": 1.0, "x0": 2.0}, {"other": True})
    stranger.set_labels(names, old.get_labels(names))
    own, theirs = (model.get_labels(names)["weights"] for model in (stranger, old))
    rows = [list(stranger.schema_.feature_names).index(f"x{j}") + 1 for j in range(5)]
    assert (own[rows] == theirs[1:6]).all()
    assert (own[0] == theirs[0]).all()


def test_labels_that_cannot_move():
    model, other = LinearClassifier(), LinearClassifier("ftrl")
    for each in (model, other):
        each.learn_one({"a": 1.0}, {"p": True, "q": False})
    with pytest.raises(ValueError, match="label must be held, got 'r'"):
        model.get_labels(["p", "r"])
    with pytest.raises(ValueError, match=r"state must hold the arrays .*'squares'.*, got .*'duals'"):
        model.set_labels(["p"], other.get_labels(["p"]))
    with pytest.raises(ValueError, match="state must be one of 1 labels, got 2"):
        model.set_labels(["p"], model.get_labels(["p", "q"]))


def test_a_state_of_another_shape_is_refused():
    model = LinearClassifier()
    model.learn_one({"a": 1.0}, {"p": True})
    state = model.get_state()
    state["weights"] = np.zeros((5, 1), np.float32)
    with pytest.raises(ValueError, match=r"state 'weights' must have shape \(2, 1\), got \(5, 1\)"):
        model.set_state(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adagrad, ftrl, got 'adam'"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0.0"),
        ({"l1": -1.0}, "l1 must be at least 0 and finite, got -1.0"),
        ({"l2": float("inf")}, "l2 must be at least 0 and finite, got inf"),
        ({"threshold": 1.0}, r"threshold must be in \(0, 1\) or 'f1', got 1.0"),
        ({"threshold": "best"}, r"threshold must be in \(0, 1\) or 'f1', got 'best'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LinearClassifier(**settings)


def test_a_heavy_event_teaches_as_much_as_its_weight_says():
    x = np.array([[1.0], [-1.0], [1.0]])
    y = np.array([[1], [0], [1]])
    light, heavy = (LinearClassifier("sgd", standardise=False) for _ in range(2))
    light.learn_batch(Batch.from_arrays(x, y))
    heavy.learn_batch(Batch.from_arrays(x, y, weight=np.array([1.0, 1.0, 2.0])))
    before = LinearClassifier("sgd", standardise=False)
    before.learn_batch(Batch.from_arrays(x[:2], y[:2]))
    start, one, two = (model.get_state()["weights"] for model in (before, light, heavy))
    np.testing.assert_allclose(two - start, 2 * (one - start), rtol=1e-5)


def test_many_inputs_and_labels_in_few_bytes():
    model = LinearClassifier("sgd")
    model.learn_batch(Batch.from_arrays(np.ones((1, 1000)), np.ones((1, 100))))
    tables = model.get_state()["weights"].nbytes
    assert tables == 4 * 1001 * 100
    assert model.nbytes < tables + 60_000


def test_complete_means_absent_labels_are_learned():
    model = LinearClassifier()
    assert model.test_then_train(Batch.from_arrays(np.ones((4, 1)), np.array([[1], [1], [0], [0]]))).proba[3, 0] < 0.9
    batch = Batch.from_dicts([{"x0": 1.0}], [[]], schema=model.schema_)
    assert batch.label_state.tolist() == [COMPLETE]


@pytest.mark.parametrize("sparse", [False, True])
def test_ignored_columns_change_nothing(sparse):
    batch = contracts.stream(27, sparse=sparse, nominal=False)
    schema = Schema(["row", *batch.schema.feature_names], batch.schema.label_names, sparse=sparse)
    schema.make_nominal(0, [str(i) for i in range(len(batch))])
    schema.ignored.add(0)
    dense = batch.x.to_dense(6) if sparse else batch.x
    x = np.column_stack([np.arange(len(batch)), dense]).astype(np.float32)
    wider = Batch(
        schema, Rows.from_dense(x, values=True) if sparse else x, batch.y, batch.label_state, weight=batch.weight
    )
    narrow, wide, restored = (LinearClassifier() for _ in range(3))
    assert (narrow.test_then_train(batch).proba == wide.test_then_train(wider).proba).all()
    assert (narrow.get_state()["weights"] == wide.get_state()["weights"]).all()
    restored.set_state(wide.get_state())
    assert (restored.predict_batch(wider).proba == narrow.predict_batch(batch).proba).all()
