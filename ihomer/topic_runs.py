"""What ``ihomer run`` does with a topic in partitions: a pipeline, its sinks, its checkpoints and its result."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from threading import Event
from typing import Any, NamedTuple

from ihomer.checkpoint import CheckpointStore
from ihomer.config import command_line
from ihomer.engine import Engine, Outputs
from ihomer.evaluation.prequential import make_tracks, to_result
from ihomer.evaluation.result import Result, Run
from ihomer.evaluation.watching import StreamWatch
from ihomer.extracting import extracted, open_pool
from ihomer.operations import tell_operators
from ihomer.partition_merge import Merged, PartitionMerge
from ihomer.pipeline import Pipeline, Scores, pooled
from ihomer.plans import RunPlan
from ihomer.progress import Progress
from ihomer.runs import keep, label_join, make_learners, stopping, warm
from streams.opening import open_partition_sink, open_topic
from streams.source import Sink, Source, Topic
from streams.topics.address import Address, is_topic
from streams.topics.joining import JoinedTopic
from streams.topics.sink import KafkaSink, Role

_CHECKPOINT_S = 10.0


class Found(NamedTuple):
    """What a partition has come to: a run for every learner, and what their metrics have counted."""

    runs: list[Run]
    scores: Scores


def run_topic(plan: RunPlan, progress: Progress) -> Result:
    """Run a learner on each partition of a topic that this process gets, until told to stop or, where the plan says so,
    to where the topic ended at the start."""
    result = Result([], started=datetime.now(UTC).isoformat(timespec="seconds"), command=command_line(plan))
    with ExitStack() as closing:
        stop = closing.enter_context(stopping(signal.SIGINT, signal.SIGTERM))
        pipeline = open_pipeline(closing, plan, progress, stop)
        merging = None if plan.merge is None else PartitionMerge(plan, progress.note)
        if merging is not None:
            look = merging.look
            pipeline.on_round.append(lambda: look(sum(pipeline.kept.values())))
        progress.note(guarantee(plan))
        ended = pipeline.run()
        found = {partition: found_in(pipeline, partition) for partition in pipeline.engines}
        if merging is not None:
            merging.merge()
        result.runs += of_topic(pipeline.topic.name, found, ended, None if merging is None else merging.latest)
    keep(result, plan)
    if not ended and not result.runs:
        raise KeyboardInterrupt  # a member to which no partition had fallen was stopped
    return result


def open_pipeline(closing: ExitStack, plan: RunPlan, progress: Progress, stop: Event, **settings: Any) -> Pipeline:
    """The pipeline of a plan, which ``closing`` closes; ``settings`` are further ones of `Pipeline`."""
    topic = _topic(plan)
    closing.callback(topic.close)
    pool = open_pool(closing, plan, progress)

    def make_engine(source: Source, partition: int) -> Engine:
        return _engine(plan, extracted(source, pool, plan.on_error), partition, progress)

    pipeline = Pipeline(topic, make_engine, **{"resume": plan.resume, "progress": progress, "stop": stop, **settings})
    if plan.metrics_port is not None:
        tell_operators(
            closing, progress, plan.metrics_port, lambda: pipeline.engines, pipeline.on_round, lag=topic.lag, pool=pool
        )
    closing.callback(pipeline.close)
    return pipeline


def guarantee(plan: RunPlan) -> str:
    """What holds for state and answers when a process of this plan dies."""
    if plan.checkpoint is None:
        return "no checkpoints: a process that dies begins anew"
    state = "state: every event exactly once"
    if plan.predictions is None:
        return state
    if not is_topic(plan.predictions) or Address.parse(plan.predictions).directory is not None:
        return f"{state}; answers: exactly once, files being cut back to the checkpoint"
    if Address.parse(plan.predictions).get("delivery") == "exactly-once":
        return f"{state}; answers: exactly once for readers with isolation.level=read_committed"
    return f"{state}; answers: at least once, repeated ones having the same field source"


def _topic(plan: RunPlan) -> Topic:
    events = open_topic(plan.source, on_error=plan.on_error, payload=plan.payload, until_end=plan.until_end)
    if plan.label_source is None:
        return events
    try:
        labels = open_topic(plan.label_source, on_error=plan.on_error, until_end=plan.until_end, shared=False)
        return JoinedTopic(events, labels, on_error=plan.on_error, wait_ms=round(1000 * plan.join_wait))
    except BaseException:
        events.close()
        raise


def _engine(plan: RunPlan, source: Source, partition: int, progress: Progress) -> Engine:
    group = Address.parse(plan.source).group
    store = None if plan.checkpoint is None else CheckpointStore(plan.checkpoint, f"partition-{partition:04d}")
    if store is not None:
        store.claim()

    def sink(where: str | None, role: Role = "messages") -> Sink | None:
        if where is None:
            return None
        made = open_partition_sink(where, partition, source=source, group=group, role=role)
        if isinstance(made, KafkaSink) and store is not None:
            made.guard = store.check
        return made

    models = warm(make_learners(plan.learners, plan.seed), plan)
    tracks = make_tracks(
        models,
        source,
        baselines=plan.baselines,
        window=plan.window,
        fading=plan.fading,
        further_metrics=plan.further_metrics,
        detector=plan.detector,
        silent=list(models)[1:],
    )
    return Engine(
        source,
        tracks,
        batch_size=plan.batch_size,
        delay=plan.delay,
        join=label_join(plan, len(tracks)),
        learn=not plan.no_learn,
        outputs=Outputs(
            sink(plan.predictions, "packed"),
            sink(plan.dead_letters, "dead-letters"),
            sink(plan.events_sink),
            sink(plan.metrics_sink),
        ),
        store=store,
        checkpoint_every=plan.checkpoint_every,
        checkpoint_s=plan.checkpoint_seconds or _CHECKPOINT_S,
        metrics_every=plan.metrics_every,
        watch=StreamWatch(plan.watch) if plan.watch else None,
    )


def found_in(pipeline: Pipeline, partition: int) -> Found:
    """What a partition in hand has come to."""
    engine = pipeline.engines[partition]
    return Found(to_result(engine, order="file", sha256=None, ended=engine.ended), pipeline.scores(partition))


def of_topic(name: str, found: Mapping[int, Found], ended: bool, merged: Merged | None) -> list[Run]:
    """A run for every learner on the whole topic, and one on each of its partitions."""
    of_partitions = [part.runs for _, part in sorted(found.items())]
    if not of_partitions:
        return []
    scores = pooled(part.scores for _, part in sorted(found.items()))
    metrics, n_labels = scores.cumulative(), len(scores.label_names)
    whole = []
    for runs in zip(*of_partitions, strict=True):
        data: dict[str, Any] = {**runs[0].data, "name": name, "partitions": len(runs), "n_labels": n_labels}
        data["n_events"] = sum(run.data["n_events"] for run in runs)
        data["n_features"] = max(run.data["n_features"] for run in runs)
        labelled = [run.counts["scored"] + run.counts["pending"] for run in runs]
        present = sum(n * run.data["cardinality"] for n, run in zip(labelled, runs, strict=True))
        data["cardinality"] = present / sum(labelled) if sum(labelled) else 0.0
        if "join" in data:
            data["join"] = {name: sum(run.data["join"][name] for run in runs) for name in data["join"]}
        seconds = {key: sum(run.time[key] for run in runs) for key in ("wall_s", "cpu_s")}
        whole.append(
            Run(
                data=data,
                learner=runs[0].learner,
                counts={name: sum(run.counts[name] for run in runs) for name in runs[0].counts},
                metrics=metrics[runs[0].learner["name"]],
                time={**seconds, "events_per_s": data["n_events"] / seconds["wall_s"] if seconds["wall_s"] else 0.0},
                model_bytes=sum(run.model_bytes for run in runs),
                baseline=runs[0].baseline,
                interrupted=not ended,
            )
        )
    if merged is not None:
        whole[0].data["merged"] = merged.as_dict()
    return whole + [run for runs in of_partitions for run in runs]
