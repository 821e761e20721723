"""Where the time of iHOMER goes: which of its parts an event spends how much in."""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.speed.classifier import N_EVENTS, repeating
from benchmarks.tables import table
from benchmarks.workloads import cut, read_all
from ihomer import IHOMERClassifier
from streams.batch import Batch

GROUP = "parts"
WHERE = {
    "rows, scaled": ("inputs", "rows", "events"),
    "ridge": ("ridge",),
    "logistic": ("linear",),
    "neighbours": ("neighbours",),
    "votes": ("label_window",),
    "the labels' past": ("temporal",),
    "short list": ("shortlist",),
    "stack": ("stack",),
    "label sets": ("joint",),
    "decision": ("decision",),
    "hierarchy": ("hierarchy", "cooccurrence"),
}
"""Parts, and the modules whose own time, kernels that they call included, is theirs; all other time is the rest's."""
REST = "the rest"


def cells() -> list[Cell]:
    """The shapes of the suite `speed`, and a set of many words and labels."""
    made: dict[str, Callable[[], Batch]] = {
        f"repeating_{n_labels}x{n_features}_v1": partial(_repeating, n_labels, n_features)
        for n_labels, n_features in N_EVENTS
    }
    made["delicious"] = partial(read_all, "delicious")
    return [
        Cell(GROUP, name, partial(_build, make), repeats=1, quick=make.func is _repeating)
        for name, make in made.items()
    ]


def _repeating(n_labels: int, n_features: int) -> Batch:
    return Batch.concat(repeating(n_labels, n_features, N_EVENTS[n_labels, n_features]).batches())


def _build(make: Callable[[], Batch], setting: Setting) -> Sequence[Contestant]:
    whole = make()
    return [Contestant("ihomer", partial(_attempt, whole), partial(_attempt, whole[:300], Clock()))]


def _attempt(whole: Batch, clock: Clock) -> Quality:
    """Learn everything under the profiler, which sees a call to compiled code as time of the function that makes it."""
    model, profile = IHOMERClassifier(), cProfile.Profile()
    for batch in cut(whole):
        with clock:
            profile.runcall(model.test_then_train, batch)
        clock.count(len(batch))
    spent: Counter[str] = Counter()
    part_of = {module: part for part, modules in WHERE.items() for module in modules}
    for (path, _, _), (_, _, own_s, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if path == "~":
            # Built-in functions and NumPy's count for who calls them.
            for (caller, _, _), (_, _, of_caller_s, _) in callers.items():
                spent[part_of.get(Path(caller).stem, REST)] += of_caller_s
        else:
            spent[part_of.get(Path(path).stem, REST)] += own_s
    total = sum(spent.values())
    return {part: spent[part] / total for part in (*WHERE, REST)}


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """A row a workload: microseconds an event, and the parts' shares of them."""
    rows = []
    for cell in result["cells"]:
        if cell["group"] == GROUP and cell["contestants"]:
            (side,) = cell["contestants"]
            if side["status"] == "ok":
                shares = (f"{100 * side['quality'][part]:.0f} %" for part in (*WHERE, REST))
                rows.append([cell["workload"], f"{1e6 * side['best']:,.0f}", *shares])
    note = "Microseconds an event that iHOMER answers and learns, and the share of each part."
    header = ["workload", "µs", *WHERE, REST]
    return {GROUP: f"{note}\n\n{table(header, rows, texts=('workload',))}"} if rows else {}
