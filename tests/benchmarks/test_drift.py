"""The suite of detectors: what it feeds them, what it counts, and how tables and picture tell it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import drift
from benchmarks.frame import Clock
from drift.scoring import DetectionScore


def test_losses_are_those_of_a_learner_and_know_their_drifts():
    short = drift.KINDS["sudden"]
    streams = drift._of_losses("sudden", 1)
    assert len(streams) == len(drift.CONCEPTS)
    for series in streams:
        assert series.n_events == len(series.values) == 42_000 - drift.WARM_UP
        assert series.drifts == [10_000, 20_000, 30_000]
        assert "12000" in short
        assert 0 <= series.values.min() < series.values.max() <= 1
        assert series.values[10_000:10_300].mean() > series.values[9_700:10_000].mean()


def test_frequencies_turn_and_rise():
    (series,) = drift._of_frequencies(drift.LABEL_SETS[0], 1)
    before, after = (
        np.bincount(part.indices, minlength=14) for part in (series.values[:20_000], series.values[20_000:])
    )
    assert before[0] > 3 * before[13]
    assert after[13] > 3 * after[0]
    assert after.sum() > before.sum() * 1.2


def test_an_attempt_counts_over_all_streams():
    values = np.repeat([0.1, 0.9, 0.9], 3000)
    streams = [drift.Series(values, 9000, [3000], [1]), drift.Series(values[:3000], 3000)]
    clock = Clock()
    found = drift._attempt("adwin", streams, clock)
    assert clock.events == 12_000
    assert (found["n_drifts"], found["n_missed"], found["n_false_alarms"]) == (1, 0, 0)
    assert 1 <= found["mean_delay"] <= 64
    assert "mean_time_ratio" not in found  # infinite


def side(name, **figures):
    return {
        "name": name,
        "status": "ok",
        "events": 1000,
        "best": 1e-6,
        "quality": drift.quality(DetectionScore(**figures)),
    }


def result():
    good = side("good", n_events=1000, n_drifts=2, delays=(10, 30))
    noisy = side("noisy", n_events=1000, n_drifts=2, delays=(5, 5), n_false_alarms=4)
    blind = side("blind", n_events=1000, n_drifts=2)
    failed = {"name": "failed", "status": "failed", "reason": "ValueError: oh", "events": 0}
    quiet = side("quiet", n_events=1000, n_false_alarms=1)
    return {
        "cells": [
            {"cell": "loss/sudden_v1", "group": "loss", "workload": "sudden_v1",
             "contestants": [blind, failed, noisy, good]},
            {"cell": "loss/none_v1", "group": "loss", "workload": "none_v1", "contestants": [quiet]},
        ]
    }  # fmt: skip


def test_tables_by_hand():
    made = drift.tables(result())
    assert made.keys() == {"loss_sudden", "loss_none"}
    assert made["loss_sudden"].splitlines()[4:7] == [
        "| good | 0 of 2 | 20 | 20 | 0.00 | ∞ | ∞ | 1,000,000 |",
        "| noisy | 0 of 2 | 5 | 5 | 40.00 | 250 | 50 | 1,000,000 |",
        "| blind | 2 of 2 | – | – | 0.00 | ∞ | 0 | 1,000,000 |",
    ]
    assert made["loss_sudden"].endswith("**failed: ValueError: oh**")
    assert made["loss_none"].endswith("| quiet | 10.00 | 1,000 | 1,000,000 |")


def test_the_picture_has_a_panel_for_each_kind_with_drifts():
    (panel,) = drift.pictures(result())["delay"].axes
    assert [line.get_label() for line in panel.lines] == ["noisy", "good"]
    assert drift.pictures({"cells": result()["cells"][1:]}) == {}


@pytest.mark.parametrize("cell", drift.cells(), ids=lambda cell: cell.name)
def test_detectors_of_cells_can_be_built(cell):
    detectors = cell.build.args[1]
    for name in detectors:
        assert drift.build(drift.SENSITIVE.get(name, name)).drift_detected is False
