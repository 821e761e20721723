"""A learner for each cluster: what each is taught, who answers, and when labels change learners."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest

import ihomer
from ihomer import IHOMERClassifier
from ihomer.cluster_learners import ClusterLearners
from ihomer.hand_over import LABEL, compare
from learners import GaussianNBClassifier, KNNClassifier, LinearClassifier, MajorityClassifier, NoChangeClassifier
from streams.batch import COMPLETE, UNLABELLED, Batch, Prediction, Rows, Schema
from tests.contracts import ALL_STATES, assert_same_answers, assert_same_state, stream
from tests.naive.ihomer_cluster_learners import NaiveClusterLearners, margin

NAMES = [f"y{label}" for label in range(5)]


def of(*clusters):
    return [[f"y{label}" for label in cluster] for cluster in clusters]


CHANGES = {
    60: of((0, 1, 2, 3)),
    100: of((0, 1), (2, 3)),
    190: of((0, 1), (2, 3, 4)),
    240: of((0, 2), (1, 3, 4)),
    260: of((0, 2), (1, 3)),
    300: of((0, 2, 4), (1, 3)),
    330: of((0, 1, 2), (3, 4)),
    390: of((0, 1, 2, 3, 4)),
}
"""Clusters after so many events, less labels not born yet: label 4 comes half-way, and is in no cluster for a while."""


def play(model, batch, cuts=(), changes=CHANGES):
    """Test-then-train with changes of the clusters at their events, cut there and at ``cuts``."""
    edges = sorted({0, len(batch), *cuts, *(at for at in changes if at <= len(batch))})
    parts = []
    for low, high in itertools.pairwise(edges):
        if low in changes:
            model.restructure([[name for name in c if name in model.owners_] for c in changes[low]])
        parts.append(model.test_then_train(batch[low:high]))
    return Prediction.concat(parts)


def as_dicts(batch):
    """Events as the naive twin wants them."""
    schema, present = batch.schema, batch.y.to_dense(5)
    known = np.zeros((len(batch), 5)) if batch.known is None else batch.known.to_dense(5)
    for i in range(len(batch)):
        x = {name: None if np.isnan(v) else float(v) for name, v in zip(schema.feature_names, batch.x[i], strict=True)}
        state, y = batch.label_state[i], None
        if state != UNLABELLED:
            seen = [state == COMPLETE or known[i, label] > 0 for label in range(5)]
            y = {name: bool(present[i, j]) if seen[j] else None for j, name in enumerate(NAMES)}
        yield x, y


def unweighted(batch):
    batch.weight = None
    return batch


@pytest.mark.parametrize("replacement", ["warm", "immediate"])
@pytest.mark.parametrize("states", [(COMPLETE,), ALL_STATES])
def test_it_does_what_the_description_says_event_by_event(replacement, states):
    batch = unweighted(stream(1, 440, states=states, nominal=False))
    settings = {"min_events": 30, "half_life": 40.0, "delta": 0.2}
    model = ClusterLearners(LinearClassifier(), replacement, **settings)
    naive = NaiveClusterLearners(LinearClassifier, replacement, *settings.values())
    answers = play(model, batch)
    decided = answers.labels.to_dense(5)
    for i, (x, y) in enumerate(as_dicts(batch)):
        if i in CHANGES:
            naive.restructure([[name for name in c if name in naive.owner] for c in CHANGES[i]])
        told = naive.answer(x)
        for j, name in enumerate(NAMES):
            p, is_in = told.get(name, (0.0, False))
            assert answers.proba[i, j] == np.float32(p), (i, name)
            assert decided[i, j] == is_in
        naive.learn(x, y)
    assert model.owners_ == naive.owner
    assert model.learners_.keys() == naive.learners.keys()
    moves = {(e["event"], name, e["learner"], e["former"]) for e in model.events_ for name in e["labels"]}
    assert moves == set(naive.moves)
    assert len(moves) > 8
    assert {e["kind"] for e in model.events_} == {"hand-over"}


@pytest.mark.parametrize("is_proba", [True, False])
def test_the_comparison_equals_its_definition(is_proba):
    rng = np.random.default_rng(2)
    n, m, least, half_life, delta = 300, 40, 20, 15.0, 0.1
    target = (rng.random((n, m)) < 0.3).astype(float)
    owner, heir = rng.random((n, m)), rng.random((n, m))
    heir[:, :10] = owner[:, :10]
    owner[:, 10:25] = np.where(target[:, 10:25] > 0, 0.99, 0.01)
    owner[:, 30:35], heir[:, 30:35] = 0, 1
    heir[:, 35:] = np.where(target[:, 35:] > 0, 1.0, 0.0)
    target[rng.random((n, m)) < 0.2] = np.nan
    target[:, 3] = np.nan
    if not is_proba:
        owner, heir = np.round(owner), np.round(heir)
    labels = np.zeros(m + 5, LABEL)
    columns = np.sort(rng.permutation(m + 5)[:m])
    settings = (is_proba, least, 0.5 ** (1 / half_life), np.log(1 / delta))
    moved = compare(labels, columns, owner, heir, target, *settings)

    def loss(said, y):
        p = min(max(said if y else 1 - said, 0.001), 0.999)
        return -math.log(p) if is_proba else abs(said - y)

    for j in range(m):
        gaps, expected = [], -1
        for i in np.flatnonzero(~np.isnan(target[:, j])):
            gaps.append(loss(heir[i, j], target[i, j]) - loss(owner[i, j], target[i, j]))
            mean, allowed = margin(gaps, half_life, delta)
            if len(gaps) >= least and mean <= allowed:
                expected = i
                break
        assert moved[j] == expected, j
        if gaps:
            assert labels["mean"][columns[j]] == pytest.approx(margin(gaps, half_life, delta)[0], abs=1e-12)
        assert labels["seen"][columns[j]] == len(gaps)
    assert (moved[10:25] == -1).sum() >= 10, "owners that know are not given up"
    assert (moved[35:] >= least - 1).all()
    assert (moved >= 0).sum() >= 15


@pytest.mark.parametrize("replacement", ["warm", "immediate"])
@pytest.mark.parametrize("prototype", [LinearClassifier(), KNNClassifier(window=50), NoChangeClassifier()])
@pytest.mark.parametrize("sparse", [False, True])
def test_one_batch_equals_many_and_a_saved_one_goes_on_from_anywhere(prototype, replacement, sparse):
    batch = stream(3, 440, states=ALL_STATES, sparse=sparse)

    def make():
        return ClusterLearners(prototype, replacement, min_events=25)

    one, many = make(), make()
    expected = play(one, batch)
    assert_same_answers(one, expected, many, play(many, batch, cuts=(1, 2, 9, 119, 130, 131, 205, 206, 251, 300, 399)))
    assert_same_state(one, many)
    assert one.events_
    for stop in (110, 245, 340):
        model, later = make(), {at - stop: c for at, c in CHANGES.items() if at >= stop}
        play(model, batch[:stop], changes={at: c for at, c in CHANGES.items() if at < stop})
        assert replacement == "immediate" or (model._labels["heir"] >= 0).any(), "in the middle of a hand-over"
        restored = make()
        restored.set_state(model.get_state())
        for other in (restored, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert_same_state(model, other)
            assert_same_answers(one, expected[stop:], other, play(other, batch[stop:], changes=later))
            assert_same_state(one, other)


def blocks(seed, n, rewired=None):
    """Labels 0, 1, 2 and 3, 4, 5 depend on an input each; from event ``rewired`` on on the other one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    group = np.repeat([[0, 0, 0, 1, 1, 1]], n, 0)
    if rewired is not None:
        group[rewired:] = [1, 1, 1, 0, 0, 0]
    y = (np.take_along_axis(x, group, 1) > 0.7) & (rng.random((n, 6)) < 0.9)
    return Batch.from_arrays(x, y)


