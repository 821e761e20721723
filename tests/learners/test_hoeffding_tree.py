"""The Hoeffding tree of classes against its twin: answers and splits; label sets, memory, and what it draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from learners.trees.class_trees import ClassTrees
from learners.trees.hoeffding import HoeffdingTreeClassifier
from learners.trees.label_sets import LabelSets
from streams.batch import COMPLETE, PARTIAL, Batch, Rows, Schema
from tests import contracts
from tests.naive import learners_trees as naive

LOOSE = {"grace_period": 14.7, "delta": 0.3}
"""No sum of weights comes to the grace period exactly, so that rounding does not decide when a leaf is due."""

SETTINGS = {
    "default": {},
    "loose": LOOSE,
    "majority": {**LOOSE, "leaf_prediction": "mc", "max_share_to_split": 0.8, "n_splits": 3},
    "bayes": {**LOOSE, "leaf_prediction": "nb", "nb_threshold": 12, "split_criterion": "gini", "max_depth": 2},
    "in two": {**LOOSE, "binary_split": True, "merit_preprune": False, "min_branch_fraction": 0.2, "threshold": 0.4},
    "few sets": {**LOOSE, "max_classes": 4, "tau": 0.9},
}


def tied(seed, n=60):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, 4)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, x[:, 1] > 1, (x[:, 0] > 0) & (x[:, 1] < 1)], 1)
    return x, y ^ (rng.random(y.shape) < 0.1)


def assert_equals_twin(model: ClassTrees, batch: Batch, **settings):
    """Equal answers and equal histories; returns the kinds of events and the twin."""
    expected, labels, twin = naive.answers(batch, **settings)
    answer = model.test_then_train(batch)
    np.testing.assert_allclose(answer.proba, expected, rtol=1e-7, atol=1e-9)
    assert model.events_ == twin.log
    mine = [frozenset(answer.labels.row(t).tolist()) for t in range(len(batch))]
    assert np.mean([a == b for a, b in zip(mine, labels, strict=True)] or [1.0]) > 0.97  # equal but for ties
    return Counter(event["kind"] for event in model.events_), twin


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("sparse", [False, True])
def test_kernels_equal_twin(settings, sparse):
    for states in ((COMPLETE,), contracts.ALL_STATES, (PARTIAL,)):
        batch = contracts.stream(39, n=150, states=states, sparse=sparse)
        assert_equals_twin(HoeffdingTreeClassifier(**settings), batch, **settings)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_kernels_equal_twin_on_ties_constants_and_nothing(settings):
    x, y = tied(31)
    rng = np.random.default_rng(31)
    gaps = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    for features, labels in (
        (x, y),
        (Rows.from_dense(x, values=True), y),
        (np.column_stack([gaps, np.full(60, 7), np.full(60, np.nan)]), y),
        (np.zeros((40, 2)), y[:40]),
        (np.zeros((40, 0)), y[:40]),
        (Rows.empty(40, values=True), y[:40]),
        (x, np.ones((60, 1))),
        (x, np.zeros((60, 2))),
        (x[:0], y[:0]),
    ):
        assert_equals_twin(HoeffdingTreeClassifier(**settings), Batch.from_arrays(features, labels), **settings)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("sparse", [False, True])
def test_trees_that_split_equal_the_twin(settings, sparse):
    x, y = tied(33, 400)
    y = np.stack([y[:, 0], ~y[:, 0]], 1)
    x[np.random.default_rng(33).random(x.shape) < 0.1] = 0 if sparse else np.nan
    batch = Batch.from_arrays(Rows.from_dense(x, values=True) if sparse else x, y)
    kinds, _ = assert_equals_twin(HoeffdingTreeClassifier(**settings), batch, **settings)
    assert kinds["split"] >= ("grace_period" in settings)


def nominal(seed, n=300, missing=0.0):
    """Two nominal columns and a number; the label is a function of the categories, with noise."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.integers(0, 4, n), rng.integers(0, 2, n), rng.normal(size=n)]).astype(np.float32)
    y = ((x[:, 0] > 1) & ((x[:, 1] > 0) | (x[:, 2] > 0))) ^ (rng.random(n) < 0.05)
    x[: n // 2, 0] = np.minimum(x[: n // 2, 0], 2)  # the fourth category comes late
    x[rng.random(x.shape) < missing] = np.nan
    schema = Schema(["colour", "shape", "size"], ["a", "b"])
    schema.make_nominal(0, ["red", "green", "blue", "black"])
    schema.make_nominal(1, ["round", "square"])
    schema.decide(2, 1)
    return Batch.from_arrays(x, np.stack([y, ~y], 1), schema=schema)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_nominal_columns_equal_twin(settings, missing):
    _, twin = assert_equals_twin(HoeffdingTreeClassifier(**settings), nominal(1, missing=missing), **settings)
    asked = {branch.kind for branch in _branches(twin.root)}
    if "grace_period" in settings:
        assert ("category" if settings.get("binary_split") else "categories") in asked


def _branches(node):
    if isinstance(node, naive.Branch):
        yield node
        for child in node.children.values():
            yield from _branches(child)


def test_a_new_category_gets_a_leaf():
    model = HoeffdingTreeClassifier(20, 0.3)
    for i in range(60):
        model.learn_one({"colour": ["red", "green"][i % 2]}, {"a": i % 2 == 0, "b": i % 2 == 1})
    assert [event["feature"] for event in model.events_] == ["colour"]
    assert model.predict_one({"colour": "blue"}) == {"a": True, "b": False}
    for _ in range(5):
        model.learn_one({"colour": "blue"}, {"a": False, "b": True})
    assert model.predict_one({"colour": "blue"}) == {"a": False, "b": True}
    assert model.predict_one({"colour": "red"}) == {"a": True, "b": False}
    assert "blue: {b} (5)" in model.draw()


def test_a_tree_goes_on_when_rows_become_sparse():
    batch = nominal(3)
    model = HoeffdingTreeClassifier(20, 0.3)
    model.learn_batch(batch)
    before = [dict(event) for event in model.events_]
    assert {event["feature"] for event in before} >= {"colour", "shape"}
    model.schema_.sparse = True
    answers = model.predict_batch(batch[:50])
    assert np.isfinite(answers.proba).all()
    model.test_then_train(batch)
    assert model.events_[: len(before)] == before


# Label sets.


def test_label_sets_are_numbered_as_they_come():
    sets = LabelSets(3)
    y = Rows.from_lists([[1], [0, 2], [1], [], [0], [0, 1, 2]])
    batch = Batch(Schema(), np.zeros((6, 0), np.float32), y, np.full(6, COMPLETE, np.uint8))
    assert sets.numbers(batch).tolist() == [0, 1, 0, 2, 1, 1]
    assert [sets.members(number) for number in (-1, 0, 1, 2)] == [[], [1], [0, 2], []]
    one_by_one, restored = LabelSets(3), LabelSets(3)
    assert [int(one_by_one.numbers(batch[t : t + 1])[0]) for t in range(6)] == [0, 1, 0, 2, 1, 1]
    restored.from_state(sets.to_state())
    assert restored.numbers(batch).tolist() == [0, 1, 0, 2, 1, 1]


def test_one_label_an_event_is_the_multi_class_tree():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    y = np.eye(3, dtype=bool)[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0)]
    model = HoeffdingTreeClassifier(50, 0.1)
    answer = model.test_then_train(Batch.from_arrays(x, y))
    assert (np.diff(answer.labels.indptr)[1:] == 1).all()
    np.testing.assert_allclose(answer.proba[1:].sum(1), 1)
    assert (answer.labels.to_dense(3)[300:] == y[300:]).mean() > 0.9


