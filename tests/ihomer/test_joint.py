"""The distribution over label sets against its twin."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from ihomer.events import Cells, Columns
from ihomer.joint import LONGEST, N_PASSED, N_SETS, LabelSetJoint, Likely
from streams.batch import COMPLETE, Batch, Rows
from tests import contracts
from tests.naive import ihomer_joint as naive


def labelled(seed, n=200, n_labels=6, states=contracts.ALL_STATES):
    batch = contracts.stream(seed, n=n, n_labels=n_labels, states=states)
    return batch, Columns().admit(batch, batch.schema, True)


def shortened(seed, cells):
    """Some of the cells, those of present labels among them, and of these not all asked."""
    rng = np.random.default_rng(seed)
    n = len(cells.label)
    kept = (rng.random(n) < 0.7) | (cells.target == 1)
    ends = np.concatenate([[0], np.cumsum(kept)])
    asked = cells.asked & (rng.random(n) < 0.9)
    return Cells(ends[cells.start], cells.label[kept], cells.target[kept], asked[kept])


def numbers(seed, cells, *, tied=False):
    """Probabilities that know something of the truth, some of them extreme, and logits of priors."""
    rng = np.random.default_rng(seed)
    n = len(cells.label)
    proba = np.clip(0.1 + 0.6 * np.nan_to_num(cells.target) + rng.normal(0, 0.2, n), 0, 1)
    if tied:
        proba = np.round(proba * 2) / 2
    proba[~cells.asked] = np.nan
    prior = np.where(tied, 0.0, rng.normal(-1, 1, n)).astype(np.float32)
    return proba, prior


def part_of(cells, low, high):
    a, b = cells.start[low], cells.start[high]
    return Cells(cells.start[low : high + 1] - a, cells.label[a:b], cells.target[a:b], cells.asked[a:b])


def sets_of(likely, i):
    """Likely sets of event ``i`` and their mass."""
    return {
        frozenset(likely.members[i, place, : likely.size[i, place]].tolist()): mass
        for place, mass in enumerate(likely.mass[i].tolist())
        if mass > 0
    }


def check_against_twin(joint, twin, proba, prior, events, cells):
    likely = joint.run(proba, prior, events, cells)
    for i in range(len(events.state)):
        places = [cell for cell in range(cells.start[i], cells.start[i + 1]) if cells.asked[cell]]
        p = {int(cells.label[cell]): float(proba[cell]) for cell in places}
        mass = twin.answer(p, {int(cells.label[cell]): float(prior[cell]) for cell in places})
        best = sorted(mass.values(), reverse=True)[:N_PASSED]
        assert likely.mass[i] == pytest.approx(best + [0.0] * (N_PASSED - len(best)), abs=1e-9)
        for labels, share in sets_of(likely, i).items():
            assert mass[labels] == pytest.approx(share, abs=1e-9)
        if events.taught[i] and events.state[i] == COMPLETE:
            labels = set(events.present[events.present_start[i] : events.present_start[i + 1]].tolist())
            overlooked = {label for label in labels if label < events.born[i]} - p.keys()
            twin.learn(p, labels, overlooked, events.weight[i])
    assert joint.novelty == pytest.approx(twin.novelty)
    assert joint.get_state()["shared"]["mixture"][0] == pytest.approx(twin.logs)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("states", [(COMPLETE,), contracts.ALL_STATES])
def test_likely_sets_equal_twin(short, tied, states):
    _, events = labelled(1, states=states)
    cells = Cells.all(events)
    cells = shortened(2, cells) if short else cells
    proba, prior = numbers(3, cells, tied=tied)
    check_against_twin(LabelSetJoint(), naive.Joint(N_SETS), proba, prior, events, cells)


def test_rarest_set_makes_room_for_a_new_one():
    rng = np.random.default_rng(4)
    rare = [sorted(rng.choice(np.arange(1, 60), rng.integers(2, 4), replace=False).tolist()) for _ in range(560)]
    sets = [item for labels in rare for item in (labels, [0], [])]
    sets[498] = list(range(LONGEST + 1))
    events = admitted(sets)
    cells = Cells.all(events)
    proba, prior = numbers(5, cells)
    joint = LabelSetJoint()
    check_against_twin(joint, naive.Joint(N_SETS), proba, prior, events, cells)
    state = joint.get_state()
    assert len(state["sets"]) == N_SETS
    assert state["sets"]["size"].max() == 3, f"a set of more than {LONGEST} labels is not kept"
    assert np.sort(state["sets"]["count"])[-2:].tolist() == [560, 560]


def admitted(sets):
    rows = sets if isinstance(sets, Rows) else Rows.from_lists(sets)
    batch = Batch.from_arrays(np.zeros((len(sets), 1)), rows)
    return Columns().admit(batch, batch.schema, True)


def lists_of(state):
    """The sets of each list."""
    found = {}
    for place, row in enumerate(state["first"].tolist()):
        found[place] = []
        while row >= 0:
            found[place].append(row)
            row = int(state["sets"]["next"][row])
    return found


def test_every_set_is_filed_once_under_one_of_its_labels():
    rng = np.random.default_rng(6)
    # Which labels are rare changes half-way.
    early, late = np.r_[np.full(20, 0.02), np.full(20, 0.15)], np.r_[np.full(20, 0.15), np.full(20, 0.02)]
    events = admitted(Rows.from_dense(np.concatenate([rng.random((600, 40)) < share for share in (early, late)])))
    cells = Cells.all(events)
    joint = LabelSetJoint()
    joint.run(*numbers(7, cells), events, cells)
    state = joint.get_state()
    lists = lists_of(state)
    assert sorted(itertools.chain(*lists.values())) == list(range(N_SETS))
    for place, rows in lists.items():
        for row in rows:
            members = state["sets"]["members"][row, : state["sets"]["size"][row]].tolist()
            assert state["sets"]["filed"][row] == place
            assert place - 1 in members if members else place == 0


def test_a_set_that_comes_again_is_filed_under_what_is_rarest_by_then():
    events = admitted([[0, 1], [1], [1], [0, 1], [0], [0], [0], [0], [0, 1]])
    cells = Cells.all(events)
    joint, filed = LabelSetJoint(), []
    proba, prior = numbers(8, cells)
    columns = Columns()
    batch = Batch.from_arrays(np.zeros((9, 1)), Rows.from_lists([[0, 1], [1], [1], [0, 1], [0], [0], [0], [0], [0, 1]]))
    for i in range(9):
        one = columns.admit(batch[i : i + 1], batch.schema, True)
        span = slice(cells.start[i], cells.start[i + 1])
        joint.run(proba[span], prior[span], one, part_of(cells, i, i + 1))
        filed.append(int(joint.get_state()["sets"]["filed"][0]))
    assert filed == [1, 1, 1, 1, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("short", [False, True])
def test_cuts_and_saving_change_nothing(short):
    batch, events = labelled(9, n=150)
    cells = Cells.all(events)
    cells = shortened(10, cells) if short else cells
    proba, prior = numbers(11, cells)
    whole = LabelSetJoint()
    expected = whole.run(proba, prior, events, cells)
    columns, model, found = Columns(), LabelSetJoint(), []
    for low, high in itertools.pairwise([0, 1, 2, 3, 40, 41, 41, 149, 150]):
        part = columns.admit(batch[low:high], batch.schema, True)
        span = slice(cells.start[low], cells.start[high])
        found.append(model.run(proba[span], prior[span], part, part_of(cells, low, high)))
        again = LabelSetJoint()
        again.set_state(model.get_state())
        model = pickle.loads(pickle.dumps(again))
    for name, array in zip(Likely._fields, map(np.concatenate, zip(*found, strict=True)), strict=True):
        assert (array == getattr(expected, name)).all(), name
    for name, array in whole.get_state().items():
        assert (array == model.get_state()[name]).all(), name


def test_predicting_teaches_nothing():
    batch, events = labelled(12)
    cells = Cells.all(events)
    joint = LabelSetJoint()
    joint.run(*numbers(13, cells), events, cells)
    before = joint.get_state()
    still = events._replace(taught=np.zeros(len(batch), bool), born=np.full(len(batch) + 1, events.born[-1]))
    joint.run(*numbers(14, Cells.all(still)), still, Cells.all(still))
    assert all((array == before[name]).all() for name, array in joint.get_state().items())


def test_single_precision_will_do():
    _, events = labelled(15)
    cells = Cells.all(events)
    proba, prior = numbers(16, cells)
    proba = proba.astype(np.float32)
    single = LabelSetJoint().run(proba, prior, events, cells)
    double = LabelSetJoint().run(proba.astype(np.float64), prior, events, cells)
    assert single.mass == pytest.approx(double.mass, abs=1e-12)


def test_hundreds_of_unlikely_labels_leave_finite_numbers():
    events = admitted(Rows.from_dense(np.random.default_rng(17).random((30, 400)) < 0.05))
    cells = Cells.all(events)
    for p in (0.0, 1.0):
        joint = LabelSetJoint()
        likely = joint.run(np.full(len(cells.label), p), np.zeros(len(cells.label), np.float32), events, cells)
        assert np.isfinite(likely.mass).all()
        assert np.isfinite(joint.get_state()["shared"]["mixture"]).all()


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_forgetting_goes_back_towards_the_start(share):
    batch, _ = labelled(18)
    columns, joint, twin = Columns(), LabelSetJoint(), naive.Joint(N_SETS)
    for half in (batch[:100], batch[100:]):
        events = columns.admit(half, batch.schema, True)
        cells = Cells.all(events)
        check_against_twin(joint, twin, *numbers(19, cells), events, cells)
        before = joint.get_state()
        joint.forget(share)
        twin.forget(share)
        after = joint.get_state()
        assert after["sets"]["count"] == pytest.approx((1 - share) * before["sets"]["count"])
        if share == 1:
            assert joint.novelty == LabelSetJoint().novelty
            assert (after["shared"]["mixture"] == 0).all()


@pytest.mark.parametrize("share", [-0.1, 1.5, np.nan])
def test_more_than_all_cannot_be_forgotten(share):
    with pytest.raises(ValueError, match=f"share must be from 0 to 1, got {share}"):
        LabelSetJoint().forget(share)
