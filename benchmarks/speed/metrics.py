"""Multi-label metrics over the same answers: ours from arrays, river's four from dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Ratio
from benchmarks.workloads import cut, dense
from ihomer import MultiLabelMetrics
from streams.batch import Batch, Prediction, Rows

NAMES = ("micro_f1", "macro_f1", "example_jaccard", "subset_accuracy")

_SHAPES = {14: (20_000, 4.2), 374: (2_000, 3.5)}
"""Labels to events and labels an event."""


def cells() -> list[Cell]:
    """Two cells: few labels, many labels."""
    return [
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
