"""The documentation: guides whose cells run, and a reference that has every public name."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
CELL = re.compile(r"^```\{code-cell\}.*?\n((?::.*\n)*)(.*?)^```$", re.MULTILINE | re.DOTALL)

BEFORE = """
import pathlib, subprocess

def sh(text):
    subprocess.run(["sh", "-ec", text], check=True)
"""


def program(page: Path) -> str:
    """The cells of a page as one program, in which a command is a call of the shell."""
    lines = [BEFORE]
    for found in CELL.finditer(page.read_text()):
        head, _, rest = found[2].partition("\n")
        if head == "%%sh":
            lines.append(f"sh({rest!r})")
        elif head.startswith("%%writefile "):
            lines.append(f"pathlib.Path({head.split()[1]!r}).write_text({rest!r})")
        else:
            lines.append(found[2])
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(page.stem for page in (DOCS / "guides").glob("*.md")))
def test_a_guide_runs(name, tmp_path):
    """In a folder of its own, with no package of the documentation."""
    pytest.importorskip("sklearn")
    code = program(DOCS / "guides" / f"{name}.md")
    assert code.count("\n") > 10
    (tmp_path / "guide.py").write_text(code)
    here = {"MPLBACKEND": "agg", "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    ended = subprocess.run(
        [sys.executable, "guide.py"], cwd=tmp_path, env={**os.environ, **here}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.mark.parametrize("room", ["ihomer", "streams", "learners", "drift"])
def test_the_reference_has_every_public_name(room):
    pages = "".join(page.read_text() for page in (DOCS / "api").glob("*.rst"))
    listed = set(re.findall(r"^(?:   |\.\. py:data:: )\w+(?:\.\w+)*\.(\w+)$", pages, re.MULTILINE))
    forgotten = {*importlib.import_module(room).__all__} - listed - {"__version__"}
    assert not forgotten, "docs/api lists every public name, under the heading that it belongs to"
