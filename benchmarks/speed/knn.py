"""Nearest neighbours in a window of 1,000 events, answering each event before learning it: ours and river's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Ratio
from benchmarks.workloads import cut, dense, f1, read_all
from ihomer import KNNClassifier
from streams.batch import Batch, Rows

NAMES = ("micro_f1", "macro_f1")

WINDOW, NEIGHBORS = 1_000, 10

_ARRAYS = "ihomer, arrays"

_SAME = {"metric": "euclidean", "standardise": False, "threshold": 0.5}
"""Parameters with which ours does what river's does: plain distances, votes divided by distance, the majority."""

Pair = tuple[dict[str, float], Any]


def cells() -> list[Cell]:
    """One label, several labels one by one, and label sets of sparse rows."""
    return [
        Cell(
            group="knn",
            workload="dense_1x100_v1",
            build=partial(_build_dense, 1, 100, 0.4, 20_000, 1_500),
            targets=[Ratio(_ARRAYS, "river", at_least=50)],
            metrics=NAMES,
            agreement=0.0,
        ),
        Cell(
            group="knn",
            workload="dense_14x100_v1",
            build=partial(_build_dense, 14, 100, 4.2, 20_000, 150),
            targets=[Ratio(_ARRAYS, "river", at_least=50)],
            metrics=NAMES,
            agreement=0.0,
        ),
        Cell(
            group="knn",
            workload="enron",
            build=_build_sets,
            targets=[Ratio(_ARRAYS, "river", at_least=50)],
            metrics=NAMES,
        ),
    ]


def _build_dense(
    n_labels: int, n_features: int, cardinality: float, n_events: int, n_river: int, setting: Setting
) -> Sequence[Contestant]:
    judged = n_river // 5 if setting.quick else n_river
    events = dense(n_labels, n_features, WINDOW + (n_events // 5 if setting.quick else n_events), cardinality)
    # Both get the numbers as float32, so that their distances are the same to the last bit.
    pairs = type(events)(events.name, events.x.astype(np.float32), events.y)[: WINDOW + judged].to_river()
    labels = {name: label for label, name in enumerate(pairs[0][1])}
    truth = events.y[WINDOW : WINDOW + judged]

    def make() -> Any:
        from river.multioutput import PerOutputClassifier

        return PerOutputClassifier(_river())

    def answered(answers: Iterable[dict[str, bool]]) -> list[list[int]]:
        return [[labels[name] for name, present in answer.items() if present] for answer in answers]

    note = "`PerOutputClassifier(KNNClassifier(10, LazySearch(1000)))`: a window and a search for every label"
    if n_labels == 1:
        note = "`PerOutputClassifier(KNNClassifier(10, LazySearch(1000)))` for the one label"
    return [
        _ours(Batch.from_arrays(events.x, events.y), truth, "labels"),
        Contestant("river", partial(_attempt_river, make, pairs, answered, truth), note=note),
    ]


def _build_sets(setting: Setting) -> Sequence[Contestant]:
    whole = read_all("enron")[: WINDOW + (140 if setting.quick else 702)]
    assert isinstance(whole.x, Rows)
    values = np.ones(len(whole.x.indices), np.float32) if whole.x.data is None else whole.x.data
    pairs: list[Pair] = []
    for i in range(len(whole)):
        cells = slice(whole.x.indptr[i], whole.x.indptr[i + 1])
        x = dict(zip(map(str, whole.x.indices[cells].tolist()), values[cells].tolist(), strict=True))
        pairs.append((x, tuple(whole.y.row(i).tolist())))
    truth = whole.y.to_dense(whole.schema.n_labels)[WINDOW:] > 0
    note = (
        "`KNNClassifier(10, LazySearch(1000))`, the label set as the class (what its `MultiClassEncoder` does), from "
        "dictionaries of the non-zero cells"
    )
    return [
        _ours(whole, truth, "powerset"),
        Contestant("river", partial(_attempt_river, _river, pairs, list, truth), note=note),
    ]


def _ours(whole: Batch, truth: NDArray[np.bool_], mode: str) -> Contestant:
    """Contestant that fills its window before the clock starts."""
    before, batches = whole[:WINDOW], cut(whole[WINDOW:])

    def attempt(clock: Clock) -> Quality:
        model, answers = KNNClassifier(NEIGHBORS, WINDOW, mode=mode, **_SAME), []
        model.learn_batch(before)
        with clock:
            for batch in batches:
                answers.append(model.test_then_train(batch).labels)
                clock.count(len(batch))
        return f1(truth, Rows.concat(answers)[: len(truth)])

    fewer = "; F1 over the events that river saw, the first ones" if len(truth) < len(whole) - WINDOW else ""
    return Contestant(_ARRAYS, attempt, lambda: attempt(Clock()), f"from the moment that the window is full{fewer}")


def _river() -> Any:
    from river.neighbors import KNNClassifier, LazySearch

    return KNNClassifier(NEIGHBORS, LazySearch(WINDOW))


def _attempt_river(
    make: Callable[[], Any],
    pairs: Sequence[Pair],
    answered: Callable[[Iterable[Any]], list[Any]],
    truth: NDArray[np.bool_],
    clock: Clock,
) -> Quality:
    """From the moment that the window is full."""
    model, answers = make(), []
    for x, y in pairs[:WINDOW]:
        model.learn_one(x, y)
    with clock:
        for x, y in pairs[WINDOW:]:
            answers.append(model.predict_one(x))
            model.learn_one(x, y)
            clock.count(1)
    return f1(truth, answered(answers))
