"""The command line: ``ihomer evaluate``, ``run``, ``siblurry``, ``produce``, ``tail`` and what helps with them.

Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration, 130 stopped by the user.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from ihomer.cli import (
    compare,
    data,
    detectors,
    encoder,
    extract,
    learners,
    produce,
    promote,
    running,
    show,
    siblurry,
    tail,
)
from ihomer.cli.terminal import DONE, FAILED, STOPPED, WRONG, UsageError, complain

__all__ = ["app", "main"]

app = typer.Typer(name="ihomer", no_args_is_help=True, rich_markup_mode="rich", add_completion=False)
app.command("evaluate", no_args_is_help=True)(running.evaluate)
app.command("run", no_args_is_help=True)(running.run)
app.command("compare", no_args_is_help=True)(compare.compare)
app.command("siblurry", no_args_is_help=True)(siblurry.siblurry)
app.command("extract", no_args_is_help=True)(extract.extract)
app.command("show", no_args_is_help=True)(show.show)
app.command("produce", no_args_is_help=True)(produce.produce)
app.command("tail", no_args_is_help=True)(tail.tail)
app.command("promote", no_args_is_help=True)(promote.promote)
app.add_typer(data.app, name="data")
app.add_typer(learners.app, name="learners")
app.add_typer(detectors.app, name="detectors")
app.add_typer(encoder.app, name="encoder")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ihomer {version('ihomer')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from; may stand anywhere.")] = False,
) -> None:
    """Streaming multi-label learning: label hierarchies that follow a stream, and the means to prove it.

    [bold]Start with[/]
      ihomer evaluate --data yeast --out results
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    arguments
        Without the program's name; None: those that the program was started with.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    # So that ``--learner my_module:MyLearner`` finds a module of the working directory, behind everything installed.
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    code = _invoke([word for word in words if word != "--debug"], debug)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    sys.exit(code)


def _invoke(words: list[str], debug: bool) -> int:
    try:
        code = typer.main.get_command(app).main(words, prog_name="ihomer", standalone_mode=False)
    except SystemExit as leaving:
        return int(leaving.code or DONE)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except Exception as error:
        code = _report(error, debug)
    if code == STOPPED:
        complain("stopped")
    return code or DONE


def _report(error: Exception, debug: bool) -> int:
    """Say in one line what is wrong; the exit code for it."""
    from ihomer.config import ConfigError
    from ihomer.specs import SpecError
    from streams.source import TakenOverError

    if debug:
        traceback.print_exception(error)
    # Usage errors of typer: their class stands in another place in almost every version.
    if hasattr(error, "format_message"):
        message = error.format_message()
        if message:
            context = getattr(error, "ctx", None)
            command = "ihomer" if context is None else context.command_path
            complain(f"{message.rstrip('.')} (see {command} --help)")
        return WRONG
    if isinstance(error, (ConfigError, SpecError, UsageError)):
        complain(str(error))
        return WRONG
    if isinstance(error, OSError) and error.filename is not None:
        complain(f"{error.filename}: {(error.strerror or 'cannot be used').lower()}")
        return WRONG if isinstance(error, FileNotFoundError) else FAILED
    if isinstance(error, (ValueError, OSError, MemoryError, TakenOverError)):
        complain(str(error) or type(error).__name__)
    else:
        complain(f"{type(error).__name__}: {error} (--debug shows where)")
    return FAILED
