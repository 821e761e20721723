"""Drifts of synthetic streams are where they are said to be, and are what they are said to be.

Streams of one seed show it to the bit: outside of a drift's passage an event is that of the stream with only the one
concept, or only the other. A learner shows that it matters: trained on the first events and then frozen, its score is a
series of numbers whose level has to change where the drift is, and nowhere else.
"""

import itertools

import numpy as np
import pytest

from learners import LinearClassifier
from streams.memory import read_all
from streams.synthetic import Drift, SyntheticSource
from tests.streams.places import assert_same_batch

CONCEPTS = ("tree", "rbf", "hyperplane")

EVENT, WIDTH, N, TRAINED = 6000, 2000, 12_000, 3000
LABELS = 8

CALM = 4.5
"""Strength below which a change of level is none: about 1 in 1,000 series of 9,000 numbers without one reaches it."""


def _source(concept, drift="none", **parameters):
    placed = {} if drift == "none" else {"positions": [EVENT]}
    easy = {"features": 10, "labels": LABELS, "cardinality": 2.4, "noise": 0.1, "depth": 3, "centroids": 12, "seed": 3}
    return SyntheticSource(concept, drift, events=N, **easy | placed | parameters)


def _change(series):
    """Where splitting a series parts its means most significantly, and the difference there in standard errors.

    For normal numbers of one variance this is the split of the highest likelihood ratio. Both parts have 30 at least.
    """
    n = len(series)
    split = np.arange(30, n - 30)
    sums = np.cumsum(series)[split - 1]
    gap = np.abs(sums / split - (series.sum() - sums) / (n - split))
    strength = gap * np.sqrt(split * (n - split) / n) / series.std()
    return int(split[strength.argmax()]), float(strength.max())


def _right_cells(model, batch):
    """Which part of its labels was predicted rightly, an entry an event."""
    wrong = model.predict_batch(batch).labels.to_dense(LABELS) != batch.y.to_dense(LABELS)
    return 1 - wrong.mean(1)


def _frozen_score(concept, drift="none", **parameters):
    batch = read_all(_source(concept, drift, **parameters))
    model = LinearClassifier()
    model.learn_batch(batch[:TRAINED])
    return _right_cells(model, batch[TRAINED:])


def _levels(score):
    """Means over every 1,000 events, by the number of the first."""
    return {TRAINED + i: score[i : i + 1000].mean() for i in range(0, len(score), 1000)}


def test_the_statistic_itself():
    rng = np.random.default_rng(1)
    calm = rng.normal(size=2000)
    assert _change(calm)[1] < CALM
    assert _change(np.concatenate([calm[:700], calm[700:] + 1]))[0] == pytest.approx(700, abs=10)


# What is said.


def test_drifts_are_told():
    assert _source("tree").drifts == []
    assert _source("tree", "sudden").drifts == [Drift(6000, 1, "sudden", 0, 1)]
    assert SyntheticSource(drift="gradual").drifts == [Drift(50_000, 1000, "gradual", 0, 1)]
    assert SyntheticSource(drift="incremental", events=50_000, drifts=3).drifts == [
        Drift(12_500, 500, "incremental", 0, 1),
        Drift(25_000, 500, "incremental", 1, 2),
        Drift(37_500, 500, "incremental", 2, 3),
    ]
    assert SyntheticSource(drift="recurring", events=40_000).drifts == [
        Drift(10_000, 1, "recurring", 0, 1),
        Drift(20_000, 1, "recurring", 1, 0),
        Drift(30_000, 1, "recurring", 0, 1),
    ]
    assert SyntheticSource(drift="labels", positions=[7], width=2).drifts == [Drift(7, 2, "labels", 0, 1)]
    assert SyntheticSource(drift="gradual", events=0, positions=[9]).drifts[0].width == 1000
    assert SyntheticSource(drift="gradual", events=20).drifts[0].width == 1


# Events, to the bit.


def _events(source):
    batch = read_all(source)
    batch.source = ""
    return batch


def _assert_same_events(one, other, first, end):
    assert_same_batch(one[first:end], other[first:end])


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("drift", ["sudden", "gradual", "incremental", "recurring", "labels"])
def test_nothing_changes_before_the_drift(concept, drift):
    calm, drifting = _events(_source(concept)), _events(_source(concept, drift))
    _assert_same_events(calm, drifting, 0, EVENT)
    same = [np.array_equal(calm.x, drifting.x), np.array_equal(calm.y.indices, drifting.y.indices)]
    # Features have one distribution, but that centroids move; centroids that wander keep their labels.
    assert same == [concept != "rbf" or drift == "labels", concept == "rbf" and drift == "incremental"]


