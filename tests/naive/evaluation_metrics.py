"""Multi-label metrics from a list of label sets, recomputed from the start each time they are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streams.batch import PARTIAL, UNLABELLED, Batch, Prediction, Rows


@dataclass
class Event:
    true: set[int]
    predicted: set[int]
    known: set[int] | None  # None: all labels
    proba: dict[int, float] | None

    def cells(self, n_labels: int) -> set[int]:
        return set(range(n_labels)) if self.known is None else self.known


def log(batch: Batch, prediction: Prediction) -> list[Event]:
    """The scored events of a batch."""
    events = []
    for i in range(len(batch)):
        if batch.label_state[i] == UNLABELLED:
            continue
        known = set(batch.known.row(i).tolist()) if batch.label_state[i] == PARTIAL else None
        proba = prediction.proba
        if isinstance(proba, Rows):
            low, high = proba.indptr[i], proba.indptr[i + 1]
            listed = {int(j): float(p) for j, p in zip(proba.indices[low:high], proba.data[low:high], strict=True)}
        else:
            listed = None if proba is None else {j: float(p) for j, p in enumerate(proba[i])}
        events.append(
            Event({int(j) for j in batch.y.row(i)}, {int(j) for j in prediction.labels.row(i)}, known, listed)
        )
    return events


def scores(events: list[Event], n_labels: int, fading: float = 1.0) -> dict[str, float]:
    """Every metric over ``events``, the last of which weighs 1, the one before it ``fading``, and so on."""
    weights = [fading ** (len(events) - 1 - i) for i in range(len(events))]
    weighted = list(zip(weights, events, strict=True))
    complete = [(w, e) for w, e in weighted if e.known is None]
    answer = {
        "subset_accuracy": mean([(w, float(e.true == e.predicted)) for w, e in complete]),
        "hamming_loss": mean(
            [(w, float((j in e.true) != (j in e.predicted))) for w, e in weighted for j in e.cells(n_labels)]
        ),
    }
    for suffix, empty in (("", 0.0), ("_empty1", 1.0)):
        examples = {name: [] for name in ("precision", "recall", "f1", "jaccard")}
        for w, e in complete:
            both, either = len(e.true & e.predicted), len(e.true | e.predicted)
            values = {
                "precision": divide(both, len(e.predicted)),
                "recall": divide(both, len(e.true)),
                "f1": divide(2 * both, len(e.true) + len(e.predicted)),
                "jaccard": divide(both, either),
            }
            for name, value in values.items():
                examples[name].append((w, empty if either == 0 else value))
        answer |= {f"example_{name}{suffix}": mean(values) for name, values in examples.items()}

    tables = [table(weighted, {j}) for j in range(n_labels)]
    micro = precision_recall_f1(*table(weighted, set(range(n_labels))))
    macro = [precision_recall_f1(*counts) for counts in tables]
    for k, name in enumerate(("precision", "recall", "f1")):
        answer[f"micro_{name}"] = micro[k]
        answer[f"macro_{name}"] = mean([(1.0, row[k]) for row in macro])
    answer["macro_f1_seen"] = mean(
        [(1.0, row[2]) for row, (hits, _, missed) in zip(macro, tables, strict=True) if hits + missed > 0]
    )

    truths = [
        (w, e.proba.get(j, 0.0) if j in e.true else 1 - e.proba.get(j, 0.0))
        for w, e in weighted
        if e.proba is not None
        for j in e.cells(n_labels)
    ]
    if truths:
        answer["log_loss"] = mean([(w, -math.log(max(q, 1e-7))) for w, q in truths])
        answer["brier"] = mean([(w, (1 - q) ** 2) for w, q in truths])
    return answer


def table(weighted: list[tuple[float, Event]], labels: set[int]) -> tuple[float, float, float]:
    """Weights of hits, false alarms and misses in the known cells of ``labels``."""
    hits = alarms = missed = 0.0
    for w, e in weighted:
        known = labels if e.known is None else labels & e.known
        hits += w * len(known & e.true & e.predicted)
        alarms += w * len(known & e.predicted - e.true)
        missed += w * len(known & e.true - e.predicted)
    return hits, alarms, missed


def precision_recall_f1(hits: float, alarms: float, missed: float) -> tuple[float, float, float]:
    return divide(hits, hits + alarms), divide(hits, hits + missed), divide(2 * hits, 2 * hits + alarms + missed)


def divide(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def mean(weighted: list[tuple[float, float]]) -> float:
    total = math.fsum(w for w, _ in weighted)
    return math.fsum(w * value for w, value in weighted) / total if total else math.nan
