"""What ``ihomer run --ray`` does: actors of Ray learn the partitions of a topic, and this process looks after them."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from drift.pickled import trusting_pickle
from ihomer.checkpoint import CheckpointError, CheckpointStore
from ihomer.config import command_line
from ihomer.evaluation.result import Result, Run
from ihomer.partition_merge import PartitionMerge
from ihomer.pipeline import Pipeline, Scores, pooled
from ihomer.plans import RunPlan
from ihomer.progress import NoProgress, Progress
from ihomer.ray_cluster import ray_cluster
from ihomer.runs import keep, stopping
from ihomer.topic_runs import Found, found_in, guarantee, of_topic, open_pipeline
from streams.topics.address import Address

_ASK_S, _HURRY_S = 0.5, 0.1
"""How often an actor is asked how it gets on, and when it is to stop."""

_SCORES_S, _SCORES_RATE = 2.0, 1e6
"""How often an actor tells what its metrics have counted; more rarely where that would be more bytes a second."""

_SILENT_S = 30.0
"""Seconds after which an actor that does not answer is taken to be dead, or without a place."""

_LEAVE_S = 10.0
"""Seconds that actors have to leave their group before they are killed."""

_ENVIRONMENT = "IHOMER_"
"""What the names of those settings begin with that actors get from this process."""


@dataclass
class Report:
    """How an actor gets on; what is not always there is what is new since the last report.

    Attributes
    ----------
    life
        Another one each time that Ray begins the actor.
    partitions
        Numbers of all partitions of the topic; empty before they are known.
    read, kept
        Events read of each partition in hand, and those in the latest checkpoint of each that is or was.
    scores
        What the metrics of the partitions in hand have counted; now and then.
    ended
        Partitions that have come to their end and are durable.
    notes
        What there is to tell.
    """

    life: str
    partitions: list[int] = field(default_factory=list)
    read: dict[int, int] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)
    scores: Scores | None = None
    ended: dict[int, Found] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Member:
    """An actor: a pipeline on the partitions that fall to it.

    Parameters
    ----------
    plan
        What to do.
    number
        Which of the actors this is.
    mark
        Name of a file in the folder of the checkpoints, by which the folder is known to be the same everywhere.
    folder
        Where relative names of files begin.
    environment
        Settings of the engine.

    Notes
    -----
    Ray begins an actor that died anew, from these parameters, and repeats its calls. What it needs to go on is in the
    checkpoints.
    """

    def __init__(self, plan: RunPlan, number: int, mark: str, folder: str, environment: Mapping[str, str]) -> None:
        self._plan, self._number, self._mark, self._folder = plan, number, mark, folder
        os.environ.update(environment)
        self._report = Report(uuid.uuid4().hex)
        self._ended: set[int] = set()
        self._count_at = 0.0
        self._lock, self._running = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._outcome: dict[int, Found] | None = None

    def run(self) -> dict[int, Found]:
        """Learn until told to stop; what the partitions in hand have come to.

        Ray repeats the call where it could not reach the actor for a while; whoever comes second gets the same.
        """
        with self._running:
            if self._outcome is None:
                self._outcome = self._learn()
            return self._outcome

    def _learn(self) -> dict[int, Found]:
        self._settle_in()
        with ExitStack() as closing:
            closing.enter_context(trusting_pickle(self._plan.trust_pickle))
            pipeline = open_pipeline(
                closing, of_member(self._plan, self._number), _Notes(self._note), self._stop, mine=self._mine, stay=True
            )
            pipeline.on_round.append(lambda: self._write_down(pipeline))
            pipeline.run()
            return {partition: found_in(pipeline, partition) for partition in pipeline.engines}

    def report(self, stop: bool) -> bytes:
        """A `Report`, pickled; with ``stop``, the pipeline is told to stop."""
        if stop:
            self._stop.set()
        with self._lock:
            told = pickle.dumps(self._report, 5)
            self._report.scores, self._report.ended, self._report.notes = None, {}, []
            return told

    def _settle_in(self) -> None:
        """Be where the command was given, and see that checkpoints are where the others have them."""
        os.chdir(self._folder)
        if self._folder not in sys.path:
            sys.path.append(self._folder)
        folder = CheckpointStore(self._plan.checkpoint or "").directory
        if not (folder / self._mark).exists():
            raise CheckpointError(f"{folder}: must be one folder for all machines, found another on {platform.node()}")

    def _mine(self, partition: int) -> bool:
        """Whether a partition falls to this actor; where there is a group, that has been decided by the broker."""
        if Address.parse(self._plan.source).group is not None:
            return True
        return partition % self._plan.workers == self._number

    def _note(self, text: str) -> None:
        with self._lock:
            self._report.notes.append(f"actor {self._number}: {text}")

    def _write_down(self, pipeline: Pipeline) -> None:
        """Let reports say how the pipeline is."""
        engines = pipeline.engines
        self._ended &= engines.keys()
        new = [partition for partition in engines if engines[partition].ended and partition not in self._ended]
        self._ended.update(new)
        ended = {partition: found_in(pipeline, partition) for partition in new}
        scores = None
        if ended or time.monotonic() >= self._count_at:
            scores = pipeline.pooled()
            n_bytes = sum(metrics.nbytes for metrics in scores.metrics.values())
            self._count_at = time.monotonic() + max(_SCORES_S, n_bytes / _SCORES_RATE)
        with self._lock:
            self._report = replace(
                self._report,
                partitions=list(pipeline.topic.partitions),
                read={partition: engine.counts.read for partition, engine in engines.items()},
                kept=dict(pipeline.kept),
                scores=scores or self._report.scores,
                ended=self._report.ended | ended,
            )


class _Notes(NoProgress):
    """Hands on what there is to note, and nothing else."""

    def __init__(self, tell: Any) -> None:
        self._tell = tell

    def note(self, text: str) -> None:
        """Hand it on."""
        self._tell(text)


def run_on_ray(plan: RunPlan, progress: Progress) -> Result:
    """Let actors of Ray learn the partitions of a topic until told to stop or, where the plan says so, to where the
    topic ended.

    Raises
    ------
    ConfigError
        Ray is not installed.
    ConnectionError
        There is no cluster at the address.
    """
    result = Result([], started=datetime.now(UTC).isoformat(timespec="seconds"), command=command_line(plan))
    assert plan.ray is not None
    with ExitStack() as closing:
        ray = closing.enter_context(ray_cluster(plan.ray, plan.workers))
        # Behind Ray, which sets handlers of its own.
        stop = closing.enter_context(stopping(signal.SIGINT, signal.SIGTERM))
        mark = closing.enter_context(_marked(plan))
        crew = _Crew(ray, plan, mark, progress)
        closing.callback(crew.close)
        progress.note(f"{guarantee(plan)}; {plan.workers} actors of Ray")
        ended = crew.run(stop)
        result.runs += crew.runs(ended)
    keep(result, plan)
    if not ended and not result.runs:
        raise KeyboardInterrupt  # stopped before anything was read
    return result


@contextmanager
def _marked(plan: RunPlan) -> Iterator[str]:
    """Name of a file that is in the folder of the checkpoints meanwhile; where the plan begins anew, what an earlier
    run left there is removed."""
    folder = CheckpointStore(plan.checkpoint or "").directory
    folder.mkdir(parents=True, exist_ok=True)
    if not plan.resume:
        for partition in folder.glob("partition-*"):
            store = CheckpointStore(folder, partition.name)
            store.claim()
            store.clear()
    mark = folder / f"run-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark.name
    finally:
        mark.unlink(missing_ok=True)


class _Crew:
    """The actors as this process sees them."""

    def __init__(self, ray: Any, plan: RunPlan, mark: str, progress: Progress) -> None:
        self._ray, self._plan, self._progress = ray, plan, progress
        environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
        made = ray.remote(Member).options(
            num_cpus=1, num_gpus=plan.gpus, max_restarts=-1, max_task_retries=-1, max_concurrency=8,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self._actors = [made.remote(plan, k, mark, os.getcwd(), environment) for k in range(plan.workers)]
        self._runs = {actor.run.remote(): k for k, actor in enumerate(self._actors)}
        self._asked: dict[Any, int] = {}
        self._asked_at = [0.0] * plan.workers
        self._heard = [time.monotonic()] * plan.workers
        self._lives: dict[int, str] = {}
        self._told_bytes = 0
        self._partitions: set[int] = set()
        self._scores: dict[int, Scores] = {}
        self._read: dict[int, int] = {}
        self._kept: dict[int, int] = {}
        self._found: dict[int, tuple[int, Found]] = {}
        self._silent: set[int] = set()
        self._merging = None if plan.merge is None else PartitionMerge(plan, progress.note)

    def run(self, stop: threading.Event) -> bool:
        """Look after the actors until every partition has ended (True) or ``stop`` is set (False)."""
        self._progress.begin(Address.parse(self._plan.source).topic)
        try:
            ended = False
            while not stop.is_set() and not ended:
                self._listen(stop=False)
                ended = self._plan.until_end and self._all_ended()
                self._progress.advance(sum(self._read.values()), self._metrics)
                if self._merging is not None:
                    self._merging.look(sum(self._kept.values()))
            # What has ended is durable; else everyone who is there has something to bring to its end.
            while not ended and any(k not in self._silent for k in self._runs.values()):
                self._listen(stop=True)
            if self._merging is not None:
                self._merging.merge()
            return ended
        finally:
            self._progress.end()

    def runs(self, ended: bool) -> list[Run]:
        """A run for every learner on the whole topic, and one on each of its partitions."""
        found = {partition: part for partition, (_, part) in self._found.items()}
        merged = None if self._merging is None else self._merging.latest
        runs = of_topic(Address.parse(self._plan.source).topic, found, ended, merged)
        for run in runs:
            if "partitions" in run.data:
                self._time(run)
                run.data |= {"actors": self._plan.workers, "report_bytes": self._told_bytes}
        return runs

    def _time(self, run: Run) -> None:
        """The time of a run on the whole topic is that of the actor who worked longest on it."""
        worked = [0.0] * self._plan.workers
        for number, found in self._found.values():
            worked[number] += sum(one.time["wall_s"] for one in found.runs if one.learner == run.learner)
        run.time["wall_s"] = max(worked)
        run.time["events_per_s"] = run.data["n_events"] / max(worked) if max(worked) else 0.0

    def close(self) -> None:
        """Let the actors leave, and end them."""
        deadline = time.monotonic() + _LEAVE_S
        while time.monotonic() < deadline and any(k not in self._silent for k in self._runs.values()):
            self._listen(stop=True, failing=False)
        for actor in self._actors:
            self._ray.kill(actor)

    def _all_ended(self) -> bool:
        return bool(self._partitions) and self._partitions <= self._found.keys()

    def _metrics(self) -> dict[str, dict[str, float]]:
        return pooled(self._scores.values()).cumulative()

    def _listen(self, *, stop: bool, failing: bool = True) -> None:
        """Take in what actors have to say within a moment, and ask those that have not been asked for a while."""
        now, pause = time.monotonic(), _HURRY_S if stop else _ASK_S
        for k in set(self._runs.values()) - set(self._asked.values()):
            if now >= self._asked_at[k] + pause:
                self._asked[self._actors[k].report.remote(stop)] = k
                self._asked_at[k] = now
        ready, _ = self._ray.wait([*self._asked, *self._runs], timeout=pause)
        for call in ready:
            try:
                self._take(call)
            except Exception:
                if failing:
                    raise
        self._look_for_silent()

    def _take(self, call: Any) -> None:
        """Take in the answer to a call."""
        if call in self._runs:
            number = self._runs.pop(call)
            self._keep(number, self._get(call, number))
            return
        number = self._asked.pop(call)
        told = self._get(call, number)
        self._told_bytes += len(told)
        report: Report = pickle.loads(told)
        self._heard[number] = time.monotonic()
        self._silent.discard(number)
        if number in self._lives and self._lives[number] != report.life:
            self._progress.note(f"actor {number}: begun anew")
        self._lives[number] = report.life
        self._partitions.update(report.partitions)
        if report.scores is not None:
            self._scores[number] = report.scores
        self._read |= report.read
        self._kept |= {part: max(kept, self._kept.get(part, 0)) for part, kept in report.kept.items()}
        self._keep(number, report.ended)
        for note in report.notes:
            self._progress.note(note)

    def _get(self, call: Any, number: int) -> Any:
        """The answer to a call; an error of the actor as it was there."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(call)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise RuntimeError(f"actor {number}: Ray must be able to begin it, got {error}") from error

    def _keep(self, number: int, found: Mapping[int, Found]) -> None:
        """Of two who had a partition, what the one tells that got further."""
        for partition, part in found.items():
            before = self._found.get(partition)
            if before is None or _read(part) >= _read(before[1]):
                self._found[partition] = number, part

    def _look_for_silent(self) -> None:
        for number in set(self._asked.values()) - self._silent:
            if time.monotonic() - self._heard[number] > _SILENT_S:
                self._silent.add(number)
                self._scores.pop(number, None)
                self._progress.note(f"actor {number}: no answer; it is dead, or the cluster has no room for it")


def _read(found: Found) -> int:
    """Events read."""
    return found.runs[0].counts["read"]


def of_member(plan: RunPlan, number: int) -> RunPlan:
    """The plan of one of the actors: partitions go on from their checkpoints, whoever has left those, and a static
    member of the group has a name of its own."""
    where, _, query = plan.source.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "instance" in options:
        options["instance"] += f"-{number}"
    return plan.model_copy(update={"source": f"{where}?{urlencode(options)}" if options else where, "resume": True})
