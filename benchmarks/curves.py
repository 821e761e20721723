"""What an event costs against labels, features, labels an event and what was learned; the floor; and where time goes.

The floor is that of one dense linear model a label, the least that answers and learns every label from every feature:
each weight is read twice, multiplied twice and written once. It is reckoned from what this machine adds and moves in a
second, measured in the same turns. Learners that look at few labels or few features may lie below it.

Trees grow with what they learn; their curve goes along that, and has no floor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks import time_spent
from benchmarks.classes import radial
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.tables import table
from benchmarks.workloads import BATCH_SIZE, cut, dense, f1
from ihomer.specs import build
from learners.base import Learner
from streams.batch import Batch, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TREES = {"tree": "tree", "adaptive tree": "adaptive-tree", "mlhat": "mlhat"}
LEARNERS = {"ihomer": "ihomer", "mlhat": "mlhat", "chain": "chain", "kNN": "knn", "linear": "linear"}
FLOOR = "floor"

LABELS = (6, 20, 60, 200, 600, 2000, 10_000)
FEATURES = (10, 30, 100, 300, 1000)
WORDS = (10, 30, 100, 300)
"""Words of an event, of `_VOCABULARY` that there are."""
CARDINALITIES = (1, 3, 10, 30)
LEARNED = (1000, 10_000, 100_000, 300_000)

_EVENTS, _FEW, _MANY = 2048, 512, 1000
"""Events of a workload, and of one with so many labels or more."""
_VOCABULARY = 30_000


def cells() -> list[Cell]:
    """A group a curve, and one for the time that iHOMER's parts take."""
    return [
        *(_cell("labels", f"dense_{n}x100_v1", partial(_dense, n, 100, 3.0), quick=n < _MANY) for n in LABELS),
        *(_cell("features", f"dense_20x{n}_v1", partial(_dense, 20, n, 3.0)) for n in FEATURES),
        *(_cell("words", f"words_20x{n}_v1", partial(_words, n)) for n in WORDS),
        *(_cell("labels-an-event", f"cardinality_{n}_v1", partial(_dense, 100, 50, float(n))) for n in CARDINALITIES),
        *(
            Cell("learned", f"radial_5x20_after_{n}_v1", partial(_build_grown, n), repeats=3, quick=n < LEARNED[2])
            for n in LEARNED
        ),
        *time_spent.cells(),
    ]


def _cell(group: str, name: str, make: Callable[[], Batch], *, quick: bool = True) -> Cell:
    return Cell(group, name, partial(_build, make), repeats=3, quick=quick)


def _build(make: Callable[[], Batch], setting: Setting) -> Sequence[Contestant]:
    whole = make()
    sides = [
        Contestant(name, partial(_learn, whole, spec), partial(_warm, whole, spec)) for name, spec in LEARNERS.items()
    ]
    weights = whole.schema.n_labels * (
        len(whole.x.indices) / len(whole) if isinstance(whole.x, Rows) else whole.x.shape[1]
    )
    return [Contestant(FLOOR, partial(_floor, weights), partial(_floor, weights, Clock())), *sides]


def _warm(whole: Batch, spec: str) -> None:
    _learn(whole[:BATCH_SIZE], spec, Clock())


def _learn(whole: Batch, spec: str, clock: Clock) -> Quality:
    return _go_on(build(spec, 1), whole, clock)


def _go_on(model: Learner, whole: Batch, clock: Clock) -> Quality:
    answers = []
    for batch in cut(whole):
        with clock:
            answers.append(model.test_then_train(batch).labels)
        clock.count(len(batch))
    return f1(whole.y.to_dense(whole.schema.n_labels).astype(bool), Rows.concat(answers))


def _build_grown(n: int, setting: Setting) -> Sequence[Contestant]:
    """Trees that have learned so many events."""
    batches = radial(5, 20, n + _EVENTS).batches()
    whole = Batch.concat(batches)
    before, after = whole[:n], whole[n:]

    @cache
    def grown(spec: str) -> Learner:
        model = build(spec, 1)
        for batch in cut(before):
            model.learn_batch(batch)
        return model

    def attempt(spec: str, clock: Clock) -> Quality:
        model = deepcopy(grown(spec))
        return {**_go_on(model, after, clock), "kilobytes": model.nbytes / 1000}

    return [
        Contestant(name, partial(attempt, spec), partial(attempt, spec, Clock()), "after so many events")
        for name, spec in TREES.items()
    ]


# Workloads.


def _dense(n_labels: int, n_features: int, cardinality: float) -> Batch:
    n_events = _FEW if n_labels >= _MANY else _EVENTS
    return Batch.concat(dense(n_labels, n_features, n_events, cardinality).batches())


