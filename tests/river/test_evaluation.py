"""Learners in river's loops: progressive validation, at once and delayed, questions and answers, shuffles, tracks."""

from __future__ import annotations

import copy
import io

import pytest
from river import compose, evaluate, linear_model, metrics, multioutput, preprocessing, stream, utils

from ihomer import LinearClassifier, open_source, river_metric, to_river
from ihomer.evaluation.river_metrics import MicroF1
from tests.contracts import assert_same_state
from tests.river.events import events, few_learners, numeric_events


def by_hand(model, pairs):
    """What river's loop is said to do."""
    metric = river_metric("micro_f1")
    for x, y in pairs:
        if given := model.predict_one(x):
            metric.update(y, given)
        model.learn_one(x, y)
    return metric


@few_learners
def test_progressive_validation_is_the_loop_by_hand(make):
    model, other = make(), make()
    metric = river_metric("micro_f1")
    assert evaluate.progressive_val_score(events(), model, metric) is metric
    assert metric.get() == by_hand(other, events()).get() > 0
    assert_same_state(model, other)


@few_learners
@pytest.mark.parametrize("delay", [1, 7])
def test_delayed_labels(make, delay):
    """An event is learned when so many have come after it; the answer that is scored is the one given before."""
    model, other = make(), make()
    pairs = events()
    metric, expected = river_metric("micro_f1"), river_metric("micro_f1")
    evaluate.progressive_val_score(pairs, model, metric, delay=delay)
    waiting = {}
    for i, (x, y) in enumerate(pairs):
        for j in [j for j in waiting if j + delay <= i]:
            given, old_x, old_y = waiting.pop(j)
            if given:
                expected.update(old_y, given)
            other.learn_one(old_x, old_y)
        waiting[i] = (other.predict_one(x), x, y)
    for given, old_x, old_y in waiting.values():
        if given:
            expected.update(old_y, given)
        other.learn_one(old_x, old_y)
    assert metric.get() == expected.get()
    assert_same_state(model, other)


def test_moments_and_delays_of_their_own():
    pairs = [({**x, "at": 10 * i, "wait": 25 if i % 2 else 5}, y) for i, (x, y) in enumerate(numeric_events())]
    model = compose.Discard("at", "wait") | LinearClassifier()
    order = []

    class Watched(type(model)):
        def learn_one(self, x, y, **params):
            order.append(x["at"] // 10)
            super().learn_one(x, y, **params)

    watched = Watched(*model.steps.values())
    metric = evaluate.progressive_val_score(pairs, watched, river_metric("micro_f1"), moment="at", delay="wait")
    assert sorted(order) == list(range(40))
    assert order[:5] == [0, 2, 1, 4, 3]
    assert metric.get() > 0.4
    assert set(model[-1].schema_.feature_names) == {"f1", "f2", "f3"}


@few_learners
def test_questions_and_answers(make):
    model, metric, asked = make(), MicroF1(), {}
    for i, x, y in stream.simulate_qa(events(), moment=None, delay=3):
        if y is None:
            asked[i] = model.predict_one(x)
        else:
            metric.update(y, asked.pop(i))
            model.learn_one(x, y)
    assert not asked
    assert metric.get() > 0.2
    assert set(model.predict_one({})) == {"a", "b", "c", "d"}


def test_metrics_of_river_read_answers_that_lack_labels():
    """An answer reads False for a label that the learner has not met, where river looks it up."""
    rivers = [
        metrics.multioutput.ExactMatch(),
        metrics.multioutput.MicroAverage(metrics.F1()),
        metrics.multioutput.MacroAverage(metrics.Jaccard()),
        metrics.multioutput.SampleAverage(metrics.Precision()),
        metrics.multioutput.PerOutput(metrics.Recall()),
    ]
    for metric in rivers:
        evaluate.progressive_val_score(events(), LinearClassifier(), metric)
    assert all(metric.get() > 0.1 for metric in rivers[:-1])
    assert set(rivers[-1].get()) == {"a", "b", "c", "d"}


def test_progress_steps_and_tables():
    out = io.StringIO()
    metric = MicroF1() + river_metric("macro_f1")
    evaluate.progressive_val_score(
        events(), LinearClassifier(), metric, print_every=20, show_time=True, show_memory=True, file=out
    )
    assert out.getvalue().splitlines()[0].startswith("[20] MicroF1: ")
    assert "MacroF1: " in out.getvalue()
    steps = list(evaluate.iter_progressive_val_score(events(), LinearClassifier(), metric.clone(), step=20))
    assert [step["Step"] for step in steps] == [20, 40]
    assert {"MicroF1", "MacroF1"} <= steps[0].keys()
    last = list(
        evaluate.iter_progressive_val_score(
            events(), LinearClassifier(), MicroF1(), step=40, yield_predictions=True, measure_memory=True
        )
    )[-1]
    assert last["Memory"] > 0
    assert set(last["Prediction"]) >= {"a", "b", "c"}


def test_rolling_scores():
    pairs = numeric_events(60)
    rolling = utils.Rolling(MicroF1, window_size=15)
    evaluate.progressive_val_score(pairs, LinearClassifier(), rolling)
    model, given = LinearClassifier(), []
    for x, y in pairs:
        given.append((y, model.predict_one(x)))
        model.learn_one(x, y)
    expected = MicroF1()
    for y, answer in given[-15:]:
        expected.update(y, answer)
    assert rolling.get() == expected.get()


def test_a_track_compares_models_of_both_houses():
    data = to_river(open_source("yeast").next_batch(40))
    track = evaluate.Track(name="yeast", datasets=[data], metric=MicroF1())
    rivers = multioutput.PerOutputClassifier(linear_model.LogisticRegression())
    for model in (LinearClassifier(), preprocessing.StandardScaler() | rivers):
        *_, last = track.run(model, data, n_checkpoints=2)
        assert last["Step"] == 40
        assert last["MicroF1"].get() > 0.3


def test_shuffled_streams_and_copies_of_events():
    pairs = numeric_events()
    before = copy.deepcopy(pairs)
    mixed = list(stream.shuffle(pairs, buffer_size=10, seed=1))
    assert mixed != pairs
    metric = evaluate.progressive_val_score(mixed, LinearClassifier(), MicroF1())
    again = evaluate.progressive_val_score(stream.shuffle(pairs, buffer_size=10, seed=1), LinearClassifier(), MicroF1())
    assert metric.get() == again.get()
    assert pairs == before


def test_weights_of_the_stream_reach_the_learner():
    pairs = numeric_events()
    weighted = [(x, y, {"w": 3.0}) for x, y in pairs]
    models = [LinearClassifier(), LinearClassifier()]
    evaluate.progressive_val_score(weighted, models[0], MicroF1())
    for x, y in pairs:
        models[1].learn_one(x, y, w=3.0)
    assert_same_state(*models)


def test_a_model_for_one_class_is_refused():
    with pytest.raises(ValueError, match="MicroF1 metric is not compatible with"):
        evaluate.progressive_val_score(events(), linear_model.LogisticRegression(), MicroF1())
