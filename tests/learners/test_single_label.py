"""One class per event on top of a multi-label learner."""

from __future__ import annotations

import numpy as np
import pytest
import river.datasets
from river import metrics
from river.checks import yield_checks

from ihomer.single_label import SingleLabel
from learners import LinearClassifier, NoChangeClassifier


def test_river_accepts_it():
    model = SingleLabel(LinearClassifier())
    for check in yield_checks(model):
        if check.__name__ not in model._unit_test_skips():
            check(model.clone())


def test_it_learns():
    model, accuracy = SingleLabel(LinearClassifier()), metrics.Accuracy()
    for x, y in river.datasets.ImageSegments().take(1500):
        accuracy.update(y, model.predict_one(x))
        model.learn_one(x, y)
    assert accuracy.get() > 0.75


def test_probabilities_are_shares_of_those_of_the_labels():
    model = SingleLabel(LinearClassifier())
    assert model.predict_one({"a": 1.0}) is None
    assert model.predict_proba_one({"a": 1.0}) == {}
    for i in range(30):
        model.learn_one({"a": float(i % 3)}, "xyz"[i % 3])
    labels = model.model.predict_proba_one({"a": 1.0})
    total = sum(p[True] for p in labels.values())
    assert model.predict_proba_one({"a": 1.0}) == {name: p[True] / total for name, p in labels.items()}


def test_without_probabilities_the_first_predicted_label_is_the_class():
    model = SingleLabel(NoChangeClassifier())
    assert model.predict_one({}) is None
    model.learn_one({}, "a")
    model.learn_one({}, np.str_("b"))
    assert model.predict_one({}) == "b"
    with pytest.raises(NotImplementedError):
        model.predict_proba_one({})


def test_only_learners_are_wrapped():
    with pytest.raises(TypeError, match="model must be a multi-label learner, got 'linear'"):
        SingleLabel("linear")
