"""A learner's way through a stream: scores at every event once, curves of bounded length, drift where it is."""

from __future__ import annotations

import numpy as np
import pytest

from ihomer.evaluation.track import Track
from ihomer.evaluation.watching import losses
from learners import MajorityClassifier, NoChangeClassifier
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows


def labelled(rows: list[list[int]], n_labels: int = 4) -> Batch:
    return Batch.from_arrays(np.zeros((len(rows), 1)), Rows.from_lists(rows).to_dense(n_labels).astype(int))


def test_losses_are_one_minus_jaccard() -> None:
    rng = np.random.default_rng(0)
    truth, answer = rng.random((200, 7)) < 0.3, rng.random((200, 7)) < 0.3
    truth[:3] = False
    answer[1:4] = False
    a, b = Rows.from_dense(truth), Rows.from_dense(answer)
    found = losses(a, b)
    union = (truth | answer).sum(1)
    assert found == pytest.approx(np.where(union > 0, 1 - (truth & answer).sum(1) / np.maximum(union, 1), 0))


@pytest.mark.parametrize("spacing", [1, 7, 64])
def test_points_stand_at_multiples_of_the_spacing_however_the_stream_is_cut(spacing: int) -> None:
    rows = [[i % 4] for i in range(300)]
    state = np.full(300, COMPLETE, np.uint8)
    state[::5] = UNLABELLED
    curves = []
    for size in (300, 64, 1):
        track = Track("majority", MajorityClassifier(), spacing=spacing)
        for start in range(0, 300, size):
            batch = labelled(rows)[start : start + size]
            batch.label_state = state[start : start + size]
            track.test_then_train(batch)
        assert track.scored == 240
        assert [point["event"] for point in track.curve] == list(range(spacing, 241, spacing))
        curves.append(track.curve)
    assert curves[0] == curves[1] == curves[2]


def test_curves_are_thinned_and_stay_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Track, "most_points", 10)
    track = Track("no-change", NoChangeClassifier(), spacing=1)
    for _ in range(10):
        track.test_then_train(labelled([[0]] * 10))
    events = [point["event"] for point in track.curve]
    assert len(events) <= 10
    assert track.spacing == 16
    assert events == list(range(16, 101, 16))


def test_drift_of_the_loss_is_noted_where_it_is_with_the_levels_around_it() -> None:
    rng = np.random.default_rng(1)
    steady = [[0]] * 1000
    wild = [[int(j)] for j in rng.integers(0, 4, 1000)]
    logs = []
    for size in (2000, 100, 1):
        track = Track("no-change", NoChangeClassifier())
        batch = labelled(steady + wild)
        for start in range(0, 2000, size):
            track.test_then_train(batch[start : start + size])
        logs.append(track.drifts)
    assert logs[0] == logs[1] == logs[2]
    assert len(logs[0]) >= 1
    drift = logs[0][0]
    assert 1000 < drift["event"] < 1200
    assert drift["kind"] == "loss"
    assert 0 <= drift["before"] < drift["after"] < 1


def test_drift_looks_at_completely_labelled_events_alone() -> None:
    batch = labelled([[i % 4] for i in range(400)])
    batch.label_state[:] = PARTIAL
    batch.known = batch.y
    track = Track("no-change", NoChangeClassifier())
    track.test_then_train(batch)
    assert track.scored == 400
    assert track.detector.width == 0


def test_answers_are_renumbered_to_the_labels_of_the_stream() -> None:
    track = Track("no-change", NoChangeClassifier())
    track.model.schema_.label_id("y2")
    track.model.schema_.label_id("new")
    batch = labelled([[0], [1]], 3)
    found = track._renumbered(
        Prediction(Rows.from_lists([[0], [0, 1]]), np.array([[0.5, 0.1], [0.7, 0.9]], np.float32)), batch
    )
    assert batch.schema.label_names == ["y0", "y1", "y2", "new"]
    assert found.labels.row(1).tolist() == [2, 3]
    assert found.proba == pytest.approx(np.array([[0, 0, 0.5, 0.1], [0, 0, 0.7, 0.9]]))
    listed = Prediction(Rows.from_lists([[0], []]), Rows(np.array([0, 1, 1]), np.array([1]), np.array([0.4])))
    assert track._renumbered(listed, batch).proba.indices.tolist() == [3]


def test_saved_and_loaded_in_the_middle_is_the_same() -> None:
    rng = np.random.default_rng(2)
    batch = labelled([[int(j)] for j in rng.integers(0, 4, 900)])
    whole = Track("no-change", NoChangeClassifier(), spacing=20)
    whole.test_then_train(batch)
    first = Track("no-change", NoChangeClassifier(), spacing=20)
    first.test_then_train(batch[:431])
    second = Track("no-change", NoChangeClassifier(), spacing=20)
    second.set_state(first.get_state())
    second.test_then_train(batch[431:])
    for track in (whole, second):
        track.wall_s = track.cpu_s = 0.0
    one, other = whole.get_state(), second.get_state()
    assert {name: array.tobytes() for name, array in one.items()} == {n: a.tobytes() for n, a in other.items()}


def test_a_state_of_an_earlier_release_goes_on_without_the_further_metrics() -> None:
    batch = labelled([[i % 4] for i in range(60)])
    track = Track("no-change", NoChangeClassifier())
    track.test_then_train(batch[:30])
    later = ("ranking/", "single_label/", "calibration/")
    state = {name: array for name, array in track.get_state().items() if not name.startswith(later)}
    restored = Track("no-change", NoChangeClassifier())
    restored.set_state(state)
    restored.test_then_train(batch[30:])
    track.test_then_train(batch[30:])
    scores, expected = restored.read("cumulative", 4), track.read("cumulative", 4)
    assert scores == {name: value for name, value in expected.items() if name in scores}
    assert expected.keys() - scores.keys() == {"accuracy", "kappa", "kappa_temporal", "kappa_m"}
    assert not any(name.startswith(later) for name in restored.get_state())


def test_further_metrics_can_be_left_out() -> None:
    batch = labelled([[i % 4] for i in range(60)])
    full = Track("majority", MajorityClassifier())
    full.test_then_train(batch)
    assert full.read("window", 4).keys() >= {"precision_at_1", "psp_at_5", "accuracy", "micro_f1"}
    short = Track("majority", MajorityClassifier(), further_metrics=False)
    short.set_state(full.get_state())
    assert short.ranking is short.single_label is short.calibration is None
    assert "precision_at_1" not in short.read("cumulative", 4)
