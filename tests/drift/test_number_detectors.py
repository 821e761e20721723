"""Detectors of change in one number against their plain twins, and against river at every alarm."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import river.drift
import river.drift.binary

import drift
from tests.naive import drift_detectors as naive

SETTINGS = {
    "CUSUM": [{}, {"warm_start": 20, "threshold": 3, "mode": "up"}, {"warm_start": 2, "slack": 0, "mode": "down"}],
    "DDM": [{}, {"warm_start": 0}, {"warm_start": 5, "warning_threshold": 1, "drift_threshold": 1.5}],
    "ECDD": [{}, {"average_run_length": 100, "warm_start": 0, "warning_share": 0.8}],
    "EDDM": [{}, {"warm_start": 5, "alpha": 0.9, "beta": 0.8}],
    "FHDDM": [{}, {"sliding_window_size": 20, "confidence_level": 0.1, "short_window_size": 7}],
    "HDDM_A": [{}, {"two_sided_test": True, "drift_confidence": 0.01, "warning_confidence": 0.05}],
    "HDDM_W": [{}, {"two_sided_test": True, "drift_confidence": 0.01, "lambda_val": 0.1, "warning_confidence": 0.05}],
    "PageHinkley": [{"threshold": 8}, {"threshold": 4, "mode": "up", "alpha": 1}, {"threshold": 4, "mode": "down"}],
    "STEPD": [{"window": 30, "threshold": 3}, {"window": 5, "threshold": 2.5, "warning_threshold": 1}],
}
RULES = {
    name: getattr(naive, rule)
    for name, rule in zip(
        SETTINGS,
        ("cusum", "ddm", "ecdd", "eddm", "fhddm", "hddm_a", "hddm_w", "page_hinkley", "stepd"),
        strict=True,
    )
}
THEIRS = {
    "ADWIN": river.drift.ADWIN,
    "DDM": river.drift.binary.DDM,
    "EDDM": river.drift.binary.EDDM,
    "FHDDM": river.drift.binary.FHDDM,
    "HDDM_A": river.drift.binary.HDDMA,
    "HDDM_W": river.drift.binary.HDDMW,
    "KSWIN": partial(river.drift.KSWIN, seed=0),
    "PageHinkley": river.drift.PageHinkley,
}
CASES = [(name, settings) for name, cases in SETTINGS.items() for settings in cases]
RIVER_CASES = [(name, settings) for name, settings in CASES if name in THEIRS]


def errors(seed, n):
    rng = np.random.default_rng(seed)
    return (rng.random(n) < np.repeat(rng.random(8), -(-n // 8))[:n]).astype(float)


def numbers(seed, n):
    """Numbers whose level jumps, rounded in every other series so that there are ties."""
    rng = np.random.default_rng(seed)
    values = rng.normal(np.repeat(rng.normal(0, 2, 6), -(-n // 6))[:n], 1)
    return np.round(values) if seed % 2 else values


def verdicts(detector, values):
    alarms, warnings = [], []
    for i, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            alarms.append(i)
        elif getattr(detector, "warning_detected", False):
            warnings.append(i)
    return alarms, warnings


def electricity():
    """What goes wrong when the last label is the answer: 45,312 errors."""
    folder = Path(os.environ.get("IHOMER_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    path = folder / "electricity.arff"
    if not path.exists():
        pytest.skip(f"electricity.arff is neither in IHOMER_DATA nor in ../shared/data: {path}")
    columns = [line.strip().split(",") for line in path.read_text().splitlines() if line and line[0] not in "@%"]
    labels, periods = np.array([line[-1] for line in columns]), len(columns) - 1
    assert periods == 45_311
    return (labels[1:] != labels[:-1]).astype(float)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_agrees_with_the_plain_twin(name, settings):
    n_alarms = 0
    for seed in range(4):
        values = (numbers if name in ("CUSUM", "PageHinkley", "STEPD") else errors)(seed, 500)
        values[np.random.default_rng(seed).random(500) < 0.05] = np.nan
        expected = np.array(naive.levels(partial(RULES[name], **settings), values))
        alarms, warnings = verdicts(getattr(drift, name)(**settings), values)
        assert alarms == np.flatnonzero(expected == naive.ALARM).tolist()
        assert warnings == np.flatnonzero(expected == naive.WARNING).tolist()
        n_alarms += len(alarms)
    assert n_alarms > 0


@pytest.mark.parametrize(
    "settings", [{"alpha": 0.05, "window_size": 30, "stat_size": 8}, {"window_size": 24, "stat_size": 12, "seed": 5}]
)
@pytest.mark.parametrize("restart", [True, False])
def test_kswin_agrees_with_the_plain_twin(settings, restart):
    for seed in range(2):
        values = numbers(seed, 250)
        values[::40] = np.nan
        expected = naive.kswin_levels(values, **settings, restart=restart)
        assert naive.ALARM in expected
        detector = drift.KSWIN(**settings, restart=restart)
        assert detector.update_many(values).tolist() == np.flatnonzero(expected).tolist()


@pytest.mark.parametrize(("name", "settings"), RIVER_CASES)
def test_same_alarms_and_warnings_as_river_on_50_random_series(name, settings):
    """Where river's warning stands beside an alarm, ours gives way."""
    n_alarms = 0
    for seed in range(50):
        values = (numbers if name == "PageHinkley" and seed % 2 else errors)(seed, 1200)
        theirs = verdicts(THEIRS[name](**settings), values)
        assert verdicts(getattr(drift, name)(**settings), values) == theirs
        assert getattr(drift, name)(**settings).update_many(values).tolist() == theirs[0]
        n_alarms += len(theirs[0])
    assert n_alarms > 20


