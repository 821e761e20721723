"""``ihomer data``: known data sets, what is in them, and how to have them on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ihomer.cli.options import JsonSwitch
from ihomer.cli.terminal import UsageError, console, plain_table, print_json

if TYPE_CHECKING:
    from streams.datasets import DatasetInfo

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
