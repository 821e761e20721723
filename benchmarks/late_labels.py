"""Streams half of whose labels come late, and how well these are answered while they are new."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.frame import Quality
from benchmarks.speed.classifier import repeating
from benchmarks.workloads import cut, f1, read_all
from learners.base import Learner
from streams.batch import Batch, Rows

NEW = 100
"""Events after its first one through which a label is new."""

_FROM, _TO = 0.2, 0.8
"""Shares of a stream between which labels are let in."""


def withheld() -> Batch:
    """``withheld_45x100_v1``: half of the labels of `repeating` are absent until a place of their own in the stream."""
    events = repeating(45, 100, 6_000)
    random, y = np.random.default_rng(6), np.array(events.y)
    late = random.permutation(y.shape[1])[: y.shape[1] // 2]
    for label, share in zip(late, random.uniform(_FROM, _TO, len(late)), strict=True):
        y[: int(share * len(y)), label] = False
    return Batch.from_arrays(np.asarray(events.x, np.float32), y)


def rare_last(data: str) -> Batch:
    """A known set, up to 4,000 rows of it, in an order in which the rarer half of its labels come late.

    A row with such labels stands at random behind the places of all of them, any other row at random.
    """
    batch = read_all(data)[:4_000]
    y = batch.y.to_dense(batch.schema.n_labels) > 0
    random, counts = np.random.default_rng(7), y.sum(0)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    late = order[: len(order) // 2]
    earliest = np.max(y[:, late] * random.uniform(_FROM, _TO, len(late)), axis=1)
    return batch.take(np.argsort(earliest + (1 - earliest) * random.random(len(y)), kind="stable"))


STREAMS: dict[str, Callable[[], Batch]] = {
    "withheld_45x100_v1": withheld,
    "yeast, rare labels last": lambda: rare_last("yeast"),
    "bibtex, rare labels last": lambda: rare_last("bibtex"),
}
"""What tables call a stream, and what makes it."""


def quality(batch: Batch, answers: Iterable[Rows]) -> Quality:
    """Micro-F1 of the whole stream, and of all labels first present after a quarter of it, while they are new."""
    found = Rows.concat(list(answers))
    truth = batch.y.to_dense(batch.schema.n_labels).astype(bool)
    answered = found.to_dense(truth.shape[1]).astype(bool)
    hits = either = 0
    for label in np.flatnonzero(truth.any(0)).tolist():
        born = int(truth[:, label].argmax())
        if born >= len(truth) / 4:
            new = slice(born + 1, born + 1 + NEW)
            hits += int((truth[new, label] & answered[new, label]).sum())
            either += int(truth[new, label].sum() + answered[new, label].sum())
    return {"micro_f1": f1(truth, found)["micro_f1"], "new_f1": 2 * hits / max(either, 1)}


def answers(model: Learner, batch: Batch) -> list[Rows]:
    """What a learner answers to each event before it learns it."""
    return [model.test_then_train(part).labels for part in cut(batch)]
