"""A run over the partitions of a topic: each has an engine, a model and checkpoints of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any

import numpy as np

from ihomer.engine import PATIENCE_S, Engine
from ihomer.evaluation.metrics import MultiLabelMetrics
from ihomer.progress import NoProgress, Progress
from streams.batch import Schema
from streams.source import Source, TakenOverError, Topic

_TURN_S = 0.05
"""How long a partition is worked on before the next one has its turn."""


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

    Notes
    -----
    A partition has a model of its own, so that what it learns depends on its events alone, in their order, whoever
    reads them. When it moves, its events so far are in the checkpoint that its reader leaves behind; a reader that died
    leaves an older one, and the next goes on from there. Every reader claims the partition's checkpoints first, so that
    one which does not know that it was replaced can do no harm.
    """

    def __init__(
        self,
        topic: Topic,
        make_engine: Callable[[Source, int], Engine],
        *,
        resume: bool = False,
        progress: Progress | None = None,
        stop: Event | None = None,
    ) -> None:
        self.topic, self.resume = topic, resume
        self.engines: dict[int, Engine] = {}
        """Engines of the partitions in hand."""
        self.progress: Progress = progress or NoProgress()
        self.stop = stop or Event()
        self.on_round: Callable[[], None] = lambda: None
        """Told each time that the loop has been round."""
        self._make_engine = make_engine
        self._met: set[int] = set()

    @property
    def ended(self) -> bool:
        """Whether every partition in hand has come to its end, which a topic has only where it was told to."""
        return bool(self.engines) and all(engine.ended for engine in self.engines.values())

    def run(self) -> bool:
        """Go on until every partition in hand has ended (True) or ``stop`` is set (False)."""
        self.progress.begin(self.topic.name)
        busy = False
        try:
            while not self.stop.is_set() and not self.ended:
                changes = self.topic.poll(0.0 if busy else PATIENCE_S, self._release)
                for partition in changes.lost:
                    self._drop(partition, "lost")
                for partition in changes.assigned:
                    self._take_on(partition)
                self.on_round()
                took = [self._step(partition) for partition in list(self.engines)]
                # Events that are being encoded come soon, and nothing else tells of them.
                busy = any(took) or any(getattr(engine.source, "at_work", False) for engine in self.engines.values())
                self.progress.advance(sum(engine.counts.read for engine in self.engines.values()), self.metrics)
            for partition in list(self.engines):
                self._guarded(partition, Engine.finish)
            return self.ended
        finally:
            self.progress.end()

    def close(self) -> None:
        """Let go of every partition in hand, as it is."""
        for engine in self.engines.values():
            engine.close()

    def metrics(self) -> dict[str, dict[str, float]]:
        """Cumulative metrics of every learner over all partitions in hand."""
        pooled, n_labels = self.pooled()
        return {name: metrics.cumulative(n_labels) for name, metrics in pooled.items()}

    def pooled(self) -> tuple[dict[str, MultiLabelMetrics], int]:
        """What every learner's metrics have counted in all partitions in hand, and how many labels these have."""
        labels = Schema()
        pooled: dict[str, MultiLabelMetrics] = {}
        for _, engine in sorted(self.engines.items()):
            numbers = np.array([labels.label_id(name) for name in engine.source.schema.label_names], np.int32)
            for track in engine.tracks:
                pooled.setdefault(track.name, MultiLabelMetrics()).add(track.metrics, numbers)
        return pooled, labels.n_labels

    def _take_on(self, partition: int) -> None:
        engine = self._make_engine(self.topic.source(partition), partition)
        # A partition that comes back has left its state behind, whatever was asked for at the start.
        engine.begin(resume=self.resume or partition in self._met)
        engine.on_checkpoint = lambda position: self.topic.commit({partition: position})
        self._met.add(partition)
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
        return took

    def _release(self, partitions: list[int]) -> None:
        """Leave partitions to others: what was read from them is done with, durable and told."""
        for partition in partitions:
            if partition in self.engines:
                self._guarded(partition, Engine.finish)
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
