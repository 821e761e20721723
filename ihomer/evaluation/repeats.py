"""Repeats: the same learners on the same data again, with other seeds and orders, and what they come to on average."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ihomer.evaluation.result import EVENTS_PER_SECOND, MODEL_BYTES, SCOPES, Metric, Result, Run

if TYPE_CHECKING:
    from learners.base import Learner


@dataclass(slots=True)
class MeanRun(Run):
    """What several repeats of a run come to: means in place of numbers.

    Parameters
    ----------
    repeats
        The runs, the first repeat first. Means are over those that were not interrupted, or over all where all were.
    deviation
        Standard deviation (of a sample, n - 1) of each number that at least two repeats have, keyed as in ``metrics``.
    """

    repeats: list[Run] = field(default_factory=list)
    deviation: dict[str, float] = field(default_factory=dict)

    def text(self, metric: Metric) -> str:
        """The mean and the deviation as tables print them."""
        deviation = self.deviation.get(metric.key)
        mean = metric.text(self.value(metric))
        return mean if deviation is None else f"{mean} ± {metric.text(deviation)}"


def evaluate_repeats(
    stream: Any,
    learners: Mapping[str, Learner],
    repeats: int,
    *,
    shuffle: int | None = 0,
    seed: int = 0,
    **settings: Any,
) -> Result:
    """Evaluate learners on a stream several times, each time in another order and with other random numbers.

    Parameters
    ----------
    stream
        What `open_source` can open again and again: a path, a known name, a batch, a data frame; not a source.
    learners
        By name, untrained; they stay so, because clones of them learn.
    repeats
        How often; at least 1.
    shuffle
        Seed of the random order of the first repeat, one more with each; None: always in the order of the stream.
    seed
        Given to each learner that has a parameter of this name, one more with each repeat.
    settings
        Whatever else `ihomer.evaluate` takes.

    Returns
    -------
    Result
        Every run; its table and its report show means and standard deviations.

    Examples
    --------
    >>> import ihomer
    >>> result = evaluate_repeats("yeast", {"linear": ihomer.LinearClassifier()}, 3, max_events=200)
    >>> [run.data["order"] for run in result.runs if not run.baseline]
    ['shuffled:0', 'shuffled:1', 'shuffled:2']
    """
    from ihomer.evaluation.prequential import evaluate
    from streams.source import Source

    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    if isinstance(stream, Source):
        raise TypeError(f"stream must be something that can be opened again, got the source {stream.name!r}")
    results = []
    for turn in range(repeats):
        models = {
            name: model.clone({"seed": seed + turn} if "seed" in model._get_params() else None)
            for name, model in learners.items()
        }
        order = None if shuffle is None else shuffle + turn
        results.append(evaluate(stream, models, shuffle=order, **settings))
        for run in results[-1].runs:
            run.data["repeat"] = turn
    return Result.merge(results)


def averaged(result: Result) -> Result:
    """``result`` with one `MeanRun` in place of the repeats of a run; itself where nothing was repeated.

    Runs are repeats of each other where ``data`` has a ``repeat`` and everything else that names them agrees: data,
    kind of order, learner and its parameters but for the seed.
    """
    if not any("repeat" in run.data for run in result.runs):
        return result
    groups: dict[Any, list[Run]] = {}
    for number, run in enumerate(result.runs):
        groups.setdefault(_identity(run) if "repeat" in run.data else number, []).append(run)
    return replace(result, runs=[_mean(runs) if "repeat" in runs[0].data else runs[0] for runs in groups.values()])


def _identity(run: Run) -> tuple[Any, ...]:
    name, order = run.stream
    params = {key: str(value) for key, value in (run.learner.get("params") or {}).items() if key != "seed"}
    return name, order.partition(":")[0], run.data.get("sha256"), run.learner_name, tuple(sorted(params.items()))


def _mean(runs: Sequence[Run]) -> MeanRun:
    runs = sorted(runs, key=lambda run: int(run.data["repeat"]))
    counted = [run for run in runs if not run.interrupted] or list(runs)
    first = counted[0]
    seeds = _span([run.learner.get("seed") for run in runs])
    params = dict(first.learner.get("params") or {})
    if "seed" in params:
        params["seed"] = seeds
    kind, _, _ = first.stream[1].partition(":")
    orders = _span([run.stream[1].partition(":")[2] for run in runs])
    costs = [{metric.key: run.value(metric) for metric in (EVENTS_PER_SECOND, MODEL_BYTES)} for run in counted]
    return MeanRun(
        data={key: value for key, value in first.data.items() if key != "repeat"}
        | {"order": f"{kind}:{orders}" if orders else kind},
        learner=first.learner | {"params": params, "seed": seeds},
        metrics=_means([run.metrics for run in counted]),
        counts=_rounded(_means([run.counts for run in counted])),
        time=_means([run.time for run in counted]),
        model_bytes=round(statistics.fmean(run.model_bytes for run in counted)),
        baseline=first.baseline,
        per_label=_labels([run.per_label for run in counted]),
        window=_means([run.window for run in counted]),
        window_size=first.window_size,
        calibration=_calibration([run.calibration for run in counted]),
        ranking=_rounded(_means([run.ranking for run in counted])),
        interrupted=any(run.interrupted for run in runs),
        curve=_curve([run.curve for run in counted]),
        repeats=runs,
        deviation={
            key: statistics.stdev(values)
            for rows in ([run.metrics for run in counted], costs)
            for key, values in _columns(rows).items()
            if len(values) == len(counted) > 1
        },
    )


def _span(values: Sequence[Any]) -> Any:
    """``0..4`` for five values that differ, the value itself where they do not."""
    return values[0] if len(set(values)) == 1 else f"{values[0]}..{values[-1]}"


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each number that all have."""
    return {key: statistics.fmean(values) for key, values in _columns(rows).items() if len(values) == len(rows)}