@pytest.mark.parametrize("concept", CONCEPTS)
def test_gradual_is_sudden_but_for_its_passage(concept):
    calm, sudden = _source(concept), _source(concept, "sudden")
    gradual = _source(concept, "gradual", width=WIDTH)
    _assert_same_events(_events(gradual), _events(sudden), EVENT + WIDTH - 1, N)
    old, new, met = (source.probabilities(EVENT, WIDTH) for source in (calm, sudden, gradual))
    is_old, is_new = (met == old).all(1), (met == new).all(1)
    assert (is_old | is_new).all()
    # Events that both concepts give alike tell nothing of the coin.
    told = np.flatnonzero(is_old != is_new)
    share = (told + 1) / WIDTH
    for part in np.array_split(np.arange(len(told)), 4):
        gap = is_new[told[part]].sum() - share[part].sum()
        assert abs(gap) < 5 * np.sqrt((share[part] * (1 - share[part])).sum())


def test_incremental_hyperplanes_end_where_sudden_ones_do():
    incremental, sudden = _source("hyperplane", "incremental", width=WIDTH), _source("hyperplane", "sudden")
    _assert_same_events(_events(incremental), _events(sudden), EVENT + WIDTH - 1, N)


@pytest.mark.parametrize("concept", CONCEPTS)
def test_concepts_come_back_to_the_bit(concept):
    calm, sudden = _events(_source(concept)), _events(_source(concept, "sudden", positions=[3000]))
    recurring = _events(_source(concept, "recurring", positions=[3000, 6000, 9000]))
    for first, wanted in [(0, calm), (3000, sudden), (6000, calm), (9000, sudden)]:
        _assert_same_events(recurring, wanted, first, first + 3000)


# What a learner notices.


@pytest.mark.parametrize("concept", CONCEPTS)
def test_without_drift_the_level_stays(concept):
    assert _change(_frozen_score(concept))[1] < CALM


@pytest.mark.parametrize("concept", CONCEPTS)
def test_a_frozen_learner_loses_at_a_sudden_drift(concept):
    score = _frozen_score(concept, "sudden")
    at, strength = _change(score)
    assert at + TRAINED == pytest.approx(EVENT, abs=50)
    assert strength > 2 * CALM
    assert score[EVENT - TRAINED :].mean() < score[: EVENT - TRAINED].mean() - 0.05
    # Neither side has another change in it.
    assert _change(score[: EVENT - TRAINED])[1] < CALM
    assert _change(score[EVENT - TRAINED :])[1] < CALM


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("drift", ["gradual", "incremental"])
def test_a_frozen_learner_loses_more_and_more_during_a_passage(concept, drift):
    score = _frozen_score(concept, drift, width=WIDTH)
    at, strength = _change(score)
    assert EVENT < at + TRAINED < EVENT + WIDTH
    assert strength > 2 * CALM
    level = _levels(score)
    assert level[5000] > level[6000] > min(level[7000], level[8000])
    assert level[8000] < level[5000] - 0.05
    assert _change(score[: EVENT - TRAINED])[1] < CALM
    assert _change(score[EVENT + WIDTH - TRAINED :])[1] < CALM


@pytest.mark.parametrize("concept", CONCEPTS)
def test_a_frozen_learner_is_right_again_when_its_concept_is_back(concept):
    score = _frozen_score(concept, "recurring", positions=[6000, 9000])
    level = _levels(score)
    error = score.std() / np.sqrt(1000)
    assert all(level[first] < level[3000] - 5 * error for first in (6000, 7000, 8000))
    assert all(abs(level[first] - level[3000]) < 4 * error for first in (4000, 5000, 9000, 10_000, 11_000))
    at, _ = _change(score[EVENT - TRAINED :])
    assert at + EVENT == pytest.approx(9000, abs=50)


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize("drift", ["sudden", "gradual", "incremental"])
def test_a_learner_that_goes_on_regains_what_a_frozen_one_lost(concept, drift):
    batch = read_all(_source(concept, drift))
    frozen, going_on = LinearClassifier(learning_rate=3), LinearClassifier(learning_rate=3)
    for model, end in ((frozen, EVENT), (going_on, N - 2000)):
        model.learn_batch(batch[:end])
    last = batch[N - 2000 :]
    assert _right_cells(going_on, last).mean() > _right_cells(frozen, last).mean() + 0.05


