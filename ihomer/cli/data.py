"""``ihomer data``: known data sets, what is in them, and how to have them on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ihomer.cli.options import JsonSwitch
from ihomer.cli.terminal import UsageError, console, plain_table, print_json

if TYPE_CHECKING:
    from streams.datasets import DatasetInfo
    from streams.source import Source

app = typer.Typer(no_args_is_help=True, help="Data sets: those that have a name, and what any of them holds.")


@app.command("list")
def list_data(as_json: JsonSwitch = False) -> None:
    """List the data sets that have a name, with their size and where they are."""
    from streams.registry import list_datasets

    found = [_known(info) for info in list_datasets()]
    if as_json:
        print_json(found)
        return
    from rich.text import Text

    numbers = ("events", "features", "labels", "cardinality")
    table = plain_table("name", *numbers, "order of events", "where", right=numbers)
    for entry in found:
        sizes = [f"{entry[f'n_{what}']:,}" for what in ("events", "features", "labels")]
        cardinality = f"{entry['cardinality']:.3f}"
        where = entry["path"] or entry["where"]
        table.add_row(Text(entry["name"], "bold"), *sizes, cardinality, Text(entry["order"]), Text(where, "dim"))
    console().print(table)


@app.command("info")
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A known name, or a file.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="WHICH", help="Which columns are labels: first:6, last:14 or names.", show_default=False),
    ] = None,
    as_json: JsonSwitch = False,
) -> None:
    """Read a data set and count its events, features and labels.

    One that is not on this machine is described by what is known of it.

    [bold]Examples[/]
      ihomer data info yeast
      ihomer data info events.jsonl.gz --json
    """
    from streams.registry import UnknownDatasetError, describe, find_dataset

    try:
        entry = _known(find_dataset(name))
    except UnknownDatasetError:
        entry = {"name": name}
    if entry.get("where") != _AWAY:
        try:
            entry |= describe(name, labels=labels)
        except (FileNotFoundError, LookupError) as error:
            raise UsageError(str(error)) from error
    if as_json:
        print_json(entry)
        return
    from rich.text import Text

    table = plain_table("", "")
    table.show_header = False
    drifts = entry.pop("drifts", [])
    for i, drift in enumerate(drifts, 1):
        entry[f"drift {i}"] = f"{drift['kind']}, from event {drift['event']:,}, {drift['width']:,} wide"
    for key, value in entry.items():
        if value is not None and not (key == "n_dead" and value == 0):
            text = (
                f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)
            )
            table.add_row(Text(_TITLES.get(key, key), "dim"), Text(text, "bold" if key == "name" else ""))
    console().print(table)


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A known name.")],
    as_json: JsonSwitch = False,
) -> None:
    """Have a data set on this machine, downloading it if need be, and print where it is.

    [bold]Example[/]
      ihomer data get emotions
    """
    from streams.registry import UnknownDatasetError, fetch

    screen = console(stderr=True)
    try:
        with screen.status(f"fetching {name}") as status:

            def tell(n_bytes: int, total: int | None) -> None:
                status.update(f"fetching {name}: {n_bytes:,}{'' if total is None else f' of {total:,}'} bytes")

            path = fetch(name, tell)
    except UnknownDatasetError as error:
        raise UsageError(str(error)) from error
    if as_json:
        print_json({"name": name, "path": str(path)})
    else:
        typer.echo(path)


@app.command("convert")
def convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Where events come from: a file, a known name, a URL, or -.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The file to write; its ending tells the format.")],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Which columns are labels: first:6, last:14, names, or tags:COLUMN.",
            show_default=False,
        ),
    ] = None,
    payload: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="A field of text to keep as the payload.", show_default=False),
    ] = None,
    max_events: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after N events.", show_default=False)
    ] = None,
    on_error: Annotated[
        str, typer.Option(metavar="fail|skip", help="What an event that cannot be read does.")
    ] = "fail",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.", show_default=False)] = False,
    as_json: JsonSwitch = False,
) -> None:
    """Write the events of any source to a file of any format that can hold them.

    The file appears whole or not at all. Text formats get a schema file beside them, which their readers look for.

    [bold]Examples[/]
      ihomer data convert yeast yeast.parquet
      ihomer data convert questions.csv.gz questions.jsonl.zst --labels tags:tags --payload content
      ihomer data convert "synthetic:tree?drift=sudden&events=100000&seed=1" drift.parquet
    """
    from streams.writing import write_events, writer_ending

    try:
        writer_ending(target)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if on_error not in ("fail", "skip"):
        raise UsageError(f"--on-error: must be fail or skip, got {on_error!r}")
    if not target.parent.is_dir():
        raise UsageError(f"{target}: the folder of a file to write must be there, got {target.parent}")
    if target.exists() and not force:
        raise UsageError(f"{target}: is there already; --force replaces it")
    stream = _opened(source, labels, payload, on_error)
    try:
        counts = _watched(stream, target, max_events, write_events)
    finally:
        stream.close()
    entry = {
        "source": source,
        "path": str(target),
        **counts,
        "n_features": stream.schema.n_features,
        "n_labels": stream.schema.n_labels,
    }
    if as_json:
        print_json(entry)
    else:
        skipped = f", {counts['n_dead']:,} unreadable left out" if counts["n_dead"] else ""
        typer.echo(f"{target}: {counts['n_events']:,} events{skipped}")


def _opened(source: str, labels: str | None, payload: str | None, on_error: str) -> Source:
    """A source, or a complaint about how the command was called."""
    from streams.opening import open_source
    from streams.source import DecodeError

    try:
        return open_source(source, labels=labels, payload=payload, on_error="skip" if on_error == "skip" else "fail")
    except DecodeError:
        raise
    except (FileNotFoundError, LookupError, ValueError) as error:
        raise UsageError(str(error)) from error


def _watched(stream: Source, target: Path, max_events: int | None, write: Any) -> dict[str, int]:
    """Write the events while a bar tells how far it is; events written and left out."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    counts = {"n_events": 0, "n_dead": 0}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        expected = stream.n_events if screen.is_terminal else None
        total = min((n for n in (expected, max_events) if n is not None), default=None)
        task = bar.add_task(f"writing {target.name}", total=total)

        def tell(n_events: int, n_dead: int) -> None:
            counts.update(n_events=n_events, n_dead=n_dead)
            bar.update(task, completed=n_events + n_dead)

        counts["n_events"] = write(stream, target, tell, max_events=max_events)
    return counts


_AWAY = "to be fetched"
_TITLES = {
    "n_events": "events",
    "n_features": "features",
    "n_labels": "labels",
    "n_dead": "unreadable",
    "labels": "label columns",
    "path": "file",
}


def _known(info: DatasetInfo) -> dict[str, Any]:
    """What the table says of a data set, and where it is."""
    from streams.datasets import DOWNLOADS
    from streams.registry import dataset_path

    path = dataset_path(info.name)
    # The wheel of river, which is always there, carries yeast.
    where = "this machine" if path is not None else "package river" if info.name == "yeast" else _AWAY
    placed = {"where": where, "path": None if path is None else str(path)}
    return {**asdict(info), "url": DOWNLOADS + info.url, **placed}
