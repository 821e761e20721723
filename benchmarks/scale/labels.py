"""Label-parallel iHOMER measured: beside the single process, with one and two processes, and reckoned with more.

A contestant that is *reckoned* has all its workers in this process, one after the other, everything pickled as it would
be between processes; its cost is the processor time of the coordinator and of whoever had most to do in each exchange.
So the work of many workers is measured where there are two cores, without a network. The figures from which the model
takes its constants are those of the reckoned ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from time import thread_time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.extras import have
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.scale.model import fitted, forecast, runs_of, simulated
from benchmarks.tables import table
from benchmarks.workloads import cut
from ihomer import open_source
from ihomer.classifier import IHOMERClassifier
from ihomer.label_parallel.classifier import LabelParallelIHOMER
from streams.batch import Batch, Prediction, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL, SHORT = "all", "short"
"""Every label is looked at for every event, or only a short list."""

LABELS = {SHORT: (1_000, 5_000, 20_000), ALL: (1_000, 5_000, 20_000)}
WORKERS, ACTORS, RECKONED = (1, 2), (1, 2), (1, 2, 16)
"""Processes; actors of Ray, on the real set alone; workers whose work is reckoned."""
SINGLE = "single process"

_FEATURES, _WORDS, _TOGETHER = 500, 18, 5
_BIRTHS = 100
"""Labels an event in the events that bring all labels into the world."""

_BEFORE, _TIMED = {SHORT: 300, ALL: 100}, {SHORT: 1024, ALL: 128}
"""Events that are learned before the clock starts, when all labels have been there, and those that are timed."""

_WINDOW = 1000
_GROWN_TO = (1_000, 10_000, 100_000, 1_000_000)
_MACHINES = (1, 2, 5, 10, 20, 50, 100)


def cells() -> list[Cell]:
    """A cell for each number of labels and for each way to look at them."""
    return [_cell(mode, "delicious", partial(_delicious, mode), quick=True) for mode in LABELS] + [
        _cell(mode, f"words_{n}_v1", partial(_words, mode, n), quick=n == 1_000)
        for mode, numbers in LABELS.items()
        for n in numbers
    ]


def _cell(mode: str, name: str, make: Callable[[bool], tuple[Batch, int]], *, quick: bool) -> Cell:
    actors = ACTORS if name == "delicious" else ()
    return Cell(f"labels-{mode}", name, partial(_build, mode, make, actors), metrics=("same",), repeats=1, quick=quick)


def _build(
    mode: str, make: Callable[[bool], tuple[Batch, int]], actors: Sequence[int], setting: Setting
) -> Sequence[Contestant]:
    whole, n_before = make(setting.quick)
    shortlist = whole.schema.n_labels if mode == ALL else 512
    prototype = IHOMERClassifier(window=_WINDOW, shortlist=shortlist)

    @cache
    def expected() -> str:
        return _learn(prototype.clone(), whole, n_before, Clock())[0]

    def single(clock: Clock) -> Quality:
        model = prototype.clone()
        digest, processor_s, _ = _learn(model, whole, n_before, clock)
        return {"same": float(digest == expected()), "processor_us": 1e6 * processor_s, **_bytes_a_label(model)}

    def parallel(n_workers: int, backend: str, clock: Clock) -> Quality:
        model = LabelParallelIHOMER(prototype, n_workers, backend=backend)
        try:
            if backend == "inline":
                return _reckon(model, whole, n_before, expected(), clock)
            return _run(model, whole, n_before, expected(), clock)
        finally:
            model.close()

    return [
        Contestant(SINGLE, single, expected),
        *(Contestant(_number(n, "process"), partial(parallel, n, "processes")) for n in WORKERS),
        *(Contestant(_number(n, "actor"), partial(parallel, n, "ray"), partial(have, "ray")) for n in actors),
        *(Contestant(f"{n} reckoned", partial(parallel, n, "inline")) for n in RECKONED),
    ]


def _learn(
    model: IHOMERClassifier, whole: Batch, n_before: int, clock: Clock, begin: Callable[[], None] = lambda: None
) -> tuple[str, float, float]:
    """Learn everything; the clock sees what follows the first ``n_before`` events, and ``begin`` is called before. A
    digest of the answers, and of each event that was timed the seconds of processor time and the cells."""
    digest, processor_s, cells = sha256(), 0.0, 0
    model.learn_batch(whole[:n_before])
    begin()
    for batch in cut(whole[n_before:]):
        begun = thread_time()
        with clock:
            answers = model.test_then_train(batch)
        processor_s += thread_time() - begun
        clock.count(len(batch))
        digest.update(answers.labels.indices.tobytes())
        cells += _asked(answers, digest.update)
    n = len(whole) - n_before
    return digest.hexdigest(), processor_s / n, cells / n


def _spent(
    model: LabelParallelIHOMER, whole: Batch, n_before: int, clock: Clock
) -> tuple[str, float, float, dict[str, float]]:
    """As `_learn`, and what went to and fro for an event that was timed."""
    before: dict[str, float] = {}
    digest, processor_s, cells = _learn(model, whole, n_before, clock, lambda: before.update(vars(model.traffic_)))
    n = len(whole) - n_before
    return digest, processor_s, cells, {name: (v - before[name]) / n for name, v in vars(model.traffic_).items()}


def _run(model: LabelParallelIHOMER, whole: Batch, n_before: int, expected: str, clock: Clock) -> Quality:
    """Learn everything; the coordinator's share is that of the time in which it did not wait."""
    digest, _, _, spent = _spent(model, whole, n_before, clock)
    return {
        "same": float(digest == expected),
        "bytes": spent["sent"] + spent["received"],
        "share": 1 - spent["waited_s"] * clock.events / clock.seconds,
    }


