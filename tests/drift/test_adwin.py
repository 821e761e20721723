"""ADWIN against its plain twin and against river, and the laws that every state obeys."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import river.checks
import river.drift

import drift
from drift import ADWIN, ADWINBank, adwin
from tests.naive.drift_adwin import NaiveADWIN

SETTINGS = (
    {},
    {"delta": 0.05, "clock": 1},
    {"clock": 8, "max_buckets": 2, "min_window_length": 1, "grace_period": 0},
    {"delta": 0.3, "max_buckets": 9, "min_window_length": 30, "grace_period": 100},
    {"delta": 0.3, "clock": 100, "max_buckets": 1},
)


def random_series(seed, n):
    """Series whose mean stands, jumps or creeps; binary, real, rounded (ties) or constant between jumps."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.random(6), -(-n // 6))[:n]
    return (
        (rng.random(n) < level).astype(float),
        level + rng.normal(0, 0.3, n),
        np.cumsum(rng.normal(0, 0.02, n)) + rng.random(n),
        np.round(4 * level + rng.normal(0, 1, n)),
        np.linspace(-50, 50, n) + 40 * rng.random(n),
        rng.random(n),
        100 * np.round(level, 1),
        np.full(n, 0.1),
    )[seed % 8]


def with_gaps(values, seed):
    """The same series with some of its values missing."""
    return np.where(np.random.default_rng(seed).random(len(values)) < 0.1, np.nan, values)


def assert_same_state(one, other):
    mine, theirs = one.get_state(), other.get_state()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert array.tobytes() == theirs[name].tobytes(), name


def alarms_of(detector, values):
    """Positions of alarms, and the window's width and mean at each, fed one by one."""
    alarms = []
    for i, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            alarms.append((i, detector.width, pytest.approx(detector.estimation, rel=1e-9, abs=1e-12)))
    return alarms


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("settings", SETTINGS)
def test_agrees_with_the_plain_twin(settings, restart):
    n_alarms = 0
    for seed in range(8):
        values = with_gaps(random_series(seed, 400), seed)
        ours, twin = ADWIN(**settings, restart=restart), NaiveADWIN(**settings, restart=restart)
        for value in values:
            ours.update(value)
            twin.update(value)
            assert ours.drift_detected == twin.drift_detected
        window = twin.window
        assert ours.width == len(window)
        assert ours.total == pytest.approx(sum(window), rel=1e-9, abs=1e-9)
        assert ours.estimation == pytest.approx(np.mean(window), rel=1e-9, abs=1e-9)
        assert ours.variance == pytest.approx(np.var(window), rel=1e-9, abs=1e-9)
        assert (ours.n_detections, ours.n_missing) == (twin.n_detections, twin.n_missing)
        n_alarms += ours.n_detections
    assert n_alarms > 5


@pytest.mark.parametrize("settings", SETTINGS)
def test_same_alarms_as_river_on_random_series(settings):
    n_alarms = 0
    for seed in range(16):
        values = random_series(seed, 3000)
        theirs = alarms_of(river.drift.ADWIN(**settings), values.tolist())
        assert alarms_of(ADWIN(**settings), values.tolist()) == theirs
        n_alarms += len(theirs)
    assert n_alarms > 20


@pytest.mark.parametrize(("scale", "offset"), [(1e3, 0), (1e-2, 1e6), (1e6, -1e6), (1, 1e8), (1e-100, 0)])
def test_same_alarms_as_river_whatever_the_unit(scale, offset):
    """Far from zero, where the deviations are small beside the rounding of sums, and near it."""
    for settings in SETTINGS:
        for seed in range(8):
            values = random_series(seed, 1000) * scale + offset
            theirs = [alarm[0] for alarm in alarms_of(river.drift.ADWIN(**settings), values.tolist())]
            assert ADWIN(**settings).update_many(values).tolist() == theirs


@pytest.mark.parametrize("min_window_length", [1, 5])
def test_same_alarms_as_river_where_the_parts_are_as_short_as_can_be(min_window_length):
    """Steps of many heights at many places: some are found only by the first or the last cut that is allowed."""
    settings = {"delta": 0.9, "clock": 1, "min_window_length": min_window_length, "grace_period": 0}
    for height in (3, 5, 8, 12, 20, 50):
        for place in range(1, 40):
            values = np.repeat([0.0, height], [place, 40 - place])
            theirs = [alarm[0] for alarm in alarms_of(river.drift.ADWIN(**settings), values.tolist())]
            assert ADWIN(**settings).update_many(values).tolist() == theirs


