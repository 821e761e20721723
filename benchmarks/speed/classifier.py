"""The iHOMER classifier, answering each event before learning it: beside river's trees, and as labels grow many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Below, Growth, Ratio
from benchmarks.workloads import Events, cut, dense, f1, read_all
from ihomer import IHOMERClassifier
from learners.base import Learner
from streams.batch import Batch, Rows

NAMES = ("micro_f1", "macro_f1")

REFERENCE = {(6, 72): 420, (14, 103): 139, (45, 100): 62, (101, 120): 22, (374, 500): 1.7}
"""Labels and features to events per second of the reference MLHAT on river 0.26.1, measured on a machine like this."""

TIMES = {(6, 72): 50, (14, 103): 60, (45, 100): 100, (101, 120): 100, (374, 500): 500}
"""How many times the reference's speed the arrays should reach; dictionaries should reach 40 times everywhere."""

N_EVENTS = {(6, 72): 10_000, (14, 103): 8_000, (45, 100): 6_000, (101, 120): 5_000, (374, 500): 2_000}
_DICTIONARIES = 1_000
_RIVER = {(6, 72): 1_000, (14, 103): 500, (45, 100): 200, (101, 120): 100, (374, 500): 4}

BUDGETS = {"64 MB": 64 * 2**20, "16 MB": 16 * 2**20}
"""Budgets that the model is given for two sets of many labels; without one it needs less than the first."""


def cells() -> list[Cell]:
    """Speed at five shapes, growth from 1,000 to 100,000 labels, and bytes on two sets of many labels."""
    shapes = [
        Cell(
            group="ihomer",
            workload=f"repeating_{n_labels}x{n_features}_v1",
            build=partial(beside_river, n_labels, n_features, {"arrays": IHOMERClassifier}, IHOMERClassifier),
            targets=[
                Below("arrays", 1 / (TIMES[n_labels, n_features] * speed)),
                Below("dictionaries", 1 / (40 * speed)),
                Ratio("arrays", "river's trees"),
            ],
            metrics=NAMES,
            repeats=3,
        )
        for (n_labels, n_features), speed in REFERENCE.items()
    ]
    growth = Cell(
        group="ihomer",
        workload="topics_v1",
        build=_build_growth,
        targets=[Growth("1,000 labels", "100,000 labels", at_most=2)],
        metrics=("recall",),
        repeats=3,
    )
    memory = [
        Cell(
            group="ihomer-memory",
            workload=data,
            build=partial(_build_memory, data),
            unit="bytes",
            targets=[Below(name, budget) for name, budget in BUDGETS.items()],
            metrics=NAMES,
            repeats=1,
            quick=False,
        )
        for data in ("bibtex", "delicious")
    ]
    return [*shapes, growth, *memory]


def repeating(n_labels: int, n_features: int, n_events: int) -> Events:
    """``repeating_LxD_v1``: 300 label sets that come again, a set the more often the lower its rank, as real ones do.

    Sets and the features that tell them are the first events of ``dense_LxD_v1``; features come with noise.
    """
    pool = dense(n_labels, n_features, 300, 1.9 if n_labels < 10 else 4.2)
    random = np.random.default_rng([3, n_labels, n_features])
    share = 1.0 / (3 + np.arange(300))
    picked = random.choice(300, 20_000, p=share / share.sum())[:n_events]
    noise = np.random.default_rng([4, n_labels, n_features]).normal(size=(n_events, n_features))
    return Events(f"repeating_{n_labels}x{n_features}_v1", np.round(pool.x[picked] + noise, 6), pool.y[picked])


