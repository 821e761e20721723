"""Our learners over all multi-label sets at hand, whole stream, beside river and published results."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.tables import amount, table
from ihomer import evaluate
from ihomer.evaluation.result import METRICS, SHOWN, Metric
from ihomer.evaluation.significance import Significance, compare_learners
from ihomer.progress import NoProgress
from ihomer.report.ranks import figure
from ihomer.specs import build
from streams.registry import fetch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEARNERS = {
    "ihomer": "ihomer",
    "ihomer, trees": "ihomer:experts=[ridge,logistic,neighbours,score-neighbours,trees]",
    "linear": "linear",
    "chain": "chain",
    "chains": "chain:order=random,n_chains=5",
    "mlhat": "mlhat",
    "mlhat, as published": "mlhat:mode=paper",
    "tree": "tree",
    "adaptive tree": "adaptive-tree",
    "forest": "forest",
    "ADWIN bagging": "adwin-bagging",
    "kNN": "knn",
    "kNN, label sets": "knn:mode=powerset",
    "Gaussian NB": "naive-bayes",
    "Bernoulli NB": "bernoulli-nb",
    "majority": "majority",
    "no-change": "no-change",
}
"""What tables call our learners, and what the command line does; defaults but for the forms named."""

RIVER = {
    f"river, logistic, {scaler}": f"river:(compose.SelectType(float, int) | preprocessing.{scaler}())"
    " + (compose.SelectType(str) | preprocessing.OneHotEncoder())"
    " | multioutput.PerOutputClassifier(linear_model.LogisticRegression())"
    for scaler in ("StandardScaler", "MaxAbsScaler")
}
"""What of river stands beside them; its trees, neighbours and naive Bayes are among the published methods.

Of sparse rows river sees what is not 0 alone, which the first scaler makes little of, and the second leaves as it is.
"""

RUN = {**LEARNERS, **RIVER}

SEED = 1
"""Of every learner that draws random numbers."""

AS_PUBLISHED = "ihomer:mode=paper,replacement=immediate,local=mlhat:mode=paper"
"""The published method: a tree a cluster, which begins anew when the cluster changes."""

SMALL = ("flags", "emotions", "birds", "yeast", "scene", "human-pseaac", "cal500", "genbase", "medical")
SETS = (*SMALL, "enron", "slashdot", "bibtex", "20ng", "tmc2007-500", "corel5k", "delicious")
"""Every set in file order; the small ones make the quick run."""

PUBLISHED = Path(__file__).parent / "published"
_STRONGEST = 10
"""Rivals, by their rank in micro-F1, that the first of our learners is compared with one by one."""

REFERENCE, PAPER = "MLHAT", "iHOMER"
"""The strongest published method, and the one that was scored on the end of each stream only."""


def cells() -> list[Cell]:
    """One cell a set. One attempt a learner: all of them are deterministic, and speed is another suite's question."""
    sets = [Cell("sets", name, partial(_build, name), metrics=SHOWN, repeats=1, quick=name in SMALL) for name in SETS]
    with_figure = [name for name in SETS if PAPER in published(SHOWN[0]).get(name, {})]
    ends = [
        Cell("ends", name, partial(_build_ends, name), metrics=SHOWN, quick=name in SMALL, repeats=1)
        for name in with_figure
    ]
    return sets + ends


def _build(data: str, setting: Setting) -> Sequence[Contestant]:
    fetch(data)
    return [Contestant(name, partial(_evaluate, data, name)) for name in RUN]


class _Counting(NoProgress):
    """Keeps the clock informed, so that a run can be stopped."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def advance(self, n_events: int, metrics: object) -> None:
        self.clock.count(n_events - self.clock.events)


def _evaluate(data: str, learner: str, clock: Clock) -> Quality:
    model = build(RUN[learner], SEED)
    result = evaluate(data, {learner: model}, baselines=False, progress=_Counting(clock))
    (run,) = result.runs
    n_events = run.counts["scored"]
    clock.report(run.time["wall_s"] / n_events, n_events)
    return {name: run.metrics[name] for name in SHOWN}


def _build_ends(data: str, setting: Setting) -> Sequence[Contestant]:
    fetch(data)
    return [Contestant(PAPER, partial(_evaluate_end, data))]


def _evaluate_end(data: str, clock: Clock) -> Quality:
    model = build(AS_PUBLISHED, SEED)
    result = evaluate(data, {PAPER: model}, baselines=False, scope="after_last_restructure", progress=_Counting(clock))
    _, end = result.runs
    clock.report(end.time["wall_s"] / result.runs[0].counts["scored"], end.counts["scored"])
    return {name: end.metrics[name] for name in SHOWN}


def published(metric: str) -> dict[str, dict[str, float]]:
    """Data set to method to figure; a method without a figure for a set is left out there."""
    with (PUBLISHED / f"{metric}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("data"): {method: float(value) for method, value in row.items() if value} for row in rows}


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """Means over the sets that have published rows, a table a metric, and events per second."""
    sets = _sets(result)
    if not sets:
        return {}
    made: dict[str, str] = {}
    known = published(SHOWN[0])
    if sets.keys() >= known.keys():
        made["means"] = _means(sets, list(known))
        compared = _compared(sets, list(known))
        made["ranks"], made["against"] = _ranks(compared), _against(compared)
    made.update({name: _metric(METRICS[name], sets) for name in SHOWN})
    made["speed"] = _speed(sets)
    ends = _ends(result)
    return {**made, "ends": ends} if ends else made


def pictures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Every method's means, a panel a metric, and the critical-difference diagram of micro-F1."""
    sets = _sets(result)
    known = published(SHOWN[0])
    if not sets.keys() >= known.keys():
        return {}
    return {"means": _dots(sets, list(known)), "ranks": figure(_compared(sets, list(known))[SHOWN[0]])}