def test_same_alarms_as_river_on_electricity():
    folder = Path(os.environ.get("IHOMER_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    path = folder / "electricity.arff"
    if not path.exists():
        pytest.skip(f"electricity.arff is neither in IHOMER_DATA nor in ../shared/data: {path}")
    rows = (line for line in path.read_text().splitlines() if line and line[0] not in "@%")
    values = np.array([float(line.rsplit(",", 1)[1]) for line in rows])
    assert len(values) == 45_312
    theirs = [alarm[0] for alarm in alarms_of(river.drift.ADWIN(), values.tolist())]
    assert len(theirs) > 10
    assert ADWIN().update_many(values).tolist() == theirs


def test_variance_where_river_tells_squared_deviations():
    """River's property is not divided by the width; its bound and ours are, or the alarms above would differ."""
    ours, theirs = ADWIN(), river.drift.ADWIN()
    for value in (1.0, 2.0, 4.0, 7.0):
        ours.update(value)
        theirs.update(value)
    assert ours.variance == pytest.approx(np.var([1, 2, 4, 7]))
    assert theirs.variance == pytest.approx(4 * ours.variance)


def test_without_restart_the_newer_part_is_kept():
    values = np.repeat([0.0, 1.0], 320)
    kept, restarted = ADWIN(restart=False), ADWIN()
    assert kept.update_many(values[:352]).tolist() == restarted.update_many(values[:352]).tolist() == [351]
    assert kept.width == restarted.width > 32
    kept.update(1.0)
    restarted.update(1.0)
    assert (kept.width > 32, restarted.width) == (True, 1)


@pytest.mark.parametrize("restart", [True, False])
def test_cuts_into_pieces_change_no_bit(restart):
    values = with_gaps(random_series(1, 2000), 1)
    whole, pieces, single = (ADWIN(restart=restart) for _ in range(3))
    alarms = whole.update_many(values)
    assert len(alarms) > 1
    found = [start + pieces.update_many(values[start : start + 97]) for start in range(0, 2000, 97)]
    assert np.concatenate(found).tolist() == alarms.tolist()
    assert [alarm[0] for alarm in alarms_of(single, values)] == alarms.tolist()
    assert_same_state(pieces, whole)
    assert_same_state(single, whole)
    assert whole.update_many(np.zeros(0)).tolist() == []
    assert_same_state(pieces, whole)


@pytest.mark.parametrize("restart", [True, False])
def test_what_is_dropped_leaves_no_trace(restart):
    detector = ADWIN(clock=1, delta=0.3, restart=restart)
    for value in random_series(1, 1000):
        detector.update(value)
        state = detector.get_state()
        free = np.arange(state["buckets"].shape[2]) >= state["n_buckets"][..., None]
        assert not state["buckets"][free].any()
    assert detector.n_detections > 3


@pytest.mark.parametrize("stop", [0, 5, 127, 128, 700])
def test_goes_on_after_loading_as_if_it_had_not_stopped(stop):
    """128 values bring the first alarm, so that a stop there falls between the alarm and the restart."""
    values = np.concatenate([np.zeros(96), np.ones(300), with_gaps(random_series(0, 1000), 0)])
    straight, first, second = ADWIN(), ADWIN(), ADWIN()
    assert straight.update_many(values)[0] == 127
    alarms_of(first, values[:stop])
    third = pickle.loads(pickle.dumps(first))
    state = first.get_state()
    handed_out = {name: array.tobytes() for name, array in state.items()}
    second.set_state(state)
    assert second.drift_detected == first.drift_detected == (stop == 128)
    for detector in (first, second, third):
        alarms_of(detector, values[stop:])
        assert_same_state(detector, straight)
    assert {name: array.tobytes() for name, array in state.items()} == handed_out


def test_missing_values_neither_end_a_drift_nor_move_the_clock():
    values = np.repeat([0.0, 1.0], [96, 32])
    detector = ADWIN()
    assert detector.update_many(values).tolist() == [127]
    width = detector.width
    detector.update(np.nan)
    assert not detector.drift_detected
    assert (detector.width, detector.n_missing, detector.n_detections) == (width, 1, 1)
    detector.update(1.0)
    assert detector.width == 1


def test_a_full_table_drops_its_oldest_bucket(monkeypatch):
    monkeypatch.setattr(adwin, "_N_ROWS", 3)
    values = random_series(5, 200)
    ours, twin = ADWIN(max_buckets=2, restart=False), NaiveADWIN(max_buckets=2, restart=False, n_sizes=3)
    for value in values:
        ours.update(value)
        twin.update(value)
        assert ours.width == len(twin.window)
    assert ours.width <= 3 * 7
    assert ours.estimation == pytest.approx(np.mean(twin.window), rel=1e-9)
    assert ours.variance == pytest.approx(np.var(twin.window), rel=1e-9)
    whole = ADWIN(max_buckets=2, restart=False)
    whole.update_many(values)
    assert_same_state(whole, ours)


def test_a_bank_is_many_detectors():
    k, n = 11, 1500
    values = np.stack([with_gaps(random_series(s, n), s) for s in range(k)], axis=1)
    before = values.copy()
    bank, pieces = ADWINBank(k), ADWINBank(k)
    size = bank.nbytes
    alarms = bank.update_many(values)
    assert np.array_equal(values, before, equal_nan=True)
    assert alarms.dtype == np.int64
    assert bank.nbytes == size == k * 3264 == k * ADWIN().nbytes
    singles = [ADWIN() for _ in range(k)]
    expected = sorted((int(i), s) for s in range(k) for i in singles[s].update_many(values[:, s]))
    assert len(expected) > 5
    assert [tuple(alarm) for alarm in alarms.tolist()] == expected
    for name in ("width", "total", "estimation", "variance", "n_detections", "n_missing", "drift_detected"):
        assert getattr(bank, name).tolist() == [getattr(single, name) for single in singles], name
    found = [pieces.update_many(values[start : start + 70]) + np.array([start, 0]) for start in range(0, n, 70)]
    assert np.concatenate(found).tolist() == alarms.tolist()
    assert_same_state(pieces, bank)
    loaded = ADWINBank(k)
    loaded.set_state(bank.get_state())
    assert_same_state(loaded, bank)
    assert bank.update_many(np.zeros((0, k))).shape == (0, 2)


RIVER_CHECKS = [check for check in river.checks.yield_checks(ADWIN()) if check.__name__ != "check_tags"]
"""Tags belong to river's estimators; its detectors have none either."""


@pytest.mark.parametrize("check", RIVER_CHECKS, ids=lambda check: check.__name__)
def test_river_checks(check):
    check(ADWIN())


def test_is_a_river_detector():
    detector = ADWIN(delta=0.01, restart=False)
    detector.update(1.0)
    copy = detector.clone()
    assert isinstance(detector, river.base.DriftDetector)
    assert (copy.delta, copy.restart, copy.width) == (0.01, False, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delta": 0.0}, r"delta must be in \(0, 1\), got 0.0"),
        ({"delta": 1}, r"delta must be in \(0, 1\), got 1"),
        ({"delta": float("nan")}, r"delta must be in \(0, 1\), got nan"),
        ({"clock": 0}, "clock must be at least 1, got 0"),
        ({"max_buckets": 0}, "max_buckets must be at least 1, got 0"),
        ({"min_window_length": 0}, "min_window_length must be at least 1, got 0"),
        ({"grace_period": -1}, "grace_period must be at least 0, got -1"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ADWIN(**settings)


def test_refuses_values():
    detector, bank = ADWIN(), ADWINBank(2)
    with pytest.raises(ValueError, match="x must be finite or NaN, got inf"):
        detector.update(float("inf"))
    with pytest.raises(TypeError, match="must be real number, not str"):
        detector.update("1")
    with pytest.raises(ValueError, match=r"values must have shape \(n,\), got \(2, 2\)"):
        detector.update_many(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="values must be finite or NaN, got -inf in row 1, series 0"):
        detector.update_many(np.array([0.0, -np.inf]))
    with pytest.raises(ValueError, match=r"values must have shape \(n, 2\), got \(2,\)"):
        bank.update_many(np.zeros(2))
    assert detector.width == bank.width.sum() == 0
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ADWINBank(0)
    with pytest.raises(ValueError, match=r"buckets must have shape \(2, 32, 6, 2\), got \(3, 32, 6, 2\)"):
        bank.set_state(ADWINBank(3).get_state())


def test_the_room_names_what_it_has():
    assert set(drift.__all__) <= set(dir(drift))
    with pytest.raises(AttributeError, match="module 'drift' has no attribute 'DDT'"):
        _ = drift.DDT
