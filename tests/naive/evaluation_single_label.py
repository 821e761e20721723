"""Single-label metrics from lists of classes and answers, recomputed from the start each time they are asked for."""

from __future__ import annotations

import math
from collections import Counter

from tests.naive.evaluation_metrics import Event


def classes(events: list[Event], n_labels: int) -> list[tuple[int, int | None]] | None:
    """Class and answer of each event, or None where the stream is not of that kind."""
    if any(event.known is not None or len(event.true) > 1 for event in events):
        return None
    if n_labels == 1:
        return [(int(0 in event.true), int(0 in event.predicted)) for event in events]
    if any(not event.true for event in events):
        return None
    return [(min(event.true), answer(event)) for event in events]


def answer(event: Event) -> int | None:
    if len(event.predicted) == 1:
        return min(event.predicted)
    possible = [(-p, label) for label, p in (event.proba or {}).items() if p > 0]
    return min(possible)[1] if possible else None


def scores(
    pairs: list[tuple[int, int | None]] | None, last: int | None = None, fading: float = 1.0
) -> dict[str, float]:
    """The metrics of the last events; no-change and majority look at everything before each of them."""
    if not pairs:
        return {}
    rows = []
    for i, (true, answered) in enumerate(pairs):
        before = Counter(true for true, _ in pairs[:i])
        majority = min(before, key=lambda c: (-before[c], c)) if before else None
        rows.append((true, answered, pairs[i - 1][0] if i else None, majority))
    rows = rows if last is None else rows[-last:]
    weights = [fading ** (len(rows) - 1 - i) for i in range(len(rows))]

    def share(holds: list[bool]) -> float:
        return math.fsum(w for w, held in zip(weights, holds, strict=True) if held) / math.fsum(weights)

    trues, answers, previous, frequent = zip(*rows, strict=True)
    right, repeated, habitual = (
        share([a == b for a, b in zip(trues, other, strict=True)]) for other in (answers, previous, frequent)
    )
    chance = math.fsum(share([t == c for t in trues]) * share([z == c for z in answers]) for c in set(trues))
    return {
        "accuracy": right,
        "kappa": 0.0 if chance >= 1 else (right - chance) / (1 - chance),
        "kappa_temporal": above(right, repeated),
        "kappa_m": above(right, habitual),
    }


def above(right: float, reference: float) -> float:
    return math.nan if reference >= 1 else (right - reference) / (1 - reference)
