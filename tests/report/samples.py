"""Made-up results of any size, for looking at the page: learning curves with noise, no learner behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ihomer.evaluation.result import METRICS, SHOWN_SINGLE, Result, Run
from ihomer.evaluation.significance import significance

STREAMS = (
    *("flags", "emotions", "birds", "yeast", "scene", "human-pseaac", "cal500", "genbase", "medical", "enron"),
    *("slashdot", "bibtex", "20ng", "tmc2007-500", "corel5k", "delicious"),
)
LEARNERS = ("ihomer", "linear", "mlhat", "forest")
BASELINES = ("no-change", "majority")

SKILL = {"ihomer": 0.62, "linear": 0.58, "mlhat": 0.55, "forest": 0.6, "no-change": 0.46, "majority": 0.41}


def sample(
    n_streams: int = 1,
    learners: tuple[str, ...] = LEARNERS[:2],
    *,
    n_labels: int = 14,
    n_events: int = 2417,
    n_points: int = 38,
    label: str = "label {}",
    interrupted: bool = False,
    single: bool = False,
    compared: bool = False,
) -> Result:
    """A result of these dimensions, the same every time.

    ``single``: every event has one class; ``compared``: with the learners compared over the streams.
    """
    rng = np.random.default_rng(7)
    runs = []
    for stream in STREAMS[:n_streams] if n_streams > 1 else ("yeast",):
        hardness = rng.uniform(0.7, 1.1)
        labels = [label.replace("{}", str(number)) for number in range(n_labels)]
        support = np.sort((n_events * rng.beta(0.6, 3, n_labels)).astype(int))
        for learner in (*learners, *BASELINES):
            skill = SKILL[learner] * hardness + rng.normal(0, 0.02)
            curve = [
                {
                    "event": int(event),
                    "cumulative": metrics(skill * (1 - 0.5 * np.exp(-6 * event / n_events)), rng, 0.002, single),
                    "window": metrics(skill * (1 - 0.4 * np.exp(-9 * event / n_events)), rng, 0.02, single),
                }
                for event in np.linspace(n_events / n_points, n_events, n_points)
            ]
            baseline = learner in BASELINES
            moving = learner in ("ihomer", "mlhat")
            runs.append(
                Run(
                    data={
                        "name": stream,
                        "sha256": "0" * 64,
                        "n_events": n_events,
                        "n_features": 103,
                        "n_labels": n_labels,
                        "cardinality": float(support.sum() / n_events),
                        "order": "file",
                    },
                    learner={"name": learner, "params": {} if baseline else {"rate": 0.1, "l2": 1e-5}, "seed": 1},
                    counts={
                        "read": n_events,
                        "scored": n_events - 3,
                        "learned": n_events - 3,
                        "unlabelled": 1,
                        "pending": 0,
                        "dead": 2,
                    },
                    metrics=curve[-1]["cumulative"],
                    time={"wall_s": 0.31, "cpu_s": 0.3, "events_per_s": float(rng.uniform(5e3, 3e5))},
                    model_bytes=int(rng.integers(2_000, 3_000_000)),
                    drifts=[
                        {"event": int(event), "kind": "loss", "detector": "ADWIN", "before": 0.4, "after": 0.5}
                        for event in sorted(rng.integers(1, n_events, 3 if learner == "linear" else 1))
                    ],
                    restructures=[
                        {"event": int(event), "kind": kind, "labels": labels[:5], "diameter": 0.87, "bound": 0.0421}
                        for event, kind in zip(
                            sorted(rng.integers(1, n_events, 6 * moving)),
                            ("split", "split", "merge", "split", "split", "merge"),
                            strict=False,
                        )
                    ],
                    baseline=baseline,
                    per_label=[
                        {
                            "label": name,
                            "support": int(count),
                            "predicted": int(count * 0.9),
                            "precision": float(score),
                            "recall": float(score),
                            "f1": float(score),
                        }
                        | ({} if baseline else cut_offs(float(score), count > 0))
                        for name, count, score in zip(
                            labels,
                            support,
                            np.clip(
                                skill * (support / max(1, support.max())) ** 0.3 + rng.normal(0, 0.05, n_labels), 0, 1
                            )
                            * (support > 0),
                            strict=True,
                        )
                    ],
                    window=curve[-1]["window"],
                    window_size=1000,
                    calibration=None if baseline else calibration(1 - skill, n_labels * n_events),
                    ranking={} if baseline else {"n_ranked": n_events - 9, "n_without_label": 6},
                    hierarchy=tree(labels, rng) if learner == "ihomer" else None,
                    interrupted=interrupted,
                    curve=curve,
                )
            )
    result = Result(
        runs,
        {"python": "3.11.7", "ihomer": "0.1.0", "numpy": "2.0.0", "numba": "0.60.0", "river": "0.22.0"},
        {"cpu": "Example CPU", "cores": 2, "memory_bytes": 2**34, "system": "Linux", "architecture": "x86_64"},
        "2025-01-02T03:04:05+00:00",
        "ihomer evaluate --data yeast --learner ihomer,linear --out report",
    )
    if compared:
        result.significance = significance(result)
    return result


def metrics(level: float, rng: np.random.Generator, noise: float, single: bool) -> dict[str, float]:
    """Every metric, near a level; those of single labels where there are such."""
    return {
        key: float(np.clip((level if metric.better == "higher" else (1 - level) * 0.5) + rng.normal(0, noise), 0, 1))
        for key, metric in METRICS.items()
        if single or key not in SHOWN_SINGLE
    }


def cut_offs(score: float, present: bool) -> dict[str, Any]:
    """What a run keeps of a label with probabilities."""
    best = {"threshold": 0.31, "f1_at_threshold": min(1.0, score * 1.1)}
    return {"f1_at_half": score * 0.97, "ece": 0.03} | (best if present else dict.fromkeys(best))


def calibration(bend: float, n_cells: int) -> dict[str, Any]:
    """Ten bins of probabilities that are too sure of themselves; the second one is empty."""
    low = np.delete(np.arange(10) / 10, 1)
    n = np.maximum(1, n_cells * 0.5 ** (1 + np.arange(9))).astype(int)
    middle = low + 0.05
    return {
        "n_cells": int(n.sum()),
        "ece": 0.08 * bend,
        "low": low.tolist(),
        "high": (low + 0.1).round(1).tolist(),
        "n": n.tolist(),
        "mean_probability": middle.tolist(),
        "share_present": (middle + bend * middle * (0.5 - middle)).clip(0, 1).tolist(),
    }


def repeated(n_repeats: int = 3, **options: Any) -> Result:
    """A result in which everything was done several times, each time a little differently."""
    result = sample(**options)
    rng = np.random.default_rng(11)
    runs = []
    for run in result.runs:
        for turn in range(n_repeats):
            data = run.data | {"order": f"shuffled:{5 + turn}", "repeat": turn}
            moved = {key: float(np.clip(value + rng.normal(0, 0.01), 0, 1)) for key, value in run.metrics.items()}
            learner = run.learner | {"seed": turn}
            runs.append(replace(run, data=data, metrics=moved, learner=learner))
    result.runs = runs
    return result


def tree(labels: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """A tree of clusters of at most three labels."""
    number = iter(range(10_000))

    def grow(names: list[str]) -> dict[str, Any]:
        node: dict[str, Any] = {"id": next(number), "labels": names, "children": [], "diameter": None, "n_events": 100}
        if len(names) > 3:
            cut = int(rng.integers(1, len(names)))
            node |= {"children": [grow(names[:cut]), grow(names[cut:])], "diameter": 0.5}
        return node

    return grow(labels)
