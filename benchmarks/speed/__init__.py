"""Metrics, linear learners, readers and start-up, side by side with river, Vowpal Wabbit, liac-arff and scipy."""

from benchmarks.frame import Cell
from benchmarks.speed import linear, metrics, readers, startup

__all__ = ["cells"]


def cells() -> list[Cell]:
    """All cells of the suite."""
    return [*metrics.cells(), *linear.cells(), *readers.cells(), *startup.cells()]
