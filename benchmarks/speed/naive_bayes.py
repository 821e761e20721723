"""Naive Bayes and classifier chains, answering each event before learning it: ours and river's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Ratio
from benchmarks.workloads import BATCH_SIZE, Events, Shape, dense_shape, f1, yeast
from ihomer import ClassifierChain, GaussianNBClassifier
from learners.base import Learner
from streams.batch import Batch, Rows

NAMES = ("micro_f1", "macro_f1")

_OURS = "ihomer, arrays"
_MORE_THAN_HALF = 0.5 + 1e-9
"""A probability above this is above one half whichever way it was rounded: early events give many that equal it."""

_JUDGED = "F1 over the events that river saw, the first ones"


SHAPES = [
    Shape("yeast", lambda n: yeast()[:n], 2_417, 600),
    dense_shape(6, 72, 1.9, 20_000, 1_000),
    dense_shape(14, 103, 4.2, 10_000, 400),
    dense_shape(101, 120, 4.4, 4_000, 80),
]


def cells() -> list[Cell]:
    """Gaussian naive Bayes, whose answers must be river's, and chains of logistic models, which may differ."""
    return [
        Cell(
            group=group,
            workload=shape.name,
            build=partial(build, shape),
            targets=[Ratio(_OURS, "river", at_least=50)],
            metrics=(*NAMES, "mean_probability") if group == "naive-bayes" else NAMES,
            agreement=1e-9 if group == "naive-bayes" else None,
        )
        for group, build in (("naive-bayes", _build_naive_bayes), ("chain", _build_chain))
        for shape in SHAPES
    ]


def _build_naive_bayes(shape: Shape, setting: Setting) -> Sequence[Contestant]:
    from river.multioutput import PerOutputClassifier
    from river.naive_bayes import GaussianNB

    events, judged = _events(shape, setting)

    def ask(model: Any, x: dict[str, float]) -> dict[str, float]:
        return {name: p.get(True, 0.0) for name, p in model.predict_proba_one(x).items()}

    note = "`PerOutputClassifier(GaussianNB())`, asked for probabilities"
    return [
        _ours(events, judged, GaussianNBClassifier, probable=True),
        _river(events[:judged], lambda: PerOutputClassifier(GaussianNB()), ask, note, probable=True),
    ]


def _build_chain(shape: Shape, setting: Setting) -> Sequence[Contestant]:
    from river.linear_model import LogisticRegression
    from river.multioutput import ClassifierChain as RiverChain
    from river.preprocessing import StandardScaler

    events, judged = _events(shape, setting)

    def ask(model: Any, x: dict[str, float]) -> dict[str, float]:
        return {name: p[True] for name, p in model.predict_proba_one(x).items()}

    note = "`StandardScaler() | ClassifierChain(LogisticRegression())`"
    return [
        _ours(events, judged, ClassifierChain),
        _river(events[:judged], lambda: StandardScaler() | RiverChain(LogisticRegression()), ask, note),
    ]


def _events(shape: Shape, setting: Setting) -> tuple[Events, int]:
    """The workload, its features rounded to float32, which is what both sides see; and how much of it river sees."""
    divisor = 4 if setting.quick else 1
    events = shape.make(shape.n_events // divisor)
    rounded = events.x.astype(np.float32).astype(np.float64)
    return Events(events.name, rounded, events.y), min(len(events), shape.n_river // divisor)


def _ours(events: Events, judged: int, make: Callable[[], Learner], *, probable: bool = False) -> Contestant:
    batches = events.batches()

    def attempt(clock: Clock) -> Quality:
        return _learn(make(), batches, events.y[:judged], clock, probable)

    def warm() -> None:
        _learn(make(), batches[:2], events.y[: 2 * BATCH_SIZE], Clock(), probable)

    return Contestant(_OURS, attempt, warm, _JUDGED if judged < len(events) else "")


def _learn(model: Learner, batches: Iterable[Batch], truth: NDArray[np.bool_], clock: Clock, probable: bool) -> Quality:
    answers = []
    with clock:
        for batch in batches:
            answers.append(model.test_then_train(batch))
            clock.count(len(batch))
    proba = np.concatenate([np.asarray(answer.proba) for answer in answers])[: len(truth)]
    quality = f1(truth, Rows.from_dense(proba > _MORE_THAN_HALF))
    if probable:
        quality["mean_probability"] = float(proba.mean())
    return quality


def _river(
    events: Events,
    make: Callable[[], Any],
    ask: Callable[[Any, dict[str, float]], dict[str, float]],
    note: str,
    *,
    probable: bool = False,
) -> Contestant:
    pairs = events.to_river()
    labels = {f"y{j}": j for j in range(events.y.shape[1])}

    def attempt(clock: Clock) -> Quality:
        model, answers = make(), []
        with clock:
            for x, y in pairs:
                answers.append(ask(model, x))
                model.learn_one(x, y)
                clock.count(1)
        predicted = [[labels[name] for name, p in answer.items() if p > _MORE_THAN_HALF] for answer in answers]
        quality = f1(events.y, predicted)
        if probable:
            quality["mean_probability"] = sum(sum(answer.values()) for answer in answers) / events.y.size
        return quality

    return Contestant("river", attempt, note=note)
