"""The options that commands share; a flag that is not given is None, so that a configuration file can speak."""

from __future__ import annotations

from typing import Annotated

import typer

STREAM = "What to run"
SCORES = "Scores"
WRITE = "What to write"
SAFETY = "Stopping and going on"
TALK = "Output"


def with_default(text: str, default: object) -> str:
    """Help that ends with a default, in the way that typer prints its own."""
    return f"{text} [dim]\\[default: {default}][/dim]"


Config = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings from a YAML or TOML file; flags override it.", rich_help_panel=STREAM
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="WHICH",
        help="Which columns are labels, where the file does not say: first:6, last:14 or names; in tables also "
        "tags:COLUMN, a column of tags, and none.",
        rich_help_panel=STREAM,
    ),
]
Payload = Annotated[
    str | None,
    typer.Option(
        "--payload",
        metavar="FIELD",
        help="A field of text among the features from which features are still to be extracted; it is none itself.",
        rich_help_panel=STREAM,
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="E",
        help="Make features of the payloads: hashing:dim=4096, sentence:PATH-OR-PACKAGE, "
        "transformers:PATH, onnx:FILE or package.module:function.",
        rich_help_panel=STREAM,
    ),
]
EncoderBatch = Annotated[
    int | None,
    typer.Option(
        "--encoder-batch",
        metavar="N",
        help=with_default("Payloads encoded at once.", 32),
        rich_help_panel=STREAM,
    ),
]
LearningWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help=with_default(
            "Processes that encode, while the engine learns; 0: the engine does both. With --ray and no --encoder: "
            "actors that learn, each some of the partitions.",
            0,
        ),
        rich_help_panel=STREAM,
    ),
]
LearningRay = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|ADDRESS",
        help="Let workers be actors of a Ray cluster, or of one begun on this machine: with --encoder they encode, "
        "without it they learn the partitions of a topic.",
        rich_help_panel=STREAM,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help=with_default("Processes that encode, while the engine learns; 0: the engine does both.", 0),
        rich_help_panel=STREAM,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|ADDRESS",
        help="Let workers be actors of a Ray cluster, or of one begun on this machine.",
        rich_help_panel=STREAM,
    ),
]
Gpus = Annotated[
    float | None,
    typer.Option(
        "--gpus",
        metavar="X",
        help=with_default("GPUs an actor of Ray, of which a fraction will do.", 0.0),
        rich_help_panel=STREAM,
    ),
]
EncoderTimeout = Annotated[
    float | None,
    typer.Option(
        "--encoder-timeout",
        metavar="SECONDS",
        help=with_default("How long a worker may take for a block before it is killed; 0: for ever.", 300.0),
        rich_help_panel=STREAM,
    ),
]
MaxEvents = Annotated[
    int | None,
    typer.Option("--max-events", metavar="N", help=with_default("Stop after N events.", "all"), rich_help_panel=STREAM),
]
Shuffle = Annotated[
    int | None,
    typer.Option(
        "--shuffle",
        metavar="SEED",
        help=with_default("Take the events in the random order of a seed; reads all of them first.", "as they come"),
        rich_help_panel=STREAM,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", help="Seed of every learner that draws random numbers.", rich_help_panel=STREAM
    ),
]
Delay = Annotated[
    int | None,
    typer.Option(
        "--delay",
        metavar="EVENTS",
        help=with_default("The labels of an event come after so many further events.", 0),
        rich_help_panel=STREAM,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        help=with_default("Events read at a time; changes no result.", 256),
        rich_help_panel=STREAM,
    ),
]
Baselines = Annotated[
    bool | None,
    typer.Option(
        "--baselines/--no-baselines",
        help=with_default("Run no-change and majority beside the learners.", "baselines"),
        show_default=False,
        rich_help_panel=SCORES,
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "--window", metavar="EVENTS", help=with_default("Length of the sliding window.", 1000), rich_help_panel=SCORES
    ),
]
Fading = Annotated[
    float | None,
    typer.Option(
        "--fading",
        metavar="FACTOR",
        help=with_default("Fading metrics weigh an event by this factor less with each one after it.", 0.999),
        rich_help_panel=SCORES,
    ),
]
FurtherMetrics = Annotated[
    bool | None,
    typer.Option(
        "--further-metrics/--no-further-metrics",
        help=with_default(
            "Ranking metrics, metrics of one class per event, and calibration as well.", "further-metrics"
        ),
        show_default=False,
        rich_help_panel=SCORES,
    ),
]
Detector = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="X",
        help=with_default("What watches the loss of every learner for drift: name or name:key=value,…", "adwin"),
        rich_help_panel=SCORES,
    ),
]
Watch = Annotated[
    list[str] | None,
    typer.Option(
        "--watch",
        metavar="A,B",
        help=with_default(
            "Watch the stream itself for drift: labels, features, or detectors of these; may be repeated.", "nothing"
        ),
        rich_help_panel=SCORES,
    ),
]
Report = Annotated[
    str | None,
    typer.Option("--report", metavar="FILE.html", help="Write the report to this file.", rich_help_panel=WRITE),
]
ResultFile = Annotated[
    str | None,
    typer.Option("--result", metavar="FILE.json", help="Write the result to this file.", rich_help_panel=WRITE),
]
DeadLetters = Annotated[
    str | None,
    typer.Option(
        "--dead-letters",
        metavar="SINK",
        help="Write events that cannot be read, with position and reason.",
        rich_help_panel=WRITE,
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="DIR", help="Keep checkpoints in this folder or URL.", rich_help_panel=SAFETY),
]
Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help=with_default("Go on from the latest checkpoint, if there is one.", "no-resume"),
        show_default=False,
        rich_help_panel=SAFETY,
    ),
]
TrustPickle = Annotated[
    bool | None,
    typer.Option(
        "--trust-pickle/--no-trust-pickle",
        help=with_default(
            "Go on from a checkpoint with models of river, which are pickles: a forged one runs any code.",
            "no-trust-pickle",
        ),
        show_default=False,
        rich_help_panel=SAFETY,
    ),
]
Quiet = Annotated[
    bool | None, typer.Option("--quiet", "-q", help="Show no progress.", show_default=False, rich_help_panel=TALK)
]
AsJson = Annotated[
    bool | None,
    typer.Option("--json", help="Print one JSON object and nothing else.", show_default=False, rich_help_panel=TALK),
]
DryRun = Annotated[
    bool | None,
    typer.Option(
        "--dry-run",
        help="Print the plan, as a configuration file, and do nothing.",
        show_default=False,
        rich_help_panel=TALK,
    ),
]
JsonSwitch = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.", show_default=False)]


def on_error(default: str) -> typer.models.OptionInfo:
    """The option ``--on-error`` with the default that the command has."""
    text = "An event that cannot be read ends the run (fail), or is counted and left out (skip)."
    option: typer.models.OptionInfo = typer.Option(
        "--on-error", metavar="fail|skip", help=with_default(text, default), rich_help_panel=SAFETY
    )
    return option
