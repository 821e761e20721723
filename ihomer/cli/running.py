"""``ihomer evaluate`` and ``ihomer run``: a plan from flags and a file, then the engine, then what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ihomer.cli import options
from ihomer.cli.terminal import STOPPED, UsageError, console, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ihomer.evaluation.result import Result
    from ihomer.plans import AnyPlan, Plan
    from ihomer.progress import Progress


def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="A,B",
            help="Streams to evaluate on: files or known names; may be repeated.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    learner: Annotated[
        list[str] | None,
        typer.Option(
            "--learner",
            metavar="X,Y",
            help=options.with_default(
                "Learners, all in one pass: name or name:key=value,…; may be repeated.", "ihomer"
            ),
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    config: options.Config = None,
    labels: options.Labels = None,
    payload: options.Payload = None,
    encoder: options.Encoder = None,
    encoder_batch: options.EncoderBatch = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    gpus: options.Gpus = None,
    encoder_timeout: options.EncoderTimeout = None,
    max_events: options.MaxEvents = None,
    shuffle: options.Shuffle = None,
    delay: options.Delay = None,
    batch_size: options.BatchSize = None,
    seed: options.Seed = None,
    baselines: options.Baselines = None,
    window: options.Window = None,
    fading: options.Fading = None,
    further_metrics: options.FurtherMetrics = None,
    detector: options.Detector = None,
    watch: options.Watch = None,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help=options.with_default(
                "full, or after_last_restructure: beside the whole stream, score by itself what comes from 50 events"
                " after the last restructuring of the first learner's labels on.",
                "full",
            ),
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            metavar="N",
            help=options.with_default(
                "Run N times and show mean ± standard deviation; repeat i takes the random order --shuffle + i and the"
                " seed --seed + i. Both count from 0; with --seed alone the order stays that of the file.",
                1,
            ),
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    significance: Annotated[
        bool | None,
        typer.Option(
            "--significance",
            help="Test whether the learners differ over the data sets: ranks, Friedman, Nemenyi, Bayesian signed-rank.",
            show_default=False,
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    rope: Annotated[
        float | None,
        typer.Option(
            "--rope",
            metavar="R",
            help=options.with_default("Differences of no more than R count as none in the Bayesian test.", 0.01),
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write result.json, curves.parquet and report.html to this folder.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    report: options.Report = None,
    result: options.ResultFile = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            "--predictions",
            metavar="SINK",
            help="Write every learner's predictions: a file, or - for standard output.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    dead_letters: options.DeadLetters = None,
    on_error: Annotated[str | None, options.on_error("fail")] = None,
    checkpoint: options.Checkpoint = None,
    resume: options.Resume = None,
    trust_pickle: options.TrustPickle = None,
    quiet: options.Quiet = None,
    as_json: options.AsJson = None,
    dry_run: options.DryRun = None,
) -> None:
    """Evaluate learners on streams: every event is answered, then scored, then learned.

    No-change (the label set of the event before) and majority run beside them.
    Ctrl-C stops with the results so far; the same command with --resume goes on.

    [bold]Examples[/]
      ihomer evaluate --data yeast --out results
      ihomer evaluate --data yeast,emotions --learner ihomer,linear:l2=0.001
      ihomer evaluate --data flags,birds,yeast --repeats 5 --significance
      ihomer evaluate --data events.jsonl.gz --delay 100 --json
      ihomer evaluate --config plan.yaml --max-events 1000 --dry-run
    """
    settings = _settings(locals())
    from ihomer.plans import EvaluatePlan

    plan = _plan(EvaluatePlan, settings)
    if plan.dry_run:
        return
    _look_at(plan.data, plan)
    from ihomer.runs import run_evaluation

    _go(plan, run_evaluation, plan.checkpoint or plan.out)


def run(
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="S",
            help="Where events come from: a file, a known name, a topic (kafka://host:port/topic?group=g, log:DIR), "
            "or - for standard input.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    learner: Annotated[
        str | None,
        typer.Option(
            "--learner",
            metavar="X",
            help=options.with_default("The learner: name or name:key=value,…", "ihomer"),
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    config: options.Config = None,
    labels: options.Labels = None,
    payload: options.Payload = None,
    encoder: options.Encoder = None,
    encoder_batch: options.EncoderBatch = None,
    workers: options.LearningWorkers = None,
    ray: options.LearningRay = None,
    gpus: options.Gpus = None,
    encoder_timeout: options.EncoderTimeout = None,
    max_events: options.MaxEvents = None,
    shuffle: options.Shuffle = None,
    delay: options.Delay = None,
    batch_size: options.BatchSize = None,
    seed: options.Seed = None,
    no_learn: Annotated[
        bool | None,
        typer.Option("--no-learn", help="Predict and score only.", show_default=False, rich_help_panel=options.STREAM),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--warm-start",
            metavar="FILE",
            help="Begin with the learner of a checkpoint, such as one trained on history.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    challenger: Annotated[
        str | None,
        typer.Option(
            "--challenger",
            metavar="X",
            help="A learner scored beside the first; ihomer promote lets it take over.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    model_per: Annotated[
        str | None,
        typer.Option(
            "--model-per",
            metavar="WHAT",
            help=options.with_default("On a topic: a model for each partition, or one for the topic.", "partition"),
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    merge: Annotated[
        int | None,
        typer.Option(
            "--merge",
            metavar="EVENTS",
            help="Merge the models of all partitions into DIR/merged.ckpt whenever so many more events are in "
            "checkpoints, and at the end: exactly where the learner allows it, else as an ensemble.",
            rich_help_panel=options.SAFETY,
        ),
    ] = None,
    until_end: Annotated[
        bool | None,
        typer.Option(
            "--until-end",
            help="Stop where the topic ended at the start; else go on for ever.",
            show_default=False,
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    label_source: Annotated[
        str | None,
        typer.Option(
            "--label-source",
            metavar="S",
            help="Where labels come from that are joined to events by id.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    join_time: Annotated[
        float | None,
        typer.Option(
            "--join-time",
            metavar="SECONDS",
            help=options.with_default("How long, in the events' time, events and labels wait for each other.", 3600.0),
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    join_size: Annotated[
        int | None,
        typer.Option(
            "--join-size",
            metavar="N",
            help=options.with_default("How many events, and labels, wait at most.", 100_000),
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    join_wait: Annotated[
        float | None,
        typer.Option(
            "--join-wait",
            metavar="SECONDS",
            help=options.with_default("How long, in the events' time, to hold back what may not be next.", 0.0),
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    baselines: options.Baselines = None,
    window: options.Window = None,
    fading: options.Fading = None,
    further_metrics: options.FurtherMetrics = None,
    detector: options.Detector = None,
    watch: options.Watch = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            "--sink",
            "--predictions",
            metavar="SINK",
            help="Write predictions: a file, a topic, or - for standard output.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    dead_letters: options.DeadLetters = None,
    events_sink: Annotated[
        str | None,
        typer.Option(
            "--events-sink",
            metavar="SINK",
            help="Write drifts and changes of the label hierarchy.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    metrics_sink: Annotated[
        str | None,
        typer.Option(
            "--metrics-sink", metavar="SINK", help="Write metrics now and then.", rich_help_panel=options.WRITE
        ),
    ] = None,
    metrics_every: Annotated[
        int | None,
        typer.Option(
            "--metrics-every",
            metavar="EVENTS",
            help=options.with_default("Events between two lines of metrics.", 1000),
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    report: options.Report = None,
    result: options.ResultFile = None,
    on_error: Annotated[str | None, options.on_error("skip")] = None,
    checkpoint: options.Checkpoint = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            "--checkpoint-every",
            metavar="EVENTS",
            help=options.with_default("Events between checkpoints.", 10_000),
            rich_help_panel=options.SAFETY,
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float | None,
        typer.Option(
            "--checkpoint-seconds",
            metavar="SECONDS",
            help=options.with_default("Time after which one is due even so.", "10 on a topic"),
            rich_help_panel=options.SAFETY,
        ),
    ] = None,
    resume: options.Resume = None,
    trust_pickle: options.TrustPickle = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            metavar="PORT",
            help="Serve /metrics, /healthz and /readyz on this machine's loopback; 0: any free port.",
            rich_help_panel=options.TALK,
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            "--log-format",
            metavar="text|json",
            help=options.with_default("How the run tells that it gets on.", "text"),
            rich_help_panel=options.TALK,
        ),
    ] = None,
    quiet: options.Quiet = None,
    as_json: options.AsJson = None,
    dry_run: options.DryRun = None,
) -> None:
    """Predict, score and learn a stream for as long as it lasts.

    Events without labels are predicted and not scored.
    Ctrl-C and SIGTERM stop after the events in hand and leave a checkpoint where
    --checkpoint says; with --resume the run goes on as if it had never stopped.

    [bold]Examples[/]
      ihomer run --source events.jsonl --sink predictions.jsonl
      ihomer run --source events.jsonl --checkpoint state --resume
      zcat events.jsonl.gz | ihomer run --source - --sink - --quiet
      ihomer run --source "kafka://localhost:9092/events?group=g" \\
        --sink kafka://localhost:9092/answers --checkpoint state --resume
    """
    settings = _settings(locals())
    from ihomer.plans import RunPlan

    plan = _plan(RunPlan, settings)
    if plan.dry_run:
        return
    from ihomer.topic_runs import run_topic
    from streams.topics.address import is_topic

    if plan.actors_learn:
        from ihomer.ray_runs import run_on_ray

        _go(plan, run_on_ray, plan.checkpoint)
        return
    if is_topic(plan.source) and plan.model_per == "partition":
        _go(plan, run_topic, plan.checkpoint)
        return
    _look_at([plan.source], plan)
    from ihomer.runs import run_stream

    _go(plan, run_stream, plan.checkpoint)


def _settings(flags: dict[str, Any]) -> dict[str, Any]:
    """Flags by the names that plans use."""
    settings = {**flags, "json": flags["as_json"]}
    del settings["as_json"]
    for name in ("data", "learner", "watch"):
        if isinstance(settings.get(name), list):
            settings[name] = ",".join(settings[name]) or None
    return settings


def _plan(kind: type[AnyPlan], settings: dict[str, Any]) -> AnyPlan:
    """The resolved plan; printed where only that is wanted."""
    from ihomer.config import dump, resolve

    file = settings.pop("config")
    plan = resolve(kind, settings, file)
    if plan.dry_run:
        typer.echo(dump(plan, as_json=plan.as_json))
    return plan


def _look_at(sources: Sequence[str], plan: Plan) -> None:
    """Open every source before work on the first begins, so that a fault of the last does not come to light late."""
    from streams.opening import open_source
    from streams.source import DecodeError
    from streams.topics.address import is_topic

    for source in sources:
        path = Path(source)
        if source == "-" or is_topic(source) or path.is_fifo() or path.is_char_device():
            continue
        try:
            open_source(source, labels=plan.labels, on_error=plan.on_error, payload=plan.payload).close()
        except DecodeError:
            raise
        except (FileNotFoundError, LookupError, ValueError) as error:
            raise UsageError(str(error)) from error


def _go(plan: AnyPlan, engine: Callable[[AnyPlan, Progress], Result], folder: Path | str | None) -> None:
    """Run the engine and tell what came of it; where the user stopped it, also how to go on."""
    from drift.pickled import trusting_pickle
    from ihomer.progress import JsonProgress, NoProgress, RichProgress

    talk: Progress = JsonProgress() if getattr(plan, "log_format", "text") == "json" else RichProgress()
    try:
        with trusting_pickle(plan.trust_pickle):
            found = engine(plan, NoProgress() if plan.quiet else talk)
    except KeyboardInterrupt:
        stopped = True
    else:
        _tell(plan, found)
        stopped = found.interrupted
    if stopped:
        _tell_how_to_go_on(plan, folder)
        raise SystemExit(STOPPED)


def _tell(plan: Plan, found: Result) -> None:
    """The table or the JSON object, and which files were written."""
    if plan.as_json:
        print_json(found.to_json())
        return
    screen = console(stderr=plan.writes_to_stdout)
    screen.print(found.table())
    if found.significance:
        from ihomer.cli.significance import tables

        screen.print(tables(found.significance))
    out = getattr(plan, "out", None)
    for what, given, name in (("report", plan.report, "report.html"), ("result", plan.result, "result.json")):
        file = given or (out and out / name)
        if file is not None:
            screen.print(f"{what}  {file}", markup=False, soft_wrap=True)


def _tell_how_to_go_on(plan: Plan, folder: Path | str | None) -> None:
    from ihomer.config import command_line
    from ihomer.specs import RIVER

    if folder is None:
        text = "Stopped; no checkpoint was kept, because no folder was given for one."
    else:
        learners = getattr(plan, "learners", getattr(plan, "learner", ()))
        holds_pickles = any(RIVER in text for text in (plan.detector, *learners))
        again = command_line(
            plan.model_copy(update={"resume": True, "trust_pickle": plan.trust_pickle or holds_pickles})
        )
        text = f"Stopped; what there is so far is in {folder}. To go on:\n{again}"
    console(stderr=True).print(text, markup=False, soft_wrap=True)
