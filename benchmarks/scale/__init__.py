"""Beyond one process: labels with several workers, partitions with several actors, and a model of many of either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.frame import Cell
from benchmarks.scale import labels, partitions
from benchmarks.tables import common_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cells() -> list[Cell]:
    """Labels first, since they are there without Kafka or Ray."""
    return [*labels.cells(), *partitions.cells()]


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """Those of the parts; cells of partitions are told as everywhere."""
    rest = {**result, "cells": [cell for cell in result["cells"] if not cell["group"].startswith("labels")]}
    return {**labels.tables(result), **common_tables(rest)}


def pictures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Those of the labels."""
    return labels.pictures(result)
