"""River's drift detectors behind the interface of our own."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import river.checks
from river import drift as river_drift
from river import linear_model

import drift
from drift.pickled import UntrustedPickleError, trusting_pickle
from drift.river_detector import RiverDetector
from ihomer import detectors
from ihomer.evaluation.track import Track
from ihomer.evaluation.watching import watch_loss
from learners import MajorityClassifier

NUMBERS = {
    "ADWIN": river_drift.ADWIN(),
    "KSWIN": river_drift.KSWIN(alpha=0.01, seed=1),
    "PageHinkley": river_drift.PageHinkley(threshold=5),
    "DDM": river_drift.binary.DDM(),
    "EDDM": river_drift.binary.EDDM(),
    "FHDDM": river_drift.binary.FHDDM(confidence_level=0.01),
    "HDDMA": river_drift.binary.HDDMA(),
    "HDDMW": river_drift.binary.HDDMW(),
}
every = pytest.mark.parametrize("name", NUMBERS)


def errors(seed=0, n=1250):
    rng = np.random.default_rng(seed)
    return (rng.random(n) < np.repeat([0.5, 0.1, 0.7, 0.2, 0.6], n // 5)).astype(float)


@every
def test_alarms_are_rivers_own(name):
    values = errors()
    theirs, expected = NUMBERS[name].clone(), []
    binary = hasattr(river_drift.binary, name)
    for i, value in enumerate(values):
        theirs.update(bool(value) if binary else value)
        if theirs.drift_detected:
            expected.append(i)
    assert expected
    whole, pieces, single = (RiverDetector(NUMBERS[name]) for _ in range(3))
    assert whole.update_many(values).tolist() == expected
    found = [start + pieces.update_many(values[start : start + 37]) for start in range(0, len(values), 37)]
    assert np.concatenate(found).tolist() == expected
    alarms = []
    for i, value in enumerate(values):
        single.update(value)
        if single.drift_detected:
            alarms.append(i)
    assert alarms == expected
    assert whole.n_detections == single.n_detections == len(expected)


@every
@pytest.mark.parametrize("stop", [0, 731])
def test_goes_on_after_loading_as_if_it_had_not_stopped(name, stop):
    values = errors(1)
    straight, first, second = (RiverDetector(NUMBERS[name]) for _ in range(3))
    alarms = straight.update_many(values)
    first.update_many(values[:stop])
    second.set_state(first.get_state(), trust_pickle=True)
    for detector in (first, second, pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        rest = detector.update_many(values[stop:])
        assert (rest + stop).tolist() == alarms[alarms >= stop].tolist()
        assert detector.n_detections == len(alarms)


@every
def test_a_clone_is_fresh(name):
    detector = RiverDetector(NUMBERS[name])
    alarms = detector.update_many(errors())
    clone = detector.clone()
    assert clone.n_detections == 0
    assert clone.update_many(errors()).tolist() == alarms.tolist()


@every
def test_missing_values_are_passed_over_and_counted(name):
    values = errors(2)
    gaps = np.random.default_rng(0).random(len(values)) < 0.1
    with_gaps, without = RiverDetector(NUMBERS[name]), RiverDetector(NUMBERS[name])
    alarms = with_gaps.update_many(np.where(gaps, np.nan, values))
    assert np.flatnonzero(~gaps)[without.update_many(values[~gaps])].tolist() == alarms.tolist()
    assert (with_gaps.n_missing, without.n_missing) == (gaps.sum(), 0)


@every
def test_river_accepts_it(name):
    for check in river.checks.yield_checks(RiverDetector(NUMBERS[name])):
        if check.__name__ != "check_tags":
            check(RiverDetector(NUMBERS[name]))


def test_a_binary_detector_is_told_truth_values():
    class Told(river_drift.binary.DDM):
        def update(self, x):
            assert isinstance(x, bool)
            told.append(x)

    told = []
    RiverDetector(Told()).update_many(np.array([0.0, 0.5, 0.51, 1.0]))
    assert told == [False, False, True, True]


def test_values_that_are_none_are_refused_and_nothing_is_taken_in():
    detector = RiverDetector(river_drift.ADWIN())
    with pytest.raises(ValueError, match="x must be finite or NaN, got inf"):
        detector.update(float("inf"))
    with pytest.raises(ValueError, match="values must be finite or NaN, got infinity at 1"):
        detector.update_many(np.array([0.0, -np.inf]))
    with pytest.raises(ValueError, match=r"values must have shape \(n,\), got \(2, 2\)"):
        detector.update_many(np.zeros((2, 2)))
    assert detector._detector.width == 0
    with pytest.raises(TypeError, match="detector must be a drift detector of river, got LogisticRegression"):
        RiverDetector(linear_model.LogisticRegression())


def test_a_state_is_read_only_where_it_is_trusted():
    detector = RiverDetector(river_drift.ADWIN())
    detector.update_many(errors())
    state = detector.get_state()
    assert state["pickle"].dtype == np.uint8
    assert detector.nbytes == sum(array.nbytes for array in state.values())
    other = RiverDetector(river_drift.ADWIN())
    with pytest.raises(UntrustedPickleError, match="trust_pickle=True or --trust-pickle"):
        other.set_state(state)
    with trusting_pickle():
        other.set_state(state)
    assert other.estimation == detector.estimation
    with pytest.raises(ValueError, match=r"state must hold the arrays \['alarm', .*\], got \['pickle'\]"):
        other.set_state({"pickle": state["pickle"]})


# By specification.


def test_a_specification_names_a_detector():
    detector = detectors.build("river:drift.ADWIN(delta=0.01)")
    assert isinstance(detector, detectors.AnyDetector)
    assert detector.detector.delta == 0.01
    assert detectors.kind_of(detector) == "loss"
    assert detectors.name_of(detector) == "ADWIN"
    assert detectors.parameters(detector) == {
        "class": "drift.river_detector:RiverDetector",
        "params": {"detector": "river:drift.ADWIN(delta=0.01)"},
    }
    assert detectors.parameters(detectors.fresh(detector)) == detectors.parameters(detector)
    assert detectors.describe("river:drift.ADWIN()")["watches"] == "loss"


@pytest.mark.parametrize(
    ("text", "among", "message"),
    [
        ("river:drift.ADWINN()", detectors.LOSS, "did you mean ADWIN?"),
        (
            "river:tree.LASTClassifier()",
            detectors.LOSS,
            "detector must be a drift detector of river, got LASTClassifier",
        ),
        ("river:drift.ADWIN(dleta=1)", detectors.LOSS, "parameter of ADWIN must be one of delta, "),
        ("river:drift.ADWIN()", detectors.LABELS, "detector must be one of cardinality, "),
    ],
)
def test_refused(text, among, message):
    with pytest.raises(detectors.SpecError, match=message):
        detectors.build(text, among)


def test_rivers_fhddm_is_told_of_right_answers():
    losses = np.array([0.0, 0.25, 1.0])
    found = detectors.of_losses(RiverDetector(river_drift.binary.FHDDM()), losses)
    assert found.tolist() == detectors.of_losses(drift.FHDDM(), losses).tolist() == [1.0, 0.75, 0.0]


def test_it_watches_losses_as_our_own_does():
    values = errors(3)
    places = np.arange(len(values))
    ours = watch_loss(drift.ADWIN(), values, places, "ADWIN")
    theirs = watch_loss(RiverDetector(river_drift.ADWIN()), values, places, "ADWIN")
    assert [event["event"] for event in theirs] == [event["event"] for event in ours]
    assert len(ours) > 2
    assert all(set(event) >= {"before", "after"} for event in theirs)
    track = Track("majority", MajorityClassifier(), detector="river:drift.ADWIN()")
    assert detectors.name_of(track.detector) == "ADWIN"


def test_it_can_be_the_detector_of_another_one():
    labels = np.arange(6) < np.random.default_rng(0).integers(1, np.repeat([3, 7], 1000))[:, None]
    ours, theirs = (detectors.build(f"cardinality:detector='{inner}'") for inner in ("adwin", "river:drift.ADWIN()"))
    assert theirs.update_many(labels).tolist() == ours.update_many(labels).tolist() != []
