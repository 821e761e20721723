"""Online bagging: what members see, how often they learn, how they vote, and when they are replaced."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import drift
import learners
from drift import ADWIN, FHDDM, STEPD
from ihomer import specs
from learners import (
    BaggingEnsemble,
    ClassifierChain,
    GaussianNBClassifier,
    KNNClassifier,
    LinearClassifier,
    MajorityClassifier,
    MLHATClassifier,
    NoChangeClassifier,
)
from learners.bagging import LIFE, PATIENCE
from learners.draws import lots, named, poissons
from streams.batch import COMPLETE, NOMINAL, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from tests.contracts import ALL_STATES, assert_same_answers, assert_same_state, run
from tests.naive.learners_bagging import NaiveBagging, lot, name_number, times

NAMES = [f"y{label}" for label in range(4)]


def drifting(n, at, *, seed=1, states=(COMPLETE,), missing=0.0, sparse=False, n_labels=4):
    """Events whose labels depend on their features in another way from event ``at`` on."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    weights = rng.normal(size=(2, 6, n_labels))
    truth = (
        np.where(np.arange(n)[:, None] < at, x @ weights[0], x @ weights[1]) + 0.3 * rng.normal(size=(n, n_labels)) > 1
    )
    x[rng.random(x.shape) < missing] = 0 if sparse else np.nan
    state = rng.choice(np.array(states, np.uint8), n)
    known = (rng.random(truth.shape) < 0.6) & (state == PARTIAL)[:, None]
    truth &= (state == COMPLETE)[:, None] | known
    schema = Schema([f"x{j}" for j in range(6)], [f"y{label}" for label in range(n_labels)], sparse=sparse)
    features = Rows.from_dense(x, values=True) if sparse else x
    partly = Rows.from_dense(known) if PARTIAL in states else None
    return Batch(schema, features, Rows.from_dense(truth), state, partly, rng.choice([0.5, 1.0, 2.0], n))


def as_dicts(batch):
    """Events as the naive twin wants them, and their weights."""
    schema, present = batch.schema, batch.y.to_dense(4)
    known = np.zeros((len(batch), 4)) if batch.known is None else batch.known.to_dense(4)
    for i in range(len(batch)):
        x = {name: None if np.isnan(v) else float(v) for name, v in zip(schema.feature_names, batch.x[i], strict=True)}
        state, y = batch.label_state[i], None
        if state != UNLABELLED:
            seen = [state == COMPLETE or known[i, label] > 0 for label in range(4)]
            y = {name: bool(present[i, j]) if seen[j] else None for j, name in enumerate(NAMES)}
        yield x, y, float(batch.weight[i])


SETTINGS = {
    "default": {},
    "subspaces": {"rate": 1.0, "features": 0.5, "labels": 0.5, "threshold": "f1", "seed": 5},
    "at-once": {"rate": 2.5, "background": False, "detector": "stepd"},
    "whole": {"rate": None, "features": 1.0, "detector": None},
}
TWIN_DETECTORS = {"adwin": ADWIN, "stepd": STEPD, None: None}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("states", [(COMPLETE,), ALL_STATES], ids=["complete", "all-states"])
@pytest.mark.parametrize("prototype", [LinearClassifier(), NoChangeClassifier()], ids=["linear", "no-change"])
def test_it_does_what_the_description_says_event_by_event(settings, states, prototype):
    batch = drifting(640, 320, seed=3, states=states, missing=0.1)
    given = {
        "rate": 6.0, "features": 0.7, "labels": 1.0, "threshold": 0.4, "detector": "adwin", "background": True,
        "seed": 0, **settings,
    }  # fmt: skip
    model = BaggingEnsemble(prototype, 3, **given)
    naive = NaiveBagging(lambda number: prototype.clone(), 3, **given | {"detector": TWIN_DETECTORS[given["detector"]]})
    answers = run(model, batch)
    decided = answers.labels.to_dense(4)
    for i, (x, y, w) in enumerate(as_dicts(batch)):
        told = naive.answer(x)
        limit = naive.hits / naive.claims if given["threshold"] == "f1" else given["threshold"]
        for j, name in enumerate(NAMES):
            p, is_in = told.get(name, (0.0, False))
            assert answers.proba[i, j] == pytest.approx(p, rel=1e-5, abs=1e-7), (i, name)
            assert decided[i, j] == is_in or abs(p - limit) < 1e-6, (i, name)
        naive.learn(x, y, w)
    assert [tuple(event.values()) for event in model.events_] == naive.events
    if given["detector"] is not None and prototype.__class__ is LinearClassifier and states == (COMPLETE,):
        assert "replacement" in {event["kind"] for event in model.events_}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("background", [False, True], ids=["at-once", "background"])
