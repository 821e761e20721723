"""Detectors of change, for one series or many at once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drift.adwin import ADWIN, ADWINBank

__all__ = ["ADWIN", "ADWINBank"]

_MODULES = {"ADWIN": "drift.adwin", "ADWINBank": "drift.adwin"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that importing the room costs nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
