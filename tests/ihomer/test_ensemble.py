"""Ensembles that decide on label sets: what members are taught, and what is made of what they say."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import ihomer
from ihomer import IHOMERClassifier, specs
from ihomer.decision import OBJECTIVES, Decision
from ihomer.ensemble import IHOMEREnsemble
from ihomer.events import Cells, Columns
from ihomer.joint import LabelSetJoint
from ihomer.temporal import LabelPast
from learners import BaggingEnsemble, GaussianNBClassifier, LinearClassifier, MajorityClassifier, MLHATClassifier
from streams.batch import COMPLETE, Batch, Rows, Schema
from tests.contracts import ALL_STATES, assert_same_answers, assert_same_state, run, stream


def drifting(n, at, *, seed=3, n_labels=4):
    """Events whose labels depend on their features in another way from event ``at`` on."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    weights = rng.normal(size=(2, 6, n_labels))
    score = np.where(np.arange(n)[:, None] < at, x @ weights[0], x @ weights[1])
    truth = score + 0.3 * rng.normal(size=(n, n_labels)) > 1
    schema = Schema([f"x{j}" for j in range(6)], [f"y{label}" for label in range(n_labels)])
    return Batch(schema, x, Rows.from_dense(truth), np.full(n, COMPLETE, np.uint8))


@pytest.mark.parametrize("states", [(COMPLETE,), ALL_STATES], ids=["complete", "all-states"])
def test_probabilities_are_those_of_bagging(states):
    batch = stream(1, 300, states=states)
    ensemble = IHOMEREnsemble(LinearClassifier(), 3, rate=None, features=0.6)
    bagged = BaggingEnsemble(LinearClassifier(), 3, rate=None, features=0.6)
    assert run(ensemble, batch).proba.tobytes() == run(bagged, batch).proba.tobytes()


@pytest.mark.parametrize("optimise", ["balanced", "subset"])
def test_answers_are_decided_on_these_probabilities(optimise):
    batch = stream(2, 300)
    ensemble = IHOMEREnsemble(LinearClassifier(), 3, optimise=optimise)
    answers = run(ensemble, batch)
    columns, past, joint, decision = Columns(), LabelPast(), LabelSetJoint(), Decision(OBJECTIVES[optimise])
    decided = []
    for i in range(len(batch)):
        events = columns.admit(batch[i : i + 1], batch.schema, True)
        cells = Cells.all(events)
        p = answers.proba[i, columns.labels[cells.label]]
        likely = joint.run(p, past.run(events, cells)[:, 0].copy(), events, cells)
        decided.append(set(columns.labels[decision.run(p, likely, events, cells).row(0)].tolist()))
    assert [set(answers.labels.row(i).tolist()) for i in range(len(batch))] == decided
    by_threshold = BaggingEnsemble(LinearClassifier(), 3, threshold=0.5)
    assert run(by_threshold, batch).labels.indices.tolist() != answers.labels.indices.tolist()


