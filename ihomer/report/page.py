"""What the page says: the numbers of a result, put into the words, tables and drawings that the templates lay out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ihomer.evaluation.repeats import MeanRun, averaged
from ihomer.evaluation.result import (
    CURVES_CONTINUAL,
    EVENTS_PER_SECOND,
    METRICS,
    MODEL_BYTES,
    SHOWN_CONTINUAL,
    Metric,
    Result,
    Run,
    shown,
)
from ihomer.report import comparison, continual, drifts, history, probabilities, tree
from ihomer.report.curves import Line, panel

RANKING = tuple(f"{key}_at_{k}" for key in ("precision", "ndcg", "psp") for k in (1, 3, 5))
"""Metrics of the table of rankings, where a run has them."""

N_COLOURS = 8
"""Colours of the style sheet; more learners go round again with other dashes."""

MOST_OPEN = 3
"""Streams up to which every section is open at first."""

MOST_LABELS = 40
"""Labels up to which all are in the table with bars; of more, half as many from either end of the support."""

MOST_EVENTS = 200
"""Rows of the table of structural events."""

FEW_POINTS = 120
"""Points a curve is thinned to on a page of many streams."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number in a table."""

    text: str
    best: bool = False
    deviation: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A learner in a table."""

    title: str
    style: str
    baseline: bool
    interrupted: bool
    cells: list[Cell]


def page(result: Result) -> str:
    """The page of a result."""
    result = averaged(result)
    styles = _styles(result)
    titles = result.learner_titles()
    streams = [
        _stream(result, number, numbers, titles, styles, name)
        for number, (name, numbers) in enumerate(
            zip(result.stream_titles().values(), result.streams().values(), strict=True)
        )
    ]
    learners = {title: run.baseline for title, run in zip(titles, result.runs, strict=True)}
    template = _environment().get_template("page.html")
    return template.render(
        result=result,
        heading=streams[0]["title"] if len(streams) == 1 else f"{len(streams)} streams",
        learners=[(title, styles[title]) for title, baseline in learners.items() if not baseline],
        baselines=[(title, styles[title]) for title, baseline in learners.items() if baseline],
        started=_moment(result.started),
        machine=_machine(result.machine),
        streams=streams,
        folded=len(streams) > MOST_OPEN,
        overview=_overview(result, titles, styles) if len(streams) > 1 else None,
        comparisons=comparison.sections(result.significance, styles),
        comparison_notes=list(dict.fromkeys(note for found in result.significance.values() for note in found.notes)),
        metrics=[METRICS[key] for key in dict.fromkeys(key for stream in streams for key in stream["shown"])],
        n_repeats=max((len(run.repeats) for run in result.runs if isinstance(run, MeanRun)), default=0),
        calibrated=any(stream["calibration"] for stream in streams),
        window_sizes=sorted({run.window_size for run in result.runs if run.window_size}),
        styles=list(dict.fromkeys(styles.values())),
        alarm_styles=list(dict.fromkeys(f"alarm {kind}" for stream in streams for kind, _ in stream["alarm_kinds"])),
        watched=any(stream["watched"] for stream in streams),
        most_events=MOST_EVENTS,
        restructured=any(run.restructures for run in result.runs),
    )


@cache
def _environment() -> Environment:
    loader = PackageLoader("ihomer", "report")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.globals["asset"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment


def _styles(result: Result) -> dict[str, str]:
    """A class of the style sheet for each learner, the same in the whole page."""
    styles: dict[str, str] = {}
    counts = {True: 0, False: 0}
    for title, run in zip(result.learner_titles(), result.runs, strict=True):
        if title not in styles:
            place = counts[run.baseline]
            styles[title] = f"b{place % 3}" if run.baseline else f"s{place % N_COLOURS} d{place // N_COLOURS % 3}"
            counts[run.baseline] += 1
    return styles


def _stream(
    result: Result, place: int, numbers: Sequence[int], titles: Sequence[str], styles: Mapping[str, str], name: str
) -> dict[str, Any]:
    """Everything that the section of one stream shows."""
    runs = [result.runs[number] for number in numbers]
    names = [titles[number] for number in numbers]
    keys = shown(runs)
    columns = [*_found(runs, keys), EVENTS_PER_SECOND, MODEL_BYTES]
    at_k = _found(runs, RANKING) if runs[0].data.get("n_labels") != 1 else []
    many = len(result.streams()) > MOST_OPEN
    lines = [
        Line(
            title,
            styles[title],
            _thinned(run.curve, FEW_POINTS if many else len(run.curve)),
            [int(drift["event"]) for drift in run.drifts],
            [int(change["event"]) for change in run.restructures],
        )
        for title, run in zip(names, runs, strict=True)
    ]
    known, alarms = drifts.known(runs[0]), drifts.by_kind(runs[0])
    drawn = CURVES_CONTINUAL if keys == SHOWN_CONTINUAL else keys
    panels = [(METRICS[key], panel(key, METRICS[key].title, lines, known=known, alarms=alarms)) for key in drawn]
    data = runs[0].data
    facts = [(data.get("n_events"), "events"), (data.get("n_features"), "features"), (data.get("n_labels"), "labels")]
    cardinality = data.get("cardinality")
    return {
        "key": f"stream-{place + 1}",
        "title": name,
        "data": data,
        "facts": [f"{count:,} {what}" for count, what in facts if count is not None]
        + ([f"{cardinality:.2f} labels per event"] if cardinality is not None else [])
        + [_order(runs[0])],
        "interrupted": any(run.interrupted for run in runs),
        "short": _short(result, numbers, titles),
        "shown": keys,
        "columns": columns,
        "rows": _rows(result, numbers, titles, styles, columns),
        "ranking": {
            "columns": at_k,
            "rows": _rows(result, [n for n in numbers if result.runs[n].ranking], titles, styles, at_k),
            "n_ranked": max(run.ranking.get("n_ranked", 0) for run in runs),
            "n_without_label": max(run.ranking.get("n_without_label", 0) for run in runs),
        },
        "calibration": probabilities.calibration(runs, names, styles),
        "thresholds": probabilities.thresholds(runs, names, styles),
        "all_metrics": _all_metrics(result, numbers),
        "heads": [(title, styles[title]) for title in names],
        "panels": [(metric, drawing) for metric, drawing in panels if drawing],
        "continual": continual.section(runs, names, styles),
        "n_drifts": sum(len(run.drifts) for run in runs),
        "n_known": len(known),
        "alarm_kinds": drifts.legend(runs[0]),
        "watched": bool(data.get("watch")),
        "of_stream": drifts.sentences(runs[0]),
        "detection": drifts.scores(runs, names, styles),
        "n_restructures": sum(len(run.restructures) for run in runs),
        "happened": [(title, styles[title], _happened(run)) for title, run in zip(names, runs, strict=True)],
        "labels": _labels(runs),
        "trees": [
            (title, styles[title], tree.layout(run.hierarchy), tree.clusters(run.hierarchy))
            for title, run in zip(names, runs, strict=True)
            if run.hierarchy is not None
        ],
        "histories": [
            (title, found, history.drawing(found))
            for title, run in zip(names, runs, strict=True)
            if (found := history.of_run(run)) is not None
        ],
        "events": _events(runs, names, styles),
        "costs": _costs(runs),
        "settings": [(title, styles[title], _settings(run)) for title, run in zip(names, runs, strict=True)],
    }


def _found(runs: Sequence[Run], keys: Sequence[str]) -> list[Metric]:
    """Those of the metrics that at least one run has."""
    return [METRICS[key] for key in keys if any(key in run.metrics for run in runs)]


def _rows(
    result: Result,
    numbers: Sequence[int],
    titles: Sequence[str],
    styles: Mapping[str, str],
    columns: Sequence[Metric],
) -> list[Row]:
    """A row for each of the runs ``numbers``, the best of each column marked."""
    best = {metric.key: result.best(metric, numbers) for metric in columns}
    rows = []
    for number in numbers:
        run, title = result.runs[number], titles[number]
        cells = [_cell(run, metric, number in best[metric.key]) for metric in columns]
        rows.append(Row(title, styles[title], run.baseline, run.interrupted, cells))
    return rows


def _cell(run: Run, metric: Metric, best: bool) -> Cell:
    deviation = run.deviation.get(metric.key) if isinstance(run, MeanRun) else None
    return Cell(metric.text(run.value(metric)), best, "" if deviation is None else metric.text(deviation))


def _order(run: Run) -> str:
    """In which order the events came, in words."""
    kind, _, seed = run.stream[1].partition(":")
    orders = {"shuffled": "random", "siblurry": "Si-Blurry"}
    if kind in orders:
        words = f"in {orders[kind]} order, seed{'s' if '..' in seed else ''} {seed.replace('..', ' to ')}"
    else:
        words = "in the order of the file" if kind == "file" else run.stream[1]
    return f"{words}, mean of {len(run.repeats)} repeats" if isinstance(run, MeanRun) else words


def _short(result: Result, numbers: Sequence[int], titles: Sequence[str]) -> str:
    """Who leads, in one sentence that the table below it proves."""
    metric = METRICS[shown([result.runs[number] for number in numbers])[0]]
    scores = {number: value for number in numbers if (value := result.runs[number].value(metric)) is not None}
    learners = {number: value for number, value in scores.items() if not result.runs[number].baseline}
    baselines = {number: value for number, value in scores.items() if result.runs[number].baseline}
    if not learners:
        return ""
    first = max(learners, key=lambda number: learners[number])
    text = f"{titles[first]} reaches {metric.title} {metric.text(learners[first])}"
    if not baselines:
        return f"{text}."
    base = max(baselines, key=lambda number: baselines[number])
    gap = metric.rounded(learners[first]) - metric.rounded(baselines[base])
    if round(gap, metric.digits) == 0:
        return f"{text}, the same as the best baseline, {titles[base]}."
    return f"{text}, {abs(gap):.{metric.digits}f} {'above' if gap > 0 else 'below'} the best baseline, {titles[base]}."


def _all_metrics(result: Result, numbers: Sequence[int]) -> list[tuple[Metric, bool, list[tuple[Cell, str]]]]:
    """A row a metric, and in it for each run the number over all events and that over the last ones."""
    runs = [result.runs[number] for number in numbers]
    found = {key for run in runs for key in run.metrics}
    rows = []
    for key in (*(key for key in METRICS if key in found), *sorted(found - METRICS.keys())):
        metric = METRICS.get(key, Metric(key, key, "higher"))
        best = result.best(metric, numbers) if key in METRICS else set()
        cells = [
            (_cell(run, metric, number in best), metric.text(_finite(run.window.get(key))))
            for number, run in zip(numbers, runs, strict=True)
        ]
        rows.append((metric, key in METRICS, cells))
    return rows


def _happened(run: Run) -> list[str]:
    """What there is to tell of a run, in sentences."""
    sentences = []
    if run.interrupted:
        scored = run.counts.get("scored")
        so_far = "" if scored is None else f" after {scored:,} scored events"
        sentences.append(f"Interrupted{so_far}; its numbers hold for these.")
    if isinstance(run, MeanRun):
        counts = [len(repeat.drifts) for repeat in run.repeats]
        sentences.append(f"Drifts of its loss in each repeat: {', '.join(f'{count:,}' for count in counts)}.")
        if any(repeat.restructures for repeat in run.repeats):
            counts = [len(repeat.restructures) for repeat in run.repeats]
            sentences.append(f"Structural changes: {', '.join(f'{count:,}' for count in counts)}.")
    if run.drifts:
        places = [f"{drift['event']:,}" for drift in run.drifts[:6]]
        more = f" and {len(run.drifts) - 6} more" if len(run.drifts) > 6 else ""
        sentences.append(f"{_plural(len(run.drifts), 'drift')} of its loss, at event {', '.join(places)}{more}.")
    if run.restructures:
        kinds = Counter(str(change.get("kind", "change")) for change in run.restructures)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        sentences.append(f"{_plural(len(run.restructures), 'structural change')}: {listed}.")
    return sentences


def _labels(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The labels by support, with the F1 of each run, and which of them the table with bars shows."""
    support: dict[str, int] = {}
    shown_as: dict[str, str] = {}
    f1: list[dict[str, float | None]] = []
    for run in runs:
        of_run = {}
        for entry in run.per_label:
            key = json.dumps(entry["label"])
            shown_as[key] = str(entry["label"])
            support[key] = max(support.get(key, 0), int(entry.get("support") or 0))
            of_run[key] = _finite(entry.get("f1"))
        f1.append(of_run)
    if not support or all(value is None for of_run in f1 for value in of_run.values()):
        return None
    rows = [
        (shown_as[key], count, [of_run.get(key) for of_run in f1])
        for key, count in sorted(support.items(), key=lambda item: -item[1])
    ]
    half = MOST_LABELS // 2
    many = len(rows) > MOST_LABELS
    return {
        "rows": rows,
        "head": rows[:half] if many else rows,
        "tail": rows[-half:] if many else [],
        "n_unseen": sum(count == 0 for _, count, _ in rows),
    }