def test_every_learner_is_taught_its_own_labels_alone():
    batch = blocks(4, 600)
    model = ClusterLearners(LinearClassifier(), min_events=50)
    model.learn_batch(batch[:200])
    model.restructure(of((0, 1, 2), (3, 4, 5)))
    model.learn_batch(batch[200:])
    assert sorted(set(model.owners_.values())) == [1, 2]
    for number, columns in ((1, slice(0, 3)), (2, slice(3, 6))):
        alone = LinearClassifier()
        names = [*NAMES, "y5"]
        schema = Schema(batch.schema.feature_names, names[columns])
        later = batch[200:]
        alone.learn_batch(Batch.from_arrays(later.x, later.y.to_dense(6)[:, columns], schema=schema))
        ours = model.learners_[number]
        assert ours.schema_.label_names == names[columns]
        x = Batch.from_arrays(batch.x[:50])
        union = model.predict_batch(x)
        assert ours.predict_batch(x).proba.tobytes() == alone.predict_batch(x).proba.tobytes()
        assert union.proba[:, columns].tobytes() == alone.predict_batch(x).proba.tobytes()
        own = alone.predict_batch(x).labels.to_dense(3)
        assert (union.labels.to_dense(6)[:, columns] == own).all()
    # Most events have labels of one block only: the other block has learned their absence.
    assert 0.2 < model.predict_batch(Batch.from_arrays(batch.x)).proba[:, 0].mean() < 0.3


