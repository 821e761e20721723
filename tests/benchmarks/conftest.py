"""Attempts that pretend need no collection of garbage before each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmarks import frame


@pytest.fixture(autouse=True)
def no_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full collection takes a second in a process that has compiled much."""
    monkeypatch.setattr(frame, "gc", SimpleNamespace(collect=lambda: 0))
