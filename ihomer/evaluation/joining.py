"""Answered events and the labels that come later, joined by the events' keys within bounds of time and number."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ihomer.evaluation.waiting import pack, unpack
from streams.batch import PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from streams.topics.joining import Label

_BEFORE_ALL = -(1 << 63)
"""A time before that of any message."""


@dataclass
class JoinCounts:
    """What became of labels and of the events that waited for them.

    Attributes
    ----------
    joined
        Labels that met their event: it was scored with the answer given before, then learned.
    early
        Those of them that came before it.
    duplicate
        Labels that said once more what was known; nothing happens.
    corrected
        Labels that said something else than those before; the first stay, in scores and in what was learned.
    late
        Labels of an event that had waited too long.
    orphan
        Labels whose event did not come in time, or that a tombstone dropped before it came.
    expired
        Events that waited too long.
    dropped
        Waiting events that a tombstone dropped.
    keyless
        Events without labels and without a key, which cannot be joined.
    dead
        Messages of the label topic that could not be read.
    behind
        Events and labels dated before a message of the other kind that was taken already. Where there are none, a
        replay of the topics gives the same state.
    """

    joined: int = 0
    early: int = 0
    duplicate: int = 0
    corrected: int = 0
    late: int = 0
    orphan: int = 0
    expired: int = 0
    dropped: int = 0
    keyless: int = 0
    dead: int = 0
    behind: int = 0

    @property
    def unlabelled(self) -> int:
        """Events that will get no labels any more."""
        return self.expired + self.dropped + self.keyless


_Said = tuple[tuple[int, ...], tuple[int, ...] | None]
"""Labels present, and those known if not all are."""


@dataclass(slots=True)
class _Block:
    """Events answered together, and one answer a learner."""

    events: Batch
    answers: list[Prediction] = field(default_factory=list)


@dataclass(slots=True)
class _Entry:
    """What is known of a key, and since when: its labels, or, while it waits for them, its row of a block."""

    time: int
    labels: _Said | None = None
    block: _Block | None = None
    row: int = 0


class LabelJoin:
    """Events that wait for their labels, and labels that wait for their events.

    Parameters
    ----------
    time_ms
        How long either waits, in the time of the events and labels themselves.
    size
        How many wait at most; when there are more, the one that came first leaves as if its time were over.
    n_learners
        Answers an event.

    Notes
    -----
    Time is the greatest that an event had so far, so that a replay gives the same. A label is late when it is dated
    more than ``time_ms`` after the time at which its event came; whatever its date, it makes no other event late. A key
    that is done with, or has expired, is remembered for as long as it could have waited, and at most ``size`` of them
    are, so that what comes for it can be told apart: duplicate, corrected, late. Memory: the events that wait, and some
    200 bytes for each key that waits or is remembered.

    Every event is in the end joined, expired, dropped or keyless, and every label joined, duplicate, corrected, late or
    orphan, but for those that still wait.

    ``admit`` and ``labels`` are called in the order in which the messages stand; it makes no difference how they are
    cut into batches.
    """

    def __init__(self, time_ms: int, size: int, n_learners: int) -> None:
        if time_ms < 1 or size < 1:
            raise ValueError(f"a join must have at least 1 ms and 1 entry, got {time_ms} ms and {size}")
        self.time_ms, self.size, self.n_learners = time_ms, size, n_learners
        self.counts = JoinCounts()
        self.n_waiting = 0
        """Events that wait."""
        self._now = self._labelled_at = _BEFORE_ALL
        """The greatest time of an event, and of a label."""
        self._waiting: OrderedDict[str, _Entry] = OrderedDict()
        """Keys of an event without labels, or of labels without an event."""
        self._past: OrderedDict[str, _Entry] = OrderedDict()
        """Keys that are done with, and their labels; none where they have expired."""
        self._last: _Block
        self._arrived: list[_Entry] = []

    @property
    def n_early(self) -> int:
        """Labels that wait."""
        return len(self._waiting) - self.n_waiting

    def admit(self, batch: Batch) -> Batch:
        """Events that are about to be answered, with the labels that came before them.

        Those that have labels, of their own or come early, are done with; of the others those that have a key wait, and
        ``answered`` must be called before the next labels.
        """
        labels: list[Label | None] = []
        self._last = block = _Block(batch)
        times = batch.time.tolist() if batch.time is not None else [0] * len(batch)
        for row, (key, time) in enumerate(zip(batch.key or [None] * len(batch), times, strict=True)):
            self.counts.behind += time <= self._labelled_at
            self._pass(time)
            labels.append(None if key is None else self._admit(str(key), block, row))
            self.counts.keyless += key is None and bool(batch.label_state[row] == UNLABELLED)
        if any(label is not None for label in labels):
            block.events = _with_labels(batch, labels)
        return block.events

    def _admit(self, key: str, block: _Block, row: int) -> Label | None:
        """Note an event; the labels that it should have and has not."""
        events, entry = block.events, self._waiting.pop(key, None)
        if entry is not None and entry.labels is None:
            # Another event of the same key takes its place.
            self.n_waiting -= 1
            self.counts.expired += 1
            entry = None
        if events.label_state[row] != UNLABELLED:
            partly = events.known is not None and events.label_state[row] == PARTIAL
            known = tuple(events.known.row(row).tolist()) if partly and events.known is not None else None
            said = (tuple(sorted(events.y.row(row).tolist())), known)
            if entry is not None:
                self._count_again(entry.labels == said)
            self._remember(key, said)
        elif entry is not None and entry.labels is not None:
            self._remember(key, entry.labels)
            self.counts.joined += 1
            self.counts.early += 1
            present, known = entry.labels
            return Label(key, self._now, list(present), None if known is None else list(known))
        else:
            self._past.pop(key, None)
            entry = _Entry(self._now, None, block, row)
            self._arrived.append(entry)
            self.n_waiting += 1
            self._wait(key, entry)
        return None

    def answered(self, answers: Sequence[Prediction]) -> None:
        """The answers, one a learner, to the events that were admitted last; only of those that wait are they kept."""
        block, waiting = self._last, self._arrived
        self._arrived = []
        rows = np.array([entry.row for entry in waiting], np.int64)
        block.events = block.events.take(rows)
        block.answers = [_taken(answer, rows) for answer in answers]
        for row, entry in enumerate(waiting):
            entry.row = row

    def labels(self, labels: Sequence[Label]) -> tuple[Batch, list[Prediction]] | None:
        """The events that these labels are of, with them, in the labels' order, and their answers; None: none are."""
        found: list[tuple[_Block, int]] = []
        joined: list[Label] = []
        for label in labels:
            self.counts.behind += label.time < self._now
            self._labelled_at = max(self._labelled_at, label.time)
            entry = self._waiting.get(label.key)
            if entry is not None and entry.block is not None and label.time > entry.time + self.time_ms:
                self._expire(label.key)
                entry = None
            if label.present is None:
                if entry is not None:
                    self._drop(label.key)
                continue
            said = (tuple(sorted(label.present)), None if label.known is None else tuple(sorted(label.known)))
            if entry is not None and entry.block is not None:
                found.append((entry.block, entry.row))
                joined.append(label)
                del self._waiting[label.key]
                self._remember(label.key, said)
                self.n_waiting -= 1
                self.counts.joined += 1
                continue
            entry = entry or self._past.get(label.key)
            if entry is None:
                self._wait(label.key, _Entry(self._now, said))
            elif entry.labels is None:
                self.counts.late += 1
            else:
                self._count_again(entry.labels == said)
        return _labelled(found, joined) if found else None

    def _count_again(self, same: bool) -> None:
        """Labels were said once more."""
        self.counts.duplicate += same
        self.counts.corrected += not same

    def _pass(self, time: int) -> None:
        """Time goes on, and entries expire."""
        if self._now == _BEFORE_ALL:
            # Labels that came before any event wait from now on.
            for entry in self._waiting.values():
                entry.time = time
        self._now = max(self._now, time)
        for entries, leave in ((self._waiting, self._expire), (self._past, self._past.pop)):
            while entries:
                key, entry = next(iter(entries.items()))
                if entry.time + self.time_ms >= self._now:
                    break
                leave(key)

    def _wait(self, key: str, entry: _Entry) -> None:
        self._waiting[key] = entry
        if len(self._waiting) > self.size:
            self._expire(next(iter(self._waiting)))

    def _remember(self, key: str, labels: _Said | None) -> None:
        self._past.pop(key, None)
        self._past[key] = _Entry(self._now, labels)
        if len(self._past) > self.size:
            self._past.popitem(last=False)

    def _expire(self, key: str) -> None:
        """An event, or labels, have waited too long."""
        if self._waiting.pop(key).labels is None:
            self.n_waiting -= 1
            self.counts.expired += 1
            self._remember(key, None)
        else:
            self.counts.orphan += 1

    def _drop(self, key: str) -> None:
        """A tombstone came for an event, or labels, that wait."""
        if self._waiting.pop(key).labels is None:
            self.n_waiting -= 1
            self.counts.dropped += 1
        else:
            self.counts.orphan += 1

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything kept, as arrays."""
        table = {
            "times": [self._now, self._labelled_at],
            "counts": vars(self.counts),
            "waiting": [[key, entry.time, entry.labels] for key, entry in self._waiting.items()],
            "past": [[key, entry.time, entry.labels] for key, entry in self._past.items()],
        }
        state = {"table": np.frombuffer(json.dumps(table).encode(), np.uint8)}
        rows = [(entry.block, entry.row) for entry in self._waiting.values() if entry.block is not None]
        return {**state, **pack(*_gathered(rows))} if rows else state

    def set_state(self, state: Mapping[str, NDArray[Any]], schema: Schema) -> None:
        """Take over what ``get_state`` gave; ``schema`` is that of the waiting events."""
        table = json.loads(state["table"].tobytes())
        (self._now, self._labelled_at), self.counts = table["times"], JoinCounts(**table["counts"])
        for entries, rows in ((self._waiting, table["waiting"]), (self._past, table["past"])):
            entries.clear()
            for key, time, labels in rows:
                said = None if labels is None else (tuple(labels[0]), None if labels[1] is None else tuple(labels[1]))
                entries[key] = _Entry(time, said)
        block = _Block(*unpack(state, schema, self.n_learners)) if "offset" in state else None
        self.n_waiting = 0
        for entry in self._waiting.values():
            if entry.labels is None:
                entry.block, entry.row = block, self.n_waiting
                self.n_waiting += 1


def _gathered(rows: Sequence[tuple[_Block, int]]) -> tuple[Batch, list[Prediction]]:
    """Events of several blocks, in this order, with their answers."""
    parts: list[tuple[_Block, list[int]]] = []
    for block, row in rows:
        if not parts or parts[-1][0] is not block:
            parts.append((block, []))
        parts[-1][1].append(row)
    events = Batch.concat([block.events.take(np.array(numbers)) for block, numbers in parts])
    n_learners = len(parts[0][0].answers)
    answers = [
        Prediction.concat([_taken(block.answers[number], np.array(numbers)) for block, numbers in parts])
        for number in range(n_learners)
    ]
    return events, answers


def _taken(answer: Prediction, rows: NDArray[np.int64]) -> Prediction:
    proba = answer.proba.take(rows) if isinstance(answer.proba, Rows) else answer.proba
    return Prediction(answer.labels.take(rows), proba[rows] if isinstance(proba, np.ndarray) else proba)


def _labelled(rows: Sequence[tuple[_Block, int]], labels: Sequence[Label]) -> tuple[Batch, list[Prediction]]:
    events, answers = _gathered(rows)
    return _with_labels(events, labels), answers


def _with_labels(events: Batch, labels: Sequence[Label | None]) -> Batch:
    """The same events, those with an entry in ``labels`` having these labels."""
    present, known, state = [], [], events.label_state.copy()
    for row, label in enumerate(labels):
        if label is not None:
            state[row] = label.state
        of_known = None if events.known is None else events.known.row(row).tolist()
        present.append(events.y.row(row).tolist() if label is None else label.present or [])
        known.append((of_known if label is None else label.known) or [])
    partly = Rows.from_lists(known) if (state == PARTIAL).any() else None
    return replace(events, y=Rows.from_lists(present), label_state=state, known=partly)
