"""A learner on the Si-Blurry streams of several seeds, as one attempt of a suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from benchmarks.frame import Clock
from ihomer.evaluation.continual import continual_runs
from ihomer.evaluation.result import Run
from ihomer.specs import build
from streams.siblurry.labelled import LabelledEvents
from streams.siblurry.scenario import SiBlurry


def over_seeds(
    events: LabelledEvents, spec: str, seeds: Sequence[int], metrics: Sequence[str], clock: Clock
) -> tuple[dict[str, float], list[Run]]:
    """The metrics as ``metric@seed`` and their means as ``metric``, and the runs.

    The clock is told the time of learning an event, answers left out.
    """

    def make(seed: int) -> Mapping[str, Callable[[], Any]]:
        return {"learner": partial(build, spec, seed=seed)}

    quality: dict[str, float] = {}
    runs: list[Run] = []
    for run in continual_runs(events, make, SiBlurry(), seeds, prequential=False):
        runs.append(run)
        quality |= {f"{key}@{run.data['scenario']['seed']}": run.metrics[key] for key in metrics}
        clock.count(0)
    quality |= {key: fmean(run.metrics[key] for run in runs) for key in metrics}
    n = sum(run.data["n_events"] for run in runs)
    clock.report(sum(run.time["wall_s"] for run in runs) / n, n)
    return quality, runs
