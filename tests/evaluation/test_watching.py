"""Watching for change: alarms where detectors raise them, however a stream is cut, and what they tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from drift import ADWIN, DDM, CardinalityDrift, KolmogorovSmirnovDrift, LabelDependencyDrift, MMDDrift, PriorShift
from ihomer import evaluate
from ihomer.detectors import LOSS, build
from ihomer.evaluation.track import Track
from ihomer.evaluation.watching import MOST_FEATURES, StreamWatch, watch_loss
from learners import LinearClassifier, NoChangeClassifier
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Rows


def stream(n: int = 1500, n_labels: int = 5) -> Batch:
    """Labels turn more frequent at two thirds, and features move at one half; some events lack labels."""
    rng = np.random.default_rng(4)
    late = np.arange(n)[:, None] >= n * 2 // 3
    y = rng.random((n, n_labels)) < np.where(late, 0.7, 0.2)
    y[:, 1] = np.where(late[:, 0], y[:, 1], y[:, 0])
    x = rng.normal(size=(n, 3))
    x[n // 2 :, 2] += 3
    x[::9, 0] = np.nan
    batch = Batch.from_arrays(x, y)
    batch.label_state[::7] = UNLABELLED
    batch.label_state[3::50] = PARTIAL
    batch.y = Rows.from_dense(np.where(batch.label_state[:, None] == UNLABELLED, False, y))
    batch.known = Rows.from_dense((batch.label_state == PARTIAL)[:, None] & y)
    return batch


def detectors() -> list[Any]:
    return [
        PriorShift(reference_size=200, window_size=100, clock=50),
        CardinalityDrift(),
        LabelDependencyDrift(delta=1e-3, reference_size=200, window_size=100, clock=50),
        KolmogorovSmirnovDrift(reference_size=100, window_size=60, clock=20),
    ]


def fed(watch: StreamWatch, batch: Batch, size: int) -> StreamWatch:
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        watch.see_features(part)
        watch.see_labels(part)
    return watch


def bits(state: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items() if name != "log"}


# Losses.


def one_by_one(detector: ADWIN, values: np.ndarray, places: np.ndarray) -> list[dict[str, Any]]:
    """What is told of ADWIN's alarms, a value at a time."""
    found = []
    for value, place in zip(values, places, strict=True):
        level = detector.estimation
        detector.update(float(value))
        if detector.drift_detected:
            after = detector.estimation
            found.append({"event": int(place), "kind": "loss", "detector": "ADWIN", "before": level, "after": after})
    return found


def test_alarms_of_adwin_have_the_levels_around_them() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(3000) < np.repeat([0.2, 0.7, 0.3], 1000), rng.random(3000), 0.0)
    places = np.arange(3000) * 2 + 1
    one, other = ADWIN(), ADWIN()
    found = watch_loss(one, values, places, "ADWIN")
    assert found == one_by_one(other, values, places)
    assert len(found) >= 2
    assert bits(one.get_state()) == bits(other.get_state())


@pytest.mark.parametrize("name", sorted(LOSS))
def test_any_detector_watches_the_loss(name: str) -> None:
    rng = np.random.default_rng(1)
    rows = np.eye(4, dtype=int)[np.concatenate([np.zeros(600, int), rng.integers(0, 4, 600)])]
    batch = Batch.from_arrays(np.zeros((1200, 1)), rows)
    logs, states = [], []
    for size in (1200, 100, 1):
        track = Track("no-change", NoChangeClassifier(), detector=name)
        for start in range(0, 1200, size):
            track.test_then_train(batch[start : start + size])
            if start == 500:
                again = Track("no-change", NoChangeClassifier(), detector=build(name))
                again.set_state(track.get_state())
                track = again
        logs.append(track.drifts)
        states.append(bits(track.detector.get_state()))
    assert logs[0] == logs[1] == logs[2]
    assert states[0] == states[1] == states[2]
    if name not in ("eddm", "page-hinkley"):  # which need more errors, or a larger sum, than these
        assert any(600 < drift["event"] <= 1200 for drift in logs[0])
    assert all(drift["kind"] == "loss" and drift["detector"] == type(build(name)).__name__ for drift in logs[0])


def test_a_detector_is_copied_afresh_and_no_detector_is_refused() -> None:
    used = DDM(warm_start=5)
    used.update_many(np.ones(20))
    track = Track("a", NoChangeClassifier(), detector=used)
    assert track.detector is not used
    assert track.detector.warm_start == 5
    assert bits(track.detector.get_state()) == bits(DDM(warm_start=5).get_state())
    with pytest.raises(TypeError, match="detector must be a name or a detector of the room drift, got 3"):
        Track("a", NoChangeClassifier(), detector=3)
    with pytest.raises(TypeError, match="detector must be one of change in a number, got MMDDrift"):
        Track("a", NoChangeClassifier(), detector=MMDDrift())


# The stream itself.