def _number(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}{'es' if what.endswith('s') else 's'}"


def _asked(answers: Prediction, note: Callable[[bytes], object]) -> int:
    """How many cells were asked; their probabilities are noted."""
    proba = answers.proba
    assert proba is not None
    values = proba.data if isinstance(proba, Rows) else proba
    assert values is not None
    note(values.tobytes())
    return int(values.size)


def _reckon(model: LabelParallelIHOMER, whole: Batch, n_before: int, expected: str, clock: Clock) -> Quality:
    """Learn everything, and tell what the coordinator and the slowest worker spent."""
    digest, took_s, cells, spent = _spent(model, whole, n_before, clock)
    coordinator_s = took_s - spent["spent_s"]
    together_s = coordinator_s + spent["longest_s"]
    clock.report(together_s, len(whole) - n_before)
    return {
        "same": float(digest == expected),
        "cells": cells,
        "workers": float(model.workers),
        "coordinator_us": 1e6 * coordinator_s,
        "worker_us": 1e6 * spent["longest_s"],
        "bytes": spent["sent"] + spent["received"],
        "share": coordinator_s / together_s,
        "evenness": spent["spent_s"] / (model.workers * spent["longest_s"]),
    }


def _bytes_a_label(model: IHOMERClassifier) -> dict[str, float]:
    """Bytes of what workers have of a label, and of everything else, a label."""
    state, n = model.get_state(), model.schema_.n_labels
    parts = ("ridge/sums", "logistic/weights", "logistic/squares", "stack/own", "stack/covariance")
    theirs = sum(array.nbytes for name, array in state.items() if name.endswith(parts))
    return {"worker_bytes": theirs / n, "other_bytes": (sum(array.nbytes for array in state.values()) - theirs) / n}


# Workloads.


def _delicious(mode: str, quick: bool) -> tuple[Batch, int]:
    n_before = 400 if quick else 1000
    whole = open_source("delicious").next_batch(n_before + _TIMED[mode])
    assert whole is not None
    return whole, n_before


