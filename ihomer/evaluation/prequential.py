"""Prequential evaluation: answer, score, learn, event by event, over the whole stream, beside two baselines."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ihomer.checkpoint import CheckpointStore, describe
from ihomer.detectors import AnyDetector, build, parameters
from ihomer.engine import Engine, Outputs
from ihomer.evaluation.result import Result, Run
from ihomer.evaluation.suffix import Suffix
from ihomer.evaluation.track import SCOPES, Track
from ihomer.evaluation.watching import StreamWatch
from ihomer.hierarchy import LabelHierarchy
from ihomer.progress import Progress
from learners import MajorityClassifier, NoChangeClassifier
from learners.base import Learner
from streams.batch import Schema
from streams.memory import BatchSource, read_all, shuffled
from streams.opening import open_sink, open_source
from streams.source import Source

_SCOPES = ("full", "after_last_restructure")

_POINTS = 200
"""Points that a curve of known length gets."""

_SPACING = 256
"""Events between two points of a curve of unknown length, to begin with."""

_LABEL_CURVES = 100
"""Labels whose calibration curve is kept, those that were present most often."""


def evaluate(
    stream: Any,
    learners: Learner | Mapping[str, Learner],
    *,
    baselines: bool = True,
    labels: str | None = None,
    max_events: int | None = None,
    batch_size: int = 256,
    shuffle: int | None = None,
    delay: int | np.timedelta64 = 0,
    window: int = 1000,
    fading: float = 0.999,
    detector: str | AnyDetector = "adwin",
    watch: str | Sequence[str | AnyDetector] = (),
    further_metrics: bool = True,
    scope: str = "full",
    on_error: Literal["fail", "skip"] = "fail",
    predictions: Any = None,
    dead_letters: Any = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Evaluate learners on a stream, all in one pass: each event is answered, scored, then learned.

    Parameters
    ----------
    stream
        A source, or whatever `open_source` opens: a path, a known name, a batch, a data frame.
    learners
        One learner or several by name. They learn as they go.
    baselines
        Whether no-change (the previous label set) and majority run beside them.
    labels
        Which columns are labels, where the stream does not say: ``first:6``, ``last:14`` or names.
    max_events
        Stop after so many events; None: at the end.
    batch_size
        Events read at a time; changes no figure.
    shuffle
        Seed of a random order, for which the whole stream is read into memory first; None: as it comes.
    delay
        Labels come so many answered events later, or so much event time (`numpy.timedelta64`).
    window, fading
        Length of the sliding window in events, and the factor by which an older event weighs less in faded metrics.
    detector
        What watches the loss of every learner: a name, a specification, or a detector of change in a number.
    watch
        What of the stream itself is watched: ``labels``, ``features``, both, or such detectors; see `StreamWatch`.
    further_metrics
        Whether ranking, single-label metrics and calibration are told beside the multi-label metrics.
    scope
        ``full``: the whole stream. ``after_last_restructure``: beside it, as runs of a stream of its own, the events
        from 50 after the last restructuring of the first learner on, for every learner, as published; see `Suffix`.
    on_error
        ``fail``: an event that cannot be read ends the run; ``skip``: it is counted and goes to ``dead_letters``.
    predictions, dead_letters
        Sinks or paths to write to; None: nowhere.
    checkpoint, resume
        Folder for checkpoints, and whether to go on from its latest.
    progress
        Told how the run gets on.

    Returns
    -------
    Result
        One run a learner, with ``scope="after_last_restructure"`` another one.

    Raises
    ------
    ValueError
        There is no learner, or labels come late and only the end of the stream was to be scored.

    Examples
    --------
    >>> import ihomer
    >>> result = ihomer.evaluate("yeast", ihomer.LinearClassifier(), max_events=500)
    >>> [run.learner["name"] for run in result.runs]
    ['LinearClassifier', 'no-change', 'majority']
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    models = {type(learners).__name__: learners} if isinstance(learners, Learner) else dict(learners)
    if not models:
        raise ValueError("learners must name at least one, got none")
    source = stream if isinstance(stream, Source) else open_source(stream, labels=labels, on_error=on_error)
    outputs = Outputs(predictions=_sink(predictions), dead_letters=_sink(dead_letters))
    try:
        engine = Engine(
            ordered(source, shuffle),
            make_tracks(
                models,
                source,
                baselines=baselines,
                max_events=max_events,
                window=window,
                fading=fading,
                detector=detector,
                further_metrics=further_metrics,
                scope=checked_scope(scope, delay),
            ),
            batch_size=batch_size,
            max_events=max_events,
            delay=delay,
            outputs=outputs,
            store=None if checkpoint is None else CheckpointStore(checkpoint),
            watch=StreamWatch(watch) if watch else None,
            progress=progress,
        )
        ended = engine.run(resume=resume)
        runs = to_result(engine, order=order_name(shuffle), sha256=digest(source), ended=ended)
        return Result(runs, started=started)
    finally:
        for sink in outputs.each().values():
            sink.close()
        source.close()


def _sink(where: Any) -> Any:
    return open_sink(where) if isinstance(where, (str, Path)) else where


def ordered(source: Source, shuffle: int | None) -> Source:
    """``source`` itself, or its events in the random order of a seed."""
    if shuffle is None:
        return source
    return BatchSource(shuffled(read_all(source), shuffle), source.name)


def order_name(shuffle: int | None) -> str:
    """The order of the events as the result file calls it."""
    return "file" if shuffle is None else f"shuffled:{shuffle}"


def make_tracks(
    models: Mapping[str, Learner],
    source: Source,
    *,
    baselines: bool = True,
    max_events: int | None = None,
    window: int = 1000,
    fading: float = 0.999,
    detector: str | AnyDetector = "adwin",
    further_metrics: bool = True,
    scope: str = "full",
    silent: Collection[str] = (),
) -> list[Track]:
    """A track for every learner, and for the two baselines unless a learner has their name; ``silent`` are those whose
    answers are not written."""
    lengths = [length for length in (source.n_events, max_events) if length is not None]
    spacing = max(1, math.ceil(min(lengths) / _POINTS)) if lengths else _SPACING
    rivals: dict[str, Learner] = {"no-change": NoChangeClassifier(), "majority": MajorityClassifier()}
    everyone = {**models, **{name: model for name, model in rivals.items() if baselines and name not in models}}
    first = next(iter(models.values()))
    return [
        Track(
            name,
            model,
            baseline=name not in models,
            silent=name in silent,
            spacing=spacing,
            window=window,
            fading=fading,
            detector=detector,
            further_metrics=further_metrics,
            suffix=None if scope == "full" else Suffix(first),
        )
        for name, model in everyone.items()
    ]


def digest(source: Any) -> str | None:
    """SHA-256 of the file that a source reads, or None where it reads none."""
    path = getattr(source, "path", None)
    if path is None or not Path(path).is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_result(engine: Engine, *, order: str, sha256: str | None, ended: bool) -> list[Run]:
    """What an engine has found so far, a run a track."""
    schema, counts = engine.source.schema, engine.counts
    n_labelled = counts.scored + counts.pending
    data: dict[str, Any] = {
        "name": engine.source.name,
        "sha256": sha256,
        "n_events": counts.read,
        "n_features": schema.n_features,
        "n_labels": schema.n_labels,
        "cardinality": counts.present / n_labelled if n_labelled else 0.0,
        "order": order,
    }
    # A source that is not shuffled and knows where it changes: the synthetic ones do.
    drifts = getattr(engine.source, "drifts", None)
    if drifts:
        data["drifts"] = [asdict(drift) for drift in drifts]
    encoder = getattr(engine.source, "encoder", None)
    if encoder is not None:
        data["encoder"] = encoder
    if engine.watch is not None:
        data["watch"] = [type(detector).__name__ for detector in engine.watch.detectors]
        data["alarms"] = list(engine.watch.alarms)
    if engine.join is not None:
        data["join"] = vars(engine.join.counts)
    runs = []
    for track in engine.tracks:
        metrics = track.read("cumulative", schema.n_labels)
        calibration = _calibration(track, schema)
        if calibration is not None:
            metrics["ece"] = calibration["ece"]
        rate = counts.read / track.wall_s if track.wall_s else 0.0
        runs.append(
            Run(
                data=dict(data),
                learner=_learner(track),
                counts=counts.as_dict(),
                metrics=metrics,
                time={"wall_s": track.wall_s, "cpu_s": track.cpu_s, "events_per_s": rate},
                model_bytes=track.model.nbytes,
                drifts=list(track.drifts),
                restructures=list(track.model.events_),
                baseline=track.baseline,
                per_label=_per_label(track, schema, calibrated=calibration is not None),
                window=track.read("window", schema.n_labels),
                window_size=track.metrics.window,
                calibration=calibration,
                ranking=_ranking(track),
                hierarchy=_hierarchy(track),
                interrupted=not ended,
                curve=_curve(track, metrics),
            )
        )
    suffixes = [track.suffix for track in engine.tracks]
    ends = zip(runs, suffixes, strict=True)
    return runs + [_end(run, suffix, schema.n_labels) for run, suffix in ends if suffix is not None]


def _end(run: Run, suffix: Suffix, n_labels: int) -> Run:
    """The run as it looks from the last restructuring on."""
    scored = suffix.metrics.n_scored
    return replace(
        run,
        data={**run.data, "order": f"{run.data['order']}, from event {suffix.start + 1} on"},
        counts={**run.counts, "scored": scored},
        metrics=suffix.metrics.cumulative(n_labels) if scored else {},
        drifts=[],
        per_label=[],
        window={},
        window_size=0,
        calibration=None,
        ranking={},
        curve=[],
    )


def checked_scope(scope: str, delay: int | np.timedelta64) -> str:
    """``scope`` itself, which is the whole stream where labels come late: learning lags behind scoring there."""
    if scope not in _SCOPES:
        raise ValueError(f"scope must be one of {', '.join(_SCOPES)}, got {scope!r}")
    if scope != "full" and delay:
        raise ValueError(f"scope must be 'full' with a delay of labels, got {scope!r} and {delay}")
    return scope


def _learner(track: Track) -> dict[str, Any]:
    described = describe(track.model)
    params = described["params"]
    learner = {"name": track.name, "class": described["class"], "params": params, "seed": params.get("seed")}
    detector = parameters(track.detector)
    return learner if detector == parameters(build("adwin")) else learner | {"detector": detector}


def _curve(track: Track, metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """The points, without what cannot be told at the end: a stream of many labels may begin with one an event."""
    gone = {key for point in track.curve for key in point[SCOPES[0]]} - metrics.keys()
    return [
        {"event": point["event"]}
        | {scope: {key: value for key, value in point[scope].items() if key not in gone} for scope in SCOPES}
        if gone
        else point
        for point in track.curve
    ]


def _calibration(track: Track, schema: Schema) -> dict[str, Any] | None:
    curve = None if track.calibration is None else track.calibration.curve(schema.n_labels)
    return curve if curve and curve["n_cells"] else None


def _ranking(track: Track) -> dict[str, int]:
    ranking = track.ranking
    if ranking is None or not ranking.n_ranked + ranking.n_without_label:
        return {}
    return {"n_ranked": ranking.n_ranked, "n_without_label": ranking.n_without_label}


def _per_label(track: Track, schema: Schema, *, calibrated: bool) -> list[dict[str, Any]]:
    columns = track.metrics.per_label(schema.n_labels)
    entries = _entries({"label": schema.label_names, **{name: values.tolist() for name, values in columns.items()}})
    if track.calibration is None or not calibrated:
        return entries
    thresholds = {name: values.tolist() for name, values in track.calibration.thresholds(schema.n_labels).items()}
    errors = track.calibration.errors(schema.n_labels)
    for entry, further in zip(entries, _entries({**thresholds, "ece": errors.tolist()}), strict=False):
        entry |= further
    drawn = np.argsort(-columns["support"][: len(errors)], kind="stable")[:_LABEL_CURVES].tolist()
    for number, curve in zip(drawn, track.calibration.curves(schema.n_labels, drawn), strict=True):
        entries[number]["calibration"] = curve
    return entries


def _entries(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _hierarchy(track: Track) -> dict[str, Any] | None:
    hierarchy = getattr(track.model, "hierarchy_", None)
    return hierarchy.tree(track.model.schema_.label_names) if isinstance(hierarchy, LabelHierarchy) else None