def _events(
    runs: Sequence[Run], names: Sequence[str], styles: Mapping[str, str]
) -> list[tuple[int, str, str, str, str]]:
    """Drifts and structural changes in order: event, learner, its style, what, details."""
    events = []
    logs = [(name, styles[name], run.drifts, run.restructures) for name, run in zip(names, runs, strict=True)]
    for name, style, found, restructures in [*logs, ("the stream", "", drifts.alarms(runs[0]), [])]:
        for happened, what in ((found, "drift of "), (restructures, "")):
            for entry in happened:
                details = "; ".join(
                    f"{key.replace('_', ' ')} {_detail(value)}"
                    for key, value in entry.items()
                    if key not in ("event", "kind")
                )
                events.append((int(entry["event"]), name, style, what + str(entry.get("kind", "change")), details))
    return sorted(events, key=lambda event: event[0])


def _detail(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_detail(item) for item in value[:8])
        return f"[{shown}{f' + {len(value) - 8} more' if len(value) > 8 else ''}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_detail(item)}" for key, item in value.items()) + "}"
    return "–" if value is None else str(value)


def _costs(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Counts, times and sizes: a row each, a column a run."""
    rows = []
    counts = ("read", "scored", "learned", "unlabelled", "pending", "dead")
    extra = sorted({key for run in runs for key in run.counts} - set(counts))
    for key in (*counts, *extra):
        rows.append((f"events {key}", [f"{run.counts[key]:,}" if key in run.counts else "–" for run in runs]))
    for key, title in (("wall_s", "seconds of its own work"), ("cpu_s", "processor seconds")):
        rows.append((title, [f"{run.time[key]:,.3f}" if key in run.time else "–" for run in runs]))
    if any("answer_s" in run.time for run in runs):
        texts = [f"{1000 * run.time['answer_s']:,.3f}" if "answer_s" in run.time else "–" for run in runs]
        rows.append(("milliseconds of one answer after learning", texts))
    rows.append((EVENTS_PER_SECOND.title, [EVENTS_PER_SECOND.text(run.value(EVENTS_PER_SECOND)) for run in runs]))
    rows.append((MODEL_BYTES.title, [f"{run.model_bytes:,}" for run in runs]))
    return rows


def _settings(run: Run) -> str:
    """Parameters and seed of a learner in words."""
    params = dict(run.learner.get("params") or {})
    seed = params.pop("seed", run.learner.get("seed"))
    parts = [f"{key}={value}" for key, value in params.items()]
    return ", ".join([*parts, "no seed" if seed is None else f"seed {seed}"])


def _overview(result: Result, titles: Sequence[str], styles: Mapping[str, str]) -> dict[str, Any]:
    """Means and average ranks over the streams that every learner has, and each metric of each stream."""
    learners = sorted(dict.fromkeys(titles), key=lambda title: styles[title].startswith("b"))
    by_stream = {stream: {titles[number]: number for number in numbers} for stream, numbers in result.streams().items()}
    metrics = _found(result.runs, shown(result.runs))
    means: dict[str, list[tuple[Cell, str]]] = {title: [] for title in learners}
    n_common = []
    for metric in metrics:
        values = [
            {title: result.runs[number].value(metric) for title, number in found.items()}
            for found in by_stream.values()
        ]
        common = [
            [row[title] or 0.0 for title in learners]
            for row in values
            if all(row.get(title) is not None for title in learners)
        ]
        n_common.append(len(common))
        if not common:
            for title in learners:
                means[title].append((Cell("–"), "–"))
            continue
        ranks = [_ranks([metric.rounded(value) for value in row], metric) for row in common]
        mean = [metric.rounded(sum(column) / len(common)) for column in zip(*common, strict=True)]
        rank = [sum(column) / len(common) for column in zip(*ranks, strict=True)]
        best = (max if metric.better == "higher" else min)(mean)
        for title, value, place in zip(learners, mean, rank, strict=True):
            means[title].append((Cell(metric.text(value), value == best and len(set(mean)) > 1), f"{place:.2f}"))
    tables = [
        (
            metric,
            [
                (
                    name,
                    f"stream-{place + 1}",
                    [
                        _cell(result.runs[found[title]], metric, found[title] in best) if title in found else Cell("–")
                        for title in learners
                    ],
                )
                for place, (name, found) in enumerate(
                    zip(result.stream_titles().values(), by_stream.values(), strict=True)
                )
                for best in [result.best(metric, found.values())]
            ],
        )
        for metric in metrics
    ]
    return {
        "metrics": metrics,
        "heads": [(title, styles[title]) for title in learners],
        "means": [(title, styles[title], means[title]) for title in learners],
        "n_common": min(n_common, default=0),
        "n_streams": len(by_stream),
        "tables": tables,
    }


def _ranks(values: Sequence[float], metric: Metric) -> list[float]:
    """1 for the best; equals share the mean of their places."""
    return [
        1 + sum(metric.is_better(other, value) for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def _thinned(curve: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Every k-th point, counted from the last, so that there are at most ``most``."""
    step = max(1, math.ceil(len(curve) / max(1, most)))
    return list(curve[::-1][::step][::-1])


def _machine(machine: Mapping[str, Any]) -> str:
    parts = [str(machine["cpu"])] if machine.get("cpu") else []
    if machine.get("cores"):
        parts.append(_plural(int(machine["cores"]), "core"))
    if machine.get("memory_bytes"):
        parts.append(f"{machine['memory_bytes'] / 2**30:.0f} GiB memory")
    parts += [str(machine[key]) for key in ("system", "architecture") if machine.get(key)]
    return ", ".join(parts)


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip()


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
