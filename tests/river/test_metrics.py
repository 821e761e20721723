"""Our metrics in river's form: equal to ours, to river's where they mean the same, summed, rolled and taken back."""

from __future__ import annotations

import copy
import math
import pickle
import random

import numpy as np
import pytest
from river import base, linear_model, metrics, utils

from ihomer import river_metric
from ihomer.evaluation.metrics import MultiLabelMetrics
from ihomer.evaluation.river_metrics import RIVER_METRICS, MicroF1, RiverMetric
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from tests.evaluation.answers import random_stream

names = pytest.mark.parametrize("name", sorted(RIVER_METRICS))

RIVERS = {
    "subset_accuracy": metrics.multioutput.ExactMatch,
    "micro_f1": lambda: metrics.multioutput.MicroAverage(metrics.F1()),
    "micro_precision": lambda: metrics.multioutput.MicroAverage(metrics.Precision()),
    "micro_recall": lambda: metrics.multioutput.MicroAverage(metrics.Recall()),
    "macro_f1": lambda: metrics.multioutput.MacroAverage(metrics.F1()),
    "macro_precision": lambda: metrics.multioutput.MacroAverage(metrics.Precision()),
    "macro_recall": lambda: metrics.multioutput.MacroAverage(metrics.Recall()),
    "example_f1": lambda: metrics.multioutput.SampleAverage(metrics.F1()),
    "example_precision": lambda: metrics.multioutput.SampleAverage(metrics.Precision()),
    "example_recall": lambda: metrics.multioutput.SampleAverage(metrics.Recall()),
    "example_jaccard": lambda: metrics.multioutput.SampleAverage(metrics.Jaccard()),
}
"""What river calls the same, where every event names every label and every answer does."""


def told_by_names(seed, n, n_labels, states=(COMPLETE,)):
    """A random stream whose first event names all labels, and in which one that knows all is complete."""
    batch, prediction = random_stream(seed, n, n_labels, states=states)
    batch.label_state[0] = COMPLETE
    if batch.known is not None:
        batch.label_state[np.diff(batch.known.indptr) == n_labels] = COMPLETE
    return batch, prediction


def as_pairs(batch, prediction):
    """Truth and answer of each event as river has them: unknown labels left out, answers of all labels."""
    labels, pairs = batch.schema.label_names, []
    for i in range(len(batch)):
        present = set(batch.y.row(i).tolist())
        state = batch.label_state[i]
        known = [] if state == UNLABELLED else range(len(labels)) if state == COMPLETE else batch.known.row(i).tolist()
        answered = set(prediction.labels.row(i).tolist())
        pairs.append(({labels[k]: k in present for k in known}, {name: k in answered for k, name in enumerate(labels)}))
    return pairs


def updated(metric, pairs):
    for y_true, y_pred in pairs:
        metric.update(y_true, y_pred)
    return metric


def test_every_metric_of_labels_has_its_class():
    of_labels = MultiLabelMetrics().cumulative(0).keys()
    assert set(RIVER_METRICS) == set(of_labels)
    classes = [type(river_metric(name)) for name in RIVER_METRICS]
    assert len({cls.__name__ for cls in classes}) == len(of_labels)
    assert all(cls.__name__.lower() == cls.name.replace("_", "") for cls in classes)
    with pytest.raises(ValueError, match=r"metric must be one of .*, got 'micro_f'; did you mean 'micro_f1'\?"):
        river_metric("micro_f")


@names
@pytest.mark.parametrize("states", [(COMPLETE,), (COMPLETE, PARTIAL, UNLABELLED), (PARTIAL,)])
def test_equals_ours_to_the_last_bit(name, states):
    batch, prediction = told_by_names(1, 80, 9, states)
    ours = MultiLabelMetrics()
    ours.update(batch, prediction)
    metric = updated(river_metric(name), as_pairs(batch, prediction))
    assert np.float64(metric.get()).tobytes() == np.float64(ours.cumulative(9)[name]).tobytes()


