"""How soon answers are as good again after a drift at a known place, and how soon iHOMER says that there was one.

Two kinds of drift. *Labels*: from the middle of a real set on, half of its label columns have changed places; answers
are held against those that the same learner gives to the same events without that. *Concepts*: synthetic streams in
which other features come to speak for the labels; answers are held against those before, though a new concept may be a
harder one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift import CONCEPTS, KINDS, concept
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.tables import score, table, verdict
from benchmarks.targets import Below
from benchmarks.workloads import cut, read_all
from drift.scoring import DetectionScore, score_alarms
from ihomer.specs import build
from streams import memory
from streams.batch import Batch

LEARNERS = {
    "ihomer": "ihomer",
    "ihomer, not watching its loss": "ihomer:detector=none",
    "mlhat": "mlhat",
    "adaptive tree": "adaptive-tree",
    "chain": "chain",
    "kNN, label sets": "knn:mode=powerset",
    "linear": "linear",
    "no change": "no-change",
    "majority": "majority",
}
"""What tables call a learner, and what the command line does."""

SETS = {"yeast": (2_417, 80), "tmc2007-500": (12_000, 210), "20ng": (10_000, 930)}
"""Real sets: how many of their first rows are put in orders at random, and within how many events of the drift iHOMER
should be back."""

ORDERS = (1, 2, 3, 4, 5)
"""Seeds of the orders of a set, and of which labels change places."""

SHARE, LAST = 0.95, 50
"""After a drift of labels a learner is back once its last 50 events, over all orders, have so much of the example-F1
that it has on them without the drift."""

LOSS, LAST_OF_CONCEPT, LEVEL = 0.02, 500, 2_000
"""After a drift of concepts a learner is back once its last 500 events have a micro-F1 at most 0.02 below that of the
2,000 events before the drift."""

FIRST = 500
"""Events after a drift of which tables tell the level."""

SETTLING = 2_000
"""Events after a drift within which alarms concern it."""


def cells() -> list[Cell]:
    """A cell a set, and one a kind of drift of concepts; one attempt each, since all of them are deterministic."""
    labels = (
        _cell("labels", name, partial(_of_labels, name), [Below("ihomer", asked + 1)])
        for name, (_, asked) in SETS.items()
    )
    kinds = (kind for kind in KINDS if kind != "none")
    return [*labels, *(_cell("concepts", f"{kind}_v1", partial(_of_concepts, kind)) for kind in kinds)]


def _cell(
    group: str, name: str, make: Callable[[Setting], Sequence[Contestant]], targets: Sequence[Below] = ()
) -> Cell:
    metrics = ("drifts", "back", "before")
    return Cell(group, name, make, unit="events", targets=targets, metrics=metrics, repeats=1)


def _of_labels(name: str, setting: Setting) -> Sequence[Contestant]:
    orders = ORDERS[:1] if setting.quick else ORDERS
    return [
        Contestant(title, partial(_after_labels, name, spec, orders), partial(_warm, _rows(name), spec))
        for title, spec in LEARNERS.items()
    ]


def _of_concepts(kind: str, setting: Setting) -> Sequence[Contestant]:
    names = CONCEPTS[:1] if setting.quick else CONCEPTS
    first = _stream(names[0], kind)[0]
    return [
        Contestant(title, partial(_after_concepts, kind, spec, names), partial(_warm, first, spec))
        for title, spec in LEARNERS.items()
    ]


def _warm(batch: Batch, spec: str) -> None:
    answered(batch[:1000], spec, Clock())


@cache
def _rows(name: str) -> Batch:
    return read_all(name)[: SETS[name][0]]


@cache
def _stream(name: str, kind: str) -> tuple[Batch, list[int], list[int]]:
    """A stream, and where its drifts begin and how many events they last."""
    source = concept(name, kind, 1)
    return memory.read_all(source), [d.event for d in source.drifts], [d.width for d in source.drifts]


# What is measured.


def _after_labels(name: str, spec: str, orders: Sequence[int], clock: Clock) -> Quality:
    """The cost is the events until answers are back, or all that there were after the drift."""
    usual, drifted, found = [], [], DetectionScore()
    middle = len(_rows(name)) // 2
    for order in orders:
        batch = _rows(name).take(np.random.default_rng(order).permutation(len(_rows(name))))
        for events, into, begins in ((batch, usual, []), (swapped(batch, middle, order), drifted, [middle])):
            hits, sizes, alarms = answered(events, spec, clock)
            # An event without labels that was answered with none is answered rightly.
            into.append(np.divide(hits, sizes, out=np.ones(len(events)), where=sizes > 0))
            found += score_alarms(alarms, begins, len(events), acceptance=SETTLING, settling=SETTLING)
    level, after = (np.mean(runs, axis=0)[middle:] for runs in (usual, drifted))
    until = back(moving(after, LAST), SHARE * moving(level, LAST), LAST)
    clock.report(len(after) if until is None else until, clock.events)
    before = float(np.mean([run[:middle][-FIRST:] for run in drifted]))
    told = {"drifts": 1.0, "back": float(until is not None), "before": before, **_alarms(found)}
    least = level[:FIRST].mean()
    return told | ({"first": float(after[:FIRST].mean() / least)} if least > 0 else {})


def _after_concepts(kind: str, spec: str, names: Sequence[str], clock: Clock) -> Quality:
    """The cost is the median over the drifts of the events until answers are back, or of all until the next drift."""
    costs, levels, firsts, n_back, found = [], [], [], 0, DetectionScore()
    for name in names:
        batch, begins, widths = _stream(name, kind)
        hits, sizes, alarms = answered(batch, spec, clock)
        for begin, end in zip(begins, [*begins[1:], len(batch)], strict=True):
            level = hits[begin - LEVEL : begin].sum() / sizes[begin - LEVEL : begin].sum()
            recent = moving(hits[begin:end], LAST_OF_CONCEPT) / moving(sizes[begin:end], LAST_OF_CONCEPT)
            until = back(recent, level - LOSS, LAST_OF_CONCEPT)
            costs.append(end - begin if until is None else until)
            n_back += until is not None
            levels.append(level)
            if level > 0:
                firsts.append(hits[begin : begin + FIRST].sum() / sizes[begin : begin + FIRST].sum() / level)
        found += score_alarms(
            alarms, begins, len(batch), widths=np.array(widths), acceptance=SETTLING, settling=SETTLING
        )
    clock.report(median(costs), clock.events)
    told = {"drifts": float(len(costs)), "back": float(n_back), "before": float(mean(levels)), **_alarms(found)}
    return told | ({"first": float(mean(firsts))} if firsts else {})


def swapped(batch: Batch, begin: int, seed: int) -> Batch:
    """``batch`` in which, from event ``begin`` on, each label of a half drawn at random has the column of the next."""
    random, to = np.random.default_rng(seed), np.arange(batch.schema.n_labels, dtype=np.int32)
    half = random.permutation(len(to))[: len(to) // 2]
    to[half] = np.roll(half, 1)
    after = batch[begin:]
    return Batch.concat([batch[:begin], replace(after, y=after.y.renumbered(to))])


def answered(batch: Batch, spec: str, clock: Clock) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Of each event twice its labels rightly predicted, and its labels and predicted ones together, answered before it
    was learned; and the events at which iHOMER saw its loss rise."""
    model, n_labels = build(spec, 1), batch.schema.n_labels
    hits, sizes = [], []
    for part in cut(batch):
        answers = model.test_then_train(part).labels.to_dense(n_labels)
        truth = part.y.to_dense(n_labels)
        hits.append(2 * (truth * answers).sum(1))
        sizes.append(truth.sum(1) + answers.sum(1))
        clock.count(len(part))
    alarms = [event["event"] - 1 for event in getattr(model, "events_", ()) if event["kind"] == "loss"]
    return np.concatenate(hits).astype(float), np.concatenate(sizes).astype(float), alarms


