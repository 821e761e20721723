"""A run over the partitions of a topic: each has an engine, a model and checkpoints of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from ihomer.engine import PATIENCE_S, Engine
from ihomer.evaluation.metrics import MultiLabelMetrics
from ihomer.progress import NoProgress, Progress
from streams.batch import Schema
from streams.schema import Name
from streams.source import Position, Source, TakenOverError, Topic

_TURN_S = 0.05
"""How long a partition is worked on before the next one has its turn."""


class Scores(NamedTuple):
    """What the metrics of a partition's learners have counted, and the names of the labels that they number."""

    label_names: list[Name]
    metrics: Mapping[str, MultiLabelMetrics]

    def cumulative(self) -> dict[str, dict[str, float]]:
        """Cumulative metrics of every learner."""
        return {name: metrics.cumulative(len(self.label_names)) for name, metrics in self.metrics.items()}


def pooled(parts: Iterable[Scores]) -> Scores:
    """What every learner's metrics have counted in all of ``parts``."""
    labels = Schema()
    found: dict[str, MultiLabelMetrics] = {}
    for part in parts:
        numbers = np.array([labels.label_id(name) for name in part.label_names], np.int32)
        for name, metrics in part.metrics.items():
            found.setdefault(name, MultiLabelMetrics()).add(metrics, numbers)
    return Scores(labels.label_names, found)


class Pipeline:
    """Engines on those partitions of a topic that are this process's, which may change while it runs.

    Parameters
    ----------
    topic
        What tells whose partitions are whose, and gives their events.
    make_engine
        Makes the engine of a source and its partition's number. Where its state is to survive it has a store, which is
        claimed before anything is opened that is written to: from then on whoever had the partition is refused.
    resume
        Whether partitions go on from their latest checkpoints; else those are removed when a partition is first
        assigned.
    progress
        Told how the run gets on.
    stop
        Set it, and ``run`` ends after the batches in hand, with a checkpoint of every partition.
    mine
        Which of the partitions that the topic gives are taken on, where several readers of a topic without a group have
        agreed on that.
    stay
        Whether to stay when every partition in hand has ended: another one may still fall to this process.

    Notes
    -----
    A partition has a model of its own, so that what it learns depends on its events alone, in their order, whoever
    reads them. When it moves, its events so far are in the checkpoint that its reader leaves behind; a reader that died
    leaves an older one, and the next goes on from there. Every reader claims the partition's checkpoints first, so that
    one which does not know that it was replaced can do no harm. A partition that has ended is made durable at once.
    """

    def __init__(
        self,
        topic: Topic,
        make_engine: Callable[[Source, int], Engine],
        *,
        resume: bool = False,
        progress: Progress | None = None,
        stop: Event | None = None,
        mine: Callable[[int], bool] = lambda partition: True,
        stay: bool = False,
    ) -> None:
        self.topic, self.resume, self.stay = topic, resume, stay
        self.engines: dict[int, Engine] = {}
        """Engines of the partitions in hand."""
        self.progress: Progress = progress or NoProgress()
        self.stop = stop or Event()
        self.kept: dict[int, int] = {}
        """Events in the latest checkpoint of every partition that is or was in hand."""
        self.on_round: list[Callable[[], None]] = []
        """Told each time that the loop has been round."""
        self._make_engine, self._mine = make_engine, mine
        self._met: set[int] = set()
        self._finished: set[int] = set()

    @property
    def ended(self) -> bool:
        """Whether every partition in hand has come to its end, which a topic has only where it was told to."""
        return bool(self.engines) and all(engine.ended for engine in self.engines.values())

    def run(self) -> bool:
        """Go on until every partition in hand has ended (True) or ``stop`` is set (False)."""
        self.progress.begin(self.topic.name)
        busy = False
        try:
            while not self.stop.is_set() and (self.stay or not self.ended):
                changes = self.topic.poll(0.0 if busy else PATIENCE_S, self._release)
                for partition in changes.lost:
                    self._drop(partition, "lost")
                for partition in filter(self._mine, changes.assigned):
                    self._take_on(partition)
                for tell in self.on_round:
                    tell()
                took = [self._step(partition) for partition in list(self.engines)]
                # Events that are being encoded come soon, and nothing else tells of them.
                busy = any(took) or any(getattr(engine.source, "at_work", False) for engine in self.engines.values())
                self.progress.advance(sum(engine.counts.read for engine in self.engines.values()), self.metrics)
            for partition in list(self.engines):
                self._finish(partition)
            return self.ended
        finally:
            self.progress.end()

    def close(self) -> None:
        """Let go of every partition in hand, as it is."""
        for engine in self.engines.values():
            engine.close()

    def metrics(self) -> dict[str, dict[str, float]]:
        """Cumulative metrics of every learner over all partitions in hand."""
        return self.pooled().cumulative()

    def pooled(self) -> Scores:
        """What the metrics of all partitions in hand have counted."""
        return pooled(self.scores(partition) for partition in sorted(self.engines))

    def scores(self, partition: int) -> Scores:
        """What the metrics of a partition in hand have counted."""
        engine = self.engines[partition]
        return Scores(engine.source.schema.label_names, {track.name: track.metrics for track in engine.tracks})

    def _take_on(self, partition: int) -> None:
        engine = self._make_engine(self.topic.source(partition), partition)
        # A partition that comes back has left its state behind, whatever was asked for at the start.
        engine.begin(resume=self.resume or partition in self._met)
        self.kept[partition] = engine.counts.read

        def kept(position: Position) -> None:
            self.kept[partition] = engine.counts.read
            self.topic.commit({partition: position})

        engine.on_checkpoint = kept
        self._met.add(partition)
        self._finished.discard(partition)
        self.engines[partition] = engine
        self.progress.note(f"{self.topic.name}: partition {partition} is ours, after {engine.counts.read:,} events")

    def _step(self, partition: int) -> bool:
        """Whether the partition had events; some of what waits is taken, so that others have their turn."""
        until = time.monotonic() + _TURN_S
        took = False
        while (engine := self.engines.get(partition)) is not None and not engine.ended:
            if not self._guarded(partition, lambda engine: engine.step(0.0)):
                break
            took = True
            if time.monotonic() >= until:
                break
        if engine is not None and engine.ended:
            self._finish(partition)
        return took

    def _finish(self, partition: int) -> None:
        """Make a partition durable, once."""
        if partition not in self._finished:
            self._guarded(partition, Engine.finish)
            self._finished.add(partition)

    def _release(self, partitions: list[int]) -> None:
        """Leave partitions to others: what was read from them is done with, durable and told."""
        for partition in partitions:
            if partition in self.engines:
                self._finish(partition)
                self._drop(partition, "released")

    def _guarded(self, partition: int, act: Callable[[Engine], Any]) -> Any:
        """Do something with a partition, unless another process has taken it over; then it is lost."""
        try:
            return act(self.engines[partition])
        except TakenOverError as error:
            self._drop(partition, f"taken over by another process ({error})")
            return None

    def _drop(self, partition: int, why: str) -> None:
        engine = self.engines.pop(partition, None)
        if engine is not None:
            self.progress.note(f"{self.topic.name}: partition {partition} {why}, after {engine.counts.read:,} events")
            engine.close()
