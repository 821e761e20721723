"""Single-label metrics against counting anew, against river, and the laws that every state obeys."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from river import dummy, metrics, utils

from ihomer.evaluation.single_label import SingleLabelMetrics
from learners import LinearClassifier
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from streams.memory import read_all
from streams.opening import open_source
from tests.evaluation.answers import PROBA_KINDS, assert_same_state, assert_scores, update_in_pieces
from tests.naive import evaluation_metrics, evaluation_single_label

DATA = Path(os.environ.get("IHOMER_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SCOPES = ("cumulative", "windowed", "faded")


def classes_and_answers(seed: int, n: int, n_labels: int, proba: str = "none") -> tuple[Batch, Prediction]:
    """Events of one class each that lasts for a while; answers of none, one or several labels."""
    rng = np.random.default_rng(seed)
    change = rng.random(n) < 0.3
    change[0] = True
    true = rng.integers(0, n_labels, n)[np.maximum.accumulate(np.where(change, np.arange(n), 0))]
    right = rng.random(n) < 0.6
    answers = np.where(right, true, rng.integers(0, n_labels, n))
    sets = [
        {0: [], 1: [int(a), int(other)]}.get(kind, [int(a)])
        for a, other, kind in zip(answers, rng.integers(0, n_labels, n), rng.integers(0, 5, n), strict=True)
    ]
    p = np.round(rng.random((n, n_labels)).astype(np.float32) ** 3, 1)
    given = {"none": None, "dense": p, "listed": Rows.from_dense(p, values=True)}
    state = np.where(rng.random(n) < 0.1, UNLABELLED, COMPLETE).astype(np.uint8)
    labels = Rows.from_lists([[int(c)] if known else [] for c, known in zip(true, state, strict=True)])
    batch = Batch(Schema(labels=range(n_labels)), np.zeros((n, 0), np.float32), labels, state)
    return batch, Prediction(Rows.from_lists(sets), given[proba])


def presence_and_answers(seed: int, n: int) -> tuple[Batch, Prediction]:
    """Events in which the only label is present or absent."""
    rng = np.random.default_rng(seed)
    true = np.cumsum(rng.random(n) < 0.2) % 2
    answers = np.where(rng.random(n) < 0.7, true, 1 - true)
    batch = Batch.from_arrays(np.zeros((n, 1)), true[:, None])
    return batch, Prediction(Rows.from_dense(answers[:, None]))


@pytest.mark.parametrize("proba", PROBA_KINDS)
@pytest.mark.parametrize("window", [1, 7, 1000])
def test_agrees_with_counting_anew(proba, window):
    ours, events = SingleLabelMetrics(window=window, fading=0.9), []
    for seed, n_labels in enumerate((2, 5, 40)):
        batch, prediction = classes_and_answers(seed, 60, n_labels, proba)
        ours.update(batch, prediction)
        events += evaluation_metrics.log(batch, prediction)
        for total in (n_labels, n_labels + 30):
            pairs = evaluation_single_label.classes(events, total)
            assert_scores(ours.cumulative(total), evaluation_single_label.scores(pairs))
            assert_scores(ours.windowed(total), evaluation_single_label.scores(pairs, window))
            assert_scores(ours.faded(total), evaluation_single_label.scores(pairs, fading=0.9))


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_of_one_label_the_classes_are_absence_and_presence(window):
    batch, prediction = presence_and_answers(1, 200)
    ours = SingleLabelMetrics(window=window, fading=0.9)
    ours.update(batch, prediction)
    pairs = evaluation_single_label.classes(evaluation_metrics.log(batch, prediction), 1)
    assert_scores(ours.cumulative(1), evaluation_single_label.scores(pairs))
    assert_scores(ours.windowed(1), evaluation_single_label.scores(pairs, window))
    assert_scores(ours.faded(1), evaluation_single_label.scores(pairs, fading=0.9))
    assert ours.cumulative(2) == {}, "of two labels, an event without one has no class"


def by_river(true: list[int], answers: list[int | None], window: int) -> dict[str, dict[str, float]]:
    """River's accuracy and kappa, over everything and rolling, and its accuracy of the two habits."""
    accuracy, kappa, repeated, frequent = (
        metrics.Accuracy(),
        metrics.CohenKappa(),
        metrics.Accuracy(),
        metrics.Accuracy(),
    )
    rolling = [utils.Rolling(kind, window_size=window) for kind in (metrics.Accuracy, metrics.CohenKappa)]
    no_change, counts = dummy.NoChangeClassifier(), Counter()
    for y, z in zip(true, answers, strict=True):
        for metric in (accuracy, kappa, *rolling):
            metric.update(y, z)
        repeated.update(y, no_change.predict_one({}))
        # Not river's PriorClassifier, which prefers the class that was met first where two are equally frequent.
        frequent.update(y, min(counts, key=lambda c: (-counts[c], c), default=None))
        no_change.learn_one({}, y)
        counts[y] += 1
    p = accuracy.get()
    temporal, m = ((p - habit.get()) / (1 - habit.get()) for habit in (repeated, frequent))
    return {
        "cumulative": {"accuracy": p, "kappa": kappa.get(), "kappa_temporal": temporal, "kappa_m": m},
        "windowed": dict(zip(("accuracy", "kappa"), (metric.get() for metric in rolling), strict=True)),
    }


