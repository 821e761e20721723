"""What the command ``siblurry`` does with a plan: every learner on every seed's stream of every data set."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event

from ihomer.config import command_line
from ihomer.evaluation.continual import continual_runs, reads_payload
from ihomer.evaluation.prequential import digest
from ihomer.evaluation.result import Result, Run
from ihomer.extracting import open_pool
from ihomer.plans import SiBlurryPlan
from ihomer.progress import Progress
from ihomer.runs import make_learners, stopping
from ihomer.specs import build, learner_class, parse
from learners.base import Learner
from streams.extraction.pool import ExtractionPool
from streams.extraction.training.record import n_seen, read_record
from streams.siblurry.features import with_features
from streams.siblurry.labelled import LabelledEvents
from streams.siblurry.scenario import SiBlurry
from streams.siblurry.source import content_of

SETTINGS = ("n", "m", "sessions", "seed", "donation", "varying", "drop_remainder")
"""The parameters of the scenario, which the plan calls by the same names."""


def run_siblurry(plan: SiBlurryPlan, data: Sequence[LabelledEvents], progress: Progress) -> tuple[Result, bool]:
    """Evaluate the plan's learners on ``data``; the runs that came to their end, and whether these are all.

    With an encoder, features are made of the payloads of each data set once, for all learners but those that take
    payloads, which are on the same streams.

    Results are kept in ``plan.out`` after each run. Ctrl-C ends the run in hand, which is lost, after the batch in
    hand; with ``plan.resume`` a later call leaves out what is in the folder. A second Ctrl-C is a KeyboardInterrupt.
    """
    result = Result([], started=datetime.now(UTC).isoformat(timespec="seconds"), command=command_line(plan))
    if plan.resume and plan.out is not None and (plan.out / "result.json").exists():
        result = Result.merge([Result.load(plan.out / "result.json"), result])
    with ExitStack() as closing:
        stop = closing.enter_context(stopping(signal.SIGINT))
        pool = open_pool(closing, plan, progress)
        for events in data:
            for run in _runs(plan, events, pool, result.runs, progress, stop):
                result.runs.append(run)
                if plan.out is not None:
                    result.save_all(plan.out, report=False)
            if stop.is_set():
                break
    if plan.out is not None and result.runs:
        result.save_all(plan.out)
    return result, not stop.is_set()


def wants_payloads(plan: SiBlurryPlan) -> bool:
    """Whether anything in the plan takes payloads: an encoder, or a learner by itself."""
    return plan.encoder is not None or any(reads_payload(learner_class(spec)) for spec in plan.learner)


def check(plan: SiBlurryPlan, events: LabelledEvents) -> None:
    """Refuse data that a learner of the plan cannot learn from, or on which it would not be evaluated honestly.

    Raises
    ------
    ValueError
        There are payloads alone and a learner of features without an encoder; or no payloads where they are wanted; or
        an encoder has been trained with labels of the data's classes.
    """
    of_features = [spec for spec in plan.learner if not reads_payload(learner_class(spec))]
    of_payloads = [spec for spec in plan.learner if spec not in of_features]
    if of_features and plan.encoder is None and not events.batch.schema.n_features:
        raise ValueError(
            f"{events.name}: events must have features for {of_features[0]}, got payloads alone; --encoder says what "
            "makes features of them"
        )
    if not events.has_payloads and (of_payloads or plan.encoder is not None):
        wanted = plan.encoder if plan.encoder is not None else of_payloads[0]
        raise ValueError(
            f"{events.name}: events must have payloads for {wanted}, got none; --payload FIELD names a field that is "
            "one"
        )
    names = {str(name) for name in events.batch.schema.label_names}
    for folder in filter(None, [_folder(plan.encoder), *(_model(spec) for spec in of_payloads)]):
        record = read_record(folder)
        if record is not None and (known := sorted(names & set(record.labelled_classes))):
            raise ValueError(
                f"{events.name}: an encoder must not know the labels of classes that are evaluated, got {folder}, "
                f"trained with those of {', '.join(known)}"
            )


def makers(plan: SiBlurryPlan, seed: int) -> dict[str, Callable[[], Learner]]:
    """What makes each of the plan's learners, by the names that results call them."""
    names = make_learners(plan.learner, seed)
    return {name: partial(build, spec, seed=seed) for name, spec in zip(names, plan.learner, strict=True)}