def _dots(sets: Sets, names: Sequence[str]) -> Figure:
    """A dot a method and metric, the better the further right; ours are filled."""
    from matplotlib.figure import Figure

    means = {name: by for name, by in _means_of(sets, names).items() if by["micro_f1"] is not None}
    order = sorted(means, key=lambda name: means[name]["micro_f1"])
    drawn = Figure(figsize=(12, 0.24 * len(order) + 1), layout="constrained")
    panels = drawn.subplots(1, len(SHOWN), sharey=True)
    for axes, key in zip(panels, SHOWN, strict=True):
        for place, name in enumerate(order):
            ours = name in LEARNERS
            axes.plot(
                means[name][key], place, "o", color=_OURS if ours else _THEIRS, fillstyle="full" if ours else "none"
            )
        axes.set_title(METRICS[key].title, fontsize=10)
        axes.set_yticks(range(len(order)), order, fontsize=9)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        if METRICS[key].better == "lower":
            axes.invert_xaxis()
    for text, name in zip(panels[0].get_yticklabels(), order, strict=True):
        text.set(fontweight="bold" if name in LEARNERS else "normal", color=_OURS if name in LEARNERS else _TEXT)
    return drawn


_OURS, _THEIRS, _TEXT = "#0b62a4", "#8a8a8a", "#444444"


Sets = Mapping[str, Mapping[str, Mapping[str, Any]]]


def _sets(result: Mapping[str, Any]) -> Sets:
    measured = [cell for cell in result["cells"] if cell["contestants"] and cell["group"] == "sets"]
    return {cell["workload"]: {side["name"]: side for side in cell["contestants"]} for cell in measured}


def _score(sets: Sets, data: str, learner: str, metric: str) -> float | None:
    side = sets[data][learner]
    return side["quality"][metric] if side["status"] == "ok" else None


def _best(metric: Metric, figures: Mapping[str, float]) -> tuple[float, str]:
    """The best published figure and whose it is, the paper that scored only ends of streams left aside."""
    pick = max if metric.better == "higher" else min
    return pick((value, method) for method, value in figures.items() if method != PAPER)


def _means(sets: Sets, names: Sequence[str]) -> str:
    """Every method's means over the sets with published rows, the best micro-F1 first."""
    means = _means_of(sets, names)
    order = sorted(means, key=lambda name: -(means[name]["micro_f1"] or 0))
    rows = [[_marked(name), *(METRICS[key].text(means[name][key]) for key in SHOWN)] for name in order]
    header = ["method", *(METRICS[key].title for key in SHOWN)]
    note = f"Means over the {len(names)} sets that have published rows: {', '.join(names)}."
    return f"{note}\n\n{table(header, rows, texts=('method',))}"