@pytest.mark.parametrize(
    "prototype",
    [LinearClassifier(), ClassifierChain("random", 2), MLHATClassifier(window=30, grace_period=50)],
    ids=["linear", "chain", "tree"],
)
def test_one_batch_equals_many_and_a_saved_one_goes_on_from_anywhere(prototype, background, sparse):
    batch = drifting(800, 300, states=ALL_STATES, missing=0.3, sparse=sparse)

    def make():
        return BaggingEnsemble(prototype, 3, detector=STEPD(threshold=2.5), background=background, labels=0.6)

    one, many = make(), make()
    expected = run(one, batch)
    assert any(event["kind"] == "replacement" for event in one.events_)
    cuts = (1, 2, 9, 63, 64, 130, 390, 410, 430, 450, 470, 500, 560, 641)
    assert_same_answers(one, expected, many, run(many, batch, cuts))
    assert_same_state(one, many)
    going, last = make(), 0
    for cut in (100, 400, 440, 480, 520):
        run(going, batch[last:cut])
        last = cut
        restored = make()
        restored.set_state(going.get_state())
        for other in (restored, pickle.loads(pickle.dumps(going)), copy.deepcopy(going)):
            assert_same_state(going, other)
            rest = other.test_then_train(batch[cut:])
            assert_same_answers(one, expected[cut:], other, rest)
            assert_same_state(one, other)
            assert other.events_ == one.events_


def losses(model, batch, *, block=200):
    wrong = run(model, batch).labels.to_dense(4) != batch.y.to_dense(4)
    return wrong.mean(1).reshape(-1, block).mean(1)


@pytest.mark.parametrize("background", [False, True], ids=["at-once", "background"])
@pytest.mark.parametrize("prototype", [LinearClassifier(), GaussianNBClassifier()], ids=["linear", "naive-bayes"])
def test_members_are_replaced_after_an_abrupt_drift_and_that_helps(prototype, background):
    batch, at = drifting(4000, 2000, seed=3), 2000
    staying = BaggingEnsemble(prototype, 5, detector=None)
    replacing = BaggingEnsemble(prototype, 5, background=background)
    without, with_ = losses(staying, batch), losses(replacing, batch)
    assert staying.events_ == []
    changed = [event for event in replacing.events_ if event["kind"] == "replacement"]
    assert len({event["member"] for event in changed}) >= 2
    assert all(at < event["event"] < at + 1500 for event in changed)
    assert with_[:10] == pytest.approx(without[:10])
    assert with_[10:].mean() < 0.8 * without[10:].mean()
    assert min(event["number"] for event in changed) >= 5
    if background:
        begun = {event["number"]: event["event"] for event in replacing.events_ if event["kind"] == "background"}
        assert all(event["event"] - begun[event["number"]] >= PATIENCE for event in changed)


