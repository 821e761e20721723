"""Compiled metrics against label sets counted anew, against river, and the laws that every state obeys."""

from __future__ import annotations

import numpy as np
import pytest
from river import metrics as river_metrics

from ihomer.evaluation.metrics import MultiLabelMetrics
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from tests.evaluation.answers import (
    PROBA_KINDS,
    assert_same_state,
    assert_scores,
    random_stream,
    update_in_pieces,
)
from tests.naive import evaluation_metrics as naive


@pytest.mark.parametrize("proba", PROBA_KINDS)
@pytest.mark.parametrize("states", [(COMPLETE,), (COMPLETE, PARTIAL, UNLABELLED), (PARTIAL,), (UNLABELLED,)])
@pytest.mark.parametrize("window", [1, 7, 1000])
def test_agrees_with_counting_anew(proba, states, window):
    metrics, events = MultiLabelMetrics(window=window, fading=0.9), []
    for seed, n_labels in enumerate((3, 20, 45)):
        batch, prediction = random_stream(seed, 60, n_labels, states=states, proba=proba)
        metrics.update(batch, prediction)
        events += naive.log(batch, prediction)
        assert metrics.n_scored == len(events)
        for total in (n_labels, n_labels + 5):
            assert_scores(metrics.cumulative(total), naive.scores(events, total))
            assert_scores(metrics.windowed(total), naive.scores(events[-window:], total))
            assert_scores(metrics.faded(total), naive.scores(events, total, fading=0.9))
    counts = [naive.table([(1.0, event) for event in events], {label}) for label in range(45)]
    table = metrics.per_label(45)
    assert table["true_positives"].tolist() == [hits for hits, _, _ in counts]
    assert table["support"].tolist() == [hits + missed for hits, _, missed in counts]
    assert table["predicted"].tolist() == [hits + alarms for hits, alarms, _ in counts]
    for k, name in enumerate(("precision", "recall", "f1")):
        assert table[name] == pytest.approx([naive.precision_recall_f1(*row)[k] for row in counts], rel=1e-12)


