"""Metrics, learners, detectors, readers and start-up beside river, Vowpal Wabbit, scikit-learn, scipy and pyarrow."""

from benchmarks.frame import Cell
from benchmarks.speed import drift, knn, linear, metrics, naive_bayes, readers, startup, text_readers

__all__ = ["cells"]


def cells() -> list[Cell]:
    """All cells of the suite."""
    parts = (metrics, linear, knn, naive_bayes, drift, readers, text_readers, startup)
    return [cell for part in parts for cell in part.cells()]