def _runs(
    plan: SiBlurryPlan,
    events: LabelledEvents,
    pool: ExtractionPool | None,
    done: Sequence[Run],
    progress: Progress,
    stop: Event,
) -> Iterator[Run]:
    """The runs on one data set that are still to be done."""
    seeds = range(plan.seed, plan.seed + plan.seeds)
    specs = dict(zip(makers(plan, plan.seed), plan.learner, strict=True))
    reads = {name: reads_payload(learner_class(spec)) for name, spec in specs.items()}

    def is_done(name: str, seed: int) -> bool:
        encoder = None if pool is None or reads[name] else pool.fingerprint
        return _is_done(done, events, plan, name, seed, encoder)

    features: LabelledEvents | None = events
    if pool is not None and any(not reads[name] and not is_done(name, seed) for name in reads for seed in seeds):
        features = _extracted(events, pool, progress, stop)
    if features is None:
        return
    notes = {
        name: _note(_model(spec) if reads[name] else _folder(plan.encoder), events) for name, spec in specs.items()
    }
    scenario = SiBlurry(**{name: getattr(plan, name) for name in SETTINGS})
    for run in continual_runs(
        features,
        partial(makers, plan),
        scenario,
        seeds,
        test_share=plan.test_share,
        batch_size=plan.batch_size,
        progress=progress,
        stop=stop,
        is_done=is_done,
        payloads=events,
    ):
        name = run.learner_name
        if pool is not None and not reads[name]:
            run.data["encoder"] = pool.fingerprint
        if notes[name] is not None:
            run.data["encoder_training"] = notes[name]
        yield run


def _extracted(events: LabelledEvents, pool: ExtractionPool, progress: Progress, stop: Event) -> LabelledEvents | None:
    """The events with features; None where Ctrl-C stopped it."""

    def advance(n_events: int) -> bool:
        progress.advance(n_events, dict)
        return not stop.is_set()

    progress.begin(f"{events.name}, features", len(events.batch) + (0 if events.test is None else len(events.test)))
    try:
        return with_features(events, pool, advance)
    finally:
        progress.end()


def _folder(encoder: str | None) -> Path | None:
    """The folder that an encoder is read from, if it is one of transformers."""
    name, _, rest = (encoder or "").partition(":")
    return Path(rest.partition(",")[0].strip()) if name == "transformers" else None


def _model(spec: str) -> Path | None:
    """The folder of a learner's own model."""
    model = parse(spec).params.get("model")
    return None if model is None else Path(model)


def _note(folder: Path | None, events: LabelledEvents) -> str | None:
    """What the encoder of a folder was trained on, and whether events of the data were among it."""
    record = None if folder is None else read_record(folder)
    if folder is None or record is None:
        return None
    parts = [("events", events.batch)] + ([] if events.test is None else [("held-out events", events.test)])
    shared = [
        f"{n:,} of the {len(batch):,} {what}"
        for what, batch in parts
        if (n := n_seen(folder, (content_of(payload) for payload in batch.payload or ())))
    ]
    among = f"; among the images were {' and '.join(shared)}" if shared else "; no event was among the images"
    return record.text + among


def _is_done(
    runs: Sequence[Run], events: LabelledEvents, plan: SiBlurryPlan, learner: str, seed: int, encoder: str | None
) -> bool:
    """Whether there is a run of a learner on this seed's stream by the same plan."""
    settings = {name: getattr(plan, name) for name in SETTINGS} | {"seed": seed}
    return any(
        run.learner_name == learner
        and run.data.get("name") == events.name
        and run.data.get("sha256") == digest(events)
        and run.data.get("encoder") == encoder
        and {name: run.data.get("scenario", {}).get(name) for name in SETTINGS} == settings
        for run in runs
    )
