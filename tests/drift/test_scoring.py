"""Detection scores, counted by hand."""

from __future__ import annotations

import math

import pytest

from drift.scoring import DetectionScore, score_alarms


def test_by_hand():
    # 5 and 90 come before any drift. 100 is detected at its third event. 200 lasts to 249: 230 repeats, 260 is false.
    # 300 has no alarm.
    score = score_alarms([260, 5, 90, 102, 210, 230], [100, 200, 300], 400, widths=[1, 50, 1])
    assert score == DetectionScore(400, 3, (3, 11), 3, 1)
    assert (score.n_detected, score.n_missed, score.missed_rate) == (2, 1, 1 / 3)
    assert score.mean_delay == score.median_delay == 7
    assert score.false_alarms_per_10_000 == 75
    assert score.mean_time_between_false_alarms == 400 / 3
    assert score.mean_time_ratio == pytest.approx(400 / 3 / 7 * 2 / 3)


def test_an_alarm_belongs_to_the_drift_that_began_last():
    assert score_alarms([199], [100, 200], 300).delays == (100,)
    assert score_alarms([200], [100, 200], 300).delays == (1,)
    assert score_alarms([99], [100, 200], 300) == DetectionScore(300, 2, (), 1, 0)


def test_alarms_that_come_too_late_are_false():
    # The drift's last event is 109: 10 more are accepted.
    assert score_alarms([119], [100], 200, widths=10, acceptance=10).delays == (20,)
    assert score_alarms([120], [100], 200, widths=10, acceptance=10) == DetectionScore(200, 1, (), 1, 0)
    assert score_alarms([100, 101], [100], 200, acceptance=0) == DetectionScore(200, 1, (1,), 1, 0)


def test_repeats_while_a_drift_settles():
    score = score_alarms([105, 149, 150], [100], 200, widths=10, settling=40)
    assert score == DetectionScore(200, 1, (6,), 1, 1)
    # Settling makes no late alarm a detection that acceptance refuses.
    assert score_alarms([120], [100], 200, acceptance=5, settling=50).n_false_alarms == 1


def test_no_drift_no_alarm_no_event():
    score = score_alarms([], [], 1000)
    assert math.isnan(score.missed_rate)
    assert math.isnan(score.mean_delay)
    assert math.isnan(score.mean_time_ratio)
    assert score.mean_time_between_false_alarms == math.inf
    assert score.false_alarms_per_10_000 == 0
    assert score_alarms([1], [], 10).mean_time_between_false_alarms == 10
    assert score_alarms([], [5], 10).mean_time_ratio == 0
    assert score_alarms([6], [5], 10).mean_time_ratio == math.inf
    assert math.isnan(DetectionScore().false_alarms_per_10_000)
    assert math.isnan(DetectionScore().mean_time_between_false_alarms)


def test_streams_add_up():
    one, other = score_alarms([7, 50], [40], 100), score_alarms([60], [20, 70], 100)
    both = one + other
    assert both == DetectionScore(200, 3, (11, 41), 1, 0)
    assert sum([one, other], DetectionScore()) == both


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], [], -1), {}, "n_events must be at least 0, got -1"),
        (([10], [], 10), {}, r"alarms must be in \[0, 10\), got 10 to 10"),
        (([], [-1], 10), {}, r"drifts must be in \[0, 10\), got -1 to -1"),
        (([], [5, 5], 10), {}, r"drifts must rise, got \[5, 5\]"),
        (([3, 1, 3], [], 10), {}, "alarms must differ from each other, got 3 twice"),
        (([], [1, 5], 10), {"widths": [1]}, r"widths must be one, or one for each of the 2 drifts, got \(1,\)"),
        (([], [1], 10), {"widths": 0}, "widths must be at least 1, got 0"),
        (([], [1], 10), {"acceptance": -1}, "acceptance must be at least 0, got -1"),
        (([], [1], 10), {"settling": -2}, "settling must be at least 0, got -2"),
    ],
)
def test_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        score_alarms(*arguments, **options)
