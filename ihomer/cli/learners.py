"""``ihomer learners``: which learners there are and what they take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ihomer.cli.options import JsonSwitch
from ihomer.cli.terminal import console, plain_table, print_json

app = typer.Typer(no_args_is_help=True, help="The learners, their parameters and defaults.")


@app.command("list")
def list_learners(as_json: JsonSwitch = False) -> None:
    """List the learners that have a name."""
    from ihomer import specs

    learners = [specs.describe(name) for name in specs.LEARNERS]
    if as_json:
        print_json(learners)
        return
    from rich.text import Text

    table = plain_table("learner", "what it is", "parameters")
    for learner in learners:
        parameters = ", ".join(parameter["name"] for parameter in learner["parameters"])
        table.add_row(Text(learner["name"], "bold"), Text(learner["summary"]), Text(parameters, "dim"))
    console().print(table)


@app.command("info")
def info(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name of the list, package.module:Class or river:module.Class().")
    ],
    as_json: JsonSwitch = False,
) -> None:
    """Show a learner's parameters, their defaults and what they mean.

    [bold]Example[/]
      ihomer learners info linear
    """
    from ihomer import specs

    show_class(specs.describe(name), "--learner", as_json=as_json)


def show_class(described: dict[str, Any], flag: str, *, as_json: bool) -> None:
    """What a class is and takes, and how ``flag`` gives it a parameter."""
    if as_json:
        print_json(described)
        return
    from rich.text import Text

    from ihomer.specs import RIVER

    screen = console()
    screen.print(Text(described["name"], "bold"), Text(described["class"], "dim"))
    screen.print(Text(described["summary"]))
    if not described["parameters"]:
        screen.print("It has no parameters.")
        return
    table = plain_table("parameter", "default", "type", "meaning")
    for parameter in described["parameters"]:
        table.add_row(
            Text(parameter["name"], "bold"),
            _default(parameter),
            Text(parameter["type"], "dim"),
            Text(parameter["meaning"]),
        )
    screen.print(table)
    first = described["parameters"][0]
    if described["name"].startswith(RIVER):
        return
    screen.print(Text(f"{flag} {described['name']}:{first['name']}={_default(first)},…", "dim"))


def _default(parameter: dict[str, Any]) -> str:
    if parameter["required"]:
        return "required"
    value = parameter["default"]
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