class Weighed(MajorityClassifier):
    """A learner that notes the weights of the events that it was taught, 0 where it was told no labels."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = []

    def _run(self, batch, learn):
        if learn:
            weight = np.ones(len(batch)) if batch.weight is None else batch.weight
            self.weights += np.where(batch.label_state == COMPLETE, weight, 0.0).tolist()
        return super()._run(batch, learn)


def test_events_weigh_one_on_average():
    batch = drifting(2000, 2000)
    ensemble = IHOMEREnsemble(Weighed(), 3, rate=2.0, detector=None)
    bagged = BaggingEnsemble(Weighed(), 3, rate=2.0, detector=None)
    for model, unit in ((ensemble, 0.5), (bagged, 1.0)):
        run(model, batch)
        first, *others = (np.array(member.weights) for member in model.members_)
        assert (first == 1).all()
        for weights in others:
            assert len(weights) == 2000
            assert set(weights / unit) <= set(range(20))
            assert len(set(weights)) > 6
            assert weights.mean() == pytest.approx(2 * unit, rel=0.1)


def test_one_member_says_what_the_classifier_says():
    batch = stream(3, 300, states=ALL_STATES)
    alone, single = IHOMEREnsemble(n_members=1, detector=None), IHOMERClassifier()
    a, b = run(alone, batch), run(single, batch)
    assert a.proba.tobytes() == b.proba.astype(np.float32).tobytes()
    same = (a.labels.to_dense(5) == b.labels.to_dense(5)).all(1)
    assert same.mean() > 0.98


def test_the_joint_keeps_sets_together():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(600, 1)).astype(np.float32)
    kind = (x[:, 0] + 0.7 * rng.normal(size=600) > 0).astype(int)
    truth = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])[kind]
    batch = Batch.from_arrays(x, truth)
    answers = run(IHOMEREnsemble(LinearClassifier(), 3, optimise="subset"), batch).labels.to_dense(4)[100:]
    assert (answers[:, 0] == answers[:, 1]).mean() > 0.97
    assert (answers[:, 0] != answers[:, 2]).mean() > 0.97


def test_members_are_replaced_and_any_cut_and_a_saved_one_give_the_same():
    batch = drifting(700, 300)
    one, many = (IHOMEREnsemble(GaussianNBClassifier(), 3, detector="stepd") for _ in range(2))
    expected = run(one, batch)
    assert any(event["kind"] == "replacement" for event in one.events_)
    assert_same_answers(one, expected, many, run(many, batch, (1, 5, 64, 100, 340, 390, 391, 500, 620)))
    assert_same_state(one, many)
    going = IHOMEREnsemble(GaussianNBClassifier(), 3, detector="stepd")
    run(going, batch[:400])
    restored = IHOMEREnsemble(GaussianNBClassifier(), 3, detector="stepd")
    restored.set_state(going.get_state())
    for other in (restored, pickle.loads(pickle.dumps(going)), copy.deepcopy(going)):
        assert_same_answers(one, expected[400:], other, other.test_then_train(batch[400:]))
        assert_same_state(one, other)


def test_the_joint_forgets_with_members():
    batch = drifting(700, 300)
    model = IHOMEREnsemble(GaussianNBClassifier(), 2, detector="stepd", background=False)
    run(model, batch[:300])
    before = model.get_state()["joint/shared"]["learned"][0]
    run(model, batch[300:])
    n_replaced = sum(event["kind"] == "replacement" for event in model.events_)
    assert n_replaced > 0
    assert before == 300
    assert 0 < model.get_state()["joint/shared"]["learned"][0] < 700 - 100 * n_replaced


def test_replacing_members_helps_after_an_abrupt_drift():
    batch, at = drifting(2000, 1000), 1000
    staying, replacing = (IHOMEREnsemble(GaussianNBClassifier(), 3, detector=name) for name in (None, "adwin"))
    wrong = [
        (run(model, batch).labels.to_dense(4) != batch.y.to_dense(4))[at:].mean() for model in (staying, replacing)
    ]
    assert {event["kind"] for event in replacing.events_} >= {"background", "replacement"}
    assert wrong[1] < 0.8 * wrong[0]


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"n_members must be at least 1, got 0"):
        IHOMEREnsemble(n_members=0)
    with pytest.raises(ValueError, match=r"optimise must be one of .*, or five weights, got 'all'"):
        IHOMEREnsemble(optimise="all")


def test_it_is_known_by_name():
    model = specs.build("ihomer-ensemble:prototype=mlhat,n_members=2,optimise=f1", seed=3)
    assert isinstance(model, IHOMEREnsemble)
    assert isinstance(model.prototype, MLHATClassifier)
    assert (model.n_members, model.optimise, model.seed) == (2, "f1", 3)
    assert isinstance(ihomer.ensemble.IHOMEREnsemble().members_[0], IHOMERClassifier)
