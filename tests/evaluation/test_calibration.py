"""Calibration and thresholds against all cells looked at anew, against scikit-learn, and the laws of every state."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, precision_score, recall_score

from ihomer.evaluation.calibration import Calibration
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from tests.evaluation.answers import PROBA_KINDS, assert_same_state, random_stream, update_in_pieces
from tests.naive import evaluation_calibration as naive
from tests.naive import evaluation_metrics


def assert_curve(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("proba", PROBA_KINDS)
@pytest.mark.parametrize("states", [(COMPLETE,), (COMPLETE, PARTIAL, UNLABELLED), (PARTIAL,), (UNLABELLED,)])
@pytest.mark.parametrize("most_labels", [1, 7, 1000])
def test_agrees_with_looking_at_every_cell(proba, states, most_labels):
    calibration, events = Calibration(most_labels), []
    for seed, n_labels in enumerate((3, 20, 45)):
        batch, prediction = random_stream(seed, 40, n_labels, states=states, proba=proba)
        calibration.update(batch, prediction)
        events += evaluation_metrics.log(batch, prediction)
        for total in (n_labels, n_labels + 5):
            assert_curve(calibration.curve(total), naive.curve(naive.cells(events, range(total))))
    by_label = [naive.cells(events, range(label, label + 1)) for label in range(min(45, most_labels))]
    expected = [naive.curve(cells) for cells in by_label]
    for got, curve in zip(calibration.curves(45, range(len(by_label))), expected, strict=True):
        assert_curve(got, curve)
    assert calibration.errors(45) == pytest.approx([curve["ece"] for curve in expected], nan_ok=True)
    table = calibration.by_threshold(45)
    for hundredths in (1, 2, 29, 50, 57, 58, 99):
        expected = [naive.at_threshold(cells, hundredths) for cells in by_label]
        for k, name in enumerate(("precision", "recall", "f1")):
            assert table[name][:, hundredths - 1] == pytest.approx([row[k] for row in expected], rel=1e-12)
    thresholds = calibration.thresholds(45)
    best = np.array([naive.best(cells) for cells in by_label]).reshape(-1, 2)
    assert thresholds["f1_at_half"] == pytest.approx([naive.at_threshold(cells, 50)[2] for cells in by_label])
    assert thresholds["f1_at_threshold"] == pytest.approx(best[:, 1], nan_ok=True)
    assert thresholds["threshold"] == pytest.approx(best[:, 0], nan_ok=True)


def test_agrees_with_scikit_learn():
    batch, prediction = random_stream(1, 500, 6, proba="dense")
    truth, proba = batch.y.to_dense(6).astype(bool), prediction.proba.astype(np.float64)
    calibration = Calibration()
    calibration.update(batch, prediction)
    # Scikit-learn's bins hold their upper edge, ours the lower one; no random number here stands on one.
    assert not np.isin(proba, np.arange(1, 20) / 20).any()
    share, mean = calibration_curve(truth.ravel(), proba.ravel(), n_bins=20)
    curve = calibration.curve(6)
    assert curve["mean_probability"] == pytest.approx(mean, rel=1e-12)
    assert curve["share_present"] == pytest.approx(share, rel=1e-12)
    table = calibration.by_threshold(6)
    for hundredths in (5, 50, 80):
        answered = proba >= hundredths / 100
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            expected = score(truth, answered, average=None, zero_division=0)
            assert table[name][:, hundredths - 1] == pytest.approx(expected, rel=1e-12), name


def test_every_step_begins_where_it_is_said_to():
    """The float32 numbers beside each hundredth: those below it are not answered at that threshold."""
    edges = np.array([[step / 100] for step in range(1, 100)])
    numbers = edges.astype(np.float32)
    beside = np.concatenate([np.nextafter(numbers, np.float32(0)), numbers, np.nextafter(numbers, np.float32(1))], 1)
    for row, edge in zip(beside, edges[:, 0], strict=True):
        calibration = Calibration()
        calibration.update(Batch.from_arrays(np.zeros((1, 1)), np.ones((1, 3))), Prediction(Rows.empty(1), row[None]))
        hit = calibration.by_threshold(3)["recall"][:, round(edge * 100) - 1]
        assert hit.tolist() == (row.astype(np.float64) >= edge).tolist()


def test_probabilities_that_mean_what_they_say_have_no_error():
    rng = np.random.default_rng(1)
    p = rng.random((200_000, 1)).astype(np.float32)
    calibration, wrong = Calibration(), Calibration()
    for counted, truth in ((calibration, rng.random(p.shape) < p), (wrong, rng.random(p.shape) < p**2)):
        counted.update(Batch.from_arrays(np.zeros((len(p), 1)), truth), Prediction(Rows.empty(len(p)), p))
    assert calibration.curve(1)["ece"] < 0.005
    assert wrong.curve(1)["ece"] == pytest.approx(1 / 6, abs=0.005)
    assert len(calibration.curve(1)["n"]) == 20


def test_of_equally_good_thresholds_the_one_nearest_to_one_half():
    batch = Batch.from_arrays(np.zeros((2, 1)), np.array([[1, 0], [0, 1]]))
    proba = np.array([[0.9, 0.1], [0.1, 0.3]], np.float32)
    calibration = Calibration()
    calibration.update(batch, Prediction(Rows.empty(2), proba))
    assert calibration.thresholds(2)["threshold"].tolist() == [0.5, 0.3]
    assert calibration.thresholds(2)["f1_at_half"].tolist() == [1, 0]


def test_a_label_that_no_threshold_finds_has_none():
    batch = Batch.from_arrays(np.zeros((2, 1)), np.array([[0, 1], [0, 0]]))
    calibration = Calibration()
    calibration.update(batch, Prediction(Rows.empty(2), np.array([[0.9, 0.001], [0.1, 0.6]], np.float32)))
    thresholds = calibration.thresholds(2)
    assert np.isnan(thresholds["threshold"]).all()
    assert np.isnan(thresholds["f1_at_threshold"]).all()
    assert thresholds["f1_at_half"].tolist() == [0, 0]


def test_labels_not_listed_cost_nothing_and_count_as_probability_zero():
    schema = Schema(labels=range(3))
    batch = Batch(schema, np.zeros((1, 0), np.float32), Rows.from_lists([[2]]), np.full(1, COMPLETE, np.uint8))
    calibration = Calibration(most_labels=10)
    calibration.update(batch, Prediction(Rows.empty(1), Rows(np.array([0, 1]), np.array([1]), np.array([0.6]))))
    size = calibration.nbytes
    curve = calibration.curve(1_000_000)
    assert (curve["n"], curve["n_cells"]) == ([999_999, 1], 1_000_000)
    assert curve["ece"] == pytest.approx(1.6 / 1_000_000)
    assert calibration.nbytes == size
    assert len(calibration.errors(1_000_000)) == len(calibration.thresholds(1_000_000)["threshold"]) == 10


def test_memory_is_bounded_by_the_labels_with_a_histogram():
    calibration = Calibration(most_labels=100)
    batch = Batch(
        Schema(labels=range(3)),
        np.zeros((1, 0), np.float32),
        Rows.from_lists([[50_000]]),
        np.full(1, COMPLETE, np.uint8),
    )
    calibration.update(batch, Prediction(Rows.empty(1), Rows(np.array([0, 1]), np.array([50_000]), np.array([0.6]))))
    assert calibration._labels.nbytes == 101 * 1760
    assert calibration.curve(50_001)["n"] == [50_000, 1]


@pytest.mark.parametrize("proba", PROBA_KINDS)
def test_cuts_into_batches_change_no_bit(proba):
    batch, prediction = random_stream(2, 700, 40, states=(COMPLETE, PARTIAL, UNLABELLED), proba=proba)
    whole = Calibration(most_labels=25)
    whole.update(batch, prediction)
    for size in (1, 97):
        pieces = Calibration(most_labels=25)
        update_in_pieces(pieces, batch, prediction, size)
        assert_same_state(pieces, whole)
        assert repr(pieces.curve(41)) == repr(whole.curve(41))


@pytest.mark.parametrize("proba", ["dense", "listed"])
def test_dense_and_listed_probabilities_are_the_same_to_the_bit(proba):
    batch, prediction = random_stream(4, 200, 30, states=(COMPLETE, PARTIAL), proba=proba)
    other = Prediction(
        prediction.labels,
        Rows.from_dense(prediction.proba, values=True) if proba == "dense" else prediction.proba.to_dense(30),
    )
    one, two = Calibration(), Calibration()
    one.update(batch, prediction)
    two.update(batch, other)
    assert_same_state(one, two)


def test_goes_on_after_loading_as_if_it_had_not_stopped():
    batch, prediction = random_stream(3, 900, 30, states=(COMPLETE, PARTIAL), proba="dense")
    straight, first, second = (Calibration() for _ in range(3))
    straight.update(batch, prediction)
    first.update(batch[:500], prediction[:500])
    state = first.get_state()
    second.set_state(state)
    for calibration in (first, second):
        calibration.update(batch[500:], prediction[500:])
        assert_same_state(calibration, straight)
    again = Calibration()
    again.set_state(state)
    assert again.n_complete < straight.n_complete, "what was handed out must not change with what it came from"


@pytest.mark.parametrize("proba", PROBA_KINDS)
def test_input_is_not_changed(proba):
    batch, prediction = random_stream(7, 50, 9, states=(COMPLETE, PARTIAL), proba=proba)
    given = prediction.proba.data if isinstance(prediction.proba, Rows) else prediction.proba
    before = None if given is None else given.copy()
    Calibration().update(batch, prediction)
    assert np.array_equal(given, before)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="most_labels must be at least 1, got 0"):
        Calibration(most_labels=0)
    batch, prediction = random_stream(9, 4, 3, proba="dense")
    calibration = Calibration()
    with pytest.raises(ValueError, match="proba must have a row for each of the 4 events, got 3"):
        calibration.update(batch, Prediction(prediction.labels, prediction.proba[:3]))
    prediction.proba[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"proba must be in \[0, 1\], got another value in row 2"):
        calibration.update(batch, prediction)
    assert calibration.n_complete == 0
    prediction.proba[2, 1] = 0.5
    calibration.update(batch, prediction)
    with pytest.raises(ValueError, match="n_labels must be at least 3, for the labels counted, got 2"):
        calibration.curve(2)


def test_nothing_is_legal():
    calibration = Calibration()
    calibration.update(Batch.from_arrays(np.zeros((0, 2)), np.zeros((0, 3))), Prediction(Rows.empty(0)))
    curve = calibration.curve(3)
    assert curve["n_cells"] == 0
    assert np.isnan(curve["ece"])
    assert curve["n"] == []
