"""Metrics, learners, detectors, clusters, readers, start beside river, Vowpal Wabbit, scikit-learn, pyarrow."""

from benchmarks.frame import Cell
from benchmarks.speed import (
    classifier,
    drift,
    heads,
    hierarchy,
    knn,
    linear,
    metrics,
    naive_bayes,
    readers,
    startup,
    text_readers,
    trees,
)

__all__ = ["cells"]


def cells() -> list[Cell]:
    """All cells of the suite."""
    parts = (
        metrics,
        classifier,
        trees,
        linear,
        knn,
        naive_bayes,
        heads,
        drift,
        hierarchy,
        readers,
        text_readers,
        startup,
    )
    return [cell for part in parts for cell in part.cells()]