def _words(n_words: int) -> Batch:
    """Rows of words whose frequencies fall like their rank; a label has twenty words of its own."""
    random = np.random.default_rng([4, n_words])
    n_labels, own = 20, 20
    texts, labels = [], []
    for _ in range(_EVENTS):
        present = np.flatnonzero(random.random(n_labels) < 3 / n_labels)
        some = _VOCABULARY * random.random(n_words) ** 3
        topic = own * np.repeat(present, 3) + random.integers(own, size=3 * len(present))
        texts.append(np.unique(np.concatenate([some.astype(np.int32), topic.astype(np.int32)])))
        labels.append(present)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    words = np.concatenate(texts)
    return Batch.from_arrays(
        Rows(np.append(0, lengths.cumsum()), words, np.ones(len(words), np.float32)), Rows.from_lists(labels)
    )


# The floor.


def _floor(weights: float, clock: Clock) -> Quality:
    """Seconds that an event would take if nothing were slower than this machine's adding and moving."""
    values = np.ones(1 << 22)
    began = perf_counter()
    _add_up(values[: 1 << 10], 1 << 12)
    added = perf_counter()
    _double(values)
    moved = perf_counter()
    multiply_adds = (added - began) / (1 << 22)
    moves = (moved - added) / (1 << 22)
    clock.report(weights * max(2 * multiply_adds, 1.5 * moves), 1)
    return {}


@njit(cache=True, fastmath={"reassoc", "contract"})
def _add_up(values: NDArray[np.float64], times: int) -> float:
    """Multiply-adds whose values stay in the nearest cache."""
    total = 0.0
    for k in range(times):
        for j in range(values.shape[0]):
            total += values[j] * (values[j] + k)
    return total


@njit(cache=True)
def _double(values: NDArray[np.float64]) -> None:
    """Each value read and written once, too many for any cache."""
    for j in range(values.shape[0]):
        values[j] *= 2.0


# Table and picture.

_ALONG = {
    "labels": ("labels", LABELS),
    "features": ("features", FEATURES),
    "words": ("words an event, of 30,000", WORDS),
    "labels-an-event": ("labels an event, of 100", CARDINALITIES),
    "learned": ("events learned before", LEARNED),
}
"""What a curve goes along, and its points in the order of the cells."""


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """A table a curve: microseconds an event, and micro-F1 beside it."""
    made = {}
    for group, (along, _) in _ALONG.items():
        points = _points(result, group)
        if points:
            header = [along, *_sides(group)]
            rows = [[f"{at:,}", *(_text(sides.get(name)) for name in header[1:])] for at, sides in points]
            note = "Microseconds an event, micro-F1, and for trees kilobytes."
            made[group] = f"{note}\n\n{table(header, rows, texts=())}"
    return {**made, **time_spent.tables(result)}


def _sides(group: str) -> list[str]:
    return list(TREES) if group == "learned" else [FLOOR, *LEARNERS]


def _points(result: Mapping[str, Any], group: str) -> list[tuple[int, dict[str, Mapping[str, Any]]]]:
    cells = [cell for cell in result["cells"] if cell["group"] == group]
    done = [{side["name"]: side for side in cell["contestants"] if side["status"] == "ok"} for cell in cells]
    return list(zip(_ALONG[group][1], done, strict=False))


def _text(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return ""
    quality = side["quality"]
    told = [f"{quality['micro_f1']:.2f}"] if "micro_f1" in quality else []
    if "kilobytes" in quality:
        told.append(f"{quality['kilobytes']:,.0f} kB")
    return " ".join([f"{1e6 * side['best']:,.3g}", *([f"({', '.join(told)})"] if told else [])])


def pictures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Microseconds an event, a panel a curve."""
    from matplotlib.figure import Figure

    curves = {group: points for group in _ALONG if (points := _points(result, group))}
    if not curves:
        return {}
    drawn, lines = Figure(figsize=(15, 7), layout="constrained"), []
    for place, (group, points) in enumerate(curves.items(), 1):
        axes = drawn.add_subplot(2, 3, place)
        for name in _sides(group):
            line = [(at, 1e6 * sides[name]["best"]) for at, sides in points if name in sides]
            style = {"color": "black", "linestyle": "--"} if name == FLOOR else {"marker": "."}
            axes.plot(*zip(*line, strict=True) if line else ([], []), label=name, **style)
        axes.set(xscale="log", yscale="log", xlabel=_ALONG[group][0], ylabel="µs an event")
        axes.grid(alpha=0.3)
        if group == "learned":
            axes.legend(frameon=False)
        else:
            lines = axes.get_lines()
    if lines:
        drawn.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False)
    return {"costs": drawn}
