"""Heads on frozen features in Si-Blurry, five seeds a set, beside what all data at once would give.

Half of the classes are disjoint, 10 per cent of the samples of the others are blurred over five sessions; a fifth of
every class is held out. A contestant's quality are its metrics for every seed, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.features import SETS, path_of
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.over_seeds import over_seeds
from benchmarks.tables import table
from ihomer.evaluation.result import METRICS, Result, Run
from ihomer.evaluation.seeds import SeedComparison, compare_seeds
from ihomer.specs import build
from streams.siblurry.labelled import LabelledEvents, load_events

HEADS = {
    "auto": "auto",
    "auto, balanced": "auto:objective=balanced",
    "NCM, cosine": "ncm",
    "diagonal Gaussian": "gaussian:prior=0",
    "SLDA": "slda:shrinkage=0.1",
    "SLDA, scheduled shrinkage": "slda",
    "ridge": "ridge",
    "balanced ridge": "balanced-ridge",
    "recursive least squares": "rls",
    "RanPAC": "ranpac",
    "cosine softmax": "cosine-softmax",
    "MVP-light": "mvp-light",
    "sub-prototypes": "sub-prototypes",
}
"""What tables call the heads, and what the command line does."""

DEFAULT, BALANCED = "auto", "auto, balanced"
RIVALS = ("NCM, cosine", "SLDA", "ridge", "RanPAC", "cosine softmax", "MVP-light")
"""What the default head is to be above, on the means over the sets."""

SHOWN = ("a_auc", "a_last", "a_auc_balanced", "a_last_balanced")
"""Metrics of the tables; a head for balanced accuracy is judged by the last two."""

SEEDS, QUICK_SEEDS = (1, 2, 3, 4, 5), (1, 2)
SMALL = ("digits", "robotics")

OFFLINE = {"offline ridge": "ridge", "offline logistic": "logistic"}
"""Batch learners that see all events at once: what the end could be."""


def cells() -> list[Cell]:
    """A cell a set; one attempt a head, which goes through all seeds."""
    return [
        Cell("heads", f"{name}_v1", partial(_build, name), metrics=("a_last",), repeats=1, quick=name in SMALL)
        for name in SETS
    ]


def _build(name: str, setting: Setting) -> Sequence[Contestant]:
    events = load_events(str(path_of(name)))
    seeds = QUICK_SEEDS if setting.quick else SEEDS
    return [
        *(Contestant(title, partial(_attempt, events, spec, seeds)) for title, spec in HEADS.items()),
        *(Contestant(title, partial(_offline, events, kind, seeds)) for title, kind in OFFLINE.items()),
    ]


def _attempt(events: LabelledEvents, spec: str, seeds: Sequence[int], clock: Clock) -> Quality:
    """All seeds; the cost is the time of learning an event, compilation left out."""
    beginning = events.set_aside(0.2, 0).batch[:200]
    warmed = build(spec, seed=0)
    warmed.learn_batch(beginning)
    warmed.predict_batch(beginning)

    quality, runs = over_seeds(events, spec, seeds, (*SHOWN, "a_avg", "f_last"), clock)
    quality["model_bytes"] = float(max(run.model_bytes for run in runs))
    quality["answer_us"] = 1e6 * fmean(run.time["answer_s"] for run in runs)
    return quality


def _offline(events: LabelledEvents, kind: str, seeds: Sequence[int], clock: Clock) -> Quality:
    """What a batch learner reaches at the end with the same events set aside."""
    quality: dict[str, float] = {}
    n = 0
    for seed in seeds:
        split = events.set_aside(0.2, seed)
        assert split.test is not None, "it was set aside"
        x, y = np.asarray(split.batch.x, np.float64), split.batch.y.indices
        with clock:
            model = _batch_learner(kind, x).fit(x, y)
        right = model.predict(np.asarray(split.test.x, np.float64)) == split.test.y.indices
        quality[f"a_last@{seed}"] = float(right.mean())
        by_class = [right[split.test.y.indices == label].mean() for label in np.unique(split.test.y.indices)]
        quality[f"a_last_balanced@{seed}"] = float(np.mean(by_class))
        clock.count(len(x))
        n += len(x)
    for key in ("a_last", "a_last_balanced"):
        quality[key] = fmean(quality[f"{key}@{seed}"] for seed in seeds)
    return quality


def _batch_learner(kind: str, x: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeClassifier

    if kind == "ridge":
        return RidgeClassifier(alpha=0.1 * float(x.var(0).sum()) * len(x) / x.shape[1])
    return LogisticRegression(C=10.0, max_iter=300)


# Tables.


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """Every head on every set, the means over the sets, and the default head against each other, paired over seeds."""
    sets = {cell["workload"]: _quality(cell) for cell in result["cells"] if cell["contestants"]}
    if not sets:
        return {}
    return {"sets": _by_set(sets), "means": _means(sets), "paired": _paired(sets), "costs": _costs(result)}


def _quality(cell: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {side["name"]: side["quality"] for side in cell["contestants"] if side["status"] == "ok"}


def _seeds(quality: Mapping[str, float], metric: str) -> list[float]:
    return [value for key, value in quality.items() if key.startswith(f"{metric}@")]


def _percent(values: Sequence[float]) -> str:
    if not values:
        return "–"
    deviation = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.1f}{deviation}"


def _by_set(sets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rows = [
        [name, head, *(_percent(_seeds(quality, metric)) for metric in SHOWN)]
        for name, heads in sets.items()
        for head, quality in heads.items()
    ]
    header = ["features", "head", *(METRICS[key].title for key in SHOWN)]
    return f"Per cent, mean ± standard deviation over the seeds.\n\n{table(header, rows, texts=('features', 'head'))}"


def _means(sets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Means over the sets on which every head has a number, and how far the default is above its rivals."""
    names = list(dict.fromkeys(head for heads in sets.values() for head in heads))
    means = {
        name: {
            metric: fmean(heads[name][metric] for heads in sets.values())
            for metric in SHOWN
            if all(metric in heads.get(name, {}) for heads in sets.values())
        }
        for name in names
    }
    rows = [
        [name, *(_percent([found[key]]) if key in found else "–" for key in SHOWN)] for name, found in means.items()
    ]
    verdicts = []
    for head, metrics in ((DEFAULT, SHOWN), (BALANCED, SHOWN[2:])):
        for metric in metrics:
            gaps = {
                rival: 100 * (means[head][metric] - means[rival][metric])
                for rival in RIVALS
                if metric in means.get(rival, {}) and metric in means.get(head, {})
            }
            if gaps:
                nearest = min(gaps, key=lambda rival: gaps[rival])
                words = "above all" if gaps[nearest] > 0 else "**not above all**"
                verdicts.append(f"* {head}, {METRICS[metric].title}: {words}, {gaps[nearest]:+.1f} to {nearest}.")
    header = ["head", *(METRICS[key].title for key in SHOWN)]
    return f"Per cent, means over {len(sets)} sets.\n\n{table(header, rows, texts=('head',))}\n\n" + "\n".join(verdicts)


