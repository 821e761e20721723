"""Events as dictionaries: names in any order, left out, None, new and gone; what the laws of arrays do not reach."""

from __future__ import annotations

import math
import random

import pytest

from ihomer import LinearClassifier
from tests.contracts import assert_same_state
from tests.river.events import answer, answers, events, few_learners, learners


def shuffled(mapping, rng):
    return dict(rng.sample(list(mapping.items()), len(mapping)))


@learners
def test_names_may_come_in_any_order(make):
    first, *pairs = events(26)
    rng = random.Random(1)
    mixed = [(shuffled(x, rng), shuffled(y, rng)) for x, y in pairs]
    assert any(list(x) != list(first[0]) for x, _ in mixed)
    ordered, any_order = make(), make()
    # The new label is named last in both, as numbers follow the order of the first meeting.
    mixed = [(x, {**{k: v for k, v in y.items() if k != "d"}, **{k: y[k] for k in y if k == "d"}}) for x, y in mixed]
    assert answers(ordered, [first, *pairs]) == answers(any_order, [first, *mixed])
    assert_same_state(ordered, any_order)


@learners
def test_a_label_left_out_is_unknown_as_none_is(make):
    rng = random.Random(2)
    first, *rest = [(x, {label: value for label, value in y.items() if label != "d"}) for x, y in events(26)]
    told = [first] + [(x, {k: v if rng.random() < 0.7 else None for k, v in y.items()}) for x, y in rest]
    short = [(x, {k: v for k, v in y.items() if v is not None}) for x, y in told]
    assert any(len(y) < 3 for _, y in short)
    nones, absent = make(), make()
    assert answers(nones, told) == answers(absent, short)
    assert_same_state(nones, absent)


@learners
def test_a_feature_left_out_is_missing_as_none_is(make):
    rng = random.Random(3)
    first, *rest = events(26)
    told = [first] + [({k: v if rng.random() < 0.7 else None for k, v in x.items()}, y) for x, y in rest]
    short = [({k: v for k, v in x.items() if v is not None}, y) for x, y in told]
    nones, absent = make(), make()
    assert answers(nones, told) == answers(absent, short)
    assert_same_state(nones, absent)


@learners
def test_features_come_and_go(make):
    model = make()
    for i, (x, y) in enumerate(events()):
        moving = {f"f{i // 8 + k}": value for k, value in enumerate([x["f1"], x["f2"], x["f3"]])}
        labels, proba = answer(model, moving)
        assert labels <= set(model.schema_.label_names)
        assert all(math.isfinite(p) and 0 <= p <= 1 for p in proba.values())
        model.learn_one(moving, y)
    assert model.schema_.n_features >= 7
    # Nothing that was ever met is left: an answer all the same, and no name is kept.
    assert answer(model, {"never": 1.0, "met": "word"}) == answer(model, {})
    assert "never" not in model.schema_.feature_names


@learners
def test_an_unlabelled_first_event_teaches_nothing(make):
    told, untold = make(), make()
    told.learn_one({"f1": 1.0}, {})
    assert told.predict_one({"f1": 1.0}) == {}
    told.learn_one({"f1": 2.0}, {"a": True})
    untold.learn_one({"f1": 2.0}, {"a": True})
    assert answer(told, {"f1": 2.0}) == answer(untold, {"f1": 2.0})
    assert_same_state(told, untold)


@few_learners
def test_predicting_between_events_changes_no_later_answer(make):
    quiet, asked = make(), make()
    for x, y in events():
        asked.predict_one({**x, "new": 1.0})
        asked.predict_one({"f4": "violet"})
        asked.predict_one({})
        quiet.learn_one(x, y)
        asked.learn_one(x, y)
    assert_same_state(quiet, asked)


@few_learners
def test_answers_are_the_callers_own(make):
    model = make()
    answers(model, events())
    x, _ = events(1, seed=9)[0]
    before = model.get_state()
    given = model.predict_one(x)
    expected = dict(given)
    given.clear()
    given["a"] = "spoiled"
    assert model.predict_one(x) == expected
    assert model.get_state().keys() == before.keys()
    assert model.predict_one(x)["nobody's"] is False
    assert "nobody's" not in model.predict_one(x)


@few_learners
def test_truth_may_be_numbers(make):
    flags, numbers = make(), make()
    for x, y in events():
        flags.learn_one(x, y)
        numbers.learn_one(x, {label: int(value) for label, value in y.items()})
    assert_same_state(flags, numbers)


def test_names_may_be_numbers_but_no_objects():
    model = LinearClassifier()
    model.learn_one({0: 1.0, 1: 2.0}, {0: True, 1: False})
    assert set(model.predict_one({0: 1.0})) == {0, 1}
    with pytest.raises(TypeError, match=r"label name must be a string or a number, got \('a', 1\)"):
        model.learn_one({0: 1.0}, {("a", 1): True})
    with pytest.raises(TypeError, match=r"feature 0 must be a number, a string or None, got \[1\]"):
        model.learn_one({0: [1]}, {0: True})
