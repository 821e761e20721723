"""Every detector where the drifts are known: delay, false alarms and missed drifts, a kind of drift after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.tables import amount, score, table
from drift.scoring import DetectionScore, score_alarms
from ihomer.detectors import FEATURES, LABELS, LOSS, build, of_losses
from ihomer.evaluation.watching import losses
from learners import LinearClassifier
from streams.batch import Rows
from streams.memory import read_all
from streams.synthetic import SyntheticSource, open_synthetic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCEPTANCE = 2000
"""Events after the end of a drift within which it has to be found, and within which further alarms concern it."""

WARM_UP = 2000
"""First losses of a stream that no detector sees, since the learner has only begun."""

CONCEPTS = ("rbf", "hyperplane", "tree")
KINDS = {
    "none": "",
    "sudden": "&drift=sudden&positions=12000+22000+32000",
    "gradual": "&drift=gradual&positions=12000+22000+32000&width=1000",
    "incremental": "&drift=incremental&positions=12000+22000+32000&width=2000",
    "recurring": "&drift=recurring&positions=12000+22000+32000",
}
"""Streams of 42,000 events, of which all but `WARM_UP` count."""

SEEDS = (1, 2, 3)

LABEL_SETS = (
    "rbf?labels=14&cardinality=4",
    "rbf?labels=101&cardinality=4",
    "rbf?labels=374&cardinality=4",
)

SENSITIVE = {
    **{f"label-dependency, delta {d}": f"label-dependency:delta={d}" for d in ("1e-6", "1e-5", "1e-3", "1e-2")},
    "label-dependency, window 500": "label-dependency:window_size=500",
}
"""Points of the trade-off beside the defaults."""


@dataclass(frozen=True)
class Series:
    """What detectors are fed with, and where it changes.

    Parameters
    ----------
    values
        What ``update_many`` takes: numbers, rows of labels, or rows of features.
    n_events
        How many there are.
    drifts, widths
        First event of each drift, and how many events it lasts.
    """

    values: Any
    n_events: int
    drifts: Sequence[int] = ()
    widths: Sequence[int] = ()


def cells() -> list[Cell]:
    """One cell a kind of drift and of detector; one attempt each, since all of them are deterministic."""
    made = []
    for kind in KINDS:
        made.append(_cell("loss", f"{kind}_v1", partial(_of_losses, kind), LOSS))
    labels = {**{name: name for name in LABELS}, **SENSITIVE}
    for url in LABEL_SETS:
        n_labels = url.partition("labels=")[2].partition("&")[0]
        made.append(_cell("labels", f"dependency_{n_labels}_v1", partial(_of_dependencies, url), labels))
        made.append(_cell("labels", f"frequency_{n_labels}_v1", partial(_of_frequencies, url), labels))
        made.append(_cell("labels", f"none_{n_labels}_v1", partial(_of_stationary_labels, url), labels))
    made.append(_cell("features", "sudden_v1", partial(_of_features, drifting=True), FEATURES))
    made.append(_cell("features", "none_v1", partial(_of_features, drifting=False), FEATURES))
    return made


def _cell(group: str, workload: str, series: Any, detectors: Iterable[str]) -> Cell:
    metrics = ("n_drifts", "n_false_alarms", "false_alarms_per_10_000")
    return Cell(group, workload, partial(_build, series, detectors), metrics=metrics, repeats=1)


def _build(series: Any, detectors: Iterable[str], setting: Setting) -> Sequence[Contestant]:
    streams = [stream for seed in (SEEDS[:1] if setting.quick else SEEDS) for stream in series(seed)]
    return [
        Contestant(name, partial(_attempt, SENSITIVE.get(name, name), streams), partial(_warm, name, streams[0]))
        for name in detectors
    ]


def _warm(name: str, series: Series) -> None:
    build(SENSITIVE.get(name, name)).update_many(series.values[:5000])


def _attempt(text: str, streams: Sequence[Series], clock: Clock) -> Quality:
    total = DetectionScore()
    for series in streams:
        detector = build(text)
        values = of_losses(detector, series.values) if text in LOSS else series.values
        with clock:
            alarms = detector.update_many(values)
        clock.count(series.n_events)
        widths = np.array(series.widths, int) if series.drifts else 1
        total += score_alarms(
            alarms.tolist(),
            series.drifts,
            series.n_events,
            widths=widths,
            acceptance=ACCEPTANCE,
            settling=ACCEPTANCE,
        )
    return quality(total)


def quality(found: DetectionScore) -> dict[str, float]:
    """The figures of a detector; those that cannot be told, and what is infinite, are left out."""
    names = (
        *("n_drifts", "n_missed", "n_false_alarms", "false_alarms_per_10_000", "mean_delay", "median_delay"),
        *("mean_time_between_false_alarms", "mean_time_ratio"),
    )
    figures = {name: float(getattr(found, name)) for name in names}
    return {name: figure for name, figure in figures.items() if math.isfinite(figure)}


# Series.


def concept(name: str, kind: str, seed: int) -> SyntheticSource:
    """A stream of ten labels in which that concept drifts in that way."""
    return open_synthetic(f"synthetic:{name}?events=42000&labels=10&noise=0.1&seed={seed}{KINDS[kind]}")


def _of_losses(kind: str, seed: int) -> list[Series]:
    """The loss of a linear classifier on every concept."""
    made = []
    for name in CONCEPTS:
        source = concept(name, kind, seed)
        model, found = LinearClassifier(), []
        while (batch := source.next_batch(256)) is not None:
            found.append(losses(batch.y, model.test_then_train(batch).labels))
        values: NDArray[np.float64] = np.concatenate(found)[WARM_UP:]
        begins = [drift.event - WARM_UP for drift in source.drifts]
        made.append(Series(values, len(values), begins, [drift.width for drift in source.drifts]))
    return made


def _of_dependencies(url: str, seed: int) -> list[Series]:
    """Label sets whose groups alone change, twice."""
    return [_labels(f"{url}&drift=labels&events=60000&positions=20000+40000", seed)]


def _of_stationary_labels(url: str, seed: int) -> list[Series]:
    return [_labels(f"{url}&events=100000", seed)]


def _labels(url: str, seed: int) -> Series:
    source = open_synthetic(f"synthetic:{url}&seed={seed}")
    batch = read_all(source)
    begins, widths = ([getattr(drift, name) for drift in source.drifts] for name in ("event", "width"))
    return Series(batch.y, len(batch), begins, widths)


def _of_frequencies(url: str, seed: int) -> list[Series]:
    """Label sets of one stream, then those of another: one label an event more, the rarest labels the most frequent."""
    sources = [
        open_synthetic(f"synthetic:{part}&events=20000&seed={10 * seed + i}")
        for i, part in enumerate((url, url.replace("cardinality=4", "cardinality=5")))
    ]
    before, after = (read_all(source).y for source in sources)
    turned = np.arange(sources[1].schema.n_labels, dtype=np.int32)[::-1].copy()
    return [Series(Rows.concat([before, after.renumbered(turned)]), 40_000, [20_000], [1])]


def _of_features(seed: int, *, drifting: bool) -> list[Series]:
    positions = "events=40000&drift=sudden&positions=10000+20000+30000" if drifting else "events=100000"
    source = open_synthetic(f"synthetic:rbf?{positions}&seed={seed}")
    batch = read_all(source)
    values = np.asarray(batch.x, np.float64)
    return [Series(values, len(batch), [drift.event for drift in source.drifts], [1] * len(source.drifts))]


# Tables and picture.


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """A table a cell, the highest mean time ratio first."""
    return {_name(cell): _table(cell) for cell in result["cells"]}


def _name(cell: Mapping[str, Any]) -> str:
    return f"{cell['group']}_{cell['workload'].removesuffix('_v1')}"


def _table(cell: Mapping[str, Any]) -> str:
    sides = sorted(cell["contestants"], key=_order)
    drifting = any(_found(side).get("n_drifts") for side in sides)
    header = ["detector", *(_OF_DRIFTS if drifting else []), *_OF_ALARMS, *(["MTR"] if drifting else []), "events/s"]
    rows = [_row(side, drifting) for side in sides if side["status"] == "ok"]
    failed = [f"**{side['name']}: {side['reason']}**" for side in sides if side["status"] != "ok"]
    note = f"{max((side['events'] for side in sides), default=0):,} events"
    if cell["group"] == "loss":
        note += f": the loss of a linear classifier on {', '.join(CONCEPTS)}, without the first {WARM_UP:,} of each"
    if drifting:
        note += (
            f". A drift is found by an alarm from its first event to {ACCEPTANCE:,} after its last; further ones until "
            "then are not counted as false, all others are"
        )
    note += "."
    return "\n\n".join([note, table(header, rows, texts=("detector",)), *failed])


_OF_DRIFTS = ("missed", "mean delay", "median delay")
_OF_ALARMS = ("false alarms per 10,000", "events between false alarms")


def _row(side: Mapping[str, Any], drifting: bool) -> list[str]:
    found = _found(side)
    row = [side["name"]]
    if drifting:
        row.append(f"{found['n_missed']:.0f} of {found['n_drifts']:.0f}")
        row += [f"{found[key]:,.0f}" if key in found else "–" for key in ("mean_delay", "median_delay")]
    between = found.get("mean_time_between_false_alarms")
    row += [f"{found['false_alarms_per_10_000']:.2f}", "∞" if between is None else f"{between:,.0f}"]
    if drifting:
        row.append("∞" if "mean_time_ratio" not in found else score(found["mean_time_ratio"]))
    return [*row, amount(side["best"], "events/s")]


def _found(side: Mapping[str, Any]) -> Mapping[str, float]:
    return side.get("quality") or {}


def _order(side: Mapping[str, Any]) -> tuple[float, ...]:
    """The highest MTR first, where it is infinite the fewest missed; without drifts the fewest false alarms."""
    found = _found(side)
    false = found.get("false_alarms_per_10_000", math.inf)
    if not found.get("n_drifts"):
        return false, 0.0, 0.0
    return -found.get("mean_time_ratio", math.inf), found["n_missed"], found.get("mean_delay", math.inf)


def pictures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Mean delay against false alarms, a panel a cell with drifts, a mark a detector that found any."""
    from matplotlib.figure import Figure

    shown = [cell for cell in result["cells"] if any("mean_delay" in _found(side) for side in cell["contestants"])]
    if not shown:
        return {}
    n_rows = math.ceil(len(shown) / 2)
    drawn = Figure(figsize=(13, 3.2 * n_rows), layout="constrained")
    for place, cell in enumerate(shown):
        axes = drawn.add_subplot(n_rows, 2, place + 1)
        for side, mark in zip(cell["contestants"], _MARKS, strict=False):
            found = _found(side)
            if "mean_delay" not in found:
                continue
            missed = f", missed {found['n_missed']:.0f} of {found['n_drifts']:.0f}" if found["n_missed"] else ""
            point = found["false_alarms_per_10_000"], found["mean_delay"]
            axes.plot(*point, mark, markersize=7, fillstyle="none", clip_on=False, label=side["name"] + missed)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_xlim(0, 10)
        axes.set_xticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
        axes.set_yscale("log")
        axes.set_ylim(3, 5000)
        axes.set_yticks([10, 100, 1000], ["10", "100", "1,000"])
        axes.grid(alpha=0.3)
        axes.set_title(_name(cell).replace("_", " "), fontsize=10, loc="left")
        axes.set_xlabel("false alarms per 10,000 events", fontsize=8)
        axes.set_ylabel("mean delay, events", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=8, frameon=False)
    return {"delay": drawn}


_MARKS = ("o", "s", "^", "v", "D", "<", ">", "P", "X", "*")
"""One a detector of a cell, so that marks on one place can be told apart."""