def test_a_cluster_that_stays_keeps_its_learner_bit_for_bit():
    batch = blocks(5, 500)
    model = ClusterLearners(LinearClassifier(), min_events=40)
    model.learn_batch(batch[:100])
    model.restructure(of((0, 1, 2), (3, 4), (5,)))
    model.learn_batch(batch[100:300])
    kept, other = model.owners_["y0"], model.owners_["y3"]
    before = {name: array.tobytes() for name, array in model.learners_[kept].get_state().items()}
    model.restructure(of((3,), (1, 0, 2), (4, 5)))
    assert {name: array.tobytes() for name, array in model.learners_[kept].get_state().items()} == before
    assert model.owners_["y3"] == other, "the former owner answers"
    model.learn_batch(batch[300:])
    alone = ClusterLearners(LinearClassifier(), min_events=40)
    alone.learn_batch(batch[:100])
    alone.restructure(of((0, 1, 2), (3, 4), (5,)))
    alone.learn_batch(batch[100:])
    assert_same_state(model.learners_[kept], alone.learners_[kept])
    assert model.owners_["y3"] != other
    assert other not in model.learners_, "an owner of nothing is retired"


class Coin(MajorityClassifier):
    """Says one half of everything."""

    def _run(self, batch, learn):
        said = super()._run(batch, learn)
        return Prediction(Rows.empty(len(batch)), np.where(said.proba > 0, np.float32(0.5), np.float32(0)))


def test_a_label_moves_only_where_the_new_learner_is_not_worse():
    batch = blocks(6, 1200, rewired=200)
    model = ClusterLearners(LinearClassifier(), min_events=200)
    model.learn_batch(batch[:200])
    model.prototype = Coin()
    model.restructure(of((0, 3, 4), (1, 2, 5)))
    model.learn_batch(batch[200:])
    assert set(model.owners_.values()) == {0}
    assert not model.events_
    assert list(model.learners_) == [0, 1, 2]

    better = ClusterLearners(LinearClassifier(), min_events=200)
    better.learn_batch(batch[:200])
    better.restructure(of((0, 3, 4), (1, 2, 5)))
    better.learn_batch(batch[200:399])
    assert set(better.owners_.values()) == {0}, "not before it has seen enough"
    better.learn_batch(batch[399:])
    assert set(better.owners_.values()) == {1, 2}
    assert min(event["event"] for event in better.events_) == 400
    assert list(better.learners_) == [1, 2]


