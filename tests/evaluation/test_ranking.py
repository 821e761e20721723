"""Ranking metrics against sorting and counting anew, against scikit-learn, and the laws that every state obeys."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from ihomer.evaluation.ranking import _BEST_PSP, _PSP, RankingMetrics
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from tests.evaluation.answers import PROBA_KINDS, assert_same_state, assert_scores, random_stream, update_in_pieces
from tests.naive import evaluation_metrics, evaluation_ranking

KS = (1, 2, 5, 30)


def tied(prediction: Prediction) -> Prediction:
    """The same answers with probabilities of a few values only."""
    proba = prediction.proba
    if isinstance(proba, Rows):
        return Prediction(prediction.labels, Rows(proba.indptr, proba.indices, np.round(proba.data * 4) / 4))
    return Prediction(prediction.labels, None if proba is None else np.round(proba * 4) / 4)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("proba", PROBA_KINDS)
@pytest.mark.parametrize("states", [(COMPLETE,), (COMPLETE, PARTIAL, UNLABELLED), (PARTIAL,), (UNLABELLED,)])
def test_agrees_with_sorting_and_counting_anew(proba, states, ties):
    metrics, events = RankingMetrics(KS, window=50, fading=0.9), []
    for seed, n_labels in enumerate((3, 20, 45)):
        batch, prediction = random_stream(seed, 60, n_labels, states=states, proba=proba)
        prediction = tied(prediction) if ties else prediction
        metrics.update(batch, prediction)
        events += evaluation_metrics.log(batch, prediction)
        worths = evaluation_ranking.worths(events, KS)
        assert metrics.n_ranked == sum(worth is not None for worth in worths)
        assert metrics.n_without_label == evaluation_ranking.n_without_label(events)
        assert_scores(metrics.cumulative(), evaluation_ranking.scores(worths))
        assert_scores(metrics.windowed(), evaluation_ranking.scores(worths[-50:]))
        assert_scores(metrics.faded(), evaluation_ranking.scores(worths, fading=0.9))


@pytest.mark.parametrize("k", [1, 3, 5, 10])
def test_agrees_with_scikit_learn_where_all_probabilities_differ(k):
    rng = np.random.default_rng(1)
    truth = rng.random((300, 10)) < 0.3
    truth[:, 3] |= ~truth.any(1)
    proba = rng.permuted(np.tile(np.linspace(0.05, 0.95, 10, dtype=np.float32), (300, 1)), axis=1)
    metrics = RankingMetrics((k,))
    metrics.update(Batch.from_arrays(np.zeros((300, 1)), truth), Prediction(Rows.empty(300), proba))
    scores = metrics.cumulative()
    assert scores[f"ndcg_at_{k}"] == pytest.approx(ndcg_score(truth, proba, k=k), rel=1e-12)
    best = np.argsort(-proba, 1)[:, :k]
    assert scores[f"precision_at_{k}"] == pytest.approx(np.take_along_axis(truth, best, 1).mean(), rel=1e-12)


def one(true: list[int], proba: list[float] | Rows, n_labels: int = 4) -> tuple[Batch, Prediction]:
    batch = Batch.from_arrays(np.zeros((1, 1)), Rows.from_lists([true]).to_dense(n_labels).astype(int))
    return batch, Prediction(Rows.empty(1), proba if isinstance(proba, Rows) else np.array([proba], np.float32))


def test_of_equal_probabilities_the_lower_label_number_comes_first():
    for true, expected in ([0], 1.0), ([1], 0.0), ([2], 0.0):
        metrics = RankingMetrics((1,))
        metrics.update(*one(true, [0.5, 0.5, 0.5, 0.1]))
        assert metrics.cumulative()["precision_at_1"] == expected
    metrics = RankingMetrics((2,))
    metrics.update(*one([2], [0.2, 0.5, 0.5, 0.5]))
    assert metrics.cumulative()["precision_at_2"] == 0.5


def test_a_probability_of_zero_holds_no_place_listed_or_not():
    listed = Rows(np.array([0, 2]), np.array([0, 2]), np.array([0.0, 0.3]))
    for proba in ([0.0, 0.0, 0.3, 0.0], listed, [0.0, 0.0, 0.3]):
        metrics = RankingMetrics((1, 3))
        metrics.update(*one([0, 2], proba))
        scores = metrics.cumulative()
        assert scores["precision_at_1"] == 1
        assert scores["precision_at_3"] == 1 / 3
        assert scores["ndcg_at_3"] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_events_without_a_label_are_left_out_and_counted():
    metrics = RankingMetrics((1,))
    metrics.update(*one([], [0.9, 0.1, 0.1, 0.1]))
    assert metrics.cumulative() == {}
    metrics.update(*one([1], [0.1, 0.9, 0.1, 0.1]))
    assert (metrics.n_ranked, metrics.n_without_label) == (1, 1)
    assert metrics.cumulative()["precision_at_1"] == 1


def test_propensities_come_from_the_past_alone():
    """99 events of label 0, then one of label 1 beside it: at that event, and only there, label 1 is rare."""
    metrics = RankingMetrics((1,))
    common = Batch.from_arrays(np.zeros((99, 1)), np.tile([1, 0], (99, 1)))
    metrics.update(common, Prediction(Rows.empty(99), np.tile(np.array([[0.9, 0.1]], np.float32), (99, 1))))
    before = metrics._scopes.sums[0].copy()
    metrics.update(*one([0, 1], [0.9, 0.1], 2))
    found, best = (metrics._scopes.sums[0] - before)[1 + np.array([_PSP, _BEST_PSP])]
    c = (np.log(99) - 1) * 2.5**0.55
    assert found == pytest.approx(1 + c * (99 + 1.5) ** -0.55)
    assert best == pytest.approx(1 + c * 1.5**-0.55)


def test_finding_the_rare_label_is_worth_more():
    truth = np.zeros((200, 2), int)
    truth[:, 0] = 1
    truth[::20] = [0, 1]
    scores = []
    for proba in ([0.9, 0.1], [0.1, 0.9]):
        metrics = RankingMetrics((1,))
        metrics.update(
            Batch.from_arrays(np.zeros((200, 1)), truth),
            Prediction(Rows.empty(200), np.tile(np.array([proba], np.float32), (200, 1))),
        )
        scores.append(metrics.cumulative())
    assert scores[0]["precision_at_1"] == 0.95
    assert scores[0]["psp_at_1"] < 0.95
    assert scores[1]["psp_at_1"] > scores[1]["precision_at_1"] == 0.05
    assert scores[0]["psp_at_1"] + scores[1]["psp_at_1"] == pytest.approx(1)


def test_perfect_answers_reach_one():
    batch, _ = random_stream(1, 100, 30)
    metrics = RankingMetrics((1,))
    metrics.update(batch, Prediction(Rows.empty(100), batch.y.to_dense(30)))
    scores = metrics.cumulative()
    assert scores["precision_at_1"] == scores["ndcg_at_1"] == 1
    assert scores["psp_at_1"] < 1, "of all true labels the lowest number was ranked first, not the rarest"


@pytest.mark.parametrize("proba", PROBA_KINDS)
def test_cuts_into_batches_change_no_bit(proba):
    batch, prediction = random_stream(2, 700, 40, states=(COMPLETE, PARTIAL, UNLABELLED), proba=proba)
    whole = RankingMetrics(window=50, fading=0.3)
    whole.update(batch, prediction)
    for size in (1, 97):
        pieces = RankingMetrics(window=50, fading=0.3)
        update_in_pieces(pieces, batch, prediction, size)
        assert_same_state(pieces, whole)
        for scope in ("cumulative", "windowed", "faded"):
            assert repr(getattr(pieces, scope)()) == repr(getattr(whole, scope)())


@pytest.mark.parametrize("window", [30, 300, 1000])
def test_goes_on_after_loading_as_if_it_had_not_stopped(window):
    batch, prediction = random_stream(3, 900, 30, states=(COMPLETE, PARTIAL), proba="dense")
    straight, first, second = (RankingMetrics(window=window) for _ in range(3))
    straight.update(batch, prediction)
    first.update(batch[:500], prediction[:500])
    second.set_state(first.get_state())
    for metrics in (first, second):
        metrics.update(batch[500:], prediction[500:])
        assert_same_state(metrics, straight)
        assert repr(metrics.windowed()) == repr(straight.windowed())
        assert repr(metrics.faded()) == repr(straight.faded())


def test_a_label_number_far_beyond_the_others():
    metrics = RankingMetrics((1,))
    schema = Schema(labels=range(3))
    state = np.full(1, COMPLETE, np.uint8)
    proba = Rows(np.array([0, 2]), np.array([1, 9000]), np.array([0.3, 0.6]))
    for number in (2, 5000, 9000):
        batch = Batch(schema, np.zeros((1, 0), np.float32), Rows.from_lists([[number]]), state)
        metrics.update(batch, Prediction(Rows.empty(1), proba))
    assert metrics.cumulative()["precision_at_1"] == pytest.approx(1 / 3)
    assert metrics.nbytes < 16 * 2 * 9001 + 20_000


def test_fading_lasts_longer_than_its_weights_fit_a_float():
    batch, prediction = random_stream(5, 1510, 4, proba="dense")
    metrics = RankingMetrics((1, 3), fading=0.5)
    metrics.update(batch, prediction)
    events = evaluation_metrics.log(batch, prediction)
    assert_scores(metrics.faded(), evaluation_ranking.scores(evaluation_ranking.worths(events, (1, 3)), fading=0.5))


def test_memory_does_not_grow_with_the_stream():
    batch, prediction = random_stream(6, 2000, 12, proba="dense")
    metrics = RankingMetrics(window=200)
    metrics.update(batch[:500], prediction[:500])
    size = metrics.nbytes
    metrics.update(batch[500:], prediction[500:])
    assert metrics.nbytes == size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ks": ()}, r"ks must be ascending numbers of at least 1, got \(\)"),
        ({"ks": (0, 1)}, r"ks must be ascending numbers of at least 1, got \(0, 1\)"),
        ({"ks": (3, 3)}, r"ks must be ascending numbers of at least 1, got \(3, 3\)"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"fading": 1.5}, r"fading must be in \[0.01, 1\], got 1.5"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        RankingMetrics(**settings)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.1])
def test_refuses_what_is_no_probability_and_scores_nothing(wrong):
    batch, prediction = random_stream(9, 4, 3, proba="dense")
    dense = prediction.proba.copy()
    dense[2, 1] = wrong
    listed = Rows(np.array([0, 1, 1, 3, 3]), np.array([0, 0, 2]), np.array([0.1, 0.2, wrong]))
    metrics = RankingMetrics()
    for proba in (dense, listed):
        with pytest.raises(ValueError, match=r"proba must be in \[0, 1\], got another value in row 2"):
            metrics.update(batch, Prediction(prediction.labels, proba))
    assert metrics.n_ranked == metrics.n_without_label == 0


def test_nothing_is_legal():
    metrics = RankingMetrics()
    metrics.update(Batch.from_arrays(np.zeros((0, 2)), np.zeros((0, 3))), Prediction(Rows.empty(0)))
    assert metrics.cumulative() == metrics.windowed() == metrics.faded() == {}
