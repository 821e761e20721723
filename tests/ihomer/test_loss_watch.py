"""What a detector is told of answers, against its twin, and which of its alarms count."""

from __future__ import annotations

import numpy as np
import pytest

from drift import STEPD
from drift.pickled import trusting_pickle
from ihomer.events import Cells
from ihomer.loss_watch import LossWatch, answer_losses
from ihomer.temporal import LabelPast
from tests.ihomer.test_experts import as_table, labelled, part_of, without
from tests.naive import ihomer_experts as naive


def answered(seed, unknown=0.0):
    """Events, some of their cells, what is answered and what the past says there; and all that as matrices."""
    _, events, y, _ = labelled(seed, unknown=unknown, unlabelled=0.2)
    rng = np.random.default_rng(seed)
    cells = Cells.all(events)
    cells = without(cells, rng.random(len(cells.label)) < 0.3)
    cells.asked[rng.random(len(cells.label)) < 0.2] = False
    proba = rng.choice([0.0, 1e-9, 0.3, 0.9, 1.0], len(cells.label))
    past = LabelPast().run(events, cells)
    where = np.ones(len(cells.label))
    asked = as_table(cells, where * cells.asked, y.shape) > 0
    return events, cells, proba, past, (as_table(cells, proba, y.shape), as_table(cells, past[:, 5], y.shape), y, asked)


@pytest.mark.parametrize("unknown", [0.0, 0.4])
def test_losses_equal_their_twin(unknown):
    events, cells, proba, past, tables = answered(1, unknown)
    losses = np.empty((2, len(events.taught)))
    answer_losses(proba, past, events, cells, losses)
    expected = np.array(naive.answer_losses(*tables)).T
    assert losses[:, events.taught] == pytest.approx(expected[:, events.taught], abs=1e-6)
    assert (losses >= 0).all()
    assert (losses <= 1).all()


def test_an_event_without_cells_is_no_worse_than_rates():
    events, cells, proba, past, _ = answered(1)
    none = cells._replace(asked=np.zeros(len(cells.label), bool))
    losses = np.empty((2, len(events.taught)))
    answer_losses(proba, past, events, none, losses)
    assert losses.tolist() == [[0.0] * len(events.taught), [0.5] * len(events.taught)]


def feed(watch, own, relative):
    return [i for i, (a, b) in enumerate(zip(own, relative, strict=True)) if watch.update(a, b)]


def steps(*levels, n=300, seed=0):
    """A noisy series that has each level for so many events."""
    return np.repeat(levels, n) + np.random.default_rng(seed).normal(0, 0.01, n * len(levels))


def test_an_alarm_counts_where_the_losses_themselves_have_risen():
    detector = STEPD(threshold=4)
    relative = steps(0.4, 0.45)
    (expected,) = detector.update_many(relative)
    assert feed(LossWatch(detector), steps(0.1, 0.2, seed=1), relative) == [expected]


@pytest.mark.parametrize("own", [(0.1, 0.1), (0.2, 0.1)])
def test_rates_that_do_well_all_of_a_sudden_raise_no_alarm(own):
    assert feed(LossWatch("stepd"), steps(*own, seed=1), steps(0.4, 0.45)) == []


def test_losses_that_rise_for_rates_as_well_raise_no_alarm():
    assert feed(LossWatch("stepd"), steps(0.1, 0.2), steps(0.4, 0.4, seed=1)) == []


def test_after_an_alarm_a_further_rise_is_found():
    found = feed(LossWatch("stepd"), steps(0.1, 0.2, 0.3, seed=1), steps(0.4, 0.45, 0.5))
    assert [i // 300 for i in found] == [1, 2]


@pytest.mark.parametrize("detector", ["stepd:threshold=4", "page-hinkley:threshold=1", "fhddm", "river:drift.ADWIN()"])
def test_one_by_one_and_from_a_saved_state_as_all_at_once(detector):
    """Answers are good until event 150 of 300 and as bad as can be from there on."""
    events, cells, _, past, (_, _, y, _) = answered(3)
    event = np.repeat(np.arange(len(y)), np.diff(cells.start))
    right = np.nan_to_num(y)[event, cells.label]
    proba = np.where(event < 150, 0.1 + 0.8 * right, 0.9 - 0.8 * right)
    whole, parts, single = LossWatch(detector), LossWatch(detector), LossWatch(detector)
    expected = whole.run(proba, past, events, cells)
    found, rows = [], np.zeros(len(events.taught))
    for low, high in ((0, 1), (1, 170), (170, 171), (171, 300)):
        _, some, few, part = part_of(rows, events, cells, low, high)
        before = int(events.taught[:low].sum())
        found += [before + place for place in parts.run(proba[part], past[part], some, few)]
        again = LossWatch(detector)
        with trusting_pickle():
            again.set_state(parts.get_state())
        parts = again
    losses = np.empty((2, len(events.taught)))
    answer_losses(proba, past, events, cells, losses)
    assert found == feed(single, *losses[:, events.taught]) == expected
    if "stepd" in detector:
        assert expected
    states = [watch.get_state() for watch in (whole, parts, single)]
    assert all(state.keys() == states[0].keys() for state in states)
    if "river" not in detector:
        assert all(state[name].tobytes() == states[0][name].tobytes() for state in states for name in state)


def test_nothing_is_watched_without_a_detector():
    events, cells, proba, past, _ = answered(1)
    watch = LossWatch(None)
    assert watch.run(proba, past, events, cells) == []
    assert not watch.update(1.0, 1.0)
    assert not watch.warns
    assert watch.evidence == watch.get_state() == {}
    watch.set_state({})