def test_nobody_is_replaced_for_having_improved_or_without_a_drift():
    steady = drifting(4000, 4000, seed=4)
    model = BaggingEnsemble(LinearClassifier(), 5)
    run(model, steady)
    assert not [event for event in model.events_ if event["kind"] == "replacement"]
    noisy = drifting(3000, 3000, seed=4)
    shuffled = noisy.y.take(np.concatenate([np.random.default_rng(0).permutation(1500), np.arange(1500, 3000)]))
    easier = Batch(noisy.schema, noisy.x, shuffled, noisy.label_state)
    model = BaggingEnsemble(LinearClassifier(), 3, detector=ADWIN(0.01))
    run(model, easier)
    fell = run(BaggingEnsemble(LinearClassifier(), 1, detector=None), easier)
    wrong = (fell.labels.to_dense(4) != easier.y.to_dense(4)).mean(1)
    detector = ADWIN(0.01)
    assert len(detector.update_many(wrong)) > 0, "the detector alarms where the loss falls"
    assert not [event for event in model.events_ if event["event"] > 1500]


class AtOnce:
    """A detector that alarms once, at the first value after so many."""

    def __init__(self, at):
        self.at, self.n = at, 0

    def update_many(self, values):
        start, self.n = self.n, self.n + len(values)
        return np.flatnonzero(np.arange(start, self.n) == self.at)

    def get_state(self):
        return {"n": np.array([self.n])}

    def set_state(self, state):
        self.n = int(state["n"][0])

    def clone(self):
        return AtOnce(self.at)


def test_a_background_member_that_is_not_better_is_given_up():
    first = np.ones(2400, bool)
    first[150:192] = np.arange(42) % 2  # the loss of those who say what was before rises, and falls again
    batch = Batch.from_arrays(np.zeros((2400, 1)), np.stack([first, ~first], 1))
    model = BaggingEnsemble(NoChangeClassifier(), 2, rate=None, detector=AtOnce(170))
    run(model, batch[:200])
    assert sorted(model.backgrounds_) == [0, 1]
    run(model, batch[200:])
    begun, dropped = model.events_[:2], model.events_[2:]
    assert begun == [{"event": 192, "kind": "background", "member": k, "number": 2 + k} for k in (0, 1)]
    assert dropped == [{"event": 192 + LIFE, "kind": "dropped", "member": k, "number": 2 + k} for k in (0, 1)]
    assert model.backgrounds_ == {}


def test_without_a_background_the_worst_of_those_that_alarmed_goes_at_once():
    batch = drifting(400, 130)
    model = BaggingEnsemble(LinearClassifier(), 4, features=0.5, detector=AtOnce(180), background=False)
    run(model, batch[:191])
    recent = model.get_state()["voters"]["loss"][:4] / model.get_state()["voters"]["mass"][:4]
    worst = int(np.argmax(recent))
    run(model, batch[191:192])
    assert model.events_ == [{"event": 192, "kind": "replacement", "member": worst, "number": 4}]
    assert model.members_[worst].events_ == []
    assert model.get_state()["voters"]["n"].tolist()[worst] == 0


def test_members_see_their_features_and_no_others():
    n_features = 200
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, n_features)).astype(np.float32)
    truth = x[:, :3] > 0.3
    model = BaggingEnsemble(LinearClassifier(), 5, features=0.3, detector=None, seed=2)
    batch = Batch.from_arrays(x, truth)
    run(model, batch)
    names = [set(member.schema_.feature_names) for member in model.members_]
    assert names[0] == set(batch.schema.feature_names)
    for number in range(1, 5):
        expected = {name for name in batch.schema.feature_names if lot(2, number, name) < 0.3}
        assert names[number] == expected
        assert abs(len(expected) - 60) < 25
    assert len({frozenset(seen) for seen in names}) == 5
    unseen = [j for j in range(n_features) if f"x{j}" not in names[3]]
    other = x.copy()
    other[:, unseen] = rng.normal(size=(300, len(unseen)))
    changed = BaggingEnsemble(LinearClassifier(), 5, features=0.3, detector=None, seed=2)
    run(changed, Batch.from_arrays(other, truth))
    assert_same_state(model.members_[3], changed.members_[3])
    assert model.members_[2].get_state()["weights"].tobytes() != changed.members_[2].get_state()["weights"].tobytes()