def _paired(sets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The default head less each other, by set."""
    rows = [
        [
            pair.data,
            METRICS[pair.metric].title,
            pair.b,
            f"{100 * pair.difference:+.1f} ± {100 * pair.deviation:.1f}",
            pair.verdict,
        ]
        for pair in _pairs(sets)
    ]
    header = ["features", "metric", f"{DEFAULT} less", "points", "at level 0.05"]
    words = ("features", "metric", f"{DEFAULT} less", "at level 0.05")
    return f"Mean difference ± its standard deviation over the seeds.\n\n{table(header, rows, texts=words)}"


def _pairs(sets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[SeedComparison]:
    for name, heads in sets.items():
        runs = [
            Run(
                {"name": name, "order": f"siblurry:{place}", "repeat": place},
                {"name": head},
                {metric: _seeds(heads[head], metric)[place] for metric in SHOWN},
            )
            for head, place in product((DEFAULT, *RIVALS), range(len(SEEDS)))
            if head in heads and place < len(_seeds(heads[head], SHOWN[0]))
        ]
        if any(run.learner_name == DEFAULT for run in runs):
            yield from compare_seeds(Result(runs), SHOWN, DEFAULT)


def _costs(result: Mapping[str, Any]) -> str:
    """Time and memory of each head, set by set."""
    rows = [
        [
            cell["workload"],
            side["name"],
            f"{1e6 * side['best']:,.0f}",
            f"{side['quality']['answer_us']:,.0f}",
            f"{side['quality']['model_bytes'] / 1e6:.2f}",
        ]
        for cell in result["cells"]
        for side in cell["contestants"]
        if side["status"] == "ok" and "answer_us" in side["quality"]
    ]
    header = ["features", "head", "µs to learn", "µs of one answer after learning", "MB"]
    return table(header, rows, texts=("features", "head"))
