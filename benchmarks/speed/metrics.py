"""Metrics over the same answers: multi-label and single-label ones beside river's, ranking beside scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Ratio
from benchmarks.workloads import cut, dense
from ihomer import MultiLabelMetrics
from ihomer.evaluation.ranking import RankingMetrics
from ihomer.evaluation.single_label import SingleLabelMetrics
from streams.batch import Batch, Prediction, Rows

NAMES = ("micro_f1", "macro_f1", "example_jaccard", "subset_accuracy")

_SHAPES = {14: (20_000, 4.2), 374: (2_000, 3.5)}
"""Labels to events and labels an event."""


RANKING = ("ndcg_at_1", "ndcg_at_3", "ndcg_at_5")

SINGLE = ("accuracy", "kappa", "kappa_temporal", "kappa_m")


def cells() -> list[Cell]:
    """Few labels and many, sets and rankings; and one class an event."""
    multi_label = [
        Cell(
            group="metrics",
            workload=f"answers_{n_labels}_v1",
            build=partial(_build, n_labels),
            targets=[Ratio("ihomer", "river", at_least=50)],
            metrics=NAMES,
            agreement=1e-9,
        )
        for n_labels in _SHAPES
    ]
    ranking = [
        Cell(
            group="metrics",
            workload=f"probabilities_{n_labels}_v1",
            build=partial(_build_ranking, n_labels),
            targets=[Ratio("ihomer", "scikit-learn")],
            metrics=RANKING,
            agreement=1e-9,
        )
        for n_labels in _SHAPES
    ]
    single = Cell(
        group="metrics",
        workload="classes_6_v1",
        build=_build_single,
        targets=[Ratio("ihomer", "river", at_least=10)],
        metrics=SINGLE,
        agreement=1e-9,
    )
    return [*multi_label, *ranking, single]


def _build(n_labels: int, setting: Setting) -> Sequence[Contestant]:
    n_events, cardinality = _SHAPES[n_labels]
    truth = dense(n_labels, 20, n_events // 4 if setting.quick else n_events, cardinality).y
    noise = np.random.default_rng([3, n_labels]).random(truth.shape)
    answers = np.where(truth, noise < 0.7, noise > 1 - 0.3 * truth.mean(0))
    batches = cut(Batch.from_arrays(np.zeros((len(truth), 1)), truth))
    predicted = Prediction(Rows.from_dense(answers))
    predictions = [predicted[batch.offset[0] : batch.offset[-1] + 1] for batch in batches]
    labels = range(n_labels)
    pairs = [
        (dict(zip(labels, y, strict=True)), dict(zip(labels, z, strict=True)))
        for y, z in zip(truth.tolist(), answers.tolist(), strict=True)
    ]

    def ours(clock: Clock) -> Quality:
        metrics = MultiLabelMetrics()
        with clock:
            for batch, prediction in zip(batches, predictions, strict=True):
                metrics.update(batch, prediction)
                clock.count(len(batch))
            scores = metrics.cumulative(n_labels)
        return {name: scores[name] for name in NAMES}

    def river(clock: Clock) -> Quality:
        from river.metrics import F1, Jaccard
        from river.metrics.multioutput import ExactMatch, MacroAverage, MicroAverage, SampleAverage

        four = [MicroAverage(F1()), MacroAverage(F1()), SampleAverage(Jaccard()), ExactMatch()]
        with clock:
            for y, z in pairs:
                for metric in four:
                    metric.update(y, z)
                clock.count(1)
            scores = [metric.get() for metric in four]
        return dict(zip(NAMES, scores, strict=True))

    return [
        Contestant("ihomer", ours, lambda: ours(Clock()), "all its metrics in three scopes, not only the four shown"),
        Contestant("river", river),
    ]


def _build_ranking(n_labels: int, setting: Setting) -> Sequence[Contestant]:
    n_events, cardinality = _SHAPES[n_labels]
    truth = dense(n_labels, 20, n_events // 4 if setting.quick else n_events, cardinality).y
    truth = truth[truth.any(1)]
    noise = np.random.default_rng([4, n_labels]).random(truth.shape)
    proba = (0.7 * noise + 0.3 * truth).astype(np.float32)
    batches = cut(Batch.from_arrays(np.zeros((len(truth), 1)), truth))
    answers = Prediction(Rows.empty(len(truth)), proba)
    predictions = [answers[batch.offset[0] : batch.offset[-1] + 1] for batch in batches]

    def ours(clock: Clock) -> Quality:
        metrics = RankingMetrics()
        with clock:
            for batch, prediction in zip(batches, predictions, strict=True):
                metrics.update(batch, prediction)
                clock.count(len(batch))
            scores = metrics.cumulative()
        return {name: scores[name] for name in RANKING}

    def theirs(clock: Clock) -> Quality:
        from sklearn.metrics import ndcg_score

        with clock:
            scores = [ndcg_score(truth, proba, k=k, ignore_ties=True) for k in (1, 3, 5)]
            clock.count(len(truth))
        return dict(zip(RANKING, map(float, scores), strict=True))

    note = "all its metrics in three scopes, with propensities that change with the stream"
    return [
        Contestant("ihomer", ours, lambda: ours(Clock()), note),
        Contestant("scikit-learn", theirs, None, "nDCG alone, of all events in one call"),
    ]


def _build_single(setting: Setting) -> Sequence[Contestant]:
    rng = np.random.default_rng(5)
    n_events, n_classes = 5_000 if setting.quick else 20_000, 6
    changes = np.maximum.accumulate(np.where(rng.random(n_events) < 0.3, np.arange(n_events), 0))
    true = rng.integers(0, n_classes, n_events)[changes]
    answers = np.where(rng.random(n_events) < 0.7, true, rng.integers(0, n_classes, n_events))
    batches = cut(Batch.from_arrays(np.zeros((n_events, 1)), np.eye(n_classes, dtype=int)[true]))
    predicted = Prediction(Rows.from_lists([[answer] for answer in answers.tolist()]))
    predictions = [predicted[batch.offset[0] : batch.offset[-1] + 1] for batch in batches]
    pairs = list(zip(true.tolist(), answers.tolist(), strict=True))

    def ours(clock: Clock) -> Quality:
        metrics = SingleLabelMetrics()
        with clock:
            for batch, prediction in zip(batches, predictions, strict=True):
                metrics.update(batch, prediction)
                clock.count(len(batch))
            scores = metrics.cumulative(n_classes)
        return {name: scores[name] for name in SINGLE}

    def river(clock: Clock) -> Quality:
        from river.metrics import Accuracy, CohenKappa

        accuracy, repeated, frequent, kappa = Accuracy(), Accuracy(), Accuracy(), CohenKappa()
        last, majority, counts = None, None, [0] * n_classes
        with clock:
            for y, z in pairs:
                accuracy.update(y, z)
                kappa.update(y, z)
                repeated.update(y, last)
                frequent.update(y, majority)
                counts[y] += 1
                last, majority = y, counts.index(max(counts))
                clock.count(1)
            p = accuracy.get()
            above = [(p - habit.get()) / (1 - habit.get()) for habit in (repeated, frequent)]
            scores = [p, kappa.get(), *above]
        return dict(zip(SINGLE, scores, strict=True))

    note = "the kappas river has not are made of its accuracy of the two habits"
    return [
        Contestant("ihomer", ours, lambda: ours(Clock()), "in three scopes"),
        Contestant("river", river, None, note),
    ]
