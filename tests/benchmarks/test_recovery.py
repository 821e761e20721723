"""When answers are back after a drift: what the suite changes, what it measures, and how tables tell it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import recovery
from benchmarks.frame import Clock
from streams.batch import Batch

N, BEGIN = 3_000, 1_500


def batch_of(n_labels: int = 6) -> Batch:
    random = np.random.default_rng(3)
    x = random.normal(size=(N, n_labels)).astype(np.float32)
    return Batch.from_arrays(x, x > 1.0 - 0.2 * np.arange(n_labels))


def test_half_of_the_labels_change_places_from_there_on():
    batch = batch_of()
    drifted = recovery.swapped(batch, BEGIN, 1)
    before, after = batch.y.to_dense(6), drifted.y.to_dense(6)
    assert np.array_equal(before[:BEGIN], after[:BEGIN])
    moved = [j for j in range(6) if not np.array_equal(before[BEGIN:, j], after[BEGIN:, j])]
    assert len(moved) == 3
    # The same columns in another order, none of which stays in its place.
    old, new = ({tuple(y[BEGIN:, j]) for j in moved} for y in (before, after))
    assert old == new
    assert drifted.x is not batch.x
    assert np.array_equal(drifted.x, batch.x)


def test_back_is_the_first_place_where_the_last_ones_reach_the_level():
    values = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    assert recovery.back(recovery.moving(values, 2), 1.0, 2) == 4
    assert recovery.back(recovery.moving(values, 3), 1.0, 3) == 8
    assert recovery.back(recovery.moving(values, 4), 1.0, 4) is None
    assert recovery.back(np.array([0.5, 0.9]), np.array([0.6, 0.9]), 7) == 8


def test_a_learner_that_is_never_told_of_features_is_back_at_once_and_one_that_learned_them_is_not(monkeypatch):
    monkeypatch.setattr(recovery, "_rows", lambda name: batch_of())
    costs = {}
    for spec in ("no-change", "linear"):
        clock = Clock()
        found = recovery._after_labels("made", spec, (1, 2), clock)
        costs[spec] = clock.cost
        assert clock.events == 2 * 2 * N
        assert (found["drifts"], found["missed"]) == (1, 2)
        assert 0 < found["before"] < 1
        assert found["first"] > 0
    assert costs["no-change"] == recovery.LAST
    assert costs["linear"] > recovery.LAST


def test_alarms_of_ihomer_are_counted_from_the_drift(monkeypatch):
    monkeypatch.setattr(recovery, "_rows", lambda name: batch_of())
    found = recovery._after_labels("made", "ihomer", (1,), Clock())
    assert found["missed"] == 0
    assert 1 <= found["delay"] <= 200
    assert found["false_alarms_per_10_000"] == 0


def test_a_concept_is_held_against_what_was_before(monkeypatch):
    """A stream whose labels are turned over: a learner of labels alone falls, and is back before the end."""
    n, begin = 8_000, 4_000
    y = np.zeros((n, 2), bool)
    y[:begin, 0] = y[begin:, 1] = True
    batch = Batch.from_arrays(np.zeros((n, 1), np.float32), y)
    monkeypatch.setattr(recovery, "_stream", lambda name, kind: (batch, [begin], [1]))
    clock = Clock()
    found = recovery._after_concepts("sudden", "no-change", ("made",), clock)
    assert found["before"] == 1.0
    assert found["first"] == pytest.approx(1 - 1 / recovery.FIRST)
    # One wrong answer among the last 500 is within the loss allowed.
    assert (clock.cost, found["back"]) == (recovery.LAST_OF_CONCEPT, 1)
    clock = Clock()
    found = recovery._after_concepts("sudden", "majority", ("made",), clock)
    assert (clock.cost, found["back"]) == (n - begin, 0)


def test_a_learner_that_has_nothing_right_is_told_as_that(monkeypatch):
    random = np.random.default_rng(1)
    batch = Batch.from_arrays(np.zeros((6_000, 1), np.float32), random.random((6_000, 4)) < 0.1)
    monkeypatch.setattr(recovery, "_stream", lambda name, kind: (batch, [3_000], [1]))
    found = recovery._after_concepts("sudden", "majority", ("made",), Clock())
    assert found["before"] == 0
    assert "first" not in found
    cell = {"group": "concepts", "workload": "sudden_v1", "unit": "events", "targets": []}
    table = recovery.tables({"cells": [{**cell, "contestants": [side("majority", 500.0, **found)]}]})["concepts"]
    assert table.splitlines()[-1].startswith("| sudden | majority | – | 1 of 1 | 0 | – |")


def side(name: str, cost: float, **quality: float) -> dict[str, object]:
    return {"name": name, "status": "ok", "best": cost, "events": 10, "quality": quality}


def test_tables_by_hand():
    told = {"drifts": 1.0, "before": 0.5, "missed": 2.0, "false_alarms_per_10_000": 0.25}
    cell = {
        "group": "labels", "workload": "yeast", "unit": "events",
        "targets": [{"ours": "ihomer", "below": 81, "found": 100, "verdict": "missed"}],
        "contestants": [
            side("linear", 900.0, back=0.0, **told),
            side("ihomer", 100.0, back=1.0, first=0.9, delay=40.0, **told),
            {"name": "slow", "status": "stopped", "reason": "stopped at event 3 after 300 s", "events": 3},
        ],
    }  # fmt: skip
    rows = recovery.tables({"cells": [cell]})["labels"].splitlines()[4:]
    assert rows == [
        "| yeast | ihomer | 100 | 1 of 1 | 0.5 | 90 % | 40 | 2 | 0.25 | below 81: **missed by 23 %** |",
        "|  | linear | – | 0 of 1 | 0.5 | – |  |  |  |  |",
        "|  | slow: **stopped at event 3 after 300 s** |  |  |  |  |  |  |  |  |",
    ]


@pytest.mark.parametrize("spec", recovery.LEARNERS.values())
def test_every_learner_runs(spec):
    hits, sizes, _ = recovery.answered(batch_of()[:300], spec, Clock())
    assert len(hits) == len(sizes) == 300
    assert (hits <= sizes).all()