@pytest.mark.parametrize("name", THEIRS)
def test_same_alarms_as_river_on_50_series_of_electricity(name):
    pieces = electricity()[:45_000].reshape(50, 900)
    for piece in pieces[:: 10 if name == "KSWIN" else 1]:
        assert getattr(drift, name)().update_many(piece).tolist() == verdicts(THEIRS[name](), piece)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"alpha": 0.01, "window_size": 50, "stat_size": 10}, {"alpha": 0.001, "window_size": 300, "stat_size": 20}],
)
def test_kswin_has_the_alarms_of_river_on_50_random_and_50_real_series(settings):
    pieces = [*electricity()[:45_000].reshape(50, 900), *(numbers(seed, 600) for seed in range(50))]
    found = [drift.KSWIN(**settings, seed=3).update_many(piece).tolist() for piece in pieces]
    assert found == [verdicts(river.drift.KSWIN(**settings, seed=3), piece)[0] for piece in pieces]
    assert sum(map(len, found)) > 20


def test_kswin_has_the_alarms_of_river():
    """Settings that draw from a pool, and, with a window of 300 and few drawn, by rejection."""
    for settings in ({"seed": 1}, {"alpha": 0.01, "window_size": 300, "stat_size": 20, "seed": 2}):
        values = numbers(3, 600)
        alarms = verdicts(river.drift.KSWIN(**settings), values)[0]
        assert alarms
        assert drift.KSWIN(**settings).update_many(values).tolist() == alarms


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("CUSUM", {"warm_start": 1}, "warm_start must be at least 2 and finite, got 1"),
        ("CUSUM", {"mode": "left"}, "mode must be one of up, down, both, got left"),
        ("DDM", {"drift_threshold": 0}, "drift_threshold must be positive and finite, got 0"),
        ("DDM", {"warm_start": float("nan")}, "warm_start must be at least 0 and finite, got nan"),
        ("ECDD", {"average_run_length": 1000}, r"average_run_length must be one of \[100, 400\], got 1000"),
        ("EDDM", {"alpha": 0.8, "beta": 0.9}, r"beta at most alpha, got 0.8 and 0.9"),
        ("FHDDM", {"short_window_size": 101}, r"short_window_size must be in \[1, 100\]"),
        ("HDDM_A", {"drift_confidence": 1}, r"drift_confidence must be in \(0, 1\), got 1"),
        ("HDDM_A", {"warning_confidence": 1e-4}, "warning_confidence must be at least drift_confidence, 0.001, got"),
        ("HDDM_W", {"lambda_val": 0}, r"lambda_val must be in \(0, 1\], got 0"),
        ("HDDM_W", {"warning_confidence": 1e-4}, "warning_confidence must be at least drift_confidence, 0.001, got"),
        ("KSWIN", {"window_size": 59}, "window_size must be at least 60, twice stat_size, got 59"),
        ("STEPD", {"window": 1}, "window must be at least 2 and finite, got 1"),
        ("STEPD", {"threshold": 0}, "threshold must be positive and finite, got 0"),
        ("PageHinkley", {"alpha": 1.1}, r"alpha must be in \(0, 1\], got 1.1"),
        ("PageHinkley", {"mode": "left"}, "mode must be one of up, down, both, got left"),
    ],
)
def test_refuses_settings(name, settings, message):
    with pytest.raises(ValueError, match=message):
        getattr(drift, name)(**settings)


def test_refuses_a_foreign_state_and_errors_outside_their_range():
    with pytest.raises(ValueError, match=r"x must be in \[0, 1\] or NaN, got 2"):
        drift.DDM().update(2)
    with pytest.raises(ValueError, match=r"window must have shape \(1, 100\) and dtype float64, got \(1, 50\)"):
        drift.FHDDM().set_state(drift.FHDDM(50).get_state())
    with pytest.raises(ValueError, match=r"state must hold the arrays \['series', 'window'\], got \['series'\]"):
        drift.FHDDM().set_state(drift.DDM().get_state())


@pytest.mark.parametrize("name", [*SETTINGS, "KSWIN"])
def test_an_alarm_tells_what_went_beyond_which_limit(name):
    make = getattr(drift, name)
    values = np.concatenate([errors(seed, 800) for seed in range(8)])
    # EDDM is about distances between errors, which fall below its limit; FHDDM is about right answers.
    beyond = np.less if name == "EDDM" else np.greater_equal
    whole, pieces = make(), make()
    assert whole.evidence is None
    alarms = whole.update_many(values)
    assert len(alarms) >= 2
    statistic, limit = whole.evidence
    assert limit > 0
    assert beyond(statistic, limit)
    found = []
    for value in values:
        pieces.update(value)
        if pieces.drift_detected:
            found.append(pieces.evidence)
    assert len(found) == len(alarms)
    assert all(beyond(*evidence) for evidence in found)
    assert len({evidence[0] for evidence in found}) > 1
    assert found[-1] == whole.evidence