def test_a_new_member_has_a_subspace_of_its_own_and_the_labels_of_the_other():
    batch = drifting(3000, 1000, seed=6)
    model = BaggingEnsemble(GaussianNBClassifier(), 4, features=0.5, labels=0.5, detector="stepd")
    run(model, batch[:1000])
    before = [(set(m.schema_.feature_names), set(m.schema_.label_names)) for m in model.members_]
    run(model, batch[1000:])
    after = [(set(m.schema_.feature_names), set(m.schema_.label_names)) for m in model.members_]
    changed = {event["member"]: event["number"] for event in model.events_ if event["kind"] == "replacement"}
    assert len(changed) >= 2
    assert [labels for _, labels in after] == [labels for _, labels in before]
    for place, number in changed.items():
        seen = {name for name in batch.schema.feature_names if place == 0 or lot(0, number, name) < 0.5}
        assert after[place][0] == seen
    assert any(after[place][0] != before[place][0] for place in changed)


def test_order_and_emergence_of_names_change_nothing_for_a_member():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(200, 8)).astype(np.float32)
    truth = x[:, :4] > 0.2
    order = rng.permutation(8)
    names = [f"x{j}" for j in range(8)]
    whole = BaggingEnsemble(LinearClassifier(), 4, labels=0.5)
    answers = run(whole, Batch.from_arrays(x, truth))
    moved = BaggingEnsemble(LinearClassifier(), 4, labels=0.5)
    schema = Schema([names[j] for j in order], ["y3", "y1", "y0", "y2"])
    labels = Rows.from_dense(truth[:, [3, 1, 0, 2]])
    again = run(moved, Batch(schema, x[:, order], labels, np.full(200, COMPLETE, np.uint8)))
    assert again.proba[:, [2, 1, 3, 0]] == pytest.approx(answers.proba, abs=1e-5)
    for a, b in zip(whole.members_, moved.members_, strict=True):
        assert set(a.schema_.feature_names) == set(b.schema_.feature_names)
        assert set(a.schema_.label_names) == set(b.schema_.label_names)
    late = BaggingEnsemble(LinearClassifier(), 4, labels=0.5)
    for i in range(200):
        event = dict(zip(names, x[i].tolist(), strict=True)) if i else {"x3": float(x[0, 3])}
        late.learn_one(event, dict(zip(NAMES, truth[i].tolist(), strict=True)))
    for a, b in zip(whole.members_, late.members_, strict=True):
        assert set(a.schema_.feature_names) == set(b.schema_.feature_names)


def test_every_label_has_a_member_and_the_share_holds():
    rng = np.random.default_rng(8)
    truth = rng.random((200, 60)) < 0.5
    model = BaggingEnsemble(MajorityClassifier(), 6, labels=0.2, detector=None)
    run(model, Batch.from_arrays(np.zeros((200, 1)), truth))
    held = [set(member.schema_.label_names) for member in model.members_]
    assert len(held[0]) == 60
    assert 36 < sum(len(names) for names in held[1:]) < 84
    answer = model.predict_batch(Batch.from_arrays(np.zeros((1, 1)), truth[:1]))
    assert (answer.proba[0] > 0.2).all()


@pytest.mark.parametrize(
    "prototype",
    [LinearClassifier(), KNNClassifier(window=50), MLHATClassifier(grace_period=50, seed=3)],
    ids=["linear", "knn", "tree"],
)
def test_one_member_is_the_prototype(prototype):
    batch = drifting(500, 500, states=ALL_STATES, missing=0.1)
    alone, single = BaggingEnsemble(prototype, 1, detector=None), prototype.clone()
    assert run(alone, batch).proba.tobytes() == run(single, batch).proba.astype(np.float32).tobytes()
    assert_same_state(alone.members_[0], single)