def test_alarms_do_not_depend_on_how_the_stream_is_cut() -> None:
    batch = stream()
    whole = fed(StreamWatch(detectors()), batch, len(batch))
    assert {alarm["kind"] for alarm in whole.alarms} == {
        "labels-prior", "labels-cardinality", "label-dependency", "features",
    }  # fmt: skip
    for size in (256, 37, 1):
        watch = fed(StreamWatch(detectors()), batch, size)
        assert sorted(watch.alarms, key=str) == sorted(whole.alarms, key=str)
        assert bits(watch.get_state()) == bits(whole.get_state())


def test_an_alarm_tells_where_it_was_and_what_the_detector_knew_then() -> None:
    batch = stream()
    watch = fed(StreamWatch(detectors()), batch, len(batch))
    prior = next(alarm for alarm in watch.alarms if alarm["kind"] == "labels-prior")
    alone = detectors()[0]
    place = 0
    for event in range(len(batch)):
        if batch.label_state[event] == UNLABELLED:
            continue
        place += 1
        alone.update(batch.y.row(event).tolist() if batch.label_state[event] == COMPLETE else None)
        if alone.drift_detected:
            break
    assert prior == {
        "event": place,
        "kind": "labels-prior",
        "detector": "PriorShift",
        "statistic": alone.statistic,
        "threshold": 1e-5,
        "labels": [f"y{number}" for number in alone.labels],
    }
    features = [alarm for alarm in watch.alarms if alarm["kind"] == "features"]
    assert features[0]["features"] == ["x2"]
    assert 750 < features[0]["event"] <= 850
    cardinality = next(alarm for alarm in watch.alarms if alarm["kind"] == "labels-cardinality")
    assert cardinality.keys() == {"event", "kind", "detector"}


def test_saved_and_loaded_in_the_middle_is_the_same() -> None:
    batch = stream()
    whole = fed(StreamWatch(detectors()), batch, 100)
    first = fed(StreamWatch(detectors()), batch[:900], 100)
    second = StreamWatch(detectors())
    second.set_state(first.get_state())
    fed(second, batch[900:], 100)
    assert second.alarms == whole.alarms
    assert bits(second.get_state()) == bits(whole.get_state())


def test_sparse_features_are_watched_as_dense_ones() -> None:
    rng = np.random.default_rng(3)
    x = (rng.random((600, 4)) < 0.5) * rng.random((600, 4))
    x[300:, 1] *= 4
    y = np.zeros((600, 1), int)
    dense, sparse = Batch.from_arrays(x, y), Batch.from_arrays(x, y)
    sparse.x = Rows.from_dense(x.astype(np.float32), values=True)
    logs = []
    for batch in (dense, sparse):
        watch = StreamWatch(detectors()[3:])
        watch.begin(batch.schema)
        logs.append(fed(watch, batch, 50).alarms)
    assert logs[0] == logs[1]
    assert logs[0][0]["features"] == ["x1"]


def test_features_that_nobody_announced_are_those_of_the_first_event() -> None:
    x = np.random.default_rng(0).normal(size=(300, 3))
    x[0, 2] = np.nan
    batch = Batch.from_arrays(x, np.zeros((300, 1), int))
    for size in (300, 1):
        assert fed(StreamWatch(detectors()[3:]), batch, size).n_features == 2
    known = StreamWatch(detectors()[3:])
    known.begin(batch.schema)
    assert fed(known, batch, 300).n_features == 3


def test_what_cannot_be_watched_is_refused() -> None:
    with pytest.raises(ValueError, match="watch must name detectors of labels or features, got ADWIN"):
        StreamWatch([ADWIN()])
    with pytest.raises(ValueError, match="adwin: detector must be one of cardinality, "):
        StreamWatch("adwin")
    with pytest.raises(ValueError, match="mmd: a detector must be given once, got it twice"):
        StreamWatch("mmd,mmd")
    wide = StreamWatch("features")
    wide.n_features = MOST_FEATURES + 1
    with pytest.raises(ValueError, match="features can be watched where there are 1 to 10,000, got 10,001"):
        wide.see_features(stream(10))


def test_evaluate_keeps_alarms_and_detectors() -> None:
    settings: dict[str, Any] = {"baselines": False, "detector": "ddm:warm_start=50", "watch": detectors()}
    (run,) = evaluate(stream(), {"linear": LinearClassifier()}, **settings).runs
    assert run.data["watch"] == ["PriorShift", "CardinalityDrift", "LabelDependencyDrift", "KolmogorovSmirnovDrift"]
    assert {alarm["kind"] for alarm in run.data["alarms"]} >= {"labels-prior", "features"}
    assert run.learner["detector"]["class"] == "drift.ddm:DDM"
    assert run.learner["detector"]["params"]["warm_start"] == 50
    (plain,) = evaluate(stream(), {"linear": LinearClassifier()}, baselines=False).runs
    assert "alarms" not in plain.data
    assert "detector" not in plain.learner
    assert plain.metrics == run.metrics