def test_the_published_replacement_answers_at_once_and_knows_nothing():
    batch = blocks(7, 400)
    model = ClusterLearners(LinearClassifier(), "immediate")
    model.learn_batch(batch[:200])
    model.restructure(of((0, 1, 2), (3, 4, 5)))
    assert list(model.learners_) == [1, 2]
    assert [(e["event"], e["kind"], e["learner"], e["former"]) for e in model.events_] == [
        (200, "hand-over", 1, 0),
        (200, "hand-over", 2, 0),
    ]
    answer = model.predict_batch(batch[200:210])
    assert not answer.labels.indices.size
    assert not answer.proba.any()
    model.learn_batch(batch[200:])
    kept = model.learners_[1]
    model.restructure(of((0, 1, 2), (3,), (4, 5)))
    assert model.learners_[1] is kept
    assert list(model.learners_) == [1, 3, 4]


def test_labels_that_come_from_or_go_to_no_cluster_cost_no_learner_its_life():
    batch = blocks(8, 400)
    model = ClusterLearners(LinearClassifier(), min_events=20)
    model.learn_batch(batch[:100])
    model.restructure(of((0, 1), (3, 4)))
    model.learn_batch(batch[100:200])
    assert model.owners_ == {"y0": 1, "y1": 1, "y2": 0, "y3": 2, "y4": 2, "y5": 0}
    model.restructure(of((0, 1, 2), (3, 4, 5)))
    assert list(model.learners_) == [0, 1, 2]
    model.learn_batch(batch[200:300])
    assert model.owners_ == {"y0": 1, "y1": 1, "y2": 1, "y3": 2, "y4": 2, "y5": 2}
    model.restructure(of((0, 1), (3, 4, 5)))
    assert list(model.learners_) == [1, 2]
    assert model.owners_["y2"] == 1
    model.restructure(of((0, 1), (2, 3, 4, 5)))
    model.learn_batch(batch[300:])
    assert list(model.learners_) == [1, 2]
    assert model.owners_["y2"] == 2


def test_a_label_that_is_born_goes_to_the_learner_with_the_most():
    batch = blocks(9, 300)
    model = ClusterLearners(LinearClassifier(), "immediate")
    model.learn_batch(batch[:100])
    model.restructure(of((0, 1), (2, 3, 4, 5)))
    late = Batch.from_dicts([{"x0": 1.0}] * 3, [["late"], [], ["later"]], schema=model.schema_)
    model.learn_batch(late)
    assert model.owners_["late"] == model.owners_["later"] == 2
    assert model.learners_[2].schema_.label_names[-2:] == ["late", "later"]
    assert model.predict_proba_one({"x0": 1.0})["late"][True] > 0


def test_there_are_never_more_learners_than_allowed():
    batch = blocks(10, 900)
    model = ClusterLearners(NoChangeClassifier(), min_events=50, max_learners=3)
    rng = np.random.default_rng(1)
    for start in range(0, 900, 30):
        model.learn_batch(batch[start : start + 30])
        order = rng.permutation(6)
        model.restructure(of(order[:2], order[2:4], order[4:]))
        assert len(model.learners_) <= 3
        assert len(model.owners_) == 6
        assert set(model.owners_.values()) <= set(model.learners_)
    for _ in range(3):
        model.restructure(of((0, 1, 2), (3, 4, 5)))
        model.learn_batch(batch[:300])
    assert len(model.learners_) == 2, "clusters for which there was no room get their learner later"


def test_unlabelled_and_unknown_cells_do_not_count_for_a_hand_over():
    batch = blocks(11, 500)
    model = ClusterLearners(LinearClassifier(), min_events=100)
    model.learn_batch(batch[:100])
    model.restructure(of((0, 1, 2), (3, 4, 5)))
    y = batch.y.to_dense(6)[100:]
    y[:, 3:] = np.nan
    y[50:100] = np.nan
    model.learn_batch(Batch.from_arrays(batch.x[100:], y))
    owners = model.owners_
    assert {owners[name] for name in ("y0", "y1", "y2")} == {1}
    assert {owners[name] for name in ("y3", "y4", "y5")} == {0}
    assert min(event["event"] for event in model.events_) >= 200


