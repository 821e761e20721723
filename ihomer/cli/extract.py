"""``ihomer extract``: the features that an encoder makes of a stream's payloads, in a file that is a source itself."""

from __future__ import annotations

from typing import Annotated

import typer

from ihomer.cli import options
from ihomer.cli.terminal import STOPPED, console, print_json


def extract(
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="S",
            help="Where events come from: a file, a known name, a topic, or - for standard input.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    encoder: options.Encoder = None,
    config: options.Config = None,
    labels: options.Labels = None,
    payload: options.Payload = None,
    max_events: options.MaxEvents = None,
    batch_size: options.BatchSize = None,
    encoder_batch: options.EncoderBatch = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    gpus: options.Gpus = None,
    encoder_timeout: options.EncoderTimeout = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the features, with labels and all else that events have, to this file: .npz, .parquet, .arrow, "
            ".jsonl, .csv, …",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    dead_letters: options.DeadLetters = None,
    on_error: Annotated[str | None, options.on_error("fail")] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help=options.with_default("Go on where an earlier run stopped, if one did.", "no-resume"),
            show_default=False,
            rich_help_panel=options.SAFETY,
        ),
    ] = None,
    quiet: options.Quiet = None,
    as_json: options.AsJson = None,
    dry_run: options.DryRun = None,
) -> None:
    """Extract the features of a stream once, to learn from them often.

    Parts lie in FILE.parts until all is done. However the command ended, the same
    one with --resume goes on. FILE.encoder.json tells what encoder made the features.

    [bold]Examples[/]
      ihomer extract --source events.jsonl --encoder hashing:dim=4096 --out features.npz
      ihomer extract --source reviews.csv --payload text --workers 4 \\
        --encoder sentence:./model --out features.parquet --resume
      ihomer evaluate --data features.parquet --learner ihomer
    """
    settings = {**locals(), "json": as_json}
    del settings["as_json"], settings["config"]
    from ihomer.config import command_line, dump, resolve
    from ihomer.plans import ExtractPlan

    plan = resolve(ExtractPlan, settings, config)
    if plan.dry_run:
        typer.echo(dump(plan, as_json=plan.as_json))
        return
    from ihomer.dumping import run_extraction
    from ihomer.progress import NoProgress, RichProgress

    try:
        found = run_extraction(plan, NoProgress() if plan.quiet else RichProgress())
    except KeyboardInterrupt:
        found = None
    if found is None:
        again = command_line(plan.model_copy(update={"resume": True}))
        text = f"Stopped; what there is so far is in {plan.out}.parts. To go on:\n{again}"
        console(stderr=True).print(text, markup=False, soft_wrap=True)
        raise SystemExit(STOPPED)
    if plan.as_json:
        print_json(found)
        return
    told = f"{found['out']}  {found['events']:,} events, {found['dead']:,} left out"
    console().print(told, markup=False, soft_wrap=True)
