"""Detectors of change in labels: against plain twins, and what they find and let pass on streams with known changes."""

from __future__ import annotations

import math
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from drift import DDM, CardinalityDrift, LabelDependencyDrift, PriorShift
from drift.label_dependency import _compare
from drift.multiple_tests import adjusted
from drift.prior_shift import _test
from tests.naive import drift_detectors as naive


def rates_of(n_labels, cardinality, exponent=0.5):
    """Frequencies that fall with the rank and add up to the cardinality."""
    shares = 1 / np.arange(1, n_labels + 1) ** exponent
    return np.clip(shares / shares.sum() * cardinality, None, 0.6)


def groups_of(seed, n_labels, size=5):
    """A group for every label, at random."""
    return np.random.default_rng(seed).permutation(np.arange(n_labels) // size)


def copula_labels(seed, n, rates, groups, correlation):
    """Label sets by a Gaussian copula: labels of one group share a factor, and the frequencies are as given."""
    rng = np.random.default_rng(seed)
    bounds = np.array([NormalDist().inv_cdf(rate) for rate in rates])
    parts = []
    for start in range(0, n, 5000):
        size = min(5000, n - start)
        shared = rng.standard_normal((size, groups.max() + 1), np.float32)[:, groups]
        own = rng.standard_normal((size, len(rates)), np.float32)
        parts.append(math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own < bounds)
    return np.concatenate(parts)


def rows(labels):
    present, indices = np.nonzero(labels)
    indptr = np.searchsorted(present, np.arange(len(labels) + 1))
    return SimpleNamespace(indptr=indptr.astype(np.int64), indices=indices.astype(np.int64))


def sets(labels):
    return [set(np.flatnonzero(event).tolist()) for event in labels]


@pytest.mark.parametrize(("n_labels", "cardinality"), [(3, 1.5), (8, 3), (40, 2)])
def test_dependency_agrees_with_the_plain_twin(n_labels, cardinality):
    rates = rates_of(n_labels, cardinality)
    for seed in range(3):
        old = copula_labels(seed, 90, rates, groups_of(seed, n_labels), 0.5)
        new = copula_labels(seed + 10, 50, rates, groups_of(seed + 1, n_labels), 0.5)
        both = rows(np.concatenate([old, new]))
        expected = naive.label_dependency(sets(old), sets(new))
        assert _compare(both.indptr, both.indices, 90) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("labels", [np.zeros((6000, 3)), np.ones((6000, 3)), np.zeros((6000, 0)), np.eye(6000, 1)])
def test_nothing_is_found_where_nothing_varies(labels):
    detector = LabelDependencyDrift()
    assert detector.update_many(labels).tolist() == []
    assert math.isfinite(detector.statistic)


CHANGES = [(14, 4.2), (101, 4.4), (374, 3.5)]


@pytest.mark.parametrize(("n_labels", "cardinality"), CHANGES)
@pytest.mark.parametrize("before_and_after", [(0.7, 0.7), (0.7, 0.3), (0.0, 0.5)], ids=str)
def test_dependency_finds_correlations_that_alone_change_within_2000_events(n_labels, cardinality, before_and_after):
    before, after = before_and_after
    rates, groups = rates_of(n_labels, cardinality), groups_of(0, n_labels)
    others = groups_of(1, n_labels) if before == after else groups
    for seed in range(2):
        old = copula_labels(seed, 7000, rates, groups, before)
        new = copula_labels(seed + 50, 2000, rates, others, after)
        alarms = LabelDependencyDrift().update_many(np.concatenate([old, new]))
        assert len(alarms) == 1
        assert 7000 <= alarms[0] < 9000


@pytest.mark.slow
@pytest.mark.parametrize(("n_labels", "cardinality"), CHANGES)
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_dependency_raises_at_most_one_false_alarm_in_100_000_events(n_labels, cardinality, correlation):
    labels = copula_labels(3, 100_000, rates_of(n_labels, cardinality), groups_of(3, n_labels), correlation)
    assert len(LabelDependencyDrift().update_many(labels)) <= 1


@pytest.mark.parametrize(("n_labels", "cardinality"), CHANGES)
def test_dependency_lets_frequencies_change(n_labels, cardinality):
    """Labels that are independent before and after, whatever their frequencies do."""
    rates, groups = rates_of(n_labels, cardinality), np.arange(n_labels)
    shuffled = np.random.default_rng(0).permutation(rates)
    for number, changed in enumerate((shuffled, np.minimum(1.5 * rates, 0.8), 0.5 * rates)):
        parts = (copula_labels(number, 4000, rates, groups, 0), copula_labels(number + 9, 1500, changed, groups, 0))
        both = rows(np.concatenate(parts))
        assert abs(_compare(both.indptr, both.indices, 4000)) < 3.5


def test_dependency_looks_at_the_newest_events_and_the_first():
    labels = copula_labels(0, 3000, rates_of(6, 2), groups_of(0, 6, 2), 0.5)
    detector = LabelDependencyDrift(reference_size=700, window_size=300, clock=100)
    detector.update_many(labels)
    kept = rows(np.concatenate([labels[:700], labels[-300:]]))
    assert detector.statistic == _compare(kept.indptr, kept.indices, 700)
    state = detector.get_state()
    assert (len(state["indptr"]), state["indices"].tolist()) == (1001, kept.indices.tolist())


def test_events_of_which_labels_are_unknown_are_passed_over():
    labels = copula_labels(0, 6000, rates_of(6, 2), groups_of(0, 6, 2), 0.5)
    known = np.random.default_rng(0).random(6000) < 0.7
    for make in (LabelDependencyDrift, lambda: PriorShift(1e-3), CardinalityDrift):
        partly, wholly = make(), make()
        alarms = partly.update_many(rows(labels), known)
        assert np.flatnonzero(known)[wholly.update_many(labels[known])].tolist() == alarms.tolist()
        assert partly.n_missing == (~known).sum()
        partly.update(None)
        assert partly.n_missing == (~known).sum() + 1
        assert not partly.drift_detected


def test_prior_shift_has_the_p_values_of_fisher():
    rng = np.random.default_rng(0)
    before, now, p_values = rng.integers(0, 300, 60), rng.integers(0, 120, 60), np.zeros(60)
    before[:3], now[:3] = (0, 300, 1), (0, 120, 0)
    _test(before, now, 300, 120, p_values)
    for k, m, p_value in zip(now, before, p_values, strict=True):
        tail = stats.hypergeom(420, k + m, 120)
        assert p_value == pytest.approx(min(1, 2 * min(tail.cdf(k), tail.sf(k - 1))), rel=1e-8)


def test_prior_shift_among_thousands_of_labels():
    rng = np.random.default_rng(0)
    rates = np.full((6000, 2000), 0.01)
    rates[3000:, [7, 1900]] = 0.06
    labels = rng.random(rates.shape) < rates
    for control in ("bonferroni", "benjamini-hochberg"):
        detector = PriorShift(control=control)
        alarms = detector.update_many(rows(labels))
        assert len(alarms) == 1
        assert 3000 < alarms[0] < 3500
        assert set(detector.labels) <= {7, 1900}
        assert len(detector.labels)
        assert detector.threshold == 1e-5


def test_benjamini_hochberg_agrees_with_scipy():
    p_values = np.random.default_rng(0).random(40) ** 3
    expected = stats.false_discovery_control(p_values)
    assert adjusted(p_values, "benjamini-hochberg") == pytest.approx(expected, rel=1e-12)
    assert adjusted(p_values, "bonferroni") == pytest.approx(np.minimum(40 * p_values, 1), rel=1e-12)


def test_cardinality_by_another_detector():
    labels = np.zeros((900, 5))
    labels[600:] = np.random.default_rng(0).random((300, 5)) < 0.9
    detector = CardinalityDrift(DDM())
    with pytest.raises(ValueError, match=r"values must be in \[0, 1\] or NaN, got"):
        detector.update_many(labels)
    assert 600 < CardinalityDrift().update_many(labels)[0] < 640


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (LabelDependencyDrift, {"delta": 0}, r"delta must be in \(0, 1\), got 0"),
        (LabelDependencyDrift, {"window_size": 99}, "window_size must be at least 100 and finite, got 99"),
        (LabelDependencyDrift, {"reference_size": 1499}, "reference_size must be at least 1500 and finite, got 1499"),
        (LabelDependencyDrift, {"clock": 0}, "clock must be at least 1 and finite, got 0"),
        (PriorShift, {"window_size": 550}, "window_size must be a multiple of clock, 100, got 550"),
        (PriorShift, {"control": "holm"}, "control must be one of bonferroni, benjamini-hochberg, got holm"),
    ],
)
def test_refuses_settings(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


def test_refuses_rows_that_are_none():
    detector = PriorShift()
    with pytest.raises(ValueError, match="the label numbers of an event must rise"):
        detector.update_many(SimpleNamespace(indptr=np.array([0, 2]), indices=np.array([1, 1])))
    with pytest.raises(ValueError, match=r"label numbers must be in \[0, 2147483647\], got -1 to -1"):
        detector.update([-1])
    with pytest.raises(ValueError, match=r"labels must have shape \(n, labels\), got \(3,\)"):
        detector.update_many(np.zeros(3))
    with pytest.raises(ValueError, match=r"known must have shape \(3,\), got \(2,\)"):
        detector.update_many(np.zeros((3, 2)), [True, False])
    with pytest.raises(ValueError, match="state must hold the arrays"):
        detector.set_state(LabelDependencyDrift().get_state())
    assert detector.get_state()["events"]["n_since_start"] == 0
