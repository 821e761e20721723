"""Detectors of change in feature rows: statistics against SciPy, and what they find and let pass."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from drift import KolmogorovSmirnovDrift, MMDDrift, PopulationStabilityDrift, PrincipalComponentDrift
from drift.kolmogorov_smirnov import p_values
from drift.population_stability import chi_squared_tail, stability_index

DETECTORS = (KolmogorovSmirnovDrift, MMDDrift, PopulationStabilityDrift, PrincipalComponentDrift)


def test_smirnov_distance_agrees_with_scipy():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(70, 30)), rng.normal(0.5, size=(40, 30))
    one[:, ::2], other[:, ::2] = one[:, ::2].round(), other[:, ::2].round()
    one[rng.random(one.shape) < 0.1] = np.nan
    one[:, 5] = np.nan
    other[1:, 6] = np.nan
    found = p_values(one, other)
    assert found[5] == found[6] == 1
    for j in set(range(30)) - {5, 6}:
        a = one[~np.isnan(one[:, j]), j]
        distance = stats.ks_2samp(a, other[:, j]).statistic
        assert found[j] == pytest.approx(min(1, 2 * np.exp(-2 * distance**2 * len(a) * 40 / (len(a) + 40))))


def test_tail_of_chi_squared_agrees_with_scipy():
    for degrees in (1, 2, 3, 9, 10):
        for x in (0.01, 1.0, 15.0, 90.0):
            assert chi_squared_tail(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-10)
    assert chi_squared_tail(3.0, 0) == chi_squared_tail(0.0, 2) == 1


def test_stability_index_by_hand():
    index, n_bins = stability_index(np.array([1.0, 1, 2, 2]), np.array([1.0, 2, 2, np.nan]), 2)
    p, q = np.array([2.5, 2.5, 0.5]) / 5.5, np.array([1.5, 2.5, 1.5]) / 5.5
    assert (index, n_bins) == (pytest.approx(np.sum((p - q) * np.log(p / q))), 3)
    assert stability_index(np.full(9, np.nan), np.full(9, np.nan), 10)[1] == 1


@pytest.mark.parametrize("cls", DETECTORS)
def test_raises_no_false_alarm_on_rows_that_stay_as_they_are(cls):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 6)) @ rng.normal(size=(6, 6))
    x[:, 0] = x[:, 0].round()
    x[rng.random(x.shape) < 0.1] = np.nan
    detector = cls()
    assert detector.update_many(x).tolist() == []
    assert detector.n_missing == np.isnan(x).sum()


@pytest.mark.parametrize("cls", DETECTORS)
def test_finds_a_feature_that_is_spread_wider(cls):
    x = np.random.default_rng(1).normal(size=(4000, 8))
    x[2000:, 3] *= 4
    detector = cls()
    alarms = detector.update_many(x)
    assert 2000 < alarms[0] < 2500
    if hasattr(detector, "features"):
        assert detector.features.tolist() == [3]


def test_false_alarms_keep_to_their_bound():
    """Tests at every window of fresh rows with a bound of 0.05: exact binomial bounds, wide enough for 1 in 10,000."""
    rng = np.random.default_rng(2)
    for cls in DETECTORS:
        detector = cls(0.05, reference_size=200, window_size=200, clock=400)
        n_alarms = len(detector.update_many(rng.normal(size=(120_000, 3))))
        assert n_alarms <= stats.binom.ppf(1 - 1e-4, 300, 0.05)


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (
            KolmogorovSmirnovDrift,
            {"control": "holm"},
            "control must be one of bonferroni, benjamini-hochberg, got holm",
        ),
        (KolmogorovSmirnovDrift, {"window_size": 19}, "window_size must be at least 20 and finite, got 19"),
        (MMDDrift, {"n_frequencies": 0}, "n_frequencies must be at least 1 and finite, got 0"),
        (PopulationStabilityDrift, {"n_bins": 1}, "n_bins must be at least 2 and finite, got 1"),
        (PrincipalComponentDrift, {"variance": 0}, r"variance must be in \(0, 1\], got 0"),
    ],
)
def test_refuses_settings(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


def test_refuses_rows_that_are_none():
    detector = KolmogorovSmirnovDrift()
    detector.update(np.zeros(3))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\), got \(1, 2\)"):
        detector.update(np.zeros(2))
    with pytest.raises(ValueError, match="x must be finite or NaN, got inf in row 0, feature 1"):
        detector.update([0.0, np.inf, 0.0])
    with pytest.raises(ValueError, match="reference must have 1000 rows, got 500"):
        detector.set_state(KolmogorovSmirnovDrift(reference_size=500).get_state())
    assert detector.get_state()["rows"]["n_since_start"] == 1
