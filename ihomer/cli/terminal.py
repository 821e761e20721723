"""What commands say: tables and JSON on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

DONE, FAILED, WRONG, STOPPED = 0, 1, 2, 130
"""Exit codes: all well, failed while running, wrong usage or configuration, stopped by the user."""

_WIDE = 200
"""Columns of what goes to a file or a pipe, where nothing may be cut."""


class UsageError(Exception):
    """The command line asks for something that cannot be; exit code 2."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for everything where there is none."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    if not found.is_terminal:
        found.width = max(found.width, _WIDE)
    return found


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without walls; columns named in ``right`` hold numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in (*right, columns[0]))
    return table


def print_json(value: Any) -> None:
    """``value`` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def complain(text: str) -> None:
    """Lines about a fault on standard error, each headed by the program's name."""
    for line in text.splitlines():
        sys.stderr.write(f"ihomer: {line}\n")