def _words(mode: str, n_labels: int, quick: bool) -> tuple[Batch, int]:
    """Rows of words, and labels whose frequencies fall like their rank; before them events that have many labels each,
    until all have been there."""
    random = np.random.default_rng([7, n_labels])
    n_births = -(-n_labels // _BIRTHS)
    born = np.array_split(random.permutation(n_labels), n_births)
    drawn = (n_labels * random.random((_BEFORE[mode] + _TIMED[mode], _TOGETHER)) ** 3).astype(np.int32)
    labels = [*(part.tolist() for part in born), *drawn.tolist()]
    words = np.zeros((len(labels), _FEATURES), np.float32)
    for row, present in zip(words, labels, strict=True):
        row[random.integers(_FEATURES, size=_WORDS)] = 1
        row[[label * 7919 % _FEATURES for label in present[:_TOGETHER]]] = 1
    return Batch.from_arrays(Rows.from_dense(words, values=True), Rows.from_lists(labels)), n_births + _BEFORE[mode]


# Tables and picture.


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """What was measured, a table a mode; the model's constants, what it says, and what the simulation says."""
    made = {}
    for mode in LABELS:
        rows = [row for cell in result["cells"] if cell["group"] == f"labels-{mode}" for row in _measured(cell)]
        if rows:
            header = ["workload", "workers", "cells an event", "events/s", "same answers", "coordinator µs"]
            header += ["slowest worker µs", "together µs", "coordinator's share", "bytes an event"]
            made[f"labels-{mode}"] = table(header, rows, texts=("workload", "workers", "same answers"))
        if runs_of(result, mode):
            made |= {f"constants-{mode}": _constants(result, mode), f"model-{mode}": _grown(result, mode)}
    if runs_of(result, ALL) and runs_of(result, SHORT):
        made["simulation"] = _simulation(result)
    return made


def _measured(cell: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for number, side in enumerate(cell["contestants"]):
        row = [f"`{cell['workload']}`" if number == 0 else "", side["name"]]
        if side["status"] != "ok":
            rows.append([*row, "", f"**{side['reason']}**", *6 * [""]])
            continue
        found = dict(side["quality"])
        if "worker_us" in found:
            found["processor_us"] = found["coordinator_us"] + found["worker_us"]
        names = ("coordinator_us", "worker_us", "processor_us", "share", "bytes")
        said = [_said(found[name], name) if name in found else "" for name in names]
        cells = f"{found['cells']:,.0f}" if "cells" in found else ""
        rows.append([*row, cells, f"{1 / side['best']:,.0f}", "yes" if found["same"] else "**no**", *said])
    return rows


def _said(value: float, name: str) -> str:
    return f"{100 * value:.0f} %" if name == "share" else f"{value:,.0f}"


def _constants(result: Mapping[str, Any], mode: str) -> str:
    """The model's constants in microseconds and bytes, and how far it is from what it was made of."""
    runs = runs_of(result, mode)
    costs = fitted(runs)
    off = [
        forecast(costs, run["cells"], int(run["workers"]), latency_s=0, bytes_s=np.inf, jitter=0).events_s
        * 1e-6
        * (run["coordinator_us"] + run["worker_us"])
        for run in runs
    ]
    rows = [
        ["coordinator, µs", *(f"{1e6 * value:.3g}" for value in costs.coordinator)],
        ["worker, µs", *(f"{1e6 * value:.3g}" for value in costs.worker), ""],
        ["bytes", "", *(f"{value:,.0f}" for value in costs.bytes)],
    ]
    header = ["an event costs", "in any case", "a cell", "a worker"]
    note = f"Off by {100 * np.median(np.abs(np.array(off) - 1)):.0f} % in the median of {len(runs)} runs, "
    note += f"by {100 * np.max(np.abs(np.array(off) - 1)):.0f} % at most."
    return f"{table(header, rows, texts=('an event costs',))}\n\n{note}"


def _cells_of(result: Mapping[str, Any], mode: str, n_labels: int) -> float:
    """Cells an event of so many labels: all, or as many as the largest list measured."""
    return float(n_labels) if mode == ALL else max(run["cells"] for run in runs_of(result, mode))


def _grown(result: Mapping[str, Any], mode: str) -> str:
    """What the model says of many labels and workers: events a second, kilobytes an event, the coordinator's share."""
    costs = fitted(runs_of(result, mode))
    rows = []
    for n_labels in _GROWN_TO if mode == ALL else _GROWN_TO[-1:]:
        cells = _cells_of(result, mode, n_labels)
        told = [forecast(costs, cells, n) for n in _MACHINES]
        rows.append(
            [
                f"{n_labels:,}" if mode == ALL else f"any ({cells:,.0f} cells)",
                *(f"{_rate(one.events_s)} ({one.bytes / 1e3:,.0f} KB, {100 * one.share:.0f} %)" for one in told),
            ]
        )
    return table(["labels", *(_number(n, "worker") for n in _MACHINES)], rows, texts=("labels",))


def _rate(events_s: float) -> str:
    return f"{events_s:,.0f}" if events_s >= 100 else f"{events_s:.3g}"


def _simulation(result: Mapping[str, Any]) -> str:
    """Events a second by the model and by the simulation, and by processes where that was measured."""
    rows = []
    for mode in LABELS:
        costs = fitted(runs_of(result, mode))
        for n_labels in (_GROWN_TO[0], _GROWN_TO[-1]):
            cells = _cells_of(result, mode, n_labels)
            for n in (1, 2, 10, 100):
                said, seen = forecast(costs, cells, n).events_s, simulated(costs, cells, n)
                rows.append([mode, f"{cells:,.0f}", f"{n}", _rate(said), _rate(seen), f"{said / seen - 1:+.1%}"])
            if mode == SHORT:
                break
    header = ["labels looked at", "cells", "workers", "model", "simulation", "model is off by"]
    return table(header, rows, texts=("labels looked at",))


def pictures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Events a second against workers, a line a number of labels; measured points are those of the reckoned runs."""
    from matplotlib.figure import Figure

    if not runs_of(result, ALL):
        return {}
    costs = fitted(runs_of(result, ALL))
    drawn = Figure(figsize=(10, 4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    machines = np.unique(np.geomspace(1, 100, 40).round().astype(int))
    for n_labels in _GROWN_TO:
        told = [forecast(costs, n_labels, int(n)) for n in machines]
        left.plot(machines, [one.events_s for one in told], label=f"{n_labels:,} labels")
        right.plot(machines, [one.share for one in told])
    for run in runs_of(result, ALL):
        left.plot(run["workers"], 1e6 / (run["coordinator_us"] + run["worker_us"]), "k.", markersize=4)
    left.set(xscale="log", yscale="log", xlabel="workers", ylabel="events/s, every label looked at")
    right.set(xscale="log", xlabel="workers", ylabel="coordinator's share of the time", ylim=(0, 1))
    left.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return {"labels": drawn}