@pytest.mark.parametrize("n_labels", [14, 374])
def test_agrees_with_river(n_labels):
    """River's macro average is over the labels that it was ever told of, so every dictionary here names them all."""
    batch, prediction = random_stream(1, 300, n_labels, density=4.2 / n_labels)
    ours = MultiLabelMetrics()
    ours.update(batch, prediction)
    theirs = {
        "micro_f1": river_metrics.multioutput.MicroAverage(river_metrics.F1()),
        "micro_precision": river_metrics.multioutput.MicroAverage(river_metrics.Precision()),
        "macro_f1": river_metrics.multioutput.MacroAverage(river_metrics.F1()),
        "macro_recall": river_metrics.multioutput.MacroAverage(river_metrics.Recall()),
        "example_jaccard": river_metrics.multioutput.SampleAverage(river_metrics.Jaccard()),
        "example_f1": river_metrics.multioutput.SampleAverage(river_metrics.F1()),
        "subset_accuracy": river_metrics.multioutput.ExactMatch(),
    }
    for true, predicted in zip(batch.y.to_dense(n_labels), prediction.labels.to_dense(n_labels), strict=True):
        y, z = dict(enumerate(map(bool, true))), dict(enumerate(map(bool, predicted)))
        for metric in theirs.values():
            metric.update(y, z)
    scores = ours.cumulative(n_labels)
    for name, metric in theirs.items():
        assert scores[name] == pytest.approx(metric.get(), rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("proba", PROBA_KINDS)
def test_cuts_into_batches_change_no_bit(proba):
    batch, prediction = random_stream(2, 700, 40, states=(COMPLETE, PARTIAL, UNLABELLED), proba=proba)
    whole = MultiLabelMetrics(window=50, fading=0.3)
    whole.update(batch, prediction)
    for size in (1, 97):
        pieces = MultiLabelMetrics(window=50, fading=0.3)
        update_in_pieces(pieces, batch, prediction, size)
        assert_same_state(pieces, whole)
        for scope in ("cumulative", "windowed", "faded"):
            assert repr(getattr(pieces, scope)(40)) == repr(getattr(whole, scope)(40))


def test_goes_on_after_loading_as_if_it_had_not_stopped():
    batch, prediction = random_stream(3, 900, 30, states=(COMPLETE, PARTIAL), proba="dense")
    straight, first, second = (MultiLabelMetrics(window=300) for _ in range(3))
    straight.update(batch, prediction)
    first.update(batch[:500], prediction[:500])
    state = first.get_state()
    second.set_state(state)
    first.update(batch[500:], prediction[500:])
    second.update(batch[500:], prediction[500:])
    assert_same_state(second, straight)
    assert_same_state(first, straight)
    assert repr(second.faded(31)) == repr(straight.faded(31))
    assert repr(second.windowed(31)) == repr(straight.windowed(31))
    again = MultiLabelMetrics(window=300)
    again.set_state(state)
    assert again.n_scored == 500, "what was handed out must not change with the metrics that it came from"


def test_a_label_first_seen_late_counts_as_absent_before():
    n = 10_000
    schema = Schema(labels=range(3))
    truth = Batch(schema, np.zeros((n, 0), np.float32), Rows.from_lists([[0]] * n), np.full(n, COMPLETE, np.uint8))
    answer = Prediction(Rows.from_lists([[0, 1]] * n), np.full((n, 3), 0.5, np.float32))
    metrics = MultiLabelMetrics(window=4)
    metrics.update(truth, answer)
    before = metrics.cumulative(3)
    late = schema.label_id(70)
    metrics.update(
        Batch(schema, np.zeros((1, 0), np.float32), Rows.from_lists([[0, late]]), np.full(1, COMPLETE, np.uint8)),
        Prediction(Rows.from_lists([[0]]), np.full((1, 3), 0.5, np.float32)),
    )
    after = metrics.cumulative(4)
    assert before["hamming_loss"] == 1 / 3
    assert after["hamming_loss"] == (n + 1) / (4 * (n + 1))
    assert before["brier"] == 0.25
    assert after["brier"] == pytest.approx((0.25 * 3 * (n + 1) + 1) / (4 * (n + 1)), rel=1e-12)
    assert after["macro_f1"] == pytest.approx(before["macro_f1"] * 3 / 4, rel=1e-12)
    assert after["macro_f1_seen"] == before["macro_f1_seen"] / 2
    assert metrics.windowed(4)["micro_recall"] == 4 / 5
    assert metrics.per_label(4)["support"].tolist() == [n + 1, 0, 0, 1]


def test_a_label_number_far_beyond_the_others():
    batch, prediction = random_stream(4, 5, 6)
    far = Batch(batch.schema, np.zeros((1, 0), np.float32), Rows.from_lists([[5000]]), np.full(1, COMPLETE, np.uint8))
    metrics = MultiLabelMetrics()
    metrics.update(batch, prediction)
    metrics.update(far, Prediction(Rows.from_lists([[9000]])))
    assert np.flatnonzero(metrics.per_label(9001)["support"] + metrics.per_label(9001)["predicted"]).max() == 9000
    with pytest.raises(
        ValueError, match="n_labels must be at least 9001, for the labels present or predicted, got 9000"
    ):
        metrics.cumulative(9000)


def test_fading_lasts_longer_than_its_weights_fit_a_float():
    """0.5 ** 1510 is far below the least float64: the sums are rescaled after events 501, 1001 and 1501."""
    batch, prediction = random_stream(5, 1510, 4, proba="dense")
    metrics, done = MultiLabelMetrics(fading=0.5), 0
    for stop in (500, 501, 502, 510, 1000, 1001, 1003, 1500, 1501, 1510):
        metrics.update(batch[done:stop], prediction[done:stop])
        done = stop
        events = naive.log(batch[stop - 100 : stop], prediction[stop - 100 : stop])
        assert_scores(metrics.faded(4), naive.scores(events, 4, fading=0.5))
        assert metrics.get_state()["scalars"]["scale"][0] <= 2.0**500


def test_a_label_can_fade_out():
    labels = Rows.from_lists([[1]] + [[0]] * 1199)
    truth = Batch(Schema(labels="ab"), np.zeros((1200, 0), np.float32), labels, np.full(1200, COMPLETE, np.uint8))
    answer = Prediction(Rows.from_lists([[0]] * 1200))
    metrics = MultiLabelMetrics(fading=0.5)
    metrics.update(truth[:900], answer[:900])
    assert metrics.faded(2)["macro_f1_seen"] == pytest.approx(0.5)
    metrics.update(truth[900:], answer[900:])
    assert metrics.faded(2)["macro_f1_seen"] == 1
    assert metrics.cumulative(2)["macro_f1_seen"] < 0.51


@pytest.mark.parametrize("n_labels", [1, 40, 300])
def test_log_loss_of_answers_that_could_not_be_more_wrong(n_labels):
    rows = np.ones((2, n_labels))
    truth = Batch.from_arrays(np.zeros((2, 1)), rows * [[0], [1]])
    metrics = MultiLabelMetrics()
    metrics.update(truth, Prediction(Rows.empty(2), (rows * [[1], [0]]).astype(np.float32)))
    scores = metrics.cumulative(n_labels)
    assert scores["log_loss"] == pytest.approx(-np.log(1e-7), rel=1e-12)
    assert scores["brier"] == 1


def test_memory_does_not_grow_with_the_stream():
    batch, prediction = random_stream(6, 4000, 12)
    metrics = MultiLabelMetrics(window=200)
    metrics.update(batch[:1000], prediction[:1000])
    size = metrics.nbytes
    metrics.update(batch[1000:], prediction[1000:])
    assert metrics.nbytes == size


@pytest.mark.parametrize("proba", PROBA_KINDS)
def test_input_is_not_changed(proba):
    batch, prediction = random_stream(7, 50, 9, states=(COMPLETE, PARTIAL), proba=proba)
    parts = [batch.y, batch.known, prediction.labels]
    arrays = [batch.label_state, *(array for rows in parts for array in (rows.indptr, rows.indices))]
    if isinstance(prediction.proba, Rows):
        arrays += [prediction.proba.indptr, prediction.proba.indices, prediction.proba.data]
    elif prediction.proba is not None:
        arrays.append(prediction.proba)
    before = [array.copy() for array in arrays]
    MultiLabelMetrics().update(batch, prediction)
    assert all(np.array_equal(array, copy) for array, copy in zip(arrays, before, strict=True))


def test_nothing_scored_is_nan_and_no_count_is_zero():
    scores = MultiLabelMetrics().cumulative(3)
    assert np.isnan([scores["subset_accuracy"], scores["hamming_loss"], scores["macro_f1_seen"]]).all()
    assert scores["micro_f1"] == scores["macro_f1"] == 0
    assert "log_loss" not in scores
    empty = Batch.from_arrays(np.zeros((0, 2)), np.zeros((0, 3)))
    metrics = MultiLabelMetrics()
    metrics.update(empty, Prediction(Rows.empty(0), np.zeros((0, 3), np.float32)))
    assert metrics.n_scored == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"fading": 0.0}, r"fading must be in \[0.01, 1\], got 0.0"),
        ({"fading": 1.5}, r"fading must be in \[0.01, 1\], got 1.5"),
        ({"fading": float("nan")}, r"fading must be in \[0.01, 1\], got nan"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelMetrics(**settings)


def test_refuses_answers_that_do_not_fit():
    batch, prediction = random_stream(8, 4, 3, states=(PARTIAL,), proba="dense")
    metrics = MultiLabelMetrics()
    with pytest.raises(ValueError, match="prediction must answer each of the 4 events, got 2 answers"):
        metrics.update(batch, prediction[:2])
    with pytest.raises(ValueError, match="proba must have a row for each of the 4 events, got 3"):
        metrics.update(batch, Prediction(prediction.labels, prediction.proba[:3]))
    with pytest.raises(ValueError, match="proba must have values where it is listed, got column numbers alone"):
        metrics.update(batch, Prediction(prediction.labels, Rows.empty(4)))
    batch.known = None
    with pytest.raises(ValueError, match="known must be given where an event is partly labelled, got None"):
        metrics.update(batch, prediction)
    assert metrics.n_scored == 0


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_refuses_what_is_no_probability(wrong):
    batch, prediction = random_stream(9, 4, 3, proba="dense")
    prediction.proba[2, 1] = wrong
    metrics = MultiLabelMetrics()
    with pytest.raises(ValueError, match=r"proba must be in \[0, 1\], got another value in row 2"):
        metrics.update(batch, prediction)
    assert metrics.n_scored == 2
