"""Why an event is answered as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ihomer import IHOMERClassifier
from ihomer.explanation import Explanation, LabelExplanation, Neighbour


def grown(n=400, **settings):
    rng = np.random.default_rng(3)
    model = IHOMERClassifier(**settings)
    for _ in range(n):
        heat = float(rng.normal())
        cold = heat < 0
        model.learn_one({"heat": heat}, {"ice": cold, "snow": cold, "sun": not cold, "dösig": heat > 1})
    return model


def test_an_explanation_tells_what_the_classifier_answers():
    model = grown()
    x = {"heat": -1.5}
    before = model.get_state()
    told = model.explain_one(x)
    assert all(array.tobytes() == before[name].tobytes() for name, array in model.get_state().items())
    proba, answer = model.predict_proba_one(x), model.predict_one(x)
    assert {one.label: one.proba for one in told.labels} == pytest.approx(
        {label: p[True] for label, p in proba.items()}
    )
    assert {one.label for one in told.labels if one.answered} == {label for label, y in answer.items() if y}
    for one in told.labels:
        assert 1 / (1 + np.exp(-sum(one.contributions.values()))) == pytest.approx(one.proba, abs=1e-6)
    first = told.labels[0]
    assert first.label in ("ice", "snow")
    assert {"ice", "snow"} <= set(first.cluster)
    assert sum(near.vote for near in first.neighbours) == pytest.approx(1)
    assert first.neighbours[0].similarity >= first.neighbours[-1].similarity
    names, mass = told.likely_sets[0]
    assert set(names) == {"ice", "snow"}
    assert 0.5 < mass <= 1
    assert json.loads(json.dumps(told.to_dict()))["labels"][0]["answered"] is True


def test_before_the_first_label_there_is_nothing_to_explain():
    told = IHOMERClassifier().explain_one({"a": 1.0})
    assert told.labels == []
    assert told.to_text() == ""


def test_paper_mode_is_not_explained():
    with pytest.raises(ValueError, match="mode must be 'default' for an explanation, got 'paper'"):
        IHOMERClassifier(mode="paper").explain_one({"a": 1.0})


def test_the_text_shows_the_likely_and_the_answered():
    labels = [
        LabelExplanation("dösig", 0.9, True, ["dösig", "müde"], {"ridge": 2.0, "one": -0.1}, [Neighbour(7, 0.5, 0.25)]),
        LabelExplanation("b", 0.4, False),
        LabelExplanation("c", 0.3, True),
        LabelExplanation("d", 0.2, False),
    ]
    text = Explanation(labels, [(["dösig", "c"], 0.7)]).to_text(top=1)
    assert text.splitlines() == [
        "+ dösig  p = 0.900",
        "    because of ridge +2.00, one -0.10",
        "    25% of the votes of neighbours, such as event 7 (0.50)",
        "    in a cluster with {müde}",
        "+ c  p = 0.300",
        "and 2 labels less likely",
        "label set {dösig, c}: 0.70",
    ]