@names
def test_equals_ours_where_labels_are_met_on_the_way(name):
    """Events name the labels met by then; some answers hold a label before the truth does."""
    rng = random.Random(4)
    schema, pairs, batches = Schema(), [], []
    for i in range(60):
        labels = [f"l{k}" for k in range(1 + i // 10)]
        y_true = {label: rng.random() < 0.4 for label in labels}
        if i % 7 == 6:
            y_true[rng.choice(labels)] = None
        y_pred = {label: rng.random() < 0.4 for label in labels}
        if i % 10 == 9:
            y_pred[f"l{1 + i // 10}"] = True
        pairs.append((y_true, y_pred))
    metric = updated(river_metric(name), pairs)
    ours = MultiLabelMetrics()
    for y_true, y_pred in pairs:
        batch = Batch.from_dicts([{}], [y_true], schema=schema)
        batches.append(batch)
        answered = sorted(int(label[1:]) for label, value in y_pred.items() if value)
        ours.update(batch, Prediction(Rows.from_lists([answered])))
    assert {int(batch.label_state[0]) for batch in batches} == {COMPLETE, PARTIAL}
    assert np.float64(metric.get()).tobytes() == np.float64(ours.cumulative(7)[name]).tobytes()


@pytest.mark.parametrize("name", sorted(RIVERS))
def test_equals_rivers_own(name):
    pairs = as_pairs(*random_stream(2, 200, 6))
    metric, rivers = updated(river_metric(name), pairs), updated(RIVERS[name](), pairs)
    assert metric.get() == pytest.approx(rivers.get(), rel=1e-12)
    assert 0 < metric.get() < 1


def test_hamming_loss_is_what_accuracy_lacks():
    pairs = as_pairs(*random_stream(3, 100, 6))
    accuracy = updated(metrics.multioutput.MicroAverage(metrics.Accuracy()), pairs)
    loss = updated(river_metric("hamming_loss"), pairs)
    assert loss.get() == pytest.approx(1 - accuracy.get(), rel=1e-12)
    assert not loss.bigger_is_better
    better = updated(river_metric("hamming_loss"), [(y, y) for y, _ in pairs])
    assert better.is_better_than(loss)
    assert river_metric("micro_f1").bigger_is_better


def test_where_rivers_own_differ():
    early = [({"a": True, "b": False}, {"a": True})]
    ours, rivers = updated(river_metric("subset_accuracy"), early), updated(metrics.multioutput.ExactMatch(), early)
    assert (ours.get(), rivers.get()) == (1.0, 0.0)
    partly = [({"a": True, "b": True}, {"a": True, "b": True}), ({"a": True}, {"a": False})]
    rivers = updated(metrics.multioutput.SampleAverage(metrics.F1()), partly)
    assert (updated(river_metric("example_f1"), partly).get(), rivers.get()) == (1.0, 0.5)
    alarm = [({"a": True}, {"a": True, "new": True})]
    rivers = updated(metrics.multioutput.MicroAverage(metrics.Precision()), alarm)
    assert (updated(river_metric("micro_precision"), alarm).get(), rivers.get()) == (0.5, 1.0)
    assert math.isnan(river_metric("example_f1").get())
    assert metrics.multioutput.SampleAverage(metrics.F1()).get() == 0.0


@names
@pytest.mark.parametrize("window", [1, 13])
def test_rolls_as_our_window_does(name, window):
    batch, prediction = told_by_names(5, 60, 7, (COMPLETE, PARTIAL))
    rolling = utils.Rolling(RIVER_METRICS[name], window_size=window)
    ours = MultiLabelMetrics(window=window)
    for i, (y_true, y_pred) in enumerate(as_pairs(batch, prediction)):
        rolling.update(y_true, y_pred)
        ours.update(batch[i : i + 1], prediction[i : i + 1])
        expected = ours.windowed(7)[name]
        assert rolling.get() == pytest.approx(expected, rel=1e-14, abs=0, nan_ok=True), i


@names
def test_takes_back_what_was_complete_when_it_came(name):
    """Labels met later make the same truth a partial one; the older of equal events goes first."""
    truth = {"a": True, "b": False}
    pairs = [(truth, {"a": True}), (truth, {"b": True}), ({"c": True, **truth}, {"c": True}), (truth, {"a": True})]
    rolling, fresh = utils.Rolling(RIVER_METRICS[name], window_size=1), river_metric(name)
    for pair in pairs:
        rolling.update(*pair)
    # The labels alone are remembered; the last event, a partial one now, is all that counts.
    updated(fresh, [({"a": None, "b": None, "c": None}, {}), pairs[-1]])
    assert rolling.get() == pytest.approx(fresh.get(), nan_ok=True)
    rolling.obj.revert(*pairs[-1])
    with pytest.raises(ValueError, match=r"revert must be given an event that update was given, got \{'a': True"):
        rolling.obj.revert(*pairs[-1])


def test_nothing_is_left_of_what_was_taken_back():
    pairs = as_pairs(*random_stream(6, 50, 5))
    metric = updated(river_metric("example_f1"), pairs)
    for pair in random.Random(1).sample(pairs, len(pairs)):
        metric.revert(*pair)
    assert math.isnan(metric.get())
    updated(metric, [({"x": True}, {"x": False})])
    assert metric.get() != metric.get() or metric.get() == 0.0


@names
def test_goes_on_from_a_pickle_and_is_fresh_from_a_clone(name):
    pairs = as_pairs(*random_stream(7, 60, 5))
    straight = updated(river_metric(name), pairs[:30])
    copies = [pickle.loads(pickle.dumps(straight)), copy.deepcopy(straight)]
    expected = updated(straight, pairs[30:]).get()
    for other in copies:
        assert updated(other, pairs[30:]).get() == expected
    fresh = straight.clone()
    assert type(fresh) is type(straight)
    assert updated(fresh, pairs).get() == expected


def test_sums_with_ours_and_with_rivers():
    pairs = as_pairs(*random_stream(8, 40, 5))
    both = river_metric("micro_f1") + river_metric("macro_f1") + river_metric("hamming_loss")
    updated(both, pairs)
    assert both.get() == [updated(river_metric(n), pairs).get() for n in ("micro_f1", "macro_f1", "hamming_loss")]
    assert [line.split(":")[0] for line in str(both).splitlines()] == ["MicroF1", "MacroF1", "HammingLoss"]
    mixed = river_metric("micro_f1") + metrics.multioutput.ExactMatch() + RIVERS["micro_f1"]()
    updated(mixed, pairs)
    assert mixed[0].get() == pytest.approx(mixed[2].get())
    assert [type(m).__name__ for m in metrics.multioutput.ExactMatch() + river_metric("micro_f1")] == [
        "ExactMatch",
        "MicroF1",
    ]
    assert updated(both.clone(), pairs).get() == both.get()
    assert not both.works_with_weights
    for other in (metrics.MAE(), metrics.Accuracy(), 1):
        with pytest.raises(ValueError, match=f"MicroF1 and {type(other).__name__} metrics are not compatible"):
            _ = river_metric("micro_f1") + other


def test_answers_may_leave_out_and_truth_may_be_unknown():
    metric = updated(MicroF1(), [({"a": True, "b": None}, {"b": True}), ({"a": 1, "b": 0}, {"a": np.True_})])
    assert metric.get() == 2 / 3
    updated(metric, [({}, {"a": True}), ({"a": None}, {"a": True})])
    assert metric.get() == 2 / 3
    with pytest.raises(TypeError, match=r"y_pred must hold truth values, got probabilities: {'a': {True: 0.5}}"):
        metric.update({"a": True}, {"a": {True: 0.5}})
    assert metric.get() == 2 / 3


def test_works_with_multi_label_models_alone():
    metric = river_metric("micro_f1")
    assert isinstance(metric, metrics.multioutput.base.MultiOutputClassificationMetric)
    assert isinstance(metric, (RiverMetric, base.Base))
    assert not metric.works_with(linear_model.LogisticRegression())
    assert repr(updated(metric, [({"a": True}, {"a": True})])) == "MicroF1: 100.00%"