def _rounded(row: Mapping[str, float]) -> dict[str, int]:
    return {key: round(value) for key, value in row.items()}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                columns.setdefault(key, []).append(float(value))
    return columns


def _labels(repeats: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Means of the numbers of each label."""
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for entries in repeats:
        for entry in entries:
            by_label.setdefault(entry["label"], []).append(entry)
    means = {label: _means(entries) for label, entries in by_label.items()}
    counts = ("support", "predicted")
    return [
        {"label": label, **row, **_rounded({key: row[key] for key in counts if key in row})}
        for label, row in means.items()
    ]


def _calibration(repeats: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """The bins of all repeats poured together."""
    known = [found for found in repeats if found is not None]
    if not known:
        return None
    bins: dict[tuple[float, float], list[tuple[int, float, float]]] = {}
    for found in known:
        columns = (found[key] for key in ("low", "high", "n", "mean_probability", "share_present"))
        for low, high, *cells in zip(*columns, strict=True):
            bins.setdefault((low, high), []).append((cells[0], cells[1], cells[2]))
    edges = sorted(bins)
    n = [sum(count for count, _, _ in bins[edge]) for edge in edges]
    mean_probability, share_present = (
        [sum(cell[0] * cell[which] for cell in bins[edge]) / total for edge, total in zip(edges, n, strict=True)]
        for which in (1, 2)
    )
    return {
        "n_cells": sum(found["n_cells"] for found in known),
        "ece": statistics.fmean(found["ece"] for found in known),
        "low": [low for low, _ in edges],
        "high": [high for _, high in edges],
        "n": n,
        "mean_probability": mean_probability,
        "share_present": share_present,
    }


def _curve(curves: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Means at the points that all curves have."""
    at = [{int(point["event"]): point for point in curve} for curve in curves]
    return [
        {"event": event} | {scope: _means([points[event].get(scope, {}) for points in at]) for scope in SCOPES}
        for event in at[0]
        if all(event in points for points in at)
    ]
