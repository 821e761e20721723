"""The multi-label Hoeffding adaptive tree, answering each event before learning it, beside river's trees."""

from __future__ import annotations

from functools import partial

from benchmarks.frame import Cell
from benchmarks.speed.classifier import NAMES, REFERENCE, beside_river
from benchmarks.targets import Below, Ratio
from learners.trees.mlhat import MLHATClassifier

TIMES = {(6, 72): 50, (14, 103): 100, (45, 100): 100, (101, 120): 100, (374, 500): 200}
"""How many times the reference's speed the arrays should reach; dictionaries should reach 40 times everywhere."""


def cells() -> list[Cell]:
    """Speed at five shapes, in both modes; the published one is what the reference runs."""
    published = partial(MLHATClassifier, mode="paper")
    arrays = {"arrays, as published": published, "arrays": MLHATClassifier}
    return [
        Cell(
            group="mlhat",
            workload=f"repeating_{n_labels}x{n_features}_v1",
            build=partial(beside_river, n_labels, n_features, arrays, published),
            targets=[
                *(Below(name, 1 / (TIMES[n_labels, n_features] * speed)) for name in arrays),
                Below("dictionaries", 1 / (40 * speed)),
                Ratio("arrays", "river's trees"),
            ],
            metrics=NAMES,
            repeats=3,
        )
        for (n_labels, n_features), speed in REFERENCE.items()
    ]