def beside_river(
    n_labels: int,
    n_features: int,
    arrays: Mapping[str, Callable[[], Learner]],
    dictionaries: Callable[[], Learner],
    setting: Setting,
) -> Sequence[Contestant]:
    """Learners that are given arrays, by name, one that is given dictionaries, and trees of river."""
    shape = n_labels, n_features
    less = 4 if setting.quick else 1
    events = repeating(n_labels, n_features, N_EVENTS[shape] // less)
    n_dictionaries, n_river = _DICTIONARIES // less, _RIVER[shape] // less
    batches, pairs = events.batches(), events[: max(n_dictionaries, n_river)].to_river()
    labels = {f"y{j}": j for j in range(n_labels)}

    def in_batches(make: Callable[[], Learner], batches: Iterable[Batch], clock: Clock) -> Quality:
        model, answers = make(), []
        with clock:
            for batch in batches:
                answers.append(model.test_then_train(batch).labels)
                clock.count(len(batch))
        found = Rows.concat(answers)
        return f1(events.y[: len(found)], found)

    def one_by_one(model: object, n: int, clock: Clock) -> Quality:
        answers = []
        with clock:
            for x, y in pairs[:n]:
                answers.append(model.predict_one(x))  # type: ignore[attr-defined]
                model.learn_one(x, y)  # type: ignore[attr-defined]
                clock.count(1)
        return f1(events.y[:n], [[labels[name] for name, held in answer.items() if held] for answer in answers])

    def started(make: Callable[[], Learner]) -> None:
        in_batches(make, batches[:2], Clock())

    def river(clock: Clock) -> Quality:
        from river.multioutput import PerOutputClassifier
        from river.tree import HoeffdingTreeClassifier

        return one_by_one(PerOutputClassifier(HoeffdingTreeClassifier()), n_river, clock)

    return [
        *(
            Contestant(name, partial(in_batches, make, batches), partial(started, make))
            for name, make in arrays.items()
        ),
        Contestant(
            "dictionaries", lambda clock: one_by_one(dictionaries(), n_dictionaries, clock),
            lambda: one_by_one(dictionaries(), 20, Clock()),
            f"`predict_one`, then `learn_one`, over the first {n_dictionaries} events",
        ),
        Contestant(
            "river's trees", river,
            note=f"`PerOutputClassifier(HoeffdingTreeClassifier())` over the first {n_river} events",
        ),
    ]  # fmt: skip


def _topics(n_labels: int, n_events: int) -> Batch:
    """Events about one of ``n_labels`` / 5 topics, told by 50 features; a topic has five labels of its own."""
    random = np.random.default_rng([5, n_labels])
    topic = random.integers(0, n_labels // 5, n_events)
    centre = random.normal(size=(n_labels // 5, 50))
    x = (centre[topic] + random.normal(0, 0.5, (n_events, 50))).astype(np.float32)
    members: NDArray[np.int32] = (5 * topic[:, None] + np.arange(5)).astype(np.int32).ravel()
    return Batch.from_arrays(x, Rows(np.arange(0, 5 * n_events + 1, 5), members))


def _build_growth(setting: Setting) -> Sequence[Contestant]:
    n_before, n_timed = (1_000, 500) if setting.quick else (20_000, 2_000)

    def attempt(batch: Batch, clock: Clock) -> Quality:
        model = IHOMERClassifier()
        model.learn_batch(batch[:n_before])
        answers = []
        with clock:
            for part in cut(batch[n_before:]):
                answers.append(model.test_then_train(part).labels)
                clock.count(len(part))
        found, truth = Rows.concat(answers), batch.y[n_before:]
        hits = sum(len(set(found.row(i)) & set(truth.row(i))) for i in range(len(truth)))
        return {"recall": hits / len(truth.indices)}

    note = f"five labels an event; timed are {n_timed:,} events after the first {n_before:,}; recall over these"
    return [
        Contestant(f"{n:,} labels", partial(attempt, _topics(n, n_before + n_timed)), note=note)
        for n in (1_000, 10_000, 100_000)
    ]


def _build_memory(data: str, setting: Setting) -> Sequence[Contestant]:
    batch = read_all(data)
    truth = batch.y.to_dense(batch.schema.n_labels).astype(bool)

    def attempt(budget: int | None, clock: Clock) -> Quality:
        model, answers, most = IHOMERClassifier(memory_budget=budget), [], 0
        for number, part in enumerate(cut(batch)):
            answers.append(model.test_then_train(part).labels)
            if number % 4 == 0:
                most = max(most, model.nbytes)
        clock.report(max(most, model.nbytes), len(batch))
        return f1(truth, Rows.concat(answers))

    note = "the most bytes that the model had"
    return [
        Contestant(name, partial(attempt, budget), note=note) for name, budget in {"no budget": None, **BUDGETS}.items()
    ]
