"""The engine: events from a source go past every learner; answers go to sinks and state to checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from ihomer.checkpoint import Arrays, CheckpointError, CheckpointStore, below, describe, nested
from ihomer.detectors import build as build_detector
from ihomer.detectors import parameters
from ihomer.evaluation.joining import LabelJoin
from ihomer.evaluation.track import Track
from ihomer.evaluation.waiting import WaitingRoom
from ihomer.evaluation.watching import StreamWatch
from ihomer.progress import NoProgress, Progress
from streams.batch import UNLABELLED, Batch, DeadLetter, Prediction, Schema
from streams.source import Position, Sink, Source
from streams.topics.joining import Labels

if TYPE_CHECKING:
    from pathlib import Path


PATIENCE_S = 0.5
"""How long the engine waits for events before it looks whether it has been told to stop."""

_FLUSHING, _FLUSHING_BEHIND = 0.05, 0.01
"""Share of the time that may go into letting readers see what was written, and while more events wait than can be taken
at once."""


@dataclass
class Outputs:
    """Where the engine writes while it runs; None: nowhere."""

    predictions: Sink | None = None
    dead_letters: Sink | None = None
    events: Sink | None = None
    metrics: Sink | None = None

    def each(self) -> dict[str, Sink]:
        """The sinks that are there, by name."""
        return {name: sink for name, sink in vars(self).items() if sink is not None}


@dataclass
class Counts:
    """What became of the events read: ``read = scored + unlabelled + pending + dead``."""

    read: int = 0
    scored: int = 0
    learned: int = 0
    unlabelled: int = 0
    pending: int = 0
    dead: int = 0
    present: int = field(default=0, repr=False)

    def as_dict(self) -> dict[str, int]:
        """The counts of the result file."""
        return {name: value for name, value in vars(self).items() if name != "present"}


class Engine:
    """One pass of any number of learners over one source.

    Parameters
    ----------
    source
        Where events come from; its schema is what labels are numbered by.
    tracks
        The learners. All see the same events in the same order.
    batch_size
        Events read at a time; changes no answer.
    max_events
        Stop after this many events were read, dead letters included; None: at the end of the source.
    delay
        The label of an event comes after this many further events were answered (int), or when an event is answered
        whose time is at least so many milliseconds later (`numpy.timedelta64`); 0: with the event. At the end of
        the source the labels still on their way arrive.
    join
        Where labels come from a topic of their own (the source gives `Labels` among its batches), those events wait
        here; None: they do not.
    learn
        False: answer and score only.
    outputs
        Sinks to write to.
    store, checkpoint_every
        Where to keep checkpoints, and after how many events each; None: nowhere.
    checkpoint_s
        Seconds after which a checkpoint is due even so, if anything was read; None: never.
    linger_s
        Seconds after which readers of the outputs are let to see what was written; more where that takes long.
    metrics_every
        Events between two messages to ``outputs.metrics``.
    watch
        Detectors on the labels as they come and the features as they are read; None: there are none.
    progress
        Told how the run gets on.
    stop
        Set it, from a signal handler say, and ``run`` ends after the batch in hand, with a checkpoint.
    """

    def __init__(
        self,
        source: Source,
        tracks: Sequence[Track],
        *,
        batch_size: int = 256,
        max_events: int | None = None,
        delay: int | np.timedelta64 = 0,
        join: LabelJoin | None = None,
        learn: bool = True,
        outputs: Outputs | None = None,
        store: CheckpointStore | None = None,
        checkpoint_every: int = 10_000,
        checkpoint_s: float | None = None,
        linger_s: float = 0.1,
        metrics_every: int = 1_000,
        watch: StreamWatch | None = None,
        progress: Progress | None = None,
        stop: Event | None = None,
    ) -> None:
        for what, value in (
            ("batch_size", batch_size),
            ("checkpoint_every", checkpoint_every),
            ("metrics_every", metrics_every),
        ):
            if value < 1:
                raise ValueError(f"{what} must be at least 1, got {value}")
        self.source, self.tracks, self.learn = source, list(tracks), learn
        self.batch_size, self.max_events = batch_size, max_events
        self.outputs, self.store = outputs or Outputs(), store
        self.checkpoint_every, self.metrics_every = checkpoint_every, metrics_every
        self.checkpoint_s, self.linger_s = checkpoint_s, linger_s
        self._flush_s = 0.0
        self.on_checkpoint: Callable[[Position], None] | None = None
        """Told the source's position once a checkpoint has been kept."""
        self.on_round: list[Callable[[], None]] = []
        """Told each time that ``run`` has been round its loop."""
        self.progress: Progress = progress or NoProgress()
        self.counts = Counts()
        self.stop = stop or Event()
        self._waiting = WaitingRoom(delay, len(self.tracks)) if delay else None
        self.join = join
        self._reported = [[0, 0] for _ in self.tracks]
        self.watch = watch
        self._told = 0
        self.ended = False
        self.last_time: int | None = None
        """Time of the last event that had one, in ms since 1970."""
        self._flushed = self.checkpointed = time.monotonic()
        self._n_flushed = self._n_checkpointed = 0
        if watch is not None:
            watch.begin(source.schema)
        if hasattr(source, "room"):  # it reads ahead, in batches of the sizes that it will be asked for
            source.room = self.room
        self._warm = False

    @property
    def n_expected(self) -> int | None:
        """How many events the run will read, where that is known."""
        lengths = [length for length in (self.source.n_events, self.max_events) if length is not None]
        return min(lengths) if lengths else None

    def run(self, *, resume: bool = False) -> bool:
        """Go through the source; True if its end was reached, False if the run was stopped before.

        With ``resume`` it goes on from the latest checkpoint of the store, if there is one. Without, the checkpoints of
        an earlier run are removed: its later ones would pass for the latest of this one.
        """
        self.begin(resume=resume)
        self.progress.begin(self.source.name, self.n_expected)
        try:
            while not self.stop.is_set() and not self.ended:
                if self.step(PATIENCE_S):
                    self._report()
                for tell in self.on_round:
                    tell()
            self.finish()
            return self.ended
        finally:
            self.progress.end()

    def begin(self, *, resume: bool = False) -> None:
        """Make ready for the first ``step``; ``resume`` as in ``run``.

        A run that begins keeps a checkpoint before it writes anything, so that there is always one that knows how far
        its sinks were.
        """
        if self.store is None:
            return
        if not resume:
            self.store.clear()
        elif self.resume():
            self.progress.note(f"{self.source.name}: going on after {self.counts.read:,} events")
            return
        self.checkpoint()

    def step(self, patience: float) -> bool:
        """Take the next events, at most a batch of them, waiting so many seconds for the first; whether any came.

        At the end of the source ``ended`` becomes True.
        """
        room = self.room(self.counts.read)
        batch = self.source.next_batch(room, patience) if room > 0 else None
        if batch is None:
            self.ended = True
            return False
        if isinstance(batch, Labels):
            self._take_labels(batch)
        else:
            self._take(batch)
        taken = len(batch) + len(batch.dead)
        self._keep_up(_FLUSHING_BEHIND if taken == room else _FLUSHING)
        return taken > 0

    def room(self, n_read: int) -> int:
        """How many events are taken at once, at most, when so many have been read."""
        room = self.batch_size
        for every in (self.metrics_every, self.checkpoint_every):
            room = min(room, every - n_read % every)
        return room if self.max_events is None else min(room, self.max_events - n_read)

    def _keep_up(self, flushing: float) -> None:
        """What is due by the clock; it changes when something is seen or kept, and never what.

        ``flushing`` is the share of the time that letting readers see may take.
        """
        now, read = time.monotonic(), self.counts.read
        if read > self._n_flushed and now - self._flushed >= max(self.linger_s, self._flush_s / flushing):
            for sink in self.outputs.each().values():
                sink.flush()
            self._flushed, self._n_flushed = time.monotonic(), read
            self._flush_s = self._flushed - now
        if self.store is None or self.checkpoint_s is None:
            return
        if read > self._n_checkpointed and now - self.checkpointed >= self.checkpoint_s:
            self.checkpoint()

    def finish(self) -> None:
        """Leave everything durable: labels still on their way arrive where the source has ended, then a checkpoint."""
        if self.ended:
            self._settle()
        if self.store is not None:
            self.checkpoint()
        for sink in self.outputs.each().values():
            sink.position()

    def close(self) -> None:
        """Let go of the outputs and of the source."""
        for sink in self.outputs.each().values():
            sink.close()
        self.source.close()

    def _take(self, batch: Batch) -> None:
        if len(batch) and not self._warm:
            for track in self.tracks:
                track.warm_up(batch)
            self._warm = True
        self.counts.read += len(batch) + len(batch.dead)
        self.counts.dead += len(batch.dead)
        self._write_dead(batch.dead)
        if len(batch):
            labelled = int((batch.label_state != UNLABELLED).sum())
            self.counts.unlabelled += len(batch) - labelled
            if batch.time is not None:
                self.last_time = int(batch.time[-1])
            if self.watch is not None:
                self.watch.see_features(batch)
            if self.join is not None:
                self._answer_and_join(self.join, batch)
            elif self._waiting is None:
                self.counts.present += len(batch.y.indices)
                self._answer_and_learn(batch, labelled)
            else:
                self.counts.present += len(batch.y.indices)
                self._answer_and_wait(batch)
            self._tell_alarms()
        read = self.counts.read
        if not len(batch) and not batch.dead:
            return
        if self.outputs.metrics is not None and read % self.metrics_every == 0:
            self.outputs.metrics.write([self._metrics_message()])
        if self.store is not None and read % self.checkpoint_every == 0:
            self.checkpoint()

    def _answer_and_join(self, join: LabelJoin, batch: Batch) -> None:
        batch = join.admit(batch)
        self.counts.present += len(batch.y.indices)
        join.answered(self._answer_and_learn(batch, int((batch.label_state != UNLABELLED).sum())))
        self._count_joined(join)

    def _take_labels(self, labels: Labels) -> None:
        """Labels have come for events that were answered."""
        join = self.join
        assert join is not None
        join.counts.dead += len(labels.dead)
        self._write_dead(labels.dead)
        found = join.labels(labels.labels)
        if found is not None:
            self.counts.present += len(found[0].y.indices)
            self._arrive([found])
        self._count_joined(join)
        self._tell_alarms()

    def _count_joined(self, join: LabelJoin) -> None:
        self.counts.pending, self.counts.unlabelled = join.n_waiting, join.counts.unlabelled

    def _answer_and_learn(self, batch: Batch, labelled: int) -> list[Prediction]:
        predictions = []
        for track in self.tracks:
            if self.learn:
                prediction = track.test_then_train(batch)
            else:
                prediction = track.predict(batch)
                track.score(batch, prediction)
            self._write_predictions(track, batch, prediction)
            self._write_events(track)
            predictions.append(prediction)
        if self.watch is not None:
            self.watch.see_labels(batch)
        self.counts.scored += labelled
        self.counts.learned += labelled if self.learn else 0
        return predictions

    def _answer_and_wait(self, batch: Batch) -> None:
        """Event by event: answer it, then learn those whose labels have come by then."""
        assert self._waiting is not None
        for i in range(len(batch)):
            event = batch[i : i + 1]
            predictions = [track.predict(event) for track in self.tracks]
            for track, prediction in zip(self.tracks, predictions, strict=True):
                self._write_predictions(track, event, prediction)
            if event.label_state[0] != UNLABELLED or self._waiting.by_count:
                self._waiting.add(event, predictions)
            self._arrive(self._waiting.due(event))
        self.counts.pending = self._waiting.n_labelled

    def _arrive(self, due: list[tuple[Batch, list[Prediction]]]) -> None:
        """Score and learn events whose labels have come."""
        for event, predictions in due:
            labelled = int((event.label_state != UNLABELLED).sum())
            for track, prediction in zip(self.tracks, predictions, strict=True):
                track.score(event, prediction)
                if self.learn:
                    track.learn(event)
                self._write_events(track)
            if self.watch is not None:
                self.watch.see_labels(event)
            self.counts.scored += labelled
            self.counts.learned += labelled if self.learn else 0

    def _settle(self) -> None:
        """The end of the source: labels still on their way arrive."""
        if self._waiting is not None:
            self._arrive(self._waiting.drain())
            self._tell_alarms()
            self.counts.pending = 0

    # Writing.

    def _write_predictions(self, track: Track, batch: Batch, prediction: Prediction) -> None:
        if self.outputs.predictions is None or track.silent:
            return
        from streams.wire import encode_predictions

        self.outputs.predictions.write(encode_predictions(batch, prediction, batch.schema, track.name))

    def _write_dead(self, letters: Sequence[DeadLetter]) -> None:
        if self.outputs.dead_letters is None or not letters:
            return
        from streams.wire import encode_dead_letter

        self.outputs.dead_letters.write([encode_dead_letter(letter) for letter in letters])

    def _write_events(self, track: Track) -> None:
        """Drifts and structural events not written before."""
        if self.outputs.events is None:
            return
        reported = self._reported[self.tracks.index(track)]
        for which, log in enumerate((track.drifts, track.model.events_)):
            new = [{"model": track.name, **event} for event in log[reported[which] :]]
            self.outputs.events.write([json.dumps(event, ensure_ascii=False).encode() for event in new])
            reported[which] = len(log)

    def _tell_alarms(self) -> None:
        """Alarms on the stream itself not told before, to the user and to the sink."""
        if self.watch is None:
            return
        new = self.watch.alarms[self._told :]
        self._told += len(new)
        for alarm in new:
            self.progress.note(
                f"{self.source.name}: {alarm['kind']} drift at event {alarm['event']:,} ({alarm['detector']})"
            )
        if self.outputs.events is not None:
            messages = [json.dumps({"model": None, **alarm}, ensure_ascii=False).encode() for alarm in new]
            self.outputs.events.write(messages)

    def _metrics_message(self) -> bytes:
        n_labels = self.source.schema.n_labels
        learners = {track.name: track.read("cumulative", n_labels) for track in self.tracks}
        message = {"event": self.counts.read, "counts": self.counts.as_dict(), "learners": learners}
        if self.join is not None:
            message["join"] = vars(self.join.counts)
        return json.dumps(message, ensure_ascii=False).encode()

    def _report(self) -> None:
        n_labels = self.source.schema.n_labels
        self.progress.advance(
            self.counts.read,
            lambda: {t.name: t.read("cumulative", n_labels) | {"drifts": len(t.drifts)} for t in self.tracks},
        )

    # Checkpoints.

    def checkpoint(self) -> Path:
        """Keep everything that the run needs to go on from here."""
        assert self.store is not None
        manifest: dict[str, Any] = {
            "kind": "run",
            "learners": [{"name": t.name, "baseline": t.baseline, **describe(t.model)} for t in self.tracks],
            "source": {"name": self.source.name, "position": self.source.position()},
            "encoder": getattr(self.source, "encoder", None),
            "sinks": {name: sink.position() for name, sink in self.outputs.each().items()},
            "counts": vars(self.counts),
            "reported": self._reported,
            "told": self._told,
            **self._watchers(),
        }
        arrays: Arrays = {"schema": self.source.schema.to_array()}
        for number, track in enumerate(self.tracks):
            arrays |= nested(str(number), track.get_state())
        for name, room in (("waiting", self._waiting), ("join", self.join)):
            if room is not None:
                arrays |= nested(name, room.get_state())
        if self.watch is not None:
            arrays |= nested("watch", self.watch.get_state())
        path = self.store.save(self.counts.read, manifest, arrays)
        self.checkpointed, self._n_checkpointed = time.monotonic(), self.counts.read
        if self.on_checkpoint is not None:
            self.on_checkpoint(manifest["source"]["position"])
        return path

    def resume(self) -> bool:
        """Go back to the latest checkpoint of the store; False if there is none.

        Raises
        ------
        CheckpointError
            It was made by a run with other learners, other detectors or another source.
        """
        assert self.store is not None
        found = self.store.latest()
        if found is None:
            return False
        path, manifest, arrays = found
        self._check(str(path), manifest)
        self.source.schema.extend(Schema.from_array(arrays["schema"]))
        self.source.resume(manifest["source"]["position"])
        sinks = self.outputs.each()
        for name, position in manifest["sinks"].items():
            if name in sinks:
                sinks[name].resume(position)
        self.counts = Counts(**manifest["counts"])
        self._reported = manifest["reported"]
        self._told = manifest.get("told", 0)
        for number, track in enumerate(self.tracks):
            track.set_state(below(str(number), arrays))
        for name, room in (("waiting", self._waiting), ("join", self.join)):
            if room is not None:
                room.set_state(below(name, arrays), self.source.schema)
        if self.watch is not None:
            self.watch.set_state(below("watch", arrays))
        return True

    def _watchers(self) -> dict[str, Any]:
        """Every detector, of the learners and of the stream."""
        return {
            "detectors": [parameters(track.detector) for track in self.tracks],
            "watch": [] if self.watch is None else [parameters(detector) for detector in self.watch.detectors],
        }

    def _check(self, path: str, manifest: Mapping[str, Any]) -> None:
        theirs = [{key: entry[key] for key in ("name", "class", "params")} for entry in manifest["learners"]]
        mine = [{"name": track.name, **describe(track.model)} for track in self.tracks]
        # Earlier releases watched every learner by one detector, with its defaults, and no stream.
        earlier = {"detectors": [parameters(build_detector("adwin"))] * len(mine), "watch": []}
        watchers = json.loads(json.dumps(self._watchers()))
        for kind, there, here in (
            ("learners", theirs, json.loads(json.dumps(mine))),
            *((kind, manifest.get(kind, earlier[kind]), watchers[kind]) for kind in earlier),
            ("source", manifest["source"]["name"], self.source.name),
            ("encoder", manifest.get("encoder"), getattr(self.source, "encoder", None)),
        ):
            if there != here:
                raise CheckpointError(f"{path}: {kind} must be those of the checkpoint, {there}, got {here}")