def test_members_alike_are_the_prototype():
    batch = drifting(500, 500, states=ALL_STATES, missing=0.1)
    alike = BaggingEnsemble(LinearClassifier(threshold=0.4), 4, rate=None, features=1.0, detector=None)
    single = LinearClassifier(threshold=0.4)
    assert_same_answers(alike, run(alike, batch), single, run(single, batch))
    for member in alike.members_:
        assert_same_state(member, single)


def test_a_member_without_probabilities_votes_with_its_labels():
    batch = drifting(300, 300)
    model = BaggingEnsemble(NoChangeClassifier(), 3, rate=0.7, threshold=0.5, detector=None)
    assert model.members_[0].test_then_train(batch[:0]).proba is None
    proba = run(model, batch).proba
    assert ((proba >= 0) & (proba <= 1)).all()
    assert ((proba > 0) & (proba < 1)).any()
    alone = BaggingEnsemble(NoChangeClassifier(), 1, threshold=0.5, detector=None)
    assert set(run(alone, batch).proba.ravel().tolist()) == {0.0, 1.0}


def test_the_better_member_has_the_say():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(1500, 2)).astype(np.float32)
    batch = Batch.from_arrays(x, x[:, :1] > 0.5)
    blind = next(seed for seed in range(100) if lot(seed, 1, "x0") >= 0.5 > lot(seed, 1, "x1"))
    model = BaggingEnsemble(LinearClassifier(), 2, features=0.5, detector=None, seed=blind)
    run(model, batch)
    proba = model.predict_batch(batch[-500:]).proba
    single = LinearClassifier()
    run(single, batch)
    assert model.members_[1].schema_.feature_names == ["x1"]
    assert np.abs(proba - single.predict_batch(batch[-500:]).proba).max() < 0.02


def test_seeds_draw_differently_and_members_have_seeds_of_their_own():
    batch = drifting(300, 300)
    a, b = (BaggingEnsemble(LinearClassifier(), 3, seed=seed) for seed in (0, 1))
    assert run(a, batch).proba.tobytes() != run(b, batch).proba.tobytes()
    assert [m.seed for m in BaggingEnsemble(MLHATClassifier(seed=7), 3).members_] == [7, 8, 9]
    assert isinstance(BaggingEnsemble().members_[0], MLHATClassifier)


@pytest.mark.parametrize("rate", [0.1, 1.0, 6.0, 100.0])
def test_poisson_numbers(rate):
    drawn = np.zeros(20_000, np.int64)
    poissons(3, 2, 0, rate, drawn)
    assert drawn.mean() == pytest.approx(rate, rel=0.05)
    assert drawn.var() == pytest.approx(rate, rel=0.06)
    assert drawn[:300].tolist() == [times(3, 2, event, rate) for event in range(300)]
    later, other = np.zeros(100, np.int64), np.zeros(20_000, np.int64)
    poissons(3, 2, 500, rate, later)
    assert later.tolist() == drawn[500:600].tolist()
    poissons(3, 1, 0, rate, other)
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.03


def test_lots_are_drawn_by_name():
    names = ["x", "y", 1, 2.5, -3, ""]
    numbers = named(names)
    assert numbers.tolist() == [name_number(name) for name in names]
    assert numbers[0] == 5717441744405258058
    assert named([1, 1.0, True]).tolist() == [named([1])[0]] * 3
    assert named(["1"])[0] != named([1])[0]
    assert lots(9, 4, numbers).tolist() == [lot(9, 4, name) for name in names]
    assert len(named([])) == 0
    many = lots(0, 1, named([f"w{i}" for i in range(20_000)]))
    assert np.histogram(many, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), rel=0.1)