def _means_of(sets: Sets, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Method to metric to its mean over these sets: our learners, the published ones, and the best of these."""
    columns: dict[str, dict[str, list[float | None]]] = {}
    for key in SHOWN:
        figures = published(key)
        for learner in RUN:
            columns.setdefault(learner, {})[key] = [_score(sets, data, learner, key) for data in names]
        for method in figures[names[0]]:
            if method != PAPER:
                columns.setdefault(method, {})[key] = [figures[data][method] for data in names]
        best = [_best(METRICS[key], figures[data])[0] for data in names]
        columns.setdefault("best of the 17, chosen per set and metric", {})[key] = list(best)
    return {name: {key: _mean(values) for key, values in by.items()} for name, by in columns.items()}


def _compared(sets: Sets, names: Sequence[str]) -> dict[str, Significance]:
    """Every method, ours and the published ones but for the paper, over the sets with published rows, a metric each.

    A learner that was stopped on one of them takes no part; figures that print alike are equal.
    """
    done = [name for name in RUN if all(sets[data][name]["status"] == "ok" for data in names)]
    compared = {}
    for key in SHOWN:
        figures, metric = published(key), METRICS[key]
        ours = {name: [_score(sets, data, name, key) for data in names] for name in done}
        theirs = {name: [figures[data][name] for data in names] for name in figures[names[0]] if name != PAPER}
        scores = pd.DataFrame({**ours, **theirs}, list(names)).astype(float)
        scores = scores.round(metric.digits)
        compared[key] = compare_learners(scores, metric=metric.title, better=metric.better, pairs="control")
    return compared


def _ranks(compared: Mapping[str, Significance]) -> str:
    """Average rank of every method in each metric, the best of micro-F1 first."""
    first = compared[SHOWN[0]]
    place = {key: dict(found.by_rank) for key, found in compared.items()}
    rows = [[_marked(name), *(f"{place[key][name]:.2f}" for key in SHOWN)] for name, _ in first.by_rank]
    note = (
        f"Average ranks of {len(first.learners)} methods over {len(first.data)} sets, 1 is best. By Nemenyi's test two "
        f"differ at level {first.alpha:g} where they lie {first.critical_difference:.2f} or more apart. "
        f"Friedman's test that all are alike: p = {max(found.friedman.f_p for found in compared.values()):.1g} at most."
    )
    return f"{note}\n\n{table(['method', *(METRICS[key].title for key in SHOWN)], rows, texts=('method',))}"


def _against(compared: Mapping[str, Significance]) -> str:
    """How likely the first of our learners is better than another method, alike, and worse, in each metric."""
    first = compared[SHOWN[0]]
    rows = []
    for name, _ in first.by_rank[: 1 + _STRONGEST]:
        if name == first.control:
            continue
        pairs = [compared[key].posterior(first.control, name) for key in SHOWN]
        rows.append([_marked(name), *(f"{p.a_better:.2f} / {p.equivalent:.2f} / {p.b_better:.2f}" for p in pairs)])
    note = (
        f"Bayesian signed-rank test of {_marked(first.control)} against the {len(rows)} that rank best: how likely it "
        f"is better by more than {first.rope:g}, that they differ by less, and that the other is better by more."
    )
    return f"{note}\n\n{table(['method', *(METRICS[key].title for key in SHOWN)], rows, texts=('method',))}"


def _marked(method: str) -> str:
    """A method's name, in bold if it is ours."""
    return f"**{method}**" if method in LEARNERS else method


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a figure is missing: a mean over fewer sets would not compare."""
    there = [value for value in values if value is not None]
    return mean(there) if len(there) == len(values) else None


def _metric(metric: Metric, sets: Sets) -> str:
    """A row a set: our learners, the published reference, the best of the 17, and the paper's own figure.

    The best of a row is marked, the paper's figure left aside.
    """
    figures = published(metric.key)
    rows = []
    for data, sides in sets.items():
        theirs = figures.get(data, {})
        best, method = _best(metric, theirs) if theirs else (None, "")
        values = [*(_score(sets, data, learner, metric.key) for learner in sides), theirs.get(REFERENCE), best]
        known = [metric.rounded(value) for value in values if value is not None]
        top = max(known) if metric.better == "higher" else min(known)
        texts = [
            f"**{metric.text(value)}**" if value is not None and metric.rounded(value) == top else metric.text(value)
            for value in values
        ]
        texts[-1] += f" ({method})" if method else ""
        rows.append([data, *texts, metric.text(theirs.get(PAPER))])
    header = ["set", *next(iter(sets.values())), REFERENCE, "best of 17", "iHOMER as published, ends of streams only"]
    return "\n\n".join([table(header, rows, texts=("set",)), *_absent(sets)])


def _ends(result: Mapping[str, Any]) -> str:
    """The published method on the ends of streams, beside the published figures, which are over ends as well."""
    measured = [cell for cell in result["cells"] if cell["contestants"] and cell["group"] == "ends"]
    if not measured:
        return ""
    paper = {key: {data: figures.get(PAPER) for data, figures in published(key).items()} for key in SHOWN}
    shown = [key for key in SHOWN if any(value is not None for value in paper[key].values())]
    rows = []
    for cell in measured:
        (side,) = cell["contestants"]
        ours = side["quality"] if side["status"] == "ok" else {}
        texts = (f"{METRICS[k].text(ours.get(k))} / {METRICS[k].text(paper[k][cell['workload']])}" for k in shown)
        rows.append([cell["workload"], f"{side['events']:,}", *texts])
    note = (
        "The published method, ours / as published, on what comes from 50 events after the last restructuring on, which"
        " is what the published figures are over. Where a stream is restructured last decides what is scored, so these"
        " compare with no figure over a whole stream."
    )
    header = ["set", "events scored", *(METRICS[key].title for key in shown)]
    return f"{note}\n\n{table(header, rows, texts=('set',))}"


def _absent(sets: Sets) -> list[str]:
    """What stands in no row, and why."""
    sides = [(data, side) for data, by in sets.items() for side in by.values() if side["status"] != "ok"]
    return [f"**{data}, {side['name']}: {side['reason']}**" for data, side in sides]


def _speed(sets: Sets) -> str:
    """Events per second of every learner, in one pass of one attempt."""
    rows = []
    for data, sides in sets.items():
        n_events = max(side["events"] for side in sides.values())
        speeds = [amount(side["best"], "events/s") if side["status"] == "ok" else "" for side in sides.values()]
        rows.append([data, f"{n_events:,}", *speeds])
    note = "Events per second, answering and learning, one attempt: a look. The suite `speed` has figures to state."
    return f"{note}\n\n{table(['set', 'events', *next(iter(sets.values()))], rows, texts=('set',))}"
