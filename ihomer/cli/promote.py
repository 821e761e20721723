"""``ihomer promote``: a challenger takes over in the checkpoints of a run that has stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from ihomer.cli.terminal import console


def promote(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Checkpoint folder of the run, or its URL.")],
    challenger: Annotated[
        str, typer.Option("--learner", metavar="X", help="The challenger, as it was given to --challenger.")
    ],
) -> None:
    """Let a challenger take the place of the learner that it was scored beside.

    Stop the run first. Its checkpoints so far stay; new ones go on from the
    challenger alone, with all that it has learned and its scores.

    [bold]Example[/]
      ihomer promote state --learner linear
      ihomer run --source log:events --learner linear --checkpoint state --resume
    """
    from ihomer.promotion import promote as write_promoted

    for path in write_promoted(directory, challenger):
        console().print(f"promoted  {path}", markup=False, soft_wrap=True)
