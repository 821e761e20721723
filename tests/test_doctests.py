"""The examples in the docstrings of every module of the rooms that are shipped, run as they stand."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ihomer", "streams", "learners", "drift")

EXTRAS = {"confluent_kafka", "polars", "sklearn", "torch", "upath"}
"""Packages that a module may need and that the engine does not bring."""


def modules() -> list[str]:
    """The names of all modules that say ``>>>`` somewhere, found by their files, so that none can be forgotten."""
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py") if ">>> " in path.read_text())
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def loaded(module: str):
    """The module, or a skip that names the package without which it cannot be had."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"needs {error.name}")


# A group each: the smallest groups are tested last, and by then what the examples need has been compiled.
@pytest.mark.parametrize("module", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in modules()])
def test_examples(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(loaded(module))
    assert outcome.attempted
    assert not outcome.failed
