"""``ihomer compare``: two result files side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from ihomer.cli.options import JsonSwitch, with_default
from ihomer.cli.terminal import console, print_json


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Result file to compare with.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Result file that is judged.")],
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="D", help=with_default("Metrics that differ by no more are equal.", 0.001), show_default=False
        ),
    ] = 0.001,
    speed_tolerance: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help=with_default("Speed and bytes that differ by no more are equal.", 0.1),
            show_default=False,
        ),
    ] = 0.1,
    strict: Annotated[bool, typer.Option("--strict", help="Leave with code 1 if anything is worse or gone.")] = False,
    as_json: JsonSwitch = False,
) -> None:
    """Put two result files side by side, with a verdict on every metric of the second.

    A folder stands for the result.json in it.

    [bold]Examples[/]
      ihomer compare before/result.json after/result.json
      ihomer compare before after --tolerance 0.005 --strict
    """
    from ihomer.evaluation.compare import compare as compared
    from ihomer.evaluation.result import Result

    found = compared(
        Result.load(_file(first)), Result.load(_file(second)), tolerance=tolerance, speed_tolerance=speed_tolerance
    )
    if as_json:
        print_json(found.to_json())
    else:
        console().print(found.table())
    if strict and found.worse:
        raise typer.Exit(1)


def _file(where: str) -> str:
    from pathlib import Path

    return str(Path(where) / "result.json") if Path(where).is_dir() else where