def moving(values: NDArray[np.float64], last: int) -> NDArray[np.float64]:
    """Means over the ``last`` values, from where there are so many."""
    return np.convolve(values, np.full(last, 1 / last), "valid")


def back(recent: NDArray[np.float64], level: NDArray[np.float64] | float, last: int) -> int | None:
    """After how many events the ``last`` reach the level; None: never."""
    reached = np.flatnonzero(recent >= level)
    return int(reached[0]) + last if len(reached) else None


def _alarms(found: DetectionScore) -> dict[str, float]:
    told = {"missed": float(found.n_missed), "false_alarms_per_10_000": found.false_alarms_per_10_000}
    return told | ({"delay": found.median_delay} if found.delays else {})


# Tables.


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """A table a kind of drift, the learner that was back first on top of each set."""
    groups = dict.fromkeys(cell["group"] for cell in result["cells"])
    return {group: _table(group, [cell for cell in result["cells"] if cell["group"] == group]) for group in groups}


_NOTES = {
    "labels": (
        f"Back: the last {LAST} events have {100 * SHARE:.0f} % of the example-F1 that the learner has on them without "
        f"the drift, over {len(ORDERS)} orders; *before* is example-F1 over the last {FIRST} events before the drift, "
        f"*first {FIRST}* that over the first ones after it, as a share of that without the drift."
    ),
    "concepts": (
        f"Back: the last {LAST_OF_CONCEPT} events have a micro-F1 at most {LOSS} below that of the {LEVEL:,} before "
        f"the drift; the median over the drifts of {', '.join(CONCEPTS)}, from where each begins. *Before* is that "
        f"micro-F1, *first {FIRST}* that over the first events after it began, as a share of the former."
    ),
}


def _table(group: str, cells: Sequence[Mapping[str, Any]]) -> str:
    header = ["drift of", "learner", "back after, events", "back", "before", f"first {FIRST}"]
    header += ["alarm after", "missed", "false alarms per 10,000", "target"]
    rows = [row for cell in cells for row in _rows_of(cell)]
    return f"{_NOTES[group]}\n\n{table(header, rows, texts=('drift of', 'learner', 'target'))}"


def _rows_of(cell: Mapping[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = []
    if "absent" in cell:
        rows.append([cell["workload"], f"**{cell['absent']}**", *[""] * 8])
    for side in sorted(cell["contestants"], key=lambda side: side.get("best", float("inf"))):
        name = "" if rows else cell["workload"].removesuffix("_v1")
        if side["status"] != "ok":
            rows.append([name, f"{side['name']}: **{side['reason']}**", *[""] * 8])
            continue
        found = side["quality"]
        n_drifts, n_back = found["drifts"], found["back"]
        alarms = [f"{found['delay']:,.0f}" if "delay" in found else "–", f"{found['missed']:.0f}"]
        alarms.append(f"{found['false_alarms_per_10_000']:.2f}")
        aims = [verdict(target, cell["unit"]) for target in cell["targets"] if target["ours"] == side["name"]]
        # Who has nothing right before a drift is not said to be back after it.
        until = f"{side['best']:,.0f}" if 2 * n_back > n_drifts and found["before"] > 0 else "–"
        first = f"{100 * found['first']:.0f} %" if "first" in found else "–"
        rows.append([
            name, side["name"], until, f"{n_back:.0f} of {n_drifts:.0f}", score(found["before"]), first,
            *(alarms if side["name"] == "ihomer" else [""] * 3), "; ".join(aims),
        ])  # fmt: skip
    return rows
