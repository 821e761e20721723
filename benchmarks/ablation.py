"""What each part of iHOMER is worth: the default beside itself with one part left out, over the published sets.

The label hierarchy takes no part in answers, so there is nothing of it to leave out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import mean
from typing import Any

from benchmarks.accuracy import SETS, SMALL, published
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.tables import table
from ihomer import IHOMERClassifier, evaluate
from ihomer.evaluation.result import METRICS, SHOWN
from ihomer.experts import EXPERTS
from streams.registry import fetch

DEFAULT = "default"

VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    **{f"without {name}": {"experts": [other for other in EXPERTS if other != name]} for name in EXPERTS},
    "without the labels' past": {"temporal": False},
    "without label sets": {"joint": False},
    "without watching its loss": {"detector": None},
    **{f"for {goal}": {"optimise": goal} for goal in ("f1", "subset", "hamming")},
}
"""What is measured, and the parameters that make it."""

ORDERS = (1, 2, 3)
"""Seeds of the shuffled orders in which the default goes through every set too."""


def cells() -> list[Cell]:
    """One cell a set that has published rows, one attempt a variant: all are deterministic."""
    known = published(SHOWN[0])
    return [
        Cell("sets", name, partial(_build, name), metrics=SHOWN, repeats=1, quick=name in SMALL)
        for name in SETS
        if name in known
    ]


def _build(data: str, setting: Setting) -> Sequence[Contestant]:
    fetch(data)
    sides = [Contestant(name, partial(_evaluate, data, settings, None)) for name, settings in VARIANTS.items()]
    return sides + [Contestant(_shuffled(seed), partial(_evaluate, data, {}, seed)) for seed in ORDERS]


def _shuffled(seed: int) -> str:
    return f"shuffled, seed {seed}"


def _evaluate(data: str, settings: Mapping[str, Any], shuffle: int | None, clock: Clock) -> Quality:
    model = IHOMERClassifier(**settings)
    (run,) = evaluate(data, {"ihomer": model}, baselines=False, shuffle=shuffle, further_metrics=False).runs
    n_events = run.counts["scored"]
    clock.report(run.time["wall_s"] / n_events, n_events)
    return {name: run.metrics[name] for name in SHOWN}


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """Means over the sets, a variant a row, and how long it takes beside the default."""
    measured = [cell for cell in result["cells"] if cell["contestants"]]
    sets = [{side["name"]: side for side in cell["contestants"]} for cell in measured]
    if not sets:
        return {}
    rows = []
    for name in sets[0]:
        if any(sides[name]["status"] != "ok" for sides in sets):
            continue
        means = {key: mean(sides[name]["quality"][key] for sides in sets) for key in SHOWN}
        total = sum(means[key] if METRICS[key].better == "higher" else -means[key] for key in SHOWN)
        cost = mean(sides[name]["best"] / sides[DEFAULT]["best"] for sides in sets)
        rows.append([name, *(METRICS[key].text(means[key]) for key in SHOWN), f"{total:.4f}", f"{cost:.2f}"])
    names = ", ".join(cell["workload"] for cell in measured)
    note = (
        f"Means over {len(sets)} sets: {names}. Sum: the gains less Hamming loss. Time: an event's, as a share of the "
        "default's, one attempt."
    )
    header = ["variant", *(METRICS[key].title for key in SHOWN), "sum", "time"]
    return {"variants": f"{note}\n\n{table(header, rows, texts=('variant',))}"}