def test_categories_kinds_and_ignored_columns_reach_the_members():
    model = BaggingEnsemble(GaussianNBClassifier(), 3, features=0.99)
    model.learn_one({"colour": "red", "row": 1.0}, {"a": True})
    model.learn_one({"colour": "blue", "row": 2.0, "late": "no"}, {"a": False})
    model.schema_.ignored.add(model.schema_.find_feature("row"))
    model.learn_one({"colour": "green", "row": 3.0, "late": "yes"}, {"a": True, "b": True})
    for member in model.members_:
        schema = member.schema_
        column = schema.find_feature("colour")
        assert schema.kinds[column] == NOMINAL
        assert schema.categories[column] == ["red", "blue", "green"]
        assert schema.categories[schema.find_feature("late")] == ["no", "yes"]
        assert schema.ignored == {schema.find_feature("row")}
        assert schema.label_names == ["a", "b"]


def test_a_member_without_features_is_no_harm():
    batch = drifting(300, 300)
    model = BaggingEnsemble(LinearClassifier(), 3, features=1e-9)
    proba = run(model, batch).proba
    assert [member.schema_.n_features for member in model.members_] == [6, 0, 0]
    assert np.isfinite(proba).all()


@pytest.mark.parametrize("name", drift.LOSS)
def test_detectors_by_name(name):
    batch = drifting(3000, 1500, seed=3)
    model = BaggingEnsemble(GaussianNBClassifier(), 2, detector=name)
    run(model, batch)
    restored = BaggingEnsemble(GaussianNBClassifier(), 2, detector=name)
    restored.set_state(model.get_state())
    assert_same_state(model, restored)
    if name in ("adwin", "fhddm", "hddm-a", "stepd", "page-hinkley", "kswin"):
        assert any(event["event"] > 1500 for event in model.events_)


def test_fhddm_is_told_of_right_answers():
    batch = drifting(3000, 1500, seed=3)
    model = BaggingEnsemble(GaussianNBClassifier(), 2, detector=FHDDM())
    run(model, batch)
    assert model.events_
    assert all(event["event"] > 1500 for event in model.events_)


def test_bad_settings_are_refused():
    for settings, message in (
        ({"n_members": 0}, r"n_members must be at least 1, got 0"),
        ({"rate": 0.0}, r"rate must be in \(0, 100\] or None, got 0.0"),
        ({"rate": 101}, r"rate must be in \(0, 100\] or None, got 101"),
        ({"rate": float("nan")}, r"rate must be in \(0, 100\] or None, got nan"),
        ({"features": 0}, r"features must be in \(0, 1\], got 0"),
        ({"labels": 1.5}, r"labels must be in \(0, 1\], got 1.5"),
        ({"threshold": 1.0}, r"threshold must be in \(0, 1\) or 'f1', got 1.0"),
        ({"detector": "radar"}, r"detector must be one of adwin, .*stepd, got 'radar'"),
    ):
        with pytest.raises(ValueError, match=message):
            BaggingEnsemble(LinearClassifier(), **settings)
    for detector in (3, STEPD):
        with pytest.raises(TypeError, match=r"detector must be a name or a detector of the room drift, got "):
            BaggingEnsemble(LinearClassifier(), detector=detector)


def test_it_is_known_by_name():
    model = specs.build("bagging:prototype=linear:l2=0.1,n_members=3,detector=none,rate=none", seed=4)
    assert isinstance(model, learners.BaggingEnsemble)
    assert (model.prototype.l2, model.n_members, model.detector, model.rate, model.seed) == (0.1, 3, None, None, 4)
    assert specs.describe("bagging")["parameters"][0]["name"] == "prototype"


def test_cuts_of_single_events_change_nothing_around_a_drift():
    batch = drifting(400, 200, seed=2)
    one, many = (BaggingEnsemble(LinearClassifier(), 2, detector="stepd") for _ in range(2))
    expected = run(one, batch)
    single = Prediction.concat([many.test_then_train(batch[i : i + 1]) for i in range(400)])
    assert_same_answers(one, expected, many, single)
    assert_same_state(one, many)
    assert one.events_
