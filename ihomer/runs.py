"""What the commands ``evaluate`` and ``run`` do with a plan: open everything, run the engine, keep the results."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from ihomer.checkpoint import CheckpointError, CheckpointStore, describe, load
from ihomer.config import command_line
from ihomer.engine import Engine, Outputs
from ihomer.evaluation.joining import LabelJoin
from ihomer.evaluation.prequential import digest, make_tracks, order_name, ordered, to_result
from ihomer.evaluation.result import Result, Run
from ihomer.evaluation.significance import significance
from ihomer.evaluation.watching import StreamWatch
from ihomer.extracting import extracted, open_pool
from ihomer.partition_ensemble import PartitionEnsemble
from ihomer.plans import EvaluatePlan, Plan, RunPlan
from ihomer.progress import Progress
from ihomer.specs import build, parse
from learners.base import Learner
from streams.extraction.pool import ExtractionPool
from streams.opening import open_sink, open_source
from streams.source import Sink, Source
from streams.topics.address import is_topic
from streams.topics.sink import Role


def run_evaluation(plan: EvaluatePlan, progress: Progress) -> Result:
    """Evaluate every learner of the plan on every data set, a data set after the other, each as often as it says.

    Results are kept in ``plan.out`` after each pass over a data set. Ctrl-C ends the pass in hand after the batch in
    hand: what was found so far is in the result, marked as interrupted, and with ``plan.resume`` a later call goes on
    from there. A second Ctrl-C is a KeyboardInterrupt.
    """
    folder = plan.checkpoint or (plan.out and plan.out / "checkpoint")
    result = _new_result(plan)
    if plan.resume and plan.out is not None:
        result = Result.merge([*_finished(plan.out), result])
    stores: list[CheckpointStore] = []
    with ExitStack() as stack:
        stop = stack.enter_context(stopping(signal.SIGINT))
        outputs: Outputs | None = None
        before: CheckpointStore | None = None
        pool = open_pool(stack, plan, progress)
        passes = [
            (f"{number}-{{}}" if plan.repeats == 1 else f"{number}-{{}}-{turn}", spec, turn, turn_plan)
            for number, spec in enumerate(plan.data)
            for turn, turn_plan in enumerate(plan.each_repeat())
        ]
        for name, spec, turn, turn_plan in passes:
            source = _source(stack, spec, plan)
            models = make_learners(plan.learner, turn_plan.seed)
            store = None if folder is None else CheckpointStore(folder, name.format(source.name))
            stores += [] if store is None else [store]
            repeat = {} if plan.repeats == 1 else {"repeat": turn}
            title = f"{source.name}, repeat {turn + 1} of {plan.repeats}" if repeat else source.name
            if _is_done(result.runs, source, order_name(turn_plan.shuffle), repeat, models, pool):
                progress.note(f"{title}: done before")
                before = store
                continue
            if outputs is None:
                outputs = _open_outputs(stack, plan)
                _go_on_after(before, store, outputs)
            if repeat:
                progress.note(title)
            engine = _engine(turn_plan, source, models, outputs, store, progress, stop, pool)
            found = _go(engine, turn_plan, digest(source))
            for run in found:
                run.data |= repeat
            result.runs += found
            if plan.out is not None:
                result.save_all(plan.out, report=False)
            if result.interrupted:
                break
    if not result.interrupted:
        for store in stores:
            store.clear()
    try:
        if plan.significance and not result.interrupted:
            result.significance = significance(result, rope=plan.rope)
    finally:
        if plan.out is not None:
            result.save_all(plan.out)
        keep(result, plan)
    return result


def run_stream(plan: RunPlan, progress: Progress) -> Result:
    """Run one learner on one source until its end, or until Ctrl-C or SIGTERM, which leave a checkpoint behind."""
    result = _new_result(plan)
    with ExitStack() as closing:
        stop = closing.enter_context(stopping(signal.SIGINT, signal.SIGTERM))
        source = _stream(closing, plan)
        outputs = _open_outputs(closing, plan)
        outputs.events = _sink(closing, plan.events_sink)
        outputs.metrics = _sink(closing, plan.metrics_sink)
        store = None if plan.checkpoint is None else CheckpointStore(plan.checkpoint)
        models = warm(make_learners(plan.learners, plan.seed), plan)
        pool = open_pool(closing, plan, progress)
        engine = _engine(
            plan,
            source,
            models,
            outputs,
            store,
            progress,
            stop,
            pool,
            silent=list(models)[1:],
            join=label_join(plan, len(models) + 2 * plan.baselines),
            learn=not plan.no_learn,
            checkpoint_every=plan.checkpoint_every,
            checkpoint_s=plan.checkpoint_seconds,
            metrics_every=plan.metrics_every,
        )
        if plan.metrics_port is not None:
            from ihomer.operations import tell_operators

            tell_operators(closing, progress, plan.metrics_port, lambda: {0: engine}, engine.on_round, pool=pool)
        result.runs += _go(engine, plan, digest(source))
    keep(result, plan)
    return result


def make_learners(specs: Sequence[str], seed: int | None) -> dict[str, Learner]:
    """Untrained learners by the names that results call them: short where that is clear, else all that was written."""
    short = [parse(spec).name for spec in specs]
    names = [name if short.count(name) == 1 else spec for name, spec in zip(short, specs, strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f"learner must name each only once, got {', '.join(specs)}")
    return {name: build(spec, seed=seed) for name, spec in zip(names, specs, strict=True)}


def warm(models: dict[str, Learner], plan: RunPlan) -> dict[str, Learner]:
    """``models``, the first of which has learned what the checkpoint of ``warm_start`` has, or is the ensemble there.

    Raises
    ------
    CheckpointError
        The learner of the checkpoint is another one.
    """
    if plan.warm_start is None:
        return models
    first = next(iter(models))
    found = load(plan.warm_start)
    there, here = describe(found), describe(models[first])
    if isinstance(found, PartitionEnsemble):
        there = describe(found.prototype)
    if there != here:
        raise CheckpointError(f"{plan.warm_start}: learner must be that of the checkpoint, {there}, got {here}")
    return {**models, first: found}


def _engine(
    plan: EvaluatePlan | RunPlan,
    source: Source,
    models: dict[str, Learner],
    outputs: Outputs,
    store: CheckpointStore | None,
    progress: Progress,
    stop: threading.Event,
    pool: ExtractionPool | None,
    silent: Sequence[str] = (),
    **settings: Any,
) -> Engine:
    tracks = make_tracks(
        models,
        source,
        baselines=plan.baselines,
        max_events=plan.max_events,
        window=plan.window,
        fading=plan.fading,
        further_metrics=plan.further_metrics,
        scope=plan.scope if isinstance(plan, EvaluatePlan) else "full",
        detector=plan.detector,
        silent=silent,
    )
    return Engine(
        extracted(ordered(source, plan.shuffle), pool, plan.on_error),
        tracks,
        batch_size=plan.batch_size,
        max_events=plan.max_events,
        delay=plan.delay,
        outputs=outputs,
        store=store,
        watch=StreamWatch(plan.watch) if plan.watch else None,
        progress=progress,
        stop=stop,
        **settings,
    )


def _go(engine: Engine, plan: EvaluatePlan | RunPlan, sha256: str | None) -> list[Run]:
    """The runs of an engine that has gone as far as it gets."""
    ended = engine.run(resume=plan.resume)
    return to_result(engine, order=order_name(plan.shuffle), sha256=sha256, ended=ended)


@contextmanager
def stopping(*signals: signal.Signals) -> Iterator[threading.Event]:
    """An event that the first of these signals sets; the second one is a KeyboardInterrupt."""
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _source(closing: ExitStack, spec: str, plan: Plan) -> Source:
    source = open_source(spec, labels=plan.labels, on_error=plan.on_error, payload=plan.payload)
    closing.callback(source.close)
    return source


def _stream(closing: ExitStack, plan: RunPlan) -> Source:
    """What ``run`` reads: of a topic all partitions in order of time, with their labels joined if so wanted."""
    if not is_topic(plan.source):
        return _source(closing, plan.source, plan)
    from streams.topics.joining import JoinedSource
    from streams.topics.source import KafkaSource

    events = KafkaSource(plan.source, on_error=plan.on_error, payload=plan.payload, until_end=plan.until_end)
    closing.callback(events.close)
    if plan.label_source is None:
        return events
    labels = KafkaSource(plan.label_source, on_error=plan.on_error, until_end=plan.until_end)
    closing.callback(labels.close)
    return JoinedSource(events, labels, on_error=plan.on_error, wait_ms=round(1000 * plan.join_wait))


def label_join(plan: RunPlan, n_learners: int) -> LabelJoin | None:
    """Where events wait for labels from a topic of their own, if there is one."""
    if plan.label_source is None:
        return None
    return LabelJoin(round(1000 * plan.join_time), plan.join_size, n_learners)


def _open_outputs(closing: ExitStack, plan: Plan) -> Outputs:
    return Outputs(
        predictions=_sink(closing, plan.predictions, "packed"),
        dead_letters=_sink(closing, plan.dead_letters, "dead-letters"),
    )


def _sink(closing: ExitStack, where: str | None, role: Role = "messages") -> Sink | None:
    if where is None:
        return None
    sink = open_sink(where, role=role)
    closing.callback(sink.close)
    return sink


def _new_result(plan: Plan) -> Result:
    return Result([], started=datetime.now(UTC).isoformat(timespec="seconds"), command=command_line(plan))


def _finished(folder: Path) -> list[Result]:
    """The runs that an earlier evaluation brought to their end, if there was one."""
    path = folder / "result.json"
    if not path.exists():
        return []
    earlier = Result.load(path)
    earlier.runs = [run for run in earlier.runs if not run.interrupted]
    return [earlier]


def _is_done(
    runs: Sequence[Run],
    source: Source,
    order: str,
    repeat: dict[str, int],
    models: dict[str, Learner],
    pool: ExtractionPool | None,
) -> bool:
    same = [
        run
        for run in runs
        if run.stream == (source.name, order)
        and run.data.get("repeat") == repeat.get("repeat")
        and run.data.get("sha256") == digest(source)
        and run.data.get("encoder") == (None if pool is None else pool.fingerprint)
    ]
    return {run.learner_name for run in same} >= set(models)


def _go_on_after(before: CheckpointStore | None, store: CheckpointStore | None, outputs: Outputs) -> None:
    """Leave in the sinks what the passes wrote that are done, unless the one in hand has a checkpoint that knows."""
    found = None if before is None else before.latest()
    if found is not None and (store is None or store.latest() is None):
        for name, sink in outputs.each().items():
            if name in found[1]["sinks"]:
                sink.resume(found[1]["sinks"][name])


def keep(result: Result, plan: Plan) -> None:
    """Write the report and the result where the plan says."""
    if plan.report is not None:
        result.report(plan.report)
    if plan.result is not None:
        result.save(plan.result)
