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
from tests.naive import drift_detectors as detectors
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
    asked = as_table(cells, cells.asked, y.shape) > 0
    return events, cells, proba, past, (as_table(cells, proba, y.shape), as_table(cells, past[:, 5], y.shape), y, asked)


def told(watch, proba, past, events, cells):
    """What the kernel tells of each event taught."""
    losses = np.empty((2, len(events.taught)))
    answer_losses(watch.arrays(), proba, past, events, cells, losses)
    return losses[:, events.taught]


@pytest.mark.parametrize("unknown", [0.0, 0.4])
def test_losses_equal_their_twin(unknown):
    events, cells, proba, past, tables = answered(1, unknown)
    relative, risen = told(LossWatch("stepd"), proba, past, events, cells)
    own, expected = np.array(naive.answer_losses(*tables))[events.taught].T
    assert relative == pytest.approx(expected, abs=1e-6)
    assert relative.min() >= 0
    assert relative.max() <= 1
    levels = [detectors.stepd(own[: i + 1].tolist(), threshold=np.inf) for i in range(len(own))]
    assert risen.tolist() == [level == detectors.WARNING for level in levels]


def test_losses_that_rise_are_said_to_have_risen():
    """Answers are good until event 150 of 300 and bad from there on."""
    events, cells, proba, past, _ = worse()
    _, risen = told(LossWatch("stepd"), proba, past, events, cells)
    begin = int(events.taught[:150].sum())
    assert risen[:begin].sum() == 0
    assert risen[begin + 10 : begin + 50].all()


def test_a_rise_is_told_from_what_came_since_the_watch_began_anew():
    events, cells, proba, past, _ = worse()
    watch = LossWatch("stepd")
    _, *early, part = part_of(events.taught, events, cells, 0, 160)
    told(watch, proba[part], past[part], *early)
    watch.begin_anew()
    _, *late, part = part_of(events.taught, events, cells, 160, 300)
    assert not told(watch, proba[part], past[part], *late)[1].any()


def test_an_event_without_cells_is_no_worse_than_rates():
    events, cells, proba, past, _ = answered(1)
    none = cells._replace(asked=np.zeros(len(cells.label), bool))
    n = int(events.taught.sum())
    assert told(LossWatch("stepd"), proba, past, events, none).tolist() == [[0.5] * n, [0.0] * n]


def worse():
    """As `answered`, with answers that are good until event 150 of 300 and bad from there on."""
    events, cells, _, past, tables = answered(3)
    event = np.repeat(np.arange(len(events.taught)), np.diff(cells.start))
    right = np.nan_to_num(tables[2])[event, cells.label]
    return events, cells, np.where(event < 150, 0.1 + 0.8 * right, 0.9 - 0.8 * right), past, tables


def feed(watch, relative, risen):
    return [i for i, (a, b) in enumerate(zip(relative, risen, strict=True)) if watch.update(a, b)]


def steps(*levels, n=300, seed=0):
    """A noisy series that has each level for so many events."""
    return np.repeat(levels, n) + np.random.default_rng(seed).normal(0, 0.01, n * len(levels))


def test_an_alarm_counts_where_losses_themselves_have_risen():
    detector, relative = STEPD(threshold=4), steps(0.4, 0.45)
    (expected,) = detector.update_many(relative)
    assert feed(LossWatch(detector), relative, np.ones(600)) == [expected]
    assert feed(LossWatch(detector), relative, np.arange(600) != expected) == []


@pytest.mark.parametrize("detector", ["stepd:threshold=4", "page-hinkley:threshold=1", "fhddm", "river:drift.ADWIN()"])
def test_one_by_one_and_from_a_saved_state_as_all_at_once(detector):
    events, cells, proba, past, _ = worse()
    whole, parts, single = LossWatch(detector), LossWatch(detector), LossWatch(detector)
    expected = whole.run(proba, past, events, cells)
    found = []
    for low, high in ((0, 1), (1, 170), (170, 171), (171, 300)):
        _, some, few, part = part_of(events.taught, events, cells, low, high)
        before = int(events.taught[:low].sum())
        found += [before + place for place in parts.run(proba[part], past[part], some, few)]
        again = LossWatch(detector)
        with trusting_pickle():
            again.set_state(parts.get_state())
        parts = again
    assert found == feed(single, *told(single, proba, past, events, cells)) == expected
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
    watch.begin_anew()
    assert not watch.warns
    assert watch.evidence == watch.get_state() == {}
    watch.set_state({})
