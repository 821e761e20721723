"""``ihomer detectors``: which detectors of change there are and what they take."""

from __future__ import annotations

from typing import Annotated

import typer

from ihomer.cli.learners import show_class
from ihomer.cli.options import JsonSwitch
from ihomer.cli.terminal import console, plain_table, print_json

app = typer.Typer(no_args_is_help=True, help="The detectors of change, their parameters and defaults.")


@app.command("list")
def list_detectors(as_json: JsonSwitch = False) -> None:
    """List the detectors, and what each of them watches."""
    from ihomer import detectors

    described = [detectors.describe(name) for name in detectors.DETECTORS]
    if as_json:
        print_json(described)
        return
    from rich.text import Text

    table = plain_table("detector", "watches", "what it is", "parameters")
    for detector in described:
        parameters = ", ".join(parameter["name"] for parameter in detector["parameters"])
        table.add_row(
            Text(detector["name"], "bold"), detector["watches"], Text(detector["summary"]), Text(parameters, "dim")
        )
    console().print(table)


@app.command("info")
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of the list, or river:module.Class().")],
    as_json: JsonSwitch = False,
) -> None:
    """Show a detector's parameters, their defaults and what they mean.

    [bold]Example[/]
      ihomer detectors info page-hinkley
    """
    from ihomer import detectors

    detector = detectors.describe(name)
    show_class(detector, "--detector" if detector["watches"] == "loss" else "--watch", as_json=as_json)