def test_learners_without_probabilities_are_compared_by_their_mistakes():
    batch = blocks(12, 400)
    model = ClusterLearners(NoChangeClassifier(), min_events=50)
    model.learn_batch(batch[:100])
    model.restructure(of((0, 1, 2), (3, 4, 5)))
    answer = model.test_then_train(batch[100:])
    assert answer.proba is None
    assert set(model.owners_.values()) == {1, 2}
    assert all(event["event"] == 150 for event in model.events_)
    expected = NoChangeClassifier()
    expected.learn_batch(batch[:100])
    assert answer.labels.indices.tolist() == expected.test_then_train(batch[100:]).labels.indices.tolist()


def test_dense_missing_and_late_features_reach_every_learner():
    rng = np.random.default_rng(13)
    x = rng.normal(size=(300, 3))
    x[rng.random(x.shape) < 0.3] = np.nan
    model = ClusterLearners(GaussianNBClassifier(), min_events=20)
    model.learn_batch(Batch.from_arrays(x[:100, :2], np.nan_to_num(x[:100, :2]) > 0))
    model.restructure(of((0,), (1,)))
    model.learn_batch(Batch.from_arrays(x[100:], np.nan_to_num(x[100:, :2]) > 0))
    assert model.owners_ == {"y0": 1, "y1": 2}
    for learner in model.learners_.values():
        assert learner.schema_.feature_names == ["x0", "x1", "x2"]
    assert np.isfinite(model.predict_batch(Batch.from_arrays(x)).proba).all()
    assert model.nbytes > sum(learner.nbytes for learner in model.learners_.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replacement": "cold"}, "replacement must be one of warm, immediate, got 'cold'"),
        ({"min_events": 0}, "min_events must be at least 1, got 0"),
        ({"half_life": 0.0}, r"half_life must be above 0, got 0\.0"),
        ({"delta": 0.0}, r"delta must be in \(0, 1\], got 0\.0"),
        ({"max_learners": 0}, "max_learners must be at least 1, got 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ClusterLearners(LinearClassifier(), **settings)


def test_clusters_that_are_none_are_refused():
    model = ClusterLearners(LinearClassifier())
    model.learn_batch(blocks(14, 50))
    with pytest.raises(ValueError, match="a label of a cluster must have been present, got 'never'"):
        model.restructure([["y0"], ["never"]])
    with pytest.raises(ValueError, match="clusters must be disjoint, got 'y1' twice"):
        model.restructure(of((0, 1), (1, 2)))
    model.restructure([[]])
    assert list(model.learners_) == [0]


# In the classifier.


def rewired(n=2400):
    """Blocks whose labels are sure enough for the published rules, and which change half-way."""
    rng = np.random.default_rng(15)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    which = rng.integers(0, 2, n)
    x[:, 0] += 2.0 * which
    first = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    second = np.array([[1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1]])
    y = np.where((np.arange(n) < n // 2)[:, None], first[which], second[which]) * (rng.random((n, 6)) < 0.9)
    return Batch.from_arrays(x, y)


PAPER = {"mode": "paper", "delta": 0.3}


@pytest.mark.parametrize(
    "settings",
    [
        PAPER,
        {**PAPER, "replacement": "immediate"},
        {"local_per_cluster": True, "local": LinearClassifier()},
        {"local": ClusterLearners(KNNClassifier(window=100), min_events=200, max_learners=5)},
    ],
)
def test_the_classifier_gives_every_cluster_a_learner(settings, tmp_path):
    batch = rewired()
    model = IHOMERClassifier(**settings)
    model.learn_batch(batch[:1150])
    own = {frozenset(cluster) for cluster in model.clusters_}
    local = model._experts.local
    assert len(own) == 2
    assert {frozenset(learner.schema_.label_names) for learner in local.learners_.values()} == own
    assert all(len({local.owners_[label] for label in cluster}) == 1 for cluster in own)
    kinds = [event["kind"] for event in model.events_]
    assert kinds.index("split") < kinds.index("hand-over")
    moved = next(event for event in model.events_ if event["kind"] == "hand-over")
    split = next(event for event in model.events_ if event["kind"] == "split")
    since = moved["event"] - split["event"]
    assert since == 0 if settings.get("replacement") == "immediate" else since >= 200
    assert [event["event"] for event in model.events_] == sorted(event["event"] for event in model.events_)
    assert json.loads(json.dumps(model.events_)) == model.events_

    straight = IHOMERClassifier(**settings)
    expected = straight.test_then_train(batch[:1500])
    cut = IHOMERClassifier(**settings)
    edges = [0, 3, 99, 101, 257, 320, 640, 641, 1500]
    parts = [cut.test_then_train(batch[low:high]) for low, high in itertools.pairwise(edges)]
    assert Prediction.concat(parts).proba.tobytes() == expected.proba.tobytes()
    assert_same_state(straight, cut)
    again = IHOMERClassifier(**settings)
    again.learn_batch(batch[:230])
    ihomer.save(again, tmp_path / "model.ckpt")
    again = ihomer.load(tmp_path / "model.ckpt")
    assert again.test_then_train(batch[230:1500]).proba.tobytes() == expected.proba[230:].tobytes()
    assert_same_state(straight, again)


def test_the_learners_follow_a_rewiring():
    model = IHOMERClassifier(LinearClassifier(), local_per_cluster=True, experts=["ridge"])
    model.learn_batch(rewired(4000))
    assert sorted(map(sorted, model.clusters_)) == of((0, 3, 4), (1, 2, 5))
    owners = model._experts.local.owners_
    assert owners["y0"] == owners["y3"] == owners["y4"] != owners["y1"] == owners["y2"] == owners["y5"]
    assert len(model._experts.local.learners_) == 2
    kinds = [event["kind"] for event in model.events_ if event["event"] > 2000]
    assert kinds.index("merge") < kinds.index("split") < kinds.index("hand-over")


def test_without_a_split_paper_mode_answers_as_its_local_learner():
    rng = np.random.default_rng(16)
    batch = Batch.from_arrays(rng.normal(size=(500, 3)), rng.random((500, 2)) < 0.5)
    local = KNNClassifier(window=50)
    ours, alone = IHOMERClassifier(local, mode="paper").test_then_train(batch), local.clone().test_then_train(batch)
    assert ours.proba.tobytes() == alone.proba.tobytes()
    assert ours.labels.indices.tolist() == alone.labels.indices.tolist()


def test_handing_over_warm_keeps_the_answers_good_where_starting_anew_does_not():
    batch = rewired(1200)[:600]
    told = {}
    for replacement in ("warm", "immediate"):
        model = IHOMERClassifier(mode="paper", delta=0.3, replacement=replacement)
        answers = model.test_then_train(batch)
        at = next(event["event"] for event in model.events_ if event["kind"] == "split")
        after = slice(at, at + 20)
        told[replacement] = np.mean(answers.labels.to_dense(6)[after] != batch.y.to_dense(6)[after])
    assert told["warm"] < told["immediate"]


def test_the_cold_bucket_has_no_learner_of_its_own():
    rng = np.random.default_rng(17)
    y = np.zeros((800, 5), bool)
    which = rng.integers(0, 2, 800)
    y[which == 0, :2] = y[which == 1, 2:4] = True
    y[::400, 4] = True
    model = IHOMERClassifier(local_per_cluster=True, experts=["ridge"])
    model.learn_batch(Batch.from_arrays(rng.normal(size=(800, 2)) + which[:, None], y))
    assert model.hierarchy_.cold == [4]
    assert model.clusters_[-1] == ["y4"]
    local = model._experts.local
    assert all(learner.schema_.label_names != ["y4"] for learner in local.learners_.values())
    assert "y4" in local.owners_


def test_a_way_of_replacing_that_is_none_is_refused():
    with pytest.raises(ValueError, match="replacement must be one of warm, immediate, got 'slow'"):
        IHOMERClassifier(replacement="slow")
