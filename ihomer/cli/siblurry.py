"""``ihomer siblurry``: learners on streams in which classes come and go, asked at any time about all that came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ihomer.cli import options
from ihomer.cli.terminal import STOPPED, UsageError, console, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from ihomer.evaluation.result import Result
    from ihomer.plans import SiBlurryPlan
    from streams.siblurry.labelled import LabelledEvents

SCENARIO = "The scenario"


def siblurry(
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="A,B",
            help="Labelled data: FILE.npz with x and y (and x_test, y_test), a known name, any other file, or a folder "
            "(or .tar.gz) with a folder of files a class; may be repeated.",
            rich_help_panel=options.STREAM,
        ),
    ] = None,
    learner: Annotated[
        list[str] | None,
        typer.Option(
            "--learner",
            metavar="X,Y",
            help=options.with_default("Learners: name or name:key=value,…; may be repeated.", "auto"),
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
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="K",
            help=options.with_default("Run K streams and show mean ± standard deviation.", 5),
            rich_help_panel=SCENARIO,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help=options.with_default("The first seed: of the scenario, of what is set aside, of the learners.", 1),
            rich_help_panel=SCENARIO,
        ),
    ] = None,
    n: Annotated[
        float | None,
        typer.Option(
            "--n",
            metavar="PERCENT",
            help=options.with_default("Classes that live in one session; 100: no blur, 0: blurry classes only.", 50),
            rich_help_panel=SCENARIO,
        ),
    ] = None,
    m: Annotated[
        float | None,
        typer.Option(
            "--m",
            metavar="PERCENT",
            help=options.with_default("Samples of the other classes that leave their session.", 10),
            rich_help_panel=SCENARIO,
        ),
    ] = None,
    sessions: Annotated[
        int | None,
        typer.Option("--sessions", metavar="T", help=options.with_default("Sessions.", 5), rich_help_panel=SCENARIO),
    ] = None,
    donation: Annotated[
        str | None,
        typer.Option(
            "--donation",
            metavar="random|head",
            help=options.with_default("Samples that leave are random ones, or the first of the data.", "random"),
            rich_help_panel=SCENARIO,
        ),
    ] = None,
    varying: Annotated[
        bool | None,
        typer.Option(
            "--varying/--fixed",
            help=options.with_default("Sessions of random or of equal size.", "varying"),
            show_default=False,
            rich_help_panel=SCENARIO,
        ),
    ] = None,
    drop_remainder: Annotated[
        bool | None,
        typer.Option(
            "--drop-remainder/--keep-remainder",
            help=options.with_default(
                "Leave out classes that do not divide by the number of sessions, as the published generator does.",
                "keep-remainder",
            ),
            show_default=False,
            rich_help_panel=SCENARIO,
        ),
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(
            "--test-share",
            metavar="R",
            help=options.with_default("Share of a class that is set aside where the data do not say.", 0.2),
            rich_help_panel=options.SCORES,
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write result.json, curves.parquet and report.html to this folder.",
            rich_help_panel=options.WRITE,
        ),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help=options.with_default("Leave out the runs that the folder has already.", "no-resume"),
            show_default=False,
            rich_help_panel=options.SAFETY,
        ),
    ] = None,
    quiet: options.Quiet = None,
    as_json: options.AsJson = None,
    dry_run: options.DryRun = None,
) -> None:
    """Continual learning: classes come session by session, with stochastic and blurred boundaries (Si-Blurry).

    Learners get events alone; every so often they are asked about held-out events of all classes that came so far.
    Ctrl-C keeps the runs that are done; the same command with --resume does the others.

    [bold]Examples[/]
      ihomer siblurry --data features.npz --out results
      ihomer siblurry --data features.npz --learner auto,slda,ncm --seeds 5 --n 50 --m 10
      ihomer siblurry --data yeast --learner ihomer,linear --sessions 3 --json
      ihomer siblurry --data photos --encoder transformers:./vit --learner auto,mvp:model=./vit
    """
    settings = {**locals(), "json": as_json}
    del settings["config"], settings["as_json"]
    settings |= {name: ",".join(settings[name]) or None for name in ("data", "learner") if settings[name] is not None}
    from ihomer.config import dump, resolve
    from ihomer.plans import SiBlurryPlan

    plan = resolve(SiBlurryPlan, settings, config)
    if plan.dry_run:
        typer.echo(dump(plan, as_json=plan.as_json))
        return
    from ihomer.progress import NoProgress, RichProgress
    from ihomer.siblurry_runs import run_siblurry

    events = [_opened(place, plan) for place in plan.data]
    try:
        result, is_whole = run_siblurry(plan, events, NoProgress() if plan.quiet else RichProgress())
    except KeyboardInterrupt:
        is_whole = False
    else:
        _tell(plan, result)
    if not is_whole:
        _tell_how_to_go_on(plan)
        raise SystemExit(STOPPED)


def _opened(place: str, plan: SiBlurryPlan) -> LabelledEvents:
    """Data before work on the first begins, so that a fault of the last does not come to light late."""
    from ihomer.siblurry_runs import check, wants_payloads
    from streams.siblurry.labelled import load_events
    from streams.source import DecodeError

    try:
        events = load_events(place, labels=plan.labels, payload=plan.payload, images=wants_payloads(plan))
        check(plan, events)
        return events
    except DecodeError:
        raise
    except (FileNotFoundError, LookupError, ValueError) as error:
        raise UsageError(str(error)) from error


def _tell(plan: SiBlurryPlan, result: Result) -> None:
    """The tables or the JSON object, and which files were written."""
    if plan.as_json:
        print_json(result.to_json())
        return
    if not result.runs:
        return
    screen = console()
    screen.print(result.table())
    if (gains := _gains(result)) is not None:
        screen.print(gains)
    for text in dict.fromkeys(run.data["encoder_training"] for run in result.runs if "encoder_training" in run.data):
        screen.print(f"encoder  {text}", markup=False, soft_wrap=True)
    if plan.out is not None:
        for what, name in (("report", "report.html"), ("result", "result.json")):
            screen.print(f"{what}  {plan.out / name}", markup=False, soft_wrap=True)


def _gains(result: Result) -> Table | None:
    """What the first learner gains over each other, if there are others and seeds enough."""
    from ihomer.cli.terminal import plain_table
    from ihomer.evaluation.result import METRICS
    from ihomer.evaluation.seeds import compare_seeds

    found = compare_seeds(result, ("a_auc", "a_last", "a_auc_balanced", "a_last_balanced"))
    if not found:
        return None
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for pair in found:
        text = f"{pair.difference:+.4f} ± {pair.deviation:.4f} {pair.verdict}"
        rows.setdefault((pair.data, pair.a, pair.b), {})[METRICS[pair.metric].title] = text
    titles = list(dict.fromkeys(title for row in rows.values() for title in row))
    table = plain_table("data", "learner", "less", *titles, right=tuple(titles))
    for names, row in rows.items():
        table.add_row(*names, *(row.get(title, "–") for title in titles))
    return table


def _tell_how_to_go_on(plan: SiBlurryPlan) -> None:
    from ihomer.config import command_line

    if plan.out is None:
        text = "Stopped; nothing was kept, because no folder was given with --out."
    else:
        again = command_line(plan.model_copy(update={"resume": True}))
        text = f"Stopped; the runs that are done are in {plan.out}. To go on:\n{again}"
    console(stderr=True).print(text, markup=False, soft_wrap=True)
