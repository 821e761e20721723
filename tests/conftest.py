"""How tests are shared out where several processes run them, and the command line as tests run it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]

# Compilers leave a large heap behind, through all of which every full collection goes.
gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, which share what they set up, and all that share the broker."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder == "kafka" else str(item.path)))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command line in a folder of its own; gives exit code, standard output and standard error."""
    from ihomer.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            main([str(word) for word in words])
        shown = capsys.readouterr()
        return int(leaving.value.code or 0), shown.out, shown.err

    return run
