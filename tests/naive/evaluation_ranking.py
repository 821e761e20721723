"""Ranking metrics from their definitions: every label sorted, every propensity taken from all events before."""

from __future__ import annotations

import math

from tests.naive.evaluation_metrics import Event


def worths(events: list[Event], ks: tuple[int, ...]) -> list[dict[str, tuple[float, float]] | None]:
    """For each event, None where it is not ranked, else by metric what it got and the best it could have got."""
    found = []
    for i, event in enumerate(events):
        if event.known is not None or event.proba is None or not event.true:
            found.append(None)
            continue
        past = [other for other in events[:i] if other.known is None]
        weight = {label: 1 / propensity(past, label) for label in event.true}
        ranking = sorted((label for label, p in event.proba.items() if p > 0), key=lambda j: (-event.proba[j], j))
        ideal = sorted(weight.values(), reverse=True)
        worth = {}
        for k in ks:
            hits = [(r, label) for r, label in enumerate(ranking[:k], 1) if label in event.true]
            best = list(enumerate(ideal[:k], 1))
            worth[f"precision_at_{k}"] = len(hits) / k, 1.0
            worth[f"ndcg_at_{k}"] = sum(gain(r) for r, _ in hits) / sum(gain(r) for r, _ in best), 1.0
            worth[f"psp_at_{k}"] = sum(weight[j] for _, j in hits), sum(w for _, w in best)
            worth[f"psndcg_at_{k}"] = sum(weight[j] * gain(r) for r, j in hits), sum(w * gain(r) for r, w in best)
        found.append(worth)
    return found


def gain(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def propensity(past: list[Event], label: int) -> float:
    a, b = 0.55, 1.5
    n = len(past)
    c = max(0.0, math.log(n) - 1) * (b + 1) ** a if n else 0.0
    return 1 / (1 + c * math.exp(-a * math.log(sum(label in event.true for event in past) + b)))


def scores(worths: list[dict[str, tuple[float, float]] | None], fading: float = 1.0) -> dict[str, float]:
    """Every metric over these events, the last of which weighs 1, the one before it ``fading``, and so on."""
    weighted = [(fading ** (len(worths) - 1 - i), worth) for i, worth in enumerate(worths) if worth is not None]
    if not weighted:
        return {}
    got, best = (
        {name: math.fsum(w * worth[name][k] for w, worth in weighted) for name in weighted[0][1]} for k in (0, 1)
    )
    return {name: got[name] / best[name] for name in got}


def n_without_label(events: list[Event]) -> int:
    return sum(event.known is None and event.proba is not None and not event.true for event in events)
