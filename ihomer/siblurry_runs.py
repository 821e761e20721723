"""What the command ``siblurry`` does with a plan: every learner on every seed's stream of every data set."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from ihomer.config import SiBlurryPlan, command_line
from ihomer.evaluation.continual import continual_runs
from ihomer.evaluation.prequential import digest
from ihomer.evaluation.result import Result, Run
from ihomer.progress import Progress
from ihomer.runs import make_learners, stopping
from ihomer.specs import build
from learners.base import Learner
from streams.siblurry.labelled import LabelledEvents
from streams.siblurry.scenario import SiBlurry

SETTINGS = ("n", "m", "sessions", "seed", "donation", "varying", "drop_remainder")
"""The parameters of the scenario, which the plan calls by the same names."""


def run_siblurry(plan: SiBlurryPlan, data: Sequence[LabelledEvents], progress: Progress) -> tuple[Result, bool]:
    """Evaluate the plan's learners on ``data``; the runs that came to their end, and whether these are all.

    Results are kept in ``plan.out`` after each run. Ctrl-C ends the run in hand, which is lost, after the batch in
    hand; with ``plan.resume`` a later call leaves out what is in the folder. A second Ctrl-C is a KeyboardInterrupt.
    """
    result = Result([], started=datetime.now(UTC).isoformat(timespec="seconds"), command=command_line(plan))
    if plan.resume and plan.out is not None and (plan.out / "result.json").exists():
        result = Result.merge([Result.load(plan.out / "result.json"), result])
    scenario = SiBlurry(**{name: getattr(plan, name) for name in SETTINGS})
    with stopping(signal.SIGINT) as stop:
        for events in data:
            for run in continual_runs(
                events,
                partial(makers, plan),
                scenario,
                range(plan.seed, plan.seed + plan.seeds),
                test_share=plan.test_share,
                batch_size=plan.batch_size,
                progress=progress,
                stop=stop,
                is_done=partial(_is_done, result.runs, events, plan),
            ):
                result.runs.append(run)
                if plan.out is not None:
                    result.save_all(plan.out, report=False)
            if stop.is_set():
                break
    if plan.out is not None and result.runs:
        result.save_all(plan.out)
    return result, not stop.is_set()


def makers(plan: SiBlurryPlan, seed: int) -> dict[str, Callable[[], Learner]]:
    """What makes each of the plan's learners, by the names that results call them."""
    names = make_learners(plan.learner, seed)
    return {name: partial(build, spec, seed=seed) for name, spec in zip(names, plan.learner, strict=True)}


def _is_done(runs: Sequence[Run], events: LabelledEvents, plan: SiBlurryPlan, learner: str, seed: int) -> bool:
    """Whether there is a run of a learner on this seed's stream by the same plan."""
    settings = {name: getattr(plan, name) for name in SETTINGS} | {"seed": seed}
    return any(
        run.learner_name == learner
        and run.data.get("name") == events.name
        and run.data.get("sha256") == digest(events)
        and {name: run.data.get("scenario", {}).get(name) for name in SETTINGS} == settings
        for run in runs
    )