def test_agrees_with_river_on_many_classes():
    batch, prediction = classes_and_answers(3, 600, 6)
    batch.label_state[:] = COMPLETE
    batch.y = Rows.from_lists([row or [2] for row in (batch.y.row(i).tolist() for i in range(600))])
    ours = SingleLabelMetrics(window=100)
    ours.update(batch, prediction)
    answers = [row[0] if len(row) == 1 else None for row in (prediction.labels.row(i).tolist() for i in range(600))]
    expected = by_river(batch.y.indices.tolist(), answers, 100)
    assert_scores(ours.cumulative(6), expected["cumulative"])
    assert {name: ours.windowed(6)[name] for name in ("accuracy", "kappa")} == pytest.approx(
        expected["windowed"], rel=1e-12
    )


def test_agrees_with_river_on_electricity():
    path = DATA / "electricity.arff"
    if not path.exists():
        pytest.skip(f"electricity.arff is neither in IHOMER_DATA nor in ../shared/data: {path}")
    batch = read_all(open_source(path, labels="last:1"))
    prediction = LinearClassifier().test_then_train(batch)
    ours = SingleLabelMetrics()
    ours.update(batch, prediction)
    true, answers = (np.diff(rows.indptr).tolist() for rows in (batch.y, prediction.labels))
    assert len(true) == 45_312
    assert sum(true) == 19_237
    expected = by_river(true, answers, 1000)
    assert_scores(ours.cumulative(1), expected["cumulative"])
    window = ours.windowed(1)
    assert {name: window[name] for name in expected["windowed"]} == pytest.approx(expected["windowed"], rel=1e-12)


def test_the_answer_is_one_label_else_the_most_probable_one_else_none():
    batch = Batch.from_arrays(np.zeros((5, 1)), np.tile([0, 1, 0], (5, 1)))
    labels = Rows.from_lists([[1], [0, 1], [], [], [0]])
    proba = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 1, 0]], np.float32)
    right = []
    for i in range(5):
        ours = SingleLabelMetrics()
        ours.update(batch[i : i + 1], Prediction(labels, proba)[i : i + 1])
        right.append(ours.cumulative(3)["accuracy"])
    assert right == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("label", "state"),
    [([], COMPLETE), ([0, 1], COMPLETE), ([0], PARTIAL), ([0], COMPLETE), ([], UNLABELLED)],
)
def test_streams_of_another_kind_have_no_such_metrics(label, state):
    batch, prediction = classes_and_answers(4, 20, 3)
    known = Rows.from_lists([label]) if state == PARTIAL else None
    other = Batch(
        batch.schema, np.zeros((1, 0), np.float32), Rows.from_lists([label]), np.array([state], np.uint8), known
    )
    ours = SingleLabelMetrics()
    ours.update(batch, prediction)
    ours.update(other, Prediction(Rows.empty(1)))
    ours.update(batch, prediction)
    fits = state == UNLABELLED or (label == [0] and state == COMPLETE)
    assert all(bool(getattr(ours, scope)(3)) == fits for scope in SCOPES)


