"""Single events given as dictionaries: the fast way is taken, and leads where the way by batches does, to the bit."""

from __future__ import annotations

import copy
import pickle

import numba
import numpy as np
import pytest

from ihomer import IHOMERClassifier
from learners import LinearClassifier
from learners.one_event import OneEvent
from learners.trees.mlhat import MLHATClassifier
from streams.batch import Batch

MAKERS = {
    "linear": lambda: LinearClassifier(),
    "linear f1": lambda: LinearClassifier("ftrl", l1=0.01, threshold="f1"),
    "tree": lambda: MLHATClassifier(grace_period=30),
    "paper tree": lambda: MLHATClassifier(mode="paper", grace_period=30),
    "ihomer": lambda: IHOMERClassifier(n_min=40, window=90),
    "ihomer of few": lambda: IHOMERClassifier(experts=("ridge", "neighbours"), joint=False, temporal=False),
    "ihomer without ridge": lambda: IHOMERClassifier(
        experts=("logistic", "score-neighbours"), optimise="f1", detector="fhddm", memory_budget=8192
    ),
    "ihomer with a shortlist": lambda: IHOMERClassifier(shortlist=3, detector=None),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def by_batches(make):
    """The same learner without the fast way."""
    model = make()
    model._one_event = lambda: None
    return model


def plain(n, seed=0, n_labels=4, n_features=6):
    """Events of numbers alone, in which every label is told."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, n_labels, n)
    x = random.normal(size=(n, n_features)).round(3)
    x[np.arange(n), kinds] += 2.0
    y = (np.arange(n_labels) == kinds[:, None]) ^ (random.random((n, n_labels)) < 0.05)
    return [
        ({f"x{j}": float(value) for j, value in enumerate(row)}, {f"y{j}": bool(held) for j, held in enumerate(labels)})
        for row, labels in zip(x, y, strict=True)
    ]


def odd(n):
    """Events of every kind, some of which only the way by batches can take."""
    events = []
    for i, (x, y) in enumerate(plain(n, 1)):
        turn, weight = i % 23, 1.0
        if turn == 2:
            x = dict(reversed(x.items()))
        elif turn == 4:
            x = {name: None if j == 1 else value for j, (name, value) in enumerate(x.items())}
        elif turn == 5:
            x = {name: value for name, value in x.items() if name != "x2"}
        elif turn == 6:
            x = dict.fromkeys(x)
        elif turn == 7:
            x = {name: kind(value) for (name, value), kind in zip(x.items(), [np.float32, int, bool] * 2, strict=True)}
        elif turn == 8:
            x = {**x, f"late {i // 69}": 1.0}
        elif turn == 9:
            x = {}
        elif turn == 10:
            y = {**y, f"late {i // 46}": i % 2 == 0}
        elif turn == 12:
            y = dict(list(y.items())[:2])
        elif turn == 13:
            y = {name: None if j == 1 else value for j, (name, value) in enumerate(y.items())}
        elif turn == 14:
            y = dict.fromkeys(y)
        elif turn == 15:
            y = {}
        elif turn == 16:
            y = {name: kind(value) for (name, value), kind in zip(y.items(), [np.bool_, int, float] * 2, strict=False)}
        elif turn == 17:
            y = dict(reversed(y.items()))
        elif turn == 18:
            weight = 2.5
        elif turn == 19:
            weight = np.float64(0.5)
        events.append((x, y, weight))
    return events


def assert_same(one, other):
    assert one.events_ == other.events_
    mine, theirs = one.get_state(), other.get_state()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert array.dtype == theirs[name].dtype, name
        assert array.tobytes() == theirs[name].tobytes(), name


def go(model, events):
    answers = []
    for x, y, *weight in events:
        answers.append((model.predict_one(x), model.predict_proba_one(x)))
        model.learn_one(x, y, *weight)
    return answers


def test_it_equals_the_way_by_batches(make):
    fast, slow = make(), by_batches(make)
    events = odd(320)
    assert go(fast, events) == go(slow, events)
    assert_same(fast, slow)


def test_it_is_the_way_that_plain_events_take(make, monkeypatch):
    model = make()
    events = plain(120)
    go(model, events[:40])
    batches, run = [], model._run
    monkeypatch.setattr(model, "_run", lambda *given: batches.append(given) or run(*given))
    go(model, events[40:])
    # Trees make room for new leaves.
    assert len(batches) <= (8 if isinstance(model, MLHATClassifier) else 0)
    batches.clear()
    x, y = events[0]
    go(model, [({**x, "x1": None}, {**y, "y1": None}), ({name: np.float32(value) for name, value in x.items()}, y)])
    assert not batches


def test_learning_without_an_answer_asked_and_answers_about_other_events(make):
    fast, slow = make(), by_batches(make)
    events = plain(90)
    for i, (x, y) in enumerate(events):
        asked = [[], [x], [events[i - 1][0]], [x, events[i - 1][0]], [events[i - 1][0], x], [x, x]][i % 6]
        for other in asked:
            assert fast.predict_one(other) == slow.predict_one(other)
        fast.learn_one(x, y)
        slow.learn_one(x, y)
        if i % 4 == 0:
            fast.learn_one(x, y)
            slow.learn_one(x, y)
    assert_same(fast, slow)


def test_an_event_changed_after_it_was_answered(make):
    fast, slow = make(), by_batches(make)
    for i, (x, y) in enumerate(plain(60)):
        assert fast.predict_one(x) == slow.predict_one(x)
        x["x0"] += i % 2
        fast.learn_one(x, y)
        slow.learn_one(x, y)
    assert_same(fast, slow)


def test_both_ways_in_turn(make):
    events = plain(130)
    fast, slow = make(), by_batches(make)
    for low in range(0, 130, 10):
        part = events[low : low + 10]
        if low % 30 == 0:
            xs, ys = zip(*part, strict=True)
            for model in (fast, slow):
                model.learn_batch(Batch.from_dicts(xs, ys, schema=model.schema_))
        else:
            assert go(fast, part) == go(slow, part)
        batch = Batch.from_dicts([x for x, _ in part], schema=fast.schema_, grow=False)
        mine, theirs = fast.predict_batch(batch), slow.predict_batch(batch)
        assert mine.labels.indices.tobytes() == theirs.labels.indices.tobytes()
    assert_same(fast, slow)


def test_copies_and_saved_states_go_on(make):
    events = plain(120)
    whole = make()
    go(whole, events[:60])
    restored = make()
    restored.set_state(whole.get_state())
    others = [restored, pickle.loads(pickle.dumps(whole)), copy.deepcopy(whole)]
    answers = go(whole, events[60:])
    for other in others:
        assert go(other, events[60:]) == answers
    assert_same(whole, others[1])
    assert_same(whole, others[2])
    assert len(whole.clone().schema_.label_names) == 0


def test_what_river_measures_is_the_learner_s_own(make):
    numba.njit(lambda number: number)(1)  # from here on the compiler is there to be reached
    model = make()
    go(model, plain(60))
    assert model._one is not None
    assert model._raw_memory_usage < 1e6


def test_a_state_put_back_is_not_mixed_with_the_one_before(make):
    events = plain(100)
    model = make()
    go(model, events[:40])
    state = model.get_state()
    answers = go(model, events[40:])
    model.predict_one(events[40][0])
    model.set_state(state)
    assert go(model, events[40:]) == answers


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39, np.float64("-inf")])
def test_numbers_that_are_none_are_refused_and_change_nothing(make, value):
    model, events = make(), plain(40)
    go(model, events)
    before = model.get_state()
    x, y = events[3]
    for refused in (lambda: model.learn_one({**x, "x3": value}, y), lambda: model.predict_one({**x, "x3": value})):
        with pytest.raises(ValueError, match="feature 'x3' must be finite as a float32"):
            refused()
    after = model.get_state()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    assert go(model, events) == go(_restored(make, before), events)


def _restored(make, state):
    model = make()
    model.set_state(state)
    return model


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(make, weight):
    model, events = make(), plain(40)
    go(model, events)
    with pytest.raises(ValueError, match="weight must be positive and finite"):
        model.learn_one(*events[0], weight)


def test_words_for_numbers_are_refused(make):
    model, events = make(), plain(40)
    go(model, events)
    with pytest.raises(ValueError, match="feature 'x1' must stay numeric"):
        model.learn_one({**events[0][0], "x1": "red"}, events[0][1])
    with pytest.raises(TypeError, match="feature 'x1' must be a number"):
        model.predict_one({**events[0][0], "x1": [1.0]})


def test_categories_and_sparse_rows_go_by_way_of_batches():
    model = LinearClassifier()
    for i in range(20):
        model.learn_one({"colour": "red" if i % 2 else "blue", "size": float(i)}, {"odd": i % 2 == 1})
    assert model._one_event() is None
    assert model.predict_one({"colour": "red", "size": 3.0}) == {"odd": True}
    model = LinearClassifier()
    for i in range(80):
        model.learn_one({f"word {i}": 1.0}, {"p": True, "q": i % 2 == 0})
    assert model.schema_.sparse
    assert model._one_event() is None


def test_rows_that_turn_sparse(make):
    dense, few = plain(50, n_features=40), plain(30, 5, n_features=10)
    fast, slow = make(), by_batches(make)
    assert go(fast, dense + few) == go(slow, dense + few)
    assert fast.schema_.sparse
    assert_same(fast, slow)


def test_alarms_and_shadows_come_at_the_same_events():
    first, second = plain(450, 2), plain(400, 3)
    events = first + [(x, {name: not held for name, held in y.items()}) for x, y in second]
    fast, slow = IHOMERClassifier(n_min=50, window=200), IHOMERClassifier(n_min=50, window=200)
    slow._one_event = lambda: None
    for model in (fast, slow):
        for x, y in events:
            model.learn_one(x, y)
    assert any(event["kind"] == "loss" for event in fast.events_)
    assert fast._experts.has_shadow
    assert_same(fast, slow)


def test_the_schema_may_grow_behind_a_learner_s_back():
    model, events = LinearClassifier(), plain(30)
    go(model, events)
    model.schema_.label_id("new")
    assert model.predict_one(events[0][0])["new"] is False
    assert "new" in model.predict_proba_one(events[0][0])


def test_a_kernel_that_refuses_leaves_the_event_to_the_batch():
    schema = LinearClassifier().schema_
    schema.decide(schema.feature_id("a"), 1)
    schema.label_id("p")
    one = OneEvent(schema, lambda *_: -1, None, None)  # type: ignore[arg-type]
    assert one.answer({"a": 1.0}) is None
    assert not one.learn({"a": 1.0}, {"p": True}, 1.0)
    assert not one.learn({"a": 1.0}, {"q": True}, 1.0)
    assert not one.learn({"b": 1.0}, {"p": True}, 1.0)
    assert not one.learn({"a": 1.0}, {"p": "yes"}, 1.0)
