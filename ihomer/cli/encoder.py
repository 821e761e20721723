"""``ihomer encoder train``: a small image encoder of one's own, where there is none to be had."""

from __future__ import annotations

from typing import Annotated

import typer

from ihomer.cli import options
from ihomer.cli.terminal import STOPPED, UsageError, console, print_json

app = typer.Typer(no_args_is_help=True, help="Image encoders of one's own.")

TRAINING = "The training"


@app.callback()
def _root() -> None:
    """Image encoders of one's own."""


@app.command("train", no_args_is_help=True)
def train(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="IMAGES",
            help="A folder with a folder of images a class, a .tar.gz of one, or FILE.npz with x and y. What lies in a "
            "part called test is never looked at.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="The encoder's folder: --encoder transformers:DIR loads it.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    config: options.Config = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="responses|views|supervised",
            help=options.with_default(
                "Without labels: guess the whole image's responses to patches, or make two views alike; or with "
                "labels: tell the class.",
                "responses",
            ),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="A,B",
            help=options.with_default("Classes to train on.", "all"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(
            "--hold-out",
            metavar="A,B",
            help=options.with_default("Classes whose images are left out.", "none"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="tiny|small",
            help=options.with_default("4 layers of 128, or 6 of 192.", "small"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            "--patch",
            metavar="PIXELS",
            help=options.with_default("Height and width of a patch; half as much costs four times as much.", 8),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            metavar="PIXELS",
            help=options.with_default("Height and width that images are brought to.", 32),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            metavar="N",
            help=options.with_default("How often each image comes.", "so often that 100,000 come in all"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help=options.with_default("Of all that is drawn; the same seed gives the same bytes.", 0),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="auto|cpu|cuda",
            help=options.with_default("What to train on.", "auto"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            metavar="M",
            help=options.with_default("Stop after M minutes and keep the encoder as it is.", "at the end"),
            rich_help_panel=options.SAFETY,
        ),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help=options.with_default("Go on where an earlier training stopped, if one did.", "no-resume"),
            show_default=False,
            rich_help_panel=options.SAFETY,
        ),
    ] = None,
    quiet: options.Quiet = None,
    as_json: options.AsJson = None,
    dry_run: options.DryRun = None,
) -> None:
    """Train a small image encoder within minutes, without labels or with those of classes that are not evaluated.

    The folder holds a vision transformer as transformers saves it, and training.json with what it was trained on.
    Ctrl-C and --max-minutes keep the encoder as it is; the same command with --resume goes on.

    [bold]Examples[/]
      ihomer encoder train --data photos --out vit --max-minutes 10
      ihomer encoder train --data photos.tar.gz --objective supervised --hold-out cat,dog --out vit
      ihomer siblurry --data others --encoder transformers:vit --learner auto,slda
    """
    settings = {**locals(), "json": as_json}
    del settings["as_json"], settings["config"]
    from ihomer.config import command_line, dump, resolve
    from ihomer.plans import EncoderPlan

    plan = resolve(EncoderPlan, settings, config)
    if plan.dry_run:
        typer.echo(dump(plan, as_json=plan.as_json))
        return
    from ihomer.encoder_runs import train_encoder
    from ihomer.progress import NoProgress, RichProgress

    try:
        found = train_encoder(plan, NoProgress() if plan.quiet else RichProgress())
    except (FileNotFoundError, ValueError, LookupError) as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        found = None
    if found is not None and plan.as_json:
        print_json(found[0])
    elif found is not None:
        console().print(f"encoder  {plan.out}\n{found[0]['text']}", markup=False, soft_wrap=True)
    if found is None or not found[0]["finished"]:
        again = command_line(plan.model_copy(update={"resume": True}))
        console(stderr=True).print(f"Stopped before its end. To go on:\n{again}", markup=False, soft_wrap=True)
    if found is None or found[1]:
        raise SystemExit(STOPPED)
