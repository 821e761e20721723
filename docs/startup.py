"""What the process of a guide does first: commands and figures are to be read on a page, and not in a terminal."""

import os
import pathlib
import subprocess

for _name in ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
    os.environ.pop(_name, None)


def _sh(line: str, cell: str) -> None:
    """Run a cell in the shell; the first command that fails ends it."""
    ended = subprocess.run(["sh", "-ec", cell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(ended.stdout, end="")
    ended.check_returncode()


def _writefile(line: str, cell: str) -> None:
    """Write a cell to a file."""
    pathlib.Path(line.strip()).write_text(cell)


_shell = get_ipython()  # type: ignore[name-defined]  # noqa: F821
_shell.register_magic_function(_sh, "cell", "sh")
_shell.register_magic_function(_writefile, "cell", "writefile")
_shell.run_line_magic("matplotlib", "inline")