def test_a_partly_labelled_event_is_the_likeliest_set_that_agrees():
    model = HoeffdingTreeClassifier()
    for i in range(40):
        high = float(i % 2)
        model.learn_one({"x": high + i / 1000}, {"a": True, "b": high > 0, "c": high == 0})
    state = model.get_state()
    for x, b in ((0.0, False), (1.0, True)):
        model.learn_one({"x": x}, {"a": True, "b": None, "c": None})
        grown = model.get_state()["entries"]["weight"] - state["entries"]["weight"]
        assert grown.tolist() == [0.0 if b else 1.0, 1.0 if b else 0.0]
        state = model.get_state()


# Bounds and memory.


def test_memory_stays_within_its_bound():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4000, 8)).astype(np.float32)
    y = (x[:, :3] > 0) ^ (rng.random((4000, 3)) < 0.1)
    batch = Batch.from_arrays(x, y)
    free = HoeffdingTreeClassifier(50, 0.1)
    free.learn_batch(batch)
    records = ("nodes", "entries", "rows")
    needed = sum(free.get_state()[name].nbytes for name in records)
    for share in (0.1, 0.5):
        limit = share * needed
        model, sizes = HoeffdingTreeClassifier(50, 0.1, max_bytes=limit), []
        for start in range(0, 4000, 100):
            model.learn_batch(batch[start : start + 100])
            sizes.append(sum(model.get_state()[name].nbytes for name in records))
        assert max(sizes) <= limit + 8 * 40 * 20  # classes that leaves come to know are not refused
        assert (model.get_state()["nodes"]["active"] == 0).any()
        restored = HoeffdingTreeClassifier(50, 0.1, max_bytes=limit)
        restored.set_state(model.get_state())
        restored.learn_batch(batch)
        model.learn_batch(batch)
        contracts.assert_same_state(model, restored)
    nothing = HoeffdingTreeClassifier(50, 0.1, max_bytes=0)
    nothing.learn_batch(batch)
    assert nothing.events_ == []
    assert len(nothing.get_state()["rows"]) == 0