# Label correlations alone.

SHAPES = [(14, 4.0), (101, 4.4), (374, 3.5)]


def _coupled(concept, labels, cardinality, drift="labels", **parameters):
    shape = {"labels": labels, "cardinality": cardinality, "noise": 0.5}
    return _source(concept, drift, **shape | parameters)


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize(("labels", "cardinality"), SHAPES)
def test_labels_drift_leaves_everything_but_the_groups(concept, labels, cardinality):
    drifting = _coupled(concept, labels, cardinality, width=500)
    calm = _coupled(concept, labels, cardinality, "none")
    assert np.array_equal(drifting.probabilities(0, N), calm.probabilities(0, N))
    one, other = _events(drifting), _events(calm)
    assert np.array_equal(one.x, other.x)
    _assert_same_events(one, other, 0, EVENT)
    # And the share of every label is the same before and after, within 5 standard errors.
    y = one.y.to_dense(labels)
    before, after = y[:EVENT].mean(0), y[EVENT:].mean(0)
    share = drifting.label_shares
    assert (np.abs(after - before) < 5 * np.sqrt(share * (1 - share) * 2 / EVENT)).all()
    assert abs(y[:EVENT].sum(1).mean() - y[EVENT:].sum(1).mean()) < 5 * y.sum(1).std() * np.sqrt(2 / EVENT)


@pytest.mark.parametrize(("labels", "cardinality"), [*SHAPES, (3, 1.0), (8, 2.0), (10, 2.0), (25, 3.0)])
def test_no_two_labels_stay_together(labels, cardinality):
    source = _coupled("tree", labels, cardinality, positions=[100, 200, 300])
    assert source.groups.shape == (4, labels)
    together = [(groups[:, None] == groups) & ~np.eye(labels, dtype=bool) for groups in source.groups]
    for one, other in itertools.pairwise(together):
        assert one.any()
        assert not (one & other).any()


@pytest.mark.parametrize("concept", CONCEPTS)
@pytest.mark.parametrize(("labels", "cardinality"), SHAPES)
def test_other_labels_come_together_from_the_drift_on(concept, labels, cardinality):
    source = _coupled(concept, labels, cardinality)
    y = read_all(source).y.to_dense(labels)
    phi = [np.corrcoef(part.T) for part in (y[:EVENT], y[EVENT:])]
    groups = [(groups[:, None] == groups) & ~np.eye(labels, dtype=bool) for groups in source.groups]
    for before, after in ((0, 1), (1, 0)):
        # What features say of both labels of a pair stays.
        assert phi[before][groups[before]].mean() > phi[after][groups[before]].mean() + 0.15
    # Pairs of the groups before, less those of the groups after, that an event has.
    at, strength = _change(((y @ (groups[0].astype(float) - groups[1])) * y).sum(1))
    assert at == pytest.approx(EVENT, abs=50)
    assert strength > 2 * CALM


@pytest.mark.parametrize("concept", CONCEPTS)
def test_scores_of_single_labels_do_not_notice(concept):
    score = _frozen_score(concept, "labels", noise=0.5)
    assert _change(score)[1] < CALM


@pytest.mark.parametrize("concept", CONCEPTS)
def test_scores_of_label_sets_do_notice(concept):
    """A predictor of the first half of the labels from the second half, by the sets seen with it, loses them."""
    y = read_all(_source(concept, "labels", noise=1.0, dependence=1.0, group_size=2, seed=4)).y.to_dense(LABELS)
    codes = y.reshape(N, 2, LABELS // 2) @ 2 ** np.arange(LABELS // 2)
    wanted, given = codes[:, 0].astype(int), codes[:, 1].astype(int)
    counts = np.zeros((16, 16))
    np.add.at(counts, (given[:TRAINED], wanted[:TRAINED]), 1)
    right = (counts.argmax(1)[given] == wanted)[TRAINED:].astype(float)
    at, strength = _change(right)
    assert at + TRAINED == pytest.approx(EVENT, abs=100)
    assert strength > 2 * CALM
    assert right[EVENT - TRAINED :].mean() < right[: EVENT - TRAINED].mean() - 0.1
