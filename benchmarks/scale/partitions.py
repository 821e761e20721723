"""Partitions learned by actors of Ray beside one process that learns them all, and what goes over the wire for it."""

from __future__ import annotations

import atexit
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.extras import have
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.kafka import Stopwatch
from benchmarks.targets import Ratio
from ihomer.config import resolve
from ihomer.evaluation.result import Run
from ihomer.plans import RunPlan
from ihomer.ray_cluster import ray_cluster
from ihomer.ray_runs import run_on_ray
from ihomer.topic_runs import run_topic
from streams.batch import Batch, Schema
from streams.topics.writer import TopicWriter

PARTITIONS, FEATURES, LABELS = 4, 50, 14
ACTORS = (1, 2)
EVENTS = {"linear": 80_000, "ihomer": 16_000}
CHECKPOINT_EVERY = 1_000
"""Events of a partition between two checkpoints."""


def cells() -> list[Cell]:
    """Events a second by the number of actors, and bytes an event."""
    made = [
        Cell(
            "partitions",
            f"{learner}_v1",
            partial(_build, learner),
            targets=[Ratio("2 actors", "1 actor"), Ratio("1 actor", "in process")],
            agreement=0.0,
            metrics=("micro_f1",),
            repeats=2,
            quick=learner == "linear",
        )
        for learner in EVENTS
    ]
    made.append(Cell("partitions-bytes", "linear_v1", partial(_build_bytes, "linear"), unit="bytes", repeats=1))
    return made


@cache
def _cluster() -> None:
    """A cluster of Ray on this machine, for as long as this process lasts."""
    have("ray")
    closing = ExitStack()
    closing.enter_context(ray_cluster("local", max(ACTORS)))
    atexit.register(closing.close)


@cache
def _filled(n_events: int) -> Path:
    """A topic in a folder, of events whose labels follow their features."""
    folder = Path(tempfile.mkdtemp(prefix="ihomer-scale-")) / "events"
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(FEATURES, LABELS))
    schema = Schema([f"f{j}" for j in range(FEATURES)], [f"l{j}" for j in range(LABELS)])
    writer = TopicWriter(f"log:{folder}?partitions={PARTITIONS}")
    for start in range(0, n_events, 1000):
        x = rng.normal(size=(min(1000, n_events - start), FEATURES)).astype(np.float32)
        writer.write(Batch.from_arrays(x, x @ weights + rng.normal(size=(len(x), LABELS)) > 8, schema=schema))
    writer.close()
    return folder


def _run(learner: str, n_events: int, actors: int, folder: Path) -> tuple[Run, Stopwatch, Path]:
    """Learn the topic; no actors: this process does."""
    place, watch = folder / uuid.uuid4().hex, Stopwatch()
    flags: dict[str, Any] = {
        "source": f"log:{_filled(n_events)}",
        "learner": learner,
        "predictions": f"log:{place / 'answers'}",
        "checkpoint": str(place / "state"),
        "checkpoint_every": CHECKPOINT_EVERY,
        "until_end": True,
    }
    place.mkdir()
    if actors:
        result = run_on_ray(resolve(RunPlan, {**flags, "ray": "auto", "workers": actors}), watch)
    else:
        result = run_topic(resolve(RunPlan, flags), watch)
    return result.runs[0], watch, place


def _build(learner: str, setting: Setting) -> Sequence[Contestant]:
    _cluster()
    n_events = EVENTS[learner] // (2 if setting.quick else 1)

    def attempt(actors: int, clock: Clock) -> Quality:
        run, watch, _ = _run(learner, n_events, actors, setting.folder)
        watch.report(clock)
        return {"micro_f1": run.metrics["micro_f1"]}

    notes = {0: "one process learns all partitions", 1: "an actor of Ray does", 2: "each has half of the partitions"}
    return [
        Contestant(
            "in process" if actors == 0 else f"{actors} actor{'s' if actors > 1 else ''}",
            partial(attempt, actors),
            # What this process compiles, it writes where actors find it.
            None if actors else partial(attempt, 0, Clock()),
            notes[actors],
        )
        for actors in (0, *ACTORS)
    ]


def _build_bytes(learner: str, setting: Setting) -> Sequence[Contestant]:
    _cluster()
    n_events = EVENTS[learner] // (4 if setting.quick else 1)
    run, _, place = _run(learner, n_events, max(ACTORS), setting.folder)
    written = sum(path.stat().st_size for path in place.glob("state/partition-*/*.ckpt"))
    kept = len(list(place.glob("state/partition-*/*.ckpt")))
    shares = {
        "event": (_size(_filled(n_events)), "read from the topic by the actor that learns it: JSON, 50 features"),
        "answer": (_size(place / "answers"), "written by that actor: JSON, labels and probabilities"),
        "checkpoint": (written / kept * n_events / CHECKPOINT_EVERY, "written by that actor after every 1,000 events"),
        "report": (run.data["report_bytes"], "to the process that looks after actors: a fixed amount a second"),
    }
    return [
        Contestant(name, partial(_told, size / n_events, n_events), note=note) for name, (size, note) in shares.items()
    ]


def _told(cost: float, n_events: int, clock: Clock) -> Quality:
    clock.report(cost, n_events)
    return {}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))