def test_single_events_take_the_short_way():
    """Every event that is plain goes by one compiled call, and what it brings about is the same."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    y = np.stack([x[:, 0] > 0, x[:, 1] > 0], 1)
    model, arrays = HoeffdingTreeClassifier(30, 0.2), HoeffdingTreeClassifier(30, 0.2)
    arrays.learn_batch(Batch.from_arrays(x, y))
    for row, labels in zip(x.tolist(), y.tolist(), strict=True):
        model.learn_one({f"x{j}": v for j, v in enumerate(row)}, {"y0": labels[0], "y1": labels[1]})
    assert model._single().learn({"x0": 1.0, "x1": 1.0, "x2": None}, {"y0": True, "y1": True}, 1.0)
    arrays.learn_batch(Batch.from_arrays(np.array([[1.0, 1.0, np.nan]]), np.array([[1, 1]])))
    contracts.assert_same_state(model, arrays)
    assert model.events_


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grace_period": 0}, "grace_period must be at least 1, got 0"),
        ({"n_splits": 0}, "n_splits must be at least 1, got 0"),
        ({"max_classes": 1}, "max_classes must be at least 2, got 1"),
        ({"tau": -1.0}, "tau must be at least 0, got -1.0"),
        ({"nb_threshold": -1}, "nb_threshold must be at least 0, got -1"),
        ({"max_bytes": -1}, "max_bytes must be at least 0, got -1"),
        ({"delta": 1.0}, r"delta must be in \(0, 1\), got 1.0"),
        ({"min_branch_fraction": 0.5}, r"min_branch_fraction must be in \[0, 0.5\), got 0.5"),
        ({"max_share_to_split": 0.0}, r"max_share_to_split must be in \(0, 1\], got 0.0"),
        ({"max_depth": 1001}, r"max_depth must be in \[0, 1000\] or None, got 1001"),
        ({"threshold": 1.0}, r"threshold must be in \(0, 1\) or None, got 1.0"),
        ({"split_criterion": "hellinger"}, "split_criterion must be one of info_gain, gini, got 'hellinger'"),
        ({"leaf_prediction": "svm"}, "leaf_prediction must be one of mc, nb, nba, got 'svm'"),
    ],
)
def test_bad_parameters_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        HoeffdingTreeClassifier(**settings)