def test_a_stream_that_begins_with_one_label_can_grow_to_many():
    """While the schema holds one label, the stream is read as its presence; when there are two, as which of them."""
    schema, ours = Schema(labels=["a"]), SingleLabelMetrics()

    def event(name: str) -> Batch:
        row = Rows.from_lists([[schema.label_id(name)]])
        return Batch(schema, np.zeros((1, 0), np.float32), row, np.full(1, COMPLETE, np.uint8))

    nothing = Prediction(Rows.empty(1), np.array([[0.4]], np.float32))
    ours.update(event("a"), nothing)
    assert ours.cumulative(1)["accuracy"] == 0, "answered with absence"
    ours.update(event("b"), nothing)
    assert ours.cumulative(2)["accuracy"] == 0.5, "answered with the most probable one, a"


def test_kappas_that_cannot_be_told():
    batch = Batch.from_arrays(np.zeros((20, 1)), np.tile([1, 0], (20, 1)))
    ours = SingleLabelMetrics(window=10)
    ours.update(batch, Prediction(batch.y))
    assert ours.cumulative(2) == {"accuracy": 1, "kappa": 0, "kappa_temporal": 1, "kappa_m": 1}
    window = ours.windowed(2)
    assert (window["accuracy"], window["kappa"]) == (1, 0)
    assert math.isnan(window["kappa_temporal"])
    assert math.isnan(window["kappa_m"])


@pytest.mark.parametrize("make", [presence_and_answers, lambda seed, n: classes_and_answers(seed, n, 30, "dense")])
def test_cuts_into_batches_change_no_bit(make):
    batch, prediction = make(2, 700)
    n_labels = batch.schema.n_labels
    whole = SingleLabelMetrics(window=50, fading=0.3)
    whole.update(batch, prediction)
    for size in (1, 97):
        pieces = SingleLabelMetrics(window=50, fading=0.3)
        update_in_pieces(pieces, batch, prediction, size)
        assert_same_state(pieces, whole)
        for scope in SCOPES:
            assert repr(getattr(pieces, scope)(n_labels)) == repr(getattr(whole, scope)(n_labels))


@pytest.mark.parametrize("make", [presence_and_answers, lambda seed, n: classes_and_answers(seed, n, 30, "listed")])
def test_goes_on_after_loading_as_if_it_had_not_stopped(make):
    batch, prediction = make(3, 900)
    n_labels = batch.schema.n_labels
    straight, first, second = (SingleLabelMetrics(window=300) for _ in range(3))
    straight.update(batch, prediction)
    first.update(batch[:500], prediction[:500])
    second.set_state(first.get_state())
    for ours in (first, second):
        ours.update(batch[500:], prediction[500:])
        assert_same_state(ours, straight)
        assert all(repr(getattr(ours, scope)(n_labels)) == repr(getattr(straight, scope)(n_labels)) for scope in SCOPES)


def test_fading_lasts_longer_than_its_weights_fit_a_float():
    batch, prediction = classes_and_answers(5, 1700, 4)
    ours = SingleLabelMetrics(fading=0.5)
    ours.update(batch, prediction)
    pairs = evaluation_single_label.classes(evaluation_metrics.log(batch, prediction), 4)
    assert_scores(ours.faded(4), evaluation_single_label.scores(pairs, fading=0.5))


def test_refuses_settings_and_answers_that_do_not_fit():
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        SingleLabelMetrics(window=0)
    with pytest.raises(ValueError, match=r"fading must be in \[0.01, 1\], got 2"):
        SingleLabelMetrics(fading=2)
    batch, prediction = classes_and_answers(6, 4, 3, "dense")
    ours = SingleLabelMetrics()
    with pytest.raises(ValueError, match="prediction must answer each of the 4 events, got 2 answers"):
        ours.update(batch, prediction[:2])
    prediction.proba[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"proba must be in \[0, 1\], got another value in row 1"):
        ours.update(batch, prediction)
    assert ours.cumulative(3) == {}
    many, answers = classes_and_answers(7, 50, 9)
    ours.update(many, answers)
    with pytest.raises(ValueError, match="n_labels must be at least 9, for the classes met or answered, got 8"):
        ours.cumulative(8)


def test_nothing_is_legal():
    ours = SingleLabelMetrics()
    ours.update(Batch.from_arrays(np.zeros((0, 2)), np.zeros((0, 3))), Prediction(Rows.empty(0)))
    assert ours.cumulative(3) == ours.windowed(3) == ours.faded(1) == {}
