"""Calibration and thresholds from a list of all cells."""

from __future__ import annotations

import math
from fractions import Fraction

from tests.naive.evaluation_metrics import Event, precision_recall_f1

Cell = tuple[float, int, bool]  # probability, the whole hundredths in it, truth


def cells(events: list[Event], labels: range) -> list[Cell]:
    """Probability and truth of every known cell of these labels, of events with probabilities."""
    found = [
        (event.proba.get(label, 0.0), label in event.true)
        for event in events
        if event.proba is not None
        for label in labels
        if event.known is None or label in event.known
    ]
    return [(p, math.floor(Fraction(p) * 100), truth) for p, truth in found]


def curve(found: list[Cell]) -> dict:
    """Bins that are not empty, and how far apart they are from the truth."""
    columns: dict[str, list] = {name: [] for name in ("low", "high", "n", "mean_probability", "share_present")}
    gap = 0.0
    for k in range(20):
        inside = [(p, truth) for p, hundredths, truth in found if k == min(19, hundredths // 5)]
        if not inside:
            continue
        n = len(inside)
        mean, share = math.fsum(p for p, _ in inside) / n, sum(truth for _, truth in inside) / n
        for name, value in zip(columns, (k / 20, (k + 1) / 20, n, mean, share), strict=True):
            columns[name].append(value)
        gap += n * abs(mean - share)
    return {"n_cells": len(found), "ece": gap / len(found) if found else math.nan, **columns}


def at_threshold(found: list[Cell], hundredths: int) -> tuple[float, float, float]:
    """Precision, recall and F1 where a label is answered from so many hundredths on."""
    answered = [(whole >= hundredths, truth) for _, whole, truth in found]
    hits = sum(z and y for z, y in answered)
    alarms = sum(z and not y for z, y in answered)
    missed = sum(y and not z for z, y in answered)
    return precision_recall_f1(hits, alarms, missed)


def best(found: list[Cell]) -> tuple[float, float]:
    """The threshold of the greatest F1 and what it reaches; NaN where none reaches anything."""
    by_threshold = {j: at_threshold(found, j)[2] for j in range(1, 100)}
    most = max(by_threshold.values())
    j = min((j for j, f1 in by_threshold.items() if f1 == most), key=lambda j: (abs(2 * j - 100), j))
    return (j / 100, most) if most else (math.nan, math.nan)
