"""Learners behind river's transformers: the pipeline answers as the learner does on what they make of the events."""

from __future__ import annotations

import copy
import pickle
import random

import pandas as pd
import pytest
from river import compose, feature_extraction, feature_selection, preprocessing, utils

from ihomer import LinearClassifier
from ihomer.evaluation.river_metrics import MicroF1
from tests.contracts import assert_same_state
from tests.river.events import answers, events, every_learner, few_learners, numeric_events

OF_WORDS = ("LinearClassifier", "KNNClassifier", "BernoulliNBClassifier", "MLHATClassifier")
"""Numbers of words are no Gaussians."""


def texts(n=110):
    """Documents of a topic's words among others; more words than make a learner take what is left out as 0."""
    rng = random.Random(5)
    others = [f"word{i}" for i in range(60)]
    documents = []
    for _ in range(n):
        is_animal, is_colour = rng.random() < 0.5, rng.random() < 0.5
        words = rng.sample(others, 4) + ["fox"] * is_animal + ["red"] * is_colour
        documents.append((" ".join(rng.sample(words, len(words))), {"animal": is_animal, "colour": is_colour}))
    return documents


def scaled():
    return preprocessing.StandardScaler()


def union():
    numbers = compose.Select("f1", "f2") | preprocessing.StandardScaler()
    words = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return numbers + words + compose.Select("f3")


def renamed():
    return compose.Discard("f4") | compose.Prefixer("p_") | preprocessing.MinMaxScaler()


def chosen():
    return compose.SelectType(float) | feature_selection.VarianceThreshold()


@few_learners
@pytest.mark.parametrize("before", [union, renamed, chosen])
def test_answers_as_on_what_the_steps_make(make, before):
    pairs = events()
    pipeline, steps, learner = before() | make(), before(), make()
    given, expected = [], []
    for x, y in pairs:
        given.append((pipeline.predict_one(x), pipeline.predict_proba_one(x)))
        pipeline.learn_one(x, y)
        made = steps.transform_one(x)
        expected.append((learner.predict_one(made), learner.predict_proba_one(made)))
        steps.learn_one(x, y)
        learner.learn_one(steps.transform_one(x), y)
    assert given == expected
    assert any(any(labels.values()) for labels, _ in given)
    assert_same_state(pipeline[-1], learner)


@pytest.mark.parametrize("make", [case for case in every_learner() if case.id.removesuffix("-0") in OF_WORDS])
@pytest.mark.parametrize("extractor", [feature_extraction.TFIDF, feature_extraction.BagOfWords])
def test_learns_from_texts(make, extractor):
    on = extractor(on="text") | make()
    plain = extractor() | make()
    score = utils.Rolling(MicroF1, window_size=50)
    for text, y in texts():
        score.update(y, plain.predict_one(text))
        assert on.predict_one({"text": text}) == plain.predict_one(text)
        on.learn_one({"text": text}, y)
        plain.learn_one(text, y)
    assert_same_state(on[-1], plain[-1])
    schema = plain[-1].schema_
    assert schema.sparse
    assert {"fox", "red", "word1"} <= set(schema.feature_names)
    assert score.get() > 0.65
    assert set(plain.predict_one("never met")) == {"animal", "colour"}


@few_learners
def test_goes_on_from_a_pickle_or_a_copy(make):
    pairs = numeric_events()
    straight = scaled() | make()
    answers(straight, pairs[:20])
    others = [pickle.loads(pickle.dumps(straight)), copy.deepcopy(straight)]
    expected = answers(straight, pairs[20:])
    for other in others:
        assert answers(other, pairs[20:]) == expected
        assert_same_state(other[-1], straight[-1])


@few_learners
def test_a_clone_is_fresh(make):
    used = scaled() | make()
    answers(used, numeric_events())
    assert_same_state(used.clone()[-1], make())
    with_memory = used.clone(include_attributes=True)
    assert len(with_memory.steps) == 2


