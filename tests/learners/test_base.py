"""What `Learner` does for all learners: schemas that meet, dictionaries that come and go, states."""

from __future__ import annotations

import numpy as np
import pytest

import learners
from learners.base import LabelSet
from streams.batch import Batch, Rows, Schema
from tests import contracts


def test_a_label_not_held_reads_false():
    labels = LabelSet({"a": True})
    assert labels["b"] is False
    assert list(labels) == ["a"]


def test_dictionaries_with_few_of_many_features_make_the_schema_sparse_when_learned():
    model = learners.LinearClassifier()
    for i in range(40):
        model.predict_one({f"word {i}": 1.0})
        assert not model.schema_.sparse
        assert model.schema_.n_features == i * (i < 34) or model.schema_.sparse or i
        model.learn_one({f"word {i}": 1.0}, {"p": i % 2 == 0})
        if model.schema_.sparse:
            break
    assert model.schema_.sparse
    assert model.schema_.n_features == 34
    assert np.isfinite(model.predict_proba_one({"word 3": 1.0})["p"][True])


def test_sources_of_other_orders_meet_in_one_learner():
    batch = contracts.stream(40)
    order = [3, 5, 0, 1, 4, 2]
    schema = Schema([batch.schema.feature_names[j] for j in order], batch.schema.label_names[::-1])
    schema.make_nominal(1, ["blue", "red", "green"])
    recode = np.array([1, 2, 0], np.float32)
    x = batch.x[:, order].copy()
    held = ~np.isnan(x[:, 1])
    x[held, 1] = recode[x[held, 1].astype(int)]
    y = batch.y.renumbered(np.array([4, 3, 2, 1, 0], np.int32))
    other = Batch(schema, x, y, batch.label_state, weight=batch.weight)
    one, two = learners.LinearClassifier(), learners.LinearClassifier()
    one.learn_batch(batch)
    two.learn_batch(batch)
    assert (one.predict_batch(batch).proba == two.predict_batch(other).proba).all()
    assert (one.test_then_train(batch).proba == two.test_then_train(other).proba).all()


def test_a_schema_that_grows_at_the_source_is_followed():
    schema = Schema(["a"], ["p"])
    model = learners.MajorityClassifier()

    def event(label):
        return Batch(
            schema, np.zeros((1, schema.n_features), np.float32), Rows.from_lists([[label]]), np.array([2], np.uint8)
        )

    model.learn_batch(event(0))
    late = schema.label_id("q")
    schema.feature_id("b")
    assert model.predict_batch(event(late)).proba.shape == (1, 1)
    model.learn_batch(event(late))
    assert model.schema_.label_names == ["p", "q"]
    assert model.predict_batch(event(late)).proba.shape == (1, 2)


def test_a_feature_of_another_kind_is_refused():
    model = learners.MajorityClassifier()
    model.learn_one({"a": "red"}, {"p": True})
    for act in (model.predict_batch, model.learn_batch):
        with pytest.raises(ValueError, match="feature 'a' must stay nominal, got a numeric value"):
            act(Batch.from_dicts([{"a": 1.0}], [["p"]]))


def test_partly_known_labels_of_a_dictionary():
    model = learners.MajorityClassifier()
    model.learn_one({}, {"p": True, "q": True})
    model.learn_one({}, {"p": None, "q": False})
    assert {name: p[True] for name, p in model.predict_proba_one({}).items()} == {"p": 0.75, "q": 0.5}


def test_names_are_found_lazily():
    assert set(dir(learners)) == set(learners.__all__)
    assert all(getattr(learners, name).__name__ == name for name in learners.__all__)
    with pytest.raises(AttributeError, match="module 'learners' has no attribute 'Nothing'"):
        learners.Nothing  # noqa: B018


def test_repr_shows_the_settings():
    assert 'optimizer="ftrl"' in repr(learners.LinearClassifier("ftrl"))
