"""The laws that every public detector obeys; one that is public and not listed here fails."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import river.checks

import drift

NUMBERS = {
    "ADWIN": [{}, {"restart": False}],
    "CUSUM": [{"warm_start": 50, "threshold": 4}, {"warm_start": 50, "mode": "down", "threshold": 4}],
    "DDM": [{}],
    "ECDD": [{}, {"average_run_length": 100}],
    "EDDM": [{}],
    "FHDDM": [{"confidence_level": 0.01}, {"sliding_window_size": 60, "short_window_size": 20}],
    "HDDM_A": [{}, {"two_sided_test": True}],
    "HDDM_W": [{}, {"two_sided_test": True}],
    "KSWIN": [{"alpha": 0.01}, {"window_size": 300, "restart": False}],
    "PageHinkley": [{"threshold": 5}, {"threshold": 5, "mode": "up"}],
    "STEPD": [{}, {"window": 20, "threshold": 3}],
}
LABELS = {
    "CardinalityDrift": [{}],
    "LabelDependencyDrift": [{"reference_size": 300, "window_size": 200, "clock": 70}],
    "PriorShift": [
        {"reference_size": 300, "window_size": 100, "clock": 50, "control": control}
        for control in ("bonferroni", "benjamini-hochberg")
    ],
}
SIZES = {"reference_size": 210, "window_size": 100, "clock": 60}
FEATURES = {
    "KolmogorovSmirnovDrift": [SIZES, {**SIZES, "control": "benjamini-hochberg"}],
    "MMDDrift": [SIZES],
    "PopulationStabilityDrift": [SIZES],
    "PrincipalComponentDrift": [SIZES, {**SIZES, "variance": 0.8}],
}
BANKS = {f"{name}Bank" for name in NUMBERS}


def number_series(seed, n=2500):
    """Errors whose rate jumps, some of them missing."""
    rng = np.random.default_rng(seed)
    values = (rng.random(n) < np.repeat([0.5, 0.1, 0.7, 0.2, 0.6], n // 5)).astype(float)
    return np.where(rng.random(n) < 0.05, np.nan, values)


def label_sets(seed, n=2500):
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 6)) < 0.4
    labels[n // 2 :, 1] = labels[n // 2 :, 0]
    labels[4 * n // 5 :, 5] = True
    return labels


def feature_rows(seed, n=2500):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    x[n // 2 :, 1] = x[n // 2 :, 0] + 2
    x[rng.random(x.shape) < 0.05] = np.nan
    return x


CASES = [
    pytest.param(getattr(drift, name), settings, stream, id=f"{name}-{number}")
    for group, stream in ((NUMBERS, number_series), (LABELS, label_sets), (FEATURES, feature_rows))
    for name, cases in group.items()
    for number, settings in enumerate(cases)
]
NUMBER_CASES = [case for case in CASES if case.values[2] is number_series]
every_detector = pytest.mark.parametrize(("cls", "settings", "stream"), CASES)
every_number_detector = pytest.mark.parametrize(("cls", "settings", "stream"), NUMBER_CASES)


def assert_same_state(one, other):
    mine, theirs = one.get_state(), other.get_state()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert array.tobytes() == theirs[name].tobytes(), name


def one_by_one(detector, values):
    alarms = []
    for i, value in enumerate(values):
        detector.update(np.flatnonzero(value).tolist() if value.dtype == bool and value.ndim else value)
        if detector.drift_detected:
            alarms.append(i)
    return alarms


def test_every_public_detector_is_held_to_the_laws():
    assert set(drift.__all__) - {"DetectionScore", "score_alarms"} == {*NUMBERS, *LABELS, *FEATURES, *BANKS}


@every_detector
def test_one_batch_equals_many_and_one_at_a_time(cls, settings, stream):
    values = stream(1)
    before = values.copy()
    whole, pieces, single = (cls(**settings) for _ in range(3))
    alarms = whole.update_many(values)
    assert alarms.dtype == np.int64
    assert len(alarms) > 0
    found = [start + pieces.update_many(values[start : start + 37]) for start in range(0, len(values), 37)]
    assert np.concatenate(found).tolist() == alarms.tolist()
    assert one_by_one(single, values) == alarms.tolist()
    assert whole.n_detections == pieces.n_detections == single.n_detections == len(alarms)
    assert_same_state(pieces, whole)
    assert_same_state(single, whole)
    assert np.array_equal(values, before, equal_nan=values.dtype == float)
    assert whole.update_many(values[:0]).tolist() == []
    assert_same_state(pieces, whole)


@every_detector
@pytest.mark.parametrize("stop", [0, 1, 731, 2000])
def test_goes_on_after_loading_as_if_it_had_not_stopped(cls, settings, stream, stop):
    values = stream(2)
    straight, first, second = (cls(**settings) for _ in range(3))
    alarms = straight.update_many(values)
    one_by_one(first, values[:stop])
    second.set_state(first.get_state())
    others = (first, second, pickle.loads(pickle.dumps(first)), copy.deepcopy(first))
    for detector in others:
        assert detector.drift_detected == first.drift_detected
        assert_same_state(detector, first)
    for detector in others:
        rest = detector.update_many(values[stop:])
        assert (rest + stop).tolist() == alarms[alarms >= stop].tolist()
        assert_same_state(detector, straight)


@every_detector
def test_a_clone_is_fresh(cls, settings, stream):
    detector = cls(**settings)
    detector.update_many(stream(3))
    assert_same_state(detector.clone(), cls(**settings))
    assert detector.clone()._get_params().keys() == detector._get_params().keys()


@every_detector
def test_the_state_is_all_there_is(cls, settings, stream):
    detector = cls(**settings)
    detector.update_many(stream(4))
    state = detector.get_state()
    assert detector.nbytes == sum(array.nbytes for array in state.values())
    assert not any(array.dtype.hasobject for array in state.values())


@every_number_detector
def test_missing_values_are_skipped_and_counted(cls, settings, stream):
    values = stream(5)
    there = ~np.isnan(values)
    with_gaps, without = cls(**settings), cls(**settings)
    alarms = with_gaps.update_many(values)
    assert np.flatnonzero(there)[without.update_many(values[there])].tolist() == alarms.tolist()
    assert (with_gaps.n_missing, without.n_missing) == ((~there).sum(), 0)
    with_gaps.update(float("nan"))
    assert not with_gaps.drift_detected


@every_number_detector
def test_a_column_of_a_bank_is_a_detector(cls, settings, stream):
    bank_class = getattr(drift, f"{cls.__name__}Bank")
    values = np.stack([stream(seed) for seed in range(5)], axis=1)
    bank, pieces = bank_class(5, **settings), bank_class(5, **settings)
    alarms = bank.update_many(values)
    singles = [cls(**settings) for _ in range(5)]
    expected = sorted((int(i), s) for s in range(5) for i in singles[s].update_many(values[:, s]))
    assert [tuple(alarm) for alarm in alarms.tolist()] == expected
    for name in ("n_detections", "n_missing", "drift_detected"):
        assert getattr(bank, name).tolist() == [getattr(single, name) for single in singles]
    assert bank.nbytes == sum(single.nbytes for single in singles)
    found = [start + pieces.update_many(values[start : start + 70]) * [[1, 0]] for start in range(0, 2500, 70)]
    assert sum(map(len, found)) == len(alarms)
    assert_same_state(pieces, bank)
    loaded = bank_class(5, **settings)
    loaded.set_state(bank.get_state())
    assert_same_state(loaded, bank)
    assert bank.update_many(np.zeros((0, 5))).shape == (0, 2)
    with pytest.raises(ValueError, match=r"values must have shape \(n, 5\), got \(5,\)"):
        bank.update_many(np.zeros(5))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        bank_class(0)


@every_number_detector
def test_values_that_are_none_are_refused_and_nothing_is_taken_in(cls, settings, stream):
    detector = cls(**settings)
    before = detector.get_state()
    with pytest.raises(ValueError, match=r"x must be .*, got inf"):
        detector.update(float("inf"))
    with pytest.raises(TypeError):
        detector.update("1")
    with pytest.raises(ValueError, match=r"values must be .*, got -inf in row 1, series 0"):
        detector.update_many(np.array([0.0, -np.inf]))
    with pytest.raises(ValueError, match=r"values must have shape \(n,\), got \(2, 2\)"):
        detector.update_many(np.zeros((2, 2)))
    for name, array in detector.get_state().items():
        assert array.tobytes() == before[name].tobytes()


@every_number_detector
def test_river_checks(cls, settings, stream):
    for check in river.checks.yield_checks(cls(**settings)):
        if check.__name__ != "check_tags":
            check(cls(**settings))


@pytest.mark.parametrize(("name", "settings"), [(name, case) for name in NUMBERS for case in NUMBERS[name][:1]])
def test_uncompiled_equals_compiled(name, settings):
    cls = getattr(drift, name)
    if name == "ADWIN":
        pytest.skip("its twin is in test_adwin.py")
    values = number_series(6)[:400]
    detector = cls(**settings)
    kernel = cls._kernels()[0]
    levels = np.zeros((len(values), 1), np.uint8)
    uncompiled = cls(**settings)
    getattr(kernel, "py_func", kernel)(
        *uncompiled._series.arrays.values(), values[:, None], levels, uncompiled._settings
    )
    assert detector.update_many(values).tolist() == np.flatnonzero(levels == 2).tolist()