@few_learners
def test_takes_frames(make):
    pairs = numeric_events()
    X = pd.DataFrame([x for x, _ in pairs])
    Y = pd.DataFrame([y for _, y in pairs]).astype(object)
    Y = Y.where(Y.notna(), None)
    pipeline, steps, learner = scaled() | make(), scaled(), make()
    for part in (slice(0, 25), slice(25, 40)):
        pipeline.learn_many(X[part], Y[part])
        steps.learn_many(X[part])
        learner.learn_many(steps.transform_many(X[part]), Y[part])
    pd.testing.assert_frame_equal(pipeline.predict_many(X), learner.predict_many(steps.transform_many(X)))
    proba = pipeline.predict_proba_many(X)
    assert proba.shape == (40, 4)
    assert ((proba >= 0) & (proba <= 1)).all(axis=None)
    assert_same_state(pipeline[-1], learner)


def test_a_clone_and_a_grid_take_other_parameters():
    pipeline = scaled() | LinearClassifier(l2=0.5)
    assert pipeline.clone({"LinearClassifier": {"l2": 0.1}})["LinearClassifier"].l2 == 0.1
    assert pipeline["LinearClassifier"].l2 == 0.5
    grid = utils.expand_param_grid(pipeline, {"LinearClassifier": {"l2": [0.1, 0.2], "optimizer": ["sgd"]}})
    assert [(m["LinearClassifier"].l2, m["LinearClassifier"].optimizer) for m in grid] == [(0.1, "sgd"), (0.2, "sgd")]
    with pytest.raises(ValueError, match="l2 must be"):
        pipeline.clone({"LinearClassifier": {"l2": -1.0}})


def test_a_linear_model_goes_on_with_other_rates():
    pipeline, plain = scaled() | LinearClassifier(), scaled() | LinearClassifier(learning_rate=0.1, l2=0.01)
    events = numeric_events()
    for x, y in events[:100]:
        pipeline.predict_one(x)
        pipeline.learn_one(x, y)
        plain[0].learn_one(x)
    pipeline.mutate({"LinearClassifier": {"learning_rate": 0.1, "l2": 0.01, "threshold": 0.3}})
    plain[-1].set_state(pipeline[-1].get_state())
    for x, y in events[100:]:
        pipeline.learn_one(x, y)
        plain.learn_one(x, y)
    assert_same_state(pipeline[-1], plain[-1])
    proba, answer = pipeline.predict_proba_one(events[0][0]), pipeline.predict_one(events[0][0])
    assert answer == {label: p[True] > 0.3 for label, p in proba.items()}
    with pytest.raises(ValueError, match="l2 must be at least 0 and finite, got -1"):
        pipeline.mutate({"LinearClassifier": {"l2": -1}})
    assert pipeline[-1].l2 == 0.01
    assert pickle.loads(pickle.dumps(pipeline))[-1].learning_rate == pipeline.clone()[-1].learning_rate == 0.1


@few_learners
def test_other_parameters_are_fixed_when_a_learner_is_made(make):
    """Settings are checked and laid out for the kernels once; river's word for that is immutable."""
    model = make()
    name = next(name for name in model._get_params() if name not in model._mutable_attributes)
    with pytest.raises(ValueError, match=f"'{name}' is not a mutable attribute of {type(model).__name__}"):
        (scaled() | model).mutate({type(model).__name__: {name: None}})
    assert model._get_params() == make()._get_params()


def test_weights_reach_the_learner():
    pipeline, plain = scaled() | LinearClassifier(), scaled() | LinearClassifier()
    for x, y in numeric_events():
        pipeline.learn_one(x, y, w=3.0)
        plain.learn_one(x, y)
    x, _ = numeric_events(1, seed=5)[0]
    assert pipeline.predict_proba_one(x) != plain.predict_proba_one(x)


def test_shows_itself():
    pipeline = scaled() | LinearClassifier()
    answers(pipeline, numeric_events())
    assert str(pipeline) == "StandardScaler | LinearClassifier"
    assert "LinearClassifier" in pipeline.debug_one(numeric_events(1)[0][0])
    assert pipeline._repr_html_()
    assert pipeline[-1]._raw_memory_usage > pipeline.clone()[-1]._raw_memory_usage
